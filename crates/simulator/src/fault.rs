//! Faults as the API knows them: a data object and a sentence.

use serde_json::{Value, json};

use crate::object::Moref;

/// What a call failed with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// The `MethodFault` as a data object with `_typeName`; `None` for requests that could not be
    /// read, which real servers answer with text only.
    pub(crate) detail: Option<Value>,
    /// For people.
    pub(crate) message: String,
}

impl Fault {
    /// A fault of the type `kind`.
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { detail: Some(json!({ "_typeName": kind })), message: message.into() }
    }

    /// Sets a field of the fault.
    #[must_use]
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        if let Some(Value::Object(fields)) = &mut self.detail {
            fields.insert(field.to_owned(), value.into());
        }
        self
    }

    /// The request is not understood; there is no typed detail.
    pub(crate) fn unreadable(message: impl Into<String>) -> Self {
        Self { detail: None, message: message.into() }
    }

    /// The request names something that the schema does not have.
    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new("InvalidRequest", message)
    }

    /// There is no such object, or it belongs to another session.
    pub(crate) fn not_found(object: &Moref) -> Self {
        Self::new(
            "ManagedObjectNotFound",
            "The object has already been deleted or has not been completely created",
        )
        .with("obj", object.value())
    }

    /// A parameter has a value that cannot be used.
    pub(crate) fn invalid_argument(property: &str) -> Self {
        Self::new("InvalidArgument", format!("A specified parameter was not correct: {property}"))
            .with("invalidProperty", property)
    }

    /// The object is not in a state that allows the call.
    pub(crate) fn invalid_state() -> Self {
        Self::new("InvalidState", "The operation is not allowed in the current state.")
    }

    /// Another operation holds the object.
    pub(crate) fn task_in_progress(task: &Moref) -> Self {
        Self::new("TaskInProgress", "Operation failed since another task is in progress.")
            .with("task", task.value())
    }

    /// Name of the fault's type, or an empty string.
    pub(crate) fn kind(&self) -> &str {
        let name = self.detail.as_ref().and_then(|detail| detail.get("_typeName"));
        name.and_then(Value::as_str).unwrap_or_default()
    }

    /// As it stands inside data (`LocalizedMethodFault`).
    pub(crate) fn localized(&self) -> Value {
        let detail = self.detail.clone();
        json!({
            "_typeName": "LocalizedMethodFault",
            "fault": detail.unwrap_or_else(|| json!({ "_typeName": "SystemError" })),
            "localizedMessage": self.message,
        })
    }

    /// Reads a `LocalizedMethodFault` that a client sent, or the bare fault.
    pub(crate) fn from_localized(value: &Value) -> Self {
        let fault = value.get("fault").unwrap_or(value).clone();
        let message = value.get("localizedMessage").and_then(Value::as_str).unwrap_or_default();
        Self { detail: Some(fault), message: message.to_owned() }
    }
}
