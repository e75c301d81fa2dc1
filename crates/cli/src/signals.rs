//! Ctrl-C and its like.

use std::future::Future;
#[cfg(not(unix))]
use std::future::pending;
#[cfg(unix)]
use tokio::signal::unix::Signal;
#[cfg(unix)]
use tokio::signal::unix::SignalKind;
#[cfg(unix)]
use tokio::signal::unix::signal;

use crate::exit::Failure;

/// The requests to stop that reach the process: SIGINT, SIGTERM and SIGHUP, or Ctrl-C.
#[derive(Debug)]
pub(crate) struct Interrupts {
    /// The terminal is gone.  Shells say it to a job that the system has told already, so it never
    /// counts as the second request, which leaves at once.
    #[cfg(unix)]
    hangup: Option<Signal>,
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
}

impl Interrupts {
    /// From now on requests are heard; before, they end the process.
    #[cfg(unix)]
    pub(crate) fn listen() -> Result<Self, Failure> {
        let hear = |kind| {
            signal(kind).map_err(|error| Failure::local("cannot listen for signals", &error))
        };
        // A file that grows beyond the limit of `ulimit -f` would end the process with everything
        // under way; with somebody listening the write fails instead, for good once it was heard.
        drop(hear(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        Ok(Self {
            hangup: if may_hang_up() { Some(hear(SignalKind::hangup())?) } else { None },
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
        })
    }

    /// From now on requests are heard; before, they end the process.
    #[cfg(not(unix))]
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// Waits for the next request.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        let hung_up = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => None,
            }
        };
        tokio::select! {
            Some(()) = hung_up => {}
            Some(()) = self.interrupt.recv() => {}
            Some(()) = self.terminate.recv() => {}
            // The streams of signals never end.
            else => std::future::pending().await,
        }
        self.hangup = None;
    }

    /// Waits for the next request.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    }

    /// Does `work`, which has made nothing that would have to be removed, unless a request comes.
    pub(crate) async fn race<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            outcome = work => outcome,
            () = self.next() => Err(Failure::cancelled()),
        }
    }
}

/// Whether the end of the terminal is to end the process: not below `nohup`, which has it ignored.
#[cfg(target_os = "linux")]
fn may_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Who cannot tell leaves it as it is.
    ignored.is_some_and(|mask| mask & (1 << (rustix::process::Signal::HUP.as_raw() - 1)) == 0)
}

/// Elsewhere nothing says whether it is ignored, so that it stays as it is.
#[cfg(all(unix, not(target_os = "linux")))]
const fn may_hang_up() -> bool {
    false
}
