//! y-websocket: its byte vectors in both directions, its farewells, and every transcript of its folder.

use crate::transcript::{bytes, hex, play, play_all, session_in};
use bytes::Bytes;
use dialect::{Act, Frame, Session, Y_WEBSOCKET, Y_WEBSOCKET_SILENT};
use document::Exceeded;
use room::{Access, Closing, Denied, Event, Input, MemberId};

#[test]
fn every_transcript_plays_as_written() {
    play_all("y-websocket", 20, &[(Y_WEBSOCKET, Y_WEBSOCKET_SILENT)]);
}

#[test]
fn a_transcript_that_differs_says_where_and_how() {
    let says = |transcript| play(transcript, Y_WEBSOCKET, Y_WEBSOCKET_SILENT).expect_err("it differs");
    assert_eq!(
        says("A+\nA< 00 00 02 00"),
        "line 2: A< 00 00 02 00\n  but it is: A< 00 00 01 00\n  the first 2 bytes are the same; 4 were expected, 4 sent\n"
    );
    assert_eq!(says("A+\nA> 03"), "line 2: A> 03\nbefore it, not expected:\n  A< 00 00 01 00\n");
    assert_eq!(says("A+ # she comes"), "at the end\nbefore it, not expected:\n  A< 00 00 01 00\n");
    assert_eq!(says("A+\nA< 00 00 01 00\nA< 03"), "line 3: A< 03\n  but nothing is sent to A\n");
    assert!(says("A> 03").contains("never connected"));
    assert!(says("A+\nA< 0x").contains("is no byte"));
    assert!(says("B*").contains("cannot read") && says("frobnicate").contains("cannot read"));
}

/// `HEX -> what it means to the room; the next thing  # meaning`
const FRAMES: &str = include_str!("../../testdata/y-websocket-frames.txt");

/// What a frame means to the room.
fn received(frame: Frame) -> Vec<String> {
    inputs_of(frame).iter().map(input_in_words).collect()
}

fn session() -> Box<dyn Session> {
    session_in(Y_WEBSOCKET)
}

fn inputs_of(frame: Frame) -> Vec<Input> {
    let mut acts = Vec::new();
    session().receive(frame, 0, &mut acts);
    inputs_among(acts)
}

/// This dialect leaves everything to the room.
fn inputs_among(acts: Vec<Act>) -> Vec<Input> {
    let input = |act| match act {
        Act::Room(input) => input,
        other => panic!("{other:?}"),
    };
    acts.into_iter().map(input).collect()
}

fn input_in_words(input: &Input) -> String {
    match input {
        Input::Sync(MemberId(7), known) => format!("sync {:?}", known.entries()),
        Input::Update { member: MemberId(7), author: None, update, .. } => {
            format!("update {}", hex(update.bytes()))
        }
        Input::Awareness(MemberId(7), bytes) => format!("awareness {}", hex(bytes)),
        Input::QueryAwareness { member: MemberId(7), always: true } => "query".into(),
        Input::Malformed(MemberId(7)) => "malformed".into(),
        Input::Beyond(MemberId(7), exceeded) => format!("beyond: {exceeded}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn frames_mean_what_they_say() {
    let mut cases = 0;
    for line in FRAMES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (frame, rest) = line.split_once("->").expect("an arrow");
        let expected: Vec<&str> = rest.split('#').next().unwrap_or_default().split(';').map(str::trim).collect();
        let expected = if expected == ["nothing"] { Vec::new() } else { expected };
        let frame = Bytes::from(bytes(frame).expect("hex"));
        assert_eq!(received(Frame::Binary(frame.clone())), expected, "{line}");
        assert_eq!(received(Frame::Text(frame)), [""; 0], "as text: {line}");
        cases += 1;
    }
    assert!(cases > 40, "only {cases} cases");
}

#[test]
fn no_beginning_of_a_frame_is_misread() {
    let whole = bytes("00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00").expect("hex");
    for end in 1..whole.len() {
        assert_eq!(received(Frame::Binary(Bytes::copy_from_slice(&whole[..end]))), ["malformed"], "{end} bytes");
    }
}

#[test]
fn payloads_are_slices_of_the_frame_unless_they_would_pin_much_more() {
    let frame = Bytes::from(bytes("00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00 01 01 00").expect("hex"));
    let inputs = inputs_of(Frame::Binary(frame.clone()));
    let within = |bytes: &[u8]| frame.as_ptr_range().contains(&bytes.as_ptr());
    match inputs.as_slice() {
        [Input::Update { update, .. }, Input::Awareness(_, states)] => {
            assert!(within(update.bytes()) && !within(states));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frame_of_very_many_messages_is_read_no_further() {
    let inputs = inputs_of(Frame::Binary(vec![3; 5_000].into()));
    assert_eq!(inputs.len(), 1_025);
    assert!(matches!(inputs.last(), Some(Input::Malformed(MemberId(7)))));
}

#[test]
fn a_session_opens_with_step_one_and_whoever_is_there() {
    let mut acts = Vec::new();
    session().open(Access::Write, &mut acts);
    let inputs = inputs_among(acts);
    assert!(
        matches!(
            inputs.as_slice(),
            [Input::Ask(MemberId(7)), Input::QueryAwareness { member: MemberId(7), always: false }]
        ),
        "{inputs:?}"
    );
}

#[test]
fn events_become_frames() {
    let payload = |hex| Bytes::from(bytes(hex).expect("hex"));
    let a1 = || payload("01 01 01 00 04 01 01 74 02 68 69 00");
    let w1 = "01 07 01 17 7b 22 75 73 65 72 22 3a 7b 22 6e 61 6d 65 22 3a 22 41 6e 6e 22 7d 7d";
    let w4 = "02 ac 02 01 07 7b 22 63 22 3a 31 7d 07 01 07 7b 22 63 22 3a 32 7d";
    let cases = [
        (Event::StateVector(payload("01 01 02")), Some("00 00 03 01 01 02".to_owned())), // F1
        (Event::Missing(a1()), Some("00 01 0c 01 01 01 00 04 01 01 74 02 68 69 00".into())), // F2
        (Event::Update(a1()), Some("00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00".into())), // F3
        (Event::Saved { update: Some(a1()) }, Some("00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00".into())),
        (Event::Saved { update: None }, None),
        (Event::Durable(9), None),
        (Event::Awareness(payload(w1)), Some(format!("01 1b {w1}"))), // W1
        (Event::Awareness(payload("01 07 01 04 6e 75 6c 6c")), Some("01 08 01 07 01 04 6e 75 6c 6c".into())), // W2
        (Event::Awareness(payload("01 07 02 04 6e 75 6c 6c")), Some("01 08 01 07 02 04 6e 75 6c 6c".into())), // W3
        (Event::Awareness(payload(w4)), Some(format!("01 16 {w4}"))), // W4
        (Event::Awareness(payload("00")), Some("01 01 00".into())),   // W5
        (Event::Denied(Denied::ReadOnly), Some("02 00 09 72 65 61 64 2d 6f 6e 6c 79".into())),
    ];
    for (event, expected) in cases {
        assert_eq!(Y_WEBSOCKET.encode(&event).map(|frame| hex(frame.payload())), expected, "{event:?}");
        let silent = expected.filter(|_| !matches!(event, Event::Saved { .. }));
        assert_eq!(Y_WEBSOCKET_SILENT.encode(&event).map(|frame| hex(frame.payload())), silent, "{event:?}");
    }
    assert_eq!(Y_WEBSOCKET.keep_alive().map(hex), Some("01 01 00".into()), "W5");
    let long = Event::Update(vec![7; 300].into());
    assert_eq!(Y_WEBSOCKET.encode(&long).map(|frame| hex(&frame.payload()[..5])), Some("00 02 ac 02 07".into()));
}

#[test]
fn farewells_are_the_table_of_the_protocol() {
    let beyond = |exceeded: Exceeded| Closing::Beyond(exceeded.to_string());
    let denied = |reason: &str| Some(Frame::Binary([&[2, 0, reason.len() as u8], reason.as_bytes()].concat().into()));
    let kind = "content kind 11 is not supported";
    let table = [
        (Closing::Malformed, None, 0, 4400, "malformed message"),
        (beyond(Exceeded::Kind(11)), denied(kind), 0, 4413, kind),
        (Closing::StorageFailed, None, 0, 1011, "storage failed; unsaved edits stay in your editor"),
        (Closing::ShuttingDown, None, 0, 1001, "server shutting down"),
        (Closing::SlowConsumer, None, 0, 1013, "slow consumer"),
        (Closing::Protocol(1002, "bad opcode".into()), None, 0, 1002, "bad opcode"),
        (Closing::Silent, None, 0, 1001, "no answer to ping"),
        (Closing::Unauthorized, denied("unauthorized"), 3000, 4401, "unauthorized"),
        (Closing::Forbidden, denied("permission-denied"), 3000, 4403, "permission-denied"),
        (Closing::NotFound, denied("room-not-found"), 3000, 4404, "room-not-found"),
        (Closing::Outdated, denied("token-expired"), 3000, 4401, "token-expired"),
        (Closing::TokenExpired, None, 0, 4501, "token expired, reconnect"),
        (Closing::Revoked, denied("permission-denied"), 3000, 4403, "access revoked"),
        (
            Closing::Removed { come_back: false },
            denied("permission-denied"),
            0,
            4403,
            "disconnected by an administrator",
        ),
        (Closing::Removed { come_back: true }, None, 0, 4500, "disconnected by an administrator, reconnect"),
        (Closing::Deleted, denied("room-not-found"), 3000, 4404, "room deleted"),
        (Closing::Unconfirmed, None, 0, 1013, "access cannot be checked, try again later"),
        (Closing::Internal, None, 0, 1011, "internal error"),
    ];
    for (closing, message, delay_ms, code, reason) in table {
        let farewell = Y_WEBSOCKET.farewell(&closing);
        let told = (farewell.message, farewell.delay_ms, farewell.code, farewell.reason.as_str());
        assert_eq!(told, (message, delay_ms, Some(code), reason), "{closing:?}");
        assert!(farewell.reason.len() <= 123, "{closing:?}: a close frame takes 123 bytes");
    }
    let largest = usize::MAX;
    for exceeded in [
        Exceeded::UpdateBytes(largest),
        Exceeded::Structs(largest),
        Exceeded::Clients(largest),
        Exceeded::StateVectorBytes(largest),
        Exceeded::RoomBytes(largest),
        Exceeded::ParkedBytes(largest),
        Exceeded::Depth(u32::MAX),
        Exceeded::ValueDepth(u32::MAX),
        Exceeded::Kind(31),
        Exceeded::TypeRef(u64::MAX),
    ] {
        let farewell = Y_WEBSOCKET.farewell(&beyond(exceeded));
        assert!(farewell.reason.len() <= 123, "{}", farewell.reason);
        assert_eq!(farewell.message, denied(&farewell.reason), "the same words in the message and in the close frame");
    }
}

#[test]
fn the_table_of_dialects_has_each_name_once() {
    let names: Vec<&str> = dialect::ALL.iter().map(|dialect| dialect.name()).collect();
    assert_eq!(names, ["y-websocket", "hocuspocus", "y-sweet", "json-yjs", "sessions", "notes", "room-db"]);
}
