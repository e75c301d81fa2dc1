//! Measures the writer, the check and the decoder on one core.
//!
//! ```text
//! cargo run --release -p ovftransfer-vmdk --example throughput
//! ```

#![expect(clippy::print_stdout, reason = "this is what the example is for")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
#![expect(clippy::cast_precision_loss, reason = "three digits are enough")]

use std::time::Instant;

use ovftransfer_vmdk::GrainDecoder;
use ovftransfer_vmdk::Level;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::StreamWriter;
use ovftransfer_vmdk::VmdkError;

const GRAIN_LEN: usize = 65_536;
const GRAINS: usize = 4096;

/// Bytes without a pattern.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step).take(GRAINS * GRAIN_LEN / 8).flatten().collect()
}

/// Numbers and words, which shrink to about a third.
fn text() -> Vec<u8> {
    let mut data = Vec::with_capacity(GRAINS * GRAIN_LEN);
    let mut line = 0_u64;
    while data.len() < GRAINS * GRAIN_LEN {
        line += 1;
        let number = line.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        data.extend_from_slice(format!("{line} device {number:x} is ready\n").as_bytes());
    }
    data.truncate(GRAINS * GRAIN_LEN);
    data
}

/// Writes, checks and decodes one disk, and prints the rates in MB/s.
fn measure(name: &str, data: &[u8], options: Options) -> Result<(), VmdkError> {
    let capacity_bytes = data.len() as u64;
    let rate = |bytes: usize, start: Instant| bytes as f64 / 1e6 / start.elapsed().as_secs_f64();

    // The sink must not be what is measured: its pages are touched beforehand.
    let mut sink = vec![1; data.len() + (64 << 20)];
    sink.clear();
    let start = Instant::now();
    let mut writer = StreamWriter::new(sink, capacity_bytes, options)?;
    for (number, grain) in (0..).zip(data.chunks(GRAIN_LEN)) {
        writer.write_grain(number * 128, grain)?;
    }
    let (file, _) = writer.finish()?;
    let written = rate(data.len(), start);

    let start = Instant::now();
    let mut check = StreamCheck::new();
    for chunk in file.chunks(256 * 1024) {
        check.push(chunk)?;
    }
    check.finish()?;
    let checked = rate(file.len(), start);

    let start = Instant::now();
    let mut decoder = GrainDecoder::new();
    for chunk in file.chunks(256 * 1024) {
        decoder.push(chunk, &mut |_, _| Ok(()))?;
    }
    decoder.finish()?;
    let decoded = rate(data.len(), start);

    let ratio = file.len() as f64 / data.len() as f64;
    println!(
        "{name:28} level {:2}  ratio {ratio:.3}  write {written:6.0}  check {checked:8.0}  decode {decoded:6.0}",
        options.level.number(),
    );
    Ok(())
}

fn main() -> Result<(), VmdkError> {
    let (noise, text) = (noise(), text());
    println!("MB/s of disk data for write and decode, of file for check");
    for level in [1, 2, 6].into_iter().filter_map(Level::new) {
        let options = Options::default().level(level);
        measure("text", &text, options)?;
        measure("noise", &noise, options)?;
        measure("noise, stored when found", &noise, options.store_incompressible(true))?;
    }
    // Grains of one sector: the most markers that the check can meet.
    measure("one byte repeated", &vec![7; GRAINS * GRAIN_LEN], Options::default())?;
    measure("noise", &noise, Options::default().level(Level::STORE))
}
