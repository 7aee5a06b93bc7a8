//! What a notebook holds at most, each bound reached, and what goes first.

use super::desk::{Desk, MORNING_MS, check, check_with, note};
use document::RoomLimits;
use room::notebook::{Entry, News, Reason, Refusal, Request};
use room::{Effect, Event, Input, Limits, MemberId, NotebookLimits, Rules};

const DAY_MS: u64 = 24 * 3_600_000;

fn limits(change: impl FnOnce(&mut NotebookLimits)) -> Limits {
    let mut notebook = NotebookLimits::default();
    change(&mut notebook);
    Limits { notebook, ..Limits::default() }
}

/// So many bytes of id, title and text together.
fn bytes_limits(room_bytes_max: usize) -> Limits {
    Limits { document: RoomLimits { room_bytes_max, ..RoomLimits::default() }, ..Limits::default() }
}

#[test]
fn one_note_too_many_is_refused_and_the_others_can_be_edited() {
    check_with(
        limits(|limits| limits.notes_max = 2),
        "A joins
         > place A
         A puts x made 1 @1
         > log a
         > all but A: updated x v1 by a made 1 @1 with text
         A puts y made 1 @1
         > log a
         > all but A: updated y v1 by a made 1 @1 with text
         A puts z made 1 @1
         > A: refused note z: a notebook has at most 2 notes; delete some
         A puts x made 1 @2
         > log a
         > all but A: updated x v2 by a made 1 @2 with text
         A deletes y @1
         > log a
         > all but A: deleted y by a @1
         A puts z made 1 @1
         > log a
         > all but A: updated z v1 by a made 1 @1 with text
         A restores y
         > A: refused note y: a notebook has at most 2 notes; delete some
         A puts y made 1 @9 answered
         > A: refused note y: a notebook has at most 2 notes; delete some",
    );
}

#[test]
fn bytes_are_bounded_and_deleted_content_makes_room() {
    // Each takes 1 + 4 + 23 bytes: its id, its title, its members.
    let members = note("x", "text", None, None).members.len();
    let each = 1 + 4 + members;
    check_with(
        bytes_limits(each * 2),
        "A joins
         > place A
         A puts x made 1 @1
         > log a
         > all but A: updated x v1 by a made 1 @1 with text
         A puts y made 1 @1
         > log a
         > all but A: updated y v1 by a made 1 @1 with text
         A puts y made 1 @2 with longer
         > A: refused note y: the notes of a notebook have at most 56 bytes together; delete or shorten some
         A puts y made 1 @2 with less
         > log a
         > all but A: updated y v2 by a made 1 @2 with less
         now 1
         A deletes y @2
         > log a
         > all but A: deleted y by a @2
         now 2
         A deletes x @2
         > log a
         > all but A: deleted x by a @2
         A puts z made 1 @2
         > log a
         > all but A: updated z v1 by a made 1 @2 with text
         A gets x
         > A: found deleted x by a @2
         A gets y
         > A: no y
         A restores y
         > A: no y
         A puts y made 1 @2
         > A: deleted y by a @2 without content
         restart
         A joins
         > place A
         A gets y
         > A: no y
         A gets x
         > A: found deleted x by a @2",
    );
}

#[test]
fn the_oldest_mark_is_forgotten_when_there_are_too_many() {
    check_with(
        limits(|limits| limits.marks_max = 2),
        "A joins
         > place A
         A puts x made 1 @1
         > log a
         > all but A: updated x v1 by a made 1 @1 with text
         A deletes x @5
         > log a
         > all but A: deleted x by a @5
         A deletes y @5
         > log a
         A deletes z @5
         > log a
         A replays
         > A: resync InitialSync
         > A: deleted y by a @5 without content
         > A: deleted z by a @5 without content
         A puts x made 1 @1
         > log a
         > all but A: updated x v1 by a made 1 @1 with text
         restart
         A joins
         > place A
         A fetches
         > A: changes up to 0: x gone: y z",
    );
}

#[test]
fn marks_and_what_was_deleted_are_kept_for_30_days() {
    check(
        "A joins
         > place A
         A puts x made 1 @1
         > log a
         > all but A: updated x v1 by a made 1 @1 with text
         A deletes x @5
         > log a
         > all but A: deleted x by a @5
         now 30d
         A gets x
         > A: found deleted x by a @5
         A puts x made 1 @5
         > A: deleted x by a @5
         now 31d
         A restores x
         > A: no x
         A puts x made 1 @1
         > log a
         > all but A: updated x v1 by a made 1 @1 with text
         restart
         A joins
         > place A
         A fetches
         > A: changes up to 2678400: x gone:",
    );
}

#[test]
fn old_marks_go_a_few_at_a_time_and_are_not_there_before_they_are_forgotten() {
    let mut desk = Desk::new(Limits::default());
    desk.run("A joins");
    for number in 0..5_000 {
        desk.run(&format!("A deletes gone-{number} @1"));
    }
    assert!(desk.notebook.wants_ticks());
    desk.now_ms = MORNING_MS + 31 * DAY_MS;
    // Longer ago than the requests forget by themselves.
    assert_eq!(desk.run("A puts gone-4999 @1 made 1").len(), 2);
    let marks = |desk: &mut Desk| match &desk.effects(Input::Notes(MemberId(1), Request::Changes { since_ms: None }))[..]
    {
        [Effect::Send(_, Event::Notes(News::Changes { marks, .. }))] => marks.len(),
        other => panic!("no changes: {other:?}"),
    };
    assert_eq!(marks(&mut desk), 5_000 - 1 - 2 * 16);
    desk.run("tick");
    assert_eq!(marks(&mut desk), 3_000 - 1 - 3 * 16);
    desk.run("tick");
    desk.run("tick");
    assert_eq!(marks(&mut desk), 0);
    assert!(!desk.notebook.wants_ticks());
    desk.compact();
    let before = desk.notebook.snapshot();
    desk.restart();
    assert!(desk.notebook.snapshot() == before);
}

#[test]
fn a_replay_that_would_be_too_much_is_not_made() {
    let small = |limits: &mut NotebookLimits| limits.replay_entries_max = 3;
    let replay = |desk: &mut Desk, since_ms| {
        let effects = desk.effects(Input::Notes(MemberId(1), Request::Replay { since_ms }));
        let reason = match &effects[0] {
            Effect::Send(_, Event::Notes(News::Resync { reason, .. })) => *reason,
            other => panic!("{other:?}"),
        };
        (reason, effects.len() - 1)
    };
    let (initial, too_many) = (|sent| (Reason::InitialSync, sent), (Reason::TooManyChanges, 0));
    let mut desk = Desk::new(limits(small));
    desk.run("A joins");
    for number in 1..=3 {
        desk.now_ms += 1_000;
        desk.run(&format!("A puts n{number} made 1 @{number}"));
        desk.run(&format!("A deletes g{number} @{number}"));
    }
    assert_eq!(replay(&mut desk, None), initial(6));
    desk.now_ms += 1_000;
    desk.run("A puts n4 made 1 @4");
    assert_eq!(replay(&mut desk, None), too_many);
    assert_eq!(replay(&mut desk, Some(MORNING_MS)), too_many);
    assert_eq!(replay(&mut desk, Some(MORNING_MS + 2_000)), initial(5));
    desk.run("A deletes n4");
    assert_eq!(replay(&mut desk, None), too_many);
    let mut desk = Desk::new(limits(|limits| limits.replay_bytes_max = 1_000));
    desk.run("A joins");
    for number in 1..=4 {
        desk.run(&format!("A puts n{number} made 1 @{number}"));
    }
    assert_eq!(replay(&mut desk, None), initial(4));
    desk.run(&format!("A puts long made 1 @{} with {}", 5, "x".repeat(200)));
    assert_eq!(replay(&mut desk, None), too_many);
    assert_eq!(replay(&mut desk, Some(MORNING_MS)), too_many);
}

#[test]
fn a_thousand_notes_are_sent_and_a_thousand_and_one_are_not() {
    let mut desk = Desk::new(Limits::default());
    desk.run("A joins");
    let sent = |desk: &mut Desk| desk.effects(Input::Notes(MemberId(1), Request::Replay { since_ms: None })).len();
    for number in 0..1_000 {
        desk.run(&format!("A puts n{number} made 1 @{number}"));
    }
    assert_eq!(sent(&mut desk), 1_001);
    desk.run("A puts last made 1 @1");
    assert_eq!(sent(&mut desk), 1);
}

#[test]
fn a_hundred_thousand_notes_are_held_and_no_more() {
    let mut desk = Desk::new(Limits::default());
    desk.run("A joins");
    let put = |number: u32| {
        let note = note(&format!("note-{number}"), "t", Some(1), Some(i64::from(number)));
        Input::Notes(MemberId(1), Request::Put { note, answered: false })
    };
    for number in 0..100_000 {
        assert_eq!(desk.effects(put(number)).len(), 2);
    }
    let refused = desk.effects(put(100_000));
    let words = "a notebook has at most 100000 notes; delete some".to_owned();
    let [Effect::Send(_, Event::Notes(News::Refused { why, .. }))] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(*why, Refusal::Limit(words));
    // The last page, from the nearer end.
    let (page, limit) = (1_000, 100);
    let list =
        Request::List { page, limit, sort: room::notebook::Sort::Updated, descending: true, include_deleted: true };
    let found = desk.effects(Input::Notes(MemberId(1), list));
    let [Effect::Send(_, Event::Notes(News::Page { entries, total, .. }))] = &found[..] else { panic!("{found:?}") };
    let Some(Entry::Live(last)) = entries.last() else { panic!("a note") };
    assert_eq!((*total, entries.len(), &*last.id), (100_000, 100, "note-0"));
}

#[test]
fn what_waits_for_the_disk_is_bounded_and_its_memory_given_back() {
    let mut desk = Desk::new(Limits { unacknowledged_bytes_max: 1_000, ..Limits::default() });
    desk.run("A joins");
    let empty = desk.notebook.bytes();
    let mut number = 0;
    while !desk.notebook.is_congested() {
        desk.run(&format!("A puts n{number} made 1 @1 with {}", "x".repeat(50)));
        number += 1;
    }
    // Text, title, and what is noted of each.
    assert!((3..8).contains(&number), "{number}");
    let full = desk.notebook.bytes();
    desk.run(&format!("durable {number}"));
    assert!(!desk.notebook.is_congested());
    assert!(desk.notebook.bytes() < full && desk.notebook.bytes() > empty + number * 100);
    for number in 0..number {
        desk.run(&format!("A deletes n{number}"));
    }
    let all = 2 * number as u64;
    desk.run(&format!("durable {all}"));
    desk.now_ms = MORNING_MS + 31 * DAY_MS;
    desk.run("tick");
    assert_eq!((desk.notebook.bytes(), desk.notebook.head(), desk.notebook.durable_offset()), (empty, all, all));
}
