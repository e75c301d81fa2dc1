//! Lease updates on a paused clock: what arrives, in which order, and what happens when the wait
//! itself fails.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ovftransfer_vim::lease::{LeaseId, LeaseState};
use ovftransfer_vim::{ErrorKind, MoRef, Session, Wire};
use tokio::time::Instant;

use scripted::{Answer, Script, connected, wire};

fn lease(id: &str) -> LeaseId {
    LeaseId::new(MoRef::new("HttpNfcLease", format!("session[52aa]{id}")))
}

const INFO: &str = "<val xsi:type=\"HttpNfcLeaseInfo\"><entity type=\"VirtualMachine\">vm-9</entity>\
    <deviceUrl><key>/vm-9/disk:0</key><importKey></importKey>\
    <url>https://*/nfc/ticket/disk-0.vmdk</url><sslThumbprint></sslThumbprint></deviceUrl>\
    <leaseTimeout>300</leaseTimeout></val>";

fn change(name: &str, val: &str) -> String {
    format!("<changeSet><name>{name}</name><op>assign</op>{val}</changeSet>")
}

fn state(name: &str) -> String {
    change("state", &format!("<val xsi:type=\"HttpNfcLeaseState\">{name}</val>"))
}

fn update(id: &str, kind: &str, changes: &str) -> String {
    format!(
        "<filterSet><filter type=\"PropertyFilter\">f</filter><objectSet><kind>{kind}</kind>\
         <obj type=\"HttpNfcLease\">session[52aa]{id}</obj>{changes}</objectSet></filterSet>"
    )
}

fn updates(version: &str, sets: &str) -> Answer {
    let set = format!("<returnval><version>{version}</version>{sets}</returnval>");
    Answer::soap("WaitForUpdatesEx", &set)
}

fn not_found(kind: &str, id: &str) -> Answer {
    Answer::fault("ManagedObjectNotFound", "", &format!("<obj type=\"{kind}\">{id}</obj>"))
}

/// Everything but waits is answered by rule: leases are initializing, collectors and filters can
/// be made.  Waits come from a list; when it is empty the server has nothing to tell.
fn server(waits: impl IntoIterator<Item = Answer>) -> (Arc<Script>, Arc<Mutex<VecDeque<Answer>>>) {
    let waits = Arc::new(Mutex::new(waits.into_iter().collect::<VecDeque<_>>()));
    let list = Arc::clone(&waits);
    let script = Script::new(move |asked| {
        let method = asked.method()?.to_owned();
        Some(match method.as_str() {
            "WaitForUpdatesEx" => list
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or_else(|| Answer::soap(&method, "").after(Duration::from_secs(50))),
            "CreatePropertyCollector" => Answer::soap(
                &method,
                "<returnval type=\"PropertyCollector\">session[52aa]pc</returnval>",
            ),
            "CreateFilter" => Answer::soap(
                &method,
                "<returnval type=\"PropertyFilter\">session[52aa]f</returnval>",
            ),
            "RetrievePropertiesEx" => {
                let id = asked.body.split("session[52aa]").nth(1)?.split(['<', '"']).next()?;
                Answer::soap(
                    &method,
                    &format!(
                        "<returnval><objects><obj type=\"HttpNfcLease\">session[52aa]{id}</obj>\
                         <propSet><name>state</name><val xsi:type=\"HttpNfcLeaseState\">initializing\
                         </val></propSet></objects></returnval>"
                    ),
                )
            }
            "DestroyPropertyFilter" | "DestroyPropertyCollector" | "CancelWaitForUpdates" => {
                Answer::soap(&method, "")
            }
            _ => return None,
        })
    });
    (script, waits)
}

async fn session(script: &Arc<Script>) -> Session {
    connected(script).await
}

fn percent(state: LeaseState) -> u8 {
    match state {
        LeaseState::Initializing { percent } => percent,
        state => panic!("{state:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn states_arrive_in_order_and_merge() {
    let (script, _) = server([
        updates("1", &update("a", "enter", &(state("initializing") + &change("info", "")))),
        updates(
            "2",
            &update(
                "a",
                "modify",
                &change("initializeProgress", "<val xsi:type=\"xsd:int\">40</val>"),
            ),
        )
        .after(Duration::from_secs(1)),
        updates("3", &update("a", "modify", &state("ready"))).after(Duration::from_secs(1)),
        updates("4", &update("a", "modify", &change("info", INFO))).after(Duration::from_secs(1)),
    ]);
    let session = session(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    assert_eq!(percent(watch.changed().await.unwrap()), 0);
    assert_eq!(percent(watch.changed().await.unwrap()), 40);
    let LeaseState::Ready(info) = watch.changed().await.unwrap() else { panic!() };
    assert_eq!(info.devices[0].url.host(), "vc.example");
    if wire() == Wire::Json {
        return;
    }
    let filter = script.asked().into_iter().find(|a| a.method() == Some("CreateFilter")).unwrap();
    assert_eq!(
        filter.call(),
        "<CreateFilter xmlns=\"urn:vim25\"><_this type=\"PropertyCollector\">session[52aa]pc</_this>\
         <spec><propSet><type>HttpNfcLease</type><pathSet>state</pathSet><pathSet>info</pathSet>\
         <pathSet>error</pathSet><pathSet>initializeProgress</pathSet></propSet><objectSet>\
         <obj type=\"HttpNfcLease\">session[52aa]a</obj></objectSet></spec>\
         <partialUpdates>false</partialUpdates></CreateFilter>"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        script.last().call(),
        "<WaitForUpdatesEx xmlns=\"urn:vim25\"><_this type=\"PropertyCollector\">session[52aa]pc\
         </_this><version>4</version><options><maxWaitSeconds>50</maxWaitSeconds></options>\
         </WaitForUpdatesEx>"
    );
}

const FAULT: &str = "<val xsi:type=\"LocalizedMethodFault\"><fault xsi:type=\"FileAlreadyExists\">\
    <faultCause><fault xsi:type=\"SystemError\"><reason>ü</reason></fault></faultCause>\
    <file>[ds] x</file></fault><localizedMessage>gibt es schon</localizedMessage></val>";

#[tokio::test(start_paused = true)]
async fn the_fault_may_come_after_the_state() {
    let (script, _) = server([
        updates("1", &update("a", "enter", &state("error"))),
        updates("2", &update("a", "modify", &change("error", FAULT)))
            .after(Duration::from_millis(300)),
    ]);
    let session = session(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    let error = loop {
        if let LeaseState::Error(fault) = watch.changed().await.unwrap() {
            break fault;
        }
    };
    assert_eq!(
        error.to_string(),
        "FileAlreadyExists: gibt es schon: [ds] x (cause: SystemError: ü)"
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_without_a_fault_is_still_an_error() {
    let (script, _) = server([updates("1", &update("a", "enter", &state("error")))]);
    let session = session(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    let started = Instant::now();
    let error = loop {
        if let LeaseState::Error(fault) = watch.changed().await.unwrap() {
            break fault;
        }
    };
    assert!(error.to_string().contains("no reason"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_vanished_lease_is_told_apart() {
    let (script, _) = server([
        updates("1", &update("a", "enter", &state("initializing"))),
        updates("2", &update("a", "leave", "")),
    ]);
    let session = session(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    let gone = loop {
        if let Err(error) = watch.changed().await {
            break error;
        }
    };
    assert_eq!(gone.kind(), ErrorKind::Gone);
    assert_eq!(gone.to_string(), "lease a is gone from vc.example:443");
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_is_told_to_every_watch() {
    let (script, _) =
        server([Answer::fault("NotAuthenticated", "", "").after(Duration::from_secs(5))]);
    let session = session(&script).await;
    let mut watches = Vec::new();
    for id in ["a", "b", "c"] {
        watches.push(session.watch_lease(&lease(id)).await.unwrap());
    }
    for watch in &mut watches {
        assert_eq!(percent(watch.changed().await.unwrap()), 0);
    }
    for watch in &mut watches {
        let error = watch.changed().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SessionLost);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_the_wait_are_survived() {
    let (script, _) = server([
        Answer::broken(),
        Answer::raw(503, "<html>später wieder</html>"),
        Answer::fault("InvalidCollectorVersion", "", ""),
        updates("1", &update("a", "enter", &(state("ready") + &change("info", INFO)))),
    ]);
    let session = session(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    let started = Instant::now();
    loop {
        if let LeaseState::Ready(_) = watch.changed().await.unwrap() {
            break;
        }
    }
    let waited = started.elapsed();
    assert!(waited > Duration::from_millis(500) && waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(script.count("CreatePropertyCollector"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_collector_is_made_again_with_its_filters() {
    let (script, _) = server([
        not_found("PropertyCollector", "session[52aa]pc").after(Duration::from_secs(1)),
        updates("1", &update("b", "enter", &(state("ready") + &change("info", INFO)))),
    ]);
    let session = session(&script).await;
    let _first = session.watch_lease(&lease("a")).await.unwrap();
    let mut second = session.watch_lease(&lease("b")).await.unwrap();
    loop {
        if let LeaseState::Ready(_) = second.changed().await.unwrap() {
            break;
        }
    }
    assert_eq!(script.count("CreatePropertyCollector"), 2);
    assert_eq!(script.count("CreateFilter"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_server_blind_to_new_filters_is_asked_anew() {
    let (script, waits) = server([updates("1", &update("a", "enter", &state("initializing")))]);
    let session = session(&script).await;
    let _first = session.watch_lease(&lease("a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(script.count("CancelWaitForUpdates"), 0);
    // The pending wait never tells of the second filter, and does not return when cancelled either.
    waits.lock().unwrap().push_back(updates("2", &update("b", "enter", &state("done"))));
    let mut second = session.watch_lease(&lease("b")).await.unwrap();
    assert_eq!(percent(second.changed().await.unwrap()), 0);
    let changed = tokio::time::timeout(Duration::from_secs(51), second.changed()).await;
    assert!(matches!(changed.unwrap().unwrap(), LeaseState::Done));
    assert!(script.count("CancelWaitForUpdates") > 0);
}

#[tokio::test(start_paused = true)]
async fn the_waiter_ends_with_the_last_watch() {
    let (script, _) = server([updates(
        "1",
        &(update("a", "enter", &state("initializing")) + &update("b", "enter", &state("done"))),
    )
    .after(Duration::from_millis(100))]);
    let session = session(&script).await;
    let first = session.watch_lease(&lease("a")).await.unwrap();
    let second = session.watch_lease(&lease("b")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(script.count("DestroyPropertyFilter"), 1);
    assert_eq!(script.count("DestroyPropertyCollector"), 0);
    drop(second);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(script.count("DestroyPropertyCollector"), 1);
    let waits = script.count("WaitForUpdatesEx");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(script.count("WaitForUpdatesEx"), waits);
    // And starts again with the next one.
    let mut third = session.watch_lease(&lease("c")).await.unwrap();
    third.changed().await.unwrap();
    assert_eq!(script.count("CreatePropertyCollector"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_leases_share_one_wait() {
    let (script, waits) = server([]);
    let session = session(&script).await;
    let mut sets = String::new();
    for index in 0..1000 {
        sets += &update(&format!("l{index}"), "enter", &(state("ready") + &change("info", INFO)));
    }
    waits.lock().unwrap().push_back(updates("1", &sets).after(Duration::from_secs(2)));
    let mut watches = Vec::new();
    for index in 0..1000 {
        watches.push(session.watch_lease(&lease(&format!("l{index}"))).await.unwrap());
    }
    for watch in &mut watches {
        loop {
            if let LeaseState::Ready(_) = watch.changed().await.unwrap() {
                break;
            }
        }
    }
    assert_eq!(script.count("CreatePropertyCollector"), 1);
    assert!(script.count("WaitForUpdatesEx") <= 3, "{}", script.count("WaitForUpdatesEx"));
    // On a collector of our own: that of the session belongs to everybody who has the session.
    let waits = script.asked().into_iter().filter(|a| a.method() == Some("WaitForUpdatesEx"));
    for asked in waits {
        let this = if asked.is_json() { &asked.path } else { &asked.body };
        assert!(this.contains("session[52aa]pc"), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn logging_out_ends_every_watch() {
    let (script, _) = server([]);
    let session = session(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    watch.changed().await.unwrap();
    script.push(Answer::soap("Logout", ""));
    session.logout().await.unwrap();
    assert_eq!(watch.changed().await.unwrap_err().kind(), ErrorKind::SessionLost);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_loses_nothing() {
    let (script, _) = server([
        updates("1", &update("a", "enter", &state("error"))),
        updates("2", &update("a", "modify", &change("error", FAULT)))
            .after(Duration::from_millis(700)),
    ]);
    let session = session(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    let fault = loop {
        // Shorter than the wait for the fault that belongs to the state.
        let patience = Duration::from_millis(50);
        match tokio::time::timeout(patience, watch.changed()).await {
            Ok(Ok(LeaseState::Error(fault))) => break fault,
            Ok(state) => drop(state.unwrap()),
            Err(_) => {}
        }
    };
    assert!(fault.is("FileAlreadyExists"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_away_is_told_after_half_an_hour() {
    let (script, _) = server((0..1000).map(|_| Answer::broken()));
    let session = session(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    assert_eq!(percent(watch.changed().await.unwrap()), 0);
    let begin = Instant::now();
    let error = watch.changed().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    let waited = begin.elapsed();
    assert!(
        waited >= Duration::from_secs(1800) && waited < Duration::from_secs(1900),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_vanishes_after_its_completion_was_completed() {
    let done = updates("2", &update("a", "modify", &state("done")));
    let gone = updates("3", &update("a", "leave", ""));
    let first = updates("1", &update("a", "enter", &state("initializing")));
    let (script, _) = server([first, done.after(Duration::from_secs(1)), gone]);
    let session = session(&script).await;
    let mut watch = session.watch_lease(&lease("a")).await.unwrap();
    assert_eq!(percent(watch.changed().await.unwrap()), 0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(matches!(watch.changed().await, Ok(LeaseState::Done)));
}
