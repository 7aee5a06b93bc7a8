//! One thread that serves some of the rooms, with all their sockets: reads what is there, lets the rooms decide, writes once, tells everybody, and begins again.
//!
//! ```text
//! a turn:  wait -> messages, timers -> read ready sockets -> changes of all rooms to the log -> effects into rings and outboxes -> flush
//! ```
//!
//! What comes in while a turn lasts is the next turn's batch, so load makes batches larger and nobody waits for a timer. A room's members are offered
//! what it publishes in passes that can be interrupted; meanwhile it is not read, and other rooms are. Waits for nothing but its poll and the log's write.

mod databases;
mod flush;
mod inbox;
mod pauses;
mod rooms;
mod terms;

pub(crate) use inbox::{Arrival, Content, Inbox, MakeSession, Message, Visitor};
pub(crate) use terms::{Command, Terms, What, Whom};

use crate::allowance::PerSecond;
use crate::host::{Host, Open, find};
use crate::slots::RoomId;
use crate::socket::{Read, Socket, Stage};
use crate::stateless::{Recipient, Reply, Sender};
use crate::websocket::{Deflater, Inflater};
use crate::workers::Shared;
use bytes::{Bytes, BytesMut};
use dialect::{ANNOUNCEMENTS, Act};
use mio::{Events, Poll, Token};
use pauses::Pauses;
use room::{Closing, Event, Input, MemberId};
use slab::Slab;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::RoomKey;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// After so long in reading messages, and again in reading sockets, the turn goes on: what is left is the next turn's.
const READING: Duration = Duration::from_millis(2);
/// Readiness taken over in one turn.
const EVENTS_MAX: usize = 1_024;
/// Stateless messages of one connection that the application has not answered; with more, what the client says waits.
const HANDED_OVER_MAX: u16 = 16;
/// How often the sockets are looked at, at most.
const SWEEP_MAX: Duration = Duration::from_millis(500);
/// The inbox's place among the sockets' tokens.
pub(crate) const INBOX: Token = Token(usize::MAX - 1);

/// Something that is to be done at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The room may go if it is still empty.
    Unload(RoomId),
    /// The socket may be read again.
    Renew(MemberId),
    /// The room's presence is to be told.
    Presence(RoomId),
    /// The terms on which the socket is here are to be looked at.
    Terms(MemberId),
    /// The room has something to do at this time, in milliseconds since the Unix epoch.
    Alarm(RoomId, u64),
}

/// One thread's rooms and sockets.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    poll: Poll,
    sockets: Slab<Socket>,
    rooms: Slab<Host>,
    table: HashMap<RoomKey, RoomId>,
    pauses: Pauses,
    room_serial: u32,
    /// Sockets that may have something to read.
    ready: VecDeque<usize>,
    /// Sockets whose outboxes have got something.
    told: VecDeque<usize>,
    /// Rooms that have handled inputs, or have news from the disk.
    dirty: Vec<RoomId>,
    /// Rooms whose members are being offered what was published.
    passes: VecDeque<RoomId>,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    next_sweep: Instant,
    sweep_every: Duration,
    buffer: Vec<u8>,
    /// Memory for messages; taken again when all of them are gone.
    arena: BytesMut,
    /// What a compressed connection needs, once for all of them: between two messages it keeps nothing.
    inflater: Inflater,
    deflater: Deflater,
    acts: Vec<Act>,
    /// Messages not read yet; `incoming` is memory to fetch them with.
    messages: VecDeque<Message>,
    incoming: Vec<Message>,
    /// No room takes inputs any more.
    stopping: bool,
    /// Of this what was accepted is on its way to the disk for the last time.
    flushing: Vec<Content>,
    /// Ends when the last socket is gone.
    finishing: bool,
    /// What its sockets were counted for in the budget of memory.
    socket_bytes: u64,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, inbox: Arc<Inbox>, poll: Poll) -> Self {
        let config = &shared.config;
        let shortest_ms = config.shortest_wait_ms();
        let deflater = Deflater::new(config.websocket.deflate_bytes_min as usize);
        let sweep_every = Duration::from_millis((shortest_ms / 4).max(1)).min(SWEEP_MAX);
        Self {
            shared,
            inbox,
            poll,
            sockets: Slab::new(),
            rooms: Slab::new(),
            table: HashMap::new(),
            pauses: Pauses::default(),
            room_serial: 0,
            ready: VecDeque::new(),
            told: VecDeque::new(),
            dirty: Vec::new(),
            passes: VecDeque::new(),
            timers: BinaryHeap::new(),
            next_sweep: Instant::now() + sweep_every,
            sweep_every,
            buffer: vec![0; READ_BYTES],
            arena: BytesMut::with_capacity(READ_BYTES),
            inflater: Inflater::default(),
            deflater,
            acts: Vec::new(),
            messages: VecDeque::new(),
            incoming: Vec::new(),
            stopping: false,
            flushing: Vec::new(),
            finishing: false,
            socket_bytes: 0,
        }
    }

    /// Takes turns until it is told to end.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            match self.poll.poll(&mut events, Some(self.patience())) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    // Not one of the errors that a poll can have; without it nothing can be served.
                    tracing::error!(action = "server.error", %error, "cannot wait for sockets");
                    return;
                }
                _ => {}
            }
            for event in &events {
                self.note(event);
            }
            if !self.read_messages() {
                return;
            }
            self.keep_time();
            self.serve_ready();
            self.settle();
            self.flush();
            if self.finishing && self.flushing.is_empty() && self.sockets.is_empty() && self.messages.is_empty() {
                return;
            }
        }
    }

    /// How long to wait for sockets.
    fn patience(&self) -> Duration {
        let has_work = !(self.ready.is_empty()
            && self.told.is_empty()
            && self.dirty.is_empty()
            && self.passes.is_empty()
            && self.messages.is_empty());
        if has_work {
            return Duration::ZERO;
        }
        let next = self.timers.peek().map_or(self.next_sweep, |Reverse((at, _))| self.next_sweep.min(*at));
        next.saturating_duration_since(Instant::now())
    }

    fn note(&mut self, event: &mio::event::Event) {
        let slot = event.token().0;
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        if event.is_read_closed() || event.is_error() {
            (socket.hung_up, socket.readable) = (true, true);
        }
        socket.readable |= event.is_readable();
        if event.is_writable() && socket.outbox.is_stalled() {
            socket.outbox.is_writable();
            self.told.push_back(slot);
        }
        if socket.readable {
            self.reconsider(slot);
        }
    }

    /// False: end now.
    fn read_messages(&mut self) -> bool {
        self.inbox.take(&mut self.incoming);
        self.messages.extend(self.incoming.drain(..));
        let until = Instant::now() + READING;
        while let Some(message) = self.messages.pop_front() {
            match message {
                Message::Arrival(arrival) => self.arrive(*arrival),
                Message::Loaded(id, loaded) => self.loaded(id, loaded),
                Message::Durable(id) => {
                    if let Some(open) = self.open_room(id) {
                        open.bell_has_rung();
                        self.touch(id);
                    }
                }
                Message::Compacted(id, snapshot_bytes) => {
                    let now_ms = self.shared.clock.now_ms();
                    self.guarded(id, |worker| {
                        if let Some(open) = worker.open_room(id) {
                            open.compacted(snapshot_bytes, now_ms);
                        }
                    });
                    self.touch(id);
                }
                Message::Answered(id, ticket, outcome) => self.answered(id, ticket, outcome),
                Message::Confirmed(member, serial, answer) => self.confirmed(member, serial, answer),
                Message::Renewed(member, answer) => self.renewed(member, answer),
                Message::HandedOver(member, reply) => self.handed_over(member, reply),
                Message::Rung(member) => self.rung(member),
                Message::Command(command) => self.obey(*command),
                Message::Stop => self.stop(),
                Message::Flushed(content, result) => self.flushed_all(content, &result),
                Message::Finish => self.finishing = true,
                Message::Abort => return false,
            }
            if Instant::now() >= until {
                break;
            }
        }
        if self.messages.is_empty() {
            self.messages.shrink_to(EVENTS_MAX);
            self.incoming.shrink_to(EVENTS_MAX);
        }
        true
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        while self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            match self.timers.pop() {
                Some(Reverse((_, Timer::Unload(id)))) => self.unload(id, now),
                Some(Reverse((_, Timer::Renew(member)))) => {
                    let slot = crate::slots::slot_of(member);
                    if let Some(socket) = self.sockets.get_mut(slot).filter(|socket| socket.member == member) {
                        socket.renewing = false;
                        self.reconsider(slot);
                    }
                }
                Some(Reverse((_, Timer::Presence(id)))) => {
                    if let Some(open) = self.open_room(id) {
                        open.presence_came_due();
                        self.touch(id);
                    }
                }
                Some(Reverse((_, Timer::Terms(member)))) => self.terms_due(member, now),
                Some(Reverse((_, Timer::Alarm(id, at_ms)))) => self.alarm(id, at_ms),
                None => {}
            }
        }
        if now >= self.next_sweep {
            self.next_sweep = now + self.sweep_every;
            self.sweep(now);
        }
    }

    fn open_room(&mut self, id: RoomId) -> Option<&mut Open> {
        open_room(&mut self.rooms, id)
    }

    /// Notes that a room has something to settle in this turn.
    fn touch(&mut self, id: RoomId) {
        if let Some(open) = open_room(&mut self.rooms, id)
            && !std::mem::replace(&mut open.is_dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// Puts a socket that may have something to say into the list of those to be served.
    fn reconsider(&mut self, slot: usize) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        if socket.has_input() && !std::mem::replace(&mut socket.queued, true) {
            self.ready.push_back(slot);
        }
    }

    fn serve_ready(&mut self) {
        let until = Instant::now() + READING;
        for _ in 0..self.ready.len() {
            if Instant::now() >= until {
                return;
            }
            let Some(slot) = self.ready.pop_front() else { return };
            let Some(socket) = self.sockets.get_mut(slot) else { continue };
            socket.queued = false;
            match socket.stage {
                // A client that leaves during the handshake costs nothing more.
                Stage::Waiting(_) if socket.hung_up => self.remove(slot),
                Stage::Waiting(_) => {}
                Stage::Open => {
                    let room = socket.room;
                    self.guarded(room, |worker| worker.serve(slot));
                }
                Stage::Ending { .. } => self.told.push_back(slot),
                Stage::Draining { .. } => self.drain(slot),
            }
        }
    }

    /// Does something for a room. A bug in it ends that room, and nothing else.
    fn guarded(&mut self, room: RoomId, act: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_err() {
            // What one client has sent must not get into a message of the next.
            self.acts.clear();
            self.arena.clear();
            self.close_room(room, &Closing::Internal);
        }
    }

    /// Reads an open socket once and hands what it says to its room.
    fn serve(&mut self, slot: usize) {
        let Self { sockets, rooms, shared, acts, buffer, arena, inflater, timers, told, .. } = self;
        let Some(socket) = sockets.get_mut(slot) else { return };
        let Some(open) = open_room(rooms, socket.room) else { return };
        if self.stopping {
            return;
        }
        if open.is_busy() {
            if !std::mem::replace(&mut socket.deferred, true) {
                open.deferred.push(slot as u32);
            }
            return;
        }
        let (now, now_ms, limits) = (Instant::now(), shared.clock.now_ms(), &shared.config.limits);
        let private_bytes_max = limits.private_bytes_max as usize;
        socket.allowance.renew(per_second(limits, socket.terms.as_deref()), socket.accepted.account(), now);
        let (mut ended, mut has_read, mut resume, mut asks) = (None, false, None, Asks::of(shared));
        if !feed_backlog(socket, open, private_bytes_max, now_ms, &mut asks) {
            // Its front is a question that has to wait, and everything else behind it.
        } else if !socket.undecoded.is_empty() {
            match socket.allowance.left() {
                Ok(_) => {
                    let rest = std::mem::take(&mut socket.undecoded);
                    ended = socket.decode(&rest, arena, inflater, now_ms, acts);
                    has_read = true;
                }
                Err(renewal) => resume = Some(renewal),
            }
        } else if socket.readable && socket.outbox.private_bytes() <= private_bytes_max {
            match socket.allowance.left() {
                Ok(left) if socket.stream.channel().is_some() => {
                    let (bytes, end) = socket.take_messages(left, now_ms, acts);
                    (has_read, ended) = (bytes > 0, end);
                    open.note_read(bytes);
                }
                Ok(left) => {
                    let most = socket.piece(left.min(buffer.len() as u64) as usize);
                    match socket.read(&mut buffer[..most]) {
                        Read::Nothing => {}
                        Read::Bytes(count) => {
                            has_read = true;
                            let may_have_more = count == most || count == 0 || socket.stream.holds_input();
                            socket.readable = may_have_more || socket.hung_up;
                            ended = socket.decode(&buffer[..count], arena, inflater, now_ms, acts);
                            socket.allowance.spend(count);
                            open.note_read(count);
                        }
                        Read::Ended(reason) => ended = Some(reason),
                    }
                }
                Err(renewal) => resume = Some(renewal),
            }
        }
        if has_read {
            socket.allowance.settle(socket.accepted.account(), now);
        }
        feed(socket, open, acts, private_bytes_max, now_ms, &mut asks);
        if !socket.backlog.is_empty() && !socket.allowance.may_ask() {
            resume = Some(socket.allowance.next());
        }
        if let Some(at) = resume
            && !std::mem::replace(&mut socket.renewing, true)
        {
            timers.push(Reverse((at, Timer::Renew(socket.member))));
        }
        if socket.outbox.has_control() || asks.replied {
            told.push_back(slot);
        }
        let room = socket.room;
        if has_read && ended.is_none() && socket.backlog.is_empty() && socket.has_input() {
            self.reconsider(slot);
        }
        self.touch(room);
        self.grant(slot, asks);
        if let Some(reason) = ended {
            self.end(slot, &reason);
        }
    }

    /// Does what a client has asked for besides what its room is told.
    fn grant(&mut self, slot: usize, asks: Asks) {
        if asks.replied {
            self.told.push_back(slot);
        }
        if let Some(token) = asks.renew {
            self.renew(slot, token);
        }
        for payload in asks.stateless {
            self.hand_stateless_over(slot, payload);
        }
        if let Some(closing) = asks.end {
            self.dismiss(slot, &closing);
        }
    }

    /// Gives a stateless message to the application.
    fn hand_stateless_over(&mut self, slot: usize, payload: Bytes) {
        let (Some(socket), Some(stateless)) = (self.sockets.get(slot), self.shared.stateless.clone()) else { return };
        let sender = Sender {
            author: socket.user.clone(),
            access: terms::access_of(socket, self.shared.ledger.is_locked(&socket.key)),
            identity: socket.terms.as_ref().map(|terms| terms.identity()),
        };
        let (member, document, inbox) = (socket.member, socket.room_name().to_owned(), self.inbox.clone());
        self.shared.runtime.spawn(async move {
            let reply = stateless.hand_over(&sender, &document, &String::from_utf8_lossy(&payload)).await;
            inbox.send(Message::HandedOver(member, reply));
        });
    }

    /// The application has answered to one.
    fn handed_over(&mut self, member: MemberId, reply: Option<Reply>) {
        let slot = crate::slots::slot_of(member);
        let Some(socket) = self.sockets.get_mut(slot).filter(|socket| socket.member == member) else { return };
        socket.handed_over = socket.handed_over.saturating_sub(1);
        let room = socket.room;
        match reply {
            Some(Reply { to: Recipient::All, payload }) => self.announce(room, payload.into()),
            Some(Reply { to: Recipient::Sender, payload }) if socket.is_open() => {
                let message = socket.dialect.encode(&Event::Relayed(ANNOUNCEMENTS, payload.into()));
                if let (Some(open), Some(message)) = (open_room(&mut self.rooms, room), message) {
                    open.reply(socket, &message);
                    self.told.push_back(slot);
                }
            }
            Some(_) | None => {}
        }
        self.reconsider(slot);
    }

    /// The far end of a channel has news.
    fn rung(&mut self, member: MemberId) {
        let slot = crate::slots::slot_of(member);
        let Some(socket) = self.sockets.get_mut(slot).filter(|socket| socket.member == member) else { return };
        if let Some(channel) = socket.stream.channel() {
            channel.heard();
        }
        socket.readable = true;
        if socket.outbox.is_stalled() {
            socket.outbox.is_writable();
            self.told.push_back(slot);
        }
        self.reconsider(slot);
    }

    /// A connection takes no more part: its room is told, and what is left to say is said.
    fn end(&mut self, slot: usize, reason: &str) {
        self.leave(slot);
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        socket.ended.get_or_insert_with(|| reason.into());
        if socket.outbox.is_ending() && !socket.outbox.has_failed() {
            socket.begin_ending();
            self.told.push_back(slot);
        } else {
            self.remove(slot);
        }
    }

    /// Takes a member out of its room. Others need not see somebody who only waits for the kernel.
    fn leave(&mut self, slot: usize) {
        let (now, now_ms) = (Instant::now(), self.shared.clock.now_ms());
        let Some(socket) = self.sockets.get_mut(slot).filter(|socket| socket.is_open()) else { return };
        let (room, member, backlog) = (socket.room, socket.member, std::mem::take(&mut socket.backlog));
        let stopping = self.stopping;
        self.guarded(room, |worker| {
            let Some(open) = worker.open_room(room) else { return };
            // What it has said counts, unless what is accepted now would come too late for the disk; what it has asked nobody would read.
            for act in backlog.into_acts().filter(|act| act.asker().is_none() && !stopping) {
                if let Act::Room(input) = act {
                    open.handle(input, now_ms);
                }
            }
            open.handle(Input::Leave(member), now_ms);
        });
        self.unseat(slot, room, now);
        self.touch(room);
    }

    fn unseat(&mut self, slot: usize, room: RoomId, now: Instant) {
        let Some(open) = open_room(&mut self.rooms, room) else { return };
        open.unseat(slot, &mut self.sockets, now);
        if open.members.is_empty() {
            self.shared.occupied.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
            let unload_after = Duration::from_millis(self.shared.config.unload_after_ms);
            self.timers.push(Reverse((now + unload_after, Timer::Unload(room))));
        }
    }

    /// Reads and drops until the client has closed: unread bytes would turn our close into a reset, and the client might never see the reason.
    fn drain(&mut self, slot: usize) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        match socket.read(&mut self.buffer) {
            Read::Nothing => {}
            Read::Bytes(_) => self.reconsider(slot),
            Read::Ended(_) => self.remove(slot),
        }
    }

    /// Forgets a connection.
    fn remove(&mut self, slot: usize) {
        let Some(mut socket) = self.sockets.try_remove(slot) else { return };
        // Fails only when it is not registered.
        let _ = self.poll.registry().deregister(&mut socket.stream);
        if matches!(socket.stage, Stage::Waiting(_)) {
            if let Some(Host { stage: crate::host::Stage::Loading(waiting), .. }) = find(&mut self.rooms, socket.room) {
                waiting.retain(|&other| other != slot);
            }
            tracing::debug!(action = "http.abandoned", "client left during the handshake");
        } else if socket.was_open {
            let reason = socket.ended.as_deref().unwrap_or("connection lost");
            let (room, reason) = (crate::logging::Printable(socket.room_name()), crate::logging::Printable(reason));
            tracing::info!(action = "ws.disconnect", connectionId = %socket.id, userId = %socket.user, %room, %reason);
        }
    }

    /// Looks at all sockets: who is silent, who is slow, who is late.
    fn sweep(&mut self, now: Instant) {
        let (now_ms, mut socket_bytes) = (self.shared.clock.now_ms(), 0);
        for slot in 0..self.sockets.capacity() {
            let Some(socket) = self.sockets.get_mut(slot) else { continue };
            socket_bytes += socket.bytes();
            match &socket.stage {
                Stage::Waiting(waiting) if waiting.deadline <= now => {
                    self.refuse(slot, 503, "the room takes long to load; try again later", 5);
                }
                Stage::Waiting(_) => {}
                Stage::Open => self.sweep_open(slot, now_ms),
                Stage::Ending { until } | Stage::Draining { until } if *until <= now => self.remove(slot),
                Stage::Ending { .. } | Stage::Draining { .. } => {}
            }
        }
        self.socket_bytes = self.shared.memory.change(self.socket_bytes, socket_bytes);
        for slot in 0..self.rooms.capacity() {
            self.tick(slot, now, now_ms);
        }
    }

    fn sweep_open(&mut self, slot: usize, now_ms: u64) {
        use crate::liveness::{Due, sweep};
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        if socket.stream.channel().is_some() {
            // Whoever has its far end has the connection, and judges it.
            return socket.rest();
        }
        // One that is kept from being read is not judged by its silence.
        let reads = !socket.has_input() && !socket.deferred;
        match sweep(socket, reads, now_ms, &self.shared.config) {
            Due::Say { ping: false, keep_alive: false } => {}
            Due::Say { .. } => self.told.push_back(slot),
            Due::End(closing) => {
                socket.say_farewell(&closing);
                self.end(slot, "connection lost");
            }
            Due::Drop => self.end(slot, "silent for too long"),
        }
    }
}

/// What a client asks of the server and not of its room.
#[derive(Debug, Default)]
struct Asks {
    /// Its connection is to end. The first reason counts.
    end: Option<Closing>,
    /// It has shown another token.
    renew: Option<String>,
    /// Its stateless messages are the application's.
    takes_stateless: bool,
    /// Those that are to be handed over.
    stateless: Vec<Bytes>,
    /// Its session has answered it.
    replied: bool,
}

impl Asks {
    fn of(shared: &Shared) -> Self {
        Self { takes_stateless: shared.stateless.is_some(), ..Self::default() }
    }
}

/// Hands over what waits since an earlier read. False: a question has to wait on, and everything behind it.
fn feed_backlog(socket: &mut Socket, open: &mut Open, private_bytes_max: usize, now_ms: u64, asks: &mut Asks) -> bool {
    while let Some(front) = socket.backlog.pop_front() {
        if has_to_wait(socket, &front, private_bytes_max) {
            socket.backlog.push_front(front);
            return false;
        }
        hand_over(socket, open, front, now_ms, asks);
    }
    true
}

/// Hands over until something is a question that has to wait.
fn feed(
    socket: &mut Socket,
    open: &mut Open,
    acts: &mut Vec<Act>,
    private_bytes_max: usize,
    now_ms: u64,
    asks: &mut Asks,
) {
    for act in acts.drain(..) {
        if !socket.backlog.is_empty() || has_to_wait(socket, &act, private_bytes_max) {
            socket.backlog.push_back(act);
        } else {
            hand_over(socket, open, act, now_ms, asks);
        }
    }
}

/// One question is answered before the next is asked: a small frame of questions would otherwise make any number of large answers. And what comes
/// behind a token is said with the rights that it gives.
fn has_to_wait(socket: &Socket, act: &Act, private_bytes_max: usize) -> bool {
    let is_relayed = || matches!(act, Act::Room(Input::Relay { .. }));
    if socket.shows_token || socket.handed_over >= HANDED_OVER_MAX && is_relayed() {
        return true;
    }
    let busy = socket.unanswered > 0 || socket.outbox.private_bytes() > private_bytes_max;
    act.asker().is_some() && (busy || !socket.allowance.may_ask())
}

/// What may be read of a connection: as the configuration says, unless the application has said less.
fn per_second(limits: &crate::config::Limits, terms: Option<&Terms>) -> PerSecond {
    let told = terms.map(Terms::rates).unwrap_or_default();
    PerSecond {
        bytes: told.bytes_per_s.map_or(limits.bytes_per_s, |told| told.min(limits.bytes_per_s)),
        messages: told.messages_per_s.map_or(limits.messages_per_s, |told| told.min(limits.messages_per_s)),
        questions: limits.questions_per_s,
    }
}

fn hand_over(socket: &mut Socket, open: &mut Open, act: Act, now_ms: u64, asks: &mut Asks) {
    if asks.end.is_some() {
        return;
    }
    if act.asker().is_some() {
        socket.unanswered += 1;
        socket.allowance.spend_question();
    }
    match act {
        Act::Room(Input::Relay { topic: ANNOUNCEMENTS, payload, .. }) if asks.takes_stateless => {
            socket.handed_over += 1;
            asks.stateless.push(payload);
        }
        Act::Room(input) => open.handle(input, now_ms),
        Act::Reply(message) => {
            open.reply(socket, &message);
            asks.replied = true;
        }
        Act::End(closing) => asks.end = Some(closing),
        Act::Renew(token) => {
            // What it says from here on counts with the rights that come of it.
            socket.shows_token = true;
            asks.renew = Some(token);
        }
        Act::Unknown(kind) => {
            tracing::warn!(action = "ws.unknown_message", connectionId = %socket.id, userId = %socket.user, kind = %crate::logging::Printable(&kind));
        }
    }
}

fn open_room(rooms: &mut Slab<Host>, id: RoomId) -> Option<&mut Open> {
    match &mut find(rooms, id)?.stage {
        crate::host::Stage::Open(open) => Some(open),
        crate::host::Stage::Loading(_) => None,
    }
}
