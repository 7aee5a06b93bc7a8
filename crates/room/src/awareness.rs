//! Presence: who is here, with which state, and who may say so.
//!
//! Owned by `Room`. Per id: clock, state (or none: gone), when it was last renewed, which member owns it. States are kept and relayed as the bytes
//! that came, after their JSON was checked. What changes is only marked, and told all at once when the room is asked to. Never stored, never
//! merged into objects. The clock is an argument.

use crate::by_id::ById;
use crate::limits::Limits;
use crate::member::MemberId;
use crate::message::Author;
use bytes::Bytes;
use document::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};
use std::collections::VecDeque;
use thin_vec::ThinVec;

/// Clocks stay below this: clients keep them in 32 bits, and add one each time.
const CLOCK_END: u64 = 1 << 31;
/// Bytes of an entry on the wire beside its state, about: id, clock, length.
const ENTRY_HEAD_BYTES: usize = 12;
/// Memory for an id beside its state (`awareness_ids_max`).
const ENTRY_BYTES: usize = 150;
/// Up to so many owners no memory is set aside for further ones: most rooms have two.
const OWNERS_EXACT: usize = 4;
/// What stands for the state of who is gone.
const GONE: &[u8] = b"null";

#[derive(Debug)]
struct Entry {
    clock: u32,
    /// It changed since the last telling.
    waits: bool,
    /// Not only its clock did.
    is_news: bool,
    state: Option<Box<[u8]>>,
    renewed_ms: u64,
    owner: Option<MemberId>,
}

/// A member that has, or had, ids of its own.
#[derive(Debug)]
struct Owner {
    member: MemberId,
    identity: Author,
    /// Ascending.
    ids: Vec<u64>,
}

/// Everybody's presence in one room.
#[derive(Debug, Default)]
pub(crate) struct Awareness {
    entries: ById<Entry>,
    /// By ascending member. They go when the member does, so that coming and going ids move nothing here.
    owners: Vec<Owner>,
    /// Removed ids, oldest first: (when, id, its clock then). In most rooms at most times there are none.
    #[expect(clippy::box_collection, reason = "a pointer while there is none")]
    removed: Option<Box<VecDeque<(u64, u64, u32)>>>,
    state_bytes: usize,
    /// Ids that the room has given away: only their owner may speak for them, also while they have no state.
    reserved: ById<(MemberId, Author)>,
    /// Ids that changed since the last telling; an entry that was forgotten meanwhile may have its id here once more.
    changed: ThinVec<u64>,
    /// Who was removed and forgotten since the last telling, with its clock: nobody was told yet.
    parted: ThinVec<(u64, u32)>,
}

/// On whose behalf an awareness update is applied.
pub(crate) struct Speaker<'a> {
    pub(crate) member: MemberId,
    pub(crate) identity: &'a Author,
    pub(crate) trusts_all: bool,
    /// Ids it may own.
    pub(crate) ids_max: usize,
}

/// The message is dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedAwareness;

impl Awareness {
    /// Bytes of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.state_bytes + self.entries.len() * ENTRY_BYTES
    }
}

impl From<ReadError> for MalformedAwareness {
    fn from(_: ReadError) -> Self {
        Self
    }
}

/// A state that has changed, or that somebody asks for.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) id: u64,
    pub(crate) state: Option<Bytes>,
    /// Who need not be told; None for states that are gone.
    pub(crate) owner: Option<MemberId>,
}

struct Said<'a> {
    id: u64,
    clock: u32,
    json: &'a [u8],
}

impl Said<'_> {
    fn is_null(&self) -> bool {
        self.json.trim_ascii() == GONE
    }
}

impl Awareness {
    /// Applies an awareness update. A state that is no news, as most are, costs one look-up and is not looked at.
    pub(crate) fn apply(
        &mut self,
        speaker: &Speaker<'_>,
        bytes: &[u8],
        now_ms: u64,
        limits: &Limits,
    ) -> Result<(), MalformedAwareness> {
        let mut reader = Reader::new(bytes);
        // Without news, which is the rule, this takes no memory.
        let mut news = Vec::new();
        for _ in 0..reader.var_uint()? {
            let said = read_one(&mut reader)?;
            if self.is_news(speaker, &said) && said.json.len() <= limits.awareness_state_bytes_max {
                if std::str::from_utf8(said.json).is_err() || !document::is_json_object_or_null(said.json) {
                    return Err(MalformedAwareness);
                }
                news.push(said);
            }
        }
        if !reader.is_empty() {
            return Err(MalformedAwareness);
        }
        for said in news {
            // An id may come twice in one message.
            if self.is_news(speaker, &said) {
                self.accept(speaker, &said, now_ms, limits);
            }
        }
        Ok(())
    }

    #[inline]
    fn is_news(&self, speaker: &Speaker<'_>, said: &Said<'_>) -> bool {
        let Some(known) = self.entries.get(said.id) else {
            return said.clock > 0 && !said.is_null() && self.is_free_for(speaker, said.id);
        };
        // Older than what is known, or a copy of it: what it says is not looked at.
        if said.clock < known.clock || (said.clock == known.clock && known.owner != Some(speaker.member)) {
            return false;
        }
        if said.is_null() {
            return known.owner == Some(speaker.member) && known.state.is_some();
        }
        said.clock > known.clock && self.may_say(speaker, said.id, known)
    }

    /// Whether an id was given to nobody else.
    fn is_free_for(&self, speaker: &Speaker<'_>, id: u64) -> bool {
        let is_its = |(member, identity): &(MemberId, Author)| {
            *member == speaker.member || speaker.trusts_all || identity == speaker.identity
        };
        self.reserved.get(id).is_none_or(is_its)
    }

    /// Gives an id to a member.
    pub(crate) fn reserve(&mut self, id: u64, member: MemberId, identity: Author) {
        self.reserved.remove(id);
        self.reserved.get_or_insert_with(id, || (member, identity));
    }

    /// Takes it back.
    pub(crate) fn give_up(&mut self, id: u64) {
        self.reserved.remove(id);
    }

    /// Whether a member may speak for an id: its own, one that nobody has, one of its other connections', or any where nobody can be told apart.
    fn may_say(&self, speaker: &Speaker<'_>, id: u64, known: &Entry) -> bool {
        match known.owner {
            None => self.is_free_for(speaker, id),
            Some(owner) if owner == speaker.member || speaker.trusts_all => true,
            Some(owner) => self.owner(owner).is_ok_and(|place| self.owners[place].identity == *speaker.identity),
        }
    }

    fn accept(&mut self, speaker: &Speaker<'_>, said: &Said<'_>, now_ms: u64, limits: &Limits) {
        if said.is_null() {
            return self.remove(said.id, said.clock, now_ms);
        }
        let known = self.entries.get(said.id);
        let (is_known, old_owner) = (known.is_some(), known.and_then(|known| known.owner));
        let old_bytes = known.and_then(|known| known.state.as_ref()).map_or(0, |state| state.len());
        let is_new_owner = old_owner != Some(speaker.member);
        let full = self.state_bytes - old_bytes + said.json.len() > limits.awareness_bytes_max;
        let owns_enough =
            || self.owner(speaker.member).is_ok_and(|place| self.owners[place].ids.len() >= speaker.ids_max);
        if full || (is_new_owner && owns_enough()) || !(is_known || self.make_place(limits)) {
            return;
        }
        if is_new_owner {
            self.disown(old_owner, said.id);
            self.own(speaker, said.id);
        }
        self.state_bytes = self.state_bytes - old_bytes + said.json.len();
        let nothing = || Entry { clock: 0, waits: false, is_news: false, state: None, renewed_ms: 0, owner: None };
        let entry = self.entries.get_or_insert_with(said.id, nothing);
        entry.is_news |= entry.state.as_deref() != Some(said.json);
        match &mut entry.state {
            // A cursor moves, and the state keeps its length.
            Some(state) if state.len() == said.json.len() => state.copy_from_slice(said.json),
            state => *state = Some(said.json.into()),
        }
        (entry.clock, entry.renewed_ms, entry.owner) = (said.clock, now_ms, Some(speaker.member));
        mark(&mut self.changed, said.id, entry);
    }

    /// Whether an id is somebody's, or was until a moment ago.
    pub(crate) fn knows(&self, id: u64) -> bool {
        self.entries.get(id).is_some()
    }

    /// Whether an id has a state.
    pub(crate) fn is_present(&self, id: u64) -> bool {
        self.entries.get(id).is_some_and(|entry| entry.state.is_some())
    }

    /// The clock of an id; 0 when it is not known.
    pub(crate) fn clock(&self, id: u64) -> u32 {
        self.entries.get(id).map_or(0, |entry| entry.clock)
    }

    /// When the state of an id that is present was renewed last.
    pub(crate) fn renewed_ms(&self, id: u64) -> Option<u64> {
        self.entries.get(id).filter(|entry| entry.state.is_some()).map(|entry| entry.renewed_ms)
    }

    /// Sets or clears the state of an id that the room has given to the speaker.
    pub(crate) fn set(
        &mut self,
        speaker: &Speaker<'_>,
        id: u64,
        clock: u32,
        state: Option<&[u8]>,
        now_ms: u64,
        limits: &Limits,
    ) {
        let is_its = self.entries.get(id).is_some_and(|known| known.owner == Some(speaker.member));
        match state {
            Some(json) => {
                let said = Said { id, clock, json };
                if self.is_news(speaker, &said) && json.len() <= limits.awareness_state_bytes_max {
                    self.accept(speaker, &said, now_ms, limits);
                }
            }
            None if is_its => self.remove(id, clock, now_ms),
            None => {}
        }
    }

    /// Renews a state that its owner need not renew itself.
    pub(crate) fn renew(&mut self, owner: MemberId, id: u64, clock: u32, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.owner == Some(owner)) else { return };
        (entry.clock, entry.renewed_ms) = (clock, now_ms);
        mark(&mut self.changed, id, entry);
    }

    /// Each state that has changed since the last telling, with who has said so.
    pub(crate) fn news(&mut self) -> Vec<News> {
        let parted = self.parted.iter().map(|&(id, _)| News { id, state: None, owner: None });
        let mut news: Vec<News> = parted.collect();
        let mut changed = self.changed.clone();
        changed.sort_unstable();
        changed.dedup();
        for id in changed {
            if let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.waits && entry.is_news) {
                let state = entry.state.as_deref().map(Bytes::copy_from_slice);
                news.push(News { id, state, owner: entry.owner });
            }
        }
        news
    }

    /// Each state of who is present, with who has said so, by ascending id.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = News> {
        self.entries.iter().filter_map(|(id, entry)| {
            let state = Bytes::copy_from_slice(entry.state.as_deref()?);
            Some(News { id, state: Some(state), owner: entry.owner })
        })
    }

    /// Makes room for one more id by forgetting the longest removed; false when all are present, or too many are forgotten between two tellings.
    fn make_place(&mut self, limits: &Limits) -> bool {
        while self.entries.len() >= limits.awareness_ids_max {
            if self.parted.len() >= limits.awareness_ids_max {
                return false;
            }
            let Some(oldest) = self.removed.as_mut().and_then(|removed| removed.pop_front()) else { return false };
            self.forget(oldest);
        }
        true
    }

    /// Removes everything a member owns.
    pub(crate) fn leave(&mut self, member: MemberId, now_ms: u64) {
        let Ok(place) = self.owner(member) else { return };
        for id in self.owners.remove(place).ids {
            let clock = self.entries.get(id).map_or(0, |entry| entry.clock);
            self.remove(id, clock, now_ms);
        }
    }

    /// Removes what was not renewed in time; forgets what was removed long ago.
    pub(crate) fn sweep(&mut self, now_ms: u64, limits: &Limits) {
        let stale = |entry: &Entry| {
            entry.state.is_some() && now_ms.saturating_sub(entry.renewed_ms) >= limits.awareness_expiry_ms
        };
        let expired: Vec<(u64, u32)> =
            self.entries.iter().filter(|(_, entry)| stale(entry)).map(|(id, entry)| (id, entry.clock)).collect();
        for (id, clock) in expired {
            self.remove(id, clock, now_ms);
        }
        let is_old = |(when, ..): &mut (u64, u64, u32)| now_ms.saturating_sub(*when) > limits.awareness_memory_ms;
        while let Some(oldest) = self.removed.as_mut().and_then(|removed| removed.pop_front_if(is_old)) {
            self.forget(oldest);
        }
        // Memory that only a busy room needs.
        self.removed.take_if(|removed| removed.is_empty());
        if self.changed.is_empty() {
            self.changed = ThinVec::new();
        }
    }

    /// True when nobody is present and nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True when something changed that was not told yet.
    pub(crate) fn waits(&self) -> bool {
        !self.changed.is_empty() || !self.parted.is_empty()
    }

    /// One awareness update with the present values of all that changed since the last time. None: nothing has.
    pub(crate) fn tell(&mut self) -> Option<Bytes> {
        let (mut changed, parted) = (std::mem::take(&mut self.changed), std::mem::take(&mut self.parted));
        changed.sort_unstable();
        let state_bytes = self.state_bytes / self.entries.len().max(1) + ENTRY_HEAD_BYTES;
        let mut body = Vec::with_capacity(state_bytes * changed.len());
        let mut count = parted.len() as u64;
        // First, since an id may be back.
        for (id, clock) in parted {
            write_entry(&mut body, id, clock, None);
        }
        for &id in &changed {
            if let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.waits) {
                (entry.waits, entry.is_news) = (false, false);
                write_entry(&mut body, id, entry.clock, entry.state.as_deref());
                count += 1;
            }
        }
        // The list is used again, unless it once was much longer than it has to be.
        if changed.capacity() <= 1024 {
            changed.clear();
            self.changed = changed;
        }
        (count > 0).then(|| counted(count, &body))
    }

    /// The awareness update with everybody present. None: nobody is.
    pub(crate) fn present(&self) -> Option<Bytes> {
        let present = self.entries.iter().filter(|(_, entry)| entry.state.is_some());
        self.write(present)
    }

    /// The awareness update with everybody known, gone or not: for a member that may have missed who left.
    pub(crate) fn everything(&self) -> Option<Bytes> {
        self.write(self.entries.iter())
    }

    /// The awareness update with nobody in it.
    pub(crate) fn nobody() -> Bytes {
        Bytes::from_static(&[0])
    }

    fn write<'a>(&self, entries: impl Iterator<Item = (u64, &'a Entry)>) -> Option<Bytes> {
        let (mut body, mut count) = (Vec::with_capacity(self.state_bytes + ENTRY_HEAD_BYTES * self.entries.len()), 0);
        for (id, entry) in entries {
            write_entry(&mut body, id, entry.clock, entry.state.as_deref());
            count += 1;
        }
        (count > 0).then(|| counted(count, &body))
    }

    fn remove(&mut self, id: u64, clock: u32, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        self.state_bytes -= entry.state.take().map_or(0, |state| state.len());
        entry.clock = clock;
        entry.is_news = true;
        mark(&mut self.changed, id, entry);
        let owner = entry.owner.take();
        let removed = self.removed.get_or_insert_default();
        removed.push_back((now_ms, id, clock));
        // Somebody who comes and goes all the time leaves one line each time, of which only the last counts.
        if removed.len() > 64 + 2 * self.entries.len() {
            let entries = &self.entries;
            let counts = |id: &u64, clock: u32| {
                entries.get(*id).is_some_and(|entry| entry.state.is_none() && entry.clock == clock)
            };
            removed.retain(|(_, id, clock)| counts(id, *clock));
        }
        self.disown(owner, id);
    }

    fn own(&mut self, speaker: &Speaker<'_>, id: u64) {
        let place = self.owner(speaker.member).unwrap_or_else(|place| {
            if self.owners.len() < OWNERS_EXACT {
                self.owners.reserve_exact(1);
            }
            let (member, identity) = (speaker.member, speaker.identity.clone());
            self.owners.insert(place, Owner { member, identity, ids: Vec::with_capacity(1) });
            place
        });
        let ids = &mut self.owners[place].ids;
        if let Err(place) = ids.binary_search(&id) {
            ids.insert(place, id);
        }
    }

    fn disown(&mut self, owner: Option<MemberId>, id: u64) {
        let Some(Ok(place)) = owner.map(|owner| self.owner(owner)) else { return };
        let ids = &mut self.owners[place].ids;
        if let Ok(place) = ids.binary_search(&id) {
            ids.remove(place);
        }
    }

    fn owner(&self, member: MemberId) -> Result<usize, usize> {
        self.owners.binary_search_by_key(&member, |owner| owner.member)
    }

    fn forget(&mut self, (_, id, clock): (u64, u64, u32)) {
        if self.entries.get(id).is_some_and(|entry| entry.state.is_none() && entry.clock == clock)
            && let Some(entry) = self.entries.remove(id)
            && entry.waits
        {
            self.parted.push((id, clock));
        }
    }
}

/// Notes that an entry changed, once between two tellings.
fn mark(changed: &mut ThinVec<u64>, id: u64, entry: &mut Entry) {
    if !entry.waits {
        entry.waits = true;
        changed.push(id);
    }
}

fn write_entry(out: &mut Vec<u8>, id: u64, clock: u32, state: Option<&[u8]>) {
    write_var_uint(out, id);
    write_var_uint(out, u64::from(clock));
    write_var_bytes(out, state.unwrap_or(GONE));
}

fn counted(count: u64, body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(3 + body.len());
    write_var_uint(&mut out, count);
    out.extend_from_slice(body);
    out.into()
}

fn read_one<'a>(reader: &mut Reader<'a>) -> Result<Said<'a>, MalformedAwareness> {
    let (id, clock) = (reader.var_uint()?, reader.var_uint()?);
    let json = reader.var_bytes()?;
    if clock >= CLOCK_END {
        return Err(MalformedAwareness);
    }
    Ok(Said { id, clock: clock as u32, json })
}
