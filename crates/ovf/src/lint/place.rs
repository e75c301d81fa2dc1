//! From bytes of the text that is parsed to lines and columns of the descriptor.

use crate::envelope::Position;

/// Where the bytes of the parsed text stand in the descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    text: &'a str,
    inserted: (usize, usize),
}

impl<'a> Place<'a> {
    /// Places in a text that was parsed as it is.
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, inserted: (0, 0) }
    }

    /// Places in a text into which bytes were put: where, and how many.
    pub(super) fn mended(text: &'a str, inserted: (usize, usize)) -> Self {
        Self { text, inserted }
    }

    /// Counts lines from the start on.
    pub(super) fn walk(&self) -> Walk<'a> {
        Walk { place: *self, at_byte: 0, line: 1, column: 1 }
    }

    fn original(&self, at_byte: usize) -> usize {
        let (from, len) = self.inserted;
        if at_byte <= from { at_byte } else { at_byte.saturating_sub(len).max(from) }
    }
}

/// Turns bytes, in rising order, into lines and columns, by reading the text once.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    place: Place<'a>,
    at_byte: usize,
    line: usize,
    column: usize,
}

impl Walk<'_> {
    pub(super) fn position(&mut self, at_byte: usize) -> Position {
        let until = self.place.original(at_byte).min(self.place.text.len());
        let bytes = self.place.text.as_bytes();
        for byte in bytes.get(self.at_byte..until).unwrap_or_default() {
            if *byte == b'\n' {
                self.line += 1;
                self.column = 1;
            } else if *byte & 0b1100_0000 != 0b1000_0000 {
                // Characters are counted by their first bytes.
                self.column += 1;
            }
        }
        self.at_byte = self.at_byte.max(until);
        Position { line: self.line, column: self.column }
    }
}
