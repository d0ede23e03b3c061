// SPDX-License-Identifier: Apache-2.0
//! The Grafana dashboards: files that Grafana can load, and queries that a real Prometheus answers when it scrapes the real
//! daemon. Grafana itself is not here: no package of the distribution has it.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::api_server::{ApiServer, Release, pod};
use integration_tests::bmc::{Bmc, Certificate};
use integration_tests::boards::{
    choices, expressions, fill, label_values, metrics, panels, question, variables,
};
use integration_tests::daemon::{Daemon, PATIENCE, command, pause};
use integration_tests::dashboards;
use integration_tests::manifests;
use integration_tests::prometheus::{Prometheus, Target};
use integration_tests::runc::{self, Container};
use integration_tests::tree::Powercap;
use integration_tests::{has_command, skip};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Boards as they are committed.
fn boards() -> Vec<(String, Value)> {
    let read =
        |file: &str| fs::read_to_string(root().join("deploy/grafana").join(format!("{file}.json"))).unwrap();
    let all = dashboards::all();
    all.iter()
        .map(|board| {
            (
                board.file.to_owned(),
                serde_json::from_str(&read(board.file)).unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_committed_boards_are_what_their_program_writes_and_there_are_no_others() {
    let folder = root().join("deploy/grafana");
    for board in dashboards::all() {
        let committed = fs::read_to_string(folder.join(format!("{}.json", board.file))).unwrap();
        assert!(
            committed == board.text(),
            "{} is old: make deploy-files",
            board.file
        );
    }
    let files = fs::read_dir(&folder).unwrap().flatten();
    let files = files.filter(|file| file.path().extension().is_some_and(|end| end == "json"));
    assert_eq!(files.count(), dashboards::all().len());
}

#[test]
fn no_two_panels_of_a_board_share_an_id_or_a_place_and_all_of_them_say_what_they_show() {
    for (name, board) in boards() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}");
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{name}: {title} is too wide");
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{name}: {title} lies on another panel");
                }
            }
        }
        let mut titles = BTreeSet::new();
        for panel in panels(&board) {
            let title = panel["title"].as_str().unwrap();
            assert!(titles.insert(title), "{name}: {title} twice");
            assert!(
                panel["description"].as_str().unwrap().len() > 20,
                "{name}: {title}"
            );
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{name}: {title}"
            );
            assert!(expressions(panel).count() > 0, "{name}: {title} asks nothing");
        }
    }
}

#[test]
fn every_question_goes_to_the_data_source_that_the_reader_chose_with_variables_that_are_there() {
    for (name, board) in boards() {
        let defined: BTreeSet<&str> = variables(&board)
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        let chosen = serde_json::json!({"type": "prometheus", "uid": "${datasource}"});
        for panel in panels(&board) {
            assert_eq!(panel["datasource"], chosen, "{name}: {}", panel["title"]);
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"], chosen, "{name}: {}", panel["title"]);
            }
        }
        for variable in variables(&board).filter(|variable| variable["type"] == "query") {
            assert_eq!(variable["datasource"], chosen, "{name}: {}", variable["name"]);
            assert!(label_values(question(variable).unwrap()).is_some());
        }
        let text = board.to_string();
        for variable in &defined {
            assert!(
                text.contains(&format!("${variable}")) || text.contains(&format!("${{{variable}")),
                "{name}: {variable}"
            );
        }
        for panel in panels(&board) {
            for expression in expressions(panel) {
                let used = expression.split('$').skip(1).map(|rest| {
                    let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
                    &rest[..end.unwrap_or(rest.len())]
                });
                for one in used {
                    let of_grafana = ["__rate_interval", "__range"].contains(&one);
                    assert!(
                        of_grafana || defined.contains(one),
                        "{name}: ${one} in {expression}"
                    );
                }
            }
        }
    }
}

#[test]
fn links_lead_to_boards_that_have_the_variable_which_they_set() {
    let boards: BTreeMap<String, Value> = boards().into_iter().collect();
    let mut seen = 0;
    for (name, board) in &boards {
        assert_eq!(board["uid"], name.as_str());
        for panel in panels(board) {
            for link in panel["fieldConfig"]["defaults"]["links"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let url = link["url"].as_str().unwrap();
                let to = url.split('/').nth(2).unwrap();
                let sets = url
                    .split("&var-")
                    .nth(1)
                    .and_then(|rest| rest.split('=').next())
                    .unwrap();
                let target = boards.get(to).unwrap_or_else(|| panic!("{name}: no board {to}"));
                assert!(
                    variables(target).any(|one| one["name"] == sets),
                    "{name}: {to} has no {sets}"
                );
                let label = url
                    .split("labels.")
                    .nth(1)
                    .or_else(|| url.split("fields.").nth(1))
                    .unwrap();
                let label = label.split('}').next().unwrap();
                let shown = expressions(panel).all(|expression| expression.contains(label));
                assert!(shown, "{name}: {} does not have {label}", panel["title"]);
                seen += 1;
            }
        }
    }
    assert!(seen > 5);
}

#[test]
fn every_metric_that_a_board_names_is_in_the_reference() {
    let reference = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    for (name, board) in boards() {
        let asked = panels(&board).flat_map(expressions).map(str::to_owned);
        let of_variables = variables(&board).filter_map(|one| question(one).map(str::to_owned));
        for expression in asked.chain(of_variables) {
            for metric in metrics(&expression) {
                assert!(
                    reference.contains(&format!("| `{metric}` |")),
                    "{name}: {metric} is no metric of ours"
                );
            }
        }
    }
}

const NODE: &str = "node-1";
const TOKEN: &str = "token-1";

/// Computes half of the time or so, for others have to run, too.
const BUSY: &str = "while :; do i=0; while [ $i -lt 4000 ]; do i=$((i+1)); done; sleep 0.02; done";

/// A machine with meters, a pod that computes on its CPU and GPU, and a virtual machine.
struct Machine {
    powercap: Arc<Powercap>,
    bmc: Bmc,
    server: ApiServer,
    folder: TempDir,
    container: Container,
    vm: Child,
    stop: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
    meter: Option<JoinHandle<()>>,
}

impl Machine {
    fn new() -> Self {
        let id = format!("{:08x}{}", std::process::id(), "d".repeat(56));
        let uid = format!("{:08x}-2222-3333-4444-555555555555", std::process::id());
        let container = Container::new(&id, &format!("/kubepods/burstable/pod{uid}/{id}"), BUSY);
        container.start();
        let server = ApiServer::start(TOKEN);
        server.put(pod(
            Release::V1_33,
            NODE,
            "web-7d4b9c6f5-x2x4z",
            &uid,
            &[("web", &id)],
        ));
        let bmc = Bmc::start(Certificate::Signed);
        bmc.serve_one(300.5);
        let powercap = Arc::new(Powercap::new(1_000_000));
        powercap.zone("intel-rapl:0:1", "core", 1_000_000);
        // A package without constraints is AMD's, whose cores are not taken.
        let limit = powercap.root().join("intel-rapl:0/constraint_0_name");
        fs::write(limit, "long_term\n").unwrap();
        let (stop, fails) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let meter = std::thread::spawn({
            let (powercap, stop, fails) = (Arc::clone(&powercap), Arc::clone(&stop), Arc::clone(&fails));
            move || count(&powercap, &stop, &fails)
        });
        let vm = Command::new("sh")
            .arg0("qemu-system-x86_64")
            .args([
                "-c",
                "while :; do sleep 0.05; done",
                "-name",
                "guest=demo",
                "-uuid",
                &uid,
            ])
            .spawn()
            .unwrap();
        let machine = Self {
            powercap,
            bmc,
            server,
            folder: TempDir::new().unwrap(),
            container,
            vm,
            stop,
            fails,
            meter: Some(meter),
        };
        machine.add_gpu();
        machine
    }

    fn add_gpu(&self) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("nvml-stand-in/nvml.c");
        let library = self.folder.path().join("libnvidia-ml.so.1");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source]);
        assert!(compiler.status().unwrap().success());
        let script = format!(
            "gpu 0 uuid=GPU-aaaa power_mw=200000 util=60\nproc 0 pid={} sm=60\n",
            self.container.pid()
        );
        fs::write(self.folder.path().join("script"), script).unwrap();
    }

    /// A daemon on it, with these settings over what is said here.
    fn daemon(&self, settings: &[&str]) -> Daemon {
        let mut command = command();
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--tick",
            "250ms",
            "--set",
            "log.format=json",
        ]);
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let kubeconfig = self.server.write_kubeconfig(self.folder.path(), TOKEN);
        let ours = [
            format!("kubernetes.kubeconfig={}", kubeconfig.display()),
            format!("kubernetes.node_name={NODE}"),
            format!("sources.rapl.root={}", self.powercap.root().display()),
            format!("sources.redfish.url={}", self.bmc.url()),
            format!("sources.redfish.fingerprint={}", self.bmc.fingerprint()),
            "sources.redfish.interval=1s".to_owned(),
            "sources.redfish.timeout=500ms".to_owned(),
            format!("sources.nvml.library={}", path("libnvidia-ml.so.1")),
            format!("sources.nvml.root={}", path("gpus")),
            "attribution.idle.floor={ package = 5.0, dram = 1.0, gpu = 50.0, platform = 100.0 }".to_owned(),
            "attribution.idle.share=equal".to_owned(),
        ];
        for setting in ours.iter().map(String::as_str).chain(settings.iter().copied()) {
            command.args(["--set", setting]);
        }
        Daemon::spawn(command)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.meter.take().map(JoinHandle::join);
        drop(self.vm.kill());
        drop(self.vm.wait());
    }
}

/// Counters of joules that go on as a clock does: 40 W, of these 25 W cores, and 4 W memory. When it `fails`, those of the
/// cores cannot be read in each fourth second.
fn count(powercap: &Powercap, stop: &AtomicBool, fails: &AtomicBool) {
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap();
        for (zone, watts) in [
            ("intel-rapl:0", 40),
            ("intel-rapl:0:0", 4),
            ("intel-rapl:0:1", 25),
        ] {
            let is_away =
                zone == "intel-rapl:0:1" && micros / 1_000_000 % 4 == 3 && fails.load(Ordering::Relaxed);
            if is_away {
                powercap.write(zone, "gone\n");
            } else {
                powercap.set(zone, 1_000_000 + micros * watts);
            }
        }
        pause();
    }
}

const ESTIMATING: [&str; 5] = [
    "sources.cpu=estimator",
    "sources.dram=estimator",
    "sources.platform=estimator",
    "sources.gpu=",
    "kubernetes.wait=1s",
];

/// All queries of all boards: what each is called, and itself for each choice of the variables, one of which has to answer.
fn questions(boards: &[(String, Value)], prometheus: &Prometheus) -> Vec<(String, Vec<String>)> {
    let mut questions = Vec::new();
    for (name, board) in boards {
        let choices = choices(board, prometheus);
        for panel in panels(board) {
            for expression in expressions(panel) {
                let filled = choices.iter().map(|choice| fill(expression, choice)).collect();
                questions.push((format!("{name}: {}: {expression}", panel["title"]), filled));
            }
        }
    }
    questions
}

/// Whether a query has an answer, every value of which is a number: Grafana shows NaN as nothing.
fn has_data(prometheus: &Prometheus, expression: &str) -> bool {
    let answer = prometheus.query(expression);
    let is_number = |series: &Value| {
        series["value"][1]
            .as_str()
            .and_then(|text| text.parse::<f64>().ok())
            .is_some_and(f64::is_finite)
    };
    !answer.is_empty() && answer.iter().all(is_number)
}

#[test]
fn a_real_prometheus_answers_every_query_of_every_board_and_of_the_older_boards_of_kepler() {
    if !runc::is_here() {
        return;
    }
    if !has_command("prometheus") {
        return skip("needs prometheus (Debian package prometheus)");
    }
    let machine = Machine::new();
    let metered = machine.daemon(&["sources.platform=redfish", "exporter.schemas=kepler,kepler-0.11"]);
    let estimating = machine.daemon(&ESTIMATING);
    let today = machine.daemon(&["sources.platform=redfish", "exporter.schemas=kepler-0.11"]);
    let target = |job, instance, daemon: &Daemon| Target {
        job,
        instance: Some(instance),
        address: daemon.address,
    };
    let prometheus = Prometheus::start(
        &[
            target("kepler", "metered", &metered),
            target("kepler", "estimating", &estimating),
            target("today", "metered", &today),
        ],
        &[],
    );
    prometheus.wait_until("two nodes and a pod", |prometheus| {
        let nodes = prometheus.value("count(kepler_node_info{job=\"kepler\"})")?;
        let pods = prometheus.value("count(kepler_pod_gpu_joules_total{job=\"kepler\", pod_name!=\"\"})")?;
        (nodes >= 2.0 && pods >= 1.0).then_some(())
    });
    machine.fails.store(true, Ordering::Relaxed);
    let boards = boards();
    let mut unanswered = questions(&boards, &prometheus);
    let end = Instant::now() + PATIENCE * 4;
    while !unanswered.is_empty() {
        assert!(Instant::now() < end, "no data for {unanswered:#?}");
        pause();
        unanswered.retain(|(_, filled)| !filled.iter().any(|expression| has_data(&prometheus, expression)));
    }
    for (job, expression) in OLD
        .iter()
        .flat_map(|(job, all)| all.iter().map(move |one| (job, one)))
    {
        let expression = expression.replace("$F", &format!("job=\"{job}\""));
        prometheus.wait_until(&expression, |prometheus| {
            has_data(prometheus, &expression).then_some(())
        });
    }
    for expression in recorded() {
        prometheus.wait_until(&expression, |prometheus| {
            has_data(prometheus, &expression).then_some(())
        });
    }
    adds_up(&boards, &prometheus);
}

/// What the recording rules ask; where promtool tests them, the series are made up.
fn recorded() -> Vec<String> {
    let text = fs::read_to_string(root().join("deploy/prometheus").join(manifests::RULES[0])).unwrap();
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    rules
        .map(|rule| rule["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// What panels show as parts of something is that, and nothing is in it twice.
fn adds_up(boards: &[(String, Value)], prometheus: &Prometheus) {
    let (_, cluster) = boards.iter().find(|(name, _)| name == "kepler-cluster").unwrap();
    let choice = &choices(cluster, prometheus)[0];
    let sum_of = |title: &str| {
        let panel = panels(cluster).find(|panel| panel["title"] == title).unwrap();
        let all: Vec<String> = expressions(panel)
            .map(|expression| format!("(sum({}) or vector(0))", fill(expression, choice)))
            .collect();
        all.join(" + ")
    };
    for whole in [
        "By component",
        "Who pays",
        "Idle and dynamic",
        "Largest namespaces",
    ] {
        // Unattributed and unreserved energy is in no namespace.
        let of_nobody = |metric: &str| {
            let matchers = "job=\"kepler\", component=~\"package|dram|gpu|other\"";
            format!("sum(rate(kepler_node_{metric}_joules_total{{{matchers}}}[20s]))")
        };
        let nobody = if whole == "Largest namespaces" {
            format!("{} + {}", of_nobody("unattributed"), of_nobody("unreserved_idle"))
        } else {
            "0".to_owned()
        };
        let ratio = format!("({} + {nobody}) / ({})", sum_of(whole), sum_of("Power now"));
        // Every rate is extrapolated to the ends of its window by itself, so they agree once all series fill it.
        prometheus.wait_until(whole, |prometheus| {
            let ratio = prometheus.value(&ratio)?;
            ((0.98..1.02).contains(&ratio)).then_some(())
        });
    }
}

/// Queries in the shape of those that the boards of today's Kepler ask, and of the eBPF era's.
const OLD: [(&str, &[&str]); 2] = [
    (
        "today",
        &[
            "sum by (zone) (kepler_node_cpu_watts{$F})",
            "sum by (zone) (kepler_node_cpu_active_watts{$F})",
            "sum by (zone) (kepler_node_cpu_idle_watts{$F})",
            "count by (instance, model_name) (kepler_node_cpu_info{$F})",
            "group by (node_name, zone) (kepler_node_cpu_watts{$F})",
            "kepler_node_cpu_watts{$F, zone=\"package\", node_name=\"node-1\"}",
            "sum by (node_name) (rate(kepler_node_cpu_joules_total{$F, zone=\"package\"}[20s]))",
            "rate(kepler_node_cpu_active_joules_total{$F}[20s]) + rate(kepler_node_cpu_idle_joules_total{$F}[20s])",
            "kepler_node_cpu_usage_ratio{$F}",
            "topk(10, sum by (comm, zone) (kepler_process_cpu_watts{$F}))",
            "topk(10, sum by (container_name, zone) (kepler_container_cpu_watts{$F, state=\"running\"}))",
            "topk(10, sum by (pod_namespace) (kepler_pod_cpu_watts{$F}))",
            "sum by (pod_name, zone) (kepler_pod_cpu_watts{$F, pod_namespace=\"shop\"})",
            "topk(10, sum by (vm_name) (kepler_vm_cpu_watts{$F}))",
            "sum(kepler_node_cpu_active_watts{$F, zone=\"package\"}) - sum(kepler_process_cpu_watts{$F, zone=\"package\"})",
            "sum(rate(kepler_container_cpu_joules_total{$F}[20s]))",
            "sum by (pod_name) (rate(kepler_pod_cpu_joules_total{$F}[20s]))",
            "sum by (container_name) (rate(kepler_container_cpu_seconds_total{$F}[20s]))",
            "sum by (gpu, gpu_uuid) (kepler_node_gpu_watts{$F})",
            "kepler_node_gpu_active_watts{$F}",
            "kepler_node_gpu_idle_watts{$F}",
            "kepler_node_gpu_info{$F}",
            "topk(10, sum by (pod_name) (kepler_pod_gpu_watts{$F}))",
            "sum(rate(kepler_process_gpu_joules_total{$F}[20s]))",
            "sum by (source_name) (kepler_platform_watts{$F})",
            "count by (version) (kepler_build_info{$F})",
        ],
    ),
    (
        "kepler",
        &[
            "sum by (pod_name, container_namespace) (irate(kepler_container_package_joules_total{$F, container_namespace=~\".*\", pod_name=~\".*\"}[20s]))",
            "sum by (pod_name, container_namespace) (rate(kepler_container_dram_joules_total{$F}[20s]))",
            "sum by (pod_name, container_namespace) (rate(kepler_container_gpu_joules_total{$F}[20s]))",
            "sum by (pod_name, container_namespace) (rate(kepler_container_other_joules_total{$F}[20s]))",
            "sum by (container_namespace) (increase(kepler_container_joules_total{$F}[30s])) / 3600000",
            "sum(kepler_container_core_joules_total{$F, mode=\"dynamic\"})",
            "sum(rate(kepler_container_joules_total{$F, mode=\"idle\"}[20s]))",
            "sum by (package) (rate(kepler_node_package_joules_total{$F, mode=\"dynamic\"}[20s]))",
            "sum(rate(kepler_node_platform_joules_total{$F}[20s])) - sum(rate(kepler_node_package_joules_total{$F}[20s]))",
            "sum by (source) (rate(kepler_node_dram_joules_total{$F}[20s]))",
            "rate(kepler_process_package_joules_total{$F}[20s])",
            "rate(kepler_vm_package_joules_total{$F}[20s])",
            "rate(kepler_container_bpf_cpu_time_ms_total{$F}[20s])",
            "kepler_node_info{$F}",
            "kepler_exporter_build_info{$F}",
        ],
    ),
];
