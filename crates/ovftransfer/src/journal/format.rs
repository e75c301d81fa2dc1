//! The lines of a journal: length, CRC-32 and JSON of each record.

use std::io;

use flate2::Crc;

use crate::journal::record::Record;

/// A record as a line.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] if it is larger than a reader takes.
pub(crate) fn line(record: &Record) -> io::Result<String> {
    let json = serde_json::to_string(record).map_err(io::Error::other)?;
    if json.len() > RECORD_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(line_of(&json))
}

/// The line of a record that is this JSON.
pub(super) fn line_of(json: &str) -> String {
    format!("{:08x} {:08x} {json}\n", json.len(), crc_of(json.as_bytes()))
}

/// The records up to the first line that is not whole.
pub(crate) fn records(mut bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((record, rest)) = first(bytes) {
        records.push(record);
        bytes = rest;
    }
    records
}

/// The first record, and what is behind it.
fn first(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let head = std::str::from_utf8(head).ok()?;
    let (len, crc) = head.strip_suffix(' ')?.split_once(' ')?;
    let len = usize::try_from(hex(len)?).ok().filter(|len| *len <= RECORD_BYTES_MAX)?;
    let (json, rest) = rest.split_at_checked(len)?;
    let rest = rest.strip_prefix(b"\n")?;
    if hex(crc)? != crc_of(json) {
        return None;
    }
    Some((serde_json::from_slice(json).ok()?, rest))
}

/// Exactly eight lower-case digits: there is one way to write a number.
fn hex(text: &str) -> Option<u32> {
    let is_plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_one = text.len() == DIGITS && text.bytes().all(is_plain);
    u32::from_str_radix(text, 16).ok().filter(|_| is_one)
}

fn crc_of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Hex digits of a number.
const DIGITS: usize = 8;

/// Two numbers, and a blank behind each.
const HEAD_BYTES: usize = 2 * (DIGITS + 1);

/// The largest record.  That of a lease names 200 tasks at most, in 4 KiB.
const RECORD_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some() -> Vec<Record> {
        vec![
            Record::Writing { files: vec!["büro-disk-0.vmdk".to_owned()] },
            Record::Source { identity: Some("00ff".to_owned()) },
            Record::Publishing { leading: None },
        ]
    }

    fn text(records: &[Record]) -> Vec<u8> {
        records.iter().flat_map(|record| line(record).unwrap().into_bytes()).collect()
    }

    #[test]
    fn a_line_looks_as_it_is_documented() {
        assert_eq!(
            line(&Record::Publishing { leading: None }).unwrap(),
            "00000013 87623dc1 {\"is\":\"publishing\"}\n"
        );
    }

    /// Whatever a crash leaves of it, what was whole counts, and nothing else.
    #[test]
    fn a_journal_may_be_torn_at_every_byte() {
        let all = some();
        let bytes = text(&all);
        let ends: Vec<usize> = (1..=all.len()).map(|count| text(&all[..count]).len()).collect();
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(records(&bytes[..cut]), all[..whole], "cut at byte {cut}");
            let mut zeros = bytes[..cut].to_vec();
            zeros.resize(bytes.len() + 512, 0);
            assert_eq!(records(&zeros), all[..whole], "zeros from byte {cut}");
        }
    }

    #[test]
    fn no_bit_can_turn() {
        let all = some();
        let bytes = text(&all);
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            let read = records(&bent);
            assert!(read.len() < all.len() && all.starts_with(&read), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn what_a_later_version_adds_does_no_harm() {
        let json = r#"{"is":"weather","sky":"blue"}"#;
        assert_eq!(records(line_of(json).as_bytes()), [Record::Unknown]);
    }

    proptest! {
        #[test]
        fn anything_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(records(&bytes).len() * HEAD_BYTES <= bytes.len());
        }

        #[test]
        fn names_of_any_kind_come_back(files in proptest::collection::vec(".*", 0..4)) {
            let all = vec![Record::Writing { files }, Record::Completing];
            prop_assert_eq!(records(&text(&all)), all);
        }
    }
}
