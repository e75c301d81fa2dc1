//! Blocking work on batches of bytes, in order, on the runtime's threads for blocking work.

use std::fmt;
use std::mem;

use bytes::Bytes;
use tokio::task::JoinHandle;

/// A piece of a stream: chunks as they came from the network or the disk, not copied.
pub(crate) type Batch = Vec<Bytes>;

/// Work that is done batch by batch.
pub(crate) trait Work: Send + 'static {
    /// What is left when the last batch is done.
    type Output: Send + 'static;
    /// Why the work stopped early.
    type Error: Send + 'static;

    /// Does one batch.
    fn batch(&mut self, batch: Batch) -> Result<(), Self::Error>;
    /// Called after the last batch.
    fn finish(self) -> Result<Self::Output, Self::Error>;
}

/// Does the work of one stream beside the async task: one batch is worked on while the next one is
/// being read.
///
/// No thread waits between batches, so a stalled stream costs none, and a paused test clock, which
/// stands still while blocking work runs, goes on.
pub(crate) struct Worker<W: Work>(State<W>);

enum State<W: Work> {
    Idle(W),
    Busy(JoinHandle<(W, Result<(), W::Error>)>),
    /// An error was told, or a wait was given up.
    Stopped,
}

impl<W: Work> fmt::Debug for Worker<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::Idle(_) => "idle",
            State::Busy(_) => "busy",
            State::Stopped => "stopped",
        };
        f.debug_tuple("Worker").field(&state).finish()
    }
}

impl<W: Work> Worker<W> {
    pub(crate) const fn new(work: W) -> Self {
        Self(State::Idle(work))
    }

    /// Hands over a batch; waits while the one before is worked on.
    ///
    /// The error is that of an earlier batch.  After an error, or when the wait is given up, there
    /// is nothing left to feed or finish.
    pub(crate) async fn feed(&mut self, batch: Batch) -> Result<(), W::Error> {
        let Some(mut work) = self.idle().await? else { return Ok(()) };
        self.0 = State::Busy(tokio::task::spawn_blocking(move || {
            let outcome = work.batch(batch);
            (work, outcome)
        }));
        Ok(())
    }

    /// Waits until all batches are done, and for what comes after the last one.
    ///
    /// `None` if the work has stopped before.
    pub(crate) async fn finish(&mut self) -> Result<Option<W::Output>, W::Error> {
        let Some(work) = self.idle().await? else { return Ok(None) };
        join(tokio::task::spawn_blocking(move || work.finish())).await.map(Some)
    }

    /// Waits until no batch is being worked on.
    async fn idle(&mut self) -> Result<Option<W>, W::Error> {
        match mem::replace(&mut self.0, State::Stopped) {
            State::Idle(work) => Ok(Some(work)),
            State::Busy(handle) => {
                let (work, outcome) = join(handle).await;
                outcome.map(|()| Some(work))
            }
            State::Stopped => Ok(None),
        }
    }
}

/// The outcome of blocking work.
pub(crate) async fn join<T>(handle: JoinHandle<T>) -> T {
    match handle.await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            // A defect; it must not look like a failed transfer.
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down: nobody is left to hear an answer.
            Err(_) => std::future::pending().await,
        },
    }
}
