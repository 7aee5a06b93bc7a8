//! Yjs updates as JSON: one draft a socket, no presence, no acknowledgements.
//!
//! Text messages with one object, `type` first; `data` is an array of the bytes of a v1 update. The whole document comes first and unasked. What cannot be
//! used is answered with an error in words, to its sender alone. `message` reads what clients send, `array` writes bytes as numbers. Does not know who may
//! edit a draft: that is the room's and the gate's business.

mod array;
mod message;

use crate::{Act, Body, Dialect, Entry, Expiry, Farewell, Frame, Kind, NO_BODY, Session, Told};
use array::append_array;
use bytes::Bytes;
use document::wire::Invalid;
use document::{Exceeded, MessageLimits};
use message::{Fault, Message};
use room::{Access, Closing, Denied, Event, Input, Manner, MemberId, StateVector, Update};

const UPDATE: &str = "yjs-update";
const STATE_REQUEST: &str = "yjs-state-request";
const STATE_RESPONSE: &str = "yjs-state-response";

const INVALID_UPDATE: &str = "Invalid Yjs update";
const READ_ONLY: &str = "You do not have permission to edit this draft.";
const PARKED: &str = "Update depends on changes the server does not have (resync needed)";
const TOO_LARGE: &str = "Update too large (resync needed)";
const UPDATE_TOO_SOON: &str = "Rate limit exceeded (resync needed)";
const TOO_SOON: &str = "Rate limit exceeded";
const TOO_MANY_FAULTS: &str = "Too many invalid messages";
const NO_ACCESS: &str = "Access denied. You do not have permission to access this draft.";

/// Of messages to one client: a browser that is further behind does better to load the document again.
const BEHIND_MAX: u64 = 4_096;
/// Errors within a minute: one more is a broken program, not a person.
const FAULTS_PER_MINUTE_MAX: usize = 20;
/// Updates refused for their rate within a minute, at which the connection ends.
const REFUSED_PER_MINUTE: usize = 3;
/// Between two whole documents for one client, which it can ask for with thirty bytes.
const STATE_PAUSE_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;

/// The dialect.
#[derive(Debug)]
pub(crate) struct JsonYjs;

impl Dialect for JsonYjs {
    fn name(&self) -> &'static str {
        "json-yjs"
    }

    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>> {
        let (kind, bytes) = match event {
            Event::Missing(bytes) => (STATE_RESPONSE, bytes),
            Event::Base(bytes) | Event::Update(bytes) => (UPDATE, bytes),
            Event::Denied(Denied::ReadOnly) => {
                out.extend_from_slice(error(READ_ONLY).as_bytes());
                return Some(Body { kind: Kind::Text, rest: &NO_BODY });
            }
            Event::StateVector(_)
            | Event::Saved { .. }
            | Event::Durable(_)
            | Event::Awareness(_)
            | Event::Presence { .. }
            | Event::Welcome { .. }
            | Event::Arrived(_)
            | Event::Departed(_)
            | Event::Relayed(..)
            | Event::Marked(_)
            | Event::Notes(_)
            | Event::Tables(_) => return None,
        };
        for part in ["{\"type\":\"", kind, "\",\"data\":"] {
            out.extend_from_slice(part.as_bytes());
        }
        append_array(bytes, out);
        out.push(b'}');
        Some(Body { kind: Kind::Text, rest: &NO_BODY })
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        let plain =
            |code, reason: &str| Farewell { message: None, delay_ms: 0, code: Some(code), reason: reason.to_owned() };
        let told =
            |message: &str, code, reason| Farewell { message: Some(error_frame(message)), ..plain(code, reason) };
        match closing {
            Closing::Incomplete("token") => told("Missing authentication token", 1008, "Missing authentication token"),
            Closing::Incomplete(parameter) => {
                let reason = format!("Missing {parameter} parameter");
                told(&reason, 1008, &reason)
            }
            Closing::Unauthorized | Closing::Outdated | Closing::TokenExpired => {
                told("Invalid or expired token", 1008, "Authentication failed")
            }
            // Whether there is such a draft is nobody's business who may not see it.
            Closing::Forbidden | Closing::NotFound | Closing::Revoked | Closing::Deleted => {
                told(NO_ACCESS, 1008, "Insufficient permissions")
            }
            Closing::Removed { come_back: false } => {
                told("You were disconnected by an administrator.", 1008, "Disconnected by an administrator")
            }
            Closing::Removed { come_back: true } => plain(1013, "Disconnected by an administrator, reconnect"),
            Closing::Beyond(limit) => told(limit, 1009, limit),
            Closing::Malformed => plain(1008, TOO_MANY_FAULTS),
            Closing::Abusive(reason) => plain(1008, reason),
            Closing::StorageFailed | Closing::Internal => plain(1011, "Internal server error"),
            Closing::ShuttingDown => plain(1001, "Server shutting down"),
            Closing::SlowConsumer => plain(1013, "slow consumer"),
            Closing::Unconfirmed => plain(1013, "Access cannot be checked, try again later"),
            Closing::Silent => plain(1001, "No answer to ping"),
            Closing::Inactive => plain(1013, "Inactive"),
            Closing::Protocol(code, reason) => plain(*code, reason),
            Closing::Left => plain(1000, ""),
        }
    }

    fn tells_document_first(&self) -> bool {
        true
    }

    fn behind_max(&self) -> Option<u64> {
        Some(BEHIND_MAX)
    }

    fn expiry(&self) -> Expiry {
        Expiry::Stays
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        Box::new(JsonYjsSession {
            member: entry.member,
            limits: *entry.limits,
            state_asked_ms: None,
            faults_ms: Vec::new(),
            refused_ms: Vec::new(),
            rate: entry.updates_per_s.map(|per_s| Box::new(UpdateRate::new(per_s))),
        })
    }
}

/// An error message as text.
fn error(text: &str) -> String {
    format!("{{\"type\":\"error\",\"error\":{}}}", serde_json::Value::from(text))
}

fn error_frame(text: &str) -> Frame {
    Frame::text(error(text))
}

struct JsonYjsSession {
    member: MemberId,
    limits: MessageLimits,
    /// When the whole document was last asked for, and was sent.
    state_asked_ms: Option<u64>,
    /// Times of the errors of the last minute.
    faults_ms: Vec<u64>,
    /// Times of the updates of the last minute that were refused for their rate.
    refused_ms: Vec<u64>,
    rate: Option<Box<UpdateRate>>,
}

impl Session for JsonYjsSession {
    fn open(&mut self, _: Access, acts: &mut Vec<Act>) {
        let manner = Manner { each_denial: true, ..Manner::default() };
        acts.push(Act::Room(Input::Adopt(self.member, manner)));
        acts.push(Act::Room(Input::SyncInOne(self.member, StateVector::default())));
    }

    fn receive(&mut self, frame: Frame, now_ms: u64, acts: &mut Vec<Act>) {
        match message::read(frame.payload()) {
            Ok(Message::Update(bytes)) => self.update(bytes.into(), now_ms, acts),
            Ok(Message::StateRequest) => {
                if self.state_asked_ms.is_some_and(|then| now_ms.saturating_sub(then) < STATE_PAUSE_MS) {
                    return self.fault(TOO_SOON, now_ms, acts);
                }
                self.state_asked_ms = Some(now_ms);
                acts.push(Act::Room(Input::SyncInOne(self.member, StateVector::default())));
            }
            Ok(Message::Ping) => acts.push(Act::Reply(Frame::Text(Bytes::from_static(b"{\"type\":\"pong\"}")))),
            Ok(Message::Pong) => {}
            Err(fault) => {
                if let Fault::UnknownType(kind) = &fault {
                    acts.push(Act::Unknown(kind.clone()));
                }
                self.fault(&fault.to_string(), now_ms, acts);
            }
        }
    }

    fn tell(&mut self, event: &Event) -> Told {
        match event {
            // A dialect with state vectors would answer it with what is missing. This one can only say so.
            Event::StateVector(_) => Told::Own(vec![error_frame(PARKED)]),
            _ => Told::InCommon,
        }
    }
}

impl JsonYjsSession {
    fn update(&mut self, bytes: Bytes, now_ms: u64, acts: &mut Vec<Act>) {
        if self.rate.as_mut().is_some_and(|rate| !rate.allows_one(now_ms)) {
            acts.push(Act::Reply(error_frame(UPDATE_TOO_SOON)));
            if count(&mut self.refused_ms, now_ms) >= REFUSED_PER_MINUTE {
                acts.push(Act::End(Closing::Abusive(TOO_SOON)));
            }
            return;
        }
        let (member, count) = (self.member, bytes.len());
        match Update::validate(bytes, &self.limits) {
            Ok(update) => acts.push(Act::Room(Input::Update { member, author: None, is_answer: false, update })),
            Err(Invalid::Exceeded(Exceeded::UpdateBytes(_))) => self.fault(TOO_LARGE, now_ms, acts),
            // A byte that says that millions follow is no reason to believe it.
            Err(Invalid::Exceeded(Exceeded::Structs(max) | Exceeded::Clients(max))) if count > max => {
                self.fault(TOO_LARGE, now_ms, acts);
            }
            Err(_) => self.fault(INVALID_UPDATE, now_ms, acts),
        }
    }

    /// The client is told what is wrong, and goes when that happens too often.
    fn fault(&mut self, text: &str, now_ms: u64, acts: &mut Vec<Act>) {
        acts.push(Act::Reply(error_frame(text)));
        if count(&mut self.faults_ms, now_ms) > FAULTS_PER_MINUTE_MAX {
            acts.push(Act::End(Closing::Abusive(TOO_MANY_FAULTS)));
        }
    }
}

/// Notes one more at this time. Returns how many there were within a minute.
fn count(times_ms: &mut Vec<u64>, now_ms: u64) -> usize {
    times_ms.retain(|then| now_ms.saturating_sub(*then) < MINUTE_MS);
    times_ms.push(now_ms);
    times_ms.len()
}

/// Updates that were let through in the last ten seconds, second by second.
struct UpdateRate {
    most: u64,
    counts: [u64; 10],
    second: u64,
}

impl UpdateRate {
    fn new(per_s: u64) -> Self {
        Self { most: per_s.saturating_mul(10), counts: [0; 10], second: 0 }
    }

    fn allows_one(&mut self, now_ms: u64) -> bool {
        let (second, length) = (now_ms / 1_000, self.counts.len() as u64);
        // A clock that was put back stays in its second.
        for passed in (self.second + 1..=second).rev().take(self.counts.len()) {
            self.counts[(passed % length) as usize] = 0;
        }
        self.second = self.second.max(second);
        let allows = self.counts.iter().sum::<u64>() < self.most;
        self.counts[(self.second % length) as usize] += u64::from(allows);
        allows
    }
}
