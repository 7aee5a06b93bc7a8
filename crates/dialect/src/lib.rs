//! Translates each client's wire format to the room's vocabulary and back. No I/O, no clock, no knowledge of other dialects.
//!
//! A `Dialect` is stateless and encodes each event once for all its members of a room. A `Session` is one connection's side:
//! it turns frames into acts, and says what is for its client alone. A further dialect is one file in `dialects/`, one line in `ALL`, and
//! transcripts in `testdata/`.

mod dialects;

use bytes::Bytes;
use document::MessageLimits;
use room::{Access, Author, Closing, Event, Input, MemberId, Topic};

pub use dialects::hocuspocus::{Routed, Switchboard};

/// What the HTTP API of notes has in common with their dialect.
pub mod notes {
    pub use crate::dialects::notes::{InvalidNote, Lenience, http, instant, read_note};
}

/// One client wire protocol.
pub trait Dialect: Send + Sync + std::fmt::Debug {
    /// Its name in logs, metrics and the configuration.
    fn name(&self) -> &'static str;

    /// The payload of the frame that tells members of `event`: what is appended to `out`, and then the body that is returned, which needs no copy because
    /// the event has it already. None: this dialect does not speak of it, and nothing is appended. Called once per event and room.
    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<Body<'a>>;

    /// The same payload in one piece.
    fn encode(&self, event: &Event) -> Option<Frame> {
        let mut out = Vec::new();
        let Body { kind, rest } = self.write(event, &mut out)?;
        out.extend_from_slice(rest);
        Some(kind.frame(out))
    }

    /// What is said and sent when a connection ends for that reason.
    fn farewell(&self, closing: &Closing) -> Farewell;

    /// How a request is refused for that reason. None: the handshake is completed, and then there is a farewell.
    fn refusal(&self, _: &Closing) -> Option<HttpRefusal> {
        None
    }

    /// The payload that keeps a client from thinking the connection dead.
    fn keep_alive(&self) -> Option<&'static [u8]> {
        None
    }

    /// How many frames a member may be behind before its connection ends. None: it loses its place instead, and is caught up.
    fn behind_max(&self) -> Option<u64> {
        None
    }

    /// How many frames a member may be behind before it loses its place, although the room still has them: they are not sent any more, and it is caught up. None:
    /// as many as the room keeps.
    fn loses_place_behind(&self) -> Option<u64> {
        None
    }

    /// How many members of it a room may have; further ones are refused. None: as many as the room takes.
    fn room_members_max(&self) -> Option<usize> {
        None
    }

    /// How a further one is refused. None: it may come back later.
    fn refusal_when_full(&self) -> Option<HttpRefusal> {
        None
    }

    /// Whether a member is told nothing that is published while it waits for the document that it has asked for. Otherwise presence does not wait.
    fn tells_document_first(&self) -> bool {
        false
    }

    /// How fast one user may speak in all its connections; what is more goes to `Session::receive_too_much`.
    fn user_rate(&self) -> Option<Rate> {
        None
    }

    /// What becomes of a connection whose token runs out.
    fn expiry(&self) -> Expiry {
        Expiry::Ends
    }

    /// One connection's side.
    fn session(&self, entry: &Entry<'_>) -> Box<dyn Session>;
}

/// One connection's side of a dialect. It never sends by itself.
pub trait Session: Send {
    /// What follows when the member has joined. `access`: what it may do from the start.
    fn open(&mut self, access: Access, acts: &mut Vec<Act>);

    /// What a frame means. `now_ms`: milliseconds since the Unix epoch.
    fn receive(&mut self, frame: Frame, now_ms: u64, acts: &mut Vec<Act>);

    /// The same for a frame that is one too many for its user.
    fn receive_too_much(&mut self, frame: Frame, now_ms: u64, acts: &mut Vec<Act>) {
        self.receive(frame, now_ms, acts);
    }

    /// What the client is told of an event that is for it alone.
    fn tell(&mut self, _: &Event) -> Told {
        Told::InCommon
    }

    /// The client waits for an answer that does not come from a room: it is kept alive at short intervals.
    fn owes(&self) -> bool {
        false
    }
}

/// Who comes, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Who it is in its room.
    pub member: MemberId,
    /// Bounds of what it sends.
    pub limits: &'a MessageLimits,
    /// The user.
    pub user: &'a Author,
    /// What people call it.
    pub name: &'a str,
    /// The room, as clients call it.
    pub room: &'a str,
    /// The presence id that it asks for.
    pub presence_id: Option<u64>,
    /// Changes that it may send in a second; none: any number.
    pub updates_per_s: Option<u64>,
    /// What its credential is for includes reading.
    pub may_read: bool,
    /// It wants only what was accepted from then on, milliseconds since the Unix epoch; none: everything.
    pub since_ms: Option<u64>,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Random.
    pub chance: u128,
}

/// What is to be done.
#[derive(Debug)]
pub enum Act {
    /// The room is told.
    Room(Input),
    /// The client is sent this.
    Reply(Frame),
    /// The connection ends.
    End(Closing),
    /// The client shows another token. If it is as good, the member has its rights from then on.
    Renew(String),
    /// The client has sent a message of a kind that the dialect does not know, called this: for the log.
    Unknown(String),
}

impl Act {
    /// Who asks, when this is a question to the room.
    pub fn asker(&self) -> Option<MemberId> {
        match self {
            Self::Room(input) => input.asker(),
            _ => None,
        }
    }

    /// Bytes of what it carries, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Room(input) => input.bytes(),
            Self::Reply(frame) => frame.payload().len(),
            Self::Renew(text) | Self::Unknown(text) => text.len(),
            Self::End(_) => 0,
        }
    }
}

/// How a client is told of what is for it alone.
#[derive(Debug)]
pub enum Told {
    /// As the dialect tells all.
    InCommon,
    /// In these frames, or not at all.
    Own(Vec<Frame>),
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A binary message.
    Binary(Bytes),
    /// A text message, UTF-8.
    Text(Bytes),
}

impl Frame {
    /// Text of the server's own.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Bytes::from(text.into()))
    }

    /// What it says.
    pub fn payload(&self) -> &Bytes {
        match self {
            Self::Binary(payload) | Self::Text(payload) => payload,
        }
    }

    /// As what it is sent.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Binary(_) => Kind::Binary,
            Self::Text(_) => Kind::Text,
        }
    }
}

/// What a message is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    Binary,
    /// UTF-8.
    Text,
}

impl Kind {
    /// A frame of this kind.
    pub fn frame(self, payload: impl Into<Bytes>) -> Frame {
        match self {
            Self::Binary => Frame::Binary(payload.into()),
            Self::Text => Frame::Text(payload.into()),
        }
    }
}

/// The end of a payload, and what it is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// Bytes or text.
    pub kind: Kind,
    /// What comes behind that which was appended.
    pub rest: &'a Bytes,
}

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// A last message, when the dialect has one for it.
    pub message: Option<Frame>,
    /// How long the close frame waits after that message, milliseconds.
    pub delay_ms: u64,
    /// The close code. None: the connection stays, and only this document of it ends.
    pub code: Option<u16>,
    /// The close reason, at most 123 bytes.
    pub reason: String,
}

/// How a request is refused before it becomes a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRefusal {
    /// The status.
    pub status: u16,
    /// Whether the body is JSON, otherwise it is plain text.
    pub is_json: bool,
    /// What it says.
    pub body: String,
}

/// So many messages a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_s: u32,
    /// After a silence.
    pub burst: u32,
}

/// What becomes of a connection whose token runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It ends.
    Ends,
    /// It stays.
    Stays,
    /// It is asked for another token with this payload, and ends when none comes.
    Asks(&'static [u8]),
}

/// What administrators tell a document's clients by.
pub const ANNOUNCEMENTS: Topic = dialects::hocuspocus::TOPIC;

/// For payloads of which nothing lies ready.
pub static NO_BODY: Bytes = Bytes::new();

/// Every dialect of this build.
pub static ALL: [&dyn Dialect; 7] = [Y_WEBSOCKET, HOCUSPOCUS, Y_SWEET, JSON_YJS, SESSIONS, NOTES, ROOM_DB];

/// The stock Yjs WebSocket provider's protocol.
pub static Y_WEBSOCKET: &dyn Dialect = &dialects::y_websocket::YWebsocket { echo: true };

/// The Hocuspocus provider's.
pub static HOCUSPOCUS: &dyn Dialect = &dialects::hocuspocus::Hocuspocus;

/// The Y-Sweet client's.
pub static Y_SWEET: &dyn Dialect = &dialects::y_sweet::YSweet { terse: false };

/// The same, whose refusals say their status and nothing else.
pub static Y_SWEET_TERSE: &dyn Dialect = &dialects::y_sweet::YSweet { terse: true };

/// Yjs updates as JSON.
pub static JSON_YJS: &dyn Dialect = &dialects::json_yjs::JsonYjs;

/// Documents with people who join and leave.
pub static SESSIONS: &dyn Dialect = &dialects::sessions::Sessions;

/// A SQL database for each room.
pub static ROOM_DB: &dyn Dialect = &dialects::room_db::RoomDb;

/// The stock Yjs protocol without the copy of its own updates to their author, for deployments that have switched it off.
pub static Y_WEBSOCKET_SILENT: &dyn Dialect = &dialects::y_websocket::YWebsocket { echo: false };

/// Notes of one user, replaced as a whole.
pub static NOTES: &dyn Dialect = &dialects::notes::Notes;
