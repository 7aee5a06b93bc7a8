//! What it costs a room to tell one thing in a dialect, once for all of its members that speak it, and what a session makes of a keystroke that comes.
//!
//! `cargo bench -p bench --bench dialect`. Written is the whole frame, behind what the ring has, as the server does it. Notes and room databases know no updates:
//! there it is a note or a row with as many bytes. Dialects without presence are not in that group. Hocuspocus is what its sessions see: without the address.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dialect::{ALL, Act, Dialect, Entry, Frame, Kind, NOTES, ROOM_DB};
use document::lib0::{write_var_bytes, write_var_uint};
use document::{MessageLimits, Update};
use room::hub::{Action, MemoryKind, News, RowChange, Told};
use room::notebook::Note;
use room::{Event, MemberId, Shown, hub, notebook};
use server::websocket::{Opcode, begin_frame};
use std::hint::black_box;
use std::sync::Arc;

/// One letter, typed over another one in the middle of a text.
const KEYSTROKE_BYTES: usize = 40;
const LARGE_BYTES: usize = 100_000;
const CLIENT: u64 = 2_718_281_828;
const NOW_MS: u64 = 1_737_124_059_502;
const STATE: &str =
    "{\"user\":{\"name\":\"Member 7\",\"color\":\"#30bced\"},\"cursor\":{\"anchor\":100007,\"head\":100007}}";

fn keystroke() -> Bytes {
    let (mut update, clock) = (vec![1, 1], 100_007);
    let name = |clock: u64, update: &mut Vec<u8>| [CLIENT, clock].map(|value| write_var_uint(update, value));
    name(clock, &mut update);
    // Text between two others.
    update.push(0xc4);
    name(clock - 1, &mut update);
    name(clock - 9, &mut update);
    write_var_bytes(&mut update, b"x");
    // One client has deleted one range of one.
    update.push(1);
    write_var_uint(&mut update, CLIENT);
    update.push(1);
    write_var_uint(&mut update, clock - 8);
    update.push(1);
    update.into()
}

/// One long text.
fn large() -> Bytes {
    let words = "the room of a document that was written by many people today ";
    let text: Vec<u8> = words.bytes().cycle().take(LARGE_BYTES - 16).collect();
    let mut update = vec![1, 1];
    write_var_uint(&mut update, CLIENT);
    update.extend([0, 4, 1, 1, b't']);
    write_var_bytes(&mut update, &text);
    update.push(0);
    update.into()
}

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn note(bytes: usize) -> Note {
    Note {
        id: "n".into(),
        writer: "ann".into(),
        title: "t".into(),
        created_ms: NOW_MS as i64,
        updated_ms: NOW_MS as i64,
        accepted_ms: NOW_MS,
        version: 1,
        likeness: 1,
        members: format!("\"id\":\"n\",\"content\":\"{}\"", text(bytes - 21)).into(),
    }
}

/// The change of so many bytes that this dialect tells of. Made anew each time: some events keep how they were told.
fn change(dialect: &dyn Dialect, update: &Bytes) -> Event {
    match dialect.name() {
        name if name == NOTES.name() => Event::Notes(notebook::News::Updated(Arc::new(note(update.len())))),
        name if name == ROOM_DB.name() => {
            let row = format!("{{\"id\":7,\"text\":\"{}\"}}", text(update.len() - 18));
            Event::Tables(News::RowChanged(Told::new(RowChange::of("people", Action::Modified, row))))
        }
        _ => Event::Update(update.clone()),
    }
}

/// One state that has changed, in all the ways in which it is told.
fn presence() -> [Event; 3] {
    let mut awareness = vec![1];
    write_var_uint(&mut awareness, CLIENT);
    write_var_uint(&mut awareness, 100);
    write_var_bytes(&mut awareness, STATE.as_bytes());
    let shown = hub::Shown { label: "\"ann\"".into(), value: STATE.into() };
    [
        Event::Awareness(awareness.into()),
        Event::Presence([Shown { id: CLIENT, state: Some(STATE.into()), by_guest: true }].into()),
        Event::Tables(News::Memory(MemoryKind::Presence, Arc::new(shown))),
    ]
}

/// Appends the frame that tells of an event. False: this dialect does not.
fn append(dialect: &dyn Dialect, event: &Event, out: &mut Vec<u8>) -> bool {
    let opcode = |kind| if kind == Kind::Binary { Opcode::Binary } else { Opcode::Text };
    let body = begin_frame(out, |out| dialect.write(event, out).map(|body| (opcode(body.kind), body.rest)));
    body.inspect(|body| out.extend_from_slice(body)).is_some()
}

fn changes(criterion: &mut Criterion) {
    for (name, update, bytes) in
        [("tell a keystroke", keystroke(), KEYSTROKE_BYTES), ("tell 100 KB", large(), LARGE_BYTES)]
    {
        Update::validate(&update[..], &MessageLimits::default()).expect("an update");
        assert_eq!(update.len(), bytes, "{name}");
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes as u64));
        for dialect in ALL {
            let mut out = Vec::with_capacity(8 * bytes + 1_024);
            group.bench_function(dialect.name(), |bencher| {
                bencher.iter_batched_ref(
                    || change(dialect, &update),
                    |event| {
                        out.clear();
                        assert!(append(dialect, black_box(event), &mut out));
                    },
                    if bytes > KEYSTROKE_BYTES { BatchSize::LargeInput } else { BatchSize::SmallInput },
                );
            });
        }
        group.finish();
    }
}

fn presences(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tell the presence of one");
    let (events, mut out) = (presence(), Vec::with_capacity(1_024));
    for dialect in ALL {
        if let Some(event) = events.iter().find(|event| append(dialect, event, &mut out)) {
            group.bench_function(dialect.name(), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    append(dialect, black_box(event), &mut out)
                });
            });
        }
    }
    group.finish();
}

/// What a client sends for a keystroke. Where it is an update, it is said in both directions alike.
fn said(dialect: &dyn Dialect) -> Frame {
    match dialect.name() {
        name if name == NOTES.name() => Frame::text(format!(
            "{{\"type\":\"note_update\",\"payload\":{{\"note\":{{\"id\":\"n\",\"title\":\"t\",\"content\":\"{}\",\"tags\":[],\"createdAt\":\"2025-01-17T14:00:00.000Z\",\"updatedAt\":\"2025-01-17T14:00:00.000Z\"}}}},\"timestamp\":\"2025-01-17T14:00:00.000Z\"}}",
            text(KEYSTROKE_BYTES)
        )),
        name if name == ROOM_DB.name() => Frame::text(format!(
            "{{\"action\":\"rpc\",\"method\":\"updateRow\",\"requestId\":\"1\",\"payload\":{{\"table\":\"people\",\"id\":7,\"data\":{{\"text\":\"{}\"}}}}}}",
            text(KEYSTROKE_BYTES - 18)
        )),
        _ => dialect.encode(&Event::Update(keystroke())).expect("it tells of updates"),
    }
}

fn receptions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive a keystroke");
    let (limits, user) = (MessageLimits::default(), "ann".into());
    let entry = Entry {
        member: MemberId(1),
        limits: &limits,
        user: &user,
        name: "ann",
        room: "r",
        presence_id: None,
        updates_per_s: None,
        may_read: true,
        since_ms: None,
        now_ms: NOW_MS,
        chance: 0,
    };
    for dialect in ALL {
        let (mut session, mut acts) = (dialect.session(&entry), Vec::new());
        let (frame, mut now_ms) = (said(dialect), NOW_MS);
        group.bench_function(dialect.name(), |bencher| {
            bencher.iter(|| {
                // As fast as it may come.
                now_ms += 20;
                session.receive(frame.clone(), now_ms, &mut acts);
                let act = acts.pop();
                assert!(matches!(act, Some(Act::Room(_))), "{act:?}");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, changes, presences, receptions);
criterion_main!(benches);
