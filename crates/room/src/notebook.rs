//! A notebook: the notes of one user, replaced as a whole, the newest wins. The room of those who sync notes and not a document.
//!
//! Served like any room: members come, ask and write, and what has to happen comes back as effects. What it accepts is logged as what it came to, and told to
//! all others; whoever has lost is told what has won. `note` is its vocabulary, `shelf` what it holds, `record` its bytes on disk. Knows no JSON, no clock, no
//! connection; who may come in is the server's business.

mod note;
mod record;
mod shelf;

pub use note::{Entry, Mark, NewNote, News, Note, NoteId, Reason, Refusal, Request, Sort};
pub use record::NotebookError;

use crate::limits::Limits;
use crate::member::{Access, MemberId};
use crate::message::{Author, Change, Closing, Effect, Effects, Event, Input};
use crate::room::Stored;
use crate::rules::Rules;
use record::Record;
use shelf::{Shelf, content_bytes};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A deletion cannot be dated further ahead: it would beat every edit until then.
const AHEAD_MS: i64 = 24 * 3_600_000;
/// No moment is further from the epoch: 71,000 years. Records have no place for more.
const MOMENT_MAX_MS: i64 = 1 << 51;
/// A member that loses its place again within this time will not keep up.
const MISSED_AGAIN_MS: u64 = 60_000;
/// Notes on a page of the list: what a page shows, and no more than a message may have.
const PAGE_MAX: u64 = 100;
/// Old marks that are forgotten before a request is looked at, and at a tick: each costs a microsecond or two, and nobody is to wait for all of them.
const FORGOTTEN_PER_REQUEST_MAX: usize = 16;
const FORGOTTEN_PER_TICK_MAX: usize = 2_000;
/// A list of this length belongs to a quiet room, which shall cost next to nothing.
const PENDING_FEW: usize = 8;

/// Notes, and who is there.
#[derive(Debug)]
pub struct Notebook {
    shelf: Shelf,
    members: BTreeMap<MemberId, Member>,
    limits: Arc<Limits>,
    head: u64,
    durable: u64,
    /// What is not durable yet, oldest first, with who waits for it.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
}

#[derive(Debug)]
struct Member {
    author: Author,
    access: Access,
    /// When it last lost its place.
    missed_ms: Option<u64>,
}

#[derive(Debug)]
struct Pending {
    /// Durable up to here means done.
    offset: u64,
    bytes: usize,
    answer: Option<(MemberId, Event)>,
}

impl Rules for Notebook {
    fn handle(&mut self, input: Input, now_ms: u64, effects: &mut Effects) {
        match input {
            Input::Join { member, access, author, .. } => {
                self.members.insert(member, Member { author, access, missed_ms: None });
                effects.push(Effect::Place(member));
            }
            Input::Leave(member) => _ = self.members.remove(&member),
            Input::SetAccess(member, access) => {
                if let Some(member) = self.members.get_mut(&member) {
                    member.access = access;
                }
            }
            Input::Notes(member, request) => {
                if self.members.contains_key(&member) {
                    self.forget(now_ms, FORGOTTEN_PER_REQUEST_MAX);
                    self.request(member, request, now_ms, effects);
                }
            }
            Input::CatchUp(member) => self.catch_up(member, now_ms, effects),
            Input::Announce(..) => {
                let event = Event::Notes(News::Resync { reason: Reason::ServerUpdate, now_ms });
                effects.push(Effect::Publish { except: None, event });
            }
            Input::Mark(member, bytes) => self.answer_when_durable(member, Event::Marked(bytes), 0, effects),
            Input::Malformed(member) => effects.push(Effect::Close(member, Closing::Malformed)),
            Input::Beyond(member, exceeded) => {
                effects.push(Effect::Close(member, Closing::Beyond(exceeded.to_string())));
            }
            Input::Durable(offset) => {
                self.durable = self.durable.max(offset);
                self.acknowledge(effects);
            }
            Input::Tick => {
                self.forget(now_ms, FORGOTTEN_PER_TICK_MAX);
                if self.pending.is_empty() {
                    self.pending = VecDeque::new();
                }
            }
            // Documents, presence, databases: there are none here. It keeps nothing that a snapshot would spare.
            Input::Adopt(..)
            | Input::Introduce { .. }
            | Input::Present(..)
            | Input::Relay { .. }
            | Input::Found(_)
            | Input::Ask(_)
            | Input::Sync(..)
            | Input::SyncInOne(..)
            | Input::Update { .. }
            | Input::Awareness(..)
            | Input::QueryAwareness { .. }
            | Input::Compacted { .. }
            | Input::TellPresence
            | Input::Tables(..)
            | Input::Answered { .. } => {}
        }
    }

    fn head(&self) -> u64 {
        self.head
    }

    fn durable_offset(&self) -> u64 {
        self.durable
    }

    fn bytes(&self) -> usize {
        self.shelf.bytes() + self.pending_bytes
    }

    fn is_congested(&self) -> bool {
        self.pending_bytes > self.limits.unacknowledged_bytes_max
    }

    fn wants_ticks(&self) -> bool {
        self.shelf.marks() > 0
    }
}

impl Notebook {
    /// Makes a notebook from what was stored. A change that cannot be read is passed over: the others are worth more than a closed notebook. Notebooks may
    /// share their limits.
    pub fn load(stored: &Stored, limits: impl Into<Arc<Limits>>) -> Result<Self, NotebookError> {
        let limits = limits.into();
        let mut shelf = stored.snapshot.as_deref().map(Shelf::decode).transpose()?.unwrap_or_default();
        for change in &stored.changes {
            if let Ok(record) = Record::decode(&change.bytes, &change.author) {
                shelf.apply(record);
                shelf.hold_to_bounds(&limits);
            }
        }
        shelf.hold_to_bounds(&limits);
        Ok(Self {
            shelf,
            members: BTreeMap::new(),
            limits,
            head: stored.head,
            durable: stored.durable,
            pending: VecDeque::new(),
            pending_bytes: 0,
        })
    }

    /// The snapshot of everything up to the last of `changes` that `limits` leave, without marks that are too old by now. A change that cannot be read is left out.
    pub fn squash<'a>(
        previous: Option<&[u8]>,
        changes: impl IntoIterator<Item = &'a Change>,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<Vec<u8>, NotebookError> {
        let mut shelf = previous.map(Shelf::decode).transpose()?.unwrap_or_default();
        for change in changes {
            if let Ok(record) = Record::decode(&change.bytes, &change.author) {
                shelf.apply(record);
                shelf.hold_to_bounds(limits);
            }
        }
        shelf.forget_before(oldest(now_ms, limits), usize::MAX);
        Ok(shelf.encode())
    }

    /// Everything that it holds, as a snapshot: the same bytes for the same content.
    pub fn snapshot(&self) -> Vec<u8> {
        self.shelf.encode()
    }

    fn request(&mut self, member: MemberId, request: Request, now_ms: u64, effects: &mut Effects) {
        match request {
            Request::Put { note, answered } => self.put(member, note, answered, now_ms, effects),
            Request::Delete { id, at_ms, answered } => self.delete(member, id, at_ms, answered, now_ms, effects),
            Request::Restore { id } => self.restore(member, id, now_ms, effects),
            Request::Replay { since_ms } => self.replay(member, since_ms, now_ms, effects),
            Request::Get { id } => {
                let found = self.known(&id, now_ms).filter(|entry| match entry {
                    Entry::Live(_) => true,
                    Entry::Gone(mark) => mark.note.is_some(),
                });
                tell(member, found.map_or(News::NotFound(id), News::Found), effects);
            }
            Request::List { page, limit, sort, descending, include_deleted } => {
                let limit = limit.clamp(1, PAGE_MAX);
                let skipped = usize::try_from(page.saturating_sub(1).saturating_mul(limit)).unwrap_or(usize::MAX);
                let entries = self.shelf.list(sort, descending, include_deleted, skipped, limit as usize);
                let total = self.shelf.listed(include_deleted) as u64;
                tell(member, News::Page { entries: entries.into(), total, page, limit }, effects);
            }
            Request::Changes { since_ms } => {
                let (notes, marks) = self.changes(since_ms, usize::MAX);
                let now_ms = self.clock_ms(now_ms);
                tell(member, News::Changes { notes: notes.into(), marks: marks.into(), now_ms }, effects);
            }
        }
    }

    /// Newest `updatedAt` wins, and what is stored on a tie.
    fn put(&mut self, member: MemberId, new: NewNote, answered: bool, now_ms: u64, effects: &mut Effects) {
        let Some(writer) = self.writer(member, &new.id, false, now_ms, effects) else { return };
        let (known, now) = (self.known(&new.id, now_ms), now_ms as i64);
        let within = |time_ms: i64| time_ms.clamp(-MOMENT_MAX_MS, MOMENT_MAX_MS);
        let new = NewNote { created_ms: new.created_ms.map(within), updated_ms: new.updated_ms.map(within), ..new };
        let newest = known.as_ref().map(|entry| match entry {
            Entry::Live(note) => note.updated_ms,
            Entry::Gone(mark) => mark.deleted_ms,
        });
        let updated_ms = new.updated_ms.unwrap_or_else(|| newest.map_or(now, |newest| now.max(newest + 1)));
        if newest.is_some_and(|newest| updated_ms <= newest)
            && let Some(entry) = known
        {
            return self.lose(member, &new, updated_ms, entry, answered, effects);
        }
        let before = match &known {
            Some(Entry::Live(note)) => Some(note),
            Some(Entry::Gone(mark)) => mark.note.as_ref(),
            None => None,
        };
        let title = Arc::from(new.title.to_lowercase());
        let created_ms = new.created_ms.or(before.map(|note| note.created_ms)).unwrap_or(updated_ms);
        let version = 1 + match &known {
            Some(Entry::Live(note)) => note.version,
            Some(Entry::Gone(mark)) => mark.version,
            None => 0,
        };
        let NewNote { id, likeness, members, .. } = new;
        let accepted_ms = self.clock_ms(now_ms);
        let note = Note { id, writer, title, created_ms, updated_ms, accepted_ms, version, likeness, members };
        self.write(member, note, known.as_ref(), answered, now_ms, effects);
    }

    /// A note that is not newer than what there is. Its writer is told the truth, unless it is the same.
    fn lose(
        &mut self,
        member: MemberId,
        new: &NewNote,
        updated_ms: i64,
        entry: Entry,
        answered: bool,
        effects: &mut Effects,
    ) {
        let same = match &entry {
            Entry::Live(note) => {
                let is_same = note.updated_ms == updated_ms
                    && note.likeness == new.likeness
                    && new.created_ms.is_none_or(|created_ms| created_ms == note.created_ms);
                is_same.then(|| note.clone())
            }
            Entry::Gone(_) => None,
        };
        match (same, answered) {
            (Some(note), true) => {
                self.answer_when_durable(member, Event::Notes(News::Stored(note)), 0, effects);
            }
            (Some(_), false) => {}
            (None, true) => tell(member, News::Conflict(entry), effects),
            (None, false) => match entry {
                Entry::Live(note) => tell(member, News::Updated(note), effects),
                Entry::Gone(mark) => tell(member, News::Deleted(mark), effects),
            },
        }
    }

    /// Accepts a note, unless it is one too many.
    fn write(
        &mut self,
        member: MemberId,
        note: Note,
        known: Option<&Entry>,
        answered: bool,
        now_ms: u64,
        effects: &mut Effects,
    ) {
        let bytes = content_bytes(&note.id, &note.title, &note.members);
        let (is_further, bytes_before) = match known {
            Some(Entry::Live(before)) => (false, content_bytes(&before.id, &before.title, &before.members)),
            _ => (true, 0),
        };
        let (notes_max, bytes_max) = (self.limits.notebook.notes_max, self.limits.document.room_bytes_max);
        let beyond = if is_further && self.shelf.notes() >= notes_max {
            Some(format!("a notebook has at most {notes_max} notes; delete some"))
        } else if bytes > bytes_before && self.shelf.live_bytes() - bytes_before + bytes > bytes_max {
            Some(format!("the notes of a notebook have at most {bytes_max} bytes together; delete or shorten some"))
        } else {
            None
        };
        if let Some(limit) = beyond {
            return refuse(member, note.id, false, Refusal::Limit(limit), now_ms, effects);
        }
        let writer = note.writer.clone();
        if let Entry::Live(note) = self.accept(member, Record::Written(note), writer, now_ms, effects)
            && answered
        {
            self.answer_when_durable(member, Event::Notes(News::Stored(note)), 0, effects);
        }
    }

    fn delete(
        &mut self,
        member: MemberId,
        id: NoteId,
        at_ms: Option<i64>,
        answered: bool,
        now_ms: u64,
        effects: &mut Effects,
    ) {
        let Some(by) = self.writer(member, &id, true, now_ms, effects) else { return };
        let (known, now) = (self.known(&id, now_ms), now_ms as i64);
        let deleted_ms =
            at_ms.filter(|at_ms| *at_ms <= now.saturating_add(AHEAD_MS)).unwrap_or(now).max(-MOMENT_MAX_MS);
        let deleted_ms = match &known {
            Some(Entry::Live(note)) => deleted_ms.max(note.updated_ms),
            // A mark is set for what has never been here: the note may still come, from a device that has it.
            None if !answered => deleted_ms,
            None | Some(Entry::Gone(_)) if answered => return tell(member, News::NotFound(id), effects),
            None | Some(Entry::Gone(_)) => return,
        };
        let record = Record::Deleted { id, by: by.clone(), deleted_ms, accepted_ms: self.clock_ms(now_ms) };
        if known.is_none() {
            self.log(&record, by, now_ms, effects);
            self.shelf.apply(record);
            self.shelf.hold_to_bounds(&self.limits);
            return;
        }
        if let Entry::Gone(mark) = self.accept(member, record, by, now_ms, effects)
            && answered
        {
            self.answer_when_durable(member, Event::Notes(News::Erased(mark)), 0, effects);
        }
    }

    /// A deleted note comes back as of now. One that is there stays as it is.
    fn restore(&mut self, member: MemberId, id: NoteId, now_ms: u64, effects: &mut Effects) {
        let Some(writer) = self.writer(member, &id, false, now_ms, effects) else { return };
        let known = self.known(&id, now_ms);
        let mark = match &known {
            Some(Entry::Live(note)) => {
                return self.answer_when_durable(member, Event::Notes(News::Stored(note.clone())), 0, effects);
            }
            Some(Entry::Gone(mark)) => Some(mark),
            None => None,
        };
        let Some((mark, note)) = mark.and_then(|mark| Some((mark, mark.note.as_deref()?))) else {
            return tell(member, News::NotFound(id), effects);
        };
        // After the deletion, which may be dated ahead: devices go by that.
        let updated_ms = (now_ms as i64).max(mark.deleted_ms + 1);
        let (accepted_ms, version) = (self.clock_ms(now_ms), mark.version + 1);
        let restored = Note { writer, updated_ms, accepted_ms, version, ..note.clone() };
        self.write(member, restored, known.as_ref(), true, now_ms, effects);
    }

    fn replay(&mut self, member: MemberId, since_ms: Option<u64>, now_ms: u64, effects: &mut Effects) {
        let most = self.limits.notebook.replay_entries_max;
        let is_small = since_ms.is_some() || self.shelf.notes() <= most && self.shelf.marks() <= most;
        let (notes, marks) = if is_small { self.changes(since_ms, most) } else { (Vec::new(), Vec::new()) };
        let notes_bytes: usize = notes.iter().map(|note| note.message_bytes()).sum();
        let bytes = notes_bytes + marks.iter().map(|mark| mark.message_bytes()).sum::<usize>();
        let is_small =
            is_small && notes.len() <= most && marks.len() <= most && bytes <= self.limits.notebook.replay_bytes_max;
        if !is_small {
            return tell(member, News::Resync { reason: Reason::TooManyChanges, now_ms }, effects);
        }
        tell(member, News::Resync { reason: Reason::InitialSync, now_ms }, effects);
        notes.into_iter().for_each(|note| tell(member, News::Updated(note), effects));
        marks.into_iter().for_each(|mark| tell(member, News::Deleted(mark), effects));
    }

    /// What was accepted from then on: notes in the order of their changes, and marks. When there is more than `most` of either, not all.
    fn changes(&self, since_ms: Option<u64>, most: usize) -> (Vec<Arc<Note>>, Vec<Arc<Mark>>) {
        let Some(since_ms) = since_ms else { return self.shelf.all() };
        let (mut notes, mut marks) = (Vec::new(), Vec::new());
        for entry in self.shelf.since(since_ms) {
            match entry {
                Entry::Live(note) => notes.push(note.clone()),
                Entry::Gone(mark) => marks.push(mark.clone()),
            }
            if notes.len() > most || marks.len() > most {
                break;
            }
        }
        notes.sort_by(|one, other| (one.updated_ms, &one.id).cmp(&(other.updated_ms, &other.id)));
        (notes, marks)
    }

    /// It has not been told of everything: it shall fetch that. Twice within a minute, and it will not keep up.
    fn catch_up(&mut self, member: MemberId, now_ms: u64, effects: &mut Effects) {
        let Some(behind) = self.members.get_mut(&member) else { return };
        let before = behind.missed_ms.replace(now_ms);
        if before.is_some_and(|then| now_ms.saturating_sub(then) < MISSED_AGAIN_MS) {
            return effects.push(Effect::Close(member, Closing::SlowConsumer));
        }
        effects.push(Effect::Place(member));
        tell(member, News::Resync { reason: Reason::MissedMessages, now_ms }, effects);
    }

    /// In whose name a member writes. None: it may not, and is told so.
    fn writer(
        &self,
        id: MemberId,
        note: &NoteId,
        was_delete: bool,
        now_ms: u64,
        effects: &mut Effects,
    ) -> Option<Author> {
        let member = self.members.get(&id)?;
        if member.access == Access::Write {
            return Some(member.author.clone());
        }
        refuse(id, note.clone(), was_delete, Refusal::ReadOnly, now_ms, effects);
        None
    }

    /// What there is of an id. What is too old is not there, also when it has not been forgotten yet.
    fn known(&self, id: &str, now_ms: u64) -> Option<Entry> {
        self.shelf.get(id).cloned().filter(|entry| match entry {
            Entry::Live(_) => true,
            Entry::Gone(mark) => mark.accepted_ms >= oldest(now_ms, &self.limits),
        })
    }

    /// When something that is accepted now was accepted: a clock that was put back does not put it before what was.
    fn clock_ms(&self, now_ms: u64) -> u64 {
        self.shelf.clock_ms().max(now_ms)
    }

    fn forget(&mut self, now_ms: u64, most: usize) {
        self.shelf.forget_before(oldest(now_ms, &self.limits), most);
    }

    /// Logs a change, takes it over, and tells all others.
    fn accept(
        &mut self,
        member: MemberId,
        record: Record,
        author: Author,
        now_ms: u64,
        effects: &mut Effects,
    ) -> Entry {
        self.log(&record, author, now_ms, effects);
        let entry = self.shelf.apply(record);
        self.shelf.hold_to_bounds(&self.limits);
        let news = match &entry {
            Entry::Live(note) => News::Updated(note.clone()),
            Entry::Gone(mark) => News::Deleted(mark.clone()),
        };
        effects.push(Effect::Publish { except: Some(member), event: Event::Notes(news) });
        entry
    }

    fn log(&mut self, record: &Record, author: Author, time_ms: u64, effects: &mut Effects) {
        let bytes = record.encode();
        self.head += 1;
        self.push(bytes.len(), None);
        effects.push(Effect::Append(Change { author, time_ms, bytes }));
    }

    fn answer_when_durable(&mut self, member: MemberId, event: Event, bytes: usize, effects: &mut Effects) {
        self.push(bytes, Some((member, event)));
        self.acknowledge(effects);
    }

    fn push(&mut self, bytes: usize, answer: Option<(MemberId, Event)>) {
        let bytes = bytes + size_of::<Pending>();
        self.pending_bytes += bytes;
        self.pending.push_back(Pending { offset: self.head, bytes, answer });
    }

    fn acknowledge(&mut self, effects: &mut Effects) {
        while let Some(done) = self.pending.pop_front_if(|oldest| oldest.offset <= self.durable) {
            self.pending_bytes -= done.bytes;
            if let Some((member, event)) = done.answer.filter(|(member, _)| self.members.contains_key(member)) {
                effects.push(Effect::Send(member, event));
            }
        }
        if self.pending.is_empty() && self.pending.capacity() <= PENDING_FEW {
            self.pending = VecDeque::new();
        }
    }
}

/// Marks that were accepted before are too old.
fn oldest(now_ms: u64, limits: &Limits) -> u64 {
    now_ms.saturating_sub(limits.notebook.kept_ms)
}

fn tell(member: MemberId, news: News, effects: &mut Effects) {
    effects.push(Effect::Send(member, Event::Notes(news)));
}

fn refuse(member: MemberId, id: NoteId, was_delete: bool, why: Refusal, now_ms: u64, effects: &mut Effects) {
    tell(member, News::Refused { id, was_delete, why, now_ms }, effects);
}
