//! The task of one room: loads it, takes everything from its mailbox as one batch, writes once, tells everybody once, and goes when nobody is left.
//!
//! Started by `rooms`. Owns the `Room`, the rings and the members' outboxes. Waits for nothing but its mailbox, the durable position, and time:
//! sockets drain by themselves. All rules are in the `room` crate.

use crate::connections::Connection;
use crate::ring::Ring;
use crate::rooms::{Handle, Loading, Rooms, ToRoom};
use crate::websocket::{Opcode, encode_frame};
use bytes::Bytes;
use dialect::Dialect;
use document::{MessageLimits, RoomLimits};
use room::{Closing, Effect, Effects, Event, Input, Kind, MemberId, Room, Stored};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use store::{Durable, Opened, Position, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Messages taken from the mailbox as one batch. Enough to share a write, not so many that other rooms of the thread wait.
const BATCH_MAX: usize = 256;
/// Presence is swept this often while there is any.
const TICK: Duration = Duration::from_secs(2);
/// An empty room that somebody is on the way to or still leaving is asked about again after this time.
const ASK_AGAIN: Duration = Duration::from_millis(50);

struct RoomTask {
    rooms: Arc<Rooms>,
    handle: Arc<Handle>,
    room: Room,
    epoch: u64,
    durable: Arc<Durable>,
    /// Content may be shown when it is durable, not already when it is written.
    strict: bool,
    /// Up to here the log has it.
    written: u64,
    members: BTreeMap<MemberId, Arc<Connection>>,
    voices: Vec<Voice>,
    /// Content that may not be shown yet, with the offset that has to be safe first.
    held: VecDeque<(u64, Effect)>,
    effects: Effects,
    /// Members that were told something in this batch, when it was not everybody.
    told: Vec<MemberId>,
    published: bool,
    /// Members that have asked something, with the offset that has to be safe before the answer is out; then they ask on.
    asked: VecDeque<(u64, MemberId)>,
    log_bytes: u64,
    snapshot_bytes: u64,
    compacting: Option<tokio::sync::oneshot::Receiver<Option<u64>>>,
    /// Durable up to here when it was loaded. When that grows, storage works, and a pause that stands from an earlier failure is lifted.
    unproven: Option<u64>,
}

/// How the room speaks to the members of one dialect.
struct Voice {
    dialect: &'static dyn Dialect,
    ring: Arc<Ring>,
    /// The last answer or catch-up and its frame: many who join at once are sent the same.
    answer: Option<(Event, Bytes)>,
}

/// Why the task ends.
enum End {
    Unused,
    ShutDown,
    Storage(String),
}

/// Runs a room from its loading to its end.
pub(crate) async fn run(
    rooms: Arc<Rooms>,
    handle: Arc<Handle>,
    mut inbox: mpsc::Receiver<ToRoom>,
    loading: watch::Sender<Loading>,
) {
    // Also when a bug ends the task: the table must not keep a room that nobody runs.
    let _table = LeaveTable { rooms: rooms.clone(), handle: handle.clone() };
    match load(&rooms, &handle).await {
        Ok(mut task) => {
            loading.send_replace(Loading::Done);
            let end = task.work(&mut inbox).await;
            if let Some(closing) = task.conclude(end).await {
                handle.ends_with(&closing);
                inbox.close();
                // Whoever is still in the mailbox is a member too, and is told why it cannot stay.
                while let Ok(message) = inbox.try_recv() {
                    task.note_arrival(&message);
                }
                task.close_all(&closing);
            }
        }
        Err(error) => {
            tracing::error!(action = "room.error", room = %crate::logging::Printable(&handle.key), error, "cannot open room");
            rooms.pause(&handle);
            loading.send_replace(Loading::Failed);
        }
    }
}

struct LeaveTable {
    rooms: Arc<Rooms>,
    handle: Arc<Handle>,
}

impl Drop for LeaveTable {
    fn drop(&mut self) {
        self.rooms.remove(&self.handle);
        self.rooms.shared.running.send_modify(|running| *running -= 1);
    }
}

/// Reads a room from the store, on a thread where waiting for the disk stops nobody.
async fn load(rooms: &Arc<Rooms>, handle: &Arc<Handle>) -> Result<RoomTask, String> {
    let (shared, key) = (rooms.shared.clone(), handle.key.clone());
    let new_epoch = fastrand::u64(..);
    let keep_deleted = shared.config.keeps_deleted(&key);
    let limits = room_limits(&shared.config.limits);
    let has_failed = rooms.has_failed(&key);
    let loaded = tokio::task::spawn_blocking(move || {
        if has_failed {
            shared.store.try_writing().map_err(|error| error.to_string())?;
        }
        let opened = shared.store.open(&key, new_epoch).map_err(|error| error.to_string())?;
        let stored = Stored {
            snapshot: opened.snapshot.clone(),
            changes: crate::changes::of_opened(&opened),
            head: opened.head,
            durable: opened.durable.offset(),
            keep_deleted,
        };
        let room = Room::load(&stored, limits).map_err(|error| error.to_string())?;
        Ok::<_, String>((opened, room))
    });
    let (opened, room) = loaded.await.map_err(|error| error.to_string())??;
    report_damage(&handle.key, &opened);
    let log_bytes = opened.changes.iter().map(|(_, change)| change.bytes.len() as u64).sum();
    Ok(RoomTask {
        rooms: rooms.clone(),
        handle: handle.clone(),
        room,
        epoch: opened.epoch,
        unproven: Some(opened.durable.offset()),
        durable: opened.durable,
        strict: rooms.shared.config.durability == crate::config::Durability::Strict,
        written: opened.head,
        members: BTreeMap::new(),
        voices: Vec::new(),
        held: VecDeque::new(),
        effects: Effects::new(),
        told: Vec::new(),
        published: false,
        asked: VecDeque::new(),
        log_bytes,
        snapshot_bytes: opened.snapshot.as_ref().map_or(0, |bytes| bytes.len() as u64),
        compacting: None,
    })
}

fn report_damage(key: &str, opened: &Opened) {
    for damage in &opened.damage {
        let (place, reason) = (&damage.place, &damage.reason);
        tracing::error!(action = "store.damage", room = %crate::logging::Printable(key), offset = damage.offset, place, reason, "record set aside");
    }
}

pub(crate) fn room_limits(limits: &crate::config::Limits) -> room::Limits {
    let defaults = room::Limits::default();
    room::Limits {
        message: MessageLimits { update_bytes_max: limits.update_bytes_max as usize, ..defaults.message },
        document: RoomLimits {
            room_bytes_max: limits.room_bytes_max as usize,
            parked_bytes_max: limits.parked_bytes_max as usize,
            ..defaults.document
        },
        ..defaults
    }
}

impl RoomTask {
    async fn work(&mut self, inbox: &mut mpsc::Receiver<ToRoom>) -> End {
        let mut shutdown = self.rooms.shared.shutdown.subscribe();
        let mut batch = Vec::new();
        let unload_after = Duration::from_millis(self.rooms.shared.config.unload_after_ms);
        let mut next_tick = Instant::now() + TICK;
        let (mut empty_since, mut ask_again_at) = (Some(Instant::now()), Instant::now());
        loop {
            let unload_at = empty_since.map(|since| ask_again_at.max(since + unload_after));
            let idle = unload_at.is_some() && self.room.head() == self.durable.offset() && self.compacting.is_none();
            tokio::select! {
                Ok(_) = shutdown.wait_for(|stopping| *stopping) => return End::ShutDown,
                () = changed(&self.durable, self.room.durable_offset()) => {}
                taken = inbox.recv_many(&mut batch, BATCH_MAX), if !self.room.is_congested() => {
                    if taken == 0 {
                        return End::Unused;
                    }
                }
                () = tokio::time::sleep_until(next_tick), if self.room.wants_ticks() => {}
                () = self.handle.vacated() => ask_again_at = Instant::now(),
                done = compacted(&mut self.compacting) => self.compacted(done),
                () = tokio::time::sleep_until(unload_at.unwrap_or(next_tick)), if idle => {
                    if self.rooms.retire(&self.handle) {
                        return End::Unused;
                    }
                    ask_again_at = Instant::now() + ASK_AGAIN;
                }
            }
            if self.room.wants_ticks() && next_tick <= Instant::now() {
                next_tick = Instant::now() + TICK;
                self.handle_input(Input::Tick);
            }
            if let Err(error) = self.take(&mut batch) {
                return End::Storage(error);
            }
            empty_since = if self.members.is_empty() { empty_since.or_else(|| Some(Instant::now())) } else { None };
        }
    }

    /// One batch: handle all, write once, tell everybody once.
    fn take(&mut self, batch: &mut Vec<ToRoom>) -> Result<(), String> {
        // Counted from the opening on: one that came while the room was loaded counts too.
        if self.durable.failures() > 0 {
            batch.drain(..).for_each(|message| self.note_arrival(&message));
            return Err("a sync failed".to_owned());
        }
        for message in batch.drain(..) {
            self.note_arrival(&message);
            match message {
                ToRoom::Join { member, author, access, trusts_all, opening, .. } => {
                    self.handle_input(Input::Join { member, kind: Kind::Client, access, author, trusts_all });
                    opening.into_iter().for_each(|input| self.handle_input(input));
                }
                ToRoom::Input(Input::Leave(member)) => {
                    self.members.remove(&member);
                    self.handle_input(Input::Leave(member));
                }
                ToRoom::Input(input) => self.handle_input(input),
                ToRoom::Large(input, reserved) => {
                    self.handle_input(input);
                    drop(reserved);
                }
            }
        }
        self.write().map_err(|error| error.to_string())?;
        // After the write, so that a change that is durable as soon as it is written is acknowledged in its own batch.
        self.handle_input(Input::Durable(self.durable.offset()));
        if self.unproven.take_if(|before| self.durable.offset() > *before).is_some() {
            self.rooms.is_healthy(&self.handle.key);
        }
        self.perform();
        self.answered();
        self.compact_if_due();
        Ok(())
    }

    fn note_arrival(&mut self, message: &ToRoom) {
        if let ToRoom::Join { connection, member, .. } = message {
            self.members.insert(*member, connection.clone());
        }
    }

    /// Lets those ask on whose answers are out. What is safe grows by whole batches, so an answer is not behind its own question.
    fn answered(&mut self) {
        let safe = self.safe();
        while let Some((_, member)) = self.asked.pop_front_if(|(needs, _)| *needs <= safe) {
            if let Some(connection) = self.members.get(&member) {
                connection.unanswered.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
                connection.outbox.attention.notify_one();
            }
        }
    }

    /// Content accepted before this offset may be shown.
    fn safe(&self) -> u64 {
        if self.strict { self.durable.offset() } else { self.written }
    }

    fn handle_input(&mut self, input: Input) {
        let asker = input.asker();
        let now_ms = self.rooms.shared.clock.now_ms();
        self.room.handle(input, now_ms, &mut self.effects);
        self.asked.extend(asker.map(|member| (self.room.head(), member)));
    }

    /// Appends what the batch accepted, in one write.
    fn write(&mut self) -> Result<(), StoreError> {
        let changes = crate::changes::of_effects(&self.effects);
        if changes.is_empty() {
            return Ok(());
        }
        let at = Position { epoch: self.epoch, offset: self.written };
        self.rooms.shared.store.append(&self.handle.key, at, &changes)?;
        self.written += changes.len() as u64;
        self.log_bytes += changes.iter().map(|change| change.bytes.len() as u64).sum::<u64>();
        Ok(())
    }

    /// Carries out the effects in order; content that is not safe enough yet is held back, and everything behind it that shows content.
    fn perform(&mut self) {
        let safe = self.safe();
        while let Some((_, effect)) = self.held.pop_front_if(|(needs, _)| *needs <= safe) {
            self.carry_out(effect);
        }
        let needs = self.room.head();
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            if needs > safe && has_to_wait(&effect) {
                self.held.push_back((needs, effect));
            } else {
                self.carry_out(effect);
            }
        }
        // Given back for its memory: the next batch needs as much.
        self.effects = effects;
        self.flush();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Append(_) => {}
            Effect::Publish { except, event } => self.publish(except, &event),
            Effect::Send(member, event) => self.send(member, &event),
            Effect::Place(member) => {
                let Some(connection) = self.members.get(&member).cloned() else { return };
                let ring = self.voice(connection.dialect).ring.clone();
                connection.outbox.place(member, &ring);
            }
            Effect::Close(member, closing) => {
                if let Some(connection) = self.members.get(&member) {
                    connection.close(&closing);
                }
            }
        }
    }

    fn publish(&mut self, except: Option<MemberId>, event: &Event) {
        self.published = true;
        if let Event::Update(bytes) = event {
            let author = except.and_then(|member| self.members.get(&member));
            let (connection, user) = author.map(|author| (&*author.id, &*author.user)).unzip();
            let room = crate::logging::Printable(&self.handle.key);
            let (clients, size) = (self.members.len(), bytes.len());
            tracing::debug!(action = "yjs.update", connectionId = connection, fromUserId = user, %room, clientCount = clients, updateSize = size);
        }
        for voice in &self.voices {
            if let Some(payload) = voice.dialect.encode(event) {
                voice.ring.push(except, encode_frame(Opcode::Binary, &payload));
            }
        }
    }

    fn send(&mut self, member: MemberId, event: &Event) {
        let Some(connection) = self.members.get(&member).cloned() else { return };
        if let Some(frame) = self.voice(connection.dialect).frame(event) {
            connection.outbox.private(frame);
            self.told.push(member);
        }
    }

    fn voice(&mut self, dialect: &'static dyn Dialect) -> &mut Voice {
        let known = self.voices.iter().position(|voice| voice.dialect.name() == dialect.name());
        let place = known.unwrap_or_else(|| {
            let ring = Arc::new(Ring::new(self.rooms.shared.config.limits.ring_bytes_max as usize));
            self.voices.push(Voice { dialect, ring, answer: None });
            self.voices.len() - 1
        });
        &mut self.voices[place]
    }

    /// One pass over the members that have something to send. A stalled one is left to its own task.
    fn flush(&mut self) {
        if self.published {
            let mut needed = vec![u64::MAX; self.voices.len()];
            for connection in self.members.values() {
                let needs = connection.outbox.flush_unless_stalled();
                let voice = self.voices.iter().position(|voice| voice.dialect.name() == connection.dialect.name());
                if let Some(lowest) = voice.map(|voice| &mut needed[voice]) {
                    *lowest = needs.min(*lowest);
                }
            }
            for (voice, needed) in self.voices.iter_mut().zip(needed) {
                voice.ring.trim(needed);
                voice.answer = None;
            }
        } else {
            for member in &self.told {
                if let Some(connection) = self.members.get(member) {
                    connection.outbox.flush_unless_stalled();
                }
            }
        }
        self.published = false;
        self.told.clear();
    }

    /// Asks for a new snapshot when the log has outgrown the last one: then each byte is rewritten a few times in its life, not once a change.
    fn compact_if_due(&mut self) {
        let due = self.log_bytes > self.rooms.shared.config.store.compact_bytes_min.max(self.snapshot_bytes);
        if due && self.compacting.is_none() {
            self.log_bytes = 0;
            self.compacting = Some(self.rooms.shared.compactor.compact(self.handle.key.clone()));
        }
    }

    fn compacted(&mut self, snapshot_bytes: Option<u64>) {
        self.compacting = None;
        if let Some(snapshot_bytes) = snapshot_bytes {
            self.snapshot_bytes = snapshot_bytes;
            self.handle_input(Input::Compacted { snapshot_bytes });
        }
    }

    /// Does what is left to do, and says what the members are to be told. None: there are none.
    async fn conclude(&mut self, end: End) -> Option<Closing> {
        match end {
            End::Unused => None,
            End::ShutDown => Some(self.shut_down().await),
            End::Storage(error) => {
                self.report(&error);
                self.rooms.pause(&self.handle);
                Some(Closing::StorageFailed)
            }
        }
    }

    /// Everything accepted goes to the disk, and who waits for an acknowledgement gets it.
    async fn shut_down(&mut self) -> Closing {
        let store = self.rooms.shared.store.clone();
        let flushed = tokio::task::spawn_blocking(move || store.flush()).await;
        let error = match flushed {
            Ok(Ok(())) => {
                self.handle_input(Input::Durable(self.durable.offset()));
                self.perform();
                return Closing::ShuttingDown;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.report(&error);
        self.rooms.shared.flush_failed.store(true, std::sync::atomic::Ordering::Release);
        Closing::StorageFailed
    }

    fn report(&self, error: &str) {
        let (room, members) = (crate::logging::Printable(&self.handle.key), self.members.len());
        tracing::error!(action = "room.error", %room, error, members, "storage failed");
    }

    fn close_all(&mut self, closing: &Closing) {
        for connection in self.members.values() {
            connection.close(closing);
        }
    }
}

impl Voice {
    /// The frame for one member. Equal answers in a row are encoded once.
    fn frame(&mut self, event: &Event) -> Option<Bytes> {
        if let Some((_, frame)) = self.answer.as_ref().filter(|(known, _)| same_bytes(known, event)) {
            return Some(frame.clone());
        }
        let frame = self.dialect.encode(event).map(|payload| encode_frame(Opcode::Binary, &payload))?;
        if matches!(event, Event::Missing(_) | Event::Update(_)) {
            self.answer = Some((event.clone(), frame.clone()));
        }
        Some(frame)
    }
}

/// Whether two events are the same without a look at their bytes.
fn same_bytes(one: &Event, other: &Event) -> bool {
    match (one, other) {
        (Event::Missing(one), Event::Missing(other)) | (Event::Update(one), Event::Update(other)) => {
            one.as_ptr() == other.as_ptr() && one.len() == other.len()
        }
        _ => false,
    }
}

/// Whether an effect has to wait until what it shows is safe. An acknowledgement has waited: it is only said of what is durable.
fn has_to_wait(effect: &Effect) -> bool {
    match effect {
        Effect::Send(_, Event::Saved { .. }) => false,
        Effect::Publish { event, .. } | Effect::Send(_, event) => event.shows_content(),
        _ => false,
    }
}

/// Waits until the store has news for the room.
async fn changed(durable: &Durable, offset: u64) {
    std::future::poll_fn(|context| {
        durable.wake(context.waker());
        if durable.offset() > offset || durable.failures() > 0 {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

async fn compacted(compacting: &mut Option<tokio::sync::oneshot::Receiver<Option<u64>>>) -> Option<u64> {
    match compacting {
        Some(answer) => answer.await.ok().flatten(),
        None => std::future::pending().await,
    }
}
