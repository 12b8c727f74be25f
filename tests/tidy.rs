//! The style of this repository, as far as a test can see it.
//!
//! There is no list of exemptions: whoever needs one changes the rule here, and
//! says why. What rustfmt and clippy check is left to them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 450;
const COLUMNS_MAX: usize = 100;
const BYTES_MAX: u64 = 1 << 20;

/// The layers of the crate, and which of them each may use besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("format", &[]),
    ("error", &["format"]),
    ("storage", &[]),
    ("container", &["error", "format", "storage"]),
    ("id", &["error"]),
    ("json", &["error", "container"]),
    ("session", &["error", "format", "storage", "container", "id", "json"]),
    ("testing", &["error", "format", "storage", "container", "id", "json", "session"]),
];

/// Names that say nothing about what is in a file.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "inner"];

struct Source {
    /// From the root of the repository.
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// A file, or a folder of files, of tests only.
    fn is_test(&self) -> bool {
        self.path.components().any(|part| part.as_os_str() == "tests")
            || self.path.ends_with("tests.rs")
    }

    /// The lines with their numbers, up to the tests at the end of the file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().zip(1..).map(|(line, number)| (number, line));
        lines.take_while(|(_, line)| line.trim() != "mod tests {")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let built = ["target", "corpus", "seeds", "minimal", "artifacts"]
                .iter()
                .any(|name| path.ends_with(name));
            if path.is_dir() && !built {
                folders.push(path);
            } else if endings.iter().any(|ending| path.extension().is_some_and(|e| e == *ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let paths = folders.iter().flat_map(|folder| files(folder, &["rs"]));
    let sources: Vec<_> = paths
        .map(|path| Source {
            text: fs::read_to_string(&path).unwrap(),
            path: path.strip_prefix(root()).unwrap().to_owned(),
        })
        .collect();
    assert!(!sources.is_empty());
    sources
}

const ALL: &[&str] = &["src", "tests", "benches", "examples", "fuzz", "miri", "models"];

/// Fails with all findings at once.
fn expect_none(what: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

#[test]
fn every_file_says_first_what_it_is_about() {
    let sources = sources(ALL);
    let silent = sources.iter().filter(|source| !source.text.starts_with("//! "));
    expect_none("no head", silent.map(Source::name).collect());
}

#[test]
fn no_file_is_long() {
    let long = sources(&["src"])
        .into_iter()
        .filter(|source| !source.is_test())
        .map(|source| (source.code().count(), source.name()))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, name)| format!("{name}: {lines} lines"));
    expect_none("longer than is read at a sitting", long.collect());
}

#[test]
fn no_file_is_named_for_nothing() {
    let named = sources(ALL).into_iter().filter(|source| {
        let stem = source.path.file_stem().unwrap().to_str().unwrap();
        EMPTY_NAMES.contains(&stem)
    });
    expect_none("a name that says nothing", named.map(|source| source.name()).collect());
}

#[test]
fn lines_are_narrow_and_plain() {
    let mut findings = Vec::new();
    for source in sources(ALL) {
        for (line, number) in source.text.lines().zip(1..) {
            let name = source.name();
            if line.chars().count() > COLUMNS_MAX {
                findings.push(format!("{name}:{number}: wider than {COLUMNS_MAX}"));
            }
            if line.ends_with(' ') || line.contains('\t') {
                findings.push(format!("{name}:{number}: space at the end, or a tab"));
            }
            if source.path.starts_with("src") && !line.is_ascii() {
                findings.push(format!("{name}:{number}: not ASCII"));
            }
        }
    }
    expect_none("lines", findings);
}

#[test]
fn nothing_is_left_to_be_done() {
    // In two parts, so that this file passes itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("dbg", "!")];
    let mut findings = Vec::new();
    for source in sources(ALL) {
        for (line, number) in source.text.lines().zip(1..) {
            if marks.iter().any(|mark| line.contains(mark)) {
                findings.push(format!("{}:{number}: {}", source.name(), line.trim()));
            }
        }
    }
    expect_none("left over", findings);
}

#[test]
fn each_layer_uses_only_those_below_it() {
    let mut findings = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !source.is_test()) {
        let inside = source.path.strip_prefix("src").unwrap();
        let layer = inside.iter().next().unwrap().to_str().unwrap();
        let layer = layer.trim_end_matches(".rs");
        for (number, line) in source.code() {
            let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
                continue;
            };
            for used in used_layers(line) {
                let known = LAYERS.iter().any(|(name, _)| *name == used);
                if known && used != layer && !allowed.contains(&used) {
                    findings.push(format!("{}:{number}: {}", source.name(), line.trim()));
                }
            }
        }
    }
    expect_none("a layer that uses one it may not", findings);
}

/// The modules of this crate that a line of code names from its root.
fn used_layers(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or("");
    code.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn unsafe_code_is_in_one_file() {
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let own = source.path.ends_with("src/storage/sys.rs");
        for (number, line) in source.code() {
            let code = line.split("//").next().unwrap_or("");
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if !own && words.clone().any(|word| word == "unsafe") {
                findings.push(format!("{}:{number}: {}", source.name(), line.trim()));
            }
        }
    }
    expect_none("unsafe code elsewhere", findings);
}

/// The calls that a trait or a list of this text names, from `start` to the next line
/// that is a closing brace.
fn calls_of<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let (_, rest) = text.split_once(start).unwrap();
    let lines = rest.lines().take_while(|line| *line != "}");
    let calls = lines.filter_map(|line| line.strip_prefix("    fn ")?.split_once('('));
    calls.map(|(name, _)| name).collect()
}

#[test]
fn the_wrappers_of_tests_pass_every_call_of_a_storage_on() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (storage, wrapped) = (read("src/storage/mod.rs"), read("tests/outside/wrapped.rs"));
    let passed_on = calls_of(&wrapped, "pass_on! {");
    let calls = calls_of(&storage, "pub trait Storage");
    assert!(calls.len() > 20, "{calls:?}");
    let forgotten = calls.into_iter().filter(|call| !passed_on.contains(call));
    expect_none("not passed on", forgotten.map(str::to_owned).collect());
}

#[test]
fn no_file_of_the_repository_is_huge() {
    let endings = ["rs", "md", "toml", "lock", "room", "cloakroom", "txt", "bin"];
    let folders = ALL.iter().chain(&["tests/data", ".ci"]);
    let paths = folders.flat_map(|folder| files(folder, &endings));
    let huge = paths.filter(|path| fs::metadata(path).unwrap().len() > BYTES_MAX);
    expect_none("larger than 1 MiB", huge.map(|path| path.display().to_string()).collect());
}

#[test]
fn the_changelog_has_a_place_for_what_is_new() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(text.lines().any(|line| line == "## Unreleased"));
}
