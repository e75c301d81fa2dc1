//! The drafts before OVF 1.0: read like the standard, never written.

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::envelope::EnvelopeFault;
use ovftransfer_ovf::envelope::EnvelopeVersion;

const DRAFT: &str = include_str!("data/draft.ovf");

/// As some packers wrote it: a default namespace, so that every element has one.
fn with_default_namespace() -> String {
    let namespace = "xmlns=\"http://www.vmware.com/schema/ovf/1/envelope\" e:version";
    DRAFT.replacen("e:version", namespace, 1)
}

#[test]
fn a_draft_is_read_in_both_spellings() {
    for text in [DRAFT.to_owned(), with_default_namespace()] {
        let envelope = Envelope::parse(text).unwrap();
        assert_eq!(envelope.version(), EnvelopeVersion::Draft);
        let [file] = envelope.references() else { panic!("one file") };
        assert_eq!((file.id(), file.size_bytes()), ("file1", Some(70144)));
        let [system, data] = envelope.disks() else { panic!("two disks") };
        assert_eq!((system.capacity_bytes(), system.file_ref()), (8 << 30, Some("file1")));
        assert_eq!(data.capacity_bytes(), 10 << 20, "by a property, in its default value");
        assert_eq!(envelope.networks()[0].name(), "lan");
        assert_eq!(envelope.networks()[0].description(), Some("The LAN"));
        assert_eq!(envelope.default_configuration().unwrap().label.as_deref(), Some("Small"));

        let [all] = envelope.collections() else { panic!("one collection") };
        assert_eq!((all.id.as_str(), all.startup[0].id.as_str()), ("all", "web"));
        let [web] = envelope.systems() else { panic!("one machine") };
        assert_eq!((web.id(), web.collection()), ("web", Some(0)));
        assert_eq!((web.os_id(), web.os_description()), (Some(36), Some("Other Linux")));
        assert_eq!(web.hardware_family(), Some("vmx-04"));
        assert_eq!(web.eulas()[0].license, "Bedingungen", "of a bundle");
        let product = &web.products()[0];
        assert_eq!(product.name.as_deref(), Some("App"));
        assert_eq!(product.properties[0].value.as_deref(), Some("10"));

        let [memory, controller, disk] = web.items() else { panic!("three devices") };
        assert_eq!(memory.quantity_bytes(), Some(512 << 20));
        assert_eq!(memory.element_name(), Some("512 MB of memory"), "its caption");
        assert_eq!((controller.instance_id(), controller.address()), ("3", Some("1")));
        assert_eq!(disk.disk_ids().collect::<Vec<_>>(), ["system"]);
    }
}

#[test]
fn the_standard_has_nothing_of_the_drafts() {
    let text =
        DRAFT.replace("www.vmware.com/schema/ovf/1/envelope", "schemas.dmtf.org/ovf/envelope/1");
    let error = Envelope::parse(text.as_str()).unwrap_err();
    assert!(error.to_string().contains("Envelope has no VirtualSystem"), "{error}");
    let text =
        text.replacen("e:version", "xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" e:version", 1);
    assert!(Envelope::parse(text).is_err());
}

#[test]
fn a_draft_is_checked_like_the_standard() {
    for (from, to, problem) in [
        ("\"file1\" e:capacity", "\"file2\" e:capacity", "fileRef refers to the file \"file2\""),
        ("/disk/system", "/disk/other", "HostResource refers to the disk \"other\""),
        ("disk-1.vmdk", "../disk-1.vmdk", "\"..\" part"),
        ("e:VirtualSystem", "r:VirtualSystem", "Envelope has no VirtualSystem"),
    ] {
        let error = Envelope::parse(DRAFT.replace(from, to)).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[test]
fn a_draft_is_not_changed() {
    let envelope = Envelope::parse(DRAFT).unwrap();
    assert_eq!(envelope.edit().apply().unwrap().bytes(), DRAFT.as_bytes());
    let error = envelope.edit().file_size("file1", Some(1)).apply().unwrap_err();
    assert_eq!(error.fault(), &EnvelopeFault::Draft);
    assert!(
        error.to_string().contains("a draft of OVF (version 0.9), which is read but not changed")
    );
    let order = [FileName::new("disk-1.vmdk").unwrap()];
    assert!(envelope.edit().order_references(&order).apply().is_err());
}
