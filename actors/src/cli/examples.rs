// SPDX-License-Identifier: Apache-2.0
//! What stands below the options of commands that have no module of their own for it.

pub(super) const KEPLER: &str = "\
Examples:
  kepler                                        run with /etc/kepler/kepler.toml if it is there, else with defaults
  kepler --config my.toml --listen 127.0.0.1:28282
  kepler --set sources.cpu=estimator --tick 500ms
  KEPLER_TICK=5s kepler
  kepler check                                  what this machine has and what would be used
  kepler config show                            every setting with where it comes from
  kepler top                                    what a running daemon says, as it comes
  kepler snapshot --csv --level pods            what it says now, once
  kepler run -- make -j8                        what a command and its children use
  kepler record --for 10m node.keplrec          what the reporters say, in a file
  kepler replay node.keplrec --set attribution.idle.share=usage
  kepler estimate --cpu 'AMD EPYC 7763' --chips 2 --memory-gib 256 --busy 0,0.5,1
  kepler calibrate --stress --out model.json    a model of this machine, for others of its kind without a meter

Exit codes: 0 done or stopped when asked to; 1 failed; 2 wrong usage or configuration; all of them: kepler help exit-codes.";

pub(super) const RECORD: &str = "\
Examples:
  kepler record --for 10m node.keplrec
  kepler record --anonymise --for 1h for-a-bug-report.keplrec";

pub(super) const REPLAY: &str = "\
Examples:
  kepler replay node.keplrec
  kepler replay node.keplrec --json --set attribution.idle.share=usage";

pub(super) const ESTIMATE: &str = "\
Examples:
  kepler estimate --cpu 'AMD EPYC 7763' --chips 2 --memory-gib 256 --busy 0,0.5,1
  kepler estimate < machines.jsonl";

pub(super) const CONFIG_CHECK: &str = "\
Examples:
  kepler config check /etc/kepler/kepler.toml";
