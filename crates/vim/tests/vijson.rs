//! Our client against a VI JSON front before `vcsim`, whose codec is govmomi's: the tests of
//! `vcsim` over the other wire, and what only that wire has.
#![allow(clippy::duplicate_mod, reason = "the tests bring their peer with them")]
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the peer")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test")]

#[path = "vcsim.rs"]
mod vcsim;

use futures::TryStreamExt;
use http::Request;
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::transport::{Body, Transport};
use ovftransfer_vim::{Call, Object, Trust, Wire};

use vcsim::peer::{self, Peer, path};

#[tokio::test]
async fn the_wire_is_agreed_on_with_and_without_hello() {
    for arguments in [&["-hello=true"], &["-hello=false"]] {
        let Some(server) = Peer::start(arguments).await else { return };
        for asked in [Wire::Auto, Wire::Json, Wire::Soap] {
            let session = server.connect_with(Trust::Insecure, asked).await.unwrap();
            let spoken = if asked == Wire::Soap { Wire::Soap } else { Wire::Json };
            assert_eq!((session.wire(), session.version().as_str()), (spoken, "8.0.3.0"));
            session.login(peer::USER, &peer::PASSWORD.into()).await.unwrap();
            session.find(&path("/DC0"), &[]).await.unwrap();
            session.logout().await.unwrap();
        }
    }
}

/// The judge is strict: what it does not understand, or what is not what it said itself, it
/// refuses.
#[tokio::test]
async fn the_front_refuses_what_it_does_not_understand() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    let vm = session.find(&path("/DC0/vm/DC0_H0_VM0"), &[]).await.unwrap();
    let misspelt = Call::new(vm.moref(), "PowerOffVM_Task").with("hots", "x");
    let refused = session.call(misspelt).await.unwrap_err();
    assert!(refused.is_fault("InvalidRequest"), "{refused}");
    assert!(refused.to_string().contains("PowerOffVM_Task.hots"), "{refused}");

    let target = session.import_target(&path("/DC0/host/DC0_C0")).await.unwrap();
    let own = Object::new("VirtualMachineImportSpec")
        .with("configSpec", Object::new("VirtualMachineConfigSpec").with("name", "eigene"));
    let import = Call::new(&target.pool, "ImportVApp").with("spec", own);
    let refused = session.call(import).await.unwrap_err();
    assert_eq!(refused.fault().unwrap().invalid_property().as_deref(), Some("spec"), "{refused}");
}

/// What a vCenter answers where a client reads one property by its path: values are bare.
#[tokio::test]
async fn properties_have_paths_of_their_own() {
    let Some(server) = Peer::start(&[]).await else { return };
    let session = server.session().await;
    let vm = session.find(&path("/DC0/vm/DC0_H0_VM0"), &[]).await.unwrap();
    let base = format!("https://{}/sdk/vim25/8.0.3.0", server.endpoint());
    let login = format!("{{\"userName\":\"{}\",\"password\":\"{}\"}}", peer::USER, peer::PASSWORD);
    let login = Request::post(format!("{base}/SessionManager/SessionManager/Login"))
        .body(Body::Full(login.into()))
        .unwrap();
    let answer = HttpTransport::new().send(login, &Trust::Insecure).await.unwrap();
    let id = answer.headers().get("vmware-api-session-id").unwrap().clone();
    for (property, authenticated, status, wanted) in [
        ("name", false, 500, "\"_typeName\":\"NotAuthenticated\""),
        ("name", true, 200, "\"DC0_H0_VM0\""),
        ("namen", true, 500, "\"_typeName\":\"InvalidProperty\""),
        ("snapshot", true, 204, ""),
        ("runtime.host", true, 200, "\"type\":\"HostSystem\""),
    ] {
        let url = format!("{base}/VirtualMachine/{}/{property}", vm.moref().id());
        let mut get = Request::get(url);
        if authenticated {
            get = get.header("vmware-api-session-id", &id);
        }
        let get = get.body(Body::Empty).unwrap();
        let answer = HttpTransport::new().send(get, &Trust::Insecure).await.unwrap();
        assert_eq!(answer.status(), status, "{property}");
        let body: Vec<bytes::Bytes> = answer.into_body().try_collect().await.unwrap();
        let body = String::from_utf8(body.concat()).unwrap();
        assert!(body.contains(wanted), "{property}: {body}");
    }
}
