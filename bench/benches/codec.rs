//! The WebSocket codec: frames in, frames out, and compression of a document.
//!
//! `cargo bench -p bench --bench codec`.

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use server::websocket::{Decoder, Deflater, Inflater, Opcode, append_compressed_frame, append_frame};
use std::hint::black_box;

const LIMIT: usize = 16 << 20;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame: masked. `first`: its first byte.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    append_frame(Opcode::Binary, payload, &mut frame);
    let header = frame.len() - payload.len();
    (frame[0], frame[1]) = (first, frame[1] | 0x80);
    frame.splice(header..header, KEY);
    for (byte, key) in frame[header + 4..].iter_mut().zip(KEY.iter().cycle()) {
        *byte ^= key;
    }
    frame
}

/// As updates of a text are: words among clocks and lengths that hardly repeat.
fn document(bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 12] =
        ["the", "room", "of", "a", "document", "that", "was", "written", "by", "many", "people", "today"];
    let mut random = fastrand::Rng::with_seed(1);
    let mut document = Vec::with_capacity(bytes + 32);
    while document.len() < bytes {
        document.extend([0x84, 1, random.u8(..), random.u8(..)]);
        let words: Vec<&str> = (0..random.usize(1..6)).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
        document.extend_from_slice(words.join(" ").as_bytes());
    }
    document.truncate(bytes);
    document
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let small = b"\x00\x02\x14\x01\x01\x85\xa4\x8f\x9d\x05\x00\x04\x01\x01t\x02hi\x00";
    let keystroke = Deflater::new(0).deflate(&[&small[..], &[0; 20]].concat()).expect("zeros shrink").to_vec();
    let large = document(1 << 20);
    let text = document(100 << 10);
    let compressed = Deflater::new(0).deflate(&text).expect("words shrink").to_vec();
    let bomb = Deflater::new(0).deflate(&vec![0; Deflater::BYTES_MAX]).expect("zeros shrink").to_vec();
    let cases = [
        ("1,000 frames of 19 bytes", client_frame(0x82, small).repeat(1_000), 1_000 * small.len()),
        ("1,000 compressed frames of 39 bytes", client_frame(0xc2, &keystroke).repeat(1_000), 1_000 * 39),
        ("a frame of 1 MiB", client_frame(0x82, &large), large.len()),
        ("a compressed document of 100 KiB", client_frame(0xc2, &compressed), text.len()),
        ("a bomb of 512 KiB", client_frame(0xc2, &bomb), Deflater::BYTES_MAX),
    ];
    for (name, stream, bytes) in cases {
        let (mut decoder, mut inflater) = (Decoder::new(LIMIT, true), Inflater::default());
        let mut arena = BytesMut::with_capacity(64 << 10);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut input = &stream[..];
                arena.reserve(stream.len().min(64 << 10));
                while let Some(message) = decoder.decode(&mut input, &mut arena, &mut inflater).expect("legal") {
                    black_box(message);
                }
            });
        });
    }
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("1,000 frames of 19 bytes", |bencher| {
        bencher.iter_batched_ref(
            || Vec::with_capacity(64 << 10),
            |out| {
                for _ in 0..1_000 {
                    append_frame(Opcode::Binary, black_box(&[7; 19]), out);
                }
            },
            BatchSize::SmallInput,
        );
    });
    for bytes in [1 << 10, 100 << 10, Deflater::BYTES_MAX] {
        let (payload, mut deflater) = (document(bytes), Deflater::new(0));
        let compressed = deflater.deflate(&payload).expect("words shrink").len();
        let mut out = Vec::with_capacity(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(
            format!("deflate {} KiB to {} percent", bytes >> 10, 100 * compressed / bytes),
            |bencher| {
                bencher.iter(|| {
                    out.clear();
                    let compressed = deflater.deflate(black_box(&payload)).expect("words shrink");
                    append_compressed_frame(Opcode::Binary, compressed, &mut out);
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, decoding, encoding);
criterion_main!(benches);
