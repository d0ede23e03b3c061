// SPDX-License-Identifier: Apache-2.0
//! A log line stays one line, and no command to a terminal: what a workload calls itself is in some of them, and people read logs
//! in terminals and machines by lines. Owns the way from a formatted line to the one that is written; knows no event.

use std::io::{self, Write};
use tracing_subscriber::fmt::MakeWriter;

/// How a character is written that must not stand in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people: as Rust writes it in a text, `\n` and `\u{1b}`.
    Text,
    /// The same, with colours, which the formatter itself sets. It leaves other escapes in a message as they came.
    Coloured,
    /// JSON has its own way to write what is below a blank; what is left (`U+0080` to `U+009F`, which begin commands, too) is
    /// written in the same way.
    Json,
}

/// Writers that are tame.
#[derive(Clone, Debug)]
pub(super) struct Tame<M> {
    inner: M,
    form: Form,
}

impl<M> Tame<M> {
    pub(super) const fn new(inner: M, form: Form) -> Self {
        Self { inner, form }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Tame<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            inner: self.inner.make_writer(),
            form: self.form,
        }
    }
}

/// Writes one line: the formatter hands each over as a whole.
#[derive(Debug)]
pub(super) struct Line<W> {
    inner: W,
    form: Form,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.inner
            .write_all(tamed(&String::from_utf8_lossy(line), self.form).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn tamed(line: &str, form: Form) -> String {
    let (body, end) = match line.strip_suffix('\n') {
        Some(body) => (body, "\n"),
        None => (line, ""),
    };
    let mut out = String::with_capacity(line.len());
    for (at, char) in body.char_indices() {
        let rest = || body.get(at..).unwrap_or_default();
        match form {
            Form::Coloured if char == '\u{1b}' && is_colour(rest()) => out.push(char),
            Form::Json if char.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ if char.is_control() => out.extend(char.escape_default()),
            _ => out.push(char),
        }
    }
    out.push_str(end);
    out
}

/// Whether a text begins with a command that sets a colour and nothing else (SGR, ECMA-48 8.3.117).
fn is_colour(text: &str) -> bool {
    let Some(codes) = text.strip_prefix("\u{1b}[") else {
        return false;
    };
    // The formatter's own are shorter.
    let mut codes = codes
        .bytes()
        .take(16)
        .skip_while(|byte| byte.is_ascii_digit() || *byte == b';');
    codes.next() == Some(b'm')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_control_characters_is_written_as_it_is() {
        for form in [Form::Text, Form::Coloured, Form::Json] {
            assert_eq!(tamed("a é \u{202e}\"\\n\n", form), "a é \u{202e}\"\\n\n");
        }
    }

    #[test]
    fn nothing_in_a_line_ends_it_or_commands_a_terminal() {
        let line = "a\nb\r\u{1b}[2J\u{9b}31m\u{7f}\n";
        assert_eq!(tamed(line, Form::Text), "a\\nb\\r\\u{1b}[2J\\u{9b}31m\\u{7f}\n");
        let coloured = "\u{1b}[1;33mWARN\u{1b}[0m \u{1b}]0;x\u{1b}[";
        let kept = "\u{1b}[1;33mWARN\u{1b}[0m \\u{1b}]0;x\\u{1b}[";
        assert_eq!(tamed(coloured, Form::Coloured), kept);
        assert_eq!(
            tamed(line, Form::Coloured),
            "a\\nb\\r\\u{1b}[2J\\u{9b}31m\\u{7f}\n"
        );
        assert_eq!(
            tamed(line, Form::Json),
            "a\\u000ab\\u000d\\u001b[2J\\u009b31m\\u007f\n"
        );
    }
}
