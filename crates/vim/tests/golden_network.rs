//! The XML of the calls about networks: element names and their order are the WSDL's.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use std::sync::Arc;

use ovftransfer_vim::dvs::{Binding, CardBacking, PortConnection, PortCriteria};
use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::{Endpoint, MoRef, Session, Trust, Wire};

use scripted::{Answer, CONTENT, Script, connected};

fn switch() -> MoRef {
    MoRef::new("VmwareDistributedVirtualSwitch", "dvs-8")
}

fn on_switch(method: &str, inner: &str) -> String {
    format!(
        "<{method} xmlns=\"urn:vim25\"><_this type=\"VmwareDistributedVirtualSwitch\">dvs-8</_this>\
         {inner}</{method}>"
    )
}

/// A session with a server that says this of itself.
async fn over_soap(content: &str) -> (Arc<Script>, Session) {
    let content = Answer::soap("RetrieveServiceContent", content);
    let script = Script::list([Answer::raw(404, ""), content]);
    let transport = Arc::clone(&script) as Arc<dyn Transport>;
    let endpoint = Endpoint::new("vc.example", 443);
    let session = Session::connect_with(transport, endpoint, Trust::System, Wire::Soap).await;
    (script, session.unwrap())
}

fn properties(object: &str, set: &[(&str, &str)]) -> String {
    let set: String = set
        .iter()
        .map(|(name, val)| format!("<propSet><name>{name}</name>{val}</propSet>"))
        .collect();
    format!("<returnval><objects>{object}{set}</objects></returnval>")
}

#[tokio::test]
async fn ports_are_fetched() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let all = PortCriteria {
        connected: Some(true),
        active: Some(false),
        uplink_port: Some(false),
        nsx_port: Some(true),
        scope: Some(MoRef::new("Folder", "group-1")),
        port_keys: vec!["7".into(), "8".into()],
        hosts: vec![MoRef::new("HostSystem", "host-1")],
        ..PortCriteria::in_portgroups(["dvportgroup-12".into(), "dvportgroup-13".into()])
    };
    let criteria = "<criteria xsi:type=\"DistributedVirtualSwitchPortCriteria\">\
        <connected>true</connected><active>false</active><uplinkPort>false</uplinkPort>\
        <nsxPort>true</nsxPort><scope type=\"Folder\">group-1</scope>\
        <portgroupKey>dvportgroup-12</portgroupKey><portgroupKey>dvportgroup-13</portgroupKey>\
        <inside>true</inside><portKey>7</portKey><portKey>8</portKey>\
        <host type=\"HostSystem\">host-1</host></criteria>";
    let port = |key: &str| {
        format!(
            "<returnval><key>{key}</key><config><configVersion></configVersion></config>\
             <dvsUuid>50 21</dvsUuid><conflict>false</conflict><novelty><x>1</x></novelty>\
             <lastStatusChange>0001-01-01T00:00:00Z</lastStatusChange></returnval>"
        )
    };
    script.push(Answer::soap("FetchDVPorts", &format!("{}{}", port("7"), port("8"))));
    let ports = session.fetch_ports(&switch(), &all).await.unwrap();
    assert_eq!(script.last().call(), on_switch("FetchDVPorts", criteria));
    assert_eq!((ports.len(), ports[1].key.as_str(), ports[1].conflict), (2, "8", Some(false)));

    script
        .push(Answer::soap("FetchDVPortKeys", "<returnval>7</returnval><returnval>8</returnval>"));
    let keys = session.fetch_port_keys(&switch(), &all).await.unwrap();
    assert_eq!(script.last().call(), on_switch("FetchDVPortKeys", criteria));
    assert_eq!(keys, ["7", "8"]);

    script.push(Answer::soap("FetchDVPorts", ""));
    assert!(session.fetch_ports(&switch(), &PortCriteria::default()).await.unwrap().is_empty());

    script.push(Answer::soap("RefreshDVPortState", ""));
    session.refresh_port_state(&switch(), &keys).await.unwrap();
    let asked = "<portKeys>7</portKeys><portKeys>8</portKeys>";
    assert_eq!(script.last().call(), on_switch("RefreshDVPortState", asked));
    // No keys would mean something else to the server.
    let before = script.asked().len();
    session.refresh_port_state(&switch(), &[]).await.unwrap();
    assert_eq!(script.asked().len(), before);
}

#[tokio::test]
async fn ports_come_page_by_page() {
    let script = Script::new(|asked| {
        if asked.body.contains("<FetchDVPortKeys ") {
            let keys: String =
                (0..1200).map(|key| format!("<returnval>{key}</returnval>")).collect();
            return Some(Answer::soap("FetchDVPortKeys", &keys));
        }
        let keys =
            asked.body.split("<portKey>").skip(1).map(|rest| rest.split('<').next().unwrap());
        let ports: String =
            keys.map(|key| format!("<returnval><key>{key}</key></returnval>")).collect();
        asked.body.contains("<FetchDVPorts ").then(|| Answer::soap("FetchDVPorts", &ports))
    });
    let session = connected(&script).await;
    let criteria = PortCriteria::in_portgroups(["dvportgroup-12".into()]);
    let mut pages = session.port_pages(&switch(), &criteria).await.unwrap();
    let mut sizes = Vec::new();
    while let Some(ports) = pages.next().await.unwrap() {
        sizes.push(ports.len());
    }
    assert_eq!(sizes, [500, 500, 200]);
    assert!(pages.next().await.unwrap().is_none());
    // Keys are unique in a switch, but not on every server.
    assert!(script.last().body.contains("<portgroupKey>dvportgroup-12</portgroupKey><inside>true"));
}

#[tokio::test]
async fn switches_are_found_by_uuid() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let found = "<returnval type=\"VmwareDistributedVirtualSwitch\">dvs-8</returnval>";
    for (answer, expected) in [
        (Answer::soap("QueryDvsByUuid", found), Some(switch())),
        (Answer::soap("QueryDvsByUuid", ""), None),
        (Answer::fault("NotFound", "weg", ""), None),
    ] {
        script.push(answer);
        assert_eq!(session.find_switch("50 21 aa").await.unwrap(), expected);
        assert_eq!(
            script.last().call(),
            "<QueryDvsByUuid xmlns=\"urn:vim25\">\
             <_this type=\"DistributedVirtualSwitchManager\">DVSManager</_this>\
             <uuid>50 21 aa</uuid></QueryDvsByUuid>"
        );
    }
    // The content was read once, at the beginning.
    assert_eq!(script.count("RetrieveServiceContent"), 1);
    let none = CONTENT.replace("dvSwitchManager", "novelty");
    let (_, session) = over_soap(&none).await;
    let error = session.find_switch("50 21 aa").await.unwrap_err();
    assert!(error.to_string().contains("no dvSwitchManager"), "{error}");
}

#[tokio::test]
async fn portgroups_and_switches_are_read() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let config = "<val xsi:type=\"DVPortgroupConfigInfo\"><key>dvportgroup-12</key><name>a%2fb</name>\
        <numPorts>8</numPorts>\
        <distributedVirtualSwitch type=\"VmwareDistributedVirtualSwitch\">dvs-8\
        </distributedVirtualSwitch><defaultPortConfig xsi:type=\"VMwareDVSPortSetting\">\
        <vlan xsi:type=\"VmwareDistributedVirtualSwitchTrunkVlanSpec\"><inherited>true</inherited>\
        <vlanId><start>0</start><end>4094</end></vlanId></vlan></defaultPortConfig>\
        <type>earlyBinding</type><policy xsi:type=\"VMwareDVSPortgroupPolicy\"/>\
        <autoExpand>false</autoExpand><uplink>true</uplink><novelty/></val>";
    let keys = "<val xsi:type=\"ArrayOfString\"><string>1</string><string>2</string></val>";
    let object = "<obj type=\"DistributedVirtualPortgroup\">dvportgroup-12</obj>";
    let answer = properties(object, &[("config", config), ("portKeys", keys)]);
    script.push(Answer::soap("RetrievePropertiesEx", &answer));
    let moref = MoRef::new("DistributedVirtualPortgroup", "dvportgroup-12");
    let portgroup = session.portgroup(&moref).await.unwrap();
    assert_eq!((portgroup.key.as_str(), portgroup.config.name.as_str()), ("dvportgroup-12", "a/b"));
    assert_eq!(portgroup.config.binding, Binding::Early);
    assert_eq!((portgroup.config.num_ports, portgroup.config.uplink), (Some(8), Some(true)));
    assert_eq!((portgroup.config.auto_expand, portgroup.port_keys.len()), (Some(false), 2));
    assert_eq!(portgroup.config.switch, Some(switch()));

    let config = "<val xsi:type=\"VMwareDVSConfigInfo\"><uuid>50 21</uuid><name>DVS0</name></val>";
    let object = "<obj type=\"VmwareDistributedVirtualSwitch\">dvs-8</obj>";
    let answer = properties(object, &[("config", config)]);
    script.push(Answer::soap("RetrievePropertiesEx", &answer));
    let read = session.switch(&switch()).await.unwrap();
    assert_eq!((read.uuid.as_str(), read.config.name.as_str()), ("50 21", "DVS0"));
    assert!(!read.config.is_offloaded());

    let unread = properties(object, &[]);
    script.push(Answer::soap("RetrievePropertiesEx", &unread));
    assert!(session.switch(&switch()).await.unwrap_err().to_string().contains("no configuration"));
}

const CARDS: &str = "<val xsi:type=\"ArrayOfVirtualDevice\">\
    <VirtualDevice xsi:type=\"ParaVirtualSCSIController\"><key>1000</key></VirtualDevice>\
    <VirtualDevice xsi:type=\"VirtualVmxnet3\"><key>4000</key>\
    <deviceInfo xsi:type=\"Description\"><label>Netzwerkadapter 1</label><summary>x</summary>\
    </deviceInfo><backing xsi:type=\"VirtualEthernetCardDistributedVirtualPortBackingInfo\">\
    <port><switchUuid>50 21</switchUuid><portgroupKey>dvportgroup-12</portgroupKey>\
    <portKey>7</portKey><connectionCookie>99</connectionCookie></port><novelty>n</novelty></backing>\
    <connectable><startConnected>true</startConnected><connected>false</connected></connectable>\
    <controllerKey>100</controllerKey><addressType>assigned</addressType>\
    <macAddress>00:50:56:aa:bb:cc</macAddress><unheard xsi:type=\"Of\"><a>1</a></unheard>\
    </VirtualDevice><VirtualDevice xsi:type=\"VirtualQuantumCard\"><key>4001</key>\
    <backing xsi:type=\"VirtualEthernetCardNetworkBackingInfo\"><deviceName>VM Network</deviceName>\
    <network type=\"Network\">network-7</network></backing><controllerKey>100</controllerKey>\
    <macAddress>00:50:56:aa:bb:cd</macAddress></VirtualDevice>\
    <VirtualDevice xsi:type=\"VirtualE1000\"><key>4002</key><controllerKey>100</controllerKey>\
    </VirtualDevice></val>";

#[tokio::test]
async fn cards_change_their_port_and_nothing_else() {
    let object = "<obj type=\"VirtualMachine\">vm-1</obj>";
    let cards = properties(object, &[("config.hardware.device", CARDS)]);
    let script = Script::list([Answer::soap("RetrievePropertiesEx", &cards)]);
    let session = connected(&script).await;
    let vm = MoRef::new("VirtualMachine", "vm-1");
    let cards = session.network_cards(&vm).await.unwrap();
    let [card, unknown, unplugged] = &cards[..] else { panic!("{cards:?}") };
    let CardBacking::Distributed(port) = &card.backing else { panic!("{card:?}") };
    assert_eq!((port.port_key.as_deref(), port.connection_cookie), (Some("7"), Some(99)));
    assert_eq!((card.key, card.label.as_str()), (4000, "Netzwerkadapter 1"));
    assert_eq!((card.connected, card.start_connected), (Some(false), Some(true)));
    let network = Some(MoRef::new("Network", "network-7"));
    assert_eq!(unknown.backing, CardBacking::Standard { name: "VM Network".into(), network });

    let reconfigured = |device: &str| {
        format!(
            "<ReconfigVM_Task xmlns=\"urn:vim25\"><_this type=\"VirtualMachine\">vm-1</_this>\
             <spec xsi:type=\"VirtualMachineConfigSpec\">\
             <deviceChange xsi:type=\"VirtualDeviceConfigSpec\"><operation>edit</operation>{device}\
             </deviceChange></spec></ReconfigVM_Task>"
        )
    };
    let task = "<returnval type=\"Task\">task-1</returnval>";
    let port = PortConnection::to_portgroup("50 22", "dvportgroup-13");
    let written = |key: &str| {
        format!(
            "<port xsi:type=\"DistributedVirtualSwitchPortConnection\"><switchUuid>50 22</switchUuid>\
             <portgroupKey>dvportgroup-13</portgroupKey>{key}</port>"
        )
    };
    script.push(Answer::soap("ReconfigVM_Task", task));
    let moved = session.connect_card(&vm, card, &port.clone().on_port("9")).await.unwrap();
    assert_eq!(moved, MoRef::new("Task", "task-1"));
    let device = format!(
        "<device xsi:type=\"VirtualVmxnet3\"><key>4000</key><deviceInfo xsi:type=\"Description\">\
         <label>Netzwerkadapter 1</label><summary>x</summary></deviceInfo>\
         <backing xsi:type=\"VirtualEthernetCardDistributedVirtualPortBackingInfo\">{}\
         <novelty>n</novelty></backing><connectable><startConnected>true</startConnected>\
         <connected>false</connected></connectable><controllerKey>100</controllerKey>\
         <addressType>assigned</addressType><macAddress>00:50:56:aa:bb:cc</macAddress>\
         <unheard xsi:type=\"Of\"><a>1</a></unheard></device>",
        written("<portKey>9</portKey>")
    );
    assert_eq!(script.last().call(), reconfigured(&device));

    // From a standard network, and from none.
    for (card, model, rest) in [
        (unknown, "VirtualQuantumCard", "<macAddress>00:50:56:aa:bb:cd</macAddress>"),
        (unplugged, "VirtualE1000", ""),
    ] {
        script.push(Answer::soap("ReconfigVM_Task", task));
        session.connect_card(&vm, card, &port).await.unwrap();
        let device = format!(
            "<device xsi:type=\"{model}\"><key>{}</key>\
             <backing xsi:type=\"VirtualEthernetCardDistributedVirtualPortBackingInfo\">{}</backing>\
             <controllerKey>100</controllerKey>{rest}</device>",
            card.key,
            written("")
        );
        assert_eq!(script.last().call(), reconfigured(&device));
    }
}

const HOST_NETWORK: &str = "<val xsi:type=\"HostNetworkInfo\"><proxySwitch><dvsUuid>50 21</dvsUuid>\
    <dvsName>DVS0</dvsName><key>k</key><uplinkPort><key>100</key><value>Uplink 1</value></uplinkPort>\
    <uplinkPort><key>101</key><value>Uplink 2</value></uplinkPort>\
    <pnic>key-vim.host.PhysicalNic-vmnic0</pnic><spec>\
    <backing xsi:type=\"DistributedVirtualSwitchHostMemberPnicBacking\">\
    <pnicSpec><pnicDevice>vmnic0</pnicDevice><uplinkPortKey>100</uplinkPortKey></pnicSpec>\
    <pnicSpec><pnicDevice>vmnic1</pnicDevice></pnicSpec></backing></spec>\
    <networkOffloadingEnabled>true</networkOffloadingEnabled>\
    <hostUplinkState><uplinkName>Uplink 1</uplinkName><state>active</state></hostUplinkState>\
    </proxySwitch><pnic><key>key-vim.host.PhysicalNic-vmnic0</key><device>vmnic0</device>\
    <pci>0000:0b:00.0</pci><linkSpeed><speedMb>100000</speedMb><duplex>true</duplex></linkSpeed>\
    <mac>00:50:56:aa:bb:cc</mac><dpuId>dpu1</dpuId><novelty/></pnic>\
    <pnic><device>vmnic1</device></pnic></val>";

#[tokio::test]
async fn hosts_say_what_their_cards_are_on() {
    let host = MoRef::new("HostSystem", "host-21");
    let system = MoRef::new("HostNetworkSystem", "odd-99");
    let named = properties(
        "<obj type=\"HostSystem\">host-21</obj>",
        &[(
            "configManager.networkSystem",
            "<val type=\"HostNetworkSystem\" xsi:type=\"ManagedObjectReference\">odd-99</val>",
        )],
    );
    let info = properties(
        "<obj type=\"HostNetworkSystem\">odd-99</obj>",
        &[("networkInfo", HOST_NETWORK)],
    );
    let script = Script::list([
        Answer::soap("RetrievePropertiesEx", &named),
        Answer::soap("RetrievePropertiesEx", &info),
    ]);
    let session = connected(&script).await;
    let network = session.host_network(&host).await.unwrap();
    assert_eq!(network.network_system, system);
    assert_eq!(network.pnics[0].dpu_id.as_deref(), Some("dpu1"));
    assert_eq!(network.pnics[0].link_megabits_per_s, Some(100_000));
    assert_eq!((network.pnics[1].dpu_id.as_deref(), network.pnics[1].mac.as_deref()), (None, None));
    let switch = network.proxy_switch("50 21").unwrap();
    assert_eq!((switch.dvs_name.as_str(), switch.network_offloading_enabled), ("DVS0", Some(true)));
    assert_eq!(switch.uplink_states[0].state, "active");
    assert_eq!(network.pnic_on(switch, "Uplink 1").unwrap().device, "vmnic0");
    assert!(network.pnic_on(switch, "Uplink 2").is_none());

    script.push(Answer::soap(
        "RetrievePropertiesEx",
        &properties("<obj type=\"HostSystem\">host-21</obj>", &[]),
    ));
    let error = session.host_network(&host).await.unwrap_err();
    assert!(error.to_string().contains("no network system"), "{error}");
}

#[tokio::test]
async fn dpus_fail_over_only_on_servers_that_can() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let system = MoRef::new("HostNetworkSystem", "odd-99");
    for (target, inner) in [(None, ""), (Some("dpu1"), "<targetDpuAlias>dpu1</targetDpuAlias>")] {
        script.push(Answer::soap("startDpuFailover", ""));
        session.start_dpu_failover(&system, "DVS0", target).await.unwrap();
        assert_eq!(
            script.last().call(),
            format!(
                "<startDpuFailover xmlns=\"urn:vim25\"><_this type=\"HostNetworkSystem\">odd-99</_this>\
                 <dvsName>DVS0</dvsName>{inner}</startDpuFailover>"
            )
        );
    }
    script.push(Answer::fault(
        "InvalidArgument",
        "Kein DPU – schade",
        "<invalidProperty>dvsName</invalidProperty>",
    ));
    let error = session.start_dpu_failover(&system, "DVS0", None).await.unwrap_err();
    assert_eq!(error.fault().unwrap().invalid_property().as_deref(), Some("dvsName"));

    let old = CONTENT.replace("<apiVersion>8.0.3.0", "<apiVersion>8.0.2.0");
    let (script, session) = over_soap(&old).await;
    let before = script.asked().len();
    let error = session.start_dpu_failover(&system, "DVS0", None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "vc.example:443 is too old for startDpuFailover: it speaks version 8.0.2.0, and 8.0.3.0 is \
         needed"
    );
    assert_eq!(error.kind(), ovftransfer_vim::ErrorKind::Refused);
    assert_eq!(script.asked().len(), before);
}

#[tokio::test]
async fn pages_can_be_refreshed_first() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let criteria = PortCriteria::in_portgroups(["dvportgroup-12".into()]);
    let keys = "<returnval>7</returnval><returnval>8</returnval>";
    let port = "<returnval><key>8</key></returnval>";
    script.push(Answer::soap("FetchDVPortKeys", keys));
    let mut pages = session.port_pages(&switch(), &criteria).await.unwrap().refreshed();
    // One of the ports is gone by then, which spoils the question for the other.
    script.push(Answer::fault("NotFound", "weg", ""));
    script.push(Answer::soap("FetchDVPortKeys", "<returnval>8</returnval>"));
    script.push(Answer::soap("RefreshDVPortState", ""));
    script.push(Answer::soap("FetchDVPorts", port));
    assert_eq!(pages.next().await.unwrap().unwrap()[0].key, "8");
    assert_eq!(script.count("RefreshDVPortState"), 2);
    let asked = script.asked();
    let mut refreshed = asked.iter().filter(|asked| asked.body.contains("<RefreshDVPortState "));
    let last = refreshed.next_back().unwrap();
    assert!(last.body.contains("<portKeys>8</portKeys>") && !last.body.contains(">7<"));
    assert!(pages.next().await.unwrap().is_none());

    // A server that has no keys to ask for: fetched, refreshed, fetched again.
    script.push(Answer::fault("MethodNotFound", "", ""));
    script.push(Answer::soap("FetchDVPorts", port));
    script.push(Answer::soap("RefreshDVPortState", ""));
    script.push(Answer::soap("FetchDVPorts", port));
    let mut pages = session.port_pages(&switch(), &criteria).await.unwrap().refreshed();
    assert_eq!(pages.next().await.unwrap().unwrap().len(), 1);
    assert_eq!(script.count("RefreshDVPortState"), 3);
}

#[tokio::test]
async fn names_are_read_type_by_type_and_what_is_gone_has_none() {
    let script = Script::list([]);
    let session = connected(&script).await;
    let host = MoRef::new("HostSystem", "host-9");
    let vms = ["vm-1", "vm-2"].map(|id| MoRef::new("VirtualMachine", id));
    let named = |kind: &str, id: &str, name: &str| {
        let object = format!("<obj type=\"{kind}\">{id}</obj>");
        let name = format!("<val xsi:type=\"xsd:string\">{name}</val>");
        Answer::soap("RetrievePropertiesEx", &properties(&object, &[("name", &name)]))
    };
    script.push(named("HostSystem", "host-9", "esx 9"));
    script.push(Answer::fault("ManagedObjectNotFound", "weg", ""));
    script.push(Answer::fault("ManagedObjectNotFound", "weg", ""));
    script.push(named("VirtualMachine", "vm-2", "a%2fb"));
    let asked = [vms[0].clone(), host.clone(), vms[1].clone(), host.clone()];
    let names = session.names_of(&asked).await.unwrap();
    assert_eq!((names.len(), &*names[&host], &*names[&vms[1]]), (2, "esx 9", "a/b"));
    assert_eq!(script.count("RetrievePropertiesEx"), 4);
    assert!(session.names_of(&[]).await.unwrap().is_empty());
}
