//! Answers that are not what they should be: each has once hurt another client.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use std::sync::Arc;
use std::time::Duration;

use ovftransfer_vim::ovf::ImportSpecParams;
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::{Call, Endpoint, ErrorKind, MoRef, Secret, Session, Trust, VimError, Wire};

use scripted::{Answer, CONTENT, Script, connected, envelope, wire};

fn vm() -> MoRef {
    MoRef::new("VirtualMachine", "vm-9")
}

/// What a session makes of one answer to a call.
async fn refused(answer: Answer) -> VimError {
    let script = Script::list([]);
    let session = connected(&script).await;
    script.push(answer);
    session.export_vm(&vm()).await.unwrap_err()
}

async fn connect(answers: impl IntoIterator<Item = Answer>) -> Result<Session, VimError> {
    let transport = Script::list(answers) as Arc<dyn Transport>;
    let endpoint = Endpoint::new("vc.example", 443);
    Session::connect_with(transport, endpoint, Trust::System, Wire::Soap).await
}

#[tokio::test]
async fn servers_that_are_not_vsphere() {
    let html = "<!DOCTYPE html><html><body>Willkommen</body></html>";
    for answers in [
        [Answer::raw(200, html), Answer::raw(200, html)],
        [Answer::raw(404, ""), Answer::raw(404, html)],
        [Answer::raw(404, ""), Answer::raw(302, "")],
        [Answer::raw(404, ""), Answer::raw(200, "")],
        [Answer::raw(404, ""), Answer::raw(200, "{\"a\":1}")],
        [Answer::raw(404, ""), Answer::raw(200, "<a/>")],
        [Answer::raw(404, ""), Answer::raw(200, [0xff, 0xfe, 0x00])],
        [Answer::raw(404, ""), Answer::soap("RetrieveServiceContent", "")],
    ] {
        let error = connect(answers).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(error.to_string().contains("vc.example:443"), "{error}");
    }
}

#[tokio::test]
async fn the_version_falls_back_to_what_the_server_says() {
    let script =
        Script::list([Answer::raw(404, ""), Answer::soap("RetrieveServiceContent", CONTENT)]);
    let transport = Arc::clone(&script) as Arc<dyn Transport>;
    let endpoint = Endpoint::new("vc.example", 443);
    let session =
        Session::connect_with(transport, endpoint, Trust::System, Wire::Soap).await.unwrap();
    assert_eq!(session.version(), "8.0.3.0");
    assert_eq!(script.last().action.as_deref(), Some("urn:vim25/6.0"));
}

#[tokio::test]
async fn error_pages_are_cut_between_characters() {
    let page = format!("<html>{}</html>", "ü".repeat(5000));
    let error = refused(Answer::raw(503, page)).await;
    let VimError::Status { status, snippet, .. } = &error else { panic!("{error}") };
    assert_eq!((*status, snippet.chars().count()), (503, 200));
    assert_eq!(error.kind(), ErrorKind::Network);
    let error = refused(Answer::raw(403, "nein\r\n\u{1b}[31mrot")).await;
    assert_eq!(error.to_string(), "ExportVm on vc.example:443: HTTP status 403: nein   [31mrot");
    let error = refused(Answer::raw(500, "oops")).await;
    assert!(matches!(error, VimError::Status { status: 500, .. }), "{error}");
}

#[tokio::test]
async fn faults_keep_their_text_type_fields_and_cause() {
    let fields = "<faultCause><fault xsi:type=\"NovelFault\"><a>b</a></fault>\
        <localizedMessage>dahinter</localizedMessage></faultCause>\
        <requestedState>poweredOff</requestedState><existingState>poweredOn</existingState>";
    let error = refused(Answer::fault("InvalidPowerState", "Büro läuft noch", fields)).await;
    assert!(error.is_fault("InvalidState"));
    assert_eq!(
        error.to_string(),
        "ExportVm on vc.example:443: InvalidPowerState: Büro läuft noch (cause: NovelFault: dahinter)"
    );
    let fault = error.fault().unwrap();
    assert_eq!(fault.fields().text_of("existingState").as_deref(), Some("poweredOn"));
}

#[tokio::test]
async fn faults_without_detail_are_faults() {
    if wire() == Wire::Json {
        return; // About XML.
    }
    let bare = |inner: &str| {
        let fault = format!("<soapenv:Fault><faultcode>c</faultcode>{inner}</soapenv:Fault>");
        Answer::raw(500, envelope(&fault))
    };
    let error = refused(bare("<faultstring>column 213</faultstring>")).await;
    assert_eq!(error.to_string(), "ExportVm on vc.example:443: MethodFault: column 213");
    // Neither namespace nor type: the element's name says it.
    let error = refused(bare("<faultstring/><detail><RuntimeFaultFault/></detail>")).await;
    assert_eq!(error.fault().unwrap().type_name(), "RuntimeFault");
    let error =
        refused(bare("<detail><NoDiskSpaceFault><file>[ds]</file></NoDiskSpaceFault></detail>"))
            .await;
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(refused(bare("")).await.fault().unwrap().type_name(), "MethodFault");
    let odd = "<detail><SystemErrorFault xsi:type=\"SystemErrorFault\"><reason>r</reason></SystemErrorFault></detail>";
    assert_eq!(refused(bare(odd)).await.fault().unwrap().type_name(), "SystemError");
}

#[tokio::test]
async fn kinds_decide_what_to_do() {
    for (fault, kind) in [
        ("NotAuthenticated", ErrorKind::SessionLost),
        ("NoPermission", ErrorKind::Denied),
        ("RestrictedVersion", ErrorKind::Denied),
        ("InvalidLogin", ErrorKind::Denied),
        ("DuplicateName", ErrorKind::NameExists),
        ("FileAlreadyExists", ErrorKind::NameExists),
        ("ManagedObjectNotFound", ErrorKind::Gone),
        ("NoDiskSpace", ErrorKind::NoSpace),
        ("HostNotReachable", ErrorKind::Network),
        ("SomethingNew", ErrorKind::Refused),
    ] {
        assert_eq!(refused(Answer::fault(fault, "", "")).await.kind(), kind, "{fault}");
    }
    assert_eq!(refused(Answer::broken()).await.kind(), ErrorKind::Network);
}

#[tokio::test]
async fn every_cut_of_an_answer_is_an_error() {
    if wire() == Wire::Json {
        return; // About XML.
    }
    let whole = Answer::soap("ExportVm", "<returnval type=\"HttpNfcLease\">l&amp;ü</returnval>");
    let end = whole.body.windows(11).position(|w| w == b"</soapenv:E").unwrap();
    for cut in 0..end + 19 {
        let error = refused(Answer::raw(200, &whole.body[..cut])).await;
        assert_eq!(error.kind(), ErrorKind::Protocol, "cut at {cut}: {error}");
    }
}

#[tokio::test]
async fn hostile_answers_end_in_errors() {
    if wire() == Wire::Json {
        return; // About XML.
    }
    let deep = |levels: usize| {
        let open = "<faultCause><fault xsi:type=\"A\">".repeat(levels);
        let close = "</fault></faultCause>".repeat(levels);
        Answer::soap("ExportVm", &format!("<returnval>{open}{close}</returnval>"))
    };
    let error = refused(deep(100_000)).await;
    assert!(error.to_string().contains("levels deep"), "{error}");
    let wide = Answer::soap("ExportVm", &"<a/>".repeat(1_100_000));
    assert!(refused(wide).await.to_string().contains("elements"));
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"cc\">]><a>&b;</a>";
    assert!(refused(Answer::raw(200, bomb)).await.to_string().contains("document type"));
    let entity = Answer::soap("ExportVm", "<returnval type=\"HttpNfcLease\">&b;</returnval>");
    assert!(refused(entity).await.to_string().contains("unknown entity"));
    let huge = Answer::raw(200, vec![b' '; (32 << 20) + 1]);
    assert!(refused(huge).await.to_string().contains("larger than"));
    let attributes: String = (0..5000).map(|i| format!(" a{i}=\"\"")).collect();
    let many = Answer::soap("ExportVm", &format!("<returnval{attributes}/>"));
    assert_eq!(refused(many).await.kind(), ErrorKind::Protocol);
    let empty = Answer::soap("ExportVm", "");
    assert!(refused(empty).await.to_string().contains("names no object"));
}

#[tokio::test(start_paused = true)]
async fn silence_has_a_limit() {
    let never = Answer::soap("ExportVm", "").after(Duration::from_secs(3600));
    let error = refused(never).await;
    assert!(matches!(error, VimError::TimedOut { after, .. } if after == Duration::from_secs(600)));
    assert_eq!(error.kind(), ErrorKind::Network);
    let script = Script::list([]);
    let session = connected(&script).await;
    script.push(Answer::soap("Login", "").after(Duration::from_secs(3600)));
    let error = session.login("u", &Secret::new("p")).await.unwrap_err();
    assert!(matches!(error, VimError::TimedOut { after, .. } if after == Duration::from_secs(120)));
}

/// Errors inside data must not make the rest unreadable.
#[tokio::test]
async fn an_import_spec_may_be_refused_with_reasons() {
    let script = Script::list([]);
    let session = connected(&script).await;
    script.push(Answer::soap(
        "CreateImportSpec",
        "<returnval><error><fault xsi:type=\"OvfUnsupportedType\"><name>1234</name><deviceType>x\
         </deviceType></fault><localizedMessage>Typ „1234“</localizedMessage></error><error/>\
         <warning><fault xsi:type=\"Brandneu\"/></warning></returnval>",
    ));
    let (pool, store) = (MoRef::new("ResourcePool", "r"), MoRef::new("Datastore", "d"));
    let params = ImportSpecParams::default();
    let result = session.create_import_spec("<x/>", &pool, &store, &params).await.unwrap();
    assert!(result.import_spec.is_none());
    assert_eq!(result.errors.len(), 2);
    assert_eq!(result.errors[0].message(), Some("Typ „1234“"));
    assert_eq!(result.warnings[0].type_name(), "Brandneu");
}

#[tokio::test]
async fn unknown_fields_types_and_values_do_no_harm() {
    let script = Script::list([]);
    let session = connected(&script).await;
    script.push(Answer::soap(
        "RetrievePropertiesEx",
        "<returnval><objects><obj type=\"Task\">t</obj><propSet><name>info</name>\
         <val xmlns:n=\"urn:vim25\" xsi:type=\"n:TaskInfo\"><state>dreaming</state>\
         <progress>1000</progress><novelty xsi:type=\"Unknown\"><x>1</x></novelty>\
         <result xsi:nil=\"true\"/></val></propSet><missingSet><path>x</path><fault>\
         <fault xsi:type=\"NoPermission\"/></fault></missingSet></objects></returnval>",
    ));
    let info = session.task_info(&MoRef::new("Task", "t")).await.unwrap();
    assert!(matches!(&info.state, TaskState::Unknown(state) if state == "dreaming"));
    assert_eq!(info.progress, Some(100));
    assert!(info.result.is_none());
}

/// The password, the session's cookie and key, and tickets: nowhere, at any level.
#[tokio::test]
async fn secrets_are_printed_nowhere() {
    let log = capture::Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let script = Script::list([]);
    let session = connected(&script).await;
    script.push(
        Answer::soap("Login", "<returnval><key>KEYKEY</key></returnval>")
            .cookie("vmware_soap_session=COOKIE; Secure")
            .session("TOKEN"),
    );
    session.login("jürgen", &Secret::new("PASSWORD")).await.unwrap();
    let mut printed = format!("{session:?}");
    let id = MoRef::new("HttpNfcLease", "session[KEYKEY]7");
    for answer in [
        Answer::fault(
            "ManagedObjectNotFound",
            "not found: session[KEYKEY]7",
            "<obj type=\"HttpNfcLease\">session[KEYKEY]7</obj>",
        ),
        Answer::raw(404, "no session[KEYKEY]7"),
        Answer::raw(200, "<html>session[KEYKEY]"),
        Answer::broken(),
    ] {
        script.push(answer);
        let call = Call::new(&id, "HttpNfcLeaseProgress").with("p", Secret::new("PASSWORD"));
        printed += &format!("{call:?}");
        let error = session.call(call).await.unwrap_err();
        printed += &format!("{error} {error:?}");
    }
    printed += &log.text();
    assert!(printed.contains("HttpNfcLeaseProgress"));
    for secret in ["PASSWORD", "COOKIE", "KEYKEY", "TOKEN"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

mod capture {
    use std::fmt::{Debug, Write};
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// Keeps every event of every level as text.
    #[derive(Clone, Default)]
    pub(super) struct Log(Arc<Mutex<String>>);

    impl Log {
        pub(super) fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl Visit for Log {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0.lock().unwrap(), "{field}={value:?} ").unwrap();
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            span.record(&mut self.clone());
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, values: &Record<'_>) {
            values.record(&mut self.clone());
        }
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
}
