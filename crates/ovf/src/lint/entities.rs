//! Machines and collections, and the sections that are small: DSP0243 1.1.0 §7.2, §9.7 to §9.10,
//! §10.

use std::collections::HashMap;
use std::collections::HashSet;

use super::document::OVF_2;
use super::document::VMW;
use super::lexical::parse_signed;
use super::package::Names;
use super::report::Code;
use super::report::Report;
use super::tree::Element;
use super::tree::Tree;
use super::tree::is_content;
use crate::name::shown;

/// Checks what is small.
pub(super) fn check<'a>(tree: Tree<'a>, names: &Names<'a>, report: &mut Report) {
    contents(tree, report);
    bundles(tree, names, report);
    placements(tree, report);
    instance_counts(tree, report);
}

fn contents(tree: Tree<'_>, report: &mut Report) {
    let mut ids = HashMap::new();
    for node in tree.contents() {
        if let Some(id) = tree.value(node, "id")
            && let Some(other) = ids.insert(id, node)
        {
            let message = format!("a second virtual system or collection \"{}\"", shown(id));
            let is_sibling = other.parent() == node.parent();
            let code = if is_sibling { Code::ContentDuplicate } else { Code::ContentAgain };
            report.add(node, code, message);
        }
        if tree.children(node, "StartupSection").next().is_some() {
            startup(tree, node, report);
        }
        for section in tree.children(node, "OperatingSystemSection") {
            let Some(found) = tree.value(section, "id") else { continue };
            match parse_signed(found.trim()) {
                Some(0..=OPERATING_SYSTEM_MAX) => {}
                // vSphere has written negative ones.
                Some(_) => {
                    let message = format!("CIM has no operating system {}", shown(found));
                    report.add(section, Code::SystemType, message);
                }
                None => {
                    let message = format!("\"id\" is \"{}\", not a number", shown(found));
                    report.add_in(section, Code::AttributeValue, "9.9", message);
                }
            }
        }
    }
}

/// Each item is for an entity that lies directly in the collection (DSP0243 1.1.0 §9.7).
fn startup<'a>(tree: Tree<'a>, parent: Element<'a>, report: &mut Report) {
    let inside = parent.children().filter(|node| node.is_element());
    let inside = inside.filter(|node| tree.name(*node).is_some_and(is_content));
    let inside: HashSet<&str> = inside.filter_map(|node| tree.value(node, "id")).collect();
    let mut ids = HashSet::new();
    let sections = tree.children(parent, "StartupSection");
    for item in sections.flat_map(|section| tree.children(section, "Item")) {
        if let Some(id) = tree.value(item, "id") {
            if !inside.contains(id) {
                let message = format!("the collection has no entity \"{}\"", shown(id));
                report.add(item, Code::StartupUnknown, message);
            }
            if !ids.insert(id) {
                let message = format!("a second item for \"{}\"", shown(id));
                report.add(item, Code::StartupDuplicate, message);
            }
        }
        for (name, actions) in [
            ("startAction", &["powerOn", "none"][..]),
            // vSphere has suspending as well.
            ("stopAction", &["powerOff", "guestShutdown", "suspend", "none"]),
        ] {
            if let Some(action) = tree.value(item, name)
                && !actions.contains(&action.trim())
            {
                let message =
                    format!("\"{name}\" is \"{}\", not {}", shown(action), actions.join(", "));
                report.add(item, Code::StartupAction, message);
            }
        }
    }
}

/// The message bundles and what refers to them.
fn bundles<'a>(tree: Tree<'a>, names: &Names<'a>, report: &mut Report) {
    let mut known = HashSet::new();
    let mut languages = HashSet::new();
    let mut has_external = false;
    for bundle in tree.children(tree.root, "Strings") {
        let language = bundle.attribute((XML, "lang")).unwrap_or("en-US");
        let file = tree.value(bundle, "fileRef");
        if !languages.insert((language.to_ascii_lowercase(), file.is_some())) {
            let message = format!("a second bundle for {}", shown(language));
            report.add(bundle, Code::BundleRepeated, message);
        }
        if let Some(file) = file {
            has_external = true;
            if !names.files.contains_key(file) {
                let message = format!("the file \"{}\" is not in the References", shown(file));
                report.add(bundle, Code::MessageFileUnknown, message);
            }
        }
        let mut ids = HashSet::new();
        for message in tree.children(bundle, "Msg") {
            let Some(id) = tree.value(message, "msgid") else { continue };
            known.insert(id);
            if !ids.insert(id) {
                let text = format!("a second message \"{}\" of one language", shown(id));
                report.add(message, Code::MessageDuplicate, text);
            }
        }
    }
    if has_external {
        return;
    }
    for node in tree.root.descendants().filter(|node| node.is_element()) {
        if let Some(id) = tree.value(node, "msgid")
            && !known.contains(id)
        {
            let message = format!("no bundle has the message \"{}\"", shown(id));
            report.add(node, Code::MessageUnknown, message);
        }
    }
}

/// Groups in which machines are placed: OVF 2.0's, and VMware's by tags and of storage.
fn placements(tree: Tree<'_>, report: &mut Report) {
    for (uri, group, member) in [
        (OVF_2, "PlacementGroupSection", "PlacementSection"),
        (VMW, "TagBasedPlacementGroupSection", "TagBasedPlacementSection"),
        (VMW, "StorageGroupSection", "StorageSection"),
    ] {
        let sections = |name: &'static str| {
            tree.root.descendants().filter(move |node| node.has_tag_name((uri, name)))
        };
        let mut groups = HashSet::new();
        for node in sections(group) {
            if node.parent_element() != Some(tree.root) {
                let message = format!("{group} belongs in the Envelope");
                report.add(node, Code::SectionPlace, message);
            }
            match node.attribute((uri, "id")).filter(|id| !id.is_empty()) {
                None => {
                    let message = format!("{group} has no \"id\"");
                    report.add_in(node, Code::AttributeMissing, "7.3", message);
                }
                Some(id) if !groups.insert(id) => {
                    let message = format!("a second {group} \"{}\"", shown(id));
                    report.add(node, Code::PlacementGroup, message);
                }
                Some(_) => {}
            }
            if let Some(priority) = node.attribute((VMW, "priority"))
                && parse_signed(priority.trim()).is_none()
            {
                let message = format!("\"priority\" is \"{}\", not a number", shown(priority));
                report.add_in(node, Code::AttributeValue, "7.3", message);
            }
        }
        let mut used = HashMap::new();
        for node in sections(member) {
            let parent = node.parent_element();
            if !parent.is_some_and(|parent| tree.name(parent).is_some_and(is_content)) {
                let message = format!("{member} belongs in a VirtualSystem or a collection");
                report.add(node, Code::SectionPlace, message);
            }
            let Some(id) = node.attribute((uri, "group")).filter(|id| !id.is_empty()) else {
                let message = format!("{member} has no \"group\"");
                report.add_in(node, Code::AttributeMissing, "7.3", message);
                continue;
            };
            if !groups.contains(id) {
                let message = format!("there is no {group} \"{}\"", shown(id));
                report.add(node, Code::PlacementGroup, message);
            }
            if used.insert((parent.map(|parent| parent.id()), id), ()).is_some() {
                let message = format!("a second {member} for the group \"{}\"", shown(id));
                report.add(node, Code::PlacementGroup, message);
            }
        }
    }
}

/// How many instances of a machine there may be (OVF 2.0, `ScaleOutSection`).
fn instance_counts(tree: Tree<'_>, report: &mut Report) {
    let counts = tree.root.descendants().filter(|node| node.has_tag_name((OVF_2, "InstanceCount")));
    for node in counts {
        let mut last = 0;
        for name in ["minimum", "default", "maximum"] {
            let Some(found) = node.attribute((OVF_2, name)) else { continue };
            match parse_signed(found.trim()).filter(|number| *number >= last) {
                Some(number) => last = number,
                None => {
                    let message = format!("the {name} is \"{}\"", shown(found));
                    report.add(node, Code::InstanceCount, message);
                }
            }
        }
    }
}

/// Namespace of `xml:lang`.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// The largest value of `CIM_OperatingSystem.OsType` that is given out (CIM 2.50).
const OPERATING_SYSTEM_MAX: i128 = 128;
