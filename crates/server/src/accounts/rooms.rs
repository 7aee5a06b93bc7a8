//! Rooms of databases: whose they are, who may enter, whose rows others may see and change. Called by the console's HTTP API, the admin API, and by
//! whoever lets sockets in. Does not know what is in a room.

use super::state::{Entry, Registration, Right, RoomRules, State};
use super::visitor::{ConsoleCredential, ConsoleRefusal, ConsoleVisitor};
use super::{AccountError, Accounts, RoomAccess, Withdrawn, rules};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

/// A room, as its owner and administrators see it.
#[derive(Clone, Debug)]
pub struct OwnRoom {
    /// Its id.
    pub id: Arc<str>,
    /// Whose it is; `None`: nobody's.
    pub registered: Option<Registration>,
    /// Tables that are protected beside `tasks`.
    pub protected: BTreeSet<String>,
    /// By user and table.
    pub permissions: BTreeMap<Arc<str>, BTreeMap<String, Right>>,
}

impl Accounts {
    /// The id of a room as it is kept.
    pub fn room_id(text: &str) -> Result<&str, AccountError> {
        rules::room(text)
    }

    /// Whether somebody may enter a room. Who comes first to a room that is nobody's owns it from then on, unless a key brings them.
    pub async fn may_enter(
        self: &Arc<Self>,
        room: &str,
        visitor: &ConsoleVisitor,
        now_ms: u64,
    ) -> Result<(), ConsoleRefusal> {
        if !visitor.allows(room) {
            return Err(ConsoleRefusal::forbidden());
        }
        let is_somebodys = self.is_registered(room);
        let comes_first = !matches!(visitor.credential, ConsoleCredential::Key(_));
        if !is_somebodys && comes_first {
            let name: String = room.chars().take(64).collect();
            match self.register(room, &name, &visitor.user, &visitor.user.clone(), now_ms).await {
                Ok(_) | Err(AccountError::RoomTaken) => {}
                Err(AccountError::RoomLimit(_) | AccountError::Full(_)) if self.rooms.access == RoomAccess::Open => {}
                Err(error @ AccountError::RoomLimit(_)) => {
                    return Err(ConsoleRefusal { status: 403, text: error.to_string() });
                }
                Err(error) => return Err(ConsoleRefusal::unavailable(&error.told())),
            }
        }
        if !self.has_right(room, &visitor.user) {
            return Err(ConsoleRefusal::forbidden());
        }
        self.change(|state| state.use_room(room, now_ms));
        super::lock(&self.used).1.insert(room.into());
        Ok(())
    }

    /// Whether somebody may be in a room as it is now.
    pub(super) fn has_right(&self, room: &str, user: &str) -> bool {
        self.rooms.access == RoomAccess::Open
            || self.look(|state| {
                state.rooms.get(room).is_some_and(|room| {
                    room.registered.as_ref().is_some_and(|registration| &*registration.owner == user)
                        || room.permissions.contains_key(user)
                })
            })
    }

    /// Whose rows of which tables others may see and change in a room. The same `Arc` as long as nothing changes.
    pub fn rules_of(&self, room: &str) -> Arc<RoomRules> {
        static USUAL: LazyLock<Arc<RoomRules>> = LazyLock::new(Arc::default);
        self.look(|state| state.rooms.get(room).map_or_else(|| USUAL.clone(), |room| room.rules.clone()))
    }

    /// The rooms that are somebody's, last used first.
    pub fn rooms_of(&self, user: &str) -> Vec<(Arc<str>, Registration)> {
        let own = |state: &State| state.rooms_of(user).map(|(id, room)| (id.clone(), room.clone())).collect();
        let mut rooms: Vec<(Arc<str>, Registration)> = self.look(own);
        rooms.sort_by_key(|(_, room)| std::cmp::Reverse((room.used_at_ms, room.created_at_ms)));
        rooms
    }

    /// Makes a room somebody's that is nobody's.
    pub async fn register(
        self: &Arc<Self>,
        room: &str,
        name: &str,
        owner: &Arc<str>,
        by: &str,
        now_ms: u64,
    ) -> Result<Registration, AccountError> {
        let (room, name): (Arc<str>, _) = (rules::room(room)?.into(), rules::name(name)?);
        let (owner, by) = (owner.clone(), by.to_owned());
        self.on_disk(move |accounts| {
            accounts.decide(&by, now_ms, |state| {
                if state.registration(&room).is_some() {
                    return Err(AccountError::RoomTaken);
                }
                let most = accounts.rooms.per_user_max;
                if most > 0 && state.rooms_of(&owner).count() as u64 >= most {
                    return Err(AccountError::RoomLimit(most));
                }
                accounts.has_place_for(state, &room)?;
                let registration = Registration { owner, name, created_at_ms: now_ms, used_at_ms: now_ms };
                let entry = Entry::Register { room, registration: registration.clone() };
                Ok((vec![entry], registration))
            })
        })
        .await
    }

    /// Makes a room nobody's; its data and its rules stay. `of`: only if it is theirs.
    pub async fn unregister(
        self: &Arc<Self>,
        room: &str,
        of: Option<Arc<str>>,
        by: &str,
        now_ms: u64,
    ) -> Result<(), AccountError> {
        let (room, by): (Arc<str>, _) = (room.into(), by.to_owned());
        self.on_disk(move |accounts| {
            accounts.decide(&by, now_ms, |state| {
                let registration = state.registration(&room).ok_or(AccountError::NoRoom)?;
                if of.is_some_and(|of| of != registration.owner) {
                    return Err(AccountError::NoRoom);
                }
                Ok((vec![Entry::Unregister(room.clone())], ()))
            })?;
            accounts.withdraw(&Withdrawn::Room(room));
            Ok(())
        })
        .await
    }

    /// Gives a room to somebody, whoever had it, and however many they have. Without a name it keeps its own.
    pub async fn set_owner(
        self: &Arc<Self>,
        room: &str,
        owner: Arc<str>,
        name: Option<String>,
        by: &str,
        now_ms: u64,
    ) -> Result<Registration, AccountError> {
        let (room, by): (Arc<str>, _) = (rules::room(room)?.into(), by.to_owned());
        let name = name.map(|name| rules::name(&name)).transpose()?;
        rules::name(&owner).map_err(|_| AccountError::NoUser)?;
        self.on_disk(move |accounts| {
            let registration = accounts.decide(&by, now_ms, |state| {
                accounts.has_place_for(state, &room)?;
                let known = state.registration(&room);
                let (created_at_ms, used_at_ms) =
                    known.map_or((now_ms, now_ms), |known| (known.created_at_ms, known.used_at_ms));
                let kept = || known.map_or_else(|| room.chars().take(64).collect(), |known| known.name.clone());
                let name = name.unwrap_or_else(kept);
                let registration = Registration { owner, name, created_at_ms, used_at_ms };
                let entry = Entry::Register { room: room.clone(), registration: registration.clone() };
                Ok((vec![entry], registration))
            })?;
            accounts.withdraw(&Withdrawn::Room(room));
            Ok(registration)
        })
        .await
    }

    /// Says what somebody may do with other people's rows of a table; without either right, takes it away.
    pub async fn permit(
        self: &Arc<Self>,
        room: &str,
        user: Arc<str>,
        table: &str,
        right: Right,
        by: &str,
        now_ms: u64,
    ) -> Result<(), AccountError> {
        let (room, table): (Arc<str>, _) = (rules::room(room)?.into(), rules::table(table)?);
        let by = by.to_owned();
        rules::name(&user).map_err(|_| AccountError::NoUser)?;
        self.on_disk(move |accounts| {
            accounts.decide(&by, now_ms, |state| {
                accounts.has_place_for(state, &room)?;
                let count = |room: &super::state::Room| room.permissions.values().map(BTreeMap::len).sum::<usize>();
                if right != Right::default() && state.rooms.get(&room).map_or(0, count) >= accounts.bounds.permissions {
                    return Err(AccountError::Full("the room has 10000 permissions already; take some away"));
                }
                let entry = Entry::Permit { room: room.clone(), user, table, right };
                Ok((vec![entry], ()))
            })?;
            accounts.withdraw(&Withdrawn::Room(room));
            Ok(())
        })
        .await
    }

    /// Makes the rows of a table belong to those who made them, or open to all in the room.
    pub async fn protect(
        self: &Arc<Self>,
        room: &str,
        table: &str,
        protected: bool,
        by: &str,
        now_ms: u64,
    ) -> Result<(), AccountError> {
        let (room, table): (Arc<str>, _) = (rules::room(room)?.into(), rules::table(table)?);
        let by = by.to_owned();
        if table == super::state::ALWAYS_PROTECTED {
            return if protected { Ok(()) } else { Err(AccountError::AlwaysProtected) };
        }
        self.on_disk(move |accounts| {
            accounts.decide(&by, now_ms, |state| {
                accounts.has_place_for(state, &room)?;
                let count = state.rooms.get(&room).map_or(0, |room| room.protected.len());
                if protected && count >= accounts.bounds.protected {
                    return Err(AccountError::Full("the room has 1000 protected tables already; open some"));
                }
                Ok((vec![Entry::Protect { room: room.clone(), table, protected }], ()))
            })?;
            accounts.withdraw(&Withdrawn::Room(room));
            Ok(())
        })
        .await
    }

    fn has_place_for(&self, state: &State, room: &str) -> Result<(), AccountError> {
        let is_full = state.rooms.len() >= self.bounds.rooms && !state.rooms.contains_key(room);
        if is_full { Err(AccountError::Full("there are 200000 rooms already; delete some")) } else { Ok(()) }
    }

    /// What is known of a room.
    pub fn room(&self, id: &str) -> Option<OwnRoom> {
        self.look(|state| state.rooms.get(id).map(|room| own_room(&id.into(), room)))
    }

    /// Whether a room is somebody's.
    pub(crate) fn is_registered(&self, id: &str) -> bool {
        self.look(|state| state.registration(id).is_some())
    }

    /// Rooms by their ids, a part of them, and how many there are in all.
    pub fn all_rooms(&self, offset: usize, limit: usize) -> (Vec<OwnRoom>, usize) {
        self.look(|state| {
            let part = state.rooms.iter().skip(offset).take(limit);
            (part.map(|(id, room)| own_room(id, room)).collect(), state.rooms.len())
        })
    }
}

fn own_room(id: &Arc<str>, room: &super::state::Room) -> OwnRoom {
    OwnRoom {
        id: id.clone(),
        registered: room.registered.clone(),
        protected: room.protected.clone(),
        permissions: room.permissions.clone(),
    }
}
