//! Breaks requests, the same way for the same seed.

use serde_json::Value;

/// Numbers that look random and are always the same (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `limit`, which must not be 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % limit
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The request with one to four things wrong with its bytes.
pub(crate) fn bytes(random: &mut Random, request: &str) -> Vec<u8> {
    let mut bytes = request.as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(40)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            3 => drop(bytes.splice(at..end, random.pick(&TOKENS).bytes())),
            4 => drop(bytes.splice(at..at, random.pick(&TOKENS).bytes())),
            _ if random.below(4) == 0 => bytes.truncate(at),
            _ => bytes.insert(at, 0xFF),
        }
    }
    bytes
}

/// The request with some of its tags left out, doubled, exchanged or filled with something else.
pub(crate) fn tags(random: &mut Random, request: &str) -> Vec<u8> {
    let mut parts: Vec<String> = request.split('<').map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        let (at, other) = (random.below(parts.len()), random.below(parts.len()));
        match random.below(5) {
            0 => drop(parts.remove(at)),
            1 => parts.insert(at, parts[other].clone()),
            2 => parts.swap(at, other),
            _ => {
                let tag = parts[at].split('>').next().unwrap_or_default().to_owned();
                parts[at] = format!("{tag}>{}", random.pick(&TOKENS));
            }
        }
        if parts.is_empty() {
            break;
        }
    }
    parts.join("<").into_bytes()
}

/// The request with some of its values replaced by others, left out or renamed.
pub(crate) fn values(random: &mut Random, request: &Value) -> Vec<u8> {
    let mut value = request.clone();
    for _ in 0..=random.below(3) {
        let (other, strange) = (random.below(count(request)), random.below(STRANGE.len() + 1));
        let with = match STRANGE.get(strange) {
            Some(text) => serde_json::from_str(text).unwrap(),
            None => nth(request, other).clone(),
        };
        let mut at = random.below(count(&value));
        replace(&mut value, &mut at, &with);
    }
    value.to_string().into_bytes()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(all) => all.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(all) => all.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn nth(value: &Value, index: usize) -> &Value {
    let mut rest = index;
    if rest == 0 {
        return value;
    }
    rest -= 1;
    for child in children(value) {
        let inside = count(child);
        if rest < inside {
            return nth(child, rest);
        }
        rest -= inside;
    }
    value
}

/// Puts `with` in place of the value number `at`, counted from the outside.
fn replace(value: &mut Value, at: &mut usize, with: &Value) -> bool {
    if *at == 0 {
        *value = with.clone();
        return true;
    }
    *at -= 1;
    match value {
        Value::Array(all) => all.iter_mut().any(|child| replace(child, at, with)),
        Value::Object(fields) => fields.values_mut().any(|child| replace(child, at, with)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What a careless reader falls over.
const TOKENS: [&str; 26] = [
    "",
    "-1",
    "0",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1e999",
    "NaN",
    "null",
    "true",
    "[]",
    "{}",
    "\"",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "\u{feff}",
    "&#0;",
    "&#x10FFFF;",
    "&undefined;",
    "<![CDATA[",
    "<!--",
    "<?xml?>",
    " xsi:type=\"VirtualMachine\"",
    " xmlns=\"urn:other\"",
    "%s%n/../..",
];

/// The same as JSON.
const STRANGE: [&str; 16] = [
    "null",
    "true",
    "0",
    "-1",
    "-0.5",
    "9223372036854775807",
    "9223372036854775808",
    "1e300",
    "\"\"",
    "\"x\"",
    "\"\\u0000\"",
    "[]",
    "[[[[]]]]",
    "{}",
    "{\"_typeName\":\"VirtualMachine\"}",
    "{\"_typeName\":\"ManagedObjectReference\",\"type\":\"Folder\",\"value\":\"group-v3\"}",
];
