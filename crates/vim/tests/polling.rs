//! Servers that cannot tell of changes: leases and tasks are read again and again.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ovftransfer_vim::lease::{LeaseId, LeaseState};
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::{ErrorKind, LeaseWatch, MoRef, Wire};
use tokio::time::Instant;

use scripted::{Answer, Asked, Script, connected, wire};

fn lease(id: &str) -> LeaseId {
    LeaseId::new(MoRef::new("HttpNfcLease", format!("session[52aa]{id}")))
}

/// What the server has: the state of every lease, by the end of its id.
type Leases = Arc<Mutex<Vec<(&'static str, &'static str)>>>;

const INFO: &str = "<propSet><name>info</name><val xsi:type=\"HttpNfcLeaseInfo\">\
    <leaseTimeout>300</leaseTimeout></val></propSet>";

/// Answers a read of leases as real servers do: one that is gone spoils the read of all.
fn read(asked: &Asked, leases: &Leases) -> Answer {
    let leases = leases.lock().unwrap();
    let mut objects = String::new();
    for part in asked.body.split("session[52aa]").skip(1) {
        let id = part.split(['<', '"']).next().unwrap();
        let Some((_, state)) = leases.iter().find(|(known, _)| *known == id) else {
            let object = format!("<obj type=\"HttpNfcLease\">session[52aa]{id}</obj>");
            return Answer::fault("ManagedObjectNotFound", "weg", &object);
        };
        objects += &format!(
            "<objects><obj type=\"HttpNfcLease\">session[52aa]{id}</obj><propSet><name>state</name>\
             <val xsi:type=\"HttpNfcLeaseState\">{state}</val></propSet>{INFO}</objects>"
        );
    }
    Answer::soap("RetrievePropertiesEx", &format!("<returnval>{objects}</returnval>"))
}

/// A server whose updates are `refuse`d by this rule.
fn server(
    leases: &[(&'static str, &'static str)],
    refuse: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
) -> (Arc<Script>, Leases) {
    let leases: Leases = Arc::new(Mutex::new(leases.to_vec()));
    let known = Arc::clone(&leases);
    let script = Script::new(move |asked| {
        let method = asked.method()?.to_owned();
        let object = |kind| format!("<returnval type=\"{kind}\">session[52aa]x</returnval>");
        refuse(&method).or_else(|| {
            Some(match method.as_str() {
                "RetrievePropertiesEx" => read(asked, &known),
                "CreatePropertyCollector" => Answer::soap(&method, &object("PropertyCollector")),
                "CreateFilter" => Answer::soap(&method, &object("PropertyFilter")),
                "DestroyPropertyFilter" | "DestroyPropertyCollector" | "CancelWaitForUpdates" => {
                    Answer::soap(&method, "")
                }
                _ => return None,
            })
        })
    });
    (script, leases)
}

fn set(leases: &Leases, id: &str, state: &'static str) {
    leases.lock().unwrap().iter_mut().find(|(known, _)| *known == id).unwrap().1 = state;
}

async fn ready(watch: &mut LeaseWatch) {
    loop {
        match watch.changed().await.unwrap() {
            LeaseState::Initializing { .. } => {}
            LeaseState::Ready(info) => return assert_eq!(info.timeout_s, 300),
            state => panic!("{state:?}"),
        }
    }
}

/// Whatever part of the collector is missing, the watch is the same.
#[tokio::test(start_paused = true)]
async fn servers_without_updates_are_polled() {
    // What a gateway of VI JSON says of a path that it does not know; SOAP has one path for all.
    let no_path = match wire() {
        Wire::Json => Answer::raw(404, "<html>404</html>"),
        _ => Answer::fault("NotImplemented", "", ""),
    };
    let refusals = [
        ("CreateFilter", no_path),
        ("CreatePropertyCollector", Answer::fault("MethodNotFound", "gibt es nicht", "")),
        ("CreateFilter", Answer::fault("NotSupported", "", "")),
        ("WaitForUpdatesEx", Answer::fault("NotSupported", "geht nicht", "")),
        // It accepts the filter, and its full state does not have the lease.
        ("WaitForUpdatesEx", Answer::soap("WaitForUpdatesEx", "")),
    ];
    for (missing, refusal) in refusals {
        let (script, leases) = server(&[("a", "initializing"), ("b", "initializing")], move |m| {
            (m == missing).then(|| refusal.clone())
        });
        let session = connected(&script).await;
        assert!(!session.is_polling());
        let mut first = session.watch_lease(&lease("a")).await.unwrap();
        let mut second = session.watch_lease(&lease("b")).await.unwrap();
        assert!(matches!(first.changed().await.unwrap(), LeaseState::Initializing { .. }));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(session.is_polling(), "{missing}");
        set(&leases, "a", "ready");
        let since = Instant::now();
        ready(&mut first).await;
        assert!(since.elapsed() <= Duration::from_secs(3), "{missing}: {:?}", since.elapsed());
        set(&leases, "b", "ready");
        ready(&mut second).await;
        // Both by the same request.
        let reads = script.count("RetrievePropertiesEx");
        assert!((28..60).contains(&reads), "{missing}: {reads}");
        set(&leases, "a", "done");
        assert!(matches!(first.changed().await.unwrap(), LeaseState::Done));

        // The end of the last watch is the end of the questions.
        drop((first, second));
        tokio::time::sleep(Duration::from_secs(10)).await;
        let reads = script.count("RetrievePropertiesEx");
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(script.count("RetrievePropertiesEx"), reads);
        // And a new watch knows at once that there are no updates.
        let refused = script.count(missing);
        set(&leases, "b", "initializing");
        let mut third = session.watch_lease(&lease("b")).await.unwrap();
        set(&leases, "b", "ready");
        ready(&mut third).await;
        assert_eq!(script.count(missing), refused, "{missing}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_vanishes_spoils_no_other() {
    let (script, leases) =
        server(&[("a", "initializing"), ("b", "initializing"), ("c", "initializing")], |method| {
            (method == "CreateFilter").then(|| Answer::fault("NotSupported", "", ""))
        });
    let session = connected(&script).await;
    let mut watches = Vec::new();
    for id in ["a", "b", "c"] {
        let mut watch = session.watch_lease(&lease(id)).await.unwrap();
        watch.changed().await.unwrap();
        watches.push(watch);
    }
    leases.lock().unwrap().remove(1);
    set(&leases, "a", "ready");
    set(&leases, "c", "ready");
    ready(&mut watches[0]).await;
    assert_eq!(watches[1].changed().await.unwrap_err().kind(), ErrorKind::Gone);
    ready(&mut watches[2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_ends_polling() {
    let lost = Arc::new(AtomicUsize::new(0));
    let flag = Arc::clone(&lost);
    let (script, _) = server(&[("a", "initializing")], move |method| match method {
        "CreateFilter" => Some(Answer::fault("NotSupported", "", "")),
        _ if flag.load(Ordering::Relaxed) > 0 => Some(Answer::fault("NotAuthenticated", "", "")),
        _ => None,
    });
    let session = connected(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    watch.changed().await.unwrap();
    lost.store(1, Ordering::Relaxed);
    assert_eq!(watch.changed().await.unwrap_err().kind(), ErrorKind::SessionLost);
}

/// A lease that went between the filter and the full state is gone, and no reason to poll.
#[tokio::test(start_paused = true)]
async fn a_lease_missing_in_the_full_state_may_just_be_gone() {
    let (script, leases) = server(&[("a", "initializing")], |method| {
        let slowly = Duration::from_secs(1);
        (method == "WaitForUpdatesEx").then(|| Answer::soap(method, "").after(slowly))
    });
    let session = connected(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    watch.changed().await.unwrap();
    leases.lock().unwrap().clear();
    assert_eq!(watch.changed().await.unwrap_err().kind(), ErrorKind::Gone);
    assert!(!session.is_polling());
}

#[tokio::test(start_paused = true)]
async fn tasks_are_polled_as_well() {
    let reads = Arc::new(AtomicUsize::new(0));
    let script = Script::new(move |asked| {
        let method = asked.method()?;
        if method == "CreatePropertyCollector" {
            return Some(Answer::fault("NotSupported", "", ""));
        }
        if method != "RetrievePropertiesEx" {
            return None;
        }
        let (state, percent) = match reads.fetch_add(1, Ordering::Relaxed) {
            0 => ("queued", 0),
            1..4 => ("running", 30),
            4 => return Some(Answer::broken()),
            _ => ("success", 100),
        };
        Some(Answer::soap(
            method,
            &format!(
                "<returnval><objects><obj type=\"Task\">t</obj><propSet><name>info</name>\
                 <val xsi:type=\"TaskInfo\"><state>{state}</state><progress>{percent}</progress>\
                 </val></propSet></objects></returnval>"
            ),
        ))
    });
    let session = connected(&script).await;
    let mut watch = session.watch_task(&MoRef::new("Task", "t"));
    let since = Instant::now();
    let mut seen = Vec::new();
    loop {
        let info = watch.changed().await.unwrap();
        seen.push(info.progress);
        if matches!(info.state, TaskState::Success) {
            break;
        }
    }
    assert_eq!(seen, [Some(0), Some(30), Some(100)]);
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
}
