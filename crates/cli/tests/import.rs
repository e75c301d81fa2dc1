//! The options of `import`, its plan, and what stands against it: one message and one code each.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

mod support;

use serde_json::Value;
use support::Done;
use support::Lab;
use support::import_args;
use support::replace;
use support::text;

const EMPTY: &str = r#"{"machines": []}"#;

/// A package whose descriptor has properties, sizes to choose from, and a licence.
fn described(lab: &Lab) -> PathBuf {
    let package = lab.package();
    replace(&package, "</References>", &format!("</References>{OPTIONS}"));
    replace(&package, "</VirtualHardwareSection>", &format!("</VirtualHardwareSection>{PRODUCT}"));
    forget_descriptor(&package);
    package
}

/// Takes the descriptor, which was edited, out of the manifest.
fn forget_descriptor(package: &Path) {
    let manifest = package.with_extension("mf");
    let all = fs::read_to_string(&manifest).unwrap();
    let kept = all.lines().filter(|line| !line.contains(".ovf"));
    fs::write(&manifest, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

fn import(lab: &Lab, package: &Path, more: &[&str]) -> Done {
    lab.run(&[&import_args(package, "web")[..], more].concat())
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect()
}

#[test]
fn everything_may_be_asked_for_at_once() {
    let lab = Lab::new(r#"{"machines": [], "guest_ip_after_ms": 200}"#);
    let package = described(&lab);
    let done = import(
        &lab,
        &package,
        &[
            "--accept-eulas",
            "--property",
            "net.hostname.1=shop",
            "--deployment-option",
            "large",
            "--ip-allocation",
            "fixedPolicy",
            "--ip-protocol",
            "IPv4",
            "--annotation",
            "for the shop",
            "--import-option",
            "lax",
            "--require-network",
            "--disk-mode",
            "thin",
            "--retry-uploads",
            "no",
            "--power-on",
            "--wait-for-ip=30",
        ],
    );
    done.expect(0, &[]);
    let after = &done.object("report")["after"];
    assert_eq!(after["is_powered_on"], true, "{after}");
    assert!(after["address"].is_string() && after.get("replaced").is_none(), "{after}");
    let steps = done.objects().into_iter().filter(|one| one["type"] == "after_import");
    let steps: Vec<_> = steps.map(|one| one["step"].clone()).collect();
    assert_eq!(steps, ["power_on", "check_network", "wait_for_ip"]);
    lab.expect_machines(1);
    assert!(lab.simulator.vms()[0].powered_on);
}

#[test]
fn licences_that_are_not_agreed_to_are_code_12() {
    let lab = Lab::new(EMPTY);
    let package = described(&lab);
    import(&lab, &package, &[]).expect(12, &["licence", "inspect -v", "--accept-eulas"]);
    let shown = lab.run(&["inspect", "-v", text(&package)]);
    shown.expect(0, &[]);
    assert!(shown.stdout.contains("Do as you please."), "{}", shown.stdout);
    assert_eq!(lab.simulator.leases().len(), 0);
    lab.expect_untouched();
}

#[test]
fn what_is_not_there_is_code_4_with_what_is() {
    let lab = Lab::new("{}");
    let package = described(&lab);
    for (option, value, words) in [
        ("--property", "net.hostnam.1=x", &["net.hostnam.1", "net.hostname.1"][..]),
        ("--deployment-option", "larg", &["larg", "large, small"]),
        ("--import-option", "lux", &["lux", "lax"]),
        ("--network", "VM Netwrk", &["VM Netwrk", "VM Network"]),
        ("--network", "VM Net=VM Network", &["VM Net", "VM Network"]),
        ("--network", "VM Network=Network:network-999", &["network-999"]),
    ] {
        let args = ["import", text(&package), "/DC0/host/Cluster0", "--accept-eulas"];
        let more = ["--datastore", "datastore0", option, value];
        lab.run(&[&args[..], &more].concat()).expect(4, words);
    }
    let args = ["import", text(&package), "/DC0/host/Cluster0", "--accept-eulas"];
    let more = ["--datastore", "datastore0", "--require-network"];
    lab.run(&[&args[..], &more].concat()).expect(4, &["VM Network"]);
    assert_eq!(lab.simulator.leases().len(), 0);
    lab.expect_untouched();
}

#[test]
fn two_answers_to_one_question_are_none() {
    let lab = Lab::new("{}");
    let package = described(&lab);
    let args = ["import", text(&package), "/DC0/host/Cluster0", "--accept-eulas", "--dry-run"];
    let args = [&args[..], &["--datastore", "datastore0"]].concat();
    for (more, words) in [
        (["--network=VM Network", "--network=DPG0"], "all networks"),
        (["--network=VM Network=VM Network", "--network=VM Network=DPG0"], "\"VM Network\""),
        (["--property=net.hostname.1=a", "--property=net.hostname.1=b"], "net.hostname.1"),
    ] {
        lab.run(&[&args[..], &more].concat()).expect(2, &["two things", words]);
    }
    let again = ["--network=VM Network", "--network=VM Network"];
    lab.run(&[&args[..], &again].concat()).expect(0, &[]);
    let both = ["--network=VM Network", "--network=VM Network=VM Network"];
    lab.run(&[&args[..], &both].concat()).expect(0, &[]);
}

#[test]
fn an_ambiguous_target_is_code_4_with_the_choice() {
    let lab = Lab::new("{}");
    let package = lab.package();
    // A cluster, and a host beside it.
    let args = ["import", text(&package), "/DC0", "--datastore", "datastore0"];
    lab.run(&args).expect(4, &["ambiguous", "/DC0/host/Cluster0"]);
    lab.expect_untouched();
}

#[test]
fn a_value_that_is_not_of_its_type_is_code_12() {
    let lab = Lab::new(EMPTY);
    let package = described(&lab);
    let long = format!("net.hostname.1={}", "x".repeat(40));
    let more = ["--accept-eulas", "--property", &long];
    import(&lab, &package, &more).expect(12, &["OvfPropertyValue"]);
    let more = ["--accept-eulas", "--property", "net.fixed.1=x"];
    import(&lab, &package, &more).expect(12, &["net.fixed.1", "userConfigurable"]);
    assert_eq!(lab.simulator.leases().len(), 0);
    lab.expect_untouched();
}

#[test]
fn a_full_datastore_is_code_13() {
    let scenario = r#"{"machines": [], "datastore_free": {"datastore0": "3MiB"}}"#;
    for mode in [&["--disk-mode", "thick"][..], &["--disk-mode", "thin"], &[]] {
        let lab = Lab::new(scenario);
        // Two disks with 4 and 2 MiB that cannot be compressed.
        let package = lab.package_of(&[4, 2]);
        import(&lab, &package, mode).expect(13, &["datastore0", "3.0 MiB is free"]);
        assert_eq!(lab.simulator.leases().len(), 0);
        lab.expect_untouched();
    }
    // What only the server knows: that its choice is thick.
    let lab = Lab::new(r#"{"machines": [], "datastore_free": {"datastore0": "10MiB"}}"#);
    let package = lab.package();
    import(&lab, &package, &[]).expect(13, &["NoDiskSpace", "datastore0"]);
    lab.expect_untouched();
}

#[test]
fn a_missing_privilege_is_code_3_and_named() {
    for privilege in ["VApp.Import", "Datastore.AllocateSpace", "Network.Assign"] {
        let scenario = format!(r#"{{"machines": [], "missing_privileges": ["{privilege}"]}}"#);
        let lab = Lab::new(&scenario);
        let package = lab.package();
        import(&lab, &package, &[]).expect(3, &[privilege]);
        assert_eq!(lab.simulator.leases().len(), 0);
        lab.expect_untouched();
    }
    let privilege = "VirtualMachine.Interact.PowerOn";
    let lab = Lab::new(&format!(r#"{{"machines": [], "missing_privileges": ["{privilege}"]}}"#));
    let package = lab.package();
    import(&lab, &package, &["--power-on"]).expect(3, &[privilege]);
    lab.expect_untouched();
    import(&lab, &package, &[]).expect(0, &[]);
}

#[test]
fn a_host_that_is_not_reached_is_code_9_and_named() {
    let hosts = r#"[{"name": "host0", "unreachable": true}]"#;
    let lab = Lab::new(&format!(r#"{{"machines": [], "hosts": {hosts}}}"#));
    let package = lab.package();
    let done = import(&lab, &package, &[]);
    done.expect(9, &["the host 127.0.0.1:1", "hint", "ESXi hosts directly"]);
    assert!(!done.objects().iter().any(|one| one["type"] == "file_start"));
    lab.expect_untouched();
}

#[test]
fn a_host_with_another_certificate_is_code_5_and_gets_nothing() {
    let hosts = r#"[{"name": "host0", "thumbprint": "wrong"}]"#;
    let lab = Lab::new(&format!(r#"{{"machines": [], "hosts": {hosts}}}"#));
    let package = lab.package();
    let host = lab.simulator.hosts()[0].authority.clone();
    import(&lab, &package, &[]).expect(5, &["the host", &host, "reconnect"]);
    lab.expect_untouched();
    for lease in lab.simulator.leases() {
        assert_eq!(lease.moved_bytes, 0);
    }
}

#[test]
fn a_host_in_maintenance_is_code_9() {
    let hosts = r#"[{"name": "host0", "condition": "maintenance"}, {"name": "host1"}]"#;
    let lab = Lab::new(&format!(r#"{{"machines": [], "hosts": {hosts}}}"#));
    let package = lab.package();
    import(&lab, &package, &["--host", "host0"]).expect(9, &["host0", "maintenance"]);
    assert_eq!(lab.simulator.leases().len(), 0);
    import(&lab, &package, &["--host", "host1"]).expect(0, &[]);
}

#[test]
fn an_old_machine_is_replaced_when_the_new_one_is_there() {
    let lab = Lab::new("{}");
    let machines = lab.simulator.vms().len();
    let package = lab.package();
    let args = import_args(&package, "small");
    lab.run(&args).expect(12, &["small", "exists", "--overwrite"]);
    let before = lab.digests("small");
    let done = lab.run(&[&args[..], &["--overwrite"]].concat());
    done.expect(0, &[]);
    assert!(done.object("report")["after"]["replaced"].is_string());
    assert_ne!(lab.digests("small"), before);
    lab.expect_machines(machines);
    // One that runs is not.
    let running =
        lab.simulator.vms().into_iter().find(|vm| vm.powered_on && vm.folder == "/DC0/vm");
    let running = running.unwrap().name;
    let args = import_args(&package, &running);
    lab.run(&[&args[..], &["--overwrite"]].concat()).expect(12, &[&running, "not powered off"]);
    lab.expect_machines(machines);
}

#[test]
fn a_guest_without_an_address_is_code_9_and_the_machine_stays() {
    let lab = Lab::new(r#"{"machines": [], "guest_ip_after_ms": null}"#);
    let package = lab.package();
    let done = import(&lab, &package, &["--power-on", "--wait-for-ip=1"]);
    done.expect(9, &["web (VirtualMachine:", "is imported and complete", "VMware Tools"]);
    lab.expect_machines(1);
}

#[test]
fn a_template_and_a_reference_for_the_target() {
    let lab = Lab::new(EMPTY);
    let package = lab.package();
    let host = lab.simulator.url().strip_prefix("https://").unwrap().to_owned();
    let run = |reference: &str, more: &[&str]| {
        let target = format!("vi://{host}/?moref={reference}");
        let args = ["import", text(&package), &target, "--datastore", "pod0"];
        lab.run(&[&args[..], more].concat())
    };
    run("domain-c7", &["--folder", "a"]).expect(2, &["full path"]);
    let done = run("domain-c7", &["--folder", "/DC0/vm", "--template", "--name", "a"]);
    done.expect(0, &[]);
    assert!(
        done.stdout.contains("a: imported as") && done.stdout.contains("a template"),
        "{done:?}"
    );
    run("resgroup-8", &["--folder", "Folder:group-v3", "--name", "b"]).expect(0, &[]);
    run("domain-c999", &[]).expect(4, &["domain-c999"]);
    lab.expect_machines(2);
}

#[test]
fn a_dry_run_shows_what_was_found_and_ends_with_its_code() {
    let lab = Lab::new(r#"{"datastore_free": {"datastore0": "3MiB"}}"#);
    let package = lab.package_of(&[4, 2]);
    let args = import_args(&package, "small");
    let done = lab.run(&[&args[..], &["--dry-run"]].concat());
    done.expect(12, &["small", "exists", "datastore0"]);
    let plan = done.object("plan");
    let findings = plan["findings"].as_array().unwrap();
    let of = |check: &str| findings.iter().find(|one| one["check"] == check).unwrap();
    assert_eq!(
        (&of("name")["severity"], &of("name")["subject"]),
        (&"error".into(), &"small".into())
    );
    assert_eq!(of("space")["subject"], "datastore0");
    assert!(of("space")["advice"].is_string());
    assert_eq!(plan["datastore"], "datastore0");
    assert_eq!(strings(&plan["warnings"]), Vec::<&str>::new());
    assert!(plan["text"].as_str().unwrap().contains("error: small: exists"), "{plan}");
    assert_eq!(lab.simulator.leases().len(), 0);
    lab.expect_untouched();
    // Without anything that stops it: code 0.
    let plain =
        ["import", text(&package), "/DC0/host/Cluster0", "--datastore", "pod0", "--dry-run"];
    let done = lab.run(&plain);
    done.expect(0, &[]);
    assert!(done.stdout.contains("note: datastore"), "{}", done.stdout);
    lab.expect_untouched();
}

const OPTIONS: &str = r#"
  <DeploymentOptionSection><Info>Sizes</Info>
    <Configuration ovf:id="small" ovf:default="true"><Label>Small</Label><Description>s</Description></Configuration>
    <Configuration ovf:id="large"><Label>Large</Label><Description>l</Description></Configuration>
  </DeploymentOptionSection>"#;

const PRODUCT: &str = r#"
  <ProductSection ovf:class="net" ovf:instance="1"><Info>About</Info><Product>Shop</Product>
    <Property ovf:key="hostname" ovf:type="string" ovf:userConfigurable="true" ovf:qualifiers="MaxLen(20)" ovf:value="tiny"/>
    <Property ovf:key="fixed" ovf:type="string" ovf:userConfigurable="false" ovf:value="f"/>
  </ProductSection>
  <EulaSection><Info>Terms</Info><License>Do as you please.</License></EulaSection>"#;

/// A switch of which one portgroup is for the machine `web`, whose port is contended for.
const CONTENDED: &str = r#"{"machines": [], "switches": [{"name": "DVS0",
    "portgroups": [{"name": "DPG0", "vlan": 7}, {"name": "full", "ports": 0}],
    "quirks": [{"machine": "web", "conflict": true}]}]}"#;

/// Arguments of an import of `package` onto the portgroup `network`.
fn onto<'a>(package: &'a Path, name: &'a str, network: &'a str) -> [&'a str; 9] {
    let [import, package, target, ..] = import_args(package, name);
    let datastore = "datastore0";
    [import, package, target, "--name", name, "--datastore", datastore, "--network", network]
}

#[test]
fn a_bad_port_is_a_warning_or_code_12_and_leaves_nothing() {
    let lab = Lab::new(CONTENDED);
    let package = lab.package();
    let bad = lab.run(&[&onto(&package, "web", "DPG0")[..], &["--require-network"]].concat());
    let words = ["web: Network adapter 1 (DVS0/DPG0, port 0)", "contends for the port", "hint: "];
    bad.expect(12, &words);
    lab.expect_untouched();
    let told = lab.run(&onto(&package, "web", "DVS0/DPG0"));
    told.expect(0, &["warning: web: Network adapter 1 (DVS0/DPG0, port 0)"]);
    assert!(told.stdout.contains("DVS0/DPG0, port 0"), "{}", told.stdout);
    // A machine without such a port.
    let more = ["--require-network", "--power-on", "--json"];
    let good = lab.run(&[&onto(&package, "other", "DPG0")[..], &more].concat());
    good.expect(0, &[]);
    let network = &good.object("report")["network"][0];
    assert_eq!((&network["name"], &network["powerState"]), (&"other".into(), &"poweredOn".into()));
    let card = &network["cards"][0];
    assert_eq!((&card["switch"], &card["portgroup"]), (&"DVS0".into(), &"DPG0".into()));
    assert_eq!((&card["vlan_ids"][0]["start"], &card["link_up"]), (&7.into(), &true.into()));
    let checks = card["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 10);
    assert!(checks.iter().all(|check| check["verdict"] == "good"), "{checks:?}");
    lab.expect_machines(2);
}

#[test]
fn too_few_ports_are_code_13_before_anything_is_made() {
    let lab = Lab::new(CONTENDED);
    let package = lab.package();
    let words = ["full: has no port free, but 1 card is to be on it"];
    lab.run(&onto(&package, "web", "full")).expect(13, &words);
    lab.run(&onto(&package, "web", "DVS0-DVUplinks")).expect(12, &["for the uplinks of DVS0"]);
    assert_eq!(lab.simulator.leases().len(), 0);
    let plan = lab.run(&[&onto(&package, "web", "DPG0")[..], &["--dry-run"]].concat());
    plan.expect(0, &[]);
    assert!(plan.stdout.contains("early binding, 8 ports free"), "{}", plan.stdout);
    lab.expect_untouched();
}

#[test]
fn a_card_comes_to_the_port_of_the_command_line() {
    let lab = Lab::new(CONTENDED);
    let package = lab.package();
    let port = |nic| [&onto(&package, "other", "DPG0")[..], &["--port", nic]].concat();
    lab.run(&port("1")).expect(2, &["NIC=KEY"]);
    lab.run(&port("1=99")).expect(4, &["no port 99"]);
    lab.run(&port("9=3")).expect(4, &["network card \"9\""]);
    lab.expect_untouched();
    let done = lab.run(&[&port("Network adapter 1=3")[..], &["--json"]].concat());
    done.expect(0, &[]);
    assert_eq!(done.object("after_import")["step"], "connect_port");
    let card = &done.object("report")["network"][0]["cards"][0];
    assert_eq!((&card["key"], &card["conflict"]), (&"3".into(), &false.into()));
    // It is taken now.
    let again = [&onto(&package, "more", "DPG0")[..], &["--port", "1=3"]].concat();
    lab.run(&again).expect(12, &["the port 3 of DPG0 is taken"]);
    lab.expect_machines(1);
}
