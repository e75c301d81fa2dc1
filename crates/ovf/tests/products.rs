//! What a descriptor says about the product in it: for people, and for whoever asks them.

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::envelope::EnvelopeFault;
use proptest::prelude::*;

const PRODUCTS: &str = include_str!("data/products.ovf");
const TWO_DISKS: &str = include_str!("data/two-disks.ovf");

#[test]
fn a_product_and_its_properties() {
    let envelope = Envelope::parse(PRODUCTS).unwrap();
    let [suite, web] = envelope.products().collect::<Vec<_>>()[..] else { panic!("two products") };
    assert_eq!(suite.class.as_deref(), Some("com.example.suite"));
    assert_eq!(suite.info.as_deref(), Some("About the suite"));
    assert_eq!(suite.name.as_deref(), Some("Suite"));
    assert_eq!(suite.vendor.as_deref(), Some("Example"));
    assert_eq!(suite.version.as_deref(), Some("1.2"));
    assert_eq!(suite.full_version.as_deref(), Some("1.2.3 build 4"));
    assert_eq!(suite.product_url.as_deref(), Some("http://example.com/suite"));
    assert_eq!(suite.vendor_url.as_deref(), Some("http://example.com"));
    assert_eq!(suite.app_url.as_deref(), Some("https://${vami.ip0}/"));

    let [first, port, secret, odd] = &suite.properties[..] else { panic!("four have a key") };
    assert_eq!((first.key.as_str(), first.kind.as_str()), ("first", "string"));
    assert_eq!((first.value.as_deref(), &first.category), (Some(""), &None));
    assert_eq!(port.qualifiers.as_deref(), Some("MinValue(1)"));
    assert_eq!(port.category.as_deref(), Some("Network"));
    assert_eq!(port.description.as_deref(), Some("Where it listens"));
    assert_eq!(port.value_in(None), Some("80"));
    assert_eq!(port.value_in(Some("small")), Some("80"), "a value without a value is none");
    assert_eq!(port.value_in(Some("large")), Some("8080"));
    assert!(secret.is_password && !port.is_password);
    assert_eq!((secret.value.as_deref(), secret.category.as_deref()), (None, Some("Access")));
    let may_set = [first, port, secret, odd].map(|property| property.user_configurable);
    assert_eq!(may_set, [Some(true), Some(true), Some(false), None]);
    assert_eq!(odd.configuration.as_deref(), Some("small"));

    assert_eq!(suite.key_of(port), "com.example.suite.port");
    assert_eq!(web.key_of(&web.properties[0]), "com.example.web.port.1");
    assert_eq!(web.properties[0].user_configurable, None);
}

#[test]
fn texts_are_in_the_language_of_the_envelope() {
    let envelope = Envelope::parse(PRODUCTS).unwrap();
    let [small, large] = envelope.configurations() else { panic!("two have an id") };
    assert_eq!((small.label.as_deref(), small.description.as_deref()), (Some("Small"), None));
    assert_eq!(large.label.as_deref(), Some("Large"), "en-GB before en-US before de-DE");
    let eulas: Vec<_> = envelope.eulas().map(|eula| eula.license.as_str()).collect();
    assert_eq!(eulas, ["Terms & conditions", "Own terms"]);
    assert_eq!(envelope.networks()[0].description(), Some("The LAN"));
    assert_eq!(envelope.collections()[0].annotation.as_deref(), Some("The LAN"));
    let port = &envelope.collections()[0].products[0].properties[1];
    assert_eq!(port.label.as_deref(), Some("Port auf Deutsch"), "better than nothing");
}

#[test]
fn the_structure_of_a_collection() {
    let envelope = Envelope::parse(PRODUCTS).unwrap();
    let [suite, back] = envelope.collections() else { panic!("two collections") };
    assert_eq!((suite.id.as_str(), suite.name.as_deref()), ("suite", Some("The suite")));
    assert_eq!((suite.collection, back.collection), (None, Some(0)));
    let [web, db] = envelope.systems() else { panic!("two machines") };
    assert_eq!((web.collection(), db.collection()), (Some(0), Some(1)));
    assert_eq!((web.os_description(), web.os_version()), (Some("Debian 12"), Some("12")));

    let [first, second] = &suite.startup[..] else { panic!("two have an id") };
    assert_eq!((first.id.as_str(), first.order, first.start_delay_s), ("db", 1, Some(30)));
    assert_eq!(first.start_action.as_deref(), Some("powerOn"));
    assert_eq!(
        (first.stop_action.as_deref(), first.stop_delay_s),
        (Some("guestShutdown"), Some(5))
    );
    assert!(first.waits_for_guest && !second.waits_for_guest);

    let addresses = envelope.ip_assignment().unwrap();
    assert_eq!(addresses.protocols, ["IPv4", "IPv6"]);
    assert_eq!(addresses.schemes, ["dhcp"]);
}

#[test]
fn hardware_depends_on_the_configuration() {
    let envelope = Envelope::parse(PRODUCTS).unwrap();
    assert_eq!(envelope.default_configuration().unwrap().id, "large");
    let quantities = |configuration| {
        let items = envelope.systems()[0].items_in(configuration);
        items.iter().map(|item| item.quantity().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(quantities(None), [2]);
    assert_eq!(quantities(Some("large")), [8]);
    assert_eq!(quantities(Some("small")), [2, 512]);

    let text = PRODUCTS.replace(" ovf:default=\"true\"", "");
    let envelope = Envelope::parse(text).unwrap();
    assert_eq!(envelope.default_configuration().unwrap().id, "small", "the first");
    assert!(Envelope::parse(TWO_DISKS).unwrap().default_configuration().is_none());
}

#[test]
fn references_to_elsewhere_stand_aside_when_a_descriptor_is_read_alone() {
    for href in ["../disk-2.vmdk", "https://host/disk-2.vmdk"] {
        let text = TWO_DISKS.replace("\"disk-2.vmdk\"", &format!("\"{href}\""));
        assert!(Envelope::parse(text.as_str()).is_err());
        let envelope = Envelope::parse_alone(text.as_str()).unwrap();
        assert_eq!(envelope.outside(), [href]);
        assert_eq!((envelope.references().len(), envelope.file("file2")), (3, None));
        assert_eq!(envelope.disk("vmdisk2").unwrap().file_ref(), Some("file2"));
        assert_eq!(envelope.text(), text);
    }
    // All else is refused as ever.
    assert!(Envelope::parse_alone(TWO_DISKS.replace("\"file2\"", "\"file1\"")).is_err());
    assert!(Envelope::parse(TWO_DISKS).unwrap().outside().is_empty());
}

#[test]
fn copies_of_texts_have_a_limit() {
    let with = |inside: &str, bundle: &str| {
        let text = format!(
            "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' \
             xmlns:o='http://schemas.dmtf.org/ovf/envelope/1'><VirtualSystem o:id='vm'>\
             <ProductSection>{inside}</ProductSection></VirtualSystem>\
             <Strings><Msg o:msgid='m'>{bundle}</Msg></Strings></Envelope>"
        );
        Envelope::parse(text).map(drop).map_err(|error| error.fault().clone())
    };
    let long = "x".repeat(2 << 20);
    let property = "<Property o:key='k'><Label o:msgid='m'/></Property>";
    assert_eq!(with(&property.repeat(2), &long), Ok(()));
    let is_limit = |outcome| matches!(outcome, Err(EnvelopeFault::Limit { .. }));
    assert!(is_limit(with(&property.repeat(3), &long)));
    let category = format!("<Category>{long}</Category>");
    assert_eq!(with(&format!("{category}{}", "<Property o:key='k'/>".repeat(2)), ""), Ok(()));
    assert!(is_limit(with(&format!("{category}{}", "<Property o:key='k'/>".repeat(3)), "")));
    assert!(is_limit(with(&format!("<Property o:key='{}'/>", "k".repeat(1025)), "")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_mutation_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        line in any::<prop::sample::Index>(),
        times in prop::sample::select(vec![0_usize, 1, 2]),
    ) {
        let lines: Vec<&str> = PRODUCTS.lines().collect();
        let line = line.index(lines.len());
        let kept = lines.iter().enumerate();
        let text: String =
            kept.map(|(at, text)| text.repeat(if at == line { times } else { 1 }) + "\n").collect();
        let mut bytes = text.into_bytes();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(envelope) = Envelope::parse_alone(bytes) {
            for product in envelope.products() {
                for property in &product.properties {
                    prop_assert!(product.key_of(property).contains(&property.key));
                }
            }
        }
    }
}

/// As the descriptor of the vCenter 6.5 appliance has it: the processors of all its sizes together
/// would be 326.
#[test]
fn a_configuration_without_a_prefix_is_one() {
    let item = |id: u32, configuration: &str, quantity: u32| {
        format!(
            "<Item {configuration}><rasd:ElementName>cpu</rasd:ElementName>\
             <rasd:InstanceID>{id}</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>\
             <rasd:VirtualQuantity>{quantity}</rasd:VirtualQuantity></Item>"
        )
    };
    let text = format!(
        "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' \
         xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1' xmlns:rasd='http://schemas.dmtf.org/\
         wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData'>\
         <VirtualSystem ovf:id='vm'><VirtualHardwareSection>{}{}</VirtualHardwareSection>\
         </VirtualSystem></Envelope>",
        item(1, "configuration='tiny'", 2),
        item(2, "configuration='large'", 16),
    );
    let envelope = Envelope::parse(text).unwrap();
    let cpus = |configuration| {
        let items = envelope.systems()[0].items_in(Some(configuration));
        items.iter().filter_map(|item| item.quantity()).collect::<Vec<_>>()
    };
    assert_eq!((cpus("tiny"), cpus("large")), (vec![2], vec![16]));
}
