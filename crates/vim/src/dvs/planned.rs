//! The network cards of machines that an import would make.

use super::card::{CardBacking, NetworkCard};
use crate::ovf::ImportSpec;
use crate::value::Value;

/// A machine that an import would make, with its network cards
/// (`VirtualMachineImportSpec.configSpec`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedCards {
    /// Name of the machine.
    pub name: String,
    /// What its cards will be plugged into, in the order in which they are added.
    pub cards: Vec<CardBacking>,
}

impl ImportSpec {
    /// The machines that the import would make, those of vApps included, with their cards.  A
    /// server that says nothing of cards has none here.
    #[must_use]
    pub fn planned_cards(&self) -> Vec<PlannedCards> {
        let mut machines = Vec::new();
        collect(self.value(), &mut machines, 0);
        machines
    }
}

fn collect(spec: &Value, machines: &mut Vec<PlannedCards>, depth: usize) {
    if let Some(config) = spec.field("configSpec") {
        let added = config.each("deviceChange").filter_map(|change| change.field("device"));
        let cards = added.filter_map(NetworkCard::from_value).map(|card| card.backing).collect();
        machines.push(PlannedCards { name: config.text_of("name").unwrap_or_default(), cards });
    }
    for child in spec.each("child").filter(|_| depth < DEPTH_MAX) {
        collect(child, machines, depth + 1);
    }
}

/// vApps in vApps that are looked into; servers nest a few.
const DEPTH_MAX: usize = 16;
