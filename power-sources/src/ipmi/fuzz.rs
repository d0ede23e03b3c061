// SPDX-License-Identifier: Apache-2.0
//! What holds for every answer of a BMC over IPMI, for `integration-tests/fuzz`. In no build of the daemon.

use super::dcmi::parse;
use attribution::model::Microwatts;

/// An answer to Get Power Reading: what is believed stands in it, and everything else has its reason.
pub fn dcmi(answer: &[u8]) {
    let most = Microwatts::from_watts(20_000);
    match parse(answer, most) {
        Ok(power) => {
            let (Some(low), Some(high)) = (answer.get(2), answer.get(3)) else {
                unreachable!("a reading out of {} bytes", answer.len());
            };
            let watts = u64::from(u16::from_le_bytes([*low, *high]));
            assert_eq!((answer.first(), power), (Some(&0), Microwatts::from_watts(watts)));
            assert!(power <= most && !power.is_zero());
        }
        Err(fault) => assert!(!fault.words.is_empty() && fault.words.len() < 256),
    }
}
