//! Rules of a real server that can be switched off, and oddities that can be switched on.

use serde::{Deserialize, Serialize};

use super::{ScenarioError, wrong};

/// Rules of a real server.  All hold by default; without them the server is as lax as other
/// simulators are, so that a client can be shown to need none of them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a list of switches that do not depend on another"
)]
pub struct Strict {
    /// While a lease holds a machine, whatever would change it is `TaskInProgress`.
    pub block: bool,
    /// An import that ends in error takes everything along that it made.
    pub clean_up: bool,
    /// An upload without `Content-Length` is 411.
    pub content_length: bool,
    /// What was downloaded stands in the lease's manifest too.
    pub export_manifest: bool,
    /// A lease that is not renewed ends after [`Scenario::lease_timeout_s`](super::Scenario).
    pub lease_timeout: bool,
    /// A disk that is uploaded must begin with `KDMV`, else 500.  Without the rule any other body
    /// is counted, hashed and dropped.
    pub magic: bool,
    /// PUT needs the header `Overwrite: t`, which every known client sends, else 412.
    pub overwrite: bool,
    /// Disks are taken by POST and other files by PUT; the other way round is 405.
    pub verbs: bool,
    /// An upload that ends early does not count.  Without the rule what came is in the manifest
    /// as if it were all.
    pub whole_bodies: bool,
}

impl Default for Strict {
    fn default() -> Self {
        Self {
            block: true,
            clean_up: true,
            content_length: true,
            export_manifest: true,
            lease_timeout: true,
            magic: true,
            overwrite: true,
            verbs: true,
            whole_bodies: true,
        }
    }
}

/// Oddities that were seen on real servers, or that their documentation leaves room for.  None is
/// there by default.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a list of switches that do not depend on another"
)]
pub struct Quirks {
    /// The ticket in device URLs is the lease's id, brackets percent-encoded.
    pub bracketed_tickets: bool,
    /// Blanks in device URLs are percent-encoded, as they should be.  Real servers leave them as
    /// they are in the URL of an NVRAM that is named after its machine.
    pub escaped_blanks: bool,
    /// `fileSize` of files that are no disks is so many bytes more than there are.
    pub file_size_offset: i64,
    /// Images on export have a device URL without `targetId`.
    pub images_without_target: bool,
    /// Properties and fields that are left out, such as `"HttpNfcLeaseDeviceUrl.disk"`: those of
    /// [`Quirks::OPTIONAL`].
    pub missing: Vec<String>,
    /// A lease serves one disk, the first that is asked for; all others are empty replies with
    /// 200, as hosts on vSAN were seen to do.
    pub one_disk_per_lease: bool,
    /// Ids of leases have no `session[…]` before them.
    pub plain_lease_ids: bool,
}

impl Quirks {
    /// What can be left out: everything that a lease says but its state.
    pub const OPTIONAL: [&str; 36] = [
        "HttpNfcLease.capabilities",
        "HttpNfcLease.error",
        "HttpNfcLease.info",
        "HttpNfcLease.initializeProgress",
        "HttpNfcLease.mode",
        "HttpNfcLease.transferProgress",
        "HttpNfcLeaseCapabilities.corsSupported",
        "HttpNfcLeaseCapabilities.pullModeSupported",
        "HttpNfcLeaseDatastoreLeaseInfo.datastoreKey",
        "HttpNfcLeaseDatastoreLeaseInfo.hosts",
        "HttpNfcLeaseDeviceUrl.datastoreKey",
        "HttpNfcLeaseDeviceUrl.disk",
        "HttpNfcLeaseDeviceUrl.fileSize",
        "HttpNfcLeaseDeviceUrl.importKey",
        "HttpNfcLeaseDeviceUrl.key",
        "HttpNfcLeaseDeviceUrl.sslCertificate",
        "HttpNfcLeaseDeviceUrl.sslThumbprint",
        "HttpNfcLeaseDeviceUrl.targetId",
        "HttpNfcLeaseDeviceUrl.url",
        "HttpNfcLeaseHostInfo.sslThumbprint",
        "HttpNfcLeaseHostInfo.url",
        "HttpNfcLeaseInfo.deviceUrl",
        "HttpNfcLeaseInfo.entity",
        "HttpNfcLeaseInfo.hostMap",
        "HttpNfcLeaseInfo.lease",
        "HttpNfcLeaseInfo.leaseTimeout",
        "HttpNfcLeaseInfo.totalDiskCapacityInKB",
        "HttpNfcLeaseManifestEntry.capacity",
        "HttpNfcLeaseManifestEntry.checksum",
        "HttpNfcLeaseManifestEntry.checksumType",
        "HttpNfcLeaseManifestEntry.disk",
        "HttpNfcLeaseManifestEntry.key",
        "HttpNfcLeaseManifestEntry.populatedSize",
        "HttpNfcLeaseManifestEntry.sha1",
        "HttpNfcLeaseManifestEntry.size",
        "HttpNfcLeaseProbeResult.serverAccessible",
    ];

    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        match self.missing.iter().find(|name| !Self::OPTIONAL.contains(&name.as_str())) {
            Some(name) => Err(wrong("quirks.missing", format!("{name} cannot be left out"))),
            None => Ok(()),
        }
    }
}
