//! What can be chosen when a package is imported, as the JSON that govc reads and writes.

use std::collections::BTreeSet;
use std::time::Duration;

use ovftransfer_ovf::Envelope;
use ovftransfer_ovf::envelope::Configuration;
use ovftransfer_ovf::envelope::Product;
use ovftransfer_ovf::envelope::Property;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::import::Import;
use crate::import::NetworkMap;

/// The options of an import in the form of `govc import.spec` and `govc import.ova -options`.
///
/// ```
/// use ovftransfer::{Envelope, ImportSpecOptions};
///
/// let envelope = Envelope::parse(
///     r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
///                  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
///          <NetworkSection><Network ovf:name="lan"/></NetworkSection>
///          <VirtualSystem ovf:id="vm"><ProductSection>
///            <Property ovf:key="dhcp" ovf:type="boolean" ovf:value="true"
///                      ovf:userConfigurable="true"/>
///          </ProductSection></VirtualSystem>
///        </Envelope>"#,
/// )?;
/// let options = ImportSpecOptions::of(&envelope);
/// assert_eq!(options.network_mapping[0].name, "lan");
/// assert_eq!(options.property_mapping[0].value, "True");
/// assert_eq!(ImportSpecOptions::from_json(&options.to_json())?, options);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[serde(default, rename_all = "PascalCase")]
pub struct ImportSpecOptions {
    /// Ids of the package's configurations, the default first.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub all_deployment_options: Vec<String>,
    /// Id of the configuration; empty for the default.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub deployment: String,
    /// What `disk_provisioning` may be.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub all_disk_provisioning_options: Vec<String>,
    /// How disks are provisioned, such as `thin`; empty leaves it to the server.
    #[serde(deserialize_with = "or_default")]
    pub disk_provisioning: String,
    /// What `ip_allocation_policy` may be.
    #[serde(
        deserialize_with = "or_default",
        rename = "AllIPAllocationPolicyOptions",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub all_ip_allocation_policy_options: Vec<String>,
    /// How machines get addresses, such as `dhcpPolicy`; empty leaves it to the server.
    #[serde(deserialize_with = "or_default", rename = "IPAllocationPolicy")]
    pub ip_allocation_policy: String,
    /// What `ip_protocol` may be.
    #[serde(
        deserialize_with = "or_default",
        rename = "AllIPProtocolOptions",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub all_ip_protocol_options: Vec<String>,
    /// `IPv4` or `IPv6`; empty leaves it to the server.
    #[serde(deserialize_with = "or_default", rename = "IPProtocol")]
    pub ip_protocol: String,
    /// Values of properties.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub property_mapping: Vec<PropertyMapping>,
    /// Networks of the server for the package's.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub network_mapping: Vec<NetworkMapping>,
    /// Notes for the new machine; empty for the package's.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub annotation: String,
    /// Whether the new machine becomes a template.
    #[serde(deserialize_with = "or_default")]
    pub mark_as_template: bool,
    /// Whether the new machine is started.
    #[serde(deserialize_with = "or_default")]
    pub power_on: bool,
    /// Whether the new machine gets its properties from us instead of the server, as a bare ESXi
    /// host needs it.
    #[serde(deserialize_with = "or_default")]
    pub inject_ovf_env: bool,
    /// Whether the import ends only when the new machine has an address.
    #[serde(deserialize_with = "or_default", rename = "WaitForIP")]
    pub wait_for_ip: bool,
    /// The name of the new machine; nothing for the package's.
    pub name: Option<String>,
    /// Fields that were read and have no meaning.
    #[serde(skip)]
    unknown: Vec<String>,
}

/// A value for a property of the package.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[serde(default, rename_all = "PascalCase")]
pub struct PropertyMapping {
    /// `[class.]key[.instance]`.
    #[serde(deserialize_with = "or_default")]
    pub key: String,
    /// The value.
    #[serde(deserialize_with = "or_default")]
    pub value: String,
    /// The property in the descriptor, where somebody is going to read it.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub spec: Option<PropertySpec>,
}

/// A property as it stands in the descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "camelCase")]
pub struct PropertySpec {
    /// The key in its product.
    pub key: String,
    /// Its type.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// What its value must be like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qualifiers: Option<String>,
    /// Whether the user may set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_configurable: Option<bool>,
    /// Its value if nobody sets one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether its value is a secret.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub password: bool,
    /// The configurations in which it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A network of the server for one of the package.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkMapping {
    /// The network in the descriptor.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Name, path or id (`Network:network-7`) of the server's; empty leaves it to the server.
    #[serde(deserialize_with = "or_default")]
    pub network: String,
}

/// Which properties of a package are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecScope {
    /// Also those that the descriptor does not let the user set.
    pub hidden: bool,
    /// Also those of a vApp and of the machines in it, which govc leaves out.
    pub nested: bool,
    /// With the lists of what can be chosen, and what the descriptor says about each property.
    pub verbose: bool,
}

/// A text is not the options of an import.
#[derive(Debug, thiserror::Error)]
#[error("not the options of an import: {problem}")]
pub struct SpecError {
    problem: String,
}

impl ImportSpecOptions {
    /// What can be chosen for a package, as `govc import.spec` lists it.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        Self::within(envelope, SpecScope::default())
    }

    /// What can be chosen for a package, with more or with less of its properties.
    #[must_use]
    pub fn within(envelope: &Envelope, scope: SpecScope) -> Self {
        let default = envelope.default_configuration().map(|one| one.id.as_str());
        let deployment = match envelope.configurations().iter().find(|one| one.is_default) {
            // With several defaults, as with none, the first one counts.
            Some(Configuration { id, .. }) => id.clone(),
            None => default.unwrap_or_default().to_owned(),
        };
        // A package of one machine; that of a vApp has its properties in several places.
        let alone = envelope.systems().iter().filter(|system| system.collection().is_none());
        let annotation = alone.clone().find_map(|system| system.annotation());
        let products: Vec<&Product> = if scope.nested {
            envelope.products().collect()
        } else {
            alone.clone().flat_map(|system| system.products()).collect()
        };
        let network = |network: &ovftransfer_ovf::envelope::Network| {
            let name = network.name().to_owned();
            NetworkMapping { name, network: String::new() }
        };
        let mut options = Self {
            deployment,
            disk_provisioning: DISK_PROVISIONING_DEFAULT.to_owned(),
            ip_allocation_policy: IP_ALLOCATION_POLICIES[0].to_owned(),
            ip_protocol: IP_PROTOCOLS[0].to_owned(),
            property_mapping: properties(&products, scope),
            network_mapping: envelope.networks().iter().map(network).collect(),
            annotation: annotation.unwrap_or_default().to_owned(),
            ..Self::default()
        };
        if scope.verbose {
            let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            options.all_deployment_options = configurations(envelope);
            options.all_disk_provisioning_options = owned(&DISK_PROVISIONINGS);
            options.all_ip_allocation_policy_options = owned(&IP_ALLOCATION_POLICIES);
            options.all_ip_protocol_options = owned(&IP_PROTOCOLS);
        }
        options
    }

    /// Reads what `govc import.spec`, this type, or a person has written.  Case of names does not
    /// matter, `null` is the default, and what has no meaning is passed over and
    /// [named](Self::unknown).
    ///
    /// # Errors
    ///
    /// [`SpecError`] if it is not JSON, or a field has a value of another type.
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        let wrong = |error: serde_json::Error| SpecError { problem: error.to_string() };
        let text = text.trim_start_matches('\u{feff}');
        let value: Value = serde_json::from_str(text).map_err(wrong)?;
        let Value::Object(object) = value else {
            return Err(SpecError { problem: "expected a JSON object".to_owned() });
        };
        let mut unknown = BTreeSet::new();
        let mut object = with_exact_names(object, &FIELDS, "", &mut unknown);
        for (list, fields) in
            [("PropertyMapping", &PROPERTY_FIELDS[..]), ("NetworkMapping", &NETWORK_FIELDS)]
        {
            let Some(Value::Array(items)) = object.get_mut(list) else { continue };
            for item in items {
                if let Value::Object(fields_found) = item {
                    let found = std::mem::take(fields_found);
                    *fields_found = with_exact_names(found, fields, list, &mut unknown);
                }
            }
        }
        let mut options: Self = serde_json::from_value(Value::Object(object)).map_err(wrong)?;
        options.unknown = unknown.into_iter().collect();
        Ok(options)
    }

    /// As govc writes it, on several lines.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, booleans and lists of them can always be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Fields that [`from_json`](Self::from_json) has found and that have no meaning.
    #[must_use]
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Fills in what a request leaves open; what it has already stays.
    ///
    /// A network for all networks in the request stays the network for all.
    pub fn fill(&self, request: &mut Import) {
        let or = |there: &mut Option<String>, text: &str| {
            if there.is_none() && !text.is_empty() {
                *there = Some(text.to_owned());
            }
        };
        or(&mut request.name, self.name.as_deref().unwrap_or_default());
        or(&mut request.deployment_option, &self.deployment);
        or(&mut request.disk_provisioning, &self.disk_provisioning);
        or(&mut request.ip_allocation, &self.ip_allocation_policy);
        or(&mut request.ip_protocol, &self.ip_protocol);
        or(&mut request.annotation, &self.annotation);
        request.inject_ovf_env |= self.inject_ovf_env;
        self.fill_afterwards(request);
        for PropertyMapping { key, value, .. } in &self.property_mapping {
            if request.properties.iter().all(|(known, _)| known != key) {
                request.properties.push((key.clone(), value.clone()));
            }
        }
        if request.networks.iter().any(|map| map.ovf.is_none()) {
            return;
        }
        for NetworkMapping { name, network } in &self.network_mapping {
            let is_new = request.networks.iter().all(|map| map.ovf.as_ref() != Some(name));
            if is_new && !network.is_empty() {
                request.networks.push(NetworkMap::new(Some(name.clone()), network));
            }
        }
    }
}

impl ImportSpecOptions {
    /// A template cannot run: as in govc, one that is to be started stays a template.
    fn fill_afterwards(&self, request: &mut Import) {
        request.template |= self.mark_as_template && !request.power_on;
        request.power_on |= self.power_on && !request.template;
        if self.wait_for_ip && request.power_on && request.wait_for_ip.is_none() {
            request.wait_for_ip = Some(WAIT_FOR_IP);
        }
    }
}

/// Ids of the configurations, the default first.
fn configurations(envelope: &Envelope) -> Vec<String> {
    let (defaults, others): (Vec<&Configuration>, Vec<&Configuration>) =
        envelope.configurations().iter().partition(|one| one.is_default);
    defaults.into_iter().chain(others).map(|one| one.id.clone()).collect()
}

fn properties(products: &[&Product], scope: SpecScope) -> Vec<PropertyMapping> {
    let mut mapping = Vec::new();
    for product in products {
        for property in &product.properties {
            // A property that says nothing about it is not for the user at all.
            if property.user_configurable == Some(true)
                || (scope.hidden && property.user_configurable == Some(false))
            {
                mapping.push(PropertyMapping {
                    key: product.key_of(property),
                    value: default_of(property),
                    spec: scope.verbose.then(|| PropertySpec::of(property)),
                });
            }
        }
    }
    mapping
}

/// The default of a property; vSphere takes booleans as `True` and `False` only.
fn default_of(property: &Property) -> String {
    let value = property.value.clone().unwrap_or_default();
    let mut letters = value.chars();
    match letters.next() {
        Some(first) if property.kind == "boolean" => {
            first.to_uppercase().collect::<String>() + &letters.as_str().to_lowercase()
        }
        _ => value,
    }
}

impl PropertySpec {
    fn of(property: &Property) -> Self {
        Self {
            key: property.key.clone(),
            kind: property.kind.clone(),
            qualifiers: property.qualifiers.clone(),
            user_configurable: property.user_configurable,
            default: property.value.clone(),
            password: property.is_password,
            configuration: property.configuration.clone(),
            label: property.label.clone(),
            description: property.description.clone(),
        }
    }
}

/// The fields under their exact names; those that are not known are noted and left out.
fn with_exact_names(
    object: Map<String, Value>,
    known: &[&str],
    within: &str,
    unknown: &mut BTreeSet<String>,
) -> Map<String, Value> {
    let mut exact = Map::new();
    for (name, value) in object {
        match known.iter().find(|known| known.eq_ignore_ascii_case(&name)) {
            Some(known) => {
                exact.insert((*known).to_owned(), value);
            }
            None if within.is_empty() => {
                unknown.insert(name);
            }
            None => {
                unknown.insert(format!("{within}.{name}"));
            }
        }
    }
    exact
}

/// `null` is the default, as in Go.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// How long an address is waited for: govc waits for ever, which helps nobody.  A guest that
/// configures itself at its first start needs minutes.
const WAIT_FOR_IP: Duration = Duration::from_secs(600);

/// The default of `DiskProvisioning`.
const DISK_PROVISIONING_DEFAULT: &str = "flat";

/// Values of `OvfCreateImportSpecParamsDiskProvisioningType`.
const DISK_PROVISIONINGS: [&str; 10] = [
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "thin",
    "thick",
    "seSparse",
    "eagerZeroedThick",
    "sparse",
    "flat",
];

/// Values of `VAppIPAssignmentInfoIpAllocationPolicy`, the default first.
const IP_ALLOCATION_POLICIES: [&str; 4] =
    ["dhcpPolicy", "transientPolicy", "fixedPolicy", "fixedAllocatedPolicy"];

/// Values of `VAppIPAssignmentInfoProtocols`, the default first.
const IP_PROTOCOLS: [&str; 2] = ["IPv4", "IPv6"];

/// The fields of the options.
const FIELDS: [&str; 16] = [
    "AllDeploymentOptions",
    "Deployment",
    "AllDiskProvisioningOptions",
    "DiskProvisioning",
    "AllIPAllocationPolicyOptions",
    "IPAllocationPolicy",
    "AllIPProtocolOptions",
    "IPProtocol",
    "PropertyMapping",
    "NetworkMapping",
    "Annotation",
    "MarkAsTemplate",
    "PowerOn",
    "InjectOvfEnv",
    "WaitForIP",
    "Name",
];

/// The fields of a property.
const PROPERTY_FIELDS: [&str; 3] = ["Key", "Value", "Spec"];

/// The fields of a network.
const NETWORK_FIELDS: [&str; 2] = ["Name", "Network"];
