use std::io;

use ovftransfer_vim::transport::TransportError;

use super::*;
use crate::error::FileChanged;
use crate::governor::Limits;

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

#[test]
fn a_cancellation_is_clean_only_if_everything_was_removed() {
    let shared = Shared {
        governor: Governor::new(Limits::new(1, 1)),
        observer: Arc::new(()),
        verification: Verification::Require,
        stall: Duration::ZERO,
        repeats: Repeats::Never,
        journal: Journal::default(),
        leftovers: Arc::default(),
    };
    assert!(matches!(shared.honest(Error::Cancelled), Error::Cancelled));
    shared.leftovers.lock().unwrap().extend(["a (busy)", "b (gone)"].map(str::to_owned));
    let text = shared.honest(Error::Cancelled).to_string();
    assert!(text.ends_with("could not remove a (busy), b (gone)"), "{text}");
    let refused = Error::Refused { problem: "no".to_owned() };
    assert!(matches!(shared.honest(refused), Error::Refused { .. }));
}
