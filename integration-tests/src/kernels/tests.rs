// SPDX-License-Identifier: Apache-2.0

use super::*;

const LOG: &str = "@kernel 5.10.0-46-cloud-amd64\r
@begin check\r
machine\r
  memory                    966 MiB\r
probes\r
  sched_switch         yes  \r
kepler can run here\r
@end 0 2.17 4.15\r
@begin test objects::each\r
program cpu_time/flush: loaded\r
program softirq/net: no such tracepoint\r
program cpu_time/page_accessed: attached to mark_page_accessed\r
cgroup made: known, 1 walk\r
daemon auto: scheduler: the cheaper one\r
@end 0 5.00 6.00\r
@begin test storm::many\r
storm: 102113174720 ns, 988 per mille of cpu.stat, 5001 tasks\r
storm: 7 ns, 1003 per mille of cpu.stat, 5001 tasks\r
skipped: the bound on time\r
@end 0 6.00 7.00\r
@begin test tasks::burner\r
thread 'tasks::burner' (9777) panicked at tasks.rs:103:9:\r
3 ns of 4 ns\r
@end 101 7.00 8.00\r
@done\r
";

fn guest(log: &str) -> Guest {
    Guest::parse("5.10", "linux-image-5.10.0-46-cloud-amd64\n", log)
}

#[test]
fn every_line_of_a_guest_finds_its_place_in_the_page() {
    let page = render(&[guest(LOG), guest("")]);
    for line in [
        "| release | 5.10.0-46-cloud-amd64 |  |",
        "| cpu_time/flush | loaded | – |",
        "| softirq/net | no | – |",
        "| cpu_time/page_accessed | attached to mark_page_accessed | – |",
        "- `softirq/net`: no such tracepoint (5.10)",
        "| storm | 98.8 %, 100.3 % | – |",
        "| made | known, 1 walk | – |",
        "| auto | scheduler: the cheaper one | – |",
        "| objects::each | ok | – |",
        "| storm::many | left out | – |",
        "| tasks::burner | **failed** | – |",
        "- `storm::many`: the bound on time (5.10)",
        "- `tasks::burner`: **failed**: 3 ns of 4 ns (5.10)",
        "  sched_switch         yes",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert!(!page.contains("966 MiB") && !page.contains("can run here"));
}

#[test]
fn a_test_that_failed_is_a_complaint_and_one_that_was_skipped_is_none() {
    assert_eq!(
        guest(LOG).complaints(),
        ["5.10: test tasks::burner ended with 101"]
    );
}

#[test]
fn a_test_that_passes_when_it_runs_again_is_no_complaint_and_the_table_says_so() {
    let again = "@begin test tasks::burner\n@end 0 8.00 9.00\n@done";
    let guest = guest(&LOG.replace("@done", again));
    assert_eq!(guest.complaints(), Vec::<String>::new());
    let page = render(&[guest]);
    assert!(page.contains("| tasks::burner | ok, in run 2 |"), "{page}");
    assert!(!page.contains("**failed**"), "{page}");
}

#[test]
fn a_guest_that_stops_half_way_or_tests_nothing_is_a_complaint() {
    let (half, _) = LOG.split_once("@end 101").unwrap();
    assert_eq!(
        guest(half).complaints(),
        [
            "5.10: it stopped in test tasks::burner",
            "5.10: the guest did not come to its end"
        ]
    );
    assert_eq!(
        guest("@kernel 5.10\n@done\n").complaints(),
        ["5.10: no test has run"]
    );
}

#[test]
fn tests_that_a_guest_did_not_come_to_are_named_with_the_place_where_it_stopped() {
    let (half, _) = LOG.split_once("@begin test storm::many").unwrap();
    let inside = format!("{half}@begin test machine::sleep\n");
    let named = |name: &str, log: &str| Guest::parse(name, "", log);
    let guests = [
        guest(LOG),
        named("6.1", &inside),
        named("6.12", half),
        named("newest", ""),
    ];
    let page = render(&guests);
    let (_, left_out) = page.split_once("## Left out, and what failed\n\n").unwrap();
    let lines: Vec<_> = left_out.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(
        lines,
        [
            "- `machine::sleep`: **failed**: the guest stopped in it (6.1)",
            "- `machine::sleep`: never ran, because the guest said nothing (newest)",
            "- `machine::sleep`: never ran, because the guest stopped after `objects::each` (6.12)",
            "- `objects::each`: never ran, because the guest said nothing (newest)",
            "- `storm::many`: never ran, because the guest said nothing (newest)",
            "- `storm::many`: never ran, because the guest stopped after `objects::each` (6.12)",
            "- `storm::many`: never ran, because the guest stopped in `machine::sleep` (6.1)",
            "- `storm::many`: the bound on time (5.10)",
            "- `tasks::burner`: **failed**: 3 ns of 4 ns (5.10)",
            "- `tasks::burner`: never ran, because the guest said nothing (newest)",
            "- `tasks::burner`: never ran, because the guest stopped after `objects::each` (6.12)",
            "- `tasks::burner`: never ran, because the guest stopped in `machine::sleep` (6.1)",
        ]
    );
}

#[test]
fn a_guest_that_was_asked_for_some_tests_only_left_none_out() {
    let only = "@kernel 6.1\n@begin test objects::each\n@end 0 1 2\n@done\n";
    let page = render(&[guest(LOG), Guest::parse("6.1", "", only)]);
    assert!(page.contains("| storm::many | left out | – |"), "{page}");
    assert!(!page.contains("never ran"), "{page}");
}
