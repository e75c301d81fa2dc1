//! What the request sets must be in the descriptor, as the server reads it.

use ovftransfer_vim::VimError;
use ovftransfer_vim::inventory::similar;
use ovftransfer_vim::ovf::OvfProperty;
use ovftransfer_vim::ovf::ParsedDescriptor;
use ovftransfer_vim::ovf::ReadParams;

use crate::error::Check;
use crate::error::Error;
use crate::error::Finding;
use crate::import::Import;
use crate::server::Server;

/// The descriptor as the server reads it, with the deployment option of the request.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) parsed: ParsedDescriptor,
    /// Keys of properties that the request names and the server need not hear of.
    pub(super) left_out: Vec<String>,
}

impl Described {
    /// Asks the server, and checks the request by what it says.  `None` from a server that does not
    /// read descriptors; it will judge the request when it makes the import spec.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for a deployment option, property or import option that is not there,
    /// [`Error::Refused`] for a property that cannot be set.
    pub(super) async fn read(
        request: &Import,
        text: &str,
        server: &Server,
    ) -> Result<Option<Self>, Error> {
        check_import_options(request, server).await?;
        let Some(mut parsed) = parse(request, text, server, "").await? else { return Ok(None) };
        if !parsed.errors.is_empty() {
            // The import spec will have the same ones, and says more about them.
            return Ok(Some(Self { parsed, left_out: Vec::new() }));
        }
        if let Some(option) = &request.deployment_option {
            check_deployment_option(request, &parsed, option)?;
            if let Some(chosen) = parse(request, text, server, option).await? {
                parsed = chosen;
            }
        }
        let left_out = check_properties(request, &parsed.properties)?;
        Ok(Some(Self { parsed, left_out }))
    }

    /// What the plan says of the properties that are left out: nothing of fixed ones, as they have
    /// the value that the request names.
    pub(super) fn notes(&self) -> impl Iterator<Item = Finding> {
        let is_there = |key: &String| self.parsed.properties.iter().any(|one| one.key() == *key);
        self.left_out.iter().filter(move |key| !is_there(key)).map(|key| {
            let problem = "not set, as this property is not part of the chosen configuration";
            Finding::note(Check::Descriptor, key, problem)
        })
    }
}

async fn parse(
    request: &Import,
    text: &str,
    server: &Server,
    deployment_option: &str,
) -> Result<Option<ParsedDescriptor>, Error> {
    let params = ReadParams {
        deployment_option: deployment_option.to_owned(),
        import_options: request.import_options.clone(),
        ..ReadParams::default()
    };
    match server.session().parse_descriptor(text, &params).await {
        Ok(parsed) => Ok(Some(parsed)),
        Err(error) if is_unknown(&error) => {
            tracing::debug!(%error, "the server does not read descriptors");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the server does not have the method.
pub(super) fn is_unknown(error: &VimError) -> bool {
    ["InvalidRequest", "MethodNotFound", "NotImplemented", "NotSupported"]
        .iter()
        .any(|fault| error.is_fault(fault))
}

async fn check_import_options(request: &Import, server: &Server) -> Result<(), Error> {
    if request.import_options.is_empty() {
        return Ok(());
    }
    // A server ignores what it does not know, and nobody would notice.
    let known = server.session().ovf_import_options().await?;
    let known: Vec<&str> = known.iter().map(|option| option.option.as_str()).collect();
    match request.import_options.iter().find(|option| !known.contains(&option.as_str())) {
        None => Ok(()),
        Some(option) => Err(missing("the server", "import option", option, &known)),
    }
}

fn check_deployment_option(
    request: &Import,
    parsed: &ParsedDescriptor,
    wanted: &str,
) -> Result<(), Error> {
    let known: Vec<&str> = parsed.deployment_options.iter().map(|one| one.key.as_str()).collect();
    if known.contains(&wanted) {
        return Ok(());
    }
    Err(missing(&request.package.display(), "deployment option", wanted, &known))
}

/// Returns the keys of those that need not be set: options that were written for all configurations,
/// or with all properties (`spec`), have them too.
fn check_properties(request: &Import, there: &[OvfProperty]) -> Result<Vec<String>, Error> {
    let mut left_out = Vec::new();
    for (key, value) in &request.properties {
        let Some(property) = there.iter().find(|property| property.key() == *key) else {
            if !is_of_other_configurations(request, key) {
                let keys: Vec<String> = there.iter().map(OvfProperty::key).collect();
                let known: Vec<&str> = keys.iter().map(String::as_str).collect();
                return Err(missing(&request.package.display(), "property", key, &known));
            }
            left_out.push(key.clone());
            continue;
        };
        if property.is_user_configurable != Some(false) {
            continue;
        }
        if !is_default(property, value) {
            return Err(Error::Refused {
                problem: format!(
                    "the property {key} of {} is not for users to set (userConfigurable)",
                    request.package.display()
                ),
            });
        }
        left_out.push(key.clone());
    }
    Ok(left_out)
}

/// Whether the descriptor has a property in some configurations only (`Property/configuration`).
fn is_of_other_configurations(request: &Import, key: &str) -> bool {
    request.package.envelope().products().any(|product| {
        let mut limited = product.properties.iter().filter(|one| one.configuration.is_some());
        limited.any(|property| product.key_of(property) == key)
    })
}

/// Whether `value` is what the property has anyway; booleans are written in any case.
fn is_default(property: &OvfProperty, value: &str) -> bool {
    let default = property.default_value.as_deref().unwrap_or_default();
    let is_boolean = property.kind.as_deref() == Some("boolean");
    value == default || is_boolean && value.eq_ignore_ascii_case(default)
}

/// The error for a name that is not there, with those that are and look alike.
pub(super) fn missing(whose: &str, what: &str, wanted: &str, known: &[&str]) -> Error {
    let near = similar(wanted, known.iter().copied());
    let problem = match (known, near.as_slice()) {
        ([], _) => format!("{whose} has no {what} {wanted:?}, nor any other"),
        (_, []) => format!("{whose} has no {what} {wanted:?}, but {} others", known.len()),
        (_, near) => format!("{whose} has no {what} {wanted:?}, but it has {}", near.join(", ")),
    };
    Error::NotFound { problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        let text =
            |known: &[&str]| missing("the package", "property", "hostnam", known).to_string();
        assert_eq!(text(&[]), r#"the package has no property "hostnam", nor any other"#);
        assert!(text(&["hostname", "dns"]).ends_with("but it has hostname, dns"));
        let many = ["a1", "b2", "c3", "d4", "e5", "f6", "g7"];
        assert!(text(&many).ends_with("but 7 others"), "{}", text(&many));
    }
}
