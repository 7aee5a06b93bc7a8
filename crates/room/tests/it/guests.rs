//! Members who are introduced to each other, what is relayed, and what is marked.

use crate::script::check;

#[test]
fn people_are_told_of_each_other() {
    check(
        "A joins
        > place A
        A introduces itself
        > A: welcome as 1000 among []
        > all but A: arrived a (A)
        B joins as a
        > place B
        B introduces itself as 7
        > B: welcome as 7 among [a]
        > all but B: arrived b (B)
        C joins
        > place C
        C introduces itself as 7
        > C: welcome as 1001 among [a b]
        > all but C: arrived c (C)
        B leaves
        > all: departed b (B)
        B leaves
        A leaves
        > all: departed a (A)
        C leaves",
    );
}

#[test]
fn the_room_keeps_the_clock_of_a_guest_and_renews_it() {
    check(
        r#"A joins
        > place A
        A introduces itself as 7
        > A: welcome as 7 among []
        > all but A: arrived a (A)
        Y joins
        > place Y
        A shows {"a":1}
        > all but A: presence 7 {"a":1}
        > all: awareness 7:1 {"a":1}
        A shows {"a":1}
        > all: awareness 7:2 {"a":1}
        wait 14
        wait 1
        > all: awareness 7:3 {"a":1}
        wait 29
        > all: awareness 7:4 {"a":1}
        Y says 9:1 {"y":1}
        > all: presence 9 {"y":1} (of another dialect)
        > all: awareness 9:1 {"y":1}
        Y says 9:2 {"y":1}
        > all: awareness 9:2 {"y":1}
        A hides
        > all but A: presence 7 none
        > all: awareness 7:5 null
        A hides
        A shows {"a":2}
        > all but A: presence 7 {"a":2}
        > all: awareness 7:7 {"a":2}
        B joins
        > place B
        B introduces itself
        > B: welcome as 1000 among [a]
        > all but B: arrived b (B)
        Y leaves
        > all: presence 9 none
        > all: awareness 9:2 null
        A leaves
        > all: presence 7 none
        > all: awareness 7:7 null
        > all: departed a (A)"#,
    );
}

#[test]
fn a_guest_is_told_of_everybody_when_it_asks_and_not_again_of_what_came_before() {
    check(
        r#"A joins
        > place A
        A introduces itself as 7
        > A: welcome as 7 among []
        > all but A: arrived a (A)
        A queries
        > A: presence of nobody
        A arrives
        Y joins
        > place Y
        Y says 9:1 {"y":1} ...
        A shows {"a":1} ...
        B joins ...
        > place B
        B introduces itself ...
        > all but A: presence 7 {"a":1}
        > all: presence 9 {"y":1} (of another dialect)
        > all: awareness 7:1 {"a":1}; 9:1 {"y":1}
        > place B
        > B: welcome as 1000 among [a]
        > all but B: arrived b (B)
        B queries
        > B: presence 7 {"a":1}; 9 {"y":1} (of another dialect)
        B arrives
        > B: presence 7 {"a":1}; 9 {"y":1} (of another dialect)
        Y arrives
        > Y: awareness 7:1 {"a":1}; 9:1 {"y":1}"#,
    );
}

#[test]
fn a_guest_that_comes_back_has_its_id_again_unless_somebody_uses_it() {
    check(
        r#"A joins
        > place A
        A introduces itself as 7
        > A: welcome as 7 among []
        > all but A: arrived a (A)
        A shows {"a":1}
        > all but A: presence 7 {"a":1}
        > all: awareness 7:1 {"a":1}
        Y joins
        > place Y
        Y says 9:1 {"y":1}
        > all: presence 9 {"y":1} (of another dialect)
        > all: awareness 9:1 {"y":1}
        A leaves
        > all: awareness 7:1 null
        A joins
        > place A
        A introduces itself as 7
        > A: welcome as 7 among []
        > all but A: arrived a (A)
        A shows {"a":2}
        > all but A: presence 7 {"a":2}
        > all: awareness 7:2 {"a":2}
        B joins
        > place B
        B introduces itself as 9
        > B: welcome as 1000 among [a]
        > all but B: arrived b (B)"#,
    );
}

#[test]
fn without_guests_nobody_pays_for_them() {
    check(
        "A joins
        > place A
        A says 9:1 {}
        > all: awareness 9:1 {}
        A leaves
        > all: awareness 9:1 null",
    );
}

#[test]
fn a_guest_whose_id_was_taken_gets_it_back() {
    check(
        r#"A joins trusting
        > place A
        A introduces itself as 7
        > A: welcome as 7 among []
        > all but A: arrived a (A)
        Y joins trusting
        > place Y
        A shows {"a":1}
        > all but A: presence 7 {"a":1}
        > all: awareness 7:1 {"a":1}
        Y says 7:5 {"y":1}
        > all but Y: presence 7 {"y":1} (of another dialect)
        > all: awareness 7:5 {"y":1}
        A shows {"a":2}
        > all but A: presence 7 {"a":2}
        > all: awareness 7:6 {"a":2}"#,
    );
}

#[test]
fn a_guest_without_a_state_keeps_its_id() {
    check(
        r#"A joins
        > place A
        A introduces itself as 7
        > A: welcome as 7 among []
        > all but A: arrived a (A)
        Y joins
        > place Y
        Y says 7:1 {"y":1}
        A shows {"a":1}
        > all but A: presence 7 {"a":1}
        > all: awareness 7:1 {"a":1}
        A hides
        > all but A: presence 7 none
        > all: awareness 7:2 null
        Y says 7:9 {"y":1}
        A shows {"a":2}
        > all but A: presence 7 {"a":2}
        > all: awareness 7:3 {"a":2}
        A leaves
        > all: awareness 7:3 null
        Y says 7:9 {"y":1}
        > all: awareness 7:9 {"y":1}"#,
    );
}

#[test]
fn writers_are_relayed_and_readers_are_not() {
    check(
        "A joins
        > place A
        R joins reading
        > place R
        A relays hello
        > all but A: relayed talk hello
        R relays hello
        R wants every answer
        R relays hello
        > R: denied ReadOnly",
    );
}

#[test]
fn a_mark_comes_back_when_all_before_it_is_durable() {
    check(
        "A joins
        > place A
        A marks nothing yet
        > A: marked nothing yet
        A writes A1
        > log a A1
        > all but A: update A1
        A marks one
        A marks two
        durable 1
        > A: saved A1
        > A: marked one
        > A: marked two",
    );
}

#[test]
fn whoever_wants_every_answer_gets_one_for_each_change() {
    check(
        "R joins reading
        > place R
        R wants every answer
        R writes A1
        > R: denied ReadOnly
        R writes A1 as-answer
        > R: denied ReadOnly
        R writes A3
        > R: denied ReadOnly
        R writes A3 as-answer
        > R: saved
        R writes NOTHING as-answer
        > R: saved
        R is malformed
        > close R: Malformed",
    );
}

#[test]
fn a_room_can_be_founded_once_and_by_writers() {
    check(
        "R joins reading
        > place R
        R founds it
        > R: denied ReadOnly
        A joins
        > place A
        A founds it
        > log a NOTHING
        A founds it
        A marks done
        durable 1
        > A: marked done
        restart
        A joins
        > place A
        A founds it
        A syncs V0
        > A: missing NOTHING
        compact
        restart
        A joins
        > place A
        A founds it
        A writes A1
        > log a A1
        > all but A: update A1",
    );
}
