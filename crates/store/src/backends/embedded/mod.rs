//! The embedded store: a segmented log of our own for changes, redb for snapshots.
//!
//! Called by the server through the trait `Store`. This file owns what the parts share and the order of their locks:
//! a room's turn, then the snapshots, then the state. Replay of the log is idempotent, so log and snapshots need no
//! common transaction. Does not touch a disk but through `Disk`.
//!
//! ```text
//! lock                       holds the process id of the owner
//! log/0000000001.log         segments; `.doubted` after a failed sync
//! snapshots.redb             snapshots and the index of rooms that have one
//! damaged/                   what could not be read, for people
//! ```

mod append;
mod damage;
mod index;
mod log;
mod reading;
mod recovery;
mod rooms;
mod scan;
mod segment;
mod snapshots;
mod sync;
mod table;
mod tidy;

use crate::disk::{Disk, Folder, Lock, write_all};
use crate::format::Draft;
use crate::{Append, Change, Damage, Durability, KeepLog, Opened, Position, RoomKey, RoomSummary, Store, StoreError};
use damage::{DAMAGED_FOLDER, DamageReports};
use log::Log;
use segment::LOG_FOLDER;
use snapshots::Snapshots;
use std::collections::hash_map::RandomState;
use std::fmt::{self, Debug, Formatter};
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{array, io};
use table::Table;

const LOCK_FILE: &str = "lock";
/// Rooms that can be opened, compacted or deleted at the same time; more than a machine has disk queues.
const TURNS: usize = 64;

/// How an embedded store behaves.
pub struct EmbeddedOptions {
    /// When a change counts as durable.
    pub durability: Durability,
    /// Bytes after which a segment is closed and the next one begun, 1 to 2^30. A larger record gets a segment of its own.
    pub segment_bytes_max: u64,
    /// Bytes of the log (without what only `keep_log` keeps) from which on `tidy` names rooms to compact.
    pub log_bytes_max: u64,
    /// How long the log keeps the changes of a room that a snapshot covers. Asked when a room is opened and at the start, and
    /// kept with the segment from then on. Called under locks, so it must not call the store.
    pub keep_log: Box<dyn Fn(&str) -> KeepLog + Send + Sync>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Synced { group_ms: 5 },
            // A start reads the segments that are in use; this is a fraction of a second, and what a tidy frees at once.
            segment_bytes_max: 64 << 20,
            // Bounds the start after a crash to a few seconds of reading.
            log_bytes_max: 1 << 30,
            keep_log: Box::new(|_| KeepLog::None),
        }
    }
}

impl Debug for EmbeddedOptions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedOptions")
            .field("durability", &self.durability)
            .field("segment_bytes_max", &self.segment_bytes_max)
            .field("log_bytes_max", &self.log_bytes_max)
            .finish_non_exhaustive()
    }
}

/// Made and removed to find out whether the disk takes writes. One that a crash leaves behind is overwritten by the next.
const TRIAL_FILE: &str = "trial";
/// More than a keystroke's record: a disk that has room for just one would fail at the next.
const TRIAL_BYTES: usize = 64 << 10;

/// A store in a folder of this machine. One process at a time. Dropping it syncs what is not synced.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    sync_thread: Option<JoinHandle<()>>,
    _lock: Box<dyn Debug + Send + Sync>,
}

impl Embedded {
    /// Opens the store in `folder`, which is made if there is none. Damaged records do not fail this; they are in
    /// `damage`. Fails with `Locked` when another process has it, `Version` when another version wrote it, `Io`
    /// or `Full` when the disk refuses.
    pub fn open(folder: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(Folder::new(folder.as_ref())), options)
    }

    /// As `open`, on any disk.
    pub fn open_on(disk: Arc<dyn Disk>, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let lock = prepare(&*disk)?;
        let snapshots = Snapshots::new(disk.clone()).map_err(|error| fault("list the data folder", error))?;
        let damage = DamageReports::new(disk.clone());
        let state = recovery::recover(&disk, &snapshots, &damage, &options)?;
        let shared = Arc::new(Shared {
            options,
            snapshots,
            damage,
            turns: array::from_fn(|_| Mutex::new(())),
            turn_of: RandomState::new(),
            state: Mutex::new(state),
            drafts: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            disk,
        });
        let sync_thread = std::thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn({
                let shared = shared.clone();
                move || shared.run_syncs()
            })
            .map_err(|error| fault("start the sync thread", error))?;
        Ok(Self { shared, sync_thread: Some(sync_thread), _lock: lock })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Who has to know whether this worked calls `flush` before.
        let _best_effort = self.shared.flush();
        self.shared.close();
        if let Some(thread) = self.sync_thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Store for Embedded {
    fn open(&self, room: &RoomKey, new_epoch: u64) -> Result<Opened, StoreError> {
        self.shared.open_room(room, new_epoch)
    }

    fn append_all(&self, batch: &[Append<'_>]) -> Vec<Result<(), StoreError>> {
        self.shared.append_all(batch)
    }

    fn read_since(&self, room: &RoomKey, at: Position) -> Result<Option<Vec<(u64, Change)>>, StoreError> {
        self.shared.read_since(room, at)
    }

    fn replace_with_snapshot(&self, room: &RoomKey, at: Position, snapshot: &[u8]) -> Result<(), StoreError> {
        self.shared.replace_with_snapshot(room, at, snapshot)
    }

    fn delete(&self, room: &RoomKey) -> Result<bool, StoreError> {
        self.shared.delete(room)
    }

    fn exists(&self, room: &RoomKey) -> Result<bool, StoreError> {
        self.shared.exists(room)
    }

    fn list(&self) -> Result<Vec<RoomSummary>, StoreError> {
        self.shared.list()
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.shared.flush()
    }

    fn try_writing(&self) -> Result<(), StoreError> {
        let disk = &self.shared.disk;
        let tried = disk.open(TRIAL_FILE, true).and_then(|file| {
            write_all(&*file, 0, &[0; TRIAL_BYTES])?;
            file.sync_data()
        });
        let removed = disk.remove(TRIAL_FILE);
        tried.and(removed).map_err(|error| fault("try whether the disk takes writes", error))
    }

    fn tidy(&self, now_ms: u64) -> Result<Vec<RoomKey>, StoreError> {
        self.shared.tidy(now_ms)
    }

    fn damage(&self) -> Vec<Damage> {
        self.shared.damage.all()
    }
}

/// What the callers and the sync thread share.
struct Shared {
    disk: Arc<dyn Disk>,
    options: EmbeddedOptions,
    snapshots: Snapshots,
    damage: DamageReports,
    /// Taken for as long as a room is opened, compacted or deleted, so that these do not mix.
    turns: [Mutex<()>; TURNS],
    turn_of: RandomState,
    state: Mutex<State>,
    /// Drafts that no append uses, for the next ones: as many as threads have appended at the same time.
    drafts: Mutex<Vec<Draft>>,
    /// Tells the sync thread that there is something to do.
    work: Condvar,
    /// Tells waiters that a sync has ended.
    done: Condvar,
}

/// All that changes, under one lock that is held for a write(2) at most.
#[derive(Debug)]
struct State {
    rooms: Table,
    log: Log,
    syncs: sync::Syncs,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, room: &RoomKey) -> MutexGuard<'_, ()> {
        let turn = self.turn_of.hash_one(room) as usize % TURNS;
        self.turns[turn].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for Shared {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("disk", &self.disk).field("options", &self.options).finish_non_exhaustive()
    }
}

/// Makes the folders and takes the lock.
fn prepare(disk: &dyn Disk) -> Result<Box<dyn Debug + Send + Sync>, StoreError> {
    let folder = disk.describe();
    let failed = |error| fault(&format!("open store at {folder}"), error);
    disk.create_folder("").map_err(failed)?;
    let lock = match disk.lock(LOCK_FILE).map_err(failed)? {
        Lock::Taken(lock) => lock,
        Lock::HeldBy(holder) => return Err(StoreError::Locked { folder, holder }),
    };
    let names = disk.list("").map_err(failed)?;
    if !names.iter().any(|name| name == LOG_FOLDER) || !names.iter().any(|name| name == DAMAGED_FOLDER) {
        disk.create_folder(LOG_FOLDER).map_err(failed)?;
        disk.create_folder(DAMAGED_FOLDER).map_err(failed)?;
    }
    // Also when they were there: the process that made them may have ended before it came to this.
    disk.sync_folder("").map_err(failed)?;
    Ok(lock)
}

/// The same error for one more room.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// An I/O error as the caller can use it.
fn fault(doing: &str, source: io::Error) -> StoreError {
    if log::is_full(&source) {
        StoreError::Full { doing: doing.to_owned() }
    } else {
        StoreError::Io { doing: doing.to_owned(), source }
    }
}
