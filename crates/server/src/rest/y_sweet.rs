//! The document API of y-sweet: documents are made, tokens for them are given out, and whole documents are read and merged over HTTP.
//!
//! Called by `rest` for its paths. Who may do what is for `auth::Documents` to say, rooms are for errands; here are the calls, their statuses and texts.
//! Parameters of the query mean nothing: the SDK adds one to defeat caches.

use super::{Answer, Asked, BYTES, JSON, NoBody, TEXT, WORDS_BYTES_MAX};
use crate::auth::{Admission, NoEntry};
use crate::config::{Config, Durability};
use crate::errand::{self, Errand, NotDone};
use crate::request::percent_decode;
use crate::room_kind::RoomKind;
use crate::routes::{Protocol, is_document_id};
use crate::upgrade::{Entrance, MEMORY_FULL};
use aws_lc_rs::rand;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, StatusCode};
use identity::{DocumentToken, Permission};
use room::Access;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// Told where the mount is off, because it would be a way around authentication.
pub(crate) const OFF: &str = "the y-sweet API is off: authentication is on, and there is no y_sweet.signing_key";

/// How long a token is good when the backend does not say.
const VALID_FOR_S: u64 = 3_600;
/// Letters of the ids that the server makes: six bits each.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Their length: 126 bits, so that nobody guesses one.
const ID_LETTERS: usize = 21;

/// What a path is for.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    CheckStore,
    New,
    Auth(String),
    AsUpdate(String),
    Update(String),
    /// What an application's own backend is to offer, while there are no tokens.
    OpenAuth,
    /// Something below the mount that is no call.
    Unknown,
}

/// Why a call is not done.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    detail: String,
    allow: &'static str,
}

fn refused(status: StatusCode, detail: impl Into<String>) -> Refused {
    Refused { status, detail: detail.into(), allow: "" }
}

impl From<NoEntry> for Refused {
    fn from(reason: NoEntry) -> Self {
        refused(StatusCode::UNAUTHORIZED, reason.to_string())
    }
}

pub(super) fn is_its(entrance: &Entrance, path: &str) -> bool {
    call(entrance.config.mounts.y_sweet.as_deref(), path).is_some()
}

pub(super) async fn answer(mut asked: Asked, body: Incoming) -> Answer {
    let done = match asked.body_bytes_max() {
        Ok(most) => match asked.read(body, most).await {
            Ok(_reserved) => respond(&asked).await,
            Err(missing) => Err(without_body(&missing)),
        },
        Err(refused) => Err(refused),
    };
    done.unwrap_or_else(|refused| refusal(&asked.entrance.config, &refused))
}

fn without_body(missing: &NoBody) -> Refused {
    match missing {
        NoBody::TooLarge(most) => refused(StatusCode::PAYLOAD_TOO_LARGE, format!("body larger than {most} bytes")),
        NoBody::BrokenOff => refused(StatusCode::BAD_REQUEST, "the body ended too early"),
        NoBody::NoMemory => refused(StatusCode::SERVICE_UNAVAILABLE, MEMORY_FULL),
    }
}

/// The text of an error: none in production.
pub(crate) fn wrong(config: &Config, detail: &str) -> String {
    if config.y_sweet.production { String::new() } else { format!("Something went wrong: {detail}") }
}

fn refusal(config: &Config, Refused { status, detail, allow }: &Refused) -> Answer {
    Answer { allow, ..Answer::new(*status, TEXT, wrong(config, detail)) }
}

/// Which call a path is, as it was sent. None: none of this API. WebSockets are not called.
fn call(mount: Option<&str>, path: &str) -> Option<Call> {
    let decoded = |segment| match percent_decode(segment) {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let segments: Vec<String> = path.strip_prefix('/')?.split('/').map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let mut rest = &segments[..];
    for part in mount?.split('/').skip(1) {
        let (first, after) = rest.split_first()?;
        rest = (*first == part).then_some(after)?;
    }
    Some(match rest {
        ["check_store"] => Call::CheckStore,
        ["y-sweet", "auth"] => Call::OpenAuth,
        ["doc", "new"] => Call::New,
        ["doc", id, "auth"] => Call::Auth((*id).to_owned()),
        ["doc" | "d", id, "as-update"] => Call::AsUpdate((*id).to_owned()),
        ["doc" | "d", id, "update"] => Call::Update((*id).to_owned()),
        ["doc", "ws", _] | ["d", _, "ws", _] => return None,
        ["doc" | "d", _, ..] => Call::Unknown,
        _ => return None,
    })
}

async fn respond(asked: &Asked) -> Result<Answer, Refused> {
    let config = &asked.entrance.config;
    let call = call(config.mounts.y_sweet.as_deref(), asked.path()).unwrap_or(Call::Unknown);
    if !config.serves_y_sweet() {
        return Err(refused(StatusCode::NOT_FOUND, OFF));
    }
    let (is_get, is_post) = match asked.head.method {
        Method::GET | Method::HEAD => (true, false),
        Method::POST => (false, true),
        _ => (false, false),
    };
    let done = |json: Value| Answer::new(StatusCode::OK, JSON, json.to_string());
    match call {
        Call::CheckStore if is_get || is_post => asked.check_store().map(done),
        Call::New if is_post => asked.new_document().await.map(done),
        Call::Auth(id) if is_post => asked.auth(&id).await.map(done),
        Call::OpenAuth if is_post => asked.open_auth().await.map(done),
        Call::AsUpdate(id) if is_get => asked.as_update(&id).await,
        Call::Update(id) if is_post => asked.update(&id).await,
        Call::Unknown => Err(refused(StatusCode::NOT_FOUND, "nothing is served at this path")),
        other => {
            let allow = match other {
                Call::CheckStore => "GET, HEAD, POST",
                Call::AsUpdate(_) => "GET, HEAD",
                _ => "POST",
            };
            let detail = format!("this path has other methods: {allow}");
            Err(Refused { allow, ..refused(StatusCode::METHOD_NOT_ALLOWED, detail) })
        }
    }
}

/// What a backend asks of a token.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    permission: Permission,
    user: Option<Arc<str>>,
    valid_for_s: u64,
}

impl Wanted {
    fn of(body: &Map<String, Value>) -> Result<Self, Refused> {
        let unprocessable = |detail| refused(StatusCode::UNPROCESSABLE_ENTITY, detail);
        let given = |name| body.get(name).filter(|value| !value.is_null());
        let permission = match given("authorization").map(Value::as_str) {
            None | Some(Some("full")) => Permission::Write,
            Some(Some("read-only")) => Permission::Read,
            Some(_) => return Err(unprocessable("authorization must be \"full\" or \"read-only\"")),
        };
        let user = match given("userId").map(Value::as_str) {
            None | Some(Some("")) => None,
            Some(Some(user)) => Some(user.into()),
            Some(None) => return Err(unprocessable("userId must be a text")),
        };
        let valid_for_s = match given("validForSeconds").map(Value::as_u64) {
            None => VALID_FOR_S,
            Some(Some(seconds)) => seconds,
            Some(None) => return Err(unprocessable("validForSeconds must be a whole number from 0 on")),
        };
        Ok(Self { permission, user, valid_for_s })
    }
}

/// The address that requests have reached, scheme and host.
fn reached(proto: Option<&str>, host: Option<&str>, own_proto: &'static str, own_host: Option<&str>) -> Option<String> {
    // Of several the nearest proxy has written the last.
    let last = |list: &str| list.rsplit(',').next().unwrap_or_default().trim().to_owned();
    let proto = proto.map(|list| last(list).to_ascii_lowercase());
    let proto = match proto.as_deref() {
        Some("https" | "wss") => "https",
        Some("http" | "ws") => "http",
        _ => own_proto,
    };
    let is_host = |host: &String| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
    };
    let host = host.map(last).filter(is_host).or_else(|| own_host.map(str::to_owned).filter(is_host))?;
    Some(format!("{proto}://{host}"))
}

impl Asked {
    /// How large a body may be, of somebody who may make this call.
    fn body_bytes_max(&self) -> Result<usize, Refused> {
        let config = &self.entrance.config;
        if !config.serves_y_sweet() {
            return Err(refused(StatusCode::NOT_FOUND, OFF));
        }
        match call(config.mounts.y_sweet.as_deref(), self.path()) {
            Some(Call::Update(id)) if self.head.method == Method::POST => {
                self.visitor(&id).map(|_| config.limits.frame_bytes_max as usize)
            }
            // Others say little, and who may say it is looked at with the call.
            _ => Ok(WORDS_BYTES_MAX),
        }
    }

    fn backend(&self) -> Result<Admission, Refused> {
        Ok(self.entrance.documents.admit_backend(self.token())?)
    }

    /// Whoever shows a token for this document.
    fn visitor(&self, id: &str) -> Result<Admission, Refused> {
        check_id(id)?;
        let now_ms = self.entrance.clock.now_ms();
        let visitor = self.entrance.documents.admit(self.token(), id, &self.room(id), now_ms)?;
        if self.is_deleted(id) { Err(not_found(id)) } else { Ok(visitor) }
    }

    /// A document as rules about rooms call it.
    fn room(&self, id: &str) -> String {
        self.entrance.config.room_named(id, Protocol::YSweet.name())
    }

    fn check_store(&self) -> Result<Value, Refused> {
        self.backend()?;
        Ok(match self.entrance.config.durability {
            Durability::Memory => json!({ "ok": false, "error": "No store set." }),
            Durability::Ack | Durability::Strict | Durability::Interval => json!({ "ok": true }),
        })
    }

    async fn new_document(&self) -> Result<Value, Refused> {
        let backend = self.backend()?;
        let id = match self.document_id(&self.json()?)? {
            Some(id) => id,
            None => random_id()?,
        };
        self.found(&id, backend).await?;
        Ok(json!({ "docId": id }))
    }

    async fn auth(&self, id: &str) -> Result<Value, Refused> {
        self.backend()?;
        check_id(id)?;
        let wanted = Wanted::of(&if self.body.is_empty() { Map::new() } else { self.json()? })?;
        if self.is_deleted(id) || !self.exists(id).await? {
            return Err(not_found(id));
        }
        self.client_token(id, wanted)
    }

    /// Makes the document when it is missing, and answers with what a page connects with.
    async fn open_auth(&self) -> Result<Value, Refused> {
        if !self.entrance.documents.is_open() {
            let detail = "the application's backend gives out tokens: POST /doc/ID/auth with the server token";
            return Err(refused(StatusCode::NOT_FOUND, detail));
        }
        let missing = || refused(StatusCode::UNPROCESSABLE_ENTITY, "docId is missing");
        let id = self.document_id(&self.json()?)?.ok_or_else(missing)?;
        self.found(&id, self.backend()?).await?;
        self.client_token(&id, Wanted::of(&Map::new())?)
    }

    async fn as_update(&self, id: &str) -> Result<Answer, Refused> {
        let visitor = self.visitor(id)?;
        // Who may only read makes nothing, and is shown that nothing is there.
        if visitor.access == Access::Write {
            self.found(id, visitor.clone()).await?;
        }
        let document = self.run(id, visitor, Errand::Read).await?;
        Ok(Answer::new(StatusCode::OK, BYTES, document))
    }

    async fn update(&self, id: &str) -> Result<Answer, Refused> {
        let visitor = self.visitor(id)?;
        if visitor.access == Access::Read {
            return Err(refused(StatusCode::FORBIDDEN, NoEntry::NotTheBackend.to_string()));
        }
        self.run(id, visitor.clone(), Errand::Merge(self.body.clone())).await?;
        // An update may bring nothing.
        self.found(id, visitor).await?;
        Ok(Answer::new(StatusCode::OK, TEXT, Bytes::new()))
    }

    /// Makes a document that is not there yet.
    async fn found(&self, id: &str, founder: Admission) -> Result<(), Refused> {
        if self.is_deleted(id) {
            return Err(not_found(id));
        }
        // Also when it exists already: perhaps it is not on the disk yet.
        self.run(id, founder, Errand::Found).await.map(|_| ())
    }

    fn is_deleted(&self, id: &str) -> bool {
        self.entrance.ledger().is_deleted(&RoomKind::Document.key(&self.room(id)))
    }

    async fn exists(&self, id: &str) -> Result<bool, Refused> {
        let exists = errand::exists(&self.entrance.workers.shared, &self.room(id)).await;
        exists.map_err(|reason| not_done(id, reason))
    }

    async fn run(&self, id: &str, admission: Admission, errand: Errand) -> Result<Bytes, Refused> {
        let done = errand::run(&self.entrance.workers, &self.room(id), admission, self.address, errand).await;
        done.map_err(|reason| not_done(id, reason))
    }

    fn client_token(&self, id: &str, wanted: Wanted) -> Result<Value, Refused> {
        let Wanted { permission, user, valid_for_s } = wanted;
        let now_ms = self.entrance.clock.now_ms();
        let token = DocumentToken {
            document: id.to_owned(),
            permission,
            user,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(valid_for_s.saturating_mul(1_000)),
        };
        let token = self.entrance.documents.issue(&token).map_err(|_| {
            let detail = "userId must have 1 to 256 bytes and no control characters";
            refused(StatusCode::UNPROCESSABLE_ENTITY, detail)
        })?;
        let base = self.base_url()?;
        // `http` to `ws`, and `https` to `wss`.
        let socket = base.replacen("http", "ws", 1);
        let authorization = if permission == Permission::Write { "full" } else { "read-only" };
        let mut answer = json!({
            "url": format!("{socket}/d/{id}/ws"),
            "baseUrl": format!("{base}/d/{id}"),
            "docId": id,
            "authorization": authorization,
        });
        if let Some(token) = token {
            answer["token"] = token.into();
        }
        Ok(answer)
    }

    /// Where clients find the API.
    fn base_url(&self) -> Result<String, Refused> {
        let config = &self.entrance.config;
        let mount = config.mounts.y_sweet.as_deref().unwrap_or_default();
        if !config.y_sweet.url_prefix.is_empty() {
            return Ok(format!("{}{mount}", config.y_sweet.url_prefix));
        }
        let own_proto = if self.entrance.door.certificates.is_some() { "https" } else { "http" };
        let told = |name| self.header(name).filter(|_| self.proxied);
        let (proto, host) = (told("x-forwarded-proto"), told("x-forwarded-host"));
        let reached = reached(proto, host, own_proto, self.header(HOST));
        let missing = || refused(StatusCode::BAD_REQUEST, "the header Host is missing or no host");
        Ok(format!("{}{mount}", reached.ok_or_else(missing)?))
    }

    /// The body as a JSON object.
    fn json(&self) -> Result<Map<String, Value>, Refused> {
        let content_type = self.header(CONTENT_TYPE).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !self.body.is_empty() && essence != JSON {
            let detail = "send the body as Content-Type: application/json";
            return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "the body must be a JSON object")),
            Err(error) => Err(refused(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}"))),
        }
    }

    /// The document that a body names, if it does.
    fn document_id(&self, body: &Map<String, Value>) -> Result<Option<String>, Refused> {
        match body.get("docId") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => check_id(id).map(|()| Some(id.clone())),
            Some(_) => Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "docId must be a text")),
        }
    }
}

fn check_id(id: &str) -> Result<(), Refused> {
    is_document_id(id).then_some(()).ok_or_else(|| refused(StatusCode::BAD_REQUEST, "Invalid document name"))
}

fn not_found(id: &str) -> Refused {
    refused(StatusCode::NOT_FOUND, format!("Doc {id} not found"))
}

fn not_done(id: &str, reason: NotDone) -> Refused {
    match reason {
        NotDone::Invalid => refused(StatusCode::BAD_REQUEST, "Invalid update"),
        NotDone::ReadOnly => refused(StatusCode::FORBIDDEN, NoEntry::NotTheBackend.to_string()),
        NotDone::Beyond(limit) => refused(StatusCode::PAYLOAD_TOO_LARGE, limit),
        NotDone::NotFound(_) => not_found(id),
        NotDone::Forbidden(_) => refused(StatusCode::UNAUTHORIZED, identity::DocumentTokenError::Resource.to_string()),
        NotDone::Later(reason) => refused(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

fn random_id() -> Result<String, Refused> {
    let mut bytes = [0; ID_LETTERS];
    let none = |_| refused(StatusCode::SERVICE_UNAVAILABLE, "the system has no randomness to give; try again later");
    rand::fill(&mut bytes).map_err(none)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 64)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_calls() {
        let id = || "abc".to_owned();
        let cases: &[(Option<&str>, &str, Option<Call>)] = &[
            (Some(""), "/check_store", Some(Call::CheckStore)),
            (Some(""), "/doc/new", Some(Call::New)),
            (Some(""), "/doc/abc/auth", Some(Call::Auth(id()))),
            (Some(""), "/doc/%61bc/auth", Some(Call::Auth(id()))),
            (Some(""), "/doc/a%2Fb/auth", Some(Call::Auth("a/b".to_owned()))),
            (Some(""), "/d/abc/as-update", Some(Call::AsUpdate(id()))),
            (Some(""), "/d/abc/update", Some(Call::Update(id()))),
            (Some(""), "/doc/abc/as-update", Some(Call::AsUpdate(id()))),
            (Some(""), "/doc/abc/update", Some(Call::Update(id()))),
            (Some(""), "/y-sweet/auth", Some(Call::OpenAuth)),
            (Some(""), "/d/abc/auth", Some(Call::Unknown)),
            (Some(""), "/doc/abc", Some(Call::Unknown)),
            (Some(""), "/d/abc/ws", Some(Call::Unknown)),
            (Some(""), "/doc/abc/update/", Some(Call::Unknown)),
            (Some(""), "/d/abc/ws/abc", None),
            (Some(""), "/doc/ws/abc", None),
            (Some(""), "/doc", None),
            (Some(""), "/check_store/", None),
            (Some(""), "/sweet/check_store", None),
            (Some(""), "check_store", None),
            (Some("/live/sweet"), "/live/sweet/doc/new", Some(Call::New)),
            (Some("/live/sweet"), "/live/sweet", None),
            (Some("/live/sweet"), "/live/sweeter/doc/new", None),
            (Some("/live/sweet"), "/doc/new", None),
            (None, "/doc/new", None),
        ];
        for (mount, path, expected) in cases {
            assert_eq!(call(*mount, path), *expected, "{mount:?} {path}");
        }
    }

    #[test]
    fn what_a_token_shall_say() {
        let of = |body: &str| {
            let body: Map<String, Value> = serde_json::from_str(body).expect("an object");
            Wanted::of(&body).map_err(|refused| refused.status.as_u16())
        };
        let wanted = |permission, user: Option<&str>, valid_for_s| {
            Ok(Wanted { permission, user: user.map(Arc::from), valid_for_s })
        };
        let cases = [
            ("{}", wanted(Permission::Write, None, 3_600)),
            (r#"{"authorization":null,"userId":null,"validForSeconds":null}"#, wanted(Permission::Write, None, 3_600)),
            (
                r#"{"authorization":"full","userId":"u1","validForSeconds":60}"#,
                wanted(Permission::Write, Some("u1"), 60),
            ),
            (r#"{"authorization":"read-only","validForSeconds":0,"more":[]}"#, wanted(Permission::Read, None, 0)),
            (r#"{"userId":""}"#, wanted(Permission::Write, None, 3_600)),
            (r#"{"authorization":"Full"}"#, Err(422)),
            (r#"{"authorization":"none"}"#, Err(422)),
            (r#"{"authorization":true}"#, Err(422)),
            (r#"{"userId":7}"#, Err(422)),
            (r#"{"validForSeconds":-1}"#, Err(422)),
            (r#"{"validForSeconds":1.5}"#, Err(422)),
            (r#"{"validForSeconds":"60"}"#, Err(422)),
            (r#"{"validForSeconds":1e30}"#, Err(422)),
        ];
        for (body, expected) in cases {
            assert_eq!(of(body), expected, "{body}");
        }
    }

    #[test]
    fn addresses_are_those_that_were_reached() {
        let cases = [
            ((None, None, "http", Some("h:8080")), Some("http://h:8080")),
            ((None, None, "https", Some("[::1]:1234")), Some("https://[::1]:1234")),
            ((Some("https"), None, "http", Some("h")), Some("https://h")),
            ((Some("HTTPS"), Some("collab.example.com"), "http", Some("h")), Some("https://collab.example.com")),
            ((Some("http, https"), Some("a.example, b.example"), "http", Some("h")), Some("https://b.example")),
            ((Some("wss"), None, "http", Some("h")), Some("https://h")),
            ((Some("http"), None, "https", Some("h")), Some("http://h")),
            ((Some("gopher"), Some("a/b"), "http", Some("h")), Some("http://h")),
            ((None, Some(""), "http", Some("h")), Some("http://h")),
            ((None, None, "http", Some("h\"x")), None),
            ((None, None, "http", None), None),
        ];
        for ((proto, host, own_proto, own_host), expected) in cases {
            assert_eq!(
                reached(proto, host, own_proto, own_host).as_deref(),
                expected,
                "{proto:?} {host:?} {own_host:?}"
            );
        }
    }

    #[test]
    fn ids_of_the_server_are_ids() {
        let ids: std::collections::BTreeSet<String> = (0..100).map(|_| random_id().expect("randomness")).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 21 && is_document_id(id)), "{ids:?}");
    }
}
