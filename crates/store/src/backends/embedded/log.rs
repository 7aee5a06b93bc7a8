//! The segmented log: where the next record goes, and which segments exist.
//!
//! Part of the store's state and used under its lock. A write is one write(2); a write or sync that fails closes the
//! segment. Never syncs: it only notes what the sync thread has to sync. Knows no rooms.

use super::index::RecordAt;
use super::segment::{self, Segment};
use crate::disk::{Disk, DiskFile, write_all};
use crate::format::{Draft, Drafted};
use crate::{KeepLog, Position, RoomKey};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// Bytes after which a segment is closed at the latest, whatever the options say: places are kept as 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// All segments, the last of which takes the next record.
#[derive(Debug)]
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    segment_bytes_max: u64,
    /// The segments that somebody may need, by number.
    pub(super) segments: BTreeMap<u64, Segment>,
    /// Segments that only `keep_log` needs, and until when.
    pub(super) kept: BTreeMap<u64, u64>,
    tail: Option<u64>,
    next: u64,
    unsynced: BTreeSet<u64>,
    folder_unsynced: bool,
}

/// Where a written draft begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    segment: u32,
    at: u32,
}

impl Place {
    /// Where one record of the draft is.
    pub(super) fn of(self, record: &Drafted) -> RecordAt {
        RecordAt {
            first: record.first,
            count: record.count,
            segment: self.segment,
            at: self.at + record.at,
            bytes: record.bytes,
            body_crc: record.body_crc,
        }
    }
}

/// What one sync has to cover.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    pub(super) files: Vec<(u64, Arc<dyn DiskFile>)>,
    pub(super) folder: bool,
}

impl Log {
    /// A log without segments, whose first will have the number `next`.
    pub(super) fn new(disk: Arc<dyn Disk>, segment_bytes_max: u64) -> Self {
        Self {
            disk,
            segment_bytes_max: segment_bytes_max.clamp(1, SEGMENT_BYTES_MAX),
            segments: BTreeMap::new(),
            kept: BTreeMap::new(),
            tail: None,
            next: 1,
            unsynced: BTreeSet::new(),
            folder_unsynced: false,
        }
    }

    /// Start: takes over the segments that were found. The last one goes on if `tail_is_sound`.
    pub(super) fn resume(&mut self, tail_is_sound: bool) {
        let last = self.segments.keys().chain(self.kept.keys()).max().copied();
        self.next = last.map_or(1, |number| number + 1);
        self.tail = self.segments.last_key_value().map(|(&number, _)| number);
        self.tail = self.tail.filter(|&number| tail_is_sound && Some(number) == last);
    }

    /// Writes the records of a draft one behind the other in one write to the operating system. After an error none of them
    /// is there. Returns where the first one begins.
    pub(super) fn write(&mut self, draft: &mut Draft) -> io::Result<Place> {
        let number = self.tail_for(draft.len())?;
        let tail = self.segments.get_mut(&number).expect("the tail is one of the segments");
        let at = tail.bytes;
        match write_all(&*tail.file, at, draft.placed(number, at)) {
            Ok(()) => {
                tail.bytes += draft.len();
                self.unsynced.insert(number);
                Ok(Place { segment: number as u32, at: at as u32 })
            }
            Err(error) => {
                self.recover_from_failed_write(number, &error);
                Err(error)
            }
        }
    }

    /// The segment that takes the next `bytes`, made if there is none.
    fn tail_for(&mut self, bytes: u64) -> io::Result<u64> {
        if let Some(number) = self.tail {
            let held = self.segments[&number].bytes;
            if held == 0 || held + bytes <= self.segment_bytes_max {
                return Ok(number);
            }
        }
        let number = self.next;
        if number > u64::from(u32::MAX) {
            return Err(io::Error::other("the log has used up its segment numbers; export and import the data"));
        }
        let file = self.disk.open(&segment::file_name(number, false), true)?;
        self.next += 1;
        self.folder_unsynced = true;
        self.segments.insert(number, Segment::new(file, false));
        self.tail = Some(number);
        Ok(number)
    }

    /// Cuts off what a failed write left. The segment is used again only if it was merely out of room and the cut worked; else
    /// it is closed. Bytes that stay behind are no record for the next start, unless the disk refused the cut in the
    /// middle of a write of several: then the whole ones among them read as after a crash.
    fn recover_from_failed_write(&mut self, number: u64, error: &io::Error) {
        let tail = &self.segments[&number];
        let cut = tail.file.set_size(tail.bytes).is_ok();
        // Of several records some may be whole: not only this process must find them gone.
        self.unsynced.insert(number);
        if cut && is_full(error) {
            return;
        }
        self.tail = None;
        if tail.bytes == 0 {
            // An empty segment that stays is removed by `tidy`.
            let _best_effort = self.remove(number);
        }
    }

    /// Counts a record, whose newest change is of `newest_ms`, of a room with this rule, as one that its segment is needed for.
    pub(super) fn count_in(&mut self, record: &RecordAt, rule: KeepLog, newest_ms: u64) {
        if let Some(segment) = self.segments.get_mut(&u64::from(record.segment)) {
            segment.live += 1;
            segment.keep(rule, newest_ms);
        }
    }

    /// Start: counts a record whose rule was told to `keep`.
    pub(super) fn count_in_again(&mut self, record: &RecordAt) {
        if let Some(segment) = self.segments.get_mut(&u64::from(record.segment)) {
            segment.live += 1;
        }
    }

    /// Notes that a record whose newest change is of `newest_ms` is in its segment, of a room with this rule.
    pub(super) fn keep(&mut self, record: &RecordAt, rule: KeepLog, newest_ms: u64) {
        if let Some(segment) = self.segments.get_mut(&u64::from(record.segment)) {
            segment.keep(rule, newest_ms);
        }
    }

    /// Notes that a record tells the end of the life `at.epoch` of a room.
    pub(super) fn bury(&mut self, record: &RecordAt, room: &RoomKey, at: Position) {
        if let Some(segment) = self.segments.get_mut(&u64::from(record.segment)) {
            segment.graves.push((room.clone(), at));
        }
    }

    /// Counts a record as one that its segment is no longer needed for.
    pub(super) fn count_out(&mut self, record: &RecordAt) {
        if let Some(segment) = self.segments.get_mut(&u64::from(record.segment)) {
            segment.live -= 1;
        }
    }

    /// Hands over what is to be synced.
    pub(super) fn take_unsynced(&mut self) -> Unsynced {
        let numbers = std::mem::take(&mut self.unsynced);
        let file = |number| Some((number, self.segments.get(&number)?.file.clone()));
        Unsynced {
            files: numbers.into_iter().filter_map(file).collect(),
            folder: std::mem::take(&mut self.folder_unsynced),
        }
    }

    /// A sync failed: closes the tail, and doubts what that sync and the next would have covered.
    pub(super) fn doubt(&mut self, failed: &Unsynced) {
        self.tail = None;
        self.folder_unsynced = true;
        let mut numbers = std::mem::take(&mut self.unsynced);
        numbers.extend(failed.files.iter().map(|(number, _)| *number));
        for number in numbers {
            self.doubt_one(number);
        }
    }

    /// Notes, also on the disk, that a sync of this segment failed.
    pub(super) fn doubt_one(&mut self, number: u64) {
        let Some(segment) = self.segments.get_mut(&number).filter(|segment| !segment.doubted) else { return };
        // Where even this fails, the rooms' next opening still writes their changes again, unless the
        // process ends before that.
        let from = segment::file_name(number, false);
        segment.doubted = match self.disk.rename(&from, &segment::file_name(number, true)) {
            Ok(()) => true,
            // The sync thread was here first.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
    }

    /// Whether a sync of the record's segment failed.
    pub(super) fn doubts(&self, record: &RecordAt) -> bool {
        self.segments.get(&u64::from(record.segment)).is_some_and(|segment| segment.doubted)
    }

    /// The segment with this number, for reading. Kept ones are not held open and have none.
    pub(super) fn file(&self, number: u32) -> Option<Arc<dyn DiskFile>> {
        Some(self.segments.get(&u64::from(number))?.file.clone())
    }

    /// Bytes of the segments that are not only kept.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    /// The number that the next record goes to or after. Everything below it is closed.
    pub(super) fn last(&self) -> Option<u64> {
        self.tail.or_else(|| self.segments.keys().chain(self.kept.keys()).max().copied())
    }

    /// Whether a segment older than `number` will exist when those in `going` are gone.
    pub(super) fn stays_older_than(&self, number: u64, going: &[u64]) -> bool {
        let older =
            self.segments.range(..number).any(|(other, segment)| segment.keep_until_ms > 0 || !going.contains(other));
        older || self.kept.range(..number).next().is_some()
    }

    /// Removes a segment's file.
    pub(super) fn remove(&mut self, number: u64) -> io::Result<()> {
        self.folder_unsynced = true;
        for doubted in [false, true] {
            match self.disk.remove(&segment::file_name(number, doubted)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.segments.remove(&number);
        self.kept.remove(&number);
        self.unsynced.remove(&number);
        Ok(())
    }
}

/// Whether there is no room on the disk.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
