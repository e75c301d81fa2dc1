//! Pull mode: our client asks, our own server fetches, on both wires.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use http::Request;
use ovftransfer_simulator::{Scenario, Simulator};
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::lease::{LeaseId, LeaseInfo, LeaseState};
use ovftransfer_vim::nfc::SourceFile;
use ovftransfer_vim::ovf::{DescriptorParams, FileItem, ImportSpecParams, OvfFile};
use ovftransfer_vim::task::TaskState;
use ovftransfer_vim::transport::{Body, Transport};
use ovftransfer_vim::{
    Endpoint, EntityKind, InventoryPath, LeaseWatch, MoRef, Secret, Session, Trust, Wire,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

async fn session(server: &Simulator, wire: Wire) -> Session {
    let port = server.url().rsplit(':').next().unwrap().parse().unwrap();
    let endpoint = Endpoint::new("127.0.0.1", port);
    let trust = Trust::Pinned(server.thumbprint().parse().unwrap());
    let transport = Arc::new(HttpTransport::new());
    let session = Session::connect_with(transport, endpoint, trust, wire).await.unwrap();
    session.login(server.username(), &Secret::new(server.password())).await.unwrap();
    session
}

async fn ready(watch: &mut LeaseWatch) -> LeaseInfo {
    loop {
        match watch.changed().await.unwrap() {
            LeaseState::Initializing { .. } => {}
            LeaseState::Ready(info) => return info,
            state => panic!("{state:?}"),
        }
    }
}

/// Serves files by name over plain HTTP, each connection for one request.
async fn serve(files: BTreeMap<String, Bytes>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut first = String::new();
            stream.read_line(&mut first).await.unwrap();
            let mut line = first.clone();
            while line.trim() != "" {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
            }
            let name = first.split([' ', '/']).nth(2).unwrap_or_default();
            let content = files.get(name).cloned();
            let status = if content.is_some() { "200 OK" } else { "404 Not Found" };
            let content = content.unwrap_or_default();
            let length = content.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            if first.starts_with("GET") {
                stream.write_all(&content).await.unwrap();
            }
        }
    });
    (base, serving)
}

/// A package of the machine `small`: its descriptor and its files.
async fn package(session: &Session) -> (String, BTreeMap<String, Bytes>) {
    let path = InventoryPath::new("/DC0/vm/small");
    let small = session.find(&path, &[EntityKind::VirtualMachine]).await.unwrap();
    let small = small.moref().clone();
    let lease = session.export_vm(&small).await.unwrap();
    let info = ready(&mut session.watch_lease(&lease).await.unwrap()).await;
    let transport = HttpTransport::new();
    let mut files = BTreeMap::new();
    let mut listed = Vec::new();
    for (index, device) in info.devices.iter().enumerate() {
        let trust = device.thumbprint.map_or(Trust::System, Trust::Pinned);
        let get = Request::get(device.url.expose()).body(Body::Empty).unwrap();
        let response = transport.send(get, &trust).await.unwrap();
        let content: BytesMut = response.into_body().try_collect().await.unwrap();
        let is_disk = device.is_disk == Some(true);
        let path = format!("file-{index}.{}", if is_disk { "vmdk" } else { "nvram" });
        listed.push(OvfFile {
            device_key: device.key.clone(),
            path: path.clone(),
            size_bytes: content.len() as u64,
            capacity_bytes: is_disk.then_some(64 << 20),
            populated_bytes: None,
        });
        files.insert(path, content.freeze());
    }
    let params = DescriptorParams { files: listed, ..DescriptorParams::default() };
    let described = session.create_descriptor(&small, &params).await.unwrap();
    session.lease_complete(&lease).await.unwrap();
    (described.descriptor, files)
}

/// Begins an import of `descriptor`: what it needs, and the lease.
async fn import(session: &Session, descriptor: &str) -> (Vec<FileItem>, LeaseId) {
    let target = session.import_target(&InventoryPath::new("/DC0/host/Cluster0")).await.unwrap();
    let store = session.datastore(target.compute.moref(), Some("datastore0")).await.unwrap();
    let network = session.network(target.compute.moref(), Some("VM Network")).await.unwrap();
    let params = ImportSpecParams {
        entity_name: "pulled".to_owned(),
        network_mappings: vec![("VM Network".to_owned(), network.moref().clone())],
        ..ImportSpecParams::default()
    };
    let pool = &target.pool;
    let result = session.create_import_spec(descriptor, pool, store.moref(), &params).await;
    let result = result.unwrap();
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    let spec = result.import_spec.unwrap();
    let folder = Some(&target.vm_folder);
    let lease = session.import_vapp(pool, &spec, folder, None).await.unwrap();
    ready(&mut session.watch_lease(&lease).await.unwrap()).await;
    (result.file_items, lease)
}

fn sources(items: &[FileItem], base: &str) -> Vec<SourceFile> {
    let source = |item: &FileItem| SourceFile {
        target: item.import_key.clone(),
        url: Secret::new(format!("{base}/{}", item.path)),
        member_name: None,
        is_created: item.is_created,
        thumbprint: None,
        size_bytes: None,
        http_headers: Vec::new(),
    };
    items.iter().map(source).collect()
}

async fn end(session: &Session, task: &MoRef) -> TaskState {
    loop {
        match session.task_info(task).await.unwrap().state {
            TaskState::Queued | TaskState::Running => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            state => return state,
        }
    }
}

#[tokio::test]
async fn hosts_probe_and_pull_a_package() {
    for wire in [Wire::Json, Wire::Soap] {
        let server = Simulator::builder().scenario(Scenario::default()).start().await.unwrap();
        let session = session(&server, wire).await;
        let (descriptor, files) = package(&session).await;
        let (base, _serving) = serve(files).await;
        let (items, lease) = import(&session, &descriptor).await;
        assert_eq!(items.len(), 2);
        let mut files = sources(&items, &base);
        let reached = session.lease_probe(&lease, &files, Some(10)).await.unwrap();
        assert_eq!(reached, [true, true]);
        files[1].url = Secret::new(format!("{base}/none"));
        let reached = session.lease_probe(&lease, &files, Some(10)).await.unwrap();
        assert_eq!(reached, [true, false]);
        let refused = session.lease_probe(&lease, &[], None).await.unwrap_err();
        assert!(refused.is_fault("InvalidArgument"), "{refused}");

        let task = session.lease_pull(&lease, &sources(&items, &base)).await.unwrap();
        assert!(matches!(end(&session, &task).await, TaskState::Success));
        assert_eq!(session.lease_manifest(&lease).await.unwrap().len(), 2);
        let again = session.lease_pull(&lease, &sources(&items, &base)).await.unwrap_err();
        assert!(again.is_fault("InvalidState"), "{again}");
        session.lease_complete(&lease).await.unwrap();
        let vms = server.vms();
        let [small, pulled] =
            ["small", "pulled"].map(|name| vms.iter().find(|vm| vm.name == name).unwrap());
        assert_eq!(small.disks[0].digest().unwrap(), pulled.disks[0].digest().unwrap());
        assert_eq!(small.files[0].sha256().unwrap(), pulled.files[0].sha256().unwrap());
    }
}

#[tokio::test]
async fn a_pull_that_fails_says_why() {
    for wire in [Wire::Json, Wire::Soap] {
        let server = Simulator::builder().start().await.unwrap();
        let session = session(&server, wire).await;
        let (descriptor, files) = package(&session).await;
        let (base, _serving) = serve(files).await;
        let (items, lease) = import(&session, &descriptor).await;
        let mut files = sources(&items, &base);
        files[0].url = Secret::new(format!("{base}/none"));
        let task = session.lease_pull(&lease, &files).await.unwrap();
        let TaskState::Error(fault) = end(&session, &task).await else { panic!() };
        assert_eq!(fault.type_name(), "HttpFault");
        session.lease_abort(&lease, None).await.unwrap();

        // The API's own port shows a certificate that nobody vouched for.
        let (_, lease) = import(&session, &descriptor).await;
        let mut files = sources(&items, server.url());
        let task = session.lease_pull(&lease, &files).await.unwrap();
        let TaskState::Error(fault) = end(&session, &task).await else { panic!() };
        assert_eq!(fault.type_name(), "SSLVerifyFault");
        session.lease_abort(&lease, None).await.unwrap();

        let (_, lease) = import(&session, &descriptor).await;
        let thumbprint = server.thumbprint_sha256().parse().unwrap();
        files.iter_mut().for_each(|file| file.thumbprint = Some(thumbprint));
        let task = session.lease_pull(&lease, &files).await.unwrap();
        let TaskState::Error(fault) = end(&session, &task).await else { panic!() };
        assert_eq!(fault.type_name(), "HttpFault", "trusted, but not there");
        session.lease_abort(&lease, None).await.unwrap();
    }
}
