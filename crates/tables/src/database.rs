//! One open database: its connections and what is not written yet. Threads borrow connections here; which room is open is decided in
//! `src/schedule.rs`. All SQLite settings that keep a database safe and durable are made in this file.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use crate::debounced::Debounced;
use crate::usage::Usage;
use crate::{Durability, Settings, room_file};

/// Bytes of a page; SQLite's own default, written down because the size of a room is counted in pages.
const PAGE_BYTES: u64 = 4_096;
/// Columns of a table.
pub(crate) const COLUMNS_MAX: usize = 500;
/// Instructions between two looks at the clock: some 100 microseconds.
const PROGRESS_EVERY: i32 = 10_000;

/// The built-in table, and what this crate keeps for itself. The index lets a user's rows be found without a look at other users' rows.
const SCHEMA: &str = "BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS tasks(id INTEGER PRIMARY KEY, title TEXT, status TEXT, vector_status TEXT DEFAULT 'pending', owner_id TEXT, user_id TEXT);
CREATE INDEX IF NOT EXISTS _tasks_owner ON tasks(owner_id);
CREATE TABLE IF NOT EXISTS _usage(date TEXT PRIMARY KEY, reads INTEGER NOT NULL, writes INTEGER NOT NULL, ai_ops INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _debounced_state(key TEXT PRIMARY KEY, value TEXT, updated_at INTEGER);
CREATE TABLE IF NOT EXISTS _meta(name TEXT PRIMARY KEY, value);
INSERT OR IGNORE INTO _meta(name, value) VALUES ('usage_flushes', 0);
COMMIT";

/// A room's database while it is open.
pub(crate) struct Database {
    path: PathBuf,
    writer: Mutex<Connection>,
    quick: Mutex<Vec<Connection>>,
    debounced: Mutex<Debounced>,
    usage: Mutex<Usage>,
}

impl Database {
    /// Opens the room's file, and makes it if it is not there. The error is a sentence.
    pub(crate) fn open(settings: &Settings, room: &str) -> Result<Database, String> {
        let path = room_file::path_of(&settings.folder, room);
        let cannot = |why: String| format!("Room database cannot be opened: {why}");
        make_file(settings, &path).map_err(|why| cannot(why.to_string()))?;
        let writer = patiently(|| writer(settings, &path)).map_err(|why| cannot(words(&why)))?;
        if room_file::is_long(room) && !check_name(&writer, room).map_err(|why| cannot(words(&why)))? {
            return Err(cannot("its file belongs to a room with another name".to_owned()));
        }
        let flushes = writer.query_row("SELECT value FROM _meta WHERE name = 'usage_flushes'", [], |row| row.get(0));
        let flushes = flushes.map_err(|why| cannot(words(&why)))?;
        Ok(Database {
            path,
            writer: Mutex::new(writer),
            quick: Mutex::default(),
            debounced: Mutex::default(),
            usage: Mutex::new(Usage::new(flushes)),
        })
    }

    /// The one connection that writes. Its room is at one thread at a time, so nobody waits here.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn debounced(&self) -> MutexGuard<'_, Debounced> {
        self.debounced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When something that waits in memory must be written.
    pub(crate) fn due(&self, settings: &Settings) -> Option<Instant> {
        let debounced = self.debounced().due(Duration::from_millis(settings.debounce_ms));
        let usage = self.usage().due(Duration::from_millis(settings.usage_ms));
        debounced.into_iter().chain(usage).min()
    }

    /// Whether closing would lose something.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.debounced().is_empty() || !self.usage().is_empty()
    }

    /// Runs a short read on a connection that is kept for the next one.
    pub(crate) fn read<T>(
        &self,
        settings: &Settings,
        mut read: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        patiently(|| {
            let kept = self.quick.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.reader(settings)?,
            };
            // Short as it should be, it may have to count millions of rows.
            let deadline = Instant::now() + Duration::from_millis(settings.query_ms_max);
            connection.progress_handler(PROGRESS_EVERY, Some(move || Instant::now() >= deadline))?;
            let snapshot = connection.unchecked_transaction()?;
            let answer = read(&snapshot)?;
            snapshot.finish()?;
            // One that has failed is not kept.
            self.quick.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(answer)
        })
    }

    /// A connection that cannot write. Each statement of a user gets its own, so no state passes from one user to another.
    pub(crate) fn reader(&self, settings: &Settings) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        harden(&connection, settings)?;
        Ok(connection)
    }

    /// Writes the log into the database and closes all files. What is in memory must have been written before.
    pub(crate) fn close(self) -> Result<(), String> {
        drop(self.quick);
        let writer = self.writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        writer.close().map_err(|(_, why)| words(&why))
    }
}

/// A new file's name must survive a power cut as well as the rows in it.
fn make_file(settings: &Settings, path: &Path) -> std::io::Result<()> {
    if settings.durability == Durability::Synced && !path.exists() {
        std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        #[cfg(unix)]
        std::fs::File::open(&settings.folder)?.sync_all()?;
    }
    Ok(())
}

/// A file that does not say its room's whole name belongs to the room that its database says.
fn check_name(writer: &Connection, room: &str) -> rusqlite::Result<bool> {
    let find = || {
        writer.query_row("SELECT value FROM _meta WHERE name = 'room'", [], |row| row.get::<_, String>(0)).optional()
    };
    if let Some(name) = find()? {
        return Ok(name == room);
    }
    writer.execute("INSERT INTO _meta(name, value) VALUES ('room', ?1)", [room])?;
    Ok(true)
}

fn writer(settings: &Settings, path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    harden(&connection, settings)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let why = "the file system has no shared memory, which a log that is written ahead needs; set the data folder to a local disk";
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(why.to_owned()),
        ));
    }
    let synchronous = match settings.durability {
        Durability::Synced => "FULL",
        Durability::Written => "NORMAL",
        Durability::Memory => "OFF",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // After a large insert the log shrinks again.
    connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
    let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let pages = (settings.room_bytes_max / page.max(1)).clamp(16, u64::from(u32::MAX) - 2);
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    let is_new: bool = connection.query_row(
        "SELECT count(*) < 5 FROM sqlite_schema WHERE name IN ('tasks', '_tasks_owner', '_usage', '_debounced_state', '_meta')",
        [],
        |row| row.get(0),
    )?;
    if is_new {
        connection.execute_batch(SCHEMA)?;
    }
    Ok(connection)
}

/// What holds for every connection: nothing in a file runs code, nothing grows without bound.
fn harden(connection: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    use DbConfig as C;
    for (option, is_on) in [
        (C::SQLITE_DBCONFIG_DEFENSIVE, true),
        (C::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        // No method makes triggers or views: one that is in the file has come from elsewhere.
        (C::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (C::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (C::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (C::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
        (C::SQLITE_DBCONFIG_DQS_DDL, false),
    ] {
        connection.set_db_config(option, is_on)?;
    }
    let value = i32::try_from(settings.value_bytes_max).unwrap_or(i32::MAX);
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, value),
        // 10,000 characters of four bytes, and the definitions of tables with 500 columns.
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 256 << 10),
        // A row of 500 columns is an object of 500 members; spreadsheets that people upload have fewer. One more: a statement may want the row's number.
        (Limit::SQLITE_LIMIT_COLUMN, COLUMNS_MAX as i32 + 1),
        // Recursion in the parser and the code generator is stack.
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
        // One matching of a pattern is one instruction, in which no deadline is looked at, and takes time with both lengths.
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 1_000),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // 512 KiB: the pages of a room that is used by a few people; the system's cache has the others.
    connection.pragma_update(None, "cache_size", -512)?;
    // Another process may look at the file, as a backup does.
    connection.busy_timeout(Duration::from_secs(5))
}

/// Tries again while a stranger's statement has taken the memory that SQLite may have: it fails itself at once, and gives all back.
pub(crate) fn patiently<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    // 100 times 5 ms: some hundred times as long as it takes to free half a GiB.
    for _ in 0..100 {
        match work() {
            Err(why) if is_out_of_memory(&why) => std::thread::sleep(Duration::from_millis(5)),
            result => return result,
        }
    }
    work()
}

pub(crate) fn is_out_of_memory(why: &rusqlite::Error) -> bool {
    why.sqlite_error_code() == Some(ErrorCode::OutOfMemory)
}

/// What SQLite says, without the statement.
pub(crate) fn words(why: &rusqlite::Error) -> String {
    match why {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// Whether there was no space for the write, in the room or on the disk.
pub(crate) fn is_full(why: &rusqlite::Error) -> bool {
    why.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether the room's own bound is what a write of this size has met, and not the disk's.
pub(crate) fn is_room_full(connection: &Connection, write_bytes: usize) -> bool {
    let number =
        |pragma| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, u64>(0)).unwrap_or(0);
    let (pages, free, most) = (number("page_count"), number("freelist_count"), number("max_page_count"));
    // A write takes its own pages, one in each index and one in each level of a tree.
    let wanted = 2 * write_bytes as u64 / PAGE_BYTES + 64;
    pages.saturating_sub(free) + wanted >= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_is_what_sqlite_is_told() {
        let folder = std::env::temp_dir().join(format!("tables-durability-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        for (durability, expected) in [(Durability::Synced, 2), (Durability::Written, 1), (Durability::Memory, 0)] {
            let settings = Settings { durability, ..Settings::new(&folder) };
            let database = Database::open(&settings, "r").expect("a database");
            let number = |db: &Connection, pragma: &str| {
                db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
            };
            assert_eq!(number(&database.writer(), "synchronous"), Ok(expected), "{durability:?}");
            assert_eq!(number(&database.writer(), "trusted_schema"), Ok(0));
            assert_eq!(number(&database.writer(), "max_page_count"), Ok((1 << 30) / 4_096));
            let reader = database.reader(&settings).expect("a reader");
            assert_eq!(number(&reader, "trusted_schema"), Ok(0));
            assert!(reader.execute("DELETE FROM tasks", []).is_err(), "a reader cannot write");
            drop(reader);
            database.close().expect("it can be closed");
        }
        std::fs::remove_dir_all(folder).expect("the folder is gone");
    }
}
