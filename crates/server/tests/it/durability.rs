//! When others see a change, and when its author is told that it is saved, in each mode.

use crate::provider::{Provider, Said, awareness, content_of, step_1};
use crate::spy::Spy;
use crate::world::{HeldSyncs, Running, config, memory, on_disk, store_on, store_with};
use server::config::Durability;
use std::sync::Arc;
use store::Store;
use store::backends::embedded::EmbeddedOptions;
use testkit::client::Client;
use testkit::disk::FaultyDisk;

#[tokio::test(flavor = "multi_thread")]
async fn ack_others_see_a_change_when_it_is_written_and_its_author_hears_when_it_is_synced() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let mut other = Provider::enter(server.address, "/r", 2).await;
    author.write_and_save("before").await;
    other.until_shown(1, 6).await;
    let held = HeldSyncs::of(&disk);

    author.write("held").await;
    other.until_shown(1, 10).await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    let newcomer = Provider::enter(server.address, "/r", 3).await;
    assert_eq!(newcomer.shown(1), 10);
    assert_eq!(author.heard_by_now().await, [], "told that it is saved before the sync");

    drop(held);
    author.until_saved().await;
    assert!(server.stop((author, other, newcomer)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ack_a_sync_speaks_only_for_what_was_written_before_it() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let mut other = Provider::enter(server.address, "/r", 2).await;
    let held = HeldSyncs::of(&disk);
    author.write("one").await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    author.write("two").await;
    other.until_shown(1, 6).await;
    disk.release_held_sync();
    author.until_shown(1, 3).await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    assert_eq!((author.heard_by_now().await, author.shown(1)), (vec![], 3));
    drop(held);
    author.until_saved().await;
    assert!(server.stop((author, other)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_nobody_sees_a_change_in_any_way_before_it_is_synced() {
    let disk = FaultyDisk::new();
    let mut config = config();
    config.durability = Durability::Strict;
    let server = Running::start(config, store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let mut other = Provider::enter(server.address, "/r", 2).await;
    author.write_and_save("before").await;
    other.until_shown(1, 6).await;
    let held = HeldSyncs::of(&disk);

    author.write("held").await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    assert_eq!(author.heard_by_now().await, [], "told before the sync");
    // Presence does not wait, so what comes before it is all that there is to see.
    other.client.send(&step_1(&[0])).await;
    other.client.send(&awareness(2, 1, "{}")).await;
    assert!(matches!(other.hear().await, Said::Awareness(_)), "seen before the sync");
    let mut newcomer = Provider::unsynced(Client::connect(server.address, "/r").await, 3);
    newcomer.client.send(&awareness(3, 1, "{}")).await;
    newcomer.client.send(&step_1(&[0])).await;
    let here = Said::Awareness(vec![(3, 1, "{}".to_owned())]);
    let heard = newcomer.hear_until(|said| *said == here).await;
    assert!(
        matches!(heard[..], [Said::StateVector(_), Said::Awareness(_), Said::Awareness(_)]),
        "seen before the sync: {heard:?}"
    );

    drop(held);
    author.until_saved().await;
    // The change first and then the answer, as they were asked for.
    let heard = other.hear_until(|said| matches!(said, Said::Missing(_))).await;
    assert!(matches!(heard[..], [Said::Awareness(_), Said::Update(_), Said::Missing(_)]), "{heard:?}");
    newcomer.hear_until(|said| matches!(said, Said::Missing(_))).await;
    assert_eq!((newcomer.shown(1), other.shown(1)), (10, 10));
    assert!(server.stop((author, other, newcomer)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_who_comes_to_a_busy_room_waits_for_one_sync_and_not_for_a_quiet_moment() {
    let disk = FaultyDisk::new();
    let mut config = config();
    config.durability = Durability::Strict;
    let server = Running::start(config, store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let held = HeldSyncs::of(&disk);
    author.write("one").await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    let mut newcomer = Provider::unsynced(Client::connect(server.address, "/r").await, 2);
    newcomer.hear_until(|said| matches!(said, Said::StateVector(_))).await;

    // By the time that the room has said who is here it has the second change, which the next sync covers.
    author.write("two").await;
    author.client.send(&awareness(1, 1, "{}")).await;
    author.hear_until(|said| matches!(said, Said::Awareness(_))).await;
    disk.release_held_sync();
    author.until_shown(1, 3).await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;

    newcomer.client.send(&step_1(&[0])).await;
    newcomer.client.send(&awareness(2, 1, "{}")).await;
    let here = Said::Awareness(vec![(2, 1, "{}".to_owned())]);
    newcomer.hear_until(|said| *said == here).await;

    drop(held);
    newcomer.hear_until(|said| matches!(said, Said::Missing(_))).await;
    assert_eq!(newcomer.shown(1), 6);
    assert!(server.stop((author, newcomer)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn interval_a_change_is_acknowledged_when_it_is_written() {
    let disk = FaultyDisk::new();
    let mut config = config();
    config.durability = Durability::Interval;
    let durability = store::Durability::Written { sync_ms: 1 };
    let store = store_with(&disk, EmbeddedOptions { durability, ..EmbeddedOptions::default() });
    let held = HeldSyncs::of(&disk);
    let server = Running::start(config, store).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    author.write_and_save("no sync has ended").await;
    assert_eq!(disk.syncs_ended(), 0);
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    drop(held);
    assert!(server.stop(author).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_content_survives_unloading() {
    let mut config = config();
    (config.durability, config.unload_after_ms) = (Durability::Memory, 0);
    let store = Arc::new(Spy::on(memory()));
    let server = Running::start(config, store.clone()).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    author.write_and_save("kept").await;
    let content = author.content();
    author.client.vanish();
    store.until_reopened("doc/r", server.address).await;
    assert_eq!(Provider::enter(server.address, "/r", 2).await.content(), content);
    assert!(server.stop(()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_has_seen_survives_the_death_of_the_process() {
    let disk = FaultyDisk::new();
    let server = Running::start(config(), store_on(&disk)).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    let mut other = Provider::enter(server.address, "/r", 2).await;
    let held = HeldSyncs::of(&disk);
    author.write("written, not synced").await;
    other.until_shown(1, 19).await;
    let store = store_on(&disk.kill());
    assert_eq!(content_of(&server::export(&*store, "r").expect("the room is there")), other.content());
    assert_eq!(store.damage(), []);
    drop(store);
    drop(held);
}
