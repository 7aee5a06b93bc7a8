//! What the application and the identity provider say, over HTTP: sessions, permissions, published keys; and what happens when they say nothing.

use crate::application::Application;
use crate::credentials::{Issuer, SECRET, token, with_secret};
use crate::provider::{Provider, Said};
use crate::world::{Running, config, memory};
use aws_lc_rs::hmac;
use serde_json::json;
use server::config::{Config, OriginsConfig, Secret};
use std::time::{Duration, Instant};
use testkit::client::{Client, Response};

/// Connects where that is refused before the upgrade.
async fn turned_away(server: &Running, target: &str, headers: &str) -> Response {
    Client::connect_with(server.address, target, headers).await.err().unwrap_or_else(|| panic!("{target} is let in"))
}

/// The close code of somebody who is told why not.
async fn refused(server: &Running, target: &str, headers: &str) -> (u16, String) {
    let client = Client::connect_with(server.address, target, headers).await.expect("a handshake");
    let (_, code, reason) = Provider::unsynced(client, 99).until_closed().await;
    (code, reason)
}

async fn enter(server: &Running, target: &str, headers: &str, id: u64) -> Provider {
    Provider::on(Client::connect_with(server.address, target, headers).await.expect("a handshake"), id).await
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let line = request.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    });
    line.unwrap_or_else(|| panic!("no {name} in {request}"))
}

fn with_sessions(application: &Application) -> Config {
    let mut config = config();
    config.auth.session_url = Some(application.url("/session?app=1"));
    config.origins = OriginsConfig { allowed: vec!["https://app.example".to_owned()] };
    config
}

const PAGE: &str = "Origin: https://app.example\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_the_applications_word() {
    let application = Application::start(|request: &str| match header(request, "cookie") {
        "sid=ann" => (200, json!({ "userId": "ann", "name": "Ann", "ttl_s": 60 }).to_string()),
        "sid=nonsense" => (200, "<html>please log in</html>".to_owned()),
        "sid=moved" => (302, json!({ "userId": "ann" }).to_string()),
        "sid=broken" => (500, String::new()),
        _ => (401, String::new()),
    })
    .await;
    let server = Running::start(with_sessions(&application), memory()).await;
    let with = |cookie: &str| format!("Cookie: {cookie}\r\n{PAGE}");
    let mut ann = enter(&server, "/r", &with("sid=ann"), 1).await;
    ann.write_and_save("hi").await;
    let again = enter(&server, "/other", &with("sid=ann"), 2).await;
    let asked = application.asked();
    assert_eq!(asked.len(), 1, "an answer counts for a while");
    assert!(asked[0].starts_with("GET /session?app=1 HTTP/1.1\r\n"), "{}", asked[0]);
    assert_eq!(header(&asked[0], "origin"), "https://app.example");

    assert_eq!(refused(&server, "/r", &with("sid=eve")).await, (4401, "unauthorized".to_owned()));
    for cookie in ["sid=nonsense", "sid=moved", "sid=broken"] {
        let response = turned_away(&server, "/r", &with(cookie)).await;
        assert_eq!((response.status, response.header("retry-after")), (503, Some("5")), "{cookie}");
        assert!(response.body.contains("sessions cannot be checked"), "{}", response.body);
    }
    assert!(!application.asked().iter().any(|request| request.contains("/elsewhere")), "no redirect is followed");
    // Another site's page: the browser sends the cookie along, and it does not count.
    let hijack = turned_away(&server, "/r", "Cookie: sid=ann\r\nOrigin: https://evil.example\r\n").await;
    assert_eq!(hijack.status, 403);
    assert_eq!(turned_away(&server, "/r", "Cookie: sid=ann\r\n").await.status, 403);
    server.stop((ann, again)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_ends_its_hundred_connections() {
    let session = |_: &str| (200, json!({ "userId": "ann", "ttl_s": 0.8 }).to_string());
    let application = Application::start(session).await;
    let server = Running::start(with_sessions(&application), memory()).await;
    let mut members = Vec::new();
    for number in 0..100 {
        let headers = format!("Cookie: sid=ann\r\n{PAGE}");
        members.push(enter(&server, &format!("/r{}", number % 10), &headers, number + 1).await);
    }
    // They stay as long as the application says so, and it is asked once for all of them.
    application.until_asked_more_than(2).await;
    members[0].write_and_save("still here").await;
    application.answer(|_| (401, String::new()));
    let began = Instant::now();
    for member in &mut members {
        let (_, code, reason) = member.until_closed().await;
        assert_eq!((code, &*reason), (4403, "access revoked"));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(application.asked().len() < 100, "{} questions", application.asked().len());
    server.stop(members).await;
}

pub(crate) const WEBHOOK_SECRET: &str = "what webhooks are signed with, long";

fn with_webhook(application: &Application) -> Config {
    let mut config = with_secret(config());
    config.auth.permission_url = Some(application.url("/permission"));
    config.auth.webhook_secret = Secret::new(WEBHOOK_SECRET);
    config
}

fn says(permission: &'static str, ttl_s: f64) -> impl FnMut(&str) -> (u16, String) {
    move |_| (200, json!({ "permission": permission, "ttl_s": ttl_s }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_are_asked_with_a_signature() {
    let application = Application::start(says("write", 60.0)).await;
    let server = Running::start(with_webhook(&application), memory()).await;
    let ann = token("ann", json!({ "firmId": "f1", "email": "ann@f1.example" }));
    let mut member = enter(&server, &format!("/team/1?token={ann}"), "", 1).await;
    member.write_and_save("hi").await;
    let request = application.asked().remove(0);
    let body = request.split_once("\r\n\r\n").expect("a body").1;
    let asked: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(asked["room"], "team/1");
    assert_eq!(
        (&asked["identity"]["userId"], &asked["identity"]["firmId"], &asked["identity"]["name"]),
        (&json!("ann"), &json!("f1"), &json!(null))
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
    let tag = hmac::sign(&key, format!("{}.{body}", header(&request, "concord-timestamp")).as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header(&request, "concord-signature"), format!("sha256={hex}"));
    assert!(!request.contains(&ann), "tokens stay here");
    server.stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_narrower_of_token_and_application_counts() {
    let application = Application::start(|request: &str| {
        let permission = if request.contains("\"room\":\"read-by-app\"") { "read" } else { "write" };
        (200, json!({ "permission": permission }).to_string())
    })
    .await;
    let server = Running::start(with_webhook(&application), memory()).await;
    let all = token("ann", json!({}));
    let reading = token("ann", json!({ "rooms": [{ "name": "read-by-token", "permission": "read" }] }));
    for (room, token) in [("read-by-app", &all), ("read-by-token", &reading)] {
        let mut member = enter(&server, &format!("/{room}?token={token}"), "", 1).await;
        member.write("x").await;
        assert_eq!(member.heard_by_now().await, [Said::Denied("read-only".to_owned())], "{room}");
    }
    let asked = application.asked().len();
    assert_eq!(refused(&server, &format!("/other?token={reading}"), "").await, (4403, "permission-denied".to_owned()));
    assert_eq!(application.asked().len(), asked, "what the token excludes is not asked");
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_changes_reaches_a_hundred_connections() {
    let application = Application::start(says("write", 0.8)).await;
    let server = Running::start(with_webhook(&application), memory()).await;
    let mut members = Vec::new();
    for number in 0..100_u64 {
        let token = token(&format!("u{}", number % 10), json!({}));
        members.push(enter(&server, &format!("/r?token={token}"), "", number + 1).await);
    }
    application.answer(says("read", 0.8));
    let began = Instant::now();
    for member in &mut members {
        // Each tries until it is told that it may only read.
        'tries: loop {
            member.write("x").await;
            for said in member.heard_by_now().await {
                if said == Said::Denied("read-only".to_owned()) {
                    break 'tries;
                }
            }
            assert!(began.elapsed() < Duration::from_secs(20), "nobody is told");
        }
    }
    let read_only_after = began.elapsed();
    application.answer(says("none", 0.8));
    let began = Instant::now();
    for member in &mut members {
        let (_, code, reason) = member.until_closed().await;
        assert_eq!((code, &*reason), (4403, "access revoked"));
    }
    println!("read-only after {read_only_after:?}, closed after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    server.stop(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_nobody_gets_in_and_whoever_is_in_stays_as_long_as_the_last_one_counts() {
    let mut application = Application::start(says("write", 1.5)).await;
    let server = Running::start(with_webhook(&application), memory()).await;
    let token = token("ann", json!({}));
    let mut member = enter(&server, &format!("/r?token={token}"), "", 1).await;
    let entered = Instant::now();
    application.go_down().await;
    member.write_and_save("no answer is needed for this").await;
    let response = turned_away(&server, &format!("/other?token={token}"), "").await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
    assert!(response.body.contains("permissions cannot be checked"), "{}", response.body);
    let (_, code, reason) = member.until_closed().await;
    assert_eq!((code, &*reason), (1013, "access cannot be checked, try again later"));
    assert!(entered.elapsed() >= Duration::from_millis(1_300), "{:?}", entered.elapsed());
    server.stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_does_not_answer_in_time_is_no_answer() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut config = with_secret(config());
    let url = format!("http://{}/permission", silent.local_addr().expect("it listens"));
    config.auth.permission_url = server::fetch::Url::parse(&url);
    (config.auth.webhook_secret, config.auth.time_out_ms) = (Secret::new(WEBHOOK_SECRET), 200);
    let server = Running::start(config, memory()).await;
    let response = turned_away(&server, &format!("/r?token={}", token("ann", json!({}))), "").await;
    assert_eq!(response.status, 503);
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn published_keys_are_fetched_kept_and_fetched_again_for_a_key_that_is_not_there() {
    let (first, second) = (Issuer::es256(), Issuer::ed25519());
    let published = json!({ "keys": [first.jwk("one")] }).to_string();
    let mut application = Application::start(move |_| (200, published.clone())).await;
    let mut config = config();
    config.auth.jwks_url = Some(application.url("/jwks"));
    config.auth.secret = Secret::new(SECRET);
    let server = Running::start(config, memory()).await;
    let by = |issuer: &Issuer, id: &str| format!("/r?token={}", issuer.token(id, "ann"));
    drop(enter(&server, &by(&first, "one"), "", 1).await);
    drop(enter(&server, &format!("/r?token={}", token("bob", json!({}))), "", 2).await);
    let asked = application.asked().len();

    let both = json!({ "keys": [first.jwk("one"), second.jwk("two")] }).to_string();
    application.answer(move |_| (200, both.clone()));
    drop(enter(&server, &by(&second, "two"), "", 3).await);
    assert_eq!(application.asked().len(), asked + 1, "an unknown key is looked for");
    for unknown in ["three", "four", "../five"] {
        assert_eq!(refused(&server, &by(&second, unknown), "").await.0, 4401);
    }
    assert_eq!(application.asked().len(), asked + 1, "but not for each that somebody makes up");

    application.go_down().await;
    for (issuer, id) in [(&first, "one"), (&second, "two")] {
        drop(enter(&server, &by(issuer, id), "", 4).await);
    }
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_identity_provider_has_never_answered_nobody_is_refused_for_good() {
    let issuer = Issuer::es256();
    let application = Application::start(|_| (500, String::new())).await;
    let mut config = config();
    config.auth.jwks_url = Some(application.url("/jwks"));
    let server = Running::start(config, memory()).await;
    let target = format!("/r?token={}", issuer.token("one", "ann"));
    let response = turned_away(&server, &target, "").await;
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
    for broken in ["{}", "{\"keys\":[]}", "not JSON"] {
        application.answer(move |_| (200, broken.to_owned()));
        assert_eq!(turned_away(&server, &target, "").await.status, 503, "{broken}");
    }
    let published = json!({ "keys": [issuer.jwk("one")] }).to_string();
    application.answer(move |_| (200, published.clone()));
    // Asked again at most once a second.
    let entered = async {
        while Client::connect_with(server.address, &target, "").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(testkit::client::PATIENCE, entered).await.expect("they are let in");
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn published_keys_are_renewed_in_the_background() {
    let (first, second) = (Issuer::es256(), Issuer::es256());
    let published = json!({ "keys": [first.jwk("one")] }).to_string();
    let application = Application::start(move |_| (200, published.clone())).await;
    let mut config = config();
    (config.auth.jwks_url, config.auth.jwks_refresh_ms) = (Some(application.url("/jwks")), 50);
    let server = Running::start(config, memory()).await;
    drop(enter(&server, &format!("/r?token={}", first.token("one", "ann")), "", 1).await);
    let replaced = json!({ "keys": [second.jwk("one")] }).to_string();
    let before = application.asked().len();
    application.answer(move |_| (200, replaced.clone()));
    // The one under way, and one more.
    application.until_asked_more_than(before + 1).await;
    assert_eq!(refused(&server, &format!("/r?token={}", first.token("one", "ann")), "").await.0, 4401);
    drop(enter(&server, &format!("/r?token={}", second.token("one", "ann")), "", 2).await);
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_may_say_how_much_somebody_may_send() {
    let application = Application::start(|request: &str| {
        let limits = if request.contains("\"userId\":\"slow\"") { json!({ "messages_per_s": 3 }) } else { json!({}) };
        (200, json!({ "permission": "write", "limits": limits }).to_string())
    })
    .await;
    let server = Running::start(with_webhook(&application), memory()).await;
    let mut slow = enter(&server, &format!("/r?token={}", token("slow", json!({}))), "", 1).await;
    let mut other = enter(&server, &format!("/r?token={}", token("ann", json!({}))), "", 2).await;
    let began = Instant::now();
    for _ in 0..9 {
        slow.write("x").await;
    }
    other.write_and_save("is not kept waiting").await;
    slow.until_saved().await;
    // Nine messages, three a second: nothing is lost, the last ones come after two more seconds have begun.
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    other.until_shown(1, 9).await;
    server.stop((slow, other)).await;
}

/// An application that says `first` when it is told to, and `none` to all that is asked later.
async fn held(
    first: &'static str,
) -> (Application, tokio::sync::mpsc::UnboundedReceiver<()>, std::sync::mpsc::Sender<()>) {
    let (asking, asked) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel();
    let mut is_first = true;
    let application = Application::start(move |_| {
        let _nobody_counts = asking.send(());
        if !std::mem::take(&mut is_first) {
            return (200, json!({ "permission": "none" }).to_string());
        }
        let _given_up = released.recv_timeout(testkit::client::PATIENCE);
        (200, json!({ "permission": first, "ttl_s": 3_600 }).to_string())
    })
    .await;
    (application, asked, release)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_answer_under_way_counts_no_longer_when_rights_are_to_be_confirmed() {
    let (application, mut asked, release) = held("write").await;
    let mut config = with_webhook(&application);
    config.data = crate::world::folder("webhooks-confirm");
    config.admin.listen = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let bearer = format!("Authorization: Bearer {}\r\n", crate::admin::make_key(&config, "admin"));
    let server = Running::start(config, memory()).await;
    let (address, admin) = (server.address, server.admin.expect("it listens"));
    let target = format!("/r?token={}", token("ann", json!({})));
    let visit = tokio::spawn(async move {
        let client = Client::connect(address, &target).await;
        Provider::unsynced(client, 1).until_closed().await
    });
    asked.recv().await.expect("it is asked");
    let (status, _) = crate::admin::ask(admin, "POST", "/api/admin/confirm", &bearer, "{\"user\":\"ann\"}").await;
    assert_eq!(status, 200);
    release.send(()).expect("it waits");
    let (heard, code, reason) = visit.await.expect("no panic");
    assert_eq!((code, &*reason), (4403, "permission-denied"));
    assert_eq!(heard, [Said::Denied("permission-denied".to_owned())], "and nothing of the document");
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_member_about_whom_a_question_is_under_way_is_asked_about_once_more() {
    let first = Application::start(says("write", 3_600.0)).await;
    let mut config = with_webhook(&first);
    config.data = crate::world::folder("webhooks-once-more");
    config.admin.listen = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    let bearer = format!("Authorization: Bearer {}\r\n", crate::admin::make_key(&config, "admin"));
    let server = Running::start(config, memory()).await;
    let admin = server.admin.expect("it listens");
    let mut member = enter(&server, &format!("/r?token={}", token("ann", json!({}))), "", 1).await;
    let (release, released) = std::sync::mpsc::channel();
    let (asking, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let mut answers = vec!["none", "write"];
    first.answer(move |_| {
        if answers.len() == 2 {
            let _nobody_counts = asking.send(());
            let _given_up = released.recv_timeout(testkit::client::PATIENCE);
        }
        (200, json!({ "permission": answers.pop().unwrap_or("none"), "ttl_s": 3_600 }).to_string())
    });
    for round in 0..2 {
        if round == 1 {
            asked.recv().await.expect("the first question is under way");
        }
        let (status, answer) =
            crate::admin::ask(admin, "POST", "/api/admin/confirm", &bearer, "{\"user\":\"ann\"}").await;
        assert_eq!((status, &answer["connections"]), (200, &json!(1)));
    }
    release.send(()).expect("it waits");
    let (_, code, reason) = member.until_closed().await;
    assert_eq!((code, &*reason), (4403, "access revoked"));
    server.stop(member).await;
}
