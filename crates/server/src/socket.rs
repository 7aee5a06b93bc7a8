//! One connection as its worker holds it: the stream, what it says (decoder and session), what it is still to be told (outbox), and how far it is.
//!
//! Reads into a buffer that belongs to the worker, so an idle connection holds none. Turns bytes into inputs; what becomes of them is the worker's
//! business. Idle, it is a few hundred bytes.

use crate::address::ClientAddress;
use crate::connections::Accepted;
use crate::liveness::Liveness;
use crate::outbox::Outbox;
use crate::ring::Ring;
use crate::slots::RoomId;
use crate::transport::Stream;
use crate::websocket::{DecodeError, Decoder, Inflater, Message, Opcode, close_frame, encode_frame, pong_frame};
use bytes::BytesMut;
use dialect::{Dialect, Frame, Session};
use room::{Author, Closing, Input, MemberId};
use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};
use store::RoomKey;

/// Inputs that one read may bring: some bytes make a thousand questions, and far more when they are compressed. The rest waits for the next turn.
const INPUTS_MAX: usize = 4_096;
/// How long the last frames may take, and then the client's own close.
const ENDING: Duration = Duration::from_secs(5);

/// One connection.
pub(crate) struct Socket {
    pub(crate) stream: Stream,
    pub(crate) id: ConnectionId,
    /// Who it is, for the log.
    pub(crate) user: Author,
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) session: Box<dyn Session>,
    pub(crate) decoder: Decoder,
    /// Compression was negotiated.
    pub(crate) deflate: bool,
    pub(crate) member: MemberId,
    pub(crate) room: RoomId,
    pub(crate) key: RoomKey,
    /// Where it is in its room's list of members.
    pub(crate) place: u32,
    /// Which of its room's rings it reads.
    pub(crate) voice: u8,
    /// The stream may have something to read.
    pub(crate) readable: bool,
    /// The client has ended its side, or the connection is broken.
    pub(crate) hung_up: bool,
    /// It is in the list of those to be served.
    pub(crate) queued: bool,
    /// A time is set at which it may be read again.
    pub(crate) renewing: bool,
    /// It waits until its room takes inputs again.
    pub(crate) deferred: bool,
    /// It has been a WebSocket.
    pub(crate) was_open: bool,
    /// Questions to the room that are not answered yet.
    pub(crate) unanswered: u32,
    pub(crate) stage: Stage,
    pub(crate) outbox: Outbox,
    /// Inputs that wait until questions before them are answered.
    pub(crate) backlog: VecDeque<Input>,
    /// What was read and not decoded, because that read has brought enough.
    pub(crate) undecoded: Vec<u8>,
    pub(crate) liveness: Liveness,
    pub(crate) allowance: Allowance,
    /// Why it ends, in words for the log. The first reason counts.
    pub(crate) ended: Option<Box<str>>,
    pub(crate) accepted: Accepted,
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

    /// Turns bytes into inputs. Returns why the connection ends, when it does. `arena`: memory for what the inputs hold.
    /// What compressed messages are larger than the bytes that came is spent of the allowance: one that sends bombs is read slowly.
    pub(crate) fn decode(
        &mut self,
        mut bytes: &[u8],
        arena: &mut BytesMut,
        inflater: &mut Inflater,
        now_ms: u64,
        inputs: &mut Vec<Input>,
    ) -> Option<String> {
        let count = bytes.len();
        arena.reserve(count);
        let mut completed = false;
        loop {
            if inputs.len() >= INPUTS_MAX && !bytes.is_empty() {
                self.undecoded = bytes.to_vec();
                break;
            }
            let decoded = self.decoder.decode(&mut bytes, arena, inflater);
            self.allowance.spend(inflater.take_surplus() as usize);
            completed |= matches!(decoded, Ok(Some(_)));
            match decoded {
                Ok(None) => break,
                Ok(Some(Message::Binary(payload))) => self.session.receive(Frame::Binary(payload), inputs),
                Ok(Some(Message::Text(payload))) => self.session.receive(Frame::Text(payload), inputs),
                Ok(Some(Message::Ping(payload))) => self.outbox.control(pong_frame(&payload)),
                Ok(Some(Message::Pong(_))) => self.liveness.answered = true,
                Ok(Some(Message::Close { code, reason })) => return Some(self.closed_by_client(code, &reason)),
                Err(error) => return Some(self.broken(&error)),
            }
        }
        self.liveness.read(count, completed, !self.decoder.is_idle(), now_ms);
        None
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
        if !matches!(closing, Closing::ShuttingDown | Closing::Silent) {
            tracing::warn!(action = "ws.error", connectionId = %self.id, error = farewell.reason, context = ?closing, "closing a connection");
        }
        if self.ended.is_none() {
            self.ended = Some(farewell.reason.as_str().into());
        }
        let message = farewell.message.map(|payload| encode_frame(Opcode::Binary, &payload));
        self.outbox.end(message.into_iter().chain([close_frame(farewell.code, &farewell.reason)]));
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
            || ring.is_some_and(|ring| self.outbox.has_lost_its_place(ring))
    }

    /// It takes no more part; what is left is to send the last frames.
    pub(crate) fn begin_ending(&mut self) {
        self.backlog = VecDeque::new();
        self.stage = Stage::Ending { until: Instant::now() + ENDING };
    }

    /// The room as clients call it.
    pub(crate) fn room_name(&self) -> &str {
        self.key.strip_prefix(crate::upgrade::DOCUMENT).unwrap_or(&self.key)
    }

    /// Is a member of its room.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }
}

/// How much may be read from one socket within a second. A faster one is read later, and TCP tells it.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u64,
    renewed: Instant,
}

impl Allowance {
    pub(crate) fn new(bytes_per_s: u64, now: Instant) -> Self {
        Self { left: bytes_per_s, renewed: now }
    }

    /// Bytes that may be read now; when there are none, the time at which there are some again.
    pub(crate) fn left(&mut self, bytes_per_s: u64, now: Instant) -> Result<u64, Instant> {
        let renewal = self.renewed + Duration::from_secs(1);
        if self.left < bytes_per_s && renewal <= now {
            (self.left, self.renewed) = (bytes_per_s, now);
        }
        if self.left == 0 { Err(renewal) } else { Ok(self.left) }
    }

    pub(crate) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
    }
}
