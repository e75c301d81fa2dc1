//! What an export can be asked for, over both wires, and what it refuses.

use std::fs;

use ovftransfer::Check;
use ovftransfer::DigestAlgorithm;
use ovftransfer::Severity;
use ovftransfer_ovf::ova::Ova;
use ovftransfer_vim::InventoryPath;

use super::imports::session;
use super::*;

/// Puts an image into the drive of a package's machine; returns the descriptor.
fn with_image(package: &Path) -> PathBuf {
    let descriptor = package.to_owned();
    let text = fs::read_to_string(&descriptor).unwrap();
    let file = r#"<File ovf:href="tools.iso" ovf:id="iso1" ovf:size="40960"/></References>"#;
    let items = r#"<Item><rasd:Address>0</rasd:Address><rasd:ElementName>IDE 0</rasd:ElementName>
        <rasd:InstanceID>900</rasd:InstanceID><rasd:ResourceType>5</rasd:ResourceType></Item>
        <Item><rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>CD/DVD drive 1</rasd:ElementName>
        <rasd:HostResource>ovf:/file/iso1</rasd:HostResource>
        <rasd:InstanceID>901</rasd:InstanceID><rasd:Parent>900</rasd:Parent>
        <rasd:ResourceSubType>vmware.cdrom.iso</rasd:ResourceSubType>
        <rasd:ResourceType>15</rasd:ResourceType></Item></VirtualHardwareSection>"#;
    let text = text.replacen("</References>", file, 1);
    fs::write(&descriptor, text.replacen("</VirtualHardwareSection>", items, 1)).unwrap();
    fs::write(descriptor.with_file_name("tools.iso"), vec![7; 40_960]).unwrap();
    fs::remove_file(descriptor.with_extension("mf")).unwrap();
    descriptor
}

fn members(path: &Path) -> Vec<String> {
    let archive = fs::read(path).unwrap();
    let ova = Ova::index(&archive).unwrap();
    ova.members().iter().map(|member| member.name().to_string()).collect()
}

#[tokio::test]
async fn images_are_taken_along_on_request() {
    for wire in [Wire::Json, Wire::Soap] {
        let world = World::over(wire, |_| {}).await;
        let package = with_image(&world.export().await.unwrap().package.unwrap());
        world.import(&package, "imaged").await.unwrap();
        for images in [false, true] {
            let ova = world.folder.path().join(format!("{images}.ova"));
            let mut export = Export::new("/DC0/vm/imaged", &ova);
            export.images = images;
            export.plan(&world.server).await.unwrap().start(options()).finish().await.unwrap();
            let names = members(&ova);
            assert_eq!(names.iter().any(|name| name.ends_with(".iso")), images, "{names:?}");
        }
        let ova = world.folder.path().join("true.ova");
        world.import(&ova, "again").await.unwrap();
        let vms = world.simulator.vms();
        let again = vms.iter().find(|vm| vm.name == "again").unwrap();
        let sizes: Vec<u64> = again.files.iter().map(|file| file.len_bytes().unwrap()).collect();
        assert_eq!(sizes, [40_960]);
    }
}

/// A machine that every export option makes another descriptor of; its MAC address and UUID.
async fn telling_machine(wire: Wire) -> (World, String, String) {
    let small = |scenario: &mut Scenario| scenario.machines[0].disks = vec![DiskSpec::new(MIB)];
    let world = World::over(wire, small).await;
    let package = with_image(&world.export().await.unwrap().package.unwrap());
    world.import(&package, "telling").await.unwrap();
    let session = session(&world, wire).await;
    let vm = session.find(&InventoryPath::new("/DC0/vm/telling"), &[]).await.unwrap();
    session.set_extra_config(vm.moref(), &[("guestinfo.role", "db")]).await.unwrap();
    let read = session.read(vm.moref(), &["config.uuid", "config.hardware.device"]).await.unwrap();
    let uuid = read.value("config.uuid").unwrap().text().unwrap().into_owned();
    let mut devices = read.value("config.hardware.device").unwrap().items();
    let mac = devices.find_map(|device| device.text_of("macAddress")).unwrap();
    (world, mac, uuid)
}

#[tokio::test]
async fn options_of_the_descriptor_travel_and_act() {
    for wire in [Wire::Json, Wire::Soap] {
        let (world, mac, uuid) = telling_machine(wire).await;
        let signs: [(&str, String, bool); 4] = [
            ("extraconfig", "vmw:key=\"guestinfo.role\" vmw:value=\"db\"".to_owned(), true),
            ("mac", format!("<rasd:Address>{mac}<"), true),
            ("nodevicesubtypes", "vmware.cdrom.".to_owned(), false),
            ("uuid", format!("vmw:key=\"uuid\" vmw:value=\"{uuid}\""), true),
        ];
        let names = signs.each_ref().map(|(option, ..)| *option);
        let each = names.iter().map(std::slice::from_ref);
        for wanted in each.chain([&[][..], &names]) {
            let mut export = Export::new("/DC0/vm/telling", world.folder.path().join("x.ovf"));
            export.overwrite = true;
            export.options = wanted.iter().map(ToString::to_string).collect();
            export.plan(&world.server).await.unwrap().start(options()).finish().await.unwrap();
            let text = fs::read_to_string(world.folder.path().join("x.ovf")).unwrap();
            for (option, sign, appears) in &signs {
                let expected = wanted.contains(option) == *appears;
                assert_eq!(text.contains(sign), expected, "{wire:?} {wanted:?}: {sign}\n{text}");
            }
        }
    }
}

#[tokio::test]
async fn an_option_that_the_server_does_not_have_is_refused_with_those_that_it_has() {
    for wire in [Wire::Json, Wire::Soap] {
        let world = World::over(wire, |_| {}).await;
        let mut export = Export::new("/DC0/vm/web", world.folder.path().join("x.ova"));
        export.options = vec!["mac".to_owned(), "no-such-option".to_owned()];
        let error = export.plan(&world.server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
        for word in ["\"no-such-option\"", "extraconfig, mac, nodevicesubtypes, uuid"] {
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(world.simulator.leases().is_empty(), "no lease was asked for");
    }
}

#[tokio::test]
async fn the_manifest_has_the_algorithm_that_was_asked_for() {
    for wire in [Wire::Json, Wire::Soap] {
        let world = World::over(wire, |_| {}).await;
        for (algorithm, label) in [
            (DigestAlgorithm::Sha1, "SHA1("),
            (DigestAlgorithm::Sha256, "SHA256("),
            (DigestAlgorithm::Sha512, "SHA512("),
        ] {
            let mut export = Export::new("/DC0/vm/web", world.folder.path().join("x.ovf"));
            (export.algorithm, export.overwrite) = (algorithm, true);
            export.plan(&world.server).await.unwrap().start(options()).finish().await.unwrap();
            let manifest = fs::read_to_string(world.folder.path().join("x.mf")).unwrap();
            assert!(manifest.lines().all(|line| line.starts_with(label)), "{manifest}");
            assert_eq!(manifest.lines().count(), 3);
        }
    }
}

#[tokio::test]
async fn a_snapshot_is_exported_with_its_disks_and_an_unknown_one_is_named() {
    for wire in [Wire::Json, Wire::Soap] {
        let world = World::over(wire, |scenario| {
            scenario.machines[0].powered_on = true;
            scenario.machines[0].snapshots = vec!["before".to_owned()];
        })
        .await;
        let mut export = Export::new("/DC0/vm/web", world.folder.path().join("x.ova"));
        export.snapshot = Some("befor".to_owned());
        let error = export.clone().plan(&world.server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("before"), "{error}");
        export.snapshot = Some("before".to_owned());
        export.plan(&world.server).await.unwrap().start(options()).finish().await.unwrap();
        world.import(&world.folder.path().join("x.ova"), "again").await.unwrap();
        assert_eq!(world.disks("again"), world.disks("web"));
    }
}

#[tokio::test]
async fn what_the_session_may_not_do_is_found_before_a_lease_is_taken() {
    for wire in [Wire::Json, Wire::Soap] {
        for (privilege, live) in
            [("VApp.Export", false), ("VirtualMachine.State.CreateSnapshot", true)]
        {
            let world = World::over(wire, |scenario| {
                scenario.missing_privileges = vec![privilege.to_owned()];
                scenario.machines[0].powered_on = live;
            })
            .await;
            let mut export = Export::new("/DC0/vm/web", world.folder.path());
            export.live = live;
            let plan = export.plan(&world.server).await.unwrap();
            assert!(plan.to_string().contains(privilege), "{plan}");
            assert_eq!(plan.findings()[0].severity, Severity::Error);
            let error = plan.start(options()).finish().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Permission, "{}", error.chain());
            assert!(world.simulator.leases().is_empty());
            assert_eq!(world.files(), Vec::<PathBuf>::new());
        }
    }
}

#[tokio::test]
async fn what_is_encrypted_is_warned_of() {
    type Change = fn(&mut Machine);
    let cases: [(Change, &[&str]); 5] = [
        (|_| {}, &[]),
        (|machine| machine.encrypted = true, &["is encrypted (its configuration): the server may"]),
        (|machine| machine.disks[1].encrypted = true, &["is encrypted (Hard disk 2): the server"]),
        (|machine| machine.tpm = true, &["has a virtual TPM"]),
        (
            |machine| {
                machine.tpm = true;
                machine.disks.iter_mut().for_each(|disk| disk.encrypted = true);
            },
            &["is encrypted (Hard disk 1, Hard disk 2)", "has a virtual TPM"],
        ),
    ];
    for wire in [Wire::Json, Wire::Soap] {
        for (change, expected) in &cases {
            let world = World::over(wire, |scenario| change(&mut scenario.machines[0])).await;
            let plan = Export::new("/DC0/vm/web", world.folder.path()).plan(&world.server);
            let plan = plan.await.unwrap();
            plan.check().unwrap();
            let found = plan.findings().iter().filter(|one| one.check == Check::Encryption);
            let found: Vec<String> = found
                .inspect(|one| assert_eq!(one.severity, Severity::Warning))
                .map(ToString::to_string)
                .collect();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, words) in found.iter().zip(*expected) {
                assert!(found.starts_with("web: ") && found.contains(words), "{found}");
            }
        }
    }
}
