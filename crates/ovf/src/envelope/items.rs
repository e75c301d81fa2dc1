//! From the XML tree to the hardware items.

use roxmltree::Node;

use super::error::EnvelopeError;
use super::error::EnvelopeFault;
use super::hardware::Bound;
use super::hardware::HardwareItem;
use super::hardware::Setting;
use super::tree::Reader;
use super::tree::VMW;
use super::tree::boolean;
use super::tree::fail;
use super::tree::non_empty;
use super::tree::text_of;
use super::units;
use crate::name::shown;

/// Devices of a `VirtualHardwareSection`, and what only states ranges for them.
pub(super) fn items<'a, 'input>(
    reader: Reader<'a, 'input>,
    section: Node<'a, 'input>,
) -> Result<(Vec<HardwareItem>, Vec<HardwareItem>), EnvelopeError> {
    let (mut items, mut ranges) = (Vec::new(), Vec::new());
    for node in section.children() {
        if !ITEMS.iter().any(|name| reader.is(node, name)) {
            continue;
        }
        match bound(reader, node) {
            Some(Bound::Normal) => items.push(item(reader, node)?),
            // Nothing is made of a range, so that one that makes no sense does no harm.
            Some(_) => ranges.extend(item(reader, node)),
            None => {}
        }
    }
    Ok((items, ranges))
}

/// What an item says about the amount; nothing if that is not of DSP0243.
fn bound<'a>(reader: Reader<'a, '_>, node: Node<'a, '_>) -> Option<Bound> {
    match node.attribute((reader.ovf, "bound")) {
        None | Some("" | "normal") => Some(Bound::Normal),
        Some("max") => Some(Bound::Max),
        Some("min") => Some(Bound::Min),
        Some(_) => None,
    }
}

/// Settings of VMware by elements of this name.
pub(super) fn settings(reader: Reader<'_, '_>, node: Node<'_, '_>, name: &str) -> Vec<Setting> {
    let nodes = node.children().filter(|child| child.has_tag_name((VMW, name)));
    let setting = |child: Node<'_, '_>| {
        let required = child.attribute((reader.ovf, "required"));
        Some(Setting {
            key: child.attribute((VMW, "key")).and_then(non_empty)?,
            value: child.attribute((VMW, "value")).unwrap_or_default().to_owned(),
            is_required: required.and_then(boolean) != Some(false),
        })
    };
    nodes.filter_map(setting).collect()
}

/// One item.
pub(super) fn item<'a, 'input>(
    reader: Reader<'a, 'input>,
    node: Node<'a, 'input>,
) -> Result<HardwareItem, EnvelopeError> {
    let text = |name| cim_texts(node, name).find(|text| !text.is_empty());
    let drafted = |name| text(name).filter(|_| reader.is_draft);
    let texts = |name| cim_texts(node, name).filter(|text| !text.is_empty()).collect();
    let number = |part, max: u64| match text(part) {
        None => Ok(None),
        Some(found) => match units::whole(&found).filter(|value| *value <= max) {
            Some(value) => Ok(Some(value)),
            None => Err(fail(node, EnvelopeFault::Number { part, found: shown(&found), max })),
        },
    };
    let lenient = |name| units::whole(&text(name)?);
    let mut cores = node.children().filter(|child| child.has_tag_name((VMW, "CoresPerSocket")));
    let missing = |part| fail(node, EnvelopeFault::Missing { element: "Item", part });
    let resource_type = number("ResourceType", u16::MAX.into())?
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| missing("ResourceType"))?;
    Ok(HardwareItem {
        // The second is how the drafts of OVF 1.0 spelled it; tools went on to write it.
        instance_id: text("InstanceID")
            .or_else(|| text("InstanceId"))
            .ok_or_else(|| missing("InstanceID"))?,
        resource_type,
        resource_sub_type: text("ResourceSubType"),
        element_name: text("ElementName").or_else(|| drafted("Caption")),
        parent: text("Parent"),
        address: text("Address").or_else(|| drafted("BusNumber")),
        address_on_parent: text("AddressOnParent"),
        host_resources: texts("HostResource"),
        connections: texts("Connection"),
        quantity: number("VirtualQuantity", u64::MAX)?,
        allocation_units: text("AllocationUnits"),
        configuration: reader.configuration(node).map(str::to_owned),
        description: text("Description"),
        automatic_allocation: text("AutomaticAllocation").as_deref().and_then(boolean),
        reservation: lenient("Reservation"),
        limit: lenient("Limit"),
        weight: lenient("Weight"),
        is_optional: reader.attribute(node, "required").and_then(boolean) == Some(false),
        bound: bound(reader, node).unwrap_or_default(),
        config: settings(reader, node, "Config"),
        cores_per_socket: cores.next().and_then(|child| units::whole(&text_of(child))),
    })
}

/// Texts of the children of this name that belong to a CIM setting-data class.
///
/// Which class is told by the element around them: `CIM_ResourceAllocationSettingData` in an
/// `Item`, the storage and Ethernet port ones in the items of OVF 2.
pub(super) fn cim_texts<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = String> + use<'a, 'input> {
    node.children()
        .filter(move |child| {
            child.tag_name().name() == name
                && child.tag_name().namespace().is_some_and(|uri| uri.starts_with(CIM))
        })
        .map(text_of)
}

/// What the namespaces of all CIM classes start with; some have `.xsd` at the end.
const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_";

/// Elements that describe a device; the second and third came with OVF 2.
const ITEMS: [&str; 3] = ["Item", "StorageItem", "EthernetPortItem"];
