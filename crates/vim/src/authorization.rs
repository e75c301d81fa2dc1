//! What the session may do, before it tries.

use crate::connection::Call;
use crate::error::VimError;
use crate::session::Session;
use crate::value::{MoRef, Value};

/// Privileges that are missing on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingPrivileges {
    /// The object.
    pub entity: MoRef,
    /// Ids of the privileges, such as `VApp.Import`.
    pub privileges: Vec<String>,
}

impl Session {
    /// Asks which of `privileges` the session does not have, for each of `entities`
    /// (`AuthorizationManager.HasPrivilegeOnEntities`, since 5.5).  Empty if it has all.  Privilege
    /// `System.View`.
    ///
    /// # Errors
    ///
    /// The faults `MethodNotFound` (an older server), `ManagedObjectNotFound` and `NoPermission`.
    pub async fn missing_privileges(
        &self,
        entities: &[MoRef],
        privileges: &[&str],
    ) -> Result<Vec<MissingPrivileges>, VimError> {
        const METHOD: &str = "HasPrivilegeOnEntities";
        let manager = self.singleton("authorizationManager", METHOD)?;
        let current = self.read(&self.content().session_manager, &["currentSession"]).await?;
        let key = current.value("currentSession").and_then(|session| session.text_of("key"));
        let key = key.ok_or_else(|| {
            self.connection().protocol(METHOD, "the server does not tell the session")
        })?;
        let call = Call::new(&manager, METHOD)
            .with_each("entity", entities)
            .with("sessionId", key)
            .with_each("privId", privileges.iter().copied());
        let answers = self.connection().call(call).await?;
        let read = |answer: &Value| {
            let missing = answer
                .each("privAvailability")
                .filter(|one| one.boolean_of("isGranted") == Some(false))
                .filter_map(|one| one.text_of("privId"));
            let privileges: Vec<String> = missing.collect();
            let entity = answer.moref_of("entity")?;
            (!privileges.is_empty()).then_some(MissingPrivileges { entity, privileges })
        };
        Ok(answers.iter().filter_map(read).collect())
    }
}
