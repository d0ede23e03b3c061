// SPDX-License-Identifier: Apache-2.0
//! Rows of `kepler check` about HTTP: how we are asked, and whether those whom we push to can be reached.
//!
//! A receiver is asked for nothing, as who we are; no figure leaves the machine.

use super::{Report, Verdict};
use crate::clock;
use config::Loaded;
use exporter::push::{self, Knock};
use exporter::{Checked, Entrance, ExporterConfig};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// A certificate that ends sooner is worth a word.
const SOON: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn rows(report: &mut Report, loaded: &Loaded) {
    let Ok(exporter) = loaded.section::<ExporterConfig>("exporter") else {
        return;
    };
    of_addresses(report, &exporter);
    for knock in knocks(&exporter) {
        let (verdict, detail) = of_receiver(&knock);
        report.say("push", knock.receiver, verdict, detail);
    }
}

fn of_addresses(report: &mut Report, exporter: &ExporterConfig) {
    match Entrance::check(exporter) {
        Ok(checked) => {
            report.say("http", "security", Verdict::Fact, checked.security.clone());
            if !exporter.web_config.as_os_str().is_empty() {
                let (verdict, detail) = of_web_config(&exporter.web_config, &checked, clock::unix());
                report.say("http", "web config", verdict, detail);
            }
        }
        Err(error) => return report.say("http", "security", Verdict::Fatal, error.to_string()),
    }
    match Entrance::open(exporter) {
        Ok(entrance) => {
            let addresses: Vec<_> = entrance.addresses().iter().map(ToString::to_string).collect();
            report.say("http", "listen", Verdict::Yes, addresses.join(", "));
        }
        // Not fatal here: it is what a check beside a running daemon sees.
        Err(error) => report.say(
            "http",
            "listen",
            Verdict::No,
            format!("{:#}", anyhow::Error::from(error)),
        ),
    }
}

/// That it can be read was seen; whether its certificate is still good `now`, in Unix time.
fn of_web_config(path: &Path, checked: &Checked, now: Duration) -> (Verdict, String) {
    let path = path.display();
    let Some(ends) = checked.certificate_ends.map(Duration::from_secs) else {
        return (Verdict::Yes, format!("{path}: read, without a certificate"));
    };
    // Beyond what a date can be, it never ends.
    let date = UNIX_EPOCH.checked_add(ends).unwrap_or(UNIX_EPOCH);
    let date = humantime::format_rfc3339_seconds(date);
    let left = ends.saturating_sub(now);
    let days = left.as_secs() / 86_400;
    if left.is_zero() {
        let detail = format!("{path}: the certificate ended on {date}, and clients will refuse it: renew it");
        return (Verdict::No, detail);
    }
    let advice = if left < SOON { ": renew it" } else { "" };
    let detail = format!("{path}: read, certificate valid until {date} ({days} days){advice}");
    (Verdict::Yes, detail)
}

/// Asks all receivers that are configured, at once; each within its own `request.timeout`.
fn knocks(exporter: &ExporterConfig) -> Vec<Knock> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(push::knock(&exporter.push, env!("CARGO_PKG_VERSION"))),
        Err(error) => {
            tracing::error!(%error, "no runtime to ask receivers with");
            Vec::new()
        }
    }
}

/// Any answer is one: a receiver need not know how to answer a request for nothing.
fn of_receiver(knock: &Knock) -> (Verdict, String) {
    let Knock { address, answer, .. } = knock;
    match answer {
        Ok(status @ (401 | 403)) => (
            Verdict::No,
            format!(
                "{address} answers {status}: set request.token_file, or request.username and request.password_file"
            ),
        ),
        Ok(404) => (
            Verdict::No,
            format!(
                "{address} answers 404: there may be no receiver at the path of the url; docs/push.md lists the usual ones"
            ),
        ),
        Ok(status) => (Verdict::Yes, format!("{address} answers ({status} to HEAD)")),
        Err(words) => (Verdict::No, format!("{address}: {words}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn the_end_of_a_certificate_is_told_and_judged() {
        let path = Path::new("/etc/kepler/web.yml");
        let ends = |certificate_ends| Checked {
            security: String::new(),
            certificate_ends,
        };
        let now = Duration::from_secs(1_700_000_000);
        for (certificate_ends, verdict, words) in [
            (None, Verdict::Yes, "without a certificate"),
            (
                Some(1_702_592_000),
                Verdict::Yes,
                "until 2023-12-14T22:13:20Z (30 days)",
            ),
            (Some(1_700_086_400), Verdict::Yes, "(1 days): renew it"),
            (Some(1_700_000_000), Verdict::No, "ended on 2023-11-14T22:13:20Z"),
        ] {
            let (said, detail) = of_web_config(path, &ends(certificate_ends), now);
            assert_eq!(said, verdict, "{detail}");
            assert!(
                detail.contains(words) && detail.starts_with("/etc/kepler/web.yml: "),
                "{detail}"
            );
        }
    }

    #[test]
    fn a_receiver_is_asked_for_nothing_and_what_it_says_is_a_row() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = std::thread::spawn(move || {
            let statuses = ["405 Method Not Allowed", "401 Unauthorized", "404 Not Found"];
            statuses.map(|status| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0; 1];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(head).unwrap()
            })
        });
        let config = |address: &str| -> ExporterConfig {
            let url = format!("http://{address}/api/v1/write");
            let config = serde_json::json!({ "push": { "remote_write": { "url": url } } });
            serde_json::from_value(config).unwrap()
        };
        let here = config(&address.to_string());
        let said: Vec<_> = [0; 3]
            .iter()
            .map(|_| {
                let [knock] = &knocks(&here)[..] else {
                    panic!("one receiver")
                };
                of_receiver(knock)
            })
            .collect();
        assert_eq!(
            said.iter().map(|said| said.0).collect::<Vec<_>>(),
            [Verdict::Yes, Verdict::No, Verdict::No]
        );
        assert!(said[0].1.contains("405 to HEAD") && said[1].1.contains("token_file"));
        for head in receiver.join().unwrap() {
            assert!(head.starts_with("HEAD /api/v1/write HTTP/1.1\r\n"), "{head}");
            assert!(!head.to_lowercase().contains("content-encoding"), "{head}");
        }
        // Nobody listens there any more.
        let (verdict, detail) = of_receiver(&knocks(&here)[0]);
        assert_eq!(verdict, Verdict::No);
        assert!(detail.contains(&address.to_string()), "{detail}");
        assert!(knocks(&ExporterConfig::default()).is_empty());
    }
}
