//! What is exported, and the lease for it.

use ovftransfer_vim::EntityKind;
use ovftransfer_vim::InventoryPath;
use ovftransfer_vim::VimError;
use ovftransfer_vim::inventory::PowerState;
use ovftransfer_vim::inventory::VappFacts;
use ovftransfer_vim::inventory::VappState;
use ovftransfer_vim::inventory::VmDisk;
use ovftransfer_vim::inventory::VmFacts;
use ovftransfer_vim::lease::LeaseDevice;
use ovftransfer_vim::lease::LeaseId;
use ovftransfer_vim::value::MoRef;

use crate::error::Error;
use crate::server::Server;

/// A machine, a snapshot of one, or a vApp.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Machine(Box<VmFacts>),
    /// A machine that runs: a snapshot is made for the export, and removed after it.
    Live(Box<VmFacts>),
    Snapshot(Box<VmFacts>, MoRef),
    Vapp(Box<VappFacts>),
}

impl Subject {
    /// Finds what is to be exported, and refuses what cannot be exported as it is.
    pub(super) async fn find(
        server: &Server,
        source: &str,
        snapshot: Option<&str>,
        live: bool,
    ) -> Result<Self, Error> {
        let session = server.session();
        let kinds = [EntityKind::VirtualMachine, EntityKind::VirtualApp];
        let found = session.find(&InventoryPath::new(source), &kinds).await?;
        if found.kind() == EntityKind::VirtualApp {
            let facts = session.vapp_facts(found.moref()).await?;
            return Self::vapp(facts, snapshot, live);
        }
        let facts = Box::new(session.vm_facts(found.moref()).await?);
        if let Some(wanted) = snapshot {
            let snapshot = facts.snapshot(wanted)?.moref.clone();
            return Ok(Self::Snapshot(facts, snapshot));
        }
        match (&facts.power_state, live) {
            (PowerState::Off, _) => Ok(Self::Machine(facts)),
            (_, true) => Ok(Self::Live(facts)),
            (_, false) => Err(Error::Running { problem: is_running(&facts) }),
        }
    }

    fn vapp(facts: VappFacts, snapshot: Option<&str>, live: bool) -> Result<Self, Error> {
        let name = &facts.name;
        let problem = if snapshot.is_some() || live {
            format!("{name} is a vApp, which has no snapshots; export its machines one by one")
        } else if let Some(running) = facts.machines.iter().find(|vm| !is_off(vm)) {
            format!("{} of the vApp {name} is not powered off; stop the vApp first", running.name)
        } else if !matches!(facts.state, VappState::Stopped | VappState::Unknown(_)) {
            format!("the vApp {name} is not stopped; stop it first")
        } else {
            return Ok(Self::Vapp(Box::new(facts)));
        };
        Err(Error::Refused { problem })
    }

    /// The name in the inventory.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Machine(facts) | Self::Live(facts) | Self::Snapshot(facts, _) => &facts.name,
            Self::Vapp(facts) => &facts.name,
        }
    }

    /// The machine or the vApp.
    pub(super) fn entity(&self) -> &MoRef {
        match self {
            Self::Machine(facts) | Self::Live(facts) | Self::Snapshot(facts, _) => &facts.vm,
            Self::Vapp(facts) => &facts.vapp,
        }
    }

    /// The machines of the export.
    pub(super) fn machines(&self) -> &[VmFacts] {
        match self {
            Self::Machine(facts) | Self::Live(facts) | Self::Snapshot(facts, _) => {
                std::slice::from_ref(facts)
            }
            Self::Vapp(facts) => &facts.machines,
        }
    }

    /// Whether it is several machines.
    pub(super) const fn is_vapp(&self) -> bool {
        matches!(self, Self::Vapp(_))
    }

    /// The snapshot that is exported, if there is one already.
    pub(super) const fn snapshot(&self) -> Option<&MoRef> {
        match self {
            Self::Snapshot(_, snapshot) => Some(snapshot),
            Self::Machine(_) | Self::Live(_) | Self::Vapp(_) => None,
        }
    }

    /// The disks of all machines.
    pub(super) fn disks(&self) -> impl Iterator<Item = &VmDisk> {
        self.machines().iter().flat_map(|machine| &machine.disks)
    }

    /// How many disks the server must offer at least.
    pub(super) fn disks_min(&self) -> usize {
        let disks = self.disks().count();
        match self {
            Self::Machine(_) | Self::Vapp(_) => disks,
            // A disk that snapshots leave out (`independent`) is not part of one, nor is one that
            // was added later; and the hardware of a snapshot is not read.
            Self::Live(_) | Self::Snapshot(..) => disks.min(1),
        }
    }

    /// The capacity of a disk, as the machine's hardware has it: the lease does not tell.
    pub(super) fn capacity_of(&self, device: &LeaseDevice) -> u64 {
        let slot_of = |slot: &Option<String>| {
            slot.as_ref().is_some_and(|slot| device.key.as_str().ends_with(slot.as_str()))
        };
        let machine = self.machine_of(device);
        let mut disks = machine.into_iter().flat_map(|machine| &machine.disks);
        let same = disks.find(|disk| slot_of(&disk.slot)).or_else(|| self.disks().next());
        same.map_or(1, |disk| disk.capacity_bytes)
    }

    /// The machine that a device is one of: real keys begin with `/vm-7/`.
    pub(super) fn machine_of(&self, device: &LeaseDevice) -> Option<&VmFacts> {
        let owner = device.key.as_str().trim_start_matches('/').split('/').next()?;
        let mut machines = self.machines().iter();
        match machines.find(|machine| machine.vm.id() == owner) {
            None if !self.is_vapp() => self.machines().first(),
            found => found,
        }
    }

    /// Takes the lease; of `temporary` if a snapshot was made for the export.
    pub(super) fn take_lease(
        &self,
        server: &Server,
        temporary: Option<&MoRef>,
    ) -> impl Future<Output = Result<LeaseId, VimError>> + Send + 'static {
        let (session, entity) = (server.session().clone(), self.entity().clone());
        let snapshot = temporary.or_else(|| self.snapshot()).cloned();
        let is_vapp = self.is_vapp();
        async move {
            match snapshot {
                Some(snapshot) => session.export_snapshot(&snapshot).await,
                None if is_vapp => session.export_vapp(&entity).await,
                None => session.export_vm(&entity).await,
            }
        }
    }
}

fn is_off(facts: &VmFacts) -> bool {
    facts.power_state == PowerState::Off
}

fn is_running(facts: &VmFacts) -> String {
    let mut problem = format!(
        "{} is not powered off; power it off, export a snapshot of it, or export it live by a \
         temporary snapshot",
        facts.name
    );
    if !facts.snapshots.is_empty() {
        let names: Vec<&str> = facts.snapshots.iter().map(|snapshot| &*snapshot.path).collect();
        problem.push_str(&format!(" (there is {})", names.join(", ")));
    }
    problem
}
