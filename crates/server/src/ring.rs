//! What a room has told its members of one dialect: encoded frames, the same bytes for all, each with a position.
//!
//! Written by the room's task only; read by every member's outbox, which remembers the position it has reached. Bounded: the oldest frames
//! go, and a member that had not taken them has lost its place. Knows no sockets.

use bytes::Bytes;
use room::MemberId;
use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The frames of one room and dialect that somebody may still have to send.
#[derive(Debug)]
pub(crate) struct Ring {
    frames: RwLock<Frames>,
    bytes_max: usize,
}

/// The frames, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    first: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Entry {
    /// Its author, who is told otherwise.
    pub(crate) except: Option<MemberId>,
    pub(crate) frame: Bytes,
}

impl Ring {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { frames: RwLock::default(), bytes_max }
    }

    /// Adds a frame. One larger than the bound stays alone until it is taken or followed.
    pub(crate) fn push(&self, except: Option<MemberId>, frame: Bytes) {
        let mut frames = self.write();
        frames.bytes += frame.len();
        frames.entries.push_back(Entry { except, frame });
        while frames.bytes > self.bytes_max && frames.entries.len() > 1 {
            frames.drop_oldest();
        }
    }

    /// Drops what every member has taken: `position` is the lowest of theirs.
    pub(crate) fn trim(&self, position: u64) {
        let mut frames = self.write();
        while frames.first < position && !frames.entries.is_empty() {
            frames.drop_oldest();
        }
        if frames.entries.is_empty() {
            frames.entries.shrink_to(16);
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Frames> {
        self.frames.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Frames> {
        self.frames.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frames {
    /// Position of the next frame.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// True when the frame at this position is gone.
    pub(crate) fn is_lost(&self, position: u64) -> bool {
        position < self.first
    }

    /// The frame at a position that is not lost.
    pub(crate) fn get(&self, position: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.frame.len();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_frames_go_and_positions_stay() {
        let ring = Ring::new(10);
        for byte in 0..5u8 {
            ring.push(None, Bytes::from(vec![byte; 4]));
        }
        let frames = ring.read();
        assert_eq!((frames.end(), frames.is_lost(2), frames.is_lost(3)), (5, true, false));
        assert_eq!(frames.get(4).map(|entry| entry.frame[0]), Some(4));
        assert!(frames.get(5).is_none());
    }

    #[test]
    fn a_frame_above_the_bound_is_kept_alone() {
        let ring = Ring::new(10);
        ring.push(None, Bytes::from(vec![1; 3]));
        ring.push(None, Bytes::from(vec![2; 50]));
        assert_eq!(ring.read().get(1).map(|entry| entry.frame.len()), Some(50));
        assert!(ring.read().is_lost(0));
        ring.trim(2);
        assert_eq!(ring.read().end(), 2);
        assert!(ring.read().get(1).is_none());
    }
}
