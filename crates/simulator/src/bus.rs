//! Controllers of disks and CD drives: what the API and descriptors call them, and how much hangs on
//! one.

use crate::scenario::Controller;

/// Kind of a controller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BusKind {
    Ahci,
    BusLogic,
    Ide,
    LsiLogic,
    LsiLogicSas,
    Nvme,
    Paravirtual,
}

/// Controllers of one family share the numbers of their buses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    Ide,
    Nvme,
    Sata,
    Scsi,
}

/// Where a disk or a drive is plugged in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// Index of its controller among those of the machine.
    pub(crate) bus: usize,
    /// Its number there.
    pub(crate) unit: usize,
}

impl BusKind {
    /// The kind of a device of the API, by the name of its type; nothing if it is no such controller.
    pub(crate) fn of_device(type_name: &str) -> Option<Self> {
        match type_name {
            "ParaVirtualSCSIController" => Some(Self::Paravirtual),
            // A client may ask for "any SATA" and "any SCSI".
            "VirtualAHCIController" | "VirtualSATAController" => Some(Self::Ahci),
            "VirtualBusLogicController" => Some(Self::BusLogic),
            "VirtualIDEController" => Some(Self::Ide),
            "VirtualLsiLogicController" | "VirtualSCSIController" => Some(Self::LsiLogic),
            "VirtualLsiLogicSASController" => Some(Self::LsiLogicSas),
            "VirtualNVMEController" => Some(Self::Nvme),
            _ => None,
        }
    }

    /// The kind that a descriptor calls `sub_type`, in small letters, among those of CIM's type.
    pub(crate) fn of_item(resource_type: u16, sub_type: &str) -> Option<Self> {
        match (resource_type, sub_type) {
            // Whatever chip: machines have only one kind of it.
            (5, _) => Some(Self::Ide),
            (6, "buslogic") => Some(Self::BusLogic),
            (6, "lsilogic" | "lsilogicscsi") => Some(Self::LsiLogic),
            (6, "lsilogicsas") => Some(Self::LsiLogicSas),
            (6, "pvscsi" | "virtualscsi" | "vmware.virtualscsi") => Some(Self::Paravirtual),
            (20, "ahci" | "vmware.sata.ahci") => Some(Self::Ahci),
            (20, "nvme" | "vmware.nvme.controller") => Some(Self::Nvme),
            _ => None,
        }
    }

    /// Name of its type in the API.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Ahci => "VirtualAHCIController",
            Self::BusLogic => "VirtualBusLogicController",
            Self::Ide => "VirtualIDEController",
            Self::LsiLogic => "VirtualLsiLogicController",
            Self::LsiLogicSas => "VirtualLsiLogicSASController",
            Self::Nvme => "VirtualNVMEController",
            Self::Paravirtual => "ParaVirtualSCSIController",
        }
    }

    /// `ResourceSubType` of its item; vSphere writes none for IDE.
    pub(crate) fn sub_type(self) -> Option<&'static str> {
        match self {
            Self::Ahci => Some("vmware.sata.ahci"),
            Self::BusLogic => Some("buslogic"),
            Self::Ide => None,
            Self::LsiLogic => Some("lsilogic"),
            Self::LsiLogicSas => Some("lsilogicsas"),
            Self::Nvme => Some("vmware.nvme.controller"),
            Self::Paravirtual => Some("VirtualSCSI"),
        }
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Self::Ahci => Family::Sata,
            Self::Ide => Family::Ide,
            Self::Nvme => Family::Nvme,
            Self::BusLogic | Self::LsiLogic | Self::LsiLogicSas | Self::Paravirtual => Family::Scsi,
        }
    }

    /// Unit numbers that it has (configuration maximums of vSphere 8), a SCSI controller's own
    /// included.
    pub(crate) fn units(self) -> usize {
        match self {
            Self::Ahci => 30,
            Self::BusLogic | Self::LsiLogic | Self::LsiLogicSas => 16,
            Self::Ide => 2,
            Self::Nvme | Self::Paravirtual => 64,
        }
    }

    /// The unit that it takes itself.
    pub(crate) fn own_unit(self) -> Option<usize> {
        (self.family() == Family::Scsi).then_some(SCSI_OWN_UNIT)
    }
}

impl From<Controller> for BusKind {
    fn from(controller: Controller) -> Self {
        match controller {
            Controller::Lsilogic => Self::LsiLogic,
            Controller::Paravirtual => Self::Paravirtual,
        }
    }
}

impl Family {
    /// Controllers of the family that a machine can have (configuration maximums of vSphere 8).
    pub(crate) fn buses(self) -> usize {
        match self {
            Self::Ide => 2,
            Self::Nvme | Self::Sata | Self::Scsi => 4,
        }
    }

    /// `ResourceType` of their items.
    pub(crate) fn resource_type(self) -> u16 {
        match self {
            Self::Ide => 5,
            Self::Nvme | Self::Sata => 20,
            Self::Scsi => 6,
        }
    }

    /// What people call them.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ide => "IDE Controller",
            Self::Nvme => "NVME Controller",
            Self::Sata => "SATA Controller",
            Self::Scsi => "SCSI Controller",
        }
    }
}

/// Place of the disk `index` of a machine that has only full SCSI controllers.
pub(crate) fn scsi_place(index: usize) -> Place {
    let unit = index % DISKS_PER_BUS;
    Place { bus: index / DISKS_PER_BUS, unit: unit + usize::from(unit >= SCSI_OWN_UNIT) }
}

/// The unit of a SCSI bus that the controller takes itself.
pub(crate) const SCSI_OWN_UNIT: usize = 7;

/// Disks on one bus of a scenario's machine: 16 units, one of which is the controller's.
pub(crate) const DISKS_PER_BUS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_known_again() {
        for kind in [
            BusKind::Ahci,
            BusKind::BusLogic,
            BusKind::Ide,
            BusKind::LsiLogic,
            BusKind::LsiLogicSas,
            BusKind::Nvme,
            BusKind::Paravirtual,
        ] {
            let sub_type = kind.sub_type().unwrap_or_default().to_ascii_lowercase();
            let known = BusKind::of_item(kind.family().resource_type(), &sub_type);
            assert_eq!(known, Some(kind));
            assert_eq!(BusKind::of_device(kind.type_name()), Some(kind));
        }
        assert_eq!(BusKind::of_device("VirtualUSBController"), None);
        assert_eq!(BusKind::of_item(20, "vmware.nvdimm.controller"), None);
    }

    #[test]
    fn disks_leave_out_the_controllers_own_unit() {
        let places = [0, 6, 7, 14, 15].map(scsi_place).map(|place| (place.bus, place.unit));
        assert_eq!(places, [(0, 0), (0, 6), (0, 8), (0, 15), (1, 0)]);
    }
}
