//! The notes and marks of a notebook, in all the orders in which somebody wants them.
//!
//! Called by the notebook for what it has accepted, by loading for what was accepted before, and by compaction. Decides nothing but what has to make room:
//! marks beyond their number, and the content of what was deleted, oldest first. Each change costs a few steps down a tree.

use super::note::{Entry, Mark, Note, NoteId, Sort};
use super::record::{NotebookError, Record, decode_snapshot, encode_snapshot};
use crate::limits::Limits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Of a note in memory beside its text: itself, and its places in five trees (measured by the bench `notebook`: 764).
const ENTRY_BYTES: usize = 760;

/// Everything of one notebook.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    entries: BTreeMap<NoteId, Entry>,
    live: Orders,
    /// What was deleted and can be restored.
    kept: Orders,
    /// All entries by when they were accepted.
    accepted: BTreeSet<(u64, NoteId)>,
    /// The marks by when they were accepted.
    gone: BTreeSet<(u64, NoteId)>,
    /// Those of them that still have what was deleted.
    restorable: BTreeSet<(u64, NoteId)>,
    /// The last time at which something was accepted: no later one is before it.
    clock_ms: u64,
    live_bytes: usize,
    kept_bytes: usize,
}

/// Notes in the orders that a list may have.
#[derive(Debug, Default)]
struct Orders {
    created: BTreeSet<(i64, NoteId)>,
    updated: BTreeSet<(i64, NoteId)>,
    title: BTreeSet<(Arc<str>, NoteId)>,
}

impl Orders {
    fn insert(&mut self, note: &Note) {
        self.created.insert((note.created_ms, note.id.clone()));
        self.updated.insert((note.updated_ms, note.id.clone()));
        self.title.insert((note.title.clone(), note.id.clone()));
    }

    fn remove(&mut self, note: &Note) {
        self.created.remove(&(note.created_ms, note.id.clone()));
        self.updated.remove(&(note.updated_ms, note.id.clone()));
        self.title.remove(&(note.title.clone(), note.id.clone()));
    }

    fn len(&self) -> usize {
        self.updated.len()
    }
}

/// Bytes of what a note says: what is held to the bound of a room.
pub(super) fn content_bytes(id: &str, title: &str, members: &[u8]) -> usize {
    id.len() + title.len() + members.len()
}

fn content_of(note: &Note) -> usize {
    content_bytes(&note.id, &note.title, &note.members)
}

impl Shelf {
    /// Reads what `encode` wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, NotebookError> {
        let mut shelf = Self::default();
        let clock_ms = decode_snapshot(bytes, |entry| shelf.put(entry))?;
        shelf.clock_ms = shelf.clock_ms.max(clock_ms);
        Ok(shelf)
    }

    /// Writes everything: equal bytes for equal shelves.
    pub(super) fn encode(&self) -> Vec<u8> {
        encode_snapshot(self.clock_ms, self.entries.values())
    }

    /// Takes over what a change came to.
    pub(super) fn apply(&mut self, record: Record) -> Entry {
        let entry = match record {
            Record::Written(note) => Entry::Live(Arc::new(note)),
            Record::Deleted { id, by, deleted_ms, accepted_ms } => {
                let (note, version) = match self.get(&id) {
                    Some(Entry::Live(note)) => (Some(note.clone()), note.version),
                    // It was forgotten when this was accepted.
                    Some(Entry::Gone(_)) | None => (None, 0),
                };
                Entry::Gone(Arc::new(Mark { id, by, deleted_ms, accepted_ms, note, version }))
            }
        };
        self.put(entry.clone());
        entry
    }

    /// Makes room: marks beyond their number are forgotten, and deleted content that has no place beside the notes.
    pub(super) fn hold_to_bounds(&mut self, limits: &Limits) {
        while self.gone.len() > limits.notebook.marks_max
            && let Some((_, id)) = self.gone.first().cloned()
        {
            self.remove(&id);
        }
        while self.live_bytes + self.kept_bytes > limits.document.room_bytes_max
            && let Some((_, id)) = self.restorable.first().cloned()
            && let Some(Entry::Gone(mark)) = self.entries.get(&id)
        {
            let emptied = Mark { note: None, ..(**mark).clone() };
            self.put(Entry::Gone(Arc::new(emptied)));
        }
    }

    /// Forgets marks that were accepted before this time, at most so many. True: there are more of them.
    pub(super) fn forget_before(&mut self, time_ms: u64, most: usize) -> bool {
        for _ in 0..most {
            match self.gone.first() {
                Some((accepted_ms, id)) if *accepted_ms < time_ms => {
                    let id = id.clone();
                    self.remove(&id);
                }
                _ => return false,
            }
        }
        self.gone.first().is_some_and(|(accepted_ms, _)| *accepted_ms < time_ms)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Notes that are not deleted.
    pub(super) fn notes(&self) -> usize {
        self.live.len()
    }

    /// Deletion marks.
    pub(super) fn marks(&self) -> usize {
        self.gone.len()
    }

    /// Bytes of what the notes say that are not deleted.
    pub(super) fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// The last time at which something was accepted.
    pub(super) fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Bytes of memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.live_bytes + self.kept_bytes + self.entries.len() * ENTRY_BYTES
    }

    /// All notes, those that were changed first at the front, and all marks, those that were accepted first at the front. In one walk and two sorts: looking
    /// each up would cost ten times as much.
    pub(super) fn all(&self) -> (Vec<Arc<Note>>, Vec<Arc<Mark>>) {
        let (mut notes, mut marks) = (Vec::with_capacity(self.live.len()), Vec::with_capacity(self.gone.len()));
        for entry in self.entries.values() {
            match entry {
                Entry::Live(note) => notes.push((note.updated_ms, note)),
                Entry::Gone(mark) => marks.push((mark.accepted_ms, mark)),
            }
        }
        // Equal ones stay in the order of their ids.
        notes.sort_by_key(|(updated_ms, _)| *updated_ms);
        marks.sort_by_key(|(accepted_ms, _)| *accepted_ms);
        let notes = notes.into_iter().map(|(_, note)| note.clone()).collect();
        (notes, marks.into_iter().map(|(_, mark)| mark.clone()).collect())
    }

    /// Notes and marks that were accepted at this time or later, in that order.
    pub(super) fn since(&self, time_ms: u64) -> impl Iterator<Item = &Entry> {
        self.accepted.range((time_ms, NoteId::from(""))..).filter_map(|(_, id)| self.entries.get(id))
    }

    /// How many a list has.
    pub(super) fn listed(&self, include_deleted: bool) -> usize {
        self.live.len() + if include_deleted { self.kept.len() } else { 0 }
    }

    /// A part of a list: `count` entries behind the first `skipped`.
    pub(super) fn list(
        &self,
        sort: Sort,
        descending: bool,
        include_deleted: bool,
        skipped: usize,
        count: usize,
    ) -> Vec<Entry> {
        let kept = if include_deleted { &self.kept } else { &Orders::default() };
        let all = self.listed(include_deleted);
        let (from, count) = (skipped.min(all), count.min(all.saturating_sub(skipped)));
        // From whichever end is nearer.
        let is_backwards = descending != (from > all / 2);
        let (walked, reversed) = if descending == is_backwards { (from, false) } else { (all - from - count, true) };
        let part = |ids: &mut dyn Iterator<Item = &NoteId>| -> Vec<Entry> {
            ids.skip(walked).take(count).filter_map(|id| self.entries.get(id)).cloned().collect()
        };
        let mut part = match sort {
            Sort::Created => part(&mut merged(&self.live.created, &kept.created, is_backwards)),
            Sort::Updated => part(&mut merged(&self.live.updated, &kept.updated, is_backwards)),
            Sort::Title => part(&mut merged(&self.live.title, &kept.title, is_backwards)),
        };
        if reversed {
            part.reverse();
        }
        part
    }

    fn put(&mut self, entry: Entry) {
        let id = match &entry {
            Entry::Live(note) => note.id.clone(),
            Entry::Gone(mark) => mark.id.clone(),
        };
        self.remove(&id);
        let accepted_ms = match &entry {
            Entry::Live(note) => {
                self.live.insert(note);
                self.live_bytes += content_of(note);
                note.accepted_ms
            }
            Entry::Gone(mark) => {
                self.gone.insert((mark.accepted_ms, id.clone()));
                if let Some(note) = &mark.note {
                    self.restorable.insert((mark.accepted_ms, id.clone()));
                    self.kept.insert(note);
                    self.kept_bytes += content_of(note);
                }
                mark.accepted_ms
            }
        };
        self.clock_ms = self.clock_ms.max(accepted_ms);
        self.accepted.insert((accepted_ms, id.clone()));
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: &NoteId) {
        let accepted_ms = match self.entries.remove(id) {
            Some(Entry::Live(note)) => {
                self.live.remove(&note);
                self.live_bytes -= content_of(&note);
                note.accepted_ms
            }
            Some(Entry::Gone(mark)) => {
                self.gone.remove(&(mark.accepted_ms, id.clone()));
                if let Some(note) = &mark.note {
                    self.restorable.remove(&(mark.accepted_ms, id.clone()));
                    self.kept.remove(note);
                    self.kept_bytes -= content_of(note);
                }
                mark.accepted_ms
            }
            None => return,
        };
        self.accepted.remove(&(accepted_ms, id.clone()));
    }
}

/// The ids of two orders in one, from either end.
fn merged<'a, K: Ord>(
    one: &'a BTreeSet<(K, NoteId)>,
    other: &'a BTreeSet<(K, NoteId)>,
    is_backwards: bool,
) -> impl Iterator<Item = &'a NoteId> {
    let (mut one, mut other) = (one.iter(), other.iter());
    let next = move |from: &mut std::collections::btree_set::Iter<'a, (K, NoteId)>| {
        if is_backwards { from.next_back() } else { from.next() }
    };
    let (mut first, mut second) = (next(&mut one), next(&mut other));
    std::iter::from_fn(move || {
        let is_first = match (first, second) {
            (Some(first), Some(second)) => (first < second) != is_backwards,
            (first, _) => first.is_some(),
        };
        let (place, source) = if is_first { (&mut first, &mut one) } else { (&mut second, &mut other) };
        let found = (*place)?;
        *place = next(source);
        Some(&found.1)
    })
}
