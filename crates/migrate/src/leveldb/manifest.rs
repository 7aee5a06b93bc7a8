//! Which files count: `CURRENT` names the manifest, whose records say one after the other which tables came and went, and from which log on
//! changes are in no table yet.

use super::log;
use crate::{OpenError, Origin};
use document::lib0::Reader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How keys are ordered in every database that does not say otherwise.
const ORDER: &[u8] = b"leveldb.BytewiseComparator";

/// What to do when this cannot be read.
const REPAIR: &str =
    "LevelDB can repair a copy of the folder (`repair` of the npm packages leveldown and classic-level)";

/// A table that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableFile {
    pub(super) number: u64,
    /// Its first and its last key.
    pub(super) smallest: Vec<u8>,
    pub(super) largest: Vec<u8>,
}

/// The tables and logs of a database.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) tables: Vec<TableFile>,
    /// Logs from this number on count, and this one before.
    log: u64,
    log_before: u64,
}

impl Manifest {
    pub(super) fn read(folder: &Path) -> Result<Self, OpenError> {
        let current = folder.join("CURRENT");
        let name = match std::fs::read_to_string(&current) {
            Ok(name) => name,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => {
                return Err(OpenError::not_its(
                    folder,
                    Origin::YLeveldb,
                    "it has no file CURRENT, so it is no LevelDB",
                ));
            }
            Err(error) => return Err(OpenError::unreadable(&current, error)),
        };
        let name = name.trim_end();
        if !name.starts_with("MANIFEST-") || name.contains('/') {
            return Err(OpenError::damaged(&current, format!("it does not name a manifest; {REPAIR}")));
        }
        let path = folder.join(name);
        let file = std::fs::read(&path).map_err(|error| OpenError::unreadable(&path, error))?;
        let damaged = |reason: &str| OpenError::damaged(&path, format!("{reason}; {REPAIR}"));
        let mut edits = Edits::default();
        for record in log::records(&file) {
            let record = record.map_err(|reason| damaged(&reason))?;
            edits.take(&record).ok_or_else(|| damaged("a record of it is not in the format"))?;
        }
        if edits.order.as_deref() != Some(ORDER) {
            let order = edits.order.map(|order| String::from_utf8_lossy(&order).into_owned());
            let reason = format!("its keys are ordered by {}", order.as_deref().unwrap_or("nothing"));
            return Err(OpenError::not_its(folder, Origin::YLeveldb, &reason));
        }
        Ok(Self { tables: edits.tables.into_values().collect(), log: edits.log, log_before: edits.log_before })
    }

    /// The logs that count, oldest first.
    pub(super) fn logs(&self, folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
        let unreadable = |error| OpenError::unreadable(folder, error);
        let mut logs = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if let Some(number) = number.filter(|_| path.extension().is_some_and(|end| end == "log")) {
                logs.push((number, path));
            }
        }
        logs.sort();
        logs.retain(|(number, _)| *number >= self.log || *number == self.log_before);
        Ok(logs.into_iter().map(|(_, path)| path).collect())
    }
}

#[derive(Default)]
struct Edits {
    order: Option<Vec<u8>>,
    /// By level and number.
    tables: BTreeMap<(u64, u64), TableFile>,
    log: u64,
    log_before: u64,
}

impl Edits {
    /// One record: fields, each a tag and what belongs to it.
    fn take(&mut self, record: &[u8]) -> Option<()> {
        let mut reader = Reader::new(record);
        while !reader.is_empty() {
            let tag = number(&mut reader)?;
            match tag {
                1 => self.order = Some(reader.var_bytes().ok()?.to_vec()),
                2 => self.log = number(&mut reader)?,
                // The next free number, and the last sequence.
                3 | 4 => drop(number(&mut reader)?),
                // Where compaction goes on.
                5 => drop((number(&mut reader)?, reader.var_bytes().ok()?)),
                6 => drop(self.tables.remove(&(number(&mut reader)?, number(&mut reader)?))),
                7 => {
                    let (level, file, _bytes) = (number(&mut reader)?, number(&mut reader)?, number(&mut reader)?);
                    let (smallest, largest) = (user_key(&mut reader)?, user_key(&mut reader)?);
                    self.tables.insert((level, file), TableFile { number: file, smallest, largest });
                }
                9 => self.log_before = number(&mut reader)?,
                _ => return None,
            }
        }
        Some(())
    }
}

fn number(reader: &mut Reader<'_>) -> Option<u64> {
    reader.var_uint().ok()
}

fn user_key(reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    Some(reader.var_bytes().ok()?.split_last_chunk::<8>()?.0.to_vec())
}
