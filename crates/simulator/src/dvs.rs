//! Machines on distributed ports: who gets which port, and when.

use serde_json::{Value, json};

use crate::clock;
use crate::fault::Fault;
use crate::object::Moref;
use crate::port::{Connectee, Switch};
use crate::scenario::{PortQuirk, PortgroupKind};
use crate::vm::is_network_card;
use crate::world::World;

/// The machine whose cards are put on ports.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// The machine.
    pub(crate) moref: Moref,
    /// Its name.
    pub(crate) name: String,
    /// Its host.
    pub(crate) host: Moref,
    /// Whether it runs.
    pub(crate) powered_on: bool,
}

/// The backing of a card on the network `network`, a portgroup or a network of the hosts.
pub(crate) fn backing(world: &World, network: &Moref, name: &str) -> Value {
    let switch = world.switches.iter().find(|switch| switch.portgroup(&network.id).is_some());
    match switch {
        Some(switch) => json!({
            "_typeName": "VirtualEthernetCardDistributedVirtualPortBackingInfo",
            "port": { "switchUuid": switch.uuid, "portgroupKey": network.id },
        }),
        None => json!({
            "_typeName": "VirtualEthernetCardNetworkBackingInfo",
            "deviceName": name,
            "network": network.value(),
        }),
    }
}

/// Puts the cards among `devices` on the ports they ask for, and takes the machine off all others.
///
/// # Errors
///
/// `InvalidArgument` for a switch, portgroup or port that is not there or not for machines,
/// `ResourceInUse` for a port that is taken, `InsufficientResourcesFault` if none is free.
pub(crate) fn attach(world: &mut World, owner: &Owner, devices: &mut [Value]) -> Result<(), Fault> {
    let cards = devices
        .iter_mut()
        .filter(|device| device["_typeName"].as_str().is_some_and(is_network_card));
    let other = world.vms.values().map(|vm| vm.moref.clone()).find(|vm| *vm != owner.moref);
    let other = other.unwrap_or_else(|| owner.moref.clone());
    let mut kept = Vec::new();
    for (index, card) in cards.enumerate() {
        if card["backing"]["port"].is_null() {
            continue;
        }
        let connection = &card["backing"]["port"];
        let text = |name: &str| connection[name].as_str().map(str::to_owned);
        let (uuid, group, wanted) = (text("switchUuid"), text("portgroupKey"), text("portKey"));
        let switch = world.switches.iter_mut().find(|switch| Some(&switch.uuid) == uuid.as_ref());
        let switch = switch.ok_or_else(|| Fault::invalid_argument("backing.port.switchUuid"))?;
        let key = card["key"].as_i64().unwrap_or_default();
        let connectee = |entity: &Moref, key: i64| Connectee {
            entity: entity.clone(),
            nic: key.to_string(),
            kind: "vmVnic",
            host: owner.host.clone(),
        };
        let request = Request {
            group: group.unwrap_or_default(),
            wanted,
            connectee: connectee(&owner.moref, key),
            impostor: connectee(&other, if other == owner.moref { key + 1 } else { key }),
            mac: card["macAddress"].as_str().unwrap_or_default().to_owned(),
            quirk: quirk(switch, &owner.name, index),
        };
        let moref = switch.moref.clone();
        let mut fresh = json!({ "switchUuid": switch.uuid, "portgroupKey": request.group });
        if let Some((key, cookie)) = bind(switch, &request, owner.powered_on)? {
            fresh["portKey"] = json!(key);
            fresh["connectionCookie"] = json!(cookie);
            kept.push((moref, key));
        }
        fresh["_typeName"] = json!("DistributedVirtualSwitchPortConnection");
        card["backing"]["port"] = fresh;
    }
    detach(world, &owner.moref, &kept);
    Ok(())
}

/// Takes the machine off all ports.
pub(crate) fn release(world: &mut World, machine: &Moref) {
    detach(world, machine, &[]);
}

/// What a card wants.
struct Request {
    group: String,
    wanted: Option<String>,
    connectee: Connectee,
    /// Who is shown instead, if the port is to be that bad.
    impostor: Connectee,
    mac: String,
    quirk: PortQuirk,
}

/// Key and cookie of the port that the card is on now; nothing if it has none yet.
fn bind(
    switch: &mut Switch,
    request: &Request,
    powered_on: bool,
) -> Result<Option<(String, i32)>, Fault> {
    let group = switch.portgroup(&request.group).filter(|group| !group.is_uplink);
    let group = group.ok_or_else(|| Fault::invalid_argument("backing.port.portgroupKey"))?;
    let (kind, auto_expand) = (group.kind, group.auto_expand);
    let is_mine = |port: &&crate::port::Port| {
        let connectee = port.connectee.as_ref();
        connectee.is_some_and(|one| one.is_same(&request.connectee))
            && port.portgroup == request.group
    };
    let mine = switch.ports.iter().find(is_mine).map(|port| port.key.clone());
    let wanted = request.wanted.clone();
    let is_other = |wanted: &String| mine.as_ref() != Some(wanted);
    if kind == PortgroupKind::Ephemeral && wanted.as_ref().is_some_and(is_other) {
        // Such a port is made for the card: there is none to choose.
        return Err(Fault::invalid_argument("backing.port.portKey"));
    }
    if kind == PortgroupKind::Ephemeral && !powered_on {
        return Ok(None);
    }
    let key = match (mine, wanted) {
        (Some(mine), None) => mine,
        (Some(mine), Some(wanted)) if mine == wanted => mine,
        (_, Some(wanted)) => {
            let port = switch.ports.iter().find(|port| port.key == wanted);
            let port = port.filter(|port| port.portgroup == request.group && !port.quirk.missing);
            let port = port.ok_or_else(|| Fault::invalid_argument("backing.port.portKey"))?;
            if port.connectee.is_some() {
                let what = format!("The resource 'port {wanted}' is in use.");
                return Err(Fault::new("ResourceInUse", what)
                    .with("type", "DistributedVirtualPort")
                    .with("name", wanted));
            }
            wanted
        }
        (None, None) => {
            free_port(switch, request, kind == PortgroupKind::Ephemeral || auto_expand)?
        }
    };
    let cookie = switch.new_cookie();
    let contended = request.quirk.conflict.then(|| {
        let other = switch.ports.iter().find(|p| p.portgroup == request.group && p.key != key);
        other.map_or_else(|| key.clone(), |port| port.key.clone())
    });
    let lag = switch.spec.state_lags;
    let Some(port) = switch.port_mut(&key) else { return Ok(None) };
    let is_new = !port.connectee.as_ref().is_some_and(|one| one.is_same(&request.connectee));
    if is_new {
        port.cookie =
            Some(if request.quirk.wrong_cookie { cookie.wrapping_add(1) } else { cookie });
    }
    if is_new || port.is_running != powered_on {
        port.changed = clock::now();
        port.is_reported = !lag;
    }
    port.connectee = Some(request.connectee.clone());
    port.mac.clone_from(&request.mac);
    port.quirk = request.quirk.clone();
    port.impostor = request.quirk.wrong_connectee.then(|| request.impostor.clone());
    port.conflict_key = contended;
    port.is_running = powered_on;
    let shown = port.cookie.unwrap_or(cookie);
    let shown = if request.quirk.wrong_cookie { shown.wrapping_sub(1) } else { shown };
    Ok(Some((key, shown)))
}

fn free_port(switch: &mut Switch, request: &Request, may_add: bool) -> Result<String, Fault> {
    let is_free =
        |port: &&crate::port::Port| port.portgroup == request.group && port.connectee.is_none();
    if let Some(port) = switch.ports.iter().find(is_free) {
        return Ok(port.key.clone());
    }
    if may_add {
        return Ok(switch.add_port(&request.group));
    }
    let name = switch.portgroup(&request.group).map_or("", |group| &group.name);
    Err(Fault::new(
        "InsufficientResourcesFault",
        format!("No free port is available in the portgroup '{name}'."),
    ))
}

fn quirk(switch: &Switch, machine: &str, nic: usize) -> PortQuirk {
    let found = switch.spec.quirks.iter().find(|quirk| {
        quirk.machine.as_deref().is_none_or(|name| name == machine)
            && quirk.nic.is_none_or(|index| index == nic)
    });
    found.cloned().unwrap_or_default()
}

/// Frees the ports of `machine` that are not in `kept`, and shows which ports there are.
fn detach(world: &mut World, machine: &Moref, kept: &[(Moref, String)]) {
    for switch in &mut world.switches {
        let (ephemeral, moref) = (ephemeral_keys(switch), switch.moref.clone());
        let is_gone = |port: &crate::port::Port| {
            port.connectee.as_ref().is_some_and(|connectee| connectee.entity == *machine)
                && !kept.iter().any(|(owner, key)| *owner == moref && *key == port.key)
        };
        switch.ports.retain(|port| !(is_gone(port) && ephemeral.contains(&port.portgroup)));
        for port in switch.ports.iter_mut().filter(|port| is_gone(port)) {
            port.connectee = None;
            port.cookie = None;
            port.is_running = false;
            port.mac.clear();
            port.quirk = PortQuirk::default();
            port.impostor = None;
            port.conflict_key = None;
            port.changed = clock::now();
        }
    }
    publish(world);
}

fn ephemeral_keys(switch: &Switch) -> Vec<String> {
    let groups = switch.portgroups.iter();
    let groups = groups.filter(|group| group.kind == PortgroupKind::Ephemeral);
    groups.map(|group| group.moref.id.clone()).collect()
}

/// Shows the ports of every portgroup.
pub(crate) fn publish(world: &mut World) {
    for switch in &world.switches {
        for group in &switch.portgroups {
            let keys = switch.keys_of(&group.moref.id);
            let old = world.objects.value(&group.moref, "portKeys");
            if *old == json!(keys) {
                continue;
            }
            let mut config = world.objects.value(&group.moref, "config").clone();
            if !config.is_null() {
                config["numPorts"] = json!(keys.len());
                world.objects.set(&group.moref, "config", config);
                world.objects.set(&group.moref, "portKeys", json!(keys));
            }
        }
    }
}
