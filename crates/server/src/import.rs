//! `concord import --from`: the documents of another server, each merged into the room of its name.
//!
//! Called by the command line, with the store of a stopped server or, to see what would happen, with none. What cannot be read or is refused is told
//! and does not stop the others. Decides names and tells; `migrate` reads, `offline` merges, and nothing is told as imported before it is on
//! stable storage.

use crate::logging::Printable;
use crate::offline::{self, Merged, OfflineError};
use crate::request::{check_room_name, y_websocket_room};
use migrate::{Found, OpenError, Origin, Unreadable};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use store::Store;
use store::backends::memory::Memory;

/// So much is merged before it is synced and told: documents, and bytes of their updates. A sync costs milliseconds, and each is for all of them.
const UNTOLD_MAX: usize = 256;
const UNTOLD_BYTES_MAX: usize = 64 << 20;

/// What is to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Whose data it is.
    pub origin: Origin,
    /// The file or folder.
    pub path: PathBuf,
    /// Only these; none: all of them.
    pub rooms: Vec<String>,
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The room; or the place in the source that could not be read.
    pub name: String,
    /// What the source calls it, where that differs.
    pub stored_as: Option<String>,
    /// Updates that the source has of it.
    pub updates: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Whether that was news, or why it was not taken.
    pub result: Result<News, String>,
    /// Something to look after.
    pub remark: Option<String>,
}

/// Whether a document brought something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It is in the room now.
    Imported,
    /// It could be imported; nothing was.
    Readable,
    /// The room had everything, or there is no content.
    Nothing,
}

/// How many there were of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Whose content is in its room now.
    pub imported: usize,
    /// Whose content could be imported.
    pub readable: usize,
    /// Without news.
    pub unchanged: usize,
    /// Not imported.
    pub failed: usize,
}

/// Why importing ended early, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The source cannot be read at all.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The store does not take it.
    #[error("{0}; then run the same command again: what is imported already stays, and is not imported twice")]
    Store(#[from] store::StoreError),
}

/// Imports documents, and tells of each. Without a store nothing is imported, and it is told what could be. A document with more memory than
/// `room_bytes_max` is remarked upon.
pub fn import_from(
    migration: &Migration,
    store: Option<&dyn Store>,
    room_bytes_max: u64,
    tell: &mut dyn FnMut(&Outcome),
) -> Result<Totals, ImportError> {
    let mut import = Import {
        migration,
        store,
        room_bytes_max,
        tell,
        untold: Vec::new(),
        untold_bytes: 0,
        totals: Totals::default(),
    };
    let mut missing: BTreeSet<&str> = migration.rooms.iter().map(String::as_str).collect();
    for Found { name, content } in migration.origin.open(&migration.path)? {
        let room = import.room_of(&name);
        let known = [Some(name.as_str()), room.as_deref().ok()];
        if let Err(Unreadable::Place(reason)) = content {
            import.failed(name, reason)?;
        } else if migration.rooms.is_empty() || migration.rooms.iter().any(|wanted| known.contains(&Some(wanted))) {
            missing.retain(|&wanted| !known.contains(&Some(wanted)));
            import.document(name, room, content)?;
        }
    }
    for name in missing {
        import.failed(name.to_owned(), format!("is not in {}", migration.path.display()))?;
    }
    import.finish()
}

struct Import<'a> {
    migration: &'a Migration,
    store: Option<&'a dyn Store>,
    room_bytes_max: u64,
    tell: &'a mut dyn FnMut(&Outcome),
    /// Merged, and perhaps not on stable storage yet.
    untold: Vec<Outcome>,
    untold_bytes: usize,
    totals: Totals,
}

impl Import<'_> {
    /// The room that the same client finds here.
    fn room_of(&self, name: &str) -> Result<String, String> {
        let room = match self.migration.origin.names_are_paths() {
            true => y_websocket_room(name),
            false => check_room_name(name).map(|()| name.to_owned()),
        };
        room.map_err(|error| format!("{error}, so no client could open it"))
    }

    fn document(
        &mut self,
        name: String,
        room: Result<String, String>,
        content: Result<Vec<Vec<u8>>, Unreadable>,
    ) -> Result<(), ImportError> {
        let (updates, bytes) = content.as_ref().map_or((0, 0), |all| (all.len(), all.iter().map(Vec::len).sum()));
        let mut remark = None;
        let result = match (&room, content) {
            (Err(reason), _) => Err(reason.clone()),
            (_, Err(reason)) => Err(reason.to_string()),
            (Ok(room), Ok(updates)) => self.merge(room, updates)?.map(|merged| {
                remark = self.remark(merged);
                match (merged.changes, self.store) {
                    (0, _) => News::Nothing,
                    (_, Some(_)) => News::Imported,
                    (_, None) => News::Readable,
                }
            }),
        };
        let room = room.unwrap_or_else(|_| name.clone());
        let stored_as = (room != name).then_some(name);
        self.add(Outcome { name: room, stored_as, updates, bytes, result, remark })
    }

    /// An error of the store ends everything; one of the document only concerns it.
    fn merge(&self, room: &str, updates: Vec<Vec<u8>>) -> Result<Result<Merged, String>, ImportError> {
        let merged = match self.store {
            Some(store) => offline::merge(store, room, updates),
            None => offline::merge(&Memory::default(), room, updates),
        };
        match merged {
            Err(OfflineError::Store(error)) => Err(ImportError::Store(error)),
            Err(error) => Ok(Err(error.to_string())),
            Ok(merged) => Ok(Ok(merged)),
        }
    }

    fn remark(&self, merged: Merged) -> Option<String> {
        let (bytes, limit) = (merged.document_bytes as u64, self.room_bytes_max);
        (bytes > limit).then(|| {
            format!("takes {bytes} bytes of memory, over limits.room_bytes_max ({limit}): it can only be read until that is raised")
        })
    }

    fn failed(&mut self, name: String, reason: String) -> Result<(), ImportError> {
        self.add(Outcome { name, stored_as: None, updates: 0, bytes: 0, result: Err(reason), remark: None })
    }

    fn add(&mut self, outcome: Outcome) -> Result<(), ImportError> {
        self.untold_bytes += outcome.bytes;
        self.untold.push(outcome);
        if self.untold.len() >= UNTOLD_MAX || self.untold_bytes >= UNTOLD_BYTES_MAX {
            self.sync_and_tell()
        } else {
            Ok(())
        }
    }

    fn sync_and_tell(&mut self) -> Result<(), ImportError> {
        if let Some(store) = self.store {
            store.flush()?;
        }
        self.untold_bytes = 0;
        for outcome in self.untold.drain(..) {
            *match outcome.result {
                Ok(News::Imported) => &mut self.totals.imported,
                Ok(News::Readable) => &mut self.totals.readable,
                Ok(News::Nothing) => &mut self.totals.unchanged,
                Err(_) => &mut self.totals.failed,
            } += 1;
            (self.tell)(&outcome);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Totals, ImportError> {
        self.sync_and_tell()?;
        Ok(self.totals)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.result {
            Ok(News::Imported) => "imported",
            Ok(News::Readable) => "readable",
            Ok(News::Nothing) if self.updates == 0 => "empty",
            Ok(News::Nothing) => "nothing new",
            Err(_) => "failed",
        };
        write!(f, "{what}\t{}", Printable(&self.name))?;
        if let Some(name) = &self.stored_as {
            write!(f, " (stored as {})", Printable(name))?;
        }
        match &self.result {
            Err(reason) => write!(f, "\t{}", Printable(reason)),
            Ok(_) => {
                let plural = if self.updates == 1 { "" } else { "s" };
                write!(f, "\t{} update{plural}\t{} bytes", self.updates, self.bytes)
            }
        }?;
        self.remark.iter().try_for_each(|remark| write!(f, "\t{remark}"))
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.readable {
            0 => write!(f, "{} imported", self.imported)?,
            readable => write!(f, "{readable} readable, nothing imported")?,
        }
        write!(f, ", {} without news, {} failed", self.unchanged, self.failed)
    }
}
