//! The parts of a descriptor, as values.

use std::collections::HashMap;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::hardware::Bound;
use super::hardware::HardwareItem;
use super::hardware::Setting;
use super::sections::BootDevice;
use super::sections::Eula;
use super::sections::Install;
use super::sections::Product;
use super::units;
use crate::name::FileName;

/// Version of a descriptor, as far as its namespace tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum EnvelopeVersion {
    /// A draft before OVF 1.0, by VMware, which calls itself 0.9.  It is only read, never
    /// [edited](super::Envelope::edit).
    Draft,
    /// OVF 1.0 or 1.1.
    V1,
    /// OVF 2.0 or 2.1.
    V2,
}

/// A file of the package, by `References/File` (DSP0243 1.1.0 §7.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileRef {
    pub(super) id: String,
    pub(super) href: FileName,
    pub(super) url: Option<String>,
    pub(super) size_bytes: Option<u64>,
    pub(super) compression: Option<String>,
    pub(super) chunk_size_bytes: Option<u64>,
    /// The whole element, in the text.
    pub(super) at: Range<usize>,
}

impl FileRef {
    /// Its id, by which disks refer to it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name, as it stands in the descriptor; percent signs are not decoded.
    #[must_use]
    pub fn href(&self) -> &FileName {
        &self.href
    }

    /// Its address, if it is on a web server; [`href`](Self::href) is then a name for it, the last
    /// part of the address if that is one that no other file has.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// Its size in the package in bytes, if the descriptor says.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// How it is compressed, such as `gzip`; nothing if it is not.
    #[must_use]
    pub fn compression(&self) -> Option<&str> {
        self.compression.as_deref()
    }

    /// Size of its pieces in bytes, if the package holds it in pieces.
    #[must_use]
    pub fn chunk_size_bytes(&self) -> Option<u64> {
        self.chunk_size_bytes
    }
}

/// A disk, by `DiskSection/Disk` (DSP0243 1.1.0 §9.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Disk {
    pub(super) id: String,
    pub(super) file_ref: Option<String>,
    pub(super) parent_ref: Option<String>,
    pub(super) capacity_bytes: u64,
    pub(super) unit_bytes: u64,
    pub(super) capacity_property: Option<Arc<CapacityProperty>>,
    pub(super) populated_bytes: Option<u64>,
    pub(super) format: String,
}

impl Disk {
    /// Its id (`diskId`), by which hardware items refer to it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Id of the file with its content; nothing if it is to be created empty.
    #[must_use]
    pub fn file_ref(&self) -> Option<&str> {
        self.file_ref.as_deref()
    }

    /// Id of the disk that this one is a delta of.
    #[must_use]
    pub fn parent_ref(&self) -> Option<&str> {
        self.parent_ref.as_deref()
    }

    /// Capacity in bytes, at most 2^63 - 1; if it is a property, by the value that this has in the
    /// [default configuration](super::Envelope::default_configuration).
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Key of the property that is the capacity, if one is (DSP0243 1.1.0 §9.1): whoever deploys
    /// the package may change it.
    #[must_use]
    pub fn capacity_property(&self) -> Option<&str> {
        self.capacity_property.as_ref().map(|property| property.key.as_str())
    }

    /// Capacity in bytes in one of the package's configurations.
    ///
    /// It is another one only if it is a property that has a value of its own there; a value that
    /// is no capacity counts as none.
    #[must_use]
    pub fn capacity_bytes_in(&self, configuration: Option<&str>) -> u64 {
        let special = || {
            let property = self.capacity_property.as_ref()?;
            units::capacity_bytes(property.value_in(configuration)?, self.unit_bytes)
        };
        special().unwrap_or(self.capacity_bytes)
    }

    /// Estimate of the bytes that are in use, if the descriptor gives one.
    #[must_use]
    pub fn populated_bytes(&self) -> Option<u64> {
        self.populated_bytes
    }

    /// URI of its format; empty if the descriptor does not say.
    #[must_use]
    pub fn format(&self) -> &str {
        &self.format
    }
}

/// The property that a capacity is.  Many disks may share one, so that its values are shared too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CapacityProperty {
    pub(super) key: String,
    pub(super) value: Option<String>,
    /// Ids of configurations, and the values in them.
    pub(super) values: HashMap<String, String>,
}

impl CapacityProperty {
    pub(super) fn value_in(&self, configuration: Option<&str>) -> Option<&str> {
        let special = configuration.and_then(|id| self.values.get(id));
        special.or(self.value.as_ref()).map(String::as_str)
    }
}

/// A network, by `NetworkSection/Network` (DSP0243 1.1.0 §9.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Network {
    pub(super) name: String,
    pub(super) description: Option<String>,
}

impl Network {
    /// Its name, by which connections refer to it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its description for people.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

/// A machine, by `VirtualSystem` (DSP0243 1.1.0 §7.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VirtualSystem {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) annotation: Option<String>,
    pub(super) collection: Option<usize>,
    pub(super) products: Vec<Product>,
    pub(super) eulas: Vec<Eula>,
    pub(super) os_description: Option<String>,
    pub(super) os_version: Option<String>,
    pub(super) os_id: Option<u16>,
    pub(super) os_type: Option<String>,
    pub(super) hardware_family: Option<String>,
    pub(super) items: Vec<HardwareItem>,
    pub(super) ranges: Vec<HardwareItem>,
    pub(super) transports: Vec<String>,
    pub(super) config: Vec<Setting>,
    pub(super) extra_config: Vec<Setting>,
    pub(super) install: Option<Install>,
    pub(super) boot_order: Vec<BootDevice>,
}

impl VirtualSystem {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name for people.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its notes (`AnnotationSection`).
    #[must_use]
    pub fn annotation(&self) -> Option<&str> {
        self.annotation.as_deref()
    }

    /// Place of the collection that it lies in among [the envelope's]; nothing if in none.
    ///
    /// [the envelope's]: super::Envelope::collections
    #[must_use]
    pub fn collection(&self) -> Option<usize> {
        self.collection
    }

    /// What is installed on it.
    #[must_use]
    pub fn products(&self) -> &[Product] {
        &self.products
    }

    /// Its licences.
    #[must_use]
    pub fn eulas(&self) -> &[Eula] {
        &self.eulas
    }

    /// Its operating system for people (`OperatingSystemSection`, §9.9).
    #[must_use]
    pub fn os_description(&self) -> Option<&str> {
        self.os_description.as_deref()
    }

    /// The version of its operating system.
    #[must_use]
    pub fn os_version(&self) -> Option<&str> {
        self.os_version.as_deref()
    }

    /// Its operating system, a value of `CIM_OperatingSystem.OsType`; nothing if it is not one.
    #[must_use]
    pub fn os_id(&self) -> Option<u16> {
        self.os_id
    }

    /// Its operating system by VMware's name (`vmw:osType`), such as `debian12_64Guest`.
    #[must_use]
    pub fn os_type(&self) -> Option<&str> {
        self.os_type.as_deref()
    }

    /// Its hardware family, such as `vmx-19`; several stand in one text with blanks between.
    #[must_use]
    pub fn hardware_family(&self) -> Option<&str> {
        self.hardware_family.as_deref()
    }

    /// Its devices, in the order of the first `VirtualHardwareSection`.
    ///
    /// Items that only state a range (`ovf:bound`) are not devices; they are [ranges](Self::ranges).
    #[must_use]
    pub fn items(&self) -> &[HardwareItem] {
        &self.items
    }

    /// What only states the least or most of a resource (`ovf:bound`, DSP0243 1.1.0 §8.4).
    #[must_use]
    pub fn ranges(&self) -> &[HardwareItem] {
        &self.ranges
    }

    /// The least or the most of a device that the descriptor states: an item of the same id, for
    /// the same configurations, else for all.
    ///
    /// Its [quantity](HardwareItem::quantity) and [reservation](HardwareItem::reservation) are in
    /// units of its own.
    #[must_use]
    pub fn range_of(&self, item: &HardwareItem, bound: Bound) -> Option<&HardwareItem> {
        let of_it = |range: &&HardwareItem| {
            range.bound() == bound && range.instance_id() == item.instance_id()
        };
        let of = |configuration: Option<&str>| {
            let mut ranges = self.ranges.iter().filter(of_it);
            ranges.find(|range| range.configuration() == configuration)
        };
        of(item.configuration()).or_else(|| of(None))
    }

    /// How the machine can be given its properties, such as `iso` and `com.vmware.guestInfo`
    /// (`ovf:transport`, DSP0243 1.1.0 §9.5).
    #[must_use]
    pub fn transports(&self) -> &[String] {
        &self.transports
    }

    /// Settings of VMware for the machine (`vmw:Config`), such as `firmware`.
    #[must_use]
    pub fn config(&self) -> &[Setting] {
        &self.config
    }

    /// Advanced settings of VMware for the machine (`vmw:ExtraConfig`).
    #[must_use]
    pub fn extra_config(&self) -> &[Setting] {
        &self.extra_config
    }

    /// What it does when it is started for the first time (`InstallSection`, §9.10).
    #[must_use]
    pub fn install(&self) -> Option<&Install> {
        self.install.as_ref()
    }

    /// What it is started from, by VMware's `BootOrderSection`, the first first.
    #[must_use]
    pub fn boot_order(&self) -> &[BootDevice] {
        &self.boot_order
    }

    /// Its devices in one of the package's configurations, or in none.
    ///
    /// An item for the configuration stands in place of the one for all that has its id (DSP0243
    /// 1.1.0 §9.8).
    #[must_use]
    pub fn items_in(&self, configuration: Option<&str>) -> Vec<&HardwareItem> {
        let is_special = |item: &&HardwareItem| item.configuration.is_some();
        let applies = |item: &&HardwareItem| match (item.configuration(), configuration) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ids), Some(wanted)) => ids.split_ascii_whitespace().any(|id| id == wanted),
        };
        let applying = || self.items.iter().filter(applies);
        let special: HashSet<&str> =
            applying().filter(is_special).map(|item| item.instance_id.as_str()).collect();
        let stays =
            |item: &&HardwareItem| is_special(item) || !special.contains(item.instance_id.as_str());
        applying().filter(stays).collect()
    }
}
