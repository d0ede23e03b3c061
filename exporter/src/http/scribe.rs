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
    desk: Arc<Mutex<Desk>>,
}

#[derive(Debug, Default)]
struct Desk {
    way: Option<Sender<Work>>,
    /// Whether the last thread could not be started, which is told once, until one can.
    is_refused: bool,
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
        self.desk
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(work);
        done.await.ok()
    }
}

impl Desk {
    /// Hands work to the thread. Where none can be started it is dropped, and with it the word that it is done.
    fn take(&mut self, work: Work) {
        // One that has ended in the middle of its work takes nothing any more.
        let work = match &self.way {
            Some(way) => match way.send(work) {
                Ok(()) => return,
                Err(refused) => refused.0,
            },
            None => work,
        };
        match start() {
            Ok(way) => {
                // Its receiver is there until it ends.
                drop(way.send(work));
                (self.way, self.is_refused) = (Some(way), false);
            }
            Err(error) if self.is_refused => {
                tracing::debug!(%error, "still no thread can be started that writes pages")
            }
            Err(error) => {
                tracing::warn!(%error, "no thread can be started that writes pages; it is tried again at each request");
                self.is_refused = true;
            }
        }
    }
}

fn start() -> io::Result<Sender<Work>> {
    let (way, works) = mpsc::channel::<Work>();
    Builder::new().name("scribe".to_owned()).spawn(move || {
        for work in works {
            work();
        }
    })?;
    Ok(way)
}
