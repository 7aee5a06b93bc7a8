//! The table of bad inputs, row by row, in a room in which somebody else works on undisturbed.

use crate::provider::{Provider, awareness, step_1, update};
use crate::world::{Running, config, memory};
use testkit::client::{Client, Heard, client_frame};

/// What a frame of a client leads to.
enum Then {
    /// Nothing is said, and the connection stays.
    Nothing,
    /// As `Nothing`, and the tenth closes with 4400.
    Malformed,
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_disturb_nobody() {
    let server = Running::start(config(), memory()).await;
    let cases: &[(&str, Vec<u8>, Then)] = &[
        ("empty frame", vec![], Then::Nothing),
        ("unknown message type", vec![99, 1, 2, 3], Then::Nothing),
        ("unknown sync type", vec![0, 3, 1, 0], Then::Nothing),
        ("auth message", vec![2, 0, 1, b'x'], Then::Nothing),
        ("truncated update", vec![0, 2, 200, 1], Then::Malformed),
        ("truncated step 1", vec![0, 0, 5, 1], Then::Malformed),
        ("truncated awareness", vec![1, 100, 1], Then::Malformed),
        ("no update", update(&[1, 1, 1, 0, 4, 1]), Then::Malformed),
        ("an update and a byte", update(&[0, 0, 0]), Then::Malformed),
        ("an update of a billion clients", update(&[0xff, 0xff, 0xff, 0xff, 3]), Then::Malformed),
        ("no state vector", step_1(&[9, 1]), Then::Malformed),
        ("a state vector of a billion clients", step_1(&[0xff, 0xff, 0xff, 0xff, 3, 1, 1]), Then::Malformed),
        ("awareness that is no JSON", awareness(9, 1, "{\"a\":"), Then::Malformed),
        ("awareness that is no object", awareness(9, 1, "7"), Then::Malformed),
        ("an integer of nine bytes", vec![0x80; 9], Then::Malformed),
    ];
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    for (name, frame, then) in cases {
        let mut client = Provider::enter(server.address, "/r", 2).await;
        for _ in 0..9 {
            client.client.send(frame).await;
        }
        assert_eq!(client.heard_by_now().await, [], "{name}");
        client.client.send(frame).await;
        match then {
            Then::Nothing => {
                client.client.send_text("text is ignored").await;
                assert_eq!(client.heard_by_now().await, [], "{name}");
            }
            Then::Malformed => {
                let (heard, code, reason) = client.until_closed().await;
                assert_eq!((heard, code, reason.as_str()), (vec![], 4400, "malformed message"), "{name}");
            }
        }
        assert_eq!(bystander.heard_by_now().await, [], "{name}");
    }
    bystander.write_and_save("undisturbed").await;
    assert!(server.stop(bystander).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_the_broken_message_of_a_frame_counts() {
    let server = Running::start(config(), memory()).await;
    let mut client = Provider::enter(server.address, "/r", 1).await;
    let mut watcher = Provider::enter(server.address, "/r", 2).await;
    let mut frame = update(&client.writer.write("good"));
    frame.extend([0, 2, 100, 1]);
    client.client.send(&frame).await;
    watcher.until_shown(1, 4).await;
    // Of an update whose grammar is broken nothing counts, but what follows it in the frame does.
    let mut frame = update(&[1, 1, 1]);
    frame.extend(update(&client.writer.write("too")));
    client.client.send(&frame).await;
    watcher.until_shown(1, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_rfc_6455_end_their_connection_only() {
    let server = Running::start(config(), memory()).await;
    let mut bystander = Provider::enter(server.address, "/r", 1).await;
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("not masked", vec![0x82, 1, 0], 1002),
        ("reserved bit", client_frame(0xc2, b"x"), 1002),
        ("reserved opcode", client_frame(0x83, b"x"), 1002),
        ("fragmented ping", client_frame(0x09, b""), 1002),
        ("nothing to continue", client_frame(0x80, b"x"), 1002),
        ("text that is no UTF-8", client_frame(0x81, b"\xff"), 1007),
        ("half a close code", client_frame(0x88, b"\x03"), 1002),
    ];
    for (name, bytes, code) in cases {
        let mut client = Client::connect(server.address, "/r").await;
        client.send_raw(bytes).await;
        let (_, end) = client.hear_out().await;
        assert!(matches!(end, Heard::Close(told, _) if told == *code), "{name}: {end:?}");
        assert_eq!(bystander.heard_by_now().await, [], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_room_names_are_refused_in_the_words_that_clients_know() {
    let server = Running::start(config(), memory()).await;
    let long = format!("/{}", "x".repeat(1_025));
    for target in ["/y/", "/%00", "/a/../b", "/%ff", "/a%0ab", &long] {
        let refusal = Client::connect_with(server.address, target, "").await.expect_err("refused");
        assert_eq!((refusal.status, refusal.body.as_str()), (400, "{\"error\":\"invalid room name\"}"), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_with_its_payload_between_anything() {
    let server = Running::start(config(), memory()).await;
    let mut provider = Provider::enter(server.address, "/r", 1).await;
    provider.client.send_raw(&client_frame(0x89, b"are you there")).await;
    assert_eq!(provider.client.hear().await, Heard::Pong(b"are you there"[..].into()));
    assert_eq!(provider.heard_by_now().await, []);
}
