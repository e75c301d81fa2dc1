//! The ports of an imported machine: looked at while the lease can still undo it, and at the end.

use std::future::Future;
use std::time::Duration;

use ovftransfer_vim::ErrorKind as VimErrorKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::value::MoRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::error::Finding;
use crate::error::Severity;
use crate::import::ImportPlan;
use crate::network::CheckedCard;
use crate::network::CheckedMachine;
use crate::network::CheckedPort;
use crate::network::Freshness;
use crate::network::check;
use crate::server::Options;
use crate::server::warn_of;

/// Looks at the ports before the lease completes, where every card must be on its network.  What
/// shows only when the machine runs is left to [`look`].
///
/// # Errors
///
/// [`Error::BadNetwork`], [`Error::Cancelled`], and [`Error::Server`] if the server cannot be asked.
pub(super) async fn prove(
    plan: &ImportPlan,
    entity: &MoRef,
    scope: &CancellationToken,
) -> Result<(), Error> {
    if !plan.afterwards.require_network {
        return Ok(());
    }
    let session = plan.server.session();
    let looking = settle(|| check(session, entity, Freshness::Known), LOOK_LIMIT, false);
    let machines = scope.run_until_cancelled(looking).await.ok_or(Error::Cancelled)??;
    let findings = machines.iter().flat_map(CheckedMachine::required).collect();
    demand(plan, findings)
}

/// Looks at the ports of the machine that is there, and tells what is wrong with them.  Those of one
/// that has just started are given some time.
///
/// # Errors
///
/// Only where every card must be on its network: [`Error::BadNetwork`], and [`Error::Server`] if
/// the server cannot be asked.
pub(super) async fn look(
    plan: &ImportPlan,
    entity: &MoRef,
    options: &Options,
    has_started: bool,
) -> Result<Vec<CheckedMachine>, Error> {
    let session = plan.server.session();
    let is_required = plan.afterwards.require_network;
    let (freshness, limit) = match has_started {
        true => (Freshness::Refreshed, plan.afterwards.link_wait),
        false => (Freshness::Known, LOOK_LIMIT),
    };
    let looking = settle(|| check(session, entity, freshness), limit, has_started);
    let machines = match looking.await {
        Ok(machines) => machines,
        Err(error) if is_required => return Err(error.into()),
        Err(error) => {
            let problem = format!("its network could not be looked at: {error}");
            let check = crate::error::Check::Network;
            warn_of(options, &[Finding::warning(check, plan.name(), problem)]);
            return Ok(Vec::new());
        }
    };
    let findings: Vec<Finding> = if is_required {
        machines.iter().flat_map(CheckedMachine::required).collect()
    } else {
        machines.iter().flat_map(CheckedMachine::findings).collect()
    };
    warn_of(options, &findings);
    if is_required {
        demand(plan, findings)?;
    }
    Ok(machines)
}

fn demand(plan: &ImportPlan, findings: Vec<Finding>) -> Result<(), Error> {
    if findings.iter().all(|finding| finding.severity != Severity::Error) {
        return Ok(());
    }
    Err(Error::BadNetwork { name: plan.name(), findings })
}

/// Looks until nothing more is to be expected, or the time is over: of a machine that `has_started`
/// until its cards have ports and links, else until the server has answered.
async fn settle<F>(
    look: impl Fn() -> F,
    limit: Duration,
    has_started: bool,
) -> Result<Vec<CheckedMachine>, VimError>
where
    F: Future<Output = Result<Vec<CheckedMachine>, VimError>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let looked = look().await;
        let is_over = Instant::now() >= deadline;
        match looked {
            Ok(machines) if is_over || !has_started || !may_settle(&machines) => {
                return Ok(machines);
            }
            Err(error) if is_over || error.kind() != VimErrorKind::Network => return Err(error),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "looked at the network again"),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::time::sleep(LOOK_PAUSE.min(left)).await;
    }
}

fn may_settle(machines: &[CheckedMachine]) -> bool {
    let mut ports =
        machines.iter().flat_map(|machine| &machine.cards).filter_map(CheckedCard::port);
    ports.any(CheckedPort::may_settle)
}

/// How long a server that does not answer is asked for the network of a machine.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// The pause before ports are looked at again: hosts report the state of theirs within seconds.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// How long the links of a machine that has started are waited for, by default.  A card gets its port
/// and its link when the machine starts, and vCenter hears of it from the host a little later.
pub(super) const LINK_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ovftransfer_vim::dvs::PortConnection;
    use ovftransfer_vim::inventory::PowerState;
    use ovftransfer_vim::transport::TransportError;

    use super::*;
    use crate::network::CardNetwork;
    use crate::network::PortAspect;
    use crate::network::PortCheck;
    use crate::network::Verdict;

    /// A machine of which one aspect of its only port is as `verdict` says.
    fn machine(aspect: PortAspect, verdict: Verdict, has_port: bool) -> CheckedMachine {
        let mut connection = PortConnection::to_portgroup("50 21", "dvportgroup-12");
        connection.port_key = has_port.then(|| "7".to_owned());
        let port = CheckedPort {
            connection,
            switch: None,
            portgroup: None,
            port: None,
            checks: vec![PortCheck { aspect, verdict }],
        };
        let card = CheckedCard {
            key: 4000,
            label: "Network adapter 1".to_owned(),
            model: "VirtualVmxnet3".to_owned(),
            mac_address: None,
            connected: Some(true),
            start_connected: Some(true),
            network: CardNetwork::Distributed(Box::new(port)),
        };
        CheckedMachine {
            vm: MoRef::new("VirtualMachine", "vm-1"),
            name: "web".to_owned(),
            host: None,
            power_state: Some(PowerState::On),
            cards: vec![card],
            unread: None,
        }
    }

    fn link(verdict: Verdict) -> Result<CheckedMachine, VimError> {
        Ok(machine(PortAspect::Link, verdict, true))
    }

    fn away() -> Result<CheckedMachine, VimError> {
        let (host, call) = ("vc".to_owned(), "FetchDVPorts".to_owned());
        let reason = "reset".to_owned();
        let source = TransportError::Connect { host: host.clone(), reason };
        Err(VimError::Transport { host, call, source })
    }

    /// Plays the answers, of which the last one is repeated; what came out, and after how long.
    async fn play(
        answers: Vec<fn() -> Result<CheckedMachine, VimError>>,
        limit_s: u64,
        has_started: bool,
    ) -> (Result<CheckedMachine, VimError>, Duration) {
        let begin = Instant::now();
        let at = Mutex::new(0);
        let look = || {
            let mut at = at.lock().unwrap();
            let answer = answers.get(*at).or(answers.last()).unwrap();
            *at += 1;
            std::future::ready(answer().map(|machine| vec![machine]))
        };
        let looked = settle(look, Duration::from_secs(limit_s), has_started).await;
        (looked.map(|mut machines| machines.remove(0)), begin.elapsed())
    }

    fn no() -> String {
        "no".to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn links_and_ephemeral_ports_of_a_started_machine_are_waited_for() {
        let port = || Ok(machine(PortAspect::Exists, Verdict::Bad(no()), false));
        let up = || link(Verdict::Good);
        let (looked, took) =
            play(vec![port, || link(Verdict::Unknown(no())), away, up], 30, true).await;
        assert!(looked.unwrap().findings().is_empty());
        assert_eq!(took, Duration::from_secs(3));
        // The time is bounded, and what is there then is told.
        let (looked, took) = play(vec![|| link(Verdict::Bad(no()))], 30, true).await;
        assert_eq!(looked.unwrap().findings().len(), 1);
        assert_eq!(took, Duration::from_secs(30));
        let (looked, took) = play(vec![away], 30, true).await;
        assert_eq!(looked.unwrap_err().kind(), VimErrorKind::Network);
        assert_eq!(took, Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_time_can_mend_is_not_waited_for() {
        for answer in [
            || Ok(machine(PortAspect::Conflict, Verdict::Bad(no()), true)),
            // A port that is named and not there will not come.
            || Ok(machine(PortAspect::Exists, Verdict::Bad(no()), true)),
            || link(Verdict::NotYet(no())),
        ] {
            let (looked, took) = play(vec![answer], 30, true).await;
            assert_eq!((looked.is_ok(), took), (true, Duration::ZERO));
        }
        // Nor anything of a machine that was not started, if only the server answers.
        let (looked, took) = play(vec![away, || link(Verdict::Unknown(no()))], 5, false).await;
        assert_eq!((looked.is_ok(), took), (true, Duration::from_secs(1)));
    }
}
