// SPDX-License-Identifier: Apache-2.0
//! What the kernel says about one open GPU file: owns the way from the text of `/proc/PID/fdinfo/FD` to a client and its
//! engines, and reads no file.
//!
//! The format is that of Documentation/gpu/drm-usage-stats.rst, one `key: value` a line:
//!
//! | key                                  | meaning                                                  | i915 | xe  | amdgpu |
//! |--------------------------------------|----------------------------------------------------------|------|-----|--------|
//! | `drm-driver`, `drm-pdev`             | driver and PCI address                                   | yes  | yes | yes    |
//! | `drm-client-id`                      | which open file this is; duplicates show the same number | yes  | yes | yes    |
//! | `drm-engine-E: N ns`                 | time that this client kept engine E busy                 | yes  | -   | yes (*)|
//! | `drm-cycles-E`, `drm-total-cycles-E` | the same in ticks of the GPU, and its clock              | -    | yes | -      |
//! | `drm-engine-capacity-E`              | how many such engines there are; 1 where it is missing   | yes  | yes | some   |
//!
//! (*) amdgpu leaves out engines that the client never used (drivers/gpu/drm/amd/amdgpu/amdgpu_fdinfo.c). The other two
//! are drivers/gpu/drm/i915/i915_drm_client.c and drivers/gpu/drm/xe/xe_drm_client.c.
//!
//! A client that does not say all of driver, address and number cannot be told from its duplicates and is none: kernels
//! before 5.19 (i915, amdgpu) and 6.11 (xe) tell no use.

use crate::files::parse_number;

/// Most engines of one client. xe has six kinds, amdgpu nine.
const MOST_ENGINES: usize = 32;
/// Longest word that is kept: drivers, addresses and engines have names of 15 characters at most.
const LONGEST_WORD: usize = 32;
/// Most engines of one kind that are believed. The largest GPUs have 16 compute rings in each of 8 dies.
const MOST_ALIKE: u64 = 1_024;

/// An open GPU file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// `i915`, `xe`, `amdgpu`.
    pub(crate) driver: Box<str>,
    /// `0000:03:00.0`.
    pub(crate) address: Box<str>,
    /// Its number, at least unique on its card.
    pub(crate) id: u64,
    /// What it used; no two have one name.
    pub(crate) engines: Vec<Engine>,
}

/// One client's use of one kind of engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    /// The driver's name of the kind: `render`, `rcs`, `gfx`.
    pub(crate) name: Box<str>,
    /// How many such engines the card has; never zero.
    pub(crate) capacity: u64,
    /// All of them together, since the client was opened.
    pub(crate) busy: Busy,
}

/// How a driver counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Nanoseconds.
    Nanos(u64),
    /// Ticks of the GPU's own clock.
    Cycles {
        /// Those that the client used.
        used: u64,
        /// What the clock shows.
        clock: u64,
    },
}

/// What the lines about one engine said so far.
#[derive(Debug, Default)]
struct Lines {
    name: Box<str>,
    nanos: Option<u64>,
    cycles: Option<u64>,
    clock: Option<u64>,
    capacity: Option<u64>,
}

impl Lines {
    fn engine(self) -> Option<Engine> {
        let busy = match (self.nanos, self.cycles, self.clock) {
            (Some(nanos), ..) => Busy::Nanos(nanos),
            (None, Some(used), Some(clock)) => Busy::Cycles { used, clock },
            _ => return None,
        };
        let capacity = self.capacity.unwrap_or(1);
        (1..=MOST_ALIKE).contains(&capacity).then_some(Engine {
            name: self.name,
            capacity,
            busy,
        })
    }
}

/// The client that `bytes` tell of; `None` for what is no GPU file, or tells too little.
pub(crate) fn parse(bytes: &[u8]) -> Option<Client> {
    let (mut driver, mut address, mut id) = (None, None, None);
    let mut engines: Vec<Lines> = Vec::new();
    for (key, value) in bytes.split(|byte| *byte == b'\n').filter_map(pair) {
        match key {
            "driver" => driver = Some(word(value)?),
            "pdev" => address = Some(word(value)?),
            "client-id" => id = Some(parse_number(value.as_bytes())?),
            _ => engine_line(&mut engines, key, value),
        }
    }
    Some(Client {
        driver: driver?,
        address: address?,
        id: id?,
        engines: engines.into_iter().filter_map(Lines::engine).collect(),
    })
}

/// `drm-KEY: VALUE`, without the blanks around the value.
fn pair(line: &[u8]) -> Option<(&str, &str)> {
    let line = str::from_utf8(line.strip_prefix(b"drm-")?).ok()?;
    let (key, value) = line.split_once(':')?;
    Some((key, value.trim_matches([' ', '\t'])))
}

fn word(value: &str) -> Option<Box<str>> {
    let is_word =
        (1..=LONGEST_WORD).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    is_word.then(|| Box::from(value))
}

/// A line that is about no engine, or whose value is not what it should be, says nothing.
fn engine_line(engines: &mut Vec<Lines>, key: &str, value: &str) {
    let number = |value: &str| parse_number(value.as_bytes());
    // Longer keys first: `engine-capacity-` begins as `engine-` does.
    if let Some(name) = key.strip_prefix("engine-capacity-") {
        set(engines, name, number(value), |lines| &mut lines.capacity);
    } else if let Some(name) = key.strip_prefix("engine-") {
        let nanos = value.strip_suffix(" ns").and_then(number);
        set(engines, name, nanos, |lines| &mut lines.nanos);
    } else if let Some(name) = key.strip_prefix("total-cycles-") {
        set(engines, name, number(value), |lines| &mut lines.clock);
    } else if let Some(name) = key.strip_prefix("cycles-") {
        set(engines, name, number(value), |lines| &mut lines.cycles);
    }
}

fn set(engines: &mut Vec<Lines>, name: &str, value: Option<u64>, field: fn(&mut Lines) -> &mut Option<u64>) {
    let (Some(value), Some(name)) = (value, word(name)) else {
        return;
    };
    let at = match engines.iter().position(|lines| lines.name == name) {
        Some(at) => at,
        None if engines.len() >= MOST_ENGINES => return,
        None => {
            engines.push(Lines {
                name,
                ..Lines::default()
            });
            engines.len() - 1
        }
    };
    if let Some(lines) = engines.get_mut(at) {
        // amdgpu calls two of its blocks `dec` (UVD and VCN): one of them at most is in a card, the other shows nothing.
        let slot = field(lines);
        *slot = Some(slot.unwrap_or(0).max(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As i915 on a DG2 shows it.
    const I915: &[u8] = b"pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t517\n\
        drm-driver:\ti915\ndrm-client-id:\t7\ndrm-pdev:\t0000:03:00.0\n\
        drm-total-system0:\t2 MiB\ndrm-shared-system0:\t0\n\
        drm-engine-render:\t25662044495 ns\ndrm-engine-copy:\t0 ns\ndrm-engine-video:\t9288864723 ns\n\
        drm-engine-capacity-video:\t2\ndrm-engine-video-enhance:\t2035931 ns\n\
        drm-engine-capacity-video-enhance:\t2\ndrm-engine-compute:\t11 ns\ndrm-engine-capacity-compute:\t4\n";
    /// As xe shows it.
    const XE: &[u8] = b"pos:\t0\ndrm-driver:\txe\ndrm-client-id:\t3\ndrm-pdev:\t0000:04:00.0\n\
        drm-total-gtt:\t192 KiB\ndrm-cycles-rcs:\t28257900\ndrm-total-cycles-rcs:\t7655183225\n\
        drm-cycles-vcs:\t5\ndrm-total-cycles-vcs:\t7655183225\ndrm-engine-capacity-vcs:\t2\n";
    /// As amdgpu shows it.
    const AMDGPU: &[u8] = b"pos:\t0\nflags:\t02100002\npasid:\t32770\ndrm-driver:\tamdgpu\n\
        drm-client-id:\t42\ndrm-pdev:\t0000:0b:00.0\ndrm-memory-vram:\t16 KiB\ndrm-memory-gtt: \t0 KiB\n\
        amd-requested-vram:\t16 KiB\ndrm-engine-gfx:\t123456789 ns\ndrm-engine-dec:\t77 ns\n";

    fn engines(bytes: &[u8]) -> Vec<(String, u64, Busy)> {
        let row = |engine: Engine| (engine.name.to_string(), engine.capacity, engine.busy);
        parse(bytes).unwrap().engines.into_iter().map(row).collect()
    }

    fn with(lines: &str) -> Vec<u8> {
        format!("drm-driver:\tx\ndrm-pdev:\t0000:01:00.0\ndrm-client-id:\t1\n{lines}").into_bytes()
    }

    #[test]
    fn each_driver_is_read_as_it_writes() {
        let nanos = |name: &str, capacity, nanos| (name.to_owned(), capacity, Busy::Nanos(nanos));
        assert_eq!(
            engines(I915),
            [
                nanos("render", 1, 25_662_044_495),
                nanos("copy", 1, 0),
                nanos("video", 2, 9_288_864_723),
                nanos("video-enhance", 2, 2_035_931),
                nanos("compute", 4, 11),
            ]
        );
        let clock = 7_655_183_225;
        assert_eq!(
            engines(XE),
            [
                (
                    "rcs".to_owned(),
                    1,
                    Busy::Cycles {
                        used: 28_257_900,
                        clock
                    }
                ),
                ("vcs".to_owned(), 2, Busy::Cycles { used: 5, clock }),
            ]
        );
        assert_eq!(
            engines(AMDGPU),
            [nanos("gfx", 1, 123_456_789), nanos("dec", 1, 77)]
        );
        let who = |bytes| {
            let client = parse(bytes).unwrap();
            (client.driver.to_string(), client.address.to_string(), client.id)
        };
        assert_eq!(who(I915), ("i915".to_owned(), "0000:03:00.0".to_owned(), 7));
        assert_eq!(who(XE), ("xe".to_owned(), "0000:04:00.0".to_owned(), 3));
        assert_eq!(who(AMDGPU), ("amdgpu".to_owned(), "0000:0b:00.0".to_owned(), 42));
    }

    #[test]
    fn what_does_not_say_who_it_is_is_no_client() {
        let garbage: [&[u8]; 8] = [
            b"",
            b"pos:\t0\nflags:\t02\n",
            b"drm-driver:\ti915\ndrm-pdev:\t0000:03:00.0\n",
            b"drm-driver:\ti915\ndrm-client-id:\t7\n",
            b"drm-client-id:\t7\ndrm-pdev:\t0000:03:00.0\n",
            b"drm-driver:\ti915\ndrm-client-id:\t-7\ndrm-pdev:\t0000:03:00.0\n",
            b"drm-driver:\ti 915\ndrm-client-id:\t7\ndrm-pdev:\t0000:03:00.0\n",
            // amdgpu before 5.19.
            b"pdev:\t0000:0b:00.0\npasid:\t32770\ngfx0:\t 12.00%\n",
        ];
        for bytes in garbage {
            assert_eq!(parse(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_line_that_is_not_as_it_should_be_says_nothing() {
        let lines = "drm-engine-a:\t5\ndrm-engine-b:\t5 us\ndrm-engine-c:\t-5 ns\ndrm-engine-:\t5 ns\n\
            drm-engine-d:\t5 ns\ndrm-engine-capacity-d:\t0\ndrm-cycles-e:\t5\ndrm-total-cycles-f:\t5\n\
            drm-engine-capacity-g:\t2\ndrm-engine-h h:\t5 ns\ndrm-engine-i:\t5 ns\ndrm-engine-capacity-i:\t9999\n";
        assert_eq!(engines(&with(lines)), []);
    }

    #[test]
    fn of_two_lines_about_one_engine_the_larger_counts() {
        let lines = "drm-engine-dec:\t9 ns\ndrm-engine-dec:\t0 ns\n";
        assert_eq!(engines(&with(lines)), [("dec".to_owned(), 1, Busy::Nanos(9))]);
    }

    #[test]
    fn engines_are_bounded() {
        let lines: String = (0..1_000).map(|n| format!("drm-engine-e{n}:\t1 ns\n")).collect();
        assert_eq!(engines(&with(&lines)).len(), MOST_ENGINES);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_make_a_client_out_of_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(parse(&bytes), None);
        }

        #[test]
        fn whatever_the_lines_are_engines_are_few_and_have_a_capacity(
            lines in prop::collection::vec(
                "(drm-)?(engine-|engine-capacity-|cycles-|total-cycles-|driver|pdev|client-id)[a-c]{0,2}:[\t ]?[0-9]{0,25}( ns)?",
                0..40,
            ),
        ) {
            if let Some(client) = parse(&with(&lines.join("\n"))) {
                prop_assert!(client.engines.len() <= MOST_ENGINES);
                prop_assert!(client.engines.iter().all(|engine| (1..=MOST_ALIKE).contains(&engine.capacity)));
            }
        }
    }
}
