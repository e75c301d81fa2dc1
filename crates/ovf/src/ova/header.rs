//! One tar header, read so strictly that no tool can read it otherwise.

use tar::Header;

/// Length of a tar block in bytes; headers are one block, bodies are padded to blocks.
pub(super) const BLOCK_BYTES: u64 = 512;

/// A header block.
pub(super) type Block = [u8; 512];

/// What a header says.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// Name in the header, with the prefix that POSIX headers may have.
    pub(super) name: Vec<u8>,
    /// Length of the body in bytes.
    pub(super) size_bytes: u64,
}

/// What a member is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Directory,
    GlobalExtension,
    GnuLongName,
    LocalExtension,
    Regular,
    /// Something that is refused, by its name.
    Other(&'static str),
}

/// Reads a header; the error says what is wrong with it.
pub(super) fn parse(block: &Block) -> Result<Entry, &'static str> {
    let header = Header::from_byte_slice(block);
    check_magic(header)?;
    check_sum(header)?;
    check_numbers(header)?;
    let size = header.as_old().size;
    if !is_plain_number(&size) {
        return Err("the size is negative, larger than 2^63 or not a number");
    }
    let size_bytes = header.entry_size().map_err(|_| "the size is not a number")?;
    let kind = kind(block);
    let is_extension =
        matches!(kind, Kind::GlobalExtension | Kind::GnuLongName | Kind::LocalExtension);
    if is_extension && header.as_ustar().is_none() && header.as_gnu().is_none() {
        // Some tools look at the type alone, some take such a header for a file.
        return Err("an extended header without the magic of POSIX or GNU");
    }
    Ok(Entry { kind, name: header.path_bytes().into_owned(), size_bytes })
}

/// Only POSIX headers have a name prefix; where others have something in its place (times, the
/// map of a sparse file), some tools take it for a prefix and some do not.
fn check_magic(header: &Header) -> Result<(), &'static str> {
    if header.as_ustar().is_some() {
        return Ok(());
    }
    let [magic, prefix] = [MAGIC, PREFIX].map(|place| header.as_bytes().get(place));
    if header.as_gnu().is_none() && magic.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
        return Err("unknown magic");
    }
    if prefix.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
        return Err("data in place of the name prefix");
    }
    Ok(())
}

/// The checksum is the sum of all bytes, its own field counted as blanks.
fn check_sum(header: &Header) -> Result<(), &'static str> {
    let sum: u32 = header.as_bytes().iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = header.as_old().cksum.iter().map(|byte| u32::from(*byte)).sum();
    let blanks = 8 * u32::from(b' ');
    let is_right = is_plain_number(&header.as_old().cksum)
        && header.cksum().is_ok_and(|stored| stored == sum - own + blanks);
    if is_right { Ok(()) } else { Err("wrong checksum") }
}

/// Owner, mode and times mean nothing here, but where they are not numbers Python ends the archive
/// in silence, and where they do not fit into its types GNU tar fails.
fn check_numbers(header: &Header) -> Result<(), &'static str> {
    let are_numbers = NUMBERS.iter().all(|place| {
        let field = header.as_bytes().get(place.clone()).unwrap_or_default();
        let is_blank = field.iter().all(|byte| matches!(byte, 0 | b' '));
        let is_binary = matches!(field, [0x80 | 0xFF, ..]);
        is_blank || if is_binary { is_small_binary(field) } else { is_plain_number(field) }
    });
    if are_numbers { Ok(()) } else { Err("an owner, mode, time or device is not a number") }
}

/// Whether a base-256 number is below 2^31; of a time, which has the only field of twelve bytes, it
/// may have 40 bits and a sign.
fn is_small_binary(field: &[u8]) -> bool {
    let is_time = field.len() == 12;
    let low = if is_time { 5 } else { 4 };
    let Some((high, low)) = field.split_at_checked(field.len().saturating_sub(low)) else {
        return false;
    };
    let is_negative = high.iter().all(|byte| *byte == 0xFF);
    let is_positive = matches!(high, [0x80, zeros @ ..] if zeros.iter().all(|byte| *byte == 0));
    is_positive && (is_time || low.first().is_some_and(|byte| *byte < 0x80))
        || is_time && is_negative
}

/// Whether a field is octal digits with blanks before and blanks or zeros after, or a positive
/// base-256 number below 2^63.
fn is_plain_number(field: &[u8]) -> bool {
    match field {
        [0x80, middle @ .., high, _, _, _, _, _, _, _] => {
            middle.iter().all(|byte| *byte == 0) && *high < 0x80
        }
        _ => {
            let digits = field.trim_ascii_start();
            let end = digits.iter().position(|byte| !(b'0'..=b'7').contains(byte));
            let (digits, rest) = digits.split_at(end.unwrap_or(digits.len()));
            !digits.is_empty() && rest.iter().all(|byte| matches!(byte, 0 | b' '))
        }
    }
}

fn kind(block: &Block) -> Kind {
    match block.get(TYPE_PLACE).copied().unwrap_or_default() {
        0 | b'0' => Kind::Regular,
        b'1' => Kind::Other("hard link"),
        b'2' => Kind::Other("symbolic link"),
        b'3' | b'4' => Kind::Other("device"),
        b'5' => Kind::Directory,
        b'6' => Kind::Other("named pipe"),
        b'7' => Kind::Other("contiguous file"),
        b'K' => Kind::Other("link with a long target"),
        b'L' => Kind::GnuLongName,
        b'S' => Kind::Other("sparse file"),
        b'g' => Kind::GlobalExtension,
        b'x' => Kind::LocalExtension,
        _ => Kind::Other("member of unknown type"),
    }
}

/// Place of the type flag.
const TYPE_PLACE: usize = 156;

/// Places of mode, owner, group, time and the numbers of devices.
const NUMBERS: [std::ops::Range<usize>; 6] =
    [100..108, 108..116, 116..124, 136..148, 329..337, 337..345];

/// Place of magic and version.
const MAGIC: std::ops::Range<usize> = 257..265;

/// Place of the POSIX name prefix.
const PREFIX: std::ops::Range<usize> = 345..500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_meaning_for_every_tool() {
        for good in [b"00000000017\0".as_slice(), b"        17 \0", b"77777777777 "] {
            assert!(is_plain_number(good), "{good:?}");
        }
        assert!(is_plain_number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]));
        for bad in [
            b"\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(),
            b"            ",
            b"-0000000017\0",
            b"0o17\0\0\0\0\0\0\0\0",
            b"1_7\0\0\0\0\0\0\0\0\0",
            b"17\x0018\0\0\0\0\0\0\0",
            &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0],
            &[0xFF; 12],
        ] {
            assert!(!is_plain_number(bad), "{bad:?}");
        }
    }
}
