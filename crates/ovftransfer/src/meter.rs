//! Counters of a transfer: written by the streams, read by the heartbeat and the progress bar.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use ovftransfer_ovf::FileName;

use crate::sabotage;
use crate::sabotage::Defect;

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
            leg: Mutex::new(None),
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
        if sabotage::on(Defect::ProgressRegresses) {
            return percent;
        }
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
    /// Nothing if the file has but one way to go.
    leg: Mutex<Option<Leg>>,
}

/// A part of the way of a file, such as its conversion before it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    /// Where it begins and ends, in percent of the file's weight.
    pub(crate) percent: (u8, u8),
    /// Its length in bytes, in the unit in which the position is set.
    pub(crate) len_bytes: u64,
    /// Whether its bytes go over the wire.
    pub(crate) is_sent: bool,
}

impl Leg {
    /// The place on the whole way.
    fn place(&self, weight_bytes: u64, position_bytes: u64) -> u64 {
        let (from, to) = (u128::from(self.percent.0), u128::from(self.percent.1));
        let len = u128::from(self.len_bytes.max(1));
        let position = u128::from(position_bytes).min(len);
        let place = u128::from(weight_bytes) * (from * len + (to - from.min(to)) * position);
        u64::try_from(place / (100 * len)).unwrap_or(weight_bytes)
    }
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

    /// Goes on to the next part of the way.
    pub(crate) fn begin(&self, leg: Leg) {
        *self.leg.lock().unwrap_or_else(PoisonError::into_inner) = Some(leg);
        self.restart();
    }

    /// Starts the file, or its present part of the way, again from its first byte.
    pub(crate) fn restart(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.set_position(0);
    }

    pub(crate) fn add_bytes(&self, len_bytes: u64) {
        if self.leg().is_none_or(|leg| leg.is_sent) {
            self.bytes.fetch_add(len_bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_position(&self, position_bytes: u64) {
        let place = match self.leg() {
            Some(leg) => leg.place(self.weight_bytes, position_bytes),
            None => position_bytes,
        };
        self.position_bytes.store(place, Ordering::Relaxed);
    }

    fn leg(&self) -> Option<Leg> {
        *self.leg.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_file_that_is_converted_first_is_half_way_when_it_is_sent() {
        let meter = Meter::default();
        let file = meter.add_file(&name("a"), 1000);
        file.begin(Leg { percent: (0, 50), len_bytes: 10, is_sent: false });
        file.add_bytes(5);
        file.set_position(5);
        assert_eq!((file.position_bytes(), file.bytes(), meter.percent()), (250, 0, 25));
        file.begin(Leg { percent: (50, 100), len_bytes: 40, is_sent: true });
        assert_eq!(file.position_bytes(), 500);
        file.add_bytes(20);
        file.set_position(20);
        assert_eq!((file.position_bytes(), file.bytes(), meter.percent()), (750, 20, 75));
        // A second try begins where the sending began.
        file.restart();
        assert_eq!((file.position_bytes(), file.bytes()), (500, 0));
        file.set_position(u64::MAX);
        assert_eq!(file.position_bytes(), 1000);
        file.begin(Leg { percent: (50, 100), len_bytes: 0, is_sent: true });
        assert_eq!(file.position_bytes(), 500);
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
