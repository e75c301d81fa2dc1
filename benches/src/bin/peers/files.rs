//! Files of this machine: digests, archives and disks beside openssl, tar and qemu-img.

use std::fs;

use anyhow::Result;
use ovftransfer_benches::image::make_image;
use ovftransfer_benches::measure::Contender;
use ovftransfer_benches::measure::Program;
use ovftransfer_benches::measure::remove;
use ovftransfer_benches::server::Server;
use ovftransfer_benches::table::Bound;

use crate::Bench;
use crate::streams::cores;
use crate::streams::export_of;
use crate::streams::scenario;

/// Makes `four.ova` and the folder `package/four`, both of four disks.
fn packages(bench: &Bench) -> Result<()> {
    let size_mib = (bench.mib / 2).max(1);
    let server = Server::start(&bench.program, &scenario("four", &[(size_mib, size_mib); 4])?)?;
    for output in ["four.ova", "package"] {
        let output = bench.path(output);
        remove(&output)?;
        export_of(bench, &server, "four", &output)?.run()?;
    }
    Ok(())
}

pub(crate) fn verify(bench: &mut Bench) -> Result<()> {
    packages(bench)?;
    let archive = bench.path("four.ova");
    let openssl = bench.peer("openssl");
    let mut contenders = Vec::new();
    if let Some(openssl) = &openssl {
        let digest = Program::new(openssl).args(["dgst", "-sha256"]).arg(&archive);
        contenders
            .push(Contender::new("openssl dgst -sha256, one core", move || Ok(digest.run()?.0)));
    }
    let verify = bench.ours().arg("verify").arg(&archive).arg("-q");
    contenders.push(Contender::new("ovftransfer verify", move || Ok(verify.run()?.0)));
    bench.compare("verify an OVA of four disks", &mut contenders, fs::metadata(&archive)?.len())?;
    if let ([openssl, ours], false) = (&contenders[..], bench.smoke) {
        let times = openssl.median(|run| run.wall_s) / ours.median(|run| run.wall_s);
        let wanted = 0.9 * cores(bench);
        let what = "verify: throughput beside openssl dgst on one core";
        bench.report.goal(what, times, Bound::AtLeast(wanted), " times");
    }
    Ok(())
}

pub(crate) fn convert(bench: &mut Bench) -> Result<()> {
    let folder = bench.path("image");
    remove(&folder)?;
    fs::create_dir(&folder)?;
    let image = make_image(&folder, bench.mib)?;
    let (theirs, output) = (bench.path("theirs.vmdk"), bench.path("ours.vmdk"));
    let mut contenders = Vec::new();
    if let Some(qemu) = bench.peer("qemu-img") {
        let format = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"];
        let convert = Program::new(qemu).args(format).arg(&image).arg(&theirs);
        let theirs = &theirs;
        contenders.push(Contender::new("qemu-img convert", move || {
            remove(theirs)?;
            Ok(convert.run()?.0)
        }));
    }
    let convert = bench.ours().arg("convert").arg(&image).arg(&output).arg("-q");
    let output = &output;
    contenders.push(Contender::new("ovftransfer convert", move || {
        remove(output)?;
        Ok(convert.run()?.0)
    }));
    bench.compare("raw disk into stream-optimized", &mut contenders, bench.mib << 20)
}

pub(crate) fn tar(bench: &mut Bench) -> Result<()> {
    packages(bench)?;
    let (archive, package) = (bench.path("four.ova"), bench.path("package/four"));
    let bytes = fs::metadata(&archive)?.len();
    let tar = bench.peer("tar");
    let (theirs, output) = (bench.path("theirs"), bench.path("out"));

    let mut contenders = Vec::new();
    if let Some(tar) = &tar {
        let unpack = Program::new(tar).arg("-xf").arg(&archive).within(&theirs);
        let theirs = &theirs;
        contenders.push(Contender::new("tar -x", move || {
            remove(theirs)?;
            fs::create_dir(theirs)?;
            Ok(unpack.run()?.0)
        }));
    }
    let unpack = bench.ours().arg("convert").arg(&archive).arg(&output).arg("-q");
    let output = &output;
    contenders.push(Contender::new("ovftransfer convert, everything checked", move || {
        remove(output)?;
        fs::create_dir(output)?;
        Ok(unpack.run()?.0)
    }));
    bench.compare("OVA into a folder", &mut contenders, bytes)?;
    drop(contenders);

    let (theirs, output) = (bench.path("theirs.ova"), bench.path("out.ova"));
    let mut contenders = Vec::new();
    if let Some(tar) = &tar {
        let pack = ["--format=ustar", "-cf"];
        let pack = Program::new(tar).args(pack).arg(&theirs).arg("-C").arg(&package).arg(".");
        let theirs = &theirs;
        contenders.push(Contender::new("tar -c", move || {
            remove(theirs)?;
            Ok(pack.run()?.0)
        }));
    }
    let pack = bench.ours().arg("convert").arg(&package).arg(&output).arg("-q");
    let output = &output;
    contenders.push(Contender::new("ovftransfer convert, everything checked", move || {
        remove(output)?;
        Ok(pack.run()?.0)
    }));
    bench.compare("folder into an OVA", &mut contenders, bytes)
}
