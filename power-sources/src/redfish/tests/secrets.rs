// SPDX-License-Identifier: Apache-2.0
//! No secret in a log line, an error, `Debug` output, a written section or `detail()`, on any path that fails.

use super::super::config::{RedfishConfig, Secret};
use super::super::{check, open};
use super::{clock, section, start, wait_for_energy, wait_until};
use crate::testing::ask;
use crate::{Opened, PowerSource as _};
use attribution::model::Component;
use integration_tests::bmc::{Bmc, Certificate, Login, Reply, SESSIONS, base64};
use serde_json::{Value, json};
use std::fmt;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

const PASSWORD: &str = "open-sesame-4711";

/// Everything that is logged by whichever thread, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut line = Line(String::new());
        attributes.record(&mut line);
        self.0.lock().expect("no panic while held").push(line.0);
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("no panic while held").push(line.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The log of this test process. Others write into it too, which does no harm.
fn log() -> Log {
    static LOG: std::sync::OnceLock<Log> = std::sync::OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        // Only this module sets one.
        drop(tracing::subscriber::set_global_default(log.clone()));
        log
    })
    .clone()
}

fn holds_no_secret(what: &str, text: &str) {
    for secret in [
        PASSWORD.to_owned(),
        base64(format!("kepler:{PASSWORD}").as_bytes()),
        "token-1".to_owned(),
    ] {
        assert!(!text.contains(&secret), "{what} shows {secret}: {text}");
    }
}

#[test]
fn a_secret_is_not_shown_by_debug_nor_written_out() {
    let config: RedfishConfig =
        serde_json::from_value(json!({ "url": "https://bmc", "username": "k", "password": PASSWORD }))
            .expect("a section");
    holds_no_secret("Debug", &format!("{config:?}"));
    let checked = config.check().expect("usable").expect("with a URL");
    holds_no_secret("Debug", &format!("{checked:?}"));
    let written = serde_json::to_string(&config).expect("it writes");
    holds_no_secret("the written section", &written);
    assert!(written.contains("\"password\":\"***\""), "{written}");
    assert_eq!(
        format!("{:?}", Secret::default()),
        "",
        "that there is none may be seen"
    );
}

#[test]
fn a_section_that_is_refused_does_not_show_its_secret() {
    let with = |key: &str, value: Value| {
        let mut section = json!({ "url": "https://bmc", "username": "kepler", "password": PASSWORD });
        section[key] = value;
        section
    };
    let sections = [
        json!({ "url": format!("https://kepler:{PASSWORD}@bmc.example") }),
        json!({ "url": format!("https://{PASSWORD}@bmc.example") }),
        json!({ "url": format!("https:// kepler:{PASSWORD}@bmc") }),
        json!({ "url": format!("ftp://kepler:{PASSWORD}@bmc") }),
        json!({ "password": [PASSWORD] }),
        json!({ "password": { "text": PASSWORD } }),
        with("interval", json!("1ms")),
        with("timeout", json!("1ms")),
        with("max_watts", json!(0)),
        with("password_file", json!("/p")),
        with("username", json!("")),
        with("username", json!("a:b")),
        with("fingerprint", json!("x")),
        with("unknown", json!(1)),
        with("url", json!("http://bmc")),
        with("chassis", json!([""])),
    ];
    for section in sections {
        let error = check(&section).expect_err("refused");
        let mut words = format!("{error} {error:?}");
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            words.push_str(&format!(" {inner} {inner:?}"));
            cause = inner.source();
        }
        holds_no_secret("the refusal", &words);
    }
    // A number: serde's own words would repeat it.
    let error = check(&json!({ "password": 47_114_711 })).expect_err("refused");
    let words = format!("{error:?}");
    assert!(!words.contains("47114711") && words.contains("quotes"), "{words}");
}

#[test]
fn whatever_the_bmc_does_no_secret_is_logged_or_told() {
    let log = log();
    for auth in ["basic", "session"] {
        let bmc = Bmc::start(Certificate::Signed);
        bmc.serve_one(300.0);
        let login = match auth {
            "basic" => Login::Basic("kepler", PASSWORD.to_owned()),
            _ => Login::Session("kepler", PASSWORD.to_owned()),
        };
        bmc.set_login(login.clone());
        let mut section = section(&bmc);
        section["username"] = json!("kepler");
        section["password"] = json!(PASSWORD);
        section["auth"] = json!(auth);
        section["timeout"] = json!("200ms");
        let mut source = start(&section);
        wait_for_energy(&mut source);
        // A BMC that repeats what it was told, where words are made of what it says.
        let echo = format!("{PASSWORD} token-1");
        let watts = |text: &str| Reply::Json(json!({ "PowerWatts": { "Reading": text } }));
        for fault in [
            Reply::Status(500),
            Reply::Status(403),
            Reply::Hang,
            Reply::HangUp,
            Reply::BreakOff(json!({ "echo": echo })),
            Reply::Bytes(format!("<html>{echo}").into_bytes()),
            Reply::Bytes(format!("{{\"{echo}").into_bytes()),
            Reply::Redirect(format!("https://other.example/{PASSWORD}")),
            Reply::Redirect(format!("https://{PASSWORD}.example/")),
            watts(&echo),
            Reply::Json(json!({ "PowerWatts": echo })),
        ] {
            let errors = |energy: &attribution::model::Energy| -> u64 {
                energy.errors.iter().map(|row| row.count).sum()
            };
            let before = errors(&source.read(clock()));
            bmc.set("/redfish/v1/Chassis/1U/EnvironmentMetrics", fault);
            wait_until(&mut source, "an error", |energy| {
                (errors(energy) > before).then_some(())
            });
            holds_no_secret("errors", &format!("{:?}", source.read(clock()).errors));
            bmc.set_watts(json!(300));
            wait_for_energy(&mut source);
        }
        // A login that fails in every way.
        for reply in [
            Reply::Status(401),
            Reply::Status(400),
            Reply::Status(500),
            Reply::Json(json!({ "echo": echo })),
        ] {
            bmc.set(SESSIONS, reply);
            bmc.set_login(Login::Basic("kepler", "another one".to_owned()));
            bmc.end_sessions();
            let mut source = start(&section);
            wait_until(&mut source, "an error", |energy| {
                (!energy.errors.is_empty()).then_some(())
            });
            holds_no_secret("errors", &format!("{:?}", source.read(clock()).errors));
            bmc.set_login(login.clone());
        }
        holds_no_secret("detail", &source.detail());
        drop(source);
    }
    let section = json!({ "url": "https://192.0.2.1", "username": "kepler", "password": PASSWORD });
    if let Ok(Opened::Source(source)) = open(&ask(&section, &[Component::Platform])) {
        holds_no_secret("detail", &source.detail());
    }
    let lines = log.0.lock().expect("no panic while held");
    assert!(
        lines.iter().any(|line| line.contains("reading failed")),
        "the log is listened to"
    );
    for line in lines.iter() {
        holds_no_secret("the log", line);
    }
}
