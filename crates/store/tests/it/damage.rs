//! Bytes that change behind the store's back: it opens, loses no more than the record they are in, and says so.

use super::{append, compact, key, open, open_store};
use std::collections::BTreeMap;
use store::{Change, Store};
use testkit::contract::changes;
use testkit::disk::FaultyDisk;

/// Where one record of the sample lies and what it says.
struct Record {
    file: String,
    from: usize,
    to: usize,
    room: &'static str,
    offset: u64,
    changes: Vec<Change>,
}

impl Record {
    fn body(&self) -> usize {
        self.from + 40 + self.room.len()
    }
}

/// Appends to three rooms in turn; segments of this size.
fn sample(segment_bytes_max: u64) -> (FaultyDisk, Vec<Record>) {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, segment_bytes_max);
    let rooms = ["a", "room b", "c"];
    let _open: Vec<_> = (1..).zip(rooms).map(|(epoch, room)| open(&store, room, epoch)).collect();
    let mut heads = [0; 3];
    let mut records = Vec::new();
    for number in 0..9 {
        let index = number as usize % 3;
        let new = changes(number * 10..number * 10 + 1 + number % 2);
        append(&store, rooms[index], index as u64 + 1, heads[index], &new).unwrap();
        let file = disk.names("log").pop().unwrap();
        let to = disk.read(&file).len();
        let from = records.last().filter(|last: &&Record| last.file == file).map_or(0, |last| last.to);
        let offset = heads[index];
        heads[index] += new.len() as u64;
        records.push(Record { file, from, to, room: rooms[index], offset, changes: new });
    }
    drop(store);
    (disk, records)
}

/// What each room reads, without the records left out.
fn content<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<&'static str, Vec<(u64, Change)>> {
    let mut rooms: BTreeMap<_, Vec<_>> = ["a", "room b", "c"].map(|room| (room, Vec::new())).into();
    for record in records {
        let all = rooms.get_mut(record.room).unwrap();
        all.extend((record.offset..).zip(record.changes.iter().cloned()));
    }
    rooms
}

#[test]
fn any_one_byte_costs_one_record_at_most_and_is_reported() {
    for segment_bytes_max in [1 << 20, 300] {
        let (disk, records) = sample(segment_bytes_max);
        for (index, victim) in records.iter().enumerate() {
            let rest = records.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, record)| record);
            let expected = content(rest);
            for at in victim.from..victim.to {
                for change in [|byte: u8| byte ^ 1, |byte| byte ^ 0x80, |_| 0, |_| 0xff] {
                    check_byte(&disk, victim, at, change, &expected);
                }
            }
        }
    }
}

fn check_byte(
    disk: &FaultyDisk,
    victim: &Record,
    at: usize,
    change: fn(u8) -> u8,
    expected: &BTreeMap<&'static str, Vec<(u64, Change)>>,
) {
    let disk = disk.copy();
    let mut bytes = disk.read(&victim.file);
    let new = change(bytes[at]);
    if new == bytes[at] {
        return;
    }
    bytes[at] = new;
    disk.overwrite(&victim.file, &bytes);
    let place = format!("{} byte {at} = {new:#x}", victim.file);
    // The second opening finds nothing worse than the first.
    for _ in 0..2 {
        let store = open_store(&disk, 1 << 20);
        for (room, changes) in expected {
            let opened = open(&store, room, 99);
            assert_eq!(&opened.changes, changes, "{place}");
            let knows = !opened.damage.is_empty();
            assert!(!knows || *room == victim.room, "{place}");
            let cut = store.list().unwrap().iter().all(|line| *line.room != **room || line.head <= victim.offset);
            assert!(knows || at < victim.body() || *room != victim.room || cut, "{place}");
        }
        if at >= victim.body() {
            let named =
                |damage: &store::Damage| damage.room == Some(key(victim.room)) && damage.offset == Some(victim.offset);
            let last = disk.read(&victim.file).len() < victim.to;
            assert!(last || store.damage().iter().any(named), "{place}: {:?}", store.damage());
        }
    }
    assert!(!disk.names("damaged").is_empty(), "{place}");
}

#[test]
fn a_segment_cut_anywhere_keeps_all_whole_records_and_goes_on() {
    let (disk, records) = sample(1 << 20);
    let file = &records[0].file;
    let bytes = disk.read(file);
    for length in 0..bytes.len() {
        let disk = disk.copy();
        disk.overwrite(file, &bytes[..length]);
        let whole = || records.iter().filter(|record| record.to <= length);
        let mid_record = records.iter().all(|record| record.to != length) && length > 0;
        let store = open_store(&disk, 1 << 20);
        assert_eq!(!store.damage().is_empty(), mid_record, "length {length}: {:?}", store.damage());
        assert_eq!(disk.read(file).len(), whole().next_back().map_or(0, |record| record.to));
        let mut expected = content(whole());
        let opened = open(&store, "a", 50);
        append(&store, "a", opened.epoch, opened.head, &changes(900..902)).unwrap();
        expected.get_mut("a").unwrap().extend((opened.head..).zip(changes(900..902)));
        drop(store);
        let store = open_store(&disk, 1 << 20);
        for (room, changes) in &expected {
            assert_eq!(&open(&store, room, 99).changes, changes, "length {length}");
        }
        assert_eq!(store.damage(), []);
    }
}

#[test]
fn zeros_at_the_end_are_cut_without_a_word() {
    let (disk, records) = sample(1 << 20);
    let mut bytes = disk.read(&records[0].file);
    let length = bytes.len();
    bytes.resize(length + 5_000, 0);
    disk.overwrite(&records[0].file, &bytes);
    let store = open_store(&disk, 1 << 20);
    assert_eq!(store.damage(), []);
    assert_eq!(disk.read(&records[0].file).len(), length);
}

#[test]
fn a_record_inside_a_change_is_not_taken_for_one() {
    let (disk, records) = sample(1 << 20);
    let foreign = disk.read(&records[0].file);
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let _open = open(&store, "victim", 1);
    let hostile = Change { author: "".into(), time_ms: 0, bytes: foreign.into() };
    append(&store, "victim", 1, 0, &[hostile]).unwrap();
    append(&store, "victim", 1, 1, &changes(0..1)).unwrap();
    drop(store);
    let mut bytes = disk.read("log/0000000001.log");
    bytes[10] ^= 1;
    disk.overwrite("log/0000000001.log", &bytes);
    let store = open_store(&disk, 1 << 20);
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(open(&store, "victim", 2).changes, [(1, changes(0..1).remove(0))]);
}

#[test]
fn damage_that_comes_while_running_is_reported_too() {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    let _open = open(&store, "a", 1);
    append(&store, "a", 1, 0, &changes(0..2)).unwrap();
    let first = disk.read("log/0000000001.log").len();
    append(&store, "a", 1, 2, &changes(2..3)).unwrap();
    store.flush().unwrap();
    let mut bytes = disk.read("log/0000000001.log");
    bytes[first - 1] ^= 1;
    disk.overwrite("log/0000000001.log", &bytes);
    let opened = open(&store, "a", 9);
    assert_eq!(opened.changes, [(2, changes(2..3).remove(0))]);
    assert_eq!((opened.head, opened.damage.len(), opened.damage[0].offset), (3, 1, Some(0)));
    let at = store::Position { epoch: 1, offset: 0 };
    assert_eq!(store.read_since(&key("a"), at).unwrap(), None, "a gap is not passed over in silence");
    assert_eq!(open(&store, "a", 9).damage.len(), 1, "reported once");
}

/// Rooms with a snapshot and more: a is covered but for the last change, b wholly.
fn with_snapshots() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let store = open_store(&disk, 1 << 20);
    for (epoch, room) in [(1, "a"), (2, "b")] {
        let _open = open(&store, room, epoch);
        append(&store, room, epoch, 0, &changes(0..3)).unwrap();
        compact(&store, room, epoch, if room == "a" { 2 } else { 3 }).unwrap();
    }
    drop(store);
    disk
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_the_room_read_from_the_log() {
    let disk = with_snapshots();
    let bytes = disk.read("snapshots.redb");
    let needle = b"up to 2";
    let hits: Vec<_> = (0..bytes.len() - needle.len()).filter(|&at| bytes[at..].starts_with(needle)).collect();
    assert!(!hits.is_empty());
    let mut bytes = bytes;
    for at in hits {
        bytes[at] ^= 1;
    }
    disk.overwrite("snapshots.redb", &bytes);
    for _ in 0..2 {
        let store = open_store(&disk, 1 << 20);
        let a = open(&store, "a", 9);
        assert_eq!((a.epoch, a.head, a.snapshot, a.snapshot_offset), (1, 3, None, 0));
        assert_eq!(a.changes, super::numbered(0, changes(0..3)));
        assert_eq!((a.damage.len(), store.damage().len()), (1, 1));
        assert_eq!(open(&store, "b", 9).snapshot.as_deref(), Some(&b"up to 3"[..]));
        assert_eq!(disk.names("damaged").len(), 1);
        append(&store, "a", 1, 3, &[]).unwrap();
    }
    let store = open_store(&disk, 1 << 20);
    let _open = open(&store, "a", 9);
    compact(&store, "a", 1, 3).unwrap();
    assert_eq!(open(&store, "a", 9).snapshot.as_deref(), Some(&b"up to 3"[..]), "the next snapshot heals it");
}

#[test]
fn a_file_of_snapshots_that_is_none_is_moved_away() {
    for garbage in [&b"not a database at all, but long enough to look at"[..], &[0; 9_000]] {
        let disk = with_snapshots();
        disk.overwrite("snapshots.redb", garbage);
        let store = open_store(&disk, 1 << 20);
        assert_eq!(store.damage().len(), 1);
        assert_eq!(disk.read("damaged/snapshots-1.redb"), garbage);
        for (epoch, room) in [(1, "a"), (2, "b")] {
            let opened = open(&store, room, 9);
            assert_eq!((opened.epoch, opened.changes), (epoch, super::numbered(0, changes(0..3))));
            compact(&store, room, epoch, 3).unwrap();
        }
    }
}

#[test]
fn any_one_byte_of_the_snapshots_never_gives_wrong_content_nor_a_panic() {
    let disk = with_snapshots();
    let bytes = disk.read("snapshots.redb");
    let used: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at] != 0 || at < 512).collect();
    let step = (used.len() / 400).max(1);
    for &at in used.iter().step_by(step) {
        let disk = disk.copy();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        disk.overwrite("snapshots.redb", &bytes);
        let Ok(store) = store::backends::embedded::Embedded::open_on(disk.shared(), super::options(1 << 20)) else {
            panic!("byte {at}: does not open")
        };
        for (room, whole) in [("a", &b"up to 2"[..]), ("b", b"up to 3")] {
            let opened = open(&store, room, 9);
            match opened.snapshot {
                Some(snapshot) => assert_eq!(snapshot, whole, "byte {at}"),
                None => {
                    assert_eq!(opened.changes, super::numbered(0, changes(0..3)), "byte {at}");
                    assert!(!store.damage().is_empty(), "byte {at}");
                }
            }
        }
    }
}
