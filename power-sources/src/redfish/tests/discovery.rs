// SPDX-License-Identifier: Apache-2.0
//! Which figure is taken of which chassis.

use super::super::config::Preference;
use super::super::failure::Kind;
use super::super::policy::Policy;
use super::{Drive, Tree, link, members, policy};
use attribution::model::ErrorReason;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What a tree comes to.
fn chosen(tree: Tree, policy: Policy) -> String {
    let mut drive = Drive::new(tree, policy);
    drive.until(9);
    drive.machine.chosen()
}

fn with(reading: Preference) -> Policy {
    Policy { reading, ..policy() }
}

/// A chassis that shows its power everywhere, with another figure in each place.
fn everywhere() -> Tree {
    let mut tree = Tree::with_chassis(&["1U"]);
    let energy = json!({
        "EnergyJoules": { "Reading": 5_000_000 },
        "EnergykWh": { "Reading": 1.388_89 },
        "PowerWatts": { "Reading": 374.5 },
    });
    tree.resource("1U", "EnvironmentMetrics", energy);
    let power = json!({
        "PowerControl": [{ "PowerConsumedWatts": 344 }, { "PowerConsumedWatts": 90 }],
        "PowerSupplies": [
            { "PowerInputWatts": 200, "LastPowerOutputWatts": 180 },
            { "PowerInputWatts": 201, "LastPowerOutputWatts": 181 },
        ],
    });
    tree.resource("1U", "Power", power);
    let base = "/redfish/v1/Chassis/1U/PowerSubsystem";
    tree.set(
        base,
        json!({ "PowerSupplies": link(&format!("{base}/PowerSupplies")) }),
    );
    let bays = [
        format!("{base}/PowerSupplies/1"),
        format!("{base}/PowerSupplies/2"),
        format!("{base}/PowerSupplies/3"),
    ];
    tree.set(
        &format!("{base}/PowerSupplies"),
        members(&[&bays[0], &bays[1], &bays[2]]),
    );
    for (bay, watts) in bays.iter().zip([220.5, 0.0]) {
        tree.set(bay, json!({ "Metrics": link(&format!("{bay}/Metrics")) }));
        tree.set(
            &format!("{bay}/Metrics"),
            json!({ "InputPowerWatts": { "Reading": watts } }),
        );
    }
    tree.set(&bays[2], json!({ "Status": { "State": "Absent" } }));
    let sensors = "/redfish/v1/Chassis/1U/Sensors";
    tree.set(
        sensors,
        members(&[
            &format!("{sensors}/CPU"),
            &format!("{sensors}/Phase"),
            &format!("{sensors}/Total"),
        ]),
    );
    for (name, context, electrical, watts) in [
        ("CPU", "CPU", "", 90),
        ("Phase", "Chassis", "Line1", 120),
        ("Total", "Chassis", "Total", 375),
    ] {
        let sensor = json!({ "ReadingType": "Power", "PhysicalContext": context, "ElectricalContext": electrical, "Reading": watts });
        tree.set(&format!("{sensors}/{name}"), sensor);
    }
    tree
}

/// Takes a property away, wherever it is.
fn without(mut tree: Tree, properties: &[&str]) -> Tree {
    for document in tree.documents.values_mut() {
        for property in properties {
            remove(document, property);
        }
    }
    tree
}

fn remove(value: &mut Value, property: &str) {
    match value {
        Value::Object(map) => {
            map.remove(property);
            map.values_mut().for_each(|inner| remove(inner, property));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| remove(inner, property)),
        _ => {}
    }
}

#[test]
fn the_order_of_preference_is_the_documented_one() {
    // Each row takes away what the row before chose.
    let order = [
        ("EnergyJoules", "EnvironmentMetrics EnergyJoules"),
        ("EnergykWh", "EnvironmentMetrics EnergykWh"),
        ("PowerWatts", "EnvironmentMetrics PowerWatts"),
        ("PowerConsumedWatts", "Power PowerControl/0/PowerConsumedWatts"),
        ("InputPowerWatts", "PowerSupplies InputPowerWatts"),
        ("PowerInputWatts", "Power PowerSupplies PowerInputWatts"),
        (
            "LastPowerOutputWatts",
            "Power PowerSupplies LastPowerOutputWatts (without the supplies' losses)",
        ),
        ("ReadingType", "Sensor Reading"),
    ];
    let mut gone = Vec::new();
    let mut last = String::new();
    for (property, expected) in order {
        let chosen = chosen(without(everywhere(), &gone), policy());
        assert!(
            chosen.starts_with(&format!("1U: {expected} (/redfish/v1/Chassis/1U/")),
            "{chosen}"
        );
        last = chosen;
        gone.push(property);
    }
    // Not that of the CPU, nor that of one phase.
    assert!(last.ends_with("/Sensors/Total)"), "{last}");
    assert_eq!(chosen(without(everywhere(), &gone), policy()), "");
}

#[test]
fn an_energy_sensor_of_the_whole_chassis_counts_wherever_it_stands_and_is_better_than_a_power_sensor() {
    let sensor = |kind: &str, context: &str, reading: Value| json!({ "ReadingType": kind, "PhysicalContext": context, "Reading": reading });
    let tree = |rows: &[(&str, &str, &str, Value)]| {
        let mut tree = Tree::with_chassis(&["1U"]);
        let base = "/redfish/v1/Chassis/1U/Sensors";
        let paths: Vec<_> = rows.iter().map(|(name, ..)| format!("{base}/{name}")).collect();
        tree.set(
            base,
            members(&paths.iter().map(String::as_str).collect::<Vec<_>>()),
        );
        tree.chassis("1U", json!({ "Sensors": link(base) }));
        for ((_, kind, context, reading), path) in rows.iter().zip(&paths) {
            tree.set(path, sensor(kind, context, reading.clone()));
        }
        tree
    };
    let watts = ("Watts", "Power", "Chassis", json!(300));
    let joules = ("Joules", "EnergyJoules", "Chassis", json!(5_000_000));
    let coarse = ("Kwh", "EnergykWh", "Chassis", json!(7_855));
    let supply = ("Supply", "EnergyJoules", "PowerSupply", json!(5_000_000));
    for (rows, expected) in [
        (
            vec![watts.clone(), joules.clone()],
            "Sensor Reading, energy (/redfish/v1/Chassis/1U/Sensors/Joules)",
        ),
        (
            vec![joules, watts.clone()],
            "Sensor Reading, energy (/redfish/v1/Chassis/1U/Sensors/Joules)",
        ),
        (
            vec![coarse.clone(), watts.clone(), supply],
            "Sensor Reading (/redfish/v1/Chassis/1U/Sensors/Watts)",
        ),
        (
            vec![coarse.clone()],
            "Sensor Reading, energy (/redfish/v1/Chassis/1U/Sensors/Kwh)",
        ),
    ] {
        assert_eq!(chosen(tree(&rows), policy()), format!("1U: {expected}"));
    }
    // Where only counters are asked for, or only power, the other kind is not taken.
    let only = |reading| Policy { reading, ..policy() };
    assert!(chosen(tree(&[watts.clone(), coarse.clone()]), only(Preference::Energy)).contains("/Kwh"));
    assert_eq!(chosen(tree(&[coarse]), only(Preference::Power)), "");
}

#[test]
fn a_machine_behind_many_parts_is_found_and_chassis_beyond_the_most_are_told() {
    let tree = |kind: &str| {
        let ids: Vec<_> = (0..70).map(|number| format!("C{number:02}")).collect();
        let mut all: Vec<_> = ids.iter().map(String::as_str).collect();
        all.push("1U");
        let mut tree = Tree::with_chassis(&all);
        for id in &ids {
            tree.chassis(id, json!({ "ChassisType": kind }));
        }
        tree.watts("1U", json!(300));
        tree
    };
    // Parts are none of the chassis that are limited.
    let mut drive = Drive::new(tree("Module"), policy());
    drive.until(60);
    assert!(
        drive.machine.chosen().starts_with("1U: "),
        "{}",
        drive.machine.chosen()
    );
    assert_eq!(drive.errors(), []);
    let named = Policy {
        chassis: vec!["1U".to_owned()],
        ..policy()
    };
    let mut drive = Drive::new(tree("RackMount"), named);
    drive.until(60);
    assert!(drive.machine.chosen().starts_with("1U: "), "{:?}", drive.errors());
    let mut drive = Drive::new(tree("RackMount"), policy());
    drive.until(60);
    let words = drive.machine.errors()[0].latest.to_string();
    assert!(words.contains("more than 64 chassis"), "{words}");
}

#[test]
fn figures_that_are_none_are_passed_over_like_missing_ones() {
    for none in [
        json!(null),
        json!("N/A"),
        json!(0),
        json!(-1),
        json!(4_294_967.295),
        json!({}),
    ] {
        let mut tree = without(everywhere(), &["EnergyJoules", "EnergykWh"]);
        tree.watts("1U", none.clone());
        let chosen = chosen(tree, policy());
        assert!(chosen.contains("PowerControl/0"), "{none}: {chosen}");
    }
}

#[test]
fn only_the_first_power_control_is_the_whole() {
    let mut tree = Tree::with_chassis(&["1U"]);
    let controls = json!({ "PowerControl": [{ "PowerConsumedWatts": null }, { "PowerConsumedWatts": 90 }] });
    tree.resource("1U", "Power", controls);
    assert_eq!(
        chosen(tree, policy()),
        "",
        "the second one is a part of the first"
    );
}

#[test]
fn a_kilowatt_hour_counter_in_coarse_steps_is_left_for_power_and_taken_where_there_is_none() {
    let mut tree = Tree::with_chassis(&["1U"]);
    let both = json!({ "EnergykWh": { "Reading": 325_675.1 }, "PowerWatts": { "Reading": 374 } });
    tree.resource("1U", "EnvironmentMetrics", both);
    assert!(chosen(tree, policy()).contains("PowerWatts"));
    let alone = || {
        let mut tree = Tree::with_chassis(&["1U"]);
        tree.resource(
            "1U",
            "EnvironmentMetrics",
            json!({ "EnergykWh": { "Reading": 325_675.1 } }),
        );
        tree
    };
    assert!(chosen(alone(), policy()).contains("EnergykWh"));
    assert!(chosen(alone(), with(Preference::Energy)).contains("EnergykWh"));
    assert_eq!(chosen(alone(), with(Preference::Power)), "");
}

#[test]
fn one_kind_of_figure_can_be_asked_for() {
    assert!(chosen(everywhere(), with(Preference::Power)).contains("PowerWatts"));
    assert!(chosen(everywhere(), with(Preference::Energy)).contains("EnergyJoules"));
    let no_counters = without(everywhere(), &["EnergyJoules", "EnergykWh"]);
    assert_eq!(chosen(no_counters, with(Preference::Energy)), "");
}

#[test]
fn a_supply_without_a_figure_makes_their_sum_no_figure() {
    let mut tree = without(
        everywhere(),
        &["EnergyJoules", "EnergykWh", "PowerWatts", "PowerConsumedWatts"],
    );
    // The other one shows 220.5 W.
    let metrics = "/redfish/v1/Chassis/1U/PowerSubsystem/PowerSupplies/2/Metrics";
    tree.set(metrics, json!({ "InputPowerWatts": { "Reading": null } }));
    assert!(chosen(tree, policy()).contains("PowerSupplies PowerInputWatts"));
    let mut tree = without(
        everywhere(),
        &["EnergyJoules", "EnergykWh", "PowerWatts", "PowerConsumedWatts"],
    );
    tree.documents.remove(metrics);
    assert!(chosen(tree, policy()).contains("PowerSupplies PowerInputWatts"));
}

#[test]
fn several_chassis_are_one_zone_each_and_none_counts_twice() {
    // An enclosure with two sleds in it (told from both sides), a machine beside it, a rack around all, a card inside.
    let mut tree = Tree::with_chassis(&["Card", "Sled1", "Sled2", "Enclosure", "Other", "Rack"]);
    let by = |id: &str| json!({ "ContainedBy": link(&format!("/redfish/v1/Chassis/{id}")) });
    tree.chassis("Sled1", json!({ "Links": by("Enclosure") }));
    tree.chassis(
        "Enclosure",
        json!({ "Links": { "Contains": [link("/redfish/v1/Chassis/Sled2")], "ContainedBy": link("/redfish/v1/Chassis/Rack") } }),
    );
    tree.chassis("Card", json!({ "ChassisType": "Card" }));
    tree.chassis("Rack", json!({ "ChassisType": "Rack" }));
    for id in ["Card", "Sled1", "Sled2", "Enclosure", "Other", "Rack"] {
        tree.watts(id, json!(100));
    }
    let mut drive = Drive::new(tree, policy());
    drive.until(9);
    let zones: Vec<_> = drive.joules().into_iter().map(|(zone, _)| zone).collect();
    assert_eq!(zones, ["Enclosure", "Other"]);
    assert_eq!(
        drive.asked("/redfish/v1/Chassis/Sled1/EnvironmentMetrics"),
        0,
        "nor asked"
    );

    // Where the enclosure has no meter, its sleds count.
    let mut tree = std::mem::take(&mut drive.tree);
    tree.resource("Enclosure", "EnvironmentMetrics", json!({}));
    let mut drive = Drive::new(tree, policy());
    drive.until(9);
    let zones: Vec<_> = drive.joules().into_iter().map(|(zone, _)| zone).collect();
    assert_eq!(zones, ["Other", "Sled1", "Sled2"]);

    // Those that are named, whatever they are, and still none twice.
    let tree = std::mem::take(&mut drive.tree);
    let named = ["Rack", "Sled1", "Card", "Gone"].map(str::to_owned).to_vec();
    let mut drive = Drive::new(
        tree,
        Policy {
            chassis: named,
            ..policy()
        },
    );
    drive.until(9);
    let zones: Vec<_> = drive.joules().into_iter().map(|(zone, _)| zone).collect();
    assert_eq!(zones, ["Card", "Rack"]);
    let words = drive.machine.errors()[0].latest.to_string();
    assert!(
        words.contains("no chassis \"Gone\"") && words.contains("Enclosure"),
        "{words}"
    );
}

#[test]
fn chassis_that_contain_each_other_end_the_walk_all_the_same() {
    let mut tree = Tree::with_chassis(&["A", "B"]);
    for (id, other) in [("A", "B"), ("B", "A")] {
        tree.chassis(
            id,
            json!({ "Links": { "ContainedBy": link(&format!("/redfish/v1/Chassis/{other}")) } }),
        );
        tree.watts(id, json!(100));
    }
    assert!(chosen(tree, policy()).starts_with("A: "));
}

#[test]
fn a_collection_goes_on_on_its_next_page() {
    let mut tree = Tree::with_chassis(&["A", "B"]);
    let mut first = members(&["/redfish/v1/Chassis/A"]);
    first["Members@odata.nextLink"] = json!("/redfish/v1/Chassis?$skip=1");
    tree.set("/redfish/v1/Chassis", first);
    tree.set("/redfish/v1/Chassis?$skip=1", members(&["/redfish/v1/Chassis/B"]));
    tree.watts("A", json!(1));
    tree.watts("B", json!(2));
    let chosen = chosen(tree, policy());
    assert!(chosen.contains("A: ") && chosen.contains("B: "), "{chosen}");
}

#[test]
fn a_collection_whose_pages_lead_in_a_circle_ends_with_an_error() {
    let mut tree = Tree::with_chassis(&["A"]);
    let mut page = members(&["/redfish/v1/Chassis/A"]);
    page["Members@odata.nextLink"] = json!("/redfish/v1/Chassis");
    tree.set("/redfish/v1/Chassis", page);
    let mut drive = Drive::new(tree, policy());
    drive.until(300);
    assert_eq!(drive.errors()[0].1, ErrorReason::Implausible);
}

#[test]
fn references_to_elsewhere_are_not_followed() {
    for path in [
        "https://evil.example/redfish/v1/Chassis",
        "//evil.example/x",
        "/\\evil.example",
        "Chassis",
        "/a b",
    ] {
        let mut tree = Tree::default();
        tree.set("/redfish/v1/", json!({ "Chassis": link(path) }));
        let mut drive = Drive::new(tree, policy());
        drive.until(5);
        assert!(
            drive.steps.iter().all(|(_, step)| *step == drive.steps[0].1),
            "{path}"
        );
        assert_eq!(drive.errors()[0].1, ErrorReason::Parse);
    }
}

#[test]
fn a_resource_that_fails_for_now_is_waited_for_and_one_that_always_fails_is_left_out() {
    let tree = || {
        let mut tree = Tree::with_chassis(&["1U"]);
        tree.resource(
            "1U",
            "Power",
            json!({ "PowerControl": [{ "PowerConsumedWatts": 344 }] }),
        );
        tree.watts("1U", json!(374));
        tree
    };
    let environment = "/redfish/v1/Chassis/1U/EnvironmentMetrics";
    let mut drive = Drive::new(tree(), policy());
    drive.tree.failures.insert(environment.to_owned(), Kind::Failing);
    drive.until(1);
    assert_eq!(drive.machine.chosen(), "");
    drive.tree.failures.clear();
    drive.until(9);
    assert!(drive.machine.chosen().contains("PowerWatts"), "the better one");

    let mut drive = Drive::new(tree(), policy());
    drive.tree.failures.insert(environment.to_owned(), Kind::Failing);
    drive.until(60);
    assert!(drive.machine.chosen().contains("PowerControl"));
    assert_eq!(drive.asked(environment), 3);
    // An hour later it is looked at again.
    drive.tree.failures.clear();
    drive.until(3_700);
    assert!(drive.machine.chosen().contains("PowerWatts"));
}

#[test]
fn a_bmc_without_power_data_says_so_and_is_looked_at_again_ever_more_rarely() {
    let mut drive = Drive::new(Tree::with_chassis(&["1U"]), policy());
    drive.until(3_600);
    assert_eq!(drive.machine.readings(), []);
    let words = drive.machine.errors()[0].latest.to_string();
    assert!(words.contains("no chassis shows its power"), "{words}");
    let walks = drive.asked("/redfish/v1/");
    assert!((15..=40).contains(&walks), "{walks} walks in an hour");
    drive.tree.watts("1U", json!(100));
    drive.until(4_000);
    assert_eq!(drive.joules().len(), 1);
}

/// JSON of any shape that uses the names that are looked for.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|flag| json!(flag)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        (0_u32..30_000).prop_map(|number| json!(number)),
        "[0-9.eE+-]{0,6}".prop_map(|text| json!(text)),
        prop_oneof![
            Just("/redfish/v1/Chassis"),
            Just("/redfish/v1/Chassis/A"),
            Just("/redfish/v1/"),
            Just("/x"),
            Just("//x"),
        ]
        .prop_map(|path| json!({ "@odata.id": path })),
        prop_oneof![
            Just("Power"),
            Just("Chassis"),
            Just("Absent"),
            Just("RackMount"),
            Just("Card"),
        ]
        .prop_map(|word| json!(word)),
    ];
    let keys = prop_oneof![
        Just("@odata.id"),
        Just("Chassis"),
        Just("Members"),
        Just("Members@odata.nextLink"),
        Just("Links"),
        Just("ContainedBy"),
        Just("Contains"),
        Just("EnvironmentMetrics"),
        Just("Power"),
        Just("PowerSubsystem"),
        Just("PowerSupplies"),
        Just("Sensors"),
        Just("Metrics"),
        Just("PowerWatts"),
        Just("EnergyJoules"),
        Just("EnergykWh"),
        Just("Reading"),
        Just("PowerControl"),
        Just("PowerConsumedWatts"),
        Just("InputPowerWatts"),
        Just("Status"),
        Just("State"),
        Just("Id"),
        Just("ReadingType"),
        Just("PhysicalContext"),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        let map = prop::collection::btree_map(keys.clone().prop_map(str::to_owned), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            map.prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_tree_of_any_documents_ends_without_a_panic_and_without_an_implausible_watt(
        documents in prop::collection::vec(document(), 4),
        reading in 0..3_u8,
    ) {
        let mut tree = Tree::with_chassis(&["A"]);
        let paths = ["/redfish/v1/Chassis/A/EnvironmentMetrics", "/redfish/v1/Chassis/A/Power", "/x", "/redfish/v1/Chassis/A"];
        for (path, document) in paths.iter().zip(documents) {
            tree.set(path, document);
        }
        let reading = [Preference::Auto, Preference::Energy, Preference::Power][usize::from(reading)];
        let mut drive = Drive::new(tree, with(reading));
        drive.until(50);
        for (_, joules) in drive.joules() {
            prop_assert!(joules <= 20_000 * 50, "{}", joules);
        }
    }
}
