//! Rooms of databases: who is told of a change, in which order, who sees whom, and every bound.

use crate::hub_script::{Stage, check, check_with};
use room::{Effect, HubLimits, Input, Rules};

#[test]
fn a_change_is_told_to_those_who_listen_and_may_know_behind_the_answer() {
    check(
        "A joins as ann
        > place A
        B joins as bob
        > place B
        A subscribes people
        A calls updateRow
        > ask 1 A updateRow {}
        answer 1 done; people added 1; people modified 1; other added 9
        > A: updateRow done
        > A: people added 1
        > A: people modified 1
        B subscribes People
        A calls updateRow
        > ask 2 A updateRow {}
        answer 2 done; PEOPLE deleted 1
        > A: updateRow done
        > all: PEOPLE deleted 1
        B calls updateRow
        > ask 3 B updateRow {}
        A calls updateRow
        > ask 4 A updateRow {}
        answer 4 done; people added 2 for ann; people added 3 for bob; people added 4 for cy
        > A: updateRow done
        > A: people added 2
        > B: people added 3
        answer 3 done; people modified 5 but ann; people added 6 for ann bob but bob; schema S
        > B: updateRow done
        > B: people modified 5
        > A: people added 6
        > all: schema S
        answer 3 done; people modified 7
        > all: people modified 7
        A unsubscribes people
        A unsubscribes people
        B calls updateRow
        > ask 5 B updateRow {}
        B leaves
        A subscribes people
        answer 5 done; people modified 8
        > all: people modified 8",
    );
}

#[test]
fn each_connection_of_a_reader_is_told() {
    check(
        "A joins as ann
        > place A
        B joins as ann
        > place B
        C joins as ann
        > place C
        D joins as bob
        > place D
        A subscribes tasks
        B subscribes tasks
        D subscribes tasks
        D calls createTask
        > ask 1 D createTask {}
        answer 1 failed no; tasks added 1 for ann
        > D: createTask failed no
        > A: tasks added 1
        > B: tasks added 1
        A leaves
        D calls createTask
        > ask 2 D createTask {}
        answer 2 done; tasks added 2 for ann nobody else but
        > D: createTask done
        > B: tasks added 2",
    );
}

#[test]
fn a_reader_asks_and_shows_itself_but_changes_nothing() {
    check(
        "A joins reading
        > place A
        A calls createTask
        > A: createTask failed API key lacks the 'write' scope
        A reads listTasks
        > ask 1 A listTasks {}
        A shows cursor \"a\" 1
        > A: setCursor done
        > all: cursor \"a\" 1
        A may write
        A calls createTask
        > ask 2 A createTask {}
        A may read
        A calls createTask
        > A: createTask failed API key lacks the 'write' scope",
    );
}

#[test]
fn what_is_shown_belongs_to_a_user_for_a_while() {
    check(
        r#"A joins as ann
        > place A
        B joins as bob
        > place B
        A shows cursor "x" 1 quietly
        > all: cursor "x" 1
        B shows cursor "x" 2
        > B: setCursor failed userId belongs to another user
        B shows presence "x" 2
        > B: setPresence done
        > all: presence "x" 2
        A lists cursor
        > A: listed ["x"=1]
        A lists presence
        > A: listed ["x"=2]
        wait 29999
        A lists cursor
        > A: listed ["x"=1]
        wait 1
        A lists cursor
        > A: listed []
        B shows cursor "x" 2 quietly
        > all: cursor "x" 2
        A shows presence "a" 1 quietly
        > all: presence "a" 1
        A lists presence
        > A: listed ["a"=1 "x"=2]
        wait 30000
        A lists presence
        > A: listed ["a"=1]
        A lists cursor
        > A: listed []
        B shows presence "x" 3 quietly
        > all: presence "x" 3
        C joins as bob
        > place C
        B leaves
        A lists presence
        > A: listed ["a"=1 "x"=3]
        C leaves
        A lists presence
        > A: listed ["a"=1]
        A shows presence "x" 4 quietly
        > all: presence "x" 4"#,
    );
}

#[test]
fn who_asks_again_by_itself_is_told_once_for_each_commit() {
    check(
        "A joins as ann
        > place A
        B joins as bob
        > place B
        A watches q people tasks people
        > A: subscribe watching q
        A watches r people
        > A: subscribe watching r
        B calls updateRow
        > ask 1 B updateRow {}
        answer 1 done; people added 1; people added 2; tasks added 3 for bob; people deleted 4 for ann; people deleted 5 for bob
        > B: updateRow done
        > A: people added 1
        > A: people added 2
        > A: people deleted 4
        > A: refresh q people added
        > A: refresh r people added
        > A: refresh q people deleted
        > A: refresh r people deleted
        A watches q tasks
        > A: subscribe watching q
        A unwatches r
        > A: subscribe not watching r
        A unwatches r
        > A: subscribe not watching r
        A subscribes tasks
        B calls updateRow
        > ask 2 B updateRow {}
        answer 2 done; people added 6; tasks added 7
        > B: updateRow done
        > A: tasks added 7
        > A: refresh q tasks added
        A unwatches q
        > A: subscribe not watching q
        B calls updateRow
        > ask 3 B updateRow {}
        answer 3 done; tasks added 8
        > B: updateRow done
        > A: tasks added 8",
    );
}

#[test]
fn bounds_are_answered_and_given_back() {
    let limits = HubLimits {
        subscriptions_per_member_max: 2,
        members_per_table_max: 1,
        questions_per_member_max: 2,
        question_bytes_per_member_max: 2_000,
        memory_value_bytes_max: 8,
        memory_label_bytes_max: 8,
        memories_per_user_max: 2,
        memories_max: 3,
        subscription_bytes_per_member_max: 1_500,
        ..HubLimits::default()
    };
    check_with(
        limits,
        "A joins as ann
        > place A
        B joins as bob
        > place B
        A subscribes tasks
        B subscribes tasks
        > B: subscribe failed Table 'tasks' subscription limit reached (1 max). Please try again later.
        B watches q x tasks
        > B: subscribe failed Table 'tasks' subscription limit reached (1 max). Please try again later.
        A watches q tasks
        > A: subscribe watching q
        A subscribes x
        > A: subscribe failed Table 'x' subscription limit reached (2 max). Please try again later.
        A follows S on x
        > A: subscribe failed Table 'x' subscription limit reached (2 max). Please try again later.
        A unsubscribes tasks
        B subscribes tasks
        > B: subscribe failed Table 'tasks' subscription limit reached (1 max). Please try again later.
        A unwatches q
        > A: subscribe not watching q
        B subscribes tasks
        B subscribes <1400 x>
        > B: subscribe failed Subscriptions are too large (1500 bytes max). Unsubscribe from some.
        A reads listTasks
        > ask 1 A listTasks {}
        A reads listTasks <1700 x>
        > A: listTasks failed Too much data at once (2000 bytes max). Please wait for answers before sending more.
        A reads listTasks
        > ask 2 A listTasks {}
        A reads listTasks
        > A: listTasks failed Too many requests at once (2 max). Please wait for answers before sending more.
        A follows S on x
        > A: executeSQL failed Too many requests at once (2 max). Please wait for answers before sending more.
        answer 2 done
        > A: listTasks done
        A reads listTasks <3 x>
        > ask 3 A listTasks xxx
        A shows cursor \"a\" 123456789
        > A: setCursor failed Value too large: maximum 0KB
        A shows cursor \"1234567\" 1
        > A: setCursor failed userId too long: maximum 8 bytes
        A shows cursor \"a\" 1 quietly
        > all: cursor \"a\" 1
        A shows presence \"a\" 1 quietly
        > all: presence \"a\" 1
        A shows cursor \"b\" 1
        > A: setCursor failed Too many userIds (2 max). Use one for each person.
        B shows cursor \"b\" 1 quietly
        > all: cursor \"b\" 1
        B shows presence \"b\" 1
        > B: setPresence failed Memory limit reached. Please wait for older entries to expire.
        wait 30000
        B shows presence \"b\" 1 quietly
        > all: presence \"b\" 1",
    );
}

#[test]
fn the_bounds_are_those_that_clients_are_promised() {
    let limits = HubLimits::default();
    assert_eq!((limits.subscriptions_per_member_max, limits.members_per_table_max), (2_000, 10_000));
    assert_eq!((limits.cursor_expiry_ms, limits.presence_expiry_ms, limits.rerun_pause_ms), (30_000, 60_000, 500));
    assert_eq!(limits.memory_value_bytes_max, 16_384);
    let mut stage = Stage::new(limits);
    stage.run("A joins");
    for table in 0..2_000 {
        assert!(stage.run(&format!("A subscribes t{table}")).is_empty(), "{table}");
    }
    assert_eq!(stage.run("A subscribes more").len(), 1);
    assert_eq!(stage.run("A shows cursor a <16384 x> quietly").len(), 1);
    assert_eq!(stage.run("A shows cursor a <16385 x> quietly"), ["A: setCursor failed Value too large: maximum 16KB"]);
    stage.run("A leaves");
    assert!(stage.hub.is_blank() && stage.hub.bytes() == 0, "{:?}", stage.hub);
}

#[test]
fn a_room_with_too_much_at_the_database_takes_nothing_until_it_answers() {
    let limits = HubLimits { questions_max: 3, question_bytes_max: 2_000, ..HubLimits::default() };
    let mut stage = Stage::new(limits);
    stage.run("A joins");
    for count in 1..=3 {
        assert!(!stage.hub.is_congested(), "with {count}");
        stage.run("A reads listTasks");
    }
    assert!(stage.hub.is_congested());
    stage.run("A leaves");
    assert!(stage.hub.is_congested(), "who has left still has questions there");
    stage.run("answer 1 done");
    assert!(!stage.hub.is_congested());
    stage.run("A joins");
    stage.run("A calls updateRow <2000 x>");
    assert!(stage.hub.is_congested());
    ["answer 2 done", "answer 3 done", "answer 4 done", "A leaves"].iter().for_each(|line| drop(stage.run(line)));
    assert!(stage.hub.is_blank() && !stage.hub.is_congested());
}

/// Many rows for many members are told in parts, in their order, and nothing else is taken meanwhile.
#[test]
fn a_flood_is_told_in_parts() {
    let mut stage = Stage::new(HubLimits::default());
    let members = 300;
    for member in 0..members {
        stage.run(&format!("M{member} joins"));
        stage.run(&format!("M{member} subscribes people"));
        stage.run(&format!("M{member} watches q people"));
    }
    stage.run("Z joins");
    stage.run("Z calls updateRow");
    let rows: Vec<String> = (0..500).map(|row| format!("; people added {row}")).collect();
    let mut effects = stage.effects(&format!("answer 1 done{}", rows.concat()));
    let (mut parts, mut largest) = (1, effects.len());
    while stage.hub.wakes_at_ms() == Some(0) {
        assert!(stage.hub.is_congested() && stage.hub.bytes() > 0);
        let more = stage.handle(Input::Tick);
        (parts, largest) = (parts + 1, largest.max(more.len()));
        effects.extend(more);
    }
    assert!(parts == 3 && largest < 66_000, "{parts} parts, of {largest} at most");
    assert_eq!(effects.len(), 1 + 500 * members + members);
    let sent_to = |effect: &Effect| if let Effect::Send(member, _) = effect { member.0 } else { 0 };
    let expected = (0..501).flat_map(|_| 1..=members as u64);
    assert!(effects[1..].iter().map(sent_to).eq(expected), "row by row, each to all, and the queries last");
    assert!(!stage.hub.is_congested() && stage.hub.wakes_at_ms().is_none());
}

/// Whoever changes a table that nobody listens to wakes nobody, and a change costs no copy for each who does.
#[test]
fn a_change_is_shared_by_all_who_are_told() {
    let mut stage = Stage::new(HubLimits::default());
    for member in 0..100 {
        stage.run(&format!("M{member} joins"));
    }
    stage.run("M0 calls updateRow");
    assert_eq!(stage.effects("answer 1 done; people added 1").len(), 1, "the answer");
    (0..99).for_each(|member| drop(stage.run(&format!("M{member} subscribes people"))));
    stage.run("M0 calls updateRow");
    let effects = stage.effects("answer 2 done; people added 1");
    let changes: Vec<*const ()> = effects.iter().filter_map(change_in).collect();
    assert!(changes.len() == 99 && changes.iter().all(|change| *change == changes[0]));
    stage.run("M99 subscribes people");
    stage.run("M0 calls updateRow");
    assert_eq!(stage.effects("answer 3 done; people added 1").len(), 2, "the answer, and one for all");
}

fn change_in(effect: &Effect) -> Option<*const ()> {
    match effect {
        Effect::Send(_, room::Event::Tables(room::hub::News::RowChanged(change))) => {
            Some(std::sync::Arc::as_ptr(change).cast())
        }
        _ => None,
    }
}
