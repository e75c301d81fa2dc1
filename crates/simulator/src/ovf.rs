//! `OvfManager`: from a descriptor to an import spec, and from a machine to a descriptor.

mod collection;
mod describe;
mod envelope;
mod inspect;
mod sections;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bus::{BusKind, Family};
use crate::dvs;
use crate::fault::Fault;
use crate::hardware::{self, kind_of};
use crate::inventory;
use crate::lease::{NVRAM, is_pool};
use crate::object::Moref;
pub(crate) use crate::ovf::describe::create_descriptor;
use crate::ovf::envelope::{Disk, Envelope, FileRef, HardwareItem, VirtualSystem};
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
    let result = match Envelope::parse(text(&arguments["ovfDescriptor"])) {
        Ok(envelope) => import.read(&envelope)?,
        Err(error) => {
            import.errors.push(error);
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
    /// Controllers by instance id.
    controllers: BTreeMap<String, Bus>,
    next_key: i64,
    /// Backing of the cards on each network of the package.
    mapping: BTreeMap<String, Value>,
    /// Values of the properties, by their full keys.
    values: BTreeMap<String, String>,
}

/// What a machine is called.
struct Named<'a> {
    name: &'a str,
    /// Its name after those of the vApps around it, `shop/front/web`.
    path: &'a str,
}

/// A controller of the machine.
struct Bus {
    key: i64,
    kind: BusKind,
    number: usize,
    /// Units that something is on.
    taken: Vec<usize>,
    /// Units that items ask for.
    asked: Vec<usize>,
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
        for section in envelope.unsupported() {
            self.refuse(section.clone(), true);
        }
        let config = sections.config(&option, self.parameters, &mut self.errors);
        self.values = sections::values(&config);
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
        let items = chosen(system.items(), option);
        let (cpus, memory_mib) = cpus_and_memory(&items);
        // Controllers before what hangs on them.
        self.buses(&items);
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
        let version = self.version(system);
        json!({
            "_typeName": "VirtualMachineConfigSpec",
            "name": name,
            "version": version,
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

    /// The newest of the hardware versions that the machine can have; nothing for the default.
    fn version<'e>(&mut self, system: &'e VirtualSystem) -> Option<&'e str> {
        let families = system.hardware_family()?;
        let version = newest_hardware(families);
        if version.is_none() && envelope::list(families).any(|one| number(one).is_some()) {
            let what = format!(
                "No supported hardware versions among [{families}]; the newest is vmx-{HARDWARE_MAX}."
            );
            let fault = Fault::new("OvfNoSupportedHardwareFamily", what)
                .with("lineNumber", system.hardware_line());
            self.errors.push(fault.with("version", families));
        } else if version.is_none() {
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

    /// Takes the items that are controllers, and refuses what nobody knows.
    fn buses(&mut self, items: &[&HardwareItem]) {
        let mut buses = Vec::new();
        for item in items {
            buses.extend(self.bus_kind(item).map(|kind| (*item, kind)));
        }
        let mut taken: Vec<(Family, usize)> = Vec::new();
        for (item, kind) in &buses {
            let family = kind.family();
            let of_family = |all: &[(Family, usize)]| {
                let all = all.iter().filter(|(other, _)| *other == family);
                all.map(|(_, number)| *number).collect::<Vec<_>>()
            };
            let asked =
                buses.iter().filter_map(|(item, kind)| Some((kind.family(), item.number()?)));
            let asked: Vec<_> = asked.collect();
            let free = Free { taken: &of_family(&taken), asked: &of_family(&asked) };
            let number = free.choose(item.number(), family.buses());
            // With too many of them there is no machine, as the server says when it is made.
            let number = number.unwrap_or(family.buses());
            taken.push((family, number));
            self.bus(item, items, (*kind, number));
        }
    }

    fn bus(
        &mut self,
        item: &HardwareItem,
        items: &[&HardwareItem],
        (kind, number): (BusKind, usize),
    ) {
        let key = self.next_key();
        let device = match kind.family() {
            Family::Scsi => hardware::scsi_controller(kind.type_name(), key, number),
            Family::Ide | Family::Nvme | Family::Sata => {
                json!({ "_typeName": kind.type_name(), "key": key, "busNumber": number })
            }
        };
        self.add(device, false);
        let inside = items.iter().filter(|inner| inner.parent() == Some(item.instance_id()));
        let asked = inside.filter_map(|inner| inner.unit()).collect();
        let taken = kind.own_unit().into_iter().collect();
        let id = item.instance_id().to_owned();
        self.controllers.insert(id, Bus { key, kind, number, taken, asked });
    }

    /// The kind of the controller that an item is.  Any SCSI will do for one that nobody knows; of
    /// "other storage" nothing is known but its kind.
    fn bus_kind(&mut self, item: &HardwareItem) -> Option<BusKind> {
        let of_type = |name: &str| BusKind::of_item(item.resource_type(), name).map(Some);
        let default = match item.resource_type() {
            5 => return Some(BusKind::Ide),
            6 => Some(BusKind::LsiLogic),
            20 if item.sub_types().is_empty() => Some(BusKind::Ahci),
            20 => None,
            1 | 3 | 4 | 10 | 14..=17 | 23 | 24 => return None,
            21 | 22 => {
                let name = item.element_name().unwrap_or_default();
                let what =
                    format!("The port '{name}' is left out: nothing could be attached to it.");
                self.warnings.push(unsupported_type(item, what));
                return None;
            }
            other => {
                let name = item.element_name().unwrap_or_default();
                let what = format!("Unsupported hardware '{name}': resource type {other}.");
                self.refuse(unsupported_type(item, what), item.is_required());
                return None;
            }
        };
        self.sub_type(item, of_type, default)
    }

    /// The first of the item's sub-types that is known; `default` if it names none.
    fn sub_type<T>(
        &mut self,
        item: &HardwareItem,
        known: impl Fn(&str) -> Option<T>,
        default: T,
    ) -> T {
        let wanted = item.sub_types();
        if let Some(found) = wanted.iter().find_map(|name| known(name)) {
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
        let of_name = |name: &str| {
            NETWORK_CARDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
        };
        let kind = self.sub_type(item, of_name, "VirtualE1000");
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
        let free = Free { taken: &bus.taken, asked: &bus.asked };
        let Some(unit) = free.choose(item.unit(), bus.kind.units()) else {
            let name = item.element_name().unwrap_or_default();
            self.errors.push(
                Fault::new("OvfNoSpaceOnController", format!("No room for '{name}'."))
                    .with("lineNumber", item.line())
                    .with("name", name)
                    .with("parent", item.parent().unwrap_or_default()),
            );
            return None;
        };
        bus.taken.push(unit);
        let label = format!("{}{}:{unit}", bus.kind.type_name(), bus.number);
        Some((bus.key, unit, label))
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

/// The NVRAM is in no item: it is the file that is left over and named so.
fn nvram<'a>(envelope: &'a Envelope, system: &VirtualSystem) -> Option<&'a FileRef> {
    let used = |file: &FileRef| {
        system.items().iter().any(|item| item.file_ids().any(|id| id == file.id()))
            || envelope.disks().iter().any(|disk| disk.file_ref() == Some(file.id()))
    };
    let mut files = envelope.references().iter();
    files.find(|file| file.href().to_ascii_lowercase().ends_with(".nvram") && !used(file))
}

/// The items that exist under the deployment option `option`: of several with one instance id the
/// last one that fits (DSP0243 1.1.0 §9.8).
fn chosen<'a>(items: &'a [HardwareItem], option: &str) -> Vec<&'a HardwareItem> {
    let mut chosen: Vec<&HardwareItem> = Vec::new();
    for item in items {
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

fn unsupported_type(item: &HardwareItem, message: String) -> Fault {
    Fault::new("OvfUnsupportedType", message)
        .with("lineNumber", item.line())
        .with("name", "ResourceType")
        .with("instanceId", item.instance_id())
        .with("deviceType", item.resource_type())
}

/// Numbers of a bus, or of the buses of a family.
struct Free<'a> {
    taken: &'a [usize],
    /// Those that somebody asks for: they are left to whoever does.
    asked: &'a [usize],
}

impl Free<'_> {
    /// The number `wanted` if it is free, or else the lowest that is.
    fn choose(&self, wanted: Option<usize>, limit: usize) -> Option<usize> {
        let is_free = |number: &usize| *number < limit && !self.taken.contains(number);
        let unasked = || (0..limit).find(|one| is_free(one) && !self.asked.contains(one));
        wanted.filter(is_free).or_else(unasked).or_else(|| (0..limit).find(is_free))
    }
}

/// The newest of the hardware families that a descriptor lists, of those that hosts here know.
fn newest_hardware(families: &str) -> Option<&str> {
    let known = envelope::list(families)
        .filter(|one| number(one).is_some_and(|number| number <= HARDWARE_MAX));
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

/// The newest hardware version of 9.0.
const HARDWARE_MAX: u32 = 22;

/// Network cards by sub-type, in small letters.
const NETWORK_CARDS: [(&str, &str); 7] = [
    ("e1000", "VirtualE1000"),
    ("e1000e", "VirtualE1000e"),
    ("pcnet32", "VirtualPCNet32"),
    ("vmxnet", "VirtualVmxnet"),
    ("vmxnet2", "VirtualVmxnet2"),
    ("vmxnet3", "VirtualVmxnet3"),
    ("sriovethernetcard", "VirtualSriovEthernetCard"),
];
