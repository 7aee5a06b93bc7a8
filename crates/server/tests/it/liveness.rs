//! Who is silent and who is gone: pings, keep-alives, and connections that die.

use crate::provider::{Provider, Said, awareness};
use crate::world::{Running, config, memory};
use std::time::{Duration, Instant};
use testkit::client::{Client, Heard};

fn gone(id: u64) -> Said {
    Said::Awareness(vec![(id, 1, "null".to_owned())])
}

async fn present(server: &Running, id: u64) -> Provider {
    let mut provider = Provider::enter(server.address, "/r", id).await;
    provider.client.send(&awareness(id, 1, "{}")).await;
    let here = Said::Awareness(vec![(id, 1, "{}".to_owned())]);
    provider.hear_until(|said| *said == here).await;
    provider
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_answering_pings_is_closed_and_its_presence_goes() {
    const PING: Duration = Duration::from_millis(500);
    let mut config = config();
    config.ping_ms = PING.as_millis() as u64;
    let server = Running::start(config, memory()).await;
    let mut alive = present(&server, 1).await;
    let mut mute = present(&server, 2).await;
    mute.client.mute();
    let began = Instant::now();
    alive.hear_until(|said| *said == gone(2)).await;
    let took = began.elapsed();
    // The sweep and a slow machine may add a little.
    assert!(took >= PING && took < 2 * PING + PING, "{took:?}");
    let (_, end) = mute.client.hear_out().await;
    assert_eq!(end, Heard::Close(1001, "no answer to ping".to_owned()));
    // Who answers stays for many pings more.
    while began.elapsed() < 6 * PING {
        alive.write_and_save("x").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_gets_an_empty_awareness_message_however_often_it_is_pinged() {
    let mut config = config();
    (config.keep_alive_ms, config.ping_ms) = (200, 100);
    let server = Running::start(config, memory()).await;
    let mut client = Client::connect(server.address, "/r").await;
    assert_eq!(client.hear().await, Heard::Message(b"\x00\x00\x01\x00"[..].into()));
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(client.hear().await, Heard::Message(b"\x01\x01\x00"[..].into()));
    }
    // In 600 ms, and half as much again for the sweep and a slow machine.
    assert!(began.elapsed() < Duration::from_millis(2_000), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_something_needs_no_keep_alive() {
    let mut config = config();
    config.keep_alive_ms = 600;
    let server = Running::start(config, memory()).await;
    let mut busy = Provider::enter(server.address, "/r", 1).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_500) {
        busy.write("x").await;
        assert!(matches!(busy.hear().await, Said::Update(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_goes_at_once_with_its_connection_in_whatever_way_that_ends() {
    let server = Running::start(config(), memory()).await;
    let mut watcher = Provider::enter(server.address, "/r", 1).await;
    for (id, way) in [(2, "FIN"), (3, "RST"), (4, "a close frame"), (5, "a broken frame"), (6, "half a frame")] {
        let mut leaver = present(&server, id).await;
        let began = Instant::now();
        // Only those that end here are let go; the others wait for the server to close.
        let waiting = match way {
            "FIN" => {
                leaver.client.vanish();
                None
            }
            "RST" => {
                leaver.client.reset();
                None
            }
            "a close frame" => {
                leaver.client.send_close(1000).await;
                Some(leaver)
            }
            "a broken frame" => {
                leaver.client.send_raw(&[0xff; 8]).await;
                Some(leaver)
            }
            _ => {
                leaver.client.send_raw(&[0x82, 0xfe, 1]).await;
                leaver.client.vanish();
                None
            }
        };
        watcher.hear_until(|said| *said == gone(id)).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{way}: {:?}", began.elapsed());
        drop(waiting);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_ends_the_connection_of_a_client_that_has_said_goodbye() {
    let server = Running::start(config(), memory()).await;
    let mut client = Client::connect(server.address, "/r").await;
    let began = Instant::now();
    client.send_close(1000).await;
    let (_, end) = client.hear_out().await;
    assert_eq!(end, Heard::Close(1000, String::new()));
    assert_eq!(client.hear().await, Heard::End);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departed_client_is_not_revived_by_a_late_copy() {
    let server = Running::start(config(), memory()).await;
    let mut watcher = Provider::enter(server.address, "/r", 1).await;
    let leaver = present(&server, 2).await;
    watcher.hear_until(|said| matches!(said, Said::Awareness(_))).await;
    leaver.client.vanish();
    watcher.hear_until(|said| *said == gone(2)).await;
    watcher.client.send(&awareness(2, 1, "{}")).await;
    assert_eq!(watcher.heard_by_now().await, []);
}
