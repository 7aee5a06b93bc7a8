//! Bytes survive. A store keeps, per room, one snapshot and the changes accepted after it.
//!
//! Called by the server: appends from the rooms' tasks, everything else from background threads.
//! A store knows rooms only as keys and changes only as bytes; it never decodes a document. It has no
//! randomness and no clock but the timer that groups syncs: times and epochs come in as arguments.

pub mod backends;
pub mod disk;
mod durable;
mod format;

pub use durable::Durable;

use bytes::Bytes;
use std::sync::Arc;

/// Name of a room as the store sees it: opaque UTF-8 data, 1 to 1,100 bytes, never used as a file name.
pub type RoomKey = Arc<str>;

/// A place in a room's history. Two lives of one room name have different epochs, so a position of a
/// deleted or restored room is never mistaken for one of another life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Random at the room's creation.
    pub epoch: u64,
    /// Number of changes accepted before this place: the first change has offset 0, a room with `n` changes stands at `n`.
    pub offset: u64,
}

/// One accepted change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who made it: the authenticated identity, 0 to 256 bytes.
    pub author: Arc<str>,
    /// When it was accepted: milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What the room accepted, as it came.
    pub bytes: Bytes,
}

/// The changes of one room in an `append_all`.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// The room.
    pub room: &'a RoomKey,
    /// The place of the first change.
    pub at: Position,
    /// The changes, in order. None: nothing is written, and the result says whether the room stands at `at`.
    pub changes: &'a [Change],
}

/// What `open` found.
#[derive(Debug)]
pub struct Opened {
    /// This life of the room.
    pub epoch: u64,
    /// Content up to `snapshot_offset`, as given to `replace_with_snapshot`. None: never compacted.
    pub snapshot: Option<Bytes>,
    /// Offset up to which the snapshot covers (0 without a snapshot).
    pub snapshot_offset: u64,
    /// Every readable change from `snapshot_offset` on, with its offset, in order. Offsets missing in
    /// between were damaged on disk (see `damage`).
    pub changes: Vec<(u64, Change)>,
    /// Offset of the next change.
    pub head: u64,
    /// What could not be read, already set aside. Empty on a healthy disk.
    pub damage: Vec<Damage>,
    /// The cell that says up to which offset this room is on stable storage.
    pub durable: Arc<Durable>,
}

/// A record that failed its checksum. It was copied to the `damaged` folder and is not read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The room, when the record's head could still be read.
    pub room: Option<RoomKey>,
    /// The offset of the record's first change, when the record's head could still be read.
    pub offset: Option<u64>,
    /// Which file, and where in it, for people.
    pub place: String,
    /// What is wrong with it, for people.
    pub reason: String,
}

/// One line of `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSummary {
    /// Its name.
    pub room: RoomKey,
    /// This life of it.
    pub epoch: u64,
    /// Offset of the next change.
    pub head: u64,
    /// Bytes of its snapshot.
    pub snapshot_bytes: u64,
    /// Bytes of the log records that are not covered by the snapshot.
    pub log_bytes: u64,
}

/// How long the log keeps what a snapshot already covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeepLog {
    /// Not at all: a segment goes when all its rooms are in snapshots.
    #[default]
    None,
    /// At least this many days after the change was accepted.
    Days(u32),
    /// For ever.
    Forever,
}

/// When a change counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the sync that covers it (modes `ack` and `strict`). Syncs are grouped: one starts at once when
    /// none ran in the last `group_ms`, else when `group_ms` have passed since the last one began.
    Synced {
        /// Milliseconds, 5 by default.
        group_ms: u64,
    },
    /// When written to the operating system; synced every `sync_ms` (mode `interval`).
    Written {
        /// Milliseconds, 1,000 by default.
        sync_ms: u64,
    },
}

/// A place where rooms survive. All methods may block on the disk; the appends block for one write(2) only.
///
/// Laws, held by `testkit::contract` and the crash tests of each backend:
/// * What `append` returned `Ok` for is read back by `open` and `read_since`, also after the process was killed.
/// * What lies before `Durable::offset` is read back also after a power cut.
/// * An append is atomic per room: after a crash a room has all changes of its part or none of them, whatever the others
///   have.
/// * A failed append or sync is told to every room it concerns (`Durable::failures`); nothing written
///   before a failed sync becomes durable without being written again, which the next `open` does.
/// * `replace_with_snapshot`, interrupted anywhere, leaves a room that reads the same.
pub trait Store: Send + Sync {
    /// Opens a room, creating it in memory when the store does not know it (nothing is written before the
    /// first append). `new_epoch` becomes its epoch if it is new; the caller never uses one twice. The room counts as open
    /// while somebody holds `Opened::durable`; `tidy` forgets others that hold nothing. A room may be opened again after a
    /// failure; changes whose sync had failed are then written again before this returns, and the cell is a fresh one.
    fn open(&self, room: &RoomKey, new_epoch: u64) -> Result<Opened, StoreError>;

    /// Writes the changes of several rooms to the operating system in one write. One result per part, in the order of `batch`.
    ///
    /// `Stale` when the room is not open, the epoch is not its, `at.offset` is not its head, or a sync of it has failed since it
    /// was opened; the other parts are written. The same holds for a part with a length out of its range (`Io`), and for
    /// a part with which the batch would have more than 2^30 bytes. A room that occurs again stands where its part before ends.
    ///
    /// After an I/O error no part is written: nothing of any is visible, each room's head is unchanged, and each is told by its
    /// `Durable::failures`. Should power fail before what the failed write left behind has been cut off for good, a room may
    /// have its whole part after all.
    fn append_all(&self, batch: &[Append<'_>]) -> Vec<Result<(), StoreError>>;

    /// Writes changes `at.offset ..` of the life `at.epoch`: `append_all` for one room.
    fn append(&self, room: &RoomKey, at: Position, changes: &[Change]) -> Result<(), StoreError> {
        self.append_all(&[Append { room, at, changes }]).pop().expect("there is a result for each part")
    }

    /// The changes from `at` on, in order and without a gap. None: `at` is of another life, beyond the head, or before what
    /// the log still holds whole.
    fn read_since(&self, room: &RoomKey, at: Position) -> Result<Option<Vec<(u64, Change)>>, StoreError>;

    /// Makes `snapshot` the room's content up to `at`, on stable storage when this returns. Later changes stay in the log.
    /// `Stale` when `at` is of another life, beyond the head, or before the present snapshot.
    fn replace_with_snapshot(&self, room: &RoomKey, at: Position, snapshot: &[u8]) -> Result<(), StoreError>;

    /// Ends this life of the room: snapshot and changes are gone, on stable storage when this returns. A later `open` begins
    /// a new life. False: there was no such room. After an error the room takes nothing more until this has been finished, which
    /// the next `open` or `delete` does; after a crash it is there whole or not at all.
    fn delete(&self, room: &RoomKey) -> Result<bool, StoreError>;

    /// Whether a room has content: changes or a snapshot.
    fn exists(&self, room: &RoomKey) -> Result<bool, StoreError>;

    /// Every room that has content, in the order of their names.
    fn list(&self) -> Result<Vec<RoomSummary>, StoreError>;

    /// Waits until everything appended is on stable storage (used by shutdown and unloading). Writes again what failed
    /// syncs left in doubt. Fails if a sync fails meanwhile.
    fn flush(&self) -> Result<(), StoreError>;

    /// Tries whether the disk takes writes: writes and syncs a few bytes beside the log, and takes them away. For who was refused and
    /// asks whether to let others try.
    fn try_writing(&self) -> Result<(), StoreError>;

    /// Removes log segments that nothing needs any more, and names the rooms whose uncovered changes keep the oldest
    /// segments alive while the log is larger than its bound: a snapshot of those lets the log shrink.
    fn tidy(&self, now_ms: u64) -> Result<Vec<RoomKey>, StoreError>;

    /// What was found damaged so far, oldest first, at most 1,000.
    fn damage(&self) -> Vec<Damage>;
}

/// What went wrong, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses the folder.
    #[error(
        "cannot open store at {folder}: locked by process {holder}; stop that process or set --data to another folder"
    )]
    Locked {
        /// The data folder.
        folder: String,
        /// Process id of the holder, or `unknown`.
        holder: String,
    },
    /// No room on the disk. Writing works again when there is.
    #[error("disk full while {doing}: free some space; nothing that was acknowledged is lost")]
    Full {
        /// What was being done.
        doing: String,
    },
    /// The disk refused something else.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, with the file.
        doing: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The caller's picture of the room is out of date: open it again.
    #[error("room {room} is at another position than {at:?}; open it again")]
    Stale {
        /// The room.
        room: RoomKey,
        /// What the caller believed.
        at: Position,
    },
    /// The folder was written by a version that this one does not read.
    #[error("{what} has format version {found}; this program reads version {readable}")]
    Version {
        /// Which file.
        what: String,
        /// Version found.
        found: u8,
        /// Version that can be read.
        readable: u8,
    },
}
