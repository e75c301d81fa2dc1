//! Exports of machines and snapshots.

use std::fs;
use std::path::{Path, PathBuf};

use ovftransfer_ovf::Envelope;
use ovftransfer_simulator::scenario::Scenario;
use ovftransfer_simulator::{LeaseState, Simulator};

use crate::{Govc, Wire, appliance, check_manifest, raw_sha256};
use crate::{file_sha256, machine, stored, vm, walk, write_manifest};

on_each_wire! {
    exports_what_it_was_asked_for
    images_go_in_and_come_out
    exports_a_snapshot_of_a_running_machine
}

async fn exports_what_it_was_asked_for(wire: Wire) {
    let mut scenario = Scenario::default();
    scenario.machines = vec![machine()];
    let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let exported = vm(&simulator, "appliance");
        let export = |more: &[&str], target: &str| {
            let target = folder.path().join(target);
            let arguments = [&["export.ovf", "-vm", "appliance"], more].concat();
            govc.run(&[&arguments[..], &[target.to_str().unwrap()]].concat());
            target.join("appliance")
        };
        for (more, kind, sum, has_nvram) in [
            (&[][..], "", "", false),
            (&["-sha", "1"][..], "SHA1", "sha1sum", false),
            (&["-sha", "256", "-i"][..], "SHA256", "sha256sum", true),
            (&["-sha", "512", "-i", "-prefix=false"][..], "SHA512", "sha512sum", true),
        ] {
            let package = export(more, &format!("with{}", more.concat()));
            let text = fs::read_to_string(package.join("appliance.ovf")).unwrap();
            let envelope = Envelope::parse(text).unwrap();
            let files: Vec<&str> =
                envelope.references().iter().map(|file| file.href().as_str()).collect();
            let disks: Vec<String> = files
                .iter()
                .filter(|file| file.ends_with(".vmdk"))
                .map(|file| raw_sha256(&package.join(file)))
                .collect();
            assert_eq!(disks, stored(&exported), "{more:?}");
            assert_eq!(files.iter().any(|file| file.ends_with(".nvram")), has_nvram, "{more:?}");
            if kind.is_empty() {
                assert!(!package.join("appliance.mf").exists());
                continue;
            }
            let lines = check_manifest(&package.join("appliance.mf"), kind, sum);
            assert_eq!(lines.len(), files.len() + 1, "{lines:?}");
        }
    });
    let leases = simulator.leases();
    assert!(leases.iter().all(|lease| lease.state == LeaseState::Done), "{leases:?}");
    simulator.stop().await;
}

/// A package with an image for the CD drive.
fn with_image(folder: &Path) -> PathBuf {
    let descriptor = appliance().write_folder(folder).unwrap().path().to_owned();
    let image: Vec<u8> =
        (0..300_000_u32).map(|at| (at.wrapping_mul(at) >> 7).to_le_bytes()[0]).collect();
    fs::write(folder.join("tools.iso"), &image).unwrap();
    let drive = r#"<Item>
        <rasd:Address>1</rasd:Address><rasd:ElementName>IDE 1</rasd:ElementName>
        <rasd:InstanceID>90</rasd:InstanceID><rasd:ResourceType>5</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>CD/DVD drive 1</rasd:ElementName>
        <rasd:HostResource>ovf:/file/image</rasd:HostResource><rasd:InstanceID>91</rasd:InstanceID>
        <rasd:Parent>90</rasd:Parent><rasd:ResourceType>15</rasd:ResourceType>
      </Item>"#;
    let file = format!(r#"<File ovf:id="image" ovf:href="tools.iso" ovf:size="{}"/>"#, image.len());
    let text = fs::read_to_string(&descriptor).unwrap();
    let at = text.find("<vmw:ExtraConfig").unwrap();
    let text = format!("{}{drive}{}", &text[..at], &text[at..]);
    fs::write(&descriptor, text.replace("</References>", &format!("{file}</References>"))).unwrap();
    descriptor
}

async fn images_go_in_and_come_out(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let descriptor = with_image(folder.path());
        write_manifest(&descriptor, "SHA1", "sha1sum");
        let import = |name: &str, descriptor: &Path| {
            let place = ["-ds", "datastore0", "-pool", "pool0", "-name", name];
            let path = [descriptor.to_str().unwrap()];
            govc.run(&[&["import.ovf", "-m"], &place[..], &path[..]].concat());
        };
        import("first", &descriptor);
        let expected = file_sha256(&folder.path().join("tools.iso"));
        let image = |name: &str| {
            let vm = vm(&simulator, name);
            let image = vm.files.iter().find(|file| file.name.ends_with(".iso")).unwrap();
            image.sha256().unwrap()
        };
        assert_eq!(image("first"), expected);

        let out = folder.path().join("out");
        govc.run(&["export.ovf", "-i", "-sha", "1", "-vm", "first", out.to_str().unwrap()]);
        let package = out.join("first");
        let lines = check_manifest(&package.join("first.mf"), "SHA1", "sha1sum");
        // Descriptor, two disks, image, NVRAM.
        assert_eq!(lines.len(), 5, "{lines:?}");
        let exported = lines.keys().find(|name| name.ends_with(".iso")).unwrap();
        assert_eq!(file_sha256(&package.join(exported)), expected);
        // Its descriptor says which drive the image belongs to, so it survives the way back.
        import("second", &package.join("first.ovf"));
        assert_eq!(image("second"), expected);
        assert_eq!(stored(&vm(&simulator, "second")), stored(&vm(&simulator, "first")));
    });
    simulator.stop().await;
}

async fn exports_a_snapshot_of_a_running_machine(wire: Wire) {
    let simulator = Simulator::builder().start().await.unwrap();
    let Some(govc) = Govc::find(&simulator, wire) else { return };
    let folder = tempfile::tempdir().unwrap();
    tokio::task::block_in_place(|| {
        let target = folder.path().to_str().unwrap();
        let path = "/DC0/vm/backup/daily/with-snapshot";
        let refusal = govc.try_run(&["export.ovf", "-vm", path, target]).unwrap_err();
        assert!(refusal.contains("Powered on"), "{refusal}");
        let snapshot = ["-snapshot", "before update", "-vm", path, target];
        govc.run(&[&["export.ovf", "-f", "-sha", "256"], &snapshot[..]].concat());
        let package = folder.path().join("with-snapshot");
        let expected = stored(&vm(&simulator, "with-snapshot"));
        assert_eq!(raw_sha256(&package.join("with-snapshot-disk-0.vmdk")), expected[0]);
        check_manifest(&package.join("with-snapshot.mf"), "SHA256", "sha256sum");

        let plain = tempfile::tempdir().unwrap();
        let target = plain.path().to_str().unwrap();
        govc.run(&["snapshot.export", "-d", target, "-vm", path, "before update"]);
        let disks: Vec<PathBuf> = walk(plain.path())
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "vmdk"))
            .collect();
        assert_eq!(disks.len(), 1, "{disks:?}");
        assert_eq!(raw_sha256(&disks[0]), expected[0]);
    });
    simulator.stop().await;
}
