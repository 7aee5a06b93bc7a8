//! notes: every transcript of its folder, its bounds, its farewells, what HTTP requests are answered, and what it makes of mutilated messages.

mod http;

use crate::transcript::{play, session_in};
use bytes::Bytes;
use dialect::{Act, Dialect, Expiry, Frame, NOTES, Session};
use room::notebook::{Entry, Mark, News, Note, Reason, Refusal, Request};
use room::{
    Access, Closing, Denied, Effect, Event, Input, Kind, Limits, MemberId, Notebook, Person, Rules, Stored, Topic,
};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NOW_MS: u64 = 1_737_124_059_502;
const MEMBER: MemberId = MemberId(7);

fn transcripts() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/notes");
    let paths =
        std::fs::read_dir(folder).expect("the folder of transcripts").map(|entry| entry.expect("a file").path());
    paths.map(|path| (path.clone(), std::fs::read_to_string(path).expect("text"))).collect()
}

#[test]
fn every_transcript_plays_as_written() {
    let (transcripts, mut wrong) = (transcripts(), Vec::new());
    for (path, transcript) in &transcripts {
        if let Err(error) = play(transcript, NOTES, NOTES) {
            wrong.push(format!("{}, {error}", path.file_name().unwrap_or_default().display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(transcripts.len() >= 11, "only {} transcripts", transcripts.len());
}

/// Why the client would drop a message without a word. None: it takes it.
fn dropped(message: &[u8]) -> Option<String> {
    let Ok(message) = serde_json::from_slice::<Value>(message) else { return Some("not JSON".to_owned()) };
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let payload = &message["payload"];
    let is_good = match message["type"].as_str().unwrap_or_default() {
        "note_updated" => payload["note"].is_object() && payload["note"]["id"].is_string() && text(&payload["userId"]),
        "note_deleted" => text(&payload["noteId"]) && text(&payload["userId"]),
        "sync_required" => text(&payload["reason"]),
        "error" => text(&payload["code"]) && text(&payload["message"]),
        "pong" => payload["timestamp"].is_number(),
        _ => false,
    };
    let is_good = is_good && payload.is_object() && text(&message["timestamp"]);
    (!is_good).then(|| message.to_string())
}

pub(crate) fn note() -> Arc<Note> {
    Arc::new(Note {
        id: "n\"1".into(),
        writer: "ann \"\u{1f600}\"".into(),
        title: "t".into(),
        created_ms: -1,
        updated_ms: NOW_MS as i64,
        accepted_ms: NOW_MS + 1,
        version: 3,
        likeness: 0,
        members: Bytes::from_static(br#""id":"n\"1","title":"T","x":"\ud800""#),
    })
}

pub(crate) fn mark(note: Option<Arc<Note>>) -> Arc<Mark> {
    let (id, by) = ("n\"1".into(), "bob".into());
    Arc::new(Mark { id, by, deleted_ms: NOW_MS as i64 + 5, accepted_ms: NOW_MS, note, version: 3 })
}

fn encoded(news: News) -> Option<String> {
    let frame = NOTES.encode(&Event::Notes(news))?;
    assert!(matches!(frame, Frame::Text(_)));
    Some(String::from_utf8(frame.payload().to_vec()).expect("UTF-8"))
}

#[test]
fn every_message_passes_the_checks_of_the_client() {
    let reasons =
        [Reason::InitialSync, Reason::TooManyChanges, Reason::ServerUpdate, Reason::MissedMessages].map(|reason| {
            (News::Resync { reason, now_ms: NOW_MS }, r#"{"type":"sync_required","payload":{"reason":"#.to_owned())
        });
    let refused = |why, was_delete| News::Refused { id: "n\"1".into(), was_delete, why, now_ms: NOW_MS };
    let others = [
        (
            News::Updated(note()),
            r#"{"type":"note_updated","payload":{"note":{"id":"n\"1","title":"T","x":"\ud800","createdAt":"1969-12-31T23:59:59.999Z","updatedAt":"2025-01-17T14:27:39.502Z","remoteVersion":3},"userId":"ann \"😀\""},"timestamp":"2025-01-17T14:27:39.503Z"}"#,
        ),
        (
            News::Deleted(mark(None)),
            r#"{"type":"note_deleted","payload":{"noteId":"n\"1","userId":"bob"},"timestamp":"2025-01-17T14:27:39.502Z"}"#,
        ),
        (
            refused(Refusal::ReadOnly, true),
            r#"{"type":"error","payload":{"code":"FORBIDDEN","message":"you may only read these notes; nothing was changed","messageType":"note_delete","noteId":"n\"1"},"timestamp":"2025-01-17T14:27:39.502Z"}"#,
        ),
        (
            refused(Refusal::Limit("too \"many\"".to_owned()), false),
            r#"{"type":"error","payload":{"code":"LIMIT_EXCEEDED","message":"too \"many\"","messageType":"note_update","noteId":"n\"1"},"timestamp":"2025-01-17T14:27:39.502Z"}"#,
        ),
    ];
    for (news, expected) in reasons.into_iter().chain(others.map(|(news, expected)| (news, expected.to_owned()))) {
        let message = encoded(news).expect("it is spoken of");
        assert!(message.starts_with(&expected), "{message}");
        // This reader knows no half of a surrogate pair; browsers do.
        let message = message.replace("\\ud800", "");
        assert_eq!(dropped(message.as_bytes()), None);
    }
    let farewell = NOTES.farewell(&Closing::StorageFailed);
    let message = farewell.message.expect("it is told that the note is not stored");
    assert_eq!(dropped(message.payload()), None);
    assert!(String::from_utf8_lossy(message.payload()).contains("\"INTERNAL_ERROR\""));
}

#[test]
fn what_is_not_of_notes_is_not_spoken_of() {
    let person = Arc::new(Person { id: "a".into(), name: "A".into() });
    let events = [
        Event::StateVector(Bytes::new()),
        Event::Base(Bytes::new()),
        Event::Missing(Bytes::new()),
        Event::Update(Bytes::new()),
        Event::Saved { update: None },
        Event::Durable(1),
        Event::Awareness(Bytes::new()),
        Event::Presence([].into()),
        Event::Welcome { id: 1, people: [].into() },
        Event::Arrived(person.clone()),
        Event::Departed(person),
        Event::Relayed(Topic("sessions"), Bytes::new()),
        Event::Marked(Bytes::new()),
        Event::Denied(Denied::ReadOnly),
        Event::Notes(News::Stored(note())),
        Event::Notes(News::Erased(mark(None))),
        Event::Notes(News::Conflict(Entry::Live(note()))),
        Event::Notes(News::Found(Entry::Live(note()))),
        Event::Notes(News::NotFound("n".into())),
        Event::Notes(News::Page { entries: [].into(), total: 0, page: 1, limit: 1 }),
        Event::Notes(News::Changes { notes: [].into(), marks: [].into(), now_ms: 1 }),
    ];
    for event in &events {
        assert_eq!(NOTES.encode(event), None, "{event:?}");
    }
    let spoken: Vec<&dyn Dialect> = dialect::ALL
        .into_iter()
        .filter(|dialect| dialect.encode(&Event::Notes(News::Updated(note()))).is_some())
        .collect();
    assert_eq!(spoken.iter().map(|dialect| dialect.name()).collect::<Vec<_>>(), ["notes"]);
}

#[test]
fn farewells_and_refusals_are_those_of_the_page() {
    let said = |closing| {
        let farewell = NOTES.farewell(&closing);
        (farewell.code.expect("a code"), farewell.reason, farewell.message.is_some())
    };
    let words = |code, reason: &str, told| (code, reason.to_owned(), told);
    assert_eq!(said(Closing::ShuttingDown), words(1001, "server shutting down", false));
    assert_eq!(said(Closing::Beyond("much".into())), words(1009, "much", false));
    assert_eq!(said(Closing::Abusive("too many messages")), words(1008, "too many messages", false));
    assert_eq!(said(Closing::SlowConsumer), words(1013, "slow consumer", false));
    assert_eq!(said(Closing::StorageFailed), words(1011, "storage failed; unsaved edits stay in your editor", true));
    let refused = |closing| {
        let refusal = NOTES.refusal(&closing)?;
        let body: Value = serde_json::from_str(&refusal.body).expect("JSON");
        assert!(refusal.is_json && body["error"]["message"].is_string());
        Some((refusal.status, body["error"]["code"].as_str().expect("a code").to_owned()))
    };
    let word = |status, code: &str| Some((status, code.to_owned()));
    assert_eq!(refused(Closing::Unauthorized), word(401, "INVALID_TOKEN"));
    assert_eq!(refused(Closing::Outdated), word(401, "INVALID_TOKEN"));
    assert_eq!(refused(Closing::Forbidden), word(403, "FORBIDDEN"));
    assert_eq!(refused(Closing::Deleted), word(404, "NOT_FOUND"));
    assert_eq!(refused(Closing::ShuttingDown), None);
    assert_eq!((NOTES.expiry(), NOTES.behind_max(), NOTES.loses_place_behind()), (Expiry::Stays, None, Some(1_024)));
}

fn acts_of(session: &mut dyn Session, frame: Frame, now_ms: u64) -> Vec<Act> {
    let mut acts = Vec::new();
    session.receive(frame, now_ms, &mut acts);
    acts
}

fn update(id: &str, more: &str) -> Frame {
    let note = format!(
        r#"{{"id":"{id}","title":"t","content":"c","tags":[],"createdAt":"2025-01-17T14:00:00Z","updatedAt":"2025-01-17T14:00:00Z"{more}}}"#
    );
    Frame::text(format!(r#"{{"type":"note_update","payload":{{"note":{note}}},"timestamp":"2025-01-17T14:00:00Z"}}"#))
}

fn ping() -> Frame {
    Frame::text(r#"{"type":"ping","payload":{"timestamp":1},"timestamp":"2025-01-17T14:00:00Z"}"#)
}

/// What becomes of a message.
fn outcome(acts: &[Act]) -> String {
    let words = acts.iter().map(|act| match act {
        Act::Room(Input::Notes(MEMBER, Request::Put { .. })) => "put".to_owned(),
        Act::Reply(frame) => {
            let message: Value = serde_json::from_slice(frame.payload()).expect("JSON");
            let (kind, code) = (message["type"].as_str(), message["payload"]["code"].as_str());
            code.or(kind).expect("a type").to_owned()
        }
        Act::End(Closing::Abusive(reason)) => format!("end: {reason}"),
        Act::End(Closing::Beyond(reason)) => format!("beyond: {reason}"),
        other => format!("{other:?}"),
    });
    words.collect::<Vec<_>>().join("; ")
}

#[test]
fn a_connection_sends_50_a_second_and_100_at_once_and_pings_are_not_counted() {
    let mut session = session_in(NOTES);
    let mut send = |frame, now_ms| outcome(&acts_of(&mut *session, frame, now_ms));
    for _ in 0..100 {
        assert_eq!(send(update("n", ""), NOW_MS), "put");
        assert_eq!(send(ping(), NOW_MS), "pong");
    }
    for _ in 0..200 {
        assert_eq!(send(ping(), NOW_MS), "pong");
    }
    assert_eq!(send(update("n", ""), NOW_MS), "RATE_LIMIT_EXCEEDED");
    assert_eq!(send(Frame::text("x"), NOW_MS), "RATE_LIMIT_EXCEEDED");
    // A clock that is put back earns nothing, and takes nothing away.
    assert_eq!(send(update("n", ""), NOW_MS - 60_000), "RATE_LIMIT_EXCEEDED");
    assert_eq!(send(update("n", ""), NOW_MS + 19), "RATE_LIMIT_EXCEEDED");
    assert_eq!(send(update("n", ""), NOW_MS + 20), "put");
    let mut put = 0;
    for step in 1..=1_000 {
        put += u32::from(send(update("n", ""), NOW_MS + 20 + 20 * step) == "put");
    }
    assert_eq!(put, 1_000);
}

#[test]
fn who_is_refused_100_times_in_a_minute_goes() {
    let mut session = session_in(NOTES);
    let mut send = |now_ms| outcome(&acts_of(&mut *session, update("n", ""), now_ms));
    (0..100).for_each(|_| assert_eq!(send(NOW_MS), "put"));
    (0..99).for_each(|_| assert_eq!(send(NOW_MS), "RATE_LIMIT_EXCEEDED"));
    // A minute later those do not count any more.
    (0..100).for_each(|_| assert_eq!(send(NOW_MS + 60_000), "put"));
    (0..99).for_each(|_| assert_eq!(send(NOW_MS + 60_000), "RATE_LIMIT_EXCEEDED"));
    assert_eq!(send(NOW_MS + 60_000), "RATE_LIMIT_EXCEEDED; end: too many messages");
}

#[test]
fn a_message_has_16_mib_at_most_and_a_note_in_it_12() {
    let mut session = session_in(NOTES);
    let mut send = |frame| outcome(&acts_of(&mut *session, frame, NOW_MS));
    let padded = |bytes: usize| Frame::text(format!("{{{}}}", " ".repeat(bytes - 2)));
    assert_eq!(send(padded(16 << 20)), "INVALID_MESSAGE");
    assert_eq!(send(padded((16 << 20) + 1)), "beyond: a message may have 16777216 bytes; send less");
    let long = |bytes: usize| update("n", &format!(",\"x\":\"{}\"", "x".repeat(bytes)));
    assert_eq!(send(long((12 << 20) - 200)), "put");
    assert_eq!(send(long(12 << 20)), "INVALID_NOTE");
}

/// A notebook, a session of this dialect, and what it is sent.
struct Desk {
    notebook: Notebook,
    session: Box<dyn Session>,
}

impl Desk {
    fn new() -> Self {
        let mut notebook = Notebook::load(&Stored::default(), Limits::default()).expect("an empty notebook");
        let join = Input::Join {
            member: MEMBER,
            kind: Kind::Client,
            access: Access::Write,
            author: "ann".into(),
            trusts_all: false,
        };
        notebook.handle(join, NOW_MS, &mut Vec::new());
        Self { notebook, session: session_in(NOTES) }
    }

    fn receive(&mut self, frame: Frame, now_ms: u64) -> Vec<Bytes> {
        let acts = acts_of(&mut *self.session, frame, now_ms);
        self.act(acts, now_ms)
    }

    fn act(&mut self, acts: Vec<Act>, now_ms: u64) -> Vec<Bytes> {
        let mut messages = Vec::new();
        for act in acts {
            match act {
                Act::Room(input) => {
                    let mut effects = Vec::new();
                    self.notebook.handle(input, now_ms, &mut effects);
                    for effect in effects {
                        let (Effect::Publish { event, .. } | Effect::Send(_, event)) = effect else { continue };
                        messages.extend(NOTES.encode(&event).map(|frame| frame.payload().clone()));
                    }
                }
                Act::Reply(frame) => messages.push(frame.payload().clone()),
                Act::End(_) | Act::Renew(_) | Act::Unknown(_) => {}
            }
        }
        messages
    }

    fn open(&mut self) -> Vec<Value> {
        let (mut session, mut acts) = (session_in(NOTES), Vec::new());
        session.open(Access::Write, &mut acts);
        let messages = self.act(acts, NOW_MS);
        messages.iter().map(|message| serde_json::from_slice(message).expect("JSON")).collect()
    }

    fn ask(&mut self, request: Request) -> News {
        let mut effects = Vec::new();
        self.notebook.handle(Input::Notes(MEMBER, request), NOW_MS, &mut effects);
        match effects.remove(0) {
            Effect::Send(MEMBER, Event::Notes(news)) => news,
            other => panic!("no answer: {other:?}"),
        }
    }
}

#[test]
fn a_replay_has_the_same_set_as_the_changes_over_http_and_1_001_notes_are_too_many() {
    let mut desk = Desk::new();
    let mut now_ms = NOW_MS;
    for number in 0..1_000 {
        now_ms += 20;
        desk.receive(update(&format!("n{number}"), ",\"y\":[1, 2]"), now_ms);
    }
    for number in 0..10 {
        now_ms += 20;
        let delete = format!(r#"{{"type":"note_delete","payload":{{"noteId":"n{number}"}},"timestamp":""}}"#);
        desk.receive(Frame::text(delete), now_ms);
    }
    let replay = desk.open();
    assert_eq!(replay[0]["payload"]["reason"], "initial_sync");
    let of_kind = |kind: &str| replay.iter().filter(|message| message["type"] == kind).collect::<Vec<_>>();
    let changes =
        dialect::notes::http::answer(dialect::notes::http::Call::Other, &desk.ask(Request::Changes { since_ms: None }));
    let changes: Value = serde_json::from_str(&changes.expect("an answer").body).expect("JSON");
    let mut fetched = changes["notes"].as_array().expect("notes").clone();
    for note in &mut fetched {
        assert!(note.as_object_mut().expect("a note").remove("deletedAt").expect("it is said").is_null());
    }
    let replayed: Vec<Value> =
        of_kind("note_updated").iter().map(|message| message["payload"]["note"].clone()).collect();
    assert_eq!((replayed.len(), &replayed), (990, &fetched));
    let deleted: Vec<&Value> =
        changes["deleted"].as_array().expect("marks").iter().map(|mark| &mark["noteId"]).collect();
    let told: Vec<&Value> = of_kind("note_deleted").iter().map(|message| &message["payload"]["noteId"]).collect();
    assert_eq!((deleted.len(), deleted), (10, told));
    for number in 1_000..1_010 {
        now_ms += 20;
        desk.receive(update(&format!("n{number}"), ""), now_ms);
    }
    assert_eq!(desk.open().len(), 1 + 1_000 + 10);
    desk.receive(update("one more", ""), now_ms + 20);
    let replay = desk.open();
    assert_eq!((replay.len(), &replay[0]["payload"]["reason"]), (1, &Value::from("too_many_changes")));
}

/// Whatever a client sends, it is answered by messages that it takes, or not at all, and the notebook can be read again.
#[test]
fn mutilated_messages_do_no_harm() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for (_, transcript) in transcripts() {
        let sent = transcript.lines().filter_map(|line| line.split_once("> '")?.1.strip_suffix('\''));
        messages.extend(sent.map(|message| message.as_bytes().to_vec()));
    }
    assert!(messages.len() > 40, "{}", messages.len());
    let pieces = ["\\ud800", "\"", "{", "}", "[", "]", ",", ":", "null", "1e999", "\\", "\u{0}", "é", "-", "note", "T"];
    let (mut desk, mut now_ms, mut taken, mut answered) = (Desk::new(), NOW_MS, 0, 0);
    for round in 0..20_000 {
        let mut message = random.choice(&messages).expect("messages").clone();
        for _ in 0..random.usize(..3) {
            let place = random.usize(..=message.len());
            let end = (place + random.usize(..8)).min(message.len());
            let piece = match random.u8(..4) {
                0 => random.choice(&messages).expect("messages").clone(),
                1 => vec![random.u8(..); random.usize(..4)],
                _ => random.choice(pieces).expect("pieces").as_bytes().to_vec(),
            };
            message.splice(place..end, piece);
        }
        now_ms += 20;
        let what = format!("seed {seed}, round {round}: {}", String::from_utf8_lossy(&message));
        let before = desk.notebook.head();
        for told in desk.receive(Frame::Text(message.into()), now_ms) {
            answered += 1;
            let text = std::str::from_utf8(&told).unwrap_or_else(|error| panic!("{what}: {error}"));
            // Halves of surrogate pairs are for browsers.
            let text = text.replace("\\ud", "\\u0");
            // What no number of ours holds is infinite in browsers.
            let is_beyond = text.contains('e')
                && serde_json::from_str::<Value>(&text)
                    .is_err_and(|error| error.to_string().contains("number out of range"));
            assert!(is_beyond || dropped(text.as_bytes()).is_none(), "{what}\n{text}");
        }
        taken += desk.notebook.head() - before;
    }
    // Most of them are no longer new when they come again.
    assert!(taken > 5 && answered > 5_000, "seed {seed}: only {taken} were taken and {answered} answered");
    let snapshot = desk.notebook.snapshot();
    let stored = Stored { snapshot: Some(snapshot.clone().into()), ..Stored::default() };
    let again = Notebook::load(&stored, Limits::default()).expect("it reads back");
    assert!(again.snapshot() == snapshot, "seed {seed}");
}
