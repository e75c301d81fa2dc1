//! Distributed switches in the inventory, and the calls on them, on hosts' networks and on cards.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock;
use crate::dvs::{self, Owner};
use crate::fault::Fault;
use crate::inventory::{self, fixed};
use crate::object::Moref;
use crate::port::{Connectee, Failover, Port, Portgroup, Switch};
use crate::scenario::{ApiVersion, PortgroupKind, SwitchSpec};
use crate::vm::{CHANGEABLE, escape_name, is_network_card};
use crate::world::World;

/// Adds the switches of the scenario.
pub(crate) fn build(world: &mut World) {
    let scenario = std::sync::Arc::clone(&world.scenario);
    for spec in &scenario.switches {
        add_switch(world, spec);
    }
    show_hosts(world);
    if scenario.esxi {
        return;
    }
    world.objects.put(manager(), None, json!({}));
    let mut content = world.objects.value(&fixed::service_instance(), "content").clone();
    content["dvSwitchManager"] = manager().value();
    world.objects.set(&fixed::service_instance(), "content", content);
    dvs::publish(world);
}

fn manager() -> Moref {
    Moref::new("DistributedVirtualSwitchManager", "DVSManager")
}

fn add_switch(world: &mut World, spec: &SwitchSpec) {
    let moref = world.new_moref("VmwareDistributedVirtualSwitch", "dvs");
    let mut switch = Switch::new(moref.clone(), spec);
    let hosts: Vec<Moref> = world.hosts.iter().map(|host| host.moref.clone()).collect();
    for group in &spec.portgroups {
        let group_moref = world.new_moref("DistributedVirtualPortgroup", "dvportgroup");
        if group.kind == PortgroupKind::EarlyBinding {
            for _ in 0..group.ports {
                switch.add_port(&group_moref.id);
            }
        }
        for host in hosts.iter().filter(|_| group.vmkernel) {
            let kept = switch.add_port(&group_moref.id);
            let key =
                if group.host_local { switch.add_host_port(&group_moref.id) } else { kept.clone() };
            occupy(&mut switch, &key, host, "vmk0", "hostVmkVnic");
            if let Some(port) = switch.port_mut(&key).filter(|_| group.host_local) {
                (port.quirk.host_local, port.quirk.conflict) = (true, true);
                port.conflict_key = Some(kept);
            }
        }
        for host in hosts.iter().filter(|_| group.console) {
            let key = switch.add_port(&group_moref.id);
            occupy(&mut switch, &key, host, "vswif0", "hostConsoleVnic");
        }
        switch.portgroups.push(Portgroup {
            moref: group_moref,
            name: group.name.clone(),
            kind: group.kind,
            auto_expand: group.auto_expand,
            is_uplink: false,
            vlan: group.vlan,
        });
    }
    let uplinks = world.new_moref("DistributedVirtualPortgroup", "dvportgroup");
    for host in &hosts {
        for index in 0..spec.uplinks.len() {
            let key = switch.add_port(&uplinks.id);
            occupy(&mut switch, &key, host, &format!("vmnic{index}"), "pnic");
        }
        let standby = spec.offload.as_ref().map_or(&[][..], |offload| &offload.standby);
        let active = spec.uplinks.iter().filter(|name| !standby.contains(name)).cloned();
        switch.active_uplinks.push((host.clone(), active.collect()));
    }
    switch.portgroups.push(Portgroup {
        moref: uplinks,
        name: format!("{}-DVUplinks", spec.name),
        kind: PortgroupKind::EarlyBinding,
        auto_expand: false,
        is_uplink: true,
        vlan: 0,
    });
    let folder = inventory::folder(world, &fixed::network_folder(), &spec.folder);
    for group in &switch.portgroups {
        let mut value = portgroup_value(&switch, group, &hosts);
        value["parent"] = folder.value();
        world.objects.put(group.moref.clone(), None, value);
        world.objects.link(&folder, "childEntity", &group.moref);
        world.objects.link(&fixed::datacenter(), "network", &group.moref);
        let computes: Vec<Moref> = world.hosts.iter().map(|host| host.compute.clone()).collect();
        for parent in hosts.iter().chain(&computes) {
            world.objects.link(parent, "network", &group.moref);
        }
    }
    let mut value = switch_value(&switch, &hosts);
    value["parent"] = folder.value();
    world.objects.put(moref.clone(), None, value);
    world.objects.link(&folder, "childEntity", &moref);
    world.switches.push(switch);
}

/// Puts something of a host on a port.
fn occupy(switch: &mut Switch, key: &str, host: &Moref, nic: &str, kind: &'static str) {
    let cookie = switch.new_cookie();
    if let Some(port) = switch.port_mut(key) {
        port.connectee =
            Some(Connectee { entity: host.clone(), nic: nic.to_owned(), kind, host: host.clone() });
        port.cookie = Some(cookie);
        port.is_running = true;
    }
}

fn entity(name: &str) -> Value {
    json!({
        "name": escape_name(name),
        "parent": Value::Null,
        "overallStatus": "green",
        "configStatus": "green",
        "effectiveRole": [-1],
        "permission": [],
        "disabledMethod": [],
        "declaredAlarmState": [],
        "alarmActionsEnabled": true,
    })
}

fn portgroup_value(switch: &Switch, group: &Portgroup, hosts: &[Moref]) -> Value {
    let mut value = entity(&group.name);
    value["key"] = json!(group.moref.id);
    value["summary"] = json!({ "network": group.moref.value(), "name": group.name, "accessible": true, "ipPoolName": "" });
    value["config"] = json!({
        "key": group.moref.id,
        "name": group.name,
        "numPorts": 0,
        "distributedVirtualSwitch": switch.moref.value(),
        "defaultPortConfig": switch.port_setting(group.vlan, false, false),
        "type": match group.kind {
            PortgroupKind::EarlyBinding => "earlyBinding",
            PortgroupKind::Ephemeral => "ephemeral",
        },
        "backingType": "standard",
        "policy": {
            "_typeName": "VMwareDVSPortgroupPolicy",
            "blockOverrideAllowed": true,
            "shapingOverrideAllowed": false,
            "vendorConfigOverrideAllowed": false,
            "livePortMovingAllowed": false,
            "portConfigResetAtDisconnect": true,
            "vlanOverrideAllowed": false,
            "uplinkTeamingOverrideAllowed": false,
            "securityPolicyOverrideAllowed": false,
        },
        "configVersion": "1",
        "autoExpand": group.auto_expand,
        "uplink": group.is_uplink,
    });
    value["portKeys"] = Value::Null;
    value["host"] = hosts.iter().map(Moref::value).collect();
    value["vm"] = json!([]);
    value
}

fn switch_value(switch: &Switch, hosts: &[Moref]) -> Value {
    let spec = &switch.spec;
    let product = json!({ "name": "DVS", "vendor": "VMware, Inc.", "version": "8.0.3", "forwardingClass": "etherswitch" });
    let host_list: Value = hosts.iter().map(Moref::value).collect();
    let uplink_group = switch.portgroups.iter().find(|group| group.is_uplink);
    let policy = spec.offload.as_ref().filter(|offload| !offload.standby.is_empty()).map(|offload| {
        let active: Vec<&String> =
            spec.uplinks.iter().filter(|name| !offload.standby.contains(name)).collect();
        json!({ "dpuFailoverPolicy": { "activeUplink": active, "standbyUplink": offload.standby } })
    });
    let member = |host: &Moref| {
        json!({
            "config": {
                "host": host.value(),
                "maxProxySwitchPorts": 1024,
                "backing": pnic_backing(switch, host),
                "networkOffloadingEnabled": spec.offload.is_some(),
            },
            "status": "up",
        })
    };
    let mut value = entity(&spec.name);
    value["uuid"] = json!(switch.uuid);
    value["capability"] = json!({ "dvsOperationSupported": true, "dvPortGroupOperationSupported": true, "dvPortOperationSupported": true });
    value["summary"] = json!({
        "name": spec.name,
        "uuid": switch.uuid,
        "numPorts": switch.ports.len(),
        "productInfo": product,
        "hostMember": host_list,
        "portgroupName": switch.portgroups.iter().map(|group| &group.name).collect::<Vec<_>>(),
        "numHosts": hosts.len(),
    });
    value["portgroup"] = switch.portgroups.iter().map(|group| group.moref.value()).collect();
    value["config"] = json!({
        "_typeName": "VMwareDVSConfigInfo",
        "uuid": switch.uuid,
        "name": spec.name,
        "numStandalonePorts": 0,
        "numPorts": switch.ports.len(),
        "maxPorts": i32::MAX,
        "uplinkPortPolicy": {
            "_typeName": "DVSNameArrayUplinkPortPolicy",
            "uplinkPortName": spec.uplinks,
        },
        "uplinkPortgroup": uplink_group.map(|group| json!([group.moref.value()])),
        "defaultPortConfig": switch.port_setting(0, false, false),
        "host": hosts.iter().map(member).collect::<Vec<_>>(),
        "productInfo": product,
        "configVersion": "1",
        "contact": {},
        "createTime": clock::now(),
        "networkResourceManagementEnabled": false,
        "maxMtu": spec.mtu,
        "networkOffloadSpecId": spec.offload.as_ref().map_or("None", |_| OFFLOAD_SPEC),
        "networkOffloadConfig": policy,
    });
    value
}

/// Which physical card of the host is on which uplink.
fn pnic_backing(switch: &Switch, host: &Moref) -> Value {
    let ports = switch.ports.iter().filter(|port| is_uplink_of(port, host));
    let pnics = ports.map(|port| {
        json!({
            "pnicDevice": port.connectee.as_ref().map(|connectee| &connectee.nic),
            "uplinkPortKey": port.key,
            "uplinkPortgroupKey": port.portgroup,
            "connectionCookie": port.cookie,
        })
    });
    json!({
        "_typeName": "DistributedVirtualSwitchHostMemberPnicBacking",
        "pnicSpec": pnics.collect::<Vec<_>>(),
    })
}

fn is_uplink_of(port: &Port, host: &Moref) -> bool {
    port.connectee.as_ref().is_some_and(|one| one.kind == "pnic" && one.entity == *host)
}

/// Shows the physical cards and the switches on every host.
fn show_hosts(world: &mut World) {
    let hosts: Vec<Moref> = world.hosts.iter().map(|host| host.moref.clone()).collect();
    for (number, host) in hosts.iter().enumerate() {
        let Some(system) = network_system(world, host) else { continue };
        let uplinks = world.switches.iter().map(|switch| switch.spec.uplinks.len()).max();
        let pnics = (0..uplinks.unwrap_or(1).max(1)).map(|index| {
            let offload = world.switches.iter().find_map(|switch| switch.spec.offload.as_ref());
            let dpu = offload.and_then(|offload| offload.dpus.get(index));
            let dpu = dpu.filter(|alias| !alias.is_empty());
            json!({
                "key": format!("key-vim.host.PhysicalNic-vmnic{index}"),
                "device": format!("vmnic{index}"),
                "pci": format!("0000:{:02x}:00.0", index + 2),
                "driver": "simulated",
                "linkSpeed": { "speedMb": 25000, "duplex": true },
                "spec": { "linkSpeed": { "speedMb": 25000, "duplex": true } },
                "wakeOnLanSupported": false,
                "mac": format!("02:00:00:{:02x}:{:02x}:01", number % 256, index % 256),
                "dpuId": dpu,
            })
        });
        let pnics: Vec<Value> = pnics.collect();
        let proxies = world.switches.iter().map(|switch| proxy_switch(switch, host));
        let info = json!({ "pnic": pnics, "proxySwitch": proxies.collect::<Vec<_>>() });
        world.objects.set(&system, "networkInfo", info);
    }
    for index in 0..world.switches.len() {
        let Some(switch) = world.switches.get(index) else { continue };
        let runtime = hosts.iter().map(|host| {
            json!({ "host": host.value(), "status": "up", "hostUplinkState": uplink_states(switch, host) })
        });
        let (moref, runtime) = (switch.moref.clone(), runtime.collect::<Vec<_>>());
        world.objects.set(&moref, "runtime", json!({ "hostMemberRuntime": runtime }));
    }
}

fn network_system(world: &World, host: &Moref) -> Option<Moref> {
    Moref::from_value(&world.objects.value(host, "configManager")["networkSystem"])
}

fn proxy_switch(switch: &Switch, host: &Moref) -> Value {
    let ports: Vec<&Port> = switch.ports.iter().filter(|port| is_uplink_of(port, host)).collect();
    let uplinks = ports.iter().zip(&switch.spec.uplinks);
    json!({
        "dvsUuid": switch.uuid,
        "dvsName": switch.spec.name,
        "key": format!("DvsPortset-{}", switch.moref.id),
        "numPorts": 1024,
        "numPortsAvailable": 1000,
        "uplinkPort": uplinks.map(|(port, name)| json!({ "key": port.key, "value": name })).collect::<Vec<_>>(),
        "mtu": switch.spec.mtu,
        "pnic": ports.iter().enumerate().map(|(index, _)| format!("key-vim.host.PhysicalNic-vmnic{index}")).collect::<Vec<_>>(),
        "spec": { "backing": pnic_backing(switch, host) },
        "networkOffloadingEnabled": switch.spec.offload.is_some(),
        "hostUplinkState": uplink_states(switch, host),
    })
}

fn uplink_states(switch: &Switch, host: &Moref) -> Value {
    if switch.spec.offload.as_ref().is_some_and(|offload| offload.untold) {
        return Value::Null;
    }
    let active = switch.active_uplinks.iter().find(|(known, _)| known == host);
    let state = |name: &String| {
        let is_active = active.is_some_and(|(_, names)| names.contains(name));
        json!({ "uplinkName": name, "state": if is_active { "active" } else { "standby" } })
    };
    switch.spec.uplinks.iter().map(state).collect()
}

/// A method of switches, of their manager, of hosts' networks.
///
/// # Errors
///
/// The faults that sections 8.2 and 8.4 of the protocol list for each.
pub(crate) fn call(
    world: &mut World,
    this: &Moref,
    method: &str,
    arguments: &Value,
) -> Result<Value, Fault> {
    match method {
        "FetchDVPorts" => {
            let switch = switch_of(world, this)?;
            let ports = fetch(switch, &arguments["criteria"]);
            Ok(list(ports.map(|port| switch.port_value(port)).collect()))
        }
        "FetchDVPortKeys" => {
            let ports = fetch(switch_of(world, this)?, &arguments["criteria"]);
            Ok(list(ports.map(|port| json!(port.key)).collect()))
        }
        "RefreshDVPortState" => refresh(world, this, &arguments["portKeys"]),
        "QueryDvsByUuid" => {
            let uuid = arguments["uuid"].as_str().unwrap_or_default();
            let found = world.switches.iter().find(|switch| switch.uuid == uuid);
            let what = format!("The switch '{uuid}' was not found.");
            found.map(|switch| switch.moref.value()).ok_or_else(|| Fault::new("NotFound", what))
        }
        "startDpuFailover" => start_dpu_failover(world, this, arguments),
        _ => Err(crate::soap::unknown_method(this, method)),
    }
}

fn switch_of<'a>(world: &'a World, this: &Moref) -> Result<&'a Switch, Fault> {
    let found = world.switches.iter().find(|switch| switch.moref == *this);
    found.ok_or_else(|| Fault::not_found(this))
}

fn fetch<'a>(switch: &'a Switch, criteria: &'a Value) -> impl Iterator<Item = &'a Port> {
    let wants = |name: &str| criteria[name].as_bool();
    let (connected, active) = (wants("connected"), wants("active"));
    let (uplink, nsx, inside) = (wants("uplinkPort"), wants("nsxPort"), wants("inside"));
    let listed = |name: &str, item: &str| -> Option<bool> {
        let all = criteria[name].as_array()?;
        Some(all.iter().any(|one| one == item))
    };
    let is_on_host = |port: &Port| -> Option<bool> {
        let hosts = criteria["host"].as_array()?;
        let host = port.connectee.as_ref().map(|connectee| connectee.host.value());
        Some(host.is_some_and(|host| hosts.iter().any(|one| one["value"] == host["value"])))
    };
    switch.ports.iter().filter(|port| !port.quirk.missing).filter(move |port| {
        let is_connected = port.connectee.is_some() && !port.quirk.no_connectee;
        let is_active = port.is_running && port.is_reported && !port.quirk.link_down;
        let is_uplink = switch.portgroup(&port.portgroup).is_some_and(|group| group.is_uplink);
        let group =
            inside.and_then(|inside| Some(listed("portgroupKey", &port.portgroup)? == inside));
        connected.is_none_or(|wanted| wanted == is_connected)
            && active.is_none_or(|wanted| wanted == is_active)
            && uplink.is_none_or(|wanted| wanted == is_uplink)
            && nsx.is_none_or(|wanted| wanted == port.quirk.nsx)
            && group.unwrap_or(true)
            && listed("portKey", &port.key).unwrap_or(true)
            && is_on_host(port).unwrap_or(true)
    })
}

fn list(all: Vec<Value>) -> Value {
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}

fn refresh(world: &mut World, this: &Moref, keys: &Value) -> Result<Value, Fault> {
    let switch = world.switches.iter_mut().find(|switch| switch.moref == *this);
    let switch = switch.ok_or_else(|| Fault::not_found(this))?;
    let wanted: Option<Vec<&str>> =
        keys.as_array().map(|all| all.iter().filter_map(Value::as_str).collect());
    for key in wanted.iter().flatten() {
        if !switch.ports.iter().any(|port| port.key == *key && !port.quirk.missing) {
            return Err(Fault::new("NotFound", format!("The port '{key}' was not found.")));
        }
    }
    for port in &mut switch.ports {
        if wanted.as_ref().is_none_or(|keys| keys.contains(&port.key.as_str())) {
            port.is_reported = true;
        }
    }
    Ok(Value::Null)
}

/// `HostNetworkSystem.startDpuFailover`: standby uplinks of one DPU take over.
fn start_dpu_failover(world: &mut World, this: &Moref, arguments: &Value) -> Result<Value, Fault> {
    if !is_at_least(world.scenario.api_version.as_str(), DPU_FAILOVER_SINCE) {
        return Err(crate::soap::unknown_method(this, "startDpuFailover"));
    }
    let is_9 = world.scenario.api_version >= ApiVersion::V9_0_0_0;
    let hosts = world.hosts.iter().map(|host| host.moref.clone());
    let host = hosts.into_iter().find(|host| network_system(world, host).as_ref() == Some(this));
    let host = host.ok_or_else(|| Fault::not_found(this))?;
    let name = arguments["dvsName"].as_str().unwrap_or_default();
    let wanted = arguments["targetDpuAlias"].as_str();
    let switch = world.switches.iter().find(|switch| switch.spec.name == name);
    let switch = switch.ok_or_else(|| Fault::invalid_argument("dvsName"))?;
    let offload = switch.spec.offload.as_ref();
    let offload = offload.ok_or_else(|| Fault::invalid_argument("dvsName"))?;
    if is_9 && offload.partial_maintenance {
        let what = "The method is disabled: the host is in partial maintenance.";
        return Err(Fault::new("MethodDisabled", what).with("source", "partialMaintenance"));
    }
    let active = switch.active_uplinks.iter().find(|(known, _)| *known == host);
    let (_, active) = active.ok_or_else(|| Fault::invalid_argument("dvsName"))?;
    // Without a policy all uplinks are active and nothing stands by.
    let standby: Vec<(&String, &String)> = switch
        .spec
        .uplinks
        .iter()
        .zip(&offload.dpus)
        .filter(|(_, dpu)| !dpu.is_empty() && !offload.failed_dpus.contains(dpu))
        .filter(|(uplink, _)| !active.contains(uplink))
        .collect();
    let target = match wanted {
        Some(wanted) => standby.iter().find(|(_, dpu)| dpu.as_str() == wanted),
        None => standby.first(),
    };
    let at = if wanted.is_some() { "targetDpuAlias" } else { "dvsName" };
    let (_, dpu) = target.ok_or_else(|| Fault::invalid_argument(at))?;
    let fresh = standby.iter().filter(|(_, other)| other == dpu);
    let failover = Failover {
        switch: switch.moref.clone(),
        host,
        uplinks: fresh.map(|(uplink, _)| (*uplink).clone()).collect(),
        after: Duration::from_millis(offload.failover_ms),
    };
    if failover.after.is_zero() && !offload.stuck {
        take_over(world, failover);
    } else if !offload.stuck {
        world.failovers.push(failover);
    }
    Ok(Value::Null)
}

/// Lets uplinks take over that stood by.
pub(crate) fn take_over(world: &mut World, failover: Failover) {
    let switch = world.switches.iter_mut().find(|switch| switch.moref == failover.switch);
    let all = switch.into_iter().flat_map(|switch| &mut switch.active_uplinks);
    for (_, active) in all.filter(|(host, _)| *host == failover.host) {
        active.clone_from(&failover.uplinks);
    }
    show_hosts(world);
}

/// Whether the release `version` is `least` or newer.
fn is_at_least(version: &str, least: [u32; 4]) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version: [u32; 4] = std::array::from_fn(|_| parts.next().unwrap_or(0));
    version >= least
}

/// Puts a machine's cards on their ports, after its power or its cards changed.  `was_on` says
/// whether it ran before.
///
/// # Errors
///
/// As [`dvs::attach`]; nothing has changed then.
pub(crate) fn reattach(
    world: &mut World,
    vm: &Moref,
    devices: Vec<Value>,
    was_on: bool,
) -> Result<(), Fault> {
    let known = world.vm(vm)?;
    let (name, powered_on, host) = (known.name.clone(), known.powered_on, known.host);
    let old = known.devices.clone();
    let host = world.hosts.get(host).map(|host| host.moref.clone());
    let host = host.ok_or_else(|| Fault::not_found(vm))?;
    let owner = Owner { moref: vm.clone(), name, host, powered_on };
    let mut fresh = devices;
    if let Err(fault) = dvs::attach(world, &owner, &mut fresh) {
        // What was taken on the way is given back.
        let owner = Owner { powered_on: was_on, ..owner };
        let mut old = old;
        if let Err(again) = dvs::attach(world, &owner, &mut old) {
            tracing::warn!(fault = again.kind(), again.message, "a machine lost its ports");
        }
        return Err(fault);
    }
    for network in inventory::networks_of(&old) {
        world.objects.unlink(&network, "vm", vm);
    }
    for network in inventory::networks_of(&fresh) {
        world.objects.link(&network, "vm", vm);
    }
    world.vm_mut(vm)?.devices = fresh;
    world.refresh(&vm.id);
    Ok(())
}

/// `VirtualMachine.ReconfigVM_Task`: the devices that the machine will have.
///
/// # Errors
///
/// `NotSupported` for everything but [`CHANGEABLE`] and edits of network cards, `InvalidDeviceSpec`
/// for a card that is not there, `CpuHotPlugNotSupported` and `MemoryHotPlugNotSupported` for more
/// of either in a machine that runs.
pub(crate) fn reconfigured(world: &World, vm: &Moref, spec: &Value) -> Result<Vec<Value>, Fault> {
    let mut devices = world.vm(vm)?.devices.clone();
    let fields = spec.as_object().into_iter().flatten();
    for (name, _) in fields.filter(|(_, value)| !value.is_null()) {
        let is_known = matches!(name.as_str(), "_typeName" | "deviceChange" | "changeVersion");
        if !is_known && !CHANGEABLE.contains(&name.as_str()) {
            let what = format!("Changing '{name}' is not supported here.");
            return Err(Fault::new("NotSupported", what));
        }
    }
    if world.vm(vm)?.powered_on {
        for (field, kind, what) in [
            ("numCPUs", "CpuHotPlugNotSupported", "CPU hot plug is not supported."),
            ("memoryMB", "MemoryHotPlugNotSupported", "Memory hot plug is not supported."),
        ] {
            let old = &world.vm(vm)?.spec[field];
            if !spec[field].is_null() && spec[field] != *old {
                return Err(Fault::new(kind, what));
            }
        }
    }
    for (index, change) in spec["deviceChange"].as_array().into_iter().flatten().enumerate() {
        let wanted = &change["device"];
        let is_card = wanted["_typeName"].as_str().is_some_and(is_network_card);
        if change["operation"] != "edit" || !is_card {
            return Err(Fault::new("NotSupported", "Only network cards can be edited here."));
        }
        let card = devices.iter_mut().find(|device| {
            device["key"] == wanted["key"] && device["_typeName"] == wanted["_typeName"]
        });
        let card = card.ok_or_else(|| {
            Fault::new("InvalidDeviceSpec", format!("Invalid configuration for device '{index}'."))
                .with("deviceIndex", index)
                .with("property", format!("virtualDeviceSpec.device[{index}].key"))
        })?;
        for field in ["backing", "connectable", "addressType", "macAddress", "wakeOnLanEnabled"] {
            if !wanted[field].is_null() {
                card[field] = wanted[field].clone();
            }
        }
        if let Some(port) = card["backing"]["port"].as_object_mut() {
            // The server alone makes cookies.
            port.remove("connectionCookie");
        }
    }
    Ok(devices)
}

/// The kind of offload that switches with DPUs have.
const OFFLOAD_SPEC: &str = "nvidia-bluefield";

/// The release that brought `startDpuFailover`.
const DPU_FAILOVER_SINCE: [u32; 4] = [8, 0, 3, 0];
