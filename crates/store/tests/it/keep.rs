//! What goes from the log and what stays: `tidy`, `keep_log`, and starts with many segments.

use super::{append, compact, keeping, key, numbered, open, open_store, options};
use std::io::ErrorKind;
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::{KeepLog, Store};
use testkit::contract::{change, changes};
use testkit::disk::FaultyDisk;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// One room, each change in a segment of its own.
fn fill(store: &dyn Store, room: &str, epoch: u64, to: u64) {
    let from = open(store, room, epoch).head;
    for offset in from..to {
        append(store, room, epoch, offset, &changes(offset..offset + 1)).unwrap();
    }
}

fn open_with(disk: &FaultyDisk, options: EmbeddedOptions) -> Embedded {
    Embedded::open_on(disk.shared(), options).unwrap()
}

#[test]
fn covered_segments_go_and_what_is_not_covered_stays() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1);
    let _open = (open(&store, "a", 1), open(&store, "b", 2));
    fill(&store, "a", 1, 5);
    fill(&store, "b", 2, 1);
    assert_eq!(store.tidy(0).unwrap(), [] as [store::RoomKey; 0]);
    assert_eq!(disk.names("log").len(), 6);
    compact(&store, "a", 1, 4).unwrap();
    store.tidy(0).unwrap();
    assert_eq!(disk.names("log"), ["log/0000000005.log", "log/0000000006.log"]);
    drop(store);
    let store = open_store(&disk, 1);
    assert_eq!(open(&store, "a", 9).changes, numbered(4, changes(4..5)));
    assert_eq!(open(&store, "b", 9).head, 1);
    compact(&store, "a", 1, 5).unwrap();
    compact(&store, "b", 2, 1).unwrap();
    store.tidy(0).unwrap();
    assert_eq!(disk.names("log").len(), 1, "the last one stays for its number");
}

#[test]
fn keep_log_decides_how_long_covered_segments_stay() {
    let newest = change(4).time_ms;
    let cases = [
        (KeepLog::None, 0, 1),
        (KeepLog::Days(2), newest + 2 * DAY_MS - 1, 2),
        (KeepLog::Days(2), newest + 2 * DAY_MS, 1),
        (KeepLog::Days(0), newest, 1),
        (KeepLog::Forever, u64::MAX - 1, 6),
    ];
    for reopen in [false, true] {
        for (rule, now_ms, left) in cases {
            let disk = FaultyDisk::new();
            let mut store = open_with(&disk, keeping(1, rule));
            fill(&store, "a", 1, 6);
            compact(&store, "a", 1, 6).unwrap();
            if reopen {
                store.tidy(0).unwrap();
                drop(store);
                store = open_with(&disk, keeping(1, rule));
            }
            store.tidy(now_ms).unwrap();
            assert_eq!(disk.names("log").len(), left, "{rule:?} at {now_ms}, reopen {reopen}");
            assert_eq!(open(&store, "a", 9).snapshot_offset, 6);
        }
    }
}

#[test]
fn kept_segments_are_not_read_at_the_start() {
    let disk = FaultyDisk::new();
    let store = open_with(&disk, keeping(1, KeepLog::Forever));
    fill(&store, "a", 1, 50);
    compact(&store, "a", 1, 48).unwrap();
    store.tidy(0).unwrap();
    drop(store);
    // Whoever reads one of the first 48 meets an error and reports it.
    disk.fail_reads("log/000000000", ErrorKind::Other);
    let store = open_with(&disk, keeping(1, KeepLog::Forever));
    assert_eq!(store.damage(), []);
    assert_eq!(open(&store, "a", 9).changes, numbered(48, changes(48..50)));
    assert_eq!(disk.names("log").len(), 50);
}

#[test]
fn a_room_kept_for_ever_is_read_from_its_log_when_its_snapshot_is_lost() {
    let disk = FaultyDisk::new();
    let store = open_with(&disk, keeping(1, KeepLog::Forever));
    fill(&store, "a", 1, 20);
    compact(&store, "a", 1, 20).unwrap();
    store.tidy(0).unwrap();
    drop(store);
    disk.overwrite("snapshots.redb", b"lost");
    let store = open_with(&disk, keeping(1, KeepLog::Forever));
    assert_eq!(open(&store, "a", 9).changes, numbered(0, changes(0..20)));
    assert_eq!(store.damage().len(), 1);
}

#[test]
fn a_deleted_room_stays_deleted_while_segments_with_its_changes_are_kept() {
    let disk = FaultyDisk::new();
    let rule = |room: &str| if room == "kept" { KeepLog::Forever } else { KeepLog::None };
    let with = || EmbeddedOptions { keep_log: Box::new(rule), ..options(400) };
    let store = open_with(&disk, with());
    fill(&store, "kept", 1, 1);
    fill(&store, "a", 2, 1);
    // The end of room a is told in another segment than the one that is kept and that holds its change.
    fill(&store, "filler", 3, 10);
    assert!(store.delete(&key("a")).unwrap());
    for round in 0..5 {
        fill(&store, "filler", 3, (round + 2) * 10);
        compact(&store, "filler", 3, (round + 2) * 10).unwrap();
        compact(&store, "kept", 1, 1).unwrap();
        store.tidy(0).unwrap();
    }
    assert!(disk.names("log").len() <= 4, "{:?}", disk.names("log"));
    drop(store);
    // Even without the index of what is only kept, so that the old changes are read again.
    for lost in [false, true] {
        if lost {
            disk.overwrite("snapshots.redb", b"lost");
        }
        let store = open_with(&disk, with());
        assert!(store.list().unwrap().iter().all(|line| &*line.room != "a"));
        let next = open(&store, "a", 5);
        assert_eq!((next.epoch, next.head), (5, 0));
    }
}

#[test]
fn tidy_names_the_rooms_that_hold_up_a_log_that_is_too_large() {
    let disk = FaultyDisk::new();
    let store = open_with(&disk, EmbeddedOptions { log_bytes_max: 1_000, ..options(300) });
    let _open: Vec<_> = ["old", "older", "new"].map(|room| open(&store, room, 1)).into();
    for room in ["older", "old", "new"] {
        fill(&store, room, 1, 5);
    }
    let named = store.tidy(0).unwrap();
    assert!(named.contains(&key("older")) && !named.contains(&key("new")), "{named:?}");
    for room in named {
        compact(&store, &room, 1, 5).unwrap();
    }
    assert_eq!(store.tidy(0).unwrap(), [] as [store::RoomKey; 0]);
    let bytes: usize = disk.names("log").iter().map(|name| disk.read(name).len()).sum();
    assert!(bytes <= 1_000, "{bytes}");
}

#[test]
fn a_start_with_many_segments_and_rooms_finds_everything() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 2_000);
    let rooms: Vec<_> = (0..100).map(|number| format!("room {number}")).collect();
    let _open: Vec<_> = rooms.iter().map(|room| open(&store, room, 1)).collect();
    for offset in 0..20 {
        for room in &rooms {
            append(&store, room, 1, offset, &changes(offset..offset + 1)).unwrap();
        }
    }
    for room in rooms.iter().step_by(2) {
        compact(&store, room, 1, 13).unwrap();
    }
    drop(store);
    assert!(disk.names("log").len() > 50);
    let store = open_store(&disk, 2_000);
    for (index, room) in rooms.iter().enumerate() {
        let from = if index % 2 == 0 { 13 } else { 0 };
        assert_eq!(open(&store, room, 9).changes, numbered(from, changes(from..20)));
    }
    assert_eq!(store.list().unwrap().len(), 100);
}
