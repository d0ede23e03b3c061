// SPDX-License-Identifier: Apache-2.0
//! Screens as text. What is compared whole is one overview; of the others what matters is there and fits.

use super::*;
use crate::client::{
    About, Accounting, Columns, ComponentNow, Facts, Level, NodeHistory, Power, Probe, Slots, Source,
    SourceFacts, SourceFailure, Update, Windows, WorkloadHistory, WorkloadSlots, Zone,
};
use crate::snapshot::Sort;
use crate::snapshot::tests::update;
use crate::top::keys::{Key, Message, take};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use unicode_width::UnicodeWidthStr as _;

fn screen(model: &Model, width: u16, height: u16, colour: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, model, Theme { colour }))
        .unwrap();
    terminal
}

/// The screen's lines without what is empty at their ends. A wide letter takes two cells, of which the second is empty.
fn lines(model: &Model, width: u16, height: u16) -> Vec<String> {
    let terminal = screen(model, width, height, true);
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let mut text = String::new();
        let mut covered = 0;
        for x in 0..width {
            if covered > 0 {
                covered -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            covered = symbol.width().saturating_sub(1);
            text.push_str(symbol);
        }
        text.trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// An update of a node with four minutes of history, whose memory is estimated.
fn told() -> Update {
    let mut update = update();
    update.components.push(ComponentNow {
        component: "dram".to_owned(),
        in_total: true,
        power: Some(Power {
            dynamic_uw: 1_000_000,
            idle_uw: 2_000_000,
            error_permille: Some(895),
            ended_ms: 60_000,
        }),
        ..ComponentNow::default()
    });
    update.components.push(ComponentNow {
        component: "platform".to_owned(),
        power: Some(Power {
            dynamic_uw: 20_000_000,
            idle_uw: 30_000_000,
            error_permille: None,
            ended_ms: 60_000,
        }),
        ..ComponentNow::default()
    });
    update.rows_by_level = [("container".to_owned(), 3), ("process".to_owned(), 120)].into();
    update.slots = Slots {
        number: (1..=8).collect(),
        ended_ms: (1..=8).map(|second| second * 1_000).collect(),
        span_us: vec![1_000_000; 8],
        components: [(
            "package".to_owned(),
            Columns {
                dynamic_uj: (1..=8).map(|second| Some(second * 1_000_000)).collect(),
                idle_uj: vec![Some(8_000_000); 8],
                error_permille: vec![None; 8],
            },
        )]
        .into(),
    };
    update.zones = vec![
        Zone {
            component: "package".to_owned(),
            place: "socket0".to_owned(),
            source: "rapl-sysfs".to_owned(),
            provenance: "counted".to_owned(),
            power_uw: Some(30_000_000),
            age_ns: 20_000_000,
            up: true,
            ..Zone::default()
        },
        Zone {
            component: "dram".to_owned(),
            place: "socket0".to_owned(),
            source: "trained_power_model".to_owned(),
            provenance: "estimated".to_owned(),
            relative_error_p90_permille: Some(895),
            age_ns: 90_000_000_000,
            up: true,
            ..Zone::default()
        },
    ];
    update.sources = vec![Source {
        source: "rapl-sysfs".to_owned(),
        errors: vec![SourceFailure {
            zone: None,
            reason: "io".to_owned(),
            count: 3,
            latest: "\x1b[31mno such file".to_owned(),
        }],
        ..Source::default()
    }];
    update.facts = Facts {
        probes: vec![Probe {
            probe: "sched_switch".to_owned(),
            up: true,
            reason: String::new(),
        }],
        accounting: Accounting {
            chosen: "switch".to_owned(),
            reason: "it is cheaper here".to_owned(),
        },
        sources: vec![SourceFacts {
            source: "redfish".to_owned(),
            components: vec!["platform".to_owned()],
            detail: "https://bmc".to_owned(),
        }],
    };
    update.windows = Windows {
        closed: 60,
        late_now: Vec::new(),
        stale: vec!["redfish".to_owned()],
    };
    update
}

fn model() -> Model {
    let mut model = Model::new("https://node7:28282".to_owned(), Level::Containers, Sort::Power);
    let about = About {
        version: "0.1.0".to_owned(),
        price_per_kwh: Some(0.31),
        currency: "EUR".to_owned(),
        ..About::default()
    };
    take(&mut model, Message::Connected(about, NodeHistory::default()));
    take(&mut model, Message::Updated(Box::new(told())));
    model
}

fn press(model: &mut Model, keys: &[Key]) {
    for key in keys {
        take(model, Message::Key(*key));
    }
}

#[test]
fn the_overview_shows_power_its_past_its_parts_and_who_uses_it() {
    let shown = lines(&model(), 100, 21).join("\n");
    let expected = include_str!("overview.txt").trim_end();
    assert_eq!(shown, expected, "\n{shown}\n");
}

#[test]
fn every_screen_fits_every_size_and_obeys_no_name() {
    let mut opened = model();
    press(&mut opened, &[Key::Enter]);
    let history = WorkloadHistory {
        slots: WorkloadSlots {
            dynamic_uj: vec![1_000_000; 30],
            idle_uj: vec![500_000; 30],
            span_us: vec![1_000_000; 30],
            ..WorkloadSlots::default()
        },
        ..WorkloadHistory::default()
    };
    take(&mut opened, Message::Workload("2".to_owned(), Some(history)));
    let (mut help, mut sources, mut lost, mut typing) = (model(), model(), model(), model());
    press(&mut help, &[Key::Letter('?')]);
    press(&mut sources, &[Key::Letter('i')]);
    press(&mut typing, &[Key::Letter('/'), Key::Letter('\u{202e}')]);
    take(&mut lost, Message::Lost("\x1b[2Jgone".to_owned()));
    let waiting = Model::new("x".to_owned(), Level::Pods, Sort::Name);
    for model in [model(), opened, help, sources, lost, typing, waiting] {
        for (width, height) in [(1, 1), (29, 5), (30, 6), (40, 10), (80, 24), (300, 100)] {
            let shown = lines(&model, width, height).join("\n");
            assert!(!shown.contains(['\x1b', '\u{202e}', '\u{9b}']), "{shown}");
        }
    }
}

#[test]
fn a_lost_daemon_is_said_in_words_over_what_was_known_last() {
    let mut model = model();
    model.now_ms = 1_000;
    take(&mut model, Message::Lost("connection refused".to_owned()));
    model.now_ms = 8_500;
    let shown = lines(&model, 100, 24).join("\n");
    assert!(
        shown.contains("DISCONNECTED for 7.5 s, trying again: connection refused"),
        "{shown}"
    );
    assert!(
        shown.contains("Node ≈30.00 W") && shown.contains("東京"),
        "{shown}"
    );
}

#[test]
fn sources_tell_state_age_provenance_and_error() {
    let mut model = model();
    press(&mut model, &[Key::Letter('i')]);
    let shown = lines(&model, 100, 24).join("\n");
    for words in [
        "package/socket0    rapl-sysfs          works           20 ms   counted    -        30.00",
        "dram/socket0       trained_power_model old             90 s    estimated  ±90 %        -",
        "redfish: no reading yet (platform); https://bmc",
        "rapl-sysfs: 3 io of all of it: \u{fffd}[31mno such file",
        "60 windows, missing: redfish",
        "CPU time is counted by switch: it is cheaper here",
        "sched_switch     up",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
}

#[test]
fn a_workload_shows_its_figures_and_its_past_or_why_there_is_none() {
    let mut model = model();
    press(&mut model, &[Key::Down, Key::Enter]);
    let shown = lines(&model, 80, 20).join("\n");
    assert!(
        shown.contains("Container 東京") && shown.contains("Now 3.00 W: 2.00 W dynamic, 1.00 W idle"),
        "{shown}"
    );
    assert!(
        shown.contains("measured") && shown.contains("asking for its history"),
        "{shown}"
    );
    take(&mut model, Message::Workload("3".to_owned(), None));
    assert!(
        lines(&model, 80, 20)
            .join("\n")
            .contains("of the largest of each level only")
    );
    let slots = WorkloadSlots {
        dynamic_uj: vec![2_000_000],
        idle_uj: vec![1_000_000],
        span_us: vec![1_000_000],
        ..WorkloadSlots::default()
    };
    let history = WorkloadHistory {
        slots,
        ..WorkloadHistory::default()
    };
    take(&mut model, Message::Workload("3".to_owned(), Some(history)));
    let shown = lines(&model, 80, 20).join("\n");
    assert!(
        shown.contains("3.00 W") && shown.contains('█') && shown.contains('░'),
        "{shown}"
    );
}

#[test]
fn without_colour_no_cell_has_one_and_with_it_estimates_do() {
    let coloured = |colour| {
        let terminal = screen(&model(), 100, 24, colour);
        let cells = terminal.backend().buffer().content();
        cells
            .iter()
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert_eq!(coloured(false), 0);
    assert!(coloured(true) > 20);
}

#[test]
fn what_is_typed_and_filtered_stands_above_the_table() {
    let mut model = model();
    press(
        &mut model,
        &[
            Key::Letter('e'),
            Key::Letter('g'),
            Key::Letter('/'),
            Key::Letter('t'),
        ],
    );
    let shown = lines(&model, 100, 24).join("\n");
    assert!(
        shown.contains("search: t_  namespace: shop  without the ended"),
        "{shown}"
    );
    assert!(shown.contains("nothing fits"), "{shown}");
}

#[test]
fn the_chosen_row_is_always_to_be_seen() {
    let mut model = model();
    press(&mut model, &[Key::End]);
    let shown = lines(&model, 60, 7).join("\n");
    assert!(shown.contains("small"), "{shown}");
}
