//! Everything that an import can be asked for, over both wires.

use std::fs;
use std::sync::Arc;

use ovftransfer::Check;
use ovftransfer::ImportPlan;
use ovftransfer::NetworkMap;
use ovftransfer::Severity;
use ovftransfer_simulator::scenario::Size;
use ovftransfer_vim::InventoryPath;
use ovftransfer_vim::Session;
use ovftransfer_vim::Value;
use ovftransfer_vim::http::HttpTransport;

use super::*;

const WIRES: [Wire; 2] = [Wire::Json, Wire::Soap];

/// A package of the machine `web`, and a session of the test's own, to look at what was made.
pub(super) struct Bench {
    pub(super) world: World,
    pub(super) package: PathBuf,
    pub(super) session: Session,
}

impl Bench {
    pub(super) async fn over(wire: Wire, change: impl FnOnce(&mut Scenario)) -> Self {
        let world = World::over(wire, change).await;
        let package = package_in(world.folder.path()).await;
        let session = session(&world, wire).await;
        Self { world, package, session }
    }

    pub(super) async fn new(wire: Wire) -> Self {
        Self::over(wire, |_| {}).await
    }

    /// The same with a descriptor that asks for something.
    pub(super) async fn described(wire: Wire, change: impl FnOnce(&mut Scenario)) -> Self {
        let bench = Self::over(wire, change).await;
        bench.edit("</References>", &format!("</References>{OPTIONS}"));
        bench.edit("</VirtualHardwareSection>", &format!("</VirtualHardwareSection>{PRODUCT}"));
        bench
    }

    /// Edits the descriptor, and takes it out of the manifest's sight.
    pub(super) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.package).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&self.package, text.replacen(from, to, 1)).unwrap();
        let manifest = self.package.with_extension("mf");
        let Ok(text) = fs::read_to_string(&manifest) else { return };
        let lines = text.lines().filter(|line| !line.contains("web.ovf"));
        fs::write(&manifest, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }

    pub(super) fn request(&self) -> Import {
        let package = Package::open(&self.package).unwrap();
        let mut import = Import::new(package, "/DC0/host/Cluster0");
        import.name = Some("again".to_owned());
        import.datastore = Some("datastore0".to_owned());
        import.accept_eulas = true;
        import
    }

    pub(super) async fn plan(&self, request: Import) -> Result<ImportPlan, Error> {
        request.plan(&self.world.server).await
    }

    pub(super) async fn run(&self, request: Import) -> Result<Report, Error> {
        self.plan(request).await?.start(options()).finish().await
    }

    /// A property of something in the inventory.
    pub(super) async fn read(&self, path: &str, property: &str) -> Value {
        let found = self.session.find(&InventoryPath::new(path), &[]).await.unwrap();
        let read = self.session.read(found.moref(), &[property]).await.unwrap();
        read.value(property).unwrap().clone()
    }

    /// Nothing was made: no machine, and no lease was asked for.
    pub(super) fn assert_untouched(&self) {
        assert_eq!(self.names(), ["web"]);
        assert_eq!(self.world.simulator.leases().len(), 0, "a lease was taken");
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.world.simulator.vms().into_iter().map(|vm| vm.name).collect();
        names.sort();
        names
    }
}

pub(super) async fn session(world: &World, wire: Wire) -> Session {
    let locator: Locator = world.simulator.url().replace("https", "vi").parse().unwrap();
    let trust = Trust::Pinned(world.simulator.thumbprint().parse().unwrap());
    let transport = Arc::new(HttpTransport::new());
    let endpoint = locator.endpoint().clone();
    let session = Session::connect_with(transport, endpoint, trust, wire).await.unwrap();
    let password = Secret::new(world.simulator.password());
    session.login(world.simulator.username(), &password).await.unwrap();
    session
}

fn text(value: &Value, path: &[&str]) -> String {
    value.at(path).and_then(Value::text).unwrap_or_default().into_owned()
}

pub(super) fn error_of(plan: &ImportPlan) -> (ErrorKind, Check, String) {
    let error = plan.check().unwrap_err();
    let mut findings = plan.findings().iter().filter(|one| one.severity == Severity::Error);
    let first = findings.next().unwrap();
    assert_eq!(findings.next(), None, "one thing at a time");
    (error.kind(), first.check, error.to_string())
}

#[tokio::test]
async fn what_is_asked_for_arrives() {
    for wire in WIRES {
        let bench = Bench::described(wire, |_| {}).await;
        let mut request = bench.request();
        request.folder = Some("/DC0/vm".to_owned());
        request.pool = Some("/DC0/host/Cluster0/Resources/pool1".to_owned());
        request.host = Some("/DC0/host/Cluster0/host1".to_owned());
        request.networks = vec![NetworkMap::new(Some("VM Network".to_owned()), "Storage Network")];
        request.require_networks = true;
        request.properties = vec![("net.hostname.1".to_owned(), "shop <1>".to_owned())];
        request.deployment_option = Some("large".to_owned());
        request.disk_provisioning = Some("thin".to_owned());
        request.ip_allocation = Some("fixedPolicy".to_owned());
        request.ip_protocol = Some("IPv4".to_owned());
        request.annotation = Some("made by a test & <annotated>".to_owned());
        request.import_options = vec!["lax".to_owned()];
        let plan = bench.plan(request).await.unwrap();
        plan.check().unwrap();
        bench.assert_untouched();
        plan.start(options()).finish().await.unwrap();

        let config = bench.read("/DC0/vm/again", "config").await;
        assert_eq!(text(&config, &["annotation"]), "made by a test & <annotated>");
        let property = config.at(&["vAppConfig"]).unwrap().each("property").next().unwrap();
        assert_eq!(property.text_of("value").unwrap(), "shop <1>");
        assert_eq!(property.text_of("defaultValue").unwrap(), "big");
        let assignment = ["vAppConfig", "ipAssignment", "ipAllocationPolicy"];
        assert_eq!(text(&config, &assignment), "fixedPolicy");
        assert_eq!(text(&config, &["vAppConfig", "ipAssignment", "ipProtocol"]), "IPv4");
        let vms = bench.world.simulator.vms();
        let vm = vms.iter().find(|vm| vm.name == "again").unwrap();
        assert_eq!(
            (vm.host.as_str(), vm.networks.as_slice()),
            ("host1", &["Storage Network".to_owned()][..])
        );
        let pool = bench.read("/DC0/vm/again", "resourcePool").await;
        let read = bench.session.read(pool.moref().unwrap(), &["name"]).await.unwrap();
        assert_eq!(read.text("name").unwrap(), "pool1");
        let devices = config.at(&["hardware"]).unwrap();
        let mut disks = devices.each("device").filter(|one| one.type_name() == Some("VirtualDisk"));
        assert!(
            disks
                .all(|disk| disk.at(&["backing"]).unwrap().boolean_of("thinProvisioned")
                    == Some(true))
        );
        let names: Vec<_> = devices.each("device").filter_map(Value::type_name).collect();
        assert!(names.contains(&"VirtualDisk"), "{names:?}");
    }
}

/// Descriptors name sizes of NVRAM that it does not have: what is there counts, on the way and in
/// the machine.
#[tokio::test]
async fn a_wrong_size_of_nvram_in_a_descriptor_does_no_harm() {
    for wire in WIRES {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = Machine::new("web");
        machine.disks = vec![DiskSpec::new(MIB)];
        machine.nvram = Size::from_bytes(8_684);
        let package = Appliance::new(machine).write_folder(folder.path()).unwrap();
        let descriptor = package.path().to_owned();
        let text = fs::read_to_string(&descriptor).unwrap();
        assert!(text.contains("ovf:size=\"8684\""), "{text}");
        let wrong = text.replace("ovf:size=\"8684\"", "ovf:size=\"270840\"");
        fs::write(&descriptor, wrong).unwrap();
        fs::remove_file(descriptor.with_extension("mf")).unwrap();
        let world = World::over(wire, |_| {}).await;
        let outcome = world.import(&descriptor, "again").await;
        check_nvram(&world, outcome);
    }
}

fn check_nvram(world: &World, outcome: Result<Report, Error>) {
    let report = outcome.unwrap();
    let nvram = report.files.iter().find(|file| file.file.as_str().ends_with(".nvram")).unwrap();
    assert_eq!((nvram.bytes, nvram.by_server), (8_684, true));
    let vms = world.simulator.vms();
    let again = vms.iter().find(|vm| vm.name == "again").unwrap();
    assert_eq!(again.files[0].len_bytes().unwrap(), 8_684);
}

#[tokio::test]
async fn licences_must_be_agreed_to() {
    for wire in WIRES {
        let bench = Bench::described(wire, |_| {}).await;
        let mut request = bench.request();
        request.accept_eulas = false;
        let error = bench.plan(request).await.unwrap_err();
        assert!(matches!(error, Error::Eulas { count: 1, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Refused);
        bench.assert_untouched();
    }
}

#[tokio::test]
async fn what_the_package_or_the_server_does_not_know_is_refused_with_what_they_do() {
    type Change = fn(&mut Import);
    let cases: [(Change, &str); 8] = [
        (
            |import| import.properties = vec![("net.hostnam.1".to_owned(), String::new())],
            "net.hostname.1",
        ),
        (|import| import.deployment_option = Some("larg".to_owned()), "large"),
        (|import| import.import_options = vec!["lux".to_owned()], "lax"),
        (
            |import| {
                import.networks = vec![NetworkMap::new(Some("VM Net".to_owned()), "VM Network")]
            },
            "VM Network",
        ),
        (|import| import.networks = vec![NetworkMap::new(None, "VM Netwrk")], "VM Network"),
        (
            |import| import.networks = vec![NetworkMap::new(None, "Network:network-999")],
            "network-999",
        ),
        (|import| import.datastore = Some("datastor0".to_owned()), "datastore0"),
        (|import| import.require_networks = true, "VM Network"),
    ];
    for wire in WIRES {
        let bench = Bench::described(wire, |_| {}).await;
        for (change, word) in cases {
            let mut request = bench.request();
            change(&mut request);
            let error = bench.plan(request).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{word}: {}", error.chain());
            assert!(error.chain().contains(word), "{word}: {}", error.chain());
        }
        bench.assert_untouched();
    }
}

/// Options that were written for all configurations, or with the properties that are fixed, serve
/// each of them.
#[tokio::test]
async fn properties_of_other_configurations_and_fixed_ones_are_passed_over() {
    for wire in WIRES {
        let bench = Bench::described(wire, |_| {}).await;
        bench.edit(
            r#"<Property ovf:key="fixed""#,
            r#"<Property ovf:key="peers" ovf:type="string" ovf:userConfigurable="true"
                 ovf:configuration="large"/><Property ovf:key="fixed""#,
        );
        let mut request = bench.request();
        let property = |name: &str, value: &str| (format!("net.{name}.1"), value.to_owned());
        request.properties =
            vec![property("hostname", "a"), property("peers", "b c"), property("fixed", "f")];
        for (configuration, notes) in [("small", 1), ("large", 0)] {
            request.deployment_option = Some(configuration.to_owned());
            request.name = Some(configuration.to_owned());
            let plan = bench.plan(request.clone()).await.unwrap();
            let told = plan.findings().iter().filter(|one| one.check == Check::Descriptor);
            let told: Vec<String> = told.map(ToString::to_string).collect();
            assert_eq!(told.len(), notes, "{told:?}");
            assert!(told.iter().all(|note| note.starts_with("net.peers.1: not set")), "{told:?}");
            plan.start(options()).finish().await.unwrap();
            let path = format!("/DC0/vm/{configuration}");
            let made = bench.read(&path, "config.vAppConfig.property").await;
            let text = |one: &Value, name: &str| one.text_of(name).unwrap();
            let values = made.items().map(|one| (text(one, "id"), text(one, "value")));
            let values: Vec<(String, String)> = values.collect();
            let mut expected = vec![("hostname", "a"), ("fixed", "")];
            if configuration == "large" {
                expected.insert(1, ("peers", "b c"));
            }
            let expected = expected.into_iter();
            let expected = expected.map(|(id, value)| (id.to_owned(), value.to_owned()));
            assert_eq!(values, expected.collect::<Vec<_>>(), "{configuration}");
        }
    }
}

#[tokio::test]
async fn what_the_server_judges_is_told_in_its_words() {
    type Change = fn(&mut Import);
    let cases: [(Change, &str); 3] = [
        (
            |import| import.properties = vec![("net.hostname.1".to_owned(), "x".repeat(40))],
            "OvfPropertyValue",
        ),
        (
            |import| import.properties = vec![("net.fixed.1".to_owned(), "x".to_owned())],
            "not for users",
        ),
        (
            |import| import.disk_provisioning = Some("round".to_owned()),
            "OvfUnsupportedDiskProvisioning",
        ),
    ];
    for wire in WIRES {
        let bench = Bench::described(wire, |_| {}).await;
        for (change, word) in cases {
            let mut request = bench.request();
            change(&mut request);
            let error = bench.plan(request).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{word}: {}", error.chain());
            assert!(error.chain().contains(word), "{word}: {}", error.chain());
        }
        bench.assert_untouched();
    }
}

#[tokio::test]
async fn a_draft_is_told_beside_the_servers_refusal() {
    let bench = Bench::new(Wire::Soap).await;
    let [draft, standard] =
        ["http://www.vmware.com/schema/ovf/1/envelope", "http://schemas.dmtf.org/ovf/envelope/1"];
    while fs::read_to_string(&bench.package).unwrap().contains(standard) {
        bench.edit(standard, draft);
    }
    let error = bench.plan(bench.request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{}", error.chain());
    let Error::Preflight { findings, .. } = &error else { panic!("{error:?}") };
    let texts: Vec<_> = findings.iter().map(ToString::to_string).collect();
    for words in ["OvfUnsupportedPackage", "convert it to OVF 1.x first"] {
        assert!(texts.iter().any(|text| text.contains(words)), "{texts:?}");
    }
    bench.assert_untouched();
}

#[tokio::test]
async fn places_may_be_given_by_reference() {
    for wire in WIRES {
        let bench = Bench::new(wire).await;
        let find = async |path: &str| {
            let found = bench.session.find(&InventoryPath::new(path), &[]).await.unwrap();
            found.moref().clone()
        };
        let cluster = find("/DC0/host/Cluster0").await;
        let pool = find("/DC0/host/Cluster0/Resources/pool0").await;
        let host = find("/DC0/host/Cluster0/host1").await;
        let datastore = find("/DC0/datastore/datastore1").await;
        let network = find("/DC0/network/Storage Network").await;
        let folder = find("/DC0/vm").await;
        for (target, name) in [(&cluster, "a"), (&pool, "b"), (&host, "c")] {
            let mut request = bench.request();
            request.target = target.to_string();
            request.name = Some(name.to_owned());
            request.datastore = Some(datastore.to_string());
            request.folder = Some(format!("?moref={}", folder.id()));
            request.networks =
                vec![NetworkMap::new(Some("VM Network".to_owned()), network.to_string())];
            let plan = bench.plan(request).await.unwrap();
            assert_eq!(plan.datastore(), "datastore1");
            let report = plan.start(options()).finish().await.unwrap();
            let path = format!("/DC0/vm/{name}");
            assert_eq!(find(&path).await, report.entity);
            let vms = bench.world.simulator.vms();
            let vm = vms.iter().find(|vm| vm.name == name).unwrap();
            assert_eq!(vm.networks, ["Storage Network"]);
            if target == &host {
                assert_eq!(vm.host, "host1");
            }
            let used = bench.read(&path, "resourcePool").await.moref().unwrap().clone();
            assert_eq!(used == pool, target == &pool);
        }
        let mut request = bench.request();
        request.target = "ResourcePool:resgroup-999".to_owned();
        let error = bench.plan(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
        let mut request = bench.request();
        request.folder = Some(cluster.to_string());
        let error = bench.plan(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    }
}

#[tokio::test]
async fn of_a_datastore_cluster_the_roomiest_member_is_taken() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| {
            let size = |gib: u64| Size::from_bytes(gib << 30);
            scenario.datastore_free =
                [("datastore2".to_owned(), size(1)), ("datastore3".to_owned(), size(2))].into();
        })
        .await;
        for name in ["pod0", "/DC0/datastore/pod0"] {
            let mut request = bench.request();
            request.datastore = Some(name.to_owned());
            let plan = bench.plan(request).await.unwrap();
            assert_eq!(plan.datastore(), "datastore3");
            let note = plan.findings().iter().find(|one| one.check == Check::Datastore).unwrap();
            assert_eq!(note.severity, Severity::Note);
            assert!(note.to_string().contains("2 datastores of pod0"), "{note}");
        }
        let mut request = bench.request();
        request.datastore = Some("pod0".to_owned());
        bench.run(request).await.unwrap();
        let config = bench.read("/DC0/vm/again", "config.files.vmPathName").await;
        assert!(config.text().unwrap().starts_with("[datastore3]"), "{:?}", config.text());
        let mut request = bench.request();
        request.datastore = Some("/DC0/datastore".to_owned());
        let error = bench.plan(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", error.chain());
    }
}

#[tokio::test]
async fn a_pool_may_be_a_vapp() {
    for wire in WIRES {
        let bench = Bench::over(wire, |scenario| {
            scenario.vapps =
                vec![ovftransfer_simulator::scenario::VappSpec::new("shop", Vec::new())];
        })
        .await;
        for (name, pool) in [("a", None), ("b", Some("/DC0/host/Cluster0/Resources/shop"))] {
            let mut request = bench.request();
            request.name = Some(name.to_owned());
            match pool {
                Some(pool) => request.pool = Some(pool.to_owned()),
                None => request.target = "/DC0/host/Cluster0/Resources/shop".to_owned(),
            }
            bench.run(request).await.unwrap();
            let vms = bench.world.simulator.vms();
            let vm = vms.iter().find(|vm| vm.name == name).unwrap();
            assert!(vm.folder.ends_with("/shop"), "{}", vm.folder);
        }
        // The name must be free there, no folder counts, and nothing there is a template.
        let mut request = bench.request();
        request.name = Some("c".to_owned());
        request.target = "/DC0/host/Cluster0/Resources/shop".to_owned();
        request.folder = Some("/DC0/vm".to_owned());
        let plan = bench.plan(request.clone()).await.unwrap();
        plan.check().unwrap();
        assert!(plan.findings().iter().any(|one| one.check == Check::Place));
        request.template = true;
        request.folder = None;
        assert_eq!(error_of(&bench.plan(request).await.unwrap()).1, Check::Place);
        let mut request = bench.request();
        request.name = Some("a".to_owned());
        request.target = "/DC0/host/Cluster0/Resources/shop".to_owned();
        let plan = bench.plan(request).await.unwrap();
        assert_eq!(error_of(&plan).1, Check::Name);
    }
}

const OPTIONS: &str = r#"
  <DeploymentOptionSection><Info>Sizes</Info>
    <Configuration ovf:id="small" ovf:default="true"><Label>Small</Label><Description>s</Description></Configuration>
    <Configuration ovf:id="large"><Label>Large</Label><Description>l</Description></Configuration>
  </DeploymentOptionSection>"#;

const PRODUCT: &str = r#"
  <ProductSection ovf:class="net" ovf:instance="1"><Info>About</Info><Product>Shop</Product>
    <Property ovf:key="hostname" ovf:type="string" ovf:userConfigurable="true" ovf:qualifiers="MaxLen(20)" ovf:value="tiny">
      <Value ovf:value="big" ovf:configuration="large"/>
    </Property>
    <Property ovf:key="fixed" ovf:type="string" ovf:userConfigurable="false" ovf:value="f"/>
  </ProductSection>
  <EulaSection><Info>Terms</Info><License>Do as you please.</License></EulaSection>"#;
