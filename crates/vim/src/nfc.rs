//! What can be asked of a lease: to be made, renewed, completed, aborted.

use crate::connection::{Call, LONG_CALL_LIMIT};
use crate::error::VimError;
use crate::lease::{DeviceKey, ImportKey, LeaseFacts, LeaseId, LeaseManifestEntry};
use crate::ovf::{ImportSpec, key_value};
use crate::session::Session;
use crate::tls::Thumbprint;
use crate::value::{FAULT_WRAPPER, MoRef, Object, Value};

/// Digest of the lease's manifest (`HttpNfcLeaseManifestEntryChecksumType`, since 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChecksumType {
    /// What servers compute unasked.
    Sha1,
    /// Must be asked for before the first byte moves.
    Sha256,
}

/// Why a lease is aborted; shown in the server's task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AbortCause {
    /// `FileFault`: a file of the package, by name.
    File(String),
    /// `SystemError`: any other reason, in words.
    Reason(String),
}

/// A file that the host fetches itself (`HttpNfcLeaseSourceFile`, since 6.7).
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "filled in by the caller")]
pub struct SourceFile {
    /// Which device takes it.
    pub target: ImportKey,
    /// Where the host finds it: the file itself or an OVA.  May carry credentials: a secret.
    pub url: crate::secret::Secret,
    /// Its name inside the OVA.
    pub member_name: Option<String>,
    /// Copy of the file item's flag.
    pub is_created: bool,
    /// Certificate of the web server; hosts have no CA store.
    pub thumbprint: Option<Thumbprint>,
    /// Headers that the host sends along, such as `Authorization`.
    pub http_headers: Vec<(String, crate::secret::Secret)>,
    /// Size in bytes, so that the host need not ask.
    pub size_bytes: Option<u64>,
}

impl From<&SourceFile> for Object {
    fn from(file: &SourceFile) -> Self {
        let headers = file.http_headers.iter().map(|(name, value)| {
            Self::declared("KeyValue").with("key", name.as_str()).with("value", value.clone())
        });
        Self::declared("HttpNfcLeaseSourceFile")
            .with("targetDeviceId", file.target.as_str())
            .with("url", file.url.clone())
            .with_some("memberName", file.member_name.as_deref())
            .with("create", file.is_created)
            .with_some("sslThumbprint", file.thumbprint.map(|t| t.to_string()))
            .with_each("httpHeaders", headers)
            .with_some("size", file.size_bytes)
    }
}

/// Making leases.
impl Session {
    /// Makes the objects of `spec` and takes a lease on them (`ImportVApp`, since 4.0).
    ///
    /// `folder` is needed for a machine in a resource pool, and must be absent if `pool` is a vApp.
    /// Most failures, such as a taken name, show up as the lease's state, not here.  Never repeat
    /// the call blindly: it may have made the objects although no answer came.
    ///
    /// # Errors
    ///
    /// The faults `DuplicateName`, `InvalidDatastore`, `NoPermission`, `NotSupported`,
    /// `RestrictedVersion`, among others.
    pub async fn import_vapp(
        &self,
        pool: &MoRef,
        spec: &ImportSpec,
        folder: Option<&MoRef>,
        host: Option<&MoRef>,
    ) -> Result<LeaseId, VimError> {
        let call = Call::new(pool, "ImportVApp")
            .with("spec", spec.value().clone())
            .with_some("folder", folder)
            .with_some("host", host);
        self.take_lease(call).await
    }

    /// Takes a lease on a machine that is off (`ExportVm`, since 4.0).
    ///
    /// # Errors
    ///
    /// The faults `InvalidPowerState`, `TaskInProgress`, `InvalidState`, `FileFault`.
    pub async fn export_vm(&self, vm: &MoRef) -> Result<LeaseId, VimError> {
        self.take_lease(Call::new(vm, "ExportVm")).await
    }

    /// Takes a lease on a vApp (`ExportVApp`, since 4.0).
    ///
    /// # Errors
    ///
    /// Those of [`export_vm`](Self::export_vm).
    pub async fn export_vapp(&self, vapp: &MoRef) -> Result<LeaseId, VimError> {
        self.take_lease(Call::new(vapp, "ExportVApp")).await
    }

    /// Takes a lease on a snapshot; the machine may run (`ExportSnapshot`, since 5.5).
    ///
    /// # Errors
    ///
    /// The faults `TaskInProgress`, `InvalidState`, `FileFault`.
    pub async fn export_snapshot(&self, snapshot: &MoRef) -> Result<LeaseId, VimError> {
        self.take_lease(Call::new(snapshot, "ExportSnapshot")).await
    }

    async fn take_lease(&self, call: Call) -> Result<LeaseId, VimError> {
        let lease = self.connection().call_moref(call.within(LONG_CALL_LIMIT)).await?;
        Ok(LeaseId::new(lease))
    }
}

/// Driving a lease.
impl Session {
    /// Renews a lease and tells its percent, 0 to 100 (`HttpNfcLeaseProgress`, since 4.0).  Renews
    /// also if the percent has not changed.
    ///
    /// # Errors
    ///
    /// `Timedout`, `InvalidState`, `ManagedObjectNotFound`: the lease is lost, see
    /// [`lease_is_lost`].
    pub async fn lease_progress(&self, lease: &LeaseId, percent: u8) -> Result<(), VimError> {
        let call = Call::new(lease.moref(), "HttpNfcLeaseProgress");
        self.call(call.with("percent", percent.min(100))).await?;
        Ok(())
    }

    /// Ends a lease with success (`HttpNfcLeaseComplete`, since 4.0).
    ///
    /// # Errors
    ///
    /// `Timedout` or `InvalidState` if it had ended before.
    pub async fn lease_complete(&self, lease: &LeaseId) -> Result<(), VimError> {
        let call = Call::new(lease.moref(), "HttpNfcLeaseComplete");
        self.call(call.within(LONG_CALL_LIMIT)).await?;
        Ok(())
    }

    /// Ends a lease with an error; an import is undone (`HttpNfcLeaseAbort`, since 4.0).
    ///
    /// # Errors
    ///
    /// `Timedout` or `InvalidState` if it had ended before.
    pub async fn lease_abort(
        &self,
        lease: &LeaseId,
        cause: Option<&AbortCause>,
    ) -> Result<(), VimError> {
        let fault = cause.map(|cause| match cause {
            AbortCause::File(file) => Object::new("FileFault").with("file", printable(file)),
            AbortCause::Reason(text) => Object::new("SystemError").with("reason", printable(text)),
        });
        // A fault in a fault on SOAP; JSON takes the wrapper off.
        let wrapped = fault.map(|fault| Object::declared(FAULT_WRAPPER).with("fault", fault));
        let call = Call::new(lease.moref(), "HttpNfcLeaseAbort").with_some("fault", wrapped);
        self.call(call).await?;
        Ok(())
    }

    /// Reads how a lease moves its bytes and how far it is.
    ///
    /// API: `HttpNfcLease`, since 4.0; all but the initialisation since 6.7.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound` if the lease is gone.
    pub async fn lease_facts(&self, lease: &LeaseId) -> Result<LeaseFacts, VimError> {
        const PATHS: [&str; 4] = ["initializeProgress", "transferProgress", "mode", "capabilities"];
        // An older server refuses the read for the names that it does not know.
        let known = if self.needs("transferProgress", "6.7").is_ok() { 4 } else { 1 };
        let read = self.read(lease.moref(), &PATHS[..known]).await?;
        Ok(LeaseFacts::from_properties(|name| read.value(name)))
    }

    /// What the server has sent or received so far, in no order
    /// (`HttpNfcLeaseGetManifest`, since 4.1).  Not possible after the lease has ended.
    ///
    /// # Errors
    ///
    /// `Timedout` or `InvalidState` if the lease has ended.
    pub async fn lease_manifest(
        &self,
        lease: &LeaseId,
    ) -> Result<Vec<LeaseManifestEntry>, VimError> {
        const METHOD: &str = "HttpNfcLeaseGetManifest";
        let entries = self.call(Call::new(lease.moref(), METHOD)).await?;
        let entries = entries.iter().flat_map(flat_entries);
        let entries: Option<_> = entries.map(LeaseManifestEntry::from_value).collect();
        entries.ok_or_else(|| self.connection().protocol(METHOD, "an entry has no key or no size"))
    }

    /// Asks for another digest in the lease's manifest; before the first byte moves
    /// (`HttpNfcLeaseSetManifestChecksumType`, since 6.7).
    ///
    /// # Errors
    ///
    /// `InvalidState` if the lease has ended, `MethodNotFound` on servers that cannot.
    pub async fn lease_set_checksum_type(
        &self,
        lease: &LeaseId,
        devices: impl IntoIterator<Item = &DeviceKey>,
        checksum: ChecksumType,
    ) -> Result<(), VimError> {
        let name = match checksum {
            ChecksumType::Sha1 => "sha1",
            ChecksumType::Sha256 => "sha256",
        };
        let pairs = devices.into_iter().map(|key| key_value(key.as_str(), name));
        let call = Call::new(lease.moref(), "HttpNfcLeaseSetManifestChecksumType")
            .with_each("deviceUrlsToChecksumTypes", pairs);
        self.call(call).await?;
        Ok(())
    }

    /// Lets the hosts fetch the files themselves; as many files as devices
    /// (`HttpNfcLeasePullFromUrls_Task`, since 6.7).  Returns the task.
    ///
    /// # Errors
    ///
    /// `InvalidState`, `HttpFault`, `SSLVerifyFault`.
    pub async fn lease_pull(
        &self,
        lease: &LeaseId,
        files: &[SourceFile],
    ) -> Result<MoRef, VimError> {
        let call = Call::new(lease.moref(), "HttpNfcLeasePullFromUrls_Task")
            .with_each("files", files.iter().map(Object::from));
        self.connection().call_moref(call).await
    }

    /// Asks whether the hosts can reach the files; `timeout_s` per file, 60 at most
    /// (`HttpNfcLeaseProbeUrls`, since 7.0.2.0).  One answer per file.
    ///
    /// # Errors
    ///
    /// `InvalidState` if the lease was aborted, `InvalidArgument` without files.
    pub async fn lease_probe(
        &self,
        lease: &LeaseId,
        files: &[SourceFile],
        timeout_s: Option<u8>,
    ) -> Result<Vec<bool>, VimError> {
        let call = Call::new(lease.moref(), "HttpNfcLeaseProbeUrls")
            .with_each("files", files.iter().map(Object::from))
            .with_some("timeout", timeout_s.map(|timeout_s| timeout_s.min(PROBE_TIMEOUT_S_MAX)))
            .within(LONG_CALL_LIMIT);
        let results = self.call(call).await?;
        let results = results.iter().flat_map(flat_entries);
        Ok(results.map(|r| r.boolean_of("serverAccessible").unwrap_or(false)).collect())
    }
}

/// Whether an answer to a call on a lease means that the lease is lost, so that asking again is
/// useless (`protocol` section 3.3).
#[must_use]
pub fn lease_is_lost(error: &VimError) -> bool {
    const FINAL: [&str; 3] = ["Timedout", "InvalidState", "ManagedObjectNotFound"];
    matches!(error, VimError::SessionLost { .. } | VimError::LeaseGone { .. })
        || FINAL.iter().any(|name| error.is_fault(name))
}

/// `text` without what XML cannot carry: an abort must not fail for the words of its cause.
fn printable(text: &str) -> String {
    let text = text.chars().take(CAUSE_CHARS_MAX);
    text.map(|c| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c })
        .collect()
}

/// An array result is one value per entry, or one list of them.
fn flat_entries(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    if value.type_name().is_some_and(|name| name.starts_with("ArrayOf")) {
        Box::new(value.items())
    } else {
        Box::new(std::iter::once(value))
    }
}

/// The API's limit.
const PROBE_TIMEOUT_S_MAX: u8 = 60;
/// A cause is read by people, in one line of the task list.
const CAUSE_CHARS_MAX: usize = 1000;
