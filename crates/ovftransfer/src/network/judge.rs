//! Whether a card is rightly on its port.  Pure: what the server said goes in, verdicts come out.

use ovftransfer_vim::dvs::Binding;
use ovftransfer_vim::dvs::DistributedVirtualPort;
use ovftransfer_vim::dvs::NumericRange;
use ovftransfer_vim::dvs::Policy;
use ovftransfer_vim::dvs::PortConnection;
use ovftransfer_vim::dvs::PortSetting;
use ovftransfer_vim::dvs::PortStatus;
use ovftransfer_vim::dvs::Vlan;
use ovftransfer_vim::value::MoRef;

use crate::network::PortAspect;
use crate::network::PortCheck;
use crate::network::PortgroupName;
use crate::network::SwitchName;
use crate::network::Verdict;

/// All that is known of a card on a distributed switch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'e> {
    /// The machine of the card.
    pub(super) vm: &'e MoRef,
    /// Its host.
    pub(super) host: Option<&'e MoRef>,
    /// Whether it runs.
    pub(super) runs: Option<bool>,
    /// Key of the card.
    pub(super) nic_key: i64,
    /// MAC address of the card.
    pub(super) mac: Option<&'e str>,
    /// Whether the card is connected.
    pub(super) connected: Option<bool>,
    pub(super) connection: &'e PortConnection,
    pub(super) switch: Option<&'e SwitchName>,
    pub(super) portgroup: Option<&'e PortgroupName>,
    pub(super) port: &'e Found,
}

/// What the switch said to the question for the port.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// There is none of that key.
    Missing,
    /// This port.  Boxed, as it has every field of the API.
    Port(Box<DistributedVirtualPort>),
    /// The card names no port that could be asked for.
    Unnamed,
    /// It could not be asked, and why.
    Unread(String),
}

/// Judges a card and its port.
pub(super) fn judge(evidence: Evidence<'_>) -> Vec<PortCheck> {
    let mut checks = vec![PortCheck { aspect: PortAspect::Exists, verdict: evidence.exists() }];
    let Found::Port(port) = evidence.port else { return checks };
    let mut add = |aspect, verdict| checks.push(PortCheck { aspect, verdict });
    add(PortAspect::Connectee, evidence.connectee(port));
    add(PortAspect::Cookie, cookie(evidence.connection, port));
    add(PortAspect::Conflict, conflict(port));
    add(PortAspect::Blocked, blocked(port));
    add(PortAspect::Link, evidence.link(port));
    add(PortAspect::Vlan, evidence.vlan(port));
    add(PortAspect::Mtu, evidence.mtu(port));
    add(PortAspect::Mac, evidence.mac(port));
    add(PortAspect::Host, evidence.host(port));
    checks
}

impl Evidence<'_> {
    fn exists(&self) -> Verdict {
        match self.port {
            Found::Missing => {
                let key = self.connection.port_key.as_deref().unwrap_or_default();
                Verdict::Bad(format!("the switch has no port {key}"))
            }
            Found::Port(port) => match (&port.portgroup_key, &self.connection.portgroup_key) {
                (Some(theirs), Some(ours)) if theirs != ours => Verdict::Bad(format!(
                    "the port {} is in the portgroup {theirs}, and the card in {ours}",
                    port.key
                )),
                _ => Verdict::Good,
            },
            Found::Unnamed => self.unnamed(),
            Found::Unread(reason) => Verdict::Unknown(format!("the port is not known: {reason}")),
        }
    }

    /// A card without a port: good or bad, depending on when it gets one.
    fn unnamed(&self) -> Verdict {
        let binding = self.portgroup.map(|portgroup| &portgroup.binding);
        match (binding, self.runs) {
            (Some(Binding::Early), _) => {
                Verdict::Bad("the card has got no port of its portgroup".to_owned())
            }
            (Some(Binding::Ephemeral | Binding::Late), Some(true)) | (None, Some(true)) => {
                Verdict::Bad("the machine runs, but the card has got no port".to_owned())
            }
            (Some(Binding::Ephemeral | Binding::Late), Some(false)) => {
                Verdict::NotYet("the card gets a port when the machine starts".to_owned())
            }
            _ => Verdict::Unknown(
                "the card has no port, and whether it should have one is not known".to_owned(),
            ),
        }
    }

    fn connectee(&self, port: &DistributedVirtualPort) -> Verdict {
        let Some(connectee) = &port.connectee else {
            // A server that makes cookies also says who is connected.
            let says = port.connection_cookie.or(self.connection.connection_cookie).is_some();
            return if says {
                Verdict::Bad("nobody is connected to the port".to_owned())
            } else {
                Verdict::Unknown("who is connected is not told".to_owned())
            };
        };
        if let Some(entity) = &connectee.connected_entity
            && entity != self.vm
        {
            return Verdict::Bad(format!("the port is taken by {entity}"));
        }
        if let Some(nic) = &connectee.nic_key
            && *nic != self.nic_key.to_string()
        {
            return Verdict::Bad(format!("the port is taken by the card {nic}"));
        }
        if connectee.connected_entity.is_none() || connectee.nic_key.is_none() {
            return Verdict::Unknown("who is connected is not told to this session".to_owned());
        }
        Verdict::Good
    }

    fn link(&self, port: &DistributedVirtualPort) -> Verdict {
        if self.runs == Some(false) {
            return Verdict::NotYet("the link shows when the machine runs".to_owned());
        }
        if self.connected == Some(false) {
            return Verdict::NotYet("the card is not connected".to_owned());
        }
        match port.runtime().and_then(|runtime| runtime.link_up) {
            Some(true) => Verdict::Good,
            Some(false) => {
                let detail = port.runtime().and_then(|runtime| runtime.status_detail.as_deref());
                let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
                Verdict::Bad(format!("the link is down{detail}"))
            }
            None => Verdict::Unknown("the state of the link is not told".to_owned()),
        }
    }

    /// What the port does, against what it is set to do.
    fn vlan(&self, port: &DistributedVirtualPort) -> Verdict {
        let Some(runtime) = port.runtime() else { return self.no_state() };
        let setting = port.config.setting.as_ref();
        let Some(set) = setting.and_then(|s| s.vlan.as_ref()).and_then(|vlan| vlan.value.as_ref())
        else {
            return Verdict::Unknown("the VLAN that the port is set to is not told".to_owned());
        };
        let wanted = match set {
            Vlan::Id(0) => Vec::new(),
            Vlan::Id(id) => vec![(*id, *id)],
            Vlan::Trunk(ranges) => pairs(ranges),
            // The running port of a private VLAN may show the primary or the secondary one.
            Vlan::Private(_) | Vlan::Unknown(_) | _ => return Verdict::Good,
        };
        let carried = pairs(&runtime.vlan_ids);
        if wanted == carried {
            return Verdict::Good;
        }
        let (wanted, carried) = (listed(&wanted), listed(&carried));
        Verdict::Bad(format!("the port carries {carried}, but is set to {wanted}"))
    }

    fn mtu(&self, port: &DistributedVirtualPort) -> Verdict {
        let Some(runtime) = port.runtime() else { return self.no_state() };
        let of_switch = self.switch.and_then(|switch| switch.max_mtu_bytes);
        match (runtime.mtu_bytes, of_switch) {
            (Some(mtu), Some(of_switch)) if mtu != of_switch => Verdict::Bad(format!(
                "the port takes frames of {mtu} bytes, and its switch such of {of_switch}"
            )),
            (Some(_), Some(_)) => Verdict::Good,
            _ => Verdict::Unknown("the largest frame is not told".to_owned()),
        }
    }

    fn mac(&self, port: &DistributedVirtualPort) -> Verdict {
        let Some(runtime) = port.runtime() else { return self.no_state() };
        match (&runtime.mac_address, self.mac) {
            (Some(seen), Some(mac)) if !seen.eq_ignore_ascii_case(mac) => Verdict::Bad(format!(
                "the port sees the MAC address {seen}, and the card has {mac}"
            )),
            (Some(_), Some(_)) => Verdict::Good,
            _ => Verdict::Unknown("the MAC address at the port is not told".to_owned()),
        }
    }

    fn host(&self, port: &DistributedVirtualPort) -> Verdict {
        match (&port.proxy_host, self.host) {
            (Some(serves), Some(host)) if serves != host => Verdict::Bad(format!(
                "the port is served by {serves}, and the machine is on {host}"
            )),
            (Some(_), Some(_)) => Verdict::Good,
            _ if self.runs == Some(false) => Verdict::NotYet(
                "the host that serves the port shows when the machine runs".to_owned(),
            ),
            _ => Verdict::Unknown("the host that serves the port is not told".to_owned()),
        }
    }

    /// For what shows only at a port that runs.
    fn no_state(&self) -> Verdict {
        if self.runs == Some(false) {
            Verdict::NotYet("the port's state shows when the machine runs".to_owned())
        } else {
            Verdict::Unknown("the port's state is not told".to_owned())
        }
    }
}

fn cookie(connection: &PortConnection, port: &DistributedVirtualPort) -> Verdict {
    match (connection.connection_cookie, port.connection_cookie) {
        (Some(ours), Some(theirs)) if ours == theirs => Verdict::Good,
        (Some(ours), Some(theirs)) => Verdict::Bad(format!(
            "the cookies do not agree: the port has {theirs}, and the card {ours}"
        )),
        _ => Verdict::Unknown("the cookies are not told".to_owned()),
    }
}

fn conflict(port: &DistributedVirtualPort) -> Verdict {
    if port.host_local_port == Some(true) {
        return Verdict::Bad(
            "a host made the port to bring its management back, and it is not for machines"
                .to_owned(),
        );
    }
    match (port.conflict, &port.conflict_port_key) {
        (Some(false), _) => Verdict::Good,
        (Some(true), Some(key)) => {
            Verdict::Bad(format!("the port is in conflict: it contends for the port {key}"))
        }
        (Some(true), None) => Verdict::Bad(
            "the port is in conflict: it is taken already, or a host made it without its vCenter"
                .to_owned(),
        ),
        (None, _) => Verdict::Unknown("whether the port is in conflict is not told".to_owned()),
    }
}

/// Both the setting and the switch can block a port.
fn blocked(port: &DistributedVirtualPort) -> Verdict {
    let set = port.config.setting.as_ref().and_then(is_set_to_block);
    match (port.runtime().and_then(|runtime: &PortStatus| runtime.blocked), set) {
        (_, Some(true)) => Verdict::Bad("the port is blocked by its configuration".to_owned()),
        (Some(true), _) => Verdict::Bad("the port is blocked".to_owned()),
        (Some(false), _) | (None, Some(false)) => Verdict::Good,
        (None, None) => Verdict::Unknown("whether the port is blocked is not told".to_owned()),
    }
}

fn is_set_to_block(setting: &PortSetting) -> Option<bool> {
    setting.blocked.as_ref().and_then(|policy: &Policy<bool>| policy.value)
}

/// Ranges of VLANs in order, without the one that stands for none.
fn pairs(ranges: &[NumericRange]) -> Vec<(i32, i32)> {
    let mut pairs: Vec<(i32, i32)> = ranges.iter().map(|range| (range.start, range.end)).collect();
    pairs.retain(|pair| *pair != (0, 0));
    pairs.sort_unstable();
    pairs
}

fn listed(pairs: &[(i32, i32)]) -> String {
    let one = |(start, end): &(i32, i32)| match start == end {
        true => start.to_string(),
        false => format!("{start}-{end}"),
    };
    match pairs {
        [] => "no VLAN".to_owned(),
        pairs => format!("VLAN {}", pairs.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use ovftransfer_vim::value::Object;
    use ovftransfer_vim::value::Value;

    use super::*;

    /// A port as a full server tells it, of a machine that runs.
    fn full() -> Object {
        port(Object::new("DVPortState").with("runtimeInfo", runtime("42")))
    }

    fn runtime(vlan: &str) -> Object {
        let range = Object::new("NumericRange").with("start", vlan).with("end", vlan);
        Object::new("DVPortStatus")
            .with("linkUp", true)
            .with("blocked", false)
            .with_each("vlanIds", [range])
            .with("mtu", 1500_u32)
            .with("macAddress", "00:50:56:AA:bb:cc")
    }

    fn port(state: Object) -> Object {
        let connectee = Object::new("DistributedVirtualSwitchPortConnectee")
            .with("connectedEntity", vm())
            .with("nicKey", "4000")
            .with("type", "vmVnic");
        let vlan = Object::new("VmwareDistributedVirtualSwitchVlanIdSpec").with("vlanId", 42_u32);
        let setting = Object::new("VMwareDVSPortSetting").with("vlan", vlan);
        Object::new("DistributedVirtualPort")
            .with("key", "7")
            .with("config", Object::new("DVPortConfigInfo").with("setting", setting))
            .with("portgroupKey", "dvportgroup-12")
            .with("proxyHost", host())
            .with("connectee", connectee)
            .with("conflict", false)
            .with("state", state)
            .with("connectionCookie", 5_u32)
    }

    fn vm() -> MoRef {
        MoRef::new("VirtualMachine", "vm-1")
    }

    fn host() -> MoRef {
        MoRef::new("HostSystem", "host-1")
    }

    /// The port with one field replaced, or taken away.
    fn changed(port: Object, name: &'static str, value: Option<Value>) -> Found {
        let whole = Value::from(port);
        let mut object = Object::new("DistributedVirtualPort");
        for field in FIELDS {
            let value = if field == name { value.clone() } else { whole.field(field).cloned() };
            object = object.with_some(field, value);
        }
        found(object)
    }

    const FIELDS: [&str; 9] = [
        "key",
        "config",
        "portgroupKey",
        "proxyHost",
        "connectee",
        "conflict",
        "conflictPortKey",
        "state",
        "connectionCookie",
    ];

    fn found(port: Object) -> Found {
        Found::Port(Box::new(DistributedVirtualPort::from_value(&port.into()).unwrap()))
    }

    fn connection() -> PortConnection {
        let mut connection = PortConnection::to_portgroup("50 21", "dvportgroup-12").on_port("7");
        connection.connection_cookie = Some(5);
        connection
    }

    /// The verdicts that are not good, by their words.
    fn verdicts(found: &Found, change: impl FnOnce(&mut Evidence<'_>)) -> Vec<(String, String)> {
        let (vm, host, connection) = (vm(), host(), connection());
        let switch = SwitchName {
            moref: MoRef::new("DistributedVirtualSwitch", "dvs-1"),
            name: "DVS0".to_owned(),
            uuid: "50 21".to_owned(),
            max_mtu_bytes: Some(1500),
        };
        let mut evidence = Evidence {
            vm: &vm,
            host: Some(&host),
            runs: Some(true),
            nic_key: 4000,
            mac: Some("00:50:56:aa:bb:cc"),
            connected: Some(true),
            connection: &connection,
            switch: Some(&switch),
            portgroup: None,
            port: found,
        };
        change(&mut evidence);
        let checks = judge(evidence).into_iter();
        let checks = checks.filter(|check| check.verdict != Verdict::Good);
        checks
            .map(|PortCheck { aspect, verdict }| {
                let reason = verdict.reason().unwrap_or_default();
                (format!("{} {}", aspect.word(), verdict.word()), reason.to_owned())
            })
            .collect()
    }

    fn words(found: &Found, change: impl FnOnce(&mut Evidence<'_>)) -> Vec<String> {
        verdicts(found, change).into_iter().map(|(words, _)| words).collect()
    }

    #[test]
    fn a_port_as_it_should_be_is_good_in_every_aspect() {
        assert_eq!(words(&found(full()), |_| {}), [""; 0]);
        // One that runs not, yet.
        let off = found(port(Object::new("DVPortState")));
        let later = ["link not_yet", "vlan not_yet", "mtu not_yet", "mac not_yet"];
        let blocked = ["blocked unknown"];
        assert_eq!(
            words(&off, |evidence| evidence.runs = Some(false)),
            [&blocked[..], &later].concat()
        );
    }

    #[test]
    fn what_is_wrong_is_told_by_its_aspect() {
        let connectee = |entity: &'static str, nic: &str| {
            let entity = MoRef::new("VirtualMachine", entity);
            let who = Object::untyped().with("connectedEntity", entity).with("nicKey", nic);
            Some(Value::from(who))
        };
        let state = |runtime: Object| {
            Some(Value::from(Object::new("DVPortState").with("runtimeInfo", runtime)))
        };
        let cases: [(&str, Option<Value>, &str, &str); 10] = [
            ("connectee", connectee("vm-2", "4000"), "connectee bad", "VirtualMachine:vm-2"),
            ("connectee", connectee("vm-1", "4001"), "connectee bad", "card 4001"),
            ("connectee", None, "connectee bad", "nobody"),
            ("connectionCookie", Some(6_u32.into()), "cookie bad", "port has 6, and the card 5"),
            ("connectionCookie", None, "cookie unknown", "not told"),
            ("conflict", Some(true.into()), "conflict bad", "without its vCenter"),
            ("conflict", None, "conflict unknown", "not told"),
            ("portgroupKey", Some("dvportgroup-13".into()), "exists bad", "dvportgroup-13"),
            ("proxyHost", Some(MoRef::new("HostSystem", "host-2").into()), "host bad", "host-2"),
            ("state", state(runtime("43")), "vlan bad", "carries VLAN 43, but is set to VLAN 42"),
        ];
        for (name, value, expected, word) in cases {
            let verdicts = verdicts(&changed(full(), name, value), |_| {});
            assert_eq!(verdicts.len(), 1, "{name}: {verdicts:?}");
            assert_eq!(verdicts[0].0, expected, "{name}");
            assert!(verdicts[0].1.contains(word), "{name}: {}", verdicts[0].1);
        }
    }

    #[test]
    fn a_conflict_names_the_port_that_is_contended_for() {
        let contended = full().with("conflictPortKey", "9");
        let verdicts = verdicts(&changed(contended, "conflict", Some(true.into())), |_| {});
        assert!(verdicts[0].1.ends_with("the port 9"), "{verdicts:?}");
    }

    #[test]
    fn the_link_counts_only_while_machine_and_card_are_on() {
        let down = Object::new("DVPortStatus").with("linkUp", false).with("statusDetail", "cut");
        let down = Value::from(Object::new("DVPortState").with("runtimeInfo", down));
        let down = changed(full(), "state", Some(down));
        let link = |change: fn(&mut Evidence<'_>)| {
            let mut found = verdicts(&down, change).into_iter();
            found.find(|(words, _)| words.starts_with("link")).unwrap()
        };
        assert_eq!(link(|_| {}), ("link bad".to_owned(), "the link is down (cut)".to_owned()));
        assert_eq!(link(|evidence| evidence.runs = Some(false)).0, "link not_yet");
        assert_eq!(link(|evidence| evidence.connected = Some(false)).0, "link not_yet");
        assert_eq!(link(|evidence| evidence.runs = None).0, "link bad");
    }

    #[test]
    fn a_card_without_a_port_depends_on_the_portgroup() {
        let portgroup = |binding| PortgroupName {
            moref: MoRef::new("DistributedVirtualPortgroup", "dvportgroup-12"),
            key: "dvportgroup-12".to_owned(),
            name: "DPG0".to_owned(),
            binding,
        };
        for (binding, runs, expected) in [
            (Some(Binding::Early), Some(false), "exists bad"),
            (Some(Binding::Early), None, "exists bad"),
            (Some(Binding::Ephemeral), Some(false), "exists not_yet"),
            (Some(Binding::Late), Some(false), "exists not_yet"),
            (Some(Binding::Ephemeral), Some(true), "exists bad"),
            (Some(Binding::Ephemeral), None, "exists unknown"),
            (None, Some(true), "exists bad"),
            (None, Some(false), "exists unknown"),
        ] {
            let portgroup = binding.map(portgroup);
            let words = {
                let (vm, connection) = (vm(), connection());
                let evidence = Evidence {
                    vm: &vm,
                    host: None,
                    runs,
                    nic_key: 4000,
                    mac: None,
                    connected: None,
                    connection: &connection,
                    switch: None,
                    portgroup: portgroup.as_ref(),
                    port: &Found::Unnamed,
                };
                let checks = judge(evidence);
                assert_eq!(checks.len(), 1);
                format!("{} {}", checks[0].aspect.word(), checks[0].verdict.word())
            };
            assert_eq!(words, expected, "{portgroup:?} {runs:?}");
        }
        assert_eq!(words(&Found::Missing, |_| {}), ["exists bad"]);
        assert_eq!(words(&Found::Unread("no".to_owned()), |_| {}), ["exists unknown"]);
    }

    /// As of a server with less than the reference.
    #[test]
    fn a_port_that_says_nothing_is_unknown_and_not_bad() {
        let bare = Object::new("DistributedVirtualPort").with("key", "7");
        let connection = PortConnection::to_portgroup("50 21", "dvportgroup-12").on_port("7");
        let found = found(bare);
        let (vm, host) = (vm(), host());
        let checks = judge(Evidence {
            vm: &vm,
            host: Some(&host),
            runs: Some(true),
            nic_key: 4000,
            mac: None,
            connected: None,
            connection: &connection,
            switch: None,
            portgroup: None,
            port: &found,
        });
        let mut unknown = checks.iter().skip(1);
        assert_eq!((checks.len(), &checks[0].verdict), (10, &Verdict::Good));
        assert!(unknown.all(|check| matches!(check.verdict, Verdict::Unknown(_))), "{checks:?}");
    }
}
