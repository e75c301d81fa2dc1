//! Looks at files that go nowhere.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use ovftransfer_vmdk::VmdkError;
use tokio_util::sync::CancellationToken;

use crate::copy::Copy;
use crate::error::Error;
use crate::inspect::Inspection;
use crate::inspect::Inspector;
use crate::store::Nowhere;
use crate::store::file::FileSource;
use crate::store::file::blocking;

impl Copy<'_> {
    /// Looks at every byte, once, and writes none.  `at_hand` is the source, if it is a file of this
    /// machine.
    ///
    /// Such a file is read by the thread that looks at it: what was read is still in the cache of
    /// that core then.  With a thread for each, hashing costs half as much again.
    pub(crate) async fn look(
        &self,
        at_hand: Option<&FileSource>,
        scope: &CancellationToken,
    ) -> Result<(u64, Inspection), Error> {
        let Some(file) = at_hand else { return self.run(&mut Nowhere, scope).await };
        let mut chunks = file.chunks();
        let mut inspector = Inspector::new(self.inspect, Arc::clone(self.meter), self.position);
        let came = Arc::new(AtomicU64::new(0));
        // Whoever drops this future does not wait for the thread, but it ends soon.
        let stop = scope.child_token();
        let _stop = stop.clone().drop_guard();
        let counted = Arc::clone(&came);
        let looking = blocking(move || {
            let mut buffer = Vec::new();
            while chunks.read(&mut buffer).map_err(Stopped::Reading)? {
                if stop.is_cancelled() {
                    return Err(Stopped::Cancelled);
                }
                inspector.look(&buffer).map_err(Stopped::Unsound)?;
                counted.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            }
            inspector.end().map_err(Stopped::Unsound)
        });
        tokio::pin!(looking);
        let mut before = None;
        let looked = loop {
            let waited = tokio::time::timeout(self.stall, &mut looking);
            let Some(waited) = scope.run_until_cancelled(waited).await else {
                return Err(Error::Cancelled);
            };
            let now = came.load(Ordering::Relaxed);
            match waited {
                Ok(looked) => break looked,
                Err(_) if before == Some(now) => return Err(self.reading(now, self.stall_error())),
                Err(_) => before = Some(now),
            }
        };
        let at_byte = came.load(Ordering::Relaxed);
        match looked {
            Ok(seen) => Ok((at_byte, seen)),
            Err(Stopped::Cancelled) => Err(Error::Cancelled),
            Err(Stopped::Reading(error)) => Err(self.reading(at_byte, error)),
            Err(Stopped::Unsound(error)) => Err(self.unsound(error)),
        }
    }
}

/// Why a file was not looked at to its end.
enum Stopped {
    Cancelled,
    Reading(io::Error),
    Unsound(VmdkError),
}
