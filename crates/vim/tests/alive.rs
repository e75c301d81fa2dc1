//! Sessions that stay alive, and sessions that are lost: told apart from everything else.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use std::sync::Arc;
use std::time::Duration;

use ovftransfer_vim::lease::LeaseId;
use ovftransfer_vim::{ErrorKind, KEEP_ALIVE_INTERVAL, MoRef, Secret, Session, VimError, Wire};

use scripted::{Answer, Script, connected, wire};

const TIME: &str = "<returnval>2026-11-21T05:00:00Z</returnval>";

fn clock() -> Arc<Script> {
    Script::new(|asked| {
        let method = asked.method()?;
        matches!(method, "CurrentTime" | "Logout").then(|| Answer::soap(method, TIME))
    })
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_kept_alive() {
    let script = clock();
    let session = connected(&script).await;
    let keep_alive = session.keep_alive(KEEP_ALIVE_INTERVAL);
    // Half an hour of nothing is what a vCenter ends a session for.
    tokio::time::sleep(Duration::from_secs(30 * 60 + 1)).await;
    assert_eq!(script.count("CurrentTime"), 6);
    assert!(!keep_alive.has_ended());
    drop(keep_alive);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(script.count("CurrentTime"), 6);
}

#[tokio::test(start_paused = true)]
async fn logging_out_ends_keeping_alive() {
    let script = clock();
    let session = connected(&script).await;
    let keep_alive = session.keep_alive(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(61)).await;
    session.logout().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(keep_alive.has_ended());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(script.count("CurrentTime"), 1);
}

#[tokio::test(start_paused = true)]
async fn keeping_alive_survives_outages_and_ends_with_the_session() {
    let script = Script::list([]);
    let session = connected(&script).await;
    for answer in [
        Answer::broken(),
        Answer::raw(503, "<html>später</html>"),
        Answer::soap("CurrentTime", TIME),
        Answer::fault("NotAuthenticated", "abgelaufen", ""),
    ] {
        script.push(answer);
    }
    let keep_alive = session.keep_alive(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(!keep_alive.has_ended());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(keep_alive.has_ended());
    assert_eq!(script.count("CurrentTime"), 4);
}

/// A session that has logged in.
async fn known() -> (Arc<Script>, Session) {
    let script = Script::list([]);
    let session = connected(&script).await;
    script.push(
        Answer::soap("Login", "<returnval><key>k</key></returnval>")
            .cookie("vmware_soap_session=\"C\"; Path=/")
            .session("T"),
    );
    session.login("jürgen", &Secret::new("p")).await.unwrap();
    (script, session)
}

fn vm() -> MoRef {
    MoRef::new("VirtualMachine", "vm-9")
}

async fn refused(answer: Answer) -> VimError {
    let (script, session) = known().await;
    script.push(answer);
    session.export_vm(&vm()).await.unwrap_err()
}

fn missing(fault: &str) -> Answer {
    Answer::soap(
        "RetrievePropertiesEx",
        &format!(
            "<returnval><objects><obj type=\"VirtualMachine\">vm-9</obj><missingSet>\
             <path>name</path><fault><fault xsi:type=\"{fault}\"><privilegeId>System.View\
             </privilegeId></fault></fault></missingSet></objects></returnval>"
        ),
    )
}

#[tokio::test]
async fn a_lost_session_is_told_apart() {
    let privilege = "<privilegeId>System.View</privilegeId>";
    for lost in [
        Answer::fault("NotAuthenticated", "Sitzung abgelaufen", privilege),
        // A gateway before the server.
        Answer::raw(401, "<html>401 – wer?</html>"),
        Answer::raw(401, ""),
        Answer::raw(401, "{\"error_type\":\"UNAUTHENTICATED\"}"),
    ] {
        let error = refused(lost).await;
        assert_eq!(error.kind(), ErrorKind::SessionLost, "{error}");
        assert_eq!(error.to_string(), "the session on vc.example:443 has ended (ExportVm)");
    }
    for (other, kind) in [
        (Answer::fault("NoPermission", "darf nicht", privilege), ErrorKind::Denied),
        (Answer::fault("RestrictedVersion", "", ""), ErrorKind::Denied),
        (Answer::fault("InvalidLogin", "", ""), ErrorKind::Denied),
        (Answer::raw(403, "nein"), ErrorKind::Protocol),
        (Answer::raw(407, "proxy"), ErrorKind::Protocol),
        (Answer::raw(500, "<html>Fehler</html>"), ErrorKind::Network),
        (Answer::raw(503, "später"), ErrorKind::Network),
        (Answer::broken(), ErrorKind::Network),
    ] {
        let error = refused(other).await;
        assert_eq!(error.kind(), kind, "{error}");
    }
    // Nobody had a session that could be lost.
    let script = Script::list([]);
    let session = connected(&script).await;
    script.push(Answer::raw(401, "wer?"));
    let error = session.login("jürgen", &Secret::new("p")).await.unwrap_err();
    assert!(matches!(error, VimError::Status { status: 401, .. }), "{error}");
}

#[tokio::test]
async fn a_lost_session_may_hide_in_missing_properties() {
    let (script, session) = known().await;
    script.push(missing("NotAuthenticated"));
    let error = session.read(&vm(), &["name"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionLost, "{error}");
    // A privilege that is missing is told as such, and the rest is readable.
    script.push(missing("NoPermission"));
    let read = session.read(&vm(), &["name"]).await.unwrap();
    assert_eq!(read.missing("name").unwrap().privilege().as_deref(), Some("System.View"));
}

#[tokio::test]
async fn what_carried_a_lost_session_is_not_sent_again() {
    let (script, session) = known().await;
    let carrier = |script: &Script| match wire() {
        Wire::Json => script.last().session,
        _ => script.last().cookie,
    };
    script.push(Answer::fault("NotAuthenticated", "", ""));
    session.export_vm(&vm()).await.unwrap_err();
    assert!(carrier(&script).is_some());
    script.push(Answer::soap("Login", "<returnval><key>k</key></returnval>"));
    session.login("jürgen", &Secret::new("p")).await.unwrap();
    assert_eq!(carrier(&script), None);
}

fn lease() -> LeaseId {
    LeaseId::new(MoRef::new("HttpNfcLease", "session[52aa]a"))
}

/// A server with one lease, whose waits are answered by `wait` after a while.
fn watching(wait: Answer) -> Arc<Script> {
    Script::new(move |asked| {
        let method = asked.method()?.to_owned();
        Some(match method.as_str() {
            "CreatePropertyCollector" => {
                Answer::soap(&method, "<returnval type=\"PropertyCollector\">pc</returnval>")
            }
            "CreateFilter" => {
                Answer::soap(&method, "<returnval type=\"PropertyFilter\">f</returnval>")
            }
            "RetrievePropertiesEx" => Answer::soap(
                &method,
                "<returnval><objects><obj type=\"HttpNfcLease\">session[52aa]a</obj><propSet>\
                 <name>state</name><val xsi:type=\"HttpNfcLeaseState\">initializing</val></propSet>\
                 </objects></returnval>",
            ),
            "WaitForUpdatesEx" => wait.clone().after(Duration::from_secs(3)),
            _ => return None,
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_finds_the_session_lost_says_so() {
    let missing = "<returnval><version>1</version><filterSet><filter type=\"PropertyFilter\">f\
        </filter><objectSet><kind>modify</kind><obj type=\"HttpNfcLease\">session[52aa]a</obj>\
        <missingSet><path>state</path><fault><fault xsi:type=\"NotAuthenticated\"/></fault>\
        </missingSet></objectSet></filterSet></returnval>";
    for wait in
        [Answer::fault("NotAuthenticated", "", ""), Answer::soap("WaitForUpdatesEx", missing)]
    {
        let session = connected(&watching(wait)).await;
        let mut watch = session.watch_lease(&lease()).await.unwrap();
        watch.changed().await.unwrap();
        let error = watch.changed().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SessionLost, "{error}");
    }
}
