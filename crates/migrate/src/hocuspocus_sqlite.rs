//! The database of `@hocuspocus/extension-sqlite`: `documents(name, data)`, where `data` is the whole document as one v1 update.
//!
//! Opened for reading only. A server that has it open is no obstacle: SQLite's own locks are kept, and its write-ahead log is read. A
//! database that nobody has open, and that has no write-ahead log, is opened as immutable, so that a folder that cannot be written to is enough.

use crate::{Found, OpenError, Origin, Unreadable};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Of the file's first 100 bytes: what it is, and how it is written (1: rollback journal, 2: write-ahead log).
const MAGIC: &[u8] = b"SQLite format 3\0";
const WRITE_VERSION_AT: usize = 18;
const WRITE_AHEAD: u8 = 2;

/// The documents of a database, oldest row first.
pub(crate) fn open(path: &Path) -> Result<impl Iterator<Item = Found> + use<>, OpenError> {
    let mut head = [0; 20];
    let mut file = File::open(path).map_err(|error| OpenError::unreadable(path, error))?;
    if file.read_exact(&mut head).is_err() || !head.starts_with(MAGIC) {
        return Err(OpenError::not_its(path, Origin::HocuspocusSqlite, "it is not an SQLite database"));
    }
    let refused =
        |error: rusqlite::Error| OpenError::Refused { path: path.display().to_string(), reason: explain(&error) };
    let connection = connect(path, head[WRITE_VERSION_AT] == WRITE_AHEAD).map_err(refused)?;
    // One view of everything, also while a server writes.
    connection.execute_batch("BEGIN").map_err(refused)?;
    let columns = "SELECT count(*) FROM pragma_table_info('documents') WHERE name IN ('name', 'data')";
    if connection.query_row(columns, [], |row| row.get::<_, i64>(0)).map_err(refused)? != 2 {
        let reason = "it has no table documents with columns name and data";
        return Err(OpenError::not_its(path, Origin::HocuspocusSqlite, reason));
    }
    let rows = rows(&connection).map_err(refused)?;
    Ok(rows.into_iter().map(move |row| read(&connection, row)))
}

fn connect(path: &Path, write_ahead: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if write_ahead && !beside(path, "-wal").exists() {
        // Whoever has it open has made that file.
        let mut address = "file:".to_owned();
        for byte in path.as_os_str().as_encoded_bytes() {
            let _never_fails = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                    write!(address, "{}", *byte as char)
                }
                byte => write!(address, "%{byte:02x}"),
            };
        }
        return Connection::open_with_flags(address + "?immutable=1", flags | OpenFlags::SQLITE_OPEN_URI);
    }
    Connection::open_with_flags(path, flags)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// The rows, without their content: a row whose content is on a damaged page must not hide the others.
fn rows(connection: &Connection) -> rusqlite::Result<Vec<(i64, Option<String>)>> {
    let mut statement = connection.prepare("SELECT rowid, name FROM documents ORDER BY rowid")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name = match row.get_ref(1)? {
            ValueRef::Text(text) => String::from_utf8(text.to_vec()).ok(),
            _ => None,
        };
        found.push((row.get(0)?, name));
    }
    Ok(found)
}

fn read(connection: &Connection, (row, name): (i64, Option<String>)) -> Found {
    let Some(name) = name else {
        let reason = "is not a document: its name is not text".to_owned();
        return Found { name: format!("row {row}"), content: Err(Unreadable::Place(reason)) };
    };
    let data = connection.query_row("SELECT data FROM documents WHERE rowid = ?1", [row], |row| {
        Ok(match row.get_ref(0)? {
            ValueRef::Blob(data) => Ok(vec![data.to_vec()]),
            other => Err(format!("is not a document: its data is {} and not a blob", other.data_type())),
        })
    });
    let data = data.unwrap_or_else(|error| Err(explain(&error)));
    Found { name, content: data.map_err(Unreadable::Document) }
}

fn explain(error: &rusqlite::Error) -> String {
    let todo = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::CannotOpen) => {
            "; copy it, with the files beside it whose names begin like its own, to a folder that can be written to"
        }
        Some(rusqlite::ErrorCode::ReadOnly) => {
            "; a crash has left it in the middle of a write: start and stop that server once, or open it once with `sqlite3 FILE .tables`"
        }
        Some(rusqlite::ErrorCode::DatabaseBusy) => "; another process is writing it: try again, or stop that server",
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            "; `sqlite3 FILE .recover | sqlite3 NEW` saves what can be saved"
        }
        _ => "",
    };
    format!("{error}{todo}")
}
