//! The power goes at a random moment of a busy day: what somebody was told is saved is there afterwards.

use crate::provider::Provider;
use crate::world::{Running, config, store_on};
use document::{Document, RoomLimits};
use server::config::Durability;
use std::collections::BTreeMap;
use testkit::disk::FaultyDisk;

const WRITERS: u64 = 3;
const ROOMS: u64 = 2;

/// One day: writers in two rooms, until the disk goes off. Returns what each room has shown to whom:
/// (room, writer) -> (how much its writer was told is saved, how much anybody else has seen).
async fn busy_day(server: &Running) -> BTreeMap<(u64, u64), (u64, u64)> {
    let mut tasks = Vec::new();
    for room in 0..ROOMS {
        for writer in 1..=WRITERS {
            let address = server.address;
            tasks.push(tokio::spawn(async move {
                let Some(mut provider) = Provider::try_enter(address, &format!("/r{room}"), writer).await else {
                    return (room, None);
                };
                while provider.is_open() {
                    provider.write("edit").await;
                    // One that wrote on would fall behind with reading, and fill its connection.
                    while provider.is_open() && provider.shown(writer) < provider.writer.clock {
                        provider.hear().await;
                    }
                }
                (room, Some(provider))
            }));
        }
    }
    let mut shown: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
    for task in tasks {
        let (room, provider) = task.await.expect("no panic");
        for author in 1..=WRITERS {
            let seen = shown.entry((room, author)).or_default();
            let Some(provider) = &provider else { continue };
            let place = if author == provider.writer.id { &mut seen.0 } else { &mut seen.1 };
            *place = provider.shown(author).max(*place);
        }
    }
    shown
}

fn stored(disk: &FaultyDisk, room: u64) -> Document {
    let store = store_on(disk);
    let update = server::export(&*store, &format!("r{room}")).unwrap_or_else(|_| vec![0, 0]);
    Document::load(RoomLimits::STORED, [&update[..]]).expect("a valid update")
}

async fn power_goes(durability: Durability, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let disk = FaultyDisk::new();
    let mut config = config();
    config.durability = durability;
    // Some snapshots are made on the way.
    config.store.compact_bytes_min = 30;
    let server = Running::start(config, store_on(&disk)).await;
    disk.stop_after(rng.u64(20..600));
    let shown = busy_day(&server).await;
    assert!(disk.is_off(), "seed {seed}: the day was too quiet");
    let found = disk.cut_power(&mut rng);
    for room in 0..ROOMS {
        let document = stored(&found.copy_with_unsynced(), room);
        for author in 1..=WRITERS {
            let there = u64::from(document.state_vector().clock(author));
            let (saved, seen) = shown[&(room, author)];
            assert!(saved <= there, "seed {seed}, room {room}, client {author}: {saved} were saved, {there} are there");
            if durability == Durability::Strict {
                assert!(
                    seen <= there,
                    "seed {seed}, room {room}, client {author}: {seen} were seen, {there} are there"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ack_nothing_that_was_acknowledged_is_missing() {
    for seed in 0..20 {
        power_goes(Durability::Ack, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_nothing_that_anybody_has_seen_is_missing() {
    for seed in 0..20 {
        power_goes(Durability::Strict, seed).await;
    }
}
