//! The log of what was decided, as a room of its own in the store. Called by `accounts`, which says what the entries mean; knows only that they are
//! JSON. An entry counts when it is on the disk. What cannot be read back is an error: a lost end of a session would open a door.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use store::{Change, Durable, Opened, Position, RoomKey, Store, StoreError};

/// Its name in the store, beside the rooms of documents.
pub(super) const KEY: &str = "access/accounts";
/// Bytes of entries since the last sum, from which on they are worth another: reading them takes some 10 ms.
const WORTH_A_SUM_BYTES: usize = 4 << 20;

/// Where the log stands.
pub(super) struct Journal {
    store: Arc<dyn Store>,
    at: Position,
    /// Entries since the last sum, and their bytes.
    entries: u64,
    bytes: usize,
    sum_bytes: usize,
    /// Keeps the store from forgetting the room.
    _cell: Arc<Durable>,
}

/// What a log was read as.
pub(super) struct Reading<S, E> {
    pub(super) journal: Journal,
    pub(super) sum: Option<S>,
    pub(super) entries: Vec<E>,
    /// What could not be read.
    pub(super) damage: Option<String>,
}

/// How an append has ended.
pub(super) enum Written {
    /// All of it is on the disk.
    Durable,
    /// Perhaps not: the log has to be read again, which writes it again, and synced.
    InDoubt,
}

impl Journal {
    /// Reads the log; waits for the disk.
    pub(super) fn open<S: DeserializeOwned, E: DeserializeOwned>(
        store: Arc<dyn Store>,
    ) -> Result<Reading<S, E>, StoreError> {
        let opened = store.open(&RoomKey::from(KEY), fastrand::u64(..))?;
        let mut damage = None;
        let mut read = |what: String, problem: serde_json::Error| {
            // Not the problem itself, which may quote a name.
            damage.get_or_insert(format!("{what} is damaged at line {}, column {}", problem.line(), problem.column()));
        };
        let sum = opened
            .snapshot
            .as_ref()
            .and_then(|sum| serde_json::from_slice(sum).map_err(|problem| read("the sum".to_owned(), problem)).ok());
        let mut entries = Vec::new();
        for (offset, change) in &opened.changes {
            match serde_json::from_slice(&change.bytes) {
                Ok(entry) => entries.push(entry),
                Err(problem) => read(format!("entry {offset}"), problem),
            }
        }
        let missing = (opened.head - opened.snapshot_offset).saturating_sub(opened.changes.len() as u64);
        if missing > 0 || !opened.damage.is_empty() {
            damage = Some(format!("{} entries are missing", missing.max(opened.damage.len() as u64)));
        }
        Ok(Reading { journal: Self::at(store, &opened), sum, entries, damage })
    }

    fn at(store: Arc<dyn Store>, opened: &Opened) -> Self {
        Self {
            store,
            at: Position { epoch: opened.epoch, offset: opened.head },
            entries: opened.changes.len() as u64,
            bytes: opened.changes.iter().map(|(_, change)| change.bytes.len()).sum(),
            sum_bytes: opened.snapshot.as_ref().map_or(0, Bytes::len),
            _cell: opened.durable.clone(),
        }
    }

    /// Writes entries, all or none.
    pub(super) fn append<E: Serialize>(&mut self, by: &str, now_ms: u64, entries: &[E]) -> Result<Written, StoreError> {
        let change = |entry| Change { author: by.into(), time_ms: now_ms, bytes: json(entry) };
        let changes: Vec<Change> = entries.iter().map(change).collect();
        self.store.append(&RoomKey::from(KEY), self.at, &changes)?;
        self.at.offset += changes.len() as u64;
        self.entries += changes.len() as u64;
        self.bytes += changes.iter().map(|change| change.bytes.len()).sum::<usize>();
        match self.store.flush() {
            Ok(()) => Ok(Written::Durable),
            Err(error) => {
                tracing::warn!(action = "store.error", room = KEY, %error, "reading the log again");
                Ok(Written::InDoubt)
            }
        }
    }

    /// There is so much that a sum would be read faster.
    pub(super) fn is_worth_a_sum(&self) -> bool {
        self.bytes > WORTH_A_SUM_BYTES.max(2 * self.sum_bytes)
    }

    /// Replaces the log by what it comes to.
    pub(super) fn sum_up(&mut self, sum: impl FnOnce() -> Bytes) -> Result<(), StoreError> {
        if self.entries > 0 {
            let bytes = sum();
            self.store.replace_with_snapshot(&RoomKey::from(KEY), self.at, &bytes)?;
            (self.entries, self.bytes, self.sum_bytes) = (0, 0, bytes.len());
        }
        Ok(())
    }
}

pub(super) fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).expect("maps have text as keys").into()
}
