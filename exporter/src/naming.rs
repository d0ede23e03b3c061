// SPDX-License-Identifier: Apache-2.0
//! What rows are called in both schemas, as the configuration wants it: labels left out, labels of pods added.

use crate::config::{DropConfig, Level, NamespacesConfig, PodLabels};
use crate::text::writer::Labels;
use attribution::model::snapshot::UnitKey;
use attribution::model::{PodFacts, VmFacts};

/// Every label of the row that sums workloads in denied namespaces. No Kubernetes name begins so.
const DENIED: &str = "_other";
/// The `pid` of the row that sums processes without one.
const OTHER: &str = "other";

/// How rows are called.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    pub(crate) drop: DropConfig,
    pub(crate) pod_labels: PodLabels,
    pub(crate) namespaces: NamespacesConfig,
    /// `node_name` of schema `kepler-0.11`; `None` where that schema is off.
    pub(crate) node: Option<String>,
}

impl Naming {
    /// Labels that are left out of a level.
    fn dropped(&self, level: Level) -> &[String] {
        match level {
            Level::Node => &[],
            Level::Container => &self.drop.container,
            Level::Pod => &self.drop.pod,
            Level::Vm => &self.drop.vm,
            Level::Unit => &self.drop.unit,
            Level::Process => &self.drop.process,
        }
    }

    /// Whether rows of a level may become one.
    pub(crate) fn folds(&self, level: Level) -> bool {
        let in_namespaces = matches!(level, Level::Container | Level::Pod | Level::Process);
        !self.dropped(level).is_empty() || (in_namespaces && !self.namespaces.is_everything())
    }

    fn with_pod_labels(&self, mut labels: Labels, pod: Option<&PodFacts>) -> Labels {
        for label in self.pod_labels.iter() {
            let known = pod.and_then(|pod| pod.labels.iter().find(|(name, _)| *name == label.of_pod));
            labels = labels.with(&label.name, known.map_or("", |(_, value)| value));
        }
        labels
    }

    /// The beginning of a row's labels in schema `kepler-0.11`, where that is on.
    fn today(&self, write: impl FnOnce(Labels) -> Labels) -> Labels {
        let node = self.node.as_ref();
        node.map_or_else(Labels::none, |node| {
            write(Labels::none().with("node_name", node)).tight()
        })
    }

    /// The row that sums what is denied on a level; for processes the row of all others.
    pub(crate) fn denied(&self, level: Level) -> Face {
        match level {
            Level::Process => self.process(OTHER, "", "", "", "", "regular"),
            Level::Container => self.container(DENIED, DENIED, (DENIED, DENIED, DENIED), None, ""),
            Level::Node | Level::Pod | Level::Vm | Level::Unit => self.pod(DENIED, (DENIED, DENIED), None),
        }
    }

    /// `pod`: its name, namespace and id.
    pub(crate) fn container(
        &self,
        id: &str,
        name: &str,
        pod: (&str, &str, &str),
        facts: Option<&PodFacts>,
        runtime: &str,
    ) -> Face {
        let drop = self.dropped(Level::Container);
        let kepler = Labels::none()
            .kept(drop, "container_id", id)
            .kept(drop, "container_name", name)
            .kept(drop, "pod_name", pod.0)
            .kept(drop, "container_namespace", pod.1);
        let today = self.today(|labels| {
            let labels = labels
                .kept(drop, "container_id", id)
                .kept(drop, "container_name", name)
                .with("runtime", runtime);
            let labels = if drop.iter().any(|label| label == "pod_name") {
                labels
            } else {
                labels.with("pod_id", pod.2)
            };
            self.with_pod_labels(labels, facts)
        });
        Face {
            kepler: self.with_pod_labels(kepler, facts).tight(),
            today,
        }
    }

    /// `pod`: its name and namespace.
    pub(crate) fn pod(&self, id: &str, pod: (&str, &str), facts: Option<&PodFacts>) -> Face {
        let drop = self.dropped(Level::Pod);
        let own = |labels: Labels| {
            let labels = labels
                .kept(drop, "pod_id", id)
                .kept(drop, "pod_name", pod.0)
                .kept(drop, "pod_namespace", pod.1);
            self.with_pod_labels(labels, facts)
        };
        Face {
            kepler: own(Labels::none()).tight(),
            today: self.today(own),
        }
    }

    pub(crate) fn vm(&self, id: &str, facts: Option<&VmFacts>) -> Face {
        let drop = self.dropped(Level::Vm);
        let own = |labels: Labels| {
            labels
                .kept(drop, "vm_id", id)
                .kept(drop, "vm_name", facts.map_or("", |vm| vm.name.as_str()))
                .kept(drop, "hypervisor", facts.map_or("", |vm| vm.hypervisor))
        };
        Face {
            kepler: own(Labels::none()).tight(),
            today: self.today(own),
        }
    }

    /// Today's Kepler knows no units.
    pub(crate) fn unit(&self, key: &UnitKey) -> Face {
        let drop = self.dropped(Level::Unit);
        let kepler = Labels::none()
            .kept(drop, "unit", &key.unit)
            .kept(drop, "slice", &key.slice);
        Face {
            kepler: kepler.tight(),
            today: Labels::none(),
        }
    }

    /// `container`: the row that holds the process, and the real container, if it is in one.
    pub(crate) fn process(
        &self,
        pid: &str,
        command: &str,
        row: &str,
        container: &str,
        vm: &str,
        kind: &str,
    ) -> Face {
        let drop = self.dropped(Level::Process);
        let kepler = Labels::none()
            .kept(drop, "pid", pid)
            .kept(drop, "command", command)
            .kept(drop, "container_id", row)
            .kept(drop, "vm_id", vm);
        let today = self.today(|labels| {
            let labels = labels.kept(drop, "pid", pid);
            let labels = if drop.iter().any(|label| label == "command") {
                labels
            } else {
                labels.with("comm", command)
            };
            labels
                .with("exe", "")
                .with("type", kind)
                .kept(drop, "container_id", container)
                .kept(drop, "vm_id", vm)
        });
        Face {
            kepler: kepler.tight(),
            today,
        }
    }
}

/// What a row is called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Face {
    /// In schema `kepler`.
    pub(crate) kepler: Labels,
    /// In schema `kepler-0.11`, without `state` and `zone`; empty where that schema is off.
    pub(crate) today: Labels,
}
