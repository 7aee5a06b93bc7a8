//! A connection to a room without a socket of its own: one document of several on one socket, or a request that needs the room for a moment.
//!
//! The room's worker holds the near end as a stream like any other and notices no difference: what it writes are WebSocket frames, and when the
//! channel is full it waits. The far end belongs to a task. Both directions are bounded; nobody waits while holding the lock.

use crate::outbox::Sink;
use crate::worker::{Inbox, Message};
use dialect::Frame;
use room::MemberId;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Frames on their way to the task: about what one write to a socket takes.
const OUTBOUND_BYTES_MAX: usize = 64 << 10;
/// Messages on their way to the room. Beyond it the far end is to stop reading; one more is still taken.
const INBOUND_BYTES_MAX: usize = 256 << 10;
const INBOUND_MESSAGES_MAX: usize = 1_024;

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Near(Arc<Channel>);

/// The task's end.
#[derive(Debug)]
pub(crate) struct Far(Arc<Channel>);

#[derive(Debug)]
struct Channel {
    state: Mutex<State>,
    /// Rings when there is something for the far end; one may serve several channels.
    news: Arc<Notify>,
}

#[derive(Default)]
struct State {
    inbound: VecDeque<Frame>,
    inbound_bytes: usize,
    outbound: Vec<u8>,
    /// Where to ring when there is something for the worker.
    bell: Option<(Arc<Inbox>, MemberId)>,
    has_rung: bool,
    /// The worker has more to write.
    is_full: bool,
    /// The far end waits until more may be sent.
    was_full: bool,
    /// The far end is gone.
    is_left: bool,
    ended: Option<Ended>,
    /// The worker has said all.
    is_over: bool,
}

/// How the worker has ended a channel. What it has said before is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Only this document ends.
    Document,
    /// The connection ends, with a close code and a reason.
    Connection(u16, String),
    /// It was not let in: an HTTP status, why, and after how many seconds it is worth coming back.
    Refused(u16, String, u32),
}

/// Both ends of a new channel.
pub(crate) fn channel(news: Arc<Notify>) -> (Near, Far) {
    let channel = Arc::new(Channel { state: Mutex::default(), news });
    (Near(channel.clone()), Far(channel))
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_space(&self) -> bool {
        self.inbound_bytes < INBOUND_BYTES_MAX && self.inbound.len() < INBOUND_MESSAGES_MAX
    }

    fn ring(&mut self) {
        if let Some((inbox, member)) = self.bell.as_ref().filter(|_| !self.has_rung) {
            inbox.send(Message::Rung(*member));
            self.has_rung = true;
        }
    }
}

impl Far {
    /// Gives the room a message. False: the channel is full now, and nothing more should come before `may_send`.
    pub(crate) fn send(&self, frame: Frame) -> bool {
        let mut state = self.0.lock();
        state.inbound_bytes += frame.payload().len();
        state.inbound.push_back(frame);
        state.ring();
        state.was_full = !state.has_space();
        !state.was_full
    }

    pub(crate) fn may_send(&self) -> bool {
        let mut state = self.0.lock();
        state.was_full = !state.has_space();
        !state.was_full
    }

    /// What the worker has not taken, and never will when it has ended.
    pub(crate) fn unread(&self) -> Vec<Frame> {
        let mut state = self.0.lock();
        state.inbound_bytes = 0;
        state.inbound.drain(..).collect()
    }

    /// Moves what the worker has written to `out`: WebSocket frames, the last of them perhaps in part. Returns how it has ended, when nothing more comes.
    pub(crate) fn take(&self, out: &mut Vec<u8>) -> Option<Ended> {
        let mut state = self.0.lock();
        if out.is_empty() {
            std::mem::swap(out, &mut state.outbound);
        } else {
            out.append(&mut state.outbound);
        }
        if std::mem::take(&mut state.is_full) {
            state.ring();
        }
        if state.is_over { state.ended.clone() } else { None }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_left = true;
        state.ring();
    }
}

impl Near {
    /// Where the worker wants to be told of news.
    pub(crate) fn watch(&self, inbox: Arc<Inbox>, member: MemberId) {
        self.0.lock().bell = Some((inbox, member));
    }

    /// Notes that the bell was heard: it rings again when there is more news.
    pub(crate) fn heard(&self) {
        self.0.lock().has_rung = false;
    }

    /// The next message, if there is one. Err: there will be none.
    pub(crate) fn receive(&self) -> Result<Option<Frame>, Left> {
        let mut state = self.0.lock();
        let Some(frame) = state.inbound.pop_front() else { return if state.is_left { Err(Left) } else { Ok(None) } };
        state.inbound_bytes -= frame.payload().len();
        if state.inbound.is_empty() {
            state.inbound = VecDeque::new();
        }
        if state.was_full && state.has_space() {
            state.was_full = false;
            self.0.news.notify_one();
        }
        Ok(Some(frame))
    }

    /// Says how it ends, when all that is still to be said is out. The first word counts.
    pub(crate) fn end(&self, ended: Ended) {
        self.0.lock().ended.get_or_insert(ended);
    }

    /// Bytes that wait in it.
    pub(crate) fn memory_bytes(&self) -> usize {
        let state = self.0.lock();
        state.inbound_bytes + state.outbound.capacity() + std::mem::size_of::<Channel>()
    }
}

/// The far end is gone.
#[derive(Debug)]
pub(crate) struct Left;

impl Write for Near {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.is_left {
            // Nobody hears it, but what the client has said before it left still counts: it must be read first.
            let offered = slices.iter().map(|slice| slice.len()).sum();
            return if state.inbound.is_empty() { Err(ErrorKind::BrokenPipe.into()) } else { Ok(offered) };
        }
        let before = state.outbound.len();
        for slice in slices {
            let taken = slice.len().min(OUTBOUND_BYTES_MAX.saturating_sub(state.outbound.len()));
            state.outbound.extend_from_slice(&slice[..taken]);
            state.is_full |= taken < slice.len();
        }
        let taken = state.outbound.len() - before;
        if before == 0 && taken > 0 {
            self.0.news.notify_one();
        }
        if taken == 0 && state.is_full { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Near {
    fn holds(&self) -> bool {
        false
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        // Also when the worker forgets it without a word.
        self.end(Ended::Document);
        self.0.lock().is_over = true;
        self.0.news.notify_one();
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("ended", &self.ended).finish_non_exhaustive()
    }
}
