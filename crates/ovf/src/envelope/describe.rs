//! From the XML tree to the sections that describe a product.
//!
//! Nothing here is needed to move a disk, so that nothing here refuses a descriptor but what costs
//! too much: what makes no sense is left out.

use std::collections::HashMap;

use roxmltree::Node;
use roxmltree::NodeId;

use super::error::EnvelopeError;
use super::error::EnvelopeFault;
use super::hardware::HardwareItem;
use super::items;
use super::messages::Messages;
use super::messages::language_of;
use super::sections::BootDevice;
use super::sections::Bundle;
use super::sections::Configuration;
use super::sections::Eula;
use super::sections::Install;
use super::sections::IpAssignment;
use super::sections::Product;
use super::sections::Property;
use super::sections::PropertyValue;
use super::sections::StartupItem;
use super::sections::VendorSection;
use super::sections::VirtualSystemCollection;
use super::tree::OVF_2;
use super::tree::Reader;
use super::tree::VMW;
use super::tree::boolean;
use super::tree::fail;
use super::tree::non_empty;
use super::units;

/// Reads the describing sections of one descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Describer<'m, 'a, 'input> {
    pub(super) reader: Reader<'a, 'input>,
    pub(super) messages: &'m Messages<'a, 'input>,
}

/// Where each collection stands in the list of collections.
pub(super) type Places = HashMap<NodeId, usize>;

impl<'a, 'input> Describer<'_, 'a, 'input> {
    /// Collections in document order, those inside of collections too.
    pub(super) fn collections(
        self,
    ) -> Result<(Vec<VirtualSystemCollection>, Places), EnvelopeError> {
        let reader = self.reader;
        let mut collections = Vec::new();
        let mut places = Places::new();
        for node in reader.root.descendants() {
            if !reader.is(node, "VirtualSystemCollection") || !reader.is_content(node) {
                continue;
            }
            places.insert(node.id(), collections.len());
            collections.push(VirtualSystemCollection {
                id: reader.attribute(node, "id").unwrap_or_default().to_owned(),
                name: self.child_text(node, "Name")?,
                annotation: self.annotation(node)?,
                collection: place_of(node, &places),
                products: self.products(node)?,
                eulas: self.eulas(node)?,
                startup: self.startup(node),
                resources: self.resources(node),
            });
        }
        Ok((collections, places))
    }

    /// The notes of a machine or collection (§9.4).
    pub(super) fn annotation(
        self,
        node: Node<'a, 'input>,
    ) -> Result<Option<String>, EnvelopeError> {
        for section in self.reader.children(node, "AnnotationSection") {
            if let Some(text) = self.child_text(section, "Annotation")? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// The products of a machine or collection (§9.5).
    pub(super) fn products(self, node: Node<'a, 'input>) -> Result<Vec<Product>, EnvelopeError> {
        self.reader.children(node, "ProductSection").map(|section| self.product(section)).collect()
    }

    /// The licences of a machine or collection (§9.6).
    pub(super) fn eulas(self, node: Node<'a, 'input>) -> Result<Vec<Eula>, EnvelopeError> {
        let sections = self.reader.children(node, "EulaSection");
        let read = sections.map(|section| {
            Ok(Eula {
                info: self.child_text(section, "Info")?,
                license: self.child_text(section, "License")?.unwrap_or_default(),
            })
        });
        read.collect()
    }

    /// The configurations of the package (§9.8).
    pub(super) fn configurations(self) -> Result<Vec<Configuration>, EnvelopeError> {
        let reader = self.reader;
        let sections = reader.children(reader.root, "DeploymentOptionSection");
        let mut configurations = Vec::new();
        for node in sections.flat_map(|section| reader.children(section, "Configuration")) {
            let Some(id) = reader.attribute(node, "id").and_then(non_empty) else { continue };
            configurations.push(Configuration {
                id,
                label: self.child_text(node, "Label")?,
                description: self.child_text(node, "Description")?,
                is_default: self.flag(node, "default") == Some(true),
            });
        }
        Ok(configurations)
    }

    /// How machines can get addresses; VMware's tools write it at several places.
    pub(super) fn ip_assignment(self) -> Option<IpAssignment> {
        let is_it = |node: &Node<'_, '_>| node.has_tag_name((VMW, "IpAssignmentSection"));
        let node = self.reader.root.descendants().find(is_it)?;
        let list = |name| {
            let words = node.attribute((VMW, name)).unwrap_or_default().split([',', ' ']);
            words.filter_map(non_empty).collect()
        };
        Some(IpAssignment { protocols: list("protocols"), schemes: list("schemes") })
    }

    fn product(self, section: Node<'a, 'input>) -> Result<Product, EnvelopeError> {
        let key_part = |node: Node<'a, 'input>, name| match self.reader.attribute(node, name) {
            Some(text) if text.len() > KEY_BYTES_MAX => {
                let fault = EnvelopeFault::Limit { what: "bytes of a key", max: KEY_BYTES_MAX };
                Err(fail(node, fault))
            }
            text => Ok(text.and_then(non_empty)),
        };
        let mut product = Product {
            class: key_part(section, "class")?,
            instance: key_part(section, "instance")?,
            info: self.child_text(section, "Info")?,
            name: self.child_text(section, "Product")?,
            vendor: self.child_text(section, "Vendor")?,
            version: self.child_text(section, "Version")?,
            full_version: self.child_text(section, "FullVersion")?,
            product_url: self.child_text(section, "ProductUrl")?,
            vendor_url: self.child_text(section, "VendorUrl")?,
            app_url: self.child_text(section, "AppUrl")?,
            properties: Vec::new(),
        };
        // A category is the heading of the properties after it (§9.5.1).
        let mut category: Option<String> = None;
        for node in section.children() {
            if self.reader.is(node, "Category") {
                category = self.messages.text(self.reader, node)?;
            } else if self.reader.is(node, "Property")
                && let Some(key) = key_part(node, "key")?
            {
                self.messages.spend(node, category.as_ref().map_or(0, String::len))?;
                product.properties.push(self.property(node, key, category.clone())?);
            }
        }
        Ok(product)
    }

    fn property(
        self,
        node: Node<'a, 'input>,
        key: String,
        category: Option<String>,
    ) -> Result<Property, EnvelopeError> {
        let text = |name| self.reader.attribute(node, name).map(str::to_owned);
        let values = self.reader.children(node, "Value").filter_map(|value| {
            Some(PropertyValue {
                value: self.reader.attribute(value, "value")?.to_owned(),
                configuration: self.reader.configuration(value).map(str::to_owned),
            })
        });
        Ok(Property {
            key,
            kind: text("type").unwrap_or_default(),
            qualifiers: text("qualifiers").filter(|text| !text.is_empty()),
            user_configurable: self.flag(node, "userConfigurable"),
            is_password: self.flag(node, "password") == Some(true),
            value: self.reader.property_value(node).map(str::to_owned),
            values: values.collect(),
            configuration: text("configuration").filter(|text| !text.is_empty()),
            label: self.child_text(node, "Label")?,
            description: self.child_text(node, "Description")?,
            category,
        })
    }

    /// How the parts of a collection are started (§9.7).
    fn startup(self, collection: Node<'a, 'input>) -> Vec<StartupItem> {
        let reader = self.reader;
        let sections = reader.children(collection, "StartupSection");
        let items = sections.flat_map(|section| reader.children(section, "Item"));
        items
            .filter_map(|node| {
                let number = |name| units::whole(reader.attribute(node, name)?.trim());
                let text = |name| reader.attribute(node, name).and_then(non_empty);
                Some(StartupItem {
                    id: text("id")?,
                    order: number("order").unwrap_or(0),
                    start_action: text("startAction"),
                    start_delay_s: number("startDelay"),
                    waits_for_guest: self.flag(node, "waitingForGuest") == Some(true),
                    stop_action: text("stopAction"),
                    stop_delay_s: number("stopDelay"),
                })
            })
            .collect()
    }

    /// What is set aside for a collection (§9.3).
    fn resources(self, collection: Node<'a, 'input>) -> Vec<HardwareItem> {
        let sections = self.reader.children(collection, "ResourceAllocationSection");
        let items = sections.flat_map(|section| self.reader.children(section, "Item"));
        items.filter_map(|node| items::item(self.reader, node).ok()).collect()
    }

    /// What a machine does when it is first started (§9.10).
    pub(super) fn install(self, system: Node<'a, 'input>) -> Option<Install> {
        let section = self.reader.children(system, "InstallSection").next()?;
        let delay = self.reader.attribute(section, "initialBootStopDelay");
        Some(Install {
            initial_boot: self.flag(section, "initialBoot") == Some(true),
            stop_delay_s: delay.and_then(|text| units::whole(text.trim())).unwrap_or(0),
        })
    }

    /// What a machine is started from, by VMware's section.
    pub(super) fn boot_order(self, system: Node<'a, 'input>) -> Vec<BootDevice> {
        let sections =
            system.children().filter(|node| node.has_tag_name((VMW, "BootOrderSection")));
        let device = |node: Node<'_, '_>| {
            Some(BootDevice {
                kind: node.attribute((VMW, "type")).and_then(non_empty)?,
                instance_id: node.attribute((VMW, "instanceId")).and_then(non_empty),
            })
        };
        sections.filter_map(device).collect()
    }

    /// The message bundles (§10).
    pub(super) fn bundles(self) -> Vec<Bundle> {
        let bundle = |node: Node<'a, 'input>| Bundle {
            language: language_of(node).and_then(non_empty),
            file_id: self.reader.attribute(node, "fileRef").and_then(non_empty),
        };
        self.reader.children(self.reader.root, "Strings").map(bundle).collect()
    }

    /// What stands where sections do and is none of DSP0243's.
    pub(super) fn vendor_sections(
        self,
        places: &Places,
    ) -> Result<Vec<VendorSection>, EnvelopeError> {
        let reader = self.reader;
        let mut sections = Vec::new();
        let mut systems = 0;
        let mut owners = vec![(reader.root, None, None)];
        for node in reader.root.descendants().filter(|node| reader.is_content(*node)) {
            if reader.is(node, "VirtualSystem") {
                owners.push((node, Some(systems), None));
                systems += 1;
            } else if reader.is(node, "VirtualSystemCollection") {
                owners.push((node, None, places.get(&node.id()).copied()));
            }
        }
        for (owner, system, collection) in owners {
            let later: &[&str] = if reader.ovf == OVF_2 { &KNOWN_OF_2 } else { &[] };
            let odd = |node: &Node<'_, '_>| {
                node.is_element() && !KNOWN.iter().chain(later).any(|name| reader.is(*node, name))
            };
            for node in owner.children().filter(odd) {
                let tag = node.tag_name();
                let drafted = reader.drafted_type(node);
                let name = drafted.unwrap_or(tag.name());
                let namespace = tag.namespace().unwrap_or_default();
                // Names that are declared once stand for many elements.
                self.messages.spend(node, name.len() + namespace.len())?;
                sections.push(VendorSection {
                    name: name.to_owned(),
                    namespace: namespace.to_owned(),
                    is_required: self.flag(node, "required") != Some(false),
                    info: self.child_text(node, "Info")?,
                    system,
                    collection,
                    at_byte: node.range().start,
                });
            }
        }
        Ok(sections)
    }

    /// An `xs:boolean`; nothing if it is not there, or neither yes nor no.
    fn flag(self, node: Node<'a, 'input>, name: &str) -> Option<bool> {
        boolean(self.reader.attribute(node, name)?)
    }

    pub(super) fn child_text(
        self,
        node: Node<'a, 'input>,
        name: &'static str,
    ) -> Result<Option<String>, EnvelopeError> {
        self.messages.child_text(self.reader, node, name)
    }
}

/// Place of the collection that a machine or collection lies in.
pub(super) fn place_of(node: Node<'_, '_>, places: &Places) -> Option<usize> {
    places.get(&node.parent_element()?.id()).copied()
}

/// Longest key of a property, class and instance of a product; real ones are words.  Each property
/// has all three in its full key.
const KEY_BYTES_MAX: usize = 1024;

/// What DSP0243 1.1.0 puts into an envelope, a machine and a collection (its sections, §9).
const KNOWN: [&str; 17] = [
    "AnnotationSection",
    "DeploymentOptionSection",
    "DiskSection",
    "EulaSection",
    "Info",
    "InstallSection",
    "Name",
    "NetworkSection",
    "OperatingSystemSection",
    "ProductSection",
    "References",
    "ResourceAllocationSection",
    "StartupSection",
    "Strings",
    "VirtualHardwareSection",
    "VirtualSystem",
    "VirtualSystemCollection",
];

/// What DSP0243 2.1.1 has beside it.
const KNOWN_OF_2: [&str; 8] = [
    "BootDeviceSection",
    "EncryptionSection",
    "EnvironmentFilesSection",
    "NetworkPortProfileSection",
    "PlacementGroupSection",
    "PlacementSection",
    "ScaleOutSection",
    "SharedDiskSection",
];
