//! `cargo xtask counts`: instructions instead of times, as the guard against what makes the server slower. They do not depend on what else the machine does.
//!
//! Builds the script of `bench` as users get the server, runs it under callgrind, and holds what each phase took to `bench/instructions.txt`. One
//! statement a phase. Skipped where callgrind is not to be had, or where the file's counts are of another kind of machine.

use crate::instructions::{Count, Finding, Phase};
use crate::profile;
use crate::steps::{Outcome, built_file, root};
use std::path::PathBuf;
use std::process::Command;

/// What the script's phases are called in its symbols.
const MODULE: &str = "script::phases";
/// The function that stands before each phase.
const BEFORE: &str = "made_ready";

/// Counts and compares; with `renew` the file is written instead.
pub(crate) fn check(renew: bool) -> Outcome {
    println!("\n== cargo xtask counts");
    if let Err(missing) = valgrind() {
        println!("counts: skipped: {missing}");
        return Outcome { skipped: 1, ..Outcome::default() };
    }
    match count() {
        Ok(now) if renew => match std::fs::write(file(), now.write()) {
            Ok(()) => Outcome { passed: now.phases.len(), ..Outcome::default() },
            Err(error) => Outcome::failed(&format!("cannot write {}: {error}", file().display())),
        },
        Ok(now) => match known() {
            Ok(known) => judge(&known, &now),
            Err(error) => Outcome::failed(&error),
        },
        Err(error) => Outcome::failed(&error),
    }
}

fn judge(known: &Count, now: &Count) -> Outcome {
    if known.host != now.host {
        println!("counts: skipped: bench/instructions.txt is of {}, and this is {}", known.host, now.host);
        return Outcome { skipped: 1, ..Outcome::default() };
    }
    if known.compiler != now.compiler {
        println!(
            "counts: bench/instructions.txt is of {}, and this is {}; compared all the same",
            known.compiler, now.compiler
        );
    }
    let mut outcome = Outcome::default();
    for finding in known.compare(now) {
        match finding {
            Finding::Same => outcome.passed += 1,
            Finding::Worse(text) => {
                outcome.failed += 1;
                eprintln!("counts: {text}");
            }
            Finding::Renew(text) => {
                outcome.passed += 1;
                println!("counts: {text}; renew bench/instructions.txt with `cargo xtask counts --write`");
            }
        }
    }
    if outcome.failed > 0 {
        eprintln!(
            "counts: if that is the price of something, `cargo xtask counts --write` renews bench/instructions.txt"
        );
    }
    println!("counts: {} passed, {} failed", outcome.passed, outcome.failed);
    outcome
}

fn file() -> PathBuf {
    root().join("bench/instructions.txt")
}

fn known() -> Result<Count, String> {
    let text = std::fs::read_to_string(file()).map_err(|error| {
        format!("cannot read bench/instructions.txt: {error}; make it with `cargo xtask counts --write`")
    })?;
    Count::parse(&text)
        .map_err(|error| format!("bench/instructions.txt: {error}; renew it with `cargo xtask counts --write`"))
}

/// Finds valgrind, or installs it from the system's packages where this process may.
fn valgrind() -> Result<(), String> {
    let is_there = || output(Command::new("valgrind").arg("--version")).is_ok();
    if is_there() {
        return Ok(());
    }
    let wanted = "the counts need valgrind; install it (Debian: `apt-get install valgrind`) and run this again";
    if output(Command::new("id").arg("-u")).is_ok_and(|user| user.trim() == "0") {
        let install = ["install", "--yes", "--no-install-recommends", "valgrind"];
        output(Command::new("apt-get").args(install).env("DEBIAN_FRONTEND", "noninteractive"))
            .map_err(|error| format!("{error}; {wanted}"))?;
    }
    if is_there() { Ok(()) } else { Err(wanted.to_owned()) }
}

fn count() -> Result<Count, String> {
    let build = ["build", "--release", "--quiet", "--package", "bench", "--bin", "script"];
    output(Command::new("cargo").args(build).current_dir(root()))?;
    let script = built_file("script");
    // Once without callgrind, which tells the phases.
    let mut phases = phases(&output(&mut Command::new(&script))?)?;
    let profile = format!("{script}.callgrind");
    let mut callgrind = Command::new("valgrind");
    callgrind.args(["--tool=callgrind", "--combine-dumps=yes", "--dump-line=no", "--compress-strings=no"]);
    callgrind.args(["--compress-pos=no", "--cache-sim=no", "--branch-sim=no"]);
    callgrind.arg(format!("--callgrind-out-file={profile}"));
    for name in phases.iter().map(|phase| phase.name.as_str()).chain([BEFORE]) {
        callgrind.arg(format!("--dump-after={MODULE}::{name}"));
    }
    // Dumps are added to a file that is there.
    let _ = std::fs::remove_file(&profile);
    output(callgrind.arg(&script))?;
    let text = std::fs::read(&profile).map_err(|error| format!("cannot read {profile}: {error}"))?;
    let mut dumps = profile::read(&String::from_utf8_lossy(&text));
    for phase in &mut phases {
        phase.functions = dumps.remove(&format!("{MODULE}::{}", phase.name)).unwrap_or_default();
        phase.total = phase.functions.values().sum();
        if phase.total == 0 {
            return Err(format!(
                "callgrind has nothing of {MODULE}::{}: was it inlined, or merged with its like?",
                phase.name
            ));
        }
    }
    let compiler = output(Command::new("rustc").arg("-vV"))?;
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let (compiler, host) = (compiler.lines().next().unwrap_or_default().to_owned(), host.to_owned());
    Ok(Count { compiler, host, phases })
}

/// `edit 20000 keystroke` a line.
fn phases(text: &str) -> Result<Vec<Phase>, String> {
    let phase = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let (name, units, unit) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        Some(Phase { name, units, unit, ..Phase::default() })
    };
    text.lines().map(|line| phase(line).ok_or(format!("the script says {line:?}, which is no phase"))).collect()
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
