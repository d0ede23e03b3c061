// SPDX-License-Identifier: Apache-2.0
//! Reloads of random kinds at random moments, in virtual time.

use super::super::{Adopt, Adoption, Score};
use super::*;
use tokio::sync::oneshot;

const TICKS: [u64; 5] = [100, 300, 1_000, 1_700, 3_000];

pub(super) fn rules(dice: u64) -> Settings {
    let floors = [
        FloorPolicy::None,
        FloorPolicy::BusyRatio,
        FloorPolicy::Measured,
        FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(4))]),
    ];
    let shares = [
        IdleShare::Node,
        IdleShare::Equal,
        IdleShare::Usage,
        IdleShare::Reserved,
    ];
    let pick = |shift: u32, most: usize| usize::try_from(dice >> shift).unwrap_or(0) % most;
    Settings {
        floor: floors[pick(3, 4)].clone(),
        idle_share: shares[pick(7, 4)],
        split: SplitRules::default(),
        processes_max: pick(11, 3),
        ended_keep: Duration::from_secs(u64::try_from(pick(13, 100)).unwrap_or(0)),
    }
}

/// The moment that the meter's newest reading is about.
fn read_at(snapshot: &Snapshot) -> Option<u64> {
    let age = u64::try_from(snapshot.zones.first()?.age.as_nanos()).ok()?;
    Some(snapshot.window.ended.as_nanos() - age)
}

#[test]
fn whenever_and_whatever_is_reloaded_the_sum_is_exact_and_nothing_falls() {
    for seed in 0..60_u64 {
        let (snapshots, deaths) = run_reloading(seed);
        assert_eq!(deaths, None);
        let mut seen: HashMap<&str, u64> = HashMap::new();
        for snapshot in &snapshots {
            let nobodys =
                |zone: &snapshot::ZoneAccount| (zone.unattributed + zone.unreserved_idle).as_micro();
            let nobodys: u64 = snapshot.zones.iter().map(nobodys).sum();
            let (paid, charged) = (paid_energy(snapshot), charged(snapshot));
            assert_eq!(charged + nobodys, paid, "seed {seed}");
            for (name, now) in [("paid", paid), ("charged", charged), ("nobody's", nobodys)] {
                let before = seen.insert(name, now).unwrap_or(0);
                assert!(now >= before, "seed {seed}: {name} fell from {before} to {now}");
            }
            let late = &snapshot.windows.late_now;
            assert!(late.is_empty(), "seed {seed}: {late:?}");
        }
        let first = snapshots
            .iter()
            .find_map(|snapshot| read_at(snapshot))
            .expect("a reading");
        let last = snapshots.last().expect("a window");
        let elapsed = Duration::from_nanos(read_at(last).expect("a reading") - first);
        let truth = Microwatts::from_watts(10).energy_over(elapsed).as_micro();
        assert!(
            paid_energy(last).abs_diff(truth) <= 1,
            "seed {seed}: {} of {truth}",
            paid_energy(last)
        );
    }
}

/// Forty reloads, each after a random while.
fn run_reloading(seed: u64) -> (Vec<Arc<Snapshot>>, Option<String>) {
    let paused = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
    };
    System::with_tokio_rt(move || paused().expect("a runtime")).block_on(async move {
        let stage = Stage::new(rules(0), Box::new(|_, _| Some(Duration::from_millis(5)))).await;
        for round in 0..40_u64 {
            let dice = scramble(seed << 16 ^ round);
            tokio::time::sleep(Duration::from_millis(dice % 4_000)).await;
            if !dice.is_multiple_of(3) {
                let adoption = Adoption {
                    rules: rules(dice),
                    facts: Arc::default(),
                    dismissed: Vec::new(),
                    expected: Vec::new(),
                    saver: None,
                    told: None,
                };
                let (done, adopted) = oneshot::channel();
                let adopt = Adopt(Box::new(adoption), done);
                stage.attribution.send(adopt).await.expect("alive");
                adopted.await.expect("it is taken over");
            }
            if dice.is_multiple_of(2) {
                let period = TICKS[usize::try_from(dice >> 20).unwrap_or(0) % TICKS.len()];
                let score = Score {
                    period: Duration::from_millis(period),
                    listeners: stage.listeners.clone(),
                };
                stage.ticker.send(score).await.expect("alive");
            }
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        stage.end().await
    })
}

#[test]
fn the_beat_changes_with_the_next_one_and_counts_on() {
    let paused = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
    };
    let (snapshots, _) = System::with_tokio_rt(move || paused().expect("a runtime")).block_on(async {
        let stage = Stage::new(rules(0), Box::new(|_, _| Some(Duration::ZERO))).await;
        // Beats at 0 s, 1 s, 2 s; then 3 s after the last one, and 300 ms after that.
        for (after, period) in [(2_100, 3_000), (3_000, 300)] {
            tokio::time::sleep(Duration::from_millis(after)).await;
            let score = Score {
                period: Duration::from_millis(period),
                listeners: stage.listeners.clone(),
            };
            stage.ticker.send(score).await.expect("alive");
        }
        tokio::time::sleep(Duration::from_millis(350)).await;
        stage.end().await
    });
    let beats = snapshots.iter().map(|snapshot| {
        let began = snapshot.window.began.as_nanos() / 1_000_000;
        (snapshot.tick.0, began)
    });
    assert_eq!(
        beats.collect::<Vec<_>>(),
        [(1, 0), (2, 1_000), (3, 2_000), (4, 5_000), (5, 5_300)]
    );
}
