//! The command line: its words, and nothing of what they do.

mod net;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ArgAction;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use ovftransfer::CompressionLevel;
use ovftransfer::DigestAlgorithm;
use ovftransfer::DiskFormat;
use ovftransfer::ImageFormat;
use ovftransfer::Limits;
use ovftransfer::Wire;

pub(crate) use self::net::ConnectArgs;
pub(crate) use self::net::DpuFailoverArgs;
pub(crate) use self::net::NetArgs;
pub(crate) use self::net::NetCommand;
pub(crate) use self::net::PortsArgs;

/// Moves virtual machines between VMware vSphere and OVF/OVA packages.
#[derive(Debug, Parser)]
#[command(
    name = "ovftransfer",
    version,
    max_term_width = HELP_COLUMNS,
    after_help = EXIT_CODES,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import a package as a new machine
    Import(Box<ImportArgs>),
    /// Export a machine, or a snapshot of it, as a package
    Export(ExportArgs),
    /// Show what is in a package or a disk, or about a machine on a server
    Inspect(InspectArgs),
    /// Check a package: digests, signature, and the structure of every disk; or a disk
    Verify(VerifyArgs),
    /// Check a descriptor by the rules of OVF
    Lint(LintArgs),
    /// Convert a package into another form, and repair it; or a disk
    Convert(ConvertArgs),
    /// Print what can be chosen for an import, for import --options
    Spec(SpecArgs),
    /// List the inventory of a server
    Ls(LsArgs),
    /// Ports of distributed switches, cards on them, failover of DPUs
    Net(NetArgs),
    /// End and remove what a killed run has left
    ///
    /// Shows what the journal of the run tells of: the task behind its lease, the snapshot that it
    /// made, a machine that was not completed, .partial files. With --yes it cancels the task, or
    /// waits until the lease times out, and removes what is provably the run's own.
    Reap(ReapArgs),
    /// Run a simulated vCenter
    ///
    /// Prints one line of JSON with url, username, password and thumbprint when it is ready, and
    /// runs until it is interrupted.
    Simulate(SimulateArgs),
    /// Show everything at work against a simulated vCenter
    ///
    /// Imports a machine, exports it, verifies the export, imports that, and compares the disks
    /// with the first ones.  Needs no network and leaves nothing behind.
    Demo,
}

/// Arguments of `import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// x.ovf, x.ova, a folder with one .ovf, https://..., or - for an OVA on stdin
    pub(crate) package: PathBuf,
    /// vi://[user@]host[:port]/dc/host/cluster[/Resources/pool], or …?moref=ID
    pub(crate) target: String,
    /// Name of the new machine [default: the package's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Datastore for the disks, or a datastore cluster
    #[arg(long, value_name = "NAME")]
    pub(crate) datastore: Option<String>,
    /// Folder for the machine
    #[arg(long, value_name = "PATH")]
    pub(crate) folder: Option<String>,
    /// Resource pool or vApp
    #[arg(long, value_name = "PATH")]
    pub(crate) pool: Option<String>,
    /// Host of the cluster to run on
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Network for all networks of the package, or for the one named; may be repeated
    #[arg(long = "network", value_name = "[OVF=]NET", value_parser = parse_network)]
    pub(crate) networks: Vec<NetworkArg>,
    /// Fail if a network is not mapped, or a card not on its network
    #[arg(long)]
    pub(crate) require_network: bool,
    /// Put a card on this port of a distributed switch; may be repeated
    #[arg(long = "port", value_name = "NIC=KEY", value_parser = parse_port)]
    pub(crate) ports: Vec<(String, String)>,
    /// Value of a property of the package; may be repeated
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = parse_property)]
    pub(crate) properties: Vec<(String, String)>,
    /// Configuration to choose, if the package has several
    #[arg(long, value_name = "ID")]
    pub(crate) deployment_option: Option<String>,
    /// How disks are provisioned [default: the server's choice]
    #[arg(long, value_name = "MODE", value_parser = DISK_MODES)]
    pub(crate) disk_mode: Option<String>,
    /// How the machine gets its addresses
    #[arg(long, value_name = "POLICY", value_parser = IP_POLICIES)]
    pub(crate) ip_allocation: Option<String>,
    /// Version of the Internet Protocol for those addresses
    #[arg(long, value_name = "VERSION", value_parser = IP_PROTOCOLS)]
    pub(crate) ip_protocol: Option<String>,
    /// Agree to the licences of the package
    #[arg(long)]
    pub(crate) accept_eulas: bool,
    /// Notes of the new machine [default: the package's]
    #[arg(long, value_name = "TEXT")]
    pub(crate) annotation: Option<String>,
    /// Option of the server for imports, such as lax; may be repeated
    #[arg(long = "import-option", value_name = "OPTION")]
    pub(crate) import_options: Vec<String>,
    /// Replace a machine of that name, once the new one is complete
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Give the machine its OVF environment, on a host without vCenter
    #[arg(long)]
    pub(crate) inject_ovf_env: bool,
    /// Start the new machine
    #[arg(long)]
    pub(crate) power_on: bool,
    /// Wait until it has an address, at most so long [default: 600]
    #[arg(long, value_name = "SECONDS", requires = "power_on", num_args = 0..=1,
          require_equals = true, default_missing_value = "600",
          value_parser = clap::value_parser!(u32).range(1..=WAIT_S_MAX))]
    pub(crate) wait_for_ip: Option<u32>,
    /// Make the new machine a template
    #[arg(long, conflicts_with = "power_on")]
    pub(crate) template: bool,
    /// Fetch files that the package names by an https:// address
    #[arg(long)]
    pub(crate) allow_remote_references: bool,
    /// Where converted disks wait, and compressed files of a stream until their size is known
    #[arg(long, value_name = "DIR")]
    pub(crate) spool_dir: Option<PathBuf>,
    /// Whether an upload that failed is sent again
    #[arg(
        long,
        value_enum,
        default_value = "yes",
        value_name = "yes|no",
        hide_possible_values = true
    )]
    pub(crate) retry_uploads: YesNo,
    /// Options as JSON, as spec or govc import.spec prints them; - for stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) options: Option<PathBuf>,
    /// Read the server and print the plan, but change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    /// Trust signatures by these authorities and signers (PEM) instead of the system's
    #[arg(long, value_name = "FILE", help_heading = SIGNATURE)]
    pub(crate) signer_ca_cert: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) signature: SignatureArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Arguments of `export`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// vi://[user@]host[:port]/dc/vm/folder/name
    pub(crate) source: String,
    /// x.ova, a folder that gets NAME/NAME.ovf, x.ovf, or - for an OVA on stdout
    pub(crate) dest: PathBuf,
    /// Export this snapshot instead of the machine, which may then run
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// Export a machine that runs, by a snapshot that is removed afterwards
    #[arg(long, conflicts_with = "snapshot")]
    pub(crate) live: bool,
    /// Digest for the manifest
    #[arg(long, value_enum, default_value = "256", value_name = "BITS")]
    pub(crate) sha: Sha,
    /// Replace a package that is there already
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Leave out the machine's NVRAM
    #[arg(long)]
    pub(crate) no_nvram: bool,
    /// Take images in the drives along
    #[arg(long, overrides_with = "no_images")]
    pub(crate) images: bool,
    /// Leave out images in the drives [default]
    #[arg(long, overrides_with = "images")]
    pub(crate) no_images: bool,
    /// Option of the server for the descriptor: mac, uuid, extraconfig, nodevicesubtypes, ..
    #[arg(long = "export-option", value_name = "NAME")]
    pub(crate) export_options: Vec<String>,
    /// Take a lease for each disk, for servers that serve one disk of a lease
    #[arg(long)]
    pub(crate) lease_per_disk: bool,
    /// What the disks are written as: vmdk (stream-optimized) or raw
    #[arg(long, value_enum, default_value = "vmdk", value_name = "FORMAT")]
    pub(crate) disk_format: ExportFormat,
    /// Where disks of an OVA wait for their place [default: beside the OVA]
    #[arg(long, value_name = "DIR")]
    pub(crate) spool_dir: Option<PathBuf>,
    /// Start anew where a run was killed, and forget what it had proven
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Read the server and print the plan, but change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) signing: SigningArgs,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// The key that signs a package.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = SIGNATURE)]
pub(crate) struct SigningArgs {
    /// Sign the package with this key: PEM or PKCS#12, with its certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) private_key: Option<PathBuf>,
    /// File with the password of the key
    #[arg(long, value_name = "FILE", requires = "private_key")]
    pub(crate) private_key_password_file: Option<PathBuf>,
    /// Certificate of the key (PEM), if it is not in the same file
    #[arg(long, value_name = "FILE", requires = "private_key")]
    pub(crate) certificate: Option<PathBuf>,
}

/// Arguments of `convert`.
#[derive(Args, Debug)]
pub(crate) struct ConvertArgs {
    /// x.ovf, x.ova, a folder with one .ovf, https://..., or - for an OVA on stdin; for a disk raw,
    /// qcow2 or any VMDK
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    /// x.ova, a folder that gets NAME/NAME.ovf, x.ovf, or - for an OVA on stdout; for a disk x.vmdk
    /// (stream-optimized), x.raw or x.img
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Digest for the new manifest
    #[arg(long, value_enum, default_value = "256", value_name = "BITS")]
    pub(crate) sha: Sha,
    /// Replace a package, or a disk, that is there already
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// How hard to compress a disk: 1 is fastest, 12 smallest, 0 stores [default: 3]
    #[arg(long, value_name = "0..12", value_parser = level)]
    pub(crate) level: Option<CompressionLevel>,
    /// What the disk IN is, if its first bytes, which a guest may have written, are not to tell
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    /// Take the bytes as they are, also where the manifest says that they are others
    #[arg(long)]
    pub(crate) rehash: bool,
    /// Where files of an OVA wait for their place [default: beside the OVA]
    #[arg(long, value_name = "DIR")]
    pub(crate) spool_dir: Option<PathBuf>,
    /// Fetch files that the package names by an https:// address
    #[arg(long)]
    pub(crate) allow_remote_references: bool,
    /// Print what would be repaired, but write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) signing: SigningArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Arguments of `inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// x.ovf, x.ova, a folder, https://..., - for stdin, vi://[user@]host/dc/vm/name, or a disk
    pub(crate) package: PathBuf,
    /// What a disk is, if its first bytes are not to tell
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Arguments of `spec`.
#[derive(Args, Debug)]
pub(crate) struct SpecArgs {
    /// x.ovf, x.ova, a folder with one .ovf, https://..., or - for an OVA on stdin
    pub(crate) package: PathBuf,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Also properties that the package does not let its user set
    #[arg(long)]
    pub(crate) hidden: bool,
    /// Also properties of a vApp and of the machines in it, which govc omits
    #[arg(long)]
    pub(crate) nested: bool,
}

/// Arguments of `reap`.
#[derive(Args, Debug)]
pub(crate) struct ReapArgs {
    /// Journals, packages that were being written, or folders with them [default: the current
    /// folder and the one for journals]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Do it without a question
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Show what is left, but change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to wait for a lease that only times out [default: 330]
    #[arg(long, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(0..=WAIT_S_MAX))]
    pub(crate) wait: Option<u32>,
    /// Take journals of other machines, where the run does not run any more
    #[arg(long)]
    pub(crate) from_other_host: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Arguments of `ls`.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// vi://[user@]host[:port]/path
    pub(crate) place: String,
    /// Only objects of this type; may be repeated
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub(crate) types: Vec<ListedType>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Types of objects in an inventory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ListedType {
    /// clusters, and hosts that are in none
    Cluster,
    /// datacenters
    Datacenter,
    /// datastores
    Datastore,
    /// folders and datastore clusters
    Folder,
    /// hosts of clusters
    Host,
    /// networks and port groups
    Network,
    /// resource pools
    Pool,
    /// vApps
    Vapp,
    /// machines and templates
    Vm,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// x.ovf, x.ova, a folder with one .ovf, https://..., - for an OVA on stdin, or a disk
    pub(crate) package: PathBuf,
    /// What a disk is, if its first bytes are not to tell
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    /// Fetch files that the package names by an https:// address
    #[arg(long)]
    pub(crate) allow_remote_references: bool,
    /// Inflate every grain of every disk, on all cores; read all data of other disks
    #[arg(long)]
    pub(crate) deep: bool,
    /// Trust signatures by these authorities and signers (PEM) instead of the system's
    #[arg(long, value_name = "FILE", alias = "signer-ca-cert", help_heading = SIGNATURE)]
    pub(crate) ca_cert: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) signature: SignatureArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// How the signature of a package is judged.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = SIGNATURE)]
pub(crate) struct SignatureArgs {
    /// Refuse a package that nobody who is trusted has signed
    #[arg(long)]
    pub(crate) require_signature: bool,
    /// Let signatures count that can be forged: by SHA-1, or by short RSA keys
    #[arg(long)]
    pub(crate) allow_legacy_sha1: bool,
}

/// Arguments of `lint`.
#[derive(Args, Debug)]
pub(crate) struct LintArgs {
    /// x.ovf, x.ova, a folder with one .ovf, or - for .ovf or .ova on stdin
    #[arg(required = true, value_name = "FILE")]
    pub(crate) packages: Vec<PathBuf>,
}

/// The web server that a package is fetched from.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Package from https://")]
pub(crate) struct SourceArgs {
    /// Trust certificates of these authorities (PEM) for the package
    #[arg(long, value_name = "FILE", group = "source_trust")]
    pub(crate) source_ca_cert: Option<PathBuf>,
    /// Fetch the package from the server with this certificate: SHA-1 or SHA-256
    #[arg(long, value_name = "HEX", group = "source_trust")]
    pub(crate) source_thumbprint: Option<String>,
    /// Take an OVA that is cut behind its last file or has other data behind its end
    #[arg(long)]
    pub(crate) lenient: bool,
}

/// Arguments of `simulate`.
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    /// Address of the API; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Machines, disks, hosts, limits and faults, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// Number that all random choices start from
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// A host without vCenter (in a scenario: "esxi")
    #[arg(long, conflicts_with = "scenario")]
    pub(crate) esxi: bool,
}

/// How data moves.
#[derive(Args, Debug)]
#[command(next_help_heading = "Transfer")]
pub(crate) struct TransferArgs {
    /// Files that move at the same time
    #[arg(long, value_name = "N", default_value_t = Limits::default().parallel,
          value_parser = parse_streams)]
    pub(crate) parallel: usize,
    /// Files that move at the same time to or from one host
    #[arg(long, value_name = "N", default_value_t = Limits::default().per_host,
          value_parser = parse_streams)]
    pub(crate) per_host: usize,
    /// Proof by the server's own manifest
    #[arg(long, value_enum, default_value = "require", value_name = "HOW")]
    pub(crate) verify: Verify,
    /// Where journals are kept that lie beside no package, for reap
    #[arg(long, value_name = "DIR")]
    pub(crate) journal_dir: Option<PathBuf>,
}

/// How the API is spoken.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum WireArg {
    /// VI JSON where the server offers it, else SOAP
    #[default]
    Auto,
    /// VI JSON (vCenter since 8.0.1)
    Json,
    /// SOAP
    Soap,
}

impl From<WireArg> for Wire {
    fn from(wire: WireArg) -> Self {
        match wire {
            WireArg::Auto => Self::Auto,
            WireArg::Json => Self::Json,
            WireArg::Soap => Self::Soap,
        }
    }
}

/// Who we are, and whom we trust.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// User, if the locator names none
    #[arg(long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// How the API is spoken
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW")]
    pub(crate) wire: WireArg,
    /// Trust whoever answers
    #[arg(long, group = "trust")]
    pub(crate) insecure: bool,
    /// Trust the server with this certificate: SHA-1 or SHA-256, in hex
    #[arg(long, value_name = "HEX", group = "trust")]
    pub(crate) thumbprint: Option<String>,
    /// Trust certificates of these authorities (PEM)
    #[arg(long, value_name = "FILE", group = "trust")]
    pub(crate) ca_cert: Option<PathBuf>,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Global {
    /// One JSON object per line on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How progress is shown
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "HOW")]
    pub(crate) progress: ProgressMode,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more; -vv and -vvv say much more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write the log to this file, in detail
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
}

/// Reads a level of compression.
fn level(text: &str) -> Result<CompressionLevel, String> {
    if text == "turbo" {
        return turbo();
    }
    let level = text.parse().ok().and_then(CompressionLevel::new);
    level.ok_or_else(|| "expected a number from 0 to 12".to_owned())
}

#[cfg(feature = "isal")]
const fn turbo() -> Result<CompressionLevel, String> {
    Ok(CompressionLevel::TURBO)
}

#[cfg(not(feature = "isal"))]
fn turbo() -> Result<CompressionLevel, String> {
    Err("this program was built without ISA-L (cargo build --features isal)".to_owned())
}

/// Formats of a disk.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum InputFormat {
    /// qcow2 of QEMU
    Qcow2,
    /// byte for byte
    Raw,
    /// VMDK of any kind
    Vmdk,
}

impl From<InputFormat> for ImageFormat {
    fn from(format: InputFormat) -> Self {
        match format {
            InputFormat::Qcow2 => Self::Qcow2,
            InputFormat::Raw => Self::Raw,
            InputFormat::Vmdk => Self::Vmdk,
        }
    }
}

/// Formats that an export writes disks in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExportFormat {
    /// byte for byte
    Raw,
    /// stream-optimized VMDK
    Vmdk,
}

impl From<ExportFormat> for DiskFormat {
    fn from(format: ExportFormat) -> Self {
        match format {
            ExportFormat::Raw => Self::Raw,
            ExportFormat::Vmdk => Self::StreamOptimized,
        }
    }
}

/// Digest algorithms, by their bits.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Sha {
    /// SHA-1
    #[value(name = "1")]
    Sha1,
    /// SHA-256
    #[value(name = "256")]
    Sha256,
    /// SHA-512
    #[value(name = "512")]
    Sha512,
}

impl From<Sha> for DigestAlgorithm {
    fn from(sha: Sha) -> Self {
        match sha {
            Sha::Sha1 => Self::Sha1,
            Sha::Sha256 => Self::Sha256,
            Sha::Sha512 => Self::Sha512,
        }
    }
}

/// One of two.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum YesNo {
    No,
    Yes,
}

/// How much proof the server must give.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Verify {
    /// the server must prove every file
    Require,
    /// what the server can prove must agree
    Prefer,
    /// the server is not asked
    Off,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// bars on a terminal, else lines
    Auto,
    /// a bar for each file
    Bar,
    /// a line every few seconds
    Plain,
    /// nothing
    None,
}

/// A network of the server for one network of the package, or for all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NetworkArg {
    pub(crate) ovf: Option<String>,
    pub(crate) network: String,
}

fn parse_network(text: &str) -> Result<NetworkArg, String> {
    let (ovf, network) = match text.split_once('=') {
        Some((ovf, network)) => (Some(ovf), network),
        None => (None, text),
    };
    if network.is_empty() || ovf == Some("") {
        return Err("expected NET or OVF=NET".to_owned());
    }
    Ok(NetworkArg { ovf: ovf.map(str::to_owned), network: network.to_owned() })
}

/// A card and the key of a port; keys have no `=` in them.
fn parse_port(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((nic, key)) if !nic.trim().is_empty() && !key.is_empty() => {
            Ok((nic.to_owned(), key.to_owned()))
        }
        _ => Err("write it as NIC=KEY, such as 1=4711".to_owned()),
    }
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

fn parse_streams(text: &str) -> Result<usize, String> {
    let max = Limits::MAX;
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("expected a number from 1 to {max}"))
}

/// Provisioning types of the vSphere API (`OvfCreateImportSpecParamsDiskProvisioningType`), but
/// for the two that split a disk into files of 2 GB, which no ESXi host takes.
const DISK_MODES: [&str; 8] = [
    "thin",
    "thick",
    "eagerZeroedThick",
    "seSparse",
    "flat",
    "sparse",
    "monolithicFlat",
    "monolithicSparse",
];

/// How a machine gets its addresses (`VAppIPAssignmentInfoIpAllocationPolicy`).
const IP_POLICIES: [&str; 4] =
    ["dhcpPolicy", "transientPolicy", "fixedPolicy", "fixedAllocatedPolicy"];

/// Versions of the Internet Protocol (`VAppIPAssignmentInfoProtocols`).
const IP_PROTOCOLS: [&str; 2] = ["IPv4", "IPv6"];

/// The longest wait for an address: a day.  Whoever waits longer has forgotten it.
const WAIT_S_MAX: i64 = 24 * 60 * 60;

/// A terminal's usual width.
const HELP_COLUMNS: usize = 80;

/// The heading of the options about signatures.
const SIGNATURE: &str = "Signature of the package";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 unexpected, 2 usage, 3 login or permission, 4 not found,
5 TLS or thumbprint, 6 package invalid, 7 digest mismatch, 8 lease lost,
9 network or host, 10 cancelled and cleaned up, 11 cancelled but clean-up
incomplete, 12 name exists or refused by the server, 13 no space, 14 local file.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn networks_are_for_one_or_for_all() {
        let all = NetworkArg { ovf: None, network: "VM Network".to_owned() };
        assert_eq!(parse_network("VM Network"), Ok(all));
        let one = NetworkArg { ovf: Some("nat".to_owned()), network: "a=b".to_owned() };
        assert_eq!(parse_network("nat=a=b"), Ok(one));
        for text in ["", "=", "nat=", "=net"] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn properties_may_be_empty_but_not_nameless() {
        assert_eq!(parse_property("a="), Ok(("a".to_owned(), String::new())));
        assert_eq!(parse_property("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_property("a").is_err());
        assert!(parse_property("=b").is_err());
    }

    #[test]
    fn streams_have_limits() {
        assert_eq!(parse_streams("1"), Ok(1));
        assert_eq!(parse_streams("24"), Ok(24));
        for text in ["0", "25", "-1", "x", ""] {
            assert!(parse_streams(text).is_err(), "{text}");
        }
    }
}
