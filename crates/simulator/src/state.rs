//! What a test may ask the server about itself.

use std::io;
use std::sync::Arc;

use serde_json::Value;

use crate::disk::{Blob, ContentDigest, Disk};
use crate::hardware::{key_of, transferable};
use crate::object::Moref;
use crate::scenario::Direction;
use crate::vm::{Vm, network_of, unescape_name};
use crate::world::{Lease, LeaseState, World};

/// A machine of the inventory, as it was when it was asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VmState {
    /// Its id, such as `vm-62`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Inventory path of the folder it lies in, such as `/DC0/vm/backup`; of a machine in a vApp
    /// that of the vApp.
    pub folder: String,
    /// Name of its host.
    pub host: String,
    /// Whether it runs.
    pub powered_on: bool,
    /// Whether a lease holds it.
    pub is_leased: bool,
    /// Its disks in order.
    pub disks: Vec<DiskState>,
    /// Its files beside the disks: images, NVRAM.
    pub files: Vec<FileState>,
    /// Names of the networks of its cards.
    pub networks: Vec<String>,
    /// Names of its snapshots, oldest first.
    pub snapshots: Vec<String>,
}

/// A disk of a machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiskState {
    /// Its place, such as `VirtualLsiLogicController0:0`.
    pub label: String,
    /// Size that the machine sees.
    pub capacity_bytes: u64,
    content: Arc<Disk>,
}

/// A file of a machine that is no disk.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileState {
    /// Its place, such as `nvram` or `VirtualIDEController1:0`.
    pub label: String,
    /// Its name in the datastore.
    pub name: String,
    content: Arc<Blob>,
}

/// A lease, as it was when it was asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseRecord {
    /// Its id; it has the key of its session in it.
    pub id: String,
    /// Name of the machine or vApp it covers.
    pub machine: String,
    /// Export or import.
    pub direction: Direction,
    /// What the server says about it.
    pub state: LeaseState,
    /// Why it is in error.
    pub fault: Option<FaultRecord>,
    /// The percents that were reported, in order.
    pub percents: Vec<i64>,
    /// Heartbeats that were taken.
    pub heartbeats: usize,
    /// Heartbeats that the scenario refused.
    pub heartbeats_refused: usize,
    /// Bytes that moved under it, repeated and broken transfers included.
    pub moved_bytes: u64,
    /// Id of the task behind it.
    pub task: String,
}

/// A fault.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct FaultRecord {
    /// Its type, such as `Timedout`.
    pub kind: String,
    /// `SystemError.reason` or `FileFault.file`, empty for other types.
    pub reason: String,
    /// Its message for people.
    pub message: String,
}

/// A task, as it was when it was asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskRecord {
    /// Its id, such as `task-71`.
    pub id: String,
    /// What it does, such as `ResourcePool.ImportVAppLRO`.
    pub description_id: String,
    /// `running`, `success` or `error`.
    pub state: String,
    /// Id of the object it works on.
    pub entity: String,
    /// Why it failed.
    pub fault: Option<FaultRecord>,
}

/// A session that is open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionRecord {
    /// `UserSession.key`; not the cookie.
    pub key: String,
    /// Name of the user.
    pub user: String,
}

/// A host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostState {
    /// Its name in the inventory.
    pub name: String,
    /// Address and port of its device URLs.
    pub authority: String,
    /// SHA-1 thumbprint of its certificate.
    pub thumbprint: String,
    /// Connections that are open now.
    pub connections: usize,
    /// Requests for device URLs that carried a cookie or a token of the API: none of a right
    /// client, as they are the API host's only.
    pub sessions_seen: usize,
}

impl DiskState {
    /// Digest of the content.  Reads the whole disk: about 0.6 s for each GB of capacity.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn digest(&self) -> io::Result<ContentDigest> {
        self.content.digest()
    }

    /// Bytes in the grains of 64 KiB that were written.
    #[must_use]
    pub fn populated_bytes(&self) -> u64 {
        self.content.populated_bytes()
    }
}

impl FileState {
    /// SHA-256 of the content, in lower-case hex.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn sha256(&self) -> io::Result<String> {
        self.content.sha256()
    }

    /// Length of the content.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn len_bytes(&self) -> io::Result<u64> {
        self.content.len_bytes()
    }
}

/// All machines, by id.
pub(crate) fn vms(world: &World) -> Vec<VmState> {
    world.vms.values().map(|vm| vm_state(world, vm)).collect()
}

fn vm_state(world: &World, vm: &Vm) -> VmState {
    let mut disks = Vec::new();
    for (device, label) in transferable(&vm.devices) {
        if let Some(disk) = key_of(device).and_then(|key| vm.disks.get(&key)) {
            let capacity_bytes = disk.capacity_bytes();
            disks.push(DiskState { label, capacity_bytes, content: Arc::clone(disk) });
        }
    }
    let files = vm.files.iter().map(|(label, file)| FileState {
        label: label.clone(),
        name: file.name.clone(),
        content: Arc::clone(&file.content),
    });
    let networks = vm.devices.iter().filter_map(network_of);
    VmState {
        id: vm.moref.id.clone(),
        name: vm.name.clone(),
        folder: path(world, vm.folder.as_ref().unwrap_or(&vm.pool)),
        host: world.hosts.get(vm.host).map(|host| host.name.clone()).unwrap_or_default(),
        powered_on: vm.powered_on,
        is_leased: vm.lease.is_some(),
        disks,
        files: files.collect(),
        networks: networks.map(|moref| unescape_name(world.objects.text(&moref, "name"))).collect(),
        snapshots: vm.snapshots.iter().map(|snapshot| snapshot.name.clone()).collect(),
    }
}

fn path(world: &World, entity: &Moref) -> String {
    let mut path = String::new();
    let mut at = entity.clone();
    // The root folder has no name in paths.  A vApp is in a pool and in a folder.
    let above = |at: &Moref| match at.kind.as_str() {
        "VirtualApp" => world.objects.reference(at, "parentFolder"),
        _ => None,
    };
    while let Some(parent) = above(&at).or_else(|| world.objects.reference(&at, "parent")) {
        path = format!("/{}{path}", world.objects.text(&at, "name"));
        at = parent;
    }
    path
}

/// All leases of the last minutes, oldest first.
pub(crate) fn leases(world: &World) -> Vec<LeaseRecord> {
    let record = |lease: &Lease| LeaseRecord {
        id: lease.moref.id.clone(),
        machine: lease.machine.clone(),
        direction: lease.direction,
        state: lease.state,
        fault: lease.fault.as_ref().map(|fault| fault_record(&fault.localized())),
        percents: lease.percents.clone(),
        heartbeats: lease.percents.len(),
        heartbeats_refused: lease.refused,
        moved_bytes: lease.moved_bytes(),
        task: lease.task.id.clone(),
    };
    let mut leases: Vec<LeaseRecord> = world.leases.values().map(record).collect();
    // Tasks are numbered in the order in which they began.
    leases.sort_by_key(|lease| {
        lease.task.rsplit('-').next().and_then(|number| number.parse::<u64>().ok())
    });
    leases
}

/// All tasks, oldest first.
pub(crate) fn tasks(world: &World) -> Vec<TaskRecord> {
    let mut tasks = Vec::new();
    for (moref, object) in world.objects.iter().filter(|(moref, _)| moref.kind == "Task") {
        let info = object.properties.get("info").unwrap_or(&Value::Null);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = info["eventChainId"].as_i64().unwrap_or_default();
        let task = TaskRecord {
            id: moref.id.clone(),
            description_id: text(&info["descriptionId"]),
            state: text(&info["state"]),
            entity: text(&info["entity"]["value"]),
            fault: info.get("error").map(fault_record),
        };
        tasks.push((number, task));
    }
    tasks.sort_by_key(|(number, _)| *number);
    tasks.into_iter().map(|(_, task)| task).collect()
}

/// All open sessions.
pub(crate) fn sessions(world: &World) -> Vec<SessionRecord> {
    let sessions = world.sessions.list().into_iter();
    sessions.map(|one| SessionRecord { key: one.key.clone(), user: one.user.clone() }).collect()
}

fn fault_record(localized: &Value) -> FaultRecord {
    let fault = &localized["fault"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reason = if fault["reason"].is_string() { &fault["reason"] } else { &fault["file"] };
    FaultRecord {
        kind: text(&fault["_typeName"]),
        reason: text(reason),
        message: text(&localized["localizedMessage"]),
    }
}
