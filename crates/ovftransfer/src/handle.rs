//! The handle to a transfer that runs.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::meter::Meter;
use crate::report::Report;

/// A transfer that runs.
///
/// Dropping the handle cancels the transfer; its task still gives up the lease and removes what
/// was made, as long as the runtime lives.
#[derive(Debug)]
#[must_use = "dropping the handle cancels the transfer"]
pub struct Transfer {
    meter: Arc<Meter>,
    cancel: CancellationToken,
    task: JoinHandle<Result<Report, Error>>,
}

impl Transfer {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one task that outlives its handle: it has a lease to end"
    )]
    pub(crate) fn start<F>(work: impl FnOnce(Arc<Meter>, CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<Report, Error>> + Send + 'static,
    {
        let (meter, cancel) = (Arc::new(Meter::default()), CancellationToken::new());
        let task = tokio::spawn(work(Arc::clone(&meter), cancel.clone()));
        Self { meter, cancel, task }
    }

    /// The counters, to be read at any time.
    #[must_use]
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// A token that cancels the transfer, for signal handlers.
    #[must_use]
    pub fn canceller(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Stops the streams, gives up the lease and removes what was made.
    ///
    /// [`finish`](Self::finish) then says whether that went well.  Without effect once the lease
    /// is being completed.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// Why the transfer failed; by then the lease has been ended and everything removed.
    pub async fn finish(mut self) -> Result<Report, Error> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(join) => match join.try_into_panic() {
                // A defect of ours; it must not look like a failed transfer.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::CancelledUnclean {
                    left_behind: "the runtime was shut down before the lease was ended; the \
                                  server ends it when it times out"
                        .to_owned(),
                }),
            },
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
