//! A LevelDB database, read from its files without opening it as LevelDB does: nothing is written, locked, compacted or repaired.
//!
//! `manifest` says which tables and logs count, `log` reads both the manifest and the changes that are in no table yet, `table` reads tables.
//! Here they are merged: of each key the newest entry counts, and deletions hide what is older. Called by `y_leveldb`. A table is opened
//! when its first key is due and closed after its last, so memory is a few blocks and the log (4 MB in LevelDB's own configuration).

mod block;
mod log;
mod manifest;
mod table;

use crate::OpenError;
use manifest::{Manifest, TableFile};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use table::Table;

/// A key with its newest value, or something that could not be read.
pub(crate) type Item = Result<(Vec<u8>, Vec<u8>), Damage>;

/// A part of a file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Name of the file.
    pub(crate) file: String,
    /// What is wrong, where, and what that means.
    pub(crate) reason: String,
    /// Keys from here to this one may be missing or stale. None: any.
    pub(crate) until: Option<Vec<u8>>,
}

/// One entry of a file: a key, its sequence number, and its value, or none where it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: Vec<u8>,
    sequence: u64,
    value: Option<Vec<u8>>,
}

/// Ordered by key, the newest first: how the merge takes them.
type Due = Reverse<(Vec<u8>, Reverse<u64>, usize)>;

/// All entries of a database in the order of their keys.
pub(crate) struct Entries {
    sources: Vec<Source>,
    due: BinaryHeap<Due>,
    damages: VecDeque<Damage>,
    /// The key of which the newest entry has been told or was a deletion.
    done: Option<Vec<u8>>,
}

/// Where entries come from, each in order; `next` waits for its turn in `due`.
struct Source {
    next: Option<Entry>,
    from: From,
}

enum From {
    Logs(std::vec::IntoIter<Entry>),
    Unopened(PathBuf, TableFile),
    Table(Box<Table>, TableFile),
    Nothing,
}

impl Entries {
    /// Opens a folder. Fails when it is none of LevelDB's, when a process has it open, and when what says which files count is damaged.
    pub(crate) fn open(folder: &Path) -> Result<Self, OpenError> {
        let manifest = Manifest::read(folder)?;
        if let Some(process) = process_that_locks(&folder.join("LOCK")) {
            return Err(OpenError::InUse { path: folder.display().to_string(), process });
        }
        let mut entries = Self { sources: Vec::new(), due: BinaryHeap::new(), damages: VecDeque::new(), done: None };
        let logged = entries.read_logs(folder, &manifest)?;
        entries.add(From::Logs(logged.into_iter()));
        for file in manifest.tables {
            let path = table::path(folder, file.number);
            let due = Reverse((file.smallest.clone(), Reverse(u64::MAX), entries.sources.len()));
            entries.sources.push(Source { next: None, from: From::Unopened(path, file) });
            entries.due.push(due);
        }
        Ok(entries)
    }

    /// The newest change of each key that is in no table yet, in order.
    fn read_logs(&mut self, folder: &Path, manifest: &Manifest) -> Result<Vec<Entry>, OpenError> {
        let mut newest: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        for path in manifest.logs(folder)? {
            let bytes = std::fs::read(&path).map_err(|error| OpenError::unreadable(&path, error))?;
            for record in log::records(&bytes) {
                match record.and_then(log::changes) {
                    Ok(changes) => {
                        for change in changes {
                            let older = newest.get(&change.key).is_none_or(|known| known.sequence <= change.sequence);
                            if older {
                                newest.insert(change.key.clone(), change);
                            }
                        }
                    }
                    Err(reason) => self.damages.push_back(Damage {
                        file: name_of(&path),
                        reason: format!("{reason}; changes of some document may be missing, the newest ones"),
                        until: None,
                    }),
                }
            }
        }
        Ok(newest.into_values().collect())
    }

    fn add(&mut self, from: From) {
        self.sources.push(Source { next: None, from });
        self.advance(self.sources.len() - 1);
    }

    /// Has the next entry of a source ready, if there is one.
    fn advance(&mut self, index: usize) {
        let source = &mut self.sources[index];
        loop {
            let next = match &mut source.from {
                From::Nothing => None,
                From::Logs(entries) => entries.next(),
                From::Unopened(path, file) => {
                    let file = file.clone();
                    match Table::open(path) {
                        Ok(table) => source.from = From::Table(Box::new(table), file),
                        Err(reason) => {
                            let reason = format!("{reason}; documents in it are missing");
                            self.damages.push_back(Damage { file: name_of(path), reason, until: Some(file.largest) });
                            source.from = From::Nothing;
                        }
                    }
                    continue;
                }
                From::Table(table, file) => match table.next() {
                    Some(Ok(entry)) => Some(entry),
                    None => None,
                    Some(Err((reason, until))) => {
                        let reason = format!("{reason}; documents in it are missing");
                        // The last separator may be any key behind the last one.
                        let until = Some(until.min(file.largest.clone()));
                        self.damages.push_back(Damage { file: table.name(), reason, until });
                        continue;
                    }
                },
            };
            if let Some(entry) = &next {
                self.due.push(Reverse((entry.key.clone(), Reverse(entry.sequence), index)));
            } else {
                source.from = From::Nothing;
            }
            source.next = next;
            return;
        }
    }
}

impl Iterator for Entries {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(damage) = self.damages.pop_front() {
                return Some(Err(damage));
            }
            let Reverse((key, _, index)) = self.due.pop()?;
            let entry = self.sources[index].next.take();
            self.advance(index);
            let Some(entry) = entry else { continue };
            if self.done.as_ref() == Some(&key) {
                continue;
            }
            self.done = Some(key);
            if let Some(value) = entry.value {
                return Some(Ok((entry.key, value)));
            }
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The process that has a database open: LevelDB holds a POSIX lock on an empty file. Only Linux tells who does; elsewhere nobody is found.
fn process_that_locks(path: &Path) -> Option<u32> {
    let file = std::fs::metadata(path).ok()?;
    let (device, inode) = (file.dev(), file.ino());
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    holder(&std::fs::read_to_string("/proc/locks").ok()?, &place)
}

/// Of lines such as `3: POSIX  ADVISORY  WRITE 4121 fe:00:1834018 0 EOF` the process at a place. Who waits for a lock has an arrow behind the number.
fn holder(locks: &str, place: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(5) == Some(&place)).then(|| fields[4].parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let locks = "1: POSIX  ADVISORY  READ 12 fe:00:18 128 128\n2: FLOCK  ADVISORY  WRITE 13 fe:00:19 0 EOF\n\
                     2: -> POSIX  ADVISORY  WRITE 14 fe:00:20 0 EOF\n3: OFDLCK ADVISORY  WRITE -1 fe:01:20 0 EOF\n";
        let cases =
            [("fe:00:18", Some(12)), ("fe:00:19", Some(13)), ("fe:00:20", None), ("fe:01:20", None), ("18", None)];
        for (place, expected) in cases {
            assert_eq!(holder(locks, place), expected, "{place}");
        }
    }
}
