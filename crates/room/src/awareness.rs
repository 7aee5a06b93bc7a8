//! Presence: who is here, with which state, and who may say so.
//!
//! Owned by `Room`. Per id: clock, state (or none: gone), when it was last renewed, which member owns it. States are kept and relayed as the bytes
//! that came, after their JSON was checked. Never stored, never merged into objects. The clock is an argument.

use crate::limits::Limits;
use crate::member::MemberId;
use crate::message::Author;
use bytes::Bytes;
use document::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Clocks stay below this: clients keep them in 32 bits, and add one each time.
const CLOCK_END: u64 = 1 << 31;

#[derive(Debug)]
struct Entry {
    clock: u32,
    state: Option<Bytes>,
    renewed_ms: u64,
    owner: Option<MemberId>,
    identity: Author,
}

/// Everybody's presence in one room.
#[derive(Debug, Default)]
pub(crate) struct Awareness {
    entries: BTreeMap<u64, Entry>,
    owned: BTreeMap<MemberId, BTreeSet<u64>>,
    /// Removed ids, oldest first: (when, id, its clock then).
    removed: VecDeque<(u64, u64, u32)>,
    state_bytes: usize,
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

impl From<ReadError> for MalformedAwareness {
    fn from(_: ReadError) -> Self {
        Self
    }
}

struct Said<'a> {
    id: u64,
    clock: u32,
    json: &'a [u8],
}

impl Said<'_> {
    fn is_null(&self) -> bool {
        self.json.trim_ascii() == b"null"
    }
}

impl Awareness {
    /// Applies an awareness update, and returns the ids that changed.
    pub(crate) fn apply(
        &mut self,
        speaker: &Speaker<'_>,
        bytes: &[u8],
        now_ms: u64,
        limits: &Limits,
    ) -> Result<Vec<u64>, MalformedAwareness> {
        let mut news = Vec::new();
        for said in read(bytes)? {
            let said = said?;
            if self.is_news(speaker, &said) && said.json.len() <= limits.awareness_state_bytes_max {
                if std::str::from_utf8(said.json).is_err() || !document::is_json_object_or_null(said.json) {
                    return Err(MalformedAwareness);
                }
                news.push(said);
            }
        }
        let mut changed = Vec::new();
        for said in news {
            // An id may come twice in one message.
            if self.is_news(speaker, &said) && self.accept(speaker, &said, now_ms, limits) {
                changed.push(said.id);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        Ok(changed)
    }

    fn is_news(&self, speaker: &Speaker<'_>, said: &Said<'_>) -> bool {
        let Some(known) = self.entries.get(&said.id) else { return said.clock > 0 && !said.is_null() };
        let owns = known.owner == Some(speaker.member);
        if said.is_null() {
            return owns && known.state.is_some() && said.clock >= known.clock;
        }
        said.clock > known.clock
            && (owns || known.owner.is_none() || speaker.trusts_all || known.identity == *speaker.identity)
    }

    fn accept(&mut self, speaker: &Speaker<'_>, said: &Said<'_>, now_ms: u64, limits: &Limits) -> bool {
        if said.is_null() {
            self.remove(said.id, said.clock, now_ms);
            return true;
        }
        let (old_owner, old_bytes) = match self.entries.get(&said.id) {
            Some(known) => (known.owner, known.state.as_ref().map_or(0, Bytes::len)),
            None => (None, 0),
        };
        let owns = self.owned.get(&speaker.member).map_or(0, BTreeSet::len);
        let is_new_owner = old_owner != Some(speaker.member);
        let full = self.state_bytes - old_bytes + said.json.len() > limits.awareness_bytes_max;
        if full || (is_new_owner && owns >= speaker.ids_max) || !self.has_place(said.id, limits) {
            return false;
        }
        if is_new_owner {
            self.disown(old_owner, said.id);
            self.owned.entry(speaker.member).or_default().insert(said.id);
        }
        self.state_bytes = self.state_bytes - old_bytes + said.json.len();
        let state = Some(Bytes::copy_from_slice(said.json));
        let entry = Entry {
            clock: said.clock,
            state,
            renewed_ms: now_ms,
            owner: Some(speaker.member),
            identity: speaker.identity.clone(),
        };
        self.entries.insert(said.id, entry);
        true
    }

    /// Makes room for one more id by forgetting the longest removed; false when all are present.
    fn has_place(&mut self, id: u64, limits: &Limits) -> bool {
        while self.entries.len() >= limits.awareness_ids_max && !self.entries.contains_key(&id) {
            let Some(oldest) = self.removed.pop_front() else { return false };
            self.forget(oldest);
        }
        true
    }

    /// Removes everything a member owns, and returns the ids.
    pub(crate) fn leave(&mut self, member: MemberId, now_ms: u64) -> Vec<u64> {
        let ids: Vec<u64> = self.owned.get(&member).into_iter().flatten().copied().collect();
        for &id in &ids {
            let clock = self.entries.get(&id).map_or(0, |entry| entry.clock);
            self.remove(id, clock, now_ms);
        }
        self.owned.remove(&member);
        ids
    }

    /// Removes what was not renewed in time and returns those ids; forgets what was removed long ago.
    pub(crate) fn sweep(&mut self, now_ms: u64, limits: &Limits) -> Vec<u64> {
        let stale = |entry: &Entry| {
            entry.state.is_some() && now_ms.saturating_sub(entry.renewed_ms) >= limits.awareness_expiry_ms
        };
        let expired: Vec<(u64, u32)> =
            self.entries.iter().filter(|(_, entry)| stale(entry)).map(|(&id, entry)| (id, entry.clock)).collect();
        for &(id, clock) in &expired {
            self.remove(id, clock, now_ms);
        }
        while self.removed.front().is_some_and(|&(when, ..)| now_ms.saturating_sub(when) > limits.awareness_memory_ms) {
            if let Some(oldest) = self.removed.pop_front() {
                self.forget(oldest);
            }
        }
        expired.into_iter().map(|(id, _)| id).collect()
    }

    /// True when nobody is present and nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The awareness update with everybody present. None: nobody is.
    pub(crate) fn present(&self) -> Option<Bytes> {
        let ids: Vec<u64> = self.entries.iter().filter(|(_, entry)| entry.state.is_some()).map(|(&id, _)| id).collect();
        (!ids.is_empty()).then(|| self.encode(&ids))
    }

    /// The awareness update with everybody known, gone or not: for a member that may have missed who left.
    pub(crate) fn everything(&self) -> Option<Bytes> {
        let ids: Vec<u64> = self.entries.keys().copied().collect();
        (!ids.is_empty()).then(|| self.encode(&ids))
    }

    /// The awareness update with the present values of these ids, which are known.
    pub(crate) fn encode(&self, ids: &[u64]) -> Bytes {
        let mut out = Vec::new();
        write_var_uint(&mut out, ids.len() as u64);
        for id in ids {
            let entry = self.entries.get(id);
            write_var_uint(&mut out, *id);
            write_var_uint(&mut out, entry.map_or(0, |entry| u64::from(entry.clock)));
            write_var_bytes(&mut out, entry.and_then(|entry| entry.state.as_deref()).unwrap_or(b"null"));
        }
        out.into()
    }

    fn remove(&mut self, id: u64, clock: u32, now_ms: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.state_bytes -= entry.state.take().map_or(0, |state| state.len());
        entry.clock = clock;
        let owner = entry.owner.take();
        self.removed.push_back((now_ms, id, clock));
        self.disown(owner, id);
        // Somebody who comes and goes all the time leaves one line each time, of which only the last counts.
        if self.removed.len() > 64 + 2 * self.entries.len() {
            let entries = &self.entries;
            let counts = |id: &u64, clock: u32| {
                entries.get(id).is_some_and(|entry| entry.state.is_none() && entry.clock == clock)
            };
            self.removed.retain(|(_, id, clock)| counts(id, *clock));
        }
    }

    fn disown(&mut self, owner: Option<MemberId>, id: u64) {
        let Some(ids) = owner.and_then(|owner| self.owned.get_mut(&owner)) else { return };
        ids.remove(&id);
        if let (true, Some(owner)) = (ids.is_empty(), owner) {
            self.owned.remove(&owner);
        }
    }

    fn forget(&mut self, (_, id, clock): (u64, u64, u32)) {
        if self.entries.get(&id).is_some_and(|entry| entry.state.is_none() && entry.clock == clock) {
            self.entries.remove(&id);
        }
    }
}

/// The entries of an awareness update. Ends with an error when bytes are missing or left over.
fn read(bytes: &[u8]) -> Result<impl Iterator<Item = Result<Said<'_>, MalformedAwareness>>, MalformedAwareness> {
    let mut reader = Reader::new(bytes);
    let mut remaining = reader.var_uint()?;
    let mut failed = false;
    Ok(std::iter::from_fn(move || {
        if failed || (remaining == 0 && reader.is_empty()) {
            return None;
        }
        let said = if remaining == 0 { Err(MalformedAwareness) } else { read_one(&mut reader) };
        remaining = remaining.saturating_sub(1);
        failed = said.is_err();
        Some(said)
    }))
}

fn read_one<'a>(reader: &mut Reader<'a>) -> Result<Said<'a>, MalformedAwareness> {
    let (id, clock) = (reader.var_uint()?, reader.var_uint()?);
    let json = reader.var_bytes()?;
    if clock >= CLOCK_END {
        return Err(MalformedAwareness);
    }
    Ok(Said { id, clock: clock as u32, json })
}
