// SPDX-License-Identifier: Apache-2.0
//! Whole loads: owners like the real ones, files and environments like the real ones, and the exact text of what is
//! said about them.

use crate::{ConfigFile, Error, Flag, Layers, Loaded, Origin, Problems, Schema, render_effective};
use proptest::prelude::*;
use serde::de::{self, Deserializer, Unexpected};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

fn tick<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Tick;
    impl de::Visitor<'_> for Tick {
        type Value = String;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a duration from 100ms to 60s, such as \"1s\"")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            if text.ends_with('s') && text.starts_with(|c: char| c.is_ascii_digit()) {
                Ok(text.to_owned())
            } else {
                Err(E::invalid_value(Unexpected::Str(text), &self))
            }
        }
    }
    deserializer.deserialize_any(Tick)
}

fn most<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = u32::deserialize(deserializer)?;
    if number > 100_000 {
        let found = Unexpected::Unsigned(number.into());
        return Err(de::Error::invalid_value(found, &"an integer from 0 to 100000"));
    }
    Ok(number)
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Top {
    #[serde(deserialize_with = "tick")]
    tick: String,
    state: State,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    dir: String,
}

impl Default for Top {
    fn default() -> Self {
        Self {
            tick: "1s".to_owned(),
            state: State {
                dir: "/var/lib/kepler".to_owned(),
            },
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exporter {
    listen: OneOrMany,
    levels: Vec<Level>,
    processes: Processes,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "no address, expected an address such as \"127.0.0.1:28282\", or a list of them"
)]
enum OneOrMany {
    One(std::net::SocketAddr),
    Many(Vec<std::net::SocketAddr>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Node,
    Pod,
    Process,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Processes {
    #[serde(deserialize_with = "most")]
    max: u32,
}

impl Default for Exporter {
    fn default() -> Self {
        Self {
            listen: OneOrMany::Many(vec!["0.0.0.0:28282".parse().unwrap()]),
            levels: vec![Level::Node, Level::Pod],
            processes: Processes { max: 200 },
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    cpu: Vec<String>,
    gpu: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redfish {
    bmcs: Vec<Bmc>,
    timeout: Option<u16>,
    note: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bmc {
    url: String,
    password: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Idle {
    floor: Floor,
    share: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "no floor, expected \"measured\", \"none\" or a table of watts such as { package = 20.0 }"
)]
enum Floor {
    Named(FloorName),
    Watts(BTreeMap<String, f64>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FloorName {
    Measured,
    None,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            floor: Floor::Named(FloorName::Measured),
            share: "reserved".to_owned(),
        }
    }
}

fn schema() -> Schema {
    let mut schema = Schema::new();
    schema.section::<Top>("");
    schema.section::<Exporter>("exporter").rules(|exporter| {
        let lists_processes = exporter.levels.contains(&Level::Process);
        if lists_processes && exporter.processes.max == 0 {
            return vec![(
                "processes.max".to_owned(),
                "level process needs at least 1".to_owned(),
            )];
        }
        Vec::new()
    });
    schema.section::<Sources>("sources");
    schema.section_raw(
        "sources.rapl",
        json!({ "root": "/sys/class/powercap" }),
        |section| match section.get("root").and_then(Value::as_str) {
            Some(root) if root.starts_with('/') => Ok(()),
            _ => Err("invalid value: root, expected an absolute path".to_owned()),
        },
    );
    schema.section_raw("sources.acpi", Value::Null, |_| Ok(()));
    schema.section::<Redfish>("sources.redfish").secret("note");
    schema.section::<Idle>("attribution.idle");
    schema.reserve_variable("KEPLER_CONFIG");
    schema
}

/// A load of a file's text, variables and flags. The file's folder is cut out of messages.
fn load(
    name: &str,
    text: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, Value)],
) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let layers = Layers {
        file: Some(ConfigFile::Named(path)),
        environment: variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        flags: flags
            .iter()
            .map(|(key, value)| Flag {
                key: (*key).to_owned(),
                value: value.clone(),
                name: format!("--{}", key.replace('.', "-")),
            })
            .collect(),
    };
    let cut = format!("{}/", folder.path().display());
    schema()
        .load(layers)
        .map_err(|problems| problems.to_string().replace(&cut, ""))
}

fn origin(loaded: &Loaded, key: &str) -> String {
    let one = loaded.effective().into_iter().find(|one| one.key == key).unwrap();
    match one.origin {
        Origin::File { line, .. } => format!("file:{}", line.unwrap()),
        other => other.to_string(),
    }
}

#[test]
fn nothing_set_is_every_owners_default() {
    let loaded = schema().load(Layers::default()).unwrap();
    assert_eq!(loaded.section::<Top>("").unwrap(), Top::default());
    assert_eq!(loaded.section::<Exporter>("exporter").unwrap().processes.max, 200);
    assert_eq!(
        loaded.value("sources.rapl"),
        Some(&json!({ "root": "/sys/class/powercap" }))
    );
    assert_eq!(loaded.value("sources.acpi"), Some(&json!({})));
    assert_eq!(loaded.file(), None);
    assert!(loaded.effective().iter().all(|one| one.origin == Origin::Default));
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let file = "tick = \"2s\"\n";
    let variable = [("KEPLER_TICK", "3s")];
    let flag = [("tick", json!("4s"))];
    // file, variable, flag -> value, origin
    let table = [
        ("", &variable[..0], &flag[..0], "1s", "default"),
        (file, &variable[..0], &flag[..0], "2s", "file:1"),
        (file, &variable[..], &flag[..0], "3s", "environment KEPLER_TICK"),
        (file, &variable[..], &flag[..], "4s", "flag --tick"),
        ("", &variable[..], &flag[..], "4s", "flag --tick"),
        (file, &variable[..0], &flag[..], "4s", "flag --tick"),
    ];
    for (file, variables, flags, expected, from) in table {
        let loaded = load("k.toml", file, variables, flags).unwrap();
        assert_eq!(loaded.section::<Top>("").unwrap().tick, expected);
        assert_eq!(origin(&loaded, "tick"), from);
    }
}

#[test]
fn a_later_flag_wins_over_an_earlier_one() {
    let loaded = load("k.toml", "", &[], &[("tick", json!("2s")), ("tick", json!("3s"))]).unwrap();
    assert_eq!(loaded.section::<Top>("").unwrap().tick, "3s");
}

#[test]
fn every_problem_is_told_at_once() {
    let file = "\
# kepler
tick = 5
[sources]
gpu = [\"nvml\"]
cpuu = [\"rapl\"]
[exporter]
levels = [\"node\", \"pood\"]
[sources.redfish]
bmcs = [{ url = \"https://a\", pass = \"hunter2\" }]
";
    let variables = [
        ("KEPLER_EXPORTER__PROCESSES__MAX", "many"),
        ("KEPLER_TIKC", "1s"),
        ("KEPLER_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    let flags = [
        ("exporter.lisen", json!("x")),
        ("attribution.idle.floor", json!("warm")),
    ];
    let expected = "\
config: 8 problems, nothing was started
  k.toml:2: tick: found integer 5; allowed: a duration from 100ms to 60s, such as \"1s\"
  k.toml:5: sources.cpuu: unknown key; did you mean sources.cpu?
  k.toml:7: exporter.levels[1]: found \"pood\"; allowed: one of \"node\", \"pod\", \"process\"
  k.toml:9: sources.redfish.bmcs[0].pass: found the unknown key \"pass\"; allowed: the keys \"url\" or \"password\"
  KEPLER_EXPORTER__PROCESSES__MAX: exporter.processes.max: found \"many\"; allowed: an integer from 0 to 4294967295
  KEPLER_TIKC: unknown variable; did you mean KEPLER_TICK?
  --attribution-idle-floor: attribution.idle.floor: found \"warm\"; allowed: \"measured\", \"none\" or a table of watts such as { package = 20.0 }
  --exporter-lisen: exporter.lisen: unknown key; did you mean exporter.listen?";
    assert_eq!(load("k.toml", file, &variables, &flags).unwrap_err(), expected);
}

#[test]
fn one_problem_is_told_with_its_place_its_value_and_what_is_allowed() {
    let no_variable: [(&str, &str); 0] = [];
    // file name, text, variables, the line that is said
    let table = [
        (
            "k.toml",
            "exporter = 5",
            &no_variable[..],
            "k.toml:1: exporter: found integer 5; allowed: a table with the keys levels, listen, processes",
        ),
        (
            "k.toml",
            "[tick]\nx = 1",
            &[],
            "k.toml:1: tick: found a table with x; allowed: a duration from 100ms to 60s, such as \"1s\"",
        ),
        (
            "k.toml",
            "\"state.dir\" = \"/x\"",
            &[],
            "k.toml:1: \"state.dir\": unknown key; did you mean state.dir without quotes, or nested?",
        ),
        (
            "k.toml",
            "[exporter]\nprocesses.max = 100001",
            &[],
            "k.toml:2: exporter.processes.max: found integer 100001; allowed: an integer from 0 to 100000",
        ),
        (
            "k.toml",
            "[sources.rapl]\nroot = \"sys\"",
            &[],
            "k.toml:2: sources.rapl.root: found \"sys\"; allowed: an absolute path",
        ),
        (
            "k.toml",
            "[sources.acpi]\nroot = \"/sys\"",
            &[],
            "k.toml:2: sources.acpi.root: unknown key; did you mean sources.rapl.root?",
        ),
        (
            "k.toml",
            "[[sources.redfish.bmcs]]\nurl = \"a\"",
            &[],
            "k.toml:1: sources.redfish.bmcs[0]: found a table with url; password is missing",
        ),
        (
            "k.toml",
            "[sources.redfish]\nnote = 5",
            &[],
            "k.toml:2: sources.redfish.note: found \"***\"; allowed: a text in quotes",
        ),
        (
            "k.yaml",
            "exporter:\n  processes: {max: -1}",
            &[],
            "k.yaml:2: exporter.processes.max: found integer -1; allowed: an integer from 0 to 4294967295",
        ),
        (
            "k.yaml",
            "tick:\n",
            &[],
            "k.yaml:1: tick: found nothing; allowed: a duration from 100ms to 60s, such as \"1s\"",
        ),
        (
            "k.yaml",
            "state.dir: /x",
            &[],
            "k.yaml:1: \"state.dir\": unknown key; did you mean state.dir without quotes, or nested?",
        ),
        (
            "k.toml",
            "",
            &[("KEPLER_TICK", "5")],
            "KEPLER_TICK: tick: found \"5\"; allowed: a duration from 100ms to 60s, such as \"1s\"",
        ),
        (
            "k.toml",
            "",
            &[("KEPLER_EXPORTER__PROCESSES__MAX", "200000")],
            "KEPLER_EXPORTER__PROCESSES__MAX: exporter.processes.max: found \"200000\"; allowed: an integer from 0 to 100000",
        ),
        (
            "k.toml",
            "",
            &[("KEPLER_EXPORTER__LEVELS", "node,pood")],
            "KEPLER_EXPORTER__LEVELS: exporter.levels[1]: found \"pood\"; allowed: one of \"node\", \"pod\", \"process\"",
        ),
        (
            "k.toml",
            "",
            &[("KEPLER_EXPORTER", "x")],
            "KEPLER_EXPORTER: exporter: found \"x\"; allowed: one of its keys, such as KEPLER_EXPORTER__LEVELS",
        ),
        (
            "k.toml",
            "",
            &[("KEPLER_EXPORTER_LISTEN", "x")],
            "KEPLER_EXPORTER_LISTEN: unknown variable; did you mean KEPLER_EXPORTER__LISTEN?",
        ),
        (
            "k.toml",
            "",
            &[("KEPLER_TICK__X", "5")],
            "KEPLER_TICK__X: unknown variable; did you mean KEPLER_TICK?",
        ),
        (
            "k.toml",
            "",
            &[("KEPLER_BANANAS", "5")],
            "KEPLER_BANANAS: unknown variable",
        ),
        (
            "k.toml",
            "",
            &[("KEPLER_PORT", "9102")],
            "KEPLER_PORT: unknown variable",
        ),
        // Rules between keys blame who set the key.
        (
            "k.toml",
            "[exporter]\nlevels = [\"process\"]",
            &[("KEPLER_EXPORTER__PROCESSES__MAX", "0")],
            "KEPLER_EXPORTER__PROCESSES__MAX: exporter.processes.max: found integer 0; level process needs at least 1",
        ),
        // What another layer replaces is still wrong where it stands.
        (
            "k.toml",
            "tick = 5",
            &[("KEPLER_TICK", "2s")],
            "k.toml:1: tick: found integer 5; allowed: a duration from 100ms to 60s, such as \"1s\"",
        ),
    ];
    for (name, text, variables, expected) in table {
        let said = load(name, text, variables, &[]).unwrap_err();
        assert_eq!(
            said,
            format!("config: 1 problem, nothing was started\n  {expected}")
        );
    }
}

#[test]
fn a_broken_file_hides_no_problem_of_the_other_layers_and_makes_none_up() {
    let variables = [
        ("KEPLER_TICK", "5"),
        ("KEPLER_EXPORTER__PROCESSES__MAX", "0"),
        ("KEPLER_EXPORTER__LEVELS", "process"),
    ];
    let said = load("k.toml", "tick = \n", &variables, &[]).unwrap_err();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "config: 2 problems, nothing was started");
    assert!(lines[1].starts_with("  k.toml:1:8: invalid string"), "{said}");
    assert!(lines[2].starts_with("  KEPLER_TICK: tick: found \"5\""), "{said}");
}

#[test]
fn a_named_file_must_be_there_and_the_usual_one_need_not() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("kepler.toml");
    let layers = |file| Layers {
        file: Some(file),
        ..Layers::default()
    };
    let said = schema()
        .load(layers(ConfigFile::Named(missing.clone())))
        .unwrap_err()
        .to_string();
    let expected = format!(
        "{}: does not exist; create it or name another file",
        missing.display()
    );
    assert_eq!(
        said,
        format!("config: 1 problem, nothing was started\n  {expected}")
    );

    let loaded = schema().load(layers(ConfigFile::Usual(missing.clone()))).unwrap();
    assert_eq!(loaded.file(), None);

    std::fs::write(&missing, "tick = \"5s\"").unwrap();
    let loaded = schema().load(layers(ConfigFile::Usual(missing.clone()))).unwrap();
    assert_eq!(loaded.file(), Some(missing.as_path()));
    assert_eq!(loaded.section::<Top>("").unwrap().tick, "5s");
}

#[test]
fn a_variable_becomes_what_its_owner_takes() {
    let addresses =
        |texts: &[&str]| OneOrMany::Many(texts.iter().map(|text| text.parse().unwrap()).collect());
    let table = [
        ("127.0.0.1:28282", addresses(&["127.0.0.1:28282"])),
        ("127.0.0.1:1, [::1]:2", addresses(&["127.0.0.1:1", "[::1]:2"])),
        ("[::1]:2", addresses(&["[::1]:2"])),
        (
            "[\"[::1]:2\",\"0.0.0.0:1\"]",
            addresses(&["[::1]:2", "0.0.0.0:1"]),
        ),
        ("", addresses(&[])),
    ];
    for (text, expected) in table {
        let loaded = load("k.toml", "", &[("KEPLER_EXPORTER__LISTEN", text)], &[]).unwrap();
        assert_eq!(
            loaded.section::<Exporter>("exporter").unwrap().listen,
            expected,
            "{text}"
        );
    }
    let variables = [
        ("KEPLER_EXPORTER__PROCESSES__MAX", "7"),
        ("KEPLER_SOURCES__CPU", "rapl,estimator"),
        ("KEPLER_SOURCES__GPU", "[\"nvml\"]"),
        ("KEPLER_SOURCES__REDFISH__TIMEOUT", "30"),
        ("KEPLER_STATE__DIR", "/123"),
    ];
    let loaded = load("k.toml", "", &variables, &[]).unwrap();
    assert_eq!(loaded.section::<Exporter>("exporter").unwrap().processes.max, 7);
    let sources: Sources = loaded.section("sources").unwrap();
    assert_eq!(
        (sources.cpu, sources.gpu),
        (
            vec!["rapl".to_owned(), "estimator".to_owned()],
            vec!["nvml".to_owned()]
        )
    );
    assert_eq!(
        loaded.section::<Redfish>("sources.redfish").unwrap().timeout,
        Some(30)
    );
    assert_eq!(loaded.section::<Top>("").unwrap().state.dir, "/123");
}

#[test]
fn flags_may_carry_values_or_texts() {
    let flags = [
        ("exporter.processes.max", json!("7")),
        ("sources.cpu", json!("rapl,hwmon")),
        ("sources.gpu", json!(["nvml"])),
        ("sources.redfish.timeout", json!(3)),
        ("attribution.idle.floor.dram", json!("2")),
    ];
    let loaded = load("k.toml", "", &[], &flags).unwrap();
    assert_eq!(loaded.section::<Exporter>("exporter").unwrap().processes.max, 7);
    let sources = loaded.value("sources").unwrap();
    assert_eq!(sources, &json!({ "cpu": ["rapl", "hwmon"], "gpu": ["nvml"] }));
    assert_eq!(loaded.value("sources.redfish").unwrap()["timeout"], json!(3));
    assert_eq!(
        loaded.value("attribution.idle").unwrap()["floor"],
        json!({ "dram": 2 })
    );
}

#[test]
fn a_leaf_may_be_a_word_or_a_table_and_layers_meet_inside_the_table() {
    let watts = |entries: &[(&str, f64)]| {
        Floor::Watts(
            entries
                .iter()
                .map(|(name, watts)| ((*name).to_owned(), *watts))
                .collect(),
        )
    };
    let dram = ("KEPLER_ATTRIBUTION__IDLE__FLOOR__DRAM", "3.5");
    let table = [
        (
            "[attribution.idle]\nfloor = \"none\"",
            &[][..],
            Floor::Named(FloorName::None),
        ),
        (
            "[attribution.idle]\nfloor = { package = 20.0 }",
            &[],
            watts(&[("package", 20.0)]),
        ),
        (
            "[attribution.idle.floor]\npackage = 20",
            &[dram],
            watts(&[("package", 20.0), ("dram", 3.5)]),
        ),
        (
            "[attribution.idle.floor]\ndram = 20",
            &[dram],
            watts(&[("dram", 3.5)]),
        ),
        ("", &[dram], watts(&[("dram", 3.5)])),
        (
            "[attribution.idle.floor]\npackage = 20",
            &[("KEPLER_ATTRIBUTION__IDLE__FLOOR", "none")],
            Floor::Named(FloorName::None),
        ),
        (
            "",
            &[("KEPLER_ATTRIBUTION__IDLE__FLOOR", "{ package = 20.0 }")],
            watts(&[("package", 20.0)]),
        ),
        (
            "",
            &[("KEPLER_ATTRIBUTION__IDLE__FLOOR", "{\"package\": 20.0}")],
            watts(&[("package", 20.0)]),
        ),
    ];
    for (file, variables, expected) in table {
        let loaded = load("k.toml", file, variables, &[]).unwrap();
        assert_eq!(
            loaded.section::<Idle>("attribution.idle").unwrap().floor,
            expected,
            "{file}"
        );
    }
    let said = load(
        "k.toml",
        "",
        &[("KEPLER_ATTRIBUTION__IDLE__FLOOR__DRAM", "warm")],
        &[],
    )
    .unwrap_err();
    assert!(
        said.contains("attribution.idle.floor.dram: found \"warm\""),
        "{said}"
    );
}

#[test]
fn an_open_table_that_is_given_replaces_its_default_as_a_whole() {
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Labels {
        labels: BTreeMap<String, String>,
    }
    impl Default for Labels {
        fn default() -> Self {
            Self {
                labels: BTreeMap::from([("site".to_owned(), "home".to_owned())]),
            }
        }
    }
    let mut schema = Schema::new();
    schema.section::<Labels>("node").open("labels");
    let default = schema.load(Layers::default()).unwrap();
    assert_eq!(
        default.value("node"),
        Some(&json!({ "labels": { "site": "home" } }))
    );
    let set = schema
        .load(Layers {
            environment: vec![("KEPLER_NODE__LABELS__RACK".into(), "7".into())],
            ..Layers::default()
        })
        .unwrap();
    assert_eq!(set.value("node"), Some(&json!({ "labels": { "rack": "7" } })));
}

#[test]
fn keys_that_are_only_right_together_are_accepted_together() {
    #[derive(Default, Serialize, Deserialize)]
    struct Plain {
        user: String,
        password: String,
    }
    #[derive(Default, Serialize, Deserialize)]
    #[serde(try_from = "Plain")]
    struct Login {
        user: String,
        password: String,
    }
    impl TryFrom<Plain> for Login {
        type Error = &'static str;
        fn try_from(plain: Plain) -> Result<Self, Self::Error> {
            if plain.user.is_empty() != plain.password.is_empty() {
                return Err("user and password go together");
            }
            Ok(Self {
                user: plain.user,
                password: plain.password,
            })
        }
    }
    let mut schema = Schema::new();
    schema.section::<Login>("login");
    let environment = |names: &[&str]| Layers {
        environment: names.iter().map(|name| (name.into(), "x".into())).collect(),
        ..Layers::default()
    };
    let both = environment(&["KEPLER_LOGIN__USER", "KEPLER_LOGIN__PASSWORD"]);
    assert_eq!(
        schema.load(both).unwrap().section::<Login>("login").unwrap().user,
        "x"
    );
    let said = schema
        .load(environment(&["KEPLER_LOGIN__USER"]))
        .unwrap_err()
        .to_string();
    assert!(
        said.ends_with("KEPLER_LOGIN__USER: login.user: found \"x\"; user and password go together"),
        "{said}"
    );
}

#[test]
fn a_table_that_later_layers_complete_is_not_blamed_for_its_gaps() {
    #[derive(Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Node {
        place: Option<Place>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Place {
        rack: u8,
        row: u8,
    }
    let mut schema = Schema::new();
    schema.section::<Node>("node");
    let flag = |value| Flag {
        key: "node.place".to_owned(),
        value,
        name: "--place".to_owned(),
    };
    let layers = |flags| Layers {
        flags,
        ..Layers::default()
    };
    let parts = layers(vec![flag(json!({ "rack": 1 })), flag(json!({ "row": 2 }))]);
    let node: Node = schema.load(parts).unwrap().section("node").unwrap();
    assert_eq!(node.place, Some(Place { rack: 1, row: 2 }));
    let said = schema.load(layers(vec![flag(json!({ "rack": 1 }))])).unwrap_err();
    assert!(
        said.to_string()
            .ends_with("--place: node.place: found a table with rack; row is missing"),
        "{said}"
    );
}

#[test]
fn a_value_that_no_layer_can_carry_is_told_beside_the_others() {
    // The rule about processes.max would be broken by what is left of the file, but not by the file as it was meant.
    let file = "tick = 5\n[exporter]\nprocesses.max = 0\nlevels = [\"process\", 2026-01-01]\n";
    let variables = [("KEPLER_EXPORTER__LEVELS", "process")];
    let expected = "\
config: 2 problems, nothing was started
  k.toml:1: tick: found integer 5; allowed: a duration from 100ms to 60s, such as \"1s\"
  k.toml:4: exporter.levels[1]: found date 2026-01-01; allowed: a text in quotes, or a number";
    assert_eq!(load("k.toml", file, &variables, &[]).unwrap_err(), expected);
}

#[test]
fn variables_injected_for_a_service_of_our_name_are_left_alone_and_listed() {
    let variables = [
        ("KEPLER_SERVICE_HOST", "10.0.0.1"),
        ("KEPLER_SERVICE_PORT", "28282"),
        ("KEPLER_SERVICE_PORT_HTTP", "28282"),
        ("KEPLER_PORT", "tcp://10.0.0.1:28282"),
        ("KEPLER_PORT_28282_TCP", "tcp://10.0.0.1:28282"),
        ("KEPLER_PORT_28282_TCP_ADDR", "10.0.0.1"),
        ("KEPLER_EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("KEPLER_EXPORTER_PORT", "tcp://10.0.0.1:28282"),
        ("KEPLER_CONFIG", "/etc/kepler/kepler.toml"),
    ];
    let loaded = load("k.toml", "", &variables, &[]).unwrap();
    let mut expected: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(loaded.ignored(), expected);
}

#[test]
fn a_variable_that_is_no_utf8_is_a_problem_only_if_it_is_ours() {
    let bytes = || OsString::from_vec(vec![0x2f, 0xff]);
    let with = |name: OsString| {
        schema().load(Layers {
            environment: vec![(name, bytes())],
            ..Layers::default()
        })
    };
    assert_eq!(
        with("KEPLER_STATE__DIR".into()).unwrap_err().to_string(),
        "config: 1 problem, nothing was started\n  KEPLER_STATE__DIR: state.dir: found bytes that are no UTF-8; allowed: UTF-8 text"
    );
    let said = with(OsString::from_vec(b"KEPLER_T\xff".to_vec()))
        .unwrap_err()
        .to_string();
    assert!(said.contains("KEPLER_T\u{fffd}: unknown variable"), "{said}");
    assert!(with("OTHER".into()).is_ok());
    assert!(with(bytes()).is_ok());
}

#[test]
fn an_empty_section_in_yaml_sets_nothing() {
    let loaded = load("k.yaml", "exporter:\n  # listen: x\nsources:\n", &[], &[]).unwrap();
    assert_eq!(loaded.section::<Exporter>("exporter").unwrap().processes.max, 200);
}

#[test]
fn what_is_in_force_is_shown_with_its_origin_and_without_secrets() {
    let file = "\
tick = \"2s\"
[sources.redfish]
note = \"psst\"
bmcs = [{ url = \"https://root:pw@bmc\", password = \"hunter2\" }]
[attribution.idle.floor]
package = 20.0
";
    let variables = [
        ("KEPLER_ATTRIBUTION__IDLE__FLOOR__DRAM", "3"),
        ("KEPLER_SOURCES__CPU", "rapl,hwmon"),
    ];
    let loaded = load(
        "k.toml",
        file,
        &variables,
        &[("exporter.processes.max", json!(5))],
    )
    .unwrap();
    let path = loaded.file().unwrap().display().to_string();
    let shown = render_effective(&loaded.effective()).replace(&path, "k.toml");
    let expected = "\
attribution.idle.floor.dram    = 3                    # environment KEPLER_ATTRIBUTION__IDLE__FLOOR__DRAM
attribution.idle.floor.package = 20.0                 # file k.toml:6
attribution.idle.share         = \"reserved\"           # default
exporter.levels                = [\"node\", \"pod\"]      # default
exporter.listen                = [\"0.0.0.0:28282\"]    # default
exporter.processes.max         = 5                    # flag --exporter-processes-max
sources.cpu                    = [\"rapl\", \"hwmon\"]    # environment KEPLER_SOURCES__CPU
sources.gpu                    = []                   # default
sources.rapl.root              = \"/sys/class/powercap\"  # default
sources.redfish.bmcs           = [{ password = \"***\", url = \"https://root:***@bmc\" }]  # file k.toml:4
sources.redfish.note           = \"***\"                # file k.toml:3
# sources.redfish.timeout      = not set              # default
state.dir                      = \"/var/lib/kepler\"    # default
tick                           = \"2s\"                 # file k.toml:1
";
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(&shown), squeezed(expected));
    let logged = format!("{loaded:?}");
    assert!(
        !logged.contains("hunter2") && !logged.contains("psst"),
        "{logged}"
    );
    // The owner gets the truth.
    assert_eq!(
        loaded.section::<Redfish>("sources.redfish").unwrap().bmcs[0].password,
        "hunter2"
    );
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let file = "tick = \"2s\"\n[attribution.idle.floor]\npackage = 20.0\n";
    let first = load("k.toml", file, &[("KEPLER_SOURCES__CPU", "a,b")], &[]).unwrap();
    let second = load("k.toml", &render_effective(&first.effective()), &[], &[]).unwrap();
    for section in [
        "",
        "exporter",
        "sources",
        "sources.rapl",
        "sources.redfish",
        "attribution.idle",
    ] {
        assert_eq!(first.value(section), second.value(section), "{section}");
    }
}

#[test]
fn a_secret_is_in_no_message() {
    let file = "[sources.redfish]\nbmcs = [{ url = \"x\", password = [\"hunter2\"] }]\n";
    let said = load(
        "k.toml",
        file,
        &[("KEPLER_SOURCES__REDFISH__NOTE__X", "hunter2")],
        &[],
    )
    .unwrap_err();
    assert!(
        said.contains("sources.redfish.bmcs[0].password: found a list [\"***\"]"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");

    let below = [("KEPLER_ATTRIBUTION__IDLE__FLOOR__TOKEN", "hunter2")];
    let said = load("k.toml", "", &below, &[]).unwrap_err();
    assert!(
        said.contains("attribution.idle.floor.token: found \"***\""),
        "{said}"
    );

    let mut schema = schema();
    schema
        .section::<Sources>("more")
        .secret("cpu")
        .rules(|_| vec![("cpu".to_owned(), "no".to_owned())]);
    let layers = Layers {
        environment: vec![("KEPLER_MORE__CPU".into(), "hunter2".into())],
        ..Layers::default()
    };
    let said = schema.load(layers).unwrap_err().to_string();
    let expected = "KEPLER_MORE__CPU: more.cpu: found a list [\"***\"]; its owner refuses it";
    assert!(said.ends_with(expected), "{said}");
}

#[test]
fn rules_between_sections_are_told_like_every_problem() {
    let loaded = load("k.toml", "", &[("KEPLER_TICK", "9s")], &[]).unwrap();
    assert_eq!(loaded.refuse(Vec::new()), Ok(()));
    // A section is blamed on whoever set something in it.
    let set = load("k.toml", "", &[("KEPLER_EXPORTER__PROCESSES__MAX", "1")], &[]).unwrap();
    let problems = set
        .refuse([("exporter".to_owned(), "no".to_owned())])
        .unwrap_err();
    assert!(
        problems
            .to_string()
            .ends_with("KEPLER_EXPORTER__PROCESSES__MAX: exporter: found a table; no")
    );
    let problems: Problems = loaded
        .refuse([("tick".to_owned(), "is longer than exporter.ended.keep".to_owned())])
        .unwrap_err();
    assert_eq!(
        problems.to_string(),
        "config: 1 problem, nothing was started\n  KEPLER_TICK: tick: found \"9s\"; is longer than exporter.ended.keep"
    );
}

#[test]
fn faults_of_the_program_are_told_and_do_not_panic() {
    let mut schema = Schema::new();
    schema.section_raw("a", json!({ "x": 1 }), |_| Err("never".to_owned()));
    schema.section_raw("b", json!({ "x": 1 }), |_| Ok(()));
    schema.section_raw("b.x", json!({ "y": 1 }), |_| Ok(()));
    schema.section_raw("c", json!(5), |_| Ok(()));
    let said = schema.load(Layers::default()).unwrap_err().to_string();
    let expected = "\
config: 3 problems, nothing was started
  built-in default: a: the section refuses its own default, a fault of this program: never
  built-in default: b.x: key b.x belongs to two sections, a fault of this program
  built-in default: c: its default is integer 5, not a table, a fault of this program";
    assert_eq!(said, expected.replace("integer 5", "\"***\""));
}

#[test]
fn a_section_that_is_not_there_or_is_of_another_type_is_an_error() {
    let loaded = schema().load(Layers::default()).unwrap();
    assert!(
        matches!(loaded.section::<Top>("nowhere"), Err(Error::NoSuchSection { path }) if path == "nowhere")
    );
    assert!(
        matches!(loaded.section::<Top>("exporter"), Err(Error::OtherType { path, .. }) if path == "exporter")
    );
}

#[test]
fn a_list_takes_tables_in_each_way_of_writing_them() {
    let expected = json!([{ "chip": "ina226", "component": "package" }, { "chip": "x" }]);
    let inline = "rules = [{ chip = \"ina226\", component = \"package\" }, { chip = \"x\" }]";
    let toml = format!("[sources.hwmon]\n{inline}\n");
    let tables = "[[sources.hwmon.rules]]\nchip = \"ina226\"\ncomponent = \"package\"\n\
                  [[sources.hwmon.rules]]\nchip = \"x\"\n";
    let yaml =
        "sources:\n  hwmon:\n    rules:\n      - chip: ina226\n        component: package\n      - chip: x\n";
    let variable = inline.trim_start_matches("rules = ");
    for (name, text, value) in [
        ("k.toml", toml.as_str(), None),
        ("k.toml", tables, None),
        ("k.yaml", yaml, None),
        ("k.toml", "", Some(variable)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut schema = Schema::new();
        schema.section_raw(
            "sources.hwmon",
            json!({ "root": "/sys", "rules": [] }),
            |_| Ok(()),
        );
        let variable = value.map(|value| ("KEPLER_SOURCES__HWMON__RULES".into(), value.into()));
        let loaded = schema
            .load(Layers {
                file: Some(ConfigFile::Named(path)),
                environment: variable.into_iter().collect(),
                flags: Vec::new(),
            })
            .unwrap();
        let section = loaded.value("sources.hwmon").unwrap();
        assert_eq!(section["rules"], expected, "{text}");
        assert_eq!(section["root"], json!("/sys"), "{text}");
    }
}

#[test]
fn an_empty_schema_takes_an_empty_configuration() {
    let loaded = Schema::new().load(Layers::default()).unwrap();
    assert_eq!(render_effective(&loaded.effective()), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_and_no_environment_makes_a_load_panic(
        yaml in any::<bool>(),
        file in "([a-z.]{0,8}(tick|exporter|floor|sources|max)?[ =:\\[\\]{}\"\n0-9-]{0,6}){0,12}",
        names in proptest::collection::vec("KEPLER_(TICK|EXPORTER|SOURCES|ATTRIBUTION__IDLE__FLOOR|PORT)?[A-Z_0-9]{0,6}(__(MAX|CPU|LISTEN))?", 0..4),
        values in proptest::collection::vec(proptest::collection::vec(1_u8.., 0..12), 4),
        key in "[a-z.]{0,8}",
        value in "\\PC{0,12}",
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if yaml { "k.yaml" } else { "k.toml" });
        std::fs::write(&path, &file).unwrap();
        let layers = Layers {
            file: Some(ConfigFile::Named(path)),
            environment: names.into_iter().map(OsString::from).zip(values.into_iter().map(OsString::from_vec)).collect(),
            flags: vec![Flag { key, value: Value::from(value), name: "--set".to_owned() }],
        };
        match schema().load(layers) {
            Ok(loaded) => prop_assert!(loaded.effective().len() >= 12),
            Err(problems) => prop_assert_eq!(problems.to_string().lines().count(), problems.iter().count().min(101) + 1),
        }
    }

    #[test]
    fn any_text_for_any_variable_is_taken_or_refused_by_name(text in "[^\0]{0,40}", which in 0_usize..6) {
        let variable = [
            "KEPLER_TICK", "KEPLER_STATE__DIR", "KEPLER_EXPORTER__LISTEN", "KEPLER_EXPORTER__PROCESSES__MAX",
            "KEPLER_ATTRIBUTION__IDLE__FLOOR", "KEPLER_SOURCES__REDFISH__TIMEOUT",
        ][which];
        let layers = Layers { environment: vec![(variable.into(), text.into())], ..Layers::default() };
        if let Err(problems) = schema().load(layers) {
            let said = problems.to_string();
            prop_assert_eq!(said.lines().count(), 2, "{}", said);
            prop_assert!(said.contains(variable), "{}", said);
        }
    }
}

#[test]
fn a_variable_of_somebody_elses_is_the_weakest_layer_over_the_defaults() {
    let none: &[(&str, &str)] = &[];
    let table = [
        ("", none, "/var/lib/kepler", "default"),
        (
            "",
            &[("STATE_HOME", "/other")],
            "/other",
            "environment STATE_HOME",
        ),
        ("", &[("STATE_HOME", "")], "/var/lib/kepler", "default"),
        (
            "state.dir = \"/file\"\n",
            &[("STATE_HOME", "/other")],
            "/file",
            "file:1",
        ),
        (
            "",
            &[("KEPLER_STATE__DIR", "/ours"), ("STATE_HOME", "/other")],
            "/ours",
            "environment KEPLER_STATE__DIR",
        ),
    ];
    for (text, variables, dir, from) in table {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, text).unwrap();
        let mut schema = Schema::new();
        schema.section::<Top>("").variable("state.dir", "STATE_HOME");
        let loaded = schema
            .load(Layers {
                file: Some(ConfigFile::Named(path)),
                environment: variables
                    .iter()
                    .map(|(name, value)| (name.into(), value.into()))
                    .collect(),
                flags: Vec::new(),
            })
            .unwrap();
        assert_eq!(loaded.section::<Top>("").unwrap().state.dir, dir, "{variables:?}");
        assert_eq!(origin(&loaded, "state.dir"), from, "{variables:?}");
    }
}

#[test]
fn keys_of_two_configurations_are_compared_with_their_secrets_and_told_without() {
    let loaded = |text: &str, flags: &[(&str, Value)]| load("kepler.toml", text, &[], flags).unwrap();
    let before = loaded(
        "tick = '1s'\n[sources.redfish]\nbmcs = [{ url = 'a', password = 'one' }]\n",
        &[],
    );
    assert_eq!(before.keys_unlike(&before), Vec::<String>::new());
    // The same from elsewhere is the same.
    let moved = loaded(
        "[sources.redfish]\nbmcs = [{ url = 'a', password = 'one' }]\n",
        &[("tick", json!("1s"))],
    );
    assert_eq!(before.keys_unlike(&moved), Vec::<String>::new());
    let after = loaded(
        "tick = '2s'\n[sources.redfish]\nbmcs = [{ url = 'a', password = 'two' }]\n",
        &[],
    );
    assert_eq!(before.keys_unlike(&after), ["sources.redfish.bmcs", "tick"]);
    // An entry of an open table that only one of them has.
    let open = loaded(
        "tick = '1s'\n[sources.redfish]\nbmcs = [{ url = 'a', password = 'one' }]\n[attribution.idle]\nfloor = { package = 2.0 }\n",
        &[],
    );
    assert!(
        before
            .keys_unlike(&open)
            .contains(&"attribution.idle.floor.package".to_owned())
    );
}
