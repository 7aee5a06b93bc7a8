//! The inner vocabulary: what reaches a room, and what a room wants done.
//!
//! Dialects translate their bytes into `Input` and encode `Event`; the room's task carries out `Effect`. No dialect is named here.

use crate::hub;
use crate::member::{Access, Kind, MemberId};
use crate::notebook::{News, Request};
use bytes::Bytes;
use document::{Exceeded, StateVector, Update};
use std::sync::Arc;

/// The authenticated identity that a change is credited to.
pub type Author = Arc<str>;

/// Something that happens to a room.
#[derive(Clone, Debug)]
pub enum Input {
    /// A member enters.
    Join {
        /// Its name from here on.
        member: MemberId,
        /// Client or peer.
        kind: Kind,
        /// What it may do.
        access: Access,
        /// Who it is.
        author: Author,
        /// True while authentication is off: nobody can then be told apart by identity.
        trusts_all: bool,
    },
    /// A member is gone, in whatever way.
    Leave(MemberId),
    /// A member's rights changed. Holds from the next input on.
    SetAccess(MemberId, Access),
    /// A member is dealt with in another manner than the usual one.
    Adopt(MemberId, Manner),
    /// A member gives its name to those who want to know who is here, and is told of them: once, right after it has joined.
    Introduce {
        /// Who speaks.
        member: MemberId,
        /// As whom others shall see it.
        person: Arc<Person>,
        /// The presence id that it would like to have.
        id: Option<u64>,
        /// Random, for choosing one that is free.
        chance: u64,
    },
    /// The whole presence of a member that was introduced: a JSON object, or nothing. The room keeps its clock, and renews it while the member is here.
    Present(MemberId, Option<Bytes>),
    /// Something for the other members that is not kept. Only who may write is heard; others are told so where their manner says it.
    Relay {
        /// Who speaks.
        member: MemberId,
        /// Which members understand it.
        topic: Topic,
        /// What it says.
        payload: Bytes,
    },
    /// Something for all members, by an administrator.
    Announce(Topic, Bytes),
    /// The room is to exist from now on, also when nobody ever writes into it.
    Found(MemberId),
    /// A member wants these bytes back when all that it has sent before is durable.
    Mark(MemberId, Bytes),
    /// A member wants to know what the room has (the room's step 1).
    Ask(MemberId),
    /// A member says what it has, and wants the rest (its step 1). Whoever has nothing may get it in two pieces: `Event::Base`, then `Event::Missing`.
    Sync(MemberId, StateVector),
    /// The same for dialects in which the answer is one update: always `Event::Missing` alone.
    SyncInOne(MemberId, StateVector),
    /// A change. `author` is for peers; a client's changes are always its own.
    Update {
        /// Who sent it.
        member: MemberId,
        /// Whose it is, when a peer sends it.
        author: Option<Author>,
        /// It answers the room's own question, and so may carry what nobody has meant to write.
        is_answer: bool,
        /// The validated bytes.
        update: Update<Bytes>,
    },
    /// An awareness update: `varuint count, (varuint id, varuint clock, varstring JSON)*`, not looked at yet. What is new in it is told by `TellPresence`.
    Awareness(MemberId, Bytes),
    /// A member wants to know who is present. `always`: it is answered even when nobody is.
    QueryAwareness {
        /// Who asks.
        member: MemberId,
        /// Whether an empty answer is sent too.
        always: bool,
    },
    /// A member wants something of its notebook.
    Notes(MemberId, Request),
    /// A member sent what its dialect could not read.
    Malformed(MemberId),
    /// A member sent something well-formed that goes beyond a bound.
    Beyond(MemberId, Exceeded),
    /// A member fell so far behind that it lost its place.
    CatchUp(MemberId),
    /// Everything before this offset is on stable storage.
    Durable(u64),
    /// A snapshot of the room was made, of this size.
    Compacted {
        /// Bytes.
        snapshot_bytes: u64,
    },
    /// Everybody is told whose presence changed since the last time. Wanted soon while `Room::presence_waits`: one message then stands for many.
    TellPresence,
    /// Time has passed. Wanted at least every 3 s while `Rules::wants_ticks`, and at `Rules::wakes_at_ms`.
    Tick,
    /// A member wants something of a room database.
    Tables(MemberId, Box<hub::Request>),
    /// The database has answered a question. Those that changed something have to come in the order of their commits.
    Answered {
        /// Which one.
        ticket: u64,
        /// What has become of it.
        outcome: Box<hub::Outcome>,
    },
}

impl Input {
    /// Who asks, when this is a question: its answer may be any number of times as large.
    pub fn asker(&self) -> Option<MemberId> {
        match self {
            Self::Ask(member)
            | Self::Sync(member, _)
            | Self::SyncInOne(member, _)
            | Self::QueryAwareness { member, .. } => Some(*member),
            Self::Tables(member, request) if matches!(**request, hub::Request::GetMemory { .. }) => Some(*member),
            Self::Notes(member, request) => request.is_question().then_some(*member),
            _ => None,
        }
    }
}

impl Input {
    /// Bytes of what it carries, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Update { update, .. } => update.bytes().len(),
            Self::Awareness(_, bytes) | Self::Mark(_, bytes) | Self::Relay { payload: bytes, .. } => bytes.len(),
            Self::Present(_, state) => state.as_ref().map_or(0, Bytes::len),
            Self::Sync(_, vector) | Self::SyncInOne(_, vector) => std::mem::size_of_val(vector.entries()),
            Self::Tables(_, request) => request.bytes(),
            Self::Notes(_, request) => request.bytes(),
            _ => 0,
        }
    }
}

/// Something that members are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What the room has: an encoded state vector.
    StateVector(Bytes),
    /// The first piece of the answer to a member's `Sync`: an update, which `Missing` follows.
    Base(Bytes),
    /// The answer to a member's `Sync`: an update. With it the member has everything.
    Missing(Bytes),
    /// An accepted change: an update.
    Update(Bytes),
    /// One of the member's own updates is on stable storage.
    Saved {
        /// What of it was new, when something was.
        update: Option<Bytes>,
    },
    /// Everything before this offset is on stable storage (to peers).
    Durable(u64),
    /// Awareness states: an awareness update.
    Awareness(Bytes),
    /// States of presence ids: one that has changed, told beside `Awareness` in rooms where somebody was introduced; or all, when one of those has asked.
    Presence(Arc<[Shown]>),
    /// The answer to an introduction.
    Welcome {
        /// The presence id that the member has.
        id: u64,
        /// Everybody else who was introduced, in the order of their coming.
        people: Arc<[Arc<Person>]>,
    },
    /// Somebody was introduced.
    Arrived(Arc<Person>),
    /// Somebody who was introduced is gone.
    Departed(Arc<Person>),
    /// What another member, or an administrator, has said.
    Relayed(Topic, Bytes),
    /// All that came before a `Mark` is durable.
    Marked(Bytes),
    /// Of notes.
    Notes(News),
    /// Something the member sent is not done.
    Denied(Denied),
    /// What happens in a room database.
    Tables(hub::News),
}

impl Event {
    /// True for what others have written or what was released, as against acknowledgements.
    pub(crate) fn is_news(&self) -> bool {
        matches!(self, Self::Update(_))
    }

    /// Bytes of what it carries, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::StateVector(bytes)
            | Self::Base(bytes)
            | Self::Missing(bytes)
            | Self::Update(bytes)
            | Self::Awareness(bytes)
            | Self::Relayed(_, bytes)
            | Self::Marked(bytes) => bytes.len(),
            Self::Saved { update } => update.as_ref().map_or(0, Bytes::len),
            Self::Presence(states) => states.iter().map(Shown::bytes).sum(),
            Self::Welcome { people, .. } => people.len() * size_of::<Person>(),
            Self::Tables(news) => news.bytes(),
            Self::Notes(news) => news.bytes(),
            Self::Durable(_) | Self::Denied(_) | Self::Arrived(_) | Self::Departed(_) => 0,
        }
    }

    /// True when it shows content of the room, and so may leave only when that content is safe enough.
    pub fn shows_content(&self) -> bool {
        match self {
            Self::Base(_) | Self::Missing(_) | Self::Update(_) | Self::Saved { .. } => true,
            Self::Notes(news) => news.shows_content(),
            _ => false,
        }
    }
}

/// Who somebody is to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user.
    pub id: Author,
    /// What people call it.
    pub name: Author,
}

/// The state of one presence id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Whose.
    pub id: u64,
    /// A JSON object, or nothing: it is gone.
    pub state: Option<Bytes>,
    /// It is what a member that was introduced has said by `Input::Present`, and not an awareness state of another dialect.
    pub by_guest: bool,
}

impl Shown {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.state.as_ref().map_or(0, Bytes::len)
    }
}

/// What something that is relayed is about: members are told of what they understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic(pub &'static str);

/// How a member is dealt with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Each change that it may not make is answered, not only the first.
    pub each_denial: bool,
    /// Malformed messages within a minute that end its connection; otherwise as the limits say.
    pub malformed_per_minute_max: Option<usize>,
    /// It is told when nobody hears what it wants to be relayed, as it may only read.
    pub relay_denial: bool,
}

/// Why something a member sent is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It may only read.
    ReadOnly,
}

/// Why a member's connection ends. What goes on the wire for each is the dialect's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Too many malformed messages.
    Malformed,
    /// It sent something beyond a bound, named in words; the same would happen again.
    Beyond(String),
    /// The room could not write or sync.
    StorageFailed,
    /// The server stops.
    ShuttingDown,
    /// It took too few bytes for too long.
    SlowConsumer,
    /// It broke the rules of WebSocket itself: code, and why.
    Protocol(u16, String),
    /// It did not answer pings.
    Silent,
    /// Its token is missing or wrong.
    Unauthorized,
    /// Its token had run out before it came.
    Outdated,
    /// It may not enter this room.
    Forbidden,
    /// There is no such room, and it may not be made.
    NotFound,
    /// Its token ran out while it was connected.
    TokenExpired,
    /// What it was allowed was taken back.
    Revoked,
    /// An administrator ended its connection. `come_back`: it may return at once.
    Removed {
        /// Whether clients are to reconnect.
        come_back: bool,
    },
    /// The room was deleted, for good.
    Deleted,
    /// Its request lacks something that its dialect needs, named by the parameter.
    Incomplete(&'static str),
    /// It sends too much, or too much that cannot be used, in words.
    Abusive(&'static str),
    /// It was not heard of for too long.
    Inactive,
    /// It has said itself that it leaves.
    Left,
    /// Whether it may stay could not be found out.
    Unconfirmed,
    /// A bug: the room's task ended.
    Internal,
}

/// One accepted change, to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose it is.
    pub author: Author,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// A v1 update, or a record of a notebook.
    pub bytes: Bytes,
}

/// Something the room wants done, in this order. `Publish` and `Send` of content leave after the `Append`s before them are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Log this change at the room's next offset.
    Append(Change),
    /// Tell every member but `except`.
    Publish {
        /// The author, who is told by `Event::Saved` instead.
        except: Option<MemberId>,
        /// What to tell.
        event: Event,
    },
    /// Tell one member.
    Send(MemberId, Event),
    /// Put a member's place here: what it has not received yet is covered by what follows.
    Place(MemberId),
    /// End a member's connection. It will `Leave` when its socket is gone.
    Close(MemberId, Closing),
    /// Ask the database of the room. It answers by `Input::Answered`, later and in any order.
    Ask(Box<hub::Question>),
}

/// Effects in order. Reused from batch to batch.
pub type Effects = Vec<Effect>;
