//! The OVA: what is accepted lists the same for another reader.

use std::io;
use std::ops::Range;

use ovftransfer_ovf::ova::Ova;
use ovftransfer_ovf::ova::OvaError;
use ovftransfer_ovf::ova::Rules;
use ovftransfer_ovf::ova::Walk;

/// An archive means the same from a file, from a stream and to the tar crate.
pub fn ova(bytes: &[u8]) {
    let strict = Ova::index(&bytes);
    if let Ok(strict) = &strict {
        let lenient = Ova::index_by(Rules::Lenient, &bytes).expect("strict is lenient enough");
        assert_eq!(strict.members(), lenient.members());
    }
    assert_eq!(strict.is_ok(), streamed(Rules::Strict, bytes).is_ok());

    let Ok(ova) = Ova::index_by(Rules::Lenient, &bytes) else {
        let stream = streamed(Rules::Lenient, bytes);
        assert!(stream.is_err(), "a stream is accepted, but not the file");
        return;
    };
    let stream = streamed(Rules::Lenient, bytes).expect("a stream as good as the file");
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
    let (others, error) = by_tar_crate(bytes);
    assert_eq!(others, listed);
    // Where the archive is cut after its last member it may end in an error, but not before.
    assert!(error.is_none() || strict.is_err(), "{error:?}");
}

fn streamed(rules: Rules, bytes: &[u8]) -> Result<Ova, OvaError> {
    let mut walk = Walk::new(None).by(rules);
    while let Some(wanted) = walk.wanted() {
        let start = usize::try_from(wanted.at_byte).unwrap_or(usize::MAX);
        let Some(rest) = bytes.get(start..) else {
            walk.ends_at(bytes.len() as u64)?;
            break;
        };
        walk.feed(&rest[..rest.len().min(wanted.len_bytes)])?;
    }
    Ova::new(walk)
}

/// What the tar crate lists, and the error that it ends with, if there is one.
fn by_tar_crate(bytes: &[u8]) -> (Vec<(String, u64, u64)>, Option<io::Error>) {
    let mut members = Vec::new();
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().expect("it is at its start");
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return (members, Some(error)),
        };
        if entry.header().entry_type().is_file() {
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = path.trim_start_matches("./").to_owned();
            members.push((path, entry.raw_file_position(), entry.size()));
        }
    }
    (members, None)
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
