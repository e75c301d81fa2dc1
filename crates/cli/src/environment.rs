//! The environment variables that are read, ours and those of govc.

use std::collections::HashMap;
use std::env;
use std::path::Path;

/// The environment, as far as it is read.
///
/// A value of its own, so that tests need not change that of the process.
#[derive(Clone, Default)]
pub(crate) struct Environment(HashMap<String, String>);

impl Environment {
    /// That of the process.  Empty values count as not set; so do values that are not Unicode.
    pub(crate) fn of_process() -> Self {
        let known = |name: &String| name.starts_with(OURS) || name.starts_with(GOVC);
        let variables = env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok().filter(known)?;
            Some((name, value.into_string().ok().filter(|value| !value.is_empty())?))
        });
        Self(variables.collect())
    }

    /// A variable of ours: `OVFTRANSFER_` and `name`.
    pub(crate) fn ours(&self, name: &str) -> Option<&str> {
        self.0.get(&format!("{OURS}{name}")).map(String::as_str)
    }

    /// A variable of govc: `GOVC_` and `name`.
    pub(crate) fn govc(&self, name: &str) -> Option<&str> {
        self.0.get(&format!("{GOVC}{name}")).map(String::as_str)
    }

    /// A variable of govc that may name a file with the value.
    pub(crate) fn govc_or_file(&self, name: &str) -> Option<String> {
        let value = self.govc(name)?;
        Some(content(Path::new(value)).unwrap_or_else(|| value.to_owned()))
    }
}

impl std::fmt::Debug for Environment {
    /// Only the names: values may be passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The content of a small file without the white space around it; `None` if there is none.
fn content(path: &Path) -> Option<String> {
    let metadata = path.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > SECRET_BYTES_MAX {
        return None;
    }
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// What our own variables begin with.
const OURS: &str = "OVFTRANSFER_";

/// What those of govc begin with.
const GOVC: &str = "GOVC_";

/// A file with a user name or a password is a line of text: this is no such file.
pub(crate) const SECRET_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
impl Environment {
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self(variables.iter().map(owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn govc_values_may_name_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, " hunter2\n").unwrap();
        let name = file.to_str().unwrap();
        let environment = Environment::of(&[("GOVC_PASSWORD", name), ("GOVC_USERNAME", "root")]);
        assert_eq!(environment.govc_or_file("PASSWORD").as_deref(), Some("hunter2"));
        assert_eq!(environment.govc_or_file("USERNAME").as_deref(), Some("root"));
        assert_eq!(environment.govc_or_file("URL"), None);
    }

    #[test]
    fn values_are_not_printed() {
        let environment = Environment::of(&[("GOVC_PASSWORD", "hunter2")]);
        assert!(!format!("{environment:?}").contains("hunter2"));
    }
}
