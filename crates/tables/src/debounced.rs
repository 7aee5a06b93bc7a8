//! Values that change often and are written seldom: the last value of each key waits here until all keys have been quiet for a while.
//! The room's writer fills and empties this; nothing else does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

/// Memory of one entry besides its key and value: a node of the map.
const ENTRY_BYTES: usize = 96;

/// The values of one room that are not written yet.
#[derive(Default)]
pub(crate) struct Debounced {
    values: BTreeMap<String, Value>,
    bytes: usize,
    changed: Option<Instant>,
    /// The number of the last change, so that a value is forgotten only if it is the one that was written.
    change: u64,
}

struct Value {
    json: String,
    now_ms: u64,
    change: u64,
}

/// What a transaction has written, to be forgotten after its commit.
pub(crate) struct Written(Vec<(String, u64)>);

impl Debounced {
    /// Keeps a value. False if there is no room for it.
    pub(crate) fn put(&mut self, key: String, json: &str, now_ms: u64, bytes_max: usize) -> bool {
        let size = |key: &str, json: &str| key.len() + json.len() + ENTRY_BYTES;
        let before = self.values.get(&key).map_or(0, |old| size(&key, &old.json));
        let bytes = self.bytes - before + size(&key, json);
        if bytes > bytes_max {
            return false;
        }
        self.bytes = bytes;
        self.change += 1;
        self.values.insert(key, Value { json: json.to_owned(), now_ms, change: self.change });
        self.changed = Some(Instant::now());
        true
    }

    /// Writes all values in the transaction that is open.
    pub(crate) fn write(&self, db: &Connection) -> rusqlite::Result<Written> {
        let mut put = db.prepare_cached(
            "INSERT INTO _debounced_state(key, value, updated_at) VALUES (?1, ?2, ?3)
             ON CONFLICT(key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        )?;
        for (key, value) in &self.values {
            put.execute(params![key, value.json, value.now_ms as i64])?;
        }
        Ok(Written(self.values.iter().map(|(key, value)| (key.clone(), value.change)).collect()))
    }

    /// Forgets what is on disk.
    pub(crate) fn settle(&mut self, written: Written) {
        for (key, change) in written.0 {
            if self.values.get(&key).is_some_and(|value| value.change == change)
                && let Some(value) = self.values.remove(&key)
            {
                self.bytes -= key.len() + value.json.len() + ENTRY_BYTES;
            }
        }
        if self.values.is_empty() {
            self.changed = None;
        }
    }

    /// Waits the quiet time once more, after a write that has failed.
    pub(crate) fn postpone(&mut self) {
        self.changed = self.changed.map(|_| Instant::now());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn due(&self, quiet: Duration) -> Option<Instant> {
        self.changed.map(|changed| changed + quiet)
    }
}
