//! The stock Yjs WebSocket provider: y-websocket 2, 3 and `@y/websocket` 4.
//!
//! Binary messages only, each `varuint type, body`; one message a frame to the client, several a frame from it. Sync is `0, varuint step, varbytes payload`, awareness `1, varbytes`,
//! denial `2 0 varstring reason`, query `3`. What the author has written comes back to it when it is saved: that copy is its acknowledgement.
//! Awareness is passed on unread; the room knows the clocks.

use super::sync::{self, Voice};
use crate::{Act, Body, Dialect, Entry, Farewell, Frame, Kind, NO_BODY, Session};
use bytes::Bytes;
use document::lib0::{ReadError, Reader};
use room::{Access, Closing, Denied, Event, Input};

const AUTH: u8 = 2;

/// Providers before 3.1 come back 100 ms after an open socket was closed: a refused one is held for so long.
const REFUSED_DELAY_MS: u64 = 3_000;

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
        match event {
            Event::Saved { .. } if !self.echo => None,
            Event::Denied(Denied::ReadOnly) => {
                out.extend(denied("read-only"));
                Some(Body { kind: Kind::Binary, rest: &NO_BODY })
            }
            event => sync::write(event, out),
        }
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        let (code, reason) = sync::close_code(closing);
        // What the client writes to its console, and for how long it is kept.
        let (message, delay_ms) = match closing {
            Closing::Beyond(limit) => (Some(&**limit), 0),
            Closing::Unauthorized | Closing::Outdated | Closing::Forbidden | Closing::NotFound => {
                (Some(reason), REFUSED_DELAY_MS)
            }
            Closing::Revoked => (Some("permission-denied"), REFUSED_DELAY_MS),
            Closing::Deleted => (Some("room-not-found"), REFUSED_DELAY_MS),
            Closing::Removed { come_back: false } => (Some("permission-denied"), 0),
            _ => (None, 0),
        };
        let message = message.map(|reason| Frame::Binary(denied(reason).into()));
        Farewell { message, delay_ms, code: Some(code), reason: reason.to_owned() }
    }

    fn keep_alive(&self) -> Option<&'static [u8]> {
        Some(sync::KEEP_ALIVE)
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        Box::new(YWebsocketSession(Voice { member: entry.member, limits: *entry.limits }))
    }
}

fn denied(reason: &str) -> Vec<u8> {
    sync::message(&[AUTH, 0], reason.as_bytes())
}

struct YWebsocketSession(Voice);

impl Session for YWebsocketSession {
    fn open(&mut self, _: Access, acts: &mut Vec<Act>) {
        let member = self.0.member;
        acts.push(Act::Room(Input::Ask(member)));
        acts.push(Act::Room(Input::QueryAwareness { member, always: false }));
    }

    fn receive(&mut self, frame: Frame, _: u64, acts: &mut Vec<Act>) {
        let Frame::Binary(bytes) = frame else { return };
        let mut reader = Reader::new(&bytes);
        let enough = acts.len() + sync::MESSAGES_PER_FRAME_MAX;
        while !reader.is_empty() {
            if acts.len() == enough {
                acts.push(Act::Room(Input::Malformed(self.0.member)));
                return;
            }
            match self.message(&bytes, &mut reader) {
                Ok(Some(input)) => acts.push(Act::Room(input)),
                Ok(None) => return,
                Err(ReadError::Truncated | ReadError::IntegerTooBig | ReadError::NotUtf8) => {
                    acts.push(Act::Room(Input::Malformed(self.0.member)));
                    return;
                }
            }
        }
    }
}

impl YWebsocketSession {
    /// The next message of a frame. None: of a kind whose end cannot be known, so the rest of the frame is passed over.
    fn message(&self, frame: &Bytes, reader: &mut Reader<'_>) -> Result<Option<Input>, ReadError> {
        let kind = reader.var_uint()?;
        self.0.message(kind, frame, reader)
    }
}
