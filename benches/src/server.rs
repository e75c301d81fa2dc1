//! A simulator in a process of its own, and device URLs for programs that know no leases.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use ovftransfer_vim::EntityKind;
use ovftransfer_vim::LeaseWatch;
use ovftransfer_vim::Locator;
use ovftransfer_vim::Secret;
use ovftransfer_vim::Session;
use ovftransfer_vim::Trust;
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::lease::LeaseId;
use ovftransfer_vim::lease::LeaseState;
use ovftransfer_vim::ovf::ImportSpecParams;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::measure::Program;
use crate::measure::Run;

/// A simulator in a process of its own; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    answers: Value,
}

impl Server {
    /// Starts `program simulate` with a scenario.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start(program: &Path, scenario: &Value) -> Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), scenario.to_string())?;
        let mut process = Command::new(program)
            .args(["simulate", "--scenario"])
            .arg(file.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let answers = serde_json::from_str(&line)
            .with_context(|| format!("not what a ready simulator prints: {line}"))?;
        Ok(Self { process, answers })
    }

    /// `url`, `username`, `password` or `thumbprint`.
    ///
    /// # Errors
    ///
    /// The simulator did not print it.
    pub fn field(&self, name: &str) -> Result<String> {
        let field = self.answers[name].as_str();
        field.map(str::to_owned).with_context(|| format!("the simulator did not print {name}"))
    }

    /// What our program needs in its environment.
    ///
    /// # Errors
    ///
    /// The simulator did not print it.
    pub fn environment(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("OVFTRANSFER_URL", self.field("url")?),
            ("OVFTRANSFER_USERNAME", self.field("username")?),
            ("OVFTRANSFER_PASSWORD", self.field("password")?),
            ("OVFTRANSFER_THUMBPRINT", self.field("thumbprint")?),
        ])
    }

    /// What govc needs in its environment.
    ///
    /// # Errors
    ///
    /// The simulator did not print it.
    pub fn govc_environment(&self, home: &Path) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("GOVC_URL", format!("{}/sdk", self.field("url")?)),
            ("GOVC_USERNAME", self.field("username")?),
            ("GOVC_PASSWORD", self.field("password")?),
            ("GOVC_INSECURE", "1".to_owned()),
            ("GOVMOMI_HOME", home.display().to_string()),
        ])
    }

    /// CPU that the simulator took so far, in seconds; to the hundredth.
    ///
    /// # Errors
    ///
    /// There is no such process, or no `/proc`.
    pub fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // After the name, which is in brackets and may hold blanks: user and system time are the
        // 14th and 15th field of all (proc_pid_stat(5)).
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() / TICKS_PER_S)
    }

    /// Runs a program, and says what the simulator took meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`Program::run`].
    pub fn run(&self, program: &Program) -> Result<(Run, String)> {
        let before = self.cpu_s()?;
        let (run, said) = program.run()?;
        let server_cpu_s = Some(self.cpu_s()? - before);
        Ok((Run { server_cpu_s, ..run }, said))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked to, it removes its folder.  Already gone is fine.
        let pid = self.process.id().to_string();
        let asked = Command::new("kill").args(["-INT", &pid]).status();
        if !asked.is_ok_and(|status| status.success()) {
            drop(self.process.kill());
        }
        drop(self.process.wait());
    }
}

/// A session that takes leases for programs that cannot.
#[derive(Debug)]
pub struct Leases {
    runtime: Runtime,
    session: Session,
}

/// A lease that is ready; aborted by [`Leases::end`].
#[derive(Debug)]
pub struct Held {
    lease: LeaseId,
    _watch: LeaseWatch,
    /// Where its first disk is.
    pub url: String,
}

impl Leases {
    /// Logs in.
    ///
    /// # Errors
    ///
    /// Those of the login.
    pub fn new(server: &Server) -> Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let locator: Locator = server.field("url")?.replace("https", "vi").parse()?;
        let trust = Trust::Pinned(server.field("thumbprint")?.parse()?);
        let password = Secret::from(server.field("password")?);
        let username = server.field("username")?;
        let session = runtime.block_on(async {
            let transport = Arc::new(HttpTransport::new());
            let session = Session::connect(transport, locator.endpoint().clone(), trust).await?;
            session.login(&username, &password).await?;
            anyhow::Ok(session)
        })?;
        Ok(Self { runtime, session })
    }

    /// Takes a lease on the export of a machine.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub fn export(&self, path: &str) -> Result<Held> {
        self.runtime.block_on(async {
            let locator: Locator = format!("vi://simulator{path}").parse()?;
            let vm = self.session.locate(&locator, &[EntityKind::VirtualMachine]).await?;
            let lease = self.session.export_vm(vm.moref()).await?;
            self.ready(lease).await
        })
    }

    /// Takes a lease on the import of a descriptor into the default scenario's first pool.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub fn import(&self, descriptor: &str, name: &str) -> Result<Held> {
        self.runtime.block_on(async {
            let find = async |path: &str, kind: EntityKind| {
                let locator: Locator = format!("vi://simulator{path}").parse()?;
                let found = self.session.locate(&locator, &[kind]).await?;
                anyhow::Ok(found.moref().clone())
            };
            let pool = find("/DC0/host/Cluster0/Resources/pool0", EntityKind::ResourcePool).await?;
            let folder = find("/DC0/vm", EntityKind::Folder).await?;
            let datastore = find("/DC0/datastore/datastore0", EntityKind::Datastore).await?;
            let params =
                ImportSpecParams { entity_name: name.to_owned(), ..ImportSpecParams::default() };
            let made = self.session.create_import_spec(descriptor, &pool, &datastore, &params);
            let spec = made.await?.import_spec.context("the server takes no such descriptor")?;
            let lease = self.session.import_vapp(&pool, &spec, Some(&folder), None).await?;
            self.ready(lease).await
        })
    }

    async fn ready(&self, lease: LeaseId) -> Result<Held> {
        let mut watch = self.session.watch_lease(&lease).await?;
        loop {
            match watch.changed().await? {
                LeaseState::Initializing { .. } => {}
                LeaseState::Ready(info) => {
                    let disk = info.devices.first().context("a lease without devices")?;
                    let url = disk.url.expose().to_owned();
                    return Ok(Held { lease, _watch: watch, url });
                }
                state @ (LeaseState::Done | LeaseState::Error(_) | LeaseState::Unknown(_) | _) => {
                    bail!("the lease is not ready but {state:?}")
                }
            }
        }
    }

    /// Gives a lease back.
    ///
    /// # Errors
    ///
    /// Those of the server.
    pub fn end(&self, held: &Held) -> Result<()> {
        Ok(self.runtime.block_on(self.session.lease_abort(&held.lease, None))?)
    }
}

/// `USER_HZ`, which Linux has fixed for programs.
const TICKS_PER_S: f64 = 100.0;
