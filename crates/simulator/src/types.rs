//! What the API says about its own types: names, order and kinds of fields, properties, methods.
//!
//! The table `schema/vim.txt` is read once.  Fields that are not in it do not exist for this
//! server: it refuses them in requests, as a real server does, and never sends them.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Kind of a field, a property, a parameter or a result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Kind {
    /// Name of the type: a primitive (`int`), an enum or a data object.
    pub(crate) name: &'static str,
    /// Whether it repeats.
    pub(crate) array: bool,
    /// Whether it may be missing.
    pub(crate) optional: bool,
}

impl Kind {
    /// `anyType`: whatever stands here names its own type.
    pub(crate) const ANY: Self = Self { name: "anyType", array: false, optional: true };

    /// A reference to a managed object.
    pub(crate) const REFERENCE: Self =
        Self { name: "ManagedObjectReference", array: false, optional: false };

    /// The kind of one element.
    pub(crate) const fn element(self) -> Self {
        Self { array: false, ..self }
    }

    /// Name of the type when it stands where anything may stand: `ArrayOfString`.
    pub(crate) fn boxed_name(self) -> String {
        if !self.array {
            return self.name.to_owned();
        }
        let mut letters = self.name.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        format!("ArrayOf{}{}", first.map(String::from).unwrap_or_default(), letters.as_str())
    }

    fn parse(text: &'static str) -> Self {
        let (text, optional) = text.strip_suffix('?').map_or((text, false), |text| (text, true));
        let (name, array) = text.strip_suffix("[]").map_or((text, false), |text| (text, true));
        Self { name, array, optional }
    }
}

/// A named field, property or parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Its name on both wires.
    pub(crate) name: &'static str,
    /// What stands in it.
    pub(crate) kind: Kind,
}

/// A data object type.
#[derive(Debug)]
pub(crate) struct DataType {
    /// Name of the type.
    pub(crate) name: &'static str,
    base: Option<&'static str>,
    /// Own and inherited fields, the base's first: the order in which SOAP wants them.
    pub(crate) fields: Vec<Field>,
}

impl DataType {
    /// The field `name` and its place in the sequence.
    pub(crate) fn field(&self, name: &str) -> Option<(usize, Field)> {
        self.fields.iter().copied().enumerate().find(|(_, field)| field.name == name)
    }
}

/// A method: its result and its parameters in order.
#[derive(Debug)]
pub(crate) struct Method {
    /// What it returns.
    pub(crate) result: Kind,
    /// What it takes beside the object it is called on.
    pub(crate) parameters: Vec<Field>,
}

/// The kind of one value of XML Schema's own type `name`; `None` for all other types.
pub(crate) fn primitive(name: &str) -> Option<Kind> {
    let name = PRIMITIVES.into_iter().find(|known| *known == name)?;
    Some(Kind { name, array: false, optional: false })
}

/// The kind of the items of `ArrayOf{item}`, such as `String` or `VirtualDevice`.
pub(crate) fn item(item: &str) -> Option<Kind> {
    let mut lower = item.to_owned();
    if let Some(first) = lower.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    match item {
        "AnyType" => Some(Kind::ANY),
        "ManagedObjectReference" => Some(Kind::REFERENCE),
        _ => primitive(&lower).or_else(|| {
            data(item).map(|known| Kind { name: known.name, array: false, optional: false })
        }),
    }
}

/// The data object type `name`.
pub(crate) fn data(name: &str) -> Option<&'static DataType> {
    SCHEMA.data.get(name)
}

/// Kind of the property `name` of managed objects of type `object`.
pub(crate) fn property(object: &str, name: &str) -> Option<Kind> {
    let fields = &SCHEMA.managed.get(object)?.fields;
    fields.iter().find(|field| field.name == name).map(|field| field.kind)
}

/// All properties of managed objects of type `object`.
pub(crate) fn properties(object: &str) -> &'static [Field] {
    SCHEMA.managed.get(object).map_or(&[], |object| &object.fields)
}

/// The method `name`.
pub(crate) fn method(name: &str) -> Option<&'static Method> {
    SCHEMA.methods.get(name)
}

/// Whether `name` is `base` or derives from it, among data objects or among managed objects.
pub(crate) fn is_a(name: &str, base: &str) -> bool {
    let table = if SCHEMA.managed.contains_key(name) { &SCHEMA.managed } else { &SCHEMA.data };
    let mut current = Some(name);
    while let Some(name) = current {
        if name == base {
            return true;
        }
        current = table.get(name).and_then(|found| found.base);
    }
    // Roots that the table does not spell out.
    (base == "ManagedObject" && SCHEMA.managed.contains_key(name))
        || (base == "DynamicData" && SCHEMA.data.contains_key(name))
}

#[derive(Debug)]
struct Schema {
    data: HashMap<&'static str, DataType>,
    managed: HashMap<&'static str, DataType>,
    methods: HashMap<&'static str, Method>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let mut data = HashMap::new();
    let mut managed = HashMap::new();
    let mut methods = HashMap::new();
    let mut section = "";
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let mut words = line.split(' ');
        let head = words.next().unwrap_or_default();
        let (name, base) = head.split_once(':').map_or((head, None), |(n, b)| (n, Some(b)));
        let fields: Vec<Field> = words
            .filter_map(|word| word.split_once('='))
            .map(|(name, kind)| Field { name, kind: Kind::parse(kind) })
            .collect();
        match section {
            "[data]" => {
                data.insert(name, DataType { name, base, fields });
            }
            "[managed]" => {
                managed.insert(name, DataType { name, base, fields });
            }
            _ => {
                let result = Kind::parse(base.unwrap_or("void"));
                methods.insert(name, Method { result, parameters: fields });
            }
        }
    }
    let data = inherit(&data);
    let managed = inherit(&managed);
    Schema { data, managed, methods }
});

/// Puts the fields of all bases before the own ones.
fn inherit(table: &HashMap<&'static str, DataType>) -> HashMap<&'static str, DataType> {
    let mut whole = HashMap::new();
    for (name, own) in table {
        let mut fields = own.fields.clone();
        let mut base = own.base;
        for _ in 0..DEPTH_MAX {
            let Some(above) = base.and_then(|base| table.get(base)) else { break };
            fields.splice(0..0, above.fields.iter().copied());
            base = above.base;
        }
        whole.insert(*name, DataType { name: own.name, base: own.base, fields });
    }
    whole
}

const TABLE: &str = include_str!("../schema/vim.txt");

/// Levels of inheritance; the API's deepest chain (faults) has seven.
const DEPTH_MAX: usize = 16;

const PRIMITIVES: [&str; 10] = [
    "base64Binary",
    "boolean",
    "byte",
    "dateTime",
    "double",
    "float",
    "int",
    "long",
    "short",
    "string",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_base_come_first() {
        let disk = data("VirtualDisk").unwrap();
        assert_eq!(disk.fields[0].name, "key");
        assert!(disk.field("capacityInKB").unwrap().0 > disk.field("unitNumber").unwrap().0);
        let fault = data("TaskInProgress").unwrap();
        assert_eq!(fault.fields.last().unwrap().name, "task");
        assert!(is_a("TaskInProgress", "MethodFault"));
    }

    #[test]
    fn items_of_boxed_arrays_have_a_kind() {
        assert_eq!(item("String").unwrap().name, "string");
        assert_eq!(item("VirtualDevice").unwrap().name, "VirtualDevice");
        assert_eq!(item("AnyType").unwrap(), Kind::ANY);
        assert!(item("VirtualMachinePowerState").is_none());
        assert!(item("").is_none());
    }

    #[test]
    fn kinds_know_arrays_and_optionals() {
        let kind = property("VirtualMachine", "datastore").unwrap();
        assert!(kind.array);
        assert_eq!(kind.boxed_name(), "ArrayOfManagedObjectReference");
        assert_eq!(Kind::parse("string[]?").boxed_name(), "ArrayOfString");
        assert!(method("ImportVApp").unwrap().parameters[1].kind.optional);
        assert_eq!(method("HttpNfcLeaseComplete").unwrap().result.name, "void");
    }

    #[test]
    fn managed_objects_inherit() {
        assert!(is_a("VirtualMachine", "ManagedEntity"));
        assert!(is_a("ClusterComputeResource", "ComputeResource"));
        assert!(property("VirtualMachine", "name").is_some());
        assert!(!is_a("Folder", "VirtualMachine"));
    }
}
