// SPDX-License-Identifier: Apache-2.0
//! Files that are no files, no text, no syntax, or say what no layer can carry.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn parse(name: &str, bytes: &[u8]) -> Result<File, Box<Problem>> {
    let path = Path::new(name);
    File::parse(path, format(path)?, bytes.to_vec())
}

fn told(name: &str, bytes: &[u8]) -> String {
    match parse(name, bytes) {
        Err(problem) => problem.to_string(),
        Ok(file) => {
            let lines: Vec<String> = file.refused.iter().map(ToString::to_string).collect();
            lines.join("\n")
        }
    }
}

#[test]
fn both_formats_say_the_same() {
    let toml = "tick = \"1s\"\nstate.dir = \"/x\"\n[exporter]\nlisten = [\"a\"]\nprocesses.max = -5\nratio = 2.5\non = true\n";
    let yaml = "tick: 1s\nstate: {dir: /x}\nexporter:\n  listen:\n  - a\n  processes:\n    max: -5\n  ratio: 2.5\n  on: true\n";
    let expected = json!({
        "tick": "1s",
        "state": { "dir": "/x" },
        "exporter": { "listen": ["a"], "processes": { "max": -5 }, "ratio": 2.5, "on": true }
    });
    assert_eq!(parse("a.toml", toml.as_bytes()).unwrap().tree, expected);
    assert_eq!(parse("a.YAML", yaml.as_bytes()).unwrap().tree, expected);
    assert_eq!(parse("a.yml", yaml.as_bytes()).unwrap().tree, expected);
}

#[test]
fn a_file_without_keys_is_fine() {
    for name in ["a.toml", "a.yaml"] {
        for text in ["", "\n\n", "# tick = 5\n", "\u{feff}"] {
            assert_eq!(
                parse(name, text.as_bytes()).unwrap().tree,
                json!({}),
                "{name} {text:?}"
            );
        }
    }
    assert_eq!(parse("a.yaml", b"---\n").unwrap().tree, json!({}));
    assert_eq!(
        parse("a.toml", "\u{feff}a = 1".as_bytes()).unwrap().tree,
        json!({ "a": 1 })
    );
}

#[test]
fn broken_syntax_is_told_with_its_place_and_the_parsers_words() {
    let table = [
        (
            "a.toml",
            "tick = \"1s\"\nstate = = 1\n",
            "a.toml:2:9: invalid string; expected `\"`, `'`",
        ),
        (
            "a.toml",
            "tick = 1\ntick = 2\n",
            "a.toml:2:1: duplicate key `tick` in document root",
        ),
        (
            "a.yaml",
            "tick: 1s\n  state: x\n",
            "a.yaml:2:8: mapping values are not allowed in this context",
        ),
        (
            "a.yaml",
            "tick: 1\nstate: x\ntick: 2\n",
            "a.yaml:1:1: duplicate entry with key \"tick\"",
        ),
        (
            "a.yaml",
            "- tick\n",
            "a.yaml: holds no keys; allowed: lines such as \"tick: 1s\"",
        ),
        (
            "a.yaml",
            "tick: 1\n---\ntick: 2\n",
            "a.yaml: deserializing from YAML containing more than one document is not supported",
        ),
    ];
    for (name, text, expected) in table {
        assert_eq!(told(name, text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn what_no_layer_can_carry_is_refused_by_its_key_and_the_rest_is_kept() {
    let table = [
        (
            "a.toml",
            "a = 1\n[b]\nc = 2026-01-01\n",
            "a.toml:3: b.c: found date 2026-01-01; allowed: a text in quotes, or a number",
        ),
        (
            "a.toml",
            "a = 1\nb = [1.0,\n nan]\n",
            "a.toml:3: b[1]: found NaN; allowed: a finite number",
        ),
        (
            "a.yaml",
            "a: 1\nb: .inf\n",
            "a.yaml:2: b: found inf; allowed: a finite number",
        ),
        (
            "a.yaml",
            "a: 1\nb: !secret x\n",
            "a.yaml:2: b: found the tag \"!secret\"; allowed: a value without a YAML tag",
        ),
        (
            "a.yaml",
            "a: 1\nb:\n  5: x\n",
            "a.yaml:2: b: found the key \"5\"; allowed: keys that are texts",
        ),
    ];
    for (name, text, expected) in table {
        assert_eq!(told(name, text.as_bytes()), expected);
        assert_eq!(
            parse(name, text.as_bytes()).unwrap().tree.get("a"),
            Some(&json!(1)),
            "{text}"
        );
    }
}

#[test]
fn a_file_that_is_no_text_is_told_with_the_place_of_the_first_wrong_byte() {
    assert_eq!(
        told("a.toml", b"tick = 1\nx = \"\xff\"\n"),
        "a.toml:2:6: is not UTF-8 text here; save it as UTF-8"
    );
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("d.toml");
    std::fs::create_dir(&directory).unwrap();
    let problem = File::read(&directory).unwrap_err().to_string();
    assert!(
        problem.ends_with("d.toml: is a directory; name a file in it"),
        "{problem}"
    );

    // As a named pipe, which would be waited for.
    let socket = folder.path().join("s.toml");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let problem = File::read(&socket).unwrap_err().to_string();
    assert!(
        problem.ends_with("s.toml: is a pipe, a socket or a device; name a regular file"),
        "{problem}"
    );

    assert!(File::read(&folder.path().join("missing.toml")).unwrap().is_none());

    let below_a_file = folder.path().join("f.toml");
    std::fs::write(&below_a_file, "").unwrap();
    let problem = File::read(&below_a_file.join("g.toml")).unwrap_err().to_string();
    assert!(
        problem.contains("g.toml: cannot be read: Not a directory"),
        "{problem}"
    );

    for name in ["kepler.conf", "kepler", ".toml"] {
        let problem = File::read(Path::new(name)).unwrap_err().to_string();
        let expected = "its name does not tell its format; allowed: .toml, .yaml or .yml at the end";
        assert_eq!(problem, format!("{name}: {expected}"));
    }
}

#[test]
fn permission_denied_names_the_remedy() {
    let error = io::Error::from(io::ErrorKind::PermissionDenied);
    assert_eq!(
        what_to_do(&error),
        "may not be read; make it readable for the user that kepler runs as"
    );
}

#[test]
fn a_device_that_never_ends_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let endless = folder.path().join("endless.toml");
    std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
    let problem = File::read(&endless).unwrap_err().to_string();
    assert!(problem.contains("is a pipe, a socket or a device"), "{problem}");

    let mut largest = b"#".repeat(usize::try_from(MOST_BYTES).unwrap());
    assert!(parse("a.toml", &largest).is_ok());
    largest.push(b'#');
    assert!(parse("a.toml", &largest).is_err());
}

#[test]
fn lines_are_looked_up_a_bounded_number_of_times() {
    let file = parse("a.toml", b"a = 1").unwrap();
    let at_a = [Step::Key("a".to_owned())];
    let lines = (0..=MOST_LOOKUPS)
        .filter(|_| matches!(file.origin(&at_a), Origin::File { line: Some(1), .. }))
        .count();
    assert_eq!(lines, usize::try_from(MOST_LOOKUPS).unwrap());
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for name in ["a.toml", "a.yaml"] {
            if let Ok(file) = parse(name, &bytes) {
                prop_assert!(file.tree.is_object());
            }
        }
    }

    #[test]
    fn no_text_of_a_configurations_letters_makes_a_parser_panic(text in "[-a-c0-9 :.\"'\\[\\]{}=#\n,&*!|>_\t]{0,120}") {
        for name in ["a.toml", "a.yaml"] {
            if let Ok(file) = parse(name, text.as_bytes()) {
                // Every key that a parser reports can be located in the same text.
                if let Some(key) = file.tree.as_object().and_then(|object| object.keys().next()) {
                    let origin = file.origin(&[Step::Key(key.clone())]);
                    let is_located = matches!(origin, Origin::File { line: Some(_), .. });
                    prop_assert!(is_located, "{key:?}");
                }
            }
        }
    }
}
