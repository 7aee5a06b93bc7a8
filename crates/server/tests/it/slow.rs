//! A client that does not read costs itself its place, and nobody else anything.

use crate::listener::{Listener, Told, WIRES, Wire};
use crate::provider::{Provider, Said, awareness, content_of, step_1};
use crate::world::{Running, config, limited, memory};
use dialect::{NOTES, ROOM_DB};
use server::config::Limits;
use std::net::SocketAddr;
use std::sync::Arc;
use store::Store;
use testkit::client::{Client, Heard};

/// One edit, larger than the ring of these tests by a little less than half.
const EDIT_BYTES: usize = 40 << 10;
/// Enough to fill every buffer of the system between two sockets, several times.
const EDITS: usize = 400;

fn small_ring() -> server::config::Config {
    let mut config = config();
    config.limits.ring_bytes_max = 64 << 10;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn who_falls_behind_is_caught_up_with_one_update_and_delays_nobody() {
    let server = Running::start(small_ring(), memory()).await;
    let mut slow = Provider::on(Client::connect_narrow(server.address, "/r").await, 1).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    let mut reader = Provider::enter(server.address, "/r", 3).await;
    let text = "x".repeat(EDIT_BYTES);
    for edit in 0..EDITS {
        if edit == EDITS / 2 {
            // What it writes itself is accepted all the same.
            slow.write("still here").await;
        }
        writer.write(&text).await;
        // Both are served while `slow` does not read a byte.
        writer.until_saved().await;
        reader.until_shown(2, writer.writer.clock).await;
    }
    reader.until_shown(1, 10).await;

    let (mut single, mut catch_ups) = (0, 0);
    while slow.shown(2) < writer.writer.clock {
        match slow.hear().await {
            Said::Update(bytes) if bytes.len() > 2 * EDIT_BYTES => catch_ups += 1,
            Said::Update(_) => single += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(catch_ups, 1, "after {single} single edits");
    assert!(single < EDITS, "it was never behind: the test writes too little");
    slow.until_saved().await;
    writer.write_and_save("and on it goes").await;
    slow.until_shown(2, writer.writer.clock).await;
    writer.until_shown(1, 10).await;
    reader.until_shown(2, writer.writer.clock).await;
    assert_eq!(slow.content(), writer.content());
    assert_eq!(reader.content(), writer.content());
}

/// What becomes of a member of a dialect that is behind.
#[derive(Clone, Copy, Debug)]
enum Behind {
    /// It gets what it has missed, in one update.
    CaughtUp,
    /// It is closed and comes back: at the latest when so many frames wait for it.
    Closed { code: u16, reason: &'static str, frames: u64 },
}

const BEHIND: [(&str, Behind); 5] = [
    ("y-websocket", Behind::CaughtUp),
    ("hocuspocus", Behind::CaughtUp),
    ("y-sweet", Behind::CaughtUp),
    ("json-yjs", Behind::Closed { code: 1013, reason: "slow consumer", frames: 4_096 }),
    ("sessions", Behind::Closed { code: 1013, reason: "slow consumer", frames: 512 }),
];

#[test]
fn the_table_has_every_dialect_that_is_yjs() {
    let is_yjs = |name: &&str| ![NOTES.name(), ROOM_DB.name()].contains(name);
    let all: Vec<&str> = dialect::ALL.iter().map(|dialect| dialect.name()).filter(is_yjs).collect();
    assert_eq!(BEHIND.map(|(name, _)| name), *all);
    assert_eq!(WIRES.each_ref().map(|wire| wire.dialect.name()), *all);
    for (wire, (name, behind)) in WIRES.iter().zip(BEHIND) {
        let frames = if let Behind::Closed { frames, .. } = behind { Some(frames) } else { None };
        assert_eq!(wire.dialect.behind_max(), frames, "{name}");
    }
}

/// A room with a member of a dialect that does not read, another one that does, and a writer.
struct Crowd {
    server: Running,
    store: Arc<dyn Store>,
    slow: Listener,
    reader: Listener,
    writer: Provider,
}

impl Crowd {
    async fn gather(wire: &'static Wire, limit: impl FnOnce(&mut Limits)) -> Self {
        let store = memory();
        let server = Running::start(limited(limit), store.clone()).await;
        let slow = Listener::enter_narrow(server.address, wire, 1).await;
        let reader = Listener::enter(server.address, wire, 3).await;
        let writer = Provider::enter(server.address, "/r", 2).await;
        Self { server, store, slow, reader, writer }
    }

    /// Writes, and waits until all are served who read. Whoever speaks the same dialect gets each edit once, by itself and in order, as if nobody were slow.
    async fn write(&mut self, text: &str, edits: usize) {
        for _ in 0..edits {
            self.writer.write(text).await;
        }
        self.writer.until_saved().await;
        let told = self.reader.hear_until_shown(2, self.writer.writer.clock).await;
        let single = told.iter().filter(|told| is_single(told, text.len())).count();
        let others = told.iter().filter(|told| **told != Told::Other).count() - single;
        assert_eq!((single, others), (edits, 0), "{told:?}");
    }

    /// Everybody has what the room has, and goes on with the next edit.
    async fn agree(mut self) {
        let store = self.store.clone();
        let room = || content_of(&server::export(&*store, "r").expect("the room is there"));
        assert_eq!((self.slow.shown(2), self.reader.shown(2)), (self.writer.shown(2), self.writer.shown(2)));
        assert!([self.slow.content(), self.reader.content(), self.writer.content()].iter().all(|own| *own == room()));
        self.write("and on it goes", 1).await;
        let told = self.slow.hear_until_shown(2, self.writer.writer.clock).await;
        assert_eq!(told.iter().filter(|told| **told != Told::Other).count(), 1, "{told:?}");
        assert!(is_single(&told[told.len() - 1], "and on it goes".len()), "{told:?}");
        assert_eq!(self.slow.content(), room());
    }
}

/// An edit that put so many letters into the text, and nothing that was told before.
fn is_single(told: &Told, letters: usize) -> bool {
    matches!(told, Told::New(bytes) if (letters..letters + 40).contains(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_falls_behind_has_the_whole_document_in_the_end_whatever_it_speaks() {
    for (wire, (name, behind)) in WIRES.iter().zip(BEHIND) {
        if let Behind::CaughtUp = behind {
            let mut crowd = Crowd::gather(wire, |limits| limits.ring_bytes_max = 64 << 10).await;
            catch_up(&mut crowd, name).await;
            crowd.agree().await;
        }
    }
}

async fn catch_up(crowd: &mut Crowd, name: &str) {
    let text = "x".repeat(EDIT_BYTES);
    for edit in 0..EDITS {
        if edit == EDITS / 2 {
            crowd.slow.write("still here").await;
            crowd.reader.hear_until_shown(1, 10).await;
        }
        crowd.write(&text, 1).await;
    }
    crowd.writer.until_shown(1, 10).await;
    let mut told = crowd.slow.hear_until_shown(2, crowd.writer.writer.clock).await;
    told.extend(crowd.slow.hear_until_shown(1, 10).await);
    told.retain(|told| *told != Told::Other);
    let is_catch_up = |told: &&Told| matches!(told, Told::New(bytes) | Told::Partly(bytes) if *bytes > 2 * EDIT_BYTES);
    let catch_ups = told.iter().filter(is_catch_up).count();
    let single = told.iter().filter(|told| is_single(told, EDIT_BYTES)).count();
    // Its own edit comes back once, alone or with what it has missed.
    let own = told.iter().filter(|told| is_single(told, "still here".len())).count();
    assert_eq!((catch_ups + single + own, own <= 1), (told.len(), true), "{name}: {told:?}");
    // A second one when its buffers were full right behind a frame: then it loses its place once more behind the first.
    assert!((1..=2).contains(&catch_ups) && single < EDITS, "{name}: {catch_ups} catch-ups, {single} single edits");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_closed_for_being_behind_has_the_whole_document_when_it_comes_back() {
    for (wire, (name, behind)) in WIRES.iter().zip(BEHIND) {
        let Behind::Closed { code, reason, frames } = behind else { continue };
        let ways = [
            ("the ring has dropped what it needs", 64 << 10, EDIT_BYTES, 1, 0..frames),
            ("too many frames wait", 256 << 20, 100, 64, frames..u64::MAX),
        ];
        for (way, ring_bytes_max, letters, batch, unread) in ways {
            let mut crowd = Crowd::gather(wire, |limits| {
                (limits.ring_bytes_max, limits.room_connections_max) = (ring_bytes_max, 3);
            })
            .await;
            let (written, told) = write_until_closed(&mut crowd, &"x".repeat(letters), batch).await;
            let single = told.iter().filter(|told| is_single(told, letters)).count() as u64;
            let others = told.iter().filter(|told| **told != Told::Other).count() as u64 - single;
            assert_eq!(told.last(), Some(&Told::Closed(code, reason.to_owned())), "{name}: {way}");
            assert_eq!(others, 1, "{name}: {way}: something else than edits and the end in {told:?}");
            assert!(unread.contains(&(written - single)), "{name}: {way}: {single} of {written} edits");
            assert_eq!(crowd.slow.shown(1), 0, "{name}: nobody is told its own edits");

            crowd.slow = Listener::enter(crowd.server.address, wire, 1).await;
            crowd.slow.hear_until_shown(2, crowd.writer.writer.clock).await;
            assert_eq!(crowd.slow.shown(1), 4, "{name}: {way}");
            crowd.agree().await;
        }
    }
}

/// Writes until one is closed that does not read. Returns how many edits that took, and what it was told up to its end.
async fn write_until_closed(crowd: &mut Crowd, text: &str, batch: usize) -> (u64, Vec<Told>) {
    crowd.slow.write("mine").await;
    crowd.reader.hear_until_shown(1, 4).await;
    crowd.writer.until_shown(1, 4).await;
    let mut written = 0;
    while is_full(crowd.server.address).await {
        crowd.write(text, batch).await;
        written += batch as u64;
        assert!(written * (text.len() as u64) < 64 << 20, "nobody is closed");
    }
    let mut told = Vec::new();
    while !matches!(told.last(), Some(Told::Closed(..) | Told::Gone)) {
        told.push(crowd.slow.hear().await);
    }
    (written, told)
}

/// The room takes nobody else: none of its members has gone.
async fn is_full(address: SocketAddr) -> bool {
    match Client::connect_with(address, "/r", "").await {
        Ok(mut newcomer) => {
            newcomer.finish().await;
            false
        }
        Err(refusal) => {
            assert_eq!(refusal.status, 503, "{refusal:?}");
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_from_behind_knows_who_has_left() {
    let server = Running::start(small_ring(), memory()).await;
    let mut leaver = Provider::enter(server.address, "/r", 9).await;
    leaver.client.send(&awareness(9, 1, "{}")).await;
    assert!(matches!(leaver.hear().await, Said::Awareness(_)));
    let mut slow = Provider::on(Client::connect_narrow(server.address, "/r").await, 1).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    let text = "x".repeat(EDIT_BYTES);
    for edit in 0..EDITS {
        if edit == EDITS / 2 {
            leaver.client.send(&awareness(9, 2, "null")).await;
            writer.hear_until(|said| matches!(said, Said::Awareness(_))).await;
        }
        writer.write_and_save(&text).await;
    }
    let left = Said::Awareness(vec![(9, 2, "null".to_owned())]);
    slow.hear_until(|said| *said == left).await;
    slow.until_shown(2, writer.writer.clock).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_byte_for_too_long_is_closed_and_leaves() {
    let mut config = small_ring();
    config.slow_consumer_ms = 300;
    let server = Running::start(config, memory()).await;
    let mut slow = Provider::on(Client::connect_narrow(server.address, "/r").await, 1).await;
    slow.client.send(&awareness(1, 1, "{}")).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    writer.write_until_gone(&"x".repeat(EDIT_BYTES), 1).await;
    let (_, code, reason) = slow.until_closed().await;
    assert_eq!((code, reason.as_str()), (1013, "slow consumer"));
    assert!(slow.shown(2) < writer.writer.clock);
    writer.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_the_ring_costs_nobody_its_place() {
    let server = Running::start(small_ring(), memory()).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    let mut reader = Provider::enter(server.address, "/r", 3).await;
    let mut batch = Vec::new();
    let texts = [200 << 10, 10, 100 << 10, 10];
    for bytes in texts {
        let edit = writer.writer.write(&"x".repeat(bytes));
        batch.extend(testkit::client::binary(&crate::provider::update(&edit)));
    }
    writer.client.send_raw(&batch).await;
    for bytes in texts {
        match reader.hear().await {
            // A catch-up would be all of them in one.
            Said::Update(update) => assert!((bytes..bytes + 40).contains(&update.len()), "{}", update.len()),
            other => panic!("{other:?}"),
        }
    }
    writer.hear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_a_hundred_thousand_questions_at_once_delays_nobody() {
    let server = Running::start(config(), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 2).await;
    let mut asker = Client::connect(server.address, "/r").await;
    // Each byte is a question; they are answered one after the other.
    let questions = testkit::client::binary(&[3; 1_000]).repeat(100);
    asker.send_raw(&questions).await;
    let mut answers = 0;
    for _ in 0..50 {
        bystander.write_and_save("y").await;
    }
    while answers < 100_000 {
        let Heard::Message(message) = asker.hear().await else { panic!("after {answers} answers") };
        answers += usize::from(message.starts_with(&[1]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_reading_is_not_read_and_gets_every_answer_in_the_end() {
    let mut config = config();
    config.limits.private_bytes_max = 4 << 10;
    let server = Running::start(config, memory()).await;
    let mut writer = Provider::enter(server.address, "/r", 2).await;
    writer.write_and_save(&"x".repeat(100 << 10)).await;
    let mut asker = Client::connect_narrow(server.address, "/r").await;
    let question = testkit::client::binary(&step_1(&[1, 2, 1]));
    let mut questions = question.repeat(500);
    questions.extend(testkit::client::binary(&awareness(7, 1, "{}")));
    asker.send_raw(&questions).await;
    // Nobody else notices.
    for _ in 0..100 {
        writer.write_and_save("y").await;
    }
    let mut answers = 0;
    while answers < 500 {
        let Heard::Message(message) = asker.hear().await else { panic!("after {answers} answers") };
        answers += usize::from(message.starts_with(&[0, 1]));
    }
    let present = Said::Awareness(vec![(7, 1, "{}".to_owned())]);
    writer.hear_until(|said| *said == present).await;
}
