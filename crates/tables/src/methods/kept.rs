//! Methods on what is kept beside the rows: debounced values, counts of usage, and the audit log that is not kept.

use bytes::Bytes;

use super::{Ask, Refusal, refuse};
use crate::database::Database;
use crate::usage::Usage;
use crate::{Answer, Outcome, json};

/// Characters of one value's JSON. The protocol says 100 KB.
const VALUE_MAX: usize = 100_000;
/// Characters of a key. 1,024: it is looked up in memory and in an index, and names a thing.
const KEY_MAX: usize = 1_024;

pub(super) fn update(database: &Database, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let key = ask.payload.text("key").ok_or_else(|| refuse("updateDebounced requires key parameter"))?;
    if key.len() > KEY_MAX {
        return Err(refuse("Key too long: maximum 1,024 bytes"));
    }
    let value = ask.payload.get("value").map_or("null", |raw| raw.get());
    if value.len() > VALUE_MAX && value.chars().count() > VALUE_MAX {
        return Err(refuse("Value too large: maximum 100KB"));
    }
    if !database.debounced().put(key, value, ask.call.now_ms, ask.settings.debounced_bytes_max) {
        return Err(refuse("Memory limit reached. Please wait for pending writes to flush."));
    }
    Ok(Outcome::of(Answer::Done { data: None, message: Some("Update queued for flush") }))
}

/// The answer to `flushDebounced`; the writing is part of every transaction that has such a call.
pub(super) fn flushed() -> Outcome {
    Outcome::of(Answer::Done { data: None, message: Some("Debounced writes flushed to SQLite") })
}

pub(super) fn usage(database: &Database, ask: &Ask<'_>) -> Result<Outcome, Refusal> {
    let taken = database.usage().taken();
    let days = database.read(ask.settings, |db| Usage::read(db, &taken, ask.call.now_ms))?;
    let write = |(date, day): &(String, crate::usage::Day)| {
        format!(r#"{{"date":"{date}","reads":{},"writes":{},"ai_ops":{}}}"#, day.reads, day.writes, day.ai_ops)
    };
    let days: Vec<String> = days.iter().map(write).collect();
    Ok(rows(format!("[{}]", days.join(",")).into(), "getUsage", None))
}

pub(super) fn audit_log() -> Outcome {
    rows(Bytes::from_static(b"[]"), "getAuditLog", Some("No audit log is kept on this server".to_owned()))
}

fn rows(data: Bytes, method: &str, info: Option<String>) -> Outcome {
    let original_sql = json::string(method).into();
    Outcome::of(Answer::Rows { data, original_sql, total: None, page: None, info })
}
