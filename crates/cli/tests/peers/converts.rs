//! What we make of the archives of tar is taken by everybody.

use super::exports::judged;
use super::exports::unpacked;
use super::*;

/// Extended headers, `./` before the names, a manifest at the end and none, a name that fits into no
/// header: tar wrote it, and after a conversion tar, xmllint, sha256sum, qemu-img and govc find
/// nothing odd any more.
#[test]
fn archives_of_tar_become_those_that_every_product_takes() {
    let Some(govc) = peer("govc") else { return };
    if !have(&["tar", "qemu-img", "sha256sum", "xmllint"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("disk.raw");
    fs::write(&raw, "a disk".repeat(100_000)).unwrap();
    fs::File::options().write(true).open(&raw).unwrap().set_len(4 << 20).unwrap();
    let descriptor = package_of(&raw, folder.path());
    let pack = |name: &str, format: &str, members: &[&str]| {
        let ova = folder.path().join(name);
        let start = [format, "-C", text(folder.path()), "-cf", text(&ova)];
        tool("tar", &[&start[..], members].concat());
        ova
    };
    let pax = ["./appliance.ovf", "./disk.vmdk", "./appliance.mf"];
    let pax = pack("pax.ova", "--format=pax", &pax);
    let long = format!("{}.vmdk", "long".repeat(30));
    fs::rename(folder.path().join("disk.vmdk"), folder.path().join(&long)).unwrap();
    let changed = fs::read_to_string(&descriptor).unwrap().replace("disk.vmdk", &long);
    fs::write(&descriptor, changed).unwrap();
    let gnu = pack("gnu.ova", "--format=gnu", &["appliance.ovf", &long]);

    let server = Server::simulate();
    for (odd, disk) in [(&pax, "disk.vmdk"), (&gnu, "disk-1.vmdk")] {
        let out = odd.with_extension("straight.ova");
        server.run(&["convert", text(odd), text(&out)]).expect_code(0);
        let listed = tool("tar", &["tvf", text(&out)]);
        assert_eq!(listed.lines().count(), 3, "{listed}");
        assert!(listed.lines().last().unwrap().ends_with(&format!(" {disk}")), "{listed}");
        let bytes = fs::read(&out).unwrap();
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        let folder = unpacked(&out);
        tool("xmllint", &["--noout", text(&only_file(&folder, "ovf"))]);
        let disks = judged(&folder);
        tool("qemu-img", &["compare", "-f", "raw", "-F", "vmdk", text(&raw), text(&disks[0])]);
        server.govc_import(&govc, &out, odd.file_stem().unwrap().to_str().unwrap());
    }
}
