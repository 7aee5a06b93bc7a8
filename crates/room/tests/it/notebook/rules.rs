//! Who wins, and who is told what.

use super::desk::check;

#[test]
fn a_new_note_is_logged_and_told_to_all_others() {
    check(
        "A joins
         > place A
         B joins as ann
         > place B
         A puts x made 1 @5 with Hello
         > log a
         > all but A: updated x v1 by a made 1 @5 with hello
         durable 1",
    );
}

#[test]
fn the_newest_wins_and_the_stored_one_on_a_tie() {
    check(
        "A joins
         > place A
         B joins
         > place B
         A puts x made 1 @5 with five
         > log a
         > all but A: updated x v1 by a made 1 @5 with five
         B puts x made 1 @4 with four
         > B: updated x v1 by a made 1 @5 with five
         B puts x made 1 @5 with other
         > B: updated x v1 by a made 1 @5 with five
         B puts x made 1 @5 with five
         B puts x made 2 @5 with five
         > B: updated x v1 by a made 1 @5 with five
         B puts x made 1 @6 with six
         > log b
         > all but B: updated x v2 by b made 1 @6 with six
         A puts x made 1 @5 with five
         > A: updated x v2 by b made 1 @6 with six",
    );
}

#[test]
fn what_was_deleted_comes_back_only_by_a_newer_edit() {
    check(
        "A joins
         > place A
         B joins
         > place B
         A puts x made 1 @5
         > log a
         > all but A: updated x v1 by a made 1 @5 with text
         B deletes x @9
         > log b
         > all but B: deleted x by b @9
         A puts x made 1 @8 with late
         > A: deleted x by b @9
         A puts x made 1 @9 with tie
         > A: deleted x by b @9
         A puts x made 1 @10 with back
         > log a
         > all but A: updated x v2 by a made 1 @10 with back",
    );
}

#[test]
fn a_deletion_is_dated_by_its_envelope_but_not_before_the_note_nor_far_ahead() {
    check(
        "now 100
         A joins
         > place A
         A puts x made 1 @50
         > log a
         > all but A: updated x v1 by a made 1 @50 with text
         A deletes x @20
         > log a
         > all but A: deleted x by a @50
         A puts y made 1 @50
         > log a
         > all but A: updated y v1 by a made 1 @50 with text
         A deletes y
         > log a
         > all but A: deleted y by a @100
         A puts z made 1 @50
         > log a
         > all but A: updated z v1 by a made 1 @50 with text
         A deletes z @86500
         > log a
         > all but A: deleted z by a @86500
         A puts w made 1 @50
         > log a
         > all but A: updated w v1 by a made 1 @50 with text
         A deletes w @86501
         > log a
         > all but A: deleted w by a @100
         A puts v made 1 @200
         > log a
         > all but A: updated v v1 by a made 1 @200 with text
         A deletes v @150
         > log a
         > all but A: deleted v by a @200",
    );
}

#[test]
fn deleting_what_is_not_there_sets_a_mark_once_and_tells_nobody() {
    check(
        "now 100
         A joins
         > place A
         B joins
         > place B
         A deletes x @50
         > log a
         A deletes x @60
         B puts x made 1 @50 with old
         > B: deleted x by a @50 without content
         B puts x made 1 @51 with newer
         > log b
         > all but B: updated x v1 by b made 1 @51 with newer
         A deletes x @70
         > log a
         > all but A: deleted x by a @70
         A deletes x @80
         A restores x
         > log a
         > all but A: updated x v2 by a made 1 @100 with newer
         durable 4
         > A: stored x v2 by a made 1 @100 with newer",
    );
}

#[test]
fn the_version_goes_on_through_deletion_and_revival() {
    check(
        "now 100
         A joins
         > place A
         A puts x made 1 @1
         > log a
         > all but A: updated x v1 by a made 1 @1 with text
         A puts x made 1 @2
         > log a
         > all but A: updated x v2 by a made 1 @2 with text
         A deletes x @3
         > log a
         > all but A: deleted x by a @3
         A puts x made 1 @4
         > log a
         > all but A: updated x v3 by a made 1 @4 with text
         A deletes x @5
         > log a
         > all but A: deleted x by a @5
         A restores x
         > log a
         > all but A: updated x v4 by a made 1 @100 with text",
    );
}

#[test]
fn answered_writes_are_answered_when_they_are_durable() {
    check(
        "now 10
         A joins
         > place A
         H joins as web
         > place H
         H puts x answered
         > log web
         > all but H: updated x v1 by web made 10 @10 with text
         H puts x @10 answered
         H marks so-far
         durable 1
         > H: stored x v1 by web made 10 @10 with text
         > H: stored x v1 by web made 10 @10 with text
         > H: marked so-far
         H puts x @9 with old answered
         > H: conflict with x v1 by web made 10 @10 with text
         H puts x with filled answered
         > log web
         > all but H: updated x v2 by web made 10 @10001ms with filled
         H deletes x answered
         > log web
         > all but H: deleted x by web @10001ms
         durable 3
         > H: stored x v2 by web made 10 @10001ms with filled
         > H: erased x by web @10001ms
         H deletes x answered
         > H: no x
         H deletes y answered
         > H: no y
         H restores y
         > H: no y
         H puts x @10 with late answered
         > H: conflict with deleted x by web @10001ms
         H restores x
         > log web
         > all but H: updated x v3 by web made 10 @10002ms with filled
         H restores x
         H gets x
         > H: found x v3 by web made 10 @10002ms with filled
         durable 4
         > H: stored x v3 by web made 10 @10002ms with filled
         > H: stored x v3 by web made 10 @10002ms with filled
         H leaves
         H gets x",
    );
}

#[test]
fn who_has_left_is_not_answered() {
    check(
        "H joins
         > place H
         H puts x @1 made 1 answered
         > log h
         > all but H: updated x v1 by h made 1 @1 with text
         H leaves
         durable 1",
    );
}

#[test]
fn who_may_only_read_changes_nothing_and_is_told_so_each_time() {
    check(
        "A joins reading
         > place A
         A puts x @1
         > A: refused note x: it may only read
         A puts x @1 answered
         > A: refused note x: it may only read
         A deletes x
         > A: refused deletion x: it may only read
         A restores x
         > A: refused note x: it may only read
         A replays
         > A: resync InitialSync
         A may write
         A puts x @1 made 1
         > log a
         > all but A: updated x v1 by a made 1 @1 with text
         A may read
         A deletes x
         > A: refused deletion x: it may only read",
    );
}

#[test]
fn a_newcomer_gets_the_oldest_first_and_then_the_marks() {
    check(
        "now 100
         A joins
         > place A
         A replays
         > A: resync InitialSync
         A puts b made 1 @30
         > log a
         > all but A: updated b v1 by a made 1 @30 with text
         A puts a made 1 @20
         > log a
         > all but A: updated a v1 by a made 1 @20 with text
         A puts c made 1 @10
         > log a
         > all but A: updated c v1 by a made 1 @10 with text
         now 200
         A deletes b
         > log a
         > all but A: deleted b by a @200
         A deletes z
         > log a
         A puts a made 1 @5 with lost
         > A: updated a v1 by a made 1 @20 with text
         B joins
         > place B
         B replays
         > B: resync InitialSync
         > B: updated c v1 by a made 1 @10 with text
         > B: updated a v1 by a made 1 @20 with text
         > B: deleted b by a @200
         > B: deleted z by a @200 without content
         B fetches
         > B: changes up to 200: c a gone: b z
         A puts c made 1 @11
         > log a
         > all but A: updated c v2 by a made 1 @11 with text
         B replays since 101
         > B: resync InitialSync
         > B: updated c v2 by a made 1 @11 with text
         > B: deleted b by a @200
         > B: deleted z by a @200 without content
         B fetches since 201
         > B: changes up to 200: gone:",
    );
}

#[test]
fn a_clock_that_was_put_back_hides_nothing_from_who_asks_since_then() {
    check(
        "now 200
         A joins
         > place A
         A puts a made 1 @1
         > log a
         > all but A: updated a v1 by a made 1 @1 with text
         A fetches
         > A: changes up to 200: a gone:
         now 100
         A puts b made 1 @1
         > log a
         > all but A: updated b v1 by a made 1 @1 with text
         A fetches since 200
         > A: changes up to 200: a b gone:",
    );
}

#[test]
fn lists_have_every_order_from_both_ends() {
    check(
        "now 100
         A joins
         > place A
         A puts d made 4 @40 with Apple
         > log a
         > all but A: updated d v1 by a made 4 @40 with apple
         A puts c made 3 @30 with banana
         > log a
         > all but A: updated c v1 by a made 3 @30 with banana
         A puts b made 5 @60 with Cherry
         > log a
         > all but A: updated b v1 by a made 5 @60 with cherry
         A puts a made 3 @50 with apple
         > log a
         > all but A: updated a v1 by a made 3 @50 with apple
         A puts e made 9 @45 with date
         > log a
         > all but A: updated e v1 by a made 9 @45 with date
         A deletes e
         > log a
         > all but A: deleted e by a @100
         A deletes unknown
         > log a
         A lists 1 20 updated
         > A: page 1 by 20 of 4: c d a b
         A lists 1 20 updated descending
         > A: page 1 by 20 of 4: b a d c
         A lists 1 20 created
         > A: page 1 by 20 of 4: a c d b
         A lists 1 20 created descending
         > A: page 1 by 20 of 4: b d c a
         A lists 1 20 title
         > A: page 1 by 20 of 4: a d c b
         A lists 1 20 title descending
         > A: page 1 by 20 of 4: b c d a
         A lists 1 20 updated deleted
         > A: page 1 by 20 of 5: c d (e) a b
         A lists 1 20 title descending deleted
         > A: page 1 by 20 of 5: (e) b c d a
         A lists 1 2 updated deleted
         > A: page 1 by 2 of 5: c d
         A lists 2 2 updated deleted
         > A: page 2 by 2 of 5: (e) a
         A lists 3 2 updated deleted
         > A: page 3 by 2 of 5: b
         A lists 2 2 updated descending deleted
         > A: page 2 by 2 of 5: (e) d
         A lists 3 2 updated descending deleted
         > A: page 3 by 2 of 5: c
         A lists 4 2 updated descending deleted
         > A: page 4 by 2 of 5:
         A lists 0 0 updated
         > A: page 0 by 1 of 4: c
         A lists 18446744073709551615 1000 updated
         > A: page 18446744073709551615 by 100 of 4:",
    );
}

#[test]
fn who_loses_its_place_is_told_once_a_minute() {
    check(
        "A joins
         > place A
         A catches up
         > place A
         > A: resync MissedMessages
         now 60
         A catches up
         > place A
         > A: resync MissedMessages
         now 119
         A catches up
         > close A: SlowConsumer",
    );
}

#[test]
fn an_announcement_makes_all_fetch_again() {
    check(
        "A joins
         > place A
         announce
         > all: resync ServerUpdate",
    );
}

#[test]
fn strangers_are_not_heard() {
    check(
        "A joins
         > place A
         A leaves
         A puts x @1
         A deletes x
         A restores x
         A replays
         A fetches
         A lists 1 1 title
         A gets x
         A catches up",
    );
}
