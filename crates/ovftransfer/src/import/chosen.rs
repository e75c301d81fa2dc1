//! Cards on ports that the request chooses: checked before the import, connected after it.
//!
//! A lease locks the machine that it makes, and an import spec is the server's: so the cards get ports
//! of the server's choice at first, and are reconfigured when the lease is complete.

use std::fmt;

use ovftransfer_ovf::envelope::HardwareItem;
use ovftransfer_vim::dvs::MachineCards;
use ovftransfer_vim::dvs::PortConnection;
use ovftransfer_vim::ovf::ImportSpec;
use ovftransfer_vim::session::Session;
use ovftransfer_vim::value::MoRef;

use crate::error::Check;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Finding;
use crate::import::PortMap;
use crate::import::networks::Networks;
use crate::import::networks::cards_of;
use crate::import::options::missing;
use crate::import::preflight::Preflight;
use crate::network::card_called;
use crate::network::plug;
use crate::network::usable_port;

/// A card and the port that it gets when the import is complete.
#[derive(Clone, Debug)]
pub(super) struct ChosenPort {
    /// Name of the machine, in a vApp.
    machine: Option<String>,
    /// The card among those of its machine, from 0, and how many there are.
    card: (usize, usize),
    /// What the card and its portgroup are for people.
    label: String,
    portgroup: String,
    place: PortConnection,
}

impl fmt::Display for ChosenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.place.port_key.as_deref().unwrap_or_default();
        write!(f, "put {} on the port {port} of {}", self.label, self.portgroup)
    }
}

/// A card of the descriptor.
#[derive(Clone, Copy, Debug)]
struct Card<'e> {
    system: usize,
    /// Its place among the cards of its machine, and how many there are.
    at: (usize, usize),
    item: &'e HardwareItem,
}

impl Preflight<'_> {
    /// Finds the cards and ports that the request names; what cannot be is an error of the plan.
    pub(super) async fn chosen_ports(
        &mut self,
        networks: &Networks,
        spec: &ImportSpec,
    ) -> Result<Vec<ChosenPort>, Error> {
        let request = self.request;
        let mut chosen: Vec<((usize, usize), ChosenPort)> = Vec::new();
        for map in &request.ports {
            let card = self.card(&map.nic)?;
            let place = (card.system, card.at.0);
            let is_twice = chosen.iter().any(|(known, port)| {
                *known == place || port.place.port_key.as_ref() == Some(&map.port)
            });
            if is_twice {
                let problem = format!("{}={}: a card or a port is named twice", map.nic, map.port);
                return Err(Error::Refused { problem });
            }
            let (kind, problem) = match self.chosen_port(networks, spec, map, card).await {
                Ok(port) => {
                    chosen.push((place, port));
                    continue;
                }
                Err(Error::NotFound { problem }) => (ErrorKind::NotFound, problem),
                Err(Error::Refused { problem }) => (ErrorKind::Refused, problem),
                Err(error) => return Err(error),
            };
            self.findings.push(Finding::error(Check::Network, kind, &map.nic, problem));
        }
        Ok(chosen.into_iter().map(|(_, port)| port).collect())
    }

    async fn chosen_port(
        &self,
        networks: &Networks,
        spec: &ImportSpec,
        map: &PortMap,
        card: Card<'_>,
    ) -> Result<ChosenPort, Error> {
        let refused = |problem: String| Err(Error::Refused { problem });
        let [network] = card.item.connections() else {
            return refused("the card is on no network of the package, or on several".to_owned());
        };
        let Some(portgroup) = networks.portgroup_of(network) else {
            return refused(format!(
                "the network {network} is not mapped to a portgroup of a distributed switch, and \
                 only such have ports to choose"
            ));
        };
        let name = &portgroup.config.name;
        let Some(switch) = &portgroup.config.switch else {
            return refused(format!("the switch of {name} may not be seen by this session"));
        };
        let session = self.server.session();
        let port = usable_port(session, switch, Some(&portgroup.key), &map.port, None).await?;
        let uuid = session.switch(switch).await?.uuid;
        let machines = spec.planned_cards();
        let machine = machines.get(card.system).filter(|_| spec.is_vapp());
        Ok(ChosenPort {
            machine: machine.map(|machine| machine.name.clone()),
            card: card.at,
            label: match machine {
                Some(machine) => format!("{} of {}", map.nic, machine.name),
                None => map.nic.clone(),
            },
            portgroup: name.clone(),
            place: PortConnection::to_portgroup(uuid, portgroup.key.as_str()).on_port(port.key),
        })
    }

    /// The card of the descriptor that `wanted` means: its name, its number from 1, or the label that
    /// it will have; in a package of several machines after the machine's name and a slash.
    fn card(&self, wanted: &str) -> Result<Card<'_>, Error> {
        let package = &self.request.package;
        let systems = package.envelope().systems();
        let mut found = Vec::new();
        let mut labels: Vec<String> = Vec::new();
        for (index, system) in systems.iter().enumerate() {
            let items: Vec<_> = cards_of(system, self.configuration()).collect();
            let names: Vec<&str> =
                items.iter().map(|item| item.element_name().unwrap_or_default()).collect();
            let called = |wanted: &str| called(&names, wanted);
            let of_machine = [system.id(), system.name().unwrap_or(system.id())]
                .into_iter()
                .find_map(|machine| wanted.strip_prefix(machine)?.strip_prefix('/'));
            let places = match of_machine.map(called).filter(|places| !places.is_empty()) {
                Some(places) => places,
                None => called(wanted),
            };
            let card = |at: usize| {
                let item = items.get(at).copied()?;
                Some(Card { system: index, at: (at, items.len()), item })
            };
            found.extend(places.into_iter().filter_map(card));
            let machine = system.name().unwrap_or(system.id());
            labels.extend(names.iter().map(|name| match systems {
                [_] => (*name).to_owned(),
                _ => format!("{machine}/{name}"),
            }));
        }
        let whose = package.display();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => {
                let known: Vec<&str> = labels.iter().map(String::as_str).collect();
                Err(missing(&whose, "network card", wanted, &known))
            }
            several => {
                let problem = format!(
                    "{whose} has {} network cards {wanted:?}: name them by number, and the \
                     machine too if there are several (MACHINE/1)",
                    several.len()
                );
                Err(Error::NotFound { problem })
            }
        }
    }
}

/// The places of the cards that `wanted` means among those of a machine, in the descriptor's order.
fn called(names: &[&str], wanted: &str) -> Vec<usize> {
    let places: Vec<usize> = names
        .iter()
        .enumerate()
        .filter(|(_, name)| name.eq_ignore_ascii_case(wanted.trim()))
        .map(|(at, _)| at)
        .collect();
    if !places.is_empty() {
        return places;
    }
    // The labels that the server will give.
    let labels: Vec<String> = (1..=names.len()).map(|n| format!("Network adapter {n}")).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    card_called(&labels, wanted).into_iter().collect()
}

/// Puts the cards on their ports.  The lease must be over.
///
/// # Errors
///
/// [`Error::Server`] with what the server says to the first that fails; [`Error::Refused`] if the
/// machine has other cards than the package, or a card came elsewhere.
pub(super) async fn connect(
    session: &Session,
    entity: &MoRef,
    ports: &[ChosenPort],
) -> Result<(), Error> {
    let vms = match entity.kind() {
        "VirtualApp" => session.vapp_machines(entity).await?,
        _ => vec![entity.clone()],
    };
    let mut machines: Vec<MachineCards> = Vec::new();
    for vm in &vms {
        machines.push(session.machine_cards(vm).await?);
    }
    for port in ports {
        let is_its = |machine: &&MachineCards| {
            port.machine.as_ref().is_none_or(|name| *name == machine.name)
        };
        let cards = |machine: &MachineCards| machine.cards.clone().unwrap_or_default();
        let (at, count) = port.card;
        let found = machines.iter().find(is_its).map(|machine| (&machine.vm, cards(machine)));
        let card = found.as_ref().filter(|(_, cards)| cards.len() == count);
        let Some((vm, card)) = card.and_then(|(vm, cards)| Some((*vm, cards.get(at)?))) else {
            let problem = format!("{} has other network cards than the package", port.label);
            return Err(Error::Refused { problem });
        };
        plug(session, vm, card, &port.place).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_called_by_name_label_and_number() {
        let names = ["Ethernet", "Ethernet", "uplink"];
        for (wanted, places) in [
            ("ethernet", &[0, 1][..]),
            ("Uplink", &[2]),
            ("Network adapter 2", &[1]),
            ("3", &[2]),
            ("4", &[]),
            ("", &[]),
        ] {
            assert_eq!(called(&names, wanted), places, "{wanted}");
        }
        // The name counts before the label.
        assert_eq!(called(&["Network adapter 2", "b"], "Network adapter 2"), [0]);
    }
}
