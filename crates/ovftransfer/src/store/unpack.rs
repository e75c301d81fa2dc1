//! Stream-optimized disks that are written as raw ones, while they come.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_vmdk::GrainDecoder;
use ovftransfer_vmdk::Header;
use ovftransfer_vmdk::SECTOR_BYTES;
use tokio::time::Instant;

use crate::inspect::Hasher;
use crate::store::Destination;
use crate::store::Sink;
use crate::store::file::ZEROS;
use crate::store::file::blocking;
use crate::store::spool::had_failed;
use crate::verify::Verified;

/// Takes a stream-optimized disk, and gives a raw one to another destination.
#[derive(Debug)]
pub(crate) struct RawDestination {
    inner: Arc<dyn Destination>,
    algorithm: DigestAlgorithm,
    written: Written,
}

impl RawDestination {
    pub(crate) fn new(inner: Arc<dyn Destination>, algorithm: DigestAlgorithm) -> Self {
        Self { inner, algorithm, written: Written::default() }
    }

    /// What was written by the last try, once it has come to its end.
    pub(crate) fn written(&self) -> Written {
        self.written.clone()
    }
}

impl Destination for RawDestination {
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
        async move {
            self.written.set(None);
            Ok(Box::new(RawSink {
                inner: self.inner.create().await?,
                unpacking: Some(Box::new(Unpacking {
                    decoder: GrainDecoder::new(),
                    hasher: Hasher::new(self.algorithm),
                    input: VecDeque::new(),
                    grains: VecDeque::new(),
                    at_byte: 0,
                })),
                written: self.written.clone(),
            }) as Box<dyn Sink>)
        }
        .boxed()
    }
}

/// The raw disk that came out.  Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written(Arc<Mutex<Option<(u64, Digest)>>>);

impl Written {
    #[cfg(test)]
    pub(crate) fn of(written: (u64, Digest)) -> Self {
        Self(Arc::new(Mutex::new(Some(written))))
    }

    /// Its size in bytes and its digest.
    pub(crate) fn get(&self) -> Option<(u64, Digest)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, written: Option<(u64, Digest)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = written;
    }
}

/// Unpacks one disk.
#[derive(Debug)]
struct RawSink {
    inner: Box<dyn Sink>,
    /// Nothing after an error, or if a wait was given up.
    unpacking: Option<Box<Unpacking>>,
    written: Written,
}

impl RawSink {
    /// Writes a little of what has come.  Tells whether there may be more.
    async fn step(&mut self, is_end: bool) -> io::Result<bool> {
        let mut unpacking = self.unpacking.take().ok_or_else(had_failed)?;
        let (unpacking, made) = blocking(move || {
            let made = unpacking.step(is_end);
            (unpacking, made)
        })
        .await;
        let raw = made?;
        let is_some = !raw.is_empty();
        if is_some {
            self.inner.write(raw).await?;
        }
        self.unpacking = Some(unpacking);
        Ok(is_some)
    }
}

impl Sink for RawSink {
    /// A hole of a TiB takes a quarter of an hour, if only for its digest.  Nobody who waits for a
    /// write may take that for a peer that takes nothing, so what comes meanwhile is kept for a while.
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        async move {
            let unpacking = self.unpacking.as_mut().ok_or_else(had_failed)?;
            unpacking.input.extend(batch);
            let begun = Instant::now();
            while begun.elapsed() < BUSY_MAX && self.step(false).await? {}
            Ok(())
        }
        .boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        async move {
            while self.step(true).await? {}
            let unpacking = self.unpacking.take().ok_or_else(had_failed)?;
            let Unpacking { decoder, hasher, at_byte, .. } = *unpacking;
            decoder.finish().map_err(io::Error::other)?;
            self.written.set(Some((at_byte, hasher.finish())));
            self.inner.finish().await
        }
        .boxed()
    }

    fn commit(self: Box<Self>, proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        match self.written.get() {
            Some((bytes, digest)) => self.inner.commit(&proof.of_what_is_in_it(bytes, digest)),
            None => std::future::ready(Err(had_failed())).boxed(),
        }
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        self.inner.abort()
    }
}

/// A disk that comes in grains and goes out byte for byte.
#[derive(Debug)]
struct Unpacking {
    decoder: GrainDecoder,
    hasher: Hasher,
    input: VecDeque<Bytes>,
    /// Grains that have come, with their places in bytes.
    grains: VecDeque<(u64, Bytes)>,
    /// Where the raw disk goes on.
    at_byte: u64,
}

impl Unpacking {
    /// The next bytes of the raw disk; none if more has to come first, or nothing more comes.
    fn step(&mut self, is_end: bool) -> io::Result<Vec<Bytes>> {
        let mut raw = Vec::new();
        let mut len_bytes = 0;
        while len_bytes < STEP_BYTES {
            let piece = match self.grains.front_mut() {
                Some((place, _)) if *place > self.at_byte => zeros(*place - self.at_byte),
                Some((_, grain)) => {
                    let grain = grain.split_off(0);
                    self.grains.pop_front();
                    grain
                }
                None if !self.input.is_empty() => {
                    self.decode()?;
                    continue;
                }
                None if is_end => zeros(self.capacity_bytes().saturating_sub(self.at_byte)),
                None => Bytes::new(),
            };
            if piece.is_empty() {
                break;
            }
            self.hasher.update(&piece);
            self.at_byte += piece.len() as u64;
            len_bytes += piece.len();
            raw.push(piece);
        }
        Ok(raw)
    }

    /// Takes a little of what has come: what has been compressed well becomes much.
    fn decode(&mut self) -> io::Result<()> {
        let Some(chunk) = self.input.front_mut() else { return Ok(()) };
        let some = chunk.split_to(chunk.len().min(DECODE_BYTES));
        if chunk.is_empty() {
            self.input.pop_front();
        }
        let mut found = Vec::new();
        self.decoder
            .push(&some, &mut |lba_sectors, data| {
                found
                    .push((lba_sectors.saturating_mul(SECTOR_BYTES), Bytes::copy_from_slice(data)));
                Ok(())
            })
            .map_err(io::Error::other)?;
        let capacity_bytes = self.capacity_bytes();
        for (place, mut grain) in found {
            let end = self.grains.back().map(|(place, grain)| place + grain.len() as u64);
            if place < end.unwrap_or(self.at_byte) {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "its grains are not in the order of the disk, so that no raw disk can be \
                     written while it comes",
                ));
            }
            // The last grain is whole, whatever the capacity.
            let left = usize::try_from(capacity_bytes.saturating_sub(place)).unwrap_or(usize::MAX);
            grain.truncate(left);
            self.grains.push_back((place, grain));
        }
        Ok(())
    }

    fn capacity_bytes(&self) -> u64 {
        self.decoder.header().map_or(0, Header::capacity_bytes)
    }
}

/// Zeros, at most as many.
fn zeros(len_bytes: u64) -> Bytes {
    let len = usize::try_from(len_bytes).unwrap_or(usize::MAX).min(ZEROS.len());
    Bytes::from_static(ZEROS).slice(..len)
}

/// What is written at once, in bytes: enough that handing over does not show.
const STEP_BYTES: usize = 1 << 20;

/// What is inflated at once, in bytes of the stream.  A grain takes a sector at least, and becomes
/// 64 KiB: 2 MiB in all.
const DECODE_BYTES: usize = 16 << 10;

/// How long a write goes on with what is left from before: far below the time after which a
/// stream counts as stalled.  Each one that comes meanwhile has 256 KiB: 12 MiB for a hole of a TiB.
const BUSY_MAX: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use ovftransfer_vmdk::Options;
    use ovftransfer_vmdk::StreamWriter;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Destination for Memory {
        fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
            self.0.lock().unwrap().clear();
            std::future::ready(Ok(Box::new(self.clone()) as Box<dyn Sink>)).boxed()
        }
    }

    impl Sink for Memory {
        fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
            batch.iter().for_each(|chunk| self.0.lock().unwrap().extend_from_slice(chunk));
            std::future::ready(Ok(())).boxed()
        }

        fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
            std::future::ready(Ok(())).boxed()
        }

        fn commit(self: Box<Self>, _proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
            std::future::ready(Ok(())).boxed()
        }

        fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
            std::future::ready(Ok(())).boxed()
        }
    }

    const CAPACITY: usize = (5 << 20) + 1536;

    /// A disk with holes at its beginning, in the middle and at its end; or none of the latter.
    fn disk(is_full: bool) -> (Vec<u8>, Vec<u8>) {
        let mut raw = vec![0; CAPACITY];
        let mut writer =
            StreamWriter::new(Vec::new(), CAPACITY as u64, Options::default()).unwrap();
        let places = [1_usize, 2, 40].into_iter().chain(is_full.then_some(80));
        for grain in places {
            let data: Vec<u8> = (0..65_536).map(|at| (at * grain % 251).to_le_bytes()[0]).collect();
            let len = data.len().min(CAPACITY - grain * 65_536);
            raw[grain * 65_536..][..len].copy_from_slice(&data[..len]);
            writer.write_grain(grain as u64 * 128, &data[..len]).unwrap();
        }
        (raw, writer.finish().unwrap().0)
    }

    async fn unpack(file: &[u8], chunk_len: usize) -> (io::Result<()>, Vec<u8>, Written) {
        let memory = Memory::default();
        let raw = RawDestination::new(Arc::new(memory.clone()), DigestAlgorithm::Sha256);
        let mut sink = raw.create().await.unwrap();
        let mut outcome = Ok(());
        for chunk in file.chunks(chunk_len) {
            outcome = sink.write(vec![Bytes::copy_from_slice(chunk)]).await;
            if outcome.is_err() {
                break;
            }
        }
        if outcome.is_ok() {
            outcome = sink.finish().await;
        }
        let bytes = memory.0.lock().unwrap().clone();
        (outcome, bytes, raw.written())
    }

    #[tokio::test]
    async fn a_disk_comes_out_as_it_was() {
        for is_full in [false, true] {
            let (raw, file) = disk(is_full);
            for chunk_len in [700, 65_536, file.len()] {
                let (outcome, bytes, written) = unpack(&file, chunk_len).await;
                outcome.unwrap();
                assert!(bytes == raw, "{chunk_len}");
                let digest = Hasher::digest(DigestAlgorithm::Sha256, &raw);
                assert_eq!(written.get(), Some((CAPACITY as u64, digest)));
            }
        }
    }

    #[tokio::test]
    async fn a_disk_that_is_cut_or_spoiled_is_an_error() {
        let (_, file) = disk(true);
        for len in [0, 512, file.len() / 2, file.len() - 1] {
            let (outcome, _, written) = unpack(&file[..len], 4096).await;
            assert!(outcome.is_err() && written.get().is_none(), "{len}");
        }
        let mut spoiled = file.clone();
        // In the data of the first grain, behind its marker.
        let header = Header::parse(file.first_chunk().unwrap()).unwrap();
        spoiled[usize::try_from(header.overhead_sectors * SECTOR_BYTES).unwrap() + 40] ^= 1;
        assert!(unpack(&spoiled, 4096).await.0.is_err());
    }
}
