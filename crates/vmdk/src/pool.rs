//! Jobs that several threads do and one thread takes back in order.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::thread::JoinHandle;

/// A row of jobs.  One thread puts them in and takes them out again in the same order; workers do
/// them in between.
///
/// Whoever puts jobs in bounds their number, by taking some out.  Jobs carry their own buffers and
/// come back, so that nothing need be allocated for one.
#[derive(Debug)]
pub(crate) struct Pool<J> {
    state: Mutex<State<J>>,
    /// A job is there to be done, or none will come.
    work: Condvar,
    /// The first job of the row is done, or a worker is lost.
    ready: Condvar,
}

#[derive(Debug)]
struct State<J> {
    waiting: VecDeque<(u64, J)>,
    /// The jobs put in and not taken out, in order; `None` until done.
    row: VecDeque<Option<J>>,
    /// Number of the first of them.
    first: u64,
    closed: bool,
    /// A worker has panicked: its job will never be done.
    broken: bool,
}

impl<J> Pool<J> {
    pub(crate) fn new() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            row: VecDeque::new(),
            first: 0,
            closed: false,
            broken: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), ready: Condvar::new() }
    }

    /// Jobs that were put in and not taken out.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().row.len()
    }

    /// Puts a job at the end of the row; drops it if the pool is closed.
    pub(crate) fn put(&self, job: J) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let number = state.first + u64::try_from(state.row.len()).unwrap_or(u64::MAX);
        state.row.push_back(None);
        state.waiting.push_back((number, job));
        self.work.notify_one();
    }

    /// The first job of the row, once it is done; `None` if the row is empty or a worker is lost.
    pub(crate) fn take(&self) -> Option<J> {
        let mut state = self.lock();
        while matches!(state.row.front(), Some(None)) && !state.broken {
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.take()
    }

    /// The first job of the row if it is done already.
    pub(crate) fn try_take(&self) -> Option<J> {
        self.lock().take()
    }

    /// No more jobs will come, and those in the row are dropped; those under way when they are done.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        state.row.clear();
        self.work.notify_all();
    }

    /// Does jobs until the pool is closed.
    pub(crate) fn work(&self, mut act: impl FnMut(&mut J)) {
        let guard = Guard(self);
        while let Some((number, mut job)) = self.next() {
            act(&mut job);
            let mut state = self.lock();
            let place = number.checked_sub(state.first).and_then(|at| usize::try_from(at).ok());
            if let Some(slot) = place.and_then(|at| state.row.get_mut(at)) {
                *slot = Some(job);
            }
            if place == Some(0) {
                self.ready.notify_one();
            }
        }
        std::mem::forget(guard);
    }

    fn next(&self) -> Option<(u64, J)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> State<J> {
    fn take(&mut self) -> Option<J> {
        let job = self.row.front_mut()?.take()?;
        self.row.pop_front();
        self.first += 1;
        Some(job)
    }
}

/// A pool and the threads that do its jobs; they end when this is dropped.
pub(crate) struct Workers<J> {
    pub(crate) pool: Arc<Pool<J>>,
    pub(crate) threads: Vec<JoinHandle<()>>,
}

impl<J> Workers<J> {
    /// A pool that nobody works for yet.
    pub(crate) fn new() -> Self {
        Self { pool: Arc::new(Pool::new()), threads: Vec::new() }
    }
}

impl<J> Drop for Workers<J> {
    fn drop(&mut self) {
        self.pool.close();
        for thread in self.threads.drain(..) {
            // A panic in a thread was told by an error already.
            drop(thread.join());
        }
    }
}

/// Wakes the taker when a worker panics, so that it does not wait for ever.
struct Guard<'a, J>(&'a Pool<J>);

impl<J> Drop for Guard<'_, J> {
    fn drop(&mut self) {
        self.0.lock().broken = true;
        self.0.ready.notify_one();
    }
}

/// Closes a pool on every way out, so that its workers end.
pub(crate) struct Closing<'a, J>(pub(crate) &'a Pool<J>);

impl<J> Drop for Closing<'_, J> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Number of workers: what was asked for, else one for each core, at most [`THREADS_MAX`].
pub(crate) fn threads(asked: Option<NonZeroUsize>) -> usize {
    let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    asked.map_or_else(cores, NonZeroUsize::get).min(THREADS_MAX)
}

/// Jobs under way that keep so many workers busy while finished ones are taken out, if each takes
/// `job_bytes` of memory.
pub(crate) fn jobs(threads: usize, job_bytes: usize) -> usize {
    (2 * threads + 2).min(JOBS_BYTES_MAX / job_bytes.max(1)).max(2)
}

/// Keeps the memory of jobs small on the largest machines; this many compress 4 GB/s.
const THREADS_MAX: usize = 32;

/// Memory of all jobs together: with the compressors' own, less than 64 MiB.
const JOBS_BYTES_MAX: usize = 40 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_back_in_order() {
        let pool = Pool::new();
        thread::scope(|scope| {
            let _closing = Closing(&pool);
            for _ in 0..3 {
                scope.spawn(|| pool.work(|job: &mut (u32, u32)| job.1 = job.0 * 2));
            }
            let mut taken = Vec::new();
            for number in 0..500 {
                pool.put((number, 0));
                if pool.in_flight() == 7 {
                    taken.extend(pool.take());
                }
                taken.extend(pool.try_take());
            }
            taken.extend(std::iter::from_fn(|| pool.take()));
            assert!(taken.iter().zip(0..500).all(|(job, number)| *job == (number, number * 2)));
            assert_eq!(taken.len(), 500);
            assert_eq!(pool.take(), None);
        });
    }

    #[test]
    fn a_lost_worker_does_not_stop_the_taker() {
        let pool = Pool::new();
        let lost = thread::scope(|scope| {
            let _closing = Closing(&pool);
            let worker = scope.spawn(|| pool.work(|_: &mut u8| panic!("a bug of the caller's")));
            pool.put(1);
            assert_eq!(pool.take(), None);
            worker.join()
        });
        assert!(lost.is_err());
    }

    #[test]
    fn a_closed_pool_is_empty() {
        let pool = Pool::new();
        pool.put(1);
        pool.close();
        pool.put(2);
        assert_eq!((pool.take(), pool.in_flight()), (None, 0));
    }

    #[test]
    fn memory_bounds_the_number_of_jobs() {
        assert_eq!(jobs(2, 600 << 10), 6);
        assert!(jobs(32, 600 << 10) * 600 <= 40 << 10);
        assert_eq!(jobs(32, 1 << 30), 2);
    }
}
