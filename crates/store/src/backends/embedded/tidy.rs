//! Housekeeping: which segments go, which stay for `keep_log` only, and which rooms hold the log up.
//!
//! Called now and then from a background thread. Removes a segment only after everything written since is
//! on stable storage, because what replaced its content may be in that. Compacts nothing itself.

use super::index::Entry;
use super::{Shared, State, fault};
use crate::format::Draft;
use crate::{RoomKey, StoreError};
use std::collections::BTreeSet;

impl Shared {
    pub(super) fn tidy(&self, now_ms: u64) -> Result<Vec<RoomKey>, StoreError> {
        let failed = |error| fault("tidy the log", error);
        let mut state = self.state();
        state.rooms.forget_idle();
        let spent = state.spent();
        if !spent.is_empty() {
            let needed = |number: &&u64| state.log.stays_older_than(**number, &spent);
            let graves: Vec<u64> = spent.iter().filter(needed).copied().collect();
            state.write_graves_again(&graves).map_err(failed)?;
            let awaited = state.all_written();
            self.wait_synced(state, awaited)?;
            state = self.state();
        }
        drop(state);
        self.part_with(&spent, now_ms)?;
        Ok(self.state().rooms_in_the_way(self.options.log_bytes_max))
    }

    /// Removes the spent segments and kept ones whose time is over; lets go of those that `keep_log` still wants.
    fn part_with(&self, spent: &[u64], now_ms: u64) -> Result<(), StoreError> {
        let mut state = self.state();
        let spent_until = |number: &u64| Some((*number, state.log.segments.get(number)?.keep_until_ms));
        let (keep, mut go): (Vec<_>, Vec<_>) =
            spent.iter().filter_map(spent_until).partition(|(_, until_ms)| *until_ms > now_ms);
        go.extend(state.log.kept.iter().map(|(&number, &until_ms)| (number, until_ms)).filter(|kept| kept.1 <= now_ms));
        if keep.is_empty() && go.is_empty() {
            return Ok(());
        }
        for (number, _) in &go {
            state.log.remove(*number).map_err(|error| fault("remove a segment of the log", error))?;
        }
        state.syncs.note_written();
        let awaited = state.all_written();
        self.wait_synced(state, awaited)?;
        let gone: Vec<u64> = go.iter().map(|(number, _)| *number).collect();
        self.snapshots.set_kept(&keep, &gone)?;
        let mut state = self.state();
        for (number, until_ms) in keep {
            state.log.segments.remove(&number);
            state.log.kept.insert(number, until_ms);
        }
        Ok(())
    }
}

impl State {
    /// Closed segments with nothing in them that is not in a snapshot.
    fn spent(&self) -> Vec<u64> {
        let last = self.log.last();
        let spent = self.log.segments.iter().filter(|(number, segment)| segment.live == 0 && Some(**number) < last);
        spent.map(|(number, _)| *number).collect()
    }

    /// Writes again the ends of lives that are told in these segments, which go while an older one stays that may hold
    /// something of those lives.
    fn write_graves_again(&mut self, segments: &[u64]) -> std::io::Result<()> {
        let told = segments.iter().filter_map(|number| self.log.segments.get(number));
        let graves: Vec<_> = told.flat_map(|segment| segment.graves.iter().cloned()).collect();
        if graves.is_empty() {
            return Ok(());
        }
        let mut draft = Draft::default();
        for (room, at) in &graves {
            draft.add_end(room, *at)?;
        }
        let place = self.log.write(&mut draft)?;
        for (record, (room, at)) in draft.records().iter().zip(&graves) {
            self.log.bury(&place.of(record), room, *at);
        }
        self.syncs.note_written();
        Ok(())
    }

    /// The rooms whose uncovered changes keep the oldest segments, as many segments as the log is too large by.
    fn rooms_in_the_way(&self, log_bytes_max: u64) -> Vec<RoomKey> {
        let mut excess = self.log.bytes().saturating_sub(log_bytes_max);
        let mut in_the_way = BTreeSet::new();
        for (number, segment) in &self.log.segments {
            if excess == 0 || Some(*number) == self.log.last() {
                break;
            }
            in_the_way.insert(*number as u32);
            excess = excess.saturating_sub(segment.bytes);
        }
        if in_the_way.is_empty() {
            return Vec::new();
        }
        let concerned = |entry: &Entry| {
            !entry.dying && entry.records.all().iter().any(|record| in_the_way.contains(&record.segment))
        };
        let mut rooms: Vec<_> =
            self.rooms.iter().filter(|(_, entry)| concerned(entry)).map(|(room, _)| room.clone()).collect();
        rooms.sort_unstable();
        rooms
    }
}
