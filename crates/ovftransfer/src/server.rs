//! A session with a vCenter or an ESXi host, as the transfers need it.

use std::future::Future;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_vim::Endpoint;
use ovftransfer_vim::ErrorKind as VimErrorKind;
use ovftransfer_vim::KEEP_ALIVE_INTERVAL;
use ovftransfer_vim::KeepAlive;
use ovftransfer_vim::Secret;
use ovftransfer_vim::VimError;
use ovftransfer_vim::Wire;
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
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::error::Finding;
use crate::error::Severity;
use crate::event::Event;
use crate::event::Observer;
use crate::governor::Governor;
use crate::journal::Journal;
use crate::journal::record::ServerNote;
use crate::lease::LeaseApi;
use crate::sabotage;
use crate::sabotage::Defect;
use crate::store::device::Device;
use crate::transfer::Repeats;
use crate::transfer::Shared;
use crate::verify::Verification;

/// A session with a vCenter or an ESXi host.  Clones share it.
///
/// One session serves any number of transfers at once.  A session that ends takes its leases with
/// it, so it is logged out after the last transfer.  Until then, or until the last clone is dropped,
/// it is kept from idling out.
#[derive(Clone, Debug)]
pub struct Server {
    session: Session,
    /// Transfers may work for hours without a call: they read what a killed run has left, or write
    /// an archive into a slow pipe, and then need the session for a lease or to clean up.  Beside
    /// the heartbeats of a lease, a call in minutes more is nothing.
    _alive: Arc<KeepAlive>,
    transport: Arc<dyn Transport>,
    trust: Trust,
    user: Arc<str>,
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
        Self::connect_with(endpoint, trust, username, password, Wire::Auto).await
    }

    /// Connects and logs in over a wire of the caller's choice.
    ///
    /// [`connect`](Self::connect) takes VI JSON where the server offers it (vCenter since 8.0.1.0)
    /// and SOAP everywhere else.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect), and [`Error::Server`] if the server does not offer the
    /// wire.
    pub async fn connect_with(
        endpoint: Endpoint,
        trust: Trust,
        username: &str,
        password: Secret,
        wire: Wire,
    ) -> Result<Self, Error> {
        let transport: Arc<dyn Transport> = Arc::new(HttpTransport::new());
        let connecting =
            Session::connect_with(Arc::clone(&transport), endpoint, trust.clone(), wire);
        let session = connecting.await?;
        session.login(username, &password).await?;
        let alive = Arc::new(session.keep_alive(KEEP_ALIVE_INTERVAL));
        Ok(Self { session, _alive: alive, transport, trust, user: Arc::from(username) })
    }

    /// Calls the server every `interval` so that the session does not idle out, in place of every
    /// five minutes ([`KEEP_ALIVE_INTERVAL`]): for a server whose administrator has set a shorter
    /// time than the 30 minutes that are usual.  Counts for this clone and those made of it.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn keep_alive_every(self, interval: Duration) -> Self {
        let alive = Arc::new(self.session.keep_alive(interval));
        Self { _alive: alive, ..self }
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

    /// What a journal says of it.
    pub(crate) fn note(&self) -> ServerNote {
        ServerNote {
            endpoint: self.session.endpoint().to_string(),
            instance_uuid: self.session.about().instance_uuid.clone(),
            user: self.user.to_string(),
        }
    }

    /// Takes a lease by `take` and begins to follow it.
    ///
    /// A call that takes a lease must not be dropped: the server may give it although nobody
    /// listens any more.  So it runs in a task of its own.  When `cancel` comes, it is waited for a
    /// moment, and then left to a task that aborts whatever comes.
    pub(crate) async fn hold(
        &self,
        take: impl Future<Output = Result<LeaseId, VimError>> + Send + 'static,
        cancel: &CancellationToken,
    ) -> Result<Lease, Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let session = self.session.clone();
        let mut taking = JoinSet::new();
        taking.spawn(async move { follow(session, take.await?).await });
        let soon = async {
            cancel.cancelled().await;
            tokio::time::sleep(TAKE_GRACE).await;
        };
        let taken = tokio::select! {
            taken = taking.join_next() => taken,
            () = soon => {
                leave_to_itself(taking);
                let left_behind = "the server has not said whether it gave the lease; if it does, \
                                   the lease is aborted as long as this process lives";
                return Err(Error::CancelledUnclean { left_behind: left_behind.to_owned() });
            }
        };
        match taken {
            Some(Ok(lease)) => Ok(Arc::new(lease?)),
            Some(Err(join)) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
            Some(Err(_)) | None => Err(Error::Cancelled),
        }
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
        Device { transport: Arc::clone(&self.transport), url: device.url.clone(), trust }
    }
}

/// How a transfer is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Limits the streams.  The default is one governor for all transfers of the process, with
    /// the default limits.
    pub governor: Governor,
    /// How much the server's manifest must prove.
    pub verification: Verification,
    /// Whether an upload that failed is sent again in the same lease, where its trouble may pass.
    ///
    /// That servers take it is known of simulators only, so the result counts only if the server's
    /// manifest proves it; without a manifest ([`Verification::Off`]) nothing is sent again.
    /// Downloads are not meant: to repeat one does no harm.
    pub retry_uploads: bool,
    /// How long a stream may stand still.  Long by default, 10 minutes: hosts allocate and zero
    /// disk space in the middle of a stream.
    pub stall: Duration,
    /// Hears what happens.
    pub observer: Arc<dyn Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            governor: PROCESS.clone(),
            verification: Verification::default(),
            retry_uploads: true,
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
            repeats: Repeats::Freely,
            journal: Journal::default(),
            leftovers: Arc::default(),
        }
    }

    /// The same for uploads, which are repeated only if the server can prove the result.
    pub(crate) fn shared_by_uploads(&self) -> Shared {
        let is_proven =
            self.verification != Verification::Off || sabotage::on(Defect::UploadsRepeatedUnproven);
        let may_repeat = self.retry_uploads && is_proven;
        let repeats = if may_repeat { Repeats::Proven } else { Repeats::Never };
        Shared { repeats, ..self.shared() }
    }
}

/// Chooses the algorithm of the server's manifest; the lease must be ready and no byte moved.
///
/// SHA-256 where the server can (since 6.7), SHA-1 otherwise, which every server computes.
pub(crate) async fn server_algorithm(
    lease: &dyn LeaseApi,
    devices: &[DeviceKey],
    options: &Options,
    scope: &CancellationToken,
) -> Result<Option<DigestAlgorithm>, Error> {
    if options.verification == Verification::Off {
        return Ok(None);
    }
    let asked = scope.run_until_cancelled(again(|| lease.ask_for_sha256(devices))).await;
    match asked.ok_or(Error::Cancelled)? {
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

/// Tells the warnings among what a plan has found.
pub(crate) fn warn_of(options: &Options, findings: &[Finding]) {
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Warning) {
        warn(options, finding.to_string());
    }
}

/// Tells a warning to the observer.
pub(crate) fn warn(options: &Options, message: impl Into<String>) {
    options.observer.observe(&Event::Warning { message: message.into() });
}

/// The calls on a lease that is followed.
type Lease = Arc<dyn LeaseApi>;

/// Begins to follow a lease; one that nobody can look after is given back at once.
async fn follow(session: Session, lease: LeaseId) -> Result<ServerLease, VimError> {
    match again(|| session.watch_lease(&lease)).await {
        Ok(watch) => Ok(ServerLease { lease, watch: Mutex::new(watch), session }),
        Err(error) => {
            give_back(&session, &lease, &error.to_string()).await;
            Err(error)
        }
    }
}

/// Waits for a lease that nobody wants any more, and aborts it.
#[expect(clippy::disallowed_methods, reason = "its transfer has ended, and it has a lease to end")]
fn leave_to_itself(mut taking: JoinSet<Result<ServerLease, VimError>>) {
    tokio::spawn(async move {
        if let Some(Ok(Ok(lease))) = taking.join_next().await {
            give_back(&lease.session, &lease.lease, "cancelled").await;
        }
    });
}

async fn give_back(session: &Session, lease: &LeaseId, reason: &str) {
    let cause = AbortCause::Reason(reason.to_owned());
    let call = session.lease_abort(lease, Some(&cause));
    match tokio::time::timeout(GIVE_BACK_DEADLINE, call).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%lease, %error, "the lease could not be aborted"),
        Err(_) => tracing::warn!(%lease, "no answer to the abort of the lease"),
    }
}

/// Makes a call that changes nothing if repeated, and repeats it when the network fails.
async fn again<T, F: Future<Output = Result<T, VimError>>>(
    call: impl Fn() -> F,
) -> Result<T, VimError> {
    for pause in AGAIN_PAUSES {
        match call().await {
            Err(error) if error.kind() == VimErrorKind::Network => {
                tracing::debug!(%error, "tried again");
                tokio::time::sleep(pause).await;
            }
            outcome => return outcome,
        }
    }
    call().await
}

/// The same for a call on which everything hangs that was done before it.
///
/// Beside it the lease is renewed, so a server that stays away for too long ends it anyway.
pub(crate) async fn insist<T, F: Future<Output = Result<T, VimError>>>(
    call: impl Fn() -> F,
) -> Result<T, VimError> {
    let deadline = Instant::now() + INSIST_LIMIT;
    let mut pause = INSIST_PAUSE_MIN;
    loop {
        match call().await {
            Err(error)
                if error.kind() == VimErrorKind::Network && Instant::now() + pause < deadline =>
            {
                tracing::debug!(%error, "tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(INSIST_PAUSE_MAX);
            }
            outcome => return outcome,
        }
    }
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

/// What transfers share that are given no governor.
static PROCESS: LazyLock<Governor> = LazyLock::new(Governor::default);

/// How long a logout may take: a busy server takes seconds, and a session that is left open counts
/// against its limit for half an hour.
const LOGOUT_DEADLINE: Duration = Duration::from_secs(10);

/// How long a call that takes a lease is waited for after a cancellation.
const TAKE_GRACE: Duration = Duration::from_secs(2);

/// How long an abort may take that nobody waits for.
const GIVE_BACK_DEADLINE: Duration = Duration::from_secs(30);

/// Pauses before a call is repeated.
const AGAIN_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// How long a call is repeated that is worth it: as long as a server commonly keeps a lease.
const INSIST_LIMIT: Duration = Duration::from_secs(300);

/// The first pause before such a call is repeated; the pauses double.
const INSIST_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest.
const INSIST_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The default of [`Options::stall`].
const STALL_DEFAULT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The outcome of a call that fails so often in this way, and when it was made.
    async fn insisted(status: u16, times: usize) -> (bool, Vec<u64>) {
        let begin = Instant::now();
        let at_s = Mutex::new(Vec::new());
        let outcome = insist(|| async {
            let mut made = at_s.lock().unwrap();
            made.push(begin.elapsed().as_secs());
            let (host, call) = ("vc:443".to_owned(), "CreateDescriptor".to_owned());
            let snippet = String::new();
            match made.len() > times {
                true => Ok(()),
                false => Err(VimError::Status { host, call, status, snippet }),
            }
        });
        (outcome.await.is_ok(), at_s.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_insisted_on_a_server_that_may_come_back_and_not_for_ever() {
        assert_eq!(insisted(503, 0).await, (true, vec![0]));
        assert_eq!(insisted(503, 6).await, (true, vec![0, 1, 3, 7, 15, 25, 35]));
        assert_eq!(insisted(404, 9).await, (false, vec![0]));
        let (is_answered, at_s) = insisted(503, usize::MAX).await;
        assert_eq!((is_answered, at_s.last()), (false, Some(&295)));
    }
}
