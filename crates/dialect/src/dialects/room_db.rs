//! Room databases: a small SQL database for each room, called and watched by JSON messages, one object a frame.
//!
//! Called by the server for connections that name a database. Reads envelopes and writes answers; payloads, rows and values pass through as the text that
//! they are. Who is told what is the room's business (`room::Hub`), what methods do is the database's.

mod json;
mod message;
mod method;
mod news;

use super::sync;
use crate::{Act, Body, Dialect, Entry, Farewell, Frame, HttpRefusal, Kind, NO_BODY, Session, Told};
use bytes::Bytes;
use message::{Fault, Meaning, is_awaited, is_large_insertion};
use room::hub::{Answer, EXECUTE, News, Reply, Request, SUBSCRIBE};
use room::{Access, Closing, Event, Input, MemberId};
use std::sync::Arc;

/// Bytes of a message: a payload is one statement, or one value.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Bytes of one that inserts many rows: 10,000 rows of 1.6 KiB.
const INSERTION_BYTES_MAX: usize = 16 << 20;
/// A client with more messages than these in a minute that are none is broken, and does not get better by an answer to each.
const FAULTS_PER_MINUTE_MAX: usize = 100;
const MINUTE_MS: u64 = 60_000;
/// Messages that a member may be behind: it would not be told of changes that were passed over, so it has to begin anew.
const BEHIND_MAX: u64 = 1_024;

/// The dialect.
#[derive(Debug)]
pub(crate) struct RoomDb;

impl Dialect for RoomDb {
    fn name(&self) -> &'static str {
        "room-db"
    }

    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>> {
        let Event::Tables(news) = event else { return None };
        let rest = news::write(news, out).unwrap_or(&NO_BODY);
        Some(Body { kind: Kind::Text, rest })
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        let (code, reason): (u16, &str) = match closing {
            Closing::Malformed => (1008, TOO_MANY_FAULTS),
            Closing::Beyond(limit) => (1009, limit),
            Closing::ShuttingDown => (1001, "Server shutdown"),
            Closing::Unauthorized => (1008, "not logged in"),
            Closing::Outdated | Closing::TokenExpired => (1008, "credentials expired"),
            Closing::Forbidden | Closing::Revoked => (1008, "access revoked"),
            Closing::NotFound | Closing::Deleted => (1008, "room deleted"),
            Closing::Removed { come_back: false } => (1008, "disconnected by an administrator"),
            Closing::Removed { come_back: true } => (1013, "disconnected by an administrator, reconnect"),
            Closing::StorageFailed => (1011, "storage failed"),
            other => sync::close_code(other),
        };
        Farewell { message: None, delay_ms: 0, code: Some(code), reason: reason.to_owned() }
    }

    fn refusal(&self, closing: &Closing) -> Option<HttpRefusal> {
        let (status, body) = match closing {
            Closing::Incomplete(parameter) => (400, format!("Missing {parameter} query parameter")),
            Closing::Unauthorized => (401, "Unauthorized. Please log in.".to_owned()),
            Closing::Outdated | Closing::TokenExpired => (401, "API key expired".to_owned()),
            Closing::Revoked => (401, "Unauthorized: Invalid API Key or Session".to_owned()),
            Closing::Forbidden | Closing::Removed { .. } => (403, "Forbidden".to_owned()),
            Closing::NotFound | Closing::Deleted => (404, "Room not found".to_owned()),
            // What else there is comes to those who are in.
            _ => return None,
        };
        Some(HttpRefusal { status, is_json: false, body })
    }

    fn behind_max(&self) -> Option<u64> {
        Some(BEHIND_MAX)
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        Box::new(RoomDbSession { member: entry.member, may_read: entry.may_read, faults_ms: Vec::new() })
    }
}

const TOO_MANY_FAULTS: &str = "too many invalid messages";

struct RoomDbSession {
    member: MemberId,
    /// Otherwise it is not told what there is, and not of changes.
    may_read: bool,
    /// When it sent its last messages that were none.
    faults_ms: Vec<u64>,
}

impl Session for RoomDbSession {
    fn open(&mut self, _: Access, acts: &mut Vec<Act>) {
        acts.push(Act::Reply(Frame::text("{\"type\":\"reset\"}")));
    }

    fn receive(&mut self, frame: Frame, now_ms: u64, acts: &mut Vec<Act>) {
        let bytes = frame.payload();
        if bytes.len() > MESSAGE_BYTES_MAX {
            let max = if is_large_insertion(bytes) { INSERTION_BYTES_MAX } else { MESSAGE_BYTES_MAX };
            if bytes.len() > max {
                let closing = Closing::Protocol(1009, format!("message larger than {max} bytes"));
                return acts.push(Act::End(closing));
            }
        }
        let (meaning, fault) = message::read(bytes);
        acts.push(match meaning {
            Meaning::Room(request) if !self.may_read && reads(&request).is_some() => unread(&request),
            Meaning::Room(request) => Act::Room(Input::Tables(self.member, Box::new(request))),
            Meaning::Reply(text) => Act::Reply(Frame::Text(text.into())),
        });
        if fault == Fault::Message {
            self.faults_ms.retain(|&then| now_ms.saturating_sub(then) < MINUTE_MS);
            self.faults_ms.push(now_ms);
            if self.faults_ms.len() > FAULTS_PER_MINUTE_MAX {
                acts.push(Act::End(Closing::Abusive(TOO_MANY_FAULTS)));
            }
        }
    }

    fn tell(&mut self, event: &Event) -> Told {
        let Event::Tables(News::Reply(reply)) = event else { return Told::InCommon };
        let (before, behind) = (news::before(reply), news::behind(reply, is_awaited(&reply.echo)));
        if before.is_none() && behind.is_none() {
            return Told::InCommon;
        }
        let frames = [before.map(text), RoomDb.encode(event), behind.map(text)];
        Told::Own(frames.into_iter().flatten().collect())
    }
}

/// The method of a request that the room itself answers with what there is, or will be; the database looks at the others.
fn reads(request: &Request) -> Option<(&'static str, &Bytes)> {
    match request {
        Request::Subscribe { echo, .. } | Request::WatchTables { echo, .. } => Some((SUBSCRIBE, echo)),
        Request::WatchResult { echo, .. } => Some((EXECUTE, echo)),
        Request::GetMemory { kind, echo } => Some((kind.getter(), echo)),
        _ => None,
    }
}

/// The refusal of such a request.
fn unread(request: &Request) -> Act {
    let (method, echo) = reads(request).unwrap_or((SUBSCRIBE, &NO_BODY));
    let answer = Answer::failed("API key lacks the 'read' scope");
    let reply = Event::Tables(News::Reply(Arc::new(Reply { method, echo: echo.clone(), answer })));
    Act::Reply(RoomDb.encode(&reply).unwrap_or_else(|| Frame::text("")))
}

fn text(message: Vec<u8>) -> Frame {
    Frame::Text(message.into())
}
