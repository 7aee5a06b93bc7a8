//! Who has what: steps one and two, catching up, and updates that wait, across members and restarts.

use crate::script::{Stage, check};
use bytes::Bytes;
use room::{Effect, Event, Input, Limits, MemberId, Rules, StateVector, Update};

#[test]
fn every_step_one_is_answered_also_repeated_ones() {
    check(
        "
        A joins
        > place A
        A asks
        > A: vector V0
        A syncs V0
        > A: missing NOTHING
        A syncs V0
        > A: missing NOTHING
        A writes A1
        > log a A1
        > all but A: update A1
        A asks
        > A: vector VA
        A syncs V0
        > A: missing A1
        A syncs VA
        > A: missing NOTHING
        A syncs 02 01 01 07 09
        > A: missing 01 01 01 01 84 01 00 01 69 00
        ",
    );
}

#[test]
fn an_answer_has_all_deletes() {
    check(
        "
        A joins
        > place A
        A writes A1A2
        > log a A1A2
        > all but A: update A1A2
        A writes A3
        > log a A3
        > all but A: update A3
        A syncs V0
        > A: missing AF
        A syncs VA
        > A: missing 01 01 01 02 84 01 01 01 21 01 01 01 00 01
        A syncs 01 01 03
        > A: missing A3
        ",
    );
}

#[test]
fn who_fell_behind_gets_one_update_since_its_last_step_one_and_everybodys_presence() {
    check(
        r#"
        A joins
        > place A
        B joins
        > place B
        B syncs V0
        > B: missing NOTHING
        A writes A1
        > log a A1
        > all but A: update A1
        B syncs VA
        > B: missing NOTHING
        A writes A2
        > log a A2
        > all but A: update A2
        B catches up
        > place B
        > B: update A2
        A says 7:1 {"a":1}; 8:1 {"b":1}
        > all: awareness 7:1 {"a":1}; 8:1 {"b":1}
        A says 7:1 null
        > all: awareness 7:1 null
        B catches up
        > place B
        > B: update A2
        > B: awareness 7:1 null; 8:1 {"b":1}
        C joins
        > place C
        C catches up
        > place C
        > C: update A1A2
        > C: awareness 7:1 null; 8:1 {"b":1}
        "#,
    );
}

#[test]
fn vector_p_across_two_members() {
    check(
        "
        A joins
        > place A
        B joins
        > place B
        C joins
        > place C
        A writes A2
        > log a A2
        > A: vector V0
        C asks
        > C: vector V0
        C syncs V0
        > C: missing A2
        B writes A1
        > log b A1
        > all but B: update A1
        > log a A2
        > all but A: update A2
        C syncs V0
        > C: missing A1A2
        durable 3
        > A: saved
        > A: update A2
        > B: saved A1
        ",
    );
}

#[test]
fn vector_p_across_a_restart() {
    let script = |between: &str| {
        format!(
            "
            A joins
            > place A
            A writes A2
            > log a A2
            > A: vector V0
            {between}
            B joins
            > place B
            B asks
            > B: vector V0
            B syncs V0
            > B: missing A2
            B writes A1
            > log b A1
            > all but B: update A1
            > log a A2
            > all: update A2
            B syncs V0
            > B: missing A1A2
            {between}
            C joins
            > place C
            C syncs V0
            > C: missing A1A2
            "
        )
    };
    check(&script("restart"));
    check(&script("compact\nrestart"));
    check(&script("compact\ncompact\nrestart\nrestart"));
}

#[test]
fn who_sends_what_has_to_wait_is_asked_once_until_something_was_applied() {
    let mut stage = Stage::new(Limits::default());
    stage.run("A joins");
    let mut asked = |hex: &str| -> usize {
        let bytes: Vec<u8> = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect();
        let update = Update::validate(Bytes::from(bytes), &Limits::default().message).expect("valid");
        let (mut effects, member) = (Vec::new(), MemberId(1));
        stage.room.handle(Input::Update { member, author: None, is_answer: false, update }, stage.now_ms, &mut effects);
        effects.iter().filter(|effect| matches!(effect, Effect::Send(_, Event::StateVector(_)))).count()
    };
    // Clocks 1 and 2 of client 5 wait for 0; client 9 has nothing to wait for; 4 waits for 3.
    let updates = [
        ("01 01 05 01 84 05 00 01 21 00", 1),
        ("01 01 05 02 84 05 01 01 21 00", 0),
        ("01 01 09 00 04 01 01 74 01 21 00", 0),
        ("01 01 05 04 84 05 03 01 21 00", 1),
        ("01 01 05 05 84 05 04 01 21 00", 0),
    ];
    for (update, expected) in updates {
        assert_eq!(asked(update), expected, "{update}");
    }
}

/// 600 letters of client 6: answers with less in them are made anew each time.
fn write_much(stage: &mut Stage) {
    stage.run(&format!("A writes 01 01 06 00 04 01 01 74 d8 04 {}00", "61 ".repeat(600)));
}

#[test]
fn joiners_before_the_next_change_share_one_answer() {
    let mut stage = Stage::new(Limits::default());
    stage.run("A joins");
    stage.run("B joins");
    write_much(&mut stage);
    let mut answer = |line: &str, who: u64| -> Bytes {
        if !line.is_empty() {
            stage.run(line);
        }
        let mut effects = Vec::new();
        stage.room.handle(Input::Sync(MemberId(who), StateVector::default()), stage.now_ms, &mut effects);
        match effects.as_slice() {
            [Effect::Send(_, Event::Missing(bytes))] => bytes.clone(),
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (answer("A writes A1", 1), answer("", 2));
    assert_eq!((first.as_ptr(), first.len()), (second.as_ptr(), second.len()), "not encoded twice");
    // Whatever changes what there is changes the answer: structs, deletes, and what waits.
    assert_ne!(answer("A writes A3", 1), first);
    let before = answer("", 1);
    assert_ne!(answer("A writes 01 01 05 01 84 05 00 01 21 00", 1), before);
    let before = answer("", 1);
    assert_eq!(answer("A writes A1", 1).as_ptr(), before.as_ptr(), "a duplicate changes nothing");
}

#[test]
fn pieces_are_shared_and_remembered_until_the_next_tick() {
    let mut stage = Stage::new(Limits::default());
    for line in ["A joins", "A writes A1", "compact", "restart", "A joins", "B joins", "A writes X2"] {
        stage.run(line);
    }
    write_much(&mut stage);
    let pieces = |stage: &mut Stage, who: u64| -> Vec<Bytes> {
        let mut effects = Vec::new();
        stage.room.handle(Input::Sync(MemberId(who), StateVector::default()), stage.now_ms, &mut effects);
        match effects.as_slice() {
            [Effect::Send(_, Event::Base(base)), Effect::Send(_, Event::Missing(rest))] => {
                vec![base.clone(), rest.clone()]
            }
            other => panic!("{other:?}"),
        }
    };
    let places = |pieces: &[Bytes]| pieces.iter().map(|bytes| bytes.as_ptr()).collect::<Vec<_>>();
    assert!(!stage.room.wants_ticks());
    let (first, second) = (pieces(&mut stage, 2), pieces(&mut stage, 3));
    assert_eq!(places(&first), places(&second), "neither copied nor encoded twice");
    assert!(stage.room.wants_ticks(), "the answer is to be forgotten");
    stage.run("wait 1");
    assert!(!stage.room.wants_ticks());
    let third = pieces(&mut stage, 3);
    assert_eq!(third, first);
    assert_eq!(third[0].as_ptr(), first[0].as_ptr());
    // Answers from many places are remembered a few at a time.
    for clock in 1..50 {
        stage.run(&format!(
            "A writes 01 01 05 {:02x} {} 00",
            clock - 1,
            if clock == 1 { "04 01 01 74 01 61".into() } else { format!("84 05 {:02x} 01 61", clock - 2) }
        ));
    }
    let answer = |stage: &mut Stage, clock: u32| {
        let mut effects = Vec::new();
        let known = StateVector::from_entries(vec![(1, 2), (5, clock)]);
        stage.room.handle(Input::Sync(MemberId(2), known), stage.now_ms, &mut effects);
        match effects.as_slice() {
            [Effect::Send(_, Event::Missing(bytes))] => bytes.clone(),
            other => panic!("{other:?}"),
        }
    };
    let answers: Vec<Bytes> = (0..20).map(|clock| answer(&mut stage, clock)).collect();
    assert_eq!(answer(&mut stage, 19).as_ptr(), answers[19].as_ptr());
    assert_ne!(answer(&mut stage, 0).as_ptr(), answers[0].as_ptr());
    assert_eq!(answer(&mut stage, 0), answers[0]);
}

#[test]
fn one_update_where_one_is_asked_for() {
    check(
        "
        A joins
        > place A
        A writes A1
        > log a A1
        > all but A: update A1
        compact
        restart
        A joins
        > place A
        A syncs in-one V0
        > A: missing A1
        A writes A2
        > log a A2
        > all but A: update A2
        B joins
        > place B
        B syncs V0
        > B: base A1
        > B: missing A2
        B syncs in-one V0
        > B: missing 01 02 01 00 04 01 01 74 02 68 69 84 01 01 01 21 00
        B syncs VA
        > B: missing A2
        B syncs 01 01 01
        > B: missing 01 02 01 01 84 01 00 01 69 84 01 01 01 21 00
        C joins
        > place C
        C catches up
        > place C
        > C: update 01 02 01 00 04 01 01 74 02 68 69 84 01 01 01 21 00
        ",
    );
}

#[test]
fn only_events_that_show_content_wait_for_the_disk() {
    let bytes = Bytes::new;
    for (event, shows) in [
        (Event::Base(bytes()), true),
        (Event::Missing(bytes()), true),
        (Event::Update(bytes()), true),
        (Event::Saved { update: Some(bytes()) }, true),
        (Event::Saved { update: None }, true),
        (Event::StateVector(bytes()), false),
        (Event::Awareness(bytes()), false),
        (Event::Durable(1), false),
        (Event::Denied(room::Denied::ReadOnly), false),
    ] {
        assert_eq!(event.shows_content(), shows, "{event:?}");
    }
}
