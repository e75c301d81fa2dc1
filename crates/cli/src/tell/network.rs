//! Networks of machines, as JSON.

use ovftransfer::PlannedNetwork;
use ovftransfer::PortgroupRoom;
use ovftransfer::dvs::Binding;
use serde_json::Value;
use serde_json::json;

use crate::console::without_nulls;

/// A network of a package, and what it will be.
pub(crate) fn planned_object(planned: &PlannedNetwork) -> Value {
    let network = planned.network.as_ref();
    let empty = PortgroupRoom::default();
    let room = network.and_then(|network| network.kind.portgroup()).unwrap_or(&empty);
    without_nulls(json!({
        "ovf": planned.ovf,
        "is_mapped": planned.is_mapped,
        "cards": planned.cards,
        "network": network.map(|network| network.moref.to_string()),
        "name": network.map(|network| &network.name),
        "kind": network.map(|network| network.kind.word()),
        "switch": room.switch,
        "binding": room.binding.as_ref().map(binding),
        "auto_expand": room.auto_expand,
        "free_ports": room.free_ports,
    }))
}

/// The word for a binding.
fn binding(binding: &Binding) -> &str {
    match binding {
        Binding::Early => "early",
        Binding::Ephemeral => "ephemeral",
        Binding::Late => "late",
        Binding::Unknown(word) => word,
        _ => "unknown",
    }
}
