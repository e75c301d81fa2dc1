//! `OvfManager`: descriptors into import specs, machines into descriptors.  Moves no disk.

mod parse;

use std::fmt;

use crate::connection::{Call, LONG_CALL_LIMIT};
use crate::error::VimError;
use crate::fault::Fault;
use crate::lease::{DeviceKey, ImportKey};
use crate::session::Session;
use crate::value::{MoRef, Object, Value};

pub use parse::{
    DeploymentOption, OvfNetwork, OvfOption, OvfProperty, ParsedDescriptor, ProductInfo,
    ReadParams, ValidatedHost,
};

/// What to make of a descriptor (`OvfCreateImportSpecParams`, since 4.0).
///
/// ```
/// use ovftransfer_vim::ovf::ImportSpecParams;
///
/// let params = ImportSpecParams { entity_name: "web-01".into(), ..ImportSpecParams::default() };
/// assert_eq!(params.locale, "US");
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "filled in by the caller with `..default()`")]
pub struct ImportSpecParams {
    /// Language of the warnings; `US` is what every other client sends.
    pub locale: String,
    /// Which configuration of the descriptor; empty for its default.
    pub deployment_option: String,
    /// Options of the server (since 5.1); it ignores those it does not know.
    pub import_options: Vec<String>,
    /// Name of the new machine or vApp; empty for the descriptor's own.
    pub entity_name: String,
    /// The host that will run it, for hosts with different abilities in one cluster.
    pub host: Option<MoRef>,
    /// Networks of the descriptor, by name, and what they are here.
    pub network_mappings: Vec<(String, MoRef)>,
    /// `dhcpPolicy`, `transientPolicy`, `fixedPolicy` or `fixedAllocatedPolicy`.
    pub ip_allocation_policy: Option<String>,
    /// `IPv4` or `IPv6`.
    pub ip_protocol: Option<String>,
    /// Values of the descriptor's properties; the key is `[class.]id[.instance]`.
    pub property_mappings: Vec<(String, String)>,
    /// `thin`, `thick`, `eagerZeroedThick`, `flat`, .. (since 4.1).
    pub disk_provisioning: Option<String>,
}

impl Default for ImportSpecParams {
    fn default() -> Self {
        Self {
            locale: "US".to_owned(),
            deployment_option: String::new(),
            import_options: Vec::new(),
            entity_name: String::new(),
            host: None,
            network_mappings: Vec::new(),
            ip_allocation_policy: None,
            ip_protocol: None,
            property_mappings: Vec::new(),
            disk_provisioning: None,
        }
    }
}

impl From<&ImportSpecParams> for Object {
    /// Fields of `OvfManagerCommonParams` first, then those of `OvfCreateImportSpecParams`.
    fn from(params: &ImportSpecParams) -> Self {
        let networks = params.network_mappings.iter().map(|(name, network)| {
            let mapping = Self::declared("OvfNetworkMapping").with("name", name.as_str());
            mapping.with("network", network)
        });
        let properties = params.property_mappings.iter().map(|(key, value)| key_value(key, value));
        Self::new("OvfCreateImportSpecParams")
            .with("locale", params.locale.as_str())
            .with("deploymentOption", params.deployment_option.as_str())
            .with_each("importOption", params.import_options.iter().map(String::as_str))
            .with("entityName", params.entity_name.as_str())
            .with_some("hostSystem", params.host.as_ref())
            .with_each("networkMapping", networks)
            .with_some("ipAllocationPolicy", params.ip_allocation_policy.as_deref())
            .with_some("ipProtocol", params.ip_protocol.as_deref())
            .with_each("propertyMapping", properties)
            .with_some("diskProvisioning", params.disk_provisioning.as_deref())
    }
}

/// What the server would make of a descriptor.  Opaque: it goes back as it came.
#[derive(Clone, PartialEq)]
pub struct ImportSpec(Value);

impl ImportSpec {
    /// `VirtualMachineImportSpec` or `VirtualAppImportSpec`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.0.type_name().unwrap_or("ImportSpec")
    }

    /// Name of the machine or vApp it makes.
    #[must_use]
    pub fn entity_name(&self) -> Option<String> {
        let machine = self.0.at(&["configSpec", "name"]).and_then(Value::text);
        machine.map(|name| name.into_owned()).or_else(|| self.0.filled_text_of("name"))
    }

    /// Whether it makes a vApp, not a machine.
    #[must_use]
    pub fn is_vapp(&self) -> bool {
        self.type_name() == "VirtualAppImportSpec"
    }

    /// The same with an annotation of the caller's; `CreateImportSpec` has no parameter for it.
    ///
    /// ```text
    /// VirtualMachineImportSpec  configSpec.annotation
    /// VirtualAppImportSpec      vAppConfigSpec.annotation
    /// ```
    #[must_use]
    pub fn with_annotation(self, text: &str) -> Self {
        let (name, before) = if self.is_vapp() {
            ("vAppConfigSpec", &BEFORE_VAPP_ANNOTATION[..])
        } else {
            ("configSpec", &BEFORE_ANNOTATION[..])
        };
        let Some(config) = self.0.field(name).cloned() else { return self };
        let config = config.with_field("annotation", Value::from(text), before);
        Self(self.0.with_field(name, config, &[]))
    }

    pub(crate) fn value(&self) -> &Value {
        &self.0
    }
}

/// What stands before `annotation` in a `VirtualMachineConfigSpec`.
const BEFORE_ANNOTATION: [&str; 19] = [
    "dynamicType",
    "dynamicProperty",
    "changeVersion",
    "name",
    "version",
    "createDate",
    "uuid",
    "instanceUuid",
    "npivNodeWorldWideName",
    "npivPortWorldWideName",
    "npivWorldWideNameType",
    "npivDesiredNodeWwns",
    "npivDesiredPortWwns",
    "npivTemporaryDisabled",
    "npivOnNonRdmDisks",
    "npivWorldWideNameOp",
    "locationId",
    "guestId",
    "alternateGuestName",
];

/// What stands before `annotation` in a `VAppConfigSpec`: the fields of `VmConfigSpec`, then one.
const BEFORE_VAPP_ANNOTATION: [&str; 11] = [
    "dynamicType",
    "dynamicProperty",
    "product",
    "property",
    "ipAssignment",
    "eula",
    "ovfSection",
    "ovfEnvironmentTransport",
    "installBootRequired",
    "installBootStopDelay",
    "entityConfig",
];

impl fmt::Debug for ImportSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImportSpec({})", self.type_name())
    }
}

/// A file that the import will ask for (`OvfFileItem`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileItem {
    /// Names the device URL that takes it.
    pub import_key: ImportKey,
    /// Where it is, relative to the descriptor.
    pub path: String,
    /// How it is compressed: `gzip`, `bzip2`.
    pub compression: Option<String>,
    /// Size in bytes of its parts, if it is cut into parts.
    pub chunk_bytes: Option<u64>,
    /// Size in bytes as the descriptor says; not to be trusted.
    pub size_bytes: Option<u64>,
    /// What it is: 17 disk, 15 CD or DVD, 14 floppy (CIM `ResourceType`).
    pub cim_type: u16,
    /// Whether it is made (PUT) and not written into a device (POST): images, NVRAM.
    pub is_created: bool,
}

impl FileItem {
    fn from_value(value: &Value) -> Option<Self> {
        Some(Self {
            import_key: ImportKey::new(value.text_of("deviceId")?),
            path: value.text_of("path")?,
            compression: value.filled_text_of("compressionMethod"),
            chunk_bytes: value.unsigned_of("chunkSize").filter(|size| *size > 0),
            size_bytes: value.unsigned_of("size"),
            cim_type: value.int_of("cimType").and_then(|t| u16::try_from(t).ok()).unwrap_or(0),
            is_created: value.boolean_of("create").unwrap_or(false),
        })
    }
}

/// The answer to a descriptor (`OvfCreateImportSpecResult`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportSpecResult {
    /// What would be made; `None` if there are errors.
    pub import_spec: Option<ImportSpec>,
    /// The files it will ask for.
    pub file_items: Vec<FileItem>,
    /// What will not be as the descriptor wants it.
    pub warnings: Vec<Fault>,
    /// Why nothing can be made.
    pub errors: Vec<Fault>,
}

/// A file of an export, for the descriptor (`OvfFile`, since 4.0).
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "filled in by the caller")]
pub struct OvfFile {
    /// The device it came from.
    pub device_key: DeviceKey,
    /// Its name in the package, with `/` between folders.
    pub path: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Capacity of a disk in bytes (since 4.1).
    pub capacity_bytes: Option<u64>,
    /// Bytes of a disk that hold data (since 4.1).
    pub populated_bytes: Option<u64>,
}

/// What the descriptor of an export should say (`OvfCreateDescriptorParams`, since 4.0).
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "filled in by the caller with `..default()`")]
pub struct DescriptorParams {
    /// The files; empty for a descriptor without references.
    pub files: Vec<OvfFile>,
    /// Name of the machine; `None` for its own.
    pub name: Option<String>,
    /// Annotation; `None` for its own.
    pub description: Option<String>,
    /// Whether images in drives are part of the package (since 4.1).
    pub includes_images: Option<bool>,
    /// Options of the server (since 5.1), such as `extraconfig`.
    pub export_options: Vec<String>,
    /// The snapshot that is exported, if one is (since 5.5).
    pub snapshot: Option<MoRef>,
}

impl From<&DescriptorParams> for Object {
    fn from(params: &DescriptorParams) -> Self {
        let files = params.files.iter().map(|file| {
            Self::declared("OvfFile")
                .with("deviceId", file.device_key.as_str())
                .with("path", file.path.as_str())
                .with("size", file.size_bytes)
                .with_some("capacity", file.capacity_bytes)
                .with_some("populatedSize", file.populated_bytes)
        });
        Self::new("OvfCreateDescriptorParams")
            .with_each("ovfFiles", files)
            .with_some("name", params.name.as_deref())
            .with_some("description", params.description.as_deref())
            .with_some("includeImageFiles", params.includes_images)
            .with_each("exportOption", params.export_options.iter().map(String::as_str))
            .with_some("snapshot", params.snapshot.as_ref())
    }
}

/// A descriptor made by the server (`OvfCreateDescriptorResult`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DescriptorResult {
    /// The descriptor; empty if there are errors.
    pub descriptor: String,
    /// What the descriptor cannot express.
    pub warnings: Vec<Fault>,
    /// Why there is none.
    pub errors: Vec<Fault>,
}

impl Session {
    /// Asks what the server would make of a descriptor.  Creates nothing.
    ///
    /// Warnings and errors of the descriptor are part of the result, not an `Err`.
    ///
    /// API: `OvfManager.CreateImportSpec`, since 4.0.
    ///
    /// # Errors
    ///
    /// The faults `InvalidArgument` (not a descriptor), `InvalidDatastore`, `NoPermission`.
    pub async fn create_import_spec(
        &self,
        descriptor: &str,
        pool: &MoRef,
        datastore: &MoRef,
        params: &ImportSpecParams,
    ) -> Result<ImportSpecResult, VimError> {
        const METHOD: &str = "CreateImportSpec";
        let call = Call::new(self.ovf_manager(METHOD)?, METHOD)
            .with("ovfDescriptor", descriptor)
            .with("resourcePool", pool)
            .with("datastore", datastore)
            .with("cisp", Object::from(params))
            .within(LONG_CALL_LIMIT);
        let result = self.connection().call_one(call).await?;
        let result =
            result.ok_or_else(|| self.connection().protocol(METHOD, "the answer is empty"))?;
        let file_items: Option<_> = result.each("fileItem").map(FileItem::from_value).collect();
        Ok(ImportSpecResult {
            import_spec: result.field("importSpec").cloned().map(ImportSpec),
            file_items: file_items.ok_or_else(|| {
                self.connection().protocol(METHOD, "a file item has no device or no path")
            })?,
            warnings: faults(&result, "warning"),
            errors: faults(&result, "error"),
        })
    }

    /// Asks for the descriptor of a machine or vApp.  While the lease is still held.
    ///
    /// Warnings and errors are part of the result, not an `Err`.
    ///
    /// API: `OvfManager.CreateDescriptor`, since 4.0.
    ///
    /// # Errors
    ///
    /// The faults `InvalidState`, `FileFault`, `NoPermission`, among others.
    pub async fn create_descriptor(
        &self,
        entity: &MoRef,
        params: &DescriptorParams,
    ) -> Result<DescriptorResult, VimError> {
        const METHOD: &str = "CreateDescriptor";
        let call = Call::new(self.ovf_manager(METHOD)?, METHOD)
            .with("obj", entity)
            .with("cdp", Object::from(params))
            .within(LONG_CALL_LIMIT);
        let result = self.connection().call_one(call).await?;
        let result =
            result.ok_or_else(|| self.connection().protocol(METHOD, "the answer is empty"))?;
        Ok(DescriptorResult {
            descriptor: result.text_of("ovfDescriptor").unwrap_or_default(),
            warnings: faults(&result, "warning"),
            errors: faults(&result, "error"),
        })
    }

    fn ovf_manager(&self, method: &str) -> Result<&MoRef, VimError> {
        let manager = self.content().ovf_manager.as_ref();
        manager.ok_or_else(|| self.connection().protocol(method, "the server has no OVF manager"))
    }
}

/// A `KeyValue`.
pub(crate) fn key_value(key: &str, value: &str) -> Object {
    Object::declared("KeyValue").with("key", key).with("value", value)
}

fn faults(result: &Value, name: &str) -> Vec<Fault> {
    // An empty element is still a fault: it must not make an error vanish.
    let read = |fault: &Value| {
        Fault::from_value(fault).unwrap_or_else(|| Fault::named("MethodFault", None))
    };
    result.each(name).map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &Value) -> Vec<&str> {
        value.fields().iter().map(|field| field.name.as_ref()).collect()
    }

    #[test]
    fn an_annotation_comes_where_soap_wants_it_and_nothing_else_changes() {
        let config = Object::new("VirtualMachineConfigSpec")
            .with("name", "web")
            .with("guestId", "otherGuest")
            .with("files", Object::untyped())
            .with("numCPUs", 1_u32);
        let spec = Object::new("VirtualMachineImportSpec")
            .with("configSpec", config)
            .with("resPoolEntity", MoRef::new("ResourcePool", "resgroup-8"));
        let spec = ImportSpec(spec.into()).with_annotation("a < b");
        assert_eq!(names(spec.value()), ["configSpec", "resPoolEntity"]);
        let config = spec.value().field("configSpec").unwrap();
        assert_eq!(names(config), ["name", "guestId", "annotation", "files", "numCPUs"]);
        assert_eq!(config.type_name(), Some("VirtualMachineConfigSpec"));
        assert_eq!(config.text_of("annotation").as_deref(), Some("a < b"));
        // One that the descriptor gave is replaced in its place.
        let again = spec.with_annotation("c");
        let config = again.value().field("configSpec").unwrap();
        assert_eq!(names(config), ["name", "guestId", "annotation", "files", "numCPUs"]);
        assert_eq!(config.text_of("annotation").as_deref(), Some("c"));
    }

    #[test]
    fn a_vapp_has_its_annotation_in_its_own_configuration() {
        let config = Object::new("VAppConfigSpec")
            .with_each("entityConfig", [Object::untyped()])
            .with("instanceUuid", "1");
        let spec =
            Object::new("VirtualAppImportSpec").with("name", "app").with("vAppConfigSpec", config);
        let spec = ImportSpec(spec.into()).with_annotation("a");
        let config = spec.value().field("vAppConfigSpec").unwrap();
        assert_eq!(names(config), ["entityConfig", "annotation", "instanceUuid"]);
    }
}
