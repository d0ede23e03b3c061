// SPDX-License-Identifier: Apache-2.0
//! `security.min_export_interval` in virtual time: the tick goes on, and readers and guests are told at most so often.

use super::*;
use crate::health::Leave;
use crate::pace::Pace;
use crate::shells::{ExporterShell, PassthroughShell};
use crate::worker::Worker;
use exporter::{ExporterConfig, Page, RenderSettings};
use tokio::sync::watch;

const LEAST: Duration = Duration::from_secs(10);

/// A minute in ticks of a second, whose windows close unevenly; what is shown of it by number of the tick.
fn ran() -> (Vec<Arc<Snapshot>>, Vec<u64>) {
    let delay = |_: &str, tick: u64| Some(Duration::from_millis(5 + tick * 37 % 300));
    let ran = run(61, None, Box::new(delay));
    assert_eq!(ran.deaths, None);
    assert_eq!(ran.snapshots.len(), 61);
    (ran.snapshots, vec![1, 11, 21, 31, 41, 51, 61])
}

#[test]
fn pages_are_shown_at_most_once_an_interval_and_hold_all_that_was_paid() {
    let (snapshots, expected) = ran();
    System::new().block_on(async {
        let settings = Arc::new(RenderSettings::new(
            &ExporterConfig::default(),
            crate::run::build_info(),
        ));
        let first = Page::new(Arc::default(), Arc::clone(&settings));
        let (sender, mut pages) = watch::channel(Arc::new(first));
        let (vitals, _heard) = Vitals::new();
        let lifeline = vitals.lifeline("exporter");
        let shell = ExporterShell::new(sender, settings, Pace::new(LEAST), lifeline).start();
        let mut shown = Vec::new();
        for snapshot in &snapshots {
            shell.send(Publish(Arc::clone(snapshot))).await.expect("alive");
            if pages.has_changed().expect("the shell lives") {
                let page = Arc::clone(&pages.borrow_and_update());
                assert_eq!(paid_energy(page.snapshot()), paid_energy(snapshot));
                assert_eq!(charged(page.snapshot()), charged(snapshot));
                shown.push(page.snapshot().tick.0);
            }
        }
        assert_eq!(shown, expected);
        vitals.begin_shutdown();
        shell.send(Stop).await.expect("alive");
    });
}

#[test]
fn guests_are_told_as_rarely() {
    let (snapshots, expected) = ran();
    System::new().block_on(async {
        let (vitals, _heard) = Vitals::new();
        let (worker, inbox) = Worker::new(Queue::PassthroughWriter, &Drops::default());
        let (tell, told) = std::sync::mpsc::channel();
        let work = move |snapshot: Arc<Snapshot>| tell.send(snapshot.tick.0).expect("the test listens");
        let thread = inbox
            .spawn(&vitals, "writer", &Leave::default(), work)
            .expect("a thread");
        let shell = PassthroughShell::new(worker, Pace::new(LEAST), vitals.lifeline("guests")).start();
        for snapshot in &snapshots {
            shell.send(Publish(Arc::clone(snapshot))).await.expect("alive");
            if expected.contains(&snapshot.tick.0) {
                // Waited for, so that the thread's channel of one is never full.
                assert_eq!(told.recv(), Ok(snapshot.tick.0));
            }
        }
        assert!(told.try_recv().is_err(), "told too often");
        vitals.begin_shutdown();
        shell.send(Stop).await.expect("alive");
        drop(shell);
        drop(thread);
    });
}
