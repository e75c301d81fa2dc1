//! Tickets: which files may be reached, at which host, until when.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::device::Device;
use crate::lock::lock;

/// All tickets in force, shared by the hosts and the leases.
#[derive(Default)]
pub(crate) struct Tickets {
    grants: Mutex<HashMap<String, Grant>>,
}

#[derive(Default)]
struct Grant {
    devices: Vec<(usize, Arc<Device>)>,
    cut: CancellationToken,
}

/// The right to one transfer.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) device: Arc<Device>,
    /// Cancelled when the ticket is revoked.
    pub(super) cut: CancellationToken,
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
        let mut grants = lock(&self.grants);
        let grant = grants.entry(ticket.to_owned()).or_default();
        grant.devices.extend(devices.into_iter().map(|device| (host_index, device)));
    }

    /// Ends the ticket at all hosts and cuts what runs under it.
    pub(crate) fn revoke(&self, ticket: &str) {
        if let Some(grant) = lock(&self.grants).remove(ticket) {
            grant.cut.cancel();
        }
    }

    pub(super) fn pass(&self, ticket: &str, host_index: usize, file: &str) -> Option<Pass> {
        let grants = lock(&self.grants);
        let grant = grants.get(ticket)?;
        let (_, device) = grant
            .devices
            .iter()
            .find(|(host, device)| *host == host_index && device.target_id() == file)?;
        Some(Pass { device: Arc::clone(device), cut: grant.cut.clone() })
    }
}

/// Counts only: a ticket is a capability.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("granted", &lock(&self.grants).len()).finish()
    }
}
