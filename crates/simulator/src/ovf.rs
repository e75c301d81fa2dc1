//! `OvfManager`: from a descriptor to an import spec, and from a machine to a descriptor.

mod envelope;
mod inspect;
mod sections;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::descriptor::{self, Card, DiskFile, FileEntry};
use crate::dvs;
use crate::fault::Fault;
use crate::hardware::{self, key_of, kind_of, transferable};
use crate::inventory;
use crate::lease::{NVRAM, is_pool};
use crate::object::Moref;
use crate::ovf::envelope::{Disk, Envelope, FileRef, HardwareItem, VirtualSystem};
use crate::ovf::inspect::{EXTRA_CONFIG, LAX, MAC};
pub(crate) use crate::ovf::inspect::{parse_descriptor, publish, validate_host};
use crate::ovf::sections::Sections;
use crate::scenario::Controller;
use crate::types;
use crate::vm::{network_of, unescape_name};
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
    let result = match Envelope::parse(text(&arguments["ovfDescriptor"])) {
        Ok(envelope) => import.read(&envelope)?,
        Err(error) => {
            import.errors.push(error);
            None
        }
    };
    // With an error there is no spec.
    let spec = result.filter(|_| import.errors.is_empty()).map(|spec| {
        json!({
            "_typeName": "VirtualMachineImportSpec",
            "configSpec": spec,
            "resPoolEntity": pool.value(),
        })
    });
    Ok(json!({
        "_typeName": "OvfCreateImportSpecResult",
        "fileItem": if spec.is_some() { json!(import.files) } else { Value::Null },
        "importSpec": spec,
        "warning": faults(&import.warnings),
        "error": faults(&import.errors),
    }))
}

/// `OvfManager.CreateDescriptor`.
///
/// # Errors
///
/// `ManagedObjectNotFound`, and `InvalidArgument` for an object that is no machine.
pub(crate) fn create_descriptor(world: &World, arguments: &Value) -> Result<Value, Fault> {
    let moref = existing(world, &arguments["obj"], "obj")?;
    if moref.kind != "VirtualMachine" {
        return Err(Fault::invalid_argument("obj"));
    }
    let vm = world.vm(&moref)?;
    let parameters = &arguments["cdp"];
    let (devices, disks) = match Moref::from_value(&parameters["snapshot"]) {
        Some(wanted) => {
            let found = vm.snapshots.iter().find(|snapshot| snapshot.moref == wanted);
            let found = found.ok_or_else(|| Fault::not_found(&wanted))?;
            (&found.devices, &found.disks)
        }
        None => (&vm.devices, &vm.disks),
    };
    let listed: &[Value] = parameters["ovfFiles"].as_array().map_or(&[], Vec::as_slice);
    let file_of = |key: &str, default: &str| {
        if listed.is_empty() {
            return Some((FileEntry { href: default.to_owned(), size_bytes: 0 }, None));
        }
        let file = listed.iter().find(|file| file["deviceId"] == key)?;
        let size_bytes = file["size"].as_u64().unwrap_or_default();
        let entry = FileEntry { href: text(&file["path"]).to_owned(), size_bytes };
        Some((entry, file["populatedSize"].as_u64()))
    };
    let mut warnings = Vec::new();
    let mut files = Vec::new();
    let mut images = Vec::new();
    for (device, label) in transferable(devices) {
        let Some(disk) = key_of(device).and_then(|key| disks.get(&key)) else {
            // Images go along only if the caller names their files.
            let file = file_of(&format!("/{}/{label}", moref.id), "");
            images.extend(file.map(|(file, _)| file).filter(|file| !file.href.is_empty()));
            continue;
        };
        let default = format!("disk-{}.vmdk", files.len());
        match file_of(&format!("/{}/{label}", moref.id), &default) {
            Some((file, populated_bytes)) => {
                files.push(DiskFile {
                    file,
                    capacity_bytes: disk.capacity_bytes(),
                    populated_bytes,
                });
            }
            None => warnings.push(
                Fault::new("OvfUnableToExportDisk", format!("Unable to export disk '{label}'."))
                    .with("diskName", label),
            ),
        }
    }
    for file in listed {
        let key = text(&file["deviceId"]);
        let known =
            transferable(devices).iter().any(|(_, label)| key == format!("/{}/{label}", moref.id));
        if !known && key != format!("/{}/{NVRAM}", moref.id) {
            return Err(Fault::invalid_argument("cdp.ovfFiles.deviceId"));
        }
    }
    let nvram = vm.files.get(NVRAM).filter(|_| !listed.is_empty());
    let nvram =
        nvram.and_then(|_| file_of(&format!("/{}/{NVRAM}", moref.id), "")).map(|(file, _)| file);
    let options = &parameters["exportOption"];
    let extra = vm.spec["extraConfig"].as_array().into_iter().flatten();
    let extra = extra.filter(|option| option["key"] != NVRAM).filter_map(|option| {
        let value = option["value"].get("_value").unwrap_or(&option["value"]);
        Some((option["key"].as_str()?.to_owned(), value.as_str()?.to_owned()))
    });
    let mac = |card: &Value| {
        card["macAddress"].as_str().filter(|_| has_option(options, MAC)).map(str::to_owned)
    };
    let cards = devices.iter().filter_map(|device| {
        let network = network_of(device)?;
        let network = unescape_name(world.objects.text(&network, "name"));
        Some(Card { network, sub_type: card_sub_type(kind_of(device)), mac: mac(device) })
    });
    let has_pvscsi = devices.iter().any(|device| kind_of(device) == "ParaVirtualSCSIController");
    let machine = descriptor::Machine {
        name: parameters["name"].as_str().filter(|n| !n.is_empty()).unwrap_or(&vm.name).to_owned(),
        cpus: u32::try_from(vm.spec["numCPUs"].as_u64().unwrap_or(1)).unwrap_or(1),
        memory_mib: vm.spec["memoryMB"].as_u64().unwrap_or(512),
        guest_id: vm.spec["guestId"].as_str().unwrap_or("otherGuest64").to_owned(),
        controller: if has_pvscsi { Controller::Paravirtual } else { Controller::Lsilogic },
        disks: files,
        cards: cards.collect(),
        images,
        extra_config: if has_option(options, EXTRA_CONFIG) { extra.collect() } else { Vec::new() },
        nvram,
    };
    Ok(json!({
        "_typeName": "OvfCreateDescriptorResult",
        "ovfDescriptor": descriptor::write(&machine),
        "warning": faults(&warnings),
        "includeImageFiles": parameters["includeImageFiles"].as_bool().unwrap_or(false),
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
    /// Values of the properties, by their full keys.
    values: BTreeMap<String, String>,
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
            values: BTreeMap::new(),
        }
    }

    /// The `VirtualMachineConfigSpec`, or nothing if there is no machine.
    fn read(&mut self, envelope: &Envelope) -> Result<Option<Value>, Fault> {
        let [system] = envelope.systems() else {
            let what = "Only packages of one virtual machine are supported.";
            self.errors.push(Fault::new("OvfUnsupportedPackage", what));
            return Ok(None);
        };
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
        let items = chosen(system, &option);
        for section in envelope.unsupported() {
            self.refuse(section.clone(), true);
        }
        let config = sections.config(&option, self.parameters, &mut self.errors);
        self.values = sections::values(&config);
        let wanted = text(&self.parameters["entityName"]);
        let name = if wanted.is_empty() { system.name().unwrap_or(system.id()) } else { wanted };
        let (cpus, memory_mib) = cpus_and_memory(&items);
        // Controllers before what hangs on them.
        for item in &items {
            self.controller(item);
        }
        for item in &items {
            match item.resource_type() {
                10 => self.network_card(item),
                14..=16 => self.removable(item, envelope, name),
                17 => self.disk(item, envelope, name),
                _ => {}
            }
        }
        let nvram = self.nvram(envelope, system, name);
        let version = self.version(system);
        let path = format!("[{}]", self.datastore);
        Ok(Some(json!({
            "_typeName": "VirtualMachineConfigSpec",
            "name": name,
            "version": version,
            "guestId": system.os_type().unwrap_or_else(|| guest_id(system.os_id())),
            "annotation": system.annotation(),
            "files": { "vmPathName": path },
            "numCPUs": cpus,
            "memoryMB": memory_mib,
            "deviceChange": self.changes,
            "vAppConfig": config,
            "extraConfig": if nvram { json!([{ "key": NVRAM, "value": format!("{name}.nvram") }]) } else { Value::Null },
        })))
    }

    /// The newest of the hardware versions that the machine can have; nothing for the default.
    fn version<'e>(&mut self, system: &'e VirtualSystem) -> Option<&'e str> {
        let families = system.hardware_family()?;
        let version = newest_hardware(families);
        if version.is_none() {
            let what = format!("Unsupported hardware family '{families}'.");
            let fault = Fault::new("OvfUnsupportedElementValue", what)
                .with("lineNumber", system.hardware_line())
                .with("name", "VirtualSystemType")
                .with("value", families);
            self.refuse(fault, true);
        }
        version
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
        let kind = match item.resource_type() {
            5 => "VirtualIDEController",
            6 => self.sub_type(item, &SCSI),
            20 => self.sub_type(item, &SATA_AND_NVME),
            1 | 3 | 4 | 10 | 14..=17 | 23 | 24 => return,
            21 | 22 => {
                let name = item.element_name().unwrap_or_default();
                let what =
                    format!("The port '{name}' is left out: nothing could be attached to it.");
                self.warnings.push(unsupported_type(item, what));
                return;
            }
            other => {
                let name = item.element_name().unwrap_or_default();
                let what = format!("Unsupported hardware '{name}': resource type {other}.");
                self.refuse(unsupported_type(item, what), item.is_required());
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

    /// The first of the item's sub-types that is in `known`; the first of those if it names none.
    fn sub_type(&mut self, item: &HardwareItem, known: &[(&str, &'static str)]) -> &'static str {
        let wanted = item.sub_types();
        let kind = |name: &String| known.iter().find(|(one, _)| one == name).map(|(_, kind)| *kind);
        let default = known.first().map_or("", |(_, kind)| *kind);
        if let Some(found) = wanted.iter().find_map(kind) {
            return found;
        }
        if !wanted.is_empty() {
            let (name, all) = (item.element_name().unwrap_or_default(), wanted.join(", "));
            let what = format!("Unsupported hardware '{name}': sub-type {all}.");
            let fault = Fault::new("OvfUnsupportedSubType", what)
                .with("lineNumber", item.line())
                .with("elementName", "ResourceSubType")
                .with("instanceId", item.instance_id())
                .with("deviceType", item.resource_type())
                .with("deviceSubType", all);
            self.refuse(fault, item.is_required());
        }
        default
    }

    /// Takes a fault for an error, or for a warning if the descriptor or the caller allows it.
    fn refuse(&mut self, fault: Fault, is_required: bool) {
        let is_lax = has_option(&self.parameters["importOption"], LAX);
        if is_required && !is_lax { &mut self.errors } else { &mut self.warnings }.push(fault);
    }

    fn network_card(&mut self, item: &HardwareItem) {
        let kind = self.sub_type(item, &NETWORK_CARDS);
        let key = self.next_key();
        let name = item.connections().first().map_or("", String::as_str);
        match self.mapping.get(name).cloned() {
            Some(backing) => self.add(hardware::network_card(kind, key, &backing), false),
            None => self.errors.push(
                Fault::new(
                    "OvfInvalidValueReference",
                    format!("No network '{name}' in the OVF descriptor."),
                )
                .with("lineNumber", item.line())
                .with("elementName", "Connection")
                .with("attributeName", "")
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
        // Without a disk in the disk section the item itself may say how large an empty one is.
        let capacity = disk.map(|disk| self.capacity_bytes(disk)).or(item.quantity_bytes());
        let Some(capacity) = capacity else {
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
        self.add(hardware::disk_device(key, parent, unit, capacity, is_thin), true);
        if let Some(file) = disk.and_then(Disk::file_ref).and_then(|id| envelope.file(id)) {
            self.file_item(&format!("/{entity}/{label}"), file, 17, false);
        }
    }

    /// Capacity of a disk, which may be the value of a property.
    fn capacity_bytes(&self, disk: &Disk) -> u64 {
        let value = disk.capacity_key().and_then(|key| self.values.get(key));
        value.and_then(|value| disk.capacity_of(value)).unwrap_or_else(|| disk.capacity_bytes())
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

    /// The NVRAM is in no item: it is the file that is left over and named so.
    fn nvram(&mut self, envelope: &Envelope, system: &VirtualSystem, entity: &str) -> bool {
        let used = |file: &FileRef| {
            system.items().iter().any(|item| item.file_ids().any(|id| id == file.id()))
                || envelope.disks().iter().any(|disk| disk.file_ref() == Some(file.id()))
        };
        let found = envelope
            .references()
            .iter()
            .find(|file| file.href().to_ascii_lowercase().ends_with(".nvram") && !used(file));
        if let Some(file) = found {
            self.file_item(&format!("/{entity}/{NVRAM}"), file, 1, true);
        }
        found.is_some()
    }

    fn file_item(&mut self, device_id: &str, file: &FileRef, kind: u16, create: bool) {
        self.files.push(json!({
            "_typeName": "OvfFileItem",
            "deviceId": device_id,
            "path": file.href(),
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

/// The sub-type by which a descriptor knows a network card.
fn card_sub_type(kind: &str) -> &'static str {
    match kind {
        "VirtualE1000" => "E1000",
        "VirtualE1000e" => "E1000e",
        "VirtualPCNet32" => "PCNet32",
        "VirtualSriovEthernetCard" => "SriovEthernetCard",
        "VirtualVmxnet" => "VmxNet",
        "VirtualVmxnet2" => "VmxNet2",
        _ => "VmxNet3",
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

fn unsupported_type(item: &HardwareItem, message: String) -> Fault {
    Fault::new("OvfUnsupportedType", message)
        .with("lineNumber", item.line())
        .with("name", "ResourceType")
        .with("instanceId", item.instance_id())
        .with("deviceType", item.resource_type())
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

/// The newest of the hardware families that a descriptor lists.
fn newest_hardware(families: &str) -> Option<&str> {
    let number = |family: &&str| family.strip_prefix("vmx-").and_then(|n| n.parse::<u32>().ok());
    envelope::list(families).filter(|family| number(family).is_some()).max_by_key(number)
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

/// SCSI controllers by sub-type, in small letters; the first is for items that name none.
const SCSI: [(&str, &str); 7] = [
    ("lsilogic", "VirtualLsiLogicController"),
    ("lsilogicscsi", "VirtualLsiLogicController"),
    ("virtualscsi", "ParaVirtualSCSIController"),
    ("pvscsi", "ParaVirtualSCSIController"),
    ("vmware.virtualscsi", "ParaVirtualSCSIController"),
    ("lsilogicsas", "VirtualLsiLogicSASController"),
    ("buslogic", "VirtualBusLogicController"),
];

/// The same for the controllers of CIM's type 20, "other storage".
const SATA_AND_NVME: [(&str, &str); 4] = [
    ("ahci", "VirtualAHCIController"),
    ("vmware.sata.ahci", "VirtualAHCIController"),
    ("nvme", "VirtualNVMEController"),
    ("vmware.nvme.controller", "VirtualNVMEController"),
];

/// The same for network cards.
const NETWORK_CARDS: [(&str, &str); 7] = [
    ("e1000", "VirtualE1000"),
    ("e1000e", "VirtualE1000e"),
    ("pcnet32", "VirtualPCNet32"),
    ("vmxnet", "VirtualVmxnet"),
    ("vmxnet2", "VirtualVmxnet2"),
    ("vmxnet3", "VirtualVmxnet3"),
    ("sriovethernetcard", "VirtualSriovEthernetCard"),
];

/// Units on the widest controller.
const UNITS_MAX: usize = 64;
