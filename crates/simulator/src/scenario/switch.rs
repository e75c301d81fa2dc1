//! Distributed switches in a scenario.

use serde::{Deserialize, Serialize};

use super::{ScenarioError, wrong};

/// A distributed switch.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SwitchSpec {
    /// Its name in the inventory.
    pub name: String,
    /// The folder of networks that it and its portgroups lie in, as a path; empty for the top one.
    pub folder: String,
    /// Names of its uplinks; on each host the first one is `vmnic0`, the next `vmnic1`, …  Their
    /// ports are in the portgroup `NAME-DVUplinks`.
    pub uplinks: Vec<String>,
    /// Its portgroups for machines.
    pub portgroups: Vec<PortgroupSpec>,
    /// Largest frame in bytes.
    pub mtu: u32,
    /// The data processing units that its traffic is offloaded to; absent: it is not.
    pub offload: Option<Offload>,
    /// A port that a card came to is shown without running state until it is refreshed.
    pub state_lags: bool,
    /// What is wrong with single ports; the first that fits a card counts.
    pub quirks: Vec<PortQuirk>,
}

/// A portgroup for machines.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PortgroupSpec {
    /// Its name in the inventory.
    pub name: String,
    /// When its ports come into being.
    pub kind: PortgroupKind,
    /// Number of its ports at the start (early binding).
    pub ports: u32,
    /// Ports are added when all are taken.
    pub auto_expand: bool,
    /// VLAN of its ports; 0 for none.
    pub vlan: u16,
    /// Each host has its `vmk0` on it.
    pub vmkernel: bool,
    /// Each host has its `vswif0` on it, the service console of old hosts.
    pub console: bool,
    /// The hosts have made the ports of their `vmk0` themselves, without vCenter: their keys begin
    /// with `h-`, and each is in conflict with the port that vCenter keeps for it.
    pub host_local: bool,
}

/// When the ports of a portgroup come into being.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PortgroupKind {
    /// They are there from the start; a card gets one when its machine is made.
    #[default]
    EarlyBinding,
    /// They are there while a machine runs.
    Ephemeral,
}

/// Data processing units (DPU) of every host.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Offload {
    /// For each uplink of the switch the alias of the DPU that its card belongs to; empty for an
    /// ordinary card.
    pub dpus: Vec<String>,
    /// Names of the uplinks that stand by; empty: all are active, and nothing can take over.
    pub standby: Vec<String>,
    /// Aliases of DPUs that cannot take over.
    pub failed_dpus: Vec<String>,
    /// The hosts do not tell which uplinks are in use (`hostUplinkState`).
    pub untold: bool,
    /// A failover is begun, and then nothing happens.
    pub stuck: bool,
    /// Milliseconds from the answer to a failover to the moment when another DPU is in use.
    pub failover_ms: u64,
    /// The hosts are in partial maintenance, which allows no failover (9.0.0.0): `MethodDisabled`.
    pub partial_maintenance: bool,
}

/// What is wrong with the port of a card.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PortQuirk {
    /// Only cards of this machine, by name; absent: any.
    pub machine: Option<String>,
    /// Only the card with this index, counted from 0; absent: any.
    pub nic: Option<usize>,
    /// The port is in conflict.
    pub conflict: bool,
    /// The host made it without vCenter.
    pub host_local: bool,
    /// It lets nothing through.
    pub blocked: bool,
    /// Its link is down.
    pub link_down: bool,
    /// Its cookie is another one than the card's.
    pub wrong_cookie: bool,
    /// Nobody is shown on it.
    pub no_connectee: bool,
    /// Another machine is shown on it, or another card if there is no other machine.
    pub wrong_connectee: bool,
    /// It shows another MAC address than the card's.
    pub wrong_mac: bool,
    /// It is not among the ports, although the card names it.
    pub missing: bool,
    /// It belongs to NSX: it has the ids of a segment, and a virtual network.
    pub nsx: bool,
}

impl SwitchSpec {
    /// A switch with two uplinks and no portgroups.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(super) fn check(&self, at: &str) -> Result<(), ScenarioError> {
        if self.uplinks.is_empty() {
            return Err(wrong(format!("{at}.uplinks"), "at least one is needed"));
        }
        for (index, group) in self.portgroups.iter().enumerate() {
            let at = format!("{at}.portgroups[{index}]");
            if group.ports > PORTS_MAX {
                return Err(wrong(format!("{at}.ports"), format!("more than {PORTS_MAX}")));
            }
            if group.vlan > VLAN_MAX {
                return Err(wrong(format!("{at}.vlan"), format!("above {VLAN_MAX}")));
            }
            if group.host_local && !group.vmkernel {
                return Err(wrong(format!("{at}.host_local"), "there is no vmkernel on it"));
            }
        }
        let Some(offload) = &self.offload else { return Ok(()) };
        if offload.dpus.len() != self.uplinks.len() {
            return Err(wrong(format!("{at}.offload.dpus"), "one for each uplink is needed"));
        }
        if let Some(name) = offload.standby.iter().find(|name| !self.uplinks.contains(name)) {
            let problem = format!("no uplink is called {name}");
            return Err(wrong(format!("{at}.offload.standby"), problem));
        }
        Ok(())
    }
}

impl PortgroupSpec {
    /// A portgroup of this kind; with early binding it has 8 ports.
    #[must_use]
    pub fn new(name: &str, kind: PortgroupKind) -> Self {
        Self { name: name.to_owned(), kind, ..Self::default() }
    }
}

impl Default for SwitchSpec {
    fn default() -> Self {
        Self {
            name: "DVS0".to_owned(),
            folder: String::new(),
            uplinks: vec!["Uplink 1".to_owned(), "Uplink 2".to_owned()],
            portgroups: Vec::new(),
            mtu: 1500,
            offload: None,
            state_lags: false,
            quirks: Vec::new(),
        }
    }
}

impl Default for PortgroupSpec {
    fn default() -> Self {
        Self {
            name: "DPG0".to_owned(),
            kind: PortgroupKind::default(),
            ports: 8,
            auto_expand: false,
            vlan: 0,
            vmkernel: false,
            console: false,
            host_local: false,
        }
    }
}

/// The switch of the default scenario.
pub(super) fn default_switch() -> SwitchSpec {
    let groups = [("DPG0", PortgroupKind::EarlyBinding), ("DPG1", PortgroupKind::Ephemeral)];
    let portgroups = groups.map(|(name, kind)| PortgroupSpec::new(name, kind)).into();
    SwitchSpec { portgroups, ..SwitchSpec::new("DVS0") }
}

/// Ports of one portgroup: the most that vSphere gives a switch.
const PORTS_MAX: u32 = 60_000;

/// The highest VLAN id that a port can have.
const VLAN_MAX: u16 = 4094;
