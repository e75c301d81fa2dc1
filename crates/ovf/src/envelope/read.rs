//! From the XML tree to the values, with the checks that a transfer needs.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use roxmltree::Document;
use roxmltree::Node;
use roxmltree::ParsingOptions;

use super::describe::Describer;
use super::describe::Places;
use super::describe::place_of;
use super::error::EnvelopeError;
use super::error::EnvelopeFault;
use super::items;
use super::messages::Messages;
use super::scan;
use super::sections::Bundle;
use super::sections::Configuration;
use super::sections::IpAssignment;
use super::sections::VendorSection;
use super::sections::VirtualSystemCollection;
use super::tree::OVF_2;
use super::tree::Reader;
use super::tree::SIZE_BYTES_MAX;
use super::tree::VMW;
use super::tree::fail;
use super::tree::non_empty;
use super::units;
use super::view::CapacityProperty;
use super::view::Disk;
use super::view::EnvelopeVersion;
use super::view::FileRef;
use super::view::Network;
use super::view::VirtualSystem;
use crate::name::FileName;
use crate::name::shown;

/// Everything that is read from a descriptor.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) version: EnvelopeVersion,
    pub(super) references: Vec<FileRef>,
    /// Places of the references by their ids: a hostile descriptor has 100,000 of them.
    file_places: HashMap<String, usize>,
    pub(super) disks: Vec<Disk>,
    disk_places: HashMap<String, usize>,
    pub(super) networks: Vec<Network>,
    pub(super) systems: Vec<VirtualSystem>,
    pub(super) collections: Vec<VirtualSystemCollection>,
    pub(super) configurations: Vec<Configuration>,
    pub(super) ip_assignment: Option<IpAssignment>,
    pub(super) vendor_sections: Vec<VendorSection>,
    pub(super) bundles: Vec<Bundle>,
    /// References to what is no file of the package, as they stand in the descriptor.
    pub(super) outside: Vec<String>,
}

impl Parts {
    /// The file with an id.
    pub(super) fn file(&self, id: &str) -> Option<&FileRef> {
        self.references.get(*self.file_places.get(id)?)
    }

    /// The disk with an id.
    pub(super) fn disk(&self, id: &str) -> Option<&Disk> {
        self.disks.get(*self.disk_places.get(id)?)
    }
}

/// What becomes of a reference to something that is no file of the package.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outside {
    /// It is put aside: nobody is going to open it.
    Aside,
    /// The descriptor is refused.
    Refused,
    /// Files on web servers are references; for anything else the descriptor is refused.
    Remote,
}

/// What to read texts from beside the descriptor, and in which language.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'t> {
    pub(super) language: Option<&'t str>,
    /// Message bundles that stand in files.
    pub(super) bundles: &'t [String],
}

/// Reads a descriptor.
pub(super) fn read(
    text: &str,
    outside: Outside,
    wanted: Wanted<'_>,
) -> Result<Parts, EnvelopeError> {
    // A bundle that cannot be read is none: the texts of the descriptor stand for it.
    let files: Vec<Document<'_>> = wanted.bundles.iter().flat_map(|text| tree(text)).collect();
    let tree = tree(text)?;
    let (version, reader) = envelope(&tree)?;
    let messages = Messages::of(reader, wanted.language, &files);
    let describer = Describer { reader, messages: &messages };
    let References { files, ids, outside } = reader.references(outside)?;
    let configurations = describer.configurations()?;
    let default = default_of(&configurations).map(|one| one.id.as_str());
    let disks = reader.disks(&ids, default)?;
    let networks = reader.networks(describer)?;
    let (collections, places) = describer.collections()?;
    let systems = reader.systems(describer, &places, &ids, &disks)?;
    Ok(Parts {
        version,
        file_places: places_of(files.iter().map(FileRef::id)),
        references: files,
        disk_places: places_of(disks.iter().map(Disk::id)),
        disks,
        networks,
        systems,
        collections,
        configurations,
        ip_assignment: describer.ip_assignment(),
        vendor_sections: describer.vendor_sections(&places)?,
        bundles: describer.bundles(),
        outside,
    })
}

/// Reads the XML.
pub(super) fn tree(text: &str) -> Result<Document<'_>, EnvelopeError> {
    scan::check(text)?;
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|e| xml_error(text, &e))
}

/// The envelope of a tree, and its version.
pub(super) fn envelope<'a, 'input>(
    tree: &'a Document<'input>,
) -> Result<(EnvelopeVersion, Reader<'a, 'input>), EnvelopeError> {
    let root = tree.root_element();
    let (version, ovf) = match (root.tag_name().name(), root.tag_name().namespace()) {
        ("Envelope", Some(DRAFT)) => (EnvelopeVersion::Draft, DRAFT),
        ("Envelope", Some(OVF_1)) => (EnvelopeVersion::V1, OVF_1),
        ("Envelope", Some(OVF_2)) => (EnvelopeVersion::V2, OVF_2),
        (name, namespace) => {
            let found =
                format!("{} of {}", shown(name), shown(namespace.unwrap_or("no namespace")));
            return Err(fail(root, EnvelopeFault::NotAnEnvelope { found }));
        }
    };
    Ok((version, Reader { root, ovf, is_draft: version == EnvelopeVersion::Draft }))
}

fn places_of<'i>(ids: impl Iterator<Item = &'i str>) -> HashMap<String, usize> {
    ids.enumerate().map(|(place, id)| (id.to_owned(), place)).collect()
}

/// The configuration of a user who chooses none.
pub(super) fn default_of(configurations: &[Configuration]) -> Option<&Configuration> {
    configurations.iter().find(|one| one.is_default).or_else(|| configurations.first())
}

/// Properties that stand for capacities, by their full keys.
type CapacityProperties<'a> = HashMap<&'a str, Arc<CapacityProperty>>;

/// What stands in `References`.
#[derive(Debug, Default)]
struct References<'a> {
    files: Vec<FileRef>,
    /// Ids of all references.
    ids: HashSet<&'a str>,
    outside: Vec<String>,
}

impl<'a, 'input> Reader<'a, 'input> {
    fn references(self, outside: Outside) -> Result<References<'a>, EnvelopeError> {
        let mut hrefs = HashSet::new();
        let names = self.file_nodes().filter_map(|node| self.attribute(node, "href"));
        let names: HashSet<FileName> =
            names.filter_map(|name| FileName::from_relative(name).ok()).collect();
        let mut references = References::default();
        let mut remote = 0;
        for node in self.file_nodes() {
            let id = self.required(node, "File", "id")?;
            let found = self.required(node, "File", "href")?;
            if !references.ids.insert(id) {
                return Err(fail(node, EnvelopeFault::DuplicateFile { id: shown(id) }));
            }
            let mut url = None;
            let href = match FileName::from_relative(found) {
                Ok(href) => href,
                Err(_) if outside == Outside::Remote && is_web(found) => {
                    url = Some(found.to_owned());
                    let is_free = |name: &FileName| !names.contains(name) && !hrefs.contains(name);
                    name_for(found, &mut remote, is_free)
                }
                Err(_) if outside == Outside::Aside => {
                    references.outside.push(shown(found));
                    continue;
                }
                Err(error) => {
                    return Err(fail(node, EnvelopeFault::Href { id: shown(id), error }));
                }
            };
            if !hrefs.insert(href.clone()) {
                return Err(fail(node, EnvelopeFault::DuplicateHref { href }));
            }
            references.files.push(FileRef {
                id: id.to_owned(),
                href,
                url,
                size_bytes: self.number(node, "size")?,
                compression: self.attribute(node, "compression").and_then(non_empty),
                chunk_size_bytes: self.number(node, "chunkSize")?,
                at: node.range(),
            });
        }
        Ok(references)
    }

    fn disks(
        self,
        files: &HashSet<&str>,
        default: Option<&str>,
    ) -> Result<Vec<Disk>, EnvelopeError> {
        let properties = self.capacity_properties();
        let mut disks = Vec::new();
        let mut nodes = Vec::new();
        let mut places = HashMap::new();
        for node in self.disk_nodes() {
            let disk = self.disk(node, &properties, default)?;
            if let Some(file) = disk.file_ref().filter(|file| !files.contains(file)) {
                let id = shown(file);
                return Err(fail(node, EnvelopeFault::UnknownFile { from: "fileRef", id }));
            }
            if places.insert(disk.id.clone(), disks.len()).is_some() {
                return Err(fail(node, EnvelopeFault::DuplicateDisk { id: shown(&disk.id) }));
            }
            disks.push(disk);
            nodes.push(node);
        }
        let parents = disks.iter().zip(&nodes).map(|(disk, node)| match disk.parent_ref() {
            None => Ok(None),
            Some(id) => match places.get(id) {
                Some(place) => Ok(Some(*place)),
                None => {
                    let id = shown(id);
                    Err(fail(*node, EnvelopeFault::UnknownDisk { from: "parentRef", id }))
                }
            },
        });
        let parents: Vec<Option<usize>> = parents.collect::<Result<_, _>>()?;
        if let Some(place) = place_on_circle(&parents)
            && let (Some(disk), Some(node)) = (disks.get(place), nodes.get(place))
        {
            return Err(fail(*node, EnvelopeFault::ParentCircle { id: shown(&disk.id) }));
        }
        Ok(disks)
    }

    fn disk(
        self,
        node: Node<'a, 'input>,
        properties: &CapacityProperties<'a>,
        default: Option<&str>,
    ) -> Result<Disk, EnvelopeError> {
        let unit = self.attribute(node, "capacityAllocationUnits").filter(|unit| !unit.is_empty());
        let unit = unit.unwrap_or("byte");
        let capacity = self.required(node, "Disk", "capacity")?;
        let property = property_key(capacity).map(|key| {
            let unknown = || fail(node, EnvelopeFault::Property { key: shown(key) });
            properties.get(key).ok_or_else(unknown)
        });
        let property = property.transpose()?;
        let digits = match property {
            None => capacity,
            Some(property) => property
                .value_in(default)
                .ok_or_else(|| fail(node, EnvelopeFault::Property { key: shown(&property.key) }))?,
        };
        let unit_bytes = units::bytes_of_unit(unit)
            .ok_or_else(|| fail(node, EnvelopeFault::Unit { found: shown(unit) }))?;
        let capacity_bytes = units::capacity_bytes(digits, unit_bytes).ok_or_else(|| {
            let found = shown(&format!("{digits} {unit}"));
            fail(node, EnvelopeFault::Number { part: "capacity", found, max: SIZE_BYTES_MAX })
        })?;
        Ok(Disk {
            id: self.required(node, "Disk", "diskId")?.to_owned(),
            file_ref: self.attribute(node, "fileRef").and_then(non_empty),
            parent_ref: self.attribute(node, "parentRef").and_then(non_empty),
            capacity_bytes,
            unit_bytes,
            capacity_property: property.cloned(),
            populated_bytes: self.number(node, "populatedSize")?,
            format: self.attribute(node, "format").unwrap_or_default().to_owned(),
        })
    }

    /// Values of the properties that stand for a capacity (DSP0243 1.1.0 §9.5.1).
    ///
    /// The full key of a property has the class of its section in front and the instance behind.
    /// Only the keys that are asked for are kept, so that a long class costs nothing.
    fn capacity_properties(self) -> CapacityProperties<'a> {
        let wanted: HashSet<&str> = self
            .disk_nodes()
            .filter_map(|node| property_key(self.attribute(node, "capacity")?))
            .collect();
        let mut values = HashMap::new();
        if wanted.is_empty() {
            return values;
        }
        for section in self.root.descendants().filter(|node| self.is(*node, "ProductSection")) {
            let class = self.attribute(section, "class").unwrap_or_default();
            let instance = self.attribute(section, "instance").unwrap_or_default();
            for node in self.children(section, "Property") {
                let key = self.attribute(node, "key").unwrap_or_default();
                if class.len() + key.len() + instance.len() > KEY_BYTES_MAX {
                    continue;
                }
                let full_key = format!("{class}.{key}.{instance}");
                let full_key = full_key.trim_matches('.');
                let Some(key) = wanted.get(full_key) else { continue };
                let mut property = CapacityProperty {
                    key: (*key).to_owned(),
                    value: self.property_value(node).map(str::to_owned),
                    values: HashMap::new(),
                };
                for special in self.children(node, "Value") {
                    let configuration = self.configuration(special);
                    if let (Some(id), Some(value)) =
                        (configuration, self.attribute(special, "value"))
                    {
                        property.values.entry(id.to_owned()).or_insert_with(|| value.to_owned());
                    }
                }
                if property.value.is_some() || !property.values.is_empty() {
                    values.entry(*key).or_insert_with(|| Arc::new(property));
                }
            }
        }
        values
    }

    fn networks(self, describer: Describer<'_, 'a, 'input>) -> Result<Vec<Network>, EnvelopeError> {
        let sections = self.children(self.root, "NetworkSection");
        let networks = sections.flat_map(|section| self.children(section, "Network"));
        networks
            .map(|node| {
                let missing = EnvelopeFault::Missing { element: "Network", part: "network name" };
                let name = self.attribute(node, "name").ok_or_else(|| fail(node, missing))?;
                let description = describer.child_text(node, "Description")?;
                Ok(Network { name: name.to_owned(), description })
            })
            .collect()
    }

    /// Machines in document order, those inside of collections too.
    fn systems(
        self,
        describer: Describer<'_, 'a, 'input>,
        places: &Places,
        file_ids: &HashSet<&str>,
        disks: &[Disk],
    ) -> Result<Vec<VirtualSystem>, EnvelopeError> {
        let disk_ids: HashSet<&str> = disks.iter().map(Disk::id).collect();
        let mut systems = Vec::new();
        for node in self.root.descendants().filter(|node| self.is(*node, "VirtualSystem")) {
            if !self.is_content(node) {
                continue;
            }
            let system = self.system(node, describer, places)?;
            for item in system.items() {
                let from = "HostResource";
                if let Some(id) = item.disk_ids().find(|id| !disk_ids.contains(id)) {
                    return Err(fail(node, EnvelopeFault::UnknownDisk { from, id: shown(id) }));
                }
                if let Some(id) = item.file_ids().find(|id| !file_ids.contains(id)) {
                    return Err(fail(node, EnvelopeFault::UnknownFile { from, id: shown(id) }));
                }
            }
            systems.push(system);
        }
        let has_collection = self.children(self.root, "VirtualSystemCollection").next().is_some();
        if systems.is_empty() && !has_collection {
            let fault = EnvelopeFault::Missing { element: "Envelope", part: "VirtualSystem" };
            return Err(fail(self.root, fault));
        }
        Ok(systems)
    }

    fn system(
        self,
        node: Node<'a, 'input>,
        describer: Describer<'_, 'a, 'input>,
        places: &Places,
    ) -> Result<VirtualSystem, EnvelopeError> {
        let os = self.children(node, "OperatingSystemSection").next();
        let hardware = self.children(node, "VirtualHardwareSection").next();
        let family = hardware
            .and_then(|section| self.children(section, "System").next())
            .and_then(|system| items::cim_texts(system, "VirtualSystemType").next());
        let settings = |name| match hardware {
            Some(section) => items::settings(self, section, name),
            None => Vec::new(),
        };
        let (items, ranges) = match hardware {
            Some(section) => items::items(self, section)?,
            None => Default::default(),
        };
        Ok(VirtualSystem {
            id: self.attribute(node, "id").unwrap_or_default().to_owned(),
            name: describer.child_text(node, "Name")?,
            annotation: describer.annotation(node)?,
            collection: place_of(node, places),
            products: describer.products(node)?,
            eulas: describer.eulas(node)?,
            os_description: match os {
                Some(os) => describer.child_text(os, "Description")?,
                None => None,
            },
            os_version: os.and_then(|os| self.attribute(os, "version")).and_then(non_empty),
            // VMware's own appliances say -100 here, and name the system by `osType`.
            os_id: os.and_then(|os| self.attribute(os, "id")?.trim().parse().ok()),
            os_type: os.and_then(|os| os.attribute((VMW, "osType"))).and_then(non_empty),
            hardware_family: family.filter(|family| !family.is_empty()),
            items,
            ranges,
            transports: match hardware.and_then(|section| self.attribute(section, "transport")) {
                Some(text) => text.split([' ', ',']).filter_map(non_empty).collect(),
                None => Vec::new(),
            },
            config: settings("Config"),
            extra_config: settings("ExtraConfig"),
            install: describer.install(node),
            boot_order: describer.boot_order(node),
        })
    }
}

/// Whether a reference is to a web server (DSP0243 1.1.0 §7.1: `http` and `https`).
fn is_web(href: &str) -> bool {
    let begins = |scheme: &str| {
        href.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let is_sane = href.len() <= URL_BYTES_MAX && !href.chars().any(char::is_control);
    is_sane && (begins("http://") || begins("https://"))
}

/// A name for a file on a web server: the last part of its address, if that is one that no other
/// file has.
///
/// `number` is that of the last one without such a name: to count from 1 each time would cost the
/// square of their number.
fn name_for(url: &str, number: &mut usize, is_free: impl Fn(&FileName) -> bool) -> FileName {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let mut name = FileName::new(last);
    loop {
        match name {
            Ok(name) if is_free(&name) => return name,
            Ok(_) | Err(_) => *number += 1,
        }
        name = FileName::new(format!("remote-{number}"));
    }
}

/// The key in `${key}`.
fn property_key(text: &str) -> Option<&str> {
    text.strip_prefix("${")?.strip_suffix('}')
}

/// A place from which following the parents leads back to it.  Visits each place once.
fn place_on_circle(parents: &[Option<usize>]) -> Option<usize> {
    let mut walk_of: Vec<Option<usize>> = vec![None; parents.len()];
    for start in 0..parents.len() {
        let mut next = Some(start);
        while let Some(place) = next {
            match walk_of.get_mut(place)? {
                Some(walk) if *walk == start => return Some(place),
                Some(_) => break,
                unvisited => *unvisited = Some(start),
            }
            next = parents.get(place).copied().flatten();
        }
    }
    None
}

fn xml_error(text: &str, error: &roxmltree::Error) -> EnvelopeError {
    let line_start = |line: u32| {
        let before = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        text.split_inclusive('\n').take(before).map(str::len).sum::<usize>()
    };
    let start = line_start(error.pos().row);
    let column = usize::try_from(error.pos().col.saturating_sub(1)).unwrap_or(0);
    let rest = text.get(start..).unwrap_or_default();
    let in_line = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    let fault = if matches!(error, roxmltree::Error::NodesLimitReached) {
        let max = usize::try_from(NODES_MAX).unwrap_or(usize::MAX);
        EnvelopeFault::Limit { what: "elements and texts", max }
    } else {
        EnvelopeFault::Xml { problem: shown(&error.to_string()) }
    };
    EnvelopeError::at(text, start + in_line, fault)
}

/// Namespace of the drafts before OVF 1.0, by VMware; they call themselves 0.9.
const DRAFT: &str = "http://www.vmware.com/schema/ovf/1/envelope";

/// Namespace of OVF 1.0 and 1.1.
const OVF_1: &str = "http://schemas.dmtf.org/ovf/envelope/1";

/// Longest full key of a property that stands for a capacity; real keys are words.
const KEY_BYTES_MAX: usize = 1024;

/// Longest address of a file on a web server; signed ones reach 2 KiB.
const URL_BYTES_MAX: usize = 8 << 10;

/// Most nodes of the tree.  At 4 MiB, text of ordinary density has 150,000.
const NODES_MAX: u32 = 200_000;
