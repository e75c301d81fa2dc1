//! Reading ports, from the fullest to the barest.

use super::*;

fn policy(value: impl Into<Value>) -> Object {
    Object::new("BoolPolicy").with("inherited", false).with("value", value)
}

fn setting() -> Object {
    let shaping = Object::new("DVSTrafficShapingPolicy")
        .with("inherited", true)
        .with("enabled", policy(true))
        .with("averageBandwidth", policy("100000000"))
        .with("burstSize", policy(104_857_600_u32));
    let order = Object::untyped()
        .with("inherited", false)
        .with_each("activeUplinkPort", ["Uplink 1"])
        .with_each("standbyUplinkPort", ["Uplink 2", "Uplink 3"]);
    Object::new("VMwareDVSPortSetting")
        .with("blocked", policy(false))
        .with("inShapingPolicy", shaping)
        .with("networkResourcePoolKey", policy("-1"))
        .with("filterPolicy", Object::new("DvsFilterPolicy").with("inherited", true))
        .with(
            "vlan",
            Object::new("VmwareDistributedVirtualSwitchVlanIdSpec")
                .with("inherited", false)
                .with("vlanId", 42_u32),
        )
        .with(
            "uplinkTeamingPolicy",
            Object::untyped()
                .with("inherited", true)
                .with("policy", policy("loadbalance_srcid"))
                .with("uplinkPortOrder", order),
        )
        .with("securityPolicy", Object::untyped().with("allowPromiscuous", policy(false)))
        .with(
            "macManagementPolicy",
            Object::untyped()
                .with("allowPromiscuous", true)
                .with("macLearningPolicy", Object::untyped().with("limit", 4096_u32)),
        )
        .with("VNI", policy(5000_u32))
        .with("novelty", Object::new("Unheard"))
}

fn state() -> Object {
    let range =
        |start: u32, end: u32| Object::new("NumericRange").with("start", start).with("end", end);
    let runtime = Object::new("DVPortStatus")
        .with("linkUp", true)
        .with("blocked", "false")
        .with_each("vlanIds", [range(42, 42), range(100, 200)])
        .with("trunkingMode", true)
        .with("mtu", 9000_u32)
        .with("linkPeer", "büro.eth0")
        .with("macAddress", "00:50:56:aa:bb:cc")
        .with("statusDetail", "schön")
        .with("vmDirectPathGen2Active", false)
        .with_each("vmDirectPathGen2InactiveReasonNetwork", ["portNptDisabled"]);
    let stats = Object::new("DistributedVirtualSwitchPortStatistics")
        .with("packetsInMulticast", 1_u32)
        .with("packetsOutException", "16")
        .with("bytesOutToPnic", 18_u32);
    let blob = Object::untyped().with("key", "k").with("opaqueData", "AA==");
    Object::new("DVPortState")
        .with("runtimeInfo", runtime)
        .with("stats", stats)
        .with_each("vendorSpecificState", [blob])
}

#[test]
fn every_field_of_a_port_is_read() {
    let connectee = Object::new("DistributedVirtualSwitchPortConnectee")
        .with("connectedEntity", MoRef::new("VirtualMachine", "vm-1"))
        .with("nicKey", "4000")
        .with("type", "vmVnic")
        .with("addressHint", "10.0.0.1");
    let config = Object::new("DVPortConfigInfo")
        .with("name", "Anschluß 7")
        .with_each("scope", [MoRef::new("Folder", "group-1")])
        .with("description", "d")
        .with("setting", setting())
        .with("configVersion", "3");
    let value: Value = Object::new("DistributedVirtualPort")
        .with("key", "7")
        .with("config", config)
        .with("dvsUuid", "50 21 aa")
        .with("portgroupKey", "dvportgroup-12")
        .with("proxyHost", MoRef::new("HostSystem", "host-1"))
        .with("connectee", connectee)
        .with("conflict", true)
        .with("conflictPortKey", "8")
        .with("state", state())
        .with("connectionCookie", "-1779634237")
        .with("lastStatusChange", "2026-11-21T00:01:09.2Z")
        .with("hostLocalPort", false)
        .with("externalId", "e")
        .with("segmentPortId", "s")
        .with("novelty", Object::new("Unheard").with("of", "x"))
        .into();
    let port = DistributedVirtualPort::from_value(&value).unwrap();
    assert_eq!((port.key.as_str(), port.dvs_uuid.as_deref()), ("7", Some("50 21 aa")));
    assert_eq!(port.portgroup_key.as_deref(), Some("dvportgroup-12"));
    assert_eq!(port.proxy_host, Some(MoRef::new("HostSystem", "host-1")));
    assert_eq!((port.conflict, port.conflict_port_key.as_deref()), (Some(true), Some("8")));
    assert_eq!(port.connection_cookie, Some(-1_779_634_237));
    assert_eq!(port.last_status_change.as_deref(), Some("2026-11-21T00:01:09.2Z"));
    assert_eq!(port.host_local_port, Some(false));
    assert_eq!(
        (port.external_id.as_deref(), port.segment_port_id.as_deref()),
        (Some("e"), Some("s"))
    );
    assert_eq!(port.config.name.as_deref(), Some("Anschluß 7"));
    assert_eq!((port.config.scope.len(), port.config.config_version.as_deref()), (1, Some("3")));

    let connectee = port.connectee.as_ref().unwrap();
    assert_eq!(connectee.connected_entity, Some(MoRef::new("VirtualMachine", "vm-1")));
    assert_eq!(connectee.kind, Some(ConnecteeKind::VmVnic));
    assert_eq!(connectee.nic_key.as_deref(), Some("4000"));

    let runtime = port.runtime().unwrap();
    assert_eq!((runtime.link_up, runtime.blocked), (Some(true), Some(false)));
    let ranges: Vec<_> = runtime.vlan_ids.iter().map(|r| (r.start, r.end)).collect();
    assert_eq!(ranges, [(42, 42), (100, 200)]);
    assert_eq!((runtime.trunking_mode, runtime.mtu_bytes), (Some(true), Some(9000)));
    assert_eq!(runtime.link_peer.as_deref(), Some("büro.eth0"));
    assert_eq!(runtime.mac_address.as_deref(), Some("00:50:56:aa:bb:cc"));
    assert_eq!(runtime.status_detail.as_deref(), Some("schön"));
    assert_eq!(runtime.vm_direct_path_gen2_active, Some(false));
    assert_eq!(runtime.vm_direct_path_gen2_inactive_reason_network, ["portNptDisabled"]);
    let state = port.state.as_ref().unwrap();
    let statistics = state.statistics.unwrap();
    assert_eq!(statistics.packets_in_multicast, Some(1));
    assert_eq!(statistics.packets_out_exception, Some(16));
    assert_eq!((statistics.bytes_out_to_pnic, statistics.bytes_in_from_pnic), (Some(18), None));
    assert_eq!(state.vendor_specific_state[0].opaque_data, "AA==");
}

#[test]
fn settings_are_read() {
    let setting = PortSetting::from_value(&setting().into());
    assert_eq!(setting.blocked, Some(Policy { inherited: Some(false), value: Some(false) }));
    let shaping = setting.in_shaping_policy.unwrap();
    assert_eq!(shaping.average_bandwidth_bits_per_s.unwrap().value, Some(100_000_000));
    assert_eq!(shaping.burst_bytes.unwrap().value, Some(104_857_600));
    assert!(setting.out_shaping_policy.is_none() && shaping.peak_bandwidth_bits_per_s.is_none());
    assert_eq!(setting.vlan.unwrap().value, Some(Vlan::Id(42)));
    let teaming = setting.uplink_teaming_policy.unwrap();
    assert_eq!(teaming.active_uplinks, ["Uplink 1"]);
    assert_eq!(teaming.standby_uplinks, ["Uplink 2", "Uplink 3"]);
    assert_eq!(teaming.policy.unwrap().value.as_deref(), Some("loadbalance_srcid"));
    let security = setting.security_policy.unwrap();
    assert_eq!(security.allow_promiscuous.unwrap().value, Some(false));
    let mac = setting.mac_management_policy.unwrap();
    assert_eq!((mac.allow_promiscuous, mac.mac_learning.unwrap().limit), (Some(true), Some(4096)));
    assert_eq!(setting.vni.unwrap().value, Some(5000));
    let filters = setting.filter_policy.unwrap().to_json();
    let expected = serde_json::json!({ "_typeName": "DvsFilterPolicy", "inherited": true });
    assert_eq!(filters, expected);
}

#[test]
fn what_counts_as_a_failure_is_read() {
    let criteria = Object::untyped()
        .with("inherited", true)
        .with("checkSpeed", policy("minimum"))
        .with("speed", policy("10"))
        .with("checkErrorPercent", policy(true))
        .with("percentage", policy(7_u32))
        .with("checkBeacon", policy("false"));
    let teaming = Object::untyped().with("failureCriteria", criteria);
    let setting = Object::untyped().with("uplinkTeamingPolicy", teaming);
    let setting = PortSetting::from_value(&setting.into());
    let criteria = setting.uplink_teaming_policy.unwrap().failure_criteria.unwrap();
    assert_eq!(criteria.check_speed.unwrap().value.as_deref(), Some("minimum"));
    assert_eq!(criteria.speed_megabits_per_s.unwrap().value, Some(10));
    assert_eq!(criteria.error_percent.unwrap().value, Some(7));
    assert_eq!(criteria.check_error_percent.unwrap().value, Some(true));
    assert_eq!(criteria.check_beacon.unwrap().value, Some(false));
    assert!(criteria.check_duplex.is_none() && criteria.full_duplex.is_none());
}

#[test]
fn values_that_are_not_known_are_shown_as_json() {
    let rule = |number: u32| Object::new("DvsTrafficRule").with("sequence", number);
    let value: Value = Object::new("DvsFilterPolicy")
        .with("filterConfig", rule(1))
        .with("filterConfig", rule(2))
        .with("filterConfig", rule(3))
        .with("by", MoRef::new("Folder", "group-1"))
        .with("secret", crate::secret::Secret::new("hunter2"))
        .into();
    let rule =
        |number: u32| serde_json::json!({ "_typeName": "DvsTrafficRule", "sequence": number });
    let expected = serde_json::json!({
        "_typeName": "DvsFilterPolicy",
        "filterConfig": [rule(1), rule(2), rule(3)],
        "by": "Folder:group-1",
        "secret": null,
    });
    assert_eq!(value.to_json(), expected);
}

#[test]
fn vlans_are_told_apart_also_without_a_type() {
    let range = Object::untyped().with("start", 1_u32).with("end", 9_u32);
    for (vlan, expected) in [
        (Object::untyped().with("pvlanId", 3_u32), "Some(Private(3))"),
        (Object::untyped().with("vlanId", 0_u32), "Some(Id(0))"),
        (
            Object::untyped().with_each("vlanId", [range]),
            "Some(Trunk([NumericRange { start: 1, end: 9 }]))",
        ),
        (
            Object::new("VmwareDistributedVirtualSwitchTrunkVlanSpec").with("inherited", true),
            "Some(Trunk([]))",
        ),
        (Object::new("QuantumVlanSpec"), "Some(Unknown(\"QuantumVlanSpec\"))"),
    ] {
        let setting = PortSetting::from_value(&Object::untyped().with("vlan", vlan).into());
        assert_eq!(format!("{:?}", setting.vlan.unwrap().value), expected);
    }
}

#[test]
fn what_a_server_leaves_out_is_unknown() {
    let value: Value = Object::untyped()
        .with("key", "0")
        .with("lastStatusChange", "0001-01-01T00:00:00Z")
        .with("connectee", Object::untyped().with("type", "quantumNic"))
        .into();
    let port = DistributedVirtualPort::from_value(&value).unwrap();
    assert_eq!((port.conflict, port.connection_cookie), (None, None));
    assert_eq!((port.last_status_change.as_deref(), port.runtime()), (None, None));
    let kind = port.connectee.unwrap().kind.unwrap();
    assert_eq!(
        (kind.as_str(), &kind),
        ("quantumNic", &ConnecteeKind::Unknown("quantumNic".into()))
    );
    assert!(DistributedVirtualPort::from_value(&Object::untyped().into()).is_none());
}

#[test]
fn switches_say_what_dpus_they_use() {
    let policy = Object::untyped()
        .with_each("activeUplink", ["Uplink 1"])
        .with_each("standbyUplink", ["Uplink 2"]);
    let config: Value = Object::new("VMwareDVSConfigInfo")
        .with("name", "a%2fb")
        .with("numPorts", 12_u32)
        .with("uplinkPortPolicy", Object::untyped().with_each("uplinkPortName", ["Uplink 1"]))
        .with("networkOffloadSpecId", "pensando-1")
        .with("networkOffloadConfig", Object::untyped().with("dpuFailoverPolicy", policy))
        .into();
    let config = SwitchConfig::from_value(&config);
    assert_eq!((config.name.as_str(), config.num_ports), ("a/b", Some(12)));
    assert_eq!(config.uplink_names, ["Uplink 1"]);
    assert!(config.is_offloaded());
    assert_eq!(config.dpu_failover_policy.unwrap().standby_uplinks, ["Uplink 2"]);
    let bare =
        SwitchConfig::from_value(&Object::untyped().with("networkOffloadSpecId", "None").into());
    assert!(!bare.is_offloaded() && bare.dpu_failover_policy.is_none());
}
