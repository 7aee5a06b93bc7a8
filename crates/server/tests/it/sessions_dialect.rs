//! The sessions dialect on real sockets: what a newcomer is told in which order, how sessions end and who hears of it, and what one user may do at most.

use crate::credentials::{SECRET, claims, hs256, now_s, token, with_secret};
use crate::process::Concord;
use crate::provider::{Provider, Said, Writer, awareness, content_of};
use crate::world::{ByQuery, HeldSyncs, Running, config, folder, limited, memory, on_disk, store_on};
use document::{Document, MessageLimits, RoomLimits, Update};
use serde_json::{Value, json};
use server::config::Durability;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testkit::client::{Client, Heard, client_frame};
use testkit::disk::FaultyDisk;

/// A member of `/ws/document/d`, or of another document.
pub(crate) struct Page {
    pub(crate) client: Client,
    /// What it was told first.
    pub(crate) start: Value,
}

fn target(query: &str) -> String {
    format!("/ws/document/d?{query}")
}

impl Page {
    pub(crate) async fn enter(address: SocketAddr, query: &str) -> Self {
        Self::on(Client::connect(address, &target(query)).await).await
    }

    async fn on(mut client: Client) -> Self {
        let Heard::Text(start) = client.hear().await else { panic!("the first message is a text") };
        let start: Value = serde_json::from_slice(&start).expect("JSON");
        assert_eq!(start["type"], "initial_state", "{start}");
        Self { client, start }
    }

    async fn say(&mut self, message: &Value) {
        self.client.send_text(&message.to_string()).await;
    }

    /// The next message, which is a text.
    async fn hear(&mut self) -> Value {
        match self.client.hear().await {
            Heard::Text(text) => serde_json::from_slice(&text).expect("JSON"),
            other => panic!("{other:?} instead of a text"),
        }
    }

    pub(crate) async fn hear_document(&mut self) -> Vec<u8> {
        match self.client.hear().await {
            Heard::Message(bytes) => bytes.to_vec(),
            other => panic!("{other:?} instead of the document"),
        }
    }

    /// Everything up to the answer to a question that is answered in its turn.
    pub(crate) async fn heard_by_now(&mut self) -> Vec<Heard> {
        self.say(&json!({"type": 3})).await;
        let mut heard = Vec::new();
        loop {
            match self.client.hear().await {
                Heard::Text(text) if text.starts_with(b"{\"type\":\"awareness\"") => return heard,
                other => heard.push(other),
            }
        }
    }

    async fn until_closed(&mut self) -> (u16, String) {
        loop {
            match self.client.hear().await {
                Heard::Close(code, reason) => return (code, reason),
                Heard::End => panic!("the connection ended without a close frame"),
                _ => {}
            }
        }
    }
}

fn join(user: &str) -> Value {
    json!({"type": "join", "type_code": 10, "user": {"id": user, "name": user}})
}

fn leave(user: &str) -> Value {
    json!({"type": "leave", "type_code": 11, "user": {"id": user, "name": user}})
}

fn named(user: &str, id: u64) -> String {
    format!("user_id={user}&user_name={user}&client_id={id}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_told_who_it_is_and_then_the_document() {
    let server = Running::start(config(), memory()).await;
    let mut ann = Page::enter(server.address, "user_id=ann&user_name=Ann%20A.&client_id=17").await;
    let session = ann.start["session"].clone();
    assert_eq!(
        (&session["document_id"], &session["user_id"], &session["user_name"], &session["client_id"]),
        (&json!("d"), &json!("ann"), &json!("Ann A."), &json!(17))
    );
    let (id, since) = (session["id"].as_str().expect("a text"), session["connected_at"].as_str().expect("a text"));
    assert!(id.len() == 27 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
    assert!(since.len() == 20 && since.starts_with("20") && since.ends_with('Z'), "{since}");
    assert_eq!((&ann.start["users"], &ann.start["awareness"]), (&json!([]), &json!({})));
    let edit = Writer::new(1).write("hi");
    ann.client.send(&edit).await;
    assert_eq!(ann.heard_by_now().await, []);

    // What is missing or cannot be used has a default.
    let mut nobody = Page::enter(server.address, "user_id=&client_id=0").await;
    assert_eq!(nobody.hear_document().await, edit);
    let session = &nobody.start["session"];
    assert_eq!((&session["user_id"], &session["user_name"]), (&json!("anonymous"), &json!("Anonymous")));
    assert!((1..1 << 31).contains(&session["client_id"].as_u64().expect("a number")), "{session}");
    assert_ne!(session["id"], ann.start["session"]["id"]);
    assert_eq!(nobody.start["users"], json!([{"id": "ann", "name": "Ann A."}]));
}

/// What a page has been told of a document that client 1 writes letter by letter.
struct Told {
    document: Document,
    frames: u32,
    /// Of them, those with one letter.
    letters: u32,
}

impl Told {
    fn take(&mut self, bytes: &[u8]) {
        let before = self.document.state_vector().clock(1);
        let update = Update::validate(bytes, &MessageLimits::STORED).expect("a valid update");
        self.document.add(&update, 0);
        let after = self.document.state_vector().clock(1);
        // One frame with everything, or none; then each letter alone, without a gap, and none twice.
        let is_letter = after == before + 1;
        assert!(is_letter || self.frames == 0 && after > 1, "{before} to {after} in frame {}", self.frames);
        (self.frames, self.letters) = (self.frames + 1, self.letters + u32::from(is_letter));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_while_somebody_comes_is_told_once_and_behind_its_start() {
    let server = Running::start(config(), memory()).await;
    let address = server.address;
    let enough = Arc::new(AtomicBool::new(false));
    let is_enough = enough.clone();
    let writing = tokio::spawn(async move {
        let mut writer = Provider::enter(address, "/d", 1).await;
        for clock in 1.. {
            writer.client.send(&awareness(1, clock, &format!("{{\"n\":{clock}}}"))).await;
            writer.write_and_save("x").await;
            if is_enough.load(Ordering::Acquire) {
                return;
            }
        }
    });
    for newcomer in 0..30 {
        let mut page = Page::enter(address, &named(&format!("n{newcomer}"), 100 + newcomer)).await;
        let mut told = Told { document: Document::new(RoomLimits::STORED), frames: 0, letters: 0 };
        let state = |awareness: &Value| awareness["awareness"]["1"]["state"]["n"].as_u64();
        let mut states: Vec<u64> = state(&page.start).into_iter().collect();
        while told.letters < 5 {
            match page.client.hear().await {
                Heard::Message(bytes) => told.take(&bytes),
                Heard::Text(text) => {
                    let text: Value = serde_json::from_slice(&text).expect("JSON");
                    assert_ne!(text["user"]["id"], format!("n{newcomer}"), "its own coming");
                    states.extend(state(&text));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(states.is_sorted_by(|one, next| one < next), "a state was told twice or late: {states:?}");
    }
    enough.store(true, Ordering::Release);
    writing.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_that_waits_to_be_told_is_not_told_again_to_a_newcomer() {
    let mut config = config();
    config.presence_ms = 60_000;
    let server = Running::start(config, memory()).await;
    let mut ann = Page::enter(server.address, &named("ann", 17)).await;
    let mut yann = Provider::enter(server.address, "/d", 9).await;
    // The first one is told at once, the next waits.
    for line in [1, 2] {
        ann.say(&json!({"type": "awareness", "cursor": {"line": line, "column": 0}})).await;
    }
    yann.client.send(&awareness(9, 1, "{\"a\":1}")).await;
    assert_eq!(ann.heard_by_now().await, []);
    yann.heard_by_now().await;
    let mut bob = Page::enter(server.address, &named("bob", 41)).await;
    assert_eq!(bob.start["awareness"]["17"]["cursor"]["line"], 2);
    assert_eq!(bob.start["awareness"]["9"], json!({"client_id": 9, "state": {"a": 1}}));
    assert_eq!(bob.heard_by_now().await, []);
    // The others are told before they hear of him.
    assert_eq!(ann.hear().await["awareness"], json!({"9": {"client_id": 9, "state": {"a": 1}}}));
    assert_eq!(ann.hear().await, join("bob"));
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_the_document_is_told_before_what_is_published_while_it_waits_for_the_disk() {
    let disk = FaultyDisk::new();
    let mut config = config();
    config.durability = Durability::Strict;
    let server = Running::start(config, store_on(&disk)).await;
    let mut ann = Page::enter(server.address, &named("ann", 17)).await;
    let held = HeldSyncs::of(&disk);
    let edit = Writer::new(1).write("held");
    ann.client.send(&edit).await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    let mut bob = Page::enter(server.address, &named("bob", 41)).await;
    assert_eq!(ann.hear().await, join("bob"));
    bob.client.send_text("no JSON").await;
    let cid = Page::enter(server.address, &named("cid", 43)).await;
    assert_eq!(ann.hear().await, join("cid"));
    ann.say(&json!({"type": "awareness"})).await;
    ann.say(&json!({"type": "test"})).await;
    assert_eq!(ann.heard_by_now().await, []);

    drop(held);
    assert_eq!(bob.hear_document().await, edit);
    assert_eq!(bob.hear().await["error"]["code"], "INVALID_JSON");
    assert_eq!(bob.hear().await, join("cid"));
    // Presence is told at the end of a turn, what is relayed within it.
    let both = [bob.hear().await, bob.hear().await];
    assert!(both.contains(&json!({"type": "test"})), "{both:?}");
    assert!(both.iter().any(|text| text["awareness"]["17"]["user"]["id"] == "ann"), "{both:?}");
    assert!(server.stop((ann, bob, cid)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_with_the_request_is_answered_behind_the_start() {
    let server = Running::start(config(), memory()).await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.expect("the server listens");
    let mut bytes = testkit::client::upgrade_request(&target("user_id=ann"), "").into_bytes();
    bytes.extend(client_frame(0x81, b"no JSON"));
    bytes.extend(client_frame(0x81, b"{\"type\":0,\"payload\":\"AA==\"}"));
    tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.expect("written");
    let mut answer = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&answer).contains("{\"type\":1,") {
            let count = tokio::io::AsyncReadExt::read_buf(&mut stream, &mut answer).await.expect("the server answers");
            assert!(count > 0, "ended after {}", String::from_utf8_lossy(&answer));
        }
    };
    tokio::time::timeout(testkit::client::PATIENCE, read).await.expect("all is answered");
    let answer = String::from_utf8_lossy(&answer);
    let place = |text: &str| answer.find(text).unwrap_or_else(|| panic!("no {text} in {answer}"));
    assert!(place("initial_state") < place("INVALID_JSON"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_end_is_told_once_to_each_other_and_takes_the_state_along() {
    let server = Running::start(limited(|limits| limits.frame_bytes_max = 1 << 20), memory()).await;
    let mut watcher = Page::enter(server.address, &named("watcher", 1)).await;
    let mut other = Page::enter(server.address, &named("other", 2)).await;
    assert_eq!(watcher.hear().await, join("other"));
    let ways = [
        (10, "close", Some(1000)),
        (11, "FIN", None),
        (12, "RST", None),
        (13, "errors", Some(1008)),
        (14, "too large", Some(1009)),
        (15, "no WebSocket", Some(1002)),
    ];
    for (id, way, code) in ways {
        let mut leaver = Page::enter(server.address, &named("leaver", id)).await;
        leaver.say(&json!({"type": "awareness"})).await;
        for page in [&mut watcher, &mut other] {
            assert_eq!(page.hear().await, join("leaver"), "{way}");
            assert_eq!(page.hear().await["awareness"][id.to_string()]["client_id"], id, "{way}");
        }
        match way {
            "close" => leaver.client.send_close(1000).await,
            "errors" => leaver.client.send_raw(&client_frame(0x81, b"no JSON").repeat(21)).await,
            "too large" => leaver.client.send(&vec![0; (1 << 20) + 1]).await,
            "no WebSocket" => leaver.client.send_raw(&[0xff; 8]).await,
            _ => {}
        }
        // Only those that end here are let go; the others wait for the server to close.
        match (way, code) {
            ("FIN", _) => leaver.client.vanish(),
            ("RST", _) => leaver.client.reset(),
            (_, code) => assert_eq!(Some(leaver.until_closed().await.0), code, "{way}"),
        }
        for page in [&mut watcher, &mut other] {
            let cleared = json!({"type": "awareness", "type_code": 2, "awareness": {id.to_string(): null}});
            assert_eq!(page.hear().await, cleared, "{way}");
            assert_eq!(page.hear().await, leave("leaver"), "{way}");
            assert_eq!(page.heard_by_now().await, [], "{way}");
        }
    }
    let newcomer = Page::enter(server.address, &named("newcomer", 3)).await;
    assert_eq!(newcomer.start["awareness"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_is_ended_and_delays_nobody() {
    let server = Running::start(config(), memory()).await;
    let narrow = Client::connect_narrow(server.address, &target(&named("slow", 1))).await;
    let mut slow = Page::on(narrow).await;
    let mut reader = Page::enter(server.address, &named("reader", 2)).await;
    // Through another dialect, whose users may speak as fast as they like.
    let mut writer = Provider::enter(server.address, "/d", 9).await;
    let text = "x".repeat(3 << 10);
    let (mut edits, mut slowest, mut is_ended) = (0, Duration::ZERO, false);
    while !is_ended {
        assert!(edits < 20_000, "nobody is ended");
        let began = Instant::now();
        writer.write(&text).await;
        loop {
            match reader.client.hear().await {
                Heard::Message(_) => break,
                Heard::Text(text) => is_ended |= text == leave("slow").to_string().into_bytes(),
                other => panic!("{other:?}"),
            }
        }
        slowest = slowest.max(began.elapsed());
        edits += 1;
        writer.until_saved().await;
    }
    assert!(edits > 512, "ended after {edits} messages");
    assert!(slowest < Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 100 }), "{slowest:?}");
    assert_eq!(slow.until_closed().await, (1013, "slow consumer".to_owned()));
    writer.write("and on it goes").await;
    reader.hear_document().await;
    assert_eq!(reader.heard_by_now().await, [], "one leave and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ring_has_dropped_ends_a_session_too() {
    let server = Running::start(limited(|limits| limits.ring_bytes_max = 64 << 10), memory()).await;
    let mut slow = Page::on(Client::connect_narrow(server.address, &target(&named("slow", 1))).await).await;
    let mut reader = Page::enter(server.address, &named("reader", 2)).await;
    let mut writer = Provider::enter(server.address, "/d", 9).await;
    let text = "x".repeat(40 << 10);
    let mut is_ended = false;
    while !is_ended {
        assert!(writer.writer.clock < 400 * (40 << 10), "nobody is ended");
        writer.write_and_save(&text).await;
        match reader.client.hear().await {
            Heard::Message(_) => {}
            Heard::Text(text) => is_ended = text == leave("slow").to_string().into_bytes(),
            other => panic!("{other:?}"),
        }
    }
    // Long before 512 messages: the bytes count too.
    assert!(writer.writer.clock < 512 * (40 << 10));
    assert_eq!(slow.until_closed().await, (1013, "slow consumer".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_pings_stays_and_who_does_not_is_dropped() {
    const SILENCE: Duration = Duration::from_millis(600);
    let mut config = config();
    (config.sessions.ping_ms, config.sessions.silence_ms) = (100, SILENCE.as_millis() as u64);
    config.sessions.inactive_ms = 60_000;
    let server = Running::start(config, memory()).await;
    let mut idle = Page::enter(server.address, &named("idle", 1)).await;
    let began = Instant::now();
    let mut mute = Page::enter(server.address, &named("mute", 2)).await;
    mute.client.mute();
    assert_eq!(idle.hear().await, join("mute"));
    assert_eq!(idle.hear().await, leave("mute"));
    assert!(began.elapsed() >= SILENCE, "{:?}", began.elapsed());
    // Without a word: what has not been heard of cannot be told anything.
    let (_, end) = mute.client.hear_out().await;
    assert_eq!(end, Heard::End);
    let _again = Page::enter(server.address, &named("again", 3)).await;
    assert_eq!(idle.hear().await, join("again"), "after many pings and no word of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_inactive_is_told_so() {
    let mut config = config();
    (config.sessions.ping_ms, config.sessions.silence_ms, config.sessions.inactive_ms) = (100, 60_000, 400);
    let server = Running::start(config, memory()).await;
    let mut idle = Page::enter(server.address, &named("idle", 1)).await;
    let mut mute = Page::enter(server.address, &named("mute", 2)).await;
    mute.client.mute();
    assert_eq!((idle.hear().await, idle.hear().await), (join("mute"), leave("mute")));
    assert_eq!(mute.until_closed().await, (1013, "inactive".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_beyond_their_bound_end_the_session() {
    let server = Running::start(config(), memory()).await;
    let mut ann = Page::enter(server.address, &named("ann", 17)).await;
    ann.client.send_text(&"x".repeat((1 << 20) + 1)).await;
    assert_eq!(ann.until_closed().await, (1009, "text frame larger than 1048576 bytes".to_owned()));
    let mut bob = Page::enter(server.address, &named("bob", 41)).await;
    bob.client.send(&vec![0; (16 << 20) + 1]).await;
    assert_eq!(bob.until_closed().await, (1009, "message larger than 16777216 bytes".to_owned()));
    let mut cid = Page::enter(server.address, &named("cid", 43)).await;
    cid.client.send_text(&"x".repeat(1 << 20)).await;
    assert_eq!(cid.hear().await["error"]["code"], "INVALID_JSON");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_of_a_user_share_one_rate() {
    let server = Running::start(config(), memory()).await;
    let mut bob = Page::enter(server.address, &named("bob", 41)).await;
    let began = Instant::now();
    // What a user has spoken is remembered as long as a session of it is there.
    let _still_here = Page::enter(server.address, &named("ann", 16)).await;
    for id in [17, 18] {
        let mut page = Page::enter(server.address, &named("ann", id)).await;
        // In one piece, and far more than may come at once.
        page.client.send_raw(&client_frame(0x81, b"{\"type\":\"test\"}").repeat(800)).await;
        let mut refusals = 0;
        let closed = loop {
            match page.client.hear().await {
                Heard::Text(text) => {
                    let text: Value = serde_json::from_slice(&text).expect("JSON");
                    assert_eq!(text["error"]["code"], "RATE_LIMITED", "{text}");
                    refusals += 1;
                }
                Heard::Close(code, reason) => break (code, reason),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((refusals >= 10, closed), (true, (1008, "too many messages".to_owned())), "{refusals} refusals");
    }
    let (mut passed_on, mut left) = (0, 0);
    while left < 2 {
        match bob.hear().await {
            text if text["type"] == "test" => passed_on += 1,
            text if text == join("ann") => {}
            text => {
                assert_eq!(text, leave("ann"));
                left += 1;
            }
        }
    }
    let most = 200 + began.elapsed().as_millis() / 10 + 1;
    assert!(
        (200..=most).contains(&passed_on),
        "{passed_on} of at most {most}: a second session has no rate of its own"
    );
    // Others are not counted along with her.
    assert_eq!(bob.heard_by_now().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_presence_go_both_ways_between_the_dialects() {
    let server = Running::start(config(), memory()).await;
    let mut ann = Page::enter(server.address, &named("ann", 17)).await;
    let mut yann = Provider::enter(server.address, "/d", 9).await;
    let mut writer = Writer::new(1);
    ann.client.send(&writer.write("hi")).await;
    yann.until_shown(1, 2).await;
    yann.write_and_save("ho").await;
    assert_eq!(content_of(&ann.hear_document().await), content_of(&Writer::new(9).write("ho")));
    ann.say(&json!({"type": "awareness", "cursor": {"line": 3, "column": 7}, "state": {"typing": true}})).await;
    let shown = r#"{"user":{"id":"ann","name":"ann"},"cursor":{"column":7,"line":3},"typing":true}"#;
    assert_eq!(yann.hear().await, Said::Awareness(vec![(17, 1, shown.to_owned())]));
    yann.client.send(&awareness(9, 1, r#"{"user":{"name":"Yann"},"cursor":{"line":1,"column":2}}"#)).await;
    let state = json!({"user": {"name": "Yann"}, "cursor": {"line": 1, "column": 2}});
    let shown = json!({"9": {"client_id": 9, "user": {"name": "Yann"}, "state": state}});
    assert_eq!(ann.hear().await["awareness"], shown);
    yann.client.vanish();
    assert_eq!(ann.hear().await["awareness"], json!({"9": null}));
    ann.say(&json!({"type": 3})).await;
    assert_eq!(ann.hear().await["awareness"]["17"]["cursor"]["line"], 3, "only its own is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_is_seen_and_changes_nothing() {
    let server = Running::start_with(config(), memory(), Arc::new(ByQuery)).await;
    let mut writer = Page::enter(server.address, "user=ann&client_id=17").await;
    let mut reader = Page::enter(server.address, "user=rosa&access=read&client_id=18").await;
    assert_eq!(writer.hear().await, join("rosa"));
    reader.client.send(&Writer::new(1).write("mine")).await;
    assert_eq!(reader.hear().await["error"]["code"], "READ_ONLY");
    reader.say(&json!({"type": "test"})).await;
    assert_eq!(reader.hear().await["error"]["code"], "READ_ONLY");
    reader.say(&json!({"type": "awareness"})).await;
    assert_eq!(writer.hear().await["awareness"]["18"]["user"]["id"], "rosa");
    assert_eq!(writer.heard_by_now().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_authentication_the_token_says_who_one_is() {
    let server = Running::start(with_secret(config()), memory()).await;
    let refused = async |target: &str, headers: &str| {
        let refusal = Client::connect_with(server.address, target, headers).await.expect_err("it is refused");
        assert_eq!(refusal.header("content-type"), Some("application/json"), "{}", refusal.head);
        (refusal.status, refusal.body)
    };
    let unauthorized = (401, "{\"error\":\"unauthorized\"}".to_owned());
    let expired = token("ann", json!({"exp": now_s() - 600}));
    assert_eq!(refused(&target("user_id=ann&user_name=Ann"), "").await, unauthorized);
    assert_eq!(refused(&target("token=nonsense"), "").await, unauthorized);
    assert_eq!(refused(&target(&format!("token={expired}")), "").await, unauthorized);
    assert_eq!(refused(&target(""), "Authorization: Bearer nonsense\r\n").await, unauthorized);
    let elsewhere = token("ann", json!({"rooms": [{"name": "e", "permission": "write"}]}));
    assert_eq!(
        refused(&target(&format!("token={elsewhere}")), "").await,
        (403, "{\"error\":\"forbidden\"}".to_owned())
    );

    let whose = [
        (json!({}), "u", "u"),
        (json!({"userId": null, "user_id": "v", "sub": "w", "user_name": "V"}), "v", "V"),
        (json!({"userId": null, "sub": "w", "name": "", "user_name": "W"}), "w", "W"),
        (json!({"user_id": "v", "sub": "w", "name": "U", "user_name": "V"}), "u", "U"),
    ];
    for (claimed, user, name) in whose {
        let token = hs256(r#"{"alg":"HS256","typ":"JWT"}"#, &claims("u", claimed).to_string(), SECRET);
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let by_header = Client::connect_with(server.address, &target("user_id=eve&user_name=Eve"), &bearer).await;
        let by_query = Client::connect_with(server.address, &target(&format!("token={token}&user_id=eve")), "").await;
        for client in [by_header, by_query] {
            let page = Page::on(client.expect("it is let in")).await;
            let session = &page.start["session"];
            assert_eq!((&session["user_id"], &session["user_name"]), (&json!(user), &json!(name)));
        }
    }
    let reading = token("rosa", json!({"rooms": [{"name": "d", "permission": "read"}]}));
    let mut reader = Page::enter(server.address, &format!("token={reading}")).await;
    reader.client.send(&Writer::new(1).write("mine")).await;
    // Those who were here before may still be leaving.
    let mut heard = reader.hear().await;
    while heard["type"] == "leave" {
        heard = reader.hear().await;
    }
    assert_eq!(heard["error"]["code"], "READ_ONLY", "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_requests_that_lead_nowhere_are_refused() {
    let server = Running::start(config(), memory()).await;
    let long = format!("/ws/document/{}", "x".repeat(257));
    for (path, status) in [("/ws/document/", 404), ("/ws/document/d/e", 404), (&long, 400), ("/ws/document/a%2Fb", 400)]
    {
        let refusal = Client::connect_with(server.address, path, "").await.expect_err("it is refused");
        assert_eq!(refusal.status, status, "{path}");
    }
    let plain = testkit::client::request(server.address, "GET /ws/document/d HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(plain.status, 426, "{}", plain.head);
    let notices = testkit::client::request(server.address, "GET /ws/updates HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((notices.status, &*notices.body), (501, "Not implemented yet"));
    let longest = format!("/ws/document/{}", "x".repeat(256));
    Page::on(Client::connect(server.address, &longest).await).await;
    let named = Page::on(Client::connect(server.address, "/ws/document/a%20b%22").await).await;
    assert_eq!(named.start["session"]["document_id"], "a b\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_has_a_thousand_sessions_and_no_more() {
    let server = Running::start(config(), memory()).await;
    let mut pages = Vec::new();
    for id in 1..=1_000 {
        pages.push(Page::enter(server.address, &named(&format!("u{id}"), id)).await);
    }
    let refusal = Client::connect_with(server.address, &target("user_id=late"), "").await.expect_err("it is full");
    assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some("5")), "{}", refusal.body);
    Page::on(Client::connect(server.address, "/ws/document/other").await).await;
    Provider::enter(server.address, "/d", 9).await;
    let first = pages.swap_remove(0);
    let mut last = pages.pop().expect("many");
    first.client.vanish();
    while last.hear().await != leave("u1") {}
    Page::enter(server.address, &named("late", 2_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_told_to_all_sessions_and_everything_is_kept() {
    let data = folder("sessions-stop");
    let mut written = Writer::new(1);
    for (signal, users) in [("-TERM", json!([])), ("-KILL", json!([]))] {
        let mut concord = Concord::start(&data, &[]);
        let mut ann = Page::enter(concord.address, &named("ann", 17)).await;
        if written.clock > 0 {
            ann.hear_document().await;
        }
        assert_eq!(ann.start["users"], users);
        let mut bob = Page::enter(concord.address, &named("bob", 41)).await;
        if written.clock > 0 {
            bob.hear_document().await;
        }
        assert_eq!(ann.hear().await, join("bob"));
        let edit = written.write("what another session has seen");
        ann.client.send(&edit).await;
        assert_eq!(bob.hear_document().await, edit);
        concord.signal(signal);
        if signal == "-TERM" {
            let began = Instant::now();
            for page in [ann, bob] {
                let mut page = page;
                assert_eq!(page.until_closed().await, (1001, "server shutting down".to_owned()));
            }
            assert!(concord.ended().success() && began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        } else {
            concord.ended();
        }
    }
    let concord = Concord::start(&data, &[]);
    let mut cid = Page::enter(concord.address, &named("cid", 43)).await;
    let document = Document::load(RoomLimits::STORED, [&cid.hear_document().await[..]]).expect("a valid update");
    assert_eq!(u64::from(document.state_vector().clock(1)), written.clock);
}
