//! Descriptors.

use std::fmt::Write as _;

use super::Case;
use super::tar::DESCRIPTOR;

/// All of them.
pub(crate) fn descriptors() -> Vec<Case> {
    let text = String::from_utf8_lossy(DESCRIPTOR).into_owned();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to).into_bytes()
    };
    let file = |attributes: &str| with("ovf:href=\"data.bin\"", attributes);
    let disk = |attributes: &str| {
        let disk = format!(
            "</References><DiskSection><Disk ovf:diskId=\"d\" {attributes}/></DiskSection>"
        );
        with("</References>", &disk)
    };
    let nested = |levels: usize| {
        let inside = format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
        with("<Info>A machine</Info>", &format!("<Info>A machine</Info>{inside}"))
    };
    let many_attributes = |count: usize| {
        let attributes = (0..count).fold(String::new(), |mut text, number| {
            let _infallible = write!(text, " a{number}=\"\"");
            text
        });
        with("<Info>", &format!("<Info{attributes}>"))
    };
    let many_files = |href: &str, count: usize| {
        let files = (0..count).fold(String::new(), |mut text, number| {
            let _infallible = write!(text, "<File ovf:id=\"{number}\" ovf:href=\"{href}\"/>");
            text
        });
        let last = "<File ovf:id=\"last\" ovf:href=\"../../etc/passwd\"/></References>";
        with("</References>", &format!("{files}{last}"))
    };
    let utf16 = |order: fn(u16) -> [u8; 2], mark: bool| {
        let units = mark.then_some(0xFEFF).into_iter().chain(text.encode_utf16());
        units.flat_map(order).collect::<Vec<u8>>()
    };
    let mut cases = vec![
        Case::sane("as it should be", DESCRIPTOR.to_vec()),
        Case::sane("mark of utf-8", ["\u{feff}", &text].concat().into_bytes()),
        Case::sane("line ends of Windows", text.replace('\n', "\r\n").into_bytes()),
        Case::sane("200 levels", nested(200)),
        Case::refused("300 levels", nested(300), "nested"),
        Case::refused("100,000 levels", nested(100_000), "nested"),
        Case::refused("300 attributes", many_attributes(300), "attributes"),
        Case::refused("40,000 attributes", many_attributes(40_000), "attributes"),
        Case::refused(
            "100,000 addresses without a name",
            many_files("http://", 100_000),
            "the name",
        ),
        Case::refused("5 MiB", [&text, &" ".repeat(5 << 20)[..]].concat().into_bytes(), "limit"),
        Case::refused("utf-16", utf16(u16::to_le_bytes, true), "UTF-16"),
        Case::refused("utf-16, big end first", utf16(u16::to_be_bytes, true), "UTF-16"),
        Case::refused("utf-16, no mark", utf16(u16::to_le_bytes, false), "UTF-16"),
        Case::refused(
            "latin-1",
            with("A machine", "\u{1}")
                .into_iter()
                .map(|byte| if byte == 1 { 0xE4 } else { byte })
                .collect(),
            "UTF-8",
        ),
        Case::refused("a zero", with("A machine", "\0"), ""),
        Case::refused("nothing", Vec::new(), ""),
        Case::refused("blanks", b" \n".repeat(100), ""),
        Case::refused("not xml", b"rubbish".to_vec(), ""),
        Case::refused("cut", DESCRIPTOR[..DESCRIPTOR.len() / 2].to_vec(), ""),
        Case::refused("escape in a tag", with("</Info>", "</\u{1b}[2J>"), "not well-formed"),
        Case::refused("a long tag", with("</Info>", &format!("</{}>", "x".repeat(50_000))), "…"),
        Case::refused("two roots", [DESCRIPTOR, &DESCRIPTOR[39..]].concat(), ""),
        Case::refused("another root", b"<html/>".to_vec(), ""),
        Case::refused(
            "another namespace",
            with("http://schemas.dmtf.org/ovf/envelope/1", "urn:x"),
            "",
        ),
        Case::refused(
            "no machine",
            with("<VirtualSystem ovf:id=\"vm\"><Info>A machine</Info></VirtualSystem>", ""),
            "",
        ),
        Case::refused(
            "the same id twice",
            with("</References>", "<File ovf:id=\"file1\" ovf:href=\"b\"/></References>"),
            "file1",
        ),
        Case::refused(
            "a file that is not there",
            disk("ovf:capacity=\"1\" ovf:fileRef=\"file2\""),
            "file2",
        ),
        Case::refused(
            "capacity of 2^64",
            disk("ovf:capacity=\"18446744073709551616\""),
            "capacity",
        ),
        Case::refused(
            "capacity of 2^63 GiB",
            disk(
                "ovf:capacity=\"9223372036854775808\" ovf:capacityAllocationUnits=\"byte * 2^30\"",
            ),
            "capacity",
        ),
        Case::refused(
            "unit of 2^64",
            disk("ovf:capacity=\"1\" ovf:capacityAllocationUnits=\"byte * 2^64\""),
            "unit of bytes",
        ),
        Case::refused(
            "unit of 2^(2^32)",
            disk("ovf:capacity=\"1\" ovf:capacityAllocationUnits=\"byte * 2^4294967296\""),
            "unit of bytes",
        ),
        Case::refused("capacity below zero", disk("ovf:capacity=\"-1\""), "capacity"),
        Case::refused(
            "size of 2^64",
            file("ovf:href=\"data.bin\" ovf:size=\"18446744073709551616\""),
            "size",
        ),
        Case::refused("no href", file("ovf:href=\"\""), "no href"),
        Case::refused("size below zero", file("ovf:href=\"data.bin\" ovf:size=\"-1\""), "size"),
    ];
    for (name, subset) in [
        ("entities in entities", BOMB),
        ("an entity of a file", "<!DOCTYPE Envelope [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>"),
        ("an entity of a server", "<!DOCTYPE Envelope SYSTEM \"http://127.0.0.1:9/evil.dtd\">"),
        ("a document type", "<!DOCTYPE Envelope>"),
    ] {
        let xml = text.replace("A machine", "&a;").replacen("?>", &format!("?>{subset}"), 1);
        cases.push(Case::refused(name, xml.into_bytes(), "document type"));
    }
    for (name, href) in [
        ("traversal", "../../etc/passwd"),
        ("absolute", "/etc/passwd"),
        ("backslash", "..\\evil"),
        ("drive letter", "C:/evil"),
        ("file url", "file:///etc/passwd"),
        ("new line", "a&#10;b"),
    ] {
        let xml = file(&format!("ovf:href=\"{href}\""));
        cases.push(Case::refused(format!("href, {name}"), xml, "the name"));
    }
    cases
}

/// Each entity is ten of the one before: 10^10 letters in the end.
const BOMB: &str = "<!DOCTYPE Envelope [<!ENTITY j \"jjjjjjjjjj\">\
    <!ENTITY i \"&j;&j;&j;&j;&j;&j;&j;&j;&j;&j;\"><!ENTITY h \"&i;&i;&i;&i;&i;&i;&i;&i;&i;&i;\">\
    <!ENTITY g \"&h;&h;&h;&h;&h;&h;&h;&h;&h;&h;\"><!ENTITY f \"&g;&g;&g;&g;&g;&g;&g;&g;&g;&g;\">\
    <!ENTITY e \"&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;\"><!ENTITY d \"&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;\">\
    <!ENTITY c \"&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;\"><!ENTITY b \"&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;\">\
    <!ENTITY a \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">]>";
