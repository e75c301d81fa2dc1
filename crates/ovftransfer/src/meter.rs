//! Counters of a transfer: written by the streams, read by the heartbeat and the progress bar.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use ovftransfer_ovf::FileName;

/// Counts the bytes of one transfer.
///
/// Reading it costs nothing to the streams: every reader looks at its own pace.
#[derive(Debug, Default)]
pub struct Meter {
    files: Mutex<Vec<Arc<FileMeter>>>,
    /// The highest percentage that was ever told, so that none is ever taken back.
    told: AtomicU8,
    beats: AtomicU64,
}

impl Meter {
    /// Heartbeats that the server has answered so far.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    pub(crate) fn count_beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a file that weighs `weight_bytes` in the percentage: its size where that is known
    /// beforehand, the capacity of the disk where it is not.
    pub(crate) fn add_file(&self, name: &FileName, weight_bytes: u64) -> Arc<FileMeter> {
        let file = Arc::new(FileMeter {
            name: name.clone(),
            weight_bytes,
            bytes: AtomicU64::new(0),
            position_bytes: AtomicU64::new(0),
        });
        self.lock().push(Arc::clone(&file));
        file
    }

    /// The counters of each file, in the order in which the files were planned.
    #[must_use]
    pub fn files(&self) -> Vec<Arc<FileMeter>> {
        self.lock().clone()
    }

    /// Bytes that went over the wire so far; those of a try that failed are taken back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().iter().map(|file| file.bytes()).sum()
    }

    /// Whole percent, 0 to 99: the last one belongs to the proof that everything is right.
    ///
    /// Never goes back, not even when a file is started again.  An empty transfer and a wrong
    /// estimate are both legal.
    #[must_use]
    pub fn percent(&self) -> u8 {
        let (done, total) = {
            let files = self.lock();
            files.iter().fold((0u128, 0u128), |(done, total), file| {
                let position = file.position_bytes().min(file.weight_bytes);
                (done + u128::from(position), total + u128::from(file.weight_bytes))
            })
        };
        let percent = (done * 100).checked_div(total).unwrap_or(0).min(99);
        let percent = u8::try_from(percent).unwrap_or(99);
        self.told.fetch_max(percent, Ordering::Relaxed).max(percent)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<FileMeter>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the bytes of one file.
#[derive(Debug)]
pub struct FileMeter {
    name: FileName,
    weight_bytes: u64,
    bytes: AtomicU64,
    position_bytes: AtomicU64,
}

impl FileMeter {
    /// The file's name in the package.
    #[must_use]
    pub const fn name(&self) -> &FileName {
        &self.name
    }

    /// Bytes that went over the wire, of the present attempt.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How far the file is, in the unit of [`weight_bytes`](Self::weight_bytes).
    #[must_use]
    pub fn position_bytes(&self) -> u64 {
        self.position_bytes.load(Ordering::Relaxed)
    }

    /// The size of the file, or the capacity of the disk where the size is not known beforehand.
    #[must_use]
    pub const fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// Starts the file again from its first byte.
    pub(crate) fn restart(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.position_bytes.store(0, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, len_bytes: u64) {
        self.bytes.fetch_add(len_bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_position(&self, position_bytes: u64) {
        self.position_bytes.store(position_bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    #[test]
    fn percent_of_nothing_is_zero() {
        assert_eq!(Meter::default().percent(), 0);
        let meter = Meter::default();
        let file = meter.add_file(&name("a"), 0);
        file.set_position(10);
        assert_eq!(meter.percent(), 0);
    }

    #[test]
    fn percent_is_weighted_and_stops_before_the_proof() {
        let meter = Meter::default();
        let small = meter.add_file(&name("small"), 100);
        let large = meter.add_file(&name("large"), 900);
        small.set_position(100);
        assert_eq!(meter.percent(), 10);
        large.set_position(5_000);
        assert_eq!(meter.percent(), 99);
    }

    #[test]
    fn percent_never_goes_back() {
        let meter = Meter::default();
        let file = meter.add_file(&name("a"), 100);
        file.set_position(60);
        assert_eq!(meter.percent(), 60);
        file.restart();
        assert_eq!(meter.percent(), 60);
    }
}
