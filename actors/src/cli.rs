// SPDX-License-Identifier: Apache-2.0
//! The command line, and the way from it to a loaded configuration.

mod examples;

use crate::estimate::EstimateOptions;
use crate::harden::Security;
use crate::measure::{self, MeasureOptions};
use crate::settings::{Idle, Log, Probes, Root, Smt, Sources, Split};
use crate::shell::{self, CompletionOptions, ManOptions};
use crate::snapshot::{self, SnapshotOptions};
use crate::top::{self, TopOptions};
use clap::{Args, Parser, Subcommand};
use config::{ConfigFile, Flag, Layers, Loaded, Problems, Schema};
use exporter::ExporterConfig;
use exporter::passthrough::PassthroughConfig;
use power_sources::estimator::EstimatorConfig;
use probe_workloads::RuntimesConfig;
use probe_workloads::pods::KubernetesConfig;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Measures what the software on this node costs in energy, per process, container, pod and unit.
#[derive(Debug, Parser)]
#[command(name = "kepler", version, after_help = examples::KEPLER)]
pub struct Cli {
    /// Settings of the daemon.
    #[command(flatten)]
    pub options: Options,
    /// What to do; without one, the daemon runs.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags; stronger than the environment, which is stronger than the file.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Configuration file, TOML or YAML. Without it: /etc/kepler/kepler.toml, .yaml or .yml if there is one.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Addresses to listen on, separated by commas (exporter.listen).
    #[arg(long, value_name = "ADDRESSES", global = true)]
    pub listen: Option<String>,
    /// Length of a window, from 100ms to 60s (tick).
    #[arg(long, value_name = "DURATION", global = true)]
    pub tick: Option<String>,
    /// Least severe level to write: error, warn, info, debug or trace (log.level).
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,
    /// Any setting, as in `--set sources.cpu=rapl,estimator`; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

impl Options {
    /// The settings that they mean, the later the stronger.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let named = [
            ("exporter.listen", "--listen", &self.listen),
            ("tick", "--tick", &self.tick),
        ];
        let level = [("log.level", "--log-level", &self.log_level)];
        let named = named.into_iter().chain(level).filter_map(|(key, name, value)| {
            let value = value.as_ref()?;
            Some(Flag {
                key: key.to_owned(),
                value: Value::String(value.clone()),
                name: name.to_owned(),
            })
        });
        let set = self.set.iter().map(|set| {
            let (key, value) = set.split_once('=').unwrap_or((set, ""));
            Flag {
                key: key.trim().to_owned(),
                value: Value::String(value.to_owned()),
                // Without the value, which may be a secret; whoever tells where a setting comes from also shows what may be seen of it.
                name: format!("--set {}", key.trim()),
            }
        });
        named.chain(set).collect()
    }

    /// A flag that was given and would do nothing where a recording is calibrated, which is read as it is.
    #[must_use]
    pub fn not_for_a_recording(&self) -> Option<&'static str> {
        let set = (!self.set.is_empty()).then_some("--set");
        self.not_for_a_replay().or(set)
    }

    /// A flag that was given and would do nothing in a replay, which has no ticker, serves nothing and writes no log.
    #[must_use]
    pub fn not_for_a_replay(&self) -> Option<&'static str> {
        let Self {
            config,
            listen,
            tick,
            log_level,
            set: _,
        } = self;
        let given = [
            ("--config", config.is_some()),
            ("--listen", listen.is_some()),
            ("--tick", tick.is_some()),
            ("--log-level", log_level.is_some()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon (the default); or, with a command behind `--`, run that and say what it used.
    ///
    /// At the end of the command the energy that it and its children used is written to standard error, as `time` does for
    /// seconds. Its input, output and exit code are its own.
    #[command(after_help = measure::EXAMPLES)]
    Run(MeasureOptions),
    /// Show what a running daemon says, as it comes: power, workloads, sources.
    #[command(after_help = top::EXAMPLES)]
    Top(TopOptions),
    /// Print what a running daemon says now, once.
    #[command(after_help = snapshot::EXAMPLES)]
    Snapshot(SnapshotOptions),
    /// Say what this machine has, what would be used, and what to do about the rest. Exit code 1 when it cannot run.
    Check,
    /// Write what the reporters say into a file, for `replay` and for bug reports. SIGINT and SIGTERM end it in order.
    ///
    /// The file holds names of commands, containers, pods and units; only its owner may read it. Nothing is served
    /// meanwhile, so a daemon may run beside it.
    #[command(after_help = examples::RECORD)]
    Record(RecordOptions),
    /// Run the attribution over a recording, at full speed. The same file and settings give the same figures everywhere.
    ///
    /// Settings are those of the recording, with `--set` over them; files and environment of this machine are not read.
    #[command(after_help = examples::REPLAY)]
    Replay(ReplayOptions),
    /// Say what a machine draws, without a daemon: from flags, or from JSON lines on standard input.
    ///
    /// Each line is an object with vendor, cpu, year, chips, cores, threads, base_mhz, tdp_watts_per_chip, memory_gib (all optional) and busy
    /// (0 to 1). Each answer is a line in the same place: platform_watts, p10, p90, package_watts, dram_watts; or error, and then the exit
    /// code is 1.
    #[command(after_help = examples::ESTIMATE)]
    Estimate(EstimateOptions),
    /// Watch load and watts of this machine, and write a model of it for machines of its kind that have no meter. SIGINT and
    /// SIGTERM end the watch in order, and what was seen until then is used.
    ///
    /// Prints how wrong the model is, by level of load, on blocks of time that it has not seen. It is as good as the load is
    /// like that of the machines which it is for.
    #[command(after_help = CALIBRATE_EXAMPLES)]
    Calibrate(CalibrateOptions),
    /// Look at the configuration.
    Config {
        /// What about it.
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Print completions for a shell.
    #[command(after_help = shell::COMPLETION_EXAMPLES)]
    Completions(CompletionOptions),
    /// Print the manual page, or write one for each command.
    #[command(after_help = shell::MAN_EXAMPLES)]
    Man(ManOptions),
    /// List the exit codes and what they mean.
    ExitCodes,
}

/// How to record.
#[derive(Debug, Args)]
pub struct RecordOptions {
    /// The file, which must not be there yet.
    pub file: PathBuf,
    /// Stop after this time, such as 10m; without it, when asked to.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub lasts: Option<Duration>,
    /// Write hashes for names of commands, containers, pods, units and machines, and no paths.
    #[arg(long)]
    pub anonymise: bool,
    /// Serve pages on exporter.listen meanwhile.
    #[arg(long)]
    pub serve: bool,
    /// Print the last window's snapshot as JSON at the end.
    #[arg(long)]
    pub json: bool,
}

/// How to replay.
#[derive(Debug, Args)]
pub struct ReplayOptions {
    /// The recording.
    pub file: PathBuf,
    /// Print the last window's snapshot as JSON instead of a summary.
    #[arg(long)]
    pub json: bool,
    /// Print the snapshot of every Nth window as a line of JSON, and no summary.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub every: Option<u64>,
}

const CALIBRATE_EXAMPLES: &str = "\
Examples:
  kepler calibrate --for 2h                     beside whatever works on this machine
  kepler calibrate --stress                     makes the load itself: 13 levels, 3 times, some 7 minutes with a counter like RAPL
  kepler calibrate --stress --set sources.cpu= --set sources.dram=    the platform alone; with a BMC that speaks once a minute 3 hours
  kepler calibrate --from node.keplrec --cpu \"AMD EPYC 7763\"         out of a recording

Exit codes: 0 the model is written; 1 no meter, too little seen, or nothing can be written; 2 wrong usage or configuration;
70 a part of the daemon died, which is a bug (a model of what was seen before is written).";

/// How to calibrate.
#[derive(Debug, Args)]
pub struct CalibrateOptions {
    /// The model's file, which must not be there yet.
    #[arg(long, value_name = "FILE", default_value = "model.json")]
    pub out: PathBuf,
    /// Stop after this time; without it after 10m, and with --stress when every level was walked.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "from")]
    pub lasts: Option<Duration>,
    /// Make the load: one thread of the lowest priority a CPU works for 0 to 100 percent of the time. Nothing else of the
    /// machine is changed.
    #[arg(long, conflicts_with = "from")]
    pub stress: bool,
    /// Take load and watts out of a recording of `kepler record` instead of this machine.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// The processor's name on the machine that was recorded: the model is refused where another one is.
    #[arg(long, value_name = "NAME", requires = "from")]
    pub cpu: Option<String>,
}

/// What about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Print the effective configuration with the origin of each value.
    Show,
    /// Validate a file without starting anything. Exit code 2 when it has problems.
    #[command(after_help = examples::CONFIG_CHECK)]
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Files that are taken without being named, the first that exists.
const DEFAULT_FILES: [&str; 3] = [
    "/etc/kepler/kepler.toml",
    "/etc/kepler/kepler.yaml",
    "/etc/kepler/kepler.yml",
];

/// Every section that can be set.
#[must_use]
pub fn schema() -> Schema {
    let mut schema = Schema::new();
    // What systemd says for StateDirectory=; see `first_of_many`.
    schema.section::<Root>("").variable("state.dir", STATE_DIRECTORY);
    schema.section::<Log>("log");
    schema.section::<Security>("security");
    schema.section::<Probes>("probes");
    schema.section::<Sources>("sources");
    for entry in power_sources::ALL {
        let check = entry.check;
        schema.section_raw(
            &format!("sources.{}", entry.name),
            (entry.default_section)(),
            move |section| check(section).map_err(|error| format!("{:#}", anyhow::Error::from(error))),
        );
    }
    schema.section::<EstimatorConfig>("estimator");
    schema.section::<RuntimesConfig>("workloads.runtimes");
    schema.section::<Split>("attribution");
    schema.section::<Smt>("attribution.smt");
    schema.section::<Idle>("attribution.idle").open("floor");
    schema
        .section::<ExporterConfig>("exporter")
        .open("push.remote_write.labels")
        .open("push.remote_write.request.headers")
        .open("push.otlp.attributes")
        .open("push.otlp.request.headers")
        .rules(exporter::push::contradictions);
    schema.section::<PassthroughConfig>("vm_passthrough");
    // What a pod's manifest and Kubernetes itself put into a container's environment.
    schema
        .section::<KubernetesConfig>("kubernetes")
        .variable("node_name", "NODE_NAME")
        .variable("kubelet.address", "NODE_IP")
        .variable("service_host", "KUBERNETES_SERVICE_HOST")
        .variable("service_port", "KUBERNETES_SERVICE_PORT");
    schema
}

/// Where systemd says which state directories a unit has, separated by colons.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// The environment with the first of the unit's state directories, where it has several.
fn first_of_many(environment: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let first = |(name, value): (OsString, OsString)| {
        if name != STATE_DIRECTORY {
            return (name, value);
        }
        let first = value.as_bytes().split(|byte| *byte == b':').next();
        (name, OsStr::from_bytes(first.unwrap_or_default()).to_owned())
    };
    environment.into_iter().map(first).collect()
}

/// Loads the configuration that the flags and the environment ask for.
///
/// # Errors
/// Every problem of every layer at once.
pub fn load(options: &Options, environment: Vec<(OsString, OsString)>) -> Result<Loaded, Problems> {
    let usual = || {
        DEFAULT_FILES
            .iter()
            .map(PathBuf::from)
            .find(|file| file.exists())
            .map(ConfigFile::Usual)
    };
    let file = options.config.clone().map(ConfigFile::Named).or_else(usual);
    schema().load(Layers {
        file,
        environment: first_of_many(environment),
        flags: options.flags(),
    })
}

/// Loads one file alone: no environment, no flags.
///
/// # Errors
/// Every problem at once.
pub fn load_file(file: &Path) -> Result<Loaded, Problems> {
    schema().load(Layers {
        file: Some(ConfigFile::Named(file.to_owned())),
        ..Layers::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_state_directories_of_a_unit_the_first_is_taken() {
        let dir = |said: &str| {
            let environment = vec![("STATE_DIRECTORY".into(), said.into())];
            let loaded = load(&Options::default(), environment).unwrap();
            loaded.section::<Root>("").unwrap().state.dir.0
        };
        assert_eq!(dir("/var/lib/kepler"), Path::new("/var/lib/kepler"));
        assert_eq!(
            dir("/var/lib/kepler:/var/lib/other"),
            Path::new("/var/lib/kepler")
        );
    }

    #[test]
    fn where_a_setting_comes_from_is_told_without_its_value() {
        let options = Options {
            set: vec!["sources.redfish.password = open-sesame".to_owned()],
            ..Options::default()
        };
        let flags = options.flags();
        assert_eq!(flags[0].name, "--set sources.redfish.password");
        assert_eq!(flags[0].key, "sources.redfish.password");
        assert_eq!(flags[0].value, " open-sesame");
    }
}
