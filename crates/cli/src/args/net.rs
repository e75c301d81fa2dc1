//! The words of `net`.

use clap::Args;
use clap::Subcommand;

use super::ConnectionArgs;

/// Arguments of `net`.
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true)]
pub(crate) struct NetArgs {
    #[command(subcommand)]
    pub(crate) command: NetCommand,
}

/// What to do with networks.
#[derive(Debug, Subcommand)]
pub(crate) enum NetCommand {
    /// List the ports of distributed switches, and who is on them
    Ports(PortsArgs),
    /// Plug a network card of a machine into a port, or into a portgroup
    Connect(ConnectArgs),
    /// Let the DPU in reserve take over the uplinks of a switch on a host
    DpuFailover(DpuFailoverArgs),
}

/// Arguments of `net ports`.
#[derive(Args, Debug)]
pub(crate) struct PortsArgs {
    /// vi://[user@]host[:port]/dc, or below it a switch, a portgroup, a machine, a host, a cluster
    pub(crate) target: String,
    /// Only ports of this portgroup: NAME, SWITCH/NAME, a path or a reference
    #[arg(long, value_name = "PORTGROUP")]
    pub(crate) portgroup: Option<String>,
    /// Only the ports of this machine: a path, or one below the datacenter's folder vm
    #[arg(long, value_name = "VM", conflicts_with = "portgroup")]
    pub(crate) vm: Option<String>,
    /// Only ports of this switch: a name, a path or a reference
    #[arg(long, value_name = "SWITCH")]
    pub(crate) switch: Option<String>,
    /// Only ports in conflict
    #[arg(long)]
    pub(crate) conflicts: bool,
    /// Ask the hosts for the present state of the ports first
    #[arg(long)]
    pub(crate) refresh: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Arguments of `net connect`.
#[derive(Args, Debug)]
pub(crate) struct ConnectArgs {
    /// vi://[user@]host[:port]/dc/vm/folder/name
    pub(crate) vm: String,
    /// The card: its number from 1, its label, or its device key
    #[arg(long, value_name = "NIC")]
    pub(crate) nic: String,
    /// Key of the port, on the switch that the card is on or of --portgroup
    #[arg(long, value_name = "KEY", required_unless_present = "portgroup")]
    pub(crate) port: Option<String>,
    /// The portgroup: NAME, SWITCH/NAME, a path or a reference
    #[arg(long, value_name = "PORTGROUP")]
    pub(crate) portgroup: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Arguments of `net dpu-failover`.
#[derive(Args, Debug)]
pub(crate) struct DpuFailoverArgs {
    /// vi://[user@]host[:port]/dc/host/cluster/host
    pub(crate) host: String,
    /// Name of the distributed switch
    #[arg(long, value_name = "NAME")]
    pub(crate) dvs: String,
    /// The DPU that is to take over [default: the server's choice]
    #[arg(long, value_name = "ALIAS")]
    pub(crate) target_dpu: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Read the server and print the plan, but change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
