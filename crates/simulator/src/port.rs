//! Distributed switches, their portgroups and ports, as the server keeps them.

use std::time::Duration;

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
    next_host_port: u32,
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
    /// Who is shown in the connectee's place.
    pub(crate) impostor: Option<Connectee>,
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

/// A failover of DPUs that has begun.
#[derive(Debug)]
pub(crate) struct Failover {
    /// The switch.
    pub(crate) switch: Moref,
    /// The host.
    pub(crate) host: Moref,
    /// Names of the uplinks that take over.
    pub(crate) uplinks: Vec<String>,
    /// When they do.
    pub(crate) after: Duration,
}

impl Connectee {
    /// Whether it is the same card or interface, wherever it runs.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.entity == other.entity && self.nic == other.nic
    }
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
            next_host_port: 1,
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
        self.add_port_with_key(&key, portgroup);
        key
    }

    /// Adds a port that a host has made.
    pub(crate) fn add_host_port(&mut self, portgroup: &str) -> String {
        let key = format!("h-{}", self.next_host_port);
        self.next_host_port += 1;
        self.add_port_with_key(&key, portgroup);
        key
    }

    fn add_port_with_key(&mut self, key: &str, portgroup: &str) {
        self.ports.push(Port {
            key: key.to_owned(),
            portgroup: portgroup.to_owned(),
            connectee: None,
            cookie: None,
            is_running: false,
            is_reported: true,
            mac: String::new(),
            quirk: PortQuirk::default(),
            conflict_key: None,
            impostor: None,
            changed: clock::now(),
        });
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
        let group = self.portgroup(&port.portgroup);
        let vlan = group.map_or(0, |portgroup| portgroup.vlan);
        let shown = port.impostor.as_ref().or(port.connectee.as_ref());
        let connectee = shown.filter(|_| !port.quirk.no_connectee);
        let is_shown = port.is_running && port.is_reported;
        let is_nsx = port.quirk.nsx;
        json!({
            "_typeName": "DistributedVirtualPort",
            "key": port.key,
            "config": {
                "name": port.connectee.as_ref().map(|connectee| format!("{} {}", connectee.entity.id, connectee.nic)),
                "description": group.map(|group| format!("A port of {}", group.name)),
                "setting": self.port_setting(vlan, port.quirk.blocked, is_nsx),
                "configVersion": "1",
            },
            "dvsUuid": self.uuid,
            "portgroupKey": port.portgroup,
            "proxyHost": connectee.map(|connectee| connectee.host.value()),
            "connectee": connectee.map(|connectee| json!({
                "connectedEntity": connectee.entity.value(),
                "nicKey": connectee.nic,
                "type": connectee.kind,
                "addressHint": if port.mac.is_empty() { Value::Null } else { json!(port.mac) },
            })),
            "conflict": port.quirk.conflict,
            "conflictPortKey": port.conflict_key,
            "state": {
                "runtimeInfo": is_shown.then(|| self.runtime(port, vlan)),
                "stats": statistics(is_shown),
            },
            "connectionCookie": port.cookie,
            "lastStatusChange": port.changed,
            "hostLocalPort": port.quirk.host_local,
            "externalId": is_nsx.then(|| format!("external-{}", port.key)),
            "segmentPortId": is_nsx.then(|| format!("segment-{}", port.key)),
        })
    }

    /// `DVPortStatus` of a port that runs.
    fn runtime(&self, port: &Port, vlan: u16) -> Value {
        let mac = if port.quirk.wrong_mac { "00:50:56:ff:ff:ff" } else { &port.mac };
        json!({
            "linkUp": !port.quirk.link_down,
            "blocked": port.quirk.blocked,
            "vlanIds": if vlan == 0 { Value::Null } else { json!([{ "start": vlan, "end": vlan }]) },
            "trunkingMode": false,
            "mtu": self.spec.mtu,
            "linkPeer": port.connectee.as_ref().map(|connectee| format!("{}.eth0", connectee.entity.id)),
            "macAddress": if mac.is_empty() { Value::Null } else { json!(mac) },
            "statusDetail": port.quirk.blocked.then_some("blocked by the administrator"),
            "vmDirectPathGen2Active": false,
            "vmDirectPathGen2InactiveReasonNetwork": ["portNptDisabled"],
            "vmDirectPathGen2InactiveReasonOther": ["vmNptIncompatibleHost"],
        })
    }

    /// `VMwareDVSPortSetting`: everything that a switch of this kind says.
    pub(crate) fn port_setting(&self, vlan: u16, is_blocked: bool, is_nsx: bool) -> Value {
        let inherited = |value: Value| json!({ "inherited": true, "value": value });
        let shaping = || {
            json!({
                "inherited": true,
                "enabled": inherited(json!(false)),
                "averageBandwidth": inherited(json!(100_000_000)),
                "peakBandwidth": inherited(json!(100_000_000)),
                "burstSize": inherited(json!(104_857_600)),
            })
        };
        let standby = self.spec.offload.as_ref().map_or(&[][..], |offload| &offload.standby);
        let active: Vec<&String> =
            self.spec.uplinks.iter().filter(|name| !standby.contains(name)).collect();
        json!({
            "_typeName": "VMwareDVSPortSetting",
            "blocked": { "inherited": !is_blocked, "value": is_blocked },
            "vmDirectPathGen2Allowed": inherited(json!(false)),
            "inShapingPolicy": shaping(),
            "outShapingPolicy": shaping(),
            "vendorSpecificConfig": { "inherited": true },
            "networkResourcePoolKey": inherited(json!("-1")),
            "filterPolicy": { "inherited": true },
            "vlan": {
                "_typeName": "VmwareDistributedVirtualSwitchVlanIdSpec",
                "inherited": true,
                "vlanId": vlan,
            },
            "qosTag": inherited(json!(-1)),
            "uplinkTeamingPolicy": {
                "inherited": true,
                "policy": inherited(json!("loadbalance_srcid")),
                "reversePolicy": inherited(json!(true)),
                "notifySwitches": inherited(json!(true)),
                "rollingOrder": inherited(json!(false)),
                "failureCriteria": {
                    "inherited": true,
                    "checkSpeed": inherited(json!("minimum")),
                    "speed": inherited(json!(10)),
                    "checkDuplex": inherited(json!(false)),
                    "fullDuplex": inherited(json!(false)),
                    "checkErrorPercent": inherited(json!(false)),
                    "percentage": inherited(json!(0)),
                    "checkBeacon": inherited(json!(false)),
                },
                "uplinkPortOrder": {
                    "inherited": true,
                    "activeUplinkPort": active,
                    "standbyUplinkPort": standby,
                },
            },
            "securityPolicy": {
                "inherited": true,
                "allowPromiscuous": inherited(json!(false)),
                "macChanges": inherited(json!(false)),
                "forgedTransmits": inherited(json!(false)),
            },
            "ipfixEnabled": inherited(json!(false)),
            "txUplink": inherited(json!(false)),
            "lacpPolicy": {
                "inherited": true,
                "enable": inherited(json!(false)),
                "mode": inherited(json!("passive")),
            },
            "macManagementPolicy": {
                "inherited": true,
                "allowPromiscuous": false,
                "macChanges": false,
                "forgedTransmits": false,
                "macLearningPolicy": {
                    "inherited": true,
                    "enabled": false,
                    "allowUnicastFlooding": true,
                    "limit": 4096,
                    "limitPolicy": "drop",
                },
            },
            "VNI": is_nsx.then(|| json!({ "inherited": false, "value": 69_632 })),
        })
    }
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
    counters["bytesInFromPnic"] = json!(0);
    counters["bytesOutToPnic"] = json!(0);
    counters
}

/// A UUID as vCenter writes those of switches: `50 21 … -… `.
fn switch_uuid() -> String {
    let hex = clock::uuid().replace('-', "");
    let pairs: Vec<&str> = (0..16).filter_map(|at| hex.get(at * 2..at * 2 + 2)).collect();
    let (first, last) = pairs.split_at(pairs.len() / 2);
    format!("{}-{}", first.join(" "), last.join(" "))
}
