//! The Hocuspocus provider: versions 3 and 4.
//!
//! One socket carries several documents: every message is `varstring address, varuint type, body`, and the address names the document, with a NUL and a session id
//! behind it where several editors of a page share one. The switchboard takes the addresses off and keeps what comes before a document is accepted;
//! behind it each document is a connection of its own, whose messages have no address. Sync and awareness are those of the stock provider; each
//! change is answered with whether it is saved.

mod switchboard;

use super::sync;
use super::sync::{AWARENESS, KEEP_ALIVE, QUERY_AWARENESS, STEP_1, STEP_2, SYNC, UPDATE, message as said, part_of};
use crate::{Act, Body, Dialect, Entry, Expiry, Farewell, Frame, HttpRefusal, Kind, Session, Told};
use bytes::Bytes;
use document::MessageLimits;
use document::lib0::{ReadError, Reader, write_var_uint};
use document::wire::Invalid;
use room::{Access, Closing, Denied, Event, Input, Manner, MemberId, StateVector, Topic, Update};

pub use switchboard::{Routed, Switchboard};

const AUTH: u8 = 2;
const SYNC_REPLY: u8 = 4;
const STATELESS: u8 = 5;
const BROADCAST_STATELESS: u8 = 6;
const CLOSE: u8 = 7;
const SYNC_STATUS: u8 = 8;

const TOKEN: u8 = 0;
const DENIED: u8 = 1;
const ACCEPTED: u8 = 2;

/// Asks for a token.
const TOKEN_REQUEST: &[u8] = &[AUTH, TOKEN];

/// What the provider shows for whatever it should not have sent.
const RESET: &str = "Reset Connection";
/// Of one stateless message: these are for small signals between applications.
const STATELESS_BYTES_MAX: usize = 1 << 20;

/// What stateless messages are relayed about.
pub(crate) const TOPIC: Topic = Topic("stateless");

/// The dialect of one document.
#[derive(Debug)]
pub(crate) struct Hocuspocus;

impl Dialect for Hocuspocus {
    fn name(&self) -> &'static str {
        "hocuspocus"
    }

    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>> {
        match event {
            Event::Saved { .. } => None,
            Event::Relayed(topic, payload) if *topic == TOPIC => {
                out.push(STATELESS);
                write_var_uint(out, payload.len() as u64);
                Some(Body { kind: Kind::Binary, rest: payload })
            }
            event => sync::write(event, out),
        }
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        // The provider does not authenticate again while the socket stays open: who is to come back loses the socket.
        let document = |reason: &str| Farewell {
            message: Some(Frame::Binary(said(&[CLOSE], reason.as_bytes()).into())),
            delay_ms: 0,
            code: None,
            reason: reason.to_owned(),
        };
        let socket =
            |code, reason: &str| Farewell { message: None, delay_ms: 0, code: Some(code), reason: reason.to_owned() };
        match closing {
            Closing::Malformed => document(RESET),
            Closing::Beyond(limit) => document(limit),
            // The words of the protocol for whoever had no good token when it was asked.
            Closing::Unauthorized | Closing::TokenExpired => document("Unauthorized"),
            Closing::Outdated => document("token-expired"),
            Closing::Forbidden | Closing::Revoked => document("permission-denied"),
            Closing::NotFound | Closing::Deleted => document("document-not-found"),
            Closing::Removed { come_back: false } => document("disconnected by an administrator"),
            Closing::Left => document("provider_initiated"),
            Closing::Incomplete(_) | Closing::Abusive(_) | Closing::Inactive => document(RESET),
            Closing::Removed { come_back: true } => socket(4500, "disconnected by an administrator, reconnect"),
            Closing::StorageFailed => socket(1011, "storage failed; unsaved edits stay in your editor"),
            Closing::ShuttingDown => socket(1001, "server shutting down"),
            Closing::SlowConsumer | Closing::Unconfirmed => socket(1013, "try again later"),
            Closing::Protocol(code, reason) => socket(*code, reason),
            Closing::Silent => socket(4408, "Connection Timeout"),
            Closing::Internal => socket(1011, "internal error"),
        }
    }

    /// Of one document: what the switchboard tells the client then.
    fn refusal(&self, closing: &Closing) -> Option<HttpRefusal> {
        let (status, reason) = match closing {
            Closing::Unauthorized => (401, "unauthorized"),
            Closing::Outdated | Closing::TokenExpired => (401, "token-expired"),
            Closing::NotFound | Closing::Deleted => (404, "document-not-found"),
            Closing::Forbidden | Closing::Revoked => (403, "permission-denied"),
            _ => return None,
        };
        Some(HttpRefusal { status, is_json: false, body: reason.to_owned() })
    }

    fn keep_alive(&self) -> Option<&'static [u8]> {
        Some(KEEP_ALIVE)
    }

    fn expiry(&self) -> Expiry {
        Expiry::Asks(TOKEN_REQUEST)
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        Box::new(HocuspocusSession { member: entry.member, limits: *entry.limits })
    }
}

/// The token in an auth message. None: it is of another kind, which only servers send.
fn token_shown(reader: &mut Reader<'_>) -> Result<Option<String>, ReadError> {
    match reader.var_uint()? {
        kind if kind == u64::from(TOKEN) => Ok(Some(reader.var_string()?.to_owned())),
        _ => Ok(None),
    }
}

fn status(saved: bool) -> Frame {
    Frame::Binary(Bytes::from_static(if saved { &[SYNC_STATUS, 1] } else { &[SYNC_STATUS, 0] }))
}

struct HocuspocusSession {
    member: MemberId,
    limits: MessageLimits,
}

impl Session for HocuspocusSession {
    fn open(&mut self, access: Access, acts: &mut Vec<Act>) {
        let manner = Manner { each_denial: true, malformed_per_minute_max: Some(1), ..Manner::default() };
        acts.push(Act::Room(Input::Adopt(self.member, manner)));
        let scope = match access {
            Access::Write => "read-write",
            Access::Read => "readonly",
        };
        acts.push(Act::Reply(Frame::Binary(said(&[AUTH, ACCEPTED], scope.as_bytes()).into())));
        acts.push(Act::Room(Input::QueryAwareness { member: self.member, always: false }));
    }

    fn receive(&mut self, frame: Frame, _: u64, acts: &mut Vec<Act>) {
        let Frame::Binary(bytes) = frame else { return };
        if let Err(ReadError::Truncated | ReadError::IntegerTooBig | ReadError::NotUtf8) = self.message(&bytes, acts) {
            acts.push(Act::Room(Input::Malformed(self.member)));
        }
    }

    fn tell(&mut self, event: &Event) -> Told {
        match event {
            Event::Saved { update } => {
                let echo = update.as_ref().map(|update| Frame::Binary(said(&[SYNC, UPDATE], update).into()));
                Told::Own(echo.into_iter().chain([status(true)]).collect())
            }
            Event::Denied(Denied::ReadOnly) => Told::Own(vec![status(false)]),
            _ => Told::InCommon,
        }
    }
}

impl HocuspocusSession {
    fn message(&self, frame: &Bytes, acts: &mut Vec<Act>) -> Result<(), ReadError> {
        let (mut reader, member) = (Reader::new(frame), self.member);
        let kind = u8::try_from(reader.var_uint()?).unwrap_or(u8::MAX);
        match kind {
            SYNC | SYNC_REPLY => self.sync(frame, &mut reader, kind == SYNC, acts)?,
            AWARENESS => acts.push(Act::Room(Input::Awareness(member, part_of(frame, reader.var_bytes()?)))),
            AUTH => acts.extend(token_shown(&mut reader)?.map(Act::Renew)),
            QUERY_AWARENESS => acts.push(Act::Room(Input::QueryAwareness { member, always: true })),
            STATELESS => {
                let payload = reader.var_string()?.as_bytes();
                if payload.len() > STATELESS_BYTES_MAX {
                    let limit = format!("stateless message larger than {STATELESS_BYTES_MAX} bytes");
                    acts.push(Act::End(Closing::Beyond(limit)));
                } else {
                    let payload = part_of(frame, payload);
                    acts.push(Act::Room(Input::Relay { member, topic: TOPIC, payload }));
                }
            }
            BROADCAST_STATELESS => acts.push(Act::Room(Input::Malformed(member))),
            CLOSE => acts.push(Act::End(Closing::Left)),
            _ => {}
        }
        Ok(())
    }

    /// `asks_back`: a step 1 is answered with the room's own before its answer. The saved-status for what that brings is what the provider waits for.
    fn sync(
        &self,
        frame: &Bytes,
        reader: &mut Reader<'_>,
        asks_back: bool,
        acts: &mut Vec<Act>,
    ) -> Result<(), ReadError> {
        let (step, member) = (reader.var_uint()?, self.member);
        if step > u64::from(UPDATE) {
            return Err(ReadError::Truncated);
        }
        let payload = reader.var_bytes()?;
        if step == u64::from(STEP_1) {
            match StateVector::decode(payload, &self.limits) {
                Ok(known) => {
                    acts.extend(asks_back.then_some(Act::Room(Input::Ask(member))));
                    acts.push(Act::Room(Input::Sync(member, known)));
                }
                Err(Invalid::Malformed(_)) => acts.push(Act::Room(Input::Malformed(member))),
                Err(Invalid::Exceeded(exceeded)) => acts.push(Act::Room(Input::Beyond(member, exceeded))),
            }
            return Ok(());
        }
        acts.push(match Update::validate(part_of(frame, payload), &self.limits) {
            Ok(update) => {
                let is_answer = step == u64::from(STEP_2);
                Act::Room(Input::Update { member, author: None, is_answer, update })
            }
            // It is not saved, and will never be.
            Err(Invalid::Malformed(_)) => Act::Reply(status(false)),
            Err(Invalid::Exceeded(exceeded)) => Act::Room(Input::Beyond(member, exceeded)),
        });
        Ok(())
    }
}
