// SPDX-License-Identifier: Apache-2.0
//! The last fifteen minutes of a node as far as they were heard, out of the history and of updates, which say late words
//! about earlier slots.

use crate::client::Slots;
use std::collections::BTreeMap;

/// How far back it reaches.
const SPAN_MS: u64 = 15 * 60 * 1_000;

/// Slots at most: a slot has a second at least, and a daemon that says otherwise is not believed.
const MOST_SLOTS: usize = 2_000;

/// Components that add up to the node; all others would count twice.
pub(super) const STACKED: [&str; 4] = ["package", "dram", "gpu", "other"];

/// Mean power over a slot or some, in microwatts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mean {
    pub(super) dynamic: u64,
    pub(super) idle: u64,
    pub(super) is_estimate: bool,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    ended_ms: u64,
    power: BTreeMap<&'static str, Mean>,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    began_ms: Option<u64>,
    slots: BTreeMap<u64, Slot>,
}

impl Past {
    /// Takes in what a daemon that began at `began_ms` says. One that began at another time is another run.
    pub(super) fn merge(&mut self, began_ms: Option<u64>, said: &Slots) {
        if self.began_ms != began_ms {
            self.began_ms = began_ms;
            self.slots.clear();
        }
        let columns = said.number.iter().zip(&said.ended_ms).zip(&said.span_us);
        for (index, ((number, ended_ms), span_us)) in columns.enumerate() {
            let part = |component: &'static str| {
                let column = said.components.get(component)?;
                let known = |values: &[Option<u64>]| values.get(index).copied().flatten();
                let mean = Mean {
                    dynamic: power(known(&column.dynamic_uj)?, *span_us),
                    idle: power(known(&column.idle_uj).unwrap_or(0), *span_us),
                    is_estimate: known(&column.error_permille).is_some(),
                };
                Some((component, mean))
            };
            let slot = Slot {
                ended_ms: *ended_ms,
                power: STACKED.into_iter().filter_map(part).collect(),
            };
            self.slots.insert(*number, slot);
        }
        let newest = self.slots.values().map(|slot| slot.ended_ms).max().unwrap_or(0);
        self.slots
            .retain(|_, slot| slot.ended_ms.saturating_add(SPAN_MS) >= newest);
        while self.slots.len() > MOST_SLOTS {
            self.slots.pop_first();
        }
    }

    /// The node's power slot by slot, the oldest first, up to the last slot in which every component that has power has
    /// said its own. A slot of which nothing is known is a gap.
    pub(super) fn node(&self) -> Vec<Option<Mean>> {
        let here: Vec<&str> = STACKED
            .into_iter()
            .filter(|one| self.slots.values().any(|slot| slot.power.contains_key(one)))
            .collect();
        let whole = |slot: &Slot| here.iter().all(|one| slot.power.contains_key(one));
        let last = self.slots.values().rposition(whole);
        let settled = self.slots.values().take(last.map_or(0, |last| last + 1));
        settled.map(sum).collect()
    }
}

fn sum(slot: &Slot) -> Option<Mean> {
    let add = |sum: Mean, part: &Mean| Mean {
        dynamic: sum.dynamic.saturating_add(part.dynamic),
        idle: sum.idle.saturating_add(part.idle),
        is_estimate: sum.is_estimate || part.is_estimate,
    };
    (!slot.power.is_empty()).then(|| slot.power.values().fold(Mean::default(), add))
}

/// Mean power of so much energy in so much time.
pub(super) fn power(microjoules: u64, span_us: u64) -> u64 {
    let whole = u128::from(microjoules).saturating_mul(1_000_000);
    let mean = whole.checked_div(u128::from(span_us)).unwrap_or(0);
    u64::try_from(mean).unwrap_or(u64::MAX)
}

/// As many means as there are columns at most, each over as many slots; the newest is last and whole.
pub(super) fn columns(slots: &[Option<Mean>], columns: usize) -> Vec<Option<Mean>> {
    if columns == 0 || slots.is_empty() {
        return Vec::new();
    }
    let each = slots.len().div_ceil(columns);
    let mut means: Vec<_> = slots.rchunks(each).map(mean).collect();
    means.reverse();
    means
}

fn mean(slots: &[Option<Mean>]) -> Option<Mean> {
    let known: Vec<&Mean> = slots.iter().flatten().collect();
    let number = u64::try_from(known.len()).unwrap_or(u64::MAX);
    let of = |part: fn(&Mean) -> u64| {
        let sum: u64 = known.iter().fold(0, |sum, mean| sum.saturating_add(part(mean)));
        sum.checked_div(number)
    };
    Some(Mean {
        dynamic: of(|mean| mean.dynamic)?,
        idle: of(|mean| mean.idle)?,
        is_estimate: known.iter().any(|mean| mean.is_estimate),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Columns;

    fn said(first: u64, package: &[Option<u64>], dram: &[Option<u64>]) -> Slots {
        let count = u64::try_from(package.len()).unwrap();
        let numbers: Vec<u64> = (first..first + count).collect();
        let column = |values: &[Option<u64>]| Columns {
            dynamic_uj: values.to_vec(),
            idle_uj: values.iter().map(|value| value.map(|_| 1)).collect(),
            error_permille: vec![None; values.len()],
        };
        Slots {
            ended_ms: numbers.iter().map(|number| number * 1_000).collect(),
            span_us: vec![1_000_000; package.len()],
            components: [
                ("package".to_owned(), column(package)),
                ("dram".to_owned(), column(dram)),
            ]
            .into(),
            number: numbers,
        }
    }

    fn dynamic(past: &Past) -> Vec<Option<u64>> {
        past.node()
            .iter()
            .map(|mean| mean.map(|mean| mean.dynamic))
            .collect()
    }

    #[test]
    fn the_node_is_the_sum_up_to_where_all_have_spoken_and_late_words_count() {
        let mut past = Past::default();
        past.merge(
            Some(1),
            &said(
                1,
                &[Some(5), None, Some(6), Some(7)],
                &[Some(1), None, Some(1), None],
            ),
        );
        assert_eq!(dynamic(&past), [Some(6), None, Some(7)]);
        past.merge(Some(1), &said(4, &[Some(7)], &[Some(2)]));
        assert_eq!(dynamic(&past), [Some(6), None, Some(7), Some(9)]);
        past.merge(Some(2), &said(1, &[Some(1)], &[Some(1)]));
        assert_eq!(dynamic(&past), [Some(2)], "another run begins anew");
    }

    #[test]
    fn it_holds_fifteen_minutes_and_never_more_slots_than_its_bound() {
        let mut past = Past::default();
        for first in [1, 1_001, 2_001] {
            past.merge(Some(1), &said(first, &[Some(1); 1_000], &[Some(1); 1_000]));
        }
        assert_eq!(past.slots.len(), 901);
        let mut fast = said(1, &[Some(1); 3_000], &[Some(1); 3_000]);
        fast.ended_ms.fill(1);
        past.merge(Some(9), &fast);
        assert_eq!(past.slots.len(), MOST_SLOTS);
    }

    #[test]
    fn columns_are_means_of_as_many_slots_and_gaps_do_not_count() {
        let mean = |dynamic| {
            Some(Mean {
                dynamic,
                ..Mean::default()
            })
        };
        let slots = [mean(9), mean(1), mean(3), None, mean(5)];
        assert_eq!(columns(&slots, 9), slots);
        assert_eq!(columns(&slots, 3), [mean(9), mean(2), mean(5)]);
        assert_eq!(columns(&slots, 0), []);
        assert_eq!(columns(&[None, None], 1), [None]);
        assert_eq!((power(3, 2_000_000), power(3, 0)), (1, 0));
    }
}
