//! The ports of distributed switches, as a listing that comes page by page.
//!
//! ```text
//!   place ── switches ──┬─ portgroup ─┐
//!     (a datacenter, a  ├─ machine ───┼──> FetchDVPortKeys ──> FetchDVPorts, some hundreds at a time
//!      host, a switch)  └─ all ───────┘                         names of who is on them, in batches
//! ```

mod choose;
mod names;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use ovftransfer_vim::dvs::ConnecteeKind;
use ovftransfer_vim::dvs::DistributedVirtualPort;
use ovftransfer_vim::dvs::PortCriteria;
use ovftransfer_vim::dvs::PortPages;
use ovftransfer_vim::session::Session;

use crate::error::Check;
use crate::error::Error;
use crate::error::Finding;
use crate::network::SwitchName;
use crate::ports::choose::choose;
use crate::ports::names::Names;
use crate::server::Server;

/// Which ports of distributed switches are listed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PortQuery {
    /// Where in the inventory: a path such as `/datacenter`, or a reference.  Of `/`, a datacenter or
    /// a folder of networks the ports of all switches below it are listed; of a switch, a
    /// distributed portgroup or a machine its own; of a host or a cluster those that it serves
    /// (since 6.5).
    pub place: String,
    /// Only ports of this switch: a name below `place`, a path or a reference.
    pub switch: Option<String>,
    /// Only ports of this portgroup: a name or `switch/portgroup` below `place`, a path or a
    /// reference.
    pub portgroup: Option<String>,
    /// Only the ports that the cards of this machine name: a path, a path below the folder `vm` of
    /// the datacenter `place`, or a reference.
    pub machine: Option<String>,
    /// Only ports in conflict.
    pub only_conflicts: bool,
    /// Asks the hosts for the present state of the ports of each page first
    /// (`RefreshDVPortState`), which may take them some seconds.
    pub refresh: bool,
}

impl PortQuery {
    /// All ports at a place.
    #[must_use]
    pub fn new(place: impl Into<String>) -> Self {
        Self { place: place.into(), ..Self::default() }
    }
}

/// A port of a distributed switch, with the names of what it refers to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListedPort {
    /// The switch.
    pub switch: Arc<SwitchName>,
    /// Name of the portgroup; `None` for a port outside of all, or if it may not be seen.
    pub portgroup: Option<String>,
    /// Name of the machine or host that is connected; `None` if nobody is, or it may not be seen.
    pub connected_entity: Option<String>,
    /// What people call the machine's card: `Network adapter 1`.  Known only where the ports of one
    /// machine are listed.
    pub nic_label: Option<String>,
    /// Name of the host that serves the port; `None` if none does, or it may not be seen.
    pub proxy_host: Option<String>,
    /// Everything that the server says of the port.
    pub port: DistributedVirtualPort,
}

impl ListedPort {
    /// Whether nobody is connected; `None` where the server does not say who is.
    ///
    /// Servers with less than the reference give neither connectees nor states: what is not said
    /// there does not mean that the port is free.
    #[must_use]
    pub fn is_free(&self) -> Option<bool> {
        if self.port.connectee.is_some() {
            return Some(false);
        }
        self.port.state.is_some().then_some(true)
    }

    /// Whether it is the end of an uplink, as which a physical card is connected.
    #[must_use]
    pub fn is_uplink(&self) -> bool {
        let connectee = self.port.connectee.as_ref();
        connectee.is_some_and(|one| one.kind == Some(ConnecteeKind::Pnic))
    }
}

/// Ports, some hundreds at a time.  Made by [`Server::ports`].
#[derive(Debug)]
#[must_use = "no port is fetched until a page is asked for"]
pub struct PortListing {
    session: Session,
    query: PortQuery,
    left: VecDeque<Part>,
    current: Option<Page>,
    names: Names,
    findings: Vec<Finding>,
}

/// The ports of one switch that are wanted.
#[derive(Debug)]
struct Part {
    switch: Arc<SwitchName>,
    criteria: PortCriteria,
    /// The portgroup if it is the only one that is wanted, else what was read of all of them.
    portgroups: BTreeMap<String, String>,
    /// The cards of the machine that is wanted, if one is.
    cards: Option<Vec<Card>>,
}

/// A card of the machine whose ports are wanted.
#[derive(Clone, Debug)]
struct Card {
    label: String,
    portgroup_key: Option<String>,
    port_key: String,
}

#[derive(Debug)]
struct Page {
    part: Part,
    pages: PortPages,
}

impl Server {
    /// Finds the ports that are wanted, and lists them page by page.  Privilege `System.Read` on the
    /// switches; who is connected is not told without it on the machines and hosts.
    ///
    /// API: `FetchDVPortKeys`, `FetchDVPorts` and `RefreshDVPortState`, since 4.0.
    ///
    /// # Errors
    ///
    /// [`Error::Server`], also if something that the query names is not there or is ambiguous, and
    /// [`Error::NotFound`] for a place without a distributed switch.
    pub async fn ports(&self, query: &PortQuery) -> Result<PortListing, Error> {
        let session = self.session();
        let chosen = choose(session, query).await?;
        Ok(PortListing {
            session: session.clone(),
            query: query.clone(),
            left: chosen.parts.into(),
            current: None,
            names: Names::default(),
            findings: chosen.findings,
        })
    }
}

impl PortListing {
    /// The next ports; `None` after the last.  A page may be empty.
    ///
    /// # Errors
    ///
    /// [`Error::Server`].  The same page can be asked for only by starting again.
    pub async fn next(&mut self) -> Result<Option<Vec<ListedPort>>, Error> {
        loop {
            let mut page = match self.current.take() {
                Some(page) => page,
                None => match self.left.pop_front() {
                    Some(part) => self.open(part).await?,
                    None => return Ok(None),
                },
            };
            let ports = match page.pages.next().await {
                Err(error) if self.query.refresh && error.is_fault("MethodNotFound") => {
                    self.not_refreshed(&page.part);
                    self.query.refresh = false;
                    self.current = Some(self.open(page.part).await?);
                    continue;
                }
                ports => ports?,
            };
            let Some(ports) = ports else { continue };
            let listed = self.listed(&page.part, ports).await?;
            self.current = Some(page);
            return Ok(Some(listed));
        }
    }

    /// What stands beside the ports: cards of the machine that have none, and state that could not
    /// be refreshed.  Complete after the last page.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    async fn open(&mut self, part: Part) -> Result<Page, Error> {
        let pages = self.session.port_pages(&part.switch.moref, &part.criteria).await?;
        let pages = if self.query.refresh { pages.refreshed() } else { pages };
        Ok(Page { part, pages })
    }

    fn not_refreshed(&mut self, part: &Part) {
        let problem = "the server cannot ask the hosts: the state of its ports may be old";
        self.findings.push(Finding::note(Check::Network, &part.switch.name, problem));
    }

    /// The ports of a page that are wanted, with names.
    async fn listed(
        &mut self,
        part: &Part,
        mut ports: Vec<DistributedVirtualPort>,
    ) -> Result<Vec<ListedPort>, Error> {
        ports.retain(|port| {
            let is_meant = part.cards.as_ref().is_none_or(|cards| card_on(cards, port).is_some());
            is_meant && (!self.query.only_conflicts || port.conflict == Some(true))
        });
        let referred = ports.iter().flat_map(|port| {
            let connectee = port.connectee.as_ref();
            let entity = connectee.and_then(|connectee| connectee.connected_entity.as_ref());
            entity.into_iter().chain(&port.proxy_host)
        });
        self.names.learn(&self.session, referred).await?;
        let listed = ports.into_iter().map(|port| {
            let connectee = port.connectee.as_ref();
            let entity = connectee.and_then(|connectee| connectee.connected_entity.as_ref());
            let card = part.cards.as_ref().and_then(|cards| card_on(cards, &port));
            let portgroup = port.portgroup_key.as_ref().and_then(|key| part.portgroups.get(key));
            ListedPort {
                switch: Arc::clone(&part.switch),
                portgroup: portgroup.cloned(),
                connected_entity: entity.and_then(|entity| self.names.of(entity)),
                nic_label: card.map(|card| card.label.clone()),
                proxy_host: port.proxy_host.as_ref().and_then(|host| self.names.of(host)),
                port,
            }
        });
        Ok(listed.collect())
    }
}

/// The card that names the port.  Some servers count the ports of every portgroup from 0.
fn card_on<'c>(cards: &'c [Card], port: &DistributedVirtualPort) -> Option<&'c Card> {
    cards.iter().find(|card| {
        card.port_key == port.key
            && (card.portgroup_key.is_none() || card.portgroup_key == port.portgroup_key)
    })
}
