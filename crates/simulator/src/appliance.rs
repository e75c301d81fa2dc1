//! Writes OVF packages with content made from a seed: input for imports that costs no download.
//!
//! ```
//! use ovftransfer_simulator::appliance::Appliance;
//! use ovftransfer_simulator::scenario::{Data, DataKind, DiskSpec, Machine};
//!
//! let mut machine = Machine::new("demo");
//! machine.disks.push(DiskSpec::new(8 << 20).with_data(Data::new(DataKind::Mixed, 4 << 20, 1)));
//! let folder = tempfile::tempdir()?;
//! let package = Appliance::new(machine).write_folder(folder.path())?;
//! assert!(package.path().ends_with("demo.ovf"));
//! assert_eq!(package.disks()[0].capacity_bytes(), 8 << 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;

use ovftransfer_ovf::{
    Digest, DigestAlgorithm, DigestError, FileName, Manifest, ManifestError, NameError, ova,
};
use ovftransfer_vmdk::VmdkError;
use sha2::{Digest as _, Sha256};

use crate::bus::{BusKind, DISKS_PER_BUS, scsi_place};
use crate::descriptor::{
    self, Allocation, Bus, Card, Child, Collection, Content, DiskFile, FileEntry,
};
use crate::disk::Disk;
use crate::generate::fill_random;
use crate::scenario::{Machine, ScenarioError};
use crate::stream;

/// A package that can be written: a machine, or several as one vApp, and the content of its disks.
#[derive(Clone, Debug)]
pub struct Appliance {
    name: String,
    machines: Vec<Machine>,
    is_vapp: bool,
}

/// A package that was written.
#[derive(Clone, Debug)]
pub struct Package {
    path: PathBuf,
    disks: Vec<PackageDisk>,
    file_bytes: u64,
}

/// A disk of a package that was written.
#[derive(Clone, Debug)]
pub struct PackageDisk {
    name: FileName,
    capacity_bytes: u64,
    populated_bytes: u64,
    file_bytes: u64,
    file_sha256: [u8; 32],
}

/// Why a package was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplianceError {
    /// The archive could not be written.
    #[error("{}: not written", path.display())]
    Archive {
        /// Path of the archive.
        path: PathBuf,
        /// What the archive's writer said.
        source: ova::WriteError,
    },
    /// A digest could not be made.
    #[error("manifest not written")]
    Digest(#[from] DigestError),
    /// A disk could not be written.
    #[error("{name}: not written")]
    Disk {
        /// File of the disk.
        name: FileName,
        /// What the disk's writer said.
        source: VmdkError,
    },
    /// A file could not be written or read.
    #[error("{}: not written", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has no place in the manifest.
    #[error("manifest not written")]
    Manifest(#[from] ManifestError),
    /// The name of the package or of a machine makes no file name.
    #[error("a name makes no file name")]
    Name(#[from] NameError),
    /// A disk of the machine cannot be.
    #[error("the machine cannot be")]
    Scenario(#[from] ScenarioError),
}

impl Appliance {
    /// A package of `machine`; its name, hardware, networks, disks and NVRAM count.
    #[must_use]
    pub fn new(machine: Machine) -> Self {
        Self { name: machine.name.clone(), machines: vec![machine], is_vapp: false }
    }

    /// A package of a vApp: `machines` in a `VirtualSystemCollection`, in the order in which they are
    /// started.  Their names must differ.
    #[must_use]
    pub fn vapp(name: &str, machines: Vec<Machine>) -> Self {
        Self { name: name.to_owned(), machines, is_vapp: true }
    }

    /// Writes `<name>.ovf`, `<name>.mf` (SHA-256) and the files into `folder`, which must exist.
    ///
    /// # Errors
    ///
    /// See [`ApplianceError`].  Files that were written before the error stay.
    pub fn write_folder(&self, folder: &Path) -> Result<Package, ApplianceError> {
        let files = self.write_files(folder)?;
        let path = folder.join(files.descriptor_name.as_str());
        write_file(&path, &files.descriptor)?;
        write_file(&folder.join(files.manifest_name.as_str()), &files.manifest)?;
        let file_bytes = files.bytes();
        Ok(Package { path, disks: files.disks, file_bytes })
    }

    /// Writes the same files as one archive; its disks are made beside it first.
    ///
    /// # Errors
    ///
    /// See [`ApplianceError`].  A part of the archive may stay.
    pub fn write_ova(&self, path: &Path) -> Result<Package, ApplianceError> {
        let broken = |source| ApplianceError::File { path: path.to_owned(), source };
        let beside = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let spool = tempfile::tempdir_in(beside).map_err(broken)?;
        let files = self.write_files(spool.path())?;
        let archive = BufWriter::new(File::create(path).map_err(broken)?);
        let mut writer = ova::Writer::new(archive);
        let wrong = |source| ApplianceError::Archive { path: path.to_owned(), source };
        for (name, content) in
            [(&files.descriptor_name, &files.descriptor), (&files.manifest_name, &files.manifest)]
        {
            let len_bytes = content.len() as u64;
            writer.append(name, len_bytes, &mut content.as_slice()).map_err(wrong)?;
        }
        for (name, len_bytes) in files.members() {
            let file = File::open(spool.path().join(name.as_str())).map_err(broken)?;
            writer.append(name, len_bytes, &mut BufReader::new(file)).map_err(wrong)?;
        }
        writer.finish().map_err(wrong)?;
        let file_bytes = fs::metadata(path).map_err(broken)?.len();
        Ok(Package { path: path.to_owned(), disks: files.disks, file_bytes })
    }

    /// SHA-256 of the raw content of each disk, machine by machine, holes as zeros, lower-case hex.
    ///
    /// Reads every byte of the capacity, about 0.6 s/GB, all disks side by side.
    ///
    /// # Errors
    ///
    /// [`ApplianceError::Scenario`] if a disk cannot be.
    pub fn raw_sha256(&self) -> Result<Vec<String>, ApplianceError> {
        self.check()?;
        let mut digests = Vec::new();
        for machine in &self.machines {
            digests.extend(side_by_side(&machine.disks, |_, spec| {
                let digest = Disk::generated(spec).digest();
                digest.map(|digest| digest.raw_sha256).map_err(|source| ApplianceError::File {
                    path: PathBuf::from(&machine.name),
                    source,
                })
            })?);
        }
        Ok(digests)
    }

    fn check(&self) -> Result<(), ScenarioError> {
        for disks in self.machines.iter().map(|machine| &machine.disks) {
            for (index, disk) in disks.iter().enumerate() {
                disk.check(&format!("disks[{index}]"))?;
            }
        }
        Ok(())
    }

    /// Writes all files but descriptor and manifest.
    fn write_files(&self, folder: &Path) -> Result<Files, ApplianceError> {
        self.check()?;
        let descriptor_name = FileName::new(format!("{}.ovf", self.name))?;
        let manifest_name = FileName::new(format!("{}.mf", self.name))?;
        let mut parts = Vec::new();
        for machine in &self.machines {
            let name = &machine.name;
            let disks = side_by_side(&machine.disks, |index, spec| {
                let file_name = FileName::new(format!("{name}-disk{}.vmdk", index + 1))?;
                write_disk(folder, file_name, &Disk::generated(spec))
            })?;
            parts.push(Part { machine, disks, nvram: write_nvram(folder, machine)? });
        }
        let descriptor = self.descriptor(&parts).into_bytes();
        let mut manifest = Manifest::new();
        let mut push = |name: &FileName, digest: [u8; 32]| -> Result<(), ApplianceError> {
            let digest = Digest::new(DigestAlgorithm::Sha256, &digest)?;
            Ok(manifest.push(name.clone(), digest)?)
        };
        push(&descriptor_name, sha256(&descriptor))?;
        for part in &parts {
            for disk in &part.disks {
                push(&disk.name, disk.file_sha256)?;
            }
            if let Some((name, _, digest)) = &part.nvram {
                push(name, *digest)?;
            }
        }
        let manifest = manifest.to_bytes();
        let (mut disks, mut nvrams) = (Vec::new(), Vec::new());
        for part in parts {
            disks.extend(part.disks);
            nvrams.extend(part.nvram.map(|(name, len_bytes, _)| (name, len_bytes)));
        }
        Ok(Files { descriptor_name, descriptor, manifest_name, manifest, disks, nvrams })
    }

    fn descriptor(&self, parts: &[Part<'_>]) -> String {
        let mut machines = parts.iter().map(|part| Content::Machine(part.described()));
        if !self.is_vapp && parts.len() == 1 {
            return machines.next().map(|machine| descriptor::write(&machine)).unwrap_or_default();
        }
        let child = |(content, order)| Child {
            content,
            order,
            start_action: "powerOn".to_owned(),
            start_delay_s: 0,
            stop_action: "powerOff".to_owned(),
            stop_delay_s: 0,
            waiting_for_guest: false,
        };
        descriptor::write(&Content::Collection(Collection {
            name: self.name.clone(),
            annotation: String::new(),
            cpu: Allocation::default(),
            memory: Allocation::default(),
            children: machines.zip(1..).map(child).collect(),
        }))
    }
}

/// Name, length and SHA-256 of an NVRAM that was written.
type Nvram = (FileName, u64, [u8; 32]);

/// A machine with the files that were written for it.
struct Part<'a> {
    machine: &'a Machine,
    disks: Vec<PackageDisk>,
    nvram: Option<Nvram>,
}

impl Part<'_> {
    fn described(&self) -> descriptor::Machine {
        let entry =
            |name: &FileName, size_bytes| FileEntry { href: name.as_str().to_owned(), size_bytes };
        let disk = |(index, disk): (usize, &PackageDisk)| DiskFile {
            place: scsi_place(index),
            file: entry(&disk.name, disk.file_bytes),
            capacity_bytes: disk.capacity_bytes,
            populated_bytes: Some(disk.populated_bytes),
        };
        let card =
            |network: &String| Card { network: network.clone(), sub_type: "VmxNet3", mac: None };
        let Machine { name, cpus, memory_mib, guest_id, controller, networks, .. } = self.machine;
        descriptor::Machine {
            name: name.clone(),
            cpus: *cpus,
            memory_mib: *memory_mib,
            guest_id: guest_id.clone(),
            uuid: None,
            buses: (0..self.disks.len().div_ceil(DISKS_PER_BUS))
                .map(|number| Bus { kind: BusKind::from(*controller), number })
                .collect(),
            disks: self.disks.iter().enumerate().map(disk).collect(),
            cards: networks.iter().map(card).collect(),
            drives: Vec::new(),
            extra_config: Vec::new(),
            nvram: self.nvram.as_ref().map(|(name, len_bytes, _)| entry(name, *len_bytes)),
        }
    }
}

fn write_nvram(folder: &Path, machine: &Machine) -> Result<Option<Nvram>, ApplianceError> {
    let len_bytes = machine.nvram.bytes();
    if len_bytes == 0 {
        return Ok(None);
    }
    let file_name = FileName::new(format!("{}.nvram", machine.name))?;
    let mut content = vec![0; usize::try_from(len_bytes).unwrap_or_default()];
    fill_random(len_bytes, &mut content);
    write_file(&folder.join(file_name.as_str()), &content)?;
    Ok(Some((file_name, len_bytes, sha256(&content))))
}

impl Package {
    /// The descriptor (folder) or the archive.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its disks, in the order of the machine's.
    #[must_use]
    pub fn disks(&self) -> &[PackageDisk] {
        &self.disks
    }

    /// Bytes of all its files together.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

impl PackageDisk {
    /// Name of its file in the package.
    #[must_use]
    pub fn name(&self) -> &FileName {
        &self.name
    }

    /// Size the machine sees, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Bytes in grains with data.
    #[must_use]
    pub fn populated_bytes(&self) -> u64 {
        self.populated_bytes
    }

    /// Size of its file in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }
}

/// The files of a package; disks and NVRAM are on disk, the others still here.
struct Files {
    descriptor_name: FileName,
    descriptor: Vec<u8>,
    manifest_name: FileName,
    manifest: Vec<u8>,
    disks: Vec<PackageDisk>,
    nvrams: Vec<(FileName, u64)>,
}

impl Files {
    /// Name and size of each file after the manifest, in the order of the References.
    fn members(&self) -> impl Iterator<Item = (&FileName, u64)> {
        let nvrams = self.nvrams.iter().map(|(name, len_bytes)| (name, *len_bytes));
        self.disks.iter().map(|disk| (&disk.name, disk.file_bytes)).chain(nvrams)
    }

    fn bytes(&self) -> u64 {
        let texts = self.descriptor.len() + self.manifest.len();
        texts as u64 + self.members().map(|(_, len_bytes)| len_bytes).sum::<u64>()
    }
}

fn write_disk(folder: &Path, name: FileName, disk: &Disk) -> Result<PackageDisk, ApplianceError> {
    let path = folder.join(name.as_str());
    let broken = |source| ApplianceError::File { path: path.clone(), source };
    let file = HashingFile { file: File::create(&path).map_err(broken)?, sha256: Sha256::new() };
    let sink = BufWriter::with_capacity(WRITE_BYTES, file);
    let (sink, summary) = stream::write_disk(disk, sink)
        .map_err(|source| ApplianceError::Disk { name: name.clone(), source })?;
    let file = sink.into_inner().map_err(|error| broken(error.into_error()))?;
    let file_bytes = file.file.metadata().map_err(broken)?.len();
    Ok(PackageDisk {
        capacity_bytes: disk.capacity_bytes(),
        populated_bytes: summary.populated_bytes(),
        file_bytes,
        file_sha256: file.sha256.finalize().into(),
        name,
    })
}

struct HashingFile {
    file: File,
    sha256: Sha256,
}

impl Write for HashingFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.sha256.update(&data[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Does `work` for each item on a thread of its own; results in the order of the items.
fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(usize, &T) -> Result<R, ApplianceError> + Sync,
) -> Result<Vec<R>, ApplianceError> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| scope.spawn(move || work(index, item)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), ApplianceError> {
    fs::write(path, content)
        .map_err(|source| ApplianceError::File { path: path.to_owned(), source })
}

fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// Bytes of one write to a file.
const WRITE_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
