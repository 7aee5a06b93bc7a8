//! Random members who type, lose their connections, and come back, over a room whose disk lags behind, stops, and loses what it had not synced.
//!
//! A member here is a page: its own document, and a connection that may end at any moment with everything that is still on its way.

use bytes::Bytes;
use document::lib0::{Reader, write_var_bytes, write_var_uint};
use document::{Document, MessageLimits, RoomLimits, StateVector, Update};
use fastrand::Rng;
use room::{Access, Author, Change, Effect, Event, Input, Kind, Limits, MemberId, Room, Rules, Snapshot, Stored};
use std::collections::{BTreeSet, VecDeque};

struct Page {
    client: u64,
    document: Document,
    connection: Option<Connection>,
}

/// One connection: what is on its way, and what the page still waits to hear of.
struct Connection {
    member: MemberId,
    to_room: VecDeque<Input>,
    to_page: VecDeque<Event>,
    unacknowledged: VecDeque<Update<Bytes>>,
}

struct World {
    random: Rng,
    room: Room,
    pages: Vec<Page>,
    members: u64,
    /// What the store has, the snapshot's changes included.
    log: Vec<Change>,
    snapshot: Option<(usize, Bytes)>,
    durable: usize,
    /// The document that a power cut would leave.
    safe: Document,
    /// Elements published since the room was loaded: (client, clock).
    published: BTreeSet<(u64, u32)>,
    saved: u64,
    now_ms: u64,
}

impl World {
    fn new(seed: u64, pages: usize) -> Self {
        let new = |number| Page {
            client: 100 + number as u64,
            document: Document::new(RoomLimits::STORED),
            connection: None,
        };
        Self {
            random: Rng::with_seed(seed),
            room: Room::load(&Stored::default(), Limits::default()).expect("an empty room"),
            pages: (0..pages).map(new).collect(),
            members: 0,
            log: Vec::new(),
            snapshot: None,
            durable: 0,
            safe: Document::default(),
            published: BTreeSet::new(),
            saved: 0,
            now_ms: 0,
        }
    }

    fn step(&mut self) {
        self.now_ms += 100;
        let place = self.random.usize(..self.pages.len());
        match self.random.u8(..40) {
            0..=9 => self.edit(place),
            10..=21 => drop(self.room_takes(place)),
            22..=31 => drop(self.page_takes(place)),
            32 => self.disconnect(place),
            33..=34 => self.connect(place),
            35..=37 => self.sync_disk(),
            38 if self.random.u8(..4) == 0 => self.compact(),
            39 if self.random.u8(..10) == 0 => self.restart(),
            _ => {}
        }
    }

    /// The page writes something of its own, connected or not.
    fn edit(&mut self, place: usize) {
        let page = &mut self.pages[place];
        let clock = page.document.state_vector().clock(page.client);
        let delete = (clock > 4 && self.random.u8(..3) == 0).then(|| self.random.u32(..clock));
        let others: Vec<(u64, u32)> = page.document.state_vector().entries().to_vec();
        let origin = self.random.choice(others).map(|(client, state)| (client, self.random.u32(..state)));
        let update = write(page.client, clock, origin, delete);
        let valid = Update::validate(&update[..], &MessageLimits::default()).expect("a valid update");
        assert_eq!(page.document.add(&valid, 0).parked, None);
        if let Some(connection) = &mut page.connection {
            connection.send(update);
        }
    }

    fn connect(&mut self, place: usize) {
        let page = &mut self.pages[place];
        if page.connection.is_some() {
            return;
        }
        self.members += 1;
        let member = MemberId(self.members);
        let joins = Input::Join {
            member,
            kind: Kind::Client,
            access: Access::Write,
            author: Author::from("a"),
            trusts_all: true,
        };
        let to_room = VecDeque::from([Input::Ask(member), Input::Sync(member, page.document.state_vector())]);
        page.connection =
            Some(Connection { member, to_room, to_page: VecDeque::new(), unacknowledged: VecDeque::new() });
        self.handle(joins);
    }

    fn disconnect(&mut self, place: usize) {
        if let Some(connection) = self.pages[place].connection.take() {
            self.handle(Input::Leave(connection.member));
        }
    }

    fn room_takes(&mut self, place: usize) -> bool {
        let Some(connection) = &mut self.pages[place].connection else { return false };
        let Some(input) = connection.to_room.pop_front() else { return false };
        if let Input::Update { update, .. } = &input {
            connection.unacknowledged.push_back(update.clone());
        }
        self.handle(input);
        true
    }

    fn handle(&mut self, input: Input) {
        let sender = match &input {
            Input::Update { member, .. } => Some(*member),
            _ => None,
        };
        let mut effects = Vec::new();
        self.room.handle(input, self.now_ms, &mut effects);
        for effect in effects {
            self.carry_out(effect, sender);
        }
    }

    fn carry_out(&mut self, effect: Effect, sender: Option<MemberId>) {
        match effect {
            Effect::Append(change) => self.log.push(change),
            Effect::Publish { except, event } => {
                assert!(except.is_none() || except == sender, "somebody is left out");
                if let Event::Update(bytes) = &event {
                    self.note_published(bytes);
                }
                for connection in self.pages.iter_mut().filter_map(|page| page.connection.as_mut()) {
                    if Some(connection.member) != except {
                        connection.to_page.push_back(event.clone());
                    }
                }
            }
            Effect::Send(member, event) => {
                let found = self
                    .pages
                    .iter_mut()
                    .filter_map(|page| page.connection.as_mut())
                    .find(|found| found.member == member);
                let connection = found.expect("nobody is told who left");
                if let Event::Saved { .. } = &event {
                    self.saved += 1;
                    let update = connection.unacknowledged.pop_front().expect("acknowledged more often than sent");
                    // Nothing of it may be missing on stable storage, deletes and parked parts included.
                    let mut safe = self.safe.clone();
                    assert_eq!(safe.add(&update, 0), document::Added::default(), "acknowledged before it was durable");
                }
                connection.to_page.push_back(event);
            }
            Effect::Place(_) => {}
            Effect::Close(member, closing) => panic!("{member:?} closed: {closing:?}"),
            Effect::Ask(question) => panic!("a document asks no database: {question:?}"),
        }
    }

    /// Each element reaches the others once in a room's life.
    fn note_published(&mut self, bytes: &[u8]) {
        for id in element_ids(bytes) {
            assert!(self.published.insert(id), "element {id:?} published twice");
        }
    }

    fn page_takes(&mut self, place: usize) -> bool {
        let page = &mut self.pages[place];
        let Some(connection) = &mut page.connection else { return false };
        let Some(event) = connection.to_page.pop_front() else { return false };
        match event {
            Event::Base(bytes) | Event::Missing(bytes) | Event::Update(bytes) => {
                let update = Update::validate(bytes, &MessageLimits::STORED).expect("what the room sends is valid");
                let added = page.document.add(&update, 0);
                assert_eq!(added.refused, None);
            }
            Event::StateVector(bytes) => {
                let known = StateVector::decode(&bytes, &MessageLimits::default()).expect("a state vector");
                connection.send(page.document.diff(&known, true));
            }
            Event::Saved { .. } => {}
            other => panic!("{other:?}"),
        }
        true
    }

    /// The disk syncs some of what it was given.
    fn sync_disk(&mut self) {
        let durable = self.random.usize(self.durable..=self.log.len());
        self.sync_disk_to(durable);
    }

    fn sync_disk_to(&mut self, durable: usize) {
        for change in &self.log[self.durable..durable] {
            self.safe.add(
                &Update::validate(&change.bytes[..], &MessageLimits::STORED).expect("logged updates are valid"),
                0,
            );
        }
        self.durable = durable;
        self.handle(Input::Durable(durable as u64));
    }

    fn compact(&mut self) {
        let (from, previous) = self.snapshot.take().map_or((0, None), |(from, bytes)| (from, Some(bytes)));
        let squashed = Snapshot::squash(previous.as_deref(), &self.log[from..self.durable], true).expect("a snapshot");
        self.snapshot = Some((self.durable, squashed.encode().into()));
    }

    /// The machine stops: connections end, and what was not synced may be gone.
    fn restart(&mut self) {
        for page in &mut self.pages {
            page.connection = None;
        }
        self.log.truncate(self.random.usize(self.durable..=self.log.len()));
        let (from, snapshot) = self.snapshot.clone().map_or((0, None), |(from, bytes)| (from, Some(bytes)));
        let stored = Stored {
            snapshot,
            changes: self.log[from..].to_vec(),
            head: self.log.len() as u64,
            durable: self.durable as u64,
            keep_deleted: self.random.bool(),
        };
        self.room = Room::load(&stored, Limits::default()).expect("what was stored can be read");
        self.published.clear();
    }

    /// Everybody comes back, everything arrives, the disk catches up.
    fn heal(&mut self) {
        for place in 0..self.pages.len() {
            self.connect(place);
        }
        loop {
            let moved = (0..self.pages.len())
                .fold(false, |moved, place| self.room_takes(place) | self.page_takes(place) | moved);
            self.sync_disk_to(self.log.len());
            if !moved {
                break;
            }
        }
    }

    fn check(&mut self) {
        let whole = self.safe.snapshot(false);
        let vector = self.safe.state_vector();
        for page in &self.pages {
            assert_eq!(page.document.state_vector(), vector, "page {}", page.client);
            assert_eq!(page.document.snapshot(false), whole, "page {}", page.client);
            assert_eq!(page.document.parked_updates(), []);
            let connection = page.connection.as_ref().expect("connected");
            assert!(connection.unacknowledged.is_empty(), "page {} waits for an acknowledgement", page.client);
        }
        assert!(vector.entries().len() > 1, "nobody wrote");
        assert!(self.saved > 10, "nothing was acknowledged");
    }
}

impl Connection {
    fn send(&mut self, bytes: Vec<u8>) {
        let update = Update::validate(Bytes::from(bytes), &MessageLimits::default()).expect("a valid update");
        self.to_room.push_back(Input::Update { member: self.member, author: None, is_answer: false, update });
    }
}

/// The elements of an update in which there is nothing but text, deleted content and holes.
fn element_ids(bytes: &[u8]) -> Vec<(u64, u32)> {
    let (mut reader, mut ids) = (Reader::new(bytes), Vec::new());
    let uint = |reader: &mut Reader<'_>| reader.var_uint().expect("an integer");
    for _ in 0..uint(&mut reader) {
        let (structs, client, mut clock) = (uint(&mut reader), uint(&mut reader), uint(&mut reader) as u32);
        for _ in 0..structs {
            let info = reader.u8().expect("an info byte");
            let references = if info & 0x1f == 10 { 0 } else { (info >> 7) + (info >> 6 & 1) };
            for _ in 0..references * 2 {
                uint(&mut reader);
            }
            if references == 0 && info != 10 {
                assert_eq!((uint(&mut reader), reader.var_string()), (1, Ok("t")));
            }
            let len = match info & 0x1f {
                4 => reader.var_string().expect("text").len() as u32,
                1 | 10 => uint(&mut reader) as u32,
                kind => panic!("content kind {kind}"),
            };
            ids.extend((clock..clock + len).filter(|_| info != 10).map(|clock| (client, clock)));
            clock += len;
        }
    }
    ids
}

/// Two letters behind any element, or at the beginning of a text; and a delete of one of the page's own elements.
fn write(client: u64, clock: u32, origin: Option<(u64, u32)>, delete: Option<u32>) -> Vec<u8> {
    let mut out = vec![1, 1];
    write_var_uint(&mut out, client);
    write_var_uint(&mut out, u64::from(clock));
    match origin {
        Some((other, at)) => {
            out.push(0x84);
            write_var_uint(&mut out, other);
            write_var_uint(&mut out, u64::from(at));
        }
        None => out.extend([4, 1, 1, b't']),
    }
    write_var_bytes(&mut out, &[b'a' + (clock % 26) as u8, b'!']);
    match delete {
        Some(at) => {
            out.push(1);
            write_var_uint(&mut out, client);
            out.push(1);
            write_var_uint(&mut out, u64::from(at));
            out.push(1);
        }
        None => out.push(0),
    }
    out
}

#[test]
fn random_members_converge_and_what_was_acknowledged_stays() {
    for seed in 0..150 {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, 2 + seed as usize % 4);
            for _ in 0..600 {
                world.step();
            }
            world.heal();
            world.check();
        });
        assert!(run.is_ok(), "failed with seed {seed}");
    }
}
