//! What the embedded store costs on the disk at hand: an append, an append that waits for its sync, a snapshot, a start.
//! `cargo bench -p bench --bench store`

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Wake, Waker};
use store::backends::embedded::{Embedded, EmbeddedOptions};
use store::{Change, Durability, Durable, Position, RoomKey, Store};

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

criterion_group!(benches, costs);
criterion_main!(benches);
