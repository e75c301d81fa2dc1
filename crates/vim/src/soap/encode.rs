//! Calls into envelopes.

use zeroize::Zeroizing;

use super::{EncodeError, NS_ENVELOPE, NS_VIM, NS_XSD, NS_XSI};
use crate::value::{Data, Field, MoRef, Scalar, TypeName, Value};

/// The envelope of a call: `_this` first, then the parameters in their order.
///
/// # Errors
///
/// A text holds a character that XML 1.0 cannot carry.
pub(crate) fn encode(
    this: &MoRef,
    method: &str,
    parameters: &[Field],
) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    let mut out = Writer(Zeroizing::new(String::new()));
    out.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope");
    for (prefix, namespace) in [("soapenv", NS_ENVELOPE), ("xsd", NS_XSD), ("xsi", NS_XSI)] {
        out.raw(&format!(" xmlns:{prefix}=\"{namespace}\""));
    }
    out.raw(&format!("><soapenv:Body><{method} xmlns=\"{NS_VIM}\">"));
    out.moref("_this", this, None)?;
    for field in parameters {
        out.value(&field.name, &field.value)?;
    }
    out.raw(&format!("</{method}></soapenv:Body></soapenv:Envelope>"));
    Ok(Zeroizing::new(std::mem::take(&mut *out.0).into_bytes()))
}

struct Writer(Zeroizing<String>);

impl Writer {
    fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn value(&mut self, name: &str, value: &Value) -> Result<(), EncodeError> {
        let type_name = value.type_name.as_ref();
        match &value.data {
            Data::List(list) => {
                for item in list {
                    self.value(name, item)?;
                }
            }
            Data::MoRef(moref) => self.moref(name, moref, type_name)?,
            Data::Object(fields) => {
                self.start(name, None, type_name)?;
                for field in fields {
                    self.value(&field.name, &field.value)?;
                }
                self.end(name);
            }
            Data::Scalar(scalar) => {
                self.start(name, None, type_name)?;
                match scalar {
                    Scalar::Bool(value) => self.raw(if *value { "true" } else { "false" }),
                    Scalar::Int(value) => self.raw(&value.to_string()),
                    Scalar::Number(value) => self.raw(&value.to_string()),
                    Scalar::Secret(secret) => self.escaped(secret.expose())?,
                    Scalar::Text(text) => self.escaped(text)?,
                }
                self.end(name);
            }
        }
        Ok(())
    }

    fn moref(
        &mut self,
        name: &str,
        moref: &MoRef,
        type_name: Option<&TypeName>,
    ) -> Result<(), EncodeError> {
        self.start(name, Some(moref), type_name)?;
        self.escaped(moref.id())?;
        self.end(name);
        Ok(())
    }

    fn start(
        &mut self,
        name: &str,
        moref: Option<&MoRef>,
        type_name: Option<&TypeName>,
    ) -> Result<(), EncodeError> {
        self.raw("<");
        self.raw(name);
        if let Some(moref) = moref {
            self.attribute("type", "", moref.kind())?;
            if let Some(guid) = &moref.server_guid {
                self.attribute("serverGuid", "", guid)?;
            }
        }
        match type_name {
            Some(TypeName::Vim(type_name)) => self.attribute("xsi:type", "", type_name)?,
            Some(TypeName::Xsd(type_name)) => self.attribute("xsi:type", "xsd:", type_name)?,
            Some(TypeName::Declared(_)) | None => {}
        }
        self.raw(">");
        Ok(())
    }

    fn attribute(&mut self, name: &str, prefix: &str, text: &str) -> Result<(), EncodeError> {
        self.raw(" ");
        self.raw(name);
        self.raw("=\"");
        self.raw(prefix);
        self.escaped(text)?;
        self.raw("\"");
        Ok(())
    }

    fn end(&mut self, name: &str) {
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    fn escaped(&mut self, text: &str) -> Result<(), EncodeError> {
        self.0.reserve(text.len());
        for c in text.chars() {
            match c {
                '&' => self.raw("&amp;"),
                '<' => self.raw("&lt;"),
                '>' => self.raw("&gt;"),
                '"' => self.raw("&quot;"),
                // As it stands a reader would turn it into a line feed.
                '\r' => self.raw("&#13;"),
                '\t' | '\n' => self.0.push(c),
                '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => return Err(EncodeError(c.into())),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}
