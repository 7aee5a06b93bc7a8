//! What the store does for one room: open, read, compact, delete.
//!
//! Called through the trait `Store`. Decides under the state's lock, reads and syncs outside it. Leaves to the sync thread
//! when a change is durable, and to `tidy` when a file goes.

use super::index::Entry;
use super::reading::{Changes, read_record};
use super::snapshots::Loaded;
use super::{Shared, State, fault};
use crate::format::Draft;
use crate::{Opened, Position, RoomKey, RoomSummary, StoreError};
use std::collections::BTreeMap;

impl Shared {
    pub(super) fn open_room(&self, room: &RoomKey, new_epoch: u64) -> Result<Opened, StoreError> {
        let _turn = self.turn(room);
        if self.state().rooms.get(room).is_some_and(|entry| entry.dying) {
            self.finish_delete(room)?;
        }
        let base = self.base(room)?;
        let mut state = self.state();
        if state.rooms.slot(room).is_none() {
            let row = base.row.map(|row| (row.offset, row.bytes));
            let mut entry = Entry::new(base.epoch.unwrap_or(new_epoch), row, (self.options.keep_log)(room));
            entry.raise_to(base.salvaged_head());
            state.rooms.insert(room.clone(), entry);
        }
        // Before anything is written, so that the sync that covers it tells the cell that is handed out.
        let entry = state.rooms.get_mut(room).expect("it was put there above");
        if entry.durable.failures() > 0 {
            entry.renew_cell(self.options.durability);
        }
        self.write_again(&mut state, room)?;
        let entry = state.rooms.get_mut(room).expect("it was put there above");
        let (epoch, head, durable) = (entry.epoch, entry.head, entry.durable.clone());
        let sources = state.sources(room, base.offset);
        drop(state);

        let changes = match base.salvaged {
            Some(changes) => changes,
            None => self.read_sources(room, &sources, base.offset)?.0,
        };
        let damage = self.damage.of_room(room, epoch, base.offset);
        Ok(Opened { epoch, snapshot: base.snapshot, snapshot_offset: base.offset, changes, head, damage, durable })
    }

    pub(super) fn read_since(&self, room: &RoomKey, at: Position) -> Result<Option<Changes>, StoreError> {
        let state = self.state();
        let Some(entry) = state.rooms.get(room) else {
            drop(state);
            let row = self.snapshots.row(room)?;
            return Ok(row.filter(|row| (row.epoch, row.offset) == (at.epoch, at.offset)).map(|_| Vec::new()));
        };
        let holds = entry.epoch == at.epoch
            && !entry.dying
            && entry.snapshot_offset() <= at.offset
            && entry.records.whole(at.offset, entry.head);
        if !holds {
            return Ok(None);
        }
        let sources = state.sources(room, at.offset);
        drop(state);
        let (changes, whole) = self.read_sources(room, &sources, at.offset)?;
        Ok(whole.then_some(changes))
    }

    pub(super) fn replace_with_snapshot(
        &self,
        room: &RoomKey,
        at: Position,
        snapshot: &[u8],
    ) -> Result<(), StoreError> {
        let _turn = self.turn(room);
        let stands = self.state().rooms.get(room).map(|entry| {
            let reach = entry.snapshot_offset()..=entry.head;
            !entry.dying && entry.epoch == at.epoch && reach.contains(&at.offset)
        });
        let fits = match stands {
            Some(fits) => fits,
            None => self.snapshots.row(room)?.is_some_and(|row| (row.epoch, row.offset) == (at.epoch, at.offset)),
        };
        if !fits {
            return Err(StoreError::Stale { room: room.clone(), at });
        }
        self.wait_taken_back()?;
        self.snapshots.put(room, at.epoch, at.offset, snapshot)?;
        let mut state = self.state();
        let State { rooms, log, .. } = &mut *state;
        let Some(entry) = rooms.get_mut(room) else { return Ok(()) };
        entry.records.cover(at.offset, |record| log.count_out(record));
        entry.snapshot = Some((at.offset, snapshot.len() as u64));
        entry.durable.note_synced(at.offset);
        entry.lost_from = entry.lost_from.map(|from| from.max(at.offset)).filter(|&from| from < entry.head);
        let cell = entry.durable.clone();
        drop(state);
        cell.advance(at.offset);
        Ok(())
    }

    pub(super) fn delete(&self, room: &RoomKey) -> Result<bool, StoreError> {
        let _turn = self.turn(room);
        let known = self.state().rooms.get(room).map(|entry| entry.dying || entry.has_content());
        if known == Some(false) {
            return Ok(false);
        }
        if known.is_none() {
            let Some(mut entry) = self.entry_without_log(room)? else { return Ok(false) };
            // From here on, as nobody holds its cell and it would be forgotten.
            entry.dying = true;
            self.state().rooms.insert(room.clone(), entry);
        }
        self.finish_delete(room)?;
        Ok(true)
    }

    /// A room that has a snapshot only, damaged or not.
    fn entry_without_log(&self, room: &RoomKey) -> Result<Option<Entry>, StoreError> {
        let keep = (self.options.keep_log)(room);
        match self.snapshots.load(room)? {
            None => Ok(None),
            Some(Loaded::Whole(row, _) | Loaded::Damaged { row: Some(row), .. }) => {
                Ok(Some(Entry::new(row.epoch, Some((row.offset, row.bytes)), keep)))
            }
            Some(Loaded::Damaged { row: None, .. }) => {
                Ok(Some(Entry::new(self.salvage(room, None)?.0.unwrap_or(0), None, keep)))
            }
        }
    }

    /// Writes that the room's life is over, syncs that, and only then removes the snapshot. From the first step on the room
    /// takes nothing else until all steps have worked, so that no change is ever accepted into a life that may
    /// turn out to have ended.
    fn finish_delete(&self, room: &RoomKey) -> Result<(), StoreError> {
        let doing = format!("delete room {room}");
        let mut state = self.state();
        let State { rooms, log, .. } = &mut *state;
        let Some(entry) = rooms.get_mut(room) else { return Ok(()) };
        entry.dying = true;
        let at = Position { epoch: entry.epoch, offset: entry.head };
        let mut draft = Draft::of_end(room, at).map_err(|error| fault(&doing, error))?;
        let place = log.write(&mut draft).map_err(|error| fault(&doing, error))?;
        log.bury(&place.of(&draft.records()[0]), room, at);
        state.syncs.note_written();
        let awaited = state.all_written();
        self.wait_synced(state, awaited)?;
        self.snapshots.remove(room)?;
        let mut state = self.state();
        let State { rooms, log, .. } = &mut *state;
        if let Some(entry) = rooms.remove(room) {
            entry.records.all().iter().for_each(|record| log.count_out(record));
        }
        Ok(())
    }

    pub(super) fn exists(&self, room: &RoomKey) -> Result<bool, StoreError> {
        if let Some(entry) = self.state().rooms.get(room) {
            return Ok(entry.has_content() && !entry.dying);
        }
        Ok(self.snapshots.row(room)?.is_some())
    }

    pub(super) fn list(&self) -> Result<Vec<RoomSummary>, StoreError> {
        let mut rooms = BTreeMap::new();
        for (room, row) in self.snapshots.rows()? {
            let summary = RoomSummary {
                room: room.clone(),
                epoch: row.epoch,
                head: row.offset,
                snapshot_bytes: row.bytes,
                log_bytes: 0,
            };
            rooms.insert(room, summary);
        }
        for (room, entry) in self.state().rooms.iter() {
            rooms.remove(room);
            if entry.has_content() && !entry.dying {
                let summary = RoomSummary {
                    room: room.clone(),
                    epoch: entry.epoch,
                    head: entry.head,
                    snapshot_bytes: entry.snapshot.map_or(0, |(_, bytes)| bytes),
                    log_bytes: entry.records.all().iter().map(|record| u64::from(record.bytes)).sum(),
                };
                rooms.insert(room.clone(), summary);
            }
        }
        Ok(rooms.into_values().collect())
    }

    /// Writes a room's changes again that a failed sync left in doubt, all in one write. What cannot be read any
    /// more is left out; nobody was told that it is saved.
    pub(super) fn write_again(&self, state: &mut State, room: &RoomKey) -> Result<(), StoreError> {
        let Some(from) = state.rooms.get(room).and_then(|entry| entry.lost_from) else { return Ok(()) };
        let doing = |error| fault(&format!("write the changes of room {room} again"), error);
        let mut draft = Draft::default();
        for (record, file) in state.sources(room, from) {
            if let Ok(Some((head, body))) = file.map_or(Ok(None), |file| read_record(&*file, &record)) {
                draft.add_again(&head, &body).map_err(doing)?;
            }
        }
        let State { rooms, log, syncs } = state;
        let entry = rooms.get_mut(room).expect("it was found above");
        let place = if draft.records().is_empty() { None } else { Some(log.write(&mut draft).map_err(doing)?) };
        for written in draft.records() {
            let Some(record) = place.map(|place| place.of(written)) else { continue };
            entry.records.take_in(record, |old| log.count_out(old));
            log.count_in(&record, entry.keep, written.newest_ms);
        }
        entry.lost_from = None;
        syncs.note_written_of(entry);
        if syncs.wants_waking() {
            self.work.notify_one();
        }
        Ok(())
    }
}
