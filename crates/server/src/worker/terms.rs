//! The terms on which sockets are in their rooms: tokens run out, answers have to be asked for again, administrators change their minds.
//!
//! Called by the turn, for timers and messages. Asks nobody itself: the gate is asked on a task, and its answer is a message. What changes here holds
//! from the next frame on that is read.

use super::{Message, Timer, Worker, open_room};
use crate::auth::{Admission, Reach, Refusal, Standing};
use crate::config::Config;
use crate::slots::{RoomId, slot_of};
use crate::socket::{Socket, Stage};
use bytes::Bytes;
use dialect::{ANNOUNCEMENTS, Dialect, Expiry, Frame};
use identity::{Credential, Identity, Permission, RoomPattern};
use room::{Access, Closing, Input, MemberId};
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::RoomKey;
use tokio::sync::mpsc;

/// Terms are looked at again after so long, however far their end is.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Between two attempts to have rights confirmed, at most.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// And at least.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(50);

/// The terms of one socket.
#[derive(Debug)]
pub(crate) struct Terms {
    standing: Standing,
    /// Counts the terms that a socket has had: an answer about earlier ones counts no longer.
    serial: u32,
    /// What becomes of it when its token runs out.
    expiry: Expiry,
    /// Where it is asked for another: how long before that, and how long after that it ends.
    patience: (Duration, Duration),
    /// It was asked for another token.
    asked_for_token: bool,
    /// When to look at them again.
    at: Option<Instant>,
    /// The gate is being asked.
    asking: bool,
    /// It is to be asked once more: its answer may be of before something changed.
    once_more: bool,
}

impl Terms {
    pub(super) fn new(standing: Standing, dialect: &dyn Dialect, config: &Config) -> Box<Self> {
        let expiry = config.expiry(dialect);
        let ms = Duration::from_millis;
        // Whoever always has short tokens is asked half-way, and not again with each answer.
        let left = standing.expires.map_or(Duration::ZERO, |expires| expires.saturating_duration_since(Instant::now()));
        let patience = (ms(config.hocuspocus.token_ask_ms).min(left / 2), ms(config.hocuspocus.token_grace_ms));
        Box::new(Self {
            standing,
            serial: 0,
            expiry,
            patience,
            asked_for_token: false,
            at: None,
            asking: false,
            once_more: false,
        })
    }

    /// Who it is.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.standing.identity.clone()
    }

    /// What may be read of it, when the application has said so.
    pub(crate) fn rates(&self) -> crate::auth::Rates {
        self.standing.rates
    }

    /// The earliest time at which something has to be done.
    fn due(&self) -> Option<Instant> {
        let lifetime = self.standing.lifetime.map(|lifetime| if self.asking { lifetime.end } else { lifetime.ask });
        [self.token_due(), lifetime].into_iter().flatten().min()
    }

    /// When something has to be done because of the token.
    fn token_due(&self) -> Option<Instant> {
        let expires = self.standing.expires?;
        match self.expiry {
            Expiry::Ends => Some(expires),
            Expiry::Stays => None,
            Expiry::Asks(_) if self.asked_for_token => Some(expires + self.patience.1),
            // At once, when that is past already.
            Expiry::Asks(_) => Some(expires.checked_sub(self.patience.0).unwrap_or(expires)),
        }
    }
}

/// What an administrator, or a changed file of keys, wants done with connections.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) whom: Whom,
    pub(crate) what: What,
    /// Gets from each worker the number of connections that were concerned.
    pub(crate) done: mpsc::UnboundedSender<usize>,
}

/// Connections for which all that is given is true.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whom {
    pub(crate) user: Option<String>,
    /// By the names that rules about rooms use.
    pub(crate) room: Option<RoomPattern>,
    /// In the room of this key.
    pub(crate) place: Option<RoomKey>,
    pub(crate) key: Option<String>,
    /// By this session of an account.
    pub(crate) session: Option<Arc<str>>,
    /// With an API key, whichever it is.
    pub(crate) any_key: bool,
    /// Of this dialect.
    pub(crate) dialect: Option<&'static str>,
}

/// What is to be done with them.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// They end.
    Close(Closing),
    /// They may only read, until their rights are asked again.
    ReadOnly,
    /// Their rights are asked again, at once.
    Confirm,
    /// A room was locked or unlocked.
    Relock,
    /// A room is gone.
    Delete(RoomKey),
    /// Everybody in a room is told something that is not kept.
    Announce(RoomKey, Bytes),
}

impl Whom {
    fn means(&self, socket: &Socket) -> bool {
        let key = socket.terms.as_ref().and_then(|terms| match &terms.standing.identity.credential {
            Credential::Key(id) => Some(&**id),
            _ => None,
        });
        self.user.as_deref().is_none_or(|user| user == &*socket.user)
            && self.room.as_ref().is_none_or(|room| room.matches(socket.room_name()))
            && self.place.as_ref().is_none_or(|place| *place == socket.key)
            && self.key.as_deref().is_none_or(|wanted| key == Some(wanted))
            && (!self.any_key || key.is_some())
            && self.session.as_ref().is_none_or(|session| {
                socket.terms.as_ref().is_some_and(|terms| match &terms.standing.reach {
                    Reach::Console { visitor, .. } => visitor.is_by_session(session),
                    Reach::Rooms | Reach::Database | Reach::OwnRoom => false,
                })
            })
            && self.dialect.is_none_or(|dialect| dialect == socket.dialect.name())
    }
}

impl Worker {
    /// Notes when a socket's terms have to be looked at.
    pub(super) fn watch_terms(&mut self, slot: usize) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        let member = socket.member;
        let Some(terms) = &mut socket.terms else { return };
        // Not further ahead: the timers of those who are gone stay until their time has come.
        let latest = Instant::now() + LOOK_AGAIN;
        let due = terms.due().map(|due| due.min(latest));
        if due != terms.at {
            terms.at = due;
            self.timers.extend(due.map(|at| Reverse((at, Timer::Terms(member)))));
        }
    }

    /// A time has come that was set for a socket's terms.
    pub(super) fn terms_due(&mut self, member: MemberId, now: Instant) {
        let Some(slot) = self.open_slot(member) else { return };
        let Some(terms) = self.sockets.get(slot).and_then(|socket| socket.terms.as_ref()) else { return };
        // The terms may have changed since the timer was set.
        if terms.at.is_none_or(|at| at > now) {
            return;
        }
        let lifetime = terms.standing.lifetime;
        if terms.token_due().is_some_and(|due| due <= now) {
            match terms.expiry {
                Expiry::Asks(request) if !terms.asked_for_token => self.ask_for_token(slot, request),
                _ => self.dismiss(slot, &Closing::TokenExpired),
            }
        } else if lifetime.is_some_and(|lifetime| lifetime.end <= now) {
            self.dismiss(slot, &Closing::Unconfirmed);
        } else {
            if lifetime.is_some_and(|lifetime| lifetime.ask <= now) {
                self.ask_gate(slot);
            }
            self.watch_terms(slot);
        }
    }

    /// Asks a client for another token, because its own is about to run out.
    fn ask_for_token(&mut self, slot: usize, request: &'static [u8]) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        if let Some(terms) = &mut socket.terms {
            terms.asked_for_token = true;
        }
        if let Some(open) = open_room(&mut self.rooms, socket.room) {
            open.reply(socket, &Frame::Binary(Bytes::from_static(request)));
            self.told.push_back(slot);
        }
        self.watch_terms(slot);
    }

    /// A client has shown another token: the gate looks at it.
    pub(super) fn renew(&mut self, slot: usize, token: String) {
        let Some(socket) = self.sockets.get(slot).filter(|socket| socket.is_open()) else { return };
        let (member, room) = (socket.member, socket.room_name().to_owned());
        let (gate, inbox) = (self.shared.gate.clone(), self.inbox.clone());
        let standing = socket.terms.as_ref().map(|terms| terms.standing.clone());
        self.shared.runtime.spawn(async move {
            let answer = match standing {
                // It has none to show: it came in with a session.
                Some(standing) if token.is_empty() && standing.session.is_some() => {
                    gate.confirm(&standing, &room).await
                }
                _ => gate.present_again(&token, &room).await,
            };
            inbox.send(Message::Renewed(member, answer));
        });
    }

    /// A token was no good: what was said behind it counts for nothing.
    fn refuse_token(&mut self, slot: usize) {
        if let Some(socket) = self.sockets.get_mut(slot) {
            socket.backlog = crate::socket::Backlog::default();
        }
        self.dismiss(slot, &Closing::Unauthorized);
    }

    /// The gate has looked at it.
    pub(super) fn renewed(&mut self, member: MemberId, answer: Result<Admission, Refusal>) {
        let Some(slot) = self.open_slot(member) else { return };
        self.sockets[slot].shows_token = false;
        self.reconsider(slot);
        match answer {
            // Whoever it is, it is not the one whose changes these are.
            Ok(admission) if !admission.trusts_all && admission.author != self.sockets[slot].user => {
                self.refuse_token(slot);
            }
            Ok(admission) => {
                let is_outdated = admission.generation() != self.shared.gate.generation();
                self.readmit(slot, admission);
                if is_outdated {
                    self.ask_gate(slot);
                }
            }
            // It stays on the terms that it has.
            Err(Refusal::Later(_)) => {}
            Err(_) => self.refuse_token(slot),
        }
    }

    /// Has a socket's rights asked again.
    fn ask_gate(&mut self, slot: usize) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        let (member, room) = (socket.member, socket.room_name().to_owned());
        let Some(terms) = &mut socket.terms else { return };
        if std::mem::replace(&mut terms.asking, true) {
            terms.once_more = true;
            return;
        }
        let (standing, serial) = (terms.standing.clone(), terms.serial);
        self.ask(member, serial, standing, room);
    }

    /// The same about somebody who is not in yet, because something has changed on the way.
    pub(super) fn ask_at_the_door(&mut self, slot: usize) {
        let Some(socket) = self.sockets.get(slot) else { return };
        let Stage::Waiting(waiting) = &socket.stage else { return };
        let Some(standing) = &waiting.admission.standing else { return };
        let (member, room) = (socket.member, socket.room_name().to_owned());
        self.ask(member, 0, (**standing).clone(), room);
    }

    fn ask(&self, member: MemberId, serial: u32, standing: Standing, room: String) {
        let (shared, inbox) = (self.shared.clone(), self.inbox.clone());
        self.shared.runtime.spawn(async move {
            let confirmed = match (&standing.reach, &shared.databases) {
                (Reach::Console { visitor, .. }, Some(databases)) => {
                    let (generation, now_ms) = (shared.gate.generation(), shared.clock.now_ms());
                    databases.confirm(visitor, &room, generation, now_ms).await
                }
                _ => shared.gate.confirm(&standing, &room).await,
            };
            inbox.send(Message::Confirmed(member, serial, confirmed));
        });
    }

    /// The gate has answered.
    pub(super) fn confirmed(&mut self, member: MemberId, serial: u32, answer: Result<Admission, Refusal>) {
        let slot = slot_of(member);
        let Some(socket) = self.sockets.get_mut(slot).filter(|socket| socket.member == member) else { return };
        if let Stage::Waiting(waiting) = &mut socket.stage {
            return match answer {
                Ok(admission) => {
                    (socket.granted, waiting.admission) = (admission.access, admission);
                    self.place(slot);
                }
                Err(Refusal::Closing(closing)) => self.turn_away(slot, &closing),
                Err(Refusal::Later(reason)) => self.refuse(slot, 503, reason, 5),
                Err(Refusal::Origin) => self.turn_away(slot, &Closing::Forbidden),
            };
        }
        if !socket.is_open() {
            return;
        }
        let Some(terms) = self.sockets.get_mut(slot).and_then(|socket| socket.terms.as_mut()) else { return };
        if terms.serial != serial {
            return;
        }
        terms.asking = false;
        if std::mem::replace(&mut terms.once_more, false) {
            return self.ask_gate(slot);
        }
        match answer {
            // Something has changed while it was asked.
            Ok(admission) if admission.generation() != self.shared.gate.generation() => self.ask_gate(slot),
            Ok(admission) => self.readmit(slot, admission),
            Err(Refusal::Closing(Closing::Deleted)) => self.dismiss(slot, &Closing::Deleted),
            Err(Refusal::Closing(Closing::Outdated)) => self.dismiss(slot, &Closing::TokenExpired),
            Err(Refusal::Closing(_) | Refusal::Origin) => self.dismiss(slot, &Closing::Revoked),
            Err(Refusal::Later(_)) => {
                if let Some(lifetime) = &mut terms.standing.lifetime {
                    let (now, left) = (Instant::now(), lifetime.end.saturating_duration_since(Instant::now()));
                    lifetime.ask = now + (left / 4).clamp(ASK_AGAIN_MIN, ASK_AGAIN);
                }
                self.watch_terms(slot);
            }
        }
    }

    /// Somebody who is in stays in, on other terms: after the gate was asked, or because it has shown another credential.
    pub(super) fn readmit(&mut self, slot: usize, admission: Admission) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        socket.granted = admission.access;
        let config = &self.shared.config;
        let serial = socket.terms.as_ref().map_or(0, |terms| terms.serial.wrapping_add(1));
        socket.terms = admission.standing.map(|standing| Terms::new(*standing, socket.dialect, config));
        if let Some(terms) = &mut socket.terms {
            terms.serial = serial;
        }
        self.apply_access(slot);
        self.watch_terms(slot);
    }

    /// Tells the room what a member may do: what it was granted, unless nobody may write.
    pub(super) fn apply_access(&mut self, slot: usize) {
        let now_ms = self.shared.clock.now_ms();
        let Some(socket) = self.sockets.get(slot) else { return };
        let access = access_of(socket, self.shared.ledger.is_locked(&socket.key));
        let (room, member) = (socket.room, socket.member);
        self.guarded(room, |worker| {
            if let Some(open) = open_room(&mut worker.rooms, room) {
                open.handle(Input::SetAccess(member, access), now_ms);
            }
        });
    }

    pub(super) fn obey(&mut self, command: Command) {
        let concerned: Vec<usize> = self
            .sockets
            .iter()
            .filter_map(|(slot, socket)| (socket.is_open() && command.whom.means(socket)).then_some(slot))
            .collect();
        for &slot in &concerned {
            match &command.what {
                What::Close(closing) => self.dismiss(slot, closing),
                What::ReadOnly => {
                    if let Some(socket) = self.sockets.get_mut(slot) {
                        socket.granted = Access::Read;
                    }
                    self.apply_access(slot);
                }
                What::Confirm => {
                    self.take_back(slot);
                    self.ask_gate(slot);
                }
                What::Relock => self.apply_access(slot),
                What::Delete(_) | What::Announce(..) => {}
            }
        }
        if let What::Delete(key) = &command.what
            && let Some(id) = self.table.get(key).copied()
        {
            self.close_room(id, &Closing::Deleted);
        }
        if let What::Announce(key, payload) = command.what
            && let Some(id) = self.table.get(&key).copied()
        {
            self.announce(id, payload);
        }
        // Nobody may wait for the number.
        let _ = command.done.send(concerned.len());
    }

    pub(super) fn announce(&mut self, id: RoomId, payload: Bytes) {
        let now_ms = self.shared.clock.now_ms();
        self.guarded(id, |worker| {
            if let Some(open) = open_room(&mut worker.rooms, id) {
                open.handle(Input::Announce(ANNOUNCEMENTS, payload), now_ms);
            }
        });
        self.touch(id);
    }

    /// What was decided to be no longer anybody's right is lost at once: the gate may take a while.
    fn take_back(&mut self, slot: usize) {
        let Some(socket) = self.sockets.get_mut(slot) else { return };
        let Some(terms) = &socket.terms else { return };
        match self.shared.ledger.left_in(&terms.standing.identity, &socket.key) {
            Permission::None => self.dismiss(slot, &Closing::Revoked),
            Permission::Read => {
                socket.granted = Access::Read;
                self.apply_access(slot);
            }
            Permission::Write => {}
        }
    }

    /// Ends a connection, and says why.
    pub(super) fn dismiss(&mut self, slot: usize, closing: &Closing) {
        if let Some(socket) = self.sockets.get_mut(slot) {
            socket.say_farewell(closing);
            self.end(slot, "access ended");
        }
    }

    /// The place of a member that is in its room.
    fn open_slot(&self, member: MemberId) -> Option<usize> {
        let slot = slot_of(member);
        self.sockets.get(slot).filter(|socket| socket.member == member && socket.is_open()).map(|_| slot)
    }
}

/// What a socket may do in a room that is locked, or not.
pub(super) fn access_of(socket: &Socket, is_locked: bool) -> Access {
    if is_locked { Access::Read } else { socket.granted }
}
