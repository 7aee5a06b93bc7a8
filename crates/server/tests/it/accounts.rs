//! The console's HTTP API as its clients use it: accounts, sessions and rooms over real connections, with the disk behind them.

mod administration;
mod keys;

use crate::credentials::{now_s, token, with_secret};
use crate::world::{Running, config, folder, memory, store_on};
use serde_json::{Value, json};
use server::address::Trusted;
use server::config::Config;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use store::{Store, StoreError};
use testkit::client::{PATIENCE, Response, request};
use testkit::disk::FaultyDisk;

/// The password of everybody here. The watch over the log knows it.
pub(crate) const PASSWORD: &str = "correct horse of the tests";
const SESSION: &str = "better-auth.session_token";
const LOG_IN: &str = "Unauthorized. Please log in.";
const INVALID: &str = "Unauthorized: Invalid API Key or Session";

/// A server with accounts.
struct Console {
    server: Running,
    config: Config,
}

impl Console {
    async fn start(name: &str) -> Self {
        Self::with(name, config(), memory()).await
    }

    async fn with(name: &str, mut config: Config, store: Arc<dyn Store>) -> Self {
        config.data = folder(name);
        let server = Running::start(config.clone(), store).await;
        Self { server, config }
    }

    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        ask_at(self.server.address, method, path, headers, body).await
    }

    /// With a JSON body, from a program that has a token.
    async fn post(&self, path: &str, token: &str, body: Value) -> (u16, String) {
        let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        let response = self.ask("POST", path, &headers, &body.to_string()).await;
        (response.status, response.body)
    }

    async fn get(&self, path: &str, token: &str) -> Value {
        let response = self.ask("GET", path, &format!("Authorization: Bearer {token}\r\n"), "").await;
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        serde_json::from_str(&response.body).expect("JSON")
    }

    /// The answer to a new account, with its cookie.
    async fn sign_up(&self, name: &str) -> (Value, String) {
        let body = json!({ "name": name, "email": format!("{name}@example.com"), "password": PASSWORD });
        signed_in(&self.ask("POST", "/api/auth/sign-up/email", JSON, &body.to_string()).await)
    }

    async fn sign_in(&self, name: &str) -> (Value, String) {
        let body = json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
        signed_in(&self.ask("POST", "/api/auth/sign-in/email", JSON, &body.to_string()).await)
    }

    /// A new account's token.
    async fn token(&self, name: &str) -> String {
        text(&self.sign_up(name).await.0["token"])
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

fn signed_in(response: &Response) -> (Value, String) {
    assert_eq!(response.status, 200, "{}", response.body);
    let cookie = response.header("set-cookie").expect("a cookie").to_owned();
    (serde_json::from_str(&response.body).expect("JSON"), cookie)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

async fn ask_at(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    request(address, head + body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_signs_up_out_and_in() {
    let console = Console::start("accounts-lifecycle").await;
    let (body, cookie) = console.sign_up("ann").await;
    let (token, user) = (text(&body["token"]), &body["user"]);
    assert_eq!((token.len(), &user["email"], &user["name"]), (43, &json!("ann@example.com"), &json!("ann")));
    assert_eq!((&user["image"], &user["emailVerified"]), (&Value::Null, &json!(false)));
    assert!(text(&user["createdAt"]).ends_with('Z') && user["createdAt"] == user["updatedAt"]);
    // The helper's headers are in lower case; a token is not.
    assert_eq!(cookie, format!("{SESSION}={token}; httponly; path=/; samesite=lax; max-age=604800").to_lowercase());

    let own = format!("Origin: http://h.example\r\nCookie: {SESSION}={token}\r\n");
    let response = console.ask("GET", "/api/auth/get-session", &own, "").await;
    let found: Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(found["user"], *user);
    assert_eq!((&found["session"]["userId"], &found["session"]["token"]), (&user["id"], &json!(token)));
    assert_eq!(found["session"]["ipAddress"], "127.0.0.0/24");

    // A second browser, which shows in the list of the first and can be sent away.
    let second = text(&console.sign_in("ann").await.0["token"]);
    let third = text(&console.sign_in("ann").await.0["token"]);
    let listed = console.get("/api/auth/list-sessions", &token).await;
    let listed = listed.as_array().expect("a list");
    assert_eq!(listed.len(), 3);
    assert_eq!(listed.iter().filter(|session| session["current"] == true).count(), 1);
    assert!(listed.iter().all(|session| session.get("token").is_none()), "tokens are not kept");
    let others: Vec<&Value> = listed.iter().filter(|session| session["current"] == false).collect();
    let ended = console.post("/api/auth/revoke-session", &token, json!({ "id": others[0]["id"] })).await;
    assert_eq!(ended, (200, "{\"status\":true}".to_owned()));
    let gone = console.post("/api/auth/revoke-session", &token, json!({ "id": others[0]["id"] })).await;
    assert_eq!(gone.0, 404, "{}", gone.1);
    assert_eq!(console.post("/api/auth/revoke-session", &token, json!({})).await.0, 404);
    assert_eq!(console.get("/api/auth/list-sessions", &token).await.as_array().map(Vec::len), Some(2));
    let mut counting = Vec::new();
    for other in [&second, &third] {
        counting.push(console.get("/api/auth/get-session", other).await.is_object());
    }
    assert_eq!(counting.iter().filter(|counts| **counts).count(), 1);
    let left = if counting[0] { &second } else { &third };
    let by_token = console.post("/api/auth/revoke-session", &token, json!({ "token": left })).await;
    assert_eq!(by_token.0, 200, "{}", by_token.1);
    let fourth = text(&console.sign_in("ann").await.0["token"]);
    assert_eq!(console.post("/api/auth/revoke-other-sessions", &fourth, json!({})).await.0, 200);
    assert_eq!(console.get("/api/auth/get-session", &token).await, Value::Null);

    let own = own.replace(&token, &fourth);
    let response = console.ask("POST", "/api/auth/sign-out", &own, "").await;
    assert_eq!((response.status, &*response.body), (200, "{\"success\":true}"));
    let forgotten = response.header("set-cookie").expect("a cookie");
    assert_eq!(forgotten, format!("{SESSION}=; httponly; path=/; samesite=lax; max-age=0"));
    assert_eq!(console.get("/api/auth/get-session", &fourth).await, Value::Null);
    assert_eq!(console.ask("POST", "/api/auth/sign-out", &own, "").await.status, 200, "once more changes nothing");
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_refused_are_told_why() {
    let console = Console::start("accounts-refusals").await;
    let token = console.token("ann").await;
    let new = |name: &str, email: &str, password: &str| json!({ "name": name, "email": email, "password": password });
    let (up, sign_in) = ("/api/auth/sign-up/email", "/api/auth/sign-in/email");
    let message = |code: &str, message: &str| json!({ "code": code, "message": message }).to_string();
    let wrong = message("INVALID_EMAIL_OR_PASSWORD", "Invalid email or password");
    let cases = [
        (up, new("a", "ann", PASSWORD), 400, message("INVALID_EMAIL", "this is no e-mail address: it has no @")),
        (up, new("a", "b@x.example", "short"), 400, "PASSWORD_TOO_SHORT".to_owned()),
        (up, new("a", "b@x.example", &"x".repeat(257)), 400, "PASSWORD_TOO_LONG".to_owned()),
        (up, new("", "b@x.example", PASSWORD), 400, "INVALID_NAME".to_owned()),
        (up, new("a", "ANN@example.com", PASSWORD), 422, "USER_ALREADY_EXISTS".to_owned()),
        (up, json!({ "name": "a", "email": "b@x.example" }), 400, "\\\"password\\\" is missing".to_owned()),
        (up, json!({ "name": "a", "email": 7, "password": PASSWORD }), 400, "\\\"email\\\"".to_owned()),
        (up, json!([]), 400, "INVALID_BODY".to_owned()),
        (sign_in, json!({ "email": "ann@example.com", "password": "wrong one" }), 401, wrong.clone()),
        (sign_in, json!({ "email": "nobody@example.com", "password": PASSWORD }), 401, wrong.clone()),
        (sign_in, json!({ "email": "no address", "password": "" }), 401, wrong),
        ("/api/auth/sign-in/social", json!({}), 404, "nothing is served".to_owned()),
        ("/api/rooms/create", json!({ "roomId": " ab " }), 400, "Room ID must be at least 3 characters".to_owned()),
        ("/api/rooms/create", json!({ "roomId": 123 }), 400, "Room ID must be at least 3 characters".to_owned()),
        ("/api/rooms/create", json!({ "roomId": "x".repeat(256) }), 400, "1 to 255 bytes".to_owned()),
        ("/api/rooms/create", json!("my-db"), 400, "Invalid JSON body".to_owned()),
        ("/api/rooms/delete", json!({}), 400, "Invalid room ID".to_owned()),
        ("/api/rooms/delete", json!({ "roomId": "unknown" }), 400, "Invalid room ID".to_owned()),
        ("/api/keys/generate", json!(7), 400, "{\"error\":\"Invalid JSON body\"}".to_owned()),
        (
            "/api/keys/generate",
            json!({ "expiresInDays": -1 }),
            400,
            "{\"error\":\"expiresInDays must be a positive number\"}".to_owned(),
        ),
        (
            "/api/keys/generate",
            json!({ "expiresInDays": 366 }),
            400,
            "{\"error\":\"expiresInDays cannot exceed 365 days\"}".to_owned(),
        ),
        (
            "/api/keys/generate",
            json!({ "scopes": ["read", "x"] }),
            400,
            "{\"error\":\"Invalid scopes: x. Valid scopes are: read, write, admin\"}".to_owned(),
        ),
        (
            "/api/keys/delete",
            json!({ "id": "nk_live_00000000000000000000000000000000" }),
            404,
            "{\"error\":\"API key not found or does not belong to you\"}".to_owned(),
        ),
    ];
    for (path, body, status, words) in cases {
        let (found, answer) = console.post(path, &token, body.clone()).await;
        assert_eq!(found, status, "{path} {body}: {answer}");
        assert!(answer.contains(&words), "{path} {body}: {answer}");
        assert!(words.len() < 30 || !path.contains("/rooms/") || words == answer || status != 400, "{answer}");
    }
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for (content_type, body, status, words) in [
        ("", "{\"roomId\":\"abc\"}", 415, "content-type"),
        ("Content-Type: text/plain\r\n", "{\"roomId\":\"abc\"}", 415, "content-type"),
        ("Content-Type: application/json; charset=utf-8\r\n", "{\"roomId\":", 400, "Invalid JSON body"),
        (JSON, "", 400, "at least 3"),
        (JSON, &format!("{{\"roomId\":\"{}\"}}", "x".repeat(70_000)), 413, "64 KiB"),
    ] {
        let response = console.ask("POST", "/api/rooms/create", &(bearer.clone() + content_type), body).await;
        assert_eq!(response.status, status, "{}", response.body);
        assert!(response.body.contains(words), "{}", response.body);
    }
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_has_its_method_and_its_login() {
    let console = Console::start("accounts-methods").await;
    let paths = [
        ("POST", "/api/auth/sign-up/email", false),
        ("POST", "/api/auth/sign-in/email", false),
        ("POST", "/api/auth/sign-out", false),
        ("GET", "/api/auth/get-session", false),
        ("GET", "/api/auth/list-sessions", true),
        ("POST", "/api/auth/revoke-session", true),
        ("POST", "/api/auth/revoke-other-sessions", true),
        ("GET", "/api/rooms/list", true),
        ("POST", "/api/rooms/create", true),
        ("POST", "/api/rooms/delete", true),
        ("POST", "/api/keys/generate", true),
        ("GET", "/api/keys/list", true),
        ("POST", "/api/keys/delete", true),
        ("GET", "/api/user-tier", false),
    ];
    for (method, path, needs_login) in paths {
        let other = if method == "GET" { "POST" } else { "GET" };
        for wrong in [other, "PUT", "DELETE"] {
            let response = console.ask(wrong, path, "", "").await;
            assert_eq!((response.status, &*response.body), (405, "Method not allowed"), "{wrong} {path}");
            assert!(response.header("allow").is_some_and(|allow| allow.starts_with(&method.to_lowercase())));
        }
        if needs_login {
            for (headers, expected) in [
                ("", LOG_IN),
                ("X-User-ID: ann\r\n", LOG_IN),
                ("Authorization: Bearer wrong\r\n", INVALID),
                ("Origin: http://h.example\r\nCookie: better-auth.session_token=wrong\r\n", INVALID),
            ] {
                let response = console.ask(method, path, headers, "").await;
                assert_eq!((response.status, &*response.body), (401, expected), "{path} {headers}");
            }
        }
    }
    let tier = console.ask("GET", "/api/user-tier", "", "").await;
    assert_eq!((tier.status, &*tier.body), (200, "{\"tier\":\"free\"}"));
    for path in ["/backup", "/backups", "/restore", "/global-query", "/download-client", "/api/webhooks/7"] {
        for method in ["GET", "POST"] {
            let response = console.ask(method, path, "", "").await;
            let expected =
                json!({ "error": format!("{path} is not available on this server"), "code": "NOT_SUPPORTED" });
            assert_eq!((response.status, response.body), (501, expected.to_string()));
        }
    }
    let mut off = config();
    off.accounts.enabled = false;
    let off = Console::with("accounts-off", off, memory()).await;
    assert_eq!(off.ask("GET", "/api/auth/get-session", "", "").await.status, 404);
    off.server.stop(()).await;
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_count_for_pages_of_this_host_and_listed_ones() {
    let mut listed = config();
    listed.origins.allowed = vec!["https://app.example".to_owned()];
    let console = Console::with("accounts-origins", listed, memory()).await;
    let token = console.token("ann").await;
    let cookie = |origin: &str| {
        let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        format!("{origin}{JSON}Cookie: a=b; {SESSION}={token}.c2lnbmF0dXJl\r\n")
    };
    // Origin; what a reading and a changing request get.
    let cases =
        [("https://app.example", 200, 200), ("", 200, 403), ("null", 403, 403), ("https://evil.example", 403, 403)];
    for (origin, reads, changes) in cases {
        let read = console.ask("GET", "/api/rooms/list", &cookie(origin), "").await;
        assert_eq!(read.status, reads, "{origin}: {}", read.body);
        let changed = console.ask("POST", "/api/keys/generate", &cookie(origin), "{}").await;
        assert_eq!(changed.status, changes, "{origin}: {}", changed.body);
        let is_listed = origin == "https://app.example";
        for response in [read, changed] {
            assert_eq!(
                response.header("access-control-allow-origin"),
                is_listed.then_some(origin),
                "{}",
                response.head
            );
            let credentials = response.header("access-control-allow-credentials");
            assert_eq!(credentials, is_listed.then_some("true"), "{}", response.head);
        }
    }
    let body = json!({ "email": "ann@example.com", "password": PASSWORD }).to_string();
    let other_site = format!("{JSON}Origin: https://app.example\r\n");
    let response = console.ask("POST", "/api/auth/sign-in/email", &other_site, &body).await;
    let cookie = response.header("set-cookie").expect("a cookie");
    assert!(cookie.ends_with("; samesite=none; secure; max-age=604800"), "{cookie}");
    let short = json!({ "email": "ann@example.com", "password": PASSWORD, "rememberMe": false }).to_string();
    let response = console.ask("POST", "/api/auth/sign-in/email", JSON, &short).await;
    let cookie = response.header("set-cookie").expect("a cookie");
    assert!(cookie.ends_with("; httponly; path=/; samesite=lax"), "{cookie}");
    console.server.stop(()).await;

    // Where every page may connect none but those of the same host may act as the user.
    let console = Console::start("accounts-every-origin").await;
    let token = console.token("ann").await;
    for (origin, status) in [("http://h.example", 200), ("https://evil.example", 403)] {
        let headers = format!("Origin: {origin}\r\nCookie: {SESSION}={token}\r\n");
        let response = console.ask("GET", "/api/rooms/list", &headers, "").await;
        assert_eq!((response.status, response.header("access-control-allow-origin")), (status, Some(origin)));
        assert_eq!(response.header("access-control-allow-credentials"), None);
    }
    let evil = format!("{JSON}Origin: https://evil.example\r\n");
    let response = console.ask("POST", "/api/auth/sign-in/email", &evil, &body).await;
    assert_eq!((response.status, response.header("set-cookie")), (200, None), "a token for a program, and no cookie");
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_with_tls_cookies_are_for_tls() {
    let mut config = config();
    config.proxy.trusted = Trusted::parse(&["127.0.0.1".to_owned()]).expect("legal");
    let console = Console::with("accounts-proxy", config, memory()).await;
    let body = json!({ "name": "ann", "email": "ann@example.com", "password": PASSWORD }).to_string();
    let headers = format!("{JSON}X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n");
    let (signed_up, cookie) = signed_in(&console.ask("POST", "/api/auth/sign-up/email", &headers, &body).await);
    assert!(cookie.ends_with("; httponly; path=/; samesite=lax; secure; max-age=604800"), "{cookie}");
    let session = console.get("/api/auth/list-sessions", &text(&signed_up["token"])).await;
    assert_eq!(session[0]["ipAddress"], "192.0.2.0/24");
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_security_headers() {
    let mut config = config();
    (config.accounts.requests_per_minute, config.exempt) = (9, Trusted::default());
    let console = Console::with("accounts-headers", config, memory()).await;
    let evil = "Origin: https://evil.example\r\nCookie: better-auth.session_token=x\r\n";
    let requests = [
        ("GET", "/api/auth/get-session", "", 200),
        ("GET", "/api/rooms/list", "", 401),
        ("PUT", "/api/keys/list", "", 405),
        ("GET", "/api/rooms/list", evil, 403),
        ("GET", "/api/auth/x", "", 404),
        ("GET", "/backup", "", 501),
        ("GET", "/api/user-tier", "", 200),
        ("POST", "/api/auth/sign-up/email", JSON, 400),
        ("POST", "/api/auth/sign-in/email", "", 400),
        ("OPTIONS", "/api/keys/list", "Origin: https://app.example\r\n", 204),
        ("GET", "/api/user-tier", "", 429),
    ];
    for (method, path, headers, status) in requests {
        let response = console.ask(method, path, headers, "").await;
        assert_eq!(response.status, status, "{method} {path}: {}", response.body);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "deny"),
            ("x-xss-protection", "1; mode=block"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("permissions-policy", "geolocation=(), microphone=(), camera=()"),
            (
                "content-security-policy",
                "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' \
                 data: https:; font-src 'self'; connect-src 'self' wss: https:; frame-ancestors 'none'; base-uri 'self'; \
                 form-action 'self'",
            ),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(response.header(name), Some(value), "{method} {path}: {name}");
        }
        if status == 204 {
            assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example"));
            assert!(response.header("access-control-allow-methods").is_some_and(|methods| methods.contains("post")));
        }
        if status == 429 {
            assert_eq!(response.body, "Rate limit exceeded. Please slow down.");
            let retry_after_s = response.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
            assert!(retry_after_s.is_some_and(|seconds| (1..=60).contains(&seconds)), "{}", response.head);
        }
    }
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_slowed_down() {
    let console = Console::start("accounts-guesses").await;
    console.sign_up("ann").await;
    let guess = json!({ "email": "ann@example.com", "password": "a wrong guess" });
    for _ in 0..6 {
        assert_eq!(console.post("/api/auth/sign-in/email", "", guess.clone()).await.0, 401);
    }
    let response = console.ask("POST", "/api/auth/sign-in/email", JSON, &guess.to_string()).await;
    // A second may pass on a slow machine: then this was one guess more, and the next has to wait for longer.
    let response = match response.status {
        401 => console.ask("POST", "/api/auth/sign-in/email", JSON, &guess.to_string()).await,
        _ => response,
    };
    assert_eq!(response.status, 429, "{}", response.body);
    assert!(response.body.contains("too many attempts; try again in "), "{}", response.body);
    assert!(response.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok()));
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_made_listed_and_given_up() {
    let mut limited = config();
    limited.rooms.per_user_max = 2;
    let console = Console::with("accounts-rooms", limited, memory()).await;
    let (ann, bob) = (console.token("ann").await, console.token("bob").await);
    assert_eq!(console.get("/api/rooms/list", &ann).await, json!([]));
    let (status, made) = console.post("/api/rooms/create", &ann, json!({ "roomId": "my-db", "name": "My DB" })).await;
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!((status, &made["id"], &made["name"]), (200, &json!("my-db"), &json!("My DB")));
    let created = made["created_at"].as_u64().expect("ms");
    assert!(created / 1_000 + 60 > now_s() && created == made["last_accessed_at"], "{made}");
    let taken = console.post("/api/rooms/create", &bob, json!({ "roomId": "my-db" })).await;
    assert_eq!(taken, (409, "Room ID already exists".to_owned()));
    assert_eq!(console.post("/api/rooms/create", &ann, json!({ "roomId": "second" })).await.0, 200);
    let third = console.post("/api/rooms/create", &ann, json!({ "roomId": "third" })).await;
    assert_eq!(third, (403, "Plan limit reached. Maximum 2 rooms allowed.".to_owned()));
    let listed = console.get("/api/rooms/list", &ann).await;
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert!(listed.as_array().is_some_and(|rooms| rooms.contains(&made)));
    assert_eq!(console.post("/api/rooms/delete", &bob, json!({ "roomId": "my-db" })).await.0, 400);
    let deleted = console.post("/api/rooms/delete", &ann, json!({ "roomId": "my-db" })).await;
    assert_eq!(deleted, (200, "{\"success\":true}".to_owned()));
    assert_eq!(console.post("/api/rooms/create", &bob, json!({ "roomId": "my-db" })).await.0, 200);
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_identity_provider_is_as_good_as_a_session() {
    let console = Console::with("accounts-provider", with_secret(config()), memory()).await;
    let ann = token("ann", json!({ "name": "Ann" }));
    let found = console.get("/api/auth/get-session", &ann).await;
    assert_eq!((&found["user"]["id"], &found["user"]["name"]), (&json!("ann"), &json!("Ann")));
    assert_eq!(console.post("/api/rooms/create", &ann, json!({ "roomId": "crm" })).await.0, 200);
    assert_eq!(console.get("/api/rooms/list", &ann).await[0]["id"], "crm");
    let expired = token("ann", json!({ "exp": now_s() - 3_600 }));
    let headers = format!("Authorization: Bearer {expired}\r\n");
    let refused = console.ask("GET", "/api/rooms/list", &headers, "").await;
    assert_eq!((refused.status, &*refused.body), (401, INVALID));
    let by_parameter = console.ask("GET", &format!("/api/rooms/list?session_token={ann}"), "", "").await;
    assert_eq!(by_parameter.status, 200, "{}", by_parameter.body);
    // Others say who somebody is: strangers make no accounts.
    let body = json!({ "name": "x", "email": "x@example.com", "password": PASSWORD });
    let (status, answer) = console.post("/api/auth/sign-up/email", "", body).await;
    assert!(status == 403 && answer.contains("SIGN_UP_CLOSED"), "{status} {answer}");
    console.server.stop(()).await;
}

/// The store in a folder, once the server that had it has let go.
async fn embedded(config: &Config) -> Arc<dyn Store> {
    let opened = async {
        loop {
            match server::open_store(config) {
                Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
                opened => return opened.expect("opens"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.expect("the lock is let go of")
}

/// Whether some file below a folder has these bytes.
fn is_on_disk(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return is_on_disk(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_not_on_the_disk_and_sessions_outlive_the_process() {
    let mut config = config();
    config.data = folder("accounts-disk");
    let server = Running::start(config.clone(), embedded(&config).await).await;
    let console = Console { server, config: config.clone() };
    let token = console.token("ann").await;
    let (_, made) = console.post("/api/keys/generate", &token, json!({})).await;
    let key = text(&serde_json::from_str::<Value>(&made).expect("JSON")["id"]);
    assert_eq!(console.post("/api/rooms/create", &token, json!({ "roomId": "crm" })).await.0, 200);
    let second = text(&console.sign_in("ann").await.0["token"]);
    assert_eq!(console.post("/api/auth/sign-out", &second, json!({})).await.0, 200);
    console.server.stop(()).await;
    for secret in [&token, &second, PASSWORD, &key, &key[8..]] {
        assert!(!is_on_disk(&config.data, secret), "{secret}");
    }
    assert!(is_on_disk(&config.data, "ann@example.com"), "the search finds what is there");
    for _ in 0..2 {
        let server = Running::start(config.clone(), embedded(&config).await).await;
        let console = Console { server, config: config.clone() };
        assert_eq!(console.get("/api/rooms/list", &token).await[0]["id"], "crm");
        assert_eq!(console.get("/api/auth/get-session", &second).await, Value::Null, "it has ended for good");
        console.server.stop(()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_run_out_is_none() {
    let mut config = config();
    config.accounts.session_s = 0;
    let console = Console::with("accounts-expiry", config, memory()).await;
    let token = console.token("ann").await;
    assert_eq!(console.get("/api/auth/get-session", &token).await, Value::Null);
    let response = console.ask("GET", "/api/rooms/list", &format!("Authorization: Bearer {token}\r\n"), "").await;
    assert_eq!((response.status, &*response.body), (401, INVALID));
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_refuses_has_not_happened() {
    let disk = FaultyDisk::new();
    let console = Console::with("accounts-broken-disk", config(), store_on(&disk)).await;
    let token = console.token("ann").await;
    disk.fail_writes("log/", std::io::ErrorKind::StorageFull);
    let (status, answer) = console.post("/api/rooms/create", &token, json!({ "roomId": "crm" })).await;
    assert_eq!((status, &*answer), (500, "accounts cannot be read or written now; try again later"));
    let body = json!({ "name": "bob", "email": "bob@example.com", "password": PASSWORD });
    assert_eq!(console.post("/api/auth/sign-up/email", "", body.clone()).await.0, 500);
    assert_eq!(console.get("/api/rooms/list", &token).await, json!([]), "who is signed in stays so");
    disk.heal();
    assert_eq!(console.post("/api/auth/sign-up/email", "", body).await.0, 200);
    assert_eq!(console.post("/api/rooms/create", &token, json!({ "roomId": "crm" })).await.0, 200);
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_cut_of_the_power() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let disk = FaultyDisk::new();
    let console = Console::with("accounts-power", config(), store_on(&disk)).await;
    let token = console.token("ann").await;
    let ended = text(&console.sign_in("ann").await.0["token"]);
    assert_eq!(console.post("/api/rooms/create", &token, json!({ "roomId": "crm" })).await.0, 200);
    assert_eq!(console.post("/api/auth/sign-out", &ended, json!({})).await.0, 200);
    let after = disk.cut_power(&mut rng);
    console.server.stop(()).await;
    let console = Console::with("accounts-power", config(), store_on(&after)).await;
    assert_eq!(console.get("/api/rooms/list", &token).await[0]["id"], "crm");
    assert_eq!(console.get("/api/auth/get-session", &ended).await, Value::Null);
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_that_something_is_done_before_it_is_synced() {
    let disk = FaultyDisk::new();
    let console = Console::with("accounts-syncs", config(), store_on(&disk)).await;
    let body = json!({ "name": "ann", "email": "ann@example.com", "password": PASSWORD });
    disk.fail_syncs("log/", std::io::ErrorKind::Other);
    let (status, answer) = console.post("/api/auth/sign-up/email", "", body.clone()).await;
    assert_eq!(status, 500, "{answer}");
    let (status, answer) = console.post("/api/auth/sign-in/email", "", body.clone()).await;
    assert!([401, 500].contains(&status), "{status} {answer}");
    disk.heal();
    // It may be in the log; if it is not, it can be made now. Either way it is there in the end, once.
    let (status, answer) = console.post("/api/auth/sign-up/email", "", body.clone()).await;
    assert!([200, 422].contains(&status), "{status} {answer}");
    let token = text(&console.sign_in("ann").await.0["token"]);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let after = disk.cut_power(&mut fastrand::Rng::with_seed(seed));
    console.server.stop(()).await;
    let console = Console::with("accounts-syncs", config(), store_on(&after)).await;
    assert_eq!(console.get("/api/auth/get-session", &token).await["user"]["email"], "ann@example.com");
    console.server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_one_user_makes_have_a_rate() {
    let mut config = config();
    config.limits.user_rooms_per_h = 2;
    let console = Console::with("accounts-rate", config, memory()).await;
    let token = console.token("ann").await;
    for (room, status) in [("one", 200), ("two", 200), ("three", 503)] {
        let (found, answer) = console.post("/api/rooms/create", &token, json!({ "roomId": room })).await;
        assert_eq!(found, status, "{answer}");
        assert_eq!(answer.contains("limits.user_rooms_per_h"), status == 503, "{answer}");
    }
    console.server.stop(()).await;
}
