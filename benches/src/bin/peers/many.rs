//! Many small machines in one process, through one session: what each costs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use anyhow::Context;
use anyhow::Result;
use ovftransfer::Export;
use ovftransfer::Locator;
use ovftransfer::Options;
use ovftransfer::Secret;
use ovftransfer::Server;
use ovftransfer::Trust;
use ovftransfer_benches::measure::Contender;
use ovftransfer_benches::measure::Program;
use ovftransfer_benches::measure::remove;
use ovftransfer_benches::server;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Bench;

/// Exports so many machines, so many at a time; the work of a process that is measured.
pub(crate) fn export_all(machines: usize, at_once: usize, folder: &Path) -> Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| name.to_owned());
    let locator: Locator = variable("OVFTRANSFER_URL")?.replace("https", "vi").parse()?;
    let trust = Trust::Pinned(variable("OVFTRANSFER_THUMBPRINT")?.parse()?);
    let password = Secret::from(variable("OVFTRANSFER_PASSWORD")?);
    let username = variable("OVFTRANSFER_USERNAME")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let endpoint = locator.endpoint().clone();
        let server = Server::connect(endpoint, trust, &username, password).await?;
        let next = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        for _ in 0..at_once {
            let (server, next, folder) = (server.clone(), Arc::clone(&next), folder.to_owned());
            running.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= machines {
                        return anyhow::Ok(());
                    }
                    let export = Export::new(format!("/DC0/vm/m{number}"), folder.as_path());
                    let plan = export.plan(&server).await?;
                    plan.start(Options::default()).finish().await?;
                }
            });
        }
        while let Some(done) = running.join_next().await {
            done??;
        }
        server.logout().await;
        Ok(())
    })
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let counts: &[usize] = if bench.smoke { &[1, 10] } else { &[1, 100, 1000] };
    let most = counts.iter().copied().max().unwrap_or(1);
    let server = server::Server::start(&bench.program, &scenario(most))?;
    let folder = bench.path("many");
    let program = std::env::current_exe()?;
    let mut contenders = Vec::new();
    for &count in counts {
        let export = Program::new(&program).args(["many", &count.to_string(), AT_ONCE]);
        let export = export.arg(&folder).envs(server.environment()?);
        let (server, folder) = (&server, &folder);
        let mut contender = Contender::new(format!("{count} machines"), move || {
            remove(folder)?;
            std::fs::create_dir(folder)?;
            Ok(server.run(&export)?.0)
        });
        contender.run()?;
        contenders.push(contender);
    }
    let title = format!("exports of 64 KiB, {AT_ONCE} at a time, one process, one session");
    bench.report.group(&title, &contenders, 0);
    if let ([.., less, more], [.., few, many]) = (&contenders[..], counts) {
        #[expect(clippy::cast_precision_loss, reason = "three digits are enough")]
        let machines = (many - few) as f64;
        let of = |what: fn(&ovftransfer_benches::measure::Run) -> f64| {
            (more.median(what) - less.median(what)) * 1000.0 / machines
        };
        let (wall_ms, cpu_ms) = (of(|run| run.wall_s), of(|run| run.cpu_s));
        let grown_kib = more.peak_kib().saturating_sub(less.peak_kib());
        bench.report.note(format!(
            "each machine beyond the first {few}: {wall_ms:.1} ms, {cpu_ms:.1} ms of CPU, \
             {:.1} KiB of memory",
            f64::from(u32::try_from(grown_kib)?) / machines
        ));
    }
    Ok(())
}

fn scenario(machines: usize) -> Value {
    let disk = json!({ "capacity": "1MiB", "data": { "amount": "64KiB", "kind": "random" } });
    let machine = |number| json!({ "name": format!("m{number}"), "disks": [disk] });
    json!({ "machines": (0..machines).map(machine).collect::<Vec<_>>() })
}

/// As many as streams.
const AT_ONCE: &str = "8";
