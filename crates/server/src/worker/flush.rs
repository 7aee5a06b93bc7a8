//! The second half of a turn: what the rooms have decided is written, told, and sent.

use super::{Timer, Worker, open_room};
use crate::host::{Passed, Stage, find};
use crate::slots::RoomId;
use crate::socket;
use room::{Closing, Input};
use std::cmp::Reverse;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use store::Append;

/// After so long in telling single sockets, the passes have their turn.
const TELLING: Duration = Duration::from_millis(2);
/// After so long in flush passes, other sockets are looked at.
const PASSES: Duration = Duration::from_millis(1);

impl Worker {
    /// Writes what the rooms have accepted in this turn, and carries out their effects.
    pub(super) fn settle(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.write(&dirty);
        for &id in &dirty {
            self.guarded(id, |worker| {
                if let Err(error) = worker.settle_one(id) {
                    worker.storage_failed(id, &error);
                }
            });
        }
        // Given back for its memory, unless something was added meanwhile.
        if self.dirty.is_empty() {
            self.dirty = dirty;
            self.dirty.clear();
        }
    }

    /// Appends what these rooms have accepted, all in one write.
    fn write(&mut self, dirty: &[RoomId]) {
        let mut accepted = Vec::new();
        for &id in dirty {
            let Some(host) = find(&mut self.rooms, id) else { continue };
            let Stage::Open(open) = &host.stage else { continue };
            let (at, changes) = open.changes();
            if !changes.is_empty() && !open.has_failed() {
                accepted.push((id, host.key.clone(), at, changes));
            }
        }
        if accepted.is_empty() {
            return;
        }
        let batch: Vec<_> = accepted.iter().map(|(_, room, at, changes)| Append { room, at: *at, changes }).collect();
        let appended = catch_unwind(AssertUnwindSafe(|| self.shared.store.append_all(&batch)));
        let mut results = appended.unwrap_or_default().into_iter();
        for (id, _, _, changes) in &accepted {
            match (results.next(), open_room(&mut self.rooms, *id)) {
                (Some(Ok(())), Some(open)) => open.written(changes),
                (Some(Err(error)), _) => self.storage_failed(*id, &error.to_string()),
                // A bug in the store.
                (None, _) => self.close_room(*id, &Closing::Internal),
                (_, None) => {}
            }
        }
    }

    fn settle_one(&mut self, id: RoomId) -> Result<(), String> {
        let now_ms = self.shared.clock.now_ms();
        let Some(host) = find(&mut self.rooms, id) else { return Ok(()) };
        let Stage::Open(open) = &mut host.stage else { return Ok(()) };
        open.is_dirty = false;
        // Counted from the opening on: one that came while the room was loaded counts too.
        if open.has_failed() {
            return Err("a sync failed".to_owned());
        }
        // After the write, so that a change that is durable as soon as it is written is acknowledged in its own turn.
        if open.note_durable(now_ms) {
            self.pauses.lift(&host.key);
        }
        let every = Duration::from_millis(self.shared.config.presence_ms);
        if let Some(next) = open.tell_presence(Instant::now(), now_ms, every) {
            self.timers.push(Reverse((next, Timer::Presence(id))));
        }
        let mut answered = Vec::new();
        open.perform(&mut self.sockets, &mut self.deflater, &mut self.told, &mut answered);
        let (asks_database, has_alarm) = (open.has_questions(), open.has_alarm());
        if open.begin_pass() {
            self.passes.push_back(id);
        }
        open.counted_bytes = self.shared.memory.change(open.counted_bytes, open.bytes());
        let has_news = open.set_bell();
        let wants_compaction = open.wants_compaction(self.shared.config.store.compact_bytes_min, false);
        let resumed = open.take_deferred();
        if wants_compaction {
            self.compact(id);
        }
        for slot in answered {
            self.reconsider(slot);
        }
        if asks_database {
            self.ask_database(id);
        }
        if has_alarm {
            self.set_alarm(id, now_ms);
        }
        self.resume(&resumed);
        if has_news {
            self.touch(id);
        }
        Ok(())
    }

    /// Serves again who was kept waiting while the room was busy.
    fn resume(&mut self, slots: &[u32]) {
        for slot in slots.iter().map(|&slot| slot as usize) {
            if let Some(socket) = self.sockets.get_mut(slot) {
                socket.deferred = false;
                self.reconsider(slot);
            }
        }
    }

    /// Sends what the sockets take: first to those that were told something of their own, then to the rooms' members in turn.
    pub(super) fn flush(&mut self) {
        let until = Instant::now() + TELLING;
        for count in 0..self.told.len() {
            let Some(slot) = self.told.pop_front() else { break };
            self.flush_one(slot);
            if count % 16 == 15 && Instant::now() >= until {
                break;
            }
        }
        let until = Instant::now() + PASSES;
        while let Some(id) = self.passes.pop_front() {
            if let Passed::Part = self.pass(id, until) {
                // Others have their turn before it goes on.
                self.passes.push_back(id);
                return;
            }
            if let Some(open) = open_room(&mut self.rooms, id) {
                let resumed = open.take_deferred();
                if open.begin_pass() {
                    self.passes.push_back(id);
                }
                self.resume(&resumed);
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    fn pass(&mut self, id: RoomId, until: Instant) -> Passed {
        let Some(open) = open_room(&mut self.rooms, id) else { return Passed::All };
        let mut noted = Vec::new();
        let passed = open.pass(&mut self.sockets, until, &mut noted);
        for (slot, more) in noted {
            self.flushed(slot, more);
        }
        passed
    }

    pub(super) fn flush_one(&mut self, slot: usize) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        let ring = match find(&mut self.rooms, socket.room).map(|host| &host.stage) {
            Some(Stage::Open(open)) if socket.is_open() => open.ring(socket.voice),
            _ => None,
        };
        let more = socket.outbox.flush(&mut socket.stream, ring, socket.member);
        self.flushed(slot, more);
    }

    /// What follows from a flush.
    fn flushed(&mut self, slot: usize, more: bool) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        if more {
            self.told.push_back(slot);
        }
        if socket.outbox.has_failed() {
            return self.end(slot, "connection lost");
        }
        match socket.stage {
            socket::Stage::Open if socket.outbox.is_ending() => self.end(slot, "connection lost"),
            socket::Stage::Open => {
                let (room, member) = (socket.room, socket.member);
                if let Some(open) = open_room(&mut self.rooms, room) {
                    if open.ring(socket.voice).is_some_and(|ring| socket.is_too_far_behind(ring)) {
                        return self.dismiss(slot, &Closing::SlowConsumer);
                    }
                    let lost = open.ring(socket.voice).is_some_and(|ring| socket.notice_loss(ring));
                    if lost {
                        let now_ms = self.shared.clock.now_ms();
                        self.guarded(room, |worker| {
                            if let Some(open) = worker.open_room(room) {
                                open.handle(Input::CatchUp(member), now_ms);
                            }
                        });
                        self.touch(room);
                    }
                }
                self.reconsider(slot);
            }
            socket::Stage::Ending { .. } if socket.outbox.is_finished() && socket.stream.channel().is_some() => {
                self.remove(slot);
            }
            socket::Stage::Ending { until } if socket.outbox.is_finished() => {
                // The server ends the connection; the client sees that at once.
                socket.stream.end();
                (socket.stage, socket.readable) = (socket::Stage::Draining { until }, true);
                self.reconsider(slot);
            }
            _ => {}
        }
    }
}
