//! How fast records are sealed and opened, and how long a handshake takes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use seal::{Initiator, KEY_LEN, Key, answer};

/// What the link over TCP writes at a time.
const BLOCK_LEN: usize = 64 * (24 + 4096);

fn records(c: &mut Criterion) {
    let key = Key::from_bytes([7; KEY_LEN]);
    let block = vec![7; BLOCK_LEN];
    let mut out = Vec::new();
    let mut group = c.benchmark_group("seal a block");
    group.throughput(Throughput::Bytes(BLOCK_LEN as u64));
    for most in [BLOCK_LEN / 16, BLOCK_LEN / 8, BLOCK_LEN / 4, BLOCK_LEN / 2] {
        group.bench_function(BenchmarkId::from_parameter(most), |b| {
            let (initiator, hello) = Initiator::begin(&key).expect("randomness");
            let (reply, _) = answer(&key, &hello).expect("the same key");
            let mut channel = initiator.finish(&reply).expect("the same key");
            b.iter(|| black_box(channel.sealer.seal(&block, most, &mut out)));
        });
    }
    group.finish();
}

fn handshake(c: &mut Criterion) {
    let key = Key::from_bytes([7; KEY_LEN]);
    let (_, hello) = Initiator::begin(&key).expect("randomness");
    c.bench_function("answer a handshake", |b| b.iter(|| black_box(answer(&key, &hello).is_ok())));
    let other = Key::from_bytes([8; KEY_LEN]);
    c.bench_function("refuse a handshake", |b| b.iter(|| black_box(answer(&other, &hello).is_ok())));
}

criterion_group!(benches, records, handshake);
criterion_main!(benches);
