//! POST and PUT: a stream-optimized VMDK becomes a disk, any other body a file.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::future::select_all;
use http::header::CONTENT_LENGTH;
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ovftransfer_vmdk::{GrainDecoder, VmdkError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::device::{Content, Device, Transferred};
use super::digests::{Digests, line};
use super::recall::{Passing, Recall};
use super::{Transfer, refuse};
use crate::disk::{Blob, Disk};
use crate::scenario::Uploads;
use crate::server::{Body, empty};

/// What a host does with uploads.
#[derive(Clone, Debug)]
pub(super) enum Intake {
    Store,
    Hash(Arc<Recall>),
    Drop,
}

impl From<Uploads> for Intake {
    fn from(uploads: Uploads) -> Self {
        match uploads {
            Uploads::Store => Self::Store,
            Uploads::Hash => Self::Hash(Arc::default()),
            Uploads::Drop => Self::Drop,
        }
    }
}

/// Receives the body and answers when all of it is stored.
pub(super) async fn answer(transfer: Transfer, request: Request<Incoming>) -> Response<Body> {
    if let Some(refusal) = refusal(&transfer, &request) {
        return refusal;
    }
    let devices = transfer.pass.devices.clone();
    let superseded: Vec<CancellationToken> =
        devices.iter().map(|device| device.begin_upload()).collect();
    match &transfer.intake {
        Intake::Store => {}
        Intake::Hash(recall) => {
            let taker = Taker::Hash(Box::new(Passing::new(Arc::clone(recall))));
            return swallow(&transfer, request.into_body(), taker, &superseded).await;
        }
        Intake::Drop => {
            return swallow(&transfer, request.into_body(), Taker::Drop, &superseded).await;
        }
    }
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let job = Job {
        devices,
        wrong_digest: transfer.faults.wrong_digest,
        any_format: !transfer.rules.strict.magic,
        part_counts: !transfer.rules.strict.whole_bodies,
    };
    let stored = tokio::task::spawn_blocking(move || job.store(receiver));

    let mut taker = Taker::Store(sender);
    let is_received = receive(&transfer, request.into_body(), &mut taker, &superseded).await;
    drop(taker);
    let transferred = match stored.await {
        Ok(Ok(transferred)) => transferred,
        Ok(Err(error)) => return refuse(error.status(), &error.to_string()),
        Err(_panicked) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "Cannot write"),
    };
    if !is_received || superseded.iter().any(CancellationToken::is_cancelled) {
        return refuse(StatusCode::BAD_REQUEST, "The body is not whole");
    }
    for (device, transferred) in transfer.pass.devices.iter().zip(transferred) {
        device.finish(transferred);
    }
    taken(&transfer)
}

/// The reply to an upload that was taken.
fn taken(transfer: &Transfer) -> Response<Body> {
    let is_disk = transfer.pass.devices.iter().all(|device| device.disk_index().is_some());
    let mut response = Response::new(empty());
    if !is_disk {
        *response.status_mut() = StatusCode::CREATED;
    }
    response
}

/// Receives the body and keeps nothing of it, but for its digests if they are wanted.
async fn swallow(
    transfer: &Transfer,
    body: Incoming,
    mut taker: Taker,
    superseded: &[CancellationToken],
) -> Response<Body> {
    if !receive(transfer, body, &mut taker, superseded).await {
        return refuse(StatusCode::BAD_REQUEST, "The body is not whole");
    }
    if let Taker::Hash(passing) = taker {
        let digest = passing.finish();
        for device in &transfer.pass.devices {
            let line = line(&digest, device.wants_sha256(), transfer.faults.wrong_digest);
            let capacity_bytes = device.content().disk().map(Disk::capacity_bytes);
            device.finish(Transferred { capacity_bytes, ..line });
        }
    }
    taken(transfer)
}

/// What is wrong with the head of a request.
fn refusal(transfer: &Transfer, request: &Request<Incoming>) -> Option<Response<Body>> {
    let (strict, headers) = (transfer.rules.strict, request.headers());
    // Every known client sends a length, and no real host was seen to take chunks.
    if strict.content_length && !headers.contains_key(CONTENT_LENGTH) {
        return Some(refuse(StatusCode::LENGTH_REQUIRED, "Content-Length is missing"));
    }
    let overwrites = headers.get(OVERWRITE).is_some_and(|value| value.as_bytes() == b"t");
    if strict.overwrite && request.method() == Method::PUT && !overwrites {
        return Some(refuse(StatusCode::PRECONDITION_FAILED, "Overwrite: t is missing"));
    }
    None
}

#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    /// The client sent all it had to.
    End {
        /// Whether the rest of the stream was dropped by a fault.
        is_truncated: bool,
    },
}

/// Who takes the pieces of a body.
enum Taker {
    /// The thread that stores them.
    Store(mpsc::Sender<Piece>),
    Hash(Box<Passing>),
    Drop,
}

impl Taker {
    /// Whether the piece was taken.
    async fn take(&mut self, piece: Piece) -> bool {
        match (self, piece) {
            (Self::Store(sender), piece) => sender.send(piece).await.is_ok(),
            (Self::Hash(passing), Piece::Data(data)) => {
                passing.push(data);
                true
            }
            (Self::Hash(_), Piece::End { .. }) | (Self::Drop, _) => true,
        }
    }
}

/// Passes the body on to who takes it.  Returns whether it came whole.
///
/// Does not return at all once the connection was cut.
async fn receive(
    transfer: &Transfer,
    body: Incoming,
    taker: &mut Taker,
    superseded: &[CancellationToken],
) -> bool {
    let reading = read(transfer, body, taker);
    let superseded = select_all(superseded.iter().map(|token| Box::pin(token.cancelled())));
    tokio::select! {
        () = transfer.pass.cut.cancelled() => {}
        _ = superseded => {}
        outcome = reading => match outcome {
            Outcome::Broken => return false,
            Outcome::Reset => {}
            Outcome::Whole => return true,
        },
    }
    transfer.connection.reset();
    std::future::pending().await
}

enum Outcome {
    Broken,
    Reset,
    Whole,
}

async fn read(transfer: &Transfer, mut body: Incoming, taker: &mut Taker) -> Outcome {
    let faults = transfer.faults;
    let mut received_bytes = 0;
    let mut is_truncated = false;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Outcome::Broken };
        let Ok(mut data) = frame.into_data() else { continue };
        transfer.paces.pass(data.len()).await;
        transfer.pass.devices.iter().for_each(|device| device.count(data.len()));
        if is_truncated {
            continue;
        }
        let room = faults.room(received_bytes, data.len());
        let strikes = room < data.len();
        data.truncate(room);
        if let Some(index) = faults.flip_index(received_bytes, data.len()) {
            let mut flipped = BytesMut::from(&data[..]);
            flipped[index] ^= 1;
            data = flipped.freeze();
        }
        received_bytes += data.len() as u64;
        if !taker.take(Piece::Data(data)).await {
            // The store gave up and will say why.
            return Outcome::Broken;
        }
        if !strikes {
            continue;
        }
        if faults.stall_after.is_some_and(|after| after <= received_bytes) {
            std::future::pending::<()>().await;
        }
        if faults.reset_after.is_some_and(|after| after <= received_bytes) {
            return Outcome::Reset;
        }
        is_truncated = true;
    }
    if taker.take(Piece::End { is_truncated }).await { Outcome::Whole } else { Outcome::Broken }
}

/// Why an upload was not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("Not a supported disk format (invalid sparse VMDK header)")]
    Format,
    #[error("The disk holds {disk_bytes} bytes and the stream {stream_bytes}")]
    Large { disk_bytes: u64, stream_bytes: u64 },
    #[error("The body is not whole")]
    Short,
    #[error("Corrupt disk stream: {0}")]
    Stream(#[from] VmdkError),
    #[error("Cannot write: {0}")]
    Write(#[from] io::Error),
}

impl UploadError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Short => StatusCode::BAD_REQUEST,
            Self::Format | Self::Large { .. } | Self::Stream(_) | Self::Write(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

/// What a body is stored as.
#[derive(Debug)]
pub(super) struct Job {
    /// The devices that take it, all of a kind.
    pub(super) devices: Vec<Arc<Device>>,
    /// The manifest gets another digest.
    pub(super) wrong_digest: bool,
    /// A disk may come in any form; what is no stream-optimized one is dropped.
    pub(super) any_format: bool,
    /// What came of a body that ended early counts as if it were all.
    pub(super) part_counts: bool,
}

impl Job {
    /// Stores what comes, on a blocking thread.  The manifest's line of each device.
    pub(super) fn store(
        self,
        receiver: mpsc::Receiver<Piece>,
    ) -> Result<Vec<Transferred>, UploadError> {
        // Two uploads that share devices take the locks in the same order.
        let mut by_key: Vec<&Arc<Device>> = self.devices.iter().collect();
        by_key.sort_by_key(|device| device.key());
        let _writing: Vec<_> = by_key.iter().map(|device| device.write_lock()).collect();
        let digests = Digests::new(self.devices.iter().any(|device| device.wants_sha256()));
        let disks: Vec<&Disk> =
            self.devices.iter().filter_map(|device| device.content().disk()).collect();
        let lines = match self.devices.first().map(|device| device.content()) {
            Some(Content::File(file)) => vec![self.store_file(file, receiver, digests)?],
            Some(Content::Disk { .. }) | None => self.store_disks(&disks, receiver, digests)?,
        };
        let wants = self.devices.iter().map(|device| device.wants_sha256());
        let lines: Vec<Transferred> = lines
            .into_iter()
            .zip(wants)
            .map(|(line, wanted)| Transferred { sha256: line.sha256.filter(|_| wanted), ..line })
            .collect();
        if self.part_counts {
            // Nobody waits for this any more if the client is gone.
            let pairs = self.devices.iter().zip(&lines);
            pairs.for_each(|(device, line)| device.finish(line.clone()));
        }
        Ok(lines)
    }

    fn store_disks(
        &self,
        disks: &[&Disk],
        mut receiver: mpsc::Receiver<Piece>,
        mut digests: Digests,
    ) -> Result<Vec<Transferred>, UploadError> {
        disks.iter().try_for_each(|disk| disk.clear())?;
        let mut decoder = Some(GrainDecoder::new());
        let mut magic = Vec::new();
        let mut populated_bytes = 0;
        loop {
            match self.next(&mut receiver)? {
                Piece::Data(data) => {
                    let missing = MAGIC.len() - magic.len();
                    magic.extend(data.iter().take(missing));
                    if !MAGIC.starts_with(&magic) {
                        if !self.any_format {
                            return Err(UploadError::Format);
                        }
                        decoder = None;
                    }
                    digests.update(&data);
                    let Some(decoder) = &mut decoder else { continue };
                    decoder.push(&data, &mut |lba_sectors, grain| {
                        populated_bytes += grain.len() as u64;
                        let at_byte = lba_sectors.saturating_mul(SECTOR_BYTES);
                        disks.iter().try_for_each(|disk| disk.write_at(at_byte, grain))
                    })?;
                }
                Piece::End { is_truncated } => {
                    if let Some(decoder) = decoder.filter(|_| !is_truncated) {
                        let stream_bytes = decoder.finish()?.capacity_bytes();
                        let least = disks.iter().map(|disk| disk.capacity_bytes()).min();
                        let disk_bytes = least.unwrap_or_default();
                        if stream_bytes > disk_bytes {
                            return Err(UploadError::Large { disk_bytes, stream_bytes });
                        }
                    }
                    let line = line(&digests.finish(), true, self.wrong_digest);
                    let line = |disk: &&Disk| Transferred {
                        capacity_bytes: Some(disk.capacity_bytes()),
                        populated_bytes: Some(populated_bytes),
                        ..line.clone()
                    };
                    return Ok(disks.iter().map(line).collect());
                }
            }
        }
    }

    fn store_file(
        &self,
        file: &Blob,
        mut receiver: mpsc::Receiver<Piece>,
        mut digests: Digests,
    ) -> Result<Transferred, UploadError> {
        file.clear()?;
        let mut at_byte = 0;
        loop {
            match self.next(&mut receiver)? {
                Piece::Data(data) => {
                    digests.update(&data);
                    file.write_at(at_byte, &data)?;
                    at_byte += data.len() as u64;
                }
                Piece::End { .. } => return Ok(line(&digests.finish(), true, self.wrong_digest)),
            }
        }
    }

    /// The next piece; the end, too, of a body that ended early and counts.
    fn next(&self, receiver: &mut mpsc::Receiver<Piece>) -> Result<Piece, UploadError> {
        match receiver.blocking_recv() {
            Some(piece) => Ok(piece),
            None if self.part_counts => Ok(Piece::End { is_truncated: true }),
            None => Err(UploadError::Short),
        }
    }
}

/// Says that a file may replace one that is there.
const OVERWRITE: HeaderName = HeaderName::from_static("overwrite");

/// First bytes of a sparse VMDK, `KDMV`.
const MAGIC: &[u8] = b"KDMV";

/// Bytes of a sector.
const SECTOR_BYTES: u64 = 512;

/// Pieces between the socket and the thread that stores them; a piece is one read of the socket,
/// at most about 400 KiB.
pub(super) const PIECES_AHEAD: usize = 4;
