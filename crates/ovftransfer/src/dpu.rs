//! Failover of data processing units (DPU): the uplinks of an offloaded switch change over to
//! another one, on one host.
//!
//! ```text
//!   host ── HostNetworkSystem ──> uplinks, their vmnics, the DPU of each ─┐
//!   switch ── networkOffloadConfig ──> who is active, who stands by ──────┼─> plan ──> start
//!   session ── Host.Config.Network ───────────────────────────────────────┘      before, after
//! ```

mod settle;

use std::time::Duration;

use ovftransfer_vim::EntityKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::dvs::DpuFailoverPolicy;
use ovftransfer_vim::dvs::Switch;
use ovftransfer_vim::host_network::HostNetwork;
use ovftransfer_vim::host_network::ProxySwitch;
use ovftransfer_vim::session::Session;
use ovftransfer_vim::value::MoRef;

use crate::dpu::settle::settle;
use crate::error::Check;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Finding;
use crate::error::check_findings;
use crate::rights;
use crate::server::Server;

/// A failover that is wanted (`HostNetworkSystem.startDpuFailover`, since 8.0.3.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DpuFailover {
    /// The host: a path such as `/datacenter/host/cluster/host`, or a reference.
    pub host: String,
    /// Name of the distributed switch.
    pub switch: String,
    /// Alias of the DPU that is to take over; `None` leaves the choice to the server.
    pub target_dpu: Option<String>,
}

/// What is known before a failover.  Nothing has been done yet.
#[derive(Debug)]
#[must_use = "a plan does nothing until it is started"]
#[non_exhaustive]
pub struct DpuFailoverPlan {
    session: Session,
    network_system: MoRef,
    /// The host.
    pub host: MoRef,
    /// Its name.
    pub host_name: String,
    /// Name of the switch.
    pub switch: String,
    /// UUID of the switch; to be compared as it stands.
    pub switch_uuid: String,
    /// Kind of DPU that the switch is offloaded to; `None` for no offload, or if the switch may not
    /// be read (since 8.0.0.1).
    pub network_offload_spec_id: Option<String>,
    /// Which uplinks are to carry the switch and which are to stand by; `None` where all carry it, or
    /// if the switch may not be read (since 8.0.3.0).
    pub dpu_failover_policy: Option<DpuFailoverPolicy>,
    /// The DPU that is asked for; `None` leaves the choice to the server.
    pub target_dpu: Option<String>,
    /// The uplinks of the switch on the host, in the order of the host.
    pub uplinks: Vec<HostUplink>,
    /// What was found: why the failover would be refused, and what is worth knowing.
    pub findings: Vec<Finding>,
}

/// An uplink of a switch on one host.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HostUplink {
    /// Its name: `Uplink 1`.
    pub name: String,
    /// Whether it is in use, as the host says (`hostUplinkState`); `None` if it does not say (since
    /// 8.0.3.0).
    pub state: Option<UplinkUse>,
    /// Whether it is to be in use, by the failover policy of the switch (since 8.0.3.0).
    pub configured: Option<UplinkUse>,
    /// The physical card on it: `vmnic0`; `None` if none is.
    pub pnic: Option<String>,
    /// MAC address of the card.
    pub mac_address: Option<String>,
    /// Speed of the card's link in megabits per second; `None` while there is no link.
    pub link_megabits_per_s: Option<u32>,
    /// The DPU that the card is on; `None` for an ordinary card (since 8.0.0.1).
    pub dpu_id: Option<String>,
}

/// Whether an uplink is in use.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum UplinkUse {
    /// It carries the switch.
    Active,
    /// It is in reserve.
    Standby,
    /// A word that this crate does not know.
    Unknown(String),
}

/// What a failover did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DpuFailoverReport {
    /// Name of the host.
    pub host_name: String,
    /// Name of the switch.
    pub switch: String,
    /// The uplinks before.
    pub before: Vec<HostUplink>,
    /// The uplinks as they were read last; `None` if the host could not be asked afterwards.
    pub after: Option<Vec<HostUplink>>,
    /// Whether the host shows the change.  The server answers before the change is over, so `false`
    /// means only that nothing showed it within 60 seconds.
    pub is_confirmed: bool,
    /// Time from the call until the change showed, or until it was waited for no longer.
    pub took: Duration,
}

impl DpuFailover {
    /// A failover on `host` of the switch called `switch`, to the DPU of the server's choice.
    #[must_use]
    pub fn new(host: impl Into<String>, switch: impl Into<String>) -> Self {
        Self { host: host.into(), switch: switch.into(), target_dpu: None }
    }

    /// Reads the host and the switch.  Nothing is done yet.
    ///
    /// API: `HostNetworkSystem.networkInfo`, `VMwareDVSConfigInfo`.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] with [`VimError::TooOld`] for servers older than 8.0.3.0;
    /// [`Error::NotFound`] if the host is not there, or is not on the switch.  What else stands
    /// against the failover is among the [findings](DpuFailoverPlan::findings).
    pub async fn plan(&self, server: &Server) -> Result<DpuFailoverPlan, Error> {
        let session = server.session();
        session.has_dpu_failover()?;
        const KINDS: [EntityKind; 1] = [EntityKind::Host];
        let host = session.find_named(&self.host, &KINDS).await?;
        if host.kind() != EntityKind::Host {
            return Err(Error::NotFound { problem: format!("{} is not a host", self.host) });
        }
        let network = session.host_network(host.moref()).await?;
        let proxy = proxy_called(&network, &self.switch, host.name())?;
        let (uuid, mut findings) = (proxy.dvs_uuid.clone(), Vec::new());
        let config = match switch(session, &uuid).await? {
            Ok(switch) => Some(switch.config),
            Err(problem) => {
                findings.push(Finding::note(Check::Offload, &self.switch, problem));
                None
            }
        };
        let offload_spec = config.as_ref().filter(|config| config.is_offloaded());
        let policy = config.as_ref().and_then(|config| config.dpu_failover_policy.clone());
        let mut plan = DpuFailoverPlan {
            session: session.clone(),
            network_system: network.network_system.clone(),
            host: host.moref().clone(),
            host_name: host.name().to_owned(),
            switch: self.switch.clone(),
            switch_uuid: uuid,
            network_offload_spec_id: offload_spec
                .and_then(|config| config.network_offload_spec_id.clone()),
            uplinks: uplinks(&network, proxy, policy.as_ref()),
            dpu_failover_policy: policy,
            target_dpu: self.target_dpu.clone(),
            findings,
        };
        let is_offloaded = match &config {
            Some(config) => config.is_offloaded(),
            None => proxy.network_offloading_enabled.unwrap_or(true),
        };
        plan.judge(is_offloaded, config.is_some());
        let wanted = (host.moref().clone(), "Host.Config.Network", "the host");
        plan.findings.extend(rights::missing(server, vec![wanted]).await?);
        Ok(plan)
    }
}

impl DpuFailoverPlan {
    /// The DPUs that carry the switch now, as far as the host or else the policy says.
    #[must_use]
    pub fn active_dpus(&self) -> Vec<&str> {
        self.dpus(&UplinkUse::Active)
    }

    /// The DPUs that could take over: at least one card of each is on an uplink that stands by.
    #[must_use]
    pub fn standby_dpus(&self) -> Vec<&str> {
        self.dpus(&UplinkUse::Standby)
    }

    /// Whether nothing was found that the server would refuse.
    ///
    /// # Errors
    ///
    /// [`Error::Preflight`] with everything that was found.
    pub fn check(&self) -> Result<(), Error> {
        let what = || format!("no DPU of {} can take over {}", self.host_name, self.switch);
        check_findings(what, &self.findings)
    }

    /// Starts the failover, and waits up to 60 seconds until the host shows it.
    ///
    /// API: `HostNetworkSystem.startDpuFailover`, since 8.0.3.0.  Privilege `Host.Config.Network`.
    ///
    /// # Errors
    ///
    /// [`Error::Preflight`] as of [`check`](Self::check); [`Error::Refused`] if the server refuses,
    /// with what it names as the reason; [`Error::Server`] for every other failure of the call.
    /// Once the server has agreed there is no error any more: what cannot be read is unknown.
    pub async fn start(self) -> Result<DpuFailoverReport, Error> {
        self.check()?;
        let target = self.target_dpu.as_deref();
        let call = self.session.start_dpu_failover(&self.network_system, &self.switch, target);
        call.await.map_err(|error| self.refused(error))?;
        let look = async || {
            let network = self.session.host_network(&self.host).await?;
            let proxy = network.proxy_switch(&self.switch_uuid);
            let policy = self.dpu_failover_policy.as_ref();
            Ok(proxy.map(|proxy| uplinks(&network, proxy, policy)).unwrap_or_default())
        };
        let settled = settle(look, &self.uplinks, target).await;
        Ok(DpuFailoverReport {
            host_name: self.host_name,
            switch: self.switch,
            before: self.uplinks,
            after: settled.after,
            is_confirmed: settled.is_confirmed,
            took: settled.took,
        })
    }

    fn dpus(&self, wanted: &UplinkUse) -> Vec<&str> {
        let mut found = Vec::new();
        for uplink in self.uplinks.iter().filter(|uplink| uplink.present_use() == Some(wanted)) {
            if let Some(dpu) = uplink.dpu_id.as_deref().filter(|dpu| !found.contains(dpu)) {
                found.push(dpu);
            }
        }
        found
    }

    /// Finds what the server would refuse.
    fn judge(&mut self, is_offloaded: bool, is_read: bool) {
        let mut found = Vec::new();
        let error = |subject: &str, problem: String, advice: &str| {
            let finding = Finding::error(Check::Offload, ErrorKind::Refused, subject, problem);
            finding.advise(advice)
        };
        let standby = self.standby_dpus();
        let on_standby = || {
            let all = self.uplinks.iter();
            all.filter(|uplink| uplink.present_use() == Some(&UplinkUse::Standby))
        };
        if !is_offloaded {
            let problem = "the switch is not offloaded to DPUs: there is nothing to fail over";
            let advice = "name a switch with network offloads compatibility";
            found.push(error(&self.switch, problem.to_owned(), advice));
        } else if standby.is_empty() {
            let (problem, advice) = if on_standby().next().is_none() {
                let policy = match &self.dpu_failover_policy {
                    None if is_read => "no uplink stands by, as the switch has no failover policy",
                    _ => "no uplink stands by",
                };
                (policy, "let an uplink with a card of another DPU stand by")
            } else if on_standby().all(|uplink| uplink.pnic.is_none()) {
                ("no card is on the uplinks that stand by", "put a card of another DPU on one")
            } else {
                ("no card on the uplinks that stand by is on a DPU", "put one of a DPU there")
            };
            found.push(error(&self.switch, problem.to_owned(), advice));
        } else if let Some(target) = &self.target_dpu {
            let there = standby.join(", ");
            if self.active_dpus().contains(&target.as_str()) && !standby.contains(&target.as_str())
            {
                let problem = "is in use already, and has no card on an uplink that stands by";
                let advice = format!("{there} could take over");
                found.push(error(target, problem.to_owned(), &advice));
            } else if !standby.contains(&target.as_str()) {
                // The alias of a DPU and the id that its cards show may be two things.
                let problem = "no card on an uplink that stands by says that it is on this DPU";
                let finding = Finding::warning(Check::Offload, target, problem);
                found.push(finding.advise(format!("the cards there are on {there}")));
            }
        }
        let is_meant = |dpu: &str| self.target_dpu.as_ref().is_none_or(|target| target == dpu);
        let mut meant =
            on_standby().filter(|uplink| uplink.dpu_id.as_deref().is_some_and(is_meant)).peekable();
        if meant.peek().is_some() && meant.all(|uplink| uplink.link_megabits_per_s.is_none()) {
            let problem = "no card that would take over has a link";
            found.push(Finding::warning(Check::Offload, &self.switch, problem));
        }
        self.findings.extend(found);
    }

    /// What the refusal of the call means.
    fn refused(&self, error: VimError) -> Error {
        let (host, switch) = (&self.host_name, &self.switch);
        let Some(fault) = error.fault() else { return error.into() };
        let problem = if fault.is("InvalidArgument") {
            let what = match fault.invalid_property().as_deref() {
                Some("targetDpuAlias") => {
                    let target = self.target_dpu.as_deref().unwrap_or("the DPU");
                    format!("{target} is not there, or cannot take over {switch} on {host}")
                }
                Some("dvsName") => format!(
                    "{switch} is not offloaded on {host}, or no DPU there is fit to take over"
                ),
                _ => format!("no DPU of {host} is fit to take over {switch}"),
            };
            format!("{what} ({fault})")
        } else if fault.is("MethodDisabled") {
            format!("{host} is in a maintenance that allows no failover of DPUs ({fault})")
        } else {
            return error.into();
        };
        Error::Refused { problem }
    }
}

impl HostUplink {
    /// Whether it is in use, as the host says; where the host does not say, as it is configured.
    #[must_use]
    pub fn present_use(&self) -> Option<&UplinkUse> {
        self.state.as_ref().or(self.configured.as_ref())
    }
}

impl UplinkUse {
    /// The word of the API: `active`.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Unknown(word) => word,
        }
    }

    fn new(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "standby" => Self::Standby,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// The host's part of the switch called `name`.
fn proxy_called<'n>(
    network: &'n HostNetwork,
    name: &str,
    host: &str,
) -> Result<&'n ProxySwitch, Error> {
    let found = network.proxy_switches.iter().find(|proxy| proxy.dvs_name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> =
            network.proxy_switches.iter().map(|proxy| proxy.dvs_name.as_str()).collect();
        let there =
            if names.is_empty() { "no distributed switch".to_owned() } else { names.join(", ") };
        Error::NotFound { problem: format!("{host} is not on a switch {name}; it is on {there}") }
    })
}

/// The switch with this UUID, or why it cannot be read: a host without vCenter does not know it.
async fn switch(session: &Session, uuid: &str) -> Result<Result<Switch, String>, Error> {
    let read = async {
        match session.find_switch(uuid).await? {
            Some(moref) => session.switch(&moref).await.map(Some),
            None => Ok(None),
        }
    };
    match read.await {
        Ok(Some(switch)) => Ok(Ok(switch)),
        Ok(None) => Ok(Err("the switch's failover policy may not be read".to_owned())),
        Err(error) if error.fault().is_some() || matches!(error, VimError::Protocol { .. }) => {
            Ok(Err(format!("the switch's failover policy could not be read: {error}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The uplinks of a host's part of a switch, with their cards.
fn uplinks(
    network: &HostNetwork,
    proxy: &ProxySwitch,
    policy: Option<&DpuFailoverPolicy>,
) -> Vec<HostUplink> {
    let uplink = |name: &String| {
        let state = proxy.uplink_states.iter().find(|state| state.uplink_name == *name);
        let configured = policy.and_then(|policy| {
            if policy.active_uplinks.contains(name) {
                Some(UplinkUse::Active)
            } else if policy.standby_uplinks.contains(name) {
                Some(UplinkUse::Standby)
            } else {
                None
            }
        });
        let pnic = network.pnic_on(proxy, name);
        HostUplink {
            name: name.clone(),
            state: state.map(|state| UplinkUse::new(&state.state)),
            configured,
            pnic: pnic.map(|pnic| pnic.device.clone()),
            mac_address: pnic.and_then(|pnic| pnic.mac.clone()),
            link_megabits_per_s: pnic.and_then(|pnic| pnic.link_megabits_per_s),
            dpu_id: pnic.and_then(|pnic| pnic.dpu_id.clone()),
        }
    };
    proxy.uplinks.iter().map(|one| uplink(&one.name)).collect()
}
