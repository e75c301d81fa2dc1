//! What stands behind one device URL.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::disk::{Blob, Disk};
use crate::lock::lock;

/// One file of a lease: a disk or another file, to read or to write.
#[derive(Debug)]
pub(crate) struct Device {
    key: String,
    target_id: String,
    machine: String,
    access: Access,
    content: Content,
    sha256: AtomicBool,
    moved_bytes: AtomicU64,
    state: Mutex<State>,
    /// Held by the thread that writes, so that a second upload waits for the first one's end.
    writing: Mutex<()>,
}

/// What may be done with a device, and by which verb.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// GET.
    Read,
    /// POST of a stream-optimized disk.
    WriteDisk,
    /// PUT of any file (`OvfFileItem.create`).
    WriteFile,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Disk { disk: Arc<Disk>, index: usize },
    File(Arc<Blob>),
}

impl Content {
    /// The disk, if it is one.
    pub(super) fn disk(&self) -> Option<&Disk> {
        match self {
            Self::Disk { disk, .. } => Some(disk),
            Self::File(_) => None,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    transferred: Option<Transferred>,
    /// Cuts the upload that runs, when a second one begins.
    running: Option<CancellationToken>,
}

/// What moved in the last transfer that was whole: a line of the lease's manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Transferred {
    /// SHA-1 of the stream, lower-case hex.
    pub(crate) sha1: String,
    /// SHA-256 of the stream, if it was wanted.
    pub(crate) sha256: Option<String>,
    /// Length of the stream.
    pub(crate) size_bytes: u64,
    /// Capacity of the disk; disks only.
    pub(crate) capacity_bytes: Option<u64>,
    /// Bytes in the grains of the stream; disks only.
    pub(crate) populated_bytes: Option<u64>,
}

impl Device {
    /// The disk number `index` of `machine`.  `target_id` is the last part of its URL.
    pub(crate) fn disk(
        key: &str,
        target_id: &str,
        machine: &str,
        index: usize,
        disk: Arc<Disk>,
        access: Access,
    ) -> Self {
        Self::new(key, target_id, machine, Content::Disk { disk, index }, access)
    }

    /// Another file of `machine`, such as its NVRAM.
    pub(crate) fn file(
        key: &str,
        target_id: &str,
        machine: &str,
        file: Arc<Blob>,
        access: Access,
    ) -> Self {
        Self::new(key, target_id, machine, Content::File(file), access)
    }

    fn new(key: &str, target_id: &str, machine: &str, content: Content, access: Access) -> Self {
        Self {
            key: key.to_owned(),
            target_id: target_id.to_owned(),
            machine: machine.to_owned(),
            access,
            content,
            sha256: AtomicBool::new(false),
            moved_bytes: AtomicU64::new(0),
            state: Mutex::default(),
            writing: Mutex::new(()),
        }
    }

    /// `HttpNfcLeaseDeviceUrl.key`.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// `HttpNfcLeaseDeviceUrl.targetId`.
    pub(crate) fn target_id(&self) -> &str {
        &self.target_id
    }

    /// Name of the machine, by which faults choose.
    pub(crate) fn machine(&self) -> &str {
        &self.machine
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// Index of the disk in its machine; none for other files.
    pub(crate) fn disk_index(&self) -> Option<usize> {
        match &self.content {
            Content::Disk { index, .. } => Some(*index),
            Content::File(_) => None,
        }
    }

    /// From the next transfer on SHA-256 is computed too (`HttpNfcLeaseSetManifestChecksumType`).
    pub(crate) fn want_sha256(&self) {
        self.sha256.store(true, Ordering::Release);
    }

    /// The last whole transfer.
    pub(crate) fn transferred(&self) -> Option<Transferred> {
        lock(&self.state).transferred.clone()
    }

    /// Bytes that moved, unfinished and repeated transfers included.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.moved_bytes.load(Ordering::Acquire)
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    pub(super) fn wants_sha256(&self) -> bool {
        self.sha256.load(Ordering::Acquire)
    }

    pub(super) fn count(&self, len_bytes: usize) {
        self.moved_bytes.fetch_add(len_bytes as u64, Ordering::AcqRel);
    }

    /// Forgets what an earlier upload left and cuts one that still runs.
    pub(super) fn begin_upload(&self) -> CancellationToken {
        let token = CancellationToken::new();
        let mut state = lock(&self.state);
        state.transferred = None;
        if let Some(running) = state.running.replace(token.clone()) {
            running.cancel();
        }
        token
    }

    pub(super) fn finish(&self, transferred: Transferred) {
        lock(&self.state).transferred = Some(transferred);
    }

    /// Waits, on a blocking thread, for the right to write.
    pub(super) fn write_lock(&self) -> std::sync::MutexGuard<'_, ()> {
        lock(&self.writing)
    }
}
