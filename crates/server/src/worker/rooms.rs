//! Who gets into which room: arrivals, loading, unloading, and the end of rooms.
//!
//! A room loads once: two first visitors get the same one, and since one thread decides, loading never overlaps with unloading.

use super::inbox::{Arrival, Bell, Content, Message};
use super::terms::{Terms, access_of};
use super::{Asks, Timer, Worker, feed, hand_over, open_room};
use crate::allowance::Allowance;
use crate::channel::Ended;
use crate::host::{self, Host, Open, find};
use crate::liveness::Liveness;
use crate::loading::{self, Loaded};
use crate::logging::Printable;
use crate::outbox::Outbox;
use crate::request::{error_response, refusal_response};
use crate::room_kind::RoomKind;
use crate::slots::{RoomId, member_at};
use crate::socket::{Backlog, ConnectionId, Socket, Stage, Waiting};
use crate::upgrade::{MEMORY_FULL, SHUTTING_DOWN};
use crate::websocket::Decoder;
use dialect::Entry;
use identity::Permission;
use mio::Interest;
use room::{Access, Closing, Input, Kind};
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use store::RoomKey;
use thin_vec::ThinVec;

/// An empty room that is not settled yet is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Presence is swept this often while there is any.
const TICK: Duration = Duration::from_secs(2);

impl Worker {
    /// Takes a connection over, and lets it in as soon as its room is there.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival {
            mut stream,
            address,
            room: key,
            dialect,
            session,
            admission,
            visitor,
            hello,
            deflate,
            early,
            accepted,
            deadline,
        } = arrival;
        let (now, now_ms) = (Instant::now(), self.shared.clock.now_ms());
        let vacancy = self.sockets.vacant_entry();
        let (slot, limits) = (vacancy.key(), &self.shared.config.limits);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, mio::Token(slot), interest) {
            tracing::warn!(action = "server.error", %error, "cannot watch a connection; check the limit of open files");
            return;
        }
        let member = member_at(slot, self.shared.next_serial());
        if let Some(channel) = stream.channel() {
            channel.watch(self.inbox.clone(), member);
        }
        let entry = Entry {
            member,
            limits: &self.shared.room_limits.message,
            user: &admission.author,
            name: visitor.name.as_deref().unwrap_or(&admission.author),
            room: self.shared.config.room_of(&key, dialect.name()),
            presence_id: visitor.presence_id,
            may_read: admission.may_read(),
            since_ms: visitor.since_ms,
            updates_per_s: Some(self.shared.config.json_yjs.updates_per_s).filter(|rate| *rate > 0),
            now_ms,
            chance: fastrand::u128(..),
        };
        let connections = &self.shared.connections;
        let rate = dialect.user_rate().map(|rate| connections.rate_of(dialect.name(), &admission.author, rate));
        let socket = Socket {
            readable: stream.holds_input(),
            stream,
            id: ConnectionId { since_ms: now_ms, chance: fastrand::u32(..) },
            user: admission.author.clone(),
            granted: admission.access,
            terms: None,
            dialect,
            session: session.map_or_else(|| dialect.session(&entry), |make| make(&entry)),
            rate,
            decoder: Decoder::new(limits.frame_bytes_max as usize, deflate),
            deflate,
            member,
            room: RoomId { slot: u32::MAX, serial: 0 },
            key: key.clone(),
            place: 0,
            voice: 0,
            hung_up: false,
            splinters: false,
            queued: false,
            deferred: false,
            renewing: false,
            shows_token: false,
            was_open: false,
            unanswered: 0,
            handed_over: 0,
            stage: Stage::Waiting(Box::new(Waiting { admission, hello, early, address, deadline })),
            outbox: Outbox::default(),
            backlog: Backlog::default(),
            undecoded: ThinVec::new(),
            liveness: Liveness::new(now_ms),
            allowance: Allowance::new(super::per_second(limits, None), now),
            ended: None,
            accepted,
        };
        vacancy.insert(socket);
        if self.stopping {
            return self.refuse(slot, 503, SHUTTING_DOWN, 5);
        }
        if let Some(left_ms) = self.pauses.left_ms(&key, now_ms) {
            return self.refuse(slot, 503, CANNOT_STORE, left_ms.div_ceil(1_000) as u32);
        }
        self.place(slot);
    }

    /// Leads a connection that waits to its room, which is loaded if it is not there.
    pub(super) fn place(&mut self, slot: usize) {
        let Some(key) = self.sockets.get(slot).map(|socket| socket.key.clone()) else { return };
        let id = match self.table.get(&key) {
            Some(id) => *id,
            None if self.shared.memory.is_full() => return self.refuse(slot, 503, MEMORY_FULL, 5),
            None => self.load(&key),
        };
        let connections_max = self.shared.config.limits.room_connections_max as usize;
        let Some(host) = find(&mut self.rooms, id) else { return };
        // The room's own name serves all its sockets.
        (self.sockets[slot].room, self.sockets[slot].key) = (id, host.key.clone());
        let dialect = self.sockets[slot].dialect;
        if let Some(max) = dialect.room_members_max() {
            let sockets = &self.sockets;
            let speaks =
                |slot: &&usize| sockets.get(**slot).is_some_and(|other| other.dialect.name() == dialect.name());
            let members = match &host.stage {
                host::Stage::Loading(waiting) => waiting.iter().filter(speaks).count(),
                host::Stage::Open(open) => open.members_of(dialect),
            };
            if members >= max {
                return match dialect.refusal_when_full() {
                    Some(full) => self.refuse_with(slot, refusal_response(&full), full.status, &full.body, 0),
                    None => self.refuse(slot, 503, FULL_OF_SESSIONS, 5),
                };
            }
        }
        match &mut host.stage {
            host::Stage::Loading(waiting) if waiting.len() < connections_max => waiting.push(slot),
            host::Stage::Open(open) if open.members.len() < connections_max => self.admit(slot),
            _ => self.refuse(slot, 503, FULL, 5),
        }
    }

    /// Begins to read a room, on a thread where waiting for the disk stops nobody.
    fn load(&mut self, key: &RoomKey) -> RoomId {
        self.room_serial = self.room_serial.wrapping_add(1);
        let vacancy = self.rooms.vacant_entry();
        let id = RoomId { slot: vacancy.key() as u32, serial: self.room_serial };
        vacancy.insert(Host { id, key: key.clone(), stage: host::Stage::Loading(Vec::new()) });
        self.table.insert(key.clone(), id);
        let (shared, inbox, key) = (self.shared.clone(), self.inbox.clone(), key.clone());
        let has_failed = self.pauses.has_failed(&key);
        self.shared.runtime.spawn_blocking(move || {
            let loaded =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loading::load(&shared, &key, has_failed)));
            inbox.send(Message::Loaded(id, loaded.unwrap_or_else(|_| Err("internal error".to_owned()))));
        });
        id
    }

    /// A room was read: lets everybody in who waits for it, or tells them that it cannot be.
    pub(super) fn loaded(&mut self, id: RoomId, loaded: Result<Box<Loaded>, String>) {
        let now = Instant::now();
        let Some(host) = find(&mut self.rooms, id) else { return };
        let host::Stage::Loading(waiting) = &mut host.stage else { return };
        let waiting = std::mem::take(waiting);
        let key = host.key.clone();
        if self.shared.ledger.is_deleted(&key) {
            self.forget_room(id);
            return self.refuse_waiting(&waiting, id, 503, "the room was deleted meanwhile; try again", 1);
        }
        let is_new = loaded.as_ref().is_ok_and(|loaded| loaded.is_new);
        let waiting = if is_new { self.without_those_who_may_not_make_it(waiting, id) } else { waiting };
        match loaded {
            Ok(loaded) => {
                let strict = self.shared.config.durability == crate::config::Durability::Strict;
                let bell = Arc::new(Bell { inbox: self.inbox.clone(), room: id }).into();
                let Some(host) = find(&mut self.rooms, id) else { return };
                host.stage = host::Stage::Open(Box::new(Open::new(*loaded, strict, bell, now)));
                for slot in waiting {
                    if self.waits_for(slot, id) {
                        self.admit(slot);
                    }
                }
                let unload_after = Duration::from_millis(self.shared.config.unload_after_ms);
                self.timers.push(Reverse((now + unload_after, Timer::Unload(id))));
            }
            Err(error) => {
                tracing::error!(action = "room.error", room = %Printable(&key), error, "cannot open room");
                let now_ms = self.shared.clock.now_ms();
                self.pauses.begin(&key, now_ms);
                let retry_after_s = self.pauses.left_ms(&key, now_ms).unwrap_or_default().div_ceil(1_000) as u32;
                self.forget_room(id);
                self.refuse_waiting(&waiting, id, 503, CANNOT_STORE, retry_after_s);
            }
        }
    }

    /// Of those who wait for a room that nobody has written into, who may: all from the first on who may make it. Others are refused.
    fn without_those_who_may_not_make_it(&mut self, waiting: Vec<usize>, id: RoomId) -> Vec<usize> {
        let mut left = waiting.into_iter();
        while let Some(slot) = left.next() {
            let Some(socket) = self.sockets.get(slot).filter(|_| self.waits_for(slot, id)) else { continue };
            // Who has registered a draft was counted then.
            let is_counted = self.shared.ledger.is_draft(socket.room_name());
            let may = !socket.is_known() || socket.granted == Access::Read || is_counted;
            match if may { Ok(()) } else { self.shared.connections.may_make_room(&socket.user) } {
                Ok(()) => return std::iter::once(slot).chain(left).collect(),
                Err(reached) => self.refuse(slot, 503, reached.limit, reached.retry_after_s),
            }
        }
        Vec::new()
    }

    fn refuse_waiting(&mut self, waiting: &[usize], id: RoomId, status: u16, reason: &str, retry_after_s: u32) {
        for &slot in waiting {
            if self.waits_for(slot, id) {
                self.refuse(slot, status, reason, retry_after_s);
            }
        }
    }

    fn waits_for(&self, slot: usize, id: RoomId) -> bool {
        self.sockets.get(slot).is_some_and(|socket| socket.room == id && matches!(socket.stage, Stage::Waiting(_)))
    }

    /// Makes a connection a member of its room.
    fn admit(&mut self, slot: usize) {
        let Some(room) = self.sockets.get(slot).map(|socket| socket.room) else { return };
        self.guarded(room, |worker| worker.let_in(slot));
    }

    fn let_in(&mut self, slot: usize) {
        let Self { sockets, rooms, shared, acts, arena, inflater, told, .. } = self;
        let (now_ms, limits) = (shared.clock.now_ms(), &shared.config.limits);
        let Some(socket) = sockets.get_mut(slot) else { return };
        let Some(open) = open_room(rooms, socket.room) else { return };
        let Stage::Waiting(waiting) = &socket.stage else { return };
        if shared.ledger.is_deleted(&socket.key) {
            return self.turn_away(slot, &Closing::Deleted);
        }
        let granted = if waiting.admission.access == Access::Write { Permission::Write } else { Permission::Read };
        let is_outdated = waiting.admission.standing.as_ref().is_some_and(|standing| {
            waiting.admission.generation() != shared.gate.generation()
                || shared.databases.as_ref().is_some_and(|databases| databases.is_outdated(standing))
                || shared.ledger.left_in(&standing.identity, &socket.key) < granted
        });
        if is_outdated {
            // Something has changed while it was on its way in.
            return self.ask_at_the_door(slot);
        }
        let Stage::Waiting(waiting) = std::mem::replace(&mut socket.stage, Stage::Open) else { return };
        let address = waiting.address;
        (socket.was_open, socket.liveness) = (true, Liveness::new(now_ms));
        socket.accepted.opened();
        let room = Printable(socket.room_name());
        let firm = waiting.admission.standing.as_ref().and_then(|standing| standing.identity.firm.as_deref());
        let firm = firm.map(|firm| tracing::field::display(Printable(firm)));
        tracing::info!(action = "ws.connect", connectionId = %socket.id, userId = %socket.user, firmId = firm, %room, dialect = socket.dialect.name(), %address);
        let Waiting { admission, hello, early, .. } = *waiting;
        socket.outbox.greet(hello);
        open.seat(slot, socket, limits.ring_bytes_max as usize);
        if open.members.len() == 1 {
            shared.occupied.fetch_add(1, Ordering::AcqRel);
        }
        let (member, author) = (socket.member, admission.author);
        let (access, trusts_all) = (access_of(socket, shared.ledger.is_locked(&socket.key)), admission.trusts_all);
        if let Some(standing) = admission.standing {
            socket.terms = Some(Terms::new(*standing, socket.dialect, &shared.config));
            socket.allowance = Allowance::new(super::per_second(limits, socket.terms.as_deref()), Instant::now());
        }
        open.handle(Input::Join { member, kind: Kind::Client, access, author, trusts_all }, now_ms);
        socket.session.open(access, acts);
        let mut asks = Asks::of(shared);
        // Its own questions at the door are few; they need not wait for each other.
        for act in acts.drain(..) {
            hand_over(socket, open, act, now_ms, &mut asks);
        }
        let ended = socket.decode(&early, arena, inflater, now_ms, acts);
        feed(socket, open, acts, limits.private_bytes_max as usize, now_ms, &mut asks);
        told.push_back(slot);
        let room = socket.room;
        self.touch(room);
        self.watch_terms(slot);
        self.reconsider(slot);
        self.grant(slot, asks);
        if let Some(reason) = ended {
            self.end(slot, &reason);
        }
    }

    /// Says to a client why it may not enter: where its dialect wants that, after a handshake that is completed only for this.
    pub(super) fn turn_away(&mut self, slot: usize, closing: &Closing) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        if let Some(refusal) = socket.dialect.refusal(closing) {
            return self.refuse_with(slot, refusal_response(&refusal), refusal.status, &refusal.body, 0);
        }
        if let Stage::Waiting(waiting) = &mut socket.stage {
            socket.outbox.greet(std::mem::take(&mut waiting.hello));
        }
        socket.say_farewell(closing);
        socket.begin_ending();
        self.told.push_back(slot);
    }

    /// Answers a request that cannot become a WebSocket now.
    pub(super) fn refuse(&mut self, slot: usize, status: u16, reason: &str, retry_after_s: u32) {
        let response = error_response(status, reason, Some(retry_after_s));
        self.refuse_with(slot, response, status, reason, retry_after_s);
    }

    fn refuse_with(&mut self, slot: usize, response: Vec<u8>, status: u16, reason: &str, retry_after_s: u32) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        match socket.stream.channel() {
            Some(channel) => {
                channel.end(Ended::Refused(status, reason.to_owned(), retry_after_s));
                socket.outbox.end([]);
            }
            None => socket.outbox.end([response.into()]),
        }
        socket.begin_ending();
        self.told.push_back(slot);
    }

    /// Ends a room: what it has is on the disk, or cannot get there.
    pub(super) fn close_room(&mut self, id: RoomId, closing: &Closing) {
        let Some(open) = self.open_room(id) else { return };
        let members = open.members.clone();
        for slot in members.into_iter().map(|slot| slot as usize) {
            self.unseat(slot, id, Instant::now());
            if let Some(socket) = self.sockets.get_mut(slot) {
                socket.say_farewell(closing);
                socket.begin_ending();
                self.told.push_back(slot);
            }
        }
        self.forget_room(id);
    }

    /// Storage has failed a room: its members are told, and nobody gets in for a while.
    pub(super) fn storage_failed(&mut self, id: RoomId, error: &str) {
        let Some(host) = find(&mut self.rooms, id) else { return };
        let key = host.key.clone();
        self.report(id, error);
        self.pauses.begin(&key, self.shared.clock.now_ms());
        self.close_room(id, &Closing::StorageFailed);
    }

    fn report(&mut self, id: RoomId, error: &str) {
        let Some(host) = find(&mut self.rooms, id) else { return };
        let host::Stage::Open(open) = &host.stage else { return };
        let (room, members) = (Printable(&host.key), open.members.len());
        tracing::error!(action = "room.error", %room, error, members, "storage failed");
    }

    fn forget_room(&mut self, id: RoomId) {
        if let Some(host) = find(&mut self.rooms, id) {
            if self.table.get(&host.key) == Some(&id) {
                self.table.remove(&host.key);
            }
            if let host::Stage::Open(open) = &host.stage {
                self.shared.memory.change(open.counted_bytes, 0);
            }
            self.rooms.remove(id.slot as usize);
        }
    }

    /// Lets a room go if nobody has been in it for a while and everything is on the disk.
    pub(super) fn unload(&mut self, id: RoomId, now: Instant) {
        let unload_after = Duration::from_millis(self.shared.config.unload_after_ms);
        let compact_bytes_min = self.shared.config.store.compact_bytes_min;
        let Some(open) = self.open_room(id) else { return };
        if open.vacant_since.is_none_or(|since| since + unload_after > now) {
            return;
        }
        let compact = open.wants_compaction(compact_bytes_min, true);
        if open.has_failed() {
            self.storage_failed(id, "a sync failed");
        } else if open.is_settled() && !open.is_dirty {
            self.forget_room(id);
        } else {
            if compact {
                self.compact(id);
            }
            self.timers.push(Reverse((now + ASK_AGAIN, Timer::Unload(id))));
        }
    }

    /// What time does to a room.
    pub(super) fn tick(&mut self, slot: usize, now: Instant, now_ms: u64) {
        let Some(Host { id, stage: host::Stage::Open(open), .. }) = self.rooms.get_mut(slot) else { return };
        if now < open.ticked + TICK {
            return;
        }
        open.ticked = now;
        open.rest();
        open.counted_bytes = self.shared.memory.change(open.counted_bytes, open.bytes());
        let id = *id;
        let compact = open.is_quiet() && open.wants_compaction(self.shared.config.store.compact_bytes_min, true);
        if open.room.wants_ticks() || open.has_failed() {
            self.guarded(id, |worker| {
                if let Some(open) = worker.open_room(id)
                    && open.tick(now_ms)
                {
                    worker.touch(id);
                }
            });
        }
        if compact {
            self.compact(id);
        }
    }

    /// Has a snapshot made in the background.
    pub(super) fn compact(&mut self, id: RoomId) {
        let Some(host) = find(&mut self.rooms, id) else { return };
        let inbox = self.inbox.clone();
        let done = move |bytes| inbox.send(Message::Compacted(id, bytes));
        self.shared.compactor.compact(host.key.clone(), Box::new(done));
    }

    /// Has a snapshot made of a room that is forgotten now, so that it is opened faster next time.
    fn compact_last(&mut self, id: RoomId) {
        let compact_bytes_min = self.shared.config.store.compact_bytes_min;
        let Some(Host { key, stage: host::Stage::Open(open), .. }) = find(&mut self.rooms, id) else { return };
        if open.wants_compaction(compact_bytes_min, true) {
            self.shared.compactor.compact(key.clone(), Box::new(|_| {}));
        }
    }

    /// Nobody new gets in, no room takes anything more, and everything accepted goes to the disk.
    pub(super) fn stop(&mut self) {
        // What was read before is in the log, and so in the flush.
        self.settle();
        self.stopping = true;
        self.flushing = vec![Content::Store];
        let waiting: Vec<usize> = self
            .sockets
            .iter()
            .filter_map(|(slot, socket)| matches!(socket.stage, Stage::Waiting(_)).then_some(slot))
            .collect();
        for slot in waiting {
            self.refuse(slot, 503, SHUTTING_DOWN, 5);
        }
        let (store, inbox) = (self.shared.store.clone(), self.inbox.clone());
        self.shared.runtime.spawn_blocking(move || {
            let flushed = store.flush().map_err(|error| error.to_string());
            // Whoever is told may open the folder again.
            drop(store);
            inbox.send(Message::Flushed(Content::Store, flushed));
        });
        if let Some(databases) = self.shared.databases.clone() {
            self.flushing.push(Content::Databases);
            let inbox = self.inbox.clone();
            self.shared.runtime.spawn_blocking(move || {
                // Whatever they still answer is in the inbox before it is said that all is done.
                let closed = databases.close().map_err(|error| error.to_string());
                inbox.send(Message::Flushed(Content::Databases, closed));
            });
        }
    }

    /// Everything is on the disk, or not: who waits for an acknowledgement gets it, and everybody is told to go.
    pub(super) fn flushed_all(&mut self, content: Content, result: &Result<(), String>) {
        self.flushing.retain(|other| *other != content);
        if let Err(error) = result {
            tracing::error!(action = "store.error", error, "not everything is on the disk");
            self.shared.flush_failed.store(true, Ordering::Release);
        }
        let now_ms = self.shared.clock.now_ms();
        let databases = self.shared.databases.is_some();
        let is_meant = |host: &Host| {
            let is_database = databases && matches!(RoomKind::of(&host.key), Some((RoomKind::Database, _)));
            is_database == (content == Content::Databases)
        };
        let ids: Vec<RoomId> = self.rooms.iter().filter(|(_, host)| is_meant(host)).map(|(_, host)| host.id).collect();
        for id in ids {
            match result {
                Ok(()) => {
                    if let Some(open) = open_room(&mut self.rooms, id) {
                        open.note_durable(now_ms);
                        open.perform(&mut self.sockets, &mut self.deflater, &mut self.told, &mut Vec::new());
                    }
                    // What was published and not sent yet comes before the farewell.
                    let members = self.open_room(id).map_or(Vec::new(), |open| open.members.clone());
                    members.into_iter().for_each(|slot| self.flush_one(slot as usize));
                    self.compact_last(id);
                    self.close_room(id, &Closing::ShuttingDown);
                }
                Err(error) => {
                    self.report(id, error);
                    self.close_room(id, &Closing::StorageFailed);
                }
            }
            self.forget_room(id);
        }
    }
}

/// Why somebody cannot enter now. All of them are worth another try.
const CANNOT_STORE: &str = "the room cannot store changes right now; try again later";
const FULL_OF_SESSIONS: &str = "the document has all the sessions that it may have; try again later";
const FULL: &str = "limits.room_connections_max: the room has all the connections that it may have; try again later";
