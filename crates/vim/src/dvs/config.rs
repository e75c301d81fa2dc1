//! What a distributed switch and its portgroups are (`protocol` 8.2).

use super::setting::PortSetting;
use crate::locator::unescape;
use crate::value::{MoRef, Value};

/// A portgroup of a distributed switch (`DistributedVirtualPortgroup`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Portgroup {
    /// The portgroup.
    pub moref: MoRef,
    /// Its key, which ports and cards name.
    pub key: String,
    /// How it is configured.
    pub config: PortgroupConfig,
    /// Keys of its ports.  Ephemeral ports are among them only while they exist.
    pub port_keys: Vec<String>,
}

/// How a portgroup is configured (`DVPortgroupConfigInfo`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PortgroupConfig {
    /// Its name.
    pub name: String,
    /// How many ports it has.
    pub num_ports: Option<u32>,
    /// The switch; its type is what the server says.
    pub switch: Option<MoRef>,
    /// What its ports are set to, if they are not set otherwise.
    pub default_port_config: Option<PortSetting>,
    /// What people wrote about it.
    pub description: Option<String>,
    /// How machines get a port.
    pub binding: Binding,
    /// `standard` or `nsx` (since 7.0).
    pub backing_type: Option<String>,
    /// What a port may set otherwise, as the server sent it.
    pub policy: Option<Value>,
    /// How ports are named: `<portIndex>` and the like are replaced.
    pub port_name_format: Option<String>,
    /// Objects that may use it; empty for any.
    pub scope: Vec<MoRef>,
    /// Version of the configuration.
    pub config_version: Option<String>,
    /// Whether it grows when its ports run out; only early binding does (since 5.0).
    pub auto_expand: Option<bool>,
    /// Key of the network resource pool (since 6.0).
    pub resource_pool_key: Option<String>,
    /// Whether its ports are uplinks, which no machine may use (since 6.5).
    pub uplink: Option<bool>,
    /// UUID of the transport zone of NSX (since 7.0).
    pub transport_zone_uuid: Option<String>,
    /// Name of the transport zone of NSX (since 7.0).
    pub transport_zone_name: Option<String>,
    /// UUID of the logical switch of NSX (since 7.0).
    pub logical_switch_uuid: Option<String>,
    /// Id of the segment of NSX (since 7.0).
    pub segment_id: Option<String>,
    /// Id of the subnet of NSX (since 9.0.0.0).
    pub subnet_id: Option<String>,
}

/// How machines get a port (`DistributedVirtualPortgroupPortgroupType`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binding {
    /// When the card is connected, for good.
    Early,
    /// When the machine starts, until it stops; ports exist only then.
    Ephemeral,
    /// When the machine starts, from those there are (deprecated since 5.0).
    Late,
    /// A way that this crate does not know.
    Unknown(String),
}

impl Portgroup {
    pub(super) fn new(moref: &MoRef, config: &Value, port_keys: Vec<String>) -> Self {
        Self {
            moref: moref.clone(),
            // The id is what vCenter uses as key.
            key: config.filled_text_of("key").unwrap_or_else(|| moref.id().to_owned()),
            config: PortgroupConfig::from_value(config),
            port_keys,
        }
    }
}

impl PortgroupConfig {
    fn from_value(value: &Value) -> Self {
        let binding = match value.text_of("type").unwrap_or_default().as_str() {
            "earlyBinding" => Binding::Early,
            "ephemeral" => Binding::Ephemeral,
            "lateBinding" => Binding::Late,
            unknown => Binding::Unknown(unknown.to_owned()),
        };
        Self {
            name: unescape(&value.text_of("name").unwrap_or_default()),
            num_ports: count_of(value, "numPorts"),
            switch: value.moref_of("distributedVirtualSwitch"),
            default_port_config: value.field("defaultPortConfig").map(PortSetting::from_value),
            description: value.filled_text_of("description"),
            binding,
            backing_type: value.filled_text_of("backingType"),
            policy: value.field("policy").cloned(),
            port_name_format: value.filled_text_of("portNameFormat"),
            scope: value.each("scope").filter_map(Value::moref).cloned().collect(),
            config_version: value.filled_text_of("configVersion"),
            auto_expand: value.boolean_of("autoExpand"),
            resource_pool_key: value.filled_text_of("vmVnicNetworkResourcePoolKey"),
            uplink: value.boolean_of("uplink"),
            transport_zone_uuid: value.filled_text_of("transportZoneUuid"),
            transport_zone_name: value.filled_text_of("transportZoneName"),
            logical_switch_uuid: value.filled_text_of("logicalSwitchUuid"),
            segment_id: value.filled_text_of("segmentId"),
            subnet_id: value.filled_text_of("subnetId"),
        }
    }
}

/// A distributed switch (`DistributedVirtualSwitch`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Switch {
    /// The switch; its type is what the server says: `VmwareDistributedVirtualSwitch` on vCenter.
    pub moref: MoRef,
    /// Its UUID, which ports and cards name; to be compared as it stands.
    pub uuid: String,
    /// How it is configured.
    pub config: SwitchConfig,
}

/// How a distributed switch is configured (`DVSConfigInfo`, `VMwareDVSConfigInfo`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SwitchConfig {
    /// Its name, which `startDpuFailover` wants.
    pub name: String,
    /// How many ports it has.
    pub num_ports: Option<u32>,
    /// How many ports it may have.
    pub max_ports: Option<u32>,
    /// How many of its ports belong to no portgroup.
    pub num_standalone_ports: Option<u32>,
    /// Names of its uplinks; every host has as many.
    pub uplink_names: Vec<String>,
    /// The portgroups of its uplinks.
    pub uplink_portgroups: Vec<MoRef>,
    /// What people wrote about it.
    pub description: Option<String>,
    /// Version of the configuration.
    pub config_version: Option<String>,
    /// Largest frame in bytes.
    pub max_mtu_bytes: Option<u32>,
    /// Id of the kind of DPU it may be offloaded to; unset or the word `None` for no offload (since
    /// 8.0.0.1).
    pub network_offload_spec_id: Option<String>,
    /// Which uplinks carry it and which stand by; `None` where all carry it (since 8.0.3.0).
    pub dpu_failover_policy: Option<DpuFailoverPolicy>,
}

/// Uplinks of an offloaded switch (`VmwareDistributedVirtualSwitchDpuFailoverPolicy`, since
/// 8.0.3.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DpuFailoverPolicy {
    /// Names of the uplinks in use.
    pub active_uplinks: Vec<String>,
    /// Names of the uplinks in reserve; without any there is no failover.
    pub standby_uplinks: Vec<String>,
}

impl SwitchConfig {
    pub(super) fn from_value(value: &Value) -> Self {
        let uplinks = value.field("uplinkPortPolicy");
        Self {
            name: unescape(&value.text_of("name").unwrap_or_default()),
            num_ports: count_of(value, "numPorts"),
            max_ports: count_of(value, "maxPorts"),
            num_standalone_ports: count_of(value, "numStandalonePorts"),
            uplink_names: uplinks
                .map(|policy| super::texts(policy, "uplinkPortName"))
                .unwrap_or_default(),
            uplink_portgroups: value
                .each("uplinkPortgroup")
                .filter_map(Value::moref)
                .cloned()
                .collect(),
            description: value.filled_text_of("description"),
            config_version: value.filled_text_of("configVersion"),
            max_mtu_bytes: count_of(value, "maxMtu"),
            network_offload_spec_id: value.filled_text_of("networkOffloadSpecId"),
            dpu_failover_policy: value.at(&["networkOffloadConfig", "dpuFailoverPolicy"]).map(
                |policy| DpuFailoverPolicy {
                    active_uplinks: super::texts(policy, "activeUplink"),
                    standby_uplinks: super::texts(policy, "standbyUplink"),
                },
            ),
        }
    }

    /// Whether the switch is offloaded to DPUs.
    #[must_use]
    pub fn is_offloaded(&self) -> bool {
        let spec = self.network_offload_spec_id.as_deref();
        spec.is_some_and(|id| !id.eq_ignore_ascii_case("none"))
    }
}

fn count_of(value: &Value, name: &str) -> Option<u32> {
    u32::try_from(value.int_of(name)?).ok()
}
