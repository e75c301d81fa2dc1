//! Exports a machine, or a snapshot of one, into a package.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_vim::EntityKind;
use ovftransfer_vim::InventoryPath;
use ovftransfer_vim::VimError;
use ovftransfer_vim::inventory::PowerState;
use ovftransfer_vim::inventory::VmFacts;
use ovftransfer_vim::lease::LeaseDevice;
use ovftransfer_vim::lease::LeaseId;
use ovftransfer_vim::ovf::DescriptorParams;
use ovftransfer_vim::ovf::OvfFile;
use ovftransfer_vim::value::MoRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::artefact::Artefact;
use crate::artefact::Output;
use crate::artefact::Place;
use crate::devices;
use crate::devices::Exported;
use crate::devices::Naming;
use crate::error::Error;
use crate::handle::Transfer;
use crate::inspect::Hasher;
use crate::inspect::Inspect;
use crate::inspect::Position;
use crate::lease::Lease;
use crate::lease::LeaseApi;
use crate::meter::Meter;
use crate::report;
use crate::report::Report;
use crate::server::Options;
use crate::server::Server;
use crate::server::server_algorithm;
use crate::server::warn;
use crate::store::file::Existing;
use crate::transfer::Job;
use crate::transfer::Moved;
use crate::transfer::discard;
use crate::transfer::move_all;
use crate::transfer::run;

/// A machine to export, and where to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Export {
    /// The machine's path in the inventory: `/datacenter/vm/folder/name`.
    pub source: String,
    /// Where the package goes: a folder, `x.ovf`, `x.ova`, a pipe, a store.
    pub destination: Output,
    /// The snapshot to export, by name or by path in the tree of snapshots; the machine may run.
    pub snapshot: Option<String>,
    /// The algorithm of the package's manifest.
    pub algorithm: DigestAlgorithm,
    /// Whether a package of the same name is replaced.
    pub overwrite: bool,
    /// Whether the NVRAM belongs to the package.  Without it a machine with EFI may not start.
    pub nvram: bool,
    /// Where files of an archive wait for their place; `None` is beside the archive, or the
    /// system's folder for temporary files if the archive goes into a pipe.
    pub spool_dir: Option<PathBuf>,
}

impl Export {
    /// Exports `source` into `destination`, with SHA-256 and the NVRAM.
    #[must_use]
    pub fn new(source: impl Into<String>, destination: impl Into<Output>) -> Self {
        Self {
            source: source.into(),
            destination: destination.into(),
            snapshot: None,
            algorithm: DigestAlgorithm::Sha256,
            overwrite: false,
            nvram: true,
            spool_dir: None,
        }
    }

    /// Reads the server and the destination.  Creates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] if the machine is not found or not readable, [`Error::Refused`] if it
    /// cannot be exported as it is, or if the destination exists.
    pub async fn plan(self, server: &Server) -> Result<ExportPlan, Error> {
        let session = server.session();
        let path = InventoryPath::new(&self.source);
        let vm = session.find(&path, &[EntityKind::VirtualMachine]).await?;
        let facts = session.vm_facts(vm.moref()).await?;
        let snapshot = match &self.snapshot {
            Some(wanted) => Some(facts.snapshot(wanted)?.moref.clone()),
            None => None,
        };
        if snapshot.is_none() && facts.power_state != PowerState::Off {
            return Err(Error::Refused { problem: is_running(&facts) });
        }
        let place = Place::resolve(self.destination.clone(), &facts.name);
        place.check(self.existing()).await?;
        Ok(ExportPlan { server: server.clone(), request: self, facts, snapshot, place })
    }

    const fn existing(&self) -> Existing {
        if self.overwrite { Existing::Replace } else { Existing::Keep }
    }
}

fn is_running(facts: &VmFacts) -> String {
    let mut problem =
        format!("{} is not powered off; power it off, or export a snapshot of it", facts.name);
    if !facts.snapshots.is_empty() {
        let names: Vec<&str> = facts.snapshots.iter().map(|snapshot| &*snapshot.path).collect();
        problem.push_str(&format!(" (there is {})", names.join(", ")));
    }
    problem
}

/// What an export will do.  `Display` tells a person.
#[derive(Clone, Debug)]
#[must_use = "a plan does nothing by itself"]
pub struct ExportPlan {
    server: Server,
    request: Export,
    facts: VmFacts,
    snapshot: Option<MoRef>,
    place: Place,
}

impl fmt::Display for ExportPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "export {}", self.request.source)?;
        if let Some(snapshot) = &self.request.snapshot {
            write!(f, ", snapshot {snapshot}")?;
        }
        writeln!(f, "\n  to {}", self.place)?;
        for disk in &self.facts.disks {
            writeln!(f, "  {}: {} bytes of capacity", disk.label, disk.capacity_bytes)?;
        }
        Ok(())
    }
}

impl ExportPlan {
    /// The machine's name.
    #[must_use]
    pub fn machine(&self) -> &str {
        &self.facts.name
    }

    /// The file that will lead to the package: its descriptor or its archive.  A package in a pipe
    /// or a store has none.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.place.path()
    }

    /// How many disks the server must offer at least.
    const fn disks_min(&self) -> usize {
        let disks = self.facts.disks.len();
        // A disk that snapshots leave out (`independent`) is not part of one, nor is one that was
        // added later; and the hardware of a snapshot is not read.
        if self.snapshot.is_some() && disks > 0 { 1 } else { disks }
    }

    /// Runs the export.  Needs to be called within a tokio runtime.
    pub fn start(self, options: Options) -> Transfer {
        Transfer::start(|meter, cancel| Running { plan: self, options, meter }.run(cancel))
    }

    fn take_lease(&self) -> impl Future<Output = Result<LeaseId, VimError>> + Send + 'static {
        let session = self.server.session().clone();
        let (vm, snapshot) = (self.facts.vm.clone(), self.snapshot.clone());
        async move {
            match snapshot {
                Some(snapshot) => session.export_snapshot(&snapshot).await,
                None => session.export_vm(&vm).await,
            }
        }
    }
}

/// An export that runs.
struct Running {
    plan: ExportPlan,
    options: Options,
    meter: Arc<Meter>,
}

impl Running {
    async fn run(self, cancel: CancellationToken) -> Result<Report, Error> {
        let started = Instant::now();
        let plan = &self.plan;
        let artefact =
            plan.place.create(plan.request.existing(), plan.request.spool_dir.clone()).await?;
        let exported = self.lease_and_move(&artefact, &cancel).await;
        let Exporting { lease, moved, streamed } = match exported {
            Ok(exported) => exported,
            Err(error) => {
                artefact.discard().await;
                return Err(error);
            }
        };
        let files = report::files(&moved, &self.meter);
        let package = artefact.publish(moved).await?;
        Ok(Report {
            name: self.plan.facts.name.clone(),
            entity: self.plan.facts.vm.clone(),
            lease,
            package,
            files,
            after: report::After::default(),
            beats: self.meter.beats(),
            streamed: streamed - started,
            took: started.elapsed(),
        })
    }

    /// Everything that happens under the lease.
    async fn lease_and_move(
        &self,
        artefact: &Artefact,
        cancel: &CancellationToken,
    ) -> Result<Exporting, Error> {
        let api = self.plan.server.hold(self.plan.take_lease(), cancel).await?;
        let name = api.name();
        let lease = Lease::new(api, Arc::clone(&self.options.observer)).ready(cancel).await?;
        let offered = lease.info().devices.clone();
        let mut streamed = Instant::now();
        let at = &mut streamed;
        let moved = run(lease, &self.meter, cancel, |api, scope| async move {
            self.work(&offered, artefact, &api, &scope, at).await
        })
        .await?;
        Ok(Exporting { lease: name, moved, streamed })
    }

    async fn work(
        &self,
        offered: &[LeaseDevice],
        artefact: &Artefact,
        lease: &Arc<dyn LeaseApi>,
        scope: &CancellationToken,
        streamed: &mut Instant,
    ) -> Result<Vec<Moved>, Error> {
        let (plan, request) = (&self.plan, &self.plan.request);
        let naming = Naming { base: plan.place.base(), prefix: &plan.place.prefix() };
        let exported = devices::for_export(offered, &naming, request.nvram, plan.disks_min())?;
        let descriptor = small_file(plan.place.base(), "ovf")?;
        let names = || exported.iter().map(|one| one.file.clone()).collect();
        artefact.reserve(&descriptor, names(), request.algorithm).await?;
        let keys: Vec<_> = exported.iter().map(|file| file.device.key.clone()).collect();
        let by_server = server_algorithm(&**lease, &keys, &self.options, scope).await?;
        let mut jobs: Vec<Job> =
            exported.iter().map(|file| self.job(file, artefact, by_server)).collect();
        // The largest first: it decides when all are done.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.meter.weight_bytes()));
        let lanes = jobs.into_iter().map(|job| vec![job]).collect();
        let mut moved = move_all(lanes, lease, &self.options.shared(), scope).await?;
        *streamed = Instant::now();
        let described = async {
            let order = artefact.order(names()).await?;
            moved.sort_by_key(|one| order.iter().position(|file| file == one.proof.file()));
            if order.len() != moved.len() {
                let problem = "the archive has lost a file (a defect)".to_owned();
                return Err(Error::Refused { problem });
            }
            let contents = Contents::of(&moved, request.algorithm);
            self.describe(descriptor, contents, artefact, scope).await?;
            if scope.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
        };
        match described.await {
            Ok(()) => Ok(moved),
            Err(error) => {
                discard(moved).await;
                Err(error)
            }
        }
    }

    fn job(
        &self,
        exported: &Exported,
        artefact: &Artefact,
        by_server: Option<DigestAlgorithm>,
    ) -> Job {
        let device = &exported.device;
        let mut source = self.plan.server.device(device);
        source.size_bytes = if exported.is_disk { None } else { device.file_bytes };
        let (weight_bytes, position) = match exported.is_disk {
            true => (self.capacity_of(device), Position::Disk),
            false => (device.file_bytes.unwrap_or(0), Position::Bytes),
        };
        let inspect =
            Inspect { algorithms: vec![self.plan.request.algorithm], disk: exported.is_disk };
        let inspect = by_server.into_iter().fold(inspect, Inspect::also);
        let (destination, sink_at) = artefact.destination(&exported.file);
        let host = format!("{}:{}", device.url.host(), device.url.port());
        Job {
            key: device.key.clone(),
            source_at: host.clone(),
            host,
            source: Arc::new(source),
            sink_at,
            destination,
            inspect,
            position,
            promised: None,
            meter: self.meter.add_file(&exported.file, weight_bytes),
            file: exported.file.clone(),
        }
    }

    /// The capacity of a disk, as the machine's hardware has it: the lease does not tell.
    fn capacity_of(&self, device: &LeaseDevice) -> u64 {
        let disks = &self.plan.facts.disks;
        let slot_of = |slot: &Option<String>| {
            slot.as_ref().is_some_and(|slot| device.key.as_str().ends_with(slot.as_str()))
        };
        let same = disks.iter().find(|disk| slot_of(&disk.slot)).or_else(|| disks.first());
        same.map_or(1, |disk| disk.capacity_bytes)
    }

    /// Writes descriptor and manifest, not yet under their final names, while the lease is held.
    async fn describe(
        &self,
        descriptor: FileName,
        contents: Contents,
        artefact: &Artefact,
        scope: &CancellationToken,
    ) -> Result<(), Error> {
        let plan = &self.plan;
        let params = DescriptorParams {
            files: contents.files,
            name: Some(plan.facts.name.clone()),
            snapshot: plan.snapshot.clone(),
            ..DescriptorParams::default()
        };
        let call = plan.server.session().create_descriptor(&plan.facts.vm, &params);
        let made = scope.run_until_cancelled(call).await.ok_or(Error::Cancelled)??;
        if let Some(fault) = made.errors.first() {
            return Err(Error::Refused {
                problem: format!("no descriptor can be made of {}: {fault}", plan.facts.name),
            });
        }
        for warning in &made.warnings {
            warn(&self.options, format!("descriptor: {warning}"));
        }
        let envelope = check_described(&made.descriptor, &params.files)?;
        let order: Vec<FileName> = contents.digests.iter().map(|(file, _)| file.clone()).collect();
        let bytes = artefact.fit(envelope.with_references_in(&order).into_bytes()).await?;
        let algorithm = plan.request.algorithm;
        let mut manifest = Manifest::new();
        add(&mut manifest, &descriptor, Hasher::digest(algorithm, &bytes))?;
        for (file, digest) in contents.digests {
            add(&mut manifest, &file, digest)?;
        }
        artefact.stage(descriptor, manifest.to_bytes(), bytes).await
    }
}

/// What descriptor and manifest say about the files, in their order.
struct Contents {
    files: Vec<OvfFile>,
    digests: Vec<(FileName, Digest)>,
}

impl Contents {
    fn of(moved: &[Moved], algorithm: DigestAlgorithm) -> Self {
        let digest_of = |moved: &Moved| {
            let mut digests = moved.digests.iter();
            let digest = digests.find(|digest| digest.algorithm() == algorithm)?;
            Some((moved.proof.file().clone(), *digest))
        };
        let digests = moved.iter().filter_map(digest_of).collect();
        Self { files: moved.iter().map(described).collect(), digests }
    }
}

/// What an export has done when its lease is over.
struct Exporting {
    lease: String,
    moved: Vec<Moved>,
    /// When the last byte had come and was proven.
    streamed: Instant,
}

/// What the server is told about a file, so that the descriptor is right by construction.
fn described(moved: &Moved) -> OvfFile {
    let entry = moved.entry.as_ref();
    let disk = moved.disk.as_ref();
    OvfFile {
        device_key: moved.key.clone(),
        path: moved.proof.file().to_string(),
        size_bytes: moved.proof.bytes(),
        capacity_bytes: entry
            .and_then(|entry| entry.capacity_bytes)
            .or_else(|| disk.map(|disk| disk.capacity_bytes())),
        populated_bytes: entry
            .and_then(|entry| entry.populated_bytes)
            .or_else(|| disk.map(|disk| disk.populated_bytes())),
    }
}

/// Compares the descriptor that the server made with the files that it is to describe.
///
/// # Errors
///
/// [`Error::Refused`] if it does not name exactly these files, each once; if it says another size
/// (it may leave the size out); or if it cannot be read, as nobody else could read it then.
fn check_described(descriptor: &str, files: &[OvfFile]) -> Result<Envelope, Error> {
    let refused = |problem: String| Error::Refused {
        problem: format!("it made a descriptor that does not fit: {problem}"),
    };
    let envelope = Envelope::parse(descriptor).map_err(|error| refused(error.to_string()))?;
    let references = envelope.references();
    if let Some(odd) = references.iter().find(|one| !files.iter().any(|file| is_of(one, file))) {
        return Err(refused(format!("{} is not exported", odd.href())));
    }
    for file in files {
        let mut named = references.iter().filter(|reference| is_of(reference, file));
        let (Some(reference), None) = (named.next(), named.next()) else {
            return Err(refused(format!("{} is not there exactly once", file.path)));
        };
        if let Some(size_bytes) = reference.size_bytes()
            && size_bytes != file.size_bytes
        {
            let (path, moved) = (&file.path, file.size_bytes);
            return Err(refused(format!("{path} has {size_bytes} bytes in it, but {moved} moved")));
        }
    }
    Ok(envelope)
}

fn is_of(reference: &FileRef, file: &OvfFile) -> bool {
    reference.href().as_str() == file.path
}

fn add(manifest: &mut Manifest, file: &FileName, digest: Digest) -> Result<(), Error> {
    manifest
        .push(file.clone(), digest)
        .map_err(|source| Error::Manifest { package: file.to_string(), source: Box::new(source) })
}

fn small_file(base: &str, extension: &str) -> Result<FileName, Error> {
    FileName::new(format!("{base}.{extension}")).map_err(|error| Error::Refused {
        problem: format!("the package cannot be called {base:?}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "http://schemas.dmtf.org/ovf/envelope/1";

    fn descriptor(files: &[(&str, &str)]) -> String {
        let files: String = files
            .iter()
            .zip(1..)
            .map(|((href, size), id)| format!(r#"<File ovf:href="{href}" ovf:id="f{id}" {size}/>"#))
            .collect();
        format!(
            r#"<Envelope xmlns="{NAMESPACE}" xmlns:ovf="{NAMESPACE}">
               <References>{files}</References>
               <VirtualSystem ovf:id="web"><Info>A machine</Info></VirtualSystem></Envelope>"#
        )
    }

    fn moved(path: &str, size_bytes: u64) -> OvfFile {
        OvfFile {
            device_key: ovftransfer_vim::lease::DeviceKey::new(path),
            path: path.to_owned(),
            size_bytes,
            capacity_bytes: None,
            populated_bytes: None,
        }
    }

    #[test]
    fn a_descriptor_must_describe_what_moved() {
        let files = [moved("a.vmdk", 10), moved("b.vmdk", 20)];
        let (a, b) = (("a.vmdk", r#"ovf:size="10""#), ("b.vmdk", r#"ovf:size="20""#));
        check_described(&descriptor(&[a, b]), &files).unwrap();
        check_described(&descriptor(&[("b.vmdk", ""), a]), &files).unwrap();
        for (named, expected) in [
            (&[a][..], "b.vmdk"),
            (&[a, ("c.vmdk", ""), b], "c.vmdk"),
            (&[a, ("b.vmdk", r#"ovf:size="21""#)], "21 bytes"),
            (&[a, a, b], "a.vmdk"),
        ] {
            let error = check_described(&descriptor(named), &files).unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(check_described("", &files).is_err());
    }
}
