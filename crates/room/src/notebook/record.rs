//! A notebook on disk: the record of one change, and the snapshot of everything.
//!
//! Records say what came of a write, not what was asked, so that whoever reads them decides nothing. Author and time of a change lie beside its record in
//! the log; in a snapshot they are with each note and mark. Reading is total: it never panics, and takes no memory that the input does not justify.
//! Integers are varuints, times before 1970 zigzag, texts varstrings.
//!
//! Record: `u8 1, u8 kind, id, varuint accepted`, then of a note (kind 0) `version, created, updated, u64 likeness, title, members`, of a deletion
//! (kind 1) `deleted`. Snapshot: `u8 1, varuint clock, varuint authors, (varstring)*, varuint entries, (entry)*`, where an entry is `u8 0, note` or
//! `u8 1, id, by, deleted, accepted, version, u8 has a note, [note]`, and a note `id, writer, accepted, version, created, updated, u64 likeness, title,
//! members`.

use super::note::{Entry, Mark, Note, NoteId};
use crate::message::Author;
use bytes::Bytes;
use document::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};
use std::collections::BTreeMap;
use std::sync::Arc;

const RECORD_VERSION: u8 = 1;
const SNAPSHOT_VERSION: u8 = 1;
const NOTE: u8 = 0;
const DELETION: u8 = 1;

/// Why stored bytes are not a notebook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotebookError {
    /// A value could not be read.
    #[error("notebook cannot be read: {0}")]
    Read(#[from] ReadError),
    /// Written by a version of the program that this one does not know.
    #[error("notebook has format version {0}; this program reads version {SNAPSHOT_VERSION}: use the newer program")]
    Version(u8),
    /// A number that says what follows is none of those that there are.
    #[error("notebook has an entry of kind {0}, which does not exist")]
    Kind(u8),
    /// Something follows its end.
    #[error("notebook has {0} bytes behind its end")]
    Surplus(usize),
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The note is like this.
    Written(Note),
    /// The note is gone.
    Deleted { id: NoteId, by: Author, deleted_ms: i64, accepted_ms: u64 },
}

impl Record {
    /// Reads the record of a change by `author`.
    pub(super) fn decode(bytes: &[u8], author: &Author) -> Result<Self, NotebookError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader, RECORD_VERSION)?;
        let kind = reader.u8()?;
        let (id, accepted_ms) = (reader.var_string()?, reader.var_uint()?);
        let record = match kind {
            NOTE => Self::Written(read_note(&mut reader, id, author.clone(), accepted_ms)?),
            DELETION => {
                let deleted_ms = read_time(&mut reader)?;
                Self::Deleted { id: id.into(), by: author.clone(), deleted_ms, accepted_ms }
            }
            other => return Err(NotebookError::Kind(other)),
        };
        end(&reader)?;
        Ok(record)
    }

    /// Writes it, without its author.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.bytes());
        out.push(RECORD_VERSION);
        match self {
            Self::Written(note) => {
                out.push(NOTE);
                write_var_bytes(&mut out, note.id.as_bytes());
                write_var_uint(&mut out, note.accepted_ms);
                write_note(&mut out, note);
            }
            Self::Deleted { id, deleted_ms, accepted_ms, .. } => {
                out.push(DELETION);
                write_var_bytes(&mut out, id.as_bytes());
                write_var_uint(&mut out, *accepted_ms);
                write_time(&mut out, *deleted_ms);
            }
        }
        out.into()
    }

    /// How many bytes it takes at most, but for rare numbers.
    fn bytes(&self) -> usize {
        const NUMBERS_BYTES: usize = 64;
        match self {
            Self::Written(note) => NUMBERS_BYTES + note.id.len() + note.title.len() + note.members.len(),
            Self::Deleted { id, .. } => NUMBERS_BYTES + id.len(),
        }
    }
}

/// Writes a snapshot. `clock_ms`: the last time at which something was accepted.
pub(super) fn encode_snapshot<'a>(clock_ms: u64, entries: impl Iterator<Item = &'a Entry> + Clone) -> Vec<u8> {
    let mut numbers: BTreeMap<&'a Author, u64> = BTreeMap::new();
    let mut authors: Vec<&'a Author> = Vec::new();
    let mut number = |author: &'a Author| {
        *numbers.entry(author).or_insert_with(|| {
            authors.push(author);
            authors.len() as u64 - 1
        })
    };
    let (mut body, mut count) = (Vec::new(), 0);
    for entry in entries {
        count += 1;
        match entry {
            Entry::Live(note) => {
                body.push(NOTE);
                write_kept(&mut body, note, &mut number);
            }
            Entry::Gone(mark) => {
                body.push(DELETION);
                write_var_bytes(&mut body, mark.id.as_bytes());
                write_var_uint(&mut body, number(&mark.by));
                write_time(&mut body, mark.deleted_ms);
                write_var_uint(&mut body, mark.accepted_ms);
                write_var_uint(&mut body, mark.version);
                body.push(u8::from(mark.note.is_some()));
                if let Some(note) = &mark.note {
                    write_kept(&mut body, note, &mut number);
                }
            }
        }
    }
    let mut out = vec![SNAPSHOT_VERSION];
    write_var_uint(&mut out, clock_ms);
    write_var_uint(&mut out, authors.len() as u64);
    authors.iter().for_each(|author| write_var_bytes(&mut out, author.as_bytes()));
    write_var_uint(&mut out, count);
    out.extend_from_slice(&body);
    out
}

/// Reads a snapshot: each entry is given to `take`. Returns the last time at which something was accepted.
pub(super) fn decode_snapshot(bytes: &[u8], mut take: impl FnMut(Entry)) -> Result<u64, NotebookError> {
    let mut reader = Reader::new(bytes);
    version(&mut reader, SNAPSHOT_VERSION)?;
    let clock_ms = reader.var_uint()?;
    let mut authors = Vec::new();
    for _ in 0..reader.var_uint()? {
        authors.push(Author::from(reader.var_string()?));
    }
    for _ in 0..reader.var_uint()? {
        take(match reader.u8()? {
            NOTE => Entry::Live(Arc::new(read_kept(&mut reader, &authors)?)),
            DELETION => {
                let id = NoteId::from(reader.var_string()?);
                let by = author(&mut reader, &authors)?;
                let (deleted_ms, accepted_ms) = (read_time(&mut reader)?, reader.var_uint()?);
                let version = reader.var_uint()?;
                let note = match reader.u8()? {
                    0 => None,
                    _ => Some(Arc::new(read_kept(&mut reader, &authors)?)),
                };
                Entry::Gone(Arc::new(Mark { id, by, deleted_ms, accepted_ms, note, version }))
            }
            other => return Err(NotebookError::Kind(other)),
        });
    }
    end(&reader)?;
    Ok(clock_ms)
}

fn version(reader: &mut Reader<'_>, readable: u8) -> Result<(), NotebookError> {
    match reader.u8()? {
        found if found == readable => Ok(()),
        found => Err(NotebookError::Version(found)),
    }
}

fn end(reader: &Reader<'_>) -> Result<(), NotebookError> {
    if reader.is_empty() { Ok(()) } else { Err(NotebookError::Surplus(reader.remaining())) }
}

fn author(reader: &mut Reader<'_>, authors: &[Author]) -> Result<Author, NotebookError> {
    let number = usize::try_from(reader.var_uint()?).ok();
    Ok(number.and_then(|number| authors.get(number)).ok_or(ReadError::Truncated)?.clone())
}

fn write_kept<'a>(out: &mut Vec<u8>, note: &'a Note, number: &mut impl FnMut(&'a Author) -> u64) {
    write_var_bytes(out, note.id.as_bytes());
    write_var_uint(out, number(&note.writer));
    write_var_uint(out, note.accepted_ms);
    write_note(out, note);
}

fn read_kept(reader: &mut Reader<'_>, authors: &[Author]) -> Result<Note, NotebookError> {
    let id = reader.var_string()?;
    let writer = author(reader, authors)?;
    let accepted_ms = reader.var_uint()?;
    read_note(reader, id, writer, accepted_ms)
}

fn write_note(out: &mut Vec<u8>, note: &Note) {
    write_var_uint(out, note.version);
    write_time(out, note.created_ms);
    write_time(out, note.updated_ms);
    out.extend_from_slice(&note.likeness.to_le_bytes());
    write_var_bytes(out, note.title.as_bytes());
    write_var_bytes(out, &note.members);
}

fn read_note(reader: &mut Reader<'_>, id: &str, writer: Author, accepted_ms: u64) -> Result<Note, NotebookError> {
    let version = reader.var_uint()?;
    let (created_ms, updated_ms) = (read_time(reader)?, read_time(reader)?);
    let likeness = reader.take(size_of::<u64>())?.iter().rev().fold(0, |high, low| high << 8 | u64::from(*low));
    let title = reader.var_string()?.into();
    // Of its own: a slice would keep everything else in memory as well. As text: what is sent on has to be UTF-8.
    let members = Bytes::copy_from_slice(reader.var_string()?.as_bytes());
    Ok(Note { id: id.into(), writer, title, created_ms, updated_ms, accepted_ms, version, likeness, members })
}

fn write_time(out: &mut Vec<u8>, time_ms: i64) {
    write_var_uint(out, (time_ms << 1 ^ time_ms >> 63) as u64);
}

fn read_time(reader: &mut Reader<'_>) -> Result<i64, ReadError> {
    let zigzag = reader.var_uint()?;
    Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
}
