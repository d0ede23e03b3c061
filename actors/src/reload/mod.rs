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
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

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
    prepared: oneshot::Receiver<anyhow::Result<Prepared>>,
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
            if let Some(Working { prepared, .. }) = &mut self.working {
                let prepared = prepared.await;
                let prepared = prepared.unwrap_or_else(|_| Err(anyhow::anyhow!("the reload died")));
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
