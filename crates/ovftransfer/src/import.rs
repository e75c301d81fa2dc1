//! Imports a package as a new machine.

mod in_order;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ovftransfer_ovf::Digest;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::Manifest;
use ovftransfer_ovf::envelope::FileRef;
use ovftransfer_vim::EntityKind;
use ovftransfer_vim::InventoryPath;
use ovftransfer_vim::VimError;
use ovftransfer_vim::fault::Fault;
use ovftransfer_vim::inventory::ImportTarget;
use ovftransfer_vim::lease::LeaseId;
use ovftransfer_vim::lease::LeaseInfo;
use ovftransfer_vim::ovf::FileItem;
use ovftransfer_vim::ovf::ImportSpec;
use ovftransfer_vim::ovf::ImportSpecParams;
use ovftransfer_vim::value::MoRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::check::algorithms_in_order;
use crate::check::check_manifest_covers;
use crate::check::check_sizes;
use crate::check::manifest_strays;
use crate::devices;
use crate::error::Error;
use crate::handle::Transfer;
use crate::inspect::Inspect;
use crate::inspect::Position;
use crate::lease::Lease;
use crate::lease::LeaseApi;
use crate::meter::FileMeter;
use crate::meter::Meter;
use crate::report;
use crate::report::Report;
use crate::server::Options;
use crate::server::Server;
use crate::server::server_algorithm;
use crate::server::warn;
use crate::store::Source;
use crate::store::device::DeviceDestination;
use crate::store::device::Upload;
use crate::store::package::Package;
use crate::store::parts::PackageFile;
use crate::transfer::Job;
use crate::transfer::Moved;
use crate::transfer::move_all;
use crate::transfer::run;

/// A package to import, and where to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Import {
    /// The package.
    pub package: Arc<Package>,
    /// A host, a cluster or a resource pool: `/datacenter/host/cluster[/Resources/pool]`.
    pub target: String,
    /// The name of the new machine; `None` takes the descriptor's.
    pub name: Option<String>,
    /// The datastore, by name or path; `None` takes the only one.
    pub datastore: Option<String>,
    /// The folder, by path; `None` takes the datacenter's folder for machines.
    pub folder: Option<String>,
    /// The resource pool, by path; `None` takes the target's.
    pub pool: Option<String>,
    /// The host that is to run the machine, by path; `None` lets the server choose.
    pub host: Option<String>,
    /// Which networks of the descriptor become which networks of the server.
    pub networks: Vec<NetworkMap>,
    /// Values for properties of the descriptor: `[class.]id[.instance]`, value.
    pub properties: Vec<(String, String)>,
    /// The deployment option; `None` takes the descriptor's default.
    pub deployment_option: Option<String>,
    /// `thin`, `thick`, `eagerZeroedThick` and so on; `None` leaves it to the server.
    pub disk_provisioning: Option<String>,
}

/// One network of the server for one network of the descriptor, or for all of them.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NetworkMap {
    /// The name in the descriptor; `None` for every network that is not mapped by name.
    pub ovf: Option<String>,
    /// The server's network, by name or path.
    pub network: String,
}

impl NetworkMap {
    /// Maps the descriptor's network `ovf`, or all networks, to `network`.
    #[must_use]
    pub fn new(ovf: Option<String>, network: impl Into<String>) -> Self {
        Self { ovf, network: network.into() }
    }
}

impl Import {
    /// Imports `package` into `target` under the descriptor's name.
    #[must_use]
    pub fn new(package: impl Into<Arc<Package>>, target: impl Into<String>) -> Self {
        Self {
            package: package.into(),
            target: target.into(),
            name: None,
            datastore: None,
            folder: None,
            pool: None,
            host: None,
            networks: Vec::new(),
            properties: Vec::new(),
            deployment_option: None,
            disk_provisioning: None,
        }
    }

    /// Checks the package and reads the server.  Creates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Package`] if the package cannot be imported or its manifest leaves a file out, [`Error::Server`] and
    /// [`Error::NotFound`] if something that the request names is not there, [`Error::Refused`] if
    /// the server does not take the descriptor or the name exists.
    pub async fn plan(self, server: &Server) -> Result<ImportPlan, Error> {
        let mut warnings = check_package(&self.package)?;
        let session = server.session();
        let target = session.import_target(&InventoryPath::new(&self.target)).await?;
        let scope = target.compute.moref();
        let datastore = session.datastore(scope, self.datastore.as_deref()).await?;
        let find = async |path: &Option<String>, kinds: &[EntityKind]| match path {
            Some(path) => {
                let found = session.find(&InventoryPath::new(path), kinds).await?;
                Ok::<_, Error>(Some(found.moref().clone()))
            }
            None => Ok(None),
        };
        let folder = find(&self.folder, &[EntityKind::Folder]).await?;
        let pools = [EntityKind::ResourcePool, EntityKind::VirtualApp];
        let pool = find(&self.pool, &pools).await?.unwrap_or_else(|| target.pool.clone());
        let host = find(&self.host, &[EntityKind::Host]).await?.or_else(|| target.host.clone());
        let params = ImportSpecParams {
            entity_name: self.name.clone().unwrap_or_default(),
            deployment_option: self.deployment_option.clone().unwrap_or_default(),
            host: host.clone(),
            network_mappings: self.map_networks(server, &target).await?,
            property_mappings: self.properties.clone(),
            disk_provisioning: self.disk_provisioning.clone(),
            ..ImportSpecParams::default()
        };
        let text = self.package.envelope().text();
        let made = session.create_import_spec(text, &pool, datastore.moref(), &params).await?;
        let (Some(spec), true) = (made.import_spec, made.errors.is_empty()) else {
            return Err(Error::Refused { problem: refusal(&self.package, &made.errors) });
        };
        let folder = place(folder.unwrap_or_else(|| target.vm_folder.clone()), &pool);
        if let (Some(folder), Some(name)) = (&folder, spec.entity_name())
            && session.child_named(folder, &name).await?.is_some()
        {
            return Err(Error::Refused {
                problem: format!("{name} exists in that folder; give the new machine another name"),
            });
        }
        warnings.extend(made.warnings.iter().map(ToString::to_string));
        let files = plan_files(&self.package, made.file_items)?;
        let (server, package) = (server.clone(), self.package);
        let datastore = datastore.name().to_owned();
        Ok(ImportPlan { server, package, spec, pool, folder, host, files, warnings, datastore })
    }

    /// Finds the server's networks for the descriptor's.
    async fn map_networks(
        &self,
        server: &Server,
        target: &ImportTarget,
    ) -> Result<Vec<(String, MoRef)>, Error> {
        let names: Vec<&str> =
            self.package.envelope().networks().iter().map(|n| n.name()).collect();
        for ovf in self.networks.iter().filter_map(|map| map.ovf.as_deref()) {
            if !names.contains(&ovf) {
                let problem = if names.is_empty() {
                    format!("the package has no network {ovf:?}, nor any other")
                } else {
                    format!("the package has no network {ovf:?}, but it has {}", names.join(", "))
                };
                return Err(Error::NotFound { problem });
            }
        }
        let mut found: HashMap<&str, MoRef> = HashMap::new();
        let mut mapped = Vec::new();
        for name in names {
            let by_name = self.networks.iter().find(|map| map.ovf.as_deref() == Some(name));
            let for_all = || self.networks.iter().find(|map| map.ovf.is_none());
            let Some(map) = by_name.or_else(for_all) else { continue };
            let network = match found.get(map.network.as_str()) {
                Some(network) => network.clone(),
                None => {
                    let scope = target.compute.moref();
                    let network = server.session().network(scope, Some(&map.network)).await?;
                    found.entry(&map.network).or_insert(network.moref().clone()).clone()
                }
            };
            mapped.push((name.to_owned(), network));
        }
        Ok(mapped)
    }
}

/// The folder for a machine in a pool; none in a vApp, which is a folder itself.
fn place(folder: MoRef, pool: &MoRef) -> Option<MoRef> {
    (pool.kind() != "VirtualApp").then_some(folder)
}

fn refusal(package: &Package, errors: &[Fault]) -> String {
    let faults: Vec<String> = errors.iter().map(ToString::to_string).collect();
    format!("{} cannot be imported here: {}", package.display(), faults.join("; "))
}

/// What can be known to go wrong before the server is asked; returns what is only odd.
fn check_package(package: &Package) -> Result<Vec<String>, Error> {
    let wrong = |problem: String| Err(Error::Package { package: package.display(), problem });
    check_sizes(package)?;
    if let Some(manifest) = package.manifest() {
        check_manifest_covers(package, manifest)?;
    }
    if let Some(file) = package.missing().first() {
        return wrong(format!("the manifest names {file}, which is not in the package"));
    }
    for file in package.envelope().references() {
        if let Some(compression) = file.compression().filter(|name| *name != "identity") {
            return wrong(format!(
                "{} is compressed ({compression}), which is not supported; unpack it and take the \
                 attribute out of the descriptor",
                file.href()
            ));
        }
        if file.chunk_size_bytes().is_some() {
            return wrong(format!("{} is cut into chunks, which is not supported", file.href()));
        }
        if package.is_disk(file) {
            check_magic(package, file)?;
        }
    }
    let mut warnings = package.warnings().to_vec();
    warnings.extend(manifest_warnings(package));
    Ok(warnings)
}

/// What is not proven by a manifest, if there is one.
fn manifest_warnings(package: &Package) -> Vec<String> {
    let Some(manifest) = package.manifest() else {
        let text = if package.is_in_order() { MANIFEST_MAY_COME } else { NO_MANIFEST };
        return vec![text.to_owned()];
    };
    not_proven(package, manifest)
}

/// What a manifest does not prove.
fn not_proven(package: &Package, manifest: &Manifest) -> Vec<String> {
    let mut warnings = manifest_strays(package, manifest);
    if manifest.digest(package.descriptor()).is_none() {
        warnings.push("the manifest does not list the descriptor, which is not checked".to_owned());
    }
    warnings
}

/// A host takes nothing but stream-optimized disks, and says so only when everything is set up.
fn check_magic(package: &Package, file: &FileRef) -> Result<(), Error> {
    let head = package.file(file.href()).and_then(PackageFile::head);
    if head.is_none_or(|head| head == VMDK_MAGIC) {
        return Ok(());
    }
    Err(Error::Package {
        package: package.display(),
        problem: format!(
            "{} is not a stream-optimized VMDK, the one format that vSphere takes; convert it: \
             qemu-img convert -O vmdk -o subformat=streamOptimized",
            file.href()
        ),
    })
}

/// Finds the package's file for everything that the server will ask for.
fn plan_files(package: &Package, items: Vec<FileItem>) -> Result<Vec<PlannedFile>, Error> {
    let plan = |item: FileItem| {
        let unknown = || Error::Refused {
            problem: format!("the server asks for {}, which the package does not have", item.path),
        };
        let file = FileName::new(item.path.clone()).map_err(|_| unknown())?;
        package.reference(&file).ok_or_else(unknown)?;
        let size_bytes = package.file(&file).map(PackageFile::size_bytes);
        let is_disk = !item.is_created;
        Ok(PlannedFile { size_bytes, file, item, is_disk })
    };
    items.into_iter().map(plan).collect()
}

/// What an import will do.  `Display` tells a person.
#[derive(Clone, Debug)]
#[must_use = "a plan does nothing by itself"]
pub struct ImportPlan {
    server: Server,
    package: Arc<Package>,
    spec: ImportSpec,
    pool: MoRef,
    folder: Option<MoRef>,
    host: Option<MoRef>,
    files: Vec<PlannedFile>,
    warnings: Vec<String>,
    datastore: String,
}

/// One file that will be uploaded.
#[derive(Clone, Debug)]
struct PlannedFile {
    file: FileName,
    item: FileItem,
    /// Not known of a file that has yet to come.
    size_bytes: Option<u64>,
    is_disk: bool,
}

impl fmt::Display for ImportPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "import {} as {}", self.package.display(), self.name())?;
        writeln!(f, "  onto datastore {}", self.datastore)?;
        for file in &self.files {
            match file.size_bytes {
                Some(size_bytes) => writeln!(f, "  {}: {size_bytes} bytes", file.file)?,
                None => writeln!(f, "  {}", file.file)?,
            }
        }
        for warning in &self.warnings {
            writeln!(f, "  warning: {warning}")?;
        }
        Ok(())
    }
}

impl ImportPlan {
    /// The name of the new machine.
    #[must_use]
    pub fn name(&self) -> String {
        self.spec.entity_name().unwrap_or_default()
    }

    /// The files that will be uploaded, with their sizes in bytes; those of a package that comes in
    /// its own order are not known yet.
    pub fn files(&self) -> impl Iterator<Item = (&FileName, Option<u64>)> {
        self.files.iter().map(|file| (&file.file, file.size_bytes))
    }

    /// What the server and the reader of the package have to say.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Runs the import.  Needs to be called within a tokio runtime.
    pub fn start(self, options: Options) -> Transfer {
        Transfer::start(|meter, cancel| Running { plan: self, options, meter }.run(cancel))
    }

    fn take_lease(&self) -> impl Future<Output = Result<LeaseId, VimError>> + Send + 'static {
        let session = self.server.session().clone();
        let (pool, spec) = (self.pool.clone(), self.spec.clone());
        let (folder, host) = (self.folder.clone(), self.host.clone());
        async move { session.import_vapp(&pool, &spec, folder.as_ref(), host.as_ref()).await }
    }
}

/// An import that runs.
struct Running {
    plan: ImportPlan,
    options: Options,
    meter: Arc<Meter>,
}

impl Running {
    async fn run(self, cancel: CancellationToken) -> Result<Report, Error> {
        let started = Instant::now();
        for warning in &self.plan.warnings {
            warn(&self.options, warning.as_str());
        }
        let api = self.plan.server.hold(self.plan.take_lease(), &cancel).await?;
        let lease_name = api.name();
        let lease = Lease::new(api, Arc::clone(&self.options.observer)).ready(&cancel).await?;
        let info = lease.info().clone();
        let (this, offered) = (&self, &info);
        let moved = run(lease, &self.meter, &cancel, |api, scope| async move {
            entity_of(offered)?;
            this.work(offered, &api, &scope).await
        })
        .await?;
        let streamed = started.elapsed();
        let files = report::files(&moved, &self.meter);
        for file in moved {
            // For a device URL the lease is the commit, and it has been completed.
            let _nothing_to_do = file.sink.commit(&file.proof).await;
        }
        Ok(Report {
            name: self.plan.name(),
            entity: entity_of(&info)?.clone(),
            lease: lease_name,
            package: None,
            streamed,
            files,
            beats: self.meter.beats(),
            took: started.elapsed(),
        })
    }

    async fn work(
        &self,
        info: &LeaseInfo,
        lease: &Arc<dyn LeaseApi>,
        scope: &CancellationToken,
    ) -> Result<Vec<Moved>, Error> {
        let keys: Vec<_> = info.devices.iter().map(|device| device.key.clone()).collect();
        let by_server = server_algorithm(&**lease, &keys, &self.options, scope).await?;
        let moved = match self.plan.package.in_order() {
            Some(in_order) => self.move_in_order(in_order, info, by_server, lease, scope).await?,
            None => {
                let jobs = self.plan.files.iter().map(|file| {
                    let known = self.plan.package.file(&file.file).ok_or_else(|| {
                        self.plan.package.wrong(format!("{} has vanished", file.file))
                    })?;
                    let size_bytes = known.size_bytes();
                    let meter = self.meter.add_file(&file.file, size_bytes);
                    let source = Arc::clone(known.source());
                    self.job(file, (source, size_bytes), meter, info, by_server)
                });
                let jobs = jobs.collect::<Result<_, _>>()?;
                move_all(self.lanes(jobs), lease, &self.options.shared(), scope).await?
            }
        };
        if scope.is_cancelled() { Err(Error::Cancelled) } else { Ok(moved) }
    }

    fn job(
        &self,
        planned: &PlannedFile,
        (source, size_bytes): (Arc<dyn Source>, u64),
        meter: Arc<FileMeter>,
        info: &LeaseInfo,
        by_server: Option<DigestAlgorithm>,
    ) -> Result<Job, Error> {
        let item = &planned.item;
        let offered = devices::for_item(&item.import_key, &item.path, &info.devices)?;
        let package = &self.plan.package;
        let promised = package.promised(&planned.file).copied();
        let algorithms = match package.is_in_order() {
            true => algorithms_in_order(package, &planned.file),
            false => promised.iter().map(Digest::algorithm).collect(),
        };
        let inspect = Inspect { algorithms, disk: planned.is_disk };
        // Something is always computed, for the report.
        let inspect = inspect.also(by_server.unwrap_or(DigestAlgorithm::Sha256));
        let host = format!("{}:{}", offered.url.host(), offered.url.port());
        Ok(Job {
            file: planned.file.clone(),
            key: offered.key.clone(),
            source,
            source_at: package.display(),
            destination: Arc::new(DeviceDestination {
                device: self.plan.server.device(offered),
                upload: if planned.is_disk { Upload::Disk } else { Upload::Create },
                len_bytes: size_bytes,
            }),
            sink_at: host.clone(),
            host,
            inspect,
            position: Position::Bytes,
            promised,
            meter,
        })
    }

    /// Sorts the files into lanes: the largest first; disks that build on one another in one lane,
    /// in the order of the server's items, because a delta needs its parent.
    fn lanes(&self, jobs: Vec<Job>) -> Vec<Vec<Job>> {
        let envelope = self.plan.package.envelope();
        let file_of = |disk: &ovftransfer_ovf::envelope::Disk| {
            disk.file_ref().and_then(|id| envelope.file(id)).map(FileRef::href)
        };
        let is_delta = |file: &FileName| {
            let mut disks = envelope.disks().iter();
            disks.any(|disk| {
                let parent = disk.parent_ref().and_then(|id| envelope.disk(id));
                parent.is_some_and(|parent| [file_of(disk), file_of(parent)].contains(&Some(file)))
            })
        };
        let (chain, free): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| is_delta(&job.file));
        let mut lanes: Vec<Vec<Job>> = free.into_iter().map(|job| vec![job]).collect();
        if !chain.is_empty() {
            lanes.push(chain);
        }
        let weight = |lane: &Vec<Job>| lane.iter().map(|job| job.meter.weight_bytes()).sum::<u64>();
        lanes.sort_by_key(|lane| std::cmp::Reverse(weight(lane)));
        lanes
    }
}

/// The machine, or the vApp, that comes to be (`HttpNfcLeaseInfo.entity`, which is not optional).
fn entity_of(info: &LeaseInfo) -> Result<&MoRef, Error> {
    info.entity.as_ref().ok_or_else(|| Error::Refused {
        problem: "the lease does not say which machine it is for".to_owned(),
    })
}

const NO_MANIFEST: &str =
    "the package has no manifest: its files are not checked against the packer's digests";

const MANIFEST_MAY_COME: &str =
    "no manifest has come yet: if there is one at the end, the files are checked against it then";

/// The first bytes of a sparse VMDK extent (Virtual Disk Format 1.1, `SPARSE_MAGICNUMBER`).
const VMDK_MAGIC: &[u8] = b"KDMV";

#[cfg(test)]
mod tests {
    use ovftransfer_vim::Endpoint;
    use ovftransfer_vim::value::Object;
    use ovftransfer_vim::value::Value;

    use super::*;

    /// A report must not name a machine that nobody told us of.
    #[test]
    fn a_lease_without_its_machine_is_refused() {
        let info: Value = Object::untyped().with("leaseTimeout", "300").into();
        let info = LeaseInfo::from_value(&info, &Endpoint::new("vc", 443)).unwrap();
        assert!(matches!(entity_of(&info), Err(Error::Refused { .. })));
        let vm = MoRef::new("VirtualMachine", "vm-7");
        let info = Object::untyped().with("leaseTimeout", "300").with("entity", &vm).into();
        let info = LeaseInfo::from_value(&info, &Endpoint::new("vc", 443)).unwrap();
        assert_eq!(*entity_of(&info).unwrap(), vm);
    }
}
