//! This project beside the others, on the same data, in turns.
//!
//! ```sh
//! cargo build --release -p ovftransfer-cli
//! cargo run --release -p ovftransfer-benches --bin peers -- [--pairs 5] [--mib 1024] [--json FILE]
//!     [--markdown] [--only export,import] [--folder DIR] [--smoke]
//! ```
//!
//! The others are `govc` and `curl` with the same simulator (TLS, a host that keeps nothing and serves
//! from memory), `openssl`, `tar` and `qemu-img` with the same files; one that is missing is named and
//! left out.  They run one after the other and the other way round each second time, each in a
//! process of its own; of each round the ratios are taken, and what is printed are medians.  Files
//! are written to `/dev/shm` unless `--folder` says otherwise: a disk would be what is measured.
//!
//! Ends with an error when a goal is missed; with `--smoke`, which runs everything once on little
//! data, there are no goals.  The group `build` runs only if it is named: it takes minutes.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

mod capped;
mod files;
mod many;
mod memory;
mod start;
mod streams;

use std::fs;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ovftransfer_benches::measure::Contender;
use ovftransfer_benches::measure::Program;
use ovftransfer_benches::measure::rounds;
use ovftransfer_benches::peer;
use ovftransfer_benches::table::Report;
use serde_json::Value;
use serde_json::json;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["many", machines, streams, folder] = words[..] {
        return many::export_all(machines.parse()?, streams.parse()?, Path::new(folder));
    }
    let arguments = Arguments::parse(&words)?;
    let temp = tempfile::tempdir_in(&arguments.folder)?;
    let mut bench = Bench {
        program: peer::ours()?,
        folder: temp.path().to_owned(),
        mib: arguments.mib,
        pairs: arguments.pairs,
        smoke: arguments.smoke,
        cores: std::thread::available_parallelism()?.get(),
        report: Report::default(),
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.trim().to_owned();
    bench.report.note(machine(&bench, &arguments, &load));
    for (name, run) in GROUPS {
        let is_named = arguments.only.iter().any(|only| only == name);
        if is_named || (arguments.only.is_empty() && name != "build") {
            run(&mut bench).with_context(|| name.to_owned())?;
        }
    }
    let report = bench.report;
    if arguments.markdown {
        print!("{}", report.to_markdown());
    } else {
        print!("{}", report.to_text());
    }
    if let Some(path) = &arguments.json {
        let mut object = report.to_json();
        if let Value::Object(fields) = &mut object {
            fields.insert("load_before".to_owned(), json!(load));
            fields.insert("pairs".to_owned(), json!(arguments.pairs));
            fields.insert("mib".to_owned(), json!(arguments.mib));
        }
        writeln!(File::create(path)?, "{object:#}")?;
    }
    let missed = report.missed();
    ensure!(missed.is_empty(), "goals missed: {}", missed.join("; "));
    Ok(())
}

struct Arguments {
    pairs: usize,
    mib: u64,
    json: Option<PathBuf>,
    markdown: bool,
    only: Vec<String>,
    folder: PathBuf,
    smoke: bool,
}

impl Arguments {
    fn parse(words: &[&str]) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let mut arguments = Self {
            pairs: 5,
            mib: 1024,
            json: None,
            markdown: false,
            only: Vec::new(),
            folder,
            smoke: false,
        };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word {
                "--pairs" => arguments.pairs = value()?.parse()?,
                "--mib" => arguments.mib = value()?.parse()?,
                "--json" => arguments.json = Some(value()?.into()),
                "--folder" => arguments.folder = value()?.into(),
                "--only" => arguments.only = value()?.split(',').map(str::to_owned).collect(),
                "--markdown" => arguments.markdown = true,
                "--smoke" => {
                    arguments.smoke = true;
                    (arguments.pairs, arguments.mib) = (1, 16);
                }
                _ => bail!(
                    "{word}: known are --pairs, --mib, --json, --folder, --only, --markdown and --smoke"
                ),
            }
        }
        ensure!(arguments.pairs > 0 && arguments.mib > 0, "at least one pair of one MiB is needed");
        for only in &arguments.only {
            let known: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
            ensure!(known.contains(&only.as_str()), "{only}: the groups are {}", known.join(", "));
        }
        Ok(arguments)
    }
}

/// What all groups share.
struct Bench {
    program: PathBuf,
    /// For files; empty at the start of a group, and it may leave what it likes.
    folder: PathBuf,
    mib: u64,
    pairs: usize,
    smoke: bool,
    cores: usize,
    report: Report,
}

impl Bench {
    /// Our program.
    fn ours(&self) -> Program {
        Program::new(&self.program)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Somebody else's program; `None`, and a remark, if it is missing.
    fn peer(&mut self, name: &str) -> Option<PathBuf> {
        let found = peer::find(name);
        if found.is_none() {
            self.report.note(format!("{name} is missing, and left out"));
        }
        found
    }

    /// Lets the contenders run once to get warm, and then in turns.
    fn compare(&mut self, title: &str, contenders: &mut [Contender<'_>], bytes: u64) -> Result<()> {
        if !self.smoke {
            for contender in &mut *contenders {
                contender.run()?;
                contender.runs.clear();
            }
        }
        rounds(contenders, self.pairs)?;
        self.report.group(title, contenders, bytes);
        Ok(())
    }
}

/// The machine, the day and what was asked for.
fn machine(bench: &Bench, arguments: &Arguments, load: &str) -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let day = Program::new("date").arg("-u").arg("+%F").run().map(|(_, day)| day);
    format!(
        "{} cores of {}, {}, load {load}; {} MiB, {} pairs, files in {}",
        bench.cores,
        model.unwrap_or("an unknown kind"),
        day.unwrap_or_default().trim(),
        arguments.mib,
        arguments.pairs,
        arguments.folder.display(),
    )
}

/// Runs one group of measurements.
type Run = fn(&mut Bench) -> Result<()>;

/// In this order.
const GROUPS: [(&str, Run); 10] = [
    ("start", start::run),
    ("export", streams::export),
    ("import", streams::import),
    ("verify", files::verify),
    ("convert", files::convert),
    ("tar", files::tar),
    ("memory", memory::run),
    ("many", many::run),
    ("capped", capped::run),
    ("build", start::build),
];
