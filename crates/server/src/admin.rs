//! What administrators can do while the server runs: take rights back, disconnect people, lock and delete rooms, say whose drafts are, make and revoke API
//! keys, look after accounts, read metrics.
//!
//! Served at an address of its own (`admin.listen`), and where clients connect only when that is asked for. Every request needs an API key with the
//! scope `admin`. Bodies and connections belong to hyper; what is decided goes to the ledger, the key file and the workers.

mod accounts;

use crate::accounts::Withdrawn;
use crate::auth::{Draft, KeyFileError, LedgerError, Revocation, bearer_token, end_key, now_s};
use crate::http::serve_requests;
use crate::logging::Printable;
use crate::metrics::metrics_page;
use crate::request::percent_decode;
use crate::room_kind::RoomKind;
use crate::routes::{Protocol, is_draft_id};
use crate::upgrade::Entrance;
use crate::worker::{What, Whom};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use identity::api_key::{KeyForm, KeySpec, KeyTable, KeyTableError};
use identity::{Credential, Identity, RoomPattern, Scopes};
use room::Closing;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::RoomKey;
use tokio::io::{AsyncRead, AsyncWrite};

/// Of a request's body: the largest names a room and a user.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Names of users and databases: what tokens and addresses may say.
const OTHER_NAME_BYTES_MAX: usize = 256;
/// Longest life of one connection: what is done here takes milliseconds, or a sync of the disk.
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// Whether a path is one of these.
pub(crate) fn is_admin_path(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/api/admin/")
}

/// Serves one connection. `stream` begins with the first byte of the first request.
pub(crate) async fn serve<S>(entrance: Arc<Entrance>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let respond = move |request| {
        let entrance = entrance.clone();
        async move { respond(&entrance, request).await }
    };
    serve_requests(stream, CONNECTION_MAX, "an administrator", respond).await;
}

/// Why a request is not done.
struct Refused(StatusCode, String);

type Answer = Result<Value, Refused>;

fn refused(status: StatusCode, why: impl Into<String>) -> Refused {
    Refused(status, why.into())
}

impl From<LedgerError> for Refused {
    fn from(error: LedgerError) -> Self {
        let status = match error {
            LedgerError::Store(_) | LedgerError::Damaged(_) => StatusCode::SERVICE_UNAVAILABLE,
            LedgerError::Full | LedgerError::TooManyDrafts => StatusCode::INSUFFICIENT_STORAGE,
        };
        refused(status, error.to_string())
    }
}

impl From<KeyFileError> for Refused {
    fn from(error: KeyFileError) -> Self {
        let status = match &error {
            KeyFileError::Change(KeyTableError::Unknown { .. }) => StatusCode::NOT_FOUND,
            KeyFileError::Change(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        refused(status, error.to_string())
    }
}

async fn respond(entrance: &Arc<Entrance>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let id = crate::request::request_id();
    let method = request.method().clone();
    let administrator = administrator(entrance, &request);
    let by = administrator.as_ref().map_or_else(|_| "nobody".to_owned(), key_name);
    let (status, content_type, body) = match answer(entrance, request, administrator).await {
        Ok(Value::String(text)) => (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
        Ok(value) => (StatusCode::OK, "application/json", value.to_string()),
        Err(Refused(status, why)) => (status, "application/json", json!({ "error": why }).to_string()),
    };
    tracing::info!(action = "admin.request", requestId = id, by = %Printable(&by), %method, path = %Printable(&path), status = status.as_u16());
    let mut response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CACHE_CONTROL, "no-store")
        .header("x-content-type-options", "nosniff")
        .header("x-request-id", id);
    if status == StatusCode::UNAUTHORIZED {
        response = response.header(WWW_AUTHENTICATE, "Bearer");
    }
    response.body(Full::from(body)).expect("these headers are legal")
}

async fn answer(
    entrance: &Arc<Entrance>,
    request: Request<Incoming>,
    administrator: Result<Identity, Refused>,
) -> Answer {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    if !is_admin_path(&path) {
        return Err(refused(StatusCode::NOT_FOUND, "nothing is served at this path"));
    }
    let method = request.method().clone();
    let by = key_name(&administrator?);
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is broken off or over 64 KiB"))?;
    let asked = Asked { entrance: entrance.clone(), by, body: body.to_bytes(), query };
    // To its end, also when the administrator does not wait for it: a decision that is half carried out would be none.
    let carried_out = tokio::spawn(async move { asked.dispatch(&method, &path).await }).await;
    carried_out.unwrap_or_else(|_| Err(refused(StatusCode::INTERNAL_SERVER_ERROR, "internal error")))
}

/// How an administrator is called in the log and in the ledger.
fn key_name(identity: &Identity) -> String {
    match &identity.credential {
        Credential::Key(id) => format!("{} with key {id}", identity.user),
        _ => identity.user.to_string(),
    }
}

/// Whose key it is, if it may administer.
fn administrator(entrance: &Entrance, request: &Request<Incoming>) -> Result<Identity, Refused> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(text) = header.and_then(bearer_token) else {
        let why =
            "send an API key with the scope admin as Authorization: Bearer; concord key create --scope admin makes one";
        return Err(refused(StatusCode::UNAUTHORIZED, why));
    };
    match entrance.key_file.authenticate(text, now_s()) {
        Ok(identity) if identity.is_admin() => Ok(identity),
        Ok(_) => Err(refused(StatusCode::FORBIDDEN, "this key has not the scope admin")),
        Err(error) => {
            tracing::warn!(action = "admin.refused", reason = %error);
            Err(refused(StatusCode::UNAUTHORIZED, "this key does not count"))
        }
    }
}

/// One request of an administrator.
struct Asked {
    entrance: Arc<Entrance>,
    by: String,
    body: Bytes,
    query: String,
}

/// Connections, and from now on whose: at least one of `user`, `room`, `key`, or `all`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Meant {
    user: Option<String>,
    room: Option<String>,
    key: Option<String>,
    all: bool,
    /// What is left: `none` or `read`.
    permission: Option<Left>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Left {
    None,
    Read,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Kick {
    user: Option<String>,
    come_back: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Announcement {
    payload: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    owner: String,
    scopes: Scopes,
    #[serde(default)]
    rooms: Vec<RoomPattern>,
    ttl_s: Option<u64>,
    /// `standard` or `console`.
    form: Option<String>,
}

impl Asked {
    async fn dispatch(&self, method: &Method, path: &str) -> Answer {
        // Split at the literal slashes; names are decoded afterwards, so a room's slashes come as %2F.
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').skip(2).collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", _) if path == "/metrics" => Ok(Value::String(metrics_page(&self.entrance))),
            ("POST", ["revoke"]) => self.revoke().await,
            ("POST", ["confirm"]) => self.confirm().await,
            ("GET", ["revocations"]) => Ok(json!({ "revocations": self.entrance.ledger().revocations() })),
            ("DELETE", ["revocations"]) => self.forget_revocations().await,
            ("GET", ["keys"]) => Ok(self.keys()),
            ("POST", ["keys"]) => self.make_key().await,
            ("DELETE", ["keys", id]) => self.revoke_key(id).await,
            ("GET", [kind @ ("rooms" | "notebooks"), room]) => self.state(&room_key(kind, room)?),
            ("DELETE", [kind @ ("rooms" | "notebooks" | "databases"), room]) => {
                self.delete(&room_key(kind, room)?).await
            }
            ("POST", [kind @ ("rooms" | "notebooks" | "databases"), room, "kick"]) => {
                self.kick(&room_key(kind, room)?).await
            }
            ("POST", [kind @ ("rooms" | "notebooks" | "databases"), room, "lock"]) => {
                self.lock(&room_key(kind, room)?, true).await
            }
            ("POST", [kind @ ("rooms" | "notebooks" | "databases"), room, "unlock"]) => {
                self.lock(&room_key(kind, room)?, false).await
            }
            ("POST", [kind @ ("rooms" | "notebooks" | "databases"), room, "reopen"]) => {
                self.reopen(&room_key(kind, room)?).await
            }
            ("POST", ["rooms", room, "announce"]) => self.announce(&room_key("rooms", room)?).await,
            ("POST", ["notebooks", user, "resync"]) => self.resync(&room_key("notebooks", user)?).await,
            ("GET", ["drafts", id]) => self.draft(&self.draft_room(id)?),
            ("PUT", ["drafts", id]) => self.register(self.draft_room(id)?).await,
            ("DELETE", ["drafts", id]) => self.unregister(self.draft_room(id)?).await,
            (_, ["rooms" | "notebooks" | "databases", _, "kick" | "lock" | "unlock" | "reopen"]) => Err(wrong_method()),
            (_, ["users" | "databases", ..]) => self.about_accounts(method, &parts).await,
            (_, ["revoke" | "confirm" | "revocations" | "keys"] | ["keys" | "drafts" | "rooms" | "notebooks", _])
            | (_, ["rooms", _, "announce"] | ["notebooks", _, "resync"]) => Err(wrong_method()),
            _ => Err(refused(StatusCode::NOT_FOUND, "nothing is served at this path; docs/admin.md lists the paths")),
        }
    }

    /// The body as JSON; nothing at all is an empty object.
    fn json<'b, T: Deserialize<'b>>(&'b self) -> Result<T, Refused> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body)
            .map_err(|error| refused(StatusCode::BAD_REQUEST, format!("the body cannot be understood: {error}")))
    }

    fn meant(&self) -> Result<Meant, Refused> {
        let meant: Meant = self.json()?;
        let some = meant.user.is_some() || meant.room.is_some() || meant.key.is_some();
        if some == meant.all {
            let why = "say who is meant: \"user\", \"room\", \"key\" or several of them, or \"all\": true";
            return Err(refused(StatusCode::BAD_REQUEST, why));
        }
        Ok(meant)
    }

    async fn revoke(&self) -> Answer {
        let meant = self.meant()?;
        let read = meant.permission == Some(Left::Read);
        let whom = whom(&meant)?;
        if let Some(id) = &meant.key {
            if meant.user.is_some() || meant.room.is_some() || read {
                let why = "a key is revoked as a whole: send \"key\" alone";
                return Err(refused(StatusCode::BAD_REQUEST, why));
            }
            return self.revoke_key(id).await;
        }
        let (user, room) = (meant.user, whom.room.clone());
        let revocation = Revocation { user, room, read, issued_until_s: now_s() };
        self.decided(move |ledger, by, now_ms| ledger.revoke(revocation, by, now_ms)).await?;
        self.entrance.gate().forget_answers();
        let what = if read { What::ReadOnly } else { What::Close(Closing::Revoked) };
        self.command(whom, what).await
    }

    async fn confirm(&self) -> Answer {
        let whom = whom(&self.meant()?)?;
        self.entrance.gate().forget_answers();
        self.command(whom, What::Confirm).await
    }

    async fn forget_revocations(&self) -> Answer {
        self.decided(|ledger, by, now_ms| ledger.forget_revocations(by, now_ms)).await?;
        Ok(json!({}))
    }

    fn keys(&self) -> Value {
        let (table, used) = (self.entrance.key_file.table(), self.entrance.key_file.used());
        let keys: Vec<Value> = table.list().map(|record| crate::auth::described(record, &used)).collect();
        json!({ "keys": keys })
    }

    async fn make_key(&self) -> Answer {
        let NewKey { name, owner, scopes, rooms, ttl_s, form } = self.json()?;
        let form = KeyForm::parse(form.as_deref().unwrap_or("standard"))
            .ok_or_else(|| refused(StatusCode::BAD_REQUEST, "\"form\" is standard or console"))?;
        let expires_at_s = ttl_s.map(|ttl_s| now_s().saturating_add(ttl_s));
        let spec = KeySpec { name, owner, scopes, rooms, expires_at_s };
        let made = self.with_keys(move |table| table.create_as(form, spec, now_s())).await?;
        Ok(json!({ "id": &*made.record.id, "key": made.text }))
    }

    async fn revoke_key(&self, id: &str) -> Answer {
        let wanted = id.to_owned();
        self.with_keys(move |table| end_key(table, &wanted, now_s())).await?;
        self.entrance.gate().forget_answers();
        self.entrance.accounts.withdraw(&Withdrawn::Key(id.into()));
        self.command(Whom { key: Some(id.to_owned()), ..Whom::default() }, What::Close(Closing::Revoked)).await
    }

    fn state(&self, room: &str) -> Answer {
        let ledger = self.entrance.ledger();
        Ok(json!({ "locked": ledger.is_locked(room), "deleted": ledger.is_deleted(room) }))
    }

    async fn lock(&self, room: &str, locked: bool) -> Answer {
        let key = room.to_owned();
        self.decided(move |ledger, by, now_ms| ledger.set_locked(&key, locked, by, now_ms)).await?;
        self.command(whole(room), What::Relock).await
    }

    async fn kick(&self, room: &str) -> Answer {
        let Kick { user, come_back } = self.json()?;
        self.command(Whom { user, ..whole(room) }, What::Close(Closing::Removed { come_back })).await
    }

    /// First its name is barred, then everybody is told, then it goes: whoever comes in between finds it gone.
    async fn delete(&self, room: &str) -> Answer {
        if !self.query.is_empty() {
            return Err(refused(StatusCode::BAD_REQUEST, "no parameters are known here"));
        }
        let key = room.to_owned();
        self.decided(move |ledger, by, now_ms| ledger.set_deleted(&key, true, by, now_ms)).await?;
        let connections = self.entrance.workers.command(whole(room), What::Delete(room.into())).await;
        let existed = self.erase(room).await?;
        Ok(json!({ "existed": existed, "connections": connections }))
    }

    /// Removes a room's content. False: there was none.
    async fn erase(&self, room: &str) -> Result<bool, Refused> {
        let shared = self.entrance.workers.shared.clone();
        let key: RoomKey = room.into();
        let deleted = blocking(move || {
            let in_store = shared.store.delete(&key).map_err(|error| error.to_string())?;
            let in_files = match (RoomKind::of(&key), &shared.databases) {
                (Some((RoomKind::Database, name)), Some(databases)) => {
                    databases.delete(name).map_err(|error| error.to_string())?
                }
                _ => false,
            };
            Ok::<bool, String>(in_store || in_files)
        });
        deleted.await?.map_err(|error| {
            let why = format!("its name is barred, but its content is not gone: {error}; delete it again");
            refused(StatusCode::SERVICE_UNAVAILABLE, why)
        })
    }

    async fn reopen(&self, room: &str) -> Answer {
        if self.entrance.ledger().is_deleted(room) {
            // The deletion may have been interrupted before the content was gone.
            self.erase(room).await?;
        }
        let key = room.to_owned();
        let changed = self.decided(move |ledger, by, now_ms| ledger.set_deleted(&key, false, by, now_ms)).await?;
        Ok(json!({ "reopened": changed }))
    }

    /// A stateless message for everybody in the document whose client knows such.
    async fn announce(&self, room: &str) -> Answer {
        let Announcement { payload } = self.json()?;
        let whom = Whom { dialect: Some(dialect::HOCUSPOCUS.name()), ..whole(room) };
        self.command(whom, What::Announce(room.into(), payload.into())).await
    }

    /// Every client of a notebook is told to begin anew.
    async fn resync(&self, room: &str) -> Answer {
        self.command(whole(room), What::Announce(room.into(), Bytes::new())).await
    }

    /// The room of a draft, as the rules about rooms call it.
    fn draft_room(&self, segment: &str) -> Result<String, Refused> {
        let illegal = || refused(StatusCode::BAD_REQUEST, "not a draft's id; write its slashes as %2F");
        let id = String::from_utf8(percent_decode(segment).into_owned()).map_err(|_| illegal())?;
        let legal = is_draft_id(&id).then(|| self.entrance.config.room_named(&id, Protocol::JsonYjs.name()));
        legal.ok_or_else(illegal)
    }

    fn draft(&self, room: &str) -> Answer {
        let unregistered = || refused(StatusCode::NOT_FOUND, "this draft is not registered");
        let draft = self.entrance.ledger().draft(room).ok_or_else(unregistered)?;
        Ok(json!(draft))
    }

    /// The rules hold for everybody who comes from now on, and for those who are in as soon as they were asked again.
    async fn register(&self, room: String) -> Answer {
        let draft: Draft = self.json()?;
        if let Some(why) = draft.problem() {
            return Err(refused(StatusCode::BAD_REQUEST, why));
        }
        let (name, answer) = (room.clone(), self.json::<Value>()?);
        self.decided(move |ledger, by, now_ms| ledger.register(&name, draft, by, now_ms)).await?;
        self.reconsider(&room).await;
        Ok(answer)
    }

    async fn unregister(&self, room: String) -> Answer {
        if !self.query.is_empty() {
            return Err(refused(StatusCode::BAD_REQUEST, "no parameters are known here"));
        }
        let name = room.clone();
        let existed = self.decided(move |ledger, by, now_ms| ledger.unregister(&name, by, now_ms)).await?;
        self.reconsider(&room).await;
        Ok(json!({ "existed": existed }))
    }

    /// Has the rights of all asked again who are in a room.
    async fn reconsider(&self, room: &str) {
        let whom = Whom { room: Some(RoomPattern::exact(room)), ..Whom::default() };
        self.entrance.workers.command(whom, What::Confirm).await;
    }

    async fn command(&self, whom: Whom, what: What) -> Answer {
        Ok(json!({ "connections": self.entrance.workers.command(whom, what).await }))
    }

    /// Takes a decision down; waits for the disk on a thread where that stops nobody.
    async fn decided<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&crate::auth::Ledger, &str, u64) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, Refused> {
        let (ledger, by, now_ms) = (self.entrance.ledger().clone(), self.by.clone(), self.entrance.clock.now_ms());
        Ok(blocking(move || decide(&ledger, &by, now_ms)).await??)
    }

    async fn with_keys<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut KeyTable) -> Result<T, KeyTableError> + Send + 'static,
    ) -> Result<T, Refused> {
        let key_file = self.entrance.key_file.clone();
        Ok(blocking(move || key_file.change(change)).await??)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| refused(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
}

/// A segment of a path as text.
fn segment(encoded: &str) -> Result<String, Refused> {
    let illegal = |_| refused(StatusCode::BAD_REQUEST, "a part of the path is not UTF-8");
    String::from_utf8(percent_decode(encoded).into_owned()).map_err(illegal)
}

fn wrong_method() -> Refused {
    refused(StatusCode::METHOD_NOT_ALLOWED, "this path has other methods; docs/admin.md lists them")
}

/// A room's key in the store, from two segments of a path: documents by their name, notebooks by their user, databases by their id.
fn room_key(kind: &str, name: &str) -> Result<String, Refused> {
    let illegal = || refused(StatusCode::BAD_REQUEST, "not a room name; write its slashes as %2F");
    let name = segment(name).map_err(|_| illegal())?;
    let is_plain = (1..=OTHER_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    match kind {
        "notebooks" if is_plain => Ok(RoomKind::Notebook.key(&name)),
        "databases" if is_plain => Ok(RoomKind::Database.key(&name)),
        "rooms" if crate::request::check_room_name(&name).is_ok() => Ok(RoomKind::Document.key(&name)),
        _ => Err(illegal()),
    }
}

/// Everybody in one room.
fn whole(key: &str) -> Whom {
    Whom { place: Some(key.into()), ..Whom::default() }
}

fn whom(meant: &Meant) -> Result<Whom, Refused> {
    let room = match &meant.room {
        Some(text) => Some(RoomPattern::parse(text).ok_or_else(|| {
            refused(StatusCode::BAD_REQUEST, "\"room\" is a name, or the beginning of names with a * at its end")
        })?),
        None => None,
    };
    Ok(Whom { user: meant.user.clone(), room, key: meant.key.clone(), ..Whom::default() })
}
