// SPDX-License-Identifier: Apache-2.0
//! Whole files: what they predict, and every way to be refused.

use super::feature::Rates;
use super::model::Socket;
use super::*;
use crate::estimator::{Estimator, EstimatorConfig, ModelsConfig};
use attribution::model::{
    Component, CpuNanos, ErrorReason, Event, EventSet, MonotonicNanos, PackageId, PackageTime, Permille,
    Provenance,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A machine of so many threads whose kind and counters are known.
fn here(threads: u32) -> Here {
    let events = [Event::CpuCycles, Event::Instructions, Event::CacheMisses];
    Here {
        threads,
        kinds: vec!["Skylake".to_owned()],
        supply: Supply {
            counted: events.into_iter().fold(EventSet::NONE, EventSet::with),
        },
        ..Here::default()
    }
}

fn busy(cpu_time_ms: f64) -> Rates {
    Rates {
        cpu_time_ms,
        ..Rates::default()
    }
}

/// Idle and dynamic watts.
fn watts(model: &FileModel, rates: &Rates) -> (f64, f64) {
    let power = model.power(rates);
    assert_eq!(power.mended, None);
    let watts =
        |power: attribution::model::Microwatts| f64::from(u32::try_from(power.as_micro()).unwrap()) / 1e6;
    (watts(power.idle), watts(power.dynamic))
}

fn open(file: &Value, part: Part, here: &Here) -> Result<FileModel, String> {
    parse(file.to_string().as_bytes(), part, "model", here)
}

fn refusal(file: &Value, part: Part) -> String {
    open(file, part, &here(8)).expect_err("refused")
}

/// A weight file with one part.
fn weights(name: &str, part: &str, weights: &Value) -> Value {
    json!({ "model_name": name, part: { "All_Weights": weights }, "core": { "All_Weights": {} }, "uncore": { "All_Weights": {} } })
}

fn line() -> Value {
    json!({
        "Bias_Weight": 20.0,
        "Categorical_Variables": { "cpu_architecture": { "Demo Lake": { "weight": 9.0 }, "Sky Lake": { "weight": 1.5 } } },
        "Numerical_Variables": {
            "bpf_cpu_time_ms": { "scale": 8000.0, "weight": 42.0, "mean": 0, "variance": 0 },
            "cache_miss": { "scale": 1e8, "weight": 5.0 },
            "bpf_page_cache_hit": { "scale": 1.0, "weight": 0.0 },
        },
    })
}

#[test]
fn a_line_is_bias_and_kind_and_each_feature_by_its_scale_and_what_weighs_nothing_is_not_needed() {
    // half of 8 threads: 20 + 1.5 idle; 42 x 4000 / 8000 + 5 x 2e7 / 1e8
    let model = open(
        &weights("SGDRegressorTrainer_1", "package", &line()),
        Part::Package,
        &here(8),
    )
    .unwrap();
    let half = Rates {
        cache_misses: 2e7,
        ..busy(4000.0)
    };
    assert_eq!(watts(&model, &half), (21.5, 22.0));
    assert_eq!(watts(&model, &Rates::default()), (21.5, 0.0));
}

#[test]
fn the_curves_are_those_of_the_model_server() {
    let features = json!({ "bpf_cpu_time_ms": { "scale": 8000.0 }, "bpf_page_cache_hit": { "scale": 1.0 } });
    let of = |trainer: &str, curve: &[f64]| {
        let all = json!({ "Categorical_Variables": {}, "Numerical_Variables": features, "CurveFit_Weights": curve });
        open(&weights(trainer, "platform", &all), Part::Platform, &here(8)).unwrap()
    };
    // x = 0 and x = 0.5
    let exponential = of("ExponentialRegressionTrainer_0", &[10.0, 2.0, 30.0]);
    assert_eq!(
        watts(&exponential, &busy(4000.0)),
        (40.0, round(10.0 * (1.0_f64.exp() - 1.0)))
    );
    let logarithmic = of("LogarithmicRegressionTrainer_7", &[10.0, 6.0, 30.0]);
    assert_eq!(
        watts(&logarithmic, &busy(4000.0)),
        (30.0, round(10.0 * 4.0_f64.ln()))
    );
    // In the order of the file: height, middle, rise, floor.
    let logistic = of("LogisticRegressionTrainer_12", &[80.0, 0.5, 4.0, 30.0]);
    let idle = round(80.0 / (1.0 + 2.0_f64.exp()) + 30.0);
    assert_eq!(watts(&logistic, &busy(4000.0)), (idle, round(70.0 - idle)));
}

/// To microwatts.
fn round(watts: f64) -> f64 {
    (watts * 1e6).round() / 1e6
}

#[test]
fn a_curve_uses_the_feature_that_it_was_fitted_to_and_the_file_names_its_trainer_where_the_model_does_not() {
    let features = json!({
        "cache_miss": { "scale": 1e8 }, "cpu_cycles": { "scale": 1e10 }, "cpu_instructions": { "scale": 1e10 },
    });
    let all = json!({ "Numerical_Variables": features, "CurveFit_Weights": [10.0, 1.0, 30.0] });
    let file = json!({ "package": { "All_Weights": all }, "dram": { "All_Weights": all } });
    let of = |part| {
        parse(
            file.to_string().as_bytes(),
            part,
            "LogarithmicRegressionTrainer_3",
            &here(8),
        )
        .unwrap()
    };
    let rates = Rates {
        cpu_instructions: 1e10,
        cache_misses: 3e8,
        ..Rates::default()
    };
    assert_eq!(watts(&of(Part::Package), &rates).1, round(10.0 * 2.0_f64.ln()));
    assert_eq!(watts(&of(Part::Dram), &rates).1, round(10.0 * 4.0_f64.ln()));
}

#[test]
fn idle_power_is_scaled_to_this_machines_threads_and_dynamic_power_is_not() {
    let mut file = weights("SGDRegressorTrainer_1", "package", &line());
    file["machine_spec"] = json!({ "vendor": "acme", "cores": 32, "threads_per_core": 2 });
    let small = open(&file, Part::Package, &here(8)).unwrap();
    assert_eq!(watts(&small, &busy(4000.0)), (21.5 / 4.0, 21.0));
    assert!(
        small
            .describe()
            .contains("idle times 0.250 (trained on 32 threads)"),
        "{}",
        small.describe()
    );
    let large = open(&file, Part::Package, &here(64)).unwrap();
    assert_eq!(watts(&large, &busy(4000.0)), (21.5, 21.0));
}

fn golden(name: &str) -> (Vec<u8>, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/estimator/files/golden");
    read_pair(&folder.join(name))
}

fn read_pair(model: &Path) -> (Vec<u8>, Value) {
    let expected = std::fs::read(model.with_extension("expected.json")).unwrap();
    (
        std::fs::read(model).unwrap(),
        serde_json::from_slice(&expected).unwrap(),
    )
}

/// Predictions of a booster beside XGBoost's own, to a hundred-thousandth.
fn agrees(model: &Path) -> usize {
    let (bytes, expected) = read_pair(model);
    let booster = xgboost::parse(&bytes).unwrap_or_else(|problem| panic!("{}: {problem}", model.display()));
    let rows = expected["rows"].as_array().unwrap();
    let watts = expected["watts"].as_array().unwrap();
    assert_eq!(rows.len(), watts.len());
    for (row, watts) in rows.iter().zip(watts) {
        let values = row.as_array().unwrap().iter();
        let values: Vec<f32> = values
            .map(|value| value.as_f64().map_or(f32::NAN, form::single))
            .collect();
        let (ours, theirs) = (
            f64::from(booster.forest.predict(&values)),
            watts.as_f64().unwrap(),
        );
        assert!(
            (ours - theirs).abs() <= 1e-5 * theirs.abs().max(1.0),
            "{}: {row} is {ours} here and {theirs} there",
            model.display()
        );
    }
    rows.len()
}

/// All models of a folder: those of golden/train.py.
fn all_agree(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let models = names.filter(|path| {
        path.to_string_lossy().ends_with(".json") && !path.to_string_lossy().ends_with(".expected.json")
    });
    models
        .map(|model| agrees(&model))
        .filter(|rows| *rows > 20)
        .count()
}

#[test]
fn trees_predict_what_xgboost_itself_predicts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/estimator/files/golden");
    assert_eq!(all_agree(&folder), 4);
    // More of them, made by hand: `train.py FOLDER --many`, then XGBOOST_MODELS=FOLDER beside the build of this test.
    if let Some(folder) = option_env!("XGBOOST_MODELS") {
        assert!(all_agree(Path::new(folder)) > 200);
    }
}

#[test]
fn an_xgboost_file_is_taken_as_it_is_and_its_first_tree_goes_by_busy_time() {
    let (bytes, expected) = golden("squared.json");
    let model = parse(&bytes, Part::Package, "squared", &here(8)).unwrap();
    assert!(
        model.describe().starts_with("XGBoost, 8 trees: "),
        "{}",
        model.describe()
    );
    for (row, there) in expected["rows"]
        .as_array()
        .unwrap()
        .iter()
        .zip(expected["watts"].as_array().unwrap())
    {
        let (idle, dynamic) = watts(&model, &busy(row[0].as_f64().unwrap()));
        // Below idle is idle.
        assert!(
            (idle + dynamic - there.as_f64().unwrap().max(idle)).abs() < 1e-3,
            "{row}"
        );
    }
}

#[test]
fn a_booster_inside_a_weight_file_takes_the_features_in_the_files_order_each_by_its_scale() {
    let (bytes, _) = golden("counters.json");
    let plain = parse(&bytes, Part::Package, "counters", &here(8)).unwrap();
    let text = STANDARD.encode(&bytes);
    let features = r#"{"bpf_cpu_time_ms":{"scale":1.0},"cpu_cycles":{"scale":0.5},"cpu_instructions":{"scale":1},"cache_miss":{"scale":1}}"#;
    let file = |features: &str| {
        format!(
            r#"{{"package":{{"All_Weights":{{"Categorical_Variables":{{}},"Numerical_Variables":{features},"XGboost_Weights":"{text}"}}}}}}"#
        )
    };
    let inside = parse(
        file(features).as_bytes(),
        Part::Package,
        "XgboostFitTrainer_1",
        &here(8),
    )
    .unwrap();
    let rates = |cycles| Rates {
        cpu_time_ms: 5000.0,
        cpu_cycles: cycles,
        cpu_instructions: 9e9,
        cache_misses: 7e7,
    };
    for cycles in [1e9, 8e9, 1.4e10] {
        assert_eq!(inside.power(&rates(cycles / 2.0)), plain.power(&rates(cycles)));
    }
    assert_ne!(plain.power(&rates(1e9)), plain.power(&rates(2e10)));
    let three = file(r#"{"bpf_cpu_time_ms":{"scale":1.0}}"#);
    let words = parse(three.as_bytes(), Part::Package, "x", &here(8)).unwrap_err();
    assert_eq!(
        words,
        "package.All_Weights.XGboost_Weights was trained with 4 features and Numerical_Variables lists 1"
    );
}

#[test]
fn a_file_without_the_part_that_is_asked_for_is_refused_with_those_that_it_has() {
    let file = weights("SGDRegressorTrainer_1", "package", &line());
    assert_eq!(
        refusal(&file, Part::Platform),
        "has no weights for platform; there are: package"
    );
    let empty = json!({ "dram": { "All_Weights": {} } });
    assert_eq!(
        refusal(&empty, Part::Dram),
        "has no weights for dram; there are: none"
    );
}

/// Spoils a file.
type Change = fn(&mut Value);

#[test]
fn weights_that_cannot_be_used_are_refused_with_place_and_what_is_allowed() {
    let with = |change: Change| {
        let mut all = line();
        change(&mut all);
        refusal(&weights("SGDRegressorTrainer_1", "package", &all), Part::Package)
    };
    let cases: [(Change, &str); 9] = [
        (
            |all| all["Numerical_Variables"]["bpf_net_rx_irq"] = json!({ "scale": 1.0, "weight": 0.5 }),
            "Numerical_Variables.bpf_net_rx_irq needs the feature \"bpf_net_rx_irq\", which is not counted; this machine can supply \
             bpf_cpu_time_ms, cpu_cycles, cpu_instructions, cache_miss",
        ),
        (
            |all| all["Numerical_Variables"]["bpf_cpu_time_ms"]["scale"] = json!(0.0),
            "bpf_cpu_time_ms.scale is 0, allowed is more than 0 up to 1e15",
        ),
        (
            |all| all["Bias_Weight"] = json!(1e200),
            "Bias_Weight is 1e200, allowed are -1e15 to 1e15",
        ),
        (
            |all| all["Categorical_Variables"] = json!({ "cpu_architecture": { "Zen": { "weight": 1.0 } } }),
            "Categorical_Variables.cpu_architecture knows Zen; this machine is Skylake",
        ),
        (
            |all| all["Categorical_Variables"] = json!({ "colour": { "red": { "weight": 1.0 } } }),
            "Categorical_Variables.colour: this machine can supply cpu_architecture only",
        ),
        (
            |all| all["CurveFit_Weights"] = json!([1.0, 2.0]),
            "CurveFit_Weights has 2 numbers and model_name says Other; allowed are 3 with ExponentialRegressionTrainer_N",
        ),
        (
            |all| all["Bias_Weight"] = json!(-1.6),
            "predicts -0.1 W of package at 0 % load of the 8 thread(s) of this machine; allowed are 0 to 480 W",
        ),
        (
            |all| all["Bias_Weight"] = json!(450.0),
            "W of package at 53 % load",
        ),
        (
            |all| all["Numerical_Variables"] = json!(7),
            "invalid type: integer `7`, expected an object",
        ),
    ];
    for (change, expected) in cases {
        let words = with(change);
        assert!(words.contains(expected), "{words}");
    }
    let nothing = json!({ "Bias_Weight": 0.0, "Numerical_Variables": { "bpf_cpu_time_ms": { "scale": 1.0, "weight": 0.0 } } });
    let words = refusal(
        &weights("SGDRegressorTrainer_1", "package", &nothing),
        Part::Package,
    );
    assert_eq!(words, "predicts 0 W of package at every load");
}

#[test]
fn the_floor_of_a_large_machine_is_refused_on_a_small_one() {
    let all = json!({ "Bias_Weight": 144.0, "Numerical_Variables": { "bpf_cpu_time_ms": { "scale": 96000.0, "weight": 300.0 } } });
    let file = weights("SGDRegressorTrainer_0", "package", &all);
    assert!(open(&file, Part::Package, &here(96)).is_ok());
    let words = open(&file, Part::Package, &here(2)).unwrap_err();
    assert!(
        words.starts_with("predicts 144.0 W of package at 0 % load of the 2 thread(s)"),
        "{words}"
    );
}

#[test]
fn a_logarithm_of_a_negative_number_and_an_exponential_out_of_range_are_refused() {
    let features = json!({ "bpf_cpu_time_ms": { "scale": 8000.0 } });
    let of = |trainer: &str, curve: &[f64]| {
        let all = json!({ "Numerical_Variables": features, "CurveFit_Weights": curve });
        refusal(&weights(trainer, "package", &all), Part::Package)
    };
    let words = of("LogarithmicRegressionTrainer_0", &[10.0, -200.0, 30.0]);
    assert!(words.starts_with("predicts NaN W"), "{words}");
    let words = of("ExponentialRegressionTrainer_0", &[1.0, 1e6, 30.0]);
    assert!(words.starts_with("predicts inf W"), "{words}");
    let words = of("ExponentialRegressionTrainer_0", &[1.0, 1e300, 30.0]);
    assert!(words.contains("CurveFit_Weights is 1e300"), "{words}");
}

#[test]
fn numbers_that_json_has_not_are_refused_where_they_stand() {
    for text in [
        r#"{"package":{"All_Weights":{"Bias_Weight":NaN}}}"#,
        r#"{"package":{"All_Weights":{"Bias_Weight":1e999}}}"#,
        r#"{"package":{"All_Weights":{"Bias_Weight":Infinity}}}"#,
    ] {
        let words = parse(text.as_bytes(), Part::Package, "x", &here(8)).unwrap_err();
        assert!(words.contains("at line 1 column"), "{words}");
    }
}

#[test]
fn a_booster_that_is_no_sum_of_watts_is_refused_by_the_name_of_what_it_is() {
    let (bytes, _) = golden("squared.json");
    let model: Value = serde_json::from_slice(&bytes).unwrap();
    let tree = "/learner/gradient_booster/model/trees/1";
    let cases: [(String, Value, &str); 15] = [
        (
            "/learner/gradient_booster/name".into(),
            json!("dart"),
            "only booster \"gbtree\" is supported",
        ),
        (
            "/learner/objective/name".into(),
            json!("binary:logistic"),
            "\"binary:logistic\", which predicts no watts",
        ),
        (
            "/learner/learner_model_param/num_class".into(),
            json!("3"),
            "num_class is \"3\": models of several outputs",
        ),
        (
            "/learner/learner_model_param/num_target".into(),
            json!("2"),
            "num_target is \"2\": models of several outputs",
        ),
        (
            "/learner/learner_model_param/base_score".into(),
            json!("[1E0,2E0]"),
            "base_score is \"[1E0,2E0]\", expected one number",
        ),
        (
            "/learner/learner_model_param/base_score".into(),
            json!("NaN"),
            "base_score is \"NaN\", expected one number",
        ),
        (
            "/learner/learner_model_param/num_feature".into(),
            json!("65"),
            "num_feature is \"65\", allowed are 1 to 64",
        ),
        (
            "/learner/feature_names".into(),
            json!([]),
            "feature_names has 0 names for 1 features; train with names",
        ),
        (
            "/learner/feature_names".into(),
            json!(["temperature"]),
            "needs the feature \"temperature\"",
        ),
        (
            "/learner/feature_types".into(),
            json!(["c"]),
            "categories are not supported",
        ),
        (
            format!("{tree}/split_type/0"),
            json!(1),
            "trees[1]: splits by category are not supported",
        ),
        (
            format!("{tree}/left_children/0"),
            json!(0),
            "trees[1]: node 0 is reached twice, so this is a cycle and no tree",
        ),
        (
            format!("{tree}/right_children/0"),
            json!(999_999),
            "trees[1]: node 999999 is a child and does not exist",
        ),
        (
            format!("{tree}/left_children/0"),
            json!(-7),
            "trees[1]: node 0: children -7 and 2 cannot exist",
        ),
        (
            format!("{tree}/split_indices/0"),
            json!(1),
            "trees[1]: node 0: splits by feature 1, of which there are 1",
        ),
    ];
    for (at, value, expected) in cases {
        let mut model = model.clone();
        *model.pointer_mut(&at).unwrap_or_else(|| panic!("no {at}")) = value;
        let words = refusal(&model, Part::Package);
        assert!(words.contains(expected), "{at}: {words}");
    }
    let mut short = model;
    short
        .pointer_mut(&format!("{tree}/default_left"))
        .unwrap()
        .as_array_mut()
        .unwrap()
        .pop();
    let words = refusal(&short, Part::Package);
    assert!(
        words.contains("default_left has 14 entries and left_children has 15"),
        "{words}"
    );
}

#[test]
fn a_leaf_that_no_machine_can_draw_is_refused() {
    let (bytes, _) = golden("squared.json");
    let mut model: Value = serde_json::from_slice(&bytes).unwrap();
    let conditions = model
        .pointer_mut("/learner/gradient_booster/model/trees/0/split_conditions")
        .unwrap();
    for condition in conditions.as_array_mut().unwrap().iter_mut() {
        *condition = json!(1e9);
    }
    let words = refusal(&model, Part::Package);
    assert!(
        words.contains("allowed are 0 to 480 W (up to 60 W per thread)"),
        "{words}"
    );
}

#[test]
fn formats_that_are_no_json_are_refused_by_name() {
    let of = |bytes: &[u8]| parse(bytes, Part::Package, "x", &here(8)).unwrap_err();
    assert_eq!(of(b""), "is empty");
    assert!(of(b"{L\0\0\0\0\0\0\0\x07learner").contains("UBJSON"));
    assert!(of(b"binf\0\0\0\0").contains("old binary format"));
    assert!(of(b"\x80\x04\x95").contains("pickle"));
    assert!(of(b"PK\x03\x04").contains("zip"));
    assert!(of(b"\x1f\x8b\x08").contains("gzip"));
    assert!(of(b"watts = 12").contains("is no JSON object"));
    assert!(of(b"[]").contains("is no JSON object"));
    assert!(of(b"{}").contains("neither \"package\", \"dram\" nor \"platform\""));
    assert!(
        of(b"{\"format\":\"my-model\"}")
            .contains("has \"format\": \"my-model\", which this version does not read")
    );
    let deep = format!("{{\"package\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(
        of(deep.as_bytes()).contains("is no weight file of the Kepler model server: invalid type: sequence")
    );
}

#[test]
fn files_are_refused_with_their_key_and_all_of_them_at_once() {
    let folder = tempfile::TempDir::new().unwrap();
    let huge = folder.path().join("huge.json");
    File::create(&huge).unwrap().set_len(100 << 20).unwrap();
    let paths = ModelPaths {
        package: Some(folder.path().join("missing.json")),
        dram: Some(folder.path().to_owned()),
        platform: Some(huge),
    };
    let refused = FileModels::open(&paths, &here(8)).unwrap_err();
    let words: Vec<_> = refused.iter().map(ToString::to_string).collect();
    assert!(
        words[0].starts_with("`estimator.models.package` = \"")
            && words[0].contains("missing.json\": cannot be read: "),
        "{words:?}"
    );
    assert!(words[1].ends_with(": is no file"), "{words:?}");
    assert!(
        words[2].ends_with("has more than 32 MiB; allowed are models up to that size"),
        "{words:?}"
    );
    assert!(
        FileModels::open(&ModelPaths::default(), &here(8))
            .unwrap()
            .package
            .is_none()
    );
}

#[test]
fn a_prediction_that_cannot_be_believed_at_run_time_is_mended_and_said() {
    // Tried along a straight way of all features together, and asked beside it.
    let all = json!({
        "Bias_Weight": 20.0,
        "Numerical_Variables": { "cpu_cycles": { "scale": 1e9, "weight": 5.0 }, "cpu_instructions": { "scale": 1e9, "weight": -4.0 } },
    });
    let model = open(
        &weights("SGDRegressorTrainer_1", "package", &all),
        Part::Package,
        &here(8),
    )
    .unwrap();
    let rates = |cpu_cycles, cpu_instructions| Rates {
        cpu_cycles,
        cpu_instructions,
        ..Rates::default()
    };
    let negative = model.power(&rates(0.0, 24e9));
    assert_eq!(negative.mended, Some("negative prediction; counted as idle"));
    assert_eq!(
        (negative.idle.as_micro(), negative.dynamic.as_micro()),
        (20_000_000, 0)
    );
    let huge = model.power(&rates(1e13, 0.0));
    assert_eq!(huge.mended, Some("prediction above what is possible; cut"));
    assert_eq!(
        (huge.idle.as_micro(), huge.dynamic.as_micro()),
        (20_000_000, 460_000_000)
    );
    let nothing = model.power(&rates(f64::NAN, 0.0));
    assert_eq!(
        nothing.mended,
        Some("prediction that is no number; counted as idle")
    );
    assert_eq!(nothing.dynamic.as_micro(), 0);
    assert_eq!(model.power(&rates(5e9, 5e9)).mended, None);
}

/// What `kepler calibrate` made of a machine of two sockets.
const CALIBRATED_FILE: &[u8] = include_bytes!("../calibration/tests/model.json");

fn calibrated_machine() -> MachineDescription {
    MachineDescription {
        packages: vec![(PackageId(0), 16), (PackageId(1), 16)],
        vendor: Some("GenuineIntel".to_owned()),
        model_name: Some("Example CPU 9000".to_owned()),
        memory_bytes: 64 << 30,
        ..MachineDescription::default()
    }
}

#[test]
fn a_calibrated_model_says_each_socket_and_its_own_error() {
    let here = Here::of(&calibrated_machine(), &MachineConfig::default());
    let of = |part: Part| parse(CALIBRATED_FILE, part, "x", &here).unwrap();
    let watts = |part: Part, index| {
        let socket = Socket {
            index,
            threads: 16,
            of: 32,
        };
        of(part).socket(socket, 0.5).total() / 1_000
    };
    assert_eq!(
        [watts(Part::Package, 0), watts(Part::Package, 1)],
        [60_000, 44_000]
    );
    // Memory is in no socket, and the platform is of both.
    assert_eq!([watts(Part::Dram, 0), watts(Part::Dram, 1)], [3_000, 3_000]);
    assert_eq!(
        [watts(Part::Platform, 0), watts(Part::Platform, 1)],
        [100_000, 100_000]
    );
    assert_eq!(of(Part::Package).error(), Permille(40));
    let described = of(Part::Platform).describe().to_owned();
    assert!(
        described.starts_with(
            "calibrated by kepler 0.1.0 at 2026-01-02T03:04:05Z: 100.0 W idle to 300.0 W on 32 threads"
        ),
        "{described}"
    );
}

#[test]
fn a_guest_of_a_calibrated_host_pays_its_vcpus_of_it() {
    let guest = MachineDescription {
        packages: vec![(PackageId(0), 4)],
        guest: true,
        ..calibrated_machine()
    };
    let said = MachineConfig {
        chips: 2,
        threads: 32,
        ..MachineConfig::default()
    };
    let of = |said: &MachineConfig| parse(CALIBRATED_FILE, Part::Platform, "x", &Here::of(&guest, said));
    let socket = Socket {
        index: 0,
        threads: 4,
        of: 4,
    };
    assert_eq!(of(&said).unwrap().socket(socket, 0.5).total(), 25_000_000);
    let words = of(&MachineConfig::default()).unwrap_err();
    assert!(
        words.contains("describe its host in estimator.machine"),
        "{words}"
    );
}

#[test]
fn a_calibrated_model_of_another_machine_or_without_the_part_is_refused() {
    let other = MachineDescription {
        model_name: Some("Example CPU 7000".to_owned()),
        ..calibrated_machine()
    };
    let words = parse(
        CALIBRATED_FILE,
        Part::Package,
        "x",
        &Here::of(&other, &MachineConfig::default()),
    )
    .unwrap_err();
    assert!(words.contains("the processors differ"), "{words}");
    let here = Here::of(&calibrated_machine(), &MachineConfig::default());
    let mut file: Value = serde_json::from_slice(CALIBRATED_FILE).unwrap();
    file["zones"]
        .as_array_mut()
        .unwrap()
        .retain(|zone| zone["component"] != "dram");
    let words = open(&file, Part::Dram, &here).unwrap_err();
    assert_eq!(words, "has no zone of dram; there are: package, platform");
    let mut of_one: Value = serde_json::from_slice(CALIBRATED_FILE).unwrap();
    let zones = of_one["zones"].as_array_mut().unwrap();
    zones.retain(|zone| zone["component"] != "package" || zone["place"] == "socket0");
    let words = open(&of_one, Part::Package, &here).unwrap_err();
    assert!(
        words.starts_with("has zones of package for some sockets of 2 and none for the one with number 1"),
        "{words}"
    );
    file["version"] = json!(2);
    let words = open(&file, Part::Package, &here).unwrap_err();
    assert!(words.contains("is a model of version 2"), "{words}");
}

#[test]
fn a_processor_that_the_machine_does_not_name_is_the_one_that_is_said() {
    let unnamed = MachineDescription {
        model_name: Some("Other CPU".to_owned()),
        ..calibrated_machine()
    };
    let of = |cpu: &str| {
        let said = MachineConfig {
            cpu: cpu.to_owned(),
            ..MachineConfig::default()
        };
        parse(CALIBRATED_FILE, Part::Package, "x", &Here::of(&unnamed, &said))
    };
    assert!(of("").is_err());
    assert!(of("Example CPU 9000").is_ok());
}

#[test]
fn the_error_of_a_calibrated_figure_is_that_of_its_load() {
    let folder = tempfile::TempDir::new().unwrap();
    let file: Value = serde_json::from_slice(CALIBRATED_FILE).unwrap();
    let mut estimator = estimator(&folder, &file, &calibrated_machine());
    let mut at = 0;
    let mut busy = [0, 0];
    let mut errors_at = |load_percent: u64| {
        at += 1;
        busy[0] += 160 * load_percent;
        let rows = [row(0, 16, busy[0]), row(1, 16, busy[1])];
        let energy = estimator.observe(MonotonicNanos::from_nanos(at * 1_000_000_000), &rows);
        energy.zones[0].provenance
    };
    let of = |permille: u32| Provenance::Estimated {
        relative_error_p90: Permille(permille),
    };
    assert_eq!(errors_at(0), of(40), "nothing was asked yet: that of all loads");
    assert_eq!(errors_at(50), of(40));
    assert_eq!(
        errors_at(0),
        of(40),
        "the worse of the two sockets counts, and one is below what was seen"
    );
    assert_eq!(errors_at(100), of(160), "a tenth beyond what was seen");
    assert_eq!(errors_at(50), of(40));
}

fn row(package: u16, cpus: u32, busy_ms: u64) -> PackageTime {
    PackageTime {
        package: PackageId(package),
        cpus,
        busy: CpuNanos::from_nanos(busy_ms * 1_000_000),
        idle: CpuNanos::ZERO,
    }
}

/// An estimator with a model for packages out of a file.
fn estimator(folder: &tempfile::TempDir, file: &Value, machine: &MachineDescription) -> Estimator {
    let path = folder.path().join("package.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let config = EstimatorConfig {
        models: ModelsConfig {
            package: path,
            ..ModelsConfig::default()
        },
        ..EstimatorConfig::default()
    };
    Estimator::open(machine, &config, &[Component::Package]).unwrap()
}

/// What one second costs: microjoules of each zone, whole and idle.
fn one_second(estimator: &mut Estimator, busy_ms: &[(u16, u32, u64)]) -> Vec<(u64, u64)> {
    let rows = |share: u64| -> Vec<_> {
        busy_ms
            .iter()
            .map(|(package, cpus, ms)| row(*package, *cpus, share * ms))
            .collect()
    };
    estimator.observe(MonotonicNanos::ZERO, &rows(0));
    let energy = estimator.observe(MonotonicNanos::from_nanos(1_000_000_000), &rows(1));
    let zones = energy.zones.iter();
    zones
        .map(|zone| {
            assert_eq!(
                zone.provenance,
                Provenance::Estimated {
                    relative_error_p90: Permille(1_000)
                }
            );
            (zone.total.as_micro(), zone.idle.unwrap().as_micro())
        })
        .collect()
}

#[test]
fn each_socket_has_its_share_of_the_files_watts_at_its_own_load() {
    let all = json!({ "Bias_Weight": 20.0, "Numerical_Variables": { "bpf_cpu_time_ms": { "scale": 8000.0, "weight": 42.0 } } });
    let machine = MachineDescription {
        packages: vec![(PackageId(0), 4), (PackageId(1), 4)],
        ..MachineDescription::default()
    };
    let folder = tempfile::TempDir::new().unwrap();
    let mut estimator = estimator(
        &folder,
        &weights("SGDRegressorTrainer_0", "package", &all),
        &machine,
    );
    let found = one_second(&mut estimator, &[(0, 4, 4000), (1, 4, 0)]);
    assert_eq!(found, [(31_000_000, 10_000_000), (10_000_000, 10_000_000)]);
    assert!(
        estimator.detail().starts_with("package from "),
        "{}",
        estimator.detail()
    );
}

/// Trees that are sound at every load that is tried, and negative in a gap between two of them.
fn trees_with_a_hole() -> Value {
    json!({ "learner": {
        "feature_names": ["bpf_cpu_time_ms"],
        "gradient_booster": { "name": "gbtree", "model": { "trees": [{
            "left_children": [1, -1, 3, -1, -1], "right_children": [2, -1, 4, -1, -1], "split_indices": [0, 0, 0, 0, 0],
            "split_conditions": [4016.0, 0.0, 4032.0, -100.0, 5.0], "default_left": [false, false, false, false, false],
            "tree_param": {},
        }] } },
        "learner_model_param": { "base_score": "5E1", "num_feature": "1" },
        "objective": { "name": "reg:squarederror" },
    } })
}

#[test]
fn a_prediction_that_had_to_be_mended_is_idle_power_and_counted_as_an_error_of_the_source() {
    let machine = MachineDescription {
        packages: vec![(PackageId(0), 8)],
        ..MachineDescription::default()
    };
    let folder = tempfile::TempDir::new().unwrap();
    let mut estimator = estimator(&folder, &trees_with_a_hole(), &machine);
    assert_eq!(
        one_second(&mut estimator, &[(0, 8, 4020)]),
        [(50_000_000, 50_000_000)]
    );
    let energy = estimator.observe(
        MonotonicNanos::from_nanos(2_000_000_000),
        &[row(0, 8, 4020 + 5000)],
    );
    assert_eq!(energy.zones[0].total.as_micro(), 105_000_000);
    let errors = energy.errors.iter().map(|error| (error.reason, error.count));
    assert_eq!(errors.collect::<Vec<_>>(), [(ErrorReason::Implausible, 1)]);
}

#[test]
fn files_that_contradict_each_other_are_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = |part: &str, watts: f64| {
        let path = folder.path().join(format!("{part}.json"));
        let all = json!({ "Bias_Weight": watts, "Numerical_Variables": {} });
        std::fs::write(&path, weights("SGDRegressorTrainer_0", part, &all).to_string()).unwrap();
        Some(path)
    };
    let mut paths = ModelPaths {
        package: file("package", 60.0),
        dram: file("dram", 20.0),
        platform: file("platform", 80.0),
    };
    assert!(FileModels::open(&paths, &here(8)).is_ok());
    paths.dram = file("dram", 24.0);
    let refused = FileModels::open(&paths, &here(8)).unwrap_err();
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].problem.starts_with(
            "predicts 80 W for the whole machine at 0 % load, and the files for package and dram 84 W"
        ),
        "{refused:?}"
    );
}

/// What a model that was taken says at any load: believable numbers.
fn believable(model: &FileModel, threads: u32) {
    for step in 0..=17 {
        let power = model.power(&Rates::at(threads, f64::from(step) / 16.0));
        let sum = power.idle.as_micro() + power.dynamic.as_micro();
        assert!(sum <= u64::from(threads) * 250_000_000 + 1, "{power:?}");
    }
}

proptest! {
    #[test]
    fn bytes_that_were_changed_anywhere_never_panic_and_what_is_taken_is_believable(
        name in prop::sample::select(vec!["squared.json", "counters.json", "gamma.json", "squared-2.1.json"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        threads in 1_u32..200,
    ) {
        let (mut bytes, _) = golden(name);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(model) = parse(&bytes, Part::Platform, "x", &here(threads)) {
            believable(&model, threads);
        }
    }

    #[test]
    fn digits_that_were_changed_never_panic_and_what_is_taken_is_believable(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"0123456789-E.,[]".to_vec())), 1..40),
        threads in 1_u32..200,
    ) {
        let (mut bytes, _) = golden("squared.json");
        let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
        for (at, byte) in changes {
            bytes[*at.get(&places)] = byte;
        }
        if let Ok(model) = parse(&bytes, Part::Platform, "x", &here(threads)) {
            believable(&model, threads);
        }
    }

    #[test]
    fn weights_of_any_size_are_refused_or_believable(
        trainer in prop::sample::select(vec!["SGDRegressorTrainer_0", "ExponentialRegressionTrainer_0", "LogarithmicRegressionTrainer_0", "LogisticRegressionTrainer_0"]),
        bias in any::<f64>(),
        weight in prop::num::f64::ANY,
        scale in prop::num::f64::ANY,
        curve in prop::collection::vec(prop_oneof![-100.0..100.0_f64, any::<f64>()], 0..5),
        cores in prop::option::of(any::<f64>()),
        threads in 1_u32..200,
    ) {
        let all = json!({
            "Bias_Weight": bias, "CurveFit_Weights": curve,
            "Numerical_Variables": { "bpf_cpu_time_ms": { "scale": scale, "weight": weight } },
        });
        let mut file = weights(trainer, "platform", &all);
        if let Some(cores) = cores {
            file["machine_spec"] = json!({ "cores": cores });
        }
        if let Ok(model) = open(&file, Part::Platform, &here(threads)) {
            believable(&model, threads);
        }
    }
}
