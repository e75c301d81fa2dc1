//! What a descriptor says, and whether a host can run it.

use super::{faults, key_value};
use crate::connection::{Call, LONG_CALL_LIMIT};
use crate::error::VimError;
use crate::fault::Fault;
use crate::session::Session;
use crate::value::{MoRef, Object, Value};

/// How to read a descriptor (`OvfParseDescriptorParams`, `OvfValidateHostParams`, since 4.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "filled in by the caller with `..default()`")]
pub struct ReadParams {
    /// Language of the texts; empty for the server's own.
    pub locale: String,
    /// Which configuration of the descriptor; empty for its default.
    pub deployment_option: String,
    /// Texts of an external message bundle of the descriptor, by key.
    pub messages: Vec<(String, String)>,
    /// Options of the server (since 5.1); it ignores those it does not know.
    pub import_options: Vec<String>,
}

impl ReadParams {
    fn object(&self, type_name: &'static str) -> Object {
        let messages = self.messages.iter().map(|(key, value)| key_value(key, value));
        Object::new(type_name)
            .with("locale", self.locale.as_str())
            .with("deploymentOption", self.deployment_option.as_str())
            .with_each("msgBundle", messages)
            .with_each("importOption", self.import_options.iter().map(String::as_str))
    }
}

/// What a descriptor says (`OvfParseDescriptorResult`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ParsedDescriptor {
    /// Licences to agree to.
    pub eulas: Vec<String>,
    /// Its networks.
    pub networks: Vec<OvfNetwork>,
    /// `dhcp`, `ovfenv`: how its machines may get addresses.
    pub ip_allocation_schemes: Vec<String>,
    /// `IPv4`, `IPv6`.
    pub ip_protocols: Vec<String>,
    /// What can be set before it starts.
    pub properties: Vec<OvfProperty>,
    /// What it is a package of.
    pub product: Option<ProductInfo>,
    /// Its annotation.
    pub annotation: String,
    /// Bytes to send; about, and `None` if unknown.
    pub download_bytes: Option<u64>,
    /// Bytes on a datastore with disks at full size; about, and `None` if unknown.
    pub flat_bytes: Option<u64>,
    /// Bytes on a datastore with disks that grow; about, and `None` if unknown.
    pub sparse_bytes: Option<u64>,
    /// The name that the machine or vApp gets if none is given.
    pub default_entity_name: String,
    /// Whether it makes a vApp, not a machine.
    pub is_virtual_app: bool,
    /// Its configurations.
    pub deployment_options: Vec<DeploymentOption>,
    /// Key of the configuration that is taken if none is given; empty if there are none.
    pub default_deployment_option: String,
    /// Names of what it makes, by the id in the descriptor (since 4.1).
    pub entity_names: Vec<(String, String)>,
    /// Sections that the server has no type for, as it sent them (since 5.0).
    pub annotated_ost: Option<Value>,
    /// Why it cannot be imported.
    pub errors: Vec<Fault>,
    /// What will not be as it wants it.
    pub warnings: Vec<Fault>,
}

/// A network of a descriptor (`OvfNetworkInfo`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OvfNetwork {
    /// Its name.
    pub name: String,
    /// What the descriptor says about it.
    pub description: String,
}

/// A configuration of a descriptor (`OvfDeploymentOption`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeploymentOption {
    /// Its key.
    pub key: String,
    /// What people call it.
    pub label: String,
    /// What it is for.
    pub description: String,
}

/// Something that can be set before a machine starts (`VAppPropertyInfo`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OvfProperty {
    /// Class of its product section; empty if it has none.
    pub class_id: String,
    /// Its id.
    pub id: String,
    /// Instance of its product section; empty if it has none.
    pub instance_id: String,
    /// Heading to show it under.
    pub category: Option<String>,
    /// What people call it.
    pub label: Option<String>,
    /// Its type, such as `string(..20)`, `ip:VM Network`, `password`.
    pub kind: Option<String>,
    /// What its type refers to, such as a network (since 5.1).
    pub type_reference: Option<String>,
    /// Whether it may be set; servers refuse to set others.
    pub is_user_configurable: Option<bool>,
    /// What it is if it is not set.
    pub default_value: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

impl OvfProperty {
    /// The key of [`ImportSpecParams::property_mappings`]: `[class.]id[.instance]`.
    ///
    /// [`ImportSpecParams::property_mappings`]: super::ImportSpecParams::property_mappings
    #[must_use]
    pub fn key(&self) -> String {
        let parts = [&self.class_id, &self.id, &self.instance_id];
        parts
            .map(String::as_str)
            .into_iter()
            .filter(|p| !p.is_empty())
            .collect::<Vec<_>>()
            .join(".")
    }

    fn from_value(value: &Value) -> Option<Self> {
        let text = |name| value.text_of(name).unwrap_or_default();
        Some(Self {
            class_id: text("classId"),
            id: value.filled_text_of("id")?,
            instance_id: text("instanceId"),
            category: value.filled_text_of("category"),
            label: value.filled_text_of("label"),
            kind: value.filled_text_of("type"),
            type_reference: value.filled_text_of("typeReference"),
            is_user_configurable: value.boolean_of("userConfigurable"),
            default_value: value.filled_text_of("defaultValue"),
            description: value.filled_text_of("description"),
        })
    }
}

/// What a descriptor is a package of (`VAppProductInfo`, since 4.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProductInfo {
    /// Class of the product section; empty if it has none.
    pub class_id: String,
    /// Instance of the product section; empty if it has none.
    pub instance_id: String,
    /// Name of the product.
    pub name: Option<String>,
    /// Who makes it.
    pub vendor: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its version with build.
    pub full_version: Option<String>,
    /// Page of the vendor.
    pub vendor_url: Option<String>,
    /// Page of the product.
    pub product_url: Option<String>,
    /// Page of the running machine, with `${..}` for properties.
    pub app_url: Option<String>,
}

impl ProductInfo {
    fn from_value(value: &Value) -> Self {
        let text = |name| value.text_of(name).unwrap_or_default();
        Self {
            class_id: text("classId"),
            instance_id: text("instanceId"),
            name: value.filled_text_of("name"),
            vendor: value.filled_text_of("vendor"),
            version: value.filled_text_of("version"),
            full_version: value.filled_text_of("fullVersion"),
            vendor_url: value.filled_text_of("vendorUrl"),
            product_url: value.filled_text_of("productUrl"),
            app_url: value.filled_text_of("appUrl"),
        }
    }
}

impl ParsedDescriptor {
    fn from_value(value: &Value) -> Self {
        let text = |name| value.text_of(name).unwrap_or_default();
        let network = |network: &Value| {
            let description = network.text_of("description").unwrap_or_default();
            Some(OvfNetwork { name: network.text_of("name")?, description })
        };
        let option = |option: &Value| {
            Some(DeploymentOption {
                key: option.text_of("key")?,
                label: option.text_of("label").unwrap_or_default(),
                description: option.text_of("description").unwrap_or_default(),
            })
        };
        let name = |pair: &Value| Some((pair.text_of("key")?, pair.text_of("value")?));
        Self {
            eulas: texts(value, "eula"),
            networks: value.each("network").filter_map(network).collect(),
            ip_allocation_schemes: texts(value, "ipAllocationScheme"),
            ip_protocols: texts(value, "ipProtocols"),
            properties: value.each("property").filter_map(OvfProperty::from_value).collect(),
            product: value.field("productInfo").map(ProductInfo::from_value),
            annotation: text("annotation"),
            download_bytes: value.unsigned_of("approximateDownloadSize"),
            flat_bytes: value.unsigned_of("approximateFlatDeploymentSize"),
            sparse_bytes: value.unsigned_of("approximateSparseDeploymentSize"),
            default_entity_name: text("defaultEntityName"),
            is_virtual_app: value.boolean_of("virtualApp").unwrap_or(false),
            deployment_options: value.each("deploymentOption").filter_map(option).collect(),
            default_deployment_option: text("defaultDeploymentOption"),
            entity_names: value.each("entityName").filter_map(name).collect(),
            annotated_ost: value.field("annotatedOst").cloned(),
            errors: faults(value, "error"),
            warnings: faults(value, "warning"),
        }
    }
}

/// Whether a host can run what a descriptor makes (`OvfValidateHostResult`, since 4.0).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ValidatedHost {
    /// Bytes to send; `None` if unknown.
    pub download_bytes: Option<u64>,
    /// Bytes on a datastore with disks at full size; `None` if unknown.
    pub flat_bytes: Option<u64>,
    /// Bytes on a datastore with disks that grow; `None` if unknown.
    pub sparse_bytes: Option<u64>,
    /// Why the host cannot run it.
    pub errors: Vec<Fault>,
    /// What will not be as the descriptor wants it.
    pub warnings: Vec<Fault>,
    /// How disks may be laid out there: `thin`, `thick`, .. (since 4.1).
    pub disk_provisionings: Vec<String>,
}

/// An option of the server (`OvfOptionInfo`, since 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OvfOption {
    /// The word for [`ImportSpecParams::import_options`] or [`DescriptorParams::export_options`].
    ///
    /// [`ImportSpecParams::import_options`]: super::ImportSpecParams::import_options
    /// [`DescriptorParams::export_options`]: super::DescriptorParams::export_options
    pub option: String,
    /// What it does, in the session's language; empty if the server has no text.
    pub description: String,
}

impl OvfOption {
    fn from_value(value: &Value) -> Option<Self> {
        let text = value.at(&["description", "message"]).and_then(Value::text);
        let description = text.map(|text| text.into_owned()).unwrap_or_default();
        Some(Self { option: value.filled_text_of("option")?, description })
    }
}

impl Session {
    /// Asks what a descriptor says.  Creates nothing.  Privilege `System.View`.
    ///
    /// Warnings and errors of the descriptor are part of the result, not an `Err`.
    ///
    /// API: `OvfManager.ParseDescriptor`, since 4.0.
    ///
    /// # Errors
    ///
    /// The faults `InvalidArgument` (not a descriptor) and `VmConfigFault`, among others.
    pub async fn parse_descriptor(
        &self,
        descriptor: &str,
        params: &ReadParams,
    ) -> Result<ParsedDescriptor, VimError> {
        const METHOD: &str = "ParseDescriptor";
        let call = Call::new(self.ovf_manager(METHOD)?, METHOD)
            .with("ovfDescriptor", descriptor)
            .with("pdp", params.object("OvfParseDescriptorParams"))
            .within(LONG_CALL_LIMIT);
        let result = self.connection().call_one(call).await?;
        let result =
            result.ok_or_else(|| self.connection().protocol(METHOD, "the answer is empty"))?;
        Ok(ParsedDescriptor::from_value(&result))
    }

    /// Asks whether a host can run what a descriptor makes.  Creates nothing.  Privilege
    /// `System.View`.
    ///
    /// Warnings and errors are part of the result, not an `Err`.
    ///
    /// API: `OvfManager.ValidateHost`, since 4.0.
    ///
    /// # Errors
    ///
    /// The faults `InvalidArgument` (not a descriptor) and `InvalidState`, among others.
    pub async fn validate_host(
        &self,
        descriptor: &str,
        host: &MoRef,
        params: &ReadParams,
    ) -> Result<ValidatedHost, VimError> {
        const METHOD: &str = "ValidateHost";
        let call = Call::new(self.ovf_manager(METHOD)?, METHOD)
            .with("ovfDescriptor", descriptor)
            .with("host", host)
            .with("vhp", params.object("OvfValidateHostParams"))
            .within(LONG_CALL_LIMIT);
        let result = self.connection().call_one(call).await?;
        let result =
            result.ok_or_else(|| self.connection().protocol(METHOD, "the answer is empty"))?;
        Ok(ValidatedHost {
            download_bytes: result.unsigned_of("downloadSize"),
            flat_bytes: result.unsigned_of("flatDeploymentSize"),
            sparse_bytes: result.unsigned_of("sparseDeploymentSize"),
            errors: faults(&result, "error"),
            warnings: faults(&result, "warning"),
            disk_provisionings: texts(&result, "supportedDiskProvisioning"),
        })
    }

    /// The options that the server knows for imports; empty on servers before 5.1.
    ///
    /// API: `OvfManager.ovfImportOption`, since 5.1.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn ovf_import_options(&self) -> Result<Vec<OvfOption>, VimError> {
        self.ovf_options("ovfImportOption").await
    }

    /// The options that the server knows for exports; empty on servers before 5.1.
    ///
    /// API: `OvfManager.ovfExportOption`, since 5.1.
    ///
    /// # Errors
    ///
    /// Any.
    pub async fn ovf_export_options(&self) -> Result<Vec<OvfOption>, VimError> {
        self.ovf_options("ovfExportOption").await
    }

    async fn ovf_options(&self, list: &str) -> Result<Vec<OvfOption>, VimError> {
        let read = self.read(self.ovf_manager("RetrievePropertiesEx")?, &[list]).await?;
        let options = read.value(list).into_iter().flat_map(Value::items);
        Ok(options.filter_map(OvfOption::from_value).collect())
    }
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    value.each(name).filter_map(|text| Some(text.text()?.into_owned())).collect()
}
