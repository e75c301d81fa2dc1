//! What a port of a distributed switch is and does (`DistributedVirtualPort`, `protocol` 8.1).

use super::setting::{KeyedBlob, NumericRange, PortSetting};
use crate::value::{MoRef, Value};

/// A port of a distributed switch (`DistributedVirtualPort`, since 4.0).
///
/// What a server leaves out is `None`, also where the reference says that it never does: an unknown
/// conflict is not the same as none.  Fields that this crate does not know are passed over.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DistributedVirtualPort {
    /// The port's key, unique in its switch (since 4.0).
    pub key: String,
    /// How it is configured (since 4.0).
    pub config: PortConfig,
    /// The switch's UUID, to be compared as it stands (since 4.0).
    pub dvs_uuid: Option<String>,
    /// Key of its portgroup; `None` for a port outside of all (since 4.0).
    pub portgroup_key: Option<String>,
    /// The host that serves the port at present (since 4.0).
    pub proxy_host: Option<MoRef>,
    /// Who is connected; `None` for a free port, and on servers that do not say (since 4.0).
    pub connectee: Option<PortConnectee>,
    /// Whether another entity occupies the port already, or a host made it without its vCenter
    /// (since 4.0).  Its runtime state is not kept, and it cannot leave its host.
    pub conflict: Option<bool>,
    /// Key of the port that this one contends for (since 4.0).
    pub conflict_port_key: Option<String>,
    /// What it does; `None` where the server does not know (since 4.0).
    pub state: Option<PortState>,
    /// Equal to the cookie in the backing of the card that rightfully uses the port (since 4.0).
    pub connection_cookie: Option<i32>,
    /// When [`PortState::runtime`] changed last, as the server prints it (RFC 3339); `None` if it
    /// never did (since 4.0).
    pub last_status_change: Option<String>,
    /// Whether a host made it to bring a management interface back; it cannot be reconfigured
    /// (since 5.1).
    pub host_local_port: Option<bool>,
    /// Id given by an external management plane (since 7.0).
    pub external_id: Option<String>,
    /// Id of the logical port of NSX (since 7.0).
    pub segment_port_id: Option<String>,
}

/// How a port is configured (`DVPortConfigInfo`, since 4.0).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PortConfig {
    /// Its name (since 4.0).
    pub name: Option<String>,
    /// Objects that may use it; empty for any (since 4.0, deprecated since 5.5).
    pub scope: Vec<MoRef>,
    /// What people wrote about it (since 4.0).
    pub description: Option<String>,
    /// Its network settings (since 4.0).
    pub setting: Option<PortSetting>,
    /// Version of the configuration; may be empty (since 4.0).
    pub config_version: Option<String>,
}

/// Who is connected to a port (`DistributedVirtualSwitchPortConnectee`, since 4.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortConnectee {
    /// The machine or host; `None` also if the caller may not see it (since 4.0).
    pub connected_entity: Option<MoRef>,
    /// Key of the machine's network card, or name of the host's interface (since 4.0).
    pub nic_key: Option<String>,
    /// What is connected (since 4.0).
    pub kind: Option<ConnecteeKind>,
    /// An address, for people (since 4.0).
    pub address_hint: Option<String>,
}

/// What is connected to a port (`DistributedVirtualSwitchPortConnecteeConnecteeType`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnecteeKind {
    /// The service console of an old host.
    HostConsoleVnic,
    /// A VMkernel interface of a host.
    HostVmkVnic,
    /// A physical card of a host, as uplink.
    Pnic,
    /// A container runtime of the host.
    SystemCrxVnic,
    /// A kind that this crate does not know.
    Unknown(String),
    /// A network card of a machine.
    VmVnic,
}

impl ConnecteeKind {
    /// The word of the API: `vmVnic`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::HostConsoleVnic => "hostConsoleVnic",
            Self::HostVmkVnic => "hostVmkVnic",
            Self::Pnic => "pnic",
            Self::SystemCrxVnic => "systemCrxVnic",
            Self::Unknown(word) => word,
            Self::VmVnic => "vmVnic",
        }
    }

    fn new(word: String) -> Self {
        const KNOWN: [ConnecteeKind; 5] = [
            ConnecteeKind::HostConsoleVnic,
            ConnecteeKind::HostVmkVnic,
            ConnecteeKind::Pnic,
            ConnecteeKind::SystemCrxVnic,
            ConnecteeKind::VmVnic,
        ];
        KNOWN.into_iter().find(|kind| kind.as_str() == word).unwrap_or(Self::Unknown(word))
    }
}

/// What a port does (`DVPortState`, since 4.0).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PortState {
    /// The link; only while the port runs (since 4.0).
    pub runtime: Option<PortStatus>,
    /// What it has moved (since 4.0).
    pub statistics: Option<PortStatistics>,
    /// State of other vendors' switches (since 4.0).
    pub vendor_specific_state: Vec<KeyedBlob>,
}

/// The link of a running port (`DVPortStatus`, since 4.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortStatus {
    /// Whether the link is up (since 4.0).
    pub link_up: Option<bool>,
    /// Whether the port is blocked, by its configuration or by the switch (since 4.0).
    pub blocked: Option<bool>,
    /// The VLANs it carries (since 4.0).
    pub vlan_ids: Vec<NumericRange>,
    /// Whether it is a trunk (since 4.0).
    pub trunking_mode: Option<bool>,
    /// Largest frame, in bytes (since 4.0).
    pub mtu_bytes: Option<u32>,
    /// The other end of the link, such as `SLES-1.eth0` (since 4.0).
    pub link_peer: Option<String>,
    /// MAC address of what is connected (since 4.0).
    pub mac_address: Option<String>,
    /// More about the state, for people (since 4.1).
    pub status_detail: Option<String>,
    /// Whether the card bypasses the switch (since 4.1, deprecated since 8.0).
    pub vm_direct_path_gen2_active: Option<bool>,
    /// Why the network side cannot bypass it (since 4.1, deprecated since 8.0).
    pub vm_direct_path_gen2_inactive_reason_network: Vec<String>,
    /// Why something else cannot (since 4.1, deprecated since 8.0).
    pub vm_direct_path_gen2_inactive_reason_other: Vec<String>,
    /// The reason of another vendor's switch (since 4.1, deprecated since 8.0).
    pub vm_direct_path_gen2_inactive_reason_extended: Option<String>,
}

macro_rules! statistics {
    ($($(#[$doc:meta])* $field:ident = $wire:literal,)*) => {
        /// What a port has moved (`DistributedVirtualSwitchPortStatistics`, since 4.0).
        ///
        /// Packets are counted one by one, bytes in bytes; `in` is from the port into the switch.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct PortStatistics {
            $($(#[$doc])* pub $field: Option<u64>,)*
        }

        impl PortStatistics {
            fn from_value(value: &Value) -> Self {
                Self { $($field: value.unsigned_of($wire),)* }
            }
        }
    };
}

statistics! {
    /// Multicast packets in (since 4.0).
    packets_in_multicast = "packetsInMulticast",
    /// Multicast packets out (since 4.0).
    packets_out_multicast = "packetsOutMulticast",
    /// Multicast bytes in (since 4.0).
    bytes_in_multicast = "bytesInMulticast",
    /// Multicast bytes out (since 4.0).
    bytes_out_multicast = "bytesOutMulticast",
    /// Unicast packets in (since 4.0).
    packets_in_unicast = "packetsInUnicast",
    /// Unicast packets out (since 4.0).
    packets_out_unicast = "packetsOutUnicast",
    /// Unicast bytes in (since 4.0).
    bytes_in_unicast = "bytesInUnicast",
    /// Unicast bytes out (since 4.0).
    bytes_out_unicast = "bytesOutUnicast",
    /// Broadcast packets in (since 4.0).
    packets_in_broadcast = "packetsInBroadcast",
    /// Broadcast packets out (since 4.0).
    packets_out_broadcast = "packetsOutBroadcast",
    /// Broadcast bytes in (since 4.0).
    bytes_in_broadcast = "bytesInBroadcast",
    /// Broadcast bytes out (since 4.0).
    bytes_out_broadcast = "bytesOutBroadcast",
    /// Packets in that were dropped (since 4.0).
    packets_in_dropped = "packetsInDropped",
    /// Packets out that were dropped (since 4.0).
    packets_out_dropped = "packetsOutDropped",
    /// Packets in that could not be processed (since 4.0).
    packets_in_exception = "packetsInException",
    /// Packets out that could not be processed (since 4.0).
    packets_out_exception = "packetsOutException",
    /// Bytes in from physical cards (since 6.5).
    bytes_in_from_pnic = "bytesInFromPnic",
    /// Bytes out to physical cards (since 6.5).
    bytes_out_to_pnic = "bytesOutToPnic",
}

impl DistributedVirtualPort {
    /// Reads a port; `None` if it has no key.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        Some(Self {
            key: value.filled_text_of("key")?,
            config: value.field("config").map(PortConfig::from_value).unwrap_or_default(),
            dvs_uuid: value.filled_text_of("dvsUuid"),
            portgroup_key: value.filled_text_of("portgroupKey"),
            proxy_host: value.moref_of("proxyHost"),
            connectee: value.field("connectee").map(PortConnectee::from_value),
            conflict: value.boolean_of("conflict"),
            conflict_port_key: value.filled_text_of("conflictPortKey"),
            state: value.field("state").map(PortState::from_value),
            connection_cookie: cookie_of(value),
            last_status_change: value
                .filled_text_of("lastStatusChange")
                .filter(|time| !time.starts_with(NEVER)),
            host_local_port: value.boolean_of("hostLocalPort"),
            external_id: value.filled_text_of("externalId"),
            segment_port_id: value.filled_text_of("segmentPortId"),
        })
    }

    /// The link; `None` while the port does not run, and where the server does not know.
    #[must_use]
    pub fn runtime(&self) -> Option<&PortStatus> {
        self.state.as_ref()?.runtime.as_ref()
    }
}

impl PortConfig {
    fn from_value(value: &Value) -> Self {
        Self {
            name: value.filled_text_of("name"),
            scope: value.each("scope").filter_map(Value::moref).cloned().collect(),
            description: value.filled_text_of("description"),
            setting: value.field("setting").map(PortSetting::from_value),
            config_version: value.text_of("configVersion"),
        }
    }
}

impl PortConnectee {
    fn from_value(value: &Value) -> Self {
        Self {
            connected_entity: value.moref_of("connectedEntity"),
            nic_key: value.filled_text_of("nicKey"),
            kind: value.filled_text_of("type").map(ConnecteeKind::new),
            address_hint: value.filled_text_of("addressHint"),
        }
    }
}

impl PortState {
    fn from_value(value: &Value) -> Self {
        Self {
            runtime: value.field("runtimeInfo").map(PortStatus::from_value),
            statistics: value.field("stats").map(PortStatistics::from_value),
            vendor_specific_state: KeyedBlob::each(value, "vendorSpecificState"),
        }
    }
}

impl PortStatus {
    fn from_value(value: &Value) -> Self {
        Self {
            link_up: value.boolean_of("linkUp"),
            blocked: value.boolean_of("blocked"),
            vlan_ids: NumericRange::each(value, "vlanIds"),
            trunking_mode: value.boolean_of("trunkingMode"),
            mtu_bytes: value.int_of("mtu").and_then(|mtu| u32::try_from(mtu).ok()),
            link_peer: value.filled_text_of("linkPeer"),
            mac_address: value.filled_text_of("macAddress"),
            status_detail: value.filled_text_of("statusDetail"),
            vm_direct_path_gen2_active: value.boolean_of("vmDirectPathGen2Active"),
            vm_direct_path_gen2_inactive_reason_network: super::texts(
                value,
                "vmDirectPathGen2InactiveReasonNetwork",
            ),
            vm_direct_path_gen2_inactive_reason_other: super::texts(
                value,
                "vmDirectPathGen2InactiveReasonOther",
            ),
            vm_direct_path_gen2_inactive_reason_extended: value
                .filled_text_of("vmDirectPathGen2InactiveReasonExtended"),
        }
    }
}

pub(super) fn cookie_of(value: &Value) -> Option<i32> {
    i32::try_from(value.int_of("connectionCookie")?).ok()
}

/// The year of servers that have no time to tell.
const NEVER: &str = "0001-";
