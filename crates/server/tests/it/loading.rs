//! A room loads once, goes when nobody needs it, and takes nothing with it that is not on the disk.

use crate::provider::Provider;
use crate::spy::Spy;
use crate::world::{HeldSyncs, Running, config, memory, on_disk, store_on};
use std::sync::Arc;
use std::time::Duration;
use testkit::disk::FaultyDisk;

#[tokio::test(flavor = "multi_thread")]
async fn two_first_visitors_get_the_same_room() {
    let store = Arc::new(Spy::on(memory()));
    store.hold_open("doc/r");
    let server = Running::start(config(), store.clone()).await;
    let visits: Vec<_> = (1..=8).map(|id| tokio::spawn(Provider::enter(server.address, "/r", id))).collect();
    store.until(|counts| counts.opens("doc/r") > 0).await;
    // A room that loads slowly stops no other.
    Provider::enter(server.address, "/other", 9).await.write_and_save("x").await;
    store.release();
    let mut providers = Vec::new();
    for visit in visits {
        providers.push(visit.await.expect("no panic"));
    }
    let [first, others @ ..] = &mut providers[..] else { panic!("eight") };
    first.write_and_save("one room").await;
    for other in others {
        other.until_shown(1, 8).await;
    }
    assert_eq!(store.counts().opens("doc/r"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_stays_in_memory_for_the_grace_period() {
    let store = Arc::new(Spy::on(memory()));
    let server = Running::start(config(), store.clone()).await;
    for visit in 1..=5 {
        Provider::enter(server.address, "/r", visit).await.write_and_save("x").await;
    }
    assert_eq!(store.counts().opens("doc/r"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_a_room_goes_finds_all_of_it() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let store = Arc::new(Spy::on(memory()));
    let mut config = config();
    config.unload_after_ms = 0;
    let server = Running::start(config, store.clone()).await;
    for written in 0.. {
        let count = rng.usize(1..4);
        let mut visits = Vec::new();
        for id in 0..count {
            visits.push(Provider::enter(server.address, "/r", 100 + id as u64).await);
        }
        for visit in &visits {
            assert_eq!(visit.shown(1), written);
        }
        let mut writer = Provider::enter(server.address, "/r", 1).await;
        assert_eq!(writer.shown(1), written);
        writer.write_and_save("x").await;
        for visit in visits {
            if rng.bool() { visit.client.vanish() } else { visit.client.reset() }
        }
        writer.client.vanish();
        if written >= 60 && store.counts().opens("doc/r") > 10 {
            break;
        }
        // A room goes 50 ms after it was left at the earliest: the next ones come at about that moment.
        tokio::time::sleep(Duration::from_micros(rng.u64(45_000..60_000))).await;
    }
    assert!(server.stop(()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_does_not_go_before_everything_is_on_the_disk() {
    let disk = FaultyDisk::new();
    let store = Arc::new(Spy::on(store_on(&disk)));
    let mut config = config();
    config.unload_after_ms = 0;
    let server = Running::start(config, store.clone()).await;
    let mut writer = Provider::enter(server.address, "/unsafe", 1).await;
    let quiet = Provider::enter(server.address, "/quiet", 2).await;
    let held = HeldSyncs::of(&disk);
    writer.write("held").await;
    on_disk(&disk, FaultyDisk::await_held_sync).await;
    writer.client.vanish();
    // A room that was left later has gone by the time that it is opened for the second time.
    quiet.client.vanish();
    store.until_reopened("doc/quiet", server.address).await;
    let visitor = Provider::enter(server.address, "/unsafe", 3).await;
    assert_eq!((visitor.shown(1), store.counts().opens("doc/unsafe")), (4, 1));
    visitor.client.vanish();
    drop(held);
    store.until_reopened("doc/unsafe", server.address).await;
    assert_eq!(Provider::enter(server.address, "/unsafe", 4).await.shown(1), 4);
    assert!(server.stop(()).await);
}
