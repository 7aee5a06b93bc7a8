//! The gate of a server with authentication: finds out who a visitor is, by token, API key or session, and what it may do in the room.
//!
//! Called for each visit, and again when an answer has run out. Every refusal goes to the log with its exact reason; the visitor gets a short one.

use super::credential::{Credential as Shown, SessionCookie};
use super::key_file::now_s;
use super::sessions::Sessions;
use super::trusted_keys::TrustedKeys;
use super::webhook::Webhook;
use super::{Admission, Answer, Gate, KeyFile, KeyFileError, Ledger, Lifetime, Rates, Reach, Refusal, Standing};
use crate::config::{AuthConfig, Config};
use crate::fetch::{Fetcher, Lane, Url};
use crate::logging::Printable;
use crate::origins;
use crate::request::RequestHead;
use crate::room_kind::RoomKind;
use identity::{Credential, Identity, KeySet, KeySetError, Permission, RoomPattern, Rules, TokenError};
use room::{Access, Closing};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// Told to whoever comes while the answer of others is missing.
const KEYS_MISSING: &str = "the keys that tokens are checked with cannot be fetched; try again later";
const SESSIONS_MISSING: &str = "sessions cannot be checked now; try again later";
const PERMISSIONS_MISSING: &str = "permissions cannot be checked now; try again later";

/// Checks credentials.
pub struct Authenticator {
    keys: Arc<TrustedKeys>,
    rules: Rules,
    key_file: Arc<KeyFile>,
    token_cookie: Option<String>,
    sessions: Option<Sessions>,
    permissions: Option<Webhook>,
    /// What rooms allow to whom nothing else says it; the first pattern that matches counts.
    rooms: Vec<(RoomPattern, Permission)>,
    ledger: Arc<Ledger>,
    origins: Vec<String>,
    generation: AtomicU64,
    renewal: Option<AbortHandle>,
}

/// Why authentication cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The key of the configuration.
    #[error("{setting} cannot be used: {source}")]
    Key {
        /// Which setting.
        setting: &'static str,
        /// What is wrong with it.
        source: KeySetError,
    },
    /// A file that it names.
    #[error("cannot read {path}, which {setting} names: {source}")]
    Unreadable {
        /// Which setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The server's own keys.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
}

impl Authenticator {
    /// Sets up what the configuration asks for. Called within a runtime of tokio, where published keys are renewed from then on.
    pub fn new(config: &Config, key_file: Arc<KeyFile>, ledger: Arc<Ledger>) -> Result<Self, AuthError> {
        let auth = &config.auth;
        let fetcher = Arc::new(Fetcher::new(Duration::from_millis(auth.time_out_ms)));
        let published = auth.jwks_url.clone().map(|url| (url, fetcher.clone()));
        let keys = Arc::new(TrustedKeys::new(Self::configured_keys(auth)?, published));
        let renewal = auth.jwks_url.is_some().then(|| {
            let (keys, every) = (keys.clone(), Duration::from_millis(auth.jwks_refresh_ms));
            let renewing = async move {
                loop {
                    keys.renew().await;
                    tokio::time::sleep(every).await;
                }
            };
            tokio::spawn(renewing).abort_handle()
        });
        let lifetime = Duration::from_millis(auth.session_ms);
        let names = auth.claims.clone();
        let sessions = auth.session_url.clone().map(|url| Sessions::new(url, lifetime, names, fetcher.clone()));
        let webhook = |url: Url| Webhook::new(url, auth.webhook_secret.as_str(), fetcher.clone());
        Ok(Self {
            keys,
            rules: auth.rules(),
            key_file,
            token_cookie: (!auth.cookie.is_empty()).then(|| auth.cookie.clone()),
            sessions,
            permissions: auth.permission_url.clone().map(webhook),
            rooms: auth.rooms.clone(),
            ledger,
            origins: config.origins.allowed.clone(),
            generation: AtomicU64::new(0),
            renewal,
        })
    }

    /// The keys that the configuration names.
    pub fn configured_keys(auth: &AuthConfig) -> Result<KeySet, AuthError> {
        let mut keys = KeySet::default();
        if !auth.secret.is_empty() {
            let error = |source| AuthError::Key { setting: "auth.secret", source };
            let set = KeySet::secret(auth.secret_algorithm, auth.secret.as_str().as_bytes()).map_err(error)?;
            keys = keys.merge(set).map_err(error)?;
        }
        if let Some(path) = &auth.keys_file {
            let setting = "auth.keys_file";
            let error = |source| AuthError::Key { setting, source };
            let text = std::fs::read_to_string(path).map_err(|source| AuthError::Unreadable {
                setting,
                path: path.clone(),
                source,
            })?;
            let set = match text.trim_start().starts_with('{') {
                true => KeySet::jwks(&text),
                false => KeySet::pem(auth.keys_algorithm, &text),
            };
            keys = keys.merge(set.map_err(error)?).map_err(error)?;
        }
        Ok(keys)
    }

    /// Waits for an answer, and notes in which generation it was asked for.
    async fn noted(&self, answer: impl Future<Output = Result<Admission, Refusal>>) -> Result<Admission, Refusal> {
        let generation = self.generation();
        let mut admission = answer.await?;
        if let Some(standing) = &mut admission.standing {
            standing.generation = generation;
        }
        Ok(admission)
    }

    async fn visit(&self, head: &RequestHead, room: &str, wants: Wants) -> Result<Admission, Refusal> {
        let shown = Shown::of(head, self.token_cookie.as_deref(), self.sessions.is_some());
        let identity = match &shown {
            Shown::Token(text) => self.identify(text, room).await?,
            Shown::TokenCookie(text) => {
                self.check_origin(head)?;
                self.identify(text, room).await?
            }
            Shown::Session(cookie) => {
                self.check_origin(head)?;
                let cookie = Arc::new(cookie.clone());
                let (identity, lifetime) = self.session(&cookie, room, Lane::Newcomers).await?;
                wants.check(&identity, room)?;
                return self
                    .entitle(identity, RoomKind::Document, room, Some((cookie, lifetime)), Lane::Newcomers)
                    .await;
            }
            Shown::Missing => return Err(refuse(Closing::Unauthorized, "no token, key or session", room)),
        };
        wants.check(&identity, room)?;
        self.entitle(identity, RoomKind::Document, room, None, Lane::Newcomers).await
    }

    async fn look_at(&self, token: &str, room: &str, wants: Wants, lane: Lane) -> Result<Admission, Refusal> {
        let identity = self.identify(token, room).await?;
        wants.check(&identity, room)?;
        self.entitle(identity, RoomKind::Document, room, None, lane).await
    }

    /// A browser sends cookies along whichever page asks: only listed pages may use them.
    fn check_origin(&self, head: &RequestHead) -> Result<(), Refusal> {
        let origin = head.header("origin");
        if origins::may_use_cookies(&self.origins, origin, head.header("host")) {
            return Ok(());
        }
        let origin = Printable(origin.unwrap_or("none")).to_string();
        tracing::info!(action = "auth.refused", origin, "cookies from a page that is not listed in origins.allowed");
        Err(Refusal::Origin)
    }

    async fn identify(&self, text: &str, room: &str) -> Result<Arc<Identity>, Refusal> {
        if identity::looks_like_api_key(text) {
            let known = self.key_file.authenticate(text, now_s());
            return known.map(Arc::new).map_err(|error| refuse(Closing::Unauthorized, &error.to_string(), room));
        }
        let are_there = self.keys.are_there().await;
        let mut verified = identity::verify(text, &self.keys.current(), &self.rules, now_s());
        if are_there && matches!(verified, Err(TokenError::UnknownKey { .. })) && self.keys.look_again().await {
            verified = identity::verify(text, &self.keys.current(), &self.rules, now_s());
        }
        verified.map(Arc::new).map_err(|error| match error {
            // Perhaps it is good: the keys to tell are missing.
            error if !are_there && error.is_about_keys() => Refusal::Later(KEYS_MISSING),
            error if error.is_expired() => refuse(Closing::Outdated, &error.to_string(), room),
            error => refuse(Closing::Unauthorized, &error.to_string(), room),
        })
    }

    async fn session(
        &self,
        cookie: &SessionCookie,
        room: &str,
        lane: Lane,
    ) -> Result<(Arc<Identity>, Lifetime), Refusal> {
        let Some(sessions) = &self.sessions else { return Err(refuse(Closing::Unauthorized, "no sessions", room)) };
        match sessions.identify(cookie, lane).await {
            Ok(Some(session)) => Ok((session.identity, session.lifetime)),
            Ok(None) => Err(refuse(Closing::Unauthorized, "the application knows no such session", room)),
            Err(error) => {
                tracing::warn!(action = "auth.unavailable", error, "cannot ask auth.session_url");
                Err(Refusal::Later(SESSIONS_MISSING))
            }
        }
    }

    /// What somebody may do in a room: what the credential says, as far as the application or else the room's own rules allow it.
    async fn entitle(
        &self,
        identity: Arc<Identity>,
        kind: RoomKind,
        room: &str,
        session: Option<(Arc<SessionCookie>, Lifetime)>,
        lane: Lane,
    ) -> Result<Admission, Refusal> {
        let (session, mut lifetime) = session.map_or((None, None), |(cookie, lifetime)| (Some(cookie), Some(lifetime)));
        let mut permission = identity.permission(room).unwrap_or_else(|| self.rooms_own(room));
        let left = self.ledger.left_by_revocations(&identity, room);
        if left == Permission::None {
            return Err(refuse(Closing::Revoked, "the token was revoked", room));
        }
        // A draft, which is a document, belongs to a firm, whatever else would let somebody in.
        permission = permission.min(left);
        if kind == RoomKind::Document {
            permission = permission.min(self.ledger.left_by_draft(&identity, room));
        }
        let mut rates = Rates::default();
        // Keys and the server's own tokens say themselves what they are for.
        let says_itself =
            matches!(identity.credential, Credential::Key(_) | Credential::Document { .. } | Credential::Backend);
        if let Some(webhook) = self.permissions.as_ref().filter(|_| !says_itself)
            && permission > Permission::None
        {
            let permitted = webhook.permission(&identity, room, lane).await.map_err(|error| {
                tracing::warn!(action = "auth.unavailable", error, "cannot ask auth.permission_url");
                Refusal::Later(PERMISSIONS_MISSING)
            })?;
            permission = permission.min(permitted.permission);
            rates = permitted.rates;
            lifetime = Some(permitted.lifetime.min(lifetime));
        }
        let access = access_by(permission, room)?;
        let reach = if kind == RoomKind::Database { Reach::Database } else { Reach::Rooms };
        let standing = Standing { lifetime, rates, session, reach, ..self.standing(identity) };
        Ok(admission(standing, access))
    }

    /// What somebody may do in a notebook of their own: what the credential is for, unless that was taken back.
    fn entitle_owner(&self, identity: Arc<Identity>) -> Result<Admission, Refusal> {
        let notebook = RoomKind::Notebook.key(&identity.user);
        let permission = match &identity.credential {
            // A key opens what it names; what a token says about rooms is about documents.
            Credential::Key(_) => identity.permission(&notebook).unwrap_or(Permission::None),
            Credential::Token | Credential::Session => Permission::Write,
            Credential::Anonymous | Credential::Document { .. } | Credential::Backend => Permission::None,
        };
        let left = self.ledger.left_by_revocations(&identity, &notebook);
        if left == Permission::None {
            return Err(refuse(Closing::Revoked, "the token was revoked", &notebook));
        }
        let access = access_by(permission.min(left), &notebook)?;
        Ok(admission(Standing { reach: Reach::OwnRoom, ..self.standing(identity) }, access))
    }

    /// The terms that a credential gives by itself.
    fn standing(&self, identity: Arc<Identity>) -> Standing {
        let expires = identity.expires_at_s.map(|at_s| {
            // One that is let in because clocks differ stays as long as that may explain it.
            let at_s = if at_s > now_s() { at_s } else { at_s.saturating_add(self.rules.leeway_s) };
            Instant::now() + Duration::from_secs(at_s.saturating_sub(now_s()).min(YEARS_S))
        });
        let (lifetime, rates, session) = (None, Rates::default(), None);
        Standing { identity, expires, lifetime, rates, generation: 0, session, reach: Reach::Rooms }
    }

    /// What a room allows by itself. Asked only when the credential does not say; with a webhook that decides instead.
    fn rooms_own(&self, room: &str) -> Permission {
        if self.permissions.is_some() {
            return Permission::Write;
        }
        let first = self.rooms.iter().find(|(pattern, _)| pattern.matches(room));
        first.map_or(Permission::None, |(_, permission)| *permission)
    }

    /// Whose an API key is, of which only the id is known any more.
    fn key_again(&self, id: &str, room: &str) -> Result<Arc<Identity>, Refusal> {
        let known = self.key_file.table().identity(id, now_s());
        known.map(Arc::new).map_err(|error| refuse(Closing::Revoked, &error.to_string(), room))
    }

    async fn own_notebook(&self, token: &str) -> Result<Admission, Refusal> {
        let identity = self.identify(token, RoomKind::Notebook.prefix()).await?;
        self.entitle_owner(identity)
    }

    async fn in_database(&self, token: &str, room: &str) -> Result<Admission, Refusal> {
        let identity = self.identify(token, room).await?;
        self.entitle(identity, RoomKind::Database, room, None, Lane::Newcomers).await
    }

    async fn ask_again(&self, standing: &Standing, room: &str) -> Result<Admission, Refusal> {
        if let Reach::OwnRoom = standing.reach {
            let identity = match &standing.identity.credential {
                Credential::Key(id) => self.key_again(id, room)?,
                _ => standing.identity.clone(),
            };
            return self.entitle_owner(identity);
        }
        let kind = if let Reach::Database = standing.reach { RoomKind::Database } else { RoomKind::Document };
        match (&standing.session, &standing.identity.credential) {
            (Some(cookie), _) => {
                let (identity, lifetime) = self.session(cookie, room, Lane::Members).await?;
                if identity.user != standing.identity.user {
                    return Err(refuse(Closing::Unauthorized, "the session belongs to somebody else", room));
                }
                self.entitle(identity, kind, room, Some((cookie.clone(), lifetime)), Lane::Members).await
            }
            (None, Credential::Key(id)) => {
                self.entitle(self.key_again(id, room)?, kind, room, None, Lane::Members).await
            }
            (None, _) => self.entitle(standing.identity.clone(), kind, room, None, Lane::Members).await,
        }
    }
}

fn access_by(permission: Permission, room: &str) -> Result<Access, Refusal> {
    match permission {
        Permission::None => Err(refuse(Closing::Forbidden, "no right to the room", room)),
        Permission::Read => Ok(Access::Read),
        Permission::Write => Ok(Access::Write),
    }
}

fn admission(standing: Standing, access: Access) -> Admission {
    let (author, name) = (standing.identity.user.clone(), standing.identity.name.clone());
    Admission { author, name, access, trusts_all: false, standing: Some(Box::new(standing)) }
}

/// What a credential must say, beside who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Anybody,
    /// Their firm.
    Firm,
}

impl Wants {
    /// Before it is looked at what they may do: whoever lacks a firm is not told about rooms.
    fn check(self, identity: &Identity, room: &str) -> Result<(), Refusal> {
        match self {
            Self::Firm if identity.firm.is_none() => {
                Err(refuse(Closing::Unauthorized, "the credential names no firm, which json-yjs asks for", room))
            }
            _ => Ok(()),
        }
    }
}

/// Timers do not reach further.
const YEARS_S: u64 = 10 * 365 * 86_400;

/// A refusal, with its exact reason in the log.
fn refuse(closing: Closing, reason: &str, room: &str) -> Refusal {
    tracing::info!(action = "auth.refused", reason = %Printable(reason), room = %Printable(room), told = ?closing);
    Refusal::Closing(closing)
}

impl Gate for Authenticator {
    fn admit<'a>(&'a self, head: &'a RequestHead, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(self.noted(self.visit(head, room, Wants::Anybody)))
    }

    fn admit_of_firm<'a>(&'a self, head: &'a RequestHead, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(self.noted(self.visit(head, room, Wants::Firm)))
    }

    fn present<'a>(&'a self, token: &'a str, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(self.noted(self.look_at(token, room, Wants::Anybody, Lane::Newcomers)))
    }

    fn admit_to_notebook<'a>(&'a self, token: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(self.noted(self.own_notebook(token)))
    }

    fn present_to_database<'a>(&'a self, token: &'a str, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(self.noted(self.in_database(token, room)))
    }

    fn present_again<'a>(&'a self, token: &'a str, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(self.noted(self.look_at(token, room, Wants::Anybody, Lane::Members)))
    }

    fn present_of_firm<'a>(&'a self, token: &'a str, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(self.noted(self.look_at(token, room, Wants::Firm, Lane::Newcomers)))
    }

    fn confirm<'a>(&'a self, standing: &'a Standing, room: &'a str) -> Answer<'a, Result<Admission, Refusal>> {
        Box::pin(self.noted(self.ask_again(standing, room)))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn forget_answers(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        if let Some(sessions) = &self.sessions {
            sessions.forget();
        }
        if let Some(permissions) = &self.permissions {
            permissions.forget();
        }
    }
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        if let Some(renewal) = self.renewal.take() {
            renewal.abort();
        }
    }
}
