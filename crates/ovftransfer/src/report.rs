//! What a transfer did, file by file.

use std::path::PathBuf;
use std::time::Duration;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::FileName;
use ovftransfer_vim::value::MoRef;

use crate::kind::Conversion;
use crate::kind::DiskFileFormat;
use crate::meter::Meter;
use crate::network::CheckedMachine;
use crate::transfer::Moved;
use crate::verify::Verification;

/// What a transfer did.  There is one only when everything was proven and the lease completed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The machine's name.
    pub name: String,
    /// The machine: the new one after an import, the source of an export.
    pub entity: MoRef,
    /// The part of the lease's id that may be shown.
    pub lease: String,
    /// The file that leads to the package that an export wrote: its descriptor or its archive.
    /// A package in a pipe or a store has none.
    pub package: Option<PathBuf>,
    /// What the server's manifest had to prove.
    pub verification: Verification,
    /// One entry for each file that moved, in the order of the plan.
    pub files: Vec<FileReport>,
    /// What was done to the machine after its import; nothing after an export.
    pub after: After,
    /// The network cards of the imported machine, or of every machine of the vApp, with what was
    /// found of their ports at the end; empty after an export, and if the server could not be asked.
    pub network: Vec<CheckedMachine>,
    /// Heartbeats that the server answered.
    pub beats: u64,
    /// From the request for the lease until the last byte had moved and was proven.
    pub streamed: Duration,
    /// From the request for the lease to the end: the package lies under its name, or the machine
    /// is there.
    pub took: Duration,
}

/// What was done to a machine, on request, after its import was complete.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct After {
    /// The old machine that was deleted, as it had the name.
    pub replaced: Option<MoRef>,
    /// Whether the OVF environment was put into its configuration.
    pub has_ovf_env: bool,
    /// Whether it was started.
    pub is_powered_on: bool,
    /// The address that its guest has reported.
    pub address: Option<String>,
    /// Whether it was made a template.
    pub is_template: bool,
}

/// What happened to one file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// The file's name in the package.
    pub file: FileName,
    /// The host that served or took it, as `name:port`.
    pub host: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The capacity of the disk in bytes, for disks.
    pub capacity_bytes: Option<u64>,
    /// Every digest that was computed while it moved.
    pub digests: Vec<Digest>,
    /// Whether the package's manifest agreed in the digest.  An export has none to compare with: it
    /// makes one.
    pub by_package: bool,
    /// Whether the server's manifest agreed in size and digest.
    pub by_server: bool,
    /// Tries that it took; 1 if all went well, 0 if it did not move as it was kept.
    pub attempts: u32,
    /// Whether an earlier run of the same export, which was killed, had fetched and proven it; it was
    /// read again and compared, but not fetched.
    pub kept: bool,
    /// From its first try to its last byte.
    pub took: Duration,
    /// How the disk that was sent was made, if the package has it in another format.  Size and
    /// digests above are those of what was sent.
    pub conversion: Option<Conversion>,
    /// What an export has written of the disk, if that is not what moved.  Size and digests above
    /// are those of what moved, and what the server's manifest was compared with.
    pub written: Option<WrittenDisk>,
}

/// A disk that was written in another format than it came in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WrittenDisk {
    /// What it is now.
    pub format: DiskFileFormat,
    /// Its size in bytes, holes included.
    pub bytes: u64,
    /// Its digest, as in the package's manifest.
    pub digest: Digest,
}

impl Report {
    /// Bytes that moved; those of files that were kept did not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().filter(|file| !file.kept).map(|file| file.bytes).sum()
    }
}

/// Makes the file reports, in the order in which the meter knows the files.
pub(crate) fn files(moved: &[Moved], meter: &Meter) -> Vec<FileReport> {
    let order = meter.files();
    let place = |file: &FileName| order.iter().position(|meter| meter.name() == file);
    let mut files: Vec<FileReport> = moved.iter().map(FileReport::of).collect();
    files.sort_by_key(|report| place(&report.file));
    files
}

impl FileReport {
    fn of(moved: &Moved) -> Self {
        Self {
            file: moved.proof.file().clone(),
            host: moved.host.clone(),
            bytes: moved.proof.bytes(),
            capacity_bytes: moved.disk.as_ref().map(|disk| disk.capacity_bytes()),
            digests: moved.digests.clone(),
            by_package: moved.proof.by_package(),
            by_server: moved.proof.by_server(),
            attempts: moved.attempts,
            kept: moved.attempts == 0,
            took: moved.took,
            conversion: moved.conversion.clone(),
            written: moved.written.map(|(bytes, digest)| WrittenDisk {
                format: DiskFileFormat::Raw,
                bytes,
                digest,
            }),
        }
    }
}
