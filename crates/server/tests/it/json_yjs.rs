//! The json-yjs dialect over real sockets: who is refused with which words, whose drafts are, what is kept, and the HTTP API beside it. What needs no network
//! is in the transcripts of the dialect.

use crate::admin::{ask, make_key};
use crate::credentials::{claims, hs256, now_s, token, unsigned, with_secret};
use crate::provider::{Provider, Said, Writer};
use crate::world::{Running, config, folder, memory, store_on};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use document::{Document, MessageLimits, RoomLimits, Update};
use serde_json::{Value, json};
use server::config::{Config, OriginsConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use testkit::client::{Client, Heard, request};
use testkit::disk::FaultyDisk;

const NO_ACCESS: &str = "Access denied. You do not have permission to access this draft.";
const READ_ONLY: &str = "You do not have permission to edit this draft.";
const NO_TOKEN: &str = "Invalid or expired token";

/// The token of somebody in a firm.
fn of_firm(user: &str, firm: &str) -> String {
    token(user, json!({ "firmId": firm, "role": "attorney", "iat": now_s() - 300 }))
}

fn target(token: &str, draft: &str) -> String {
    format!("/ws?token={token}&draftId={draft}")
}

/// What an editor of the demand letters is told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Message(Value),
    Closed(u16, String),
    Gone,
}

fn error(text: &str) -> Told {
    Told::Message(json!({ "type": "error", "error": text }))
}

/// One of them. Its edits are in its document at once.
struct Editor {
    client: Client,
    document: Document,
    writer: Writer,
}

impl Editor {
    async fn open(address: SocketAddr, target: &str, id: u64) -> Self {
        let client = Client::connect(address, target).await;
        Self { client, document: Document::new(RoomLimits::STORED), writer: Writer::new(id) }
    }

    /// Connects, and has the whole document, which comes first.
    async fn enter(address: SocketAddr, target: &str, id: u64) -> Self {
        let mut editor = Self::open(address, target, id).await;
        let first = editor.hear().await;
        assert!(matches!(&first, Told::Message(message) if message["type"] == "yjs-state-response"), "{first:?}");
        editor.writer.clock = editor.shown(id);
        editor
    }

    /// The next message, taken into the document.
    async fn hear(&mut self) -> Told {
        let text = match self.client.hear().await {
            Heard::Text(text) => text,
            Heard::Close(code, reason) => return Told::Closed(code, reason),
            Heard::End => return Told::Gone,
            other => panic!("{other:?} from the server"),
        };
        let message: Value = serde_json::from_slice(&text).expect("the server sends JSON");
        if let Some(data) = message.get("data") {
            let bytes: Vec<u8> = serde_json::from_value(data.clone()).expect("bytes");
            self.add(&bytes);
        }
        Told::Message(message)
    }

    fn add(&mut self, bytes: &[u8]) {
        let update = Update::validate(bytes, &MessageLimits::STORED).expect("a valid update");
        self.document.add(&update, 0);
    }

    async fn say(&mut self, message: Value) {
        self.client.send_text(&message.to_string()).await;
    }

    async fn write(&mut self, text: &str) -> Value {
        let bytes = self.writer.write(text);
        self.add(&bytes);
        let message = json!({ "type": "yjs-update", "data": bytes });
        self.say(message.clone()).await;
        message
    }

    /// All that the server had to say before it answered a ping.
    async fn heard_by_now(&mut self) -> Vec<Told> {
        self.say(json!({ "type": "ping" })).await;
        let mut heard = Vec::new();
        loop {
            match self.hear().await {
                Told::Message(message) if message == json!({ "type": "pong" }) => return heard,
                Told::Message(message) => heard.push(Told::Message(message)),
                end => panic!("{end:?} after {heard:?}"),
            }
        }
    }

    fn shown(&self, id: u64) -> u64 {
        u64::from(self.document.state_vector().clock(id))
    }

    async fn until_shown(&mut self, id: u64, clock: u64) {
        while self.shown(id) < clock {
            let told = self.hear().await;
            assert!(matches!(told, Told::Message(_)), "{told:?}");
        }
    }

    fn content(&self) -> Vec<u8> {
        self.document.snapshot(false)
    }

    /// An error message, and then the end.
    async fn until_closed(&mut self) -> (Option<String>, u16, String) {
        let mut last = None;
        loop {
            match self.hear().await {
                Told::Message(message) => last = message["error"].as_str().map(str::to_owned),
                Told::Closed(code, reason) => return (last, code, reason),
                Told::Gone => panic!("no close frame after {last:?}"),
            }
        }
    }
}

fn refusal(text: &str, reason: &str) -> (Option<String>, u16, String) {
    (Some(text.to_owned()), 1008, reason.to_owned())
}

async fn refused(address: SocketAddr, target: &str) -> (Option<String>, u16, String) {
    Editor::open(address, target, 99).await.until_closed().await
}

fn no_access() -> (Option<String>, u16, String) {
    refusal(NO_ACCESS, "Insufficient permissions")
}

/// A server of firms, with an administrator.
struct Firms {
    server: Running,
    admin: SocketAddr,
    key: String,
    config: Config,
    store: Arc<dyn Store>,
}

impl Firms {
    async fn start(name: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = with_secret(config());
        config.data = folder(name);
        config.admin.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut config);
        Self::on(config, memory()).await
    }

    async fn on(config: Config, store: Arc<dyn Store>) -> Self {
        let key = make_key(&config, "admin");
        let server = Running::start(config.clone(), store.clone()).await;
        let admin = server.admin.expect("it listens for administrators");
        Self { server, admin, key, config, store }
    }

    async fn restart(self) -> Self {
        self.server.stop(()).await;
        Self::on(self.config, self.store).await
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        ask(self.admin, method, path, &format!("Authorization: Bearer {}\r\n", self.key), &body).await
    }

    async fn register(&self, draft: &str, rules: Value) {
        let (status, answer) = self.ask("PUT", &format!("/api/admin/drafts/{draft}"), rules.clone()).await;
        assert_eq!((status, answer), (200, rules));
    }

    async fn enter(&self, user: &str, firm: &str, draft: &str, id: u64) -> Editor {
        Editor::enter(self.server.address, &target(&of_firm(user, firm), draft), id).await
    }

    async fn refused(&self, user: &str, firm: &str, draft: &str) -> (Option<String>, u16, String) {
        refused(self.server.address, &target(&of_firm(user, firm), draft)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_an_error_message_and_a_close_with_the_exact_words() {
    let firms = Firms::start("json-refusals", |config| {
        config.origins = OriginsConfig { allowed: vec!["https://app.example".to_owned()] };
    })
    .await;
    let address = firms.server.address;
    let good = of_firm("ann", "f");
    let with = |changes: Value| token("ann", changes);
    let header = r#"{"alg":"HS256"}"#;
    let firm = json!({ "firmId": "f" });
    let claimed = claims("ann", firm.clone()).to_string();
    let no_token = || refusal("Missing authentication token", "Missing authentication token");
    let no_draft = || refusal("Missing draftId parameter", "Missing draftId parameter");
    let bad_token = || refusal(NO_TOKEN, "Authentication failed");
    let key = make_key(&firms.config, "read,write");
    firms.register("theirs", json!({ "firmId": "g", "ownerId": "bob" })).await;
    let cases = [
        ("/ws".to_owned(), no_token()),
        ("/ws?draftId=d".to_owned(), no_token()),
        ("/ws?token=&draftId=d".to_owned(), no_token()),
        (format!("/ws?token={good}&token={good}&draftId=d"), no_token()),
        (format!("/ws?token={good}"), no_draft()),
        (format!("/ws?token={good}&draftId="), no_draft()),
        (format!("/ws?token={good}&draftId=d&draftId=d"), no_draft()),
        (format!("/ws?token={good}&draftId=%00"), no_draft()),
        (format!("/ws?token={good}&draftId={}", "d".repeat(257)), no_draft()),
        (target("letmein", "d"), bad_token()),
        (target(&with(json!({ "firmId": "f", "exp": now_s() - 40 })), "d"), bad_token()),
        (target(&hs256(header, &claimed, "a secret of others, 32 bytes or more"), "d"), bad_token()),
        (target(&format!("{}.", unsigned(r#"{"alg":"none"}"#, &claimed)), "d"), bad_token()),
        (target(&with(json!({})), "d"), bad_token()),
        (target(&with(json!({ "firmId": "" })), "d"), bad_token()),
        (target(&with(json!({ "firmId": 7 })), "d"), bad_token()),
        (target(&with(json!({ "firmId": "f", "userId": "" })), "d"), bad_token()),
        (target(&with(json!({ "firmId": "f", "exp": null })), "d"), bad_token()),
        (target(&key, "d"), bad_token()),
        (target(&good, "theirs"), no_access()),
        (target(&with(json!({ "firmId": "f", "rooms": [{ "name": "x", "permission": "write" }] })), "d"), no_access()),
    ];
    for (target, expected) in cases {
        assert_eq!(refused(address, &target).await, expected, "{}", target.replace(&good, "GOOD"));
    }
    // Other parameters mean nothing; the leeway of clocks counts.
    let late = with(json!({ "firmId": "f", "exp": now_s() - 5 }));
    drop(Editor::enter(address, &format!("{}&version=2", target(&late, "d")), 1).await);
    let forbidden = Client::connect_with(address, &target(&good, "d"), "Origin: https://evil.example\r\n").await;
    assert_eq!(forbidden.expect_err("no handshake").status, 403);
    // Plain HTTP, and other paths.
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    let plain = request(address, get("/ws?draftId=d")).await;
    assert_eq!((plain.status, plain.header("upgrade"), &*plain.body), (426, Some("websocket"), "Upgrade Required"));
    for path in ["/ws/", "/ws/other"] {
        assert_eq!(request(address, get(path)).await.status, 404, "{path}");
        assert_eq!(Client::connect_with(address, path, "").await.expect_err("nothing there").status, 404, "{path}");
    }
    firms.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn editors_of_both_dialects_work_together_and_what_they_wrote_stays() {
    let firms = Firms::start("json-together", |config| config.unload_after_ms = 0).await;
    let mut ann = firms.enter("ann", "f", "letter", 1).await;
    let mut tab = firms.enter("ann", "f", "letter", 2).await;
    let mut elsewhere = firms.enter("ann", "f", "other", 3).await;
    let provider = format!("/y/letter?token={}", of_firm("bob", "f"));
    let mut bob = Provider::enter(firms.server.address, &provider, 4).await;
    let sent = ann.write("Dear Sir").await;
    assert_eq!(tab.hear().await, Told::Message(sent));
    bob.until_shown(1, 8).await;
    bob.write_and_save("Madam").await;
    ann.until_shown(4, 5).await;
    tab.until_shown(4, 5).await;
    // Nothing of its own comes back, nothing comes twice, nothing of presence is shown, and nothing goes to another draft.
    bob.client.send(&crate::provider::awareness(4, 1, "{\"cursor\":1}")).await;
    bob.hear_until(|said| matches!(said, Said::Awareness(_))).await;
    for editor in [&mut ann, &mut tab, &mut elsewhere] {
        assert_eq!(editor.heard_by_now().await, []);
    }
    assert_eq!((ann.content(), tab.content()), (bob.content(), bob.content()));
    ann.say(json!({ "type": "yjs-state-request" })).await;
    assert!(matches!(ann.hear().await, Told::Message(message) if message["type"] == "yjs-state-response"));
    assert_eq!(tab.heard_by_now().await, []);
    let content = ann.content();
    drop((ann, tab, elsewhere, bob));
    // After all have left, and in another process.
    let late = firms.enter("cid", "f", "letter", 5).await;
    assert_eq!(late.content(), content, "all of it is in the first message");
    drop(late);
    let firms = firms.restart().await;
    assert_eq!(firms.enter("cid", "f", "letter", 6).await.content(), content);
    assert_eq!(firms.refused("eve", "g", "letter").await, no_access());
    firms.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_editor_has_seen_survives_the_end_of_the_process() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut writer = Editor::enter(server.address, "/ws?draftId=d", 1).await;
    let mut reader = Editor::enter(server.address, "/ws?draftId=d", 2).await;
    for word in ["one ", "two ", "three "] {
        writer.write(word).await;
    }
    reader.until_shown(1, writer.writer.clock).await;
    // The process is gone with all that it held in memory; another finds what was written.
    let killed = disk.kill();
    let next = Running::start(config(), store_on(&killed)).await;
    let late = Editor::enter(next.address, "/ws?draftId=d", 3).await;
    assert_eq!(late.content(), reader.content());
    next.stop(late).await;
    drop((writer, reader, server));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_leave_the_connection_usable_and_too_large_ones_end_it() {
    let mut config = config();
    config.limits.frame_bytes_max = 1 << 20;
    let server = Running::start(config, memory()).await;
    let mut editor = Editor::enter(server.address, "/ws?draftId=d", 1).await;
    let mut other = Editor::enter(server.address, "/ws?draftId=d", 2).await;
    let cases = [
        ("{", "Invalid JSON"),
        ("[]", "Message must be a JSON object"),
        ("{\"data\":[]}", "Missing message type"),
        ("{\"type\":\"sync\"}", "Unknown message type: sync"),
        ("{\"type\":\"yjs-update\"}", "Missing data"),
        ("{\"type\":\"yjs-update\",\"data\":[256]}", "data must be an array of bytes"),
        ("{\"type\":\"yjs-update\",\"data\":[1,2,3]}", "Invalid Yjs update"),
    ];
    for (text, expected) in cases {
        editor.client.send_text(text).await;
        assert_eq!(editor.hear().await, error(expected), "{text}");
        assert_eq!(editor.heard_by_now().await, []);
    }
    editor.client.send(b"\xff\xfe").await;
    assert_eq!(editor.hear().await, error("Invalid JSON"));
    editor.client.send(b"{\"type\":\"ping\"}").await;
    assert_eq!(editor.hear().await, Told::Message(json!({ "type": "pong" })));
    editor.write("still here").await;
    other.until_shown(1, 10).await;
    editor.client.send_text(&" ".repeat((1 << 20) + 1)).await;
    let limit = "message larger than 1048576 bytes";
    assert_eq!(editor.until_closed().await, (Some(limit.to_owned()), 1009, limit.to_owned()));
    // Twenty-one errors.
    for _ in 0..21 {
        other.client.send_text("x").await;
    }
    assert_eq!(
        other.until_closed().await,
        (Some("Invalid JSON".to_owned()), 1008, "Too many invalid messages".to_owned())
    );
    server.stop((editor, other)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_pings_stays_and_who_does_not_is_dropped_without_a_word() {
    let mut config = config();
    (config.json_yjs.ping_ms, config.json_yjs.silence_ms) = (300, 1_000);
    let server = Running::start(config, memory()).await;
    let mut mute = Editor::enter(server.address, "/ws?draftId=d", 1).await;
    let mut alive = Editor::enter(server.address, "/ws?draftId=d", 2).await;
    mute.client.mute();
    let began = Instant::now();
    let dropped = async {
        loop {
            match mute.client.hear().await {
                Heard::Ping => {}
                Heard::End => return began.elapsed(),
                other => panic!("{other:?}: no close handshake is made with who is gone"),
            }
        }
    };
    // Nothing but pings comes, and nothing but pongs goes.
    let (took, heard) = tokio::join!(dropped, tokio::time::timeout(Duration::from_secs(4), alive.client.hear()));
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(4), "{took:?}");
    assert!(heard.is_err(), "{heard:?}");
    assert_eq!(alive.heard_by_now().await, []);
    server.stop((mute, alive)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_counts_editors_and_shutdown_is_told() {
    let mut server = Running::start(config(), memory()).await;
    let mut editor = Editor::enter(server.address, "/ws?draftId=d", 1).await;
    let health = request(server.address, "GET /api/health HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let body: Value = serde_json::from_str(&health.body).expect("JSON");
    assert_eq!((health.status, &body["status"]), (200, &json!("ok")));
    assert_eq!(body["websocket"], json!({ "connections": 1, "rooms": 1 }));
    assert!(body["timestamp"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{body}");
    editor.write("saved").await;
    server.begin_stop();
    assert_eq!(editor.until_closed().await, (None, 1001, "Server shutting down".to_owned()));
    drop(editor);
    assert!(server.stopped().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_closed_and_delays_nobody() {
    let mut config = config();
    config.limits.ring_bytes_max = 256 << 10;
    let server = Running::start(config, memory()).await;
    let client = Client::connect_narrow(server.address, "/ws?draftId=d").await;
    let mut slow = Editor { client, document: Document::new(RoomLimits::STORED), writer: Writer::new(1) };
    let mut writer = Provider::enter(server.address, "/y/d", 2).await;
    let mut reader = Provider::enter(server.address, "/y/d", 3).await;
    let text = "x".repeat(40 << 10);
    for _ in 0..80 {
        writer.write_and_save(&text).await;
        reader.until_shown(2, writer.writer.clock).await;
    }
    assert_eq!(slow.until_closed().await, (None, 1013, "slow consumer".to_owned()));
    server.stop((slow, writer, reader)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_makes_a_draft_owns_it_with_their_firm_in_every_dialect() {
    let firms = Firms::start("json-own", |config| config.auth.api_keys = true).await;
    let address = firms.server.address;
    let service = make_key(&firms.config, "read,write");
    // In the room already through another dialect, before it is anybody's.
    let mut stranger = Provider::enter(address, &format!("/y/mine?token={}", of_firm("eve", "g")), 1).await;
    let mut colleague = Provider::enter(address, &format!("/y/mine?token={}", of_firm("bob", "f")), 2).await;
    let mut ann = firms.enter("ann", "f", "mine", 3).await;
    let (_, code, reason) = stranger.until_closed().await;
    assert_eq!((code, &*reason), (4403, "access revoked"));
    colleague.write_and_save("we").await;
    ann.until_shown(2, 2).await;
    ann.write("secret").await;
    colleague.until_shown(3, 6).await;
    let (status, draft) = firms.ask("GET", "/api/admin/drafts/mine", Value::Null).await;
    assert_eq!((status, draft), (200, json!({ "firmId": "f", "ownerId": "ann" })));

    let firms = {
        drop((stranger, colleague, ann));
        firms.restart().await
    };
    let address = firms.server.address;
    // A stranger, somebody of no firm, and a program, by whatever way.
    let tokens = [of_firm("eve", "g"), token("ann", json!({})), service];
    for token in &tokens {
        let denied = match token.starts_with("concord_") || *token == tokens[1] {
            true => refusal(NO_TOKEN, "Authentication failed"),
            false => no_access(),
        };
        assert_eq!(refused(address, &target(token, "mine")).await, denied);
        let provider = Client::connect(address, &format!("/y/mine?token={token}")).await;
        let (heard, code, _) = Provider::unsynced(provider, 9).until_closed().await;
        assert_eq!((heard, code), (vec![Said::Denied("permission-denied".to_owned())], 4403));
        for path in ["/ws/document/mine", "/d/mine/ws/mine", "/doc/ws/mine"] {
            // Before the handshake or behind it: nothing of the draft is shown.
            if let Ok(mut client) = Client::connect_with(address, &format!("{path}?token={token}"), "").await {
                loop {
                    match client.hear().await {
                        Heard::Message(bytes) | Heard::Text(bytes) => {
                            assert!(!bytes.windows(6).any(|six| six == b"secret"), "{path}");
                        }
                        Heard::Close(..) | Heard::End => break,
                        _ => {}
                    }
                }
            }
        }
    }
    // Rights of a token cannot widen the rules of a draft.
    let narrow = json!({ "firmId": "g", "rooms": [{ "name": "*", "permission": "write" }] });
    assert_eq!(refused(address, &target(&token("eve", narrow), "mine")).await, no_access());
    let reads = json!({ "firmId": "f", "rooms": [{ "name": "mine", "permission": "read" }] });
    let mut reader = Editor::enter(address, &target(&token("cid", reads), "mine"), 5).await;
    reader.write("x").await;
    assert_eq!(reader.hear().await, error(READ_ONLY));
    firms.server.stop(reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_has_collaborators_and_losing_rights_counts_at_once() {
    let firms = Firms::start("json-rights", |_| {}).await;
    let list = |rights: &[(&str, &str)]| {
        let all: Vec<Value> =
            rights.iter().map(|(user, permission)| json!({ "userId": user, "permission": permission })).collect();
        json!({ "firmId": "f", "ownerId": "ann", "collaborators": all })
    };
    firms.register("d", list(&[("bob", "edit"), ("cid", "view"), ("dan", "comment")])).await;
    let mut ann = firms.enter("ann", "f", "d", 1).await;
    let mut bob = firms.enter("bob", "f", "d", 2).await;
    let mut cid = firms.enter("cid", "f", "d", 3).await;
    let mut dan = firms.enter("dan", "f", "d", 4).await;
    let provider = format!("/y/d?token={}", of_firm("bob", "f"));
    let mut provider = Provider::enter(firms.server.address, &provider, 5).await;
    assert_eq!(firms.refused("eve", "f", "d").await, no_access());
    assert_eq!(firms.refused("bob", "g", "d").await, no_access());
    bob.write("bob").await;
    for editor in [&mut ann, &mut cid, &mut dan] {
        editor.until_shown(2, 3).await;
    }
    provider.until_shown(2, 3).await;
    for viewer in [&mut cid, &mut dan] {
        viewer.write("x").await;
        assert_eq!(viewer.hear().await, error(READ_ONLY));
    }
    assert_eq!(ann.heard_by_now().await, [], "what viewers write reaches nobody");

    // One may only read from now on, in both dialects; one has to go; one may write.
    firms.register("d", list(&[("bob", "view"), ("cid", "edit")])).await;
    assert_eq!(dan.until_closed().await, no_access());
    bob.write("x").await;
    assert_eq!(bob.hear().await, error(READ_ONLY));
    provider.write("x").await;
    assert_eq!(provider.heard_by_now().await, [Said::Denied("read-only".to_owned())]);
    let mut cid_again = firms.enter("cid", "f", "d", 6).await;
    cid_again.write("now").await;
    ann.until_shown(6, 3).await;
    // The whole firm, or another one.
    firms.register("d", json!({ "firmId": "f", "ownerId": "ann", "collaborators": null })).await;
    let eve = firms.enter("eve", "f", "d", 7).await;
    firms.register("d", json!({ "firmId": "g", "ownerId": "ann" })).await;
    for mut editor in [ann, bob, cid, cid_again, eve] {
        assert_eq!(editor.until_closed().await, no_access());
    }
    assert_eq!(provider.until_closed().await.1, 4403);
    // A document like any other again.
    assert_eq!(firms.ask("DELETE", "/api/admin/drafts/d", Value::Null).await, (200, json!({ "existed": true })));
    assert_eq!(firms.ask("DELETE", "/api/admin/drafts/d", Value::Null).await, (200, json!({ "existed": false })));
    drop(firms.enter("eve", "h", "d", 8).await);
    assert_eq!(firms.ask("GET", "/api/admin/drafts/d", Value::Null).await.0, 404);
    let bad = [
        ("PUT", "/api/admin/drafts/d", json!({}), 400, "firmId"),
        ("PUT", "/api/admin/drafts/d", json!({ "firmId": "", "ownerId": "a" }), 400, "1 to 256 bytes"),
        ("PUT", "/api/admin/drafts/d", list(&[("a", "own")]), 400, "`view`"),
        ("PUT", "/api/admin/drafts/d", list(&[("a", "view"), ("a", "edit")]), 400, "twice"),
        ("PUT", "/api/admin/drafts/%00", list(&[]), 400, "not a draft's id"),
        ("POST", "/api/admin/drafts/d", list(&[]), 405, "methods"),
    ];
    for (method, path, body, status, words) in bad {
        let (found, answer) = firms.ask(method, path, body).await;
        assert!(found == status && answer["error"].as_str().is_some_and(|why| why.contains(words)), "{path}: {answer}");
    }
    firms.server.stop(provider).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_say_who_makes_drafts_and_who_owns_what_is_there() {
    let store = memory();
    let firms = Firms::start("json-settings", |_| {}).await;
    let with = |auto_create, claim_existing, name: &str| {
        let mut config = firms.config.clone();
        (config.drafts.auto_create, config.drafts.claim_existing) = (auto_create, claim_existing);
        config.data = folder(name);
        config
    };
    let here = Firms::on(with(false, false, "json-settings-1"), store.clone()).await;
    assert_eq!(here.refused("ann", "f", "d").await, no_access(), "nobody makes drafts by coming");
    here.register("d", json!({ "firmId": "f", "ownerId": "bob" })).await;
    drop(here.enter("ann", "f", "d", 1).await);
    let old = format!("/y/old?token={}", of_firm("ann", "f"));
    Provider::enter(here.server.address, &old, 2).await.write_and_save("old").await;
    // What exists and is nobody's is open to all.
    assert_eq!(here.enter("ann", "f", "old", 3).await.shown(2), 3);
    assert_eq!(here.enter("eve", "g", "old", 4).await.shown(2), 3);
    assert_eq!(here.ask("GET", "/api/admin/drafts/old", Value::Null).await.0, 404);
    here.server.stop(()).await;
    let there = Firms::on(with(true, true, "json-settings-2"), store).await;
    let reads = json!({ "firmId": "g", "rooms": [{ "name": "*", "permission": "read" }] });
    drop(Editor::enter(there.server.address, &target(&token("eve", reads), "old"), 5).await);
    drop(there.enter("ann", "f", "old", 6).await);
    assert_eq!(there.refused("eve", "g", "old").await, no_access(), "it belongs to the first who may write");
    there.server.stop(()).await;
    firms.server.stop(()).await;
    // Without authentication nobody owns anything.
    let open = Running::start(config(), memory()).await;
    Editor::enter(open.address, "/ws?draftId=d", 7).await.write("x").await;
    drop(Editor::enter(open.address, "/ws?token=whatever&draftId=d", 8).await);
    open.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn making_drafts_counts_as_making_rooms_once() {
    let firms = Firms::start("json-counted", |config| {
        (config.limits.user_rooms_per_h, config.unload_after_ms) = (2, 0);
    })
    .await;
    for draft in ["one", "two"] {
        firms.enter("ann", "f", draft, 1).await.write("x").await;
    }
    let third = Client::connect_with(firms.server.address, &target(&of_firm("ann", "f"), "three"), "").await;
    let refusal = third.expect_err("no handshake");
    assert!(refusal.status == 503 && refusal.body.contains("limits.user_rooms_per_h"), "{refusal:?}");
    assert_eq!(firms.ask("GET", "/api/admin/drafts/three", Value::Null).await.0, 404, "nothing is registered");
    // What is there stays open, and so is what an administrator has registered.
    drop(firms.enter("ann", "f", "two", 2).await);
    firms.register("four", json!({ "firmId": "f", "ownerId": "ann" })).await;
    drop(firms.enter("ann", "f", "four", 3).await);
    firms.server.stop(()).await;
}

async fn rest(address: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
    let bearer = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    ask(address, method, path, &bearer, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_can_be_read_and_merged_into_over_http() {
    let firms = Firms::start("json-rest", |_| {}).await;
    let address = firms.server.address;
    let path = "/api/drafts/a%2Fb/yjs-state";
    let viewer = json!({ "userId": "cid", "permission": "view" });
    firms.register("a%2Fb", json!({ "firmId": "f", "ownerId": "ann", "collaborators": [viewer] })).await;
    let (ann, cid, eve) = (of_firm("ann", "f"), of_firm("cid", "f"), of_firm("eve", "g"));
    let state = |bytes: &[u8]| json!({ "draftId": "a/b", "yjsState": BASE64_STANDARD.encode(bytes) });
    assert_eq!(rest(address, "GET", path, &ann, "").await, (200, state(&[0, 0])), "registered, and never written into");
    let mut editor = Editor::enter(address, &target(&ann, "a%2Fb"), 1).await;
    editor.write("Dear").await;
    assert_eq!(editor.heard_by_now().await, []);
    assert_eq!(rest(address, "GET", path, &cid, "").await, (200, state(&Writer::new(1).write("Dear"))));
    // What is merged is announced, and takes nothing away.
    let merged = json!({ "yjsState": BASE64_STANDARD.encode(Writer::new(2).write("Sir")) }).to_string();
    let done = (200, json!({ "success": true, "draftId": "a/b" }));
    assert_eq!(rest(address, "PUT", path, &ann, &merged).await, done);
    editor.until_shown(2, 3).await;
    assert_eq!(rest(address, "PUT", path, &ann, &merged).await, done, "again: nothing is new");
    assert_eq!(editor.heard_by_now().await, []);
    let late = Editor::enter(address, &target(&cid, "a%2Fb"), 3).await;
    assert_eq!((late.content(), late.shown(1), late.shown(2)), (editor.content(), 4, 3));

    let bare = token("ann", json!({}));
    let stale = token("ann", json!({ "firmId": "f", "exp": now_s() - 40 }));
    let missing = "/api/drafts/missing/yjs-state";
    let cases = [
        ("GET", path, "", "", 401, "UNAUTHORIZED"),
        ("GET", path, "x", "", 401, "UNAUTHORIZED"),
        ("GET", path, &*stale, "", 401, "UNAUTHORIZED"),
        ("GET", path, &bare, "", 401, "UNAUTHORIZED"),
        ("PUT", path, "", &merged, 401, "UNAUTHORIZED"),
        ("GET", path, &eve, "", 404, "NOT_FOUND"),
        ("PUT", path, &eve, &merged, 404, "NOT_FOUND"),
        ("GET", missing, &ann, "", 404, "NOT_FOUND"),
        ("PUT", missing, &ann, &merged, 404, "NOT_FOUND"),
        ("GET", "/api/drafts/%00/yjs-state", &ann, "", 404, "NOT_FOUND"),
        ("PUT", path, &cid, &merged, 403, "FORBIDDEN"),
        ("PUT", path, &ann, "", 400, "VALIDATION_ERROR"),
        ("PUT", path, &ann, "{\"yjsState\":\"*\"}", 400, "VALIDATION_ERROR"),
        ("PUT", path, &ann, "{\"yjsState\":\"AQ==\"}", 400, "VALIDATION_ERROR"),
        ("PUT", path, &ann, "{\"yjsState\":\"\"}", 400, "VALIDATION_ERROR"),
        ("DELETE", path, &ann, "", 405, "VALIDATION_ERROR"),
    ];
    for (method, path, token, body, status, code) in cases {
        let (found, answer) = rest(address, method, path, token, body).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{method} {path}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
    }
    let (_, answer) = rest(address, "GET", missing, &ann, "").await;
    assert_eq!(answer, json!({ "error": { "code": "NOT_FOUND", "message": "Draft not found" } }));
    assert_eq!(editor.heard_by_now().await, [], "what was refused reached nobody");
    // It is on the disk when it is answered.
    drop((editor, late));
    let firms = firms.restart().await;
    let again = Editor::enter(firms.server.address, &target(&ann, "a%2Fb"), 4).await;
    assert_eq!((again.shown(1), again.shown(2)), (4, 3));
    firms.server.stop(again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_too_nobody_needs_a_token_without_authentication() {
    let server = Running::start(config(), memory()).await;
    let path = "/api/drafts/d/yjs-state";
    assert_eq!(rest(server.address, "GET", path, "", "").await.0, 404);
    let mut editor = Editor::enter(server.address, "/ws?draftId=d", 1).await;
    editor.write("hi").await;
    assert_eq!(editor.heard_by_now().await, []);
    let (status, answer) = rest(server.address, "GET", path, "", "").await;
    assert_eq!((status, &answer["draftId"]), (200, &json!("d")));
    server.stop(editor).await;
}
