//! Reads of a descriptor only what must survive an import, with code of its own.
//!
//! The server reads descriptors with the crate `ovftransfer-ovf`.  A mistake of that crate would be
//! on both sides of the comparison if the test used it too.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

/// What a machine is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Machine {
    pub(crate) cpus: u64,
    pub(crate) memory_mib: u64,
    /// Capacity of each disk in bytes, sorted.
    pub(crate) disks: Vec<u64>,
    /// Network and kind of each card, sorted.
    pub(crate) cards: Vec<(String, String)>,
}

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

/// The only machine of a descriptor, in its default deployment option.
pub(crate) fn machine(envelope: &Element) -> Option<Machine> {
    let options = envelope.every("Configuration");
    let marked = options.iter().find(|one| one.attribute("default").is_some_and(|on| on == "true"));
    let option = marked.or(options.first()).and_then(|one| one.attribute("id")).unwrap_or_default();
    let hardware = envelope.every("VirtualHardwareSection").into_iter().next()?;
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
        let Some(resource) = item.value("HostResource") else {
            let unit = bytes_of(item.value("AllocationUnits")?)?;
            disks.push(quantity(&item)?.checked_mul(unit)?);
            continue;
        };
        let wanted = resource.rsplit('/').next()?;
        let all = envelope.every("Disk");
        let disk = all.into_iter().find(|disk| disk.attribute("diskId") == Some(wanted))?;
        let unit = bytes_of(disk.attribute("capacityAllocationUnits").unwrap_or("byte"))?;
        disks.push(capacity(envelope, disk.attribute("capacity")?, option)?.checked_mul(unit)?);
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
    })
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
