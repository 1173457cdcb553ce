//! What each byte costs on its way: checksums, frames, packets, digests, and the largest page of a message.
//!
//! `cargo bench -p framing`, or with a word behind it only the benchmarks that have it in their name.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use framing::frame::{Frame, HEADER_LEN, Kind, seal};
use framing::packet::{self, AckFields, Packet};
use framing::{CHUNK_LEN, Checksum, Entry, EntryKind, Hasher, Message, PageBuilder, crc32c};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    checksum(&mut criterion);
    frame(&mut criterion);
    packets(&mut criterion);
    acks(&mut criterion);
    digests(&mut criterion);
    entries(&mut criterion);
    criterion.final_summary();
}

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    let chunk = content(CHUNK_LEN);
    group.throughput(Throughput::Bytes(CHUNK_LEN as u64));
    group.bench_function("chunk", |bencher| bencher.iter(|| crc32c(black_box(&chunk))));
    group.finish();
}

/// What the sender does to a chunk and what the receiver does to it. The header's bytes do not count.
fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let mut bytes = content(HEADER_LEN + CHUNK_LEN);
    group.throughput(Throughput::Bytes(CHUNK_LEN as u64));
    group.bench_function("seal and parse", |bencher| {
        bencher.iter(|| {
            seal(Kind::Chunk, 7, black_box(&mut bytes));
            let frame = Frame::parse(black_box(&bytes));
            frame.is_ok_and(|frame| frame.is_some_and(|frame| frame.is_intact()))
        });
    });
    group.finish();
}

/// A part as Ethernet carries it, and one that is a whole chunk. Only the part's payload counts.
fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet");
    for (name, len) in [("1408 bytes", 1408), ("chunk", CHUNK_LEN)] {
        let payload = content(len);
        let mut out = Vec::with_capacity(len + 64);
        let mut write = || {
            out.clear();
            packet::begin_data(&mut out, 7, 1 << 33);
            packet::put_part_header(&mut out, 1 << 20, 11);
            out.extend_from_slice(black_box(&payload));
            packet::seal(&mut out, 0);
            out.len()
        };
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("write {name}"), |bencher| bencher.iter(&mut write));
        write();
        group.bench_function(format!("parse {name}"), |bencher| {
            bencher.iter(|| match Packet::parse(black_box(&out)) {
                Ok(Packet::Data { frames, .. }) => {
                    packet::frames(frames).all(|frame| black_box(frame).is_ok())
                }
                _ => false,
            });
        });
    }
    group.finish();
}

/// The ranges that 2 % and 50 % loss leave of a thousand packets.
fn acks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ack");
    let fields = AckFields { largest: 1_000_000, credit: 1 << 30, ..AckFields::default() };
    for (name, ranges, step) in [("20 ranges", 20, 50), ("500 ranges", 500, 2)] {
        let list = || (0..ranges).map(|range| 1_000_000 - range * step).map(|end| end + 2 - step..=end);
        let mut out = Vec::new();
        let mut write = || {
            out.clear();
            packet::put_ack(&mut out, black_box(&fields), list(), 1400)
        };
        group.throughput(Throughput::Elements(ranges));
        group.bench_function(format!("write {name}"), |bencher| bencher.iter(&mut write));
        write();
        group.bench_function(format!("parse {name}"), |bencher| {
            bencher.iter(|| match packet::frames(black_box(&out)).next() {
                Some(Ok(packet::Frame::Ack(ack))) => {
                    ack.ranges().map(|range| range.end() - range.start()).sum()
                }
                _ => 0,
            });
        });
    }
    group.finish();
}

/// One big update, as the hasher makes them, and the whole of a small file.
fn digests(criterion: &mut Criterion) {
    for checksum in [Checksum::Md5, Checksum::Blake3] {
        let mut group = criterion.benchmark_group(checksum.name());
        for (name, len) in [("16 KiB", 16 * 1024), ("1 MiB", 1024 * 1024)] {
            let bytes = content(len);
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(name, |bencher| {
                bencher.iter(|| Hasher::digest(checksum, black_box(&bytes)));
            });
        }
        group.finish();
    }
}

/// A full page of a manifest, as a directory of photographs makes it: decoded, and each of its entries read.
fn entries(criterion: &mut Criterion) {
    let mut page = PageBuilder::default();
    while !page.is_full() {
        page.push(&Entry {
            kind: EntryKind::File { len: 3_141_592 },
            mode: 0o644,
            mtime: 1_000_000_000,
            mtime_nanos: 0,
            path: b"holidays/2024/IMG_20240801_123456.jpg",
        });
    }
    let mut payload = Vec::new();
    Message::Entries(page.page()).encode(&mut payload);

    let mut group = criterion.benchmark_group("message");
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("decode entries", |bencher| {
        bencher.iter(|| match Message::decode(black_box(&payload)) {
            Ok(Message::Entries(entries)) => entries.iter().map(|entry| entry.len()).sum(),
            _ => 0,
        });
    });
    group.finish();
}

/// Bytes without a pattern that a branch could learn.
fn content(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(len)
    .collect()
}
