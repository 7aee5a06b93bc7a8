//! From an accepted connection to its room: the first request, the answer to it, and, for a WebSocket, the way to the room's worker.
//!
//! Called by `serve` for each connection. Decides by path only which dialect it is. What a client throws away half-way costs nothing but a line at debug.

use crate::address::client_address;
use crate::auth::Gate;
use crate::clock::Clock;
use crate::config::Config;
use crate::connections::{Accepted, Connections};
use crate::http::{Health, respond};
use crate::logging::redact_query;
use crate::request::{HeadError, RequestHead, accept_deflate, accept_response, check_upgrade, error_response, parse};
use crate::routes::{Route, route};
use crate::transport::door::{DoorError, speak_tls};
use crate::transport::{Door, Incoming, Wire};
use crate::websocket::{Opcode, close_frame, encode_frame};
use crate::worker::Arrival;
use crate::workers::Workers;
use dialect::Dialect;
use room::Closing;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;

/// Kind prefix of a room's key in the store: documents share one namespace over all dialects.
pub(crate) const DOCUMENT: &str = "doc/";

/// How long a request may take to arrive when the server stops.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// What who comes then is told.
pub(crate) const SHUTTING_DOWN: &str = "the server is shutting down; try again later";

/// What all connections share.
pub(crate) struct Entrance {
    pub(crate) workers: Workers,
    pub(crate) connections: Arc<Connections>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) door: Door,
}

impl Entrance {
    /// Serves one connection until its end.
    pub(crate) async fn serve(&self, mut wire: Wire) {
        let Some(accepted) = self.connections.admit(self.config.limits.connections_max) else {
            // A handshake only to say no would cost more than the connection.
            if self.door.certificates.is_some() {
                return tracing::debug!(action = "http.refused", address = %wire.address, "all connections are taken");
            }
            return refuse(
                &mut wire,
                &error_response(503, "the server has all the connections that it may have", Some(5)),
            )
            .await;
        };
        let deadline = Instant::now() + Duration::from_millis(self.config.handshake_ms);
        let mut shutdown = self.workers.stopping();
        let address = wire.address;
        let opened = tokio::select! {
            opened = tokio::time::timeout_at(deadline, self.door.open(wire)) => opened.unwrap_or(Err(DoorError::TooLate)),
            () = stopped(&mut shutdown) => Err(DoorError::Stopping),
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(action = "http.refused", %address, %error);
                if let DoorError::PlainHttp(mut wire) = error {
                    refuse(&mut wire, &speak_tls()).await;
                }
                return;
            }
        };
        let head = tokio::select! {
            head = tokio::time::timeout_at(deadline, read_head(&mut stream)) => head,
            () = stopped(&mut shutdown) => {
                return refuse(&mut stream, &error_response(503, SHUTTING_DOWN, Some(5))).await;
            }
        };
        match head {
            Ok(Ok(Some((head, early)))) => {
                stream.address = client_address(stream.address, &head, &self.config.proxy);
                self.answer(stream, head, early, accepted, deadline).await;
            }
            Ok(Ok(None)) => {
                tracing::debug!(action = "http.abandoned", "connection ended before its request was complete");
            }
            Ok(Err(error)) => {
                tracing::debug!(action = "http.refused", address = %stream.address, %error);
                refuse(&mut stream, &error.response()).await;
            }
            Err(_) => refuse(&mut stream, &error_response(408, "the request did not arrive in time", None)).await,
        }
    }

    async fn answer(
        &self,
        mut stream: Incoming,
        head: RequestHead,
        early: Vec<u8>,
        accepted: Accepted,
        deadline: Instant,
    ) {
        if !head.is_upgrade() {
            let response = respond(&head.method, head.path(), self.clock, || self.health());
            return refuse(&mut stream, &response).await;
        }
        if *self.workers.stopping().borrow() {
            return refuse(&mut stream, &error_response(503, SHUTTING_DOWN, Some(5))).await;
        }
        match self.admit(&head) {
            Ok(room) => self.enter(stream, head, early, room, accepted, deadline).await,
            Err(response) => {
                let target = redact_query(&head.target);
                tracing::debug!(action = "http.refused", address = %stream.address, target, "upgrade refused");
                refuse(&mut stream, &response).await;
            }
        }
    }

    /// The room that an upgrade request is for, or the response that says why not.
    fn admit(&self, head: &RequestHead) -> Result<String, Vec<u8>> {
        check_upgrade(head).map_err(|error| error.response())?;
        if !self.allows_origin(head.header("origin")) {
            return Err(error_response(
                403,
                "this origin may not connect; the operator can add it to origins.allowed",
                None,
            ));
        }
        match route(head.path(), &self.config.mounts) {
            Route::YWebsocket { room } => Ok(room),
            other => {
                Err(other.refusal().unwrap_or_else(|| error_response(404, "nothing is served at this path", None)))
            }
        }
    }

    fn allows_origin(&self, origin: Option<&str>) -> bool {
        let allowed = &self.config.origins.allowed;
        origin.is_none_or(|origin| allowed.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin)))
    }

    async fn enter(
        &self,
        stream: Incoming,
        head: RequestHead,
        early: Vec<u8>,
        room: String,
        accepted: Accepted,
        deadline: Instant,
    ) {
        let dialect = if self.config.y_websocket.echo { dialect::Y_WEBSOCKET } else { dialect::Y_WEBSOCKET_SILENT };
        let admission = match self.gate.admit(&head, &room) {
            Ok(admission) => admission,
            Err(closing) => return say_farewell(stream, &head, dialect, &closing).await,
        };
        let extensions = self.config.websocket.deflate.then(|| accept_deflate(&head)).flatten();
        let hello = accept_response(&head, head.subprotocols().next(), extensions);
        let deflate = extensions.is_some();
        let address = stream.address;
        let stream = match stream.into_stream() {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(action = "http.abandoned", %error, "connection is broken"),
        };
        let (room, deadline) = (format!("{DOCUMENT}{room}").into(), deadline.into_std());
        let arrival = Arrival { stream, address, room, dialect, admission, hello, deflate, early, accepted, deadline };
        self.workers.enter(arrival);
    }

    fn health(&self) -> Health {
        let ready = !*self.workers.stopping().borrow();
        let rooms = self.workers.shared.occupied.load(Ordering::Acquire);
        Health { connections: self.connections.count(), rooms, ready }
    }
}

/// Done a moment after the server was told to stop: time enough for a request that is on its way, and an idle connection delays nothing.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the server is gone altogether.
    let _ = shutdown.wait_for(|stopping| *stopping).await;
    tokio::time::sleep(LAST_REQUEST).await;
}

/// Reads up to the end of the first request's head. None: the client left.
async fn read_head(stream: &mut Incoming) -> Result<Option<(RequestHead, Vec<u8>)>, HeadError> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
        if let Some(head) = parse(&bytes)? {
            let early = bytes.split_off(head.length);
            return Ok(Some((head, early)));
        }
    }
}

/// Answers and closes. Whether the client still reads it is its own affair.
async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), response: &[u8]) {
    if stream.write_all(response).await.is_ok() {
        let _ = stream.shutdown().await;
        // What the client has sent meanwhile would turn the close into a reset that overtakes the response.
        let mut rest = [0; 512];
        let drained = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), drained).await;
    }
}

/// Completes the handshake only to say why the client may not enter: a page cannot see the status of a failed one.
async fn say_farewell(mut stream: Incoming, head: &RequestHead, dialect: &dyn Dialect, closing: &Closing) {
    let farewell = dialect.farewell(closing);
    let mut hello = accept_response(head, head.subprotocols().next(), None);
    hello.extend(farewell.message.iter().flat_map(|payload| encode_frame(Opcode::Binary, payload)));
    tracing::info!(action = "ws.refused", address = %stream.address, target = redact_query(&head.target), reason = farewell.reason);
    if stream.write_all(&hello).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(farewell.delay_ms)).await;
        refuse(&mut stream, &close_frame(farewell.code, &farewell.reason)).await;
    }
}
