//! One item of hardware or resources: its elements are properties of CIM classes.

use std::collections::HashSet;

use super::document::VMW;
use super::lexical::Lexical;
use super::lexical::parse_signed;
use super::report::Code;
use super::report::Report;
use super::tree::Dialect;
use super::tree::Element;
use super::tree::Tree;
use super::tree::text_of;
use crate::envelope::units;
use crate::name::shown;

/// An item, as far as rules ask for it.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) node: Element<'a>,
    pub(super) id: Option<String>,
    pub(super) kind: Option<u16>,
    /// It has a resource type that is no number.
    has_wrong_kind: bool,
    pub(super) parent: Option<String>,
    pub(super) address: Option<String>,
    /// `min`, `normal` or `max`; the second if the descriptor does not say.
    pub(super) bound: &'a str,
    pub(super) host_resources: Vec<String>,
    pub(super) connections: Vec<String>,
    /// By [`AMOUNTS`].
    pub(super) amounts: [Option<i128>; AMOUNTS.len()],
    configurations: Vec<&'a str>,
}

impl<'a> Item<'a> {
    /// The configurations that it is for; an empty name stands for all.
    pub(super) fn configurations(&self) -> impl Iterator<Item = &'a str> {
        let all = self.configurations.is_empty().then_some("");
        self.configurations.iter().copied().chain(all)
    }

    /// Whether, as a minimum or maximum, it is not beyond another item.
    pub(super) fn bounds(&self, other: &Self) -> bool {
        let is_in_order = |own: &Option<i128>, other: &Option<i128>| match (own, other) {
            (Some(own), Some(other)) if self.bound == "min" => own <= other,
            (Some(own), Some(other)) => own >= other,
            _ => true,
        };
        let mut pairs = self.amounts.iter().zip(&other.amounts);
        // Some bounds name the amount as a reservation.
        let reserved = |item: &Self| {
            let [quantity, reservation, ..] = item.amounts;
            quantity.or(reservation)
        };
        pairs.all(|(own, other)| is_in_order(own, other))
            && is_in_order(&reserved(self), &reserved(other))
    }
}

/// Reads an item, and checks its elements one by one.
pub(super) fn read<'a>(tree: Tree<'a>, node: Element<'a>, report: &mut Report) -> Item<'a> {
    let bound = match tree.value(node, "bound").map(str::trim) {
        None => "normal",
        Some(bound @ ("min" | "normal" | "max")) => bound,
        Some(bound) => {
            let message = format!("the bound is \"{}\", not min, normal or max", shown(bound));
            report.add(node, Code::ItemBound, message);
            "normal"
        }
    };
    let configuration =
        tree.attribute(node, "configuration").or_else(|| node.attribute("configuration"));
    let mut item = Item {
        node,
        id: None,
        kind: None,
        has_wrong_kind: false,
        parent: None,
        address: None,
        bound,
        host_resources: Vec::new(),
        connections: Vec::new(),
        amounts: [None; AMOUNTS.len()],
        configurations: configuration.unwrap_or_default().split_whitespace().collect(),
    };
    let mut names: HashSet<&str> = HashSet::new();
    let mut unit = None;
    for child in node.children().filter(|child| child.is_element()) {
        let name = child.tag_name().name();
        let Some(lexical) = property(child) else {
            unknown(tree, child, report);
            continue;
        };
        if !names.insert(name) && !MANY.contains(&name) {
            let message = format!("a second {name} in one item");
            report.add_in(child, Code::ElementRepeated, "8.3", message);
        }
        let text = text_of(child);
        if !text.is_empty() && !lexical.takes(&text) {
            let message = format!("{name} is \"{}\", not {}", shown(&text), lexical.words());
            report.add(child, Code::ItemValue, message);
        }
        if let Some(place) = AMOUNTS.iter().position(|amount| *amount == name)
            && let Some(amount) = item.amounts.get_mut(place)
        {
            *amount = parse_signed(&text);
        }
        let text = Some(text).filter(|text| !text.is_empty());
        match name {
            "InstanceID" | "InstanceId" => item.id = text,
            "ResourceType" => {
                item.kind = text.as_deref().and_then(|text| text.parse().ok());
                item.has_wrong_kind = item.kind.is_none() && text.is_some();
            }
            "Parent" => item.parent = text,
            "AddressOnParent" => item.address = text,
            "HostResource" => item.host_resources.extend(text),
            "Connection" => item.connections.extend(text),
            "AllocationUnits" => unit = text.map(|text| (child, text)),
            _ => {}
        }
    }
    missing(tree, &item, &names, report);
    kind(tree, &item, report);
    if let Some((child, text)) = unit {
        self::unit(child, item.kind, &text, report);
    }
    item
}

/// The type of an element of a CIM class; nothing if it is none of one.
fn property(node: Element<'_>) -> Option<Lexical> {
    let name = node.tag_name().name();
    let is_cim = node.tag_name().namespace().is_some_and(|uri| uri.starts_with(CIM));
    if !is_cim {
        return None;
    }
    let text = TEXTS.contains(&name) || DRAFT_TEXTS.contains(&name);
    let typed = TYPED.iter().find(|(typed, _)| *typed == name).map(|(_, lexical)| *lexical);
    typed.or_else(|| text.then_some(Lexical::Text))
}

/// An element that no CIM class has: an extension, which is required unless it says otherwise
/// (DSP0243 1.1.0 §7.3, §8.3).
fn unknown<'a>(tree: Tree<'a>, node: Element<'a>, report: &mut Report) {
    let tag = node.tag_name();
    if let Some(value) = tree.attribute(node, "required")
        && !Lexical::Boolean.takes(value)
    {
        let message = format!("\"required\" is \"{}\", not true or false", shown(value));
        report.add_in(node, Code::AttributeValue, "8.3", message);
    }
    let is_product = tag.namespace().is_some_and(|uri| {
        uri == VMW
            || uri.starts_with("http://www.vmware.com/vcloud/")
            || uri.starts_with("http://www.virtualbox.org/")
    });
    let says = tree.attribute(node, "required").is_some();
    if is_product && (VMWARE.contains(&tag.name()) || !says) {
        return;
    }
    let name = shown(tag.name());
    if tree.is_required(node) {
        let message = format!("an item has an unknown {name}, not marked as not required");
        report.add(node, Code::ItemChild, message);
    } else {
        report.add(node, Code::ElementPassedOver, format!("the unknown {name} is passed over"));
    }
}

/// InstanceID, ResourceType and a name for people (DSP0243 1.1.0 §8.3).
fn missing(tree: Tree<'_>, item: &Item<'_>, names: &HashSet<&str>, report: &mut Report) {
    let mut lacks = |what: &str| {
        report.add(item.node, Code::ItemMissing, format!("the item has no {what}"));
    };
    if item.id.is_none() {
        lacks("InstanceID");
    }
    // One that is no number is told as such.
    if item.kind.is_none() && !item.has_wrong_kind {
        lacks("ResourceType");
    }
    // The drafts called it Caption.
    let has_caption = names.contains("Caption");
    if !has_caption && !names.contains("ElementName") {
        lacks("ElementName");
    } else if !names.contains("ElementName") && tree.dialect != Dialect::Draft {
        let message = "the item has a Caption but no ElementName";
        report.add(item.node, Code::ItemCaption, message);
    }
}

/// The resource type is one of CIM's, or one that a vendor may give (from 32768 on).
fn kind<'a>(tree: Tree<'a>, item: &Item<'a>, report: &mut Report) {
    let Some(kind) = item.kind else { return };
    if (1..=RESOURCE_TYPE_MAX).contains(&kind) || kind >= RESOURCE_TYPE_VENDOR {
        return;
    }
    let message = format!("CIM has no resource type {kind}");
    if kind == SOUND_CARD || !tree.is_required(item.node) {
        report.add(item.node, Code::ItemTypeUnusual, message);
    } else {
        report.add(item.node, Code::ItemType, message);
    }
}

/// Units of memory are checked as those of disks are; of others, that DSP0004 has the word.
fn unit(node: Element<'_>, kind: Option<u16>, unit: &str, report: &mut Report) {
    let found = shown(unit);
    if kind == Some(MEMORY) {
        if units::bytes_of_unit(unit).is_none() {
            let message = format!("\"{found}\" is not a unit of bytes, such as byte * 2^20");
            report.add(node, Code::ItemUnit, message);
        }
        return;
    }
    let word = unit.split(['*', '/', '^']).next().unwrap_or_default().trim().to_ascii_lowercase();
    if !UNITS.contains(&word.as_str()) && units::bytes_of_unit(unit).is_none() {
        report.add(node, Code::ItemUnitUnusual, format!("DSP0004 has no unit \"{found}\""));
    }
}

/// What the namespaces of all CIM classes start with; some have `.xsd` at the end.
const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_";

/// Elements whose numbers a range compares.
const AMOUNTS: [&str; 4] = ["VirtualQuantity", "Reservation", "Limit", "Weight"];

/// Elements of which an item may have several.
const MANY: [&str; 2] = ["Connection", "HostResource"];

/// Elements of `CIM_ResourceAllocationSettingData`, and of the classes for storage and Ethernet
/// ports that OVF 2 has, that are not just text.
const TYPED: [(&str, Lexical); 22] = [
    ("AutomaticAllocation", Lexical::Boolean),
    ("AutomaticDeallocation", Lexical::Boolean),
    ("ChangeableType", Lexical::UnsignedShort),
    ("ConsumerVisibility", Lexical::UnsignedShort),
    ("DefaultPriority", Lexical::UnsignedShort),
    ("DesiredVLANEndpointMode", Lexical::UnsignedShort),
    ("Generation", Lexical::UnsignedLong),
    ("HostExtentNameFormat", Lexical::UnsignedShort),
    ("HostExtentNameNamespace", Lexical::UnsignedShort),
    ("HostExtentStartingAddress", Lexical::UnsignedLong),
    ("HostResourceBlockSize", Lexical::UnsignedLong),
    // Products write -1 for no limit.
    ("Limit", Lexical::Long),
    ("MappingBehavior", Lexical::UnsignedShort),
    ("ReceiveBandwidthLimit", Lexical::UnsignedLong),
    ("ReceiveBandwidthReservation", Lexical::UnsignedLong),
    ("Reservation", Lexical::UnsignedLong),
    ("ResourceType", Lexical::UnsignedShort),
    ("SourceMACFilteringEnabled", Lexical::Boolean),
    ("VSITypeIDVersion", Lexical::UnsignedShort),
    ("VirtualQuantity", Lexical::UnsignedLong),
    ("VirtualResourceBlockSize", Lexical::UnsignedLong),
    ("Weight", Lexical::UnsignedInt),
];

/// Those that are.
const TEXTS: [&str; 48] = [
    "Access",
    "Address",
    "AddressOnParent",
    "AllocationUnits",
    "AllowedPriorities",
    "AllowedToReceiveMACAddresses",
    "AllowedToReceiveVLANs",
    "AllowedToTransmitMACAddresses",
    "AllowedToTransmitVLANs",
    "Caption",
    "ComponentSetting",
    "ConfigurationName",
    "Connection",
    "DefaultPortVID",
    "Description",
    "ElementName",
    "GroupID",
    "HostExtentName",
    "HostResource",
    "InstanceID",
    // As the drafts and tools that follow them spell it.
    "InstanceId",
    "ManagerID",
    "NetworkPortProfileID",
    "NetworkPortProfileIDType",
    "OtherEndpointMode",
    "OtherHostExtentNameFormat",
    "OtherHostExtentNameNamespace",
    "OtherNetworkPortProfileIDTypeInfo",
    "OtherResourceType",
    "Parent",
    "PoolID",
    "PortCriticality",
    "PortVID",
    "Promiscuous",
    "ResourceSubType",
    "SoID",
    "SoOrgID",
    "TransmitBandwidthLimit",
    "TransmitBandwidthReservation",
    "VSITypeID",
    "VirtualQuantityUnits",
    "AutoGeneratedMACAddress",
    "BandwidthLimit",
    "BandwidthReservation",
    "EndpointMode",
    "StorageAccess",
    "VLANEndpointMode",
    "DesiredEndpointMode",
];

/// Those that the drafts had; VirtualBox went on to write them.
const DRAFT_TEXTS: [&str; 2] = ["BusNumber", "PoolId"];

/// Elements of products that change what an item is; others of theirs are hints.
const VMWARE: [&str; 4] = ["Config", "CoresPerSocket", "ExtraConfig", "Key"];

/// Resource types that CIM 2.22 and later give out: 1 (other) to 34 (encryption controller).
const RESOURCE_TYPE_MAX: u16 = 34;

/// What VirtualBox writes for a sound card.
const SOUND_CARD: u16 = 35;

/// From here on vendors may have their own.
const RESOURCE_TYPE_VENDOR: u16 = 0x8000;

/// The resource type of memory.
const MEMORY: u16 = 4;

/// Base units of DSP0004 that descriptors have, and older words for them.
const UNITS: [&str; 12] = [
    "byte",
    "bit",
    "hertz",
    "count",
    "percent",
    "hz",
    "mhz",
    "ghz",
    "megahertz",
    "gigahertz",
    "bits per second",
    "items",
];
