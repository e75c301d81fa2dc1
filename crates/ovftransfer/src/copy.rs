//! Moves the bytes of one file.  Every byte passes through [`copy`] once.

mod look;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::Fuse;
use ovftransfer_ovf::FileName;
use ovftransfer_vmdk::VmdkError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::inspect::Inspect;
use crate::inspect::Inspection;
use crate::inspect::Inspector;
use crate::inspect::Position;
use crate::meter::FileMeter;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::ByteStream;
use crate::store::Sink;
use crate::store::Source;
use crate::store::parts::stopped;
use crate::worker::Worker;

/// One file, and how it is to be moved.
#[derive(Debug)]
pub(crate) struct Copy<'c> {
    pub(crate) file: &'c FileName,
    pub(crate) source: &'c dyn Source,
    /// Where the source is, for messages: a host as `name:port`, or a file.
    pub(crate) source_at: &'c str,
    /// Where the sink is, for messages.
    pub(crate) sink_at: &'c str,
    pub(crate) inspect: &'c Inspect,
    pub(crate) position: Position,
    pub(crate) meter: &'c Arc<FileMeter>,
    /// How long one read or write may take before the stream counts as stalled.
    pub(crate) stall: Duration,
}

impl Copy<'_> {
    /// Reads, looks at, counts and writes every byte, once; then waits until the sink has it all.
    ///
    /// Returns the number of bytes and what was seen in them.
    pub(crate) async fn run(
        &self,
        sink: &mut dyn Sink,
        scope: &CancellationToken,
    ) -> Result<(u64, Inspection), Error> {
        let inspector = Inspector::new(self.inspect, Arc::clone(self.meter), self.position);
        let mut inspector = Worker::new(inspector);
        let mut at_byte = 0;
        let opened = self.stalled(self.source.open());
        let mut stream = match scope.run_until_cancelled(opened).await {
            Some(opened) => opened.map_err(|error| self.reading(at_byte, error))?.fuse(),
            None => return Err(Error::Cancelled),
        };
        loop {
            let read = if sabotage::on(Defect::CancelIgnoredByStreams) {
                Some(self.read(&mut stream).await)
            } else {
                scope.run_until_cancelled(self.read(&mut stream)).await
            };
            let Some(read) = read else { return Err(Error::Cancelled) };
            if read.batch.is_empty() && read.failed.is_none() {
                break;
            }
            let len_bytes: u64 = read.batch.iter().map(|chunk| chunk.len() as u64).sum();
            // Raced too: it waits for a thread, and others may have taken them all.
            match scope.run_until_cancelled(inspector.feed(read.batch.clone())).await {
                Some(fed) => fed.map_err(|error| self.unsound(error))?,
                None => return Err(Error::Cancelled),
            }
            // A write that is dropped half-way leaves the sink good for `abort` only, which is
            // all that a cancelled file needs; a peer that takes nothing must not hold it up.
            let mut batch = read.batch;
            if sabotage::on(Defect::DropLastChunk) && len_bytes < BATCH_BYTES as u64 {
                batch.pop();
            }
            let write = self.stalled(sink.write(batch));
            match scope.run_until_cancelled(write).await {
                Some(written) => written.map_err(|error| self.writing(at_byte, error))?,
                None => return Err(Error::Cancelled),
            }
            at_byte += len_bytes;
            if let Some(error) = read.failed {
                return Err(self.reading(at_byte, error));
            }
        }
        // First the bytes, then the peer: a disk that is not sound must not be finished.
        self.check_size(at_byte)?;
        let seen = match scope.run_until_cancelled(inspector.finish()).await {
            Some(seen) => seen.map_err(|error| self.unsound(error))?,
            None => return Err(Error::Cancelled),
        };
        // It stops only with an error, or when a wait was given up.
        let seen = seen.ok_or(Error::Cancelled)?;
        match scope.run_until_cancelled(sink.finish()).await {
            Some(finished) => finished.map_err(|error| self.writing(at_byte, error))?,
            None => return Err(Error::Cancelled),
        }
        Ok((at_byte, seen))
    }

    /// Collects chunks until they are worth handing on; empty at the end of the stream.
    ///
    /// What came before a failure is handed on too, so that the place of the failure is right.
    async fn read(&self, stream: &mut Fuse<ByteStream>) -> Read {
        let mut batch = Vec::new();
        let mut len_bytes = 0;
        let enough = tokio::time::sleep(self.stall);
        tokio::pin!(enough);
        while len_bytes < BATCH_BYTES {
            let chunk = tokio::select! {
                biased;
                chunk = stream.next() => chunk,
                () = &mut enough, if !sabotage::on(Defect::NoStallLimit) => {
                    let failed = batch.is_empty().then(|| self.stall_error());
                    return Read { batch, failed };
                }
            };
            match chunk {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    if batch.is_empty() {
                        enough.as_mut().reset(Instant::now() + BATCH_WAIT);
                    }
                    len_bytes += chunk.len();
                    batch.push(chunk);
                }
                Some(Err(error)) => return Read { batch, failed: Some(error) },
                None => break,
            }
        }
        Read { batch, failed: None }
    }

    async fn stalled<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        if sabotage::on(Defect::NoStallLimit) {
            return work.await;
        }
        match tokio::time::timeout(self.stall, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.stall_error()),
        }
    }

    fn stall_error(&self) -> io::Error {
        let text = format!("no byte moved for {} seconds", self.stall.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, text)
    }

    /// A stream that ends early must not look whole, whatever the connection said.
    fn check_size(&self, at_byte: u64) -> Result<(), Error> {
        match self.source.size_bytes() {
            Some(expected) if expected != at_byte => Err(self.reading(
                at_byte,
                io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the file has {expected} bytes, but {at_byte} came"),
                ),
            )),
            _ => Ok(()),
        }
    }

    fn unsound(&self, source: VmdkError) -> Error {
        Error::Structure { file: self.file.clone(), source: Box::new(source) }
    }

    fn reading(&self, at_byte: u64, source: io::Error) -> Error {
        stopped(self.file, self.source_at, at_byte, source)
    }

    fn writing(&self, at_byte: u64, source: io::Error) -> Error {
        let (file, at) = (self.file.clone(), self.sink_at.to_owned());
        Error::Stream { file, side: "writing to", at, at_byte, source }
    }
}

/// What one turn of reading gave.
struct Read {
    batch: Vec<Bytes>,
    failed: Option<io::Error>,
}

/// Bytes that are collected before they are handed on.  A TLS record is 16 KiB; handing each on
/// by itself would wake two threads 60,000 times per GiB.
const BATCH_BYTES: usize = 256 << 10;

/// How long a slow stream is given to fill a batch, so that counters stay fresh.
const BATCH_WAIT: Duration = Duration::from_millis(100);
