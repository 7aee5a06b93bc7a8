//! The stock Yjs WebSocket provider: y-websocket 2, 3 and `@y/websocket` 4.
//!
//! Binary messages only, each `varuint type, body`; one message a frame to the client, several a frame from it. Sync is `0, varuint step, varbytes payload`, awareness `1, varbytes`,
//! denial `2 0 varstring reason`, query `3`. What the author has written comes back to it when it is saved: that copy is its acknowledgement.
//! Awareness is passed on unread; the room knows the clocks.

use crate::{Act, Body, Dialect, Entry, Farewell, Frame, Kind, NO_BODY, Session};
use bytes::Bytes;
use document::MessageLimits;
use document::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};
use document::wire::Invalid;
use room::{Access, Closing, Denied, Event, Input, MemberId, StateVector, Update};

const SYNC: u8 = 0;
const AWARENESS: u8 = 1;
const AUTH: u8 = 2;
const QUERY_AWARENESS: u8 = 3;

const STEP_1: u8 = 0;
const STEP_2: u8 = 1;
const UPDATE: u8 = 2;

/// Providers before 3.1 come back 100 ms after an open socket was closed: a refused one is held for so long.
const REFUSED_DELAY_MS: u64 = 3_000;

/// Messages in one frame: providers put one there, merging proxies a few. Each becomes an input many times its size.
const MESSAGES_PER_FRAME_MAX: usize = 1_024;

/// An awareness update with nobody in it: resets the provider's silence timer, and means nothing.
const KEEP_ALIVE: &[u8] = &[AWARENESS, 1, 0];

/// The dialect. `echo`: authors get their own updates back when these are saved.
#[derive(Debug)]
pub(crate) struct YWebsocket {
    pub(crate) echo: bool,
}

impl Dialect for YWebsocket {
    fn name(&self) -> &'static str {
        "y-websocket"
    }

    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>> {
        let (kind, body): (&[u8], _) = match event {
            Event::StateVector(bytes) => (&[SYNC, STEP_1], bytes),
            Event::Missing(bytes) => (&[SYNC, STEP_2], bytes),
            // Only a step 2 makes the provider say that it is synced, and that is to mean all of it.
            Event::Base(bytes) | Event::Update(bytes) => (&[SYNC, UPDATE], bytes),
            Event::Saved { update } => (&[SYNC, UPDATE], update.as_ref().filter(|_| self.echo)?),
            Event::Awareness(bytes) => (&[AWARENESS], bytes),
            Event::Denied(Denied::ReadOnly) => {
                out.extend(denied("read-only"));
                return Some(Body { kind: Kind::Binary, rest: &NO_BODY });
            }
            Event::Durable(_)
            | Event::Presence { .. }
            | Event::Welcome { .. }
            | Event::Arrived(_)
            | Event::Departed(_)
            | Event::Relayed(..)
            | Event::Marked(_) => return None,
        };
        out.extend_from_slice(kind);
        write_var_uint(out, body.len() as u64);
        Some(Body { kind: Kind::Binary, rest: body })
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        let plain =
            |code, reason: &str| Farewell { message: None, delay_ms: 0, code: Some(code), reason: reason.to_owned() };
        let told = |message, code, reason| Farewell {
            message: Some(Frame::Binary(denied(message).into())),
            ..plain(code, reason)
        };
        let barred = |message, code, reason| Farewell { delay_ms: REFUSED_DELAY_MS, ..told(message, code, reason) };
        let refused = |code, reason| barred(reason, code, reason);
        match closing {
            Closing::Malformed => plain(4400, "malformed message"),
            Closing::Beyond(limit) => told(limit, 4413, limit),
            Closing::StorageFailed => plain(1011, "storage failed; unsaved edits stay in your editor"),
            Closing::ShuttingDown => plain(1001, "server shutting down"),
            Closing::SlowConsumer => plain(1013, "slow consumer"),
            Closing::Protocol(code, reason) => plain(*code, reason),
            Closing::Silent => plain(1001, "no answer to ping"),
            Closing::Unauthorized => refused(4401, "unauthorized"),
            Closing::Outdated => refused(4401, "token-expired"),
            Closing::Forbidden => refused(4403, "permission-denied"),
            Closing::NotFound => refused(4404, "room-not-found"),
            Closing::TokenExpired => plain(4501, "token expired, reconnect"),
            Closing::Revoked => barred("permission-denied", 4403, "access revoked"),
            Closing::Removed { come_back: false } => {
                told("permission-denied", 4403, "disconnected by an administrator")
            }
            Closing::Removed { come_back: true } => plain(4500, "disconnected by an administrator, reconnect"),
            Closing::Deleted => barred("room-not-found", 4404, "room deleted"),
            Closing::Unconfirmed => plain(1013, "access cannot be checked, try again later"),
            Closing::Internal => plain(1011, "internal error"),
            Closing::Incomplete(_) => plain(1008, "the request lacks something"),
            Closing::Abusive(reason) => plain(1008, reason),
            Closing::Inactive => plain(1013, "inactive"),
            Closing::Left => plain(1000, ""),
        }
    }

    fn keep_alive(&self) -> Option<&'static [u8]> {
        Some(KEEP_ALIVE)
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        Box::new(YWebsocketSession { member: entry.member, limits: *entry.limits })
    }
}

fn message(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 5 + payload.len());
    out.extend_from_slice(head);
    write_var_bytes(&mut out, payload);
    out
}

fn denied(reason: &str) -> Vec<u8> {
    message(&[AUTH, 0], reason.as_bytes())
}

/// A payload without a copy, unless that would keep a much larger frame in memory.
fn part_of(frame: &Bytes, payload: &[u8]) -> Bytes {
    if payload.len() * 2 < frame.len() { Bytes::copy_from_slice(payload) } else { frame.slice_ref(payload) }
}

struct YWebsocketSession {
    member: MemberId,
    limits: MessageLimits,
}

impl Session for YWebsocketSession {
    fn open(&mut self, _: Access, acts: &mut Vec<Act>) {
        acts.push(Act::Room(Input::Ask(self.member)));
        acts.push(Act::Room(Input::QueryAwareness { member: self.member, always: false }));
    }

    fn receive(&mut self, frame: Frame, _: u64, acts: &mut Vec<Act>) {
        let Frame::Binary(bytes) = frame else { return };
        let mut reader = Reader::new(&bytes);
        let enough = acts.len() + MESSAGES_PER_FRAME_MAX;
        while !reader.is_empty() {
            if acts.len() == enough {
                acts.push(Act::Room(Input::Malformed(self.member)));
                return;
            }
            match self.message(&bytes, &mut reader) {
                Ok(Some(input)) => acts.push(Act::Room(input)),
                Ok(None) => return,
                Err(ReadError::Truncated | ReadError::IntegerTooBig | ReadError::NotUtf8) => {
                    acts.push(Act::Room(Input::Malformed(self.member)));
                    return;
                }
            }
        }
    }
}

impl YWebsocketSession {
    /// The next message of a frame. None: of a kind whose end cannot be known, so the rest of the frame is passed over.
    fn message(&self, frame: &Bytes, reader: &mut Reader<'_>) -> Result<Option<Input>, ReadError> {
        match reader.var_uint()? {
            kind if kind == u64::from(SYNC) => self.sync(frame, reader),
            kind if kind == u64::from(AWARENESS) => {
                Ok(Some(Input::Awareness(self.member, part_of(frame, reader.var_bytes()?))))
            }
            kind if kind == u64::from(QUERY_AWARENESS) => {
                Ok(Some(Input::QueryAwareness { member: self.member, always: true }))
            }
            _ => Ok(None),
        }
    }

    fn sync(&self, frame: &Bytes, reader: &mut Reader<'_>) -> Result<Option<Input>, ReadError> {
        let step = reader.var_uint()?;
        if step > u64::from(UPDATE) {
            return Ok(None);
        }
        let payload = reader.var_bytes()?;
        let input = if step == u64::from(STEP_1) {
            StateVector::decode(payload, &self.limits).map(|known| Input::Sync(self.member, known))
        } else {
            let (update, is_answer) =
                (Update::validate(part_of(frame, payload), &self.limits), step == u64::from(STEP_2));
            update.map(|update| Input::Update { member: self.member, author: None, is_answer, update })
        };
        Ok(Some(input.unwrap_or_else(|invalid| match invalid {
            Invalid::Malformed(_) => Input::Malformed(self.member),
            Invalid::Exceeded(exceeded) => Input::Beyond(self.member, exceeded),
        })))
    }
}
