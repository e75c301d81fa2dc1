//! Collections of machines: `VirtualSystemCollection` and the import spec of a vApp.

use std::slice;

use serde_json::{Value, json};

use super::{Import, Named, chosen};
use crate::fault::Fault;
use crate::ovf::envelope::{Envelope, FileRef, HardwareItem, VirtualSystem};
use crate::ovf::sections::{Messages, Sections, attribute, child, qualified_id};
use crate::soap::Element;
use crate::vm::allocation;

/// What is the same for everything in the package.
struct Package<'a> {
    envelope: &'a Envelope,
    option: &'a str,
    messages: Messages,
    /// The machines in document order.
    systems: slice::Iter<'a, VirtualSystem>,
    /// What each collection may use, in document order.
    allocations: slice::Iter<'a, Vec<HardwareItem>>,
}

/// `VirtualAppImportSpec` of the package's outermost collection.
///
/// `wanted` is its name if it is not to be the descriptor's.
pub(super) fn read(
    import: &mut Import<'_>,
    envelope: &Envelope,
    option: &str,
    wanted: &str,
) -> Option<Value> {
    let what = "Only packages of one virtual machine or one collection are supported.";
    let unsupported = Fault::new("OvfUnsupportedPackage", what);
    let root = envelope.root();
    let Some(outer) = child(root, COLLECTION) else {
        import.errors.push(unsupported);
        return None;
    };
    if import.world.scenario.esxi {
        let what = format!("Unsupported element '{COLLECTION}': a host has no vApps.");
        import.errors.push(Fault::new("OvfUnsupportedElement", what).with("name", COLLECTION));
        return None;
    }
    let messages = Messages::read(root, &import.parameters["msgBundle"]);
    // Sections of the envelope are for what is outermost in it.
    let mut sections = Sections::of(root, &messages);
    sections.add(outer, &messages);
    let (systems, allocations) = (envelope.systems().iter(), envelope.allocations().iter());
    let mut package = Package { envelope, option, messages, systems, allocations };
    let name = if wanted.is_empty() { package.name(outer) } else { wanted.to_owned() };
    Some(package.collection(import, outer, (&name, &name), &sections))
}

impl Package<'_> {
    /// `VirtualAppImportSpec` of one collection with its name and its path, `shop/front`.
    fn collection(
        &mut self,
        import: &mut Import<'_>,
        element: &Element,
        (name, path): (&str, &str),
        sections: &Sections,
    ) -> Value {
        let mut config = own_config(import, sections, self.option);
        if config.is_null() {
            config = json!({});
        }
        config["_typeName"] = json!("VAppConfigSpec");
        config["annotation"] = json!(annotation(element, &self.messages));
        let items = self.allocations.next().map_or(&[][..], Vec::as_slice);
        let items = chosen(items, self.option);
        let start = child(element, "StartupSection");
        let (mut children, mut taken) = (Vec::new(), Vec::new());
        for inner in element.children.iter().filter(|inner| is_content(inner)) {
            let own = free_name(self.name(inner), attribute(inner, "id"), &taken);
            taken.push(own.clone());
            let sections = Sections::of(inner, &self.messages);
            let path = format!("{path}/{own}");
            let spec = match inner.name.as_str() {
                COLLECTION => Some(self.collection(import, inner, (&own, &path), &sections)),
                _ => self.machine(import, inner, (&own, &path), &sections),
            };
            let Some(mut spec) = spec else { continue };
            let id = attribute(inner, "id");
            let items = start.iter().flat_map(|section| &section.children);
            let mut items = items.filter(|item| item.name == "Item");
            spec["entityConfig"] =
                items.find(|item| attribute(item, "id") == id).map_or(Value::Null, entity_config);
            children.push(spec);
        }
        json!({
            "_typeName": "VirtualAppImportSpec",
            "name": name,
            "vAppConfigSpec": config,
            "resourcePoolSpec": {
                "cpuAllocation": resources(&items, 3, HERTZ_PER_MHZ),
                "memoryAllocation": resources(&items, 4, BYTES_PER_MIB),
            },
            "child": children,
        })
    }

    /// `VirtualMachineImportSpec` of the next machine of the envelope.
    fn machine(
        &mut self,
        import: &mut Import<'_>,
        element: &Element,
        (name, path): (&str, &str),
        sections: &Sections,
    ) -> Option<Value> {
        let system = self.systems.next()?;
        let config = own_config(import, sections, self.option);
        let named = Named { name, path };
        let nvram = nvram_of(element, self.envelope);
        let spec = import.machine(self.envelope, (system, self.option), named, (config, nvram));
        Some(json!({ "_typeName": "VirtualMachineImportSpec", "configSpec": spec }))
    }

    fn name(&self, element: &Element) -> String {
        let name = child(element, "Name").map(|name| self.messages.text(name));
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| attribute(element, "id").to_owned())
    }
}

/// `VmConfigSpec` of one machine or collection, with the properties that are its own.
///
/// What is wrong with the mapping as a whole has been said before.
fn own_config(import: &Import<'_>, sections: &Sections, option: &str) -> Value {
    let own: Vec<String> = sections.properties(option).iter().map(qualified_id).collect();
    let mut parameters = import.parameters.clone();
    if let Some(pairs) = parameters["propertyMapping"].as_array_mut() {
        pairs.retain(|pair| pair["key"].as_str().is_some_and(|key| own.iter().any(|o| o == key)));
    }
    sections.config(option, &parameters, &mut Vec::new())
}

/// `VAppEntityConfigInfo` of an item of the `StartupSection` (DSP0243 1.1.0 §9.9).
fn entity_config(item: &Element) -> Value {
    let number = |name: &str| attribute(item, name).parse::<i32>().ok();
    let text = |name: &str, default: &str| match attribute(item, name) {
        "" => default.to_owned(),
        text => text.to_owned(),
    };
    json!({
        "tag": attribute(item, "id"),
        "startOrder": number("order"),
        "startDelay": number("startDelay").unwrap_or(0),
        "waitingForGuest": attribute(item, "waitingForGuest") == "true",
        "startAction": text("startAction", "powerOn"),
        "stopDelay": number("stopDelay").unwrap_or(0),
        "stopAction": text("stopAction", "powerOff"),
    })
}

/// `ResourceAllocationInfo` by the item of the type `resource_type`, in units of the API.
fn resources(items: &[&HardwareItem], resource_type: u16, unit: u64) -> Value {
    let mut info = allocation();
    let Some(item) = items.iter().find(|item| item.resource_type() == resource_type) else {
        return info;
    };
    if let Some(reservation) = item.reservation() {
        info["reservation"] = json!(reservation.div_ceil(unit));
    }
    if let Some(limit) = item.limit() {
        info["limit"] = json!(limit / unit);
    }
    if let Some(weight) = item.weight() {
        info["shares"] = json!({ "shares": weight, "level": "custom" });
    }
    info
}

fn is_content(element: &Element) -> bool {
    matches!(element.name.as_str(), "VirtualSystem" | COLLECTION)
}

/// The name itself, or else the id or a numbered name: names in a vApp differ, while descriptors
/// with two machines of one name exist.
fn free_name(name: String, id: &str, taken: &[String]) -> String {
    let numbered = (2..).map(|number| format!("{name} ({number})"));
    let mut names = [name.clone(), id.to_owned()].into_iter().chain(numbered);
    names.find(|name| !taken.contains(name)).unwrap_or(name)
}

fn annotation(element: &Element, messages: &Messages) -> Option<String> {
    let section = child(element, "AnnotationSection")?;
    child(section, "Annotation").map(|text| messages.text(text))
}

/// The NVRAM that a machine of several names: `ExtraConfig` with the key `nvram`.
fn nvram_of<'a>(element: &Element, envelope: &'a Envelope) -> Option<&'a FileRef> {
    let hardware = child(element, "VirtualHardwareSection")?;
    let mut options = hardware.children.iter().filter(|inner| inner.name == "ExtraConfig");
    let option = options.find(|option| attribute(option, "key") == "nvram")?;
    let value = attribute(option, "value");
    let id = value.strip_prefix("ovf:").unwrap_or(value).strip_prefix("/file/")?;
    envelope.file(id)
}

/// The API counts CPU in MHz.
const HERTZ_PER_MHZ: u64 = 1_000_000;

/// The API counts memory in MiB.
const BYTES_PER_MIB: u64 = 1 << 20;

/// The element of a collection.
const COLLECTION: &str = "VirtualSystemCollection";
