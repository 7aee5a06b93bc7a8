//! Group commit: no append waits for a sync, and one sync covers all that was written before it began.

use super::{append, key, open, open_store, options};
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::{Durability, Position, Store, StoreError};
use testkit::contract::{await_cell, changes};
use testkit::disk::FaultyDisk;

#[test]
fn appends_do_not_wait_for_a_sync_and_share_the_next_one() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let first = open(&store, "first", 1);
    disk.hold_syncs("log/");
    append(&store, "first", 1, 0, &changes(0..1)).unwrap();
    disk.await_held_sync();
    let before = disk.syncs_ended();
    let rooms: Vec<_> =
        (0..8).map(|number| (format!("room {number}"), open(&store, &format!("room {number}"), 7))).collect();
    std::thread::scope(|scope| {
        for (name, _) in &rooms {
            let store = &store;
            scope.spawn(move || {
                for offset in 0..50 {
                    append(store, name, 7, offset, &changes(offset..offset + 1)).unwrap();
                }
            });
        }
    });
    assert_eq!(disk.syncs_ended(), before, "all appends are done, and the sync is not");
    assert!(rooms.iter().all(|(_, room)| room.durable.offset() == 0));
    disk.release_syncs();
    for (_, room) in &rooms {
        await_cell(&room.durable, |cell| cell.offset() == 50);
    }
    assert_eq!(first.durable.offset(), 1);
    assert_eq!(disk.syncs_ended(), before + 2, "the held one and one for all the rest");
}

#[test]
fn what_is_written_during_a_sync_is_not_covered_by_it() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let a = open(&store, "a", 1);
    disk.hold_syncs("log/");
    append(&store, "a", 1, 0, &changes(0..1)).unwrap();
    disk.await_held_sync();
    append(&store, "a", 1, 1, &changes(1..2)).unwrap();
    disk.release_held_sync();
    await_cell(&a.durable, |cell| cell.offset() >= 1);
    disk.await_held_sync();
    let covered = a.durable.offset();
    disk.release_syncs();
    assert_eq!(covered, 1);
    await_cell(&a.durable, |cell| cell.offset() == 2);
}

#[test]
fn interval_mode_counts_what_is_written_and_flush_syncs_it() {
    let disk = FaultyDisk::new();
    let hour = Durability::Written { sync_ms: 3_600_000 };
    let store = Embedded::open_on(disk.shared(), EmbeddedOptions { durability: hour, ..options(1 << 20) }).unwrap();
    let a = open(&store, "a", 1);
    append(&store, "a", 1, 0, &changes(0..1)).unwrap();
    assert_eq!(a.durable.offset(), 1);
    store.flush().unwrap();
    append(&store, "a", 1, 1, &changes(1..2)).unwrap();
    assert_eq!(a.durable.offset(), 2);
    store.flush().unwrap();
    let store = open_store(&disk.cut_power(&mut fastrand::Rng::with_seed(1)), 1 << 20);
    assert_eq!(open(&store, "a", 9).head, 2);
}

#[test]
fn dropping_the_store_syncs_what_is_not_synced() {
    let disk = FaultyDisk::new();
    let hour = Durability::Synced { group_ms: 3_600_000 };
    let store = Embedded::open_on(disk.shared(), EmbeddedOptions { durability: hour, ..options(1 << 20) }).unwrap();
    let _open = open(&store, "a", 1);
    for offset in 0..5 {
        append(&store, "a", 1, offset, &changes(offset..offset + 1)).unwrap();
    }
    drop(store);
    for seed in 0..10 {
        let disk = disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed));
        assert_eq!(open(&open_store(&disk, 1 << 20), "a", 9).head, 5);
    }
}

#[test]
fn one_disk_has_one_store() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let Err(StoreError::Locked { holder, .. }) = Embedded::open_on(disk.shared(), options(1 << 20)) else {
        panic!("opened twice")
    };
    assert_eq!(holder, std::process::id().to_string());
    drop(store);
    let store = open_store(&disk, 1 << 20);
    let at = Position { epoch: 1, offset: 0 };
    assert!(matches!(store.append(&key("never opened"), at, &changes(0..1)), Err(StoreError::Stale { .. })));
}
