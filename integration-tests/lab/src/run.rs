// SPDX-License-Identifier: Apache-2.0
//! Runs a scenario: time passes on one node, every rule reads it at its own moments, truth and bills are compared over
//! the same stretch.

use crate::bill::{Bill, Parts, minus};
use crate::ledgers::True;
use crate::node::Node;
use crate::rules::Rule;
use crate::rules::kepler_current::KeplerCurrent;
use crate::rules::kepler_ebpf::KeplerEbpf;
use crate::rules::ours::Ours;
use crate::scenarios::Scenario;
use crate::tasks::{MS, Nanos};
use std::io;

/// What one rule made of a scenario, and what was true.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The rule.
    pub rule: &'static str,
    /// What it billed in the judged stretch.
    pub bill: Bill,
}

/// A scenario that was run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Short name of the scenario.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// Names of the workloads.
    pub workloads: Vec<String>,
    /// True dynamic joules by workload in the judged stretch, in each of the ways to define it.
    pub truth: [Vec<Parts>; 3],
    /// True idle joules.
    pub idle: f64,
    /// What every rule billed.
    pub outcomes: Vec<Outcome>,
    /// Promises that were broken.
    pub broken: Vec<String>,
}

/// Everybody has read what there was at a moment, late reporters among them, so much later.
const SETTLED: Nanos = 970 * MS;

/// Runs it.
///
/// # Errors
/// The file system's, which holds the simulated counters.
pub fn run(scenario: &Scenario) -> io::Result<Run> {
    run_on((scenario.build)(), scenario)
}

/// Runs it on `node`, which it has built.
///
/// # Errors
/// The file system's, which holds the simulated counters.
pub fn run_on(mut node: Node, scenario: &Scenario) -> io::Result<Run> {
    let mut rules: Vec<Box<dyn Rule>> = vec![
        Box::new(Ours::new(&mut node, scenario.timing)?),
        Box::new(KeplerEbpf::new(&node)),
        Box::new(KeplerCurrent::new(&node)),
    ];
    let mut pass = |rules: &mut Vec<Box<dyn Rule>>, to: Nanos| {
        while let Some(rule) = rules
            .iter_mut()
            .min_by_key(|rule| rule.next())
            .filter(|rule| rule.next() <= to)
        {
            node.run_until(rule.next());
            rule.act(&mut node);
        }
        node.run_until(to);
        let idle: f64 = node
            .sockets
            .iter()
            .map(|it| it.package.idle() + it.dram.idle())
            .sum();
        let idle = idle + node.gpu.as_ref().map_or(0.0, |gpu| gpu.idle);
        (node.truth.clone(), idle)
    };
    let bills = |rules: &[Box<dyn Rule>]| rules.iter().flat_map(|rule| rule.bills()).collect::<Vec<_>>();
    let (before, _) = pass(&mut rules, scenario.from);
    pass(&mut rules, scenario.from + SETTLED);
    let first = bills(&rules);
    let (after, idle) = pass(&mut rules, scenario.to);
    pass(&mut rules, scenario.to + SETTLED);
    let last = bills(&rules);
    let outcomes = first.iter().zip(&last).map(|((rule, then), (_, now))| Outcome {
        rule,
        bill: now.since(then),
    });
    let outcomes = outcomes.collect();
    let broken = rules.iter().flat_map(|rule| rule.broken()).collect();
    Ok(Run {
        name: scenario.name,
        about: scenario.about,
        workloads: node
            .workloads
            .iter()
            .map(|workload| workload.name.clone())
            .collect(),
        truth: std::array::from_fn(|way| difference(&before, &after, way)),
        idle: idle * (scenario.to - scenario.from) as f64 / 1e9,
        outcomes,
        broken,
    })
}

fn difference(before: &[True], after: &[True], way: usize) -> Vec<Parts> {
    let parts = |truth: &True| [truth.package[way], truth.dram, truth.gpu];
    after
        .iter()
        .zip(before)
        .map(|(after, before)| minus(&parts(after), &parts(before)))
        .collect()
}
