//! Converts disks while the lease is held: one after the other, each with all cores, into a spool
//! whose length is known when it is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_vmdk::ConvertError;
use ovftransfer_vmdk::Options;
use ovftransfer_vmdk::ParallelWriter;
use ovftransfer_vmdk::Progress;
use ovftransfer_vmdk::SECTOR_BYTES;
use ovftransfer_vmdk::Storage;
use ovftransfer_vmdk::VmdkError;
use ovftransfer_vmdk::check_image;
use ovftransfer_vmdk::to_stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::copy::Copy;
use crate::error::Error;
use crate::error::FileChanged;
use crate::event::Event;
use crate::event::Observer;
use crate::import::disks;
use crate::import::disks::ToConvert;
use crate::inspect::DiskCheck;
use crate::inspect::Inspect;
use crate::inspect::Inspection;
use crate::inspect::Position;
use crate::kind::Conversion;
use crate::kind::ConvertedFrom;
use crate::kind::DiskFileFormat;
use crate::meter::FileMeter;
use crate::meter::Leg;
use crate::store::ByteStream;
use crate::store::Sink;
use crate::store::Source;
use crate::store::file::FileSource;
use crate::store::file::blocking;
use crate::store::package::Package;
use crate::store::parts::PackageFile;
use crate::store::parts::stopped;
use crate::store::reference::ALL_ALGORITHMS;
use crate::store::spool::Kept;
use crate::store::spool::SpoolSink;
use crate::store::spool::had_failed;
use crate::verify::Verified;
use crate::verify::check_promise;
use crate::worker::Batch;
use crate::worker::Work;
use crate::worker::Worker;

/// Converts the disks of one package.
#[derive(Debug)]
pub(super) struct Converter<'c> {
    pub(super) package: &'c Package,
    /// Where the spools are.
    pub(super) folder: PathBuf,
    pub(super) stall: Duration,
    pub(super) observer: &'c Arc<dyn Observer>,
}

/// A disk as it is sent.
#[derive(Debug)]
pub(super) struct Converted {
    spool: FileSource,
    pub(super) conversion: Conversion,
}

impl Converted {
    pub(super) const fn size_bytes(&self) -> u64 {
        self.spool.size_bytes()
    }

    /// What is sent.  `room` is given back when it is not needed any more.
    pub(super) fn source(&self, room: Option<OwnedSemaphorePermit>) -> Arc<dyn Source> {
        Arc::new(Spool { file: self.spool.clone(), _room: room })
    }
}

/// A disk that was converted; the room that it takes is free again when this is dropped.
#[derive(Debug)]
struct Spool {
    file: FileSource,
    _room: Option<OwnedSemaphorePermit>,
}

impl Source for Spool {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        self.file.open()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(self.file.size_bytes())
    }
}

/// A disk of the package whose content is at hand, or comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'o> {
    pub(super) file: &'o FileName,
    pub(super) source: &'o dyn Source,
    pub(super) at_hand: Option<&'o FileSource>,
    pub(super) size_bytes: Option<u64>,
    /// What the manifest says about it; what it is made of compares itself.
    pub(super) promised: Option<&'o Digest>,
    /// Whether it is made of files that the manifest proves.
    pub(super) is_proven_by_parts: bool,
    /// Digests that are computed if nothing is promised.
    pub(super) algorithms: &'o [DigestAlgorithm],
}

impl<'o> Origin<'o> {
    /// A file that has been found.
    pub(super) fn of(package: &Package, file: &'o FileName, found: &'o PackageFile) -> Self {
        let is_packed = found.content().is_some();
        Self {
            file,
            source: &**found.source(),
            at_hand: found.at_hand(),
            size_bytes: found.size_bytes(),
            promised: found
                .stored()
                .first()
                .filter(|_| !is_packed)
                .and_then(|part| part.promised.as_ref()),
            is_proven_by_parts: is_packed && found.is_promised(),
            algorithms: match package.is_promised_later() {
                true => &ALL_ALGORITHMS,
                false => &[DigestAlgorithm::Sha256],
            },
        }
    }

    fn inspect(&self) -> Inspect {
        let algorithms = match self.promised {
            Some(digest) => vec![digest.algorithm()],
            None => self.algorithms.to_vec(),
        };
        Inspect { algorithms, disk: DiskCheck::None }
    }

    /// Compares what was read with the manifest.
    fn prove(&self, bytes: u64, seen: Inspection) -> Result<ConvertedFrom, Error> {
        if let Some(expected) = self.promised {
            check_promise(self.file, &seen, expected)?;
        }
        let by_package = self.promised.is_some() || self.is_proven_by_parts;
        Ok(ConvertedFrom::new(self.file.clone(), bytes, seen.digests, by_package))
    }
}

impl Converter<'_> {
    /// Converts a disk.  What it is made of is compared with the package's manifest, every byte, before
    /// anything of it is sent.
    ///
    /// A raw disk is compressed as it is read.  Any other is read once for its digest, and a second
    /// time by position, for its data stands in an order of its own; what cannot be read by position
    /// is kept in a spool meanwhile.
    pub(super) async fn run(
        &self,
        origin: Origin<'_>,
        to_convert: &ToConvert,
        meter: &Arc<FileMeter>,
        scope: &CancellationToken,
    ) -> Result<Converted, Error> {
        let started = Instant::now();
        let (file, from) = (origin.file.clone(), to_convert.kind);
        self.observer.observe(&Event::FileConvert { file, from });
        let (spool, files) = match from {
            DiskFileFormat::Raw => self.pass(origin, to_convert, meter, scope).await?,
            DiskFileFormat::Extents
            | DiskFileFormat::Qcow2
            | DiskFileFormat::SparseVmdk
            | DiskFileFormat::StreamOptimized => {
                self.by_position(origin, to_convert, meter, scope).await?
            }
        };
        let conversion = Conversion::new(from, files, started.elapsed());
        self.observer.observe(&Event::FileConverted {
            file: origin.file.clone(),
            conversion: conversion.clone(),
            bytes: spool.size_bytes(),
        });
        let len_bytes = spool.size_bytes();
        meter.begin(Leg { percent: (HALF_WAY, 100), len_bytes, is_sent: true });
        Ok(Converted { spool, conversion })
    }

    /// Compresses a raw disk as its bytes come.
    async fn pass(
        &self,
        origin: Origin<'_>,
        to_convert: &ToConvert,
        meter: &Arc<FileMeter>,
        scope: &CancellationToken,
    ) -> Result<(FileSource, Vec<ConvertedFrom>), Error> {
        let expected = to_convert.capacity_bytes;
        if let Some(found) = origin.size_bytes {
            disks::check_capacity(self.package, origin.file, found, expected)?;
        }
        let capacity_bytes = origin.size_bytes.unwrap_or(expected).next_multiple_of(SECTOR_BYTES);
        meter.begin(Leg { percent: (0, HALF_WAY), len_bytes: capacity_bytes, is_sent: false });
        let folder = self.folder.clone();
        let packing =
            blocking(move || Packing::new(tempfile::tempfile_in(folder)?, capacity_bytes));
        let mut sink = PackingSink::new(packing.await.map_err(|error| self.spooling(error))?);
        let (bytes, seen) = self.read(origin, &mut sink, meter, scope).await?;
        let from = origin.prove(bytes, seen)?;
        let (content, size_bytes) = sink.take().ok_or_else(|| self.spooling(had_failed()))?;
        Ok((FileSource::new(Arc::new(content), 0, size_bytes), vec![from]))
    }

    /// Reads a disk by position.
    async fn by_position(
        &self,
        origin: Origin<'_>,
        to_convert: &ToConvert,
        meter: &Arc<FileMeter>,
        scope: &CancellationToken,
    ) -> Result<(FileSource, Vec<ConvertedFrom>), Error> {
        let leg =
            Leg { percent: (0, HASHED), len_bytes: origin.size_bytes.unwrap_or(0), is_sent: false };
        meter.begin(leg);
        let (main, from) = self.hold(origin, meter, scope).await?;
        let (mut held, mut files) = (vec![main], vec![from]);
        for (_, name) in &to_convert.extents {
            let vanished = || self.package.wrong(format!("{name} has vanished"));
            let found = self.package.file(name).ok_or_else(vanished)?;
            meter.begin(Leg { len_bytes: found.size_bytes().unwrap_or(0), ..leg });
            let (part, from) =
                self.hold(Origin::of(self.package, name, found), meter, scope).await?;
            held.push(part);
            files.push(from);
        }
        let stamps = || held.iter().map(FileSource::stamp).collect::<io::Result<Vec<_>>>();
        let reading = |error| stopped(origin.file, self.package.location(), 0, error);
        let before = stamps().map_err(reading)?;
        let spool = self.write(origin.file, to_convert, &held, meter, scope).await?;
        if stamps().map_err(reading)? != before {
            let changed = FileChanged { what: "somebody has written to it" };
            return Err(reading(io::Error::other(changed)));
        }
        Ok((spool, files))
    }

    /// Reads a file once, for its digest; what is not of this machine is kept.
    async fn hold(
        &self,
        origin: Origin<'_>,
        meter: &Arc<FileMeter>,
        scope: &CancellationToken,
    ) -> Result<(FileSource, ConvertedFrom), Error> {
        if let Some(file) = origin.at_hand {
            let inspect = origin.inspect();
            let copy = self.copy(origin, &inspect, meter);
            let (bytes, seen) = copy.look(Some(file), scope).await?;
            return Ok((file.clone(), origin.prove(bytes, seen)?));
        }
        let kept = Kept::default();
        let sink = SpoolSink::create(origin.file.clone(), &self.folder, kept.clone());
        let mut sink = sink.await.map_err(|error| self.spooling(error))?;
        let (bytes, seen) = self.read(origin, &mut sink, meter, scope).await?;
        let spooled = kept.lock().pop().ok_or_else(|| self.spooling(had_failed()))?;
        let held = FileSource::new(Arc::new(spooled.content), 0, spooled.size_bytes);
        Ok((held, origin.prove(bytes, seen)?))
    }

    /// Writes a disk that is read by position, on threads that may block.
    async fn write(
        &self,
        file: &FileName,
        to_convert: &ToConvert,
        held: &[FileSource],
        meter: &Arc<FileMeter>,
        scope: &CancellationToken,
    ) -> Result<FileSource, Error> {
        let (folder, kind, held) = (self.folder.clone(), to_convert.kind, held.to_vec());
        let names: Vec<String> = to_convert.extents.iter().map(|(name, _)| name.clone()).collect();
        let expected_bytes = to_convert.capacity_bytes;
        let (meter, cancel) = (Arc::clone(meter), scope.clone());
        // Whoever drops this future does not wait for the threads, but they end soon.
        let stop = cancel.child_token();
        let _stop = stop.clone().drop_guard();
        let written = blocking(move || {
            let broken = |source| ConvertError::Source(VmdkError::Io { at_byte: 0, source });
            let mut storages = held.iter().map(FileSource::storage);
            let main = storages.next().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
            let parts = names.into_iter().zip(storages).map(|(name, part)| Ok((name, part?)));
            let parts: io::Result<BTreeMap<String, Arc<dyn Storage>>> = parts.collect();
            let (main, parts) = (main.map_err(broken)?, parts.map_err(broken)?);
            let image = disks::open(kind, main, &parts).map_err(ConvertError::Source)?;
            let len_bytes = image.as_image().capacity_bytes();
            if len_bytes > expected_bytes.next_multiple_of(SECTOR_BYTES) {
                return Ok(Err(len_bytes));
            }
            let go_on = || {
                if stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            // What was not at hand could not be checked before the lease was taken.
            check_image(&image, &mut |_| go_on())?;
            let content = tempfile::tempfile_in(folder);
            let content = content
                .map_err(|source| ConvertError::Target(VmdkError::Io { at_byte: 0, source }))?;
            meter.begin(Leg { percent: (HASHED, HALF_WAY), len_bytes, is_sent: false });
            let on_progress = &mut |progress: Progress| {
                meter.set_position(progress.lba_bytes);
                go_on()
            };
            let (_, made) = to_stream(image.as_image(), &content, Options::default(), on_progress)?;
            Ok(Ok(FileSource::new(Arc::new(content), 0, made.file_bytes())))
        });
        match written.await {
            Ok(Ok(spool)) => Ok(spool),
            Ok(Err(found_bytes)) => {
                disks::check_capacity(self.package, file, found_bytes, expected_bytes)?;
                Err(Error::Cancelled)
            }
            Err(ConvertError::Cancelled) => Err(Error::Cancelled),
            Err(ConvertError::Source(VmdkError::Io { at_byte, source })) => {
                Err(stopped(file, self.package.location(), at_byte, source))
            }
            Err(ConvertError::Target(VmdkError::Io { source, .. })) => Err(self.spooling(source)),
            Err(ConvertError::Source(error) | ConvertError::Target(error)) => {
                Err(disks::unusable(file, error))
            }
            Err(error) => Err(Error::Refused { problem: error.to_string() }),
        }
    }

    async fn read(
        &self,
        origin: Origin<'_>,
        sink: &mut dyn Sink,
        meter: &Arc<FileMeter>,
        scope: &CancellationToken,
    ) -> Result<(u64, Inspection), Error> {
        let (inspect, folder) = (origin.inspect(), self.folder.display().to_string());
        let copy = Copy { sink_at: &folder, ..self.copy(origin, &inspect, meter) };
        copy.run(sink, scope).await
    }

    fn copy<'a>(
        &'a self,
        origin: Origin<'a>,
        inspect: &'a Inspect,
        meter: &'a Arc<FileMeter>,
    ) -> Copy<'a> {
        Copy {
            file: origin.file,
            source: origin.source,
            source_at: self.package.location(),
            sink_at: "",
            inspect,
            position: Position::Bytes,
            meter,
            stall: self.stall,
        }
    }

    fn spooling(&self, source: io::Error) -> Error {
        Error::Local { action: "write into", path: self.folder.clone(), source }
    }
}

/// Takes a raw disk, and writes it as a stream-optimized one into a file without a name.
#[derive(Debug)]
struct PackingSink {
    worker: Worker<Packing>,
    made: Option<(File, u64)>,
}

impl PackingSink {
    const fn new(packing: Packing) -> Self {
        Self { worker: Worker::new(packing), made: None }
    }

    /// What was written, and its length, when the last byte has come.
    fn take(self) -> Option<(File, u64)> {
        self.made
    }
}

impl Sink for PackingSink {
    fn write(&mut self, batch: Vec<Bytes>) -> BoxFuture<'_, io::Result<()>> {
        self.worker.feed(batch).boxed()
    }

    fn finish(&mut self) -> BoxFuture<'_, io::Result<()>> {
        async move {
            self.made = Some(self.worker.finish().await?.ok_or_else(had_failed)?);
            Ok(())
        }
        .boxed()
    }

    /// Nothing: the file has no name.
    fn commit(self: Box<Self>, _proof: &Verified) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }

    /// Nothing: the file has no name.
    fn abort(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// The work behind a [`PackingSink`].
struct Packing {
    writer: ParallelWriter<File>,
    next_lba_sectors: u64,
    /// The beginning of a sector whose end has not come.
    rest: Vec<u8>,
}

impl fmt::Debug for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packing")
            .field("next_lba_sectors", &self.next_lba_sectors)
            .finish_non_exhaustive()
    }
}

impl Packing {
    fn new(content: File, capacity_bytes: u64) -> io::Result<Self> {
        let writer = ParallelWriter::new(content, capacity_bytes, Options::default());
        Ok(Self { writer: writer.map_err(failed)?, next_lba_sectors: 0, rest: Vec::new() })
    }

    fn push(&mut self, mut data: &[u8]) -> io::Result<()> {
        let sector = usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX);
        if !self.rest.is_empty() {
            let (head, tail) = data.split_at(data.len().min(sector - self.rest.len()));
            self.rest.extend_from_slice(head);
            data = tail;
            if self.rest.len() < sector {
                return Ok(());
            }
            let rest = mem::take(&mut self.rest);
            self.whole(&rest)?;
        }
        let (whole, rest) = data.split_at(data.len() - data.len() % sector);
        self.rest.extend_from_slice(rest);
        self.whole(whole)
    }

    fn whole(&mut self, sectors: &[u8]) -> io::Result<()> {
        self.writer.write(self.next_lba_sectors, sectors).map_err(failed)?;
        self.next_lba_sectors += sectors.len() as u64 / SECTOR_BYTES;
        Ok(())
    }
}

impl Work for Packing {
    type Output = (File, u64);
    type Error = io::Error;

    fn batch(&mut self, batch: Batch) -> io::Result<()> {
        batch.iter().try_for_each(|chunk| self.push(chunk))
    }

    fn finish(mut self) -> io::Result<(File, u64)> {
        if !self.rest.is_empty() {
            let sector = usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX);
            self.rest.resize(sector, 0);
            let rest = mem::take(&mut self.rest);
            self.whole(&rest)?;
        }
        let (content, made) = self.writer.finish().map_err(failed)?;
        Ok((content, made.file_bytes()))
    }
}

fn failed(error: VmdkError) -> io::Error {
    if let VmdkError::Io { source, .. } = error { source } else { io::Error::other(error) }
}

/// How far a file is, in percent, when it is to be sent: to be read and compressed is half of the
/// work.
const HALF_WAY: u8 = 50;

/// How far it is when it has been read for its digest, where it is read a second time.
const HASHED: u8 = 10;

#[cfg(test)]
mod tests {
    use ovftransfer_vmdk::GrainReader;

    use super::*;

    /// A raw disk may come in chunks of any length, and end within a sector.
    #[test]
    fn chunks_of_any_length_become_the_same_disk() {
        let disk: Vec<u8> = (0..200_100_u32).map(|at| at.to_le_bytes()[0] | 1).collect();
        let pack = |len: usize| {
            let capacity_bytes = (disk.len() as u64).next_multiple_of(SECTOR_BYTES);
            let mut packing = Packing::new(tempfile::tempfile().unwrap(), capacity_bytes).unwrap();
            for chunk in disk.chunks(len) {
                packing.batch(vec![Bytes::copy_from_slice(chunk)]).unwrap();
            }
            let (content, size_bytes) = packing.finish().unwrap();
            let mut bytes = vec![0; usize::try_from(size_bytes).unwrap()];
            let source = FileSource::new(Arc::new(content), 0, size_bytes);
            source.read_exact_at(0, &mut bytes).unwrap();
            bytes
        };
        let whole = pack(disk.len());
        for len in [1, 100, 511, 512, 513, 70_000] {
            assert!(pack(len) == whole, "{len}");
        }
        let mut reader = GrainReader::new(whole.as_slice()).unwrap();
        let mut read = Vec::new();
        while let Some(grain) = reader.next_grain().unwrap() {
            read.extend_from_slice(grain.data());
        }
        assert_eq!(read[..disk.len()], disk);
        assert!(read[disk.len()..].iter().all(|byte| *byte == 0));
    }
}
