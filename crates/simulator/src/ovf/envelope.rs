//! Reads descriptors (DSP0243) as a server does: it never looks at the files.
//!
//! Nothing here is shared with the client, so that a mistake in the reading of one is seen by the
//! other.  It is also less strict: what a file is called is not a server's business, and attributes
//! without a namespace count, because large appliances have them.

use std::collections::BTreeMap;

use crate::fault::Fault;
use crate::soap::Element;

/// A descriptor.
#[derive(Debug)]
pub(crate) struct Envelope {
    root: Element,
    references: Vec<FileRef>,
    disks: Vec<Disk>,
    networks: Vec<Network>,
    content: Content,
}

/// What is found in an envelope and the collections in it.
#[derive(Debug, Default)]
struct Content {
    systems: Vec<VirtualSystem>,
    /// Of each collection, an outer before those in it, the items that say what it may use.
    allocations: Vec<Vec<HardwareItem>>,
    unsupported: Vec<Fault>,
}

/// A file of the package.
#[derive(Debug)]
pub(crate) struct FileRef {
    id: String,
    href: String,
    size_bytes: Option<u64>,
    compression: Option<String>,
    chunk_size_bytes: Option<u64>,
}

/// A disk of the package.
#[derive(Debug)]
pub(crate) struct Disk {
    id: String,
    file_ref: Option<String>,
    capacity: Capacity,
    capacity_bytes: u64,
    populated_bytes: Option<u64>,
}

/// How the descriptor writes a capacity.
#[derive(Debug)]
struct Capacity {
    /// Key of the property that has the number, if one has.
    key: Option<String>,
    unit_bytes: u64,
}

/// A network of the package.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
    description: Option<String>,
}

/// A machine of the package.
#[derive(Debug)]
pub(crate) struct VirtualSystem {
    id: String,
    name: Option<String>,
    annotation: Option<String>,
    os_id: Option<u16>,
    os_type: Option<String>,
    hardware_family: Option<String>,
    hardware_line: usize,
    items: Vec<HardwareItem>,
}

/// A device of a machine.
#[derive(Debug, Default)]
pub(crate) struct HardwareItem {
    instance_id: String,
    resource_type: u16,
    texts: BTreeMap<String, Vec<String>>,
    configuration: Option<String>,
    is_required: bool,
    line: usize,
}

impl Envelope {
    /// Reads a descriptor.
    ///
    /// # Errors
    ///
    /// `OvfXmlFormat`, `OvfUnsupportedPackage` for another version of OVF, and `OvfElement` and
    /// `OvfAttribute` with their children, each with the line.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = Element::parse(text).map_err(|fault| not_xml(1, &fault.message))?;
        let reader = Reader { text };
        reader.check_root(&root)?;
        let references = reader.references(&root)?;
        let disks = reader.disks(&root, &references)?;
        let networks = reader.networks(&root)?;
        let mut content = Content::default();
        reader.content(&root, &mut content)?;
        if content.systems.is_empty() && content.allocations.is_empty() {
            return Err(reader.missing_element(&root, "VirtualSystem"));
        }
        let envelope = Self { references, disks, networks, content, root };
        envelope.check_host_resources()?;
        Ok(envelope)
    }

    /// The whole document.
    pub(crate) fn root(&self) -> &Element {
        &self.root
    }

    pub(crate) fn references(&self) -> &[FileRef] {
        &self.references
    }

    pub(crate) fn file(&self, id: &str) -> Option<&FileRef> {
        self.references.iter().find(|file| file.id == id)
    }

    pub(crate) fn disks(&self) -> &[Disk] {
        &self.disks
    }

    pub(crate) fn disk(&self, id: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.id == id)
    }

    pub(crate) fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// The machines in document order, those inside of collections too.
    pub(crate) fn systems(&self) -> &[VirtualSystem] {
        &self.content.systems
    }

    /// What each collection may use, in document order: items of CPUs and memory.
    pub(crate) fn allocations(&self) -> &[Vec<HardwareItem>] {
        &self.content.allocations
    }

    /// Sections that nobody knows and that the descriptor calls required.
    pub(crate) fn unsupported(&self) -> &[Fault] {
        &self.content.unsupported
    }

    fn check_host_resources(&self) -> Result<(), Fault> {
        for item in self.systems().iter().flat_map(|system| &system.items) {
            let disk = item.disk_ids().find(|id| self.disk(id).is_none());
            let file = item.file_ids().find(|id| self.file(id).is_none());
            if let Some(id) = disk.or(file) {
                let what = format!("There is no disk or file '{id}', to which a device refers.");
                return Err(invalid("OvfInvalidValueReference", item.line, what)
                    .with("elementName", "HostResource")
                    .with("attributeName", "")
                    .with("value", id));
            }
        }
        Ok(())
    }
}

impl FileRef {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its name as it stands in the descriptor.
    pub(crate) fn href(&self) -> &str {
        &self.href
    }

    /// Its size in bytes, if the descriptor gives one that is not negative.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    pub(crate) fn compression(&self) -> Option<&str> {
        self.compression.as_deref()
    }

    pub(crate) fn chunk_size_bytes(&self) -> Option<u64> {
        self.chunk_size_bytes
    }
}

impl Disk {
    pub(crate) fn file_ref(&self) -> Option<&str> {
        self.file_ref.as_deref()
    }

    /// Capacity in bytes; of one that is a property, with the property's default.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Key of the property that is the capacity.
    pub(crate) fn capacity_key(&self) -> Option<&str> {
        self.capacity.key.as_deref()
    }

    /// Capacity in bytes if the property has this value; nothing if it is no capacity.
    pub(crate) fn capacity_of(&self, value: &str) -> Option<u64> {
        bytes(value, self.capacity.unit_bytes)
    }

    pub(crate) fn populated_bytes(&self) -> Option<u64> {
        self.populated_bytes
    }
}

impl Network {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

impl VirtualSystem {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn annotation(&self) -> Option<&str> {
        self.annotation.as_deref()
    }

    /// Its operating system by CIM's number.
    pub(crate) fn os_id(&self) -> Option<u16> {
        self.os_id
    }

    /// Its operating system by VMware's name.
    pub(crate) fn os_type(&self) -> Option<&str> {
        self.os_type.as_deref()
    }

    /// The hardware families it can have, with blanks or commas between.
    pub(crate) fn hardware_family(&self) -> Option<&str> {
        self.hardware_family.as_deref()
    }

    /// Line of its hardware section.
    pub(crate) fn hardware_line(&self) -> usize {
        self.hardware_line
    }

    /// Its devices; items that only state a range (`bound`) are none.
    pub(crate) fn items(&self) -> &[HardwareItem] {
        &self.items
    }
}

impl HardwareItem {
    fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).first().map(String::as_str)
    }

    fn texts(&self, name: &str) -> &[String] {
        self.texts.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// CIM's number of its kind.
    pub(crate) fn resource_type(&self) -> u16 {
        self.resource_type
    }

    /// The kinds of it that will do, best first, in small letters.
    pub(crate) fn sub_types(&self) -> Vec<String> {
        let all = self.text("ResourceSubType").unwrap_or_default().to_ascii_lowercase();
        list(&all).map(str::to_owned).collect()
    }

    pub(crate) fn element_name(&self) -> Option<&str> {
        // What OVF 1.0 called a caption.
        self.text("ElementName").or_else(|| self.text("Caption"))
    }

    pub(crate) fn parent(&self) -> Option<&str> {
        self.text("Parent")
    }

    /// Its unit on its controller.
    pub(crate) fn unit(&self) -> Option<usize> {
        self.text("AddressOnParent")?.parse().ok()
    }

    /// Its own number, if it is a controller.
    pub(crate) fn number(&self) -> Option<usize> {
        self.text("Address")?.parse().ok()
    }

    pub(crate) fn disk_ids(&self) -> impl Iterator<Item = &str> {
        self.texts("HostResource").iter().filter_map(|one| resource_id(one, "disk"))
    }

    pub(crate) fn file_ids(&self) -> impl Iterator<Item = &str> {
        self.texts("HostResource").iter().filter_map(|one| resource_id(one, "file"))
    }

    pub(crate) fn connections(&self) -> &[String] {
        self.texts("Connection")
    }

    pub(crate) fn quantity(&self) -> Option<u64> {
        whole(self.text("VirtualQuantity")?)
    }

    /// The quantity in bytes; nothing if it is none.
    pub(crate) fn quantity_bytes(&self) -> Option<u64> {
        let unit = self.text("AllocationUnits").unwrap_or(match self.resource_type {
            4 => "byte * 2^20",
            _ => "byte",
        });
        self.quantity()?.checked_mul(bytes_of_unit(unit)?)
    }

    /// What is kept for it, in bytes of memory or in hertz.
    pub(crate) fn reservation(&self) -> Option<u64> {
        whole(self.text("Reservation")?)?.checked_mul(self.allocation_unit()?)
    }

    /// The most that it gets, in bytes of memory or in hertz.
    pub(crate) fn limit(&self) -> Option<u64> {
        whole(self.text("Limit")?)?.checked_mul(self.allocation_unit()?)
    }

    /// Its share of what there is not enough of.
    pub(crate) fn weight(&self) -> Option<u64> {
        whole(self.text("Weight")?)
    }

    fn allocation_unit(&self) -> Option<u64> {
        let unit = self.text("AllocationUnits");
        match self.resource_type {
            3 => hertz_of_unit(unit.unwrap_or("hertz * 10^6")),
            _ => bytes_of_unit(unit.unwrap_or("byte * 2^20")),
        }
    }

    /// The deployment options in which it exists, with blanks between; nothing if in all.
    pub(crate) fn configuration(&self) -> Option<&str> {
        self.configuration.as_deref()
    }

    /// Whether the machine is nothing without it.
    pub(crate) fn is_required(&self) -> bool {
        self.is_required
    }

    /// Line of the descriptor.
    pub(crate) fn line(&self) -> usize {
        self.line
    }
}

/// The text is there for the numbers of its lines.
#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn line(self, element: &Element) -> usize {
        let before = self.text.as_bytes().get(..element.at_byte).unwrap_or_default();
        before.split(|byte| *byte == b'\n').count().max(1)
    }

    fn check_root(self, root: &Element) -> Result<(), Fault> {
        if root.name == "Envelope" && OVF.contains(&root.namespace.as_str()) {
            return Ok(());
        }
        let line = self.line(root);
        if root.name == "Envelope" {
            let what = format!("OVF of the namespace '{}' is not supported.", root.namespace);
            return Err(Fault::new("OvfUnsupportedPackage", what).with("lineNumber", line));
        }
        Err(not_xml(line, &format!("'{}' is no OVF envelope", root.name)))
    }

    fn references(self, root: &Element) -> Result<Vec<FileRef>, Fault> {
        let mut references: Vec<FileRef> = Vec::new();
        for file in children(root, "References").flat_map(|section| children(section, "File")) {
            let id = self.required(file, "id")?;
            if references.iter().any(|known| known.id == id) {
                return Err(self.wrong(file, "OvfInvalidValue", "id", id));
            }
            references.push(FileRef {
                id: id.to_owned(),
                href: self.required(file, "href")?.to_owned(),
                size_bytes: self.number(file, "size")?,
                compression: attribute(file, "compression").map(str::to_owned),
                chunk_size_bytes: self.number(file, "chunkSize")?,
            });
        }
        Ok(references)
    }

    fn disks(self, root: &Element, references: &[FileRef]) -> Result<Vec<Disk>, Fault> {
        let sections = [("DiskSection", "Disk"), ("SharedDiskSection", "SharedDisk")];
        let elements = sections.iter().flat_map(|(section, disk)| {
            children(root, section).flat_map(move |inner| children(inner, disk))
        });
        let mut disks: Vec<Disk> = Vec::new();
        for element in elements {
            let id = self.required(element, "diskId")?;
            if disks.iter().any(|known| known.id == id) {
                return Err(self.wrong(element, "OvfInvalidValue", "diskId", id));
            }
            let file_ref = attribute(element, "fileRef");
            if let Some(file) = file_ref.filter(|id| !references.iter().any(|one| one.id == *id)) {
                return Err(self.wrong(element, "OvfInvalidValueReference", "fileRef", file));
            }
            let unit = attribute(element, "capacityAllocationUnits").unwrap_or("byte");
            let unit_bytes = bytes_of_unit(unit)
                .ok_or_else(|| self.wrong(element, MALFORMED, "capacityAllocationUnits", unit))?;
            let text = self.required(element, "capacity")?;
            let key = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let value = match key {
                Some(key) => property_default(root, key).ok_or_else(|| {
                    self.wrong(element, "OvfInvalidValueReference", "capacity", text)
                })?,
                None => text.to_owned(),
            };
            disks.push(Disk {
                id: id.to_owned(),
                file_ref: file_ref.map(str::to_owned),
                capacity: Capacity { key: key.map(str::to_owned), unit_bytes },
                capacity_bytes: bytes(&value, unit_bytes)
                    .ok_or_else(|| self.wrong(element, MALFORMED, "capacity", &value))?,
                populated_bytes: self.number(element, "populatedSize")?,
            });
        }
        Ok(disks)
    }

    fn networks(self, root: &Element) -> Result<Vec<Network>, Fault> {
        let sections = children(root, "NetworkSection");
        let networks = sections.flat_map(|section| children(section, "Network"));
        let read = |network| {
            let description = child(network, "Description").map(|text| text.text.trim().to_owned());
            Ok(Network { name: self.required(network, "name")?.to_owned(), description })
        };
        networks.map(read).collect()
    }

    /// The machines of an envelope or a collection, and the sections there that nobody knows.
    fn content(self, element: &Element, found: &mut Content) -> Result<(), Fault> {
        for inner in &element.children {
            let is_known = OVF.contains(&inner.namespace.as_str()) && KNOWN.contains(&&*inner.name);
            match inner.name.as_str() {
                "VirtualSystem" | "VirtualSystemCollection" if is_known => {
                    if inner.name == "VirtualSystem" {
                        found.systems.push(self.system(inner)?);
                    } else {
                        found.allocations.push(self.allocation(inner)?);
                    }
                    self.content(inner, found)?;
                }
                _ if is_known || inner.namespace == VMW || !is_required(inner) => {}
                name => {
                    let info = child(inner, "Info").map_or("", |info| info.text.trim());
                    found.unsupported.push(
                        Fault::new(
                            "OvfUnsupportedSection",
                            format!("Unsupported section '{name}'."),
                        )
                        .with("lineNumber", self.line(inner))
                        .with("name", format!("{{{}}}{name}", inner.namespace))
                        .with("info", info),
                    );
                }
            }
        }
        Ok(())
    }

    fn system(self, element: &Element) -> Result<VirtualSystem, Fault> {
        let os = child(element, "OperatingSystemSection");
        let hardware = child(element, "VirtualHardwareSection");
        let family = hardware.and_then(|section| child(section, "System"));
        let family = family.and_then(|system| cim(system, "VirtualSystemType").next());
        let text = |element: &Element| element.text.trim().to_owned();
        let annotation = child(element, "AnnotationSection");
        let items = hardware.into_iter().flat_map(|section| &section.children);
        let items = items.filter(|item| ITEMS.contains(&item.name.as_str()));
        let items = items.filter(|item| matches!(attribute(item, "bound"), None | Some("normal")));
        Ok(VirtualSystem {
            id: attribute(element, "id").unwrap_or_default().to_owned(),
            name: child(element, "Name").map(text).filter(|name| !name.is_empty()),
            annotation: annotation.and_then(|section| child(section, "Annotation")).map(text),
            // VMware's own appliances say -100 here, and name the system by `osType`.
            os_id: os.and_then(|os| attribute(os, "id")?.trim().parse().ok()),
            os_type: os.and_then(|os| os.attribute(VMW, "osType")).map(str::to_owned),
            hardware_family: family.map(text).filter(|family| !family.is_empty()),
            hardware_line: hardware.map_or(0, |section| self.line(section)),
            items: items.map(|item| self.item(item)).collect::<Result<_, _>>()?,
        })
    }

    /// The items of the `ResourceAllocationSection` of a collection.
    fn allocation(self, collection: &Element) -> Result<Vec<HardwareItem>, Fault> {
        let section = child(collection, "ResourceAllocationSection");
        let items = section.into_iter().flat_map(|section| children(section, "Item"));
        let items = items.filter(|item| matches!(attribute(item, "bound"), None | Some("normal")));
        let mut all = Vec::new();
        for element in items {
            let item = self.item(element)?;
            for name in ["Reservation", "Limit", "Weight"] {
                if let Some(text) = item.text(name).filter(|text| whole(text).is_none()) {
                    return Err(self.bad_text(element, name, text));
                }
            }
            if item.allocation_unit().is_none() {
                let unit = item.text("AllocationUnits").unwrap_or_default();
                return Err(self.bad_text(element, "AllocationUnits", unit));
            }
            all.push(item);
        }
        Ok(all)
    }

    fn item(self, element: &Element) -> Result<HardwareItem, Fault> {
        let mut texts = BTreeMap::<String, Vec<String>>::new();
        for field in element.children.iter().filter(|field| field.namespace.starts_with(CIM)) {
            let text = field.text.trim();
            if !text.is_empty() {
                texts.entry(field.name.clone()).or_default().push(text.to_owned());
            }
        }
        let first = |name: &str| texts.get(name).and_then(|all| all.first());
        let kind =
            first("ResourceType").ok_or_else(|| self.missing_element(element, "ResourceType"))?;
        let resource_type =
            kind.parse().map_err(|_| self.bad_text(element, "ResourceType", kind))?;
        // The second is how the drafts of OVF 1.0 spelled it; tools went on to write it.
        let instance_id = first("InstanceID").or_else(|| first("InstanceId"));
        let instance_id = instance_id.ok_or_else(|| self.missing_element(element, "InstanceID"))?;
        if let Some(quantity) = first("VirtualQuantity").filter(|text| whole(text).is_none()) {
            return Err(self.bad_text(element, "VirtualQuantity", quantity));
        }
        Ok(HardwareItem {
            instance_id: instance_id.clone(),
            resource_type,
            configuration: attribute(element, "configuration").map(str::to_owned),
            is_required: is_required(element),
            line: self.line(element),
            texts,
        })
    }

    fn required<'e>(self, element: &'e Element, name: &str) -> Result<&'e str, Fault> {
        attribute(element, name).ok_or_else(|| {
            let what = format!("The element '{}' has no attribute '{name}'.", element.name);
            invalid("OvfMissingAttribute", self.line(element), what)
                .with("elementName", element.name.as_str())
                .with("attributeName", name)
        })
    }

    /// A size.  VMware's own suite of descriptors takes a negative one for unknown.
    fn number(self, element: &Element, name: &str) -> Result<Option<u64>, Fault> {
        let Some(text) = attribute(element, name) else { return Ok(None) };
        match text.trim().parse::<i64>() {
            Ok(number) => Ok(u64::try_from(number).ok()),
            Err(_) => Err(self.wrong(element, MALFORMED, name, text)),
        }
    }

    fn wrong(self, element: &Element, kind: &str, name: &str, value: &str) -> Fault {
        let what = format!("'{value}' is wrong for '{name}' of '{}'.", element.name);
        invalid(kind, self.line(element), what)
            .with("elementName", element.name.as_str())
            .with("attributeName", name)
            .with("value", value)
    }

    fn bad_text(self, element: &Element, name: &str, value: &str) -> Fault {
        let what = format!("'{value}' is wrong for the element '{name}'.");
        invalid(MALFORMED, self.line(element), what)
            .with("elementName", name)
            .with("attributeName", "")
            .with("value", value)
    }

    fn missing_element(self, element: &Element, name: &str) -> Fault {
        let what = format!("The element '{}' has no '{name}'.", element.name);
        invalid("OvfMissingElement", self.line(element), what).with("name", name)
    }
}

fn invalid(kind: &str, line: usize, message: String) -> Fault {
    Fault::new(kind, format!("Line {line}: {message}")).with("lineNumber", line)
}

fn not_xml(line: usize, problem: &str) -> Fault {
    let what = format!("The OVF descriptor is invalid: {problem}");
    Fault::new("OvfXmlFormat", what).with("lineNumber", line).with("description", problem)
}

/// Value that a property has when nobody sets it, by its full key (`[class.]key[.instance]`).
fn property_default(element: &Element, wanted: &str) -> Option<String> {
    for inner in &element.children {
        if inner.name != "ProductSection" {
            if let Some(value) = property_default(inner, wanted) {
                return Some(value);
            }
            continue;
        }
        let part = |name| attribute(inner, name).unwrap_or_default();
        for property in children(inner, "Property") {
            let key = attribute(property, "key").unwrap_or_default();
            let full = format!("{}.{key}.{}", part("class"), part("instance"));
            if full.trim_matches('.') == wanted {
                return attribute(property, "value").map(str::to_owned);
            }
        }
    }
    None
}

fn child<'a>(element: &'a Element, name: &str) -> Option<&'a Element> {
    children(element, name).next()
}

fn children<'a>(element: &'a Element, name: &str) -> impl Iterator<Item = &'a Element> {
    let all = element.children.iter();
    all.filter(move |inner| inner.name == name && OVF.contains(&inner.namespace.as_str()))
}

/// Children of this name that belong to a CIM setting-data class.
fn cim<'a>(element: &'a Element, name: &str) -> impl Iterator<Item = &'a Element> {
    let all = element.children.iter();
    all.filter(move |inner| inner.name == name && inner.namespace.starts_with(CIM))
}

/// An attribute that is not empty.
fn attribute<'a>(element: &'a Element, name: &str) -> Option<&'a str> {
    let namespaces = OVF.iter().chain(&[""]);
    namespaces.filter_map(|space| element.attribute(space, name)).find(|value| !value.is_empty())
}

/// Whether an importer that does not know the element must refuse the package.
fn is_required(element: &Element) -> bool {
    !matches!(attribute(element, "required"), Some("false" | "0"))
}

/// The parts of a list that has blanks or commas between them.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|one| !one.is_empty())
}

/// The id in `ovf:/disk/ID`, and in the `/disk/ID` of older tools.
fn resource_id<'a>(resource: &'a str, kind: &str) -> Option<&'a str> {
    let path = resource.strip_prefix("ovf:").unwrap_or(resource);
    path.strip_prefix('/')?.strip_prefix(kind)?.strip_prefix('/')
}

/// A capacity in bytes.
fn bytes(units: &str, unit_bytes: u64) -> Option<u64> {
    let bytes = whole(units.trim())?.checked_mul(unit_bytes)?;
    i64::try_from(bytes).is_ok().then_some(bytes)
}

/// Decimal digits and nothing else.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Bytes of a unit: words of old descriptors, or DSP0004's `byte * 2^30`.
fn bytes_of_unit(unit: &str) -> Option<u64> {
    unit_of(unit, |word| match word.trim_end_matches('s') {
        "b" | "byte" => Some(1),
        "kb" | "kib" | "kilobyte" => Some(1 << 10),
        "mb" | "mib" | "megabyte" => Some(1 << 20),
        "gb" | "gib" | "gigabyte" => Some(1 << 30),
        "tb" | "tib" | "terabyte" => Some(1 << 40),
        _ => None,
    })
}

/// Hertz of a unit, in the same notations.
fn hertz_of_unit(unit: &str) -> Option<u64> {
    unit_of(unit, |word| match word {
        "hertz" | "hz" => Some(1),
        "megahertz" | "mhz" => Some(1_000_000),
        "gigahertz" | "ghz" => Some(1_000_000_000),
        _ => None,
    })
}

/// A unit that is a word or a word with factors, `byte * 2^30`.
fn unit_of(unit: &str, word: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let unit = unit.to_ascii_lowercase().replace(char::is_whitespace, "");
    let mut parts = unit.split('*');
    let word = word(parts.next()?)?;
    parts.try_fold(word, |product, part| {
        let factor = match part.split_once('^') {
            Some((base, power)) => whole(base)?.checked_pow(u32::try_from(whole(power)?).ok()?)?,
            None => whole(part)?,
        };
        product.checked_mul(factor).filter(|product| *product > 0)
    })
}

/// Namespaces of OVF 1 and 2.
const OVF: [&str; 2] =
    ["http://schemas.dmtf.org/ovf/envelope/1", "http://schemas.dmtf.org/ovf/envelope/2"];

/// Namespace of VMware's extensions.
const VMW: &str = "http://www.vmware.com/schema/ovf";

/// What the namespaces of all CIM classes start with.
const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_";

/// Elements that describe a device; the second and third came with OVF 2.
const ITEMS: [&str; 3] = ["Item", "StorageItem", "EthernetPortItem"];

/// A value that is not written as its type is.
const MALFORMED: &str = "OvfInvalidValueFormatMalformed";

/// What may stand in an envelope, a machine or a collection (DSP0243 2.1.1, chapter 9).
const KNOWN: [&str; 26] = [
    "AnnotationSection",
    "BootDeviceSection",
    "DeploymentOptionSection",
    "DiskSection",
    "EncryptionSection",
    "EnvironmentFilesSection",
    "EulaSection",
    "Info",
    "InstallSection",
    "Name",
    "NetworkPortProfileSection",
    "NetworkSection",
    "OperatingSystemSection",
    "PlacementGroupSection",
    "PlacementSection",
    "ProductSection",
    "References",
    "ResourceAllocationSection",
    "ScaleOutSection",
    "SharedDiskSection",
    "StartupSection",
    "Strings",
    "VirtualHardwareSection",
    "VirtualSystem",
    "VirtualSystemCollection",
    "Version",
];

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
