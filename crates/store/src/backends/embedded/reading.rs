//! Reading a room's changes: by the index, or, when its snapshot is lost, by a search through the whole log.
//!
//! Called by the rooms. Reads without the state's lock: a segment that is removed meanwhile stays readable through its
//! handle. What does not read as it was written is reported and left out; what the disk refuses to read is an error.

use super::damage::Report;
use super::index::RecordAt;
use super::scan::{self, Found};
use super::segment::{self, LOG_FOLDER};
use super::snapshots::{Loaded, Row};
use super::{Shared, State, fault};
use crate::disk::{DiskFile, read_full};
use crate::format::{self, Head, Kind, Parsed};
use crate::{Change, Damage, RoomKey, StoreError};
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

/// Changes with their offsets.
pub(super) type Changes = Vec<(u64, Change)>;

/// A record to read, with its file.
pub(super) type Source = (RecordAt, Option<Arc<dyn DiskFile>>);

/// What a room's changes are added to.
#[derive(Debug, Default)]
pub(super) struct Base {
    /// The room's life, if anything tells.
    pub(super) epoch: Option<u64>,
    /// What the index of snapshots says.
    pub(super) row: Option<Row>,
    /// The snapshot, and up to where it covers.
    pub(super) snapshot: Option<Bytes>,
    pub(super) offset: u64,
    /// The snapshot is damaged: all that the log still has instead.
    pub(super) salvaged: Option<Changes>,
}

impl Base {
    /// Behind the last salvaged change.
    pub(super) fn salvaged_head(&self) -> u64 {
        self.salvaged.as_ref().and_then(|changes| changes.last()).map_or(0, |(offset, _)| offset + 1)
    }
}

impl Shared {
    /// Reads a room's snapshot, or all that the log still has if that is damaged.
    pub(super) fn base(&self, room: &RoomKey) -> Result<Base, StoreError> {
        match self.snapshots.load(room)? {
            None => Ok(Base::default()),
            Some(Loaded::Whole(row, bytes)) => {
                let (epoch, offset) = (Some(row.epoch), row.offset);
                Ok(Base { epoch, row: Some(row), snapshot: Some(bytes), offset, salvaged: None })
            }
            Some(Loaded::Damaged { row, rest, reason }) => {
                let known = self.state().rooms.get(room).map(|entry| entry.epoch).or(row.map(|row| row.epoch));
                let (epoch, changes) = self.salvage(room, known)?;
                self.report_snapshot(room, epoch, &rest, reason);
                Ok(Base { epoch, row, snapshot: None, offset: 0, salvaged: Some(changes) })
            }
        }
    }

    /// The changes from `offset` on that can be read, and whether that is all of them.
    pub(super) fn read_sources(
        &self,
        room: &RoomKey,
        sources: &[Source],
        offset: u64,
    ) -> Result<(Changes, bool), StoreError> {
        let mut changes = Vec::new();
        let mut whole = true;
        for (record, file) in sources {
            let read = match file {
                Some(file) => {
                    read_record(&**file, record).map_err(|error| fault(&format!("read room {room}"), error))?
                }
                None => None,
            };
            match read.and_then(|(head, body)| format::decode_changes(&body, head.count)) {
                Some(read) => changes.extend((record.first..).zip(read).filter(|(at, _)| *at >= offset)),
                None => {
                    whole = false;
                    self.report_record(room, record, file.as_deref());
                }
            }
        }
        Ok((changes, whole))
    }

    fn report_record(&self, room: &RoomKey, record: &RecordAt, file: Option<&dyn DiskFile>) {
        let epoch = self.state().rooms.get(room).map(|entry| entry.epoch);
        let (segment, at) = (u64::from(record.segment), u64::from(record.at));
        let place = match file {
            Some(file) => self.damage.set_aside_piece(file, segment, at, u64::from(record.bytes)),
            None => format!("segment {segment}, byte {at}"),
        };
        let reason = "the record no longer reads as it was written".to_owned();
        let damage = Damage { room: Some(room.clone()), offset: Some(record.first), place, reason };
        self.damage.report(Report { epoch, end: Some(record.end()), damage });
    }

    fn report_snapshot(&self, room: &RoomKey, epoch: Option<u64>, rest: &[u8], reason: String) {
        let name = format!("snapshot-{:016x}-{:08x}", epoch.unwrap_or(0), crc32c::crc32c(rest));
        self.damage.set_aside(rest, &name);
        let place = format!("snapshots.redb, snapshot of room {room} (copied to damaged/{name})");
        self.damage.report(Report {
            epoch,
            end: None,
            damage: Damage { room: Some(room.clone()), offset: None, place, reason },
        });
    }

    /// Reads all that the log still has of a room whose snapshot is lost, covered or not, of the life `epoch` or else of
    /// the latest one that has not ended.
    pub(super) fn salvage(&self, room: &RoomKey, epoch: Option<u64>) -> Result<(Option<u64>, Changes), StoreError> {
        let failed = |error| fault(&format!("search the log for room {room}"), error);
        let mut lives: Vec<(u64, BTreeMap<u64, Change>)> = Vec::new();
        let mut ended = HashSet::new();
        let mut names: Vec<_> = self
            .disk
            .list(LOG_FOLDER)
            .map_err(failed)?
            .iter()
            .filter_map(|name| segment::parse_file_name(name))
            .collect();
        names.sort_unstable();
        for (number, doubted) in names {
            let file = self.disk.open(&segment::file_name(number, doubted), false).map_err(failed)?;
            let scanned = scan::scan(&*file, number, Some(room), &mut |found| {
                let Found::Record { head, body, .. } = found else { return };
                if head.room != *room {
                    return;
                }
                if head.kind == Kind::Deleted {
                    ended.insert(head.epoch);
                    return;
                }
                let index = lives.iter().position(|(epoch, _)| *epoch == head.epoch).unwrap_or_else(|| {
                    lives.push((head.epoch, BTreeMap::new()));
                    lives.len() - 1
                });
                lives[index]
                    .1
                    .extend((head.offset..).zip(format::decode_changes(&body, head.count).unwrap_or_default()));
            });
            scanned.map_err(|error| error.into_store_error(number))?;
        }
        lives.retain(|(known, _)| epoch.map_or(!ended.contains(known), |wanted| *known == wanted));
        Ok(match lives.pop() {
            Some((found, changes)) => (Some(found), changes.into_iter().collect()),
            None => (epoch, Vec::new()),
        })
    }
}

impl State {
    /// The records of a room from `offset` on, with their files.
    pub(super) fn sources(&self, room: &RoomKey, offset: u64) -> Vec<Source> {
        let records = self.rooms.get(room).map(|entry| entry.records.from(offset)).unwrap_or_default();
        records.iter().map(|record| (*record, self.log.file(record.segment))).collect()
    }
}

/// A record's head and body. None: they are not what was written.
pub(super) fn read_record(file: &dyn DiskFile, record: &RecordAt) -> io::Result<Option<(Head, Bytes)>> {
    let mut bytes = vec![0; record.bytes as usize];
    let read = read_full(file, u64::from(record.at), &mut bytes)?;
    let bytes = Bytes::from(bytes);
    if let Parsed::Head(head) = format::parse_head(&bytes[..read], u64::from(record.segment), u64::from(record.at)) {
        let body = bytes.slice(head.bytes().min(read)..read);
        if head.fits(&body) && head.body_crc == record.body_crc {
            return Ok(Some((head, body)));
        }
    }
    Ok(None)
}
