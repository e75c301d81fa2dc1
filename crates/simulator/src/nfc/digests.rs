//! Digests of a stream as the manifest of a lease has them.

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::device::Transferred;
use crate::disk::{StreamDigest, hex};

/// Hashes a stream as it passes.
#[derive(Clone, Debug)]
pub(super) struct Digests {
    sha1: Sha1,
    sha256: Option<Sha256>,
    size_bytes: u64,
}

impl Digests {
    pub(super) fn new(with_sha256: bool) -> Self {
        Self { sha1: Sha1::new(), sha256: with_sha256.then(Sha256::new), size_bytes: 0 }
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        self.sha1.update(data);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(data);
        }
        self.size_bytes += data.len() as u64;
    }

    pub(super) fn finish(self) -> StreamDigest {
        StreamDigest {
            sha1: self.sha1.finalize().to_vec(),
            sha256: self.sha256.map(|sha256| sha256.finalize().to_vec()),
            size_bytes: self.size_bytes,
        }
    }
}

/// The manifest's line; `spoil` turns a bit of each digest over.
pub(super) fn line(digest: &StreamDigest, with_sha256: bool, spoil: bool) -> Transferred {
    let sha256 = digest.sha256.as_deref().filter(|_| with_sha256);
    Transferred {
        sha1: spoilt_hex(&digest.sha1, spoil),
        sha256: sha256.map(|sha256| spoilt_hex(sha256, spoil)),
        size_bytes: digest.size_bytes,
        capacity_bytes: None,
        populated_bytes: None,
    }
}

/// The line of a stream without bytes.
pub(super) fn nothing(with_sha256: bool) -> Transferred {
    line(&Digests::new(with_sha256).finish(), with_sha256, false)
}

fn spoilt_hex(digest: &[u8], spoil: bool) -> String {
    let mut digest = digest.to_vec();
    if let Some(first) = digest.first_mut() {
        *first ^= u8::from(spoil);
    }
    hex(&digest)
}
