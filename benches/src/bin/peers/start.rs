//! What must feel immediate: help, and a look into a large archive.  And how long a build takes.

use std::fs;

use anyhow::Result;
use ovftransfer_benches::measure::Contender;
use ovftransfer_benches::measure::Program;
use ovftransfer_benches::measure::remove;
use ovftransfer_benches::peer;
use ovftransfer_benches::server::Server;
use ovftransfer_benches::table::Bound;

use crate::Bench;
use crate::streams::export_of;
use crate::streams::scenario;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    // Six GiB with the default of --mib; two disks, so that there is more than one member.
    let size_mib = bench.mib * 3;
    let archive = bench.path("large.ova");
    remove(&archive)?;
    let server = Server::start(&bench.program, &scenario("large", &[(size_mib, size_mib); 2])?)?;
    export_of(bench, &server, "large", &archive)?.run()?;
    drop(server);
    let inspect = bench.ours().arg("inspect").arg(&archive);
    let help = bench.ours().arg("--help");
    let name = format!("inspect of an OVA of {} MiB", fs::metadata(&archive)?.len() >> 20);
    let mut contenders =
        [Contender::new("--help", || help.time()), Contender::new(name, || inspect.time())];
    for contender in &mut contenders {
        for _ in 0..START_RUNS {
            contender.run()?;
        }
    }
    bench.report.group("start", &contenders, 0);
    if !bench.smoke {
        for (contender, most_ms) in contenders.iter().zip([10.0, 20.0]) {
            let ms = contender.median(|run| run.wall_s) * 1000.0;
            bench.report.goal(&contender.name, ms, Bound::AtMost(most_ms), " ms");
        }
    }
    drop(contenders);
    remove(&archive)
}

/// A release build from nothing, and the size of the binary.
pub(crate) fn build(bench: &mut Bench) -> Result<()> {
    let target = tempfile::tempdir()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Program::new(cargo)
        .args(["build", "--release", "--locked", "-p", "ovftransfer-cli"])
        .envs([("CARGO_TARGET_DIR", target.path().display().to_string())])
        .within(&peer::root());
    let mut contenders = [Contender::new("cargo build --release", || Ok(build.run()?.0))];
    contenders[0].run()?;
    bench.report.group("build", &contenders, 0);
    let wall_s = contenders[0].median(|run| run.wall_s);
    let size = fs::metadata(target.path().join("release/ovftransfer"))?.len();
    #[expect(clippy::cast_precision_loss, reason = "three digits are enough")]
    let size_mb = size as f64 / 1e6;
    bench.report.goal("release build from nothing", wall_s, Bound::AtMost(180.0), " s");
    bench.report.goal("stripped binary", size_mb, Bound::AtMost(20.0), " MB");
    Ok(())
}

/// Each takes a few milliseconds.
const START_RUNS: usize = 21;
