//! What members show to each other: cursors and presence, each under a name that its user has taken, each for a while. Never stored.
//!
//! Called by the hub. Knows no members, only users; counts its own bounds. Values are bytes.

use super::vocabulary::{MemoryKind, Shown, Told};
use crate::limits::HubLimits;
use crate::message::Author;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Of an entry beside its bytes: three nodes of trees.
const ENTRY_BYTES: usize = 256;

/// A name, and as what it is used.
type Name = (MemoryKind, Bytes);

/// All that is shown in a room.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: BTreeMap<Name, Entry>,
    /// The names that each user has taken.
    names: BTreeMap<Author, BTreeSet<Name>>,
    bytes: usize,
    /// Nothing ends before this: who fills the memory cannot have it looked through at each attempt.
    next_end_ms: u64,
    /// The last lists, until something in them changes or ends.
    lists: [Option<List>; 2],
}

#[derive(Debug)]
struct Entry {
    user: Author,
    shown: Arc<Shown>,
    until_ms: u64,
}

#[derive(Debug)]
struct List {
    all: Arc<Told<Vec<Arc<Shown>>>>,
    until_ms: u64,
}

impl Memory {
    /// Shows something in the name of a user. The error says why not.
    pub(super) fn set(
        &mut self,
        kind: MemoryKind,
        user: &Author,
        shown: Shown,
        now_ms: u64,
        limits: &HubLimits,
    ) -> Result<Arc<Shown>, String> {
        let HubLimits {
            memory_label_bytes_max,
            memory_value_bytes_max,
            memories_per_user_max,
            memories_max,
            memory_bytes_max,
            ..
        } = *limits;
        if shown.label.len() > memory_label_bytes_max {
            return Err(format!("userId too long: maximum {memory_label_bytes_max} bytes"));
        }
        if shown.value.len() > memory_value_bytes_max {
            return Err(format!("Value too large: maximum {}KB", memory_value_bytes_max >> 10));
        }
        let name = (kind, shown.label.clone());
        let before = self.entries.get(&name).filter(|entry| entry.until_ms > now_ms);
        if before.is_some_and(|entry| entry.user != *user) {
            return Err("userId belongs to another user".to_owned());
        }
        let (is_new, bytes) = (before.is_none(), bytes_of(&shown));
        let others = |memory: &Self| memory.bytes - memory.entries.get(&name).map_or(0, |entry| bytes_of(&entry.shown));
        let has_room = |memory: &Self| {
            let is_one_more = usize::from(!memory.entries.contains_key(&name));
            memory.entries.len() + is_one_more <= memories_max && others(memory) + bytes <= memory_bytes_max
        };
        if is_new && !has_room(self) {
            self.expire(now_ms);
        }
        if !has_room(self) {
            return Err("Memory limit reached. Please wait for older entries to expire.".to_owned());
        }
        if is_new && self.names.get(user).is_some_and(|names| names.len() >= memories_per_user_max) {
            self.expire(now_ms);
            if self.names.get(user).is_some_and(|names| names.len() >= memories_per_user_max) {
                return Err(format!("Too many userIds ({memories_per_user_max} max). Use one for each person."));
            }
        }
        self.remove(&name);
        let expiry_ms = match kind {
            MemoryKind::Cursor => limits.cursor_expiry_ms,
            MemoryKind::Presence => limits.presence_expiry_ms,
        };
        let (shown, until_ms) = (Arc::new(shown), now_ms.saturating_add(expiry_ms));
        self.bytes += bytes;
        self.next_end_ms = self.next_end_ms.min(until_ms);
        self.names.entry(user.clone()).or_default().insert(name.clone());
        self.entries.insert(name, Entry { user: user.clone(), shown: shown.clone(), until_ms });
        Ok(shown)
    }

    /// All that is shown now, by name.
    pub(super) fn list(&mut self, kind: MemoryKind, now_ms: u64) -> Arc<Told<Vec<Arc<Shown>>>> {
        let place = kind as usize;
        if let Some(list) = self.lists[place].as_ref().filter(|list| list.until_ms > now_ms) {
            return list.all.clone();
        }
        let first = (kind, Bytes::new());
        let of_kind = self.entries.range(first..).take_while(|((known, _), _)| *known == kind);
        let here: Vec<&Entry> = of_kind.map(|(_, entry)| entry).filter(|entry| entry.until_ms > now_ms).collect();
        let until_ms = here.iter().map(|entry| entry.until_ms).min().unwrap_or(u64::MAX);
        let all = Told::new(here.into_iter().map(|entry| entry.shown.clone()).collect());
        self.lists[place] = Some(List { all: all.clone(), until_ms });
        all
    }

    /// A user has left with its last connection.
    pub(super) fn forget(&mut self, user: &Author) {
        for name in self.names.get(user).cloned().unwrap_or_default() {
            self.remove(&name);
        }
    }

    /// Drops what has ended.
    pub(super) fn expire(&mut self, now_ms: u64) {
        if now_ms < self.next_end_ms {
            return;
        }
        let ended = self.entries.iter().filter(|(_, entry)| entry.until_ms <= now_ms).map(|(name, _)| name.clone());
        for name in ended.collect::<Vec<_>>() {
            self.remove(&name);
        }
        self.next_end_ms = self.entries.values().map(|entry| entry.until_ms).min().unwrap_or(u64::MAX);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, name: &Name) {
        // A list without it is another list, also when it is about to be put in anew.
        self.lists[name.0 as usize] = None;
        let Some(entry) = self.entries.remove(name) else { return };
        self.bytes -= bytes_of(&entry.shown);
        if let Some(names) = self.names.get_mut(&entry.user) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(&entry.user);
            }
        }
    }
}

fn bytes_of(shown: &Shown) -> usize {
    ENTRY_BYTES + shown.label.len() + shown.value.len()
}
