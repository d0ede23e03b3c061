// SPDX-License-Identifier: Apache-2.0
//! The keys, and what signs mean.

use crate::top::model::Model;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::{Paragraph, Wrap};

const TEXT: &str = "\
Keys
  1 2 3 4 5          pods, containers, processes, VMs, units
  Tab, Right, Left   the next or the one before
  Up, Down, j, k     choose a workload; PageUp, PageDown, Home, End go further
  Enter              its history
  s                  sort by power, dynamic, idle, energy, name (* marks which)
  /                  search names, groups, details and ids as you type
  g                  one namespace, slice or kind after the other, then all
  e                  hide what has ended, or show it
  Esc                back; in the table: clear search and group
  i                  sources and probes
  ?                  this page
  q, Ctrl-C          leave

Signs
  ≈                  an estimate, or partly one; measured figures have no sign
  █ ░                dynamic: for work; idle: for being on
  (core)             in brackets: would count twice in the node's power

Power of a workload is a mean over the last 5 to 10 seconds, longer where a meter is
slower. Energy is since the daemon's start, or since the workload was first seen.";

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let text = Paragraph::new(TEXT)
        .wrap(Wrap { trim: false })
        .scroll((model.scroll, 0));
    frame.render_widget(text, area);
}
