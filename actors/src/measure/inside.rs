// SPDX-License-Identifier: Apache-2.0
//! Measures a command in this process: the reporters as configured and the attribution beside them, as in the daemon, with
//! a window that closes before the command begins and one that is opened when it has ended.

use super::bill::{Bill, By, ZoneTotal, charged, parts, zones};
use super::cgroup::Cgroup;
use super::child::{Child, Ended, Signals};
use super::kin::Kin;
use super::{Gone, Measured};
use crate::pipeline::Pipeline;
use crate::state::Memory;
use crate::{clock, node, run};
use actix::System;
use anyhow::{Context as _, anyhow, bail};
use attribution::model::snapshot::{ContainerKey, Ledger};
use attribution::model::{CgroupOwner, MonotonicNanos, Snapshot};
use config::Loaded;
use exporter::{Entrance, Page};
use probe_workloads::Roots;
use std::ffi::OsString;
use std::iter;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Rows for processes: with fewer, those of a large build would be summed with other people's where they are found by
/// descent. Each is some 300 bytes, and only those that there are take any.
const MOST_ROWS: usize = 100_000;
/// No command runs as long as its ended processes are kept.
const KEPT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Rests before a window is asked for again in which somebody was late. Together two seconds: a meter that is slower than
/// that is said to be.
const RESTS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_millis(700),
    Duration::from_secs(1),
];
/// The scheduler accountant hears the last time of a task when the kernel lets go of it, an RCU grace period after its end.
/// A window that closes before would be paid by others.
const LAG: Duration = Duration::from_millis(120);
/// Part of the kernel's CPU time that is in the bill when nobody is waited for any more. Probe and kernel round differently.
const PAID_PERMILLE: u128 = 985;
/// CPU time of the step by which this program becomes the command, before it is in its cgroup.
const ENTERING: Duration = Duration::from_millis(20);
/// Longest tick: a meter that is late holds up the end by 80 % of it.
const LONGEST_TICK: Duration = Duration::from_secs(1);
/// Longest wait for a window, which closes 80 % of a tick after it was opened at the latest.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command and measures it.
///
/// # Errors
/// When it cannot begin; the command was not started then.
pub(super) fn measure(loaded: &Loaded, command: &[OsString]) -> anyhow::Result<Gone> {
    System::new().block_on(measured(loaded, command))
}

async fn measured(loaded: &Loaded, command: &[OsString]) -> anyhow::Result<Gone> {
    let mut signals = Signals::listen()?;
    let proc = Path::new("/proc");
    let roots = Roots::detect(proc).context("cannot find the cgroup mounts")?;
    let cgroup = Cgroup::create(&roots, std::process::id());
    let pipeline = Pipeline::start(pipeline_parts(loaded)?)?;
    let mut watched = Watched {
        pages: pipeline.pages(),
        pipeline,
    };
    let before = tokio::select! {
        before = watched.window(clock::monotonic(), Duration::ZERO, |_| true) => before,
        name = signals.told() => bail!("{name:?} came before the command began"),
    };
    let before = before.ok_or_else(|| anyhow!("no window has closed"))?;
    let mut kin = match &cgroup {
        Ok(_) => Kin::off(proc),
        Err(_) => Kin::of(proc, std::process::id()),
    };
    let folder = cgroup.as_ref().ok().map(Cgroup::folder);
    let child = match Child::start(command, folder) {
        Ok(child) => child,
        Err(refused) => {
            watched.pipeline.stop().await;
            return Ok(Gone::Refused(refused));
        }
    };
    kin.know(child.pid());
    let (ended, died) = watched.until_the_end(child, &mut signals, &mut kin).await;
    kin.look();
    let after = match &died {
        Some(_) => None,
        None => {
            let paid =
                |snapshot: &Snapshot| cgroup.as_ref().is_err() || has_paid(snapshot, &cgroup, &kin, &ended);
            let lag = match before.snapshot().facts.accounting.chosen {
                "scheduler" => LAG,
                _ => Duration::ZERO,
            };
            tokio::select! {
                after = watched.window(ended.at, lag, paid) => after,
                _ = signals.told() => None,
            }
        }
    };
    watched.pipeline.stop().await;
    let mut bill = match (after, died) {
        (_, Some(name)) => Err(format!("{name} died, which is a bug")),
        (None, None) => Err("no window has closed since the command ended".to_owned()),
        (Some(after), None) => Ok(bill_of(
            before.snapshot(),
            after.snapshot(),
            &ended,
            &cgroup,
            &kin,
        )),
    };
    if let Ok(cgroup) = cgroup {
        let left = cgroup.empty();
        if let Ok(bill) = &mut bill {
            bill.left = left;
        }
        if let (Err(error), Ok(bill)) = (cgroup.remove().await, &mut bill) {
            bill.remarks.push(error.to_string());
        }
    }
    Ok(Gone::Ran(Measured { ended, bill }))
}

/// The daemon's, with a row for each process, and with what a daemon has learned here about idle power.
fn pipeline_parts(loaded: &Loaded) -> anyhow::Result<crate::pipeline::Parts> {
    let machine = node::machine();
    let mut parts = run::parts(loaded, &machine, Entrance::closed())?;
    parts.tick = parts.tick.min(LONGEST_TICK);
    parts.rules.processes_max = MOST_ROWS;
    parts.rules.ended_keep = KEPT;
    if !parts.meters.is_empty() {
        // What is learned in a command's time is no knowledge of the machine: nothing is saved.
        parts.memory = Memory {
            keeper: None,
            ..run::memory(loaded, &machine, &parts.render.kept())?
        };
    }
    Ok(parts)
}

/// A pipeline, and what it published.
struct Watched {
    pipeline: Pipeline,
    pages: watch::Receiver<Arc<Page>>,
}

impl Watched {
    /// After `lag` opens a window and gives it when it has closed, with every reading taken after `since` and everybody
    /// that `paid` waits for; where that takes longer than anybody waits, the newest that there is.
    async fn window(
        &mut self,
        since: MonotonicNanos,
        lag: Duration,
        paid: impl Fn(&Snapshot) -> bool,
    ) -> Option<Arc<Page>> {
        let mut newest = None;
        for rest in iter::once(lag).chain(RESTS) {
            sleep(rest).await;
            self.pipeline.beat();
            let page = timeout(PATIENCE, closed_since(&mut self.pages, since))
                .await
                .ok()??;
            if is_whole(page.snapshot(), since) && paid(page.snapshot()) {
                return Some(page);
            }
            newest = Some(page);
        }
        newest
    }

    async fn until_the_end(
        &mut self,
        child: Child,
        signals: &mut Signals,
        kin: &mut Kin,
    ) -> (Ended, Option<String>) {
        let mut died = None;
        let end = child.wait(signals, kin);
        tokio::pin!(end);
        loop {
            tokio::select! {
                ended = &mut end => return (ended, died),
                name = self.pipeline.died(), if died.is_none() => died = Some(name),
            }
        }
    }
}

async fn closed_since(pages: &mut watch::Receiver<Arc<Page>>, since: MonotonicNanos) -> Option<Arc<Page>> {
    loop {
        pages.changed().await.ok()?;
        let page = Arc::clone(&pages.borrow_and_update());
        if page.snapshot().window.began >= since {
            return Some(page);
        }
    }
}

fn is_whole(snapshot: &Snapshot, since: MonotonicNanos) -> bool {
    let is_read = |zone: &ZoneTotal| zone.read >= since;
    snapshot.windows.late_now.is_empty() && zones(snapshot).iter().all(is_read)
}

/// Whether the dead are paid.
fn has_paid(snapshot: &Snapshot, cgroup: &anyhow::Result<Cgroup>, kin: &Kin, ended: &Ended) -> bool {
    let (ledgers, _) = ledgers(snapshot, cgroup, kin);
    let seen: u64 = ledgers.iter().map(|ledger| ledger.cpu.as_nanos()).sum();
    let seen = u128::from(seen).saturating_add(ENTERING.as_nanos());
    seen.saturating_mul(1000) >= ended.cpu().as_nanos().saturating_mul(PAID_PERMILLE)
}

fn ledgers<'a>(snapshot: &'a Snapshot, cgroup: &anyhow::Result<Cgroup>, kin: &Kin) -> (Vec<&'a Ledger>, By) {
    match cgroup {
        Ok(cgroup) => {
            let name = cgroup.name().to_owned();
            (of_cgroup(snapshot, cgroup), By::Cgroup { name })
        }
        Err(_) => {
            let processes = kin.known().len();
            (of_kin(snapshot, kin), By::Descent { processes })
        }
    }
}

fn bill_of(
    before: &Snapshot,
    after: &Snapshot,
    ended: &Ended,
    cgroup: &anyhow::Result<Cgroup>,
    kin: &Kin,
) -> Bill {
    let (ledgers, by) = ledgers(after, cgroup, kin);
    let mut remarks = Vec::new();
    if let Err(error) = cgroup {
        remarks.push(format!("no cgroup of its own: {error:#}"));
    }
    if after.facts.accounting.chosen == "proc" {
        let words = "CPU time comes from /proc, because there is no eBPF (`kepler check` says why)";
        remarks.push(words.to_owned());
    }
    Bill {
        by,
        measured_by: format!("this process, CPU time by {}", after.facts.accounting.chosen),
        parts: parts(
            &zones(before),
            &zones(after),
            ledgers.iter().flat_map(|ledger| charged(ledger)),
            ended.at,
        ),
        cpu_ns: ledgers.iter().map(|ledger| ledger.cpu.as_nanos()).sum(),
        node_cpu_ns: busy(after)
            .zip(busy(before))
            .map(|(after, before)| after.saturating_sub(before)),
        left: kin.living(),
        remarks,
    }
}

/// CPU time of everybody since the probe began.
fn busy(snapshot: &Snapshot) -> Option<u64> {
    let packages = snapshot.packages.iter().map(|package| package.busy.as_nanos());
    packages.reduce(u64::saturating_add)
}

/// Everything that was charged to the cgroup and to those below it: each process is in a container or in a unit.
fn of_cgroup<'a>(snapshot: &'a Snapshot, cgroup: &Cgroup) -> Vec<&'a Ledger> {
    let inside = |owner: Option<&Arc<CgroupOwner>>| owner.is_some_and(|owner| cgroup.holds(&owner.path));
    let units = snapshot
        .units
        .iter()
        .filter(|row| row.key.unit == cgroup.name() || inside(row.owner.as_ref()))
        .map(|row| &row.ledger);
    let containers = snapshot
        .containers
        .iter()
        .filter(|row| matches!(row.key, ContainerKey::Container(_)) && inside(row.owner.as_ref()))
        .map(|row| &row.ledger);
    units.chain(containers).collect()
}

fn of_kin<'a>(snapshot: &'a Snapshot, kin: &Kin) -> Vec<&'a Ledger> {
    let known = snapshot
        .processes
        .iter()
        .filter(|row| kin.known().contains(&row.task));
    known.map(|row| &row.ledger).collect()
}
