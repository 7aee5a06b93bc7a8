//! hocuspocus: what its messages mean and how it is told of things, its farewells and refusals, and every transcript and recording of its folders.
//!
//! Transcripts are of one document, so their messages have no address; recordings are of sockets, and the switchboard takes the addresses off.

use crate::transcript::{bytes, hex, play, play_all, session_in};
use bytes::Bytes;
use dialect::{Act, Expiry, Frame, HOCUSPOCUS, Routed, Session, Switchboard, Told};
use room::{Access, Closing, Denied, Event, Input, Manner, MemberId, Topic};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::path::Path;

#[test]
fn every_transcript_plays_as_written() {
    play_all("hocuspocus", 25, &[(HOCUSPOCUS, HOCUSPOCUS)]);
}

#[test]
fn every_recording_is_answered_as_recorded() {
    let recordings = texts("hocuspocus-recorded");
    for (name, recording) in &recordings {
        let transcript = without_addresses(recording).unwrap_or_else(|error| panic!("{name}, {error}"));
        if let Err(error) = play(&transcript, HOCUSPOCUS, HOCUSPOCUS) {
            panic!("{name}, {error}\nof this transcript:\n{transcript}");
        }
    }
    assert!(recordings.len() >= 6, "only {} recordings", recordings.len());
}

#[test]
fn a_recording_that_differs_says_where() {
    let says = |recording: &str| without_addresses(recording).expect_err("it differs");
    assert_eq!(says("1> 03 64 6f 63 00 00 01 00\n1< 01 61 08 01"), "line 2: nobody has the address of 01 61 08 01");
    assert_eq!(says("1> 05 61\n1! 4205 x"), "line 2: it is: 1! 4401 Unauthorized");
    assert_eq!(says("1> 05 61"), "at the end, not listed: 1! 4401 Unauthorized");
}

fn texts(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("a file").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("text"))
    };
    std::fs::read_dir(folder).expect("a folder of transcripts").map(read).collect()
}

/// A recording of sockets as a transcript of documents. One line each, `# meaning` behind it:
///   `1> HEX`           the client of socket 1 sends a message. The token `ro` is for reading, `no` for nothing, any other for everything
///   `1< HEX`           it is sent this next, on that address
///   `1! CODE REASON`   its socket is closed
///   `durable`, and what else a transcript has that is about no client
fn without_addresses(recording: &str) -> Result<String, String> {
    let mut sockets: BTreeMap<char, Socket> = BTreeMap::new();
    let (mut out, mut letters) = (String::new(), 'A'..='Z');
    for (number, line) in (1..).zip(recording.lines()) {
        let action = line.split('#').next().unwrap_or_default().trim();
        let mut characters = action.chars();
        let (who, what) = (characters.next().unwrap_or_default(), characters.next().unwrap_or_default());
        if !who.is_ascii_digit() {
            writeln!(out, "{action}").expect("a string");
            continue;
        }
        let (socket, rest) = (sockets.entry(who).or_default(), characters.as_str().trim());
        let done = match what {
            '>' => bytes(rest).and_then(|frame| socket.hear(who, &frame.into(), &mut letters, &mut out)),
            '<' | '!' => socket.expect(action, &mut out),
            _ => Err(format!("cannot read {action:?}")),
        };
        done.map_err(|error| format!("line {number}: {error}"))?;
    }
    match sockets.values().find_map(|socket| socket.said.front()) {
        Some(said) => Err(format!("at the end, not listed: {said}")),
        None => Ok(out),
    }
}

#[derive(Default)]
struct Socket {
    board: Switchboard,
    /// The clients of the transcript, by line.
    documents: BTreeMap<usize, char>,
    /// What the switchboard itself has said, as a recording has it.
    said: VecDeque<String>,
    /// What waited for an acceptance that is not listed yet.
    queued: String,
}

impl Socket {
    fn hear(
        &mut self,
        who: char,
        frame: &Bytes,
        letters: &mut impl Iterator<Item = char>,
        out: &mut String,
    ) -> Result<(), String> {
        match self.board.receive(frame) {
            Routed::Nothing => {}
            Routed::To(line, body) => out.push_str(&self.told(line, &body)),
            Routed::Reply(message) => self.said.push_back(format!("{who}< {}", hex(&message))),
            Routed::Close(code, reason) => self.said.push_back(format!("{who}! {code} {reason}")),
            Routed::Asks { line, token, .. } if token == "no" => {
                for routed in self.board.refuse(line, "permission-denied") {
                    let Routed::Reply(message) = routed else { return Err(format!("{routed:?} after a refusal")) };
                    self.said.push_back(format!("{who}< {}", hex(&message)));
                }
            }
            Routed::Asks { line, document, token } => {
                let letter = letters.next().ok_or("too many documents")?;
                let rights = if token == "ro" { " read" } else { "" };
                self.documents.insert(line, letter);
                writeln!(out, "{letter}+{rights} room={document}").expect("a string");
                for body in self.board.accept(line).ok_or("nobody waits any more")? {
                    self.queued.push_str(&self.told(line, &body));
                }
            }
        }
        Ok(())
    }

    fn told(&self, line: usize, body: &Bytes) -> String {
        format!("{}> {}\n", self.documents[&line], hex(body))
    }

    /// What the switchboard has said must be this; anything else a room has to say, on one of the addresses.
    fn expect(&mut self, listed: &str, out: &mut String) -> Result<(), String> {
        if let Some(said) = self.said.pop_front() {
            return if said == listed { Ok(()) } else { Err(format!("it is: {said}")) };
        }
        let message = listed.get(2..).unwrap_or_default().trim();
        let message = bytes(message)?;
        let of = |line: usize| Some((line, message.strip_prefix(&*self.board.prefix(line))?));
        let found = self.documents.keys().copied().find_map(of);
        let (line, body) = found.ok_or_else(|| format!("nobody has the address of {}", hex(&message)))?;
        let letter = self.documents[&line];
        writeln!(out, "{letter}< {}", hex(body)).expect("a string");
        out.push_str(&std::mem::take(&mut self.queued));
        if let [7, _, reason @ ..] = body {
            writeln!(out, "{letter}! document {}", String::from_utf8_lossy(reason)).expect("a string");
            self.documents.remove(&line);
            self.board.close(line, []);
        }
        Ok(())
    }
}

/// `HEX -> what it means; the next thing  # meaning`
const FRAMES: &str = include_str!("../../testdata/hocuspocus-frames.txt");

fn session() -> Box<dyn Session> {
    session_in(HOCUSPOCUS)
}

fn acts_of(frame: Frame) -> Vec<Act> {
    let mut acts = Vec::new();
    session().receive(frame, 0, &mut acts);
    acts
}

fn received(frame: Frame) -> Vec<String> {
    acts_of(frame).iter().map(act_in_words).collect()
}

fn act_in_words(act: &Act) -> String {
    match act {
        Act::Room(Input::Ask(MemberId(7))) => "ask".into(),
        Act::Room(Input::Sync(MemberId(7), known)) => format!("sync {:?}", known.entries()),
        Act::Room(Input::Update { member: MemberId(7), author: None, is_answer, update }) => {
            format!("{} {}", if *is_answer { "answer" } else { "update" }, hex(update.bytes()))
        }
        Act::Room(Input::Awareness(MemberId(7), bytes)) => format!("awareness {}", hex(bytes)),
        Act::Room(Input::QueryAwareness { member: MemberId(7), always: true }) => "query".into(),
        Act::Room(Input::Relay { member: MemberId(7), topic: Topic("stateless"), payload }) => {
            format!("relay {}", hex(payload)).trim_end().to_owned()
        }
        Act::Room(Input::Malformed(MemberId(7))) => "malformed".into(),
        Act::Room(Input::Beyond(MemberId(7), exceeded)) => format!("beyond: {exceeded}"),
        Act::Reply(Frame::Binary(message)) => format!("reply {}", hex(message)),
        Act::End(closing) => format!("end {closing:?}"),
        Act::Renew(token) => format!("renew {token}").trim_end().to_owned(),
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
    assert!(cases > 50, "only {cases} cases");
}

#[test]
fn no_beginning_of_a_message_is_misread() {
    // An update, a step 1, presence, an application message, a token.
    for whole in [
        "00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00",
        "00 00 03 01 01 02",
        "01 06 01 07 01 02 7b 7d",
        "05 03 e6 97 a5",
        "02 00 03 74 6f 6b",
    ] {
        let whole = bytes(whole).expect("hex");
        for end in 1..whole.len() {
            let heard = received(Frame::Binary(Bytes::copy_from_slice(&whole[..end])));
            assert_eq!(heard, ["malformed"], "{}", hex(&whole[..end]));
        }
    }
}

#[test]
fn an_application_message_has_a_bound() {
    let message = |length: usize| {
        let mut message = vec![5];
        document::lib0::write_var_bytes(&mut message, &vec![b'x'; length]);
        Frame::Binary(message.into())
    };
    match &acts_of(message(1 << 20))[..] {
        [Act::Room(Input::Relay { payload, .. })] => assert_eq!(payload.len(), 1 << 20),
        other => panic!("{other:?}"),
    }
    let limit = "stateless message larger than 1048576 bytes";
    assert_eq!(received(message((1 << 20) + 1)), [format!("end Beyond({limit:?})")]);
}

#[test]
fn payloads_are_slices_of_the_message_unless_they_would_pin_much_more() {
    let is_slice = |message: &str, behind: usize| {
        let mut message = bytes(message).expect("hex");
        message.resize(message.len() + behind, 0);
        let frame = Bytes::from(message);
        let acts = acts_of(Frame::Binary(frame.clone()));
        let part: &[u8] = match &acts[..] {
            [Act::Room(Input::Update { update, .. })] => update.bytes(),
            [Act::Room(Input::Awareness(_, bytes) | Input::Relay { payload: bytes, .. })] => bytes,
            other => panic!("{other:?}"),
        };
        frame.as_ptr_range().contains(&part.as_ptr())
    };
    for message in
        ["00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00", "01 06 01 07 01 02 7b 7d", "05 06 68 c3 a9 6c 6c 6f"]
    {
        assert!(is_slice(message, 0), "copied: {message}");
        assert!(!is_slice(message, 1_000), "a thousand bytes are kept for it: {message}");
    }
}

#[test]
fn a_session_opens_with_its_scope_and_whoever_is_there() {
    for (access, scope) in
        [(Access::Write, "02 02 0a 72 65 61 64 2d 77 72 69 74 65"), (Access::Read, "02 02 08 72 65 61 64 6f 6e 6c 79")]
    {
        let mut acts = Vec::new();
        session().open(access, &mut acts);
        match &acts[..] {
            [
                Act::Room(Input::Adopt(
                    MemberId(7),
                    Manner { each_denial: true, malformed_per_minute_max: Some(1), .. },
                )),
                Act::Reply(Frame::Binary(accepted)),
                Act::Room(Input::QueryAwareness { member: MemberId(7), always: false }),
            ] => assert_eq!(hex(accepted), scope),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn events_become_messages() {
    let payload = |hex| Bytes::from(bytes(hex).expect("hex"));
    let a1 = || payload("01 01 01 00 04 01 01 74 02 68 69 00");
    let w4 = "02 ac 02 01 07 7b 22 63 22 3a 31 7d 07 01 07 7b 22 63 22 3a 32 7d";
    let in_common = [
        (Event::StateVector(payload("01 01 02")), Some("00 00 03 01 01 02".to_owned())),
        (Event::Missing(a1()), Some("00 01 0c 01 01 01 00 04 01 01 74 02 68 69 00".into())),
        (Event::Base(a1()), Some("00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00".into())),
        (Event::Update(a1()), Some("00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00".into())),
        (Event::Awareness(payload(w4)), Some(format!("01 16 {w4}"))),
        (Event::Awareness(payload("00")), Some("01 01 00".into())),
        (Event::Relayed(dialect::ANNOUNCEMENTS, payload("74 6f 2d 61 6c 6c")), Some("05 06 74 6f 2d 61 6c 6c".into())),
        (Event::Relayed(Topic("something else"), payload("78")), None),
        (Event::Durable(9), None),
        (Event::Presence([].into()), None),
        (Event::Marked(payload("78")), None),
    ];
    for (event, expected) in in_common {
        assert_eq!(HOCUSPOCUS.encode(&event).map(|frame| hex(frame.payload())), expected, "{event:?}");
        assert!(matches!(session().tell(&event), Told::InCommon), "{event:?}");
    }
    let alone: [(Event, &[&str]); 3] = [
        (Event::Saved { update: Some(a1()) }, &["00 02 0c 01 01 01 00 04 01 01 74 02 68 69 00", "08 01"]),
        (Event::Saved { update: None }, &["08 01"]),
        (Event::Denied(Denied::ReadOnly), &["08 00"]),
    ];
    for (event, expected) in alone {
        assert_eq!(HOCUSPOCUS.encode(&event), None, "{event:?}");
        match session().tell(&event) {
            Told::Own(frames) => {
                let frames: Vec<String> = frames.iter().map(|frame| hex(frame.payload())).collect();
                assert_eq!(frames, expected, "{event:?}");
            }
            other @ Told::InCommon => panic!("{event:?}: {other:?}"),
        }
    }
    assert_eq!(HOCUSPOCUS.keep_alive().map(hex), Some("01 01 00".into()));
    assert_eq!(HOCUSPOCUS.expiry(), Expiry::Asks(&[2, 0]));
    let long = Event::Update(vec![7; 300].into());
    assert_eq!(HOCUSPOCUS.encode(&long).map(|frame| hex(&frame.payload()[..5])), Some("00 02 ac 02 07".into()));
}

#[test]
fn types_that_the_provider_does_not_expect_are_never_sent() {
    // Version 3 raises an exception at a type that it does not know.
    let mut sent = Vec::new();
    for (_, transcript) in texts("hocuspocus") {
        let others: Vec<char> = transcript
            .lines()
            .filter(|line| line.contains("dialect="))
            .filter_map(|line| line.chars().next())
            .collect();
        let told = |line: &str| line.get(1..2) == Some("<") && !line.starts_with(&others[..]);
        sent.extend(transcript.lines().filter(|line| told(line)).map(|line| line[3..5].to_owned()));
    }
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent, ["00", "01", "02", "05", "07", "08"]);
}

#[test]
fn farewells_are_the_table_of_the_protocol() {
    let document = |reason: &str| {
        let message = [&[7, reason.len() as u8], reason.as_bytes()].concat();
        (Some(Frame::Binary(message.into())), None, reason.to_owned())
    };
    let socket = |code, reason: &str| (None, Some(code), reason.to_owned());
    let limit = "document larger than 50 bytes";
    let table = [
        (Closing::Malformed, document("Reset Connection")),
        (Closing::Beyond(limit.into()), document(limit)),
        (Closing::StorageFailed, socket(1011, "storage failed; unsaved edits stay in your editor")),
        (Closing::ShuttingDown, socket(1001, "server shutting down")),
        (Closing::SlowConsumer, socket(1013, "try again later")),
        (Closing::Unconfirmed, socket(1013, "try again later")),
        (Closing::Protocol(1002, "bad opcode".into()), socket(1002, "bad opcode")),
        (Closing::Silent, socket(4408, "Connection Timeout")),
        (Closing::Unauthorized, document("Unauthorized")),
        (Closing::Outdated, document("token-expired")),
        (Closing::Forbidden, document("permission-denied")),
        (Closing::NotFound, document("document-not-found")),
        (Closing::TokenExpired, document("Unauthorized")),
        (Closing::Revoked, document("permission-denied")),
        (Closing::Removed { come_back: false }, document("disconnected by an administrator")),
        (Closing::Removed { come_back: true }, socket(4500, "disconnected by an administrator, reconnect")),
        (Closing::Deleted, document("document-not-found")),
        (Closing::Incomplete("x"), document("Reset Connection")),
        (Closing::Abusive("x"), document("Reset Connection")),
        (Closing::Inactive, document("Reset Connection")),
        (Closing::Left, document("provider_initiated")),
        (Closing::Internal, socket(1011, "internal error")),
    ];
    for (closing, expected) in table {
        let farewell = HOCUSPOCUS.farewell(&closing);
        assert!(farewell.reason.len() <= 123, "{closing:?}: a close frame takes 123 bytes");
        assert_eq!(farewell.delay_ms, 0, "{closing:?}");
        assert_eq!((farewell.message, farewell.code, farewell.reason), expected, "{closing:?}");
    }
}

#[test]
fn refusals_are_told_on_the_socket_that_stays() {
    for (closing, expected) in [
        (Closing::Unauthorized, Some((401, "unauthorized"))),
        (Closing::Outdated, Some((401, "token-expired"))),
        (Closing::TokenExpired, Some((401, "token-expired"))),
        (Closing::Forbidden, Some((403, "permission-denied"))),
        (Closing::Revoked, Some((403, "permission-denied"))),
        (Closing::NotFound, Some((404, "document-not-found"))),
        (Closing::Deleted, Some((404, "document-not-found"))),
        (Closing::StorageFailed, None),
        (Closing::ShuttingDown, None),
    ] {
        let refusal = HOCUSPOCUS.refusal(&closing);
        let told = refusal.as_ref().map(|refusal| (refusal.status, refusal.body.as_str()));
        assert_eq!(told, expected, "{closing:?}");
    }
}
