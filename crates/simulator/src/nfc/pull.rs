//! What a host fetched itself is stored as if it had been uploaded.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::device::Device;
use super::upload::{Job, PIECES_AHEAD, Piece};

/// Why a file was not pulled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// The source broke.
    #[error("cannot read the source: {0}")]
    Read(io::Error),
    /// What came cannot be stored.
    #[error("{0}")]
    Store(String),
}

/// Stores all of `stream` in `device` and notes it for the lease's manifest.
pub(crate) async fn pull(
    device: &Arc<Device>,
    mut stream: impl Stream<Item = io::Result<Bytes>> + Unpin,
) -> Result<(), PullError> {
    let superseded = device.begin_upload();
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let job = Job {
        devices: vec![Arc::clone(device)],
        wrong_digest: false,
        any_format: false,
        part_counts: false,
    };
    let stored = tokio::task::spawn_blocking(move || job.store(receiver));
    let mut broken = None;
    loop {
        let piece = match stream.next().await {
            Some(Ok(data)) => {
                device.count(data.len());
                Piece::Data(data)
            }
            Some(Err(error)) => {
                broken = Some(error);
                break;
            }
            None => Piece::End { is_truncated: false },
        };
        let is_end = matches!(piece, Piece::End { .. });
        // A store that gave up says why below.
        if sender.send(piece).await.is_err() || is_end {
            break;
        }
    }
    drop(sender);
    let stored = stored.await;
    match (broken, stored) {
        (Some(error), _) => Err(PullError::Read(error)),
        (None, Ok(Ok(_))) if superseded.is_cancelled() => {
            Err(PullError::Store("the file was uploaded meanwhile".to_owned()))
        }
        (None, Ok(Ok(lines))) => {
            lines.into_iter().for_each(|line| device.finish(line));
            Ok(())
        }
        (None, Ok(Err(error))) => Err(PullError::Store(error.to_string())),
        (None, Err(_panicked)) => Err(PullError::Store("cannot write".to_owned())),
    }
}
