//! A room on disk: what compaction keeps, and that a loaded room is the room that was.

use crate::script::{bytes, update};
use ::bytes::Bytes;
use document::{Document, MessageLimits, Span, Update};
use room::{
    Change, Effect, Event, Input, Limits, MemberId, ParkedUpdate, Room, Rules, Snapshot, SnapshotError, StateVector,
    Stored,
};

fn change(author: &str, time_ms: u64, text: &str) -> Change {
    Change { author: author.into(), time_ms, bytes: bytes(text) }
}

fn squash(previous: Option<&Snapshot>, changes: &[Change], keep_deleted: bool) -> Snapshot {
    let previous = previous.map(Snapshot::encode);
    Snapshot::squash(previous.as_deref(), changes, keep_deleted).expect("a snapshot")
}

/// Spans as (start, end, author's name, time).
fn spans<'a>(snapshot: &'a Snapshot, spans: impl Iterator<Item = &'a Span>) -> Vec<(u32, u32, &'a str, u64)> {
    let authors = snapshot.attribution.authors();
    spans.map(|span| (span.start, span.end, authors[span.author as usize].as_str(), span.time_ms)).collect()
}

#[test]
fn nothing_squashed_is_an_empty_snapshot() {
    let empty = squash(None, &[], false);
    assert_eq!(empty.state, [0, 0]);
    assert_eq!(Snapshot::decode(&empty.encode()), Ok(empty));
}

#[test]
fn the_first_acceptance_is_kept_through_every_compaction() {
    let minutes = |minutes: u64| minutes * 60_000;
    let first = squash(None, &[change("ann", minutes(10), "A1")], false);
    assert_eq!(spans(&first, first.attribution.inserts(1)), [(0, 2, "ann", minutes(10))]);

    // Somebody else says the same again, and more.
    let changes =
        [change("ben", minutes(20), "A1A2"), change("ben", minutes(21), "A3"), change("eve", minutes(22), "X2")];
    let second = squash(Some(&first), &changes, false);
    let third = squash(Some(&second), &[change("eve", minutes(30), "AF"), change("eve", minutes(31), "A1X2")], false);
    for later in [&second, &third, &squash(Some(&third), &[], false)] {
        assert_eq!(
            spans(later, later.attribution.inserts(1)),
            [(0, 2, "ann", minutes(10)), (2, 3, "ben", minutes(20))]
        );
        assert_eq!(spans(later, later.attribution.inserts(2)), [(0, 1, "eve", minutes(22))]);
        assert_eq!(spans(later, later.attribution.deletes(1)), [(0, 1, "ben", minutes(21))]);
        assert_eq!(Snapshot::decode(&later.encode()).as_ref(), Ok(later));
    }
}

#[test]
fn in_one_go_or_in_many_it_is_the_same() {
    let changes = [
        change("ann", 1, "A2"),
        change("ben", 2, "X2"),
        change("ben", 3, "A1"),
        change("ann", 4, "A3"),
        change("eve", 5, "AF"),
    ];
    for keep_deleted in [false, true] {
        let whole = squash(None, &changes, keep_deleted);
        for cut in 0..=changes.len() {
            let begun = squash(None, &changes[..cut], keep_deleted);
            let in_two = squash(Some(&begun), &changes[cut..], keep_deleted);
            assert_eq!(in_two.state, whole.state, "cut at {cut}");
            assert_eq!(in_two.parked, whole.parked, "cut at {cut}");
            for client in [1, 2] {
                let (one, other) = (&whole.attribution, &in_two.attribution);
                assert_eq!(spans(&whole, one.inserts(client)), spans(&in_two, other.inserts(client)), "cut at {cut}");
                assert_eq!(spans(&whole, one.deletes(client)), spans(&in_two, other.deletes(client)), "cut at {cut}");
            }
        }
    }
}

#[test]
fn what_waits_stays_with_whose_it_is() {
    let first = squash(None, &[change("ann", 1, "A2"), change("ben", 2, "01 01 05 01 84 05 00 01 21 00")], false);
    let parked =
        |author: &str, time_ms, update| ParkedUpdate { author: author.into(), time_ms, update: bytes(update).to_vec() };
    let waiting = [parked("ann", 1, "A2"), parked("ben", 2, "01 01 05 01 84 05 00 01 21 00")];
    assert_eq!((first.parked.as_slice(), first.state.as_slice()), (&waiting[..], &[0, 0][..]));
    let second = squash(Some(&first), &[], false);
    assert_eq!(second, first);
    let third = squash(Some(&second), &[change("eve", 100_000, "A1")], false);
    assert_eq!(third.parked, waiting[1..]);
    assert_eq!(third.state, bytes("A1A2"));
    // What was released counts as accepted when it came.
    let credited = [(0, 2, "eve", 100_000), (2, 3, "ann", 1)];
    assert_eq!(spans(&third, third.attribution.inserts(1)), credited);
}

#[test]
fn deleted_content_is_kept_where_asked() {
    let changes = [change("ann", 1, "A1A2"), change("ann", 2, "A3")];
    assert_eq!(squash(None, &changes, false).state, bytes("AF"));
    let kept = squash(None, &changes, true);
    assert_eq!(kept.state, bytes("01 01 01 00 04 01 01 74 03 68 69 21 01 01 01 00 01"));
    assert_eq!(squash(Some(&kept), &[], true).state, kept.state);
    assert_eq!(squash(Some(&kept), &[], false).state, bytes("AF"));
}

#[test]
fn one_bad_change_does_not_keep_a_room_closed() {
    let changes = [change("ann", 1, "A1"), change("ann", 2, "ff ff"), change("ann", 3, "A2")];
    assert_eq!(squash(None, &changes, false).state, bytes("A1A2"));
    let stored = Stored { changes: changes.to_vec(), head: 3, durable: 3, ..Stored::default() };
    let mut room = Room::load(&stored, Limits::default()).expect("a room");
    assert_eq!(answer(&mut room, StateVector::default(), false), [Event::Missing(bytes("A1A2"))]);
}

#[test]
fn bytes_that_are_no_snapshot_are_refused() {
    let whole = squash(
        None,
        &[change("ann", 1, "A1"), change("ben", 2, "X2"), change("eve", 3, "01 01 05 01 84 05 00 01 21 00")],
        false,
    )
    .encode();
    assert!(Snapshot::decode(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(Snapshot::decode(&whole[..end]).is_err(), "{end} of {} bytes", whole.len());
    }
    assert_eq!(Snapshot::decode(&[9, 0]), Err(SnapshotError::Version(9)));
    for place in 0..whole.len() {
        for value in 0..=255 {
            let mut damaged = whole.clone();
            damaged[place] = value;
            // Whatever it says, reading it ends.
            if let Ok(snapshot) = Snapshot::decode(&damaged) {
                let _ = snapshot.fill(&mut Document::default(), |_| 0);
                let _ = Room::load(&Stored { snapshot: Some(damaged.into()), ..Stored::default() }, Limits::default());
            }
        }
    }
    let broken = Snapshot { state: vec![1, 2, 3], ..Snapshot::default() };
    assert!(matches!(Snapshot::squash(Some(&broken.encode()), &[], false), Err(SnapshotError::Update(_))));
}

fn join(member: MemberId) -> Input {
    Input::Join { member, kind: room::Kind::Client, access: room::Access::Write, author: "r".into(), trusts_all: false }
}

/// What the room tells a joiner.
fn answer(room: &mut Room, known: StateVector, in_one: bool) -> Vec<Event> {
    let (member, mut effects) = (MemberId(999), Vec::new());
    room.handle(join(member), 0, &mut effects);
    effects.clear();
    room.handle(if in_one { Input::SyncInOne(member, known) } else { Input::Sync(member, known) }, 0, &mut effects);
    room.handle(Input::Leave(member), 0, &mut effects);
    let event = |effect| match effect {
        Effect::Send(to, event) if to == member => event,
        other => panic!("{other:?}"),
    };
    effects.into_iter().map(event).collect()
}

/// What a joiner makes of the answer: everything applied, and all that waits.
fn state(room: &mut Room, joiner: &Document, in_one: bool) -> (Vec<u8>, Vec<(u32, Vec<u8>)>) {
    let mut joiner = joiner.clone();
    let events = answer(room, joiner.state_vector(), in_one);
    assert!(
        matches!(events.last(), Some(Event::Missing(_))),
        "only the end of an answer says that it is all: {events:?}"
    );
    assert!(events.len() == 1 || !in_one);
    for (place, event) in events.iter().enumerate() {
        let (Event::Base(bytes) | Event::Missing(bytes)) = event else { panic!("{event:?}") };
        assert_eq!(matches!(event, Event::Base(_)), place + 1 < events.len());
        let update = Update::validate(&bytes[..], &MessageLimits::default()).expect("what the room sends is valid");
        joiner.add(&update, 0);
    }
    (joiner.snapshot(true), joiner.parked_updates())
}

#[test]
fn snapshot_and_changes_make_the_room_that_was() {
    let all = ["A2", "X2", "A3", "A1", "01 01 05 01 84 05 00 01 21 00", "AF", "01 01 05 00 04 01 01 74 01 66 00"];
    for keep_deleted in [false, true] {
        let (nobody, mut somebody) = (Document::default(), Document::default());
        somebody.add(&update("01 01 01 00 04 01 01 74 01 68 00"), 0);
        let empty = Stored { keep_deleted, ..Stored::default() };
        let mut live = Room::load(&empty, Limits::default()).expect("an empty room");
        let (mut effects, mut log) = (Vec::new(), Vec::new());
        let member = MemberId(1);
        let joins = Input::Join {
            member,
            kind: room::Kind::Client,
            access: room::Access::Write,
            author: "ann".into(),
            trusts_all: false,
        };
        live.handle(joins, 0, &mut effects);
        for text in all {
            live.handle(
                Input::Update { member, author: None, is_answer: false, update: update(text) },
                1_000,
                &mut effects,
            );
            for effect in effects.drain(..) {
                if let Effect::Append(change) = effect {
                    log.push(change);
                }
            }
            assert_eq!(live.head(), log.len() as u64);
            for cut in 0..=log.len() {
                let snapshot = (cut > 0).then(|| squash(None, &log[..cut], keep_deleted).encode().into());
                let stored =
                    Stored { snapshot, changes: log[cut..].to_vec(), head: live.head(), durable: 0, keep_deleted };
                let mut loaded = Room::load(&stored, Limits::default()).expect("a room");
                assert_eq!(loaded.head(), live.head());
                for (joiner, in_one) in [(&nobody, false), (&nobody, true), (&somebody, false), (&somebody, true)] {
                    assert_eq!(
                        state(&mut loaded, joiner, in_one),
                        state(&mut live, joiner, in_one),
                        "after {text}, snapshot of {cut}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_stored_snapshot_is_handed_on_as_it_is() {
    let mut log = vec![change("ann", 1, "A1")];
    let snapshot = Bytes::from(squash(None, &log, false).encode());
    let load = |changes: &[Change]| {
        let stored = Stored { snapshot: Some(snapshot.clone()), changes: changes.to_vec(), ..Stored::default() };
        Room::load(&stored, Limits::default()).expect("a room")
    };
    let nothing = StateVector::default;
    let everything = || StateVector::from_entries(vec![(1, 2)]);
    let stranger = || StateVector::from_entries(vec![(77, 2)]);
    let missing = |text| Event::Missing(bytes(text));

    let mut room = load(&[]);
    for known in [nothing(), stranger()] {
        assert_eq!(answer(&mut room, known, false), [missing("A1")]);
    }
    assert_eq!(answer(&mut room, everything(), false), [missing("NOTHING")]);

    // With changes since: the snapshot, then the rest, which ends the answer.
    log.extend([change("ben", 2, "A3"), change("ben", 3, "X2")]);
    let rest = "01 01 02 00 04 01 01 74 01 42 01 01 01 00 01";
    for mut room in [load(&log[1..]), {
        let mut room = load(&[]);
        let member = MemberId(1);
        room.handle(join(member), 0, &mut Vec::new());
        for text in ["A3", "X2"] {
            room.handle(
                Input::Update { member, author: None, is_answer: false, update: update(text) },
                0,
                &mut Vec::new(),
            );
        }
        room
    }] {
        for known in [nothing(), stranger()] {
            assert_eq!(answer(&mut room, known.clone(), false), [Event::Base(bytes("A1")), missing(rest)]);
            let one = "02 01 02 00 04 01 01 74 01 42 01 01 00 04 01 01 74 02 68 69 01 01 01 00 01";
            assert_eq!(answer(&mut room, known, true), [missing(one)]);
        }
        assert_eq!(answer(&mut room, everything(), false), [missing(rest)]);
        let head = room.head();
        room.handle(Input::Durable(head), 0, &mut Vec::new());
        assert_eq!(room.bytes(), load(&log[1..]).bytes());
    }
}

#[test]
fn deleted_content_in_a_snapshot_is_not_handed_on_where_it_is_not_kept() {
    let changes = [change("ann", 1, "A1A2"), change("ann", 2, "A3")];
    let snapshot = squash(None, &changes, true);
    let mut version_1 = snapshot.encode();
    version_1.splice(..3, [1]);
    assert_eq!(Snapshot::decode(&version_1), Ok(Snapshot { depth: u32::MAX, ..snapshot.clone() }));
    for (encoded, keep_deleted, expected) in [
        (snapshot.encode(), false, "AF"),
        (snapshot.encode(), true, "01 01 01 00 04 01 01 74 03 68 69 21 01 01 01 00 01"),
        (version_1, false, "AF"),
        (squash(None, &changes, false).encode(), false, "AF"),
        (squash(None, &changes, false).encode(), true, "AF"),
    ] {
        let stored = Stored { snapshot: Some(encoded.into()), keep_deleted, ..Stored::default() };
        let mut room = Room::load(&stored, Limits::default()).expect("a room");
        assert_eq!(answer(&mut room, StateVector::default(), false), [Event::Missing(bytes(expected))]);
    }
}

#[test]
fn a_snapshot_is_checked_before_anybody_is_sent_it() {
    let good = squash(None, &[change("ann", 1, "A1")], false);
    for state in ["01 02 03", "01 01 01 00 04 01 01 74 02 ff fe 00", "01 01 01 00 04 01 01 74 02 68 69 00 00"] {
        let damaged = Snapshot { state: bytes(state).to_vec(), ..good.clone() };
        let stored = Stored { snapshot: Some(damaged.encode().into()), ..Stored::default() };
        assert!(matches!(Room::load(&stored, Limits::default()), Err(SnapshotError::Update(_))), "{state}");
    }
    // Also the table that the room itself has no use for.
    let mut damaged = good.encode();
    damaged[4] = 0x7f;
    let stored = Stored { snapshot: Some(damaged.into()), ..Stored::default() };
    assert!(matches!(Room::load(&stored, Limits::default()), Err(SnapshotError::Read(_))));
}
