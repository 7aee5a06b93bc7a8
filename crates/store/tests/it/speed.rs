//! What an append costs on the machine at hand. Run by hand: `cargo test -p store --release -- --ignored --nocapture cost`.

use super::{append, open, options};
use std::time::{Duration, Instant};
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::{Change, Durability, Store};
use testkit::contract::await_cell;

const APPENDS: u64 = 200_000;

#[test]
#[ignore = "measures"]
fn append_cost() {
    let folder = std::env::temp_dir().join(format!("concord-store-cost-{}", std::process::id()));
    let change = Change { author: "ann@example.org".into(), time_ms: 1, bytes: vec![7; 100].into() };
    for group_ms in [5, 0] {
        let options = EmbeddedOptions { durability: Durability::Synced { group_ms }, ..options(64 << 20) };
        let begin = Instant::now();
        let store = Embedded::open(folder.join(group_ms.to_string()), options).unwrap();
        println!("group of {group_ms} ms: start {:?}", begin.elapsed());
        let room = open(&store, "room", 1);
        let begin = Instant::now();
        for offset in 0..APPENDS {
            append(&store, "room", 1, offset, std::slice::from_ref(&change)).unwrap();
        }
        let written = begin.elapsed();
        await_cell(&room.durable, |cell| cell.offset() == APPENDS);
        println!(
            "  one room, one change an append: {:?} each, all durable after {:?}",
            written / APPENDS as u32,
            begin.elapsed()
        );
        let (begin, mut rounds) = (Instant::now(), 0);
        while begin.elapsed() < Duration::from_secs(2) {
            let at = APPENDS + rounds;
            append(&store, "room", 1, at, std::slice::from_ref(&change)).unwrap();
            await_cell(&room.durable, |cell| cell.offset() == at + 1);
            rounds += 1;
        }
        println!("  append and wait until durable: {} a second", rounds / 2);
        let begin = Instant::now();
        store
            .replace_with_snapshot(&"room".into(), store::Position { epoch: 1, offset: 1_000 }, &[7; 100_000])
            .unwrap();
        println!("  first snapshot of 100 KB: {:?}", begin.elapsed());
        let begin = Instant::now();
        for offset in 0..50 {
            let at = store::Position { epoch: 1, offset: 1_001 + offset };
            store.replace_with_snapshot(&"room".into(), at, &[7; 100_000]).unwrap();
        }
        println!("  a later one: {:?}", begin.elapsed() / 50);
        drop(store);
        let begin = Instant::now();
        let store = Embedded::open(folder.join(group_ms.to_string()), EmbeddedOptions::default()).unwrap();
        println!("  start with {APPENDS} records: {:?}", begin.elapsed());
        let begin = Instant::now();
        let opened = open(&store, "room", 1);
        println!("  opening a room of {} records: {:?}", opened.changes.len(), begin.elapsed());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
