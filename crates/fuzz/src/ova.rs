//! The OVA: what is accepted lists the same for another reader.

use std::ops::Range;

use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::OvaError;
use ovftransfer_ovf::ova::Walk;

/// An archive means the same from a file, from a stream and to the tar crate.
pub fn ova(bytes: &[u8]) {
    let Ok(ova) = Ova::index(&bytes) else {
        assert!(streamed(bytes).is_err(), "a stream is accepted, but not the file");
        return;
    };
    let stream = streamed(bytes).expect("a stream as good as the file");
    assert_eq!(stream.members(), ova.members());
    assert_eq!(stream.warnings(), ova.warnings());

    let mut end_byte = 0;
    for member in ova.members() {
        assert!(member.offset_bytes() >= end_byte + 512, "members overlap");
        end_byte = member.offset_bytes() + member.size_bytes();
        assert!(end_byte <= bytes.len() as u64, "a member ends after the archive");
    }
    let listed: Vec<(String, u64, u64)> = ova
        .members()
        .iter()
        .map(|one| (one.name().to_string(), one.offset_bytes(), one.size_bytes()))
        .collect();
    assert_eq!(by_tar_crate(bytes).as_ref(), Ok(&listed));
}

fn streamed(bytes: &[u8]) -> Result<Ova, OvaError> {
    let mut walk = Walk::new(None);
    while let Some(wanted) = walk.wanted() {
        let start = usize::try_from(wanted.at_byte).unwrap_or(usize::MAX);
        let Some(rest) = bytes.get(start..) else {
            return Err(walk.truncated(bytes.len() as u64));
        };
        walk.feed(&rest[..rest.len().min(wanted.len_bytes)])?;
    }
    Ova::new(walk)
}

fn by_tar_crate(bytes: &[u8]) -> Result<Vec<(String, u64, u64)>, String> {
    let mut members = Vec::new();
    for entry in tar::Archive::new(bytes).entries().map_err(|error| error.to_string())? {
        let entry = entry.map_err(|error| error.to_string())?;
        if entry.header().entry_type().is_file() {
            let path = entry.path_bytes();
            let mut path = str::from_utf8(&path).map_err(|error| error.to_string())?;
            while let Some(rest) = path.strip_prefix("./") {
                path = rest;
            }
            members.push((path.to_owned(), entry.raw_file_position(), entry.size()));
        }
    }
    Ok(members)
}

/// Gives every block that looks like a header the checksum it must have.
pub fn mend_checksums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if block[MAGIC].starts_with(b"ustar") {
            block[CHECKSUM].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

const MAGIC: Range<usize> = 257..265;
const CHECKSUM: Range<usize> = 148..156;
