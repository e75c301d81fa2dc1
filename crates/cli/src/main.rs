//! The command line of ovftransfer: arguments, terminal, JSON lines, exit codes, and no logic.
//!
//! How it is used, what its JSON means and which environment variables it reads is written in the
//! README of this crate.
//!
//! ```text
//! ovftransfer import appliance.ova vi://administrator%40vsphere.local@vc/DC0/host/Cluster0
//! ovftransfer export vi://administrator%40vsphere.local@vc/DC0/vm/web backup/
//! ovftransfer inspect appliance.ova
//! ovftransfer verify backup/web/web.ovf
//! ovftransfer lint appliance.ovf
//! ovftransfer convert backup/web/web.ovf web.ova
//! ```

mod args;
mod connection;
mod console;
mod convert;
mod demo;
mod disk;
mod environment;
mod exit;
mod export;
mod format;
mod import;
mod inspect;
mod journals;
mod lint;
mod log;
mod ls;
mod memory;
mod net;
mod package;
mod place;
mod progress;
mod reap;
mod signals;
mod signature;
mod signing;
mod simulate;
mod spec;
mod tell;
mod terminal;
mod transfer;
mod verify;
mod watch;

use std::borrow::Cow;
use std::io;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Builder;

use crate::args::Cli;
use crate::args::Command;
use crate::console::Console;
use crate::environment::Environment;
use crate::exit::Code;
use crate::exit::Failure;
use crate::signals::Interrupts;

fn main() -> ExitCode {
    raise_file_limit();
    memory::keep_freed();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_a_command(&error),
    };
    let console = Console::new(&cli.global);
    let outcome = run(cli, &console).and_then(|()| console.flushed());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failure(&failure);
            failure.code.into()
        }
    }
}

fn run(cli: Cli, console: &Console) -> Result<(), Failure> {
    log::start(&cli.global, console)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::local("cannot start", &error))?;
    let outcome = runtime.block_on(dispatch(cli.command, console));
    // Does not wait for a thread that is blocked by a file system or a prompt.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command, console: &Console) -> Result<(), Failure> {
    let environment = Environment::of_process();
    let mut interrupts = Interrupts::listen()?;
    match command {
        Command::Import(args) => {
            Box::pin(import::run(*args, &environment, console, &mut interrupts)).await
        }
        Command::Export(args) => {
            Box::pin(export::run(args, &environment, console, &mut interrupts)).await
        }
        Command::Inspect(args) => {
            Box::pin(inspect::run(args, &environment, console, &mut interrupts)).await
        }
        Command::Lint(args) => Box::pin(lint::run(args, console, &mut interrupts)).await,
        Command::Spec(args) => Box::pin(spec::run(args, console, &mut interrupts)).await,
        Command::Ls(args) => Box::pin(ls::run(args, &environment, console, &mut interrupts)).await,
        Command::Net(args) => {
            Box::pin(net::run(args, &environment, console, &mut interrupts)).await
        }
        Command::Reap(args) => {
            Box::pin(reap::run(args, &environment, console, &mut interrupts)).await
        }
        Command::Convert(args) => {
            Box::pin(convert::run(args, &environment, console, &mut interrupts)).await
        }
        Command::Verify(args) => Box::pin(verify::run(args, console, &mut interrupts)).await,
        Command::Simulate(args) => Box::pin(simulate::run(args, console, &mut interrupts)).await,
        Command::Demo => Box::pin(demo::run(console, &mut interrupts)).await,
    }
}

/// Allows as many open files as the system lets this process have: what a shell sets for programs
/// that cannot do with more is 256 in some places, and a stream takes two and more.
#[cfg(unix)]
fn raise_file_limit() {
    use rustix::process::Resource;
    use rustix::process::Rlimit;
    use rustix::process::getrlimit;
    use rustix::process::setrlimit;

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it cannot be raised, what there is has to do.
    let _ignored = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(not(unix))]
fn raise_file_limit() {}

/// Prints the help that was asked for, or what is wrong with the arguments.
fn not_a_command(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    // A closed pipe or terminal is no error of ours.
    match format::without_passwords(&text) {
        Cow::Borrowed(_) => drop(error.print()),
        Cow::Owned(safe) => drop(io::stderr().write_all(safe.as_bytes())),
    }
    if error.use_stderr() { Code::Usage.into() } else { ExitCode::SUCCESS }
}

/// Enough to keep the sockets busy: hashing and files have threads of their own.
const WORKER_THREADS: usize = 2;
