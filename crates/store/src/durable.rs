//! The last-value cell through which a room learns how far its changes are on stable storage.
//! Written by the store's sync thread, polled by the room's task. Never blocks, holds no queue.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// Up to where one room is on stable storage, and how often storage failed it.
#[derive(Debug, Default)]
pub struct Durable {
    offset: AtomicU64,
    /// What syncs have covered. In mode `interval` the offset that is told runs ahead of it.
    synced: AtomicU64,
    failures: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Durable {
    /// A cell for a room whose changes before `offset` are durable.
    pub fn new(offset: u64) -> Self {
        Self { offset: AtomicU64::new(offset), synced: AtomicU64::new(offset), ..Self::default() }
    }

    /// Every change before this offset is on stable storage.
    pub fn offset(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    /// How many writes or syncs that concern this room have failed since it was opened. A room that sees
    /// this grow stops acknowledging, tells its members, and opens the room again.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Asks to be woken once at the next change of either value. The latest caller wins. Register first, read after.
    pub fn wake(&self, waker: &Waker) {
        let mut slot = self.lock();
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Store side: everything before `offset` is durable. Never moves backwards.
    pub fn advance(&self, offset: u64) {
        if self.offset.fetch_max(offset, Ordering::AcqRel) < offset {
            self.notify();
        }
    }

    /// Up to where syncs have covered the room's changes.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Notes that everything before `offset` is synced, and tells nobody: may be called under a lock.
    pub(crate) fn note_synced(&self, offset: u64) {
        self.synced.fetch_max(offset, Ordering::AcqRel);
    }

    /// Everything before `offset` is synced, and so it is durable in every mode.
    pub(crate) fn advance_synced(&self, offset: u64) {
        self.note_synced(offset);
        self.advance(offset);
    }

    /// Store side: a write or sync that concerns this room failed.
    pub fn fail(&self) {
        self.failures.fetch_add(1, Ordering::AcqRel);
        self.notify();
    }

    fn notify(&self) {
        let waker = self.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
