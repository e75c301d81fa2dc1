//! The data plane of the simulated hosts: device URLs are served here, as the vSphere API
//! reference describes them for `HttpNfcLease` and as real hosts were seen to answer.
//!
//! ```text
//!   lease ── grant(ticket, devices) ──> Tickets <── look-up ── NfcService ── GET, POST, PUT
//!         <── Device::transferred ─────  Device <── results ──┘
//! ```
//!
//! A ticket in the path is the whole right of access.  Revoking it cuts what runs under it.

mod device;
mod digests;
mod download;
mod path;
mod pull;
mod recall;
mod ticket;
mod upload;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{CONNECTION, COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;

pub(crate) use self::device::{Access, Device};
pub(crate) use self::pull::{PullError, pull};
use self::ticket::Pass;
pub(crate) use self::ticket::Tickets;
use self::upload::Intake;
use crate::scenario::{Direction, Host, Scenario, Strict};
use crate::script::{Script, StreamFaults};
use crate::server::{Body, Connection, Limits, Server, ServerError, text};
use crate::throttle::Throttle;
use crate::tls::Identity;

/// Which rules a host keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    strict: Strict,
    multi_post: bool,
    one_disk_per_lease: bool,
}

impl Rules {
    /// The rules of a scenario.
    pub(crate) fn of(scenario: &Scenario) -> Self {
        Self {
            strict: scenario.strict,
            multi_post: scenario.multi_post,
            one_disk_per_lease: scenario.quirks.one_disk_per_lease,
        }
    }
}

/// What all hosts share.
#[derive(Clone, Debug)]
pub(crate) struct Grants {
    /// Rights to reach device URLs.
    pub(crate) tickets: Arc<Tickets>,
    /// What goes wrong.
    pub(crate) script: Arc<Script>,
    /// What is right.
    pub(crate) rules: Rules,
}

/// One host: its port, its certificate, its pace.
#[derive(Debug)]
pub(crate) struct NfcHost {
    identity: Identity,
    server: Server,
    service: NfcService,
    /// Requests that brought a session along, which is none of this host's business.
    sessions_seen: Arc<AtomicUsize>,
}

impl NfcHost {
    /// Starts the host with number `index` on a free port of `address`.
    pub(crate) async fn start(
        index: usize,
        host: &Host,
        address: IpAddr,
        grants: Grants,
    ) -> Result<Self, ServerError> {
        let address_name = address.to_string();
        let identity = Identity::generate(&[&address_name, "localhost"])?;
        let service = NfcService::new(index, host, grants);
        let limits = Limits { connections: Some(host.connection_cap) };
        let sessions_seen = Arc::new(AtomicUsize::new(0));
        let serve = {
            let (service, sessions_seen) = (service.clone(), Arc::clone(&sessions_seen));
            move |request: Request<Incoming>| {
                if carries_session(request.headers()) {
                    sessions_seen.fetch_add(1, Ordering::Relaxed);
                }
                let service = service.clone();
                async move { service.handle(request).await }
            }
        };
        let server = Server::start(SocketAddr::new(address, 0), &identity, limits, serve).await?;
        Ok(Self { identity, server, service, sessions_seen })
    }

    /// Where it listens; the authority of its device URLs.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Its certificate, for `sslThumbprint`.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The same service for the API's port, where `*` URLs lead.
    pub(crate) fn service(&self) -> NfcService {
        self.service.clone()
    }

    /// Number of open connections.
    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Requests that brought a cookie or token along.
    pub(crate) fn sessions_seen(&self) -> usize {
        self.sessions_seen.load(Ordering::Relaxed)
    }

    /// Stops it, see [`Server::stop`].
    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// Whether a request brings a session of the API along, whatever it is worth.
fn carries_session(headers: &HeaderMap) -> bool {
    headers.contains_key(COOKIE) || headers.contains_key("vmware-api-session-id")
}

/// Answers requests for device URLs.
#[derive(Clone, Debug)]
pub(crate) struct NfcService {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host_index: usize,
    host_pace: Option<Arc<Throttle>>,
    stream_mb_per_s: Option<f64>,
    intake: Intake,
    grants: Grants,
}

impl NfcService {
    pub(crate) fn new(host_index: usize, host: &Host, grants: Grants) -> Self {
        let host_pace = host.throttle_mb_per_s.and_then(Throttle::new).map(Arc::new);
        let stream_mb_per_s = host.throttle_mb_per_s_per_stream;
        let intake = Intake::from(host.uploads);
        let shared = Shared { host_index, host_pace, stream_mb_per_s, intake, grants };
        Self { shared: Arc::new(shared) }
    }

    /// Whether a path belongs to device URLs and not to the API.
    pub(crate) fn is_device_path(path: &str) -> bool {
        path.starts_with("/nfc/") || path.starts_with("/ha-nfc/")
    }

    /// Whether this host has a file at `path`, under a ticket that is in force.
    pub(crate) fn has(&self, uri: &Uri) -> bool {
        self.pass(uri).is_some()
    }

    fn pass(&self, uri: &Uri) -> Option<Pass> {
        let Grants { tickets, rules, .. } = &self.shared.grants;
        let (ticket, file) = path::split(uri.path())?;
        let targets = rules.multi_post.then(|| path::targets(&file, uri.query())).flatten();
        tickets.pass(&ticket, self.shared.host_index, &targets.unwrap_or_else(|| vec![file]))
    }

    /// Serves one request for `/nfc/<ticket>/<file>` or `/ha-nfc/<ticket>/<file>`.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let response = self.answer(request).await;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            tracing::debug!(%status, host = self.shared.host_index, "device request refused");
        }
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let Grants { script, rules, .. } = &self.shared.grants;
        let Some(pass) = self.pass(request.uri()) else {
            return refuse(StatusCode::NOT_FOUND, "No such ticket or file");
        };
        let Some(connection) = Connection::of(&request) else {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "No connection");
        };
        let Some(on) = direction(request.method(), &pass, *rules) else {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        };
        let device = pass.device();
        let file = device.target_id();
        let faults = script.stream(on, device.machine(), device.disk_index(), file);
        if let Some(status) = faults.status {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            return refuse(status, "Refused by the scenario");
        }
        let transfer = Transfer {
            pass,
            faults,
            rules: *rules,
            intake: self.shared.intake.clone(),
            connection,
            paces: Paces {
                host: self.shared.host_pace.clone(),
                stream: self.shared.stream_mb_per_s.and_then(Throttle::new),
            },
        };
        match on {
            Direction::Export => download::answer(transfer),
            Direction::Import => upload::answer(transfer, request).await,
        }
    }
}

/// Which way a request moves data; none if a device does not take its verb.
fn direction(method: &Method, pass: &Pass, rules: Rules) -> Option<Direction> {
    let takes = |access: Access| match (method, access) {
        (&Method::GET, Access::Read)
        | (&Method::POST, Access::WriteDisk)
        | (&Method::PUT, Access::WriteFile) => true,
        (&Method::POST, Access::WriteFile) | (&Method::PUT, Access::WriteDisk) => {
            !rules.strict.verbs
        }
        _ => false,
    };
    // One body goes to many disks by POST only, and is read from one file only.
    let is_one = pass.devices.len() == 1;
    let fits = pass
        .devices
        .iter()
        .all(|device| takes(device.access()) && (is_one || device.access() == Access::WriteDisk));
    let on = if method == Method::GET { Direction::Export } else { Direction::Import };
    fits.then_some(on)
}

/// What a download or an upload needs to know.
#[derive(Debug)]
struct Transfer {
    pass: Pass,
    faults: StreamFaults,
    rules: Rules,
    intake: Intake,
    connection: Connection,
    paces: Paces,
}

/// The paces a stream keeps to.
#[derive(Debug)]
struct Paces {
    host: Option<Arc<Throttle>>,
    stream: Option<Throttle>,
}

impl Paces {
    /// Waits until `len_bytes` may pass.
    async fn pass(&self, len_bytes: usize) {
        if let Some(host) = &self.host {
            host.pass(len_bytes).await;
        }
        if let Some(stream) = &self.stream {
            stream.pass(len_bytes).await;
        }
    }
}

/// An error reply; the connection ends with it, since the request's body is not read.
fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = text(status, message);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests;
