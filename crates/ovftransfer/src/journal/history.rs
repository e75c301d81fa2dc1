//! What the records of a journal add up to.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_vim::value::MoRef;

use crate::inspect::Hasher;
use crate::journal::record::Begin;
use crate::journal::record::Proven;
use crate::journal::record::Record;
use crate::journal::record::VERSION;
use crate::journal::record::WrittenDisk;
use crate::store::file::partial_path;
use crate::store::inode::is_one;
use crate::store::inode::stamp;
use crate::store::neighbours::partial_of;

/// How far a run had come.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) begin: Begin,
    /// The last lease.
    pub(crate) lease: Option<LeaseNote>,
    /// What an import makes.
    pub(crate) entity: Option<EntityNote>,
    /// The snapshot that was made for the export, unless it is gone.
    pub(crate) snapshot: Option<SnapshotNote>,
    /// Snapshots that could not be removed when they were to be.
    pub(crate) left: Vec<SnapshotNote>,
    /// What the proven files are of.
    pub(crate) source: Option<String>,
    pub(crate) proven: Vec<Proven>,
    /// Files that may be there under their `.partial` names.
    pub(crate) writing: Vec<String>,
    /// Disks in another format than they came in.
    written: Vec<WrittenDisk>,
    /// The small files, with SHA-256.
    pub(crate) staged: Vec<(String, String)>,
    /// Whether files may have got their final names.
    pub(crate) is_publishing: bool,
    /// Which file it is that leads to the package, once it has its last byte.
    leading: Option<String>,
}

/// A lease that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct LeaseNote {
    pub(crate) on: MoRef,
    /// Ids of tasks that were there before.
    pub(crate) known: Vec<String>,
    pub(crate) task: Option<MoRef>,
    /// The part of its id that may be shown.
    pub(crate) name: Option<String>,
    /// Whether the server may have been told that all is well.
    pub(crate) is_completing: bool,
    pub(crate) is_over: bool,
}

/// What an import makes.
#[derive(Clone, Debug)]
pub(crate) struct EntityNote {
    pub(crate) entity: MoRef,
    pub(crate) name: String,
    pub(crate) instance_uuid: Option<String>,
}

/// A snapshot that was made for an export, or was about to be.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotNote {
    pub(crate) vm: MoRef,
    pub(crate) name: String,
    pub(crate) task: Option<MoRef>,
    pub(crate) snapshot: Option<MoRef>,
}

impl History {
    /// Adds up the records; `None` if there is no beginning.
    ///
    /// # Errors
    ///
    /// The version, if it is a later one.
    pub(crate) fn of(records: Vec<Record>) -> Result<Option<Self>, u32> {
        let mut records = records.into_iter();
        let Some(Record::Begin(begin)) = records.next() else { return Ok(None) };
        if begin.version > VERSION {
            return Err(begin.version);
        }
        let mut this = Self {
            begin: *begin,
            lease: None,
            entity: None,
            snapshot: None,
            left: Vec::new(),
            source: None,
            proven: Vec::new(),
            writing: Vec::new(),
            written: Vec::new(),
            staged: Vec::new(),
            is_publishing: false,
            leading: None,
        };
        records.for_each(|record| this.take(record));
        Ok(Some(this))
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Lease { on, known } => {
                let (on, task, name) = (on.moref(), None, None);
                let (is_completing, is_over) = (false, false);
                self.lease = Some(LeaseNote { on, known, task, name, is_completing, is_over });
            }
            Record::Task { task, lease } => {
                if let Some(note) = &mut self.lease {
                    (note.task, note.name) = (Some(task.moref()), Some(lease));
                }
            }
            Record::Completing => {
                if let Some(note) = &mut self.lease {
                    note.is_completing = true;
                }
            }
            Record::LeaseEnded => {
                if let Some(note) = &mut self.lease {
                    note.is_over = true;
                }
            }
            Record::Entity { entity, name, instance_uuid } => {
                self.entity = Some(EntityNote { entity: entity.moref(), name, instance_uuid });
            }
            Record::SnapshotWanted { vm, name } => {
                let (task, snapshot) = (None, None);
                self.snapshot = Some(SnapshotNote { vm: vm.moref(), name, task, snapshot });
            }
            Record::SnapshotTask { task } => {
                if let Some(note) = &mut self.snapshot {
                    note.task = Some(task.moref());
                }
            }
            Record::Snapshot { snapshot } => {
                if let Some(note) = &mut self.snapshot {
                    note.snapshot = Some(snapshot.moref());
                }
            }
            Record::SnapshotGone => self.snapshot = None,
            Record::SnapshotLeft { vm, name, snapshot } => {
                self.snapshot.take_if(|note| note.name == name);
                let (vm, snapshot) = (vm.moref(), Some(snapshot.moref()));
                self.left.push(SnapshotNote { vm, name, task: None, snapshot });
            }
            Record::Source { identity } => {
                if self.source != identity || identity.is_none() {
                    self.proven.clear();
                }
                self.source = identity;
            }
            Record::Proven(proven) => {
                self.proven.retain(|known| known.file != proven.file);
                self.proven.push(*proven);
            }
            Record::Writing { files } => self.writing.extend(files),
            Record::Written { disks } => self.written = disks,
            Record::Staged { papers } => self.staged = papers,
            Record::Publishing { leading } => (self.is_publishing, self.leading) = (true, leading),
            Record::Begin(_) | Record::Unknown => {}
        }
    }

    /// The file that leads to the package, if the package lies beside the journal.
    pub(crate) fn package(&self, folder: &Path) -> Option<PathBuf> {
        plain(self.begin.package.as_deref()?).map(|name| folder.join(name))
    }

    /// Every snapshot that may still be there.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &SnapshotNote> {
        self.left.iter().chain(&self.snapshot)
    }

    /// Whether the package had all its names when the run was killed: its last file, and no other
    /// one, has the last of them.
    pub(crate) fn is_published(&self, folder: &Path) -> bool {
        let Some(package) = self.package(folder).filter(|_| self.is_publishing) else {
            return false;
        };
        match &self.leading {
            Some(leading) => stamp(&package).as_ref() == Some(leading),
            // What a journal of before does not tell, two names of one file do.
            None => is_one(&package, &partial_path(&package)),
        }
    }

    /// Whether there is a package, of this run or of somebody else.
    ///
    /// Its descriptor, or archive, goes before the first of the new names is given and comes last:
    /// as long as it is there, none of them leads to half a package.
    pub(crate) fn has_package(&self, folder: &Path) -> bool {
        self.package(folder).is_some_and(|package| is_there(&package))
    }

    /// Final names that the run has given before it was killed, while the one that leads to the
    /// package was still to come.
    ///
    /// Only what is what it was then: a file of somebody else keeps its name.
    pub(crate) fn published_early(&self, folder: &Path) -> Vec<PathBuf> {
        if !self.is_publishing || self.has_package(folder) {
            return Vec::new();
        }
        // The files of an archive never have names.
        let written = self.written.iter().map(|disk| (&disk.file, disk.bytes));
        let proven = self.proven.iter().map(|proven| (&proven.file, proven.bytes)).chain(written);
        let named = proven.filter(|(file, _)| self.writing.contains(file));
        let disks = named.filter_map(|(file, bytes)| {
            let path = folder.join(plain(file)?);
            let found = fs::symlink_metadata(&path).ok()?;
            (found.is_file() && found.len() == bytes).then_some(path)
        });
        let papers = self.staged.iter().filter_map(|(name, sha256)| {
            let path = folder.join(plain(name)?);
            let found = fs::symlink_metadata(&path).ok()?;
            let is_small = found.is_file() && found.len() <= PAPER_BYTES_MAX;
            let bytes = is_small.then(|| fs::read(&path).ok()).flatten()?;
            (sha256_of(&bytes) == *sha256).then_some(path)
        });
        let Some(leading) = self.package(folder) else { return Vec::new() };
        let given = disks.chain(papers).filter(|path| *path != leading);
        // One that was given by a link may still have its other name.
        let is_given = |path: &PathBuf| {
            let partial = partial_of(path, &leading);
            !is_there(&partial) || is_one(path, &partial)
        };
        given.filter(is_given).collect()
    }

    /// Size and digest that a file must have which is one of the run's, unless it is a small one.
    pub(crate) fn promised(&self, file: &str) -> Option<(u64, Option<Digest>)> {
        if let Some(proven) = self.proven.iter().find(|proven| proven.file == file) {
            let digests = proven.digests();
            return Some((proven.bytes, digests.and_then(|digests| digests.first().copied())));
        }
        let WrittenDisk { bytes, digest: (label, hex), .. } =
            self.written.iter().find(|disk| disk.file == file)?;
        let algorithm = label.parse().ok();
        Some((*bytes, algorithm.and_then(|algorithm| Digest::from_hex(algorithm, hex).ok())))
    }

    /// Every `.partial` file that the run may have left.
    pub(crate) fn partials(&self, folder: &Path) -> Vec<PathBuf> {
        let Some(leading) = self.package(folder) else { return Vec::new() };
        let names = self.writing.iter().chain(self.staged.iter().map(|(name, _)| name));
        let names = names.filter_map(|name| plain(name)).map(|name| folder.join(name));
        let mut partials: Vec<PathBuf> = names.map(|path| partial_of(&path, &leading)).collect();
        partials.sort();
        partials.dedup();
        partials.retain(|path| is_there(path));
        partials
    }
}

/// SHA-256 in hex.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    Hasher::digest(DigestAlgorithm::Sha256, bytes).hex()
}

/// Whether there is something of that name.
pub(crate) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// A name that stays in its folder: a journal could have been written by anybody.
fn plain(name: &str) -> Option<&str> {
    let is_plain =
        !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0', ':']);
    is_plain.then_some(name)
}

/// The largest manifest, descriptor or certificate that is compared.
const PAPER_BYTES_MAX: u64 = 64 << 20;
