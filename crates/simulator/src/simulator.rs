//! The public face: builds a server from a scenario, starts it, tells about it, stops it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tempfile::TempDir;

use crate::clock;
use crate::disk::{Blob, Disk};
use crate::dispatch::{self, Caller};
use crate::fault::Fault;
use crate::hardware;
use crate::inventory::{self, Place, fixed};
use crate::lease::{self, NVRAM};
use crate::lock::lock;
use crate::nfc::{Grants, NfcHost, NfcService, Rules, Tickets};
use crate::object::Moref;
use crate::rest;
use crate::scenario::{ApiVersion, Machine, Scenario, ScenarioError, Thumbprint};
use crate::script::Script;
use crate::server::{Body, Connection, Limits, Server, ServerError, full, text};
use crate::session::{self, Client, Wire};
use crate::soap;
use crate::state::{self, HostState, LeaseRecord, SessionRecord, TaskRecord, VmState};
use crate::tls::Identity;
use crate::vcenter::Vcenter;
use crate::vm::VmFile;
use crate::world::{Certificate, World};

/// A running vCenter with its hosts.  Dropping it stops it and deletes everything it stored.
#[derive(Debug)]
pub struct Simulator {
    url: String,
    identity: Identity,
    scenario: Arc<Scenario>,
    vcenter: Arc<Vcenter>,
    api: Option<Server>,
    hosts: Vec<NfcHost>,
    // Last, so that nothing writes into it any more.
    _store: TempDir,
}

/// Makes a [`Simulator`].
#[derive(Clone, Debug)]
pub struct Builder {
    scenario: Scenario,
    listen: SocketAddr,
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The scenario contradicts itself.
    #[error("the scenario cannot be simulated")]
    Scenario(#[from] ScenarioError),
    /// A port could not be opened.
    #[error("a server did not start")]
    Server(#[from] ServerError),
    /// The scenario's machines or vApps could not be made.
    #[error("machine {name} cannot be made: {problem}")]
    Machine {
        /// Name of the machine.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no room for what will be uploaded.
    #[error("no folder for uploads")]
    Store(#[source] io::Error),
}

impl Builder {
    /// What the vCenter holds and how it misbehaves; [`Scenario::default`] if not told.
    #[must_use]
    pub fn scenario(mut self, scenario: Scenario) -> Self {
        self.scenario = scenario;
        self
    }

    /// Address and port of the API; 127.0.0.1 and a free port if not told.  The hosts take free
    /// ports of the same address.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Starts the server.  When this returns it answers.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is missing.
    pub async fn start(self) -> Result<Simulator, StartError> {
        self.scenario.check()?;
        let store = tempfile::Builder::new()
            .prefix("ovftransfer-simulator-")
            .tempdir()
            .map_err(StartError::Store)?;
        let scenario = Arc::new(self.scenario);
        let tickets = Arc::new(Tickets::default());
        let script = Script::new(&scenario.faults).with_chance(scenario.random_faults.as_ref());
        let script = Arc::new(script);
        let address = self.listen.ip();
        let name = reachable(address).to_string();
        let identity = Identity::generate(&[&name, "localhost"]).map_err(ServerError::from)?;
        let rules = Rules::of(&scenario);
        let mut hosts = Vec::new();
        for (index, host) in scenario.hosts.iter().enumerate() {
            let grants =
                Grants { tickets: Arc::clone(&tickets), script: Arc::clone(&script), rules };
            hosts.push(NfcHost::start(index, host, reachable(address), grants).await?);
        }
        let endpoints: Vec<(String, String)> = hosts
            .iter()
            .zip(&scenario.hosts)
            .map(|(host, spec)| match spec.star_url || scenario.esxi {
                true => ("*".to_owned(), String::new()),
                false => {
                    let mut address = host.local_addr();
                    if spec.unreachable {
                        address.set_port(UNUSED_PORT);
                    }
                    (address.to_string(), host.identity().thumbprint_sha1())
                }
            })
            .collect();
        let path = store.path().to_owned();
        let mut world = make_world(Arc::clone(&scenario), tickets, script, path, &endpoints)?;
        world.certificates = certificates(&scenario, &hosts, &identity)?;
        let vcenter = Arc::new(Vcenter::new(world));
        let services: Vec<NfcService> = hosts.iter().map(NfcHost::service).collect();
        let front = Arc::new(Front { vcenter: Arc::clone(&vcenter), services });
        let serve = move |request| {
            let front = Arc::clone(&front);
            async move { front.serve(request).await }
        };
        let api = Server::start(self.listen, &identity, Limits::default(), serve).await?;
        let url =
            format!("https://{}", SocketAddr::new(reachable(address), api.local_addr().port()));
        let api = Some(api);
        Ok(Simulator { url, identity, scenario, vcenter, api, hosts, _store: store })
    }
}

impl Simulator {
    /// Starts from the default scenario on a free port of 127.0.0.1.
    #[must_use]
    pub fn builder() -> Builder {
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Builder { scenario: Scenario::default(), listen }
    }

    /// Where the API is, such as `https://127.0.0.1:43210`; clients add `/sdk`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The only user.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.scenario.username
    }

    /// The password of the only user.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.scenario.password
    }

    /// SHA-1 thumbprint of the API's certificate, `AA:BB:…`.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.identity.thumbprint_sha1()
    }

    /// SHA-256 thumbprint of the API's certificate, `AA:BB:…`.
    #[must_use]
    pub fn thumbprint_sha256(&self) -> String {
        self.identity.thumbprint_sha256()
    }

    /// The API's certificate in PEM; it is its own authority.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        self.identity.certificate_pem()
    }

    /// The machines of the inventory.
    #[must_use]
    pub fn vms(&self) -> Vec<VmState> {
        state::vms(&lock(&self.vcenter.world))
    }

    /// The leases, oldest first; those that ended for some minutes more.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseRecord> {
        state::leases(&lock(&self.vcenter.world))
    }

    /// The tasks, oldest first.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskRecord> {
        state::tasks(&lock(&self.vcenter.world))
    }

    /// The open sessions.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionRecord> {
        state::sessions(&lock(&self.vcenter.world))
    }

    /// The hosts.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostState> {
        let specs = self.scenario.hosts.iter();
        let state = |(spec, host): (&crate::scenario::Host, &NfcHost)| HostState {
            name: spec.name.clone(),
            authority: host.local_addr().to_string(),
            thumbprint: host.identity().thumbprint_sha1(),
            connections: host.connections(),
            sessions_seen: host.sessions_seen(),
        };
        specs.zip(&self.hosts).map(state).collect()
    }

    /// What must be seen nowhere: the password, and every session key, cookie, token and ticket that
    /// was given out, also those that have ended.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let world = lock(&self.vcenter.world);
        let mut secrets = world.tickets.secrets();
        secrets.extend_from_slice(world.sessions.secrets());
        secrets.push(self.scenario.password.clone());
        secrets
    }

    /// Gives the configuration of the machines of this name another version and date, as a change by
    /// somebody else does, whatever holds them.
    pub fn touch(&self, name: &str) {
        let mut world = lock(&self.vcenter.world);
        let named: Vec<_> =
            world.vms.values().filter(|vm| vm.name == name).map(|vm| vm.moref.clone()).collect();
        for moref in named {
            if let Ok(vm) = world.vm_mut(&moref) {
                vm.touch();
            }
            world.refresh(&moref.id);
        }
    }

    /// Lets the next call of this method fail.
    pub fn refuse_once(&self, method: &str) {
        lock(&self.vcenter.world).refused.push(method.to_owned());
    }

    /// Closes every session, as a vCenter that restarts does.  Leases go on until they time out.
    pub fn drop_sessions(&self) {
        let mut world = lock(&self.vcenter.world);
        for key in world.sessions.close_all() {
            crate::collector::forget(&mut world, &key);
        }
    }

    /// Stops the server: no new connections, answers that are under way get some seconds to end.
    pub async fn stop(mut self) {
        self.vcenter.stop().await;
        if let Some(api) = self.api.take() {
            api.stop().await;
        }
        for host in std::mem::take(&mut self.hosts) {
            host.stop().await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.vcenter.stop.cancel();
    }
}

/// What the API's port serves.
#[derive(Debug)]
struct Front {
    vcenter: Arc<Vcenter>,
    services: Vec<NfcService>,
}

impl Front {
    async fn serve(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if rest::serves(path) {
            return rest::serve(&self.vcenter, request).await;
        }
        if NfcService::is_device_path(path) {
            return match self.star_host(request.uri()).and_then(|host| self.services.get(host)) {
                Some(service) => service.handle(request).await,
                None => text(StatusCode::NOT_FOUND, "No such file"),
            };
        }
        match (request.method(), path) {
            (&Method::POST, "/sdk" | "/sdk/" | "/sdk/vimService") => self.soap(request).await,
            (&Method::GET, "/sdk/vimServiceVersions.xml") => {
                let version = lock(&self.vcenter.world).scenario.api_version;
                xml(StatusCode::OK, soap::service_versions(version))
            }
            (_, "/sdk" | "/sdk/" | "/sdk/vimService") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "SOAP is sent by POST")
            }
            _ => text(StatusCode::NOT_FOUND, "Not found"),
        }
    }

    /// The host that has the file at `uri`, if its device URLs lead here; one of those that do, if
    /// none has it.
    fn star_host(&self, uri: &Uri) -> Option<usize> {
        let world = lock(&self.vcenter.world);
        let is_here = |host: &usize| world.hosts.get(*host).is_some_and(|h| h.authority == "*");
        let mut here = (0..self.services.len()).filter(is_here);
        let has_file = |host: &usize| self.services.get(*host).is_some_and(|one| one.has(uri));
        here.clone().find(has_file).or_else(|| here.next())
    }

    async fn soap(&self, request: Request<Incoming>) -> Response<Body> {
        let caller = caller(&request);
        let header = |headers: &HeaderMap, name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (habits, version) = {
            let scenario = &lock(&self.vcenter.world).scenario;
            (scenario.soap, scenario.api_version)
        };
        let refuse = |fault: &Fault| {
            let text = if habits.fault_text { fault.message.clone() } else { String::new() };
            let fault = Fault { message: text, ..fault.clone() };
            xml(StatusCode::INTERNAL_SERVER_ERROR, soap::fault(&fault))
        };
        let mut action = header(request.headers(), "soapaction");
        if !habits.action_needed && !action.as_deref().is_some_and(|action| action.contains('/')) {
            action = Some(format!("urn:vim25/{}", version.as_str()));
        }
        let body = match Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                let what = if error.downcast_ref::<LengthLimitError>().is_some() {
                    format!(
                        "length of HTTP request body exceeds configured maximum {REQUEST_BYTES_MAX}"
                    )
                } else {
                    format!("the request ended early: {error}")
                };
                return refuse(&Fault::unreadable(what));
            }
        };
        let call = match soap::read(action.as_deref(), &body) {
            Ok(call) => call,
            Err(fault) => return refuse(&fault),
        };
        tracing::debug!(method = call.method, this = call.this.kind, "call");
        match dispatch::call(&self.vcenter, &caller, &call).await {
            Ok(mut reply) => {
                if !habits.fault_text {
                    soap::silence(&mut reply.value);
                }
                let mut response = xml(StatusCode::OK, soap::answer(&call.method, &reply.value));
                let cookie =
                    reply.cookie.map(|cookie| session::set_cookie(&cookie, habits.quoted_cookie));
                if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok())
                {
                    response.headers_mut().insert(SET_COOKIE, cookie);
                }
                response
            }
            Err(fault) => {
                tracing::debug!(
                    method = call.method,
                    fault = fault.kind(),
                    fault.message,
                    "call failed"
                );
                refuse(&fault)
            }
        }
    }
}

fn caller(request: &Request<Incoming>) -> Caller {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let address = Connection::of(request).map(|connection| connection.peer().ip().to_string());
    let cookies = request.headers().get_all(COOKIE).iter();
    let cookie = cookies.filter_map(|value| value.to_str().ok()).find_map(session::cookie);
    Caller {
        wire: Wire::Soap,
        cookie: cookie.map(str::to_owned),
        client: Client {
            address: address.unwrap_or_default(),
            agent: header(USER_AGENT).unwrap_or_default().to_owned(),
        },
        knows_9: request.headers().get("soapaction").is_some_and(|action| {
            let action = action.to_str().unwrap_or_default().trim_matches('"');
            action.rsplit('/').next().is_some_and(ApiVersion::is_9)
        }),
    }
}

fn xml(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// What the device URLs of each host say of the certificate that a client will see there.
fn certificates(
    scenario: &Scenario,
    hosts: &[NfcHost],
    api: &Identity,
) -> Result<Vec<Certificate>, ServerError> {
    let has_pem = scenario.api_version >= ApiVersion::V9_0_0_0;
    let mut all = Vec::new();
    for (spec, host) in scenario.hosts.iter().zip(hosts) {
        let is_star = spec.star_url || scenario.esxi;
        let form = spec.thumbprint.unwrap_or(match is_star {
            true => Thumbprint::Empty,
            false => Thumbprint::Sha1,
        });
        let seen = if is_star { api } else { host.identity() };
        let certificate = |identity: &Identity, thumbprint| Certificate {
            thumbprint,
            pem: has_pem.then(|| identity.certificate_pem().to_owned()),
        };
        all.push(match form {
            Thumbprint::Empty => Certificate::default(),
            Thumbprint::Sha1 => certificate(seen, seen.thumbprint_sha1()),
            Thumbprint::Sha256 => certificate(seen, seen.thumbprint_sha256()),
            Thumbprint::Wrong => {
                let other = Identity::generate(&["localhost"])?;
                certificate(&other, other.thumbprint_sha1())
            }
        });
    }
    Ok(all)
}

/// The state that `scenario` describes.  `endpoints` has authority and thumbprint of each host.
fn make_world(
    scenario: Arc<Scenario>,
    tickets: Arc<Tickets>,
    script: Arc<Script>,
    store: PathBuf,
    endpoints: &[(String, String)],
) -> Result<World, StartError> {
    let mut world = World::new(Arc::clone(&scenario), tickets, script, store);
    inventory::build(&mut world, &clock::uuid(), endpoints);
    crate::network::build(&mut world);
    crate::ovf::publish(&mut world, &inventory::ovf_manager(&scenario));
    let failed = |name: &str| {
        let name = name.to_owned();
        |fault: Fault| StartError::Machine { name, problem: fault.message }
    };
    for machine in &scenario.machines {
        let folder = inventory::folder(&mut world, &fixed::vm_folder(), &machine.folder);
        let pool = world.hosts.get(host_of(&world, machine)).map(|host| host.pool.clone());
        let place = (Some(folder), pool.unwrap_or_else(fixed::root_pool));
        add_machine(&mut world, machine, place).map_err(failed(&machine.name))?;
    }
    for vapp in &scenario.vapps {
        let folder = inventory::folder(&mut world, &fixed::vm_folder(), &vapp.folder);
        let place = Place { parent: fixed::root_pool(), folder: Some(folder) };
        let made = inventory::add_vapp(&mut world, &vapp.name, place, Value::Null, &Value::Null);
        let made = made.map_err(failed(&vapp.name))?;
        for machine in &vapp.machines {
            let place = (None, made.clone());
            let vm = add_machine(&mut world, machine, place).map_err(failed(&machine.name))?;
            inventory::adopt(&mut world, &made, &vm, &Value::Null);
        }
    }
    Ok(world)
}

/// Place of a machine's host among the hosts.
fn host_of(world: &World, machine: &Machine) -> usize {
    world.hosts.iter().position(|host| host.name == machine.host).unwrap_or(0)
}

/// Puts a machine of the scenario into the inventory, into a folder and a pool or into a vApp.
fn add_machine(
    world: &mut World,
    machine: &Machine,
    (folder, pool): (Option<Moref>, Moref),
) -> Result<Moref, Fault> {
    let networks: Vec<_> = inventory::networks(&world.objects)
        .into_iter()
        .map(|(moref, name)| {
            let name = crate::vm::unescape_name(&name);
            (crate::dvs::backing(world, &moref, &name), name)
        })
        .collect();
    let spec = hardware::spec_of(machine, &networks);
    let host = host_of(world, machine);
    let place = (folder, pool, host);
    let mut vm = lease::make_vm(world, spec, &machine.name, place)?;
    vm.powered_on = machine.powered_on;
    for (disk, made) in machine.disks.iter().zip(vm.disks.values_mut()) {
        *made = Arc::new(Disk::generated(disk));
    }
    if machine.nvram.bytes() > 0 {
        let blob = Blob::generated(&world.store, machine.nvram.bytes(), NVRAM_SEED);
        let content =
            Arc::new(blob.map_err(|error| Fault::new("CannotCreateFile", error.to_string()))?);
        vm.files
            .insert(NVRAM.to_owned(), VmFile { name: format!("{}.nvram", machine.name), content });
    }
    for name in &machine.snapshots {
        let moref = world.new_moref("VirtualMachineSnapshot", "snapshot");
        vm.take_snapshot(moref, name, "");
    }
    let moref = vm.moref.clone();
    inventory::register(world, vm)?;
    if world.scenario.guest_ip_after_ms.is_some() {
        world.report_guest(&moref);
    }
    Ok(moref)
}

/// The address under which a client of this machine reaches a server on `address`.
fn reachable(address: IpAddr) -> IpAddr {
    if address.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address }
}

/// Largest request: the default of a real server.
const REQUEST_BYTES_MAX: usize = 20_000_000;

/// A port where nobody listens (TCPMUX, which is not in use any more).
const UNUSED_PORT: u16 = 1;

/// NVRAM has the same content in every machine.
const NVRAM_SEED: u64 = 0x6e76_7261_6d00;

#[cfg(test)]
mod descriptor_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod json_tests;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod package_tests;
#[cfg(test)]
mod pull_tests;
#[cfg(test)]
mod requirements_tests;
#[cfg(test)]
mod strict_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vapp_tests;
#[cfg(test)]
mod wires;
