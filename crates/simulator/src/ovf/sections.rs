//! The sections of a descriptor that make no device: licences, products, deployment options.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::ovf::envelope::Envelope;
use crate::soap::Element;

/// What a descriptor says beside its hardware.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    /// Texts of the licences that the user agrees to.
    pub(crate) licences: Vec<String>,
    /// The ways in which the package can be deployed.
    pub(crate) options: Vec<DeploymentOption>,
    /// What the package holds and what can be set in it.
    pub(crate) products: Vec<Product>,
    /// How the guest learns its properties, such as `com.vmware.guestInfo`.
    pub(crate) transports: Vec<String>,
    /// Whether the outermost content is a collection of machines.
    pub(crate) is_collection: bool,
    /// Name and annotation of the outermost content.
    pub(crate) name: String,
    /// See `name`.
    pub(crate) annotation: String,
}

/// A `Configuration` of the `DeploymentOptionSection`.
#[derive(Debug)]
pub(crate) struct DeploymentOption {
    /// What `deploymentOption` names it by.
    pub(crate) id: String,
    label: String,
    description: String,
    is_default: bool,
}

/// A `ProductSection`.
#[derive(Debug, Default)]
pub(crate) struct Product {
    class: String,
    instance: String,
    texts: BTreeMap<&'static str, String>,
    /// What can be set.
    pub(crate) properties: Vec<Property>,
}

/// A `Property` of a product.
#[derive(Debug, Default)]
pub(crate) struct Property {
    id: String,
    category: String,
    label: String,
    description: String,
    /// Type in the API's notation, such as `string(1..6)`.
    pub(crate) kind: String,
    is_user_configurable: bool,
    /// The deployment options that it is part of; none: all.
    options: Vec<String>,
    default: String,
    /// Values of single deployment options.
    values: BTreeMap<String, String>,
}

impl Sections {
    /// Reads the sections.  `bundle` has texts by message id (`KeyValue`), before the descriptor's.
    pub(crate) fn read(envelope: &Envelope, bundle: &Value) -> Self {
        let mut sections = Self::default();
        let root = envelope.root();
        let messages = Messages::read(root, bundle);
        sections.walk(root, &messages, true);
        let content =
            ["VirtualSystemCollection", "VirtualSystem"].iter().find_map(|name| child(root, name));
        if let Some(content) = content {
            sections.is_collection = content.name == "VirtualSystemCollection";
            sections.name = child(content, "Name")
                .map(|name| messages.text(name))
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| attribute(content, "id").to_owned());
            let annotation = child(content, "AnnotationSection");
            let annotation = annotation.and_then(|section| child(section, "Annotation"));
            sections.annotation = annotation.map(|text| messages.text(text)).unwrap_or_default();
        }
        sections
    }

    /// The sections directly in `element`, without those of the machines in it.
    pub(crate) fn of(element: &Element, messages: &Messages) -> Self {
        let mut sections = Self::default();
        sections.add(element, messages);
        sections
    }

    /// Takes the sections directly in `element`, too.
    pub(crate) fn add(&mut self, element: &Element, messages: &Messages) {
        self.walk(element, messages, false);
    }

    fn walk(&mut self, element: &Element, messages: &Messages, is_deep: bool) {
        for inner in &element.children {
            match inner.name.as_str() {
                "EulaSection" => {
                    let licence = child(inner, "License").map(|text| messages.text(text));
                    self.licences.extend(licence);
                }
                "DeploymentOptionSection" => {
                    let all = inner.children.iter().filter(|one| one.name == "Configuration");
                    self.options.extend(all.map(|one| DeploymentOption::read(one, messages)));
                }
                "ProductSection" => self.products.push(Product::read(inner, messages)),
                "VirtualHardwareSection" => {
                    let all = attribute(inner, "transport").split_whitespace();
                    self.transports.extend(all.map(str::to_owned));
                }
                "VirtualSystem" | "VirtualSystemCollection" if is_deep => {
                    self.walk(inner, messages, true);
                }
                _ => {}
            }
        }
    }

    /// The deployment option that counts when `wanted` was asked for; empty if there is none.
    ///
    /// # Errors
    ///
    /// `OvfInvalidValueConfiguration` for an option that is not in the descriptor.
    pub(crate) fn option(&self, wanted: &str) -> Result<String, Fault> {
        if wanted.is_empty() {
            return Ok(self.default_option().to_owned());
        }
        if self.options.iter().any(|option| option.id == wanted) {
            return Ok(wanted.to_owned());
        }
        Err(Fault::new(
            "OvfInvalidValueConfiguration",
            format!("The deployment option '{wanted}' is not in the OVF descriptor."),
        )
        .with("elementName", "Configuration")
        .with("attributeName", "id")
        .with("value", wanted))
    }

    /// The option that counts if nobody asks for one: the marked one, or else the first.
    pub(crate) fn default_option(&self) -> &str {
        let marked = self.options.iter().find(|option| option.is_default);
        marked.or(self.options.first()).map_or("", |option| &option.id)
    }

    /// `OvfDeploymentOption` of each option.
    pub(crate) fn option_values(&self) -> Value {
        let value = |one: &DeploymentOption| json!({ "key": one.id, "label": one.label, "description": one.description });
        non_empty(self.options.iter().map(value).collect())
    }

    /// `VAppPropertyInfo` of each property under the deployment option `option`.
    pub(crate) fn properties(&self, option: &str) -> Vec<Value> {
        let all = self.products.iter();
        let all = all.flat_map(|product| product.properties.iter().map(move |one| (product, one)));
        let all = all.filter(|(_, property)| property.is_in(option));
        let value = |(key, (product, property)): (usize, (&Product, &Property))| {
            json!({
                "_typeName": "VAppPropertyInfo",
                "key": key,
                "classId": product.class,
                "instanceId": product.instance,
                "id": property.id,
                "category": property.category,
                "label": property.label,
                "type": property.kind,
                "typeReference": "",
                "userConfigurable": property.is_user_configurable,
                "defaultValue": property.values.get(option).unwrap_or(&property.default),
                "value": "",
                "description": property.description,
            })
        };
        all.enumerate().map(value).collect()
    }

    /// `VAppProductInfo` of each product.
    pub(crate) fn product_values(&self) -> Vec<Value> {
        let value = |(key, product): (usize, &Product)| {
            let text = |name: &str| product.texts.get(name).map_or("", String::as_str);
            json!({
                "_typeName": "VAppProductInfo",
                "key": key,
                "classId": product.class,
                "instanceId": product.instance,
                "name": text("Product"),
                "vendor": text("Vendor"),
                "version": text("Version"),
                "fullVersion": text("FullVersion"),
                "vendorUrl": text("VendorUrl"),
                "productUrl": text("ProductUrl"),
                "appUrl": text("AppUrl"),
            })
        };
        self.products.iter().enumerate().map(value).collect()
    }

    /// `VmConfigSpec` with the properties that `mapping` (`KeyValue`) sets; nothing if the
    /// descriptor has none of this.  What is wrong with the mapping goes to `errors`.
    pub(crate) fn config(
        &self,
        option: &str,
        parameters: &Value,
        errors: &mut Vec<Fault>,
    ) -> Value {
        let mut properties = self.properties(option);
        for pair in parameters["propertyMapping"].as_array().into_iter().flatten() {
            let key = pair["key"].as_str().unwrap_or_default();
            let value = pair["value"].as_str().unwrap_or_default();
            let Some(property) = properties.iter_mut().find(|one| qualified_id(one) == key) else {
                errors.push(
                    Fault::new(
                        "OvfInvalidValueReference",
                        format!("The property '{key}' is not in the OVF descriptor."),
                    )
                    .with("elementName", "Property")
                    .with("attributeName", "key")
                    .with("value", key),
                );
                continue;
            };
            let kind = property["type"].as_str().unwrap_or_default();
            if !fits(kind, value) {
                errors.push(
                    Fault::new(
                        "OvfPropertyValue",
                        format!("The value '{value}' of the property '{key}' is no {kind}."),
                    )
                    .with("type", kind)
                    .with("value", value),
                );
            }
            property["value"] = json!(value);
        }
        let products = self.product_values();
        if products.is_empty() && self.licences.is_empty() {
            return Value::Null;
        }
        let add = |info: Value| json!({ "operation": "add", "info": info });
        let policy = &parameters["ipAllocationPolicy"];
        let protocol = &parameters["ipProtocol"];
        json!({
            "_typeName": "VmConfigSpec",
            "product": products.into_iter().map(add).collect::<Value>(),
            "property": non_empty(properties.into_iter().map(add).collect()),
            "ipAssignment": if policy.is_null() && protocol.is_null() { Value::Null } else {
                json!({ "ipAllocationPolicy": policy, "ipProtocol": protocol })
            },
            "eula": non_empty(self.licences.iter().map(|text| json!(text)).collect()),
            "ovfEnvironmentTransport": non_empty(self.transports.iter().map(|one| json!(one)).collect()),
        })
    }
}

impl DeploymentOption {
    fn read(element: &Element, messages: &Messages) -> Self {
        let text =
            |name| child(element, name).map(|inner| messages.text(inner)).unwrap_or_default();
        Self {
            id: attribute(element, "id").to_owned(),
            label: text("Label"),
            description: text("Description"),
            is_default: is_true(attribute(element, "default")),
        }
    }
}

impl Product {
    fn read(element: &Element, messages: &Messages) -> Self {
        let mut product = Self {
            class: attribute(element, "class").to_owned(),
            instance: attribute(element, "instance").to_owned(),
            ..Self::default()
        };
        let mut category = String::new();
        for inner in &element.children {
            match inner.name.as_str() {
                "Category" => category = messages.text(inner),
                "Property" => {
                    product.properties.push(Property::read(inner, messages, &category));
                }
                name => {
                    if let Some(name) = PRODUCT_TEXTS.into_iter().find(|known| *known == name) {
                        product.texts.insert(name, messages.text(inner));
                    }
                }
            }
        }
        product
    }
}

impl Property {
    fn is_in(&self, option: &str) -> bool {
        self.options.is_empty() || self.options.iter().any(|one| one == option)
    }

    fn read(element: &Element, messages: &Messages, category: &str) -> Self {
        let text =
            |name| child(element, name).map(|inner| messages.text(inner)).unwrap_or_default();
        let mut values = BTreeMap::new();
        for value in element.children.iter().filter(|inner| inner.name == "Value") {
            let option = attribute(value, "configuration").to_owned();
            values.insert(option, attribute(value, "value").to_owned());
        }
        let default = values.remove("").unwrap_or_else(|| attribute(element, "value").to_owned());
        Self {
            id: attribute(element, "key").to_owned(),
            category: category.to_owned(),
            label: text("Label"),
            description: text("Description"),
            kind: kind_of(element),
            is_user_configurable: is_true(attribute(element, "userConfigurable")),
            options: attribute(element, "configuration")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            default,
            values,
        }
    }
}

/// Texts by message id.
#[derive(Default)]
pub(crate) struct Messages {
    texts: BTreeMap<String, String>,
}

impl Messages {
    /// Those of the descriptor, and before them those of `bundle` (`KeyValue`).
    pub(crate) fn read(root: &Element, bundle: &Value) -> Self {
        let mut messages = Self::default();
        messages.collect(root);
        for pair in bundle.as_array().into_iter().flatten() {
            let text = |name: &str| pair[name].as_str().unwrap_or_default().to_owned();
            messages.texts.insert(text("key"), text("value"));
        }
        messages
    }

    /// Takes the messages that stand in the descriptor; of several languages the first counts.
    fn collect(&mut self, root: &Element) {
        let strings = root.children.iter().filter(|inner| inner.name == "Strings");
        for message in strings.flat_map(|strings| &strings.children) {
            let id = attribute(message, "msgid").to_owned();
            self.texts.entry(id).or_insert_with(|| message.text.trim().to_owned());
        }
    }

    /// The text of `element`, or the message that it names.
    pub(crate) fn text(&self, element: &Element) -> String {
        let id = attribute(element, "msgid");
        self.texts.get(id).cloned().unwrap_or_else(|| element.text.trim().to_owned())
    }
}

/// Value of each property of a `VmConfigSpec`, set or else the default, by what a mapping calls it.
pub(crate) fn values(config: &Value) -> BTreeMap<String, String> {
    let all = config["property"].as_array().into_iter().flatten();
    let value = |change: &Value| {
        let info = &change["info"];
        let set = ["value", "defaultValue"].iter().filter_map(|name| info[*name].as_str());
        let set = set.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
        (qualified_id(info), set.to_owned())
    };
    all.map(value).collect()
}

/// What a mapping calls a property: `[class.]id[.instance]`.
pub(crate) fn qualified_id(property: &Value) -> String {
    let part = |name: &str| property[name].as_str().unwrap_or_default();
    let (class, instance) = (part("classId"), part("instanceId"));
    let mut id = part("id").to_owned();
    if !class.is_empty() {
        id = format!("{class}.{id}");
    }
    if !instance.is_empty() {
        id = format!("{id}.{instance}");
    }
    id
}

/// The API's notation for the type of a property.
fn kind_of(element: &Element) -> String {
    let kind = attribute(element, "type");
    let of = |namespace_is_vmw: bool| {
        let found = element.attributes.iter().find(|(namespace, name, _)| {
            name == "qualifiers" && namespace.contains("vmware.com") == namespace_is_vmw
        });
        found.map_or("", |(_, _, value)| value.as_str())
    };
    let (qualifiers, vmw) = (of(false), of(true));
    if let Some(choices) = within(qualifiers, "ValueMap{", '}') {
        return format!("string[{choices}]");
    }
    let bounds = |low: &str, high: &str| {
        let bound = |name: &str| within(qualifiers, &format!("{name}("), ')').unwrap_or_default();
        match (bound(low), bound(high)) {
            ("", "") => String::new(),
            (low, high) => format!("({low}..{high})"),
        }
    };
    match kind {
        "boolean" => "boolean".to_owned(),
        "real32" | "real64" => format!("real{}", bounds("MinValue", "MaxValue")),
        kind if kind.starts_with("uint") || kind.starts_with("sint") => {
            format!("int{}", bounds("MinValue", "MaxValue"))
        }
        _ if vmw.starts_with("Ip") => match within(vmw, "Ip(", ')') {
            Some(network) => format!("ip:{}", network.trim_matches('"')),
            None => "ip".to_owned(),
        },
        _ => {
            let is_secret = is_true(attribute(element, "password"));
            let name = if is_secret { "password" } else { "string" };
            format!("{name}{}", bounds("MinLen", "MaxLen"))
        }
    }
}

/// Whether `value` is of the API's type `kind`.
fn fits(kind: &str, value: &str) -> bool {
    let (name, bounds) = match kind.split_once('(') {
        Some((name, bounds)) => (name, bounds.trim_end_matches(')').split_once("..")),
        None => (kind, None),
    };
    let inside = |number: f64| {
        let bound = |text: &str| text.trim().parse::<f64>().ok();
        bounds.is_none_or(|(low, high)| {
            bound(low).is_none_or(|low| number >= low)
                && bound(high).is_none_or(|high| number <= high)
        })
    };
    match name {
        "boolean" => matches!(value.to_ascii_lowercase().as_str(), "true" | "false"),
        "int" => value.parse::<i64>().is_ok() && value.parse().is_ok_and(inside),
        "real" => value.parse().is_ok_and(inside),
        "ip" => value.is_empty() || value.parse::<std::net::IpAddr>().is_ok(),
        "string" | "password" => {
            u32::try_from(value.chars().count()).is_ok_and(|len| inside(f64::from(len)))
        }
        // A choice, in the notation of the descriptor.
        _ => {
            let choices = within(kind, "[", ']').unwrap_or_default();
            !kind.starts_with("string[")
                || choices.split(',').any(|one| one.trim().trim_matches('"') == value)
        }
    }
}

fn within<'a>(text: &'a str, start: &str, end: char) -> Option<&'a str> {
    let rest = &text[text.find(start)? + start.len()..];
    rest.split(end).next()
}

/// The first child with this name, in whatever namespace.
pub(crate) fn child<'a>(element: &'a Element, name: &str) -> Option<&'a Element> {
    element.children.iter().find(|inner| inner.name == name)
}

/// An attribute, whichever version's namespace it is in.
pub(crate) fn attribute<'a>(element: &'a Element, name: &str) -> &'a str {
    let found = element.attributes.iter().find(|(_, local, _)| local == name);
    found.map_or("", |(_, _, value)| value.as_str())
}

fn is_true(text: &str) -> bool {
    matches!(text, "true" | "1")
}

fn non_empty(all: Vec<Value>) -> Value {
    if all.is_empty() { Value::Null } else { Value::Array(all) }
}

/// Children of a `ProductSection` that are shown as they are.
const PRODUCT_TEXTS: [&str; 7] =
    ["Product", "Vendor", "Version", "FullVersion", "VendorUrl", "ProductUrl", "AppUrl"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_judged_by_their_type() {
        for (kind, value) in [
            ("string", "x"),
            ("string(1..6)", "abc"),
            ("string(..6)", ""),
            ("int(10..1000)", "10"),
            ("real(1.0..10.67)", "10.5"),
            ("boolean", "True"),
            ("ip", "10.0.0.1"),
            ("ip:VM Network", "anything"),
            ("string[\"a\", \"b\"]", "b"),
        ] {
            assert!(fits(kind, value), "{kind} {value}");
        }
        for (kind, value) in [
            ("string(1..6)", ""),
            ("string(1..6)", "1234567"),
            ("int(10..1000)", "9"),
            ("int", "1.5"),
            ("real", "x"),
            ("boolean", "yes"),
            ("ip", "10.0.0"),
            ("string[\"a\", \"b\"]", "c"),
        ] {
            assert!(!fits(kind, value), "{kind} {value}");
        }
    }
}
