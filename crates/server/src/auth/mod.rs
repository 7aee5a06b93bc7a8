//! Who may enter a room, as whom, and for how long. Asked before the room is touched, and again when an answer has run out.
//!
//! Called by `upgrade` for each visit and by the workers for those who are in. Identity comes from here only: nothing that a client writes into a
//! message changes it. How a refusal looks on the wire is the dialect's business.

mod asked;
mod authenticator;
mod credential;
mod documents;
mod draft;
mod key_file;
mod ledger;
mod notebooks;
mod sessions;
mod trusted_keys;
mod webhook;

pub use authenticator::{AuthError, Authenticator};
pub(crate) use credential::{bearer_token, cookie_value};
pub(crate) use documents::{Documents, NoEntry};
pub use draft::{Collaborator, CollaboratorPermission, Draft};
pub use key_file::{KeyFile, KeyFileError};
pub(crate) use key_file::{LOOK_EVERY, described, end_key, now_s};
pub use ledger::{Ledger, LedgerError, Revocation};
pub(crate) use notebooks::{Notebooks, Owner, Shown as ShownToNotebooks, subprotocol as notes_subprotocol};
pub(crate) use webhook::{Signed, described as described_identity};

use crate::accounts::ConsoleVisitor;
use crate::request::RequestHead;
use identity::Identity;
use room::{Access, Author, Closing};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// An answer that may need the network.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Decides who may enter.
pub trait Gate: Send + Sync {
    /// Who the visitor is and what it may do in this room, or why it may not enter.
    fn admit<'a>(&'a self, head: &'a RequestHead, room: &'a str) -> Answer<'a, Result<Admission, Refusal>>;

    /// The same by a token that was shown later, in a message.
    fn present<'a>(&'a self, _: &'a str, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::Closing(Closing::Unauthorized))))
    }

    /// Who somebody is by a token or an API key, for the notebook that is this user's own.
    fn admit_to_notebook<'a>(&'a self, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(std::future::ready(Err(Refusal::Closing(Closing::Unauthorized))))
    }

    /// What somebody may do in a room database, by a token. `room`: as rules about rooms call it.
    fn present_to_database<'a>(&'a self, token: &'a str, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        self.present(token, room)
    }

    /// As `admit`, where a credential that names no firm is none.
    fn admit_of_firm<'a>(&'a self, head: &'a RequestHead, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(async move { self.admit(head, room).await.and_then(Admission::of_firm) })
    }

    /// As `present`, where a token that names no firm is none.
    fn present_of_firm<'a>(&'a self, token: &'a str, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(async move { self.present(token, room).await.and_then(Admission::of_firm) })
    }

    /// The same by a token that somebody shows who is in.
    fn present_again<'a>(&'a self, token: &'a str, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        self.present(token, room)
    }

    /// The same about somebody who is in: from what is known of it, without a request.
    fn confirm<'a>(&'a self, standing: &'a Standing, room: &'a str) -> Answer<'a, Result<Admission, Refusal>>;

    /// What was answered before counts no longer, and is asked for again; also what is being asked at this moment.
    fn forget_answers(&self) {}

    /// How often answers were forgotten. An admission of an earlier generation counts no longer.
    fn generation(&self) -> u64 {
        0
    }
}

/// What a connection is allowed.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Whom its changes are credited to.
    pub author: Author,
    /// What people call it, where that is known.
    pub name: Option<String>,
    /// What it may do.
    pub access: Access,
    /// True when identities mean nothing, because anybody can have any.
    pub trusts_all: bool,
    /// On what terms it is here. None: on none that could change.
    pub standing: Option<Box<Standing>>,
}

impl Admission {
    /// It is known who this is, and only one goes by that name: what users may have is counted for it.
    pub(crate) fn is_one_user(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.identity.is_one_user())
    }

    /// What its credential is for includes reading.
    pub(crate) fn may_read(&self) -> bool {
        self.standing.as_ref().and_then(|standing| standing.identity.scopes).is_none_or(|scopes| scopes.read)
    }

    /// Nobody who is known enters without a firm.
    fn of_firm(self) -> Result<Self, Refusal> {
        match &self.standing {
            Some(standing) if standing.identity.firm.is_none() => Err(Refusal::Closing(Closing::Unauthorized)),
            _ => Ok(self),
        }
    }

    /// The generation of answers that it rests on.
    pub(crate) fn generation(&self) -> u64 {
        self.standing.as_ref().map_or(0, |standing| standing.generation)
    }
}

/// The terms on which somebody is in a room.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// When its credential runs out.
    pub expires: Option<Instant>,
    /// How long the answer counts that let it in.
    pub lifetime: Option<Lifetime>,
    /// What it may send, when the application has said so.
    pub rates: Rates,
    /// The generation of answers in which the question was begun.
    pub generation: u64,
    /// With what the application is asked about it again.
    pub(crate) session: Option<Arc<credential::SessionCookie>>,
    /// Which rooms it is for.
    pub(crate) reach: Reach,
}

impl Standing {
    /// Somebody whose terms do not change by themselves.
    pub fn of(identity: Identity) -> Self {
        Self {
            identity: Arc::new(identity),
            expires: None,
            lifetime: None,
            rates: Rates::default(),
            generation: 0,
            session: None,
            reach: Reach::Rooms,
        }
    }
}

/// Which rooms somebody was let into on some terms, and so who is asked whether they may stay.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// Those that the credential and the rules about rooms say.
    Rooms,
    /// A room database, where rules about rooms hold and those of drafts do not.
    Database,
    /// The user's own, about which rules about rooms say nothing.
    OwnRoom,
    /// A room database: what the accounts say counts.
    Console {
        visitor: Arc<ConsoleVisitor>,
        /// How often the accounts had withdrawn something when they were asked.
        withdrawals: u64,
    },
}

/// How long an answer counts. It is asked for again before that, so that somebody whose rights stay as they are notices nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When to ask again.
    pub ask: Instant,
    /// When it counts no longer.
    pub end: Instant,
}

impl Lifetime {
    /// From now on.
    pub fn of(duration: Duration) -> Self {
        let now = Instant::now();
        Self { ask: now + duration * 3 / 4, end: now + duration }
    }

    /// The shorter of two.
    pub(crate) fn min(self, other: Option<Self>) -> Self {
        other.filter(|other| other.end < self.end).unwrap_or(self)
    }
}

/// What one connection may send in a second; `None` as the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes.
    pub bytes_per_s: Option<u64>,
    /// Messages.
    pub messages_per_s: Option<u64>,
}

/// Why somebody may not enter, or not stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// For a reason that its dialect has words for.
    Closing(Closing),
    /// Whether it may could not be found out; it is worth coming back.
    Later(&'static str),
    /// Credentials that a browser sends by itself came from a page that is not listed.
    Origin,
}

/// Lets everybody in, as nobody in particular. Configured explicitly, or served on loopback only.
#[derive(Debug)]
pub struct Anonymous;

impl Anonymous {
    fn admission() -> Admission {
        static AUTHOR: LazyLock<Author> = LazyLock::new(|| "anonymous".into());
        Admission { author: AUTHOR.clone(), name: None, access: Access::Write, trusts_all: true, standing: None }
    }
}

impl Gate for Anonymous {
    fn admit<'a>(&'a self, _: &'a RequestHead, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(std::future::ready(Ok(Self::admission())))
    }

    fn present<'a>(&'a self, _: &'a str, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(std::future::ready(Ok(Self::admission())))
    }

    fn admit_to_notebook<'a>(&'a self, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(std::future::ready(Ok(Self::admission())))
    }

    fn confirm<'a>(&'a self, _: &'a Standing, _: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(std::future::ready(Ok(Self::admission())))
    }
}
