//! Who may depend on whom. Imports mirror the flow: a stage may look upstream,
//! never downstream, and `ingest` and `transform` meet only at a topic.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crate → the crates of the workspace it may depend on.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("ahual-schemas", &[]),
    ("ahual-ingest", &["ahual-schemas"]),
    ("ahual-transform", &["ahual-schemas"]),
    ("ahual-sinks", &["ahual-schemas", "ahual-transform"]),
    ("ahual", &["ahual-schemas", "ahual-ingest", "ahual-transform", "ahual-sinks"]),
];

/// What brings I/O with it. The vocabulary has none, not even through a dependency.
const EFFECTS: [&str; 9] =
    ["axum", "datafusion", "deltalake", "hyper", "object_store", "rdkafka", "redb", "reqwest", "tokio"];

/// Declared for their features alone, so no source names them: (crate, dependency).
const NAMED_FOR_FEATURES: [(&str, &str); 0] = [];

#[test]
fn stages_look_upstream_never_downstream() {
    let members = members();
    let expected: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = members.keys().map(String::as_str).collect();
    assert_eq!(found, expected, "a crate came or went: say in ALLOWED whom it may depend on");

    for (name, allowed) in ALLOWED {
        for dependency in dependencies(&members[name]).filter(|d| found.contains(d["name"].as_str().unwrap())) {
            let on = dependency["name"].as_str().unwrap();
            // Tests, too: what a test of one stage needs of another belongs to the root's tests.
            assert!(allowed.contains(&on), "{name} depends on {on}; it may depend on {allowed:?} only");
        }
    }
}

#[test]
fn the_vocabulary_does_no_input_or_output() {
    let tree =
        cargo(&["tree", "--package", "ahual-schemas", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let reached: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(reached.contains("serde"), "the tree was not read: {tree}");
    for effect in EFFECTS {
        assert!(
            !reached.contains(effect),
            "ahual-schemas reaches {effect}; find out how with `cargo tree -p ahual-schemas -i {effect}`"
        );
    }
}

#[test]
fn every_declared_dependency_is_used() {
    let mut idle = Vec::new();
    for (name, member) in &members() {
        let folder = Path::new(member["manifest_path"].as_str().unwrap()).parent().unwrap();
        let sources: String = ["src", "tests", "benches"]
            .iter()
            .flat_map(|part| rust_files(&folder.join(part)))
            // This file names crates in order to ban them.
            .filter(|file| !file.ends_with(file!()))
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        for dependency in dependencies(member) {
            let on = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap();
            let in_code = on.replace('-', "_");
            if !mentions(&sources, &in_code) && !NAMED_FOR_FEATURES.contains(&(name, on)) {
                idle.push(format!("{name} → {on}"));
            }
        }
    }
    assert!(idle.is_empty(), "declared but never named in a source; remove from Cargo.toml: {idle:#?}");
}

#[test]
fn no_fold_reads_a_wall_clock() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("transform/src");
    let folds: Vec<PathBuf> = rust_files(&sources)
        .into_iter()
        .filter(|file| file.strip_prefix(&sources).unwrap().to_string_lossy().starts_with("fold"))
        .collect();
    assert!(!folds.is_empty(), "the fold is no longer under transform/src/fold*; tell this test where it went");
    for file in folds {
        let text = std::fs::read_to_string(&file).unwrap();
        for clock in ["Utc::now", "Local::now", "SystemTime::now", "Instant::now"] {
            assert!(!text.contains(clock), "{} reads {clock}; a fold sees events only", file.display());
        }
    }
}

/// The workspace's packages by name, as `cargo metadata` tells of them.
fn members() -> BTreeMap<String, Value> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), package.clone())).collect()
}

fn dependencies(member: &Value) -> impl Iterator<Item = &Value> {
    member["dependencies"].as_array().unwrap().iter()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        // What the build has just used is here: ask nobody.
        .args(["--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo speaks UTF-8")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Whether `name` stands in `text` as a whole word.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(part_of_word) && !text[at + name.len()..].starts_with(part_of_word))
}
