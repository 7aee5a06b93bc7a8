//! Which file belongs to which room. A name is written so that it can be read back, that no two rooms share a file on any file system,
//! and that no part is too long for one. Whoever opens, deletes or lists databases asks here; this opens none.

use std::path::{Path, PathBuf};

/// Characters of one part of a path. 200: file names have at most 255 bytes, and SQLite adds `-wal` and `-shm` to `.db`.
const PART_MAX: usize = 200;

/// Where the room's database is: `[a-z0-9_-]` stand for themselves, all other bytes are `%` and two digits, so upper case does not
/// meet lower case. What is longer than one part continues in a folder whose name ends in `~`, which is no character of a name.
pub(crate) fn path_of(folder: &Path, room: &str) -> PathBuf {
    let mut escaped = String::with_capacity(room.len() + 8);
    for byte in room.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02x}")),
        }
    }
    let mut path = folder.to_path_buf();
    let mut rest = escaped.as_str();
    while rest.len() > PART_MAX {
        let (part, tail) = rest.split_at(PART_MAX);
        path.push(format!("{part}~"));
        rest = tail;
    }
    path.push(format!("{rest}.db"));
    path
}

/// The rooms whose databases are in the folder, with the bytes of their files. Other files are left out.
pub(crate) fn list(folder: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut rooms = Vec::new();
    walk(folder, "", &mut rooms)?;
    rooms.retain(|(room, path, _)| path_of(folder, room) == *path);
    let mut rooms: Vec<_> = rooms.into_iter().map(|(room, _, bytes)| (room, bytes)).collect();
    rooms.sort();
    Ok(rooms)
}

fn walk(folder: &Path, prefix: &str, rooms: &mut Vec<(String, PathBuf, u64)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(part) = name.strip_suffix('~') {
            // A room's name has at most 255 bytes, so its path has at most four parts; what is deeper is not ours.
            if part.len() == PART_MAX && prefix.len() <= 3 * PART_MAX {
                walk(&entry.path(), &format!("{prefix}{part}"), rooms)?;
            }
        } else if let Some(room) = name.strip_suffix(".db").and_then(|part| unescape(&format!("{prefix}{part}"))) {
            rooms.push((room, entry.path(), bytes_of(&entry.path())));
        }
    }
    Ok(())
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
    fn every_name_has_a_file_of_its_own_that_can_be_read_back() {
        let long = "ä".repeat(127);
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
            &"z".repeat(255),
            &"z".repeat(200),
        ];
        let mut seen = HashSet::new();
        for name in names {
            let path = path_of(Path::new("f"), name);
            assert!(seen.insert(path.to_string_lossy().to_lowercase()), "{name}");
            let mut parts: Vec<String> = path
                .strip_prefix("f")
                .expect("inside")
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            assert!(parts.iter().all(|part| part.len() <= PART_MAX + 3 && part != ".." && part != "."), "{parts:?}");
            let leaf = parts.pop().expect("a leaf");
            let joined: String = parts.iter().map(|part| part.trim_end_matches('~')).collect();
            assert_eq!(
                unescape(&format!("{joined}{}", leaf.strip_suffix(".db").expect("a database"))).as_deref(),
                Some(name)
            );
        }
    }
}
