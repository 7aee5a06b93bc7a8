//! The HTTP APIs that belong to dialects: documents of the y-sweet API, drafts of the json-yjs editor, notes, room databases and their console.
//!
//! Called by `upgrade` with connections whose first request is for one of them. Bodies and connections belong to hyper; what is asked of a room is an
//! errand. Knows paths and status codes, and decides nothing about rooms.

mod console;
mod databases;
mod drafts;
mod notes;
mod y_sweet;

pub(crate) use console::{SECURITY_HEADERS as CONSOLE_HEADERS, TOO_MANY};
pub(crate) use y_sweet::{OFF as Y_SWEET_IS_OFF, wrong};

use crate::address::ClientAddress;
use crate::http::serve_requests;
use crate::logging::Printable;
use crate::origins;
use crate::request::RequestHead;
use crate::upgrade::Entrance;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Longest life of one connection: a document of the largest size on a slow line.
const CONNECTION_MAX: Duration = Duration::from_secs(120);

/// One of the APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    Console,
    Databases,
    Drafts,
    Notes,
    YSweet,
}

impl Api {
    /// The one that a path belongs to, as it was sent.
    fn of(entrance: &Entrance, path: &str) -> Option<Self> {
        let all = [Self::Console, Self::Databases, Self::Drafts, Self::Notes, Self::YSweet];
        all.into_iter().find(|api| match api {
            Self::Console => console::is_its(entrance, path),
            Self::Databases => databases::is_its(entrance, path),
            Self::Drafts => drafts::is_its(entrance, path),
            Self::Notes => notes::is_its(entrance, path),
            Self::YSweet => y_sweet::is_its(entrance, path),
        })
    }

    /// It uses the cookies of people, and its responses are those of the console.
    fn is_for_people(self) -> bool {
        matches!(self, Self::Console | Self::Databases)
    }
}

/// Whether a request is served here. What browsers ask before they ask is answered for all paths alike, but for the console's, whose answers have headers
/// of their own.
pub(crate) fn is_rest_request(entrance: &Entrance, head: &RequestHead) -> bool {
    Api::of(entrance, head.path()).is_some_and(|api| head.method != "OPTIONS" || api.is_for_people())
}

/// Where requests come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The address that they count as.
    pub(crate) address: ClientAddress,
    /// Through a trusted proxy, whose word about the host and the scheme counts.
    pub(crate) proxied: bool,
}

/// Serves one connection. `stream` begins with the first byte of the first request.
pub(crate) async fn serve<S>(entrance: Arc<Entrance>, stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The connection was counted as one request when it came.
    let is_first = Arc::new(AtomicBool::new(true));
    let respond = move |request| {
        let is_first = is_first.swap(false, Ordering::Relaxed);
        respond(entrance.clone(), request, peer, is_first)
    };
    serve_requests(stream, CONNECTION_MAX, "an HTTP API", respond).await;
}

/// A request, with its body.
struct Asked {
    entrance: Arc<Entrance>,
    address: ClientAddress,
    proxied: bool,
    head: hyper::http::request::Parts,
    body: Bytes,
}

impl Asked {
    /// A header, if it is text.
    fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The token of `Authorization: Bearer`.
    fn token(&self) -> Option<&str> {
        self.header(hyper::header::AUTHORIZATION).and_then(crate::auth::bearer_token)
    }

    fn path(&self) -> &str {
        self.head.uri.path()
    }
}

/// An answer: status, content type, body.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    /// The methods that a 405 names.
    allow: &'static str,
    /// Further ones.
    headers: Vec<(HeaderName, HeaderValue)>,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";

impl Answer {
    fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, body: body.into(), allow: "", headers: Vec::new() }
    }
}

/// Why a body cannot be had.
enum NoBody {
    /// It is larger than so many bytes.
    TooLarge(usize),
    BrokenOff,
    /// The server has all that fits into its memory.
    NoMemory,
}

/// Of a body that says what is wanted; only updates are larger.
const WORDS_BYTES_MAX: usize = 64 << 10;

/// A part of the budget of memory, given back when dropped.
struct Reserved {
    entrance: Arc<Entrance>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.entrance.workers.shared.memory.change(self.bytes, 0);
    }
}

impl Asked {
    /// Reads the body, of so many bytes at most. Called when it is known that whoever sends it may: until then nothing of it is kept.
    async fn read(&mut self, body: Incoming, most: usize) -> Result<Reserved, NoBody> {
        let memory = &self.entrance.workers.shared.memory;
        let announced = body.size_hint().upper().map_or(most, |bytes| bytes as usize);
        if announced > most {
            return Err(NoBody::TooLarge(most));
        }
        if memory.is_full() {
            return Err(NoBody::NoMemory);
        }
        let reserved = Reserved { bytes: memory.change(0, announced as u64), entrance: self.entrance.clone() };
        self.body = match Limited::new(body, most).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(NoBody::TooLarge(most)),
            Err(_) => return Err(NoBody::BrokenOff),
        };
        Ok(reserved)
    }
}

async fn respond(
    entrance: Arc<Entrance>,
    request: Request<Incoming>,
    peer: Peer,
    is_first: bool,
) -> Response<Full<Bytes>> {
    let Peer { address, proxied } = peer;
    let (id, method, path) = (crate::request::request_id(), request.method().clone(), request.uri().path().to_owned());
    let origin =
        request.headers().get(hyper::header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(str::to_owned);
    let allowed = entrance.config.origins.allowed.clone();
    // On a connection that was used already, anything can be asked for.
    let api = Api::of(&entrance, &path);
    let answer = if !origins::may_connect(&allowed, origin.as_deref()) {
        Answer::new(
            StatusCode::FORBIDDEN,
            JSON,
            r#"{"error":"this origin may not connect; the operator can add it to origins.allowed"}"#,
        )
    } else if method == Method::OPTIONS {
        // What a browser asks before it asks, on a connection that was used already.
        Answer::new(StatusCode::NO_CONTENT, TEXT, "")
    } else if let Some(reached) = (!is_first).then(|| entrance.connections.may_ask(address).err()).flatten() {
        Answer::new(StatusCode::SERVICE_UNAVAILABLE, JSON, format!("{{\"error\":\"{}\"}}", reached.limit))
    } else {
        let (head, body) = request.into_parts();
        let asked = Asked { entrance, address, proxied, head, body: Bytes::new() };
        match api {
            Some(Api::Console) => console::answer(asked, body).await,
            Some(Api::Databases) => databases::answer(asked).await,
            Some(Api::Drafts) => drafts::answer(asked, body).await,
            Some(Api::Notes) => notes::answer(asked, body).await,
            Some(Api::YSweet) | None => y_sweet::answer(asked, body).await,
        }
    };
    tracing::debug!(action = "http.request", requestId = id, %address, %method, path = %Printable(&path), status = answer.status.as_u16());
    let mut response = Response::new(Full::from(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", id);
    }
    if !answer.allow.is_empty() {
        headers.insert(ALLOW, HeaderValue::from_static(answer.allow));
    }
    let preflight = if method == Method::OPTIONS { origins::PREFLIGHT_HEADERS } else { "" };
    for line in preflight.lines() {
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    let (cors, more) = if api.is_some_and(Api::is_for_people) {
        (origins::cors_headers_by_name(&allowed, origin.as_deref()), console::SECURITY_HEADERS)
    } else {
        (origins::cors_headers(&allowed, origin.as_deref()), "")
    };
    for line in cors.lines().chain(more.lines()) {
        if let Some((name, value)) = line.split_once(": ")
            && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }
    headers.extend(answer.headers);
    response
}
