//! What a plan needs to know about a machine, or about the place for one.

use super::{Entity, EntityKind};
use crate::error::VimError;
use crate::locator::{InventoryPath, unescape};
use crate::session::Session;
use crate::value::{MoRef, Value};

/// What an export needs to know about a machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VmFacts {
    /// The API host, for errors.
    host: String,
    /// The machine.
    pub vm: MoRef,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub power_state: PowerState,
    /// Its disks, in the order of their keys.
    pub disks: Vec<VmDisk>,
    /// Its snapshots, parents before children.
    pub snapshots: Vec<Snapshot>,
    /// Methods that it refuses at present, such as `ExportVm`.
    pub disabled_methods: Vec<String>,
    /// Bytes that its files take on datastores, not shared with other machines; a guess at the
    /// size of an export.
    pub unshared_bytes: Option<u64>,
    /// Whether its configuration files are encrypted (`config.keyId`, since 6.5), as those of every
    /// machine with a virtual TPM are.
    pub is_encrypted: bool,
    /// Whether it has a virtual TPM (`VirtualTPM`, since 6.7).
    pub has_tpm: bool,
}

/// Whether a machine runs (`VirtualMachinePowerState`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PowerState {
    /// Off.
    Off,
    /// On.
    On,
    /// Suspended.
    Suspended,
    /// A state that this crate does not know.
    Unknown(String),
}

impl PowerState {
    /// The state that the API calls so, such as `poweredOn`.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "poweredOff" => Self::Off,
            "poweredOn" => Self::On,
            "suspended" => Self::Suspended,
            unknown => Self::Unknown(unknown.to_owned()),
        }
    }

    /// The word of the API.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Off => "poweredOff",
            Self::On => "poweredOn",
            Self::Suspended => "suspended",
            Self::Unknown(word) => word,
        }
    }
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmDisk {
    /// Key of the device in the machine's hardware.
    pub key: i64,
    /// What people call it: `Hard disk 1`.
    pub label: String,
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Where it is plugged in, `VirtualLsiLogicController0:0`: the end of its device key in a
    /// lease of a real server.
    pub slot: Option<String>,
    /// Whether it is encrypted on its datastore (`backing.keyId`, since 6.5).
    pub is_encrypted: bool,
}

/// A snapshot of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The snapshot.
    pub moref: MoRef,
    /// Its name; several may have the same.
    pub name: String,
    /// The names from the root of the tree, joined by `/`.
    pub path: String,
    /// Whether the machine's present state descends directly from it.
    pub is_current: bool,
}

impl VmFacts {
    /// The snapshot called `wanted`: a name, a path in the tree, or an id (`snapshot-79`).
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] or [`VimError::Ambiguous`] with the snapshots there are.
    pub fn snapshot(&self, wanted: &str) -> Result<&Snapshot, VimError> {
        let by_id = |s: &&Snapshot| s.moref.id() == wanted || s.moref.to_string() == wanted;
        if let Some(snapshot) = self.snapshots.iter().find(by_id) {
            return Ok(snapshot);
        }
        let bare = wanted.trim_start_matches('/');
        let fitting: Vec<&Snapshot> =
            self.snapshots.iter().filter(|s| s.name == wanted || s.path == bare).collect();
        let path = || format!("snapshot {wanted} of {}", self.name);
        let label = |s: &&Snapshot| format!("{} ({})", s.path, s.moref);
        match fitting.as_slice() {
            [one] => Ok(one),
            [] => {
                let names = self.snapshots.iter().map(|s| s.path.as_str());
                let near = super::near::names(wanted, names);
                Err(VimError::NotFound { host: self.host.clone(), path: path(), near })
            }
            several => {
                let candidates = several.iter().map(label).collect();
                Err(VimError::Ambiguous { host: self.host.clone(), path: path(), candidates })
            }
        }
    }

    /// Whether the machine refuses `method` at present.
    #[must_use]
    pub fn refuses(&self, method: &str) -> bool {
        self.disabled_methods.iter().any(|disabled| disabled == method)
    }
}

/// Where an import puts a machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportTarget {
    /// The datacenter.
    pub datacenter: Entity,
    /// The cluster or standalone host.
    pub compute: Entity,
    /// The pool or vApp that takes the machine.
    pub pool: MoRef,
    /// The host, if the path named one.
    pub host: Option<MoRef>,
    /// The datacenter's folder for machines.
    pub vm_folder: MoRef,
}

impl Session {
    /// Reads what an export needs to know about a machine.
    ///
    /// API: `VirtualMachine`, since 2.0.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound`; [`VimError::Protocol`] for a disk without a capacity.
    pub async fn vm_facts(&self, vm: &MoRef) -> Result<VmFacts, VimError> {
        const PATHS: [&str; 7] = [
            "name",
            "runtime.powerState",
            "config.hardware.device",
            "snapshot",
            "disabledMethod",
            "summary.storage",
            "config.keyId",
        ];
        // An older server refuses the read for the name that it does not know.
        let known = PATHS.len() - usize::from(self.needs("config.keyId", "6.5").is_err());
        let read = self.read(vm, &PATHS[..known]).await?;
        // A machine that is not accessible has no configuration.
        let devices = read.value("config.hardware.device");
        let disks = devices.map_or_else(|| Some(Vec::new()), disks).ok_or_else(|| {
            self.connection().protocol("RetrievePropertiesEx", "a disk has no capacity")
        })?;
        let methods = read.value("disabledMethod").into_iter().flat_map(Value::items);
        let storage = read.value("summary.storage");
        Ok(VmFacts {
            host: self.connection().host(),
            vm: vm.clone(),
            name: unescape(&read.text("name").unwrap_or_default()),
            power_state: PowerState::of(&read.text("runtime.powerState").unwrap_or_default()),
            disks,
            snapshots: read.value("snapshot").map(snapshots).unwrap_or_default(),
            disabled_methods: methods.filter_map(|m| Some(m.text()?.into_owned())).collect(),
            unshared_bytes: storage.and_then(|s| s.unsigned_of("unshared")),
            is_encrypted: read.value("config.keyId").is_some(),
            has_tpm: devices
                .into_iter()
                .flat_map(Value::items)
                .any(|device| device.type_name() == Some("VirtualTPM")),
        })
    }

    /// Finds the place that the path of an import means.  Levels that have only one object may be
    /// left out from the right: `/dc/host/cluster`, `/dc` and `/` all name the only cluster of the
    /// only datacenter.
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] or [`VimError::Ambiguous`] with what there is.
    pub async fn import_target(&self, path: &InventoryPath) -> Result<ImportTarget, VimError> {
        const KINDS: [EntityKind; 6] = [
            EntityKind::Compute,
            EntityKind::Datacenter,
            EntityKind::Folder,
            EntityKind::Host,
            EntityKind::ResourcePool,
            EntityKind::VirtualApp,
        ];
        let end = self.find(path, &KINDS).await?;
        let datacenter = self.datacenter_on(path).await?;
        let folders = self.read(datacenter.moref(), &["vmFolder"]).await?;
        let vm_folder = folders.moref("vmFolder").ok_or_else(|| {
            self.connection().protocol("RetrievePropertiesEx", "a datacenter without vmFolder")
        })?;
        let is_pool = matches!(end.kind(), EntityKind::ResourcePool | EntityKind::VirtualApp);
        let is_host = end.kind() == EntityKind::Host;
        let compute = if end.kind() == EntityKind::Compute {
            end.clone()
        } else if is_pool || is_host {
            self.compute_on(path).await?
        } else {
            self.only_compute(&datacenter, &end).await?
        };
        let pool = if is_pool { end.moref().clone() } else { self.root_pool(&compute).await? };
        let host = is_host.then(|| end.moref().clone());
        Ok(ImportTarget { datacenter, compute, pool, host, vm_folder })
    }

    /// The root pool of a cluster or standalone host.
    ///
    /// # Errors
    ///
    /// [`VimError::NotFound`] if it has none, such as a host that is not connected.
    pub async fn root_pool(&self, compute: &Entity) -> Result<MoRef, VimError> {
        let read = self.read(compute.moref(), &["resourcePool"]).await?;
        read.moref("resourcePool")
            .ok_or_else(|| self.nowhere(format!("the resource pool of {}", compute.path())))
    }

    /// The datacenter that `path` goes through; the only one if it ends above.
    async fn datacenter_on(&self, path: &InventoryPath) -> Result<Entity, VimError> {
        let above = self.first_on(path, EntityKind::Datacenter).await?;
        match above {
            Ok(datacenter) => Ok(datacenter),
            Err(folder) => self.only(&folder, EntityKind::Datacenter, "the datacenter").await,
        }
    }

    async fn compute_on(&self, path: &InventoryPath) -> Result<Entity, VimError> {
        let found = self.first_on(path, EntityKind::Compute).await?;
        found.map_err(|_| self.nowhere(format!("the cluster on {path}")))
    }

    async fn only_compute(&self, datacenter: &Entity, end: &Entity) -> Result<Entity, VimError> {
        // A folder below the datacenter limits the choice; a datacenter or what is above does not.
        let inside = end.kind() == EntityKind::Folder
            && end.path().names().len() > datacenter.path().names().len();
        let from = if inside { end } else { datacenter };
        self.only(from, EntityKind::Compute, "the cluster").await
    }

    /// The first object of `kind` on the way down `path`; else where the way ended.
    async fn first_on(
        &self,
        path: &InventoryPath,
        kind: EntityKind,
    ) -> Result<Result<Entity, Entity>, VimError> {
        let root = self.content().root_folder.clone();
        let mut here = Entity { moref: root, path: InventoryPath::default() };
        for name in path.names() {
            let is_known = |entity: &Entity| entity.kind() != EntityKind::Unknown;
            here = self.step(&here, name, &is_known, "a place for machines").await?;
            if here.kind() == kind {
                return Ok(Ok(here));
            }
        }
        Ok(Err(here))
    }

    /// The only object of `kind` below `top`, through folders.
    async fn only(&self, top: &Entity, kind: EntityKind, what: &str) -> Result<Entity, VimError> {
        let mut found = Vec::new();
        let mut open = vec![top.clone()];
        while let Some(here) = open.pop() {
            for child in self.children(&here).await? {
                if child.kind() == kind {
                    found.push(child);
                } else if child.kind() == EntityKind::Folder && is_host_side(top, &child) {
                    open.push(child);
                }
            }
        }
        let path = format!("{what} in {}", top.path());
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(self.nowhere(path)),
            several => {
                let candidates = several.iter().map(|entity| entity.path().to_string()).collect();
                Err(self.ambiguous(path, candidates))
            }
        }
    }
}

/// Of a datacenter's four folders only the one of hosts is worth a look.
fn is_host_side(top: &Entity, folder: &Entity) -> bool {
    let depth = top.path().names().len();
    let side = folder.path().names().get(depth);
    top.kind() != EntityKind::Datacenter || side.is_some_and(|side| side == "host")
}

/// The disks among the devices; `None` if one has no capacity.
fn disks(devices: &Value) -> Option<Vec<VmDisk>> {
    let all: Vec<&Value> = devices.items().collect();
    let mut disks = Vec::new();
    for device in all.iter().filter(|device| device.type_name() == Some("VirtualDisk")) {
        // Capacity in bytes since 5.5.
        let capacity_bytes = device
            .unsigned_of("capacityInBytes")
            .or_else(|| device.unsigned_of("capacityInKB").and_then(|kib| kib.checked_mul(1024)));
        let controller = device
            .int_of("controllerKey")
            .and_then(|key| all.iter().find(|controller| controller.int_of("key") == Some(key)));
        let slot = controller.and_then(|controller| {
            let bus = controller.int_of("busNumber")?;
            let unit = device.int_of("unitNumber")?;
            Some(format!("{}{bus}:{unit}", controller.type_name()?))
        });
        let key = device.int_of("key").unwrap_or_default();
        let label = device.at(&["deviceInfo", "label"]).and_then(Value::text);
        disks.push(VmDisk {
            key,
            label: label.map_or_else(|| format!("disk {key}"), |label| label.into_owned()),
            capacity_bytes: capacity_bytes?,
            slot,
            is_encrypted: device.at(&["backing", "keyId"]).is_some(),
        });
    }
    disks.sort_by_key(|disk| disk.key);
    Some(disks)
}

/// The tree as a list, without recursion: a server decides how deep it is.
fn snapshots(info: &Value) -> Vec<Snapshot> {
    let current = info.moref_of("currentSnapshot");
    let mut open: Vec<(String, &Value)> =
        info.each("rootSnapshotList").map(|tree| (String::new(), tree)).collect();
    open.reverse();
    let mut list = Vec::new();
    while let Some((above, tree)) = open.pop() {
        let name = unescape(&tree.text_of("name").unwrap_or_default());
        let path = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
        let mut children: Vec<_> =
            tree.each("childSnapshotList").map(|child| (path.clone(), child)).collect();
        children.reverse();
        open.extend(children);
        if let Some(moref) = tree.moref_of("snapshot") {
            let is_current = current.as_ref() == Some(&moref);
            list.push(Snapshot { moref, name, path, is_current });
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Object;

    fn tree(name: &str, id: &str, children: Vec<Object>) -> Object {
        Object::untyped()
            .with("snapshot", MoRef::new("VirtualMachineSnapshot", id))
            .with("name", name)
            .with_each("childSnapshotList", children)
    }

    fn facts() -> VmFacts {
        let inner = tree("täglich", "snapshot-3", vec![]);
        let first = tree("vor%2fnach", "snapshot-2", vec![inner]);
        let info = Object::untyped()
            .with("currentSnapshot", MoRef::new("VirtualMachineSnapshot", "snapshot-3"))
            .with_each("rootSnapshotList", [first, tree("täglich", "snapshot-4", vec![])]);
        VmFacts {
            host: "vc".to_owned(),
            vm: MoRef::new("VirtualMachine", "vm-1"),
            name: "Büro".to_owned(),
            power_state: PowerState::Off,
            disks: Vec::new(),
            snapshots: snapshots(&info.into()),
            disabled_methods: vec!["ExportVm".to_owned()],
            unshared_bytes: None,
            is_encrypted: false,
            has_tpm: false,
        }
    }

    #[test]
    fn snapshots_are_found_by_name_path_and_id() {
        let facts = facts();
        let paths: Vec<_> = facts.snapshots.iter().map(|s| s.path.as_str()).collect();
        assert_eq!(paths, ["vor/nach", "vor/nach/täglich", "täglich"]);
        assert_eq!(facts.snapshot("snapshot-4").unwrap().path, "täglich");
        assert_eq!(facts.snapshot("VirtualMachineSnapshot:snapshot-2").unwrap().name, "vor/nach");
        assert!(facts.snapshot("vor/nach/täglich").unwrap().is_current);
        assert!(facts.refuses("ExportVm") && !facts.refuses("PowerOn"));
    }

    #[test]
    fn a_name_that_two_snapshots_have_is_ambiguous() {
        let error = facts().snapshot("täglich").unwrap_err();
        let VimError::Ambiguous { candidates, .. } = error else { panic!("{error}") };
        assert_eq!(candidates.len(), 2);
        let error = facts().snapshot("taeglich").unwrap_err();
        assert!(error.to_string().contains("täglich"), "{error}");
    }

    #[test]
    fn disks_carry_capacity_and_slot() {
        let controller =
            Object::new("ParaVirtualSCSIController").with("key", "1000").with("busNumber", "0");
        let old = Object::new("VirtualDisk")
            .with("key", "2001")
            .with("controllerKey", "1000")
            .with("unitNumber", "1")
            .with("capacityInKB", "1024");
        let new = Object::new("VirtualDisk")
            .with("key", "2000")
            .with("deviceInfo", Object::new("Description").with("label", "Festplatte 1"))
            .with("capacityInKB", "1")
            .with("capacityInBytes", "1536");
        let devices: Value = Object::new("ArrayOfVirtualDevice")
            .with_each("VirtualDevice", [controller, old, new])
            .into();
        let disks = disks(&devices).unwrap();
        assert_eq!((disks[0].label.as_str(), disks[0].capacity_bytes), ("Festplatte 1", 1536));
        assert_eq!(disks[0].slot, None);
        assert_eq!(disks[1].slot.as_deref(), Some("ParaVirtualSCSIController0:1"));
        assert_eq!(disks[1].capacity_bytes, 1 << 20);
    }
}
