//! Every update is acknowledged once, when all of it is on stable storage and not before.

use crate::script::{Stage, check, check_with};
use room::{Limits, Rules};

#[test]
fn the_author_hears_of_its_change_when_it_is_durable_and_the_others_at_once() {
    check(
        "
        A joins
        > place A
        B joins
        > place B
        A writes A1
        > log a A1
        > all but A: update A1
        A writes A2
        > log a A2
        > all but A: update A2
        durable 1
        > A: saved A1
        durable 2
        > A: saved A2
        durable 2
        durable 1
        ",
    );
}

#[test]
fn one_sync_may_acknowledge_many_in_their_order() {
    check(
        "
        A joins
        > place A
        B joins
        > place B
        A writes A1
        > log a A1
        > all but A: update A1
        B writes X2
        > log b X2
        > all but B: update X2
        A writes A2
        > log a A2
        > all but A: update A2
        durable 3
        > A: saved A1
        > B: saved X2
        > A: saved A2
        ",
    );
}

#[test]
fn a_duplicate_changes_nothing_and_is_acknowledged_with_the_head_at_its_arrival() {
    check(
        "
        A joins
        > place A
        B joins
        > place B
        A writes A1
        > log a A1
        > all but A: update A1
        B writes A1
        A writes A1
        durable 1
        > A: saved A1
        > B: saved
        > A: saved
        B writes A1
        > B: saved
        A writes A2
        > log a A2
        > all but A: update A2
        B writes A1
        durable 2
        > A: saved A2
        > B: saved
        ",
    );
}

#[test]
fn an_empty_update_is_acknowledged_like_a_duplicate() {
    check(
        "
        A joins
        > place A
        A writes NOTHING
        > A: saved
        A writes A1
        > log a A1
        > all but A: update A1
        A writes NOTHING
        durable 1
        > A: saved A1
        > A: saved
        ",
    );
}

#[test]
fn of_a_partly_known_update_the_new_part_is_logged_told_and_acknowledged() {
    check(
        "
        A joins
        > place A
        A writes A1
        > log a A1
        > all but A: update A1
        A writes A1X2
        > log a X2
        > all but A: update X2
        A writes AF
        > log a 01 01 01 02 84 01 01 01 21 01 01 01 00 01
        > all but A: update 01 01 01 02 84 01 01 01 21 01 01 01 00 01
        durable 3
        > A: saved A1
        > A: saved X2
        > A: saved 01 01 01 02 84 01 01 01 21 01 01 01 00 01
        ",
    );
}

#[test]
fn what_waits_is_logged_but_not_told_and_its_sender_is_asked() {
    check(
        "
        A joins
        > place A
        B joins
        > place B
        A writes A2
        > log a A2
        > A: vector V0
        A writes A2
        durable 1
        > A: saved
        > A: saved
        B writes A1
        > log b A1
        > all but B: update A1
        > log a A2
        > all but A: update A2
        durable 2
        durable 3
        > A: update A2
        > B: saved A1
        ",
    );
}

#[test]
fn who_is_gone_is_not_told_and_its_successor_neither() {
    check(
        "
        A joins
        > place A
        A writes A1
        > log a A1
        > all but A: update A1
        A leaves
        A joins
        > place A
        durable 1
        A writes A2
        > log a A2
        > all but A: update A2
        durable 2
        > A: saved A2
        ",
    );
}

#[test]
fn what_was_durable_before_the_room_was_loaded_is_acknowledged_at_once() {
    check(
        "
        A joins
        > place A
        A writes A1
        > log a A1
        > all but A: update A1
        restart
        A joins
        > place A
        A writes A1
        > A: saved
        ",
    );
}

#[test]
fn a_peer_names_the_authors_and_hears_positions() {
    check(
        "
        A joins
        > place A
        P joins as-peer as node-2
        > place P
        P writes A1 for eve
        > log eve A1
        > all but P: update A1
        P writes A2
        > log node-2 A2
        > all but P: update A2
        A writes A3 for eve
        > log a A3
        > all but A: update A3
        P writes A1 for eve
        durable 2
        > P: durable 2
        durable 3
        > A: saved A3
        > P: durable 3
        durable 3
        ",
    );
}

#[test]
fn a_peers_leaving_removes_everybody_it_brought() {
    check(
        r#"
        P joins as-peer as node-2
        > place P
        P says 7:1 {"a":1}; 8:2 {"b":1}
        > all: awareness 7:1 {"a":1}; 8:2 {"b":1}
        P says 8:2 null
        > all: awareness 8:2 null
        P says 9:1 {"c":1}
        > all: awareness 9:1 {"c":1}
        P leaves
        > all: awareness 7:1 null; 9:1 null
        "#,
    );
}

#[test]
fn a_room_is_congested_while_too_much_is_not_durable() {
    let mut stage = Stage::new(Limits { unacknowledged_bytes_max: 150, ..Limits::default() });
    let mut congested = |line| {
        stage.run(line);
        stage.room.is_congested()
    };
    assert!(!congested("A joins"));
    assert!(!congested("A writes A1"));
    assert!(congested("A writes A2") || congested("A writes A3") || congested("A writes X2"));
    assert!(!congested("durable 9"));
    assert!(!congested("A writes A1"));
}

#[test]
fn duplicates_that_wait_for_the_disk_are_bounded_too() {
    check_with(
        Limits::default(),
        "
        A joins
        > place A
        A writes A1
        > log a A1
        > all but A: update A1
        ",
    );
    let mut stage = Stage::new(Limits { unacknowledged_bytes_max: 10_000, ..Limits::default() });
    stage.run("A joins");
    stage.run("A writes A1");
    let repeats = (0..10_000).take_while(|_| stage.run("A writes A1").is_empty() && !stage.room.is_congested()).count();
    assert!(repeats < 1_000, "{repeats} entries in 10,000 bytes");
}

#[test]
fn position_and_size_can_be_asked() {
    let mut stage = Stage::new(Limits::default());
    stage.run("A joins");
    stage.run("B joins");
    assert_eq!((stage.room.members(), stage.room.head(), stage.room.bytes()), (2, 0, 0));
    stage.run("A writes A1");
    stage.run("B leaves");
    assert_eq!((stage.room.members(), stage.room.head()), (1, 1));
    assert!(stage.room.bytes() > 0);
    stage.run("durable 1");
    assert_eq!(stage.room.durable_offset(), 1);
}
