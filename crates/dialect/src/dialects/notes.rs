//! Notes that are replaced as a whole: JSON envelopes in text frames, one notebook a user, the newest `updatedAt` wins.
//!
//! A newcomer is sent what there is, or told to fetch it; who has lost a conflict is sent what has won; who writes hears nothing when all is well. What cannot
//! be used is answered by an error, and the connection stays. `message` reads what clients send, `note` holds notes to their rules, `http` says the same things
//! as HTTP answers, `instant` knows the calendar. Which note wins is the room's business, and who comes in the server's.

pub mod http;
pub mod instant;
mod json;
mod message;
mod note;

pub use note::{InvalidNote, Lenience, read_note};

use super::sync;
use crate::{Act, Body, Dialect, Entry, Expiry, Farewell, Frame, HttpRefusal, Kind, NO_BODY, Session};
use instant::written;
use json::quoted;
use message::Message;
use room::notebook::{News, Note, NoteId, Reason, Refusal, Request};
use room::{Access, Closing, Event, Input, MemberId};
use std::fmt::Write as _;

/// A message: a note of 12 MiB, with room to spare.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// How far ahead of the server a device's clock may be.
const AHEAD_MS: i64 = 24 * 3_600_000;
/// Messages that a member may be behind: what it has missed by then it fetches faster.
const BEHIND_MAX: u64 = 1_024;
/// Messages a second of one connection, and after a silence: a person saves once in a while, an application that syncs sends many at once.
const MESSAGES_PER_S: u64 = 50;
const MESSAGES_BURST: u64 = 100;
/// Connections of one user: all devices with all their windows.
const CONNECTIONS_MAX: usize = 100;
/// Refused messages within a minute that end a connection: it does not slow down when it is told to.
const REFUSALS_MAX: usize = 100;
const MINUTE_MS: u64 = 60_000;
const SECOND_MS: u64 = 1_000;

/// The dialect.
#[derive(Debug)]
pub(crate) struct Notes;

impl Dialect for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>> {
        let Event::Notes(news) = event else { return None };
        match news {
            News::Updated(note) => {
                out.reserve(note.members.len() + 320);
                out.extend_from_slice(b"{\"type\":\"note_updated\",\"payload\":{\"note\":{");
                write_members(note, out);
                let (writer, at) = (quoted(&note.writer), written(note.accepted_ms as i64));
                out.extend_from_slice(format!("}},\"userId\":{writer}}},\"timestamp\":\"{at}\"}}").as_bytes());
            }
            News::Deleted(mark) => {
                let payload = format!("{{\"noteId\":{},\"userId\":{}}}", quoted(&mark.id), quoted(&mark.by));
                out.extend_from_slice(envelope("note_deleted", &payload, mark.accepted_ms).as_bytes());
            }
            News::Resync { reason, now_ms } => {
                let payload = format!("{{\"reason\":\"{}\"}}", reason_word(*reason));
                out.extend_from_slice(envelope("sync_required", &payload, *now_ms).as_bytes());
            }
            News::Refused { id, was_delete, why, now_ms } => {
                let kind = if *was_delete { "note_delete" } else { "note_update" };
                let (code, message) = refusal_words(why);
                let complaint = Complaint { code, message, kind: Some(kind.to_owned()), id: Some(id.to_string()) };
                out.extend_from_slice(complaint.envelope(*now_ms).as_bytes());
            }
            // Answers to HTTP requests.
            News::Stored(_)
            | News::Erased(_)
            | News::Conflict(_)
            | News::Found(_)
            | News::NotFound(_)
            | News::Page { .. }
            | News::Changes { .. } => return None,
        }
        Some(Body { kind: Kind::Text, rest: &NO_BODY })
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        let (code, reason): (u16, &str) = match closing {
            Closing::Malformed => (1008, "malformed message"),
            Closing::Beyond(limit) => (1009, limit),
            other => sync::close_code(other),
        };
        let message = (*closing == Closing::StorageFailed).then(|| {
            let message = "the note could not be stored; keep it, and send it again later".to_owned();
            let complaint = Complaint { code: "INTERNAL_ERROR", message, kind: None, id: None };
            // Nobody tells a farewell the time, and clients only look whether there is one.
            Frame::text(complaint.envelope(0))
        });
        Farewell { message, delay_ms: 0, code: Some(code), reason: reason.to_owned() }
    }

    fn refusal(&self, closing: &Closing) -> Option<HttpRefusal> {
        let (status, code, message) = match closing {
            Closing::Unauthorized => (401, "INVALID_TOKEN", "the token is missing or not good; sign in again"),
            Closing::Outdated => (401, "INVALID_TOKEN", "the token has expired; sign in again"),
            Closing::Forbidden | Closing::Revoked | Closing::Removed { .. } => {
                (403, "FORBIDDEN", "this user may not use this notebook")
            }
            Closing::NotFound | Closing::Deleted => (404, "NOT_FOUND", "the notebook was deleted"),
            // What else there is comes to those who are in.
            _ => return None,
        };
        let http::Answer { status, body } = http::error(status, code, message, None);
        Some(HttpRefusal { status, is_json: true, body })
    }

    fn room_members_max(&self) -> Option<usize> {
        Some(CONNECTIONS_MAX)
    }

    fn refusal_when_full(&self) -> Option<HttpRefusal> {
        let message = format!("this user has {CONNECTIONS_MAX} connections already; close some of them");
        let http::Answer { status, body } = http::error(429, "RATE_LIMIT_EXCEEDED", &message, None);
        Some(HttpRefusal { status, is_json: true, body })
    }

    fn loses_place_behind(&self) -> Option<u64> {
        Some(BEHIND_MAX)
    }

    /// The client could not come back: it does not send its token again, and has ten attempts.
    fn expiry(&self) -> Expiry {
        Expiry::Stays
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        Box::new(NotesSession {
            member: entry.member,
            since_ms: entry.since_ms,
            allowance: Allowance { left: MESSAGES_BURST * SECOND_MS, at_ms: entry.now_ms },
            refused_ms: Vec::new(),
        })
    }
}

/// Writes the members of a note, with those that are the server's: without braces.
fn write_members(note: &Note, out: &mut Vec<u8>) {
    let (created, updated, version) = (written(note.created_ms), written(note.updated_ms), note.version);
    out.extend_from_slice(&note.members);
    let own = format!(",\"createdAt\":\"{created}\",\"updatedAt\":\"{updated}\",\"remoteVersion\":{version}");
    out.extend_from_slice(own.as_bytes());
}

/// A message: the payload is JSON already.
fn envelope(kind: &str, payload: &str, now_ms: u64) -> String {
    format!("{{\"type\":\"{kind}\",\"payload\":{payload},\"timestamp\":\"{}\"}}", written(now_ms as i64))
}

fn reason_word(reason: Reason) -> &'static str {
    match reason {
        Reason::InitialSync => "initial_sync",
        Reason::TooManyChanges => "too_many_changes",
        Reason::ServerUpdate => "server_update",
        Reason::MissedMessages => "missed_messages",
    }
}

/// The code of a refusal, and what it says.
fn refusal_words(why: &Refusal) -> (&'static str, String) {
    match why {
        Refusal::ReadOnly => ("FORBIDDEN", "you may only read these notes; nothing was changed".to_owned()),
        Refusal::Limit(limit) => ("LIMIT_EXCEEDED", limit.clone()),
    }
}

/// Why a message is not processed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Complaint {
    code: &'static str,
    message: String,
    /// The type of the message, cut to what may be repeated.
    kind: Option<String>,
    /// The note that it is about.
    id: Option<String>,
}

impl Complaint {
    fn new(code: &'static str, message: &str, kind: Option<String>) -> Self {
        Self { code, message: message.to_owned(), kind, id: None }
    }

    fn json() -> Self {
        Self::new("INVALID_JSON", "this is not JSON; send one object in a text frame", None)
    }

    fn message(message: &str, kind: Option<String>) -> Self {
        Self::new("INVALID_MESSAGE", message, kind)
    }

    fn unknown_type(kind: Option<String>) -> Self {
        Self::new("UNKNOWN_TYPE", "clients send note_update, note_delete and ping", kind)
    }

    fn no_note(kind: Option<String>) -> Self {
        Self::new("INVALID_NOTE", "note is missing; send it in the payload", kind)
    }

    fn no_id(kind: Option<String>) -> Self {
        let message = "noteId has to be a string of 1 to 128 characters without control characters";
        Self::new("INVALID_NOTE", message, kind)
    }

    fn note(fault: InvalidNote, kind: Option<String>) -> Self {
        Self { code: "INVALID_NOTE", message: fault.message, kind, id: fault.id }
    }

    fn too_fast(kind: Option<String>) -> Self {
        let message = "more than 50 messages a second; this one was not processed, send it again later";
        Self::new("RATE_LIMIT_EXCEEDED", message, kind)
    }

    fn envelope(&self, now_ms: u64) -> String {
        let mut payload = format!("{{\"code\":\"{}\",\"message\":{}", self.code, quoted(&self.message));
        for (name, value) in [("messageType", &self.kind), ("noteId", &self.id)] {
            if let Some(value) = value {
                let _ = write!(payload, ",\"{name}\":{}", quoted(value));
            }
        }
        payload.push('}');
        envelope("error", &payload, now_ms)
    }
}

struct NotesSession {
    member: MemberId,
    since_ms: Option<u64>,
    allowance: Allowance,
    /// Times of the messages of the last minute that were refused for their rate.
    refused_ms: Vec<u64>,
}

impl Session for NotesSession {
    fn open(&mut self, _: Access, acts: &mut Vec<Act>) {
        acts.push(self.ask(Request::Replay { since_ms: self.since_ms }));
    }

    fn receive(&mut self, frame: Frame, now_ms: u64, acts: &mut Vec<Act>) {
        let payload = frame.payload();
        if payload.len() > MESSAGE_BYTES_MAX {
            let limit = format!("a message may have {MESSAGE_BYTES_MAX} bytes; send less");
            return acts.push(Act::End(Closing::Beyond(limit)));
        }
        let message = match &frame {
            Frame::Text(text) => message::read(text, now_ms),
            Frame::Binary(_) => Err(Complaint::json()),
        };
        if let Ok(Message::Ping(number)) = &message {
            let payload = format!("{{\"timestamp\":{}}}", number.as_deref().unwrap_or(&now_ms.to_string()));
            return acts.push(Act::Reply(Frame::text(envelope("pong", &payload, now_ms))));
        }
        if !self.allowance.takes_one(now_ms) {
            return self.refuse(&message, now_ms, acts);
        }
        match message {
            Ok(Message::Update(note)) => acts.push(self.ask(Request::Put { note, answered: false })),
            Ok(Message::Delete(id, at_ms)) => {
                acts.push(self.ask(Request::Delete { id: NoteId::from(id), at_ms, answered: false }));
            }
            Ok(Message::Ping(_)) => {}
            Err(complaint) => {
                if complaint.code == "UNKNOWN_TYPE" {
                    acts.extend(complaint.kind.clone().map(Act::Unknown));
                }
                acts.push(Act::Reply(Frame::text(complaint.envelope(now_ms))));
            }
        }
    }
}

impl NotesSession {
    fn ask(&self, request: Request) -> Act {
        Act::Room(Input::Notes(self.member, request))
    }

    /// One too many: its sender is told, and goes when it does not listen.
    fn refuse(&mut self, message: &Result<Message, Complaint>, now_ms: u64, acts: &mut Vec<Act>) {
        let (kind, id) = match message {
            Ok(Message::Update(note)) => (Some("note_update".to_owned()), Some(note.id.to_string())),
            Ok(Message::Delete(id, _)) => (Some("note_delete".to_owned()), Some(id.clone())),
            Ok(Message::Ping(_)) => (None, None),
            Err(complaint) => (complaint.kind.clone(), complaint.id.clone()),
        };
        let complaint = Complaint { id, ..Complaint::too_fast(kind) };
        acts.push(Act::Reply(Frame::text(complaint.envelope(now_ms))));
        self.refused_ms.retain(|then| now_ms.saturating_sub(*then) < MINUTE_MS);
        self.refused_ms.push(now_ms);
        if self.refused_ms.len() >= REFUSALS_MAX {
            acts.push(Act::End(Closing::Abusive("too many messages")));
        }
    }
}

/// What a connection may still send, in thousandths of a message.
struct Allowance {
    left: u64,
    at_ms: u64,
}

impl Allowance {
    fn takes_one(&mut self, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.at_ms).saturating_mul(MESSAGES_PER_S);
        self.left = self.left.saturating_add(earned).min(MESSAGES_BURST * SECOND_MS);
        // A clock that was put back earns nothing until it has caught up.
        self.at_ms = self.at_ms.max(now_ms);
        let takes = self.left >= SECOND_MS;
        self.left -= if takes { SECOND_MS } else { 0 };
        takes
    }
}
