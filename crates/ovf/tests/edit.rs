//! Edits: what is asked for changes, and nothing else does.
//!
//! What an edit should come to is worked out on the tree, what it comes to is read from the text.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::collections::BTreeMap;
use std::fs;

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::FileName;
use ovftransfer_ovf::envelope::Edit;
use ovftransfer_ovf::envelope::EnvelopeFault;
use ovftransfer_ovf::envelope::EnvelopeVersion;
use proptest::prelude::*;
use roxmltree::Document;
use roxmltree::Node;
use roxmltree::ParsingOptions;

mod support;

const TWO_DISKS: &str = include_str!("data/two-disks.ovf");
const COLLECTION: &str = include_str!("data/collection.ovf");
const VERSION_2: &str = include_str!("data/version-2.ovf");
const PRODUCTS: &str = include_str!("data/products.ovf");

const ODD_NAME: &str = "a & \"b\" 'c'.vmdk";

#[test]
fn each_change_is_a_splice() {
    let envelope = Envelope::parse(TWO_DISKS).unwrap();
    type Change = fn(&mut Edit<'_>);
    let changes: [(Change, &str, &str); 13] = [
        (
            |edit| _ = edit.file_href("file1", &FileName::new(ODD_NAME).unwrap()),
            "\"disk-1.vmdk\"",
            "\"a &amp; &quot;b&quot; 'c'.vmdk\"",
        ),
        (|edit| _ = edit.file_size("file1", Some(7)), "\"70144\"", "\"7\""),
        (|edit| _ = edit.file_size("file1", None), " ovf:size=\"70144\"", ""),
        (
            |edit| _ = edit.file_compression("file3", Some("gzip")),
            "\"2048\"/>",
            "\"2048\" ovf:compression=\"gzip\"/>",
        ),
        (|edit| _ = edit.file_compression("file2", None), " ovf:compression=\"gzip\"", ""),
        (|edit| _ = edit.file_chunk_size("file2", Some(5)), "\"1048576\"", "\"5\""),
        (
            |edit| _ = edit.remove_file("file4"),
            "\n    <ovf:File ovf:id=\"file4\" ovf:href=\"machine.nvram\" ovf:size=\"270840\"/>",
            "",
        ),
        (
            |edit| _ = edit.disk_format("vmdisk2", "urn:x"),
            "\"1073741824\"\n              ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\"",
            "\"1073741824\"\n              ovf:format=\"urn:x\"",
        ),
        (|edit| _ = edit.disk_capacity("vmdisk1", 9 << 30), "\"8\"", "\"9\""),
        (
            |edit| _ = edit.disk_capacity("vmdisk1", 512),
            "\"8\" ovf:capacityAllocationUnits=\"byte * 2^30\"",
            "\"512\"",
        ),
        (|edit| _ = edit.disk_capacity("vmdisk2", 512), "\"1073741824\"", "\"512\""),
        (
            |edit| _ = edit.disk_populated("vmdisk1", None),
            "\n              ovf:populatedSize=\"1310720\"",
            "",
        ),
        (
            |edit| _ = edit.disk_file_ref("vmdisk2", Some("file3")),
            "fileRef=\"file2\"",
            "fileRef=\"file3\"",
        ),
    ];
    for (change, from, to) in changes {
        assert_eq!(TWO_DISKS.matches(from).count(), 1, "{from}");
        let mut edit = envelope.edit();
        change(&mut edit);
        assert_eq!(edit.apply().unwrap().text(), TWO_DISKS.replace(from, to));
    }
}

#[test]
fn what_is_so_already_is_not_written_again() {
    let text = TWO_DISKS
        .replace("\"disk-1.vmdk\"", "'./disk-1.vmdk'")
        .replace("\"70144\"", "\" 070144 \"")
        .replace('\n', "\r\n");
    let text = format!("\u{feff}{text}");
    let envelope = Envelope::parse(text.as_str()).unwrap();
    let mut edit = envelope.edit();
    edit.file_href("file1", &FileName::new("else").unwrap());
    edit.file_href("file1", &FileName::new("disk-1.vmdk").unwrap());
    edit.file_size("file1", Some(70144)).file_compression("file1", None);
    edit.file_chunk_size("file2", Some(1 << 20)).disk_capacity("vmdisk1", 8 << 30);
    edit.disk_populated("vmdisk2", None).disk_file_ref("vmdisk2", Some("file2"));
    let names: Vec<_> = envelope.references().iter().map(|file| file.href().clone()).collect();
    edit.order_references(&names);
    assert_eq!(edit.apply().unwrap().into_bytes(), text.as_bytes());
    assert_eq!(envelope.edit().apply().unwrap().bytes(), text.as_bytes());
}

#[test]
fn a_capacity_that_is_a_property_becomes_a_number_if_it_changes() {
    let envelope = Envelope::parse(COLLECTION).unwrap();
    let same = envelope.edit().disk_capacity("scratch", 10 << 20).apply().unwrap();
    assert_eq!(same.text(), COLLECTION);
    let other = envelope.edit().disk_capacity("scratch", 11 << 20).apply().unwrap();
    assert_eq!(other.disk("scratch").unwrap().capacity_bytes(), 11 << 20);
    assert_ne!(other.text(), COLLECTION);
}

#[test]
fn names_can_be_exchanged_and_files_ordered_by_the_new_ones() {
    let envelope = Envelope::parse(TWO_DISKS).unwrap();
    let [first, second] = ["disk-1.vmdk", "disk-2.vmdk"].map(|name| FileName::new(name).unwrap());
    let mut edit = envelope.edit();
    edit.file_href("file1", &second).file_href("file2", &first);
    edit.order_references(std::slice::from_ref(&first));
    let edited = edit.apply().unwrap();
    let ids: Vec<_> = edited.references().iter().map(|file| file.id()).collect();
    assert_eq!(ids, ["file2", "file1", "file3", "file4"]);
    assert_eq!(edited.file("file2").unwrap().href(), &first);
}

#[test]
fn an_edit_of_what_is_not_there_or_is_still_needed_is_refused() {
    let envelope = Envelope::parse(TWO_DISKS).unwrap();
    let fault = |edit: &Edit<'_>| edit.apply().unwrap_err().to_string();
    assert!(
        fault(envelope.edit().file_size("file9", Some(1)))
            .contains("the edit refers to the file \"file9\", which is not in the References")
    );
    // Also if there is nothing to change.
    let error = envelope.edit().file_size("file9", None).apply().unwrap_err();
    assert!(matches!(error.fault(), EnvelopeFault::UnknownFile { .. }));
    let error = envelope.edit().remove_disk("file1").apply().unwrap_err();
    assert!(matches!(error.fault(), EnvelopeFault::UnknownDisk { .. }));
    assert!(fault(envelope.edit().remove_file("file1")).contains("fileRef refers to the file"));
    assert!(fault(envelope.edit().remove_disk("vmdisk1")).contains("HostResource refers"));
    let taken = FileName::new("disk-1.vmdk").unwrap();
    assert!(fault(envelope.edit().file_href("file2", &taken)).contains("a second file reference"));
    assert!(fault(envelope.edit().disk_format("vmdisk1", "\0")).contains("not well-formed"));
}

#[test]
fn a_reference_to_elsewhere_can_be_brought_home() {
    let text = TWO_DISKS.replace("disk-2.vmdk", "http://host/disk-2.vmdk");
    let envelope = Envelope::parse_alone(text.as_str()).unwrap();
    let home = FileName::new("disk-2.vmdk").unwrap();
    assert_eq!(envelope.edit().file_href("file2", &home).apply().unwrap().text(), TWO_DISKS);
}

#[test]
fn many_changes_cost_no_more_than_each() {
    let files: String =
        (0..12_000).map(|n| format!("<File o:id='f{n}' o:href='d/{n}'/>")).collect();
    let disks: String = (0..12_000)
        .map(|n| format!("<Disk o:diskId='d{n}' o:fileRef='f{n}' o:capacity='${{size}}'/>"))
        .collect();
    let values: String =
        (0..12_000).map(|n| format!("<Value o:value='{n}' o:configuration='c{n}'/>")).collect();
    let text = format!(
        "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' \
         xmlns:o='http://schemas.dmtf.org/ovf/envelope/1'><References>{files}</References>\
         <DiskSection>{disks}</DiskSection><DeploymentOptionSection><Configuration o:id='c11999'/>\
         </DeploymentOptionSection><VirtualSystem o:id='vm'><ProductSection>\
         <Property o:key='size' o:type='uint32'>{values}</Property></ProductSection></VirtualSystem>\
         </Envelope>"
    );
    let envelope = Envelope::parse(text).unwrap();
    let mut edit = envelope.edit();
    let mut names = Vec::new();
    for n in (0..12_000_u64).rev() {
        let name = FileName::new(format!("e/{n}")).unwrap();
        edit.file_href(&format!("f{n}"), &name).disk_populated(&format!("d{n}"), Some(n));
        names.push(name);
    }
    // With each looked for among all this takes 40 times as long.
    let edited = edit.order_references(&names).apply().unwrap();
    assert_eq!(edited.references()[0].href().as_str(), "e/11999");
    assert_eq!(edited.disk("d7").unwrap().populated_bytes(), Some(7));
    assert_eq!(edited.disk("d7").unwrap().capacity_bytes(), 11_999);
}

/// One change of a file or disk, by its place among those there are.
#[derive(Clone, Debug)]
enum Change {
    Attribute { is_file: bool, place: prop::sample::Index, what: usize, value: Option<u64> },
    Order { places: Vec<prop::sample::Index> },
    Remove { is_file: bool, place: prop::sample::Index },
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = any::<prop::sample::Index>;
    let value = prop::option::weighted(0.7, 0..(1_u64 << 50));
    let change = prop_oneof![
        8 => (any::<bool>(), place(), 0..4_usize, value)
            .prop_map(|(is_file, place, what, value)| Change::Attribute { is_file, place, what, value }),
        1 => prop::collection::vec(place(), 0..4).prop_map(|places| Change::Order { places }),
        1 => (any::<bool>(), place()).prop_map(|(is_file, place)| Change::Remove { is_file, place }),
    ];
    prop::collection::vec(change, 1..8)
}

/// A node of the tree, with what an edit could change of it.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Element {
        name: String,
        attributes: BTreeMap<String, String>,
        children: Vec<Self>,
    },
    /// A text, comment or processing instruction.
    Other(String),
}

fn pieces(node: Node<'_, '_>) -> Vec<Piece> {
    let mut found = Vec::new();
    for child in node.children() {
        if child.is_element() {
            let attributes = child.attributes().map(|one| {
                (format!("{{{}}}{}", one.namespace().unwrap_or(""), one.name()), one.value().into())
            });
            found.push(Piece::Element {
                name: format!("{:?}", child.tag_name()),
                attributes: attributes.collect(),
                children: pieces(child),
            });
        } else if child.is_text() {
            // Blank text goes with the element behind it.
            if !child.text().unwrap().trim().is_empty() {
                found.push(Piece::Other(format!("text {:?}", child.text())));
            }
        } else {
            found.push(Piece::Other(format!("{:?} {:?}", child.node_type(), child.text())));
        }
    }
    found
}

fn tree(text: &str) -> Vec<Piece> {
    let options = ParsingOptions::default();
    pieces(Document::parse_with_options(text, options).unwrap().root())
}

/// Calls `change` with every element that has an attribute of this name and value, in `References`
/// or a section of disks.
fn every<'p>(
    pieces: &'p mut Vec<Piece>,
    key: &str,
    id: &str,
    change: &mut dyn FnMut(&mut Vec<Piece>, usize),
) {
    let is_it = |piece: &Piece| {
        matches!(piece, Piece::Element { attributes, name, .. }
            if attributes.get(key).is_some_and(|own| own == id)
                && (name.contains("File") || name.contains("Disk")))
    };
    if let Some(at) = pieces.iter().position(is_it) {
        change(pieces, at);
        return;
    }
    for piece in pieces {
        if let Piece::Element { children, .. } = piece {
            every(children, key, id, change);
        }
    }
}

/// Applies changes to the envelope, and to the tree of it by another way; compares the two.
fn check(envelope: &Envelope, changes: &[Change]) {
    let text = envelope.text();
    let ovf =
        Document::parse(text).unwrap().root_element().tag_name().namespace().unwrap().to_owned();
    let key = |name: &str| format!("{{{ovf}}}{name}");
    let mut wanted = tree(text);
    let mut edit = envelope.edit();
    let mut removed = Vec::new();
    let mut order = Vec::new();
    for change in changes {
        match change {
            Change::Attribute { is_file, place, what, value } => {
                let count =
                    if *is_file { envelope.references().len() } else { envelope.disks().len() };
                if count == 0 {
                    continue;
                }
                let place = place.index(count);
                let (id, name, value, is_so) = if *is_file {
                    let file = &envelope.references()[place];
                    let id = file.id();
                    match what {
                        0 => {
                            let name = format!("new {} <&'\">", value.unwrap_or(0));
                            // Files are unique by their place.
                            let name = FileName::new(format!("{name} {place}")).unwrap();
                            edit.file_href(id, &name);
                            (id, "href", Some(name.as_str().to_owned()), false)
                        }
                        1 => {
                            edit.file_size(id, *value);
                            (id, "size", value.map(|n| n.to_string()), file.size_bytes() == *value)
                        }
                        2 => {
                            let value = value.map(|n| format!("x\t'\"<{n}>&"));
                            edit.file_compression(id, value.as_deref());
                            let is_so = file.compression() == value.as_deref();
                            (id, "compression", value, is_so)
                        }
                        _ => {
                            edit.file_chunk_size(id, *value);
                            let is_so = file.chunk_size_bytes() == *value;
                            (id, "chunkSize", value.map(|n| n.to_string()), is_so)
                        }
                    }
                } else {
                    let disk = &envelope.disks()[place];
                    let id = disk.id();
                    if *what == 0 {
                        let format = format!("http://x#{value:?}");
                        edit.disk_format(id, &format);
                        (id, "format", Some(format), false)
                    } else {
                        edit.disk_populated(id, *value);
                        let is_so = disk.populated_bytes() == *value;
                        (id, "populatedSize", value.map(|n| n.to_string()), is_so)
                    }
                };
                let original = tree(text);
                let id_key = key(if *is_file { "id" } else { "diskId" });
                let mut own = None;
                every(&mut original.clone(), &id_key, id, &mut |pieces, at| {
                    if let Piece::Element { attributes, .. } = &pieces[at] {
                        own = attributes.get(&key(name)).cloned();
                    }
                });
                let value = if is_so { own } else { value };
                every(&mut wanted, &id_key, id, &mut |pieces, at| {
                    if let Piece::Element { attributes, .. } = &mut pieces[at] {
                        match &value {
                            Some(value) => attributes.insert(key(name), value.clone()),
                            None => attributes.remove(&key(name)),
                        };
                    }
                });
            }
            Change::Order { places } if !envelope.references().is_empty() => {
                let count = envelope.references().len();
                order = places.iter().map(|place| place.index(count)).collect();
            }
            Change::Remove { is_file: true, place } if !envelope.references().is_empty() => {
                let id = envelope.references()[place.index(envelope.references().len())].id();
                edit.remove_file(id);
                removed.push((key("id"), id));
            }
            Change::Remove { is_file: false, place } if !envelope.disks().is_empty() => {
                let id = envelope.disks()[place.index(envelope.disks().len())].id();
                edit.remove_disk(id);
                removed.push((key("diskId"), id));
            }
            Change::Order { .. } | Change::Remove { .. } => {}
        }
    }
    for (key, id) in &removed {
        every(&mut wanted, key, id, &mut |pieces, at| drop(pieces.remove(at)));
    }
    match edit.apply() {
        Ok(edited) => {
            assert_eq!(tree(edited.text()), wanted);
            let names: Vec<FileName> = order
                .iter()
                .filter_map(|place| edited.file(envelope.references()[*place].id()))
                .map(|file| file.href().clone())
                .collect();
            let ordered = edit.order_references(&names).apply().unwrap();
            let mut rest: Vec<_> = edited.references().iter().map(|file| file.href()).collect();
            rest.sort_by_key(|name| {
                names.iter().position(|one| one == *name).unwrap_or(usize::MAX)
            });
            let hrefs: Vec<_> = ordered.references().iter().map(|file| file.href()).collect();
            assert_eq!(hrefs, rest);
            // Sorted, lines are the same, and back in the old order so are the bytes.
            let old: Vec<_> = edited.references().iter().map(|file| file.href().clone()).collect();
            let back = ordered.edit().order_references(&old).apply().unwrap();
            assert_eq!(back.bytes(), edited.bytes());
        }
        // Something refers to what was removed.
        Err(error) => {
            assert!(!removed.is_empty(), "{error}");
            let fault = error.fault();
            assert!(
                matches!(
                    fault,
                    EnvelopeFault::UnknownFile { .. } | EnvelopeFault::UnknownDisk { .. }
                ),
                "{error}"
            );
        }
    }
}

/// Sets every value to another one and back: the bytes are those before.
fn there_and_back(envelope: &Envelope) {
    let mut edit = envelope.edit();
    for file in envelope.references() {
        edit.file_href(file.id(), &FileName::new(format!("{}.other", file.href())).unwrap());
        if let Some(bytes) = file.size_bytes() {
            edit.file_size(file.id(), Some(bytes ^ 1));
        }
        let chunk = file.chunk_size_bytes().map_or(Some(7), |_| None);
        if file.chunk_size_bytes().is_none() {
            edit.file_chunk_size(file.id(), chunk);
        }
    }
    for disk in envelope.disks() {
        if disk.populated_bytes().is_none() {
            edit.disk_populated(disk.id(), Some(1));
        }
    }
    let other = edit.apply().unwrap();
    let mut edit = other.edit();
    for file in envelope.references() {
        edit.file_href(file.id(), file.href()).file_size(file.id(), file.size_bytes());
        edit.file_chunk_size(file.id(), file.chunk_size_bytes());
    }
    for disk in envelope.disks() {
        edit.disk_populated(disk.id(), disk.populated_bytes());
    }
    let back = edit.apply().unwrap();
    let plain = |text: &str| text.replace("\"./", "\"").replace("'./", "'");
    let texts = [back.text(), envelope.text()].map(plain);
    if texts[0] != texts[1] {
        // A value in it was spelled in a way that we do not write, such as " 12 " or `&#65;`.
        assert_eq!(back.references().len(), envelope.references().len());
        assert!(envelope.text().contains("&#") || envelope.text().contains("=\" "), "{texts:?}");
    }
}

#[test]
fn values_of_other_peoples_descriptors_change_there_and_back() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for path in support::corpus() {
        let Ok(envelope) = Envelope::parse_alone(fs::read(&path).unwrap()) else { continue };
        if envelope.version() == EnvelopeVersion::Draft {
            continue;
        }
        there_and_back(&envelope);
        let tree = changes().new_tree(&mut runner).unwrap();
        check(&envelope, &proptest::strategy::ValueTree::current(&tree));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_not_edited_stays(
        sample in prop::sample::select(vec![TWO_DISKS, COLLECTION, VERSION_2, PRODUCTS]),
        is_marked in any::<bool>(),
        is_dos in any::<bool>(),
        changes in changes(),
    ) {
        let mark = if is_marked { "\u{feff}" } else { "" };
        let text = if is_dos { sample.replace('\n', "\r\n") } else { sample.to_owned() };
        let envelope = Envelope::parse(format!("{mark}{text}")).unwrap();
        there_and_back(&envelope);
        check(&envelope, &changes);
    }
}
