//! Foreign servers for the tests: started, and used as far as several tests do it alike.
//!
//! They are looked up in `$OVFTRANSFER_PEERS/bin`, in `.ci/peers/bin` of the workspace, and in
//! `PATH`.  Without them the tests are skipped, unless `OVFTRANSFER_REQUIRE_PEERS=1`.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use http::Request;
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::lease::{LeaseDevice, LeaseId, LeaseInfo, LeaseState};
use ovftransfer_vim::ovf::ImportSpecParams;
use ovftransfer_vim::transport::{Body, Transport};
use ovftransfer_vim::{
    Endpoint, InventoryPath, LeaseWatch, Secret, Session, Trust, VimError, Wire,
};

/// A running server.
pub struct Peer {
    process: Child,
    port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

impl Peer {
    /// Starts the server of this test program with `arguments`; `None` if there is none to start.
    pub async fn start(arguments: &[&str]) -> Option<Self> {
        let program = if wire() == Wire::Json { "vijson" } else { "vcsim" };
        let Some(path) = find(program) else {
            assert!(env::var("OVFTRANSFER_REQUIRE_PEERS").as_deref() != Ok("1"), "no {program}");
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new(path)
            .args(["-l", &format!("127.0.0.1:{port}")])
            .args(["-username", USER, "-password", PASSWORD])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let server = Self { process, port };
        // It prints where it listens once it does.
        let ready = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            line
        });
        let line = tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap().unwrap();
        assert!(line.contains("GOVC_URL"), "{line}");
        Some(server)
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new("127.0.0.1", self.port)
    }

    pub async fn connect(&self, trust: Trust) -> Result<Session, VimError> {
        self.connect_with(trust, wire()).await
    }

    pub async fn connect_with(&self, trust: Trust, wire: Wire) -> Result<Session, VimError> {
        let transport = Arc::new(HttpTransport::new());
        Session::connect_with(transport, self.endpoint(), trust, wire).await
    }

    pub async fn session(&self) -> Session {
        let session = self.connect(Trust::Insecure).await.unwrap();
        assert_eq!(session.wire(), wire());
        session.login(USER, &Secret::new(PASSWORD)).await.unwrap();
        session
    }
}

/// The wire that the tests of this program go over.
pub fn wire() -> Wire {
    let program = module_path!().split("::").next().unwrap();
    if program.ends_with("json") { Wire::Json } else { Wire::Soap }
}

fn find(program: &str) -> Option<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(env::var_os("OVFTRANSFER_PEERS").map(|peers| Path::new(&peers).join("bin")));
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/peers/bin"));
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

pub fn path(text: &str) -> InventoryPath {
    InventoryPath::new(text)
}

/// The next state of a lease.
pub async fn next(watch: &mut LeaseWatch) -> Result<LeaseState, VimError> {
    tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap()
}

/// What a lease offers once it is ready.
pub async fn ready(watch: &mut LeaseWatch) -> LeaseInfo {
    loop {
        match next(watch).await.unwrap() {
            LeaseState::Initializing { .. } => {}
            LeaseState::Ready(info) => return info,
            state => panic!("{state:?}"),
        }
    }
}

/// Begins an import of [`DESCRIPTOR`] into the compute resource at `place`.
pub async fn import(session: &Session, place: &str, name: &str) -> LeaseId {
    let target = session.import_target(&path(place)).await.unwrap();
    let store = session.datastore(target.compute.moref(), None).await.unwrap();
    let params = ImportSpecParams { entity_name: name.into(), ..ImportSpecParams::default() };
    let result =
        session.create_import_spec(DESCRIPTOR, &target.pool, store.moref(), &params).await.unwrap();
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    assert_eq!(result.file_items.len(), 1);
    assert_eq!(result.file_items[0].import_key.as_str(), format!("/{name}/disk:0"));
    let spec = result.import_spec.unwrap();
    assert_eq!(spec.entity_name().as_deref(), Some(name));
    session.import_vapp(&target.pool, &spec, Some(&target.vm_folder), None).await.unwrap()
}

/// Sends 70,000 bytes to a device.
pub async fn upload(session: &Session, device: &LeaseDevice) {
    let chunks = (0..10).map(|_| Ok(Bytes::from_static(&[7; 7000])));
    let stream = Box::pin(futures::stream::iter(chunks));
    let mut upload = Request::post(device.url.expose())
        .header("Content-Type", "application/x-vnd.vmware-streamVmdk");
    if let Some(cookie) = session.cookie_for(&device.url) {
        upload = upload.header("Cookie", cookie);
    }
    let upload = upload.body(Body::Stream { len_bytes: 70_000, stream }).unwrap();
    let response = HttpTransport::new().send(upload, &Trust::Insecure).await.unwrap();
    assert_eq!(response.status(), 200);
}

/// Fetches the bytes of a device.
pub async fn download(device: &LeaseDevice) -> Vec<u8> {
    let request = Request::get(device.url.expose()).body(Body::Empty).unwrap();
    let response = HttpTransport::new().send(request, &Trust::Insecure).await.unwrap();
    assert_eq!(response.status(), 200);
    let chunks: Vec<Bytes> = response.into_body().try_collect().await.unwrap();
    chunks.concat()
}

pub const USER: &str = "jürgen";
pub const PASSWORD: &str = "geheim";

/// One disk of 70,000 bytes.
pub const DESCRIPTOR: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
    xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
    xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
    xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References><File ovf:href="tiny-disk1.vmdk" ovf:id="file1" ovf:size="70000"/></References>
  <DiskSection><Info>disks</Info>
    <Disk ovf:capacity="1048576" ovf:diskId="vmdisk1" ovf:fileRef="file1"
      ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <VirtualSystem ovf:id="tiny"><Info>a machine</Info><Name>tiny</Name>
    <OperatingSystemSection ovf:id="94"><Info>os</Info></OperatingSystemSection>
    <VirtualHardwareSection><Info>hardware</Info>
      <System><vssd:ElementName>hw</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemType>vmx-11</vssd:VirtualSystemType></System>
      <Item><rasd:ElementName>cpu</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>ram</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>32</rasd:VirtualQuantity></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:ElementName>scsi</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>disk</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#;
