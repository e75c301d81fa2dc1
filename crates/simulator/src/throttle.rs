//! A pace for bytes: so many per second, without bursts and without drift.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// Lets bytes pass at a rate, for one stream or for all streams of a host.
///
/// Each piece of data gets a slot on a time line as long as its size needs; it may pass when its
/// slot ends.  Sleeping too long is therefore made up for by the next slot, up to
/// [`CREDIT_MAX`], and the rate holds over any longer time.
#[derive(Debug)]
pub(crate) struct Throttle {
    bytes_per_s: f64,
    slot_end: Mutex<Option<Instant>>,
}

impl Throttle {
    /// A pace of `mb_per_s` megabytes (10^6 bytes) per second; `None` if that is no rate.
    pub(crate) fn new(mb_per_s: f64) -> Option<Self> {
        (mb_per_s.is_finite() && mb_per_s >= MB_PER_S_MIN)
            .then(|| Self { bytes_per_s: mb_per_s * 1e6, slot_end: Mutex::new(None) })
    }

    /// Takes the next slot for `len_bytes` and waits for its end.
    pub(crate) async fn pass(&self, len_bytes: usize) {
        let end = self.reserve(len_bytes, Instant::now());
        tokio::time::sleep_until(end).await;
    }

    fn reserve(&self, len_bytes: usize, now: Instant) -> Instant {
        let len_bytes = u32::try_from(len_bytes).unwrap_or(u32::MAX);
        let slot = Duration::from_secs_f64(f64::from(len_bytes) / self.bytes_per_s);
        let mut slot_end = lock(&self.slot_end);
        let start = match *slot_end {
            Some(end) => end.max(now.checked_sub(CREDIT_MAX).unwrap_or(now)),
            None => now,
        };
        let end = start + slot;
        *slot_end = Some(end);
        end
    }
}

/// How far behind its time line a stream may be and still catch up.  Covers late timers and a
/// busy machine; a client that paused for longer does not get a burst.
const CREDIT_MAX: Duration = Duration::from_millis(250);

/// One byte per second.  Anything slower would need time lines longer than a clock has.
const MB_PER_S_MIN: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_to_the_percent() {
        let throttle = Throttle::new(30.0).unwrap();
        let start = Instant::now();
        for _ in 0..4096 {
            throttle.pass(64 * 1024).await;
        }
        let taken = start.elapsed().as_secs_f64();
        let due = f64::from(256 << 20) / 30e6;
        assert!((taken / due - 1.0).abs() < 0.01, "{taken} s instead of {due} s");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_share_one_rate() {
        let throttle = Throttle::new(10.0).unwrap();
        let start = Instant::now();
        let stream = async || {
            for _ in 0..10 {
                throttle.pass(100_000).await;
            }
        };
        tokio::join!(stream(), stream(), stream());
        assert!((start.elapsed().as_secs_f64() - 0.3).abs() < 0.01, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_made_up_for_by_a_burst() {
        let throttle = Throttle::new(1.0).unwrap();
        throttle.pass(1000).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        throttle.pass(1_000_000).await;
        assert!(start.elapsed() >= Duration::from_millis(740), "{:?}", start.elapsed());
    }

    #[test]
    fn no_rate_is_no_throttle() {
        assert!(Throttle::new(0.0).is_none());
        assert!(Throttle::new(-1.0).is_none());
        assert!(Throttle::new(f64::NAN).is_none());
        assert!(Throttle::new(f64::INFINITY).is_none());
    }
}
