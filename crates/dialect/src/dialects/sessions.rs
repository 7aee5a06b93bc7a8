//! Documents whose members see each other come and go: raw Yjs v1 updates in binary frames, everything else as JSON in text frames, one message a frame.
//!
//! A newcomer is told `initial_state`, then the document in one frame, then what is published. Errors are answered by their code, and the connection stays;
//! too many of them end it. Called by the server for connections below `/ws/document/`. Who is here, presence ids, clocks and rights are the room's; what JSON
//! presence has is in `sessions/presence.rs`.

mod id;
mod object;
mod presence;

use super::sync;
use crate::{Act, Body, Dialect, Entry, Farewell, Frame, HttpRefusal, Kind, NO_BODY, Rate, Session, Told};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use document::MessageLimits;
use object::{Object, Writer, is_json, quoted, text};
use room::{Access, Author, Closing, Denied, Event, Input, Manner, MemberId, Person, StateVector, Topic, Update};
use std::sync::Arc;

/// What applications say to each other is for members of this dialect.
const TOPIC: Topic = Topic("sessions");

/// Bytes of a binary frame: a whole document has to fit.
const BINARY_BYTES_MAX: usize = 16 << 20;
/// Bytes of a text frame: a numbered update of 768 KiB. What is larger belongs into a binary frame.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Bytes of an application's message: it is sent to everybody, and is no document.
const APPLICATION_BYTES_MAX: usize = 64 << 10;
/// Bytes of one state as it is kept: each newcomer is sent those of all.
const STATE_BYTES_MAX: usize = 16 << 10;
/// A client with more errors than these in a minute is broken, and does not get better by an answer to each.
const ERRORS_PER_MINUTE_MAX: usize = 20;
const MINUTE_MS: u64 = 60_000;
/// So many refused messages within ten seconds: it does not slow down when it is told to.
const REFUSALS_MAX: usize = 10;
const REFUSALS_MS: u64 = 10_000;
/// Messages that a session may be behind: it would not be told of a join or leave that was passed over, so it has to begin anew.
const BEHIND_MAX: u64 = 512;
/// Sessions of one document: each that comes or goes is told to all others, and no page shows more people.
const ROOM_SESSIONS_MAX: usize = 1_000;
/// Of one user in all its sessions: pages send a cursor a frame at most.
const USER_RATE: Rate = Rate { per_s: 100, burst: 200 };

/// What the document of an empty room is as an update.
const NOTHING: &[u8] = &[0, 0];

/// Padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Numbers of messages.
mod number {
    pub(super) const STATE_VECTOR: u8 = 0;
    pub(super) const UPDATE: u8 = 1;
    pub(super) const AWARENESS: u8 = 2;
    pub(super) const QUERY_AWARENESS: u8 = 3;
    pub(super) const JOIN: u8 = 10;
    pub(super) const LEAVE: u8 = 11;
    pub(super) const ERROR: u8 = 99;
}

/// The dialect.
#[derive(Debug)]
pub(crate) struct Sessions;

impl Dialect for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>> {
        let text = match event {
            Event::Base(bytes) | Event::Missing(bytes) | Event::Update(bytes) => {
                return Some(Body { kind: Kind::Binary, rest: bytes });
            }
            Event::Relayed(TOPIC, text) => return Some(Body { kind: Kind::Text, rest: text }),
            Event::StateVector(bytes) => numbered(number::STATE_VECTOR, bytes),
            Event::Presence(states) => typed("awareness", number::AWARENESS, "awareness", &presence::shown(states)),
            Event::Arrived(person) => typed("join", number::JOIN, "user", &user(person)),
            Event::Departed(person) => typed("leave", number::LEAVE, "user", &user(person)),
            Event::Denied(Denied::ReadOnly) => Complaint::ReadOnly.message(false),
            Event::Saved { .. }
            | Event::Durable(_)
            | Event::Awareness(_)
            | Event::Welcome { .. }
            | Event::Relayed(..)
            | Event::Marked(_)
            | Event::Notes(_)
            | Event::Tables(_) => return None,
        };
        out.extend_from_slice(text.as_bytes());
        Some(Body { kind: Kind::Text, rest: &NO_BODY })
    }

    fn farewell(&self, closing: &Closing) -> Farewell {
        let (code, reason): (u16, &str) = match closing {
            Closing::Malformed => (1008, "malformed message"),
            Closing::Beyond(limit) => (1009, limit),
            Closing::Outdated => (4401, "token expired"),
            Closing::Forbidden => (4403, "forbidden"),
            Closing::NotFound => (4404, "document not found"),
            Closing::Deleted => (4404, "document deleted"),
            Closing::TokenExpired => (1008, "token expired"),
            other => sync::close_code(other),
        };
        Farewell { message: None, delay_ms: 0, code: Some(code), reason: reason.to_owned() }
    }

    fn refusal(&self, closing: &Closing) -> Option<HttpRefusal> {
        let (status, error) = match closing {
            Closing::Unauthorized | Closing::Outdated => (401, "unauthorized"),
            Closing::Forbidden | Closing::Revoked | Closing::Removed { .. } => (403, "forbidden"),
            Closing::NotFound | Closing::Deleted => (404, "not_found"),
            // What else there is comes to those who are in.
            _ => return None,
        };
        Some(HttpRefusal { status, is_json: true, body: format!("{{\"error\":\"{error}\"}}") })
    }

    fn behind_max(&self) -> Option<u64> {
        Some(BEHIND_MAX)
    }

    fn room_members_max(&self) -> Option<usize> {
        Some(ROOM_SESSIONS_MAX)
    }

    fn tells_document_first(&self) -> bool {
        true
    }

    fn user_rate(&self) -> Option<Rate> {
        Some(USER_RATE)
    }

    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session> {
        Box::new(SessionsSession {
            member: entry.member,
            limits: *entry.limits,
            person: Arc::new(Person { id: entry.user.clone(), name: Author::from(entry.name) }),
            entrance: Some(Box::new(Entrance {
                session_id: id::session_id(entry.now_ms, entry.chance),
                document_id: entry.room.to_owned(),
                connected_at: id::written(entry.now_ms),
                wanted: entry.presence_id,
                chance: entry.chance as u64,
                welcome: None,
                later: Vec::new(),
            })),
            heard_ms: entry.now_ms,
            errors_ms: Vec::new(),
            refusals_ms: Vec::new(),
        })
    }
}

struct SessionsSession {
    member: MemberId,
    limits: MessageLimits,
    person: Arc<Person>,
    /// None: it has been told all that a newcomer is told.
    entrance: Option<Box<Entrance>>,
    /// When its last message came.
    heard_ms: u64,
    /// When it was told of its last errors, and of those that are refusals.
    errors_ms: Vec<u64>,
    refusals_ms: Vec<u64>,
}

/// A session that is not told everything yet.
struct Entrance {
    session_id: String,
    document_id: String,
    connected_at: String,
    wanted: Option<u64>,
    chance: u64,
    /// Its presence id, and who else is here.
    welcome: Option<(u64, Arc<[Arc<Person>]>)>,
    /// What waits until it has been told the document.
    later: Vec<Frame>,
}

/// What a message means.
enum Meaning {
    Room(Input),
    Nothing,
}

/// Why a message is not processed.
#[derive(Clone, Debug)]
enum Complaint {
    Update(String),
    Json,
    Message(&'static str),
    UnknownType,
    Payload(&'static str),
    Reserved,
    Awareness(&'static str),
    StateTooLarge,
    MessageTooLarge,
    TooFast,
    ReadOnly,
}

impl Complaint {
    /// Its code, what was wrong, and what to do.
    fn words(&self) -> (&'static str, String) {
        let (code, text) = match self {
            Self::Update(why) => {
                let text = format!("this is not a Yjs v1 update: {why}; send one raw update a frame");
                return ("INVALID_UPDATE", text);
            }
            Self::Message(why) => return ("INVALID_MESSAGE", format!("{why}; send an object with a type")),
            Self::Payload(why) => return ("INVALID_PAYLOAD", (*why).to_owned()),
            Self::Awareness(why) => return ("INVALID_AWARENESS", (*why).to_owned()),
            Self::StateTooLarge => {
                return ("STATE_TOO_LARGE", format!("a state may have {STATE_BYTES_MAX} bytes; send less"));
            }
            Self::MessageTooLarge => {
                let text = format!("a message to others may have {APPLICATION_BYTES_MAX} bytes; send less");
                return ("MESSAGE_TOO_LARGE", text);
            }
            Self::Json => ("INVALID_JSON", "this text is not JSON; send updates in binary frames"),
            Self::UnknownType => {
                ("UNKNOWN_TYPE", "no message has this number; send 0, 1, 2, 3 or a type that is a text")
            }
            Self::Reserved => ("RESERVED_TYPE", "only the server sends messages of this type; choose another one"),
            Self::TooFast => ("RATE_LIMITED", "too many messages; this one was not processed, send fewer"),
            Self::ReadOnly => ("READ_ONLY", "you may only read this document; this was neither stored nor passed on"),
        };
        (code, text.to_owned())
    }

    fn message(&self, resync: bool) -> String {
        let (code, words) = self.words();
        let mut error = Writer::new();
        error.text("code", code);
        error.text("message", &words);
        if resync {
            error.member("resync", "true");
        }
        typed("error", number::ERROR, "error", &error.finish())
    }
}

impl Session for SessionsSession {
    fn open(&mut self, _: Access, acts: &mut Vec<Act>) {
        let (member, person) = (self.member, self.person.clone());
        let (id, chance) = self.entrance.as_ref().map_or((None, 0), |entrance| (entrance.wanted, entrance.chance));
        let manner = Manner { each_denial: true, relay_denial: true, ..Manner::default() };
        let inputs = [
            Input::Adopt(member, manner),
            Input::Introduce { member, person, id, chance },
            Input::QueryAwareness { member, always: true },
            Input::SyncInOne(member, StateVector::default()),
        ];
        acts.extend(inputs.map(Act::Room));
    }

    fn receive(&mut self, frame: Frame, now_ms: u64, acts: &mut Vec<Act>) {
        self.heard_ms = now_ms;
        // The last one may have come from the room.
        if recent(&mut self.errors_ms, now_ms, MINUTE_MS) > ERRORS_PER_MINUTE_MAX {
            return acts.push(too_many_errors());
        }
        if let Some(closing) = beyond(&frame) {
            return acts.push(Act::End(closing));
        }
        let meaning = match &frame {
            Frame::Binary(bytes) => self.change(bytes.clone()),
            Frame::Text(text) => self.read(text),
        };
        match meaning {
            Ok(Meaning::Room(input)) => acts.push(Act::Room(input)),
            Ok(Meaning::Nothing) => {}
            Err(complaint) => self.complain(&complaint, false, now_ms, acts),
        }
    }

    fn receive_too_much(&mut self, frame: Frame, now_ms: u64, acts: &mut Vec<Act>) {
        if let Some(closing) = beyond(&frame) {
            return acts.push(Act::End(closing));
        }
        let resync = match &frame {
            Frame::Binary(_) => true,
            Frame::Text(text) => is_numbered_update(text),
        };
        self.complain(&Complaint::TooFast, resync, now_ms, acts);
        self.refusals_ms.push(now_ms);
        if recent(&mut self.refusals_ms, now_ms, REFUSALS_MS) >= REFUSALS_MAX {
            acts.push(Act::End(Closing::Abusive("too many messages")));
        }
    }

    fn tell(&mut self, event: &Event) -> Told {
        let Some(entrance) = &mut self.entrance else { return self.tell_within(event) };
        match event {
            Event::Welcome { id, people } => {
                entrance.welcome = Some((*id, people.clone()));
                Told::Own(Vec::new())
            }
            Event::Presence(states) => match entrance.welcome.take() {
                Some((id, people)) => {
                    let awareness = presence::shown(states);
                    Told::Own(vec![Frame::text(initial_state(entrance, &self.person, id, &people, &awareness))])
                }
                None => self.tell_later(event),
            },
            Event::Missing(document) => {
                let later = std::mem::take(&mut entrance.later);
                self.entrance = None;
                if later.is_empty() && **document != *NOTHING {
                    return Told::InCommon;
                }
                let document = (**document != *NOTHING).then(|| Frame::Binary(document.clone()));
                Told::Own(document.into_iter().chain(later).collect())
            }
            _ => self.tell_later(event),
        }
    }
}

impl SessionsSession {
    /// What a session is told that has been told everything a newcomer is told.
    fn tell_within(&mut self, event: &Event) -> Told {
        match event {
            Event::Missing(bytes) => Told::Own(vec![Frame::text(numbered(number::UPDATE, bytes))]),
            // Its own, of which a part had to wait for others.
            Event::Update(_) => Told::Own(Vec::new()),
            Event::Denied(_) => {
                self.errors_ms.push(self.heard_ms);
                Told::InCommon
            }
            _ => Told::InCommon,
        }
    }

    fn tell_later(&mut self, event: &Event) -> Told {
        let frames = match self.tell_within(event) {
            Told::Own(frames) => frames,
            Told::InCommon => Sessions.encode(event).into_iter().collect(),
        };
        if let Some(entrance) = &mut self.entrance {
            entrance.later.extend(frames);
        }
        Told::Own(Vec::new())
    }

    /// A change of the document, raw.
    fn change(&self, bytes: Bytes) -> Result<Meaning, Complaint> {
        let update = Update::validate(bytes, &self.limits).map_err(|invalid| Complaint::Update(invalid.to_string()))?;
        Ok(Meaning::Room(Input::Update { member: self.member, author: None, is_answer: false, update }))
    }

    fn read(&self, bytes: &Bytes) -> Result<Meaning, Complaint> {
        let json = std::str::from_utf8(bytes).ok().filter(|json| is_json(json)).ok_or(Complaint::Json)?;
        let object = Object::read(json).ok_or(Complaint::Message("this is not an object"))?;
        let kind = object.get("type").ok_or(Complaint::Message("the type is missing"))?;
        if object.count("type") > 1 {
            // Others might look at the other one.
            return Err(Complaint::Message("the type is there more than once"));
        }
        if kind.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return self.read_numbered(kind, &object);
        }
        let member = self.member;
        match text(kind).ok_or(Complaint::Message("the type is neither a text nor a number"))?.as_str() {
            "awareness" => self.present(&object),
            "query_awareness" => Ok(Meaning::Room(Input::QueryAwareness { member, always: true })),
            "join" | "leave" | "initial_state" | "error" => Err(Complaint::Reserved),
            _ if bytes.len() > APPLICATION_BYTES_MAX => Err(Complaint::MessageTooLarge),
            _ => Ok(Meaning::Room(Input::Relay { member, topic: TOPIC, payload: bytes.clone() })),
        }
    }

    fn read_numbered(&self, kind: &str, object: &Object<'_>) -> Result<Meaning, Complaint> {
        let member = self.member;
        match number_of(kind).ok_or(Complaint::UnknownType)? {
            number::STATE_VECTOR => {
                let known = StateVector::decode(&decoded(object)?, &self.limits);
                let known = known
                    .map_err(|_| Complaint::Payload("the payload is not a v1 state vector; send \"AA==\" for none"))?;
                Ok(Meaning::Room(Input::SyncInOne(member, known)))
            }
            number::UPDATE => self.change(decoded(object)?.into()),
            number::AWARENESS => match object.get("payload") {
                None => Err(Complaint::Payload("the payload is missing; send an object with user, cursor and state")),
                Some("null") => Ok(Meaning::Room(Input::Present(member, None))),
                Some(payload) => {
                    let payload = Object::read(payload).ok_or(Complaint::Awareness("the payload is not an object"))?;
                    self.present(&payload)
                }
            },
            number::QUERY_AWARENESS => Ok(Meaning::Room(Input::QueryAwareness { member, always: true })),
            number::JOIN | number::LEAVE => Err(Complaint::Reserved),
            number::ERROR => Ok(Meaning::Nothing),
            _ => Err(Complaint::UnknownType),
        }
    }

    /// Presence: the object itself, or what it has under `awareness`.
    fn present(&self, object: &Object<'_>) -> Result<Meaning, Complaint> {
        let kept = match object.get("awareness") {
            Some("null") => return Ok(Meaning::Room(Input::Present(self.member, None))),
            Some(nested) => {
                let nested = Object::read(nested).ok_or(Complaint::Awareness("awareness is not an object"))?;
                presence::kept(&nested, &self.person)
            }
            None => presence::kept(object, &self.person),
        };
        let kept = kept.map_err(Complaint::Awareness)?;
        if kept.len() > STATE_BYTES_MAX {
            return Err(Complaint::StateTooLarge);
        }
        // Other dialects are to be able to read it.
        if !document::is_json_object_or_null(kept.as_bytes()) {
            return Err(Complaint::Awareness("the state is nested too deeply"));
        }
        Ok(Meaning::Room(Input::Present(self.member, Some(kept.into()))))
    }

    fn complain(&mut self, complaint: &Complaint, resync: bool, now_ms: u64, acts: &mut Vec<Act>) {
        let message = Frame::text(complaint.message(resync));
        match &mut self.entrance {
            Some(entrance) => entrance.later.push(message),
            None => acts.push(Act::Reply(message)),
        }
        self.errors_ms.push(now_ms);
        if recent(&mut self.errors_ms, now_ms, MINUTE_MS) > ERRORS_PER_MINUTE_MAX {
            acts.push(too_many_errors());
        }
    }
}

/// How many of these moments are not longer ago than that. The others are forgotten.
fn recent(moments_ms: &mut Vec<u64>, now_ms: u64, within_ms: u64) -> usize {
    moments_ms.retain(|&then| now_ms.saturating_sub(then) < within_ms);
    moments_ms.len()
}

fn too_many_errors() -> Act {
    Act::End(Closing::Abusive("too many errors"))
}

/// Why a frame is too large, if it is.
fn beyond(frame: &Frame) -> Option<Closing> {
    let (kind, max) = match frame {
        Frame::Binary(_) => ("binary", BINARY_BYTES_MAX),
        Frame::Text(_) => ("text", TEXT_BYTES_MAX),
    };
    (frame.payload().len() > max).then(|| Closing::Protocol(1009, format!("{kind} frame larger than {max} bytes")))
}

/// The number that a numbered message begins with. None: there are no such messages.
fn number_of(kind: &str) -> Option<u8> {
    let number: f64 = kind.parse().ok()?;
    (0..=number::ERROR).find(|known| f64::from(*known) == number)
}

fn is_numbered_update(text: &Bytes) -> bool {
    let object = std::str::from_utf8(text).ok().and_then(Object::read);
    let kind = object.and_then(|object| object.get("type").and_then(number_of));
    kind == Some(number::UPDATE)
}

/// The bytes of a payload.
fn decoded(object: &Object<'_>) -> Result<Vec<u8>, Complaint> {
    let payload = object.get("payload").ok_or(Complaint::Payload("the payload is missing; send base64"))?;
    let payload = text(payload).and_then(|payload| BASE64.decode(payload).ok());
    payload.ok_or(Complaint::Payload("the payload is not base64 of the standard alphabet"))
}

/// `{"type":0,"payload":"AA=="}`.
fn numbered(number: u8, bytes: &[u8]) -> String {
    format!("{{\"type\":{number},\"payload\":\"{}\"}}", BASE64.encode(bytes))
}

/// `{"type":"join","type_code":10,"user":{}}`.
fn typed(kind: &str, code: u8, member: &str, value: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"type_code\":{code},\"{member}\":{value}}}")
}

fn user(person: &Person) -> String {
    format!("{{\"id\":{},\"name\":{}}}", quoted(&person.id), quoted(&person.name))
}

fn initial_state(entrance: &Entrance, me: &Person, id: u64, people: &[Arc<Person>], awareness: &str) -> String {
    let mut session = Writer::new();
    session.text("id", &entrance.session_id);
    session.text("document_id", &entrance.document_id);
    session.text("user_id", &me.id);
    session.text("user_name", &me.name);
    session.member("client_id", &id.to_string());
    session.text("connected_at", &entrance.connected_at);
    let users: Vec<String> = people.iter().map(|person| user(person)).collect();
    let (session, users) = (session.finish(), users.join(","));
    format!("{{\"type\":\"initial_state\",\"session\":{session},\"users\":[{users}],\"awareness\":{awareness}}}")
}
