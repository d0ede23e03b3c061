// SPDX-License-Identifier: Apache-2.0
//! What a runtime's files say about a container, in one shape for all of them.

use attribution::model::{ContainerFacts, PodFacts};

/// The longest text that is taken for a name. Kubernetes allows 253 characters, a reference of an image has some 400 at
/// most.
const LONGEST: usize = 512;

/// What kubelet has always called the container that only holds a pod's namespaces.
pub(super) const SANDBOX: &str = "POD";

/// A container by name, and its pod where it is in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) container: ContainerFacts,
    pub(super) pod: Option<PodFacts>,
}

impl Facts {
    /// `None` where there is no name.
    pub(super) fn new(name: Option<&str>, image: Option<&str>) -> Option<Self> {
        Some(Self {
            container: ContainerFacts {
                name: clean(name?)?,
                image: image.and_then(clean),
            },
            pod: None,
        })
    }

    /// In this pod, if both are given.
    pub(super) fn in_pod(mut self, name: Option<&str>, namespace: Option<&str>) -> Self {
        self.pod = name
            .and_then(clean)
            .zip(namespace.and_then(clean))
            .map(|(name, namespace)| PodFacts {
                name,
                namespace,
                ..PodFacts::default()
            });
        self
    }
}

/// The text, if it can be a name: it becomes a label, and users choose it.
fn clean(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}
