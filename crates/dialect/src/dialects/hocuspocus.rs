//! The Hocuspocus provider: versions 3 and 4.
//!
//! One socket carries several documents: every message is `varstring address, varuint type, body`, and the address names the document, with a NUL and a session id
//! behind it where several editors of a page share one. `Switchboard` takes the addresses off and keeps what comes before a document is accepted;
//! behind it each document is a connection of its own, whose messages have no address. Sync and awareness are those of the stock provider; each
//! change is answered with whether it is saved.

use crate::{Act, Body, Dialect, Entry, Expiry, Farewell, Frame, HttpRefusal, Kind, Session, Told};
use bytes::Bytes;
use document::MessageLimits;
use document::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};
use document::wire::Invalid;
use room::{Access, Closing, Denied, Event, Input, Manner, MemberId, StateVector, Topic, Update};
use std::collections::HashMap;

const SYNC: u8 = 0;
const AWARENESS: u8 = 1;
const AUTH: u8 = 2;
const QUERY_AWARENESS: u8 = 3;
const SYNC_REPLY: u8 = 4;
const STATELESS: u8 = 5;
const BROADCAST_STATELESS: u8 = 6;
const CLOSE: u8 = 7;
const SYNC_STATUS: u8 = 8;

const STEP_1: u8 = 0;
const STEP_2: u8 = 1;
const UPDATE: u8 = 2;

const TOKEN: u8 = 0;
const DENIED: u8 = 1;
const ACCEPTED: u8 = 2;

/// A frame that is this byte alone is the answer to a ping, without an address.
const PONG: &[u8] = &[10];
/// An awareness update with nobody in it: resets the provider's silence timer, and means nothing.
const KEEP_ALIVE: &[u8] = &[AWARENESS, 1, 0];
/// Asks for a token.
const TOKEN_REQUEST: &[u8] = &[AUTH, TOKEN];

/// What the provider shows for whatever it should not have sent.
const RESET: &str = "Reset Connection";
/// Of one stateless message: these are for small signals between applications.
const STATELESS_BYTES_MAX: usize = 1 << 20;

const DOCUMENT_BYTES_MAX: usize = 1_024;
const SESSION_BYTES_MAX: usize = 128;

/// Before a document is accepted, over all addresses of a socket.
const QUEUED_BYTES_MAX: usize = 5 << 20;
const QUEUED_MESSAGES_MAX: usize = 1_000;
const PENDING_ADDRESSES_MAX: usize = 100;

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
        let (kind, body): (&[u8], _) = match event {
            Event::StateVector(bytes) => (&[SYNC, STEP_1], bytes),
            Event::Missing(bytes) => (&[SYNC, STEP_2], bytes),
            // Only a step 2 makes the provider say that it is synced, and that is to mean all of it.
            Event::Base(bytes) | Event::Update(bytes) => (&[SYNC, UPDATE], bytes),
            Event::Awareness(bytes) => (&[AWARENESS], bytes),
            Event::Relayed(topic, bytes) if *topic == TOPIC => (&[STATELESS], bytes),
            Event::Saved { .. }
            | Event::Denied(_)
            | Event::Durable(_)
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

/// A message of one text or byte array.
fn said(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 5 + payload.len());
    out.extend_from_slice(head);
    write_var_bytes(&mut out, payload);
    out
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
            AWARENESS => acts.push(Act::Room(Input::Awareness(member, frame.slice_ref(reader.var_bytes()?)))),
            AUTH => {
                if reader.var_uint()? == u64::from(TOKEN) {
                    acts.push(Act::Renew(reader.var_string()?.to_owned()));
                }
            }
            QUERY_AWARENESS => acts.push(Act::Room(Input::QueryAwareness { member, always: true })),
            STATELESS => {
                let payload = frame.slice_ref(reader.var_string()?.as_bytes());
                if payload.len() > STATELESS_BYTES_MAX {
                    let limit = format!("stateless message larger than {STATELESS_BYTES_MAX} bytes");
                    acts.push(Act::End(Closing::Beyond(limit)));
                } else {
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
        acts.push(match Update::validate(frame.slice_ref(payload), &self.limits) {
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

/// What one message on the socket comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Routed {
    /// Nothing.
    Nothing,
    /// It is for the document of this line.
    To(usize, Bytes),
    /// The client wants a document, and shows a token for it. To be answered by `accept` or `refuse`.
    Asks {
        /// The line on which it is.
        line: usize,
        /// The document's name.
        document: String,
        /// May be empty.
        token: String,
    },
    /// The client is sent this.
    Reply(Vec<u8>),
    /// The socket is closed.
    Close(u16, &'static str),
}

/// The addresses of one socket. A line is an address for as long as it is not closed or refused.
#[derive(Debug, Default)]
pub struct Switchboard {
    lines: Vec<Option<Line>>,
    by_address: HashMap<Bytes, usize>,
    queued_bytes: usize,
    queued_messages: usize,
    pending: usize,
}

#[derive(Debug)]
struct Line {
    address: Bytes,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// No token was shown yet.
    Silent(Vec<Bytes>),
    /// Its token is being looked at.
    Asking(Vec<Bytes>),
    /// The same, but the client does not want the document any more.
    Left,
    /// It was accepted, and the client has closed it: what comes now is for its next life.
    Closing(Vec<Bytes>),
    Accepted,
}

impl Switchboard {
    /// Takes a binary message of the client.
    pub fn receive(&mut self, frame: &Bytes) -> Routed {
        if frame == PONG {
            return Routed::Nothing;
        }
        let mut reader = Reader::new(frame);
        let Ok(address) = reader.var_string() else { return Routed::Close(4401, "Unauthorized") };
        self.deliver(frame.slice_ref(address.as_bytes()), frame.slice(frame.len() - reader.remaining()..))
    }

    /// What a message to an address comes to.
    fn deliver(&mut self, address: Bytes, body: Bytes) -> Routed {
        let known = self.by_address.get(&address).copied();
        let shown = token_in(&body);
        match (known, shown) {
            (Some(line), _) if self.is_accepted(line) => {
                if body.first() == Some(&CLOSE)
                    && let Some(Some(found)) = self.lines.get_mut(line)
                {
                    found.stage = Stage::Closing(Vec::new());
                }
                Routed::To(line, body)
            }
            (Some(line), Some(token)) if self.is_silent(line) => self.asks(line, token),
            (None, Some(_)) if document_of(&address).is_none() => Routed::Reply(denied(&address, "permission-denied")),
            (None, _) if self.pending == PENDING_ADDRESSES_MAX => Routed::Close(4205, RESET),
            (None, Some(token)) => {
                let line = self.open(address);
                self.asks(line, token)
            }
            (None, None) if body.first() == Some(&CLOSE) => Routed::Nothing,
            (None, None) => {
                let line = self.open(address);
                self.keep(line, body)
            }
            // A page has thrown its editor away before it was let in; it may make another one.
            (Some(line), _) if body.first() == Some(&CLOSE) && !self.is_closing(line) => self.leave(line),
            (Some(line), _) => self.keep(line, body),
        }
    }

    /// Lets a document's messages through, and returns those that came before. None: the client has left meanwhile.
    pub fn accept(&mut self, line: usize) -> Option<Vec<Bytes>> {
        let found = self.lines.get_mut(line)?.as_mut()?;
        if matches!(found.stage, Stage::Left) {
            self.close(line);
            return None;
        }
        let stage = std::mem::replace(&mut found.stage, Stage::Accepted);
        Some(self.forget_queue(stage))
    }

    /// Forgets an address with all that was said to it, and returns what follows.
    pub fn refuse(&mut self, line: usize, reason: &str) -> Vec<Routed> {
        let has_left = matches!(self.lines.get(line), Some(Some(Line { stage: Stage::Left, .. })));
        let told = self.address(line).filter(|_| !has_left).map(|address| Routed::Reply(denied(address, reason)));
        told.into_iter().chain(self.close(line)).collect()
    }

    /// Forgets an address before it is accepted; its number is not used again while its token is looked at.
    fn leave(&mut self, line: usize) -> Routed {
        let Some(Some(found)) = self.lines.get_mut(line) else { return Routed::Nothing };
        if matches!(found.stage, Stage::Asking(_)) {
            let stage = std::mem::replace(&mut found.stage, Stage::Left);
            self.by_address.remove(&found.address);
            self.forget_queue(stage);
            // It still counts as one that is not accepted.
            self.pending += 1;
        } else {
            self.close(line);
        }
        Routed::Nothing
    }

    /// Forgets an address whose document has ended. Returns what the client has said to it after that, for its next life.
    pub fn close(&mut self, line: usize) -> Vec<Routed> {
        let mut next_life = Vec::new();
        if let Some(found) = self.lines.get_mut(line).and_then(Option::take) {
            match found.stage {
                Stage::Left => self.pending -= 1,
                Stage::Closing(queue) => {
                    self.by_address.remove(&found.address);
                    self.queued_messages -= queue.len();
                    self.queued_bytes -= queue.iter().map(Bytes::len).sum::<usize>();
                    next_life.extend(queue.into_iter().map(|body| self.deliver(found.address.clone(), body)));
                }
                stage => {
                    self.by_address.remove(&found.address);
                    self.forget_queue(stage);
                }
            }
        }
        while self.lines.last().is_some_and(Option::is_none) {
            self.lines.pop();
        }
        next_life
    }

    /// What comes before every message to the client on a line: the address, with its length.
    pub fn prefix(&self, line: usize) -> Vec<u8> {
        self.address(line).map_or(Vec::new(), |address| said(&[], address))
    }

    /// A document that was accepted, if there is one: on its line the client can be told something that means nothing.
    pub fn any_accepted(&self) -> Option<usize> {
        (0..self.lines.len()).find(|line| self.is_accepted(*line))
    }

    /// Bytes that it keeps, about.
    pub fn bytes(&self) -> usize {
        self.queued_bytes + self.lines.len() * (size_of::<Line>() + 2 * size_of::<Bytes>())
    }

    fn address(&self, line: usize) -> Option<&Bytes> {
        self.lines.get(line)?.as_ref().map(|line| &line.address)
    }

    fn is_accepted(&self, line: usize) -> bool {
        matches!(self.lines.get(line), Some(Some(Line { stage: Stage::Accepted, .. })))
    }

    fn is_silent(&self, line: usize) -> bool {
        matches!(self.lines.get(line), Some(Some(Line { stage: Stage::Silent(_), .. })))
    }

    fn is_closing(&self, line: usize) -> bool {
        matches!(self.lines.get(line), Some(Some(Line { stage: Stage::Closing(_), .. })))
    }

    fn open(&mut self, address: Bytes) -> usize {
        // A copy: it outlives the frame, which may be large.
        let address = Bytes::copy_from_slice(&address);
        let free = self.lines.iter().position(Option::is_none).unwrap_or(self.lines.len());
        if free == self.lines.len() {
            self.lines.push(None);
        }
        self.by_address.insert(address.clone(), free);
        self.lines[free] = Some(Line { address, stage: Stage::Silent(Vec::new()) });
        self.pending += 1;
        free
    }

    fn asks(&mut self, line: usize, token: String) -> Routed {
        let Some(Some(found)) = self.lines.get_mut(line) else { return Routed::Nothing };
        let Some(document) = document_of(&found.address) else {
            let told = Routed::Reply(denied(&found.address, "permission-denied"));
            self.close(line);
            return told;
        };
        if let Stage::Silent(queue) = &mut found.stage {
            found.stage = Stage::Asking(std::mem::take(queue));
        }
        Routed::Asks { line, document, token }
    }

    /// Keeps a message until its document is accepted.
    fn keep(&mut self, line: usize, body: Bytes) -> Routed {
        if self.queued_bytes + body.len() > QUEUED_BYTES_MAX || self.queued_messages == QUEUED_MESSAGES_MAX {
            return Routed::Close(4205, RESET);
        }
        let found = self.lines.get_mut(line).and_then(Option::as_mut).map(|line| &mut line.stage);
        if let Some(Stage::Silent(queue) | Stage::Asking(queue) | Stage::Closing(queue)) = found {
            (self.queued_bytes, self.queued_messages) = (self.queued_bytes + body.len(), self.queued_messages + 1);
            queue.push(body);
        }
        Routed::Nothing
    }

    fn forget_queue(&mut self, stage: Stage) -> Vec<Bytes> {
        let (Stage::Silent(queue) | Stage::Asking(queue)) = stage else { return Vec::new() };
        self.pending -= 1;
        self.queued_messages -= queue.len();
        self.queued_bytes -= queue.iter().map(Bytes::len).sum::<usize>();
        queue
    }
}

/// The token that a message shows, when it is one that does.
fn token_in(body: &[u8]) -> Option<String> {
    let mut reader = Reader::new(body);
    let is_auth = reader.var_uint() == Ok(u64::from(AUTH)) && reader.var_uint() == Ok(u64::from(TOKEN));
    is_auth.then(|| reader.var_string().ok().map(str::to_owned)).flatten()
}

/// What a stateless message of a document says, when it is one.
pub fn stateless_payload(body: &[u8]) -> Option<String> {
    let mut reader = Reader::new(body);
    let is_one = reader.var_uint() == Ok(u64::from(STATELESS));
    let payload = is_one.then(|| reader.var_string().ok()).flatten()?;
    (payload.len() <= STATELESS_BYTES_MAX).then(|| payload.to_owned())
}

/// The document that an address means, if any can be called so: up to the first NUL, behind which a session is named.
fn document_of(address: &[u8]) -> Option<String> {
    let address = std::str::from_utf8(address).ok()?;
    let (document, session) =
        address.split_once('\0').map_or((address, None), |(document, rest)| (document, Some(rest)));
    let is_named = (1..=DOCUMENT_BYTES_MAX).contains(&document.len())
        && !document.trim().is_empty()
        && !document.chars().any(char::is_control);
    let is_session = |session: &str| (1..=SESSION_BYTES_MAX).contains(&session.len()) && !session.contains('\0');
    (is_named && session.is_none_or(is_session)).then(|| document.to_owned())
}

fn denied(address: &[u8], reason: &str) -> Vec<u8> {
    let mut out = said(&[], address);
    out.extend(said(&[AUTH, DENIED], reason.as_bytes()));
    out
}
