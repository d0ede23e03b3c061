// SPDX-License-Identifier: Apache-2.0
//! The thread that pushes, with a runtime of its own: receivers far away may hang, and names may take long to look up. It reads
//! pages as HTTP does, sends no message to anybody, and ends by itself when there are no more pages.

use crate::clock;
use crate::health::Lifeline;
use anyhow::Context;
use exporter::Page;
use exporter::push::{Clocks, Pusher};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use tokio::sync::watch;

/// Threads that look up names, which the C library does in its own time: one for each receiver. Where both hang, a push waits in its queue.
const LOOK_UPS: usize = 2;

/// Starts it.
pub(super) fn start(
    pusher: Pusher,
    pages: watch::Receiver<Arc<Page>>,
    lifeline: Lifeline,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(LOOK_UPS)
        .build()
        .context("cannot make what pushes")?;
    let clocks = Clocks {
        now: clock::monotonic,
        unix: clock::unix,
    };
    let work = move || {
        let _lifeline = lifeline;
        runtime.block_on(pusher.run(pages, clocks));
        // A name that is still being looked up is waited for by nobody.
        runtime.shutdown_background();
    };
    Builder::new()
        .name("push".to_owned())
        .spawn(work)
        .context("no thread for what pushes")
}
