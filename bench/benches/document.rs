//! The struct store on two real editing traces, update by update, with validation alone and yrs beside it.
//!
//! `node conformance/traces.mjs --write target/traces` makes the input; then `cargo bench -p bench --bench document`.
//! criterion's time divided by the number of updates is what counts: it is printed as time per element.

mod traces;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use document::{Document, MessageLimits, RoomLimits, StateVector, Update};
use traces::read;
use yrs::updates::decoder::Decode;
use yrs::{Doc, Transact};

fn traces(criterion: &mut Criterion) {
    for name in ["automerge-paper", "friendsforever"] {
        let updates = read(name);
        let limits = MessageLimits::default();
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).throughput(Throughput::Elements(updates.len() as u64));
        group.bench_function("validate", |bencher| {
            bencher.iter(|| updates.iter().filter(|bytes| Update::validate(bytes.as_slice(), &limits).is_ok()).count());
        });
        group.bench_function("add", |bencher| {
            bencher.iter_batched(
                || Document::new(RoomLimits::default()),
                |document| replay(document, &updates),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("yrs", |bencher| {
            bencher.iter_batched(
                Doc::new,
                |doc| {
                    for bytes in &updates {
                        let update = yrs::Update::decode_v1(bytes).expect("the trace is valid");
                        doc.transact_mut().apply_update(update).expect("the trace applies");
                    }
                    doc
                },
                BatchSize::PerIteration,
            );
        });
        let document = replay(Document::new(RoomLimits::default()), &updates);
        group.throughput(Throughput::Elements(1));
        group.bench_function("snapshot", |bencher| bencher.iter(|| document.snapshot(false)));
        let snapshot = document.snapshot(false);
        group.bench_function("load", |bencher| {
            bencher.iter(|| Document::load(RoomLimits::default(), [snapshot.as_slice()]));
        });
        let known = StateVector::from_entries(
            document.state_vector().entries().iter().map(|&(client, clock)| (client, clock - clock / 100)).collect(),
        );
        group.bench_function("diff of the last hundredth", |bencher| bencher.iter(|| document.diff(&known, false)));
        group.finish();
    }
}

fn replay(mut document: Document, updates: &[Vec<u8>]) -> Document {
    let limits = MessageLimits::default();
    for bytes in updates {
        let update = Update::validate(bytes.as_slice(), &limits).expect("the trace is valid");
        document.add(&update, 0);
    }
    document
}

criterion_group!(benches, traces);
criterion_main!(benches);
