//! The laws of `store::Store` as cases that every backend runs.
//!
//! Called by the tests of each backend with a function that makes an empty store. Needs no knowledge of how a store
//! works; what happens after crashes and faults is tested next to the backend. Waits for events, never for time.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Wake, Waker};
use store::{Append, Change, Durable, Opened, Position, RoomKey, Store, StoreError};

type Case = (&'static str, fn(&dyn Store));

/// All cases, each with the fact that it states.
pub const CASES: &[Case] = &[
    ("an unknown room opens empty and is not listed", unknown_room_opens_empty),
    ("what was appended is read back as it came", appended_is_read_back),
    ("an append elsewhere than at the head is stale and changes nothing", append_elsewhere_is_stale),
    ("an append of several rooms writes each of them", several_rooms_are_appended_to),
    ("a room that refuses its part of an append fails alone", a_part_fails_alone),
    ("read_since gives what follows a position, or nothing at all", read_since_gives_what_follows),
    ("a snapshot stands for what it covers", snapshot_stands_for_what_it_covers),
    ("a snapshot elsewhere is stale", snapshot_elsewhere_is_stale),
    ("delete ends a life and the next one knows nothing of it", delete_ends_a_life),
    ("names are data", names_are_data),
    ("lengths are held to their ranges", lengths_have_ranges),
    ("the durable cell wakes whoever waits for it", durable_cell_wakes),
    ("rooms are listed in order with their sizes", rooms_are_listed),
    ("random operations agree with a model", random_operations_agree),
];

/// Runs every case against a store of its own.
pub fn check(name: &str, make: &dyn Fn() -> Box<dyn Store>) {
    for (fact, case) in CASES {
        println!("{name}: {fact}");
        case(&*make());
    }
}

/// A change that can be told from all others by its number.
pub fn change(number: u64) -> Change {
    let author = ["", "ann", "bob@example.org"][number as usize % 3];
    let length = (number * 7 % 61) as usize;
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + length, number as u8);
    Change { author: author.into(), time_ms: 1_700_000_000_000 + number, bytes: Bytes::from(bytes) }
}

/// Changes with these numbers.
pub fn changes(numbers: std::ops::Range<u64>) -> Vec<Change> {
    numbers.map(change).collect()
}

/// Waits until `reached` says so of the cell, by its waker.
pub fn await_cell(cell: &Durable, reached: impl Fn(&Durable) -> bool) {
    #[derive(Default)]
    struct Bell {
        rung: Mutex<bool>,
        changed: Condvar,
    }
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.changed.notify_all();
        }
    }
    let bell = Arc::new(Bell::default());
    loop {
        cell.wake(&Waker::from(bell.clone()));
        if reached(cell) {
            return;
        }
        let mut rung = bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *rung) {
            rung = bell.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn room(name: &str) -> RoomKey {
    RoomKey::from(name)
}

fn open(store: &dyn Store, name: &str, new_epoch: u64) -> Opened {
    store.open(&room(name), new_epoch).expect("the room opens")
}

fn append(store: &dyn Store, name: &str, at: (u64, u64), changes: &[Change]) {
    store.append(&room(name), position(at), changes).expect("the append works");
}

fn position((epoch, offset): (u64, u64)) -> Position {
    Position { epoch, offset }
}

fn numbered(from: u64, changes: Vec<Change>) -> Vec<(u64, Change)> {
    (from..).zip(changes).collect()
}

fn is_stale<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Stale { .. }))
}

fn unknown_room_opens_empty(store: &dyn Store) {
    let opened = open(store, "a", 7);
    assert_eq!((opened.epoch, opened.head, opened.snapshot_offset), (7, 0, 0));
    assert!(opened.snapshot.is_none() && opened.changes.is_empty() && opened.damage.is_empty());
    assert_eq!((opened.durable.offset(), opened.durable.failures()), (0, 0));
    assert_eq!(open(store, "a", 8).epoch, 7, "a second opening finds the same life");
    assert!(store.list().unwrap().is_empty());
    assert!(!store.delete(&room("a")).unwrap());
    assert!(!store.delete(&room("b")).unwrap());
}

fn appended_is_read_back(store: &dyn Store) {
    let _open = (open(store, "a", 7), open(store, "b", 8));
    append(store, "a", (7, 0), &changes(0..3));
    append(store, "b", (8, 0), &changes(10..11));
    append(store, "a", (7, 3), &[]);
    append(store, "a", (7, 3), &changes(3..4));
    let a = open(store, "a", 1);
    assert_eq!((a.epoch, a.head, a.changes), (7, 4, numbered(0, changes(0..4))));
    let b = open(store, "b", 1);
    assert_eq!((b.epoch, b.head, b.changes), (8, 1, numbered(0, changes(10..11))));
    store.flush().unwrap();
    assert_eq!(a.durable.offset(), 4);
}

fn append_elsewhere_is_stale(store: &dyn Store) {
    assert!(is_stale(store.append(&room("a"), position((7, 0)), &changes(0..1))), "never opened");
    let _open = open(store, "a", 7);
    append(store, "a", (7, 0), &changes(0..2));
    for at in [(7, 0), (7, 1), (7, 3), (8, 2), (8, 0)] {
        assert!(is_stale(store.append(&room("a"), position(at), &changes(5..6))), "{at:?}");
    }
    assert_eq!(open(store, "a", 1).changes, numbered(0, changes(0..2)));
}

/// What a part of an append is given as: room, epoch, offset, changes.
type Part<'a> = (&'a str, u64, u64, &'a [Change]);

fn append_all(store: &dyn Store, parts: &[Part<'_>]) -> Vec<Result<(), StoreError>> {
    let rooms: Vec<_> = parts.iter().map(|part| room(part.0)).collect();
    let part = |(&(_, epoch, offset, changes), room)| Append { room, at: Position { epoch, offset }, changes };
    let batch: Vec<_> = parts.iter().zip(&rooms).map(part).collect();
    store.append_all(&batch)
}

fn several_rooms_are_appended_to(store: &dyn Store) {
    assert!(append_all(store, &[]).is_empty());
    let names = ["a", "b", "c", "d"];
    let held: Vec<_> = (1..).zip(names).map(|(epoch, name)| open(store, name, epoch)).collect();
    append(store, "c", (3, 0), &changes(50..52));
    let [one, two, three] = [changes(0..1), changes(10..13), changes(52..53)];
    let more = changes(1..4);
    let parts: [Part<'_>; 5] =
        [("a", 1, 0, &one), ("b", 2, 0, &two), ("c", 3, 2, &three), ("d", 4, 0, &[]), ("a", 1, 1, &more)];
    let results = append_all(store, &parts);
    assert!(results.len() == 5 && results.iter().all(Result::is_ok), "{results:?}");
    let expected = [changes(0..4), changes(10..13), changes(50..53), Vec::new()];
    for ((epoch, name), content) in (1..).zip(names).zip(expected) {
        let opened = open(store, name, 99);
        assert_eq!((opened.epoch, opened.changes), (epoch, numbered(0, content)));
    }
    for (room, head) in held.iter().zip([4, 3, 3, 0]) {
        await_cell(&room.durable, |cell| cell.offset() == head);
        assert_eq!(room.durable.failures(), 0);
    }
}

fn a_part_fails_alone(store: &dyn Store) {
    let names = ["a", "b", "c"];
    let held: Vec<_> = (1..).zip(names).map(|(epoch, name)| open(store, name, epoch)).collect();
    for round in 0..8 {
        // Which rooms refuse; their parts are of different lengths, and at the beginning, in the middle and at the end.
        let refuses = |index: u64| round & (1 << index) != 0;
        let new: Vec<_> = (0..3).map(|index| changes(100 * round + 10 * index..100 * round + 11 * index + 1)).collect();
        let heads: Vec<_> = names.iter().map(|name| open(store, name, 99).head).collect();
        let part = |index: u64| {
            let at = heads[index as usize] + u64::from(refuses(index));
            (names[index as usize], index + 1, at, &new[index as usize][..])
        };
        let results = append_all(store, &[part(0), ("never opened", 9, 0, &new[0]), part(1), part(2)]);
        let stale: Vec<_> = results.into_iter().map(is_stale).collect();
        assert_eq!(stale, [refuses(0), true, refuses(1), refuses(2)]);
        for index in 0..3 {
            let opened = open(store, names[index as usize], 99);
            let (added, offset) = (&new[index as usize], heads[index as usize]);
            let expected = if refuses(index) { Vec::new() } else { numbered(offset, added.clone()) };
            assert_eq!(opened.changes[offset as usize..], expected, "round {round}, room {index}");
        }
    }
    assert!(held.iter().all(|room| room.durable.failures() == 0), "a refusal is no failure of the disk");
    // The second part of a room whose first one is refused does not stand in for it.
    let [one, two] = [changes(0..1), changes(1..2)];
    let head = open(store, "a", 99).head;
    let results = append_all(store, &[("a", 1, head + 1, &one), ("a", 1, head, &two), ("a", 1, head, &one)]);
    assert_eq!(results.into_iter().map(is_stale).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(open(store, "a", 99).changes.last(), Some(&(head, two[0].clone())));
}

fn read_since_gives_what_follows(store: &dyn Store) {
    let since = |at| store.read_since(&room("a"), position(at)).unwrap();
    assert_eq!(since((7, 0)), None);
    let _open = open(store, "a", 7);
    assert_eq!(since((7, 0)), Some(vec![]));
    append(store, "a", (7, 0), &changes(0..3));
    append(store, "a", (7, 3), &changes(3..5));
    for from in 0..=5 {
        assert_eq!(since((7, from)), Some(numbered(from, changes(from..5))), "from {from}");
    }
    assert_eq!(since((7, 6)), None);
    assert_eq!(since((8, 3)), None);
}

fn snapshot_stands_for_what_it_covers(store: &dyn Store) {
    let _open = open(store, "a", 7);
    append(store, "a", (7, 0), &changes(0..3));
    append(store, "a", (7, 3), &changes(3..5));
    // In the middle of an append, at its end, and at the head.
    for at in [1, 3, 5, 5] {
        let content = format!("up to {at}");
        store.replace_with_snapshot(&room("a"), position((7, at)), content.as_bytes()).unwrap();
        let opened = open(store, "a", 1);
        assert_eq!((opened.epoch, opened.head, opened.snapshot_offset), (7, 5, at));
        assert_eq!(opened.snapshot.as_deref(), Some(content.as_bytes()));
        assert_eq!(opened.changes, numbered(at, changes(at..5)));
        assert!(opened.durable.offset() >= at);
        assert_eq!(store.read_since(&room("a"), position((7, at))).unwrap(), Some(numbered(at, changes(at..5))));
        assert_eq!(store.read_since(&room("a"), position((7, at - 1))).unwrap(), None);
    }
    append(store, "a", (7, 5), &changes(5..6));
    assert_eq!(open(store, "a", 1).changes, numbered(5, changes(5..6)));
}

fn snapshot_elsewhere_is_stale(store: &dyn Store) {
    let replace = |at| store.replace_with_snapshot(&room("a"), position(at), b"x");
    assert!(is_stale(replace((7, 0))), "unknown room");
    let _open = open(store, "a", 7);
    append(store, "a", (7, 0), &changes(0..3));
    replace((7, 2)).unwrap();
    for at in [(7, 1), (7, 4), (8, 2)] {
        assert!(is_stale(replace(at)), "{at:?}");
    }
}

fn delete_ends_a_life(store: &dyn Store) {
    for (epoch, with_snapshot) in [(7, false), (8, true), (9, true)] {
        let opened = open(store, "a", epoch);
        assert_eq!((opened.epoch, opened.head, opened.snapshot), (epoch, 0, None));
        append(store, "a", (epoch, 0), &changes(0..3));
        if with_snapshot {
            store.replace_with_snapshot(&room("a"), position((epoch, 2)), b"x").unwrap();
        }
        assert!(store.delete(&room("a")).unwrap());
        assert!(!store.delete(&room("a")).unwrap());
        assert!(store.list().unwrap().is_empty());
        assert!(is_stale(store.append(&room("a"), position((epoch, 3)), &changes(3..4))));
        assert!(is_stale(store.replace_with_snapshot(&room("a"), position((epoch, 3)), b"x")));
        assert_eq!(store.read_since(&room("a"), position((epoch, 3))).unwrap(), None);
    }
}

fn names_are_data(store: &dyn Store) {
    let long = "x".repeat(1_100);
    let names = ["a", "A", "a ", "../../etc/passwd", "/", "\0", "a\nb", "żółw 🐢", ".", &long];
    for (epoch, name) in (1..).zip(names) {
        let _open = open(store, name, epoch);
        append(store, name, (epoch, 0), &changes(epoch..epoch + 2));
        store.replace_with_snapshot(&room(name), position((epoch, 1)), name.as_bytes()).unwrap();
    }
    for (epoch, name) in (1..).zip(names) {
        let opened = open(store, name, 99);
        assert_eq!((opened.epoch, opened.snapshot.as_deref()), (epoch, Some(name.as_bytes())));
        assert_eq!(opened.changes, numbered(1, changes(epoch + 1..epoch + 2)));
    }
    assert_eq!(store.list().unwrap().len(), names.len());
}

fn lengths_have_ranges(store: &dyn Store) {
    let _open = open(store, "a", 7);
    let of = |author: usize, bytes: usize| Change {
        author: "x".repeat(author).into(),
        time_ms: u64::MAX,
        bytes: vec![7; bytes].into(),
    };
    let widest = [of(0, 0), of(256, 0), of(0, 3 << 20)];
    append(store, "a", (7, 0), &widest);
    assert_eq!(open(store, "a", 1).changes, numbered(0, widest.to_vec()));
}

fn durable_cell_wakes(store: &dyn Store) {
    let opened = open(store, "a", 7);
    append(store, "a", (7, 0), &changes(0..3));
    await_cell(&opened.durable, |cell| cell.offset() == 3);
    append(store, "a", (7, 3), &changes(3..4));
    await_cell(&opened.durable, |cell| cell.offset() == 4);
    assert_eq!(opened.durable.failures(), 0);
}

fn rooms_are_listed(store: &dyn Store) {
    let mut open_rooms = Vec::new();
    for (epoch, name) in [(1, "c"), (2, "a"), (3, "b"), (4, "empty")] {
        open_rooms.push(open(store, name, epoch));
    }
    append(store, "c", (1, 0), &changes(0..2));
    append(store, "a", (2, 0), &changes(0..3));
    append(store, "b", (3, 0), &changes(0..1));
    store.replace_with_snapshot(&room("a"), position((2, 3)), b"12345").unwrap();
    let list = store.list().unwrap();
    let names: Vec<_> = list.iter().map(|line| (&*line.room, line.epoch, line.head, line.snapshot_bytes)).collect();
    assert_eq!(names, [("a", 2, 3, 5), ("b", 3, 1, 0), ("c", 1, 2, 0)]);
    let exist = ["a", "b", "c", "empty", "never"].map(|name| store.exists(&room(name)).unwrap());
    assert_eq!(exist, [true, true, true, false, false]);
    assert!(store.delete(&room("b")).unwrap());
    assert!(!store.exists(&room("b")).unwrap());
    let in_log: Vec<_> = list.iter().map(|line| line.log_bytes > 0).collect();
    assert_eq!(in_log, [false, true, true]);
}

fn random_operations_agree(store: &dyn Store) {
    #[derive(Default)]
    struct Room {
        epoch: u64,
        snapshot: Option<(u64, Vec<u8>)>,
        content: Vec<Change>,
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut model: BTreeMap<String, Room> = BTreeMap::new();
    let mut held = Vec::new();
    for step in 1..2_000 {
        let name = format!("room {}", rng.u8(0..5));
        let known = model.entry(name.clone()).or_default();
        if known.epoch == 0 {
            known.epoch = step;
            held.push(open(store, &name, step));
        }
        let head = known.content.len() as u64;
        let from = known.snapshot.as_ref().map_or(0, |(offset, _)| *offset);
        match rng.u8(0..20) {
            0 => {
                let at = rng.u64(from..=head);
                let bytes = format!("{name} up to {at}").into_bytes();
                store.replace_with_snapshot(&room(&name), position((known.epoch, at)), &bytes).unwrap();
                known.snapshot = Some((at, bytes));
            }
            1 => {
                let expected = known.snapshot.is_some() || head > 0;
                assert_eq!(store.delete(&room(&name)).unwrap(), expected, "seed {seed}");
                if expected {
                    model.remove(&name);
                }
            }
            2 => {
                store.tidy(step).unwrap();
            }
            3 | 4 => {
                let at = rng.u64(0..=head + 1);
                let read = store.read_since(&room(&name), position((known.epoch, at))).unwrap();
                let expected = (from..=head).contains(&at);
                let expected = expected.then(|| numbered(at, known.content[at as usize..].to_vec()));
                assert_eq!(read, expected, "seed {seed}");
            }
            5 | 6 => {
                let opened = open(store, &name, 0);
                assert_eq!(
                    (opened.epoch, opened.head, opened.snapshot_offset),
                    (known.epoch, head, from),
                    "seed {seed}"
                );
                assert_eq!(opened.snapshot.as_deref(), known.snapshot.as_ref().map(|(_, bytes)| &bytes[..]));
                assert_eq!(opened.changes, numbered(from, known.content[from as usize..].to_vec()), "seed {seed}");
            }
            7..=10 => {
                let parts: Vec<_> =
                    model.iter().map(|(name, room)| (name.clone(), room.epoch, room.content.len())).collect();
                let new: Vec<_> =
                    (0..10).map(|index| changes(step * 100 + index * 10..step * 100 + index * 10 + 2)).collect();
                let batch: Vec<_> =
                    parts.iter().zip(&new).map(|(part, new)| (&*part.0, part.1, part.2 as u64, &new[..])).collect();
                assert!(append_all(store, &batch).iter().all(Result::is_ok), "seed {seed}");
                for ((name, ..), new) in parts.into_iter().zip(new) {
                    model.entry(name).or_default().content.extend(new);
                }
            }
            _ => {
                let new = changes(step * 100..step * 100 + rng.u64(1..4));
                append(store, &name, (known.epoch, head), &new);
                known.content.extend(new);
            }
        }
    }
}
