//! A room on disk: its document in few bytes, what is parked with whose it is, and who wrote what when.
//!
//! `squash` is compaction: a pure function from a snapshot and the changes after it to the next snapshot, run off the room's thread. Shape: `u8 version,
//! u8 deleted content is in it, varuint depth, varbytes attribution, varuint parked, (varstring author, varuint milliseconds, varbytes update)*, varbytes state`.
//! Version 1 is without the second and the third. Does not know where the bytes are kept.

use crate::message::{Author, Change};
use bytes::Bytes;
use document::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};
use document::{Attribution, Document, MessageLimits, RoomLimits, Span, Update};

const VERSION: u8 = 2;

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Who wrote and deleted what, and when.
    pub attribution: Attribution,
    /// Updates that wait for missing ones.
    pub parked: Vec<ParkedUpdate>,
    /// Content of what is deleted may be in the state.
    pub has_deleted: bool,
    /// How deep types are nested in the state at most.
    pub depth: u32,
    /// Everything applied, as one v1 update. Empty: nothing.
    pub state: Vec<u8>,
}

/// What a room needs of a snapshot.
pub(crate) struct Parts {
    pub(crate) parked: Vec<ParkedUpdate>,
    pub(crate) has_deleted: bool,
    pub(crate) depth: u32,
    pub(crate) state: Bytes,
}

/// An update that waits for missing ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedUpdate {
    /// Whose it is.
    pub author: Author,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// A v1 update.
    pub update: Vec<u8>,
}

/// Why stored bytes are not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A value could not be read.
    #[error("snapshot cannot be read: {0}")]
    Read(#[from] ReadError),
    /// Written by a version of the program that this one does not know.
    #[error("snapshot has version {0}; this program reads up to {VERSION}")]
    Version(u8),
    /// The document in it breaks a rule of its format.
    #[error("snapshot holds an update that is {0}")]
    Update(#[from] document::wire::Invalid),
}

impl Snapshot {
    /// Reads what `encode` wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let read = read(bytes)?;
        let attribution = Attribution::decode(read.attribution)?;
        Ok(Self {
            attribution,
            parked: read.parked,
            has_deleted: read.has_deleted,
            depth: read.depth,
            state: read.state.to_vec(),
        })
    }

    /// Writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.has_deleted)];
        write_var_uint(&mut out, u64::from(self.depth));
        write_var_bytes(&mut out, &self.attribution.encode());
        write_var_uint(&mut out, self.parked.len() as u64);
        for ParkedUpdate { author, time_ms, update } in &self.parked {
            write_var_bytes(&mut out, author.as_bytes());
            write_var_uint(&mut out, *time_ms);
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
        let mut previous = previous.map(Self::decode).transpose()?.unwrap_or_default();
        let mut attribution = std::mem::take(&mut previous.attribution);
        let mut document = Document::new(RoomLimits::STORED);
        // What is released later counts as accepted when it came, so the document is told the number of the change, not that of the author.
        let mut sources: Vec<(Author, u64)> = Vec::new();
        previous.fill(&mut document, |parked| {
            sources.push((parked.author.clone(), parked.time_ms));
            sources.len() as u32 - 1
        })?;
        for change in changes {
            let Ok(update) = Update::validate(&change.bytes[..], &MessageLimits::STORED) else { continue };
            sources.push((change.author.clone(), change.time_ms));
            document.add(&update, sources.len() as u32 - 1);
            credit(&mut attribution, &document, &sources);
        }
        let parked = document.parked_updates().into_iter().map(|(source, update)| {
            let (author, time_ms) = sources[source as usize].clone();
            ParkedUpdate { author, time_ms, update }
        });
        let (parked, state) = (parked.collect(), document.snapshot(keep_deleted));
        Ok(Self { attribution, parked, has_deleted: keep_deleted, depth: document.depth(), state })
    }

    /// Puts its content into an empty document; what is parked gets the numbers that `number` gives it.
    pub fn fill(
        &self,
        document: &mut Document,
        mut number: impl FnMut(&ParkedUpdate) -> u32,
    ) -> Result<(), SnapshotError> {
        if !self.state.is_empty() {
            document.add(&Update::validate(&self.state, &MessageLimits::STORED)?, 0);
        }
        for parked in &self.parked {
            document.add(&Update::validate(&parked.update, &MessageLimits::STORED)?, number(parked));
        }
        Ok(())
    }
}

impl Parts {
    /// Reads what `Snapshot::encode` wrote, and checks but does not keep who wrote what. The state is a slice of the bytes, unless that would keep
    /// much more in memory.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, SnapshotError> {
        let read = read(bytes)?;
        Attribution::check(read.attribution)?;
        let state = if read.state.len() < bytes.len() / 4 * 3 {
            Bytes::copy_from_slice(read.state)
        } else {
            bytes.slice_ref(read.state)
        };
        Ok(Self { parked: read.parked, has_deleted: read.has_deleted, depth: read.depth, state })
    }
}

struct ReadSnapshot<'a> {
    attribution: &'a [u8],
    parked: Vec<ParkedUpdate>,
    has_deleted: bool,
    depth: u32,
    state: &'a [u8],
}

fn read(bytes: &[u8]) -> Result<ReadSnapshot<'_>, SnapshotError> {
    let mut reader = Reader::new(bytes);
    let (has_deleted, depth) = match reader.u8()? {
        // It was not written down then.
        1 => (true, u32::MAX),
        VERSION => (reader.u8()? != 0, u32::try_from(reader.var_uint()?).unwrap_or(u32::MAX)),
        other => return Err(SnapshotError::Version(other)),
    };
    let attribution = reader.var_bytes()?;
    let mut parked = Vec::new();
    for _ in 0..reader.var_uint()? {
        let (author, time_ms) = (Author::from(reader.var_string()?), reader.var_uint()?);
        parked.push(ParkedUpdate { author, time_ms, update: reader.var_bytes()?.to_vec() });
    }
    Ok(ReadSnapshot { attribution, parked, has_deleted, depth, state: reader.var_bytes()? })
}

/// Credits what the last change brought: elements to whoever sent them, deletes to the change.
fn credit(attribution: &mut Attribution, document: &Document, sources: &[(Author, u64)]) {
    for new in document.new_structs() {
        let (author, time_ms) = &sources[new.author as usize];
        let author = attribution.author(author);
        attribution.inserted(new.client, Span { start: new.start, end: new.end, author, time_ms: *time_ms });
    }
    let Some((deleter, time_ms)) = sources.last() else { return };
    for (client, start, end) in document.new_deletes() {
        let author = attribution.author(deleter);
        attribution.deleted(client, Span { start, end, author, time_ms: *time_ms });
    }
}
