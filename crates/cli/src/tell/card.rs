//! Network cards and what was found of their ports.

use ovftransfer::CardNetwork;
use ovftransfer::CheckedCard;
use ovftransfer::CheckedPort;
use ovftransfer::PortCheck;
use ovftransfer::Verdict;
use ovftransfer::dvs::ConnecteeKind;
use serde_json::Value;
use serde_json::json;

/// A card as an object of the JSON format.
pub(crate) fn card_object(card: &CheckedCard) -> Value {
    let mut object = json!({
        "nic_key": card.key,
        "nic_label": card.label,
        "model": card.model,
        "mac_address": card.mac_address,
        "connected": card.connected,
        "start_connected": card.start_connected,
    });
    let fields = match &card.network {
        CardNetwork::Distributed(port) => port_object(port),
        CardNetwork::Opaque { network_id } => json!({ "network": network_id }),
        CardNetwork::Standard { name, .. } => json!({ "network": name }),
        CardNetwork::Unknown(_) | _ => json!({}),
    };
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    object
}

fn port_object(checked: &CheckedPort) -> Value {
    let connection = &checked.connection;
    let port = checked.port.as_ref();
    let runtime = port.and_then(|port| port.runtime());
    let connectee = port.and_then(|port| port.connectee.as_ref());
    let entity = connectee.and_then(|connectee| connectee.connected_entity.as_ref());
    let check = |check: &PortCheck| {
        json!({
            "aspect": check.aspect.word(),
            "verdict": check.verdict.word(),
            "problem": check.verdict.reason(),
        })
    };
    json!({
        "switch": checked.switch.as_ref().map(|switch| &switch.name),
        "dvs_uuid": connection.switch_uuid,
        "portgroup": checked.portgroup.as_ref().map(|portgroup| &portgroup.name),
        "portgroup_key": connection.portgroup_key,
        "key": connection.port_key,
        "connection_cookie": connection.connection_cookie,
        "connectee": connectee.map(|connectee| json!({
            "entity": entity.map(ToString::to_string),
            "nic_key": connectee.nic_key,
            "kind": connectee.kind.as_ref().map(ConnecteeKind::as_str),
        })),
        "conflict": port.and_then(|port| port.conflict),
        "conflict_port_key": port.and_then(|port| port.conflict_port_key.as_ref()),
        "proxy_host": port.and_then(|port| port.proxy_host.as_ref()).map(|host| json!({ "entity": host.to_string() })),
        "last_status_change": port.and_then(|port| port.last_status_change.as_ref()),
        "link_up": runtime.and_then(|runtime| runtime.link_up),
        "blocked": runtime.and_then(|runtime| runtime.blocked),
        "mtu_bytes": runtime.and_then(|runtime| runtime.mtu_bytes),
        "vlan_ids": runtime.map(|runtime| {
            let range = |range: &ovftransfer::dvs::NumericRange| json!({ "start": range.start, "end": range.end });
            runtime.vlan_ids.iter().map(range).collect::<Vec<_>>()
        }),
        "checks": checked.checks.iter().map(check).collect::<Vec<_>>(),
    })
}

/// What of a card's port is not good: what was looked at, what came out, and why.
pub(crate) fn check_rows(port: &CheckedPort) -> Vec<Vec<String>> {
    let checks = port.checks.iter().filter(|check| check.verdict != Verdict::Good);
    let row = |check: &PortCheck| {
        let reason = check.verdict.reason().unwrap_or_default().to_owned();
        vec![check.aspect.word().to_owned(), check.verdict.word().replace('_', " "), reason]
    };
    checks.map(row).collect()
}
