//! A disk that refuses: everybody concerned is told, nothing is acknowledged that is not safe, and work goes on when the disk does.

use crate::provider::{Provider, Said};
use crate::spy::Spy;
use crate::world::{HeldSyncs, Running, config, store_on};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use testkit::client::{Client, PATIENCE, Response};
use testkit::disk::FaultyDisk;

const WORDS: &str = "storage failed; unsaved edits stay in your editor";

/// Comes back as a provider does until it is let in.
async fn connect_when_open(address: SocketAddr, target: &str) -> Client {
    let mut back_off = tokio::time::interval(Duration::from_millis(50));
    let attempts = async {
        loop {
            back_off.tick().await;
            if let Ok(client) = Client::connect_with(address, target, "").await {
                return client;
            }
        }
    };
    tokio::time::timeout(PATIENCE, attempts).await.expect("the room opens again")
}

async fn enter_when_open(address: SocketAddr, target: &str, id: u64) -> Provider {
    Provider::on(connect_when_open(address, target).await, id).await
}

async fn refused(address: SocketAddr, target: &str) -> Response {
    Client::connect_with(address, target, "").await.expect_err("the room is closed for a while")
}

/// Everybody in a room hears that the storage has failed, and is not told that `author` was saved.
async fn assert_told(members: [&mut Provider; 2], saved: u64) {
    for (place, member) in members.into_iter().enumerate() {
        let (_, code, reason) = member.until_closed().await;
        assert_eq!((code, reason.as_str()), (1011, WORDS));
        if place == 0 {
            assert_eq!(member.shown(1), saved, "the author is told that something is saved that is not");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_is_told_to_the_room_and_others_go_on() {
    let faults: [fn(&FaultyDisk); 3] = [
        |disk| disk.fail_writes("log/", ErrorKind::Other),
        |disk| disk.fail_writes("log/", ErrorKind::StorageFull),
        |disk| disk.set_bytes_free(Some(10)),
    ];
    for fault in faults {
        let disk = FaultyDisk::new();
        let server = Running::start(config(), store_on(&disk)).await;
        let mut author = Provider::enter(server.address, "/r", 1).await;
        let mut other = Provider::enter(server.address, "/r", 2).await;
        let mut elsewhere = Provider::enter(server.address, "/elsewhere", 3).await;
        author.write_and_save("saved").await;
        elsewhere.write_and_save("saved").await;

        fault(&disk);
        author.write(" and lost").await;
        assert_told([&mut author, &mut other], 5).await;
        assert_eq!(other.shown(1), 5, "others see what could not be written");
        let refusal = refused(server.address, "/r").await;
        assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some("1")));
        assert!(refusal.body.contains("cannot store"), "{}", refusal.body);
        // The rooms of others, old and new, can be read, and are told only when they write.
        assert_eq!(elsewhere.heard_by_now().await, []);
        Provider::enter(server.address, "/new", 4).await;

        disk.heal();
        elsewhere.write_and_save(", too").await;
        let mut back = enter_when_open(server.address, "/r", 1).await;
        assert_eq!(back.shown(1), 5);
        back.write_and_save(" after all").await;
        let content = back.content();
        assert!(server.stop((author, other, elsewhere, back)).await);
        let store = store_on(&disk.kill());
        let stored = server::export(&*store, "r").expect("the room is there");
        assert_eq!(crate::provider::content_of(&stored), content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_is_told_to_every_room_that_was_not_safe_yet() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let mut other = Provider::enter(server.address, "/r", 2).await;
    let mut elsewhere = Provider::enter(server.address, "/elsewhere", 3).await;
    author.write_and_save("saved").await;
    elsewhere.write_and_save("saved").await;

    disk.fail_syncs("log/", ErrorKind::Other);
    author.write(" and doubtful").await;
    assert_told([&mut author, &mut other], 5).await;
    let refusal = refused(server.address, "/r").await;
    assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some("1")));
    assert_eq!(elsewhere.heard_by_now().await, [], "everything of that room is safe");

    disk.heal();
    elsewhere.write_and_save(", too").await;
    let mut back = enter_when_open(server.address, "/r", 1).await;
    assert!(back.shown(1) >= 5);
    back.write_and_save("after all").await;
    let contents = [("r", back.content()), ("elsewhere", elsewhere.content())];
    assert!(server.stop((author, other, back, elsewhere)).await);
    for seed in 0..5 {
        let store = store_on(&disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed)));
        for (room, content) in &contents {
            let stored = server::export(&*store, room).expect("the room is there");
            assert_eq!(crate::provider::content_of(&stored), *content, "seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pause_after_a_failure_doubles_until_saving_works() {
    let faults: [fn(&FaultyDisk); 2] =
        [|disk| disk.fail_writes("log/", ErrorKind::Other), |disk| disk.fail_syncs("log/", ErrorKind::Other)];
    for fault in faults {
        let disk = FaultyDisk::new();
        let server = Running::start(config(), store_on(&disk)).await;
        Provider::enter(server.address, "/r", 1).await.write_and_save("saved").await;
        fault(&disk);
        for retry_after in ["1", "2"] {
            let mut author = Provider::unsynced(connect_when_open(server.address, "/r").await, 2);
            author.write("x").await;
            author.until_closed().await;
            assert_eq!(refused(server.address, "/r").await.header("retry-after"), Some(retry_after));
        }
        disk.heal();
        let mut author = Provider::on(connect_when_open(server.address, "/r").await, 3).await;
        author.write_and_save("y").await;
        fault(&disk);
        author.write("z").await;
        author.until_closed().await;
        assert_eq!(refused(server.address, "/r").await.header("retry-after"), Some("1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_cannot_be_read_is_closed_and_opens_when_it_can() {
    let disk = FaultyDisk::new();
    let mut config = config();
    config.unload_after_ms = 0;
    let store = Arc::new(Spy::on(store_on(&disk)));
    let server = Running::start(config, store.clone()).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    author.write_and_save("saved").await;
    disk.fail_reads("log/", ErrorKind::Other);
    author.client.vanish();
    // Once the room is out of memory it has to be read.
    store.until_reopened("doc/r", server.address).await;
    let refusal = refused(server.address, "/r").await;
    assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some("1")));
    disk.heal();
    assert_eq!(enter_when_open(server.address, "/r", 1).await.shown(1), 5);
    assert!(server.stop(()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_goes_on_while_the_disk_does_not() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let mut other = Provider::enter(server.address, "/r", 2).await;
    let held = HeldSyncs::of(&disk);
    author.write("held").await;
    author.client.send(&crate::provider::awareness(1, 1, "{}")).await;
    let present = Said::Awareness(vec![(1, 1, "{}".to_owned())]);
    other.hear_until(|said| *said == present).await;
    drop(held);
    author.until_saved().await;
    assert!(server.stop((author, other)).await);
}
