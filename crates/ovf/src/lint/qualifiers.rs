//! Qualifiers of properties, such as `MinLen(1),ValueMap{"a","b"}` (DSP0243 1.1.0 Table 7).

use std::collections::HashSet;

use super::report::Code;
use super::report::Report;
use super::tree::Element;
use crate::name::shown;

/// What the qualifiers of a property ask of its values.
#[derive(Debug, Default)]
pub(super) struct Qualifiers {
    min_len: Option<usize>,
    max_len: Option<usize>,
    min_value: Option<f64>,
    max_value: Option<f64>,
    values: Option<HashSet<String>>,
}

impl Qualifiers {
    /// Why a value is refused, in the rest of a sentence.
    pub(super) fn refuse(&self, value: &str, is_text: bool) -> Option<String> {
        let chars = value.chars().count();
        if let Some(min) = self.min_len.filter(|min| is_text && chars < *min) {
            return Some(format!("is shorter than {min}"));
        }
        if let Some(max) = self.max_len.filter(|max| is_text && chars > *max) {
            return Some(format!("is longer than {max}"));
        }
        let number: Option<f64> = value.trim().parse().ok().filter(|_| !is_text);
        if let (Some(number), Some(min)) = (number, self.min_value)
            && number < min
        {
            return Some(format!("is less than {min}"));
        }
        if let (Some(number), Some(max)) = (number, self.max_value)
            && number > max
        {
            return Some(format!("is more than {max}"));
        }
        let values = self.values.as_ref()?;
        (!values.contains(value.trim())).then(|| "is none of those in its ValueMap".to_owned())
    }
}

/// Reads qualifiers; those that cannot be read are told.
pub(super) fn read(text: &str, node: Element<'_>, report: &mut Report) -> Qualifiers {
    let mut qualifiers = Qualifiers::default();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let Some((name, arguments, after)) = next(rest) else {
            let message = format!("the qualifiers \"{}\" cannot be read", shown(text));
            report.add(node, Code::PropertyQualifier, message);
            return qualifiers;
        };
        if !qualifiers.take(name, &arguments, node, report) {
            let message = format!("{} of \"{}\" is not a number", shown(name), shown(text));
            report.add(node, Code::PropertyQualifier, message);
        }
        // Some write blanks for the comma.
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    let is_empty = |min: Option<usize>, max| min.zip(max).is_some_and(|(min, max)| min > max);
    let values = qualifiers.min_value.zip(qualifiers.max_value);
    if is_empty(qualifiers.min_len, qualifiers.max_len)
        || values.is_some_and(|(min, max)| min > max)
    {
        let message = format!("the qualifiers \"{}\" leave no value", shown(text));
        report.add(node, Code::PropertyQualifier, message);
    }
    qualifiers
}

impl Qualifiers {
    /// Takes one over; false if its argument is not what it must be.
    fn take(
        &mut self,
        name: &str,
        arguments: &[String],
        node: Element<'_>,
        report: &mut Report,
    ) -> bool {
        let first = arguments.first().map(|argument| argument.trim());
        let len = || first.and_then(|text| text.parse::<usize>().ok());
        let value = || first.and_then(|text| text.parse::<f64>().ok()).filter(|v| v.is_finite());
        match name {
            "MinLen" => self.min_len = len(),
            "MaxLen" => self.max_len = len(),
            "MinValue" => self.min_value = value(),
            "MaxValue" => self.max_value = value(),
            "ValueMap" => {
                self.values = Some(arguments.iter().cloned().collect());
                return true;
            }
            _ => {
                if !VMWARE.contains(&name) {
                    let message = format!("the qualifier \"{}\" is unknown", shown(name));
                    report.add(node, Code::PropertyQualifierUnknown, message);
                }
                return true;
            }
        }
        match name {
            "MinLen" | "MaxLen" => len().is_some(),
            _ => value().is_some(),
        }
    }
}

/// The first qualifier: its name, its arguments, and what follows it.
fn next(text: &str) -> Option<(&str, Vec<String>, &str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    let rest = rest.trim_start();
    let close = match rest.chars().next() {
        Some('(') => ')',
        Some('{') => '}',
        None | Some(',') => return Some((name, Vec::new(), rest)),
        Some(c) if is_name(c) => return Some((name, Vec::new(), rest)),
        Some(_) => return None,
    };
    let mut arguments = vec![String::new()];
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        let argument = arguments.last_mut()?;
        match quote {
            Some(_) if is_escaped => {
                argument.push(c);
                is_escaped = false;
            }
            Some(_) if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => argument.push(c),
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == close => {
                let arguments = arguments.iter().map(|text| text.trim().to_owned()).collect();
                return Some((name, arguments, rest.get(at + 1..)?));
            }
            None if c == ',' => arguments.push(String::new()),
            None => argument.push(c),
        }
    }
    None
}

/// Qualifiers of VMware's, by which vSphere fills a value in.
const VMWARE: [&str; 14] = [
    "AutoIp",
    "Dns",
    "DomainName",
    "Gateway",
    "HostPrefix",
    "HttpProxy",
    "Ip",
    "Net",
    "Netmask",
    "Password",
    "SearchPath",
    "Subnet",
    "VimIp",
    "VimNet",
];
