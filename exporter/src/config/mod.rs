// SPDX-License-Identifier: Apache-2.0
//! The `[exporter]` section: where to listen, which metrics to write and how many rows to keep.
//!
//! Everything is checked while it is read, so that a wrong value is named with its key before anything starts. Lists
//! may be one string with commas, because environment variables have no lists.

mod address;
mod duration;
mod filters;
mod lists;
mod page;

pub use address::{Address, SocketMode};
pub use duration::HumaneDuration;
pub use filters::{DropConfig, NamespacesConfig, PodLabels};
pub(crate) use lists::some_schemas;
pub use page::{Amount, PageConfig};

use crate::push::PushConfig;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Most process rows that may be asked for: with two metered components that is
/// four series each at some 150 bytes, a page of 60 MB, beyond any use.
const MOST_PROCESSES: usize = 100_000;

/// Longest time that an ended workload may stay visible.
const LONGEST_KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Port of the metrics contract.
const DEFAULT_PORT: u16 = 28282;

/// The `[exporter]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExporterConfig {
    /// Addresses to serve HTTP on: IP addresses with their ports, and socket files as `unix:/run/kepler/kepler.sock`.
    /// Default: `0.0.0.0:28282`.
    pub listen: Listen,
    /// Permissions of the socket files among them. Default: `"0660"`.
    pub socket_mode: SocketMode,
    /// A `web.config.file` of Prometheus' exporters: TLS, basic auth, headers, a rate limit. Default: `""`, none.
    pub web_config: PathBuf,
    /// A file of bearer tokens, one a line, that let in whoever has one. Default: `""`, none.
    pub bearer_token_file: PathBuf,
    /// Whether `/livez` and `/readyz` answer also who says no password or token: the kubelet has none. Default: `true`.
    pub open_probes: bool,
    /// Schemas of metric names to write, all of them side by side. Default: `kepler`.
    #[serde(deserialize_with = "lists::schemas")]
    pub schemas: Vec<Schema>,
    /// Levels to write metrics for. The JSON snapshot always holds all. Default: every level.
    #[serde(deserialize_with = "lists::levels")]
    pub levels: Vec<Level>,
    /// Bounds of the process level.
    pub processes: ProcessesConfig,
    /// What happens to workloads that ended.
    pub ended: EndedConfig,
    /// Labels that are left out. Default: none.
    pub drop: DropConfig,
    /// Labels of pods that their series and their containers' have, `app.kubernetes.io/name` as `label_app_kubernetes_io_name`;
    /// at most 32. Default: none.
    pub pod_labels: PodLabels,
    /// Kubernetes namespaces whose workloads have rows of their own; all others are summed in one row `_other` and, for
    /// processes, in `pid="other"`. Default: all.
    pub namespaces: NamespacesConfig,
    /// Whether OpenMetrics says since when counters count (`_created`), a second series for each counter unless the server takes
    /// it as a timestamp. Default: `true`.
    pub created: bool,
    /// What the live page says about money and carbon.
    pub page: PageConfig,
    /// Who is told without asking. Default: nobody.
    pub push: PushConfig,
    /// Whether `POST /-/reload` reloads the configuration. Default: no, it is answered with 403.
    pub reload: bool,
}

/// The addresses of `exporter.listen`: at least one, none twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listen(#[serde(deserialize_with = "lists::addresses")] Vec<Address>);

impl Listen {
    /// Every address, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.0
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self(vec![
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT)).into(),
        ])
    }
}

/// `[exporter.processes]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessesConfig {
    /// Processes with a row of their own, 0..=100000; all others share one. Default: 200.
    #[serde(deserialize_with = "process_rows")]
    pub max: usize,
}

/// `[exporter.ended]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndedConfig {
    /// How long an ended workload stays visible with its final total, `0s` to `24h`. Default: `3m`.
    #[serde(deserialize_with = "keep")]
    pub keep: HumaneDuration,
}

/// A schema of metric names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schema {
    /// The names of the eBPF-era Kepler, completed.
    #[serde(rename = "kepler")]
    Kepler,
    /// The names, labels and types of today's Kepler (0.11).
    #[serde(rename = "kepler-0.11")]
    Kepler011,
}

/// A level of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The machine's zones and their totals.
    Node,
    /// Containers, and one row each for the system's and the kernel's processes.
    Container,
    /// Kubernetes pods.
    Pod,
    /// Virtual machines.
    Vm,
    /// systemd units.
    Unit,
    /// Processes.
    Process,
}

impl Level {
    /// The word in metric names and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Vm => "vm",
            Self::Unit => "unit",
            Self::Process => "process",
        }
    }

    /// The labels that tell rows of this level apart, in schema `kepler`: those that [`DropConfig`] may leave out.
    pub(crate) const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Node => &[],
            Self::Container => &[
                "container_id",
                "container_name",
                "pod_name",
                "container_namespace",
            ],
            Self::Pod => &["pod_id", "pod_name", "pod_namespace"],
            Self::Vm => &["vm_id", "vm_name", "hypervisor"],
            Self::Unit => &["unit", "slice"],
            Self::Process => &["pid", "command", "container_id", "vm_id"],
        }
    }
}

impl Default for ExporterConfig {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            socket_mode: SocketMode::default(),
            web_config: PathBuf::new(),
            bearer_token_file: PathBuf::new(),
            open_probes: true,
            schemas: vec![Schema::Kepler],
            levels: vec![
                Level::Node,
                Level::Container,
                Level::Pod,
                Level::Vm,
                Level::Unit,
                Level::Process,
            ],
            processes: ProcessesConfig::default(),
            ended: EndedConfig::default(),
            drop: DropConfig::default(),
            pod_labels: PodLabels::default(),
            namespaces: NamespacesConfig::default(),
            created: true,
            page: PageConfig::default(),
            push: PushConfig::default(),
            reload: false,
        }
    }
}

impl Default for ProcessesConfig {
    fn default() -> Self {
        Self { max: 200 }
    }
}

impl Default for EndedConfig {
    fn default() -> Self {
        Self {
            keep: HumaneDuration(Duration::from_secs(180)),
        }
    }
}

fn process_rows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    struct Rows;
    impl Visitor<'_> for Rows {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an integer from 0 to {MOST_PROCESSES}")
        }

        fn visit_u64<E: Error>(self, rows: u64) -> Result<usize, E> {
            usize::try_from(rows)
                .ok()
                .filter(|rows| *rows <= MOST_PROCESSES)
                .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(rows), &self))
        }

        fn visit_i64<E: Error>(self, rows: i64) -> Result<usize, E> {
            match u64::try_from(rows) {
                Ok(rows) => self.visit_u64(rows),
                Err(_negative) => Err(E::invalid_value(Unexpected::Signed(rows), &self)),
            }
        }
    }
    deserializer.deserialize_u64(Rows)
}

fn keep<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HumaneDuration, D::Error> {
    let keep = HumaneDuration::deserialize(deserializer)?;
    if keep.0 > LONGEST_KEEP {
        let found = keep.to_string();
        return Err(D::Error::invalid_value(
            Unexpected::Str(&found),
            &"a duration from 0s to 24h",
        ));
    }
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the config crate does it: whatever the layers are, the section comes as a serde_json value.
    fn read(toml: &str) -> Result<ExporterConfig, String> {
        let section: serde_json::Value = toml::from_str(toml).unwrap();
        serde_json::from_value(section).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_is_the_documented_default() {
        let config = read("").unwrap();
        assert_eq!(config, ExporterConfig::default());
        assert_eq!(
            config.listen.0,
            ["0.0.0.0:28282".parse::<SocketAddr>().unwrap().into()]
        );
        assert_eq!(
            (config.processes.max, config.ended.keep.0),
            (200, Duration::from_secs(180))
        );
        assert_eq!(config.levels.len(), 6);
    }

    #[test]
    fn one_address_a_list_and_a_string_with_commas_all_work() {
        let two = ["127.0.0.1:1", "[::1]:2"].map(|text| Address::parse(text).unwrap());
        assert_eq!(read("listen = '127.0.0.1:1'").unwrap().listen.0, two[..1]);
        assert_eq!(read("listen = ['127.0.0.1:1', '[::1]:2']").unwrap().listen.0, two);
        assert_eq!(read("listen = '127.0.0.1:1, [::1]:2'").unwrap().listen.0, two);
        let three = read("listen = '127.0.0.1:1,[::1]:2,unix:/run/k.sock'")
            .unwrap()
            .listen;
        assert_eq!(three.0.last(), Some(&Address::Unix("/run/k.sock".into())));
        assert_eq!(
            read("levels = 'node, pod'").unwrap().levels,
            [Level::Node, Level::Pod]
        );
    }

    #[test]
    fn what_is_written_out_is_read_back_the_same() {
        let config =
            read("listen = ['[::]:9', 'unix:/k']\nsocket_mode = '0600'\nweb_config = 'web.yml'\nopen_probes = false\nlevels = []\npod_labels = 'b, a.c'\ncreated = false\nschemas = ['kepler-0.11']\ndrop.vm = 'vm_id'\nnamespaces.deny = ['x']\n[processes]\nmax = 0\n[ended]\nkeep = '24h'").unwrap();
        let again: ExporterConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_is_allowed() {
        for (toml, hint) in [
            ("listen = ':28282'", "0.0.0.0:28282"),
            ("listen = 'unix:k.sock'", "unix:/run/kepler/kepler.sock"),
            ("listen = 'unix:/k,unix:/k'", "expected every address once"),
            ("socket_mode = '0999'", "three octal digits"),
            ("open_probes = 'no'", "expected a boolean"),
            ("listen = []", "expected at least one IP address"),
            ("listen = ''", "expected at least one IP address"),
            ("listen = 28282", "a list"),
            ("listen = '1.1.1.1:1,1.1.1.1:1'", "expected every address once"),
            ("schemas = ['kepler-9']", "expected `kepler` or `kepler-0.11`"),
            ("schemas = []", "expected at least one schema"),
            (
                "levels = ['hosts']",
                "expected one of `node`, `container`, `pod`, `vm`, `unit`, `process`",
            ),
            (
                "[processes]\nmax = 100001",
                "expected an integer from 0 to 100000",
            ),
            ("[processes]\nmax = -1", "expected an integer from 0 to 100000"),
            (
                "[processes]\nmax = 'many'",
                "expected an integer from 0 to 100000",
            ),
            ("[ended]\nkeep = '25h'", "expected a duration from 0s to 24h"),
            ("[ended]\nkeep = '3min'", "expected a duration such as"),
            ("[ended]\nkeep = 180", "\"3m\""),
            (
                "drop.pod = ['mode']",
                "expected one of `pod_id`, `pod_name`, `pod_namespace`",
            ),
            ("drop.unit = 'pid'", "expected `unit` or `slice`"),
            ("drop.node = ['package']", "unknown field"),
            ("namespaces.deny = ['Shop']", "lower-case letters"),
            ("namespaces.allow = 'a b'", "lower-case letters"),
            ("pod_labels = ['a b']", "such as app.kubernetes.io/name"),
            ("pod_labels = ['a/']", "such as app.kubernetes.io/name"),
            ("created = 'no'", "expected a boolean"),
            ("port = 1", "unknown field"),
            ("[ended]\nkept = '1m'", "unknown field"),
        ] {
            let error = read(toml).unwrap_err();
            assert!(error.contains(hint), "{toml}: {error}");
        }
    }
}
