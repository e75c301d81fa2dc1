//! `net`: ports as tables and objects, cards that change their port, failover of DPUs.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails panics")]

use serde_json::Value;
use serde_json::json;

mod support;

use support::Done;
use support::Lab;

const WIRES: [&str; 2] = ["json", "soap"];

const HOST: &str = "/DC0/host/Cluster0/host0";

fn lab() -> Lab {
    Lab::new(
        r#"{"hosts": [{"name": "host0"}, {"name": "host1"}],
            "machines": [
                {"name": "runs", "powered_on": true, "networks": ["early", "on the fly"]},
                {"name": "rests", "networks": ["early", "on the fly", "VM Network"]}],
            "switches": [
                {"name": "DVS0",
                 "portgroups": [
                    {"name": "early", "ports": 4, "vlan": 42, "vmkernel": true, "host_local": true},
                    {"name": "on the fly", "kind": "ephemeral"}],
                 "offload": {"dpus": ["dpu0", "dpu1"], "standby": ["Uplink 2"]},
                 "quirks": [{"machine": "runs", "nic": 0, "conflict": true}]},
                {"name": "DVS1", "portgroups": [{"name": "early on"}]}]}"#,
    )
}

/// The cells of a row that begins with `key`.
fn row<'t>(done: &'t Done, key: &str) -> Vec<&'t str> {
    let mut rows = done.stdout.lines().map(|line| line.split("  ").collect::<Vec<_>>());
    let row = rows.find(|cells| cells[0].trim() == key);
    let row = row.unwrap_or_else(|| panic!("{key} in {}", done.stdout));
    row.into_iter().map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn ports_are_a_table_and_objects() {
    let lab = lab();
    for wire in WIRES {
        let run =
            |args: &[&str]| lab.run(&[&["net", "ports"][..], args, &["--wire", wire]].concat());
        let done = run(&["/DC0", "--switch", "DVS0"]);
        done.expect(0, &["13 ports, 3 in conflict"]);
        let first = done.stdout.lines().next().unwrap();
        let headings: Vec<&str> = first.split_whitespace().collect();
        assert_eq!(headings[..4], ["KEY", "PORTGROUP", "CONNECTED", "NIC"]);
        let mine = row(&done, "0");
        assert_eq!(mine[1..5], ["DVS0/early", "runs", "4000", "host0"]);
        assert_eq!((mine[5], mine[6], mine[8], mine[11]), ("up", "no", "42", "no"));
        assert!(mine[7].starts_with("with ") && mine[9].starts_with("00:50:56"), "{mine:?}");
        assert!(mine[10].parse::<i32>().is_ok() && mine[12].contains('T'), "{mine:?}");
        let free = row(&done, "2");
        assert_eq!(free[1..9], ["DVS0/early", "-", "-", "-", "-", "no", "no", "42"]);
        let local = row(&done, "h-1");
        assert_eq!((local[2], local[3], local[11]), ("host0", "vmk0", "yes"));
        // Every line is as wide as the columns: the columns begin at the same places.
        let at = first.find("PORTGROUP").unwrap();
        assert!(
            done.stdout.lines().all(|line| line.is_char_boundary(at) && &line[at - 2..at] == "  ")
        );

        let done = run(&["/DC0/vm/rests", "--json"]);
        done.expect(0, &["1 port, 0 in conflict", "Network adapter 2", "Network adapter 3"]);
        let port = done.object("port");
        assert_eq!(port["connectee"]["name"], "rests");
        assert_eq!(port["connectee"]["nic_label"], "Network adapter 1");
        assert_eq!(port["is_free"], false);
        assert_eq!(port["config"]["setting"]["vlan"], json!({ "id": 42, "inherited": true }));
        let teaming = &port["config"]["setting"]["uplink_teaming_policy"];
        assert_eq!(teaming["standby_uplinks"], json!(["Uplink 2"]));
        assert_eq!(teaming["failure_criteria"]["check_beacon"]["value"], false);
        assert_eq!(port["state"]["statistics"]["bytes_in_unicast"], 0);
        assert_eq!(done.object("report")["ports"], 1);

        let done = run(&["/", "--portgroup", "DVS1/early on", "--refresh"]);
        done.expect(0, &["8 ports"]);
        assert_eq!(done.stdout.lines().count(), 9);
        let done = run(&["/DC0", "--conflicts", "--json"]);
        let keys: Vec<Value> = done.objects().iter().map(|port| port["key"].clone()).collect();
        assert_eq!(keys, [json!("0"), json!("h-1"), json!("h-2"), Value::Null]);
        run(&["/DC0", "--portgroup", "early o"]).expect(4, &["DVS1/early on"]);
        run(&["/DC0", "--vm", "nobody"]).expect(4, &["rests"]);
    }
    lab.expect_untouched();
}

#[test]
fn a_card_goes_where_it_is_told() {
    let lab = lab();
    let connect = |args: &[&str]| lab.run(&[&["net", "connect"][..], args].concat());
    for (wire, port) in WIRES.into_iter().zip(["2", "3"]) {
        let args = ["/DC0/vm/rests", "--nic", "1", "--port", port, "--wire", wire, "--json"];
        let done = connect(&args);
        done.expect(0, &[]);
        let report = done.object("report");
        assert_eq!((&report["after"]["key"], &report["name"]), (&json!(port), &json!("rests")));
        assert_eq!(report["after"]["connectee"]["nic_key"], "4000");
        assert_eq!(report["before"]["mac_address"], report["after"]["mac_address"]);
        let verdict = |aspect: &str| {
            let checks = report["after"]["checks"].as_array().unwrap();
            checks.iter().find(|check| check["aspect"] == aspect).unwrap()["verdict"].clone()
        };
        assert_eq!((verdict("connectee"), verdict("cookie")), (json!("good"), json!("good")));
    }
    // From a standard switch, and onto one of the switch that it comes to.
    let args = ["/DC0/vm/rests", "--nic", "3", "--portgroup", "DVS1/early on"];
    let done = connect(&args);
    done.expect(0, &[]);
    assert!(done.stdout.contains("from VM Network"), "{}", done.stdout);
    assert!(done.stdout.contains("to DVS1/early on, port "), "{}", done.stdout);
    for (args, code, words) in [
        (["/DC0/vm/rests", "--nic", "9", "--port", "2"], 4, "Network adapter 1"),
        (["/DC0/vm/rests", "--nic", "1", "--port", "4711"], 4, "4711"),
        (["/DC0/vm/rests", "--nic", "1", "--port", "0"], 12, "taken"),
        (["/DC0/vm/rests", "--nic", "1", "--portgroup", "DVS0-DVUplinks"], 12, "uplinks"),
        (["/DC0/vm/rests", "--nic", "2", "--port", "h-1"], 12, "made by a host"),
        // The machine's cards come to ports in conflict.
        (["/DC0/vm/runs", "--nic", "1", "--port", "2"], 12, "conflict"),
    ] {
        connect(&args).expect(code, &[words]);
    }
    let ports = lab.run(&["net", "ports", "/DC0/network/on the fly", "--json"]);
    let key = ports.object("port")["key"].as_str().unwrap().to_owned();
    let args = ["/DC0/vm/rests", "--nic", "2", "--port", &key, "--portgroup", "on the fly"];
    connect(&args).expect(12, &["cannot be chosen"]);
    lab.expect_untouched();
}

#[test]
fn a_failover_is_planned_confirmed_and_shown() {
    let lab = lab();
    let failover = |args: &[&str]| {
        lab.run(&[&["net", "dpu-failover", HOST, "--dvs", "DVS0"][..], args].concat())
    };
    failover(&[]).expect(2, &["--dry-run", "--yes"]);
    for wire in WIRES {
        let done = failover(&["--dry-run", "--wire", wire]);
        done.expect(0, &[]);
        for words in ["active DPU: dpu0", "standby DPU: dpu1", "to take over: the server's choice"]
        {
            assert!(done.stdout.contains(words), "{words} in {}", done.stdout);
        }
        let target = ["dpu1", "dpu0"];
        for (target, states) in
            target.into_iter().zip([["standby", "active"], ["active", "standby"]])
        {
            let args = ["--yes", "--target-dpu", target, "--json", "--wire", wire];
            let done = failover(&args);
            done.expect(0, &[]);
            let report = done.object("report");
            assert_eq!(report["is_confirmed"], true);
            let after: Vec<_> = report["after"].as_array().unwrap().iter().collect();
            assert_eq!([&after[0]["state"], &after[1]["state"]], states);
            assert_eq!(
                (&after[1]["pnic"], &after[1]["dpu_id"]),
                (&json!("vmnic1"), &json!("dpu1"))
            );
            assert_eq!(
                done.object("plan")["entity"].as_str().unwrap().split(':').next(),
                Some("HostSystem")
            );
        }
    }
    let done = failover(&["--yes", "--target-dpu", "dpu0"]);
    done.expect(12, &["in use already"]);
    let done = failover(&["--yes", "--target-dpu", "dpu9"]);
    done.expect(12, &["dpu9 is not there", "targetDpuAlias"]);
    let done = failover(&["--yes"]);
    done.expect(0, &[]);
    assert!(done.stdout.contains("before:") && done.stdout.contains("after "), "{}", done.stdout);

    let plain = |args: &[&str]| lab.run(&[&["net", "dpu-failover"][..], args, &["--yes"]].concat());
    plain(&[HOST, "--dvs", "DVS1"]).expect(12, &["not offloaded"]);
    plain(&[HOST, "--dvs", "DVS2"]).expect(4, &["DVS0, DVS1"]);
    plain(&["/DC0/host/Cluster0/host7", "--dvs", "DVS0"]).expect(4, &["host0"]);
    lab.expect_untouched();

    let old = Lab::new(r#"{"api_version": "8.0.2.0"}"#);
    let done = old.run(&["net", "dpu-failover", HOST, "--dvs", "DVS0", "--yes"]);
    done.expect(12, &["8.0.3.0 is needed"]);
    let poor = Lab::new(
        r#"{"missing_privileges": ["Host.Config.Network"],
        "switches": [{"offload": {"dpus": ["a", "b"], "standby": ["Uplink 2"]}}]}"#,
    );
    let done = poor.run(&["net", "dpu-failover", HOST, "--dvs", "DVS0", "--yes"]);
    done.expect(3, &["Host.Config.Network"]);
}
