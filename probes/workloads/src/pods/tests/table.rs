// SPDX-License-Identifier: Apache-2.0
//! Who is in the table, and for how long.

use super::super::book::Book;
use super::super::config::Labels;
use super::{of, web};
use attribution::model::PodUid;
use integration_tests::api_server::ids;
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn named(name: &str) -> Value {
    let mut pod = web(&format!("uid-{name}"), &[("web", &ids('a'))]);
    pod["metadata"]["name"] = json!(name);
    pod
}

fn has(book: &Book, name: &str) -> bool {
    book.pods().contains_key(&PodUid::new(&format!("uid-{name}")))
}

#[test]
fn a_pod_that_is_deleted_missing_or_over_stays_for_ten_minutes() {
    let mut book = Book::new(Labels::default());
    book.replace(
        &["stays", "missing", "deleted", "over"].map(|name| of(named(name))),
        SECOND,
    );
    assert!(
        !book.remove(&of(named("deleted")), SECOND),
        "nobody's name changes"
    );
    let mut over = named("over");
    over["status"]["phase"] = json!("Succeeded");
    assert!(book.put(&of(over.clone()), SECOND));
    book.replace(&[of(named("stays")), of(over.clone())], SECOND);
    for name in ["stays", "missing", "deleted", "over"] {
        assert!(has(&book, name), "{name}");
    }
    assert!(!book.put(&of(named("stays")), SECOND * 600));
    assert!(has(&book, "deleted"));
    assert!(book.put(&of(named("stays")), SECOND * 601));
    for (name, is_there) in [
        ("stays", true),
        ("missing", false),
        ("deleted", false),
        ("over", false),
    ] {
        assert_eq!(has(&book, name), is_there, "{name}");
    }
}

#[test]
fn a_pod_that_comes_back_is_not_forgotten() {
    let mut book = Book::new(Labels::default());
    book.replace(&[of(named("a"))], SECOND);
    book.replace(&[], SECOND);
    let mut again = named("a");
    again["metadata"]["labels"]["team"] = json!("red");
    again["status"]["qosClass"] = json!("Guaranteed");
    book.replace(&[of(again)], SECOND * 2);
    book.replace(&[of(named("a"))], SECOND * 700);
    assert!(has(&book, "a"));
}

#[test]
fn a_pod_that_a_list_of_the_past_did_not_have_and_that_is_told_again_stays() {
    let mut book = Book::new(Labels::default());
    book.put(&of(named("a")), SECOND);
    book.put(&of(named("b")), SECOND);
    // Another server of the same cluster, some seconds behind; then the watch tells what it does not know yet.
    book.replace(&[], SECOND * 2);
    book.put(&of(named("a")), SECOND * 3);
    book.put(&of(named("c")), SECOND * 700);
    assert!(has(&book, "a") && !has(&book, "b"));
}

#[test]
fn a_pod_that_is_missing_in_every_list_is_gone_once() {
    let mut book = Book::new(Labels::default());
    book.put(&of(named("a")), SECOND);
    for _ in 0..2_000 {
        book.replace(&[], SECOND * 2);
    }
    assert!(has(&book, "a"), "for its ten minutes");
}

#[test]
fn a_pod_that_wears_another_pods_uid_takes_neither_its_name_nor_its_place() {
    let mut wears = web("uid-own", &[("web", &ids('b'))]);
    wears["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "uid-a" });
    let mut book = Book::new(Labels::default());
    let name = |book: &Book| book.pods()[&PodUid::new("uid-a")].facts.name.clone();
    book.put(&of(wears.clone()), SECOND);
    book.put(&of(named("a")), SECOND);
    assert_eq!(name(&book), "a", "the pod of that UID wins");
    assert!(!book.put(&of(wears.clone()), SECOND));
    book.remove(&of(wears), SECOND);
    book.put(&of(named("c")), SECOND * 700);
    assert_eq!(name(&book), "a");
}

#[test]
fn what_is_said_again_is_no_news_and_keeps_its_place_in_memory() {
    let mut book = Book::new(Labels::default());
    assert!(book.put(&of(named("a")), SECOND));
    assert!(!book.put(&of(named("a")), SECOND));
    let uid = PodUid::new("uid-a");
    let before = std::sync::Arc::clone(book.pods().get(&uid).unwrap());
    let mut more = named("a");
    more["status"]["ephemeralContainerStatuses"] = json!([{ "name": "d", "containerID": "containerd://d" }]);
    assert!(book.put(&of(more), SECOND));
    let after = book.pods().get(&uid).unwrap();
    assert!(std::sync::Arc::ptr_eq(&before.facts, &after.facts));
    assert!(std::sync::Arc::ptr_eq(
        &before.containers[0].1,
        &after.containers[0].1
    ));
}

#[test]
fn a_flood_of_pods_leaves_no_more_than_fit() {
    let mut book = Book::new(Labels::default());
    for number in 0..20_000 {
        let pod = of(json!({ "metadata": { "uid": format!("u{number}"), "name": "p", "namespace": "n" } }));
        book.put(&pod, SECOND);
        book.remove(&pod, SECOND);
    }
    assert_eq!((book.pods().len(), book.refused()), (1_024, 0));
    for number in 0..5_000 {
        let pod = of(json!({ "metadata": { "uid": format!("v{number}"), "name": "p", "namespace": "n" } }));
        book.put(&pod, SECOND);
    }
    assert_eq!(book.pods().len(), 4_096);
    assert!(book.refused() > 0);
    let known = book.pods().keys().find(|uid| uid.as_str().starts_with('v'));
    let changed =
        of(json!({ "metadata": { "uid": known.unwrap().as_str(), "name": "q", "namespace": "n" } }));
    assert!(book.put(&changed, SECOND), "who is in has a place");
}
