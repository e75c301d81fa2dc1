//! Virtual disks and files of the simulated datastores, in constant memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use crate::generate::{GRAIN_BYTES, Generator, fill_random};
use crate::lock::lock;
use crate::scenario::DiskSpec;

/// A virtual disk: made from a seed, or stored as it was uploaded.
#[derive(Debug)]
pub(crate) struct Disk {
    capacity_bytes: u64,
    content: Content,
    /// What the stream of a generated disk was found to be; it is the same each time.
    stream: Mutex<Option<StreamDigest>>,
}

#[derive(Debug)]
enum Content {
    Generated(Generator),
    Stored(Store),
}

/// Digests of a disk as a stream-optimized VMDK.
#[derive(Clone, Debug)]
pub(crate) struct StreamDigest {
    pub(crate) sha1: Vec<u8>,
    /// If it was wanted.
    pub(crate) sha256: Option<Vec<u8>>,
    /// Length of the stream.
    pub(crate) size_bytes: u64,
}

/// A grain's worth of memory to read into.
pub(crate) type GrainBuffer = Box<[u8]>;

/// Digests of a disk's content, lower-case hex.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ContentDigest {
    /// SHA-256 of the whole disk, holes as zeros: what `sha256sum` says of its raw image.
    pub raw_sha256: String,
}

impl Disk {
    /// A disk with the content that `spec` describes.
    pub(crate) fn generated(spec: &DiskSpec) -> Self {
        let generator = Generator::new(spec);
        Self::new(generator.capacity_bytes(), Content::Generated(generator))
    }

    /// An empty disk whose data will be kept in a nameless file in `folder`.
    pub(crate) fn stored(folder: &Path, capacity_bytes: u64) -> io::Result<Self> {
        Ok(Self::new(capacity_bytes, Content::Stored(Store::new(folder, capacity_bytes)?)))
    }

    fn new(capacity_bytes: u64, content: Content) -> Self {
        Self { capacity_bytes, content, stream: Mutex::default() }
    }

    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// The first grain from `from` on, by number, that may hold other bytes than zeros.
    pub(crate) fn next_grain(&self, from: u64) -> Option<u64> {
        match &self.content {
            Content::Generated(generator) => generator.next_grain(from),
            Content::Stored(store) => lock(&store.written).next(from),
        }
    }

    /// Whether all whole grains that hold data hold the same.
    pub(crate) fn repeats(&self) -> bool {
        match &self.content {
            Content::Generated(generator) => generator.repeats(),
            Content::Stored(_) => false,
        }
    }

    /// What is known of the disk's stream, with SHA-256 if that is wanted.
    pub(crate) fn stream_digest(&self, with_sha256: bool) -> Option<StreamDigest> {
        lock(&self.stream).clone().filter(|known| known.sha256.is_some() || !with_sha256)
    }

    /// Notes what the disk's stream was found to be, if that cannot change.
    pub(crate) fn keep_stream_digest(&self, digest: StreamDigest) {
        if matches!(self.content, Content::Generated(_)) {
            *lock(&self.stream) = Some(digest);
        }
    }

    /// Bytes in grains that may hold data.
    pub(crate) fn populated_bytes(&self) -> u64 {
        let mut bytes = 0;
        let mut from = 0;
        while let Some(grain) = self.next_grain(from) {
            bytes += self.grain_bytes(grain);
            from = grain + 1;
        }
        bytes
    }

    /// Bytes of a grain inside the capacity: 64 KiB but for the last one.
    pub(crate) fn grain_bytes(&self, grain: u64) -> u64 {
        self.capacity_bytes.saturating_sub(grain.saturating_mul(GRAIN_BYTES)).min(GRAIN_BYTES)
    }

    /// Reads one grain into `buffer`; the part of the last grain above the capacity is zeros.
    pub(crate) fn read_grain(&self, grain: u64, buffer: &mut GrainBuffer) -> io::Result<()> {
        match &self.content {
            Content::Generated(generator) => {
                generator.fill(grain, buffer);
                Ok(())
            }
            Content::Stored(store) => store.read_at(grain * GRAIN_BYTES, buffer),
        }
    }

    /// Writes `data` at a byte offset; what lies above the capacity is dropped.
    ///
    /// # Errors
    ///
    /// What the file system says, and `Unsupported` for a generated disk.
    pub(crate) fn write_at(&self, at_byte: u64, data: &[u8]) -> io::Result<()> {
        let Content::Stored(store) = &self.content else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the disk is read only"));
        };
        let room =
            usize::try_from(self.capacity_bytes.saturating_sub(at_byte)).unwrap_or(usize::MAX);
        store.write_at(at_byte, data.get(..room).unwrap_or(data))
    }

    /// Makes a stored disk empty again.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match &self.content {
            Content::Generated(_) => Ok(()),
            Content::Stored(store) => store.clear(),
        }
    }

    /// Digests of the content.  Reads the whole disk and takes about 0.6 s/GB of capacity.
    pub(crate) fn digest(&self) -> io::Result<ContentDigest> {
        let mut hasher = Sha256::new();
        let mut buffer = grain_buffer();
        let zeros = grain_buffer();
        let mut next = self.next_grain(0);
        for grain in 0..self.capacity_bytes.div_ceil(GRAIN_BYTES) {
            let len = usize::try_from(self.grain_bytes(grain)).unwrap_or_default();
            if next == Some(grain) {
                self.read_grain(grain, &mut buffer)?;
                hasher.update(&buffer[..len]);
                next = self.next_grain(grain + 1);
            } else {
                hasher.update(&zeros[..len]);
            }
        }
        Ok(ContentDigest { raw_sha256: hex(&hasher.finalize()) })
    }
}

/// A buffer of one grain, zeros.
pub(crate) fn grain_buffer() -> GrainBuffer {
    vec![0; usize::try_from(GRAIN_BYTES).unwrap_or_default()].into()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file beside the disks: NVRAM, ISO image.
#[derive(Debug)]
pub(crate) struct Blob {
    file: Mutex<File>,
}

impl Blob {
    /// An empty nameless file in `folder`.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: Mutex::new(tempfile::tempfile_in(folder)?) })
    }

    /// A nameless file in `folder` with `len_bytes` made from `seed`.
    pub(crate) fn generated(folder: &Path, len_bytes: u64, seed: u64) -> io::Result<Self> {
        let mut file = tempfile::tempfile_in(folder)?;
        let mut buffer = grain_buffer();
        let mut left = len_bytes;
        let mut part = seed;
        while left > 0 {
            fill_random(part, &mut buffer);
            let len = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&buffer[..len])?;
            left -= u64::try_from(len).unwrap_or(left);
            part = part.wrapping_add(0x1_0000_0000);
        }
        Ok(Self { file: Mutex::new(file) })
    }

    pub(crate) fn len_bytes(&self) -> io::Result<u64> {
        Ok(lock(&self.file).metadata()?.len())
    }

    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    pub(crate) fn read_at(&self, at_byte: u64, buffer: &mut [u8]) -> io::Result<usize> {
        read_at(&lock(&self.file), at_byte, buffer)
    }

    pub(crate) fn write_at(&self, at_byte: u64, data: &[u8]) -> io::Result<()> {
        write_at(&lock(&self.file), at_byte, data)
    }

    pub(crate) fn clear(&self) -> io::Result<()> {
        lock(&self.file).set_len(0)
    }

    /// SHA-256 of the content, lower-case hex.
    pub(crate) fn sha256(&self) -> io::Result<String> {
        let mut hasher = Sha256::new();
        let mut buffer = grain_buffer();
        let mut at_byte = 0;
        loop {
            let read = self.read_at(at_byte, &mut buffer)?;
            if read == 0 {
                return Ok(hex(&hasher.finalize()));
            }
            hasher.update(&buffer[..read]);
            at_byte += read as u64;
        }
    }
}

/// A sparse file and the grains that were written to it.
#[derive(Debug)]
struct Store {
    file: Mutex<File>,
    written: Mutex<GrainMap>,
}

impl Store {
    fn new(folder: &Path, capacity_bytes: u64) -> io::Result<Self> {
        let written = GrainMap::new(capacity_bytes.div_ceil(GRAIN_BYTES))?;
        let file = Mutex::new(tempfile::tempfile_in(folder)?);
        Ok(Self { file, written: Mutex::new(written) })
    }

    fn read_at(&self, at_byte: u64, buffer: &mut [u8]) -> io::Result<()> {
        let read = read_at(&lock(&self.file), at_byte, buffer)?;
        buffer[read..].fill(0);
        Ok(())
    }

    fn write_at(&self, at_byte: u64, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        write_at(&lock(&self.file), at_byte, data)?;
        let end = at_byte + data.len() as u64;
        lock(&self.written).add(at_byte / GRAIN_BYTES..end.div_ceil(GRAIN_BYTES));
        Ok(())
    }

    fn clear(&self) -> io::Result<()> {
        lock(&self.file).set_len(0)?;
        lock(&self.written).clear();
        Ok(())
    }
}

/// One bit for each grain.  A TiB takes 2 MiB, of which the system gives only touched pages.
struct GrainMap {
    words: Vec<u64>,
}

impl GrainMap {
    fn new(grains: u64) -> io::Result<Self> {
        let words = usize::try_from(grains.div_ceil(64)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(Self { words: vec![0; words] })
    }

    fn add(&mut self, grains: std::ops::Range<u64>) {
        for grain in grains {
            let (word, bit) = place(grain);
            if let Some(word) = self.words.get_mut(word) {
                *word |= 1 << bit;
            }
        }
    }

    fn next(&self, from: u64) -> Option<u64> {
        let (first, bit) = place(from);
        let mut mask = u64::MAX << bit;
        for (index, word) in self.words.iter().enumerate().skip(first) {
            let found = word & mask;
            if found != 0 {
                return Some(index as u64 * 64 + u64::from(found.trailing_zeros()));
            }
            mask = u64::MAX;
        }
        None
    }

    fn clear(&mut self) {
        self.words = vec![0; self.words.len()];
    }
}

impl fmt::Debug for GrainMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        f.debug_struct("GrainMap").field("written", &written).finish()
    }
}

fn place(grain: u64) -> (usize, u64) {
    (usize::try_from(grain / 64).unwrap_or(usize::MAX), grain % 64)
}

fn read_at(mut file: &File, at_byte: u64, buffer: &mut [u8]) -> io::Result<usize> {
    file.seek(SeekFrom::Start(at_byte))?;
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn write_at(mut file: &File, at_byte: u64, data: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at_byte))?;
    file.write_all(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Data, DataKind};

    fn random(capacity: u64, amount: u64) -> Disk {
        Disk::generated(&DiskSpec::new(capacity).with_data(Data::new(DataKind::Random, amount, 1)))
    }

    #[test]
    fn what_was_stored_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let source = random(1 << 20, 200_000);
        let stored = Disk::stored(folder.path(), 1 << 20).unwrap();
        let mut buffer = grain_buffer();
        let mut from = 0;
        while let Some(grain) = source.next_grain(from) {
            source.read_grain(grain, &mut buffer).unwrap();
            stored.write_at(grain * GRAIN_BYTES, &buffer).unwrap();
            from = grain + 1;
        }
        assert_eq!(stored.populated_bytes(), 4 * GRAIN_BYTES);
        assert_eq!(stored.digest().unwrap(), source.digest().unwrap());
        stored.clear().unwrap();
        assert_eq!(stored.next_grain(0), None);
        assert_eq!(stored.digest().unwrap(), random(1 << 20, 0).digest().unwrap());
    }

    #[test]
    fn holes_cost_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::stored(folder.path(), 4 << 40).unwrap();
        let far = 100_000 * GRAIN_BYTES;
        disk.write_at(far, &[7; 512]).unwrap();
        assert_eq!(disk.next_grain(0), Some(100_000));
        assert_eq!(disk.next_grain(100_001), None);
        let mut buffer = grain_buffer();
        disk.read_grain(99_999, &mut buffer).unwrap();
        assert!(buffer.iter().all(|byte| *byte == 0));
        disk.read_grain(100_000, &mut buffer).unwrap();
        assert_eq!(buffer[..513], [&[7; 512][..], &[0]].concat());
    }

    #[test]
    fn nothing_is_written_above_the_capacity() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::stored(folder.path(), 1024).unwrap();
        disk.write_at(512, &[1; 1024]).unwrap();
        disk.write_at(4096, &[1; 1024]).unwrap();
        let raw = [vec![0; 512], vec![1; 512]].concat();
        assert_eq!(disk.digest().unwrap().raw_sha256, hex(&Sha256::digest(raw)));
        assert_eq!(disk.populated_bytes(), 1024);
    }

    #[test]
    fn a_generated_disk_is_read_only() {
        let error = random(1 << 20, 1).write_at(0, &[1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn a_blob_keeps_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let blob = Blob::generated(folder.path(), 100_000, 9).unwrap();
        assert_eq!(blob.len_bytes().unwrap(), 100_000);
        let mut buffer = vec![0; 100_001];
        assert_eq!(blob.read_at(0, &mut buffer).unwrap(), 100_000);
        assert_eq!(blob.sha256().unwrap(), hex(&Sha256::digest(&buffer[..100_000])));
        blob.clear().unwrap();
        blob.write_at(0, b"abc").unwrap();
        assert_eq!(blob.sha256().unwrap(), hex(&Sha256::digest("abc")));
    }
}
