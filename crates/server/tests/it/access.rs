//! Who may enter and who may write, as a client sees it.

use crate::provider::{Provider, QUERY_AWARENESS, Said, awareness, delete, step_1, step_2, update};
use crate::world::{ByQuery, Running, config, memory};
use server::config::OriginsConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::client::{Client, Heard};

#[tokio::test(flavor = "multi_thread")]
async fn a_readers_edits_reach_nobody_and_are_denied_once() {
    let store = memory();
    let server = Running::start_with(config(), store.clone(), Arc::new(ByQuery)).await;
    let mut writer = Provider::enter(server.address, "/r?user=ann", 1).await;
    let mut reader = Provider::enter(server.address, "/r?user=bob&access=read", 2).await;
    writer.write_and_save("hi").await;
    reader.until_shown(1, 2).await;

    reader.write("mine").await;
    reader.write("again").await;
    let step = step_2(&crate::provider::Writer::new(3).write("as step 2"));
    reader.client.send(&step).await;
    assert_eq!(reader.heard_by_now().await, [Said::Denied("read-only".to_owned())]);
    assert_eq!(writer.heard_by_now().await, []);

    reader.client.send(&awareness(2, 1, "{\"name\":\"Bob\"}")).await;
    let presence = Said::Awareness(vec![(2, 1, "{\"name\":\"Bob\"}".to_owned())]);
    assert_eq!(writer.hear().await, presence);
    assert_eq!(reader.hear().await, presence);

    writer.write_and_save("!").await;
    reader.until_shown(1, 3).await;
    let newcomer = Provider::enter(server.address, "/r?user=cid", 4).await;
    assert_eq!((newcomer.shown(2), newcomer.shown(3), newcomer.content()), (0, 0, writer.content()));
    assert!(server.stop((writer, reader, newcomer)).await);
    assert_eq!(store.list().expect("a list")[0].head, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_denial_is_these_bytes() {
    let server = Running::start_with(config(), memory(), Arc::new(ByQuery)).await;
    let mut client = Client::connect(server.address, "/r?access=read").await;
    client.send(&update(&crate::provider::Writer::new(1).write("x"))).await;
    assert_eq!(client.hear().await, Heard::Message(b"\x00\x00\x01\x00"[..].into()));
    assert_eq!(client.hear().await, Heard::Message(b"\x02\x00\x09read-only"[..].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readers_step_2_without_structs_is_dropped_silently() {
    let store = memory();
    let server = Running::start_with(config(), store.clone(), Arc::new(ByQuery)).await;
    let mut writer = Provider::enter(server.address, "/r", 1).await;
    writer.write_and_save("hi").await;
    let mut reader = Provider::enter(server.address, "/r?access=read", 2).await;
    for step in [step_2(&[0, 0]), step_2(&delete(1, 0, 1)), update(&delete(1, 0, 1))] {
        reader.client.send(&step).await;
    }
    assert_eq!(reader.heard_by_now().await, []);
    assert_eq!(writer.heard_by_now().await, []);
    assert!(server.stop((writer, reader)).await);
    assert_eq!(store.list().expect("a list")[0].head, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_enter_is_told_why_and_closed_three_seconds_later() {
    let server = Running::start_with(config(), memory(), Arc::new(ByQuery)).await;
    let mut insider = Provider::enter(server.address, "/r", 1).await;
    insider.write_and_save("a secret").await;
    let cases = [(401, 4401, "unauthorized"), (403, 4403, "permission-denied"), (404, 4404, "room-not-found")];
    let refused = cases.map(|(status, code, reason)| async move {
        let began = Instant::now();
        let mut client = Client::connect(server.address, &format!("/r?refuse={status}")).await;
        client.send(&step_1(&[0])).await;
        client.send(QUERY_AWARENESS).await;
        client.send(&update(&crate::provider::Writer::new(9).write("let me in"))).await;
        let (messages, end) = client.hear_out().await;
        let mut denial = vec![2, 0, reason.len() as u8];
        denial.extend(reason.as_bytes());
        assert_eq!(messages, [denial], "{status}");
        assert_eq!(end, Heard::Close(code, reason.to_owned()));
        assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    });
    let [first, second, third] = refused;
    tokio::join!(first, second, third);
    assert_eq!(insider.heard_by_now().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_origins_are_refused_before_the_upgrade() {
    let mut config = config();
    config.origins = OriginsConfig { allowed: vec!["https://app.example".to_owned()] };
    let server = Running::start(config, memory()).await;
    let connect = |headers: &'static str| Client::connect_with(server.address, "/r", headers);
    for allowed in ["", "Origin: https://app.example\r\n", "Origin: https://App.Example\r\n"] {
        assert!(connect(allowed).await.is_ok(), "{allowed}");
    }
    for forbidden in [
        "Origin: https://app.example.evil.example\r\n",
        "Origin: https://app.example:8443\r\n",
        "Origin: http://app.example\r\n",
        "Origin: null\r\n",
        "Origin: \r\n",
    ] {
        let refusal = connect(forbidden).await.err().unwrap_or_else(|| panic!("{forbidden} is let in"));
        assert_eq!(refusal.status, 403, "{forbidden}");
        assert!(refusal.body.contains("origins.allowed"), "{}", refusal.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_subprotocol_offered_is_answered_and_none_without_an_offer() {
    let server = Running::start(config(), memory()).await;
    for (offer, answer) in [("", None), ("Sec-WebSocket-Protocol: one, two\r\n", Some("one"))] {
        let request = testkit::client::upgrade_request("/r", offer);
        // A close frame behind the request, so that the server ends the connection.
        let bytes = [request.as_bytes(), &testkit::client::client_frame(0x88, &[])].concat();
        let response = testkit::client::request(server.address, bytes).await;
        assert_eq!((response.status, response.header("sec-websocket-protocol")), (101, answer));
    }
}
