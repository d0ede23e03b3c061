// SPDX-License-Identifier: Apache-2.0
//! DMTF's mock-up of a rack server, served over HTTPS: it answers the same question with 374, 344 and 937 W, as real BMCs do.
//! It is not ours to carry along; the environment variable SHARED says where it lies.

use super::{section, start_with, total, wait_until};
use crate::PowerSource as _;
use integration_tests::bmc::{Bmc, Certificate};
use std::path::PathBuf;
use std::time::Duration;

fn folder() -> Option<PathBuf> {
    let shared = std::env::var_os("SHARED")?;
    let folder = PathBuf::from(shared).join("redfish/public-rackmount1");
    folder.is_dir().then_some(folder)
}

#[test]
fn the_mock_up_shows_374_w_first_then_344_then_937_and_374_by_its_sensor() {
    let Some(folder) = folder() else {
        integration_tests::skip("DMTF's mock-up: SHARED is not set, or has no redfish/public-rackmount1");
        return;
    };
    let base = "/redfish/v1/Chassis/1U";
    // Each row takes away what the row before read.
    let rows = [
        ("", 374.0, "EnvironmentMetrics PowerWatts"),
        (
            "EnvironmentMetrics",
            344.0,
            "Power PowerControl/0/PowerConsumedWatts",
        ),
        ("Power", 937.4, "PowerSupplies InputPowerWatts"),
        ("PowerSubsystem", 374.0, "Sensor Reading"),
    ];
    let mut gone: Vec<&str> = Vec::new();
    for (resource, watts, name) in rows {
        gone.push(resource);
        let bmc = Bmc::start(Certificate::Signed);
        bmc.serve_folder(&folder).expect("a tree");
        for resource in &gone {
            bmc.remove(&format!("{base}/{resource}"));
        }
        let mut source = start_with(&section(&bmc), |policy| {
            policy.interval = Duration::from_millis(50)
        });
        // Two readings: their watts are the energy between over the time between.
        let mut moments = Vec::new();
        wait_until(&mut source, "two readings", |energy| {
            let reading = energy.zones.first()?;
            if moments.last().is_none_or(|(at, _)| *at != reading.at) {
                moments.push((reading.at, total(energy)?));
            }
            (moments.len() > 1).then_some(())
        });
        let ((begin, before), (end, after)) = (moments[0], moments[1]);
        let seconds = end.since(begin).as_secs_f64();
        let joules = Duration::from_micros(after - before).as_secs_f64();
        let measured = joules / seconds;
        assert!((measured - watts).abs() < 0.01 * watts, "{name}: {measured} W");
        assert!(source.detail().contains(name), "{}", source.detail());
        assert_eq!(bmc.most_in_flight(), 1);
    }
}
