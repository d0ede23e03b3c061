// SPDX-License-Identifier: Apache-2.0
//! A real Prometheus server on the loopback, and what it answers.

use crate::daemon::{PATIENCE, pause};
use crate::http;
use serde_json::Value;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// What to scrape.
pub struct Target<'a> {
    /// Its job.
    pub job: &'a str,
    /// Its label `instance`, as relabelling sets it; without it the address is.
    pub instance: Option<&'a str>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The server, killed when dropped.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Prometheus {
    /// Starts one that scrapes these every second, with the rules of these files.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(targets: &[Target], rules: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let config = folder.path().join("prometheus.yml");
        // JSON is YAML.
        let scrapes: Vec<Value> = targets.iter().map(scrape).collect();
        let all = serde_json::json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "scrape_configs": scrapes, "rule_files": rules,
        });
        fs::write(&config, all.to_string()).expect("a file");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a port");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    /// GET of the API: the `data` of the answer, or null.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        let answer = http::get(self.address, &format!("/api/v1/{path}"), &[]).ok();
        let answer = answer.and_then(|answer| serde_json::from_str::<Value>(&answer.text()).ok());
        answer.map_or(Value::Null, |mut answer| answer["data"].take())
    }

    /// Result of an instant query; nothing where it is refused.
    #[must_use]
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let data = self.get(&format!("query?query={}", encode(expression)));
        data["result"].as_array().cloned().unwrap_or_default()
    }

    /// The value of the first series.
    #[must_use]
    pub fn value(&self, expression: &str) -> Option<f64> {
        self.query(expression).first()?["value"][1].as_str()?.parse().ok()
    }

    /// Values of a label of the series that match, as Grafana asks for `label_values(selector, label)`.
    #[must_use]
    pub fn label_values(&self, selector: &str, label: &str) -> Vec<String> {
        let data = self.get(&format!("label/{label}/values?match%5B%5D={}", encode(selector)));
        let values = data.as_array().cloned().unwrap_or_default();
        values
            .iter()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect()
    }

    /// Waits until `found` says yes.
    ///
    /// # Panics
    /// When it never does.
    pub fn wait_until<T>(&self, what: &str, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE * 4;
        loop {
            if let Some(value) = found(self) {
                return value;
            }
            assert!(Instant::now() < end, "never: {what}");
            pause();
        }
    }
}

fn scrape(target: &Target) -> Value {
    let mut labels = serde_json::Map::new();
    if let Some(instance) = target.instance {
        labels.insert("instance".to_owned(), instance.into());
    }
    serde_json::json!({
        "job_name": format!("{}/{}", target.job, target.address),
        "static_configs": [{ "targets": [target.address.to_string()], "labels": labels }],
        "relabel_configs": [{ "target_label": "job", "replacement": target.job }],
    })
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
