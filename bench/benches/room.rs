//! A room at work: presence in a room of many, and opening a stored room up to the first answers.
//!
//! `cargo bench -p bench --bench room`; the openings need the traces, which `node conformance/traces.mjs --write target/traces` makes.

mod traces;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use document::lib0::{write_var_bytes, write_var_uint};
use document::{Document, MessageLimits, RoomLimits, StateVector, Update};
use room::{Access, Change, Effects, Input, Kind, Limits, MemberId, Room, Rules, Snapshot, Stored};
use traces::read;

/// Everybody in the room.
const MEMBERS: u64 = 100;
/// How many have moved their cursor since the room told the last time.
const MOVED: u64 = 15;

fn presence(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("presence of 100");
    let mut room = Room::load(&Stored::default(), Limits::default()).expect("an empty room");
    let mut effects = Effects::new();
    for id in 0..MEMBERS {
        room.handle(join(id), 0, &mut effects);
        room.handle(Input::Awareness(MemberId(id), states([id], 1)), 0, &mut effects);
    }
    room.handle(Input::TellPresence, 0, &mut effects);
    let (own, others) = (states(0..MOVED, 1), states((0..MOVED).map(|id| id * 6 + 1), 1));
    for (name, copies) in [("a message of 15 copies", others), ("a message of 15 copies, its own among them", own)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                room.handle(Input::Awareness(MemberId(0), copies.clone()), 0, &mut effects);
                effects.clear();
            });
        });
    }
    let mut clock = 1;
    group.bench_function("a changed state", |bencher| {
        bencher.iter_batched(
            || {
                clock += 1;
                states([7], clock)
            },
            |bytes| {
                room.handle(Input::Awareness(MemberId(7), bytes), 0, &mut effects);
                effects.clear();
            },
            criterion::BatchSize::SmallInput,
        );
    });
    let mut clock = 1_000_000_000;
    group.bench_function("15 changed states and the telling", |bencher| {
        bencher.iter_batched(
            || {
                clock += 1;
                (0..MOVED).map(|id| (MemberId(id), states([id], clock))).collect::<Vec<_>>()
            },
            |messages| {
                for (member, bytes) in messages {
                    room.handle(Input::Awareness(member, bytes), 0, &mut effects);
                }
                room.handle(Input::TellPresence, 0, &mut effects);
                effects.clear();
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("a copy of what was told last", |bencher| {
        let copy = states(0..MOVED, clock);
        bencher.iter(|| room.handle(Input::Awareness(MemberId(50), copy.clone()), 0, &mut effects));
    });
    group.finish();
}

fn openings(criterion: &mut Criterion) {
    let updates = read("automerge-paper");
    let logged = |update: &Vec<u8>| Change { author: "ann".into(), time_ms: 0, bytes: update.clone().into() };
    let (before, tail) = updates.split_at(updates.len() - 2_000);
    let changes: Vec<Change> = before.iter().map(logged).collect();
    let snapshot = Bytes::from(Snapshot::squash(None, &changes, false).expect("a snapshot").encode());
    let without = Stored { snapshot: Some(snapshot.clone()), ..Stored::default() };
    let with = Stored { snapshot: Some(snapshot), changes: tail.iter().map(logged).collect(), ..Stored::default() };
    for (name, stored) in [("a snapshot", without), ("a snapshot and 2,000 changes", with)] {
        let mut group = criterion.benchmark_group(name);
        let load = || Room::load(&stored, Limits::default()).expect("a room");
        group.throughput(Throughput::Bytes(stored.snapshot.as_ref().map_or(0, Bytes::len) as u64));
        group.bench_function("load", |bencher| bencher.iter(load));
        for (name, joiners, known) in [
            ("load and answer 1 who has nothing", 1, StateVector::default()),
            ("load and answer 100 who have nothing", 100, StateVector::default()),
            ("load and answer 10 who have everything", 10, everything(&updates)),
        ] {
            let mut effects = Effects::new();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let mut room = load();
                    for id in 0..joiners {
                        room.handle(join(id), 0, &mut effects);
                        room.handle(Input::Sync(MemberId(id), known.clone()), 0, &mut effects);
                    }
                    effects.clear();
                });
            });
        }
        group.finish();
    }
}

fn join(id: u64) -> Input {
    let author = "ann".into();
    Input::Join { member: MemberId(id), kind: Kind::Client, access: Access::Write, author, trusts_all: true }
}

/// An awareness update; each state is 120 bytes of JSON.
fn states(ids: impl IntoIterator<Item = u64>, clock: u64) -> Bytes {
    let (mut out, mut count) = (Vec::new(), 0);
    for id in ids {
        let clock = clock + 10_000_000;
        let json = format!(
            "{{\"user\":{{\"name\":\"Member {id:03}\",\"color\":\"#30bced\"}},\"cursor\":{{\"anchor\":{clock},\"head\":{clock}}},\"padding\":\"...........\"}}"
        );
        write_var_uint(&mut out, 3_000_000_000 + id);
        write_var_uint(&mut out, clock - 10_000_000);
        write_var_bytes(&mut out, json.as_bytes());
        count += 1;
    }
    let mut whole = Vec::new();
    write_var_uint(&mut whole, count);
    whole.append(&mut out);
    whole.into()
}

fn everything(updates: &[Vec<u8>]) -> StateVector {
    let mut document = Document::new(RoomLimits::default());
    for bytes in updates {
        document.add(&Update::validate(bytes.as_slice(), &MessageLimits::default()).expect("the trace is valid"), 0);
    }
    document.state_vector()
}

criterion_group!(benches, presence, openings);
criterion_main!(benches);
