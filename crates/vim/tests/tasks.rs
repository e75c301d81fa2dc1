//! Tasks by updates, on a paused clock; and machines by BIOS UUID.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::{ErrorKind, Locator, MoRef};
use tokio::time::Instant;

use scripted::{Answer, Script, connected};

fn task() -> MoRef {
    MoRef::new("Task", "task-1")
}

fn val(state: &str, more: &str) -> String {
    format!(
        "<val xsi:type=\"TaskInfo\"><key>task-1</key>\
         <descriptionId>VirtualMachine.powerOn</descriptionId><state>{state}</state>{more}</val>"
    )
}

fn updates(version: &str, state: &str, more: &str) -> Answer {
    let val = val(state, more);
    Answer::soap(
        "WaitForUpdatesEx",
        &format!(
            "<returnval><version>{version}</version><filterSet><filter type=\"PropertyFilter\">f\
             </filter><objectSet><kind>modify</kind><obj type=\"Task\">task-1</obj><changeSet>\
             <name>info</name><op>assign</op>{val}</changeSet></objectSet></filterSet></returnval>"
        ),
    )
}

fn read(state: &str, more: &str) -> Answer {
    let val = val(state, more);
    Answer::soap(
        "RetrievePropertiesEx",
        &format!(
            "<returnval><objects><obj type=\"Task\">task-1</obj><propSet><name>info</name>{val}\
             </propSet></objects></returnval>"
        ),
    )
}

/// The task is `first` when it is read, and then what the waits say.
fn server(first: Answer, waits: impl IntoIterator<Item = Answer>) -> Arc<Script> {
    let waits = Mutex::new(waits.into_iter().collect::<VecDeque<_>>());
    Script::new(move |asked| {
        let method = asked.method()?.to_owned();
        let object = |kind| format!("<returnval type=\"{kind}\">session[52aa]x</returnval>");
        Some(match method.as_str() {
            "CreatePropertyCollector" => Answer::soap(&method, &object("PropertyCollector")),
            "CreateFilter" => Answer::soap(&method, &object("PropertyFilter")),
            "RetrievePropertiesEx" => first.clone(),
            "WaitForUpdatesEx" => waits
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or_else(|| Answer::soap(&method, "").after(Duration::from_secs(50))),
            "DestroyPropertyFilter" | "DestroyPropertyCollector" | "CancelTask" => {
                Answer::soap(&method, "")
            }
            _ => return None,
        })
    })
}

const FAILED: &str = "<error><fault xsi:type=\"InvalidPowerState\"/><localizedMessage>läuft schon\
    </localizedMessage></error>";

#[tokio::test(start_paused = true)]
async fn tasks_are_followed_to_their_end() {
    let script = server(
        read("queued", ""),
        [
            updates("1", "queued", ""),
            updates("2", "running", "<progress>10</progress>").after(Duration::from_secs(40)),
            updates("3", "running", "<progress>10</progress>").after(Duration::from_secs(40)),
            Answer::broken(),
            updates("4", "running", "<progress>90</progress>").after(Duration::from_secs(40)),
            updates("5", "error", FAILED).after(Duration::from_secs(40)),
        ],
    );
    let session = connected(&script).await;
    let mut watch = session.watch_task(&task());
    let mut seen = Vec::new();
    loop {
        let info = watch.changed().await.unwrap();
        seen.push(info.progress);
        if let TaskState::Error(fault) = info.state {
            assert_eq!(fault.message(), Some("läuft schon"));
            break;
        }
    }
    assert_eq!(seen, [None, Some(10), Some(90), None]);
    // In nearly three minutes it has been read once: the server tells.
    assert_eq!(script.count("RetrievePropertiesEx"), 1);
    assert!(!session.is_polling());
    // What has ended is not asked again.
    let waits = script.count("WaitForUpdatesEx");
    let failed = watch.finished().await.unwrap_err();
    assert!(failed.is_fault("InvalidState"), "{failed}");
    assert!(
        failed.to_string().starts_with("VirtualMachine.powerOn on vc.example:443: "),
        "{failed}"
    );
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(script.count("WaitForUpdatesEx") <= waits + 1);
    assert_eq!(script.count("DestroyPropertyCollector"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_task_is_handed_out() {
    let result = "<result type=\"VirtualMachineSnapshot\" \
        xsi:type=\"ManagedObjectReference\">snapshot-1</result>";
    let script = server(read("success", result), []);
    let session = connected(&script).await;
    let done = session.watch_task(&task()).finished().await.unwrap();
    let snapshot = done.result.unwrap().moref().cloned();
    assert_eq!(snapshot, Some(MoRef::new("VirtualMachineSnapshot", "snapshot-1")));
}

/// A task that ends between two looks of a slow server does not begin again.
#[tokio::test(start_paused = true)]
async fn no_task_begins_again_after_its_end() {
    let script = server(
        read("success", ""),
        [updates("1", "running", "<progress>50</progress>"), updates("2", "success", "")],
    );
    let session = connected(&script).await;
    let mut watch = session.watch_task(&task());
    for _ in 0..3 {
        assert!(matches!(watch.changed().await.unwrap().state, TaskState::Success));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_task_says_so() {
    let cancelled = "<cancelled>true</cancelled><cancelable>true</cancelable>";
    let fault = "<error><fault xsi:type=\"RequestCanceled\"/></error>";
    let script = server(
        read("running", "<progress>5</progress><cancelable>true</cancelable>"),
        [
            updates("1", "running", "<progress>5</progress><cancelable>true</cancelable>"),
            updates("2", "running", cancelled).after(Duration::from_secs(1)),
            updates("3", "error", &format!("{cancelled}{fault}")).after(Duration::from_secs(1)),
        ],
    );
    let session = connected(&script).await;
    let mut watch = session.watch_task(&task());
    let first = watch.changed().await.unwrap();
    assert!(first.is_cancelable && !first.is_cancelled);
    session.cancel_task(&task()).await.unwrap();
    assert_eq!(script.count("CancelTask"), 1);
    assert!(watch.changed().await.unwrap().is_cancelled);
    let failed = watch.finished().await.unwrap_err();
    assert!(failed.is_fault("RequestCanceled"), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_task_is_told() {
    let gone = Answer::fault("ManagedObjectNotFound", "", "<obj type=\"Task\">task-1</obj>");
    let session = connected(&server(gone.clone(), [])).await;
    let error = session.watch_task(&task()).finished().await.unwrap_err();
    assert!(error.is_fault("ManagedObjectNotFound"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Gone);
    // Also while it is watched.
    let waits = [updates("1", "running", ""), gone.after(Duration::from_secs(1))];
    let session = connected(&server(read("running", ""), waits)).await;
    let error = session.watch_task(&task()).finished().await.unwrap_err();
    assert!(error.is_fault("ManagedObjectNotFound"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn outages_are_borne_for_a_while_only() {
    // None of the calls of a watch gets through.
    let script = Script::new(|asked| {
        (asked.method() == Some("CreatePropertyCollector")).then(Answer::broken)
    });
    let session = connected(&script).await;
    let started = Instant::now();
    let error = session.watch_task(&task()).finished().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    let took = started.elapsed().as_secs();
    assert!((300..310).contains(&took), "{took}");
    // Later it is the wait that is repeated.
    let waits = (0..1000).map(|_| Answer::broken());
    let session = connected(&server(read("running", ""), waits)).await;
    let started = Instant::now();
    let error = session.watch_task(&task()).finished().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    let took = started.elapsed().as_secs();
    assert!((1800..1900).contains(&took), "{took}");
}

fn machines(ids: &[&str]) -> Arc<Script> {
    let found: String = ids
        .iter()
        .map(|id| format!("<returnval type=\"VirtualMachine\">{id}</returnval>"))
        .collect();
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    Script::new(move |asked| {
        let method = asked.method()?;
        if method == "FindAllByUuid" {
            return Some(Answer::soap(method, &found));
        }
        let id = ids.iter().find(|id| asked.body.contains(id.as_str()))?;
        let name = format!(
            "<returnval><objects><obj type=\"VirtualMachine\">{id}</obj><propSet><name>name</name>\
             <val xsi:type=\"xsd:string\">Büro {id}</val></propSet></objects></returnval>"
        );
        (method == "RetrievePropertiesEx").then(|| Answer::soap(method, &name))
    })
}

#[tokio::test]
async fn machines_are_found_by_bios_uuid() {
    const UUID: &str = "421a2b3c-4d5e-6f70-8192-a3b4c5d6e7f8";
    let locator: Locator = format!("vi://vc.example/?bios={UUID}").parse().unwrap();

    let script = machines(&["vm-1"]);
    let session = connected(&script).await;
    let vm = session.locate(&locator, &[]).await.unwrap();
    assert_eq!((vm.moref(), vm.name()), (&MoRef::new("VirtualMachine", "vm-1"), "Büro vm-1"));
    let asked =
        script.asked().into_iter().find(|asked| asked.method() == Some("FindAllByUuid")).unwrap();
    if !asked.is_json() {
        assert_eq!(
            asked.call(),
            format!(
                "<FindAllByUuid xmlns=\"urn:vim25\"><_this type=\"SearchIndex\">SearchIndex</_this>\
                 <uuid>{UUID}</uuid><vmSearch>true</vmSearch><instanceUuid>false</instanceUuid>\
                 </FindAllByUuid>"
            )
        );
    }
    // A restored machine beside its original: nobody but the caller can say which is meant.
    let session = connected(&machines(&["vm-1", "vm-2"])).await;
    let both = session.locate(&locator, &[]).await.unwrap_err();
    assert_eq!(both.kind(), ErrorKind::Ambiguous);
    assert_eq!(
        both.to_string(),
        format!(
            "a machine with the BIOS UUID {UUID} is ambiguous on vc.example:443: Büro vm-1 (VirtualMachine:vm-1), \
             Büro vm-2 (VirtualMachine:vm-2)"
        )
    );
    assert_eq!(session.find_all_by_bios(UUID).await.unwrap().len(), 2);
    let session = connected(&machines(&[])).await;
    let nobody = session.locate(&locator, &[]).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotFound, "{nobody}");
}
