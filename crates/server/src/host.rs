//! One room as its worker holds it: the room itself, what it is to tell (rings, held content), and how far it is on the disk.
//!
//! Called by the worker: inputs as they come, then once a turn `changes` (for one write), `written`, `perform`, and a flush pass over the members.
//! All rules are in the `room` crate. Waits for nothing; owns no socket.

use crate::frames::{self, opcode_of};
use crate::loading::Loaded;
use crate::ring::Ring;
use crate::slots::{RoomId, slot_of};
use crate::socket::Socket;
use crate::websocket::{Deflater, Opcode, append_compressed_frame, encode_compressed_frame};
use bytes::Bytes;
use dialect::{Dialect, Frame, Told};
use room::hub::{News, Question};
use room::{Effect, Effects, Event, Input, MemberId, Rules};
use slab::Slab;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};
use store::RoomKey;
use thin_vec::ThinVec;

/// A busy room is compacted when its log is so many times as large as its snapshot, and as what is not worth compacting. That is put off longer where the
/// changes are small: compaction reads each of them again (0.3 us), which is a third of what accepting it costs. Large ones are memory.
const BUSY_SNAPSHOTS: u64 = 4;
const BUSY_MINIMA: u64 = 16;
const BUSY_MINIMA_SMALL: u64 = 64;
const SMALL_CHANGE_BYTES: u64 = 256;
/// Of one batch: what its members are offered at once. More is read when they have been.
const READ_BYTES_MAX: usize = 512 << 10;
/// A flush pass looks at the time after so many members.
const MEMBERS_PER_LOOK: usize = 16;
/// Memory for so many effects is not worth keeping.
const EFFECTS_KEPT_MIN: usize = 16;
/// A room in memory takes about so much without its content (measured: 936 of its own, about 700 for a little presence, its entry in the store).
const ROOM_BYTES: usize = 2 << 10;
/// Answers up to this size are put together instead of being shared.
const SMALL_BYTES: usize = 512;

/// One room.
pub(crate) struct Host {
    pub(crate) id: RoomId,
    pub(crate) key: RoomKey,
    pub(crate) stage: Stage,
}

/// How far a room has come.
pub(crate) enum Stage {
    /// It is being read from the store; these want in.
    Loading(Vec<usize>),
    Open(Box<Open>),
}

/// The room of this name, if it is still the same life of it.
pub(crate) fn find(rooms: &mut Slab<Host>, id: RoomId) -> Option<&mut Host> {
    rooms.get_mut(id.slot as usize).filter(|host| host.id == id)
}

/// A room in memory.
pub(crate) struct Open {
    pub(crate) room: Box<dyn Rules>,
    opened: OpenedRoom,
    /// Content may be shown when it is durable, not already when it is written.
    strict: bool,
    /// Places of the members' sockets.
    pub(crate) members: Vec<u32>,
    voices: Vec<Voice>,
    /// Content that may not be shown yet, with the offset that has to be safe first.
    #[expect(clippy::box_collection, reason = "a pointer while there is none")]
    held: Option<Box<VecDeque<(u64, Effect)>>>,
    effects: Effects,
    /// Something was put into the rings that the members have not been offered.
    published: bool,
    /// Members that have asked something, with the offset that has to be safe before the answer is out; then they ask on.
    asked: ThinVec<(u64, MemberId)>,
    /// Of the log since the last snapshot.
    log_bytes: u64,
    log_changes: u64,
    snapshot_bytes: u64,
    pub(crate) is_compacting: bool,
    /// Is in the worker's list of rooms with something to do.
    pub(crate) is_dirty: bool,
    bell: Waker,
    bell_is_set: bool,
    pass: Option<Pass>,
    /// Bytes read for it in this turn.
    read_bytes: usize,
    /// Sockets that were not read because the room did not take inputs.
    pub(crate) deferred: ThinVec<u32>,
    /// Since when it has had no members.
    pub(crate) vacant_since: Option<Instant>,
    pub(crate) ticked: Instant,
    /// What its database is to be asked.
    questions: ThinVec<Question>,
    /// When it will be told that its time has come, if that is set; milliseconds since the Unix epoch.
    alarm_ms: Option<u64>,
    /// When presence was told last; `presence_is_due`: it is told again at a time that has been set.
    presence_told: Option<Instant>,
    presence_is_due: bool,
    /// Where it stood when it was looked at last.
    looked_at: u64,
    /// What it was counted for in the budget of memory.
    pub(crate) counted_bytes: u64,
}

/// What the store said, and what was written since.
struct OpenedRoom {
    epoch: u64,
    durable: Arc<store::Durable>,
    /// Up to here the log has it.
    written: u64,
    /// Durable up to here when it was loaded. When that grows, storage works, and a pause that stands from an earlier failure is lifted.
    unproven: Option<u64>,
}

/// How the room speaks to the members of one dialect, with or without compression.
struct Voice {
    dialect: &'static dyn Dialect,
    /// Its members understand compressed frames.
    deflate: bool,
    members: u32,
    ring: Ring,
    /// The last answers that had to be encoded and their frames, one of each kind: many who join at once are sent the same. An answer is known by its
    /// bytes' place, which is kept with it; dropped every few seconds.
    answers: Option<Box<Answers>>,
}

type Answers = [Option<(Event, Bytes)>; 4];

/// One offer of what the rings have to all members, in parts so that others are served in between.
struct Pass {
    next: usize,
    /// The lowest position that a member still needs, by voice. None: a member was passed over.
    needed: Option<Vec<u64>>,
}

/// What a part of a pass came to.
pub(crate) enum Passed {
    All,
    Part,
}

impl Open {
    pub(crate) fn new(loaded: Loaded, strict: bool, bell: Waker, now: Instant) -> Self {
        let Loaded { opened, room, .. } = loaded;
        let log_bytes = opened.changes.iter().map(|(_, change)| change.bytes.len() as u64).sum();
        let log_changes = opened.changes.len() as u64;
        let snapshot_bytes = opened.snapshot.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let unproven = Some(opened.durable.offset());
        let opened = OpenedRoom { epoch: opened.epoch, durable: opened.durable, written: opened.head, unproven };
        Self {
            room,
            opened,
            strict,
            members: Vec::new(),
            voices: Vec::new(),
            held: None,
            effects: Effects::new(),
            published: false,
            asked: ThinVec::new(),
            log_bytes,
            log_changes,
            snapshot_bytes,
            is_compacting: false,
            is_dirty: false,
            bell,
            bell_is_set: false,
            pass: None,
            read_bytes: 0,
            deferred: ThinVec::new(),
            vacant_since: Some(now),
            ticked: now,
            questions: ThinVec::new(),
            alarm_ms: None,
            presence_told: None,
            presence_is_due: false,
            looked_at: 0,
            counted_bytes: 0,
        }
    }

    /// What it holds, about: its content, and what its members have still to be sent.
    pub(crate) fn bytes(&self) -> u64 {
        let rings: usize = self.voices.iter().map(|voice| voice.ring.bytes()).sum();
        (ROOM_BYTES + self.room.bytes() + rings) as u64
    }

    /// Adds a socket to those that are told what the room publishes.
    pub(crate) fn seat(&mut self, slot: usize, socket: &mut Socket, ring_bytes_max: usize) {
        if self.voices.is_empty() {
            // Most rooms speak one dialect, to browsers, which all negotiate the same.
            self.voices.reserve_exact(1);
        }
        let known = self.voices.iter().position(|voice| voice.speaks_to(socket));
        let voice = known.unwrap_or_else(|| {
            self.voices.push(Voice {
                dialect: socket.dialect,
                deflate: socket.deflate,
                members: 0,
                ring: Ring::new(ring_bytes_max),
                answers: None,
            });
            self.voices.len() - 1
        });
        self.voices[voice].members += 1;
        (socket.voice, socket.place) = (voice as u8, self.members.len() as u32);
        self.members.push(slot as u32);
        self.vacant_since = None;
    }

    /// How many speak a dialect.
    pub(crate) fn members_of(&self, dialect: &dyn Dialect) -> usize {
        let voices = self.voices.iter().filter(|voice| voice.dialect.name() == dialect.name());
        voices.map(|voice| voice.members as usize).sum()
    }

    /// Takes a socket out again.
    pub(crate) fn unseat(&mut self, slot: usize, sockets: &mut Slab<Socket>, now: Instant) {
        let Some(place) = sockets.get(slot).map(|socket| socket.place as usize) else { return };
        if self.members.get(place).is_none_or(|&member| member as usize != slot) {
            return;
        }
        self.members.swap_remove(place);
        if let Some(voice) = sockets.get(slot).and_then(|socket| self.voices.get_mut(socket.voice as usize)) {
            voice.members -= 1;
        }
        if let Some(moved) = self.members.get(place).and_then(|&moved| sockets.get_mut(moved as usize)) {
            moved.place = place as u32;
        }
        if let Some(pass) = &mut self.pass {
            // The one that took its place may not have had its turn.
            (pass.needed, self.published) = (None, true);
        }
        if self.members.is_empty() {
            self.vacant_since = Some(now);
            self.voices = Vec::new();
        }
    }

    pub(crate) fn handle(&mut self, input: Input, now_ms: u64) {
        let asker = input.asker();
        self.room.handle(input, now_ms, &mut self.effects);
        self.asked.extend(asker.map(|member| (self.room.head(), member)));
    }

    /// Lets the room do what time brings. True: there is something to settle.
    pub(crate) fn tick(&mut self, now_ms: u64) -> bool {
        self.handle(Input::Tick, now_ms);
        !self.effects.is_empty() || self.room.presence_waits() || self.has_alarm() || self.has_failed()
    }

    /// Tells presence that has changed, unless it was told a moment ago: then the time is returned at which it will be. So one who moves alone is seen at
    /// once, and many who move at the same time are told of together.
    pub(crate) fn tell_presence(&mut self, now: Instant, now_ms: u64, every: Duration) -> Option<Instant> {
        if !self.room.presence_waits() || self.presence_is_due {
            return None;
        }
        match self.presence_told.map(|told| told + every).filter(|next| *next > now) {
            Some(next) => {
                self.presence_is_due = true;
                Some(next)
            }
            None => {
                self.presence_told = Some(now);
                self.handle(Input::TellPresence, now_ms);
                None
            }
        }
    }

    /// The time that `tell_presence` has set has come.
    pub(crate) fn presence_came_due(&mut self) {
        self.presence_is_due = false;
    }

    /// Its database is to be asked something.
    pub(crate) fn has_questions(&self) -> bool {
        !self.questions.is_empty()
    }

    /// What its database is to be asked, in this order.
    pub(crate) fn take_questions(&mut self) -> ThinVec<Question> {
        std::mem::take(&mut self.questions)
    }

    /// It is to be told at some time that its time has come, and nobody has seen to that.
    pub(crate) fn has_alarm(&self) -> bool {
        self.room.wakes_at_ms().is_some_and(|at_ms| self.alarm_ms.is_none_or(|set_ms| at_ms < set_ms))
    }

    /// The time at which to tell it, once.
    pub(crate) fn next_alarm(&mut self) -> Option<u64> {
        if self.has_alarm() {
            self.alarm_ms = self.room.wakes_at_ms();
            return self.alarm_ms;
        }
        None
    }

    /// The time has come that was set. False: another one was set since.
    pub(crate) fn alarm_rang(&mut self, at_ms: u64) -> bool {
        self.alarm_ms.take_if(|set_ms| *set_ms == at_ms).is_some()
    }

    /// Takes no inputs now: too much waits for the disk, or the members have not been offered the last batch yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.pass.is_some() || self.read_bytes > READ_BYTES_MAX || self.room.is_congested()
    }

    /// Those who were kept waiting, if they need not wait any longer.
    pub(crate) fn take_deferred(&mut self) -> ThinVec<u32> {
        if self.is_busy() { ThinVec::new() } else { std::mem::take(&mut self.deferred) }
    }

    /// Notes what was read for it in this turn.
    pub(crate) fn note_read(&mut self, bytes: usize) {
        self.read_bytes += bytes;
    }

    /// True when all that was accepted is on the disk and nobody works on it.
    pub(crate) fn is_settled(&self) -> bool {
        self.room.head() == self.opened.durable.offset() && !self.is_compacting
    }

    /// A write or sync has failed since it was opened.
    pub(crate) fn has_failed(&self) -> bool {
        self.opened.durable.failures() > 0
    }

    /// What the turn has accepted, and the place in the log where it belongs.
    pub(crate) fn changes(&self) -> (store::Position, Vec<store::Change>) {
        let at = store::Position { epoch: self.opened.epoch, offset: self.opened.written };
        if self.room.head() == self.opened.written {
            return (at, Vec::new());
        }
        (at, crate::changes::of_effects(&self.effects))
    }

    /// Those changes are in the log.
    pub(crate) fn written(&mut self, changes: &[store::Change]) {
        self.opened.written += changes.len() as u64;
        self.log_changes += changes.len() as u64;
        self.log_bytes += changes.iter().map(|change| change.bytes.len() as u64).sum::<u64>();
    }

    /// Takes note of how far the disk is. True: it has shown that storage works since the room was loaded.
    pub(crate) fn note_durable(&mut self, now_ms: u64) -> bool {
        let offset = self.opened.durable.offset();
        self.handle(Input::Durable(offset), now_ms);
        self.opened.unproven.take_if(|before| offset > *before).is_some()
    }

    /// Lets the store ring when it has news, if there are any to come. True: there are some already.
    pub(crate) fn set_bell(&mut self) -> bool {
        if !self.bell_is_set && self.room.head() > self.room.durable_offset() {
            self.bell_is_set = true;
            self.opened.durable.wake(&self.bell);
        }
        self.bell_is_set && (self.opened.durable.offset() > self.room.durable_offset() || self.has_failed())
    }

    /// Drops what is only kept to be faster.
    pub(crate) fn rest(&mut self) {
        self.deferred.shrink_to_fit();
        self.voices.iter_mut().for_each(|voice| voice.answers = None);
    }

    pub(crate) fn bell_has_rung(&mut self) {
        self.bell_is_set = false;
    }

    /// Carries out the effects in order; content that is not safe enough yet is held back, and everything behind it that shows content.
    /// Sockets that were told something get into `told`, those whose answers are out into `answered`.
    pub(crate) fn perform(
        &mut self,
        sockets: &mut Slab<Socket>,
        deflater: &mut Deflater,
        told: &mut VecDeque<usize>,
        answered: &mut Vec<usize>,
    ) {
        self.read_bytes = 0;
        let safe = self.safe();
        while let Some((_, effect)) = self.held.as_mut().and_then(|held| held.pop_front_if(|(needs, _)| *needs <= safe))
        {
            self.carry_out(effect, sockets, deflater, told);
        }
        self.held.take_if(|held| held.is_empty());
        let needs = self.room.head();
        let mut effects = std::mem::take(&mut self.effects);
        let performed = effects.len();
        for effect in effects.drain(..) {
            if needs > safe && has_to_wait(&effect) {
                if let Effect::Send(member, Event::Missing(_)) = &effect
                    && let Some(socket) = member_of(sockets, *member)
                    && socket.dialect.tells_document_first()
                {
                    socket.outbox.hold();
                }
                self.held.get_or_insert_default().push_back((needs, effect));
            } else {
                self.carry_out(effect, sockets, deflater, told);
            }
        }
        // Given back for its memory: the next turn needs as much. But a quiet room shall cost next to nothing.
        if effects.capacity() > EFFECTS_KEPT_MIN {
            effects.shrink_to(performed);
            self.effects = effects;
        }
        // What is safe grows by whole turns, so an answer is not behind its own question.
        let safe_ones = self.asked.iter().take_while(|(needs, _)| *needs <= safe).count();
        for (_, member) in self.asked.drain(..safe_ones) {
            if let Some(socket) = member_of(sockets, member) {
                socket.unanswered = socket.unanswered.saturating_sub(1);
                answered.push(slot_of(member));
            }
        }
        if self.asked.is_empty() {
            self.asked = ThinVec::new();
        }
    }

    /// Content accepted before this offset may be shown.
    fn safe(&self) -> u64 {
        if self.strict { self.opened.durable.offset() } else { self.opened.written }
    }

    fn carry_out(
        &mut self,
        effect: Effect,
        sockets: &mut Slab<Socket>,
        deflater: &mut Deflater,
        told: &mut VecDeque<usize>,
    ) {
        match effect {
            Effect::Append(_) => {}
            Effect::Publish { except, event } => self.publish(except, &event, sockets, deflater),
            Effect::Send(member, event) => {
                let Some(socket) = member_of(sockets, member) else { return };
                if let Some(voice) = self.voices.get_mut(socket.voice as usize) {
                    voice.send(socket, &event, deflater);
                    if matches!(event, Event::Missing(_)) {
                        socket.outbox.release();
                    }
                    told.push_back(slot_of(member));
                }
            }
            Effect::Place(member) => {
                let Some(socket) = member_of(sockets, member) else { return };
                if let Some(voice) = self.voices.get(socket.voice as usize) {
                    socket.outbox.place(voice.ring.end());
                }
            }
            Effect::Ask(question) => self.questions.push(*question),
            Effect::Close(member, closing) => {
                if let Some(socket) = member_of(sockets, member) {
                    socket.say_farewell(&closing);
                    told.push_back(slot_of(member));
                }
            }
        }
    }

    fn publish(
        &mut self,
        except: Option<MemberId>,
        event: &Event,
        sockets: &mut Slab<Socket>,
        deflater: &mut Deflater,
    ) {
        self.published = true;
        if tracing::enabled!(tracing::Level::DEBUG)
            && let Event::Update(bytes) = event
        {
            let author = except.and_then(|member| member_of(sockets, member));
            let (connection, user) = author.map(|author| (author.id.to_string(), &*author.user)).unzip();
            let (clients, size) = (self.members.len(), bytes.len());
            tracing::debug!(
                action = "yjs.update",
                connectionId = connection,
                fromUserId = user,
                clientCount = clients,
                updateSize = size
            );
        }
        for voice in &mut self.voices {
            if let Some((opcode, compressed)) = voice.compressed(event, deflater) {
                voice.ring.push(except, |out| append_compressed_frame(opcode, compressed, out));
                continue;
            }
            let Voice { dialect, ring, .. } = voice;
            ring.push(except, |out| frames::append(*dialect, event, out));
        }
    }

    /// Sends a message of the dialect's own to one member, behind all that was published so far.
    pub(crate) fn reply(&self, socket: &mut Socket, message: &Frame) {
        say(socket, self.ring(socket.voice).map_or(0, Ring::end), message);
    }

    /// The ring that a socket of this room reads.
    pub(crate) fn ring(&self, voice: u8) -> Option<&Ring> {
        self.voices.get(voice as usize).map(|voice| &voice.ring)
    }

    /// Begins to offer the members what was published, if anything was. True: there is a pass to be made.
    pub(crate) fn begin_pass(&mut self) -> bool {
        if self.published && self.pass.is_none() {
            self.published = false;
            self.pass = Some(Pass { next: 0, needed: Some(vec![u64::MAX; self.voices.len()]) });
            return true;
        }
        false
    }

    /// Offers the members what the rings have, until all had their turn or `until` has passed. Those for whom something follows from it, and whether
    /// they might take more, get into `noted`.
    pub(crate) fn pass(
        &mut self,
        sockets: &mut Slab<Socket>,
        until: Instant,
        noted: &mut Vec<(usize, bool)>,
    ) -> Passed {
        let Some(pass) = &mut self.pass else { return Passed::All };
        for (count, &slot) in self.members.get(pass.next..).unwrap_or_default().iter().enumerate() {
            if count % MEMBERS_PER_LOOK == MEMBERS_PER_LOOK - 1 && Instant::now() >= until {
                pass.next += count;
                return Passed::Part;
            }
            let (slot, Some(socket)) = (slot as usize, sockets.get_mut(slot as usize)) else { continue };
            let voice = socket.voice as usize;
            let ring = self.voices.get(voice).map(|voice| &voice.ring);
            let more = socket.outbox.flush(&mut socket.stream, ring, socket.member);
            if let Some(lowest) = pass.needed.as_mut().and_then(|needed| needed.get_mut(voice)) {
                *lowest = socket.outbox.needs().min(*lowest);
            }
            if more || socket.has_more_to_do(ring) {
                noted.push((slot, more));
            }
        }
        let needed = self.pass.take().and_then(|pass| pass.needed);
        for (voice, needed) in self.voices.iter_mut().zip(needed.into_iter().flatten()) {
            voice.ring.trim(needed);
        }
        self.voices.iter_mut().for_each(|voice| voice.ring.hold_to_bound());
        Passed::All
    }

    /// True when the log has outgrown the last snapshot: by far while the room is busy, by anything when it is quiet. So each byte is rewritten a few times
    /// in its life, and a room that is opened again has little to replay.
    pub(crate) fn wants_compaction(&mut self, compact_bytes_min: u64, quiet: bool) -> bool {
        let small = self.log_bytes < SMALL_CHANGE_BYTES * self.log_changes;
        let (minima, snapshots) = match (quiet, small) {
            (true, _) => (1, 1),
            (false, false) => (BUSY_MINIMA, BUSY_SNAPSHOTS),
            (false, true) => (BUSY_MINIMA_SMALL, BUSY_SNAPSHOTS),
        };
        let enough = (minima * compact_bytes_min).max(snapshots * self.snapshot_bytes);
        let due = !self.is_compacting && self.log_bytes > enough;
        if due {
            (self.log_bytes, self.log_changes, self.is_compacting) = (0, 0, true);
        }
        due
    }

    /// True when nothing was accepted between two looks.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let head = self.room.head();
        std::mem::replace(&mut self.looked_at, head) == head
    }

    pub(crate) fn compacted(&mut self, snapshot_bytes: Option<u64>, now_ms: u64) {
        self.is_compacting = false;
        if let Some(snapshot_bytes) = snapshot_bytes {
            self.snapshot_bytes = snapshot_bytes;
            self.handle(Input::Compacted { snapshot_bytes }, now_ms);
        }
    }
}

impl Voice {
    fn speaks_to(&self, socket: &Socket) -> bool {
        self.dialect.name() == socket.dialect.name() && self.deflate == socket.deflate
    }

    /// The payload in fewer bytes, if it has members, they understand it, and it is worth it.
    fn compressed<'a>(&self, event: &Event, deflater: &'a mut Deflater) -> Option<(Opcode, &'a [u8])> {
        if !self.deflate || self.members == 0 || !deflater.is_worth(event.bytes()) {
            return None;
        }
        let frame = self.dialect.encode(event)?;
        Some((opcode_of(frame.kind()), deflater.deflate(frame.payload())?))
    }

    fn send(&mut self, socket: &mut Socket, event: &Event, deflater: &mut Deflater) {
        let before = self.ring.end();
        if let Told::Own(messages) = socket.session.tell(event) {
            return messages.iter().for_each(|message| say(socket, before, message));
        }
        let place = place_of(event);
        let known = place.and_then(|place| self.answers.as_ref()?[place].as_ref());
        if let Some((_, frame)) = known.filter(|(known, _)| same_bytes(known, event)) {
            return socket.outbox.private(before, frame.clone());
        }
        if event.bytes() <= SMALL_BYTES {
            return socket.outbox.private_small(before, |out| frames::append(self.dialect, event, out));
        }
        let mut head = Vec::new();
        let frame = if let Some((opcode, compressed)) = self.compressed(event, deflater) {
            encode_compressed_frame(opcode, compressed)
        } else {
            let Some(body) = frames::begin(self.dialect, event, &mut head) else { return };
            if head.len() <= SMALL_BYTES {
                // What the event has is what is sent.
                return socket.outbox.private_framed(before, head, body.clone());
            }
            head.extend_from_slice(body);
            Bytes::from(head)
        };
        if let Some(place) = place_of(event) {
            self.answers.get_or_insert_default()[place] = Some((event.clone(), frame.clone()));
        }
        socket.outbox.private(before, frame);
    }
}

/// Puts a message of the socket's own into its outbox.
fn say(socket: &mut Socket, before: u64, message: &Frame) {
    if message.payload().len() <= SMALL_BYTES {
        socket.outbox.private_small(before, |out| frames::append_message(message, out));
    } else {
        socket.outbox.private(before, frames::encode_message(message));
    }
}

/// The socket of a member, if it is still there.
pub(crate) fn member_of(sockets: &mut Slab<Socket>, member: MemberId) -> Option<&mut Socket> {
    sockets.get_mut(slot_of(member)).filter(|socket| socket.member == member && socket.is_open())
}

/// Where the frame of an answer that others may get too is remembered.
fn place_of(event: &Event) -> Option<usize> {
    match event {
        Event::Base(_) => Some(0),
        Event::Missing(_) => Some(1),
        Event::Update(_) => Some(2),
        Event::Tables(News::RowChanged(_) | News::Result { .. }) => Some(3),
        _ => None,
    }
}

/// Whether two events are the same without a look at their bytes.
fn same_bytes(one: &Event, other: &Event) -> bool {
    match (one, other) {
        (Event::Base(one), Event::Base(other))
        | (Event::Missing(one), Event::Missing(other))
        | (Event::Update(one), Event::Update(other)) => one.as_ptr() == other.as_ptr() && one.len() == other.len(),
        (Event::Tables(News::RowChanged(one)), Event::Tables(News::RowChanged(other))) => Arc::ptr_eq(one, other),
        (
            Event::Tables(News::Result { query_id: one_id, answer: one }),
            Event::Tables(News::Result { query_id: other_id, answer: other }),
        ) => one_id == other_id && Arc::ptr_eq(one, other),
        _ => false,
    }
}

/// Whether an effect has to wait until what it shows is safe. An acknowledgement has waited: it is only said of what is durable.
fn has_to_wait(effect: &Effect) -> bool {
    match effect {
        Effect::Send(_, Event::Saved { .. } | Event::Marked(_)) => false,
        Effect::Publish { event, .. } | Effect::Send(_, event) => event.shows_content(),
        _ => false,
    }
}
