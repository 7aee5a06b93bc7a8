//! Where in the log the changes are that no snapshot covers, and how each room stands.
//!
//! Owned by the store's state and changed only under its lock. Holds places, never content: a room that is in a
//! snapshot and in nobody's hands takes no memory. Does no I/O.

use crate::{Durability, Durable, KeepLog, Position};
use std::sync::Arc;

/// The place of one record: 32 bytes, as a log within its bound can hold millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordAt {
    /// Offset of its first change.
    pub(super) first: u64,
    /// How many changes.
    pub(super) count: u32,
    /// Number of the segment.
    pub(super) segment: u32,
    /// Place in the segment.
    pub(super) at: u32,
    /// Length of the record.
    pub(super) bytes: u32,
    /// Checksum of its body, which tells a record written again from another one at the same offset.
    pub(super) body_crc: u32,
}

impl RecordAt {
    /// Offset behind its last change.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    fn same_content(&self, other: &Self) -> bool {
        (self.first, self.count, self.bytes, self.body_crc) == (other.first, other.count, other.bytes, other.body_crc)
    }
}

/// The records of one life of a room, by offset, without overlap.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<RecordAt>);

impl Records {
    /// Takes in a record that lies later in the log than all before. Calls `dropped` for each record that
    /// it stands in for.
    ///
    /// A record that is there already was written again after a failed sync, and only its place changes.
    /// A different one at an offset that is taken replaces everything from there on: what it
    /// replaces can only be the rest of a failed write, which no one was told of.
    pub(super) fn take_in(&mut self, record: RecordAt, mut dropped: impl FnMut(&RecordAt)) {
        if self.0.last().is_none_or(|last| last.end() <= record.first) {
            self.0.push(record);
            return;
        }
        let index = self.0.partition_point(|held| held.end() <= record.first);
        match self.0.get_mut(index) {
            None => self.0.push(record),
            // The earlier copy is gone with its segment, and later records were found first.
            Some(held) if held.first >= record.end() => self.0.insert(index, record),
            Some(held) if held.same_content(&record) => {
                dropped(held);
                *held = record;
            }
            Some(_) => {
                self.0.drain(index..).for_each(|old| dropped(&old));
                self.0.push(record);
            }
        }
    }

    /// Takes in a record that cannot be read unless another one has its offsets: they were given out, and its segment
    /// stays until a snapshot covers it.
    pub(super) fn take_in_damaged(&mut self, record: RecordAt) {
        let index = self.0.partition_point(|held| held.end() <= record.first);
        if self.0.get(index).is_none_or(|held| held.first >= record.end()) {
            self.0.insert(index, record);
        }
    }

    /// Forgets the records that a snapshot up to `offset` covers. Calls `dropped` for each.
    pub(super) fn cover(&mut self, offset: u64, dropped: impl FnMut(&RecordAt)) {
        let covered = self.0.partition_point(|held| held.end() <= offset);
        self.0.drain(..covered).as_slice().iter().for_each(dropped);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    /// The records with changes from `offset` on.
    pub(super) fn from(&self, offset: u64) -> &[RecordAt] {
        &self.0[self.0.partition_point(|held| held.end() <= offset)..]
    }

    /// All records.
    pub(super) fn all(&self) -> &[RecordAt] {
        &self.0
    }

    /// Whether the changes from `offset` to `head` are all there.
    pub(super) fn whole(&self, mut offset: u64, head: u64) -> bool {
        for record in self.from(offset) {
            if record.first > offset {
                return false;
            }
            offset = record.end();
        }
        offset == head
    }
}

/// How a room stands that has uncovered records, or that somebody has open.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) epoch: u64,
    /// Up to where the snapshot covers, and its length. None: there is no snapshot.
    pub(super) snapshot: Option<(u64, u64)>,
    /// Offset of the next change.
    pub(super) head: u64,
    /// From here on a sync has failed: to be written again before anything is added.
    pub(super) lost_from: Option<u64>,
    /// Its deletion has begun and only that may go on.
    pub(super) dying: bool,
    /// Where it is among the rooms that the next sync speaks for, if that place has its cell.
    pub(super) touched_at: u32,
    pub(super) keep: KeepLog,
    pub(super) records: Records,
    /// Also says up to where syncs have covered the room.
    pub(super) durable: Arc<Durable>,
}

impl Entry {
    /// A room that stands at `offset` with nothing in the log.
    pub(super) fn new(epoch: u64, snapshot: Option<(u64, u64)>, keep: KeepLog) -> Self {
        let offset = snapshot.map_or(0, |(offset, _)| offset);
        Self {
            epoch,
            snapshot,
            head: offset,
            lost_from: None,
            dying: false,
            touched_at: 0,
            keep,
            records: Records::default(),
            durable: Arc::new(Durable::new(offset)),
        }
    }

    /// Offset up to which the snapshot covers.
    pub(super) fn snapshot_offset(&self) -> u64 {
        self.snapshot.map_or(0, |(offset, _)| offset)
    }

    /// Whether there is anything to read.
    pub(super) fn has_content(&self) -> bool {
        self.snapshot.is_some() || self.head > 0
    }

    /// Whether changes at this position can be added.
    pub(super) fn takes(&self, at: Position) -> bool {
        !self.dying && self.lost_from.is_none() && (self.epoch, self.head) == (at.epoch, at.offset)
    }

    /// Start: the room stands at `head`, all of it on stable storage, unless the snapshot reaches further.
    pub(super) fn raise_to(&mut self, head: u64) {
        self.head = self.head.max(head);
        self.durable.advance_synced(self.head);
    }

    /// A cell in place of one that has told of a failure.
    pub(super) fn renew_cell(&mut self, durability: Durability) {
        let fresh = Durable::new(self.durable.synced());
        fresh.advance(self.durable_offset(durability));
        self.durable = Arc::new(fresh);
    }

    /// Up to where changes count as durable in this mode.
    pub(super) fn durable_offset(&self, durability: Durability) -> u64 {
        match durability {
            Durability::Synced { .. } => self.durable.synced(),
            Durability::Written { .. } => self.head,
        }
    }

    /// Whether nothing would be lost if it were forgotten: all in the snapshot, or nothing at all, and in nobody's hands.
    pub(super) fn idle(&self) -> bool {
        self.records.all().is_empty()
            && self.head == self.snapshot_offset()
            && !self.dying
            && self.lost_from.is_none()
            && Arc::strong_count(&self.durable) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(first: u64, count: u32, segment: u32, body_crc: u32) -> RecordAt {
        RecordAt { first, count, segment, at: 0, bytes: 10, body_crc }
    }

    /// Takes in (first, count, segment, checksum) in this order; what is left as (first, segment).
    fn check(records: &[(u64, u32, u32, u32)], left: &[(u64, u32)], dropped: usize) {
        let mut held = Records::default();
        let mut count = 0;
        for &(first, changes, segment, crc) in records {
            held.take_in(record(first, changes, segment, crc), |_| count += 1);
        }
        let now: Vec<_> = held.all().iter().map(|record| (record.first, record.segment)).collect();
        assert_eq!((&now[..], count), (left, dropped), "{records:?}");
    }

    #[test]
    fn records_in_order_are_all_kept() {
        check(&[(0, 2, 1, 7), (2, 1, 1, 8), (5, 1, 2, 9)], &[(0, 1), (2, 1), (5, 2)], 0);
    }

    #[test]
    fn a_record_written_again_moves_and_drops_nothing_behind_it() {
        check(&[(0, 2, 1, 7), (2, 1, 1, 8), (0, 2, 2, 7)], &[(0, 2), (2, 1)], 1);
    }

    #[test]
    fn a_record_whose_earlier_copy_is_gone_fills_the_gap() {
        check(&[(0, 2, 1, 7), (5, 1, 2, 9), (2, 3, 3, 8)], &[(0, 1), (2, 3), (5, 2)], 0);
    }

    #[test]
    fn another_record_at_a_taken_offset_replaces_what_follows() {
        check(&[(0, 2, 1, 7), (2, 3, 1, 8), (5, 1, 1, 9), (2, 1, 2, 1)], &[(0, 1), (2, 2)], 2);
    }

    #[test]
    fn a_damaged_record_never_stands_in_for_a_whole_one() {
        let mut held = Records::default();
        for (first, segment) in [(0, 1), (4, 1)] {
            held.take_in(record(first, 2, segment, 7), |_| {});
        }
        for first in [0, 1, 2, 3, 4, 6] {
            held.take_in_damaged(record(first, 2, 2, 7));
        }
        let now: Vec<_> = held.all().iter().map(|record| (record.first, record.segment)).collect();
        assert_eq!(now, [(0, 1), (2, 2), (4, 1), (6, 2)]);
    }

    #[test]
    fn a_gap_is_not_whole() {
        let mut held = Records::default();
        held.take_in(record(0, 2, 1, 0), |_| {});
        held.take_in(record(3, 2, 1, 0), |_| {});
        assert!(held.whole(3, 5) && held.whole(4, 5) && !held.whole(0, 5) && !held.whole(5, 6));
        held.cover(2, |_| {});
        assert_eq!(held.all().len(), 1);
    }
}
