//! Units, mistakes and what only a client minds.

use super::*;

fn envelope(content: &str) -> Result<Envelope, Fault> {
    Envelope::parse(&format!(
        "<Envelope xmlns='{}' xmlns:ovf='{}'\n xmlns:r='{CIM}x'>\n{content}</Envelope>",
        OVF[0], OVF[0]
    ))
}

#[test]
fn units_in_any_writing() {
    for (text, bytes) in [
        ("byte", 1),
        ("Byte * 2 ^ 10", 1 << 10),
        ("byte*1024*1024", 1 << 20),
        ("byte * 10^9", 1_000_000_000),
        ("MegaBytes", 1 << 20),
        ("GB", 1 << 30),
    ] {
        assert_eq!(bytes_of_unit(text), Some(bytes), "{text}");
    }
    for text in ["", "bit", "byte *", "byte * 0", "byte * -1", "byte * 2^64", "hertz * 10^6"] {
        assert_eq!(bytes_of_unit(text), None, "{text}");
    }
}

#[test]
fn every_mistake_has_its_fault_and_its_line() {
    let machine = "<VirtualSystem ovf:id='a'/>";
    for (content, kind, line) in [
        ("", "OvfMissingElement", 1),
        ("<References><File ovf:id='a'/></References>", "OvfMissingAttribute", 3),
        (
            "<References>\n<File ovf:id='a' ovf:href='a' ovf:size='9223372036854775808'/></References>",
            "OvfInvalidValueFormatMalformed",
            4,
        ),
        (
            "<DiskSection><Disk ovf:diskId='d' ovf:fileRef='x' ovf:capacity='1'/></DiskSection>",
            "OvfInvalidValueReference",
            3,
        ),
        (
            "<DiskSection><Disk ovf:diskId='d' ovf:capacity='${x}'/></DiskSection>",
            "OvfInvalidValueReference",
            3,
        ),
        (
            "<DiskSection><Disk ovf:diskId='d' ovf:capacity='1' ovf:capacityAllocationUnits='x'/></DiskSection>",
            "OvfInvalidValueFormatMalformed",
            3,
        ),
        (
            "<VirtualSystem><VirtualHardwareSection>\n<Item><r:InstanceID>1</r:InstanceID></Item></VirtualHardwareSection></VirtualSystem>",
            "OvfMissingElement",
            4,
        ),
        (
            "<VirtualSystem><VirtualHardwareSection><Item><r:InstanceID>1</r:InstanceID><r:ResourceType>17</r:ResourceType><r:HostResource>ovf:/disk/x</r:HostResource></Item></VirtualHardwareSection></VirtualSystem>",
            "OvfInvalidValueReference",
            3,
        ),
    ] {
        let fault = envelope(content).unwrap_err();
        assert_eq!(fault.kind(), kind, "{content}");
        assert_eq!(fault.detail.unwrap()["lineNumber"], line, "{content}");
    }
    let old = "<Envelope xmlns='http://www.vmware.com/schema/ovf/1/envelope'/>";
    assert_eq!(Envelope::parse(old).unwrap_err().kind(), "OvfUnsupportedPackage");
    assert_eq!(Envelope::parse("<HTML/>").unwrap_err().kind(), "OvfXmlFormat");
    let foreign = format!("{machine}<x:New xmlns:x='urn:x'><Info>new</Info></x:New>");
    assert_eq!(envelope(&foreign).unwrap().unsupported()[0].kind(), "OvfUnsupportedSection");
    let foreign = foreign.replace("<x:New", "<x:New ovf:required='false'");
    assert!(envelope(&foreign).unwrap().unsupported().is_empty());
}

#[test]
fn names_and_sizes_that_only_a_client_minds() {
    let files = "<References><File ovf:id='a' ovf:href='../a' ovf:size='-2'/></References>";
    let envelope = envelope(&format!("{files}<VirtualSystem id='x'/>")).unwrap();
    assert_eq!(envelope.references()[0].href(), "../a");
    assert_eq!(envelope.references()[0].size_bytes(), None);
    assert_eq!(envelope.systems()[0].id(), "x");
}
