//! What one core does with the bytes of a stream: digests, structure, grains.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails says so by a panic")]

use std::hint::black_box;

use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use ovftransfer_vmdk::GrainReader;
use ovftransfer_vmdk::Level;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::StreamWriter;
use sha1::Sha1;
use sha2::Digest;
use sha2::Sha256;
use sha2::Sha512;

/// A stream-optimized disk of 64 MiB with text on every grain.
fn disk(level: Level) -> Vec<u8> {
    let options = Options::default().level(level);
    let mut writer = StreamWriter::new(Vec::new(), CAPACITY_BYTES, options).unwrap();
    for grain in 0..CAPACITY_BYTES / GRAIN_BYTES {
        writer.write_grain(grain * GRAIN_BYTES / 512, &words(grain)).unwrap();
    }
    writer.finish().unwrap().0
}

/// A grain of words, another one for each `seed`.
fn words(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut grain = Vec::new();
    while (grain.len() as u64) < GRAIN_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        grain.extend_from_slice(WORDS[(state >> 33) as usize % WORDS.len()].as_bytes());
    }
    grain.truncate(usize::try_from(GRAIN_BYTES).unwrap());
    grain
}

fn digests(criterion: &mut Criterion) {
    let batch = vec![7_u8; 256 << 10];
    let mut group = criterion.benchmark_group("digest");
    group.throughput(Throughput::Bytes(batch.len() as u64));
    group.bench_function("sha1", |b| b.iter(|| Sha1::digest(black_box(&batch))));
    group.bench_function("sha256", |b| b.iter(|| Sha256::digest(black_box(&batch))));
    group.bench_function("sha512", |b| b.iter(|| Sha512::digest(black_box(&batch))));
    group.finish();
}

fn grains(criterion: &mut Criterion) {
    let packed = disk(Level::default());
    let mut group = criterion.benchmark_group("vmdk");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(packed.len() as u64));
    group.bench_function("structure", |b| {
        b.iter(|| {
            let mut check = StreamCheck::new();
            for chunk in packed.chunks(16 << 10) {
                check.push(black_box(chunk)).unwrap();
            }
            check.finish().unwrap()
        });
    });
    group.throughput(Throughput::Bytes(CAPACITY_BYTES));
    group.bench_function("inflate", |b| {
        b.iter(|| {
            let mut reader = GrainReader::new(packed.as_slice()).unwrap();
            while let Some(grain) = reader.next_grain().unwrap() {
                black_box(grain.data());
            }
        });
    });
    for (name, level) in [("deflate", Level::default()), ("deflate, fastest", Level::FASTEST)] {
        group.bench_function(name, |b| b.iter(|| black_box(disk(level)).len()));
    }
    group.finish();
}

criterion_group!(benches, digests, grains);
criterion_main!(benches);

const CAPACITY_BYTES: u64 = 64 << 20;
const GRAIN_BYTES: u64 = 64 << 10;
const WORDS: [&str; 8] =
    ["lease ", "grain ", "manifest ", "disk ", "host ", "digest ", "table ", "envelope\n"];
