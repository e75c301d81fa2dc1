//! From a machine or a vApp to its descriptor.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{existing, faults, has_option, text};
use crate::bus::{BusKind, Family, Place};
use crate::descriptor::{
    self, Allocation, Bus, Card, Child, Collection, Content, DiskFile, Drive, FileEntry,
};
use crate::fault::Fault;
use crate::hardware::{key_of, kind_of, transferable};
use crate::lease::NVRAM;
use crate::object::Moref;
use crate::ovf::inspect::{EXTRA_CONFIG, MAC, NO_DEVICE_SUBTYPES, UUID};
use crate::vm::{network_of, unescape_name};
use crate::world::World;

/// `OvfManager.CreateDescriptor`.
///
/// # Errors
///
/// `ManagedObjectNotFound`, and `InvalidArgument` for an object that is neither machine nor vApp, for
/// a file that it does not have, and for the snapshot of a vApp.
pub(crate) fn create_descriptor(world: &World, arguments: &Value) -> Result<Value, Fault> {
    let moref = existing(world, &arguments["obj"], "obj")?;
    let parameters = &arguments["cdp"];
    let listed: &[Value] = parameters["ovfFiles"].as_array().map_or(&[], Vec::as_slice);
    let mut describe =
        Describe { world, parameters, listed, disks: 0, keys: Vec::new(), warnings: Vec::new() };
    let snapshot = Moref::from_value(&parameters["snapshot"]);
    let name = parameters["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let content = match moref.kind.as_str() {
        "VirtualMachine" => {
            let mut machine = describe.machine(&moref, snapshot.as_ref())?;
            machine.name = name.unwrap_or(machine.name);
            Content::Machine(machine)
        }
        "VirtualApp" if snapshot.is_some() => {
            return Err(Fault::invalid_argument("cdp.snapshot"));
        }
        "VirtualApp" => {
            let mut collection = describe.collection(&moref)?;
            collection.name = name.unwrap_or(collection.name);
            if let Some(description) = parameters["description"].as_str() {
                description.clone_into(&mut collection.annotation);
            }
            Content::Collection(collection)
        }
        _ => return Err(Fault::invalid_argument("obj")),
    };
    if listed.iter().any(|file| !describe.keys.iter().any(|key| file["deviceId"] == key.as_str())) {
        return Err(Fault::invalid_argument("cdp.ovfFiles.deviceId"));
    }
    Ok(json!({
        "_typeName": "OvfCreateDescriptorResult",
        "ovfDescriptor": descriptor::write(&content),
        "warning": faults(&describe.warnings),
        "includeImageFiles": parameters["includeImageFiles"].as_bool().unwrap_or(false),
    }))
}

/// A descriptor in the making.
struct Describe<'a> {
    world: &'a World,
    parameters: &'a Value,
    /// The files that the client has, `OvfFile`; none: all, under names of the server's choice.
    listed: &'a [Value],
    /// Disks that were written before.
    disks: usize,
    /// Keys of all files that there are.
    keys: Vec<String>,
    warnings: Vec<Fault>,
}

impl Describe<'_> {
    fn collection(&mut self, moref: &Moref) -> Result<Collection, Fault> {
        let vapp = self.world.vapp(moref)?;
        let objects = &self.world.objects;
        let inner = objects.references(moref, "vm").into_iter();
        let mut children = Vec::new();
        for child in inner.chain(objects.references(moref, "resourcePool")) {
            let content = match child.kind.as_str() {
                "VirtualMachine" => Content::Machine(self.machine(&child, None)?),
                _ => Content::Collection(self.collection(&child)?),
            };
            let start = vapp.entities.iter().find(|one| one["key"]["value"] == child.id.as_str());
            let start = start.unwrap_or(&Value::Null);
            children.push(Child {
                content,
                order: start["startOrder"].as_i64().unwrap_or(0),
                start_action: text(&start["startAction"]).to_owned(),
                start_delay_s: start["startDelay"].as_i64().unwrap_or(0),
                stop_action: text(&start["stopAction"]).to_owned(),
                stop_delay_s: start["stopDelay"].as_i64().unwrap_or(0),
                waiting_for_guest: start["waitingForGuest"].as_bool().unwrap_or(false),
            });
        }
        let annotation = text(&vapp.spec["annotation"]).to_owned();
        let [cpu, memory] =
            ["cpuAllocation", "memoryAllocation"].map(|part| allocation(&vapp.resources[part]));
        Ok(Collection { name: vapp.name.clone(), annotation, cpu, memory, children })
    }

    fn machine(
        &mut self,
        moref: &Moref,
        snapshot: Option<&Moref>,
    ) -> Result<descriptor::Machine, Fault> {
        let vm = self.world.vm(moref)?;
        let (devices, disks) = match snapshot {
            Some(wanted) => {
                let found = vm.snapshots.iter().find(|snapshot| snapshot.moref == *wanted);
                let found = found.ok_or_else(|| Fault::not_found(wanted))?;
                (&found.devices, &found.disks)
            }
            None => (&vm.devices, &vm.disks),
        };
        let buses = Buses::of(devices);
        let mut files = Vec::new();
        let mut images = BTreeMap::new();
        for (device, label) in transferable(devices) {
            let key = format!("/{}/{label}", moref.id);
            self.keys.push(key.clone());
            let disk = key_of(device).and_then(|key| disks.get(&key));
            let (Some(disk), Some(place)) = (disk, buses.place(device)) else {
                // Images go along only if the caller names their files.
                let file = self.file_of(&key, "").map(|(file, _)| file);
                let file = file.filter(|file| !file.href.is_empty());
                images.extend(key_of(device).zip(file));
                continue;
            };
            let default = format!("disk-{}.vmdk", self.disks);
            match self.file_of(&key, &default) {
                Some((file, populated_bytes)) => {
                    let capacity_bytes = disk.capacity_bytes();
                    files.push(DiskFile { place, file, capacity_bytes, populated_bytes });
                    self.disks += 1;
                }
                None => self.warnings.push(
                    Fault::new(
                        "OvfUnableToExportDisk",
                        format!("Unable to export disk '{label}'."),
                    )
                    .with("diskName", label),
                ),
            }
        }
        let key = format!("/{}/{NVRAM}", moref.id);
        let nvram = vm.files.get(NVRAM).filter(|_| !self.listed.is_empty());
        let nvram = nvram.and_then(|_| self.file_of(&key, "")).map(|(file, _)| file);
        self.keys.push(key);
        let options = &self.parameters["exportOption"];
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
            let network = unescape_name(self.world.objects.text(&network, "name"));
            Some(Card { network, sub_type: card_sub_type(kind_of(device)), mac: mac(device) })
        });
        let drives = devices.iter().filter(|device| kind_of(device) == "VirtualCdrom");
        let drives = drives.filter_map(|device| {
            let image = key_of(device).and_then(|key| images.remove(&key));
            let has_sub_type = !has_option(options, NO_DEVICE_SUBTYPES);
            Some(Drive { place: buses.place(device)?, image, has_sub_type })
        });
        Ok(descriptor::Machine {
            name: vm.name.clone(),
            cpus: u32::try_from(vm.spec["numCPUs"].as_u64().unwrap_or(1)).unwrap_or(1),
            memory_mib: vm.spec["memoryMB"].as_u64().unwrap_or(512),
            guest_id: vm.spec["guestId"].as_str().unwrap_or("otherGuest64").to_owned(),
            uuid: has_option(options, UUID).then(|| vm.uuid.clone()),
            drives: drives.collect(),
            buses: buses.buses,
            disks: files,
            cards: cards.collect(),
            extra_config: if has_option(options, EXTRA_CONFIG) {
                extra.collect()
            } else {
                Vec::new()
            },
            nvram,
        })
    }

    /// What the client calls the file `key`, and how much is on it if it said so.
    fn file_of(&self, key: &str, default: &str) -> Option<(FileEntry, Option<u64>)> {
        if self.listed.is_empty() {
            return Some((FileEntry { href: default.to_owned(), size_bytes: 0 }, None));
        }
        let file = self.listed.iter().find(|file| file["deviceId"] == key)?;
        let size_bytes = file["size"].as_u64().unwrap_or_default();
        let entry = FileEntry { href: text(&file["path"]).to_owned(), size_bytes };
        Some((entry, file["populatedSize"].as_u64()))
    }
}

/// The controllers of a machine that its descriptor tells of.
struct Buses {
    /// Device key of each.
    keys: Vec<i64>,
    buses: Vec<Bus>,
}

impl Buses {
    /// All that hold disks or drives, but of the IDE controllers, which every machine has, only
    /// those in use.
    fn of(devices: &[Value]) -> Self {
        let mut found = Self { keys: Vec::new(), buses: Vec::new() };
        for device in devices {
            let (Some(kind), Some(key)) = (BusKind::of_device(kind_of(device)), key_of(device))
            else {
                continue;
            };
            let mut inside = devices.iter().filter(|inner| inner["controllerKey"] == key);
            let is_used =
                inside.any(|inner| matches!(kind_of(inner), "VirtualCdrom" | "VirtualDisk"));
            if kind.family() != Family::Ide || is_used {
                let number = number(&device["busNumber"]);
                found.keys.push(key);
                found.buses.push(Bus { kind, number });
            }
        }
        found
    }

    /// Where `device` is plugged in.
    fn place(&self, device: &Value) -> Option<Place> {
        let key = device["controllerKey"].as_i64()?;
        let bus = self.keys.iter().position(|known| *known == key)?;
        Some(Place { bus, unit: number(&device["unitNumber"]) })
    }
}

/// What a `ResourceAllocationInfo` says that is not said of every vApp.
fn allocation(info: &Value) -> Allocation {
    let positive = |value: &Value| value.as_u64();
    let shares = &info["shares"];
    Allocation {
        reservation: positive(&info["reservation"]).filter(|kept| *kept > 0),
        // -1 is none.
        limit: positive(&info["limit"]),
        weight: positive(&shares["shares"]).filter(|_| shares["level"] != "normal"),
    }
}

fn number(value: &Value) -> usize {
    value.as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
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
