// SPDX-License-Identifier: Apache-2.0
//! The same scenarios on other machines: figures that the laboratory assumes are drawn by chance from what machines may
//! have, so that a rule which is right on the one machine of the tables only is seen to be.

use crate::physics::{Machine, SERVER};
use crate::rng::Rng;
use crate::rules::ours;
use crate::run::run_on;
use crate::scenarios::Scenario;
use crate::table::{Judged, percent};
use crate::tasks::{COMPUTE, MEMORY, SERVICE, VECTOR, Work};
use crate::verdict::{Against, Aim, NO_WORSE, aim};
use std::fmt::Write;
use std::io;

/// From one to the other, evenly by ratio.
fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    let part = rng.below(1 << 30) as f64 / f64::from(1 << 30);
    low * (high / low).powf(part)
}

/// A machine of chance. What the vendor says (sockets, cores, turbo) stays.
#[must_use]
pub fn machine(rng: &mut Rng) -> Machine {
    Machine {
        package_idle: between(rng, 10.0, 50.0),
        uncore_awake: between(rng, 3.0, 30.0),
        dram_idle: between(rng, 2.0, 10.0),
        core_awake: SERVER.core_awake * between(rng, 0.5, 2.0),
        switching: SERVER.switching * between(rng, 0.7, 1.4),
        smt_rate: between(rng, 0.55, 0.8),
        package_per_miss: between(rng, 2e-9, 24e-9),
        dram_per_miss: between(rng, 8e-9, 30e-9),
        ..SERVER
    }
}

/// Kinds of work of chance, each in the place of one that is known.
#[must_use]
pub fn works(rng: &mut Rng) -> [(Work, Work); 4] {
    [COMPUTE, VECTOR, MEMORY, SERVICE].map(|work| {
        let other = Work {
            activity: work.activity * between(rng, 0.7, 1.4),
            ipc: work.ipc * between(rng, 0.6, 1.6),
            misses_per_kilo: work.misses_per_kilo * between(rng, 0.5, 2.0),
        };
        (work, other)
    })
}

/// Runs every scenario on so many machines; a table.
///
/// # Errors
/// The file system's, which holds the simulated counters.
pub fn varied(scenarios: &[Scenario], machines: u64) -> io::Result<String> {
    let mut text = "| scenario | ours | learned | better one | aim reached | never worse |\n".to_owned();
    text.push_str("|---|---:|---:|---:|---:|---:|\n");
    for scenario in scenarios {
        let mut all = Vec::new();
        for seed in 1..=machines {
            let mut rng = Rng::new(seed);
            let (machine, works) = (machine(&mut rng), works(&mut rng));
            let mut node = (scenario.build)();
            node.vary(machine, |work| other(work, &works), rng);
            let judged = Judged::new(run_on(node, scenario)?);
            if let Some(broken) = judged.run.broken.first() {
                let name = scenario.name;
                return Err(io::Error::other(format!("{name} on machine {seed}: {broken}")));
            }
            let of_learned = judged.scores.iter().find(|score| score.rule == ours::LEARNED);
            let learned = of_learned.map_or(f64::MAX, |score| score.error);
            all.extend(aim(&judged, Against::Sampled, |it| it.error).map(|aim| (aim, learned)));
        }
        let count = |is: fn(&Aim) -> bool| all.iter().filter(|(aim, _)| is(aim)).count();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} of {machines} | {} of {machines} |",
            scenario.name,
            percent(median(all.iter().map(|(aim, _)| aim.ours))),
            percent(median(all.iter().map(|(_, learned)| *learned))),
            percent(median(all.iter().map(|(aim, _)| aim.better.1))),
            count(Aim::is_held),
            count(|aim| aim.ours <= aim.better.1 + NO_WORSE),
        );
    }
    Ok(text)
}

fn other(work: Work, works: &[(Work, Work)]) -> Work {
    works
        .iter()
        .find(|(known, _)| *known == work)
        .map_or(work, |(_, other)| *other)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_are_the_same_in_every_run_and_differ_from_each_other() {
        let drawn = |seed| {
            let mut rng = Rng::new(seed);
            (
                machine(&mut rng).package_idle,
                works(&mut rng).map(|(_, other)| other.activity),
            )
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert!((10.0..50.0).contains(&drawn(3).0));
        let works = works(&mut Rng::new(4));
        assert_eq!(other(MEMORY, &works), works[2].1);
        assert_ne!(other(MEMORY, &works), MEMORY);
    }

    #[test]
    fn on_another_machine_a_scenario_has_another_truth_and_still_adds_up() {
        let scenario = crate::scenarios::named("busy-loop").unwrap();
        let mut rng = Rng::new(1);
        let machine = machine(&mut rng);
        let mut node = (scenario.build)();
        node.vary(machine.clone(), |work| work, rng);
        let run = run_on(node, &scenario).unwrap();
        assert_eq!(run.broken, [""; 0]);
        let idle = 60.0 * 2.0 * (machine.package_idle + machine.dram_idle);
        assert!((run.idle - idle).abs() < 1e-6 * idle, "{} {idle}", run.idle);
    }
}
