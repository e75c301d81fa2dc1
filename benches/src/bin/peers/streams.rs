//! One disk over TLS, as fast as it goes: exports and imports beside govc and curl.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use ovftransfer_benches::measure::Contender;
use ovftransfer_benches::measure::Program;
use ovftransfer_benches::measure::remove;
use ovftransfer_benches::peer;
use ovftransfer_benches::server::Leases;
use ovftransfer_benches::server::Server;
use ovftransfer_benches::table::Bound;
use ovftransfer_benches::table::GIB;
use serde_json::Value;
use serde_json::json;

use crate::Bench;

/// A server that keeps nothing, with a machine `name` of these disks of one repeated grain.  Each is
/// of a capacity and of data in MiB.
pub(crate) fn scenario(name: &str, disks: &[(u64, u64)]) -> Result<Value> {
    let text = fs::read_to_string(peer::root().join("fixtures/scenarios/null.json"))?;
    let mut scenario: Value = serde_json::from_str(&text)?;
    let disks = (0..).zip(disks).map(|(seed, (capacity_mib, data_mib))| {
        let data = json!({ "amount": format!("{data_mib}MiB"), "kind": "repeat", "seed": seed });
        json!({ "capacity": format!("{capacity_mib}MiB"), "data": data })
    });
    scenario["machines"] = json!([{ "name": name, "disks": disks.collect::<Vec<_>>() }]);
    Ok(scenario)
}

/// Our export of `/DC0/vm/MACHINE`.
pub(crate) fn export_of(
    bench: &Bench,
    server: &Server,
    machine: &str,
    output: &Path,
) -> Result<Program> {
    let export = bench.ours().arg("export").arg(format!("/DC0/vm/{machine}")).arg(output);
    Ok(export.args(["-q", "--json"]).envs(server.environment()?))
}

/// What hashing a GiB costs by `openssl speed`, in seconds of CPU.
fn hash_s_per_gib(openssl: &Path, algorithm: &str) -> Result<f64> {
    let speed = ["speed", "-seconds", "1", "-bytes", "262144", "-evp", algorithm];
    let (_, said) = Program::new(openssl).args(speed).run()?;
    // The last line ends with thousands of bytes per second: `sha256  1780000.00k`.
    let rate = said.trim_end().rsplit(char::is_whitespace).next().and_then(|k| k.strip_suffix('k'));
    let rate: f64 = rate.context("openssl speed says no rate")?.parse()?;
    Ok(GIB / (rate * 1000.0))
}

pub(crate) fn export(bench: &mut Bench) -> Result<()> {
    let server = Server::start(&bench.program, &scenario("one", &[(bench.mib, bench.mib)])?)?;
    let leases = Leases::new(&server)?;
    let bytes = bench.mib << 20;
    let (curl, govc, openssl) = (bench.peer("curl"), bench.peer("govc"), bench.peer("openssl"));
    let output = bench.path("out");
    let theirs = bench.path("theirs");

    let mut contenders = Vec::new();
    if let Some(curl) = &curl {
        let (server, leases, theirs) = (&server, &leases, &theirs);
        contenders.push(Contender::new("curl, one stream, nothing checked", move || {
            remove(theirs)?;
            let held = leases.export("/DC0/vm/one")?;
            let get = Program::new(curl).args(CURL).arg("-o").arg(theirs).arg(&held.url);
            let run = server.run(&get)?.0;
            leases.end(&held)?;
            Ok(run)
        }));
    }
    if let Some(govc) = &govc {
        let govc = Program::new(govc).envs(server.govc_environment(&bench.folder)?);
        let (server, theirs) = (&server, &theirs);
        contenders.push(Contender::new("govc export.ovf -sha 256", move || {
            remove(theirs)?;
            let export = ["export.ovf", "-sha", "256", "-vm", "one"];
            Ok(server.run(&govc.clone().args(export).arg(theirs))?.0)
        }));
    }
    let ours = export_of(bench, &server, "one", &output)?;
    for (name, sha) in [("ovftransfer, SHA-256", "256"), ("ovftransfer, SHA-1 and SHA-256", "1")] {
        let (ours, output, server) = (ours.clone().args(["--sha", sha]), &output, &server);
        contenders.push(Contender::new(name, move || {
            remove(output)?;
            Ok(server.run(&ours)?.0)
        }));
    }
    bench.compare("export of one disk", &mut contenders, bytes)?;

    // The last one hashes with both, and is measured by the first one.
    let (Some(_), Some(openssl), false) = (&curl, &openssl, bench.smoke) else { return Ok(()) };
    let [curl, .., ours] = &contenders[..] else { return Ok(()) };
    let gib = bytes_gib(bytes);
    let hash_s = gib * (hash_s_per_gib(openssl, "sha1")? + hash_s_per_gib(openssl, "sha256")?);
    let curl_cpu_s = curl.median(|run| run.cpu_s);
    let server_s = ours.median(|run| run.server_cpu_s.unwrap_or_default());
    let work_s = (curl_cpu_s + hash_s + server_s) / cores(bench);
    let floor_s = curl.median(|run| run.wall_s).max(work_s);
    let (wall_s, cpu_s) = (ours.median(|run| run.wall_s), ours.median(|run| run.cpu_s));
    let report = &mut bench.report;
    let what = "export: wall beside max(curl, (curl + two hashes + server) / cores)";
    report.goal(what, wall_s / floor_s, Bound::AtMost(1.15), " times");
    let what = "export: CPU for each GiB beside curl + two hashes + 15 %";
    report.goal(what, cpu_s / gib, Bound::AtMost((curl_cpu_s + hash_s) * 1.15 / gib), " s");
    Ok(())
}

pub(crate) fn import(bench: &mut Bench) -> Result<()> {
    let server = Server::start(&bench.program, &scenario("one", &[(bench.mib, bench.mib)])?)?;
    let leases = Leases::new(&server)?;
    let bytes = bench.mib << 20;
    let (curl, govc, openssl) = (bench.peer("curl"), bench.peer("govc"), bench.peer("openssl"));
    let archive = bench.path("one.ova");
    let folder = bench.path("package");
    for output in [&archive, &folder] {
        remove(output)?;
        export_of(bench, &server, "one", output)?.run()?;
    }
    let descriptor = fs::read_to_string(folder.join("one/one.ovf"))?;
    let disk = only_disk(&folder.join("one"))?;

    let mut contenders = Vec::new();
    if let Some(govc) = &govc {
        let govc = Program::new(govc).envs(server.govc_environment(&bench.folder)?);
        let (server, archive) = (&server, &archive);
        let mut number = 0;
        contenders.push(Contender::new("govc import.ova, nothing checked", move || {
            number += 1;
            let place = ["import.ova", "-ds", "datastore0", "-pool", "pool0", "-name"];
            let import = govc.clone().args(place).arg(format!("theirs-{number}")).arg(archive);
            Ok(server.run(&import)?.0)
        }));
    }
    if let Some(curl) = &curl {
        let (server, leases, mut number) = (&server, &leases, 0);
        contenders.push(Contender::new("curl, one stream, nothing checked", move || {
            number += 1;
            let held = leases.import(&descriptor, &format!("curl-{number}"))?;
            let post = Program::new(curl).args(CURL).args(["-X", "POST", "-H", "Expect:", "-T"]);
            let run = server.run(&post.arg(&disk).arg(&held.url))?.0;
            leases.end(&held)?;
            Ok(run)
        }));
    }
    let ours = bench.ours().arg("import").arg(&archive).args([
        "/DC0/host/Cluster0/Resources/pool0",
        "-q",
        "--datastore",
        "datastore0",
        "--name",
    ]);
    let ours = ours.envs(server.environment()?);
    let (server, mut number) = (&server, 0);
    contenders.push(Contender::new("ovftransfer, everything checked", move || {
        number += 1;
        Ok(server.run(&ours.clone().arg(format!("ours-{number}")))?.0)
    }));
    bench.compare("import of one disk", &mut contenders, bytes)?;

    let (Some(_), Some(openssl), false) = (&govc, &openssl, bench.smoke) else { return Ok(()) };
    let [govc, .., ours] = &contenders[..] else { return Ok(()) };
    let gib = bytes_gib(bytes);
    let hash_s = gib * hash_s_per_gib(openssl, "sha256")?;
    let speed = govc.median(|run| run.wall_s) / ours.median(|run| run.wall_s);
    let cpu_s = (govc.median(|run| run.cpu_s) + hash_s) * 1.1 / gib;
    let ours_s = ours.median(|run| run.cpu_s) / gib;
    let report = &mut bench.report;
    let what = "import: throughput beside govc";
    report.goal(what, speed, Bound::AtLeast(0.95), " times");
    let what = "import: CPU for each GiB beside govc + one hash + 10 %";
    report.goal(what, ours_s, Bound::AtMost(cpu_s), " s");
    Ok(())
}

/// The stream-optimized disk in a folder that has one.
fn only_disk(folder: &Path) -> Result<PathBuf> {
    let mut paths = fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let disk = paths.find(|path| path.extension().is_some_and(|extension| extension == "vmdk"));
    disk.context("the package has no disk")
}

#[expect(clippy::cast_precision_loss, reason = "three digits are enough")]
fn bytes_gib(bytes: u64) -> f64 {
    bytes as f64 / GIB
}

#[expect(clippy::cast_precision_loss, reason = "no machine has so many")]
pub(crate) fn cores(bench: &Bench) -> f64 {
    bench.cores as f64
}

/// Silent but for errors, and an error of the server is one.
const CURL: [&str; 5] = ["-k", "-s", "-S", "-f", "--http1.1"];
