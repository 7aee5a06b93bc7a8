//! A room on disk: its document in few bytes, what is parked with whose it is, and who wrote what when.
//!
//! `squash` is compaction: a pure function from a snapshot and the changes after it to the next snapshot, run off the room's thread. Shape: `u8 version,
//! varbytes attribution, varuint parked, (varstring author, varbytes update)*, varbytes state`. Does not know where the bytes are kept.

use crate::message::{Author, Change};
use document::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};
use document::{Attribution, Document, MessageLimits, RoomLimits, Span, Update};

const VERSION: u8 = 1;

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Who wrote and deleted what, and when.
    pub attribution: Attribution,
    /// Updates that wait for missing ones, and whose they are.
    pub parked: Vec<(Author, Vec<u8>)>,
    /// Everything applied, as one v1 update. Empty: nothing.
    pub state: Vec<u8>,
}

/// Why stored bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A value could not be read.
    #[error("snapshot cannot be read: {0}")]
    Read(#[from] ReadError),
    /// Written by a version of the program that this one does not know.
    #[error("snapshot has version {0}; this program reads version {VERSION}")]
    Version(u8),
    /// The document in it breaks a rule of its format.
    #[error("snapshot holds an update that is {0}")]
    Update(#[from] document::wire::Invalid),
}

impl Snapshot {
    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => {}
            other => return Err(SnapshotError::Version(other)),
        }
        let attribution = Attribution::decode(reader.var_bytes()?)?;
        let mut parked = Vec::new();
        for _ in 0..reader.var_uint()? {
            parked.push((Author::from(reader.var_string()?), reader.var_bytes()?.to_vec()));
        }
        Ok(Self { attribution, parked, state: reader.var_bytes()?.to_vec() })
    }

    /// Writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        write_var_bytes(&mut out, &self.attribution.encode());
        write_var_uint(&mut out, self.parked.len() as u64);
        for (author, update) in &self.parked {
            write_var_bytes(&mut out, author.as_bytes());
            write_var_bytes(&mut out, update);
        }
        write_var_bytes(&mut out, &self.state);
        out
    }

    /// The snapshot of everything up to the last of `changes`. A change that cannot be read is left out; the store has checksums, so that
    /// would be a change written by a faulty version, and one bad change must not keep a room closed.
    pub fn squash<'a>(
        previous: Option<&[u8]>,
        changes: impl IntoIterator<Item = &'a Change>,
        keep_deleted: bool,
    ) -> Result<Self, SnapshotError> {
        let previous = previous.map(Self::decode).transpose()?.unwrap_or_default();
        let mut attribution = previous.attribution.clone();
        let mut document = Document::new(RoomLimits::STORED);
        previous.fill(&mut document, |author| attribution.author(author))?;
        for change in changes {
            let Ok(update) = Update::validate(&change.bytes[..], &MessageLimits::STORED) else { continue };
            let author = attribution.author(&change.author);
            document.add(&update, author);
            credit(&mut attribution, &document, author, change.time_ms);
        }
        let parked = document
            .parked_updates()
            .into_iter()
            .map(|(author, bytes)| (attribution.authors()[author as usize].as_str().into(), bytes));
        let parked = parked.collect();
        Ok(Self { parked, state: document.snapshot(keep_deleted), attribution })
    }

    /// Puts its content into an empty document, authors numbered by `number`.
    pub fn fill(&self, document: &mut Document, mut number: impl FnMut(&str) -> u32) -> Result<(), SnapshotError> {
        if !self.state.is_empty() {
            document.add(&Update::validate(&self.state, &MessageLimits::STORED)?, 0);
        }
        for (author, bytes) in &self.parked {
            document.add(&Update::validate(bytes, &MessageLimits::STORED)?, number(author));
        }
        Ok(())
    }
}

fn credit(attribution: &mut Attribution, document: &Document, deleter: u32, time_ms: u64) {
    for new in document.new_structs() {
        attribution.inserted(new.client, Span { start: new.start, end: new.end, author: new.author, time_ms });
    }
    for (client, start, end) in document.new_deletes() {
        attribution.deleted(client, Span { start, end, author: deleter, time_ms });
    }
}
