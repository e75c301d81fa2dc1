//! A source that can be read only once, of which the first bytes have been looked at.

use std::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::TryStreamExt;
use futures::future::BoxFuture;

use crate::store::ByteStream;
use crate::store::Source;
use crate::store::in_order::read_once;
use crate::store::lookup::HEAD_BYTES;

/// What has come of a source, and the rest of it.
pub(crate) struct Begun {
    head: Vec<u8>,
    size_bytes: Option<u64>,
    stream: Mutex<Option<ByteStream>>,
}

impl Begun {
    /// Reads as much of a source as tells what it is.
    pub(crate) async fn of(source: &dyn Source) -> io::Result<Self> {
        let mut rest = source.open().await?;
        let (mut came, mut head) = (Vec::<io::Result<Bytes>>::new(), Vec::new());
        while head.len() < HEAD_BYTES {
            let Some(chunk) = rest.try_next().await? else { break };
            let wanted = chunk.len().min(HEAD_BYTES - head.len());
            head.extend_from_slice(&chunk[..wanted]);
            came.push(Ok(chunk));
        }
        let stream = futures::stream::iter(came).chain(rest).boxed();
        Ok(Self { head, size_bytes: source.size_bytes(), stream: Mutex::new(Some(stream)) })
    }

    /// The first bytes, at most [`HEAD_BYTES`]; fewer only of a file that has no more.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

impl Source for Begun {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(stream.ok_or_else(read_once)).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }
}
