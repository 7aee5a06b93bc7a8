//! Updates as JSON arrays of bytes: written once an event and room, read once a message.
//!
//! `cargo bench -p bench --bench json_yjs`. Prints how many times as large a message is as its bytes; criterion's throughput is bytes of updates a second,
//! so its reciprocal is ns a byte. `serde_json` is the same through a tree, for comparison.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dialect::{Entry, Frame, JSON_YJS};
use document::MessageLimits;
use document::lib0::{write_var_bytes, write_var_uint};
use room::{Event, MemberId};
use serde_json::{Value, json};
use std::hint::black_box;

/// One update that puts so many letters into a text, word by word, each a struct: clocks and lengths among letters, as in a document that was typed.
fn words(letters: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["the ", "room ", "of ", "a ", "document ", "that ", "was ", "written "];
    let (mut random, mut structs, mut clock, mut count) = (fastrand::Rng::with_seed(1), Vec::new(), 0, 0);
    while clock < letters as u64 {
        let word = WORDS[random.usize(..WORDS.len())];
        match clock {
            0 => structs.extend([4, 1, 1, b't']),
            _ => {
                structs.push(0x84);
                write_var_uint(&mut structs, 2_718_281_828);
                write_var_uint(&mut structs, clock - 1);
            }
        }
        write_var_bytes(&mut structs, word.as_bytes());
        (clock, count) = (clock + word.len() as u64, count + 1);
    }
    let mut update = vec![1];
    for value in [count, 2_718_281_828, 0] {
        write_var_uint(&mut update, value);
    }
    update.extend(structs);
    update.push(0);
    update
}

fn arrays(criterion: &mut Criterion) {
    let mut random = fastrand::Rng::with_seed(1);
    let inputs = [
        ("a keystroke", words(1)),
        ("a document of words, 100 KiB", words(50_000)),
        ("random bytes, 1 MiB", (0..1 << 20).map(|_| random.u8(..)).collect()),
    ];
    for (name, bytes) in inputs {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        let event = Event::Update(Bytes::from(bytes.clone()));
        let message = JSON_YJS.encode(&event).expect("json-yjs speaks of updates");
        let factor = message.payload().len() as f64 / bytes.len() as f64;
        println!("{name}: {} bytes, as JSON {} ({factor:.2} times)", bytes.len(), message.payload().len());
        let mut out = Vec::with_capacity(message.payload().len() * 2);
        group.bench_function("write", |bencher| {
            bencher.iter(|| {
                out.clear();
                JSON_YJS.write(black_box(&event), &mut out).map(|body| body.kind)
            });
        });
        group.bench_function("write with serde_json", |bencher| {
            bencher.iter(|| json!({ "type": "yjs-update", "data": black_box(&bytes) }).to_string());
        });
        let (limits, user) = (MessageLimits::default(), "u".into());
        let entry = Entry {
            member: MemberId(1),
            limits: &limits,
            user: &user,
            name: "u",
            room: "r",
            presence_id: None,
            updates_per_s: None,
            may_read: true,
            since_ms: None,
            now_ms: 0,
            chance: 0,
        };
        let (mut session, mut acts) = (JSON_YJS.session(&entry), Vec::new());
        let mut now_ms = 0;
        group.bench_function("read and validate", |bencher| {
            bencher.iter(|| {
                // Random bytes are no update: an error a minute is borne for ever.
                now_ms += 60_000;
                session.receive(Frame::Text(message.payload().clone()), now_ms, &mut acts);
                acts.clear();
            });
        });
        group.bench_function("read with serde_json, a tree", |bencher| {
            bencher.iter(|| serde_json::from_slice::<Value>(black_box(message.payload())).expect("JSON"));
        });
        group.finish();
    }
}

criterion_group!(benches, arrays);
criterion_main!(benches);
