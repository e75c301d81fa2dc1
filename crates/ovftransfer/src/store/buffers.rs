//! Buffers of a stream that are used again.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;

/// Buffers that are free again: as many as a stream ever had in use at once.
///
/// Chunks are freed by other threads than the one that reads.  An allocator has a heap for each thread,
/// and either gives what is free back to the system each time or keeps it in every heap.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// An empty buffer, with room if it had been used before.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.free(Vec::pop).unwrap_or_default()
    }

    /// Shares what was read into a buffer; it is free again when the last clone is dropped.
    pub(crate) fn share(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Shared { bytes, buffers: self.clone() })
    }

    fn free<T>(&self, change: impl FnOnce(&mut Vec<Vec<u8>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").field("free", &self.free(|free| free.len())).finish()
    }
}

/// What was read into a buffer.
struct Shared {
    bytes: Vec<u8>,
    buffers: Buffers,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        self.buffers.free(|free| free.push(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_nobody_has_it_any_more() {
        let buffers = Buffers::default();
        let mut first = buffers.take();
        first.extend_from_slice(b"first");
        let room = first.as_ptr();
        let first = buffers.share(first);
        let part = first.slice(1..3);
        drop(first);
        let second = buffers.take();
        assert_eq!((&part[..], second.capacity()), (&b"ir"[..], 0));
        drop(part);
        let third = buffers.take();
        assert_eq!((third.as_ptr(), third.len()), (room, 0));
    }

    #[test]
    fn chunks_outlive_what_reads_them() {
        let buffers = Buffers::default();
        let chunk = buffers.share(b"chunk".to_vec());
        drop(buffers);
        assert_eq!(chunk, "chunk");
    }
}
