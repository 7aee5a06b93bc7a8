//! Accounts of people who use room databases: who they are (e-mail and password), where they are signed in, which rooms are theirs, and what they may do
//! with other people's rows. Kept in the store as the log of a room of its own, and in memory.
//!
//! Asked by the console's HTTP API, by the admin API, and by whoever lets sockets into room databases (`identify`, `may_enter`, `rules_of`). A change
//! counts when it is on the disk. What cannot be read back keeps the server from starting. Does not know sockets: whoever keeps some open asks to be told
//! what was withdrawn (`on_withdrawn`). Keys are not here but in the one file of keys; nobody who is known here gets into rooms of documents by that.

mod journal;
mod password;
mod people;
mod rooms;
mod rules;
mod secret;
mod state;
mod tries;
mod visitor;

pub use people::{Device, NewUser, SignedIn};
pub use rooms::OwnRoom;
pub use state::{Registration, Right, RoomRules, Session, User};
pub use visitor::{ConsoleCredential, ConsoleRefusal, ConsoleVisitor, Shown};

use crate::address::{ClientAddress, Trusted};
use crate::auth::{Gate, KeyFile};
use crate::config::{AccountsConfig, Config, RoomAccess, RoomsConfig, SignUp};
use crate::logging::Printable;
use journal::{Journal, Reading, Written};
use password::Passwords;
use state::{Entry, State};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use store::{Store, StoreError};
use tries::{OF_ACCOUNT, OF_ADDRESS, Tries, Windows};

/// How much there may be: all of it is in memory.
struct Bounds {
    /// Sessions of one user: browsers and devices. Whoever signs in once more ends the one that was not used for longest.
    user_sessions: usize,
    /// Sessions in all, whatever users there are: 400 bytes each.
    sessions: usize,
    /// Rooms in all that are somebody's, or have rules: 300 bytes each.
    rooms: usize,
    /// Permissions in one room, and protected tables: each socket of the room looks through them.
    permissions: usize,
    protected: usize,
}

const BOUNDS: Bounds =
    Bounds { user_sessions: 32, sessions: 200_000, rooms: 200_000, permissions: 10_000, protected: 1_000 };

/// Why something is not done. The texts go to people.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is there cannot be read.
    #[error(
        "accounts, sessions and rooms cannot be read: {0}; restore the data folder from a copy, or start without what is lost with \
         admin.ignore_damage = true"
    )]
    Damaged(String),
    /// The system's generator of random numbers failed.
    #[error("the system gave no random bytes; try again")]
    NoRandomness,
    /// Too many passwords are being looked at.
    #[error("too many people are signing in at the moment; try again in a second")]
    Busy,
    /// One of the bounds.
    #[error("{0}")]
    Full(&'static str),
    /// Only administrators make accounts.
    #[error("nobody can sign up here; ask an administrator for an account")]
    SignUpClosed,
    /// Not the form of an e-mail's address.
    #[error("this is no e-mail address: {0}")]
    BadEmail(&'static str),
    /// Under 8 bytes.
    #[error("the password is too short; it needs at least 8 characters")]
    ShortPassword,
    /// Over 256 bytes.
    #[error("the password is too long; it may have 256 bytes")]
    LongPassword,
    /// Empty, too long, or with control characters.
    #[error("a name has 1 to 256 bytes and no control characters")]
    BadName,
    /// It is somebody's.
    #[error("there is an account with this e-mail address already; sign in, or use another address")]
    EmailTaken,
    /// Wrong address or wrong password: nobody is told which.
    #[error("Invalid email or password")]
    WrongPassword,
    /// Too many wrong ones.
    #[error("too many attempts; try again in {retry_after_s} s")]
    TooManyTries {
        /// When it is worth coming back.
        retry_after_s: u64,
    },
    /// No such user.
    #[error("there is no user of this id; list them to see which there are")]
    NoUser,
    /// No such session.
    #[error("there is no such session")]
    NoSession,
    /// Not the form of a room's id.
    #[error("a room's id has 1 to 255 bytes and no control characters")]
    BadRoom,
    /// It is somebody's.
    #[error("Room ID already exists")]
    RoomTaken,
    /// It is nobody's, or somebody else's.
    #[error("there is no such room")]
    NoRoom,
    /// `rooms.per_user_max`.
    #[error("Plan limit reached. Maximum {0} rooms allowed.")]
    RoomLimit(u64),
    /// Not the form of a table's name.
    #[error("a table's name has letters, digits and underscores, and does not begin with a digit")]
    BadTable,
    /// Its rows always belong to those who made them.
    #[error("the table tasks is always protected")]
    AlwaysProtected,
}

impl AccountError {
    /// In words for people outside: the disk's own reasons name files.
    pub fn told(&self) -> String {
        match self {
            AccountError::Store(_) | AccountError::Damaged(_) => {
                "accounts cannot be read or written now; try again later".to_owned()
            }
            other => other.to_string(),
        }
    }
}

/// What no longer counts; who is connected by it has to be looked at again (`still_stands`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// The session of this id.
    Session(Arc<str>),
    /// The API key of this id.
    Key(Arc<str>),
    /// Perhaps any API key: the file of keys has changed.
    Keys,
    /// Rights in this room; its rules may be others as well.
    Room(Arc<str>),
}

/// Ids of sessions, and of rooms.
type Used = (BTreeSet<Arc<str>>, BTreeSet<Arc<str>>);
type Listener = Box<dyn Fn(&Withdrawn) + Send + Sync>;

/// Accounts, sessions and rooms, and where they are kept.
pub struct Accounts {
    state: RwLock<State>,
    /// Who writes holds this, so that the log and `state` have the same order.
    journal: Mutex<Journal>,
    store: Arc<dyn Store>,
    /// Sessions and rooms whose last use is not written down yet.
    used: Mutex<Used>,
    key_file: Arc<KeyFile>,
    gate: Arc<dyn Gate>,
    settings: AccountsConfig,
    /// Whoever comes may make an account.
    is_open: bool,
    rooms: RoomsConfig,
    bounds: Bounds,
    origins: Vec<String>,
    exempt: Trusted,
    passwords: Passwords,
    account_tries: Tries<secret::TokenHash>,
    address_tries: Tries<ClientAddress>,
    requests: Windows<ClientAddress>,
    sign_ups: Windows<ClientAddress>,
    listeners: Mutex<Vec<Listener>>,
    generation: AtomicU64,
}

impl Accounts {
    /// Reads them from the store; waits for the disk. `key_file` and `gate` are the server's own.
    pub fn open(
        store: Arc<dyn Store>,
        key_file: Arc<KeyFile>,
        gate: Arc<dyn Gate>,
        config: &Config,
    ) -> Result<Self, AccountError> {
        let (state, journal) = read(store.clone(), config.admin.ignore_damage)?;
        let settings = config.accounts;
        let accounts = Self {
            state: RwLock::new(state),
            journal: Mutex::new(journal),
            store,
            used: Mutex::default(),
            key_file,
            gate,
            settings,
            is_open: match settings.sign_up {
                SignUp::Auto => !config.auth.is_on(),
                SignUp::Open => true,
                SignUp::Closed => false,
            },
            rooms: config.rooms,
            bounds: BOUNDS,
            origins: config.origins.allowed.clone(),
            exempt: config.exempt.clone(),
            passwords: Passwords::new(),
            account_tries: Tries::new(OF_ACCOUNT),
            address_tries: Tries::new(OF_ADDRESS),
            requests: Windows::new(60_000, settings.requests_per_minute),
            sign_ups: Windows::new(3_600_000, settings.sign_ups_per_hour),
            listeners: Mutex::default(),
            generation: AtomicU64::new(0),
        };
        accounts.compact()?;
        Ok(accounts)
    }

    /// Whether a room of the store is theirs.
    pub(crate) fn is_its(room: &str) -> bool {
        room == journal::KEY
    }

    /// Replaces the log by what it comes to, so that it holds no old segment of the store.
    pub(crate) fn compact(&self) -> Result<(), StoreError> {
        let mut journal = lock(&self.journal);
        // Nobody decides meanwhile, and whoever only looks need not wait for the disk.
        journal.sum_up(|| self.look(journal::json))
    }

    /// Writes down when sessions and rooms were used, forgets sessions that have run out, and keeps the log short. Called once a minute, and at the end.
    pub fn note_used(&self, now_ms: u64) {
        let (sessions, rooms) = std::mem::take(&mut *lock(&self.used));
        self.change(|state| state.forget_expired(now_ms));
        let noted = if sessions.is_empty() && rooms.is_empty() {
            Ok(())
        } else {
            self.decide("server", now_ms, |state| {
                let used_session = |id: Arc<str>| state.sessions.get(&id).map(|session| (id, session.used_at_ms));
                let used_room = |id: Arc<str>| state.registration(&id).map(|room| (id.clone(), room.used_at_ms));
                let sessions = sessions.into_iter().filter_map(used_session).collect();
                let rooms = rooms.into_iter().filter_map(used_room).collect();
                Ok((vec![Entry::Used { sessions, rooms }], ()))
            })
        };
        let is_long = lock(&self.journal).is_worth_a_sum();
        let compacted = if is_long { self.compact().map_err(AccountError::from) } else { Ok(()) };
        if let Err(error) = noted.and(compacted) {
            tracing::warn!(action = "store.error", room = journal::KEY, %error, "cannot note when sessions were used");
        }
    }

    /// Counts one request of the console, or for a socket of a room database. Err: it is one too many; the seconds after which it is worth coming back.
    pub fn may_request(&self, address: ClientAddress, now_ms: u64) -> Result<(), u64> {
        if self.exempt.contains(address) { Ok(()) } else { self.requests.one_more(&address.key(), now_ms) }
    }

    /// What is called when something was withdrawn, from then on; on any thread, so it must be quick.
    pub fn on_withdrawn(&self, listener: impl Fn(&Withdrawn) + Send + Sync + 'static) {
        lock(&self.listeners).push(Box::new(listener));
    }

    /// How often something was withdrawn: what was found out in an earlier generation has to be found out again.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Something counts no longer that is kept elsewhere: a key, or what the file of keys said.
    pub fn withdraw(&self, withdrawn: &Withdrawn) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        lock(&self.listeners).iter().for_each(|listener| listener(withdrawn));
    }

    /// The server's keys.
    pub(crate) fn key_file(&self) -> &Arc<KeyFile> {
        &self.key_file
    }

    /// Takes decisions down, all or none; waits for the disk. `decide` sees the state that they are made of, and nobody else decides meanwhile.
    fn decide<T>(
        &self,
        by: &str,
        now_ms: u64,
        decide: impl FnOnce(&State) -> Result<(Vec<Entry>, T), AccountError>,
    ) -> Result<T, AccountError> {
        let mut journal = lock(&self.journal);
        let (entries, decided) = self.look(decide)?;
        if entries.is_empty() {
            return Ok(decided);
        }
        let written = match journal.append(by, now_ms, &entries) {
            Ok(written) => written,
            Err(error) => {
                tracing::warn!(action = "store.error", room = journal::KEY, %error, "writing again");
                self.recover(&mut journal)?;
                journal.append(by, now_ms, &entries)?
            }
        };
        let kinds = entries.iter().map(Entry::kind).collect::<Vec<_>>().join(", ");
        match written {
            Written::Durable => self.change(|state| entries.into_iter().for_each(|entry| state.apply(entry))),
            Written::InDoubt => {
                self.recover(&mut journal)?;
                // It was written again, and nobody is told that it is done before it is on the disk.
                self.store.flush()?;
            }
        }
        if kinds != "use" {
            tracing::info!(action = "accounts.changed", by = %Printable(by), what = kinds);
        }
        Ok(decided)
    }

    /// Reads the log again after a failure, so that what counts is what is there.
    fn recover(&self, journal: &mut Journal) -> Result<(), AccountError> {
        let (state, found) = read(self.store.clone(), false)?;
        *journal = found;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does what waits for the disk on a thread where that stops nobody, and to its end, also when nobody waits for it any more.
    async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let accounts = self.clone();
        tokio::task::spawn_blocking(move || work(&accounts)).await.unwrap_or(Err(AccountError::Busy))
    }
}

/// The log and what it comes to.
fn read(store: Arc<dyn Store>, ignore_damage: bool) -> Result<(State, Journal), AccountError> {
    let Reading { journal, sum, entries, damage } = Journal::open::<State, Entry>(store)?;
    if let Some(damage) = damage {
        if !ignore_damage {
            return Err(AccountError::Damaged(damage));
        }
        tracing::error!(action = "store.damage", room = journal::KEY, damage, "accounts, sessions or rooms are lost");
    }
    let mut state = sum.unwrap_or_default();
    entries.into_iter().for_each(|entry| state.apply(entry));
    Ok((state, journal))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
