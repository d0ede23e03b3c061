// SPDX-License-Identifier: Apache-2.0
//! The command Get Power Reading and the meaning of its answer (Data Center Manageability Interface, DCMI 1.5, 6.6.1). Pure:
//! bytes come in, watts or a reason why not come out. Knows no device.

use crate::files::Fault;
use attribution::model::{ErrorReason, Microwatts};

/// Network function "group extension".
pub(super) const NETFN: u8 = 0x2c;
/// Get Power Reading.
pub(super) const COMMAND: u8 = 0x02;
/// Group DCMI, mode "system power statistics", and two reserved bytes (rolling averages are another mode).
pub(super) const REQUEST: [u8; 4] = [DCMI, 0x01, 0x00, 0x00];

/// The identification of DCMI in every request and answer.
const DCMI: u8 = 0xdc;
/// Bit of the state byte: a measurement is being made.
const ACTIVE: u8 = 1 << 6;
/// What a controller without a value says.
const NONE: u16 = 0xffff;

/// The present power in an answer: completion code first, then the data as it came. At most `most` is believed.
///
/// | data byte | |
/// |---|---|
/// | 0 | 0xdc |
/// | 1 to 2 | watts now |
/// | 3 to 8 | minimum, maximum and average since the statistics began; they may be hours old and are not used |
/// | 9 to 12 | time of the controller's clock; not used |
/// | 13 to 16 | milliseconds that the statistics are about; not used |
/// | 17 | state: bit 6 is "measurement active" |
pub(super) fn parse(answer: &[u8], most: Microwatts) -> Result<Microwatts, Fault> {
    let fault = |reason, words| Err(Fault { reason, words });
    let Some((code, data)) = answer.split_first() else {
        return fault(ErrorReason::Parse, "an empty answer".to_owned());
    };
    if *code != 0 {
        let (reason, meaning) = meaning(*code);
        return fault(reason, format!("completion code {code:#04x}: {meaning}"));
    }
    let Some([group, low, high, .., state]) = data.get(..18) else {
        let length = data.len();
        return fault(
            ErrorReason::Parse,
            format!("an answer of {length} bytes where a power reading has 18"),
        );
    };
    if *group != DCMI {
        return fault(
            ErrorReason::Parse,
            format!("an answer for group {group:#04x} where DCMI is 0xdc"),
        );
    }
    let watts = u16::from_le_bytes([*low, *high]);
    let power = Microwatts::from_watts(u64::from(watts));
    if state & ACTIVE == 0 {
        return fault(
            ErrorReason::Gone,
            "power is not being measured; switch power measurement on in the controller's settings"
                .to_owned(),
        );
    }
    if watts == 0 || watts == NONE || power > most {
        let most = most.as_micro() / 1_000_000;
        return fault(
            ErrorReason::Implausible,
            format!("{watts} W where 1 to {most} W are believed"),
        );
    }
    Ok(power)
}

/// What a completion code means (IPMI 2.0, table 5-2; DCMI 1.5, table 6-1).
const fn meaning(code: u8) -> (ErrorReason, &'static str) {
    match code {
        0xc1 | 0xc2 | 0xcc | 0xd6 => (
            ErrorReason::Io,
            "this controller has no DCMI power reading; if it has Redfish, use `redfish`",
        ),
        0xc3 => (ErrorReason::Timeout, "the controller timed out"),
        0xc0 => (ErrorReason::Io, "the controller is busy"),
        0xd4 => (ErrorReason::Auth, "not allowed on this channel"),
        0xcb | 0xd5 => (ErrorReason::Io, "there is no power reading in the present state"),
        0xce | 0xd0..=0xd2 => (ErrorReason::Io, "the controller is updating or starting"),
        _ => (ErrorReason::Io, "refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipmi::tests::answer;
    use proptest::prelude::*;

    const MOST: Microwatts = Microwatts::from_watts(20_000);

    #[test]
    fn an_answer_is_the_watts_of_now() {
        for watts in [1, 344, 0x1234, 20_000] {
            let expected = Ok(Microwatts::from_watts(u64::from(watts)));
            assert_eq!(parse(&answer(watts, 0x40), MOST), expected);
        }
        // Reserved bits of the state, and bytes that a later version may add.
        let mut longer = answer(344, 0xff);
        longer.push(7);
        assert_eq!(parse(&longer, MOST), Ok(Microwatts::from_watts(344)));
    }

    #[test]
    fn what_is_no_reading_is_refused_with_its_reason() {
        use ErrorReason::{Auth, Gone, Implausible, Io, Parse, Timeout};
        let mut other_group = answer(344, 0x40);
        other_group[1] = 0xdd;
        let cases: [(Vec<u8>, ErrorReason, &str); 14] = [
            (vec![], Parse, "an empty answer"),
            (
                vec![0],
                Parse,
                "an answer of 0 bytes where a power reading has 18",
            ),
            (answer(344, 0x40)[..18].to_vec(), Parse, "an answer of 17 bytes"),
            (other_group, Parse, "group 0xdd where DCMI is 0xdc"),
            (answer(344, 0x00), Gone, "power is not being measured"),
            (answer(344, 0xbf), Gone, "power is not being measured"),
            (
                answer(0, 0x40),
                Implausible,
                "0 W where 1 to 20000 W are believed",
            ),
            (answer(0xffff, 0x40), Implausible, "65535 W"),
            (answer(20_001, 0x40), Implausible, "20001 W"),
            (
                vec![0xc1],
                Io,
                "completion code 0xc1: this controller has no DCMI power reading",
            ),
            (vec![0xcc, 0xdc], Io, "has no DCMI power reading"),
            (vec![0xc3], Timeout, "timed out"),
            (vec![0xd4], Auth, "not allowed"),
            (vec![0xff], Io, "completion code 0xff: refused"),
        ];
        for (bytes, reason, words) in cases {
            let fault = parse(&bytes, MOST).unwrap_err();
            assert_eq!(fault.reason, reason, "{}", fault.words);
            assert!(fault.words.contains(words), "{}", fault.words);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_never_becomes_a_reading(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            begins_right in any::<bool>(),
        ) {
            let mut bytes = bytes;
            if begins_right {
                bytes.splice(0..bytes.len().min(2), [0x00, 0xdc]);
            }
            if let Ok(power) = parse(&bytes, MOST) {
                prop_assert!(bytes.len() >= 19 && bytes[0] == 0 && bytes[1] == 0xdc && bytes[18] & 0x40 != 0);
                prop_assert_eq!(power, Microwatts::from_watts(u64::from(bytes[2]) + 256 * u64::from(bytes[3])));
                prop_assert!(power <= MOST && power > Microwatts::ZERO);
            }
        }
    }
}
