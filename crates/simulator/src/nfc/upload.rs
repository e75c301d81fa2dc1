//! POST and PUT: a stream-optimized VMDK becomes a disk, any other body a file.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ovftransfer_vmdk::{GrainDecoder, VmdkError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::device::{Content, Device, Transferred};
use super::digests::Digests;
use super::{Transfer, refuse};
use crate::disk::{Blob, Disk};
use crate::server::{Body, empty};

/// Receives the body and answers when all of it is stored.
pub(super) async fn answer(transfer: Transfer, request: Request<Incoming>) -> Response<Body> {
    // Every known client sends a length, and no real host was seen to take chunks.
    if !request.headers().contains_key(CONTENT_LENGTH) {
        return refuse(StatusCode::LENGTH_REQUIRED, "Content-Length is missing");
    }
    let device = Arc::clone(&transfer.pass.device);
    let superseded = device.begin_upload();
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let wrong_digest = transfer.faults.wrong_digest;
    let stored = tokio::task::spawn_blocking(move || store(&device, receiver, wrong_digest));

    let is_received = receive(&transfer, request.into_body(), sender, &superseded).await;
    let transferred = match stored.await {
        Ok(Ok(transferred)) => transferred,
        Ok(Err(error)) => return refuse(error.status(), &error.to_string()),
        Err(_panicked) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "Cannot write"),
    };
    if !is_received || superseded.is_cancelled() {
        return refuse(StatusCode::BAD_REQUEST, "The body is not whole");
    }
    let is_disk = transferred.capacity_bytes.is_some();
    transfer.pass.device.finish(transferred);
    let mut response = Response::new(empty());
    if !is_disk {
        *response.status_mut() = StatusCode::CREATED;
    }
    response
}

enum Piece {
    Data(Bytes),
    /// The client sent all it had to.
    End {
        /// Whether the rest of the stream was dropped by a fault.
        is_truncated: bool,
    },
}

/// Passes the body on to the thread that stores it.  Returns whether it came whole.
///
/// Does not return at all once the connection was cut.
async fn receive(
    transfer: &Transfer,
    body: Incoming,
    sender: mpsc::Sender<Piece>,
    superseded: &CancellationToken,
) -> bool {
    let reading = read(transfer, body, sender);
    tokio::select! {
        () = transfer.pass.cut.cancelled() => {}
        () = superseded.cancelled() => {}
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

async fn read(transfer: &Transfer, mut body: Incoming, sender: mpsc::Sender<Piece>) -> Outcome {
    let faults = transfer.faults;
    let mut received_bytes = 0;
    let mut is_truncated = false;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Outcome::Broken };
        let Ok(mut data) = frame.into_data() else { continue };
        transfer.paces.pass(data.len()).await;
        transfer.pass.device.count(data.len());
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
        if sender.send(Piece::Data(data)).await.is_err() {
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
    match sender.send(Piece::End { is_truncated }).await {
        Ok(()) => Outcome::Whole,
        Err(_) => Outcome::Broken,
    }
}

/// Why an upload was not stored.
#[derive(Debug, thiserror::Error)]
enum UploadError {
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

fn store(
    device: &Device,
    receiver: mpsc::Receiver<Piece>,
    wrong_digest: bool,
) -> Result<Transferred, UploadError> {
    let _writing = device.write_lock();
    let digests = Digests::new(device.wants_sha256());
    match device.content() {
        Content::Disk { disk, .. } => store_disk(disk, receiver, digests, wrong_digest),
        Content::File(file) => store_file(file, receiver, digests, wrong_digest),
    }
}

fn store_disk(
    disk: &Disk,
    mut receiver: mpsc::Receiver<Piece>,
    mut digests: Digests,
    wrong_digest: bool,
) -> Result<Transferred, UploadError> {
    disk.clear()?;
    let mut decoder = GrainDecoder::new();
    let mut magic = Vec::new();
    let mut populated_bytes = 0;
    loop {
        match receiver.blocking_recv() {
            Some(Piece::Data(data)) => {
                let missing = MAGIC.len() - magic.len();
                magic.extend(data.iter().take(missing));
                if !MAGIC.starts_with(&magic) {
                    return Err(UploadError::Format);
                }
                digests.update(&data);
                decoder.push(&data, &mut |lba_sectors, grain| {
                    populated_bytes += grain.len() as u64;
                    disk.write_at(lba_sectors.saturating_mul(SECTOR_BYTES), grain)
                })?;
            }
            Some(Piece::End { is_truncated }) => {
                if !is_truncated {
                    let stream_bytes = decoder.finish()?.capacity_bytes();
                    let disk_bytes = disk.capacity_bytes();
                    if stream_bytes > disk_bytes {
                        return Err(UploadError::Large { disk_bytes, stream_bytes });
                    }
                }
                return Ok(Transferred {
                    capacity_bytes: Some(disk.capacity_bytes()),
                    populated_bytes: Some(populated_bytes),
                    ..digests.finish(wrong_digest)
                });
            }
            None => return Err(UploadError::Short),
        }
    }
}

fn store_file(
    file: &Blob,
    mut receiver: mpsc::Receiver<Piece>,
    mut digests: Digests,
    wrong_digest: bool,
) -> Result<Transferred, UploadError> {
    file.clear()?;
    let mut at_byte = 0;
    loop {
        match receiver.blocking_recv() {
            Some(Piece::Data(data)) => {
                digests.update(&data);
                file.write_at(at_byte, &data)?;
                at_byte += data.len() as u64;
            }
            Some(Piece::End { .. }) => return Ok(digests.finish(wrong_digest)),
            None => return Err(UploadError::Short),
        }
    }
}

/// First bytes of a sparse VMDK, `KDMV`.
const MAGIC: &[u8] = b"KDMV";

/// Bytes of a sector.
const SECTOR_BYTES: u64 = 512;

/// Pieces between the socket and the thread that stores them; a piece is one read of the socket,
/// at most about 400 KiB.
const PIECES_AHEAD: usize = 4;
