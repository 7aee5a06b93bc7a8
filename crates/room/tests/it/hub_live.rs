//! Live queries of rooms of databases: when each is asked again, who shares a run, and who is told its result.

use crate::hub_script::check;

#[test]
fn a_live_query_is_asked_again_twice_a_second_at_most_and_ends_with_the_last_change() {
    check(
        "A joins as ann
        > place A
        W joins as writer
        > place W
        A follows S on people as q
        > ask 1 A executeSQL S
        answer 1 rows 1; reads people towns
        > A: executeSQL rows 1
        W calls updateRow
        > ask 2 W updateRow {}
        answer 2 done; people modified 1
        > W: updateRow done
        wait 499
        wait 1
        > ask 3 A executeSQL S again
        W calls updateRow
        > ask 4 W updateRow {}
        answer 4 done; towns modified 1
        > W: updateRow done
        W calls updateRow
        > ask 5 W updateRow {}
        answer 5 done; towns modified 2
        > W: updateRow done
        wait 2000
        answer 3 rows 2; reads people towns
        > A: result of q rows 2
        wait 1999
        wait 1
        > ask 6 A executeSQL S again
        answer 6 rows 3; reads people
        > A: result of q rows 3
        W calls updateRow
        > ask 7 W updateRow {}
        answer 7 done; towns modified 3
        > W: updateRow done
        wait 2000
        W calls updateRow
        > ask 8 W updateRow {}
        answer 8 done; people modified 3
        > W: updateRow done
        > ask 9 A executeSQL S again
        A unwatches q
        > A: subscribe not watching q
        answer 9 rows 4
        wait 2000",
    );
}

#[test]
fn a_change_between_the_question_and_the_answer_is_not_lost() {
    check(
        "A joins as ann
        > place A
        W joins as writer
        > place W
        A follows S on people
        > ask 1 A executeSQL S
        W calls updateRow
        > ask 2 W updateRow {}
        answer 2 done; towns modified 1
        > W: updateRow done
        answer 1 rows old; reads people towns
        > A: executeSQL rows old
        wait 500
        > ask 3 A executeSQL S again
        answer 3 rows new; reads people towns
        > A: result rows new
        wait 1000",
    );
}

#[test]
fn an_old_answer_is_not_the_last_although_the_query_was_begun_anew() {
    check(
        "A joins
        > place A
        A follows S on x as q
        > ask 1 A executeSQL S
        A unwatches q
        > A: subscribe not watching q
        A calls updateRow
        > ask 2 A updateRow {}
        answer 2 done; x modified 1
        > A: updateRow done
        A follows S on x as q
        > ask 3 A executeSQL S
        answer 3 rows new
        > A: executeSQL rows new
        answer 1 rows old
        > A: executeSQL rows old
        wait 500
        > ask 4 A executeSQL S again
        answer 4 rows new
        > A: result of q rows new",
    );
}

#[test]
fn equal_queries_share_a_run_while_their_result_is_everybodys() {
    check(
        "A joins as ann
        > place A
        B joins as bob
        > place B
        A follows S on people
        > ask 1 A executeSQL S
        answer 1 rows 1
        > A: executeSQL rows 1
        B follows S on people as b
        > ask 2 B executeSQL S
        B follows S on people as b
        > ask 3 B executeSQL S
        answer 2 rows 1
        > B: executeSQL rows 1
        answer 3 rows 1
        > B: executeSQL rows 1
        A calls updateRow
        > ask 4 A updateRow {}
        answer 4 done; people modified 1 for cy
        > A: updateRow done
        wait 500
        > ask 5 A executeSQL S again
        A leaves
        answer 5 rows 2
        > B: result of b rows 2
        B calls updateRow
        > ask 6 B updateRow {}
        answer 6 done; people modified 1
        > B: updateRow done
        wait 500
        > ask 7 B executeSQL S again
        answer 7 failed too slow
        > B: result of b failed too slow",
    );
}

#[test]
fn a_personal_result_is_told_to_its_user_only() {
    check(
        "A joins as ann
        > place A
        B joins as bob
        > place B
        C joins as ann
        > place C
        A follows S on tasks
        > ask 1 A executeSQL S
        answer 1 rows a; personal
        > A: executeSQL rows a
        B follows S on tasks
        > ask 2 B executeSQL S
        answer 2 rows b; personal
        > B: executeSQL rows b
        C follows S on tasks
        > ask 3 C executeSQL S
        answer 3 rows a; personal
        > C: executeSQL rows a
        wait 1000
        B calls createTask
        > ask 4 B createTask {}
        answer 4 done; tasks added 1 for bob
        > B: createTask done
        > ask 5 B executeSQL S again
        B calls createTask
        > ask 6 B createTask {}
        answer 6 done; tasks added 2
        > B: createTask done
        > ask 7 A executeSQL S again
        answer 7 rows a2; personal
        > A: result rows a2
        > C: result rows a2
        answer 5 rows b2; personal
        > B: result rows b2
        wait 500
        > ask 8 B executeSQL S again
        answer 8 rows b3; personal
        > B: result rows b3",
    );
}

#[test]
fn a_result_that_turns_out_to_be_personal_is_asked_for_by_each() {
    check(
        "A joins as ann
        > place A
        B joins as bob
        > place B
        A follows S on x
        > ask 1 A executeSQL S
        answer 1 rows all
        > A: executeSQL rows all
        B follows S on x
        > ask 2 B executeSQL S
        answer 2 rows all
        > B: executeSQL rows all
        B calls updateRow
        > ask 3 B updateRow {}
        answer 3 done; x modified 1
        > B: updateRow done
        wait 500
        > ask 4 A executeSQL S again
        answer 4 rows a; personal
        > A: result rows a
        wait 500
        > ask 5 B executeSQL S again
        answer 5 rows b; personal
        > B: result rows b
        wait 2000
        A calls updateRow
        > ask 6 A updateRow {}
        answer 6 done; x modified 1
        > A: updateRow done
        > ask 7 A executeSQL S again
        > ask 8 B executeSQL S again
        answer 8 rows all
        > A: result rows all
        > B: result rows all
        answer 7 rows all
        > A: result rows all
        > B: result rows all
        wait 2000",
    );
}

#[test]
fn what_never_worked_is_not_followed_but_a_missing_table_may_come() {
    check(
        "A joins
        > place A
        A follows BAD on x
        > ask 1 A executeSQL BAD
        answer 1 failed syntax
        > A: executeSQL failed syntax
        A follows S on x as q
        > ask 2 A executeSQL S
        answer 2 missing x
        > A: executeSQL failed no such table
        wait 1000
        A calls updateRow
        > ask 3 A updateRow {}
        answer 3 done; schema S
        > A: updateRow done
        > all: schema S
        > ask 4 A executeSQL S again
        answer 4 rows 1
        > A: result of q rows 1",
    );
}

#[test]
fn what_failed_on_behalf_of_somebody_who_left_is_asked_again_for_the_others() {
    check(
        "A joins as ann
        > place A
        B joins as bob
        > place B
        A follows S on x
        > ask 1 A executeSQL S
        answer 1 rows 1
        > A: executeSQL rows 1
        B follows S on x
        > ask 2 B executeSQL S
        answer 2 rows 1
        > B: executeSQL rows 1
        B calls updateRow
        > ask 3 B updateRow {}
        answer 3 done; x modified 1
        > B: updateRow done
        wait 500
        > ask 4 A executeSQL S again
        A leaves
        answer 4 failed nobody there
        wait 499
        wait 1
        > ask 5 B executeSQL S again
        B leaves
        answer 5 failed nobody there
        wait 1000",
    );
}
