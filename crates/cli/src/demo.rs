//! `demo`: everything at work against a simulated vCenter, with a comparison at the end.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ovftransfer::Export;
use ovftransfer::Import;
use ovftransfer::Locator;
use ovftransfer::Meter;
use ovftransfer::Options;
use ovftransfer::Report;
use ovftransfer::Secret;
use ovftransfer::Server;
use ovftransfer::SignaturePolicy;
use ovftransfer::Transfer;
use ovftransfer::Trust;
use ovftransfer::check_package;
use ovftransfer_simulator::Scenario;
use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::Data;
use ovftransfer_simulator::scenario::DataKind;
use ovftransfer_simulator::scenario::DiskSpec;
use ovftransfer_simulator::scenario::Machine;
use ovftransfer_simulator::scenario::Spread;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::console::Console;
use crate::exit::Code;
use crate::exit::Failure;
use crate::format;
use crate::package;
use crate::signals::Interrupts;
use crate::simulate::chain;
use crate::tell;
use crate::tell::Mailbox;
use crate::transfer;
use crate::watch::Watched;

pub(crate) async fn run(console: &Console, interrupts: &mut Interrupts) -> Result<(), Failure> {
    let started = Instant::now();
    let folder = tempfile::Builder::new()
        .prefix("ovftransfer-demo-")
        .tempdir()
        .map_err(|error| Failure::local("cannot make a temporary folder", &error))?;
    let simulator = Simulator::builder().scenario(scenario()).start().await;
    let simulator = simulator.map_err(|error| Failure::new(Code::Unexpected, chain(&error)))?;
    let mut demo = Demo { console, interrupts, simulator, folder: folder.path() };
    let outcome = demo.run().await;
    demo.simulator.stop().await;
    folder.close().map_err(|error| Failure::local("cannot remove what was made", &error))?;
    let rows = outcome?;
    for line in format::table(&rows, &[2, 3, 5]) {
        console.result(line);
    }
    console.result(format_args!(
        "\nAll disks are equal, every file was proven twice.  Nothing is left behind.  Took {}.",
        format::span(started.elapsed())
    ));
    Ok(())
}

struct Demo<'a> {
    console: &'a Console,
    interrupts: &'a mut Interrupts,
    simulator: Simulator,
    folder: &'a Path,
}

impl Demo<'_> {
    /// Does every step; returns the table.
    async fn run(&mut self) -> Result<Vec<Vec<String>>, Failure> {
        self.step(format_args!("simulated vCenter at {}", self.simulator.url()));
        let appliance = Appliance::new(machine());
        let ova = self.folder.join("demo.ova");
        let (package, expected) = self.write(appliance, ova.clone()).await?;
        let mut rows = vec![TITLES.map(str::to_owned).to_vec()];
        self.step(format_args!(
            "wrote demo.ova: {} of capacity, {} of files",
            format::size(package.disks().iter().map(|disk| disk.capacity_bytes()).sum()),
            format::size(package.file_bytes()),
        ));

        let server = self.connect().await?;
        self.step("import demo.ova as first");
        let first = self.import(&server, &ova, "first", "host0").await?;
        add_rows(&mut rows, "import", &first);
        self.compare("first", &expected).await?;

        self.step("export first into a folder");
        let export = Export::new("/DC0/vm/first", self.folder.join("exported"));
        let plan = export.plan(&server).await?;
        let exported = self.finish("export", |options| plan.start(options)).await?;
        add_rows(&mut rows, "export", &exported);

        let descriptor = exported.package.clone().unwrap_or_else(|| self.folder.to_owned());
        self.step("verify the export");
        self.verify(&descriptor, &mut rows).await?;

        self.step("import the export as second");
        let second = self.import(&server, &descriptor, "second", "host1").await?;
        add_rows(&mut rows, "import", &second);
        self.compare("second", &expected).await?;
        transfer::logout(&server, &Ok(()), self.interrupts).await;
        Ok(rows)
    }

    fn step(&self, text: impl std::fmt::Display) {
        self.console.object("step", json!({ "text": text.to_string() }));
        self.console.note(format_args!("== {text}"));
    }

    /// Writes the appliance, and reads what its disks must hold.
    async fn write(
        &mut self,
        appliance: Appliance,
        ova: PathBuf,
    ) -> Result<(ovftransfer_simulator::appliance::Package, Vec<String>), Failure> {
        let work = move || {
            let package = appliance.write_ova(&ova)?;
            Ok::<_, ovftransfer_simulator::appliance::ApplianceError>((
                package,
                appliance.raw_sha256()?,
            ))
        };
        let written = blocking(self.interrupts, work).await?;
        written.map_err(|error| Failure::new(Code::LocalFile, chain(&error)))
    }

    async fn connect(&mut self) -> Result<Server, Failure> {
        let internal = |error: &dyn std::error::Error| Failure::new(Code::Unexpected, chain(error));
        let address = self.simulator.url().replace("https://", "vi://");
        let locator: Locator = address.parse().map_err(|error| internal(&error))?;
        let thumbprint = self.simulator.thumbprint().parse().map_err(|error| internal(&error))?;
        let connecting = Server::connect(
            locator.endpoint().clone(),
            Trust::Pinned(thumbprint),
            self.simulator.username(),
            Secret::from(self.simulator.password()),
        );
        Ok(connecting.await?)
    }

    async fn import(
        &mut self,
        server: &Server,
        package: &Path,
        name: &str,
        host: &str,
    ) -> Result<Report, Failure> {
        let package = package::open_local(package).await?;
        let mut request = Import::new(package, "/DC0/host/Cluster0");
        request.name = Some(name.to_owned());
        request.host = Some(format!("/DC0/host/Cluster0/{host}"));
        request.datastore = Some("datastore0".to_owned());
        request.networks = vec![ovftransfer::NetworkMap::new(None, "VM Network")];
        let plan = request.plan(server).await?;
        self.finish("import", |options| plan.start(options)).await
    }

    async fn finish(
        &mut self,
        command: &str,
        start: impl FnOnce(Options) -> Transfer,
    ) -> Result<Report, Failure> {
        let (mailbox, events) = Mailbox::new();
        let mut options = Options::default();
        options.observer = Arc::new(mailbox);
        let left_behind = format!("temporary files may be in {}", self.folder.display());
        let running = start(options);
        let report =
            transfer::finish(running, events, left_behind, self.console, self.interrupts).await?;
        tell::report_object(self.console, command, &report);
        Ok(report)
    }

    async fn verify(
        &mut self,
        descriptor: &Path,
        rows: &mut Vec<Vec<String>>,
    ) -> Result<(), Failure> {
        let package = Arc::new(package::open_local(descriptor).await?);
        let meter = Arc::new(Meter::default());
        let cancel = CancellationToken::new();
        let (_no_events, events) = Mailbox::new();
        let started = Instant::now();
        let policy = SignaturePolicy::default();
        let watched = Watched {
            work: check_package(package, &policy, Arc::clone(&meter), &cancel),
            meter,
            cancel: cancel.clone(),
            events,
            cleans_up: "interrupted",
            left_behind: format!("temporary files may be in {}", self.folder.display()),
        };
        let checked = watched.finish(self.console, self.interrupts).await?;
        let took = started.elapsed();
        for file in checked.files {
            rows.push(vec![
                "verify".to_owned(),
                file.file.to_string(),
                format::size(file.bytes),
                format::rate(file.bytes, took),
                tell::short(&file.digest),
                String::new(),
                String::new(),
                if file.in_manifest { "manifest" } else { "structure" }.to_owned(),
            ]);
        }
        Ok(())
    }

    /// Compares the disks of a machine, byte for byte, with those of the appliance.
    async fn compare(&mut self, name: &str, expected: &[String]) -> Result<(), Failure> {
        let machine = self.simulator.vms().into_iter().find(|machine| machine.name == name);
        let machine = machine.ok_or_else(|| {
            Failure::new(Code::Unexpected, format!("{name} is not on the server"))
        })?;
        let work = move || -> std::io::Result<Vec<String>> {
            machine.disks.iter().map(|disk| Ok(disk.digest()?.raw_sha256)).collect()
        };
        let found = blocking(self.interrupts, work).await?;
        let found = found.map_err(|error| Failure::local("cannot read a stored disk", &error))?;
        if found != expected {
            let problem = format!(
                "the disks of {name} differ from the appliance's: expected {}, found {}",
                expected.join(" "),
                found.join(" ")
            );
            return Err(Failure::new(Code::DigestMismatch, problem));
        }
        let count = format::count(found.len() as u64, "disk");
        self.step(format_args!("{name}: {count}, every byte equal to the appliance's"));
        Ok(())
    }
}

/// Does work that blocks on a thread of its own.  It is waited for even when it is interrupted:
/// it writes into a folder that is about to be removed.
async fn blocking<T: Send + 'static>(
    interrupts: &mut Interrupts,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let mut running = tokio::task::spawn_blocking(work);
    let (joined, interrupted) = tokio::select! {
        joined = &mut running => (joined, false),
        () = interrupts.next() => (running.await, true),
    };
    match joined {
        Ok(_) if interrupted => Err(Failure::cancelled()),
        Ok(done) => Ok(done),
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

fn add_rows(rows: &mut Vec<Vec<String>>, step: &str, report: &Report) {
    for file in &report.files {
        rows.push(vec![
            step.to_owned(),
            file.file.to_string(),
            format::size(file.bytes),
            format::rate(file.bytes, file.took),
            file.digests.first().map(tell::short).unwrap_or_default(),
            report.beats.to_string(),
            file.host.clone(),
            if file.by_server { "server" } else { "package" }.to_owned(),
        ]);
    }
}

/// Two hosts with a rate like that of real ones, so that the disks move side by side, and a lease
/// that would time out without its heartbeat.
fn scenario() -> Scenario {
    let mut scenario = Scenario::default();
    scenario.machines.clear();
    scenario.vapps.clear();
    scenario.lease_timeout_s = LEASE_TIMEOUT_S;
    for host in &mut scenario.hosts {
        host.throttle_mb_per_s_per_stream = Some(MB_PER_S_PER_STREAM);
    }
    scenario
}

fn machine() -> Machine {
    let disk = |capacity_mib: u64, amount_mib: u64, seed, spread| {
        let data = Data::new(DataKind::Mixed, amount_mib << 20, seed).with_spread(spread);
        DiskSpec::new(capacity_mib << 20).with_data(data)
    };
    let mut machine = Machine::new("demo");
    machine.disks = vec![disk(384, 192, 1, Spread::Front), disk(256, 128, 2, Spread::Even)];
    machine.networks = vec!["VM Network".to_owned()];
    machine
}

/// Of the table.
const TITLES: [&str; 8] =
    ["step", "file", "bytes", "rate", "digest", "heartbeats", "host", "proven by"];

/// Short enough that a transfer of a few seconds needs several heartbeats, long enough for a
/// machine that is busy with something else.
const LEASE_TIMEOUT_S: u32 = 5;

/// What one stream of a real host often gives.
const MB_PER_S_PER_STREAM: f64 = 30.0;
