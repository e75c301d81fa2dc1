//! Reads of a descriptor only what must survive an import, with code of its own.
//!
//! The server reads descriptors with the crate `ovftransfer-ovf`.  A mistake of that crate would be
//! on both sides of the comparison if the test used it too.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

/// A machine, or several together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    Collection(Collection),
    Machine(Machine),
}

/// What is in a vApp.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Collection {
    /// Name and content of each machine in it, in their order.
    pub(crate) machines: Vec<(String, Machine)>,
    /// What it may use, by CIM's number of it.
    pub(crate) allocations: BTreeMap<String, Allocation>,
    /// The same of the vApps in it.
    pub(crate) collections: Vec<(String, Self)>,
}

/// Reservation, limit and weight, in MHz or MiB; no reservation is one of zero.
type Allocation = (u64, Option<u64>, Option<u64>);

impl Content {
    /// The machines in it, however deep.
    pub(crate) fn machines_mut(&mut self) -> Vec<&mut Machine> {
        match self {
            Self::Collection(collection) => collection.machines_mut(),
            Self::Machine(machine) => vec![machine],
        }
    }
}

impl Collection {
    fn machines_mut(&mut self) -> Vec<&mut Machine> {
        let deep = self.collections.iter_mut().flat_map(|(_, inner)| inner.machines_mut());
        self.machines.iter_mut().map(|(_, machine)| machine).chain(deep).collect()
    }

    /// How many machines are in it, however deep.
    pub(crate) fn len(&self) -> usize {
        let deep = self.collections.iter().map(|(_, inner)| inner.len());
        self.machines.len() + deep.sum::<usize>()
    }

    /// Gives names that more than one has the names that `others` has in their place.
    pub(crate) fn take_names(&mut self, others: &Self) {
        let names = self.machines.iter().map(|(name, _)| name);
        let names: Vec<_> = names.chain(self.collections.iter().map(|(name, _)| name)).collect();
        let again = |name: &String| names.iter().filter(|other| **other == name).count() > 1;
        let again: Vec<String> =
            names.iter().filter(|name| again(name)).map(|n| (*n).clone()).collect();
        for ((name, _), (other, _)) in self.machines.iter_mut().zip(&others.machines) {
            if again.contains(name) {
                name.clone_from(other);
            }
        }
        for ((name, inner), (other, others)) in self.collections.iter_mut().zip(&others.collections)
        {
            if again.contains(name) {
                name.clone_from(other);
            }
            inner.take_names(others);
        }
    }
}

/// What a machine is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Machine {
    pub(crate) cpus: u64,
    pub(crate) memory_mib: u64,
    /// Capacity of each disk in bytes, sorted.
    pub(crate) disks: Vec<u64>,
    /// Network and kind of each card, sorted.
    pub(crate) cards: Vec<(String, String)>,
    /// Kind and number of each controller, sorted; IDE controllers only if something is on them.
    pub(crate) buses: Vec<(&'static str, u64, Slots)>,
}

/// What is on the units of a controller: the capacity of a disk in bytes, nothing for a CD drive.
type Slots = BTreeMap<u64, Option<u64>>;

/// An element; names are without their prefix.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    attributes: BTreeMap<String, String>,
    pub(crate) children: Vec<Self>,
    text: String,
}

impl Element {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => open.push(Self::start(&start)?),
                Event::Empty(start) => open.last_mut()?.children.push(Self::start(&start)?),
                Event::End(_) => {
                    let element = open.pop()?;
                    open.last_mut()?.children.push(element);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::GeneralRef(name) => {
                    let name = name.xml10_content();
                    let text = &mut open.last_mut()?.text;
                    match &*name {
                        "amp" => text.push('&'),
                        "lt" => text.push('<'),
                        "gt" => text.push('>'),
                        "quot" => text.push('"'),
                        "apos" => text.push('\''),
                        // No corpus file has a number in what is compared.
                        _ => text.push('?'),
                    }
                }
                Event::Eof => return open.pop()?.children.pop(),
                Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::DocType(_)
                | Event::PI(_) => {}
            }
        }
    }

    fn start(start: &BytesStart<'_>) -> Option<Self> {
        let local = |name: &str| name.rsplit(':').next().unwrap_or_default().to_owned();
        let mut element = Self { name: local(start.name().as_ref()), ..Self::default() };
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
            element.attributes.insert(local(attribute.key.as_ref()), value.into_owned());
        }
        Some(element)
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    fn all<'a>(&'a self, name: &str, found: &mut Vec<&'a Self>) {
        for child in &self.children {
            if child.name == name {
                found.push(child);
            }
            child.all(name, found);
        }
    }

    /// All elements with this name, however deep.
    pub(crate) fn every(&self, name: &str) -> Vec<&Self> {
        let mut found = Vec::new();
        self.all(name, &mut found);
        found
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// Text of a child.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim())
    }
}

/// The content of a descriptor in its default deployment option.
pub(crate) fn content(envelope: &Element) -> Option<Content> {
    let options = envelope.every("Configuration");
    let marked = options.iter().find(|one| one.attribute("default").is_some_and(|on| on == "true"));
    let option = marked.or(options.first()).and_then(|one| one.attribute("id")).unwrap_or_default();
    if let Some(outer) = envelope.child("VirtualSystemCollection") {
        return collection(envelope, outer, option).map(Content::Collection);
    }
    machine(envelope, envelope.child("VirtualSystem")?, option).map(Content::Machine)
}

fn collection(envelope: &Element, element: &Element, option: &str) -> Option<Collection> {
    let allocations = allocations(element, option)?;
    let mut found = Collection { allocations, ..Collection::default() };
    for inner in &element.children {
        let name = inner.value("Name").filter(|name| !name.is_empty());
        let name = name.or(inner.attribute("id")).unwrap_or_default().to_owned();
        match inner.name.as_str() {
            "VirtualSystem" => found.machines.push((name, machine(envelope, inner, option)?)),
            "VirtualSystemCollection" => {
                found.collections.push((name, collection(envelope, inner, option)?));
            }
            _ => {}
        }
    }
    Some(found)
}

fn allocations(element: &Element, option: &str) -> Option<BTreeMap<String, Allocation>> {
    let mut found = BTreeMap::new();
    let section = element.child("ResourceAllocationSection");
    for item in section.into_iter().flat_map(|section| &section.children) {
        let of = item.attribute("configuration");
        let is_there = of.is_none_or(|of| of.split_whitespace().any(|one| one == option));
        let Some(unit) = item.value("AllocationUnits").filter(|_| is_there) else { continue };
        let unit = match unit {
            "hertz * 10^6" | "byte * 2^20" => 1,
            "hertz * 10^9" => 1000,
            _ => return None,
        };
        let number = |name: &str| item.value(name).map(|text| text.parse::<u64>().unwrap());
        let reservation = number("Reservation").unwrap_or(0) * unit;
        let limit = number("Limit").map(|limit| limit * unit);
        let allocation = (reservation, limit, number("Weight"));
        if allocation != (0, None, None) {
            found.insert(item.value("ResourceType")?.to_owned(), allocation);
        }
    }
    Some(found)
}

fn machine(envelope: &Element, system: &Element, option: &str) -> Option<Machine> {
    // A machine may have no hardware section; then it has no devices.
    let none = Element::default();
    let hardware = system.child("VirtualHardwareSection").unwrap_or(&none);
    let mut items: Vec<&Element> = Vec::new();
    for item in &hardware.children {
        if !["Item", "StorageItem", "EthernetPortItem"].contains(&&*item.name)
            || item.attribute("bound").is_some_and(|bound| bound != "normal")
        {
            continue;
        }
        let of = item.attribute("configuration");
        if of.is_some_and(|of| !of.split_whitespace().any(|one| one == option)) {
            continue;
        }
        match items.iter_mut().find(|known| instance(known) == instance(&item)) {
            Some(known) => *known = item,
            None => items.push(item),
        }
    }
    let of_type = |wanted: &'static str| {
        items.iter().filter(move |item| item.value("ResourceType") == Some(wanted))
    };
    let quantity = |item: &&&Element| item.value("VirtualQuantity")?.parse::<u64>().ok();
    let memory = of_type("4").next();
    let mut disks = Vec::new();
    for item in of_type("17") {
        disks.push(disk_bytes(envelope, item, option)?);
    }
    disks.sort_unstable();
    let cards = of_type("10").map(|item| {
        let kind = item.value("ResourceSubType").unwrap_or("E1000").to_ascii_lowercase();
        (item.value("Connection").unwrap_or_default().to_owned(), kind)
    });
    let mut cards: Vec<(String, String)> = cards.collect();
    cards.sort();
    Some(Machine {
        cpus: of_type("3").next().as_ref().and_then(quantity).unwrap_or(1),
        memory_mib: match memory {
            Some(item) => {
                let unit = bytes_of(item.value("AllocationUnits").unwrap_or("byte * 2^20"))?;
                quantity(&item)?.checked_mul(unit)? >> 20
            }
            None => 512,
        },
        disks,
        cards,
        buses: buses(envelope, &items, option)?,
    })
}

fn disk_bytes(envelope: &Element, item: &Element, option: &str) -> Option<u64> {
    let Some(resource) = item.value("HostResource") else {
        let unit = bytes_of(item.value("AllocationUnits")?)?;
        return item.value("VirtualQuantity")?.parse::<u64>().ok()?.checked_mul(unit);
    };
    let wanted = resource.rsplit('/').next()?;
    let all = envelope.every("Disk");
    let disk = all.into_iter().find(|disk| disk.attribute("diskId") == Some(wanted))?;
    let unit = bytes_of(disk.attribute("capacityAllocationUnits").unwrap_or("byte"))?;
    capacity(envelope, disk.attribute("capacity")?, option)?.checked_mul(unit)
}

fn buses(
    envelope: &Element,
    items: &[&Element],
    option: &str,
) -> Option<Vec<(&'static str, u64, Slots)>> {
    let number = |item: &Element, name: &str| item.value(name)?.parse::<u64>().ok();
    let mut found: Vec<(&'static str, u64, Slots)> = Vec::new();
    let buses = items.iter().filter_map(|item| Some((*item, bus_kind(item)?)));
    for (bus, kind) in buses {
        let mut slots = Slots::new();
        let mut homeless = Vec::new();
        for item in items.iter().filter(|item| item.value("Parent") == instance(&bus)) {
            let what = match item.value("ResourceType") {
                Some("17") => Some(disk_bytes(envelope, item, option)?),
                Some("15" | "16") => None,
                _ => continue,
            };
            match number(item, "AddressOnParent").filter(|unit| !slots.contains_key(unit)) {
                Some(unit) => drop(slots.insert(unit, what)),
                None => homeless.push(what),
            }
        }
        for what in homeless {
            let unit = (0..).find(|unit| *unit != 7 && !slots.contains_key(unit))?;
            slots.insert(unit, what);
        }
        let family = |kind: &str| matches!(kind, "ahci" | "ide" | "nvme").then(|| kind.to_owned());
        let is_taken = |number: u64| {
            found.iter().any(|(other, taken, _)| family(other) == family(kind) && *taken == number)
        };
        let number = number(bus, "Address").filter(|number| !is_taken(*number));
        let number = number.or_else(|| (0..).find(|number| !is_taken(*number)))?;
        found.push((kind, number, slots));
    }
    found.retain(|(kind, _, slots)| *kind != "ide" || !slots.is_empty());
    found.sort();
    Some(found)
}

/// The controllers that the corpus has.
fn bus_kind(item: &Element) -> Option<&'static str> {
    let sub_types = item.value("ResourceSubType").unwrap_or_default().to_ascii_lowercase();
    let mut sub_types = sub_types.split([' ', ',']);
    match item.value("ResourceType")? {
        "5" => Some("ide"),
        // Of SCSI any may stand for one that is not known.
        "6" => Some(
            sub_types
                .find_map(|name| {
                    let known = ["buslogic", "lsilogic", "lsilogicsas", "virtualscsi"];
                    known.into_iter().find(|one| *one == name)
                })
                .unwrap_or("lsilogic"),
        ),
        "20" => sub_types.find_map(|name| match name {
            "ahci" | "vmware.sata.ahci" => Some("ahci"),
            "vmware.nvme.controller" => Some("nvme"),
            _ => None,
        }),
        _ => None,
    }
}

fn instance<'a>(item: &&'a Element) -> Option<&'a str> {
    item.value("InstanceID").or_else(|| item.value("InstanceId"))
}

/// A capacity, which may be the value of a property (`${name}`).
fn capacity(envelope: &Element, text: &str, option: &str) -> Option<u64> {
    let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return text.parse().ok();
    };
    let all = envelope.every("Property");
    let property = all.into_iter().find(|one| one.attribute("key") == Some(name))?;
    let values = property.every("Value");
    let special = values.iter().find(|value| value.attribute("configuration") == Some(option));
    special.and_then(|value| value.attribute("value")).or(property.attribute("value"))?.parse().ok()
}

/// The units that the corpus has, and no others.
fn bytes_of(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().replace(' ', "").as_str() {
        "byte" | "bytes" => 1,
        "byte*2^10" | "kilobytes" => 1 << 10,
        "byte*2^20" | "byte*1024*1024" | "megabytes" | "mb" => 1 << 20,
        "byte*2^30" | "gigabytes" | "gb" => 1 << 30,
        _ => return None,
    })
}
