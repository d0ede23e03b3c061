// SPDX-License-Identifier: Apache-2.0
//! Writes what takes long away from the thread that answers, one at a time: the forms of a page, and what viewers of the live page are
//! told. The first request for a form waits for it, and whoever asks for something else meanwhile, such as the kubelet, does not. A
//! form that is written is given at once.

use crate::forms::Encoding;
use crate::page::Page;
use crate::text::writer::Format;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module's head.
#[derive(Clone, Debug)]
pub(crate) struct Scribe(Arc<Semaphore>);

impl Default for Scribe {
    fn default() -> Self {
        // More at once would take more of the machine from those whom it works for, and no form is ready earlier: each
        // page has them all in turn.
        Self(Arc::new(Semaphore::new(1)))
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
        let alone = Arc::clone(&self.0).acquire_owned().await.ok()?;
        if is_written(&page) {
            return Some(write(&page));
        }
        Self::run_alone(alone, move || write(&page)).await
    }

    /// Does something else that takes long; `None` where it failed.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let alone = Arc::clone(&self.0).acquire_owned().await.ok()?;
        Self::run_alone(alone, work).await
    }

    async fn run_alone<T: Send + 'static>(
        alone: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let done = tokio::task::spawn_blocking(move || {
            // It goes on after whoever asked has hung up, and still nobody else begins.
            let _alone = alone;
            work()
        });
        done.await.ok()
    }
}
