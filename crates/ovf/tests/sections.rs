//! The sections that few descriptors have.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::collections::BTreeSet;
use std::fs;

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::envelope::Bound;
use ovftransfer_ovf::envelope::HardwareItem;

mod support;

const SECTIONS: &str = include_str!("data/sections.ovf");

const GERMAN: &str = r#"<Strings xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xml:lang="de-DE">
    <Msg ovf:msgid="terms">Bedingungen</Msg><Msg ovf:msgid="large">Gross</Msg><Msg ovf:msgid="hint"/>
  </Strings>"#;

fn envelope() -> Envelope {
    Envelope::parse(SECTIONS).unwrap()
}

#[test]
fn a_capacity_depends_on_the_configuration() {
    let envelope = envelope();
    let [data, scratch, fixed] = envelope.disks() else { panic!("three disks") };
    assert_eq!(data.capacity_property(), Some("app.size.1"));
    assert_eq!(data.capacity_bytes(), 40 << 30, "in the default configuration");
    assert_eq!(data.capacity_bytes_in(Some("small")), 10 << 30, "no value of its own");
    assert_eq!(data.capacity_bytes_in(None), 10 << 30);
    assert_eq!(data.capacity_bytes_in(Some("odd")), 40 << 30, "not a number");
    let of = |id| scratch.capacity_bytes_in(Some(id));
    assert_eq!(
        (of("small"), of("large"), of("other")),
        (1_000_000_000, 2_000_000_000, 2_000_000_000)
    );
    assert_eq!(
        (fixed.capacity_property(), fixed.capacity_bytes_in(Some("large"))),
        (None, 3 << 20)
    );
    // Without a value for the default configuration there is no capacity.
    let text =
        SECTIONS.replace("\"2\" ovf:configuration=\"large\"", "\"2\" ovf:configuration=\"x\"");
    let error = Envelope::parse(text).unwrap_err();
    assert!(error.to_string().contains("\"app.scratch.1\", which has no value"), "{error}");
}

#[test]
fn a_range_is_no_device() {
    let envelope = envelope();
    let web = &envelope.systems()[0];
    let [cpu, many, cd] = web.items() else { panic!("three devices") };
    assert_eq!(
        (cpu.weight(), cpu.cores_per_socket(), cpu.bound()),
        (Some(500), Some(2), Bound::Normal)
    );
    assert_eq!(web.ranges().len(), 3, "one of them makes no sense, one is of no known bound");
    let quantity = |item, bound| web.range_of(item, bound).and_then(HardwareItem::quantity);
    assert_eq!((quantity(cpu, Bound::Min), quantity(cpu, Bound::Max)), (Some(1), Some(8)));
    assert_eq!((quantity(many, Bound::Min), quantity(many, Bound::Max)), (Some(1), Some(64)));
    assert_eq!(quantity(cd, Bound::Max), None);
    assert!(cpu.is_required() && !cd.is_required());
    assert_eq!((cd.automatic_allocation(), cd.description()), (Some(false), Some("For setup")));
    assert_eq!(cd.config()[0].key, "backing.exclusive");
    let [memory] = &envelope.collections()[0].resources[..] else { panic!("one reservation") };
    assert_eq!((memory.reservation(), memory.limit()), (Some(2048), Some(4096)));
    assert_eq!(memory.configuration(), Some("large"));
}

#[test]
fn devices_have_names() {
    let envelope = envelope();
    let [cpu, _, cd] = envelope.systems()[0].items() else { panic!("three devices") };
    assert_eq!((cpu.resource_name(), cpu.sub_type_name()), (Some("Processor"), None));
    assert_eq!((cd.resource_name(), cd.sub_type_name()), (Some("CD drive"), Some("CD image")));
    for (number, name) in [
        ("0", None),
        ("1", Some("Other")),
        ("17", Some("Disk drive")),
        ("24", Some("Graphics controller")),
        ("33", Some("Ethernet connection")),
        ("34", None),
        ("35", Some("Sound card")),
        ("65535", None),
    ] {
        let text = SECTIONS.replace(">15<", &format!(">{number}<"));
        let envelope = Envelope::parse(text).unwrap();
        assert_eq!(envelope.systems()[0].items()[2].resource_name(), name, "{number}");
    }
}

#[test]
fn what_a_machine_is_set_to() {
    let envelope = envelope();
    let web = &envelope.systems()[0];
    assert_eq!(web.transports(), ["com.vmware.guestInfo", "iso"]);
    let [firmware, nested] = web.config() else { panic!("two have a key") };
    assert_eq!((firmware.key.as_str(), firmware.value.as_str()), ("firmware", "efi"));
    assert!(firmware.is_required && !nested.is_required);
    assert_eq!(web.extra_config()[0].key, "nvram");
    let install = web.install().unwrap();
    assert!(install.initial_boot);
    assert_eq!(install.stop_delay_s, 300);
    let [cd, disk] = web.boot_order() else { panic!("two devices") };
    assert_eq!((cd.kind.as_str(), &cd.instance_id), ("cdrom", &None));
    assert_eq!((disk.kind.as_str(), disk.instance_id.as_deref()), ("disk", Some("4")));
}

#[test]
fn sections_of_vendors_are_told() {
    let envelope = envelope();
    let all: Vec<_> = envelope
        .vendor_sections()
        .iter()
        .map(|one| (one.name.as_str(), one.is_required, one.collection, one.system))
        .collect();
    assert_eq!(
        all,
        [
            ("AuditSection", true, None, None),
            ("HintSection", false, None, None),
            ("PlacementGroupSection", true, None, None),
            ("AuditSection", true, Some(0), None),
            ("BootOrderSection", true, None, Some(0)),
            ("BootOrderSection", true, None, Some(0)),
            ("ApplianceSection", true, None, Some(0)),
            ("UnheardOfSection", true, None, Some(0)),
        ]
    );
    let audit = &envelope.vendor_sections()[0];
    assert_eq!(
        (audit.namespace.as_str(), audit.info.as_deref()),
        ("urn:example", Some("Who may read"))
    );
    assert_eq!(envelope.position(audit.at_byte).line, 21);
    let unknown: Vec<_> = envelope.unknown_required().map(|one| one.name.as_str()).collect();
    assert_eq!(unknown, ["AuditSection", "AuditSection", "UnheardOfSection"]);
}

#[test]
fn texts_come_in_a_language_and_from_other_files() {
    let envelope = envelope();
    let ids: Vec<_> = envelope.bundles().iter().map(|one| one.file_id.as_deref()).collect();
    assert_eq!(ids, [None, Some("german"), Some("broken")]);
    let texts = |language: Option<&str>, bundle: &str| {
        let mut asked = Vec::new();
        let localized = envelope.localized(language, |file| {
            asked.push(file.href().to_string());
            Some(if file.id() == "german" { bundle.into() } else { b"<Strings".to_vec() })
        });
        assert_eq!(asked, ["texts/de.xml", "texts/fr.xml"]);
        let localized = localized.unwrap();
        let label = localized.configurations()[1].label.clone().unwrap();
        (label, localized.eulas().next().unwrap().license.clone())
    };
    let pair = |label: &str, license: &str| (label.to_owned(), license.to_owned());
    assert_eq!(texts(None, GERMAN), pair("Large", "Terms"));
    assert_eq!(texts(Some("de-DE"), GERMAN), pair("Gross", "Bedingungen"));
    assert_eq!(texts(Some("de_AT"), GERMAN), pair("Gross", "Bedingungen"), "the same language");
    assert_eq!(texts(Some("en"), GERMAN), pair("Large", "Terms"));
    assert_eq!(texts(Some("fr"), GERMAN), pair("Large", "Terms"), "the bundle is broken");
    assert_eq!(texts(Some("de-DE"), "<HTML/>"), pair("Large", "Terms"));
    let german = envelope.localized(Some("de-DE"), |_| Some(GERMAN.into())).unwrap();
    assert_eq!(german.vendor_sections()[1].info.as_deref(), Some("A hint"), "the message is empty");
    let nothing = envelope.localized(Some("de-DE"), |_| None).unwrap();
    assert_eq!(nothing.eulas().next().unwrap().license, "Terms");
}

/// The descriptors of other people that have such sections, by the ends of their paths.
#[test]
fn sections_of_other_peoples_descriptors() {
    type Check = fn(&Envelope) -> bool;
    let checks: [(&str, Check); 8] = [
        ("ovftoolresources/nvapp001.ovf", |one| {
            let [cpu, memory] = &one.collections()[0].resources[..] else { return false };
            memory.reservation() == Some(512)
                && cpu.resource_name() == Some("Processor")
                && one.bundles()[0].file_id.as_deref() == Some("eula")
                && one.vendor_sections().len() == 2
                && one.unknown_required().count() == 0
                && one.systems()[0].transports() == ["iso"]
        }),
        ("external-msg/external.ovf", |one| {
            let text = "<Strings xmlns='http://schemas.dmtf.org/ovf/envelope/1' xmlns:o=\
                        'http://schemas.dmtf.org/ovf/envelope/1'><Msg o:msgid='info3'>i</Msg></Strings>";
            let mut asked = 0;
            let localized = one.localized(Some("en-US"), |_| {
                asked += 1;
                Some(text.into())
            });
            localized.is_ok() && asked == 1 && one.vendor_sections().len() == 1
        }),
        ("sun-ovfEnv/sun-ovfEnv.ovf", |one| {
            one.systems()[0].install().is_some_and(|install| install.stop_delay_s == 22)
        }),
        ("bios-without-uuid-with-boot-order-nvram.ovf", |one| {
            let order = one.systems()[0].boot_order();
            order.len() == 1 && order[0].instance_id.as_deref() == Some("5")
        }),
        ("VirtualHardware/Pos/maxonly_bound.ovf", |one| {
            let web = &one.systems()[0];
            let memory = web.items().iter().find(|item| item.resource_type() == 4).unwrap();
            web.range_of(memory, Bound::Max).and_then(HardwareItem::reservation) == Some(1024)
                && web.range_of(memory, Bound::Min).is_none()
        }),
        ("VirtualHardware/Pos/item_msgid.ovf", |one| one.bundles().len() == 1),
        ("nvdimm_vmx_12.ovf", |one| {
            let named = |item: &&HardwareItem| item.sub_type_name() == Some("NVDIMM");
            one.systems()[0].items().iter().any(|item| named(&item))
        }),
        ("ovf_extra_config/descriptor.ovf", |one| !one.systems()[0].extra_config().is_empty()),
    ];
    let mut checked = BTreeSet::new();
    let (mut vendor, mut required, mut settings, mut ranges) = (0, 0, 0, 0);
    for path in support::corpus() {
        let Ok(envelope) = Envelope::parse_alone(fs::read(&path).unwrap()) else { continue };
        vendor += envelope.vendor_sections().len();
        required += envelope.unknown_required().count();
        for system in envelope.systems() {
            settings += system.config().len() + system.extra_config().len();
            ranges += system.ranges().len();
        }
        let path = path.to_str().unwrap();
        if let Some(at) = checks.iter().position(|(end, _)| path.ends_with(end)) {
            assert!(checks[at].1(&envelope), "{path}");
            checked.insert(at);
        }
    }
    assert!(checked.is_empty() || checked.len() == checks.len(), "{checked:?}");
    println!(
        "{vendor} vendor sections, {required} required and unknown, {settings} settings, {ranges} ranges"
    );
}
