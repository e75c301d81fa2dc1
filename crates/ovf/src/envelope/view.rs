//! The parts of a descriptor, as values.

use std::collections::HashSet;
use std::ops::Range;

use super::sections::Eula;
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

    /// Capacity in bytes, at most 2^63 - 1.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
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
    /// Items that only state a range (`ovf:bound`) are not devices and are left out.
    #[must_use]
    pub fn items(&self) -> &[HardwareItem] {
        &self.items
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

/// A device: an `Item`, or OVF 2's `StorageItem` or `EthernetPortItem` (DSP0243 1.1.0 §8.3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HardwareItem {
    pub(super) instance_id: String,
    pub(super) resource_type: u16,
    pub(super) resource_sub_type: Option<String>,
    pub(super) element_name: Option<String>,
    pub(super) parent: Option<String>,
    pub(super) address: Option<String>,
    pub(super) address_on_parent: Option<String>,
    pub(super) host_resources: Vec<String>,
    pub(super) connections: Vec<String>,
    pub(super) quantity: Option<u64>,
    pub(super) allocation_units: Option<String>,
    pub(super) configuration: Option<String>,
}

impl HardwareItem {
    /// Its id in the machine.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// What it is: 3 processor, 4 memory, 10 Ethernet adapter, 17 disk (CIM `ResourceType`).
    #[must_use]
    pub fn resource_type(&self) -> u16 {
        self.resource_type
    }

    /// Which kind of it, such as `VmxNet3` or `VirtualSCSI`.
    #[must_use]
    pub fn resource_sub_type(&self) -> Option<&str> {
        self.resource_sub_type.as_deref()
    }

    /// Its name for people, such as `Hard disk 1`; in a draft, its caption.
    #[must_use]
    pub fn element_name(&self) -> Option<&str> {
        self.element_name.as_deref()
    }

    /// Instance id of the controller that it is attached to.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// Its own address, such as the number of a controller or a MAC address; in a draft, also the
    /// bus number of a controller.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Its place on the controller.
    #[must_use]
    pub fn address_on_parent(&self) -> Option<&str> {
        self.address_on_parent.as_deref()
    }

    /// What backs it, such as `ovf:/disk/vmdisk1`.
    #[must_use]
    pub fn host_resources(&self) -> &[String] {
        &self.host_resources
    }

    /// Ids of the disks that back it.
    pub fn disk_ids(&self) -> impl Iterator<Item = &str> {
        self.host_resources.iter().filter_map(|resource| resource_id(resource, "disk"))
    }

    /// Ids of the files that back it, such as the image of a CD.
    pub fn file_ids(&self) -> impl Iterator<Item = &str> {
        self.host_resources.iter().filter_map(|resource| resource_id(resource, "file"))
    }

    /// Names of the networks that it is connected to.
    #[must_use]
    pub fn connections(&self) -> &[String] {
        &self.connections
    }

    /// How much of it there is, in [allocation units](Self::allocation_units).
    #[must_use]
    pub fn quantity(&self) -> Option<u64> {
        self.quantity
    }

    /// Unit of the quantity, such as `byte * 2^20`.
    #[must_use]
    pub fn allocation_units(&self) -> Option<&str> {
        self.allocation_units.as_deref()
    }

    /// The quantity in bytes; nothing if there is none, or its unit is not one of bytes.
    #[must_use]
    pub fn quantity_bytes(&self) -> Option<u64> {
        let unit = units::bytes_of_unit(self.allocation_units.as_deref().unwrap_or("byte"))?;
        self.quantity?.checked_mul(unit)
    }

    /// The deployment options in which it exists, with blanks between; nothing if in all.
    #[must_use]
    pub fn configuration(&self) -> Option<&str> {
        self.configuration.as_deref()
    }
}

/// The id in `ovf:/disk/ID`, and in the `/disk/ID` of older tools.
fn resource_id<'a>(resource: &'a str, kind: &str) -> Option<&'a str> {
    let path = resource.strip_prefix("ovf:").unwrap_or(resource);
    path.strip_prefix('/')?.strip_prefix(kind)?.strip_prefix('/')
}
