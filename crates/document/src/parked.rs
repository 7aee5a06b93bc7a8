//! Structs that cannot be applied yet, because something that they build on has not come.
//!
//! Owned by `Document`: it puts here what it cannot apply, and takes back what a growing client releases. Bounded by the
//! owner's limit; each struct costs its bytes plus a fixed overhead, which is counted. Does not know what is in the document.

use crate::wire::{Id, RawStruct, reread};
use std::collections::{BTreeMap, BTreeSet};

/// Memory of one parked struct beside its bytes: two tree entries and a box.
pub(crate) const OVERHEAD_BYTES: usize = 96;

#[derive(Clone, Debug)]
pub(crate) struct ParkedStruct {
    pub(crate) raw: Box<[u8]>,
    pub(crate) len: u32,
    /// Who sent it, in the caller's numbering.
    pub(crate) author: u32,
    /// Which call of `Document::add` brought it.
    pub(crate) serial: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Parked {
    structs: BTreeMap<(u64, u32), ParkedStruct>,
    /// (what is missing, whose parked structs wait for it), the missing element first, so that a range finds what a growing client releases.
    waiting: BTreeSet<(u64, u32, u64)>,
    bytes: usize,
}

impl Parked {
    pub(crate) fn is_empty(&self) -> bool {
        self.structs.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when a parked struct of that client covers these elements already.
    pub(crate) fn covers(&self, id: Id, len: u32) -> bool {
        self.structs
            .range((id.client, 0)..=(id.client, id.clock))
            .next_back()
            .is_some_and(|(&(_, clock), known)| clock + known.len >= id.clock + len)
    }

    /// Keeps a struct. A longer one replaces a shorter one of the same clock.
    pub(crate) fn insert(&mut self, id: Id, parked: ParkedStruct) {
        self.bytes += parked.raw.len() + OVERHEAD_BYTES;
        if let Some(old) = self.structs.insert((id.client, id.clock), parked) {
            self.bytes -= old.raw.len() + OVERHEAD_BYTES;
        }
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<ParkedStruct> {
        let parked = self.structs.remove(&(id.client, id.clock))?;
        self.bytes -= parked.raw.len() + OVERHEAD_BYTES;
        Some(parked)
    }

    /// The parked struct of a client with the lowest clock.
    pub(crate) fn first(&self, client: u64) -> Option<(u32, &ParkedStruct)> {
        self.structs.range((client, 0)..=(client, u32::MAX)).next().map(|(&(_, clock), parked)| (clock, parked))
    }

    /// Says that `client` can go on when `missing` is known.
    pub(crate) fn wait(&mut self, client: u64, missing: Id) {
        self.waiting.insert((missing.client, missing.clock, client));
    }

    /// Takes one client out of those that wait for an element of `grown` below `state`.
    pub(crate) fn released(&mut self, grown: u64, state: u32) -> Option<u64> {
        let found = *self.waiting.range((grown, 0, 0)..(grown, state, 0)).next()?;
        self.waiting.remove(&found);
        Some(found.2)
    }

    /// Clients with parked structs, ascending.
    pub(crate) fn clients(&self) -> impl Iterator<Item = u64> + '_ {
        let mut next = self.structs.keys().next().map(|&(client, _)| client);
        std::iter::from_fn(move || {
            let client = next?;
            next = self.structs.range((client, u32::MAX)..).find(|(key, _)| key.0 > client).map(|(key, _)| key.0);
            Some(client)
        })
    }

    /// Whose structs are parked, ascending.
    pub(crate) fn authors(&self) -> BTreeSet<u32> {
        self.structs.values().map(|parked| parked.author).collect()
    }

    /// The parked structs of a client by ascending clock.
    pub(crate) fn of(&self, client: u64) -> impl Iterator<Item = (u32, &ParkedStruct, RawStruct<'_>)> + '_ {
        self.structs.range((client, 0)..=(client, u32::MAX)).filter_map(move |(&(_, clock), parked)| {
            reread(&parked.raw, Id { client, clock }).map(|raw| (clock, parked, raw))
        })
    }
}
