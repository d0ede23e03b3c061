// SPDX-License-Identifier: Apache-2.0
//! The terminal: takes it, draws on it, reads its keys, and gives it back as it was: when somebody leaves, on SIGTERM,
//! SIGINT and SIGHUP, and when code panics (ratatui's hook, which also runs where a panic aborts).

use super::keys::{Effect, Key, Message, take};
use super::model::Model;
use super::view::{Theme, draw};
use super::{TopOptions, feed};
use crate::client::{Client, Level};
use crate::{clock, words};
use anyhow::{Context as _, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io::{IsTerminal as _, stdin, stdout};
use std::thread::Builder;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// How often the screen is drawn though nothing was heard: ages go on.
const LOOKS: Duration = Duration::from_secs(1);
/// How long the thread that reads keys waits before it looks whether anybody wants them.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Keys that may wait. Whoever types faster than this is a paste, and is held up.
const KEYS: usize = 64;

/// Gives the terminal back.
struct Taken;

impl Drop for Taken {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows what `client` says until somebody leaves.
///
/// # Errors
/// When there is no terminal.
pub fn run(client: Client, options: &TopOptions) -> anyhow::Result<()> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        bail!("top needs a terminal; `kepler snapshot` prints once, into a pipe or a file, too");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let theme = Theme {
        colour: words::colour_wanted(),
    };
    let model = Model::new(client.endpoint().to_string(), options.level, options.sort);
    runtime.block_on(async {
        let stop = crate::run::stop_signal()?;
        let hang_up = hang_up()?;
        let terminal = ratatui::try_init().context("cannot use this terminal")?;
        let _taken = Taken;
        tokio::select! {
            shown = show(terminal, theme, model, client) => shown,
            () = stop => Ok(()),
            () = hang_up => Ok(()),
        }
    })
}

fn hang_up() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    Ok(async move {
        hang_up.recv().await;
    })
}

async fn show(
    mut terminal: DefaultTerminal,
    theme: Theme,
    mut model: Model,
    client: Client,
) -> anyhow::Result<()> {
    let (to, mut messages) = mpsc::channel(feed::WAITING);
    let (level, followed) = watch::channel(model.level);
    let mut keys = keys()?;
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let feed = tokio::spawn(feed::run(client.clone(), followed, to.clone()));
    let shown = loop {
        model.now_ms = clock::monotonic().as_nanos() / 1_000_000;
        if let Err(error) = terminal.draw(|frame| draw(frame, &model, theme)) {
            break Err(error).context("cannot draw");
        }
        let message = tokio::select! {
            key = keys.recv() => match key {
                Some(message) => message,
                None => break Ok(()),
            },
            Some(message) = messages.recv() => message,
            _ = looks.tick() => Message::Look,
        };
        match take(&mut model, message) {
            Some(Effect::Quit) => break Ok(()),
            Some(Effect::Follow(wanted)) => drop(level.send_replace(wanted)),
            Some(Effect::Ask(level, id)) => drop(tokio::spawn(ask(client.clone(), level, id, to.clone()))),
            None => {}
        }
    };
    feed.abort();
    shown
}

/// Asks for one workload. That it is not answered is said by the stream.
async fn ask(client: Client, level: Level, id: String, to: mpsc::Sender<Message>) {
    if let Ok(history) = client.workload(level, &id).await {
        drop(to.send(Message::Workload(id, history)).await);
    }
}

/// Reads keys on a thread of its own: a terminal is read by waiting. Ends with the receiver, or with the terminal.
fn keys() -> anyhow::Result<mpsc::Receiver<Message>> {
    let (to, keys) = mpsc::channel(KEYS);
    let read = move || {
        while !to.is_closed() {
            let message = match event::poll(KEY_WAIT) {
                Ok(false) => continue,
                Ok(true) => event::read().map(message),
                Err(error) => Err(error),
            };
            match message {
                Ok(Some(message)) => {
                    if to.blocking_send(message).is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                // The terminal is gone, and so is whoever looked.
                Err(_) => return,
            }
        }
    };
    Builder::new()
        .name("keys".to_owned())
        .spawn(read)
        .context("cannot start the thread that reads keys")?;
    Ok(keys)
}

fn message(event: Event) -> Option<Message> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => self::key(key).map(Message::Key),
        Event::Resize(..) => Some(Message::Look),
        _ => None,
    }
}

fn key(key: KeyEvent) -> Option<Key> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Some(Key::Interrupt),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char(letter) if !letter.is_control() => Key::Letter(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Erase,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab | KeyCode::Right => Key::Next,
        KeyCode::BackTab | KeyCode::Left => Key::Previous,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_terminal_are_those_that_the_help_lists() {
        let press = |code, modifiers| key(KeyEvent::new(code, modifiers));
        assert_eq!(
            press(KeyCode::Char('é'), KeyModifiers::NONE),
            Some(Key::Letter('é'))
        );
        assert_eq!(
            press(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Key::Interrupt)
        );
        assert_eq!(press(KeyCode::Char('q'), KeyModifiers::CONTROL), None);
        assert_eq!(press(KeyCode::BackTab, KeyModifiers::SHIFT), Some(Key::Previous));
        assert!(matches!(message(Event::Resize(1, 1)), Some(Message::Look)));
        assert!(message(Event::FocusGained).is_none());
    }
}
