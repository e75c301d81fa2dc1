//! The hardware of a machine, in the words of its descriptor.

use ovftransfer::Overview;
use ovftransfer::envelope::HardwareItem;
use ovftransfer::envelope::VirtualSystem;

/// A machine, in the configuration of a user who chooses none.
pub(super) struct Machine<'a> {
    pub(super) system: &'a VirtualSystem,
    items: Vec<&'a HardwareItem>,
}

impl<'a> Machine<'a> {
    pub(super) fn all(overview: &'a Overview) -> Vec<Self> {
        let envelope = overview.envelope();
        let configuration = envelope.default_configuration().map(|one| one.id.as_str());
        let systems = envelope.systems().iter();
        systems.map(|system| Self { system, items: system.items_in(configuration) }).collect()
    }

    pub(super) fn label(&self) -> &'a str {
        self.system.name().unwrap_or(self.system.id())
    }

    pub(super) fn cpus(&self) -> Option<u64> {
        self.of_type(PROCESSOR).filter_map(HardwareItem::quantity).reduce(u64::saturating_add)
    }

    pub(super) fn memory_bytes(&self) -> Option<u64> {
        let memory = self.of_type(MEMORY);
        memory.filter_map(HardwareItem::quantity_bytes).reduce(u64::saturating_add)
    }

    pub(super) fn adapters(&self) -> impl Iterator<Item = &'a HardwareItem> {
        self.of_type(ETHERNET)
    }

    pub(super) fn controllers(&self) -> impl Iterator<Item = &'a HardwareItem> {
        self.items.iter().copied().filter(|item| CONTROLLERS.contains(&item.resource_type()))
    }

    /// What is neither of the above, nor a disk.
    pub(super) fn devices(&self) -> impl Iterator<Item = &'a HardwareItem> {
        let shown = [PROCESSOR, MEMORY, ETHERNET, DISK];
        let is_shown = move |kind| shown.contains(&kind) || CONTROLLERS.contains(&kind);
        self.items.iter().copied().filter(move |item| !is_shown(item.resource_type()))
    }

    pub(super) fn disk_ids(&self) -> impl Iterator<Item = &'a str> {
        self.items.iter().flat_map(|item| item.disk_ids())
    }

    pub(super) fn os(&self) -> Option<&'a str> {
        self.system.os_description().or(self.system.os_type())
    }

    fn of_type(&self, kind: u16) -> impl Iterator<Item = &'a HardwareItem> {
        self.items.iter().copied().filter(move |item| item.resource_type() == kind)
    }
}

/// A word for what a device is.
pub(super) fn kind(item: &HardwareItem) -> &'static str {
    match item.resource_type() {
        5 => "ide",
        6 => "scsi",
        7 => "fibre_channel",
        8 => "iscsi",
        14 => "floppy",
        15 => "cd",
        16 => "dvd",
        18 => "tape",
        20 => "storage",
        21 => "serial_port",
        22 => "parallel_port",
        23 => "usb",
        24 => "graphics",
        _ => "other",
    }
}

/// What a name of a disk's format stands for: `streamOptimized` for the URL that ends in it.
pub(super) fn short_format(format: &str) -> &str {
    let last = format.rsplit(['#', '/']).find(|part| !part.is_empty());
    last.unwrap_or(format)
}

// CIM `ResourceType`, CIM_ResourceAllocationSettingData 2.22.

const PROCESSOR: u16 = 3;

const MEMORY: u16 = 4;

const ETHERNET: u16 = 10;

const DISK: u16 = 17;

/// IDE, SCSI, fibre channel, iSCSI, other storage (SATA, NVMe), USB.
const CONTROLLERS: [u16; 6] = [5, 6, 7, 8, 20, 23];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_last_word() {
        for (format, short) in [
            (
                "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
                "streamOptimized",
            ),
            ("http://www.gnome.org/~markmc/qcow-image-format.html", "qcow-image-format.html"),
            ("http://example.com/raw/", "raw"),
            ("vmdk", "vmdk"),
            ("#/", "#/"),
            ("", ""),
        ] {
            assert_eq!(short_format(format), short);
        }
    }
}
