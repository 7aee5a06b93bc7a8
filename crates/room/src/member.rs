//! Who is in a room: its id, what it may do, in whose name it acts, where it stood when it last said so.

use crate::message::Author;
use document::StateVector;

/// Names a member for as long as it is in the room. Given by the server, never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// What a member may do. Presence is allowed to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Receives everything, changes nothing.
    Read,
    /// Receives and changes.
    Write,
}

/// What sort of member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One client: everything it sends is its own.
    Client,
    /// Another server: names the author of each change itself, is acknowledged by position, and owns any number of presence ids.
    Peer,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) kind: Kind,
    pub(crate) access: Access,
    pub(crate) author: Author,
    /// Whether other members may take over its presence ids by a higher clock: only its own identity when authentication is on.
    pub(crate) trusts_all: bool,
    /// The state vector of its last step 1.
    pub(crate) known: StateVector,
    pub(crate) told_read_only: bool,
    /// Times of its last malformed messages.
    pub(crate) malformed_ms: Vec<u64>,
}
