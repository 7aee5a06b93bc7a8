//! What administrators do, and what the people concerned see.

use crate::credentials::{now_s, token, with_secret};
use crate::provider::{Provider, Said};
use crate::world::{HeldSyncs, Running, config, folder, memory, on_disk, store_on};
use serde_json::{Value, json};
use server::auth::KeyFile;
use server::config::{Config, Durability};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use testkit::client::{Client, request};
use testkit::disk::FaultyDisk;

/// A server whose administrators have an address of their own, and a key.
pub(crate) struct Administered {
    pub(crate) server: Running,
    admin: SocketAddr,
    key: String,
    store: Arc<dyn Store>,
    config: Config,
}

pub(crate) fn make_key(config: &Config, scopes: &str) -> String {
    let keys = KeyFile::open(&config.data).expect("opens");
    let spec = identity::api_key::KeySpec {
        name: scopes.to_owned(),
        owner: "ops".to_owned(),
        scopes: identity::Scopes::parse(scopes).expect("legal"),
        rooms: Vec::new(),
        expires_at_s: None,
    };
    keys.change(|table| table.create(spec, now_s())).expect("made").text
}

impl Administered {
    pub(crate) async fn start(name: &str) -> Self {
        Self::on(name, memory()).await
    }

    async fn on(name: &str, store: Arc<dyn Store>) -> Self {
        Self::with(name, store, config()).await
    }

    pub(crate) async fn with(name: &str, store: Arc<dyn Store>, config: Config) -> Self {
        let mut config = with_secret(config);
        config.data = folder(name);
        config.admin.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let key = make_key(&config, "admin");
        let server = Running::start(config.clone(), store.clone()).await;
        let admin = server.admin.expect("it listens for administrators");
        Self { server, admin, key, store, config }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        ask(self.admin, method, path, &format!("Authorization: Bearer {}\r\n", self.key), &body.to_string()).await
    }

    async fn enter(&self, user: &str, room: &str, id: u64) -> Provider {
        Provider::enter(self.server.address, &target(user, room), id).await
    }
}

fn target(user: &str, room: &str) -> String {
    format!("/{room}?token={}", token(user, json!({ "iat": now_s() - 300 })))
}

pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    let response = request(address, head + body).await;
    assert!(response.head.contains("x-request-id: req_") || response.status == 404, "{}", response.head);
    (response.status, serde_json::from_str(&response.body).unwrap_or(Value::String(response.body)))
}

async fn refused(address: SocketAddr, target: &str) -> (u16, String) {
    let mut provider = Provider::unsynced(Client::connect(address, target).await, 99);
    let (_, code, reason) = provider.until_closed().await;
    (code, reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_without_an_admin_key() {
    let world = Administered::start("admin-keys").await;
    let reader = make_key(&world.config, "read,write");
    let bearer = |key: &str| format!("Authorization: Bearer {key}\r\n");
    let user = token("ann", json!({ "scopes": ["admin"], "scope": "admin", "role": "admin" }));
    // The key that was made after the start is known within a moment.
    let known = async {
        while ask(world.admin, "GET", "/metrics", &bearer(&reader), "").await.0 != 403 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(testkit::client::PATIENCE, known).await.expect("the file is read again");
    for (headers, status) in [
        (String::new(), 401),
        (bearer("x"), 401),
        (bearer(&user), 401),
        (bearer(&world.key[..world.key.len() - 1]), 401),
        (bearer(&reader), 403),
        (format!("Authorization: Basic {}\r\n", world.key), 401),
    ] {
        for (method, path) in [
            ("GET", "/metrics"),
            ("POST", "/api/admin/revoke"),
            ("DELETE", "/api/admin/rooms/r"),
            ("GET", "/api/admin/keys"),
        ] {
            assert_eq!(ask(world.admin, method, path, &headers, "{}").await.0, status, "{method} {path}");
        }
    }
    // Not where clients connect, unless that is asked for.
    for path in ["/api/admin/keys", "/metrics"] {
        let response =
            request(world.server.address, format!("GET {path} HTTP/1.1\r\nHost: h\r\n{}\r\n", bearer(&world.key)))
                .await;
        assert!(
            !response.body.contains("concord_connections") && !response.body.contains("\"keys\""),
            "{}",
            response.body
        );
    }
    let (status, metrics) = world.ask("GET", "/metrics", Value::Null).await;
    assert!(
        status == 200 && metrics.as_str().is_some_and(|text| text.contains("\nconcord_connections 0\n")),
        "{metrics}"
    );
    let mut public = world.config.clone();
    (public.admin.public, public.admin.listen, public.data) = (true, None, world.config.data.clone());
    let other = Running::start(public, memory()).await;
    assert_eq!(ask(other.address, "GET", "/api/admin/keys", "", "").await.0, 401);
    assert_eq!(ask(other.address, "GET", "/api/admin/keys", &bearer(&world.key), "").await.0, 200);
    other.stop(()).await;
    world.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_understood_are_told_why() {
    let world = Administered::start("admin-requests").await;
    let cases = [
        ("POST", "/api/admin/revoke", json!({}), 400, "say who is meant"),
        ("POST", "/api/admin/revoke", json!({ "all": true, "user": "u" }), 400, "say who is meant"),
        ("POST", "/api/admin/revoke", json!({ "usr": "u" }), 400, "usr"),
        ("POST", "/api/admin/revoke", json!("u"), 400, "cannot be understood"),
        ("POST", "/api/admin/revoke", json!({ "room": "a*b" }), 400, "at its end"),
        ("POST", "/api/admin/revoke", json!({ "user": "u", "permission": "write" }), 400, "`none` or `read`"),
        ("POST", "/api/admin/revoke", json!({ "key": "nokey" }), 404, "nokey"),
        ("POST", "/api/admin/revoke", json!({ "key": "x", "user": "u" }), 400, "as a whole"),
        ("GET", "/api/admin/revoke", json!({}), 405, "methods"),
        ("POST", "/api/admin/nothing", json!({}), 404, "docs/admin.md"),
        ("POST", "/api/admin/rooms//kick", json!({}), 400, "not a room name"),
        ("POST", "/api/admin/rooms/%00/lock", json!({}), 400, "not a room name"),
        ("POST", "/api/admin/rooms/..%2Fx/lock", json!({}), 400, "not a room name"),
        ("POST", "/api/admin/rooms/a/b/lock", json!({}), 404, "docs/admin.md"),
        ("POST", "/api/admin/keys", json!({ "name": "", "owner": "o", "scopes": ["read"] }), 400, "name"),
        ("POST", "/api/admin/keys", json!({ "name": "n", "owner": "o", "scopes": ["root"] }), 400, "scope"),
        ("DELETE", "/api/admin/keys/nokey", json!({}), 404, "nokey"),
        ("POST", "/elsewhere", json!({}), 404, "nothing is served"),
        ("POST", "/api/admin/confirm", json!({ "user": "x".repeat(70_000) }), 413, "64 KiB"),
    ];
    for (method, path, body, status, words) in cases {
        let (found, answer) = world.ask(method, path, body).await;
        assert_eq!(found, status, "{method} {path}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(words)), "{method} {path}: {answer}");
    }
    world.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_user_ends_a_hundred_connections_and_their_tokens() {
    let world = Administered::start("admin-revoke").await;
    let mut bystander = world.enter("bob", "r0", 1).await;
    let mut members = Vec::new();
    for number in 0..100 {
        members.push(world.enter("ann", &format!("r{}", number % 10), number + 2).await);
    }
    let began = Instant::now();
    let (status, answer) = world.ask("POST", "/api/admin/revoke", json!({ "user": "ann" })).await;
    assert_eq!((status, &answer["connections"]), (200, &json!(100)), "{answer}");
    for member in &mut members {
        let (_, code, reason) = member.until_closed().await;
        assert_eq!((code, &*reason), (4403, "access revoked"));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    bystander.write_and_save("not concerned").await;
    assert_eq!(refused(world.server.address, &target("ann", "r0")).await, (4403, "access revoked".to_owned()));
    let without_time = format!("/r0?token={}", token("ann", json!({ "iat": null })));
    assert_eq!(refused(world.server.address, &without_time).await.0, 4403);
    // A token that was issued afterwards is another matter; clocks may differ by the leeway.
    let later = format!("/r0?token={}", token("ann", json!({ "iat": now_s() + 20 })));
    let back = Provider::enter(world.server.address, &later, 200).await;

    // It is remembered, also by the next process.
    let Administered { server, store, config, key, .. } = world;
    server.stop((members, bystander, back)).await;
    let server = Running::start(config.clone(), store.clone()).await;
    let admin = server.admin.expect("it listens");
    assert_eq!(refused(server.address, &target("ann", "r0")).await.0, 4403);
    let bearer = format!("Authorization: Bearer {key}\r\n");
    let (_, listed) = ask(admin, "GET", "/api/admin/revocations", &bearer, "").await;
    assert_eq!(listed["revocations"][0]["user"], "ann", "{listed}");
    assert_eq!(ask(admin, "DELETE", "/api/admin/revocations", &bearer, "").await.0, 200);
    drop(Provider::enter(server.address, &target("ann", "r0"), 201).await);
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_can_be_taken_back_in_part() {
    let world = Administered::start("admin-read").await;
    let mut inside = world.enter("ann", "team/1", 1).await;
    let mut outside = world.enter("ann", "other", 2).await;
    let meant = json!({ "user": "ann", "room": "team/*", "permission": "read" });
    let (status, answer) = world.ask("POST", "/api/admin/revoke", meant).await;
    assert_eq!((status, &answer["connections"]), (200, &json!(1)), "{answer}");
    inside.write("x").await;
    assert_eq!(inside.heard_by_now().await, [Said::Denied("read-only".to_owned())]);
    outside.write_and_save("y").await;
    let mut again = world.enter("ann", "team/2", 3).await;
    again.write("x").await;
    assert_eq!(again.heard_by_now().await, [Said::Denied("read-only".to_owned())]);
    world.ask("POST", "/api/admin/revoke", json!({ "all": true })).await;
    for member in [&mut inside, &mut outside, &mut again] {
        assert_eq!(member.until_closed().await.1, 4403);
    }
    world.server.stop((inside, outside, again)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_room_can_be_read() {
    let world = Administered::start("admin-lock").await;
    let mut ann = world.enter("ann", "team/1", 1).await;
    let mut bob = world.enter("bob", "team/2", 2).await;
    ann.write_and_save("before").await;
    let (status, answer) = world.ask("POST", "/api/admin/rooms/team%2F1/lock", json!({})).await;
    assert_eq!((status, &answer["connections"]), (200, &json!(1)), "{answer}");
    let mut late = world.enter("cid", "team/1", 3).await;
    late.until_shown(1, 6).await;
    for member in [&mut ann, &mut late] {
        member.write("x").await;
        assert_eq!(member.heard_by_now().await, [Said::Denied("read-only".to_owned())]);
    }
    bob.write_and_save("elsewhere").await;
    let (_, state) = world.ask("GET", "/api/admin/rooms/team%2F1", json!({})).await;
    assert_eq!(state, json!({ "locked": true, "deleted": false }));
    assert_eq!(world.ask("POST", "/api/admin/rooms/team%2F1/unlock", json!({})).await.0, 200);
    // Of what was refused its client still knows; it sends it again when it connects again.
    let mut again = world.enter("cid", "team/1", 4).await;
    again.write_and_save("after").await;
    ann.until_shown(4, 5).await;
    world.server.stop((ann, bob, late, again)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_room_is_gone_until_it_is_reopened() {
    let world = Administered::start("admin-delete").await;
    let mut ann = world.enter("ann", "r", 1).await;
    ann.write_and_save("gone soon").await;
    let mut other = world.enter("ann", "r2", 2).await;
    let (status, answer) = world.ask("DELETE", "/api/admin/rooms/r", json!({})).await;
    assert_eq!((status, &answer), (200, &json!({ "existed": true, "connections": 1 })));
    assert_eq!(ann.until_closed().await.1, 4404);
    assert_eq!(refused(world.server.address, &target("ann", "r")).await, (4404, "room deleted".to_owned()));
    assert_eq!(refused(world.server.address, "/r?token=x").await.0, 4401, "strangers are not told");
    assert!(!world.store.list().expect("a list").iter().any(|room| &*room.room == "doc/r"));
    other.write_and_save("not concerned").await;
    assert_eq!(world.ask("POST", "/api/admin/rooms/r/reopen", json!({})).await.0, 200);
    let mut anew = world.enter("bob", "r", 3).await;
    assert_eq!(anew.shown(1), 0);
    anew.write_and_save("a new life").await;
    world.server.stop((ann, other, anew)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_kicked_may_come_back_or_not() {
    let world = Administered::start("admin-kick").await;
    let mut ann = world.enter("ann", "r", 1).await;
    let mut bob = world.enter("bob", "r", 2).await;
    let (_, answer) = world.ask("POST", "/api/admin/rooms/r/kick", json!({ "user": "ann" })).await;
    assert_eq!(answer["connections"], 1);
    let (_, code, reason) = ann.until_closed().await;
    assert_eq!((code, &*reason), (4403, "disconnected by an administrator"));
    bob.write_and_save("stays").await;
    world.ask("POST", "/api/admin/rooms/r/kick", json!({ "come_back": true })).await;
    let (_, code, reason) = bob.until_closed().await;
    assert_eq!((code, &*reason), (4500, "disconnected by an administrator, reconnect"));
    let back = world.enter("ann", "r", 3).await;
    world.server.stop((ann, bob, back)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_and_revoked_over_http() {
    let world = Administered::start("admin-make").await;
    let wanted = json!({ "name": "ci", "owner": "bot", "scopes": ["write"], "rooms": ["builds/*"], "ttl_s": 60 });
    let (status, made) = world.ask("POST", "/api/admin/keys", wanted).await;
    assert_eq!(status, 200, "{made}");
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    let mut bot = Provider::enter(world.server.address, &format!("/builds/1?token={key}"), 1).await;
    bot.write_and_save("built").await;
    let (_, listed) = world.ask("GET", "/api/admin/keys", json!({})).await;
    let entry = listed["keys"].as_array().expect("a list").iter().find(|entry| entry["id"] == id).expect("listed");
    assert_eq!((&entry["name"], &entry["owner"]), (&json!("ci"), &json!("bot")));
    assert!(entry["used_at_s"].as_u64().is_some_and(|used| used + 60 > now_s()), "{entry}");
    assert!(!listed.to_string().contains(key) && !listed.to_string().contains("hash"), "{listed}");
    let (status, answer) = world.ask("DELETE", &format!("/api/admin/keys/{id}"), json!({})).await;
    assert_eq!((status, &answer["connections"]), (200, &json!(1)));
    assert_eq!(bot.until_closed().await.1, 4403);
    assert_eq!(refused(world.server.address, &format!("/builds/1?token={key}")).await.0, 4401);
    world.server.stop(bot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_and_deletions_hold_without_authentication_too() {
    let mut config = config();
    config.data = folder("admin-anonymous");
    config.durability = Durability::Ack;
    config.admin.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let key = make_key(&config, "admin");
    let server = Running::start(config, memory()).await;
    let admin = server.admin.expect("it listens");
    let bearer = format!("Authorization: Bearer {key}\r\n");
    let mut member = Provider::enter(server.address, "/r", 1).await;
    assert_eq!(ask(admin, "POST", "/api/admin/rooms/r/lock", &bearer, "").await.0, 200);
    member.write("x").await;
    assert_eq!(member.heard_by_now().await, [Said::Denied("read-only".to_owned())]);
    assert_eq!(ask(admin, "DELETE", "/api/admin/rooms/r", &bearer, "").await.0, 200);
    assert_eq!(member.until_closed().await.1, 4404);
    assert_eq!(refused(server.address, "/r").await.0, 4404);
    server.stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_is_carried_out_also_when_nobody_waits_for_it() {
    let disk = FaultyDisk::new();
    let world = Administered::on("admin-impatient", store_on(&disk)).await;
    let mut ann = world.enter("ann", "r", 1).await;
    let held = HeldSyncs::of(&disk);
    let mut stream = tokio::net::TcpStream::connect(world.admin).await.expect("it listens");
    let (key, body) = (&world.key, "{\"user\":\"ann\"}");
    let length = body.len();
    let head = format!(
        "POST /api/admin/revoke HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n"
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, (head + body).as_bytes()).await.expect("sent");
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    drop(stream);
    ann.heard_by_now().await;
    drop(held);
    assert_eq!(ann.until_closed().await.1, 4403);
    world.server.stop(ann).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_the_disk_refuses_is_not_taken() {
    let disk = FaultyDisk::new();
    let world = Administered::on("admin-disk", store_on(&disk)).await;
    disk.fail_writes("log/", std::io::ErrorKind::StorageFull);
    let (status, answer) = world.ask("POST", "/api/admin/rooms/r/lock", json!({})).await;
    assert_eq!(status, 503, "{answer}");
    assert_eq!(world.ask("GET", "/api/admin/rooms/r", json!({})).await.1["locked"], false);
    disk.heal();
    assert_eq!(world.ask("POST", "/api/admin/rooms/r/lock", json!({})).await.0, 200);
    assert_eq!(world.ask("GET", "/api/admin/rooms/r", json!({})).await.1["locked"], true);
    world.server.stop(()).await;
}
