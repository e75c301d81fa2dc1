//! Defects that can be switched on, one at a time, to show that the test suite finds each.
//!
//! Only with the feature `sabotage`, and only if the environment variable `OVFTRANSFER_SABOTAGE` names
//! one; without the feature every question is answered with a constant no, and nothing is left of it.
//! `.ci/campaign sabotage` runs the suite against each.

/// What is done wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Defect {
    /// A cancelled transfer does not abort its lease.
    AbortWithCancelledScope,
    /// Every status below 400 is a success.
    AcceptAnyStatus,
    /// An entry of the server's manifest proves any file.
    AnyManifestEntry,
    /// An archive is not synced.
    ArchiveNotSynced,
    /// A stream does not look whether it is cancelled.
    CancelIgnoredByStreams,
    /// A digest that is another one is taken for right.
    CommitOnDigestMismatch,
    /// A lease is completed twice.
    CompleteTwice,
    /// The server's manifest is not asked for.
    CompleteWithoutManifest,
    /// A lease that cannot be renewed is not given up at its deadline.
    DeadlineIgnored,
    /// What the server tells about the lease is not listened to.
    DeafWatch,
    /// The descriptor gets its name before what it names.
    DescriptorFirst,
    /// The last chunk of a file is not written.
    DropLastChunk,
    /// Heartbeats are sent only if data has moved.
    HeartbeatOnlyWhenDataMoves,
    /// The first heartbeat that fails is the last.
    HeartbeatStopsAtFirstError,
    /// A web server may answer with another range than was asked for.
    IgnoreContentRange,
    /// The limit for one host does not hold.
    IgnoreHostLimit,
    /// A host that is overloaded is not spared.
    IgnoreOverload,
    /// The failure of one file does not concern the others.
    IgnoreSiblingFailure,
    /// What is written down of a transfer is not synced.
    JournalNotSynced,
    /// What a try that failed has written stays.
    LeavePartialFiles,
    /// That the last call for completion went through is not found out.
    LostAnswerIsFailure,
    /// A failed transfer does not abort its lease.
    NoAbort,
    /// A transfer that lost its lease does not wait for its streams.
    NoDrain,
    /// A stream may stand still for ever.
    NoStallLimit,
    /// The percentage goes back when a file is begun again.
    ProgressRegresses,
    /// A file has its final name from its first byte on.
    RenameBeforeVerify,
    /// There is no end to the tries.
    RetryUnbounded,
    /// A disk that is not sound is fetched again until it is.
    RetryWrongBytes,
    /// A file is not synced.
    SkipFileSync,
    /// A folder is not synced.
    SkipFolderSync,
    /// The server's manifest is not asked about the second file.
    SkipManifestOfSecondFile,
    /// The structure of disks is not looked at.
    SkipStructure,
    /// A message repeats the ticket that a host repeats.
    TellTicket,
    /// A host with another certificate is taken all the same.
    TrustAnyHost,
    /// Uploads are repeated where nothing proves the result.
    UploadsRepeatedUnproven,
}

/// Whether this is done wrong.
#[cfg(feature = "sabotage")]
pub(crate) fn on(defect: Defect) -> bool {
    *active::DEFECT == Some(defect)
}

/// Nothing is done wrong on purpose.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn on(_defect: Defect) -> bool {
    false
}

#[cfg(feature = "sabotage")]
mod active {
    use std::sync::LazyLock;

    use super::Defect;

    /// What the environment names.
    pub(super) static DEFECT: LazyLock<Option<Defect>> = LazyLock::new(|| {
        let name = std::env::var("OVFTRANSFER_SABOTAGE").ok()?;
        ALL.into_iter().find(|defect| format!("{defect:?}") == name)
    });

    pub(super) const ALL: [Defect; 35] = [
        Defect::AbortWithCancelledScope,
        Defect::AcceptAnyStatus,
        Defect::AnyManifestEntry,
        Defect::ArchiveNotSynced,
        Defect::CancelIgnoredByStreams,
        Defect::CommitOnDigestMismatch,
        Defect::CompleteTwice,
        Defect::CompleteWithoutManifest,
        Defect::DeadlineIgnored,
        Defect::DeafWatch,
        Defect::DescriptorFirst,
        Defect::DropLastChunk,
        Defect::HeartbeatOnlyWhenDataMoves,
        Defect::HeartbeatStopsAtFirstError,
        Defect::IgnoreContentRange,
        Defect::IgnoreHostLimit,
        Defect::IgnoreOverload,
        Defect::IgnoreSiblingFailure,
        Defect::JournalNotSynced,
        Defect::LeavePartialFiles,
        Defect::LostAnswerIsFailure,
        Defect::NoAbort,
        Defect::NoDrain,
        Defect::NoStallLimit,
        Defect::ProgressRegresses,
        Defect::RenameBeforeVerify,
        Defect::RetryUnbounded,
        Defect::RetryWrongBytes,
        Defect::SkipFileSync,
        Defect::SkipFolderSync,
        Defect::SkipManifestOfSecondFile,
        Defect::SkipStructure,
        Defect::TellTicket,
        Defect::TrustAnyHost,
        Defect::UploadsRepeatedUnproven,
    ];

    /// For `.ci/campaign sabotage`: the names, each on a line of its own.
    #[cfg(test)]
    #[test]
    fn names() {
        for defect in ALL {
            println!("defect {defect:?}");
        }
    }
}
