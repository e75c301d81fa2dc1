//! Looks at the server before anything is created: what would stop the import, or surprise.

use ovftransfer_vim::fault::Fault;
use ovftransfer_vim::inventory::DatastoreFacts;
use ovftransfer_vim::inventory::HostFacts;
use ovftransfer_vim::inventory::PowerState;
use ovftransfer_vim::ovf::FileItem;
use ovftransfer_vim::ovf::ImportSpec;
use ovftransfer_vim::ovf::ImportSpecParams;
use ovftransfer_vim::ovf::ReadParams;
use ovftransfer_vim::value::MoRef;

use crate::error::Check;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Finding;
use crate::error::Severity;
use crate::error::fault_kind;
use crate::hosts;
use crate::import::Import;
use crate::import::Place;
use crate::import::after::OldMachine;
use crate::import::disks::Disks;
use crate::import::environment;
use crate::import::environment::Platform;
use crate::import::options::Described;
use crate::import::options::is_unknown;
use crate::import::sent::Sent;
use crate::rights;
use crate::server::Server;
use crate::store::package::Package;
use crate::store::parts::PackageFile;

/// A plan in the making: what it is for, and what was found so far.
pub(super) struct Preflight<'p> {
    pub(super) server: &'p Server,
    pub(super) request: &'p Import,
    pub(super) place: &'p Place,
    pub(super) sent: &'p Sent<'p>,
    pub(super) disks: &'p Disks,
    pub(super) findings: Vec<Finding>,
}

impl Preflight<'_> {
    /// The machine that has the name, if the request replaces it.
    pub(super) async fn old_machine(
        &mut self,
        described: Option<&Described>,
    ) -> Result<Option<OldMachine>, Error> {
        let Some(name) = self.name(described) else { return Ok(None) };
        let session = self.server.session();
        let Some(old) = session.child_named(self.place.parent(), &name).await? else {
            return Ok(None);
        };
        if !self.request.overwrite {
            self.name_exists(&name, &old);
            return Ok(None);
        }
        let found = |problem: &str| {
            Finding::error(Check::Name, ErrorKind::Refused, &name, format!("{problem} ({old})"))
        };
        if old.kind() != "VirtualMachine" {
            self.findings.push(found("has the name, but only a machine is replaced"));
            return Ok(None);
        }
        let facts = session.vm_facts(&old).await?;
        if facts.power_state != PowerState::Off {
            let what = "is to be replaced, but it is not powered off";
            self.findings.push(found(what).advise("shut it down first"));
        } else if facts.refuses("Destroy_Task") {
            let what = "is to be replaced, but it cannot be deleted at present";
            self.findings.push(found(what).advise("wait for what is done with it"));
        }
        let name_meanwhile = self.free_name(&name).await?;
        Ok(Some(OldMachine { vm: old, name, name_meanwhile }))
    }

    /// The name that the server will choose, as far as it is known before.
    fn name(&self, described: Option<&Described>) -> Option<String> {
        let by_server = described.map(|described| described.parsed.default_entity_name.clone());
        let by_server = by_server.filter(|name| !name.is_empty());
        let by_descriptor = match self.request.package.envelope().systems() {
            [system] => Some(system.name().unwrap_or(system.id()).to_owned()),
            _ => None,
        };
        self.request.name.clone().or(by_server).or(by_descriptor)
    }

    /// Looks for the name that the server has chosen, if it is another one than was looked for.
    pub(super) async fn final_name(
        &mut self,
        spec: &ImportSpec,
        described: Option<&Described>,
    ) -> Result<(), Error> {
        let name = spec.entity_name().filter(|name| self.name(described).as_ref() != Some(name));
        let Some(name) = name else { return Ok(()) };
        let taken = self.server.session().child_named(self.place.parent(), &name).await?;
        if let Some(old) = taken {
            self.name_exists(&name, &old);
        }
        Ok(())
    }

    fn name_exists(&mut self, name: &str, old: &MoRef) {
        let problem = format!("exists in that folder ({old})");
        let finding = Finding::error(Check::Name, ErrorKind::Refused, name, problem);
        self.findings.push(finding.advise("give the new machine another name"));
    }

    /// A name for the new machine as long as the old one is there.
    async fn free_name(&self, name: &str) -> Result<String, Error> {
        for number in 1..=NAMES_TRIED {
            let suffix = if number == 1 { " (new)".to_owned() } else { format!(" (new {number})") };
            let kept = NAME_CHARS_MAX - suffix.chars().count();
            let free: String = name.chars().take(kept).chain(suffix.chars()).collect();
            let taken = self.server.session().child_named(self.place.parent(), &free).await?;
            if taken.is_none() {
                return Ok(free);
            }
        }
        let problem = format!("{name} (new) and the names after it exist; remove those machines");
        Err(Error::Refused { problem })
    }

    /// What the session may not do of all that is ahead.
    pub(super) async fn privileges(
        &mut self,
        what: (&[(String, MoRef)], Option<&OldMachine>, Option<&Described>),
    ) -> Result<(), Error> {
        let wanted = self.wanted_privileges(what);
        self.findings.extend(rights::missing(self.server, wanted).await?);
        Ok(())
    }

    /// What the import needs, on what, and what that is for people.
    fn wanted_privileges(
        &self,
        (networks, old, described): (&[(String, MoRef)], Option<&OldMachine>, Option<&Described>),
    ) -> Vec<(MoRef, &'static str, &'static str)> {
        let (place, request) = (self.place, self.request);
        let mut wanted = vec![
            (place.pool.clone(), "VApp.Import", "the resource pool"),
            (place.datastore.moref.clone(), "Datastore.AllocateSpace", "the datastore"),
        ];
        if let Some(folder) = &place.folder {
            wanted.push((folder.clone(), "VApp.Import", "the folder"));
        }
        for (_, network) in networks {
            wanted.push((network.clone(), "Network.Assign", "the network"));
        }
        let parent = place.parent();
        if let Some(old) = old {
            let delete = "VirtualMachine.Inventory.Delete";
            wanted.push((old.vm.clone(), delete, "the machine that is replaced"));
            wanted.push((parent.clone(), "VirtualMachine.Config.Rename", "the folder"));
        }
        if request.inject_ovf_env && self.server.session().about().is_host() {
            let change = "VirtualMachine.Config.AdvancedConfig";
            wanted.push((parent.clone(), change, "the folder"));
        }
        if !request.ports.is_empty() {
            let change = "VirtualMachine.Config.EditDevice";
            wanted.push((parent.clone(), change, "the folder"));
        }
        if request.power_on {
            let is_vapp = described.is_some_and(|described| described.parsed.is_virtual_app);
            let start = if is_vapp { "VApp.PowerOn" } else { "VirtualMachine.Interact.PowerOn" };
            wanted.push((parent.clone(), start, "the folder"));
        }
        if request.template {
            let mark = "VirtualMachine.Provisioning.MarkAsTemplate";
            wanted.push((parent.clone(), mark, "the folder"));
        }
        wanted
    }

    /// What a vApp in the place of a pool means.
    pub(super) fn place(&mut self) {
        if self.place.folder.is_some() {
            return;
        }
        if self.request.folder.is_some() {
            let problem = "is a folder itself: the one that was asked for has no effect";
            self.findings.push(Finding::note(Check::Place, "the vApp", problem));
        }
        if self.request.template {
            let problem = "a machine in it cannot be a template";
            let finding = Finding::error(Check::Place, ErrorKind::Refused, "the vApp", problem);
            self.findings.push(finding.advise("name another pool"));
        }
    }

    /// Whether the datastore takes the disks.
    pub(super) fn datastore(&mut self) {
        let datastore = &self.place.datastore;
        if let Some((cluster, members)) = &self.place.cluster {
            let problem = format!(
                "chosen of the {members} datastores of {cluster} as it has the most free space; \
                 Storage DRS was not asked"
            );
            self.findings.push(Finding::note(Check::Datastore, &datastore.name, problem));
        }
        if !datastore.is_usable() {
            let problem = if datastore.is_accessible {
                "the datastore is in maintenance"
            } else {
                "no host can reach the datastore"
            };
            let kind = ErrorKind::Refused;
            let finding = Finding::error(Check::Datastore, kind, &datastore.name, problem);
            self.findings.push(finding.advise("name another one"));
        }
        let sizes = Sizes::of(&self.request.package, self.disks);
        self.findings.extend(space(datastore, self.request.disk_provisioning.as_deref(), sizes));
    }

    /// Which hosts can take the machine: that of the request, else those of the cluster.
    pub(super) async fn hosts(&mut self) -> Result<Vec<HostFacts>, Error> {
        let compute = &self.place.target.compute;
        let mut hosts = self.server.session().hosts_of(compute.moref()).await?;
        let state = |host: &HostFacts| match host.connection_state.as_str() {
            "connected" => "is in maintenance".to_owned(),
            "notResponding" => "does not respond".to_owned(),
            other => format!("is {other}"),
        };
        let kind = ErrorKind::Network;
        if let Some(wanted) = &self.place.host {
            hosts.retain(|host| host.moref == *wanted);
            for host in hosts.iter().filter(|host| !host.is_usable()) {
                let finding = Finding::error(Check::Host, kind, &host.name, state(host));
                self.findings.push(finding.advise("name another host, or none"));
            }
        } else if !hosts.is_empty() && !hosts.iter().any(HostFacts::is_usable) {
            let states: Vec<String> =
                hosts.iter().map(|host| format!("{} {}", host.name, state(host))).collect();
            let problem = format!("no host of it can take a machine: {}", states.join(", "));
            self.findings.push(Finding::error(Check::Host, kind, compute.name(), problem));
        }
        hosts.retain(HostFacts::is_usable);
        Ok(hosts)
    }

    /// Asks the server what it would make of the descriptor.
    ///
    /// # Errors
    ///
    /// [`Error::Preflight`] with everything found so far if it makes nothing of it.
    pub(super) async fn import_spec(
        &mut self,
        params: &ImportSpecParams,
    ) -> Result<(ImportSpec, Vec<FileItem>), Error> {
        let text = self.sent.text();
        let (pool, datastore) = (&self.place.pool, &self.place.datastore.moref);
        let session = self.server.session();
        let made = match session.create_import_spec(text, pool, datastore, params).await {
            Ok(made) => made,
            // The privileges that are missing say more than the refusal.
            Err(error) if error.fault().is_some() && self.has_errors() => {
                return Err(self.stopped());
            }
            Err(error) => return Err(error.into()),
        };
        for fault in &made.warnings {
            self.findings.push(Finding::warning(Check::Descriptor, "", fault.to_string()));
        }
        for fault in &made.errors {
            self.findings.push(refused(fault));
        }
        match made.import_spec {
            Some(spec) if made.errors.is_empty() => Ok((spec, made.file_items)),
            Some(_) | None => {
                if made.errors.is_empty() {
                    let problem =
                        "the server makes nothing of the descriptor, and does not say why";
                    let kind = ErrorKind::Refused;
                    self.findings.push(Finding::error(Check::Descriptor, kind, "", problem));
                }
                Err(self.stopped())
            }
        }
    }

    /// Asks whether a host can run the machine.
    ///
    /// In a cluster one host stands for all: what it says is not the last word.
    pub(super) async fn validate(&mut self, hosts: &[HostFacts]) -> Result<(), Error> {
        let Some(host) = hosts.first() else { return Ok(()) };
        let params = ReadParams {
            deployment_option: self.request.deployment_option.clone().unwrap_or_default(),
            import_options: self.request.import_options.clone(),
            ..ReadParams::default()
        };
        let text = self.sent.text();
        let said = match self.server.session().validate_host(text, &host.moref, &params).await {
            Ok(said) => said,
            Err(error) if is_unknown(&error) => {
                tracing::debug!(%error, "the server does not validate hosts");
                return Ok(());
            }
            Err(error) if error.fault().is_some() => {
                let problem = format!("could not be asked whether it can run the machine: {error}");
                self.findings.push(Finding::note(Check::Host, &host.name, problem));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let is_certain = hosts.len() == 1;
        for fault in &said.errors {
            let mut finding = refused(fault);
            (finding.check, finding.subject) = (Check::Host, host.name.clone());
            if !is_certain {
                finding.severity = Severity::Warning;
                finding.advice = Some("another host of the cluster may take it".to_owned());
            }
            self.findings.push(finding);
        }
        let known: Vec<String> = self.findings.iter().map(|one| one.problem.clone()).collect();
        for fault in said.warnings.iter().map(ToString::to_string) {
            // The import spec has most of them, too.
            if !known.contains(&fault) {
                self.findings.push(Finding::warning(Check::Host, &host.name, fault));
            }
        }
        if let Some(wanted) = &self.request.disk_provisioning
            && !said.disk_provisionings.is_empty()
            && !said.disk_provisionings.contains(wanted)
        {
            let there = said.disk_provisionings.join(", ");
            let problem = format!("does not offer disks as {wanted}, only as {there}");
            self.findings.push(Finding::warning(Check::Host, &host.name, problem));
        }
        Ok(())
    }

    /// What of the machine was or will be encrypted.
    pub(super) fn encryption(&mut self) {
        for system in self.request.package.envelope().systems() {
            let is_tpm = |sub_type: &str| sub_type.eq_ignore_ascii_case(VIRTUAL_TPM);
            if !system.items().iter().any(|item| item.resource_sub_type().is_some_and(is_tpm)) {
                continue;
            }
            let problem = "has a virtual TPM, which comes new and empty: the keys of the old one \
                           are not in the package";
            let advice = "the server needs a key provider, and a guest that is encrypted with the \
                          TPM its recovery key";
            let name = system.name().unwrap_or(system.id());
            let finding = Finding::warning(Check::Encryption, name, problem).advise(advice);
            self.findings.push(finding);
        }
    }

    /// A bare host takes the disks itself; which hosts of a vCenter do, it says with the lease.
    pub(super) fn device_hosts(&mut self) {
        if !self.server.session().about().is_host() {
            self.findings.push(hosts::not_known_yet());
        }
    }

    /// The OVF environment that is put into the machine, on a host that does not do it.
    pub(super) fn environment(&mut self, described: Option<&Described>) -> Option<String> {
        if !self.request.inject_ovf_env {
            return None;
        }
        let about = self.server.session().about();
        let [system] = self.request.package.envelope().systems() else { return None };
        let note = |problem: &str| Finding::note(Check::Environment, "OVF environment", problem);
        if !about.is_host() {
            let problem = "not injected: a vCenter gives it to the machine by itself";
            self.findings.push(note(problem));
            return None;
        }
        let Some(described) = described else {
            let problem = "not injected: the server does not say what properties there are";
            let mut finding = note(problem);
            finding.severity = Severity::Warning;
            self.findings.push(finding);
            return None;
        };
        let platform =
            Platform { kind: "VMware ESXi", version: &about.version, vendor: "VMware, Inc." };
        let (properties, values) = (&described.parsed.properties, &self.request.properties);
        Some(environment::document(system.id(), &platform, properties, values))
    }

    fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    fn stopped(&mut self) -> Error {
        let findings = std::mem::take(&mut self.findings);
        let what = format!("{} cannot be imported", self.request.package.display());
        Error::Preflight { what, findings }
    }
}

/// What a fault in the answer to a descriptor means.
fn refused(fault: &Fault) -> Finding {
    let (check, advice) = match fault.type_name() {
        "OvfNoSupportedHardwareFamily" => (
            Check::Host,
            Some("take a newer host, or export the machine with an older hardware version"),
        ),
        "OvfUnsupportedDiskProvisioning" => {
            (Check::Descriptor, Some("choose another provisioning, or leave it to the server"))
        }
        _ => (Check::Descriptor, None),
    };
    let finding = Finding::error(check, fault_kind(fault), "", fault.to_string());
    match advice {
        Some(advice) => finding.advise(advice),
        None => finding,
    }
}

/// What the disks of a package take on a datastore, in bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Sizes {
    /// All of their capacity.
    flat: u64,
    /// What is surely written: what the descriptor says is in use, else what the files hold.
    sparse: u64,
}

impl Sizes {
    fn of(package: &Package, disks: &Disks) -> Self {
        let envelope = package.envelope();
        let mut sizes = Self::default();
        for disk in envelope.disks() {
            let file = disk.file_ref().and_then(|id| envelope.file(id));
            let stored = file.and_then(|file| package.file(file.href()));
            let stored = stored.map_or(0, PackageFile::stored_bytes);
            let stored = file.map_or(stored, |file| disks.sure_bytes(file.href(), stored));
            let used = disk.populated_bytes().unwrap_or(stored).min(disk.capacity_bytes());
            sizes.flat = sizes.flat.saturating_add(disk.capacity_bytes());
            sizes.sparse = sizes.sparse.saturating_add(used);
        }
        sizes
    }
}

/// Compares the free space with what the disks take.
fn space(datastore: &DatastoreFacts, provisioning: Option<&str>, sizes: Sizes) -> Option<Finding> {
    let free = datastore.free_bytes?;
    let is_thin = provisioning.map(|mode| THIN.contains(&mode));
    // Where the server chooses, only what is written for sure must fit.
    let needed = if is_thin == Some(false) { sizes.flat } else { sizes.sparse };
    let name = &datastore.name;
    if needed > free {
        let problem = format!("needs {}, but only {} is free", size(needed), size(free));
        let advice = if is_thin == Some(false) && sizes.sparse <= free {
            format!("thin disks would take {} at first", size(sizes.sparse))
        } else {
            "name another datastore, or make room".to_owned()
        };
        let finding = Finding::error(Check::Space, ErrorKind::NoSpace, name, problem);
        return Some(finding.advise(advice));
    }
    if sizes.flat > free {
        let (flat, free) = (size(sizes.flat), size(free));
        let problem = format!("the disks may grow to {flat}, but only {free} is free");
        return Some(Finding::warning(Check::Space, name, problem));
    }
    None
}

/// A number of bytes, for people.
fn size(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} bytes"),
    }
}

/// Ways to lay out a disk that take no more than what is written.
const THIN: [&str; 4] = ["monolithicSparse", "seSparse", "sparse", "thin"];

/// What `rasd:ResourceSubType` says of a virtual TPM (vSphere 8).
const VIRTUAL_TPM: &str = "vmware.vtpm";

/// The longest name of an object in vSphere, in characters.
const NAME_CHARS_MAX: usize = 80;

/// Names that are tried; more would be left over from many failed runs.
const NAMES_TRIED: u32 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_their_unit() {
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(3 << 19), "1.5 MiB");
        assert_eq!(size(40 << 30), "40.0 GiB");
    }
}
