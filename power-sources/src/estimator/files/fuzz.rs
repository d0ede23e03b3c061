// SPDX-License-Identifier: Apache-2.0
//! What holds for every model file, for `integration-tests/fuzz`. In no build of the daemon.

use super::feature::Supply;
use super::weights::Part;
use super::{Here, parse};
use crate::estimator::calibration::Model;
use attribution::model::{Event, EventSet};

/// A file of either of the model server's formats, or of `kepler calibrate`: a refusal has words, and what is taken gives a
/// power that a machine can use under every load.
pub fn model(bytes: &[u8]) {
    let events = [Event::CpuCycles, Event::Instructions, Event::CacheMisses];
    let here = Here {
        threads: 8,
        kinds: vec!["Skylake".to_owned()],
        supply: Supply {
            counted: events.into_iter().fold(EventSet::NONE, EventSet::with),
        },
        ..Here::default()
    };
    for part in [Part::Package, Part::Dram, Part::Platform] {
        match parse(bytes, part, "model", &here) {
            Ok(model) => {
                for load in [0.0, 0.01, 0.5, 1.0] {
                    let watts = model.machine(here.threads, load).total() / 1_000_000;
                    assert!(watts < 1_000_000, "{watts} W at a load of {load}");
                }
            }
            Err(words) => assert!(!words.is_empty() && words.len() < 4_096, "{} bytes", words.len()),
        }
    }
}

/// A model of `kepler calibrate` alone: what is written is read back the same.
pub fn calibrated(bytes: &[u8]) {
    let Ok(model) = Model::parse(bytes) else { return };
    let text = model.to_json();
    let again = Model::parse(text.as_bytes()).map(|again| again.to_json());
    assert_eq!(again.ok(), Some(text));
}
