//! The SOAP wire: reads a request, writes an answer.
//!
//! Strict where a real server is: the request's version must be named, fields must come in the
//! order of the schema, types must fit where they stand.

mod decode;
mod element;
mod encode;

use serde_json::Value;

use crate::fault::Fault;
use crate::object::Moref;
use crate::scenario::ApiVersion;
use crate::types;
pub(crate) use element::Element;

/// A call that was read from SOAP.
#[derive(Debug)]
pub(crate) struct Call {
    /// Name of the method.
    pub(crate) method: String,
    /// The object it is called on.
    pub(crate) this: Moref,
    /// The parameters, by name.
    pub(crate) arguments: Value,
}

/// Reads the body of a request.
///
/// `action` is the header `SOAPAction`.
///
/// # Errors
///
/// A fault that says what is wrong with the request.
pub(crate) fn read(action: Option<&str>, body: &[u8]) -> Result<Call, Fault> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Fault::unreadable(format!("the request is not UTF-8: {error}")))?;
    let envelope = Element::parse(text)?;
    if !envelope.is(ENVELOPE_NS, "Envelope") {
        return Err(Fault::unreadable(format!(
            "expected a SOAP envelope, found element tag \"{}\"",
            envelope.name
        )));
    }
    let body = envelope.children.iter().find(|child| child.is(ENVELOPE_NS, "Body"));
    let operation = body.and_then(|body| body.children.first());
    let operation = operation.ok_or_else(|| Fault::unreadable("the SOAP body is empty"))?;
    let version = Version::of(action)?;
    if !SERVED_NS.contains(&operation.namespace.as_str()) {
        return Err(Fault::unreadable(format!(
            "unknown namespace \"{}\" of element tag \"{}\"",
            operation.namespace, operation.name
        )));
    }
    read_operation(operation, version)
}

fn read_operation(operation: &Element, version: Version) -> Result<Call, Fault> {
    let name = operation.name.as_str();
    let this = operation.children.first().filter(|first| first.name == "_this");
    let this = this.ok_or_else(|| {
        Fault::invalid_request(format!("expected element tag \"_this\" first in \"{name}\""))
    })?;
    let this = decode::reference(this)?;
    if version == Version::Oldest && (!OLDEST_METHODS.contains(&name) || this.kind == LEASE) {
        return Err(Fault::invalid_request(format!(
            "The request refers to an unexpected or unknown type: {name} on {}.  Without a version \
             in SOAPAction the oldest one is served.",
            this.kind
        )));
    }
    let parameters = if name == FETCH {
        &decode::FETCH_PARAMETERS[..]
    } else {
        match types::method(name) {
            Some(method) => &method.parameters,
            None => return Err(unknown_method(&this, name)),
        }
    };
    let arguments = decode::fields(&operation.children[1..], parameters, name)?;
    if version == Version::Oldest && arguments.to_string().contains(LEASE) {
        return Err(Fault::invalid_request(
            "The request refers to an unexpected or unknown type: HttpNfcLease is not in the oldest \
             version, which is served without a version in SOAPAction.",
        ));
    }
    Ok(Call { method: name.to_owned(), this, arguments })
}

/// The fault for a method that nobody has.
pub(crate) fn unknown_method(this: &Moref, method: &str) -> Fault {
    Fault::new("MethodNotFound", format!("Unable to resolve method {method} on {}", this.kind))
        .with("receiver", this.value())
        .with("method", method)
}

/// Writes the answer of `method`.
pub(crate) fn answer(method: &str, result: &Value) -> String {
    let kind = match types::method(method) {
        Some(known) => known.result,
        None => types::Kind::ANY,
    };
    let mut out = encode::Writer::new();
    out.open(&format!("{method}Response"), &[("xmlns", "urn:vim25")]);
    out.field("returnval", result, kind);
    out.close(&format!("{method}Response"));
    envelope(&out.finish())
}

/// Writes a fault.
pub(crate) fn fault(fault: &Fault) -> String {
    let mut out = encode::Writer::new();
    out.open("soapenv:Fault", &[]);
    out.leaf("faultcode", &[], "ServerFaultCode");
    out.leaf("faultstring", &[], &fault.message);
    if let Some(detail) = &fault.detail {
        out.open("detail", &[]);
        out.fault_detail(detail, fault.kind());
        out.close("detail");
    }
    out.close("soapenv:Fault");
    envelope(&out.finish())
}

/// Takes the text out of the faults inside `value`.
pub(crate) fn silence(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(silence),
        Value::Object(fields) => {
            if fields.get("_typeName").is_some_and(|name| name == "LocalizedMethodFault") {
                fields.remove("localizedMessage");
            }
            fields.values_mut().for_each(silence);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Reads the result of `method` from an answer, as a client would.
#[cfg(test)]
pub(crate) fn read_answer(method: &str, text: &str) -> Result<Value, Fault> {
    let envelope = Element::parse(text)?;
    let body = envelope.children.iter().find(|child| child.is(ENVELOPE_NS, "Body"));
    let answer = body.and_then(|body| body.children.first());
    let answer = answer.ok_or_else(|| Fault::unreadable("the SOAP body is empty"))?;
    let kind = types::method(method).map_or(types::Kind::ANY, |known| known.result);
    let known = [types::Field { name: "returnval", kind }];
    let mut fields = decode::fields(&answer.children, &known, method)?;
    Ok(fields["returnval"].take())
}

/// Writes the parameters of `method`, as a client would.
#[cfg(test)]
pub(crate) fn write_parameters(method: &str, parameters: &Value) -> String {
    let known = types::method(method).map_or(&decode::FETCH_PARAMETERS[..], |m| &m.parameters);
    let mut out = encode::Writer::new();
    for field in known {
        out.field(field.name, parameters.get(field.name).unwrap_or(&Value::Null), field.kind);
    }
    out.finish()
}

/// The document at `/sdk/vimServiceVersions.xml`.
pub(crate) fn service_versions(version: ApiVersion) -> String {
    let version = version.as_str();
    let mut prior = String::new();
    for version in VERSIONS.into_iter().skip_while(|known| *known != version).skip(1) {
        prior.push_str(&format!("<version>{version}</version>"));
    }
    format!(
        "{PROLOG}<namespaces version=\"1.0\"><namespace><name>urn:vim25</name>\
         <version>{version}</version><priorVersions>{prior}</priorVersions></namespace>\
         <namespace><name>urn:vim2</name><version>2.0</version></namespace></namespaces>"
    )
}

fn envelope(body: &str) -> String {
    format!(
        "{PROLOG}<soapenv:Envelope xmlns:soapenc=\"http://schemas.xmlsoap.org/soap/encoding/\" \
         xmlns:soapenv=\"{ENVELOPE_NS}\" xmlns:xsd=\"{XSD_NS}\" xmlns:xsi=\"{XSI_NS}\">\n\
         <soapenv:Body>\n{body}\n</soapenv:Body>\n</soapenv:Envelope>"
    )
}

/// What the header `SOAPAction` asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    /// The version of this server, or one that it understands as such.
    Current,
    /// Nothing named: the first version of the API.
    Oldest,
}

impl Version {
    fn of(action: Option<&str>) -> Result<Self, Fault> {
        let action = action.unwrap_or_default().trim().trim_matches('"');
        if action.is_empty() {
            return Ok(Self::Oldest);
        }
        let known = SERVED_NS.iter().find_map(|namespace| action.strip_prefix(namespace));
        match known.map(|rest| rest.strip_prefix('/').unwrap_or(rest)) {
            Some("") => Ok(Self::Oldest),
            // Versions that are too new are tolerated, as a real server does.
            Some(version) if version.starts_with(|first: char| first.is_ascii_digit()) => {
                Ok(if version.starts_with("2.") { Self::Oldest } else { Self::Current })
            }
            _ => Err(Fault::unreadable(format!("Unsupported version URI \"{action}\""))),
        }
    }
}

/// Name of the call that every server has and no document mentions: reads one property.
pub(crate) const FETCH: &str = "Fetch";

const LEASE: &str = "HttpNfcLease";

const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

const ENVELOPE_NS: &str = "http://schemas.xmlsoap.org/soap/envelope/";

const XSD_NS: &str = "http://www.w3.org/2001/XMLSchema";

const XSI_NS: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Namespaces of operations.
const SERVED_NS: [&str; 2] = ["urn:vim25", "urn:internalvim25"];

/// Versions of the API, newest first.
const VERSIONS: [&str; 14] = [
    "9.0.0.0", "8.0.3.0", "8.0.2.0", "8.0.1.0", "8.0.0.0", "7.0.3.0", "7.0.2.0", "7.0.1.0",
    "7.0.0.0", "6.7", "6.5", "6.0", "5.5", "5.1",
];

/// What a caller who names no version may call.
const OLDEST_METHODS: [&str; 11] = [
    "CheckForUpdates",
    "CreateFilter",
    "CurrentTime",
    "DestroyPropertyFilter",
    "FindByInventoryPath",
    "FindByUuid",
    "FindChild",
    "Login",
    "Logout",
    "RetrieveProperties",
    "RetrieveServiceContent",
];
