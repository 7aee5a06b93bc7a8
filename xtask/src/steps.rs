//! The steps of `cargo xtask test`, in the order in which a mistake is cheapest to find, and the count of what passed.

use crate::{counts, licences};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Oldest Node that the clients' packages run on.
const NODE_MAJOR_MIN: u32 = 20;

/// What the browser of the pages may be called, as in conformance/lib/browser.mjs.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What a step counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Outcome {
    pub(crate) fn failed(reason: &str) -> Self {
        eprintln!("{reason}");
        Self { failed: 1, ..Self::default() }
    }
}

/// All steps so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    total: Outcome,
}

impl Report {
    pub(crate) fn add(&mut self, step: &str, outcome: Outcome) {
        let Outcome { passed, failed, skipped } = outcome;
        self.lines.push(format!("{step}: {passed} passed, {failed} failed, {skipped} skipped"));
        self.total.passed += passed;
        self.total.failed += failed;
        self.total.skipped += skipped;
    }

    /// Prints a line a step, and the sum last.
    pub(crate) fn close(self) -> ExitCode {
        println!("\n{}", self.lines.join("\n"));
        let Outcome { passed, failed, skipped } = self.total;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

pub(crate) fn everything(report: &mut Report) {
    without_clients(report);
    clients(report);
}

pub(crate) fn without_clients(report: &mut Report) {
    report.add("fmt", command("cargo", &["fmt", "--all", "--check"]));
    report.add(
        "clippy",
        command("cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]),
    );
    report.add("licences", licences::check());
    report.add(
        "rust tests",
        counted("cargo", &["test", "--workspace", "--exclude", "bench", "--no-fail-fast"], rust_tests),
    );
}

/// The unmodified npm clients and the real yjs against the release build.
fn clients(report: &mut Report) {
    if let Err(missing) = node() {
        return report.add("conformance", Outcome::failed(&missing));
    }
    let built = command(
        "cargo",
        &["build", "--release", "--package", "server", "--package", "document", "--bins", "--examples"],
    );
    report.add("release build", built);
    let installed = install("conformance");
    report.add("npm packages", installed);
    if built.failed + installed.failed > 0 {
        return;
    }
    // Without these, the scenario `pages` says what it misses.
    report.add("npm packages of the pages", install("conformance/pages"));
    report.add("chromium", chromium());
    let (store, echo, server) = (built_file("examples/stdio"), built_file("examples/echo"), built_file("concord"));
    // Neither depends on time, and each takes a core for minutes. The counts use nearly all of the release build.
    let (documents, counts) = std::thread::scope(|scope| {
        let documents = scope.spawn(|| node_step(&["documents.mjs", &store]));
        let counts = counts::check(false);
        (documents.join().unwrap_or_else(|_| Outcome::failed("documents.mjs: the step has panicked")), counts)
    });
    report.add("documents against yjs", documents);
    report.add("counts", counts);
    report.add("websocket codec", node_step(&["codec.mjs", &echo]));
    report.add("editing traces", node_step(&["traces.mjs", &store]));
    report.add("conformance", node_step(&["run.mjs", &server]));
}

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// What the release build has made.
pub(crate) fn built_file(name: &str) -> String {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release").join(name).display().to_string()
}

fn node() -> Result<(), String> {
    let wanted = format!(
        "the conformance clients need Node.js {NODE_MAJOR_MIN} or later and npm; install them and run this again"
    );
    for tool in ["node", "npm"] {
        let output = Command::new(tool)
            .arg("--version")
            .output()
            .map_err(|error| format!("cannot run {tool}: {error}; {wanted}"))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned();
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if tool == "node" && major < NODE_MAJOR_MIN {
            return Err(format!("{tool} is {version}; {wanted}"));
        }
    }
    Ok(())
}

/// `npm ci`, unless what is installed is what the lock file says.
fn install(packages: &str) -> Outcome {
    let folder = root().join(packages);
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let (lock, installed) =
        (changed(&folder.join("package-lock.json")), changed(&folder.join("node_modules/.package-lock.json")));
    if installed.is_some() && installed >= lock {
        return Outcome { passed: 1, ..Outcome::default() };
    }
    run(
        Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder),
        &format!("npm ci in {packages}"),
    )
}

/// Finds the browser for the scenario `pages`, or installs it from the system's packages where this process may.
fn chromium() -> Outcome {
    let is_there = || {
        let named = std::env::var_os("CHROMIUM");
        let names: Vec<OsString> =
            named.map_or_else(|| BROWSERS.iter().map(OsString::from).collect(), |name| vec![name]);
        names.iter().any(|name| quietly(Command::new(name).arg("--version")).is_ok())
    };
    if is_there() {
        return Outcome { passed: 1, ..Outcome::default() };
    }
    println!("\n== chromium");
    let mut missing = "chromium is not installed".to_owned();
    if quietly(Command::new("id").arg("-u")).is_ok_and(|user| user.trim() == "0") {
        // A fresh machine knows no packages yet. The fonts make the screenshots legible.
        let update = ["update", "--quiet"];
        let install = ["install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"];
        for arguments in [&update[..], &install[..]] {
            let mut apt = Command::new("apt-get");
            match quietly(apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive")) {
                Ok(_) => {}
                Err(error) => missing = error,
            }
        }
    }
    if is_there() {
        return Outcome { passed: 1, ..Outcome::default() };
    }
    println!(
        "chromium: skipped: {missing}; the scenario `pages` needs it: install it (Debian: `apt-get install chromium`) or name a browser in CHROMIUM, and run this again"
    );
    Outcome { skipped: 1, ..Outcome::default() }
}

/// What a command prints, or how it failed with what it complained of.
fn quietly(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn command(program: &str, arguments: &[&str]) -> Outcome {
    let name = format!("{program} {}", arguments.join(" "));
    run(Command::new(program).args(arguments).current_dir(root()), &name)
}

fn run(command: &mut Command, name: &str) -> Outcome {
    println!("\n== {name}");
    match command.status() {
        Ok(status) if status.success() => Outcome { passed: 1, ..Outcome::default() },
        Ok(status) => Outcome::failed(&format!("{name}: {status}")),
        Err(error) => Outcome::failed(&format!("{name}: cannot be run: {error}")),
    }
}

fn node_step(arguments: &[&str]) -> Outcome {
    counted_in(
        Command::new("node").args(arguments).current_dir(root().join("conformance")),
        &arguments.join(" "),
        script,
    )
}

fn counted(program: &str, arguments: &[&str], read: fn(&str) -> Option<Outcome>) -> Outcome {
    counted_in(
        Command::new(program).args(arguments).current_dir(root()),
        &format!("{program} {}", arguments.join(" ")),
        read,
    )
}

/// Runs a command, shows its output as it comes, and sums the closing lines that it prints.
fn counted_in(command: &mut Command, name: &str, read: impl Fn(&str) -> Option<Outcome>) -> Outcome {
    use std::io::{BufRead, BufReader};
    println!("\n== {name}");
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::failed(&format!("{name}: cannot be run: {error}")),
    };
    let mut sum = Outcome::default();
    for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok)
    {
        println!("{line}");
        if let Some(closing) = read(&line) {
            sum = Outcome {
                passed: sum.passed + closing.passed,
                failed: sum.failed + closing.failed,
                skipped: sum.skipped + closing.skipped,
            };
        }
    }
    match child.wait() {
        Ok(status) if status.success() || sum.failed > 0 => sum,
        other => Outcome { failed: 1, ..Outcome::failed(&format!("{name}: {other:?}")) },
    }
}

/// `test result: ok. 9 passed; 0 failed; 0 ignored; …`
fn rust_tests(line: &str) -> Option<Outcome> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word| counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some(Outcome { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored").unwrap_or(0) })
}

/// `documents: 1000 passed, 0 failed[, 0 skipped]`
fn script(line: &str) -> Option<Outcome> {
    let (_, counts) = line.split_once(": ")?;
    let count = |word| counts.split(", ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some(Outcome { passed: count("passed")?, failed: count("failed")?, skipped: count("skipped").unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let rust = rust_tests(
            "test result: FAILED. 9 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s",
        );
        assert_eq!(rust.map(|outcome| (outcome.passed, outcome.failed, outcome.skipped)), Some((9, 2, 1)));
        let node = script("documents: 1000 passed, 0 failed");
        assert_eq!(node.map(|outcome| (outcome.passed, outcome.failed, outcome.skipped)), Some((1000, 0, 0)));
        assert!(rust_tests("running 9 tests").is_none() && script("100 of 100 seeds, 0 failed").is_none());
    }
}
