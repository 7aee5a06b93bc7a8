//! json-yjs: every transcript of its folder, its farewells, arrays as a JSON parser reads them, and messages against a model made of whole JSON trees.

use crate::transcript::{play_all, session_in};
use bytes::Bytes;
use dialect::{Act, Frame, JSON_YJS, Kind, Session, Told};
use document::MessageLimits;
use room::{Access, Closing, Denied, Event, Input, Manner, MemberId, Update};
use serde_json::{Value, json};

#[test]
fn every_transcript_plays_as_written() {
    play_all("json-yjs", 12, &[(JSON_YJS, JSON_YJS)]);
}

fn session() -> Box<dyn Session> {
    session_in(JSON_YJS)
}

#[test]
fn a_session_wants_each_denial_and_the_document_in_one() {
    let mut acts = Vec::new();
    session().open(Access::Read, &mut acts);
    let manner = Manner { each_denial: true, ..Manner::default() };
    match acts.as_slice() {
        [Act::Room(Input::Adopt(MemberId(7), adopted)), Act::Room(Input::SyncInOne(MemberId(7), known))] => {
            assert!(*adopted == manner && known.entries().is_empty());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_become_messages() {
    let bytes = || Bytes::from_static(&[0, 9, 10, 99, 100, 255]);
    let with = |kind| Some(format!("{{\"type\":\"{kind}\",\"data\":[0,9,10,99,100,255]}}"));
    let denied = r#"{"type":"error","error":"You do not have permission to edit this draft."}"#;
    let cases = [
        (Event::Missing(bytes()), with("yjs-state-response")),
        (Event::Update(bytes()), with("yjs-update")),
        (Event::Base(bytes()), with("yjs-update")),
        (Event::Denied(Denied::ReadOnly), Some(denied.to_owned())),
        (Event::Saved { update: Some(bytes()) }, None),
        (Event::StateVector(bytes()), None),
        (Event::Awareness(bytes()), None),
        (Event::Presence([].into()), None),
        (Event::Durable(1), None),
        (Event::Marked(bytes()), None),
    ];
    for (event, expected) in cases {
        let frame = JSON_YJS.encode(&event);
        let text = frame.as_ref().map(|frame| String::from_utf8_lossy(frame.payload()).into_owned());
        assert_eq!(text, expected, "{event:?}");
        assert!(frame.is_none_or(|frame| frame.kind() == Kind::Text));
    }
    assert!(matches!(session().tell(&Event::Update(bytes())), Told::InCommon));
}

#[test]
fn farewells_are_the_table_of_the_protocol() {
    const NO_ACCESS: Option<&str> = Some("Access denied. You do not have permission to access this draft.");
    const NO_TOKEN: Option<&str> = Some("Invalid or expired token");
    let no = |name: &'static str| Closing::Incomplete(name);
    let large = "message larger than 16777216 bytes";
    let table = [
        (no("token"), Some("Missing authentication token"), 1008, "Missing authentication token"),
        (no("draftId"), Some("Missing draftId parameter"), 1008, "Missing draftId parameter"),
        (Closing::Unauthorized, NO_TOKEN, 1008, "Authentication failed"),
        (Closing::Outdated, NO_TOKEN, 1008, "Authentication failed"),
        (Closing::TokenExpired, NO_TOKEN, 1008, "Authentication failed"),
        (Closing::Forbidden, NO_ACCESS, 1008, "Insufficient permissions"),
        (Closing::NotFound, NO_ACCESS, 1008, "Insufficient permissions"),
        (Closing::Revoked, NO_ACCESS, 1008, "Insufficient permissions"),
        (Closing::Deleted, NO_ACCESS, 1008, "Insufficient permissions"),
        (
            Closing::Removed { come_back: false },
            Some("You were disconnected by an administrator."),
            1008,
            "Disconnected by an administrator",
        ),
        (Closing::Removed { come_back: true }, None, 1013, "Disconnected by an administrator, reconnect"),
        (Closing::Beyond(large.into()), Some(large), 1009, large),
        (Closing::Malformed, None, 1008, "Too many invalid messages"),
        (Closing::Abusive("Rate limit exceeded"), None, 1008, "Rate limit exceeded"),
        (Closing::StorageFailed, None, 1011, "Internal server error"),
        (Closing::Internal, None, 1011, "Internal server error"),
        (Closing::ShuttingDown, None, 1001, "Server shutting down"),
        (Closing::SlowConsumer, None, 1013, "slow consumer"),
        (Closing::Unconfirmed, None, 1013, "Access cannot be checked, try again later"),
        (Closing::Silent, None, 1001, "No answer to ping"),
        (Closing::Inactive, None, 1013, "Inactive"),
        (Closing::Protocol(1002, "bad opcode".into()), None, 1002, "bad opcode"),
        (Closing::Left, None, 1000, ""),
    ];
    for (closing, message, code, reason) in table {
        let farewell = JSON_YJS.farewell(&closing);
        let message = message.map(|text| Frame::text(format!("{{\"type\":\"error\",\"error\":\"{text}\"}}")));
        let told = (farewell.message, farewell.delay_ms, farewell.code, farewell.reason.as_str());
        assert_eq!(told, (message, 0, Some(code), reason), "{closing:?}");
        assert!(farewell.reason.len() <= 123, "{closing:?}: a close frame takes 123 bytes");
    }
    assert_eq!(JSON_YJS.behind_max(), Some(4_096));
    assert!(JSON_YJS.refusal(&Closing::Unauthorized).is_none() && JSON_YJS.keep_alive().is_none());
}

/// What has come of a message, in words: the bytes that go to the room, or the text of the error.
fn outcome(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut acts = Vec::new();
    session().receive(Frame::Binary(Bytes::copy_from_slice(text)), 0, &mut acts);
    acts.retain(|act| !matches!(act, Act::Unknown(_)));
    match acts.as_slice() {
        [] => Err("nothing".to_owned()),
        [Act::Room(Input::Update { member: MemberId(7), author: None, is_answer: false, update })] => {
            Ok(update.bytes().to_vec())
        }
        [Act::Room(Input::SyncInOne(..))] => Err("state".to_owned()),
        [Act::Reply(Frame::Text(reply))] => {
            let reply: Value = serde_json::from_slice(reply).expect("the server sends JSON");
            Err(reply["error"].as_str().or(reply["type"].as_str()).expect("a text").to_owned())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn types_that_nobody_knows_are_for_the_log_too() {
    let mut acts = Vec::new();
    session().receive(Frame::text(r#"{"type":"cursor"}"#), 0, &mut acts);
    assert!(matches!(acts.as_slice(), [Act::Unknown(kind), Act::Reply(_)] if kind == "cursor"), "{acts:?}");
}

#[test]
fn data_has_a_bound_and_the_rest_of_the_message_is_read_all_the_same() {
    const MOST: usize = 4_194_304;
    let message = |numbers: usize, end: &str| {
        let mut text = String::with_capacity(numbers * 2 + 64);
        text.push_str("{\"data\":[0");
        (1..numbers).for_each(|_| text.push_str(",0"));
        text.push_str(end);
        text
    };
    let end = "],\"type\":\"yjs-update\"}";
    let too_large = || Err("Update too large (resync needed)".to_owned());
    let invalid = |text: &str| Err(text.to_owned());
    for (numbers, end, expected) in [
        (MOST, end, invalid("Invalid Yjs update")),
        (MOST + 1, end, too_large()),
        (MOST * 3 / 2, end, too_large()),
        (MOST + 1, ",256],\"type\":\"yjs-update\"}", too_large()),
        (MOST, ",256],\"type\":\"yjs-update\"}", invalid("data must be an array of bytes")),
        (MOST + 1, ",],\"type\":\"yjs-update\"}", invalid("Invalid JSON")),
        (MOST + 1, "],\"type\":\"yjs-update\",\"data\":[0,0]}", Ok(vec![0, 0])),
        (MOST + 1, "],\"type\":\"ping\"}", invalid("pong")),
    ] {
        assert_eq!(outcome(message(numbers, end).as_bytes()), expected, "{numbers} {end}");
    }
}

#[test]
fn nesting_has_a_bound_and_needs_no_stack() {
    let nested = |depth: usize, member: &str| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        outcome(format!("{{\"type\":\"ping\",\"{member}\":{open}{close}}}").as_bytes())
    };
    for member in ["other", "data", "type"] {
        let legal = if member == "type" { "Missing message type" } else { "pong" };
        assert_eq!(nested(100, member), Err(legal.to_owned()), "{member}");
        for depth in [128, 1_000_000] {
            assert_eq!(nested(depth, member), Err("Invalid JSON".to_owned()), "{member} {depth}");
        }
    }
    assert_eq!(outcome("[".repeat(1_000_000).as_bytes()), Err("Invalid JSON".to_owned()));
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

#[test]
fn arrays_are_what_a_json_parser_reads_back() {
    let mut random = fastrand::Rng::with_seed(seed());
    let mut check = |bytes: Vec<u8>| {
        let event =
            if random.bool() { Event::Update(bytes.clone().into()) } else { Event::Missing(bytes.clone().into()) };
        let mut out = b"before".to_vec();
        let body = JSON_YJS.write(&event, &mut out).expect("a message");
        assert!(body.rest.is_empty() && out.starts_with(b"before"));
        let value: Value = serde_json::from_slice(&out[6..]).expect("JSON");
        let expected = if matches!(event, Event::Update(_)) { "yjs-update" } else { "yjs-state-response" };
        assert_eq!((&value["type"], &value["data"]), (&json!(expected), &json!(bytes)));
        // Compact, in the order of the protocol, as serde_json itself would write it.
        assert_eq!(out[6..], *format!("{{\"type\":\"{expected}\",\"data\":{}}}", json!(bytes)).as_bytes());
    };
    (0..=255).for_each(|byte| check(vec![byte]));
    for length in (0..600).chain([4_096, 65_537]) {
        let mut random = fastrand::Rng::with_seed(length);
        check((0..length).map(|_| random.u8(..)).collect());
    }
}

/// The same rules, from whole trees: what the reader of one pass is held against.
fn model(text: &[u8]) -> Result<Vec<u8>, String> {
    let error = |text: &str| Err(text.to_owned());
    let Ok(Tree(tree)) = serde_json::from_slice(text) else { return error("Invalid JSON") };
    let Shape::Object(members) = tree else { return error("Message must be a JSON object") };
    let last = |name: &str| members.iter().rev().find(|(known, _)| known == name).map(|(_, value)| &value.0);
    let Some(Shape::Leaf(Value::String(kind))) = last("type") else { return error("Missing message type") };
    match kind.as_str() {
        "yjs-update" => {}
        "yjs-state-request" => return error("state"),
        "ping" => return error("pong"),
        "pong" => return error("nothing"),
        "yjs-state-response" | "error" => return Err(format!("Unexpected message type: {kind}")),
        kind => return Err(format!("Unknown message type: {}", kind.chars().take(64).collect::<String>())),
    }
    let bytes: Option<Vec<u8>> = match last("data") {
        None => return error("Missing data"),
        Some(Shape::Array(values)) => values.iter().map(|value| value.byte()).collect(),
        Some(Shape::Object(members)) => {
            let in_order = (0..).zip(members).all(|(place, (name, _)): (usize, _)| *name == place.to_string());
            members.iter().map(|(_, value)| value.byte().filter(|_| in_order)).collect()
        }
        Some(Shape::Leaf(_)) => None,
    };
    let Some(bytes) = bytes else { return error("data must be an array of bytes") };
    match Update::validate(bytes.clone(), &MessageLimits::default()) {
        Ok(_) => Ok(bytes),
        Err(_) => error("Invalid Yjs update"),
    }
}

/// A JSON value whose objects keep the order and the doubles of their members.
struct Tree(Shape);

enum Shape {
    Leaf(Value),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn byte(&self) -> Option<u8> {
        let Shape::Leaf(Value::Number(number)) = &self.0 else { return None };
        let number = number.as_f64()?;
        (0..=255).find(|byte| f64::from(*byte) == number)
    }
}

impl<'de> serde::Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Trees;
        impl<'de> serde::de::Visitor<'de> for Trees {
            type Value = Tree;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree(Shape::Leaf(value.into())))
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree(Shape::Leaf(Value::Null)))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree(Shape::Leaf(value.into())))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree(Shape::Leaf(value.into())))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                Ok(Tree(Shape::Leaf(value.into())))
            }

            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree(Shape::Leaf(value.into())))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut array: A) -> Result<Tree, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = array.next_element()? {
                    values.push(value);
                }
                Ok(Tree(Shape::Array(values)))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut object: A) -> Result<Tree, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Tree(Shape::Object(members)))
            }
        }
        deserializer.deserialize_any(Trees)
    }
}

/// Valid messages, from which the mutations are made.
const MESSAGES: [&str; 8] = [
    r#"{"type":"yjs-update","data":[1,1,1,0,4,1,1,116,2,104,105,0]}"#,
    r#"{"data":[0,0],"type":"yjs-update"}"#,
    r#"{"type":"yjs-update","data":{"0":0,"1":0}}"#,
    r#"{"type":"yjs-update","data":[0,1,1,1,0,1],"extra":[{"a":null},true,-1.5e3,"\u00e4\n"]}"#,
    r#"{"type":"yjs-state-request"}"#,
    r#"{ "type" : "ping" , "type" : "pong" }"#,
    r#"{"type":"yjs-state-response","data":[0,0]}"#,
    r#"{"type":"yjs-update","data":{"0":0,"1":1,"2":1,"3":1,"4":0,"5":1}}"#,
];
/// What is put in: all that has a meaning in JSON, and something that has none.
const PIECES: [&str; 32] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "0",
    "1",
    "9",
    "255",
    "256",
    "-",
    ".",
    "e",
    "+",
    " ",
    "\n",
    "null",
    "true",
    "\"type\":",
    "\"data\":",
    "\"yjs-update\"",
    "\"0\":0,",
    "[0,0]",
    "{\"0\":0}",
    "\u{e4}",
    "\\u0031",
    "1.0",
    "x",
    "\u{0}",
];

#[test]
fn reading_in_one_pass_is_reading_the_tree() {
    let mut random = fastrand::Rng::with_seed(seed());
    let mut legal = 0;
    for message in MESSAGES {
        assert_eq!(outcome(message.as_bytes()), model(message.as_bytes()), "{message}");
    }
    for _ in 0..30_000 {
        let mut text = MESSAGES[random.usize(..MESSAGES.len())].as_bytes().to_vec();
        for _ in 0..[1, 1, 1, 2, 3][random.usize(..5)] {
            let (from, to) = (random.usize(..=text.len()), random.usize(..=text.len()));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 6));
            match random.u8(..5) {
                0 => drop(text.drain(from..to)),
                1 => {
                    let piece = text[from..to].to_vec();
                    text.splice(from..from, piece);
                }
                2 if from < text.len() => text[from] = random.u8(..),
                _ => {
                    let piece = PIECES[random.usize(..PIECES.len())];
                    text.splice(from..from, piece.bytes());
                }
            }
        }
        let expected = model(&text);
        legal += usize::from(expected.is_ok());
        assert_eq!(outcome(&text), expected, "{}", String::from_utf8_lossy(&text));
    }
    assert!(legal > 200, "only {legal} of the mutations are updates");
}
