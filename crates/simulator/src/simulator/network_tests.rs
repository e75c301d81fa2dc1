//! Distributed switches: ports that come and go, what can be asked of them, failover of DPUs.

use serde_json::{Value, json};

use super::tests::{Bench, scenario, settle, spec_text};
use super::{Scenario, lock};
use crate::scenario::{Machine, Offload, PortQuirk, PortgroupKind, PortgroupSpec, SwitchSpec};

fn with_switch() -> Scenario {
    let mut switch = SwitchSpec::new("DVS0");
    let mut early = PortgroupSpec::new("early", PortgroupKind::EarlyBinding);
    early.ports = 3;
    early.vlan = 42;
    early.vmkernel = true;
    switch.portgroups = vec![early, PortgroupSpec::new("on the fly", PortgroupKind::Ephemeral)];
    let mut scenario = scenario();
    scenario.switches = vec![switch];
    scenario.hosts.truncate(2);
    let mut machine = Machine::new("two cards");
    machine.networks = vec!["early".to_owned(), "on the fly".to_owned()];
    scenario.machines.push(machine);
    scenario
}

fn with_offload(standby: &[&str]) -> Scenario {
    let mut scenario = with_switch();
    let offload = Offload {
        dpus: vec!["dpu0".to_owned(), "dpu1".to_owned()],
        standby: standby.iter().map(|name| (*name).to_owned()).collect(),
        ..Offload::default()
    };
    scenario.switches[0].offload = Some(offload);
    scenario
}

impl Bench {
    fn switch(&self) -> (String, String) {
        let world = lock(&self.vcenter.world);
        let switch = &world.switches[0];
        (format!("VmwareDistributedVirtualSwitch:{}", switch.moref.id), switch.uuid.clone())
    }

    fn portgroup(&self, name: &str) -> String {
        let world = lock(&self.vcenter.world);
        let group = world.switches[0].portgroups.iter().find(|group| group.name == name);
        group.unwrap().moref.id.clone()
    }

    async fn ports(&self, criteria: &str) -> Vec<Value> {
        let criteria = format!("<criteria>{criteria}</criteria>");
        let ports = self.ok(&self.switch().0, "FetchDVPorts", &criteria).await;
        ports.as_array().cloned().unwrap_or_default()
    }

    async fn inside(&self, group: &str, more: &str) -> Vec<Value> {
        let group = self.portgroup(group);
        self.ports(&format!("{more}<portgroupKey>{group}</portgroupKey><inside>true</inside>"))
            .await
    }

    /// The cards of a machine.
    async fn cards(&self, name: &str) -> Vec<Value> {
        let devices = self.get(&self.vm(name), "config.hardware.device").await;
        let all = devices.as_array().unwrap().iter();
        all.filter(|device| !device["macAddress"].is_null()).cloned().collect()
    }

    /// The network system of the first host.
    async fn network_system(&self) -> String {
        let host = self.get("ClusterComputeResource:domain-c7", "host").await[0].clone();
        let host = format!("HostSystem:{}", host["value"].as_str().unwrap());
        let system = self.get(&host, "configManager.networkSystem").await;
        format!("HostNetworkSystem:{}", system["value"].as_str().unwrap())
    }

    /// Puts a card on a port and says how the task ended.
    async fn connect(&self, name: &str, card: &Value, group: &str, port: Option<&str>) -> Value {
        let port = port.map(|key| format!("<portKey>{key}</portKey>")).unwrap_or_default();
        let spec = format!(
            "<spec><deviceChange><operation>edit</operation><device xsi:type='{}'><key>{}</key>\
             <backing xsi:type='VirtualEthernetCardDistributedVirtualPortBackingInfo'><port>\
             <switchUuid>{}</switchUuid><portgroupKey>{}</portgroupKey>{port}\
             <connectionCookie>7</connectionCookie></port></backing></device></deviceChange></spec>",
            card["_typeName"].as_str().unwrap(),
            card["key"],
            self.switch().1,
            self.portgroup(group),
        );
        let task = self.ok(&self.vm(name), "ReconfigVM_Task", &spec).await;
        self.get(&format!("Task:{}", task["value"].as_str().unwrap()), "info").await
    }
}

#[tokio::test(start_paused = true)]
async fn a_card_has_its_port_from_the_start_or_while_it_runs() {
    let bench = Bench::new(with_switch()).await;
    let (_, uuid) = bench.switch();
    let cards = bench.cards("two cards").await;
    let port = &cards[0]["backing"]["port"];
    assert_eq!(port["switchUuid"], uuid.as_str());
    assert_eq!(port["portgroupKey"], bench.portgroup("early").as_str());
    let key = port["portKey"].as_str().unwrap();
    assert!(cards[1]["backing"]["port"]["portKey"].is_null());
    assert!(bench.inside("on the fly", "").await.is_empty());

    let found = bench.ports(&format!("<portKey>{key}</portKey>")).await;
    let [found] = found.as_slice() else { panic!("{found:?}") };
    let vm = bench.vm("two cards");
    assert_eq!(found["connectee"]["connectedEntity"]["value"], vm.split_once(':').unwrap().1);
    assert_eq!(found["connectee"]["nicKey"], cards[0]["key"].to_string());
    assert_eq!(found["connectee"]["type"], "vmVnic");
    assert_eq!(found["connectionCookie"], port["connectionCookie"]);
    assert_eq!((&found["conflict"], &found["hostLocalPort"]), (&json!(false), &json!(false)));
    assert_eq!(found["dvsUuid"], uuid.as_str());
    // It does not run yet: there are counters, but no state.
    assert!(found["state"].get("runtimeInfo").is_none());
    assert_eq!(found["state"]["stats"]["packetsInUnicast"], 0);

    bench.ok(&vm, "PowerOnVM_Task", "").await;
    let found = bench.ports(&format!("<portKey>{key}</portKey>")).await[0].clone();
    let runtime = &found["state"]["runtimeInfo"];
    assert_eq!((&runtime["linkUp"], &runtime["blocked"]), (&json!(true), &json!(false)));
    assert_eq!(runtime["vlanIds"][0], json!({"_typeName": "NumericRange", "start": 42, "end": 42}));
    assert_eq!(runtime["macAddress"], cards[0]["macAddress"]);
    let fresh = bench.inside("on the fly", "").await;
    assert_eq!(fresh.len(), 1);
    let cards = bench.cards("two cards").await;
    assert_eq!(cards[1]["backing"]["port"]["portKey"], fresh[0]["key"]);
    assert_eq!(cards[0]["backing"]["port"]["portKey"], key);
    let group = format!("DistributedVirtualPortgroup:{}", bench.portgroup("on the fly"));
    assert_eq!(bench.get(&group, "portKeys").await, json!([fresh[0]["key"]]));
    assert_eq!(bench.get(&group, "vm").await[0]["type"], "VirtualMachine");

    bench.ok(&vm, "PowerOffVM_Task", "").await;
    assert!(bench.inside("on the fly", "").await.is_empty());
    assert!(bench.cards("two cards").await[1]["backing"]["port"]["portKey"].is_null());
    bench.ok(&vm, "Destroy_Task", "").await;
    let early = bench.inside("early", "").await;
    assert!(early.iter().all(|port| port["connectee"]["type"] != "vmVnic"), "{early:?}");
}

#[tokio::test(start_paused = true)]
async fn every_criterion_chooses() {
    let bench = Bench::new(with_switch()).await;
    let (switch, uuid) = bench.switch();
    let all = bench.ports("").await;
    // Three and one for the vmk0 of each of two hosts, and two uplinks of each.
    assert_eq!(all.len(), 3 + 2 + 4);
    let keys = bench.ok(&switch, "FetchDVPortKeys", "").await;
    assert_eq!(keys.as_array().unwrap().len(), all.len());
    assert_eq!(bench.ports("<connected>true</connected>").await.len(), 7);
    assert_eq!(bench.ports("<connected>false</connected>").await.len(), 2);
    assert_eq!(bench.ports("<active>true</active>").await.len(), 6);
    let uplinks = bench.ports("<uplinkPort>true</uplinkPort>").await;
    assert_eq!(uplinks.len(), 4);
    assert_eq!(uplinks[1]["connectee"]["nicKey"], "vmnic1");
    assert!(bench.ports("<nsxPort>true</nsxPort>").await.is_empty());
    let early = bench.portgroup("early");
    let group = format!("<portgroupKey>{early}</portgroupKey>");
    assert_eq!(bench.ports(&group).await.len(), all.len(), "ignored without inside");
    assert_eq!(bench.ports(&format!("{group}<inside>true</inside>")).await.len(), 5);
    assert_eq!(bench.ports(&format!("{group}<inside>false</inside>")).await.len(), 4);
    let host = uplinks[0]["proxyHost"]["value"].as_str().unwrap();
    let on_host = bench.ports(&format!("<host type='HostSystem'>{host}</host>")).await;
    assert_eq!(on_host.len(), 2 + 1 + 1, "uplinks, vmk0 and the machine");

    let manager = bench.get("ServiceInstance:ServiceInstance", "content.dvSwitchManager").await;
    let manager =
        format!("{}:{}", manager["type"].as_str().unwrap(), manager["value"].as_str().unwrap());
    let found = bench.ok(&manager, "QueryDvsByUuid", &format!("<uuid>{uuid}</uuid>")).await;
    assert_eq!(found["type"], "VmwareDistributedVirtualSwitch");
    assert_eq!(bench.fault(&manager, "QueryDvsByUuid", "<uuid>x</uuid>").await, "NotFound");
    let wrong = "<portKeys>4711</portKeys>";
    assert_eq!(bench.fault(&switch, "RefreshDVPortState", wrong).await, "NotFound");
    let group = format!("DistributedVirtualPortgroup:{early}");
    let config = bench.get(&group, "config").await;
    assert_eq!(config["type"], "earlyBinding");
    assert_eq!((&config["numPorts"], &config["uplink"]), (&json!(5), &json!(false)));
    assert_eq!(config["distributedVirtualSwitch"]["value"], switch.split_once(':').unwrap().1);
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_port_can_lag_and_a_port_can_be_bad() {
    let mut scenario = with_switch();
    scenario.switches[0].state_lags = true;
    let quirk = PortQuirk {
        machine: Some("two cards".to_owned()),
        nic: Some(0),
        conflict: true,
        host_local: true,
        blocked: true,
        wrong_cookie: true,
        ..PortQuirk::default()
    };
    scenario.switches[0].quirks = vec![quirk];
    let bench = Bench::new(scenario).await;
    bench.ok(&bench.vm("two cards"), "PowerOnVM_Task", "").await;
    let card = bench.cards("two cards").await[0].clone();
    let key = card["backing"]["port"]["portKey"].as_str().unwrap().to_owned();
    let criteria = format!("<portKey>{key}</portKey>");
    let port = bench.ports(&criteria).await[0].clone();
    assert!(port["state"].get("runtimeInfo").is_none());
    assert_eq!((&port["conflict"], &port["hostLocalPort"]), (&json!(true), &json!(true)));
    assert!(port["conflictPortKey"].is_string());
    assert_ne!(port["connectionCookie"], card["backing"]["port"]["connectionCookie"]);
    bench.ok(&bench.switch().0, "RefreshDVPortState", &format!("<portKeys>{key}</portKeys>")).await;
    let port = bench.ports(&criteria).await[0].clone();
    assert_eq!(port["state"]["runtimeInfo"]["blocked"], true);
}

#[tokio::test(start_paused = true)]
async fn a_card_moves_to_the_port_that_was_chosen() {
    let bench = Bench::new(with_switch()).await;
    let card = bench.cards("small").await[0].clone();
    let free = bench.inside("early", "<connected>false</connected>").await;
    let [free, other] = [0, 1].map(|index| free[index]["key"].as_str().unwrap().to_owned());
    let info = bench.connect("small", &card, "early", Some(&free)).await;
    assert_eq!(info["state"], "success", "{info}");
    let moved = bench.cards("small").await[0].clone();
    assert_eq!(moved["backing"]["port"]["portKey"], free.as_str());
    assert_ne!(moved["backing"]["port"]["connectionCookie"], 7);
    for field in ["macAddress", "key", "connectable", "unitNumber", "deviceInfo"] {
        assert_eq!(moved[field], card[field], "{field}");
    }
    // Back again frees the port; a taken one, an unknown one and an uplink are refused.
    let taken = bench.cards("two cards").await[0]["backing"]["port"]["portKey"].clone();
    let info = bench.connect("small", &moved, "early", taken.as_str()).await;
    assert_eq!(info["error"]["fault"]["_typeName"], "ResourceInUse", "{info}");
    let info = bench.connect("small", &moved, "early", Some("4711")).await;
    assert_eq!(info["error"]["fault"]["_typeName"], "InvalidArgument");
    let info = bench.connect("small", &moved, "DVS0-DVUplinks", None).await;
    assert_eq!(info["error"]["fault"]["_typeName"], "InvalidArgument");
    let still = bench.cards("small").await[0]["backing"]["port"]["portKey"].clone();
    assert_eq!(still, free.as_str());
    let info = bench.connect("small", &moved, "early", Some(&other)).await;
    assert_eq!(info["state"], "success", "{info}");
    let left = bench.inside("early", "<connected>false</connected>").await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["key"], free.as_str());
    let networks = bench.get(&bench.vm("small"), "network").await;
    assert_eq!(networks[0]["type"], "DistributedVirtualPortgroup");

    let vm = bench.vm("small");
    let more = "<spec><firmware>efi</firmware></spec>";
    assert_eq!(bench.fault(&vm, "ReconfigVM_Task", more).await, "NotSupported");
}

#[tokio::test(start_paused = true)]
async fn an_import_gets_its_port_or_fails_for_want_of_one() {
    let mut scenario = with_switch();
    scenario.switches[0].portgroups[0].ports = 2;
    let bench = Bench::new(scenario).await;
    let mapping = format!(
        "<networkMapping><name>VM Network</name>\
         <network type='DistributedVirtualPortgroup'>{}</network></networkMapping>",
        bench.portgroup("early")
    );
    for (name, is_taken) in [("first", true), ("second", false)] {
        let result = bench.import_spec(name, &mapping).await;
        assert!(result.get("error").is_none(), "{result}");
        let parameters = format!("{}<folder type='Folder'>group-v3</folder>", spec_text(&result));
        let lease = bench.ok("ResourcePool:resgroup-8", "ImportVApp", &parameters).await;
        settle().await;
        let lease = format!("HttpNfcLease:{}", lease["value"].as_str().unwrap());
        if is_taken {
            assert_eq!(bench.get(&lease, "state").await, "ready");
            let port = bench.cards(name).await[0]["backing"]["port"].clone();
            assert!(port["portKey"].is_string(), "{port}");
            bench.ok(&lease, "HttpNfcLeaseComplete", "").await;
        } else {
            let fault = bench.lease().fault.unwrap();
            assert_eq!(fault.kind, "InsufficientResourcesFault");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_dpu_takes_over_once_and_only_where_it_can() {
    let bench = Bench::new(with_offload(&["Uplink 2"])).await;
    let system = bench.network_system().await;
    let pnics = bench.get(&system, "networkInfo.pnic").await;
    assert_eq!((&pnics[0]["dpuId"], &pnics[1]["dpuId"]), (&json!("dpu0"), &json!("dpu1")));
    let states = async || {
        let proxies = bench.get(&system, "networkInfo.proxySwitch").await;
        let all = proxies[0]["hostUplinkState"].as_array().cloned().unwrap();
        all.iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let config = bench.get(&bench.switch().0, "config").await;
    assert_eq!(config["networkOffloadConfig"]["dpuFailoverPolicy"]["standbyUplink"][0], "Uplink 2");
    assert_eq!(states().await, ["active", "standby"]);
    let refused = async |parameters: &str| {
        let fault = bench.call(&system, "startDpuFailover", parameters).await.unwrap_err();
        let detail = fault.localized()["fault"].clone();
        (fault.kind().to_owned(), detail["invalidProperty"].as_str().unwrap().to_owned())
    };
    let argument = |name: &str| ("InvalidArgument".to_owned(), name.to_owned());
    assert_eq!(refused("<dvsName>DVS1</dvsName>").await, argument("dvsName"));
    let active = "<dvsName>DVS0</dvsName><targetDpuAlias>dpu0</targetDpuAlias>";
    assert_eq!(refused(active).await, argument("targetDpuAlias"));
    bench.ok(&system, "startDpuFailover", "<dvsName>DVS0</dvsName>").await;
    assert_eq!(states().await, ["standby", "active"]);
    // Back by name.
    bench.ok(&system, "startDpuFailover", active).await;
    assert_eq!(states().await, ["active", "standby"]);

    let without = |scenario: Scenario| async {
        let bench = Bench::new(scenario).await;
        let parameters = "<dvsName>DVS0</dvsName>";
        bench.call(&system, "startDpuFailover", parameters).await.unwrap_err().kind().to_owned()
    };
    assert_eq!(without(with_switch()).await, "InvalidArgument");
    assert_eq!(without(with_offload(&[])).await, "InvalidArgument");
    let mut failed = with_offload(&["Uplink 2"]);
    failed.switches[0].offload.as_mut().unwrap().failed_dpus = vec!["dpu1".to_owned()];
    assert_eq!(without(failed).await, "InvalidArgument");
    let mut old = with_offload(&["Uplink 2"]);
    old.api_version = crate::scenario::ApiVersion::V8_0_2_0;
    assert_eq!(without(old).await, "MethodNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_port_can_belong_to_another_or_be_gone() {
    let quirk = |nic, change: fn(&mut PortQuirk)| {
        let machine = Some("two cards".to_owned());
        let mut quirk = PortQuirk { machine, nic: Some(nic), ..PortQuirk::default() };
        change(&mut quirk);
        quirk
    };
    let mut scenario = with_switch();
    scenario.switches[0].quirks = vec![
        quirk(0, |quirk| (quirk.wrong_connectee, quirk.wrong_mac, quirk.nsx) = (true, true, true)),
        quirk(1, |quirk| quirk.missing = true),
    ];
    let bench = Bench::new(scenario).await;
    bench.ok(&bench.vm("two cards"), "PowerOnVM_Task", "").await;
    let cards = bench.cards("two cards").await;
    let key = |card: &Value| card["backing"]["port"]["portKey"].as_str().unwrap().to_owned();
    let found = bench.ports(&format!("<portKey>{}</portKey>", key(&cards[0]))).await;
    let other = bench.vm("small");
    assert_eq!(found[0]["connectee"]["connectedEntity"]["value"], other.split_once(':').unwrap().1);
    assert_ne!(found[0]["state"]["runtimeInfo"]["macAddress"], cards[0]["macAddress"]);
    assert!(found[0]["segmentPortId"].is_string() && found[0]["externalId"].is_string());
    assert_eq!(found[0]["config"]["setting"]["VNI"]["value"], 69_632);
    assert_eq!(bench.ports("<nsxPort>true</nsxPort>").await.len(), 1);
    let gone = key(&cards[1]);
    assert!(bench.ports(&format!("<portKey>{gone}</portKey>")).await.is_empty());
    let refresh = format!("<portKeys>{gone}</portKeys>");
    assert_eq!(bench.fault(&bench.switch().0, "RefreshDVPortState", &refresh).await, "NotFound");
}

#[tokio::test(start_paused = true)]
async fn hosts_have_interfaces_on_ports_and_may_have_made_them_alone() {
    let mut scenario = with_switch();
    scenario.switches[0].portgroups[0].host_local = true;
    scenario.switches[0].portgroups[0].console = true;
    let bench = Bench::new(scenario).await;
    let ports = bench.inside("early", "").await;
    let of_kind = |kind: &str| -> Vec<Value> {
        ports.iter().filter(|port| port["connectee"]["type"] == kind).cloned().collect()
    };
    let consoles = of_kind("hostConsoleVnic");
    assert_eq!((consoles.len(), &consoles[0]["connectee"]["nicKey"]), (2, &json!("vswif0")));
    let kernels = of_kind("hostVmkVnic");
    assert_eq!((kernels.len(), &kernels[0]["key"]), (2, &json!("h-1")));
    assert_eq!(
        (&kernels[0]["hostLocalPort"], &kernels[0]["conflict"]),
        (&json!(true), &json!(true))
    );
    let kept = kernels[0]["conflictPortKey"].as_str().unwrap();
    assert_eq!(bench.ports(&format!("<portKey>{kept}</portKey>")).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn ephemeral_ports_cannot_be_chosen_and_full_groups_grow_if_they_may() {
    let mut scenario = with_switch();
    let mut growing = PortgroupSpec::new("growing", PortgroupKind::EarlyBinding);
    (growing.ports, growing.auto_expand) = (1, true);
    scenario.switches[0].portgroups.push(growing);
    let bench = Bench::new(scenario).await;
    let card = bench.cards("small").await[0].clone();
    let info = bench.connect("small", &card, "on the fly", Some("0")).await;
    assert_eq!(info["error"]["fault"]["invalidProperty"], "backing.port.portKey", "{info}");
    let info = bench.connect("small", &card, "on the fly", None).await;
    assert_eq!(info["state"], "success", "{info}");
    let card = bench.cards("small").await[0].clone();
    assert!(card["backing"]["port"]["portKey"].is_null());
    for (name, ports) in [("small", 1), ("two cards", 2)] {
        let card = bench.cards(name).await[0].clone();
        let info = bench.connect(name, &card, "growing", None).await;
        assert_eq!(info["state"], "success", "{info}");
        let cookie = &bench.cards(name).await[0]["backing"]["port"]["connectionCookie"];
        let group = format!("DistributedVirtualPortgroup:{}", bench.portgroup("growing"));
        assert_eq!(bench.get(&group, "config.numPorts").await, ports);
        let found = bench.inside("growing", "<connected>true</connected>").await;
        assert!(found.iter().any(|port| port["connectionCookie"] == *cookie), "{found:?}");
    }
    let mut scenario = with_switch();
    scenario.missing_privileges = vec!["Network.Assign".to_owned()];
    let bench = Bench::new(scenario).await;
    let spec = format!(
        "<spec><deviceChange><operation>edit</operation><device xsi:type='{}'><key>{}</key>\
         <backing xsi:type='VirtualEthernetCardDistributedVirtualPortBackingInfo'><port>\
         <switchUuid>{}</switchUuid><portgroupKey>{}</portgroupKey></port></backing></device>\
         </deviceChange></spec>",
        card["_typeName"].as_str().unwrap(),
        card["key"],
        bench.switch().1,
        bench.portgroup("early"),
    );
    assert_eq!(bench.fault(&bench.vm("small"), "ReconfigVM_Task", &spec).await, "NoPermission");
}

#[tokio::test(start_paused = true)]
async fn a_failover_may_take_its_time_or_be_forbidden() {
    let mut scenario = with_offload(&["Uplink 2"]);
    scenario.switches[0].offload.as_mut().unwrap().failover_ms = 5000;
    let bench = Bench::new(scenario.clone()).await;
    let system = bench.network_system().await;
    let parameters = "<dvsName>DVS0</dvsName>";
    bench.ok(&system, "startDpuFailover", parameters).await;
    let active = async || {
        let proxies = bench.get(&system, "networkInfo.proxySwitch").await;
        assert_eq!(proxies[0]["spec"]["backing"]["pnicSpec"][1]["pnicDevice"], "vmnic1");
        proxies[0]["hostUplinkState"][1]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(active().await, "standby");
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(active().await, "active");

    let offload = scenario.switches[0].offload.as_mut().unwrap();
    (offload.partial_maintenance, offload.untold) = (true, true);
    for (version, fault) in [
        (crate::scenario::ApiVersion::V8_0_3_0, None),
        (crate::scenario::ApiVersion::V9_0_0_0, Some("MethodDisabled")),
    ] {
        scenario.api_version = version;
        let bench = Bench::new(scenario.clone()).await;
        let system = bench.network_system().await;
        let proxies = bench.get(&system, "networkInfo.proxySwitch").await;
        assert!(proxies[0].get("hostUplinkState").is_none());
        let outcome = bench.call(&system, "startDpuFailover", parameters).await;
        assert_eq!(outcome.err().map(|fault| fault.kind().to_owned()).as_deref(), fault);
    }
}
