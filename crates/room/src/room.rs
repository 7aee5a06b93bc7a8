//! `Room::handle`: the only place where a room's state changes.
//!
//! One room, its members, its presence, and how far it is on disk. Called by the room's task with one input after the other; what has to happen outside
//! comes back as effects, in order. Never waits, never reads a clock, never decodes a client's framing.

use crate::awareness::{Awareness, MalformedAwareness, News, Speaker};
use crate::limits::Limits;
use crate::member::{Access, Guest, Kind, Member, MemberId, Members};
use crate::message::{Author, Change, Closing, Denied, Effect, Effects, Event, Input, Manner, Person, Shown, Topic};
use crate::rules::Rules;
use crate::snapshot::{Parts, SnapshotError};
use bytes::Bytes;
use document::{Document, Exceeded, MessageLimits, Part, RoomLimits, StateVector, Update};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use thin_vec::ThinVec;

/// Senders remembered although nothing of theirs is parked: to find them again is cheaper than to forget them.
const SENDERS_KEPT: usize = 32;
/// Structs in memory take a few times their bytes on the wire; beyond that, content is likely to be deleted.
const MEMORY_PER_SNAPSHOT_BYTE: usize = 4;
/// A document smaller than this is not worth compacting.
const COMPACT_BYTES_MIN: usize = 1 << 20;
/// Smaller answers are made as quickly as they are found.
const ANSWER_BYTES_MIN: usize = 512;
/// A list of this length belongs to a quiet room, which shall cost next to nothing.
const UNACKNOWLEDGED_FEW: usize = 8;
/// Answers remembered between two changes: for who has nothing, for who has everything, for who was here a moment ago.
const ANSWERS_MAX: usize = 4;
/// The update without content.
const NOTHING: &[u8] = &[0, 0];
/// Presence ids that the room chooses are below this, as those of Yjs are.
const CHOSEN_ID_END: u64 = 1 << 31;
/// Presence that the room renews is renewed so often: clients forget it after 30 s.
const RENEW_MS: u64 = 15_000;
/// Length of the window in which malformed messages are counted.
const MINUTE_MS: u64 = 60_000;

/// What a room is made from: what the store had of it.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// The latest snapshot.
    pub snapshot: Option<Bytes>,
    /// The changes after it.
    pub changes: Vec<Change>,
    /// Offset of the next change.
    pub head: u64,
    /// Everything before this offset is on stable storage.
    pub durable: u64,
    /// Deleted content stays readable.
    pub keep_deleted: bool,
}

/// A document and who is in it.
#[derive(Debug)]
pub struct Room {
    document: Document,
    awareness: Awareness,
    members: Members,
    limits: Arc<Limits>,
    keep_deleted: bool,
    head: u64,
    durable: u64,
    /// Updates not durable yet, oldest first.
    unacknowledged: VecDeque<Unacknowledged>,
    unacknowledged_bytes: usize,
    /// Parts that have been applied.
    applied: u64,
    /// Who has sent what is parked, by the number the document knows. Begun again when nothing is.
    senders: Vec<Sender>,
    /// The last answers and to whom they are, shared by all who come from there before the next change.
    answers: ThinVec<(StateVector, Bytes)>,
}

#[derive(Debug)]
struct Unacknowledged {
    /// Durable up to here means saved.
    offset: u64,
    member: MemberId,
    event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sender {
    author: Author,
    /// None: before the room was loaded.
    member: Option<MemberId>,
}

impl Rules for Room {
    fn handle(&mut self, input: Input, now_ms: u64, effects: &mut Effects) {
        match input {
            Input::Join { member, kind, access, author, trusts_all } => {
                let known = StateVector::default();
                let joined = Member {
                    kind,
                    access,
                    author,
                    trusts_all,
                    known,
                    told_read_only: false,
                    asked_at: None,
                    malformed_ms: ThinVec::new(),
                    manner: Manner::default(),
                    guest: None,
                };
                self.members.insert(member, joined);
                effects.push(Effect::Place(member));
            }
            Input::Leave(member) => self.leave(member, now_ms, effects),
            Input::SetAccess(member, access) => self.set_access(member, access),
            Input::Adopt(member, manner) => self.adopt(member, manner),
            Input::Introduce { member, person, id, chance } => self.introduce(member, person, id, chance, effects),
            Input::Present(member, state) => self.present(member, state.as_deref(), now_ms),
            Input::Relay { member, topic, payload } => self.relay(member, topic, payload, effects),
            Input::Announce(topic, payload) => {
                effects.push(Effect::Publish { except: None, event: Event::Relayed(topic, payload) });
            }
            Input::Found(member) => self.found(member, now_ms, effects),
            Input::Mark(member, bytes) => {
                self.tell_when_durable(member, Event::Marked(bytes));
                self.acknowledge(effects);
            }
            Input::Ask(member) => self.tell_state_vector(member, effects),
            Input::Sync(member, known) => self.answer(member, &known, true, effects),
            Input::SyncInOne(member, known) => self.answer(member, &known, false, effects),
            Input::Update { member, author, is_answer, update } => {
                self.update(member, author, is_answer, &update, now_ms, effects);
            }
            Input::Awareness(member, bytes) => self.hear(member, &bytes, now_ms, effects),
            Input::QueryAwareness { member, always } => self.tell_awareness(member, always, effects),
            // A document has none.
            Input::Notes(..) => {}
            Input::Malformed(member) => self.count_malformed(member, now_ms, effects),
            Input::Beyond(member, exceeded) => close_beyond(member, exceeded, effects),
            Input::CatchUp(member) => self.catch_up(member, effects),
            Input::Durable(offset) => self.durable(offset, effects),
            Input::Compacted { snapshot_bytes } => self.compact(snapshot_bytes),
            Input::TellPresence => self.tell_presence(effects),
            Input::Tick => self.tick(now_ms),
            // For rooms that are databases.
            Input::Tables(..) | Input::Answered { .. } => {}
        }
    }

    fn head(&self) -> u64 {
        self.head
    }

    fn durable_offset(&self) -> u64 {
        self.durable
    }

    fn bytes(&self) -> usize {
        self.document.bytes() + self.awareness.bytes() + self.unacknowledged_bytes
    }

    fn is_congested(&self) -> bool {
        self.unacknowledged_bytes > self.limits.unacknowledged_bytes_max
    }

    fn wants_ticks(&self) -> bool {
        !self.awareness.is_empty() || !self.answers.is_empty()
    }

    fn presence_waits(&self) -> bool {
        self.awareness.waits()
    }
}

impl Room {
    /// Makes a room from what was stored. A change that cannot be read is passed over: the others are worth more than a closed room. The snapshot
    /// is checked, but becomes structs only when something needs them: about 2 us a KB. Rooms may share their limits.
    pub fn load(stored: &Stored, limits: impl Into<Arc<Limits>>) -> Result<Self, SnapshotError> {
        let limits = limits.into();
        let mut room = Self {
            document: Document::new(RoomLimits::STORED),
            awareness: Awareness::default(),
            members: Members::default(),
            limits,
            keep_deleted: stored.keep_deleted,
            head: stored.head,
            durable: stored.durable,
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            applied: 0,
            senders: Vec::new(),
            answers: ThinVec::new(),
        };
        if let Some(bytes) = &stored.snapshot {
            let snapshot = Parts::decode(bytes)?;
            if !snapshot.state.is_empty() {
                room.document = Document::from_snapshot(RoomLimits::STORED, snapshot.state, snapshot.depth)?;
            }
            // The bytes themselves may be sent to whoever asks.
            if snapshot.has_deleted && !stored.keep_deleted {
                room.document.expand();
            }
            for parked in snapshot.parked {
                let update = Update::validate(parked.update, &MessageLimits::STORED)?;
                room.document.add(&update, number(&mut room.senders, &parked.author, None));
            }
        }
        for change in &stored.changes {
            if let Ok(update) = Update::validate(&change.bytes[..], &MessageLimits::STORED) {
                room.document.add(&update, number(&mut room.senders, &change.author, None));
            }
        }
        room.document.set_limits(room.limits.document);
        Ok(room)
    }

    /// How many are in it.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    fn leave(&mut self, member: MemberId, now_ms: u64, effects: &mut Effects) {
        let guest = self.members.remove(member);
        self.awareness.leave(member, now_ms);
        if let Some(guest) = &guest {
            self.awareness.give_up(guest.id);
        }
        if let Some(guest) = guest.filter(|_| self.members.has_guests()) {
            // What its presence was is gone before it is.
            self.tell_presence(effects);
            effects.push(Effect::Publish { except: None, event: Event::Departed(guest.person) });
        }
    }

    fn adopt(&mut self, member: MemberId, manner: Manner) {
        if let Some(member) = self.members.get_mut(member) {
            member.manner = manner;
        }
    }

    fn introduce(
        &mut self,
        member: MemberId,
        person: Arc<Person>,
        wanted: Option<u64>,
        chance: u64,
        effects: &mut Effects,
    ) {
        if self.members.get(member).is_none() {
            return;
        }
        if self.awareness.waits() {
            // It asks for everybody's presence, and is not to be told once more of what has changed before.
            self.tell_presence(effects);
            effects.push(Effect::Place(member));
        }
        let is_nobodys = |id: &u64| self.members.guest_of(*id).is_none();
        let is_free = |id: &u64| !self.awareness.knows(*id) && is_nobodys(id);
        // Who comes back finds its own id remembered, but not in use.
        let wanted = wanted.filter(|id| !self.awareness.is_present(*id) && is_nobodys(id));
        // Few of two thousand million are taken.
        let ids = (0..).map(|step| chance.wrapping_add(step) % CHOSEN_ID_END).filter(|id| *id > 0);
        let id = wanted.or_else(|| ids.into_iter().find(is_free)).unwrap_or_default();
        let mut named = BTreeSet::new();
        let others = self.members.guests().filter(|(other, _)| *other != member).map(|(_, guest)| &guest.person);
        let people: Vec<Arc<Person>> = others.filter(|person| named.insert(&person.id)).cloned().collect();
        if let Some(author) = self.members.get(member).map(|member| member.author.clone()) {
            self.awareness.reserve(id, member, author);
        }
        self.members.introduce(member, Guest { person: person.clone(), id, clock: 0 });
        effects.push(Effect::Send(member, Event::Welcome { id, people: people.into() }));
        effects.push(Effect::Publish { except: Some(member), event: Event::Arrived(person) });
    }

    fn present(&mut self, id: MemberId, state: Option<&[u8]>, now_ms: u64) {
        let Some(member) = self.members.get_mut(id) else { return };
        let (author, trusts_all) = (member.author.clone(), member.trusts_all);
        let Some(guest) = &mut member.guest else { return };
        // Where nobody can be told apart somebody else may have spoken for it.
        guest.clock = guest.clock.max(self.awareness.clock(guest.id)) + 1;
        let speaker = Speaker { member: id, identity: &author, trusts_all, ids_max: usize::MAX };
        self.awareness.set(&speaker, guest.id, guest.clock, state, now_ms, &self.limits);
    }

    /// A change without content makes a room that is remembered.
    fn found(&mut self, id: MemberId, now_ms: u64, effects: &mut Effects) {
        let Some(founder) = self.members.get(id).filter(|_| self.head == 0) else { return };
        match founder.access {
            Access::Write => self.append(founder.author.clone(), Bytes::from_static(NOTHING), now_ms, effects),
            Access::Read => effects.push(Effect::Send(id, Event::Denied(Denied::ReadOnly))),
        }
    }

    fn relay(&mut self, id: MemberId, topic: Topic, payload: Bytes, effects: &mut Effects) {
        match self.members.get(id).map(|member| (member.access, member.manner.relay_denial)) {
            Some((Access::Write, _)) => {
                effects.push(Effect::Publish { except: Some(id), event: Event::Relayed(topic, payload) });
            }
            Some((Access::Read, true)) => effects.push(Effect::Send(id, Event::Denied(Denied::ReadOnly))),
            Some((Access::Read, false)) | None => {}
        }
    }

    fn set_access(&mut self, member: MemberId, access: Access) {
        if let Some(member) = self.members.get_mut(member) {
            // Who is told once may be told again when it has had the right in between.
            member.told_read_only &= access == Access::Read;
            member.access = access;
        }
    }

    fn tell_state_vector(&self, member: MemberId, effects: &mut Effects) {
        effects.push(Effect::Send(member, Event::StateVector(self.document.state_vector().encode().into())));
    }

    fn answer(&mut self, member: MemberId, known: &StateVector, in_pieces: bool, effects: &mut Effects) {
        let Some(asking) = self.members.get_mut(member) else { return };
        asking.known = self.document.known_part(known);
        let known = asking.known.clone();
        if in_pieces
            && known.entries().is_empty()
            && self.document.unchanged_base().is_none()
            && let Some(base) = self.document.base().cloned()
        {
            let rest = self.missing(&self.document.base_vector());
            effects.push(Effect::Send(member, Event::Base(base)));
            effects.push(Effect::Send(member, Event::Missing(rest)));
            return;
        }
        let missing = self.missing(&known);
        effects.push(Effect::Send(member, Event::Missing(missing)));
    }

    /// One update with everything that somebody lacks who has `known`.
    fn missing(&mut self, known: &StateVector) -> Bytes {
        if let Some(base) = self.document.unchanged_base().filter(|_| known.entries().is_empty()) {
            return base.clone();
        }
        if let Some((_, answer)) = self.answers.iter().find(|(position, _)| position == known) {
            return answer.clone();
        }
        let missing = Bytes::from(self.document.diff(known, self.keep_deleted));
        if missing.len() < ANSWER_BYTES_MIN {
            return missing;
        }
        if self.answers.len() == ANSWERS_MAX {
            self.answers.remove(0);
        }
        self.answers.push((known.clone(), missing.clone()));
        missing
    }

    fn update(
        &mut self,
        id: MemberId,
        author: Option<Author>,
        is_answer: bool,
        update: &Update<Bytes>,
        now_ms: u64,
        effects: &mut Effects,
    ) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.access == Access::Read {
            // A pure reader's step 2 may carry deletes that follow from integration; only structs are an attempt to write.
            let each = member.manner.each_denial;
            if (each || !member.told_read_only) && (each && !is_answer || self.document.brings_structs(update)) {
                member.told_read_only = true;
                effects.push(Effect::Send(id, Event::Denied(Denied::ReadOnly)));
            } else if each {
                self.tell_when_durable(id, Event::Saved { update: None });
                self.acknowledge(effects);
            }
            return;
        }
        if update.bytes() == NOTHING {
            // What a provider with nothing of its own answers.
            self.tell_when_durable(id, Event::Saved { update: None });
            return self.acknowledge(effects);
        }
        let author = author.filter(|_| member.kind == Kind::Peer).unwrap_or_else(|| member.author.clone());
        let sender = number(&mut self.senders, &author, Some(id));
        let added = self.document.add(update, sender);
        let mut own = None;
        self.applied += added.parts.len() as u64;
        for part in added.parts {
            let (whose, bytes) = match part {
                Part::Whole => (sender, update.clone().into_bytes()),
                Part::Cut { author, bytes } => (author, Bytes::from(bytes)),
            };
            let Sender { author, member } = self.senders[whose as usize].clone();
            self.append(author, bytes.clone(), now_ms, effects);
            // To whoever sent it, its own content means that it is saved. The last part of this update says so by itself.
            let earlier = if whose == sender { own.replace(bytes.clone()) } else { Some(bytes.clone()) };
            if let (Some(member), Some(earlier)) = (member, earlier) {
                self.tell_when_durable(member, Event::Update(earlier));
            }
            effects.push(Effect::Publish { except: member, event: Event::Update(bytes) });
        }
        if let Some(parked) = added.parked {
            self.append(author, parked.into(), now_ms, effects);
            let applied = Some(self.applied);
            if self
                .members
                .get_mut(id)
                .is_some_and(|member| std::mem::replace(&mut member.asked_at, applied) != applied)
            {
                self.tell_state_vector(id, effects);
            }
        }
        if self.senders.len() > SENDERS_KEPT && !self.document.has_parked() {
            self.senders.clear();
        }
        match added.refused {
            Some(exceeded) => close_beyond(id, exceeded, effects),
            // Exactly one acknowledgement for each update: when all that was accepted by then is durable.
            None => self.tell_when_durable(id, Event::Saved { update: own }),
        }
        self.acknowledge(effects);
    }

    fn append(&mut self, author: Author, bytes: Bytes, time_ms: u64, effects: &mut Effects) {
        self.head += 1;
        self.answers.clear();
        effects.push(Effect::Append(Change { author, time_ms, bytes }));
    }

    fn tell_when_durable(&mut self, member: MemberId, event: Event) {
        self.unacknowledged_bytes += unacknowledged_bytes(&event);
        self.unacknowledged.push_back(Unacknowledged { offset: self.head, member, event });
    }

    fn durable(&mut self, offset: u64, effects: &mut Effects) {
        if offset <= self.durable {
            return;
        }
        self.durable = offset;
        self.acknowledge(effects);
        effects.extend(self.members.peers().map(|id| Effect::Send(id, Event::Durable(offset))));
    }

    fn acknowledge(&mut self, effects: &mut Effects) {
        while let Some(saved) = self.unacknowledged.pop_front_if(|oldest| oldest.offset <= self.durable) {
            self.unacknowledged_bytes -= unacknowledged_bytes(&saved.event);
            let told = self
                .members
                .get(saved.member)
                .is_some_and(|member| member.kind == Kind::Client || saved.event.is_news());
            if told {
                effects.push(Effect::Send(saved.member, saved.event));
            }
        }
        if self.unacknowledged.is_empty() && self.unacknowledged.capacity() <= UNACKNOWLEDGED_FEW {
            self.unacknowledged = VecDeque::new();
        }
    }

    fn hear(&mut self, id: MemberId, bytes: &[u8], now_ms: u64, effects: &mut Effects) {
        let Some(member) = self.members.get(id) else { return };
        let ids_max = match member.kind {
            Kind::Client => self.limits.awareness_ids_per_member_max,
            Kind::Peer => usize::MAX,
        };
        let speaker = Speaker { member: id, identity: &member.author, trusts_all: member.trusts_all, ids_max };
        if let Err(MalformedAwareness) = self.awareness.apply(&speaker, bytes, now_ms, &self.limits) {
            self.count_malformed(id, now_ms, effects);
        }
    }

    fn tell_presence(&mut self, effects: &mut Effects) {
        if self.members.has_guests() {
            // Whoever was introduced is told of one by one, as they are not told of themselves; all others together.
            let mut others = Vec::new();
            for news in self.awareness.news() {
                // Where nobody can be told apart somebody else may have spoken for it.
                let except = self.members.guest_of(news.id).map(|its| news.owner.unwrap_or(its));
                let shown = self.shown(news);
                match except {
                    Some(_) => effects.push(Effect::Publish { except, event: Event::Presence([shown].into()) }),
                    None => others.push(shown),
                }
            }
            if !others.is_empty() {
                effects.push(Effect::Publish { except: None, event: Event::Presence(others.into()) });
            }
        }
        let states = self.awareness.tell();
        effects.extend(states.map(|states| Effect::Publish { except: None, event: Event::Awareness(states) }));
    }

    fn tell_awareness(&self, member: MemberId, always: bool, effects: &mut Effects) {
        if self.members.get(member).is_some_and(|member| member.guest.is_some()) {
            let states: Arc<[Shown]> = self.awareness.everybody().map(|news| self.shown(news)).collect();
            if always || !states.is_empty() {
                effects.push(Effect::Send(member, Event::Presence(states)));
            }
            return;
        }
        let present = self.awareness.present().or_else(|| always.then(Awareness::nobody));
        effects.extend(present.map(|states| Effect::Send(member, Event::Awareness(states))));
    }

    fn shown(&self, News { id, state, owner }: News) -> Shown {
        let guest = owner.and_then(|owner| self.members.get(owner)?.guest.as_deref());
        Shown { id, state, by_guest: guest.is_some_and(|guest| guest.id == id) }
    }

    fn count_malformed(&mut self, id: MemberId, now_ms: u64, effects: &mut Effects) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.malformed_ms.retain(|&then| now_ms.saturating_sub(then) < MINUTE_MS);
        member.malformed_ms.push(now_ms);
        let max = member.manner.malformed_per_minute_max.unwrap_or(self.limits.malformed_per_minute_max);
        if member.malformed_ms.len() >= max {
            member.malformed_ms.clear();
            effects.push(Effect::Close(id, Closing::Malformed));
        }
    }

    /// One update with all that the member may lack since it last said what it has, and everybody's presence.
    fn catch_up(&mut self, member: MemberId, effects: &mut Effects) {
        let Some(known) = self.members.get(member).map(|behind| behind.known.clone()) else { return };
        let missing = self.missing(&known);
        effects.push(Effect::Place(member));
        effects.push(Effect::Send(member, Event::Update(missing)));
        effects.extend(self.awareness.everything().map(|states| Effect::Send(member, Event::Awareness(states))));
    }

    /// Drops deleted content from memory when most of what is there seems to be that: the cost is that of loading the room.
    fn compact(&mut self, snapshot_bytes: u64) {
        let alive = snapshot_bytes as usize * MEMORY_PER_SNAPSHOT_BYTE + COMPACT_BYTES_MIN;
        if !self.keep_deleted && self.document.bytes() > alive {
            self.document.compact();
            self.answers.clear();
        }
    }

    fn tick(&mut self, now_ms: u64) {
        self.renew_guests(now_ms);
        self.awareness.sweep(now_ms, &self.limits);
        // Whoever came together has been answered by now, and a quiet room keeps no memory that it does not need.
        self.answers = ThinVec::new();
        if !self.document.has_parked() {
            self.senders = Vec::new();
        }
        if self.unacknowledged.is_empty() {
            self.unacknowledged = VecDeque::new();
        }
    }
}

impl Room {
    /// Whoever was introduced is present as long as its connection is; others want to hear that now and then.
    fn renew_guests(&mut self, now_ms: u64) {
        let due: Vec<(MemberId, u64)> = self
            .members
            .guests()
            .filter(|(_, guest)| {
                self.awareness.renewed_ms(guest.id).is_some_and(|then| now_ms.saturating_sub(then) >= RENEW_MS)
            })
            .map(|(member, guest)| (member, guest.id))
            .collect();
        for (member, id) in due {
            if let Some(guest) = self.members.get_mut(member).and_then(|member| member.guest.as_mut()) {
                guest.clock += 1;
                self.awareness.renew(member, id, guest.clock, now_ms);
            }
        }
    }
}

fn close_beyond(member: MemberId, exceeded: Exceeded, effects: &mut Effects) {
    effects.push(Effect::Close(member, Closing::Beyond(exceeded.to_string())));
}

/// The number of a sender, given one when new. Few write in one room, and the one who wrote last comes last.
fn number(senders: &mut Vec<Sender>, author: &Author, member: Option<MemberId>) -> u32 {
    // Also while something waits for ever, and the list grows by one entry a page that writes, nobody pays more for that than this.
    let recent = senders.len().saturating_sub(SENDERS_KEPT);
    let known = senders[recent..].iter().rposition(|known| known.member == member && known.author == *author);
    known.map(|place| recent + place).unwrap_or_else(|| {
        if senders.is_empty() {
            // In most rooms one writes.
            senders.reserve_exact(1);
        }
        senders.push(Sender { author: author.clone(), member });
        senders.len() - 1
    }) as u32
}

fn unacknowledged_bytes(event: &Event) -> usize {
    let content = match event {
        Event::Saved { update: Some(bytes) } | Event::Update(bytes) | Event::Marked(bytes) => bytes.len(),
        _ => 0,
    };
    content + size_of::<Unacknowledged>()
}
