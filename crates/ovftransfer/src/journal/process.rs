//! Which process wrote a journal, and whether it still runs.

use std::fs;

use serde::Deserialize;
use serde::Serialize;

/// A process, told from every other: ids are given again, and so are they after each start of the
/// system.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it was started, in ticks since the start of the system, where that can be told.
    pub(crate) start: Option<u64>,
    /// Which start of the system it belongs to, where that can be told.
    pub(crate) boot: Option<String>,
    /// The name of the machine.
    pub(crate) host: Option<String>,
}

/// What is known of a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Life {
    Alive,
    /// It is gone, or, where that cannot be told, holds no lock.
    Dead,
    /// It was one of another machine, of which nothing is known here.
    Elsewhere,
}

impl Process {
    /// This one.
    pub(crate) fn current() -> Self {
        let pid = std::process::id();
        let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Self { pid, start: start_of(pid), boot: line(BOOT_ID), host: line(HOST_NAME) }
    }

    /// Whether it still runs, as seen by `here`.
    pub(crate) fn life(&self, here: &Self) -> Life {
        self.judge(here, start_of)
    }

    fn judge(&self, here: &Self, start_of: impl Fn(u32) -> Option<u64>) -> Life {
        let (Some(boot), Some(now)) = (&self.boot, &here.boot) else { return Life::Dead };
        if boot == now {
            let runs = self.start.is_some() && start_of(self.pid) == self.start;
            return if runs { Life::Alive } else { Life::Dead };
        }
        // The same machine, started anew.
        if self.host.is_some() && self.host == here.host { Life::Dead } else { Life::Elsewhere }
    }
}

/// When a process was started: the 22nd field of `/proc/PID/stat`, of which the second, the name,
/// may hold blanks and brackets.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// A number that the kernel draws at each start.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

const HOST_NAME: &str = "/proc/sys/kernel/hostname";

#[cfg(test)]
mod tests {
    use super::*;

    fn process(start: Option<u64>, boot: &str, host: &str) -> Process {
        let (boot, host) = (Some(boot.to_owned()), Some(host.to_owned()));
        Process { pid: 7, start, boot, host }
    }

    #[test]
    fn a_process_is_told_from_its_successors() {
        let here = process(None, "b2", "vault");
        let runs = |start: Option<u64>| move |_: u32| start;
        let then = process(Some(40), "b2", "vault");
        assert_eq!(then.judge(&here, runs(Some(40))), Life::Alive);
        assert_eq!(then.judge(&here, runs(Some(41))), Life::Dead, "the id was given again");
        assert_eq!(then.judge(&here, runs(None)), Life::Dead);
        let before = process(Some(40), "b1", "vault");
        assert_eq!(before.judge(&here, runs(Some(40))), Life::Dead, "the system was started anew");
        let other = process(Some(40), "b1", "barn");
        assert_eq!(other.judge(&here, runs(None)), Life::Elsewhere);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_runs() {
        let here = Process::current();
        assert!(here.start.is_some() && here.boot.is_some());
        assert_eq!(here.life(&here), Life::Alive);
    }
}
