//! What administrators do about accounts: users and their sessions, and whose rooms of databases are and what others may do in them.
//!
//! Called by the admin API with the parts of a path. What is decided goes to `accounts`; the keys of somebody who goes are ended in the file of keys.

use super::{Answer, Asked, Refused, now_s, refused, segment};
use crate::accounts::{AccountError, Accounts, NewUser, OwnRoom, Right, Session, User, Withdrawn};
use crate::auth::end_key;
use crate::request::decode_pair;
use crate::room_kind::RoomKind;
use crate::worker::{What, Whom};
use hyper::{Method, StatusCode};
use room::Closing;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Entries of one answer, unless it is asked for fewer or more, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

impl From<AccountError> for Refused {
    fn from(error: AccountError) -> Self {
        let status = match &error {
            AccountError::Store(_) | AccountError::Damaged(_) | AccountError::NoRandomness | AccountError::Busy => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            AccountError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            AccountError::NoUser | AccountError::NoSession | AccountError::NoRoom => StatusCode::NOT_FOUND,
            AccountError::EmailTaken | AccountError::RoomTaken => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        refused(status, error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    email: String,
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    owner: String,
    name: Option<String>,
}

impl Asked {
    /// A request for something below `users` or `databases`.
    pub(super) async fn about_accounts(&self, method: &Method, parts: &[&str]) -> Answer {
        match (method.as_str(), parts) {
            ("GET", ["users"]) => self.users(),
            ("POST", ["users"]) => self.make_user().await,
            ("GET", ["users", id]) => self.user(id),
            ("DELETE", ["users", id]) => self.remove_user(id).await,
            ("PUT", ["users", id, "password"]) => self.set_password(id).await,
            ("GET", ["users", id, "sessions"]) => self.sessions(id),
            ("DELETE", ["users", id, "sessions"]) => self.end_sessions(id, None).await,
            ("DELETE", ["users", id, "sessions", session]) => self.end_sessions(id, Some(segment(session)?)).await,
            ("GET", ["databases"]) => self.databases(),
            ("GET", ["databases", room]) => self.described_database(&segment(room)?),
            ("PUT", ["databases", room, "owner"]) => self.set_owner(room).await,
            ("DELETE", ["databases", room, "owner"]) => self.unset_owner(room).await,
            ("PUT", ["databases", room, "permissions", user, table]) => self.permit(room, user, table, true).await,
            ("DELETE", ["databases", room, "permissions", user, table]) => self.permit(room, user, table, false).await,
            ("PUT", ["databases", room, "protected", table]) => self.protect(room, table, true).await,
            ("DELETE", ["databases", room, "protected", table]) => self.protect(room, table, false).await,
            (_, ["users" | "databases"] | ["users" | "databases", _])
            | (_, ["users", _, "password" | "sessions"] | ["users", _, "sessions", _])
            | (
                _,
                ["databases", _, "owner"] | ["databases", _, "permissions", _, _] | ["databases", _, "protected", _],
            ) => Err(super::wrong_method()),
            _ => Err(refused(StatusCode::NOT_FOUND, "nothing is served at this path; docs/admin.md lists the paths")),
        }
    }

    fn accounts(&self) -> &Arc<Accounts> {
        &self.entrance.accounts
    }

    fn now_ms(&self) -> u64 {
        self.entrance.clock.now_ms()
    }

    /// A parameter of the query.
    fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').map(decode_pair);
        pairs.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Which part of a list is wanted: where it begins, and how many.
    fn page(&self) -> Result<(usize, usize), Refused> {
        let number = |name: &str, usual: usize| {
            let text = self.parameter(name);
            let parsed = text.map_or(Ok(usual), |text| text.parse::<usize>());
            parsed.map_err(|_| refused(StatusCode::BAD_REQUEST, format!("\"{name}\" is a whole number from 0 on")))
        };
        Ok((number("offset", 0)?, number("limit", PAGE)?.clamp(1, PAGE_MAX)))
    }

    /// Somebody, by a segment of the path.
    fn known(&self, id: &str) -> Result<User, Refused> {
        Ok(self.accounts().user(&segment(id)?).ok_or(AccountError::NoUser)?)
    }

    fn described(&self, user: &User) -> Value {
        json!({
            "id": &*user.id,
            "email": &*user.email,
            "name": user.name,
            "created_at_ms": user.created_at_ms,
            "sessions": self.accounts().sessions_of(&user.id, self.now_ms()).len(),
            "rooms": self.accounts().rooms_of(&user.id).len(),
        })
    }

    fn users(&self) -> Answer {
        if let Some(email) = self.parameter("email") {
            let user = self.accounts().user_of_email(&email);
            let listed: Vec<Value> = user.iter().map(|user| self.described(user)).collect();
            return Ok(json!({ "total": listed.len(), "users": listed }));
        }
        let (offset, limit) = self.page()?;
        let (users, total) = self.accounts().users(offset, limit);
        let listed: Vec<Value> = users.iter().map(|user| self.described(user)).collect();
        Ok(json!({ "total": total, "users": listed }))
    }

    async fn make_user(&self) -> Answer {
        let Made { email, name, password } = self.json()?;
        let new = NewUser { email, name, password };
        let user = self.accounts().add_user(new, &self.by, self.now_ms()).await?;
        Ok(self.described(&user))
    }

    fn user(&self, id: &str) -> Answer {
        self.known(id).map(|user| self.described(&user))
    }

    /// Keys first: without a session nobody makes others meanwhile that are not found afterwards.
    async fn remove_user(&self, id: &str) -> Answer {
        let user = self.known(id)?.id;
        let before = self.end_keys_of(&user).await?;
        let sessions = self.accounts().remove_user(user.clone(), &self.by, self.now_ms()).await?;
        let after = self.end_keys_of(&user).await?;
        Ok(json!({ "sessions": sessions, "keys": before + after }))
    }

    async fn end_keys_of(&self, user: &Arc<str>) -> Result<usize, Refused> {
        let of = |table: &identity::api_key::KeyTable, user: &str| -> Vec<Arc<str>> {
            let own = table.list().filter(|record| *record.owner == *user && record.revoked_at_s.is_none());
            own.map(|record| record.id.clone()).collect()
        };
        if of(&self.entrance.key_file.table(), user).is_empty() {
            return Ok(0);
        }
        let user = user.clone();
        let ended = self
            .with_keys(move |table| {
                let ids = of(table, &user);
                ids.iter().try_for_each(|id| end_key(table, id, now_s()))?;
                Ok(ids)
            })
            .await?;
        self.entrance.gate().forget_answers();
        for id in &ended {
            self.accounts().withdraw(&Withdrawn::Key(id.clone()));
            let whom = Whom { key: Some(id.to_string()), ..Whom::default() };
            self.entrance.workers.command(whom, What::Close(Closing::Revoked)).await;
        }
        Ok(ended.len())
    }

    async fn set_password(&self, id: &str) -> Answer {
        let (user, sent) = (self.known(id)?.id, self.json::<Password>()?);
        let ended = self.accounts().set_password(user, sent.password, &self.by, self.now_ms()).await?;
        Ok(json!({ "sessions": ended }))
    }

    fn sessions(&self, id: &str) -> Answer {
        let sessions = self.accounts().sessions_of(&self.known(id)?.id, self.now_ms());
        let listed = sessions.iter().map(|session| {
            json!({
                "id": &*session.id,
                "created_at_ms": session.created_at_ms,
                "expires_at_ms": session.expires_at_ms,
                "used_at_ms": session.used_at_ms,
                "address": session.address,
                "agent": session.agent,
            })
        });
        Ok(json!({ "sessions": listed.collect::<Vec<Value>>() }))
    }

    async fn end_sessions(&self, id: &str, one: Option<String>) -> Answer {
        let user = self.known(id)?.id;
        let is_one = one.is_some();
        let ends = move |session: &Session| one.as_deref().is_none_or(|one| *session.id == *one);
        match self.accounts().end_sessions(user, &self.by, self.now_ms(), ends).await? {
            0 if is_one => Err(AccountError::NoSession.into()),
            ended => Ok(json!({ "sessions": ended })),
        }
    }

    fn databases(&self) -> Answer {
        let (offset, limit) = self.page()?;
        let (rooms, total) = self.accounts().all_rooms(offset, limit);
        let listed: Vec<Value> = rooms.iter().map(|room| database(room, false)).collect();
        Ok(json!({ "databases": listed, "total": total }))
    }

    fn described_database(&self, room: &str) -> Answer {
        let key = RoomKind::Database.key(room.trim());
        let (is_deleted, is_locked) = (self.entrance.ledger().is_deleted(&key), self.entrance.ledger().is_locked(&key));
        let room = self.accounts().room(room.trim()).ok_or(AccountError::NoRoom)?;
        let mut told = database(&room, true);
        (told["deleted"], told["locked"]) = (json!(is_deleted), json!(is_locked));
        Ok(told)
    }

    async fn set_owner(&self, room: &str) -> Answer {
        let (room, sent) = (segment(room)?, self.json::<Owner>()?);
        self.accounts().set_owner(&room, sent.owner.into(), sent.name, &self.by, self.now_ms()).await?;
        self.described_database(&room)
    }

    async fn unset_owner(&self, room: &str) -> Answer {
        self.accounts().unregister(&segment(room)?, None, &self.by, self.now_ms()).await?;
        Ok(json!({}))
    }

    async fn permit(&self, room: &str, user: &str, table: &str, grants: bool) -> Answer {
        let right = if grants { self.json::<Right>()? } else { Right::default() };
        if grants && right == Right::default() {
            let why = "say what is permitted: \"can_read\": true, \"can_write\": true or both; DELETE takes it away";
            return Err(refused(StatusCode::BAD_REQUEST, why));
        }
        let (room, user, table) = (segment(room)?, segment(user)?, segment(table)?);
        self.accounts().permit(&room, user.into(), &table, right, &self.by, self.now_ms()).await?;
        Ok(json!({ "can_read": right.can_read, "can_write": right.can_write }))
    }

    async fn protect(&self, room: &str, table: &str, protected: bool) -> Answer {
        let (room, table) = (segment(room)?, segment(table)?);
        self.accounts().protect(&room, &table, protected, &self.by, self.now_ms()).await?;
        Ok(json!({ "protected": protected }))
    }
}

/// A room as administrators see it; `whole`: with all that others may do in it.
fn database(room: &OwnRoom, whole: bool) -> Value {
    let registered = room.registered.as_ref();
    let mut described = json!({
        "id": &*room.id,
        "owner": registered.map(|registered| &*registered.owner),
        "name": registered.map(|registered| &registered.name),
        "created_at_ms": registered.map(|registered| registered.created_at_ms),
        "used_at_ms": registered.map(|registered| registered.used_at_ms),
        "protected": room.protected,
    });
    if whole {
        let permissions = room.permissions.iter().flat_map(|(user, tables)| {
            tables.iter().map(move |(table, right)| {
                json!({ "user": &**user, "table": table, "can_read": right.can_read, "can_write": right.can_write })
            })
        });
        described["permissions"] = permissions.collect();
    }
    described
}
