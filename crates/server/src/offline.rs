//! What the command line does with a stopped server's folder: list rooms, write one out, read one in. `import.rs` reads in many with `merge`.
//! A running server holds the folder's lock, and the store's error says which process that is.

use crate::clock::Clock;
use bytes::Bytes;
use document::wire::Invalid;
use document::{MessageLimits, Update};
use room::{Access, Closing, Effect, Effects, Event, Input, Kind, Limits, MemberId, Room, Rules, StateVector, Stored};
use store::{Position, RoomKey, Store, StoreError};

/// Who acts when there are no connections.
const OPERATOR: MemberId = MemberId(0);
/// Bytes of updates that are written at once: a store takes at most 1 GiB, and this is no slower.
const APPEND_BYTES: usize = 16 << 20;

/// Why a command on a folder was not done.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The folder cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such room.
    #[error("there is no room {0:?}; `concord rooms` lists those that exist")]
    NoRoom(String),
    /// What is stored cannot be read by this version.
    #[error("room {0:?} cannot be read: {1}")]
    Snapshot(String, room::SnapshotError),
    /// The file is not an update.
    #[error("not a Yjs v1 update: {0}; make one with Y.encodeStateAsUpdate(doc)")]
    NotAnUpdate(document::wire::Malformed),
    /// It is one that no client could send either.
    #[error("{0}, which this server takes from nobody; docs/migrate.md says why")]
    Beyond(String),
    /// The same of one among several.
    #[error("update {number} of {count}: {error}")]
    Among {
        /// Which, counted from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// What is wrong with it.
        error: Box<OfflineError>,
    },
}

/// What merging brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Changes that were new.
    pub(crate) changes: usize,
    /// Bytes of memory that the whole document takes now.
    pub(crate) document_bytes: usize,
}

/// Every document room: its name, changes accepted so far, bytes of its snapshot, bytes of its log.
pub fn list(store: &dyn Store) -> Result<Vec<(String, u64, u64, u64)>, OfflineError> {
    let rooms = store.list()?.into_iter();
    let documents = rooms.filter_map(|room| {
        let name = room.room.strip_prefix("doc/")?.to_owned();
        Some((name, room.head, room.snapshot_bytes, room.log_bytes))
    });
    Ok(documents.collect())
}

/// A room's document as one Yjs v1 update.
pub fn export(store: &dyn Store, room: &str) -> Result<Vec<u8>, OfflineError> {
    if !list(store)?.iter().any(|(name, ..)| name == room) {
        return Err(OfflineError::NoRoom(room.to_owned()));
    }
    let (mut loaded, _) = load(store, room)?;
    let effects = ask(&mut loaded, Input::SyncInOne(OPERATOR, StateVector::default()));
    let document = effects.into_iter().find_map(|effect| match effect {
        Effect::Send(_, Event::Missing(update)) => Some(update.to_vec()),
        _ => None,
    });
    Ok(document.unwrap_or_default())
}

/// Merges a Yjs v1 update into a room, which is made if it does not exist. True: it brought something new.
pub fn import(store: &dyn Store, room: &str, update: Vec<u8>) -> Result<bool, OfflineError> {
    let merged = merge(store, room, vec![update])?;
    if merged.changes > 0 {
        store.flush()?;
    }
    Ok(merged.changes > 0)
}

/// Merges updates into a room, in their order and all or none: one that is refused keeps the others out. They are written, and on stable storage
/// after the next flush.
pub(crate) fn merge(store: &dyn Store, room: &str, updates: Vec<Vec<u8>>) -> Result<Merged, OfflineError> {
    let (mut loaded, mut at) = load(store, room)?;
    let count = updates.len();
    let mut changes = Vec::new();
    for (index, update) in updates.into_iter().enumerate() {
        let accepted = accept(&mut loaded, update).map_err(|error| match count {
            1 => error,
            _ => OfflineError::Among { number: index + 1, count, error: Box::new(error) },
        })?;
        changes.extend(accepted);
    }
    let mut left = &changes[..];
    while !left.is_empty() {
        let mut bytes = 0;
        let fits = left.iter().take_while(|change| {
            bytes += change.bytes.len();
            bytes <= APPEND_BYTES
        });
        let (now, later) = left.split_at(fits.count().max(1));
        store.append(&key(room), at, now)?;
        at.offset += now.len() as u64;
        left = later;
    }
    Ok(Merged { changes: changes.len(), document_bytes: loaded.bytes() })
}

/// What a room wants logged of an update.
fn accept(room: &mut Room, update: Vec<u8>) -> Result<Vec<store::Change>, OfflineError> {
    let update = Update::validate(Bytes::from(update), &MessageLimits::STORED).map_err(|error| match error {
        Invalid::Malformed(malformed) => OfflineError::NotAnUpdate(malformed),
        Invalid::Exceeded(exceeded) => OfflineError::Beyond(exceeded.to_string()),
    })?;
    let effects = ask(room, Input::Update { member: OPERATOR, author: None, is_answer: false, update });
    let refused = effects.iter().find_map(|effect| match effect {
        Effect::Close(_, Closing::Beyond(limit)) => Some(limit.clone()),
        _ => None,
    });
    match refused {
        Some(limit) => Err(OfflineError::Beyond(limit)),
        None => Ok(crate::changes::of_effects(&effects)),
    }
}

/// Joins a room as the operator and says one thing.
fn ask(room: &mut Room, input: Input) -> Effects {
    let now_ms = Clock::start().now_ms();
    let mut effects = Effects::new();
    let join = Input::Join {
        member: OPERATOR,
        kind: Kind::Client,
        access: Access::Write,
        author: "import".into(),
        trusts_all: false,
    };
    room.handle(join, now_ms, &mut effects);
    room.handle(input, now_ms, &mut effects);
    effects
}

fn load(store: &dyn Store, room: &str) -> Result<(Room, Position), OfflineError> {
    let opened = store.open(&key(room), fastrand::u64(..))?;
    let (head, durable) = (opened.head, opened.head);
    let stored = Stored {
        snapshot: opened.snapshot.clone(),
        changes: crate::changes::of_opened(&opened),
        head,
        durable,
        keep_deleted: true,
    };
    let limits = Limits { document: document::RoomLimits::STORED, ..Limits::default() };
    let loaded = Room::load(&stored, limits).map_err(|error| OfflineError::Snapshot(room.to_owned(), error))?;
    Ok((loaded, Position { epoch: opened.epoch, offset: head }))
}

fn key(room: &str) -> RoomKey {
    format!("doc/{room}").into()
}
