//! What the server says when it refuses.

use std::fmt;

use crate::secret::redact;
use crate::value::{FAULT_WRAPPER, MoRef, Object, Value};

/// A fault of the API: the refusal of a call, the error of a lease or a task, a warning.
///
/// Reads both forms in which servers send one: wrapped in a `LocalizedMethodFault` (SOAP) and bare
/// (VI JSON), with and without text.  Types that this crate does not know are kept by name.
#[derive(Clone, Debug)]
pub struct Fault {
    type_name: String,
    message: Option<String>,
    cause: Option<Box<Self>>,
    fields: Value,
}

impl Fault {
    /// Reads a fault from inside data.  `None` if `value` has neither a type nor a text.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Self> {
        Self::read(value, 0)
    }

    /// A fault that only this side knows of.
    pub(crate) fn named(type_name: &str, message: Option<&str>) -> Self {
        Self {
            type_name: type_name.to_owned(),
            message: message.map(redact),
            cause: None,
            fields: Object::untyped().into(),
        }
    }

    fn read(value: &Value, depth: usize) -> Option<Self> {
        // A cause in a cause in a cause: the codec bounds it too, this one for our own stack.
        if depth > CAUSES_MAX {
            return None;
        }
        let inner = value.field("fault").filter(|_| is_wrapper(value));
        let outer_text = value.filled_text_of("localizedMessage");
        let mut fault = match inner {
            Some(inner) => Self::read(inner, depth).unwrap_or_else(|| Self::named(UNNAMED, None)),
            None => Self::bare(value, depth)?,
        };
        if let Some(text) = outer_text {
            fault.message = Some(redact(&text));
        }
        Some(fault)
    }

    fn bare(value: &Value, depth: usize) -> Option<Self> {
        let message = value
            .filled_text_of("faultstring")
            .or_else(|| value.each("faultMessage").find_map(|m| m.filled_text_of("message")));
        let type_name = match value.type_name() {
            // What a widely used simulator calls it.
            Some("SystemErrorFault") => "SystemError",
            Some(name) => name,
            None if message.is_some() || !value.fields().is_empty() => UNNAMED,
            None => return None,
        };
        Some(Self {
            type_name: type_name.to_owned(),
            message: message.map(|text| redact(&text)),
            cause: value
                .field("faultCause")
                .and_then(|cause| Self::read(cause, depth + 1))
                .map(Box::new),
            fields: value.clone(),
        })
    }

    pub(crate) fn with_message(mut self, text: &str) -> Self {
        if !text.trim().is_empty() {
            self.message = Some(redact(text.trim()));
        }
        self
    }

    pub(crate) fn with_type_name(mut self, type_name: &str) -> Self {
        type_name.clone_into(&mut self.type_name);
        self
    }

    /// The name of its type: `InvalidLogin`, `FileAlreadyExists`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Whether its type is `type_name`, or a sub-type of it that this crate knows.
    #[must_use]
    pub fn is(&self, type_name: &str) -> bool {
        let mut name = self.type_name.as_str();
        loop {
            if name == type_name {
                return true;
            }
            match PARENTS.iter().find(|(child, _)| *child == name) {
                Some((_, parent)) => name = parent,
                None => return false,
            }
        }
    }

    /// The server's text for people, in the session's language.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The fault behind this one.
    #[must_use]
    pub fn cause(&self) -> Option<&Self> {
        self.cause.as_deref()
    }

    /// The file a `FileFault` is about.
    #[must_use]
    pub fn file(&self) -> Option<String> {
        self.fields.filled_text_of("file")
    }

    /// The name a `DuplicateName`, `InvalidName`, `InvalidDatastore` or `InvalidProperty` is about.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.fields.filled_text_of("name")
    }

    /// The reason a `SystemError` gives.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.fields.filled_text_of("reason").map(|text| redact(&text))
    }

    /// The parameter an `InvalidArgument` is about.
    #[must_use]
    pub fn invalid_property(&self) -> Option<String> {
        self.fields.filled_text_of("invalidProperty")
    }

    /// The privilege a `NoPermission` misses.
    #[must_use]
    pub fn privilege(&self) -> Option<String> {
        self.fields.filled_text_of("privilegeId")
    }

    /// Every privilege a `NoPermission` misses (since 7.0.3.2; before that at most one).
    #[must_use]
    pub fn missing_privileges(&self) -> Vec<String> {
        let entities = self.fields.each("missingPrivileges");
        let mut ids: Vec<String> = entities
            .flat_map(|entity| entity.each("privilegeIds"))
            .filter_map(|id| Some(id.text()?.into_owned()))
            .collect();
        if ids.is_empty() {
            ids.extend(self.privilege());
        }
        ids
    }

    /// The object it is about: that of a `NoPermission`, `ManagedObjectNotFound`, `DuplicateName`.
    #[must_use]
    pub fn object(&self) -> Option<MoRef> {
        self.fields.moref_of("object").or_else(|| self.fields.moref_of("obj"))
    }

    /// All of it, for what has no accessor here.
    #[must_use]
    pub fn fields(&self) -> &Value {
        &self.fields
    }

    /// What says most about a fault without text.
    fn detail(&self) -> Option<String> {
        self.reason()
            .or_else(|| self.file())
            .or_else(|| self.name())
            .or_else(|| self.invalid_property())
            .or_else(|| Some(self.missing_privileges().join(", ")).filter(|ids| !ids.is_empty()))
    }
}

impl fmt::Display for Fault {
    /// `Type: text (cause: ..)`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.type_name)?;
        if let Some(message) = &self.message {
            write!(f, ": {}", one_line(message))?;
        }
        // The text of a fault rarely names what the fault is about.
        if let Some(detail) = self.detail()
            && !self.message.as_deref().is_some_and(|message| message.contains(&detail))
        {
            write!(f, ": {}", one_line(&detail))?;
        }
        match &self.cause {
            Some(cause) => write!(f, " (cause: {cause})"),
            None => Ok(()),
        }
    }
}

fn is_wrapper(value: &Value) -> bool {
    match value.type_name() {
        Some(name) => name == FAULT_WRAPPER,
        None => true,
    }
}

/// `text` with line breaks and control characters as spaces: it goes to terminals and logs.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// The base of all faults; stands for one that did not say its type.
const UNNAMED: &str = "MethodFault";
/// Real chains have two or three links.
const CAUSES_MAX: usize = 16;
/// Sub-types that decide what we do, with their parents (`protocol` section 1.3).
const PARENTS: [(&str, &str); 20] = [
    ("CannotAccessFile", "FileFault"),
    ("CannotCreateFile", "FileFault"),
    ("FileAlreadyExists", "FileFault"),
    ("FileFault", "VimFault"),
    ("FileLocked", "FileFault"),
    ("FileNotFound", "FileFault"),
    ("HostNotConnected", "HostCommunication"),
    ("HostNotReachable", "HostCommunication"),
    ("InvalidPowerState", "InvalidState"),
    ("InvalidState", "VimFault"),
    ("InvalidType", "InvalidRequest"),
    ("MethodNotFound", "InvalidRequest"),
    ("NoDiskSpace", "FileFault"),
    ("NoPermission", "SecurityError"),
    ("NotAuthenticated", "NoPermission"),
    ("OvfImport", "OvfFault"),
    ("OvfUnsupportedDiskProvisioning", "OvfImport"),
    ("RestrictedVersion", "SecurityError"),
    ("SSLVerifyFault", "HostConnectFault"),
    ("Timedout", "VimFault"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_wrapped_and_bare_forms() {
        let bare = Object::new("FileAlreadyExists")
            .with(
                "faultCause",
                Object::new("LocalizedMethodFault")
                    .with("fault", Object::new("SystemError").with("reason", "Platte voll"))
                    .with("localizedMessage", "Ein Fehler"),
            )
            .with("file", "[ds] büro/disk.vmdk");
        let wrapped: Value = Object::untyped()
            .with("fault", bare.clone())
            .with("localizedMessage", "Die Datei gibt es schon")
            .into();
        let fault = Fault::from_value(&wrapped).unwrap();
        assert_eq!(fault.type_name(), "FileAlreadyExists");
        assert!(fault.is("FileFault") && !fault.is("InvalidState"));
        assert_eq!(fault.message(), Some("Die Datei gibt es schon"));
        assert_eq!(fault.file().as_deref(), Some("[ds] büro/disk.vmdk"));
        assert_eq!(
            fault.to_string(),
            "FileAlreadyExists: Die Datei gibt es schon: [ds] büro/disk.vmdk \
             (cause: SystemError: Ein Fehler: Platte voll)"
        );
        let fault = Fault::from_value(&bare.into()).unwrap();
        assert_eq!((fault.type_name(), fault.message()), ("FileAlreadyExists", None));
    }

    #[test]
    fn flat_text_beats_the_list_of_messages() {
        let listed = Object::untyped().with("key", "k").with("message", "from the list");
        let both: Value = Object::new("X")
            .with("faultstring", "flat")
            .with_each("faultMessage", [listed.clone()])
            .into();
        assert_eq!(Fault::from_value(&both).unwrap().message(), Some("flat"));
        let one: Value = Object::new("X").with_each("faultMessage", [listed]).into();
        assert_eq!(Fault::from_value(&one).unwrap().message(), Some("from the list"));
    }

    #[test]
    fn an_object_with_a_field_called_fault_is_not_taken_for_a_wrapper() {
        let missing: Value = Object::new("Odd").with("fault", Object::new("Inner")).into();
        assert_eq!(Fault::from_value(&missing).unwrap().type_name(), "Odd");
    }

    #[test]
    fn nothing_is_no_fault() {
        assert!(Fault::from_value(&Value::from("")).is_none());
        assert!(Fault::from_value(&Object::untyped().into()).is_none());
    }

    #[test]
    fn session_keys_and_line_breaks_are_not_printed() {
        let fault = Fault::named("SystemError", Some("no session[52abc]77\nsecond\u{1b}[2J"));
        assert_eq!(fault.to_string(), "SystemError: no session[..]77 second [2J");
    }

    #[test]
    fn endless_causes_end() {
        let mut fault = Object::new("A");
        for _ in 0..100 {
            fault = Object::new("A").with("faultCause", fault);
        }
        let fault = Fault::from_value(&fault.into()).unwrap();
        assert_eq!(std::iter::successors(Some(&fault), |f| f.cause()).count(), CAUSES_MAX + 1);
    }
}
