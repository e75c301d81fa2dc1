//! Products and their properties: DSP0243 1.1.0 §9.5.

use std::collections::HashSet;

use super::lexical::parse_signed;
use super::package;
use super::package::Names;
use super::qualifiers;
use super::qualifiers::Qualifiers;
use super::report::Code;
use super::report::Report;
use super::tree::Element;
use super::tree::Tree;
use crate::name::shown;

/// Checks every product section that stands in a machine or collection.
pub(super) fn check<'a>(tree: Tree<'a>, names: &Names<'a>, report: &mut Report) {
    for node in tree.contents() {
        let mut products = HashSet::new();
        let mut keys = HashSet::new();
        for product in tree.children(node, "ProductSection") {
            let class = tree.value(product, "class").unwrap_or_default();
            let instance = tree.value(product, "instance").unwrap_or_default();
            let is_again = !products.insert((class, instance));
            // Without a class there is nothing to tell apart.
            if is_again && !class.is_empty() {
                let message = format!(
                    "a second product of the class \"{}\" and instance \"{}\"",
                    shown(class),
                    shown(instance)
                );
                report.add(product, Code::ProductDuplicate, message);
            }
            for icon in tree.children(product, "Icon") {
                if let Some(file) = tree.value(icon, "fileRef")
                    && !names.files.contains_key(file)
                {
                    let message = format!("the file \"{}\" is not in the References", shown(file));
                    report.add(icon, Code::IconFileUnknown, message);
                }
            }
            for node in tree.children(product, "Property") {
                property(tree, node, names, report);
                let Some(key) = tree.value(node, "key") else { continue };
                let configuration = tree.value(node, "configuration").unwrap_or_default();
                if !keys.insert((class, key, instance, configuration)) {
                    let message = format!("a second property \"{}\"", shown(key));
                    report.add(node, Code::PropertyDuplicate, message);
                }
            }
        }
    }
}

fn property<'a>(tree: Tree<'a>, node: Element<'a>, names: &Names<'a>, report: &mut Report) {
    if let Some(key) = tree.value(node, "key").filter(|key| key.contains(['.', ':'])) {
        let message = format!("the key \"{}\" has a full stop or a colon", shown(key));
        report.add(node, Code::PropertyKey, message);
    }
    let kind = kind(tree, node, report).unwrap_or(Kind::Text);
    let found = tree.value(node, "qualifiers").unwrap_or_default();
    let qualifiers = qualifiers::read(found, node, report);
    package::configuration_list(tree, node, names, report);
    if let Some(value) = tree.value(node, "value") {
        self::value(node, kind, &qualifiers, value, report);
    }
    for node in tree.children(node, "Value") {
        package::configuration_list(tree, node, names, report);
        match tree.attribute(node, "value") {
            None => {
                let message = "Value has no \"value\"";
                report.add_in(node, Code::AttributeMissing, "9.5.1", message);
            }
            Some("") => {}
            Some(value) => self::value(node, kind, &qualifiers, value, report),
        }
    }
}

/// What the values of a property are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Boolean,
    Integer { min: i128, max: i128 },
    Real,
    Text,
}

/// The type of a property (DSP0243 1.1.0 Table 6).
fn kind<'a>(tree: Tree<'a>, node: Element<'a>, report: &mut Report) -> Option<Kind> {
    let Some(found) = tree.attribute(node, "type") else {
        report.add_in(node, Code::AttributeMissing, "9.5.1", "Property has no \"type\"");
        return None;
    };
    let word = found.trim();
    let signed = |bits: u32| Kind::Integer { min: -(1 << (bits - 1)), max: (1 << (bits - 1)) - 1 };
    let unsigned = |bits: u32| Kind::Integer { min: 0, max: (1 << bits) - 1 };
    let kind = match word {
        "uint8" => unsigned(8),
        "uint16" => unsigned(16),
        "uint32" => unsigned(32),
        "uint64" => unsigned(64),
        "sint8" => signed(8),
        "sint16" => signed(16),
        "sint32" => signed(32),
        "sint64" => signed(64),
        "string" => Kind::Text,
        "boolean" => Kind::Boolean,
        "real32" | "real64" => Kind::Real,
        _ => {
            let unusual = match word.split(['(', ':']).next().unwrap_or_default().trim_end() {
                "int" => Some(signed(64)),
                "real" => Some(Kind::Real),
                "" | "string" | "password" | "ip" | "expression" | "datetime" | "char16" => {
                    Some(Kind::Text)
                }
                _ => None,
            };
            let code = unusual.map_or(Code::PropertyType, |_| Code::PropertyTypeUnusual);
            let message = format!("OVF has no type \"{}\" of properties", shown(found));
            report.add(node, code, message);
            return unusual;
        }
    };
    Some(kind)
}

fn value(node: Element<'_>, kind: Kind, qualifiers: &Qualifiers, found: &str, report: &mut Report) {
    let text = found.trim();
    // It is the value of another property.
    if text.is_empty() || text.contains("${") {
        return;
    }
    let number = parse_signed(text);
    let is_of_kind = match kind {
        Kind::Text => true,
        Kind::Boolean => {
            ["true", "false", "1", "0"].iter().any(|word| text.eq_ignore_ascii_case(word))
        }
        Kind::Integer { min, max } => number.is_some_and(|number| (min..=max).contains(&number)),
        Kind::Real => text.parse::<f64>().is_ok_and(f64::is_finite),
    };
    if !is_of_kind {
        let kind = match kind {
            Kind::Boolean => "true or false".to_owned(),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Real => "a number".to_owned(),
            Kind::Text => "text".to_owned(),
        };
        let message = format!("the value \"{}\" is not {kind}", shown(found));
        report.add(node, Code::PropertyValue, message);
    } else if let Some(why) = qualifiers.refuse(found, kind == Kind::Text) {
        let message = format!("the value \"{}\" {why}", shown(found));
        report.add(node, Code::PropertyRange, message);
    }
}
