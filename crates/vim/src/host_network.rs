//! The network of a host: its cards, its part of distributed switches, and DPU failover.

use crate::connection::Call;
use crate::error::VimError;
use crate::session::Session;
use crate::value::{MoRef, Value};

/// The network of a host (`HostNetworkSystem`, `HostNetworkInfo`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostNetwork {
    /// The host.
    pub host: MoRef,
    /// Its network system, as the host names it.
    pub network_system: MoRef,
    /// Its physical cards.
    pub pnics: Vec<PhysicalNic>,
    /// Its part of each distributed switch.
    pub proxy_switches: Vec<ProxySwitch>,
}

/// A physical card of a host (`PhysicalNic`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PhysicalNic {
    /// Its key, which [`ProxySwitch::pnic_keys`] names: `key-vim.host.PhysicalNic-vmnic0`.
    pub key: String,
    /// Its name: `vmnic0`.
    pub device: String,
    /// Its MAC address.
    pub mac: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Speed of the link in megabits per second; `None` while there is no link.
    pub link_megabits_per_s: Option<u32>,
    /// The DPU that it is on; `None` for an ordinary card (since 8.0.0.1).
    pub dpu_id: Option<String>,
}

/// A host's part of a distributed switch (`HostProxySwitch`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxySwitch {
    /// UUID of the switch; to be compared as it stands.
    pub dvs_uuid: String,
    /// Name of the switch.
    pub dvs_name: String,
    /// Keys of the physical cards that are its uplinks.
    pub pnic_keys: Vec<String>,
    /// Its uplinks.
    pub uplinks: Vec<Uplink>,
    /// Which physical card is on which uplink port.
    pub pnic_ports: Vec<PnicPort>,
    /// Whether it is offloaded to a DPU (since 8.0.0.1).
    pub network_offloading_enabled: Option<bool>,
    /// Which uplinks are in use; empty where the host does not say (since 8.0.3.0).
    pub uplink_states: Vec<UplinkState>,
}

/// An uplink of a host's part of a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uplink {
    /// Key of the uplink's port.
    pub port_key: String,
    /// Name of the uplink: `Uplink 1`.
    pub name: String,
}

/// A physical card on an uplink (`DistributedVirtualSwitchHostMemberPnicSpec`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PnicPort {
    /// Name of the card: `vmnic0`.
    pub device: String,
    /// Key of the uplink's port, if the server has chosen one.
    pub uplink_port_key: Option<String>,
    /// Key of the uplink's portgroup.
    pub uplink_portgroup_key: Option<String>,
}

/// Whether an uplink is in use (`DistributedVirtualSwitchHostMemberHostUplinkState`, since
/// 8.0.3.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UplinkState {
    /// Name of the uplink.
    pub uplink_name: String,
    /// `active` or `standby`.
    pub state: String,
}

impl HostNetwork {
    /// The host's part of the switch with this UUID.
    #[must_use]
    pub fn proxy_switch(&self, dvs_uuid: &str) -> Option<&ProxySwitch> {
        self.proxy_switches.iter().find(|switch| switch.dvs_uuid == dvs_uuid)
    }

    /// The physical card on the uplink called `uplink` of a switch.
    #[must_use]
    pub fn pnic_on(&self, switch: &ProxySwitch, uplink: &str) -> Option<&PhysicalNic> {
        let port = switch.uplinks.iter().find(|known| known.name == uplink)?;
        let is_there = |pnic: &&PnicPort| pnic.uplink_port_key.as_ref() == Some(&port.port_key);
        let pnic = switch.pnic_ports.iter().find(is_there)?;
        self.pnics.iter().find(|known| known.device == pnic.device)
    }
}

impl PhysicalNic {
    fn from_value(value: &Value) -> Option<Self> {
        let device = value.filled_text_of("device")?;
        Some(Self {
            key: value.text_of("key").unwrap_or_default(),
            device,
            mac: value.filled_text_of("mac"),
            driver: value.filled_text_of("driver"),
            link_megabits_per_s: value
                .at(&["linkSpeed", "speedMb"])
                .and_then(Value::int)
                .and_then(|speed| u32::try_from(speed).ok()),
            dpu_id: value.filled_text_of("dpuId"),
        })
    }
}

impl ProxySwitch {
    fn from_value(value: &Value) -> Option<Self> {
        let texts = |name| {
            let all = value.each(name);
            all.filter_map(|text| Some(text.text()?.into_owned())).collect()
        };
        let uplink = |pair: &Value| {
            let name = pair.text_of("value").unwrap_or_default();
            Some(Uplink { port_key: pair.text_of("key")?, name })
        };
        let pnic = |spec: &Value| {
            Some(PnicPort {
                device: spec.filled_text_of("pnicDevice")?,
                uplink_port_key: spec.filled_text_of("uplinkPortKey"),
                uplink_portgroup_key: spec.filled_text_of("uplinkPortgroupKey"),
            })
        };
        let state = |state: &Value| {
            let uplink_name = state.filled_text_of("uplinkName")?;
            Some(UplinkState { uplink_name, state: state.text_of("state").unwrap_or_default() })
        };
        let backing = value.at(&["spec", "backing"]);
        Some(Self {
            dvs_uuid: value.filled_text_of("dvsUuid")?,
            dvs_name: value.text_of("dvsName").unwrap_or_default(),
            pnic_keys: texts("pnic"),
            uplinks: value.each("uplinkPort").filter_map(uplink).collect(),
            pnic_ports: backing
                .map(|backing| backing.each("pnicSpec").filter_map(pnic).collect())
                .unwrap_or_default(),
            network_offloading_enabled: value.boolean_of("networkOffloadingEnabled"),
            uplink_states: value.each("hostUplinkState").filter_map(state).collect(),
        })
    }
}

/// Networks of hosts.
impl Session {
    /// Reads the network of a host.
    ///
    /// API: `HostNetworkSystem.networkInfo`, since 2.0.
    ///
    /// # Errors
    ///
    /// [`VimError::Protocol`] if the host names no network system, as when it is not connected.
    pub async fn host_network(&self, host: &MoRef) -> Result<HostNetwork, VimError> {
        let network_system = self.network_system(host).await?;
        let read = self.read(&network_system, &["networkInfo"]).await?;
        let info = read.value("networkInfo");
        let pnics = info.into_iter().flat_map(|info| info.each("pnic"));
        let switches = info.into_iter().flat_map(|info| info.each("proxySwitch"));
        Ok(HostNetwork {
            host: host.clone(),
            pnics: pnics.filter_map(PhysicalNic::from_value).collect(),
            proxy_switches: switches.filter_map(ProxySwitch::from_value).collect(),
            network_system,
        })
    }

    /// The network system of a host.  Its id follows no rule: it is always read.
    ///
    /// # Errors
    ///
    /// [`VimError::Protocol`] if the host names none, as when it is not connected.
    pub async fn network_system(&self, host: &MoRef) -> Result<MoRef, VimError> {
        const PATH: &str = "configManager.networkSystem";
        let read = self.read(host, &[PATH]).await?;
        read.moref(PATH).ok_or_else(|| {
            self.connection().protocol("RetrievePropertiesEx", "the host has no network system")
        })
    }

    /// Whether the server has [`start_dpu_failover`](Self::start_dpu_failover): since 8.0.3.0.
    ///
    /// # Errors
    ///
    /// [`VimError::TooOld`] if not.  Nothing is sent.
    pub fn has_dpu_failover(&self) -> Result<(), VimError> {
        self.needs(DPU_FAILOVER, "8.0.3.0")
    }

    /// Lets the uplinks of an offloaded switch change over to a DPU in reserve, on one host (since
    /// 8.0.3.0).  `dvs_name` is the switch's name; without `target_dpu` the server chooses.  The
    /// server answers before the change is over.  Privilege `Host.Config.Network`.
    ///
    /// # Errors
    ///
    /// [`VimError::TooOld`] on older servers, which are not asked; the faults `InvalidArgument`
    /// (the switch is not offloaded, or no DPU stands by) and `MethodDisabled` (since 9.0.0.0: the
    /// host is in partial maintenance).
    pub async fn start_dpu_failover(
        &self,
        network_system: &MoRef,
        dvs_name: &str,
        target_dpu: Option<&str>,
    ) -> Result<(), VimError> {
        self.has_dpu_failover()?;
        let call = Call::new(network_system, DPU_FAILOVER)
            .with("dvsName", dvs_name)
            .with_some("targetDpuAlias", target_dpu);
        self.call(call).await?;
        Ok(())
    }
}

/// Lower case, unlike every other method.
const DPU_FAILOVER: &str = "startDpuFailover";
