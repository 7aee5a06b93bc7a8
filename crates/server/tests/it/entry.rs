//! Who may enter, by token and key, as a client sees it over the socket; and what happens to who is in when that changes.

use crate::credentials::{Issuer, SECRET, claims, hs256, now_s, token, unsigned, with_secret};
use crate::provider::{Provider, Said, Writer, awareness, delete, step_2, update};
use crate::world::{Running, config, folder, memory};
use serde_json::{Value, json};
use server::auth::KeyFile;
use server::config::{Config, Durability, OriginsConfig};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testkit::client::{Client, Heard};
use tokio::task::JoinSet;

/// What a client hears when it connects: its first message, and the end if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    In,
    /// The reason in the message, the close code, and the reason in the close frame.
    Refused(String, u16, String),
    /// Before the upgrade.
    Http(u16),
}

fn refused(message: &str, code: u16) -> Outcome {
    Outcome::Refused(message.to_owned(), code, message.to_owned())
}

async fn outcome(address: SocketAddr, target: &str, headers: &str) -> Outcome {
    let mut client = match Client::connect_with(address, target, headers).await {
        Ok(client) => client,
        Err(response) => return Outcome::Http(response.status),
    };
    match client.hear().await {
        Heard::Message(bytes) => match crate::provider::read(&bytes) {
            Said::StateVector(_) => Outcome::In,
            Said::Denied(message) => match client.hear().await {
                Heard::Close(code, reason) => Outcome::Refused(message, code, reason),
                other => panic!("{target}: {other:?} after {message}"),
            },
            other => panic!("{target}: {other:?}"),
        },
        other => panic!("{target}: {other:?}"),
    }
}

/// Connects with all of them at once, as each refusal takes three seconds.
async fn check(address: SocketAddr, cases: Vec<(&'static str, String, String, Outcome)>) {
    let mut attempts = JoinSet::new();
    for (name, target, headers, expected) in cases {
        attempts.spawn(async move { (name, outcome(address, &target, &headers).await, expected) });
    }
    let mut wrong = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        let (name, found, expected) = attempt.expect("no panic");
        if found != expected {
            wrong.push(format!("{name}: {found:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A server that trusts a secret, and the keys of two issuers by their ids `es` and `ed`.
struct Guarded {
    server: Running,
    es: Issuer,
    ed: Issuer,
}

impl Guarded {
    async fn start(name: &str, change: impl FnOnce(&mut Config)) -> Self {
        let (es, ed) = (Issuer::es256(), Issuer::ed25519());
        let folder = folder(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("keys.json");
        std::fs::write(&path, json!({ "keys": [es.jwk("es"), ed.jwk("ed")] }).to_string()).expect("a file");
        let mut config = with_secret(config());
        config.auth.keys_file = Some(path);
        config.durability = Durability::Memory;
        change(&mut config);
        Self { server: Running::start(config, memory()).await, es, ed }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_refused_with_the_exact_words() {
    let Guarded { server, es, ed } = Guarded::start("entry-attacks", |config| {
        (config.auth.audience, config.auth.issuer) = (vec!["docs".to_owned()], vec!["id.example".to_owned()]);
    })
    .await;
    let right = json!({ "aud": "docs", "iss": "id.example" });
    let good = |changes: Value| {
        let mut all = right.clone();
        all.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        claims("ann", all).to_string()
    };
    let plain = good(json!({}));
    let hs = |header: &str| hs256(header, &plain, SECRET);
    let with = |changes: Value| hs256(r#"{"alg":"HS256"}"#, &good(changes), SECRET);
    let signed = |claims: &str| hs256(r#"{"alg":"HS256"}"#, claims, SECRET);
    let fine = with(json!({}));
    let (head, rest) = fine.split_once('.').expect("parts");
    let (body, signature) = rest.split_once('.').expect("parts");
    let jwk = es.jwk("x").to_string();
    let now = now_s();
    let bad = || refused("unauthorized", 4401);
    let stale = || refused("token-expired", 4401);
    let forbidden = || refused("permission-denied", 4403);
    let cases = vec![
        ("right", fine.clone(), Outcome::In),
        ("right, ES256", es.sign(r#"{"alg":"ES256","kid":"es"}"#, &plain), Outcome::In),
        ("right, EdDSA", ed.sign(r#"{"alg":"EdDSA","kid":"ed"}"#, &plain), Outcome::In),
        ("right, within the leeway", with(json!({ "exp": now - 5 })), Outcome::In),
        ("right, audience in a list", with(json!({ "aud": ["mail", "docs"] })), Outcome::In),
        (
            "right, with claims that mean nothing",
            with(json!({ "__proto__": { "admin": true }, "scope": "admin" })),
            Outcome::In,
        ),
        ("right, sub", with(json!({ "userId": null, "sub": "ann" })), Outcome::In),
        ("right, for this room", with(json!({ "rooms": [{ "name": "r", "permission": "read" }] })), Outcome::In),
        ("right, for such rooms", with(json!({ "rooms": [{ "name": "*", "permission": "write" }] })), Outcome::In),
        ("for another room", with(json!({ "rooms": [{ "name": "other", "permission": "write" }] })), forbidden()),
        ("for no room", with(json!({ "rooms": [] })), forbidden()),
        ("for rooms in other letters", with(json!({ "rooms": [{ "name": "R", "permission": "write" }] })), forbidden()),
        ("nothing", String::new(), bad()),
        ("a word", "letmein".to_owned(), bad()),
        ("two dots", "..".to_owned(), bad()),
        ("alg none", format!("{}.", unsigned(r#"{"alg":"none"}"#, &plain)), bad()),
        ("alg None", format!("{}.", unsigned(r#"{"alg":"None"}"#, &plain)), bad()),
        ("alg NONE with a signature", hs(r#"{"alg":"NONE"}"#), bad()),
        ("alg missing", hs(r#"{"typ":"JWT"}"#), bad()),
        ("alg a number", hs(r#"{"alg":256}"#), bad()),
        ("alg in other letters", hs(r#"{"alg":"hs256"}"#), bad()),
        ("alg that is another one's", hs(r#"{"alg":"HS512"}"#), bad()),
        ("alg RS256 without such a key", hs(r#"{"alg":"RS256"}"#), bad()),
        ("alg twice", hs(r#"{"alg":"HS256","alg":"none"}"#), bad()),
        (
            "signed with the public key of ES256 as a secret",
            {
                let public = es.public();
                let signed = unsigned(r#"{"alg":"HS256","kid":"es"}"#, &plain);
                let tag = aws_lc_rs::hmac::sign(
                    &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public),
                    signed.as_bytes(),
                );
                use base64::Engine;
                format!("{signed}.{}", base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(tag))
            },
            bad(),
        ),
        ("kid of a key with another alg", hs(r#"{"alg":"HS256","kid":"es"}"#), bad()),
        ("kid of the other issuer", ed.sign(r#"{"alg":"EdDSA","kid":"es"}"#, &plain), bad()),
        ("another issuer's key", Issuer::es256().sign(r#"{"alg":"ES256","kid":"es"}"#, &plain), bad()),
        ("ES256 of zeros", format!("{}.{}", unsigned(r#"{"alg":"ES256","kid":"es"}"#, &plain), "A".repeat(86)), bad()),
        ("a key of its own", hs(&format!(r#"{{"alg":"ES256","jwk":{jwk}}}"#)), bad()),
        ("jku", hs(r#"{"alg":"HS256","jku":"http://127.0.0.1:1/keys"}"#), bad()),
        ("x5u", hs(r#"{"alg":"HS256","x5u":"http://127.0.0.1:1/keys"}"#), bad()),
        ("x5c", hs(r#"{"alg":"HS256","x5c":["AA"]}"#), bad()),
        ("crit", hs(r#"{"alg":"HS256","crit":["exp"]}"#), bad()),
        ("crit of nothing", hs(r#"{"alg":"HS256","crit":[]}"#), bad()),
        ("b64", hs(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#), bad()),
        ("kid as a path", hs(r#"{"alg":"HS256","kid":["../../etc/passwd"]}"#), bad()),
        ("another secret", hs256(r#"{"alg":"HS256"}"#, &plain, "another secret that is long enough!!"), bad()),
        ("empty secret", hs256(r#"{"alg":"HS256"}"#, &plain, ""), bad()),
        ("no signature", format!("{head}.{body}."), bad()),
        ("signature cut", format!("{head}.{body}.{}", &signature[..signature.len() - 1]), bad()),
        ("signature longer", format!("{fine}AA"), bad()),
        ("padding", format!("{fine}="), bad()),
        (
            "another body",
            format!(
                "{head}.{}.{signature}",
                unsigned("x", &good(json!({ "userId": "bob" }))).split_once('.').expect("parts").1
            ),
            bad(),
        ),
        ("four parts", format!("{fine}.AA"), bad()),
        ("five parts", format!("{fine}.AA.AA"), bad()),
        ("a space", fine.replacen('.', "%20.", 1), bad()),
        ("claims that are no object", signed("[]"), bad()),
        ("claims that are no JSON", signed("{"), bad()),
        ("claims twice", signed(&plain.replacen('{', "{\"userId\":\"bob\",", 1)), bad()),
        ("exp missing", with(json!({ "exp": null })), bad()),
        ("exp a text", with(json!({ "exp": (now + 600).to_string() })), bad()),
        ("exp negative", with(json!({ "exp": -1 })), bad()),
        ("exp beyond everything", signed(&plain.replace(&format!("\"exp\":{}", now + 600), "\"exp\":1e400")), bad()),
        ("exp long over", with(json!({ "exp": now - 31 })), stale()),
        ("exp in 1970", with(json!({ "exp": 0 })), stale()),
        ("nbf ahead", with(json!({ "nbf": now + 60 })), bad()),
        ("nbf a text", with(json!({ "nbf": "now" })), bad()),
        ("iat ahead", with(json!({ "iat": now + 60 })), bad()),
        ("another audience", with(json!({ "aud": "mail" })), bad()),
        ("no audience", with(json!({ "aud": null })), bad()),
        ("another issuer", with(json!({ "iss": "evil.example" })), bad()),
        ("no issuer", with(json!({ "iss": null })), bad()),
        ("nobody", with(json!({ "userId": null })), bad()),
        ("an empty user", with(json!({ "userId": "", "sub": "ann" })), bad()),
        ("a user that is a number", with(json!({ "userId": 7 })), bad()),
        ("a user with a line end", with(json!({ "userId": "ann\nlevel=error" })), bad()),
        ("a user of 257 bytes", with(json!({ "userId": "x".repeat(257) })), bad()),
        ("rooms that are a text", with(json!({ "rooms": "*" })), bad()),
        ("rooms with a right that is none", with(json!({ "rooms": [{ "name": "r", "permission": "admin" }] })), bad()),
        ("rooms with a star inside", with(json!({ "rooms": [{ "name": "*r", "permission": "read" }] })), bad()),
        ("longer than 8 KiB", with(json!({ "x": "x".repeat(9_000) })), bad()),
        (
            "an API key that nobody made",
            "concord_aaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            bad(),
        ),
    ];
    assert!(cases.len() >= 70);
    let cases = cases.into_iter().map(|(name, token, expected)| {
        (name, format!("/r?token={}", token.replace('+', "%2B")), String::new(), expected)
    });
    check(server.address, cases.collect()).await;
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_come_in_five_places_and_the_first_counts() {
    let Guarded { server, .. } = Guarded::start("entry-places", |config| {
        config.auth.cookie = "jwt".to_owned();
        config.origins = OriginsConfig { allowed: vec!["*".to_owned(), "https://app.example".to_owned()] };
    })
    .await;
    let good = token("ann", json!({}));
    let bad = || refused("unauthorized", 4401);
    let cookie = |origin: &str| format!("Cookie: a=b; jwt={good}\r\n{origin}");
    let cases = vec![
        ("token", format!("/r?token={good}"), String::new(), Outcome::In),
        ("auth", format!("/r?x=1&auth={good}"), String::new(), Outcome::In),
        ("access_token", format!("/r?access_token={good}"), String::new(), Outcome::In),
        ("bearer", "/r".to_owned(), format!("Authorization: Bearer {good}\r\n"), Outcome::In),
        ("bearer in other letters", "/r".to_owned(), format!("authorization: bearer {good}\r\n"), Outcome::In),
        ("basic", "/r".to_owned(), format!("Authorization: Basic {good}\r\n"), bad()),
        ("a bad one before a good one", format!("/r?token=x&auth={good}"), String::new(), bad()),
        (
            "a bad parameter before a good header",
            "/r?token=x".to_owned(),
            format!("Authorization: Bearer {good}\r\n"),
            bad(),
        ),
        ("an empty one does not count", format!("/r?token=&auth={good}"), String::new(), Outcome::In),
        ("the path has none", format!("/{good}"), String::new(), bad()),
        ("subprotocols have none", "/r".to_owned(), format!("Sec-WebSocket-Protocol: token-{good}\r\n"), bad()),
        ("cookie of a listed page", "/r".to_owned(), cookie("Origin: https://app.example\r\n"), Outcome::In),
        ("cookie of the same host", "/r".to_owned(), cookie("Origin: http://test\r\n"), Outcome::In),
        (
            "cookie of a page that is only allowed",
            "/r".to_owned(),
            cookie("Origin: https://evil.example\r\n"),
            Outcome::Http(403),
        ),
        ("cookie of a sandboxed frame", "/r".to_owned(), cookie("Origin: null\r\n"), Outcome::Http(403)),
        ("cookie without an origin", "/r".to_owned(), cookie(""), Outcome::Http(403)),
        ("another cookie", "/r".to_owned(), format!("Cookie: xjwt={good}\r\nOrigin: http://test\r\n"), bad()),
        (
            "token and a strange page",
            format!("/r?token={good}"),
            "Origin: https://evil.example\r\n".to_owned(),
            Outcome::In,
        ),
    ];
    check(server.address, cases).await;
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_have_rules_of_their_own_and_tokens_can_only_narrow_them() {
    let Guarded { server, .. } = Guarded::start("entry-rooms", |config| {
        let rule = |pattern: &str, permission| (identity::RoomPattern::parse(pattern).expect("legal"), permission);
        config.auth.rooms = vec![
            rule("secret/*", identity::Permission::None),
            rule("news", identity::Permission::Read),
            rule("*", identity::Permission::Write),
        ];
    })
    .await;
    let anybody = token("ann", json!({}));
    let secret = token("ann", json!({ "rooms": [{ "name": "secret/1", "permission": "write" }] }));
    let cases = vec![
        ("open", format!("/y/open?token={anybody}"), String::new(), Outcome::In),
        ("news", format!("/y/news?token={anybody}"), String::new(), Outcome::In),
        ("secret", format!("/y/secret/1?token={anybody}"), String::new(), refused("permission-denied", 4403)),
        (
            "secret in another form",
            format!("/y/secret%2f1?token={anybody}"),
            String::new(),
            refused("permission-denied", 4403),
        ),
        ("secret at the root", format!("/secret/1?token={anybody}"), String::new(), refused("permission-denied", 4403)),
        ("secret, by a token for it", format!("/y/secret%2F1?token={secret}"), String::new(), Outcome::In),
        ("its neighbour", format!("/y/secret/1/?token={secret}"), String::new(), refused("permission-denied", 4403)),
        (
            "open, by a token that is not for it",
            format!("/y/open?token={secret}"),
            String::new(),
            refused("permission-denied", 4403),
        ),
    ];
    check(server.address, cases).await;
    let mut reader = Provider::enter(server.address, &format!("/y/news?token={anybody}"), 1).await;
    reader.write("mine").await;
    assert_eq!(reader.heard_by_now().await, [Said::Denied("read-only".to_owned())]);
    server.stop(reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_only_read_finds_no_way_around() {
    let store = memory();
    let mut config = with_secret(config());
    config.durability = Durability::Memory;
    let server = Running::start(config, store.clone()).await;
    let reading = token("bob", json!({ "rooms": [{ "name": "r", "permission": "read" }] }));
    let mut writer = Provider::enter(server.address, &format!("/r?token={}", token("ann", json!({}))), 1).await;
    writer.write_and_save("hi").await;
    writer.client.send(&awareness(1, 1, "{\"name\":\"Ann\"}")).await;
    writer.hear_until(|said| matches!(said, Said::Awareness(_))).await;
    let mut reader = Provider::enter(server.address, &format!("/r?token={reading}"), 2).await;

    let mine = |id| Writer::new(id).write("mine");
    let merged = [update(&mine(3)), update(&mine(4)), step_2(&mine(5))].concat();
    let hidden = [awareness(2, 1, "{}"), update(&mine(6))].concat();
    for attempt in
        [step_2(&mine(2)), update(&mine(2)), update(&delete(1, 0, 1)), step_2(&delete(1, 0, 2)), merged, hidden]
    {
        reader.client.send(&attempt).await;
    }
    // Others' presence: neither taken over nor removed, with whatever clock.
    for spoof in [awareness(1, 2, "null"), awareness(1, 99, "{\"name\":\"Bob\"}")] {
        reader.client.send(&spoof).await;
    }
    let heard = reader.heard_by_now().await;
    let denials = heard.iter().filter(|said| matches!(said, Said::Denied(_))).count();
    assert_eq!(denials, 1, "{heard:?}");
    for said in writer.heard_by_now().await {
        match said {
            Said::Awareness(states) => assert!(states.iter().all(|(id, ..)| *id == 2), "{states:?}"),
            other => panic!("{other:?} came from somebody who may only read"),
        }
    }
    // The same through another connection of the same person, and by the other path to the room.
    let mut again = Provider::enter(server.address, &format!("/y/r?auth={reading}"), 7).await;
    again.write("again").await;
    assert_eq!(again.heard_by_now().await, [Said::Denied("read-only".to_owned())]);
    assert_eq!(writer.content(), again.content());
    assert!(server.stop((writer, reader, again)).await);
    assert_eq!(store.list().expect("a list").iter().map(|room| room.head).sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tokens_run_out_at_their_second() {
    let mut config = with_secret(config());
    config.auth.leeway_s = 0;
    let server = Running::start(config, memory()).await;
    let mut members = JoinSet::new();
    for number in 0..100 {
        let (address, exp) = (server.address, now_s() + 2 + number % 2);
        members.spawn(async move {
            let token = token(&format!("u{number}"), json!({ "exp": exp }));
            let mut member = Provider::enter(address, &format!("/room{}?token={token}", number % 10), number + 1).await;
            let (_, code, reason) = member.until_closed().await;
            let late_ms = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH + Duration::from_secs(exp))
                .map(|late| late.as_millis());
            (code, reason, late_ms.ok())
        });
    }
    while let Some(member) = members.join_next().await {
        let (code, reason, late_ms) = member.expect("no panic");
        assert_eq!((code, &*reason), (4501, "token expired, reconnect"));
        // A timer of whole milliseconds may be one early.
        assert!(late_ms.is_none_or(|late_ms| late_ms < 1_000), "{late_ms:?} ms late");
    }
    server.stop(()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_ends_its_connections_within_a_second() {
    let mut config = config();
    config.auth.api_keys = true;
    config.data = folder("entry-keys");
    // As the command line does it: another process changes the file.
    let keys = KeyFile::open(&config.data).expect("opens");
    let spec = |name: &str, rooms: &[&str]| identity::api_key::KeySpec {
        name: name.to_owned(),
        owner: name.to_owned(),
        scopes: identity::Scopes::parse("read,write").expect("legal"),
        rooms: rooms.iter().map(|room| identity::RoomPattern::parse(room).expect("legal")).collect(),
        expires_at_s: None,
    };
    let [kept, revoked] =
        ["kept", "revoked"].map(|name| keys.change(|table| table.create(spec(name, &[]), now_s())).expect("made"));
    let narrow = keys.change(|table| table.create(spec("narrow", &["team/*"]), now_s())).expect("made");
    let server = Running::start(config, memory()).await;
    let cases = vec![
        ("in", format!("/team/1?token={}", narrow.text), String::new(), Outcome::In),
        ("elsewhere", format!("/other?token={}", narrow.text), String::new(), refused("permission-denied", 4403)),
        ("bearer", "/other".to_owned(), format!("Authorization: Bearer {}\r\n", kept.text), Outcome::In),
        (
            "cut",
            format!("/other?token={}", &kept.text[..kept.text.len() - 1]),
            String::new(),
            refused("unauthorized", 4401),
        ),
        ("none", "/other".to_owned(), String::new(), refused("unauthorized", 4401)),
    ];
    check(server.address, cases).await;
    let mut bystander = Provider::enter(server.address, &format!("/r?token={}", kept.text), 1).await;
    let mut members = Vec::new();
    for number in 0..100 {
        let target = format!("/r{}?token={}", number % 10, revoked.text);
        members.push(Provider::enter(server.address, &target, number + 2).await);
    }
    keys.change(|table| table.revoke(&revoked.record.id, now_s())).expect("revoked");
    let began = Instant::now();
    for member in &mut members {
        let (_, code, reason) = member.until_closed().await;
        assert_eq!((code, &*reason), (4403, "access revoked"));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(outcome(server.address, &format!("/r?token={}", revoked.text), "").await, refused("unauthorized", 4401));
    bystander.write_and_save("still here").await;
    server.stop((members, bystander)).await;
}
