//! Network settings of a port (`DVPortSetting`, `VMwareDVSPortSetting`).

use crate::value::Value;

/// A setting that may come from the portgroup (`BoolPolicy`, `IntPolicy`, `StringPolicy`, ..).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy<T> {
    /// Whether it is the portgroup's or the switch's.
    pub inherited: Option<bool>,
    /// What is set.
    pub value: Option<T>,
}

/// Network settings of a port (`VMwareDVSPortSetting`, since 4.0).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PortSetting {
    /// Whether the port moves nothing (since 4.0).
    pub blocked: Option<Policy<bool>>,
    /// Whether cards may bypass the switch (since 4.1, deprecated since 8.0).
    pub vm_direct_path_gen2_allowed: Option<Policy<bool>>,
    /// Limits for what comes in (since 4.0).
    pub in_shaping_policy: Option<ShapingPolicy>,
    /// Limits for what goes out (since 4.0).
    pub out_shaping_policy: Option<ShapingPolicy>,
    /// Settings of other vendors' switches (since 4.0).
    pub vendor_specific_config: Option<VendorConfig>,
    /// Key of the network resource pool; `-1` for none (since 4.1).
    pub network_resource_pool_key: Option<Policy<String>>,
    /// Filters on the way, as the server sent them (since 5.5).
    pub filter_policy: Option<Value>,
    /// The VLAN (since 4.0).
    pub vlan: Option<Policy<Vlan>>,
    /// Priority tag for what leaves (since 4.0, deprecated since 5.0).
    pub qos_tag: Option<Policy<i64>>,
    /// Which uplinks carry it (since 4.0).
    pub uplink_teaming_policy: Option<TeamingPolicy>,
    /// What a card may do (since 4.0, deprecated since 6.7).
    pub security_policy: Option<SecurityPolicy>,
    /// Whether flows are reported (since 5.0).
    pub ipfix_enabled: Option<Policy<bool>>,
    /// Whether a copy of what is sent goes to the uplinks (since 5.0).
    pub tx_uplink: Option<Policy<bool>>,
    /// Link aggregation (since 5.1).
    pub lacp_policy: Option<LacpPolicy>,
    /// What a card may do with MAC addresses (since 6.7).
    pub mac_management_policy: Option<MacManagementPolicy>,
    /// Number of the virtual network of NSX (since 7.0).
    pub vni: Option<Policy<i64>>,
}

/// The VLAN of a port (`VmwareDistributedVirtualSwitchVlanSpec`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vlan {
    /// One VLAN, 1 to 4094; 0 for none.
    Id(i32),
    /// A private VLAN, by its secondary id.
    Private(i32),
    /// Several: the card tags.
    Trunk(Vec<NumericRange>),
    /// A kind that this crate does not know, by the name of its type.
    Unknown(String),
}

/// Numbers from `start` to `end`, both included (`NumericRange`, since 4.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NumericRange {
    /// The first.
    pub start: i32,
    /// The last.
    pub end: i32,
}

/// Data that only its vendor understands (`DistributedVirtualSwitchKeyedOpaqueBlob`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedBlob {
    /// What it is.
    pub key: String,
    /// The data.
    pub opaque_data: String,
}

/// Settings of other vendors' switches (`DVSVendorSpecificConfig`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VendorConfig {
    /// Whether they are the portgroup's.
    pub inherited: Option<bool>,
    /// The settings.
    pub key_value: Vec<KeyedBlob>,
}

/// Limits for one direction (`DVSTrafficShapingPolicy`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShapingPolicy {
    /// Whether it is the portgroup's.
    pub inherited: Option<bool>,
    /// Whether there are limits.
    pub enabled: Option<Policy<bool>>,
    /// Bits per second over time.
    pub average_bandwidth_bits_per_s: Option<Policy<i64>>,
    /// Bits per second in bursts.
    pub peak_bandwidth_bits_per_s: Option<Policy<i64>>,
    /// Bytes of a burst.
    pub burst_bytes: Option<Policy<i64>>,
}

/// What a card may do (`DVSSecurityPolicy`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecurityPolicy {
    /// Whether it is the portgroup's.
    pub inherited: Option<bool>,
    /// Whether it may see what is for others.
    pub allow_promiscuous: Option<Policy<bool>>,
    /// Whether it may change its address.
    pub mac_changes: Option<Policy<bool>>,
    /// Whether it may send in another's name.
    pub forged_transmits: Option<Policy<bool>>,
}

/// What a card may do with MAC addresses (`DVSMacManagementPolicy`, since 6.7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MacManagementPolicy {
    /// Whether it is the portgroup's.
    pub inherited: Option<bool>,
    /// Whether it may see what is for others.
    pub allow_promiscuous: Option<bool>,
    /// Whether it may change its address.
    pub mac_changes: Option<bool>,
    /// Whether it may send in another's name.
    pub forged_transmits: Option<bool>,
    /// Whether the switch learns addresses behind the port.
    pub mac_learning: Option<MacLearning>,
}

/// Addresses behind a port (`DVSMacLearningPolicy`, since 6.7).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MacLearning {
    /// Whether it is the portgroup's.
    pub inherited: Option<bool>,
    /// Whether they are learnt.
    pub enabled: Option<bool>,
    /// Whether packets for unknown addresses are flooded.
    pub allow_unicast_flooding: Option<bool>,
    /// How many are learnt.
    pub limit: Option<i64>,
    /// What happens beyond the limit: `allow` or `drop`.
    pub limit_policy: Option<String>,
}

/// Which uplinks carry a port (`VmwareUplinkPortTeamingPolicy`, since 4.0).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TeamingPolicy {
    /// Whether it is the portgroup's.
    pub inherited: Option<bool>,
    /// `loadbalance_ip`, `loadbalance_srcmac`, `loadbalance_srcid`, `failover_explicit` or
    /// `loadbalance_loadbased`.
    pub policy: Option<Policy<String>>,
    /// Whether it applies to what comes in, too.
    pub reverse_policy: Option<Policy<bool>>,
    /// Whether physical switches are told of a failover.
    pub notify_switches: Option<Policy<bool>>,
    /// Whether a card that comes back stays in reserve.
    pub rolling_order: Option<Policy<bool>>,
    /// What counts as a failure of an uplink.
    pub failure_criteria: Option<FailureCriteria>,
    /// Names of the uplinks in use.
    pub active_uplinks: Vec<String>,
    /// Names of the uplinks in reserve.
    pub standby_uplinks: Vec<String>,
}

/// What counts as a failure of an uplink (`DVSFailureCriteria`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureCriteria {
    /// Whether it is the portgroup's.
    pub inherited: Option<bool>,
    /// Whether another speed than `speed_megabits_per_s` is one: `exact`, `minimum`, or empty for no.
    pub check_speed: Option<Policy<String>>,
    /// The speed in megabits per second.
    pub speed_megabits_per_s: Option<Policy<i64>>,
    /// Whether another mode than `full_duplex` is one.
    pub check_duplex: Option<Policy<bool>>,
    /// The mode: full duplex, or half.
    pub full_duplex: Option<Policy<bool>>,
    /// Whether more errors than `error_percent` are one.
    pub check_error_percent: Option<Policy<bool>>,
    /// The share of errors in percent.
    pub error_percent: Option<Policy<i64>>,
    /// Whether beacons that get lost are one.
    pub check_beacon: Option<Policy<bool>>,
}

/// Link aggregation (`VMwareUplinkLacpPolicy`, since 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LacpPolicy {
    /// Whether it is the portgroup's.
    pub inherited: Option<bool>,
    /// Whether links are aggregated.
    pub enable: Option<Policy<bool>>,
    /// `active` or `passive`.
    pub mode: Option<Policy<String>>,
}

impl PortSetting {
    /// Reads the settings; those of other vendors' types lack what only VMware's have.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        Self {
            blocked: flag(value, "blocked"),
            vm_direct_path_gen2_allowed: flag(value, "vmDirectPathGen2Allowed"),
            in_shaping_policy: value.field("inShapingPolicy").map(ShapingPolicy::from_value),
            out_shaping_policy: value.field("outShapingPolicy").map(ShapingPolicy::from_value),
            vendor_specific_config: value.field("vendorSpecificConfig").map(|config| {
                VendorConfig {
                    inherited: config.boolean_of("inherited"),
                    key_value: KeyedBlob::each(config, "keyValue"),
                }
            }),
            network_resource_pool_key: word(value, "networkResourcePoolKey"),
            filter_policy: value.field("filterPolicy").cloned(),
            vlan: value.field("vlan").map(|vlan| Policy {
                inherited: vlan.boolean_of("inherited"),
                value: Vlan::from_value(vlan),
            }),
            qos_tag: number(value, "qosTag"),
            uplink_teaming_policy: value
                .field("uplinkTeamingPolicy")
                .map(TeamingPolicy::from_value),
            security_policy: value.field("securityPolicy").map(SecurityPolicy::from_value),
            ipfix_enabled: flag(value, "ipfixEnabled"),
            tx_uplink: flag(value, "txUplink"),
            lacp_policy: value.field("lacpPolicy").map(|lacp| LacpPolicy {
                inherited: lacp.boolean_of("inherited"),
                enable: flag(lacp, "enable"),
                mode: word(lacp, "mode"),
            }),
            mac_management_policy: value
                .field("macManagementPolicy")
                .map(MacManagementPolicy::from_value),
            vni: number(value, "VNI"),
        }
    }
}

impl Vlan {
    /// By type, and by fields where the type is missing.
    fn from_value(value: &Value) -> Option<Self> {
        let number = |name| i32::try_from(value.int_of(name)?).ok();
        match value.type_name() {
            Some("VmwareDistributedVirtualSwitchTrunkVlanSpec") => {
                Some(Self::Trunk(NumericRange::each(value, "vlanId")))
            }
            Some("VmwareDistributedVirtualSwitchPvlanSpec") => number("pvlanId").map(Self::Private),
            Some("VmwareDistributedVirtualSwitchVlanIdSpec") => number("vlanId").map(Self::Id),
            Some(unknown) => Some(Self::Unknown(unknown.to_owned())),
            None => number("pvlanId")
                .map(Self::Private)
                .or_else(|| number("vlanId").map(Self::Id))
                .or_else(|| {
                    let ranges = NumericRange::each(value, "vlanId");
                    (!ranges.is_empty()).then_some(Self::Trunk(ranges))
                }),
        }
    }
}

impl NumericRange {
    pub(super) fn each(value: &Value, name: &str) -> Vec<Self> {
        let read = |range: &Value| {
            let number = |name| i32::try_from(range.int_of(name)?).ok();
            Some(Self { start: number("start")?, end: number("end")? })
        };
        value.each(name).filter_map(read).collect()
    }
}

impl KeyedBlob {
    pub(super) fn each(value: &Value, name: &str) -> Vec<Self> {
        let read = |blob: &Value| {
            let opaque_data = blob.text_of("opaqueData").unwrap_or_default();
            Some(Self { key: blob.text_of("key")?, opaque_data })
        };
        value.each(name).filter_map(read).collect()
    }
}

impl ShapingPolicy {
    fn from_value(value: &Value) -> Self {
        Self {
            inherited: value.boolean_of("inherited"),
            enabled: flag(value, "enabled"),
            average_bandwidth_bits_per_s: number(value, "averageBandwidth"),
            peak_bandwidth_bits_per_s: number(value, "peakBandwidth"),
            burst_bytes: number(value, "burstSize"),
        }
    }
}

impl SecurityPolicy {
    fn from_value(value: &Value) -> Self {
        Self {
            inherited: value.boolean_of("inherited"),
            allow_promiscuous: flag(value, "allowPromiscuous"),
            mac_changes: flag(value, "macChanges"),
            forged_transmits: flag(value, "forgedTransmits"),
        }
    }
}

impl MacManagementPolicy {
    fn from_value(value: &Value) -> Self {
        Self {
            inherited: value.boolean_of("inherited"),
            allow_promiscuous: value.boolean_of("allowPromiscuous"),
            mac_changes: value.boolean_of("macChanges"),
            forged_transmits: value.boolean_of("forgedTransmits"),
            mac_learning: value.field("macLearningPolicy").map(|learning| MacLearning {
                inherited: learning.boolean_of("inherited"),
                enabled: learning.boolean_of("enabled"),
                allow_unicast_flooding: learning.boolean_of("allowUnicastFlooding"),
                limit: learning.int_of("limit"),
                limit_policy: learning.filled_text_of("limitPolicy"),
            }),
        }
    }
}

impl TeamingPolicy {
    fn from_value(value: &Value) -> Self {
        let order = value.field("uplinkPortOrder");
        let names = |name| order.map(|order| super::texts(order, name)).unwrap_or_default();
        Self {
            inherited: value.boolean_of("inherited"),
            policy: word(value, "policy"),
            reverse_policy: flag(value, "reversePolicy"),
            notify_switches: flag(value, "notifySwitches"),
            rolling_order: flag(value, "rollingOrder"),
            failure_criteria: value.field("failureCriteria").map(FailureCriteria::from_value),
            active_uplinks: names("activeUplinkPort"),
            standby_uplinks: names("standbyUplinkPort"),
        }
    }
}

impl FailureCriteria {
    fn from_value(value: &Value) -> Self {
        Self {
            inherited: value.boolean_of("inherited"),
            check_speed: word(value, "checkSpeed"),
            speed_megabits_per_s: number(value, "speed"),
            check_duplex: flag(value, "checkDuplex"),
            full_duplex: flag(value, "fullDuplex"),
            check_error_percent: flag(value, "checkErrorPercent"),
            error_percent: number(value, "percentage"),
            check_beacon: flag(value, "checkBeacon"),
        }
    }
}

fn flag(value: &Value, name: &str) -> Option<Policy<bool>> {
    policy(value, name, Value::boolean)
}

fn number(value: &Value, name: &str) -> Option<Policy<i64>> {
    policy(value, name, Value::int)
}

fn word(value: &Value, name: &str) -> Option<Policy<String>> {
    policy(value, name, |word| Some(word.text()?.into_owned()))
}

fn policy<T>(value: &Value, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<Policy<T>> {
    let policy = value.field(name)?;
    let inherited = policy.boolean_of("inherited");
    Some(Policy { inherited, value: policy.field("value").and_then(read) })
}
