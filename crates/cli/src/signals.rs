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

/// The requests to stop that reach the process: SIGINT and SIGTERM, or Ctrl-C.
#[derive(Debug)]
pub(crate) struct Interrupts {
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
        tokio::select! {
            Some(()) = self.interrupt.recv() => {}
            Some(()) = self.terminate.recv() => {}
            // The streams of signals never end.
            else => std::future::pending().await,
        }
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
