//! The phases of the script: one function each, never inlined, so that callgrind counts what is below it. Called by `main` one after the other.
//! What is kept from phase to phase is in `Conversation`. Results go back to the caller, so that freeing them is not counted.

use crate::typing::AUTHORS;
use bytes::{Bytes, BytesMut};
use dialect::{Act, Entry, Frame, Session, Y_WEBSOCKET};
use room::{Access, Change, Effect, Effects, Event, Input, Kind, Limits, MemberId, Room, Rules, Snapshot, Stored};
use server::websocket::{Decoder, Inflater, Message, Opcode, begin_frame};
use std::hint::black_box;
use std::sync::Arc;
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::disk::Disk;
use store::{Append, Position, RoomKey, Store};

/// Everybody in the room while three type.
pub(crate) const MEMBERS: u64 = 100;
/// Updates of one turn of a worker.
pub(crate) const TURN: usize = 20;
/// What a worker reads at once, and the memory that it sets aside for it.
const READ_BYTES: usize = 64 << 10;
/// Frames that were taken by everybody are forgotten, as by the ring.
const TOLD_BYTES: usize = 64 << 10;
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Every room's first life.
pub(crate) const EPOCH: u64 = 1;

/// One room and its members' sessions.
pub(crate) struct Conversation {
    room: Room,
    decoders: Vec<Decoder>,
    sessions: Vec<Box<dyn Session>>,
    arena: BytesMut,
    inflater: Inflater,
    told: Vec<u8>,
}

impl Conversation {
    /// A room with nothing in it but its members and their presence.
    pub(crate) fn new(now_ms: u64) -> Self {
        let mut room = Room::load(&Stored::default(), Limits::default()).expect("an empty room");
        let mut effects = Effects::new();
        for id in 0..MEMBERS {
            room.handle(join_of(id), now_ms, &mut effects);
        }
        Self {
            room,
            decoders: (0..AUTHORS).map(|_| Decoder::new(MESSAGE_BYTES_MAX, false)).collect(),
            sessions: (0..MEMBERS).map(session_of).collect(),
            arena: BytesMut::with_capacity(READ_BYTES),
            inflater: Inflater::default(),
            told: Vec::with_capacity(2 * TOLD_BYTES),
        }
    }

    /// What the worker does with effects: each event is encoded and framed once.
    fn perform(&mut self, effects: &[Effect]) {
        for effect in effects {
            let (Effect::Publish { event, .. } | Effect::Send(_, event)) = effect else { continue };
            let told = &mut self.told;
            if let Some(body) =
                begin_frame(told, |out| Y_WEBSOCKET.write(event, out).map(|body| (Opcode::Binary, body.rest)))
            {
                told.extend_from_slice(body);
            }
            if self.told.len() > TOLD_BYTES {
                black_box(&self.told);
                self.told.clear();
            }
        }
    }

    /// What one member's message leads to.
    fn take(&mut self, session: &mut dyn Session, message: Bytes, now_ms: u64, turn: &mut Turn) {
        session.receive(Frame::Binary(message), now_ms, &mut turn.acts);
        self.settle(now_ms, turn);
    }

    fn settle(&mut self, now_ms: u64, turn: &mut Turn) {
        for act in turn.acts.drain(..) {
            tell_room(&mut self.room, act, now_ms, &mut turn.effects);
        }
        self.perform(&turn.effects);
        turn.effects.clear();
    }
}

/// Memory of a turn, used again.
#[derive(Default)]
struct Turn {
    acts: Vec<Act>,
    effects: Effects,
}

fn join_of(id: u64) -> Input {
    let author = Arc::from(format!("user-{id:04}"));
    Input::Join { member: MemberId(id), kind: Kind::Client, access: Access::Write, author, trusts_all: true }
}

fn session_of(id: u64) -> Box<dyn Session> {
    let (limits, user) = (Limits::default(), Arc::from("user"));
    let entry = Entry {
        member: MemberId(id),
        limits: &limits.message,
        user: &user,
        name: "user",
        room: "room",
        presence_id: None,
        updates_per_s: None,
        may_read: true,
        since_ms: None,
        now_ms: 0,
        chance: 0,
    };
    Y_WEBSOCKET.session(&entry)
}

/// This dialect leaves everything to the room.
fn tell_room(room: &mut Room, act: Act, now_ms: u64, effects: &mut Effects) {
    if let Act::Room(input) = act {
        room.handle(input, now_ms, effects);
    }
}

/// Stands between what is made for a phase and the phase. Whoever counts starts again from zero when it returns.
#[inline(never)]
pub(crate) fn made_ready() {
    black_box(());
}

/// Bytes of sockets to messages; each frame came alone.
#[inline(never)]
pub(crate) fn decode(conversation: &mut Conversation, frames: &[(usize, Vec<u8>)]) -> Vec<(usize, Bytes)> {
    let Conversation { decoders, arena, inflater, .. } = conversation;
    let mut messages = Vec::with_capacity(frames.len());
    for (author, frame) in frames {
        let mut bytes = frame.as_slice();
        arena.reserve(bytes.len());
        while let Ok(Some(message)) = decoders[*author].decode(&mut bytes, arena, inflater) {
            if let Message::Binary(payload) = message {
                messages.push((*author, payload));
            }
        }
    }
    messages
}

/// The same of frames of 2 KB, which nobody keeps. Returns how many bytes they were.
#[inline(never)]
pub(crate) fn decode_large(conversation: &mut Conversation, frames: &[Vec<u8>]) -> usize {
    let Conversation { decoders, arena, inflater, .. } = conversation;
    let mut sum = 0;
    for frame in frames {
        let mut bytes = frame.as_slice();
        arena.reserve(bytes.len());
        while let Ok(Some(message)) = decoders[0].decode(&mut bytes, arena, inflater) {
            if let Message::Binary(payload) = message {
                sum += payload.len();
            }
        }
    }
    sum
}

/// Messages to acts: updates are validated.
#[inline(never)]
pub(crate) fn receive(conversation: &mut Conversation, messages: Vec<(usize, Bytes)>) -> Vec<Act> {
    let mut acts = Vec::with_capacity(messages.len());
    for (author, message) in messages {
        conversation.sessions[author].receive(Frame::Binary(message), 0, &mut acts);
    }
    acts
}

/// Acts to effects.
#[inline(never)]
pub(crate) fn edit(conversation: &mut Conversation, acts: Vec<Act>, now_ms: u64) -> Effects {
    let mut effects = Effects::with_capacity(2 * acts.len());
    for act in acts {
        tell_room(&mut conversation.room, act, now_ms, &mut effects);
    }
    effects
}

/// The disk has what was accepted: after each turn's write it says so.
#[inline(never)]
pub(crate) fn acknowledge(conversation: &mut Conversation, now_ms: u64) -> Effects {
    let head = conversation.room.head();
    let mut effects = Effects::with_capacity(head as usize);
    for offset in (0..head).step_by(TURN).skip(1).chain([head]) {
        conversation.room.handle(Input::Durable(offset), now_ms, &mut effects);
    }
    effects
}

/// Effects to frames.
#[inline(never)]
pub(crate) fn tell(conversation: &mut Conversation, effects: &[Effect]) {
    conversation.perform(effects);
}

/// Members come with one of the state vectors, are answered, and go. After each eight somebody writes.
#[inline(never)]
pub(crate) fn join(conversation: &mut Conversation, joins: usize, vectors: &[Bytes], edits: &[Bytes], now_ms: u64) {
    let mut turn = Turn::default();
    let mut writer = session_of(0);
    for number in 0..joins {
        if number % 8 == 0 {
            conversation.take(&mut *writer, edits[number / 8].clone(), now_ms, &mut turn);
        }
        let id = MEMBERS + number as u64;
        let mut session = session_of(id);
        turn.acts.push(Act::Room(join_of(id)));
        session.open(Access::Write, &mut turn.acts);
        conversation.take(&mut *session, vectors[number % vectors.len()].clone(), now_ms, &mut turn);
        turn.acts.push(Act::Room(Input::Leave(MemberId(id))));
        conversation.settle(now_ms, &mut turn);
    }
}

/// Rounds in which some move their cursors, the room tells all, and every one of the members sends back what it was told, as the provider does.
#[inline(never)]
pub(crate) fn presence(conversation: &mut Conversation, rounds: &[Vec<(u64, Bytes)>], now_ms: u64) {
    let mut turn = Turn::default();
    let mut sessions = std::mem::take(&mut conversation.sessions);
    for moved in rounds {
        for (id, message) in moved {
            conversation.take(&mut *sessions[*id as usize], message.clone(), now_ms, &mut turn);
        }
        conversation.room.handle(Input::TellPresence, now_ms, &mut turn.effects);
        let told = turn.effects.iter().find_map(|effect| match effect {
            Effect::Publish { event: event @ Event::Awareness(_), .. } => Y_WEBSOCKET.encode(event),
            _ => None,
        });
        let copy = told.expect("somebody has moved").payload().clone();
        conversation.settle(now_ms, &mut turn);
        for session in &mut sessions {
            conversation.take(&mut **session, copy.clone(), now_ms, &mut turn);
        }
    }
    conversation.sessions = sessions;
}

/// Compaction, the second half of the changes after a first snapshot.
#[inline(never)]
pub(crate) fn squash(changes: &[Change]) -> Vec<u8> {
    let (first, second) = changes.split_at(changes.len() / 2);
    let before = Snapshot::squash(None, first, false).expect("the changes are valid").encode();
    Snapshot::squash(Some(&before), second, false).expect("the changes are valid").encode()
}

/// Stored rooms are loaded in turn, and each answers two members: one that has nothing, one that has what the other was given.
#[inline(never)]
pub(crate) fn open(stored: &[Stored], openings: usize) {
    let mut effects = Effects::new();
    for number in 0..openings {
        let mut room = Room::load(&stored[number % stored.len()], Limits::default()).expect("it was stored");
        for id in 0..2 {
            room.handle(join_of(id), 0, &mut effects);
            room.handle(Input::Ask(MemberId(id)), 0, &mut effects);
        }
        let known = effects.iter().find_map(|effect| match effect {
            Effect::Send(_, Event::StateVector(bytes)) => Some(bytes.clone()),
            _ => None,
        });
        let known = room::StateVector::decode(&known.expect("it was asked"), &Limits::default().message);
        room.handle(Input::Sync(MemberId(0), room::StateVector::default()), 0, &mut effects);
        room.handle(Input::Sync(MemberId(1), known.expect("the room wrote it")), 0, &mut effects);
        black_box(&effects);
        effects.clear();
    }
}

/// Changes to records in the log: in turns the changes of one room, and one change of each of as many rooms.
#[inline(never)]
pub(crate) fn append(store: &Embedded, rooms: &[RoomKey], changes: &[store::Change]) {
    let mut offsets = vec![0; rooms.len()];
    for (number, turn) in changes.chunks(TURN).enumerate() {
        // Each room is the busy one in its turn.
        let busy = number / 2 % rooms.len();
        let parts: Vec<(usize, &[store::Change])> = if number % 2 == 0 {
            vec![(busy, turn)]
        } else {
            turn.chunks(1).enumerate().map(|(place, change)| ((busy + place) % rooms.len(), change)).collect()
        };
        let part = |&(room, changes): &(usize, _)| {
            let offset: u64 = offsets[room];
            Append { room: &rooms[room], at: Position { epoch: EPOCH, offset }, changes }
        };
        let batch: Vec<_> = parts.iter().map(part).collect();
        assert!(store.append_all(&batch).iter().all(Result::is_ok), "the disk in memory takes everything");
        for (room, changes) in parts {
            offsets[room] += changes.len() as u64;
        }
    }
}

/// A start: the log is read through.
#[inline(never)]
pub(crate) fn recover(disk: Arc<dyn Disk>, options: EmbeddedOptions) -> Embedded {
    Embedded::open_on(disk, options).expect("the log is whole")
}

/// The rooms' changes are read.
#[inline(never)]
pub(crate) fn open_rooms(store: &Embedded, rooms: &[RoomKey]) {
    for room in rooms {
        black_box(store.open(room, EPOCH).expect("the log is whole"));
    }
}
