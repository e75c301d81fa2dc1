//! `OvfManager`: from a descriptor to an import spec, and from a machine to a descriptor.

mod collection;
mod describe;
mod inspect;
mod sections;

use std::collections::BTreeMap;

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::envelope::{EnvelopeError, FileRef, HardwareItem, VirtualSystem};
use serde_json::{Value, json};

use crate::dvs;
use crate::fault::Fault;
use crate::hardware::{self, kind_of};
use crate::inventory;
use crate::lease::{NVRAM, is_pool};
use crate::object::Moref;
pub(crate) use crate::ovf::describe::create_descriptor;
use crate::ovf::inspect::LAX;
pub(crate) use crate::ovf::inspect::{parse_descriptor, publish, validate_host};
use crate::ovf::sections::Sections;
use crate::types;
use crate::vm::unescape_name;
use crate::world::World;

/// `OvfManager.CreateImportSpec`.
///
/// # Errors
///
/// `ManagedObjectNotFound` and `InvalidArgument` for the call; what is wrong with the package
/// stands in `error` of the result.
pub(crate) fn create_import_spec(world: &World, arguments: &Value) -> Result<Value, Fault> {
    let pool = existing(world, &arguments["resourcePool"], "resourcePool")?;
    if !is_pool(&pool.kind) {
        return Err(Fault::invalid_argument("resourcePool"));
    }
    let datastore = existing(world, &arguments["datastore"], "datastore")?;
    if datastore.kind != "Datastore" {
        return Err(Fault::invalid_argument("datastore"));
    }
    let parameters = &arguments["cisp"];
    if let Some(host) = Moref::from_value(&parameters["hostSystem"])
        && !world.hosts.iter().any(|known| known.moref == host)
    {
        return Err(Fault::not_found(&host));
    }
    let datastore = unescape_name(world.objects.text(&datastore, "name"));
    let mut import = Import::new(world, parameters, datastore);
    let result = match Envelope::parse(text(&arguments["ovfDescriptor"]).as_bytes()) {
        Ok(envelope) => import.read(&envelope)?,
        Err(error) => {
            import.errors.push(not_readable(&error));
            None
        }
    };
    // With an error there is no spec.
    let spec = result.filter(|_| import.errors.is_empty()).map(|mut spec| {
        if kind_of(&spec) == "VirtualMachineImportSpec" {
            spec["resPoolEntity"] = pool.value();
        }
        spec
    });
    Ok(json!({
        "_typeName": "OvfCreateImportSpecResult",
        "fileItem": if spec.is_some() { json!(import.files) } else { Value::Null },
        "importSpec": spec,
        "warning": faults(&import.warnings),
        "error": faults(&import.errors),
    }))
}

/// An import spec in the making.
struct Import<'a> {
    world: &'a World,
    parameters: &'a Value,
    datastore: String,
    changes: Vec<Value>,
    files: Vec<Value>,
    warnings: Vec<Fault>,
    errors: Vec<Fault>,
    /// Controllers by instance id: key, label of the type and bus, units taken.
    controllers: BTreeMap<String, Bus>,
    next_key: i64,
    /// Backing of the cards on each network of the package.
    mapping: BTreeMap<String, Value>,
}

/// What a machine is called.
struct Named<'a> {
    name: &'a str,
    /// Its name after those of the vApps around it, `shop/front/web`.
    path: &'a str,
}

struct Bus {
    key: i64,
    kind: &'static str,
    number: usize,
    taken: Vec<usize>,
}

impl<'a> Import<'a> {
    fn new(world: &'a World, parameters: &'a Value, datastore: String) -> Self {
        Self {
            world,
            parameters,
            datastore,
            changes: Vec::new(),
            files: Vec::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
            controllers: BTreeMap::new(),
            next_key: -1,
            mapping: BTreeMap::new(),
        }
    }

    /// The `ImportSpec`, or nothing if there is none for such a package.
    fn read(&mut self, envelope: &Envelope) -> Result<Option<Value>, Fault> {
        let sections = Sections::read(envelope, &self.parameters["msgBundle"]);
        let option = match sections.option(text(&self.parameters["deploymentOption"])) {
            Ok(option) => option,
            Err(fault) => {
                self.errors.push(fault);
                return Ok(None);
            }
        };
        self.check_provisioning();
        self.map_networks(envelope)?;
        let config = sections.config(&option, self.parameters, &mut self.errors);
        let wanted = text(&self.parameters["entityName"]);
        let system = match envelope.systems() {
            [system] if !sections.is_collection => system,
            _ => return Ok(collection::read(self, envelope, &option, wanted)),
        };
        let name = if wanted.is_empty() { system.name().unwrap_or(system.id()) } else { wanted };
        let named = Named { name, path: name };
        let nvram = nvram(envelope, system);
        let spec = self.machine(envelope, (system, &option), named, (config, nvram));
        Ok(Some(json!({ "_typeName": "VirtualMachineImportSpec", "configSpec": spec })))
    }

    /// The `VirtualMachineConfigSpec` of one machine under the deployment option `option`.
    fn machine(
        &mut self,
        envelope: &Envelope,
        (system, option): (&VirtualSystem, &str),
        Named { name, path }: Named<'_>,
        (config, nvram): (Value, Option<&FileRef>),
    ) -> Value {
        self.changes.clear();
        self.controllers.clear();
        self.next_key = -1;
        let items = chosen(system, option);
        let families = system.hardware_family().unwrap_or_default();
        let hardware = newest_hardware(families);
        if hardware.is_none() && families.split_whitespace().any(|one| number(one).is_some()) {
            let what = format!(
                "No supported hardware versions among [{families}]; the newest is vmx-{HARDWARE_MAX}."
            );
            let fault = Fault::new("OvfNoSupportedHardwareFamily", what);
            self.errors.push(fault.with("version", families));
        }
        let (cpus, memory_mib) = cpus_and_memory(&items);
        // Controllers before what hangs on them.
        for item in &items {
            self.controller(item);
        }
        for item in &items {
            match item.resource_type() {
                10 => self.network_card(item),
                14..=16 => self.removable(item, envelope, path),
                17 => self.disk(item, envelope, path),
                _ => {}
            }
        }
        if let Some(file) = nvram {
            self.file_item(&format!("/{path}/{NVRAM}"), file, 1, true);
        }
        json!({
            "_typeName": "VirtualMachineConfigSpec",
            "name": name,
            "version": hardware,
            "guestId": system.os_type().unwrap_or_else(|| guest_id(system.os_id())),
            "annotation": system.annotation(),
            "files": { "vmPathName": format!("[{}]", self.datastore) },
            "numCPUs": cpus,
            "memoryMB": memory_mib,
            "deviceChange": self.changes,
            "vAppConfig": config,
            "extraConfig": nvram.map(|_| json!([{ "key": NVRAM, "value": format!("{name}.nvram") }])),
        })
    }

    fn check_provisioning(&mut self) {
        let wanted = text(&self.parameters["diskProvisioning"]);
        if !wanted.is_empty() && !PROVISIONING.contains(&wanted) {
            let supported = PROVISIONING.join(",");
            self.errors.push(
                Fault::new(
                    "OvfUnsupportedDiskProvisioning",
                    format!("The disk provisioning type '{wanted}' is not supported; supported are {supported}."),
                )
                .with("diskProvisioning", wanted)
                .with("supportedDiskProvisioning", supported),
            );
        }
    }

    fn map_networks(&mut self, envelope: &Envelope) -> Result<(), Fault> {
        for pair in self.parameters["networkMapping"].as_array().into_iter().flatten() {
            let network = existing(self.world, &pair["network"], "cisp.networkMapping.network")?;
            if !types::is_a(&network.kind, "Network") {
                return Err(Fault::invalid_argument("cisp.networkMapping.network"));
            }
            let name = text(&pair["name"]);
            if !envelope.networks().iter().any(|known| known.name() == name) {
                let what =
                    format!("The network '{name}' in the mapping is not in the OVF descriptor.");
                self.errors.push(Fault::new("OvfNetworkMappingNotSupported", what));
                continue;
            }
            let real = unescape_name(self.world.objects.text(&network, "name"));
            let backing = dvs::backing(self.world, &network, &real);
            self.mapping.insert(name.to_owned(), backing);
        }
        let known = inventory::networks(&self.world.objects);
        for network in envelope.networks() {
            if self.mapping.contains_key(network.name()) {
                continue;
            }
            let same = known.iter().find(|(_, name)| unescape_name(name) == network.name());
            if let Some((moref, name)) = same.or(known.first()) {
                if same.is_none() {
                    let what = format!(
                        "No mapping for the network '{}'; it is connected to '{name}'.",
                        network.name()
                    );
                    self.warnings.push(Fault::new("OvfNetworkMappingNotSupported", what));
                }
                let backing = dvs::backing(self.world, moref, &unescape_name(name));
                self.mapping.insert(network.name().to_owned(), backing);
            }
        }
        Ok(())
    }

    /// Takes an item that is a controller, and refuses what nobody knows.
    fn controller(&mut self, item: &HardwareItem) {
        let sub_type = item.resource_sub_type().unwrap_or_default().to_ascii_lowercase();
        let kind = match item.resource_type() {
            5 => "VirtualIDEController",
            6 => match sub_type.as_str() {
                "virtualscsi" | "pvscsi" | "vmware.virtualscsi" => "ParaVirtualSCSIController",
                "lsilogicsas" => "VirtualLsiLogicSASController",
                "buslogic" => "VirtualBusLogicController",
                _ => "VirtualLsiLogicController",
            },
            20 if sub_type.contains("nvme") => "VirtualNVMEController",
            20 => "VirtualAHCIController",
            1 | 3 | 4 | 10 | 14..=17 | 23 | 24 => return,
            21 | 22 => {
                let name = item.element_name().unwrap_or_default();
                let what =
                    format!("The port '{name}' is left out: nothing could be attached to it.");
                self.warnings.push(
                    Fault::new("OvfUnsupportedType", what)
                        .with("name", "ResourceType")
                        .with("instanceId", item.instance_id())
                        .with("deviceType", item.resource_type()),
                );
                return;
            }
            other => {
                let name = item.element_name().unwrap_or_default();
                let fault = Fault::new(
                    "OvfUnsupportedType",
                    format!("Unsupported hardware '{name}': resource type {other}."),
                )
                .with("name", "ResourceType")
                .with("instanceId", item.instance_id())
                .with("deviceType", other);
                let is_lax = has_option(&self.parameters["importOption"], LAX);
                if is_lax { &mut self.warnings } else { &mut self.errors }.push(fault);
                return;
            }
        };
        let before =
            self.controllers.values().filter(|bus| family(bus.kind) == family(kind)).count();
        let number = before;
        let key = self.next_key();
        let device = if family(kind) == "scsi" {
            hardware::scsi_controller(kind, key, number)
        } else {
            json!({ "_typeName": kind, "key": key, "busNumber": number })
        };
        self.add(device, false);
        let taken = if family(kind) == "scsi" { vec![hardware::SCSI_OWN_UNIT] } else { Vec::new() };
        self.controllers.insert(item.instance_id().to_owned(), Bus { key, kind, number, taken });
    }

    fn network_card(&mut self, item: &HardwareItem) {
        let kind = match item.resource_sub_type().unwrap_or_default().to_ascii_lowercase().as_str()
        {
            "e1000e" => "VirtualE1000e",
            "pcnet32" => "VirtualPCNet32",
            "vmxnet2" => "VirtualVmxnet2",
            "vmxnet" => "VirtualVmxnet",
            "vmxnet3" => "VirtualVmxnet3",
            _ => "VirtualE1000",
        };
        let key = self.next_key();
        let name = item.connections().first().map_or("", String::as_str);
        match self.mapping.get(name).cloned() {
            Some(backing) => self.add(hardware::network_card(kind, key, &backing), false),
            None => self.errors.push(
                Fault::new(
                    "OvfInvalidValue",
                    format!("No network '{name}' in the OVF descriptor."),
                )
                .with("name", "Connection")
                .with("value", name),
            ),
        }
    }

    fn removable(&mut self, item: &HardwareItem, envelope: &Envelope, entity: &str) {
        let Some((parent, unit, label)) = self.place(item) else { return };
        let file = item.file_ids().next().and_then(|id| envelope.file(id));
        if item.resource_type() == 14 {
            // A floppy drive hangs on a controller that is always there; nothing is uploaded.
            return;
        }
        let backing = match file {
            Some(_) => json!({ "_typeName": "VirtualCdromIsoBackingInfo", "fileName": "" }),
            None => json!({
                "_typeName": "VirtualCdromRemotePassthroughBackingInfo",
                "deviceName": "",
                "exclusive": false,
            }),
        };
        let key = self.next_key();
        let device = json!({
            "_typeName": "VirtualCdrom",
            "key": key,
            "backing": backing,
            "connectable": { "startConnected": false, "allowGuestControl": true, "connected": false },
            "controllerKey": parent,
            "unitNumber": unit,
        });
        self.add(device, false);
        if let Some(file) = file {
            self.file_item(&format!("/{entity}/{label}"), file, item.resource_type(), true);
        }
    }

    fn disk(&mut self, item: &HardwareItem, envelope: &Envelope, entity: &str) {
        let Some((parent, unit, label)) = self.place(item) else { return };
        let disk = item.disk_ids().next().and_then(|id| envelope.disk(id));
        let Some(disk) = disk else {
            self.errors.push(
                Fault::new("OvfDiskMappingNotFound", "A disk is not in the disk section.")
                    .with("diskName", item.element_name().unwrap_or_default())
                    .with("vmName", entity),
            );
            return;
        };
        let is_thin =
            matches!(text(&self.parameters["diskProvisioning"]), "thin" | "sparse" | "seSparse");
        let key = self.next_key();
        let capacity = disk.capacity_bytes();
        self.add(hardware::disk_device(key, parent, unit, capacity, is_thin), true);
        if let Some(file) = disk.file_ref().and_then(|id| envelope.file(id)) {
            self.file_item(&format!("/{entity}/{label}"), file, 17, false);
        }
    }

    /// Controller key, unit and label for an item, by its parent and its address there.
    fn place(&mut self, item: &HardwareItem) -> Option<(i64, usize, String)> {
        let bus = item.parent().and_then(|parent| self.controllers.get_mut(parent));
        let Some(bus) = bus else {
            if item.resource_type() != 14 {
                self.errors.push(
                    Fault::new("OvfMissingHardware", "A device has no controller.")
                        .with("name", item.element_name().unwrap_or_default())
                        .with("resourceType", item.resource_type()),
                );
            }
            return None;
        };
        let asked =
            item.address_on_parent().and_then(|address| address.trim().parse::<usize>().ok());
        let free = |unit: &usize| !bus.taken.contains(unit);
        let unit = asked.filter(free).or_else(|| (0..UNITS_MAX).find(free))?;
        bus.taken.push(unit);
        let label = format!("{}{}:{unit}", bus.kind, bus.number);
        Some((bus.key, unit, label))
    }

    fn file_item(&mut self, device_id: &str, file: &FileRef, kind: u16, create: bool) {
        self.files.push(json!({
            "_typeName": "OvfFileItem",
            "deviceId": device_id,
            "path": file.href().as_str(),
            "compressionMethod": file.compression(),
            "chunkSize": file.chunk_size_bytes(),
            "size": file.size_bytes(),
            "cimType": kind,
            "create": create,
        }));
    }

    fn add(&mut self, device: Value, is_file: bool) {
        let mut change = json!({ "operation": "add", "device": device });
        if is_file {
            change["fileOperation"] = json!("create");
        }
        self.changes.push(change);
    }

    fn next_key(&mut self) -> i64 {
        let key = self.next_key;
        self.next_key -= 1;
        key
    }
}

/// The NVRAM is in no item: it is the file that is left over and named so.
fn nvram<'a>(envelope: &'a Envelope, system: &VirtualSystem) -> Option<&'a FileRef> {
    let used = |file: &FileRef| {
        system.items().iter().any(|item| item.file_ids().any(|id| id == file.id()))
            || envelope.disks().iter().any(|disk| disk.file_ref() == Some(file.id()))
    };
    let mut files = envelope.references().iter();
    files.find(|file| file.href().as_str().to_ascii_lowercase().ends_with(".nvram") && !used(file))
}

/// The items that exist under the deployment option `option`: of several with one instance id the
/// last one that fits (DSP0243 1.1.0 §9.8).
fn chosen<'a>(system: &'a VirtualSystem, option: &str) -> Vec<&'a HardwareItem> {
    let mut chosen: Vec<&HardwareItem> = Vec::new();
    for item in system.items() {
        let options = item.configuration().map(str::split_whitespace);
        if options.is_some_and(|mut options| !options.any(|one| one == option)) {
            continue;
        }
        match chosen.iter_mut().find(|known| known.instance_id() == item.instance_id()) {
            Some(known) => *known = item,
            None => chosen.push(item),
        }
    }
    chosen
}

fn cpus_and_memory(items: &[&HardwareItem]) -> (u64, u64) {
    let quantity = |kind: u16| items.iter().find(|item| item.resource_type() == kind);
    let cpus = quantity(3).and_then(|item| item.quantity()).unwrap_or(1);
    let memory = quantity(4).and_then(|item| item.quantity_bytes());
    (cpus, memory.map_or(512, |bytes| bytes >> 20).max(4))
}

fn existing(world: &World, value: &Value, parameter: &str) -> Result<Moref, Fault> {
    let moref = Moref::from_value(value).ok_or_else(|| Fault::invalid_argument(parameter))?;
    match world.objects.get(&moref) {
        Some(_) => Ok(moref),
        None => Err(Fault::not_found(&moref)),
    }
}

/// Whether the list `options` has `name`; options that nobody knows are ignored.
fn has_option(options: &Value, name: &str) -> bool {
    options.as_array().is_some_and(|all| all.iter().any(|option| option == name))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn faults(all: &[Fault]) -> Value {
    if all.is_empty() { Value::Null } else { all.iter().map(Fault::localized).collect() }
}

fn not_readable(error: &EnvelopeError) -> Fault {
    Fault::new("OvfXmlFormat", format!("The OVF descriptor is invalid: {error}"))
        .with("lineNumber", error.position().line)
        .with("description", error.to_string())
}

/// Controllers of one family share the numbers of their buses.
fn family(kind: &str) -> &'static str {
    match kind {
        "VirtualIDEController" => "ide",
        "VirtualNVMEController" => "nvme",
        "VirtualAHCIController" => "sata",
        _ => "scsi",
    }
}

/// The newest of the hardware families that a descriptor lists, of those that hosts here know.
fn newest_hardware(families: &str) -> Option<&str> {
    let families = families.split_whitespace();
    let known = families.filter(|one| number(one).is_some_and(|number| number <= HARDWARE_MAX));
    known.max_by_key(|family| number(family))
}

/// The number of a hardware family of VMware.
fn number(family: &str) -> Option<u32> {
    family.strip_prefix("vmx-")?.parse().ok()
}

/// vSphere's name for an operating system of CIM.
fn guest_id(os_id: Option<u16>) -> &'static str {
    match os_id {
        Some(36) => "otherLinuxGuest",
        Some(101) => "otherLinux64Guest",
        Some(1) => "otherGuest",
        _ => "otherGuest64",
    }
}

/// What a real server takes; `monolithicSparse` fails on hosts and is refused here.
const PROVISIONING: [&str; 9] = [
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "thin",
    "thick",
    "seSparse",
    "eagerZeroedThick",
    "sparse",
    "flat",
];

/// The newest hardware version of 8.0.2 and 8.0.3.
const HARDWARE_MAX: u32 = 21;

/// Units on the widest controller.
const UNITS_MAX: usize = 64;
