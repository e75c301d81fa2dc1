//! `simulate`: a vCenter to try things with.

use std::path::Path;

use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::scenario::Scenario;
use serde_json::json;

use crate::args::SimulateArgs;
use crate::console::Console;
use crate::exit::Code;
use crate::exit::Failure;
use crate::signals::Interrupts;

pub(crate) async fn run(
    args: SimulateArgs,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let mut scenario = match &args.scenario {
        Some(path) => read(path)?,
        None if args.esxi => Scenario::esxi(),
        None => Scenario::default(),
    };
    if let Some(seed) = args.seed {
        reseed(&mut scenario, seed);
    }
    let simulator = Simulator::builder().scenario(scenario).listen(args.listen).start().await;
    let simulator = simulator.map_err(|error| {
        Failure::new(Code::Network, chain(&error)).hint("--listen 127.0.0.1:0 takes any free port")
    })?;
    // One line, with or without `--json`: programs wait for it.
    console.data(json!({
        "url": simulator.url(),
        "username": simulator.username(),
        "password": simulator.password(),
        "thumbprint": simulator.thumbprint(),
    }));
    interrupts.next().await;
    tokio::select! {
        () = simulator.stop() => {}
        () = interrupts.next() => {}
    }
    Ok(())
}

fn read(path: &Path) -> Result<Scenario, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::local(format_args!("cannot read the scenario {}", path.display()), &error)
    })?;
    Scenario::from_json(&text).map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{}: {}", path.display(), failure.message), ..failure }
    })
}

/// Gives every disk other bytes, and other luck to what strikes by chance; the same number always
/// gives the same.
fn reseed(scenario: &mut Scenario, seed: u64) {
    if let Some(faults) = &mut scenario.random_faults {
        faults.seed = faults.seed.wrapping_add(seed);
    }
    let inside = scenario.vapps.iter_mut().flat_map(|vapp| &mut vapp.machines);
    for disk in scenario.machines.iter_mut().chain(inside).flat_map(|machine| &mut machine.disks) {
        disk.data.seed = disk.data.seed.wrapping_add(seed);
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}
