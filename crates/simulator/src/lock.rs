//! Mutexes that survive a panic of one holder.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`.  A request that panicked must not stop the server for the others.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
