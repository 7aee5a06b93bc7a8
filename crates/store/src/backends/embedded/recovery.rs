//! The start: what the segments and the snapshots say together.
//!
//! Called once, before anything else can be. Reads every segment that may hold uncovered changes, cuts a torn tail
//! off the last one, syncs what an earlier process may have left unsynced, finishes deletions, and reports what is
//! damaged. Keeps places in memory, never content.

use super::damage::{DamageReports, Report};
use super::index::{Entry, RecordAt, Records};
use super::log::Log;
use super::scan::{self, Found, ScanError, Scanned};
use super::segment::{self, LOG_FOLDER, Segment};
use super::snapshots::{Row, Snapshots};
use super::table::Table;
use super::{EmbeddedOptions, State, fault, sync};
use crate::disk::{Disk, DiskFile, read_full};
use crate::format::{self, Head, Kind};
use crate::{Damage, Durable, KeepLog, Position, RoomKey, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::sync::Arc;

/// Builds the state from what is on the disk.
pub(super) fn recover(
    disk: &Arc<dyn Disk>,
    snapshots: &Snapshots,
    damage: &DamageReports,
    options: &EmbeddedOptions,
) -> Result<State, StoreError> {
    check_snapshots(snapshots, damage)?;
    let failed = |error| fault("list the log", error);
    let names = disk.list(LOG_FOLDER).map_err(failed)?;
    let segments: BTreeMap<u64, bool> = names.iter().filter_map(|name| segment::parse_file_name(name)).collect();
    let last = segments.keys().next_back().copied();

    let mut log = Log::new(disk.clone(), options.segment_bytes_max);
    log.kept = snapshots
        .kept()?
        .into_iter()
        .filter(|(number, _)| segments.contains_key(number) && Some(*number) != last)
        .collect();
    let mut start = Start { damage, options, log, lives: HashMap::new(), ended: HashMap::new() };
    let mut tail_is_sound = false;
    for (&number, &doubted) in &segments {
        if !start.log.kept.contains_key(&number) {
            tail_is_sound = start.take_in_segment(disk, number, doubted, Some(number) == last)?;
        }
    }
    start.log.resume(tail_is_sound);
    // A file that was made, but not yet synced into the folder, by a process that was killed.
    disk.sync_folder(LOG_FOLDER).map_err(|error| fault("sync the log's folder", error))?;
    start.into_state(snapshots)
}

/// A file of snapshots that is no such file is moved out of the way: rooms are then read from the log as far as it goes.
fn check_snapshots(snapshots: &Snapshots, damage: &DamageReports) -> Result<(), StoreError> {
    let reason = match snapshots.check() {
        Ok(()) => return Ok(()),
        Err(redb::Error::Io(error)) if !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
            return Err(fault("open snapshots.redb", error));
        }
        Err(redb::Error::UpgradeRequired(found)) => {
            return Err(StoreError::Version { what: "snapshots.redb".to_owned(), found, readable: 3 });
        }
        Err(error) => error.to_string(),
    };
    let name = snapshots.set_aside().map_err(|error| fault("move the damaged snapshots.redb away", error))?;
    let place = format!("snapshots.redb, all of it (moved to {name})");
    damage.report(Report { epoch: None, end: None, damage: Damage { room: None, offset: None, place, reason } });
    Ok(())
}

struct Start<'a> {
    damage: &'a DamageReports,
    options: &'a EmbeddedOptions,
    log: Log,
    /// Per room, in the order in which they appear.
    lives: HashMap<RoomKey, Lives>,
    /// The lives that have ended. False: that is told in doubted segments only, and may not be on stable storage.
    ended: HashMap<(RoomKey, u64), bool>,
}

struct Lives {
    keep: KeepLog,
    lives: Vec<Life>,
}

#[derive(Default)]
struct Life {
    epoch: u64,
    records: Records,
}

struct Piece {
    head: Option<Head>,
    at: u64,
    bytes: u64,
    reason: &'static str,
}

impl Start<'_> {
    /// Reads one segment. Says whether it can take more records.
    fn take_in_segment(
        &mut self,
        disk: &Arc<dyn Disk>,
        number: u64,
        doubted: bool,
        is_last: bool,
    ) -> Result<bool, StoreError> {
        let name = segment::file_name(number, doubted);
        let file = disk.open(&name, false).map_err(|error| fault(&format!("open {name}"), error))?;
        self.log.segments.insert(number, Segment::new(file.clone(), doubted));
        let mut pieces = Vec::new();
        let scanned = scan::scan(&*file, number, None, &mut |found| match found {
            Found::Record { head, at, newest_ms, .. } => self.take_in(number, head, at, newest_ms),
            Found::Damaged { head, at, bytes, reason } => pieces.push(Piece { head, at, bytes, reason }),
        });
        let scanned = scanned.map_err(|error| error.into_store_error(number))?;
        let torn = is_last && !scanned.unreadable && scanned.end < scanned.bytes;
        self.take_in_damage(&*file, number, &pieces, if torn { scanned.end } else { scanned.bytes });
        let whole = if torn { self.cut(&*file, number, &pieces, &scanned) } else { scanned.end == scanned.bytes };
        let segment = self.log.segments.get_mut(&number).expect("it was put there above");
        segment.bytes = if torn { scanned.end } else { scanned.bytes };
        // An earlier process may have been killed before it came to this. Where it had failed, the name says so.
        let synced = file.sync_data().is_ok();
        if !synced {
            self.log.doubt_one(number);
        }
        Ok(whole && synced && !doubted)
    }

    fn take_in(&mut self, number: u64, head: Head, at: u64, newest_ms: u64) {
        let position = Position { epoch: head.epoch, offset: head.offset };
        let record = record_at(number, &head, at);
        match head.kind {
            Kind::Deleted => {
                self.log.bury(&record, &head.room, position);
                let doubted = self.log.doubts(&record);
                *self.ended.entry((head.room, head.epoch)).or_default() |= !doubted;
            }
            Kind::Changes => {
                let (keep, life) = self.life(&head.room, head.epoch);
                life.records.take_in(record, |_| {});
                self.log.keep(&record, keep, newest_ms);
            }
        }
    }

    fn life(&mut self, room: &RoomKey, epoch: u64) -> (KeepLog, &mut Life) {
        if !self.lives.contains_key(room) {
            let keep = (self.options.keep_log)(room);
            self.lives.insert(room.clone(), Lives { keep, lives: Vec::new() });
        }
        let lives = self.lives.get_mut(room).expect("it was put there above");
        let index = lives.lives.iter().position(|life| life.epoch == epoch).unwrap_or_else(|| {
            lives.lives.push(Life { epoch, ..Life::default() });
            lives.lives.len() - 1
        });
        (lives.keep, &mut lives.lives[index])
    }

    /// Reports the damaged pieces before `end`. A damaged record keeps its
    /// offsets if its head is intact.
    fn take_in_damage(&mut self, file: &dyn DiskFile, number: u64, pieces: &[Piece], end: u64) {
        for piece in pieces.iter().filter(|piece| piece.at < end) {
            if let Some(head) = piece.head.as_ref().filter(|head| head.kind == Kind::Changes) {
                self.life(&head.room, head.epoch).1.records.take_in_damaged(record_at(number, head, piece.at));
            }
            self.report(file, number, piece, "");
        }
    }

    /// Cuts off what follows the last whole record of the last segment. Zeros were never written, so only other bytes
    /// are worth a report. Says whether the cut worked.
    fn cut(&self, file: &dyn DiskFile, number: u64, pieces: &[Piece], scanned: &Scanned) -> bool {
        if !is_zero(file, scanned.end, scanned.bytes) {
            for piece in pieces.iter().filter(|piece| piece.at >= scanned.end) {
                self.report(file, number, piece, "torn off at the end of the log, as by a power cut; ");
            }
        }
        file.set_size(scanned.end).is_ok()
    }

    fn report(&self, file: &dyn DiskFile, number: u64, piece: &Piece, cause: &str) {
        let place = self.damage.set_aside_piece(file, number, piece.at, piece.bytes);
        let damage = Damage {
            room: piece.head.as_ref().map(|head| head.room.clone()),
            offset: piece.head.as_ref().map(|head| head.offset),
            place,
            reason: format!("{cause}{}: {} bytes", piece.reason, piece.bytes),
        };
        let head = piece.head.as_ref();
        let end = head.map(|head| head.offset.saturating_add(u64::from(head.count)));
        self.damage.report(Report { epoch: head.map(|head| head.epoch), end, damage });
    }

    /// Brings together what the log and the snapshots know of each room.
    fn into_state(mut self, snapshots: &Snapshots) -> Result<State, StoreError> {
        let mut rooms = Table::default();
        for (room, _) in self.ended.keys() {
            // A room of which only its end is in the log may still have its snapshot.
            self.lives
                .entry(room.clone())
                .or_insert_with(|| Lives { keep: (self.options.keep_log)(room), lives: Vec::new() });
        }
        let uncertain = self.ended.iter().filter(|(_, certain)| !**certain);
        let uncertain: HashMap<_, _> = uncertain.map(|((room, epoch), _)| (room.clone(), *epoch)).collect();
        for (room, lives) in std::mem::take(&mut self.lives) {
            let mut row = snapshots.row(&room)?;
            let over = row.is_some_and(|row| self.has_ended(&room, row.epoch) == Some(true));
            if over && snapshots.remove(&room).is_ok() {
                row = None;
            }
            let keep = lives.keep;
            let entry = self.entry(&room, lives, row).or_else(|| {
                let ended = match row {
                    Some(row) => self.has_ended(&room, row.epoch).map(|_| row.epoch),
                    None => uncertain.get(&room).copied(),
                };
                ended.map(|epoch| dying(epoch, row, keep))
            });
            if let Some(entry) = entry {
                rooms.insert(room, entry);
            }
        }
        Ok(State { rooms, log: self.log, syncs: sync::Syncs::default() })
    }

    /// Whether this life has ended, and if so, whether that is on stable storage.
    fn has_ended(&self, room: &RoomKey, epoch: u64) -> Option<bool> {
        self.ended.get(&(room.clone(), epoch)).copied()
    }

    /// How a room stands. None: nothing of it is in the log that is not in its snapshot.
    fn entry(&mut self, room: &RoomKey, lives: Lives, row: Option<Row>) -> Option<Entry> {
        // With a snapshot, its life is the present one: the one before had ended, and been removed, when it was made.
        let present =
            |life: &Life| row.map_or(self.has_ended(room, life.epoch) != Some(true), |row| row.epoch == life.epoch);
        let mut life = lives.lives.into_iter().rfind(present)?;
        let mut entry = Entry::new(life.epoch, row.map(|row| (row.offset, row.bytes)), lives.keep);
        life.records.cover(entry.snapshot_offset(), |_| {});
        let end = life.records.all().last().map_or(0, RecordAt::end);
        entry.raise_to(end);
        if entry.head == entry.snapshot_offset() && life.records.all().is_empty() {
            return None;
        }
        for record in life.records.all() {
            self.log.count_in_again(record);
        }
        self.report_gaps(room, &entry, &life);
        entry.dying = self.has_ended(room, entry.epoch).is_some();
        entry.lost_from = life.records.all().iter().find(|record| self.log.doubts(record)).map(|record| record.first);
        entry.records = life.records;
        if let Some(from) = entry.lost_from {
            entry.durable = Arc::new(Durable::new(from.max(entry.snapshot_offset())));
            entry.renew_cell(self.options.durability);
        }
        Some(entry)
    }
}

impl Start<'_> {
    /// Says which changes of a room are missing, whatever became of them: their record may be damaged beyond
    /// recognition, or a power cut took them and left later ones.
    fn report_gaps(&self, room: &RoomKey, entry: &Entry, life: &Life) {
        let mut next = entry.snapshot_offset();
        let ends = life.records.all().iter().map(|record| (record.first, record.end()));
        for (first, end) in ends.chain([(entry.head, entry.head)]) {
            if first > next && !self.damage.knows(room, life.epoch, next) {
                let place = format!("room {room}, changes {next} to {}", first - 1);
                let reason = "they are missing from the log".to_owned();
                let damage = Damage { room: Some(room.clone()), offset: Some(next), place, reason };
                self.damage.report(Report { epoch: Some(life.epoch), end: Some(first), damage });
            }
            next = end;
        }
    }
}

fn record_at(number: u64, head: &Head, at: u64) -> RecordAt {
    RecordAt {
        first: head.offset,
        count: head.count,
        segment: number as u32,
        at: at as u32,
        bytes: head.record_bytes() as u32,
        body_crc: head.body_crc,
    }
}

/// A room of which nothing is left but the end of its life, which has to be told again, or its snapshot, which could not
/// be removed. Its next opening finishes that.
fn dying(epoch: u64, row: Option<Row>, keep: KeepLog) -> Entry {
    let mut entry = Entry::new(epoch, row.map(|row| (row.offset, row.bytes)), keep);
    entry.dying = true;
    entry
}

fn is_zero(file: &dyn DiskFile, mut at: u64, end: u64) -> bool {
    let mut piece = vec![0; 64 * 1024];
    while at < end {
        let wanted = (end - at).min(piece.len() as u64) as usize;
        match read_full(file, at, &mut piece[..wanted]) {
            Ok(read) if read == wanted && piece[..read].iter().all(|&byte| byte == 0) => at += read as u64,
            _ => return false,
        }
    }
    true
}

impl ScanError {
    /// As the caller of the store can use it.
    pub(super) fn into_store_error(self, number: u64) -> StoreError {
        match self {
            Self::Io(error) => fault(&format!("read segment {number} of the log"), error),
            Self::Version(found) => {
                StoreError::Version { what: format!("segment {number} of the log"), found, readable: format::VERSION }
            }
        }
    }
}
