//! The hardware that a machine asks for, as values.

use super::units;

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
    pub(super) description: Option<String>,
    pub(super) automatic_allocation: Option<bool>,
    pub(super) reservation: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) weight: Option<u64>,
    pub(super) is_optional: bool,
    pub(super) bound: Bound,
    pub(super) config: Vec<Setting>,
    pub(super) cores_per_socket: Option<u64>,
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

    /// What it is in words, by the values of CIM `ResourceType` in DMTF's schema 2.x; nothing for a
    /// number that is not among them.
    ///
    /// ```
    /// # let envelope = ovftransfer_ovf::Envelope::parse(
    /// #     r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
    /// #          xmlns:r="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
    /// #        ><VirtualSystem><VirtualHardwareSection><Item><r:InstanceID>1</r:InstanceID>
    /// #          <r:ResourceType>10</r:ResourceType><r:ResourceSubType>E1000e, e1000</r:ResourceSubType></Item>
    /// #        </VirtualHardwareSection></VirtualSystem></Envelope>"#)?;
    /// let item = &envelope.systems()[0].items()[0];
    /// assert_eq!(item.resource_name(), Some("Ethernet adapter"));
    /// assert_eq!(item.sub_types().collect::<Vec<_>>(), ["E1000e", "e1000"]);
    /// assert_eq!(item.sub_type_name(), Some("Intel E1000e"));
    /// # Ok::<(), ovftransfer_ovf::EnvelopeError>(())
    /// ```
    #[must_use]
    pub fn resource_name(&self) -> Option<&'static str> {
        let place = usize::from(self.resource_type).checked_sub(1)?;
        if let Some(name) = RESOURCE_NAMES.get(place) {
            return Some(name);
        }
        // Not of CIM, but what VirtualBox and others write.
        (self.resource_type == 35).then_some("Sound card")
    }

    /// Which kinds of it will do, the best first: products write several with commas between
    /// (DSP0243 1.1.0 §8.3), some with blanks.
    pub fn sub_types(&self) -> impl Iterator<Item = &str> {
        let text = self.resource_sub_type.as_deref().unwrap_or_default();
        text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty())
    }

    /// The first of its kinds that VMware or VirtualBox has, in words.
    #[must_use]
    pub fn sub_type_name(&self) -> Option<&'static str> {
        self.sub_types().find_map(|kind| {
            let known = |(name, _): &&(&str, &str)| name.eq_ignore_ascii_case(kind);
            SUB_TYPES.iter().find(known).map(|(_, words)| *words)
        })
    }

    /// Which kind of it, such as `VmxNet3` or `VirtualSCSI`, as the descriptor has it.
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

    /// What is said of it for people.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Whether it is connected when the machine starts; nothing if the descriptor does not say.
    #[must_use]
    pub fn automatic_allocation(&self) -> Option<bool> {
        self.automatic_allocation
    }

    /// How much of it must always be there, in [allocation units](Self::allocation_units).
    #[must_use]
    pub fn reservation(&self) -> Option<u64> {
        self.reservation
    }

    /// How much of it may be used at most, in [allocation units](Self::allocation_units).
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Its share where there is not enough for all.
    #[must_use]
    pub fn weight(&self) -> Option<u64> {
        self.weight
    }

    /// Whether a machine without it is of no use (`ovf:required`, which is so if not said).
    #[must_use]
    pub fn is_required(&self) -> bool {
        !self.is_optional
    }

    /// Whether it is the device, or only states a range for it (DSP0243 1.1.0 §8.4).
    #[must_use]
    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// Settings of VMware for it (`vmw:Config`), such as `slotInfo.pciSlotNumber`.
    #[must_use]
    pub fn config(&self) -> &[Setting] {
        &self.config
    }

    /// Of processors: how many of them are one socket (`vmw:CoresPerSocket`).
    #[must_use]
    pub fn cores_per_socket(&self) -> Option<u64> {
        self.cores_per_socket
    }

    /// The deployment options in which it exists, with blanks between; nothing if in all.
    #[must_use]
    pub fn configuration(&self) -> Option<&str> {
        self.configuration.as_deref()
    }
}

/// What an item says about the amount of a resource, by `ovf:bound` (DSP0243 1.1.0 §8.4).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Bound {
    /// The most that may be given.
    Max,
    /// The least that must be given.
    Min,
    /// What is wanted.
    #[default]
    Normal,
}

/// A setting by VMware's `Config` or `ExtraConfig`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Setting {
    /// Its name, such as `firmware`.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether whoever does not know it has to refuse the package (`ovf:required`).
    pub is_required: bool,
}

/// The id in `ovf:/disk/ID`, and in the `/disk/ID` of older tools.
fn resource_id<'a>(resource: &'a str, kind: &str) -> Option<&'a str> {
    let path = resource.strip_prefix("ovf:").unwrap_or(resource);
    path.strip_prefix('/')?.strip_prefix(kind)?.strip_prefix('/')
}

/// Words for the values 1 to 33 of `CIM_ResourceAllocationSettingData.ResourceType`.
const RESOURCE_NAMES: [&str; 33] = [
    "Other",
    "Computer system",
    "Processor",
    "Memory",
    "IDE controller",
    "Parallel SCSI adapter",
    "Fibre Channel adapter",
    "iSCSI adapter",
    "InfiniBand adapter",
    "Ethernet adapter",
    "Other network adapter",
    "I/O slot",
    "I/O device",
    "Floppy drive",
    "CD drive",
    "DVD drive",
    "Disk drive",
    "Tape drive",
    "Storage extent",
    "Other storage device",
    "Serial port",
    "Parallel port",
    "USB controller",
    "Graphics controller",
    "IEEE 1394 controller",
    "Partitionable unit",
    "Base partitionable unit",
    "Power",
    "Cooling capacity",
    "Ethernet switch port",
    "Logical disk",
    "Storage volume",
    "Ethernet connection",
];

/// Kinds of devices that descriptors of VMware and VirtualBox name, in words.
const SUB_TYPES: [(&str, &str); 44] = [
    ("AHCI", "SATA (AHCI)"),
    ("buslogic", "BusLogic parallel SCSI"),
    ("E1000", "Intel E1000"),
    ("E1000e", "Intel E1000e"),
    ("ensoniq1371", "Ensoniq ES1371"),
    ("hdaudio", "HD Audio"),
    ("ICH6", "Intel ICH6 IDE"),
    ("lsilogic", "LSI Logic parallel SCSI"),
    ("lsilogicsas", "LSI Logic SAS"),
    ("PCNet32", "AMD PCnet32"),
    ("PIIX3", "Intel PIIX3 IDE"),
    ("PIIX4", "Intel PIIX4 IDE"),
    ("sb16", "Sound Blaster 16"),
    ("SriovEthernetCard", "SR-IOV passthrough"),
    ("virtio", "VirtIO network"),
    ("VirtioSCSI", "VirtIO SCSI"),
    ("VirtualSCSI", "VMware paravirtual SCSI"),
    ("Vmxnet", "VMware VMXNET"),
    ("VmxNet2", "VMware VMXNET 2"),
    ("VmxNet3", "VMware VMXNET 3"),
    ("VmxNet3Vrdma", "VMware paravirtual RDMA"),
    ("vmware.cdrom.atapi", "CD of the host"),
    ("vmware.cdrom.iso", "CD image"),
    ("vmware.cdrom.passthrough", "CD of the host, passed through"),
    ("vmware.cdrom.remoteatapi", "CD of the client"),
    ("vmware.cdrom.remotepassthrough", "CD of the client, passed through"),
    ("vmware.floppy.device", "floppy of the host"),
    ("vmware.floppy.image", "floppy image"),
    ("vmware.floppy.remotedevice", "floppy of the client"),
    ("vmware.nvdimm.controller", "NVDIMM controller"),
    ("vmware.nvdimm.device", "NVDIMM"),
    ("vmware.nvme.controller", "NVMe"),
    ("vmware.parallelport.device", "parallel port of the host"),
    ("vmware.parallelport.file", "parallel port to a file"),
    ("vmware.pci.passthrough", "PCI passthrough"),
    ("vmware.precisionclock", "precision clock"),
    ("vmware.sata.ahci", "SATA (AHCI)"),
    ("vmware.serialport.device", "serial port of the host"),
    ("vmware.serialport.file", "serial port to a file"),
    ("vmware.soundcard.hdaudio", "HD Audio"),
    ("vmware.usb.ehci", "USB 2"),
    ("vmware.usb.xhci", "USB 3"),
    ("vmware.vmci", "VMCI"),
    ("vmware.vtpm", "virtual TPM"),
];
