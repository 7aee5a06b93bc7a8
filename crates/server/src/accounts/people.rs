//! Users and their sessions: signing up, in and out, and what administrators do about them. Called by the console's HTTP API and by the admin API.

use super::password::Hashed;
use super::secret::{TokenHash, new_id, new_token};
use super::state::{Entry, Session, State, User};
use super::{AccountError, Accounts, Withdrawn, rules};
use crate::address::ClientAddress;
use std::net::IpAddr;
use std::sync::Arc;

/// How long somebody stays signed in who did not ask to be remembered, at most: a day.
const NOT_REMEMBERED_MS: u64 = 86_400_000;

/// Somebody who is to have an account. `Debug` shows nothing of it.
pub struct NewUser {
    /// What people call them.
    pub name: String,
    /// As they write it.
    pub email: String,
    /// 8 to 256 bytes.
    pub password: String,
}

/// Where somebody signs in from.
#[derive(Clone, Debug)]
pub struct Device {
    /// What the browser says about itself.
    pub agent: String,
    /// The address that the request counts as.
    pub address: ClientAddress,
}

/// A session that has begun.
pub struct SignedIn {
    /// Shown once, kept as a hash.
    pub token: String,
    /// What is kept of it.
    pub session: Session,
    /// Whose it is.
    pub user: User,
}

impl Accounts {
    /// Makes an account, and signs in.
    pub async fn sign_up(
        self: &Arc<Self>,
        new: NewUser,
        device: Device,
        now_ms: u64,
    ) -> Result<SignedIn, AccountError> {
        if !self.is_open {
            return Err(AccountError::SignUpClosed);
        }
        check(&new)?;
        if !self.exempt.contains(device.address) {
            let counted = self.sign_ups.one_more(&device.address.key(), now_ms);
            counted.map_err(|retry_after_s| AccountError::TooManyTries { retry_after_s })?;
        }
        let user = self.add_user(new, "sign-up", now_ms).await?;
        self.begin_session(user, &device, true, now_ms).await
    }

    /// Makes an account.
    pub async fn add_user(self: &Arc<Self>, new: NewUser, by: &str, now_ms: u64) -> Result<User, AccountError> {
        let (email, name) = check(&new)?;
        self.look(|state| self.has_place(state, &email))?;
        let password = self.passwords.hash(new.password).await?;
        let user = User { id: new_id()?, email: email.into(), name, created_at_ms: now_ms, password };
        let by = by.to_owned();
        self.on_disk(move |accounts| {
            accounts.decide(&by, now_ms, |state| {
                accounts.has_place(state, &user.email)?;
                Ok((vec![Entry::AddUser(user.clone())], user))
            })
        })
        .await
    }

    fn has_place(&self, state: &State, email: &str) -> Result<(), AccountError> {
        if state.user_of_email(email).is_some() {
            return Err(AccountError::EmailTaken);
        }
        let is_full = state.users.len() as u64 >= self.settings.users_max;
        let why = "there are as many accounts as accounts.users_max allows; ask an administrator";
        if is_full { Err(AccountError::Full(why)) } else { Ok(()) }
    }

    /// Begins a session, when the password is right. Takes the same time when there is no such account.
    pub async fn sign_in(
        self: &Arc<Self>,
        email: &str,
        password: String,
        remember: bool,
        device: Device,
        now_ms: u64,
    ) -> Result<SignedIn, AccountError> {
        // What cannot be an account is tried like one: it says nothing about those that there are.
        let email = email.trim().to_lowercase();
        let account = TokenHash::of(&email);
        let address = (!self.exempt.contains(device.address)).then(|| device.address.key());
        let of_address = address.and_then(|address| self.address_tries.pause_s(&address, now_ms));
        if let Some(retry_after_s) = self.account_tries.pause_s(&account, now_ms).max(of_address) {
            return Err(AccountError::TooManyTries { retry_after_s });
        }
        self.account_tries.begin(&account, now_ms);
        if let Some(address) = &address {
            self.address_tries.begin(address, now_ms);
        }
        let known = self.look(|state| state.user_of_email(&email).cloned());
        let is_tried = rules::PASSWORD_BYTES.contains(&password.len());
        let password = if is_tried { password } else { String::new() };
        let hashed = known.as_ref().map(|user| user.password.clone()).filter(|_| is_tried);
        let matches = match self.passwords.matches(password, hashed).await {
            Ok(matches) => matches,
            Err(error) => {
                // Nothing was tried.
                self.account_tries.take_back(&account);
                if let Some(address) = &address {
                    self.address_tries.take_back(address);
                }
                return Err(error);
            }
        };
        let user = known.filter(|_| matches).ok_or(AccountError::WrongPassword)?;
        self.account_tries.forget(&account);
        if let Some(address) = &address {
            self.address_tries.take_back(address);
        }
        self.begin_session(user, &device, remember, now_ms).await
    }

    async fn begin_session(
        self: &Arc<Self>,
        user: User,
        device: &Device,
        remember: bool,
        now_ms: u64,
    ) -> Result<SignedIn, AccountError> {
        let token = new_token()?;
        let life_ms = self.settings.session_s.saturating_mul(1_000);
        let life_ms = if remember { life_ms } else { life_ms.min(NOT_REMEMBERED_MS) };
        let session = Session {
            id: new_id()?,
            user: user.id.clone(),
            created_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(life_ms),
            used_at_ms: now_ms,
            agent: rules::agent(&device.agent),
            address: network(device.address),
            token: TokenHash::of(&token),
        };
        self.on_disk(move |accounts| {
            let ended = accounts.decide(&user.id, now_ms, |state| {
                // The password may have been changed, or the user removed, while it was looked at.
                let still = state.users.get(&user.id).is_some_and(|known| known.password == user.password);
                if !still {
                    return Err(AccountError::WrongPassword);
                }
                let oldest = oldest_beyond(state, &user.id, accounts.bounds.user_sessions);
                if oldest.is_empty() && state.sessions.len() >= accounts.bounds.sessions {
                    return Err(AccountError::Full(
                        "there are 200000 sessions already; some of them have to end first",
                    ));
                }
                let mut entries = vec![Entry::AddSession(session.clone())];
                if !oldest.is_empty() {
                    entries.push(Entry::EndSessions(oldest.clone()));
                }
                Ok((entries, oldest))
            })?;
            accounts.tell_ended(ended);
            Ok(SignedIn { token, session, user })
        })
        .await
    }

    /// The session with this token, and whose it is; it is used now.
    pub fn session(&self, token: &str, now_ms: u64) -> Option<(Session, User)> {
        let hash = TokenHash::of(token);
        let (session, user) =
            self.look(|state| state.session_of(&hash, now_ms).map(|(session, user)| (session.clone(), user.clone())))?;
        // Seconds are enough for people, and spare the lock.
        if session.used_at_ms + 1_000 <= now_ms {
            self.change(|state| state.use_session(&session.id, now_ms));
            super::lock(&self.used).0.insert(session.id.clone());
        }
        Some((session, user))
    }

    /// Whether a session still counts.
    pub(super) fn is_session(&self, id: &str, now_ms: u64) -> bool {
        self.look(|state| state.sessions.get(id).is_some_and(|session| session.expires_at_ms > now_ms))
    }

    /// Somebody's sessions, last used first.
    pub fn sessions_of(&self, user: &str, now_ms: u64) -> Vec<Session> {
        let mut sessions: Vec<Session> = self
            .look(|state| state.sessions_of(user).filter(|session| session.expires_at_ms > now_ms).cloned().collect());
        sessions.sort_by_key(|session| std::cmp::Reverse(session.used_at_ms));
        sessions
    }

    /// Ends those of somebody's sessions for which `ends` is true. How many there were.
    pub async fn end_sessions(
        self: &Arc<Self>,
        user: Arc<str>,
        by: &str,
        now_ms: u64,
        ends: impl Fn(&Session) -> bool + Send + 'static,
    ) -> Result<usize, AccountError> {
        let by = by.to_owned();
        self.on_disk(move |accounts| {
            let ended = accounts.decide(&by, now_ms, |state| {
                let ended: Vec<Arc<str>> = state
                    .sessions_of(&user)
                    .filter(|session| ends(session))
                    .map(|session| session.id.clone())
                    .collect();
                let entries = if ended.is_empty() { vec![] } else { vec![Entry::EndSessions(ended.clone())] };
                Ok((entries, ended))
            })?;
            let count = ended.len();
            accounts.tell_ended(ended);
            Ok(count)
        })
        .await
    }

    /// Whether a token is that of a session.
    pub fn is_token_of(session: &Session, token: &str) -> bool {
        session.token.is_same(&TokenHash::of(token))
    }

    /// Gives somebody another password, and ends all their sessions.
    pub async fn set_password(
        self: &Arc<Self>,
        user: Arc<str>,
        password: String,
        by: &str,
        now_ms: u64,
    ) -> Result<usize, AccountError> {
        rules::password(&password)?;
        self.user(&user).ok_or(AccountError::NoUser)?;
        let password: Hashed = self.passwords.hash(password).await?;
        let by = by.to_owned();
        self.on_disk(move |accounts| {
            let (ended, email) = accounts.decide(&by, now_ms, |state| {
                let known = state.users.get(&user).ok_or(AccountError::NoUser)?;
                let ended: Vec<_> = state.sessions_of(&user).map(|session| session.id.clone()).collect();
                Ok((vec![Entry::SetPassword { user: user.clone(), password }], (ended, known.email.clone())))
            })?;
            accounts.account_tries.forget(&TokenHash::of(&email));
            let count = ended.len();
            accounts.tell_ended(ended);
            Ok(count)
        })
        .await
    }

    /// Removes a user with their sessions and permissions. Their rooms stay theirs until an administrator gives them to somebody.
    pub async fn remove_user(self: &Arc<Self>, user: Arc<str>, by: &str, now_ms: u64) -> Result<usize, AccountError> {
        let by = by.to_owned();
        self.on_disk(move |accounts| {
            let (ended, rooms) = accounts.decide(&by, now_ms, |state| {
                state.users.get(&user).ok_or(AccountError::NoUser)?;
                let ended: Vec<_> = state.sessions_of(&user).map(|session| session.id.clone()).collect();
                let of = state.rooms.iter().filter(|(_, room)| room.permissions.contains_key(&user));
                let rooms: Vec<_> = of.map(|(id, _)| id.clone()).collect();
                Ok((vec![Entry::RemoveUser(user.clone())], (ended, rooms)))
            })?;
            let count = ended.len();
            accounts.tell_ended(ended);
            rooms.into_iter().for_each(|room| accounts.withdraw(&Withdrawn::Room(room)));
            Ok(count)
        })
        .await
    }

    /// Somebody, by their id.
    pub fn user(&self, id: &str) -> Option<User> {
        self.look(|state| state.users.get(id).cloned())
    }

    /// Somebody, by their address as they write it.
    pub fn user_of_email(&self, email: &str) -> Option<User> {
        self.look(|state| state.user_of_email(&email.trim().to_lowercase()).cloned())
    }

    /// Users by their ids, a part of them, and how many there are in all.
    pub fn users(&self, offset: usize, limit: usize) -> (Vec<User>, usize) {
        self.look(|state| (state.users.values().skip(offset).take(limit).cloned().collect(), state.users.len()))
    }

    fn tell_ended(&self, sessions: Vec<Arc<str>>) {
        sessions.into_iter().for_each(|id| self.withdraw(&Withdrawn::Session(id)));
    }
}

fn check(new: &NewUser) -> Result<(String, String), AccountError> {
    let (email, name) = (rules::email(&new.email)?, rules::name(&new.name)?);
    rules::password(&new.password)?;
    Ok((email, name))
}

/// The sessions of somebody that have to end before another one begins.
fn oldest_beyond(state: &State, user: &str, most: usize) -> Vec<Arc<str>> {
    let mut sessions: Vec<&Session> = state.sessions_of(user).collect();
    sessions.sort_by_key(|session| session.used_at_ms);
    let beyond = (sessions.len() + 1).saturating_sub(most);
    sessions.into_iter().take(beyond).map(|session| session.id.clone()).collect()
}

/// What is kept of an address: enough for people to know their own, and no more.
fn network(address: ClientAddress) -> String {
    match address {
        ClientAddress::Ip(IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        ClientAddress::Ip(IpAddr::V6(address)) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
        ClientAddress::Unix => "unix".to_owned(),
    }
}
