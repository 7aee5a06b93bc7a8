//! What rooms ask their databases, and what those answer.
//!
//! Called by the turn when the effects of a room were carried out, and for messages. A question is asked on behalf of a member; when that is gone, there is
//! nobody whose rights it could have.

use super::{Message, Timer, Worker, open_room};
use crate::databases::{OnBehalf, Wanted};
use crate::host::find;
use crate::room_kind::RoomKind;
use crate::slots::{RoomId, slot_of};
use room::Input;
use room::hub::{Answer, Outcome, Question};
use std::cmp::Reverse;
use std::time::{Duration, Instant};

const NO_DATABASES: &str = "this server has no room databases; the operator can set mounts.room_db";
const LEFT: &str = "the connection has ended";

impl Worker {
    /// Takes to its database what a room has asked in this turn.
    pub(super) fn ask_database(&mut self, id: RoomId) {
        let Some(open) = open_room(&mut self.rooms, id) else { return };
        for question in open.take_questions() {
            self.ask_one(id, question);
        }
    }

    fn ask_one(&mut self, id: RoomId, question: Question) {
        let ticket = question.ticket;
        let inbox = self.inbox.clone();
        let answer = move |outcome| inbox.send(Message::Answered(id, ticket, Box::new(outcome)));
        let Some(host) = find(&mut self.rooms, id) else { return };
        let Some((RoomKind::Database, room)) = RoomKind::of(&host.key) else { return };
        let Some(databases) = &self.shared.databases else {
            return answer(Outcome::of(Answer::failed(NO_DATABASES)));
        };
        let socket = self.sockets.get(slot_of(question.member)).filter(|socket| socket.member == question.member);
        let Some(socket) = socket else { return answer(Outcome::of(Answer::failed(LEFT))) };
        let scopes = socket.terms.as_ref().and_then(|terms| terms.identity().scopes);
        let by = OnBehalf { user: socket.user.clone(), scopes };
        let Question { method, payload, is_rerun, .. } = question;
        let wanted = Wanted { method, payload, is_rerun };
        databases.ask(room, wanted, by, self.shared.clock.now_ms(), answer);
    }

    /// A database has answered.
    pub(super) fn answered(&mut self, id: RoomId, ticket: u64, outcome: Box<Outcome>) {
        let now_ms = self.shared.clock.now_ms();
        self.guarded(id, |worker| {
            if let Some(open) = worker.open_room(id) {
                open.handle(Input::Answered { ticket, outcome }, now_ms);
            }
        });
        self.touch(id);
    }

    /// Sees to it that a room is told when its time has come.
    pub(super) fn set_alarm(&mut self, id: RoomId, now_ms: u64) {
        let Some(open) = open_room(&mut self.rooms, id) else { return };
        if let Some(at_ms) = open.next_alarm() {
            let at = Instant::now() + Duration::from_millis(at_ms.saturating_sub(now_ms));
            self.timers.push(Reverse((at, Timer::Alarm(id, at_ms))));
        }
    }

    /// That time has come.
    pub(super) fn alarm(&mut self, id: RoomId, at_ms: u64) {
        let now_ms = self.shared.clock.now_ms();
        // It may have been set anew since.
        if !self.open_room(id).is_some_and(|open| open.alarm_rang(at_ms)) {
            return;
        }
        self.guarded(id, |worker| {
            if let Some(open) = worker.open_room(id) {
                open.handle(Input::Tick, now_ms);
            }
        });
        self.touch(id);
    }
}
