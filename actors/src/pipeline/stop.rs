// SPDX-License-Identifier: Apache-2.0
//! The stop, in order, and what each step of it is given: whatever hangs is left behind, because the process ends anyway.

use super::Pipeline;
use crate::messages::{CloseNow, Stop};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Time for requests that are being answered at the shutdown.
const HTTP_GRACE: Duration = Duration::from_millis(700);
/// Time for actors to take in one message of the shutdown.
const ACTOR_GRACE: Duration = Duration::from_millis(300);
/// Time for readers to come back from the file or map they are in. One that hangs is left behind: the process ends anyway.
const READER_GRACE: Duration = Duration::from_millis(400);
/// Time for the last save, from when it was asked for: as much as all that comes after it may take, so that a slow disk has
/// the most there is, and a hanging reader takes nothing of it.
const SAVE_GRACE: Duration = HTTP_GRACE
    .saturating_add(ACTOR_GRACE)
    .saturating_add(READER_GRACE);

impl Pipeline {
    /// Stops in order: no more ticks, the open window closes and is published, scrapers get their answers, shells and
    /// readers end. Bounded: takes at most the sum of the graces.
    pub async fn stop(self) {
        let Self {
            ticker,
            attribution,
            exporter,
            builder,
            seats,
            beaten,
            pusher,
            arbiters,
            http,
            ..
        } = self;
        builder.vitals.begin_shutdown();
        within(ACTOR_GRACE, "ticker", ticker.send(Stop)).await;
        within(ACTOR_GRACE, "attribution", attribution.send(CloseNow)).await;
        let saved_by = Instant::now() + SAVE_GRACE;
        if let Some(http) = http {
            // Whoever does not wait any more has ended already.
            let _ = http.stop.send(());
            within(HTTP_GRACE, "http", http.done).await;
        }
        // Each shell owns the way to its reader; when it is gone the reader ends.
        let shells = async {
            let sources = seats.meters.iter().chain(&seats.leaving).map(|seat| &seat.shell);
            for shell in sources.chain(&builder.shells) {
                let _ = shell.send(Stop).await;
            }
            let _ = attribution.send(Stop).await;
            let _ = exporter.send(Stop).await;
            Ok::<(), ()>(())
        };
        within(ACTOR_GRACE, "shells", shells).await;
        drop((ticker, attribution, exporter, seats, beaten, builder.shells));
        let saved = joined(builder.saver.into_iter().collect());
        // It has known since the exporter's end that there are no more pages.
        let pushed = joined(pusher.into_iter().collect());
        threads(joined(builder.readers), saved, pushed, saved_by).await;
        for arbiter in arbiters {
            arbiter.stop();
        }
    }
}

/// Waits for the readers, and until `saved_by` for the last save and the last push, which no reader that hangs can keep from their
/// time.
async fn threads<T, E>(
    readers: impl Future<Output = Result<T, E>>,
    saved: impl Future<Output = Result<T, E>>,
    pushed: impl Future<Output = Result<T, E>>,
    saved_by: Instant,
) {
    within(READER_GRACE, "readers", readers).await;
    let left = || saved_by.saturating_duration_since(Instant::now());
    within(left(), "last save of the idle floor", saved).await;
    within(left(), "last push", pushed).await;
}

/// Done when all of these have ended; at once where the kernel gives no thread to wait for them.
fn joined(threads: Vec<JoinHandle<()>>) -> oneshot::Receiver<()> {
    let (joined, all) = oneshot::channel();
    let wait = move || {
        for thread in threads {
            drop(thread.join());
        }
        let _ = joined.send(());
    };
    drop(std::thread::Builder::new().name("joiner".to_owned()).spawn(wait));
    all
}

/// Waits for one step of the shutdown, but not for ever.
async fn within<T, E>(grace: Duration, what: &str, step: impl Future<Output = Result<T, E>>) {
    match tokio::time::timeout(grace, step).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => tracing::debug!(step = what, "had ended before"),
        Err(_) => tracing::warn!(step = what, ?grace, "did not end in time, going on without it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longest shutdown: two messages to actors, and then HTTP, all shells and readers while the last save is on its way.
    const LONGEST_STOP: Duration = ACTOR_GRACE.saturating_mul(2).saturating_add(SAVE_GRACE);

    #[tokio::test(start_paused = true)]
    async fn a_slow_save_has_its_time_whatever_readers_do_and_no_more_than_that() {
        let begun = Instant::now();
        let hangs = std::future::pending::<Result<(), ()>>;
        let done = || async { Ok::<(), ()>(()) };
        let slow = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<(), ()>(())
        };
        threads(hangs(), slow, async { Ok(()) }, begun + SAVE_GRACE).await;
        // Awaited only after the readers, as a thread goes on without being waited for.
        assert_eq!(begun.elapsed(), READER_GRACE + Duration::from_secs(1));
        let begun = Instant::now();
        threads(hangs(), hangs(), hangs(), begun + SAVE_GRACE).await;
        assert_eq!(begun.elapsed(), SAVE_GRACE);
        let begun = Instant::now();
        threads(done(), done(), done(), begun + SAVE_GRACE).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[test]
    fn all_graces_together_stay_below_two_seconds() {
        assert!(LONGEST_STOP <= Duration::from_secs(2), "{LONGEST_STOP:?}");
        assert!(
            SAVE_GRACE >= Duration::from_secs(1),
            "a slow disk has {SAVE_GRACE:?}"
        );
    }
}
