//! Peak memory with eight streams: it must not follow the size of the disks.

use anyhow::Result;
use ovftransfer_benches::measure::Contender;
use ovftransfer_benches::measure::remove;
use ovftransfer_benches::server::Server;
use ovftransfer_benches::table::Bound;

use crate::Bench;
use crate::streams::export_of;
use crate::streams::scenario;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let data_mib = (bench.mib / 8).max(1);
    for capacity_gib in [1, 64] {
        let disks = [(capacity_gib << 10, data_mib); STREAMS];
        let server = Server::start(&bench.program, &scenario("eight", &disks)?)?;
        let (folder, archive) = (bench.path("out"), bench.path("out.ova"));
        let streams = STREAMS.to_string();
        let parallel = ["--parallel", &streams, "--per-host", &streams];
        let into = |output| {
            let export = export_of(bench, &server, "eight", output)?.args(parallel);
            anyhow::Ok(move || {
                remove(output)?;
                Ok(export.run()?.0)
            })
        };
        let import = bench.ours().arg("import").arg(&archive).args(parallel).args(PLACE);
        let import = import.envs(server.environment()?);
        let mut number = 0;
        let mut contenders = [
            Contender::new("export into a folder", into(&folder)?),
            Contender::new("export into an OVA", into(&archive)?),
            Contender::new("import of that", || {
                number += 1;
                Ok(import.clone().arg(format!("again-{number}")).run()?.0)
            }),
        ];
        for contender in &mut contenders {
            contender.run()?;
        }
        let title = format!("8 disks of {capacity_gib} GiB, {data_mib} MiB of data");
        bench.report.group(&title, &contenders, (data_mib * 8) << 20);
        for contender in contenders.iter().filter(|_| !bench.smoke) {
            let what = format!("peak memory, {}, {capacity_gib} GiB each", contender.name);
            #[expect(clippy::cast_precision_loss, reason = "three digits are enough")]
            let peak_mib = contender.peak_kib() as f64 / 1024.0;
            bench.report.goal(what, peak_mib, Bound::AtMost(PEAK_MIB_MAX), " MiB");
        }
    }
    Ok(())
}

const STREAMS: usize = 8;

/// Where machines are imported to; their name comes last.
const PLACE: [&str; 5] =
    ["/DC0/host/Cluster0/Resources/pool0", "-q", "--datastore", "datastore0", "--name"];

/// 64 is promised, 48 is the goal.
const PEAK_MIB_MAX: f64 = 48.0;
