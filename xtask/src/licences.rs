//! Holds every dependency's licence and source to `deny.toml`. The file is cargo-deny's, so that where its advisory database can be reached
//! `cargo deny check` does the same and more; this needs nothing but cargo.

use crate::steps::{Outcome, root};
use std::process::Command;

/// Passes when every package of the dependency tree has an allowed licence and comes from the registry or from here.
pub(crate) fn check() -> Outcome {
    let (allowed, tree) = match (allowed(), tree()) {
        (Ok(allowed), Ok(tree)) => (allowed, tree),
        (Err(error), _) | (_, Err(error)) => return Outcome::failed(&error),
    };
    let refused: Vec<String> = tree.iter().filter_map(|package| package.refusal(&allowed)).collect();
    for refusal in &refused {
        eprintln!("licences: {refusal}");
    }
    println!("licences: {} packages, {} refused", tree.len(), refused.len());
    Outcome { passed: usize::from(refused.is_empty()), failed: usize::from(!refused.is_empty()), skipped: 0 }
}

struct Package {
    name: String,
    licence: String,
}

impl Package {
    fn refusal(&self, allowed: &[String]) -> Option<String> {
        // `name v1.2.3` is the registry's; anything else has its source in brackets.
        let source = self.name.split_once(" (").map(|(_, source)| source.trim_end_matches(')'));
        let foreign = source.filter(|source| source.contains("://"));
        if let Some(source) = foreign {
            return Some(format!("{} comes from {source}, not from the registry", self.name));
        }
        (!is_allowed(&self.licence, allowed))
            .then(|| format!("{} is under {:?}, which deny.toml does not allow", self.name, self.licence))
    }
}

/// An SPDX expression without brackets inside brackets: alternatives of conjunctions.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let flat = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let flat = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    flat.split(" OR ")
        .any(|alternative| alternative.split(" AND ").all(|licence| allowed.iter().any(|known| known == licence)))
}

fn allowed() -> Result<Vec<String>, String> {
    let text =
        std::fs::read_to_string(root().join("deny.toml")).map_err(|error| format!("cannot read deny.toml: {error}"))?;
    let list = text.split_once("allow = [").and_then(|(_, rest)| rest.split_once(']'));
    let (list, _) = list.ok_or("deny.toml has no list `allow = [...]`")?;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

fn tree() -> Result<Vec<Package>, String> {
    let arguments = [
        "tree",
        "--workspace",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}|{l}",
    ];
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(root())
        .output()
        .map_err(|error| format!("cannot run cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    let packages = lines.iter().filter_map(|line| line.split_once('|'));
    Ok(packages.map(|(name, licence)| Package { name: name.to_owned(), licence: licence.to_owned() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_alternatives_of_conjunctions() {
        let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "Unicode-3.0".to_owned()];
        let cases = [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("MIT/Apache-2.0", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("GPL-3.0", false),
            ("MIT AND GPL-3.0", false),
            ("", false),
        ];
        for (expression, expected) in cases {
            assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
        }
    }
}
