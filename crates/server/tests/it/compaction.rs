//! Snapshots are made while people type, and nobody notices.

use crate::provider::{Provider, Said, content_of, delete, update};
use crate::spy::Spy;
use crate::world::{ByQuery, Running, config, store_on, store_with};
use document::Span;
use room::Snapshot;
use std::collections::BTreeSet;
use std::sync::Arc;
use store::Store;
use store::backends::embedded::EmbeddedOptions;
use testkit::disk::FaultyDisk;

fn log_bytes(disk: &FaultyDisk) -> usize {
    disk.names("log").iter().map(|name| disk.read(name).len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_under_load_change_nothing_and_keep_who_wrote_what() {
    let disk = FaultyDisk::new();
    let options = EmbeddedOptions { segment_bytes_max: 4 << 10, ..EmbeddedOptions::default() };
    let embedded = store_with(&disk, options);
    let store = Arc::new(Spy::on(embedded.clone()));
    let mut config = config();
    config.store.compact_bytes_min = 100;
    let server = Running::start_with(config, store.clone(), Arc::new(ByQuery)).await;
    let mut ann = Provider::enter(server.address, "/r?user=ann", 1).await;
    let mut ben = Provider::enter(server.address, "/r?user=ben", 2).await;
    let mut watcher = Provider::enter(server.address, "/r?user=cid&access=read", 3).await;
    let mut heard = 0;
    while store.counts().snapshots("doc/r") < 3 {
        ann.write_and_save("a line of ann's, ").await;
        ben.write_and_save("and one of ben's. ").await;
        let gone = update(&delete(1, ann.writer.clock - 1, 1));
        ben.client.send(&gone).await;
        for _ in 0..3 {
            assert!(matches!(watcher.hear().await, Said::Update(_)));
            heard += 1;
        }
    }
    ben.write_and_save("The end.").await;
    watcher.until_shown(2, ben.writer.clock).await;
    assert_eq!(watcher.content(), ben.content());
    let written = log_bytes(&disk);
    assert!(heard > 15, "{heard} edits");
    let content = watcher.content();
    assert!(server.stop((ann, ben, watcher)).await);

    // All but the last few changes are in the snapshot, and the log gives the rest of its room back.
    embedded.tidy(0).expect("the disk works");
    assert!(log_bytes(&disk) <= written && log_bytes(&disk) < 12 << 10, "{} of {written}", log_bytes(&disk));
    let opened = embedded.open(&"doc/r".into(), 1).expect("the room is there");
    let snapshot = Snapshot::decode(&opened.snapshot.expect("a snapshot")).expect("this version's");
    let attribution = &snapshot.attribution;
    let names = |spans: Vec<&Span>| {
        let names = spans.iter().map(|span| attribution.authors()[span.author as usize].clone());
        Vec::from_iter(names.collect::<BTreeSet<_>>())
    };
    assert_eq!(names(attribution.inserts(1).collect()), ["ann"]);
    assert_eq!(names(attribution.inserts(2).collect()), ["ben"]);
    assert_eq!(names(attribution.deletes(1).collect()), ["ben"]);
    let accepted_ms = attribution.inserts(1).map(|span| span.time_ms);
    assert!(accepted_ms.min().is_some_and(|first| first > 1_700_000_000_000), "when it was accepted");

    for seed in 0..5 {
        let found = store_on(&disk.copy_with_unsynced().cut_power(&mut fastrand::Rng::with_seed(seed)));
        let stored = server::export(&*found, "r").expect("the room is there");
        assert_eq!(content_of(&stored), content, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_leaves_snapshots_of_what_has_a_long_log() {
    let disk = FaultyDisk::new();
    let mut config = config();
    config.store.compact_bytes_min = 1 << 10;
    let server = Running::start(config, store_on(&disk)).await;
    let mut long = Provider::enter(server.address, "/long", 1).await;
    let mut short = Provider::enter(server.address, "/short", 2).await;
    long.write_and_save(&"a long line. ".repeat(100)).await;
    short.write_and_save("a short line").await;
    let content = long.content();
    assert!(server.stop((long, short)).await);

    let found = store_on(&disk);
    let open = |room: &str| found.open(&room.into(), 1).expect("opens");
    let (long, short) = (open("doc/long"), open("doc/short"));
    assert_eq!((long.snapshot_offset, long.changes.len()), (long.head, 0), "all of it is in the snapshot");
    assert_eq!((short.snapshot_offset, short.changes.len()), (0, 1), "not worth one");
    assert_eq!(content_of(&server::export(&*found, "long").expect("is there")), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_written_disturbs_nobody() {
    let disk = FaultyDisk::new();
    let store = Arc::new(Spy::on(store_on(&disk)));
    let mut config = config();
    config.store.compact_bytes_min = 1 << 10;
    let server = Running::start(config, store.clone()).await;
    let mut author = Provider::enter(server.address, "/r", 1).await;
    disk.fail_writes("snapshots", std::io::ErrorKind::Other);
    for _ in 0..50 {
        author.write_and_save(&"x".repeat(100)).await;
    }
    assert_eq!(store.counts().snapshots("doc/r"), 0);
    disk.heal();
    while store.counts().snapshots("doc/r") == 0 {
        author.write_and_save(&"x".repeat(100)).await;
    }
    let content = author.content();
    assert!(server.stop(author).await);
    let stored = server::export(&*store_on(&disk.kill()), "r").expect("the room is there");
    assert_eq!(content_of(&stored), content);
}
