//! What is done to a machine after its import, and what a plan finds out before it.

use std::sync::Arc;
use std::sync::Mutex;

use ovftransfer::Check;
use ovftransfer::Event;
use ovftransfer::Observer;
use ovftransfer::Severity;
use ovftransfer::Step;
use ovftransfer_simulator::appliance::Appliance;
use ovftransfer_simulator::scenario::HostCondition;
use ovftransfer_vim::InventoryPath;

use super::imports::Bench;
use super::imports::error_of;
use super::*;

const WIRES: [Wire; 2] = [Wire::Json, Wire::Soap];

/// Notes the steps.
#[derive(Debug, Default)]
struct Steps(Mutex<Vec<Step>>);

impl Observer for Steps {
    fn observe(&self, event: &Event) {
        if let Event::Step { step } = event {
            self.0.lock().unwrap().push(*step);
        }
    }
}

#[tokio::test]
async fn a_machine_is_started_and_its_address_waited_for() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| scenario.guest_ip_after_ms = Some(300)).await;
        let mut request = bench.request();
        request.power_on = true;
        request.wait_for_ip = Some(Duration::from_secs(30));
        let steps = Arc::new(Steps::default());
        let mut options = options();
        options.observer = Arc::clone(&steps) as Arc<dyn Observer>;
        let plan = bench.plan(request).await.unwrap();
        assert!(plan.to_string().contains("then power it on"), "{plan}");
        let report = plan.start(options).finish().await.unwrap();
        assert!(report.after.is_powered_on && !report.after.is_template);
        let address: std::net::IpAddr = report.after.address.unwrap().parse().unwrap();
        let reported = bench.read("/DC0/vm/again", "guest.ipAddress").await;
        assert_eq!(reported.text().unwrap(), address.to_string());
        assert_eq!(*steps.0.lock().unwrap(), [Step::PowerOn, Step::WaitForIp]);
        assert!(bench.world.simulator.vms().iter().any(|vm| vm.name == "again" && vm.powered_on));
    }
}

#[tokio::test]
async fn a_guest_without_an_address_leaves_a_machine_and_an_error() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| scenario.guest_ip_after_ms = None).await;
        let mut request = bench.request();
        request.power_on = true;
        request.wait_for_ip = Some(Duration::from_millis(300));
        let error = bench.run(request).await.unwrap_err();
        let Error::AfterImport { name, step: Step::WaitForIp, source, .. } = &error else {
            panic!("{}", error.chain())
        };
        assert!(name == "again" && matches!(**source, Error::NoAddress { .. }));
        assert_eq!(error.kind(), ErrorKind::Network);
        assert_eq!(bench.names(), ["again", "web"]);
    }
}

#[tokio::test]
async fn a_wait_that_is_cancelled_leaves_the_machine_and_says_so() {
    let bench = Bench::over(Wire::Auto, |scenario| scenario.guest_ip_after_ms = None).await;
    let mut request = bench.request();
    request.power_on = true;
    request.wait_for_ip = Some(Duration::from_secs(600));
    let transfer = bench.plan(request).await.unwrap().start(options());
    while !bench.world.simulator.vms().iter().any(|vm| vm.name == "again" && vm.powered_on) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    transfer.cancel();
    let error = transfer.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CancelledUnclean, "{}", error.chain());
    assert!(
        error.chain().contains("again") && error.chain().contains("stays"),
        "{}",
        error.chain()
    );
    assert_eq!(bench.names(), ["again", "web"]);
}

#[tokio::test]
async fn a_machine_becomes_a_template() {
    for wire in WIRES {
        let bench = Bench::new(wire).await;
        let mut request = bench.request();
        request.template = true;
        let report = bench.run(request.clone()).await.unwrap();
        assert!(report.after.is_template);
        let template = bench.read("/DC0/vm/again", "config.template").await;
        assert_eq!(template.boolean(), Some(true));
        request.power_on = true;
        let error = bench.plan(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{}", error.chain());
    }
}

#[tokio::test]
async fn an_old_machine_is_replaced_only_by_one_that_is_complete() {
    for wire in WIRES {
        let fault = on_import(FaultKind::WrongDigest).with_times(1);
        let bench = Bench::over(wire, |scenario| scenario.faults = vec![fault]).await;
        let old = bench.session.find(&InventoryPath::new("/DC0/vm/web"), &[]).await.unwrap();
        let mut request = bench.request();
        request.name = Some("web".to_owned());
        request.overwrite = true;
        // The first one is not proven.
        let error = bench.run(request.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{}", error.chain());
        assert_eq!(bench.names(), ["web"]);
        let kept = bench.session.find(&InventoryPath::new("/DC0/vm/web"), &[]).await.unwrap();
        assert_eq!(kept.moref(), old.moref());

        let plan = bench.plan(request).await.unwrap();
        assert_eq!(plan.name(), "web");
        assert!(plan.to_string().contains("delete web"), "{plan}");
        let report = plan.start(options()).finish().await.unwrap();
        assert_eq!(
            (report.name.as_str(), report.after.replaced.as_ref()),
            ("web", Some(old.moref()))
        );
        assert_ne!(report.entity, *old.moref());
        assert_eq!(bench.names(), ["web"]);
        let new = bench.session.find(&InventoryPath::new("/DC0/vm/web"), &[]).await.unwrap();
        assert_eq!(*new.moref(), report.entity);
    }
}

#[tokio::test]
async fn a_running_machine_is_not_replaced() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| scenario.machines[0].powered_on = true).await;
        let mut request = bench.request();
        request.name = Some("web".to_owned());
        request.overwrite = true;
        let plan = bench.plan(request).await.unwrap();
        let (kind, check, text) = error_of(&plan);
        assert_eq!((kind, check), (ErrorKind::Refused, Check::Name), "{text}");
        assert!(text.contains("powered off"), "{text}");
        assert_eq!(plan.start(options()).finish().await.unwrap_err().kind(), ErrorKind::Refused);
        bench.assert_untouched();
    }
}

#[tokio::test]
async fn a_machine_that_is_started_meanwhile_stays_beside_the_new_one() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| {
            for host in &mut scenario.hosts {
                host.throttle_mb_per_s_per_stream = Some(4.0);
            }
        })
        .await;
        let mut request = bench.request();
        request.name = Some("web".to_owned());
        request.overwrite = true;
        let transfer = bench.plan(request).await.unwrap().start(options());
        while transfer.meter().bytes() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let old = bench.session.find(&InventoryPath::new("/DC0/vm/web"), &[]).await.unwrap();
        bench.session.power_on(old.moref(), None).await.unwrap();
        let error = transfer.finish().await.unwrap_err();
        let Error::AfterImport { name, step: Step::Replace, .. } = &error else {
            panic!("{}", error.chain())
        };
        assert_eq!(name, "web (new)");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(bench.names(), ["web", "web (new)"]);
    }
}

#[tokio::test]
async fn a_bare_host_gets_the_ovf_environment_from_us() {
    let bench = Bench::described(Wire::Soap, |scenario| {
        let machines = scenario.machines.clone();
        *scenario = Scenario::esxi();
        scenario.machines = machines;
    })
    .await;
    let mut request = bench.request();
    request.target = "/".to_owned();
    request.inject_ovf_env = true;
    request.properties = vec![("net.hostname.1".to_owned(), "a <b> & \"c\"".to_owned())];
    let report = bench.run(request).await.unwrap();
    assert!(report.after.has_ovf_env);
    let config = bench.read("/ha-datacenter/vm/again", "config.extraConfig").await;
    let mut options =
        config.items().filter(|one| one.text_of("key").unwrap() == "guestinfo.ovfEnv");
    let environment = options.next().unwrap().text_of("value").unwrap();
    for part in [
        r#"xmlns="http://schemas.dmtf.org/ovf/environment/1""#,
        r#"oe:id="web""#,
        "<Kind>VMware ESXi</Kind>",
        r#"<Property oe:key="net.hostname.1" oe:value="a &lt;b&gt; &amp; &quot;c&quot;"/>"#,
        r#"<Property oe:key="net.fixed.1" oe:value="f"/>"#,
    ] {
        assert!(environment.contains(part), "{part} in {environment}");
    }
}

#[tokio::test]
async fn a_bare_host_has_no_templates() {
    let bench = Bench::over(Wire::Soap, |scenario| {
        let machines = scenario.machines.clone();
        *scenario = Scenario::esxi();
        scenario.machines = machines;
    })
    .await;
    let mut request = bench.request();
    request.target = "/".to_owned();
    request.template = true;
    let error = bench.plan(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{}", error.chain());
    bench.assert_untouched();
}

#[tokio::test]
async fn a_package_of_several_machines_becomes_a_vapp_that_is_started() {
    for wire in WIRES {
        let bench = Bench::new(wire).await;
        let machine = |name: &str, seed| {
            let mut machine = Machine::new(name);
            let data = Data::new(DataKind::Random, MIB, seed);
            machine.disks = vec![DiskSpec::new(16 * MIB).with_data(data)];
            machine.networks = vec!["VM Network".to_owned()];
            machine
        };
        let folder = bench.world.folder.path().join("shop");
        fs::create_dir(&folder).unwrap();
        let machines = vec![machine("db", 1), machine("front", 2)];
        let package = Appliance::vapp("shop", machines).write_folder(&folder).unwrap();
        let request = || {
            let package = Package::open(package.path()).unwrap();
            let mut import = Import::new(package, "/DC0/host/Cluster0");
            import.datastore = Some("datastore0".to_owned());
            import
        };
        for change in [
            (|import| import.template = true) as fn(&mut Import),
            |import| import.overwrite = true,
            |import| (import.power_on, import.wait_for_ip) = (true, Some(Duration::from_secs(1))),
        ] {
            let mut refused = request();
            change(&mut refused);
            let outcome = bench.plan(refused).await;
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Refused);
        }
        bench.assert_untouched();
        let mut request_on = request();
        request_on.power_on = true;
        request_on.annotation = Some("two machines".to_owned());
        let report = bench.run(request_on).await.unwrap();
        assert_eq!((report.name.as_str(), report.entity.kind()), ("shop", "VirtualApp"));
        assert_eq!(bench.names(), ["db", "front", "web"]);
        let vms = bench.world.simulator.vms();
        assert!(vms.iter().all(|vm| vm.powered_on == (vm.name != "web")));
        // The name of a collection is the server's to choose, and is taken now.
        assert_eq!(error_of(&bench.plan(request()).await.unwrap()).1, Check::Name);
    }
}

#[tokio::test]
async fn a_vcenter_makes_the_ovf_environment_itself() {
    for wire in WIRES {
        let bench = Bench::described(wire, |_| {}).await;
        let mut request = bench.request();
        request.inject_ovf_env = true;
        let plan = bench.plan(request).await.unwrap();
        let note = plan.findings().iter().find(|one| one.check == Check::Environment).unwrap();
        assert_eq!(note.severity, Severity::Note);
        let report = plan.start(options()).finish().await.unwrap();
        assert!(!report.after.has_ovf_env);
    }
}

#[tokio::test]
async fn missing_privileges_are_found_before_anything_is_made() {
    type Change = fn(&mut Import);
    let cases: [(&str, Change); 6] = [
        ("VApp.Import", |_| {}),
        ("Datastore.AllocateSpace", |_| {}),
        ("Network.Assign", |import| {
            import.networks = vec![ovftransfer::NetworkMap::new(None, "VM Network")];
        }),
        ("VirtualMachine.Interact.PowerOn", |import| import.power_on = true),
        ("VirtualMachine.Provisioning.MarkAsTemplate", |import| import.template = true),
        ("VirtualMachine.Inventory.Delete", |import| {
            (import.name, import.overwrite) = (Some("web".to_owned()), true);
        }),
    ];
    for wire in WIRES {
        for (privilege, change) in cases {
            let bench = Bench::over(wire, |scenario| {
                scenario.missing_privileges = vec![privilege.to_owned()];
            })
            .await;
            let mut request = bench.request();
            change(&mut request);
            let error = match bench.plan(request).await {
                Ok(plan) => plan.check().unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error.kind(), ErrorKind::Permission, "{privilege}: {}", error.chain());
            assert!(error.chain().contains(privilege), "{privilege}: {}", error.chain());
            bench.assert_untouched();
        }
    }
}

#[tokio::test]
async fn a_datastore_that_is_too_small_is_found_before_anything_is_made() {
    for wire in WIRES {
        // Two disks of 64 and 32 MiB, of which 6 MiB are written.
        for (free_mib, mode, stops) in [
            (95, Some("thick"), true),
            (96, Some("thick"), false),
            (4, Some("thin"), true),
            (20, Some("thin"), false),
            (4, None, true),
            (20, None, false),
        ] {
            let bench = Bench::over(wire, |scenario| {
                let free = Size::from_bytes(free_mib * MIB);
                scenario.datastore_free = [("datastore0".to_owned(), free)].into();
            })
            .await;
            let mut request = bench.request();
            request.disk_provisioning = mode.map(str::to_owned);
            let plan = bench.plan(request).await.unwrap();
            if stops {
                let (kind, check, text) = error_of(&plan);
                assert_eq!((kind, check), (ErrorKind::NoSpace, Check::Space), "{text}");
                assert!(text.contains("datastore0"), "{text}");
                bench.assert_untouched();
                continue;
            }
            plan.check().unwrap();
            let warns = plan.findings().iter().any(|one| one.check == Check::Space);
            assert_eq!(warns, free_mib < 96, "{mode:?} {free_mib}");
        }
    }
}

#[tokio::test]
async fn a_datastore_that_is_full_in_spite_of_the_plan_is_told_by_its_fault() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| {
            let free = Size::from_bytes(20 * MIB);
            scenario.datastore_free = [("datastore0".to_owned(), free)].into();
        })
        .await;
        // The server's choice is thick, which the plan could not know.
        let error = bench.run(bench.request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.chain());
        assert_eq!(bench.names(), ["web"]);
    }
}

#[tokio::test]
async fn hosts_that_cannot_take_it_are_found() {
    for wire in WIRES {
        for condition in
            [HostCondition::Maintenance, HostCondition::Disconnected, HostCondition::NotResponding]
        {
            let bench = Bench::over(wire, |scenario| scenario.hosts[0].condition = condition).await;
            let mut request = bench.request();
            request.host = Some("/DC0/host/Cluster0/host0".to_owned());
            let (kind, check, text) = error_of(&bench.plan(request).await.unwrap());
            assert_eq!((kind, check), (ErrorKind::Network, Check::Host), "{text}");
            assert!(text.contains("host0"), "{text}");
            // Another one takes it.
            bench.assert_untouched();
            bench.run(bench.request()).await.unwrap();
            assert!(
                bench
                    .world
                    .simulator
                    .vms()
                    .iter()
                    .any(|vm| vm.name == "again" && vm.host == "host1")
            );
        }
        let bench = Bench::over(wire, |scenario| {
            for host in &mut scenario.hosts {
                host.condition = HostCondition::Disconnected;
            }
        })
        .await;
        let (kind, _, text) = error_of(&bench.plan(bench.request()).await.unwrap());
        assert_eq!(kind, ErrorKind::Network);
        assert!(text.contains("Cluster0") && text.contains("host1"), "{text}");
        bench.assert_untouched();
    }
}

#[tokio::test]
async fn hardware_that_no_host_knows_is_refused_with_advice() {
    for wire in WIRES {
        let bench = Bench::new(wire).await;
        bench.edit(">vmx-13<", ">vmx-99<");
        let error = bench.plan(bench.request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{}", error.chain());
        assert!(error.chain().contains("vmx-99"), "{}", error.chain());
        assert!(error.chain().contains("older hardware version"), "{}", error.chain());
        bench.assert_untouched();
    }
}

#[tokio::test]
async fn a_virtual_tpm_and_a_network_that_is_not_mapped_are_warned_of() {
    for wire in WIRES {
        let bench = Bench::over(wire, |_| {}).await;
        bench.edit("</System>", &format!("</System>{TPM}"));
        bench.edit("ovf:name=\"VM Network\"", "ovf:name=\"VM Netwrk\"");
        bench.edit("<rasd:Connection>VM Network<", "<rasd:Connection>VM Netwrk<");
        let plan = bench.plan(bench.request()).await.unwrap();
        plan.check().unwrap();
        let of = |check| plan.findings().iter().find(|one| one.check == check).unwrap();
        assert!(of(Check::Encryption).to_string().contains("key provider"));
        let network = of(Check::Network);
        assert_eq!((network.severity, network.subject.as_str()), (Severity::Warning, "VM Netwrk"));
        assert!(network.advice.as_ref().unwrap().contains("VM Network"), "{network}");
    }
}

#[tokio::test]
async fn uploads_are_not_sent_again_if_that_is_not_wanted_or_nobody_could_prove_them() {
    let cases = [
        (true, Verification::Require, None),
        (true, Verification::Prefer, None),
        (true, Verification::Off, Some(ErrorKind::Network)),
        (false, Verification::Require, Some(ErrorKind::Network)),
    ];
    let cases = WIRES.into_iter().flat_map(|wire| cases.map(|case| (wire, case)));
    side_by_side(cases, async |(wire, (retry, verification, code))| {
        let reset = on_import(FaultKind::ResetAfterBytes(1_000_000)).with_disk(0);
        let bench = Bench::over(wire, |scenario| scenario.faults = vec![reset]).await;
        let mut options = options();
        options.retry_uploads = retry;
        options.verification = verification;
        let plan = bench.plan(bench.request()).await.unwrap();
        let outcome = plan.start(options).finish().await;
        match code {
            None => {
                let report = outcome.unwrap();
                assert_eq!(report.files.iter().map(|file| file.attempts).max(), Some(2));
            }
            Some(kind) => {
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), kind, "{}", error.chain());
                assert_eq!(bench.names(), ["web"]);
            }
        }
    })
    .await;
}

const TPM: &str = "
  <Item ovf:required=\"false\"><rasd:ElementName>Virtual TPM</rasd:ElementName>
    <rasd:InstanceID>99</rasd:InstanceID><rasd:ResourceSubType>vmware.vtpm</rasd:ResourceSubType>
    <rasd:ResourceType>1</rasd:ResourceType></Item>";
