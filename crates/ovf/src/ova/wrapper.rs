//! What an OVA may be packed into.

use super::error::OvaError;

/// Tells whether a file that is no tar archive begins like one of the usual wrappers.
///
/// An OVA is read by position, which none of them allows, so that they are named instead of read.
pub(super) fn wrapper(start: &[u8]) -> Option<OvaError> {
    let (_, format, command) = *WRAPPERS.iter().find(|(magic, ..)| start.starts_with(magic))?;
    Some(OvaError::Wrapped { format, command })
}

/// First bytes, name, and the program that unpacks it.
const WRAPPERS: [(&[u8], &str, &str); 10] = [
    (b"\x1F\x8B", "gzip", "gunzip"),
    (b"\x1F\x9D", "compress", "uncompress"),
    (b"\xFD7zXZ\0", "xz", "unxz"),
    (b"]\0\0", "lzma", "unlzma"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\x28\xB5\x2F\xFD", "zstd", "unzstd"),
    (b"\x04\x22\x4D\x18", "lz4", "unlz4"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"PK\x05\x06", "zip", "unzip"),
    (b"7z\xBC\xAF\x27\x1C", "7-Zip", "7z x"),
];
