//! The documents that speak of the tree, held to the tree.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Words in backticks that are paths: below the root, or below the crate that the list item is about.
fn paths(text: &str) -> Vec<(String, Option<String>)> {
    let (mut found, mut about) = (Vec::new(), None);
    for line in text.lines() {
        if line.starts_with("* ") || line.is_empty() {
            about = None;
        }
        for word in line.split('`').skip(1).step_by(2) {
            let is_path = !word.contains([' ', ':', '(', '<'])
                && (word.contains('/') || [".rs", ".md", ".toml"].iter().any(|end| word.ends_with(end)));
            if is_path {
                found.push((word.to_owned(), about.clone()));
            }
            if word.starts_with("crates/") && word.matches('/').count() == 1 {
                about = Some(word.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let named = paths(&read("ARCHITECTURE.md"));
    assert!(named.len() > 30, "only {} paths found", named.len());
    let missing: Vec<_> = named
        .iter()
        .filter(|(path, about)| {
            let below_crate = about.as_ref().is_some_and(|about| root().join(about).join(path).exists());
            !below_crate && !root().join(path).exists() && path != "concord.toml"
        })
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}

#[test]
fn every_dependency_has_its_line_in_the_architecture() {
    let table = read("ARCHITECTURE.md");
    let table = table.split_once("## Dependencies").expect("a section on dependencies").1;
    let own = ["document", "identity", "room", "dialect", "store", "server", "testkit", "load", "migrate", "bench"];
    for folder in [
        "crates/document",
        "crates/identity",
        "crates/room",
        "crates/dialect",
        "crates/store",
        "crates/server",
        "crates/testkit",
        "crates/load",
        "crates/migrate",
        "bench",
        "xtask",
    ] {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        let sections = manifest
            .split("\n[")
            .filter(|section| section.split(']').next().is_some_and(|name| name.ends_with("dependencies")));
        for line in sections.flat_map(|section| section.lines().skip(1)) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(
                name.is_empty() || own.contains(&name) || table.contains(name),
                "{folder} depends on {name}, which has no line in ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn the_architecture_fits_on_three_screens() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= 150, "{lines} lines; a screen has 50");
}

/// All text of the files below a folder that end so.
fn sources(folder: &Path, end: &str, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            sources(&path, end, text);
        } else if path.to_string_lossy().ends_with(end) {
            text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let mut code = String::new();
    sources(&root().join("crates"), ".rs", &mut code);
    let mut scenarios = String::new();
    sources(&root().join("conformance/scenarios"), ".mjs", &mut scenarios);
    let page = read("docs/security.md");
    let rows = page.lines().filter(|line| line.starts_with('|') && line.matches('|').count() == 4);
    let mut named = 0;
    for shown_by in rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next()) {
        for (at, word) in shown_by.split('`').enumerate().filter(|(at, _)| at % 2 == 1) {
            let after_scenario =
                shown_by.split('`').nth(at - 1).is_some_and(|before| before.trim_end().ends_with("scenario"));
            let exists = match after_scenario {
                true => scenarios.contains(&format!("name = '{word}'")),
                false => code.contains(&format!("fn {word}(")) || scenarios.contains(&format!("'{word}'")),
            };
            assert!(exists, "docs/security.md names {word}, which is no test");
            named += 1;
        }
    }
    assert!(named > 60, "only {named} tests are named");
}
