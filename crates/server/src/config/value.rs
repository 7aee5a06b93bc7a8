//! From text to a typed field: what a setting's value may be, and the words that say so. Called while a configuration is put
//! together. Knows no setting by name.

use std::fmt;

use super::Config;
use crate::fetch::Url;
use crate::request::json_string;

/// A value as a source gives it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// Environment, command line, or a quoted string in the file.
    Text(String),
    /// A number, truth value or anything else without quotes in the file.
    Bare(String),
    /// An array of strings in the file.
    List(Vec<String>),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Text(text) => f.write_str(&json_string(text)),
            Raw::Bare(text) => f.write_str(text),
            Raw::List(items) => f.write_str(&toml_list(items)),
        }
    }
}

/// The field of a setting, and what it accepts. The unit of numbers is in the setting's name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bool(fn(&mut Config) -> &mut bool),
    Number {
        field: fn(&mut Config) -> &mut u64,
        min: u64,
        max: u64,
        unit: &'static str,
    },
    /// Bytes: `16 MiB`, `64KiB`, or a plain number.
    Size {
        field: fn(&mut Config) -> &mut u64,
        min: u64,
        max: u64,
    },
    Choice {
        names: fn() -> Vec<&'static str>,
        set: fn(&mut Config, &str) -> Option<()>,
    },
    /// Text with rules of its own, which `allowed` puts into words.
    Text {
        allowed: &'static str,
        set: fn(&mut Config, &str) -> Option<()>,
    },
    /// A text that is not empty.
    Name {
        field: fn(&mut Config) -> &mut String,
        allowed: &'static str,
    },
    /// An address of another service; empty for none.
    Address {
        field: fn(&mut Config) -> &mut Option<Url>,
        allowed: &'static str,
    },
    /// Any strings.
    Texts {
        field: fn(&mut Config) -> &mut Vec<String>,
        allowed: &'static str,
    },
    /// Strings; separated by commas where a source has only text.
    List {
        allowed: &'static str,
        set: fn(&mut Config, &[String]) -> Option<()>,
    },
}

impl Kind {
    /// Sets the field, and returns the value as TOML; `None`, and nothing is set, when the value is not allowed.
    pub(super) fn assign(&self, config: &mut Config, raw: &Raw) -> Option<String> {
        if let Kind::List { set, .. } = self {
            let items = list_items(raw)?;
            return set(config, &items).map(|()| toml_list(&items));
        }
        if let Kind::Texts { field, .. } = self {
            let items = list_items(raw).filter(|items| items.iter().all(|item| !item.is_empty()))?;
            field(config).clone_from(&items);
            return Some(toml_list(&items));
        }
        let (Raw::Text(text) | Raw::Bare(text)) = raw else { return None };
        let text = text.trim();
        match self {
            Kind::Bool(field) => {
                *field(config) = text.parse().ok()?;
                Some(text.to_owned())
            }
            Kind::Number { field, min, max, .. } => {
                *field(config) = text.parse().ok().filter(|number| (min..=max).contains(&number))?;
                Some(field(config).to_string())
            }
            Kind::Size { field, min, max } => {
                *field(config) = parse_size(text).filter(|bytes| (min..=max).contains(&bytes))?;
                Some(json_string(&size_text(*field(config))))
            }
            Kind::Choice { set, .. } | Kind::Text { set, .. } if matches!(raw, Raw::Text(_)) => {
                set(config, text).map(|()| json_string(text))
            }
            Kind::Name { field, .. } if matches!(raw, Raw::Text(_)) && !text.is_empty() => {
                text.clone_into(field(config));
                Some(json_string(text))
            }
            Kind::Address { field, .. } if matches!(raw, Raw::Text(_)) => {
                *field(config) = if text.is_empty() { None } else { Some(Url::parse(text)?) };
                Some(json_string(text))
            }
            _ => None,
        }
    }

    /// What is allowed, to follow "it must be".
    pub(super) fn allowed(&self) -> String {
        match self {
            Kind::Bool(_) => "true or false".to_owned(),
            Kind::Number { min, max, unit, .. } => format!("a whole number from {min} to {max}{unit}"),
            Kind::Size { min, max, .. } => {
                format!(
                    "a size from {} to {}, such as \"16 MiB\", \"64KiB\" or plain bytes",
                    size_text(*min),
                    size_text(*max)
                )
            }
            Kind::Choice { names, .. } => match names().split_last() {
                Some((last, others)) => format!("one of {} or {last}", others.join(", ")),
                None => String::new(),
            },
            Kind::Text { allowed, .. }
            | Kind::Name { allowed, .. }
            | Kind::Address { allowed, .. }
            | Kind::Texts { allowed, .. }
            | Kind::List { allowed, .. } => (*allowed).to_owned(),
        }
    }
}

/// The variant with this name.
pub(super) fn choose<T: Copy>(named: &[(&str, T)], name: &str) -> Option<T> {
    named.iter().find(|(known, _)| *known == name).map(|(_, variant)| *variant)
}

fn list_items(raw: &Raw) -> Option<Vec<String>> {
    match raw {
        Raw::List(items) => Some(items.clone()),
        Raw::Text(text) => {
            Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
        Raw::Bare(_) => None,
    }
}

fn toml_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| json_string(item)).collect();
    format!("[{}]", items.join(", "))
}

/// Units that sizes may have. Powers of 1,024 only: what "MB" means, nobody agrees on.
const UNITS: &[(&str, u64)] = &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn parse_size(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find_map(|(unit, bytes)| text.strip_suffix(unit).map(|number| (number, *bytes)));
    let (number, bytes) = unit.unwrap_or((text, 1));
    number.trim_end().parse::<u64>().ok()?.checked_mul(bytes)
}

/// Bytes in the largest unit that leaves no rest.
pub(super) fn size_text(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size));
    unit.map_or(bytes.to_string(), |(unit, size)| format!("{} {unit}", bytes / size))
}

/// Text that is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Of this text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for whoever signs or compares.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secret(none)" } else { "Secret(***)" })
    }
}

/// How long a room's log outlives its compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepLog {
    /// Not at all.
    None,
    /// For days.
    Days(u32),
    /// Always.
    Forever,
}

impl KeepLog {
    /// `none`, a number of days such as `30d`, or `forever`.
    pub fn parse(text: &str) -> Option<KeepLog> {
        match text {
            "none" => Some(KeepLog::None),
            "forever" => Some(KeepLog::Forever),
            _ => text.strip_suffix('d')?.parse().ok().filter(|days| *days > 0).map(KeepLog::Days),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases: &[(&str, Option<u64>)] = &[
            ("16 MiB", Some(16 << 20)),
            ("64KiB", Some(65_536)),
            ("1GiB", Some(1 << 30)),
            ("1000", Some(1_000)),
            ("0", Some(0)),
            ("16 MB", None),
            ("1.5 MiB", None),
            ("-1", None),
            ("MiB", None),
            ("", None),
            ("99999999999 TiB", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), *bytes, "{text}");
        }
        for (bytes, text) in [(16 << 20, "16 MiB"), (1_000, "1000"), (0, "0"), (3 << 10, "3 KiB"), (1 << 40, "1 TiB")] {
            assert_eq!(size_text(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
    }

    #[test]
    fn keep_log_and_secrets() {
        let cases =
            [("none", Some(KeepLog::None)), ("7d", Some(KeepLog::Days(7))), ("forever", Some(KeepLog::Forever))];
        for (text, keep) in cases.into_iter().chain(["0d", "d", "7", "-1d", ""].map(|text| (text, None))) {
            assert_eq!(KeepLog::parse(text), keep, "{text}");
        }
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
    }
}
