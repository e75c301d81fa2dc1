//! Transfers drawn from seeds, over real sockets and TLS, each with one thing that goes wrong.
//!
//! The kind of fault follows from the seed by turns, so that each strikes equally often; wire, way,
//! form of the package, disks, level of proof and place of the fault are drawn.  The oracle says
//! beforehand which end is right.  `.ci/campaign wire 300` runs so many side by side.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;

use futures::StreamExt;
use ovftransfer::Event;
use ovftransfer::Meter;
use ovftransfer::Observer;
use ovftransfer::Pipe;
use ovftransfer::SignaturePolicy;
use ovftransfer::check_package;
use ovftransfer_simulator::scenario::ApiVersion;
use ovftransfer_simulator::scenario::Thumbprint;
use tokio_util::sync::CancellationToken;

use super::*;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    Nothing,
    Cancelled,
    ConnectionCap,
    DamagedPackage,
    EmptySecondDisk,
    FlippedBit,
    HeartbeatsRefused,
    HostGone,
    InitialisationFails,
    LeaseLostAfterBytes,
    LeaseLostAfterTime,
    LooksWhole,
    ManifestMissing,
    ManifestWithoutDigest,
    ManifestWrong,
    MissingFields,
    NonsenseTimeout,
    OldServer,
    Reset,
    SessionLost,
    SlowLoris,
    SlowStart,
    Stall,
    StarHosts,
    Status405,
    Status500,
    Status503,
    VanishedLease,
    WrongCertificate,
}

const KINDS: [Kind; 29] = [
    Kind::Nothing,
    Kind::Cancelled,
    Kind::ConnectionCap,
    Kind::DamagedPackage,
    Kind::EmptySecondDisk,
    Kind::FlippedBit,
    Kind::HeartbeatsRefused,
    Kind::HostGone,
    Kind::InitialisationFails,
    Kind::LeaseLostAfterBytes,
    Kind::LeaseLostAfterTime,
    Kind::LooksWhole,
    Kind::ManifestMissing,
    Kind::ManifestWithoutDigest,
    Kind::ManifestWrong,
    Kind::MissingFields,
    Kind::NonsenseTimeout,
    Kind::OldServer,
    Kind::Reset,
    Kind::SessionLost,
    Kind::SlowLoris,
    Kind::SlowStart,
    Kind::Stall,
    Kind::StarHosts,
    Kind::Status405,
    Kind::Status500,
    Kind::Status503,
    Kind::VanishedLease,
    Kind::WrongCertificate,
];

/// Where the package is, or goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Folder,
    Archive,
    /// An OVA through a pipe.
    Pipe,
}

/// Everything that a seed draws.
#[derive(Clone, Debug)]
struct Script {
    seed: u64,
    kind: Kind,
    wire: Wire,
    way: Direction,
    form: Form,
    disks: u64,
    verification: Verification,
    retry_uploads: bool,
    lease_per_disk: bool,
    at_byte: u64,
    after_ms: u64,
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

impl Script {
    fn draw(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let kind = KINDS[usize::try_from(seed % KINDS.len() as u64).unwrap()];
        let way = match kind {
            Kind::DamagedPackage => Direction::Import,
            Kind::EmptySecondDisk => Direction::Export,
            _ => dice.pick(&[Direction::Export, Direction::Import]),
        };
        let forms: &[Form] = match (kind, way) {
            (Kind::DamagedPackage, _) => &[Form::Folder],
            (_, Direction::Import) => &[Form::Folder, Form::Archive],
            (_, Direction::Export) => &[Form::Folder, Form::Archive, Form::Archive, Form::Pipe],
        };
        let levels = [Verification::Require, Verification::Require, Verification::Prefer];
        Self {
            seed,
            kind,
            wire: dice.pick(&[Wire::Json, Wire::Soap]),
            way,
            form: dice.pick(forms),
            disks: if kind == Kind::EmptySecondDisk { 2 } else { 1 + dice.below(3) },
            verification: dice.pick(&levels),
            retry_uploads: dice.below(5) > 0,
            lease_per_disk: way == Direction::Export && dice.below(4) == 0,
            // Within the first disk, behind its header.
            at_byte: 66_000 + dice.below(100_000),
            after_ms: dice.below(1_500),
        }
    }

    /// Every end that is right: nothing for a success.
    fn ends(&self) -> Vec<Option<ErrorKind>> {
        let is_import = self.way == Direction::Import;
        let repeats = !is_import || self.retry_uploads;
        let done = || vec![None];
        let failed = |kind| vec![Some(kind)];
        match self.kind {
            Kind::Nothing
            | Kind::HeartbeatsRefused
            | Kind::MissingFields
            | Kind::NonsenseTimeout
            | Kind::OldServer
            | Kind::SlowLoris
            | Kind::SlowStart
            | Kind::StarHosts => done(),
            Kind::Reset | Kind::Status503 if repeats => done(),
            Kind::Reset | Kind::Status503 => failed(ErrorKind::Network),
            // More than one stream gets 503, until the governor has cut them to one.
            Kind::ConnectionCap if repeats => done(),
            Kind::ConnectionCap => vec![None, Some(ErrorKind::Network)],
            // On a machine that is busy enough the abort may not be confirmed in time.
            Kind::Cancelled => {
                vec![Some(ErrorKind::Cancelled), Some(ErrorKind::CancelledUnclean)]
            }
            Kind::DamagedPackage => failed(ErrorKind::DigestMismatch),
            Kind::EmptySecondDisk if self.lease_per_disk => done(),
            Kind::EmptySecondDisk => failed(ErrorKind::Package),
            // The host refuses the grain, or takes it and says so in its manifest.
            Kind::FlippedBit if is_import => {
                vec![Some(ErrorKind::DigestMismatch), Some(ErrorKind::Network)]
            }
            Kind::FlippedBit => vec![Some(ErrorKind::DigestMismatch), Some(ErrorKind::Package)],
            Kind::HostGone | Kind::Status405 => failed(ErrorKind::Network),
            Kind::InitialisationFails => failed(ErrorKind::Refused),
            // One that is lost before anybody has seen it ready was never had.
            Kind::LeaseLostAfterTime => {
                vec![Some(ErrorKind::LeaseLost), Some(ErrorKind::Refused)]
            }
            Kind::LeaseLostAfterBytes | Kind::SessionLost | Kind::VanishedLease => {
                failed(ErrorKind::LeaseLost)
            }
            // An upload of which the host dropped the rest breaks if it is long enough.
            Kind::LooksWhole if is_import && repeats => {
                vec![None, Some(ErrorKind::DigestMismatch)]
            }
            Kind::LooksWhole if is_import => {
                vec![Some(ErrorKind::Network), Some(ErrorKind::DigestMismatch)]
            }
            Kind::LooksWhole => failed(ErrorKind::Package),
            Kind::ManifestMissing | Kind::ManifestWithoutDigest => match self.verification {
                Verification::Require => failed(ErrorKind::DigestMismatch),
                _ => done(),
            },
            Kind::ManifestWrong => failed(ErrorKind::DigestMismatch),
            // What is small is all in the buffers of the network, and the host only says nothing:
            // it is the server that gives up.
            Kind::Stall if is_import => failed(ErrorKind::LeaseLost),
            Kind::Stall => done(),
            Kind::Status500 if is_import => failed(ErrorKind::Network),
            Kind::Status500 => done(),
            Kind::WrongCertificate => failed(ErrorKind::Tls),
        }
    }

    fn machine(&self) -> Machine {
        let mut machine = Machine::new("web");
        machine.host = "host0".to_owned();
        machine.networks = vec!["VM Network".to_owned()];
        let data = |index| Data::new(DataKind::Random, 256 << 10, self.seed * 8 + index);
        let disk = |index| DiskSpec::new(4 * MIB).with_data(data(index));
        machine.disks = (0..self.disks).map(disk).collect();
        machine
    }

    fn set(&self, scenario: &mut Scenario) {
        scenario.password = CANARY.to_owned();
        scenario.machines = vec![self.machine()];
        let mut fault = |kind, times| {
            let mut fault = Fault::new(self.way, kind).with_times(times);
            let is_lease = matches!(
                fault.kind,
                FaultKind::HeartbeatRefused
                    | FaultKind::InitializeError(_)
                    | FaultKind::LeaseLostAfterBytes(_)
                    | FaultKind::LeaseLostAfterMs(_)
            );
            fault.disk = (!is_lease).then_some(0);
            scenario.faults.push(fault);
        };
        let mut pace = None;
        match self.kind {
            Kind::Nothing | Kind::DamagedPackage => {}
            Kind::Cancelled | Kind::SessionLost => pace = Some(0.1),
            Kind::ConnectionCap => {
                scenario.hosts.iter_mut().for_each(|host| host.connection_cap = 2);
            }
            Kind::EmptySecondDisk => scenario.quirks.one_disk_per_lease = true,
            Kind::FlippedBit => fault(FaultKind::FlipBitAt(self.at_byte), 99),
            Kind::HeartbeatsRefused => {
                fault(FaultKind::HeartbeatRefused, 2);
                pace = Some(0.1);
            }
            Kind::HostGone => scenario.hosts[0].unreachable = true,
            Kind::InitialisationFails => fault(FaultKind::InitializeError("no".to_owned()), 1),
            Kind::LeaseLostAfterBytes => {
                fault(FaultKind::LeaseLostAfterBytes(self.at_byte), 1);
                pace = Some(0.5);
            }
            Kind::LeaseLostAfterTime => {
                fault(FaultKind::LeaseLostAfterMs(self.after_ms), 1);
                pace = Some(0.1);
            }
            Kind::LooksWhole => fault(FaultKind::TruncateAfterBytes(self.at_byte), 1),
            Kind::ManifestMissing => {
                scenario.quirks.missing = vec!["HttpNfcLeaseManifestEntry.key".to_owned()];
            }
            Kind::ManifestWithoutDigest => {
                scenario.quirks.missing = ["checksum", "checksumType", "sha1"]
                    .map(|field| format!("HttpNfcLeaseManifestEntry.{field}"))
                    .into();
            }
            Kind::ManifestWrong => fault(FaultKind::WrongDigest, 99),
            Kind::MissingFields => {
                let fields = [
                    "HttpNfcLease.capabilities",
                    "HttpNfcLease.initializeProgress",
                    "HttpNfcLease.transferProgress",
                    "HttpNfcLeaseInfo.totalDiskCapacityInKB",
                    "HttpNfcLeaseInfo.hostMap",
                    "HttpNfcLeaseManifestEntry.disk",
                ];
                scenario.quirks.missing = fields.map(str::to_owned).into();
            }
            Kind::NonsenseTimeout => {
                let shown = [300_000_000, 0, -1, i32::MAX];
                scenario.lease_timeout_shown = Some(shown[usize::try_from(self.seed % 4).unwrap()]);
            }
            Kind::OldServer => scenario.api_version = ApiVersion::V7_0_3_0,
            Kind::Reset => fault(FaultKind::ResetAfterBytes(self.at_byte), 1),
            Kind::SlowLoris => {
                pace = Some(0.05);
                scenario.lease_timeout_s = 4;
            }
            Kind::SlowStart => scenario.initialize_delay_ms = self.after_ms,
            Kind::Stall => {
                fault(FaultKind::StallAfterBytes(self.at_byte), 1);
                let is_import = self.way == Direction::Import;
                scenario.no_data_timeout_s = is_import.then_some(2);
            }
            Kind::StarHosts => scenario.hosts.iter_mut().for_each(|host| host.star_url = true),
            Kind::Status405 => fault(FaultKind::Status(405), 99),
            Kind::Status500 => fault(FaultKind::Status(500), 1),
            Kind::Status503 => fault(FaultKind::Status(503), 1),
            Kind::VanishedLease => {
                scenario.lease_vanishes = true;
                fault(FaultKind::LeaseLostAfterBytes(self.at_byte), 1);
                pace = Some(0.5);
            }
            Kind::WrongCertificate => scenario.hosts[0].thumbprint = Some(Thumbprint::Wrong),
        }
        for host in &mut scenario.hosts {
            host.throttle_mb_per_s_per_stream = pace;
        }
    }

    fn options(&self, told: &Arc<Told>) -> Options {
        let mut options = Options::default();
        options.governor = Governor::new(Limits::new(3, 3));
        options.verification = self.verification;
        options.retry_uploads = self.retry_uploads;
        // What is slow is not stalled: pieces come seconds apart.
        let stall_s = if self.kind == Kind::Stall { 1 } else { 20 };
        options.stall = Duration::from_secs(stall_s);
        options.observer = Arc::clone(told) as Arc<dyn Observer>;
        options
    }
}

/// Keeps what is told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn observe(&self, event: &Event) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

#[derive(Clone, Debug, Default)]
struct Piped(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Piped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that is wrong with what came of a seed.
async fn play(script: &Script) -> Vec<String> {
    let wire = if script.kind == Kind::OldServer { Wire::Auto } else { script.wire };
    let world = World::over(wire, |scenario| script.set(scenario)).await;
    let source = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    let piped = Piped::default();
    let started = start(script, &world, source.path(), &told, &piped).await;
    let outcome = match started {
        Ok(transfer) => {
            let disturbed = disturb(script, &world, &transfer);
            tokio::select! {
                biased;
                () = disturbed => {}
                () = tokio::time::sleep(SEED_LIMIT) => return vec!["it hangs".to_owned()],
            }
            match tokio::time::timeout(SEED_LIMIT, transfer.finish()).await {
                Ok(outcome) => outcome,
                Err(_) => return vec!["it hangs".to_owned()],
            }
        }
        Err(error) => Err(error),
    };
    let mut wrong = Vec::new();
    let expected = script.ends();
    let end = outcome.as_ref().err().map(Error::kind);
    if !expected.contains(&end) {
        let chain = outcome.as_ref().map_or_else(Error::chain, |_| "done".to_owned());
        wrong.push(format!("ended as {end:?} ({chain}), expected one of {expected:?}"));
    }
    match &outcome {
        Ok(report) => wrong.extend(whole(script, &world, report, &piped).await),
        Err(error) => {
            let is_unclean = error.kind() == ErrorKind::CancelledUnclean;
            if script.kind == Kind::SessionLost || is_unclean {
                // No other session may end the lease: it times out, and the server cleans up.
                let is_held =
                    || world.simulator.leases().iter().any(|l| l.state == LeaseState::Ready);
                while is_held() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            wrong.extend(nothing(script, &world, &piped, is_unclean));
            let mut told = told.0.lock().unwrap();
            told.extend([error.to_string(), format!("{error:?}"), error.chain()]);
        }
    }
    wrong.extend(secrets(&told));
    world.server.logout().await;
    wrong
}

async fn start(
    script: &Script,
    world: &World,
    source: &Path,
    told: &Arc<Told>,
    piped: &Piped,
) -> Result<ovftransfer::Transfer, Error> {
    let options = script.options(told);
    match script.way {
        Direction::Export => {
            let folder = world.folder.path();
            let output: Output = match script.form {
                Form::Folder => folder.into(),
                Form::Archive => folder.join("x.ova").into(),
                Form::Pipe => Pipe::new(piped.clone()).into(),
            };
            let mut export = Export::new("/DC0/vm/web", output);
            export.lease_per_disk = script.lease_per_disk;
            export.spool_dir = Some(source.to_owned());
            Ok(export.plan(&world.server).await?.start(options))
        }
        Direction::Import => {
            let appliance = Appliance::new(script.machine());
            let path = match script.form {
                Form::Folder => appliance.write_folder(source).unwrap().path().to_owned(),
                Form::Archive | Form::Pipe => {
                    let path = source.join("x.ova");
                    appliance.write_ova(&path).unwrap();
                    path
                }
            };
            if script.kind == Kind::DamagedPackage {
                let disk = fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path());
                let disk = disk.filter(|path| path.extension().is_some_and(|e| e == "vmdk")).min();
                let disk = disk.unwrap();
                let mut bytes = fs::read(&disk).unwrap();
                bytes[usize::try_from(script.at_byte).unwrap()] ^= 1;
                fs::write(&disk, bytes).unwrap();
            }
            let mut import = Import::new(Package::open(&path)?, "/DC0/host/Cluster0");
            import.name = Some("again".to_owned());
            import.datastore = Some("datastore0".to_owned());
            import.host = Some("/DC0/host/Cluster0/host0".to_owned());
            Ok(import.plan(&world.server).await?.start(options))
        }
    }
}

/// What the caller, or an administrator, does meanwhile.
async fn disturb(script: &Script, world: &World, transfer: &ovftransfer::Transfer) {
    match script.kind {
        Kind::Cancelled => {
            tokio::time::sleep(Duration::from_millis(script.after_ms)).await;
            transfer.cancel();
        }
        Kind::SessionLost => {
            let is_ready = || world.simulator.leases().iter().any(|l| l.state == LeaseState::Ready);
            while !is_ready() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(script.after_ms)).await;
            world.simulator.drop_sessions();
        }
        _ => {}
    }
}

/// A transfer that went well has everything, byte for byte, and one lease that is done.
async fn whole(script: &Script, world: &World, report: &Report, piped: &Piped) -> Vec<String> {
    let mut wrong = Vec::new();
    let leases = world.simulator.leases();
    let count = if script.lease_per_disk { script.disks } else { 1 };
    if leases.len() as u64 != count || leases.iter().any(|l| l.state != LeaseState::Done) {
        wrong.push(format!("leases: {leases:?}"));
    }
    let tried = report.files.iter().map(|file| file.attempts).max();
    let must_try = matches!(script.kind, Kind::Reset | Kind::Status503 | Kind::Status500)
        || (script.kind == Kind::Stall && script.way == Direction::Export);
    if must_try && tried != Some(2) {
        wrong.push(format!("nothing struck: {tried:?} tries"));
    }
    if script.kind == Kind::HeartbeatsRefused && leases.iter().all(|l| l.heartbeats_refused == 0) {
        wrong.push("no heartbeat was refused".to_owned());
    }
    for lease in &leases {
        if lease.percents.windows(2).any(|pair| pair[0] > pair[1]) {
            wrong.push(format!("percentages: {:?}", lease.percents));
        }
    }
    if script.way == Direction::Import {
        let original = Appliance::new(script.machine()).raw_sha256().unwrap();
        let vms = world.simulator.vms();
        let again = vms.iter().find(|vm| vm.name == "again");
        let disks = again.map(|vm| {
            vm.disks.iter().map(|disk| disk.digest().unwrap().raw_sha256).collect::<Vec<_>>()
        });
        if disks.as_ref() != Some(&original) {
            wrong.push(format!("the disks are {disks:?}, not {original:?}"));
        }
        return wrong;
    }
    let path = match script.form {
        Form::Pipe => {
            let path = world.folder.path().join("piped.ova");
            fs::write(&path, &*piped.0.lock().unwrap()).unwrap();
            path
        }
        Form::Folder | Form::Archive => report.package.clone().unwrap(),
    };
    let package = Package::open(&path).unwrap();
    let (policy, cancel) = (SignaturePolicy::default(), CancellationToken::new());
    let checked =
        check_package(Arc::new(package), &policy, Arc::new(Meter::default()), &cancel).await;
    match checked {
        Ok(checked) if checked.files.len() as u64 >= script.disks => {}
        other => wrong.push(format!("the package is not sound: {other:?}")),
    }
    let left: Vec<PathBuf> = world.files();
    if left.iter().any(|path| path.extension().is_some_and(|e| e == "partial")) {
        wrong.push(format!("left: {left:?}"));
    }
    wrong
}

/// A transfer that did not has left nothing: no file, no machine, no lease.
///
/// Where the lease could not be ended its journal stays, for whoever cleans up.
fn nothing(script: &Script, world: &World, piped: &Piped, is_unclean: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_empty = match script.kind == Kind::SessionLost || is_unclean {
        true => world.files() == Remains::find(world.folder.path()).unwrap(),
        false => fs::read_dir(world.folder.path()).unwrap().next().is_none(),
    };
    if !is_empty || !piped.0.lock().unwrap().is_empty() {
        wrong.push(format!("left: {:?}", world.files()));
    }
    let vms = world.simulator.vms();
    let names: Vec<&str> = vms.iter().map(|vm| vm.name.as_str()).collect();
    if names != ["web"] || vms.iter().any(|vm| vm.is_leased) {
        let held: Vec<bool> = vms.iter().map(|vm| vm.is_leased).collect();
        wrong.push(format!("machines: {names:?}, under a lease: {held:?}"));
    }
    for lease in world.simulator.leases() {
        let is_first = script.lease_per_disk && lease.state == LeaseState::Done;
        if lease.state != LeaseState::Error && !is_first {
            wrong.push(format!("the lease is {:?}: {:?}", lease.state, lease.fault));
        }
    }
    wrong
}

/// Nothing that is told holds a password, a session key or a ticket.
fn secrets(told: &Told) -> Vec<String> {
    let told = told.0.lock().unwrap();
    let is_secret = |text: &&String| {
        let mut tickets = text.split("/nfc/").skip(1);
        text.contains(CANARY)
            || text.contains("session[")
            || tickets.any(|rest| !rest.starts_with("<ticket>"))
    };
    told.iter().filter(is_secret).map(|text| format!("a secret is told: {text}")).collect()
}

/// Says which seed is bad, why, and how to see it again.
struct Bad(Script, Vec<String>);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = std::env::var("OVFTRANSFER_COMMIT");
        let commit = commit.as_deref().unwrap_or("unknown");
        let (seed, wrong) = (self.0.seed, self.1.join("\n  "));
        write!(f, "seed {seed} (commit {commit}): {wrong}\n  ")?;
        write!(f, "replay: .ci/campaign wire 1 {seed}\n  {:?}", self.0)
    }
}

/// The campaign: `.ci/campaign wire`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "too long for every run: run by .ci/campaign wire, a step of its own in .ci/run"]
async fn seeds() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().expect("a number"))
    };
    let (from, count) = (number("OVFTRANSFER_SEED", 0), number("OVFTRANSFER_SEEDS", 300));
    let runs = futures::stream::iter(from..from + count)
        .map(|seed| async move {
            let script = Script::draw(seed);
            let wrong = play(&script).await;
            (script, wrong)
        })
        .buffer_unordered(SIDE_BY_SIDE);
    let mut struck = BTreeMap::<Kind, u64>::new();
    let mut ends = BTreeMap::<String, u64>::new();
    let mut bad = Vec::new();
    let mut runs = std::pin::pin!(runs);
    while let Some((script, wrong)) = runs.next().await {
        *struck.entry(script.kind).or_default() += 1;
        let end = format!("{:?} {:?}", script.way, script.ends());
        *ends.entry(end).or_default() += 1;
        if !wrong.is_empty() {
            bad.push(Bad(script, wrong).to_string());
            if bad.len() >= BAD_MAX {
                break;
            }
        }
    }
    println!("ends: {ends:?}");
    println!("faults: {struck:?}");
    println!("ci: {count} seeds from {from}, {} kinds of fault, {} bad", struck.len(), bad.len());
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
    assert!(count < KINDS.len() as u64 || struck.len() == KINDS.len(), "not every kind struck");
}

/// One of each kind would take too long here; one that has everything at work does not.
#[tokio::test]
async fn a_seed_is_played_as_the_oracle_says() {
    for seed in [5, 18] {
        let script = Script::draw(seed);
        assert_eq!(play(&script).await, Vec::<String>::new(), "{script:?}");
    }
}

/// Stands for every secret of a run.
const CANARY: &str = "c0ffee5ec2e7";

/// Transfers at a time; most of them wait for something.
const SIDE_BY_SIDE: usize = 16;

/// Far more than any of them needs on a busy machine.
const SEED_LIMIT: Duration = Duration::from_secs(120);

/// More than a few bad seeds say nothing new.
const BAD_MAX: usize = 8;
