//! The HTTP API of the console of room databases: accounts (`/api/auth`), rooms (`/api/rooms`) and keys (`/api/keys`), and the paths of which the console
//! is told that they are not built.
//!
//! Called by `rest` for its paths. Knows methods, statuses, texts and cookies; who somebody is and what counts is for `accounts` to say. Texts and shapes are
//! those that the console's clients compare.

mod cookie;
mod keys;
mod people;
mod rooms;

use super::{Answer, Asked, JSON, NoBody, TEXT, WORDS_BYTES_MAX};
use crate::accounts::{AccountError, ConsoleCredential, ConsoleRefusal, ConsoleVisitor, Shown};
use crate::upgrade::{Entrance, MEMORY_FULL};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

/// On every response of the console's API and of whatever else belongs to room databases, beside `nosniff`, which is on all; each with its line end.
pub(crate) const SECURITY_HEADERS: &str = "x-frame-options: DENY\r\n\
     x-xss-protection: 1; mode=block\r\n\
     referrer-policy: strict-origin-when-cross-origin\r\n\
     permissions-policy: geolocation=(), microphone=(), camera=()\r\n\
     content-security-policy: default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data: https:; font-src 'self'; connect-src 'self' wss: https:; frame-ancestors 'none'; base-uri 'self'; \
     form-action 'self'\r\n";

/// Told to an address with too many requests.
pub(crate) const TOO_MANY: &str = "Rate limit exceeded. Please slow down.";
const METHOD_NOT_ALLOWED: &str = "Method not allowed";

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    SignUp,
    SignIn,
    SignOut,
    Session,
    Sessions,
    EndSession,
    EndOthers,
    Rooms,
    CreateRoom,
    DeleteRoom,
    GenerateKey,
    Keys,
    DeleteKey,
    Tier,
    /// Part of the console's vocabulary, and not built.
    Missing,
    /// Below the API's paths, and nothing.
    Unknown,
}

/// Each path, whether it is asked with POST or with GET, and what it is for.
const CALLS: &[(&str, bool, Call)] = &[
    ("/api/auth/sign-up/email", true, Call::SignUp),
    ("/api/auth/sign-in/email", true, Call::SignIn),
    ("/api/auth/sign-out", true, Call::SignOut),
    ("/api/auth/get-session", false, Call::Session),
    ("/api/auth/list-sessions", false, Call::Sessions),
    ("/api/auth/revoke-session", true, Call::EndSession),
    ("/api/auth/revoke-other-sessions", true, Call::EndOthers),
    ("/api/rooms/list", false, Call::Rooms),
    ("/api/rooms/create", true, Call::CreateRoom),
    ("/api/rooms/delete", true, Call::DeleteRoom),
    ("/api/keys/generate", true, Call::GenerateKey),
    ("/api/keys/list", false, Call::Keys),
    ("/api/keys/delete", true, Call::DeleteKey),
    ("/api/user-tier", false, Call::Tier),
];

/// Paths that other servers of these clients have: exactly these, and all that is below the last.
const MISSING: &[&str] = &["/backup", "/backups", "/restore", "/global-query", "/download-client"];
const MISSING_BELOW: &str = "/api/webhooks";
/// Everything below these is the console's.
const FOLDERS: &[&str] = &["/api/auth/", "/api/rooms/", "/api/keys/"];

/// What a path is for, and whether it is asked with POST; of a missing one that means nothing.
fn call(path: &str) -> Option<(Call, bool)> {
    if let Some((_, is_post, call)) = CALLS.iter().find(|(known, ..)| *known == path) {
        return Some((*call, *is_post));
    }
    let below = path.strip_prefix(MISSING_BELOW).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below || MISSING.contains(&path) {
        return Some((Call::Missing, false));
    }
    FOLDERS.iter().any(|folder| path.starts_with(folder)).then_some((Call::Unknown, false))
}

/// Whether a path is one of these, as it was sent.
pub(super) fn is_its(entrance: &Entrance, path: &str) -> bool {
    entrance.config.accounts.enabled && call(path).is_some()
}

pub(super) async fn answer(asked: Asked, body: Incoming) -> Answer {
    let now_ms = asked.entrance.clock.now_ms();
    if let Err(retry_after_s) = asked.entrance.accounts.may_request(asked.address, now_ms) {
        return later(text(StatusCode::TOO_MANY_REQUESTS, TOO_MANY), retry_after_s);
    }
    let (call, is_post) = call(asked.path()).unwrap_or((Call::Unknown, false));
    match call {
        Call::Missing => {
            let error = format!("{} is not available on this server", asked.path());
            return done(StatusCode::NOT_IMPLEMENTED, &json!({ "error": error, "code": "NOT_SUPPORTED" }));
        }
        Call::Unknown => return error(StatusCode::NOT_FOUND, "nothing is served at this path"),
        _ => {}
    }
    let methods: &[Method] = if is_post { &[Method::POST] } else { &[Method::GET, Method::HEAD] };
    if !methods.contains(&asked.head.method) {
        let allow = if is_post { "POST" } else { "GET, HEAD" };
        return Answer { allow, ..text(StatusCode::METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED) };
    }
    let shown = Shown::of_parts(&asked.head);
    Request { asked, shown, now_ms }.carry_out(call, body).await.unwrap_or_else(|refused| refused)
}

/// One request.
struct Request {
    asked: Asked,
    shown: Shown,
    now_ms: u64,
}

type Done = Result<Answer, Answer>;

impl Request {
    async fn carry_out(mut self, call: Call, body: Incoming) -> Done {
        match call {
            Call::Tier => Ok(done(StatusCode::OK, &json!({ "tier": "free" }))),
            Call::Session => self.session().await,
            Call::Sessions => self.sessions().await,
            Call::Rooms => self.rooms().await,
            Call::Keys => self.keys().await,
            Call::SignUp | Call::SignIn => {
                let body = self.read(body).await.map_err(people::without_body)?;
                if call == Call::SignUp { self.sign_up(&body).await } else { self.sign_in(&body).await }
            }
            Call::SignOut => self.sign_out().await,
            Call::EndOthers => self.end_others().await,
            Call::EndSession => {
                let visitor = self.visitor().await?;
                let body = self.read(body).await.map_err(people::without_body)?;
                self.end_session(&visitor, &body).await
            }
            Call::CreateRoom | Call::DeleteRoom => {
                let visitor = self.visitor().await?;
                let body = self.read(body).await.map_err(rooms::without_body)?;
                let creates = call == Call::CreateRoom;
                if creates { self.create_room(&visitor, &body).await } else { self.delete_room(&visitor, &body).await }
            }
            Call::GenerateKey | Call::DeleteKey => {
                let visitor = self.visitor().await?;
                let body = self.read(body).await.map_err(keys::without_body)?;
                let makes = call == Call::GenerateKey;
                if makes { self.generate_key(&visitor, &body).await } else { self.delete_key(&visitor, &body).await }
            }
            Call::Missing | Call::Unknown => Err(error(StatusCode::NOT_FOUND, "nothing is served at this path")),
        }
    }

    /// Who is signed in. An API key is not enough: it could make itself another with more rights.
    async fn visitor(&self) -> Result<ConsoleVisitor, Answer> {
        let accounts = &self.asked.entrance.accounts;
        let visitor = accounts.identify_session(&self.shown, "", self.now_ms).await.map_err(refusal)?;
        match visitor.credential {
            ConsoleCredential::Key(_) => Err(refusal(ConsoleRefusal::nobody())),
            ConsoleCredential::Session(_) | ConsoleCredential::Token => Ok(visitor),
        }
    }

    /// The body as a JSON object; nothing at all is an empty one.
    async fn read(&mut self, body: Incoming) -> Result<Value, Unread> {
        if body.is_end_stream() {
            return Ok(json!({}));
        }
        // A page of another host cannot send this type without being asked about first.
        let content_type =
            self.asked.header(CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
        if !content_type.trim().eq_ignore_ascii_case(JSON) {
            return Err(Unread::Type);
        }
        let _reserved = self.asked.read(body, WORDS_BYTES_MAX).await.map_err(Unread::Body)?;
        if self.asked.body.is_empty() {
            return Ok(json!({}));
        }
        let value: Value = serde_json::from_slice(&self.asked.body).map_err(|_| Unread::NotJson)?;
        if value.is_object() { Ok(value) } else { Err(Unread::NotJson) }
    }
}

/// Why there is no body.
enum Unread {
    Type,
    NotJson,
    Body(NoBody),
}

impl Unread {
    /// Status and words; `not_json` are those of the call for what is not JSON.
    fn told(&self, not_json: &'static str) -> (StatusCode, &'static str) {
        match self {
            Unread::Type => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as JSON, with content-type: application/json")
            }
            Unread::NotJson => (StatusCode::BAD_REQUEST, not_json),
            Unread::Body(NoBody::TooLarge(_)) => (StatusCode::PAYLOAD_TOO_LARGE, "the body is over 64 KiB"),
            Unread::Body(NoBody::BrokenOff) => (StatusCode::BAD_REQUEST, "the body ended too early"),
            Unread::Body(NoBody::NoMemory) => (StatusCode::SERVICE_UNAVAILABLE, MEMORY_FULL),
        }
    }
}

fn done(status: StatusCode, body: &Value) -> Answer {
    Answer::new(status, JSON, body.to_string())
}

fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    Answer::new(status, TEXT, text.into())
}

fn error(status: StatusCode, text: &str) -> Answer {
    done(status, &json!({ "error": text }))
}

fn refusal(refusal: ConsoleRefusal) -> Answer {
    text(StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), refusal.text)
}

/// The same answer, which says when it is worth coming back.
fn later(answer: Answer, retry_after_s: u64) -> Answer {
    with_header(answer, RETRY_AFTER, &retry_after_s.to_string())
}

fn with_header(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    // What cannot be a header's value is of our making; none of it comes from outside.
    answer.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    answer
}

/// The status of what accounts refuse to do.
fn status_of(error: &AccountError) -> StatusCode {
    match error {
        AccountError::Store(_) | AccountError::Damaged(_) | AccountError::NoRandomness => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        AccountError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        AccountError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        AccountError::SignUpClosed | AccountError::RoomLimit(_) => StatusCode::FORBIDDEN,
        AccountError::EmailTaken => StatusCode::UNPROCESSABLE_ENTITY,
        AccountError::WrongPassword => StatusCode::UNAUTHORIZED,
        AccountError::TooManyTries { .. } => StatusCode::TOO_MANY_REQUESTS,
        AccountError::NoUser | AccountError::NoSession | AccountError::NoRoom => StatusCode::NOT_FOUND,
        AccountError::RoomTaken => StatusCode::CONFLICT,
        AccountError::BadEmail(_)
        | AccountError::ShortPassword
        | AccountError::LongPassword
        | AccountError::BadName
        | AccountError::BadRoom
        | AccountError::BadTable
        | AccountError::AlwaysProtected => StatusCode::BAD_REQUEST,
    }
}

/// When it is worth coming back.
fn retry_after_s(error: &AccountError) -> Option<u64> {
    match error {
        AccountError::TooManyTries { retry_after_s } => Some(*retry_after_s),
        AccountError::Busy => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_methods() {
        let cases = [
            ("/api/auth/sign-in/email", Some((Call::SignIn, true))),
            ("/api/auth/get-session", Some((Call::Session, false))),
            ("/api/auth/", Some((Call::Unknown, false))),
            ("/api/auth/sign-in/social", Some((Call::Unknown, false))),
            ("/api/auth", None),
            ("/api/rooms/list", Some((Call::Rooms, false))),
            ("/api/rooms/list/", Some((Call::Unknown, false))),
            ("/api/keys/delete", Some((Call::DeleteKey, true))),
            ("/api/webhooks", Some((Call::Missing, false))),
            ("/api/webhooks/7/logs", Some((Call::Missing, false))),
            ("/api/webhooksx", None),
            ("/backup", Some((Call::Missing, false))),
            ("/backup/1", None),
            ("/api/user-tier", Some((Call::Tier, false))),
            ("/api/schema", None),
            ("/schema", None),
            ("/api/drafts/d/yjs-state", None),
        ];
        for (path, expected) in cases {
            assert_eq!(call(path), expected, "{path}");
        }
    }

    #[test]
    fn security_headers_are_legal_lines() {
        assert_eq!(SECURITY_HEADERS.lines().count(), 5);
        for line in SECURITY_HEADERS.lines() {
            let (name, value) = line.split_once(": ").expect("a header");
            assert!(HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok(), "{line}");
        }
    }
}
