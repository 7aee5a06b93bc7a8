//! What the embedded store costs on the disk at hand: an append of one room and of many, with and without the wait for its
//! sync, and the opening of a room that is new and of one that has a snapshot.
//! `cargo bench -p bench --bench store`

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Wake, Waker};
use std::time::Duration;
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::{Append, Change, Durability, Durable, Opened, Position, RoomKey, Store};

const EPOCH: u64 = 1;

fn costs(criterion: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("concord-bench-store-{}", std::process::id()));
    let (room, change): (RoomKey, _) =
        ("room".into(), Change { author: "ann".into(), time_ms: 1, bytes: vec![7; 100].into() });
    let mut group = criterion.benchmark_group("embedded store");
    group.sample_size(10);
    for group_ms in [0, 5] {
        let options = EmbeddedOptions { durability: Durability::Synced { group_ms }, ..EmbeddedOptions::default() };
        let store =
            Embedded::open(folder.join(group_ms.to_string()), options).expect("the temporary folder can be written");
        let opened = store.open(&room, EPOCH).expect("the room opens");
        let mut offset = opened.head;
        let mut append = || {
            store
                .append(&room, Position { epoch: EPOCH, offset }, std::slice::from_ref(&change))
                .expect("the disk takes the append");
            offset += 1;
            offset
        };
        group.bench_function(BenchmarkId::new("append 100 bytes", format!("group {group_ms} ms")), |bencher| {
            bencher.iter(&mut append);
        });
        group.bench_function(BenchmarkId::new("append until durable", format!("group {group_ms} ms")), |bencher| {
            bencher.iter(|| wait(&opened.durable, append()));
        });
    }
    group.finish();
    std::fs::remove_dir_all(&folder).expect("the temporary folder can be removed");
}

/// Rooms that write in one turn of a worker: what a server of many small rooms has to do at its busiest.
const ROOMS: usize = 1_000;

fn many_rooms(criterion: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("concord-bench-store-rooms-{}", std::process::id()));
    let change = [Change { author: "ann".into(), time_ms: 1, bytes: vec![7; 100].into() }];
    let rooms: Vec<RoomKey> = (0..ROOMS).map(|number| format!("documents/room-{number:05}").into()).collect();
    let mut group = criterion.benchmark_group("embedded store, 1000 rooms");
    // Short, or it would measure how fast the disk takes the gigabytes.
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    // An hour: the appends alone, without a sync at the same time.
    for group_ms in [0, 3_600_000] {
        let options = EmbeddedOptions { durability: Durability::Synced { group_ms }, ..EmbeddedOptions::default() };
        let store =
            Embedded::open(folder.join(group_ms.to_string()), options).expect("the temporary folder can be written");
        let opened: Vec<Opened> = rooms.iter().map(|room| store.open(room, EPOCH).expect("the room opens")).collect();
        let mut offset = 0;
        let mut append = || {
            let part = |room| Append { room, at: Position { epoch: EPOCH, offset }, changes: &change };
            let batch: Vec<_> = rooms.iter().map(part).collect();
            let results = store.append_all(&batch);
            assert!(results.iter().all(Result::is_ok), "the disk takes the append");
            offset += 1;
            offset
        };
        if group_ms > 0 {
            group.bench_function("append 100 bytes to each", |bencher| bencher.iter(&mut append));
        } else {
            group.bench_function("append to each until all are durable", |bencher| {
                bencher.iter(|| {
                    let offset = append();
                    opened.iter().for_each(|room| wait(&room.durable, offset));
                });
            });
        }
    }
    group.finish();
    std::fs::remove_dir_all(&folder).expect("the temporary folder can be removed");
}

fn openings(criterion: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("concord-bench-store-open-{}", std::process::id()));
    let store = Embedded::open(&folder, EmbeddedOptions::default()).expect("the temporary folder can be written");
    // A long document as the compaction writes it.
    let snapshot: Vec<u8> = (0..311_000_u32).map(|number| (number * 7 % 251) as u8).collect();
    // Twice as many as the cache of snapshots.redb could hold.
    let rooms: Vec<RoomKey> = (0..16).map(|number| format!("room {number}").into()).collect();
    let change = [Change { author: "ann".into(), time_ms: 1, bytes: vec![7; 10].into() }];
    for room in &rooms {
        let opened = store.open(room, EPOCH).expect("the room opens");
        store.append(room, Position { epoch: EPOCH, offset: opened.head }, &change).expect("the disk takes the append");
        let at = Position { epoch: EPOCH, offset: opened.head + 1 };
        store.replace_with_snapshot(room, at, &snapshot).expect("the disk takes the snapshot");
    }
    let mut group = criterion.benchmark_group("embedded store, opening");
    let mut next = 0;
    group.bench_function("a room with a snapshot of 311 KB", |bencher| {
        bencher.iter(|| {
            next = (next + 1) % rooms.len();
            store.open(&rooms[next], EPOCH).expect("the room opens").snapshot
        });
    });
    group.bench_function("a room that is new", |bencher| {
        bencher.iter(|| {
            next += 1;
            let room: RoomKey = format!("new {next}").into();
            store.open(&room, EPOCH).expect("the room opens").head
        });
    });
    group.finish();
    drop(store);
    std::fs::remove_dir_all(&folder).expect("the temporary folder can be removed");
}

fn wait(durable: &Durable, offset: u64) {
    struct Bell(Sender<()>);
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            // Nobody listens any more when the offset was reached without it.
            let _ = self.0.send(());
        }
    }
    let (sender, bell) = channel();
    let waker = Waker::from(Arc::new(Bell(sender)));
    loop {
        durable.wake(&waker);
        if durable.offset() >= offset {
            return;
        }
        bell.recv().expect("the waker is alive");
    }
}

criterion_group!(benches, costs, many_rooms, openings);
criterion_main!(benches);
