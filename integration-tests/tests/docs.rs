// SPDX-License-Identifier: Apache-2.0
//! What the documentation names is there: files and headings that it links to, metrics, settings, log lines, and the code that
//! it quotes. What it says of them no test knows.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every page: its path below the root, and its text.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    let mut pages: Vec<PathBuf> = docs
        .map(|entry| PathBuf::from("docs").join(entry.expect("an entry").file_name()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    let others = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "power-sources/README.md",
    ];
    pages.extend(others.map(PathBuf::from));
    pages.sort();
    pages
        .into_iter()
        .map(|path| {
            let text = read(&root().join(&path));
            (path, text)
        })
        .collect()
}

/// The lines outside of fences, and those of each fence with its language.
fn fences(text: &str) -> (Vec<&str>, Vec<(&str, Vec<&str>)>) {
    let (mut prose, mut fences): (Vec<&str>, Vec<(&str, Vec<&str>)>) = (Vec::new(), Vec::new());
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_inside = !is_inside;
            if is_inside {
                fences.push((language, Vec::new()));
            }
        } else if let (true, Some((_, lines))) = (is_inside, fences.last_mut()) {
            lines.push(line);
        } else {
            prose.push(line);
        }
    }
    assert!(!is_inside, "a fence without an end");
    (prose, fences)
}

/// Where links lead to.
fn links(prose: &[&str]) -> Vec<String> {
    let links = prose.iter().flat_map(|line| line.split("](").skip(1));
    links
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// A heading as GitHub makes an anchor of it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(kept)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for (page, text) in pages() {
        for link in links(&fences(&text).0) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, wanted) = link.split_once('#').unwrap_or((&link, ""));
            let folder = root().join(&page);
            let folder = folder.parent().expect("a folder");
            let target = if file.is_empty() {
                root().join(&page)
            } else {
                folder.join(file)
            };
            let is_there = target.exists()
                && (wanted.is_empty()
                    || fences(&read(&target))
                        .0
                        .iter()
                        .any(|line| line.starts_with('#') && anchor(line) == wanted));
            if !is_there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "links that lead nowhere:\n{}",
        broken.join("\n")
    );
}

#[test]
fn every_page_is_in_the_index() {
    let index = read(&root().join("docs/README.md"));
    let missing: Vec<String> = pages()
        .into_iter()
        .filter_map(|(page, _)| Some(page.strip_prefix("docs").ok()?.display().to_string()))
        .filter(|name| name != "README.md" && !index.contains(&format!("]({name}")))
        .collect();
    assert!(missing.is_empty(), "not in docs/README.md: {missing:?}");
}

/// Words that begin with `kepler_`, as far as a metric's name or a pattern of names goes.
fn metrics(text: &str) -> Vec<String> {
    let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '*');
    let mut found = Vec::new();
    for (at, _) in text.match_indices("kepler_") {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        if before.is_some_and(|c| of_a_name(c) || matches!(c, '/' | ':')) {
            continue;
        }
        let mut name = String::new();
        let (mut braces, mut is_a_rule) = (false, false);
        for c in text.get(at..).unwrap_or_default().chars() {
            // `{package,dram}` is a part of a pattern, `{pod_name="x"}` is not.
            match c {
                '{' if name.ends_with('_') => braces = true,
                '}' if braces => braces = false,
                ',' | '.' if braces => {}
                c if of_a_name(c) => {}
                c => {
                    // What a recording rule made has its name.
                    is_a_rule = c == ':';
                    break;
                }
            }
            name.push(c);
        }
        if !is_a_rule && name != "kepler_" {
            // `{...}` stands for what was listed before.
            found.push(name.replace("{...}", "*"));
        }
    }
    found
}

/// Every name that a pattern stands for.
fn expanded(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return vec![pattern.to_owned()];
    };
    let (choices, after) = rest.split_once('}').unwrap_or((rest, ""));
    choices
        .split(',')
        .flat_map(|choice| expanded(&format!("{before}{choice}{after}")))
        .collect()
}

/// Whether a name is one of `known`, where `*` stands for anything.
fn is_known(name: &str, known: &BTreeSet<String>) -> bool {
    let name = name.trim_end_matches('_');
    match name.split_once('*') {
        None => ["", "_bucket", "_sum", "_count", "_created"]
            .iter()
            .any(|ending| name.strip_suffix(ending).is_some_and(|name| known.contains(name))),
        Some((before, after)) => known
            .iter()
            .any(|known| known.starts_with(before) && known.ends_with(after.trim_end_matches('*'))),
    }
}

fn known_metrics() -> BTreeSet<String> {
    let reference = read(&root().join("docs/metrics.md"));
    let names = reference.lines().filter_map(|line| line.strip_prefix("| `"));
    names
        .filter_map(|rest| rest.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Pages that name metrics and settings which are not ours: those of the other two Keplers.
const OF_OTHERS: [&str; 1] = ["docs/migration.md"];

/// What of a page names ours: all of it, or the last column of its tables, which says what it is now.
fn ours(page: &Path, text: String) -> String {
    if OF_OTHERS.iter().all(|other| page != Path::new(other)) {
        return text;
    }
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let last = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    last.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_metric_that_is_named_is_one() {
    let known = known_metrics();
    assert!(known.len() > 100, "docs/metrics.md is read");
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        let text = ours(&page, text);
        for name in metrics(&text).iter().flat_map(|pattern| expanded(pattern)) {
            if !is_known(&name, &known) {
                wrong.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "no metrics of docs/metrics.md:\n{}",
        wrong.join("\n")
    );
}

/// Texts between backticks.
fn quoted<'a>(prose: &[&'a str]) -> Vec<&'a str> {
    prose
        .iter()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_setting_that_is_named_is_one() {
    let reference = read(&root().join("docs/configuration.md"));
    let keys: Vec<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key)
        .collect();
    let sections: BTreeSet<&str> = keys
        .iter()
        .filter_map(|key| Some(key.split_once('.')?.0))
        .collect();
    let of_a_key = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '_' | '-');
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        let text = ours(&page, text);
        for text in quoted(&fences(&text).0) {
            let key = text.split([' ', '=']).next().unwrap_or_default();
            let Some((section, rest)) = key.split_once('.') else {
                continue;
            };
            let is_key = sections.contains(section) && !rest.is_empty() && key.chars().all(of_a_key);
            let is_file = ["md", "rs", "svg", "png", "json", "toml", "yaml"]
                .iter()
                .any(|ending| key.rsplit_once('.').is_some_and(|(_, last)| last == *ending));
            let inside = format!("{key}.");
            if is_key
                && !is_file
                && !keys
                    .iter()
                    .any(|known| *known == key || known.starts_with(&inside))
            {
                wrong.push(format!("{}: {key}", page.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "no keys of docs/configuration.md:\n{}",
        wrong.join("\n")
    );
}

/// All sources, with texts that go on in the next line joined.
fn sources() -> String {
    fn walk(folder: &Path, into: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                into.push_str(&read(&path));
            }
        }
    }
    let mut all = String::new();
    for folder in [
        "actors",
        "config",
        "exporter",
        "power-sources",
        "probes/ebpf",
        "probes/workloads",
    ] {
        walk(&root().join(folder).join("src"), &mut all);
    }
    let mut joined = String::with_capacity(all.len());
    for part in all.split("\\\n") {
        joined.push_str(part.trim_start_matches(' '));
    }
    joined
}

#[test]
fn every_log_line_that_is_quoted_is_in_the_sources() {
    let sources = sources();
    let mut checked = 0_usize;
    for (page, text) in pages() {
        let fences = fences(&text).1;
        for line in fences
            .iter()
            .filter(|(language, _)| *language == "log")
            .flat_map(|(_, lines)| lines)
        {
            for part in line.split('…').map(str::trim).filter(|part| !part.is_empty()) {
                checked += 1;
                assert!(
                    sources.contains(part),
                    "{}: no source has {part:?}",
                    page.display()
                );
            }
        }
    }
    assert!(checked > 0, "no page quotes a log line");
}

/// What stands between `// doc: NAME` and `// end` in a file.
fn part(file: &Path, name: &str) -> Vec<String> {
    let text = read(file);
    let mark = format!("// doc: {name}");
    let lines = text.lines().skip_while(|line| line.trim() != mark).skip(1);
    let lines: Vec<String> = lines
        .take_while(|line| line.trim() != "// end")
        .map(str::to_owned)
        .collect();
    assert!(!lines.is_empty(), "{} has no part {name:?}", file.display());
    lines
}

/// `<!-- from FILE: NAME -->` stands before a fence that quotes that part of the file.
#[test]
fn code_that_is_quoted_is_the_code() {
    let mut checked = 0_usize;
    for (page, text) in pages() {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let quote = line
                .strip_prefix("<!-- from ")
                .and_then(|rest| rest.strip_suffix(" -->"));
            let Some((file, name)) = quote.and_then(|quote| quote.split_once(": ")) else {
                continue;
            };
            assert_eq!(lines.next(), Some("```rust"), "{}: {line}", page.display());
            let shown: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            assert_eq!(
                shown,
                part(&root().join(file), name),
                "{}: {file}: {name}",
                page.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 0, "no page quotes code");
}
