//! What parallel streams gain, and what they cost in memory.
//!
//! ```sh
//! cargo build --release -p ovftransfer-cli
//! cargo run --release -p ovftransfer-benches --bin scaling
//! ```
//!
//! Starts `ovftransfer simulate` with the scenarios of `fixtures/scenarios`, each in a process of
//! its own, and exports from it with one stream and with eight.  The wall time and the peak memory
//! of the exporting process are those that GNU time (`/usr/bin/time`) sees.  Ends with an error
//! when a goal is missed.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = program(&root)?;
    println!("{:<34} {:>8} {:>9} {:>10}", "run", "wall s", "MB/s", "peak MiB");

    let server = Server::start(&program, &root.join("fixtures/scenarios/eight-disks.json"))?;
    let one = server.export("eight", 1)?;
    one.print("8 disks, --parallel 1");
    let eight = server.export("eight", 8)?;
    eight.print("8 disks, --parallel 8");
    drop(server);

    let server = Server::start(&program, &root.join("fixtures/scenarios/large-disk.json"))?;
    let large = server.export("large", 8)?;
    large.print("64 GiB capacity, 4 GiB of data");
    drop(server);

    let gain = one.wall_s / eight.wall_s;
    println!("\n8 streams are {gain:.2} times as fast as one (goal {GAIN_MIN})");
    ensure!(gain >= GAIN_MIN, "the gain is below the goal");
    for run in [&one, &eight, &large] {
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

    fn export(&self, machine: &str, parallel: usize) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let times = folder.path().join("time");
        let status = Command::new("/usr/bin/time")
            .args(["-f", "%e %M", "-o"])
            .arg(&times)
            .arg(&self.program)
            .arg("export")
            .arg(format!("/DC0/vm/{machine}"))
            .arg(folder.path().join("out"))
            .args(["--parallel", &parallel.to_string(), "--per-host", &parallel.to_string()])
            .arg("-q")
            .env("OVFTRANSFER_URL", self.field("url")?)
            .env("OVFTRANSFER_USERNAME", self.field("username")?)
            .env("OVFTRANSFER_PASSWORD", self.field("password")?)
            .env("OVFTRANSFER_THUMBPRINT", self.field("thumbprint")?)
            .status()
            .context("GNU time is needed (Debian package `time`)")?;
        ensure!(status.success(), "the export failed: {status}");
        let bytes = size_of(&folder.path().join("out"))?;
        let text = fs::read_to_string(&times)?;
        let mut numbers = text.split_whitespace();
        let mut next = || numbers.next().context("GNU time printed too little");
        Ok(Run { wall_s: next()?.parse()?, peak_kib: next()?.parse()?, bytes })
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
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "figures for a table")]
    fn print(&self, name: &str) {
        let rate = self.bytes as f64 / 1e6 / self.wall_s;
        let peak_mib = self.peak_kib as f64 / 1024.0;
        println!("{name:<34} {:>8.2} {rate:>9.1} {peak_mib:>10.1}", self.wall_s);
    }
}

/// Bytes of all files below a folder.
fn size_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size_of(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// How much faster eight streams must be than one, where each stream is throttled.
const GAIN_MIN: f64 = 7.0;

/// The most memory that an export may use, in KiB.
const PEAK_KIB_MAX: u64 = 64 << 10;
