//! A package as an object of the JSON format.

use ovftransfer::Overview;
use ovftransfer::certificate::Signature;
use ovftransfer::envelope::Bound;
use ovftransfer::envelope::Disk;
use ovftransfer::envelope::EnvelopeVersion;
use ovftransfer::envelope::FileRef;
use ovftransfer::envelope::HardwareItem;
use ovftransfer::envelope::Product;
use ovftransfer::envelope::Property;
use ovftransfer::envelope::Setting;
use ovftransfer::envelope::StartupItem;
use ovftransfer::envelope::VirtualSystemCollection;
use serde_json::Value;
use serde_json::json;

use super::hardware::Machine;
use super::hardware::kind;
use crate::signature;

/// The package as the object of the JSON format.
pub(super) fn package(overview: &Overview, signature: Option<&Signature>) -> Value {
    let envelope = overview.envelope();
    let machines = Machine::all(overview);
    let properties = envelope.products().flat_map(|product| {
        product.properties.iter().map(|property| property_object(product, property))
    });
    let texts = |names: Vec<String>| (!names.is_empty()).then_some(names);
    json!({
        "package": overview.location(),
        "form": if overview.is_ova() { "ova" } else { "folder" },
        "descriptor": overview.descriptor().as_str(),
        "ovf": ovf_version(envelope.version()),
        "bytes": overview.size_bytes(),
        "is_whole": overview.is_whole(),
        "has_manifest": known(overview, overview.manifest().is_some()),
        "has_certificate": known(overview, overview.has_certificate()),
        "signature": signature.map(signature::object),
        "missing": texts(overview.missing().map(ToString::to_string).collect()),
        "outside": texts(envelope.outside().to_vec()),
        "products": envelope.products().map(product_object).collect::<Vec<_>>(),
        "collections": collections(overview),
        "machines": machines.iter().map(|machine| machine_object(machine, overview)).collect::<Vec<_>>(),
        "files": envelope.references().iter().map(|file| file_object(file, overview)).collect::<Vec<_>>(),
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
        "sections": list(envelope.vendor_sections().iter().map(|one| json!({
            "name": one.name,
            "namespace": one.namespace,
            "is_required": one.is_required,
            "info": one.info,
        }))),
        "languages": texts(envelope.bundles().iter().filter_map(|one| one.language.clone()).collect()),
    })
}

/// Whether there is something; unknown if it may still come.
fn known(overview: &Overview, is_there: bool) -> Option<bool> {
    (is_there || overview.is_whole()).then_some(is_there)
}

const fn ovf_version(version: EnvelopeVersion) -> Option<&'static str> {
    match version {
        EnvelopeVersion::Draft => Some("0.9"),
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
    let object = |one: &VirtualSystemCollection| {
        json!({
            "id": one.id,
            "name": one.name,
            "collection": one.collection.and_then(|at| collections.get(at)).map(|up| &up.id),
            "startup": list(one.startup.iter().map(startup_object)),
            "resources": list(one.resources.iter().map(amount_object)),
        })
    };
    collections.iter().map(object).collect()
}

fn startup_object(item: &StartupItem) -> Value {
    json!({
        "id": item.id,
        "order": item.order,
        "start_action": item.start_action,
        "start_delay_s": item.start_delay_s,
        "waits_for_guest": item.waits_for_guest,
        "stop_action": item.stop_action,
        "stop_delay_s": item.stop_delay_s,
    })
}

/// A list, if there is anything in it.
fn list(items: impl Iterator<Item = Value>) -> Option<Vec<Value>> {
    Some(items.collect::<Vec<_>>()).filter(|items| !items.is_empty())
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
        "controllers": machine.controllers().map(device_object).collect::<Vec<_>>(),
        "devices": list(machine.devices().map(device_object)),
        "ranges": list(system.ranges().iter().map(amount_object)),
        "transports": Some(system.transports()).filter(|all| !all.is_empty()),
        "settings": list(system.config().iter().map(setting_object)),
        "extra_settings": list(system.extra_config().iter().map(setting_object)),
        "boot_order": list(system.boot_order().iter().map(|one| json!({
            "kind": one.kind,
            "instance": one.instance_id,
        }))),
        "install": system.install().map(|install| json!({
            "initial_boot": install.initial_boot,
            "stop_delay_s": install.stop_delay_s,
        })),
    })
}

/// What is said about the amount of a resource.
fn amount_object(item: &HardwareItem) -> Value {
    let words = [(Bound::Max, "max"), (Bound::Min, "min")];
    let bound = words.iter().find(|(bound, _)| *bound == item.bound()).map(|(_, word)| word);
    json!({
        "resource": item.resource_name(),
        "bound": bound,
        "quantity": item.quantity(),
        "reservation": item.reservation(),
        "limit": item.limit(),
        "units": item.allocation_units(),
        "configuration": item.configuration(),
    })
}

fn setting_object(setting: &Setting) -> Value {
    json!({ "key": setting.key, "value": setting.value, "is_required": setting.is_required })
}

fn device_object(item: &HardwareItem) -> Value {
    json!({
        "name": item.element_name(),
        "kind": kind(item),
        "model": item.resource_sub_type(),
        "description": item.sub_type_name(),
        "address": item.address(),
    })
}

fn file_object(file: &FileRef, overview: &Overview) -> Value {
    json!({
        "id": file.id(),
        "file": file.href().as_str(),
        "bytes": overview.size_of(file.href()),
        "promised_bytes": file.size_bytes(),
        "compression": file.compression(),
        "chunk_bytes": file.chunk_size_bytes(),
    })
}

fn disk_object(disk: &Disk, overview: &Overview) -> Value {
    let file = disk.file_ref().and_then(|id| overview.envelope().file(id));
    json!({
        "id": disk.id(),
        "file": file.map(|file| file.href().as_str()),
        "capacity_bytes": disk.capacity_bytes(),
        "capacity_property": disk.capacity_property(),
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
