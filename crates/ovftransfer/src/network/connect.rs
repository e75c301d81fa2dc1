//! Puts a card of a machine on a port, or on some port of a portgroup.

use ovftransfer_vim::EntityKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::dvs::Binding;
use ovftransfer_vim::dvs::CardBacking;
use ovftransfer_vim::dvs::DistributedVirtualPort;
use ovftransfer_vim::dvs::MachineCards;
use ovftransfer_vim::dvs::NetworkCard;
use ovftransfer_vim::dvs::PortConnection;
use ovftransfer_vim::dvs::PortCriteria;
use ovftransfer_vim::dvs::Portgroup;
use ovftransfer_vim::inventory::similar;
use ovftransfer_vim::session::Session;
use ovftransfer_vim::value::MoRef;

use crate::error::Error;
use crate::network::CheckedCard;
use crate::network::read::Freshness;
use crate::network::read::check;
use crate::server::Server;

/// A card of a machine, and where it is to be plugged in.
///
/// With a portgroup alone the server chooses the port; with a port alone it is one of the switch
/// that the card is on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectCard {
    /// The machine: `/datacenter/vm/folder/name`, or a reference such as `VirtualMachine:vm-7`.
    pub machine: String,
    /// The card: its number, counted from 1 in the order of the hardware, its label such as
    /// `Network adapter 1`, or its device key.
    pub nic: String,
    /// The portgroup: a name that the machine's host can use, `switch/portgroup`, a path, or a
    /// reference such as `DistributedVirtualPortgroup:dvportgroup-12`; `None` for the one of the
    /// port.
    pub portgroup: Option<String>,
    /// Key of the port; `None` for one that the server chooses.
    pub port: Option<String>,
}

impl ConnectCard {
    /// The card `nic` of `machine`, as yet without a place.
    #[must_use]
    pub fn new(machine: impl Into<String>, nic: impl Into<String>) -> Self {
        Self { machine: machine.into(), nic: nic.into(), portgroup: None, port: None }
    }
}

/// What became of a card that was to be plugged in elsewhere.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectedCard {
    /// The machine.
    pub vm: MoRef,
    /// Its name.
    pub name: String,
    /// The card as it was.
    pub before: CheckedCard,
    /// The card as it is now, with its port.
    pub after: CheckedCard,
}

impl Server {
    /// Plugs a card into a port of a distributed switch, or into some port of a portgroup; everything
    /// else of the card stays as it is.  Then looks at the port.  Privilege `Network.Assign` on the
    /// portgroup, `VirtualMachine.Config.EditDevice` on the machine.
    ///
    /// A port that is not rightly the card's is no error here: [`CheckedCard::port`] of
    /// [`ConnectedCard::after`] says so.
    ///
    /// API: `ReconfigVM_Task`, since 2.0; distributed ports since 4.0.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a card or port that is not there, [`Error::Refused`] for a port that
    /// is taken, an uplink, or not to be chosen, and if the server chose another one;
    /// [`Error::Server`] for whatever else the server says.
    pub async fn connect_card(&self, request: &ConnectCard) -> Result<ConnectedCard, Error> {
        let session = self.session();
        let kinds = [EntityKind::VirtualMachine];
        let found = session.find_named(&request.machine, &kinds).await?;
        if found.kind() != EntityKind::VirtualMachine {
            let problem = format!("{} is not a machine", request.machine);
            return Err(Error::NotFound { problem });
        }
        let vm = found.moref();
        let machine = session.machine_cards(vm).await?;
        let card = card_of(&machine, &request.nic)?;
        let place = destination(session, request, &machine, card).await?;
        let before = checked_card(session, vm, card.key).await?;
        plug(session, vm, card, &place).await?;
        let after = checked_card(session, vm, card.key).await?;
        Ok(ConnectedCard { vm: vm.clone(), name: machine.name, before, after })
    }
}

/// Sends the card to its place, and waits until it is there.
///
/// # Errors
///
/// [`Error::Server`] with the fault of the task, [`Error::Refused`] if the card came elsewhere.
pub(crate) async fn plug(
    session: &Session,
    vm: &MoRef,
    card: &NetworkCard,
    place: &PortConnection,
) -> Result<(), Error> {
    let task = session.connect_card(vm, card, place).await?;
    session.watch_task(&task).finished().await?;
    let cards = session.network_cards(vm).await?;
    let now = cards.iter().find(|now| now.key == card.key).map(|card| &card.backing);
    let is_there = |port: &PortConnection| {
        port.switch_uuid == place.switch_uuid
            && (place.portgroup_key.is_none() || port.portgroup_key == place.portgroup_key)
            && (place.port_key.is_none() || port.port_key == place.port_key)
    };
    match now {
        Some(CardBacking::Distributed(port)) if is_there(port) => Ok(()),
        _ => {
            let wanted = match &place.port_key {
                Some(port) => format!("the port {port}"),
                None => "the portgroup".to_owned(),
            };
            let problem = format!("{} was connected, but is not on {wanted} now", card.label);
            Err(Error::Refused { problem })
        }
    }
}

async fn checked_card(session: &Session, vm: &MoRef, key: i64) -> Result<CheckedCard, Error> {
    let machines = check(session, vm, Freshness::Known).await?;
    let mut cards = machines.into_iter().flat_map(|machine| machine.cards);
    let gone = || Error::NotFound { problem: format!("the card {key} of {vm} has gone") };
    cards.find(|card| card.key == key).ok_or_else(gone)
}

fn card_of<'m>(machine: &'m MachineCards, wanted: &str) -> Result<&'m NetworkCard, Error> {
    let Some(cards) = &machine.cards else {
        let problem = format!("this session may not read the network cards of {}", machine.name);
        return Err(Error::NotFound { problem });
    };
    let labels: Vec<&str> = cards.iter().map(|card| card.label.as_str()).collect();
    let found = card_called(&labels, wanted).and_then(|index| cards.get(index));
    let by_key = || cards.iter().find(|card| card.key.to_string() == wanted);
    found.or_else(by_key).ok_or_else(|| {
        let problem = match similar(wanted, labels).as_slice() {
            [] => format!("{} has no network card {wanted:?}, nor any other", machine.name),
            near => {
                format!("{} has no network card {wanted:?}, but {}", machine.name, near.join(", "))
            }
        };
        Error::NotFound { problem }
    })
}

/// The place of the card that `wanted` means among those with these labels: a label in any case, or
/// a number counted from 1.
///
/// A number is first that of a label, as adapters keep theirs when one before them is removed.
pub(crate) fn card_called(labels: &[&str], wanted: &str) -> Option<usize> {
    let is_called =
        |name: &str| labels.iter().position(|label| label.eq_ignore_ascii_case(name.trim()));
    let number: Option<usize> = wanted.trim().parse().ok();
    is_called(wanted).or_else(|| {
        let number = number?;
        let numbered = || is_called(&format!("Network adapter {number}"));
        numbered().or_else(|| number.checked_sub(1).filter(|index| *index < labels.len()))
    })
}

/// Where the card goes, checked as far as it can be before.
async fn destination(
    session: &Session,
    request: &ConnectCard,
    machine: &MachineCards,
    card: &NetworkCard,
) -> Result<PortConnection, Error> {
    let wanted = match &request.portgroup {
        Some(name) => Some(portgroup_called(session, name, machine).await?),
        None => None,
    };
    let (uuid, switch) = match &wanted {
        Some(portgroup) => {
            let moref = switch_of(portgroup)?;
            (session.switch(&moref).await?.uuid, moref)
        }
        None => present_switch(session, request, card).await?,
    };
    let owner = Owner { vm: &machine.vm, nic_key: Some(card.key) };
    match (&request.port, &wanted) {
        (Some(port), _) => {
            let key = wanted.as_ref().map(|portgroup| portgroup.key.as_str());
            let port = usable_port(session, &switch, key, port, Some(owner)).await?;
            let place = PortConnection::to_portgroup(uuid, port.portgroup_key.unwrap_or_default());
            Ok(place.on_port(port.key))
        }
        (None, Some(portgroup)) => Ok(PortConnection::to_portgroup(uuid, &*portgroup.key)),
        (None, None) => {
            let problem = format!("{}: name a port or a portgroup", card.label);
            Err(Error::Refused { problem })
        }
    }
}

/// The switch that the card is on.
async fn present_switch(
    session: &Session,
    request: &ConnectCard,
    card: &NetworkCard,
) -> Result<(String, MoRef), Error> {
    let port = request.port.as_deref().unwrap_or_default();
    let CardBacking::Distributed(now) = &card.backing else {
        let problem = format!(
            "{} is not on a distributed switch: name the portgroup of the port {port}, too",
            card.label
        );
        return Err(Error::Refused { problem });
    };
    if let Some(key) = &now.portgroup_key {
        let moref = MoRef::new("DistributedVirtualPortgroup", key.as_str());
        if let Ok(portgroup) = session.portgroup(&moref).await
            && let Some(switch) = portgroup.config.switch
        {
            return Ok((now.switch_uuid.clone(), switch));
        }
    }
    let gone = || Error::NotFound {
        problem: format!("the switch of {} is not there, or may not be seen", card.label),
    };
    let switch = session.find_switch(&now.switch_uuid).await?.ok_or_else(gone)?;
    Ok((now.switch_uuid.clone(), switch))
}

/// The portgroup that `name` means, among those that the machine's host can use.
async fn portgroup_called(
    session: &Session,
    name: &str,
    machine: &MachineCards,
) -> Result<Portgroup, Error> {
    let Some(host) = &machine.host else {
        let problem = format!("the host of {} may not be seen by this session", machine.name);
        return Err(Error::NotFound { problem });
    };
    let network = session.network_named(host, name).await?;
    if network.moref().kind() != "DistributedVirtualPortgroup" {
        let problem = format!("{name} is not a portgroup of a distributed switch");
        return Err(Error::Refused { problem });
    }
    let portgroup = session.portgroup(network.moref()).await?;
    if is_uplink(session, &portgroup).await? {
        return Err(Error::Refused { problem: format!("{name} is for uplinks, not for machines") });
    }
    Ok(portgroup)
}

fn switch_of(portgroup: &Portgroup) -> Result<MoRef, Error> {
    portgroup.config.switch.clone().ok_or_else(|| Error::NotFound {
        problem: format!("the switch of {} may not be seen", portgroup.config.name),
    })
}

/// Whether the ports of a portgroup are uplinks.  Servers before 6.5 say so at the switch only.
pub(crate) async fn is_uplink(session: &Session, portgroup: &Portgroup) -> Result<bool, VimError> {
    match (portgroup.config.uplink, &portgroup.config.switch) {
        (Some(uplink), _) => Ok(uplink),
        (None, Some(switch)) => {
            let switch = session.switch(switch).await?;
            Ok(switch.config.uplink_portgroups.contains(&portgroup.moref))
        }
        (None, None) => Ok(false),
    }
}

/// Who may be on a port already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'o> {
    pub(crate) vm: &'o MoRef,
    /// Its card; any if `None`.
    pub(crate) nic_key: Option<i64>,
}

/// The port with this key, if a card can be put on it.
///
/// # Errors
///
/// [`Error::NotFound`] if there is none, [`Error::Refused`] if it is taken, in conflict, in another
/// portgroup than `portgroup`, an uplink, made by a host, or of a portgroup whose ports only the
/// server gives.
pub(crate) async fn usable_port(
    session: &Session,
    switch: &MoRef,
    portgroup: Option<&str>,
    key: &str,
    owner: Option<Owner<'_>>,
) -> Result<DistributedVirtualPort, Error> {
    let ports = session.fetch_ports(switch, &PortCriteria::of_ports([key.to_owned()])).await?;
    let is_in = |port: &&DistributedVirtualPort| {
        portgroup.is_some() && port.portgroup_key.as_deref() == portgroup
    };
    let port = ports.iter().find(is_in).or_else(|| ports.first()).cloned();
    let Some(port) = port else {
        return Err(Error::NotFound { problem: format!("the switch has no port {key}") });
    };
    let refused = |problem: String| Err(Error::Refused { problem });
    let Some(its) = &port.portgroup_key else {
        return refused(format!("the port {key} is in no portgroup, so no card can be put on it"));
    };
    let group = session.portgroup(&MoRef::new("DistributedVirtualPortgroup", its.as_str())).await?;
    let name = &group.config.name;
    if portgroup.is_some_and(|wanted| wanted != its) {
        return refused(format!("the port {key} is in another portgroup, {name}"));
    }
    if is_uplink(session, &group).await? {
        return refused(format!("the port {key} is an uplink ({name})"));
    }
    if matches!(group.config.binding, Binding::Ephemeral | Binding::Late) {
        return refused(format!(
            "the port {key} cannot be chosen: {name} gives its ports when machines start"
        ));
    }
    if port.host_local_port == Some(true) {
        return refused(format!("the port {key} was made by a host and cannot be given away"));
    }
    if port.conflict == Some(true) && port.connectee.is_none() {
        return refused(format!("the port {key} of {name} is in conflict with another port"));
    }
    if let Some(connectee) = &port.connectee {
        let is_owner = owner.is_some_and(|owner| {
            let nic = owner.nic_key.map(|key| key.to_string());
            connectee.connected_entity.as_ref() == Some(owner.vm)
                && (nic.is_none() || connectee.nic_key == nic)
        });
        if !is_owner {
            let by = connectee.connected_entity.as_ref();
            let by = by.map(|entity| format!(" by {entity}")).unwrap_or_default();
            return refused(format!("the port {key} of {name} is taken{by}"));
        }
    }
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_called_by_label_and_by_number() {
        let labels = ["Network adapter 1", "Network adapter 3"];
        for (wanted, index) in [
            ("Network adapter 1", Some(0)),
            ("network adapter 3", Some(1)),
            ("1", Some(0)),
            // Its label counts before its place.
            ("3", Some(1)),
            ("2", Some(1)),
            ("0", None),
            ("4", None),
            ("", None),
            ("Ethernet 1", None),
        ] {
            assert_eq!(card_called(&labels, wanted), index, "{wanted}");
        }
        assert_eq!(card_called(&["Ethernet 1", "Ethernet 2"], "2"), Some(1));
        assert_eq!(card_called(&[], "1"), None);
    }
}
