//! Looking at a descriptor without importing it: `ParseDescriptor`, `ValidateHost`, option lists.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::object::Moref;
use crate::ovf::envelope::{Disk, Envelope, FileRef};
use crate::ovf::sections::Sections;
use crate::ovf::{Import, PROVISIONING, existing, faults, text};
use crate::world::World;

/// `OvfManager.ParseDescriptor`.
pub(crate) fn parse_descriptor(arguments: &Value) -> Value {
    let mut result = json!({
        "_typeName": "OvfParseDescriptorResult",
        "annotation": "",
        "defaultEntityName": "",
        "virtualApp": false,
        "defaultDeploymentOption": "",
    });
    let envelope = match Envelope::parse(text(&arguments["ovfDescriptor"])) {
        Ok(envelope) => envelope,
        Err(error) => {
            result["error"] = faults(&[error]);
            return result;
        }
    };
    let parameters = &arguments["pdp"];
    let sections = Sections::read(&envelope, &parameters["msgBundle"]);
    let option = match sections.option(text(&parameters["deploymentOption"])) {
        Ok(option) => option,
        Err(fault) => {
            result["error"] = faults(&[fault]);
            return result;
        }
    };
    let networks = envelope.networks().iter().map(|network| {
        json!({ "name": network.name(), "description": network.description().unwrap_or("") })
    });
    let names = envelope
        .systems()
        .iter()
        .map(|system| json!({ "key": system.id(), "value": system.name().unwrap_or(system.id()) }));
    let (network, names): (Vec<_>, Vec<_>) = (networks.collect(), names.collect());
    let sizes = Sizes::of(&envelope);
    result["eula"] = unless_empty(sections.licences.iter().map(|text| json!(text)).collect());
    result["network"] = unless_empty(network);
    result["property"] = unless_empty(sections.properties(&option));
    result["productInfo"] = sections.product_values().into_iter().next().unwrap_or_default();
    result["annotation"] = json!(sections.annotation);
    result["defaultEntityName"] = json!(sections.name);
    result["approximateDownloadSize"] = json!(sizes.download);
    result["approximateFlatDeploymentSize"] = json!(sizes.flat);
    result["approximateSparseDeploymentSize"] = json!(sizes.sparse);
    result["virtualApp"] = json!(sections.is_collection);
    result["deploymentOption"] = sections.option_values();
    result["defaultDeploymentOption"] = json!(sections.default_option());
    result["entityName"] = unless_empty(names);
    result
}

/// `OvfManager.ValidateHost`.
///
/// # Errors
///
/// `ManagedObjectNotFound` and `InvalidArgument` for the host; what the host cannot take stands in
/// `error` of the result.
pub(crate) fn validate_host(world: &World, arguments: &Value) -> Result<Value, Fault> {
    let host = existing(world, &arguments["host"], "host")?;
    if host.kind != "HostSystem" {
        return Err(Fault::invalid_argument("host"));
    }
    let mut result = json!({
        "_typeName": "OvfValidateHostResult",
        "supportedDiskProvisioning": PROVISIONING,
    });
    let envelope = match Envelope::parse(text(&arguments["ovfDescriptor"])) {
        Ok(envelope) => envelope,
        Err(error) => {
            result["error"] = faults(&[error]);
            return Ok(result);
        }
    };
    let sizes = Sizes::of(&envelope);
    result["downloadSize"] = json!(sizes.download);
    result["flatDeploymentSize"] = json!(sizes.flat);
    result["sparseDeploymentSize"] = json!(sizes.sparse);
    let mut import = Import::new(world, &arguments["vhp"], String::new());
    import.read(&envelope)?;
    // Where the networks go is not this host's business.
    import.warnings.retain(|fault| fault.kind() != "OvfNetworkMappingNotSupported");
    result["warning"] = faults(&import.warnings);
    result["error"] = faults(&import.errors);
    Ok(result)
}

/// `OvfManager.ovfImportOption`: what [`crate::ovf::create_import_spec`] minds.
pub(crate) fn import_options() -> Value {
    let lax = "Hardware that is not supported is left out with a warning";
    json!([option(LAX, lax)])
}

/// `OvfManager.ovfExportOption`: what [`crate::ovf::create_descriptor`] minds.
pub(crate) fn export_options() -> Value {
    json!([
        option(EXTRA_CONFIG, "Include the extra configuration of the machine"),
        option(MAC, "Include the MAC addresses of the network cards"),
        option(NO_DEVICE_SUBTYPES, "Leave out the resource sub-types of drives"),
        option(UUID, "Include the BIOS UUID of the machine"),
    ])
}

/// Shows both lists on the manager.
pub(crate) fn publish(world: &mut World, manager: &Moref) {
    world.objects.set(manager, "ovfImportOption", import_options());
    world.objects.set(manager, "ovfExportOption", export_options());
}

fn option(name: &str, description: &str) -> Value {
    json!({
        "option": name,
        "description": { "key": format!("ovf.option.{name}"), "message": description },
    })
}

/// Sizes that a package takes, in bytes.
struct Sizes {
    /// Files of the package.
    download: u64,
    /// Disks with all their space taken.
    flat: u64,
    /// Disks with only what was written; of one that does not say, all of it.
    sparse: u64,
}

impl Sizes {
    fn of(envelope: &Envelope) -> Self {
        // A descriptor may name sizes whose sum has no number.
        let add = |sum: u64, size: u64| sum.saturating_add(size).min(SIZE_MAX);
        let disks = envelope.disks().iter();
        let sparse = |disk: &Disk| disk.populated_bytes().unwrap_or(disk.capacity_bytes());
        Self {
            download: envelope.references().iter().filter_map(FileRef::size_bytes).fold(0, add),
            flat: disks.clone().map(|disk| disk.capacity_bytes()).fold(0, add),
            sparse: disks.map(sparse).fold(0, add),
        }
    }
}

fn unless_empty(all: Vec<Value>) -> Value {
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}

/// Import option: hardware that nobody knows is a warning.
pub(crate) const LAX: &str = "lax";

/// Export option: the `extraConfig` of the machine goes along.
pub(crate) const EXTRA_CONFIG: &str = "extraconfig";

/// Export option: MAC addresses go along.
pub(crate) const MAC: &str = "mac";

/// Export option: drives do not say of which sub-type they are.
pub(crate) const NO_DEVICE_SUBTYPES: &str = "nodevicesubtypes";

/// Export option: the BIOS UUID of the machine goes along.
pub(crate) const UUID: &str = "uuid";

/// The largest number of the API.
const SIZE_MAX: u64 = i64::MAX as u64;
