// SPDX-License-Identifier: Apache-2.0
//! What the programs have in common whose instructions are counted: without an argument they name their cases, with a case's
//! name they do it once. Counting is on in [`collected_by_callgrind`] alone, so what a case prepares costs nothing.

use std::hint::black_box;

/// A name for the table, and what prepares and then calls [`collected_by_callgrind`].
pub(crate) type Case = (&'static str, fn());

/// Counting begins when this is entered and ends when it is left: `valgrind` finds it by its name, so it must not be inlined.
#[inline(never)]
pub(crate) fn collected_by_callgrind(act: &mut dyn FnMut()) {
    black_box(act)();
}

/// Names all cases, or does the one whose name is given.
pub(crate) fn run(cases: &[Case]) -> Result<(), String> {
    let Some(wanted) = std::env::args().nth(1) else {
        for (name, _) in cases {
            println!("{name}");
        }
        return Ok(());
    };
    let case = cases.iter().find(|(name, _)| *name == wanted);
    let (_, act) = case.ok_or_else(|| format!("no case is called {wanted:?}"))?;
    act();
    Ok(())
}
