//! `inspect`: what is in a package, and what a machine on a server looks like.

use std::path::Path;

use ovftransfer::Overview;
use ovftransfer::Server;
use ovftransfer::VmFacts;
use ovftransfer::envelope::Disk;
use ovftransfer::envelope::EnvelopeVersion;
use ovftransfer::envelope::HardwareItem;
use ovftransfer::envelope::Product;
use ovftransfer::envelope::Property;
use ovftransfer::envelope::VirtualSystem;
use serde_json::Value;
use serde_json::json;

use crate::args::InspectArgs;
use crate::connection::Connection;
use crate::connection::Root;
use crate::console::Console;
use crate::console::without_nulls;
use crate::environment::Environment;
use crate::exit::Failure;
use crate::format;
use crate::package;
use crate::signals::Interrupts;
use crate::transfer;

pub(crate) async fn run(
    args: InspectArgs,
    environment: &Environment,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let place = args.package.to_string_lossy();
    if place.starts_with("vi://") {
        let connection = Connection::resolve(&place, Root::Vm, &args.connection, environment)?;
        let server = interrupts.race(connection.connect()).await?;
        let outcome = machine(&server, &connection, console, interrupts).await;
        transfer::logout(&server, &outcome, interrupts).await;
        return outcome;
    }
    package::local_only(&args.package)?;
    let overview = interrupts.race(look(&args.package)).await?;
    for warning in overview.warnings() {
        console.object("warning", json!({ "message": warning }));
        console.note(format_args!("warning: {warning}"));
    }
    if console.json {
        console.object("package", without_nulls(package_object(&overview)));
    } else {
        package_text(&overview, console);
    }
    Ok(())
}

/// Looks at a package on a thread that may wait for the file system.
pub(crate) async fn look(path: &Path) -> Result<Overview, Failure> {
    let path = path.to_owned();
    let looking = move || Overview::read(&path).map_err(Failure::from);
    match tokio::task::spawn_blocking(looking).await {
        Ok(looked) => looked,
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

/// A machine, in the configuration of a user who chooses none.
struct Machine<'a> {
    system: &'a VirtualSystem,
    items: Vec<&'a HardwareItem>,
}

impl<'a> Machine<'a> {
    fn all(overview: &'a Overview) -> Vec<Self> {
        let envelope = overview.envelope();
        let configuration = envelope.default_configuration().map(|one| one.id.as_str());
        let systems = envelope.systems().iter();
        systems.map(|system| Self { system, items: system.items_in(configuration) }).collect()
    }

    fn label(&self) -> &'a str {
        self.system.name().unwrap_or(self.system.id())
    }

    fn cpus(&self) -> Option<u64> {
        self.of_type(PROCESSOR).filter_map(HardwareItem::quantity).reduce(u64::saturating_add)
    }

    fn memory_bytes(&self) -> Option<u64> {
        let memory = self.of_type(MEMORY);
        memory.filter_map(HardwareItem::quantity_bytes).reduce(u64::saturating_add)
    }

    fn adapters(&self) -> impl Iterator<Item = &'a HardwareItem> {
        self.of_type(ETHERNET)
    }

    fn disk_ids(&self) -> impl Iterator<Item = &'a str> {
        self.items.iter().flat_map(|item| item.disk_ids())
    }

    fn os(&self) -> Option<&'a str> {
        self.system.os_description().or(self.system.os_type())
    }

    fn of_type(&self, kind: u16) -> impl Iterator<Item = &'a HardwareItem> {
        self.items.iter().copied().filter(move |item| item.resource_type() == kind)
    }
}

/// The package as the object of the JSON format.
fn package_object(overview: &Overview) -> Value {
    let envelope = overview.envelope();
    let machines = Machine::all(overview);
    let properties = envelope.products().flat_map(|product| {
        product.properties.iter().map(|property| property_object(product, property))
    });
    let texts = |names: Vec<String>| (!names.is_empty()).then_some(names);
    json!({
        "package": overview.path().display().to_string(),
        "form": if overview.is_ova() { "ova" } else { "folder" },
        "descriptor": overview.descriptor().as_str(),
        "ovf": ovf_version(envelope.version()),
        "bytes": overview.size_bytes(),
        "has_manifest": overview.manifest().is_some(),
        "has_certificate": overview.has_certificate(),
        "missing": texts(overview.missing().map(ToString::to_string).collect()),
        "outside": texts(envelope.outside().to_vec()),
        "products": envelope.products().map(product_object).collect::<Vec<_>>(),
        "collections": collections(overview),
        "machines": machines.iter().map(|machine| machine_object(machine, overview)).collect::<Vec<_>>(),
        "disks": envelope.disks().iter().map(|disk| disk_object(disk, overview)).collect::<Vec<_>>(),
        "networks": envelope.networks().iter().map(|network| json!({
            "name": network.name(),
            "description": network.description(),
        })).collect::<Vec<_>>(),
        "properties": properties.collect::<Vec<_>>(),
        "configurations": envelope.configurations().iter().map(|one| json!({
            "id": one.id,
            "label": one.label,
            "description": one.description,
            "is_default": envelope.default_configuration().is_some_and(|default| default == one),
        })).collect::<Vec<_>>(),
        "eulas": envelope.eulas().map(|eula| json!({
            "info": eula.info,
            "bytes": eula.license.len(),
        })).collect::<Vec<_>>(),
        "ip_assignment": envelope.ip_assignment().map(|ip| json!({
            "protocols": ip.protocols,
            "schemes": ip.schemes,
        })),
    })
}

const fn ovf_version(version: EnvelopeVersion) -> Option<&'static str> {
    match version {
        EnvelopeVersion::V1 => Some("1"),
        EnvelopeVersion::V2 => Some("2"),
        _ => None,
    }
}

fn product_object(product: &Product) -> Value {
    json!({
        "class": product.class,
        "instance": product.instance,
        "name": product.name,
        "vendor": product.vendor,
        "product_version": product.version,
        "full_version": product.full_version,
        "url": product.product_url,
    })
}

fn collections(overview: &Overview) -> Vec<Value> {
    let collections = overview.envelope().collections();
    let object = |one: &ovftransfer::envelope::VirtualSystemCollection| {
        json!({
            "id": one.id,
            "name": one.name,
            "collection": one.collection.and_then(|at| collections.get(at)).map(|up| &up.id),
        })
    };
    collections.iter().map(object).collect()
}

fn machine_object(machine: &Machine<'_>, overview: &Overview) -> Value {
    let system = machine.system;
    let collections = overview.envelope().collections();
    json!({
        "id": system.id(),
        "name": system.name(),
        "collection": system.collection().and_then(|at| collections.get(at)).map(|up| &up.id),
        "cpus": machine.cpus(),
        "memory_bytes": machine.memory_bytes(),
        "os": system.os_description(),
        "os_type": system.os_type(),
        "hardware": system.hardware_family(),
        "annotation": system.annotation(),
        "disks": machine.disk_ids().collect::<Vec<_>>(),
        "adapters": machine.adapters().map(|adapter| json!({
            "name": adapter.element_name(),
            "adapter": adapter.resource_sub_type(),
            "networks": adapter.connections(),
        })).collect::<Vec<_>>(),
    })
}

fn disk_object(disk: &Disk, overview: &Overview) -> Value {
    let file = disk.file_ref().and_then(|id| overview.envelope().file(id));
    json!({
        "id": disk.id(),
        "file": file.map(|file| file.href().as_str()),
        "capacity_bytes": disk.capacity_bytes(),
        "populated_bytes": disk.populated_bytes(),
        "download_bytes": overview.download_bytes(disk),
        "format": Some(disk.format()).filter(|format| !format.is_empty()),
        "parent": disk.parent_ref(),
    })
}

fn property_object(product: &Product, property: &Property) -> Value {
    let values = property.values.iter().filter_map(|value| {
        let default = shown_value(property, &value.value)?;
        Some(json!({ "configuration": value.configuration.as_ref()?, "default": default }))
    });
    let values: Vec<Value> = values.collect();
    json!({
        "key": product.key_of(property),
        "kind": property.kind,
        "qualifiers": property.qualifiers,
        "default": property.value.as_deref().and_then(|value| shown_value(property, value)),
        "defaults": Some(values).filter(|values| !values.is_empty()),
        "is_user_configurable": property.user_configurable == Some(true),
        "is_password": property.is_password,
        "configuration": property.configuration,
        "category": property.category,
        "label": property.label,
        "description": property.description,
    })
}

/// A value that may be seen: passwords may not.
fn shown_value<'a>(property: &Property, value: &'a str) -> Option<&'a str> {
    (!property.is_password).then_some(value)
}

/// The package for people.
fn package_text(overview: &Overview, console: &Console) {
    let envelope = overview.envelope();
    for product in envelope.products().filter(|product| product.name.is_some()) {
        console.data(format::printable(&title(product)));
    }
    console.data(about(overview));
    let machines = Machine::all(overview);
    let owner = |disk: &Disk| {
        let owners = machines.iter().filter(|machine| machine.disk_ids().any(|id| id == disk.id()));
        owners.map(Machine::label).collect::<Vec<_>>().join(", ")
    };
    let rows = machines.iter().map(machine_row).collect();
    section(console, "machines", rows, &[1, 2]);
    let rows = envelope.disks().iter().map(|disk| disk_row(disk, owner(disk), overview)).collect();
    section(console, "disks", rows, &[1]);
    let rows = envelope.networks().iter().map(|network| {
        vec![network.name().to_owned(), network.description().unwrap_or_default().to_owned()]
    });
    section(console, "networks", rows.collect(), &[]);
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
    let eulas = envelope.eulas().map(|eula| {
        vec![eula.info.clone().unwrap_or_default(), format::size(eula.license.len() as u64)]
    });
    section(console, "licences to agree to", eulas.collect(), &[1]);
    if console.verbose {
        for eula in envelope.eulas() {
            console.data(eula.license.trim());
        }
    }
    let missing = overview.missing().map(|file| vec![file.to_string()]);
    section(console, "missing files", missing.collect(), &[]);
    let outside = envelope.outside().iter().map(|href| vec![href.clone()]);
    section(console, "files outside of the package", outside.collect(), &[]);
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

fn about(overview: &Overview) -> String {
    let form = if overview.is_ova() { "OVA" } else { "folder" };
    let manifest = if overview.manifest().is_some() { "a manifest" } else { "no manifest" };
    let certificate =
        if overview.has_certificate() { "a certificate (not checked)" } else { "no certificate" };
    format!(
        "{}: {form} of {}, {manifest}, {certificate}",
        overview.path().display(),
        format::size(overview.size_bytes())
    )
}

/// A heading, and a table below it; nothing for no rows.
fn section(console: &Console, heading: &str, rows: Vec<Vec<String>>, right: &[usize]) {
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

/// Tells about a machine on a server.
async fn machine(
    server: &Server,
    connection: &Connection,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let facts = async { Ok(server.machine(&connection.path).await?) };
    let facts = interrupts.race(facts).await?;
    if console.json {
        console.object("machine", without_nulls(facts_object(&facts)));
        return Ok(());
    }
    let used = facts.unshared_bytes.map(|bytes| format!(", {} used", format::size(bytes)));
    console.data(format::printable(&format!(
        "{} ({}): {}{}",
        facts.name,
        facts.vm,
        facts.power_state.word(),
        used.unwrap_or_default()
    )));
    let disks = facts.disks.iter().map(|disk| {
        vec![
            disk.label.clone(),
            format::size(disk.capacity_bytes),
            disk.slot.clone().unwrap_or_default(),
        ]
    });
    section(console, "disks", disks.collect(), &[1]);
    let snapshots = facts.snapshots.iter().map(|snapshot| {
        let mark = if snapshot.is_current { "current" } else { "" };
        vec![snapshot.path.clone(), snapshot.moref.to_string(), mark.to_owned()]
    });
    section(console, "snapshots", snapshots.collect(), &[]);
    Ok(())
}

fn facts_object(facts: &VmFacts) -> Value {
    json!({
        "name": facts.name,
        "moref": facts.vm.to_string(),
        "powerState": facts.power_state.word(),
        "used_bytes": facts.unshared_bytes,
        "disks": facts.disks.iter().map(|disk| json!({
            "label": disk.label,
            "capacity_bytes": disk.capacity_bytes,
            "slot": disk.slot,
        })).collect::<Vec<_>>(),
        "snapshots": facts.snapshots.iter().map(|snapshot| json!({
            "name": snapshot.name,
            "path": snapshot.path,
            "moref": snapshot.moref.to_string(),
            "is_current": snapshot.is_current,
        })).collect::<Vec<_>>(),
    })
}

/// CIM `ResourceType` of a processor.
const PROCESSOR: u16 = 3;

/// CIM `ResourceType` of memory.
const MEMORY: u16 = 4;

/// CIM `ResourceType` of an Ethernet adapter.
const ETHERNET: u16 = 10;
