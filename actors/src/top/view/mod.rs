// SPDX-License-Identifier: Apache-2.0
//! How the model looks: lays out the screens and draws what is on all of them. Reads the model, decides nothing, and shows
//! no text of others that is not tame.

mod chart;
mod help;
mod node;
mod sources;
mod workload;
mod workloads;

use super::model::{Link, Model, Screen};
use crate::words;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

/// Fewest columns and rows on which anything can be told.
const SMALLEST: (u16, u16) = (30, 6);
/// Rows below which the node is one line, so that workloads have theirs.
const LOW: u16 = 16;

/// Whether there is colour. Nothing is told by colour alone.
#[derive(Clone, Copy, Debug)]
pub(in crate::top) struct Theme {
    pub(in crate::top) colour: bool,
}

impl Theme {
    fn paint(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn dynamic(self) -> Style {
        self.paint(Color::Yellow)
    }

    fn idle(self) -> Style {
        self.paint(Color::Blue)
    }

    fn bad(self) -> Style {
        self.paint(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn good(self) -> Style {
        self.paint(Color::Green)
    }

    fn estimate(self) -> Style {
        self.paint(Color::Magenta)
    }

    const fn head() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    const fn quiet() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    const fn chosen() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

/// Draws everything.
pub(in crate::top) fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let words = format!(
            "{}x{} is too small: at least {}x{}",
            area.width, area.height, SMALLEST.0, SMALLEST.1
        );
        frame.render_widget(Paragraph::new(words::cut(&words, usize::from(area.width))), area);
        return;
    }
    let lost = match model.link {
        Link::Lost { .. } if area.height < LOW => 1,
        // What to do stands at the end of what is wrong.
        Link::Lost { .. } => 2,
        Link::Waiting | Link::Up => 0,
    };
    let [title, alarm, middle, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(lost),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(title_line(model, theme), title);
    if let Link::Lost { why, .. } = &model.link {
        let span = words::span(model.silent_ms().unwrap_or(0));
        let words = words::tame(&format!(" DISCONNECTED for {span}, trying again: {why}"));
        let style = theme.bad().add_modifier(Modifier::REVERSED);
        let alarm_words = Paragraph::new(words).style(style).wrap(Wrap { trim: true });
        frame.render_widget(alarm_words, alarm);
    }
    match model.screen {
        Screen::Overview => overview(frame, middle, model, theme),
        Screen::Workload => workload::draw(frame, middle, model, theme),
        Screen::Sources => sources::draw(frame, middle, model, theme),
        Screen::Help => help::draw(frame, middle, model),
    }
    frame.render_widget(foot_line(model), foot);
}

fn overview(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let rows = match &model.update {
        _ if area.height < LOW => 1,
        Some(update) => {
            let parts = update.components.iter().filter(|one| one.power.is_some()).count();
            u16::try_from(parts).unwrap_or(u16::MAX).min(7) + 6
        }
        None => 6,
    };
    let [above, below] = Layout::vertical([Constraint::Length(rows), Constraint::Fill(1)]).areas(area);
    node::draw(frame, above, model, theme);
    workloads::draw(frame, below, model, theme);
}

fn title_line(model: &Model, theme: Theme) -> Line<'static> {
    let (sign, style) = match model.link {
        Link::Up => ("live", theme.good()),
        Link::Waiting => ("connecting", Theme::quiet()),
        Link::Lost { .. } => ("disconnected", theme.bad()),
    };
    let version = match model.about.version.as_str() {
        "" => String::new(),
        version => format!(" {}", words::cut(version, 24)),
    };
    Line::from(vec![
        Span::styled(format!("kepler{version}"), Theme::head()),
        Span::raw("  "),
        Span::styled(sign, style),
        Span::raw(format!("  {}", words::tame(&model.from))),
    ])
}

fn foot_line(model: &Model) -> Line<'static> {
    let words = match (model.screen, model.is_typing) {
        (Screen::Overview, true) => "type to search  Enter keep  Esc clear",
        (Screen::Overview, false) => {
            "? help  1-5 level  s sort  / search  g group  e ended  Enter history  i sources  q quit"
        }
        (Screen::Workload, _) => "Esc back  ? help  q quit",
        (Screen::Sources | Screen::Help, _) => "Esc back  Up/Down scroll  q quit",
    };
    Line::styled(words, Theme::quiet())
}

/// What is said of where nothing is known yet.
fn nothing_yet(model: &Model) -> &'static str {
    match model.link {
        Link::Waiting => "asking the daemon ...",
        Link::Up => "waiting for the first window of the daemon ...",
        Link::Lost { .. } => "nothing is known of this daemon yet",
    }
}

#[cfg(test)]
pub(super) mod tests;
