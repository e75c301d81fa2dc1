//! The network of machines: what each card is plugged into, and whether its port is as it should be.
//!
//! ```text
//!   machine ── cards ──┬─ a portgroup of a standard switch, a network of NSX: told as they are
//!                      └─ a distributed port: found on its switch, and judged
//! ```

mod connect;
mod judge;
mod planned;
mod read;

use std::fmt;

use ovftransfer_vim::dvs::Binding;
use ovftransfer_vim::dvs::DistributedVirtualPort;
use ovftransfer_vim::dvs::PortConnection;
use ovftransfer_vim::inventory::PowerState;
use ovftransfer_vim::value::MoRef;

use crate::error::Check;
use crate::error::ErrorKind;
use crate::error::Finding;
use crate::error::Severity;

pub use crate::network::connect::ConnectCard;
pub use crate::network::connect::ConnectedCard;
pub(crate) use crate::network::connect::card_called;
pub(crate) use crate::network::connect::is_uplink;
pub(crate) use crate::network::connect::plug;
pub(crate) use crate::network::connect::usable_port;
pub use crate::network::planned::NetworkKind;
pub use crate::network::planned::PlannedNetwork;
pub use crate::network::planned::PortgroupRoom;
pub use crate::network::planned::ServerNetwork;
pub(crate) use crate::network::read::Freshness;
pub(crate) use crate::network::read::check;
pub(crate) use crate::network::read::seen;

/// A machine with its network cards, and what was found of the port of each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedMachine {
    /// The machine.
    pub vm: MoRef,
    /// Its name.
    pub name: String,
    /// The host that it is on; `None` if the session may not see it.
    pub host: Option<MoRef>,
    /// Whether it runs; `None` if the session may not see it.
    pub power_state: Option<PowerState>,
    /// Its network cards, in the order of its hardware.
    pub cards: Vec<CheckedCard>,
    /// Why the cards are not known, where they are not.
    pub unread: Option<String>,
}

/// A network card of a machine (`VirtualEthernetCard`, since 2.5).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedCard {
    /// Key of the device in the machine's hardware.
    pub key: i64,
    /// What people call it: `Network adapter 1`.
    pub label: String,
    /// Its model: `VirtualVmxnet3`.
    pub model: String,
    /// Its MAC address.
    pub mac_address: Option<String>,
    /// Whether it is connected at present.
    pub connected: Option<bool>,
    /// Whether it is connected when the machine starts.
    pub start_connected: Option<bool>,
    /// What it is plugged into.
    pub network: CardNetwork,
}

/// What a network card is plugged into.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CardNetwork {
    /// A port of a distributed switch (since 4.0).
    Distributed(Box<CheckedPort>),
    /// A network of NSX (since 5.5).
    Opaque {
        /// Id of the network.
        network_id: String,
    },
    /// A portgroup of a standard switch, which has no ports that could be looked at.
    Standard {
        /// Name of the portgroup.
        name: String,
        /// The network, if the session may see it.
        network: Option<MoRef>,
    },
    /// A kind that this crate does not know, by the name of its type; empty for none.
    Unknown(String),
}

/// The distributed port that a card is to be on, and what was found of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedPort {
    /// What the card says: switch, portgroup, port and cookie.
    pub connection: PortConnection,
    /// The switch, if the session may see it.
    pub switch: Option<SwitchName>,
    /// The portgroup, if the session may see it; `None` also for a port outside of all.
    pub portgroup: Option<PortgroupName>,
    /// The port as the switch has it; `None` if there is none, or none yet, or it may not be seen.
    pub port: Option<DistributedVirtualPort>,
    /// What was judged, in the order of [`PortAspect`]; of a port that was not found only that.
    pub checks: Vec<PortCheck>,
}

/// A distributed switch.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SwitchName {
    /// The switch.
    pub moref: MoRef,
    /// Its name.
    pub name: String,
    /// Its UUID; to be compared as it stands.
    pub uuid: String,
    /// Largest frame in bytes.
    pub max_mtu_bytes: Option<u32>,
}

/// A portgroup of a distributed switch.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PortgroupName {
    /// The portgroup.
    pub moref: MoRef,
    /// Its key, which ports and cards name.
    pub key: String,
    /// Its name.
    pub name: String,
    /// How machines get a port of it.
    pub binding: Binding,
}

/// One thing that was judged about a port.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PortCheck {
    /// What was looked at.
    pub aspect: PortAspect,
    /// What came out.
    pub verdict: Verdict,
}

/// What is looked at of a port.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum PortAspect {
    /// The card has a port, and its switch and portgroup have it too.
    Exists,
    /// Who is connected is this machine with this card.
    Connectee,
    /// Port and card have the same cookie, which proves the rightful connectee.
    Cookie,
    /// The port is not contended for, and was not made by a host without its vCenter.
    Conflict,
    /// The port is not blocked.
    Blocked,
    /// The link is up, while the machine runs.
    Link,
    /// The port carries the VLANs that it is set to.
    Vlan,
    /// The port takes frames as large as the switch does.
    Mtu,
    /// The port sees the MAC address of the card.
    Mac,
    /// The host that serves the port is the one that the machine is on.
    Host,
}

/// What came out of looking at one thing.  What is not good says why, as a sentence.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad(String),
    /// Shows only when the machine runs, or when its card is connected.
    NotYet(String),
    /// The server does not say, or not to this session.
    Unknown(String),
}

impl PortAspect {
    /// The word for it in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Connectee => "connectee",
            Self::Cookie => "cookie",
            Self::Conflict => "conflict",
            Self::Blocked => "blocked",
            Self::Link => "link",
            Self::Vlan => "vlan",
            Self::Mtu => "mtu",
            Self::Mac => "mac",
            Self::Host => "host",
        }
    }

    /// Whether a card is off its network if this is bad; the others are worth a warning only.
    #[must_use]
    pub const fn is_vital(self) -> bool {
        match self {
            Self::Exists
            | Self::Connectee
            | Self::Cookie
            | Self::Conflict
            | Self::Blocked
            | Self::Link => true,
            Self::Vlan | Self::Mtu | Self::Mac | Self::Host => false,
        }
    }
}

impl Verdict {
    /// The word for it in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad(_) => "bad",
            Self::NotYet(_) => "not_yet",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Why it is not good.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Good => None,
            Self::Bad(reason) | Self::NotYet(reason) | Self::Unknown(reason) => Some(reason),
        }
    }
}

impl CheckedPort {
    /// What was judged about `aspect`; `None` if nothing was, as the port was not found.
    #[must_use]
    pub fn verdict(&self, aspect: PortAspect) -> Option<&Verdict> {
        self.checks.iter().find(|check| check.aspect == aspect).map(|check| &check.verdict)
    }

    /// Whether something is wrong that takes the card off its network.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        let is_bad = |check: &PortCheck| matches!(check.verdict, Verdict::Bad(_));
        self.checks.iter().any(|check| check.aspect.is_vital() && is_bad(check))
    }

    /// Whether everything vital is as it should be, or will show only later.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let is_fine =
            |check: &PortCheck| matches!(check.verdict, Verdict::Good | Verdict::NotYet(_));
        self.checks.iter().all(|check| !check.aspect.is_vital() || is_fine(check))
    }

    /// Whether a machine that has just started may only not have come so far: its card has no port
    /// yet, or its link is not up.
    pub(crate) fn may_settle(&self) -> bool {
        let is_open = |aspect: PortAspect| {
            matches!(self.verdict(aspect), Some(Verdict::Bad(_) | Verdict::Unknown(_)))
        };
        self.connection.port_key.is_none() && is_open(PortAspect::Exists)
            || is_open(PortAspect::Link)
    }

    /// Where the port is, for people: `DVS0/DPG0, port 7`.
    #[must_use]
    pub fn place(&self) -> String {
        let PortConnection { switch_uuid, portgroup_key, port_key, .. } = &self.connection;
        let switch = self.switch.as_ref().map_or(switch_uuid, |switch| &switch.name);
        let portgroup = self.portgroup.as_ref().map(|portgroup| &portgroup.name);
        let mut place = switch.clone();
        if let Some(portgroup) = portgroup.or(portgroup_key.as_ref()) {
            place.push('/');
            place.push_str(portgroup);
        }
        if let Some(port) = port_key {
            place.push_str(", port ");
            place.push_str(port);
        }
        place
    }
}

impl CheckedCard {
    /// The distributed port, if the card is on a distributed switch.
    #[must_use]
    pub fn port(&self) -> Option<&CheckedPort> {
        match &self.network {
            CardNetwork::Distributed(port) => Some(port),
            CardNetwork::Opaque { .. } | CardNetwork::Standard { .. } | CardNetwork::Unknown(_) => {
                None
            }
        }
    }
}

impl fmt::Display for CardNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distributed(port) => f.write_str(&port.place()),
            Self::Opaque { network_id } => write!(f, "NSX network {network_id}"),
            Self::Standard { name, .. } => write!(f, "{name}, of a standard switch"),
            Self::Unknown(kind) if kind.is_empty() => f.write_str("nothing"),
            Self::Unknown(kind) => write!(f, "a {kind}"),
        }
    }
}

impl CheckedMachine {
    /// What is wrong with the ports, as warnings, and what is not known of them, as notes.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.listed(Severity::Warning)
    }

    /// The same where the cards must be on their networks: what takes one off is an error, and what
    /// is not known is worth a warning.
    pub(crate) fn required(&self) -> Vec<Finding> {
        let mut findings = self.listed(Severity::Error);
        for finding in findings.iter_mut().filter(|one| one.severity == Severity::Note) {
            finding.severity = Severity::Warning;
        }
        findings
    }

    /// `vital` is how bad it is that a card is off its network.
    fn listed(&self, vital: Severity) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(reason) = &self.unread {
            let problem = format!("its network cards are not known: {reason}");
            findings.push(Finding::note(Check::Network, &self.name, problem));
        }
        for card in &self.cards {
            let Some(port) = card.port() else { continue };
            let subject = format!("{}: {} ({})", self.name, card.label, port.place());
            let mut unknown: Vec<&str> = Vec::new();
            for PortCheck { aspect, verdict } in &port.checks {
                match verdict {
                    Verdict::Bad(problem) => {
                        let severity = if aspect.is_vital() { vital } else { Severity::Warning };
                        findings.push(bad(severity, *aspect, &subject, problem));
                    }
                    Verdict::Unknown(reason) if !unknown.contains(&reason.as_str()) => {
                        unknown.push(reason);
                    }
                    Verdict::Good | Verdict::NotYet(_) | Verdict::Unknown(_) => {}
                }
            }
            if !unknown.is_empty() {
                findings.push(Finding::note(Check::Network, &subject, unknown.join(", ")));
            }
        }
        findings
    }
}

fn bad(severity: Severity, aspect: PortAspect, subject: &str, problem: &str) -> Finding {
    let finding = Finding::error(Check::Network, ErrorKind::Refused, subject, problem);
    let finding = Finding { severity, ..finding };
    match advice(aspect) {
        Some(advice) => finding.advise(advice),
        None => finding,
    }
}

/// What to do about a port, where that is known.
const fn advice(aspect: PortAspect) -> Option<&'static str> {
    match aspect {
        PortAspect::Exists | PortAspect::Connectee | PortAspect::Cookie => {
            Some("connect the card again, to this or to another portgroup")
        }
        PortAspect::Conflict => Some("connect the card to another port"),
        PortAspect::Blocked => Some("unblock the port, or find out why it was blocked"),
        PortAspect::Link
        | PortAspect::Vlan
        | PortAspect::Mtu
        | PortAspect::Mac
        | PortAspect::Host => None,
    }
}
