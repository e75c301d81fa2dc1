//! From what people write to switches and criteria.

use std::collections::BTreeMap;
use std::sync::Arc;

use ovftransfer_vim::Entity;
use ovftransfer_vim::EntityKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::dvs::CardBacking;
use ovftransfer_vim::dvs::PortConnection;
use ovftransfer_vim::dvs::PortCriteria;
use ovftransfer_vim::inventory::similar;
use ovftransfer_vim::session::Session;
use ovftransfer_vim::value::MoRef;

use crate::error::Check;
use crate::error::Error;
use crate::error::Finding;
use crate::network::SwitchName;
use crate::ports::Card;
use crate::ports::Part;
use crate::ports::PortQuery;

/// What a query means.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) parts: Vec<Part>,
    pub(super) findings: Vec<Finding>,
}

/// Finds the switches that a query is about, and the criteria for the ports of each.
pub(super) async fn choose(session: &Session, query: &PortQuery) -> Result<Chosen, Error> {
    let place = session.find_named(&query.place, &[]).await?;
    let machine = match &query.machine {
        Some(machine) => Some(machine_called(session, &place, machine).await?),
        None if place.kind() == EntityKind::VirtualMachine => Some(place.clone()),
        None => None,
    };
    let search = Search { session, query, place };
    match machine {
        Some(machine) => search.of_machine(&machine).await,
        None => search.of_place().await,
    }
}

/// A machine by path, by its path below the datacenter's folder, or by reference.
async fn machine_called(session: &Session, place: &Entity, text: &str) -> Result<Entity, Error> {
    const KINDS: [EntityKind; 1] = [EntityKind::VirtualMachine];
    let is_whole = text.starts_with('/') || text.starts_with("?moref=") || text.contains(':');
    let text = if !is_whole && place.kind() == EntityKind::Datacenter {
        let below = text.strip_prefix("vm/").unwrap_or(text);
        format!("{}/vm/{below}", place.path())
    } else {
        text.to_owned()
    };
    let found = session.find_named(&text, &KINDS).await?;
    if found.kind() != EntityKind::VirtualMachine {
        return Err(Error::NotFound { problem: format!("{text} is not a machine") });
    }
    Ok(found)
}

struct Search<'q> {
    session: &'q Session,
    query: &'q PortQuery,
    place: Entity,
}

impl Search<'_> {
    /// The ports that the cards of a machine name.
    async fn of_machine(&self, machine: &Entity) -> Result<Chosen, Error> {
        let mut chosen = Chosen::default();
        let mut by_switch: BTreeMap<String, Vec<(PortConnection, Card)>> = BTreeMap::new();
        for card in self.session.network_cards(machine.moref()).await? {
            let CardBacking::Distributed(connection) = card.backing else {
                let problem = "is not on a distributed switch, and has no port";
                chosen.findings.push(Finding::note(Check::Network, card.label, problem));
                continue;
            };
            let Some(port_key) = connection.port_key.clone() else {
                let problem = "has no port at present: it gets one when the machine starts";
                chosen.findings.push(Finding::note(Check::Network, card.label, problem));
                continue;
            };
            let portgroup_key = connection.portgroup_key.clone();
            let card = Card { label: card.label, portgroup_key, port_key };
            let same = by_switch.entry(connection.switch_uuid.clone()).or_default();
            same.push((connection, card));
        }
        for cards in by_switch.into_values() {
            let Some((connection, _)) = cards.first() else { continue };
            let switch = self.switch_of(connection).await?;
            let cards: Vec<Card> = cards.into_iter().map(|(_, card)| card).collect();
            let criteria = PortCriteria::of_ports(cards.iter().map(|card| card.port_key.clone()));
            let part = self.part(&switch, criteria).await?;
            chosen.parts.push(Part { cards: Some(cards), ..part });
        }
        if let Some(wanted) = &self.query.switch {
            let wanted = self.by_path(wanted, &[]).await?;
            chosen.parts.retain(|part| is_switch(&part.switch, &wanted));
        }
        if let Some(wanted) = &self.query.portgroup {
            let wanted = &self.by_path(wanted, &[EntityKind::Network]).await?;
            for part in &mut chosen.parts {
                part.portgroups.retain(|key, name| is_portgroup(&part.switch, key, name, wanted));
                let known = &part.portgroups;
                let is_known = |key: &String| known.contains_key(key);
                part.cards.iter_mut().for_each(|cards| {
                    cards.retain(|card| card.portgroup_key.as_ref().is_some_and(is_known));
                });
            }
        }
        Ok(chosen)
    }

    /// The switch of a connection: its portgroup names it, too, and some servers cannot find one by
    /// its UUID.
    async fn switch_of(&self, connection: &PortConnection) -> Result<MoRef, Error> {
        let uuid = &connection.switch_uuid;
        let error = match self.session.find_switch(uuid).await {
            Ok(Some(switch)) => return Ok(switch),
            Ok(None) => None,
            Err(error) if error.is_fault("MethodNotFound") => Some(error),
            Err(error) => return Err(error.into()),
        };
        if let Some(key) = &connection.portgroup_key {
            let portgroup = MoRef::new("DistributedVirtualPortgroup", key);
            if let Some(switch) = self.session.portgroup(&portgroup).await?.config.switch {
                return Ok(switch);
            }
        }
        let problem = format!("there is no switch {uuid}, or it may not be seen");
        Err(error.map_or(Error::NotFound { problem }, Error::from))
    }

    /// The ports at a place.
    async fn of_place(&self) -> Result<Chosen, Error> {
        let mut criteria = PortCriteria::default();
        let mut portgroup = None;
        let switches = match self.place.kind() {
            EntityKind::Unknown if is_distributed(self.place.moref()) => {
                vec![self.place.moref().clone()]
            }
            EntityKind::Network => {
                let found = self.place.moref();
                let switch = self.switch_of_portgroup(found).await?;
                portgroup = Some(found.clone());
                vec![switch]
            }
            EntityKind::Host => {
                criteria.hosts = vec![self.place.moref().clone()];
                self.switches_of_hosts(&criteria.hosts).await?
            }
            EntityKind::Compute => {
                let hosts = self.session.hosts_of(self.place.moref()).await?;
                criteria.hosts = hosts.into_iter().map(|host| host.moref).collect();
                self.switches_of_hosts(&criteria.hosts).await?
            }
            EntityKind::Datacenter | EntityKind::Folder => self.switches_below().await?,
            EntityKind::Datastore
            | EntityKind::ResourcePool
            | EntityKind::Unknown
            | EntityKind::VirtualApp
            | EntityKind::VirtualMachine
            | _ => {
                let place = &self.query.place;
                let problem = format!(
                    "{place} has no ports; name a datacenter, a switch, a distributed portgroup, a \
                     machine, a host or a cluster"
                );
                return Err(Error::NotFound { problem });
            }
        };
        let mut parts = Vec::new();
        for switch in &switches {
            parts.push(self.part(switch, criteria.clone()).await?);
        }
        if let Some(portgroup) = portgroup {
            parts.iter_mut().for_each(|part| narrow(part, |key, _| key == portgroup.id()));
        }
        self.by_switch(&mut parts).await?;
        self.by_portgroup(&mut parts).await?;
        Ok(Chosen { parts, findings: Vec::new() })
    }

    /// Keeps the switch that is wanted.
    async fn by_switch(&self, parts: &mut Vec<Part>) -> Result<(), Error> {
        let Some(wanted) = &self.query.switch else { return Ok(()) };
        let wanted = &self.by_path(wanted, &[]).await?;
        let label = |part: &Part| format!("{} ({})", part.switch.name, part.switch.moref);
        let names: Vec<String> = parts.iter().map(|part| part.switch.name.clone()).collect();
        parts.retain(|part| is_switch(&part.switch, wanted));
        match parts.as_slice() {
            [_] => Ok(()),
            [] => Err(nothing("switch", wanted, &self.query.place, &names)),
            several => {
                let labels: Vec<String> = several.iter().map(label).collect();
                Err(ambiguous("switch", wanted, &labels))
            }
        }
    }

    /// Keeps the portgroup that is wanted.
    async fn by_portgroup(&self, parts: &mut Vec<Part>) -> Result<(), Error> {
        let Some(wanted) = &self.query.portgroup else { return Ok(()) };
        let wanted = self.by_path(wanted, &[EntityKind::Network]).await?;
        let named = |part: &Part| -> Vec<String> {
            let all = part.portgroups.iter();
            all.map(|(_, name)| format!("{}/{name}", part.switch.name)).collect()
        };
        let names: Vec<String> = parts.iter().flat_map(named).collect();
        let mut found = Vec::new();
        for part in parts.iter_mut() {
            let switch = Arc::clone(&part.switch);
            narrow(part, |key, name| is_portgroup(&switch, key, name, &wanted));
            let all = part.portgroups.iter();
            found.extend(all.map(|(key, name)| format!("{}/{name} ({key})", switch.name)));
        }
        parts.retain(|part| !part.portgroups.is_empty());
        match found.as_slice() {
            [_] => Ok(()),
            [] => Err(nothing("portgroup", &wanted, &self.query.place, &names)),
            several => Err(ambiguous("portgroup", &wanted, several)),
        }
    }

    /// The reference of what is at a path; any other text as it is.
    async fn by_path(&self, text: &str, kinds: &[EntityKind]) -> Result<String, Error> {
        if !text.starts_with('/') {
            return Ok(text.to_owned());
        }
        Ok(self.session.find_named(text, kinds).await?.moref().to_string())
    }

    /// What is wanted of a switch, with the names of its portgroups.
    async fn part(&self, moref: &MoRef, criteria: PortCriteria) -> Result<Part, Error> {
        let switch = self.session.switch(moref).await?;
        let groups = self.session.portgroups_of(moref).await?;
        let mut names = self.session.names_of(&groups).await?;
        // A portgroup's id is its key.
        let named =
            groups.iter().filter_map(|group| Some((group.id().to_owned(), names.remove(group)?)));
        let portgroups = named.collect();
        let switch = Arc::new(SwitchName {
            moref: switch.moref,
            name: switch.config.name,
            uuid: switch.uuid,
            max_mtu_bytes: switch.config.max_mtu_bytes,
        });
        Ok(Part { switch, criteria, portgroups, cards: None })
    }

    async fn switch_of_portgroup(&self, portgroup: &MoRef) -> Result<MoRef, Error> {
        let place = &self.query.place;
        if portgroup.kind() != "DistributedVirtualPortgroup" {
            let problem = format!("{place} is not on a distributed switch, and has no ports");
            return Err(Error::NotFound { problem });
        }
        let found = self.session.portgroup(portgroup).await?.config.switch;
        let problem = || format!("the switch of {place} may not be seen");
        found.ok_or_else(|| Error::NotFound { problem: problem() })
    }

    /// The switches that hosts are on.
    async fn switches_of_hosts(&self, hosts: &[MoRef]) -> Result<Vec<MoRef>, Error> {
        let mut switches = Vec::new();
        for host in hosts {
            let network = match self.session.host_network(host).await {
                Ok(network) => network,
                // A host that is away serves nothing.
                Err(VimError::Protocol { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            for proxy in &network.proxy_switches {
                let found = self.session.find_switch(&proxy.dvs_uuid).await?;
                switches.extend(found.filter(|switch| !switches.contains(switch)));
            }
        }
        self.some(switches)
    }

    /// The switches below a folder or a datacenter.
    async fn switches_below(&self) -> Result<Vec<MoRef>, Error> {
        let mut switches = Vec::new();
        let mut open = vec![self.place.clone()];
        while let Some(here) = open.pop() {
            let is_datacenter = here.kind() == EntityKind::Datacenter;
            for child in self.session.children(&here).await? {
                let kind = child.kind();
                if is_distributed(child.moref()) {
                    switches.push(child.moref().clone());
                } else if kind == EntityKind::Datacenter
                    || (kind == EntityKind::Folder && (!is_datacenter || child.name() == "network"))
                {
                    open.push(child);
                }
            }
        }
        self.some(switches)
    }

    fn some(&self, switches: Vec<MoRef>) -> Result<Vec<MoRef>, Error> {
        if switches.is_empty() {
            let place = &self.query.place;
            let problem = format!("{place}: there is no distributed switch");
            return Err(Error::NotFound { problem });
        }
        Ok(switches)
    }
}

/// Keeps the portgroups of a part that `is_wanted` wants, and asks for their ports only.
fn narrow(part: &mut Part, is_wanted: impl Fn(&str, &str) -> bool) {
    part.portgroups.retain(|key, name| is_wanted(key, name));
    let keys = part.portgroups.keys().cloned();
    let hosts = std::mem::take(&mut part.criteria.hosts);
    part.criteria = PortCriteria { hosts, ..PortCriteria::in_portgroups(keys) };
}

/// Whether a switch is called so: by its name, reference or id.
fn is_switch(switch: &SwitchName, wanted: &str) -> bool {
    let by_id = wanted.strip_prefix("?moref=").unwrap_or(wanted);
    switch.name == wanted || switch.moref.id() == by_id || switch.moref.to_string() == by_id
}

/// Whether a portgroup is called so: by its name, `switch/name`, reference or key.
fn is_portgroup(switch: &SwitchName, key: &str, name: &str, wanted: &str) -> bool {
    let by_id = wanted.strip_prefix("?moref=").unwrap_or(wanted);
    let by_id = by_id.strip_prefix("DistributedVirtualPortgroup:").unwrap_or(by_id);
    let by_switch = wanted.strip_prefix(&switch.name).and_then(|rest| rest.strip_prefix('/'));
    name == wanted || by_switch == Some(name) || key == by_id
}

fn is_distributed(moref: &MoRef) -> bool {
    moref.kind().ends_with("DistributedVirtualSwitch")
}

fn nothing(what: &str, wanted: &str, place: &str, there: &[String]) -> Error {
    let near = similar(wanted, there.iter().map(String::as_str));
    let near = match near.as_slice() {
        [] => String::new(),
        near => format!(", but there is {}", near.join(", ")),
    };
    Error::NotFound { problem: format!("{place} has no {what} {wanted}{near}") }
}

fn ambiguous(what: &str, wanted: &str, candidates: &[String]) -> Error {
    let candidates = candidates.join(", ");
    Error::NotFound { problem: format!("the {what} {wanted} is ambiguous: {candidates}") }
}
