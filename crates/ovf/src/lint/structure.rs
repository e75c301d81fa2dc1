//! Elements and attributes against the schema's table.

use std::collections::HashMap;

use roxmltree::Node;

use super::document::OVF_1;
use super::document::OVF_2;
use super::document::OVF_DRAFT;
use super::document::VMW;
use super::lexical::Lexical;
use super::report::Code;
use super::report::Report;
use super::schema;
use super::schema::Attribute;
use super::schema::Content;
use super::schema::Often;
use super::schema::Section;
use super::schema::Type;
use super::tree::Dialect;
use super::tree::Element;
use super::tree::Tree;
use super::tree::is_content;
use crate::name::shown;

/// Checks the whole descriptor.
pub(super) fn check(tree: Tree<'_>, report: &mut Report) {
    let mut open = vec![(tree.root, &schema::ENVELOPE)];
    // A stack of our own: nested collections must not use up the thread's.
    while let Some((node, kind)) = open.pop() {
        attributes(tree, node, kind, report);
        let above = open.len();
        children(tree, node, kind, &mut open, report);
        // In the order of the text: the first findings are those that are listed.
        open.get_mut(above..).unwrap_or_default().reverse();
    }
    contents(tree, report);
}

/// An envelope has exactly one content (DSP0243 1.1.0 §7.2).
fn contents(tree: Tree<'_>, report: &mut Report) {
    let is_content = |node: &Element<'_>| tree.name(*node).is_some_and(is_content);
    let mut contents = tree.root.children().filter(|node| node.is_element() && is_content(node));
    if contents.next().is_none() {
        let message = "the envelope has neither a VirtualSystem nor a VirtualSystemCollection";
        report.add(tree.root, Code::ContentMissing, message);
    }
    for more in contents {
        let name = tree.name(more).unwrap_or_default();
        let message = format!(
            "a second content of the envelope, {name}; several belong in a VirtualSystemCollection"
        );
        report.add(more, Code::ContentRepeated, message);
    }
}

fn attributes<'a>(tree: Tree<'a>, node: Element<'a>, kind: &'static Type, report: &mut Report) {
    let element = tree.name(node).unwrap_or_default();
    for attribute in node.attributes() {
        let (name, value) = (attribute.name(), attribute.value());
        let known = kind.attributes.iter().find(|known| known.name == name);
        match attribute.namespace() {
            Some(XML) if name == "lang" => {
                attribute_value(node, "xml:lang", Lexical::Language, value, "10", report);
            }
            Some(uri) if uri == tree.ovf => match known {
                Some(Attribute { lexical, .. }) => {
                    attribute_value(node, name, *lexical, value, kind.section, report);
                }
                None if name == "required" => {
                    let boolean = Lexical::Boolean;
                    attribute_value(node, name, boolean, value, "7.3", report);
                }
                None if kind.content == Content::Other || element == "System" => {}
                None => {
                    let message = format!("{element} has no attribute \"{}\"", shown(name));
                    report.add(node, Code::AttributeUnknown, message);
                }
            },
            None if known.is_some() && tree.dialect != Dialect::Draft => {
                let message =
                    format!("the attribute \"{name}\" of {element} lacks the namespace of OVF");
                report.add(node, Code::AttributeUnqualified, message);
            }
            _ => {}
        }
    }
    for attribute in kind.attributes.iter().filter(|attribute| attribute.is_required) {
        if tree.value(node, attribute.name).is_none() {
            let is_there = tree.attribute(node, attribute.name).is_some();
            let what = if is_there { "has an empty" } else { "has no" };
            let message = format!("{element} {what} \"{}\"", attribute.name);
            report.add_in(node, Code::AttributeMissing, kind.section, message);
        }
    }
}

fn attribute_value(
    node: Element<'_>,
    name: &str,
    lexical: Lexical,
    value: &str,
    section: &'static str,
    report: &mut Report,
) {
    if !lexical.takes(value) {
        let message = format!("\"{name}\" is \"{}\", not {}", shown(value), lexical.words());
        report.add_in(node, Code::AttributeValue, section, message);
    }
}

fn children<'a>(
    tree: Tree<'a>,
    node: Element<'a>,
    kind: &'static Type,
    open: &mut Vec<(Element<'a>, &'static Type)>,
    report: &mut Report,
) {
    let parent = tree.name(node).unwrap_or_default();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    // The rank of the last child that was in order.
    let mut reached = 0;
    for child in node.children() {
        if child.is_text() {
            text(child, parent, kind, report);
        }
        if !child.is_element() {
            continue;
        }
        let Some(name) = tree.name(child) else {
            foreign(tree, child, kind, report);
            continue;
        };
        let rank = if let Some(known) = kind.children.iter().find(|known| known.name == name) {
            let count = counts.entry(known.name).or_default();
            *count += 1;
            if *count > 1 && !known.is_many && !is_translation(tree, child, known.kind) {
                let message = format!("a second {name} in {parent}");
                report.add_in(child, Code::ElementRepeated, kind.section, message);
            }
            open.push((child, known.kind));
            known.rank
        } else if kind.content == Content::Sections && is_content(name) {
            if parent == "VirtualSystem" {
                let message = format!("{name} in a VirtualSystem; only collections hold others");
                report.add(child, Code::ElementUnknown, message);
            }
            open.push((child, &schema::CONTENT));
            CONTENT_RANK
        } else if let Some(section) = schema::section_named(name)
            && (tree.dialect == Dialect::V2 || !section.since_2)
        {
            let count = counts.entry(section.name).or_default();
            *count += 1;
            self::section(tree, child, parent, section, *count, report);
            open.push((child, section.kind));
            SECTION_RANK
        } else {
            unknown(tree, child, name, parent, kind, report);
            continue;
        };
        if rank < reached {
            let message = format!("{name} stands behind elements that it must stand before");
            let is_envelope = parent == "Envelope";
            let code = if is_envelope { Code::EnvelopeOrder } else { Code::ElementOrder };
            report.add_in(child, code, kind.section, message);
        }
        reached = reached.max(rank);
    }
    for missing in kind.children.iter().filter(|known| known.min > 0) {
        if !counts.contains_key(missing.name) {
            let is_info = missing.name == "Info";
            let (code, section) = if is_info {
                (Code::InfoMissing, Code::InfoMissing.section())
            } else {
                (Code::ElementMissing, kind.section)
            };
            report.add_in(node, code, section, format!("{parent} has no {}", missing.name));
        }
    }
}

/// In the drafts a text stands once for each language, before there were message bundles.
fn is_translation(tree: Tree<'_>, node: Element<'_>, kind: &Type) -> bool {
    let is_text = kind.content == Content::Message;
    tree.dialect == Dialect::Draft && is_text && node.attribute((XML, "lang")).is_some()
}

/// Text in an element that has only elements.
fn text(node: Node<'_, '_>, parent: &str, kind: &Type, report: &mut Report) {
    let found = node.text().unwrap_or_default().trim();
    let takes_text = matches!(kind.content, Content::Message | Content::Other);
    if !found.is_empty() && !takes_text {
        let message = format!("the text \"{}\" in {parent} means nothing", shown(found));
        report.add(node.parent_element().unwrap_or(node), Code::TextUnexpected, message);
    }
}

/// Where a section stands, and how often.
fn section<'a>(
    tree: Tree<'a>,
    node: Element<'a>,
    parent: &str,
    section: &'static Section,
    count: usize,
    report: &mut Report,
) {
    let name = section.name;
    let is_here = match parent {
        "Envelope" if tree.dialect == Dialect::Draft => {
            section.in_envelope || section.in_draft_envelope
        }
        "Envelope" => section.in_envelope,
        "VirtualSystem" => section.in_system,
        "VirtualSystemCollection" => section.in_collection,
        _ => false,
    };
    if !is_here {
        let places = [
            (section.in_envelope, "the Envelope"),
            (section.in_system, "a VirtualSystem"),
            (section.in_collection, "a VirtualSystemCollection"),
        ];
        let places: Vec<&str> =
            places.into_iter().filter_map(|(may, place)| may.then_some(place)).collect();
        let message = format!("{name} stands in {parent}; it belongs in {}", places.join(" or "));
        report.add_in(node, Code::SectionPlace, section.kind.section, message);
    }
    if count > 1 {
        let code = match section.often {
            Often::Many => return,
            Often::Once => Code::SectionRepeated,
            Often::OnceOrUnusual => Code::SectionRepeatedUnusual,
        };
        report.add_in(node, code, section.kind.section, format!("a second {name} in {parent}"));
    }
}

/// An element of OVF's namespace that the table does not have there.
fn unknown<'a>(
    tree: Tree<'a>,
    node: Element<'a>,
    name: &str,
    parent: &str,
    kind: &'static Type,
    report: &mut Report,
) {
    if kind.content == Content::Other {
        return;
    }
    let name = shown(name);
    if !tree.is_required(node) {
        let message = format!("{parent} has an unknown {name}, which is passed over");
        report.add(node, Code::ElementPassedOver, message);
    } else if kind.content == Content::Sections {
        let message = format!("the section {name} is unknown, and not marked as not required");
        report.add(node, Code::SectionUnknown, message);
    } else {
        let message = format!("{parent} has an unknown {name}, not marked as not required");
        report.add_in(node, Code::ElementUnknown, kind.section, message);
    }
}

/// An element of another namespace.
fn foreign<'a>(tree: Tree<'a>, node: Element<'a>, kind: &'static Type, report: &mut Report) {
    let (name, namespace) = (node.tag_name().name(), node.tag_name().namespace());
    let is_known = match namespace {
        Some(VMW) => !name.ends_with("Section") || VMW_SECTIONS.contains(&name),
        Some(OVF_1 | OVF_DRAFT) => false,
        Some(OVF_2) => schema::section_named(name).is_some(),
        Some(uri) => PRODUCTS.iter().any(|product| uri.starts_with(product)),
        None => false,
    };
    if let Some(value) = tree.attribute(node, "required") {
        attribute_value(node, "required", Lexical::Boolean, value, "7.3", report);
    }
    match kind.content {
        Content::Other => {}
        _ if is_known => {}
        // VMware's servers go on to have new ones.
        _ if !tree.is_required(node)
            || namespace == Some(VMW) && tree.attribute(node, "required").is_none() =>
        {
            let message = format!("the unknown {} is passed over", shown(name));
            report.add(node, Code::ElementPassedOver, message);
        }
        Content::Sections => {
            let namespace = shown(namespace.unwrap_or("no namespace"));
            let name = shown(name);
            let message = format!("the section {name} of {namespace} is unknown, and required");
            report.add(node, Code::SectionUnknown, message);
        }
        // Open content is required by default as well.
        Content::Elements | Content::Message => {
            let message = format!("the unknown {} is required", shown(name));
            report.add_in(node, Code::ElementUnknown, kind.section, message);
        }
    }
}

/// Sections of VMware's.
const VMW_SECTIONS: [&str; 11] = [
    "ApplianceSection",
    "BootOrderSection",
    "CpuCompatibilitySection",
    "EncryptionSection",
    "IpAssignmentSection",
    "MigrationUpgradeRequisitesSection",
    "StorageGroupSection",
    "StorageSection",
    "TagBasedPlacementGroupSection",
    "TagBasedPlacementSection",
    "vServiceDependencySection",
];

/// What the namespaces of other products start with.
const PRODUCTS: [&str; 3] =
    ["http://www.vmware.com/vcloud/", "http://www.virtualbox.org/ovf/", "http://www.cisco.com/"];

/// Namespace of `xml:lang`.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Sections stand behind the elements that begin an envelope or content.
const SECTION_RANK: u8 = 5;

/// Content stands behind the sections.
const CONTENT_RANK: u8 = 6;
