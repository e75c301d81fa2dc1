//! Which wire is spoken with which server.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

mod scripted;

use std::error::Error;
use std::sync::Arc;

use ovftransfer_vim::transport::Transport;
use ovftransfer_vim::{Endpoint, ErrorKind, Session, Trust, VimError, Wire};

use scripted::{Answer, CONTENT, Script, VERSIONS};

fn hello(release: &str) -> Answer {
    Answer::json(&format!("{{\"api_release\":\"{release}\"}}"))
}

fn versions(version: &str) -> Answer {
    Answer::raw(200, VERSIONS.replace("9.1.0.0", version).replace("8.0.3.0", version))
}

fn content() -> Answer {
    Answer::soap("RetrieveServiceContent", CONTENT)
}

fn host() -> Answer {
    Answer::soap("RetrieveServiceContent", &CONTENT.replace("VirtualCenter", "HostAgent"))
}

fn missing() -> Answer {
    Answer::raw(404, "<html>404 nicht gefunden – schade</html>")
}

async fn connect(
    wire: Wire,
    answers: impl IntoIterator<Item = Answer>,
) -> (Result<Session, VimError>, Vec<String>) {
    let script = Script::list(answers);
    let transport = Arc::clone(&script) as Arc<dyn Transport>;
    let endpoint = Endpoint::new("vc.example", 443);
    let session = match wire {
        Wire::Auto => Session::connect(transport, endpoint, Trust::System).await,
        wire => Session::connect_with(transport, endpoint, Trust::System, wire).await,
    };
    (session, script.asked().into_iter().map(|asked| asked.path).collect())
}

const HELLO: &str = "/api/vcenter/system?action=hello";
const LIST: &str = "/sdk/vimServiceVersions.xml";
const SOAP: &str = "/sdk";

fn json(release: &str) -> String {
    format!("/sdk/vim25/{release}/ServiceInstance/ServiceInstance/RetrieveServiceContent")
}

#[tokio::test]
async fn the_server_decides_the_wire() {
    let (j801, j803) = (json("8.0.1.0"), json("8.0.3.0"));
    let cases: Vec<(Vec<Answer>, Vec<&str>, Wire, &str)> = vec![
        // A vCenter since 8.0.2.0.
        (vec![hello("8.0.3.0"), content()], vec![HELLO, &j803], Wire::Json, "8.0.3.0"),
        (vec![hello("8.0.1.0"), content()], vec![HELLO, &j801], Wire::Json, "8.0.1.0"),
        // 8.0.1.0 has no Hello.
        (
            vec![missing(), versions("8.0.1.0"), content()],
            vec![HELLO, LIST, &j801],
            Wire::Json,
            "8.0.1.0",
        ),
        // Older ones have no VI JSON.
        (
            vec![missing(), versions("7.0.3.2"), content()],
            vec![HELLO, LIST, SOAP],
            Wire::Soap,
            "7.0.3.2",
        ),
        (
            vec![Answer::raw(500, "?"), missing(), content()],
            vec![HELLO, LIST, SOAP],
            Wire::Soap,
            "8.0.3.0",
        ),
        // ESXi: new, without VI JSON.
        (
            vec![missing(), versions("8.0.3.0"), missing(), host()],
            vec![HELLO, LIST, &j803, SOAP],
            Wire::Soap,
            "8.0.3.0",
        ),
        // A host that answers in JSON is still a host.
        (
            vec![missing(), versions("8.0.3.0"), host(), host()],
            vec![HELLO, LIST, &j803, SOAP],
            Wire::Soap,
            "8.0.3.0",
        ),
        // Hello gets through a gateway, VI JSON does not.
        (
            vec![hello("8.0.3.0"), missing(), versions("8.0.3.0"), content()],
            vec![HELLO, &j803, LIST, SOAP],
            Wire::Soap,
            "8.0.3.0",
        ),
        (
            vec![hello("8.0.3.0"), Answer::raw(200, "<html/>"), missing(), content()],
            vec![HELLO, &j803, LIST, SOAP],
            Wire::Soap,
            "8.0.3.0",
        ),
        // None of ours, or something that we never said.
        (vec![hello(""), versions("7.0"), content()], vec![HELLO, LIST, SOAP], Wire::Soap, "7.0"),
        (
            vec![hello("../../etc"), versions("7.0"), content()],
            vec![HELLO, LIST, SOAP],
            Wire::Soap,
            "7.0",
        ),
    ];
    for (answers, paths, wire, version) in cases {
        let (session, asked) = connect(Wire::Auto, answers).await;
        assert_eq!(asked, paths);
        let session = session.unwrap();
        assert_eq!((session.wire(), session.version().as_str()), (wire, version), "{paths:?}");
    }
}

#[tokio::test]
async fn hello_lists_our_releases() {
    let script = Script::list([hello("8.0.3.0"), content()]);
    let transport = Arc::clone(&script) as Arc<dyn Transport>;
    let endpoint = Endpoint::new("vc.example", 443);
    Session::connect(transport, endpoint, Trust::System).await.unwrap();
    let asked = &script.asked()[0];
    assert_eq!(asked.body, "{\"api_releases\":[\"8.0.3.0\",\"8.0.2.0\",\"8.0.1.0\"]}");
    assert_eq!(asked.content_type.as_deref(), Some("application/json"));
    assert_eq!(asked.http_method, "POST");
}

#[tokio::test]
async fn a_wire_can_be_forced() {
    let (session, asked) = connect(Wire::Soap, [versions("8.0.3.0"), content()]).await;
    assert_eq!((session.unwrap().wire(), asked), (Wire::Soap, vec![LIST.into(), SOAP.into()]));
    // Nothing is known: the oldest release that can be.
    let (session, asked) = connect(Wire::Json, [missing(), missing(), content()]).await;
    assert_eq!(session.unwrap().version(), "8.0.1.0");
    assert_eq!(asked[2], json("8.0.1.0"));
    let (refused, _) = connect(Wire::Json, [missing(), versions("7.0.3.2")]).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("no VI JSON: its newest version is 7.0.3.2"), "{error}");
    // Forced, there is no way back.
    let (refused, asked) = connect(Wire::Json, [hello("8.0.3.0"), missing()]).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, VimError::Status { status: 404, .. }), "{error}");
    assert!(error.to_string().contains("schade"), "{error}");
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn servers_that_are_not_vsphere_are_told() {
    let page = || Answer::raw(200, "<!DOCTYPE html><html><body>Willkommen, Büro</body></html>");
    let (refused, _) = connect(Wire::Auto, [page(), page(), page()]).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("vc.example:443"), "{error}");
    let (refused, _) = connect(Wire::Json, [page(), page(), page()]).await;
    assert!(refused.unwrap_err().to_string().contains("HTML page, not JSON"));
}

/// Which of several questions was not answered says nothing to people.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_reached_is_told_as_such() {
    for wire in [Wire::Auto, Wire::Json, Wire::Soap] {
        let (refused, _) = connect(wire, [Answer::broken()]).await;
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert_eq!(error.to_string(), "connecting to vc.example:443 failed");
        assert!(error.source().unwrap().to_string().contains("reset"), "{error:?}");
        let silence = Answer::nothing().after(std::time::Duration::from_secs(3600));
        let (refused, _) = connect(wire, [silence]).await;
        let error = refused.unwrap_err();
        let text = "connecting to vc.example:443: no answer within 120 seconds";
        assert_eq!(error.to_string(), text);
    }
}
