//! Imports a package as a new machine.

mod after;
mod chosen;
mod converting;
mod descriptor;
mod disks;
mod earlier;
mod environment;
mod in_order;
mod networks;
mod options;
mod package;
mod ports;
mod preflight;
mod run;
mod sent;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ovftransfer_ovf::FileName;
use ovftransfer_ovf::certificate::Signature;
use ovftransfer_vim::EntityKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::inventory::DatastoreFacts;
use ovftransfer_vim::inventory::ImportTarget;
use ovftransfer_vim::lease::LeaseId;
use ovftransfer_vim::ovf::ImportSpec;
use ovftransfer_vim::ovf::ImportSpecParams;
use ovftransfer_vim::value::MoRef;

use crate::error::Error;
use crate::error::Finding;
use crate::error::Severity;
use crate::error::check_findings;
use crate::handle::LEASE_AT_SHUTDOWN;
use crate::handle::Transfer;
use crate::import::after::Afterwards;
use crate::import::disks::Disks;
use crate::import::options::Described;
use crate::import::package::PlannedFile;
use crate::import::package::check_package;
use crate::import::package::plan_files;
use crate::import::package::signature_findings;
use crate::import::preflight::Preflight;
use crate::import::run::Running;
use crate::import::sent::Sent;
use crate::kind::DiskFileFormat;
use crate::network::PlannedNetwork;
use crate::server::Options;
use crate::server::Server;
use crate::signature::SignaturePolicy;
use crate::store::package::Package;

/// A package to import, and where to.
///
/// Places are named as people and other tools name them: by inventory path, or by a reference such
/// as `ResourcePool:resgroup-8`; datastores and networks by their bare name, too.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Import {
    /// The package.
    pub package: Arc<Package>,
    /// How the signature of the package is judged.
    pub signature: SignaturePolicy,
    /// A host, a cluster, a resource pool or a vApp: `/datacenter/host/cluster[/Resources/pool]`.
    pub target: String,
    /// The name of the new machine; `None` takes the descriptor's.
    pub name: Option<String>,
    /// The datastore, or the datastore cluster of which the member with the most free space is
    /// taken; `None` takes the only datastore.
    pub datastore: Option<String>,
    /// The folder; `None` takes the datacenter's folder for machines.
    pub folder: Option<String>,
    /// The resource pool or vApp; `None` takes the target's.
    pub pool: Option<String>,
    /// The host that is to run the machine; `None` lets the server choose.
    pub host: Option<String>,
    /// Which networks of the descriptor become which networks of the server.
    pub networks: Vec<NetworkMap>,
    /// Whether every network of the descriptor must be mapped, and every card of the new machine be on
    /// its network.
    ///
    /// Of cards on distributed switches the port is looked at before the lease completes: that it
    /// exists, that the card is the rightful one, and that nothing contends for it.  A bad one fails
    /// the import, which leaves nothing behind.  Links, and ephemeral ports, show only with
    /// [`power_on`](Self::power_on), when the machine runs: a bad one is
    /// [`Error::AfterImport`], and the machine stays.  Without this field, bad ports are warnings.
    pub require_networks: bool,
    /// Cards that are to be on ports of the caller's choice, instead of the server's.
    ///
    /// They are put there when the lease is complete, as it locks the machine until then: a port
    /// that cannot be had then is [`Error::AfterImport`], and the machine stays.  What can be known
    /// before, such as a port that is taken, stops the plan.
    pub ports: Vec<PortMap>,
    /// How long the ports and links of a machine that was started are waited for; 30 seconds by
    /// default.
    pub link_wait: Duration,
    /// Values for properties of the descriptor: `[class.]id[.instance]`, value.
    pub properties: Vec<(String, String)>,
    /// The deployment option; `None` takes the descriptor's default.
    pub deployment_option: Option<String>,
    /// `thin`, `thick`, `eagerZeroedThick` and so on; `None` leaves it to the server.
    pub disk_provisioning: Option<String>,
    /// How the machine gets its addresses: `dhcpPolicy`, `transientPolicy`, `fixedPolicy` or
    /// `fixedAllocatedPolicy`.
    pub ip_allocation: Option<String>,
    /// `IPv4` or `IPv6`.
    pub ip_protocol: Option<String>,
    /// Whether the caller agrees to the licences of the package.
    pub accept_eulas: bool,
    /// The annotation of the new machine; `None` takes the descriptor's.
    pub annotation: Option<String>,
    /// Options of the server for imports; what it does not know is refused.
    pub import_options: Vec<String>,
    /// Whether a machine of that name in that folder is replaced.
    ///
    /// It must be powered off.  It is deleted only when the new one, which has another name until
    /// then, is complete and proven: an import that fails does not cost it.
    pub overwrite: bool,
    /// Whether the OVF environment is put into the machine's configuration (`guestinfo.ovfEnv`), as
    /// a host without vCenter does not; a vCenter does it by itself.
    pub inject_ovf_env: bool,
    /// Whether the new machine is started.
    pub power_on: bool,
    /// How long to wait until its guest reports an address; `None` does not wait.
    pub wait_for_ip: Option<Duration>,
    /// Whether the new machine is made a template.
    pub template: bool,
    /// The folder in which disks that are converted wait until they are sent, and what a compressed
    /// file holds until its size is known, if the package can be read once only; `None` takes the
    /// system's for temporary files.
    pub spool_dir: Option<PathBuf>,
    /// Where the journal is kept while the import runs, by which `reap` finds what is left if it is
    /// killed; `None` keeps none.
    pub journal_dir: Option<PathBuf>,
}

/// One network of the server for one network of the descriptor, or for all of them.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NetworkMap {
    /// The name in the descriptor; `None` for every network that is not mapped by name.
    pub ovf: Option<String>,
    /// The server's network: a name, `switch/portgroup`, a path, or a reference such as
    /// `Network:network-7`.
    pub network: String,
}

impl NetworkMap {
    /// Maps the descriptor's network `ovf`, or all networks, to `network`.
    #[must_use]
    pub fn new(ovf: Option<String>, network: impl Into<String>) -> Self {
        Self { ovf, network: network.into() }
    }
}

/// A card of the package, and the port of a distributed switch that it is to have.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PortMap {
    /// The card: its name in the descriptor (`rasd:ElementName`), the label that it will have, such as
    /// `Network adapter 1`, or its number, counted from 1.  In a package of several machines it may
    /// stand after the id or name of the machine and a slash: `db/1`.
    pub nic: String,
    /// Key of the port, in the portgroup that the card's network is mapped to.
    pub port: String,
}

impl PortMap {
    /// Puts the card `nic` on the port `port`.
    #[must_use]
    pub fn new(nic: impl Into<String>, port: impl Into<String>) -> Self {
        Self { nic: nic.into(), port: port.into() }
    }
}

impl Import {
    /// Imports `package` into `target` under the descriptor's name.
    #[must_use]
    pub fn new(package: impl Into<Arc<Package>>, target: impl Into<String>) -> Self {
        Self {
            package: package.into(),
            signature: SignaturePolicy::default(),
            target: target.into(),
            name: None,
            datastore: None,
            folder: None,
            pool: None,
            host: None,
            networks: Vec::new(),
            require_networks: false,
            ports: Vec::new(),
            link_wait: ports::LINK_WAIT,
            properties: Vec::new(),
            deployment_option: None,
            disk_provisioning: None,
            ip_allocation: None,
            ip_protocol: None,
            accept_eulas: false,
            annotation: None,
            import_options: Vec::new(),
            overwrite: false,
            inject_ovf_env: false,
            power_on: false,
            wait_for_ip: None,
            template: false,
            spool_dir: None,
            journal_dir: None,
        }
    }

    /// Checks the package and reads the server.  Creates nothing.
    ///
    /// What stands against the import but leaves a plan to look at, such as a name that exists, is
    /// a [`Finding`] of the plan; [`check`](ImportPlan::check) makes an error of it, and so does the
    /// start.
    ///
    /// # Errors
    ///
    /// [`Error::Package`] if the package cannot be imported or its signed manifest leaves a file out,
    /// [`Error::DigestMismatch`] if the manifest disagrees about the descriptor,
    /// [`Error::Certificate`] and [`Error::Unsigned`] if its signature is not as it should be,
    /// [`Error::Eulas`] if its licences were not agreed to, [`Error::Server`] and
    /// [`Error::NotFound`] if something that the request names is not there,
    /// [`Error::Preflight`] if the server does not take the descriptor, and [`Error::Refused`] if
    /// the request contradicts itself.
    pub async fn plan(self, server: &Server) -> Result<ImportPlan, Error> {
        self.check_request(server)?;
        let count = self.package.envelope().eulas().count();
        if count > 0 && !self.accept_eulas {
            return Err(Error::Eulas { package: self.package.display(), count });
        }
        let mut findings = check_package(&self.package)?;
        findings.extend(descriptor::findings(self.package.envelope()));
        let signature = self.package.signature(&self.signature)?;
        findings.extend(signature.iter().flat_map(signature_findings));
        let place = self.find_place(server).await?;
        let mut disks = Disks::of(&self.package).await?;
        disks.check_space(&self.package, &self.spool_dir());
        findings.append(&mut disks.findings);
        let sent = Sent::of(&self.package, &disks).await?;
        let (request, place_of) = (&self, &place);
        let mut preflight =
            Preflight { server, request, place: place_of, sent: &sent, disks: &disks, findings };
        let described = Described::read(&self, sent.text(), server).await?;
        let mut networks = Box::pin(preflight.networks()).await?;
        let mappings = networks.mappings();
        let old = preflight.old_machine(described.as_ref()).await?;
        let what = (&mappings[..], old.as_ref(), described.as_ref());
        preflight.privileges(what).await?;
        preflight.place();
        preflight.datastore();
        let usable_hosts = preflight.hosts().await?;
        let name = match &old {
            Some(old) => old.name_meanwhile.clone(),
            None => self.name.clone().unwrap_or_default(),
        };
        let params = ImportSpecParams {
            entity_name: name,
            deployment_option: self.deployment_option.clone().unwrap_or_default(),
            host: place.host.clone(),
            network_mappings: mappings,
            property_mappings: self.mapped_properties(described.as_ref()),
            disk_provisioning: self.disk_provisioning.clone(),
            import_options: self.import_options.clone(),
            ip_allocation_policy: self.ip_allocation.clone(),
            ip_protocol: self.ip_protocol.clone(),
            ..ImportSpecParams::default()
        };
        let (spec, items) = preflight.import_spec(&params).await?;
        Box::pin(preflight.ports(&mut networks, &spec)).await?;
        let ports = Box::pin(preflight.chosen_ports(&networks, &spec)).await?;
        if old.is_none() {
            preflight.final_name(&spec, described.as_ref()).await?;
        }
        preflight.validate(&usable_hosts).await?;
        preflight.encryption();
        preflight.device_hosts();
        let environment = preflight.environment(described.as_ref());
        preflight.findings.extend(described.iter().flat_map(Described::notes));
        let mut findings = std::mem::take(&mut preflight.findings);
        let spec = match &self.annotation {
            Some(text) => spec.with_annotation(text),
            None => spec,
        };
        self.check_vapp(&spec)?;
        let files = plan_files(&self.package, &sent, &disks, items)?;
        let afterwards = Afterwards {
            replace: old,
            environment,
            ports,
            require_network: self.require_networks,
            link_wait: self.link_wait,
            power_on: self.power_on,
            wait_for_ip: self.wait_for_ip,
            template: self.template,
        };
        drop(sent);
        let spool_dir = self.spool_dir();
        let final_name = afterwards.replace.as_ref().map(|old| old.name.clone());
        let final_name = final_name.or_else(|| spec.entity_name()).unwrap_or_default();
        let folder = self.journal_dir.as_deref();
        let stale = earlier::look(server, folder, &place, &final_name, &mut findings).await;
        let (server, package, policy) = (server.clone(), self.package, self.signature);
        Ok(ImportPlan {
            server,
            package,
            policy,
            signature,
            spec,
            place,
            networks: networks.planned,
            files,
            findings,
            afterwards,
            spool_dir,
            journal_dir: self.journal_dir,
            stale,
        })
    }

    /// The folder in which files wait until their size is known.
    fn spool_dir(&self) -> PathBuf {
        self.spool_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// The properties that the server is told of.
    fn mapped_properties(&self, described: Option<&Described>) -> Vec<(String, String)> {
        let left_out = described.map_or(&[][..], |described| &described.left_out);
        self.properties.iter().filter(|(key, _)| !left_out.contains(key)).cloned().collect()
    }

    /// What contradicts itself.
    fn check_request(&self, server: &Server) -> Result<(), Error> {
        let refused = |problem: &str| Err(Error::Refused { problem: problem.to_owned() });
        if self.template && self.power_on {
            return refused("a template cannot be powered on: ask for one of the two");
        }
        if self.wait_for_ip.is_some() && !self.power_on {
            return refused("a machine that is not powered on gets no address: ask for both");
        }
        if self.template && server.session().about().is_host() {
            return refused("a host without vCenter has no templates");
        }
        Ok(())
    }

    /// What cannot be done with a vApp.
    fn check_vapp(&self, spec: &ImportSpec) -> Result<(), Error> {
        let impossible = match () {
            () if !spec.is_vapp() => return Ok(()),
            () if self.template => "be made a template",
            () if self.wait_for_ip.is_some() => "report an address",
            () if self.overwrite => "replace a machine",
            () => return Ok(()),
        };
        let problem = format!("{} makes a vApp, which cannot {impossible}", self.package.display());
        Err(Error::Refused { problem })
    }

    /// Finds everything that the request names, but the networks.
    async fn find_place(&self, server: &Server) -> Result<Place, Error> {
        let session = server.session();
        let target = session.import_target_named(&self.target).await?;
        let find = async |text: &Option<String>, kinds: &[EntityKind]| match text {
            Some(text) => {
                let found = session.find_named(text, kinds).await?;
                Ok::<_, Error>(Some(found.moref().clone()))
            }
            None => Ok(None),
        };
        let folder = find(&self.folder, &[EntityKind::Folder]).await?;
        let pools = [EntityKind::ResourcePool, EntityKind::VirtualApp];
        let pool = find(&self.pool, &pools).await?.unwrap_or_else(|| target.pool.clone());
        let host = find(&self.host, &[EntityKind::Host]).await?.or_else(|| target.host.clone());
        let storage = session.storage_place(&target, self.datastore.as_deref()).await?;
        let Some(datastore) = storage.choice().cloned() else {
            let cluster = storage.cluster.unwrap_or_default();
            let problem = format!(
                "no datastore of the cluster {cluster} can take something: all are unreachable or \
                 in maintenance"
            );
            return Err(Error::NotFound { problem });
        };
        let cluster = storage.cluster.map(|name| (name, storage.datastores.len()));
        // A vApp is a folder itself.
        let is_vapp = pool.kind() == "VirtualApp";
        let folder = (!is_vapp).then(|| folder.unwrap_or_else(|| target.vm_folder.clone()));
        Ok(Place { target, pool, folder, host, datastore, cluster })
    }
}

/// Where the machine goes.
#[derive(Clone, Debug)]
struct Place {
    target: ImportTarget,
    pool: MoRef,
    /// None in a vApp.
    folder: Option<MoRef>,
    host: Option<MoRef>,
    datastore: DatastoreFacts,
    /// Name of the datastore cluster, if one was asked for, and how many members it has.
    cluster: Option<(String, usize)>,
}

impl Place {
    /// What holds the new machine in the inventory, and in which its name must be free.
    fn parent(&self) -> &MoRef {
        self.folder.as_ref().unwrap_or(&self.pool)
    }
}

/// What an import will do.  `Display` tells a person.
#[derive(Clone, Debug)]
#[must_use = "a plan does nothing by itself"]
pub struct ImportPlan {
    server: Server,
    package: Arc<Package>,
    policy: SignaturePolicy,
    signature: Option<Signature>,
    spec: ImportSpec,
    place: Place,
    networks: Vec<PlannedNetwork>,
    files: Vec<PlannedFile>,
    findings: Vec<Finding>,
    afterwards: Afterwards,
    spool_dir: PathBuf,
    journal_dir: Option<PathBuf>,
    /// Journals of runs of the same import that were killed, and of which nothing is left.
    stale: Vec<PathBuf>,
}

impl fmt::Display for ImportPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "import {} as {}", self.package.display(), self.name())?;
        writeln!(f, "  onto datastore {}", self.place.datastore.name)?;
        for network in &self.networks {
            writeln!(f, "  {network}")?;
        }
        for file in &self.files {
            match (file.size_bytes, &file.conversion) {
                (_, Some(conversion)) => {
                    let (name, kind) = (&file.file, conversion.kind);
                    writeln!(f, "  {name}: {kind}, converted to a stream-optimized VMDK")?;
                }
                (Some(size_bytes), None) => writeln!(f, "  {}: {size_bytes} bytes", file.file)?,
                (None, None) => writeln!(f, "  {}", file.file)?,
            }
        }
        write!(f, "{}", self.afterwards)?;
        for finding in &self.findings {
            writeln!(f, "  {}: {finding}", finding.severity.word())?;
        }
        Ok(())
    }
}

impl ImportPlan {
    /// The name of the new machine.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.afterwards.replace {
            Some(old) => old.name.clone(),
            None => self.spec.entity_name().unwrap_or_default(),
        }
    }

    /// The datastore that takes the disks.
    #[must_use]
    pub fn datastore(&self) -> &str {
        &self.place.datastore.name
    }

    /// The networks of the package, and what they will be on the server.
    #[must_use]
    pub fn networks(&self) -> &[PlannedNetwork] {
        &self.networks
    }

    /// The files that will be uploaded, with their sizes in bytes; those of a package that comes in
    /// its own order, and of disks that are converted first, are not known yet.
    pub fn files(&self) -> impl Iterator<Item = (&FileName, Option<u64>)> {
        self.files.iter().map(|file| (&file.file, file.size_bytes))
    }

    /// The disks that are converted to stream-optimized VMDKs before they are sent, and what they
    /// are.  Of a package that comes in its own order that is what the descriptor says: when a disk
    /// comes, its first bytes decide.
    pub fn conversions(&self) -> impl Iterator<Item = (&FileName, DiskFileFormat)> {
        let converted = |file: &PlannedFile| Some(file.conversion.as_ref()?.kind);
        self.files.iter().filter_map(move |file| Some((&file.file, converted(file)?)))
    }

    /// The signature of the package, if it has one and it has come.
    #[must_use]
    pub const fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// What was found: errors, which stop the import, warnings and notes.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The warnings among the findings, each in one line.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let is_warning = |finding: &&Finding| finding.severity == Severity::Warning;
        self.findings.iter().filter(is_warning).map(ToString::to_string).collect()
    }

    /// Whether the import can be started.
    ///
    /// # Errors
    ///
    /// [`Error::Preflight`] if something was found that stops it.
    pub fn check(&self) -> Result<(), Error> {
        let what = || format!("{} cannot be imported", self.package.display());
        check_findings(what, &self.findings)
    }

    /// Runs the import.  Needs to be called within a tokio runtime.
    ///
    /// A plan that does not pass its [`check`](Self::check) fails with that error at once.
    pub fn start(self, options: Options) -> Transfer {
        Transfer::start(LEASE_AT_SHUTDOWN, |meter, cancel| {
            Running { plan: self, options, meter }.run(cancel)
        })
    }

    fn take_lease(&self) -> impl Future<Output = Result<LeaseId, VimError>> + Send + 'static {
        let session = self.server.session().clone();
        let (place, spec) = (self.place.clone(), self.spec.clone());
        async move {
            let (folder, host) = (place.folder.as_ref(), place.host.as_ref());
            session.import_vapp(&place.pool, &spec, folder, host).await
        }
    }
}
