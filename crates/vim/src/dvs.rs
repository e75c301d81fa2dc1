//! Distributed switches: their ports, portgroups and configuration, and the cards on them.
//!
//! ```text
//!   NetworkCard.backing ── PortConnection { switchUuid, portgroupKey, portKey, cookie }
//!                               │ find_switch         │ portgroup      │ fetch_ports
//!                               v                     v                v
//!                             Switch              Portgroup    DistributedVirtualPort
//! ```
//!
//! The calls go to the switch under the type that the server gave it: vCenter says
//! `VmwareDistributedVirtualSwitch`, others say `DistributedVirtualSwitch`.

mod card;
mod config;
mod planned;
mod port;
mod setting;

use crate::connection::Call;
use crate::error::VimError;
use crate::session::Session;
use crate::value::{MoRef, Object, Value};

pub use card::{CardBacking, MachineCards, NetworkCard, PortConnection};
pub use config::{Binding, DpuFailoverPolicy, Portgroup, PortgroupConfig, Switch, SwitchConfig};
pub use planned::PlannedCards;
pub use port::{
    ConnecteeKind, DistributedVirtualPort, PortConfig, PortConnectee, PortState, PortStatistics,
    PortStatus,
};
pub use setting::{
    FailureCriteria, KeyedBlob, LacpPolicy, MacLearning, MacManagementPolicy, NumericRange, Policy,
    PortSetting, SecurityPolicy, ShapingPolicy, TeamingPolicy, VendorConfig, Vlan,
};

/// Which ports are meant (`DistributedVirtualSwitchPortCriteria`, since 4.0).  The default means
/// all; a port must meet every criterion that is set.
///
/// ```
/// use ovftransfer_vim::dvs::PortCriteria;
///
/// let connected = PortCriteria {
///     connected: Some(true),
///     ..PortCriteria::in_portgroups(["dvportgroup-12".to_owned()])
/// };
/// assert_eq!(connected.inside, Some(true));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "filled in by the caller with `..default()`")]
pub struct PortCriteria {
    /// Whether somebody is connected (since 4.0).
    pub connected: Option<bool>,
    /// Whether the link is up (since 4.0).
    pub active: Option<bool>,
    /// Whether it is an uplink (since 4.0).
    pub uplink_port: Option<bool>,
    /// Whether NSX made it (since 7.0; older servers refuse the field).
    pub nsx_port: Option<bool>,
    /// An object that may use it (since 4.0, deprecated).
    pub scope: Option<MoRef>,
    /// Keys of portgroups; nothing without `inside` (since 4.0).
    pub portgroup_keys: Vec<String>,
    /// Whether it belongs to one of `portgroup_keys`, or to none of them (since 4.0).
    pub inside: Option<bool>,
    /// Keys of ports (since 4.0).
    pub port_keys: Vec<String>,
    /// Hosts that serve it (since 6.5; older servers refuse the field).
    pub hosts: Vec<MoRef>,
}

impl PortCriteria {
    /// The ports of these portgroups.
    #[must_use]
    pub fn in_portgroups(keys: impl IntoIterator<Item = String>) -> Self {
        let portgroup_keys = keys.into_iter().collect();
        Self { portgroup_keys, inside: Some(true), ..Self::default() }
    }

    /// The ports with these keys.
    #[must_use]
    pub fn of_ports(keys: impl IntoIterator<Item = String>) -> Self {
        Self { port_keys: keys.into_iter().collect(), ..Self::default() }
    }
}

impl From<&PortCriteria> for Object {
    fn from(criteria: &PortCriteria) -> Self {
        Self::new("DistributedVirtualSwitchPortCriteria")
            .with_some("connected", criteria.connected)
            .with_some("active", criteria.active)
            .with_some("uplinkPort", criteria.uplink_port)
            .with_some("nsxPort", criteria.nsx_port)
            .with_some("scope", criteria.scope.as_ref())
            .with_each("portgroupKey", criteria.portgroup_keys.iter().map(String::as_str))
            .with_some("inside", criteria.inside)
            .with_each("portKey", criteria.port_keys.iter().map(String::as_str))
            .with_each("host", criteria.hosts.iter())
    }
}

/// Ports of a switch, some hundreds at a time.  Made by [`Session::port_pages`].
#[derive(Debug)]
#[must_use = "no port is fetched until a page is asked for"]
pub struct PortPages {
    session: Session,
    switch: MoRef,
    criteria: PortCriteria,
    /// What is left; `None` if the server gives only all at once.
    keys: Option<std::vec::IntoIter<String>>,
    ended: bool,
    refreshes: bool,
}

impl PortPages {
    /// The same pages, but the hosts are asked for the present state of the ports of each before it
    /// is fetched.  See [`Session::refresh_port_state`].
    pub fn refreshed(mut self) -> Self {
        self.refreshes = true;
        self
    }

    /// The next ports; `None` after the last.  Ports that went since the first page are left out.
    ///
    /// # Errors
    ///
    /// Any.  The same page can be asked for only by starting again.
    pub async fn next(&mut self) -> Result<Option<Vec<DistributedVirtualPort>>, VimError> {
        if self.ended {
            return Ok(None);
        }
        let Some(keys) = &mut self.keys else {
            self.ended = true;
            if self.refreshes {
                let ports = self.session.fetch_ports(&self.switch, &self.criteria).await?;
                let keys: Vec<String> = ports.into_iter().map(|port| port.key).collect();
                self.session.refresh_port_state(&self.switch, &keys).await?;
            }
            return self.session.fetch_ports(&self.switch, &self.criteria).await.map(Some);
        };
        let port_keys: Vec<String> = keys.by_ref().take(PAGE_PORTS).collect();
        if port_keys.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        let page = PortCriteria { port_keys, ..self.criteria.clone() };
        if self.refreshes {
            self.refresh(&page).await?;
        }
        self.session.fetch_ports(&self.switch, &page).await.map(Some)
    }

    /// Asks for the present state of the ports of a page, of which some may be gone by now.
    async fn refresh(&self, page: &PortCriteria) -> Result<(), VimError> {
        match self.session.refresh_port_state(&self.switch, &page.port_keys).await {
            Err(error) if error.is_fault("NotFound") => {
                let left = self.session.fetch_port_keys(&self.switch, page).await?;
                self.session.refresh_port_state(&self.switch, &left).await
            }
            outcome => outcome,
        }
    }
}

/// Distributed switches.
impl Session {
    /// Reads ports of a switch.  Privilege `System.Read`.
    ///
    /// The runtime state may be old: [`refresh_port_state`](Self::refresh_port_state) first.
    ///
    /// API: `FetchDVPorts`, since 4.0.
    ///
    /// # Errors
    ///
    /// [`VimError::Protocol`] if a port has no key, or if there are more than fit into one answer:
    /// a few thousand; see [`port_pages`](Self::port_pages).
    pub async fn fetch_ports(
        &self,
        switch: &MoRef,
        criteria: &PortCriteria,
    ) -> Result<Vec<DistributedVirtualPort>, VimError> {
        const METHOD: &str = "FetchDVPorts";
        let call = Call::new(switch, METHOD).with("criteria", Object::from(criteria));
        let ports = self.call(call).await?;
        let ports: Option<_> = ports.iter().map(DistributedVirtualPort::from_value).collect();
        ports.ok_or_else(|| self.connection().protocol(METHOD, "a port has no key"))
    }

    /// Reads the keys of ports of a switch.  Privilege `System.Read`.
    ///
    /// API: `FetchDVPortKeys`, since 4.0.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn fetch_port_keys(
        &self,
        switch: &MoRef,
        criteria: &PortCriteria,
    ) -> Result<Vec<String>, VimError> {
        let call = Call::new(switch, "FetchDVPortKeys").with("criteria", Object::from(criteria));
        let keys = self.call(call).await?;
        Ok(keys.iter().filter_map(|key| Some(key.text()?.into_owned())).collect())
    }

    /// Reads ports of a switch page by page, so that not all of them are held at a time.
    ///
    /// API: `FetchDVPortKeys` and `FetchDVPorts`, since 4.0.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn port_pages(
        &self,
        switch: &MoRef,
        criteria: &PortCriteria,
    ) -> Result<PortPages, VimError> {
        let keys = match self.fetch_port_keys(switch, criteria).await {
            Ok(keys) => Some(keys.into_iter()),
            // A server with less than the reference.
            Err(error) if error.is_fault("MethodNotFound") => None,
            Err(error) => return Err(error),
        };
        let (session, switch) = (self.clone(), switch.clone());
        let criteria = criteria.clone();
        Ok(PortPages { session, switch, criteria, keys, ended: false, refreshes: false })
    }

    /// Asks the hosts for the present state of ports, which may take them some seconds.  Without
    /// keys nothing is asked.  Privilege `System.Read`.
    ///
    /// API: `RefreshDVPortState`, since 4.0.
    ///
    /// # Errors
    ///
    /// The faults `DvsFault` and `NotFound` (no port has such a key).
    pub async fn refresh_port_state(
        &self,
        switch: &MoRef,
        port_keys: &[String],
    ) -> Result<(), VimError> {
        for keys in port_keys.chunks(PAGE_PORTS) {
            let call = Call::new(switch, "RefreshDVPortState")
                .with_each("portKeys", keys.iter().map(String::as_str));
            self.call(call).await?;
        }
        Ok(())
    }

    /// The switch with this UUID; `None` if there is none.  Privilege `System.View`.
    ///
    /// API: `DistributedVirtualSwitchManager.QueryDvsByUuid`, since 4.0.
    ///
    /// # Errors
    ///
    /// The fault `MethodNotFound` on servers with less than the reference; the switch of a
    /// portgroup is in [`PortgroupConfig::switch`], too.
    pub async fn find_switch(&self, uuid: &str) -> Result<Option<MoRef>, VimError> {
        const METHOD: &str = "QueryDvsByUuid";
        let manager = self.singleton("dvSwitchManager", METHOD)?;
        match self.connection().call_one(Call::new(&manager, METHOD).with("uuid", uuid)).await {
            Ok(switch) => Ok(switch.as_ref().and_then(Value::moref).cloned()),
            Err(error) if error.is_fault("NotFound") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a switch.
    ///
    /// API: `DistributedVirtualSwitch`, since 4.0.
    ///
    /// # Errors
    ///
    /// [`VimError::Protocol`] if it has no UUID or no configuration, as when the caller may not
    /// read it.
    pub async fn switch(&self, switch: &MoRef) -> Result<Switch, VimError> {
        let read = self.read(switch, &["uuid", "config"]).await?;
        let unread = || self.connection().protocol(READ, "the switch has no configuration");
        let config = read.value("config").ok_or_else(unread)?;
        let uuid = read.text("uuid").filter(|uuid| !uuid.is_empty());
        Ok(Switch {
            moref: switch.clone(),
            uuid: uuid.or_else(|| config.filled_text_of("uuid")).ok_or_else(unread)?,
            config: SwitchConfig::from_value(config),
        })
    }

    /// Reads a portgroup.
    ///
    /// API: `DistributedVirtualPortgroup`, since 4.0.
    ///
    /// # Errors
    ///
    /// [`VimError::Protocol`] if it has no configuration, as when the caller may not read it.
    pub async fn portgroup(&self, portgroup: &MoRef) -> Result<Portgroup, VimError> {
        let read = self.read(portgroup, &["config", "portKeys"]).await?;
        let config = read.value("config").ok_or_else(|| {
            self.connection().protocol(READ, "the portgroup has no configuration")
        })?;
        let keys = read.value("portKeys").into_iter().flat_map(Value::items);
        let keys = keys.filter_map(|key| Some(key.text()?.into_owned())).collect();
        Ok(Portgroup::new(portgroup, config, keys))
    }

    /// The portgroups of a switch, the ones of its uplinks included.
    ///
    /// API: `DistributedVirtualSwitch.portgroup`, since 4.0.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn portgroups_of(&self, switch: &MoRef) -> Result<Vec<MoRef>, VimError> {
        Ok(self.read(switch, &["portgroup"]).await?.morefs("portgroup"))
    }
}

/// Texts of the array `name`.
fn texts(value: &Value, name: &str) -> Vec<String> {
    value.each(name).filter_map(|text| Some(text.text()?.into_owned())).collect()
}

const READ: &str = "RetrievePropertiesEx";
/// Ports of one answer: about 5 KB each.
const PAGE_PORTS: usize = 500;

#[cfg(test)]
mod tests;
