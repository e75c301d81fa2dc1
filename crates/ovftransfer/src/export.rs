//! Exports a machine, a snapshot of one or a vApp into a package.

mod describe;
#[cfg(test)]
mod finished;
#[cfg(test)]
mod power;
mod preflight;
mod resume;
mod running;
mod source;
mod subject;
mod temporary;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::certificate::SigningKey;

use self::resume::Earlier;
use self::running::Running;
use self::subject::Subject;
use crate::artefact::Output;
use crate::artefact::Place;
use crate::clock::time_of_day;
use crate::disk::DiskFormat;
use crate::error::Check;
use crate::error::Error;
use crate::error::Finding;
use crate::error::check_findings;
use crate::handle::LEASE_AT_SHUTDOWN;
use crate::handle::Transfer;
use crate::server::Options;
use crate::server::Server;
use crate::store::file::Existing;

/// A machine or a vApp to export, and where to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Export {
    /// The path in the inventory of a machine, `/datacenter/vm/folder/name`, or of a vApp,
    /// `/datacenter/host/cluster/Resources/name`.
    pub source: String,
    /// Where the package goes: a folder, `x.ovf`, `x.ova`, a pipe, a store.
    pub destination: Output,
    /// The snapshot to export, by name or by path in the tree of snapshots; the machine may run.
    pub snapshot: Option<String>,
    /// A machine that runs is exported by a snapshot that is made for the export and removed after
    /// it, whatever becomes of the export.  The disks are as after a power failure.
    pub live: bool,
    /// The algorithm of the package's manifest.
    pub algorithm: DigestAlgorithm,
    /// The key that signs the package; `None` leaves it unsigned.
    pub signing_key: Option<Arc<SigningKey>>,
    /// Whether a package of the same name is replaced.
    pub overwrite: bool,
    /// Whether the NVRAM belongs to the package.  Without it a machine with EFI may not start.
    pub nvram: bool,
    /// Whether images in the machine's drives (CD, floppy) belong to the package.
    pub images: bool,
    /// Options of the server for the descriptor, such as `mac`, `uuid`, `extraconfig` and
    /// `nodevicesubtypes` (`OvfManager.ovfExportOption`, since API 5.1).
    pub options: Vec<String>,
    /// A lease for each disk, one after the other, for servers that serve only one disk of a lease.
    pub lease_per_disk: bool,
    /// What the disks are written as.  They come as stream-optimized ones, which is also what the
    /// server's manifest is compared with; a raw one is unpacked while it comes, with holes where it
    /// is zero.  An archive has no holes.
    pub disk_format: DiskFormat,
    /// Where files of an archive wait for their place; `None` is beside the archive, or the
    /// system's folder for temporary files if the archive goes into a pipe.
    pub spool_dir: Option<PathBuf>,
    /// Whether the export goes on where a run of the same export was killed.
    ///
    /// Into a folder, disks that the run had proven are not fetched again if the source is provably
    /// the same: the same snapshot, or a machine that is off and has not changed.  They are read
    /// again and compared.  An archive begins from the start, and so does everything without this.
    /// A package that the run had finished counts as exported only if, besides, it was wished for in
    /// the same way and [`overwrite`](Self::overwrite) is not set; any other is one that exists.
    /// An export that fails or is cancelled is not such a run: it removes what it has written, what
    /// it had proven too, and the next one begins from the start.
    pub resume: bool,
    /// Where the journal of an export is kept that goes into a pipe or a store; `None` keeps none.
    /// That of another lies beside its package.
    pub journal_dir: Option<PathBuf>,
}

impl Export {
    /// Exports `source` into `destination`, with SHA-256 and the NVRAM.
    #[must_use]
    pub fn new(source: impl Into<String>, destination: impl Into<Output>) -> Self {
        Self {
            source: source.into(),
            destination: destination.into(),
            snapshot: None,
            live: false,
            algorithm: DigestAlgorithm::Sha256,
            signing_key: None,
            overwrite: false,
            nvram: true,
            images: false,
            options: Vec::new(),
            lease_per_disk: false,
            disk_format: DiskFormat::StreamOptimized,
            spool_dir: None,
            resume: true,
            journal_dir: None,
        }
    }

    /// Reads the server and the destination.  Creates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] if the machine is not found or not readable, [`Error::Running`]
    /// or [`Error::Refused`] if it cannot be exported as it is, [`Error::Exists`] if the destination
    /// does.
    pub async fn plan(mut self, server: &Server) -> Result<ExportPlan, Error> {
        let (snapshot, live) = (self.snapshot.as_deref(), self.live);
        let subject = Subject::find(server, &self.source, snapshot, live).await?;
        check_options(server, &self.options).await?;
        let place = Place::resolve(self.destination.clone(), subject.name());
        // A journal knows of disks as they came, not as raw ones.
        self.resume &= self.disk_format != DiskFormat::Raw;
        let earlier = Earlier::look(&place, server, &subject, &self).await?;
        // Names that a killed run has given are taken back, and looked at then.
        let checked = match &earlier {
            Some(earlier) if earlier.makes_room() => Ok(()),
            Some(earlier) => {
                place.check(self.existing()).await.map_err(|error| earlier.explain(error))
            }
            None => place.check(self.existing()).await,
        };
        checked?;
        let is_held = earlier.as_ref().is_some_and(Earlier::may_hold);
        let mut findings =
            preflight::look(server, &subject, &place, is_held, self.disk_format).await?;
        findings.extend(self.signing_key.as_deref().and_then(key_finding));
        Ok(ExportPlan { server: server.clone(), request: self, subject, place, findings, earlier })
    }

    const fn existing(&self) -> Existing {
        if self.overwrite { Existing::Replace } else { Existing::Keep }
    }
}

/// A signature by a certificate that is not valid now is one that nobody trusts.
pub(crate) fn key_finding(key: &SigningKey) -> Option<Finding> {
    let (from, until) = (key.not_before(), key.not_after());
    let problem = format!("the certificate is valid from {from} to {until}, which is not now");
    let finding = Finding::warning(Check::Signature, key.subject(), problem);
    (!key.is_valid_at(time_of_day()))
        .then(|| finding.advise("sign with a certificate that is valid, or check the clock"))
}

/// Refuses options that the server does not have.
async fn check_options(server: &Server, wanted: &[String]) -> Result<(), Error> {
    if wanted.is_empty() {
        return Ok(());
    }
    let known = server.session().ovf_export_options().await?;
    let unknown = wanted.iter().find(|wanted| !known.iter().any(|known| known.option == **wanted));
    let Some(unknown) = unknown else { return Ok(()) };
    let names: Vec<&str> = known.iter().map(|known| known.option.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let problem = format!("the server has no export option {unknown:?}; it has {names}");
    Err(Error::NotFound { problem })
}

/// What an export will do.  `Display` tells a person.
#[derive(Clone, Debug)]
#[must_use = "a plan does nothing by itself"]
pub struct ExportPlan {
    server: Server,
    request: Export,
    subject: Subject,
    place: Place,
    findings: Vec<Finding>,
    /// A run of the same export that was killed.
    earlier: Option<Earlier>,
}

impl fmt::Display for ExportPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "export {}", self.request.source)?;
        if let Some(snapshot) = &self.request.snapshot {
            write!(f, ", snapshot {snapshot}")?;
        }
        writeln!(f, "\n  to {}", self.place)?;
        if let Some(earlier) = &self.earlier {
            writeln!(f, "  {}", earlier.told())?;
        }
        if let Subject::Live(_) = self.subject {
            writeln!(f, "  by a snapshot that is made for it and removed after it")?;
        }
        if self.request.disk_format == DiskFormat::Raw {
            writeln!(f, "  with raw disks")?;
        }
        if let Some(key) = &self.request.signing_key {
            writeln!(f, "  signed by {}", key.subject())?;
        }
        for machine in self.subject.machines() {
            for disk in &machine.disks {
                let owner = if self.subject.is_vapp() { &*machine.name } else { "" };
                let of = if owner.is_empty() { "" } else { ", " };
                let (label, bytes) = (&disk.label, disk.capacity_bytes);
                writeln!(f, "  {owner}{of}{label}: {bytes} bytes of capacity")?;
            }
        }
        for finding in &self.findings {
            writeln!(f, "  {}: {finding}", finding.severity.word())?;
        }
        Ok(())
    }
}

impl ExportPlan {
    /// The name of the machine or the vApp.
    #[must_use]
    pub fn name(&self) -> &str {
        self.subject.name()
    }

    /// The file that will lead to the package: its descriptor or its archive.  A package in a pipe
    /// or a store has none.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.place.path()
    }

    /// What was found beforehand, also what does not stop the export.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether the export can be started.
    ///
    /// # Errors
    ///
    /// [`Error::Preflight`] if something was found that stops it.
    pub fn check(&self) -> Result<(), Error> {
        check_findings(|| format!("{} cannot be exported", self.name()), &self.findings)
    }

    /// Runs the export.  Needs to be called within a tokio runtime.
    ///
    /// A plan that does not pass its [`check`](Self::check) fails with that error at once.
    pub fn start(self, options: Options) -> Transfer {
        Transfer::start(LEASE_AT_SHUTDOWN, |meter, cancel| {
            Running::new(self, options, meter).run(cancel)
        })
    }
}
