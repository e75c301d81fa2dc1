//! Networks of machines, in words and as JSON.

use ovftransfer::CheckedCard;
use ovftransfer::CheckedMachine;
use ovftransfer::PlannedNetwork;
use ovftransfer::PortgroupRoom;
use ovftransfer::Verdict;
use ovftransfer::dvs::Binding;
use serde_json::Value;
use serde_json::json;

use crate::console::without_nulls;
use crate::tell::card::card_object;

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

/// A machine that was imported, with its cards.
pub(crate) fn machine_object(machine: &CheckedMachine) -> Value {
    without_nulls(json!({
        "name": machine.name,
        "entity": machine.vm.to_string(),
        "host": machine.host.as_ref().map(ToString::to_string),
        "powerState": machine.power_state.as_ref().map(|state| state.word()),
        "cards": machine.cards.iter().map(card_object).collect::<Vec<_>>(),
        "problem": machine.unread,
    }))
}

/// Machine and card, what it is plugged into, and whether all is well with its port.
pub(crate) fn card_rows(machines: &[CheckedMachine]) -> Vec<Vec<String>> {
    let cards = machines.iter().flat_map(|machine| machine.cards.iter().map(move |c| (machine, c)));
    let row = |(machine, card): (&CheckedMachine, &CheckedCard)| {
        let label = match machines {
            [_] => card.label.clone(),
            _ => format!("{}: {}", machine.name, card.label),
        };
        vec![label, card.network.to_string(), state(card)]
    };
    cards.map(row).collect()
}

fn state(card: &CheckedCard) -> String {
    let Some(port) = card.port() else { return String::new() };
    let reason = |is_it: fn(&Verdict) -> bool| {
        let found = port.checks.iter().find(|check| is_it(&check.verdict));
        found.and_then(|check| check.verdict.reason())
    };
    let bad = reason(|verdict| matches!(verdict, Verdict::Bad(_)));
    let unknown = || reason(|verdict| matches!(verdict, Verdict::Unknown(_)));
    bad.or_else(unknown).unwrap_or("as it should be").to_owned()
}
