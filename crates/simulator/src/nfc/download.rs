//! GET: a disk leaves as a stream-optimized VMDK, made while it is sent.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::unfold;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use super::device::{Content, Device, Transferred};
use super::digests::{Digests, line, nothing as empty_line};
use super::{Transfer, refuse};
use crate::disk::{Blob, grain_buffer};
use crate::server::{Body, BodyError};
use crate::stream::write_disk;

/// Starts the reply.  The bytes are made by a blocking thread that is a few pieces ahead.
pub(super) fn answer(transfer: Transfer) -> Response<Body> {
    let device = Arc::clone(transfer.pass.device());
    let is_disk = device.disk_index().is_some();
    if transfer.rules.one_disk_per_lease && is_disk && !transfer.pass.is_first_disk() {
        return nothing(&transfer, &device);
    }
    let (content_type, len_bytes) = match device.content() {
        Content::Disk { .. } => (STREAM_VMDK, None),
        Content::File(file) => match file.len_bytes() {
            Ok(len_bytes) => ("application/octet-stream", Some(len_bytes)),
            Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
    };
    if len_bytes == Some(0) && transfer.rules.strict.export_manifest {
        // The body of such a reply is never asked for.
        device.finish(empty_line(device.wants_sha256()));
    }
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let wrong_digest = transfer.faults.wrong_digest;
    tokio::task::spawn_blocking(move || {
        if let Err(error) = produce(&device, &sender, wrong_digest) {
            tracing::debug!(%error, "download ended early");
        }
    });

    let download = Download { transfer, receiver, held: None, sent_bytes: 0, len_bytes };
    let frames = unfold(Some(download), |download| async {
        let mut download = download?;
        match download.next().await {
            Next::Piece(piece) => Some((Ok(Frame::data(piece)), Some(download))),
            Next::End => None,
            Next::Broken(error) => Some((Err(error), None)),
        }
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(len_bytes) = len_bytes {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len_bytes));
    }
    response
}

/// The empty reply of a host that serves one disk per lease.  Chunked and whole, as the others
/// begin; the manifest has what was sent, which is nothing.
fn nothing(transfer: &Transfer, device: &Device) -> Response<Body> {
    if transfer.rules.strict.export_manifest {
        device.finish(empty_line(device.wants_sha256()));
    }
    let frames = futures::stream::empty::<Result<Frame<Bytes>, BodyError>>();
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(STREAM_VMDK));
    response
}

enum Made {
    Piece(Bytes),
    End(Transferred),
}

fn produce(
    device: &Device,
    sender: &mpsc::Sender<Made>,
    wrong_digest: bool,
) -> Result<(), BodyError> {
    let with_sha256 = device.wants_sha256();
    let known = device.content().disk().and_then(|disk| disk.stream_digest(with_sha256));
    let mut sink = Sink::new(sender, known.is_none().then(|| Digests::new(with_sha256)));
    let (capacity_bytes, populated_bytes) = match device.content() {
        Content::Disk { disk, .. } => {
            let (_sink, summary) = write_disk(disk, &mut sink)?;
            (Some(disk.capacity_bytes()), Some(summary.populated_bytes()))
        }
        Content::File(file) => {
            write_file(file, &mut sink)?;
            (None, None)
        }
    };
    sink.flush()?;
    let found = sink.digests.map(Digests::finish);
    if let (Some(disk), Some(found)) = (device.content().disk(), &found) {
        disk.keep_stream_digest(found.clone());
    }
    let digest = found.or(known).ok_or("no digest")?;
    let transferred = line(&digest, with_sha256, wrong_digest);
    let end = Made::End(Transferred { capacity_bytes, populated_bytes, ..transferred });
    sender.blocking_send(end).map_err(|_| gone())?;
    Ok(())
}

fn write_file(file: &Blob, sink: &mut Sink<'_>) -> io::Result<()> {
    let mut buffer = grain_buffer();
    let mut at_byte = 0;
    loop {
        let read = file.read_at(at_byte, &mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        sink.write_all(&buffer[..read])?;
        at_byte += read as u64;
    }
}

/// Hashes what is written, unless its digests are known, and passes it on in pieces of
/// [`PIECE_BYTES`].
struct Sink<'a> {
    sender: &'a mpsc::Sender<Made>,
    buffer: BytesMut,
    digests: Option<Digests>,
}

impl<'a> Sink<'a> {
    fn new(sender: &'a mpsc::Sender<Made>, digests: Option<Digests>) -> Self {
        Self { sender, buffer: BytesMut::with_capacity(PIECE_BYTES), digests }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(PIECE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&data[..taken]);
        if self.buffer.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let next = BytesMut::with_capacity(PIECE_BYTES);
        let piece = std::mem::replace(&mut self.buffer, next).freeze();
        if let Some(digests) = &mut self.digests {
            digests.update(&piece);
        }
        self.sender.blocking_send(Made::Piece(piece)).map_err(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")
}

/// The reply's body: paces the pieces and spoils them as the scenario wants.
struct Download {
    transfer: Transfer,
    receiver: mpsc::Receiver<Made>,
    /// The rest of a piece that was cut at the place of a fault.
    held: Option<Bytes>,
    sent_bytes: u64,
    /// What `Content-Length` says, if it says anything.
    len_bytes: Option<u64>,
}

enum Next {
    Broken(BodyError),
    End,
    Piece(Bytes),
}

impl Download {
    async fn next(&mut self) -> Next {
        let cut = self.transfer.pass.cut.clone();
        if let Some(next) = cut.run_until_cancelled(self.next_uncut()).await {
            return next;
        }
        self.transfer.connection.reset();
        Next::Broken("the ticket was revoked".into())
    }

    async fn next_uncut(&mut self) -> Next {
        let made = match self.held.take() {
            Some(piece) => Some(Made::Piece(piece)),
            None => self.receiver.recv().await,
        };
        match made {
            Some(Made::Piece(piece)) => match self.before_fault(piece) {
                Some(piece) => self.pass(piece).await,
                None => self.strike().await,
            },
            Some(Made::End(transferred)) => {
                self.finish(transferred);
                Next::End
            }
            None => Next::Broken("the disk cannot be read".into()),
        }
    }

    async fn pass(&mut self, mut piece: Bytes) -> Next {
        self.transfer.paces.pass(piece.len()).await;
        if let Some(index) = self.transfer.faults.flip_index(self.sent_bytes, piece.len()) {
            let mut flipped = BytesMut::from(&piece[..]);
            flipped[index] ^= 1;
            piece = flipped.freeze();
        }
        self.sent_bytes += piece.len() as u64;
        self.transfer.pass.device().count(piece.len());
        // A reply with a length is never asked for more than that: its end must be noted before
        // its last piece leaves.
        if self.len_bytes == Some(self.sent_bytes)
            && let Some(Made::End(transferred)) = self.receiver.recv().await
        {
            self.finish(transferred);
        }
        Next::Piece(piece)
    }

    /// The line of the manifest.
    fn finish(&self, transferred: Transferred) {
        if self.transfer.rules.strict.export_manifest {
            self.transfer.pass.device().finish(transferred);
        }
    }

    /// The part of `piece` that leaves before the next fault; none if that is now.
    fn before_fault(&mut self, mut piece: Bytes) -> Option<Bytes> {
        let room = self.transfer.faults.room(self.sent_bytes, piece.len());
        if room < piece.len() {
            self.held = Some(piece.split_off(room));
        }
        (!piece.is_empty()).then_some(piece)
    }

    /// Does what the scenario wants at this byte.
    async fn strike(&mut self) -> Next {
        let faults = self.transfer.faults;
        if faults.stall_after.is_some_and(|after| after <= self.sent_bytes) {
            std::future::pending::<()>().await;
        }
        if faults.reset_after.is_some_and(|after| after <= self.sent_bytes) {
            // Lets what was sent before leave the process.
            tokio::time::sleep(RESET_DELAY).await;
            self.transfer.connection.reset();
            return Next::Broken("reset by the scenario".into());
        }
        // Truncated: the host believes that it sent everything, so its manifest says so.
        while let Some(made) = self.receiver.recv().await {
            if let Made::End(transferred) = made {
                self.finish(transferred);
            }
        }
        Next::End
    }
}

/// Media type of stream-optimized disks.
pub(super) const STREAM_VMDK: &str = "application/x-vnd.vmware-streamVmdk";

/// Bytes of one piece: big enough for few system calls, small enough for an even pace.
const PIECE_BYTES: usize = 128 * 1024;

/// Pieces between the thread that makes them and the socket: 512 KiB of each stream.
const PIECES_AHEAD: usize = 4;

/// Time for bytes to reach the socket before it is reset.
const RESET_DELAY: std::time::Duration = std::time::Duration::from_millis(20);
