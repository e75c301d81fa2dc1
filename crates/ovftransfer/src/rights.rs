//! What the session may do, asked before it tries.

use ovftransfer_vim::ErrorKind as VimErrorKind;
use ovftransfer_vim::value::MoRef;

use crate::error::Check;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Finding;
use crate::server::Server;

/// One finding for each privilege that the session lacks, of those that are `wanted`: an object, a
/// privilege on it, and what the object is for people.
pub(crate) async fn missing(
    server: &Server,
    wanted: Vec<(MoRef, &'static str, &'static str)>,
) -> Result<Vec<Finding>, Error> {
    let mut entities: Vec<MoRef> = Vec::new();
    let mut privileges: Vec<&str> = Vec::new();
    for (entity, privilege, _) in &wanted {
        if !entities.contains(entity) {
            entities.push(entity.clone());
        }
        if !privileges.contains(privilege) {
            privileges.push(privilege);
        }
    }
    let missing = match server.session().missing_privileges(&entities, &privileges).await {
        Ok(missing) => missing,
        // Not everybody may ask, and not every server answers.
        Err(error) if error.fault().is_some() || error.kind() == VimErrorKind::Protocol => {
            let problem = format!("could not be checked: {error}");
            return Ok(vec![Finding::note(Check::Privileges, "privileges", problem)]);
        }
        Err(error) => return Err(error.into()),
    };
    let is_missing = |entity: &MoRef, privilege: &str| {
        let mut on = missing.iter().filter(|one| one.entity == *entity);
        on.any(|one| one.privileges.iter().any(|name| name == privilege))
    };
    let found = wanted.into_iter().filter(|(entity, privilege, _)| is_missing(entity, privilege));
    let finding = |(entity, privilege, whose): (MoRef, &str, &str)| {
        let problem = format!("you do not have the privilege {privilege} on {whose}");
        let (check, kind) = (Check::Privileges, ErrorKind::Permission);
        Finding::error(check, kind, entity.to_string(), problem)
            .advise("ask for a role that has it")
    };
    Ok(found.map(finding).collect())
}
