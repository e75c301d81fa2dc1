//! The inventory tree: made from a scenario, changed when machines come and go.

mod vapp;

use std::sync::Arc;

use serde_json::{Value, json};

pub(crate) use self::vapp::{Place, add_vapp, adopt, remove_vapp};
use crate::clock;
use crate::dvs::{self, Owner};
use crate::fault::Fault;
use crate::object::{Moref, Objects};
use crate::scenario::{self, DatastoreCluster, HostCondition, PRIVILEGES, Scenario};
use crate::types;
use crate::vm::{self, Vm, allocation, escape_name};
use crate::world::{HostEntry, World};

/// References to the objects that every scenario has.
pub(crate) mod fixed {
    use crate::object::Moref;

    macro_rules! fixed {
        ($($(#[$doc:meta])* $name:ident = $kind:literal $id:literal;)*) => {
            $($(#[$doc])* pub(crate) fn $name() -> Moref { Moref::new($kind, $id) })*
        };
    }
    fixed! {
        /// The object that everything is reached from.
        service_instance = "ServiceInstance" "ServiceInstance";
        /// Logs in and out.
        session_manager = "SessionManager" "SessionManager";
        /// Each session's own first collector.
        property_collector = "PropertyCollector" "propertyCollector";
        /// Makes views.
        view_manager = "ViewManager" "ViewManager";
        /// Finds by path and id.
        search_index = "SearchIndex" "SearchIndex";
        /// Knows the newest tasks.
        task_manager = "TaskManager" "TaskManager";
        /// Reads and writes descriptors.
        ovf_manager = "OvfManager" "OvfManager";
        /// Roles.
        authorization_manager = "AuthorizationManager" "AuthorizationManager";
        /// The top of the inventory.
        root_folder = "Folder" "group-d1";
        /// The only datacenter.
        datacenter = "Datacenter" "datacenter-2";
        /// Folder of the machines.
        vm_folder = "Folder" "group-v3";
        /// Folder of the clusters.
        host_folder = "Folder" "group-h4";
        /// Folder of the datastores.
        datastore_folder = "Folder" "group-s5";
        /// Folder of the networks.
        network_folder = "Folder" "group-n6";
        /// The only cluster.
        cluster = "ClusterComputeResource" "domain-c7";
        /// The cluster's root pool.
        root_pool = "ResourcePool" "resgroup-8";
    }
}

/// Fills `world` with everything of its scenario but the machines.
///
/// `endpoints` has authority and thumbprint of each host.
pub(crate) fn build(world: &mut World, instance_uuid: &str, endpoints: &[(String, String)]) {
    let scenario = Arc::clone(&world.scenario);
    services(&mut world.objects, instance_uuid, &scenario);
    folders(&mut world.objects, &scenario);
    let hosts: Vec<Moref> =
        scenario.hosts.iter().map(|_| world.new_moref("HostSystem", "host")).collect();
    let stores: Vec<Moref> =
        scenario.datastores.iter().map(|_| world.new_moref("Datastore", "datastore")).collect();
    let networks: Vec<Moref> =
        scenario.networks.iter().map(|_| world.new_moref("Network", "network")).collect();
    for (moref, name) in stores.iter().zip(&scenario.datastores) {
        let free = scenario.datastore_free.get(name).map(|size| size.bytes());
        world.objects.put(moref.clone(), None, datastore(moref, name, free, &hosts));
    }
    for (moref, name) in networks.iter().zip(&scenario.networks) {
        world.objects.put(moref.clone(), None, network(moref, name, &hosts));
    }
    let (stores, networks) = (values(&stores), values(&networks));
    let main = compute_resource(&scenario);
    let (inside, beside): (Vec<_>, Vec<_>) =
        hosts.iter().zip(&scenario.hosts).partition(|(_, spec)| !spec.standalone);
    let value = match scenario.hosts.first() {
        Some(host) if scenario.esxi => stand_alone(&host.name, &fixed::root_pool()),
        _ => cluster(inside.len()),
    };
    let inside: Vec<Moref> = inside.into_iter().map(|(host, _)| host.clone()).collect();
    add_compute((&main, &fixed::root_pool()), value, &inside, world);
    let mut places = vec![(main.clone(), fixed::root_pool()); hosts.len()];
    for (host, spec) in beside {
        let own = world.new_moref("ComputeResource", "domain-s");
        let root = world.new_moref("ResourcePool", "resgroup");
        let value = stand_alone(&spec.name, &root);
        add_compute((&own, &root), value, std::slice::from_ref(host), world);
        world.objects.link(&fixed::host_folder(), "childEntity", &own);
        if let Some(at) = hosts.iter().position(|known| known == host) {
            places[at] = (own, root);
        }
    }
    for (compute, _) in &places {
        world.objects.set(compute, "datastore", stores.clone());
        world.objects.set(compute, "network", networks.clone());
    }
    for (index, (moref, spec)) in hosts.iter().zip(&scenario.hosts).enumerate() {
        let endpoint = endpoints.get(index).cloned().unwrap_or_default();
        add_host(world, (moref, spec), endpoint, places[index].clone());
        world.objects.set(moref, "datastore", stores.clone());
        world.objects.set(moref, "network", networks.clone());
    }
    world.objects.set(&fixed::datacenter(), "datastore", stores.clone());
    world.objects.set(&fixed::datacenter(), "network", networks.clone());
    world.objects.set(&fixed::datastore_folder(), "childEntity", stores);
    for cluster in &scenario.datastore_clusters {
        add_datastore_cluster(world, cluster);
    }
    world.objects.set(&fixed::network_folder(), "childEntity", networks);
    for name in &scenario.pools {
        let moref = world.new_moref("ResourcePool", "resgroup");
        world.objects.put(moref.clone(), None, pool(&moref, name, &fixed::root_pool(), &main));
        world.objects.link(&fixed::root_pool(), "resourcePool", &moref);
    }
}

/// Makes a cluster or what a host has in its place, with its root pool.
fn add_compute(
    (compute, root): (&Moref, &Moref),
    mut value: Value,
    hosts: &[Moref],
    world: &mut World,
) {
    value["host"] = values(hosts);
    world.objects.put(compute.clone(), None, value);
    world.objects.put(root.clone(), None, pool(root, "Resources", compute, compute));
}

/// Makes a host that is in `compute` with the root pool `pool`.
fn add_host(
    world: &mut World,
    (moref, spec): (&Moref, &scenario::Host),
    (authority, thumbprint): (String, String),
    (compute, pool): (Moref, Moref),
) {
    let version = world.scenario.api_version.as_str();
    let value = host((&compute, moref), &spec.name, &thumbprint, (version, spec.condition));
    world.objects.put(moref.clone(), None, value);
    let stores = world.objects.value(&compute, "datastore").clone();
    for (kind, id) in HOST_SERVICES {
        let service = Moref::new(kind, format!("{id}-{}", moref.id));
        world.objects.put(service.clone(), None, json!({}));
        if kind == "HostDatastoreSystem" {
            world.objects.set(&service, "datastore", stores.clone());
        }
    }
    let (moref, name, condition) = (moref.clone(), spec.name.clone(), spec.condition);
    world.hosts.push(HostEntry { moref, name, condition, authority, thumbprint, compute, pool });
}

/// Makes a datastore cluster and moves its datastores into it.
fn add_datastore_cluster(world: &mut World, cluster: &DatastoreCluster) {
    let pod = world.new_moref("StoragePod", "group-p");
    let folder = fixed::datastore_folder();
    let inside = cluster.datastores.iter().filter_map(|name| child(&world.objects, &folder, name));
    let inside: Vec<Moref> = inside.collect();
    let count = i64::try_from(inside.len()).unwrap_or_default();
    let mut value = entity(&cluster.name, Some(&folder));
    value["childType"] = json!(["Datastore"]);
    value["childEntity"] = values(&inside);
    value["summary"] = json!({
        "name": cluster.name,
        "capacity": count * DATASTORE_BYTES,
        "freeSpace": count * (DATASTORE_BYTES / 2),
    });
    value["podStorageDrsEntry"] = pod_storage_drs();
    world.objects.put(pod.clone(), None, value);
    for datastore in &inside {
        world.objects.unlink(&folder, "childEntity", datastore);
        world.objects.set(datastore, "parent", pod.value());
    }
    world.objects.link(&folder, "childEntity", &pod);
}

/// `PodStorageDrsEntry` of a cluster whose machines nothing moves by itself: the client says where
/// one goes, as it must here.
fn pod_storage_drs() -> Value {
    json!({
        "storageDrsConfig": {
            "podConfig": {
                "enabled": false,
                "ioLoadBalanceEnabled": false,
                "defaultVmBehavior": "manual",
                // What vSphere sets: minutes.
                "loadBalanceInterval": 480,
                "defaultIntraVmAffinity": true,
            },
        },
    })
}

/// All datastores, those in clusters too.
pub(crate) fn datastores(objects: &Objects) -> Vec<Moref> {
    objects.references(&fixed::datacenter(), "datastore")
}

/// Puts a machine into the inventory.
///
/// # Errors
///
/// `DuplicateName` if the folder has something of that name, and what [`dvs::attach`] says.
pub(crate) fn register(world: &mut World, mut vm: Vm) -> Result<(), Fault> {
    let around = vm.folder.as_ref().unwrap_or(&vm.pool);
    if let Some(other) = child(&world.objects, around, &vm.name) {
        return Err(duplicate_name(&vm.name, &other));
    }
    let moref = vm.moref.clone();
    let (folder, pool, datastore) = (vm.folder.clone(), vm.pool.clone(), vm.datastore.clone());
    let host = world.hosts.get(vm.host).map(|host| host.moref.clone());
    if let Some(host) = host.clone() {
        let (name, powered_on) = (vm.name.clone(), vm.powered_on);
        let owner = Owner { moref: moref.clone(), name, host, powered_on };
        if let Err(fault) = dvs::attach(world, &owner, &mut vm.devices) {
            dvs::release(world, &moref);
            return Err(fault);
        }
    }
    let networks = networks_of(&vm.devices);
    world.vms.insert(moref.id.clone(), vm);
    world.refresh(&moref.id);
    let objects = &mut world.objects;
    if let Some(folder) = &folder {
        objects.link(folder, "childEntity", &moref);
    }
    let parents = [Some(pool.clone()), Some(datastore), host].into_iter().flatten();
    for parent in parents.chain(networks) {
        objects.link(&parent, "vm", &moref);
    }
    world.refresh_vapp(&pool.id);
    Ok(())
}

/// Takes a machine out of the inventory and frees its disks.
pub(crate) fn unregister(world: &mut World, moref: &Moref) {
    let Some(vm) = world.vms.remove(&moref.id) else { return };
    let host = world.hosts.get(vm.host).map(|host| host.moref.clone());
    let networks = networks_of(&vm.devices);
    dvs::release(world, moref);
    if let Some(folder) = &vm.folder {
        world.objects.unlink(folder, "childEntity", moref);
    }
    let pool = vm.pool.id.clone();
    for parent in
        [Some(vm.pool), Some(vm.datastore.clone()), host].into_iter().flatten().chain(networks)
    {
        world.objects.unlink(&parent, "vm", moref);
    }
    for snapshot in &vm.snapshots {
        world.objects.remove(&snapshot.moref);
    }
    world.objects.remove(moref);
    world.count_space(&vm.datastore);
    if let Some(vapp) = world.vapps.get_mut(&pool) {
        vapp.drop_child(moref);
    }
    world.refresh_vapp(&pool);
}

/// Makes a template of a machine, which takes it out of its pool.
pub(crate) fn mark_as_template(world: &mut World, moref: &Moref) -> Result<(), Fault> {
    let vm = world.vm_mut(moref)?;
    vm.is_template = true;
    vm.touch();
    let pool = vm.pool.clone();
    world.objects.unlink(&pool, "vm", moref);
    world.refresh(&moref.id);
    Ok(())
}

/// Makes a machine of a template again, in the pool `pool` and on the host at the place `host`.
pub(crate) fn mark_as_machine(
    world: &mut World,
    moref: &Moref,
    pool: &Moref,
    host: usize,
) -> Result<(), Fault> {
    let vm = world.vm_mut(moref)?;
    vm.is_template = false;
    vm.touch();
    vm.pool = pool.clone();
    let old = std::mem::replace(&mut vm.host, host);
    let at = |place: usize| world.hosts.get(place).map(|host| host.moref.clone());
    if let (Some(old), Some(new)) = (at(old), at(host)) {
        world.objects.unlink(&old, "vm", moref);
        world.objects.link(&new, "vm", moref);
    }
    world.objects.link(pool, "vm", moref);
    world.refresh(&moref.id);
    Ok(())
}

/// The folder at `path` below `from`, made where it is missing.
pub(crate) fn folder(world: &mut World, from: &Moref, path: &str) -> Moref {
    let mut at = from.clone();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = match child(&world.objects, &at, name) {
            Some(found) => found,
            None => add_folder(world, &at, name),
        };
    }
    at
}

/// Makes a folder for machines.
pub(crate) fn add_folder(world: &mut World, parent: &Moref, name: &str) -> Moref {
    let moref = world.new_moref("Folder", "group-v");
    let kinds = world.objects.value(parent, "childType").clone();
    let mut value = entity(name, Some(parent));
    value["childType"] = kinds;
    value["childEntity"] = json!([]);
    world.objects.put(moref.clone(), None, value);
    world.objects.link(parent, "childEntity", &moref);
    moref
}

/// The fault for a name that is taken.
pub(crate) fn duplicate_name(name: &str, object: &Moref) -> Fault {
    Fault::new("DuplicateName", format!("The name '{name}' already exists."))
        .with("name", name)
        .with("object", object.value())
}

/// What is directly below `parent` in the inventory.
pub(crate) fn children(objects: &Objects, parent: &Moref) -> Vec<Moref> {
    let properties: &[&str] = match parent.kind.as_str() {
        "Folder" | "StoragePod" => &["childEntity"],
        "Datacenter" => &["vmFolder", "hostFolder", "datastoreFolder", "networkFolder"],
        "ClusterComputeResource" | "ComputeResource" => &["host", "resourcePool"],
        "ResourcePool" | "VirtualApp" => &["resourcePool", "vm"],
        _ => &[],
    };
    properties.iter().flat_map(|property| objects.references(parent, property)).collect()
}

/// The child of `parent` with this name.
pub(crate) fn child(objects: &Objects, parent: &Moref, name: &str) -> Option<Moref> {
    let escaped = escape_name(&vm::unescape_name(name));
    children(objects, parent).into_iter().find(|child| objects.text(child, "name") == escaped)
}

/// Reference and name of every network.
pub(crate) fn networks(objects: &Objects) -> Vec<(Moref, String)> {
    let all = children(objects, &fixed::network_folder());
    let all = all.into_iter().filter(|moref| types::is_a(&moref.kind, "Network"));
    all.map(|moref| (moref.clone(), objects.text(&moref, "name").to_owned())).collect()
}

/// The networks and portgroups that `devices` are on.
pub(crate) fn networks_of(devices: &[Value]) -> Vec<Moref> {
    devices.iter().filter_map(vm::network_of).collect()
}

fn values(all: &[Moref]) -> Value {
    all.iter().map(Moref::value).collect()
}

/// The properties that every entity has.
fn entity(name: &str, parent: Option<&Moref>) -> Value {
    json!({
        "name": escape_name(name),
        "parent": parent.map(Moref::value),
        "overallStatus": "green",
        "configStatus": "green",
        "effectiveRole": [-1],
        "permission": [],
        "disabledMethod": [],
        "declaredAlarmState": [],
        "alarmActionsEnabled": true,
    })
}

fn about(instance_uuid: &str, api_version: &str) -> Value {
    let short = api_version.strip_suffix(".0").unwrap_or(api_version);
    json!({
        "name": "VMware vCenter Server",
        "fullName": format!("VMware vCenter Server {short} (ovftransfer simulator)"),
        "vendor": "VMware, Inc.",
        "version": short,
        "build": "0",
        "localeVersion": "INTL",
        "localeBuild": "000",
        "osType": "linux-x64",
        "productLineId": "vpx",
        "apiType": "VirtualCenter",
        "apiVersion": api_version,
        "instanceUuid": instance_uuid,
        "licenseProductName": "VMware VirtualCenter Server",
        "licenseProductVersion": "8.0",
    })
}

/// What a host says about itself.
fn product(api_version: &str) -> Value {
    json!({
        "name": "VMware ESXi",
        "fullName": "VMware ESXi 8.0.3 (ovftransfer simulator)",
        "vendor": "VMware, Inc.",
        "version": "8.0.3",
        "build": "0",
        "osType": "vmnix-x86",
        "productLineId": "embeddedEsx",
        "apiType": "HostAgent",
        "apiVersion": api_version,
    })
}

fn services(objects: &mut Objects, instance_uuid: &str, scenario: &Scenario) {
    let content = json!({
        "_typeName": "ServiceContent",
        "rootFolder": fixed::root_folder().value(),
        "propertyCollector": fixed::property_collector().value(),
        "viewManager": fixed::view_manager().value(),
        "about": if scenario.esxi {
            product(scenario.api_version.as_str())
        } else {
            about(instance_uuid, scenario.api_version.as_str())
        },
        "sessionManager": fixed::session_manager().value(),
        "authorizationManager": fixed::authorization_manager().value(),
        "taskManager": fixed::task_manager().value(),
        "searchIndex": fixed::search_index().value(),
        "ovfManager": ovf_manager(scenario).value(),
    });
    objects.put(fixed::service_instance(), None, json!({ "content": content }));
    let locales = json!(["en"]);
    objects.put(
        fixed::session_manager(),
        None,
        json!({ "defaultLocale": "en", "messageLocaleList": locales, "supportedLocaleList": locales }),
    );
    objects.put(fixed::property_collector(), None, json!({}));
    objects.put(fixed::view_manager(), None, json!({}));
    objects.put(fixed::search_index(), None, json!({}));
    objects.put(fixed::task_manager(), None, json!({ "recentTask": [], "maxCollector": 32 }));
    objects.put(
        ovf_manager(scenario),
        None,
        json!({ "ovfImportOption": [], "ovfExportOption": [] }),
    );
    let mut all = vec!["System.Anonymous", "System.Read", "System.View"];
    all.extend(PRIVILEGES);
    let admin = json!({
        "roleId": -1,
        "system": true,
        "name": "Admin",
        "info": { "label": "Administrator", "summary": "Full access rights" },
        "privilege": all,
    });
    objects.put(fixed::authorization_manager(), None, json!({ "roleList": [admin] }));
}

fn folders(objects: &mut Objects, scenario: &Scenario) {
    let root = fixed::root_folder();
    let datacenter = fixed::datacenter();
    let mut value = entity("Datacenters", None);
    value["childType"] = json!(["Folder", "Datacenter"]);
    value["childEntity"] = json!([datacenter.value()]);
    objects.put(root.clone(), None, value);

    let mut value = entity(if scenario.esxi { ESXI_DATACENTER } else { DATACENTER }, Some(&root));
    value["vmFolder"] = fixed::vm_folder().value();
    value["hostFolder"] = fixed::host_folder().value();
    value["datastoreFolder"] = fixed::datastore_folder().value();
    value["networkFolder"] = fixed::network_folder().value();
    value["configuration"] = json!({ "defaultHardwareVersionKey": "vmx-19" });
    objects.put(datacenter.clone(), None, value);

    let four = [
        (fixed::vm_folder(), "vm", json!(["Folder", "VirtualMachine", "VirtualApp"]), json!([])),
        (
            fixed::host_folder(),
            "host",
            json!(["Folder", "ComputeResource"]),
            json!([compute_resource(scenario).value()]),
        ),
        (
            fixed::datastore_folder(),
            "datastore",
            json!(["Folder", "Datastore", "StoragePod"]),
            json!([]),
        ),
        (
            fixed::network_folder(),
            "network",
            json!(["Folder", "Network", "DistributedVirtualSwitch"]),
            json!([]),
        ),
    ];
    for (moref, name, kinds, inside) in four {
        let mut value = entity(name, Some(&datacenter));
        value["childType"] = kinds;
        value["childEntity"] = inside;
        objects.put(moref, None, value);
    }
}

/// The cluster, or what a host without vCenter has in its place.
fn compute_resource(scenario: &Scenario) -> Moref {
    if scenario.esxi { Moref::new("ComputeResource", "ha-compute-res") } else { fixed::cluster() }
}

/// The reader and writer of descriptors.
pub(crate) fn ovf_manager(scenario: &Scenario) -> Moref {
    if scenario.esxi { Moref::new("OvfManager", "ha-ovf-manager") } else { fixed::ovf_manager() }
}

/// The compute resource of a host that is in no cluster.
fn stand_alone(host: &str, root: &Moref) -> Value {
    let mut value = entity(host, Some(&fixed::host_folder()));
    value["resourcePool"] = root.value();
    value["summary"] = compute_summary("ComputeResourceSummary", 1);
    value["configurationEx"] = json!({ "vmSwapPlacement": "vmDirectory" });
    value
}

fn compute_summary(kind: &str, hosts: usize) -> Value {
    let count = i64::try_from(hosts).unwrap_or_default();
    json!({
        "_typeName": kind,
        "totalCpu": count * i64::from(HOST_CORES) * HOST_MHZ,
        "totalMemory": count * HOST_MEMORY_BYTES,
        "numCpuCores": count * i64::from(HOST_CORES),
        "numCpuThreads": count * i64::from(HOST_CORES),
        "effectiveCpu": count * i64::from(HOST_CORES) * HOST_MHZ,
        "effectiveMemory": count * (HOST_MEMORY_BYTES >> 20),
        "numHosts": hosts,
        "numEffectiveHosts": hosts,
        "overallStatus": "green",
    })
}

fn cluster(hosts: usize) -> Value {
    let mut value = entity(CLUSTER, Some(&fixed::host_folder()));
    value["resourcePool"] = fixed::root_pool().value();
    let mut summary = compute_summary("ClusterComputeResourceSummary", hosts);
    summary["currentFailoverLevel"] = json!(0);
    summary["numVmotions"] = json!(0);
    value["summary"] = summary;
    let drs = json!({ "enabled": true, "defaultVmBehavior": "fullyAutomated", "vmotionRate": 3 });
    let das = json!({ "enabled": false });
    value["configuration"] = json!({ "dasConfig": das, "drsConfig": drs });
    value["configurationEx"] = json!({
        "_typeName": "ClusterConfigInfoEx",
        "vmSwapPlacement": "vmDirectory",
        "dasConfig": das,
        "drsConfig": drs,
    });
    value
}

fn host(
    (compute, moref): (&Moref, &Moref),
    name: &str,
    thumbprint: &str,
    (api_version, condition): (&str, HostCondition),
) -> Value {
    let mut value = entity(name, Some(compute));
    let product = product(api_version);
    let runtime = json!({
        "connectionState": condition.connection(),
        "powerState": "poweredOn",
        "standbyMode": "none",
        "inMaintenanceMode": condition == HostCondition::Maintenance,
        "bootTime": clock::now(),
    });
    value["summary"] = json!({
        "host": moref.value(),
        "hardware": {
            "vendor": "ovftransfer",
            "model": "simulator",
            "uuid": clock::uuid(),
            "memorySize": HOST_MEMORY_BYTES,
            "cpuModel": "simulated",
            "cpuMhz": HOST_MHZ,
            "numCpuPkgs": 1,
            "numCpuCores": HOST_CORES,
            "numCpuThreads": HOST_CORES,
            "numNics": 1,
            "numHBAs": 1,
        },
        "runtime": runtime,
        "config": {
            "name": name,
            "port": 443,
            "sslThumbprint": thumbprint,
            "product": product,
            "vmotionEnabled": true,
            "faultToleranceEnabled": false,
        },
        "quickStats": { "overallCpuUsage": 100, "overallMemoryUsage": 1024, "uptime": 1000 },
        "overallStatus": "green",
        "rebootRequired": false,
    });
    value["runtime"] = runtime;
    let service = |kind: &str, id: &str| Moref::new(kind, format!("{id}-{}", moref.id)).value();
    let [network, datastore, services] = HOST_SERVICES;
    value["configManager"] = json!({
        "datastoreSystem": service(datastore.0, datastore.1),
        "networkSystem": service(network.0, network.1),
        "serviceSystem": service(services.0, services.1),
    });
    value["vm"] = json!([]);
    value
}

fn datastore(moref: &Moref, name: &str, free_bytes: Option<u64>, hosts: &[Moref]) -> Value {
    let free_bytes = free_bytes.and_then(|bytes| i64::try_from(bytes).ok());
    let free_bytes = free_bytes.unwrap_or(DATASTORE_BYTES / 2);
    let mut value = entity(name, Some(&fixed::datastore_folder()));
    let url = format!("ds:///vmfs/volumes/{}/", moref.id);
    value["summary"] = json!({
        "datastore": moref.value(),
        "name": name,
        "url": url,
        "capacity": DATASTORE_BYTES,
        "freeSpace": free_bytes,
        "uncommitted": 0,
        "accessible": true,
        "multipleHostAccess": hosts.len() > 1,
        "type": "VMFS",
        "maintenanceMode": "normal",
    });
    value["info"] = json!({
        "_typeName": "VmfsDatastoreInfo",
        "name": name,
        "url": url,
        "freeSpace": free_bytes,
        "maxFileSize": 62_i64 << 40,
        "maxMemoryFileSize": 62_i64 << 40,
        "timestamp": clock::now(),
        "maxPhysicalRDMFileSize": 62_i64 << 40,
        "maxVirtualRDMFileSize": 62_i64 << 40,
    });
    value["capability"] = json!({
        "directoryHierarchySupported": true,
        "rawDiskMappingsSupported": true,
        "perFileThinProvisioningSupported": true,
        "storageIORMSupported": false,
        "nativeSnapshotSupported": false,
    });
    let mount = |host: &Moref| {
        json!({
            "key": host.value(),
            "mountInfo": {
                "path": format!("/vmfs/volumes/{}", moref.id),
                "accessMode": "readWrite",
                "mounted": true,
                "accessible": true,
            },
        })
    };
    value["host"] = hosts.iter().map(mount).collect();
    value["vm"] = json!([]);
    value
}

fn network(moref: &Moref, name: &str, hosts: &[Moref]) -> Value {
    let mut value = entity(name, Some(&fixed::network_folder()));
    value["summary"] =
        json!({ "network": moref.value(), "name": name, "accessible": true, "ipPoolName": "" });
    value["host"] = values(hosts);
    value["vm"] = json!([]);
    value
}

fn pool(moref: &Moref, name: &str, parent: &Moref, owner: &Moref) -> Value {
    let mut value = entity(name, Some(parent));
    let usage = |max: i64| {
        json!({
            "reservationUsed": 0,
            "reservationUsedForVm": 0,
            "unreservedForPool": max,
            "unreservedForVm": max,
            "overallUsage": 0,
            "maxUsage": max,
        })
    };
    let config = json!({
        "entity": moref.value(),
        "cpuAllocation": allocation(),
        "memoryAllocation": allocation(),
    });
    let runtime = json!({
        "memory": usage(HOST_MEMORY_BYTES),
        "cpu": usage(i64::from(HOST_CORES) * HOST_MHZ),
        "overallStatus": "green",
    });
    value["config"] = config.clone();
    value["runtime"] = runtime.clone();
    value["summary"] = json!({ "name": name, "config": config, "runtime": runtime });
    value["owner"] = owner.value();
    value["resourcePool"] = json!([]);
    value["vm"] = json!([]);
    value
}

/// Name of the only datacenter.
pub(crate) const DATACENTER: &str = "DC0";

/// Name of the datacenter of a host without vCenter.
const ESXI_DATACENTER: &str = "ha-datacenter";

/// Name of the only cluster.
pub(crate) const CLUSTER: &str = "Cluster0";

/// Services of each host and how their ids begin.
const HOST_SERVICES: [(&str, &str); 3] = [
    ("HostNetworkSystem", "networkSystem"),
    ("HostDatastoreSystem", "datastoreSystem"),
    ("HostServiceSystem", "serviceSystem"),
];

/// Cores of each host; enough that nothing is ever refused for want of them.
const HOST_CORES: u16 = 64;

/// Clock rate of a core in MHz.
const HOST_MHZ: i64 = 2400;

/// Memory of each host: 1 TiB.
const HOST_MEMORY_BYTES: i64 = 1 << 40;

/// Size of each datastore: 1 PiB.  Only what is uploaded takes space here.
const DATASTORE_BYTES: i64 = 1 << 50;
