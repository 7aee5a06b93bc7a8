//! A fixed script through the inner parts of the server: what a frame meets between the socket's read and its write, without network, disk or clock.
//!
//! For counting instructions: `cargo xtask counts` runs it under callgrind and holds each phase to `bench/instructions.txt`. A phase is a function
//! of its own that is never inlined; what it needs is made outside. Prints `phase count unit` a line. One thread (the store's own one is held at a
//! sync), no seed but the constants here. `cargo run --release -p bench --bin script [PHASE]` ends after that phase.

mod frames;
mod phases;
mod typing;

use bytes::Bytes;
use phases::{Conversation, EPOCH, MEMBERS, TURN};
use room::{Change, Effect, Effects, Snapshot, Stored};
use std::sync::Arc;
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::{Durability, Position, RoomKey, Store};
use testkit::disk::FaultyDisk;
use typing::Typing;

const KEYSTROKES: usize = 20_000;
/// Of other sizes than a keystroke: what a room tells when 15 have moved their cursors, and what comes back.
const LARGE_FRAMES: u32 = 1_000;
const JOINS: usize = 400;
const ROUNDS: u64 = 20;
/// Whose cursor moves in a round.
const MOVED: u64 = 15;
const OPENINGS: usize = 8;
/// Rooms in the store; they share the changes.
const ROOMS: usize = 50;
/// Any day will do.
const NOW_MS: u64 = 1_700_000_000_000;
/// Longer than any run: the store syncs when it is told to.
const HOUR_MS: u64 = 3_600_000;

/// Says what was done, and ends the program when that was to be the last.
struct Log {
    last: Option<String>,
}

impl Log {
    /// What was made for a phase is not part of it.
    fn begin(&self) {
        phases::made_ready();
    }

    fn done(&self, phase: &str, count: usize, unit: &str) {
        println!("{phase} {count} {unit}");
        if self.last.as_deref() == Some(phase) {
            std::process::exit(0);
        }
    }
}

fn main() {
    let log = Log { last: std::env::args().nth(1) };
    let mut conversation = Conversation::new(NOW_MS);
    let mut typing = Typing::new(1);
    let changes = editing(&log, &mut conversation, &mut typing);
    company(&log, &mut conversation, &typing);
    documents(&log, &changes);
    storage(&log, &changes);
    if let Some(unknown) = log.last {
        eprintln!("there is no phase {unknown}");
        std::process::exit(2);
    }
}

/// Three of a hundred type. Returns what the log would be given.
fn editing(log: &Log, conversation: &mut Conversation, typing: &mut Typing) -> Vec<Change> {
    let mut frame = |number: u32| {
        let key = typing.keystroke();
        let payload = frames::message(&[0, 2], &key.update);
        (key.author, frames::masked(&payload, 0x9e37_79b9_u32.wrapping_mul(number + 1)))
    };
    let masked: Vec<_> = (0..KEYSTROKES as u32).map(&mut frame).collect();
    let moved = frames::message(&[1], &frames::states(&Vec::from_iter(0..MOVED), 1));
    let large: Vec<_> = (0..LARGE_FRAMES).map(|number| frames::masked(&moved, 0x85eb_ca6b ^ number)).collect();

    log.begin();
    let messages = phases::decode(conversation, &masked);
    log.done("decode", KEYSTROKES, "keystroke");
    log.begin();
    assert_eq!(phases::decode_large(conversation, &large), large.len() * moved.len());
    log.done("decode_large", large.len(), "frame");
    log.begin();
    let inputs = phases::receive(conversation, messages);
    log.done("receive", KEYSTROKES, "keystroke");
    log.begin();
    let mut effects = phases::edit(conversation, inputs, NOW_MS);
    log.done("edit", KEYSTROKES, "keystroke");
    log.begin();
    effects.extend(phases::acknowledge(conversation, NOW_MS));
    log.done("acknowledge", KEYSTROKES, "keystroke");
    log.begin();
    phases::tell(conversation, &effects);
    log.done("tell", KEYSTROKES, "keystroke");
    accepted(effects)
}

fn accepted(effects: Effects) -> Vec<Change> {
    let changes = effects.into_iter().filter_map(|effect| match effect {
        Effect::Append(change) => Some(change),
        _ => None,
    });
    changes.collect()
}

/// Others come, and move their cursors.
fn company(log: &Log, conversation: &mut Conversation, typing: &Typing) {
    // Half of all come for the first time; the others were here a moment or a while ago.
    let vectors = [0, 100, 0, 90].map(|hundredths| typing.state_vector(hundredths));
    let vectors = vectors.map(|vector| Bytes::from(frames::message(&[0, 0], &vector)));
    // Between them somebody writes: no answer serves for ever.
    let mut others = Typing::new(2);
    let edits: Vec<Bytes> =
        (0..JOINS / 8).map(|_| frames::message(&[0, 2], &others.keystroke().update).into()).collect();
    log.begin();
    phases::join(conversation, JOINS, &vectors, &edits, NOW_MS);
    log.done("join", JOINS, "join");

    let moved_in = |round: u64| (0..MOVED).map(move |place| (round * MOVED + place) % MEMBERS);
    let own = |round: u64, id: u64| frames::message(&[1], &frames::states(&[id], round + 1)).into();
    let rounds: Vec<Vec<(u64, Bytes)>> =
        (0..ROUNDS).map(|round| moved_in(round).map(|id| (id, own(round, id))).collect()).collect();
    log.begin();
    phases::presence(conversation, &rounds, NOW_MS);
    log.done("presence", (ROUNDS * MEMBERS * MOVED) as usize, "copy");
}

/// Compaction, and the first answers of a room that was stored.
fn documents(log: &Log, changes: &[Change]) {
    log.begin();
    let snapshot = phases::squash(changes);
    log.done("squash", changes.len(), "change");
    let (old, new) = changes.split_at(changes.len() / 10 * 9);
    let stored = Snapshot::squash(None, old, false).expect("the changes are valid").encode();
    let tail = Stored { snapshot: Some(stored.into()), changes: new.to_vec(), ..Stored::default() };
    let whole = Stored { snapshot: Some(snapshot.into()), ..Stored::default() };
    log.begin();
    phases::open(&[whole, tail], OPENINGS);
    log.done("open", OPENINGS, "opening");
}

/// The embedded store on a disk in memory.
fn storage(log: &Log, changes: &[Change]) {
    let disk = FaultyDisk::new();
    let options = || EmbeddedOptions { durability: Durability::Synced { group_ms: HOUR_MS }, ..Default::default() };
    let store = Embedded::open_on(disk.shared(), options()).expect("the disk works");
    let change = |change: &Change| {
        let Change { author, time_ms, bytes } = change.clone();
        store::Change { author, time_ms, bytes }
    };
    let changes: Vec<_> = changes[..changes.len() / (ROOMS * TURN) * (ROOMS * TURN)].iter().map(change).collect();
    let names: Vec<RoomKey> = (0..=ROOMS).map(|number| Arc::from(format!("documents/room-{number:05}"))).collect();
    let opened: Vec<_> = names.iter().map(|name| store.open(name, EPOCH).expect("the disk works")).collect();
    // The store's thread is at a sync from here on, so whether it has to be woken is not a matter of luck.
    disk.hold_syncs("log/");
    let first = Position { epoch: EPOCH, offset: 0 };
    store.append(&names[ROOMS], first, &changes[..1]).expect("the disk works");
    disk.await_held_sync();
    log.begin();
    phases::append(&store, &names[..ROOMS], &changes);
    log.done("append", changes.len(), "change");
    drop(opened);

    let copy = disk.copy();
    disk.release_syncs();
    drop(store);
    log.begin();
    let store = phases::recover(copy.shared(), options());
    log.done("recover", changes.len(), "change");
    log.begin();
    phases::open_rooms(&store, &names[..ROOMS]);
    log.done("open_rooms", changes.len(), "change");
}
