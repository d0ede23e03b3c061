// SPDX-License-Identifier: Apache-2.0
//! Whom a source trusts: each way to say so against certificates that do and do not fit.

use super::{count, start, wait_for_energy, wait_until, words};
use attribution::model::ErrorReason;
use integration_tests::bmc::{Bmc, Certificate};
use serde_json::{Value, json};
use tempfile::TempDir;

fn bmc(certificate: Certificate) -> Bmc {
    let bmc = Bmc::start(certificate);
    bmc.serve_one(300.0);
    bmc
}

/// A folder with this BMC's authority in `ca.pem`.
fn folder(bmc: &Bmc) -> (TempDir, String) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, bmc.ca()).expect("a file");
    let file = file.display().to_string();
    (folder, file)
}

fn works(bmc: &Bmc, section: &Value) {
    let mut source = start(section);
    wait_for_energy(&mut source);
    assert!(!bmc.asked().is_empty());
}

/// Gives the words of the refusal.
fn is_refused(bmc: &Bmc, section: &Value) -> String {
    let mut source = start(section);
    let words = wait_until(&mut source, "a refusal", |energy| {
        (count(energy, ErrorReason::Io) > 1).then(|| words(energy, ErrorReason::Io))
    });
    assert_eq!(bmc.asked().len(), 0, "nothing is said to whom is not trusted");
    words
}

#[test]
fn a_certificate_that_nobody_known_signed_is_refused_by_default() {
    for certificate in [Certificate::Signed, Certificate::SelfSigned] {
        let bmc = bmc(certificate);
        let words = is_refused(&bmc, &json!({ "url": bmc.url() }));
        assert!(
            words.contains("certificate") && words.contains("set sources.redfish.ca_file or fingerprint"),
            "{words}"
        );
    }
}

#[test]
fn a_certificate_of_the_configured_authority_is_accepted_and_of_another_one_refused() {
    let bmc = bmc(Certificate::Signed);
    let (_folder, file) = folder(&bmc);
    works(&bmc, &json!({ "url": bmc.url(), "ca_file": file }));
    // By the name, too.
    let by_name = bmc.url().replace("127.0.0.1", "localhost");
    works(&bmc, &json!({ "url": by_name, "ca_file": file }));
    let other = self::bmc(Certificate::Signed);
    is_refused(&other, &json!({ "url": other.url(), "ca_file": file }));
}

#[test]
fn a_certificate_for_another_host_or_of_the_past_is_refused_whoever_signed_it_unless_it_is_pinned() {
    for (certificate, hint) in [
        (Certificate::OfAnotherHost, "not valid for name"),
        (Certificate::Expired, "expired"),
    ] {
        let bmc = bmc(certificate);
        let (_folder, file) = folder(&bmc);
        let words = is_refused(&bmc, &json!({ "url": bmc.url(), "ca_file": file }));
        assert!(words.contains(hint), "{words}");
        works(
            &bmc,
            &json!({ "url": bmc.url(), "fingerprint": bmc.fingerprint() }),
        );
    }
}

#[test]
fn a_self_signed_certificate_can_be_its_own_authority() {
    let bmc = bmc(Certificate::SelfSigned);
    let (_folder, file) = folder(&bmc);
    works(&bmc, &json!({ "url": bmc.url(), "ca_file": file }));
}

#[test]
fn an_authority_that_is_not_there_yet_is_waited_for() {
    let bmc = bmc(Certificate::Signed);
    let (folder, file) = folder(&bmc);
    std::fs::remove_file(&file).expect("it was there");
    let mut source = start(&json!({ "url": bmc.url(), "ca_file": file }));
    let words = wait_until(&mut source, "a missing file", |energy| {
        (count(energy, ErrorReason::Io) > 0).then(|| words(energy, ErrorReason::Io))
    });
    assert!(words.contains("ca.pem"), "{words}");
    std::fs::write(folder.path().join("ca.pem"), bmc.ca()).expect("a file");
    wait_for_energy(&mut source);
}

#[test]
fn an_authority_that_is_exchanged_is_read_again() {
    let (bmc, other) = (bmc(Certificate::Signed), bmc(Certificate::Signed));
    let (_folder, file) = folder(&other);
    let mut source = start(&json!({ "url": bmc.url(), "ca_file": file }));
    wait_until(&mut source, "a refusal", |energy| {
        (count(energy, ErrorReason::Io) > 1).then_some(())
    });
    std::fs::write(&file, bmc.ca()).expect("a file");
    wait_for_energy(&mut source);
}

#[test]
fn a_pinned_certificate_is_accepted_whoever_signed_it_and_every_other_one_refused() {
    for certificate in [Certificate::Signed, Certificate::SelfSigned] {
        let bmc = bmc(certificate);
        works(
            &bmc,
            &json!({ "url": bmc.url(), "fingerprint": bmc.fingerprint() }),
        );
        let other = self::bmc(certificate);
        let words = is_refused(
            &other,
            &json!({ "url": other.url(), "fingerprint": bmc.fingerprint() }),
        );
        assert!(
            words.contains(other.fingerprint()),
            "it says what it was shown: {words}"
        );
    }
}

#[test]
fn without_verification_every_certificate_and_http_are_accepted() {
    for certificate in [Certificate::Signed, Certificate::SelfSigned, Certificate::None] {
        let bmc = bmc(certificate);
        works(&bmc, &json!({ "url": bmc.url(), "insecure": true }));
    }
}
