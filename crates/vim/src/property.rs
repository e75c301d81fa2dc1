//! Reading properties: one round trip for a whole level of the inventory.

use crate::connection::{Call, Connection};
use crate::error::VimError;
use crate::fault::Fault;
use crate::value::{MoRef, Object, Value};

/// The properties of one object that were asked for and are set.
#[derive(Clone, Debug)]
pub struct Properties {
    object: MoRef,
    set: Vec<(String, Value)>,
    missing: Vec<(String, Fault)>,
}

impl Properties {
    /// Whose properties they are.
    #[must_use]
    pub fn object(&self) -> &MoRef {
        &self.object
    }

    /// The property at `path`; `None` if it is unset or may not be read.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<&Value> {
        self.set.iter().find(|(name, _)| name == path).map(|(_, value)| value)
    }

    /// Text of the property at `path`.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        Some(self.value(path)?.text()?.into_owned())
    }

    /// Reference of the property at `path`.
    #[must_use]
    pub fn moref(&self, path: &str) -> Option<MoRef> {
        self.value(path)?.moref().cloned()
    }

    /// References of the array at `path`.
    #[must_use]
    pub fn morefs(&self, path: &str) -> Vec<MoRef> {
        self.value(path)
            .map(|array| array.items().filter_map(Value::moref).cloned().collect())
            .unwrap_or_default()
    }

    /// Why a property could not be read.
    #[must_use]
    pub fn missing(&self, path: &str) -> Option<&Fault> {
        self.missing.iter().find(|(name, _)| name == path).map(|(_, fault)| fault)
    }

    fn from_value(content: &Value) -> Option<Self> {
        let set = content.each("propSet");
        let missing = content.each("missingSet");
        Some(Self {
            object: content.moref_of("obj")?,
            set: set.filter_map(|p| Some((p.text_of("name")?, p.whole("val")?.clone()))).collect(),
            missing: missing
                .filter_map(|p| Some((p.text_of("path")?, Fault::from_value(p.field("fault")?)?)))
                .collect(),
        })
    }
}

/// Reads `paths` of the one object `object`.
pub(crate) async fn read(
    connection: &Connection,
    collector: &MoRef,
    object: &MoRef,
    paths: &[&str],
) -> Result<Properties, VimError> {
    let spec = filter_spec(object.kind().to_owned(), paths, [object_spec(object)]);
    let found = retrieve(connection, collector, spec).await?;
    let one = found.into_iter().find(|properties| properties.object == *object);
    one.ok_or_else(|| connection.protocol(RETRIEVE, "the answer has not the object asked for"))
}

/// Reads `paths` of every object that the property `edge` of `parent` refers to.  `kind` is the
/// declared type of `parent`, which may be a base type of its own.
pub(crate) async fn read_children(
    connection: &Connection,
    collector: &MoRef,
    parent: &MoRef,
    kind: &str,
    edge: &str,
    paths: &[&str],
) -> Result<Vec<Properties>, VimError> {
    let traversal =
        Object::new("TraversalSpec").with("type", kind).with("path", edge).with("skip", false);
    let start = object_spec(parent).with("skip", true).with_each("selectSet", [traversal]);
    retrieve(connection, collector, filter_spec("ManagedEntity".to_owned(), paths, [start])).await
}

/// Reads `paths` of several objects of one type.
pub(crate) async fn read_each(
    connection: &Connection,
    collector: &MoRef,
    objects: &[MoRef],
    paths: &[&str],
) -> Result<Vec<Properties>, VimError> {
    let Some(first) = objects.first() else { return Ok(Vec::new()) };
    let starts = objects.iter().map(object_spec);
    retrieve(connection, collector, filter_spec(first.kind().to_owned(), paths, starts)).await
}

/// A property of an object that refers to others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge<'a> {
    /// The object.
    pub(crate) parent: &'a MoRef,
    /// The declared type of the object, which may be a base type of its own.
    pub(crate) kind: &'a str,
    /// The property.
    pub(crate) edge: &'a str,
}

/// Reads `paths` of every object of the type `of_type` at the end of `edge`.
pub(crate) async fn read_children_of_type(
    connection: &Connection,
    collector: &MoRef,
    edge: Edge<'_>,
    of_type: &str,
    paths: &[&str],
) -> Result<Vec<Properties>, VimError> {
    let traversal = Object::new("TraversalSpec")
        .with("type", edge.kind)
        .with("path", edge.edge)
        .with("skip", false);
    let start = object_spec(edge.parent).with("skip", true).with_each("selectSet", [traversal]);
    retrieve(connection, collector, filter_spec(of_type.to_owned(), paths, [start])).await
}

/// A `PropertyFilterSpec`: `paths` of every selected object of the type `kind`.
pub(crate) fn filter_spec(
    kind: String,
    paths: &[&str],
    starts: impl IntoIterator<Item = Object>,
) -> Object {
    let properties = Object::declared("PropertySpec")
        .with("type", kind)
        .with_each("pathSet", paths.iter().copied());
    Object::declared("PropertyFilterSpec")
        .with_each("propSet", [properties])
        .with_each("objectSet", starts)
}

/// An `ObjectSpec`: where to begin.
pub(crate) fn object_spec(object: &MoRef) -> Object {
    Object::declared("ObjectSpec").with("obj", object)
}

async fn retrieve(
    connection: &Connection,
    collector: &MoRef,
    spec: Object,
) -> Result<Vec<Properties>, VimError> {
    let options = Object::declared("RetrieveOptions").with("maxObjects", PAGE_OBJECTS);
    let first =
        Call::new(collector, RETRIEVE).with_each("specSet", [spec]).with("options", options);
    let mut page = connection.call_one(first).await?;
    let mut found = Vec::new();
    while let Some(result) = page {
        for content in result.each("objects") {
            let Some(properties) = Properties::from_value(content) else {
                return Err(
                    connection.protocol(RETRIEVE, "the answer has an object without a name")
                );
            };
            // Some servers say so per property instead of refusing the call.
            if properties.missing.iter().any(|(_, fault)| fault.is("NotAuthenticated")) {
                return Err(connection.lost(RETRIEVE));
            }
            found.push(properties);
        }
        if found.len() > OBJECTS_MAX {
            let reason = format!("more than {OBJECTS_MAX} objects at one place");
            return Err(connection.protocol(RETRIEVE, &reason));
        }
        page = match result.filled_text_of("token") {
            Some(token) => {
                let next =
                    Call::new(collector, "ContinueRetrievePropertiesEx").with("token", token);
                connection.call_one(next).await?
            }
            None => None,
        };
    }
    Ok(found)
}

const RETRIEVE: &str = "RetrievePropertiesEx";
/// Objects per page: keeps an answer well below a MiB.
const PAGE_OBJECTS: u32 = 1000;
/// Objects of one level; vCenter supports 45,000 registered machines.
const OBJECTS_MAX: usize = 200_000;
