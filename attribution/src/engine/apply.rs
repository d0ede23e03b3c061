// SPDX-License-Identifier: Apache-2.0
//! The last step of a window: CPU time, events and charges are entered on the rows of every level.
//!
//! A report lists the processes of a cgroup together, and most have no row of their own. So what neighbours with the same
//! rows did is summed first and entered once for all of them: levels are sums, whoever sums.

use super::accounts::{Account, Accounts, Counted};
use super::columns::Line;
use super::levels::{Levels, Rows};
use super::processes::Processes;
use super::{Engine, Work};
use crate::model::snapshot::{Charge, Ledger};
use crate::model::{CpuNanos, EventCounts};

/// Sums of neighbours that pay into the same rows.
#[derive(Debug, Default)]
pub(crate) struct Run {
    rows: Option<Rows>,
    sum: Ledger,
}

/// What one account did.
#[derive(Clone, Copy, Debug)]
struct Done<'a> {
    time: CpuNanos,
    line: Line<'a>,
    events: Option<&'a EventCounts>,
}

impl Done<'_> {
    fn enter(&self, ledger: &mut Ledger) {
        ledger.ran(self.time);
        ledger.charge_all(self.line.charges());
        if let Some(events) = self.events {
            ledger.counted(events);
        }
    }
}

/// Where entries go.
struct Books<'a> {
    processes: &'a mut Processes,
    levels: &'a mut Levels,
    run: &'a mut Run,
}

impl Books<'_> {
    /// Enters what an account did that ran.
    fn ran(&mut self, account: &Account, done: Done<'_>) {
        let Some(own) = self.processes.of_runner(account.into()) else {
            self.sum(account.rows).enter_all(done);
            return;
        };
        done.enter(own);
        if let Some(rows) = account.rows {
            self.levels.enter(rows, |ledger| done.enter(ledger));
        }
    }

    /// Enters what was counted of an account that did not run.
    fn counted(&mut self, accounts: &Accounts, counted: &Counted) {
        let Some(account) = accounts.get(counted.id) else {
            return;
        };
        self.processes.ledger(account.task).counted(&counted.events);
        if let Some(rows) = account.rows {
            self.levels.enter(rows, |ledger| ledger.counted(&counted.events));
        }
    }

    /// The sum of those who pay into `rows`; what was summed for other rows is entered first.
    fn sum(&mut self, rows: Option<Rows>) -> &mut Run {
        if self.run.rows != rows {
            self.flush();
            self.run.rows = rows;
        }
        self.run
    }

    fn flush(&mut self) {
        let sum = &self.run.sum;
        self.processes.others().absorb(sum);
        if let Some(rows) = self.run.rows {
            self.levels.enter(rows, |ledger| ledger.absorb(sum));
        }
        self.run.sum.clear();
    }
}

impl Run {
    fn enter_all(&mut self, done: Done<'_>) {
        done.enter(&mut self.sum);
    }
}

impl Engine {
    /// Books CPU time, events and bills on the rows of every level.
    pub(super) fn apply(&mut self) {
        let Work {
            deltas,
            counts,
            columns,
            charges,
            run,
            ..
        } = &mut self.work;
        let mut books = Books {
            processes: &mut self.processes,
            levels: &mut self.levels,
            run,
        };
        let mut counts = counts.drain(..).peekable();
        for (delta, line) in columns.lines(deltas) {
            // Both are in the order of the report's rows.
            while let Some(counted) = counts.next_if(|counted| counted.row < delta.row) {
                books.counted(&self.accounts, &counted);
            }
            let counted = counts.next_if(|counted| counted.row == delta.row);
            if let Some(account) = self.accounts.get(delta.id) {
                let done = Done {
                    time: delta.time(),
                    line,
                    events: counted.as_ref().map(|counted| &counted.events),
                };
                books.ran(account, done);
            }
        }
        counts.for_each(|counted| books.counted(&self.accounts, &counted));
        books.flush();
        deltas.clear();
        for bill in charges.iter() {
            let Some(account) = self.accounts.get(bill.id) else {
                continue;
            };
            let charge = Charge {
                dynamic: bill.dynamic,
                idle: bill.idle,
                used: bill.used,
            };
            let task = account.task.filter(|_| !bill.for_others);
            books.processes.ledger(task).charge(bill.zone, charge);
            if let Some(rows) = account.rows {
                books
                    .levels
                    .enter(rows, |ledger| ledger.charge(bill.zone, charge));
            }
        }
    }
}
