//! A disk that refuses: what was acknowledged stays, nothing else is, and work goes on when the disk does.

use super::{append, append_all, compact, key, numbered, open, open_store, options};
use std::io::ErrorKind;
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::{Durability, Position, Store, StoreError};
use testkit::contract::{await_cell, changes};
use testkit::disk::FaultyDisk;

#[test]
fn a_failed_write_leaves_nothing_and_the_next_one_works() {
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::Other] {
        let disk = FaultyDisk::new();
        let store = open_store(&disk, 1 << 20);
        let a = open(&store, "a", 1);
        append(&store, "a", 1, 0, &changes(0..2)).unwrap();
        for _ in 0..20 {
            disk.fail_writes("log/", kind);
            let error = append(&store, "a", 1, 2, &changes(90..93)).unwrap_err();
            assert_eq!(matches!(error, StoreError::Full { .. }), kind != ErrorKind::Other, "{error}");
        }
        assert_eq!(a.durable.failures(), 20);
        assert_eq!(open(&store, "a", 9).changes, numbered(0, changes(0..2)));
        disk.heal();
        append(&store, "a", 1, 2, &changes(2..3)).unwrap();
        assert!(disk.names("log").len() <= 2, "no pile of empty segments");
        let again = open_store(&disk.kill(), 1 << 20);
        assert_eq!(open(&again, "a", 9).changes, numbered(0, changes(0..3)));
        assert_eq!(again.damage(), []);
    }
}

#[test]
fn a_failed_write_of_several_rooms_leaves_nothing_of_any() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        let disk = FaultyDisk::new();
        // After the first one, syncs come only when somebody waits for them.
        let hour = Durability::Synced { group_ms: 3_600_000 };
        let store = Embedded::open_on(disk.shared(), EmbeddedOptions { durability: hour, ..options(1 << 20) }).unwrap();
        let names = ["a", "b", "c"];
        let rooms: Vec<_> = (1..).zip(names).map(|(epoch, name)| open(&store, name, epoch)).collect();
        append(&store, "a", 1, 0, &changes(0..2)).unwrap();
        await_cell(&rooms[0].durable, |cell| cell.offset() == 2);
        disk.fail_writes("log/", kind);
        let [a, b, c] = [changes(2..4), changes(10..13), changes(20..21)];
        let results = append_all(&store, &[("a", 1, 2, &a), ("a", 1, 9, &a), ("b", 2, 0, &b), ("c", 3, 0, &c)]);
        let stale: Vec<_> = results.iter().map(|result| matches!(result, Err(StoreError::Stale { .. }))).collect();
        assert_eq!(stale, [false, true, false, false]);
        assert!(results.iter().all(Result::is_err));
        assert!(rooms.iter().all(|room| room.durable.failures() == 1));
        assert_eq!(names.map(|name| open(&store, name, 9).head), [2, 0, 0]);
        disk.heal();
        // A half of the write had whole records in it. The snapshot, which covers a part of one, waits until they are gone for good.
        append(&store, "a", 1, 2, &changes(5..6)).unwrap();
        compact(&store, "a", 1, 3).unwrap();
        for seed in 0..40 {
            let disk = disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed));
            let store = open_store(&disk, 1 << 20);
            assert_eq!(names.map(|name| open(&store, name, 9).head), [3, 0, 0], "seed {seed}");
        }
        let parts: [super::Part<'_>; 2] = [("b", 2, 0, &b), ("c", 3, 0, &c)];
        assert!(append_all(&store, &parts).iter().all(Result::is_ok));
        let store = open_store(&disk.kill(), 1 << 20);
        assert_eq!(open(&store, "b", 9).changes, numbered(0, b));
        assert_eq!(open(&store, "c", 9).changes, numbered(0, c));
        assert_eq!(store.damage(), []);
    }
}

#[test]
fn a_full_disk_is_told_and_writing_works_again_when_there_is_room() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let _open = (open(&store, "a", 1), open(&store, "b", 2));
    append(&store, "a", 1, 0, &changes(0..1)).unwrap();
    disk.set_bytes_free(Some(100));
    let big = changes(1..20);
    assert!(matches!(append(&store, "a", 1, 1, &big), Err(StoreError::Full { .. })));
    assert!(matches!(compact(&store, "a", 1, 1), Err(StoreError::Full { .. })));
    let room = open(&store, "a", 9);
    assert_eq!((room.head, room.changes, room.durable.failures()), (1, numbered(0, changes(0..1)), 0));
    disk.set_bytes_free(None);
    append(&store, "a", 1, 1, &changes(1..20)).unwrap();
    append(&store, "b", 2, 0, &changes(0..1)).unwrap();
    compact(&store, "a", 1, 5).unwrap();
    store.flush().unwrap();
    let store = open_store(&disk.cut_power(&mut fastrand::Rng::with_seed(1)), 1 << 20);
    let a = open(&store, "a", 9);
    assert_eq!((a.snapshot_offset, a.changes), (5, numbered(5, changes(5..20))));
    assert_eq!(open(&store, "b", 9).changes, numbered(0, changes(0..1)));
}

#[test]
fn after_a_failed_sync_only_what_is_written_again_becomes_durable() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let a = open(&store, "a", 1);
    append(&store, "a", 1, 0, &changes(0..1)).unwrap();
    await_cell(&a.durable, |cell| cell.offset() == 1);
    disk.fail_syncs("log/", ErrorKind::Other);
    append(&store, "a", 1, 1, &changes(1..3)).unwrap();
    await_cell(&a.durable, |cell| cell.failures() == 1);
    assert!(matches!(append(&store, "a", 1, 3, &changes(3..4)), Err(StoreError::Stale { .. })));
    disk.heal();

    // Another room's sync works, and must not speak for this one.
    let b = open(&store, "b", 2);
    append(&store, "b", 2, 0, &changes(0..1)).unwrap();
    await_cell(&b.durable, |cell| cell.offset() == 1);
    assert_eq!((a.durable.offset(), b.durable.failures()), (1, 0));

    let again = open(&store, "a", 9);
    assert_eq!((again.epoch, again.head, again.changes), (1, 3, numbered(0, changes(0..3))));
    await_cell(&again.durable, |cell| cell.offset() == 3);
    append(&store, "a", 1, 3, &changes(3..4)).unwrap();
    store.flush().unwrap();
    for seed in 0..20 {
        let disk = disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed));
        let store = open_store(&disk, 1 << 20);
        assert_eq!(open(&store, "a", 9).changes, numbered(0, changes(0..4)));
        assert_eq!(open(&store, "b", 9).changes, numbered(0, changes(0..1)));
    }
}

#[test]
fn a_failed_sync_is_remembered_by_the_next_process() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let a = open(&store, "a", 1);
    append(&store, "a", 1, 0, &changes(0..1)).unwrap();
    await_cell(&a.durable, |cell| cell.offset() == 1);
    disk.fail_syncs("log/", ErrorKind::Other);
    append(&store, "a", 1, 1, &changes(1..3)).unwrap();
    await_cell(&a.durable, |cell| cell.failures() == 1);
    let disk = disk.kill();
    disk.hold_syncs("log/0000000002");
    let store = open_store(&disk, 1 << 20);
    let a = open(&store, "a", 9);
    assert_eq!((a.head, a.changes), (3, numbered(0, changes(0..3))));
    disk.await_held_sync();
    assert!(a.durable.offset() < 3, "not durable before it is written again");
    disk.release_syncs();
    await_cell(&a.durable, |cell| cell.offset() == 3);
    for seed in 0..20 {
        let disk = disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed));
        assert_eq!(open(&open_store(&disk, 1 << 20), "a", 9).changes, numbered(0, changes(0..3)));
    }
}

#[test]
fn a_flush_after_a_failed_sync_says_so_and_a_second_one_saves_all() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let _open = open(&store, "a", 1);
    disk.fail_syncs("log/", ErrorKind::StorageFull);
    append(&store, "a", 1, 0, &changes(0..3)).unwrap();
    assert!(matches!(store.flush(), Err(StoreError::Full { .. })));
    disk.heal();
    store.flush().unwrap();
    let disk = disk.cut_power(&mut fastrand::Rng::with_seed(3));
    assert_eq!(open(&open_store(&disk, 1 << 20), "a", 9).changes, numbered(0, changes(0..3)));
}

#[test]
fn a_failed_delete_is_finished_before_the_room_is_opened_again() {
    for prefix in ["log/", "snapshots.redb"] {
        let disk = FaultyDisk::new();
        let store = open_store(&disk, 1 << 20);
        let _open = open(&store, "a", 1);
        append(&store, "a", 1, 0, &changes(0..3)).unwrap();
        compact(&store, "a", 1, 2).unwrap();
        store.flush().unwrap();
        disk.fail_syncs(prefix, ErrorKind::Other);
        assert!(store.delete(&key("a")).is_err());
        assert!(store.open(&key("a"), 2).is_err());
        assert!(matches!(append(&store, "a", 1, 3, &changes(3..4)), Err(StoreError::Stale { .. })));
        disk.heal();
        let next = open(&store, "a", 2);
        assert_eq!((next.epoch, next.head, next.snapshot), (2, 0, None));
        append(&store, "a", 2, 0, &changes(7..8)).unwrap();
        store.flush().unwrap();
        for seed in 0..20 {
            let disk = disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed));
            let next = open(&open_store(&disk, 1 << 20), "a", 9);
            assert_eq!((next.epoch, next.snapshot, next.changes), (2, None, numbered(0, changes(7..8))));
        }
    }
}

#[test]
fn a_snapshot_that_fails_leaves_the_room_as_it_was_and_the_next_one_works() {
    for first_works in [false, true] {
        let disk = FaultyDisk::new();
        let store = open_store(&disk, 1 << 20);
        let _open = open(&store, "a", 1);
        append(&store, "a", 1, 0, &changes(0..3)).unwrap();
        if first_works {
            compact(&store, "a", 1, 1).unwrap();
        }
        for fail in [FaultyDisk::fail_writes, FaultyDisk::fail_syncs] {
            fail(&disk, "snapshots.redb", ErrorKind::Other);
            assert!(matches!(compact(&store, "a", 1, 2), Err(StoreError::Io { .. })));
            disk.heal();
            let a = open(&store, "a", 9);
            let seen = a.snapshot_offset;
            assert_eq!(a.snapshot, (seen > 0).then(|| format!("up to {seen}").into()));
            assert_eq!((a.head, a.changes), (3, numbered(seen, changes(seen..3))));
        }
        compact(&store, "a", 1, 3).unwrap();
        let disk = disk.cut_power(&mut fastrand::Rng::with_seed(5));
        assert_eq!(open(&open_store(&disk, 1 << 20), "a", 9).snapshot.as_deref(), Some(&b"up to 3"[..]));
    }
}

#[test]
fn a_read_error_is_an_error_and_not_an_empty_room() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let _open = open(&store, "a", 1);
    append(&store, "a", 1, 0, &changes(0..3)).unwrap();
    compact(&store, "a", 1, 2).unwrap();
    disk.fail_reads("log/", ErrorKind::Other);
    assert!(matches!(store.open(&key("a"), 9), Err(StoreError::Io { .. })));
    assert!(store.read_since(&key("a"), Position { epoch: 1, offset: 2 }).is_err());
    disk.heal();
    assert_eq!(open(&store, "a", 9).changes, numbered(2, changes(2..3)));
}

#[test]
fn a_start_whose_snapshots_cannot_be_read_refuses_rather_than_show_empty_rooms() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let _open = open(&store, "a", 1);
    append(&store, "a", 1, 0, &changes(0..3)).unwrap();
    compact(&store, "a", 1, 2).unwrap();
    drop(store);
    disk.fail_reads("snapshots.redb", ErrorKind::Other);
    let refused = Embedded::open_on(disk.shared(), options(1 << 20));
    assert!(matches!(refused, Err(StoreError::Io { .. })));
    disk.heal();
    assert_eq!(open(&open_store(&disk, 1 << 20), "a", 9).snapshot.as_deref(), Some(&b"up to 2"[..]));
}

#[test]
fn a_delete_that_failed_is_finished_by_the_next_process_or_undone_as_a_whole() {
    for with_snapshot in [false, true] {
        let disk = FaultyDisk::new();
        let store = open_store(&disk, 1);
        let _open = open(&store, "a", 1);
        for offset in 0..3 {
            append(&store, "a", 1, offset, &changes(offset..offset + 1)).unwrap();
        }
        if with_snapshot {
            compact(&store, "a", 1, 2).unwrap();
        }
        store.flush().unwrap();
        disk.fail_syncs("log/", ErrorKind::Other);
        assert!(store.delete(&key("a")).is_err());
        let disk = disk.kill();
        let store = open_store(&disk, 1);
        assert_eq!(store.list().unwrap(), []);
        store.tidy(0).unwrap();
        for seed in 0..20 {
            let disk = disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed));
            let a = open(&open_store(&disk, 1), "a", 9);
            assert_eq!((a.epoch, a.head), (1, 3), "the delete was never confirmed, so the room is whole");
            assert_eq!(a.changes, numbered(a.snapshot_offset, changes(a.snapshot_offset..3)));
        }
        assert_eq!(open(&store, "a", 2).head, 0);
        for seed in 0..20 {
            let disk = disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed));
            assert_eq!(open(&open_store(&disk, 1), "a", 9).epoch, 9, "seed {seed}");
        }
    }
}

#[test]
fn a_room_whose_end_is_in_a_doubted_segment_does_not_come_back() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let _open = (open(&store, "a", 1), append(&store, "a", 1, 0, &changes(0..3)));
    assert!(store.delete(&key("a")).unwrap());
    let b = open(&store, "b", 2);
    disk.fail_syncs("log/", ErrorKind::Other);
    append(&store, "b", 2, 0, &changes(0..1)).unwrap();
    await_cell(&b.durable, |cell| cell.failures() == 1);
    disk.await_failed_syncs_noted("log");
    let mut disk = disk.kill();
    for _ in 0..3 {
        let store = open_store(&disk, 1 << 20);
        assert!(store.list().unwrap().iter().all(|line| &*line.room != "a"));
        // Writes room b again. Were room a too, its end would go with the segment and its changes stay.
        store.flush().unwrap();
        store.tidy(0).unwrap();
        disk = disk.kill();
    }
    let store = open_store(&disk, 1 << 20);
    assert_eq!(open(&store, "a", 9).epoch, 9);
    assert_eq!(open(&store, "b", 9).changes, numbered(0, changes(0..1)));
}
