//! `cargo xtask test`: everything that has to hold, on a machine that has Rust and Node and nothing else.
//!
//! Installs what the tests need (npm packages, and Chromium and valgrind where it may), runs each step to its end even if an earlier one failed, counts the tests, and says in the last line how
//! many passed. Called by people and by CI with the same words. Not a build system: each step is one command that can be typed by hand.

mod counts;
mod instructions;
mod licences;
mod profile;
mod steps;

use std::process::ExitCode;
use steps::Report;

const USAGE: &str =
    "usage: cargo xtask test            everything: fmt, clippy, licences, unit and integration tests, conformance, instruction counts
       cargo xtask test quick      without the conformance clients and the counts
       cargo xtask licences        only the dependencies' licences and sources
       cargo xtask counts          only the instruction counts against bench/instructions.txt
       cargo xtask counts --write  renews that file";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut report = Report::default();
    match words.as_slice() {
        ["test"] => steps::everything(&mut report),
        ["test", "quick"] => steps::without_clients(&mut report),
        ["counts"] => report.add("counts", counts::check(false)),
        ["counts", "--write"] => report.add("counts", counts::check(true)),
        ["licences"] => report.add("licences", licences::check()),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    report.close()
}
