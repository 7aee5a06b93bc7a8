//! room-db: every transcript of its folder, its bounds, its farewells, what is encoded once, and what it makes of mutilated messages.

use crate::transcript::{play_all, session_in};
use bytes::Bytes;
use dialect::{Act, Frame, Kind, ROOM_DB, Session, Told};
use fastrand::Rng;
use room::hub::{Action, Answer, MemoryKind, News, Outcome, Reply, Request, RowChange, Shown};
use room::{Access, Author, Closing, Denied, Effect, Event, Hub, HubLimits, Input, MemberId, Rules};
use std::path::Path;
use std::sync::Arc;

const MINUTE_MS: u64 = 60_000;
const MIB: usize = 1 << 20;

#[test]
fn every_transcript_plays_as_written() {
    play_all("room-db", 10, &[(ROOM_DB, ROOM_DB)]);
}

fn session() -> Box<dyn Session> {
    session_in(ROOM_DB)
}

fn acts_of(session: &mut dyn Session, frame: Frame, now_ms: u64) -> Vec<Act> {
    let mut acts = Vec::new();
    session.receive(frame, now_ms, &mut acts);
    acts
}

fn in_words(acts: &[Act]) -> String {
    acts.iter().map(act_in_words).collect::<Vec<_>>().join("; ")
}

fn act_in_words(act: &Act) -> String {
    match act {
        Act::Reply(frame) => {
            let text = String::from_utf8_lossy(frame.payload()).into_owned();
            if text.len() > 120 { format!("reply of {}", text.len()) } else { text }
        }
        Act::End(closing) => {
            let farewell = ROOM_DB.farewell(closing);
            format!("end {} {}", farewell.code.unwrap_or_default(), farewell.reason)
        }
        Act::Room(Input::Tables(MemberId(7), request)) => match &**request {
            Request::Call { method, payload, .. } => format!("{method} of {}", payload.len()),
            Request::SetMemory { value, .. } => format!("memory of {}", value.len()),
            other => format!("{other:?}").chars().take(80).collect(),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_message_is_reset_whatever_one_may_do() {
    for access in [Access::Read, Access::Write] {
        let mut acts = Vec::new();
        session().open(access, &mut acts);
        assert_eq!(in_words(&acts), "{\"type\":\"reset\"}");
    }
}

#[test]
fn what_is_too_large_ends_the_connection_at_exactly_its_bound() {
    let call = |method: &str, bytes: usize| {
        let (head, tail) = (format!("{{\"action\":\"rpc\",\"method\":\"{method}\",\"payload\":{{\"x\":\""), "\"}}");
        let filling = "x".repeat(bytes - head.len() - tail.len());
        Frame::text(head + &filling + tail)
    };
    let payload =
        |method: &str, bytes: usize| bytes - "{\"action\":\"rpc\",\"method\":\"\",\"payload\":}".len() - method.len();
    let garbage = |bytes: usize| Frame::text("x".repeat(bytes));
    let named_by_action = call("batchInsert", 4 * MIB + 1);
    let text = String::from_utf8_lossy(named_by_action.payload()).replace("\"rpc\"", "\"x\"  ");
    let cases = [
        (call("updateRow", 4 * MIB), format!("updateRow of {}", payload("updateRow", 4 * MIB))),
        (call("updateRow", 4 * MIB + 1), "end 1009 message larger than 4194304 bytes".to_owned()),
        (call("batchInsert", 4 * MIB + 1), format!("batchInsert of {}", payload("batchInsert", 4 * MIB + 1))),
        (call("batchInsert", 16 * MIB), format!("batchInsert of {}", payload("batchInsert", 16 * MIB))),
        (call("batchInsert", 16 * MIB + 1), "end 1009 message larger than 16777216 bytes".to_owned()),
        (Frame::text(text), "end 1009 message larger than 4194304 bytes".to_owned()),
        (garbage(4 * MIB), "{\"type\":\"error\",\"error\":\"Invalid JSON\"}".to_owned()),
        (garbage(4 * MIB + 1), "end 1009 message larger than 4194304 bytes".to_owned()),
    ];
    for (frame, expected) in cases {
        assert_eq!(in_words(&acts_of(&mut *session(), frame, 0)), expected);
    }
}

#[test]
fn a_payload_is_not_copied_and_a_small_part_keeps_no_large_frame() {
    let frame =
        Bytes::from(format!("{{\"action\":\"createTask\",\"payload\":{{\"title\":\"{}\"}}}}", "x".repeat(1_000)));
    let acts = acts_of(&mut *session(), Frame::Text(frame.clone()), 0);
    let [Act::Room(Input::Tables(_, request))] = &acts[..] else { panic!("{acts:?}") };
    let Request::Call { payload, .. } = &**request else { panic!("{request:?}") };
    assert!(frame.as_ptr_range().contains(&payload.as_ptr()), "a part of the frame");
    let frame =
        Bytes::from(format!("{{\"x\":\"{}\",\"action\":\"createTask\",\"payload\":{{\"a\":1}}}}", "x".repeat(1_000)));
    let acts = acts_of(&mut *session(), Frame::Text(frame.clone()), 0);
    let [Act::Room(Input::Tables(_, request))] = &acts[..] else { panic!("{acts:?}") };
    let Request::Call { payload, .. } = &**request else { panic!("{request:?}") };
    assert!(!frame.as_ptr_range().contains(&payload.as_ptr()), "a copy");
}

#[test]
fn the_hundred_and_first_invalid_message_of_a_minute_ends_it() {
    let invalid =
        ["x", "[]", "{}", "{\"action\":\"subscribe\"}", "{\"action\":\"rpc\"}", "{\"action\":\"subscribe_query\"}"];
    let mut one = session();
    for count in 0..100 {
        let acts = acts_of(&mut *one, Frame::text(invalid[count % invalid.len()]), count as u64);
        assert!(matches!(acts[..], [Act::Reply(_)]), "{count}: {acts:?}");
        // What is valid counts for nothing, also when it is refused.
        for valid in ["{\"action\":\"ping\"}", "{\"action\":\"rpc\",\"method\":\"foo\"}", "{\"action\":\"query\"}"] {
            assert_eq!(acts_of(&mut *one, Frame::text(valid), count as u64).len(), 1);
        }
    }
    let acts = acts_of(&mut *one, Frame::text("x"), MINUTE_MS - 1);
    let end = "{\"type\":\"error\",\"error\":\"Invalid JSON\"}; end 1008 too many invalid messages";
    assert_eq!(in_words(&acts), end);
    let mut slower = session();
    for count in 0..1_000 {
        // One hundred in any minute.
        let acts = acts_of(&mut *slower, Frame::text("x"), count * MINUTE_MS / 100);
        assert_eq!(acts.len(), 1, "{count}");
    }
}

#[test]
fn farewells_and_refusals_are_those_of_the_page() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocols/room-db.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let cases = [
        (Closing::Malformed, 1008, "too many invalid messages", None),
        (Closing::Beyond("words".into()), 1009, "words", None),
        (Closing::StorageFailed, 1011, "storage failed", None),
        (Closing::ShuttingDown, 1001, "Server shutdown", None),
        (Closing::SlowConsumer, 1013, "slow consumer", None),
        (Closing::Silent, 1001, "no answer to ping", None),
        (Closing::Protocol(1002, "words".into()), 1002, "words", None),
        (Closing::Unauthorized, 1008, "not logged in", Some((401, "Unauthorized. Please log in."))),
        (Closing::Outdated, 1008, "credentials expired", Some((401, "API key expired"))),
        (Closing::TokenExpired, 1008, "credentials expired", Some((401, "API key expired"))),
        (Closing::Revoked, 1008, "access revoked", Some((401, "Unauthorized: Invalid API Key or Session"))),
        (Closing::Forbidden, 1008, "access revoked", Some((403, "Forbidden"))),
        (Closing::Removed { come_back: false }, 1008, "disconnected by an administrator", Some((403, "Forbidden"))),
        (
            Closing::Removed { come_back: true },
            1013,
            "disconnected by an administrator, reconnect",
            Some((403, "Forbidden")),
        ),
        (Closing::NotFound, 1008, "room deleted", Some((404, "Room not found"))),
        (Closing::Deleted, 1008, "room deleted", Some((404, "Room not found"))),
        (
            Closing::Incomplete("room_id"),
            1008,
            "the request lacks something",
            Some((400, "Missing room_id query parameter")),
        ),
        (Closing::Abusive("words"), 1008, "words", None),
        (Closing::Unconfirmed, 1013, "access cannot be checked, try again later", None),
        (Closing::Internal, 1011, "internal error", None),
        (Closing::Left, 1000, "", None),
    ];
    for (closing, code, reason, refused) in cases {
        let farewell = ROOM_DB.farewell(&closing);
        assert_eq!((farewell.code, &*farewell.reason), (Some(code), reason), "{closing:?}");
        assert!(farewell.message.is_none() && reason.len() <= 123);
        let refusal = ROOM_DB.refusal(&closing);
        let refusal = refusal.as_ref().map(|refusal| (refusal.status, refusal.is_json, &*refusal.body));
        assert_eq!(refusal, refused.map(|(status, body)| (status, false, body)), "{closing:?}");
        if let Some((status, body)) = refused {
            assert!(page.contains(body) && page.contains(&status.to_string()), "{body} is not on the page");
        }
    }
    assert_eq!((ROOM_DB.behind_max(), ROOM_DB.name()), (Some(1_024), "room-db"));
}

#[test]
fn only_its_own_events_are_spoken_of() {
    let others = [
        Event::StateVector(Bytes::new()),
        Event::Update(Bytes::new()),
        Event::Awareness(Bytes::new()),
        Event::Marked(Bytes::new()),
        Event::Denied(Denied::ReadOnly),
        Event::Durable(1),
    ];
    for event in others {
        let mut out = Vec::new();
        assert!(ROOM_DB.write(&event, &mut out).is_none() && out.is_empty(), "{event:?}");
        assert!(matches!(session().tell(&event), Told::InCommon));
    }
}

/// What many are told lies ready after the first: nothing is appended but what is each member's own.
#[test]
fn what_many_are_told_is_encoded_once() {
    let row = RowChange::of("people", Action::Added, "x".repeat(10_000));
    let change = Event::Tables(News::RowChanged(room::hub::Told::new(row)));
    let answer = Answer::Rows { data: "[1]".into(), original_sql: "\"S\"".into(), total: None, page: None, info: None };
    let answer = room::hub::Told::new(answer);
    let result = |name: Option<&'static str>| {
        Event::Tables(News::Result { query_id: name.map(Bytes::from), answer: answer.clone() })
    };
    let shown = Arc::new(Shown { label: "\"u\"".into(), value: "1".into() });
    let all = room::hub::Told::new(vec![shown]);
    let listed = |echo: &'static str| {
        Event::Tables(News::Memories { kind: MemoryKind::Presence, echo: echo.into(), all: all.clone() })
    };
    let (named, unnamed) = (result(Some("\"q\"")), result(None));
    let (asked, other) = (listed("\"requestId\":\"r\""), listed(""));
    for (event, again, head) in [
        (&change, &change.clone(), ""),
        (&named, &unnamed, "{\"queryId\":\"q\","),
        (&asked, &other, "{\"requestId\":\"r\","),
    ] {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let one = ROOM_DB.write(event, &mut first).expect("a message");
        let two = ROOM_DB.write(again, &mut second).expect("a message");
        assert_eq!((one.kind, one.rest.as_ptr()), (Kind::Text, two.rest.as_ptr()), "the same bytes");
        assert_eq!(String::from_utf8_lossy(&first), head);
    }
}

/// Must hold 20: whatever a method comes to, its answer has the id of its request, and so has each refusal.
#[test]
fn every_call_with_an_id_is_answered_under_it() {
    let methods = [
        "createTask",
        "completeTask",
        "deleteTask",
        "listTasks",
        "updateRow",
        "batchInsert",
        "executeSQL",
        "createTable",
        "deleteTable",
        "getSchema",
        "getUsage",
        "getAuditLog",
        "updateDebounced",
        "flushDebounced",
        "setCursor",
        "getCursors",
        "setPresence",
        "getPresence",
        "search",
        "getSyncStatus",
        "forceSyncAll",
        "streamIntent",
        "subscribeSemantic",
        "chatWithDatabase",
        "createWebhook",
        "listWebhooks",
        "updateWebhook",
        "deleteWebhook",
        "getWebhooklogs",
        "getUploadUrl",
        "listFiles",
        "scheduleCron",
        "listCronJobs",
        "exportAuditLog",
        "nonsense",
        "",
    ];
    let outcomes = [
        Answer::Done { data: None, message: None },
        Answer::Rows { data: "[]".into(), original_sql: "\"\"".into(), total: None, page: None, info: None },
        Answer::Schema("{}".into()),
        Answer::failed("no"),
        Answer::Failed { error: "no".into(), code: Some("TABLE_NOT_FOUND"), table: Some("x".into()), data: None },
    ];
    let ids = ["\"requestId\":\"r\\u00311\"", "\"requestId\":\"r\",\"updateId\":\"u\"", "\"id\":\"i\""];
    let payloads = ["{}", "[]", "{\"userId\":\"u\",\"position\":1,\"status\":1}"];
    let calls: Vec<(&str, String)> = methods
        .iter()
        .flat_map(|method| ids.map(|id| (*method, id)))
        .flat_map(|(method, id)| payloads.map(|payload| (id, method, payload)))
        .map(|(id, method, payload)| {
            (id, format!("{{\"action\":\"rpc\",\"method\":\"{method}\",\"payload\":{payload},{id}}}"))
        })
        .collect();
    assert_eq!(calls.len(), methods.len() * ids.len() * payloads.len());
    for (id, call) in &calls {
        for (access, outcome) in [Access::Write, Access::Read]
            .into_iter()
            .flat_map(|access| outcomes.iter().map(move |outcome| (access, outcome)))
        {
            let sent = conversation(call, access, outcome);
            assert!(sent.iter().any(|message| message.contains(id)), "{call}: {sent:?}");
            assert!(sent.iter().all(|message| is_object(message)), "{call}: {sent:?}");
        }
    }
}

/// What a client is sent for one message in a room whose database answers like this.
fn conversation(message: &str, access: Access, answer: &Answer) -> Vec<String> {
    let (mut session, mut hub, member) = (session(), Hub::new(HubLimits::default()), MemberId(7));
    let (mut effects, mut sent) = (Vec::new(), Vec::new());
    let author = Author::from("u");
    let join = Input::Join { member, kind: room::Kind::Client, access, author, trusts_all: false };
    hub.handle(join, 0, &mut effects);
    for act in acts_of(&mut *session, Frame::text(message), 0) {
        match act {
            Act::Room(input) => hub.handle(input, 0, &mut effects),
            Act::Reply(frame) => sent.push(frame),
            other => panic!("{other:?}"),
        }
    }
    let asked =
        effects.iter().find_map(|effect| if let Effect::Ask(question) = effect { Some(question.ticket) } else { None });
    if let Some(ticket) = asked {
        hub.handle(Input::Answered { ticket, outcome: Box::new(Outcome::of(answer.clone())) }, 0, &mut effects);
    }
    for effect in &effects {
        let (Effect::Send(_, event) | Effect::Publish { event, .. }) = effect else { continue };
        match session.tell(event) {
            Told::Own(frames) => sent.extend(frames),
            Told::InCommon => sent.extend(ROOM_DB.encode(event)),
        }
    }
    sent.iter().map(|frame| String::from_utf8_lossy(frame.payload()).into_owned()).collect()
}

fn is_object(json: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json).is_ok()
}

/// Bytes of good messages are changed, cut and joined: each frame has answers that are objects, or goes to the room; nothing else, and nothing breaks.
#[test]
fn mutilated_messages_are_answered_or_passed_on_and_never_more() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/room-db");
    let texts = std::fs::read_dir(folder).expect("transcripts").map(|entry| entry.expect("a file").path());
    let texts: Vec<String> = texts.map(|path| std::fs::read_to_string(path).expect("text")).collect();
    let sent =
        |line: &str| line.split_once("> '").and_then(|(_, rest)| Some(rest.rsplit_once('\'')?.0.as_bytes().to_vec()));
    let messages: Vec<Vec<u8>> = texts.iter().flat_map(|text| text.lines().filter_map(sent)).collect();
    assert!(messages.len() > 150, "only {} messages", messages.len());
    let snippets: [&[u8]; 12] =
        [b"\"", b"{", b"}", b"[", b"\\ud800", b"null", b"\"action\":\"rpc\",", b",", b"\xff", b"\0", b"1e999", b"\\"];
    let (mut replies, mut passed) = (0, 0);
    for _ in 0..20_000 {
        let mut message = messages[rng.usize(..messages.len())].clone();
        for _ in 0..rng.usize(..4) {
            let place = rng.usize(..message.len() + 1);
            match rng.u8(..4) {
                0 => message.truncate(place),
                1 if place < message.len() => message[place] = rng.u8(..),
                2 => drop(message.splice(place..place, snippets[rng.usize(..snippets.len())].iter().copied())),
                _ => {
                    let end = rng.usize(place..message.len() + 1);
                    message.drain(place..end);
                }
            }
        }
        let frame = if rng.bool() { Frame::Text(message.into()) } else { Frame::Binary(message.into()) };
        let acts = acts_of(&mut *session(), frame.clone(), 0);
        match &acts[..] {
            [Act::Reply(Frame::Text(text))] => {
                let text = std::str::from_utf8(text).unwrap_or_else(|_| panic!("SEED={seed} {frame:?}"));
                // Halves of surrogate pairs in what comes back are more than serde_json's own strings can hold.
                assert!(text.contains("\\u") || is_object(text), "SEED={seed} {frame:?}: {text}");
                replies += 1;
            }
            [Act::Room(Input::Tables(MemberId(7), request))] => {
                assert!(request.bytes() <= frame.payload().len() + 64, "SEED={seed} {frame:?}");
                passed += 1;
            }
            other => panic!("SEED={seed} {frame:?}: {other:?}"),
        }
    }
    assert!(replies > 1_000 && passed > 1_000, "SEED={seed}: {replies} answered, {passed} passed on");
}

#[test]
fn depth_repetition_and_length_break_nothing() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    let many = "\"action\":\"ping\",".repeat(100_000);
    let cases = [
        (format!("{{\"action\":\"createTask\",\"payload\":{{\"a\":{deep}}}}}"), "createTask of 2000006"),
        (format!("{{\"x\":{deep},\"action\":\"ping\"}}"), "{\"type\":\"pong\"}"),
        (deep.clone(), "{\"type\":\"error\",\"error\":\"Invalid message\"}"),
        (deep[1..].to_owned(), "{\"type\":\"error\",\"error\":\"Invalid JSON\"}"),
        (format!("{{{many}\"action\":\"ping\"}}"), "{\"type\":\"pong\"}"),
        (
            format!("{{\"action\":\"setCursor\",\"payload\":{{\"userId\":\"u\",\"position\":{deep}}}}}"),
            "memory of 2000000",
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(in_words(&acts_of(&mut *session(), Frame::text(message), 0)), expected);
    }
}

/// Answers that are two messages are told in their order, and nothing else is.
#[test]
fn only_answers_of_two_messages_are_the_sessions_own() {
    let reply = |method, echo: &'static str, answer| {
        Event::Tables(News::Reply(Arc::new(Reply { method, echo: echo.into(), answer })))
    };
    let missing = Answer::Failed { error: "e".into(), code: Some("TABLE_NOT_FOUND"), table: None, data: None };
    let cases = [
        (reply("getSchema", "", Answer::Schema("{}".into())), 2),
        (reply("executeSQL", "", missing.clone()), 2),
        (reply("executeSQL", "\"updateId\":\"u\"", missing.clone()), 2),
        (reply("executeSQL", "\"requestId\":\"r\"", missing.clone()), 0),
        (reply("executeSQL", "\"id\":\"r\"", missing), 0),
        (reply("executeSQL", "", Answer::failed("e")), 0),
        (reply("createTask", "", Answer::Done { data: None, message: None }), 0),
    ];
    for (event, own) in cases {
        let frames = match session().tell(&event) {
            Told::Own(frames) => frames.len(),
            Told::InCommon => 0,
        };
        assert_eq!(frames, own, "{event:?}");
    }
}
