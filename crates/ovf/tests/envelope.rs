//! Descriptors: what is read from good ones, what is said about bad ones.
#![expect(clippy::expect_used, reason = "a helper of tests fails by panicking")]

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::EnvelopeError;
use ovftransfer_ovf::envelope::DESCRIPTOR_BYTES_MAX;
use ovftransfer_ovf::envelope::EnvelopeFault;
use ovftransfer_ovf::envelope::EnvelopeVersion;
use proptest::prelude::*;

const TWO_DISKS: &str = include_str!("data/two-disks.ovf");
const COLLECTION: &str = include_str!("data/collection.ovf");
const VERSION_2: &str = include_str!("data/version-2.ovf");

fn refused(text: &str) -> EnvelopeError {
    Envelope::parse(text).expect_err("a bad descriptor")
}

#[test]
fn a_machine_with_two_disks() {
    let envelope = Envelope::parse(TWO_DISKS).unwrap();
    assert_eq!(envelope.version(), EnvelopeVersion::V1);

    let hrefs: Vec<_> = envelope.references().iter().map(|file| file.href().as_str()).collect();
    assert_eq!(hrefs, ["disk-1.vmdk", "disk-2.vmdk", "tools.iso", "machine.nvram"]);
    let second = envelope.file("file2").unwrap();
    assert_eq!(second.size_bytes(), Some(68608));
    assert_eq!(second.compression(), Some("gzip"));
    assert_eq!(second.chunk_size_bytes(), Some(1 << 20));

    let [first, second] = envelope.disks() else { panic!("two disks") };
    assert_eq!((first.id(), first.file_ref()), ("vmdisk1", Some("file1")));
    assert_eq!((first.capacity_bytes(), first.populated_bytes()), (8 << 30, Some(1_310_720)));
    assert!(first.format().ends_with("#streamOptimized"));
    assert_eq!((second.capacity_bytes(), second.populated_bytes()), (1 << 30, None));

    let [network] = envelope.networks() else { panic!("one network") };
    assert_eq!((network.name(), network.description()), ("VM Network", Some("Where & how")));
}

#[test]
fn the_hardware_of_a_machine() {
    let envelope = Envelope::parse(TWO_DISKS).unwrap();
    let [system] = envelope.systems() else { panic!("one machine") };
    assert_eq!((system.id(), system.name()), ("machine", Some("machine")));
    assert_eq!((system.os_id(), system.os_type()), (Some(96), Some("debian12_64Guest")));
    assert_eq!(system.hardware_family(), Some("vmx-19"));
    assert_eq!(system.annotation(), Some("two <lines>\nof notes"));

    let types: Vec<_> = system.items().iter().map(|item| item.resource_type()).collect();
    assert_eq!(types, [3, 4, 6, 17, 17, 15, 10], "the range of processors is not a device");
    let [_, memory, controller, disk, other_disk, cd, adapter] = system.items() else {
        panic!("seven devices")
    };
    assert_eq!(memory.quantity_bytes(), Some(512 << 20));
    assert_eq!(memory.configuration(), Some("small large"));
    assert_eq!(controller.resource_sub_type(), Some("VirtualSCSI"));
    assert_eq!((disk.parent(), disk.address_on_parent()), (Some("3"), Some("0")));
    assert_eq!(disk.disk_ids().collect::<Vec<_>>(), ["vmdisk1"]);
    assert_eq!(other_disk.disk_ids().collect::<Vec<_>>(), ["vmdisk2"]);
    assert_eq!(cd.file_ids().collect::<Vec<_>>(), ["file3"]);
    assert_eq!(adapter.connections(), ["VM Network"]);
    assert_eq!(adapter.element_name(), Some("Network adapter 1"));
}

#[test]
fn a_collection_is_flattened_in_document_order() {
    let envelope = Envelope::parse(COLLECTION).unwrap();
    let ids: Vec<_> = envelope.systems().iter().map(|system| system.id()).collect();
    assert_eq!(ids, ["first", "second", "third"]);

    let disk = |id| envelope.disk(id).unwrap();
    assert_eq!(disk("top").parent_ref(), Some("bottom"));
    assert_eq!(disk("top").capacity_bytes(), disk("bottom").capacity_bytes());
    assert_eq!(disk("scratch").capacity_bytes(), 10 << 20, "by a property");
    assert_eq!(envelope.file("base").unwrap().href().as_str(), "base.vmdk");
}

#[test]
fn version_2_has_other_items() {
    let envelope = Envelope::parse(VERSION_2).unwrap();
    assert_eq!(envelope.version(), EnvelopeVersion::V2);
    let capacities: Vec<_> = envelope.disks().iter().map(|disk| disk.capacity_bytes()).collect();
    assert_eq!(capacities, [1 << 40, 512]);
    let [system] = envelope.systems() else { panic!("one machine") };
    let [disk, adapter] = system.items() else { panic!("two devices") };
    assert_eq!(disk.disk_ids().collect::<Vec<_>>(), ["d"]);
    assert_eq!(adapter.connections(), ["lan"]);
}

#[test]
fn bytes_stay_as_they_came() {
    let marked = format!("\u{feff}{}", TWO_DISKS.replace('\n', "\r\n"));
    let envelope = Envelope::parse(marked.as_str()).unwrap();
    assert_eq!(envelope.bytes(), marked.as_bytes());
    assert_eq!(envelope.text(), &marked[3..]);
}

#[test]
fn what_a_transfer_cannot_use_is_refused() {
    for (from, to, fault) in [
        ("ovf:id=\"file2\"", "ovf:id=\"file1\"", "a second file reference with the id \"file1\""),
        ("\"disk-2.vmdk\"", "\"disk-1.vmdk\"", "a second file reference to disk-1.vmdk"),
        ("\"disk-2.vmdk\"", "\"../disk-2.vmdk\"", "\"..\" part (DSP0243 §7.1)"),
        ("\"disk-2.vmdk\"", "\"https://host/disk-2.vmdk\"", "the name is a URL"),
        ("ovf:href=\"disk-2.vmdk\"", "href=\"disk-2.vmdk\"", "File has no href"),
        ("\"68608\"", "\"-1\"", "size is \"-1\""),
        ("\"68608\"", "\"9223372036854775808\"", "size is"),
        ("diskId=\"vmdisk2\"", "diskId=\"vmdisk1\"", "a second disk with the id"),
        ("fileRef=\"file2\"", "fileRef=\"file9\"", "fileRef refers to the file \"file9\""),
        ("fileRef=\"file2\"", "parentRef=\"x\"", "parentRef refers to the disk \"x\""),
        ("fileRef=\"file2\"", "parentRef=\"vmdisk2\"", "its own ancestor"),
        ("\"byte * 2^30\"", "\"byte * 2^62\"", "capacity is \"8 byte * 2^62\""),
        ("\"byte * 2^30\"", "\"hertz\"", "\"hertz\" is not a unit of bytes"),
        ("\"1073741824\"", "\"1.5\"", "capacity is \"1.5 byte\""),
        ("\"1073741824\"", "\"${size}\"", "the property \"size\", which has no value"),
        ("ovf:capacity=\"1073741824\"", "", "Disk has no capacity"),
        ("ovf:/disk/vmdisk1", "ovf:/disk/other", "HostResource refers to the disk \"other\""),
        ("ovf:/file/file3", "ovf:/file/other", "HostResource refers to the file \"other\""),
        ("<r:ResourceType>17<", "<r:ResourceType>x<", "ResourceType is \"x\""),
        ("ovf/envelope/1\"", "ovf/envelope/9\"", "not an Envelope of OVF 0.9, 1.x or 2.x"),
        ("</ovf:Envelope>", "", "not well-formed XML"),
        ("&amp;", "&how;", "not well-formed XML"),
        ("<!--", "<!DOCTYPE a [<!ENTITY b \"c\">]><!--", "document type declaration"),
    ] {
        let text = TWO_DISKS.replacen(from, to, 1);
        assert_ne!(text, TWO_DISKS, "{from}");
        let message = refused(&text).to_string();
        assert!(message.contains(fault), "{from} -> {to}: {message}");
    }
}

#[test]
fn an_error_says_where() {
    let text = COLLECTION.replacen("o:parentRef='bottom'", "o:parentRef='missing'", 1);
    let error = refused(&text);
    assert_eq!((error.position().line, error.position().column), (9, 5));
    assert_eq!(
        error.to_string(),
        "descriptor, line 9, column 5: parentRef refers to the disk \"missing\", which is not in \
         the DiskSection (DSP0243 §9.1)"
    );
    let error = Envelope::parse(b"<a>\n\xC3\xA9\xFF</a>".to_vec()).unwrap_err();
    assert_eq!((error.position().line, error.position().column), (2, 2));
}

#[test]
fn parents_in_a_circle_are_found() {
    let text = COLLECTION.replacen("o:diskId='bottom'", "o:diskId='bottom' o:parentRef='top'", 1);
    assert!(matches!(refused(&text).fault(), EnvelopeFault::ParentCircle { .. }));
}

#[test]
fn what_costs_too_much_is_refused_at_once() {
    let envelope = |inside: &str| {
        format!("<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\">{inside}</Envelope>")
    };
    let attributes: String = (0..40_000).map(|n| format!(" a{n}=''")).collect();
    let namespaces: String = (0..65).map(|n| format!(" xmlns:a{n}='u'")).collect();
    let nested_namespaces = "<b xmlns:a='u' xmlns:b='v'>".repeat(40);
    for (inside, what) in [
        ("<a>".repeat(100_000), "nested elements exceed the limit of 256"),
        (format!("<a{attributes}/>"), "attributes of an element exceed the limit of 256"),
        (format!("<a{namespaces}/>"), "namespaces in scope exceed the limit of 64"),
        (nested_namespaces, "namespaces in scope exceed the limit of 64"),
        ("<a/>".repeat(250_000), "elements and texts exceed the limit of 200000"),
        (" ".repeat(DESCRIPTOR_BYTES_MAX), "bytes exceed the limit of 4194304"),
    ] {
        let message = refused(&envelope(&inside)).to_string();
        assert!(message.contains(what), "{message}");
    }
}

#[test]
fn not_even_an_empty_file_panics() {
    for text in ["", "\u{feff}", "<", "<a", "<a>", "</a>", "text", "<a/>", "<?xml?>", "<a/><b/>"] {
        refused(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _checked = Envelope::parse(bytes);
    }

    #[test]
    fn no_mutation_panics(
        sample in prop::sample::select(vec![TWO_DISKS, COLLECTION, VERSION_2]),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = sample.as_bytes().to_vec();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _checked = Envelope::parse(bytes);
    }

    #[test]
    fn no_lost_or_doubled_line_panics(
        sample in prop::sample::select(vec![TWO_DISKS, COLLECTION, VERSION_2]),
        place in any::<prop::sample::Index>(),
        times in prop::sample::select(vec![0_usize, 2]),
    ) {
        let lines: Vec<&str> = sample.lines().collect();
        let place = place.index(lines.len());
        let text: String = lines
            .iter()
            .enumerate()
            .map(|(at, line)| line.repeat(if at == place { times } else { 1 }) + "\n")
            .collect();
        let _checked = Envelope::parse(text);
    }
}

#[test]
fn files_on_web_servers_are_references_for_those_who_want_them() {
    let text = r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
                            xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
        <References>
            <File ovf:id="1" ovf:href="https://u:p@host/a/disk.vmdk?sig=a/b"/>
            <File ovf:id="2" ovf:href="HTTP://host/a/disk.vmdk"/>
            <File ovf:id="3" ovf:href="http://host/"/>
            <File ovf:id="4" ovf:href="remote-1"/>
            <File ovf:id="5" ovf:href="https://host/sub/other.vmdk"/>
            <File ovf:id="6" ovf:href="other.vmdk"/>
        </References><VirtualSystem ovf:id="vm"/></Envelope>"#;
    let envelope = Envelope::parse_with_urls(text).unwrap();
    let files: Vec<_> =
        envelope.references().iter().map(|file| (file.href().as_str(), file.url())).collect();
    assert_eq!(files[0], ("disk.vmdk", Some("https://u:p@host/a/disk.vmdk?sig=a/b")));
    assert_eq!(files[1], ("remote-2", Some("HTTP://host/a/disk.vmdk")));
    assert_eq!(files[2], ("remote-3", Some("http://host/")));
    assert_eq!(files[3], ("remote-1", None));
    assert_eq!(files[4], ("remote-4", Some("https://host/sub/other.vmdk")));
    assert_eq!(files[5], ("other.vmdk", None));
    let name = envelope.references()[0].href().clone();
    let edited = envelope.edit().file_href("1", &name).apply().unwrap();
    assert!(edited.text().contains(r#"<File ovf:id="1" ovf:href="disk.vmdk"/>"#));
    assert_eq!(edited.references()[0].url(), None);

    assert!(Envelope::parse(text).is_err());
    for href in ["ftp://host/x", "file:///etc/passwd", "file:x", "/x", "https:x/../../y", "x://y"] {
        let text = text.replace("http://host/\"", &format!("{href}\""));
        assert!(Envelope::parse_with_urls(text).is_err(), "{href}");
    }
    let long = text.replace("http://host/\"", &format!("http://host/{}\"", "x".repeat(9_000)));
    assert!(Envelope::parse_with_urls(long).is_err());
}
