//! Blocking work on batches of bytes, in order, on the runtime's threads for blocking work.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;
use tokio::sync::Notify;
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

/// Does the work of one stream beside the async task, which is a few batches ahead of it.
///
/// No thread waits for batches: the one that works goes on as long as there is something to do, and
/// is given back then.  So a stalled stream costs none, and a paused test clock, which stands still
/// while blocking work runs, goes on.
pub(crate) struct Worker<W: Work>(State<W>);

enum State<W: Work> {
    Idle(W),
    Busy {
        job: JoinHandle<(W, Result<(), W::Error>)>,
        line: Arc<Line>,
    },
    /// An error was told, or a wait was given up.
    Stopped,
}

impl<W: Work> fmt::Debug for Worker<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::Idle(_) => "idle",
            State::Busy { .. } => "busy",
            State::Stopped => "stopped",
        };
        f.debug_tuple("Worker").field(&state).finish()
    }
}

impl<W: Work> Worker<W> {
    pub(crate) const fn new(work: W) -> Self {
        Self(State::Idle(work))
    }

    /// Hands over a batch; waits while [`WAITING_MAX`] others wait for the thread.
    ///
    /// The error is that of an earlier batch.  After an error, or when the wait is given up, there
    /// is nothing left to feed or finish.
    pub(crate) async fn feed(&mut self, batch: Batch) -> Result<(), W::Error> {
        // Whoever gives up the wait has lost a batch.
        let state = mem::replace(&mut self.0, State::Stopped);
        let mut batch = batch;
        if let State::Busy { line, .. } = &state {
            match line.add(batch).await {
                Ok(()) => {
                    self.0 = state;
                    return Ok(());
                }
                Err(late) => batch = late,
            }
        }
        self.0 = state;
        let Some(mut work) = self.idle().await? else { return Ok(()) };
        let line = Arc::new(Line::new(batch));
        let waiting = TakenFrom(Arc::clone(&line));
        let job = tokio::task::spawn_blocking(move || {
            while let Some(batch) = waiting.0.next() {
                if let Err(error) = work.batch(batch) {
                    return (work, Err(error));
                }
            }
            (work, Ok(()))
        });
        self.0 = State::Busy { job, line };
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
            State::Busy { job, line: _ } => {
                let (work, outcome) = join(job).await;
                outcome.map(|()| Some(work))
            }
            State::Stopped => Ok(None),
        }
    }
}

/// Batches that wait for the thread that works on the ones before.
struct Line {
    /// `None` when the thread takes no more.
    batches: Mutex<Option<VecDeque<Batch>>>,
    /// Told when a batch was taken, or none will be any more.
    taken: Notify,
}

impl Line {
    fn new(first: Batch) -> Self {
        Self { batches: Mutex::new(Some(VecDeque::from([first]))), taken: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Batch>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a batch at the end, as soon as there is room; gives it back if it came too late.
    async fn add(&self, batch: Batch) -> Result<(), Batch> {
        loop {
            match &mut *self.lock() {
                None => return Err(batch),
                Some(waiting) if waiting.len() < WAITING_MAX => {
                    waiting.push_back(batch);
                    return Ok(());
                }
                Some(_) => {}
            }
            // One that was taken in between has left its permit.
            self.taken.notified().await;
        }
    }

    /// The next batch; when there is none, there will be none.
    fn next(&self) -> Option<Batch> {
        let mut waiting = self.lock();
        let next = waiting.as_mut().and_then(VecDeque::pop_front);
        if next.is_none() {
            *waiting = None;
        }
        drop(waiting);
        self.taken.notify_one();
        next
    }

    fn close(&self) {
        *self.lock() = None;
        self.taken.notify_one();
    }
}

/// A line as its thread has it: closed when the thread ends, by a panic too, so that nobody waits for
/// it in vain.
struct TakenFrom(Arc<Line>);

impl Drop for TakenFrom {
    fn drop(&mut self) {
        self.0.close();
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

/// Batches that wait beside the one that is worked on: the thread is woken once for several where it
/// is the slower part, and nobody stands still because a thread of a busy machine wakes late.  With
/// two of them an export that hashes twice took a tenth longer on two cores.  At 256 KiB each, which
/// both workers of a stream share but for one, eight streams stay within 14 MiB.
const WAITING_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Notes what it gets, one batch for each word on its channel; refuses an empty batch.
    struct Notes {
        go: mpsc::Receiver<()>,
        bytes: Vec<u8>,
    }

    impl Work for Notes {
        type Output = Vec<u8>;
        type Error = &'static str;

        fn batch(&mut self, batch: Batch) -> Result<(), &'static str> {
            // A sender that is gone lets everything pass.
            let _gone = self.go.recv();
            batch.iter().for_each(|chunk| self.bytes.extend_from_slice(chunk));
            if batch.is_empty() { Err("empty") } else { Ok(()) }
        }

        fn finish(self) -> Result<Vec<u8>, &'static str> {
            Ok(self.bytes)
        }
    }

    fn worker() -> (mpsc::Sender<()>, Worker<Notes>) {
        let (go, gone) = mpsc::channel();
        (go, Worker::new(Notes { go: gone, bytes: Vec::new() }))
    }

    fn batch(byte: u8) -> Batch {
        vec![Bytes::from(vec![byte])]
    }

    #[tokio::test]
    async fn batches_wait_in_order_and_no_more_of_them_than_may() {
        let (go, mut worker) = worker();
        // One at work, and those that may wait; it may not have been taken up yet.
        let at_once = u8::try_from(WAITING_MAX + 1).unwrap();
        for byte in 0..at_once {
            worker.feed(batch(byte)).await.unwrap();
        }
        for _ in 0..at_once {
            go.send(()).unwrap();
        }
        for byte in at_once..100 {
            go.send(()).unwrap();
            worker.feed(batch(byte)).await.unwrap();
        }
        drop(go);
        assert_eq!(worker.finish().await.unwrap().unwrap(), (0..100).collect::<Vec<u8>>());
        assert_eq!(worker.finish().await, Ok(None));
    }

    /// A panic of the thread reaches whoever feeds it; nobody waits for a line that nobody takes from.
    #[tokio::test]
    #[should_panic(expected = "a defect")]
    async fn a_panic_is_passed_on() {
        struct Defect;
        impl Work for Defect {
            type Output = ();
            type Error = ();

            fn batch(&mut self, _: Batch) -> Result<(), ()> {
                panic!("a defect")
            }

            fn finish(self) -> Result<(), ()> {
                Ok(())
            }
        }
        let mut worker = Worker::new(Defect);
        let fed = async {
            for byte in 0..10 {
                worker.feed(batch(byte)).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), fed).await.unwrap();
    }

    #[tokio::test]
    async fn who_feeds_waits_when_the_thread_does_not_get_on() {
        let (go, mut worker) = worker();
        let fed = async {
            for byte in 0..100 {
                worker.feed(batch(byte)).await.unwrap();
            }
        };
        let fed = tokio::time::timeout(Duration::from_millis(50), fed).await;
        assert!(fed.is_err(), "a hundred batches wait");
        // The wait was given up with a batch in hand: what comes now would leave a gap.
        drop(go);
        assert_eq!(worker.feed(batch(7)).await, Ok(()));
        assert_eq!(worker.finish().await, Ok(None));
    }

    #[tokio::test]
    async fn an_error_is_told_once_and_ends_the_work() {
        let (go, mut worker) = worker();
        drop(go);
        worker.feed(batch(1)).await.unwrap();
        let mut told = Ok(());
        while told.is_ok() {
            told = worker.feed(Vec::new()).await;
        }
        assert_eq!(told, Err("empty"));
        assert_eq!(worker.finish().await, Ok(None));
    }

    #[tokio::test]
    async fn an_error_of_the_last_batch_is_told_by_finish() {
        let (go, mut worker) = worker();
        drop(go);
        worker.feed(batch(1)).await.unwrap();
        worker.feed(Vec::new()).await.unwrap();
        assert_eq!(worker.finish().await, Err("empty"));
    }
}
