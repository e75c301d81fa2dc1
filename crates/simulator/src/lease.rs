//! Leases: made by imports and exports, renewed, ended, and everything that follows from that.

mod calls;
mod check;
mod vapp;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::fault::Fault;
use crate::hardware::{self, kind_of, transferable};
use crate::inventory::{self, Place};
pub(crate) use crate::lease::calls::{call, check_state};
pub(crate) use crate::lease::vapp::{check_vapp_free, export_vapp};
use crate::nfc::{Access, Device};
use crate::object::Moref;
use crate::scenario::{Direction, HostCondition};
use crate::task;
use crate::types;
use crate::vm::{Changed, Vm, VmFile, unescape_name};
use crate::world::{Certificate, Lease, LeaseState, World};

/// What a lease that is being prepared will cover.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// `ExportVm`, `ExportVApp`, or `ExportSnapshot` of the given one.
    Export {
        /// The machine or machines.
        vms: Vec<Moref>,
        /// The snapshot of the only machine, if that is exported.
        snapshot: Option<Moref>,
    },
    /// `ImportVApp`.
    Import {
        /// `ImportSpec`.
        spec: Value,
        /// Where the machine or vApp will lie, and from what it will take its resources.
        place: Place,
        /// Place of the host among the hosts, if one was asked for.
        host: Option<usize>,
    },
}

/// `ResourcePool.ImportVApp`: checks the call and begins the lease.
///
/// # Errors
///
/// What is wrong with the call.  What is wrong with the machine shows later, in the lease.
pub(crate) fn import(
    world: &mut World,
    caller: (&str, &str),
    pool: &Moref,
    arguments: &Value,
) -> Result<(Moref, Purpose), Fault> {
    let spec = &arguments["spec"];
    let is_vapp = kind_of(spec) == "VirtualAppImportSpec";
    if is_vapp && world.scenario.esxi {
        return Err(Fault::new("NotSupported", "A host without vCenter has no vApps."));
    }
    vapp::check_spec(spec, vapp::NESTING_MAX, &check::name)?;
    let named = if is_vapp { &spec["name"] } else { &spec["configSpec"]["name"] };
    let name = named.as_str().unwrap_or_default().to_owned();
    let folder = Moref::from_value(&arguments["folder"]);
    if pool.kind == "VirtualApp" {
        // A vApp is a folder itself; govmomi's simulator answers so, too.
        if folder.is_some() {
            return Err(Fault::invalid_argument("pool"));
        }
        check_vapp_free(world, pool)?;
    } else {
        check::folder(world, folder.as_ref(), is_vapp)?;
    }
    let host = match Moref::from_value(&arguments["host"]) {
        Some(host) => {
            let place = world.hosts.iter().position(|known| known.moref == host);
            let place = place.ok_or_else(|| Fault::not_found(&host))?;
            let owner = world.objects.reference(pool, "owner");
            if world.hosts.get(place).map(|known| &known.compute) != owner.as_ref() {
                return Err(Fault::invalid_argument("host"));
            }
            Some(place)
        }
        None => None,
    };
    check::hosts(world, pool, host)?;
    let place = Place { parent: pool.clone(), folder };
    let purpose = Purpose::Import { spec: spec.clone(), place, host };
    let lease = begin(world, caller, pool, "ResourcePool.ImportVAppLRO", Direction::Import, &name);
    Ok((lease, purpose))
}

/// `VirtualMachine.ExportVm`: begins the lease.
///
/// # Errors
///
/// `InvalidPowerState` if the machine runs, `TaskInProgress` if something holds it.
pub(crate) fn export_vm(
    world: &mut World,
    caller: (&str, &str),
    moref: &Moref,
) -> Result<(Moref, Purpose), Fault> {
    let vm = world.vm(moref)?;
    if vm.powered_on {
        return Err(powered_on());
    }
    export(world, caller, moref, None)
}

fn powered_on() -> Fault {
    Fault::new(
        "InvalidPowerState",
        "The attempted operation cannot be performed in the current state (Powered on).",
    )
    .with("requestedState", "poweredOff")
    .with("existingState", "poweredOn")
}

/// `VirtualMachineSnapshot.ExportSnapshot`: begins the lease.
///
/// # Errors
///
/// `TaskInProgress` if something holds the machine.
pub(crate) fn export_snapshot(
    world: &mut World,
    caller: (&str, &str),
    snapshot: &Moref,
) -> Result<(Moref, Purpose), Fault> {
    let vm = world.objects.reference(snapshot, "vm").ok_or_else(|| Fault::not_found(snapshot))?;
    export(world, caller, &vm, Some(snapshot.clone()))
}

fn export(
    world: &mut World,
    caller: (&str, &str),
    moref: &Moref,
    snapshot: Option<Moref>,
) -> Result<(Moref, Purpose), Fault> {
    check_free(world, moref)?;
    let vm = world.vm(moref)?;
    let (name, host) = (vm.name.clone(), vm.host);
    let lease = begin(world, caller, moref, "VirtualMachine.ExportVmLRO", Direction::Export, &name);
    if let Some(record) = world.leases.get_mut(&lease.id) {
        record.entity = Some(moref.clone());
        record.vms.push(moref.clone());
        record.hosts.push(host);
    }
    world.vm_mut(moref)?.lease = Some(lease.id.clone());
    world.refresh(&moref.id);
    Ok((lease, Purpose::Export { vms: vec![moref.clone()], snapshot }))
}

/// Whether nothing holds the machine.
///
/// # Errors
///
/// `TaskInProgress` with the task behind the lease that holds it.
pub(crate) fn check_free(world: &World, moref: &Moref) -> Result<(), Fault> {
    let vm = world.vm(moref)?;
    match vm.lease.as_ref().and_then(|id| world.leases.get(id)) {
        _ if !world.scenario.strict.block => Ok(()),
        Some(lease) => Err(Fault::task_in_progress(&lease.task)),
        None => Ok(()),
    }
}

fn begin(
    world: &mut World,
    (key, user): (&str, &str),
    entity: &Moref,
    description_id: &str,
    direction: Direction,
    machine: &str,
) -> Moref {
    let mut moref = World::new_session_moref(key, "HttpNfcLease");
    if world.scenario.quirks.plain_lease_ids {
        moref.id = clock::uuid();
    }
    let ticket = match world.scenario.quirks.bracketed_tickets {
        true => moref.id.clone(),
        false => format!("52{}", clock::uuid().get(2..).unwrap_or_default()),
    };
    let is_pullable = world.scenario.pull_mode && direction == Direction::Import;
    let task = task::start(world, entity, description_id, user);
    let timeout_s = world.scenario.lease_timeout_s;
    let properties = json!({
        "initializeProgress": 0,
        "transferProgress": 0,
        "mode": "pushOrGet",
        "capabilities": { "pullModeSupported": is_pullable, "corsSupported": false },
        "state": LeaseState::Initializing.as_str(),
    });
    world.objects.put(moref.clone(), Some(key.to_owned()), properties);
    let lease = Lease {
        moref: moref.clone(),
        task,
        entity: None,
        vms: Vec::new(),
        vapps: Vec::new(),
        machine: machine.to_owned(),
        direction,
        state: LeaseState::Initializing,
        fault: None,
        hosts: Vec::new(),
        ticket,
        devices: Vec::new(),
        import_keys: Vec::new(),
        moved_bytes: 0,
        timeout: Duration::from_secs(u64::from(timeout_s)),
        renewed: Instant::now(),
        percents: Vec::new(),
        refused: 0,
        pull: None,
        ended: CancellationToken::new(),
    };
    world.leases.insert(moref.id.clone(), lease);
    moref
}

/// Makes a lease ready, or puts it in error.
pub(crate) fn prepare(world: &mut World, id: &str, purpose: Purpose) {
    let Some(lease) = world.leases.get(id).filter(|lease| lease.state == LeaseState::Initializing)
    else {
        return;
    };
    let scripted = world.script.initialize_error(lease.direction, &lease.machine);
    let outcome = match (scripted, purpose) {
        (Some(message), _) => {
            Err(Fault::new("SystemError", message.as_str()).with("reason", message))
        }
        (None, Purpose::Export { vms, snapshot }) => {
            let mut targets = Targets::default();
            let all = vms.iter();
            let all = all.map(|vm| export_devices(world, vm, snapshot.as_ref(), &mut targets));
            all.collect::<Result<Vec<_>, Fault>>().map(|all| all.into_iter().flatten().collect())
        }
        (None, Purpose::Import { spec, place, host }) => {
            let around = ("", &mut Targets::default());
            vapp::import_entity(world, id, &spec, (place, host), around).map(|(entity, files)| {
                if let Some(lease) = world.leases.get_mut(id) {
                    lease.entity = Some(entity);
                }
                files
            })
        }
    };
    match outcome {
        Ok(devices) => ready(world, id, devices),
        Err(fault) => end(world, id, Err(fault)),
    }
}

/// A file of a lease.
struct Prepared {
    device: Device,
    /// The name-based key that an import has.
    import_key: String,
    /// Capacity of a disk, length of another file.
    file_bytes: Option<u64>,
    /// Place of its host among the hosts.
    host: usize,
}

/// The names of files that stand in device URLs: each is given once in a lease.
#[derive(Debug, Default)]
struct Targets {
    disks: usize,
    images: usize,
    files: BTreeSet<String>,
}

impl Targets {
    fn disk(&mut self) -> String {
        self.disks += 1;
        format!("disk-{}.vmdk", self.disks - 1)
    }

    fn image(&mut self) -> String {
        self.images += 1;
        format!("disk-{}.iso", self.images - 1)
    }

    /// `NAME.nvram`, or a name with the machine's id in it if another machine has that one.
    fn nvram(&mut self, name: &str, id: &str) -> String {
        let target = format!("{name}.nvram");
        if self.files.insert(target.clone()) { target } else { format!("{name}-{id}.nvram") }
    }
}

fn ready(world: &mut World, id: &str, prepared: Vec<Prepared>) {
    let Some(lease) = world.leases.get(id) else { return };
    let Some(entity) = lease.entity.clone() else { return };
    // One body can go to several disks of an import only.
    let is_multi = world.scenario.multi_post && lease.direction == Direction::Import;
    let (ticket, scenario) = (lease.ticket.clone(), Arc::clone(&world.scenario));
    let quirks = &scenario.quirks;
    let (mut devices, mut import_keys) = (Vec::new(), Vec::new());
    let mut bases: Vec<Value> = Vec::new();
    let mut capacity_bytes = 0;
    let mut urls = Vec::new();
    for Prepared { device, import_key, file_bytes, host: place } in prepared {
        let Some((base, certificate)) = front_of(world, place, &ticket) else { return };
        let is_disk = device.disk_index().is_some();
        let file = escape(device.target_id(), if quirks.escaped_blanks { "" } else { " " });
        let is_nameless = quirks.images_without_target && device.target_id().ends_with(".iso");
        let target_id = (!is_nameless).then(|| device.target_id());
        let shown_bytes =
            file_bytes.map(|bytes| bytes.saturating_add_signed(quirks.file_size_offset));
        urls.push(json!({
            "key": device.key(),
            "importKey": import_key,
            "url": format!("{base}{file}"),
            "sslThumbprint": certificate.thumbprint,
            "sslCertificate": certificate.pem,
            "disk": is_disk,
            "targetId": target_id,
            "datastoreKey": is_multi.then_some(base.as_str()),
            "fileSize": if is_disk { Value::Null } else { json!(shown_bytes) },
        }));
        if is_disk {
            capacity_bytes += file_bytes.unwrap_or_default();
        }
        let device = Arc::new(device);
        world.tickets.grant(&ticket, place, [Arc::clone(&device)]);
        import_keys.push(import_key);
        devices.push(device);
        let base = json!({
            "datastoreKey": base,
            "hosts": [{ "url": base, "sslThumbprint": certificate.thumbprint }],
        });
        if is_multi && !bases.contains(&base) {
            bases.push(base);
        }
    }
    let Some(lease) = world.leases.get_mut(id) else { return };
    (lease.devices, lease.import_keys) = (devices, import_keys);
    lease.state = LeaseState::Ready;
    lease.renewed = Instant::now();
    let shown = scenario.lease_timeout_shown;
    let timeout_s = i32::try_from(lease.timeout.as_secs()).unwrap_or(i32::MAX);
    let (moref, task) = (lease.moref.clone(), lease.task.clone());
    let mut info = json!({
        "lease": moref.value(),
        "entity": entity.value(),
        "deviceUrl": urls,
        "totalDiskCapacityInKB": capacity_bytes / 1024,
        "leaseTimeout": shown.unwrap_or(timeout_s),
    });
    if is_multi {
        info["hostMap"] = Value::Array(bases);
    }
    world.objects.set(&moref, "initializeProgress", json!(100));
    world.objects.set(&moref, "info", info);
    world.objects.set(&moref, "state", json!(LeaseState::Ready.as_str()));
    task::set_entity(world, &task, &entity);
}

/// What the device URLs on one host begin with, and what they say of its certificate.
fn front_of(world: &World, place: usize, ticket: &str) -> Option<(String, Certificate)> {
    let host = world.hosts.get(place)?;
    let folder = if host.authority.starts_with('*') { "ha-nfc" } else { "nfc" };
    let base = format!("https://{}/{folder}/{}/", host.authority, escape(ticket, ""));
    let certificate = world.certificates.get(place).cloned();
    let certificate = certificate
        .unwrap_or_else(|| Certificate { thumbprint: host.thumbprint.clone(), pem: None });
    Some((base, certificate))
}

fn export_devices(
    world: &World,
    moref: &Moref,
    snapshot: Option<&Moref>,
    targets: &mut Targets,
) -> Result<Vec<Prepared>, Fault> {
    let vm = world.vm(moref)?;
    let frozen = snapshot.and_then(|wanted| vm.snapshots.iter().find(|one| one.moref == *wanted));
    let (devices, disks) = match frozen {
        Some(frozen) => (&frozen.devices, &frozen.disks),
        None => (&vm.devices, &vm.disks),
    };
    let mut prepared = Vec::new();
    for (device, label) in transferable(devices) {
        let key = format!("/{}/{label}", moref.id);
        let disk = hardware::key_of(device).and_then(|key| disks.get(&key));
        if let Some(disk) = disk {
            let index = prepared.len();
            let target = targets.disk();
            let capacity = disk.capacity_bytes();
            let disk = Arc::clone(disk);
            let device = Device::disk(&key, &target, &vm.name, index, disk, Access::Read);
            prepared.push(Prepared {
                device,
                import_key: String::new(),
                file_bytes: Some(capacity),
                host: vm.host,
            });
        } else if let Some(image) = vm.files.get(&label) {
            prepared.push(file_device(&key, &targets.image(), vm, image));
        }
    }
    if let Some(nvram) = vm.files.get(NVRAM) {
        let target = targets.nvram(&vm.name, &moref.id);
        prepared.push(file_device(&format!("/{}/{NVRAM}", moref.id), &target, vm, nvram));
    }
    Ok(prepared)
}

fn file_device(key: &str, target: &str, vm: &Vm, file: &VmFile) -> Prepared {
    let len_bytes = file.content.len_bytes().ok();
    let device = Device::file(key, target, &vm.name, Arc::clone(&file.content), Access::Read);
    Prepared { device, import_key: String::new(), file_bytes: len_bytes, host: vm.host }
}

/// Makes a machine from its configuration, with its place and the path of the vApps around it.
fn import_vm(
    world: &mut World,
    id: &str,
    spec: Value,
    place: (Option<Moref>, Moref, usize),
    (around, targets): (&str, &mut Targets),
) -> Result<(Moref, Vec<Prepared>), Fault> {
    let name = spec["name"].as_str().unwrap_or_default().to_owned();
    let host = place.2;
    check_properties(&spec["vAppConfig"])?;
    let mut vm = make_vm(world, spec, &name, place)?;
    let mut prepared = Vec::new();
    for (device, label) in transferable(&vm.devices) {
        let key = format!("/{}/{label}", vm.moref.id);
        let import_key = format!("{around}/{name}/{label}");
        if let Some(disk) = hardware::key_of(device).and_then(|key| vm.disks.get(&key)) {
            let index = prepared.len();
            let target = targets.disk();
            let file_bytes = Some(disk.capacity_bytes());
            let disk = Arc::clone(disk);
            let device = Device::disk(&key, &target, &name, index, disk, Access::WriteDisk);
            prepared.push(Prepared { device, import_key, file_bytes, host });
        } else {
            let target = targets.image();
            let content = Arc::new(new_file(world)?);
            vm.files.insert(label, VmFile { name: target.clone(), content: Arc::clone(&content) });
            let device = Device::file(&key, &target, &name, content, Access::WriteFile);
            prepared.push(Prepared { device, import_key, file_bytes: None, host });
        }
    }
    let options = vm.spec["extraConfig"].as_array().into_iter().flatten();
    if options.filter_map(|option| option["key"].as_str()).any(|key| key == NVRAM) {
        let target = targets.nvram(&name, &vm.moref.id);
        let content = Arc::new(new_file(world)?);
        vm.files.insert(
            NVRAM.to_owned(),
            VmFile { name: target.clone(), content: Arc::clone(&content) },
        );
        let key = format!("/{}/{NVRAM}", vm.moref.id);
        let device = Device::file(&key, &target, &name, content, Access::WriteFile);
        let import_key = format!("{around}/{name}/{NVRAM}");
        prepared.push(Prepared { device, import_key, file_bytes: None, host });
    }
    vm.lease = Some(id.to_owned());
    let moref = vm.moref.clone();
    inventory::register(world, vm)?;
    if let Some(lease) = world.leases.get_mut(id) {
        lease.vms.push(moref.clone());
        if !lease.hosts.contains(&host) {
            lease.hosts.push(host);
        }
    }
    Ok((moref, prepared))
}

/// A property that users cannot configure keeps its default.
fn check_properties(config: &Value) -> Result<(), Fault> {
    let all = config["property"].as_array().into_iter().flatten();
    for property in all.map(|change| &change["info"]) {
        let text = |name: &str| property[name].as_str().unwrap_or_default();
        if property["userConfigurable"] == false && !text("value").is_empty() {
            let what = format!("The property '{}' is not user configurable.", text("id"));
            let mut fault = Fault::new("NotUserConfigurableProperty", what);
            for field in ["id", "category", "label", "type", "value"] {
                fault = fault.with(field, text(field));
            }
            return Err(fault);
        }
    }
    Ok(())
}

fn new_file(world: &World) -> Result<crate::disk::Blob, Fault> {
    crate::disk::Blob::new(&world.store).map_err(|error| no_file(&error))
}

fn no_file(error: &std::io::Error) -> Fault {
    Fault::new("CannotCreateFile", error.to_string()).with("file", "")
}

/// Makes a machine from its configuration, not yet in the inventory.
///
/// # Errors
///
/// `InvalidDatastore`, `InvalidDeviceSpec`, `CannotCreateFile`.
pub(crate) fn make_vm(
    world: &mut World,
    mut spec: Value,
    name: &str,
    (folder, pool, host): (Option<Moref>, Moref, usize),
) -> Result<Vm, Fault> {
    let path = spec["files"]["vmPathName"].as_str().unwrap_or_default();
    let wanted = path.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or_default();
    let stores = inventory::datastores(&world.objects);
    let datastore = stores.into_iter().find(|store| {
        wanted.is_empty() || unescape_name(world.objects.text(store, "name")) == wanted
    });
    let datastore = datastore.ok_or_else(|| {
        Fault::new("InvalidDatastore", format!("Invalid datastore path '{path}'."))
            .with("name", path)
    })?;
    let datastore_name = unescape_name(world.objects.text(&datastore, "name"));
    let mut devices = hardware::devices(&spec)?;
    check::space(world, &datastore_name, &devices)?;
    let store = world.store.clone();
    let place = (&datastore.value(), datastore_name.as_str());
    let disks = hardware::make_disks(&mut devices, &store, place, name).map_err(|e| no_file(&e))?;
    let moref = world.new_moref("VirtualMachine", "vm");
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("deviceChange");
    }
    Ok(Vm {
        moref,
        name: name.to_owned(),
        folder,
        pool,
        host,
        datastore,
        datastore_name,
        spec,
        uuid: clock::uuid(),
        instance_uuid: clock::uuid(),
        devices,
        disks,
        files: std::collections::BTreeMap::new(),
        powered_on: false,
        is_template: false,
        guest_ip: None,
        snapshots: Vec::new(),
        lease: None,
        changed: Changed::now(),
    })
}

/// Ends a lease, whoever asked for it: `Ok` completes it.  Ending it twice changes nothing.
pub(crate) fn end(world: &mut World, id: &str, outcome: Result<(), Fault>) {
    let Some(lease) = world.leases.get_mut(id).filter(|lease| lease.state.is_held()) else {
        return;
    };
    lease.state = if outcome.is_ok() { LeaseState::Done } else { LeaseState::Error };
    lease.fault = outcome.as_ref().err().cloned();
    lease.ended.cancel();
    // What was uploaded must not take space for as long as the lease stays readable.
    lease.moved_bytes = lease.moved_bytes();
    lease.devices.clear();
    let (moref, task, entity) = (lease.moref.clone(), lease.task.clone(), lease.entity.clone());
    let (vms, vapps) = (std::mem::take(&mut lease.vms), std::mem::take(&mut lease.vapps));
    let (state, direction) = (lease.state, lease.direction);
    let ticket = lease.ticket.clone();
    world.tickets.revoke(&ticket);
    for vm in &vms {
        let is_ours = world.vms.get(&vm.id).is_some_and(|known| known.lease.as_deref() == Some(id));
        let cleans_up = world.scenario.strict.clean_up;
        if is_ours && direction == Direction::Import && outcome.is_err() && cleans_up {
            // Everything that the import made goes with it.
            inventory::unregister(world, vm);
        } else if is_ours && let Ok(known) = world.vm_mut(vm) {
            known.lease = None;
            world.refresh(&vm.id);
        }
    }
    if direction == Direction::Import && outcome.is_err() {
        vapp::undo(world, &vapps, id);
    } else {
        vapp::hold(world, &vapps, None);
    }
    let result = match (&outcome, direction) {
        (Ok(()), Direction::Import) => Ok(entity.map_or(Value::Null, |entity| entity.value())),
        (Ok(()), Direction::Export) => Ok(Value::Null),
        (Err(fault), _) => Err(fault.clone()),
    };
    task::finish(world, &task, &result);
    if world.scenario.lease_vanishes {
        world.objects.remove(&moref);
        return;
    }
    if let Err(fault) = &outcome {
        world.objects.set(&moref, "error", fault.localized());
    }
    world.objects.set(&moref, "info", Value::Null);
    world.objects.set(&moref, "state", json!(state.as_str()));
}

/// Why a lease that was not renewed in time ended.
pub(crate) fn timed_out() -> Fault {
    Fault::new("Timedout", "The lease timed out: it was not renewed in time.")
}

/// The host with the fewest leases of those that the pool is on, where a new machine goes.
fn idlest_host(world: &World, pool: &Moref) -> Option<usize> {
    let held = |host: usize| {
        let leases = world.leases.values();
        leases.filter(|lease| lease.state.is_held() && lease.hosts.contains(&host)).count()
    };
    let owner = world.objects.reference(pool, "owner");
    let hosts = world.hosts.iter().enumerate();
    let hosts = hosts.filter(|(_, host)| {
        Some(&host.compute) == owner.as_ref() && host.condition == HostCondition::Connected
    });
    hosts.map(|(index, _)| index).min_by_key(|host| held(*host))
}

/// Escapes what would end the path of a URL, but the letters of `kept`.
fn escape(name: &str, kept: &str) -> String {
    let mut escaped = String::new();
    for letter in name.chars() {
        let is_plain = letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_' | '~');
        if is_plain || kept.contains(letter) {
            escaped.push(letter);
        } else {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    escaped
}

/// Whether `kind` is a pool that machines can be imported into.
pub(crate) fn is_pool(kind: &str) -> bool {
    types::is_a(kind, "ResourcePool")
}

/// Label of the NVRAM in lease keys, and the option that stands for it in a configuration.
pub(crate) const NVRAM: &str = "nvram";
