//! From an accepted connection to its room: the first request, the answer to it, and, for a WebSocket, the way to the room's worker.
//!
//! Called by `serve` for each connection. Decides by path only which dialect it is. What a client throws away half-way costs nothing but a line at debug.

use crate::accounts::{Accounts, ConsoleRefusal, ConsoleVisitor, Shown};
use crate::address::{ClientAddress, client_address};
use crate::admin;
use crate::auth::{Admission, Documents, Gate, KeyFile, Ledger, Notebooks, Owner, Refusal, notes_subprotocol};
use crate::clock::Clock;
use crate::config::Config;
use crate::connections::{Accepted, Connections, Reached};
use crate::drafting::{self, Barred};
use crate::errand;
use crate::frames::encode_message;
use crate::http::{Health, respond};
use crate::logging::{Printable, redact_query};
use crate::metrics::{Metrics, Why};
use crate::origins;
use crate::request::{
    HeadError, RequestHead, accept_deflate, accept_response, check_upgrade, error_response, parse, refusal_response,
    request_id, text_response, with_headers,
};
use crate::rest::{self, is_rest_request};
use crate::room_kind::RoomKind;
use crate::routes::{Protocol, Route, is_draft_id, route};
use crate::transport::door::{DoorError, speak_tls};
use crate::transport::{Door, Incoming, Wire};
use crate::trunk::{Trunk, Trunks};
use crate::websocket::close_frame;
use crate::worker::{Arrival, Visitor};
use crate::workers::Workers;
use dialect::Farewell;
use room::{Access, Author, Closing};
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a request may take to arrive when the server stops.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// What is still read of a client that was refused, and dropped: more than any head or first message. Who sends on gets a reset.
const REFUSED_BYTES_MAX: usize = 256 << 10;
/// Of one such read: thousands may be refused at the same time.
const REFUSED_READ_BYTES: usize = 4 << 10;

/// What who comes then is told.
pub(crate) const SHUTTING_DOWN: &str = "the server is shutting down; try again later";
const ORIGIN: &str = "this origin may not connect; the operator can add it to origins.allowed";
const COOKIE_ORIGIN: &str =
    "cookies count only for pages of the same host and for origins that are listed in origins.allowed";
pub(crate) const MEMORY_FULL: &str =
    "limits.memory_bytes_max: the server has all that fits into its memory; try again later";
const EVERYBODY: Reached =
    Reached { limit: "limits.connections_max: the server has all the connections that it may have", retry_after_s: 5 };

/// What all connections share.
pub(crate) struct Entrance {
    pub(crate) workers: Workers,
    pub(crate) connections: Arc<Connections>,
    pub(crate) documents: Documents,
    pub(crate) notebooks: Notebooks,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) door: Door,
    pub(crate) key_file: Arc<KeyFile>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) metrics: Metrics,
    /// Sockets that carry several documents.
    pub(crate) trunks: Trunks,
}

/// One connection and its first request.
struct Visit {
    stream: Incoming,
    head: RequestHead,
    /// What was read: the head, and what came behind it.
    bytes: Vec<u8>,
    accepted: Accepted,
    /// It came through a trusted proxy: what its headers say about the first address counts.
    proxied: bool,
    /// The handshake has to be over by then.
    deadline: Instant,
    /// In the response and in the log.
    id: String,
}

/// An answer that is not the one that was asked for.
enum Refused {
    /// An HTTP response.
    Response(Why, Vec<u8>),
    /// What the dialect says then: an HTTP response, or a handshake and then why not.
    Closing(Protocol, Closing),
}

/// Where an upgrade request leads.
enum Place {
    /// Into a room.
    Room(Protocol, String),
    /// To where clients say themselves which rooms they want.
    Trunk,
    /// Into the notebook of whoever comes.
    Notebook,
    /// Into the room database that the request names.
    Database,
}

impl Refused {
    fn limit(reached: &Reached) -> Self {
        Self::Response(Why::Limit, error_response(503, reached.limit, Some(reached.retry_after_s)))
    }
}

impl Entrance {
    pub(crate) fn gate(&self) -> &Arc<dyn Gate> {
        &self.workers.shared.gate
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.workers.shared.ledger
    }

    /// Serves one connection until its end.
    pub(crate) async fn serve(self: Arc<Self>, mut wire: Wire) {
        let proxy = &self.config.proxy;
        // Of a proxy it is not known yet for whom it speaks.
        let known = !proxy.protocol && !proxy.trusted.contains(wire.address);
        let mut accepted = match self.take_place(known.then_some(wire.address)) {
            Ok(accepted) => accepted,
            Err(reached) => return self.turn_away(&mut wire, &reached).await,
        };
        let deadline = Instant::now() + Duration::from_millis(self.config.handshake_ms);
        let Some(mut stream) = self.open_door(wire, deadline).await else { return };
        let Some((head, bytes)) = self.first_request(&mut stream, deadline).await else { return };
        let proxied = proxy.trusted.contains(stream.address);
        stream.address = client_address(stream.address, &head, &self.config.proxy);
        let counted = if known { Ok(()) } else { accepted.comes_from(stream.address) };
        let visit = Visit { stream, head, bytes, accepted, proxied, deadline, id: request_id() };
        match counted {
            Ok(()) => self.answer(visit).await,
            Err(reached) => self.refuse(visit, Refused::limit(&reached)).await,
        }
    }

    /// A place for one more connection, counted for the address that it comes from if that is known.
    fn take_place(&self, address: Option<ClientAddress>) -> Result<Accepted, Reached> {
        let mut accepted = self.connections.admit().ok_or(EVERYBODY)?;
        address.map_or(Ok(()), |address| accepted.comes_from(address)).map(|()| accepted)
    }

    /// Refuses a connection of which nothing was read.
    async fn turn_away(&self, wire: &mut Wire, reached: &Reached) {
        self.metrics.refused(Why::Limit);
        tracing::debug!(action = "http.refused", address = %wire.address, reason = reached.limit);
        // A TLS handshake only to say no would cost more than the connection.
        if self.door.certificates.is_none() {
            refuse(wire, &error_response(503, reached.limit, Some(reached.retry_after_s))).await;
        }
    }

    /// What comes before the first request. None: that did not go well, and the client was told if it can be.
    async fn open_door(&self, wire: Wire, deadline: Instant) -> Option<Incoming> {
        let (address, mut shutdown) = (wire.address, self.workers.stopping());
        let opened = tokio::select! {
            opened = tokio::time::timeout_at(deadline, self.door.open(wire)) => opened.unwrap_or(Err(DoorError::TooLate)),
            () = stopped(&mut shutdown) => Err(DoorError::Stopping),
        };
        let error = match opened {
            Ok(stream) => return Some(stream),
            Err(error) => error,
        };
        tracing::debug!(action = "http.refused", %address, %error);
        if let DoorError::PlainHttp(mut wire) = error {
            refuse(&mut wire, &speak_tls()).await;
        }
        None
    }

    /// The head of the first request, and all that was read with it. None: there is none, and the client was told why.
    async fn first_request(&self, stream: &mut Incoming, deadline: Instant) -> Option<(RequestHead, Vec<u8>)> {
        let mut shutdown = self.workers.stopping();
        let head = tokio::select! {
            head = tokio::time::timeout_at(deadline, read_head(stream)) => head,
            () = stopped(&mut shutdown) => {
                refuse(stream, &error_response(503, SHUTTING_DOWN, Some(5))).await;
                return None;
            }
        };
        match head {
            Ok(Ok(Some(request))) => return Some(request),
            Ok(Ok(None)) => {
                tracing::debug!(action = "http.abandoned", "connection ended before its request was complete");
            }
            Ok(Err(error)) => {
                self.metrics.refused(Why::Malformed);
                tracing::debug!(action = "http.refused", address = %stream.address, %error);
                refuse(stream, &error.response()).await;
            }
            Err(_) => refuse(stream, &error_response(408, "the request did not arrive in time", None)).await,
        }
        None
    }

    async fn answer(self: Arc<Self>, mut visit: Visit) {
        if !visit.head.is_upgrade() {
            if self.config.admin.public && admin::is_admin_path(visit.head.path()) {
                return self.hand_to_admin(visit).await;
            }
            if visit.head.method == "GET" && self.is_way_to_databases(&visit) {
                let refused = match self.visitor_of_database(&visit).await {
                    Ok(_) => told_by_console(Why::Malformed, &text_response(426, "Expected Upgrade: websocket")),
                    Err(refused) => refused,
                };
                return self.refuse(visit, refused).await;
            }
            if is_rest_request(&self, &visit.head) {
                return self.hand_to_rest(visit).await;
            }
            let (allowed, mounts) = (&self.config.origins.allowed, &self.config.mounts);
            let response = respond(&visit.head, self.clock, allowed, mounts, || self.health());
            let response = self.signed(&visit, &response);
            return refuse(&mut visit.stream, &response).await;
        }
        if *self.workers.stopping().borrow() {
            let response = error_response(503, SHUTTING_DOWN, Some(5));
            return refuse(&mut visit.stream, &response).await;
        }
        match self.find_place(&visit.head) {
            Ok(Place::Room(protocol, room)) => {
                let document = room;
                let room = self.config.room_named(&document, protocol.name());
                let admitted = match protocol {
                    Protocol::YSweet => self.admit_to_document(&mut visit, &document, &room).await,
                    _ => self.admit(&mut visit, protocol, &room).await,
                };
                match admitted {
                    Ok(admission) => self.enter(visit, protocol, &room, admission, None),
                    Err(refused) => self.refuse(visit, refused).await,
                }
            }
            Ok(Place::Notebook) => match self.admit_owner(&mut visit).await {
                Ok(owner) => {
                    let notebook = owner.notebook().to_owned();
                    self.enter(visit, Protocol::Notes, &notebook, owner.admission, owner.cookie.as_deref());
                }
                Err(refused) => self.refuse(visit, refused).await,
            },
            Ok(Place::Database) => match self.admit_to_database(&mut visit).await {
                Ok((room, admission)) => self.enter(visit, Protocol::RoomDb, &room, admission, None),
                Err(refused) => self.refuse(visit, refused).await,
            },
            Ok(Place::Trunk) if self.workers.shared.memory.is_full() => {
                let full = Refused::Response(Why::Limit, error_response(503, MEMORY_FULL, Some(5)));
                self.refuse(visit, full).await;
            }
            Ok(Place::Trunk) => self.open_trunk(visit).await,
            Err(refused) => self.refuse(visit, refused).await,
        }
    }

    /// Lets the admin API have the connection, with what was read of it.
    async fn hand_to_admin(self: Arc<Self>, visit: Visit) {
        let Visit { stream, bytes, accepted: _accepted, .. } = visit;
        let (read, write) = tokio::io::split(stream);
        let mut shutdown = self.workers.stopping();
        tokio::select! {
            () = admin::serve(self.clone(), tokio::io::join(Cursor::new(bytes).chain(read), write)) => {}
            // What was asked is carried out all the same.
            () = stopped(&mut shutdown) => {}
        }
    }

    /// Lets the HTTP APIs of dialects have the connection, with what was read of it.
    async fn hand_to_rest(self: Arc<Self>, mut visit: Visit) {
        if *self.workers.stopping().borrow() {
            let response = self.signed(&visit, &error_response(503, SHUTTING_DOWN, Some(5)));
            return refuse(&mut visit.stream, &response).await;
        }
        let Visit { stream, bytes, accepted: _accepted, proxied, .. } = visit;
        let peer = rest::Peer { address: stream.address, proxied };
        let (read, write) = tokio::io::split(stream);
        let mut shutdown = self.workers.stopping();
        tokio::select! {
            () = rest::serve(self.clone(), tokio::io::join(Cursor::new(bytes).chain(read), write), peer) => {}
            () = stopped(&mut shutdown) => {}
        }
    }

    /// What an upgrade request is for.
    fn find_place(&self, head: &RequestHead) -> Result<Place, Refused> {
        check_upgrade(head).map_err(|error| Refused::Response(Why::Malformed, error.response()))?;
        let route = route(head.path(), &self.config.mounts);
        // Pages of this host are its own, also where others are listed.
        let (origin, host) = (head.header("origin"), head.header("host"));
        let has_pages = matches!(route, Route::Lobby(Protocol::Notes | Protocol::RoomDb));
        let is_own = has_pages && origin.is_some_and(|origin| origins::is_same_host(origin, host));
        if !is_own && !origins::may_connect(&self.config.origins.allowed, origin) {
            return Err(Refused::Response(Why::Origin, error_response(403, ORIGIN, None)));
        }
        match route {
            Route::Room { protocol: Protocol::YSweet, .. } | Route::TwoIds | Route::InvalidDocumentId
                if !self.config.serves_y_sweet() =>
            {
                Err(Refused::Response(Why::Malformed, error_response(404, rest::Y_SWEET_IS_OFF, None)))
            }
            Route::TwoIds | Route::InvalidDocumentId if self.config.y_sweet.production => {
                Err(Refused::Response(Why::Malformed, text_response(400, "")))
            }
            Route::Room { protocol, room } => Ok(Place::Room(protocol, room)),
            Route::Lobby(Protocol::Hocuspocus) => Ok(Place::Trunk),
            Route::Lobby(Protocol::Notes) => Ok(Place::Notebook),
            Route::Lobby(Protocol::RoomDb) => Ok(Place::Database),
            Route::Lobby(protocol) => {
                let incomplete = |parameter| Refused::Closing(protocol, Closing::Incomplete(parameter));
                if self.config.auth.is_on() && head.query_once("token").is_none() {
                    return Err(incomplete("token"));
                }
                let room = head.query_once("draftId").filter(|id| is_draft_id(id));
                Ok(Place::Room(protocol, room.ok_or_else(|| incomplete("draftId"))?))
            }
            other => {
                let nothing = || error_response(404, "nothing is served at this path", None);
                Err(Refused::Response(Why::Malformed, other.refusal().unwrap_or_else(nothing)))
            }
        }
    }

    /// Who the visitor is and what it may do there.
    async fn admit(&self, visit: &mut Visit, protocol: Protocol, room: &str) -> Result<Admission, Refused> {
        let later = |reason: &str| Refused::Response(Why::Unavailable, error_response(503, reason, Some(5)));
        if self.workers.shared.memory.is_full() {
            let full = error_response(503, MEMORY_FULL, Some(5));
            return Err(Refused::Response(Why::Limit, full));
        }
        let answer = match protocol {
            Protocol::JsonYjs => self.gate().admit_of_firm(&visit.head, room),
            _ => self.gate().admit(&visit.head, room),
        };
        let admitted = tokio::time::timeout_at(visit.deadline, answer).await;
        let admission = match admitted.unwrap_or(Err(Refusal::Later("access could not be checked in time"))) {
            Ok(admission) => admission,
            Err(Refusal::Closing(closing)) => return Err(Refused::Closing(protocol, closing)),
            Err(Refusal::Later(reason)) => return Err(later(reason)),
            Err(Refusal::Origin) => {
                return Err(Refused::Response(Why::Origin, error_response(403, COOKIE_ORIGIN, None)));
            }
        };
        if self.ledger().is_deleted(&RoomKind::Document.key(room)) {
            return Err(Refused::Closing(protocol, Closing::Deleted));
        }
        let admission = match protocol {
            Protocol::JsonYjs => drafting::claim(self, admission, room).await.map_err(|barred| match barred {
                Barred::Closing(closing) => Refused::Closing(protocol, closing),
                Barred::Limit(reached) => Refused::limit(&reached),
                Barred::Later(reason) => later(reason),
            })?,
            _ => admission,
        };
        if admission.standing.is_some() {
            visit.accepted.belongs_to(&admission.author).map_err(|reached| Refused::limit(&reached))?;
        }
        Ok(admission)
    }

    /// The same for a document of the y-sweet API. `room`: the document as rules about rooms call it.
    async fn admit_to_document(&self, visit: &mut Visit, document: &str, room: &str) -> Result<Admission, Refused> {
        if self.workers.shared.memory.is_full() {
            return Err(Refused::Response(Why::Limit, error_response(503, MEMORY_FULL, Some(5))));
        }
        let told = |status, detail: &str| {
            let text = rest::wrong(&self.config, detail);
            Refused::Response(Why::Credential, text_response(status, &text))
        };
        let token = visit.head.query_value("token");
        let admitted = self.documents.admit(token.as_deref(), document, room, self.clock.now_ms());
        let admission = admitted.map_err(|error| told(401, &error.to_string()))?;
        let missing = || told(404, &format!("Doc {document} not found"));
        if self.ledger().is_deleted(&RoomKind::Document.key(room)) {
            return Err(missing());
        }
        if admission.access == Access::Read {
            // Somebody who may only read makes nothing.
            match errand::exists(&self.workers.shared, room).await {
                Ok(true) => {}
                Ok(false) => return Err(missing()),
                Err(_) => {
                    let later = "it cannot be seen whether the document exists; try again later";
                    return Err(Refused::Response(Why::Unavailable, error_response(503, later, Some(5))));
                }
            }
        }
        if admission.is_one_user() {
            visit.accepted.belongs_to(&admission.author).map_err(|reached| Refused::limit(&reached))?;
        }
        Ok(admission)
    }

    /// Whose notebook a connection is for.
    async fn admit_owner(&self, visit: &mut Visit) -> Result<Owner, Refused> {
        if self.workers.shared.memory.is_full() {
            return Err(Refused::Response(Why::Limit, error_response(503, MEMORY_FULL, Some(5))));
        }
        let answer = self.notebooks.admit(&visit.head, self.is_secure(visit));
        let admitted = tokio::time::timeout_at(visit.deadline, answer).await;
        let owner = match admitted.unwrap_or(Err(Refusal::Later("access could not be checked in time"))) {
            Ok(owner) => owner,
            Err(Refusal::Closing(closing)) => return Err(Refused::Closing(Protocol::Notes, closing)),
            Err(Refusal::Later(reason)) => {
                return Err(Refused::Response(Why::Unavailable, error_response(503, reason, Some(5))));
            }
            Err(Refusal::Origin) => {
                return Err(Refused::Response(Why::Origin, error_response(403, COOKIE_ORIGIN, None)));
            }
        };
        if self.ledger().is_deleted(&RoomKind::Notebook.key(owner.notebook())) {
            return Err(Refused::Closing(Protocol::Notes, Closing::Deleted));
        }
        if owner.admission.standing.is_some() {
            let counted = visit.accepted.belongs_to(&owner.admission.author);
            counted.map_err(|reached| Refused::limit(&reached))?;
        }
        Ok(owner)
    }

    fn is_way_to_databases(&self, visit: &Visit) -> bool {
        matches!(route(visit.head.path(), &self.config.mounts), Route::Lobby(Protocol::RoomDb))
    }

    /// Which room database a connection is for, and who comes.
    async fn visitor_of_database(&self, visit: &Visit) -> Result<(String, ConsoleVisitor), Refused> {
        let now_ms = self.clock.now_ms();
        if let Err(retry_after_s) = self.accounts.may_request(visit.stream.address, now_ms) {
            let response =
                with_headers(&text_response(429, rest::TOO_MANY), &format!("retry-after: {retry_after_s}\r\n"));
            return Err(told_by_console(Why::Limit, &response));
        }
        let told = |status, text: &str| told_by_console(Why::Malformed, &text_response(status, text));
        let room = visit.head.form_value("room_id").ok_or_else(|| told(400, "Missing room_id query parameter"))?;
        if room.trim().is_empty() {
            let empty = error_response(400, "room_id parameter is required and must not be empty", None);
            return Err(told_by_console(Why::Malformed, &empty));
        }
        let room = Accounts::room_id(&room)
            .map_err(|error| told_by_console(Why::Malformed, &error_response(400, &error.to_string(), None)))?;
        let shown = Shown::of(&visit.head);
        let identified = tokio::time::timeout_at(visit.deadline, self.accounts.identify(&shown, room, now_ms)).await;
        let late = Err(ConsoleRefusal { status: 500, text: "Auth Error: it took too long".to_owned() });
        let visitor = identified.unwrap_or(late).map_err(|refusal| refused_visitor(&refusal))?;
        Ok((room.to_owned(), visitor))
    }

    /// Who comes to a room database, and on what terms.
    async fn admit_to_database(&self, visit: &mut Visit) -> Result<(String, Admission), Refused> {
        if self.workers.shared.memory.is_full() {
            return Err(Refused::Response(Why::Limit, error_response(503, MEMORY_FULL, Some(5))));
        }
        let (generation, withdrawals) = (self.gate().generation(), self.accounts.generation());
        let (room, visitor) = self.visitor_of_database(visit).await?;
        if self.ledger().is_deleted(&RoomKind::Database.key(&room)) {
            return Err(Refused::Closing(Protocol::RoomDb, Closing::Deleted));
        }
        self.may_make_database(&room, &visitor).await?;
        let now_ms = self.clock.now_ms();
        let may_enter = self.accounts.may_enter(&room, &visitor, now_ms).await;
        may_enter.map_err(|refusal| refused_visitor(&refusal))?;
        visit.accepted.belongs_to(&visitor.user).map_err(|reached| Refused::limit(&reached))?;
        Ok((room, Arc::new(visitor).admission(generation, withdrawals, now_ms)))
    }

    /// Counts a database that does not exist yet for who makes it. One that is somebody's was counted then, whether it exists or not.
    async fn may_make_database(&self, room: &str, visitor: &ConsoleVisitor) -> Result<(), Refused> {
        let Some(databases) = self.workers.shared.databases.clone() else { return Ok(()) };
        if self.accounts.is_registered(room) {
            return Ok(());
        }
        let name = room.to_owned();
        let looked = tokio::task::spawn_blocking(move || databases.exists(&name)).await;
        match looked.map_err(|error| error.to_string()).and_then(|found| found.map_err(|error| error.to_string())) {
            Ok(true) => Ok(()),
            Ok(false) => self.connections.may_make_room(&visitor.user).map_err(|reached| Refused::limit(&reached)),
            Err(error) => {
                tracing::error!(action = "store.error", error, "cannot look for a room database");
                let later = "the room database cannot be opened; try again later";
                Err(Refused::Response(Why::Unavailable, error_response(503, later, Some(5))))
            }
        }
    }

    /// Whether the client's side of the connection is encrypted, as far as that can be known.
    fn is_secure(&self, visit: &Visit) -> bool {
        let said = || origins::is_https(visit.head.header("x-forwarded-proto"));
        self.door.certificates.is_some() || visit.proxied && said()
    }

    /// Hands a connection to the worker of its room.
    fn enter(&self, visit: Visit, protocol: Protocol, room: &str, mut admission: Admission, cookie: Option<&str>) {
        let visitor = visitor(&visit.head, protocol, &mut admission);
        let Visit { stream, head, mut bytes, accepted, deadline, .. } = visit;
        let early = bytes.split_off(head.length);
        let extensions = self.config.websocket.deflate.then(|| accept_deflate(&head)).flatten();
        let mut hello = accept_response(&head, answered_subprotocol(&head, protocol), extensions);
        if let Some(cookie) = cookie {
            hello = with_headers(&hello, &format!("set-cookie: {cookie}\r\n"));
        }
        let deflate = extensions.is_some();
        let address = stream.address;
        let stream = match stream.into_stream() {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(action = "http.abandoned", %error, "connection is broken"),
        };
        let (room, deadline) = (protocol.room_kind().key(room).into(), deadline.into_std());
        let dialect = protocol.dialect(&self.config);
        self.workers.enter(Arrival {
            stream,
            address,
            room,
            dialect,
            session: None,
            admission,
            visitor,
            hello,
            deflate,
            early,
            accepted,
            deadline,
        });
    }

    /// Gives a socket that carries several documents a task of its own, which is smaller than that of a first request.
    async fn open_trunk(self: Arc<Self>, visit: Visit) {
        let Visit { mut stream, head, mut bytes, accepted, .. } = visit;
        let early = bytes.split_off(head.length);
        let hello = accept_response(&head, head.subprotocols().next(), None);
        if stream.write_all(&hello).await.is_ok() {
            let counted = self.trunks.one_more();
            let trunk = Box::new(Trunk::new(self, stream, head, accepted));
            tokio::spawn(async move {
                let _counted = counted;
                trunk.run(early).await;
            });
        }
    }

    async fn refuse(&self, mut visit: Visit, refused: Refused) {
        let (address, target) = (visit.stream.address, redact_query(&visit.head.target));
        let target = Printable(&target);
        match refused {
            Refused::Response(why, response) => {
                self.metrics.refused(why);
                tracing::debug!(action = "http.refused", requestId = visit.id, %address, %target, reason = ?why, "upgrade refused");
                let response = self.signed(&visit, &response);
                refuse(&mut visit.stream, &response).await;
            }
            Refused::Closing(protocol, closing) => {
                self.metrics.refused(Why::Credential);
                let dialect = protocol.dialect(&self.config);
                if let Some(refusal) = dialect.refusal(&closing) {
                    tracing::info!(action = "ws.refused", requestId = visit.id, %address, %target, status = refusal.status, reason = refusal.body);
                    let response = self.signed(&visit, &refusal_response(&refusal));
                    return refuse(&mut visit.stream, &response).await;
                }
                let farewell = dialect.farewell(&closing);
                tracing::info!(action = "ws.refused", requestId = visit.id, %address, %target, reason = farewell.reason);
                self.say_farewell(visit, protocol, farewell).await;
            }
        }
    }

    /// Completes the handshake only to say why the client may not enter: a page cannot see the status of a failed one.
    async fn say_farewell(&self, mut visit: Visit, protocol: Protocol, farewell: Farewell) {
        let mut hello = accept_response(&visit.head, answered_subprotocol(&visit.head, protocol), None);
        hello.extend(farewell.message.iter().flat_map(encode_message));
        if visit.stream.write_all(&hello).await.is_ok() {
            // Kept for a while, because older clients come back at once; but not at any price.
            if let Some(_place) = self.connections.farewell() {
                tokio::time::sleep(Duration::from_millis(farewell.delay_ms)).await;
            }
            refuse(&mut visit.stream, &close_frame(farewell.code.unwrap_or(1000), &farewell.reason)).await;
        }
    }

    /// A response with the headers that all have.
    fn signed(&self, visit: &Visit, response: &[u8]) -> Vec<u8> {
        let cors = origins::cors_headers(&self.config.origins.allowed, visit.head.header("origin"));
        let headers = format!("x-request-id: {}\r\nx-content-type-options: nosniff\r\n{cors}", visit.id);
        with_headers(response, &headers)
    }

    fn health(&self) -> Health {
        let ready = !*self.workers.stopping().borrow();
        let rooms = self.workers.shared.occupied.load(Ordering::Acquire);
        Health { connections: self.connections.count(), rooms, ready }
    }
}

/// An answer to a client of room databases.
fn told_by_console(why: Why, response: &[u8]) -> Refused {
    Refused::Response(why, with_headers(response, rest::CONSOLE_HEADERS))
}

fn refused_visitor(refusal: &ConsoleRefusal) -> Refused {
    told_by_console(Why::Credential, &text_response(refusal.status, &refusal.text))
}

/// Done a moment after the server was told to stop: time enough for a request that is on its way, and an idle connection delays nothing.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the server is gone altogether.
    let _ = shutdown.wait_for(|stopping| *stopping).await;
    tokio::time::sleep(LAST_REQUEST).await;
}

/// Reads up to the end of the first request's head, and returns it with all that was read. None: the client left.
async fn read_head(stream: &mut Incoming) -> Result<Option<(RequestHead, Vec<u8>)>, HeadError> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
        if let Some(head) = parse(&bytes)? {
            return Ok(Some((head, bytes)));
        }
    }
}

/// The subprotocol that the answer names: of those that a client offers the first one, unless its dialect says another.
fn answered_subprotocol(head: &RequestHead, protocol: Protocol) -> Option<&str> {
    match protocol {
        Protocol::Notes => notes_subprotocol(head),
        _ => head.subprotocols().next(),
    }
}

/// What a client says about itself, where its dialect asks. While nobody has to prove who they are, that is also who it is.
fn visitor(head: &RequestHead, protocol: Protocol, admission: &mut Admission) -> Visitor {
    let mut visitor = Visitor { name: admission.name.take(), ..Visitor::default() };
    if protocol == Protocol::Notes {
        // What cannot be read is as if it were not there: then everything comes.
        let since = head.query_value("since").and_then(|since| dialect::notes::instant::parse(&since));
        visitor.since_ms = since.map(|since_ms| u64::try_from(since_ms).unwrap_or(0));
    }
    if protocol == Protocol::Sessions {
        let said = |name| head.query_value(name).filter(|value| is_name(value));
        visitor.presence_id =
            head.query_value("client_id").and_then(|id| id.parse().ok()).filter(|id| (1..1 << 53).contains(id));
        if admission.trusts_all && admission.standing.is_none() {
            admission.author = said("user_id").map_or(admission.author.clone(), Author::from);
            visitor.name = said("user_name").or_else(|| Some("Anonymous".to_owned()));
        }
    }
    visitor
}

/// What people may be called: as in a token.
fn is_name(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Answers and closes. Whether the client still reads it is its own affair.
async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), response: &[u8]) {
    if stream.write_all(response).await.is_ok() {
        let _ = stream.shutdown().await;
        // What the client has sent meanwhile would turn the close into a reset that overtakes the response.
        let (mut rest, mut left) = (vec![0; REFUSED_READ_BYTES], REFUSED_BYTES_MAX);
        let drained = async {
            while left > 0
                && let Ok(count @ 1..) = stream.read(&mut rest).await
            {
                left = left.saturating_sub(count);
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), drained).await;
    }
}
