//! Singletons of the server that only few calls need.

use crate::error::VimError;
use crate::session::Session;
use crate::value::MoRef;

impl Session {
    /// The singleton that `ServiceContent` names in the field `name`; `method` is what it is for.
    /// The content was read when the session connected.
    pub(crate) fn singleton(&self, name: &str, method: &str) -> Result<MoRef, VimError> {
        let named = self.content().singletons.moref_of(name);
        named
            .ok_or_else(|| self.connection().protocol(method, &format!("the server has no {name}")))
    }

    /// Refuses what the server is too old for.
    pub(crate) fn needs(&self, method: &str, since: &'static str) -> Result<(), VimError> {
        let version = &self.about().api_version;
        if parsed(version) >= parsed(since) {
            return Ok(());
        }
        Err(VimError::TooOld {
            host: self.connection().host(),
            call: method.to_owned(),
            version: version.clone(),
            since,
        })
    }
}

/// The numbers of a version; one that cannot be read is older than all.
fn parsed(version: &str) -> Vec<u32> {
    let numbers = version.trim().split('.').map_while(|part| part.parse().ok());
    let mut numbers: Vec<u32> = numbers.collect();
    // `8.0.3` is `8.0.3.0`.
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::parsed;

    #[test]
    fn versions_compare_number_by_number() {
        assert!(parsed("8.0.3.0") >= parsed("8.0.3.0"));
        assert!(parsed("10.0") > parsed("8.0.3.0"));
        assert!(parsed("8.0.2.0") < parsed("8.0.3.0"));
        assert_eq!(parsed("8.0.3"), parsed("8.0.3.0"));
        assert!(parsed("") < parsed("4.0"));
    }
}
