//! HTTP: what plain requests get on the same port (health, readiness, and `okay` for anybody who only wants to know that something is there), and how
//! connections are served whose requests have bodies.

use crate::clock::Clock;
use crate::logging::rfc3339_ms;
use crate::origins;
use crate::request::{RequestHead, error_response, json_response, text_response, upgrade_required};
use crate::routes::{Mounts, Protocol, Route, route};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::time::{Duration, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};

/// What health is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Health {
    pub(crate) connections: usize,
    pub(crate) rooms: usize,
    pub(crate) ready: bool,
}

/// The whole response to a request that is no upgrade.
pub(crate) fn respond(
    head: &RequestHead,
    clock: Clock,
    allowed: &[String],
    mounts: &Mounts,
    health: impl Fn() -> Health,
) -> Vec<u8> {
    let (method, path) = (&*head.method, head.path());
    let whole = match (method, path) {
        ("OPTIONS", _) if head.header("origin").is_some_and(|origin| origins::may_connect(allowed, Some(origin))) => {
            origins::preflight_response()
        }
        ("GET" | "HEAD", "/health") => health_response("healthy", clock, health()),
        ("GET" | "HEAD", "/api/health") => health_response("ok", clock, health()),
        ("GET" | "HEAD", "/ready") if health().ready => json_response(200, "{\"ok\":true}"),
        ("GET" | "HEAD", "/ready") => json_response(503, "{\"ok\":false,\"error\":\"the server is shutting down\"}"),
        (_, path) if path.starts_with("/api/") || path.starts_with("/_concord") => nothing(),
        ("GET" | "HEAD", _) => match route(path, mounts) {
            // Its clients are told what is missing; others want to see that something is there.
            Route::Room { protocol: Protocol::Sessions, .. } => {
                error_response(426, "a document is here; connect with a WebSocket client", None)
            }
            Route::Lobby(Protocol::JsonYjs | Protocol::Notes) => upgrade_required(),
            Route::Notices => text_response(501, "Not implemented yet"),
            Route::NotFound if path.starts_with("/ws/") => nothing(),
            _ => text_response(200, "okay"),
        },
        _ => error_response(405, "only GET is answered here; connect with a WebSocket client", None),
    };
    if method == "HEAD" { head_only(whole) } else { whole }
}

/// Longest time for a request's head: who says nothing takes no place.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// Serves requests with bodies of one connection, for so long at most. `stream` begins with the first byte of the first request.
pub(crate) async fn serve_requests<S, R>(
    stream: S,
    most: Duration,
    of: &'static str,
    respond: impl Fn(Request<Incoming>) -> R,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let response = respond(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .half_close(false)
        .max_headers(64)
        .max_buf_size(32 << 10)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(most, connection).await {
        tracing::debug!(action = "http.abandoned", %error, of, "connection");
    }
}

fn nothing() -> Vec<u8> {
    error_response(404, "nothing is served at this path", None)
}

fn health_response(word: &str, clock: Clock, health: Health) -> Vec<u8> {
    let timestamp = rfc3339_ms(UNIX_EPOCH + Duration::from_millis(clock.now_ms()));
    let (status, word) = if health.ready { (200, word) } else { (503, "unhealthy") };
    let errors = if health.ready { "" } else { ",\"errors\":[\"the server is shutting down\"]" };
    let Health { connections, rooms, .. } = health;
    let version = env!("CARGO_PKG_VERSION");
    let body = format!(
        "{{\"status\":\"{word}\",\"timestamp\":\"{timestamp}\",\"version\":\"{version}\",\
         \"websocket\":{{\"connections\":{connections},\"rooms\":{rooms}}}{errors}}}"
    );
    json_response(status, &body)
}

fn head_only(mut response: Vec<u8>) -> Vec<u8> {
    let end = response.windows(4).position(|four| four == b"\r\n\r\n").map_or(response.len(), |at| at + 4);
    response.truncate(end);
    response
}
