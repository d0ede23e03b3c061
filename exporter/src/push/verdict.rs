// SPDX-License-Identifier: Apache-2.0
//! What an answer means, and how long to wait after a bad one. Pure: the status, the headers, the body and a random number come in.

use super::messages::otlp;
use prost::Message;
use std::time::{Duration, SystemTime};

/// First pause after a failed try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause that we choose ourselves: a receiver that is back gets what waits within that time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Doublings from the first to the longest pause.
const MOST_DOUBLINGS: u32 = 6;
/// Words of a receiver that are told to people, in characters.
const MOST_WORDS: usize = 200;

/// What is spoken with a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    RemoteWrite1,
    RemoteWrite2,
    Otlp,
}

impl Protocol {
    /// The `receiver` label.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RemoteWrite1 | Self::RemoteWrite2 => "remote_write",
            Self::Otlp => "otlp",
        }
    }
}

/// An answer, as far as it matters.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `Retry-After`.
    pub(super) retry_after: Option<String>,
    /// `X-Prometheus-Remote-Write-Samples-Written`.
    pub(super) written: Option<String>,
    pub(super) body: Vec<u8>,
}

/// What it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken, but for so many samples, with the receiver's words.
    Taken { rejected: usize, words: String },
    /// To be sent again, not before that time.
    Again { after: Option<Duration>, words: String },
    /// Never to be taken.
    Refused { words: String },
}

/// Judges an answer to `samples`. `now` is the Unix time, for a `Retry-After` that is a date.
pub(super) fn judge(protocol: Protocol, answer: &Answer, samples: usize, now: Duration) -> Verdict {
    let words = words(answer);
    match answer.status {
        200..=299 => taken(protocol, answer, samples, words),
        status if is_temporary(protocol, status) => Verdict::Again {
            after: answer.retry_after.as_deref().and_then(|text| pause(text, now)),
            words,
        },
        _ => Verdict::Refused { words },
    }
}

/// Remote write: "on HTTP 5xx and 429". OTLP names its four, and that all others must not be sent again.
const fn is_temporary(protocol: Protocol, status: u16) -> bool {
    match protocol {
        Protocol::RemoteWrite1 | Protocol::RemoteWrite2 => matches!(status, 429 | 500..=599),
        Protocol::Otlp => matches!(status, 429 | 502 | 503 | 504),
    }
}

fn taken(protocol: Protocol, answer: &Answer, samples: usize, words: String) -> Verdict {
    match protocol {
        Protocol::RemoteWrite1 => Verdict::Taken {
            rejected: 0,
            words: String::new(),
        },
        // A receiver that does not say what it wrote has read the request as one of version 1.0, and found nothing in it.
        Protocol::RemoteWrite2 => match answer.written.as_deref().map(str::parse::<usize>) {
            Some(Ok(written)) => Verdict::Taken {
                rejected: samples.saturating_sub(written),
                words,
            },
            Some(Err(_)) | None => Verdict::Refused {
                words: "it takes no remote write 2.0 (it does not say how many samples it wrote); set version = \"1.0\"".to_owned(),
            },
        },
        Protocol::Otlp => {
            let partial = otlp::Response::decode(&*answer.body).ok().and_then(|response| response.partial);
            let partial = partial.unwrap_or_default();
            Verdict::Taken {
                rejected: usize::try_from(partial.rejected).unwrap_or(0),
                words: cut(&partial.words),
            }
        }
    }
}

/// The status and the first line of the body, for people. The receiver's words are another's: cut, and without control characters.
fn words(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let line = cut(text.lines().next().unwrap_or_default());
    if line.is_empty() {
        format!("HTTP {}", answer.status)
    } else {
        format!("HTTP {}: {line}", answer.status)
    }
}

fn cut(text: &str) -> String {
    let plain = text
        .trim()
        .chars()
        .filter(|c| !c.is_control() && *c != '\u{fffd}');
    plain.take(MOST_WORDS).collect()
}

/// RFC 9110, 10.2.3: seconds, or a date.
fn pause(text: &str, now: Duration) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(now))
}

/// Pauses between tries: each twice as long, and none the same on two nodes.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    /// The next pause. `random` is from 0 to 1; what the receiver asks for is the least, up to `most`.
    pub(super) fn next(&mut self, random: f64, asked: Option<Duration>, most: Duration) -> Duration {
        let whole = FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(self.0))
            .min(LONGEST_PAUSE);
        self.0 = self.0.saturating_add(1).min(MOST_DOUBLINGS);
        let jittered = whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        jittered.max(asked.unwrap_or_default().min(most))
    }

    /// It was answered.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(784_111_777 - 10);

    fn answer(status: u16, retry_after: Option<&str>, body: &str) -> Answer {
        Answer {
            status,
            retry_after: retry_after.map(str::to_owned),
            written: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn what_may_pass_is_sent_again_and_what_is_wrong_is_not() {
        for (protocol, status, again) in [
            (Protocol::RemoteWrite1, 429, true),
            (Protocol::RemoteWrite1, 500, true),
            (Protocol::RemoteWrite2, 503, true),
            (Protocol::RemoteWrite1, 400, false),
            (Protocol::RemoteWrite1, 401, false),
            (Protocol::RemoteWrite2, 415, false),
            (Protocol::RemoteWrite1, 302, false),
            (Protocol::Otlp, 429, true),
            (Protocol::Otlp, 503, true),
            (Protocol::Otlp, 500, false),
            (Protocol::Otlp, 400, false),
        ] {
            let verdict = judge(protocol, &answer(status, None, "a\u{1b}[0m\nb"), 1, NOW);
            let words = format!("HTTP {status}: a[0m");
            let expected = match again {
                true => Verdict::Again { after: None, words },
                false => Verdict::Refused { words },
            };
            assert_eq!(verdict, expected, "{protocol:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (text, expected) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            // RFC 9110's own example.
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let verdict = judge(Protocol::Otlp, &answer(429, Some(text), ""), 1, NOW);
            let after = expected.map(Duration::from_secs);
            let words = "HTTP 429".to_owned();
            assert_eq!(verdict, Verdict::Again { after, words }, "{text}");
        }
    }

    #[test]
    fn what_a_receiver_took_only_in_part_is_counted() {
        let taken = |rejected, words: &str| Verdict::Taken {
            rejected,
            words: words.to_owned(),
        };
        let partial = otlp::Response {
            partial: Some(otlp::Partial {
                rejected: 3,
                words: "too old".to_owned(),
            }),
        };
        let of_otlp = |body: Vec<u8>| {
            let answer = Answer {
                status: 200,
                body,
                ..Answer::default()
            };
            judge(Protocol::Otlp, &answer, 9, NOW)
        };
        assert_eq!(of_otlp(partial.encode_to_vec()), taken(3, "too old"));
        assert_eq!(of_otlp(Vec::new()), taken(0, ""));
        assert_eq!(of_otlp(b"{}".to_vec()), taken(0, ""), "no protobuf");
        let of_v2 = |written: Option<&str>| {
            let answer = Answer {
                status: 204,
                written: written.map(str::to_owned),
                ..Answer::default()
            };
            judge(Protocol::RemoteWrite2, &answer, 9, NOW)
        };
        assert_eq!(of_v2(Some("9")), taken(0, "HTTP 204"));
        assert_eq!(of_v2(Some("4")), taken(5, "HTTP 204"));
        assert!(matches!(of_v2(None), Verdict::Refused { words } if words.contains("version = \"1.0\"")));
    }

    #[test]
    fn pauses_double_to_half_a_minute_and_last_as_long_as_the_receiver_asks() {
        let mut backoff = Backoff::default();
        let most = Duration::from_secs(600);
        let millis: Vec<_> = (0..9)
            .map(|_| backoff.next(1.0, None, most).as_millis())
            .collect();
        assert_eq!(
            millis,
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
        );
        assert_eq!(backoff.next(0.0, None, most), Duration::from_secs(15), "jitter");
        let asked = Some(Duration::from_secs(100));
        assert_eq!(backoff.next(1.0, asked, most), Duration::from_secs(100));
        assert_eq!(
            backoff.next(1.0, asked, Duration::from_secs(60)),
            Duration::from_secs(60)
        );
        backoff.reset();
        assert_eq!(backoff.next(1.0, None, most), Duration::from_millis(500));
    }
}
