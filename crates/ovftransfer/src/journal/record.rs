//! The records of a journal.

use ovftransfer_ovf::Digest;
use ovftransfer_vim::lease::LeaseManifestEntry;
use ovftransfer_vim::value::MoRef;
use ovftransfer_vim::value::Object;
use serde::Deserialize;
use serde::Serialize;

use crate::journal::process::Process;

/// One thing that was done, or is about to be.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Record {
    /// Who does what, where.  The first record.
    Begin(Box<Begin>),
    /// Everything is proven; the server is about to be told.
    Completing,
    /// What the import makes.
    Entity { entity: Reference, name: String, instance_uuid: Option<String> },
    /// A lease is about to be asked for; its task is none of those that are known already.
    Lease { on: Reference, known: Vec<String> },
    /// The lease is over, and what it was for is done.
    LeaseEnded,
    /// A file whose bytes are durable under its `.partial` name, and proven.
    Proven(Box<Proven>),
    /// Files are about to get their final names.
    Publishing {
        /// Which file it is that leads to the package, whatever its name; `None` in journals of
        /// before, and where no file does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leading: Option<String>,
    },
    /// The snapshot is there.
    Snapshot { snapshot: Reference },
    /// The snapshot is gone.
    SnapshotGone,
    /// A snapshot that was to be removed and is still there.  It is of no use any more.
    SnapshotLeft { vm: Reference, name: String, snapshot: Reference },
    /// The task that makes the snapshot.
    SnapshotTask { task: Reference },
    /// A snapshot with this name is about to be made, which no other has.
    SnapshotWanted { vm: Reference, name: String },
    /// What the files of the records to come are of; `None` if that cannot be told apart from
    /// other states of it.
    Source { identity: Option<String> },
    /// The small files under their `.partial` names, with SHA-256.
    Staged { papers: Vec<(String, String)> },
    /// The task behind the lease, and the part of the lease's id that may be shown.
    Task { task: Reference, lease: String },
    /// Files that may be there under their `.partial` names.
    Writing { files: Vec<String> },
    /// Disks that were written in another format than they came in, and are about to get their
    /// names.
    Written { disks: Vec<WrittenDisk> },
    /// A record of a later version.
    #[serde(other)]
    Unknown,
}

/// Who does what, where.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Begin {
    /// Of the journal: [`VERSION`].
    pub(crate) version: u32,
    /// The program, with its version.
    pub(crate) tool: String,
    pub(crate) kind: Kind,
    pub(crate) process: Process,
    /// Seconds since 1970.
    pub(crate) started: u64,
    pub(crate) server: ServerNote,
    /// The machine or vApp that is exported; the pool that is imported into.
    pub(crate) subject: Reference,
    /// The name of the machine.
    pub(crate) name: String,
    /// The file beside the journal that is to lead to the package.
    pub(crate) package: Option<String>,
    /// Folders that were made for the package, the outermost first.
    pub(crate) made: Vec<String>,
    /// What tells the wishes of an export that decide on the bytes of its package from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wishes: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Export,
    Import,
}

/// Which server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct ServerNote {
    /// `host:port`.
    pub(crate) endpoint: String,
    /// What tells it from every other, whatever it is called (`about.instanceUuid`).
    pub(crate) instance_uuid: Option<String>,
    /// As whom.
    pub(crate) user: String,
}

impl ServerNote {
    /// Whether both are one server.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (&self.instance_uuid, &other.instance_uuid) {
            (Some(one), Some(other)) => one == other,
            _ => self.endpoint == other.endpoint,
        }
    }
}

/// A reference to an object of the server, `VirtualMachine:vm-42`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Reference(String);

impl From<&MoRef> for Reference {
    fn from(moref: &MoRef) -> Self {
        // This leaves out what is secret.
        Self(moref.to_string())
    }
}

impl Reference {
    /// The object.
    pub(crate) fn moref(&self) -> MoRef {
        let (kind, id) = self.0.split_once(':').unwrap_or(("", &self.0));
        MoRef::new(kind.to_owned(), id)
    }
}

/// A file that is proven.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Proven {
    pub(crate) file: String,
    /// The device of the lease.
    pub(crate) key: String,
    /// The host that served it, as `name:port`.
    pub(crate) host: String,
    pub(crate) bytes: u64,
    /// Algorithm and hex of each digest that was computed.
    pub(crate) digests: Vec<(String, String)>,
    pub(crate) is_disk: bool,
    pub(crate) capacity_bytes: Option<u64>,
    pub(crate) by_server: bool,
    /// What the server's manifest says.
    pub(crate) entry: Option<Entry>,
}

impl Proven {
    /// The digests, if they can be read.
    pub(crate) fn digests(&self) -> Option<Vec<Digest>> {
        let one = |(label, hex): &(String, String)| Digest::from_hex(label.parse().ok()?, hex).ok();
        self.digests.iter().map(one).collect()
    }

    /// What the server's manifest says of the file.
    pub(crate) fn entry(&self) -> Option<LeaseManifestEntry> {
        let entry = self.entry.as_ref()?;
        let value = Object::untyped()
            .with("key", self.key.as_str())
            .with_some("sha1", entry.sha1.as_deref())
            .with_some("checksum", entry.checksum.as_deref())
            .with_some("checksumType", entry.checksum_type.as_deref())
            .with("size", entry.size_bytes)
            .with("disk", entry.is_disk)
            .with_some("capacity", entry.capacity_bytes)
            .with_some("populatedSize", entry.populated_bytes);
        LeaseManifestEntry::from_value(&value.into())
    }
}

/// A disk as it was written.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct WrittenDisk {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    /// Algorithm and hex.
    pub(crate) digest: (String, String),
}

/// Digests as a journal has them.
pub(crate) fn digests_of(digests: &[Digest]) -> Vec<(String, String)> {
    digests.iter().map(|one| (one.algorithm().label().to_owned(), one.hex())).collect()
}

/// An entry of the server's manifest (`HttpNfcLeaseManifestEntry`).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Entry {
    pub(crate) sha1: Option<String>,
    pub(crate) checksum: Option<String>,
    pub(crate) checksum_type: Option<String>,
    pub(crate) size_bytes: u64,
    pub(crate) is_disk: bool,
    pub(crate) capacity_bytes: Option<u64>,
    pub(crate) populated_bytes: Option<u64>,
}

impl From<&LeaseManifestEntry> for Entry {
    fn from(entry: &LeaseManifestEntry) -> Self {
        Self {
            sha1: entry.sha1.clone(),
            checksum: entry.checksum.clone(),
            checksum_type: entry.checksum_type.clone(),
            size_bytes: entry.size_bytes,
            is_disk: entry.is_disk,
            capacity_bytes: entry.capacity_bytes,
            populated_bytes: entry.populated_bytes,
        }
    }
}

/// The version of journals that is written and read here.
pub(crate) const VERSION: u32 = 1;
