//! From an accepted connection to its end: the first request, the answer to it, and, for a WebSocket, the way into its room.
//!
//! Called by `serve` for each connection. Decides by path only which dialect it is. What a client throws away half-way costs nothing but a line at debug.

use crate::auth::Gate;
use crate::clock::Clock;
use crate::config::Config;
use crate::connections::{Accepted, Connection, Connections};
use crate::http::{Health, respond};
use crate::logging::{Printable, redact_query};
use crate::outbox::Outbox;
use crate::request::{HeadError, RequestHead, accept_response, check_upgrade, error_response, parse};
use crate::rooms::{Rooms, Unavailable};
use crate::routes::{Route, route};
use crate::socket::{Allowance, Socket};
use crate::websocket::{Decoder, Opcode, close_frame, encode_frame};
use dialect::Dialect;
use room::Closing;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

/// Kind prefix of a room's key in the store: documents share one namespace over all dialects.
const DOCUMENT: &str = "doc/";

/// How long a request may take to arrive when the server stops.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// What all connections share.
pub(crate) struct Entrance {
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
}

impl Entrance {
    /// Serves one connection until its end.
    pub(crate) async fn serve(&self, mut stream: TcpStream) {
        let Some(accepted) = self.connections.admit(self.config.limits.connections_max) else {
            return refuse(
                &mut stream,
                &error_response(503, "the server has all the connections that it may have", Some(5)),
            )
            .await;
        };
        let deadline = Instant::now() + Duration::from_millis(self.config.handshake_ms);
        let mut shutdown = self.rooms.shared.shutdown.subscribe();
        let head = tokio::select! {
            head = tokio::time::timeout_at(deadline, read_head(&mut stream)) => head,
            () = stopped(&mut shutdown) => {
                let unavailable = unavailable_response(Unavailable::ShuttingDown);
                return refuse(&mut stream, &unavailable).await;
            }
        };
        match head {
            Ok(Ok(Some((head, early)))) => self.answer(stream, head, early, accepted, deadline).await,
            Ok(Ok(None)) => {
                tracing::debug!(action = "http.abandoned", "connection ended before its request was complete");
            }
            Ok(Err(error)) => {
                tracing::debug!(action = "http.refused", %error);
                refuse(&mut stream, &error.response()).await;
            }
            Err(_) => refuse(&mut stream, &error_response(408, "the request did not arrive in time", None)).await,
        }
    }

    async fn answer(
        &self,
        mut stream: TcpStream,
        head: RequestHead,
        early: Vec<u8>,
        accepted: Accepted,
        deadline: Instant,
    ) {
        if !head.is_upgrade() {
            let response = respond(&head.method, head.path(), self.clock, || self.health());
            return refuse(&mut stream, &response).await;
        }
        match self.admit(&head) {
            Ok(room) => self.enter(stream, head, early, room, accepted, deadline).await,
            Err(response) => {
                tracing::debug!(action = "http.refused", target = redact_query(&head.target), "upgrade refused");
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
        mut stream: TcpStream,
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
        let key = format!("{DOCUMENT}{room}").into();
        let visit = match tokio::time::timeout_at(deadline, self.rooms.enter(&key)).await {
            Ok(Ok(visit)) => visit,
            Ok(Err(unavailable)) => return refuse(&mut stream, &unavailable_response(unavailable)).await,
            Err(_) => {
                return refuse(
                    &mut stream,
                    &error_response(503, "the room takes long to load; try again later", Some(5)),
                )
                .await;
            }
        };
        let hello = accept_response(&head, head.subprotocols().next());
        if !matches!(tokio::time::timeout_at(deadline, stream.write_all(&hello)).await, Ok(Ok(()))) {
            tracing::debug!(action = "http.abandoned", "client left during the handshake");
            return;
        }
        let id = format!("ws_{}_{:08x}", self.clock.now_ms(), fastrand::u32(..));
        let outbox = Outbox::new(stream, self.config.limits.private_bytes_max as usize);
        let user = admission.author.clone();
        let connection = Arc::new(Connection::new(id, user.clone(), dialect, outbox, self.clock.now_ms()));
        let entered = self.connections.enter(connection.clone());
        tracing::info!(action = "ws.connect", connectionId = connection.id, userId = %user, room = %Printable(&room), dialect = dialect.name());
        let member = self.rooms.next_member();
        let socket = Socket {
            session: dialect.session(member, crate::room_task::room_limits(&self.config.limits).message),
            connection: connection.clone(),
            visit,
            member,
            decoder: Decoder::new(self.config.limits.frame_bytes_max as usize),
            clock: self.clock,
            allowance: Allowance::new(self.config.limits.bytes_per_s),
            left: false,
        };
        let reason = socket.run(admission, early).await;
        tracing::info!(action = "ws.disconnect", connectionId = connection.id, userId = %user, room = %Printable(&room), reason = %Printable(&reason));
        drop((entered, accepted));
    }

    fn health(&self) -> Health {
        let ready = !*self.rooms.shared.shutdown.borrow();
        Health { connections: self.connections.count(), rooms: self.rooms.count(), ready }
    }
}

/// Done a moment after the server was told to stop: time enough for a request that is on its way, and an idle connection delays nothing.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the server is gone altogether.
    let _ = shutdown.wait_for(|stopping| *stopping).await;
    tokio::time::sleep(LAST_REQUEST).await;
}

fn unavailable_response(unavailable: Unavailable) -> Vec<u8> {
    let retry_after_s = match unavailable {
        Unavailable::Storage { retry_after_ms } => retry_after_ms.div_ceil(1_000) as u32,
        Unavailable::Full | Unavailable::ShuttingDown => 5,
    };
    error_response(503, &unavailable.to_string(), Some(retry_after_s))
}

/// Reads up to the end of the first request's head. None: the client left.
async fn read_head(stream: &mut TcpStream) -> Result<Option<(RequestHead, Vec<u8>)>, HeadError> {
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
async fn refuse(stream: &mut TcpStream, response: &[u8]) {
    if stream.write_all(response).await.is_ok() {
        let _ = stream.shutdown().await;
        // What the client has sent meanwhile would turn the close into a reset that overtakes the response.
        let mut rest = [0; 512];
        let drained = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), drained).await;
    }
}

/// Completes the handshake only to say why the client may not enter: a page cannot see the status of a failed one.
async fn say_farewell(mut stream: TcpStream, head: &RequestHead, dialect: &dyn Dialect, closing: &Closing) {
    let farewell = dialect.farewell(closing);
    let mut hello = accept_response(head, head.subprotocols().next());
    hello.extend(farewell.message.iter().flat_map(|payload| encode_frame(Opcode::Binary, payload)));
    tracing::info!(action = "ws.refused", target = redact_query(&head.target), reason = farewell.reason);
    if stream.write_all(&hello).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(farewell.delay_ms)).await;
        refuse(&mut stream, &close_frame(farewell.code, &farewell.reason)).await;
    }
}
