//! `bench/instructions.txt`: how many instructions each phase of the script takes, and which functions take them. Written, read, and held against a new
//! count here. Knows nothing of how they are counted.

use crate::profile::Functions;
use std::fmt::Write;

/// More than this in a hundred is a change. Counts of the same program differ by less than a fifth in a hundred.
const PERCENT_MAX: u64 = 5;
/// Functions named where a phase has grown.
const CULPRITS: usize = 5;
/// Functions noted of a phase: enough that a new one, or one that was small, is seen as such.
const FUNCTIONS_MAX: usize = 60;
/// A function that takes less than this part of its phase is not noted.
const FUNCTION_PART_MIN: u64 = 500;

/// A phase of the script.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Phase {
    pub(crate) name: String,
    /// Of what it does how many, as in 400 joins.
    pub(crate) units: u64,
    pub(crate) unit: String,
    /// Instructions in all.
    pub(crate) total: u64,
    /// Instructions of the functions themselves.
    pub(crate) functions: Functions,
}

/// One count of everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Count {
    /// As `rustc -V` says it.
    pub(crate) compiler: String,
    /// As `rustc -vV` says it: another machine has other instructions.
    pub(crate) host: String,
    pub(crate) phases: Vec<Phase>,
}

/// What is said of one phase.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    /// About as before.
    Same,
    /// Fails. The text has the phase and the functions.
    Worse(String),
    /// Does not fail, but something should be done.
    Renew(String),
}

impl Count {
    /// As people and `parse` read it.
    pub(crate) fn write(&self) -> String {
        let mut out = format!(
            "# Instructions of bench/src/bin/script, by phase and function; counted and renewed by `cargo xtask counts --write`.\n\
             compiler: {}\nhost: {}\n",
            self.compiler, self.host
        );
        for phase in &self.phases {
            let each = phase.total as f64 / phase.units as f64;
            let (total, units) = (grouped(phase.total), grouped(phase.units));
            let _ = writeln!(out, "\n{}: {total} for {units} x {}, each {each:.0}", phase.name, phase.unit);
            let mut functions: Vec<_> = phase.functions.iter().collect();
            functions.sort_by_key(|&(name, &count)| (std::cmp::Reverse(count), name));
            let noted = functions.into_iter().filter(|&(_, count)| count * FUNCTION_PART_MIN >= phase.total);
            for (name, &count) in noted.take(FUNCTIONS_MAX) {
                let _ = writeln!(out, "{:>15}  {name}", grouped(count));
            }
        }
        out
    }

    /// Reads what `write` wrote. The error says which line is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut count = Self::default();
        for (number, line) in text.lines().enumerate() {
            let read = if let Some(compiler) = line.strip_prefix("compiler: ") {
                compiler.clone_into(&mut count.compiler);
                Some(())
            } else if let Some(host) = line.strip_prefix("host: ") {
                host.clone_into(&mut count.host);
                Some(())
            } else if line.is_empty() || line.starts_with('#') {
                Some(())
            } else if line.starts_with(' ') {
                count.phases.last_mut().and_then(|phase| {
                    let (instructions, name) = line.trim_start().split_once("  ")?;
                    phase.functions.insert(name.to_owned(), ungrouped(instructions)?);
                    Some(())
                })
            } else {
                head(line).map(|phase| count.phases.push(phase))
            };
            read.ok_or(format!("line {} is neither a phase nor a function: {line:?}", number + 1))?;
        }
        Ok(count)
    }

    /// One finding a phase: of all that were counted, and of those that are gone.
    pub(crate) fn compare(&self, now: &Self) -> Vec<Finding> {
        let known = |name: &str| self.phases.iter().find(|phase| phase.name == name);
        let gone = self.phases.iter().filter(|old| !now.phases.iter().any(|phase| phase.name == old.name));
        let gone = gone.map(|old| Finding::Renew(format!("{} is not in the script any more", old.name)));
        let findings = now.phases.iter().map(|phase| match known(&phase.name) {
            Some(old) if (old.units, &old.unit) == (phase.units, &phase.unit) => old.against(phase),
            Some(_) => Finding::Renew(format!("{} does something else than before", phase.name)),
            None => Finding::Renew(format!("{} is new", phase.name)),
        });
        findings.chain(gone).collect()
    }
}

impl Phase {
    fn against(&self, now: &Self) -> Finding {
        let percent = percent(self.total, now.total);
        let totals = format!("{} -> {} ({percent:+.1} %)", grouped(self.total), grouped(now.total));
        if now.total * 100 < self.total * (100 - PERCENT_MAX) {
            return Finding::Renew(format!("{} takes less than before: {totals}", self.name));
        }
        if now.total * 100 <= self.total * (100 + PERCENT_MAX) {
            return Finding::Same;
        }
        let mut grown: Vec<(u64, &String, u64, u64)> = now
            .functions
            .iter()
            .filter_map(|(name, &after)| {
                let before = self.functions.get(name).copied();
                // What is not noted may have been there, up to what would have been noted.
                let before = before.or((after * FUNCTION_PART_MIN >= self.total).then_some(0))?;
                Some((after.checked_sub(before).filter(|&more| more > 0)?, name, before, after))
            })
            .collect();
        grown.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
        let mut text =
            format!("{} takes more than {PERCENT_MAX} % more instructions: {totals}; most of it in", self.name);
        for (more, name, before, after) in grown.into_iter().take(CULPRITS) {
            let before = match before {
                0 => "new, or few".to_owned(),
                before => format!("{}, {:+.1} %", grouped(before), self::percent(before, after)),
            };
            let _ = write!(text, "\n    {name}: {} more ({} now; before: {before})", grouped(more), grouped(after));
        }
        Finding::Worse(text)
    }
}

fn percent(before: u64, after: u64) -> f64 {
    (after as f64 / before.max(1) as f64 - 1.0) * 100.0
}

/// `edit: 49,115,891 for 20,000 x keystroke, each 2456`
fn head(line: &str) -> Option<Phase> {
    let (name, rest) = line.split_once(": ")?;
    let (total, rest) = rest.split_once(" for ")?;
    let (units, rest) = rest.split_once(" x ")?;
    let (unit, _) = rest.split_once(", each ")?;
    let (total, units) = (ungrouped(total)?, ungrouped(units)?);
    Some(Phase { name: name.to_owned(), units, unit: unit.to_owned(), total, ..Phase::default() })
}

/// `12,345`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn ungrouped(text: &str) -> Option<u64> {
    text.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Written<'a> = (&'a str, u64, &'a [(&'a str, u64)]);

    fn count_of(phases: &[Written<'_>]) -> Count {
        let functions = |list: &[(&str, u64)]| list.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
        let phase = |&(name, total, list): &Written<'_>| Phase {
            name: name.to_owned(),
            units: 20,
            unit: "keystroke".to_owned(),
            total,
            functions: functions(list),
        };
        let (compiler, host) = ("rustc 1.2.3 (abc)".to_owned(), "x86_64".to_owned());
        Count { compiler, host, phases: phases.iter().map(phase).collect() }
    }

    #[test]
    fn what_is_written_is_read_again_without_the_smallest_functions() {
        let written = count_of(&[("edit", 1_234_567, &[("<a as b>::c", 1_000_000), ("d", 2_469), ("e", 2_470)])]);
        let read = count_of(&[("edit", 1_234_567, &[("<a as b>::c", 1_000_000), ("e", 2_470)])]);
        let text = written.write();
        assert!(
            text.contains("\nedit: 1,234,567 for 20 x keystroke, each 61728\n      1,000,000  <a as b>::c\n"),
            "{text}"
        );
        assert_eq!(Count::parse(&text), Ok(read));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, line) in [("edit 5", 1), ("compiler: x\n\n  5  f", 3), ("edit: 5 for 1 x key, each 5\n  f", 2)] {
            let error = Count::parse(text).unwrap_err();
            assert!(error.starts_with(&format!("line {line} ")), "{error}");
        }
    }

    #[test]
    fn growth_fails_with_the_functions_that_grew_and_anything_else_is_told() {
        let old = count_of(&[("edit", 1000, &[("add", 600), ("cut", 300)])]);
        type Case<'a> = (&'a [(&'a str, u64, &'a [(&'a str, u64)])], &'a str, &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            (&[("edit", 1050, &[("add", 650), ("cut", 300)])], "same", &[]),
            (&[("edit", 950, &[])], "same", &[]),
            (
                &[("edit", 1200, &[("add", 580), ("cut", 420), ("new", 98), ("also", 100), ("small", 1)])],
                "worse",
                &[
                    "edit takes more than 5 % more instructions: 1,000 -> 1,200 (+20.0 %)",
                    "cut: 120 more (420 now; before: 300, +40.0 %)",
                    "also: 100 more (100 now; before: new, or few)",
                    "new: 98",
                ],
            ),
            (&[("edit", 900, &[])], "renew", &["edit takes less than before: 1,000 -> 900 (-10.0 %)"]),
            (&[], "renew", &["edit is not in the script any more"]),
        ];
        for (now, expected, words) in cases {
            let findings = old.compare(&count_of(now));
            let [finding] = findings.as_slice() else { panic!("{findings:?}") };
            let (kind, text) = match finding {
                Finding::Same => ("same", ""),
                Finding::Worse(text) => ("worse", text.as_str()),
                Finding::Renew(text) => ("renew", text.as_str()),
            };
            assert_eq!(kind, *expected, "{now:?}");
            let places: Vec<_> = words.iter().map(|word| text.find(word)).collect();
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
            assert!(!text.contains("add:") && !text.contains("small:"), "{text}");
        }
        assert_eq!(
            old.compare(&count_of(&[("edit", 1000, &[]), ("tell", 1, &[])])),
            [Finding::Same, Finding::Renew("tell is new".to_owned())]
        );
    }
}
