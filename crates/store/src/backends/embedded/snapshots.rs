//! The snapshots and the index of rooms that have one, in one redb file; and which segments only `keep_log` needs.
//!
//! Called by the rooms, the start and `tidy`. Each change is one transaction, on stable storage when the call returns. The
//! file is made with the first snapshot. After a failed read or write redb refuses everything, so it is
//! closed and opened again by the next call. Does not know the log.
//!
//! ```text
//! rooms      room name -> epoch u64, offset u64, snapshot length u64, snapshot crc32c u32, crc32c of all this and the name u32
//! snapshots  room name -> the snapshot
//! kept       segment number -> not to be removed before this time in ms
//! ```

use super::fault;
use crate::disk::{Disk, DiskFile, read_full, write_all};
use crate::format::{u32_at, u64_at};
use crate::{RoomKey, StoreError};
use bytes::{BufMut, Bytes};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

const FILE: &str = "snapshots.redb";
const UNFINISHED_FILE: &str = "snapshots.redb.new";
const ROOMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rooms");
const SNAPSHOTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("snapshots");
const KEPT: TableDefinition<'_, u64, u64> = TableDefinition::new("kept");
/// redb's cache. Snapshots are read once per opening, so it only has to hold the upper pages of the trees.
const CACHE_BYTES: usize = 2 * 1024 * 1024;

/// What the index says about a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) epoch: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    crc: u32,
}

/// A snapshot as read.
#[derive(Debug)]
pub(super) enum Loaded {
    /// As it was written.
    Whole(Row, Bytes),
    /// Not as it was written. The row, if that much is whole, and what is left.
    Damaged { row: Option<Row>, rest: Vec<u8>, reason: String },
}

/// The redb file.
#[derive(Debug)]
pub(super) struct Snapshots {
    disk: Arc<dyn Disk>,
    file: RwLock<File>,
}

#[derive(Debug)]
enum File {
    /// There is none yet.
    Absent,
    Open(Database),
    /// Closed after an error.
    Closed,
}

impl Snapshots {
    /// Looks whether there is a file; it is opened by the first call that needs it.
    pub(super) fn new(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let exists = disk.list("")?.iter().any(|name| name == FILE);
        let file = RwLock::new(if exists { File::Closed } else { File::Absent });
        Ok(Self { disk, file })
    }

    /// Opens the file, if there is one, to see whether it can be. `Corrupted`: it cannot be read as what it should be.
    pub(super) fn check(&self) -> Result<(), redb::Error> {
        self.read(|database| {
            database.begin_read()?.open_table(ROOMS)?;
            Ok(())
        })
        .map(|_| ())
    }

    /// Moves a file that cannot be read out of the way. Returns what it is called since.
    pub(super) fn set_aside(&self) -> io::Result<String> {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        *file = File::Closed;
        let names = self.disk.list("damaged")?;
        let free = (1..).map(|number| format!("snapshots-{number}.redb")).find(|name| !names.contains(name));
        let name = format!("damaged/{}", free.unwrap_or_default());
        self.disk.rename(FILE, &name)?;
        self.disk.sync_folder("damaged")?;
        self.disk.sync_folder("")?;
        *file = File::Absent;
        Ok(name)
    }

    /// What the index says about a room. A row that is damaged reads as none.
    pub(super) fn row(&self, room: &str) -> Result<Option<Row>, StoreError> {
        let found = self.read(|database| {
            let rooms = database.begin_read()?.open_table(ROOMS)?;
            Ok(rooms.get(room.as_bytes())?.and_then(|row| Row::parse(room.as_bytes(), row.value())))
        });
        match found {
            Ok(row) => Ok(row.flatten()),
            // Reported when the room is opened, by `load`.
            Err(redb::Error::Corrupted(_)) => Ok(None),
            Err(error) => Err(failed(&error, "read the index of rooms")),
        }
    }

    /// A room's snapshot. None: it has none.
    pub(super) fn load(&self, room: &str) -> Result<Option<Loaded>, StoreError> {
        let found = self.read(|database| {
            let transaction = database.begin_read()?;
            let Some(row) = transaction.open_table(ROOMS)?.get(room.as_bytes())?.map(|row| row.value().to_vec()) else {
                return Ok(None);
            };
            let snapshot = transaction.open_table(SNAPSHOTS)?.get(room.as_bytes())?;
            Ok(Some((row, snapshot.map(|bytes| bytes.value().to_vec()))))
        });
        match found {
            Ok(found) => Ok(found.flatten().map(|(row, bytes)| Loaded::judge(room, &row, bytes.unwrap_or_default()))),
            Err(redb::Error::Corrupted(reason)) => Ok(Some(Loaded::Damaged { row: None, rest: Vec::new(), reason })),
            Err(error) => Err(failed(&error, &format!("read the snapshot of room {room}"))),
        }
    }

    /// All rows, in the order of their names, damaged ones left out.
    pub(super) fn rows(&self) -> Result<Vec<(RoomKey, Row)>, StoreError> {
        let found = self.read(|database| {
            let mut rows = Vec::new();
            for entry in database.begin_read()?.open_table(ROOMS)?.iter()? {
                let (name, row) = entry?;
                if let (Ok(room), Some(row)) =
                    (std::str::from_utf8(name.value()), Row::parse(name.value(), row.value()))
                {
                    rows.push((RoomKey::from(room), row));
                }
            }
            Ok(rows)
        });
        found.map(Option::unwrap_or_default).map_err(|error| failed(&error, "list the rooms"))
    }

    /// Makes `snapshot` the one of a room.
    pub(super) fn put(&self, room: &str, epoch: u64, offset: u64, snapshot: &[u8]) -> Result<(), StoreError> {
        let row = Row { epoch, offset, bytes: snapshot.len() as u64, crc: crc32c::crc32c(snapshot) };
        let row = row.encode(room.as_bytes());
        self.write(&format!("write the snapshot of room {room}"), |transaction| {
            transaction.open_table(ROOMS)?.insert(room.as_bytes(), &row[..])?;
            transaction.open_table(SNAPSHOTS)?.insert(room.as_bytes(), snapshot)?;
            Ok(())
        })
    }

    /// Removes a room's snapshot and row, if there are any.
    pub(super) fn remove(&self, room: &str) -> Result<(), StoreError> {
        if self.is_absent() {
            return Ok(());
        }
        self.write(&format!("remove the snapshot of room {room}"), |transaction| {
            transaction.open_table(ROOMS)?.remove(room.as_bytes())?;
            transaction.open_table(SNAPSHOTS)?.remove(room.as_bytes())?;
            Ok(())
        })
    }

    /// The segments that only `keep_log` needs, with the time until which.
    pub(super) fn kept(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        let found = self.read(|database| {
            let mut kept = Vec::new();
            for entry in database.begin_read()?.open_table(KEPT)?.iter()? {
                let (number, until_ms) = entry?;
                kept.push((number.value(), until_ms.value()));
            }
            Ok(kept)
        });
        found.map(Option::unwrap_or_default).map_err(|error| failed(&error, "read which segments are kept"))
    }

    /// Notes segments that only `keep_log` needs, and forgets removed ones.
    pub(super) fn set_kept(&self, kept: &[(u64, u64)], removed: &[u64]) -> Result<(), StoreError> {
        if kept.is_empty() && removed.is_empty() {
            return Ok(());
        }
        self.write("note which segments are kept", |transaction| {
            let mut table = transaction.open_table(KEPT)?;
            for (number, until_ms) in kept {
                table.insert(number, until_ms)?;
            }
            for number in removed {
                table.remove(number)?;
            }
            Ok(())
        })
    }

    fn is_absent(&self) -> bool {
        matches!(*self.file.read().unwrap_or_else(PoisonError::into_inner), File::Absent)
    }

    /// Runs a read. None: there is no file.
    fn read<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<Option<T>, redb::Error> {
        if self.is_absent() { Ok(None) } else { self.with_database(work).map(Some) }
    }

    fn write(
        &self,
        doing: &str,
        work: impl Fn(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let done = self.with_database(|database| {
            let mut transaction = database.begin_write()?;
            // So that the start after a crash does not have to walk through the whole file.
            transaction.set_quick_repair(true);
            work(&transaction)?;
            Ok(transaction.commit()?)
        });
        done.map_err(|error| failed(&error, doing))
    }

    fn with_database<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        loop {
            let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
            let File::Open(database) = &*file else {
                drop(file);
                self.open()?;
                continue;
            };
            let result = guarded(|| work(database));
            drop(file);
            if result.is_err() {
                *self.file.write().unwrap_or_else(PoisonError::into_inner) = File::Closed;
            }
            return result;
        }
    }

    fn open(&self) -> Result<(), redb::Error> {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        *file = match &*file {
            File::Open(_) => return Ok(()),
            File::Closed => File::Open(guarded(|| open_file(&*self.disk, FILE))?),
            File::Absent => File::Open(self.create()?),
        };
        Ok(())
    }

    /// Makes the file under another name first: a half-made one is never taken for the real one.
    fn create(&self) -> Result<Database, redb::Error> {
        if self.disk.list("")?.iter().any(|name| name == UNFINISHED_FILE) {
            self.disk.remove(UNFINISHED_FILE)?;
        }
        let database = guarded(|| {
            let database = open_file(&*self.disk, UNFINISHED_FILE)?;
            let transaction = database.begin_write()?;
            transaction.open_table(ROOMS)?;
            transaction.open_table(SNAPSHOTS)?;
            transaction.open_table(KEPT)?;
            transaction.commit()?;
            Ok(database)
        })?;
        self.disk.rename(UNFINISHED_FILE, FILE)?;
        self.disk.sync_folder("")?;
        Ok(database)
    }
}

/// redb trusts the pages it reads, so a damaged one can make it panic. Here that is one more kind of damage.
fn guarded<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, redb::Error> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Err(redb::Error::TableDoesNotExist(name))) => {
            Err(redb::Error::Corrupted(format!("table {name} is missing")))
        }
        Ok(result) => result,
        Err(_panic) => Err(redb::Error::Corrupted("a page of snapshots.redb does not make sense".to_owned())),
    }
}

fn open_file(disk: &dyn Disk, name: &str) -> Result<Database, redb::Error> {
    let file = RedbFile(disk.open(name, true)?);
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(file)?)
}

fn failed(error: &redb::Error, doing: &str) -> StoreError {
    let source = match error {
        redb::Error::Io(source) => io::Error::new(source.kind(), source.to_string()),
        other => io::Error::other(other.to_string()),
    };
    fault(doing, source)
}

impl Row {
    fn encode(&self, room: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        bytes.put_u64_le(self.epoch);
        bytes.put_u64_le(self.offset);
        bytes.put_u64_le(self.bytes);
        bytes.put_u32_le(self.crc);
        bytes.put_u32_le(crc32c::crc32c_append(crc32c::crc32c(&bytes), room));
        bytes
    }

    fn parse(room: &[u8], bytes: &[u8]) -> Option<Self> {
        let (fields, crc) = bytes.split_at_checked(28)?;
        let row = Self {
            epoch: u64_at(fields, 0)?,
            offset: u64_at(fields, 8)?,
            bytes: u64_at(fields, 16)?,
            crc: u32_at(fields, 24)?,
        };
        (crc.len() == 4 && u32_at(crc, 0)? == crc32c::crc32c_append(crc32c::crc32c(fields), room)).then_some(row)
    }
}

impl Loaded {
    fn judge(room: &str, row: &[u8], snapshot: Vec<u8>) -> Self {
        match Row::parse(room.as_bytes(), row) {
            Some(row) if row.bytes == snapshot.len() as u64 && row.crc == crc32c::crc32c(&snapshot) => {
                Self::Whole(row, snapshot.into())
            }
            row => Self::Damaged { row, rest: snapshot, reason: "its checksum does not fit".to_owned() },
        }
    }
}

/// A file of our disk as redb wants it.
#[derive(Debug)]
struct RedbFile(Arc<dyn DiskFile>);

impl StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = read_full(&*self.0, offset, out)?;
        if read == out.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_size(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_all(&*self.0, offset, data)
    }
}
