//! The OVF environment of a machine, for a host that makes none (DSP0243 1.1.0 §11).

use ovftransfer_vim::ovf::OvfProperty;

/// Writes the environment document of the machine `id`: its platform and its properties.
///
/// Every property has a value: that of the request, else the descriptor's default, else none.
pub(super) fn document(
    id: &str,
    platform: &Platform<'_>,
    properties: &[OvfProperty],
    values: &[(String, String)],
) -> String {
    let mut text = format!(
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            "\n",
            r#"<Environment xmlns="{namespace}" xmlns:oe="{namespace}" oe:id="{id}">"#,
            "\n",
            "  <PlatformSection>\n",
            "    <Kind>{kind}</Kind>\n",
            "    <Version>{version}</Version>\n",
            "    <Vendor>{vendor}</Vendor>\n",
            "    <Locale>en</Locale>\n",
            "  </PlatformSection>\n",
            "  <PropertySection>\n",
        ),
        namespace = NAMESPACE,
        id = escaped(id),
        kind = escaped(platform.kind),
        version = escaped(platform.version),
        vendor = escaped(platform.vendor),
    );
    for property in properties {
        let key = property.key();
        let given = values.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str());
        let value = given.or(property.default_value.as_deref()).unwrap_or_default();
        let (key, value) = (escaped(&key), escaped(value));
        text.push_str(&format!("    <Property oe:key=\"{key}\" oe:value=\"{value}\"/>\n"));
    }
    text.push_str("  </PropertySection>\n</Environment>\n");
    text
}

/// What the machine runs on (`PlatformSection`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Platform<'a> {
    pub(super) kind: &'a str,
    pub(super) version: &'a str,
    pub(super) vendor: &'a str,
}

/// A text as it stands in an attribute or an element; what XML 1.0 cannot hold becomes a blank.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // A reader would make blanks of these in an attribute.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The namespace of environment documents.
const NAMESPACE: &str = "http://schemas.dmtf.org/ovf/environment/1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_for_attributes() {
        assert_eq!(escaped("a<b>&\"c\"\n\u{1}ü"), "a&lt;b&gt;&amp;&quot;c&quot;&#10; ü");
    }
}
