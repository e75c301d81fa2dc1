//! What parallel streams gain, and what they cost in memory.
//!
//! ```sh
//! cargo build --release -p ovftransfer-cli
//! cargo run --release -p ovftransfer-benches --bin scaling
//! ```
//!
//! Starts `ovftransfer simulate` with the scenarios of `fixtures/scenarios`, each in a process of
//! its own, and exports from it with one stream and with eight.  The wall time and the peak memory
//! of the exporting process are those that GNU time (`/usr/bin/time`) sees.
//!
//! Sealing an OVA writes all disks but one a second time, at the rate of the machine's disk, which
//! varies more than anything else here: the OVA is the median of three runs, and beside it stands
//! what the disk takes for as many bytes.  Ends with an error when a goal is missed.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]
#![expect(clippy::disallowed_methods, reason = "a real clock is what measures")]

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = program(&root)?;
    println!("{:<34} {:>8} {:>9} {:>10}", "run", "wall s", "MB/s", "peak MiB");

    let server = Server::start(&program, &root.join("fixtures/scenarios/eight-disks.json"))?;
    let one = server.export("eight", 1, "out")?;
    one.print("8 disks, --parallel 1");
    let eight = server.export("eight", 8, "out")?;
    eight.print("8 disks, --parallel 8");
    let mut archives = Vec::new();
    for _ in 0..ARCHIVES {
        let archive = server.export("eight", 8, "out.ova")?;
        archive.print("8 disks into an OVA, --parallel 8");
        archives.push(archive);
    }
    archives.sort_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
    let archive = archives.swap_remove(ARCHIVES / 2);
    let plain_s = write_plainly(archive.bytes)?;
    drop(server);

    let server = Server::start(&program, &root.join("fixtures/scenarios/large-disk.json"))?;
    let large = server.export("large", 8, "out")?;
    large.print("64 GiB capacity, 4 GiB of data");
    drop(server);

    println!();
    let mut missed = false;
    for (what, seconds, goal) in [
        ("into a folder, synced", eight.wall_s, GAIN_MIN),
        ("into an OVA, until the last byte", archive.streamed_s, GAIN_MIN),
        ("into an OVA, synced", archive.wall_s, SEALED_GAIN_MIN),
    ] {
        let gain = one.wall_s / seconds;
        println!("8 streams {what}: {gain:.2} times as fast as one (goal {goal})");
        missed |= gain < goal;
    }
    let sealing_s = archive.wall_s - archive.streamed_s;
    println!("sealing the OVA: {sealing_s:.2} s; as many bytes written and synced: {plain_s:.2} s");
    ensure!(!missed, "a gain is below its goal");
    for run in [&one, &eight, &archive, &large] {
        ensure!(run.peak_kib <= PEAK_KIB_MAX, "the peak memory is above the goal");
    }
    Ok(())
}

/// The binary under test, built beforehand so that it is the one that users build.
fn program(root: &Path) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let program = target.join("release/ovftransfer");
    ensure!(
        program.is_file(),
        "{} is missing: run `cargo build --release -p ovftransfer-cli` first",
        program.display()
    );
    Ok(program)
}

/// A simulator in a process of its own; stopped when dropped.
struct Server {
    process: Child,
    program: PathBuf,
    answers: serde_json::Value,
}

impl Server {
    fn start(program: &Path, scenario: &Path) -> Result<Self> {
        let mut process = Command::new(program)
            .args(["simulate", "--scenario"])
            .arg(scenario)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let answers = serde_json::from_str(&line)
            .with_context(|| format!("not what a ready simulator prints: {line}"))?;
        Ok(Self { process, program: program.to_owned(), answers })
    }

    fn field(&self, name: &str) -> Result<&str> {
        self.answers[name].as_str().with_context(|| format!("the simulator did not print {name}"))
    }

    fn export(&self, machine: &str, parallel: usize, output: &str) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let times = folder.path().join("time");
        let output = folder.path().join(output);
        let done = Command::new("/usr/bin/time")
            .args(["-f", "%e %M", "-o"])
            .arg(&times)
            .arg(&self.program)
            .arg("export")
            .arg(format!("/DC0/vm/{machine}"))
            .arg(&output)
            .args(["--parallel", &parallel.to_string(), "--per-host", &parallel.to_string()])
            .args(["-q", "--json"])
            .stderr(Stdio::inherit())
            .env("OVFTRANSFER_URL", self.field("url")?)
            .env("OVFTRANSFER_USERNAME", self.field("username")?)
            .env("OVFTRANSFER_PASSWORD", self.field("password")?)
            .env("OVFTRANSFER_THUMBPRINT", self.field("thumbprint")?)
            .output()
            .context("GNU time is needed (Debian package `time`)")?;
        ensure!(done.status.success(), "the export failed: {}", done.status);
        let bytes = size_of(&output)?;
        let streamed_s = streamed_s(&done.stdout)?;
        let text = fs::read_to_string(&times)?;
        let mut numbers = text.split_whitespace();
        let mut next = || numbers.next().context("GNU time printed too little");
        Ok(Run { wall_s: next()?.parse()?, peak_kib: next()?.parse()?, bytes, streamed_s })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is fine.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What one export took.
struct Run {
    wall_s: f64,
    peak_kib: u64,
    bytes: u64,
    /// Until the last byte had come and was proven.
    streamed_s: f64,
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "figures for a table")]
    fn print(&self, name: &str) {
        let rate = self.bytes as f64 / 1e6 / self.wall_s;
        let peak_mib = self.peak_kib as f64 / 1024.0;
        println!("{name:<34} {:>8.2} {rate:>9.1} {peak_mib:>10.1}", self.wall_s);
    }
}

/// What the report of an export says.
fn streamed_s(lines: &[u8]) -> Result<f64> {
    for line in String::from_utf8_lossy(lines).lines() {
        let object: serde_json::Value = serde_json::from_str(line)?;
        if object["type"] == "report" {
            let ms = object["streamed_ms"].as_f64().context("the report has no streamed_ms")?;
            return Ok(ms / 1000.0);
        }
    }
    anyhow::bail!("there is no report")
}

/// Seconds that the disk takes for so many bytes, written in one go and synced.
fn write_plainly(bytes: u64) -> Result<f64> {
    let mut file = tempfile::tempfile()?;
    let block: Vec<u8> =
        (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
    let from = Instant::now();
    let mut rest = bytes;
    while rest > 0 {
        let len = usize::try_from(rest).map_or(block.len(), |rest| rest.min(block.len()));
        file.write_all(&block[..len])?;
        rest -= len as u64;
    }
    file.sync_all()?;
    Ok(from.elapsed().as_secs_f64())
}

/// Bytes of a file, or of all files below a folder.
fn size_of(folder: &Path) -> Result<u64> {
    if folder.is_file() {
        return Ok(folder.metadata()?.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// How much faster eight streams must be than one, where each stream is throttled.
const GAIN_MIN: f64 = 7.6;

/// The same until an OVA is sealed: what came beside the first disk has to be written once more.
const SEALED_GAIN_MIN: f64 = 6.3;

/// How often the OVA is exported; the median counts.
const ARCHIVES: usize = 3;

/// The most memory that an export may use, in KiB.
const PEAK_KIB_MAX: u64 = 64 << 10;
