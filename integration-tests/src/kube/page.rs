// SPDX-License-Identifier: Apache-2.0
//! The page: docs/kube.md.

use super::judge::rows_of;
use super::run::Run;
use crate::meters::judge::Row;
use crate::meters::page::table;

const HEAD: &str = "# On a real Kubernetes node

Written by `make test-kube`, which builds Kubernetes from Debian's source package, starts one node of it (API server, controllers,
scheduler, kubelet, containerd) and runs the daemon beside it with the rights of
[rights.yaml](../integration-tests/kube/rights.yaml); change nothing here by hand.

CPU time of a pod is held against what the kubelet itself counted (`usageCoreNanoSeconds` of its `/stats/summary`) between the same two
moments, and has to agree to 2 %. Names are held against the kubelet's `/pods`. `kubernetes.wait` is longer here than the API server is away; a
container that waits longer than that for its name while the server answers is shown without one, and under a second series when the name comes after all.

The rows from \"in a pod\" on are of the image of `make test-image` as the DaemonSet of [deploy/kubernetes](../deploy/kubernetes), with what that node has not
([overlay](../integration-tests/kube/overlay)): network of the host, a name for the machine, and a meter of 40 W in a folder of the host, so that there is something to learn. Its
four pods follow one another: the first, the one after `kubectl rollout restart`, the one after that one was deleted, and one with `kubernetes.mode = \"kubelet\"`. Counters of a
pod begin at 0 and say since when; the energy between the last scrape of one pod and the first window of the next is in no counter.
";

/// A run with what came out.
#[derive(Clone, Debug)]
pub struct Judged {
    run: Run,
    rows: Vec<Row>,
}

impl Judged {
    /// Judges it.
    #[must_use]
    pub fn new(run: Run) -> Self {
        Self {
            rows: rows_of(&run),
            run,
        }
    }

    /// What must not be: a comparison that failed, a run that stopped.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let failed = self.rows.iter().filter(|row| !row.good);
        let mut complaints: Vec<_> = failed
            .map(|row| format!("{}: {}, where it is {}", row.what, row.shown, row.truth))
            .collect();
        if !self.run.done {
            complaints.push("the run did not come to its end".to_owned());
        }
        complaints
    }

    /// The whole page.
    #[must_use]
    pub fn render(&self) -> String {
        let good = self.rows.iter().filter(|row| row.good).count();
        format!(
            "{HEAD}\nKubernetes {}, machine's load {}; {good} of {} as they should be.\n\n{}",
            self.run.version,
            self.run.load,
            self.rows.len(),
            table(&self.rows)
        )
    }
}
