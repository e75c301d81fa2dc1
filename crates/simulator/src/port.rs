//! Distributed switches, their portgroups and ports, as the server keeps them.

use serde_json::{Value, json};

use crate::clock;
use crate::object::Moref;
use crate::scenario::{PortQuirk, PortgroupKind, SwitchSpec};

/// A distributed switch.
#[derive(Debug)]
pub(crate) struct Switch {
    /// Its reference.
    pub(crate) moref: Moref,
    /// Its UUID in the notation of vCenter.
    pub(crate) uuid: String,
    /// What it was made from.
    pub(crate) spec: SwitchSpec,
    /// Its portgroups; the last one has the uplinks.
    pub(crate) portgroups: Vec<Portgroup>,
    /// Its ports, by age.
    pub(crate) ports: Vec<Port>,
    /// Names of the uplinks on which each host's traffic flows now; the host's id comes first.
    pub(crate) active_uplinks: Vec<(Moref, Vec<String>)>,
    next_port: u32,
    next_cookie: i32,
}

/// A portgroup of a switch.
#[derive(Debug)]
pub(crate) struct Portgroup {
    /// Its reference; the id is its key.
    pub(crate) moref: Moref,
    /// Its name.
    pub(crate) name: String,
    /// When its ports come into being.
    pub(crate) kind: PortgroupKind,
    /// Whether ports are added when all are taken.
    pub(crate) auto_expand: bool,
    /// Whether its ports are uplinks.
    pub(crate) is_uplink: bool,
    /// VLAN of its ports; 0 for none.
    pub(crate) vlan: u16,
}

/// A distributed port.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    /// Its key, unique on the switch.
    pub(crate) key: String,
    /// Key of its portgroup.
    pub(crate) portgroup: String,
    /// Who is on it.
    pub(crate) connectee: Option<Connectee>,
    /// The number that the card must have too.
    pub(crate) cookie: Option<i32>,
    /// Whether what is on it runs.
    pub(crate) is_running: bool,
    /// Whether the running state was told to vCenter yet.
    pub(crate) is_reported: bool,
    /// MAC address of the card.
    pub(crate) mac: String,
    /// What is wrong with it.
    pub(crate) quirk: PortQuirk,
    /// Key of the port it contends for.
    pub(crate) conflict_key: Option<String>,
    /// When its state changed last.
    pub(crate) changed: String,
}

/// Who is on a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Connectee {
    /// The machine or the host.
    pub(crate) entity: Moref,
    /// Key of the card, or name of the interface.
    pub(crate) nic: String,
    /// `vmVnic`, `pnic` or `hostVmkVnic`.
    pub(crate) kind: &'static str,
    /// The host that serves the port.
    pub(crate) host: Moref,
}

impl Switch {
    pub(crate) fn new(moref: Moref, spec: &SwitchSpec) -> Self {
        Self {
            moref,
            uuid: switch_uuid(),
            spec: spec.clone(),
            portgroups: Vec::new(),
            ports: Vec::new(),
            active_uplinks: Vec::new(),
            next_port: 0,
            next_cookie: 0x1000_0000,
        }
    }

    /// The portgroup with this key.
    pub(crate) fn portgroup(&self, key: &str) -> Option<&Portgroup> {
        self.portgroups.iter().find(|portgroup| portgroup.moref.id == key)
    }

    /// The port with this key.
    pub(crate) fn port_mut(&mut self, key: &str) -> Option<&mut Port> {
        self.ports.iter_mut().find(|port| port.key == key)
    }

    /// Adds a free port and returns its key.
    pub(crate) fn add_port(&mut self, portgroup: &str) -> String {
        let key = self.next_port.to_string();
        self.next_port += 1;
        self.ports.push(Port {
            key: key.clone(),
            portgroup: portgroup.to_owned(),
            connectee: None,
            cookie: None,
            is_running: false,
            is_reported: true,
            mac: String::new(),
            quirk: PortQuirk::default(),
            conflict_key: None,
            changed: clock::now(),
        });
        key
    }

    /// A number for the next connection.
    pub(crate) fn new_cookie(&mut self) -> i32 {
        self.next_cookie = self.next_cookie.wrapping_add(0x1357).max(1);
        self.next_cookie
    }

    /// Keys of the ports of a portgroup.
    pub(crate) fn keys_of(&self, portgroup: &str) -> Vec<&str> {
        let ports = self.ports.iter().filter(|port| port.portgroup == portgroup);
        ports.map(|port| port.key.as_str()).collect()
    }

    /// `DistributedVirtualPort`.
    pub(crate) fn port_value(&self, port: &Port) -> Value {
        let vlan = self.portgroup(&port.portgroup).map_or(0, |portgroup| portgroup.vlan);
        let connectee = port.connectee.as_ref().filter(|_| !port.quirk.no_connectee);
        let is_shown = port.is_running && port.is_reported;
        let runtime = is_shown.then(|| {
            json!({
                "linkUp": !port.quirk.link_down,
                "blocked": port.quirk.blocked,
                "vlanIds": if vlan == 0 { Value::Null } else { json!([{ "start": vlan, "end": vlan }]) },
                "trunkingMode": false,
                "mtu": self.spec.mtu,
                "macAddress": if port.mac.is_empty() { Value::Null } else { json!(port.mac) },
            })
        });
        json!({
            "_typeName": "DistributedVirtualPort",
            "key": port.key,
            "config": {
                "setting": port_setting(vlan, port.quirk.blocked),
                "configVersion": "1",
            },
            "dvsUuid": self.uuid,
            "portgroupKey": port.portgroup,
            "proxyHost": connectee.map(|connectee| connectee.host.value()),
            "connectee": connectee.map(|connectee| json!({
                "connectedEntity": connectee.entity.value(),
                "nicKey": connectee.nic,
                "type": connectee.kind,
            })),
            "conflict": port.quirk.conflict,
            "conflictPortKey": port.conflict_key,
            "state": { "runtimeInfo": runtime, "stats": statistics(is_shown) },
            "connectionCookie": port.cookie,
            "lastStatusChange": port.changed,
            "hostLocalPort": port.quirk.host_local,
        })
    }
}

/// `VMwareDVSPortSetting`.
pub(crate) fn port_setting(vlan: u16, is_blocked: bool) -> Value {
    json!({
        "_typeName": "VMwareDVSPortSetting",
        "blocked": { "inherited": !is_blocked, "value": is_blocked },
        "vlan": {
            "_typeName": "VmwareDistributedVirtualSwitchVlanIdSpec",
            "inherited": true,
            "vlanId": vlan,
        },
    })
}

/// Counters; machines here send nothing but a few broadcasts when they start.
fn statistics(is_running: bool) -> Value {
    let mut counters = json!({ "_typeName": "DistributedVirtualSwitchPortStatistics" });
    for kind in ["Multicast", "Unicast", "Broadcast"] {
        let count = if is_running && kind == "Broadcast" { 3 } else { 0 };
        counters[format!("packetsIn{kind}")] = json!(count);
        counters[format!("packetsOut{kind}")] = json!(count);
        counters[format!("bytesIn{kind}")] = json!(count * 60);
        counters[format!("bytesOut{kind}")] = json!(count * 60);
    }
    for kind in ["Dropped", "Exception"] {
        counters[format!("packetsIn{kind}")] = json!(0);
        counters[format!("packetsOut{kind}")] = json!(0);
    }
    counters
}

/// A UUID as vCenter writes those of switches: `50 21 … -… `.
fn switch_uuid() -> String {
    let hex = clock::uuid().replace('-', "");
    let pairs: Vec<&str> = (0..16).filter_map(|at| hex.get(at * 2..at * 2 + 2)).collect();
    let (first, last) = pairs.split_at(pairs.len() / 2);
    format!("{}-{}", first.join(" "), last.join(" "))
}
