//! What the log of accounts comes to: users, sessions, rooms and who may do what in them, with the indexes that answer fast. Changed by entries only,
//! each of which can be applied to any state. No I/O, no clock: times are in the entries.

use super::password::Hashed;
use super::secret::TokenHash;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
pub use tables::Rules as RoomRules;

/// Somebody with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Given at random; never used again.
    pub id: Arc<str>,
    /// In small letters; no two users have the same.
    pub email: Arc<str>,
    /// What people call them.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub(super) password: Hashed,
}

/// Somebody who is signed in somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// No secret, unlike the token.
    pub id: Arc<str>,
    /// Whose it is.
    pub user: Arc<str>,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// From then on it counts no longer.
    pub expires_at_ms: u64,
    /// At most a minute older on the disk.
    pub used_at_ms: u64,
    /// The beginning of what the browser says about itself.
    pub agent: String,
    /// The network that it came from.
    pub address: String,
    pub(super) token: TokenHash,
}

/// That a room is somebody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Whose.
    pub owner: Arc<str>,
    /// What people call it.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// At most a minute older on the disk.
    pub used_at_ms: u64,
}

/// What somebody may do with other people's rows of a protected table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Right {
    /// See them.
    pub can_read: bool,
    /// Change them.
    pub can_write: bool,
}

/// All that is known of a room.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Room {
    pub(super) registered: Option<Registration>,
    pub(super) protected: BTreeSet<String>,
    /// By user and table.
    pub(super) permissions: BTreeMap<Arc<str>, BTreeMap<String, Right>>,
    #[serde(skip)]
    pub(super) rules: Arc<RoomRules>,
}

/// The table that every room has, whose rows belong to those who made them.
pub(super) const ALWAYS_PROTECTED: &str = "tasks";

impl Room {
    fn renew_rules(&mut self) {
        let mut rules = RoomRules::default();
        rules.protected.extend(self.protected.iter().cloned());
        for (user, tables) in &self.permissions {
            for (table, right) in tables {
                for (has, who) in [(right.can_read, &mut rules.readers), (right.can_write, &mut rules.writers)] {
                    if has {
                        who.entry(table.clone()).or_default().insert(user.clone());
                    }
                }
            }
        }
        self.rules = Arc::new(rules);
    }

    fn is_nothing(&self) -> bool {
        self.registered.is_none() && self.protected.is_empty() && self.permissions.is_empty()
    }
}

/// One decision.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Entry {
    AddUser(User),
    /// Also ends all sessions.
    SetPassword {
        user: Arc<str>,
        password: Hashed,
    },
    RemoveUser(Arc<str>),
    AddSession(Session),
    EndSessions(Vec<Arc<str>>),
    Register {
        room: Arc<str>,
        registration: Registration,
    },
    Unregister(Arc<str>),
    /// Without either right it is taken away.
    Permit {
        room: Arc<str>,
        user: Arc<str>,
        table: String,
        right: Right,
    },
    Protect {
        room: Arc<str>,
        table: String,
        protected: bool,
    },
    /// When sessions and rooms were used last.
    Used {
        sessions: BTreeMap<Arc<str>, u64>,
        rooms: BTreeMap<Arc<str>, u64>,
    },
}

impl Entry {
    /// For the log: nobody's name or address is in it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Entry::AddUser(_) => "add user",
            Entry::SetPassword { .. } => "set password",
            Entry::RemoveUser(_) => "remove user",
            Entry::AddSession(_) => "sign in",
            Entry::EndSessions(_) => "end sessions",
            Entry::Register { .. } => "register room",
            Entry::Unregister(_) => "unregister room",
            Entry::Permit { .. } => "set permission",
            Entry::Protect { .. } => "protect table",
            Entry::Used { .. } => "use",
        }
    }
}

/// Everything, as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    users: Vec<User>,
    sessions: Vec<Session>,
    rooms: BTreeMap<Arc<str>, Room>,
}

/// The same as it is written, without a copy.
#[derive(Serialize)]
struct Written<'s> {
    users: Vec<&'s User>,
    sessions: Vec<&'s Session>,
    rooms: &'s BTreeMap<Arc<str>, Room>,
}

/// Everything, with its indexes.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Sum")]
pub(super) struct State {
    pub(super) users: BTreeMap<Arc<str>, User>,
    pub(super) sessions: BTreeMap<Arc<str>, Session>,
    pub(super) rooms: BTreeMap<Arc<str>, Room>,
    by_email: HashMap<Arc<str>, Arc<str>>,
    by_token: HashMap<TokenHash, Arc<str>>,
    sessions_of: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    rooms_of: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl From<Sum> for State {
    fn from(sum: Sum) -> Self {
        let mut state = Self::default();
        sum.users.into_iter().for_each(|user| state.add_user(user));
        sum.sessions.into_iter().for_each(|session| state.add_session(session));
        for (id, mut room) in sum.rooms {
            room.renew_rules();
            if let Some(registration) = &room.registered {
                state.rooms_of.entry(registration.owner.clone()).or_default().insert(id.clone());
            }
            state.rooms.insert(id, room);
        }
        state
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (users, sessions) = (self.users.values().collect(), self.sessions.values().collect());
        Written { users, sessions, rooms: &self.rooms }.serialize(serializer)
    }
}

impl State {
    pub(super) fn user_of_email(&self, email: &str) -> Option<&User> {
        self.by_email.get(email).and_then(|id| self.users.get(id))
    }

    /// The session with a token, if it has not run out, and whose it is.
    pub(super) fn session_of(&self, token: &TokenHash, now_ms: u64) -> Option<(&Session, &User)> {
        let session = self.by_token.get(token).and_then(|id| self.sessions.get(id))?;
        let counts = session.token.is_same(token) && session.expires_at_ms > now_ms;
        self.users.get(&session.user).filter(|_| counts).map(|user| (session, user))
    }

    pub(super) fn sessions_of(&self, user: &str) -> impl Iterator<Item = &Session> {
        self.sessions_of.get(user).into_iter().flatten().filter_map(|id| self.sessions.get(id))
    }

    /// The rooms that are somebody's.
    pub(super) fn rooms_of(&self, user: &str) -> impl Iterator<Item = (&Arc<str>, &Registration)> {
        let ids = self.rooms_of.get(user).into_iter().flatten();
        ids.filter_map(|id| Some((id, self.rooms.get(id)?.registered.as_ref()?)))
    }

    pub(super) fn registration(&self, room: &str) -> Option<&Registration> {
        self.rooms.get(room)?.registered.as_ref()
    }

    pub(super) fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::AddUser(user) => self.add_user(user),
            Entry::SetPassword { user, password } => {
                self.end_sessions_of(&user);
                if let Some(user) = self.users.get_mut(&user) {
                    user.password = password;
                }
            }
            Entry::RemoveUser(user) => {
                self.end_sessions_of(&user);
                if let Some(gone) = self.users.remove(&user) {
                    self.by_email.remove(&gone.email);
                }
                // Rooms stay whose they were: nobody gets this id again, so nobody gets the rooms by coming first.
                let concerned: Vec<Arc<str>> = self
                    .rooms
                    .iter()
                    .filter(|(_, room)| room.permissions.contains_key(&user))
                    .map(|(id, _)| id.clone())
                    .collect();
                concerned.iter().for_each(|room| self.change_room(room, |room| _ = room.permissions.remove(&user)));
            }
            Entry::AddSession(session) => self.add_session(session),
            Entry::EndSessions(ids) => ids.iter().for_each(|id| self.end_session(id)),
            Entry::Register { room, registration } => {
                self.unregister(&room);
                self.rooms_of.entry(registration.owner.clone()).or_default().insert(room.clone());
                self.change_room(&room, |known| known.registered = Some(registration));
            }
            Entry::Unregister(room) => self.unregister(&room),
            Entry::Permit { room, user, table, right } => self.change_room(&room, |known| {
                let tables = known.permissions.entry(user.clone()).or_default();
                if right == Right::default() {
                    tables.remove(&table);
                } else {
                    tables.insert(table, right);
                }
                if tables.is_empty() {
                    known.permissions.remove(&user);
                }
            }),
            Entry::Protect { room, table, protected } => self.change_room(&room, |known| {
                _ = if protected { known.protected.insert(table) } else { known.protected.remove(&table) };
            }),
            Entry::Used { sessions, rooms } => {
                for (id, used_at_ms) in sessions {
                    self.use_session(&id, used_at_ms);
                }
                for (id, used_at_ms) in rooms {
                    self.use_room(&id, used_at_ms);
                }
            }
        }
    }

    pub(super) fn use_session(&mut self, id: &str, now_ms: u64) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.used_at_ms = session.used_at_ms.max(now_ms);
        }
    }

    pub(super) fn use_room(&mut self, id: &str, now_ms: u64) {
        if let Some(registration) = self.rooms.get_mut(id).and_then(|room| room.registered.as_mut()) {
            registration.used_at_ms = registration.used_at_ms.max(now_ms);
        }
    }

    /// Sessions that have run out are nobody's any more, with or without an entry that says so.
    pub(super) fn forget_expired(&mut self, now_ms: u64) {
        let expired: Vec<Arc<str>> = self
            .sessions
            .values()
            .filter(|session| session.expires_at_ms <= now_ms)
            .map(|session| session.id.clone())
            .collect();
        expired.iter().for_each(|id| self.end_session(id));
    }

    fn add_user(&mut self, user: User) {
        self.by_email.insert(user.email.clone(), user.id.clone());
        self.users.insert(user.id.clone(), user);
    }

    fn add_session(&mut self, session: Session) {
        self.by_token.insert(session.token, session.id.clone());
        self.sessions_of.entry(session.user.clone()).or_default().insert(session.id.clone());
        self.sessions.insert(session.id.clone(), session);
    }

    fn end_session(&mut self, id: &str) {
        let Some(gone) = self.sessions.remove(id) else { return };
        self.by_token.remove(&gone.token);
        if let Some(left) = self.sessions_of.get_mut(&gone.user) {
            left.remove(id);
            if left.is_empty() {
                self.sessions_of.remove(&gone.user);
            }
        }
    }

    fn end_sessions_of(&mut self, user: &str) {
        let ids: Vec<Arc<str>> = self.sessions_of(user).map(|session| session.id.clone()).collect();
        ids.iter().for_each(|id| self.end_session(id));
    }

    fn unregister(&mut self, room: &str) {
        let Some(owner) = self.registration(room).map(|registration| registration.owner.clone()) else { return };
        if let Some(left) = self.rooms_of.get_mut(&owner) {
            left.remove(room);
            if left.is_empty() {
                self.rooms_of.remove(&owner);
            }
        }
        self.change_room(room, |room| room.registered = None);
    }

    fn change_room(&mut self, id: &str, change: impl FnOnce(&mut Room)) {
        let room = self.rooms.entry(id.into()).or_default();
        change(room);
        room.renew_rules();
        if room.is_nothing() {
            self.rooms.remove(id);
        }
    }
}
