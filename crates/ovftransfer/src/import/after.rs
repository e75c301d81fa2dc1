//! What is done to a machine after its import is complete, on request.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use ovftransfer_vim::ErrorKind as VimErrorKind;
use ovftransfer_vim::VimError;
use ovftransfer_vim::inventory::PowerState;
use ovftransfer_vim::session::Session;
use ovftransfer_vim::value::MoRef;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::Event;
use crate::event::Step;
use crate::import::ImportPlan;
use crate::import::chosen;
use crate::import::chosen::ChosenPort;
use crate::import::ports;
use crate::network::CheckedMachine;
use crate::report::After;
use crate::server::Options;

/// What is to be done, in this order.
#[derive(Clone, Debug, Default)]
pub(super) struct Afterwards {
    pub(super) replace: Option<OldMachine>,
    /// The OVF environment to put into the machine.
    pub(super) environment: Option<String>,
    /// Cards that get other ports than the server gave them.
    pub(super) ports: Vec<ChosenPort>,
    /// Whether the cards must be on their networks.
    pub(super) require_network: bool,
    pub(super) link_wait: Duration,
    pub(super) power_on: bool,
    pub(super) wait_for_ip: Option<Duration>,
    pub(super) template: bool,
}

/// The machine that a new one replaces.
#[derive(Clone, Debug)]
pub(super) struct OldMachine {
    pub(super) vm: MoRef,
    /// Its name, which the new one gets.
    pub(super) name: String,
    /// The name of the new one until then.
    pub(super) name_meanwhile: String,
}

impl fmt::Display for Afterwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(old) = &self.replace {
            let OldMachine { vm, name, name_meanwhile } = old;
            writeln!(f, "  then delete {name} ({vm}) and give {name_meanwhile} its name")?;
        }
        if self.environment.is_some() {
            writeln!(f, "  then put the OVF environment into it")?;
        }
        for port in &self.ports {
            writeln!(f, "  then {port}")?;
        }
        if self.power_on {
            writeln!(f, "  then power it on")?;
        }
        if self.require_network && self.power_on {
            writeln!(f, "  then look for its links, at most {} s", self.link_wait.as_secs())?;
        }
        if let Some(limit) = self.wait_for_ip {
            writeln!(f, "  then wait for its address, at most {} s", limit.as_secs())?;
        }
        if self.template {
            writeln!(f, "  then make it a template")?;
        }
        Ok(())
    }
}

/// Does it all, and looks at the network of the machine.  The lease is over: nothing of this can
/// undo the import.
///
/// # Errors
///
/// [`Error::AfterImport`] with the step that failed.
pub(super) async fn run(
    plan: &ImportPlan,
    entity: &MoRef,
    options: &Options,
    cancel: &CancellationToken,
) -> Result<(After, Vec<CheckedMachine>), Error> {
    let session = plan.server.session();
    let wanted = &plan.afterwards;
    let mut name = plan.spec.entity_name().unwrap_or_default();
    let mut after = After::default();
    let steps = Steps { entity, options, cancel };
    if let Some(old) = &wanted.replace {
        // Never stopped half-way: without its name nobody finds the new machine.
        steps.take(Step::Replace, &name, replace(session, old, entity)).await?;
        name.clone_from(&old.name);
        after.replaced = Some(old.vm.clone());
    }
    if let Some(environment) = &wanted.environment {
        let options = [(GUEST_OVF_ENV, environment.as_str())];
        let set = finish(session, session.set_extra_config(entity, &options));
        steps.take(Step::InjectOvfEnv, &name, set).await?;
        after.has_ovf_env = true;
    }
    if !wanted.ports.is_empty() {
        let connected = Box::pin(chosen::connect(session, entity, &wanted.ports));
        steps.take(Step::ConnectPort, &name, connected).await?;
    }
    if wanted.power_on {
        let started = async {
            match entity.kind() {
                "VirtualApp" => finish(session, session.power_on_vapp(entity)).await,
                _ => finish(session, session.power_on(entity, None)).await,
            }
        };
        steps.take(Step::PowerOn, &name, started).await?;
        after.is_powered_on = true;
    }
    let looking = Box::pin(ports::look(plan, entity, options, wanted.power_on));
    let network = if wanted.require_network {
        let looked =
            async { cancel.run_until_cancelled(looking).await.unwrap_or(Err(Error::Cancelled)) };
        steps.take(Step::CheckNetwork, &name, looked).await?
    } else {
        cancel.run_until_cancelled(looking).await.transpose()?.unwrap_or_default()
    };
    if let Some(limit) = wanted.wait_for_ip {
        let address = async {
            let waited = cancel.run_until_cancelled(address(session, entity, limit)).await;
            waited.unwrap_or(Err(Error::Cancelled))
        };
        after.address = Some(steps.take(Step::WaitForIp, &name, address).await?);
    }
    if wanted.template {
        let marked = async { Ok(session.mark_as_template(entity).await?) };
        steps.take(Step::Template, &name, marked).await?;
        after.is_template = true;
    }
    Ok((after, network))
}

/// What all steps share.
struct Steps<'s> {
    entity: &'s MoRef,
    options: &'s Options,
    cancel: &'s CancellationToken,
}

impl Steps<'_> {
    /// Takes one step, unless the caller has cancelled.
    async fn take<T>(
        &self,
        step: Step,
        name: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let outcome = if self.cancel.is_cancelled() {
            Err(Error::Cancelled)
        } else {
            self.options.observer.observe(&Event::Step { step });
            work.await
        };
        outcome.map_err(|error| {
            let left_behind = "the machine stays as it is".to_owned();
            let error = if matches!(error, Error::Cancelled) {
                Error::CancelledUnclean { left_behind }
            } else {
                error
            };
            let (name, entity) = (name.to_owned(), self.entity.clone());
            Error::AfterImport { name, entity, step, source: Box::new(error) }
        })
    }
}

/// Deletes the old machine and gives the new one its name.
async fn replace(session: &Session, old: &OldMachine, new: &MoRef) -> Result<(), Error> {
    match session.vm_facts(&old.vm).await {
        // Somebody may have started it while the disks moved.
        Ok(facts) if facts.power_state != PowerState::Off => {
            let problem =
                format!("{} ({}) is not powered off any more; it stays", old.name, old.vm);
            return Err(Error::Refused { problem });
        }
        Ok(_) => finish(session, session.destroy(&old.vm)).await?,
        Err(error) if error.is_fault("ManagedObjectNotFound") => {
            tracing::debug!(old = %old.vm, "somebody else has deleted the old machine");
        }
        Err(error) => return Err(error.into()),
    }
    finish(session, session.rename(new, &old.name)).await
}

/// Waits for the end of a task.
async fn finish(
    session: &Session,
    task: impl Future<Output = Result<MoRef, VimError>>,
) -> Result<(), Error> {
    let task = task.await?;
    session.watch_task(&task).finished().await?;
    Ok(())
}

/// Asks for the address of the guest until there is one that others can reach.
async fn address(session: &Session, vm: &MoRef, limit: Duration) -> Result<String, Error> {
    let deadline = Instant::now() + limit;
    loop {
        match session.guest_address(vm).await {
            Ok(Some(address)) if is_reachable(&address) => return Ok(address),
            Ok(_) => {}
            Err(error) if error.kind() == VimErrorKind::Network && Instant::now() < deadline => {
                tracing::debug!(%error, "asked for the address again");
            }
            Err(error) => return Err(error.into()),
        }
        if Instant::now() >= deadline {
            return Err(Error::NoAddress { after: limit });
        }
        tokio::time::sleep(ADDRESS_PAUSE.min(limit)).await;
    }
}

/// Whether an address leads to the guest from elsewhere: guests first report one that they gave
/// themselves (RFC 3927, RFC 4291 §2.5.6).
fn is_reachable(address: &str) -> bool {
    match address.parse() {
        Ok(std::net::IpAddr::V4(v4)) => !v4.is_link_local() && !v4.is_loopback(),
        Ok(std::net::IpAddr::V6(v6)) => v6.segments()[0] & 0xffc0 != 0xfe80 && !v6.is_loopback(),
        Err(_) => false,
    }
}

/// The option that VMware Tools hand to the guest as the OVF environment.
const GUEST_OVF_ENV: &str = "guestinfo.ovfEnv";

/// The pause before the address is asked for again: guests take tens of seconds to start.
const ADDRESS_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nobody_else_can_use_are_not_waited_for() {
        for address in ["169.254.3.4", "fe80::1", "127.0.0.1", "::1", "", "unknown"] {
            assert!(!is_reachable(address), "{address}");
        }
        for address in ["10.0.0.5", "2001:db8::5", "fd00::1"] {
            assert!(is_reachable(address), "{address}");
        }
    }
}
