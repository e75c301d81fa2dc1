//! What is on a server.

use ovftransfer_vim::EntityKind;
use ovftransfer_vim::InventoryPath;
use ovftransfer_vim::inventory::Listed;
use ovftransfer_vim::inventory::VmFacts;

use crate::error::Error;
use crate::server::Server;

impl Server {
    /// Everything at and below a place of the inventory, parents before children.
    ///
    /// `path` is `/` or an inventory path such as `/datacenter/vm/folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Server`], also if nothing or more than one thing is there.
    pub async fn list(&self, path: &str) -> Result<Vec<Listed>, Error> {
        Ok(self.session().list(&InventoryPath::new(path)).await?)
    }

    /// What an export needs to know about a machine, `/datacenter/vm/folder/name`.
    ///
    /// # Errors
    ///
    /// [`Error::Server`], also if no machine or more than one is there.
    pub async fn machine(&self, path: &str) -> Result<VmFacts, Error> {
        let path = InventoryPath::new(path);
        let vm = self.session().find(&path, &[EntityKind::VirtualMachine]).await?;
        // The root is found whatever is wanted.
        if vm.kind() != EntityKind::VirtualMachine {
            return Err(Error::NotFound { problem: format!("{path} is not a machine") });
        }
        Ok(self.session().vm_facts(vm.moref()).await?)
    }
}
