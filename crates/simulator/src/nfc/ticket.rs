//! Tickets: which files may be reached, at which host, until when.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use tokio_util::sync::CancellationToken;

use super::device::Device;
use crate::lock::lock;

/// All tickets in force, shared by the hosts and the leases.
#[derive(Default)]
pub(crate) struct Tickets {
    grants: Mutex<HashMap<String, Grant>>,
    /// All that were ever granted, for `Simulator::secrets`.
    given_out: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Grant {
    devices: Vec<(usize, Arc<Device>)>,
    cut: CancellationToken,
    /// The disk that was asked for first.
    first_disk: Arc<OnceLock<String>>,
}

/// The right to one transfer.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// At least one; several share one body.
    pub(super) devices: Vec<Arc<Device>>,
    /// Cancelled when the ticket is revoked.
    pub(super) cut: CancellationToken,
    first_disk: Arc<OnceLock<String>>,
}

impl Pass {
    /// The device, the first one of several.
    pub(super) fn device(&self) -> &Arc<Device> {
        &self.devices[0]
    }

    /// Whether this is the first disk that anybody read with the ticket.
    pub(super) fn is_first_disk(&self) -> bool {
        let name = self.device().target_id();
        self.first_disk.get_or_init(|| name.to_owned()) == name
    }
}

impl Tickets {
    /// Lets `devices` be reached by `ticket` at one host.  A lease that spans hosts grants the
    /// same ticket once for each.
    pub(crate) fn grant(
        &self,
        ticket: &str,
        host_index: usize,
        devices: impl IntoIterator<Item = Arc<Device>>,
    ) {
        let mut given_out = lock(&self.given_out);
        if !given_out.iter().any(|known| known == ticket) {
            given_out.push(ticket.to_owned());
        }
        let mut grants = lock(&self.grants);
        let grant = grants.entry(ticket.to_owned()).or_default();
        grant.devices.extend(devices.into_iter().map(|device| (host_index, device)));
    }

    /// Every ticket that was granted, those that have ended too.
    pub(crate) fn secrets(&self) -> Vec<String> {
        lock(&self.given_out).clone()
    }

    /// Ends the ticket at all hosts and cuts what runs under it.
    pub(crate) fn revoke(&self, ticket: &str) {
        if let Some(grant) = lock(&self.grants).remove(ticket) {
            grant.cut.cancel();
        }
    }

    /// The right to `files`, which are not none; all of them or nothing.
    pub(super) fn pass(&self, ticket: &str, host_index: usize, files: &[String]) -> Option<Pass> {
        let grants = lock(&self.grants);
        let grant = grants.get(ticket)?;
        let device = |file: &String| {
            let mut all = grant.devices.iter();
            let found =
                all.find(|(host, device)| *host == host_index && device.target_id() == file);
            found.map(|(_, device)| Arc::clone(device))
        };
        let devices: Vec<Arc<Device>> = files.iter().map(device).collect::<Option<_>>()?;
        let (cut, first_disk) = (grant.cut.clone(), Arc::clone(&grant.first_disk));
        (!devices.is_empty()).then_some(Pass { devices, cut, first_disk })
    }
}

/// Counts only: a ticket is a capability.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("granted", &lock(&self.grants).len()).finish()
    }
}
