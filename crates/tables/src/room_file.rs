//! Which file belongs to which room. A short name is written so that it can be read back; a long one by its beginning and a hash, and its
//! database says the whole. Two rooms share a file on no file system, not even where `A` and `a` are one. Whoever opens, deletes or lists
//! databases asks here.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use sha1_smol::Sha1;

/// Characters of a name that is written in full. 200: file names have at most 255 bytes, and SQLite adds `-wal` and `-shm` to `.db`; whole
/// paths it takes up to 512, so parts in several folders would not do.
const NAME_MAX: usize = 200;
/// Characters of the beginning of a longer one: for people who look for it.
const START: usize = 120;

/// Where the room's database is: `[a-z0-9_-]` stand for themselves, all other bytes are `%` and two digits, so upper case does not
/// meet lower case. `~` comes before a hash and is no character of a name.
pub(crate) fn path_of(folder: &Path, room: &str) -> PathBuf {
    let escaped = escaped(room);
    if escaped.len() <= NAME_MAX {
        return folder.join(format!("{escaped}.db"));
    }
    folder.join(format!("{}~{}.db", &escaped[..START], Sha1::from(room).digest()))
}

/// Whether the room's file does not say its whole name. Its database then must, and must be asked before it is used.
pub(crate) fn is_long(room: &str) -> bool {
    escaped(room).len() > NAME_MAX
}

fn escaped(room: &str) -> String {
    let mut escaped = String::with_capacity(room.len() + 8);
    for byte in room.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02x}")),
        }
    }
    escaped
}

/// The rooms whose databases are in the folder, with the bytes of their files. Other files are left out.
pub(crate) fn list(folder: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut rooms = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".db")) else { continue };
        let room = if name.contains('~') { written_in(&path) } else { unescape(name) };
        if let Some(room) = room.filter(|room| path_of(folder, room) == path) {
            rooms.push((room, bytes_of(&path)));
        }
    }
    rooms.sort();
    Ok(rooms)
}

/// The name that a database says. None for one that is not finished or broken: it says none.
fn written_in(path: &Path) -> Option<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).ok()?;
    db.query_row("SELECT value FROM _meta WHERE name = 'room'", [], |row| row.get(0)).ok()
}

/// The bytes of a database with its log.
fn bytes_of(path: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |data| data.len());
    size(path) + size(&beside(path, "-wal"))
}

/// The file that SQLite keeps beside a database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|room| !room.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_has_a_file_of_its_own() {
        let (long, other) = ("ä".repeat(127), format!("{}ö", "ä".repeat(126)));
        let names = [
            "a",
            "A",
            "a%41",
            "..",
            ".",
            "a/b",
            "a\\b",
            "con",
            "x.db",
            "~",
            "%",
            "a b",
            "日本",
            &long,
            &other,
            &"z".repeat(255),
            &"z".repeat(200),
        ];
        let mut seen = HashSet::new();
        for name in names {
            let path = path_of(Path::new("f"), name);
            assert!(seen.insert(path.to_string_lossy().to_lowercase()), "{name}");
            assert_eq!(path.parent(), Some(Path::new("f")));
            let leaf = path.file_name().expect("a file").to_string_lossy().into_owned();
            assert!(leaf.len() + "-wal".len() <= 255 && leaf.is_ascii() && !leaf.starts_with('.'), "{leaf}");
            let written = leaf.strip_suffix(".db").expect("a database");
            assert_eq!(is_long(name), written.contains('~'));
            if !is_long(name) {
                assert_eq!(unescape(written).as_deref(), Some(name));
            }
        }
    }
}
