//! Notes over real sockets, as far as the server decides: how many connections, who is too slow, what a failing disk and an administrator do. What a notebook
//! and its messages are is shown by the room and the dialect.

use crate::admin::make_key;
use crate::credentials::{token, with_secret};
use crate::world::{Running, config, folder, memory, store_on};
use serde_json::{Value, json};
use server::config::Config;
use std::net::SocketAddr;
use testkit::client::{Client, Heard, request};
use testkit::disk::FaultyDisk;

/// A device.
struct Device {
    client: Client,
}

impl Device {
    /// Connects, and has what there is.
    async fn enter(address: SocketAddr) -> Self {
        let mut device = Self { client: Client::connect(address, "/sync").await };
        assert_eq!(device.hear().await.expect("it stays open")["type"], "sync_required");
        device
    }

    /// The next message, or how it has ended.
    async fn hear(&mut self) -> Result<Value, (u16, String)> {
        match self.client.hear().await {
            Heard::Text(text) => Ok(serde_json::from_slice(&text).expect("the server sends JSON")),
            Heard::Close(code, reason) => Err((code, reason)),
            other => panic!("{other:?} from the server"),
        }
    }

    async fn say(&mut self, kind: &str, payload: Value) {
        let message = json!({ "type": kind, "payload": payload, "timestamp": "2025-01-17T14:27:39.502Z" });
        self.client.send_text(&message.to_string()).await;
    }

    async fn write(&mut self, id: &str, content: &str) {
        let at = "2025-01-17T14:00:00.000Z";
        let note = json!({ "id": id, "title": "t", "content": content, "tags": [], "createdAt": at, "updatedAt": at });
        self.say("note_update", json!({ "note": note })).await;
    }

    /// All that comes before the answer to a ping.
    async fn heard_by_now(&mut self) -> Vec<Value> {
        self.say("ping", json!({ "timestamp": 7 })).await;
        let mut heard = Vec::new();
        loop {
            match self.hear().await.expect("it stays open") {
                pong if pong["type"] == "pong" => return heard,
                told => heard.push(told),
            }
        }
    }
}

async fn put(address: SocketAddr, id: &str, content: &str) {
    let body = json!({ "title": "t", "content": content, "tags": [] }).to_string();
    let length = body.len();
    let head =
        format!("PUT /api/notes/{id} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let response = request(address, head + &body).await;
    assert_eq!(response.status, 200, "{}", response.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_a_hundred_connections() {
    let server = Running::start(with_secret(config()), memory()).await;
    let enter = async |user: &str| {
        let offer = format!("Sec-WebSocket-Protocol: token-{}\r\n", token(user, json!({})));
        Client::connect_with(server.address, "/sync", &offer).await
    };
    let mut devices = Vec::new();
    for _ in 0..100 {
        devices.push(enter("ann").await.expect("there is a place"));
    }
    let refused = enter("ann").await.expect_err("one too many");
    let told: Value = serde_json::from_str(&refused.body).expect("JSON");
    assert_eq!((refused.status, &told["error"]["code"]), (429, &json!("RATE_LIMIT_EXCEEDED")));
    assert!(enter("bob").await.is_ok(), "another user has places");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_misses_messages_once_and_is_closed_the_second_time() {
    let mut config = config();
    // Not the bytes, but the number of messages is to be reached.
    config.limits.ring_bytes_max = 256 << 20;
    let server = Running::start(config, memory()).await;
    let mut slow = Device { client: Client::connect_narrow(server.address, "/sync").await };
    assert_eq!(slow.hear().await.expect("open")["type"], "sync_required");
    let mut reader = Device::enter(server.address).await;
    let content = "x".repeat(16 << 10);
    let mut reasons = Vec::new();
    for round in 0..2 {
        // Over HTTP, because a device may not send as fast as that. What the system keeps for a socket is less than a third of it.
        for number in 0..1_600 {
            put(server.address, &format!("n{round}-{number}"), &content).await;
            let told = reader.hear().await.expect("it stays open");
            assert_eq!(told["type"], "note_updated", "message {number}");
        }
        // Now it reads, until it hears that it has missed something.
        loop {
            match slow.hear().await {
                Ok(told) if told["type"] == "sync_required" => {
                    reasons.push(told["payload"]["reason"].as_str().unwrap_or_default().to_owned());
                    break;
                }
                Ok(_) => {}
                Err((code, _)) => {
                    reasons.push(code.to_string());
                    break;
                }
            }
        }
    }
    assert_eq!(reasons, ["missed_messages", "1013"]);
    put(server.address, "after", "all").await;
    assert_eq!(reader.hear().await.expect("it stays open")["payload"]["note"]["id"], "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_that_is_called_like_a_notebook_keeps_nobody_out_of_it() {
    let server = Running::start(with_secret(config()), memory()).await;
    let enter = async || {
        let offer = format!("Sec-WebSocket-Protocol: token-{}\r\n", token("bob", json!({})));
        Device { client: Client::connect_with(server.address, "/sync", &offer).await.expect("it is his own") }
    };
    let mut bob = enter().await;
    let mallory = token("mallory", json!({ "firmId": "f" }));
    let mut draft = Client::connect(server.address, &format!("/ws?token={mallory}&draftId=notes%2Fbob")).await;
    assert!(matches!(draft.hear().await, Heard::Text(_)), "the draft is hers");
    bob.write("a", "still here").await;
    assert!(bob.heard_by_now().await.iter().all(|told| told["type"] == "sync_required"));
    let mut again = enter().await;
    assert!(again.heard_by_now().await.iter().any(|told| told["payload"]["note"]["id"] == "a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_disk_does_not_take_is_told_to_nobody_else() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let (mut writer, mut other) = (Device::enter(server.address).await, Device::enter(server.address).await);
    writer.write("a", "kept").await;
    assert_eq!(other.hear().await.expect("open")["payload"]["note"]["id"], "a");
    disk.fail_writes("log/", std::io::ErrorKind::StorageFull);
    writer.write("b", "lost").await;
    let told = writer.hear().await.expect("a message before the end");
    assert_eq!((&told["type"], &told["payload"]["code"]), (&json!("error"), &json!("INTERNAL_ERROR")));
    assert_eq!(other.hear().await.expect("a message")["payload"]["code"], json!("INTERNAL_ERROR"), "and no note");
    disk.heal();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_has_all_devices_begin_anew_and_deletes_a_notebook() {
    let mut config: Config = with_secret(config());
    config.data = folder("notes-admin");
    config.admin.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let key = make_key(&config, "admin");
    let server = Running::start(config.clone(), memory()).await;
    let admin = server.admin.expect("an address");
    let decide = async |method: &str, path: &str| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\n\r\n"
        );
        request(admin, head).await.body
    };
    let offer = format!("Sec-WebSocket-Protocol: token-{}\r\n", token("ann", json!({})));
    let client = Client::connect_with(server.address, "/sync", &offer).await.expect("let in");
    let mut ann = Device { client };
    assert!(ann.heard_by_now().await.iter().all(|told| told["payload"]["reason"] == "initial_sync"));
    assert_eq!(decide("POST", "/api/admin/notebooks/ann/resync").await, r#"{"connections":1}"#);
    assert_eq!(ann.hear().await.expect("open")["payload"]["reason"], "server_update");
    assert_eq!(decide("DELETE", "/api/admin/notebooks/ann").await, r#"{"connections":1,"existed":false}"#);
    while ann.hear().await.is_ok() {}
    let refused = Client::connect_with(server.address, "/sync", &offer).await.expect_err("deleted");
    assert_eq!(refused.status, 404, "{}", refused.body);
}
