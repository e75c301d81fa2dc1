//! Finds the port of each card, with few questions: one for each machine, portgroup and switch.

use std::collections::BTreeMap;

use ovftransfer_vim::EntityKind;
use ovftransfer_vim::ErrorKind as VimErrorKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::dvs::CardBacking;
use ovftransfer_vim::dvs::DistributedVirtualPort;
use ovftransfer_vim::dvs::MachineCards;
use ovftransfer_vim::dvs::NetworkCard;
use ovftransfer_vim::dvs::PortConnection;
use ovftransfer_vim::dvs::PortCriteria;
use ovftransfer_vim::inventory::PowerState;
use ovftransfer_vim::session::Session;
use ovftransfer_vim::value::MoRef;

use crate::error::Error;
use crate::network::CardNetwork;
use crate::network::CheckedCard;
use crate::network::CheckedMachine;
use crate::network::CheckedPort;
use crate::network::PortgroupName;
use crate::network::SwitchName;
use crate::network::judge::Evidence;
use crate::network::judge::Found;
use crate::network::judge::judge;
use crate::server::Server;

/// How new the state of a port must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Freshness {
    /// What the server has.
    Known,
    /// The hosts are asked first, which may take them some seconds.
    Refreshed,
}

impl Server {
    /// Looks at the network cards of a machine, or of every machine of a vApp, and at their ports.
    ///
    /// `path` is an inventory path such as `/datacenter/vm/folder/name`, or a reference such as
    /// `VirtualMachine:vm-7`.  With `refresh` the hosts are asked for the present state of the ports
    /// first (`RefreshDVPortState`), which may take some seconds.  Privilege `System.Read`, on the
    /// switches too; what may not be read is unknown.
    ///
    /// # Errors
    ///
    /// [`Error::Server`], also if nothing or more than one thing is there.
    pub async fn check_network(
        &self,
        path: &str,
        refresh: bool,
    ) -> Result<Vec<CheckedMachine>, Error> {
        const KINDS: [EntityKind; 2] = [EntityKind::VirtualMachine, EntityKind::VirtualApp];
        let found = self.session().find_named(path, &KINDS).await?;
        // The root is found whatever is wanted.
        if !KINDS.contains(&found.kind()) {
            return Err(Error::NotFound { problem: format!("{path} is not a machine") });
        }
        let freshness = if refresh { Freshness::Refreshed } else { Freshness::Known };
        Ok(check(self.session(), found.moref(), freshness).await?)
    }
}

/// Looks at the cards of a machine, or of every machine of a vApp, and judges their ports.
pub(crate) async fn check(
    session: &Session,
    entity: &MoRef,
    freshness: Freshness,
) -> Result<Vec<CheckedMachine>, VimError> {
    let vms = match entity.kind() {
        "VirtualApp" => session.vapp_machines(entity).await?,
        _ => vec![entity.clone()],
    };
    let mut machines = Vec::new();
    for vm in &vms {
        machines.push(session.machine_cards(vm).await?);
    }
    let mut read = Reader { session, portgroups: BTreeMap::new(), switches: BTreeMap::new() };
    for port in machines.iter().flat_map(connections) {
        read.name(port).await?;
    }
    for switch in read.switches.values_mut() {
        switch.fetch(session, freshness).await?;
    }
    Ok(machines.iter().map(|machine| read.checked(machine)).collect())
}

fn connections(machine: &MachineCards) -> impl Iterator<Item = &PortConnection> {
    machine.cards.iter().flatten().filter_map(|card| {
        if let CardBacking::Distributed(port) = &card.backing { Some(port) } else { None }
    })
}

/// Something that the session may see, or the reason why not.
pub(crate) type Seen<T> = Result<T, String>;

/// What was read, each thing once.
struct Reader<'s> {
    session: &'s Session,
    /// By key.
    portgroups: BTreeMap<String, Seen<(PortgroupName, Option<MoRef>)>>,
    /// By UUID.
    switches: BTreeMap<String, ReadSwitch>,
}

struct ReadSwitch {
    name: Seen<SwitchName>,
    moref: Seen<MoRef>,
    /// Keys of the ports that are looked for.
    wanted: Vec<String>,
    ports: Seen<Vec<DistributedVirtualPort>>,
}

impl Reader<'_> {
    /// Finds switch and portgroup of a connection.
    async fn name(&mut self, port: &PortConnection) -> Result<(), VimError> {
        if let Some(key) = &port.portgroup_key
            && !self.portgroups.contains_key(key)
        {
            let seen = self.portgroup(key).await?;
            self.portgroups.insert(key.clone(), seen);
        }
        if !self.switches.contains_key(&port.switch_uuid) {
            let seen = self.switch(port).await?;
            self.switches.insert(port.switch_uuid.clone(), seen);
        }
        if let Some(switch) = self.switches.get_mut(&port.switch_uuid)
            && let Some(key) = &port.port_key
            && !switch.wanted.contains(key)
        {
            switch.wanted.push(key.clone());
        }
        Ok(())
    }

    async fn portgroup(&self, key: &str) -> Result<Seen<(PortgroupName, Option<MoRef>)>, VimError> {
        let moref = MoRef::new("DistributedVirtualPortgroup", key);
        Ok(seen(self.session.portgroup(&moref).await)?.map(|found| {
            let name = PortgroupName {
                moref: found.moref,
                key: found.key,
                name: found.config.name,
                binding: found.config.binding,
            };
            (name, found.config.switch)
        }))
    }

    async fn switch(&self, port: &PortConnection) -> Result<ReadSwitch, VimError> {
        // Most often the portgroup has said it already; a server with less than the reference has
        // no question for the UUID.
        let of_portgroup = port.portgroup_key.as_ref().and_then(|key| self.portgroups.get(key));
        let moref = match of_portgroup {
            Some(Ok((_, Some(switch)))) => Ok(switch.clone()),
            _ => {
                let unfound = || "its switch is not there, or may not be seen".to_owned();
                seen(self.session.find_switch(&port.switch_uuid).await)?
                    .and_then(|found| found.ok_or_else(unfound))
            }
        };
        let name = match &moref {
            Ok(moref) => seen(self.session.switch(moref).await)?.map(|switch| SwitchName {
                moref: switch.moref,
                name: switch.config.name,
                uuid: switch.uuid,
                max_mtu_bytes: switch.config.max_mtu_bytes,
            }),
            Err(reason) => Err(reason.clone()),
        };
        Ok(ReadSwitch { name, moref, wanted: Vec::new(), ports: Ok(Vec::new()) })
    }

    fn checked(&self, machine: &MachineCards) -> CheckedMachine {
        let cards = machine.cards.iter().flatten().map(|card| self.card(machine, card));
        let cards = cards.collect();
        let unread = machine.cards.is_none().then(|| "this session may not read them".to_owned());
        CheckedMachine {
            vm: machine.vm.clone(),
            name: machine.name.clone(),
            host: machine.host.clone(),
            power_state: machine.power_state.clone(),
            cards,
            unread,
        }
    }

    fn card(&self, machine: &MachineCards, card: &NetworkCard) -> CheckedCard {
        let network = match &card.backing {
            CardBacking::Distributed(port) => {
                CardNetwork::Distributed(Box::new(self.port(machine, card, port)))
            }
            CardBacking::Opaque { network_id } => {
                CardNetwork::Opaque { network_id: network_id.clone() }
            }
            CardBacking::Standard { name, network } => {
                CardNetwork::Standard { name: name.clone(), network: network.clone() }
            }
            CardBacking::Unknown(kind) => CardNetwork::Unknown(kind.clone()),
            _ => CardNetwork::Unknown(String::new()),
        };
        CheckedCard {
            key: card.key,
            label: card.label.clone(),
            model: card.model.clone(),
            mac_address: card.mac_address.clone(),
            connected: card.connected,
            start_connected: card.start_connected,
            network,
        }
    }

    fn port(
        &self,
        machine: &MachineCards,
        card: &NetworkCard,
        connection: &PortConnection,
    ) -> CheckedPort {
        let key = connection.portgroup_key.as_ref();
        let portgroup = key.and_then(|key| self.portgroups.get(key)?.as_ref().ok());
        let portgroup = portgroup.map(|(name, _)| name);
        let switch = self.switches.get(&connection.switch_uuid);
        let found = match switch {
            Some(switch) => switch.port(connection),
            None => Found::Unnamed,
        };
        let switch = switch.and_then(|switch| switch.name.as_ref().ok());
        let checks = judge(Evidence {
            vm: &machine.vm,
            host: machine.host.as_ref(),
            runs: machine.power_state.as_ref().map(|state| *state == PowerState::On),
            nic_key: card.key,
            mac: card.mac_address.as_deref(),
            connected: card.connected,
            connection,
            switch,
            portgroup,
            port: &found,
        });
        CheckedPort {
            connection: connection.clone(),
            switch: switch.cloned(),
            portgroup: portgroup.cloned(),
            port: match found {
                Found::Port(port) => Some(*port),
                Found::Missing | Found::Unnamed | Found::Unread(_) => None,
            },
            checks,
        }
    }
}

impl ReadSwitch {
    /// Asks for all ports that are wanted, at once.
    async fn fetch(&mut self, session: &Session, freshness: Freshness) -> Result<(), VimError> {
        let Ok(switch) = &self.moref else { return Ok(()) };
        if self.wanted.is_empty() {
            return Ok(());
        }
        if freshness == Freshness::Refreshed {
            refresh(session, switch, &self.wanted).await?;
        }
        let criteria = PortCriteria::of_ports(self.wanted.iter().cloned());
        self.ports = seen(session.fetch_ports(switch, &criteria).await)?;
        Ok(())
    }

    fn port(&self, connection: &PortConnection) -> Found {
        let Some(key) = &connection.port_key else { return Found::Unnamed };
        match (&self.moref, &self.ports) {
            (Err(reason), _) | (_, Err(reason)) => Found::Unread(reason.clone()),
            (Ok(_), Ok(ports)) => {
                // Some servers count the ports of every portgroup from 0.
                let is_in =
                    |port: &&DistributedVirtualPort| port.portgroup_key == connection.portgroup_key;
                let named = || ports.iter().filter(|port| port.key == *key);
                let found = named().find(is_in).or_else(|| named().next());
                found.map_or(Found::Missing, |port| Found::Port(Box::new(port.clone())))
            }
        }
    }
}

/// Asks the hosts for the present state.  Old state is better than none, so refusals are passed over.
async fn refresh(session: &Session, switch: &MoRef, keys: &[String]) -> Result<(), VimError> {
    let all = seen(session.refresh_port_state(switch, keys).await)?;
    let Err(reason) = all else { return Ok(()) };
    tracing::debug!(%switch, reason, "the state of the ports was not refreshed");
    // One port that has gone is a reason to refuse them all.
    for key in keys.iter().filter(|_| keys.len() > 1) {
        if let Err(reason) =
            seen(session.refresh_port_state(switch, std::slice::from_ref(key)).await)?
        {
            tracing::debug!(%switch, key, reason, "the state of the port was not refreshed");
        }
    }
    Ok(())
}

/// What the server refuses to this session, or does not have, is not seen; that it cannot be asked
/// at all is an error.
pub(crate) fn seen<T>(answer: Result<T, VimError>) -> Result<Seen<T>, VimError> {
    const UNASKED: [VimErrorKind; 3] =
        [VimErrorKind::Network, VimErrorKind::SessionLost, VimErrorKind::Tls];
    match answer {
        Err(error) if error.fault().is_none() && UNASKED.contains(&error.kind()) => Err(error),
        answer => Ok(answer.map_err(|error| error.to_string())),
    }
}
