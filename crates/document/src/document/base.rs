//! The base of a document: a snapshot that is kept as the bytes that it came in, with structs only for what has come since.
//!
//! A base costs one pass to check, and nothing to hand on: that is what whoever has nothing is sent. The clients of such a document begin at a floor,
//! the end of what the base has of them. What is there below a floor is looked up in the bytes when somebody lacks a part of it. How deep it lies
//! is not known, only how deep anything does: when a bound comes near, structs are made of the base (`expand`).

use super::Document;
use crate::encode::Section;
use crate::limits::{MessageLimits, RoomLimits};
use crate::parents::{ParentEntry, Parents, TREE_ENTRY_BYTES};
use crate::ranges::Ranges;
use crate::structs::Struct;
use crate::survey::{Survey, Surveyed};
use crate::wire::{self, Invalid, StateVector, TYPE, Update};
use bytes::Bytes;

/// A snapshot as bytes.
#[derive(Clone, Debug)]
pub(super) struct Base {
    update: Update<Bytes>,
    /// By descending client.
    sections: Box<[Surveyed]>,
    deletes_at: usize,
    pub(super) structs: usize,
    /// At most so many types wait for missing updates.
    waiting_types: u64,
    /// Structs have been applied since.
    pub(super) has_more_structs: bool,
    /// Delete ranges have been added since.
    pub(super) has_more_deletes: bool,
}

impl Base {
    pub(super) fn bytes(&self) -> &Bytes {
        self.update.inner()
    }

    /// The delete sections, with their count.
    pub(super) fn deletes(&self) -> &[u8] {
        &self.bytes()[self.deletes_at..]
    }

    /// What its content counts at most once it is structs.
    fn expanded_bytes_max(&self) -> usize {
        self.bytes().len() + self.structs * (size_of::<Struct>() + size_of::<ParentEntry>() + TREE_ENTRY_BYTES)
    }

    /// Writes its elements of a client from a clock on.
    pub(super) fn write(&self, section: &mut Section, client: u64, from: u32) {
        let Ok(place) = self.sections.binary_search_by(|known| client.cmp(&known.client)) else { return };
        let Surveyed { at, end, .. } = self.sections[place];
        let behind = self.sections.get(place + 1).map_or(self.deletes_at, |next| next.at);
        let Some(mut structs) = wire::section_at(&self.bytes()[at..behind]) else { return };
        if from > 0 {
            while let Some((clock, raw)) = structs.next() {
                if clock + raw.len > from {
                    section.raw(client, clock, &raw, from.saturating_sub(clock));
                    break;
                }
            }
        }
        let first = if section.is_empty() { 0 } else { section.end() };
        let (count, bytes) = structs.rest();
        section.many(count, first, end, bytes);
    }
}

impl Document {
    /// A document from a stored snapshot, of which the bytes are kept. `depth`: that of the document that it was made from; a greater one costs no more
    /// than structs that were not needed. Costs one pass, about 2 us a KB.
    pub fn from_snapshot(limits: RoomLimits, snapshot: Bytes, depth: u32) -> Result<Self, Invalid> {
        let (update, survey) = Update::survey(snapshot, &MessageLimits::STORED)?;
        let mut document = Self::new(RoomLimits::STORED);
        if document.take_base(&update, survey) {
            document.parents = Parents::on_base(depth);
        } else {
            document = Self::new(RoomLimits::STORED);
            document.add(&update, 0);
        }
        document.limits = limits;
        Ok(document)
    }

    /// The snapshot that the document was made from, as long as it is kept: all of it is part of the document.
    pub fn base(&self) -> Option<&Bytes> {
        self.base.as_deref().map(Base::bytes)
    }

    /// The snapshot that the document was made from, if that is all there is.
    pub fn unchanged_base(&self) -> Option<&Bytes> {
        let base = self.base.as_deref()?;
        (!base.has_more_structs && !base.has_more_deletes && self.parked.is_empty()).then(|| base.bytes())
    }

    /// What somebody knows who has the base.
    pub fn base_vector(&self) -> StateVector {
        let floors = self.clients.iter().map(|client| (client.id, client.floor));
        StateVector::from_entries(floors.filter(|&(_, floor)| floor > 0).collect())
    }

    /// Makes structs of the base, at the cost of loading them.
    pub fn expand(&mut self) {
        let Some(base) = &self.base else { return };
        let mut whole = Self::new(RoomLimits::STORED);
        whole.add(&base.update, 0);
        let behind = Update::validate(self.behind_base(), &MessageLimits::STORED);
        debug_assert!(behind.is_ok(), "what a document writes is a valid update");
        if let Ok(behind) = behind {
            whole.add(&behind, 0);
        }
        self.become_structs_of(whole);
    }

    /// Takes over the structs of a document that says the same as this one. What waits stays as it is.
    pub(super) fn become_structs_of(&mut self, mut other: Self) {
        if other.parked.is_empty() {
            other.parked = std::mem::take(&mut self.parked);
        } else {
            // A snapshot that builds on what is not in it, which no document writes: nothing of either is lost.
            for (author, bytes) in self.parked_updates() {
                if let Ok(update) = Update::validate(bytes, &MessageLimits::STORED) {
                    other.add(&update, author);
                }
            }
        }
        // Parked structs bear the serials of calls, so those must not come again.
        *self = Self { serial: self.serial.max(other.serial), limits: self.limits, ..other };
        if let Some(base) = &mut self.base {
            let waiting = self.parked.clients().flat_map(|client| self.parked.of(client));
            base.waiting_types = waiting.filter(|(_, _, raw)| raw.kind() == TYPE).count() as u64;
        }
    }

    /// Whether an update can only be judged against structs: a bound may be reached with it.
    pub(super) fn needs_structs<B: AsRef<[u8]>>(&self, base: &Base, update: &Update<B>) -> bool {
        let bytes_max = self.bytes + self.parents.bytes + base.expanded_bytes_max() + update.bytes().len();
        let types = base.waiting_types + types(update);
        bytes_max > self.limits.room_bytes_max
            || (types > 0 && u64::from(self.parents.deepest) + types >= u64::from(self.limits.depth_max))
    }

    /// Notes what an `add` brought.
    pub(super) fn note_behind_base<B: AsRef<[u8]>>(&mut self, update: &Update<B>) {
        let Some(base) = &mut self.base else { return };
        base.has_more_structs |= !self.fresh.is_empty();
        base.has_more_deletes |= !self.fresh_deletes.is_empty();
        if self.parked.is_empty() {
            base.waiting_types = 0;
        } else {
            base.waiting_types += types(update);
        }
    }

    /// Begins with a base. False: it has holes, or is not in the order in which a document writes; the document is of no use then.
    fn take_base(&mut self, update: &Update<Bytes>, survey: Survey) -> bool {
        if !survey.is_whole || survey.structs == 0 {
            return false;
        }
        self.clients.reserve_exact(survey.sections.len());
        for section in survey.sections.iter().rev() {
            let client = self.intern(section.client, usize::MAX).map(|client| &mut self.clients[client as usize]);
            let Some(client) = client else { return false };
            client.floor = section.end;
        }
        let mut deletes = wire::deletes_at(&update.bytes()[survey.deletes_at..]).peekable();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        while let Some((id, start, end)) = deletes.next() {
            ranges.push((start, end));
            if deletes.peek().is_some_and(|next| next.0 == id) {
                continue;
            }
            let Some(deleted) = Ranges::of_ascending(&ranges) else { return false };
            let Some(client) = self.intern(id, usize::MAX) else { return false };
            self.clients[client as usize].deleted = deleted;
            self.delete_ranges += ranges.len();
            ranges.clear();
        }
        self.base = Some(Box::new(Base {
            update: update.clone(),
            sections: survey.sections.into(),
            deletes_at: survey.deletes_at,
            structs: survey.structs as usize,
            waiting_types: 0,
            has_more_structs: false,
            has_more_deletes: false,
        }));
        true
    }
}

/// How many types there are in an update: each may lie in the one before it.
fn types<B: AsRef<[u8]>>(update: &Update<B>) -> u64 {
    let (mut sections, mut types) = (update.sections(), 0);
    while let Some(mut section) = sections.open() {
        while let Some((_, raw)) = section.next() {
            types += u64::from(raw.kind() == TYPE);
        }
        sections.close(section);
    }
    types
}
