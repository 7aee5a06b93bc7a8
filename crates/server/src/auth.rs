//! Who may enter a room, and as whom. Asked once per connection, before the room is touched. Identity comes from here only:
//! nothing that a client writes into a message changes it.

use crate::request::RequestHead;
use room::{Access, Author, Closing};
use std::sync::LazyLock;

/// Decides about one request for a room.
pub trait Gate: Send + Sync {
    /// Who the connection is and what it may do there, or why it may not enter.
    fn admit(&self, head: &RequestHead, room: &str) -> Result<Admission, Closing>;
}

/// What a connection is allowed.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Whom its changes are credited to.
    pub author: Author,
    /// What it may do.
    pub access: Access,
    /// True when identities mean nothing, because anybody can have any.
    pub trusts_all: bool,
}

/// Lets everybody in, as nobody in particular. Configured explicitly, or served on loopback only.
#[derive(Debug)]
pub struct Anonymous;

impl Gate for Anonymous {
    fn admit(&self, _: &RequestHead, _: &str) -> Result<Admission, Closing> {
        static AUTHOR: LazyLock<Author> = LazyLock::new(|| "anonymous".into());
        Ok(Admission { author: AUTHOR.clone(), access: Access::Write, trusts_all: true })
    }
}
