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
use crate::settle::is_gone;
use crate::settle::persist;

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
///
/// If this were stopped half-way the next run would find no old machine, and make another new one.
/// So what the network loses is tried again; it may have been done all the same.
async fn replace(session: &Session, old: &OldMachine, new: &MoRef) -> Result<(), Error> {
    let OldMachine { vm, name, .. } = old;
    let replaced = tokio::time::timeout(REPLACE_WAIT, async {
        if !persist(|| delete(session, vm)).await? {
            let problem = format!("{name} ({vm}) is not powered off any more; it stays");
            return Err(Error::Refused { problem });
        }
        Ok(persist(|| ended(session, session.rename(new, name))).await?)
    });
    let problem = format!("{name} ({vm}) could not be replaced in {} s", REPLACE_WAIT.as_secs());
    replaced.await.unwrap_or(Err(Error::Refused { problem }))
}

/// Deletes a machine, unless it runs; says whether it is gone.
async fn delete(session: &Session, vm: &MoRef) -> Result<bool, VimError> {
    let deleted = match session.vm_facts(vm).await {
        // Somebody may have started it while the disks moved.
        Ok(facts) if facts.power_state != PowerState::Off => return Ok(false),
        Ok(_) => ended(session, session.destroy(vm)).await,
        Err(error) => Err(error),
    };
    match deleted {
        Err(error) if is_gone(&error) => {
            tracing::debug!(old = %vm, "the old machine was deleted by somebody, or unheard");
            Ok(true)
        }
        deleted => deleted.map(|()| true),
    }
}

/// Waits for the end of a task.
async fn finish(
    session: &Session,
    task: impl Future<Output = Result<MoRef, VimError>>,
) -> Result<(), Error> {
    Ok(Box::pin(ended(session, task)).await?)
}

async fn ended(
    session: &Session,
    task: impl Future<Output = Result<MoRef, VimError>>,
) -> Result<(), VimError> {
    session.watch_task(&task.await?).finished().await.map(drop)
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

/// How long a replacement may take: disks are deleted in minutes at worst, and a server that is away
/// for a while comes back.
const REPLACE_WAIT: Duration = Duration::from_secs(30 * 60);

/// The pause before the address is asked for again: guests take tens of seconds to start.
const ADDRESS_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use super::*;
    use futures::FutureExt;
    use futures::StreamExt;
    use futures::future::BoxFuture;
    use http::Request;
    use http::Response;
    use ovftransfer_simulator::Scenario;
    use ovftransfer_simulator::Simulator;
    use ovftransfer_simulator::scenario::Machine;
    use ovftransfer_vim::InventoryPath;
    use ovftransfer_vim::Locator;
    use ovftransfer_vim::Secret;
    use ovftransfer_vim::Wire;
    use ovftransfer_vim::http::HttpTransport;
    use ovftransfer_vim::tls::Trust;
    use ovftransfer_vim::transport::Body;
    use ovftransfer_vim::transport::ByteStream;
    use ovftransfer_vim::transport::Transport;
    use ovftransfer_vim::transport::TransportError;

    /// A network that loses the first call of a method, or its answer.
    #[derive(Debug)]
    struct Lossy {
        inner: HttpTransport,
        method: Mutex<Option<&'static str>>,
        is_call_lost: bool,
    }

    impl Lossy {
        fn strikes(&self, request: &Request<Body>) -> bool {
            let Body::Full(bytes) = request.body() else { return false };
            let mut method = self.method.lock().unwrap();
            let is_it = method
                .is_some_and(|name| String::from_utf8_lossy(bytes).contains(&format!("<{name} ")));
            is_it && method.take().is_some()
        }
    }

    impl Transport for Lossy {
        fn send<'a>(
            &'a self,
            request: Request<Body>,
            trust: &Trust,
        ) -> BoxFuture<'a, Result<Response<ByteStream>, TransportError>> {
            let trust = trust.clone();
            let strikes = self.strikes(&request);
            async move {
                let broken =
                    || TransportError::Broken { host: "vc".to_owned(), reason: "reset".to_owned() };
                if strikes && self.is_call_lost {
                    return Err(broken());
                }
                let answer = self.inner.send(request, &trust).await?;
                if !strikes {
                    return Ok(answer);
                }
                // Once the last byte is there the server has done it.
                let _all = answer.into_body().collect::<Vec<_>>().await;
                Err(broken())
            }
            .boxed()
        }
    }

    /// The names of the machines after `web` was replaced by `web (new)` over such a network.
    async fn replaced(method: &'static str, is_call_lost: bool) -> Vec<String> {
        let mut scenario = Scenario::default();
        scenario.machines = ["web", "web (new)"].map(Machine::new).into();
        scenario.vapps.clear();
        let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
        let locator: Locator = simulator.url().replace("https", "vi").parse().unwrap();
        let trust = Trust::Pinned(simulator.thumbprint().parse().unwrap());
        let (inner, nothing) = (HttpTransport::new(), Mutex::default());
        let network = Arc::new(Lossy { inner, method: nothing, is_call_lost });
        let transport = Arc::clone(&network) as Arc<dyn Transport>;
        let connecting =
            Session::connect_with(transport, locator.endpoint().clone(), trust, Wire::Soap);
        let session = connecting.await.unwrap();
        let password = Secret::new(simulator.password());
        session.login(simulator.username(), &password).await.unwrap();
        let find = async |name: &str| {
            let path = InventoryPath::new(&format!("/DC0/vm/{name}"));
            session.find(&path, &[]).await.unwrap().moref().clone()
        };
        let (vm, new) = (find("web").await, find("web (new)").await);
        let (name, name_meanwhile) = ("web".to_owned(), "web (new)".to_owned());
        *network.method.lock().unwrap() = Some(method);
        replace(&session, &OldMachine { vm, name, name_meanwhile }, &new).await.unwrap();
        assert_eq!(*network.method.lock().unwrap(), None, "nothing was lost");
        simulator.vms().into_iter().map(|vm| vm.name).collect()
    }

    /// Without its name the new machine is not found by a second run, which makes another.
    #[tokio::test]
    async fn a_network_that_fails_does_not_stop_a_replacement_half_way() {
        let lost = ["RetrievePropertiesEx", "Destroy_Task", "Rename_Task"];
        let lost = lost.into_iter().flat_map(|method| [(method, true), (method, false)]);
        let outcomes = lost.map(async |(method, is_call_lost)| {
            let names = replaced(method, is_call_lost).await;
            assert_eq!(names, ["web"], "{method} {is_call_lost}");
        });
        futures::future::join_all(outcomes).await;
    }

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
