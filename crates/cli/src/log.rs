//! The log: for those who look for a fault.

use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::sync::Mutex;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::Global;
use crate::console::Console;
use crate::exit::Failure;

/// Starts the log: to the file if there is one, else to standard error.
pub(crate) fn start(global: &Global, console: &Console) -> Result<(), Failure> {
    match &global.log_file {
        Some(path) => {
            let file =
                OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
                    Failure::local(format_args!("cannot write the log {}", path.display()), &error)
                })?;
            // The file is for the worst day: it always has the details.
            install(subscriber(global.verbose.max(2), Mutex::new(file)));
        }
        None if global.quiet => {}
        None => {
            let console = console.clone();
            install(subscriber(global.verbose, move || Line(console.clone())));
        }
    }
    Ok(())
}

fn install(subscriber: impl Subscriber + Send + Sync + 'static) {
    // Fails only if there is a log already, and then there is one.
    drop(subscriber.try_init());
}

fn subscriber<W>(verbose: u8, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
    tracing_subscriber::registry().with(filter(verbose)).with(lines)
}

/// Which events are written.  Libraries below us log headers and bodies at their lowest levels,
/// and with them passwords and cookies: of them only warnings are taken, whatever is asked for.
fn filter(verbose: u8) -> Targets {
    let level = match verbose {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let ours = ["ovftransfer", "ovftransfer_ovf", "ovftransfer_simulator", "ovftransfer_vim"];
    let others = level.min(LevelFilter::WARN);
    Targets::new().with_default(others).with_targets(ours.map(|name| (name, level)))
}

/// Writes above the bars.
struct Line(Console);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.stderr(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
