//! Room databases over real sockets, as far as the server decides: who gets in with which words, what ends a connection, who is too slow, what a stop and an
//! administrator do. What the methods do is shown by the database, the room and the dialect.

use crate::accounts::PASSWORD;
use crate::admin::make_key;
use crate::credentials::{now_s, token, with_secret};
use crate::world::{Running, config, folder, memory};
use serde_json::{Value, json};
use server::config::Config;
use std::net::SocketAddr;
use testkit::client::{Client, Heard, Response, request};

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    request(address, head + &body).await
}

/// A server with databases.
struct Console {
    server: Running,
    config: Config,
    admin_key: String,
}

impl Console {
    async fn start(name: &str) -> Self {
        let mut config = config();
        config.data = folder(name);
        config.admin.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self::on(config).await
    }

    async fn on(config: Config) -> Self {
        let admin_key = make_key(&config, "admin");
        let server = Running::start(config.clone(), memory()).await;
        Self { server, config, admin_key }
    }

    /// The token of a new account.
    async fn token(&self, name: &str) -> String {
        let body = json!({ "name": name, "email": format!("{name}@example.com"), "password": PASSWORD });
        let response = ask(self.server.address, "POST", "/api/auth/sign-up/email", "", &body).await;
        let told: Value = serde_json::from_str(&response.body).expect("JSON");
        told["token"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Value {
        let response =
            ask(self.server.address, "POST", path, &format!("Authorization: Bearer {token}\r\n"), &body).await;
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        serde_json::from_str(&response.body).expect("JSON")
    }

    async fn enter(&self, room: &str, credential: &str) -> Page {
        Page::on(Client::connect(self.server.address, &format!("/websocket?room_id={room}&{credential}")).await).await
    }
}

/// A page of the console.
struct Page {
    client: Client,
    calls: u64,
}

impl Page {
    async fn on(client: Client) -> Self {
        let mut page = Self { client, calls: 0 };
        assert_eq!(page.hear().await, Ok(json!({ "type": "reset" })));
        page
    }

    /// The next message, or how it has ended.
    async fn hear(&mut self) -> Result<Value, (u16, String)> {
        match self.client.hear().await {
            Heard::Text(text) => Ok(serde_json::from_slice(&text).expect("the server sends JSON")),
            Heard::Close(code, reason) => Err((code, reason)),
            other => panic!("{other:?} from the server"),
        }
    }

    async fn begin(&mut self, method: &str, payload: Value) -> String {
        self.calls += 1;
        let id = format!("r{}", self.calls);
        let call = json!({ "action": "rpc", "method": method, "payload": payload, "requestId": id });
        self.client.send_text(&call.to_string()).await;
        id
    }

    /// Calls a method, and returns its answer.
    async fn call(&mut self, method: &str, payload: Value) -> Value {
        let id = self.begin(method, payload).await;
        loop {
            let told = self.hear().await.expect("it stays open");
            if told["requestId"] == json!(id) {
                return told;
            }
        }
    }

    async fn until_closed(&mut self) -> (u16, String) {
        loop {
            if let Err(closed) = self.hear().await {
                return closed;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_says_what_is_missing_in_its_order() {
    let console = Console::start("room-db-door").await;
    let token = console.token("ann").await;
    let key = console.post("/api/keys/generate", &token, json!({})).await["id"].as_str().expect("a key").to_owned();
    let cookie = format!("Cookie: better-auth.session_token={token}\r\nOrigin: http://h.example\r\n");
    let empty = r#"{"error":"room_id parameter is required and must not be empty"}"#;
    let (log_in, invalid) = ("Unauthorized. Please log in.", "Unauthorized: Invalid API Key or Session");
    let cases: &[(&str, &str, u16, &str)] = &[
        ("", "", 400, "Missing room_id query parameter"),
        ("?room_id=", "", 400, empty),
        ("?room_id=++%20", "", 400, empty),
        ("?room_id=r", "", 401, log_in),
        ("?room_id=r&key=nk_live_0", "", 401, "Invalid API key"),
        ("?room_id=r&key=nk_live_0", &cookie, 401, "Invalid API key"),
        ("?room_id=r&session_token=x", "", 401, invalid),
        ("?room_id=r", "Cookie: better-auth.session_token=x\r\nOrigin: http://h.example\r\n", 401, invalid),
        ("?room_id=r", "X-User-ID: ann\r\n", 401, log_in),
        ("?room_id=r&key=abc", &cookie, 426, "Expected Upgrade: websocket"),
        ("?room_id=r", &format!("X-Nano-Key: {key}\r\n"), 426, "Expected Upgrade: websocket"),
    ];
    for path in ["/websocket", "/connect", "/__ws/websocket", "/__ws/connect"] {
        for (query, headers, status, body) in cases {
            let target = format!("{path}{query}");
            let plain = ask(console.server.address, "GET", &target, headers, &Value::Null).await;
            assert_eq!((plain.status, plain.body.as_str()), (*status, *body), "{target} {headers}");
            assert_eq!(plain.header("x-frame-options"), Some("deny"), "{target}");
            if *status != 426 && !headers.contains("Cookie") {
                // The same is said to a client that wants a socket.
                let refused = Client::connect_with(console.server.address, &target, headers).await.expect_err(&target);
                assert_eq!(refused.status, *status, "{target} {headers}: {}", refused.body);
            }
        }
    }
    console.enter("r", &format!("api_key={key}")).await;
    console.enter("r", &format!("session_token={token}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_loses_its_credential_is_told_and_goes() {
    let console = Console::start("room-db-withdrawn").await;
    let (ann, bob) = (console.token("ann").await, console.token("bob").await);
    let key = console.post("/api/keys/generate", &ann, json!({ "scopes": ["read"] })).await;
    let key = key["id"].as_str().expect("a key").to_owned();
    let mut owner = console.enter("crm", &format!("session_token={ann}")).await;
    let mut by_key = console.enter("crm", &format!("key={key}")).await;
    let mut guest = console.enter("crm", &format!("session_token={bob}")).await;
    assert_eq!(owner.call("createTask", json!({ "title": "a" })).await["type"], "mutation_success");
    let refused = by_key.call("createTask", json!({ "title": "b" })).await;
    assert_eq!(
        (&refused["type"], &refused["error"]),
        (&json!("mutation_error"), &json!("API key lacks the 'write' scope"))
    );
    assert_eq!(by_key.call("listTasks", json!({})).await["total"], 1);
    assert_eq!(guest.call("listTasks", json!({})).await["total"], 0, "rows of others are not seen");

    console.post("/api/keys/delete", &ann, json!({ "id": key })).await;
    assert_eq!(by_key.until_closed().await.0, 1008);
    console.post("/api/auth/sign-out", &bob, Value::Null).await;
    assert_eq!(guest.until_closed().await.0, 1008);
    assert_eq!(owner.call("listTasks", json!({})).await["total"], 1, "nobody else is concerned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_reduced_to_reading_stays_reduced() {
    let mut config = with_secret(config());
    config.data = folder("room-db-reduced");
    config.admin.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let console = Console::on(config).await;
    let issued = json!({ "iat": now_s() - 300 });
    let token = token("ann", issued);
    let mut page = console.enter("r", &format!("session_token={token}")).await;
    assert_eq!(page.call("createTask", json!({ "title": "a" })).await["type"], "mutation_success");
    let admin = console.server.admin.expect("an address");
    let authorized = format!("Authorization: Bearer {}\r\n", console.admin_key);
    let whom = json!({ "user": "ann", "permission": "read" });
    ask(admin, "POST", "/api/admin/revoke", &authorized, &whom).await;
    // The gate is asked once more; its answer is no better.
    ask(admin, "POST", "/api/admin/confirm", &authorized, &json!({ "user": "ann" })).await;
    for _ in 0..20 {
        assert_eq!(page.call("createTask", json!({ "title": "b" })).await["type"], "mutation_error");
    }
    assert_eq!(page.call("listTasks", json!({})).await["total"], 1);
    // Whoever comes back comes as a reader, and at once.
    let mut again = console.enter("r", &format!("session_token={token}")).await;
    assert_eq!(again.call("createTask", json!({ "title": "c" })).await["type"], "mutation_error");
    let body = json!({ "scopes": ["read", "write"] });
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let made = ask(console.server.address, "POST", "/api/keys/generate", &bearer, &body).await;
    assert_eq!(made.status, 403, "a token makes no key that would outlive it");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looks_makes_nothing() {
    let console = Console::start("room-db-look").await;
    let token = console.token("ann").await;
    let look = async |path: &str| {
        let authorized = format!("Authorization: Bearer {token}\r\n");
        ask(console.server.address, "GET", path, &authorized, &Value::Null).await
    };
    for path in ["/schema", "/api/schema", "/manifest", "/analytics"] {
        assert_eq!(look(&format!("{path}?room_id=r")).await.status, 404, "{path}");
    }
    assert_eq!(look("/api/rooms/list").await.body, "[]");
    let mut page = console.enter("r", &format!("session_token={token}")).await;
    page.call("createTask", json!({ "title": "a" })).await;
    for path in ["/schema", "/api/schema", "/manifest", "/analytics"] {
        let seen = look(&format!("{path}?room_id=r")).await;
        assert_eq!(seen.status, 200, "{path}: {}", seen.body);
        assert_eq!(seen.header("x-frame-options"), Some("deny"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_writes_what_waits_and_says_good_bye() {
    let mut console = Console::start("room-db-stop").await;
    let token = console.token("ann").await;
    let mut page = console.enter("r", &format!("session_token={token}")).await;
    page.call("updateDebounced", json!({ "key": "k", "value": { "deep": [1] } })).await;
    let last = page.begin("createTask", json!({ "title": "last" })).await;
    // What was sent is read before the stop: a pong comes behind it.
    page.client.send_text(r#"{"action":"ping"}"#).await;
    let mut answered = false;
    while let Ok(told) = page.hear().await {
        answered |= told["requestId"] == json!(last);
        if told["type"] == "pong" {
            console.server.begin_stop();
        }
    }
    assert!(answered, "an answer that is due comes before the end");
    let config = console.config.clone();
    assert!(console.server.stopped().await);
    let kept = rusqlite::Connection::open(config.data.join("databases/r.db")).expect("a database");
    let value: String = kept
        .query_row("SELECT value FROM _debounced_state WHERE key = 'k'", [], |row| row.get(0))
        .expect("it was written");
    assert_eq!(value, r#"{"deep":[1]}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_what_it_has_subscribed_to_is_closed_and_the_others_go_on() {
    let console = Console::start("room-db-slow").await;
    let token = console.token("ann").await;
    let target = format!("/websocket?room_id=r&session_token={token}");
    let mut writer = console.enter("r", &format!("session_token={token}")).await;
    writer.call("createTable", json!({ "tableName": "t", "columns": [{ "name": "v" }] })).await;
    // The writer is not subscribed, so that the events are private frames.
    let mut slow = Page::on(Client::connect_narrow(console.server.address, &target).await).await;
    let mut reader = console.enter("r", &format!("session_token={token}")).await;
    for page in [&mut slow, &mut reader] {
        page.client.send_text(r#"{"action":"subscribe","table":"t"}"#).await;
        page.call("getCursors", json!({})).await;
    }
    let row = json!({ "v": "x".repeat(2_000) });
    for _ in 0..80 {
        let rows = vec![row.clone(); 50];
        let answer = writer.call("batchInsert", json!({ "table": "t", "rows": rows })).await;
        assert_eq!(answer["data"]["inserted"], 50, "{answer}");
        for _ in 0..50 {
            assert_eq!(reader.hear().await.expect("it stays open")["action"], "added");
        }
    }
    let closed = slow.until_closed().await;
    assert_eq!(closed.0, 1013, "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_locks_and_deletes_a_database() {
    let console = Console::start("room-db-admin").await;
    let admin = console.server.admin.expect("an address");
    let key = &console.admin_key;
    let decide = async |method: &str, path: &str| {
        ask(admin, method, path, &format!("Authorization: Bearer {key}\r\n"), &Value::Null).await
    };
    let token = console.token("ann").await;
    let mut page = console.enter("r", &format!("session_token={token}")).await;
    page.call("createTask", json!({ "title": "a" })).await;
    assert_eq!(decide("POST", "/api/admin/databases/r/lock").await.body, r#"{"connections":1}"#);
    assert_eq!(page.call("createTask", json!({ "title": "b" })).await["type"], "mutation_error");
    decide("POST", "/api/admin/databases/r/unlock").await;
    assert_eq!(page.call("createTask", json!({ "title": "c" })).await["type"], "mutation_success");
    let file = console.config.data.join("databases/r.db");
    assert!(file.exists());
    assert_eq!(decide("DELETE", "/api/admin/databases/r").await.body, r#"{"connections":1,"existed":true}"#);
    page.until_closed().await;
    assert!(!file.exists());
    let target = format!("/websocket?room_id=r&session_token={token}");
    let refused = Client::connect_with(console.server.address, &target, "").await.expect_err("it is gone");
    assert_eq!(refused.status, 404, "{}", refused.body);
    decide("POST", "/api/admin/databases/r/reopen").await;
    let mut again = console.enter("r", &format!("session_token={token}")).await;
    assert_eq!(again.call("listTasks", json!({})).await["total"], 0);
}
