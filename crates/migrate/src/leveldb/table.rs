//! A table: blocks of entries, and at its end an index that says where each block is and with which key it ends at the latest.
//!
//! The last 48 bytes are the places (varint offset, varint size) of two blocks, of which the second is the index, padding, and a magic
//! number. A key in a table is followed by eight bytes: `sequence << 8 | (1: a value, 0: deleted)`. Called by the merge.

use super::Entry;
use super::block::{self, Pair, TRAILER_BYTES};
use document::lib0::Reader;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const FOOTER_BYTES: u64 = 48;
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// A table's file, under the name that it has now or the one of older versions.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    let [now, earlier] = ["ldb", "sst"].map(|end| folder.join(format!("{number:06}.{end}")));
    if earlier.exists() && !now.exists() { earlier } else { now }
}

/// A table that is being read from its beginning to its end.
pub(super) struct Table {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// The blocks that are left: the last key that may be in it, offset, size.
    blocks: std::vec::IntoIter<(Vec<u8>, u64, u64)>,
    entries: std::vec::IntoIter<Entry>,
}

impl Table {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let bytes = file.metadata().map_err(|error| error.to_string())?.len();
        let mut table = Self {
            path: path.to_owned(),
            file,
            bytes,
            blocks: Vec::new().into_iter(),
            entries: Vec::new().into_iter(),
        };
        table.blocks = table.index()?.into_iter();
        Ok(table)
    }

    pub(super) fn name(&self) -> String {
        super::name_of(&self.path)
    }

    /// The next entry; or what is wrong with a block, and the last key that may be in it. The blocks behind it follow.
    pub(super) fn next(&mut self) -> Option<Result<Entry, (String, Vec<u8>)>> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(Ok(entry));
            }
            let (until, offset, size) = self.blocks.next()?;
            match self.block(offset, size).and_then(|entries| as_entries(entries).ok_or_else(broken)) {
                Ok(entries) => self.entries = entries.into_iter(),
                Err(reason) => {
                    return Some(Err((format!("the block at byte {offset} cannot be read: {reason}"), until)));
                }
            }
        }
    }

    fn index(&self) -> Result<Vec<(Vec<u8>, u64, u64)>, String> {
        let at = self.bytes.checked_sub(FOOTER_BYTES).ok_or("it is too short for a table")?;
        let footer = self.read(at, FOOTER_BYTES)?;
        let places = footer.strip_suffix(&MAGIC).ok_or("it does not end as a table does")?;
        let mut reader = Reader::new(places);
        let (_meta, index) = (place(&mut reader), place(&mut reader));
        let (offset, size) = index.ok_or("it does not end as a table does")?;
        let index = self.block(offset, size).map_err(|reason| format!("its index cannot be read: {reason}"))?;
        let entry = |(key, value): Pair| {
            let (offset, size) = place(&mut Reader::new(&value))?;
            Some((key.split_last_chunk::<8>()?.0.to_vec(), offset, size))
        };
        index.into_iter().map(entry).collect::<Option<_>>().ok_or_else(|| "its index cannot be read".to_owned())
    }

    fn block(&self, offset: u64, size: u64) -> Result<Vec<Pair>, String> {
        let stored = self.read(offset, size.saturating_add(TRAILER_BYTES as u64))?;
        block::entries(&block::unpack(&stored)?).ok_or_else(broken)
    }

    fn read(&self, offset: u64, size: u64) -> Result<Vec<u8>, String> {
        if offset.checked_add(size).is_none_or(|end| end > self.bytes) {
            return Err("it would end behind the file".to_owned());
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

fn broken() -> String {
    "its entries are not in the format".to_owned()
}

fn place(reader: &mut Reader<'_>) -> Option<(u64, u64)> {
    Some((reader.var_uint().ok()?, reader.var_uint().ok()?))
}

fn as_entries(entries: Vec<Pair>) -> Option<Vec<Entry>> {
    let entry = |(mut key, value): Pair| {
        let tag = u64::from_le_bytes(*key.last_chunk::<8>()?);
        key.truncate(key.len() - 8);
        Some(Entry { key, sequence: tag >> 8, value: (tag & 0xff == 1).then_some(value) })
    };
    entries.into_iter().map(entry).collect()
}
