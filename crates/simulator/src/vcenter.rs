//! The running server: its state, and the work that goes on beside the calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::lease::{self, Purpose};
use crate::lock::lock;
use crate::network;
use crate::object::Moref;
use crate::pull::{self, Begun};
use crate::world::{LeaseState, World};

/// A vCenter.
#[derive(Debug)]
pub(crate) struct Vcenter {
    /// Everything it knows.
    pub(crate) world: Mutex<World>,
    /// Cancelled when it stops.
    pub(crate) stop: CancellationToken,
    work: Mutex<JoinSet<()>>,
}

impl Vcenter {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world: Mutex::new(world),
            stop: CancellationToken::new(),
            work: Mutex::new(JoinSet::new()),
        }
    }

    /// Drives a lease from now to its end.
    pub(crate) fn drive(self: &Arc<Self>, lease: &Moref, purpose: Purpose) {
        let (vcenter, id) = (Arc::clone(self), lease.id.clone());
        let mut work = lock(&self.work);
        while work.try_join_next().is_some() {}
        work.spawn(async move {
            let stop = vcenter.stop.clone();
            stop.run_until_cancelled(drive(&vcenter, &id, purpose)).await;
        });
    }

    /// Runs a pull to its end.
    pub(crate) fn pull(self: &Arc<Self>, begun: Begun) {
        let vcenter = Arc::clone(self);
        lock(&self.work).spawn(async move {
            let stop = vcenter.stop.clone();
            stop.run_until_cancelled(pull::run(&vcenter.world, begun)).await;
        });
    }

    /// Lets the guests that begin to start report their addresses later.
    pub(crate) fn wait_for_guests(self: &Arc<Self>) {
        let (booting, delay) = {
            let mut world = lock(&self.world);
            (std::mem::take(&mut world.booting), world.scenario.guest_ip_after_ms)
        };
        let Some(delay) = delay.map(Duration::from_millis) else { return };
        let mut work = lock(&self.work);
        for moref in booting {
            let vcenter = Arc::clone(self);
            work.spawn(async move {
                let stop = vcenter.stop.clone();
                if stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_some() {
                    lock(&vcenter.world).report_guest(&moref);
                }
            });
        }
    }

    /// Lets the DPUs take over later that are to do so.
    pub(crate) fn wait_for_failovers(self: &Arc<Self>) {
        let failovers = std::mem::take(&mut lock(&self.world).failovers);
        let mut work = lock(&self.work);
        for failover in failovers {
            let vcenter = Arc::clone(self);
            work.spawn(async move {
                let stop = vcenter.stop.clone();
                let after = tokio::time::sleep(failover.after);
                if stop.run_until_cancelled(after).await.is_some() {
                    network::take_over(&mut lock(&vcenter.world), failover);
                }
            });
        }
    }

    /// Ends the work beside the calls.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        let mut work = std::mem::take(&mut *lock(&self.work));
        while work.join_next().await.is_some() {}
    }
}

async fn drive(vcenter: &Vcenter, id: &str, purpose: Purpose) {
    let (delay, ended) = {
        let world = lock(&vcenter.world);
        let Some(lease) = world.leases.get(id) else { return };
        (Duration::from_millis(world.scenario.initialize_delay_ms), lease.ended.clone())
    };
    if ended.run_until_cancelled(initialize(vcenter, id, delay)).await.is_some() {
        lease::prepare(&mut lock(&vcenter.world), id, purpose);
        ended.run_until_cancelled(watch(vcenter, id)).await;
    }
    let grace_s = lock(&vcenter.world).scenario.lease_grace_s;
    tokio::time::sleep(Duration::from_secs(grace_s.into())).await;
    let mut world = lock(&vcenter.world);
    if let Some(lease) = world.leases.remove(id) {
        world.objects.remove(&lease.moref);
    }
}

/// Shows progress for as long as the scenario wants the preparation to take.
async fn initialize(vcenter: &Vcenter, id: &str, delay: Duration) {
    if delay.is_zero() {
        return;
    }
    for step in 0..INITIALIZE_STEPS {
        {
            let mut world = lock(&vcenter.world);
            let Some(lease) = world.leases.get(id) else { return };
            let moref = lease.moref.clone();
            let percent = step * 100 / INITIALIZE_STEPS;
            world.objects.set(&moref, "initializeProgress", percent.into());
        }
        tokio::time::sleep(delay / INITIALIZE_STEPS).await;
    }
}

/// Ends the lease when it was not renewed in time or when the scenario wants it lost.
async fn watch(vcenter: &Vcenter, id: &str) {
    let ready_at = Instant::now();
    let loss = {
        let world = lock(&vcenter.world);
        match world.leases.get(id) {
            Some(lease) => world.script.lease_loss(lease.direction, &lease.machine),
            None => return,
        }
    };
    let mut moved = (0, ready_at);
    let lost_at = loss.after_ms.map(|ms| ready_at + Duration::from_millis(ms));
    loop {
        let wake = {
            let mut world = lock(&vcenter.world);
            let Some(lease) = world.leases.get(id).filter(|l| l.state == LeaseState::Ready) else {
                return;
            };
            let now = Instant::now();
            let timeout = match world.scenario.strict.lease_timeout {
                true => lease.timeout,
                false => NEVER,
            };
            let mut deadline = lease.renewed + timeout;
            let patience = world.scenario.no_data_timeout_s;
            if let Some(patience) = patience.map(|seconds| Duration::from_secs(seconds.into())) {
                if lease.moved_bytes() != moved.0 {
                    moved = (lease.moved_bytes(), now);
                }
                deadline = deadline.min(moved.1 + patience);
            }
            let is_lost = lost_at.is_some_and(|at| now >= at)
                || loss.after_bytes.is_some_and(|bytes| lease.moved_bytes() >= bytes);
            if is_lost {
                let reason = "lease lost by the scenario";
                let fault = Fault::new("SystemError", reason).with("reason", reason);
                return lease::end(&mut world, id, Err(fault));
            }
            if now >= deadline {
                return lease::end(&mut world, id, Err(lease::timed_out()));
            }
            let poll = loss.after_bytes.map(|_| now + BYTES_POLL);
            let poll = poll.or(patience.map(|_| now + DATA_POLL));
            [Some(deadline), lost_at, poll].into_iter().flatten().min().unwrap_or(deadline)
        };
        tokio::time::sleep_until(wake).await;
    }
}

/// A lease that does not time out: ten years.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Steps of `initializeProgress` that are shown.
const INITIALIZE_STEPS: u32 = 10;

/// How often a lease that must move is looked at.
const DATA_POLL: Duration = Duration::from_millis(100);

/// How often the bytes are counted that moved under a lease that is to be lost after some.
const BYTES_POLL: Duration = Duration::from_millis(5);
