//! Presence, rule by rule: clocks, nulls, ownership, expiry, memory, bounds.

use crate::script::{check, check_with};
use room::{Limits, Rules};

#[test]
fn a_clock_of_zero_is_not_news_but_the_next_one_is() {
    check(
        r#"
        A joins
        > place A
        A says 7:0 {}
        A says 7:1 {"user":{"name":"Ann"}}
        > all: awareness 7:1 {"user":{"name":"Ann"}}
        "#,
    );
}

#[test]
fn only_higher_clocks_are_news() {
    check(
        r#"
        A joins
        > place A
        A says 7:5 {"a":1}
        > all: awareness 7:5 {"a":1}
        A says 7:5 {"a":2}
        A says 7:4 {"a":3}
        A says 7:6 {"a":4}
        > all: awareness 7:6 {"a":4}
        "#,
    );
}

#[test]
fn exactly_the_accepted_ids_are_told() {
    check(
        r#"
        A joins
        > place A
        A says 7:1 {"a":1}; 300:1 {"c":1}
        > all: awareness 7:1 {"a":1}; 300:1 {"c":1}
        A says 300:1 {"c":1}; 7:2 {"a":2}; 9:0 {}
        > all: awareness 7:2 {"a":2}
        A says 7:3 {"a":3}; 7:4 {"a":4}; 7:2 {"a":2}
        > all: awareness 7:4 {"a":4}
        "#,
    );
}

#[test]
fn null_removes_at_the_same_clock_or_a_higher_one() {
    check(
        r#"
        A joins
        > place A
        A says 7:1 {"a":1}; 8:1 {"a":1}; 9:3 {"a":1}
        > all: awareness 7:1 {"a":1}; 8:1 {"a":1}; 9:3 {"a":1}
        A says 7:1 null
        > all: awareness 7:1 null
        A says 8:2 null
        > all: awareness 8:2 null
        A says 9:2 null
        "#,
    );
}

#[test]
fn null_for_who_is_not_there_is_nothing() {
    check(
        r#"
        A joins
        > place A
        A says 7:3 null
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        A says 7:1 null
        > all: awareness 7:1 null
        A says 7:1 null
        A says 7:2 null
        "#,
    );
}

#[test]
fn who_is_removed_comes_back_with_a_higher_clock() {
    check(
        r#"
        A joins
        > place A
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        A says 7:1 null
        > all: awareness 7:1 null
        A says 7:2 {"a":1}
        > all: awareness 7:2 {"a":1}
        "#,
    );
}

#[test]
fn leaving_removes_what_the_member_owns_at_unchanged_clocks() {
    check(
        r#"
        A joins
        > place A
        B joins
        > place B
        A says 7:1 {"a":1}; 9:4 {"a":1}
        > all: awareness 7:1 {"a":1}; 9:4 {"a":1}
        B says 8:1 {"b":1}
        > all: awareness 8:1 {"b":1}
        A leaves
        > all: awareness 7:1 null; 9:4 null
        A leaves
        B leaves
        > all: awareness 8:1 null
        "#,
    );
}

#[test]
fn a_resent_copy_neither_moves_nor_revives_anybody() {
    check(
        r#"
        A joins
        > place A
        B joins
        > place B
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        B says 7:1 {"a":1}
        B leaves
        B joins
        > place B
        A leaves
        > all: awareness 7:1 null
        B says 7:1 {"a":1}
        B queries
        > B: awareness nobody
        "#,
    );
}

#[test]
fn null_from_somebody_else_is_ignored() {
    check(
        r#"
        A joins trusting
        > place A
        B joins trusting
        > place B
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        B says 7:1 null
        B says 7:9 null
        B queries
        > B: awareness 7:1 {"a":1}
        "#,
    );
}

#[test]
fn an_id_is_taken_over_by_the_same_identity_with_a_higher_clock() {
    check(
        r#"
        A joins as ann
        > place A
        B joins as ann
        > place B
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        B says 7:1 {"a":2}
        B says 7:2 {"a":2}
        > all: awareness 7:2 {"a":2}
        A says 7:2 null
        A leaves
        B leaves
        > all: awareness 7:2 null
        "#,
    );
}

#[test]
fn an_id_is_not_taken_over_by_another_identity() {
    check(
        r#"
        A joins as ann
        > place A
        E joins as eve
        > place E
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        E says 7:2 {"e":1}
        E leaves
        A says 7:2 {"a":2}
        > all: awareness 7:2 {"a":2}
        "#,
    );
}

#[test]
fn without_authentication_anybody_may_take_over() {
    check(
        r#"
        A joins as ann trusting
        > place A
        B joins as ben trusting
        > place B
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        B says 7:2 {"a":1}
        > all: awareness 7:2 {"a":1}
        A leaves
        B leaves
        > all: awareness 7:2 null
        "#,
    );
}

#[test]
fn an_id_whose_owner_is_gone_is_free() {
    check(
        r#"
        A joins as ann
        > place A
        B joins as ben
        > place B
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        A leaves
        > all: awareness 7:1 null
        B says 7:2 {"a":1}
        > all: awareness 7:2 {"a":1}
        "#,
    );
}

#[test]
fn a_reader_takes_part_in_presence() {
    check(
        r#"
        A joins reading
        > place A
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        "#,
    );
}

#[test]
fn a_client_owns_at_most_16_ids_and_a_peer_any_number() {
    let said = |ids: std::ops::RangeInclusive<u32>| ids.map(|id| format!("{id}:1 {{}}")).collect::<Vec<_>>().join("; ");
    let (sixteen, seventeen, twenty) = (said(1..=16), said(1..=17), said(31..=50));
    check(&format!(
        "
        A joins
        > place A
        P joins as-peer
        > place P
        A says {seventeen}
        > all: awareness {sixteen}
        A says 17:2 {{}}
        A says 1:2 {{}}
        > all: awareness 1:2 {{}}
        A says 3:1 null
        > all: awareness 3:1 null
        A says 17:2 {{}}
        > all: awareness 17:2 {{}}
        P says {twenty}
        > all: awareness {twenty}
        "
    ));
}

#[test]
fn an_id_taken_from_a_full_member_gives_it_a_place_again() {
    let limits = Limits { awareness_ids_per_member_max: 1, ..Limits::default() };
    check_with(
        limits,
        r#"
        A joins as ann
        > place A
        B joins as ann
        > place B
        A says 7:1 {}
        > all: awareness 7:1 {}
        A says 8:1 {}
        B says 7:2 {}
        > all: awareness 7:2 {}
        A says 8:1 {}
        > all: awareness 8:1 {}
        B says 8:2 {}
        "#,
    );
}

#[test]
fn a_state_above_64_kib_is_dropped_alone() {
    check(
        r#"
        A joins
        > place A
        A says 7:1 <65536 bytes>
        > all: awareness 7:1 <65536 bytes>
        A says 8:1 {"a":1}; 7:2 <65537 bytes>; 9:1 {"a":1}
        > all: awareness 8:1 {"a":1}; 9:1 {"a":1}
        "#,
    );
}

#[test]
fn all_states_together_have_a_bound() {
    check_with(
        Limits { awareness_bytes_max: 40, ..Limits::default() },
        r#"
        A joins
        > place A
        A says 7:1 <20 bytes>
        > all: awareness 7:1 {"a":"xxxxxxxxxxxx"}
        A says 8:1 <21 bytes>
        A says 8:1 <20 bytes>
        > all: awareness 8:1 {"a":"xxxxxxxxxxxx"}
        A says 9:1 {}
        A says 7:2 <18 bytes>
        > all: awareness 7:2 {"a":"xxxxxxxxxx"}
        A says 9:1 {}
        > all: awareness 9:1 {}
        A says 8:1 null
        > all: awareness 8:1 null
        A says 9:2 <20 bytes>
        > all: awareness 9:2 {"a":"xxxxxxxxxxxx"}
        "#,
    );
}

#[test]
fn ids_of_a_room_have_a_bound_and_the_longest_removed_make_place() {
    check_with(
        Limits { awareness_ids_max: 3, ..Limits::default() },
        r#"
        A joins
        > place A
        A says 1:1 {}; 2:1 {}; 3:1 {}; 4:1 {}
        > all: awareness 1:1 {}; 2:1 {}; 3:1 {}
        A says 2:2 {}
        > all: awareness 2:2 {}
        A says 1:1 null
        > all: awareness 1:1 null
        A says 3:1 null
        > all: awareness 3:1 null
        A says 4:1 {}
        > all: awareness 4:1 {}
        A says 3:1 {}
        A says 1:1 {}
        > all: awareness 1:1 {}
        A says 3:2 {}
        "#,
    );
}

#[test]
fn invalid_json_drops_the_whole_message_if_it_is_news() {
    check_with(
        Limits { malformed_per_minute_max: 3, ..Limits::default() },
        r#"
        A joins
        > place A
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        A says 8:1 {"b":1}; 7:2 {a:1}
        A queries
        > A: awareness 7:1 {"a":1}
        A says 8:1 {"b":1}; 7:1 {a:1}; 7:0 nonsense
        > all: awareness 8:1 {"b":1}
        A says 7:2 [1]
        A says 7:2 1
        > close A: Malformed
        "#,
    );
}

#[test]
fn what_cannot_be_read_is_dropped_whole() {
    for hex in [
        "",                                             // no bytes
        "01",                                           // one entry, not there
        "02 07 01 02 7b 7d",                            // two entries, one there
        "01 07 01 02 7b",                               // half a state
        "01 07 01 02 7b 7d 00",                         // one byte more
        "00 00",                                        // nobody, and one byte more
        "01 07 01 02 7b ff",                            // not UTF-8
        "01 07 80 80 80 80 08 02 7b 7d",                // clock 2^31
        "01 80 80 80 80 80 80 80 10 01 02 7b 7d",       // id 2^53
        "02 07 01 02 7b 7d 08 80 80 80 80 08 02 7b 7d", // a good entry before a bad one
    ] {
        let limits = Limits { malformed_per_minute_max: 1, ..Limits::default() };
        check_with(
            limits,
            &format!("A joins\n> place A\nA sends {hex}\n> close A: Malformed\nA queries\n> A: awareness nobody"),
        );
    }
}

#[test]
fn the_highest_clock_and_id_are_read() {
    check(
        "
        A joins
        > place A
        A says 9007199254740991:2147483647 {}
        > all: awareness 9007199254740991:2147483647 {}
        ",
    );
}

#[test]
fn nobody_at_all_is_no_news() {
    check("A joins\n> place A\nA sends 00\n");
}

#[test]
fn states_are_told_as_the_bytes_that_came() {
    check(
        r#"
        A joins
        > place A
        A says 7:1 { "b" : 1.0, "a" : "\u00e9" }
        > all: awareness 7:1 { "b" : 1.0, "a" : "\u00e9" }
        "#,
    );
}

#[test]
fn who_is_not_renewed_for_30_seconds_is_removed() {
    check(
        r#"
        A joins
        > place A
        A says 7:1 {"a":1}; 8:1 {"b":1}
        > all: awareness 7:1 {"a":1}; 8:1 {"b":1}
        wait 15
        A says 7:2 {"a":1}
        > all: awareness 7:2 {"a":1}
        wait 14
        A says 8:1 {"b":1}
        wait 1
        > all: awareness 8:1 null
        wait 14
        wait 1
        > all: awareness 7:2 null
        "#,
    );
}

#[test]
fn who_expired_belongs_to_nobody() {
    check(
        r#"
        A joins as ann
        > place A
        B joins as ben
        > place B
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        wait 30
        > all: awareness 7:1 null
        B says 7:2 {"b":1}
        > all: awareness 7:2 {"b":1}
        A leaves
        "#,
    );
}

#[test]
fn the_clock_of_who_left_is_remembered_for_60_seconds() {
    check(
        r#"
        A joins
        > place A
        B joins
        > place B
        A says 7:5 {"a":1}
        > all: awareness 7:5 {"a":1}
        A leaves
        > all: awareness 7:5 null
        wait 60
        B says 7:5 {"a":1}
        wait 1
        B says 7:5 {"a":1}
        > all: awareness 7:5 {"a":1}
        "#,
    );
}

#[test]
fn who_came_back_in_the_meantime_is_not_forgotten() {
    check(
        r#"
        A joins
        > place A
        A says 7:5 {"a":1}
        > all: awareness 7:5 {"a":1}
        A says 7:5 null
        > all: awareness 7:5 null
        wait 20
        A says 7:6 {"a":1}
        > all: awareness 7:6 {"a":1}
        wait 29
        A says 7:7 {"a":1}
        > all: awareness 7:7 {"a":1}
        wait 29
        A queries
        > A: awareness 7:7 {"a":1}
        A leaves
        > all: awareness 7:7 null
        "#,
    );
}

#[test]
fn a_room_wants_ticks_until_it_remembers_nobody() {
    let mut stage = crate::script::Stage::new(Limits::default());
    let mut wants = |line| {
        stage.run(line);
        stage.room.wants_ticks()
    };
    assert!(!wants("A joins"));
    assert!(!wants("A says 7:0 {}"));
    assert!(wants("A says 7:1 {}"));
    assert!(wants("A leaves"));
    assert!(wants("wait 60"));
    assert!(!wants("wait 1"));
}

#[test]
fn coming_and_going_for_ever_changes_nothing_for_others() {
    let mut stage = crate::script::Stage::new(Limits::default());
    stage.run("A joins");
    stage.run("A says 8:1 {}");
    stage.run("A says 8:1 null");
    for clock in 1..2_000 {
        stage.run(&format!("A says 7:{clock} {{}}"));
        stage.run(&format!("A says 7:{clock} null"));
    }
    stage.run("wait 60");
    assert_eq!(stage.run("A says 7:1999 {}; 8:1 {}"), [""; 0]);
    stage.run("wait 1");
    assert!(!stage.room.wants_ticks(), "both are forgotten");
}

#[test]
fn who_arrives_is_told_who_is_there_if_anybody_is() {
    check(
        r#"
        A joins
        > place A
        A arrives
        A queries
        > A: awareness nobody
        A says 7:1 {"a":1}; 8:1 {"b":1}
        > all: awareness 7:1 {"a":1}; 8:1 {"b":1}
        A says 8:1 null
        > all: awareness 8:1 null
        B joins
        > place B
        B arrives
        > B: awareness 7:1 {"a":1}
        B queries
        > B: awareness 7:1 {"a":1}
        "#,
    );
}

#[test]
fn what_changes_between_two_tellings_is_told_once_with_its_latest_value() {
    check(
        r#"
        A joins
        > place A
        B joins
        > place B
        A says 7:1 {"a":1} ...
        B says 8:1 {"b":1} ...
        A says 7:2 {"a":2} ...
        B says 9:1 {"c":1} ...
        B says 9:1 null ...
        tell
        > all: awareness 7:2 {"a":2}; 8:1 {"b":1}; 9:1 null
        tell
        A leaves ...
        B says 7:1 {"a":1} ...
        tell
        > all: awareness 7:2 null
        B says 7:3 {"b":7} ...
        B says 7:3 null ...
        B says 7:4 {"b":8} ...
        tell
        > all: awareness 7:4 {"b":8}
        "#,
    );
}

#[test]
fn who_expires_is_told_with_what_else_has_changed() {
    check(
        r#"
        A joins
        > place A
        A says 7:1 {"a":1}; 8:1 {"b":1}
        > all: awareness 7:1 {"a":1}; 8:1 {"b":1}
        wait 29
        A says 8:2 {"b":2} ...
        wait 1 ...
        tell
        > all: awareness 7:1 null; 8:2 {"b":2}
        "#,
    );
}

#[test]
fn who_arrives_before_the_telling_is_told_the_latest_values_too() {
    check(
        r#"
        A joins
        > place A
        A says 7:1 {"a":1}
        > all: awareness 7:1 {"a":1}
        A says 7:2 {"a":2}; 8:1 {"b":1} ...
        B joins ...
        > place B
        B arrives ...
        > B: awareness 7:2 {"a":2}; 8:1 {"b":1}
        B catches up ...
        > place B
        > B: update NOTHING
        > B: awareness 7:2 {"a":2}; 8:1 {"b":1}
        tell
        > all: awareness 7:2 {"a":2}; 8:1 {"b":1}
        "#,
    );
}

#[test]
fn a_copy_of_a_whole_message_changes_nothing() {
    check(
        r#"
        A joins
        > place A
        B joins trusting
        > place B
        A says 7:1 {"a":1}; 8:1 {"b":1}
        > all: awareness 7:1 {"a":1}; 8:1 {"b":1}
        B says 7:1 {"a":1}; 8:1 {"b":1}
        A leaves
        > all: awareness 7:1 null; 8:1 null
        B says 7:1 {"a":1}; 8:1 {"b":1}
        B says 7:1 null; 8:1 null
        wait 1
        B says 7:1 null; 8:1 null
        B queries
        > B: awareness nobody
        "#,
    );
}

#[test]
fn who_is_removed_and_forgotten_before_the_telling_is_told_as_gone() {
    check_with(
        Limits { awareness_ids_max: 2, ..Limits::default() },
        r#"
        A joins
        > place A
        A says 1:5 {}; 2:5 {}
        > all: awareness 1:5 {}; 2:5 {}
        A says 1:5 null ...
        A says 3:1 {} ...
        A says 3:1 null; 1:1 {} ...
        tell
        > all: awareness 1:5 null; 3:1 null; 1:1 {}
        A says 1:1 null; 3:1 {} ...
        A says 3:1 null; 4:1 {} ...
        A says 4:1 null; 5:1 {} ...
        tell
        > all: awareness 1:1 null; 3:1 null; 4:1 null
        A says 5:1 {}
        > all: awareness 5:1 {}
        "#,
    );
}
