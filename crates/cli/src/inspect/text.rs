//! A package as tables for people.

use ovftransfer::Overview;
use ovftransfer::certificate::Signature;
use ovftransfer::envelope::Disk;
use ovftransfer::envelope::Product;
use ovftransfer::envelope::Property;
use ovftransfer::envelope::StartupItem;
use ovftransfer::envelope::VendorSection;
use ovftransfer::envelope::VirtualSystemCollection;

use super::hardware::Machine;
use super::hardware::kind;
use super::hardware::short_format;
use crate::console::Console;
use crate::format;
use crate::signature;

/// Prints everything that an administrator wants to know.
pub(super) fn package(overview: &Overview, signature: Option<&Signature>, console: &Console) {
    let envelope = overview.envelope();
    for product in envelope.products().filter(|product| product.name.is_some()) {
        console.data(format::printable(&title(product)));
    }
    console.data(about(overview, signature));
    if let Some(signature) = signature {
        console.data(format::printable(&signature::line(signature)));
    }
    let machines = Machine::all(overview);
    let rows = envelope.collections().iter().map(collection_row).collect();
    section(console, "vApps", rows, &[]);
    section(console, "machines", machines.iter().map(machine_row).collect(), &[1, 2]);
    let items = envelope.collections().iter().flat_map(|collection| &collection.startup);
    section(console, "start order", items.map(startup_row).collect(), &[0]);
    disks(overview, &machines, console);
    let rows = envelope.networks().iter().map(|network| {
        vec![network.name().to_owned(), network.description().unwrap_or_default().to_owned()]
    });
    section(console, "networks", rows.collect(), &[]);
    devices(&machines, console);
    if let Some(ip) = envelope.ip_assignment() {
        let row = vec![ip.schemes.join(", "), ip.protocols.join(", ")];
        section(console, "IP assignment", vec![row], &[]);
    }
    let rows = envelope.configurations().iter().map(|one| {
        let is_default = envelope.default_configuration().is_some_and(|default| default == one);
        let mark = if is_default { "default" } else { "" };
        vec![one.id.clone(), one.label.clone().unwrap_or_default(), mark.to_owned()]
    });
    section(console, "configurations", rows.collect(), &[]);
    let properties = envelope
        .products()
        .flat_map(|product| product.properties.iter().map(move |one| property_row(product, one)));
    section(console, "properties", properties.collect(), &[]);
    licences(overview, console);
    let sections = envelope.vendor_sections().iter().map(section_row);
    section(console, "sections of vendors", sections.collect(), &[]);
    files(overview, console);
}

fn disks(overview: &Overview, machines: &[Machine<'_>], console: &Console) {
    let owner = |disk: &Disk| {
        let owners = machines.iter().filter(|machine| machine.disk_ids().any(|id| id == disk.id()));
        owners.map(Machine::label).collect::<Vec<_>>().join(", ")
    };
    let disks = overview.envelope().disks().iter();
    let rows = disks.map(|disk| disk_row(disk, owner(disk), overview)).collect();
    section(console, "disks", rows, &[1]);
}

fn devices(machines: &[Machine<'_>], console: &Console) {
    let adapters = machines.iter().flat_map(|machine| {
        machine.adapters().map(|adapter| {
            vec![
                machine.label().to_owned(),
                adapter.element_name().unwrap_or_default().to_owned(),
                adapter.resource_sub_type().unwrap_or_default().to_owned(),
                adapter.connections().join(", "),
            ]
        })
    });
    section(console, "network adapters", adapters.collect(), &[]);
    let controllers = machines.iter().flat_map(|machine| {
        machine.controllers().map(|item| {
            vec![
                machine.label().to_owned(),
                item.element_name().unwrap_or_default().to_owned(),
                kind(item).to_owned(),
                item.resource_sub_type().unwrap_or_default().to_owned(),
            ]
        })
    });
    section(console, "controllers", controllers.collect(), &[]);
}

fn licences(overview: &Overview, console: &Console) {
    let rows = overview.envelope().eulas().map(|eula| {
        vec![eula.info.clone().unwrap_or_default(), format::size(eula.license.len() as u64)]
    });
    section(console, "licences to agree to", rows.collect(), &[1]);
    if console.verbose {
        for eula in overview.envelope().eulas() {
            console.data(eula.license.trim());
        }
    }
}

/// Files that are not the content of a disk, and what is not there.
fn files(overview: &Overview, console: &Console) {
    let envelope = overview.envelope();
    let is_disk = |id: &str| envelope.disks().iter().any(|disk| disk.file_ref() == Some(id));
    let others = envelope.references().iter().filter(|file| !is_disk(file.id())).map(|file| {
        let bytes = overview.size_of(file.href()).or(file.size_bytes());
        vec![file.href().to_string(), bytes.map(format::size).unwrap_or_default()]
    });
    section(console, "other files", others.collect(), &[1]);
    let missing = overview.missing().map(|file| vec![file.to_string()]);
    section(console, "missing files", missing.collect(), &[]);
    let outside = envelope.outside().iter().map(|href| vec![href.clone()]);
    section(console, "files outside of the package", outside.collect(), &[]);
}

fn section_row(section: &VendorSection) -> Vec<String> {
    let is_unknown = section.is_required && !section.is_of_vmware();
    let mark = if is_unknown { "must be understood, and is not of VMware" } else { "" };
    vec![section.name.clone(), section.info.clone().unwrap_or_default(), mark.to_owned()]
}

fn title(product: &Product) -> String {
    let version = product.full_version.as_ref().or(product.version.as_ref());
    let mut title = product.name.clone().unwrap_or_default();
    if let Some(version) = version {
        title.push_str(&format!(" {version}"));
    }
    if let Some(vendor) = &product.vendor {
        title.push_str(&format!(", {vendor}"));
    }
    title
}

fn about(overview: &Overview, signature: Option<&Signature>) -> String {
    let form = if overview.is_ova() { "OVA" } else { "folder" };
    let size = overview.size_bytes().map(format::size);
    let size = size.unwrap_or_else(|| "unknown size".to_owned());
    let there = |is_there: bool, what: &str| match (is_there, overview.is_whole()) {
        (true, _) => format!("a {what}"),
        (false, true) => format!("no {what}"),
        (false, false) => format!("no {what} before the first file"),
    };
    let manifest = there(overview.manifest().is_some(), "manifest");
    let mut certificate = there(overview.has_certificate(), "certificate");
    if overview.has_certificate() && signature.is_none() {
        certificate.push_str(" (not checked)");
    }
    format!("{}: {form} of {size}, {manifest}, {certificate}", overview.location())
}

/// A heading, and a table below it; nothing for no rows.
pub(super) fn section(console: &Console, heading: &str, rows: Vec<Vec<String>>, right: &[usize]) {
    if rows.is_empty() {
        return;
    }
    console.data(heading);
    let printable = |row: Vec<String>| row.iter().map(|cell| format::printable(cell)).collect();
    let rows: Vec<Vec<String>> = rows.into_iter().map(printable).collect();
    for line in format::table(&rows, right) {
        console.data(line);
    }
}

fn collection_row(collection: &VirtualSystemCollection) -> Vec<String> {
    let name = collection.name.clone().unwrap_or_default();
    vec![collection.id.clone(), name, format::count(collection.startup.len() as u64, "start item")]
}

fn startup_row(item: &StartupItem) -> Vec<String> {
    let wait = item.start_delay_s.map(|seconds| format!("then {seconds} s"));
    let guest = if item.waits_for_guest { "or until its guest is ready" } else { "" };
    vec![
        item.order.to_string(),
        item.id.clone(),
        item.start_action.clone().unwrap_or_default(),
        wait.unwrap_or_default(),
        guest.to_owned(),
    ]
}

fn machine_row(machine: &Machine<'_>) -> Vec<String> {
    vec![
        machine.label().to_owned(),
        machine.cpus().map(|cpus| format::count(cpus, "CPU")).unwrap_or_default(),
        machine.memory_bytes().map(format::size).unwrap_or_default(),
        machine.os().unwrap_or_default().to_owned(),
        machine.system.hardware_family().unwrap_or_default().to_owned(),
    ]
}

fn disk_row(disk: &Disk, owner: String, overview: &Overview) -> Vec<String> {
    let file = disk.file_ref().and_then(|id| overview.envelope().file(id));
    let download = match (disk.file_ref(), overview.download_bytes(disk)) {
        (None, _) => "empty".to_owned(),
        (Some(_), Some(bytes)) => format!("{} to download", format::size(bytes)),
        (Some(_), None) => "of unknown size".to_owned(),
    };
    vec![
        disk.id().to_owned(),
        format::size(disk.capacity_bytes()),
        download,
        disk.populated_bytes()
            .map(|bytes| format!("{} used", format::size(bytes)))
            .unwrap_or_default(),
        short_format(disk.format()).to_owned(),
        file.map(|file| file.href().to_string()).unwrap_or_default(),
        owner,
    ]
}

fn property_row(product: &Product, property: &Property) -> Vec<String> {
    let value = match (&property.value, property.is_password) {
        (_, true) => "(password)".to_owned(),
        (Some(value), false) => format!("= {value}"),
        (None, false) => String::new(),
    };
    vec![
        product.key_of(property),
        property.kind.clone(),
        value,
        property.label.clone().unwrap_or_default(),
        if property.user_configurable == Some(true) { "" } else { "fixed" }.to_owned(),
    ]
}
