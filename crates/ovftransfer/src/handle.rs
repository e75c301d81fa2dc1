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
pub struct Transfer<T = Report> {
    meter: Arc<Meter>,
    cancel: CancellationToken,
    task: JoinHandle<Result<T, Error>>,
    left_at_shutdown: &'static str,
}

impl<T: Send + 'static> Transfer<T> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one task that outlives its handle: it has a lease to end, or files to remove"
    )]
    pub(crate) fn start<F>(
        left_at_shutdown: &'static str,
        work: impl FnOnce(Arc<Meter>, CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (meter, cancel) = (Arc::new(Meter::default()), CancellationToken::new());
        let task = tokio::spawn(work(Arc::clone(&meter), cancel.clone()));
        Self { meter, cancel, task, left_at_shutdown }
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
    pub async fn finish(mut self) -> Result<T, Error> {
        match (&mut self.task).await {
            Ok(outcome) => outcome,
            Err(join) => match join.try_into_panic() {
                // A defect of ours; it must not look like a failed transfer.
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => {
                    Err(Error::CancelledUnclean { left_behind: self.left_at_shutdown.to_owned() })
                }
            },
        }
    }
}

impl<T> Drop for Transfer<T> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// What is left when the runtime ends before a transfer under a lease does.
pub(crate) const LEASE_AT_SHUTDOWN: &str = "the runtime was shut down before the lease was ended; \
                                            the server ends it when it times out";
