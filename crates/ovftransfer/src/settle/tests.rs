//! A server without sockets: tasks that run, end and are cancelled, and snapshots.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::Request;
use http::Response;
use ovftransfer_vim::Endpoint;
use ovftransfer_vim::Wire;
use ovftransfer_vim::tls::Trust;
use ovftransfer_vim::transport::Body;
use ovftransfer_vim::transport::ByteStream;
use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::transport::TransportError;

use super::*;
use crate::error::ErrorKind;
use crate::journal;

const S: Duration = Duration::from_secs(1);

/// What becomes of a task that is asked to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cancel {
    /// It ends with an error, so many seconds later.
    Ends(u64),
    /// The server says that it cannot be cancelled.
    Refused,
    /// The connection breaks.
    Broken,
}

#[derive(Clone, Debug)]
struct Task {
    id: &'static str,
    what: &'static str,
    entity: &'static str,
    /// When it ends by itself, and how.
    end: Option<(u64, &'static str)>,
    cancel: Cancel,
    cancelled_s: Option<u64>,
}

impl Task {
    fn new(id: &'static str) -> Self {
        let (what, entity) = ("ResourcePool.ImportVAppLRO", "vm-9");
        Self { id, what, entity, end: None, cancel: Cancel::Ends(1), cancelled_s: None }
    }

    fn does(self, what: &'static str) -> Self {
        Self { what, ..self }
    }

    fn on(self, entity: &'static str) -> Self {
        Self { entity, ..self }
    }

    fn ends(self, at_s: u64, state: &'static str) -> Self {
        Self { end: Some((at_s, state)), ..self }
    }

    fn when_cancelled(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }

    fn state(&self, now_s: u64) -> &'static str {
        match (self.end, self.cancel, self.cancelled_s) {
            (Some((at_s, state)), ..) if now_s >= at_s => state,
            (_, Cancel::Ends(after_s), Some(at_s)) if now_s >= at_s + after_s => "error",
            _ => "running",
        }
    }
}

/// What the server has, and what it was asked.
#[derive(Debug)]
struct Vc {
    start: Instant,
    tasks: Mutex<Vec<Task>>,
    /// Tasks that each object knows of.
    recent: Mutex<Vec<(&'static str, Vec<&'static str>)>>,
    /// Id and name of each snapshot of `vm-9`, and when it is there.
    snapshots: Vec<(&'static str, &'static str, u64)>,
    /// The connection breaks when objects of this type are read.
    unreadable: Option<&'static str>,
    /// Faults that the removal of a snapshot answers with, before it is begun; [`RESET`] breaks the
    /// connection.
    busy: Mutex<VecDeque<&'static str>>,
    asked: Mutex<Vec<String>>,
}

impl Vc {
    fn new(tasks: impl IntoIterator<Item = Task>) -> Self {
        Self {
            start: Instant::now(),
            tasks: Mutex::new(tasks.into_iter().collect()),
            recent: Mutex::default(),
            snapshots: Vec::new(),
            unreadable: None,
            busy: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    fn knows(self, object: &'static str, tasks: &[&'static str]) -> Self {
        self.recent.lock().unwrap().push((object, tasks.to_vec()));
        self
    }

    async fn session(self) -> (Arc<Self>, Session) {
        let this = Arc::new(self);
        let (transport, endpoint) = (Arc::clone(&this), Endpoint::new("vc", 443));
        let session = Session::connect_with(transport, endpoint, Trust::System, Wire::Soap).await;
        this.asked.lock().unwrap().clear();
        (this, session.unwrap())
    }

    fn now_s(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// How often a method was called.
    fn count(&self, method: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == method).count()
    }

    /// Status and body of the answer; `None` if the connection breaks.
    fn answer(&self, call: &str) -> Option<(u16, String)> {
        let (method, rest) = call.split_once(' ').unwrap();
        self.asked.lock().unwrap().push(method.to_owned());
        let id = rest.split('>').nth(2).and_then(|rest| rest.split('<').next()).unwrap();
        let gone = || fault("ManagedObjectNotFound");
        Some(match method {
            "RetrieveServiceContent" => good(method, CONTENT),
            "RetrievePropertiesEx" => {
                let object = rest.split("<obj type=\"").nth(1).unwrap();
                let (kind, object) = object.split_once("\">").unwrap();
                let id = object.split('<').next().unwrap();
                if self.unreadable == Some(kind) {
                    return None;
                }
                match self.properties(kind, id) {
                    Some(set) => good(
                        method,
                        &format!(
                            "<returnval><objects><obj type=\"{kind}\">{id}</obj>{set}</objects></returnval>"
                        ),
                    ),
                    None => gone(),
                }
            }
            "CancelTask" => {
                let now_s = self.now_s();
                let mut tasks = self.tasks.lock().unwrap();
                let Some(task) = tasks.iter_mut().find(|task| task.id == id) else {
                    return Some(gone());
                };
                match task.cancel {
                    Cancel::Ends(_) => {
                        task.cancelled_s = Some(now_s);
                        good(method, "")
                    }
                    Cancel::Refused => fault("NotSupported"),
                    Cancel::Broken => return None,
                }
            }
            "RemoveSnapshot_Task" => match self.busy.lock().unwrap().pop_front() {
                Some(RESET) => return None,
                Some(name) => fault(name),
                None => good(method, "<returnval type=\"Task\">removal</returnval>"),
            },
            // Changes are not told: a task is looked at again and again.
            _ => fault("NotSupported"),
        })
    }

    fn properties(&self, kind: &str, id: &str) -> Option<String> {
        let mut set = String::new();
        let mut add = |name: &str, kind: &str, inner: &str| {
            write!(
                set,
                "<propSet><name>{name}</name><val xsi:type=\"{kind}\">{inner}</val></propSet>"
            )
            .unwrap();
        };
        if kind == "Task" {
            let tasks = self.tasks.lock().unwrap();
            let task = tasks.iter().find(|task| task.id == id)?;
            let state = task.state(self.now_s());
            let error = match state {
                "error" => "<error><fault xsi:type=\"RequestCanceled\"/></error>",
                _ => "",
            };
            add(
                "info",
                "TaskInfo",
                &format!(
                    "<key>{id}</key><task type=\"Task\">{id}</task><descriptionId>{}</descriptionId>\
                     <entity type=\"VirtualMachine\">{}</entity><state>{state}</state>{error}",
                    task.what, task.entity
                ),
            );
            return Some(set);
        }
        let recent = self.recent.lock().unwrap();
        let (_, tasks) = recent.iter().find(|(object, _)| *object == id)?;
        let list = |task: &&str| {
            format!("<ManagedObjectReference type=\"Task\">{task}</ManagedObjectReference>")
        };
        add(RECENT, "ArrayOfManagedObjectReference", &tasks.iter().map(list).collect::<String>());
        add("name", "xsd:string", "web");
        let mut trees = String::new();
        for (id, name, _) in self.snapshots.iter().filter(|(.., at_s)| self.now_s() >= *at_s) {
            write!(
                trees,
                "<rootSnapshotList><snapshot type=\"VirtualMachineSnapshot\">{id}</snapshot>\
                 <name>{name}</name></rootSnapshotList>"
            )
            .unwrap();
        }
        add("snapshot", "VirtualMachineSnapshotInfo", &trees);
        Some(set)
    }
}

impl Transport for Vc {
    fn send(
        &self,
        request: Request<Body>,
        _: &Trust,
    ) -> BoxFuture<'_, Result<Response<ByteStream>, TransportError>> {
        let answer = match request.into_body() {
            Body::Full(bytes) => {
                let body = String::from_utf8(bytes.to_vec()).unwrap();
                self.answer(body.split("<soapenv:Body><").nth(1).unwrap())
            }
            Body::Empty | Body::Stream { .. } => Some((404, String::new())),
        };
        let answer = answer.map(|(status, body)| {
            let body = futures::stream::iter([Ok(Bytes::from(body))]).boxed();
            Response::builder().status(status).body(body).unwrap()
        });
        let (host, reason) = ("vc:443".to_owned(), "reset".to_owned());
        std::future::ready(answer.ok_or(TransportError::Broken { host, reason })).boxed()
    }
}

fn envelope(inner: &str) -> String {
    format!(
        "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>{inner}\
         </soapenv:Body></soapenv:Envelope>"
    )
}

fn good(method: &str, inner: &str) -> (u16, String) {
    let inner = format!("<{method}Response xmlns=\"urn:vim25\">{inner}</{method}Response>");
    (200, envelope(&inner))
}

fn fault(name: &str) -> (u16, String) {
    let detail = format!("<{name}Fault xmlns=\"urn:vim25\" xsi:type=\"{name}\"/>");
    let inner = format!(
        "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring/><detail>{detail}\
         </detail></soapenv:Fault>"
    );
    (500, envelope(&inner))
}

const RESET: &str = "reset";

const CONTENT: &str = "<returnval><rootFolder type=\"Folder\">group-d1</rootFolder>\
    <propertyCollector type=\"PropertyCollector\">propertyCollector</propertyCollector>\
    <about><apiType>VirtualCenter</apiType><apiVersion>8.0.3.0</apiVersion></about>\
    <sessionManager type=\"SessionManager\">SessionManager</sessionManager></returnval>";

fn pool() -> MoRef {
    MoRef::new("ResourcePool", "pool")
}

fn vm() -> MoRef {
    MoRef::new("VirtualMachine", "vm-9")
}

fn task(id: &str) -> MoRef {
    MoRef::new("Task", id)
}

/// Hears what is waited for.
#[derive(Debug, Default)]
struct Ear(Mutex<Vec<String>>);

impl Observer for Ear {
    fn observe(&self, event: &Event) {
        let Event::Warning { message } = event else { panic!("{event:?}") };
        self.0.lock().unwrap().push(message.clone());
    }
}

fn note(found: Option<&str>) -> LeaseNote {
    LeaseNote {
        on: pool(),
        known: vec!["old".to_owned()],
        task: found.map(task),
        name: None,
        is_completing: false,
        is_over: false,
    }
}

/// How the end of a lease goes whose task may take a minute.
async fn ended(vc: Vc, lease: LeaseNote) -> (Result<LeaseEnd, Error>, Arc<Vc>, u64) {
    let (vc, session) = vc.session().await;
    let begin = Instant::now();
    let end = end_lease(&session, &lease, 60 * S, &()).await;
    (end, vc, begin.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn the_task_of_a_killed_run_is_cancelled() {
    let (end, vc, took_s) = ended(Vc::new([Task::new("t")]), note(Some("t"))).await;
    assert_eq!(end.unwrap(), LeaseEnd::Cancelled);
    assert_eq!(vc.count("CancelTask"), 1);
    assert_eq!(took_s, 1);

    // The server takes its time, and is asked once all the same.
    let slow = Task::new("t").when_cancelled(Cancel::Ends(50));
    let (end, vc, took_s) = ended(Vc::new([slow]), note(Some("t"))).await;
    assert_eq!(end.unwrap(), LeaseEnd::Cancelled);
    assert_eq!(vc.count("CancelTask"), 1);
    assert!((50..=52).contains(&took_s), "{took_s}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_ended_is_left_alone() {
    let completing = || LeaseNote { is_completing: true, ..note(Some("t")) };
    let one = |state| Vc::new([Task::new("t").ends(0, state)]);
    let none = || Vc::new([]);
    for (vc, lease, expected) in [
        (one("success"), note(Some("t")), LeaseEnd::Completed),
        (one("error"), note(Some("t")), LeaseEnd::Gone),
        (none(), note(Some("t")), LeaseEnd::Gone),
        // The server does not remember, and had perhaps been told that all is well.
        (none(), completing(), LeaseEnd::Unsure),
        (one("running"), LeaseNote { is_over: true, ..note(Some("t")) }, LeaseEnd::Completed),
    ] {
        let (end, vc, took_s) = ended(vc, lease).await;
        assert_eq!(end.unwrap(), expected);
        assert_eq!((vc.count("CancelTask"), took_s), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_cancelled_is_waited_for() {
    let refused = || Task::new("t").when_cancelled(Cancel::Refused);
    let (end, _, took_s) = ended(Vc::new([refused().ends(40, "error")]), note(Some("t"))).await;
    assert_eq!(end.unwrap(), LeaseEnd::Gone);
    assert!((40..=42).contains(&took_s), "{took_s}");

    let (end, _, took_s) = ended(Vc::new([refused()]), note(Some("t"))).await;
    let error = end.unwrap_err();
    assert!(error.to_string().contains("has not ended in 60 s"), "{error}");
    assert!((60..=62).contains(&took_s), "{took_s}");

    let broken = Task::new("t").when_cancelled(Cancel::Broken);
    let (end, _, took_s) = ended(Vc::new([broken]), note(Some("t"))).await;
    assert_eq!((end.unwrap_err().kind(), took_s), (ErrorKind::Network, 0));
}

/// The ids of tasks may be given out again.
#[tokio::test(start_paused = true)]
async fn what_is_not_the_task_of_a_lease_is_not_cancelled() {
    let other = Task::new("t").does("VirtualMachine.powerOn");
    let (end, vc, _) = ended(Vc::new([other]), note(Some("t"))).await;
    let error = end.unwrap_err();
    assert!(error.to_string().contains("not the task of a lease any more"), "{error}");
    assert_eq!(vc.count("CancelTask"), 0);
}

/// Killed between the call for the lease and the look at its task: any of them may be it.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_known_is_waited_for_and_not_cancelled() {
    let unrelated = [
        Task::new("old"),
        Task::new("other").does("VirtualMachine.powerOn"),
        Task::new("over").ends(0, "success"),
    ];
    let with = |task: Option<Task>| {
        let tasks = unrelated.iter().cloned().chain(task);
        Vc::new(tasks).knows("pool", &["old", "other", "over", "new", "forgotten"])
    };
    let completing = || LeaseNote { is_completing: true, ..note(None) };
    for (vc, lease, expected, seconds) in [
        (with(None), note(None), LeaseEnd::Gone, 0..=0),
        (with(None), completing(), LeaseEnd::Unsure, 0..=0),
        (with(Some(Task::new("new").ends(30, "error"))), note(None), LeaseEnd::Gone, 30..=32),
        (with(Some(Task::new("new"))), note(None), LeaseEnd::Gone, 60..=62),
        // The pool itself is gone.
        (Vc::new([]), note(None), LeaseEnd::Gone, 0..=0),
    ] {
        let (end, vc, took_s) = ended(vc, lease).await;
        assert_eq!(end.unwrap(), expected);
        assert_eq!(vc.count("CancelTask"), 0);
        assert!(seconds.contains(&took_s), "{took_s}, expected {seconds:?}");
    }
}

/// That something cannot be looked at does not mean that it is gone.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_taken_for_gone() {
    let there = |kind| {
        let vc = Vc::new([Task::new("new")]).knows("pool", &["new"]).knows("vm-9", &["new"]);
        Vc { unreadable: Some(kind), ..vc }
    };
    for (kind, lease) in
        [("Task", note(Some("new"))), ("Task", note(None)), ("ResourcePool", note(None))]
    {
        let (end, _, took_s) = ended(there(kind), lease).await;
        assert_eq!((end.unwrap_err().kind(), took_s), (ErrorKind::Network, 0), "{kind}");
    }
    for (kind, note) in [
        ("VirtualMachine", snapshot(None, None)),
        ("VirtualMachine", snapshot(Some("s-2"), None)),
        ("Task", snapshot(None, None)),
    ] {
        let (outcome, took_s) = found(there(kind), note).await;
        assert_eq!((outcome.unwrap_err().kind(), took_s), (ErrorKind::Network, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_told_once_and_the_server_is_not_flooded() {
    for (ends_s, told) in [(1, 0), (50, 1)] {
        let slow = Task::new("t").when_cancelled(Cancel::Ends(ends_s));
        let (vc, session) = Vc::new([slow]).session().await;
        let ear = Ear::default();
        end_lease(&session, &note(Some("t")), 60 * S, &ear).await.unwrap();
        assert_eq!(ear.0.lock().unwrap().len(), told);
        // Quick at first, then every two seconds.
        let looks = vc.count("RetrievePropertiesEx");
        let expected = if told == 0 { 5..=7 } else { 28..=34 };
        assert!(expected.contains(&looks), "{looks}");
    }
}

fn snapshot(moref: Option<&str>, made_by: Option<&str>) -> SnapshotNote {
    SnapshotNote {
        vm: vm(),
        name: "for the export".to_owned(),
        task: made_by.map(task),
        snapshot: moref.map(|id| MoRef::new("VirtualMachineSnapshot", id)),
    }
}

/// The id of the snapshot that is found, and how long that takes.
async fn found(vc: Vc, note: SnapshotNote) -> (Result<Option<String>, Error>, u64) {
    let (_, session) = vc.session().await;
    let begin = Instant::now();
    let found = find_snapshot(&session, &note, &()).await;
    (found.map(|found| found.map(|moref| moref.id().to_owned())), begin.elapsed().as_secs())
}

fn with_snapshots(vc: Vc, snapshots: &[(&'static str, &'static str, u64)]) -> Vc {
    Vc { snapshots: snapshots.to_vec(), ..vc }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_known_by_its_name_and_its_id() {
    let there = || {
        let vc = Vc::new([]).knows("vm-9", &[]);
        with_snapshots(vc, &[("s-1", "other", 0), ("s-2", "for the export", 0)])
    };
    for (note, expected) in [
        (snapshot(None, None), Some("s-2")),
        (snapshot(Some("s-2"), None), Some("s-2")),
        // Of the same name, and somebody else's.
        (snapshot(Some("s-3"), None), None),
    ] {
        let (outcome, took_s) = found(there(), note).await;
        assert_eq!((outcome.unwrap().as_deref(), took_s), (expected, 0));
    }
    // Somebody has made it his own.
    let error = found(there(), snapshot(Some("s-1"), None)).await.0.unwrap_err();
    assert!(error.to_string().contains("is called \"other\" now"), "{error}");
    // The machine is gone, and its snapshots with it.
    for note in [snapshot(None, None), snapshot(Some("s-2"), None)] {
        assert_eq!(found(Vc::new([]), note).await.0.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_being_made_is_waited_for() {
    const WHAT: &str = "VirtualMachine.createSnapshot";
    let making = |task: Task| {
        let vc = Vc::new([task]).knows("vm-9", &["t"]);
        with_snapshots(vc, &[("s-2", "for the export", 20)])
    };
    let creates = || Task::new("t").does(WHAT);
    for (task, note, expected, seconds) in [
        (creates().ends(20, "success"), snapshot(None, None), Some("s-2"), 20..=22),
        (creates().ends(20, "success"), snapshot(None, Some("t")), Some("s-2"), 20..=22),
        // It is known which task it is, and that is not this one.
        (creates().ends(20, "success"), snapshot(None, Some("u")), None, 0..=0),
        (Task::new("t").does("VirtualMachine.powerOn"), snapshot(None, None), None, 0..=0),
        (creates().ends(0, "error"), snapshot(None, None), None, 0..=0),
        (creates(), snapshot(Some("s-9"), None), None, 0..=0),
        (creates(), snapshot(None, None), Some("s-2"), 60..=62),
    ] {
        let (outcome, took_s) = found(making(task.clone()), note).await;
        assert_eq!(outcome.unwrap().as_deref(), expected, "{task:?}");
        assert!(seconds.contains(&took_s), "{took_s}, expected {seconds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_removed_as_soon_as_the_machine_is_idle() {
    let done = || Task::new("removal").ends(0, "success");
    for (task, busy, expected, took_s) in [
        (done(), vec![], Ok(()), 0),
        (done(), vec!["ManagedObjectNotFound"], Ok(()), 0),
        (done(), vec!["TaskInProgress"; 3], Ok(()), 6),
        (done(), vec![RESET], Ok(()), 2),
        // The answer was lost, not the call.
        (done(), vec![RESET, "TaskInProgress", "ManagedObjectNotFound"], Ok(()), 4),
        (done(), vec![RESET; 2000], Err("reset"), 300),
        (done(), vec!["NoPermission"], Err("NoPermission"), 0),
        (done(), vec!["TaskInProgress"; 2000], Err("it takes too long"), 1_800),
        (Task::new("removal").ends(0, "error"), vec![], Err("RequestCanceled"), 0),
    ] {
        let vc = Vc::new([task]);
        vc.busy.lock().unwrap().extend(busy);
        let (_, session) = vc.session().await;
        let begin = Instant::now();
        let snapshot = MoRef::new("VirtualMachineSnapshot", "s-2");
        match (remove_snapshot(&session, &snapshot).await, expected) {
            (Ok(()), Ok(())) => {}
            (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
            (outcome, expected) => panic!("{outcome:?}, expected {expected:?}"),
        }
        assert_eq!(begin.elapsed().as_secs(), took_s);
    }
}

/// Which task is written down for a lease on the pool that may be for a machine.
async fn noted(
    tasks: &[Task],
    after: &[(&'static str, &[&'static str])],
    entity: Option<&MoRef>,
) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ovftransfer-journal");
    let journal = Journal::begin(path.clone(), vec![journal::tests::begin()]).await.unwrap();
    let (vc, session) = Vc::new(tasks.to_vec()).knows("pool", &["old"]).session().await;
    let asked = Asked::begin(&session, &journal, &pool()).await;
    vc.recent.lock().unwrap().clear();
    for (object, tasks) in after {
        vc.recent.lock().unwrap().push((object, tasks.to_vec()));
    }
    let is_noted = asked.note_task("lease-1", entity).await;
    let lease = journal::read(&path).unwrap().unwrap().lease.unwrap();
    assert_eq!((&lease.on, lease.known), (&pool(), vec!["old".to_owned()]));
    assert_eq!(is_noted, lease.task.is_some());
    assert_eq!(lease.name.as_deref(), is_noted.then_some("lease-1"));
    lease.task.map(|task| task.id().to_owned())
}

/// A task that is not provably behind the lease must not be cancelled one day.
#[tokio::test(start_paused = true)]
async fn the_task_behind_a_lease_is_noted_if_it_is_certain() {
    let tasks = [
        Task::new("old"),
        Task::new("mine"),
        Task::new("of-another").on("vm-8"),
        Task::new("again"),
        Task::new("over").ends(0, "error"),
        Task::new("other").does("VirtualMachine.powerOn"),
    ];
    let (vm, other) = (vm(), MoRef::new("VirtualMachine", "vm-8"));
    let two: &[&str] = &["old", "mine", "of-another"];
    for (after, entity, expected) in [
        (&[("pool", &["old", "mine", "over", "other"][..])][..], None, Some("mine")),
        (&[("pool", &["old"])], None, None),
        (&[("pool", two)], None, None),
        (&[("pool", two)], Some(&vm), Some("mine")),
        (&[("pool", two)], Some(&other), Some("of-another")),
        (&[("pool", &["mine", "again"])], Some(&vm), None),
        // The machine knows of it, and the pool does not, or does, too.
        (&[("pool", &["old"]), ("vm-9", &["mine"])], Some(&vm), Some("mine")),
        (&[("pool", two), ("vm-9", &["mine"])], Some(&vm), Some("mine")),
        (&[("pool", two), ("vm-9", &["mine"])], Some(&pool()), None),
    ] {
        let found = noted(&tasks, after, entity).await;
        assert_eq!(found.as_deref(), expected, "{after:?} {entity:?}");
    }
}

/// Nothing is asked for a journal that is not kept.
#[tokio::test(start_paused = true)]
async fn without_a_journal_no_task_is_looked_for() {
    let (vc, session) = Vc::new([]).session().await;
    let asked = Asked::begin(&session, &Journal::default(), &pool()).await;
    assert!(asked.note_task("lease-1", None).await);
    assert!(vc.asked.lock().unwrap().is_empty());
}
