//! Durability mode `memory`: rooms are kept until the process ends. Used by the server for trials and tests, and by
//! the contract suite as the simplest store that keeps the laws. Everything counts as durable at once;
//! nothing touches a disk, so nothing can be damaged and there is nothing to tidy.

use crate::{Append, Change, Damage, Durable, Opened, Position, RoomKey, RoomSummary, Store, StoreError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store without a disk.
#[derive(Debug, Default)]
pub struct Memory {
    rooms: Mutex<BTreeMap<RoomKey, Room>>,
}

#[derive(Debug)]
struct Room {
    epoch: u64,
    snapshot: Option<Bytes>,
    snapshot_offset: u64,
    changes: Vec<Change>,
    durable: Arc<Durable>,
}

impl Room {
    fn head(&self) -> u64 {
        self.snapshot_offset + self.changes.len() as u64
    }

    fn has_content(&self) -> bool {
        self.snapshot.is_some() || !self.changes.is_empty()
    }

    fn changes_from(&self, offset: u64) -> Vec<(u64, Change)> {
        let skip = offset.saturating_sub(self.snapshot_offset) as usize;
        (self.snapshot_offset..).zip(self.changes.iter().cloned()).skip(skip).collect()
    }
}

impl Memory {
    fn rooms(&self) -> MutexGuard<'_, BTreeMap<RoomKey, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn open(&self, room: &RoomKey, new_epoch: u64) -> Result<Opened, StoreError> {
        let mut rooms = self.rooms();
        let room = rooms.entry(room.clone()).or_insert_with(|| Room {
            epoch: new_epoch,
            snapshot: None,
            snapshot_offset: 0,
            changes: Vec::new(),
            durable: Arc::default(),
        });
        Ok(Opened {
            epoch: room.epoch,
            snapshot: room.snapshot.clone(),
            snapshot_offset: room.snapshot_offset,
            changes: room.changes_from(room.snapshot_offset),
            head: room.head(),
            damage: Vec::new(),
            durable: room.durable.clone(),
        })
    }

    fn append_all(&self, batch: &[Append<'_>]) -> Vec<Result<(), StoreError>> {
        let mut rooms = self.rooms();
        let one = |&Append { room, at, changes }: &Append<'_>| {
            let held = rooms.get_mut(room).filter(|held| held.epoch == at.epoch && held.head() == at.offset);
            let held = held.ok_or_else(|| StoreError::Stale { room: room.clone(), at })?;
            held.changes.extend_from_slice(changes);
            held.durable.advance(held.head());
            Ok(())
        };
        batch.iter().map(one).collect()
    }

    fn read_since(&self, room: &RoomKey, at: Position) -> Result<Option<Vec<(u64, Change)>>, StoreError> {
        let rooms = self.rooms();
        let held = rooms.get(room).filter(|held| held.epoch == at.epoch);
        let held = held.filter(|held| (held.snapshot_offset..=held.head()).contains(&at.offset));
        Ok(held.map(|held| held.changes_from(at.offset)))
    }

    fn replace_with_snapshot(&self, room: &RoomKey, at: Position, snapshot: &[u8]) -> Result<(), StoreError> {
        let mut rooms = self.rooms();
        let stale = || StoreError::Stale { room: room.clone(), at };
        let held = rooms.get_mut(room).filter(|held| held.epoch == at.epoch);
        let held = held.filter(|held| (held.snapshot_offset..=held.head()).contains(&at.offset)).ok_or_else(stale)?;
        held.changes.drain(..(at.offset - held.snapshot_offset) as usize);
        held.snapshot = Some(Bytes::copy_from_slice(snapshot));
        held.snapshot_offset = at.offset;
        Ok(())
    }

    fn delete(&self, room: &RoomKey) -> Result<bool, StoreError> {
        let mut rooms = self.rooms();
        let known = rooms.get(room).is_some_and(Room::has_content);
        if known {
            rooms.remove(room);
        }
        Ok(known)
    }

    fn exists(&self, room: &RoomKey) -> Result<bool, StoreError> {
        Ok(self.rooms().get(room).is_some_and(Room::has_content))
    }

    fn list(&self) -> Result<Vec<RoomSummary>, StoreError> {
        let rooms = self.rooms();
        let summary = |(name, room): (&RoomKey, &Room)| RoomSummary {
            room: name.clone(),
            epoch: room.epoch,
            head: room.head(),
            snapshot_bytes: room.snapshot.as_ref().map_or(0, |bytes| bytes.len() as u64),
            log_bytes: room.changes.iter().map(|change| change.bytes.len() as u64).sum(),
        };
        Ok(rooms.iter().filter(|(_, room)| room.has_content()).map(summary).collect())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn try_writing(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn tidy(&self, _now_ms: u64) -> Result<Vec<RoomKey>, StoreError> {
        self.rooms().retain(|_, room| room.has_content() || Arc::strong_count(&room.durable) > 1);
        Ok(Vec::new())
    }

    fn damage(&self) -> Vec<Damage> {
        Vec::new()
    }
}
