//! `net`: ports of distributed switches, the cards on them, and failover of DPUs.

mod connect;
mod failover;
mod port;
mod ports;

use crate::args::NetArgs;
use crate::args::NetCommand;
use crate::connection::Connection;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::signals::Interrupts;

pub(crate) async fn run(
    args: NetArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    match args.command {
        NetCommand::Ports(args) => ports::run(args, environment, console, interrupts).await,
        NetCommand::Connect(args) => connect::run(args, environment, console, interrupts).await,
        NetCommand::DpuFailover(args) => {
            failover::run(args, environment, console, interrupts).await
        }
    }
}

/// The place that a connection names, as the library reads it.
fn place(connection: &Connection) -> String {
    match &connection.moref {
        Some(moref) => format!("?moref={moref}"),
        None => connection.path.clone(),
    }
}
