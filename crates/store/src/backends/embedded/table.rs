//! The rooms that the state holds, by name and by slot.
//!
//! Owned by the store's state. A slot spares an append the second search for a name; it means something only for as long
//! as the state's lock is held. Makes room for new ones by forgetting those that nobody needs. Does no I/O.

use super::index::Entry;
use crate::RoomKey;
use std::collections::HashMap;

/// Rooms that are held before the first search for ones to forget: not worth a walk below that.
const ROOMS_MIN: usize = 1_024;

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// All rooms that have uncovered records, or that somebody has open.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Boxed, so that growing moves words and an empty slot costs one.
    slots: Vec<Option<Box<Entry>>>,
    free: Vec<Slot>,
    names: HashMap<RoomKey, Slot>,
    /// The number of rooms at which idle ones are looked for again.
    crowded: usize,
}

impl Table {
    pub(super) fn slot(&self, room: &str) -> Option<Slot> {
        self.names.get(room).copied()
    }

    pub(super) fn get(&self, room: &str) -> Option<&Entry> {
        self.slots[self.slot(room)?.0 as usize].as_deref()
    }

    pub(super) fn get_mut(&mut self, room: &str) -> Option<&mut Entry> {
        let slot = self.slot(room)?;
        self.slots[slot.0 as usize].as_deref_mut()
    }

    /// The room in a slot that was found under the same lock.
    pub(super) fn at(&mut self, slot: Slot) -> &mut Entry {
        self.slots[slot.0 as usize].as_deref_mut().expect("a slot is used under the lock under which it was found")
    }

    /// Puts a room in that is not there. When there are twice as many as were needed last time, the idle ones go first.
    pub(super) fn insert(&mut self, room: RoomKey, entry: Entry) {
        if self.names.len() >= self.crowded.max(ROOMS_MIN) {
            self.forget_idle();
        }
        let entry = Some(Box::new(entry));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot.0 as usize] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                Slot(self.slots.len() as u32 - 1)
            }
        };
        let known = self.names.insert(room, slot);
        debug_assert!(known.is_none(), "a room is put in once");
    }

    pub(super) fn remove(&mut self, room: &str) -> Option<Box<Entry>> {
        let slot = self.names.remove(room)?;
        self.free.push(slot);
        self.slots[slot.0 as usize].take()
    }

    /// Forgets the rooms of which nothing would be lost, and gives their memory back.
    pub(super) fn forget_idle(&mut self) {
        let (slots, free) = (&mut self.slots, &mut self.free);
        self.names.retain(|_, slot| {
            let held = &mut slots[slot.0 as usize];
            let stays = held.as_ref().is_some_and(|entry| !entry.idle());
            if !stays {
                *held = None;
                free.push(*slot);
            }
            stays
        });
        if slots.len() > ROOMS_MIN && slots.len() / 4 > self.names.len() {
            self.pack();
        }
        self.crowded = self.names.len() * 2;
    }

    /// Moves the rooms together at the front.
    fn pack(&mut self) {
        let mut packed = Vec::with_capacity(self.names.len());
        for slot in self.names.values_mut() {
            packed.push(self.slots[slot.0 as usize].take());
            *slot = Slot(packed.len() as u32 - 1);
        }
        (self.slots, self.free) = (packed, Vec::new());
        self.names.shrink_to_fit();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RoomKey, &Entry)> {
        self.names.iter().filter_map(|(room, slot)| Some((room, self.slots[slot.0 as usize].as_deref()?)))
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().filter_map(Option::as_deref_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Durable, KeepLog};
    use std::sync::Arc;

    fn open(table: &mut Table, number: usize) -> Arc<Durable> {
        let entry = Entry::new(number as u64, None, KeepLog::None);
        let cell = entry.durable.clone();
        table.insert(format!("room {number}").into(), entry);
        cell
    }

    #[test]
    fn rooms_that_nobody_holds_make_room_for_others_and_the_held_ones_stay() {
        let mut table = Table::default();
        let mut held = Vec::new();
        for number in 0..20 * ROOMS_MIN {
            let cell = open(&mut table, number);
            if number % 100 == 0 {
                held.push((number, cell));
            }
        }
        assert!(table.names.len() <= ROOMS_MIN && table.slots.len() <= ROOMS_MIN);
        for (number, _) in &held {
            assert_eq!(table.get(&format!("room {number}")).unwrap().epoch, *number as u64);
        }
        let all_held: Vec<_> = (0..3 * ROOMS_MIN).map(|number| open(&mut table, 100_000 + number)).collect();
        assert!(table.names.len() >= all_held.len() + held.len(), "held rooms are not bounded here");
        drop(all_held);
        table.forget_idle();
        assert_eq!((table.names.len(), table.slots.len()), (held.len(), held.len()));
        for (number, _) in &held {
            let name = format!("room {number}");
            let slot = table.slot(&name).unwrap();
            assert_eq!(table.at(slot).epoch, *number as u64);
            assert_eq!(table.remove(&name).unwrap().epoch, *number as u64);
            assert!(table.get(&name).is_none());
        }
        assert_eq!(table.iter().count() + table.entries_mut().count(), 0);
    }
}
