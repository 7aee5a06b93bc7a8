//! The struct store: what a document consists of, what is new in an update, what somebody lacks.
//!
//! One `Document` per loaded room, changed only by that room. `add` takes a validated update apart into what is new and can be applied, what
//! has to wait, and what is known; `diff` and `snapshot` write it down again. What a stored snapshot has may stay bytes (`base`). Never integrates: order within a type is the readers' business.
//! Deletes are kept as ranges beside the structs, so a delete costs a look-up and never moves content; `compact` drops what they cover.

mod base;
mod diff;

use crate::limits::{Exceeded, MessageLimits, RoomLimits};
use crate::parents::{Parents, TREE_ENTRY_BYTES};
use crate::parked::{OVERHEAD_BYTES, Parked, ParkedStruct};
use crate::structs::{Client, Cursor, Ref, Struct};
use crate::wire::{self, GC, Id, Invalid, Parent, RawStruct, SKIP, StateVector, TYPE, Update};
use base::Base;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// No structs, no deletes.
const EMPTY_UPDATE_BYTES: usize = 2;
/// Up to so many clients no memory is set aside for further ones.
const CLIENTS_EXACT: usize = 4;
/// Memory of one delete range in its tree.
const DELETE_BYTES: usize = 16;

/// A Yjs document as structs and delete ranges.
#[derive(Clone, Debug)]
pub struct Document {
    clients: Vec<Client>,
    index: BTreeMap<u64, u32>,
    /// The client looked up last: an author types for a while.
    recent: u32,
    parents: Parents,
    parked: Parked,
    limits: RoomLimits,
    bytes: usize,
    delete_ranges: usize,
    serial: u64,
    fresh: Vec<Fresh>,
    fresh_deletes: Vec<(u32, u32, u32)>,
    base: Option<Box<Base>>,
}

/// What became of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// What is new and applied, in the order in which it is to be logged and told to others. Empty: everything was known already, or waits.
    pub parts: Vec<Part>,
    /// What is new and has to wait, as an update: to be logged, not told to others.
    pub parked: Option<Vec<u8>>,
    /// A bound that kept some of it out.
    pub refused: Option<Exceeded>,
}

/// One update to be logged and told to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of the message, as it came.
    Whole,
    /// The new part of it, or something parked that it released.
    Cut {
        /// Whose it is: the `author` given when it was added.
        author: u32,
        /// A v1 update.
        bytes: Vec<u8>,
    },
}

/// Elements that the last `add` made part of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRange {
    /// Whose elements.
    pub client: u64,
    /// First clock.
    pub start: u32,
    /// Clock behind the last.
    pub end: u32,
    /// Who sent them, in the caller's numbering.
    pub author: u32,
}

#[derive(Clone, Copy, Debug)]
struct Fresh {
    client: u32,
    start: u32,
    end: u32,
    author: u32,
    /// Brought by this call, not released by it.
    own: bool,
}

/// What one call of `add` finds on its way.
struct Run<'a> {
    author: u32,
    /// Something in the message is known, waits, or is a hole: it cannot be passed on as it came.
    cut: bool,
    /// Clients of which structs were put aside.
    parked: BTreeSet<u64>,
    refused: Option<Exceeded>,
    /// Sections that wait for another one of the same message: (missing client, missing clock, which).
    waiting: BTreeSet<(u64, u32, usize)>,
    blocked: Vec<Option<wire::Section<'a>>>,
}

impl Default for Document {
    fn default() -> Self {
        Self::new(RoomLimits::default())
    }
}

impl Document {
    /// An empty document.
    pub fn new(limits: RoomLimits) -> Self {
        Self {
            clients: Vec::new(),
            index: BTreeMap::new(),
            recent: 0,
            parents: Parents::default(),
            parked: Parked::default(),
            limits,
            bytes: 0,
            delete_ranges: 0,
            serial: 0,
            fresh: Vec::new(),
            fresh_deletes: Vec::new(),
            base: None,
        }
    }

    /// A document from stored updates, in the order in which they were accepted. Nothing of them is refused for its size.
    pub fn load<'a>(limits: RoomLimits, stored: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Invalid> {
        let mut document = Self::new(RoomLimits::STORED);
        for bytes in stored {
            document.add(&Update::validate(bytes, &MessageLimits::STORED)?, 0);
        }
        document.limits = limits;
        Ok(document)
    }

    /// Other bounds, from the next `add` on.
    pub fn set_limits(&mut self, limits: RoomLimits) {
        self.limits = limits;
    }

    /// Takes in an update. `author` is whom its content is credited to, in the caller's numbering. Costs about 100 ns for a keystroke.
    pub fn add<B: AsRef<[u8]>>(&mut self, update: &Update<B>, author: u32) -> Added {
        if self.base.as_ref().is_some_and(|base| self.needs_structs(base, update)) {
            self.expand();
        }
        self.fresh.clear();
        self.fresh_deletes.clear();
        self.serial += 1;
        if let Some(refused) = self.too_large(update) {
            return Added { refused: Some(refused), ..Added::default() };
        }
        let mut run = Run {
            author,
            cut: false,
            parked: BTreeSet::new(),
            refused: None,
            waiting: BTreeSet::new(),
            blocked: Vec::new(),
        };
        let mut sections = update.sections();
        while let Some(section) = sections.open() {
            sections.close(self.advance(&mut run, section));
        }
        if !run.waiting.is_empty() || !self.parked.is_empty() {
            self.settle(&mut run);
        }
        for (client, start, end) in sections.deletes() {
            self.delete(&mut run, client, start, end);
        }
        self.note_behind_base(update);
        self.outcome(run)
    }

    /// Elements that the last `add` applied.
    pub fn new_structs(&self) -> impl Iterator<Item = NewRange> + '_ {
        self.fresh.iter().map(|fresh| NewRange {
            client: self.clients[fresh.client as usize].id,
            start: fresh.start,
            end: fresh.end,
            author: fresh.author,
        })
    }

    /// Elements that the last `add` deleted: `(client, start, end)`.
    pub fn new_deletes(&self) -> impl Iterator<Item = (u64, u32, u32)> + '_ {
        self.fresh_deletes.iter().map(|&(client, start, end)| (self.clients[client as usize].id, start, end))
    }

    /// For each client the clock up to which everything is applied. What is parked does not count.
    pub fn state_vector(&self) -> StateVector {
        let entries = self.index.iter().map(|(&id, &index)| (id, self.clients[index as usize].state()));
        StateVector::from_entries(entries.filter(|&(_, clock)| clock > 0).collect())
    }

    /// Of a state vector what concerns clients of this document: what is kept of a stranger's words is bounded by what is here.
    pub fn known_part(&self, vector: &StateVector) -> StateVector {
        let entries = vector.entries().iter().map(|&(id, clock)| (id, clock.min(self.state(id))));
        let mut entries: Vec<(u64, u32)> = entries.filter(|&(_, clock)| clock > 0).collect();
        entries.dedup_by_key(|entry| entry.0);
        StateVector::from_entries(entries)
    }

    /// Drops the content of what is deleted from memory, and makes what is left the base.
    pub fn compact(&mut self) {
        self.expand();
        let compacted = Self::from_snapshot(RoomLimits::STORED, self.snapshot(false).into(), self.depth());
        debug_assert!(compacted.is_ok(), "a snapshot is a valid update");
        if let Ok(compacted) = compacted {
            self.become_structs_of(compacted);
        }
    }

    /// Bytes of memory that the content takes, parked structs included.
    pub fn bytes(&self) -> usize {
        let base = self.base().map_or(0, Bytes::len);
        base + self.bytes + self.parents.bytes + self.delete_ranges * DELETE_BYTES + self.parked.bytes()
    }

    /// How deep types are nested at most; on a base that may be less.
    pub fn depth(&self) -> u32 {
        self.parents.deepest
    }

    /// True when something waits for missing updates.
    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// True when nothing was ever added.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.parked.is_empty()
    }

    /// Structs and delete ranges held, for measurements.
    pub fn counts(&self) -> (usize, usize) {
        let structs: usize = self.clients.iter().map(|client| client.structs.len()).sum();
        (
            structs + self.base.as_ref().map_or(0, |base| base.structs),
            self.clients.iter().map(|client| client.deleted.len()).sum(),
        )
    }

    /// True when it has structs that are new here. Deletes do not count.
    pub fn brings_structs<B: AsRef<[u8]>>(&self, update: &Update<B>) -> bool {
        let mut sections = update.sections();
        while let Some(mut section) = sections.open() {
            while let Some((clock, raw)) = section.next() {
                let id = Id { client: section.client, clock };
                if raw.kind() != SKIP && clock + raw.len > self.state(id.client) && !self.parked.covers(id, raw.len) {
                    return true;
                }
            }
            sections.close(section);
        }
        false
    }

    fn too_large<B: AsRef<[u8]>>(&self, update: &Update<B>) -> Option<Exceeded> {
        let would_be = self.bytes + self.parents.bytes + update.bytes().len();
        let full = would_be > self.limits.room_bytes_max && self.brings_structs(update);
        full.then_some(Exceeded::RoomBytes(self.limits.room_bytes_max))
    }

    /// Applies a section as far as it goes. The rest waits for the sections still to come.
    fn advance<'a>(&mut self, run: &mut Run<'a>, mut section: wire::Section<'a>) -> wire::Section<'a> {
        loop {
            let here = section.clone();
            let Some((clock, raw)) = section.next() else { return section };
            match self.apply(run, Id { client: section.client, clock }, &raw, run.author, true) {
                Applied::Yes => {}
                Applied::Missing(missing) => {
                    run.waiting.insert((missing.client, missing.clock, run.blocked.len()));
                    run.blocked.push(Some(here));
                    return section;
                }
                Applied::Refused(exceeded) => {
                    run.refused = Some(exceeded);
                    run.cut = true;
                    return section;
                }
            }
        }
    }

    /// Lets what waits go on, until nothing moves; what still waits then is parked.
    fn settle(&mut self, run: &mut Run<'_>) {
        let mut grown: VecDeque<u64> = self.fresh.iter().map(|fresh| self.clients[fresh.client as usize].id).collect();
        loop {
            while let Some(client) = grown.pop_front() {
                // What its first parked struct waits for is of no concern once that struct came in another form.
                if self.parked.first(client).is_some_and(|(clock, _)| clock <= self.state(client)) {
                    self.release(run, client);
                }
                while let Some(moved) = self.go_on(run, client) {
                    grown.extend(moved);
                }
            }
            let blocked = std::mem::take(&mut run.blocked);
            run.waiting.clear();
            if blocked.is_empty() {
                return;
            }
            // The same holds for a section: its client may have grown beyond what it waits for.
            grown.extend(blocked.into_iter().flatten().filter_map(|section| self.park(run, section)));
        }
    }

    /// Lets one section or one client's parked structs go on that have waited for `grown`. None: nobody has. Otherwise the client that
    /// has grown by it, if one has.
    fn go_on(&mut self, run: &mut Run<'_>, grown: u64) -> Option<Option<u64>> {
        let state = self.state(grown);
        let waiting = run.waiting.range((grown, 0, 0)..(grown, state, 0)).next().copied();
        let (client, before) = if let Some(found) = waiting {
            run.waiting.remove(&found);
            let Some(section) = run.blocked[found.2].take() else { return Some(None) };
            let (client, before) = (section.client, self.state(section.client));
            self.advance(run, section);
            (client, before)
        } else {
            let client = self.parked.released(grown, state)?;
            let before = self.state(client);
            self.release(run, client);
            (client, before)
        };
        Some((self.state(client) > before).then_some(client))
    }

    /// Applies parked structs of a client as far as they go.
    fn release(&mut self, run: &mut Run<'_>, client: u64) {
        while let Some((clock, _)) = self.parked.first(client) {
            let id = Id { client, clock };
            let Some(parked) = self.parked.remove(id) else { return };
            let Some(raw) = wire::reread(&parked.raw, id) else { continue };
            match self.apply(run, id, &raw, parked.author, false) {
                Applied::Yes => {}
                // It is dropped; whoever sends what it waited for is not to blame.
                Applied::Refused(_) => {}
                Applied::Missing(missing) => {
                    self.parked.insert(id, parked);
                    self.parked.wait(client, missing);
                    return;
                }
            }
        }
    }

    /// Puts the rest of a section aside. Returns its client if that need not have been.
    fn park(&mut self, run: &mut Run<'_>, mut section: wire::Section<'_>) -> Option<u64> {
        let client = section.client;
        let mut first = None;
        while let Some((clock, raw)) = section.next() {
            let id = Id { client, clock };
            run.cut = true;
            if raw.kind() == SKIP || clock + raw.len <= self.state(client) || self.parked.covers(id, raw.len) {
                continue;
            }
            if self.parked.bytes() + raw.raw.len() + OVERHEAD_BYTES > self.limits.parked_bytes_max {
                run.refused = Some(Exceeded::ParkedBytes(self.limits.parked_bytes_max));
                break;
            }
            let parked = ParkedStruct { raw: raw.raw.into(), len: raw.len, author: run.author, serial: self.serial };
            self.parked.insert(id, parked);
            run.parked.insert(client);
            first.get_or_insert(self.missing(id, &raw));
        }
        match first? {
            Some(missing) => self.parked.wait(client, missing),
            None => return Some(client),
        }
        None
    }

    /// What has to come before a struct can be applied. One whose beginning is known goes on from its left neighbour: where it belongs is known
    /// then, and only its right origin counts.
    fn missing(&self, id: Id, raw: &RawStruct<'_>) -> Option<Id> {
        let state = self.state(id.client);
        if id.clock > state {
            return Some(Id { client: id.client, clock: id.clock - 1 });
        }
        let is_missing = |needed: &Id| needed.client != id.client && needed.clock >= self.state(needed.client);
        if id.clock < state { raw.right.filter(is_missing) } else { raw.dependencies().find(is_missing) }
    }

    #[inline]
    fn apply(&mut self, run: &mut Run<'_>, id: Id, raw: &RawStruct<'_>, author: u32, own: bool) -> Applied {
        let (clock, state) = (id.clock, self.state(id.client));
        let end = clock + raw.len;
        if end <= state || raw.kind() == SKIP {
            run.cut |= own;
            return Applied::Yes;
        }
        let builds_on_others = raw.origin.is_some() || raw.right.is_some() || matches!(raw.parent, Parent::Item(_));
        if (clock > state || builds_on_others)
            && let Some(missing) = self.missing(id, raw)
        {
            return Applied::Missing(missing);
        }
        // Only what is applied makes a client known: the table cannot be filled with names alone.
        let Some(client) = self.intern(id.client, self.limits.clients_max) else {
            return Applied::Refused(Exceeded::Clients(self.limits.clients_max));
        };
        if let Err(exceeded) = self.push(client, clock, state - clock, raw) {
            return Applied::Refused(exceeded);
        }
        run.cut |= own && clock < state;
        match self.fresh.last_mut() {
            Some(last) if last.client == client && last.end == state && last.author == author && last.own == own => {
                last.end = end;
            }
            _ => self.fresh.push(Fresh { client, start: state, end, author, own }),
        }
        Applied::Yes
    }

    /// Appends a struct without its first `offset` elements.
    fn push(&mut self, client: u32, clock: u32, offset: u32, raw: &RawStruct<'_>) -> Result<(), Exceeded> {
        let at = clock + offset;
        let mut next = Struct {
            clock: at,
            len: raw.len - offset,
            origin: self.reference(raw.origin),
            right: self.reference(raw.right),
            parent: Parents::DEAD,
            place: 0,
            bytes: 0,
            info: raw.info,
        };
        let (mut key, mut content) = (raw.sub, raw.content);
        let mut replaced = Vec::new();
        if offset > 0 && raw.kind() != GC {
            next.origin = Ref { client, clock: at - 1 };
            next.info |= wire::HAS_ORIGIN;
            key = None;
            let piece = Cursor::default().cut(raw.kind(), raw.content, offset, raw.len, raw.len);
            content = piece.bytes;
            if piece.starts_half {
                replaced.extend_from_slice("\u{fffd}".as_bytes());
                replaced.extend_from_slice(piece.bytes);
                content = &replaced;
            }
        }
        next.parent = self.parent_of(client, &next, raw);
        if raw.kind() == TYPE {
            self.parents.within(next.parent, self.limits.depth_max)?;
        }
        let owner = &mut self.clients[client as usize];
        let before = (owner.structs.len(), owner.arena.len());
        owner.push(next, key, content, client);
        self.bytes += (owner.structs.len() - before.0) * size_of::<Struct>() + owner.arena.len() - before.1;
        Ok(())
    }

    fn parent_of(&mut self, client: u32, next: &Struct, raw: &RawStruct<'_>) -> u32 {
        if raw.kind() == GC {
            return Parents::DEAD;
        }
        if next.origin != Ref::NONE {
            return self.parent_at(client, next.origin);
        }
        if next.right != Ref::NONE {
            return self.parent_at(client, next.right);
        }
        match raw.parent {
            Parent::Root(name) => {
                // Each such struct is written with the name.
                self.bytes += name.len();
                self.parents.root(name)
            }
            Parent::Item(id) => {
                let reference = self.reference(Some(id));
                let above = self.parent_at(client, reference);
                self.parents.item(reference, above)
            }
            Parent::Inherited => Parents::DEAD,
        }
    }

    /// The parent of the struct that holds an element. In the base it is not looked up: there it makes no difference.
    fn parent_at(&self, own: u32, reference: Ref) -> u32 {
        let client = &self.clients[reference.client as usize];
        if reference.clock < client.floor {
            return Parents::DEAD;
        }
        debug_assert!(reference.clock < client.state() || own == reference.client, "dependencies are checked first");
        client.structs.get(client.find(reference.clock)).map_or(Parents::DEAD, |found| found.parent)
    }

    fn reference(&self, id: Option<Id>) -> Ref {
        id.and_then(|id| Some(Ref { client: self.lookup(id.client)?, clock: id.clock })).unwrap_or(Ref::NONE)
    }

    fn delete(&mut self, run: &mut Run<'_>, client: u64, start: u32, end: u32) {
        // Clients known by deletes alone get half of the places, so that they keep nobody from writing.
        let Some(client) = self.intern(client, self.limits.clients_max.div_ceil(2)) else {
            run.refused = Some(Exceeded::Clients(self.limits.clients_max));
            run.cut = true;
            return;
        };
        let (fresh, mut new) = (&mut self.fresh_deletes, 0);
        let deleted = &mut self.clients[client as usize].deleted;
        // What is known or grows a range is taken in any case.
        if self.delete_ranges >= self.limits.delete_ranges_max && deleted.is_apart(start, end) {
            run.refused = Some(Exceeded::DeleteRanges(self.limits.delete_ranges_max));
            return;
        }
        let before = deleted.len();
        deleted.insert(start, end, |from, to| {
            new += to - from;
            fresh.push((client, from, to));
        });
        self.delete_ranges = self.delete_ranges + deleted.len() - before;
        run.cut |= new < end - start;
    }

    fn outcome(&mut self, run: Run<'_>) -> Added {
        let mut added = Added { refused: run.refused, ..Added::default() };
        let own = self.fresh.iter().take_while(|fresh| fresh.own).count();
        let all_own_first = !self.fresh[own..].iter().any(|fresh| fresh.own);
        let mut deletes = self.fresh_deletes.as_slice();
        let mut rest = self.fresh.as_slice();
        if !run.cut && run.refused.is_none() && all_own_first && (own > 0 || !deletes.is_empty()) {
            added.parts.push(Part::Whole);
            rest = &self.fresh[own..];
            deletes = &[];
        }
        // Each stretch by one author is a part, in the order in which they were applied: nobody who gets them has to wait for a later one.
        for stretch in rest.chunk_by(|one, next| (one.author, one.own) == (next.author, next.own)) {
            let author = stretch.first().map_or(run.author, |fresh| fresh.author);
            let deletes = if author == run.author { std::mem::take(&mut deletes) } else { &[] };
            added.parts.push(Part::Cut { author, bytes: self.write_stretch(stretch, deletes) });
        }
        if !deletes.is_empty() {
            added.parts.push(Part::Cut { author: run.author, bytes: self.write_stretch(&[], deletes) });
        }
        if !run.parked.is_empty() {
            let parked = self.write_parked_only(run.parked, |serial, _| serial == self.serial);
            added.parked = (parked.len() > EMPTY_UPDATE_BYTES).then_some(parked);
        }
        added
    }

    fn state(&self, id: u64) -> u32 {
        self.find_client(id).map_or(0, Client::state)
    }

    fn find_client(&self, id: u64) -> Option<&Client> {
        self.lookup(id).map(|index| &self.clients[index as usize])
    }

    #[inline]
    fn lookup(&self, id: u64) -> Option<u32> {
        match self.clients.get(self.recent as usize) {
            Some(client) if client.id == id => Some(self.recent),
            _ => self.index.get(&id).copied(),
        }
    }

    /// The index of a client, made if there is room for one more.
    fn intern(&mut self, id: u64, clients_max: usize) -> Option<u32> {
        let index = match self.lookup(id) {
            Some(index) => index,
            None if self.clients.len() >= clients_max => return None,
            None => {
                let index = self.clients.len() as u32;
                self.bytes += size_of::<Client>() + TREE_ENTRY_BYTES;
                // Most documents have few, and most of those are small.
                if self.clients.len() < CLIENTS_EXACT {
                    self.clients.reserve_exact(1);
                }
                self.clients.push(Client { id, ..Client::default() });
                self.index.insert(id, index);
                index
            }
        };
        self.recent = index;
        Some(index)
    }
}

enum Applied {
    Yes,
    Missing(Id),
    Refused(Exceeded),
}
