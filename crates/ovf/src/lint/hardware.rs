//! Virtual hardware: DSP0243 1.1.0 §8, and the items of resources, §9.3.

use std::collections::HashMap;
use std::collections::HashSet;

use super::document::VSSD;
use super::item;
use super::item::Item;
use super::lexical::Lexical;
use super::package;
use super::package::Names;
use super::report::Code;
use super::report::Report;
use super::tree::Element;
use super::tree::Tree;
use super::tree::text_of;
use crate::name::shown;

/// Checks every hardware section and every section of resources.
pub(super) fn check<'a>(tree: Tree<'a>, names: &Names<'a>, report: &mut Report) {
    for node in tree.contents() {
        let mut has_hardware = false;
        for section in node.children().filter(|child| child.is_element()) {
            match tree.name(section) {
                Some("VirtualHardwareSection") => {
                    has_hardware = true;
                    system(tree, section, report);
                    transport(tree, section, report);
                    items(tree, section, names, report);
                }
                Some("ResourceAllocationSection") => items(tree, section, names, report),
                _ => {}
            }
        }
        if !has_hardware && tree.is(node, "VirtualSystem") {
            let message = "the VirtualSystem has no VirtualHardwareSection";
            report.add(node, Code::HardwareMissing, message);
        }
    }
}

/// A `System` names the hardware family, which tells several sections of a machine apart.
fn system<'a>(tree: Tree<'a>, section: Element<'a>, report: &mut Report) {
    for system in tree.children(section, "System") {
        let texts = |name: &'static str| {
            let children = system.children().filter(|child| child.is_element());
            children.filter(move |child| child.tag_name().name() == name).map(text_of)
        };
        properties(tree, system, report);
        if texts("VirtualSystemType").all(|text| text.is_empty()) {
            let message = "the System does not name a hardware family by VirtualSystemType";
            report.add(system, Code::HardwareFamily, message);
        } else if texts("InstanceID").chain(texts("InstanceId")).next().is_none() {
            report.add(system, Code::HardwareFamily, "the System has no InstanceID");
        }
    }
}

/// The elements of a `System` are properties of `CIM_VirtualSystemSettingData`, each once.
fn properties<'a>(tree: Tree<'a>, system: Element<'a>, report: &mut Report) {
    let mut names = HashSet::new();
    for child in system.children().filter(|child| child.is_element()) {
        let tag = child.tag_name();
        let name = tag.name();
        if let Some(value) = tree.attribute(child, "required")
            && !Lexical::Boolean.takes(value)
        {
            let message = format!("\"required\" is \"{}\", not true or false", shown(value));
            report.add_in(child, Code::AttributeValue, "8.1", message);
        }
        let is_cim = tag.namespace().is_some_and(|uri| uri.starts_with(VSSD));
        if is_cim && SYSTEM.contains(&name) {
            if !names.insert(name) && name != "Notes" {
                let message = format!("a second {name} in one System");
                report.add_in(child, Code::ElementRepeated, "8.1", message);
            }
        } else if !tree.is_required(child) {
            let message = format!("the unknown {} is passed over", shown(name));
            report.add(child, Code::ElementPassedOver, message);
        // Other namespaces are room for products, if they do not insist.
        } else if is_cim
            || tree.name(child).is_some()
            || tree.attribute(child, "required").is_some()
        {
            let message = format!("the System has an unknown {}", shown(name));
            report.add(child, Code::SystemChild, message);
        }
    }
}

/// The ways to hand the OVF environment to the guest (DSP0243 1.1.0 §8.2, §11.2).
fn transport<'a>(tree: Tree<'a>, section: Element<'a>, report: &mut Report) {
    let transports = tree.attribute(section, "transport").unwrap_or_default();
    for transport in transports.split([' ', ',', '\t', '\r', '\n']).filter(|one| !one.is_empty()) {
        if !matches!(transport, "iso" | "com.vmware.guestInfo") {
            let message = format!("the transport \"{}\" is unknown", shown(transport));
            report.add(section, Code::Transport, message);
        }
    }
}

fn items<'a>(tree: Tree<'a>, section: Element<'a>, names: &Names<'a>, report: &mut Report) {
    let nodes = section.children().filter(|child| {
        child.is_element()
            && matches!(tree.name(*child), Some("Item" | "StorageItem" | "EthernetPortItem"))
    });
    let items: Vec<Item<'a>> = nodes.map(|node| item::read(tree, node, report)).collect();
    let ids: HashSet<&str> = items.iter().filter_map(|item| item.id.as_deref()).collect();
    for item in &items {
        package::configuration_list(tree, item.node, names, report);
        parent(item, &ids, report);
        resources(tree, item, names, report);
        if tree.is(section, "VirtualHardwareSection") {
            quantity(item, report);
        }
    }
    instances(&items, report);
    circles(&items, report);
    addresses(&items, report);
}

fn parent(item: &Item<'_>, ids: &HashSet<&str>, report: &mut Report) {
    if let Some(parent) = &item.parent
        && !ids.contains(parent.as_str())
    {
        let message = format!("the section has no item \"{}\" to be the parent", shown(parent));
        report.add(item.node, Code::ItemParent, message);
    }
}

/// What an item takes from the rest of the descriptor.
fn resources<'a>(tree: Tree<'a>, item: &Item<'a>, names: &Names<'a>, report: &mut Report) {
    for resource in &item.host_resources {
        let path = resource.strip_prefix("ovf:").unwrap_or(resource).trim_start_matches('/');
        match path.split_once('/') {
            Some(("disk", id)) if !names.disks.contains_key(id.trim()) => {
                let message = format!("there is no disk \"{}\"", shown(id));
                report.add(item.node, Code::ItemDisk, message);
            }
            Some(("file", id)) if !names.files.contains_key(id.trim()) => {
                let message = format!("there is no file \"{}\"", shown(id));
                report.add(item.node, Code::ItemFile, message);
            }
            Some(("disk" | "file", _)) => {}
            _ if matches!(item.kind, Some(DVD | CD | DISK | FLOPPY)) && !resource.is_empty() => {
                let message =
                    format!("\"{}\" is neither ovf:/disk/… nor ovf:/file/…", shown(resource));
                let is_disk = item.kind == Some(DISK);
                let code =
                    if is_disk { Code::ItemHostResource } else { Code::ItemHostResourceUnusual };
                report.add(item.node, code, message);
            }
            _ => {}
        }
    }
    let is_adapter = matches!(item.kind, Some(ETHERNET_ADAPTER | ETHERNET_CONNECTION))
        || tree.is(item.node, "EthernetPortItem");
    for connection in item.connections.iter().filter(|_| is_adapter) {
        if !connection.is_empty() && !names.networks.contains(connection.as_str()) {
            let message = format!("the NetworkSection has no network \"{}\"", shown(connection));
            report.add(item.node, Code::ItemConnection, message);
        }
    }
}

fn quantity(item: &Item<'_>, report: &mut Report) {
    let what = match item.kind {
        Some(PROCESSOR) => "processors",
        Some(MEMORY) => "memory",
        _ => return,
    };
    let [quantity, ..] = item.amounts;
    match quantity {
        Some(0) => report.add(item.node, Code::ItemValue, format!("it has no {what}: 0")),
        None if item.bound == "normal" => {
            report.add(item.node, Code::ItemQuantity, format!("it does not say how much {what}"));
        }
        _ => {}
    }
}

/// Items of one InstanceID: one in each configuration, with a minimum and a maximum at most
/// (DSP0243 1.1.0 §8.4, §9.8).
fn instances(items: &[Item<'_>], report: &mut Report) {
    let mut seen: HashMap<(&str, &str, &str), &Item<'_>> = HashMap::new();
    let mut kinds: HashMap<&str, u16> = HashMap::new();
    for item in items {
        let Some(id) = item.id.as_deref() else { continue };
        if let Some(kind) = item.kind
            && *kinds.entry(id).or_insert(kind) != kind
        {
            let message = format!("another item \"{}\" is of another resource type", shown(id));
            report.add(item.node, Code::ItemKind, message);
        }
        for configuration in item.configurations() {
            let key = (id, item.bound, configuration);
            let Some(other) = seen.insert(key, item) else { continue };
            if !item.configurations().eq(other.configurations()) {
                let message = format!("another item \"{}\" is for it, too", shown(id));
                report.add(item.node, Code::ItemOverlap, message);
            } else if item.bound == "normal" {
                let message = format!("a second item with the InstanceID \"{}\"", shown(id));
                report.add(item.node, Code::ItemDuplicate, message);
            } else {
                let message = format!("a second \"{}\" of the item \"{}\"", item.bound, shown(id));
                report.add(item.node, Code::ItemBoundRepeated, message);
            }
            break;
        }
    }
    for item in items.iter().filter(|item| matches!(item.bound, "min" | "max")) {
        let Some(id) = item.id.as_deref() else { continue };
        for configuration in item.configurations() {
            let of = |bound| {
                let special = seen.get(&(id, bound, configuration));
                special.or_else(|| seen.get(&(id, bound, ""))).copied()
            };
            let Some(normal) = of("normal") else {
                let message = format!("there is no item \"{}\" for it to bound", shown(id));
                report.add(item.node, Code::ItemBoundAlone, message);
                break;
            };
            let other = if item.bound == "min" { of("max") } else { None };
            if !item.bounds(normal) || other.is_some_and(|other| !item.bounds(other)) {
                let message = format!("the {} of \"{}\" is beyond it", item.bound, shown(id));
                report.add(item.node, Code::ItemRange, message);
                break;
            }
        }
    }
}

fn circles(items: &[Item<'_>], report: &mut Report) {
    let parents: HashMap<&str, &str> = items
        .iter()
        .filter_map(|item| Some((item.id.as_deref()?, item.parent.as_deref()?)))
        .collect();
    let mut walked: HashMap<&str, usize> = HashMap::new();
    for (walk, item) in items.iter().enumerate() {
        let mut next = item.id.as_deref();
        while let Some(id) = next {
            match walked.get(id) {
                Some(before) if *before == walk => {
                    let message = format!("the device \"{}\" is attached to itself", shown(id));
                    report.add(item.node, Code::ItemParentCircle, message);
                    break;
                }
                Some(_) => break,
                None => {}
            }
            walked.insert(id, walk);
            next = parents.get(id).copied();
        }
    }
}

/// Two devices cannot be at the same place of a controller.
fn addresses(items: &[Item<'_>], report: &mut Report) {
    let mut places: HashMap<(&str, &str, &str), &str> = HashMap::new();
    for item in items.iter().filter(|item| item.bound == "normal") {
        let (Some(id), Some(parent), Some(address)) =
            (item.id.as_deref(), item.parent.as_deref(), item.address.as_deref())
        else {
            continue;
        };
        for configuration in item.configurations() {
            let other = *places.entry((parent, address, configuration)).or_insert(id);
            if other != id {
                let message = format!("\"{}\" has the same address there", shown(other));
                report.add(item.node, Code::ItemAddress, message);
                break;
            }
        }
    }
}

/// Properties of `CIM_VirtualSystemSettingData`, and the drafts' spelling of the first.
const SYSTEM: [&str; 27] = [
    "InstanceId",
    "InstanceID",
    "AutomaticRecoveryAction",
    "AutomaticShutdownAction",
    "AutomaticStartupAction",
    "AutomaticStartupActionDelay",
    "AutomaticStartupActionSequenceNumber",
    "Caption",
    "ChangeableType",
    "ComponentSetting",
    "ConfigurationDataRoot",
    "ConfigurationFile",
    "ConfigurationID",
    "ConfigurationName",
    "CreationTime",
    "Description",
    "ElementName",
    "Generation",
    "LogDataRoot",
    "Notes",
    "RecoveryFile",
    "SnapshotDataRoot",
    "SoID",
    "SuspendDataRoot",
    "SwapFileDataRoot",
    "VirtualSystemIdentifier",
    "VirtualSystemType",
];

/// Resource types of CIM that rules speak of.
const PROCESSOR: u16 = 3;
const MEMORY: u16 = 4;
const ETHERNET_ADAPTER: u16 = 10;
const FLOPPY: u16 = 14;
const CD: u16 = 15;
const DVD: u16 = 16;
const DISK: u16 = 17;
const ETHERNET_CONNECTION: u16 = 33;
