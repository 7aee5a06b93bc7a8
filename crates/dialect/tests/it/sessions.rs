//! sessions: every transcript of its folder, its bounds, its farewells, and what it makes of mutilated messages.

use crate::transcript::play;
use bytes::Bytes;
use dialect::{Act, Entry, Frame, SESSIONS, Session, Told};
use document::MessageLimits;
use room::{Access, Closing, Denied, Event, Input, MemberId, Person, Shown, Topic};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DOCUMENT: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 2, b'h', b'i', 0];
const NOTHING: &[u8] = &[0, 0];
const SECOND_MS: u64 = 1_000;

fn transcripts() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sessions");
    let paths =
        std::fs::read_dir(folder).expect("the folder of transcripts").map(|entry| entry.expect("a file").path());
    paths.map(|path| (path.clone(), std::fs::read_to_string(path).expect("text"))).collect()
}

#[test]
fn every_transcript_plays_as_written() {
    let (transcripts, mut wrong) = (transcripts(), Vec::new());
    for (path, transcript) in &transcripts {
        if let Err(error) = play(transcript, SESSIONS, SESSIONS) {
            wrong.push(format!("{}, {error}", path.file_name().unwrap_or_default().display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(transcripts.len() >= 15, "only {} transcripts", transcripts.len());
}

fn session_of(now_ms: u64, chance: u128) -> Box<dyn Session> {
    let (limits, user) = (MessageLimits::default(), "ann".into());
    SESSIONS.session(&Entry {
        member: MemberId(7),
        limits: &limits,
        user: &user,
        name: "Ann",
        room: "r\"",
        presence_id: None,
        updates_per_s: None,
        may_read: true,
        since_ms: None,
        now_ms,
        chance,
    })
}

/// A session that has been told everything that a newcomer is told.
fn session() -> Box<dyn Session> {
    let mut session = session_of(0, 0);
    session.tell(&welcome());
    session.tell(&Event::Presence([].into()));
    session.tell(&Event::Missing(NOTHING.into()));
    session
}

fn welcome() -> Event {
    let bob = Arc::new(Person { id: "bob".into(), name: "Bob".into() });
    Event::Welcome { id: 17, people: [bob].into() }
}

fn text(text: impl Into<String>) -> Frame {
    Frame::text(text)
}

fn acts_of(session: &mut dyn Session, frame: Frame, now_ms: u64) -> Vec<Act> {
    let mut acts = Vec::new();
    session.receive(frame, now_ms, &mut acts);
    acts
}

/// What a frame comes to: the code of an error, how the session ends, or what the room is told.
fn outcome(frame: Frame) -> String {
    in_words(&acts_of(&mut *session(), frame, 0))
}

fn in_words(acts: &[Act]) -> String {
    acts.iter().map(act_in_words).collect::<Vec<_>>().join("; ")
}

fn act_in_words(act: &Act) -> String {
    match act {
        Act::Reply(Frame::Text(text)) => {
            let text = String::from_utf8_lossy(text);
            let error =
                text.strip_prefix("{\"type\":\"error\",\"type_code\":99,\"error\":{\"code\":\"").expect("an error");
            let (code, rest) = error.split_once('"').expect("the end of the code");
            let resync = if rest.ends_with(",\"resync\":true}}") { " and resync" } else { "" };
            format!("{code}{resync}")
        }
        Act::End(closing) => {
            let farewell = SESSIONS.farewell(closing);
            format!("end {} {}", farewell.code.unwrap_or_default(), farewell.reason)
        }
        Act::Room(Input::Update { update, .. }) => format!("update of {}", update.bytes().len()),
        Act::Room(Input::Present(_, state)) => format!("state of {}", state.as_ref().map_or(0, Bytes::len)),
        Act::Room(Input::Relay { payload, .. }) => format!("relay of {}", payload.len()),
        Act::Room(Input::SyncInOne(..)) => "sync".to_owned(),
        Act::Room(Input::QueryAwareness { .. }) => "query".to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_too_large_is_refused_at_exactly_its_bound() {
    let application = |bytes: usize| text(format!("{{\"type\":\"a\",\"b\":\"{}\"}}", "x".repeat(bytes - 19)));
    // The server adds the user.
    let added = "{\"user\":{\"id\":\"ann\",\"name\":\"Ann\"},\"a\":\"\"}".len();
    let state = |bytes: usize| {
        text(format!("{{\"type\":\"awareness\",\"state\":{{\"a\":\"{}\"}}}}", "x".repeat(bytes - added)))
    };
    let nested = |depth: usize| {
        text(format!("{{\"type\":\"awareness\",\"state\":{{\"a\":{}{}}}}}", "[".repeat(depth), "]".repeat(depth)))
    };
    let cases = [
        (application(64 << 10), "relay of 65536"),
        (application((64 << 10) + 1), "MESSAGE_TOO_LARGE"),
        (application(1 << 20), "MESSAGE_TOO_LARGE"),
        (application((1 << 20) + 1), "end 1009 text frame larger than 1048576 bytes"),
        (state(16 << 10), "state of 16384"),
        (state((16 << 10) + 1), "STATE_TOO_LARGE"),
        (nested(10), "state of 59"),
        (nested(5_000), "INVALID_AWARENESS"),
        (Frame::Binary(vec![0; 16 << 20].into()), "INVALID_UPDATE"),
        (Frame::Binary(vec![0; (16 << 20) + 1].into()), "end 1009 binary frame larger than 16777216 bytes"),
    ];
    for (frame, expected) in cases {
        let bytes = frame.payload().len();
        assert_eq!(outcome(frame), expected, "{bytes} bytes");
    }
}

#[test]
fn a_refused_change_asks_for_a_resync_and_ten_refusals_in_ten_seconds_end_it() {
    let refused = |session: &mut dyn Session, frame, now_ms| {
        let mut acts = Vec::new();
        session.receive_too_much(frame, now_ms, &mut acts);
        in_words(&acts)
    };
    let cases = [
        (Frame::Binary(DOCUMENT.into()), "RATE_LIMITED and resync"),
        (text("{\"type\":1,\"payload\":\"AAA=\"}"), "RATE_LIMITED and resync"),
        (text("{\"type\":0,\"payload\":\"AA==\"}"), "RATE_LIMITED"),
        (text("{\"type\":\"awareness\"}"), "RATE_LIMITED"),
        (text("no JSON"), "RATE_LIMITED"),
        (text("x".repeat((1 << 20) + 1)), "end 1009 text frame larger than 1048576 bytes"),
    ];
    for (frame, expected) in cases {
        let said = format!("{:.40}", String::from_utf8_lossy(frame.payload()));
        assert_eq!(refused(&mut *session(), frame, 0), expected, "{said}");
    }
    let frame = || text("{\"type\":3}");
    let mut hasty = session();
    for refusal in 0..9 {
        assert_eq!(refused(&mut *hasty, frame(), refusal * SECOND_MS), "RATE_LIMITED");
    }
    assert_eq!(refused(&mut *hasty, frame(), 9_999), "RATE_LIMITED; end 1008 too many messages");
    let mut slower = session();
    for refusal in 0..20 {
        assert_eq!(refused(&mut *slower, frame(), refusal * 1_200), "RATE_LIMITED", "{refusal}");
    }
    assert_eq!(refused(&mut *slower, frame(), 24_000), "RATE_LIMITED; end 1008 too many errors");
}

/// What a session says of an event.
fn told(session: &mut dyn Session, event: &Event) -> Vec<String> {
    let frames = match session.tell(event) {
        Told::Own(frames) => frames,
        Told::InCommon => SESSIONS.encode(event).into_iter().collect(),
    };
    frames.iter().map(|frame| format!("{:.40}", String::from_utf8_lossy(frame.payload()))).collect()
}

#[test]
fn what_comes_early_waits_until_the_document_is_told() {
    let error = "{\"type\":\"error\",\"type_code\":99,\"error\":{\"";
    for (document, first) in [(DOCUMENT, Some(String::from_utf8_lossy(DOCUMENT))), (NOTHING, None)] {
        let mut session = session_of(0, 0);
        // A client need not wait for the handshake, and a room may keep the document back until it is on the disk.
        assert_eq!(in_words(&acts_of(&mut *session, text("x"), 0)), "");
        assert_eq!(told(&mut *session, &welcome()), [""; 0]);
        assert_eq!(
            told(&mut *session, &Event::Presence([].into())),
            ["{\"type\":\"initial_state\",\"session\":{\"id\":"]
        );
        assert_eq!(told(&mut *session, &Event::Denied(Denied::ReadOnly)), [""; 0]);
        assert_eq!(told(&mut *session, &Event::Presence([].into())), [""; 0]);
        let all = told(&mut *session, &Event::Missing(document.into()));
        let later = [&error[..40], &error[..40], "{\"type\":\"awareness\",\"type_code\":2,\"aware"];
        let expected: Vec<_> = first.as_deref().into_iter().chain(later).collect();
        assert_eq!(all, expected);
        assert_eq!(in_words(&acts_of(&mut *session, text("x"), 0)), "INVALID_JSON");
        assert_eq!(told(&mut *session, &Event::Missing(NOTHING.into())), ["{\"type\":1,\"payload\":\"AAA=\"}"]);
    }
}

#[test]
fn sessions_have_names_of_their_own_and_the_time_of_their_beginning() {
    let start = |now_ms, chance| {
        let mut session = session_of(now_ms, chance);
        session.tell(&welcome());
        let Told::Own(frames) = session.tell(&Event::Presence([].into())) else { panic!("its own") };
        String::from_utf8_lossy(frames[0].payload()).into_owned()
    };
    let (session, users) =
        ("{\"type\":\"initial_state\",\"session\":{\"id\":\"", "\"users\":[{\"id\":\"bob\",\"name\":\"Bob\"}]");
    let text = start(1_763_924_400_000, 1);
    let rest = format!(
        "\",\"document_id\":\"r\\\"\",\"user_id\":\"ann\",\"user_name\":\"Ann\",\"client_id\":17,\
         \"connected_at\":\"2025-11-23T19:00:00Z\"}},{users},\"awareness\":{{}}}}"
    );
    let id = text.strip_prefix(session).and_then(|text| text.strip_suffix(&rest)).unwrap_or_else(|| panic!("{text}"));
    assert!(id.len() == 27 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert_ne!(text, start(1_763_924_400_000, 2));
}

#[test]
fn only_its_own_events_are_spoken_of() {
    let person = Arc::new(Person { id: "b\"".into(), name: "B\n".into() });
    let state = Shown { id: 7, state: Some(Bytes::from_static(b"{}")), by_guest: false };
    let cases = [
        (Event::StateVector(Bytes::from_static(&[1, 1, 2])), Some(text("{\"type\":0,\"payload\":\"AQEC\"}"))),
        (Event::Update(DOCUMENT.into()), Some(Frame::Binary(DOCUMENT.into()))),
        (Event::Base(DOCUMENT.into()), Some(Frame::Binary(DOCUMENT.into()))),
        (
            Event::Arrived(person.clone()),
            Some(text(r#"{"type":"join","type_code":10,"user":{"id":"b\"","name":"B\n"}}"#)),
        ),
        (Event::Departed(person), Some(text(r#"{"type":"leave","type_code":11,"user":{"id":"b\"","name":"B\n"}}"#))),
        (
            Event::Presence([state].into()),
            Some(text(r#"{"type":"awareness","type_code":2,"awareness":{"7":{"client_id":7,"state":{}}}}"#)),
        ),
        (Event::Relayed(Topic("sessions"), Bytes::from_static(b"{}")), Some(text("{}"))),
        (Event::Relayed(Topic("others"), Bytes::from_static(b"{}")), None),
        (Event::Saved { update: Some(DOCUMENT.into()) }, None),
        (Event::Awareness(Bytes::from_static(&[0])), None),
        (Event::Marked(Bytes::new()), None),
        (Event::Durable(1), None),
        (welcome(), None),
    ];
    for (event, expected) in cases {
        assert_eq!(SESSIONS.encode(&event), expected, "{event:?}");
    }
}

#[test]
fn farewells_and_refusals_are_the_table_of_the_page() {
    let (unauthorized, forbidden) = ((401, "{\"error\":\"unauthorized\"}"), (403, "{\"error\":\"forbidden\"}"));
    let missing = (404, "{\"error\":\"not_found\"}");
    let table = [
        (Closing::Malformed, 1008, "malformed message", None),
        (Closing::Beyond("document larger than 9 bytes".into()), 1009, "document larger than 9 bytes", None),
        (Closing::StorageFailed, 1011, "storage failed; unsaved edits stay in your editor", None),
        (Closing::ShuttingDown, 1001, "server shutting down", None),
        (Closing::SlowConsumer, 1013, "slow consumer", None),
        (Closing::Protocol(1002, "bad opcode".into()), 1002, "bad opcode", None),
        (Closing::Silent, 1001, "no answer to ping", None),
        (Closing::Unauthorized, 4401, "unauthorized", Some(unauthorized)),
        (Closing::Outdated, 4401, "token expired", Some(unauthorized)),
        (Closing::Forbidden, 4403, "forbidden", Some(forbidden)),
        (Closing::NotFound, 4404, "document not found", Some(missing)),
        (Closing::TokenExpired, 1008, "token expired", None),
        (Closing::Revoked, 4403, "access revoked", Some(forbidden)),
        (Closing::Removed { come_back: false }, 4403, "disconnected by an administrator", Some(forbidden)),
        (Closing::Removed { come_back: true }, 4500, "disconnected by an administrator, reconnect", Some(forbidden)),
        (Closing::Deleted, 4404, "document deleted", Some(missing)),
        (Closing::Incomplete("user"), 1008, "the request lacks something", None),
        (Closing::Abusive("too many errors"), 1008, "too many errors", None),
        (Closing::Inactive, 1013, "inactive", None),
        (Closing::Left, 1000, "", None),
        (Closing::Unconfirmed, 1013, "access cannot be checked, try again later", None),
        (Closing::Internal, 1011, "internal error", None),
    ];
    let page = include_str!("../../../../docs/protocols/sessions.md");
    for (closing, code, reason, refusal) in table {
        let farewell = SESSIONS.farewell(&closing);
        let told = (farewell.message, farewell.delay_ms, farewell.code, farewell.reason.as_str());
        assert_eq!(told, (None, 0, Some(code), reason), "{closing:?}");
        assert!(page.contains(&format!("| {code} |")), "{code} is not in the page");
        let refused = SESSIONS.refusal(&closing).map(|refused| {
            assert!(refused.is_json, "{closing:?}");
            (refused.status, refused.body)
        });
        assert_eq!(refused, refusal.map(|(status, body)| (status, body.to_owned())), "{closing:?}");
    }
}

/// The text that a line of a transcript sends.
fn text_of(line: &str) -> Option<&str> {
    line.split(" #").next()?.trim_end().get(1..)?.strip_prefix("> '")?.strip_suffix('\'')
}

/// Cuts and changes every message that the transcripts have, and looks at what is left of the promises.
#[test]
fn mutilated_messages_are_answered_relayed_or_refused_and_never_more() {
    let mut frames = 0;
    let transcripts = transcripts();
    let lines = transcripts.iter().flat_map(|(_, transcript)| transcript.lines());
    let mut sent: Vec<&str> = lines.filter_map(text_of).collect();
    sent.extend([
        r#"{"type":"awareness","user":{"name":"\u00e9"},"cursor":{"line":1,"column":2},"state":{"user":[1,{}]}}"#,
    ]);
    sent.sort_unstable();
    sent.dedup();
    for text in sent {
        let cuts = (0..=text.len()).map(|end| text.as_bytes()[..end].to_vec());
        let changes = (0..text.len()).flat_map(|at| {
            b"\"\\{}[],:0x- \x00\xff".iter().map(move |&byte| {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = byte;
                bytes
            })
        });
        for bytes in cuts.chain(changes) {
            let said = String::from_utf8_lossy(&bytes).into_owned();
            let acts = acts_of(&mut *session(), Frame::Text(bytes.into()), 0);
            assert!(acts.len() <= 1, "{said}: {acts:?}");
            match acts.first() {
                Some(Act::Room(Input::Present(_, Some(state)))) => {
                    let state = String::from_utf8_lossy(state);
                    assert!(state.starts_with("{\"user\":{\"id\":\"ann\",\"name\":\""), "{said}: {state}");
                    assert!(document::is_json_object_or_null(state.as_bytes()), "{said}: {state}");
                }
                Some(Act::Room(Input::Relay { payload, .. })) => {
                    assert_eq!(String::from_utf8_lossy(payload), said);
                    let reserved = ["\"join\"", "\"leave\"", "\"initial_state\"", "\"error\"", "\"awareness\""];
                    assert!(!reserved.iter().any(|word| said.contains(&format!("\"type\":{word}"))), "{said}");
                }
                _ => {}
            }
            frames += 1;
        }
    }
    assert!(frames > 10_000, "only {frames} frames");
}

#[test]
fn opening_asks_for_everything_a_newcomer_is_told() {
    let mut acts = Vec::new();
    session_of(0, (5 << 64) | 3).open(Access::Read, &mut acts);
    match &acts[..] {
        [
            Act::Room(Input::Adopt(MemberId(7), manner)),
            Act::Room(Input::Introduce { member: MemberId(7), person, id: None, chance: 3 }),
            Act::Room(Input::QueryAwareness { member: MemberId(7), always: true }),
            Act::Room(Input::SyncInOne(MemberId(7), known)),
        ] => {
            assert!(manner.each_denial && manner.relay_denial && known.entries().is_empty());
            assert_eq!((&*person.id, &*person.name), ("ann", "Ann"));
        }
        other => panic!("{other:?}"),
    }
}
