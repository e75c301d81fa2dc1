//! Names of machines and hosts, asked for in batches and not for ever remembered.

use std::collections::HashMap;

use ovftransfer_vim::VimError;
use ovftransfer_vim::session::Session;
use ovftransfer_vim::value::MoRef;

/// The names that were read lately.  What has none is remembered too.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<MoRef, Option<String>>);

impl Names {
    /// Reads the names of what is not known yet.
    pub(super) async fn learn<'m>(
        &mut self,
        session: &Session,
        objects: impl Iterator<Item = &'m MoRef>,
    ) -> Result<(), VimError> {
        let objects: Vec<&MoRef> = objects.collect();
        if self.0.len() > NAMES_MAX {
            self.0.clear();
        }
        let unknown = objects.into_iter().filter(|object| !self.0.contains_key(*object));
        let mut unknown: Vec<MoRef> = unknown.cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut found = session.names_of(&unknown).await?;
        for object in unknown.drain(..) {
            let name = found.remove(&object);
            // The same object may be asked for twice.
            if name.is_some() || !self.0.contains_key(&object) {
                self.0.insert(object, name);
            }
        }
        Ok(())
    }

    pub(super) fn of(&self, object: &MoRef) -> Option<String> {
        self.0.get(object).cloned().flatten()
    }
}

/// Names that are kept: about a MiB.  A switch has up to 60,000 ports, but few hosts.
const NAMES_MAX: usize = 10_000;
