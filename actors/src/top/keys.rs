// SPDX-License-Identifier: Apache-2.0
//! What a key or a word of the daemon makes of the model. Pure.

use super::model::{Link, Model, Opened, Screen};
use crate::client::{About, Level, NodeHistory, Update, WorkloadHistory};
use crate::snapshot::Sort;

/// Rows that a page of the table is moved by.
const PAGE: usize = 10;
/// Longest search: names are cut to 253 characters.
const LONGEST_SEARCH: usize = 253;

/// A key, without what a terminal calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Enter,
    Escape,
    Erase,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Next,
    Previous,
    Interrupt,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Key(Key),
    /// The terminal has another size, or a second has passed.
    Look,
    /// The daemon answered.
    Connected(About, NodeHistory),
    Updated(Box<Update>),
    /// It does not speak any more, and why.
    Lost(String),
    /// One workload's history; `None` where there is none.
    Workload(String, Option<WorkloadHistory>),
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Leave.
    Quit,
    /// Listen to this level.
    Follow(Level),
    /// Ask for a workload's history.
    Ask(Level, String),
}

/// Takes a message in.
pub(super) fn take(model: &mut Model, message: Message) -> Option<Effect> {
    match message {
        Message::Key(key) => return press(model, key),
        Message::Look => {}
        Message::Connected(about, history) => {
            model.link = Link::Up;
            model.about = about;
            model.past.merge(history.began_ms, &history.slots);
        }
        Message::Updated(update) => {
            model.link = Link::Up;
            model.past.merge(update.began_ms, &update.slots);
            let mut update = *update;
            model.sort.order(&mut update.rows);
            model.update = Some(update);
            if model.screen == Screen::Workload {
                return Some(Effect::Ask(model.opened.level, model.opened.id.clone()));
            }
        }
        Message::Lost(why) => {
            let since_ms = match model.link {
                Link::Lost { since_ms, .. } => since_ms,
                Link::Waiting | Link::Up => model.now_ms,
            };
            model.link = Link::Lost { since_ms, why };
        }
        Message::Workload(id, history) if id == model.opened.id => {
            // Its end is no reason to forget what was heard.
            model.opened.is_unknown = history.is_none();
            model.opened.history = history.or_else(|| model.opened.history.take());
        }
        Message::Workload(..) => {}
    }
    None
}

fn press(model: &mut Model, key: Key) -> Option<Effect> {
    if key == Key::Interrupt {
        return Some(Effect::Quit);
    }
    if model.is_typing {
        type_search(model, key);
        return None;
    }
    match (model.screen, key) {
        (_, Key::Letter('q')) => return Some(Effect::Quit),
        (Screen::Overview, key) => return press_overview(model, key),
        (_, Key::Escape | Key::Enter | Key::Erase) => go(model, Screen::Overview),
        (Screen::Help, Key::Letter('?')) | (Screen::Sources, Key::Letter('i')) => go(model, Screen::Overview),
        (_, Key::Letter('?')) => go(model, Screen::Help),
        (_, Key::Letter('i')) => go(model, Screen::Sources),
        (_, Key::Down | Key::Letter('j')) => model.scroll = model.scroll.saturating_add(1),
        (_, Key::Up | Key::Letter('k')) => model.scroll = model.scroll.saturating_sub(1),
        (_, Key::PageDown) => model.scroll = model.scroll.saturating_add(10),
        (_, Key::PageUp) => model.scroll = model.scroll.saturating_sub(10),
        (_, Key::Home) => model.scroll = 0,
        _ => {}
    }
    None
}

fn go(model: &mut Model, screen: Screen) {
    model.screen = screen;
    model.scroll = 0;
}

fn press_overview(model: &mut Model, key: Key) -> Option<Effect> {
    match key {
        Key::Letter('?') => go(model, Screen::Help),
        Key::Letter('i') => go(model, Screen::Sources),
        Key::Letter(digit @ '1'..='5') => {
            let index = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
            let level = Level::ALL.get(index?.checked_sub(1)?)?;
            return follow(model, *level);
        }
        Key::Next => return follow(model, beside(&Level::ALL, model.level, 1)),
        Key::Previous => return follow(model, beside(&Level::ALL, model.level, Level::ALL.len() - 1)),
        Key::Letter('s') => {
            model.sort = beside(&Sort::ALL, model.sort, 1);
            if let Some(update) = &mut model.update {
                model.sort.order(&mut update.rows);
            }
        }
        Key::Letter('/') => model.is_typing = true,
        Key::Letter('g') => next_group(model),
        Key::Letter('e') => model.hides_ended = !model.hides_ended,
        Key::Escape => {
            model.search.clear();
            model.group = None;
        }
        Key::Enter => return open(model),
        Key::Down | Key::Letter('j') => step(model, |place| place.saturating_add(1)),
        Key::Up | Key::Letter('k') => step(model, |place| place.saturating_sub(1)),
        Key::PageDown => step(model, |place| place.saturating_add(PAGE)),
        Key::PageUp => step(model, |place| place.saturating_sub(PAGE)),
        Key::Home => step(model, |_| 0),
        Key::End => step(model, |_| usize::MAX),
        Key::Letter(_) | Key::Erase | Key::Interrupt => {}
    }
    None
}

fn type_search(model: &mut Model, key: Key) {
    match key {
        Key::Letter(letter) if model.search.chars().count() < LONGEST_SEARCH => model.search.push(letter),
        Key::Erase => {
            model.search.pop();
        }
        Key::Enter => model.is_typing = false,
        Key::Escape => {
            model.is_typing = false;
            model.search.clear();
        }
        Key::Down => step(model, |place| place.saturating_add(1)),
        Key::Up => step(model, |place| place.saturating_sub(1)),
        _ => {}
    }
}

/// The one that stands so many places behind this one, around the end.
fn beside<T: Copy + PartialEq>(all: &[T], this: T, by: usize) -> T {
    let place = all.iter().position(|one| *one == this).unwrap_or(0);
    all.iter()
        .cycle()
        .nth(place.saturating_add(by))
        .copied()
        .unwrap_or(this)
}

fn follow(model: &mut Model, level: Level) -> Option<Effect> {
    if level == model.level {
        return None;
    }
    model.level = level;
    model.chosen = None;
    model.group = None;
    model.search.clear();
    Some(Effect::Follow(level))
}

fn next_group(model: &mut Model) {
    let groups = model.groups();
    let next = match &model.group {
        None => groups.first(),
        Some(group) => groups
            .iter()
            .position(|one| one == group)
            .and_then(|place| groups.get(place + 1)),
    };
    model.group = next.cloned();
}

fn step(model: &mut Model, to: impl FnOnce(usize) -> usize) {
    let place = to(model.place());
    let rows = model.rows();
    let chosen = rows.get(place).or_else(|| rows.last()).map(|row| row.id.clone());
    model.chosen = chosen;
}

fn open(model: &mut Model) -> Option<Effect> {
    let row = model
        .rows()
        .get(model.place())
        .map(|row| (row.id.clone(), row.title()));
    let (id, title) = row?;
    model.opened = Opened {
        level: model.level,
        id: id.clone(),
        title,
        ..Opened::default()
    };
    go(model, Screen::Workload);
    Some(Effect::Ask(model.level, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::update;

    fn looking() -> Model {
        let mut model = Model::new("here".to_owned(), Level::Containers, Sort::Power);
        assert_eq!(take(&mut model, Message::Updated(Box::new(update()))), None);
        model
    }

    fn press_all(model: &mut Model, keys: &[Key]) -> Vec<Effect> {
        keys.iter()
            .filter_map(|key| take(model, Message::Key(*key)))
            .collect()
    }

    fn shown(model: &Model) -> Vec<&str> {
        model.rows().iter().map(|row| row.id.as_str()).collect()
    }

    #[test]
    fn levels_are_chosen_by_number_and_by_going_along() {
        let mut model = looking();
        let effects = press_all(
            &mut model,
            &[
                Key::Letter('3'),
                Key::Letter('3'),
                Key::Next,
                Key::Next,
                Key::Next,
                Key::Previous,
            ],
        );
        let follow = [
            Level::Processes,
            Level::Vms,
            Level::Units,
            Level::Pods,
            Level::Units,
        ]
        .map(Effect::Follow);
        assert_eq!(effects, follow);
        assert_eq!(
            shown(&model),
            [""; 0],
            "rows of the level before are not those of this one"
        );
    }

    #[test]
    fn an_order_a_search_and_a_filter_do_what_they_say() {
        let mut model = looking();
        assert_eq!(shown(&model), ["2", "3", "1"]);
        press_all(
            &mut model,
            &[Key::Letter('s'), Key::Letter('s'), Key::Letter('s')],
        );
        assert_eq!((model.sort, shown(&model)), (Sort::Energy, vec!["1", "3", "2"]));
        press_all(&mut model, &"/SMq".chars().map(Key::Letter).collect::<Vec<_>>());
        assert_eq!(shown(&model), [""; 0], "q is a letter of a search");
        press_all(&mut model, &[Key::Erase, Key::Enter]);
        assert_eq!((shown(&model), model.is_typing), (vec!["1"], false));
        press_all(&mut model, &[Key::Escape, Key::Letter('g')]);
        assert_eq!((model.group.as_deref(), shown(&model).len()), (Some("shop"), 3));
        press_all(&mut model, &[Key::Letter('g')]);
        assert_eq!(model.group, None, "after the last group come all");
        model.update.as_mut().unwrap().rows[0].ended = true;
        press_all(&mut model, &[Key::Letter('e')]);
        assert_eq!(shown(&model).len(), 2);
    }

    #[test]
    fn what_is_pointed_at_stays_it_when_the_order_changes() {
        let mut model = looking();
        press_all(&mut model, &[Key::Down]);
        assert_eq!((model.chosen.as_deref(), model.place()), (Some("3"), 1));
        press_all(
            &mut model,
            &[
                Key::Letter('s'),
                Key::Letter('s'),
                Key::Letter('s'),
                Key::Letter('s'),
            ],
        );
        assert_eq!((model.sort, model.place()), (Sort::Name, 2));
        press_all(&mut model, &[Key::End]);
        assert_eq!(model.place(), 2);
        press_all(&mut model, &[Key::Home, Key::Up]);
        assert_eq!(model.place(), 0);
    }

    #[test]
    fn a_workload_that_is_open_is_asked_for_with_each_update() {
        let mut model = looking();
        let ask = || Effect::Ask(Level::Containers, "2".to_owned());
        assert_eq!(press_all(&mut model, &[Key::Enter]), [ask()]);
        assert_eq!(
            take(&mut model, Message::Updated(Box::new(update()))),
            Some(ask())
        );
        let history = WorkloadHistory {
            dynamic_uj: 7,
            ..WorkloadHistory::default()
        };
        take(
            &mut model,
            Message::Workload("1".to_owned(), Some(history.clone())),
        );
        assert!(model.opened.history.is_none(), "that was another one");
        take(&mut model, Message::Workload("2".to_owned(), Some(history)));
        take(&mut model, Message::Workload("2".to_owned(), None));
        assert!(model.opened.is_unknown && model.opened.history.is_some());
        press_all(&mut model, &[Key::Escape]);
        assert_eq!(take(&mut model, Message::Updated(Box::new(update()))), None);
    }

    #[test]
    fn a_lost_daemon_is_lost_since_the_first_time_and_back_with_its_next_word() {
        let mut model = looking();
        model.now_ms = 5_000;
        take(&mut model, Message::Lost("gone".to_owned()));
        model.now_ms = 9_000;
        take(&mut model, Message::Lost("still gone".to_owned()));
        assert_eq!(model.silent_ms(), Some(4_000));
        assert_eq!(shown(&model).len(), 3, "what was known last stays");
        take(&mut model, Message::Updated(Box::new(update())));
        assert_eq!(model.link, Link::Up);
    }

    #[test]
    fn q_and_an_interrupt_leave_and_escape_goes_back() {
        let mut model = looking();
        for key in [Key::Letter('?'), Key::Letter('i')] {
            press_all(&mut model, &[key]);
            assert_ne!(model.screen, Screen::Overview);
            press_all(&mut model, &[Key::Down, Key::Escape]);
            assert_eq!((model.screen, model.scroll), (Screen::Overview, 0));
        }
        assert_eq!(press_all(&mut model, &[Key::Letter('q')]), [Effect::Quit]);
        assert_eq!(
            press_all(&mut model, &[Key::Letter('/'), Key::Interrupt]),
            [Effect::Quit]
        );
    }
}
