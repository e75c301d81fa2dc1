//! What we export is taken by everybody: tar lists it, `qemu-img` checks its disks, `sha256sum` its
//! manifest, and govc imports it.

use super::*;

/// Exports a machine in some way; other programs judge the package, govc imports it, and the
/// disks of what it imported are those of the machine.
fn exported(source: &str, output: &str, flags: &[&str], disks: usize) {
    let Some(govc) = peer("govc") else { return };
    if !have(&["tar", "qemu-img", "sha256sum"]) {
        return;
    }
    let server = Server::simulate();
    let temp = tempfile::tempdir().unwrap();
    let package = temp.path().join(output);
    server.run(&[&["export", source, text(&package)], flags].concat()).expect_code(0);

    let folder = unpacked(&package);
    let vmdks = judged(&folder);
    assert_eq!(vmdks.len(), disks);

    server.govc_import(&govc, &package, "taken");
    let again = temp.path().join("again");
    server.run(&["export", "/DC0/vm/taken", text(&again)]).expect_code(0);
    let taken = judged(&again.join("taken"));
    assert_eq!(taken.len(), disks);
    for (one, other) in vmdks.iter().zip(&taken) {
        tool("qemu-img", &["compare", text(one), text(other)]);
    }
}

/// The folder of a package; of an archive, which tar unpacks, with the descriptor first.
pub(super) fn unpacked(package: &Path) -> PathBuf {
    if package.extension().is_none_or(|extension| extension != "ova") {
        return only_file(package, "ovf").parent().unwrap().to_owned();
    }
    let names = tool("tar", &["tf", text(package)]);
    let names: Vec<&str> = names.lines().collect();
    assert!(names[0].ends_with(".ovf") && names[1].ends_with(".mf"), "{names:?}");
    let folder = package.with_extension("unpacked");
    fs::create_dir(&folder).unwrap();
    tool("tar", &["xf", text(package), "-C", text(&folder)]);
    folder
}

/// Checks manifest and disks of a package in a folder; returns the disks, sorted.
pub(super) fn judged(folder: &Path) -> Vec<PathBuf> {
    let manifest = fs::read_to_string(only_file(folder, "mf")).unwrap();
    let files = fs::read_dir(folder).unwrap().count();
    assert_eq!(manifest.lines().count(), files - 1, "every file but itself: {manifest}");
    for line in manifest.lines() {
        let (name, digest) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
        let sum = tool("sha256sum", &[text(&folder.join(name))]);
        assert_eq!(sum.split(' ').next(), Some(digest), "sha256sum of {name}");
    }
    let mut disks = files_named(folder, "vmdk");
    disks.sort();
    for disk in &disks {
        tool("qemu-img", &["check", text(disk)]);
    }
    disks
}

impl Server {
    pub(super) fn govc_import(&self, govc: &Path, package: &Path, name: &str) {
        let value = |key: &str| {
            let (_, value) = self.environment.iter().find(|(found, _)| *found == key).unwrap();
            value.as_str()
        };
        let is_archive = package.extension().is_some_and(|extension| extension == "ova");
        let (command, file) = match is_archive {
            true => ("import.ova", package.to_owned()),
            false => ("import.ovf", only_file(package, "ovf")),
        };
        let place = ["-ds", "datastore1", "-pool", "pool1", "-net", "VM Network"];
        let home = tempfile::tempdir().unwrap();
        let output = Command::new(govc)
            .arg(command)
            .args(place)
            .args(["-name", name, text(&file)])
            .env_clear()
            .env("GOVC_URL", value("OVFTRANSFER_URL"))
            .env("GOVC_USERNAME", value("OVFTRANSFER_USERNAME"))
            .env("GOVC_PASSWORD", value("OVFTRANSFER_PASSWORD"))
            .env("GOVC_INSECURE", "true")
            .env("GOVC_PERSIST_SESSION", "false")
            .env("HOME", home.path())
            .output()
            .unwrap();
        let done = Done::of(&output);
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    }
}

#[test]
fn govc_takes_an_archive() {
    exported("/DC0/vm/database", "database.ova", &[], 3);
}

#[test]
fn govc_takes_a_folder() {
    exported("/DC0/vm/small", "out", &[], 1);
}

#[test]
fn govc_takes_a_snapshot() {
    let flags = ["--snapshot", "before update"];
    exported("/DC0/vm/backup/daily/with-snapshot", "snapshot.ova", &flags, 1);
}

#[test]
fn govc_takes_a_machine_that_runs() {
    exported("/DC0/vm/running", "out", &["--live"], 1);
}

#[test]
fn govc_takes_a_vapp() {
    exported("/DC0/vm/vapp0", "vapp.ova", &[], 2);
    exported("/DC0/vm/vapp0", "out", &[], 2);
}
