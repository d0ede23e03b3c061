// SPDX-License-Identifier: Apache-2.0
//! A BMC that misbehaves, over HTTPS: each fault has its name, costs no joule, delays no read, and is over when it is over.

use super::{clock, count, section, start, start_with, total, wait_for_energy, wait_until, words};
use crate::PowerSource as _;
use attribution::model::ErrorReason;
use integration_tests::bmc::{Bmc, Certificate, Login, Reply, SESSIONS};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ENVIRONMENT: &str = "/redfish/v1/Chassis/1U/EnvironmentMetrics";

fn bmc() -> Bmc {
    let bmc = Bmc::start(Certificate::Signed);
    bmc.serve_one(300.0);
    bmc
}

fn document() -> Value {
    json!({ "PowerWatts": { "Reading": 300 } })
}

/// A section whose requests end after a moment, so that a BMC that hangs is one that is late.
fn impatient(bmc: &Bmc) -> Value {
    let mut section = section(bmc);
    section["timeout"] = json!("200ms");
    section
}

#[test]
fn every_fault_has_its_name_and_is_over_when_the_bmc_is_well_again() {
    use ErrorReason::{Gone, Implausible, Io, Parse, Timeout};
    let bmc = bmc();
    let elsewhere = Bmc::start(Certificate::Signed);
    let mut source = start(&impatient(&bmc));
    wait_for_energy(&mut source);
    let html = b"<!DOCTYPE html><html>please log in</html>".to_vec();
    let long = vec![b' '; (1 << 20) + 1];
    let watts = |watts: Value| Reply::Json(json!({ "PowerWatts": { "Reading": watts } }));
    let faults = [
        ("500", Reply::Status(500), Io, "500"),
        ("503", Reply::Status(503), Io, "503"),
        ("404", Reply::Status(404), Gone, "404"),
        ("slow", Reply::Hang, Timeout, "no whole answer within 200ms"),
        (
            "stops half-way",
            Reply::Stall(document()),
            Timeout,
            "no whole answer within 200ms",
        ),
        (
            "drips",
            Reply::Drip(document()),
            Timeout,
            "no whole answer within 200ms",
        ),
        (
            "breaks off in mid-body",
            Reply::BreakOff(document()),
            Io,
            ENVIRONMENT,
        ),
        ("hangs up", Reply::HangUp, Io, ENVIRONMENT),
        (
            "truncated",
            Reply::Bytes(b"{\"PowerWatts\": {\"Rea".to_vec()),
            Parse,
            "no whole JSON",
        ),
        ("empty", Reply::Bytes(Vec::new()), Parse, "no whole JSON"),
        ("HTML", Reply::Bytes(html), Parse, "HTML or XML"),
        (
            "bottomless",
            Reply::Bytes(vec![b'['; 1 << 20]),
            Parse,
            "recursion limit",
        ),
        (
            "compressed",
            Reply::Bytes(b"\x1f\x8b\x08\x00\x00".to_vec()),
            Parse,
            "no whole JSON",
        ),
        ("endless", Reply::Bytes(long), Parse, "longer than 1048576 bytes"),
        ("null", watts(json!(null)), Parse, "is null, expected a number"),
        ("text", watts(json!("N/A")), Parse, "is a text of 3 letters"),
        ("negative", watts(json!(-1)), Implausible, "is -1 W"),
        (
            "absurd",
            watts(json!(4_294_967.295)),
            Implausible,
            "max_watts is 20000",
        ),
        ("nothing", watts(json!(0)), Implausible, "is 0 W"),
        (
            "redirect to another host",
            Reply::Redirect(format!("{}/x", elsewhere.url())),
            Parse,
            "redirects to host 127.0.0.1",
        ),
        (
            "redirect in a circle",
            Reply::Redirect(ENVIRONMENT.to_owned()),
            Parse,
            "redirects to",
        ),
    ];
    for (name, fault, reason, hint) in faults {
        let before = wait_until(&mut source, name, |energy| Some(count(energy, reason)));
        bmc.set(ENVIRONMENT, fault);
        let found = wait_until(&mut source, name, |energy| {
            (count(energy, reason) > before).then(|| words(energy, reason))
        });
        assert!(found.contains(hint), "{name}: {found}");
        bmc.set(ENVIRONMENT, Reply::Json(document()));
        wait_for_energy(&mut source);
    }
    assert_eq!(bmc.most_in_flight(), 1, "never more than one request at a time");
    assert_eq!(elsewhere.asked().len(), 0, "no word to another host");
}

#[test]
fn a_redirect_within_the_bmc_is_followed() {
    let bmc = bmc();
    bmc.set("/moved", Reply::Json(document()));
    bmc.set(ENVIRONMENT, Reply::Redirect("/moved".to_owned()));
    let mut source = start(&section(&bmc));
    wait_for_energy(&mut source);
    bmc.set(ENVIRONMENT, Reply::Redirect(format!("{}/moved", bmc.url())));
    wait_for_energy(&mut source);
    assert_eq!(bmc.most_in_flight(), 1);
}

#[test]
fn a_read_returns_at_once_while_the_bmc_hangs() {
    let bmc = bmc();
    // With the default time-out of seconds: what is measured is not the time-out.
    let mut source = start_with(&section(&bmc), |policy| {
        policy.first_wait = Duration::from_secs(1)
    });
    bmc.set_all(Some(Reply::Hang));
    let began = Instant::now();
    for _ in 0..1_000 {
        let energy = source.read(clock());
        assert!(energy.zones.is_empty());
    }
    let each = began.elapsed() / 1_000;
    assert!(each < Duration::from_millis(1), "{each:?} for one read");
    bmc.wait_for("/redfish/v1/", 1);
    bmc.set_all(None);
    wait_for_energy(&mut source);
    assert_eq!(bmc.most_in_flight(), 1);
}

#[test]
fn a_bmc_that_is_not_there_when_the_daemon_starts_is_found_when_it_comes() {
    let bmc = bmc();
    for fault in [
        Reply::Hang,
        Reply::HangUp,
        Reply::Status(503),
        Reply::Bytes(b"<html>".to_vec()),
    ] {
        bmc.set_all(Some(fault));
        let mut source = start(&impatient(&bmc));
        wait_until(&mut source, "an error", |energy| {
            (!energy.errors.is_empty()).then_some(())
        });
        bmc.set_all(None);
        wait_for_energy(&mut source);
    }
}

#[test]
fn nothing_at_that_address_is_an_error_with_the_address() {
    let bmc = Bmc::start(Certificate::None);
    let url = bmc.url();
    let mut section = section(&bmc);
    drop(bmc);
    section["insecure"] = json!(true);
    let mut source = start(&section);
    let words = wait_until(&mut source, "an error", |energy| {
        (count(energy, ErrorReason::Io) > 1).then(|| words(energy, ErrorReason::Io))
    });
    assert!(words.contains(&url) && words.contains("refused"), "{words}");
}

#[test]
fn a_chassis_that_does_not_answer_is_down_after_a_while_and_its_last_watts_are_not_held() {
    let bmc = bmc();
    let mut source = start(&impatient(&bmc));
    let last = wait_for_energy(&mut source);
    bmc.set_all(Some(Reply::Status(500)));
    wait_until(&mut source, "an error", |energy| {
        (count(energy, ErrorReason::Io) > 0).then_some(())
    });
    let total_now = total(&source.read(clock())).expect("still listed");
    assert!(total_now >= last);
    let later = |seconds| clock().after(Duration::from_secs(seconds));
    assert_eq!(
        total(&source.read(later(55))),
        Some(total_now),
        "listed, and nothing new is paid"
    );
    assert_eq!(total(&source.read(later(61))), None, "a minute later it is down");
    bmc.set_all(None);
    wait_for_energy(&mut source);
}

#[test]
fn basic_authentication_goes_with_each_request() {
    let bmc = bmc();
    bmc.set_login(Login::Basic("kepler", "sesame".to_owned()));
    let mut section = section(&bmc);
    section["username"] = json!("kepler");
    section["password"] = json!("sesame");
    let mut source = start(&section);
    wait_for_energy(&mut source);
    assert_eq!(count(&source.read(clock()), ErrorReason::Auth), 0);
}

#[test]
fn a_session_is_made_once_made_again_when_it_ended_and_deleted_at_the_end() {
    let bmc = bmc();
    bmc.set_login(Login::Session("kepler", "sesame".to_owned()));
    let mut section = section(&bmc);
    section["username"] = json!("kepler");
    section["password"] = json!("sesame");
    section["auth"] = json!("session");
    let mut source = start(&section);
    wait_for_energy(&mut source);
    bmc.end_sessions();
    bmc.wait_for(SESSIONS, 2);
    wait_for_energy(&mut source);
    assert_eq!(bmc.sessions(), 1);
    let energy = source.read(clock());
    assert_eq!(energy.errors, [], "that a session ends is no failure");
    drop(source);
    assert_eq!(bmc.sessions(), 0, "it does not fill the BMC's table");
    let posts = bmc.asked().iter().filter(|asked| asked.method == "POST").count();
    assert_eq!(posts, 2);
    assert_eq!(bmc.most_in_flight(), 1);
}

#[test]
fn a_session_that_may_not_read_is_not_left_in_the_bmcs_table() {
    let bmc = bmc();
    bmc.set_login(Login::Session("kepler", "sesame".to_owned()));
    // Accepts the password, and then nothing that is asked with it.
    bmc.set("/redfish/v1/Chassis", Reply::Status(401));
    let mut section = section(&bmc);
    section["username"] = json!("kepler");
    section["password"] = json!("sesame");
    section["auth"] = json!("session");
    let mut source = start_with(&section, |policy| {
        policy.first_refusal = Duration::from_millis(20)
    });
    wait_until(&mut source, "refusals", |energy| {
        (count(energy, ErrorReason::Auth) > 4).then_some(())
    });
    assert!(bmc.sessions() <= 1, "{} sessions", bmc.sessions());
    drop(source);
    assert_eq!(bmc.sessions(), 0);
}

#[test]
fn a_source_that_ends_does_not_wait_for_a_bmc_that_hangs() {
    let bmc = bmc();
    bmc.set_login(Login::Session("kepler", "sesame".to_owned()));
    let mut section = section(&bmc);
    section["username"] = json!("kepler");
    section["password"] = json!("sesame");
    section["auth"] = json!("session");
    section["timeout"] = json!("60s");
    let mut source = start(&section);
    wait_for_energy(&mut source);
    bmc.set_all(Some(Reply::Hang));
    let began = Instant::now();
    drop(source);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_wrong_password_is_tried_once_and_a_new_one_in_its_file_at_once() {
    for (auth, login) in [
        ("basic", Login::Basic("kepler", "new".to_owned())),
        ("session", Login::Session("kepler", "new".to_owned())),
    ] {
        let bmc = bmc();
        bmc.set_login(login);
        let folder = tempfile::TempDir::new().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "old\n").expect("a file");
        let mut section = section(&bmc);
        section["username"] = json!("kepler");
        section["password_file"] = json!(file);
        section["auth"] = json!(auth);
        let mut source = start(&section);
        let words = wait_until(&mut source, "a refusal", |energy| {
            (count(energy, ErrorReason::Auth) > 0).then(|| words(energy, ErrorReason::Auth))
        });
        assert!(
            words.contains("401") && words.contains("password_file"),
            "{words}"
        );
        let tries = bmc.asked().len();
        // Many looks at the file later.
        let deadline = Instant::now() + Duration::from_millis(200);
        while Instant::now() < deadline {
            source.read(clock());
        }
        assert_eq!(bmc.asked().len(), tries, "the account is not locked by us");
        std::fs::write(&file, "new\n").expect("a file");
        wait_for_energy(&mut source);
        assert_eq!(count(&source.read(clock()), ErrorReason::Auth), 1);
    }
}

#[test]
fn a_password_file_that_is_empty_yet_is_no_password() {
    let bmc = bmc();
    bmc.set_login(Login::Basic("kepler", "sesame".to_owned()));
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "\n").expect("a file");
    let mut section = section(&bmc);
    section["username"] = json!("kepler");
    section["password_file"] = json!(file);
    let mut source = start(&section);
    let words = wait_until(&mut source, "an error", |energy| {
        (!energy.errors.is_empty()).then(|| words(energy, ErrorReason::Io))
    });
    assert!(words.contains("its first line is empty"), "{words}");
    assert_eq!(bmc.asked().len(), 0, "the account is not locked by us");
    std::fs::write(&file, "sesame\n").expect("a file");
    wait_for_energy(&mut source);
}

#[test]
fn a_login_that_the_bmc_is_too_busy_for_is_no_refused_password_whatever_its_address() {
    let bmc = bmc();
    // "400" in a host, a port or a path says nothing.
    let sessions = "/redfish/v1/Sessions-400";
    let root = json!({
        "Chassis": { "@odata.id": "/redfish/v1/Chassis" },
        "Links": { "Sessions": { "@odata.id": sessions } },
    });
    bmc.set("/redfish/v1/", Reply::Json(root));
    let mut section = section(&bmc);
    section["username"] = json!("kepler");
    section["password"] = json!("sesame");
    section["auth"] = json!("session");
    for (status, reason) in [(503, ErrorReason::Io), (400, ErrorReason::Auth)] {
        bmc.set(sessions, Reply::Status(status));
        let mut source = start(&section);
        let energy = wait_until(&mut source, "an error", |energy| {
            (!energy.errors.is_empty()).then(|| energy.clone())
        });
        assert!(count(&energy, reason) > 0, "{status}: {:?}", energy.errors);
    }
}

#[test]
fn a_source_that_is_only_opened_asks_nothing() {
    let bmc = bmc();
    let source = start(&section(&bmc));
    assert!(source.detail().starts_with(&bmc.url()));
    drop(source);
    assert_eq!(bmc.asked().len(), 0);
}

#[test]
fn what_is_read_is_said_once_it_is_known() {
    let bmc = bmc();
    let mut source = start(&section(&bmc));
    wait_for_energy(&mut source);
    let expected = format!("{}: 1U: EnvironmentMetrics PowerWatts ({ENVIRONMENT})", bmc.url());
    assert_eq!(source.detail(), expected);
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    // Without TLS, so that nothing but the rule stands between the two.
    let elsewhere = Bmc::start(Certificate::None);
    elsewhere.serve_one(300.0);
    for login in [
        Login::Basic("kepler", "sesame".to_owned()),
        Login::Session("kepler", "sesame".to_owned()),
    ] {
        let bmc = Bmc::start(Certificate::None);
        bmc.serve_one(300.0);
        let mut section = section(&bmc);
        section["username"] = json!("kepler");
        section["password"] = json!("sesame");
        section["auth"] = match &login {
            Login::Session(..) => json!("session"),
            _ => json!("basic"),
        };
        bmc.set_login(login);
        let mut source = start(&section);
        wait_for_energy(&mut source);
        bmc.set(
            ENVIRONMENT,
            Reply::Redirect(format!("{}{ENVIRONMENT}", elsewhere.url())),
        );
        wait_until(&mut source, "a refusal", |energy| {
            (count(energy, ErrorReason::Parse) > 1).then_some(())
        });
        // The login itself, too.
        bmc.set(
            SESSIONS,
            Reply::Redirect(format!("{}{SESSIONS}", elsewhere.url())),
        );
        bmc.set_login(Login::Open);
        let mut source = start(&section);
        wait_until(&mut source, "a refusal", |energy| {
            (count(energy, ErrorReason::Parse) > 0).then_some(())
        });
    }
    assert_eq!(elsewhere.asked().len(), 0);
}

#[test]
fn a_reference_to_another_host_is_not_followed_by_the_wire_either() {
    let elsewhere = Bmc::start(Certificate::None);
    elsewhere.serve_one(300.0);
    let bmc = Bmc::start(Certificate::None);
    bmc.serve_one(300.0);
    bmc.set(
        "/redfish/v1/Chassis",
        Reply::Json(
            json!({ "Members": [{ "@odata.id": format!("{}/redfish/v1/Chassis/1U", elsewhere.url()) }] }),
        ),
    );
    let mut source = start(&section(&bmc));
    wait_until(&mut source, "nothing found", |energy| {
        (count(energy, ErrorReason::Gone) > 0).then_some(())
    });
    assert_eq!(elsewhere.asked().len(), 0);
}
