//! The time of day, which may be set forwards or back while a transfer runs.
//!
//! It is for dates: of certificates, of what is written down, in names.  Nothing waits by it: waits
//! and deadlines are by [`tokio::time::Instant`], which only goes forward.  A lint forbids to read
//! the time of day anywhere else.

use std::time::Duration;
use std::time::SystemTime;

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "the place where the time of day is read")]
pub(crate) fn time_of_day() -> SystemTime {
    SystemTime::now()
}

/// The time of day, told by the time since 1970; none has passed if the clock is set before that.
pub(crate) fn since_1970() -> Duration {
    time_of_day().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
