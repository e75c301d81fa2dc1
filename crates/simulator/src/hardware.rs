//! From a configuration to devices: keys, controllers, disks.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::bus::{BusKind, DISKS_PER_BUS, SCSI_OWN_UNIT, scsi_place};
use crate::disk::Disk;
use crate::fault::Fault;
use crate::object::complete;
use crate::scenario::Machine;
use crate::types::{self, Kind};
use crate::vm::{is_network_card, label};

/// The devices of a machine that is made from the `VirtualMachineConfigSpec` `spec`: those that
/// every machine has and those that the spec adds, with keys as vSphere gives them.
///
/// # Errors
///
/// `InvalidDeviceSpec` for a device that is not there, has no place or is too large.
pub(crate) fn devices(spec: &Value) -> Result<Vec<Value>, Fault> {
    let mut devices = standard();
    let mut keys: BTreeMap<i64, i64> =
        devices.iter().filter_map(key_of).map(|key| (key, key)).collect();
    let changes: Vec<&Value> = spec["deviceChange"].as_array().into_iter().flatten().collect();
    // Controllers first, so that what hangs on them finds them.
    let (controllers, others): (Vec<_>, Vec<_>) = changes
        .iter()
        .enumerate()
        .partition(|(_, change)| types::is_a(kind_of(&change["device"]), "VirtualController"));
    for (index, change) in controllers.into_iter().chain(others) {
        let refuse = || {
            Fault::new("InvalidDeviceSpec", format!("Invalid configuration for device '{index}'."))
                .with("deviceIndex", index)
                .with("property", format!("virtualDeviceSpec.device[{index}]"))
        };
        if change["operation"].as_str().is_some_and(|operation| operation != "add") {
            return Err(refuse());
        }
        let mut device = change["device"].clone();
        let asked = key_of(&device).ok_or_else(refuse)?;
        let kind = kind_of(&device).to_owned();
        if kind == "VirtualDisk" && capacity_bytes(&device) > DISK_BYTES_MAX {
            return Err(refuse());
        }
        if types::is_a(&kind, "VirtualIDEController") {
            // There are always two of them.
            let bus = device["busNumber"]
                .as_i64()
                .filter(|bus| (0..2).contains(bus))
                .ok_or_else(refuse)?;
            keys.insert(asked, 200 + bus);
            continue;
        }
        if let Some(controller) = device["controllerKey"].as_i64() {
            device["controllerKey"] = json!(keys.get(&controller).ok_or_else(refuse)?);
        }
        let key = free_key(&devices, &device).ok_or_else(refuse)?;
        device["key"] = json!(key);
        keys.insert(asked, key);
        if let Some(name) = summary(&kind, &devices) {
            device["deviceInfo"] = json!({ "label": name, "summary": name });
        }
        if types::is_a(&kind, "VirtualController") && device["controllerKey"].is_null() {
            device["controllerKey"] = json!(100);
        }
        if is_network_card(&kind) {
            device["controllerKey"] = json!(100);
            device["addressType"] = json!("assigned");
            device["macAddress"] =
                json!(format!("00:50:56:{:02x}:{:02x}:{:02x}", key % 63, key / 256, key % 256));
        }
        devices.push(device);
    }
    let parents: Vec<(Value, Value)> = devices
        .iter()
        .map(|device| (device["controllerKey"].clone(), device["key"].clone()))
        .collect();
    for device in &mut devices {
        if types::is_a(kind_of(device), "VirtualController") {
            let own = device["key"].clone();
            let inside: Vec<&Value> =
                parents.iter().filter(|(parent, _)| *parent == own).map(|(_, key)| key).collect();
            device["device"] = json!(inside);
        }
    }
    Ok(devices.into_iter().map(|device| complete(device, DEVICE)).collect())
}

/// Empty disks for all disk devices, stored in `folder`, and their file names.
///
/// # Errors
///
/// What the file system says.
pub(crate) fn make_disks(
    devices: &mut [Value],
    folder: &Path,
    datastore: (&Value, &str),
    machine: &str,
) -> io::Result<BTreeMap<i64, Arc<Disk>>> {
    let mut disks = BTreeMap::new();
    for device in devices.iter_mut().filter(|device| kind_of(device) == "VirtualDisk") {
        let Some(key) = key_of(device) else { continue };
        let bytes = capacity_bytes(device);
        let suffix = if disks.is_empty() { String::new() } else { format!("_{}", disks.len()) };
        device["capacityInKB"] = json!(bytes.div_ceil(1024));
        device["capacityInBytes"] = json!(bytes);
        device["backing"]["datastore"] = datastore.0.clone();
        device["backing"]["fileName"] =
            json!(format!("[{}] {machine}/{machine}{suffix}.vmdk", datastore.1));
        disks.insert(key, Arc::new(Disk::stored(folder, bytes)?));
    }
    Ok(disks)
}

/// The configuration of a machine of the scenario.  `networks` has the backing of cards on each
/// network, and its name.
pub(crate) fn spec_of(machine: &Machine, networks: &[(Value, String)]) -> Value {
    let mut changes = Vec::new();
    let mut next_key = -1;
    let mut add = |device: Value| {
        changes.push(json!({ "operation": "add", "device": device }));
    };
    let controller = BusKind::from(machine.controller).type_name();
    for (bus, disks) in machine.disks.chunks(DISKS_PER_BUS).enumerate() {
        let controller_key = next_key;
        add(scsi_controller(controller, controller_key, bus));
        next_key -= 1;
        for (unit, disk) in disks.iter().enumerate() {
            let capacity = disk.capacity.bytes();
            let unit = scsi_place(unit).unit;
            let mut device = disk_device(next_key, controller_key, unit, capacity, true);
            if disk.encrypted {
                device["backing"]["keyId"] = key_id();
            }
            add(device);
            next_key -= 1;
        }
    }
    if machine.tpm {
        let label = json!({ "label": "Virtual TPM", "summary": "Trusted Platform Module" });
        add(json!({ "_typeName": "VirtualTPM", "key": next_key, "deviceInfo": label }));
        next_key -= 1;
    }
    for name in &machine.networks {
        if let Some((backing, _)) = networks.iter().find(|(_, known)| known == name) {
            add(network_card("VirtualVmxnet3", next_key, backing));
            next_key -= 1;
        }
    }
    let key = json!({ "_typeName": "CryptoSpecEncrypt", "cryptoKeyId": key_id() });
    json!({
        "_typeName": "VirtualMachineConfigSpec",
        "crypto": (machine.encrypted || machine.tpm).then_some(key),
        "name": machine.name,
        "guestId": machine.guest_id,
        "numCPUs": machine.cpus,
        "memoryMB": machine.memory_mib,
        "deviceChange": changes,
    })
}

/// The key that everything encrypted is encrypted with (`CryptoKeyId`).
fn key_id() -> Value {
    json!({
        "_typeName": "CryptoKeyId",
        "keyId": "2f1d0a86-6b5c-4c8e-9e0f-54a3c1b7d290",
        "providerId": { "_typeName": "KeyProviderId", "id": "provider-1" },
    })
}

/// A SCSI controller of type `kind`.
pub(crate) fn scsi_controller(kind: &str, key: i64, bus: usize) -> Value {
    json!({
        "_typeName": kind,
        "key": key,
        "busNumber": bus,
        "hotAddRemove": true,
        "sharedBus": "noSharing",
        "scsiCtlrUnitNumber": SCSI_OWN_UNIT,
    })
}

/// A disk of `capacity_bytes`.
pub(crate) fn disk_device(
    key: i64,
    controller_key: i64,
    unit: usize,
    capacity_bytes: u64,
    is_thin: bool,
) -> Value {
    json!({
        "_typeName": "VirtualDisk",
        "key": key,
        "backing": {
            "_typeName": "VirtualDiskFlatVer2BackingInfo",
            "fileName": "",
            "diskMode": "persistent",
            "thinProvisioned": is_thin,
        },
        "controllerKey": controller_key,
        "unitNumber": unit,
        "capacityInKB": capacity_bytes.div_ceil(1024),
        "capacityInBytes": capacity_bytes,
    })
}

/// A network card of type `kind`.
pub(crate) fn network_card(kind: &str, key: i64, backing: &Value) -> Value {
    json!({
        "_typeName": kind,
        "key": key,
        "backing": backing,
        "connectable": { "startConnected": true, "allowGuestControl": true, "connected": true },
        "addressType": "assigned",
        "wakeOnLanEnabled": true,
    })
}

/// Capacity that a disk device asks for; the newer field counts.
fn capacity_bytes(device: &Value) -> u64 {
    let kib = device["capacityInKB"].as_u64().unwrap_or_default();
    device["capacityInBytes"].as_u64().unwrap_or(kib.saturating_mul(1024))
}

/// Type of a device.
pub(crate) fn kind_of(device: &Value) -> &str {
    device["_typeName"].as_str().unwrap_or_default()
}

/// Key of a device.
pub(crate) fn key_of(device: &Value) -> Option<i64> {
    device["key"].as_i64()
}

/// Devices that a client can transfer, with their labels: disks in order, then images to upload.
pub(crate) fn transferable(devices: &[Value]) -> Vec<(&Value, String)> {
    let is_disk = |device: &&Value| kind_of(device) == "VirtualDisk";
    let is_image = |device: &&Value| kind_of(&device["backing"]).ends_with("IsoBackingInfo");
    let disks = devices.iter().filter(is_disk);
    let all = disks.chain(devices.iter().filter(is_image));
    all.filter_map(|device| Some((device, label(devices, device)?))).collect()
}

fn standard() -> Vec<Value> {
    let controller = |kind: &str, key: i64, bus: i64, label: String| {
        json!({
            "_typeName": kind,
            "key": key,
            "deviceInfo": { "label": label, "summary": label },
            "busNumber": bus,
        })
    };
    let device = |kind: &str, key: i64, parent: i64, unit: i64, label: &str| {
        json!({
            "_typeName": kind,
            "key": key,
            "deviceInfo": { "label": label, "summary": label },
            "controllerKey": parent,
            "unitNumber": unit,
        })
    };
    vec![
        controller("VirtualIDEController", 200, 0, "IDE 0".to_owned()),
        controller("VirtualIDEController", 201, 1, "IDE 1".to_owned()),
        controller("VirtualPS2Controller", 300, 0, "PS2 controller 0".to_owned()),
        controller("VirtualPCIController", 100, 0, "PCI controller 0".to_owned()),
        controller("VirtualSIOController", 400, 0, "SIO controller 0".to_owned()),
        device("VirtualKeyboard", 600, 300, 0, "Keyboard"),
        device("VirtualPointingDevice", 700, 300, 1, "Pointing device"),
        device("VirtualMachineVideoCard", 500, 100, 0, "Video card"),
        device("VirtualMachineVMCIDevice", 12000, 100, 17, "VMCI device"),
    ]
}

/// The key that vSphere would give `device`, or the next free one.
fn free_key(devices: &[Value], device: &Value) -> Option<i64> {
    let kind = kind_of(device);
    let bus = device["busNumber"].as_i64().unwrap_or(0);
    let unit = device["unitNumber"].as_i64().unwrap_or(0);
    let wanted = if types::is_a(kind, "VirtualSCSIController") {
        1000 + bus
    } else if types::is_a(kind, "VirtualSATAController") {
        15000 + bus
    } else if types::is_a(kind, "VirtualNVMEController") {
        31000 + bus
    } else if types::is_a(kind, "VirtualUSBXHCIController") {
        14000
    } else if types::is_a(kind, "VirtualUSBController") {
        7000
    } else if is_network_card(kind) {
        4000
    } else if kind == "VirtualFloppy" {
        8000
    } else if kind == "VirtualTPM" {
        11000
    } else if kind == "VirtualDisk" || kind == "VirtualCdrom" {
        match device["controllerKey"].as_i64()? {
            parent @ 200..=201 => 3000 + (parent - 200) * 2 + unit,
            parent @ 1000..=1003 => 2000 + (parent - 1000) * 64 + unit,
            parent @ 15000..=15003 => 16000 + (parent - 15000) * 30 + unit,
            parent @ 31000..=31003 => 32000 + (parent - 31000) * 64 + unit,
            _ => return None,
        }
    } else {
        13000
    };
    let is_taken = |key: i64| devices.iter().any(|other| key_of(other) == Some(key));
    // A unit or a bus that is taken is a mistake; other kinds just count on.
    let fixed =
        matches!(kind, "VirtualDisk" | "VirtualCdrom") || types::is_a(kind, "VirtualController");
    if fixed {
        return (!is_taken(wanted)).then_some(wanted);
    }
    (wanted..wanted + DEVICES_MAX).find(|key| !is_taken(*key))
}

fn summary(kind: &str, devices: &[Value]) -> Option<String> {
    let name = if kind == "VirtualDisk" {
        "Hard disk"
    } else if is_network_card(kind) {
        "Network adapter"
    } else if types::is_a(kind, "VirtualSCSIController") {
        "SCSI controller"
    } else if types::is_a(kind, "VirtualSATAController") {
        "SATA controller"
    } else if types::is_a(kind, "VirtualNVMEController") {
        "NVME controller"
    } else if kind == "VirtualCdrom" {
        "CD/DVD drive"
    } else if kind == "VirtualFloppy" {
        "Floppy drive"
    } else {
        return None;
    };
    let before = devices.iter().filter(|device| {
        device["deviceInfo"]["label"].as_str().is_some_and(|label| label.starts_with(name))
    });
    let first = usize::from(!name.ends_with("controller"));
    Some(format!("{name} {}", before.count() + first))
}

const DEVICE: Kind = Kind { name: "VirtualDevice", array: false, optional: false };

/// Largest virtual disk of vSphere (configuration maximums): 62 TiB.
const DISK_BYTES_MAX: u64 = 62 << 40;

/// More devices of a kind than any machine may have.
const DEVICES_MAX: i64 = 128;
