//! Disks beside qemu-img: how fast, how large, how much memory.
//!
//! ```sh
//! cargo run --release -p ovftransfer-benches --bin disks -- [--mib 1024] [--pairs 5] [--json FILE]
//! ```
//!
//! With `--features isal` behind `-p ovftransfer-benches`, ISA-L is measured, too.
//!
//! Makes a file system of the programs and libraries of this machine (`--mib` of them, or takes a raw
//! image by `--image FILE`), and converts it to stream-optimized VMDK and back, with qemu-img and
//! with this project in turns, each run in a process of its own.  Of each round the ratios are
//! taken, so that a machine that gets slower does so for both; what is printed are their medians, and
//! the least and the largest.  Time, CPU and memory are those that GNU time sees.  Ends with an error
//! when a goal is missed.
//!
//! Neither side waits until its file is on the disk: `qemu-img convert` flushes nothing unless it is
//! told to (`-t writeback`), and the conversions of this project leave that to their callers.  To raw
//! is measured both ways, for `ovftransfer convert` does sync; how fast that is the disk says, so it
//! has no goal.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]
#![expect(clippy::cast_precision_loss, reason = "three digits are enough")]

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ovftransfer_benches::image::make_image;
use ovftransfer_benches::measure::Program;
use ovftransfer_benches::measure::Run;
use ovftransfer_benches::measure::bounds;
use ovftransfer_benches::measure::median;
use ovftransfer_vmdk::DeepCheck;
use ovftransfer_vmdk::Level;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::open_image;
use ovftransfer_vmdk::to_raw;
use ovftransfer_vmdk::to_stream;
use serde_json::Value;
use serde_json::json;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["pack", level, from, to] => pack(level, from.as_ref(), to.as_ref()),
        ["unpack", from, to] => unpack(from.as_ref(), to.as_ref()).map(drop),
        ["unpack-synced", from, to] => Ok(unpack(from.as_ref(), to.as_ref())?.sync_all()?),
        ["structure", file] => structure(file.as_ref()),
        ["deep", file] => deep(file.as_ref()),
        _ => compare(&Arguments::parse(&words)?),
    }
}

// The work of the processes that are measured.

fn pack(level: &str, from: &Path, to: &Path) -> Result<()> {
    let level = match level {
        #[cfg(feature = "isal")]
        "turbo" => Level::TURBO,
        level => Level::new(level.parse()?).context("levels end at 12")?,
    };
    let source = open_image(from, None)?;
    let go_on = &mut |_| ControlFlow::Continue(());
    to_stream(&*source, File::create(to)?, Options::default().level(level), go_on)?;
    Ok(())
}

fn unpack(from: &Path, to: &Path) -> Result<File> {
    let source = open_image(from, None)?;
    let go_on = &mut |_| ControlFlow::Continue(());
    let file = File::create(to)?;
    to_raw(&*source, &file, Options::default(), go_on)?;
    Ok(file)
}

/// Prints the rate in MB/s of one core, without the time for reading the file.
#[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
fn structure(path: &Path) -> Result<()> {
    let (mut bytes, mut seconds) = (0_u64, 0.0);
    let mut buffer = vec![0; CHUNK_LEN];
    for _ in 0..STRUCTURE_ROUNDS {
        let mut file = File::open(path)?;
        let mut check = StreamCheck::new();
        loop {
            let len = file.read(&mut buffer)?;
            let started = std::time::Instant::now();
            if len == 0 {
                bytes += check.finish()?.file_bytes();
                break;
            }
            check.push(&buffer[..len])?;
            seconds += started.elapsed().as_secs_f64();
        }
    }
    println!("{}", bytes as f64 / seconds / 1e6);
    Ok(())
}

fn deep(path: &Path) -> Result<()> {
    let mut file = File::open(path)?;
    let mut check = DeepCheck::new(None);
    let mut buffer = vec![0; CHUNK_LEN];
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            check.finish()?;
            return Ok(());
        }
        check.push(&buffer[..len])?;
    }
}

// The comparison.

struct Arguments {
    mib: u64,
    pairs: usize,
    image: Option<PathBuf>,
    folder: PathBuf,
    json: Option<PathBuf>,
}

impl Arguments {
    fn parse(words: &[&str]) -> Result<Self> {
        let mut arguments =
            Self { mib: 1024, pairs: 5, image: None, folder: std::env::temp_dir(), json: None };
        for pair in words.chunks(2) {
            match *pair {
                ["--mib", number] => arguments.mib = number.parse()?,
                ["--pairs", number] => arguments.pairs = number.parse()?,
                ["--image", path] => arguments.image = Some(path.into()),
                ["--folder", path] => arguments.folder = path.into(),
                ["--json", path] => arguments.json = Some(path.into()),
                _ => bail!(
                    "known are --mib, --pairs, --image, --folder and --json, each with a value"
                ),
            }
        }
        ensure!(arguments.pairs > 0, "at least one pair is needed");
        Ok(arguments)
    }
}

/// One of the programs that are compared.
struct Contender {
    name: &'static str,
    /// Program and arguments.
    words: Vec<String>,
    output: PathBuf,
    /// At least so many times as fast as the first contender,
    speed_min: f64,
    /// at no more than this much of its size.
    size_max: f64,
    runs: Vec<Run>,
}

impl Contender {
    fn new(name: &'static str, words: Vec<String>, output: PathBuf, speed_min: f64) -> Self {
        Self { name, words, output, speed_min, size_max: 1.0, runs: Vec::new() }
    }

    fn run(&mut self) -> Result<()> {
        // A new file each time: to overwrite one is another work.
        if self.output.exists() {
            fs::remove_file(&self.output)?;
        }
        self.runs.push(run(&self.words)?.0);
        Ok(())
    }

    fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(of).collect())
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(fs::metadata(&self.output)?.len())
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir_in(&arguments.folder)?;
    let path = |name: &str| folder.path().join(name);
    let image = match &arguments.image {
        Some(image) => image.clone(),
        None => make_image(folder.path(), arguments.mib)?,
    };
    let program = std::env::current_exe()?;
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let own = |rest: &[&str]| words(&[&[program.to_str().unwrap_or_default()], rest].concat());
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
    let raw = text(&image)?;

    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load.trim());
    let mut packers = Vec::new();
    let output = path("theirs.vmdk");
    let qemu =
        ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"];
    let theirs = text(&output)?;
    let qemu = words(&[&qemu[..], &[&raw, &theirs]].concat());
    packers.push(Contender::new("qemu-img", qemu, output, 1.0));
    let default = Level::default().number();
    for (name, level, speed_min, size_max) in [
        ("fastest", Level::FASTEST.number(), 9.0, 1.09),
        ("default", default, 7.0, 1.03),
        ("level 6", 6, 4.5, 1.0),
    ] {
        let output = path(&format!("ours-{level}.vmdk"));
        let words = own(&["pack", &level.to_string(), &raw, &text(&output)?]);
        packers.push(Contender { size_max, ..Contender::new(name, words, output, speed_min) });
    }
    if let Some((level, size_max)) = TURBO {
        let output = path("ours-turbo.vmdk");
        let words = own(&["pack", level, &raw, &text(&output)?]);
        packers.push(Contender { size_max, ..Contender::new("ISA-L", words, output, 15.0) });
    }
    rounds(&mut packers, arguments.pairs)?;
    for packed in &packers[1..] {
        run(&words(&["qemu-img", "check", "-q", &text(&packed.output)?]))?;
        run(&words(&["qemu-img", "compare", "-q", "-f", "raw", &raw, &text(&packed.output)?]))?;
    }

    let packed = text(&path(&format!("ours-{default}.vmdk")))?;
    let unpackers = |cache: &str, action: &str, speed_min| -> Result<[Contender; 2]> {
        let (theirs, ours) = (path("theirs.raw"), path("ours.raw"));
        let to = text(&theirs)?;
        let qemu = ["qemu-img", "convert", "-t", cache, "-f", "vmdk", "-O", "raw", &packed, &to];
        let mut pair = [
            Contender::new("qemu-img", words(&qemu), theirs, 1.0),
            Contender::new("to raw", own(&[action, &packed, &text(&ours)?]), ours, speed_min),
        ];
        rounds(&mut pair, arguments.pairs)?;
        for unpacked in &pair {
            run(&words(&["cmp", &raw, &text(&unpacked.output)?]))?;
        }
        Ok(pair)
    };
    let plain = unpackers("unsafe", "unpack", 3.0)?;
    let synced = unpackers("writeback", "unpack-synced", 0.0)?;

    let deep = (0..arguments.pairs).map(|_| Ok(run(&own(&["deep", &packed]))?.0));
    let deep = deep.collect::<Result<Vec<_>>>()?;
    let (_, rate) = run(&own(&["structure", &packed]))?;
    let structure_mb_s: f64 = rate.trim().parse().context("no rate")?;

    let data_bytes = populated(Path::new(&packed))?;
    println!("{:.2} GB of data", data_bytes as f64 / 1e9);
    let mut missed = Vec::new();
    let mut results = table("to stream-optimized VMDK", &packers, data_bytes, &mut missed)?;
    results.extend(table("to raw", &plain, data_bytes, &mut missed)?);
    results.extend(table("to raw, on the disk", &synced, data_bytes, &mut missed)?);
    let wall_s = median(deep.iter().map(|run| run.wall_s).collect());
    let cpu_s = median(deep.iter().map(|run| run.cpu_s).collect());
    let peak_kib = deep.iter().map(|run| run.peak_kib).max().unwrap_or(0);
    let rate = data_bytes as f64 / 1e6 / wall_s;
    println!("\ndeep check: {rate:.0} MB/s, {cpu_s:.2} s of CPU in {wall_s:.2} s, {peak_kib} KiB");
    println!("structure check: {structure_mb_s:.0} MB/s on one core (goal {STRUCTURE_MB_S_MIN})");
    if structure_mb_s < STRUCTURE_MB_S_MIN {
        missed.push("structure check".to_owned());
    }
    if let Some(path) = &arguments.json {
        let deep = json!({ "wall_s": wall_s, "cpu_s": cpu_s, "peak_kib": peak_kib });
        let report = json!({
            "load": load.trim(),
            "pairs": arguments.pairs,
            "data_bytes": data_bytes,
            "runs": results,
            "deep_check": deep,
            "structure_mb_s": structure_mb_s,
            "missed": missed,
        });
        writeln!(File::create(path)?, "{report:#}")?;
    }
    ensure!(missed.is_empty(), "goals missed: {}", missed.join(", "));
    Ok(())
}

/// Lets all contenders run in turns, the other way round each second time.
fn rounds(contenders: &mut [Contender], pairs: usize) -> Result<()> {
    for round in 0..pairs {
        if round % 2 == 0 {
            contenders.iter_mut().try_for_each(Contender::run)?;
        } else {
            contenders.iter_mut().rev().try_for_each(Contender::run)?;
        }
    }
    Ok(())
}

/// Prints what the contenders did beside the first one.  Returns the same as values.
fn table(
    title: &str,
    contenders: &[Contender],
    data_bytes: u64,
    missed: &mut Vec<String>,
) -> Result<Vec<Value>> {
    println!(
        "\n{title:<26} {:>8} {:>8} {:>8} {:>7} {:>13} {:>7} {:>9}",
        "wall s", "CPU s", "MB/s", "times", "(min to max)", "size", "peak MiB"
    );
    let first = &contenders[0];
    let first_bytes = first.size_bytes()?;
    let mut results = Vec::new();
    for contender in contenders {
        let pairs = first.runs.iter().zip(&contender.runs);
        let ratios: Vec<f64> = pairs.map(|(first, run)| first.wall_s / run.wall_s).collect();
        let (low, high) = bounds(&ratios);
        let times = median(ratios);
        let wall_s = contender.median(|run| run.wall_s);
        let cpu_s = contender.median(|run| run.cpu_s);
        let peak_kib = contender.runs.iter().map(|run| run.peak_kib).max().unwrap_or(0);
        let size_bytes = contender.size_bytes()?;
        let size = size_bytes as f64 / first_bytes as f64;
        let rate = data_bytes as f64 / 1e6 / wall_s;
        println!(
            "{:<26} {wall_s:8.2} {cpu_s:8.2} {rate:8.0} {times:7.2} {:>13} {size:7.4} {:9.1}",
            contender.name,
            format!("({low:.2} to {high:.2})"),
            peak_kib as f64 / 1024.0,
        );
        let ours = contender.name != first.name;
        let good =
            times >= contender.speed_min && size <= contender.size_max && peak_kib <= PEAK_KIB_MAX;
        if ours && !good {
            missed.push(format!("{title}, {}", contender.name));
        }
        results.push(json!({
            "what": title,
            "who": contender.name,
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "times": times,
            "times_min": low,
            "times_max": high,
            "times_goal": contender.speed_min,
            "size_bytes": size_bytes,
            "size": size,
            "size_goal": contender.size_max,
            "peak_kib": peak_kib,
        }));
    }
    Ok(results)
}

fn run(words: &[String]) -> Result<(Run, String)> {
    Program::new(&words[0]).args(&words[1..]).run()
}

/// Bytes of the disk that are not in zero grains.
fn populated(path: &Path) -> Result<u64> {
    let mut check = StreamCheck::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CHUNK_LEN];
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            return Ok(check.finish()?.populated_bytes());
        }
        check.push(&buffer[..len])?;
    }
}

/// The level of ISA-L and the size that it may make, if it was built in (`--features isal`).
const TURBO: Option<(&str, f64)> =
    if cfg!(feature = "isal") { Some(("turbo", 1.09)) } else { None };

/// As a transfer pushes them.
const CHUNK_LEN: usize = 256 << 10;

/// So that the clock's own cost does not matter.
const STRUCTURE_ROUNDS: usize = 5;

/// On one core.
const STRUCTURE_MB_S_MIN: f64 = 2000.0;

/// At any size of a disk.
const PEAK_KIB_MAX: u64 = 64 << 10;
