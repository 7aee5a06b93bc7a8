//! A socket that carries several documents: the addresses of its messages say for which.
//!
//! Served by a task of its own. Each document is a channel to the worker of its room, where it is a connection like any other; here its messages get and
//! lose their address, and what comes before a document is accepted waits. Asks the gate for each document. Decides nothing about rooms, and knows
//! of the protocol what the dialect's switchboard says.

use crate::address::ClientAddress;
use crate::auth::{Admission, Refusal};
use crate::channel::{Ended, Far, channel};
use crate::connections::{Accepted, Reached};
use crate::frames::header_of;
use crate::liveness::{Due, Liveness, Seen};
use crate::logging::Printable;
use crate::request::RequestHead;
use crate::room_kind::RoomKind;
use crate::routes::Protocol;
use crate::transport::{Incoming, Stream};
use crate::upgrade::Entrance;
use crate::websocket::{
    Decoder, Inflater, Message, Opcode, append_frame, close_frame, frame_header, ping_frame, pong_frame,
};
use crate::worker::{Arrival, Visitor};
use bytes::{Bytes, BytesMut};
use dialect::{Frame, HOCUSPOCUS, Routed, Switchboard};
use room::Closing;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes of one read. The buffer belongs to the thread, so that an idle socket holds none.
const READ_BYTES: usize = 64 << 10;
/// What waits for the socket, above which no channel is emptied: then they fill up, and their members lose their places.
const UNSENT_BYTES_MAX: usize = 256 << 10;
/// Of what is out already and still in memory with the rest.
const WRITTEN_BYTES_MAX: usize = 64 << 10;
/// Longest header of a frame out of a channel: with so many bytes it can be read, whatever follows.
const HEADER_BYTES_MAX: usize = 10;
/// Documents of one socket. Each is a member of a room, and the socket's task looks at all of them.
const DOCUMENTS_MAX: usize = 256;
/// Of the trunk's own answers, pongs and refusals, above which the socket is not read: a client that only asks would have them pile up.
const ANSWERS_BYTES_MAX: usize = 64 << 10;
const TOO_MANY_DOCUMENTS: Reached =
    Reached { limit: "a socket has at most 256 documents; open another one", retry_after_s: 5 };
/// Limits that one room or user has reached, as refusals begin.
const OF_ONE_DOCUMENT: [&str; 2] = ["limits.room_connections_max", "limits.user_rooms_per_h"];
/// As the dialect says it.
const SHUTTING_DOWN: &str = "server shutting down";
/// How long the last frames may take, and then the client's own close.
const ENDING: Duration = Duration::from_secs(5);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// One socket.
pub(crate) struct Trunk {
    entrance: Arc<Entrance>,
    wire: Wire,
    address: ClientAddress,
    head: RequestHead,
    accepted: Accepted,
    board: Switchboard,
    /// By the switchboard's lines.
    links: Vec<Option<Link>>,
    asking: JoinSet<(usize, String, Result<Admission, Refusal>)>,
    news: Arc<Notify>,
    decoder: Decoder,
    /// The link that has begun a message: nothing may come between.
    speaking: Option<usize>,
    /// Frames of the trunk's own that came meanwhile.
    waiting: Vec<Bytes>,
    /// Bytes of its own answers since everything was out the last time.
    answers_bytes: usize,
    /// Where the links were emptied up to the last time: each begins in its turn.
    turn: usize,
    liveness: Liveness,
    said: u64,
    counted: Counted,
    opened_ms: u64,
    /// A document was accepted.
    has_been_in: bool,
    ended: Option<(u16, String)>,
    /// The client is gone.
    is_gone: bool,
}

/// How many trunks there are.
#[derive(Debug)]
pub(crate) struct Trunks(watch::Sender<usize>);

/// Counts as one until dropped.
#[derive(Debug)]
pub(crate) struct OneMore(watch::Sender<usize>);

impl Default for Trunks {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Trunks {
    pub(crate) fn one_more(&self) -> OneMore {
        self.0.send_modify(|count| *count += 1);
        OneMore(self.0.clone())
    }

    /// Done when there is none.
    pub(crate) async fn gone(&self) {
        // This side of it stays.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// The socket, and what is still to be written to it.
struct Wire {
    stream: Incoming,
    unsent: Vec<u8>,
    /// So much of that is out.
    written: usize,
    taken_bytes: u64,
}

/// What it holds, in the budget of memory.
struct Counted {
    entrance: Arc<Entrance>,
    bytes: u64,
}

impl Counted {
    fn change(&mut self, bytes: u64) {
        self.bytes = self.entrance.workers.shared.memory.change(self.bytes, bytes);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.change(0);
    }
}

/// One document's way to its room.
struct Link {
    far: Far,
    /// Taken from the channel, and not told yet: at most what that holds, and a header.
    pending: Vec<u8>,
    /// Of the message that has been begun.
    left: usize,
    prefix: Vec<u8>,
    ended: Option<Ended>,
}

/// What one look at the socket brought.
enum Brought {
    Bytes(Vec<u8>),
    /// Something was written.
    Wrote,
    Gone,
}

impl Wire {
    fn is_empty(&self) -> bool {
        self.written == self.unsent.len()
    }

    /// So much waits that no more is to be added.
    fn is_full(&self) -> bool {
        self.unsent.len() - self.written >= UNSENT_BYTES_MAX
    }

    /// Writes what waits, and reads if it may.
    async fn io(&mut self, reads: bool) -> Brought {
        poll_fn(|cx| self.poll_io(reads, cx)).await
    }

    fn poll_io(&mut self, reads: bool, cx: &mut Context<'_>) -> Poll<Brought> {
        let mut wrote = false;
        while self.written < self.unsent.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent[self.written..]) {
                Poll::Ready(Ok(count @ 1..)) => {
                    (self.written, self.taken_bytes, wrote) =
                        (self.written + count, self.taken_bytes + count as u64, true);
                }
                Poll::Ready(_) => return Poll::Ready(Brought::Gone),
                Poll::Pending => break,
            }
        }
        if self.is_empty() {
            (self.unsent, self.written) = (Vec::new(), 0);
        } else if self.written >= WRITTEN_BYTES_MAX {
            // More is put behind it all the time.
            self.unsent.drain(..self.written);
            self.written = 0;
        }
        if wrote {
            return Poll::Ready(Brought::Wrote);
        }
        if !reads {
            return Poll::Pending;
        }
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    Poll::Ready(Brought::Bytes(buffer.filled().to_vec()))
                }
                Poll::Ready(_) => Poll::Ready(Brought::Gone),
                Poll::Pending => Poll::Pending,
            }
        })
    }
}

impl Trunk {
    pub(crate) fn new(entrance: Arc<Entrance>, stream: Incoming, head: RequestHead, accepted: Accepted) -> Self {
        let now_ms = entrance.clock.now_ms();
        let frame_bytes_max = entrance.config.limits.frame_bytes_max as usize;
        let counted = Counted { entrance: entrance.clone(), bytes: 0 };
        Self {
            entrance,
            address: stream.address,
            wire: Wire { stream, unsent: Vec::new(), written: 0, taken_bytes: 0 },
            head,
            accepted,
            board: Switchboard::default(),
            links: Vec::new(),
            asking: JoinSet::new(),
            news: Arc::new(Notify::new()),
            decoder: Decoder::new(frame_bytes_max, false),
            speaking: None,
            waiting: Vec::new(),
            answers_bytes: 0,
            turn: 0,
            liveness: Liveness::new(now_ms),
            said: 0,
            counted,
            opened_ms: now_ms,
            has_been_in: false,
            ended: None,
            is_gone: false,
        }
    }

    /// Serves it until its end. `early`: what came behind the request.
    pub(crate) async fn run(mut self: Box<Self>, early: Vec<u8>) {
        self.accepted.opened();
        self.hear(&early);
        let (mut stopping, news) = (self.entrance.workers.stopping(), self.news.clone());
        // Rarely: thousands of these may be idle.
        let wait = Duration::from_millis((self.entrance.config.shortest_wait_ms() / 4).max(1));
        let lobby_ends = Instant::now() + Duration::from_millis(self.entrance.config.hocuspocus.lobby_ms);
        let mut look_at = lobby_ends.min(Instant::now() + wait);
        while self.ended.is_none() && !self.is_gone {
            self.collect();
            let reads = self.may_read();
            tokio::select! {
                brought = self.wire.io(reads) => match brought {
                    Brought::Bytes(bytes) => self.hear(&bytes),
                    Brought::Wrote => {}
                    Brought::Gone => self.is_gone = true,
                },
                () = news.notified() => {}
                Some(answered) = self.asking.join_next() => {
                    if let Ok((line, room, answer)) = answered {
                        self.answered(line, room, answer);
                    }
                }
                () = tokio::time::sleep_until(look_at) => {
                    let next = Instant::now() + wait;
                    look_at = if self.has_been_in || lobby_ends <= Instant::now() { next } else { lobby_ends.min(next) };
                    self.keep_time();
                }
                // Those who are in rooms are told by these.
                _ = stopping.wait_for(|stopping| *stopping), if self.links.iter().all(Option::is_none) => {
                    self.end(1001, SHUTTING_DOWN);
                }
            }
        }
        self.close().await;
    }

    /// It is not read while a document's channel is full, because its messages cannot go anywhere, or while it does not take its answers.
    fn may_read(&self) -> bool {
        !self.has_many_answers() && self.links.iter().flatten().all(|link| link.far.may_send())
    }

    fn has_many_answers(&self) -> bool {
        self.answers_bytes > ANSWERS_BYTES_MAX
    }

    /// Ends with this code. The first one counts.
    fn end(&mut self, code: u16, reason: &str) {
        self.ended.get_or_insert_with(|| (code, reason.to_owned()));
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        let (count, now_ms) = (bytes.len(), self.entrance.clock.now_ms());
        let (mut arena, mut inflater) = (BytesMut::with_capacity(count), Inflater::default());
        let mut completed = false;
        while self.ended.is_none() {
            match self.decoder.decode(&mut bytes, &mut arena, &mut inflater) {
                Ok(None) => break,
                Ok(Some(Message::Binary(frame))) => {
                    completed = true;
                    let routed = self.board.receive(&frame);
                    self.route(routed);
                }
                Ok(Some(Message::Text(_))) => self.end(1003, "text frames are not part of this protocol"),
                Ok(Some(Message::Ping(payload))) => self.say_raw(&pong_frame(&payload)),
                Ok(Some(Message::Pong(_))) => {}
                Ok(Some(Message::Close { code, .. })) => {
                    self.end(code.unwrap_or(1000), "");
                }
                Err(error) => {
                    let reason =
                        if error.close_code() == 1009 { "Message Too Big".to_owned() } else { error.to_string() };
                    self.end(error.close_code(), &reason);
                }
            }
        }
        self.liveness.answered = true;
        self.liveness.read(count, completed, !self.decoder.is_idle(), now_ms);
    }

    fn route(&mut self, routed: Routed) {
        match routed {
            Routed::Nothing => {}
            Routed::To(line, body) => {
                if let Some(Some(link)) = self.links.get(line) {
                    link.far.send(Frame::Binary(body));
                }
            }
            Routed::Asks { line, document, token } => self.ask(line, document, token),
            Routed::Reply(message) => self.say(&message),
            Routed::Close(code, reason) => self.end(code, reason),
        }
    }

    /// Has the gate look at a token.
    fn ask(&mut self, line: usize, document: String, token: String) {
        if let Err(reached) = self.entrance.connections.may_ask(self.address) {
            tracing::debug!(action = "http.refused", address = %self.address, reason = reached.limit);
            return self.end(1013, "try again later");
        }
        let room = self.entrance.config.room_named(&document, HOCUSPOCUS.name());
        let (gate, head) = (self.entrance.gate().clone(), self.head.clone());
        self.asking.spawn(async move {
            // A client without a token may have shown who it is in its request.
            let answer = match token.is_empty() {
                true => gate.admit(&head, &room).await,
                false => gate.present(&token, &room).await,
            };
            (line, room, answer)
        });
    }

    fn answered(&mut self, line: usize, room: String, answer: Result<Admission, Refusal>) {
        match answer {
            Ok(_) if self.entrance.ledger().is_deleted(&RoomKind::Document.key(&room)) => {
                self.refuse(line, &Closing::Deleted);
            }
            Ok(admission) => self.connect(line, &room, admission),
            Err(Refusal::Closing(closing)) => self.refuse(line, &closing),
            Err(Refusal::Later(_)) => self.end(1013, "try again later"),
            Err(Refusal::Origin) => self.end(4403, "Forbidden"),
        }
    }

    fn refuse(&mut self, line: usize, closing: &Closing) {
        let reason = HOCUSPOCUS.refusal(closing).map_or("permission-denied".to_owned(), |refusal| refusal.body);
        self.deny(line, &reason);
    }

    fn deny(&mut self, line: usize, reason: &str) {
        let follows = self.board.refuse(line, reason);
        follows.into_iter().for_each(|routed| self.route(routed));
    }

    /// Opens a document's way to its room. What came for it before goes first.
    fn connect(&mut self, line: usize, room: &str, admission: Admission) {
        let Some(queue) = self.board.accept(line) else { return };
        let mut accepted = self.entrance.connections.companion();
        let counted = match self.links.iter().flatten().count() {
            DOCUMENTS_MAX => Err(TOO_MANY_DOCUMENTS),
            _ => accepted.takes_place(self.address),
        };
        let counted = match counted {
            Ok(()) if admission.is_one_user() => accepted.belongs_to(&admission.author),
            counted => counted,
        };
        if let Err(reached) = counted {
            tracing::info!(action = "ws.refused", address = %self.address, room = %Printable(room), reason = reached.limit);
            return self.deny(line, "permission-denied");
        }
        let (near, far) = channel(self.news.clone());
        for body in queue {
            far.send(Frame::Binary(body));
        }
        let link = Link { far, pending: Vec::new(), left: 0, prefix: self.board.prefix(line), ended: None };
        if self.links.len() <= line {
            self.links.resize_with(line + 1, || None);
        }
        self.links[line] = Some(link);
        self.entrance.workers.enter(Arrival {
            stream: Stream::Channel(near),
            address: self.address,
            room: RoomKind::Document.key(room).into(),
            dialect: Protocol::Hocuspocus.dialect(&self.entrance.config),
            session: None,
            admission,
            visitor: Visitor::default(),
            hello: Vec::new(),
            deflate: false,
            early: Vec::new(),
            accepted,
            deadline: std::time::Instant::now() + Duration::from_millis(self.entrance.config.handshake_ms),
        });
    }

    /// Takes what the rooms have said, each link in its turn, as much as may wait for the socket.
    fn collect(&mut self) {
        if self.wire.is_empty() && self.waiting.is_empty() {
            self.answers_bytes = 0;
        }
        if let Some(line) = self.speaking {
            if self.wire.is_full() {
                return;
            }
            self.collect_from(line);
        }
        let (count, first) = (self.links.len(), self.turn);
        for step in 0..count {
            // What waits behind many answers waits for these; the rest of a message that was begun is on the way.
            if self.speaking.is_some() || self.wire.is_full() || self.has_many_answers() {
                return;
            }
            let line = (first + step) % count;
            self.turn = line + 1;
            self.collect_from(line);
        }
    }

    fn collect_from(&mut self, line: usize) {
        let Some(Some(link)) = self.links.get_mut(line) else { return };
        // What was kept back goes first.
        if link.ended.is_none() && link.pending.len() < HEADER_BYTES_MAX {
            link.ended = link.far.take(&mut link.pending);
        }
        let (mut at, mut keeps_back) = (0, false);
        while at < link.pending.len() {
            if link.left == 0 && self.ended.is_some() {
                // Nothing more is begun.
                break;
            }
            if link.left == 0 && self.wire.is_full() {
                // Each message becomes longer by its address: all of them together might be hundreds of times what the channel had.
                keeps_back = true;
                break;
            }
            if link.left == 0 {
                let Some((opcode, header, payload)) = header_of(&link.pending[at..]) else { break };
                debug_assert_eq!(opcode, Opcode::Binary as u8, "all messages of this dialect are");
                let (own, own_len) = frame_header(Opcode::Binary, link.prefix.len() + payload);
                self.wire.unsent.extend_from_slice(&own[..own_len]);
                self.wire.unsent.extend_from_slice(&link.prefix);
                (at, link.left) = (at + header, payload);
                self.said += 1;
                self.has_been_in = true;
            }
            let part = link.left.min(link.pending.len() - at);
            self.wire.unsent.extend_from_slice(&link.pending[at..at + part]);
            (at, link.left) = (at + part, link.left - part);
        }
        if at == link.pending.len() {
            link.pending = Vec::new();
        } else {
            link.pending.drain(..at);
        }
        self.speaking = (link.left > 0).then_some(line);
        if self.speaking.is_none() {
            self.waiting.drain(..).for_each(|frame| self.wire.unsent.extend_from_slice(&frame));
        }
        if keeps_back {
            // Its turn is not over, so that no more than one link keeps something.
            self.turn = line;
            return;
        }
        let Some(Some(link)) = self.links.get_mut(line) else { return };
        if let Some(ended) = link.ended.clone() {
            self.ended_link(line, ended);
        }
    }

    /// A document has ended. All that its room has said is told.
    fn ended_link(&mut self, line: usize, ended: Ended) {
        let unread = self.links[line].take().map(|link| link.far.unread()).unwrap_or_default();
        if self.speaking.take().is_some() {
            // What was begun will never be whole.
            self.is_gone = true;
            return;
        }
        match ended {
            Ended::Document => {
                let unread = unread.iter().map(|frame| frame.payload().clone());
                let next_life = self.board.close(line, unread);
                next_life.into_iter().for_each(|routed| self.route(routed));
            }
            Ended::Refused(status, reason, _) if status < 500 => self.deny(line, &reason),
            // Rooms of other threads may still have to say what is saved; each ends its link, and the last of them this socket.
            Ended::Connection(1001, _) | Ended::Refused(..) if *self.entrance.workers.stopping().borrow() => {
                if self.links.iter().all(Option::is_none) {
                    self.end(1001, SHUTTING_DOWN);
                }
            }
            Ended::Connection(code, reason) => self.end(code, &reason),
            // That one document has reached a limit is no reason for the others to end.
            Ended::Refused(_, reason, _) if OF_ONE_DOCUMENT.iter().any(|limit| reason.starts_with(limit)) => {
                self.deny(line, "permission-denied");
            }
            Ended::Refused(..) => self.end(1013, "try again later"),
        }
    }

    fn keep_time(&mut self) {
        let (now_ms, config) = (self.entrance.clock.now_ms(), self.entrance.config.clone());
        let links = self.links.iter().flatten().map(|link| link.pending.capacity() + size_of::<Link>());
        let waiting = self.waiting.iter().map(Bytes::len).sum::<usize>() + self.decoder.buffered_bytes();
        let bytes = self.board.bytes() + self.wire.unsent.capacity() + links.sum::<usize>() + waiting;
        self.counted.change((bytes + size_of::<Self>()) as u64);
        if !self.has_been_in && now_ms - self.opened_ms >= config.hocuspocus.lobby_ms {
            return self.end(4408, "Connection Timeout");
        }
        let seen = Seen {
            reads: self.may_read(),
            stalled: !self.wire.is_empty(),
            taken_bytes: self.wire.taken_bytes,
            said: self.said,
        };
        let patience = config.patience(HOCUSPOCUS.name());
        match self.liveness.due(seen, patience, config.keep_alive_ms, now_ms, &config) {
            Due::Say { ping, keep_alive } => {
                if ping {
                    self.say_raw(&ping_frame(&[]));
                }
                if keep_alive && let Some(line) = self.board.any_accepted() {
                    let message = [&self.board.prefix(line)[..], HOCUSPOCUS.keep_alive().unwrap_or_default()].concat();
                    self.say(&message);
                }
            }
            Due::End(closing) => {
                let farewell = HOCUSPOCUS.farewell(&closing);
                self.end(farewell.code.unwrap_or(1000), &farewell.reason);
            }
            Due::Drop => self.is_gone = true,
        }
    }

    /// Sends a message.
    fn say(&mut self, message: &[u8]) {
        let mut frame = Vec::new();
        append_frame(Opcode::Binary, message, &mut frame);
        self.said += 1;
        self.say_raw(&Bytes::from(frame));
    }

    /// Sends a frame, behind the message that has been begun.
    fn say_raw(&mut self, frame: &Bytes) {
        self.answers_bytes += frame.len();
        if self.speaking.is_none() {
            self.wire.unsent.extend_from_slice(frame);
        } else {
            self.waiting.push(frame.clone());
        }
    }

    /// Sends the rest of a message that was begun: a close frame cannot come before it.
    async fn finish_message(&mut self) {
        let news = self.news.clone();
        while let Some(line) = self.speaking.filter(|_| !self.is_gone) {
            if self.wire.is_full() {
                self.is_gone = matches!(self.wire.io(false).await, Brought::Gone);
                continue;
            }
            self.collect_from(line);
            if self.speaking.is_some() {
                tokio::select! {
                    brought = self.wire.io(false) => self.is_gone = matches!(brought, Brought::Gone),
                    () = news.notified() => {}
                }
            }
        }
    }

    /// Writes what is left and the close frame, and waits for the client's.
    async fn close(mut self: Box<Self>) {
        self.asking.abort_all();
        if let Some((code, reason)) = &self.ended {
            tracing::debug!(action = "ws.closed", address = %self.address, code, reason);
        }
        // Who takes nothing of it in all this time is told nothing more.
        let _ = tokio::time::timeout(ENDING, self.finish_message()).await;
        let ended = self.ended.take();
        let Some((code, reason)) = ended.filter(|_| !self.is_gone && self.speaking.is_none()) else { return };
        self.links.clear();
        let wire = &mut self.wire;
        wire.unsent.extend_from_slice(&close_frame(code, &reason));
        let last = async {
            while !wire.unsent.is_empty() {
                if let Brought::Gone = wire.io(false).await {
                    return;
                }
            }
            if wire.stream.shutdown().await.is_ok() {
                // Unread bytes would turn the close into a reset, and the client might never see the reason.
                while let Brought::Bytes(_) = wire.io(true).await {}
            }
        };
        let _ = tokio::time::timeout(ENDING, last).await;
    }
}
