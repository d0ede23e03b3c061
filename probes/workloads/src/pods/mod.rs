// SPDX-License-Identifier: Apache-2.0
//! Pods by name: watches this node's pods at the API server, or asks the kubelet for them, and gives containers and pods
//! their names.
//!
//! Owns the thread that asks and the table that it keeps; the resolver's thread only takes over what is new. Knows no
//! cgroup: which container is in which pod is what paths said before. While nobody answers, what is known stays known,
//! and figures go on under ids. Outside of Kubernetes it does not exist.

mod access;
mod api;
mod book;
mod changes;
mod clock;
mod config;
mod desk;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod kubelet;
mod naming;
mod plan;
mod requests;
mod reserving;
mod retry;
mod rules;
mod shape;
#[cfg(test)]
mod tests;

pub use config::{KubeletConfig, KubernetesConfig, Labels, Mode, Port, Wait, WaitAway};
pub use plan::PodsError;

use crate::resolver::{Namer, Tallies};
use access::Patience;
use attribution::model::{Identity, Usage};
use desk::{Desk, Known, State};
use futures_util::future::select;
use naming::Naming;
use plan::Plan;
use std::pin::pin;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;
use tokio::runtime;
use tokio::sync::{Notify, watch};

/// Names pods and their containers. Its thread ends with it.
pub struct PodNames {
    /// A channel of one whose value is replaced: each is the whole table.
    told: watch::Receiver<Known>,
    nudge: Arc<Notify>,
    known: Known,
    naming: Naming,
}

impl PodNames {
    /// Begins as the section says; `None` where nobody is to be asked. `host` is this host's name.
    ///
    /// # Errors
    /// When the section asks for what cannot be done here, in words for people.
    pub fn open(section: &KubernetesConfig, host: &str) -> Result<Option<Self>, PodsError> {
        plan::plan(section, host)?
            .map(|plan| Self::start(plan, section, Patience::default()))
            .transpose()
    }

    /// Who would be asked, in words; `None` for nobody. Asks nobody.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn describe(section: &KubernetesConfig, host: &str) -> Result<Option<String>, PodsError> {
        let plan = plan::plan(section, host)?;
        Ok(plan.map(|plan| plan.to_string()))
    }

    fn start(plan: Plan, section: &KubernetesConfig, patience: Patience) -> Result<Self, PodsError> {
        let (tell, told) = watch::channel(Known::default());
        let nudge = Arc::new(Notify::new());
        let failed = |error: std::io::Error| PodsError::Thread(error.to_string());
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            // For names that have to be looked up, and for a kubeconfig's command.
            .max_blocking_threads(1)
            .build()
            .map_err(failed)?;
        let (labels, waker) = (section.labels.clone(), Arc::clone(&nudge));
        let work = move || {
            runtime.block_on(follow(plan, patience, labels, tell, &waker));
            // Without waiting for a name that is still being looked up.
            runtime.shutdown_background();
        };
        Builder::new()
            .name("pods".to_owned())
            .spawn(work)
            .map_err(failed)?;
        Ok(Self {
            told,
            nudge,
            known: Known::default(),
            naming: Naming::new(section.wait.0, section.wait_away.0),
        })
    }
}

/// Keeps the table current until nobody wants it any more.
async fn follow(plan: Plan, patience: Patience, labels: Labels, tell: watch::Sender<Known>, nudge: &Notify) {
    let is_kubelet = matches!(plan, Plan::Kubelet { .. });
    tracing::info!(%plan, "pods are asked for");
    let mut desk = Desk::new(labels, tell, is_kubelet);
    let closed = desk.closed();
    let work = async {
        match plan {
            Plan::Api { access, node } => api::follow((access, node), patience, &mut desk, nudge).await,
            Plan::Kubelet { access, interval } => {
                kubelet::follow((access, interval), patience, &mut desk, nudge).await;
            }
        }
    };
    // A question that is under way is given up: its connection ends with it.
    select(pin!(closed), pin!(work)).await;
}

impl Namer for PodNames {
    fn name(&mut self, usage: &Usage, identity: &mut Arc<Identity>, now: Duration) {
        let is_news = match self.told.has_changed() {
            Ok(false) => false,
            Ok(true) => {
                self.known = self.told.borrow_and_update().clone();
                true
            }
            // The thread has ended, which it does not do by itself.
            Err(_) => std::mem::replace(&mut self.known.state, State::Ended) != State::Ended,
        };
        if self.naming.name(&self.known, is_news, usage, identity, now) {
            self.nudge.notify_one();
        }
    }

    fn count(&self, tallies: &mut Tallies) {
        self.told.borrow().count(tallies);
        self.naming.count(tallies);
    }
}
