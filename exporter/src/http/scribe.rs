// SPDX-License-Identifier: Apache-2.0
//! Writes what takes long away from the thread that answers, one at a time: the forms of a page, and what viewers of the live page are
//! told. The first request for a form waits for it, and whoever asks for something else meanwhile, such as the kubelet, does not. A
//! form that is written is given at once.

use crate::forms::Encoding;
use crate::page::Page;
use crate::text::writer::Format;
use bytes::Bytes;
use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

type Work = Box<dyn FnOnce() + Send>;

/// See the module's head.
#[derive(Clone, Debug)]
pub(crate) struct Scribe {
    /// More at once would take more of the machine from those whom it works for, and no form is ready earlier: each page has them
    /// all in turn.
    turn: Arc<Semaphore>,
    /// The way to the thread, which begins with the first work and ends with the last scribe. It is one and the same: of several
    /// that took turns, each would keep the room that the longest page took in it.
    desk: Arc<Mutex<Option<Sender<Work>>>>,
}

impl Default for Scribe {
    fn default() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            desk: Arc::default(),
        }
    }
}

impl Scribe {
    /// What a scrape gets; `None` where writing failed.
    pub(crate) async fn scrape(
        &self,
        page: Arc<Page>,
        format: Format,
        encoding: Encoding,
    ) -> Option<(Vec<Bytes>, Encoding)> {
        let is_written = |page: &Page| page.is_written(format, encoding);
        self.write(page, is_written, move |page| page.scrape(format, encoding))
            .await
    }

    /// The snapshot as JSON; the reason where writing failed.
    pub(crate) async fn json(&self, page: Arc<Page>) -> Option<Result<Bytes, String>> {
        let write = |page: &Page| page.json().map_err(ToString::to_string);
        self.write(page, Page::is_json_written, write).await
    }

    async fn write<T: Send + 'static>(
        &self,
        page: Arc<Page>,
        is_written: impl Fn(&Page) -> bool,
        write: impl FnOnce(&Page) -> T + Send + 'static,
    ) -> Option<T> {
        if is_written(&page) {
            return Some(write(&page));
        }
        let alone = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        if is_written(&page) {
            return Some(write(&page));
        }
        self.run_alone(alone, move || write(&page)).await
    }

    /// Does something else that takes long; `None` where it failed.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let alone = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        self.run_alone(alone, work).await
    }

    async fn run_alone<T: Send + 'static>(
        &self,
        alone: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, done) = oneshot::channel();
        let work = Box::new(move || {
            // It goes on after whoever asked has hung up, and still nobody else begins.
            let _alone = alone;
            drop(tell.send(work()));
        });
        if let Err(error) = self.hand_over(work) {
            tracing::warn!(%error, "no thread can be started that writes pages; it is tried again at the next request");
            return None;
        }
        done.await.ok()
    }

    fn hand_over(&self, work: Work) -> io::Result<()> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended in the middle of its work takes nothing any more.
        let refused = match desk.as_ref() {
            Some(desk) => match desk.send(work) {
                Ok(()) => return Ok(()),
                Err(refused) => refused.0,
            },
            None => work,
        };
        let (give, works) = mpsc::channel::<Work>();
        Builder::new().name("scribe".to_owned()).spawn(move || {
            for work in works {
                work();
            }
        })?;
        // Its receiver is there until it ends.
        drop(give.send(refused));
        *desk = Some(give);
        Ok(())
    }
}
