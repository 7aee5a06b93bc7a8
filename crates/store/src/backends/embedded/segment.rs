//! One file of the log: its name, what is in it, and who still needs it.
//!
//! Owned by the log. Counts what is live in it rather than naming it, so that a segment costs a few words of
//! memory however many rooms wrote to it. Does not read or write records.

use crate::disk::DiskFile;
use crate::{KeepLog, Position, RoomKey};
use std::sync::Arc;

/// The folder of all segments.
pub(super) const LOG_FOLDER: &str = "log";
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// One file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn DiskFile>,
    /// Length up to the end of the last whole record.
    pub(super) bytes: u64,
    /// Records in it that no snapshot covers.
    pub(super) live: u64,
    /// No removal before this time, in milliseconds since the Unix epoch; `u64::MAX`: never.
    pub(super) keep_until_ms: u64,
    /// The ends of rooms' lives that are told in it.
    pub(super) graves: Vec<(RoomKey, Position)>,
    /// A sync of it failed: what it holds may be in the operating system's memory only, for good.
    pub(super) doubted: bool,
}

impl Segment {
    pub(super) fn new(file: Arc<dyn DiskFile>, doubted: bool) -> Self {
        Self { file, bytes: 0, live: 0, keep_until_ms: 0, graves: Vec::new(), doubted }
    }

    /// Notes that a record whose newest change is of `newest_ms` is in it, of a room with this rule.
    pub(super) fn keep(&mut self, rule: KeepLog, newest_ms: u64) {
        let until = match rule {
            KeepLog::None => 0,
            KeepLog::Days(days) => newest_ms.saturating_add(u64::from(days) * DAY_MS),
            KeepLog::Forever => u64::MAX,
        };
        self.keep_until_ms = self.keep_until_ms.max(until);
    }
}

/// The file name of a segment. A doubted one says so in its name, because that has to survive the process:
/// after a failed sync the operating system may call the same bytes clean.
pub(super) fn file_name(number: u64, doubted: bool) -> String {
    let ending = if doubted { "doubted" } else { "log" };
    format!("{LOG_FOLDER}/{number:010}.{ending}")
}

/// The number in a file name of the log's folder, and whether the segment is doubted. None: not one of ours.
pub(super) fn parse_file_name(name: &str) -> Option<(u64, bool)> {
    let (number, ending) = name.split_once('.')?;
    let doubted = match ending {
        "log" => false,
        "doubted" => true,
        _ => return None,
    };
    // Numbers fit in 32 bits, as places of records are kept in memory with that width.
    Some((u64::from(number.parse::<u32>().ok()?), doubted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for (number, doubted) in [(1, false), (4_000_000_000, true)] {
            let name = file_name(number, doubted);
            assert_eq!(parse_file_name(name.strip_prefix("log/").unwrap()), Some((number, doubted)));
        }
        for foreign in ["", "1", "x.log", "1.txt", "-1.log", "99999999999.log"] {
            assert_eq!(parse_file_name(foreign), None, "{foreign}");
        }
    }
}
