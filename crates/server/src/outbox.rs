//! What one socket has still to send: positions in its rooms' rings, a few private frames, and what a write left unfinished.
//!
//! The room's task flushes it right after publishing, the socket's task when the kernel takes bytes again; nobody else writes to the stream. Never waits:
//! a stream that takes no more is marked as stalled. Holds no copies of what the ring has. Encodes nothing.

use crate::ring::{Frames, Ring};
use bytes::{Buf, Bytes};
use room::MemberId;
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Slices of one vectored write: the kernel takes up to 1,024, and more than a few dozen no longer pay.
const SLICES_MAX: usize = 64;

/// The sending side of one socket.
#[derive(Debug)]
pub(crate) struct Outbox {
    stream: TcpStream,
    state: Mutex<State>,
    /// The stream took less than there was: wait until it is writable.
    stalled: AtomicBool,
    /// Something that the socket's task has to see: stalled, lost, ended, or drained again.
    pub(crate) attention: Notify,
    /// Bytes that the kernel took so far.
    taken_bytes: AtomicU64,
    /// Messages that it took whole. Pings do not count: pages do not see them.
    said: AtomicU64,
    private_bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The rest of a frame that was written in part: nothing may come before it.
    unfinished: Option<Bytes>,
    /// Frames of the socket itself. Few: the latest pong, a ping, a keep-alive.
    control: VecDeque<Bytes>,
    place: Option<Place>,
    private_bytes: usize,
    /// The last frames. Once set, the ring is not drained any more.
    ending: Option<VecDeque<Bytes>>,
    failed: bool,
    /// The socket's task stopped reading because of `private_bytes_max`.
    paused: bool,
}

/// Where a member stands.
#[derive(Debug)]
struct Place {
    ring: Arc<Ring>,
    member: MemberId,
    next: u64,
    /// The ring dropped what comes next, and the room has been asked for all of it.
    lost: bool,
    /// Frames for this member alone, each with the ring position before which it leaves.
    private: VecDeque<(u64, Bytes)>,
}

/// What the socket's task finds when it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Wait for writability, then flush.
    pub(crate) stalled: bool,
    /// Too much is unsent: do not read.
    pub(crate) paused: bool,
    /// The place was lost, and the room has to be told (said once).
    pub(crate) lost: bool,
    /// All has been said: close.
    pub(crate) finished: bool,
    /// A last frame is on its way: read no more messages.
    pub(crate) ending: bool,
}

impl Outbox {
    pub(crate) fn new(stream: TcpStream, private_bytes_max: usize) -> Self {
        Self {
            stream,
            state: Mutex::default(),
            stalled: AtomicBool::new(false),
            attention: Notify::new(),
            taken_bytes: AtomicU64::new(0),
            said: AtomicU64::new(0),
            private_bytes_max,
        }
    }

    /// The stream, for reading and for waiting on it.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Bytes that the kernel took so far: who takes none is too slow.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    /// Messages that the kernel took whole so far, pings and pongs not counted.
    pub(crate) fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Puts the member at the end of a ring: what comes from here on it will get.
    pub(crate) fn place(&self, member: MemberId, ring: &Arc<Ring>) {
        let mut state = self.lock();
        let next = ring.read().end();
        match &mut state.place {
            Some(place) => (place.next, place.lost) = (next, false),
            none => *none = Some(Place { ring: ring.clone(), member, next, lost: false, private: VecDeque::new() }),
        }
    }

    /// Adds a frame for this member alone, behind what the ring has by now.
    pub(crate) fn private(&self, frame: Bytes) {
        let mut state = self.lock();
        let State { place: Some(place), private_bytes, ending: None, .. } = &mut *state else { return };
        *private_bytes += frame.len();
        let before = place.ring.read().end();
        place.private.push_back((before, frame));
        if state.private_bytes > self.private_bytes_max {
            state.paused = true;
            self.attention.notify_one();
        }
    }

    /// Adds a frame of the socket itself. `replaces`: one of the same opcode that is still waiting goes.
    pub(crate) fn control(&self, frame: Bytes) {
        let mut state = self.lock();
        if state.ending.is_none() {
            state.control.retain(|waiting| waiting.first() != frame.first());
            state.control.push_back(frame);
        }
    }

    /// Says the last frames, behind what is private, and nothing more.
    pub(crate) fn end(&self, frames: impl IntoIterator<Item = Bytes>) {
        let mut state = self.lock();
        if state.ending.is_none() {
            state.ending = Some(frames.into_iter().collect());
        }
        self.attention.notify_one();
    }

    /// Writes what the stream takes.
    pub(crate) fn flush(&self) {
        self.drain(&mut self.lock());
    }

    /// The same, unless the stream is known to take nothing. Returns the position in the ring that this socket still needs; `u64::MAX`: none.
    pub(crate) fn flush_unless_stalled(&self) -> u64 {
        let mut state = self.lock();
        if !self.is_stalled() {
            self.drain(&mut state);
        }
        state.needs()
    }

    fn drain(&self, state: &mut State) {
        let mut stalled = false;
        while !state.failed {
            match self.write(state) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    stalled = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => state.failed = true,
            }
        }
        let was_paused = state.paused;
        state.paused = state.private_bytes > self.private_bytes_max;
        if stalled != self.stalled.swap(stalled, Ordering::AcqRel)
            || was_paused != state.paused
            || state.wants_attention()
        {
            self.attention.notify_one();
        }
    }

    /// How things stand; a lost place is reported once.
    pub(crate) fn condition(&self) -> Condition {
        let mut state = self.lock();
        let lost = state.notice_loss();
        Condition {
            stalled: self.is_stalled(),
            paused: state.paused,
            lost,
            finished: state.failed
                || state.ending.as_ref().is_some_and(VecDeque::is_empty) && state.unfinished.is_none(),
            ending: state.ending.is_some(),
        }
    }

    /// One write: as many frames as fit. 0: there is nothing to write.
    fn write(&self, state: &mut State) -> std::io::Result<usize> {
        let ring = state.place.as_ref().filter(|_| state.ending.is_none()).map(|place| place.ring.clone());
        let frames = ring.as_ref().map(|ring| ring.read());
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = state.pending(frames.as_deref(), &mut slices);
        if count == 0 {
            if let (Some(place), Some(frames)) = (&mut state.place, &frames) {
                place.pass_own(frames);
            }
            return Ok(0);
        }
        let written = self.stream.try_write_vectored(&slices[..count])?;
        let said = state.wrote(frames.as_deref(), written);
        self.said.fetch_add(said, Ordering::Relaxed);
        self.taken_bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next slices in the order in which they leave.
    fn pending<'a>(&'a self, frames: Option<&'a Frames>, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let front = self.unfinished.iter().chain(&self.control);
        let middle = self.place.iter().flat_map(|place| place.pending(frames));
        let last = self.ending.iter().flatten();
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(front.chain(middle).chain(last)) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// Takes off what was written, in the same order. Returns how many messages were written to their ends.
    fn wrote(&mut self, frames: Option<&Frames>, mut written: usize) -> u64 {
        let mut said = 0;
        while written > 0 {
            let Some(mut frame) = self.next(frames) else { break };
            if written < frame.len() {
                frame.advance(written);
                self.unfinished = Some(frame);
                break;
            }
            written -= frame.len();
            said += u64::from(!is_ping_or_pong(&frame));
        }
        said
    }

    fn next(&mut self, frames: Option<&Frames>) -> Option<Bytes> {
        if let Some(frame) = self.unfinished.take().or_else(|| self.control.pop_front()) {
            return Some(frame);
        }
        if let Some((frame, private)) = self.place.as_mut().and_then(|place| place.take_next(frames)) {
            self.private_bytes -= if private { frame.len() } else { 0 };
            return Some(frame);
        }
        self.ending.as_mut()?.pop_front()
    }

    fn needs(&self) -> u64 {
        match &self.place {
            Some(place) if self.ending.is_none() && !self.failed && !place.lost => place.next,
            _ => u64::MAX,
        }
    }

    fn notice_loss(&mut self) -> bool {
        let lost = self.has_lost_its_place();
        if let (true, Some(place)) = (lost, &mut self.place) {
            place.lost = true;
        }
        lost
    }

    /// Only once everything else has been taken: a second catch-up behind one that is still waiting would pile up.
    fn has_lost_its_place(&self) -> bool {
        let Some(place) = &self.place else { return false };
        let drained = self.unfinished.is_none() && place.private.is_empty();
        drained && !place.lost && place.ring.read().is_lost(place.next)
    }

    fn wants_attention(&self) -> bool {
        self.has_lost_its_place() || self.failed || self.ending.is_some()
    }
}

/// By the frame's first byte. The rest of a frame that was cut counts as a message, which it is but for a ping that did not fit.
fn is_ping_or_pong(frame: &[u8]) -> bool {
    matches!(frame.first(), Some(0x89 | 0x8a))
}

impl Place {
    /// Private frames and frames of the ring, interleaved by position. Without `frames`, the private ones only.
    fn pending<'a>(&'a self, frames: Option<&'a Frames>) -> impl Iterator<Item = &'a Bytes> {
        let (mut private, mut position) = (self.private.iter().peekable(), self.next);
        let frames = frames.filter(|frames| !self.lost && !frames.is_lost(self.next));
        std::iter::from_fn(move || {
            loop {
                if let Some((_, frame)) = private.next_if(|(before, _)| frames.is_none() || *before <= position) {
                    return Some(frame);
                }
                let entry = frames?.get(position)?;
                position += 1;
                if entry.except != Some(self.member) {
                    return Some(&entry.frame);
                }
            }
        })
    }

    /// Goes past frames that are not for this member, so that the ring need not keep them.
    fn pass_own(&mut self, frames: &Frames) {
        while !self.lost && frames.get(self.next).is_some_and(|entry| entry.except == Some(self.member)) {
            self.next += 1;
        }
    }

    /// Takes the first of `pending`; true when it is a private one.
    fn take_next(&mut self, frames: Option<&Frames>) -> Option<(Bytes, bool)> {
        let frames = frames.filter(|frames| !self.lost && !frames.is_lost(self.next));
        loop {
            if self.private.front().is_some_and(|(before, _)| frames.is_none() || *before <= self.next) {
                return self.private.pop_front().map(|(_, frame)| (frame, true));
            }
            let entry = frames?.get(self.next)?;
            self.next += 1;
            if entry.except != Some(self.member) {
                return Some((entry.frame.clone(), false));
            }
        }
    }
}
