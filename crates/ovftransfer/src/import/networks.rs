//! Looks for the networks before anything is created: which they are, and whether there is room.

use std::collections::BTreeMap;

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::envelope::HardwareItem;
use ovftransfer_ovf::envelope::VirtualSystem;
use ovftransfer_vim::dvs::Binding;
use ovftransfer_vim::dvs::CardBacking;
use ovftransfer_vim::dvs::PlannedCards;
use ovftransfer_vim::dvs::PortCriteria;
use ovftransfer_vim::dvs::Portgroup;
use ovftransfer_vim::inventory::similar;
use ovftransfer_vim::ovf::ImportSpec;
use ovftransfer_vim::value::MoRef;

use crate::error::Check;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Finding;
use crate::import::options::missing;
use crate::import::preflight::Preflight;
use crate::network::NetworkKind;
use crate::network::PlannedNetwork;
use crate::network::PortgroupRoom;
use crate::network::ServerNetwork;
use crate::network::is_uplink;
use crate::network::seen;

/// The networks of a plan in the making.
#[derive(Debug, Default)]
pub(super) struct Networks {
    pub(super) planned: Vec<PlannedNetwork>,
    /// What is known of each of the server's networks.
    known: BTreeMap<MoRef, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    network: ServerNetwork,
    portgroup: Option<Portgroup>,
}

impl Networks {
    /// The portgroup that a network of the descriptor will be, if it will be one.
    pub(super) fn portgroup_of(&self, ovf: &str) -> Option<&Portgroup> {
        let planned = self.planned.iter().find(|one| one.ovf == ovf)?;
        self.known.get(&planned.network.as_ref()?.moref)?.portgroup.as_ref()
    }

    /// The mapping, as the server wants it.
    pub(super) fn mappings(&self) -> Vec<(String, MoRef)> {
        let mapped = self.planned.iter().filter(|one| one.is_mapped);
        mapped
            .filter_map(|one| Some((one.ovf.clone(), one.network.as_ref()?.moref.clone())))
            .collect()
    }
}

impl Preflight<'_> {
    /// Finds the server's networks for the descriptor's.
    pub(super) async fn networks(&mut self) -> Result<Networks, Error> {
        let (request, session) = (self.request, self.server.session());
        let compute = self.place.target.compute.moref();
        let envelope = request.package.envelope();
        let names: Vec<&str> = envelope.networks().iter().map(|network| network.name()).collect();
        for ovf in request.networks.iter().filter_map(|map| map.ovf.as_deref()) {
            if !names.contains(&ovf) {
                return Err(missing(&request.package.display(), "network", ovf, &names));
            }
        }
        let mut found: BTreeMap<&str, MoRef> = BTreeMap::new();
        let mut networks = Networks::default();
        let mut left = Vec::new();
        for name in names {
            let by_name = request.networks.iter().find(|map| map.ovf.as_deref() == Some(name));
            let for_all = || request.networks.iter().find(|map| map.ovf.is_none());
            let map = by_name.or_else(for_all);
            let network = match map.map(|map| map.network.as_str()) {
                Some(wanted) => {
                    let moref = match found.get(wanted) {
                        Some(moref) => moref.clone(),
                        None => {
                            let entity = session.network_named(compute, wanted).await?;
                            found.insert(wanted, entity.moref().clone());
                            entity.moref().clone()
                        }
                    };
                    Some(self.known(&mut networks, &moref).await?)
                }
                None => {
                    left.push(name);
                    None
                }
            };
            networks.planned.push(PlannedNetwork {
                ovf: name.to_owned(),
                is_mapped: map.is_some(),
                cards: cards_on(envelope, self.configuration(), name),
                network,
            });
        }
        if !left.is_empty() {
            let there = session.network_names(compute).await?;
            self.unmapped(&left, &there)?;
        }
        Ok(networks)
    }

    /// Networks of the descriptor that the request says nothing about.
    fn unmapped(&mut self, left: &[&str], there: &[String]) -> Result<(), Error> {
        if self.request.require_networks {
            let problem = format!(
                "{} of {} not mapped, and all must be: {}",
                if left.len() == 1 { "a network" } else { "networks" },
                self.request.package.display(),
                left.join(", ")
            );
            return Err(Error::NotFound { problem });
        }
        for name in left.iter().filter(|name| !there.iter().any(|known| known == *name)) {
            let near = similar(name, there.iter().map(String::as_str));
            let problem = "not mapped, and there is no network of this name here: the server \
                           chooses one";
            let advice = match near.as_slice() {
                [] => "map it to a network".to_owned(),
                near => format!("map it; there is {}", near.join(", ")),
            };
            self.findings.push(Finding::warning(Check::Network, *name, problem).advise(advice));
        }
        Ok(())
    }

    /// What the server's network is; one for uplinks is an error of the plan.
    async fn known(
        &mut self,
        networks: &mut Networks,
        moref: &MoRef,
    ) -> Result<ServerNetwork, Error> {
        if let Some(known) = networks.known.get(moref) {
            return Ok(known.network.clone());
        }
        let session = self.server.session();
        let name = session.name_of(moref).await?.unwrap_or_default();
        let mut known = Known {
            network: ServerNetwork { moref: moref.clone(), name, kind: NetworkKind::Standard },
            portgroup: None,
        };
        match moref.kind() {
            "DistributedVirtualPortgroup" => {
                let (room, portgroup) = self.portgroup(&known.network).await?;
                known.network.kind = NetworkKind::Distributed(room);
                known.portgroup = portgroup;
            }
            "OpaqueNetwork" => known.network.kind = NetworkKind::Opaque,
            _ => {}
        }
        networks.known.insert(moref.clone(), known.clone());
        Ok(known.network)
    }

    async fn portgroup(
        &mut self,
        network: &ServerNetwork,
    ) -> Result<(PortgroupRoom, Option<Portgroup>), Error> {
        let session = self.server.session();
        let mut room = PortgroupRoom::default();
        let portgroup = match seen(session.portgroup(&network.moref).await)? {
            Ok(portgroup) => portgroup,
            Err(reason) => {
                self.unlooked(network, &reason);
                return Ok((room, None));
            }
        };
        room.binding = Some(portgroup.config.binding.clone());
        room.auto_expand = portgroup.config.auto_expand;
        if let Some(switch) = &portgroup.config.switch {
            let name = seen(session.name_of(switch).await)?;
            room.switch = name.ok().flatten().filter(|name| !name.is_empty());
        }
        if seen(is_uplink(session, &portgroup).await)?.unwrap_or(false) {
            let switch = room.switch.as_deref().unwrap_or("its switch");
            let problem = format!("is for the uplinks of {switch}, and not for machines");
            let kind = ErrorKind::Refused;
            let finding = Finding::error(Check::Network, kind, &network.name, problem);
            self.findings.push(finding.advise("map to another network"));
        }
        Ok((room, Some(portgroup)))
    }

    fn unlooked(&mut self, network: &ServerNetwork, reason: &str) {
        let problem = format!("could not be looked at: {reason}");
        self.findings.push(Finding::note(Check::Network, &network.name, problem));
    }

    /// Compares the cards that the server would make with the ports that are free, and notes what
    /// it has chosen for networks that are not mapped.
    pub(super) async fn ports(
        &mut self,
        networks: &mut Networks,
        spec: &ImportSpec,
    ) -> Result<(), Error> {
        let machines = spec.planned_cards();
        self.chosen(networks, &machines).await?;
        let mut cards: BTreeMap<MoRef, usize> = BTreeMap::new();
        for backing in machines.iter().flat_map(|machine| &machine.cards) {
            if let Some(moref) = network_of(backing) {
                *cards.entry(moref).or_default() += 1;
            }
        }
        if cards.is_empty() {
            // A server that does not say: what the descriptor has, where it is mapped to.
            for planned in &networks.planned {
                if let Some(network) = &planned.network {
                    *cards.entry(network.moref.clone()).or_default() += planned.cards;
                }
            }
        }
        for (moref, cards) in cards {
            let Some(known) = networks.known.get(&moref).cloned() else { continue };
            let Some(portgroup) = &known.portgroup else { continue };
            let free = self.free_ports(&known.network, portgroup, cards).await?;
            for planned in &mut networks.planned {
                let of_it = planned.network.as_mut().filter(|network| network.moref == moref);
                if let Some(NetworkKind::Distributed(room)) = of_it.map(|one| &mut one.kind) {
                    room.free_ports = free;
                }
            }
        }
        Ok(())
    }

    /// Counts the free ports where they are a limit.
    async fn free_ports(
        &mut self,
        network: &ServerNetwork,
        portgroup: &Portgroup,
        cards: usize,
    ) -> Result<Option<usize>, Error> {
        let is_limited = portgroup.config.binding == Binding::Early
            && portgroup.config.auto_expand != Some(true)
            && portgroup.config.uplink != Some(true);
        let Some(switch) = portgroup.config.switch.as_ref().filter(|_| is_limited) else {
            return Ok(None);
        };
        let session = self.server.session();
        let criteria = PortCriteria {
            connected: Some(false),
            ..PortCriteria::in_portgroups([portgroup.key.clone()])
        };
        let keys = match session.fetch_port_keys(switch, &criteria).await {
            // A server with less than the reference.
            Err(error) if error.is_fault("MethodNotFound") => {
                let ports = session.fetch_ports(switch, &criteria).await;
                ports.map(|ports| ports.len())
            }
            keys => keys.map(|keys| keys.len()),
        };
        let free = match seen(keys)? {
            Ok(free) => free,
            Err(reason) => {
                self.unlooked(network, &reason);
                return Ok(None);
            }
        };
        if free < cards {
            let problem = format!(
                "has {} free, but {cards} {} to be on it",
                match free {
                    0 => "no port".to_owned(),
                    1 => "1 port".to_owned(),
                    free => format!("{free} ports"),
                },
                if cards == 1 { "card is" } else { "cards are" },
            );
            let kind = ErrorKind::NoSpace;
            let finding = Finding::error(Check::Network, kind, &network.name, problem);
            self.findings.push(finding.advise(
                "free some, give the portgroup more ports, let it grow (autoExpand), or map to \
                 another network",
            ));
        }
        Ok(Some(free))
    }

    /// What the server has chosen for networks that the request says nothing about, as its import
    /// spec has it.
    async fn chosen(
        &mut self,
        networks: &mut Networks,
        machines: &[PlannedCards],
    ) -> Result<(), Error> {
        let request = self.request;
        let choices = choices(request.package.envelope(), self.configuration(), machines);
        for index in 0..networks.planned.len() {
            let Some(planned) = networks.planned.get(index) else { continue };
            let choice = choices.iter().find(|(name, _)| *name == planned.ovf);
            let (None, Some((_, moref))) = (&planned.network, choice) else { continue };
            let network = self.known(networks, moref).await?;
            if let Some(planned) = networks.planned.get_mut(index) {
                planned.network = Some(network);
            }
        }
        Ok(())
    }

    /// The configuration of the package that is imported.
    pub(super) fn configuration(&self) -> Option<&str> {
        let default = self.request.package.envelope().default_configuration();
        let default = default.map(|configuration| configuration.id.as_str());
        self.request.deployment_option.as_deref().or(default)
    }
}

/// The network that a card will be plugged into, as far as its backing says.
fn network_of(backing: &CardBacking) -> Option<MoRef> {
    match backing {
        CardBacking::Distributed(port) => {
            let key = port.portgroup_key.as_ref()?;
            Some(MoRef::new("DistributedVirtualPortgroup", key.as_str()))
        }
        CardBacking::Standard { network, .. } => network.clone(),
        CardBacking::Opaque { .. } | CardBacking::Unknown(_) | _ => None,
    }
}

/// The cards of a machine in the descriptor, in their order.
pub(super) fn cards_of<'e>(
    system: &'e VirtualSystem,
    configuration: Option<&str>,
) -> impl Iterator<Item = &'e HardwareItem> {
    let items = system.items_in(configuration).into_iter();
    items.filter(|item| item.resource_type() == ETHERNET)
}

fn cards_on(envelope: &Envelope, configuration: Option<&str>, network: &str) -> usize {
    let cards = envelope.systems().iter().flat_map(|system| cards_of(system, configuration));
    cards.filter(|card| card.connections().iter().any(|name| name == network)).count()
}

/// Networks of the descriptor with what the server has made of them, card by card.
fn choices(
    envelope: &Envelope,
    configuration: Option<&str>,
    machines: &[PlannedCards],
) -> Vec<(String, MoRef)> {
    let mut choices = Vec::new();
    let systems = envelope.systems();
    for (system, machine) in systems.iter().zip(machines) {
        let cards: Vec<_> = cards_of(system, configuration).collect();
        // Whoever leaves cards out, or adds some, may have another order too.
        if systems.len() != machines.len() || cards.len() != machine.cards.len() {
            continue;
        }
        for (card, backing) in cards.iter().zip(&machine.cards) {
            if let ([name], Some(moref)) = (card.connections(), network_of(backing)) {
                choices.push((name.clone(), moref));
            }
        }
    }
    choices
}

/// The resource type of a network card in a descriptor (CIM `ResourceType`).
const ETHERNET: u16 = 10;
