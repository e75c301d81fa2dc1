//! Writes OVF descriptors (DSP0243 1.1) in the form vSphere gives them.

use std::fmt::Write as _;

use crate::bus::{BusKind, Place};

/// What a descriptor tells of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
    /// vSphere's guest identifier, such as `otherLinux64Guest`.
    pub(crate) guest_id: String,
    /// Its BIOS UUID, if that goes along.
    pub(crate) uuid: Option<String>,
    pub(crate) buses: Vec<Bus>,
    pub(crate) disks: Vec<DiskFile>,
    pub(crate) cards: Vec<Card>,
    /// Its CD drives.
    pub(crate) drives: Vec<Drive>,
    /// Keys and values of the extra configuration to write.
    pub(crate) extra_config: Vec<(String, String)>,
    pub(crate) nvram: Option<FileEntry>,
}

/// A controller; what hangs on it says so by its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bus {
    pub(crate) kind: BusKind,
    /// Its number among those of its family.
    pub(crate) number: usize,
}

/// A CD drive.
#[derive(Clone, Debug)]
pub(crate) struct Drive {
    pub(crate) place: Place,
    /// What lies in it.
    pub(crate) image: Option<FileEntry>,
    /// Whether its sub-type goes along.
    pub(crate) has_sub_type: bool,
}

/// A network card.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    /// Name of its network.
    pub(crate) network: String,
    /// Its kind, such as `VmxNet3`.
    pub(crate) sub_type: &'static str,
    /// Its MAC address, if that goes along.
    pub(crate) mac: Option<String>,
}

/// A disk and the file it is in.
#[derive(Clone, Debug)]
pub(crate) struct DiskFile {
    pub(crate) place: Place,
    pub(crate) file: FileEntry,
    pub(crate) capacity_bytes: u64,
    pub(crate) populated_bytes: Option<u64>,
}

/// A file of the package.
#[derive(Clone, Debug)]
pub(crate) struct FileEntry {
    pub(crate) href: String,
    pub(crate) size_bytes: u64,
}

/// What a descriptor tells of a vApp.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) name: String,
    pub(crate) annotation: String,
    /// What it may use, in MHz.
    pub(crate) cpu: Allocation,
    /// What it may use, in MiB.
    pub(crate) memory: Allocation,
    pub(crate) children: Vec<Child>,
}

/// What a vApp may use of something, as far as it is not the usual.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Allocation {
    pub(crate) reservation: Option<u64>,
    pub(crate) limit: Option<u64>,
    /// Its share where there is not enough.
    pub(crate) weight: Option<u64>,
}

/// Something in a vApp, and when it is started.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) content: Content,
    pub(crate) order: i64,
    pub(crate) start_action: String,
    pub(crate) start_delay_s: i64,
    pub(crate) stop_action: String,
    pub(crate) stop_delay_s: i64,
    pub(crate) waiting_for_guest: bool,
}

impl Machine {
    /// What lies in its CD drives.
    fn images(&self) -> impl Iterator<Item = &FileEntry> {
        self.drives.iter().filter_map(|drive| drive.image.as_ref())
    }

    /// How many files the package has for it.
    fn files(&self) -> usize {
        self.disks.len() + self.images().count() + usize::from(self.nvram.is_some())
    }
}

/// What a descriptor can be of.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A vApp.
    Collection(Collection),
    /// A machine.
    Machine(Machine),
}

impl Content {
    /// The machines in it, in the order in which they are written.
    fn machines(&self) -> Vec<&Machine> {
        match self {
            Self::Collection(all) => {
                all.children.iter().flat_map(|child| child.content.machines()).collect()
            }
            Self::Machine(machine) => vec![machine],
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Collection(collection) => &collection.name,
            Self::Machine(machine) => &machine.name,
        }
    }
}

/// The descriptor of `content`.
pub(crate) fn write(content: &Content) -> String {
    let machines = content.machines();
    let mut xml = Xml::default();
    xml.line("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    xml.line(ENVELOPE);
    xml.references(&machines);
    xml.disk_section(&machines);
    xml.network_section(&machines);
    xml.content(content);
    xml.line("</Envelope>");
    xml.text
}

#[derive(Default)]
struct Xml {
    text: String,
    depth: usize,
    /// Files and disks of the machines that were written before.
    files: usize,
    disks: usize,
}

impl Xml {
    fn references(&mut self, machines: &[&Machine]) {
        self.open("References", "");
        let files = machines.iter().flat_map(|machine| {
            let others = machine.images().chain(&machine.nvram);
            machine.disks.iter().map(|disk| &disk.file).chain(others)
        });
        for (index, file) in files.enumerate() {
            let (href, size) = (escape(&file.href), file.size_bytes);
            let id = index + 1;
            self.line(&format!(
                "<File ovf:id=\"file{id}\" ovf:href=\"{href}\" ovf:size=\"{size}\"/>"
            ));
        }
        self.close("References");
    }

    fn disk_section(&mut self, machines: &[&Machine]) {
        // Of each disk the number of its file.
        let mut disks = Vec::new();
        let mut files = 0;
        for machine in machines {
            disks.extend(machine.disks.iter().zip(files + 1..));
            files += machine.files();
        }
        if disks.is_empty() {
            return;
        }
        self.open("DiskSection", "");
        self.line("<Info>List of the virtual disks</Info>");
        for (index, (disk, file)) in disks.into_iter().enumerate() {
            let id = index + 1;
            let (capacity, unit) = capacity_units(disk.capacity_bytes);
            let populated = disk
                .populated_bytes
                .map(|bytes| format!(" ovf:populatedSize=\"{bytes}\""))
                .unwrap_or_default();
            self.line(&format!(
                "<Disk ovf:diskId=\"vmdisk{id}\" ovf:fileRef=\"file{file}\" \
                 ovf:capacity=\"{capacity}\" ovf:capacityAllocationUnits=\"{unit}\" \
                 ovf:format=\"{STREAM_OPTIMIZED}\"{populated}/>"
            ));
        }
        self.close("DiskSection");
    }

    fn network_section(&mut self, machines: &[&Machine]) {
        let cards = machines.iter().flat_map(|machine| &machine.cards);
        let mut names: Vec<&String> = cards.map(|card| &card.network).collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            return;
        }
        self.open("NetworkSection", "");
        self.line("<Info>The list of logical networks</Info>");
        for name in names {
            let name = escape(name);
            self.open("Network", &format!(" ovf:name=\"{name}\""));
            self.line(&format!("<Description>The {name} network</Description>"));
            self.close("Network");
        }
        self.close("NetworkSection");
    }

    fn content(&mut self, content: &Content) {
        match content {
            Content::Collection(collection) => self.collection(collection),
            Content::Machine(machine) => {
                self.virtual_system(machine);
                self.disks += machine.disks.len();
                self.files += machine.files();
            }
        }
    }

    fn collection(&mut self, collection: &Collection) {
        let name = escape(&collection.name);
        self.open("VirtualSystemCollection", &format!(" ovf:id=\"{name}\""));
        self.line("<Info>A collection of virtual machines</Info>");
        self.line(&format!("<Name>{name}</Name>"));
        if !collection.annotation.is_empty() {
            self.open("AnnotationSection", "");
            self.line("<Info>A human-readable annotation</Info>");
            self.line(&format!("<Annotation>{}</Annotation>", escape(&collection.annotation)));
            self.close("AnnotationSection");
        }
        self.allocations(collection);
        if !collection.children.is_empty() {
            self.open("StartupSection", "");
            self.line("<Info>Startup order of the virtual machines</Info>");
            for child in &collection.children {
                self.line(&format!(
                    "<Item ovf:id=\"{}\" ovf:order=\"{}\" ovf:startAction=\"{}\" \
                     ovf:startDelay=\"{}\" ovf:stopAction=\"{}\" ovf:stopDelay=\"{}\" \
                     ovf:waitingForGuest=\"{}\"/>",
                    escape(child.content.name()),
                    child.order,
                    escape(&child.start_action),
                    child.start_delay_s,
                    escape(&child.stop_action),
                    child.stop_delay_s,
                    child.waiting_for_guest,
                ));
            }
            self.close("StartupSection");
        }
        for child in &collection.children {
            self.content(&child.content);
        }
        self.close("VirtualSystemCollection");
    }

    fn allocations(&mut self, collection: &Collection) {
        let usual = Allocation::default();
        let all = [
            ("3", "hertz * 10^6", "CPU", collection.cpu),
            ("4", "byte * 2^20", "Memory", collection.memory),
        ];
        if all.iter().all(|(_, _, _, allocation)| *allocation == usual) {
            return;
        }
        self.open("ResourceAllocationSection", "");
        self.line("<Info>What the virtual machines may use together</Info>");
        for (index, (resource_type, unit, name, allocation)) in all.into_iter().enumerate() {
            let Allocation { reservation, limit, weight } = allocation;
            let number = |number: Option<u64>| number.map(|number| number.to_string());
            let (name, id) = (format!("{name} allocation"), (index + 1).to_string());
            let (limit, weight) = (number(limit), number(weight));
            let reservation = reservation.unwrap_or(0).to_string();
            let mut fields =
                vec![("AllocationUnits", unit), ("ElementName", &name), ("InstanceID", &id)];
            fields.extend(limit.as_deref().map(|limit| ("Limit", limit)));
            fields.extend([("Reservation", reservation.as_str()), ("ResourceType", resource_type)]);
            fields.extend(weight.as_deref().map(|weight| ("Weight", weight)));
            self.item(&fields);
        }
        self.close("ResourceAllocationSection");
    }

    fn virtual_system(&mut self, machine: &Machine) {
        let name = escape(&machine.name);
        self.open("VirtualSystem", &format!(" ovf:id=\"{name}\""));
        self.line("<Info>A Virtual system</Info>");
        self.line(&format!("<Name>{name}</Name>"));
        let (os_id, guest_id) = (cim_os(&machine.guest_id), escape(&machine.guest_id));
        let os = format!(" ovf:id=\"{os_id}\" vmw:osType=\"{guest_id}\"");
        self.open("OperatingSystemSection", &os);
        self.line("<Info>The operating system installed</Info>");
        self.close("OperatingSystemSection");
        self.open("VirtualHardwareSection", "");
        self.line("<Info>Virtual hardware requirements</Info>");
        self.open("System", "");
        self.element("vssd", "ElementName", "Virtual Hardware Family");
        self.element("vssd", "InstanceID", "0");
        self.element("vssd", "VirtualSystemIdentifier", &name);
        self.element("vssd", "VirtualSystemType", HARDWARE);
        self.close("System");
        self.hardware(machine);
        if let Some(uuid) = &machine.uuid {
            let uuid = escape(uuid);
            self.line(&format!(
                "<vmw:Config ovf:required=\"false\" vmw:key=\"uuid\" vmw:value=\"{uuid}\"/>"
            ));
        }
        for (key, value) in &machine.extra_config {
            let (key, value) = (escape(key), escape(value));
            self.line(&format!(
                "<vmw:ExtraConfig ovf:required=\"false\" vmw:key=\"{key}\" vmw:value=\"{value}\"/>"
            ));
        }
        if machine.nvram.is_some() {
            // The last of its files.
            let id = self.files + machine.files();
            self.line(&format!(
                "<vmw:ExtraConfig ovf:required=\"false\" vmw:key=\"nvram\" \
                 vmw:value=\"ovf:/file/file{id}\"/>"
            ));
        }
        self.close("VirtualHardwareSection");
        self.close("VirtualSystem");
    }

    fn hardware(&mut self, machine: &Machine) {
        let cpus = machine.cpus;
        self.item(&[
            ("AllocationUnits", "hertz * 10^6"),
            ("Description", "Number of Virtual CPUs"),
            ("ElementName", &format!("{cpus} virtual CPU(s)")),
            ("InstanceID", "1"),
            ("ResourceType", "3"),
            ("VirtualQuantity", &cpus.to_string()),
        ]);
        let memory = machine.memory_mib;
        self.item(&[
            ("AllocationUnits", "byte * 2^20"),
            ("Description", "Memory Size"),
            ("ElementName", &format!("{memory}MB of memory")),
            ("InstanceID", "2"),
            ("ResourceType", "4"),
            ("VirtualQuantity", &memory.to_string()),
        ]);
        let mut next_id = 3;
        for (index, bus) in machine.buses.iter().enumerate() {
            let parent = next_id;
            self.bus(*bus, parent);
            next_id += 1;
            let is_here = |place: Place| place.bus == index;
            for (number, disk) in (1..).zip(&machine.disks).filter(|(_, disk)| is_here(disk.place))
            {
                self.disk(number, disk.place.unit, (next_id, parent));
                next_id += 1;
            }
            let mut image = self.files + machine.disks.len();
            for (number, drive) in (1..).zip(&machine.drives) {
                image += usize::from(drive.image.is_some());
                if is_here(drive.place) {
                    self.drive(number, drive, image, (next_id, parent));
                    next_id += 1;
                }
            }
        }
        for (index, card) in machine.cards.iter().enumerate() {
            self.card(index, card, next_id);
            next_id += 1;
        }
    }

    fn bus(&mut self, bus: Bus, id: usize) {
        let Bus { kind, number } = bus;
        let (family, number, id) = (kind.family(), number.to_string(), id.to_string());
        let (label, resource_type) =
            (format!("{} {number}", family.name()), family.resource_type().to_string());
        let mut fields = vec![
            ("Address", number.as_str()),
            ("Description", family.name()),
            ("ElementName", &label),
            ("InstanceID", &id),
        ];
        fields.extend(kind.sub_type().map(|sub_type| ("ResourceSubType", sub_type)));
        fields.push(("ResourceType", &resource_type));
        self.item(&fields);
    }

    /// The machine's disk `number`, counted from 1, at `unit` of its controller.
    fn disk(&mut self, number: usize, unit: usize, (id, parent): (usize, usize)) {
        let disk = self.disks + number;
        self.item(&[
            ("AddressOnParent", &unit.to_string()),
            ("ElementName", &format!("Hard Disk {number}")),
            ("HostResource", &format!("ovf:/disk/vmdisk{disk}")),
            ("InstanceID", &id.to_string()),
            ("Parent", &parent.to_string()),
            ("ResourceType", "17"),
        ]);
    }

    /// The machine's CD drive `number`; the number of its image among all files is `file`.
    fn drive(&mut self, number: usize, drive: &Drive, file: usize, (id, parent): (usize, usize)) {
        let (unit, name) = (drive.place.unit.to_string(), format!("CD/DVD drive {number}"));
        let (id, parent) = (id.to_string(), parent.to_string());
        let resource = format!("ovf:/file/file{file}");
        let mut fields = vec![
            ("AddressOnParent", unit.as_str()),
            ("AutomaticAllocation", "false"),
            ("ElementName", &name),
        ];
        let sub_type = match drive.image {
            Some(_) => {
                fields.push(("HostResource", &resource));
                "vmware.cdrom.iso"
            }
            None => "vmware.cdrom.remotepassthrough",
        };
        fields.extend([("InstanceID", id.as_str()), ("Parent", &parent)]);
        fields.extend(drive.has_sub_type.then_some(("ResourceSubType", sub_type)));
        fields.push(("ResourceType", "15"));
        self.item(&fields);
    }

    fn card(&mut self, index: usize, card: &Card, id: usize) {
        let (name, kind) = (escape(&card.network), card.sub_type);
        let mac = card.mac.as_deref().map(|mac| ("Address", mac));
        let mut fields: Vec<(&str, &str)> = mac.into_iter().collect();
        let (unit, id) = ((7 + index).to_string(), id.to_string());
        let (what, label) = (
            format!("{kind} ethernet adapter on \"{name}\""),
            format!("Network adapter {}", index + 1),
        );
        fields.extend([
            ("AddressOnParent", unit.as_str()),
            ("AutomaticAllocation", "true"),
            ("Connection", &name),
            ("Description", &what),
            ("ElementName", &label),
            ("InstanceID", &id),
            ("ResourceSubType", kind),
            ("ResourceType", "10"),
        ]);
        self.item(&fields);
    }

    fn item(&mut self, fields: &[(&str, &str)]) {
        self.open("Item", "");
        for (name, value) in fields {
            self.element("rasd", name, value);
        }
        self.close("Item");
    }

    fn element(&mut self, prefix: &str, name: &str, value: &str) {
        self.line(&format!("<{prefix}:{name}>{value}</{prefix}:{name}>"));
    }

    fn open(&mut self, name: &str, attributes: &str) {
        self.line(&format!("<{name}{attributes}>"));
        self.depth += 1;
    }

    fn close(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        self.line(&format!("</{name}>"));
    }

    fn line(&mut self, line: &str) {
        let indent = self.depth * 2;
        // Writing to a String cannot fail.
        writeln!(self.text, "{:indent$}{line}", "").unwrap_or_default();
    }
}

/// The largest unit in which the capacity is a whole number, as vSphere writes it.
fn capacity_units(bytes: u64) -> (u64, &'static str) {
    for (shift, unit) in [(30, "byte * 2^30"), (20, "byte * 2^20"), (10, "byte * 2^10")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return (bytes >> shift, unit);
        }
    }
    (bytes, "byte")
}

/// Number of the guest system in CIM's list.
fn cim_os(guest_id: &str) -> u16 {
    match guest_id {
        "debian12_64Guest" | "debian11_64Guest" | "debian10_64Guest" => 96,
        "ubuntu64Guest" => 94,
        "rhel9_64Guest" | "rhel8_64Guest" => 80,
        "otherLinuxGuest" => 36,
        "otherLinux64Guest" => 101,
        "windows2019srv_64Guest" | "windows2022srvNext_64Guest" => 112,
        _ => 1,
    }
}

/// Text that is safe between tags and inside an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write these.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `format` of a stream-optimized disk.
pub(crate) const STREAM_OPTIMIZED: &str =
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// Hardware version that all supported servers know.
const HARDWARE: &str = "vmx-13";

const ENVELOPE: &str = "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" \
xmlns:cim=\"http://schemas.dmtf.org/wbem/wscim/1/common\" \
xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" \
xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData\" \
xmlns:vmw=\"http://www.vmware.com/schema/ovf\" \
xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData\" \
xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">";

#[cfg(test)]
mod tests {
    use crate::bus::scsi_place;
    use ovftransfer_ovf::Envelope;

    use super::*;

    fn bus(kind: BusKind, number: usize) -> Bus {
        Bus { kind, number }
    }

    fn content(disks: usize) -> Content {
        Content::Machine(machine(disks))
    }

    fn machine(disks: usize) -> Machine {
        let disk = |index: usize| DiskFile {
            place: scsi_place(index),
            file: FileEntry { href: format!("vm-{index}.vmdk"), size_bytes: 100 },
            capacity_bytes: (index as u64 + 1) << 20,
            populated_bytes: Some(65536),
        };
        let card =
            |network: &str| Card { network: network.to_owned(), sub_type: "VmxNet3", mac: None };
        Machine {
            name: "a <machine> & \"more\"".to_owned(),
            cpus: 2,
            memory_mib: 1024,
            guest_id: "otherLinux64Guest".to_owned(),
            uuid: None,
            buses: (0..disks.div_ceil(15))
                .map(|number| bus(BusKind::Paravirtual, number))
                .collect(),
            disks: (0..disks).map(disk).collect(),
            cards: ["VM Network", "A & B", "VM Network"].map(card).to_vec(),
            drives: Vec::new(),
            extra_config: Vec::new(),
            nvram: Some(FileEntry { href: "vm.nvram".to_owned(), size_bytes: 8684 }),
        }
    }

    #[test]
    fn the_reader_finds_what_was_written() {
        let envelope = Envelope::parse(write(&content(2))).unwrap();
        assert_eq!(envelope.references().len(), 3);
        assert_eq!(envelope.references()[0].href().as_str(), "vm-0.vmdk");
        assert_eq!(envelope.references()[2].size_bytes(), Some(8684));
        assert_eq!(envelope.disks()[1].capacity_bytes(), 2 << 20);
        assert_eq!(envelope.disks()[1].populated_bytes(), Some(65536));
        assert_eq!(envelope.disks()[1].format(), STREAM_OPTIMIZED);
        assert_eq!(envelope.disks()[1].file_ref(), Some("file2"));
        assert_eq!(envelope.networks().len(), 2);
        let system = &envelope.systems()[0];
        assert_eq!(system.name(), Some("a <machine> & \"more\""));
        let types: Vec<u16> = system.items().iter().map(|item| item.resource_type()).collect();
        assert_eq!(types, [3, 4, 6, 17, 17, 10, 10, 10]);
        assert_eq!(system.items()[4].host_resources(), ["ovf:/disk/vmdisk2"]);
    }

    #[test]
    fn disks_and_drives_hang_where_they_hang() {
        let mut machine = machine(2);
        machine.buses = vec![
            bus(BusKind::Ide, 1),
            bus(BusKind::Nvme, 2),
            bus(BusKind::Ahci, 0),
            bus(BusKind::Ide, 0),
        ];
        machine.disks[0].place = Place { bus: 2, unit: 4 };
        machine.disks[1].place = Place { bus: 0, unit: 1 };
        let image = |name: &str| FileEntry { href: name.to_owned(), size_bytes: 7 };
        let drive =
            |(bus, unit, image)| Drive { place: Place { bus, unit }, image, has_sub_type: true };
        machine.drives = [
            (2, 3, Some(image("a.iso"))),
            (0, 0, None),
            (3, 0, Some(image("b.iso"))),
            (3, 1, Some(image("c.iso"))),
        ]
        .map(drive)
        .to_vec();
        let text = write(&Content::Machine(machine));
        assert!(text.contains("vmw:value=\"ovf:/file/file6\""), "{text}");
        let envelope = Envelope::parse(text).unwrap();
        let items = envelope.systems()[0].items();
        let files = |item: &ovftransfer_ovf::envelope::HardwareItem| {
            let file = item.file_ids().next().and_then(|id| envelope.file(id));
            file.map(|file| file.href().as_str().to_owned())
        };
        let shown: Vec<_> = items
            .iter()
            .filter(|item| [15, 17].contains(&item.resource_type()))
            .map(|item| {
                let parent = items.iter().find(|other| Some(other.instance_id()) == item.parent());
                let parent = parent.unwrap().element_name().unwrap();
                let what = files(item).or_else(|| item.host_resources().first().cloned());
                (parent, item.address_on_parent().unwrap(), what.unwrap_or_default())
            })
            .collect();
        let expected = [
            ("IDE Controller 1", "1", "ovf:/disk/vmdisk2"),
            ("IDE Controller 1", "0", ""),
            ("SATA Controller 0", "4", "ovf:/disk/vmdisk1"),
            ("SATA Controller 0", "3", "a.iso"),
            ("IDE Controller 0", "0", "b.iso"),
            ("IDE Controller 0", "1", "c.iso"),
        ];
        assert_eq!(shown, expected.map(|(parent, unit, what)| (parent, unit, what.to_owned())));
        let mut ids: Vec<_> = items.iter().map(|item| item.instance_id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), items.len());
    }

    #[test]
    fn images_of_one_machine_count_before_the_files_of_the_next() {
        let mut first = machine(1);
        first.drives = vec![Drive {
            place: Place { bus: 0, unit: 1 },
            image: Some(FileEntry { href: "a.iso".to_owned(), size_bytes: 7 }),
            has_sub_type: true,
        }];
        let mut second = machine(1);
        second.name = "b".to_owned();
        second.disks[0].file.href = "b.vmdk".to_owned();
        second.nvram = None;
        let children = [first, second].map(|machine| child(Content::Machine(machine))).to_vec();
        let outer = Collection {
            name: "shop".into(),
            annotation: String::new(),
            cpu: Allocation::default(),
            memory: Allocation::default(),
            children,
        };
        let envelope = Envelope::parse(write(&Content::Collection(outer))).unwrap();
        let file = envelope.disks()[1].file_ref().and_then(|id| envelope.file(id)).unwrap();
        assert_eq!(file.href().as_str(), "b.vmdk");
    }

    fn child(content: Content) -> Child {
        Child {
            content,
            order: 2,
            start_action: "powerOn".to_owned(),
            start_delay_s: 5,
            stop_action: "powerOff".to_owned(),
            stop_delay_s: 6,
            waiting_for_guest: false,
        }
    }

    #[test]
    fn a_collection_numbers_its_disks_and_files_throughout() {
        let mut other = machine(1);
        other.name = "b".to_owned();
        other.cards.truncate(1);
        other.cards[0].network = "C".to_owned();
        other.disks[0].file.href = "b.vmdk".to_owned();
        other.nvram = Some(FileEntry { href: "b.nvram".to_owned(), size_bytes: 1 });
        let inner = Collection {
            name: "inner".to_owned(),
            annotation: String::new(),
            cpu: Allocation::default(),
            memory: Allocation::default(),
            children: vec![child(Content::Machine(other))],
        };
        let children = vec![child(content(2)), child(Content::Collection(inner))];
        let outer = Collection {
            name: "shop".into(),
            annotation: "<x>".into(),
            cpu: Allocation::default(),
            memory: Allocation { limit: Some(9), ..Allocation::default() },
            children,
        };
        let text = write(&Content::Collection(outer));
        let envelope = Envelope::parse(text.clone()).unwrap();
        assert_eq!(envelope.references().len(), 5);
        assert_eq!(envelope.networks().len(), 3);
        let [first, second] = envelope.systems() else { panic!("{text}") };
        assert_eq!((first.name(), second.name()), (Some("a <machine> & \"more\""), Some("b")));
        assert_eq!(first.items()[3].host_resources(), ["ovf:/disk/vmdisk1"]);
        assert_eq!(second.items()[3].host_resources(), ["ovf:/disk/vmdisk3"]);
        assert_eq!(envelope.disks()[2].file_ref(), Some("file4"));
        assert!(text.contains("ovf:/file/file3") && text.contains("ovf:/file/file5"), "{text}");
        assert!(text.contains("<Item ovf:id=\"inner\" ovf:order=\"2\""), "{text}");
    }

    #[test]
    fn many_disks_need_more_controllers() {
        let envelope = Envelope::parse(write(&content(20))).unwrap();
        let items = envelope.systems()[0].items();
        assert_eq!(items.iter().filter(|item| item.resource_type() == 6).count(), 2);
        assert_eq!(items.iter().filter(|item| item.resource_type() == 17).count(), 20);
        assert!(
            items
                .iter()
                .all(|item| item.address_on_parent() != Some("7") || item.resource_type() != 17)
        );
    }

    #[test]
    fn capacities_are_whole_numbers_of_their_unit() {
        assert_eq!(capacity_units(4 << 30), (4, "byte * 2^30"));
        assert_eq!(capacity_units(1536 << 20), (1536, "byte * 2^20"));
        assert_eq!(capacity_units(512), (512, "byte"));
        assert_eq!(capacity_units(0), (0, "byte"));
    }
}
