//! Group commit: the one thread that syncs the log, and the waiting for it.
//!
//! The thread takes what was written since the last sync, syncs it outside every lock, and moves the durable
//! cells of the rooms concerned. After a failed sync it tells all rooms that have something not synced, and doubts the
//! segments. Measures time only to group syncs; nobody sees that clock. Never writes records.

use super::index::Entry;
use super::log::Unsynced;
use super::segment::{self, LOG_FOLDER};
use super::{Shared, State, fault};
use crate::disk::Disk;
use crate::{Durability, Durable, RoomKey, StoreError};
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Places for rooms that are kept from one sync to the next: what a busy server touches in 5 ms, 16 KiB.
const TOUCHED_KEPT: usize = 1_024;

/// Where syncing stands.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    /// Rooms with something that the next sync covers.
    touched: Vec<Touched>,
    /// Number of writes so far, and up to which of them syncs have ended, well or not.
    written: u64,
    ended: u64,
    /// Of which write what it left when it failed has been cut off: until a sync has ended that covers it, a power cut may
    /// bring it back.
    taken_back: u64,
    failures: u64,
    last_error: Option<(io::ErrorKind, String)>,
    /// The thread waits for a first write. When it waits for its time, or is at a sync, it looks again by itself, and
    /// waking it would only cost.
    asleep: bool,
    /// How many wait for a sync to end.
    waiting: u64,
    /// Someone waits: do not wait for the group.
    hurry: bool,
    closing: bool,
}

/// A room with something to sync.
#[derive(Debug)]
struct Touched {
    cell: Arc<Durable>,
    head: u64,
}

/// What one sync covers.
#[derive(Default)]
struct Batch {
    rooms: Vec<Touched>,
    unsynced: Unsynced,
    written: u64,
}

/// What a waiter waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    written: u64,
    failures: u64,
}

impl Syncs {
    /// Notes that something was written which a sync has to cover.
    pub(super) fn note_written(&mut self) {
        self.written += 1;
    }

    /// Notes that changes of this room up to its head were written.
    pub(super) fn note_written_of(&mut self, entry: &mut Entry) {
        self.written += 1;
        match self.touched.get_mut(entry.touched_at as usize).filter(|known| Arc::ptr_eq(&known.cell, &entry.durable)) {
            Some(known) => known.head = entry.head,
            None => {
                entry.touched_at = self.touched.len() as u32;
                self.touched.push(Touched { cell: entry.durable.clone(), head: entry.head });
            }
        }
    }

    /// Notes that a write failed, and that what it left has been cut off or given up.
    pub(super) fn note_taken_back(&mut self) {
        self.written += 1;
        self.taken_back = self.written;
    }

    /// Whether the sync thread has to be woken for what was noted. Only the first caller is told so.
    pub(super) fn wants_waking(&mut self) -> bool {
        std::mem::take(&mut self.asleep)
    }
}

impl State {
    /// Everything written so far.
    pub(super) fn all_written(&self) -> Awaited {
        Awaited { written: self.syncs.written, failures: self.syncs.failures }
    }

    /// Hands over what the next sync covers. `spare` is the list of a batch before, used again.
    fn take_batch(&mut self, spare: Vec<Touched>) -> Batch {
        self.syncs.hurry = false;
        let rooms = std::mem::replace(&mut self.syncs.touched, spare);
        Batch { rooms, unsynced: self.log.take_unsynced(), written: self.syncs.written }
    }

    /// The cells of all rooms that have something not synced.
    fn sync_failed(&mut self, failed: &Unsynced, error: &io::Error) -> Vec<Arc<Durable>> {
        // What was written since is in the segments that are doubted now.
        let later = self.take_batch(Vec::new());
        self.log.doubt(failed);
        self.syncs.ended = later.written;
        self.syncs.failures += 1;
        self.syncs.last_error = Some((error.kind(), error.to_string()));
        let mut cells = Vec::new();
        for entry in self.rooms.entries_mut() {
            let synced = entry.durable.synced();
            if entry.lost_from.is_none() && synced < entry.head {
                entry.lost_from = Some(synced);
                cells.push(entry.durable.clone());
            }
        }
        cells
    }
}

impl Shared {
    /// The sync thread. Ends after `close`, with everything synced.
    pub(super) fn run_syncs(&self) {
        let mut last_began = None;
        let mut before = Batch::default();
        while let Some(batch) = self.next_batch(before, last_began) {
            last_began = Some(Instant::now());
            match sync(&*self.disk, &batch.unsynced) {
                // Before the waiters go on, and outside the lock: a waker may take its time.
                Ok(()) => batch.rooms.iter().for_each(|room| room.cell.advance_synced(room.head)),
                Err(error) => {
                    // Before anything else, and without the lock: this is what the next process has to know.
                    self.mark_doubted(&batch.unsynced);
                    self.fail(&batch.unsynced, &error);
                }
            }
            before = batch;
        }
    }

    /// Ends the sync `before`, and waits until there is something to sync and its time has come. None: the store closes.
    fn next_batch(&self, mut before: Batch, last_began: Option<Instant>) -> Option<Batch> {
        let group = Duration::from_millis(match self.options.durability {
            Durability::Synced { group_ms } => group_ms,
            Durability::Written { sync_ms } => sync_ms,
        });
        // Gives up the cells before the lock: the last one to hold a cell frees it.
        before.rooms.clear();
        let mut spare = before.rooms;
        spare.shrink_to(TOUCHED_KEPT);
        let mut state = self.state();
        // A failed sync has ended what was written after it too.
        state.syncs.ended = state.syncs.ended.max(before.written);
        if state.syncs.waiting > 0 {
            self.done.notify_all();
        }
        loop {
            let ready = state.syncs.ended < state.syncs.written;
            if !ready && state.syncs.closing {
                return None;
            }
            let wait = last_began.map_or(Duration::ZERO, |began: Instant| group.saturating_sub(began.elapsed()));
            if ready && (wait.is_zero() || state.syncs.hurry || state.syncs.closing) {
                return Some(state.take_batch(spare));
            }
            state = if ready {
                self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            } else {
                state.syncs.asleep = true;
                self.work.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
            state.syncs.asleep = false;
        }
    }

    fn fail(&self, failed: &Unsynced, error: &io::Error) {
        let cells = self.state().sync_failed(failed, error);
        for cell in cells {
            cell.fail();
        }
    }

    fn mark_doubted(&self, failed: &Unsynced) {
        for (number, _) in &failed.files {
            // Where this fails, or if the segment is marked already, `Log::doubt` sorts it out.
            let _best_effort =
                self.disk.rename(&segment::file_name(*number, false), &segment::file_name(*number, true));
        }
    }

    /// Waits for the end of the sync that covers what is awaited. Fails if a sync failed meanwhile.
    pub(super) fn wait_synced(&self, mut state: MutexGuard<'_, State>, awaited: Awaited) -> Result<(), StoreError> {
        while state.syncs.ended < awaited.written && state.syncs.failures == awaited.failures {
            state.syncs.hurry = true;
            state.syncs.waiting += 1;
            self.work.notify_one();
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.syncs.waiting -= 1;
        }
        if state.syncs.failures == awaited.failures {
            return Ok(());
        }
        let (kind, text) = state.syncs.last_error.clone().unwrap_or((io::ErrorKind::Other, "unknown".to_owned()));
        Err(fault("sync the log", io::Error::new(kind, text)))
    }

    /// Waits until nothing of a failed write can come back. A snapshot that covers a part of such a record would
    /// leave the rest of it readable after a power cut.
    pub(super) fn wait_taken_back(&self) -> Result<(), StoreError> {
        let state = self.state();
        let awaited = Awaited { written: state.syncs.taken_back, failures: state.syncs.failures };
        self.wait_synced(state, awaited)
    }

    /// Writes again what failed syncs left in doubt, and waits until all is on stable storage.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        // Not a room that is being deleted: its changes would then outlast the segment that tells of its end.
        let lost = |entry: &Entry| entry.lost_from.is_some() && !entry.dying;
        let lost: Vec<RoomKey> =
            state.rooms.iter().filter(|(_, entry)| lost(entry)).map(|(room, _)| room.clone()).collect();
        for room in lost {
            self.write_again(&mut state, &room)?;
        }
        let awaited = state.all_written();
        self.wait_synced(state, awaited)
    }

    /// Lets the sync thread end when everything is synced.
    pub(super) fn close(&self) {
        self.state().syncs.closing = true;
        self.work.notify_one();
    }
}

fn sync(disk: &dyn Disk, unsynced: &Unsynced) -> io::Result<()> {
    if unsynced.folder {
        disk.sync_folder(LOG_FOLDER)?;
    }
    unsynced.files.iter().try_for_each(|(_, file)| file.sync_data())
}
