//! A virtual machine: what it is made of, and its properties as the API shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock;
use crate::disk::{Blob, Disk};
use crate::object::Moref;

/// A virtual machine of the inventory.
#[derive(Debug)]
pub(crate) struct Vm {
    /// Its reference.
    pub(crate) moref: Moref,
    /// Its name, as people write it.
    pub(crate) name: String,
    /// The folder it lies in; none in a vApp.
    pub(crate) folder: Option<Moref>,
    /// The pool or vApp it takes its resources from.
    pub(crate) pool: Moref,
    /// Place of its host among the hosts.
    pub(crate) host: usize,
    /// Where its files lie.
    pub(crate) datastore: Moref,
    /// Name of that datastore.
    pub(crate) datastore_name: String,
    /// The configuration it was made from (`VirtualMachineConfigSpec`), devices aside.
    pub(crate) spec: Value,
    /// BIOS UUID.
    pub(crate) uuid: String,
    /// vCenter's own UUID for it.
    pub(crate) instance_uuid: String,
    /// Its devices, with keys.
    pub(crate) devices: Vec<Value>,
    /// Content of its disks, by device key.
    pub(crate) disks: BTreeMap<i64, Arc<Disk>>,
    /// Files beside the disks, by the label that stands in lease keys (`VirtualIDEController1:0`).
    pub(crate) files: BTreeMap<String, VmFile>,
    /// Whether it runs.
    pub(crate) powered_on: bool,
    /// Whether it is a template: in no pool, and never to be started.
    pub(crate) is_template: bool,
    /// Address that its guest reports, once it does.
    pub(crate) guest_ip: Option<String>,
    /// Its snapshots, oldest first, each the child of the one before.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Id of the lease that holds it.
    pub(crate) lease: Option<String>,
    /// Version and date of its configuration.
    pub(crate) changed: Changed,
}

/// Version and date of a configuration: every change has its own, and a lease is none.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    version: u64,
    at: String,
}

impl Changed {
    /// A configuration that is new.
    pub(crate) fn now() -> Self {
        Self { version: 1, at: clock::now() }
    }
}

/// An image or the NVRAM of a machine.
#[derive(Clone, Debug)]
pub(crate) struct VmFile {
    /// Last part of its path.
    pub(crate) name: String,
    /// Its content.
    pub(crate) content: Arc<Blob>,
}

/// A snapshot of a machine.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Its reference.
    pub(crate) moref: Moref,
    /// Its name.
    pub(crate) name: String,
    /// What the user wrote about it.
    pub(crate) description: String,
    created: String,
    powered_on: bool,
    config: Value,
    /// The machine's devices at that time.
    pub(crate) devices: Vec<Value>,
    /// The disks' content at that time; machines here do not write.
    pub(crate) disks: BTreeMap<i64, Arc<Disk>>,
}

impl Vm {
    /// Gives the configuration another version.
    pub(crate) fn touch(&mut self) {
        self.changed = Changed { version: self.changed.version + 1, at: clock::now() };
    }

    /// Takes a snapshot of the machine as it is.
    pub(crate) fn take_snapshot(&mut self, moref: Moref, name: &str, description: &str) {
        self.touch();
        self.snapshots.push(Snapshot {
            moref,
            name: name.to_owned(),
            description: description.to_owned(),
            created: clock::now(),
            powered_on: self.powered_on,
            config: self.config(),
            devices: self.devices.clone(),
            disks: self.disks.clone(),
        });
    }

    /// Takes the fields of a `VirtualMachineConfigSpec` that are in [`CHANGEABLE`].
    pub(crate) fn change(&mut self, spec: &Value) {
        self.touch();
        for name in CHANGEABLE.into_iter().filter(|name| !spec[*name].is_null()) {
            if name != "extraConfig" {
                self.spec[name] = spec[name].clone();
            }
        }
        let mut options = self.spec["extraConfig"].as_array().cloned().unwrap_or_default();
        for option in spec["extraConfig"].as_array().into_iter().flatten() {
            options.retain(|known| known["key"] != option["key"]);
            // "An empty value removes the key."
            let value = option["value"].get("_value").unwrap_or(&option["value"]);
            if !value.is_null() && value != "" {
                options.push(option.clone());
            }
        }
        if !options.is_empty() || !self.spec["extraConfig"].is_null() {
            self.spec["extraConfig"] = Value::Array(options);
        }
    }

    /// Bytes of the machine's disks that are stored.  Walks through all grains.
    fn stored_bytes(&self) -> u64 {
        self.disks.values().map(|disk| disk.populated_bytes()).sum()
    }

    /// Bytes of the machine's disks as it sees them.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.disks.values().map(|disk| disk.capacity_bytes()).sum()
    }

    /// All properties that change with the machine.  `host` is its host's reference.
    pub(crate) fn properties(&self, host: &Moref) -> Value {
        let mut networks: Vec<Value> = Vec::new();
        for device in &self.devices {
            let network = network_of(device).map(|network| network.value());
            if let Some(network) = network.filter(|network| !networks.contains(network)) {
                networks.push(network);
            }
        }
        let stored_bytes = self.stored_bytes();
        let storage = json!({
            "committed": stored_bytes,
            "uncommitted": self.capacity_bytes().saturating_sub(stored_bytes),
            "unshared": stored_bytes,
            "timestamp": clock::now(),
        });
        let leased = self.lease.is_some();
        let mut disabled = vec!["RevertToSnapshot_Task", "UpgradeTools_Task"];
        if self.is_template {
            disabled.extend(["PowerOnVM_Task", "PowerOffVM_Task", "ReconfigVM_Task"]);
        } else if leased {
            disabled.extend(["Destroy_Task", "ExportVm", "PowerOnVM_Task", "Rename_Task"]);
        } else if self.powered_on {
            disabled.extend(["Destroy_Task", "ExportVm", "PowerOnVM_Task"]);
        } else {
            disabled.push("PowerOffVM_Task");
        }
        json!({
            "name": escape_name(&self.name),
            "parent": self.folder.as_ref().map(Moref::value),
            "parentVApp": self.folder.is_none().then(|| self.pool.value()),
            "overallStatus": "green",
            "configStatus": "green",
            "effectiveRole": [-1],
            "alarmActionsEnabled": true,
            "disabledMethod": disabled,
            "capability": capability(),
            "config": self.config(),
            "datastore": [self.datastore.value()],
            "guest": self.guest(),
            "guestHeartbeatStatus": "gray",
            "layoutEx": self.layout(),
            "network": networks,
            "resourceConfig": {
                "entity": self.moref.value(),
                "cpuAllocation": allocation(),
                "memoryAllocation": allocation(),
            },
            "resourcePool": (!self.is_template).then(|| self.pool.value()),
            "rootSnapshot": self.snapshots.iter().take(1).map(|first| first.moref.value()).collect::<Vec<_>>(),
            "runtime": self.runtime(host),
            "snapshot": self.snapshot_info(),
            "storage": {
                "perDatastoreUsage": [{
                    "datastore": self.datastore.value(),
                    "committed": storage["committed"],
                    "uncommitted": storage["uncommitted"],
                    "unshared": storage["unshared"],
                }],
                "timestamp": storage["timestamp"],
            },
            "summary": self.summary(host, &storage),
        })
    }

    /// Properties of one of its snapshots.
    pub(crate) fn snapshot_properties(&self, index: usize) -> Value {
        let Some(snapshot) = self.snapshots.get(index) else { return json!({}) };
        let child = self.snapshots.get(index + 1).map(|child| child.moref.value());
        json!({
            "config": snapshot.config,
            "childSnapshot": child.into_iter().collect::<Vec<_>>(),
            "vm": self.moref.value(),
        })
    }

    fn path(&self, file: &str) -> String {
        format!("[{}] {}/{file}", self.datastore_name, self.name)
    }

    fn guest_id(&self) -> &str {
        self.spec["guestId"].as_str().unwrap_or("otherGuest64")
    }

    fn config(&self) -> Value {
        let spec = &self.spec;
        let cpus = spec["numCPUs"].as_i64().unwrap_or(1);
        json!({
            "changeVersion": format!("{}#{}", self.changed.at, self.changed.version),
            "modified": self.changed.at,
            "name": escape_name(&self.name),
            "guestFullName": guest_full_name(self.guest_id()),
            "version": spec["version"].as_str().unwrap_or("vmx-19"),
            "uuid": self.uuid,
            "instanceUuid": self.instance_uuid,
            "template": self.is_template,
            "guestId": self.guest_id(),
            "alternateGuestName": spec["alternateGuestName"].as_str().unwrap_or_default(),
            "annotation": spec["annotation"].as_str().unwrap_or_default(),
            "files": {
                "vmPathName": self.path(&format!("{}.vmx", self.name)),
                "snapshotDirectory": format!("[{}] {}/", self.datastore_name, self.name),
                "suspendDirectory": format!("[{}] {}/", self.datastore_name, self.name),
                "logDirectory": format!("[{}] {}/", self.datastore_name, self.name),
            },
            "tools": { "toolsVersion": 0, "afterPowerOn": true, "syncTimeWithHost": false },
            "flags": { "enableLogging": true, "useToe": false, "snapshotDisabled": false },
            "defaultPowerOps": { "powerOffType": "soft", "suspendType": "hard", "resetType": "soft" },
            "hardware": {
                "numCPU": cpus,
                "numCoresPerSocket": spec["numCoresPerSocket"].as_i64().unwrap_or(1),
                "memoryMB": spec["memoryMB"].as_i64().unwrap_or(512),
                "virtualICH7MPresent": false,
                "virtualSMCPresent": false,
                "device": self.devices,
            },
            "cpuAllocation": allocation(),
            "memoryAllocation": allocation(),
            "memoryHotAddEnabled": false,
            "cpuHotAddEnabled": false,
            "cpuHotRemoveEnabled": false,
            "extraConfig": spec["extraConfig"],
            "bootOptions": { "bootDelay": 0, "enterBIOSSetup": false },
            "changeTrackingEnabled": false,
            "keyId": spec["crypto"]["cryptoKeyId"],
            "firmware": spec["firmware"].as_str().unwrap_or("bios"),
            "vAppConfig": vapp_config(&spec["vAppConfig"]),
        })
    }

    fn count(&self, is_kind: impl Fn(&str) -> bool) -> usize {
        let kinds = self.devices.iter().filter_map(|device| device["_typeName"].as_str());
        kinds.filter(|kind| is_kind(kind)).count()
    }

    fn runtime(&self, host: &Moref) -> Value {
        json!({
            "host": host.value(),
            "connectionState": "connected",
            "powerState": if self.powered_on { "poweredOn" } else { "poweredOff" },
            "faultToleranceState": "notConfigured",
            "toolsInstallerMounted": false,
            "maxCpuUsage": 2000 * self.spec["numCPUs"].as_i64().unwrap_or(1),
            "maxMemoryUsage": self.spec["memoryMB"],
            "numMksConnections": 0,
            "recordReplayState": "inactive",
            "onlineStandby": false,
            "consolidationNeeded": false,
        })
    }

    fn guest(&self) -> Value {
        if let Some(address) = &self.guest_ip {
            return self.running_guest(address);
        }
        json!({
            "toolsStatus": "toolsNotInstalled",
            "toolsVersionStatus": "guestToolsNotInstalled",
            "toolsVersionStatus2": "guestToolsNotInstalled",
            "toolsRunningStatus": "guestToolsNotRunning",
            "toolsVersion": "0",
            "guestState": if self.powered_on { "running" } else { "notRunning" },
        })
    }

    /// What a guest reports that has an address.
    fn running_guest(&self, address: &str) -> Value {
        let cards = self
            .devices
            .iter()
            .filter(|device| device["_typeName"].as_str().is_some_and(is_network_card));
        let nics: Vec<Value> = cards
            .enumerate()
            .map(|(index, card)| {
                json!({
                    "network": card["backing"]["deviceName"],
                    // Only the first card is configured.
                    "ipAddress": (index == 0).then(|| json!([address])),
                    "macAddress": card["macAddress"],
                    "connected": true,
                    "deviceConfigId": card["key"],
                })
            })
            .collect();
        json!({
            "toolsStatus": "toolsOk",
            "toolsVersionStatus": "guestToolsUnmanaged",
            "toolsVersionStatus2": "guestToolsUnmanaged",
            "toolsRunningStatus": "guestToolsRunning",
            "toolsVersion": "12352",
            "guestId": self.guest_id(),
            "guestFullName": guest_full_name(self.guest_id()),
            "hostName": self.name,
            "ipAddress": address,
            "net": nics,
            "guestState": "running",
        })
    }

    fn summary(&self, host: &Moref, storage: &Value) -> Value {
        let guest = self.guest();
        json!({
            "vm": self.moref.value(),
            "runtime": self.runtime(host),
            "guest": {
                "guestId": self.guest_id(),
                "guestFullName": guest_full_name(self.guest_id()),
                "toolsStatus": guest["toolsStatus"],
                "toolsVersionStatus": guest["toolsVersionStatus"],
                "toolsRunningStatus": guest["toolsRunningStatus"],
                "hostName": guest["hostName"],
                "ipAddress": guest["ipAddress"],
            },
            "config": {
                "name": escape_name(&self.name),
                "template": self.is_template,
                "vmPathName": self.path(&format!("{}.vmx", self.name)),
                "memorySizeMB": self.spec["memoryMB"],
                "cpuReservation": 0,
                "memoryReservation": 0,
                "numCpu": self.spec["numCPUs"],
                "numEthernetCards": self.count(is_network_card),
                "numVirtualDisks": self.disks.len(),
                "uuid": self.uuid,
                "instanceUuid": self.instance_uuid,
                "guestId": self.guest_id(),
                "guestFullName": guest_full_name(self.guest_id()),
                "annotation": self.spec["annotation"].as_str().unwrap_or_default(),
            },
            "storage": storage,
            "quickStats": {
                "overallCpuUsage": 0,
                "guestMemoryUsage": 0,
                "hostMemoryUsage": 0,
                "guestHeartbeatStatus": "gray",
                "uptimeSeconds": 0,
            },
            "overallStatus": "green",
        })
    }

    fn snapshot_info(&self) -> Value {
        let Some(last) = self.snapshots.last() else { return Value::Null };
        let mut tree = Value::Null;
        for (index, snapshot) in self.snapshots.iter().enumerate().rev() {
            let child = tree.take();
            tree = json!({
                "snapshot": snapshot.moref.value(),
                "vm": self.moref.value(),
                "name": snapshot.name,
                "description": snapshot.description,
                "id": index + 1,
                "createTime": snapshot.created,
                "state": if snapshot.powered_on { "poweredOn" } else { "poweredOff" },
                "quiesced": false,
                "childSnapshotList": if child.is_null() { Value::Null } else { json!([child]) },
                "replaySupported": false,
            });
        }
        json!({ "currentSnapshot": last.moref.value(), "rootSnapshotList": [tree] })
    }

    fn layout(&self) -> Value {
        let mut files = vec![json!({
            "key": 0, "name": self.path(&format!("{}.vmx", self.name)), "type": "config", "size": 2048,
        })];
        let mut disks = Vec::new();
        for device in &self.devices {
            let Some(disk) = device["key"].as_i64().and_then(|key| self.disks.get(&key)) else {
                continue;
            };
            let key = files.len();
            files.push(json!({
                "key": key,
                "name": device["backing"]["fileName"],
                "type": "diskExtent",
                "size": disk.populated_bytes(),
            }));
            disks.push(json!({ "key": device["key"], "chain": [{ "fileKey": [key] }] }));
        }
        for file in self.files.values().filter(|file| file.name.ends_with(".nvram")) {
            files.push(json!({
                "key": files.len(),
                "name": self.path(&file.name),
                "type": "nvram",
                "size": file.content.len_bytes().unwrap_or_default(),
            }));
        }
        json!({ "file": files, "disk": disks, "timestamp": clock::now() })
    }
}

/// What `ReconfigVM_Task` can change beside network cards.
pub(crate) const CHANGEABLE: [&str; 6] =
    ["annotation", "extraConfig", "guestId", "memoryMB", "numCPUs", "numCoresPerSocket"];

/// `VmConfigInfo` of a machine that was made with the `VmConfigSpec` `spec`.
pub(crate) fn vapp_config(spec: &Value) -> Value {
    if spec.is_null() {
        return Value::Null;
    }
    let infos = |name: &str| -> Value {
        let all = spec[name].as_array().into_iter().flatten();
        all.map(|change| change["info"].clone()).collect()
    };
    let assignment = &spec["ipAssignment"];
    json!({
        "_typeName": "VmConfigInfo",
        "product": infos("product"),
        "property": infos("property"),
        "ipAssignment": if assignment.is_null() { json!({}) } else { assignment.clone() },
        "eula": spec["eula"],
        "ovfEnvironmentTransport": spec["ovfEnvironmentTransport"],
        "installBootRequired": spec["installBootRequired"].as_bool().unwrap_or(false),
        "installBootStopDelay": spec["installBootStopDelay"].as_i64().unwrap_or(0),
    })
}

/// The label of a device on its controller, such as `VirtualLsiLogicController0:0`.
pub(crate) fn label(devices: &[Value], device: &Value) -> Option<String> {
    let controller = devices.iter().find(|other| other["key"] == device["controllerKey"])?;
    let kind = controller["_typeName"].as_str()?;
    let bus = controller["busNumber"].as_i64().unwrap_or(0);
    Some(format!("{kind}{bus}:{}", device["unitNumber"].as_i64().unwrap_or(0)))
}

/// The network or portgroup that a device is on.  A portgroup's key is its id.
pub(crate) fn network_of(device: &Value) -> Option<Moref> {
    let backing = &device["backing"];
    let portgroup = || {
        Some(Moref::new("DistributedVirtualPortgroup", backing["port"]["portgroupKey"].as_str()?))
    };
    Moref::from_value(&backing["network"]).or_else(portgroup)
}

/// Whether `kind` is a network card.
pub(crate) fn is_network_card(kind: &str) -> bool {
    crate::types::is_a(kind, "VirtualEthernetCard")
}

/// An inventory name with `%`, `/` and `\` escaped, as vCenter stores it.
pub(crate) fn escape_name(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2f").replace('\\', "%5c")
}

/// The name without the escapes.
pub(crate) fn unescape_name(name: &str) -> String {
    let name =
        name.replace("%2f", "/").replace("%2F", "/").replace("%5c", "\\").replace("%5C", "\\");
    name.replace("%25", "%")
}

/// No reservation and no limit.
pub(crate) fn allocation() -> Value {
    json!({
        "reservation": 0,
        "expandableReservation": true,
        "limit": -1,
        "shares": { "shares": 4000, "level": "normal" },
    })
}

fn guest_full_name(id: &str) -> String {
    match id {
        "otherLinux64Guest" => "Other Linux (64-bit)".to_owned(),
        "otherLinuxGuest" => "Other Linux (32-bit)".to_owned(),
        "otherGuest64" => "Other (64-bit)".to_owned(),
        "otherGuest" => "Other (32-bit)".to_owned(),
        other => other.to_owned(),
    }
}

fn capability() -> Value {
    json!({
        "snapshotOperationsSupported": true,
        "multipleSnapshotsSupported": true,
        "poweredOffSnapshotsSupported": true,
        "memorySnapshotsSupported": false,
        "revertToSnapshotSupported": false,
        "quiescedSnapshotsSupported": false,
        "bootOptionsSupported": true,
    })
}
