//! The disk goes off at every single operation of what takes several steps: the room reads as before or as after.

use super::{append, append_all, compact, keeping, key, open, open_store};
use store::backends::embedded::Embedded;
use store::{Change, KeepLog, Store, StoreError};
use testkit::contract::changes;
use testkit::disk::FaultyDisk;

/// A room's life as far as it can be told: its snapshot says what it covers.
type Reading = (u64, Vec<Change>);

/// What a room reads, whatever of it is in the snapshot. An unknown one reads as epoch 0.
fn reading(store: &dyn Store, room: &str) -> Reading {
    let opened = open(store, room, 0);
    let covered = opened.snapshot_offset;
    assert_eq!(opened.snapshot, (covered > 0).then(|| format!("up to {covered}").into()));
    let mut content = changes(0..covered);
    for (offset, change) in opened.changes {
        if offset > content.len() as u64 {
            // Of what was not synced, a later part may have stayed without the earlier one; this is said.
            assert!(!opened.damage.is_empty());
            break;
        }
        content.push(change);
    }
    // Of an append that was torn, it may be said that it is gone.
    assert!(opened.damage.iter().all(|damage| damage.offset >= Some(content.len() as u64)), "{:?}", opened.damage);
    (opened.epoch, content)
}

/// Two rooms in several segments, all on stable storage, with what else `prepare` does.
fn sample(prepare: fn(&Embedded)) -> FaultyDisk {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 300);
    let _open = (open(&store, "a", 1), open(&store, "b", 2));
    for offset in 0..5 {
        append(&store, "a", 1, offset, &changes(offset..offset + 1)).unwrap();
        append(&store, "b", 2, offset, &changes(offset..offset + 1)).unwrap();
    }
    prepare(&store);
    drop(store);
    disk
}

/// Does `action` with the disk going off at each of its operations in turn. `allowed` says whether room a may read
/// like this when the action returned that.
fn check(
    prepare: fn(&Embedded),
    action: fn(&Embedded) -> Result<(), StoreError>,
    allowed: fn(&Reading, returned_ok: bool, killed: bool) -> bool,
) {
    let base = sample(prepare);
    for step in 0.. {
        let disk = base.copy();
        let store = Embedded::open_on(disk.shared(), keeping(300, KeepLog::None)).unwrap();
        let _open = (open(&store, "a", 0), open(&store, "b", 0));
        disk.stop_after(step);
        let returned_ok = action(&store).is_ok();
        let done = !disk.is_off();
        for seed in 0..8 {
            let rng = &mut fastrand::Rng::with_seed(seed);
            let unsynced = disk.copy_with_unsynced();
            let after = if seed == 0 { unsynced } else { unsynced.cut_power(rng) };
            // A second start finds what the first one left.
            for _ in 0..2 {
                let store = open_store(&after, 300);
                let a = reading(&store, "a");
                assert!(allowed(&a, returned_ok, seed == 0), "step {step}, seed {seed}, ok {returned_ok}: {a:?}");
                assert_eq!(reading(&store, "b"), (2, changes(0..5)), "step {step}, seed {seed}");
            }
            let store = open_store(&after, 300);
            let a = open(&store, "a", 50);
            append(&store, "a", a.epoch, a.head, &changes(a.head..a.head + 1)).unwrap();
            store.tidy(0).unwrap();
            drop(store);
            let after = open(&open_store(&after, 300), "a", 0).head;
            assert_eq!(after, a.head + 1, "step {step}, seed {seed}: work goes on");
        }
        drop(store);
        if done {
            return;
        }
    }
}

fn whole(a: &Reading) -> bool {
    *a == (1, changes(0..5))
}

#[test]
fn the_first_snapshot() {
    check(|_| {}, |store| compact(store, "a", 1, 4), |a, _, _| whole(a));
}

#[test]
fn a_later_snapshot() {
    check(|store| compact(store, "a", 1, 2).unwrap(), |store| compact(store, "a", 1, 5), |a, _, _| whole(a));
}

#[test]
fn a_snapshot_and_the_removal_of_what_it_covers() {
    let action = |store: &Embedded| {
        compact(store, "a", 1, 5)?;
        compact(store, "b", 2, 5)?;
        store.tidy(0).map(|_| ())
    };
    check(|_| {}, action, |a, _, _| whole(a));
}

#[test]
fn delete_without_a_snapshot() {
    let action = |store: &Embedded| store.delete(&key("a")).map(|_| ());
    check(|_| {}, action, |a, ok, _| *a == (0, vec![]) || (!ok && whole(a)));
}

#[test]
fn delete_with_a_snapshot_and_a_new_life() {
    let action = |store: &Embedded| {
        store.delete(&key("a"))?;
        open(store, "a", 7);
        append(store, "a", 7, 0, &changes(0..2))?;
        store.flush()
    };
    let allowed = |a: &Reading, ok: bool, _: bool| {
        let (old, gone, new) = (whole(a), *a == (0, vec![]), *a == (7, changes(0..2)));
        new || (!ok && (old || gone))
    };
    check(|store| compact(store, "a", 1, 3).unwrap(), action, allowed);
}

#[test]
fn delete_and_the_removal_of_all_that_tells_of_it() {
    let action = |store: &Embedded| {
        store.delete(&key("a"))?;
        compact(store, "b", 2, 5)?;
        for offset in 5..8 {
            append(store, "b", 2, offset, &changes(offset..offset + 1))?;
        }
        compact(store, "b", 2, 5)?;
        store.tidy(0).map(|_| ())
    };
    // Room b goes on here, so only room a is looked at.
    let base = sample(|_| {});
    for step in 0.. {
        let disk = base.copy();
        let store = open_store(&disk, 300);
        let _open = (open(&store, "a", 0), open(&store, "b", 0));
        disk.stop_after(step);
        let returned_ok = action(&store).is_ok();
        for seed in 0..8 {
            let after = disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed));
            let a = reading(&open_store(&after, 300), "a");
            assert!(a == (0, vec![]) || (!returned_ok && whole(&a)), "step {step}, seed {seed}: {a:?}");
        }
        if !disk.is_off() {
            return;
        }
    }
}

#[test]
fn appends_that_begin_segments() {
    let action = |store: &Embedded| {
        for offset in 5..9 {
            append(store, "a", 1, offset, &changes(offset..offset + 1))?;
        }
        Ok(())
    };
    let allowed = |a: &Reading, ok: bool, killed: bool| {
        let count = a.1.len() as u64;
        *a == (1, changes(0..count)) && count >= if ok && killed { 9 } else { 5 }
    };
    check(|_| {}, action, allowed);
}

#[test]
fn appends_that_begin_segments_and_are_synced() {
    let action = |store: &Embedded| {
        for offset in 5..9 {
            append(store, "a", 1, offset, &changes(offset..offset + 1))?;
            store.flush()?;
        }
        Ok(())
    };
    let allowed = |a: &Reading, ok: bool, _: bool| {
        let count = a.1.len() as u64;
        *a == (1, changes(0..count)) && count >= if ok { 9 } else { 5 }
    };
    check(|_| {}, action, allowed);
}

/// Both rooms, several times, with the disk going off at each operation. Each room reads as after some number of the calls,
/// and not as in the middle of one.
fn check_appends_of_both(flush: bool) {
    let action = |store: &Embedded| -> Result<u64, StoreError> {
        let mut calls = 0;
        for call in 0..6 {
            let (a, b) = (5 + call * 3, 5 + call * 2);
            let (of_a, of_b) = (changes(a..a + 3), changes(b..b + 2));
            append_all(store, &[("a", 1, a, &of_a), ("b", 2, b, &of_b)]).into_iter().collect::<Result<(), _>>()?;
            if flush {
                store.flush()?;
            }
            calls = call + 1;
        }
        Ok(calls)
    };
    let base = sample(|_| {});
    for step in 0.. {
        let disk = base.copy();
        let store = open_store(&disk, 300);
        let _open = (open(&store, "a", 0), open(&store, "b", 0));
        disk.stop_after(step);
        let returned_ok = action(&store).is_ok();
        let done = !disk.is_off();
        for seed in 0..16 {
            let killed = seed == 0;
            let unsynced = disk.copy_with_unsynced();
            let after = if killed { unsynced } else { unsynced.cut_power(&mut fastrand::Rng::with_seed(seed)) };
            for _ in 0..2 {
                let store = open_store(&after, 300);
                for (room, epoch, each) in [("a", 1, 3), ("b", 2, 2)] {
                    let (found, content) = reading(&store, room);
                    let count = content.len() as u64;
                    let least = if returned_ok && (killed || flush) { 5 + 6 * each } else { 5 };
                    let note = format!("step {step}, seed {seed}, room {room}: {count}");
                    assert_eq!((found, content), (epoch, changes(0..count)), "{note}");
                    assert!(count >= least && (count - 5).is_multiple_of(each), "{note}");
                }
            }
        }
        if done {
            return;
        }
    }
}

#[test]
fn appends_of_several_rooms() {
    check_appends_of_both(false);
}

#[test]
fn appends_of_several_rooms_that_are_synced() {
    check_appends_of_both(true);
}
