// SPDX-License-Identifier: Apache-2.0
//! Server-sent events out of bytes (WHATWG HTML, 9.2), as far as the daemon sends them. Pure.

/// Longest event: an update has at most 500 rows of a kilobyte, and zones and sources beside them.
const LONGEST: usize = 16 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What it is; `message` where it is not said.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// Bytes that came and are no whole event yet.
#[derive(Debug, Default)]
pub struct Events {
    /// The part of a line that came.
    line: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl Events {
    /// Takes bytes in and gives the events that are whole now; `None` when one is longer than any can be.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Vec<Event>> {
        let mut whole = Vec::new();
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            if self
                .line
                .len()
                .saturating_add(part.len())
                .saturating_add(self.event.data.len())
                > LONGEST
            {
                return None;
            }
            self.line.extend_from_slice(part);
            if parts.peek().is_some() {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                whole.extend(self.line(line.strip_suffix('\r').unwrap_or(&line)));
            }
        }
        Some(whole)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENT: &str = "retry: 2000\n\nevent: update\nid: 7\ndata: {\"a\":1}\n\nevent: alive\r\ndata: {}\r\n\r\ndata: one\ndata: two\n\n: remark\n\nevent: update\ndata: cut";

    fn event(name: &str, data: &str) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    fn expected() -> Vec<Event> {
        vec![
            event("update", "{\"a\":1}"),
            event("alive", "{}"),
            event("", "one\ntwo"),
        ]
    }

    #[test]
    fn events_are_whole_at_their_empty_line_and_what_is_cut_waits() {
        let mut events = Events::default();
        assert_eq!(events.feed(SENT.as_bytes()).unwrap(), expected());
        assert_eq!(events.feed(b" off\n\n").unwrap(), [event("update", "cut off")]);
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut events = Events::default();
        let half = vec![b'x'; LONGEST / 2 + 1];
        assert!(events.feed(&half).is_some());
        assert!(events.feed(&half).is_none());
    }

    proptest! {
        #[test]
        fn where_the_network_cuts_does_not_matter(cuts in prop::collection::vec(0..SENT.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, SENT.len()]);
            cuts.sort_unstable();
            let mut events = Events::default();
            let mut came = Vec::new();
            for pair in cuts.windows(2) {
                came.extend(events.feed(&SENT.as_bytes()[pair[0]..pair[1]]).unwrap());
            }
            prop_assert_eq!(came, expected());
        }
    }
}
