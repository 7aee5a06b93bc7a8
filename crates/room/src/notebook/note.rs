//! What a notebook is made of and speaks of: notes, deletion marks, what members ask for, what they are told.
//!
//! Dialects make `Request` of what clients send and write `News` down. The text of a note is carried as it came; nothing here reads JSON.

use crate::message::Author;
use bytes::Bytes;
use std::sync::Arc;

/// Names a note within its notebook; chosen by the client that makes it.
pub type NoteId = Arc<str>;

/// A note as a client wants it to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNote {
    /// Which one.
    pub id: NoteId,
    /// The title as one sees it, for sorting.
    pub title: Arc<str>,
    /// When it was made, milliseconds since the Unix epoch. None: as before, or now.
    pub created_ms: Option<i64>,
    /// When it was changed, milliseconds since the Unix epoch. None: now, and after whatever is there.
    pub updated_ms: Option<i64>,
    /// Equal for notes that say the same, however they are written.
    pub likeness: u64,
    /// Members of the JSON object as they were written, `"id":"a","title":"b"`: without braces, and without those that the server writes itself:
    /// `createdAt`, `updatedAt`, `remoteVersion`, `deletedAt`.
    pub members: Bytes,
}

/// A note as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which one.
    pub id: NoteId,
    /// Who wrote it last.
    pub writer: Author,
    /// What it is sorted by: its title in lower case.
    pub title: Arc<str>,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was changed, as its writer says; milliseconds since the Unix epoch.
    pub updated_ms: i64,
    /// When the server accepted that, milliseconds since the Unix epoch. Never less than for what it has accepted before.
    pub accepted_ms: u64,
    /// How often the id was written, from 1 on.
    pub version: u64,
    /// Equal for notes that say the same.
    pub likeness: u64,
    /// See `NewNote::members`.
    pub members: Bytes,
}

impl Note {
    /// Bytes of its message, about.
    pub(super) fn message_bytes(&self) -> usize {
        MESSAGE_BYTES + self.members.len()
    }
}

/// What is written around a note and around a mark, with the times.
const MESSAGE_BYTES: usize = 200;

/// That a note was deleted, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which one.
    pub id: NoteId,
    /// Who deleted it.
    pub by: Author,
    /// When, as whoever deleted it says, and not before its last change; milliseconds since the Unix epoch.
    pub deleted_ms: i64,
    /// When the server accepted that, milliseconds since the Unix epoch.
    pub accepted_ms: u64,
    /// The note, while it can be restored. None: it was not known here, or its content had to make room.
    pub note: Option<Arc<Note>>,
    /// The version that the note had; 0 when it was not known here.
    pub version: u64,
}

impl Mark {
    /// Bytes of its message, about.
    pub(super) fn message_bytes(&self) -> usize {
        MESSAGE_BYTES + self.id.len()
    }
}

/// What there is of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A note.
    Live(Arc<Note>),
    /// A deletion mark.
    Gone(Arc<Mark>),
}

/// What a list is sorted by. Equal ones are sorted by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// `createdAt`.
    Created,
    /// `updatedAt`.
    Updated,
    /// The title without regard to case.
    Title,
}

/// What a member wants of its notebook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A note is to be like this. Unless it is answered, its writer hears nothing when it is accepted.
    Put {
        /// The note.
        note: NewNote,
        /// Whether it is answered by `Stored` when that is durable, or by `Conflict`.
        answered: bool,
    },
    /// A note is to go.
    Delete {
        /// Which one.
        id: NoteId,
        /// When, as the client says. None, or more than a day ahead: now.
        at_ms: Option<i64>,
        /// Whether it is answered by `Erased` when that is durable, or by `NotFound`.
        answered: bool,
    },
    /// A deleted note is to come back. Answered by `Stored` when that is durable, or by `NotFound`.
    Restore {
        /// Which one.
        id: NoteId,
    },
    /// What a newcomer has to know: `Resync`, then `Updated` and `Deleted`, if that is not too much.
    Replay {
        /// Only what was accepted from then on. None: everything.
        since_ms: Option<u64>,
    },
    /// What there is of one id: `Found` or `NotFound`.
    Get {
        /// Which one.
        id: NoteId,
    },
    /// A page of the list: `Page`.
    List {
        /// From 1 on.
        page: u64,
        /// Notes on a page, from 1 on; no more than 100 are given.
        limit: u64,
        /// What it is sorted by.
        sort: Sort,
        /// The largest first.
        descending: bool,
        /// With those that can be restored.
        include_deleted: bool,
    },
    /// Everything, or what was accepted from then on: `Changes`.
    Changes {
        /// Milliseconds since the Unix epoch.
        since_ms: Option<u64>,
    },
}

impl Request {
    /// Bytes of what it carries, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { note, .. } => note.members.len() + note.title.len(),
            Self::Delete { id, .. } | Self::Restore { id } | Self::Get { id } => id.len(),
            Self::Replay { .. } | Self::List { .. } | Self::Changes { .. } => 0,
        }
    }

    /// Whether its answer may be any number of times as large.
    pub fn is_question(&self) -> bool {
        match self {
            Self::Replay { .. } | Self::Get { .. } | Self::List { .. } | Self::Changes { .. } => true,
            Self::Put { .. } | Self::Delete { .. } | Self::Restore { .. } => false,
        }
    }
}

/// Why somebody should fetch everything again, or is about to be sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is new here, and everything follows.
    InitialSync,
    /// It is new here, and everything would be too much.
    TooManyChanges,
    /// An administrator wants it, or many notes were changed at once.
    ServerUpdate,
    /// It was too slow, and was not told of everything.
    MissedMessages,
}

/// Why a write is not done, whatever there is of the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It may only read.
    ReadOnly,
    /// Beyond a bound, which is named in words.
    Limit(String),
}

/// What members of a notebook are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A note is like this: somebody has written it, or the member is new, or its own one has lost.
    Updated(Arc<Note>),
    /// A note is gone.
    Deleted(Arc<Mark>),
    /// The member's copy is not up to date.
    Resync {
        /// Why.
        reason: Reason,
        /// Now, in milliseconds since the Unix epoch.
        now_ms: u64,
    },
    /// A write is not done.
    Refused {
        /// What it was about.
        id: NoteId,
        /// Whether it was to delete the note; otherwise to write it.
        was_delete: bool,
        /// Why not.
        why: Refusal,
        /// Now, in milliseconds since the Unix epoch.
        now_ms: u64,
    },
    /// Answer: the note is written, or was like this already, and that is durable.
    Stored(Arc<Note>),
    /// Answer: the note is deleted, and that is durable.
    Erased(Arc<Mark>),
    /// Answer: the note was not written, since this is newer.
    Conflict(Entry),
    /// Answer: there is this.
    Found(Entry),
    /// Answer: there is nothing of that id, or nothing that can be restored.
    NotFound(NoteId),
    /// Answer: a page of the list.
    Page {
        /// Its notes; deleted ones where they were wanted.
        entries: Arc<[Entry]>,
        /// How many there are on all pages.
        total: u64,
        /// As it was asked for.
        page: u64,
        /// Notes on a page.
        limit: u64,
    },
    /// Answer: a set of changes.
    Changes {
        /// The notes, those that were changed first at the front.
        notes: Arc<[Arc<Note>]>,
        /// The marks, those that were accepted first at the front.
        marks: Arc<[Arc<Mark>]>,
        /// The time to ask from the next time.
        now_ms: u64,
    },
}

impl News {
    /// Bytes of what it carries, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Updated(note) | Self::Stored(note) => note.message_bytes(),
            Self::Deleted(mark) | Self::Erased(mark) => mark.message_bytes(),
            Self::Conflict(entry) | Self::Found(entry) => entry.bytes(),
            Self::Page { entries, .. } => entries.iter().map(Entry::bytes).sum(),
            Self::Changes { notes, marks, .. } => {
                let notes: usize = notes.iter().map(|note| note.message_bytes()).sum();
                notes + marks.iter().map(|mark| mark.message_bytes()).sum::<usize>()
            }
            Self::Resync { .. } | Self::Refused { .. } | Self::NotFound(_) => MESSAGE_BYTES,
        }
    }

    /// True when it shows what may not be safe yet. `Stored` and `Erased` have waited for that.
    pub fn shows_content(&self) -> bool {
        match self {
            Self::Updated(_)
            | Self::Deleted(_)
            | Self::Conflict(_)
            | Self::Found(_)
            | Self::NotFound(_)
            | Self::Page { .. }
            | Self::Changes { .. } => true,
            Self::Stored(_) | Self::Erased(_) | Self::Resync { .. } | Self::Refused { .. } => false,
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Live(note) => note.message_bytes(),
            Self::Gone(mark) => mark.note.as_ref().map_or(0, |note| note.message_bytes()) + mark.message_bytes(),
        }
    }
}
