// SPDX-License-Identifier: Apache-2.0
//! The section: what is taken, what is refused, and with which words.

use super::super::config::{RedfishConfig, Trust};
use super::super::{check, default_section, open};
use crate::Opened;
use crate::testing::ask;
use attribution::model::Component;
use serde_json::{Value, json};

fn refusal(section: &Value) -> String {
    let error = check(section).expect_err("refused");
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error} {}", cause.unwrap_or_default())
}

fn checked(section: &Value) -> super::super::config::Checked {
    let config: RedfishConfig = crate::section("redfish", section).expect("a section");
    config.check().expect("usable").expect("with a URL")
}

#[test]
fn without_a_url_there_is_no_bmc() {
    for section in [json!(null), json!({}), default_section()] {
        let Ok(Opened::Absent { reason }) = open(&ask(&section, &[Component::Platform])) else {
            panic!("opened {section}");
        };
        assert!(reason.starts_with("sources.redfish.url is not set: "), "{reason}");
    }
}

#[test]
fn with_a_url_there_is_a_source_whether_or_not_anybody_answers() {
    let section = json!({ "url": "https://192.0.2.1", "username": "kepler", "password": "p" });
    let Ok(Opened::Source(source)) = open(&ask(&section, &[Component::Platform])) else {
        panic!("not opened");
    };
    assert_eq!(source.components(), [Component::Platform]);
    assert_eq!(
        source.detail(),
        "https://192.0.2.1: not asked yet, or without an answer"
    );
}

#[test]
fn a_bmc_of_which_no_platform_is_wanted_is_absent() {
    let section = json!({ "url": "https://192.0.2.1" });
    let opened = open(&ask(&section, &[Component::Dram]));
    assert!(matches!(opened, Ok(Opened::Absent { reason }) if reason.contains("platform only")));
}

#[test]
fn a_url_names_a_host_and_a_port_and_nothing_else() {
    for (url, base) in [
        ("https://bmc.example", "https://bmc.example/"),
        ("https://bmc.example/", "https://bmc.example/"),
        ("https://bmc.example/redfish/v1/", "https://bmc.example/"),
        ("https://bmc.example:8443/redfish/v1", "https://bmc.example:8443/"),
        ("https://[2001:db8::7]", "https://[2001:db8::7]/"),
    ] {
        assert_eq!(checked(&json!({ "url": url })).base.as_str(), base);
    }
    for (url, hint) in [
        ("bmc.example", "no URL"),
        ("ftp://bmc.example", "neither https nor http"),
        ("https://bmc.example/api", "more or less than a host"),
        ("https://bmc.example/?a=b", "more or less than a host"),
        ("https://bmc.example/#x", "more or less than a host"),
        ("http://bmc.example", "insecure = true"),
        ("https://admin@bmc.example", "user name or a password"),
    ] {
        let words = refusal(&json!({ "url": url }));
        assert!(
            words.contains("sources.redfish.url") && words.contains(hint),
            "{url}: {words}"
        );
    }
    assert_eq!(
        checked(&json!({ "url": "http://bmc.example", "insecure": true })).trust,
        Trust::Nobody
    );
}

#[test]
fn whom_to_trust_is_said_in_one_way() {
    let url = "https://bmc.example";
    let digest = "AB:".repeat(31) + "ab";
    assert_eq!(checked(&json!({ "url": url })).trust, Trust::System);
    assert_eq!(
        checked(&json!({ "url": url, "ca_file": "/ca.pem" })).trust,
        Trust::Authority("/ca.pem".into())
    );
    assert_eq!(
        checked(&json!({ "url": url, "fingerprint": digest })).trust,
        Trust::Pinned([0xab; 32])
    );
    assert_eq!(
        checked(&json!({ "url": url, "fingerprint": "ab".repeat(32) })).trust,
        Trust::Pinned([0xab; 32])
    );
    for wrong in [
        "ab",
        "xy",
        &"ab".repeat(33),
        &"a".repeat(63),
        "SHA256:abcd",
        &"äb".repeat(32),
    ] {
        let words = refusal(&json!({ "fingerprint": wrong }));
        assert!(words.contains("64 hexadecimal digits"), "{words}");
    }
    for two in [
        json!({ "insecure": true, "ca_file": "/ca.pem" }),
        json!({ "insecure": true, "fingerprint": digest }),
        json!({ "ca_file": "/ca.pem", "fingerprint": digest }),
    ] {
        assert!(refusal(&two).contains("one says whom to trust"), "{two}");
    }
}

#[test]
fn values_outside_their_range_are_refused_with_the_range() {
    for (section, hint) in [
        (json!({ "interval": "999ms" }), "1s to 5m"),
        (json!({ "interval": "301s" }), "1s to 5m"),
        (json!({ "interval": 10 }), "such as \"10s\""),
        (json!({ "interval": "soon" }), "such as \"10s\""),
        (json!({ "timeout": "99ms" }), "100ms to 1m"),
        (json!({ "timeout": "61s" }), "100ms to 1m"),
        (json!({ "max_watts": 0 }), "1 to 1000000"),
        (json!({ "max_watts": 1_000_001 }), "1 to 1000000"),
        (json!({ "chassis": [""] }), "an empty id"),
        (json!({ "chassis": 5 }), "list of chassis ids"),
        (json!({ "reading": "watts" }), "unknown variant"),
        (json!({ "auth": "digest" }), "unknown variant"),
        (json!({ "username": "kepler" }), "without a password"),
        (json!({ "password": "p" }), "is not set, but a password"),
        (json!({ "auth": "session" }), "is not set, but a password"),
        (
            json!({ "username": "k", "password": "p", "password_file": "/p" }),
            "one of them",
        ),
        (json!({ "username": "a:b", "password": "p" }), "a colon"),
    ] {
        let words = refusal(&section);
        assert!(words.contains(hint), "{section}: {words}");
    }
    for section in [
        json!({ "interval": "1s", "timeout": "100ms" }),
        json!({ "interval": "5m", "timeout": "1m", "max_watts": 1_000_000 }),
        json!({ "chassis": "1U, 2U" }),
        json!({ "username": "a:b", "password": "p", "auth": "session" }),
    ] {
        assert!(check(&section).is_ok(), "{section}");
    }
}
