//! What plain HTTP gets on the same port, and paths that are no rooms.

use crate::provider::Provider;
use crate::world::{Running, config, memory};
use testkit::client::{Client, Response, request};

async fn ask(server: &Running, method: &str, path: &str) -> Response {
    request(server.address, format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_has_what_every_reader_looks_for() {
    let server = Running::start(config(), memory()).await;
    let _members = (
        Provider::enter(server.address, "/a", 1).await,
        Provider::enter(server.address, "/a", 2).await,
        Provider::enter(server.address, "/b", 3).await,
    );
    for (path, word) in [("/health", "healthy"), ("/api/health", "ok")] {
        let health = ask(&server, "GET", path).await;
        assert_eq!((health.status, health.header("content-type")), (200, Some("application/json")));
        assert_eq!(health.header("content-length"), Some(health.body.len().to_string().as_str()));
        let start = format!("{{\"status\":\"{word}\",\"timestamp\":\"2");
        let end = format!(
            "Z\",\"version\":\"{}\",\"websocket\":{{\"connections\":3,\"rooms\":2}}}}",
            env!("CARGO_PKG_VERSION")
        );
        assert!(health.body.starts_with(&start) && health.body.ends_with(&end), "{}", health.body);
        let head = ask(&server, "HEAD", path).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert_eq!(head.header("content-length"), health.header("content-length"));
    }
    let ready = ask(&server, "GET", "/ready").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "{\"ok\":true}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_get_is_okay_and_other_methods_are_not() {
    let server = Running::start(config(), memory()).await;
    for path in ["/", "/any/room", "/y/room?token=x"] {
        let okay = ask(&server, "GET", path).await;
        assert_eq!((okay.status, okay.body.as_str()), (200, "okay"), "{path}");
        assert!(okay.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{path}");
        assert_eq!(ask(&server, "HEAD", path).await.body, "", "{path}");
        let post = ask(&server, "POST", path).await;
        assert_eq!((post.status, post.header("allow")), (405, Some("get")), "{path}");
    }
    for path in ["/api/nothing", "/_concord/nothing"] {
        assert_eq!(ask(&server, "GET", path).await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_lead_nowhere_say_so() {
    let server = Running::start(config(), memory()).await;
    let cases = [
        ("/ws/document/", 404, "nothing"),
        ("/ws/document/7%2F8", 400, "invalid room name"),
        ("/ws/updates", 501, "Not implemented yet"),
        ("/ws/other", 404, "nothing"),
        ("/websocket", 400, "Missing room_id query parameter"),
        ("/__ws/connect?room_id=", 400, "must not be empty"),
        ("/d/doc/ws/other", 400, "must be equal"),
        ("/d/doc!/ws/doc!", 400, "Invalid document name"),
        ("/d/doc/ws", 404, "nothing"),
        ("/api/rooms", 404, "nothing"),
        ("/health", 404, "nothing"),
        ("/_concord/status", 404, "nothing"),
    ];
    for (path, status, words) in cases {
        let refusal = Client::connect_with(server.address, path, "").await.expect_err(path);
        assert_eq!(refusal.status, status, "{path}");
        assert!(refusal.body.contains(words), "{path}: {}", refusal.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_their_status() {
    let server = Running::start(config(), memory()).await;
    let upgrade = testkit::client::upgrade_request("/r", "");
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    let long_header = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(17 << 10));
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(), 400),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 400),
        ("65 headers", many_headers.into(), 431),
        ("17 KiB of cookies", long_header.into(), 431),
        ("version 8", upgrade.replace("Version: 13", "Version: 8").into(), 426),
        ("no key", upgrade.replace("dGhlIHNhbXBsZSBub25jZQ==", "").into(), 400),
        ("POST", upgrade.replace("GET ", "POST ").into(), 405),
        ("no connection header", upgrade.replace("Connection: Upgrade\r\n", "").into(), 400),
        ("subprotocol that is not ASCII", upgrade.replace("Host:", "Sec-WebSocket-Protocol: ä\r\nHost:").into(), 400),
    ];
    for (name, bytes, status) in cases {
        let response = request(server.address, bytes).await;
        assert_eq!(response.status, *status, "{name}");
        assert!(response.body.starts_with("{\"error\":\""), "{name}: {}", response.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_may_read_what_their_origin_allows() {
    let mut config = config();
    config.origins.allowed = vec!["https://app.example".to_owned(), "https://*.docs.example".to_owned()];
    let server = Running::start(config, memory()).await;
    let asked = async |method: &str, origin: &str| {
        let bytes = format!("{method} /health HTTP/1.1\r\nHost: test\r\n{origin}\r\n");
        let response = request(server.address, bytes).await;
        let allowed = response.header("access-control-allow-origin").map(str::to_owned);
        (response.status, allowed, response.header("access-control-allow-credentials").is_some())
    };
    let listed = |origin: &str| Some(origin.to_owned());
    let cases = [
        ("GET", "", (200, None, false)),
        ("GET", "Origin: https://app.example\r\n", (200, listed("https://app.example"), true)),
        ("GET", "Origin: https://a.docs.example\r\n", (200, listed("https://a.docs.example"), true)),
        ("GET", "Origin: https://evil.example\r\n", (200, None, false)),
        ("GET", "Origin: null\r\n", (200, None, false)),
        ("OPTIONS", "Origin: https://app.example\r\n", (204, listed("https://app.example"), true)),
        ("OPTIONS", "Origin: https://evil.example\r\n", (405, None, false)),
        ("OPTIONS", "", (405, None, false)),
    ];
    for (method, origin, expected) in cases {
        assert_eq!(asked(method, origin).await, expected, "{method} {origin}");
    }
    let open = Running::start(crate::world::config(), memory()).await;
    let response =
        request(open.address, "GET /health HTTP/1.1\r\nHost: h\r\nOrigin: https://any.example\r\n\r\n").await;
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("access-control-allow-credentials"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_have_an_id_and_say_nothing_about_the_server() {
    let server = Running::start(config(), memory()).await;
    for path in ["/health", "/", "/api/none"] {
        let response = ask(&server, "GET", path).await;
        assert!(response.header("x-request-id").is_some_and(|id| id.starts_with("req_")), "{path}: {}", response.head);
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(response.header("server"), None, "{path}");
        let tells_version = response.body.contains(env!("CARGO_PKG_VERSION"));
        assert_eq!(tells_version, path == "/health", "{path}");
    }
}
