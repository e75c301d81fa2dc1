//! A session with a vCenter or an ESXi host, as the transfers need it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_vim::Endpoint;
use ovftransfer_vim::Secret;
use ovftransfer_vim::VimError;
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::lease::DeviceKey;
use ovftransfer_vim::lease::LeaseDevice;
use ovftransfer_vim::lease::LeaseId;
use ovftransfer_vim::lease::LeaseManifestEntry;
use ovftransfer_vim::lease::LeaseState;
use ovftransfer_vim::nfc::AbortCause;
use ovftransfer_vim::nfc::ChecksumType;
use ovftransfer_vim::nfc::lease_is_lost;
use ovftransfer_vim::session::Session;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::updates::LeaseWatch;
use tokio::sync::Mutex;

use crate::error::Error;
use crate::event::Event;
use crate::event::Observer;
use crate::governor::Governor;
use crate::lease::LeaseApi;
use crate::store::device::Device;
use crate::transfer::Shared;
use crate::verify::Verification;

/// A session with a vCenter or an ESXi host.  Clones share it.
///
/// One session serves any number of transfers at once.  A session that ends takes its leases with
/// it, so it is logged out after the last transfer.
#[derive(Clone, Debug)]
pub struct Server {
    session: Session,
    transport: Arc<dyn Transport>,
    trust: Trust,
}

impl Server {
    /// Connects and logs in.
    ///
    /// # Errors
    ///
    /// [`Error::Server`]; its [`kind`](Error::kind) tells a wrong password from an untrusted
    /// certificate and an unreachable host.
    pub async fn connect(
        endpoint: Endpoint,
        trust: Trust,
        username: &str,
        password: Secret,
    ) -> Result<Self, Error> {
        let transport: Arc<dyn Transport> = Arc::new(HttpTransport::new());
        let session = Session::connect(Arc::clone(&transport), endpoint, trust.clone()).await?;
        session.login(username, &password).await?;
        Ok(Self { session, transport, trust })
    }

    /// Logs out.  A server that does not answer within a few seconds is left to its idle timeout.
    pub async fn logout(&self) {
        match tokio::time::timeout(LOGOUT_DEADLINE, self.session.logout()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "could not log out"),
            Err(_) => tracing::debug!("no answer to the logout"),
        }
    }

    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// The calls on a lease of this session.
    pub(crate) async fn lease(&self, lease: LeaseId) -> Result<Arc<dyn LeaseApi>, Error> {
        let session = self.session.clone();
        let watch = match session.watch_lease(&lease).await {
            Ok(watch) => Mutex::new(watch),
            Err(error) => {
                // Nobody can look after it: it must not be left to block the machine.
                let cause = AbortCause::Reason(error.to_string());
                if let Err(error) = session.lease_abort(&lease, Some(&cause)).await {
                    tracing::warn!(%error, "the lease could not be aborted");
                }
                return Err(error.into());
            }
        };
        Ok(Arc::new(ServerLease { session, lease, watch }))
    }

    /// A device of a lease, with the check that its host must pass.
    ///
    /// Where the lease gives a certificate, it must be that one.  Where it gives none, the host is
    /// checked like any other: a pin of the API host says nothing about another host.
    pub(crate) fn device(&self, device: &LeaseDevice) -> Device {
        let trust = match device.thumbprint {
            Some(thumbprint) => Trust::Pinned(thumbprint),
            None if device.url.is_at(self.session.endpoint()) => self.trust.clone(),
            None if matches!(self.trust, Trust::Pinned(_)) => Trust::System,
            None => self.trust.clone(),
        };
        Device {
            transport: Arc::clone(&self.transport),
            url: device.url.clone(),
            trust,
            size_bytes: None,
        }
    }
}

/// How a transfer is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Limits the streams; share one among all transfers of a process.
    pub governor: Governor,
    /// How much the server's manifest must prove.
    pub verification: Verification,
    /// How long a stream may stand still.  Long by default, 10 minutes: hosts allocate and zero
    /// disk space in the middle of a stream.
    pub stall: Duration,
    /// Hears what happens.
    pub observer: Arc<dyn Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            governor: Governor::default(),
            verification: Verification::default(),
            stall: STALL_DEFAULT,
            observer: Arc::new(()),
        }
    }
}

impl Options {
    pub(crate) fn shared(&self) -> Shared {
        Shared {
            governor: self.governor.clone(),
            observer: Arc::clone(&self.observer),
            verification: self.verification,
            stall: self.stall,
        }
    }
}

/// Chooses the algorithm of the server's manifest; the lease must be ready and no byte moved.
///
/// SHA-256 where the server can (since 6.7), SHA-1 otherwise, which every server computes.
pub(crate) async fn server_algorithm(
    lease: &dyn LeaseApi,
    devices: &[DeviceKey],
    options: &Options,
) -> Result<Option<DigestAlgorithm>, Error> {
    if options.verification == Verification::Off {
        return Ok(None);
    }
    match lease.ask_for_sha256(devices).await {
        Ok(()) => Ok(Some(DigestAlgorithm::Sha256)),
        // `MethodNotFound` and its like: an older server.  It is the lease that matters, and it
        // is still there.
        Err(error) if error.fault().is_some() && !lease_is_lost(&error) => {
            tracing::debug!(%error, "the server keeps to SHA-1");
            Ok(Some(DigestAlgorithm::Sha1))
        }
        Err(error) => Err(error.into()),
    }
}

/// Tells a warning to the observer.
pub(crate) fn warn(options: &Options, message: impl Into<String>) {
    options.observer.observe(&Event::Warning { message: message.into() });
}

/// A lease of a real session.
#[derive(Debug)]
struct ServerLease {
    session: Session,
    lease: LeaseId,
    watch: Mutex<LeaseWatch>,
}

impl LeaseApi for ServerLease {
    fn name(&self) -> String {
        self.lease.to_string()
    }

    fn next_state(&self) -> BoxFuture<'_, Result<LeaseState, VimError>> {
        async move { self.watch.lock().await.changed().await }.boxed()
    }

    fn progress(&self, percent: u8) -> BoxFuture<'_, Result<(), VimError>> {
        self.session.lease_progress(&self.lease, percent).boxed()
    }

    fn complete(&self) -> BoxFuture<'_, Result<(), VimError>> {
        self.session.lease_complete(&self.lease).boxed()
    }

    fn abort<'a>(&'a self, reason: &'a str) -> BoxFuture<'a, Result<(), VimError>> {
        async move {
            let cause = AbortCause::Reason(reason.to_owned());
            self.session.lease_abort(&self.lease, Some(&cause)).await
        }
        .boxed()
    }

    fn manifest(&self) -> BoxFuture<'_, Result<Vec<LeaseManifestEntry>, VimError>> {
        self.session.lease_manifest(&self.lease).boxed()
    }

    fn ask_for_sha256<'a>(
        &'a self,
        devices: &'a [DeviceKey],
    ) -> BoxFuture<'a, Result<(), VimError>> {
        self.session.lease_set_checksum_type(&self.lease, devices, ChecksumType::Sha256).boxed()
    }
}

/// How long a logout may take.
const LOGOUT_DEADLINE: Duration = Duration::from_secs(2);

/// The default of [`Options::stall`].
const STALL_DEFAULT: Duration = Duration::from_secs(600);
