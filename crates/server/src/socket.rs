//! One connection as its worker holds it: the stream, what it says (decoder and session), what it is still to be told (outbox), and how far it is.
//!
//! Reads into a buffer that belongs to the worker, so an idle connection holds none. Turns bytes into inputs; what becomes of them is the worker's
//! business. Idle, it is a few hundred bytes.

use crate::address::ClientAddress;
use crate::allowance::Allowance;
use crate::channel::{Ended, Left, Near};
use crate::connections::{Accepted, UserRate};
use crate::frames::encode_message;
use crate::liveness::Liveness;
use crate::outbox::Outbox;
use crate::ring::Ring;
use crate::room_kind::rules_name;
use crate::slots::RoomId;
use crate::transport::Stream;
use crate::websocket::{DecodeError, Decoder, Inflater, Message, close_frame, pong_frame};
use crate::worker::Terms;
use bytes::BytesMut;
use dialect::{Act, Dialect, Frame, Session};
use room::{Access, Author, Closing, MemberId};
use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::RoomKey;
use thin_vec::ThinVec;

/// Acts that one read may bring: some bytes make a thousand questions, and far more when they are compressed. The rest waits for the next turn.
const ACTS_MAX: usize = 4_096;
/// Of a client's ping or pong: two bytes and the mask.
const CONTROL_HEADER_BYTES: usize = 6;
/// Of a frame with its header, on average, below which frames cost far more than their bytes: no edit is that small.
const SPLINTER_BYTES: usize = 16;
/// In one read: fewer are nothing to save time with.
const SPLINTERS_MIN: usize = 64;
/// Of one read of who sends such: at 30 ns a fragment, 64 KiB of them would keep all others of the thread waiting for 0.3 ms.
const SPLINTERS_READ_BYTES: usize = 4 << 10;
/// Of frames for one member of a dialect that catches nobody up: the two largest answers that are made at once for a user, 16 MiB each, and a ring's bytes.
const BEHIND_BYTES_MAX: usize = 33 << 20;
/// How long the last frames may take, and then the client's own close.
const ENDING: Duration = Duration::from_secs(5);

/// One connection. Ordered by hand: what a room's news needs of each member comes first and lies together, since for a thousand of them the time goes
/// into fetching it.
#[repr(C)]
pub(crate) struct Socket {
    pub(crate) outbox: Outbox,
    pub(crate) stream: Stream,
    pub(crate) member: MemberId,
    /// What waits until questions before it are answered.
    pub(crate) backlog: Backlog,
    /// What was read and not decoded, because that read has brought enough.
    pub(crate) undecoded: ThinVec<u8>,
    pub(crate) dialect: &'static dyn Dialect,
    /// Which of its room's rings it reads.
    pub(crate) voice: u8,
    /// The stream may have something to read.
    pub(crate) readable: bool,
    /// The client has ended its side, or the connection is broken.
    pub(crate) hung_up: bool,
    /// It is in the list of those to be served.
    pub(crate) queued: bool,
    /// Its last read was mostly tiny frames.
    pub(crate) splinters: bool,
    /// A time is set at which it may be read again.
    pub(crate) renewing: bool,
    /// The gate looks at a token that it has shown; what it says meanwhile waits.
    pub(crate) shows_token: bool,
    /// It waits until its room takes inputs again.
    pub(crate) deferred: bool,
    /// It has been a WebSocket.
    pub(crate) was_open: bool,
    /// Compression was negotiated.
    pub(crate) deflate: bool,
    /// Stateless messages that the application has, and has not answered.
    pub(crate) handed_over: u16,
    /// Where it is in its room's list of members.
    pub(crate) place: u32,
    pub(crate) stage: Stage,
    pub(crate) room: RoomId,
    pub(crate) session: Box<dyn Session>,
    pub(crate) decoder: Decoder,
    pub(crate) allowance: Allowance,
    /// How fast its user may speak, where the dialect has a bound of its own.
    pub(crate) rate: Option<Arc<UserRate>>,
    /// On what terms it is here; None: on none that could change.
    pub(crate) terms: Option<Box<Terms>>,
    pub(crate) accepted: Accepted,
    /// Questions to the room that are not answered yet.
    pub(crate) unanswered: u32,
    /// What it may do, as long as the room is not locked.
    pub(crate) granted: Access,
    pub(crate) liveness: Liveness,
    pub(crate) id: ConnectionId,
    /// Who it is, for the log.
    pub(crate) user: Author,
    pub(crate) key: RoomKey,
    /// Why it ends, in words for the log. The first reason counts.
    pub(crate) ended: Option<Box<str>>,
}

/// How far a connection has come.
pub(crate) enum Stage {
    /// Its room is being loaded.
    Waiting(Box<Waiting>),
    /// It is a member of its room.
    Open,
    /// The last frames are on their way.
    Ending { until: Instant },
    /// They are out, and the client is to close.
    Draining { until: Instant },
}

/// What a connection needs to become a member.
pub(crate) struct Waiting {
    pub(crate) admission: crate::auth::Admission,
    pub(crate) hello: Vec<u8>,
    pub(crate) early: Vec<u8>,
    pub(crate) address: ClientAddress,
    pub(crate) deadline: Instant,
}

/// Acts in their order. Seldom there are any: none take a pointer.
#[derive(Default)]
pub(crate) struct Backlog(
    #[expect(clippy::box_collection, reason = "a pointer while there is none")] Option<Box<VecDeque<Act>>>,
);

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Act> {
        self.0.iter().flat_map(|acts| acts.iter())
    }

    pub(crate) fn into_acts(self) -> impl Iterator<Item = Act> {
        self.0.into_iter().flat_map(|acts| *acts)
    }

    pub(crate) fn push_back(&mut self, act: Act) {
        self.0.get_or_insert_default().push_back(act);
    }

    pub(crate) fn push_front(&mut self, act: Act) {
        self.0.get_or_insert_default().push_front(act);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Act> {
        let acts = self.0.as_mut()?;
        let front = acts.pop_front();
        if acts.is_empty() {
            self.0 = None;
        }
        front
    }
}

/// As it stands in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionId {
    pub(crate) since_ms: u64,
    pub(crate) chance: u32,
}

impl Display for ConnectionId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ws_{}_{:08x}", self.since_ms, self.chance)
    }
}

/// What one read brought.
pub(crate) enum Read {
    Nothing,
    Bytes(usize),
    Ended(String),
}

impl Socket {
    /// Reads once.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Read {
        match self.stream.read(buffer) {
            Ok(0) => Read::Ended("connection closed without a close frame".to_owned()),
            Ok(count) => Read::Bytes(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Read::Nothing
            }
            // In its next turn.
            Err(error) if error.kind() == ErrorKind::Interrupted => Read::Bytes(0),
            Err(error) => Read::Ended(error.to_string()),
        }
    }

    /// Turns bytes into acts. Returns why the connection ends, when it does. `arena`: memory for what the inputs hold.
    /// What compressed messages are larger than the bytes that came is spent of the allowance: one that sends bombs is read slowly.
    pub(crate) fn decode(
        &mut self,
        mut bytes: &[u8],
        arena: &mut BytesMut,
        inflater: &mut Inflater,
        now_ms: u64,
        acts: &mut Vec<Act>,
    ) -> Option<String> {
        let count = bytes.len();
        arena.reserve(count);
        let (mut completed, mut may_go_on, mut frames, mut between) = (false, true, 0, 0);
        loop {
            if (acts.len() >= ACTS_MAX || !may_go_on) && !bytes.is_empty() {
                self.undecoded = bytes.into();
                break;
            }
            let decoded = self.decoder.decode(&mut bytes, arena, inflater);
            self.allowance.spend(inflater.take_surplus() as usize);
            let fragments = self.decoder.take_fragments();
            frames += fragments as usize;
            if fragments > 0 {
                self.allowance.spend_messages(fragments);
            }
            if let Ok(Some(message)) = &decoded {
                frames += 1;
                may_go_on = self.allowance.spend_messages(1);
                match message {
                    // Between the fragments of a message it neither finishes the message nor makes it longer.
                    Message::Ping(payload) | Message::Pong(payload) if !self.decoder.is_idle() => {
                        between += CONTROL_HEADER_BYTES + payload.len();
                    }
                    _ => completed = true,
                }
            }
            match decoded {
                Ok(None) => break,
                Ok(Some(Message::Binary(payload))) => self.hear(Frame::Binary(payload), now_ms, acts),
                Ok(Some(Message::Text(payload))) => self.hear(Frame::Text(payload), now_ms, acts),
                Ok(Some(Message::Ping(payload))) => self.outbox.control(pong_frame(&payload)),
                Ok(Some(Message::Pong(_))) => self.liveness.answered = true,
                Ok(Some(Message::Close { code, reason })) => return Some(self.closed_by_client(code, &reason)),
                Err(error) => return Some(self.broken(&error)),
            }
        }
        self.splinters = frames > SPLINTERS_MIN && frames * SPLINTER_BYTES > count;
        self.liveness.read(count.saturating_sub(between), completed, !self.decoder.is_idle(), now_ms);
        None
    }

    /// What a whole message means.
    pub(crate) fn hear(&mut self, frame: Frame, now_ms: u64, acts: &mut Vec<Act>) {
        if self.rate.as_ref().is_some_and(|rate| !rate.allows_one()) {
            self.session.receive_too_much(frame, now_ms, acts);
        } else {
            self.session.receive(frame, now_ms, acts);
        }
    }

    /// Takes messages out of a channel, of about so many bytes at most. Returns how many bytes they had, and why it ends, when it does.
    pub(crate) fn take_messages(&mut self, most: u64, now_ms: u64, acts: &mut Vec<Act>) -> (usize, Option<String>) {
        let mut bytes = 0;
        loop {
            if bytes as u64 >= most || acts.len() >= ACTS_MAX {
                return (bytes, None);
            }
            let Some(received) = self.stream.channel().map(Near::receive) else { return (bytes, None) };
            match received {
                Ok(Some(frame)) => {
                    let count = frame.payload().len().max(1);
                    bytes += count;
                    self.allowance.spend(count);
                    let may_go_on = self.allowance.spend_messages(1);
                    self.hear(frame, now_ms, acts);
                    if !may_go_on {
                        return (bytes, None);
                    }
                }
                Ok(None) => {
                    self.readable = false;
                    return (bytes, None);
                }
                Err(Left) => return (bytes, Some("closed by client".to_owned())),
            }
        }
    }

    /// Gives memory back that only made it faster.
    pub(crate) fn rest(&mut self) {
        self.outbox.rest();
        self.undecoded.shrink_to_fit();
    }

    fn closed_by_client(&mut self, code: Option<u16>, reason: &str) -> String {
        // Answered with the same code; 1005 stands for none and is never sent.
        self.outbox.end([close_frame(code.unwrap_or(1000), "")]);
        let code = code.unwrap_or(1005);
        if reason.is_empty() {
            format!("closed by client: {code}")
        } else {
            format!("closed by client: {code} {reason}")
        }
    }

    fn broken(&mut self, error: &DecodeError) -> String {
        let closing = match error {
            DecodeError::TooBig { limit, .. } => Closing::Beyond(format!("message larger than {limit} bytes")),
            other => Closing::Protocol(other.close_code(), other.to_string()),
        };
        self.say_farewell(&closing);
        error.to_string()
    }

    /// Puts the last frames into the outbox. The first reason counts.
    pub(crate) fn say_farewell(&mut self, closing: &Closing) {
        let farewell = self.dialect.farewell(closing);
        let is_usual = matches!(
            closing,
            Closing::ShuttingDown | Closing::Silent | Closing::TokenExpired | Closing::Left | Closing::Inactive
        );
        if !is_usual {
            tracing::warn!(action = "ws.error", connectionId = %self.id, error = farewell.reason, context = ?closing, "closing a connection");
        }
        if self.ended.is_none() {
            self.ended = Some(farewell.reason.as_str().into());
        }
        let message = farewell.message.as_ref().map(encode_message);
        let close = match (self.stream.channel(), farewell.code) {
            (Some(channel), code) => {
                if let Some(code) = code {
                    channel.end(Ended::Connection(code, farewell.reason));
                }
                None
            }
            (None, code) => Some(close_frame(code.unwrap_or(1000), &farewell.reason)),
        };
        self.outbox.end(message.into_iter().chain(close));
    }

    /// How much may be read at once, of so much.
    pub(crate) fn piece(&self, most: usize) -> usize {
        if self.splinters { most.min(SPLINTERS_READ_BYTES) } else { most }
    }

    /// There is something to read, to decode or to hand over.
    pub(crate) fn has_input(&self) -> bool {
        self.readable || !self.backlog.is_empty() || !self.undecoded.is_empty()
    }

    /// Something follows from its last flush.
    pub(crate) fn has_more_to_do(&self, ring: Option<&Ring>) -> bool {
        self.outbox.has_failed()
            || self.outbox.is_ending()
            || self.has_input() && !self.queued
            || ring.is_some_and(|ring| self.has_lost_its_place(ring) || self.is_too_far_behind(ring))
    }

    /// Its dialect does not catch up who is behind, and it is.
    pub(crate) fn is_too_far_behind(&self, ring: &Ring) -> bool {
        let needs = self.outbox.needs();
        let too_many = |max| {
            ring.end().saturating_sub(needs).max(self.outbox.private_count()) > max
                || self.outbox.private_bytes() > BEHIND_BYTES_MAX
        };
        // What the ring has dropped was offered to it before, even if it takes bytes again by now.
        let is_behind = |max| ring.is_lost(needs) || self.outbox.is_stalled() && too_many(max);
        self.dialect.behind_max().is_some_and(is_behind)
    }

    /// It has lost its place among what the room publishes, although the ring may have it: whoever is further behind is caught up instead.
    pub(crate) fn has_lost_its_place(&self, ring: &Ring) -> bool {
        self.outbox.has_lost_its_place(ring, self.dialect.loses_place_behind())
    }

    /// The same, once.
    pub(crate) fn notice_loss(&mut self, ring: &Ring) -> bool {
        self.outbox.notice_loss(ring, self.dialect.loses_place_behind())
    }

    /// It takes no more part; what is left is to send the last frames.
    pub(crate) fn begin_ending(&mut self) {
        self.backlog = Backlog::default();
        self.stage = Stage::Ending { until: Instant::now() + ENDING };
    }

    /// What it holds, about.
    pub(crate) fn bytes(&self) -> u64 {
        let buffered = self.decoder.buffered_bytes() + self.undecoded.len() + self.outbox.private_bytes();
        let waiting = self.backlog.iter().map(|act| std::mem::size_of::<Act>() + act.bytes()).sum::<usize>();
        (std::mem::size_of::<Self>() + buffered + waiting + self.stream.memory_bytes()) as u64
    }

    /// It waits, and is known as one user by its credential.
    pub(crate) fn is_known(&self) -> bool {
        matches!(&self.stage, Stage::Waiting(waiting) if waiting.admission.is_one_user())
    }

    /// The room as the rules about rooms call it.
    pub(crate) fn room_name(&self) -> &str {
        rules_name(&self.key)
    }

    /// Is a member of its room.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }
}
