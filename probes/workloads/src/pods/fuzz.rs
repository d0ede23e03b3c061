// SPDX-License-Identifier: Apache-2.0
//! What holds for every answer of an API server or a kubelet, for `integration-tests/fuzz`. In no build of the daemon.

use super::config::Labels;
use super::rules::{KnownPod, known, uid_in_paths};
use super::shape::{self, Event, Pod};

/// Most bytes of one name or label that is kept.
const LONGEST: usize = 512;

fn check(pod: &Pod) {
    let labels = Labels(vec!["app".to_owned(), "app.kubernetes.io/name".to_owned()]);
    let KnownPod {
        facts, containers, ..
    } = known(pod, &labels);
    assert!(containers.len() <= 512, "{} containers", containers.len());
    let made_by = facts.made_by.iter().flat_map(|(kind, name)| [kind, name]);
    let labels = facts.labels.iter().map(|(_, value)| value);
    let of_containers = containers
        .iter()
        .flat_map(|(_, facts)| [Some(&facts.name), facts.image.as_ref()]);
    let names = [&facts.name, &facts.namespace, &facts.qos].into_iter();
    for text in names.chain(made_by).chain(labels).chain(of_containers.flatten()) {
        assert!(text.len() <= LONGEST, "{} bytes", text.len());
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    for (id, _) in &containers {
        assert!(id.as_str().len() <= LONGEST, "{} bytes", id.as_str().len());
    }
    if let Some(uid) = uid_in_paths(pod) {
        assert!(!uid.as_str().is_empty());
    }
}

/// A whole list, as the API server and the kubelet write it.
pub fn list(body: &[u8]) {
    let pods = shape::list(body).ok().and_then(|list| list.items);
    pods.iter().flatten().for_each(check);
}

/// One line of a watch, and the same bytes as the body of a refusal.
pub fn watch(line: &[u8]) {
    match shape::event(line) {
        Ok(Event::Is(pod) | Event::Was(pod)) => check(&pod),
        Ok(Event::Bookmark(_) | Event::Error(..) | Event::Unknown) | Err(_) => {}
    }
    let refusal = shape::refusal(line);
    assert!(refusal.words.len() <= line.len().saturating_mul(3));
}
