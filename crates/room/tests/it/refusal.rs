//! What a room does not do for a member: write for a reader, go beyond a bound, put up with nonsense.

use crate::script::{Stage, check, check_with};
use document::RoomLimits;
use room::Limits;

#[test]
fn a_readers_edit_reaches_nobody_and_is_answered_once() {
    check(
        "
        A joins
        > place A
        R joins reading
        > place R
        R writes A1
        > R: denied ReadOnly
        R writes A1
        R writes X2
        A syncs V0
        > A: missing NOTHING
        durable 9
        ",
    );
}

#[test]
fn what_every_reader_sends_is_dropped_without_a_word() {
    check(
        "
        A joins
        > place A
        R joins reading
        > place R
        R writes NOTHING
        A writes A1
        > log a A1
        > all but A: update A1
        R writes A1
        R writes A3
        A syncs V0
        > A: missing A1
        R writes A2
        > R: denied ReadOnly
        ",
    );
}

#[test]
fn from_a_writer_deletes_alone_are_accepted_once() {
    check(
        "
        A joins
        > place A
        A writes A3
        > log a A3
        > all but A: update A3
        A writes A3
        durable 1
        > A: saved A3
        > A: saved
        ",
    );
}

#[test]
fn rights_hold_from_the_next_input_on() {
    check(
        "
        A joins
        > place A
        A writes A1
        > log a A1
        > all but A: update A1
        A may read
        A writes A2
        > A: denied ReadOnly
        durable 1
        > A: saved A1
        A may write
        A writes A2
        > log a A2
        > all but A: update A2
        durable 2
        > A: saved A2
        ",
    );
}

#[test]
fn who_has_not_joined_or_has_left_is_not_heard() {
    check(
        "
        A joins
        > place A
        A leaves
        A writes A1
        A says 7:1 {}
        A syncs V0
        A catches up
        A may read
        A is malformed
        ",
    );
}

#[test]
fn ten_malformed_messages_within_a_minute_end_it() {
    let ten = "A is malformed\n".repeat(9);
    check(&format!("A joins\n> place A\n{ten}later 59\nA is malformed\n> close A: Malformed"));
    check(&format!("A joins\n> place A\n{ten}later 60\nA is malformed"));
    check(&format!("A joins\n> place A\nB joins\n> place B\n{ten}B is malformed"));
    let spread = "A is malformed\nlater 7\n".repeat(100);
    check(&format!("A joins\n> place A\n{spread}"));
    let spread = "A is malformed\nlater 6\n".repeat(9);
    check(&format!("A joins\n> place A\n{spread}A is malformed\n> close A: Malformed"));
}

#[test]
fn something_beyond_a_bound_ends_it_in_words() {
    check("A joins\n> place A\nA is beyond\n> close A: content kind 11 is not supported");
}

fn with(document: RoomLimits) -> Limits {
    Limits { document, ..Limits::default() }
}

#[test]
fn what_does_not_fit_the_document_is_not_acknowledged() {
    check_with(
        with(RoomLimits { room_bytes_max: 50, ..RoomLimits::default() }),
        "
        A joins
        > place A
        B joins
        > place B
        A writes A1
        > log a A1
        > all but A: update A1
        A writes X2
        > close A: document larger than 50 bytes
        B writes A3
        > log b A3
        > all but B: update A3
        B writes A1
        B syncs V0
        > B: missing 01 02 01 00 01 01 01 74 01 84 01 00 01 69 01 01 01 00 01
        durable 2
        > A: saved A1
        > B: saved A3
        > B: saved
        ",
    );
    check_with(
        with(RoomLimits { clients_max: 1, ..RoomLimits::default() }),
        "
        A joins
        > place A
        A writes A1X2
        > log a X2
        > all but A: update X2
        > close A: more than 1 client ids
        durable 1
        ",
    );
}

#[test]
fn what_waits_has_a_bound() {
    check_with(
        with(RoomLimits { parked_bytes_max: 110, ..RoomLimits::default() }),
        "
        A joins
        > place A
        A writes A2
        > log a A2
        > A: vector V0
        A writes 01 01 05 01 84 05 00 01 21 00
        > close A: more than 110 bytes wait for missing updates
        A writes A1
        > log a A1
        > all but A: update A1
        > log a A2
        > all but A: update A2
        ",
    );
}

#[test]
fn nesting_has_a_bound() {
    check_with(
        with(RoomLimits { depth_max: 1, ..RoomLimits::default() }),
        "
        A joins
        > place A
        A writes 01 01 01 00 07 01 01 74 00 00
        > log a 01 01 01 00 07 01 01 74 00 00
        > all but A: update 01 01 01 00 07 01 01 74 00 00
        A writes 01 01 01 01 07 00 01 00 00 00
        > close A: types nested deeper than 1
        ",
    );
}

#[test]
fn a_room_that_was_stored_larger_than_its_bounds_opens() {
    let mut stage = Stage::new(with(RoomLimits {
        room_bytes_max: 50,
        clients_max: 1,
        parked_bytes_max: 1,
        delete_ranges_max: 0,
        depth_max: 1,
    }));
    stage.run("P joins as-peer");
    stage.run("P writes A1");
    stage.run("restart");
    stage.run("A joins");
    assert_eq!(stage.run("A syncs V0"), ["A: missing A1"]);
    assert_eq!(stage.run("A writes X2"), ["close A: document larger than 50 bytes"]);
}
