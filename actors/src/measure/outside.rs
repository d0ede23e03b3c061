// SPDX-License-Identifier: Apache-2.0
//! Lets a running daemon of this machine measure: for whoever may not read meters and count CPU time of others. The
//! command's processes are found by descent in what the daemon says of processes.

use super::bill::{Bill, By, Charged, ZoneTotal, parts};
use super::child::{Child, Ended, Signals};
use super::kin::Kin;
use super::{Gone, MeasureOptions, Measured};
use crate::client::{Client, SnapshotFacts};
use crate::remote;
use anyhow::{Context as _, bail};
use attribution::model::MonotonicNanos;
use config::Loaded;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

/// Components that add up to the node; all others would count twice.
const IN_TOTAL: [&str; 4] = ["package", "dram", "gpu", "other"];
/// Rest between two looks for the window after the command.
const LOOKS: Duration = Duration::from_millis(100);
/// Ticks of the daemon after which there is no such window.
const MOST_TICKS: u32 = 4;

/// A daemon that answers.
pub(super) struct Daemon {
    client: Client,
    runtime: Runtime,
    before: SnapshotFacts,
    tick: Duration,
}

/// Finds the daemon and hears what it knows before the command.
///
/// # Errors
/// When none answers, or it is not for this machine.
pub(super) fn open(loaded: &Loaded, wanted: &MeasureOptions) -> anyhow::Result<Daemon> {
    let connection = &wanted.connection;
    let endpoint = match &connection.from {
        Some(endpoint) => endpoint.clone(),
        None => remote::own(loaded)?,
    };
    if !endpoint.is_here() {
        bail!(
            "{endpoint} is not sure to be this machine, and a command is measured where it runs: ask it on 127.0.0.1 or its unix socket"
        );
    }
    let client = Client::open(connection, endpoint)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let (about, before) =
        runtime.block_on(async { anyhow::Ok((client.about().await?, client.snapshot().await?)) })?;
    if before.tick == 0 {
        bail!(
            "{} has not closed its first window yet: try again",
            client.endpoint()
        );
    }
    Ok(Daemon {
        client,
        runtime,
        before,
        tick: Duration::from_millis(about.tick_ms),
    })
}

/// Runs the command and asks the daemon what it used.
///
/// # Errors
/// When it cannot begin; the command was not started then.
pub(super) fn measure(daemon: &Daemon, command: &[OsString]) -> anyhow::Result<Gone> {
    daemon.runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut kin = Kin::of(Path::new("/proc"), std::process::id());
        let child = match Child::start(command, None) {
            Ok(child) => child,
            Err(refused) => return Ok(Gone::Refused(refused)),
        };
        kin.know(child.pid());
        let ended = child.wait(&mut signals, &mut kin).await;
        kin.look();
        let bill = tokio::select! {
            after = daemon.after(&ended) => match after {
                Ok(after) => Ok(bill_of(daemon, &after, &ended, &kin)),
                Err(error) => Err(format!("{error:#}")),
            },
            signal = signals.told() => Err(format!("{signal:?} came before the window had closed")),
        };
        Ok(Gone::Ran(Measured { ended, bill }))
    })
}

impl Daemon {
    /// The first snapshot whose window was opened after the command's end.
    async fn after(&self, ended: &Ended) -> anyhow::Result<SnapshotFacts> {
        let end = Instant::now() + self.tick * MOST_TICKS + Duration::from_secs(1);
        loop {
            let snapshot = self.client.snapshot().await?;
            if snapshot.window.began_ns >= ended.at.as_nanos() {
                return Ok(snapshot);
            }
            if Instant::now() >= end {
                bail!(
                    "{} has closed no window since the command ended",
                    self.client.endpoint()
                );
            }
            sleep(LOOKS).await;
        }
    }
}

fn zones(snapshot: &SnapshotFacts) -> Vec<ZoneTotal> {
    let zone = |zone: &crate::client::Zone| ZoneTotal {
        component: zone.component.clone(),
        in_total: IN_TOTAL.contains(&zone.component.as_str()),
        source: zone.source.clone(),
        provenance: zone.provenance.clone(),
        error_permille: zone.relative_error_p90_permille,
        dynamic_uj: zone.dynamic_uj,
        idle_uj: zone.idle_uj,
        read: MonotonicNanos::from_nanos(snapshot.window.ended_ns.saturating_sub(zone.age_ns)),
    };
    snapshot.zones.iter().map(zone).collect()
}

fn busy(snapshot: &SnapshotFacts) -> Option<u64> {
    let packages = snapshot.packages.iter().map(|package| package.busy_ns);
    packages.reduce(u64::saturating_add)
}

fn bill_of(daemon: &Daemon, after: &SnapshotFacts, ended: &Ended, kin: &Kin) -> Bill {
    let rows = || {
        after.processes.iter().filter(|row| {
            let task = attribution::model::TaskKey {
                tgid: row.pid,
                start_ticks: row.start_ticks,
            };
            kin.known().contains(&task)
        })
    };
    let charges = rows().flat_map(|row| &row.charges).map(|charge| Charged {
        zone: charge.zone,
        dynamic_uj: charge.dynamic_uj,
        idle_uj: charge.idle_uj,
    });
    let mut remarks = Vec::new();
    if rows().next().is_none() {
        let words = "the daemon has no row of them: they were too short, too cheap for exporter.processes.max, or are in another pid namespace";
        remarks.push(words.to_owned());
    }
    Bill {
        by: By::Descent {
            processes: kin.known().len(),
        },
        measured_by: format!("the daemon on {}", daemon.client.endpoint()),
        parts: parts(&zones(&daemon.before), &zones(after), charges, ended.at),
        cpu_ns: rows().map(|row| row.cpu_ns).sum(),
        node_cpu_ns: busy(after)
            .zip(busy(&daemon.before))
            .map(|(after, before)| after.saturating_sub(before)),
        left: kin.living(),
        remarks,
    }
}
