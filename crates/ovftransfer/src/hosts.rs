//! Looks at the hosts of a lease before its files move: does each answer, and is it the right one.
//!
//! Which hosts they are is known with the lease only.  One that cannot be used would otherwise show
//! when its first stream has failed three times, after others have moved gigabytes.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::TransportError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Check;
use crate::error::Error;
use crate::error::Finding;
use crate::event::Event;
use crate::event::Observer;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::device::Device;

/// Reaches every host of `devices` once, all beside one another, and tells of each.
///
/// The first that fails ends it.
///
/// # Errors
///
/// [`Error::Host`] for a host that cannot be reached within [`HOST_LIMIT`] or that shows another
/// certificate than the lease says, [`Error::Cancelled`].
pub(crate) async fn check(
    devices: impl IntoIterator<Item = Device>,
    observer: &Arc<dyn Observer>,
    scope: &CancellationToken,
) -> Result<(), Error> {
    let mut distinct: Vec<Device> = Vec::new();
    for device in devices {
        let is_same = |known: &Device| known.host() == device.host() && known.trust == device.trust;
        if !distinct.iter().any(is_same) {
            distinct.push(device);
        }
    }
    let mut checks = stream::iter(distinct)
        .map(|device| async move { (reach(&device).await, device) })
        .buffer_unordered(HOSTS_AT_ONCE_MAX);
    loop {
        let next = scope.run_until_cancelled(checks.next()).await.ok_or(Error::Cancelled)?;
        let Some((reached, device)) = next else { return Ok(()) };
        let host = device.host();
        let took = match reached {
            Ok(took) => took,
            Err(_) if sabotage::on(Defect::TrustAnyHost) => Duration::ZERO,
            Err(source) => return Err(Error::Host { host, source }),
        };
        let pinned = matches!(device.trust, Trust::Pinned(_));
        observer.observe(&Event::HostChecked { host, pinned, took });
    }
}

/// How long a host took to show who it is.
async fn reach(device: &Device) -> Result<Duration, TransportError> {
    let started = Instant::now();
    match tokio::time::timeout(HOST_LIMIT, connect(device)).await {
        Ok(reached) => reached.map(|()| started.elapsed()),
        Err(_) => {
            let reason = format!("no answer within {} seconds", HOST_LIMIT.as_secs());
            Err(TransportError::Connect { host: device.host(), reason })
        }
    }
}

async fn connect(device: &Device) -> Result<(), TransportError> {
    let mut tried = 1;
    loop {
        match device.reach().await {
            // A service that is being started again is there in a moment.
            Err(TransportError::Connect { .. }) if tried < HOST_TRIES => {
                tokio::time::sleep(HOST_PAUSE).await;
                tried += 1;
            }
            // A connection that broke after its handshake was to the right host.
            Ok(()) | Err(TransportError::Broken { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// What a plan cannot say yet.
pub(crate) fn not_known_yet() -> Finding {
    let problem = "which they are is known with the lease only: each is reached and its \
                   certificate checked then, before a byte moves";
    Finding::note(Check::DeviceHost, "hosts of the disks", problem)
}

/// How long one host may take.  In a network that works this is a matter of milliseconds; a packet
/// that was lost is sent again after 1, 3 and 7 seconds.
const HOST_LIMIT: Duration = Duration::from_secs(15);

/// How often a host is tried that cannot be connected to: as often as a stream would be begun.
const HOST_TRIES: u32 = 3;

/// Time between two tries.
const HOST_PAUSE: Duration = Duration::from_secs(1);

/// Hosts that are tried at a time: the machines of a vApp are rarely on more.
const HOSTS_AT_ONCE_MAX: usize = 32;

#[cfg(test)]
mod tests;
