//! What was found damaged: remembered for people, and set aside in the `damaged` folder.
//!
//! Called by the start, by readers that meet a bad checksum, and by the snapshots. Setting aside is done as well as the disk
//! allows; a full disk never keeps the store from opening. Repairs nothing.

use crate::Damage;
use crate::disk::{Disk, DiskFile, read_full, write_all};
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The folder for what was set aside.
pub(super) const DAMAGED_FOLDER: &str = "damaged";
/// Reports kept. A disk that fails everywhere shall not fill the memory too.
const REPORTS_MAX: usize = 1_000;
const COPY_BYTES: usize = 64 * 1024;

/// All damage that was met so far.
#[derive(Debug)]
pub(super) struct DamageReports {
    disk: Arc<dyn Disk>,
    met: Mutex<Met>,
}

#[derive(Debug, Default)]
struct Met {
    places: HashSet<String>,
    reports: Vec<Report>,
}

/// A report with what of the room it speaks of.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// The life of the room, if known.
    pub(super) epoch: Option<u64>,
    /// Offset behind the last change that is missing, if known.
    pub(super) end: Option<u64>,
    pub(super) damage: Damage,
}

impl DamageReports {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, met: Mutex::default() }
    }

    /// Everything reported, oldest first.
    pub(super) fn all(&self) -> Vec<Damage> {
        self.met().reports.iter().map(|report| report.damage.clone()).collect()
    }

    /// What concerns the content of this life of a room from `offset` on.
    pub(super) fn of_room(&self, room: &str, epoch: u64, offset: u64) -> Vec<Damage> {
        let concerns = |report: &&Report| {
            report.damage.room.as_deref() == Some(room)
                && report.epoch.is_none_or(|known| known == epoch)
                && report.end.is_none_or(|end| end > offset)
        };
        self.met().reports.iter().filter(concerns).map(|report| report.damage.clone()).collect()
    }

    /// Whether damage at this offset of this life of a room is reported.
    pub(super) fn knows(&self, room: &str, epoch: u64, offset: u64) -> bool {
        self.of_room(room, epoch, offset).iter().any(|damage| damage.offset == Some(offset))
    }

    /// Reports damage unless its place is known already.
    pub(super) fn report(&self, report: Report) {
        let mut met = self.met();
        if met.reports.len() < REPORTS_MAX && met.places.insert(report.damage.place.clone()) {
            met.reports.push(report);
        }
    }

    /// Copies a piece of a segment to the folder, once, and names the place. What cannot be read is left out.
    pub(super) fn set_aside_piece(&self, file: &dyn DiskFile, segment: u64, at: u64, bytes: u64) -> String {
        let name = format!("{segment:010}-{at:010}.record");
        let result = self
            .disk
            .open(&format!("{DAMAGED_FOLDER}/{name}"), true)
            .and_then(|copy| if copy.size()? == bytes { Ok(()) } else { copy_piece(file, at, bytes, &*copy) });
        // The original stays where it is unless it was a torn tail, which nobody was told is saved.
        let _best_effort = result.and_then(|()| self.disk.sync_folder(DAMAGED_FOLDER));
        format!("segment {segment}, byte {at} (see {DAMAGED_FOLDER}/{name})")
    }

    /// Writes bytes to the folder, once.
    pub(super) fn set_aside(&self, bytes: &[u8], name: &str) {
        let result = self.disk.open(&format!("{DAMAGED_FOLDER}/{name}"), true).and_then(|copy| {
            if copy.size()? == bytes.len() as u64 {
                return Ok(());
            }
            write_all(&*copy, 0, bytes)?;
            copy.sync_data()
        });
        let _best_effort = result.and_then(|()| self.disk.sync_folder(DAMAGED_FOLDER));
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn copy_piece(file: &dyn DiskFile, at: u64, bytes: u64, copy: &dyn DiskFile) -> io::Result<()> {
    let mut piece = vec![0; COPY_BYTES.min(bytes as usize)];
    let mut done = 0;
    while done < bytes {
        let wanted = (bytes - done).min(COPY_BYTES as u64) as usize;
        let read = read_full(file, at + done, &mut piece[..wanted]).unwrap_or(0);
        write_all(copy, done, &piece[..read])?;
        done += wanted as u64;
    }
    copy.sync_data()
}
