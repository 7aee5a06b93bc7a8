//! Group commit: the one thread that syncs the log, and the waiting for it.
//!
//! The thread takes what was written since the last sync, syncs it outside every lock, and moves the durable
//! cells of the rooms concerned. After a failed sync it tells all rooms that have something not synced, and doubts the
//! segments. Measures time only to group syncs; nobody sees that clock. Never writes records.

use super::log::Unsynced;
use super::segment::{self, LOG_FOLDER};
use super::{Shared, State, fault};
use crate::disk::Disk;
use crate::{Durability, Durable, RoomKey, StoreError};
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where syncing stands.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    /// Rooms with something that the next sync covers.
    touched: Vec<RoomKey>,
    /// Number of writes so far, and up to which of them syncs have ended, well or not.
    written: u64,
    ended: u64,
    failures: u64,
    last_error: Option<(io::ErrorKind, String)>,
    /// Someone waits: do not wait for the group.
    hurry: bool,
    closing: bool,
}

/// What one sync covers.
struct Batch {
    rooms: Vec<Touched>,
    unsynced: Unsynced,
    written: u64,
}

struct Touched {
    room: RoomKey,
    epoch: u64,
    head: u64,
}

/// What a waiter waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    written: u64,
    failures: u64,
}

impl State {
    /// Notes that something was written which a sync has to cover, for a room if it is one's.
    pub(super) fn note_written(&mut self, room: Option<&RoomKey>) {
        self.syncs.written += 1;
        let Some(room) = room else { return };
        if let Some(entry) = self.rooms.get_mut(room)
            && !std::mem::replace(&mut entry.touched, true)
        {
            self.syncs.touched.push(room.clone());
        }
    }

    /// Everything written so far.
    pub(super) fn all_written(&self) -> Awaited {
        Awaited { written: self.syncs.written, failures: self.syncs.failures }
    }

    fn take_batch(&mut self) -> Batch {
        let mut rooms = Vec::with_capacity(self.syncs.touched.len());
        for room in self.syncs.touched.drain(..) {
            if let Some(entry) = self.rooms.get_mut(&room) {
                entry.touched = false;
                rooms.push(Touched { epoch: entry.epoch, head: entry.head, room });
            }
        }
        self.syncs.hurry = false;
        Batch { rooms, unsynced: self.log.take_unsynced(), written: self.syncs.written }
    }

    /// The cells to move, each with the offset it moves to.
    fn sync_succeeded(&mut self, batch: &Batch) -> Vec<(Arc<Durable>, u64)> {
        let mut cells = Vec::with_capacity(batch.rooms.len());
        for touched in &batch.rooms {
            let entry = self.rooms.get_mut(&touched.room).filter(|entry| entry.epoch == touched.epoch);
            if let Some(entry) = entry.filter(|entry| entry.lost_from.is_none()) {
                entry.synced = entry.synced.max(touched.head);
                cells.push((entry.durable.clone(), entry.synced));
            }
        }
        cells
    }

    /// The cells of all rooms that have something not synced.
    fn sync_failed(&mut self, batch: &Batch, error: &io::Error) -> Vec<Arc<Durable>> {
        let later = self.take_batch();
        self.log.doubt(&batch.unsynced);
        self.syncs.ended = later.written;
        self.syncs.failures += 1;
        self.syncs.last_error = Some((error.kind(), error.to_string()));
        let mut cells = Vec::new();
        for touched in batch.rooms.iter().chain(&later.rooms) {
            let entry = self.rooms.get_mut(&touched.room).filter(|entry| entry.epoch == touched.epoch);
            if let Some(entry) = entry.filter(|entry| entry.lost_from.is_none() && entry.synced < entry.head) {
                entry.lost_from = Some(entry.synced);
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
        while let Some(batch) = self.next_batch(last_began) {
            last_began = Some(Instant::now());
            match sync(&*self.disk, &batch.unsynced) {
                Ok(()) => self.succeed(&batch),
                Err(error) => {
                    // Before anything else, and without the lock: this is what the next process has to know.
                    self.mark_doubted(&batch.unsynced);
                    self.fail(&batch, &error);
                }
            }
            self.done.notify_all();
        }
    }

    /// Waits until there is something to sync and its time has come. None: the store closes.
    fn next_batch(&self, last_began: Option<Instant>) -> Option<Batch> {
        let group = Duration::from_millis(match self.options.durability {
            Durability::Synced { group_ms } => group_ms,
            Durability::Written { sync_ms } => sync_ms,
        });
        let mut state = self.state();
        loop {
            let ready = state.syncs.ended < state.syncs.written;
            if !ready && state.syncs.closing {
                return None;
            }
            let wait = last_began.map_or(Duration::ZERO, |began: Instant| group.saturating_sub(began.elapsed()));
            if ready && (wait.is_zero() || state.syncs.hurry || state.syncs.closing) {
                return Some(state.take_batch());
            }
            state = if ready {
                self.work.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.work.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// Cells are moved before the waiters go on, and outside the lock: a waker may take its time.
    fn succeed(&self, batch: &Batch) {
        let cells = self.state().sync_succeeded(batch);
        for (cell, offset) in cells {
            cell.advance(offset);
        }
        self.state().syncs.ended = batch.written;
    }

    fn fail(&self, batch: &Batch, error: &io::Error) {
        let cells = self.state().sync_failed(batch, error);
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
            self.work.notify_one();
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.syncs.failures == awaited.failures {
            return Ok(());
        }
        let (kind, text) = state.syncs.last_error.clone().unwrap_or((io::ErrorKind::Other, "unknown".to_owned()));
        Err(fault("sync the log", io::Error::new(kind, text)))
    }

    /// Writes again what failed syncs left in doubt, and waits until all is on stable storage.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        let lost: Vec<RoomKey> =
            state.rooms.iter().filter(|(_, entry)| entry.lost_from.is_some()).map(|(room, _)| room.clone()).collect();
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
