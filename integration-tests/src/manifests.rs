// SPDX-License-Identifier: Apache-2.0
//! Objects of Kubernetes out of our own files and out of what kustomize and Helm render: read, and held to the schemas
//! strictly, so that a key that no API server knows is an error and not nothing.

use std::fs;
use std::io;
use std::path::Path;

/// The rules as an object of the Prometheus operator, in `deploy`.
pub const PROMETHEUS_RULE: &str = "kubernetes/components/prometheus-operator/rules.yaml";

/// The files of rules, in `deploy/prometheus`, in the order in which they are evaluated.
pub const RULES: [&str; 2] = ["kepler-recording.yaml", "kepler-alerts.yaml"];

const HEAD: &str = "\
# SPDX-License-Identifier: Apache-2.0
# deploy/prometheus/*.yaml as the Prometheus operator takes them. Written by
# make deploy-files; a test holds it to them.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: kepler
  labels: {app.kubernetes.io/name: kepler}
spec:
  groups:
";

/// That object's text, comments kept.
///
/// # Errors
/// When a file of rules cannot be read.
pub fn prometheus_rule(folder: &Path) -> io::Result<String> {
    let mut text = HEAD.to_owned();
    for file in RULES {
        let rules = fs::read_to_string(folder.join(file))?;
        let groups = rules.lines().skip_while(|line| *line != "groups:").skip(1);
        for line in groups {
            let indent = if line.is_empty() { "" } else { "  " };
            text.push_str(&format!("{indent}{line}\n"));
        }
    }
    Ok(text)
}
