// SPDX-License-Identifier: Apache-2.0
//! The files for Kubernetes and compose, without any tool: objects that the API server would take, a configuration that the
//! daemon takes, and pages that say what is there. With kustomize and Helm themselves: `deploy.rs`.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod kubernetes;

use integration_tests::daemon::command;
use integration_tests::manifests;
use kubernetes::{OF_THE_OPERATOR, complaints, documents, is_modest};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("deploy")
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files of a folder and of those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn a_field_that_no_api_server_knows_is_an_error_and_so_is_a_value_of_another_type() {
    let object = |port: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"port": port}]}});
    assert_eq!(complaints(&object(json!(1))), Vec::<String>::new());
    assert_eq!(complaints(&object(json!("one"))).len(), 1);
    let mut wrong = object(json!(1));
    wrong["spec"]["hostPIDs"] = json!(true);
    assert_eq!(complaints(&wrong), ["Service.spec.hostPIDs is no field"]);
}

#[test]
fn every_object_of_the_base_and_of_the_components_is_one_that_kubernetes_knows() {
    let mut kinds = BTreeSet::new();
    for folder in ["kubernetes/base", "kubernetes/components"] {
        for file in files(&deploy().join(folder)) {
            let is_object =
                file.extension().is_some_and(|end| end == "yaml") && !file.ends_with("kustomization.yaml");
            if !is_object {
                continue;
            }
            for object in documents(&fs::read_to_string(&file).unwrap()) {
                assert_eq!(complaints(&object), Vec::<String>::new(), "{}", file.display());
                kinds.insert(object["kind"].as_str().unwrap().to_owned());
            }
        }
    }
    for kind in [
        "DaemonSet",
        "ClusterRole",
        "NetworkPolicy",
        "PodMonitor",
        "PrometheusRule",
    ] {
        assert!(kinds.contains(kind), "{kind}");
    }
}

#[test]
fn every_file_that_a_kustomization_names_is_there_and_every_file_is_named_by_one() {
    let root = deploy().join("kubernetes");
    for file in files(&root)
        .into_iter()
        .filter(|file| file.ends_with("kustomization.yaml"))
    {
        let folder = file.parent().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let kustomization = &documents(&text)[0];
        for key in ["resources", "components"] {
            for named in kustomization[key].as_array().into_iter().flatten() {
                assert!(
                    folder.join(named.as_str().unwrap()).exists(),
                    "{}: {named}",
                    file.display()
                );
            }
        }
        for beside in fs::read_dir(folder).unwrap().flatten() {
            let name = beside.file_name().to_string_lossy().into_owned();
            assert!(
                name == "kustomization.yaml" || beside.path().is_dir() || text.contains(&name),
                "{name} is in no list"
            );
        }
    }
    let boards = documents(&read("grafana/kustomization.yaml"))[0].to_string();
    for board in integration_tests::dashboards::all() {
        assert!(boards.contains(&format!("{}.json", board.file)), "{}", board.file);
    }
}

#[test]
fn the_base_asks_for_four_capabilities_the_hosts_processes_and_pods_and_for_nothing_else() {
    let daemon = documents(&read("kubernetes/base/daemonset.yaml"));
    is_modest(&daemon);
    let pod = kubernetes::pod(&daemon);
    let added = &pod["containers"][0]["securityContext"]["capabilities"]["add"];
    assert_eq!(*added, json!(["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"]));
    assert_eq!(pod["hostPID"], true);
    assert!(pod["hostNetwork"].is_null() && pod["hostIPC"].is_null());
    let rights = documents(&read("kubernetes/base/rights.yaml"));
    let role = rights
        .iter()
        .find(|object| object["kind"] == "ClusterRole")
        .unwrap();
    assert_eq!(
        role["rules"],
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}])
    );
}

#[test]
fn the_daemon_takes_each_configuration_that_is_deployed() {
    let root = deploy();
    let mut configurations: Vec<PathBuf> = files(&root.join("kubernetes"));
    configurations.extend(files(&root.join("compose")));
    configurations.retain(|file| file.ends_with("kepler.toml"));
    assert!(configurations.len() >= 4);
    for file in configurations {
        let output = command().args(["config", "check"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", file.display());
    }
}

#[test]
fn the_rules_of_the_operator_are_the_rules_of_the_files() {
    let made = manifests::prometheus_rule(&deploy().join("prometheus")).unwrap();
    assert!(made == read(manifests::PROMETHEUS_RULE), "old: make deploy-files");
    let object = &documents(&made)[0];
    assert_eq!(object["apiVersion"], OF_THE_OPERATOR);
    let groups: Vec<Value> = manifests::RULES
        .iter()
        .flat_map(|file| {
            documents(&read(&format!("prometheus/{file}")))[0]["groups"]
                .as_array()
                .unwrap()
                .clone()
        })
        .collect();
    assert_eq!(object["spec"]["groups"], Value::Array(groups));
}

/// Paths of everything that can be set in a chart's values; what is empty or a list is one value.
fn leaves(at: &str, value: &Value, schema: &Value, found: &mut Vec<String>) {
    match (value, schema["properties"].as_object()) {
        (Value::Object(entries), Some(properties)) => {
            for (key, value) in entries {
                let path = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                let schema = properties
                    .get(key)
                    .unwrap_or_else(|| panic!("{path} is not in the schema"));
                leaves(&path, value, schema, found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn every_value_of_the_chart_is_in_its_schema_and_in_the_table_of_the_docs() {
    let values = &documents(&read("helm/kepler/values.yaml"))[0];
    let schema: Value = serde_json::from_str(&read("helm/kepler/values.schema.json")).unwrap();
    let mut found = Vec::new();
    leaves("", values, &schema, &mut found);
    assert!(found.len() > 50);
    let page = read("../docs/kubernetes.md");
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    for path in &found {
        assert!(
            documented.contains(path.as_str()),
            "docs/kubernetes.md does not have {path}"
        );
    }
    let templates: String = files(&deploy().join("helm/kepler/templates"))
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    for path in &found {
        // Values of a monitor reach its template under the name that both have.
        let last = path.rsplit('.').next().unwrap();
        let is_used =
            templates.contains(&format!(".Values.{path}")) || templates.contains(&format!(" .{last}"));
        assert!(is_used, "{path} does nothing");
    }
}

#[test]
fn the_compose_file_mounts_what_is_there_and_grants_what_the_docs_say() {
    let compose = &documents(&read("compose/compose.yaml"))[0];
    let services = compose["services"].as_object().unwrap();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["grafana", "kepler", "prometheus"]);
    for (name, service) in services {
        assert!(service["privileged"].is_null(), "{name}");
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let from = volume.as_str().unwrap().split(':').next().unwrap();
            if from.starts_with('.') {
                assert!(deploy().join("compose").join(from).exists(), "{name}: {from}");
            }
        }
    }
    let kepler = &services["kepler"];
    assert_eq!(
        kepler["cap_add"],
        json!(["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"])
    );
    assert_eq!(kepler["cap_drop"], json!(["ALL"]));
    assert_eq!(kepler["user"], "0:0", "capabilities reach root only");
    let config = documents(&read("compose/prometheus.yml"));
    assert_eq!(config[0]["scrape_configs"][0]["job_name"], "kepler");
    let _boards = documents(&read("compose/grafana/dashboards.yaml"));
    let source = &documents(&read("compose/grafana/datasource.yaml"))[0];
    assert_eq!(source["datasources"][0]["type"], "prometheus");
}
