//! Which parts of a file are taken, so that no two structures share one.

use std::fmt;
use std::ops::Range;

/// Equal items of a file, such as grains, and where they lie.
///
/// The file is looked at in windows, so that the memory does not grow with its length: 2 bytes for
/// each place that an item may have within a window, 16 MiB in all.  Whoever fills it in goes through
/// all items for each window.
pub(crate) struct Occupied {
    item: u64,
    /// Numbers of the places of this window.
    places: Range<u64>,
    /// For each place: [`FREE`], [`SHARED`], or where within it an item starts, plus one.
    starts: Vec<u16>,
}

impl fmt::Debug for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Occupied").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Occupied {
    /// For items of this length, at most 2048, in a file of so many of the same units.
    pub(crate) fn new(item: u64, file_len: u64) -> Self {
        let count = file_len.div_ceil(item).min(PLACES_MAX);
        Self { item, places: 0..count, starts: vec![FREE; index(count)] }
    }

    /// Goes on to the next window.  Returns whether there is one.
    pub(crate) fn next(&mut self, file_len: u64) -> bool {
        let end = file_len.div_ceil(self.item);
        if self.places.end >= end {
            return false;
        }
        // One place twice, for what lies across the border.
        let start = self.places.end - 1;
        self.places = start..end.min(start + PLACES_MAX);
        self.starts.clear();
        self.starts.resize(index(self.places.end - start), FREE);
        true
    }

    /// Notes the item that starts at `at`.  Returns whether its place was free.
    pub(crate) fn take(&mut self, at: u64) -> bool {
        let Some(slot) = self.slot(at / self.item) else { return true };
        let into = u16::try_from(at % self.item).unwrap_or(u16::MAX - 2) + 1;
        let before = slot.checked_sub(1).map_or(FREE, |slot| self.starts[slot]);
        let behind = self.starts.get(slot + 1).copied().unwrap_or(FREE);
        // One that starts further into the place before reaches into this one, and this one into
        // the place behind if that is taken from further ahead.
        let reaches = before > into && before != SHARED;
        let reached = behind != FREE && behind < into;
        let free = self.starts[slot] == FREE && !reaches && !reached;
        self.starts[slot] = into;
        free
    }

    /// Notes that something lies in the place of `at` that shares it with others of its kind.
    /// Returns whether nothing else was there.
    pub(crate) fn share(&mut self, at: u64) -> bool {
        let Some(slot) = self.slot(at / self.item) else { return true };
        let free = matches!(self.starts[slot], FREE | SHARED);
        self.starts[slot] = SHARED;
        free
    }

    /// Whether no item lies anywhere in this range.
    pub(crate) fn is_free(&self, range: Range<u64>) -> bool {
        let first = (range.start / self.item).saturating_sub(1);
        (first..=range.end.saturating_sub(1) / self.item).all(|place| {
            let start = self.slot(place).map_or(FREE, |slot| self.starts[slot]);
            let at = place * self.item + u64::from(start) - u64::from(start != FREE);
            start == FREE || at >= range.end || at + self.item <= range.start
        })
    }

    /// Whether anything lies in this place.
    pub(crate) fn is_taken(&self, place: u64) -> bool {
        self.slot(place).is_some_and(|slot| self.starts[slot] != FREE)
    }

    /// The places of this window.
    pub(crate) fn places(&self) -> Range<u64> {
        self.places.clone()
    }

    fn slot(&self, place: u64) -> Option<usize> {
        self.places.contains(&place).then(|| index(place - self.places.start))
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

const FREE: u16 = 0;
const SHARED: u16 = u16::MAX;

/// The grains of 512 GiB, if they are of 64 KiB.
const PLACES_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each of these items of 8 finds its place free, in a file of 80.
    fn free(items: &[u64]) -> Vec<bool> {
        let mut occupied = Occupied::new(8, 80);
        items.iter().map(|&at| occupied.take(at)).collect()
    }

    #[test]
    fn neighbours_do_not_overlap() {
        assert_eq!(free(&[0, 8, 16, 72]), [true; 4]);
        assert_eq!(free(&[3, 11, 19, 27]), [true; 4]);
        assert_eq!(free(&[3, 12, 0x1f]), [true; 3]);
    }

    #[test]
    fn what_overlaps_is_found() {
        assert_eq!(free(&[8, 8]), [true, false]);
        assert_eq!(free(&[8, 15]), [true, false]);
        assert_eq!(free(&[15, 8]), [true, false]);
        assert_eq!(free(&[11, 18]), [true, false]);
        assert_eq!(free(&[18, 11]), [true, false]);
        let mut occupied = Occupied::new(8, 80);
        assert!(occupied.take(19));
        for (range, is_free) in
            [(11..19, true), (27..30, true), (15..20, false), (26..27, false), (0..80, false)]
        {
            assert_eq!(occupied.is_free(range.clone()), is_free, "{range:?}");
        }
    }

    #[test]
    fn only_shared_places_are_shared() {
        let mut occupied = Occupied::new(512, 5120);
        assert!(occupied.share(700) && occupied.share(600) && occupied.take(1024));
        assert!(!occupied.take(512));
        assert!(!occupied.share(1100));
        assert!(occupied.is_taken(1) && !occupied.is_taken(3));
    }

    #[test]
    fn windows_meet() {
        let len = (PLACES_MAX + 10) * 8;
        let border = PLACES_MAX * 8;
        let mut occupied = Occupied::new(8, len);
        let mut found = 0;
        loop {
            for at in [border - 4, border, border + 16] {
                found += usize::from(!occupied.take(at));
            }
            if !occupied.next(len) {
                break;
            }
        }
        assert_eq!((found, occupied.places()), (1, PLACES_MAX - 1..PLACES_MAX + 10));
    }
}
