// SPDX-License-Identifier: Apache-2.0
//! Rows of who is who: the API server, the kubelet, `/proc` and the cgroups.

use integration_tests::api_server::{ApiServer, Fault};
use integration_tests::cgroup::{self, Cgroup};
use integration_tests::daemon::bare;
use integration_tests::figures::rows;
use integration_tests::trial::{Plan, START, Trial};
use tempfile::TempDir;

const TOKEN: &str = "token-1";
const ZONE: &str = "intel-rapl:0";

/// Breaks the server in each of these ways, and sees that the probe says so and is up again after each.
fn server(plan: Plan, settings: impl FnOnce(&ApiServer, &TempDir) -> Vec<String>, faults: &[Fault]) {
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().expect("a folder"));
    let settings = settings(&server, &folder);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut trial = Trial::begin(plan, &settings);
    let is_up = |trial: &Trial, wanted: f64| {
        trial.wait_for_value("kepler_probe_up", &[("probe", "pods")], |up| up == wanted);
    };
    is_up(&trial, 1.0);
    for (step, fault) in (1..).zip(faults) {
        server.set_fault(*fault);
        trial.wait_for_state("kepler_probe_up", &[("probe", "pods")], 0.0);
        trial.meter.set(ZONE, START + step * 1_000_000);
        trial.wait_for_paid("package", 0, step * 1_000_000);
        server.set_fault(Fault::None);
        is_up(&trial, 1.0);
    }
    trial.saw(format!(
        "{} ways; up again after each, 1 J in each of them paid",
        faults.len()
    ));
    trial.end();
}

#[test]
fn an_api_server_in_trouble() {
    let plan = Plan {
        name: "api-server",
        thing: "Kubernetes API server",
        injected: "away; 500 to every request",
        must: "names that are known stay; figures go on; it is asked again with a growing pause",
    };
    let settings = |server: &ApiServer, folder: &TempDir| {
        let kubeconfig = server.write_kubeconfig(folder.path(), TOKEN);
        vec![
            format!("kubernetes.kubeconfig={}", kubeconfig.display()),
            "kubernetes.node_name=node-1".to_owned(),
        ]
    };
    server(plan, settings, &[Fault::Away, Fault::Status(500)]);
}

#[test]
fn a_kubelet_in_trouble() {
    let plan = Plan {
        name: "kubelet",
        thing: "kubelet",
        injected: "away, 503, nonsense",
        must: "as for the API server",
    };
    let settings = |server: &ApiServer, folder: &TempDir| {
        server.write_service_account(folder.path(), TOKEN);
        let account = folder.path().display();
        vec![
            "kubernetes.mode=kubelet".to_owned(),
            format!("kubernetes.service_account={account}"),
            format!("kubernetes.kubelet.ca_file={account}/ca.crt"),
            "kubernetes.kubelet.address=127.0.0.1".to_owned(),
            format!("kubernetes.kubelet.port={}", server.port()),
            "kubernetes.kubelet.interval=1s".to_owned(),
        ]
    };
    server(
        plan,
        settings,
        &[Fault::Away, Fault::Status(503), Fault::Nonsense],
    );
}

#[test]
fn processes_and_cgroups_that_are_gone_when_they_are_looked_at() {
    let plan = Plan {
        name: "vanishing",
        thing: "`/proc` and the cgroup tree",
        injected: "3,000 processes in 300 cgroups, each gone within milliseconds",
        must: "their CPU time is booked and rows stay bounded; nothing is wrong for the daemon, so nothing has a name",
    };
    if !cgroup::is_here() {
        return;
    }
    let mut trial = Trial::begin(plan, &[]);
    let root = Cgroup::create(&format!("kepler-faults-{}", std::process::id())).expect("a cgroup");
    let script = "for group in $(seq 300); do
        mkdir \"$1/$group\"
        sh -c 'echo $$ > \"$1/cgroup.procs\"; for one in 1 2 3 4 5 6 7 8 9 10; do sh -c :; done' - \"$1/$group\"
        rmdir \"$1/$group\"
    done";
    let done = bare("sh").args(["-c", script, "-"]).arg(root.path()).status();
    assert!(done.expect("sh").success());
    trial.meter.set(ZONE, START + 3_000_000);
    trial.wait_for_paid("package", 0, 3_000_000);
    let covered = trial.wait_for_value("kepler_cpu_time_coverage_ratio", &[], |ratio| ratio > 0.5);
    let rows = rows(&trial.windows(1), "processes").len();
    // `exporter.processes.max` of the living, and as many of the ended.
    assert!(rows <= 400, "{rows} rows");
    trial.saw(format!(
        "`kepler_cpu_time_coverage_ratio` {covered:.3} and {rows} rows of processes afterwards"
    ));
    trial.end_unnamed();
}
