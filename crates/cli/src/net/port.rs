//! A port as a row and as an object of the JSON format.

use ovftransfer::ListedPort;
use ovftransfer::dvs::ConnecteeKind;
use ovftransfer::dvs::FailureCriteria;
use ovftransfer::dvs::KeyedBlob;
use ovftransfer::dvs::NumericRange;
use ovftransfer::dvs::Policy;
use ovftransfer::dvs::PortConfig;
use ovftransfer::dvs::PortSetting;
use ovftransfer::dvs::PortState;
use ovftransfer::dvs::PortStatistics;
use ovftransfer::dvs::PortStatus;
use ovftransfer::dvs::ShapingPolicy;
use ovftransfer::dvs::TeamingPolicy;
use ovftransfer::dvs::Vlan;
use serde_json::Value;
use serde_json::json;

use crate::console::without_nulls;
use crate::format;

/// Above the columns of [`row`].
pub(super) const HEADINGS: [&str; 13] = [
    "KEY",
    "PORTGROUP",
    "CONNECTED",
    "NIC",
    "HOST",
    "LINK",
    "BLOCKED",
    "CONFLICT",
    "VLAN",
    "MAC",
    "COOKIE",
    "LOCAL",
    "CHANGED",
];

/// A port in a line.  What the server does not say is `unknown`, what there is not is `-`.
pub(super) fn row(listed: &ListedPort) -> Vec<String> {
    let port = &listed.port;
    let none = || NONE.to_owned();
    let printable = |text: &String| format::printable(text);
    let group = listed.portgroup.as_ref().or(port.portgroup_key.as_ref());
    let entity = port.connectee.as_ref().and_then(|one| one.connected_entity.as_ref());
    let connected = listed.connected_entity.as_ref().map(printable);
    let connected = connected.or_else(|| entity.map(ToString::to_string));
    let nobody = if listed.is_free() == Some(true) { NONE } else { UNKNOWN };
    let nic = port.connectee.as_ref().and_then(|one| one.nic_key.as_ref());
    let nic = listed.nic_label.as_ref().or(nic).map(printable);
    let host = listed.proxy_host.as_ref().map(printable);
    let conflict = match (port.conflict, &port.conflict_port_key) {
        (Some(true), Some(key)) => format!("with {}", format::printable(key)),
        (conflict, _) => yes_no(conflict),
    };
    vec![
        format::printable(&port.key),
        group.map_or_else(none, |group| {
            format::printable(&format!("{}/{group}", listed.switch.name))
        }),
        connected.unwrap_or_else(|| nobody.to_owned()),
        nic.unwrap_or_else(|| nobody.to_owned()),
        host.or_else(|| port.proxy_host.as_ref().map(ToString::to_string)).unwrap_or_else(none),
        link(listed),
        yes_no(blocked(listed)),
        conflict,
        vlan(listed),
        port.runtime().and_then(|runtime| runtime.mac_address.clone()).unwrap_or_else(none),
        port.connection_cookie.map_or_else(none, |cookie| cookie.to_string()),
        yes_no(port.host_local_port),
        port.last_status_change.as_ref().map_or_else(none, printable),
    ]
}

fn yes_no(flag: Option<bool>) -> String {
    flag.map_or(UNKNOWN, |flag| if flag { "yes" } else { "no" }).to_owned()
}

/// Only a port that runs has a link.
fn link(listed: &ListedPort) -> String {
    let runtime = match &listed.port.state {
        None => return UNKNOWN.to_owned(),
        Some(state) => state.runtime.as_ref(),
    };
    let Some(runtime) = runtime else { return NONE.to_owned() };
    runtime.link_up.map_or(UNKNOWN, |up| if up { "up" } else { "down" }).to_owned()
}

/// By the switch where the port runs, else by its configuration.
fn blocked(listed: &ListedPort) -> Option<bool> {
    let set = || listed.port.config.setting.as_ref()?.blocked.as_ref()?.value;
    listed.port.runtime().and_then(|runtime| runtime.blocked).or_else(set)
}

/// What the port carries if it runs, else what it is set to.
fn vlan(listed: &ListedPort) -> String {
    let carried = listed.port.runtime().map(|runtime| ranges(&runtime.vlan_ids));
    if let Some(carried) = carried.filter(|carried| !carried.is_empty()) {
        return carried;
    }
    let set = || listed.port.config.setting.as_ref()?.vlan.as_ref()?.value.as_ref();
    match set() {
        Some(Vlan::Id(0)) => NONE.to_owned(),
        Some(Vlan::Id(id)) => id.to_string(),
        Some(Vlan::Private(id)) => format!("private {id}"),
        Some(Vlan::Trunk(trunk)) => ranges(trunk),
        Some(Vlan::Unknown(_) | _) | None => UNKNOWN.to_owned(),
    }
}

fn ranges(all: &[NumericRange]) -> String {
    let range = |range: &NumericRange| match range.start == range.end {
        true => range.start.to_string(),
        false => format!("{}-{}", range.start, range.end),
    };
    all.iter().map(range).collect::<Vec<_>>().join(",")
}

/// Everything that is known of a port, as the README lists it.
pub(super) fn object(listed: &ListedPort) -> Value {
    let port = &listed.port;
    let connectee = port.connectee.as_ref().map(|connectee| {
        json!({
            "entity": connectee.connected_entity.as_ref().map(ToString::to_string),
            "name": listed.connected_entity,
            "nic_key": connectee.nic_key,
            "nic_label": listed.nic_label,
            "kind": connectee.kind.as_ref().map(ConnecteeKind::as_str),
            "address_hint": connectee.address_hint,
        })
    });
    let host = port
        .proxy_host
        .as_ref()
        .map(|host| json!({ "entity": host.to_string(), "name": listed.proxy_host }));
    without_nulls(json!({
        "key": port.key,
        "switch": listed.switch.name,
        "dvs": listed.switch.moref.to_string(),
        "dvs_uuid": port.dvs_uuid,
        "portgroup": listed.portgroup,
        "portgroup_key": port.portgroup_key,
        "is_free": listed.is_free(),
        "connectee": connectee,
        "proxy_host": host,
        "conflict": port.conflict,
        "conflict_port_key": port.conflict_port_key,
        "connection_cookie": port.connection_cookie,
        "last_status_change": port.last_status_change,
        "host_local_port": port.host_local_port,
        "external_id": port.external_id,
        "segment_port_id": port.segment_port_id,
        "config": config_object(&port.config),
        "state": port.state.as_ref().map(state_object),
    }))
}

fn config_object(config: &PortConfig) -> Value {
    let scope: Vec<String> = config.scope.iter().map(ToString::to_string).collect();
    json!({
        "name": config.name,
        "description": config.description,
        "scope": some(scope),
        "config_version": config.config_version.as_ref().filter(|version| !version.is_empty()),
        "setting": config.setting.as_ref().map(setting_object),
    })
}

fn setting_object(setting: &PortSetting) -> Value {
    json!({
        "blocked": setting.blocked.as_ref().map(policy),
        "vm_direct_path_gen2_allowed": setting.vm_direct_path_gen2_allowed.as_ref().map(policy),
        "in_shaping_policy": setting.in_shaping_policy.as_ref().map(shaping_object),
        "out_shaping_policy": setting.out_shaping_policy.as_ref().map(shaping_object),
        "vendor_specific_config": setting.vendor_specific_config.as_ref().map(|config| json!({
            "inherited": config.inherited,
            "key_value": blobs(&config.key_value),
        })),
        "network_resource_pool_key": setting.network_resource_pool_key.as_ref().map(policy),
        "filter_policy": setting.filter_policy.as_ref().map(|filters| filters.to_json()),
        "vlan": setting.vlan.as_ref().map(vlan_object),
        "qos_tag": setting.qos_tag.as_ref().map(policy),
        "uplink_teaming_policy": setting.uplink_teaming_policy.as_ref().map(teaming_object),
        "security_policy": setting.security_policy.as_ref().map(|security| json!({
            "inherited": security.inherited,
            "allow_promiscuous": security.allow_promiscuous.as_ref().map(policy),
            "mac_changes": security.mac_changes.as_ref().map(policy),
            "forged_transmits": security.forged_transmits.as_ref().map(policy),
        })),
        "ipfix_enabled": setting.ipfix_enabled.as_ref().map(policy),
        "tx_uplink": setting.tx_uplink.as_ref().map(policy),
        "lacp_policy": setting.lacp_policy.as_ref().map(|lacp| json!({
            "inherited": lacp.inherited,
            "enable": lacp.enable.as_ref().map(policy),
            "mode": lacp.mode.as_ref().map(policy),
        })),
        "mac_management_policy": setting.mac_management_policy.as_ref().map(|mac| json!({
            "inherited": mac.inherited,
            "allow_promiscuous": mac.allow_promiscuous,
            "mac_changes": mac.mac_changes,
            "forged_transmits": mac.forged_transmits,
            "mac_learning": mac.mac_learning.as_ref().map(|learning| json!({
                "inherited": learning.inherited,
                "enabled": learning.enabled,
                "allow_unicast_flooding": learning.allow_unicast_flooding,
                "limit": learning.limit,
                "limit_policy": learning.limit_policy,
            })),
        })),
        "vni": setting.vni.as_ref().map(policy),
    })
}

fn policy<T: Clone + Into<Value>>(policy: &Policy<T>) -> Value {
    let value: Option<Value> = policy.value.clone().map(Into::into);
    json!({ "inherited": policy.inherited, "value": value })
}

fn shaping_object(shaping: &ShapingPolicy) -> Value {
    json!({
        "inherited": shaping.inherited,
        "enabled": shaping.enabled.as_ref().map(policy),
        "average_bandwidth_bits_per_s":
            shaping.average_bandwidth_bits_per_s.as_ref().map(policy),
        "peak_bandwidth_bits_per_s": shaping.peak_bandwidth_bits_per_s.as_ref().map(policy),
        "burst_bytes": shaping.burst_bytes.as_ref().map(policy),
    })
}

fn teaming_object(teaming: &TeamingPolicy) -> Value {
    json!({
        "inherited": teaming.inherited,
        "policy": teaming.policy.as_ref().map(policy),
        "reverse_policy": teaming.reverse_policy.as_ref().map(policy),
        "notify_switches": teaming.notify_switches.as_ref().map(policy),
        "rolling_order": teaming.rolling_order.as_ref().map(policy),
        "failure_criteria": teaming.failure_criteria.as_ref().map(criteria_object),
        "active_uplinks": teaming.active_uplinks,
        "standby_uplinks": teaming.standby_uplinks,
    })
}

fn criteria_object(criteria: &FailureCriteria) -> Value {
    json!({
        "inherited": criteria.inherited,
        "check_speed": criteria.check_speed.as_ref().map(policy),
        "speed_megabits_per_s": criteria.speed_megabits_per_s.as_ref().map(policy),
        "check_duplex": criteria.check_duplex.as_ref().map(policy),
        "full_duplex": criteria.full_duplex.as_ref().map(policy),
        "check_error_percent": criteria.check_error_percent.as_ref().map(policy),
        "error_percent": criteria.error_percent.as_ref().map(policy),
        "check_beacon": criteria.check_beacon.as_ref().map(policy),
    })
}

fn vlan_object(vlan: &Policy<Vlan>) -> Value {
    let mut object = match &vlan.value {
        Some(Vlan::Id(id)) => json!({ "id": id }),
        Some(Vlan::Private(id)) => json!({ "private_id": id }),
        Some(Vlan::Trunk(trunk)) => json!({ "trunk": range_objects(trunk) }),
        Some(Vlan::Unknown(kind)) => json!({ "unknown": kind }),
        Some(_) | None => json!({}),
    };
    object["inherited"] = json!(vlan.inherited);
    object
}

fn state_object(state: &PortState) -> Value {
    json!({
        "runtime": state.runtime.as_ref().map(runtime_object),
        "statistics": state.statistics.as_ref().map(statistics_object),
        "vendor_specific_state": blobs(&state.vendor_specific_state),
    })
}

fn runtime_object(runtime: &PortStatus) -> Value {
    json!({
        "link_up": runtime.link_up,
        "blocked": runtime.blocked,
        "vlan_ids": range_objects(&runtime.vlan_ids),
        "trunking_mode": runtime.trunking_mode,
        "mtu_bytes": runtime.mtu_bytes,
        "link_peer": runtime.link_peer,
        "mac_address": runtime.mac_address,
        "status_detail": runtime.status_detail,
        "vm_direct_path_gen2_active": runtime.vm_direct_path_gen2_active,
        "vm_direct_path_gen2_inactive_reason_network":
            some(runtime.vm_direct_path_gen2_inactive_reason_network.clone()),
        "vm_direct_path_gen2_inactive_reason_other":
            some(runtime.vm_direct_path_gen2_inactive_reason_other.clone()),
        "vm_direct_path_gen2_inactive_reason_extended":
            runtime.vm_direct_path_gen2_inactive_reason_extended,
    })
}

fn statistics_object(statistics: &PortStatistics) -> Value {
    json!({
        "packets_in_multicast": statistics.packets_in_multicast,
        "packets_out_multicast": statistics.packets_out_multicast,
        "bytes_in_multicast": statistics.bytes_in_multicast,
        "bytes_out_multicast": statistics.bytes_out_multicast,
        "packets_in_unicast": statistics.packets_in_unicast,
        "packets_out_unicast": statistics.packets_out_unicast,
        "bytes_in_unicast": statistics.bytes_in_unicast,
        "bytes_out_unicast": statistics.bytes_out_unicast,
        "packets_in_broadcast": statistics.packets_in_broadcast,
        "packets_out_broadcast": statistics.packets_out_broadcast,
        "bytes_in_broadcast": statistics.bytes_in_broadcast,
        "bytes_out_broadcast": statistics.bytes_out_broadcast,
        "packets_in_dropped": statistics.packets_in_dropped,
        "packets_out_dropped": statistics.packets_out_dropped,
        "packets_in_exception": statistics.packets_in_exception,
        "packets_out_exception": statistics.packets_out_exception,
        "bytes_in_from_pnic": statistics.bytes_in_from_pnic,
        "bytes_out_to_pnic": statistics.bytes_out_to_pnic,
    })
}

fn range_objects(all: &[NumericRange]) -> Option<Vec<Value>> {
    let object = |range: &NumericRange| json!({ "start": range.start, "end": range.end });
    some(all.iter().map(object).collect())
}

fn blobs(all: &[KeyedBlob]) -> Option<Vec<Value>> {
    let object = |blob: &KeyedBlob| json!({ "key": blob.key, "opaque_data": blob.opaque_data });
    some(all.iter().map(object).collect())
}

/// A list, unless it is empty.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// There is none.
const NONE: &str = "-";

/// The server does not say.
const UNKNOWN: &str = "unknown";
