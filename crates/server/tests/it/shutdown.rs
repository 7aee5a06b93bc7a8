//! How a server stops: nobody new, everything accepted on the disk, everybody told.

use crate::provider::{Provider, Said};
use crate::spy::Spy;
use crate::world::{HeldSyncs, Running, config, memory, on_disk, store_on};
use std::net::SocketAddr;
use std::sync::Arc;
use testkit::client::{Client, Heard, Response, request};
use testkit::disk::FaultyDisk;

/// What who comes now is told, as soon as the server knows that it stops.
async fn refused_when_stopping(address: SocketAddr) -> Response {
    loop {
        match Client::connect_with(address, "/late", "").await {
            Ok(client) => client.vanish(),
            Err(refusal) => return refusal,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_when_everything_accepted_is_on_the_disk() {
    let disk = FaultyDisk::new();
    let mut server = Running::start(config(), store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let mut other = Provider::enter(server.address, "/r", 2).await;
    let mut elsewhere = Provider::enter(server.address, "/elsewhere", 3).await;
    let held = HeldSyncs::of(&disk);
    author.write("held").await;
    other.until_shown(1, 4).await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;

    server.begin_stop();
    let refusal = refused_when_stopping(server.address).await;
    assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some("5")));
    assert!(refusal.body.contains("shutting down"), "{}", refusal.body);
    let health = request(server.address, "GET /health HTTP/1.1\r\n\r\n").await;
    assert_eq!(health.status, 503);
    assert!(
        health.body.contains("\"status\":\"unhealthy\"") && health.body.contains("\"errors\":["),
        "{}",
        health.body
    );
    let ready = request(server.address, "GET /ready HTTP/1.1\r\n\r\n").await;
    assert_eq!((ready.status, ready.body.starts_with("{\"ok\":false")), (503, true));

    drop(held);
    let (heard, code, reason) = author.until_closed().await;
    assert!(matches!(heard[..], [Said::Update(_)]), "saved before it is told to go: {heard:?}");
    assert_eq!((code, reason.as_str()), (1001, "server shutting down"));
    for member in [&mut other, &mut elsewhere] {
        let (_, code, _) = member.until_closed().await;
        assert_eq!(code, 1001);
    }
    drop((author, other, elsewhere));
    assert!(server.stopped().await);
    let mut rng = fastrand::Rng::with_seed(1);
    let store = store_on(&disk.cut_power(&mut rng));
    assert!(server::export(&*store, "r").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_last_client_left_behind_is_waited_for() {
    let disk = FaultyDisk::new();
    let mut server = Running::start(config(), store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let held = HeldSyncs::of(&disk);
    author.write("held").await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    author.client.vanish();
    while health(server.address).await.contains("\"connections\":1") {}
    disk.fail_syncs("log/", std::io::ErrorKind::Other);
    server.begin_stop();
    let stopped = tokio::spawn(server.stopped());
    drop(held);
    assert!(!stopped.await.expect("no panic"), "it says that all is stored");
}

async fn health(address: SocketAddr) -> String {
    request(address, "GET /health HTTP/1.1\r\n\r\n").await.body
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_disk_that_hangs_it_stops_at_the_deadline() {
    let disk = FaultyDisk::new();
    let mut config = config();
    config.shutdown_ms = 200;
    let mut server = Running::start(config, store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let held = HeldSyncs::of(&disk);
    author.write("held").await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    assert_eq!(author.heard_by_now().await, []);
    server.begin_stop();
    let in_order = server.stopped().await;
    drop(held);
    assert!(!in_order);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_disk_that_refuses_members_are_told_that() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let held = HeldSyncs::of(&disk);
    author.write("held").await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    disk.fail_syncs("log/", std::io::ErrorKind::Other);
    let stopping = tokio::spawn(server.stop(()));
    drop(held);
    let (heard, code, _) = author.until_closed().await;
    assert_eq!((heard, code), (vec![], 1011));
    drop(author);
    stopping.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_types_or_comes_at_that_moment_is_told_the_same() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = FaultyDisk::new();
        let server = Running::start(config(), store_on(&disk)).await;
        let mut typists = Vec::new();
        for id in 1..=4 {
            let mut client = Provider::enter(server.address, "/r", id).await;
            typists.push(tokio::spawn(async move {
                loop {
                    client.write("x").await;
                    // Who falls further and further behind would not come to the last frame in time.
                    while client.shown(id) < client.writer.clock {
                        match client.hear().await {
                            Said::Closed(code, reason) => return (code, reason),
                            Said::Gone => panic!("ended without a close frame"),
                            _ => {}
                        }
                    }
                }
            }));
        }
        let mut witness = Provider::enter(server.address, "/r", 9).await;
        witness.until_shown(1, rng.u64(1..30)).await;
        let address = server.address;
        let comers = tokio::spawn(async move {
            let mut told = Vec::new();
            while let Ok(mut client) = Client::connect_with(address, "/r", "").await {
                told.push(tokio::spawn(async move { client.hear_out().await.1 }));
            }
            told
        });
        let stopped = tokio::spawn(server.stop(()));
        for typist in typists {
            assert_eq!(typist.await.expect("told"), (1001, "server shutting down".to_owned()), "seed {seed}");
        }
        assert_eq!(witness.until_closed().await.1, 1001);
        drop(witness);
        for comer in comers.await.expect("no panic") {
            let end = comer.await.expect("no panic");
            assert_eq!(end, Heard::Close(1001, "server shutting down".to_owned()), "seed {seed}");
        }
        assert!(stopped.await.expect("no panic"), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_on_the_way_in_when_a_room_ends_is_told_why() {
    for fails in [false, true] {
        let disk = FaultyDisk::new();
        let store = Arc::new(Spy::on(store_on(&disk)));
        let server = Running::start(config(), store.clone()).await;
        let mut author = Provider::enter(server.address, "/r", 1).await;
        store.hold_append("doc/r");
        author.write("the room is busy").await;
        store.until(|counts| counts.appends("doc/r") > 0).await;
        // Their requests wait while the room's thread writes. They say nothing, so nothing would tell them later.
        let address = server.address;
        let comers: Vec<_> = (0..20)
            .map(|_| {
                tokio::spawn(async move {
                    match Client::connect_with(address, "/r", "").await {
                        Ok(mut client) => client.hear_out().await.1,
                        Err(refusal) => Heard::Close(refusal.status, refusal.body),
                    }
                })
            })
            .collect();
        let stopped = if fails {
            disk.fail_writes("log/", std::io::ErrorKind::Other);
            None
        } else {
            let stopped = tokio::spawn(server.stop(()));
            assert_eq!(refused_when_stopping(address).await.status, 503);
            Some(stopped)
        };
        store.release();
        let (code, words) = if fails { (1011, "storage failed") } else { (1001, "server shutting down") };
        let refusal = if fails { "cannot store changes right now" } else { "server is shutting down" };
        for comer in comers {
            match comer.await.expect("no panic") {
                Heard::Close(503, body) => assert!(body.contains(refusal), "{body}"),
                Heard::Close(close, reason) => assert_eq!((close, reason.starts_with(words)), (code, true), "{reason}"),
                other => panic!("not told why: {other:?}"),
            }
        }
        author.until_closed().await;
        drop(author);
        if let Some(stopped) = stopped {
            assert!(stopped.await.expect("no panic"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_server_stops_at_once() {
    let server = Running::start(config(), memory()).await;
    Provider::enter(server.address, "/r", 1).await.write_and_save("x").await;
    assert!(server.stop(()).await);
}
