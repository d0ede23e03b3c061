// SPDX-License-Identifier: Apache-2.0
//! Reloads the configuration when SIGHUP or a request says so: one reload at a time, and none is forgotten.
//!
//! A reload is prepared on a thread of its own, where everything new is opened (`prepare`), and then taken over by the running
//! pipeline. A configuration that cannot be used is refused as a whole, in the words of the start, and the one before stays in
//! force. What a signal or request asks for while one is under way is done after it, with the files as they are by then.

pub mod files;
pub mod plan;
pub mod prepare;

use crate::clock;
use crate::logging;
use crate::pipeline::Pipeline;
use anyhow::Context as _;
use config::{Loaded, Problems};
use exporter::{ReloadAnswer, ReloadRequest};
use prepare::{InForce, Prepared};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Loads the configuration from where the first one came.
pub type Load = Arc<dyn Fn() -> Result<Loaded, Problems> + Send + Sync>;

/// See the module's head.
pub struct Reload {
    load: Load,
    in_force: InForce,
    hangup: Signal,
    requests: mpsc::Receiver<ReloadRequest>,
    working: Option<Working>,
}

/// A reload that is being prepared.
struct Working {
    by: &'static str,
    answer: Option<ReloadRequest>,
    prepared: Preparing<anyhow::Result<Prepared>>,
}

/// What a thread prepares.
struct Preparing<T> {
    prepared: oneshot::Receiver<T>,
    late_at: Instant,
    is_late: bool,
}

/// After so long a reload counts as failed until it is done: the thread may be in a file of a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

impl<T> Preparing<T> {
    fn new(prepared: oneshot::Receiver<T>) -> Self {
        Self {
            prepared,
            late_at: Instant::now() + PATIENCE,
            is_late: false,
        }
    }

    /// What it has prepared; `None` where it has died. Says once that it is late. May be dropped and called again.
    async fn done(&mut self, is_late: impl FnOnce()) -> Option<T> {
        if !self.is_late {
            if let Ok(prepared) = timeout_at(self.late_at, &mut self.prepared).await {
                return prepared.ok();
            }
            self.is_late = true;
            is_late();
        }
        (&mut self.prepared).await.ok()
    }
}

/// A reload that is to be taken over, or was refused.
pub struct Ready {
    by: &'static str,
    answer: Option<ReloadRequest>,
    prepared: anyhow::Result<Prepared>,
}

/// Hears SIGHUP from now on: before that it ends the process.
///
/// # Errors
/// When the kernel does not let us.
pub fn hangup() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("cannot listen for SIGHUP")
}

impl Reload {
    /// Reloads what is `in_force` by `load`.
    #[must_use]
    pub fn new(
        load: Load,
        in_force: InForce,
        hangup: Signal,
        requests: mpsc::Receiver<ReloadRequest>,
    ) -> Self {
        Self {
            load,
            in_force,
            hangup,
            requests,
            working: None,
        }
    }

    /// Waits until somebody asks for a reload and it is prepared. May be dropped and called again at any time.
    pub async fn next(&mut self) -> Ready {
        loop {
            if let Some(Working { prepared, by, .. }) = &mut self.working {
                let reloads = self.in_force.render.reloads();
                let is_late = || {
                    reloads.failed();
                    tracing::error!(
                        by = *by,
                        "the reload takes longer than a minute: does a file that the configuration names not answer? None begins before it ends"
                    );
                };
                let prepared = prepared.done(is_late).await;
                let prepared = prepared.unwrap_or_else(|| Err(anyhow::anyhow!("the reload died")));
                if let Some(Working { by, answer, .. }) = self.working.take() {
                    return Ready { by, answer, prepared };
                }
            }
            let (by, answer) = tokio::select! {
                Some(()) = self.hangup.recv() => ("SIGHUP", None),
                Some(request) = self.requests.recv() => ("POST", Some(request)),
                else => std::future::pending().await,
            };
            tracing::info!(by, "reloading");
            self.begin(by, answer);
        }
    }

    fn begin(&mut self, by: &'static str, answer: Option<ReloadRequest>) {
        let (tell, prepared) = oneshot::channel();
        let (load, in_force) = (Arc::clone(&self.load), self.in_force.clone());
        let work = move || {
            // Nobody waits any more when we are stopping.
            let _ = tell.send(prepare::prepare(&in_force, &*load));
        };
        let prepared = Preparing::new(prepared);
        self.working = Some(Working { by, answer, prepared });
        if let Err(error) = Builder::new().name("reload".to_owned()).spawn(work) {
            tracing::error!(%error, "no thread for the reload");
        }
    }

    /// Takes it over, or says why not.
    pub async fn finish(&mut self, ready: Ready, pipeline: &mut Pipeline) {
        let Ready { by, answer, prepared } = ready;
        let outcome = match prepared {
            Ok(prepared) => self.adopt(prepared, pipeline).await,
            Err(error) => ReloadAnswer::Refused(format!("{error:#}")),
        };
        let reloads = self.in_force.render.reloads();
        match &outcome {
            ReloadAnswer::Done(words) => {
                reloads.succeeded(clock::unix());
                tracing::info!(by, changed = words, "reloaded");
            }
            ReloadAnswer::Refused(words) => {
                reloads.failed();
                tracing::error!(
                    by,
                    error = words,
                    "the configuration is refused; the one before stays in force"
                );
            }
            ReloadAnswer::Failed(words) => {
                reloads.failed();
                tracing::error!(by, error = words, "the configuration could not be taken over");
            }
        }
        pipeline.show_again().await;
        if let Some(answer) = answer {
            // Whoever asked may have given up.
            let _ = answer.send(outcome);
        }
    }

    async fn adopt(&mut self, prepared: Prepared, pipeline: &mut Pipeline) -> ReloadAnswer {
        let Prepared {
            changes,
            log,
            next,
            changed,
        } = prepared;
        if changed.is_empty() {
            return ReloadAnswer::Done("nothing has changed".to_owned());
        }
        if let Err(error) = pipeline.adopt(changes).await {
            return ReloadAnswer::Failed(format!("{error:#}"));
        }
        if let Some(log) = &log {
            logging::change(log);
        }
        self.in_force = next;
        ReloadAnswer::Done(changed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reload_that_hangs_is_told_once_and_is_still_waited_for() {
        let (tell, prepared) = oneshot::channel();
        let mut preparing = Preparing::new(prepared);
        let mut late = 0;
        let mut wait = async |time| {
            let done = preparing.done(|| late += 1);
            tokio::time::timeout(Duration::from_secs(time), done)
                .await
                .is_ok()
        };
        assert!(!wait(59).await && !wait(10).await && !wait(3_600).await);
        tell.send(()).expect("it is waited for");
        assert!(wait(1).await);
        assert_eq!(late, 1);
    }
}
