// SPDX-License-Identifier: Apache-2.0
//! What is logged of trouble, and when the clock of the wait runs.

use super::super::access::Kind;
use super::super::desk::{State, Troubles};
use std::time::Duration;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn each_kind_of_trouble_is_logged_once_until_all_was_well_for_half_a_minute() {
    let mut troubles = Troubles::default();
    assert!(!troubles.are_over(at(0)), "there was none");
    assert!(troubles.is_new(Kind::Forbidden, at(1)));
    assert!(!troubles.is_new(Kind::Forbidden, at(2)));
    assert!(troubles.is_new(Kind::Slow, at(3)));
    assert!(troubles.are_over(at(10)));
    assert!(!troubles.are_over(at(20)), "said once");
    // A watch that breaks again and again.
    assert!(!troubles.is_new(Kind::Forbidden, at(39)));
    assert!(!troubles.are_over(at(40)), "no end of what was not logged");
    assert!(!troubles.are_over(at(60)));
    assert!(troubles.is_new(Kind::Forbidden, at(70)));
    assert!(troubles.are_over(at(71)));
    assert!(troubles.is_new(Kind::Slow, at(101)), "all of them are forgotten");
}

#[test]
fn a_list_of_nobody_is_said_once_until_there_is_somebody() {
    let mut troubles = Troubles::default();
    for (is_empty, is_news) in [(true, true), (true, false), (false, false), (true, true)] {
        assert_eq!(troubles.is_newly_empty(is_empty), is_news);
    }
}

#[test]
fn the_wait_runs_where_somebody_would_know_or_only_people_can_mend_it() {
    let running = [
        State::Current,
        State::Ended,
        State::Down(Kind::Untrusted),
        State::Down(Kind::Unauthorized),
        State::Down(Kind::Forbidden),
        State::Down(Kind::Setup),
    ];
    let standing = [
        State::Asking,
        State::Down(Kind::Unreachable),
        State::Down(Kind::Slow),
        State::Down(Kind::Busy),
        State::Down(Kind::Expired),
        State::Down(Kind::Refused),
        State::Down(Kind::Malformed),
    ];
    assert!(running.iter().all(|state| state.wait_runs()));
    assert!(standing.iter().all(|state| !state.wait_runs()));
    assert!(!State::Current.is_no() && State::Ended.is_no());
}
