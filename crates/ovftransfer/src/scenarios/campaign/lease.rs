//! The server of a universe: a lease that does what the script says.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_vim::Endpoint;
use ovftransfer_vim::VimError;
use ovftransfer_vim::lease::DeviceKey;
use ovftransfer_vim::lease::LeaseInfo;
use ovftransfer_vim::lease::LeaseManifestEntry;
use ovftransfer_vim::lease::LeaseState;
use ovftransfer_vim::transport::TransportError;
use ovftransfer_vim::value::MoRef;
use ovftransfer_vim::value::Object;
use ovftransfer_vim::value::Value;

use super::script::Abortion;
use super::script::Beat;
use super::script::CallTrouble;
use super::script::Completion;
use super::script::Death;
use super::script::LEASE_SLOT;
use super::script::Sha256Answer;
use super::script::Start;
use super::universe::Heard;
use super::universe::OnServer;
use super::universe::Universe;
use crate::lease::LeaseApi;
use crate::scenarios::world::fault;

/// The lease of a universe.
#[derive(Debug)]
pub(super) struct ScriptedLease(pub(super) Arc<Universe>);

const API: &str = "vc.example:443";

fn refused(call: &str, type_name: &'static str) -> VimError {
    let fault = Box::new(fault(type_name));
    VimError::Fault { host: API.to_owned(), call: call.to_owned(), fault }
}

fn unreachable(call: &str) -> VimError {
    let reason = "no route to host".to_owned();
    let source = TransportError::Connect { host: API.to_owned(), reason };
    VimError::Transport { host: API.to_owned(), call: call.to_owned(), source }
}

impl ScriptedLease {
    /// What stands against any call: the lease has ended, or nobody answers.
    async fn gate(&self, call: &str) -> Result<(), VimError> {
        let world = &self.0;
        self.expire();
        if let Some((at_ms, death)) = world.script.lease.death
            && world.now_ms() >= at_ms
            && world.lock().lease != OnServer::Initializing
        {
            match death {
                Death::Unreachable => {
                    world.hit("unreachable");
                    if call == "HttpNfcLeaseGetManifest" {
                        std::future::pending::<()>().await;
                    }
                    return Err(unreachable(call));
                }
                Death::SessionLost => {
                    self.die("session lost");
                    return Err(VimError::SessionLost {
                        host: API.to_owned(),
                        call: call.to_owned(),
                    });
                }
                Death::Vanished => {
                    self.die("vanished");
                    return Err(VimError::LeaseGone {
                        host: API.to_owned(),
                        lease: "lease-1".to_owned(),
                    });
                }
                Death::Error => self.die("state error"),
                Death::Unwatched => self.die("state error, unwatched"),
                Death::Done => self.die("done by another"),
            }
        }
        match world.lock().lease {
            OnServer::Initializing | OnServer::Ready => Ok(()),
            OnServer::Aborted | OnServer::Completed | OnServer::Dead => {
                Err(refused(call, "InvalidState"))
            }
        }
    }

    /// A lease that we have ended, and know to be ended, is not ended again.
    fn once(&self, call: &str) {
        let plan = &self.0.script.lease.complete;
        let is_known =
            !plan.iter().any(|one| matches!(one, Completion::AnswerLost | Completion::Mute));
        let state = self.0.lock().lease;
        if matches!(state, OnServer::Completed | OnServer::Aborted) && is_known {
            self.0.broken(format!("{call} of a lease that is {state:?}"));
        }
    }

    fn die(&self, how: &'static str) {
        let mut state = self.0.lock();
        if state.lease == OnServer::Ready {
            state.lease = OnServer::Dead;
            drop(state);
            self.0.hit(how);
        }
    }

    /// Ends a lease that was not renewed in time.  An old host's nonsense is not enforced.
    fn expire(&self) {
        let (now_ms, timeout_s) = (self.0.now_ms(), self.0.script.lease.timeout_s);
        let mut state = self.0.lock();
        let is_late = now_ms - state.renewed_ms > timeout_s.saturating_mul(1000);
        if state.lease == OnServer::Ready && is_late && timeout_s > 0 {
            state.lease = OnServer::Dead;
        }
    }

    fn renew(&self) {
        let mut state = self.0.lock();
        state.renewed_ms = self.0.now_ms();
    }

    fn hear(&self, heard: Heard) {
        let now_ms = self.0.now_ms();
        self.0.lock().heard_ms.push((now_ms, heard));
    }

    /// Tells how the lease begins.
    async fn begin(&self, look: usize) -> Result<LeaseState, VimError> {
        let world = &self.0;
        let plan = &world.script.lease;
        if let Some((pause_ms, percent)) = plan.initializing.get(look) {
            world.wait(*pause_ms, LEASE_SLOT).await;
            return Ok(LeaseState::Initializing { percent: *percent });
        }
        match plan.start {
            Start::Ready => {}
            Start::Fault(type_name) => {
                world.hit("initialisation failed");
                world.lock().lease = OnServer::Dead;
                return Ok(LeaseState::Error(fault(type_name)));
            }
            Start::Gone => {
                world.hit("lease gone at the start");
                world.lock().lease = OnServer::Dead;
                let lease = "lease-1".to_owned();
                return Err(VimError::LeaseGone { host: API.to_owned(), lease });
            }
            Start::Unreadable => {
                world.hit("state unreadable");
                return Err(unreachable("WaitForUpdatesEx"));
            }
        }
        {
            let mut state = world.lock();
            state.lease = OnServer::Ready;
            state.renewed_ms = world.now_ms();
        }
        self.hear(Heard::Beat);
        let info: Value = Object::untyped()
            .with("leaseTimeout", plan.timeout_s.to_string())
            .with("entity", MoRef::new("VirtualMachine", "vm-1"))
            .into();
        let info = LeaseInfo::from_value(&info, &Endpoint::new("vc.example", 443));
        Ok(LeaseState::Ready(info.unwrap()))
    }

    async fn next(&self) -> Result<LeaseState, VimError> {
        let world = &self.0;
        let look = usize::try_from(world.count("next_state")).unwrap() - 1;
        let is_first = world.lock().lease == OnServer::Initializing;
        if world.fails(if is_first { "begin" } else { "watch" }) {
            return Err(unreachable("WaitForUpdatesEx"));
        }
        if is_first {
            return self.begin(look).await;
        }
        if world.count("watch") <= world.script.lease.watch_fails {
            world.hit("watch failed");
            world.wait(1000, LEASE_SLOT).await;
            return Err(unreachable("WaitForUpdatesEx"));
        }
        loop {
            match world.lock().lease {
                OnServer::Completed => return Ok(LeaseState::Done),
                OnServer::Aborted => return Ok(LeaseState::Error(fault("RequestCanceled"))),
                OnServer::Initializing | OnServer::Ready | OnServer::Dead => {}
            }
            match world.script.lease.death {
                Some((at_ms, death)) if !matches!(death, Death::Unwatched | Death::Unreachable) => {
                    let is_dead = world.now_ms() >= at_ms;
                    if !is_dead {
                        // Or sooner, if it is ended before.
                        world.wait(100.min(at_ms - world.now_ms()), LEASE_SLOT).await;
                        continue;
                    }
                    // The server tells of it a moment later.
                    world.wait(20, LEASE_SLOT).await;
                    let answer = self.gate("WaitForUpdatesEx").await;
                    return match death {
                        Death::Done => Ok(LeaseState::Done),
                        Death::Error => Ok(LeaseState::Error(fault("HostCommunication"))),
                        _ => Err(answer.unwrap_err()),
                    };
                }
                _ if world.lock().lease == OnServer::Dead => {
                    if world.script.lease.death.is_some() {
                        std::future::pending::<()>().await;
                    }
                    return Ok(LeaseState::Error(fault("Timedout")));
                }
                // Whoever asks whether it was done asks again; whoever watches is dropped.
                _ => world.wait(1000, LEASE_SLOT).await,
            }
        }
    }

    async fn beat(&self, percent: u8) -> Result<(), VimError> {
        const CALL: &str = "HttpNfcLeaseProgress";
        let world = &self.0;
        let number = usize::try_from(world.count(CALL)).unwrap() - 1;
        world.note("beat", format!("progress {percent}"));
        world.percent(percent);
        self.hear(Heard::Beat);
        if world.fails("progress") {
            return Err(unreachable(CALL));
        }
        if let Some((at_ms, Death::Unreachable)) = world.script.lease.death
            && world.now_ms() >= at_ms
            && number.is_multiple_of(2)
        {
            // Some calls fail, others get no answer.
            std::future::pending::<()>().await;
        }
        self.gate(CALL).await?;
        match world.script.lease.beats.get(number).copied().unwrap_or(Beat::Answer) {
            Beat::Answer => {}
            Beat::Fault => {
                world.hit("heartbeat refused");
                return Err(refused(CALL, "SystemError"));
            }
            Beat::Silence => {
                world.hit("heartbeat unanswered");
                std::future::pending::<()>().await;
            }
            Beat::Slow(took_ms) => {
                world.hit("heartbeat slow");
                self.renew();
                world.wait(took_ms, 0).await;
                return Ok(());
            }
        }
        self.renew();
        Ok(())
    }

    async fn end(&self) -> Result<(), VimError> {
        const CALL: &str = "HttpNfcLeaseComplete";
        let world = &self.0;
        let number = usize::try_from(world.count(CALL)).unwrap() - 1;
        world.note("end", "complete");
        self.hear(Heard::Ending);
        self.once(CALL);
        self.gate(CALL).await?;
        if world.fails("complete") {
            return Err(unreachable(CALL));
        }
        let planned = world.script.lease.complete.get(number).copied();
        match planned {
            Some(Completion::Away) => {
                world.hit("completion unreachable");
                return Err(unreachable(CALL));
            }
            Some(Completion::Fault) => {
                world.hit("completion refused");
                return Err(refused(CALL, "SystemError"));
            }
            Some(Completion::TooLate) => {
                world.hit("timed out before completion");
                world.lock().lease = OnServer::Dead;
                return Err(refused(CALL, "Timedout"));
            }
            Some(Completion::Slow(took_ms)) => {
                world.hit("completion slow");
                world.wait(took_ms, LEASE_SLOT).await;
                self.gate(CALL).await?;
            }
            Some(Completion::AnswerLost | Completion::Mute) | None => {}
        }
        {
            let mut state = world.lock();
            state.lease = OnServer::Completed;
            state.ended += 1;
        }
        let missing: Vec<&str> = {
            let state = world.lock();
            let files = world.script.files.iter().map(|file| file.name.as_str());
            files.filter(|file| !state.proven.iter().any(|proven| proven == file)).collect()
        };
        if !missing.is_empty() {
            world.broken(format!("completed without proof of {missing:?}"));
        }
        match planned {
            Some(Completion::AnswerLost) => {
                world.hit("answer to the completion lost");
                Err(unreachable(CALL))
            }
            Some(Completion::Mute) => {
                world.hit("completion unanswered");
                std::future::pending().await
            }
            _ => Ok(()),
        }
    }

    async fn give_up(&self, reason: &str) -> Result<(), VimError> {
        const CALL: &str = "HttpNfcLeaseAbort";
        let world = &self.0;
        let number = world.count(CALL);
        world.note("end", format!("abort: {reason}"));
        self.hear(Heard::Ending);
        self.once(CALL);
        self.gate(CALL).await?;
        if world.fails("abort") {
            return Err(unreachable(CALL));
        }
        match world.script.lease.abort {
            Abortion::Fails(times) if number <= times => {
                world.hit("abort refused");
                return Err(refused(CALL, "SystemError"));
            }
            Abortion::Silence => {
                world.hit("abort unanswered");
                std::future::pending::<()>().await;
            }
            Abortion::Answer | Abortion::Fails(_) => {}
        }
        let mut state = world.lock();
        state.lease = OnServer::Aborted;
        state.ended += 1;
        Ok(())
    }

    async fn entries(&self) -> Result<Vec<LeaseManifestEntry>, VimError> {
        const CALL: &str = "HttpNfcLeaseGetManifest";
        let world = &self.0;
        let number = usize::try_from(world.count(CALL)).unwrap() - 1;
        self.gate(CALL).await?;
        if world.fails("manifest") {
            return Err(unreachable(CALL));
        }
        if world.script.lease.manifest_never {
            world.hit("no manifest at all");
            return Err(refused(CALL, "NotSupported"));
        }
        match world.script.lease.manifest.get(number) {
            Some(CallTrouble::Fault) => {
                world.hit("manifest refused");
                return Err(refused(CALL, "SystemError"));
            }
            Some(CallTrouble::Network) => {
                world.hit("manifest broken off");
                return Err(unreachable(CALL));
            }
            Some(CallTrouble::Silence) => {
                world.hit("manifest unanswered");
                std::future::pending::<()>().await;
            }
            None => {}
        }
        let now_ms = world.now_ms();
        let state = world.lock();
        let there = state.manifest.iter().filter(|(from_ms, _)| *from_ms <= now_ms);
        Ok(there.map(|(_, entry)| entry.clone()).collect())
    }

    async fn choose(&self) -> Result<(), VimError> {
        const CALL: &str = "HttpNfcLeaseSetManifestChecksumType";
        let world = &self.0;
        let number = world.count(CALL);
        self.gate(CALL).await?;
        if world.fails("choice of digest") {
            return Err(unreachable(CALL));
        }
        match world.script.lease.sha256 {
            Sha256Answer::Yes => Ok(()),
            Sha256Answer::No => Err(refused(CALL, "MethodNotFound")),
            Sha256Answer::Fails(times) if number <= times => {
                world.hit("choice of digest failed");
                Err(unreachable(CALL))
            }
            Sha256Answer::Fails(_) => Ok(()),
        }
    }
}

impl LeaseApi for ScriptedLease {
    fn name(&self) -> String {
        "lease-1".to_owned()
    }

    fn next_state(&self) -> BoxFuture<'_, Result<LeaseState, VimError>> {
        self.next().boxed()
    }

    fn progress(&self, percent: u8) -> BoxFuture<'_, Result<(), VimError>> {
        self.beat(percent).boxed()
    }

    fn complete(&self) -> BoxFuture<'_, Result<(), VimError>> {
        self.end().boxed()
    }

    fn abort<'a>(&'a self, reason: &'a str) -> BoxFuture<'a, Result<(), VimError>> {
        self.give_up(reason).boxed()
    }

    fn manifest(&self) -> BoxFuture<'_, Result<Vec<LeaseManifestEntry>, VimError>> {
        self.entries().boxed()
    }

    fn ask_for_sha256<'a>(&'a self, _: &'a [DeviceKey]) -> BoxFuture<'a, Result<(), VimError>> {
        self.choose().boxed()
    }
}
