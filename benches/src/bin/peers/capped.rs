//! Streams that the server slows down: what parallel ones gain.

use anyhow::Context;
use anyhow::Result;
use ovftransfer_benches::measure::Contender;
use ovftransfer_benches::measure::Program;
use ovftransfer_benches::measure::Run;
use ovftransfer_benches::measure::median;
use ovftransfer_benches::measure::remove;
use ovftransfer_benches::server::Server;
use ovftransfer_benches::table::Bound;
use serde_json::Value;
use serde_json::json;

use crate::Bench;
use crate::streams::export_of;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    // Half a minute of work each: what the start takes must not show.
    let half = (bench.mib / 2).max(1);
    scale(bench, 30, half, &[1, 2, 4, 8], (7.6, Some(6.3)))?;
    scale(bench, 10, (half / 4).max(1), &[1, 16], (15.0, None))
}

/// Exports machines of so many disks each, all at once.
fn scale(
    bench: &mut Bench,
    mb_per_s: u32,
    disk_mib: u64,
    counts: &[usize],
    (gain_min, sealed_min): (f64, Option<f64>),
) -> Result<()> {
    let server = Server::start(&bench.program, &scenario(mb_per_s, disk_mib, counts))?;
    // On a disk, whatever is said for the others: sealing is to be measured, too.
    let temp = tempfile::tempdir()?;
    let (folder, archive) = (temp.path().join("out"), temp.path().join("out.ova"));
    let mut contenders = Vec::new();
    let most = counts.iter().copied().max().unwrap_or(1);
    let measure = |count: usize, output| -> Result<(Run, f64)> {
        remove(output)?;
        let streams = count.to_string();
        let parallel = ["--parallel", &streams, "--per-host", &streams];
        let export = export_of(bench, &server, &format!("disks-{count}"), output)?.args(parallel);
        let (run, said) = server.run(&export)?;
        Ok((run, streamed(&said)?))
    };
    // So many disks in the time of one are so many times as fast.
    let (one, one_streamed_s) = measure(1, &folder)?;
    let mut gain = 1.0;
    for &count in counts {
        let run = if count == 1 { one } else { measure(count, &folder)?.0 };
        gain = as_f64(count) * one.wall_s / run.wall_s;
        let name = format!("disks at once: {count}, {gain:.2} times one stream");
        let mut contender = Contender::new(name, move || Ok(run));
        contender.run()?;
        contenders.push(contender);
    }
    // How long sealing takes is up to the disk, which varies more than anything else here.
    let archives = if bench.smoke { 1 } else { ARCHIVES };
    let archived: Vec<(Run, f64)> =
        (0..archives).map(|_| measure(most, &archive)).collect::<Result<_>>()?;
    let streamed_s = median(archived.iter().map(|(_, streamed_s)| *streamed_s).collect());
    let sealing_s = median(archived.iter().map(|(run, streamed)| run.wall_s - streamed).collect());
    let archive_gain = as_f64(most) * one_streamed_s / streamed_s;
    let sealed_s = median(archived.iter().map(|(run, _)| run.wall_s).collect());
    let sealed_gain = as_f64(most) * one.wall_s / sealed_s;
    let mut runs = archived.into_iter().map(|(run, _)| run);
    let name = format!(
        "{most} disks into an OVA: {archive_gain:.2} times until the last byte, {sealed_gain:.2} \
         sealed, which takes {sealing_s:.2} s"
    );
    let mut sealed = Contender::new(name, move || runs.next().context("no more"));
    (0..archives).try_for_each(|_| sealed.run())?;
    contenders.push(sealed);
    // Sealing writes all disks but one a second time, as fast as the folder's disk does.
    remove(&archive)?;
    let mib = disk_mib * u64::try_from(most)?;
    let write = Program::new("dd").args(["if=/dev/zero", "bs=1M", "conv=fsync", "status=none"]);
    let write = write.arg(format!("count={mib}")).arg(format!("of={}", archive.display()));
    let mut write = Contender::new("as many bytes written and synced", move || Ok(write.run()?.0));
    (0..archives).try_for_each(|_| write.run())?;
    contenders.push(write);
    let title = format!("streams of {mb_per_s} MB/s, {disk_mib} MiB each");
    bench.report.group(&title, &contenders, 0);
    if !bench.smoke {
        let what = format!("{most} streams of {mb_per_s} MB/s beside one");
        bench.report.goal(&what, gain, Bound::AtLeast(gain_min), " times");
        let last_byte = format!("{what}, into an OVA until the last byte");
        bench.report.goal(last_byte, archive_gain, Bound::AtLeast(gain_min), " times");
        if let Some(sealed_min) = sealed_min {
            let what = format!("{what}, into an OVA, sealed and synced");
            bench.report.goal(what, sealed_gain, Bound::AtLeast(sealed_min), " times");
        }
    }
    Ok(())
}

/// Machines `disks-N`, on a host with this pace for each stream.
fn scenario(mb_per_s: u32, disk_mib: u64, counts: &[usize]) -> Value {
    let size = format!("{disk_mib}MiB");
    let data = json!({ "amount": size, "kind": "repeat" });
    let disk = json!({ "capacity": size, "data": data });
    let machines = counts.iter().map(|&count| {
        let disks: Vec<Value> = (0..count).map(|_| disk.clone()).collect();
        json!({ "name": format!("disks-{count}"), "disks": disks })
    });
    let host = json!({ "name": "host0", "throttle_mb_per_s_per_stream": mb_per_s });
    json!({ "hosts": [host], "machines": machines.collect::<Vec<_>>() })
}

/// Until the last byte had come, in seconds, as the report of an export says.
fn streamed(lines: &str) -> Result<f64> {
    for line in lines.lines() {
        let object: Value = serde_json::from_str(line)?;
        if object["type"] == "report" {
            let ms = object["streamed_ms"].as_f64().context("the report has no streamed_ms")?;
            return Ok(ms / 1000.0);
        }
    }
    anyhow::bail!("there is no report")
}

#[expect(clippy::cast_precision_loss, reason = "a handful of disks")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

/// Of which the median counts.
const ARCHIVES: usize = 3;
