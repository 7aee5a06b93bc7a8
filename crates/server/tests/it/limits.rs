//! What the limits of the configuration tell who reaches them, and that others in the same room notice nothing. One table names the test of each limit.
//!
//! Limits that a room or a slow reader reaches are in `bounds.rs` and `slow.rs`, the head of a request also in `http.rs`, `handshake_ms` in `bounds.rs`.

use crate::process::Concord;
use crate::provider::{Provider, Said, step_1, update};
use crate::world::{Known, Running, config, folder, limited, memory};
use server::address::Trusted;
use server::config::{Config, Limits, SETTINGS};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::client::{Client, Heard, PATIENCE, Response, client_frame, request};

/// Setting, file, test.
const TESTS: &[(&str, &str, &str)] = &[
    ("limits.frame_bytes_max", "bounds", "frame_bytes_max"),
    ("limits.frame_bytes_max", "limits", "frames_of_100_mb_are_refused_from_their_headers_and_take_no_memory"),
    ("limits.update_bytes_max", "bounds", "update_bytes_max"),
    ("limits.room_bytes_max", "bounds", "room_bytes_max"),
    ("limits.parked_bytes_max", "bounds", "parked_bytes_max"),
    ("limits.connections_max", "limits", "connections_max"),
    ("limits.room_connections_max", "limits", "room_connections_max"),
    ("limits.bytes_per_s", "bounds", "bytes_per_s_slows_a_client_and_loses_nothing"),
    ("limits.ring_bytes_max", "slow", "who_falls_behind_is_caught_up_with_one_update_and_delays_nobody"),
    ("limits.private_bytes_max", "slow", "who_asks_without_reading_is_not_read_and_gets_every_answer_in_the_end"),
    ("limits.address_connections_max", "limits", "address_connections_max"),
    ("limits.exempt", "limits", "exempt_addresses_have_no_limits_of_their_own"),
    ("limits.handshakes_per_s", "limits", "handshakes_per_s_and_at_once"),
    ("limits.handshakes_at_once_max", "limits", "handshakes_per_s_and_at_once"),
    ("limits.user_connections_max", "limits", "user_connections_max"),
    ("limits.messages_per_s", "limits", "messages_per_s_slows_a_client_and_loses_nothing"),
    ("limits.user_bytes_per_s", "limits", "user_bytes_per_s_counts_all_connections_of_a_user"),
    ("limits.user_messages_per_s", "limits", "user_messages_per_s_counts_all_connections_of_a_user"),
    ("limits.questions_per_s", "limits", "questions_per_s_are_answered_later_and_not_lost"),
    ("limits.user_rooms_per_h", "limits", "user_rooms_per_h"),
    ("limits.memory_bytes_max", "limits", "memory_bytes_max_keeps_newcomers_out_until_rooms_have_gone"),
    ("limits.message_ms", "limits", "message_ms_ends_who_sends_byte_by_byte"),
];

#[test]
fn every_limit_has_a_test() {
    let sources = [
        ("bounds", include_str!("bounds.rs")),
        ("limits", include_str!("limits.rs")),
        ("slow", include_str!("slow.rs")),
    ];
    let settings: BTreeSet<&str> =
        SETTINGS.iter().map(|row| row.key).filter(|key| key.starts_with("limits.")).collect();
    let tested: BTreeSet<&str> = TESTS.iter().map(|(setting, ..)| *setting).collect();
    assert_eq!(settings, tested, "a limit without a test, or a test without a limit");
    for (setting, file, test) in TESTS {
        let source = sources.iter().find(|(name, _)| name == file).map(|(_, source)| source);
        let has = source.is_some_and(|source| source.contains(&format!("]\nasync fn {test}() {{")));
        assert!(has, "{setting}: {file}.rs has no test {test}");
    }
}

/// The same, and loopback counts as any other address.
fn strict(limit: impl FnOnce(&mut Limits)) -> Config {
    Config { exempt: Trusted::default(), ..limited(limit) }
}

async fn refusal(address: SocketAddr, target: &str) -> Response {
    Client::connect_with(address, target, "").await.expect_err("a limit is reached")
}

/// A refusal that says which limit it was, and when to come back.
async fn assert_refused(address: SocketAddr, target: &str, words: &str) {
    assert_words(&refusal(address, target).await, "5", words);
}

fn assert_words(refusal: &Response, retry_after: &str, words: &str) {
    assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some(retry_after)));
    assert_eq!(refusal.body, format!("{{\"error\":\"{words}\"}}"));
}

/// Tries until a place is free.
async fn until_let_in(address: SocketAddr, target: &str) {
    while Client::connect_with(address, target, "").await.is_err() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_max() {
    let server = Running::start(limited(|limits| limits.connections_max = 2), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let second = Provider::enter(server.address, "/r", 2).await;
    let words = "limits.connections_max: the server has all the connections that it may have";
    assert_refused(server.address, "/r", words).await;
    // Plain HTTP has no places of its own.
    assert_words(&request(server.address, "GET /health HTTP/1.1\r\n\r\n").await, "5", words);
    bystander.write_and_save("undisturbed").await;
    second.client.vanish();
    until_let_in(server.address, "/r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn room_connections_max() {
    let server = Running::start(limited(|limits| limits.room_connections_max = 2), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let second = Provider::enter(server.address, "/r", 2).await;
    let words = "limits.room_connections_max: the room has all the connections that it may have; try again later";
    assert_refused(server.address, "/r", words).await;
    Provider::enter(server.address, "/other", 3).await;
    bystander.write_and_save("undisturbed").await;
    second.client.vanish();
    until_let_in(server.address, "/r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn address_connections_max() {
    let server = Running::start(strict(|limits| limits.address_connections_max = 2), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let second = Provider::enter(server.address, "/r", 2).await;
    let words = "limits.address_connections_max: too many connections from this address";
    assert_refused(server.address, "/r", words).await;
    bystander.write_and_save("undisturbed").await;
    second.client.vanish();
    until_let_in(server.address, "/r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exempt_addresses_have_no_limits_of_their_own() {
    let few = |limits: &mut Limits| {
        (limits.address_connections_max, limits.handshakes_per_s, limits.handshakes_at_once_max) = (1, 1, 1);
    };
    let server = Running::start(limited(few), memory()).await;
    let mut members = Vec::new();
    for id in 1..=20 {
        members.push(Provider::enter(server.address, "/r", id).await);
    }
    members[0].write_and_save("all are in").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_per_s_and_at_once() {
    let few = |limits: &mut Limits| (limits.handshakes_per_s, limits.handshakes_at_once_max) = (1, 10);
    let server = Running::start(strict(few), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    for _ in 0..9 {
        assert_eq!(request(server.address, "GET /health HTTP/1.1\r\n\r\n").await.status, 200, "within the burst");
    }
    // On a slow machine one second may have brought one more.
    let refusal = loop {
        if let Err(refusal) = Client::connect_with(server.address, "/r", "").await {
            break refusal;
        }
    };
    assert_words(&refusal, "1", "limits.handshakes_per_s: too many requests from this address");
    bystander.write_and_save("undisturbed").await;
    until_let_in(server.address, "/r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_connections_max() {
    let config = limited(|limits| limits.user_connections_max = 2);
    let server = Running::start_with(config, memory(), Arc::new(Known)).await;
    let mut bystander = Provider::enter(server.address, "/r?user=bob", 1).await;
    let first = Provider::enter(server.address, "/r?user=ann", 2).await;
    let mut second = Provider::enter(server.address, "/other?user=ann", 3).await;
    let words = "limits.user_connections_max: too many connections of this user";
    assert_refused(server.address, "/r?user=ann", words).await;
    Provider::enter(server.address, "/r?user=bob", 4).await;
    bystander.write_and_save("undisturbed").await;
    second.write_and_save("works on").await;
    first.client.vanish();
    until_let_in(server.address, "/r?user=ann").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_per_s_slows_a_client_and_loses_nothing() {
    let server = Running::start(limited(|limits| limits.messages_per_s = 10), memory()).await;
    let began = Instant::now();
    let mut fast = Provider::enter(server.address, "/r", 1).await;
    let mut bystander = Provider::enter(server.address, "/r", 2).await;
    // All in one piece: what is read is counted, not how it is cut.
    let updates: Vec<Vec<u8>> = (0..25).map(|_| update(&fast.writer.write("x"))).collect();
    let bytes: Vec<u8> = updates.iter().flat_map(|update| testkit::client::binary(update)).collect();
    fast.client.send_raw(&bytes).await;
    bystander.write_and_save("quick").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // With its step 1 it has sent 26.
    fast.until_saved().await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    bystander.until_shown(1, 25).await;
    fast.until_shown(2, 5).await;
    assert_eq!(fast.content(), bystander.content());
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_count_as_messages() {
    let server = Running::start(limited(|limits| limits.messages_per_s = 3_000), memory()).await;
    let began = Instant::now();
    let mut fast = Provider::enter(server.address, "/r", 1).await;
    let mut bystander = Provider::enter(server.address, "/r", 2).await;
    // What one read brings is taken at once, and paid for afterwards: of tiny frames it is 4 KiB at most after the first, and that 64 KiB.
    let message = update(&fast.writer.write(&"x".repeat(18_000)));
    for frames in in_single_bytes(&message).chunks(7_000) {
        fast.client.send_raw(frames).await;
    }
    bystander.write_and_save("quick").await;
    fast.until_saved().await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    bystander.until_shown(1, 18_000).await;
}

/// Two connections of one user write in turn, each waiting for the other, so that what is counted for both makes the pace. How long that took.
async fn write_in_turn(server: &Running, rounds: usize, text: &str) -> Duration {
    let began = Instant::now();
    let mut first = Provider::enter(server.address, "/r?user=ann", 1).await;
    let mut second = Provider::enter(server.address, "/r?user=ann", 2).await;
    let mut bystander = Provider::enter(server.address, "/r?user=bob", 3).await;
    for _ in 0..rounds {
        first.write_and_save(text).await;
        second.write_and_save(text).await;
    }
    let took = began.elapsed();
    // Who is somebody else does not wait for them.
    let began = Instant::now();
    bystander.write_and_save(text).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    bystander.until_shown(1, first.writer.clock).await;
    bystander.until_shown(2, second.writer.clock).await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn user_bytes_per_s_counts_all_connections_of_a_user() {
    let config = limited(|limits| limits.user_bytes_per_s = 64 << 10);
    let server = Running::start_with(config, memory(), Arc::new(Known)).await;
    // 192 KiB: one second's worth at once, and two seconds for the rest.
    let took = write_in_turn(&server, 12, &"x".repeat(8 << 10)).await;
    assert!(took >= Duration::from_millis(1_500), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn user_messages_per_s_counts_all_connections_of_a_user() {
    let config = limited(|limits| limits.user_messages_per_s = 10);
    let server = Running::start_with(config, memory(), Arc::new(Known)).await;
    let took = write_in_turn(&server, 15, "x").await;
    assert!(took >= Duration::from_millis(1_500), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_per_s_are_answered_later_and_not_lost() {
    let server = Running::start(limited(|limits| limits.questions_per_s = 5), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let began = Instant::now();
    let mut asker = Provider::enter(server.address, "/r", 2).await;
    for _ in 0..14 {
        asker.client.send(&step_1(&[0])).await;
    }
    // What comes behind a question comes after its answer.
    asker.write("last").await;
    bystander.write_and_save("quick").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for answer in 0..14 {
        asker.hear_until(|said| matches!(said, Said::Missing(_))).await;
        assert_eq!(asker.shown(2), 0, "after {answer} answers");
    }
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    asker.until_saved().await;
    bystander.until_shown(2, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn user_rooms_per_h() {
    let config = limited(|limits| limits.user_rooms_per_h = 2);
    let server = Running::start_with(config, memory(), Arc::new(Known)).await;
    let mut ann = Provider::enter(server.address, "/a?user=ann", 1).await;
    ann.write_and_save("mine").await;
    Provider::enter(server.address, "/b?user=ann", 2).await;
    let refusal = refusal(server.address, "/c?user=ann").await;
    let wait_s: u32 = refusal.header("retry-after").and_then(|wait| wait.parse().ok()).expect("a number");
    assert!((1_000..=1_800).contains(&wait_s), "half an hour brings one more: {wait_s}");
    let words = "limits.user_rooms_per_h: this user has made too many rooms in the last hour";
    assert_words(&refusal, &wait_s.to_string(), words);
    // Somebody else may make it, and then it is there for all.
    let mut bob = Provider::enter(server.address, "/c?user=bob", 3).await;
    bob.write_and_save("his").await;
    Provider::enter(server.address, "/c?user=ann", 4).await.until_shown(3, 3).await;
    ann.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_bytes_max_keeps_newcomers_out_until_rooms_have_gone() {
    let mut config = limited(|limits| limits.memory_bytes_max = 200 << 10);
    config.unload_after_ms = 10;
    let server = Running::start(config, memory()).await;
    let mut large = Provider::enter(server.address, "/large", 1).await;
    let mut small = Provider::enter(server.address, "/small", 2).await;
    large.write_and_save(&"x".repeat(300 << 10)).await;
    let words = "limits.memory_bytes_max: the server has all that fits into its memory; try again later";
    for target in ["/large", "/small", "/new"] {
        assert_refused(server.address, target, words).await;
    }
    large.write_and_save("works on").await;
    small.write_and_save("works on").await;
    large.client.vanish();
    until_let_in(server.address, "/new").await;
    small.write_and_save("undisturbed").await;
}

/// A message in as many frames as it has bytes.
fn in_single_bytes(message: &[u8]) -> Vec<u8> {
    let (last, others) = message.split_last().expect("no empty message");
    let others = others.iter().enumerate().flat_map(|(place, byte)| fragment(place == 0, *byte));
    others.chain(client_frame(0x80, &[*last])).collect()
}

/// One byte of a message that goes on, as a frame.
fn fragment(is_first: bool, byte: u8) -> Vec<u8> {
    client_frame(if is_first { 0x02 } else { 0x00 }, &[byte])
}

#[tokio::test(flavor = "multi_thread")]
async fn message_ms_ends_who_sends_byte_by_byte() {
    let server = Running::start(limited(|limits| limits.message_ms = 300), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let end = Heard::Close(1008, "message was not finished within 1 s".to_owned());

    let mut silent = Client::connect(server.address, "/r").await;
    silent.send_raw(&fragment(true, 0)).await;
    assert_eq!(silent.hear_out().await.1, end);

    let mut cut_short = Client::connect(server.address, "/r").await;
    cut_short.send_raw(&client_frame(0x82, &[0; 1_000])[..500]).await;
    assert_eq!(cut_short.hear_out().await.1, end);

    // Pings in between neither finish the message nor are part of it, however many they are.
    let mut drip = Client::connect(server.address, "/r").await;
    let pings = client_frame(0x89, &[0; 125]).repeat(8);
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    drip.send_raw(&fragment(true, 0)).await;
    let dripping = async {
        loop {
            tokio::select! {
                biased;
                heard = drip.hear() => if !matches!(heard, Heard::Message(_) | Heard::Pong(_)) { break heard },
                _ = pace.tick() => drip.send_raw(&[fragment(false, 0), pings.clone()].concat()).await,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, dripping).await.expect("the server does not wait for ever"), end);
    bystander.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_fragments_of_one_byte_is_fine_when_it_comes_fast() {
    let server = Running::start(limited(|limits| limits.message_ms = 300), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let mut client = Provider::enter(server.address, "/r", 2).await;
    let message = update(&client.writer.write(&"x".repeat(200 << 10)));
    client.client.send_raw(&in_single_bytes(&message)).await;
    client.until_saved().await;
    bystander.until_shown(2, 200 << 10).await;
    bystander.write_and_save("undisturbed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_100_mb_are_refused_from_their_headers_and_take_no_memory() {
    let concord = Concord::start(&folder("limits-frames"), &[("CONCORD_DURABILITY", "memory")]);
    let mut bystander = Provider::enter(concord.address, "/r", 1).await;
    bystander.write_and_save("before").await;
    let before = concord.peak_memory_kib();
    let announced = |bytes: u64| [&[0x82, 0x80 | 127][..], &bytes.to_be_bytes(), &[0; 4], &[0; 64]].concat();
    for _ in 0..20 {
        let mut client = Client::connect(concord.address, "/r").await;
        client.send_raw(&announced(100_000_000)).await;
        let (messages, end) = client.hear_out().await;
        let words = "message larger than 16777216 bytes";
        let denied = [&[2, 0, words.len() as u8], words.as_bytes()].concat();
        assert_eq!(messages.last().map(|last| &last[..]), Some(&denied[..]));
        assert_eq!(end, Heard::Close(4413, words.to_owned()));
    }
    // What is legal, and never comes, takes none either.
    let mut waiting = Vec::new();
    for id in 0..20 {
        let mut client = Provider::enter(concord.address, "/r", 10 + id).await;
        client.client.send_raw(&announced(16 << 20)).await;
        waiting.push(client);
    }
    bystander.write_and_save("undisturbed").await;
    let grown = concord.peak_memory_kib() - before;
    assert!(grown < 4 << 10, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_10_mb_or_of_too_many_headers_is_refused_before_it_is_whole() {
    let server = Running::start(config(), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let large = format!("GET /r HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(10_000_000));
    let many = format!("GET /r HTTP/1.1\r\n{}", "a: b\r\n".repeat(65));
    let cases = [
        (large, "request head is over 16 KiB; send fewer or shorter headers, cookies and parameters"),
        (many, "request has over 64 headers; send fewer"),
    ];
    for (bytes, words) in cases {
        let response = request(server.address, bytes).await;
        assert_eq!((response.status, response.header("retry-after")), (431, None));
        assert_eq!(response.body, format!("{{\"error\":\"{words}\"}}"));
        bystander.write_and_save("undisturbed").await;
    }
}
