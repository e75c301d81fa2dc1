use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;
use ovftransfer_ovf::DigestAlgorithm;
use ovftransfer_vim::VimError;
use ovftransfer_vim::transport::TransportError;
use ovftransfer_vim::value::Object;
use ovftransfer_vim::value::Value;

use super::*;
use crate::error::FileChanged;
use crate::governor::Limits;
use crate::inspect::Hasher;
use crate::store::ByteStream;

const READING: &str = "reading from";
const WRITING: &str = "writing to";

fn broken(side: &'static str, source: impl Into<io::Error>) -> Error {
    let (file, at) = (FileName::new("a.vmdk").unwrap(), "esx:443".to_owned());
    Error::Stream { file, side, at, at_byte: 7, source: source.into() }
}

fn status(status: u16) -> io::Error {
    io::Error::other(DeviceStatus { status, detail: String::new() })
}

fn transport(error: TransportError) -> io::Error {
    io::Error::other(error)
}

fn host_and_reason() -> (String, String) {
    ("esx:443".to_owned(), "as the script says".to_owned())
}

/// The table of [`may_pass`].
#[test]
fn what_may_pass_is_tried_again_and_nothing_else() {
    for side in [READING, WRITING] {
        for passes in [408, 429, 502, 503, 504] {
            assert!(may_pass(&broken(side, status(passes))), "{side} {passes}");
        }
        for stays in [400, 401, 403, 404, 405, 409, 410, 413, 501, 505, 507] {
            assert!(!may_pass(&broken(side, status(stays))), "{side} {stays}");
        }
        let (host, reason) = host_and_reason();
        let connect = TransportError::Connect { host, reason };
        assert!(may_pass(&broken(side, transport(connect))), "{side}");
        let (host, reason) = host_and_reason();
        assert!(may_pass(&broken(side, transport(TransportError::Broken { host, reason }))));
        let (host, reason) = host_and_reason();
        let tls = TransportError::Tls { host, reason, presented: None };
        assert!(!may_pass(&broken(side, transport(tls))), "{side}");
        assert!(may_pass(&broken(side, io::ErrorKind::ConnectionReset)));
        // A local file, and one on a web server that is not what it was.
        assert!(!may_pass(&broken(side, io::Error::from_raw_os_error(5))));
        assert!(!may_pass(&broken(side, io::Error::from_raw_os_error(28))));
        let changed = FileChanged { what: "its tag" };
        assert!(!may_pass(&broken(side, io::Error::other(changed))));
    }
    assert!(may_pass(&broken(READING, status(500))));
    assert!(!may_pass(&broken(WRITING, status(500))));
    // That the source cannot be read again.
    assert!(!may_pass(&broken(READING, io::ErrorKind::Unsupported)));
    for final_error in [Error::Cancelled, Error::NotFound { problem: String::new() }] {
        assert!(!may_pass(&final_error));
    }
}

#[test]
fn what_an_error_is_about_decides_what_is_looked_at() {
    assert!(is_about_data(&broken(WRITING, status(500))));
    for error in [
        broken(READING, status(500)),
        broken(WRITING, status(503)),
        broken(WRITING, io::ErrorKind::ConnectionReset),
        Error::Cancelled,
    ] {
        assert!(!is_about_data(&error), "{error}");
    }
    for side in [READING, WRITING] {
        for (code, expected) in [(429, true), (503, true), (500, false), (502, false)] {
            assert_eq!(is_overload(&broken(side, status(code))), expected, "{side} {code}");
        }
        assert!(!is_overload(&broken(side, io::ErrorKind::ConnectionReset)));
    }
    assert!(!is_overload(&Error::Cancelled));
    assert!(is_read_only_once(&broken(READING, io::ErrorKind::Unsupported)));
    assert!(!is_read_only_once(&broken(WRITING, io::ErrorKind::Unsupported)));
    assert!(!is_read_only_once(&broken(READING, io::ErrorKind::ConnectionReset)));
    assert!(!is_read_only_once(&Error::Cancelled));
}

fn shared(verification: Verification, repeats: Repeats) -> Shared {
    Shared {
        governor: Governor::new(Limits::new(1, 1)),
        observer: Arc::new(()),
        verification,
        stall: Duration::ZERO,
        repeats,
        journal: Journal::default(),
        leftovers: Arc::default(),
    }
}

#[test]
fn a_cancellation_is_clean_only_if_everything_was_removed() {
    let shared = shared(Verification::Require, Repeats::Never);
    assert!(matches!(shared.honest(Error::Cancelled), Error::Cancelled));
    shared.leftovers.lock().unwrap().extend(["a (busy)", "b (gone)"].map(str::to_owned));
    let text = shared.honest(Error::Cancelled).to_string();
    assert!(text.ends_with("could not remove a (busy), b (gone)"), "{text}");
    let refused = Error::Refused { problem: "no".to_owned() };
    assert!(matches!(shared.honest(refused), Error::Refused { .. }));
}

const CONTENT: &[u8] = b"what the file holds";

/// A file in memory that counts how often it is read, and a place that takes nothing.
#[derive(Debug, Default)]
struct Memory {
    opened: Mutex<u32>,
    /// Whoever joins the file of parts finds that one of them is not what was promised.
    is_found_wrong: bool,
}

impl Source for Memory {
    fn open(&self) -> BoxFuture<'_, io::Result<ByteStream>> {
        *self.opened.lock().unwrap() += 1;
        let found = self.is_found_wrong.then(|| {
            let (expected, computed) = (Box::new(sha1(b"else")), Box::new(sha1(CONTENT)));
            let (file, against) = (FileName::new("part.1").unwrap(), "the package's manifest");
            let error = Error::DigestMismatch { file, against, expected, computed };
            Err(io::Error::other(error))
        });
        let chunks = futures::stream::iter([Ok(Bytes::from_static(CONTENT))])
            .chain(futures::stream::iter(found));
        std::future::ready(Ok(chunks.boxed())).boxed()
    }

    fn size_bytes(&self) -> Option<u64> {
        Some(CONTENT.len() as u64)
    }
}

impl Destination for Memory {
    fn create(&self) -> BoxFuture<'_, io::Result<Box<dyn Sink>>> {
        std::future::ready(Err(io::ErrorKind::PermissionDenied.into())).boxed()
    }
}

fn sha1(bytes: &[u8]) -> Digest {
    Hasher::digest(DigestAlgorithm::Sha1, bytes)
}

fn job(source: &Arc<Memory>, promised: Promise) -> Job {
    let file = FileName::new("a.vmdk").unwrap();
    Job {
        key: DeviceKey::new("/vm-1/disk"),
        host: "esx:443".to_owned(),
        source: Arc::clone(source) as Arc<dyn Source>,
        source_at: "the source".to_owned(),
        destination: Arc::clone(source) as Arc<dyn Destination>,
        sink_at: "the sink".to_owned(),
        inspect: Inspect { algorithms: vec![DigestAlgorithm::Sha1], disk: DiskCheck::None },
        position: Position::Bytes,
        promised,
        meter: Meter::default().add_file(&file, 0),
        conversion: None,
        written: None,
        file,
    }
}

/// What a host refuses for its data is compared with the package, and nothing else is.
#[tokio::test(start_paused = true)]
async fn the_package_is_blamed_for_data_that_it_does_not_promise() {
    let (right, wrong) = (Promise::File(sha1(CONTENT)), Promise::File(sha1(b"else")));
    let (unusable, busy) = (|| broken(WRITING, status(500)), || broken(WRITING, status(503)));
    for (promised, error, kind, reads) in [
        (wrong, unusable(), ErrorKind::DigestMismatch, 1),
        (right, unusable(), ErrorKind::Network, 1),
        (wrong, busy(), ErrorKind::Network, 0),
        (Promise::Nothing, unusable(), ErrorKind::Network, 0),
        (Promise::Nothing, busy(), ErrorKind::Network, 0),
        (Promise::Parts, unusable(), ErrorKind::Network, 1),
    ] {
        let source = Arc::new(Memory::default());
        let blamed = job(&source, promised).blame_package(error, &CancellationToken::new()).await;
        assert_eq!(blamed.kind(), kind, "{promised:?}");
        assert_eq!(*source.opened.lock().unwrap(), reads, "{promised:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_not_what_the_package_promises_is_blamed() {
    let source = Arc::new(Memory { is_found_wrong: true, ..Memory::default() });
    let error = broken(WRITING, status(500));
    let job = job(&source, Promise::Parts);
    let blamed = job.blame_package(error, &CancellationToken::new()).await;
    assert!(blamed.to_string().starts_with("part.1: "), "{blamed}");
}

/// Of a disk that was written in another format, the size and the digest are not those of the file.
#[tokio::test(start_paused = true)]
async fn only_a_file_that_is_itself_is_written_down_as_proven() {
    for written in [None, Some((77, sha1(b"raw")))] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ovftransfer-journal");
        let journal =
            Journal::begin(path.clone(), vec![crate::journal::tests::begin()]).await.unwrap();
        let shared = Shared { journal, ..shared(Verification::Off, Repeats::Freely) };
        let written = written.map(Written::of);
        let job = Job { written, ..job(&Arc::new(Memory::default()), Promise::Nothing) };
        let is_other = job.written.is_some();
        let seen = Inspection { digests: vec![sha1(CONTENT)], disk: None };
        let attempt = Attempt { sink: Box::new(Nowhere), bytes: CONTENT.len() as u64, seen };
        let lease = Manifests { answers: Mutex::default(), calls: Mutex::default() };
        let scope = CancellationToken::new();
        let moved = job.prove(attempt, 1, Duration::ZERO, &lease, &shared, &scope).await.unwrap();
        assert!(!moved.proof.by_package() && !moved.proof.by_server());
        let history = crate::journal::read(&path).unwrap().unwrap();
        assert_eq!(history.proven.len(), usize::from(!is_other));
    }
}

/// In place of a fault: no answer comes.
const SILENCE: &str = "";

/// What the server's manifest says, call by call; the last answer stays.
#[derive(Debug)]
struct Manifests {
    answers: Mutex<VecDeque<Result<Vec<LeaseManifestEntry>, &'static str>>>,
    calls: Mutex<u32>,
}

impl LeaseApi for Manifests {
    fn name(&self) -> String {
        "lease-1".to_owned()
    }

    fn next_state(&self) -> BoxFuture<'_, Result<ovftransfer_vim::lease::LeaseState, VimError>> {
        std::future::pending().boxed()
    }

    fn progress(&self, _: u8) -> BoxFuture<'_, Result<(), VimError>> {
        std::future::pending().boxed()
    }

    fn complete(&self) -> BoxFuture<'_, Result<(), VimError>> {
        std::future::pending().boxed()
    }

    fn abort<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), VimError>> {
        std::future::pending().boxed()
    }

    fn manifest(&self) -> BoxFuture<'_, Result<Vec<LeaseManifestEntry>, VimError>> {
        *self.calls.lock().unwrap() += 1;
        let mut answers = self.answers.lock().unwrap();
        let answer =
            if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
        if answer == Err(SILENCE) {
            return std::future::pending().boxed();
        }
        let (host, call) = ("vc:443".to_owned(), "HttpNfcLeaseGetManifest".to_owned());
        let answer = answer.map_err(|name| VimError::Fault {
            host,
            call,
            fault: Box::new(
                ovftransfer_vim::fault::Fault::from_value(&Object::new(name).into()).unwrap(),
            ),
        });
        std::future::ready(answer).boxed()
    }

    fn ask_for_sha256<'a>(&'a self, _: &'a [DeviceKey]) -> BoxFuture<'a, Result<(), VimError>> {
        std::future::pending().boxed()
    }
}

fn entry(key: &str, bytes: &[u8]) -> LeaseManifestEntry {
    let entry: Value = Object::untyped()
        .with("key", key.to_owned())
        .with("sha1", sha1(bytes).hex())
        .with("size", bytes.len().to_string())
        .into();
    LeaseManifestEntry::from_value(&entry).unwrap()
}

/// Whether the server has proven the file, how often it was asked, and for how long.
async fn proven(
    answers: &[Result<Vec<LeaseManifestEntry>, &'static str>],
    attempts: u32,
    level: Verification,
) -> (Result<bool, ErrorKind>, u32, Duration) {
    let source = Arc::new(Memory::default());
    let lease = Manifests {
        answers: Mutex::new(answers.iter().cloned().collect()),
        calls: Mutex::default(),
    };
    let seen = Inspection { digests: vec![sha1(CONTENT)], disk: None };
    let (shared, scope) = (shared(level, Repeats::Proven), CancellationToken::new());
    let begin = Instant::now();
    let job = job(&source, Promise::Nothing);
    let len_bytes = CONTENT.len() as u64;
    let proof = job.proof(len_bytes, &seen, attempts, &lease, &shared, &scope).await;
    let outcome = proof.map(|(proof, _)| proof.by_server()).map_err(|error| error.kind());
    (outcome, *lease.calls.lock().unwrap(), begin.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_was_repeated_is_proven_by_the_server_or_not_at_all() {
    const MINE: &str = "/vm-1/disk";
    let right = || Ok(vec![entry(MINE, CONTENT)]);
    let wrong = || Ok(vec![entry(MINE, b"else, and as long..")]);
    let both = || Ok(vec![entry(MINE, b"of a try that broke"), entry(MINE, CONTENT)]);
    let turned = || Ok(vec![entry(MINE, CONTENT), entry(MINE, b"of a try that broke")]);
    let other = || Ok(vec![entry("/vm-1/other", CONTENT)]);
    let away = || Err("HostCommunication");
    let (require, prefer, off) = (Verification::Require, Verification::Prefer, Verification::Off);
    let (now, soon) = (Duration::ZERO, Duration::from_secs(1));
    // Asked twice in a second for half a minute, and not again where that would be too late.
    let (late, unproven) = (Duration::from_millis(29_500), Err(ErrorKind::DigestMismatch));
    let (fifty, later) = (Duration::from_secs(50), Duration::from_secs(79));
    let (minutes, silent) = (Duration::from_millis(299_500), Duration::from_secs(304));
    for (answers, attempts, level, expected) in [
        (vec![right()], 1, require, (Ok(true), 1, now)),
        (vec![both()], 1, require, (Ok(true), 1, now)),
        (vec![turned()], 1, require, (Ok(true), 1, now)),
        (vec![other(), other(), right()], 1, require, (Ok(true), 3, soon)),
        (vec![Err("SystemError"), Err("SystemError"), right()], 1, require, (Ok(true), 3, soon)),
        (vec![wrong(), right()], 1, prefer, (unproven, 1, now)),
        (vec![other()], 1, prefer, (Ok(false), 60, late)),
        (vec![Err("SystemError")], 1, prefer, (Ok(false), 60, late)),
        (vec![Err("SystemError")], 1, require, (unproven, 60, late)),
        // A server that is not reached has not said that it cannot prove it.
        (vec![away()], 1, prefer, (Ok(false), 600, minutes)),
        (vec![away()], 1, require, (Err(ErrorKind::Network), 600, minutes)),
        (vec![Err(SILENCE)], 1, require, (Err(ErrorKind::Network), 29, silent)),
        ([vec![away(); 100], vec![right()]].concat(), 1, require, (Ok(true), 101, fifty)),
        ([vec![away(); 100], vec![other()]].concat(), 1, require, (unproven, 159, later)),
        (vec![Err("InvalidState")], 1, prefer, (Err(ErrorKind::Refused), 1, now)),
        (vec![right()], 1, off, (Ok(false), 0, now)),
        // The entry of the first try may still be there, and no level does without one.
        (vec![wrong(), wrong(), right()], 2, prefer, (Ok(true), 3, soon)),
        (vec![wrong()], 2, prefer, (unproven, 60, late)),
        (vec![other()], 2, prefer, (unproven, 60, late)),
        (vec![Err("SystemError")], 2, prefer, (unproven, 60, late)),
        (vec![other()], 2, off, (unproven, 60, late)),
    ] {
        let found = proven(&answers, attempts, level).await;
        assert_eq!(found, expected, "try {attempts}, {level:?}: {answers:?}");
    }
}
