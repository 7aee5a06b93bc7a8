//! The y-sweet API as its SDK and its client use it: documents and tokens over HTTP, refusals before the upgrade, and what a sync status waits for.

use crate::admin::{ask as ask_admin, make_key};
use crate::process::Concord;
use crate::provider::{Provider, Writer, content_of, step_1, step_2, update};
use crate::world::{HeldSyncs, Running, config, folder, limited, memory, on_disk, store_on};
use serde_json::{Value, json};
use server::address::Trusted;
use server::config::{Config, Durability, Secret};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use testkit::client::{Client, Heard, PATIENCE, Response, request};
use testkit::disk::FaultyDisk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SERVER_TOKEN: &str = "the server token of the tests";
const KEEP_ALIVE: &[u8] = &[1, 1, 0];

/// Documents have tokens, and nobody gets in without.
fn signed() -> Config {
    let mut config = config();
    config.y_sweet.signing_key = Secret::new("a signing key of the tests, 32 bytes or more");
    config.y_sweet.server_token = Secret::new(SERVER_TOKEN);
    config.auth.has_document_keys = true;
    config
}

/// The application's backend, or a page, with the token that it has.
#[derive(Clone, Copy)]
struct Caller<'a> {
    address: SocketAddr,
    token: Option<&'a str>,
}

impl<'a> Caller<'a> {
    fn backend(server: &Running) -> Caller<'static> {
        Caller { address: server.address, token: Some(SERVER_TOKEN) }
    }

    fn nobody(server: &Running) -> Caller<'static> {
        Caller { address: server.address, token: None }
    }

    fn with(self, token: &'a str) -> Caller<'a> {
        Caller { token: Some(token), ..self }
    }

    async fn call(self, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
        let bearer = self.token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{bearer}{headers}Content-Length: {length}\r\n\r\n"
        );
        request(self.address, [head.as_bytes(), body].concat()).await
    }

    async fn get(self, path: &str) -> Response {
        self.call("GET", path, "", b"").await
    }

    async fn post(self, path: &str, body: &str) -> Response {
        self.call("POST", path, "Content-Type: application/json\r\n", body.as_bytes()).await
    }

    /// As the SDK sends an update.
    async fn merge(self, path: &str, update: &[u8]) -> Response {
        self.call("POST", path, "Content-Type: application/octet-stream\r\n", update).await
    }

    async fn json(self, path: &str, body: Value) -> Value {
        let response = self.post(path, &body.to_string()).await;
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")), "{response:?}");
        serde_json::from_str(&response.body).expect("JSON")
    }

    /// Makes a document, and a client token for it.
    async fn token(self, id: &str, wanted: Value) -> String {
        assert_eq!(self.json("/doc/new", json!({ "docId": id })).await, json!({ "docId": id }));
        let token = self.json(&format!("/doc/{id}/auth"), wanted).await;
        token["token"].as_str().expect("signed").to_owned()
    }
}

fn told(response: &Response) -> (u16, String) {
    (response.status, response.body.clone())
}

fn wrong(status: u16, detail: &str) -> (u16, String) {
    (status, format!("Something went wrong: {detail}"))
}

async fn refused(address: SocketAddr, target: &str) -> (u16, String) {
    match Client::connect_with(address, target, "").await {
        Ok(_) => (101, String::new()),
        Err(response) => told(&response),
    }
}

/// A document as the API shows it.
async fn as_update(caller: Caller<'_>, path: &str) -> Vec<u8> {
    // Bodies of the test's client are text, and documents are not.
    let bearer = caller.token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let mut stream = tokio::net::TcpStream::connect(caller.address).await.expect("it listens");
    let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{bearer}\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer").expect("read");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: application/octet-stream"), "{head}");
    bytes.split_off(end)
}

/// A page with an open document: what it hears besides statuses goes into `heard`.
struct Page {
    client: Client,
    heard: Vec<Vec<u8>>,
}

impl Page {
    /// Opens and syncs, as the client of this API does: step 1, then a status, then the step 2.
    async fn open(address: SocketAddr, target: &str, step_2_update: &[u8]) -> Self {
        let mut page = Self { client: Client::connect(address, target).await, heard: Vec::new() };
        page.client.send(&step_1(&[0])).await;
        page.client.send(&status(0)).await;
        page.until(|message| message.starts_with(&[0, 1])).await;
        page.client.send(&step_2(step_2_update)).await;
        page.until_echoed(0).await;
        page
    }

    async fn until(&mut self, fits: impl Fn(&[u8]) -> bool) {
        loop {
            match self.client.hear().await {
                Heard::Message(message) => {
                    self.heard.push(message.to_vec());
                    if fits(&message) {
                        return;
                    }
                }
                other => panic!("{other:?} after {:?}", self.heard),
            }
        }
    }

    async fn until_echoed(&mut self, version: u8) {
        self.until(|message| message == status(version)).await;
    }

    /// Forgets what was heard, and says what comes up to the answer of a question that is answered at once.
    async fn heard_by_now(&mut self) -> Vec<Vec<u8>> {
        self.heard.clear();
        self.client.send(&step_1(&[0])).await;
        self.until(|message| message.starts_with(&[0, 1])).await;
        self.heard.pop();
        std::mem::take(&mut self.heard)
    }
}

fn status(version: u8) -> Vec<u8> {
    vec![0x66, 1, version]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_the_sdk_work_with_tokens_and_without() {
    for (config, is_signed) in [(signed(), true), (config(), false)] {
        let disk = FaultyDisk::new();
        let server = Running::start(config, store_on(&disk)).await;
        let sdk = if is_signed { Caller::backend(&server) } else { Caller::nobody(&server) };
        // checkStore, in both forms.
        for response in [sdk.post("/check_store?z=1a2b", "{}").await, sdk.get("/check_store").await] {
            assert_eq!(told(&response), (200, "{\"ok\":true}".to_owned()));
        }
        assert_eq!(told(&sdk.get("/ready").await), (200, "{\"ok\":true}".to_owned()));
        // createDoc without an id, with one, and with one that exists.
        let made = sdk.json("/doc/new?z=1", json!({})).await;
        let id = made["docId"].as_str().expect("an id");
        assert!(id.len() == 21 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{id}");
        for _ in 0..2 {
            assert_eq!(sdk.json("/doc/new", json!({ "docId": "abc" })).await, json!({ "docId": "abc" }));
        }
        // getClientToken with an empty body and with {}.
        let path = "/doc/abc/auth?z=2";
        let empty = sdk.call("POST", path, "", b"").await;
        assert_eq!(empty.status, 200, "{empty:?}");
        for token in [serde_json::from_str(&empty.body).expect("JSON"), sdk.json(path, json!({})).await] {
            assert_eq!(token["url"], "ws://test/d/abc/ws");
            assert_eq!(token["baseUrl"], "http://test/d/abc");
            assert_eq!((&token["docId"], &token["authorization"]), (&json!("abc"), &json!("full")));
            assert_eq!(token.get("token").is_some(), is_signed, "absent, and not null: {token}");
        }
        let token = sdk.json(path, json!({ "authorization": "read-only", "userId": "u1" })).await;
        assert_eq!(token["authorization"], "read-only");
        // getDocAsUpdate and updateDoc, with the client token at its base URL, in both forms.
        let token = sdk.json(path, json!({})).await;
        let page = match &token["token"] {
            Value::String(token) => sdk.with(token),
            _ => sdk,
        };
        assert_eq!(as_update(page, "/d/abc/as-update?z=3").await, [0, 0]);
        let mut writer = Writer::new(1);
        let merged = page.merge("/d/abc/update?z=4", &writer.write("hi")).await;
        assert_eq!(told(&merged), (200, String::new()));
        assert_eq!(page.merge("/doc/abc/update", &writer.write("!")).await.status, 200);
        let expected = content_of(&Writer::new(1).write("hi!"));
        for (caller, path) in [(page, "/d/abc/as-update"), (page, "/doc/abc/as-update"), (sdk, "/doc/abc/as-update")] {
            assert_eq!(content_of(&as_update(caller, path).await), expected, "{path}");
        }
        assert!(server.stop(()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_exists_from_its_making_on_also_after_a_restart() {
    let disk = FaultyDisk::new();
    let server = Running::start(signed(), store_on(&disk)).await;
    let backend = Caller::backend(&server);
    backend.json("/doc/new", json!({ "docId": "empty" })).await;
    assert_eq!(told(&backend.post("/doc/never/auth", "{}").await), wrong(404, "Doc never not found"));
    let disk = disk.kill();
    drop(server);
    let server = Running::start(signed(), store_on(&disk)).await;
    let backend = Caller::backend(&server);
    let token = backend.json("/doc/empty/auth", json!({})).await;
    let reading = backend.json("/doc/empty/auth", json!({ "authorization": "read-only" })).await;
    let text = reading["token"].as_str().expect("signed");
    let page = Page::open(server.address, &format!("/d/empty/ws/empty?token={text}"), &[0, 0]).await;
    assert_eq!(as_update(backend.with(token["token"].as_str().expect("signed")), "/d/empty/as-update").await, [0, 0]);
    assert!(server.stop(page).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_for_survives_the_death_of_the_process_and_no_token_is_logged() {
    const KEY: (&str, &str) = ("CONCORD_Y_SWEET_SIGNING_KEY", "a signing key of the tests, 32 bytes or more");
    const BACKEND: (&str, &str) = ("CONCORD_Y_SWEET_SERVER_TOKEN", SERVER_TOKEN);
    let data = folder("process-y-sweet");
    let mut concord = Concord::start(&data, &[KEY, BACKEND]);
    let backend = Caller { address: concord.address, token: Some(SERVER_TOKEN) };
    let token = backend.token("abc", json!({ "userId": "ann" })).await;
    let target = format!("/d/abc/ws/abc?token={token}");
    let mut page = Page::open(concord.address, &target, &[0, 0]).await;
    page.client.send(&update(&Writer::new(1).write("typed"))).await;
    page.client.send(&status(1)).await;
    page.until_echoed(1).await;
    assert_eq!(refused(concord.address, &format!("{target}x")).await.0, 401);
    let line = concord.line("auth.refused");
    assert!(line.contains("The token is not a valid format"), "{line}");
    // Not with a signal that it could hear.
    let lines = std::mem::take(&mut concord.read);
    drop(concord);
    let secrets = [&*token, SERVER_TOKEN, KEY.1];
    assert!(lines.iter().all(|line| secrets.iter().all(|secret| !line.contains(secret))), "{lines:#?}");

    let mut concord = Concord::start(&data, &[KEY]);
    assert!(concord.line("y_sweet.no_backend").contains("y_sweet.server_token"));
    let page = Caller { address: concord.address, token: Some(&token) };
    assert_eq!(content_of(&as_update(page, "/d/abc/as-update").await), content_of(&Writer::new(1).write("typed")));
    assert_eq!(page.with(SERVER_TOKEN).post("/doc/new", "{}").await.status, 401, "nobody is the backend");
    drop(concord);
    let mut off = Concord::start(&data, &[("CONCORD_AUTH_SECRET", crate::credentials::SECRET)]);
    assert!(off.line("y_sweet.off").contains("y_sweet.signing_key"));
    drop(off);
    let mut open = Concord::start(&data, &[BACKEND]);
    assert!(open.line("y_sweet.open").contains("y_sweet.server_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_through_another_dialect_exists() {
    let server = Running::start(config(), memory()).await;
    let sdk = Caller::nobody(&server);
    assert_eq!(sdk.post("/doc/abc/auth", "{}").await.status, 404);
    let mut provider = Provider::enter(server.address, "/abc", 1).await;
    provider.write_and_save("hi").await;
    assert_eq!(sdk.json("/doc/abc/auth", json!({})).await["docId"], "abc");
    // These make it, when they may write.
    assert_eq!(as_update(sdk, "/d/read/as-update").await, [0, 0]);
    assert_eq!(sdk.merge("/d/merged/update", &[0, 0]).await.status, 200);
    for id in ["read", "merged"] {
        assert_eq!(sdk.post(&format!("/doc/{id}/auth"), "{}").await.status, 200, "{id}");
    }
    assert!(server.stop(provider).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_has_its_status_and_its_text() {
    for production in [false, true] {
        let mut config = signed();
        config.y_sweet.production = production;
        config.limits.frame_bytes_max = 4 << 10;
        let server = Running::start(config, memory()).await;
        let (backend, nobody) = (Caller::backend(&server), Caller::nobody(&server));
        let full = backend.token("abc", json!({ "userId": "u1" })).await;
        let reading = backend.token("abc", json!({ "authorization": "read-only" })).await;
        let other = backend.token("other", json!({})).await;
        let (head, tail) = full.split_at(full.len() - 9);
        let changed = format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
        let json = "Content-Type: application/json\r\n";
        let large = "x".repeat(5 << 10);
        let unauthorized = "Unauthorized.";
        let cases: Vec<(Caller<'_>, &str, &str, &str, &str, u16, &str)> = vec![
            (nobody, "POST", "/check_store", json, "{}", 401, unauthorized),
            (nobody.with("wrong"), "GET", "/check_store", "", "", 401, unauthorized),
            (nobody.with(&full), "POST", "/doc/new", json, "{}", 401, unauthorized),
            (nobody, "POST", "/doc/abc/auth", json, "{}", 401, unauthorized),
            (nobody, "POST", "/doc/mydoc123!/auth", json, "{}", 401, unauthorized),
            (nobody, "GET", "/d/abc/as-update", "", "", 401, "No token provided."),
            (nobody, "POST", "/d/abc/update", "", "", 401, "No token provided."),
            (nobody.with("x"), "GET", "/d/abc/as-update", "", "", 401, "The token is not a valid format"),
            (nobody.with(&changed), "GET", "/d/abc/as-update", "", "", 401, "The token signature is invalid"),
            (
                nobody.with(&other),
                "GET",
                "/d/abc/as-update",
                "",
                "",
                401,
                "The token is not valid for the requested resource",
            ),
            (
                nobody.with(&full),
                "POST",
                "/doc/other/update",
                "",
                "",
                401,
                "The token is not valid for the requested resource",
            ),
            (backend, "POST", "/doc/new", json, r#"{"docId":"mydoc123!"}"#, 400, "Invalid document name"),
            (backend, "POST", "/doc/new", json, r#"{"docId":""}"#, 400, "Invalid document name"),
            (backend, "POST", "/doc/mydoc123!/auth", json, "{}", 400, "Invalid document name"),
            (backend, "GET", "/d/my%20doc/as-update", "", "", 400, "Invalid document name"),
            (backend, "POST", "/doc/never-created/auth", json, "{}", 404, "Doc never-created not found"),
            (nobody.with(&reading), "POST", "/d/abc/update", "", "\0\0", 403, unauthorized),
            (nobody.with(&full), "POST", "/d/abc/update", "", "no update", 400, "Invalid update"),
            (nobody.with(&full), "POST", "/d/abc/update", "", "", 400, "Invalid update"),
            (nobody.with(&full), "POST", "/d/abc/update", "", &large, 413, "body larger than 4096 bytes"),
            (backend, "POST", "/doc/new", "", "{}", 415, "send the body as Content-Type: application/json"),
            (
                backend,
                "POST",
                "/doc/abc/auth",
                "Content-Type: text/plain\r\n",
                "{}",
                415,
                "send the body as Content-Type: application/json",
            ),
            (backend, "POST", "/doc/new", json, r#"{"docId":7}"#, 422, "docId must be a text"),
            (backend, "POST", "/doc/new", json, "[]", 422, "the body must be a JSON object"),
            (
                backend,
                "POST",
                "/doc/abc/auth",
                json,
                r#"{"validForSeconds":-1}"#,
                422,
                "validForSeconds must be a whole number from 0 on",
            ),
            (
                backend,
                "POST",
                "/doc/abc/auth",
                json,
                r#"{"authorization":"some"}"#,
                422,
                "authorization must be \"full\" or \"read-only\"",
            ),
            (
                backend,
                "POST",
                "/doc/abc/auth",
                json,
                r#"{"userId":"a\nb"}"#,
                422,
                "userId must have 1 to 256 bytes and no control characters",
            ),
            (backend, "GET", "/doc/new", "", "", 405, "this path has other methods: POST"),
            (backend, "DELETE", "/d/abc/as-update", "", "", 405, "this path has other methods: GET, HEAD"),
            (backend, "PUT", "/check_store", "", "", 405, "this path has other methods: GET, HEAD, POST"),
            (backend, "GET", "/d/abc/update", "", "", 405, "this path has other methods: POST"),
            (backend, "POST", "/d/abc/ws", "", "", 404, "nothing is served at this path"),
            (
                backend,
                "POST",
                "/y-sweet/auth",
                json,
                r#"{"docId":"abc"}"#,
                404,
                "the application's backend gives out tokens: POST /doc/ID/auth with the server token",
            ),
        ];
        let shown = |(status, text): (u16, String)| (status, if production { String::new() } else { text });
        for (caller, method, path, headers, body, status, detail) in cases {
            let response = caller.call(method, path, headers, body.as_bytes()).await;
            assert_eq!(told(&response), shown(wrong(status, detail)), "{method} {path} {body}");
            assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{path}");
            assert_eq!(response.header("allow").is_some(), status == 405, "{method} {path}");
        }
        let broken = backend.post("/doc/new", "{").await;
        assert_eq!((broken.status, broken.body.is_empty()), (400, production), "{broken:?}");
        let nothing = backend.post("/doc/new", "").await;
        assert_eq!(nothing.status, 400, "{nothing:?}");

        let full = |target: &str| format!("{target}?token={full}");
        let cases = [
            ("/d/abc/ws/abc".to_owned(), 401, "No token provided."),
            ("/doc/ws/abc?token=".to_owned(), 401, "No token provided."),
            ("/d/abc/ws/abc?token=x".to_owned(), 401, "The token is not a valid format"),
            (format!("/d/abc/ws/abc?token={changed}"), 401, "The token signature is invalid"),
            (format!("/d/abc/ws/abc?token={other}"), 401, "The token is not valid for the requested resource"),
            (full("/d/abc/ws/abd"), 400, "the two document ids of the path must be equal"),
            (full("/doc/ws/a!"), 400, "Invalid document name"),
        ];
        for (target, status, detail) in cases {
            assert_eq!(refused(server.address, &target).await, shown(wrong(status, detail)), "{target}");
        }
        assert_eq!(refused(server.address, &full("/d/abc/ws")).await.0, 404);
        let opened = [full("/d/abc/ws/abc"), full("/doc/ws/abc"), format!("/d/abc/ws/abc?token={reading}&z=1")];
        for target in opened.into_iter().chain([format!("/d/abc/ws/abc?token={}", SERVER_TOKEN.replace(' ', "%20"))]) {
            Page::open(server.address, &target, &[0, 0]).await;
        }
        assert!(server.stop(()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_makes_no_document() {
    let disk = FaultyDisk::new();
    let config = signed();
    let server = Running::start(config.clone(), store_on(&disk)).await;
    let reading = Caller::backend(&server).token("abc", json!({ "authorization": "read-only" })).await;
    assert!(server.stop(()).await);
    // The same keys, and a store without the document.
    let server = Running::start(config, memory()).await;
    let target = format!("/d/abc/ws/abc?token={reading}");
    assert_eq!(refused(server.address, &target).await, wrong(404, "Doc abc not found"));
    assert_eq!(as_update(Caller::nobody(&server).with(&reading), "/d/abc/as-update").await, [0, 0]);
    assert_eq!(refused(server.address, &target).await, wrong(404, "Doc abc not found"));
    Caller::backend(&server).token("abc", json!({})).await;
    let page = Page::open(server.address, &target, &[0, 0]).await;
    assert!(server.stop(page).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_mode_looks_at_no_token_and_gives_pages_theirs() {
    let mut config = config();
    config.durability = Durability::Memory;
    config.y_sweet.server_token = Secret::new(SERVER_TOKEN);
    let server = Running::start(config, memory()).await;
    let page = Caller::nobody(&server);
    assert_eq!(
        told(&page.post("/check_store", "{}").await),
        (200, r#"{"error":"No store set.","ok":false}"#.to_owned())
    );
    let token = page.json("/y-sweet/auth?z=1", json!({ "docId": "abc" })).await;
    assert_eq!(
        token,
        json!({
            "url": "ws://test/d/abc/ws", "baseUrl": "http://test/d/abc", "docId": "abc", "authorization": "full"
        })
    );
    assert_eq!(page.json("/doc/abc/auth", json!({})).await, token, "it was made");
    for (body, status) in [("{}", 422), (r#"{"docId":"a!"}"#, 400), ("", 400)] {
        assert_eq!(page.post("/y-sweet/auth", body).await.status, status, "{body}");
    }
    let mut open = Page::open(server.address, "/d/abc/ws/abc?token=garbage", &Writer::new(1).write("hi")).await;
    assert_eq!(page.with("garbage").get("/d/abc/as-update").await.status, 200);
    assert_eq!(open.heard_by_now().await, [[0_u8; 0]; 0]);
    assert!(server.stop(open).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mount_is_off_where_it_would_be_a_way_around_authentication() {
    let server = Running::start(crate::credentials::with_secret(config()), memory()).await;
    let off = "the y-sweet API is off: authentication is on, and there is no y_sweet.signing_key";
    for (method, path) in [("POST", "/check_store"), ("POST", "/doc/new"), ("GET", "/d/abc/as-update")] {
        let response = Caller::nobody(&server).call(method, path, "", b"").await;
        assert_eq!(told(&response), wrong(404, off), "{path}");
    }
    for path in ["/d/abc/ws/abc", "/doc/ws/abc", "/d/abc/ws/abd", "/doc/ws/a!"] {
        let (status, body) = refused(server.address, path).await;
        assert!(status == 404 && body.contains(off), "{path}: {status} {body}");
    }
    assert!(server.stop(()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_run_out_for_new_calls_and_not_for_open_sockets() {
    let server = Running::start(signed(), memory()).await;
    let backend = Caller::backend(&server);
    let target = |token: &str| format!("/d/abc/ws/abc?token={token}");
    let none = backend.token("abc", json!({ "validForSeconds": 0 })).await;
    let short = backend.token("abc", json!({ "validForSeconds": 2 })).await;
    let mut page = Page::open(server.address, &target(&short), &[0, 0]).await;
    for token in [none, short] {
        let runs_out = async {
            let mut pause = tokio::time::interval(Duration::from_millis(50));
            while refused(server.address, &target(&token)).await.0 == 101 {
                pause.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, runs_out).await.expect("it runs out");
        assert_eq!(refused(server.address, &target(&token)).await, wrong(401, "The token is expired"));
        let call = Caller::nobody(&server).with(&token).get("/d/abc/as-update").await;
        assert_eq!(told(&call), wrong(401, "The token is expired"));
    }
    page.client.send(&update(&Writer::new(1).write("still here"))).await;
    page.client.send(&status(1)).await;
    page.until_echoed(1).await;
    assert!(server.stop(page).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_token_where_that_is_wanted() {
    let mut config = signed();
    config.y_sweet.end_with_token = true;
    let server = Running::start(config, memory()).await;
    let token = Caller::backend(&server).token("abc", json!({ "validForSeconds": 1 })).await;
    let mut page = Page::open(server.address, &format!("/d/abc/ws/abc?token={token}"), &[0, 0]).await;
    let (_, end) = page.client.hear_out().await;
    assert_eq!(end, Heard::Close(4501, "token expired, reconnect".to_owned()));
    assert!(server.stop(page).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_and_is_answered_and_changes_nothing() {
    let server = Running::start(signed(), memory()).await;
    let backend = Caller::backend(&server);
    let full = backend.token("abc", json!({})).await;
    let reading = backend.token("abc", json!({ "authorization": "read-only" })).await;
    let mut writer =
        Page::open(server.address, &format!("/d/abc/ws/abc?token={full}"), &Writer::new(1).write("hi")).await;
    let mine = Writer::new(2).write("mine");
    let mut reader = Page::open(server.address, &format!("/d/abc/ws/abc?token={reading}"), &mine).await;
    let shown = reader.heard.iter().find(|message| message.starts_with(&[0, 1])).expect("a step 2");
    assert_eq!(content_of(&shown[3..]), content_of(&Writer::new(1).write("hi")), "reading works");
    reader.client.send(&update(&Writer::new(3).write("more"))).await;
    reader.client.send(&status(1)).await;
    reader.until_echoed(1).await;
    assert!(reader.heard.iter().all(|message| message[0] != 2), "it is not told: {:?}", reader.heard);
    assert_eq!(writer.heard_by_now().await, [[0_u8; 0]; 0], "it reaches nobody");
    let update = backend.with(&reading).merge("/d/abc/update", &Writer::new(4).write("x")).await;
    assert_eq!(told(&update), wrong(403, "Unauthorized."));
    let document = as_update(backend.with(&reading), "/d/abc/as-update").await;
    assert_eq!(content_of(&document), content_of(&Writer::new(1).write("hi")));
    assert!(server.stop((writer, reader)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_by_http_reaches_whoever_is_there_and_everybody_edits_together() {
    let server = Running::start(config(), memory()).await;
    let sdk = Caller::nobody(&server);
    let mut page = Page::open(server.address, "/d/abc/ws/abc", &[0, 0]).await;
    let mut provider = Provider::enter(server.address, "/abc", 7).await;
    let merged = Writer::new(1).write("merged");
    assert_eq!(sdk.merge("/d/abc/update", &merged).await.status, 200);
    page.until(|message| message == update(&merged)).await;
    provider.until_shown(1, 6).await;
    assert_eq!(content_of(&as_update(sdk, "/d/abc/as-update").await), content_of(&merged));
    // A page's edit reaches the provider, and the other way round.
    let typed = Writer::new(2).write("typed");
    page.client.send(&update(&typed)).await;
    provider.until_shown(2, 5).await;
    provider.write_and_save("by y-websocket").await;
    let theirs = Writer::new(7).write("by y-websocket");
    page.until(|message| message == update(&theirs)).await;
    assert_eq!(content_of(&as_update(sdk, "/doc/abc/as-update").await), provider.content());
    assert!(server.stop((page, provider)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_answered_after_the_sync_and_the_wait_is_not_silent() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut page = Page::open(server.address, "/d/abc/ws/abc", &Writer::new(1).write("hi")).await;
    let held = HeldSyncs::of(&disk);
    page.client.send(&update(&Writer::new(2).write("held"))).await;
    page.client.send(&status(1)).await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    assert_eq!(page.heard_by_now().await, [[0_u8; 0]; 0], "answered before the sync");
    let mut since = Instant::now();
    for _ in 0..3 {
        let heard = page.client.hear().await;
        assert_eq!(heard, Heard::Message(KEEP_ALIVE.into()));
        let waited = since.elapsed();
        assert!((Duration::from_millis(1_500)..Duration::from_millis(2_900)).contains(&waited), "{waited:?}");
        since = Instant::now();
    }
    drop(held);
    page.until_echoed(1).await;
    // Nothing is owed any more, and nothing is said.
    page.client.send(&status(1)).await;
    page.until_echoed(1).await;
    assert!(server.stop(page).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_offline_is_answered_for_when_its_step_2_is_saved() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    Caller::nobody(&server).json("/doc/new", json!({ "docId": "abc" })).await;
    let held = HeldSyncs::of(&disk);
    let mut page = Page { client: Client::connect(server.address, "/d/abc/ws/abc").await, heard: Vec::new() };
    page.client.send(&step_1(&[0])).await;
    page.client.send(&status(3)).await;
    page.until(|message| message.starts_with(&[0, 1])).await;
    page.client.send(&step_2(&Writer::new(1).write("offline"))).await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    assert_eq!(page.heard_by_now().await, [[0_u8; 0]; 0], "answered before its step 2 is saved");
    let mut other = Page { client: Client::connect(server.address, "/d/abc/ws/abc").await, heard: Vec::new() };
    other.client.send(&step_1(&[0])).await;
    other.until(|message| message.starts_with(&[0, 1])).await;
    assert_eq!(other.heard[1], KEEP_ALIVE, "always an awareness message, behind the step 1");
    drop(held);
    page.until_echoed(3).await;
    // Statement 11: what was answered for survives a machine that stops.
    let store = store_on(&disk.kill());
    let document = server::export(&*store, "abc").expect("the document is there");
    assert_eq!(content_of(&document), content_of(&Writer::new(1).write("offline")));
    drop(store);
    assert!(server.stop((page, other)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_answered_in_time_while_a_hundred_others_edit() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut page = Page::open(server.address, "/d/abc/ws/abc", &[0, 0]).await;
    let mut others = Vec::new();
    for id in 0..100 {
        others.push((Page::open(server.address, "/d/abc/ws/abc", &[0, 0]).await, Writer::new(100 + id)));
    }
    let mut mine = Writer::new(1);
    for version in 1..=5 {
        for (other, writer) in &mut others {
            other.client.send(&update(&writer.write("x"))).await;
            other.client.send(&status(version)).await;
        }
        let began = Instant::now();
        page.client.send(&update(&mine.write("mine"))).await;
        page.client.send(&status(version)).await;
        page.until_echoed(version).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    for (other, _) in &mut others {
        other.until_echoed(5).await;
    }
    assert!(server.stop((page, others)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_end_nothing_but_a_status_beyond_its_bound() {
    let server = Running::start(config(), memory()).await;
    let mut other = Page::open(server.address, "/d/abc/ws/abc", &[0, 0]).await;
    let mut page = Page::open(server.address, "/d/abc/ws/abc", &[0, 0]).await;
    page.client.send_text("text").await;
    for frame in [&[][..], &[0x66], &[0x66, 9, 1], &[0, 2, 2, 255, 255], &[77, 1, 7], &[0x80, 1]] {
        page.client.send(frame).await;
    }
    page.client.send(&status(9)).await;
    page.until_echoed(9).await;
    let mut large = vec![0x66];
    document::lib0::write_var_bytes(&mut large, &vec![1; (64 << 10) + 1]);
    page.client.send(&large).await;
    let (_, end) = page.client.hear_out().await;
    assert_eq!(end, Heard::Close(1009, "sync status larger than 65536 bytes".to_owned()));
    other.client.send(&status(1)).await;
    other.until_echoed(1).await;
    assert!(server.stop((page, other)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_administrators_decide_holds_for_documents() {
    let mut config = signed();
    config.data = folder("y-sweet-admin");
    config.admin.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let key = make_key(&config, "admin");
    let server = Running::start(config, memory()).await;
    let (admin, backend) = (server.admin.expect("it listens"), Caller::backend(&server));
    let decide = async |path: &str, body: Value| {
        let bearer = format!("Authorization: Bearer {key}\r\n");
        let (status, answer) = ask_admin(admin, "POST", path, &bearer, &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
    };
    let token = backend.token("abc", json!({ "userId": "ann" })).await;
    let page = backend.with(&token);
    let target = format!("/d/abc/ws/abc?token={token}");

    // Locked: reading goes on, nobody writes.
    decide("/api/admin/rooms/abc/lock", json!({})).await;
    let hi = Writer::new(1).write("hi");
    assert_eq!(told(&page.merge("/d/abc/update", &hi).await), wrong(403, "Unauthorized."));
    let mut open = Page::open(server.address, &target, &hi).await;
    assert_eq!(as_update(page, "/d/abc/as-update").await, [0, 0]);
    decide("/api/admin/rooms/abc/unlock", json!({})).await;
    open.client.send(&update(&hi)).await;
    open.client.send(&status(1)).await;
    open.until_echoed(1).await;
    assert_eq!(content_of(&as_update(page, "/d/abc/as-update").await), content_of(&hi));
    // Asked again, somebody whose rights are as they were stays.
    decide("/api/admin/confirm", json!({ "all": true })).await;
    open.client.send(&status(2)).await;
    open.until_echoed(2).await;

    // Revoked: the socket ends, and the token is no good.
    decide("/api/admin/revoke", json!({ "user": "ann" })).await;
    let (_, end) = open.client.hear_out().await;
    assert_eq!(end, Heard::Close(4403, "access revoked".to_owned()));
    let resource = wrong(401, "The token is not valid for the requested resource");
    assert_eq!(refused(server.address, &target).await, resource);
    assert_eq!(told(&page.get("/d/abc/as-update").await), resource);
    let others = backend.token("abc", json!({ "userId": "bob" })).await;
    Page::open(server.address, &format!("/d/abc/ws/abc?token={others}"), &[0, 0]).await;

    // Deleted: it is not there, and is not made again.
    let bearer = format!("Authorization: Bearer {key}\r\n");
    assert_eq!(ask_admin(admin, "DELETE", "/api/admin/rooms/abc", &bearer, "").await.0, 200);
    let missing = wrong(404, "Doc abc not found");
    assert_eq!(refused(server.address, &format!("/d/abc/ws/abc?token={others}")).await, missing);
    for (method, path) in [("POST", "/doc/abc/auth"), ("GET", "/doc/abc/as-update"), ("POST", "/doc/abc/update")] {
        assert_eq!(told(&backend.call(method, path, "", b"").await).0, 404, "{path}");
    }
    assert_eq!(told(&backend.post("/doc/new", r#"{"docId":"abc"}"#).await), missing);
    assert!(server.stop(open).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_pages_without_a_name_are_not_one_user() {
    let mut config = signed();
    (config.limits.user_connections_max, config.limits.user_rooms_per_h) = (2, 1);
    let server = Running::start(config, memory()).await;
    let backend = Caller::backend(&server);
    let mut pages = Vec::new();
    for number in 0..5 {
        let token = backend.token(&format!("doc{number}"), json!({})).await;
        pages.push(Page::open(server.address, &format!("/d/doc{number}/ws/doc{number}?token={token}"), &[0, 0]).await);
    }
    let named = format!("/d/abc/ws/abc?token={}", backend.token("abc", json!({ "userId": "ann" })).await);
    pages.push(Page::open(server.address, &named, &[0, 0]).await);
    pages.push(Page::open(server.address, &named, &[0, 0]).await);
    let (status, body) = refused(server.address, &named).await;
    assert!(status == 503 && body.contains("limits.user_connections_max"), "{status} {body}");
    assert!(server.stop(pages).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_tokens_lead_to_where_the_server_is_reached() {
    let url = async |config: Config, prefix: &str, headers: &str| {
        let server = Running::start(config, memory()).await;
        let sdk = Caller::nobody(&server);
        assert_eq!(sdk.json(&format!("{prefix}/doc/new"), json!({ "docId": "abc" })).await["docId"], "abc");
        let response = sdk.call("POST", &format!("{prefix}/doc/abc/auth"), headers, b"").await;
        let token: Value = serde_json::from_str(&response.body).expect("JSON");
        let Page { .. } = Page::open(server.address, &format!("{prefix}/d/abc/ws/abc"), &[0, 0]).await;
        assert!(server.stop(()).await);
        (token["url"].as_str().expect("text").to_owned(), token["baseUrl"].as_str().expect("text").to_owned())
    };
    let leads = |url: &str, base: &str| (url.to_owned(), base.to_owned());
    let forwarded = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: collab.example.com\r\n";
    let host = leads("ws://test/d/abc/ws", "http://test/d/abc");
    assert_eq!(url(config(), "", forwarded).await, host, "nobody's word counts");
    let mut behind = config();
    behind.proxy.trusted = Trusted::parse(&["127.0.0.0/8".to_owned()]).expect("a network");
    let proxied = leads("wss://collab.example.com/d/abc/ws", "https://collab.example.com/d/abc");
    assert_eq!(url(behind.clone(), "", forwarded).await, proxied);
    assert_eq!(url(behind.clone(), "", "").await, host);
    behind.y_sweet.url_prefix = "https://docs.example.com".to_owned();
    behind.mounts.y_sweet = Some("/live/sweet".to_owned());
    behind.isolate = true;
    let told = leads("wss://docs.example.com/live/sweet/d/abc/ws", "https://docs.example.com/live/sweet/d/abc");
    assert_eq!(url(behind, "/live/sweet", forwarded).await, told);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_may_ask_before_they_ask_also_on_a_connection_that_was_used() {
    let server = Running::start(config(), memory()).await;
    let preflight = "OPTIONS /d/abc/as-update HTTP/1.1\r\nHost: test\r\nOrigin: https://app.example\r\n\
                     Access-Control-Request-Method: GET\r\n";
    let check = |response: &str| {
        let response = response.to_lowercase();
        assert!(response.starts_with("http/1.1 204 "), "{response}");
        for line in [
            "access-control-allow-origin: *\r\n",
            "access-control-allow-headers: authorization, content-type, x-nano-key\r\n",
            "access-control-allow-methods: get, head, post, put, delete, options\r\n",
        ] {
            assert!(response.contains(line), "{line} in {response}");
        }
    };
    check(&(request(server.address, format!("{preflight}\r\n")).await.head + "\r\n"));
    let first = "GET /d/abc/as-update HTTP/1.1\r\nHost: test\r\nOrigin: https://app.example\r\n\r\n";
    let both = request(server.address, format!("{first}{preflight}Connection: close\r\n\r\n")).await;
    assert!(both.head.contains("access-control-allow-origin: *"), "{}", both.head);
    let second = both.body.find("HTTP/1.1 ").expect("two responses");
    check(&both.body[second..]);
    assert!(server.stop(()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_isolated_is_another_room() {
    let mut config = config();
    config.isolate = true;
    let store: Arc<dyn Store> = memory();
    let server = Running::start(config, store.clone()).await;
    Caller::nobody(&server).json("/doc/new", json!({ "docId": "abc" })).await;
    let rooms: Vec<String> = store.list().expect("a list").iter().map(|room| room.room.to_string()).collect();
    assert!(rooms.contains(&"doc/y-sweet/abc".to_owned()), "{rooms:?}");
    assert!(server.stop(()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_large_is_read_of_somebody_who_may_not_send_it() {
    let server = Running::start(signed(), memory()).await;
    let token = Caller::backend(&server).token("abc", json!({ "authorization": "read-only" })).await;
    let announced = |path: &str, bearer: &str| {
        let length = 15 << 20;
        format!("POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{bearer}Content-Length: {length}\r\n\r\n")
    };
    let backend = format!("Authorization: Bearer {SERVER_TOKEN}\r\n");
    let reader = format!("Authorization: Bearer {token}\r\n");
    for (path, bearer, expected) in [
        ("/d/abc/update", "", wrong(401, "No token provided.")),
        ("/d/other/update", &*reader, wrong(401, "The token is not valid for the requested resource")),
        ("/doc/new", &*backend, wrong(413, "body larger than 65536 bytes")),
        ("/doc/abc/auth", &*backend, wrong(413, "body larger than 65536 bytes")),
    ] {
        // The body never comes: who waits for it would never answer.
        assert_eq!(told(&request(server.address, announced(path, bearer)).await), expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_behind_the_first_have_the_rate_of_their_address() {
    let mut config = limited(|limits| (limits.handshakes_per_s, limits.handshakes_at_once_max) = (1, 3));
    config.exempt = server::address::Trusted::default();
    let server = Running::start(config, memory()).await;
    let one = "GET /d/abc/as-update HTTP/1.1\r\nHost: test\r\n\r\n";
    let last = "GET /d/abc/as-update HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let response = request(server.address, format!("{}{last}", one.repeat(4))).await;
    let all = format!("{}\r\n\r\n{}", response.head, response.body).to_lowercase();
    let statuses = |status: &str| all.matches(&format!("http/1.1 {status}")).count();
    assert_eq!((statuses("200"), statuses("503")), (3, 2), "{all}");
}
