//! What reaches a worker from other threads: connections that come in, rooms that were loaded, what the disk has done.
//!
//! Written by anybody, emptied by the worker once a turn. Messages come from the server's own threads, each after something that is bounded
//! elsewhere (connections, rooms, snapshots under way), so the queue needs no bound of its own.

use super::terms::Command;
use crate::address::ClientAddress;
use crate::auth::{Admission, Refusal};
use crate::connections::Accepted;
use crate::loading::Loaded;
use crate::slots::RoomId;
use crate::stateless::Reply;
use crate::transport::Stream;
use dialect::{Dialect, Entry, Session};
use mio::Waker;
use room::MemberId;
use room::hub::Outcome;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::time::Instant;
use store::RoomKey;

/// The way to one worker.
#[derive(Debug)]
pub(crate) struct Inbox {
    messages: Mutex<Vec<Message>>,
    waker: Waker,
}

/// Something that a worker has to know.
#[derive(Debug)]
pub(crate) enum Message {
    /// A connection wants into a room.
    Arrival(Box<Arrival>),
    /// A room was read from the store, or could not be.
    Loaded(RoomId, Result<Box<Loaded>, String>),
    /// The store has news about changes of a room.
    Durable(RoomId),
    /// A snapshot was made, of so many bytes, or could not be.
    Compacted(RoomId, Option<u64>),
    /// The database of a room has answered the question of this ticket.
    Answered(RoomId, u64, Box<Outcome>),
    /// The gate has answered whether a member may stay, on these of its terms.
    Confirmed(MemberId, u32, Result<Admission, Refusal>),
    /// The gate has answered to another token that a member has shown.
    Renewed(MemberId, Result<Admission, Refusal>),
    /// The application has answered to a stateless message of a member, or will not.
    HandedOver(MemberId, Option<Reply>),
    /// The far end of a member's channel has news.
    Rung(MemberId),
    /// Something is to be done with connections.
    Command(Box<Command>),
    /// The server stops: nobody new, and everything goes to the disk.
    Stop,
    /// Everything of that is on the disk, or could not be written.
    Flushed(Content, Result<(), String>),
    /// Nobody comes any more: end when the last socket is gone.
    Finish,
    /// End now.
    Abort,
}

/// Where the content of rooms is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Store,
    /// That of room databases.
    Databases,
}

/// A connection whose request was granted, on its way into its room.
pub(crate) struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) address: ClientAddress,
    pub(crate) room: RoomKey,
    pub(crate) dialect: &'static dyn Dialect,
    /// Its side of the connection, where that is not its dialect's affair.
    pub(crate) session: Option<MakeSession>,
    pub(crate) admission: Admission,
    /// What the request says about the client, as far as its dialect asks.
    pub(crate) visitor: Visitor,
    /// The response that opens the WebSocket, sent when the room is there.
    pub(crate) hello: Vec<u8>,
    /// Compression was negotiated.
    pub(crate) deflate: bool,
    /// Bytes that came with the request.
    pub(crate) early: Vec<u8>,
    pub(crate) accepted: Accepted,
    /// The room has to be there by then.
    pub(crate) deadline: Instant,
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("room", &self.room).field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

/// Makes one side of a connection when it is known as which member it enters.
pub(crate) type MakeSession = Box<dyn FnOnce(&Entry<'_>) -> Box<dyn Session> + Send>;

/// What a client says about itself. Means nothing but to those who see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visitor {
    /// What people call it.
    pub(crate) name: Option<String>,
    /// The presence id that it asks for.
    pub(crate) presence_id: Option<u64>,
    /// It wants only what was accepted from then on, in milliseconds since the Unix epoch.
    pub(crate) since_ms: Option<u64>,
}

impl Inbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { messages: Mutex::default(), waker }
    }

    pub(crate) fn send(&self, message: Message) {
        let mut messages = self.lock();
        messages.push(message);
        let first = messages.len() == 1;
        drop(messages);
        if first {
            // Fails when the process is out of kernel memory; the next turn finds the message then.
            let _ = self.waker.wake();
        }
    }

    /// Moves everything to `messages`, which is empty.
    pub(crate) fn take(&self, messages: &mut Vec<Message>) {
        std::mem::swap(&mut *self.lock(), messages);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rings when the store has news for one room.
#[derive(Debug)]
pub(crate) struct Bell {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) room: RoomId,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.inbox.send(Message::Durable(self.room));
    }
}
