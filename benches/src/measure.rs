//! Runs programs and says what they took.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

/// A program with its arguments.
#[derive(Clone, Debug, Default)]
pub struct Program {
    words: Vec<OsString>,
    environment: Vec<(&'static str, String)>,
    folder: Option<PathBuf>,
}

impl Program {
    /// A program without arguments.
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        Self { words: vec![path.as_ref().to_owned()], ..Self::default() }
    }

    /// With one argument more.
    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.words.push(word.as_ref().to_owned());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// With these variables in its environment.
    #[must_use]
    pub fn envs(mut self, pairs: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.environment.extend(pairs);
        self
    }

    /// In this folder.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Runs it under GNU time.  Returns what that says, and what the program wrote.
    ///
    /// GNU time, and not this process, is the parent: a child begins with the memory of its parent,
    /// which is little there.
    ///
    /// # Errors
    ///
    /// There is no GNU time, or the program ends with another code than 0.
    #[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
    pub fn run(&self) -> Result<(Run, String)> {
        let times = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("/usr/bin/time");
        command.args(["-f", "%U %S %M", "-o"]).arg(times.path()).args(&self.words);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let started = std::time::Instant::now();
        let done = command.output().context("GNU time is needed (Debian package `time`)")?;
        let wall_s = started.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{} failed: {said}", self.name());
        let text = fs::read_to_string(times.path())?;
        let numbers: Vec<f64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .context("no times")?;
        let [user_s, system_s, peak_kib] = numbers[..] else { bail!("no times: {text}") };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole number")]
        let peak_kib = peak_kib as u64;
        let run = Run { wall_s, cpu_s: user_s + system_s, peak_kib, server_cpu_s: None };
        Ok((run, String::from_utf8_lossy(&done.stdout).into_owned()))
    }

    /// Runs it without GNU time, which takes a millisecond by itself; only the time is taken.
    ///
    /// # Errors
    ///
    /// The program ends with another code than 0.
    #[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
    pub fn time(&self) -> Result<Run> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdout(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let started = std::time::Instant::now();
        let status = command.status().with_context(|| self.name())?;
        let wall_s = started.elapsed().as_secs_f64();
        ensure!(status.success(), "{} failed: {status}", self.name());
        Ok(Run { wall_s, cpu_s: 0.0, peak_kib: 0, server_cpu_s: None })
    }

    /// The program and its arguments, for messages.
    fn name(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }
}

/// What a program took.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "filled in by the measurements")]
pub struct Run {
    /// From start to end, in seconds.
    pub wall_s: f64,
    /// User and system time, in seconds; to the hundredth.
    pub cpu_s: f64,
    /// Most memory it had, in KiB.
    pub peak_kib: u64,
    /// What the simulator took meanwhile, if there was one.
    pub server_cpu_s: Option<f64>,
}

/// One of those that are compared.
pub struct Contender<'w> {
    /// Its name in the table.
    pub name: String,
    /// What it has done so far.
    pub runs: Vec<Run>,
    work: Box<dyn FnMut() -> Result<Run> + 'w>,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, runs, work: _ } = self;
        f.debug_struct("Contender").field("name", name).field("runs", runs).finish_non_exhaustive()
    }
}

impl<'w> Contender<'w> {
    /// One whose `work` prepares and measures a run.
    pub fn new(name: impl Into<String>, work: impl FnMut() -> Result<Run> + 'w) -> Self {
        Self { name: name.into(), runs: Vec::new(), work: Box::new(work) }
    }

    /// Runs once.
    ///
    /// # Errors
    ///
    /// Those of the work.
    pub fn run(&mut self) -> Result<()> {
        let run = (self.work)().with_context(|| self.name.clone())?;
        self.runs.push(run);
        Ok(())
    }

    /// The median of something about the runs.
    pub fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(of).collect())
    }

    /// The most memory of all runs, in KiB.
    #[must_use]
    pub fn peak_kib(&self) -> u64 {
        self.runs.iter().map(|run| run.peak_kib).max().unwrap_or(0)
    }
}

/// Lets all contenders run in turns, the other way round each second time.
///
/// # Errors
///
/// Those of the runs.
pub fn rounds(contenders: &mut [Contender<'_>], pairs: usize) -> Result<()> {
    for round in 0..pairs {
        if round % 2 == 0 {
            contenders.iter_mut().try_for_each(Contender::run)?;
        } else {
            contenders.iter_mut().rev().try_for_each(Contender::run)?;
        }
    }
    Ok(())
}

/// The number in the middle, or between the two there; 0 of none.
#[must_use]
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        _ if numbers.is_empty() => 0.0,
        1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

/// The smallest and the largest number.
#[must_use]
pub fn bounds(numbers: &[f64]) -> (f64, f64) {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    (low, numbers.iter().copied().fold(0.0, f64::max))
}

/// Bytes of a file, or of all files below a folder.
///
/// # Errors
///
/// It cannot be read.
pub fn size_of(path: &Path) -> Result<u64> {
    if path.is_file() {
        return Ok(path.metadata()?.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += size_of(&entry?.path())?;
    }
    Ok(bytes)
}

/// Removes a file or a folder with all that is in it, if it is there: to overwrite one is another
/// work than to make it.
///
/// # Errors
///
/// It cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_bounds() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
        assert_eq!(bounds(&[2.0, 1.0, 3.0]), (1.0, 3.0));
    }

    #[test]
    fn each_second_round_runs_the_other_way() {
        let order = std::cell::RefCell::new(String::new());
        let contender = |name: &'static str| {
            let order = &order;
            Contender::new(name, move || {
                order.borrow_mut().push_str(name);
                Ok(Run { wall_s: 1.0, cpu_s: 1.0, peak_kib: 1, server_cpu_s: None })
            })
        };
        let mut contenders = [contender("a"), contender("b"), contender("c")];
        rounds(&mut contenders, 3).unwrap();
        assert_eq!(contenders[1].runs.len(), 3);
        drop(contenders);
        assert_eq!(order.into_inner(), "abccbaabc");
    }
}
