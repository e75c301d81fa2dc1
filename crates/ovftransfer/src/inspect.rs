//! Looks at every byte of a file once, on a thread of its own: digests, and the structure of disks.

use std::sync::Arc;

use bytes::Bytes;
use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_vmdk::DeepCheck;
use ovftransfer_vmdk::StreamCheck;
use ovftransfer_vmdk::Summary;
use ovftransfer_vmdk::VmdkError;
use sha1::Sha1;
use sha2::Digest as _;
use sha2::Sha256;
use sha2::Sha512;

use crate::meter::FileMeter;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::worker::Batch;
use crate::worker::Work;

/// What to look for in a file.
#[derive(Clone, Debug)]
pub(crate) struct Inspect {
    /// The digests to compute; each algorithm once.
    pub(crate) algorithms: Vec<DigestAlgorithm>,
    /// What is checked if the file is a stream-optimized disk.
    pub(crate) disk: DiskCheck,
}

/// What to check of a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DiskCheck {
    /// The file is no disk.
    None,
    /// How it is built.
    Structure,
    /// That, and every grain inflated.
    Deep,
}

impl DiskCheck {
    /// The structure of what is a disk.
    pub(crate) fn structure(is_disk: bool) -> Self {
        Self::Structure.of(is_disk && !sabotage::on(Defect::SkipStructure))
    }

    /// This for what is a disk.
    pub(crate) fn of(self, is_disk: bool) -> Self {
        if is_disk { self } else { Self::None }
    }
}

impl Inspect {
    /// Adds an algorithm, unless it is there already.
    pub(crate) fn also(mut self, algorithm: DigestAlgorithm) -> Self {
        if !self.algorithms.contains(&algorithm) {
            self.algorithms.push(algorithm);
        }
        self
    }
}

/// What was seen in a file from its first byte to its last.
#[derive(Clone, Debug)]
pub(crate) struct Inspection {
    /// One digest for each algorithm that was asked for.
    pub(crate) digests: Vec<Digest>,
    /// For disks: what the structure says.
    pub(crate) disk: Option<Summary>,
}

impl Inspection {
    /// The digest by `algorithm`, if it was asked for.
    pub(crate) fn digest(&self, algorithm: DigestAlgorithm) -> Option<&Digest> {
        self.digests.iter().find(|digest| digest.algorithm() == algorithm)
    }
}

/// The work of looking at one file.
#[derive(Debug)]
pub(crate) struct Inspector {
    hashers: Vec<Hasher>,
    disk: Option<Disk>,
    meter: Arc<FileMeter>,
    position: Position,
    at_byte: u64,
}

/// What the progress of a file is measured by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Position {
    /// Bytes of the file.
    Bytes,
    /// The place on the disk that its grains have come to: the size of the file is not known.
    Disk,
}

impl Inspector {
    pub(crate) fn new(inspect: &Inspect, meter: Arc<FileMeter>, position: Position) -> Self {
        Self {
            hashers: inspect.algorithms.iter().copied().map(Hasher::new).collect(),
            disk: Disk::new(inspect.disk),
            meter,
            position,
            at_byte: 0,
        }
    }
}

impl Work for Inspector {
    type Output = Inspection;
    type Error = VmdkError;

    fn batch(&mut self, batch: Batch) -> Result<(), VmdkError> {
        batch.iter().try_for_each(|chunk| self.see(chunk))?;
        self.count(batch.iter().map(Bytes::len).sum());
        Ok(())
    }

    fn finish(self) -> Result<Inspection, VmdkError> {
        self.end()
    }
}

impl Inspector {
    /// Looks at the next bytes.
    pub(crate) fn look(&mut self, chunk: &[u8]) -> Result<(), VmdkError> {
        self.see(chunk)?;
        self.count(chunk.len());
        Ok(())
    }

    fn see(&mut self, chunk: &[u8]) -> Result<(), VmdkError> {
        for hasher in &mut self.hashers {
            hasher.update(chunk);
        }
        self.disk.as_mut().map_or(Ok(()), |disk| disk.push(chunk))
    }

    fn count(&mut self, len: usize) {
        self.at_byte += len as u64;
        self.meter.add_bytes(len as u64);
        self.meter.set_position(match (self.position, &self.disk) {
            (Position::Disk, Some(disk)) => disk.lba_bytes(),
            (Position::Bytes | Position::Disk, _) => self.at_byte,
        });
    }

    /// What was seen, after the last byte.
    pub(crate) fn end(self) -> Result<Inspection, VmdkError> {
        let disk = self.disk.map(Disk::finish).transpose()?;
        if self.position == Position::Disk {
            self.meter.set_position(self.meter.weight_bytes());
        }
        Ok(Inspection { digests: self.hashers.into_iter().map(Hasher::finish).collect(), disk })
    }
}

/// A disk under check.
#[derive(Debug)]
enum Disk {
    Structure(Box<StreamCheck>),
    Deep(Box<DeepCheck>),
}

impl Disk {
    fn new(check: DiskCheck) -> Option<Self> {
        match check {
            DiskCheck::None => None,
            DiskCheck::Structure => Some(Self::Structure(Box::default())),
            DiskCheck::Deep => Some(Self::Deep(Box::new(DeepCheck::new(None)))),
        }
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), VmdkError> {
        match self {
            Self::Structure(check) => check.push(chunk),
            Self::Deep(check) => check.push(chunk),
        }
    }

    fn lba_bytes(&self) -> u64 {
        match self {
            Self::Structure(check) => check.position().lba_bytes,
            Self::Deep(check) => check.position().lba_bytes,
        }
    }

    fn finish(self) -> Result<Summary, VmdkError> {
        match self {
            Self::Structure(check) => check.finish(),
            Self::Deep(check) => check.finish(),
        }
    }
}

/// One running digest.
#[derive(Clone, Debug)]
pub(crate) enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha1 => Self::Sha1(Sha1::new()),
            DigestAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
            DigestAlgorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    #[expect(clippy::expect_used, reason = "the length of the output is that of the algorithm")]
    pub(crate) fn finish(self) -> Digest {
        let (algorithm, bytes) = match self {
            Self::Sha1(hasher) => (DigestAlgorithm::Sha1, hasher.finalize().to_vec()),
            Self::Sha256(hasher) => (DigestAlgorithm::Sha256, hasher.finalize().to_vec()),
            Self::Sha512(hasher) => (DigestAlgorithm::Sha512, hasher.finalize().to_vec()),
        };
        Digest::new(algorithm, &bytes).expect("a digest has the length of its algorithm")
    }

    /// The digest of bytes in memory.
    pub(crate) fn digest(algorithm: DigestAlgorithm, bytes: &[u8]) -> Digest {
        let mut hasher = Self::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }
}
