//! Descriptors that other people wrote, imported and described again.
//!
//! They lie beside the checkout, in `../shared/corpus/ovf`, or where `OVFTRANSFER_CORPUS` says.
//! Where they are missing the test says so and passes.  Files in folders named `Neg` are wrong on
//! purpose and left out.

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test prints what it counted, and fails by panicking"
)]

mod reader;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use ovftransfer_simulator::Simulator;
use ovftransfer_simulator::scenario::Scenario;
use ovftransfer_vmdk::{Options, StreamWriter};
use serde_json::{Value, json};

use reader::{Content, Element};
use support::wire::{Client, moref};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_descriptor_is_imported_and_described_again_or_truly_refused() {
    let Some(corpus) = corpus() else { return };
    let mut scenario = Scenario::default();
    scenario.networks.extend((0..NETWORKS).map(|index| format!("net {index}")));
    scenario.machines.clear();
    let simulator = Simulator::builder().scenario(scenario).start().await.unwrap();
    let mut bench = Bench::new(&simulator).await;
    let mut table = BTreeMap::<String, usize>::new();
    let mut problems = Vec::new();
    for (index, file) in corpus.iter().enumerate() {
        let text = fs::read_to_string(file).expect("the corpus is UTF-8");
        let mut count = |what: String| *table.entry(what).or_default() += 1;
        let mut note = |problem: String| problems.push(format!("{}: {problem}", file.display()));
        match bench.try_out(&text, &format!("vm{index}"), false).await {
            Ok(Outcome::Equal) => count("imported, equal".to_owned()),
            Ok(Outcome::EqualVapp(machines)) => {
                count("imported as a vApp, equal".to_owned());
                *table.entry(IN_VAPPS.to_owned()).or_default() += machines;
            }
            Ok(Outcome::Refused(faults)) => {
                count(format!("refused by {}", faults[0]));
                for fault in &faults {
                    if !is_true(fault, &text) {
                        note(format!("is refused by {fault}"));
                    }
                }
                if faults.iter().all(|fault| CAN_BE_LEFT_OUT.contains(&fault.as_str())) {
                    match bench.try_out(&text, &format!("vm{index} lax"), true).await {
                        Ok(Outcome::Equal) => count("refused, but imported lax, equal".to_owned()),
                        Ok(Outcome::EqualVapp(_)) => {
                            count("refused, but imported lax as a vApp, equal".to_owned());
                        }
                        other => note(format!("lax: {other:?}")),
                    }
                }
            }
            Err(problem) => note(problem),
        }
    }
    println!("{} descriptors", corpus.len());
    for (what, count) in &table {
        println!("{count:5} {what}");
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(table["imported, equal"] * 2 > corpus.len(), "{table:?}");
    assert!(table[IN_VAPPS] > table["imported as a vApp, equal"], "{table:?}");
    simulator.stop().await;
}

#[derive(Debug)]
enum Outcome {
    /// Imported, and what the server then says about the machine is what the descriptor said.
    Equal,
    /// The same of a vApp with so many machines.
    EqualVapp(usize),
    /// Types of the faults, never empty.
    Refused(Vec<String>),
}

/// Whether a descriptor deserves a fault, by what can be seen in its text.
fn is_true(fault: &str, text: &str) -> bool {
    let Some(root) = Element::parse(text) else { return fault == "OvfXmlFormat" };
    let of = |name: &str| root.every(name).into_iter();
    let fields = |name: &'static str| of("Item").filter_map(move |item| item.value(name));
    match fault {
        "OvfXmlFormat" => root.name != "Envelope",
        // OVF 0.9.
        "OvfUnsupportedPackage" => !text.contains(OVF_1),
        "OvfUnsupportedElementValue" => of("System")
            .any(|one| one.value("VirtualSystemType").is_some_and(|v| !v.contains("vmx-"))),
        // A sound card.
        "OvfUnsupportedType" => fields("ResourceType").any(|kind| kind == "35"),
        "OvfUnsupportedSubType" => fields("ResourceSubType").any(|kind| kind.contains("nvdimm")),
        "OvfInvalidValueFormatMalformed" => {
            of("File").any(|file| file.attribute("size").is_some_and(|n| n.parse::<i64>().is_err()))
        }
        "OvfMissingElement" => of("VirtualSystem").next().is_none(),
        _ => false,
    }
}

struct Bench {
    client: Client,
    manager: Value,
    pool: Value,
    datastore: Value,
    folder: Value,
}

impl Bench {
    async fn new(simulator: &Simulator) -> Self {
        let mut client = Client::log_in(simulator).await;
        let pool = client.find("/DC0/host/Cluster0/Resources").await;
        let datastore = client.find("/DC0/datastore/datastore0").await;
        let folder = client.find("/DC0/vm").await;
        Self { client, manager: moref("OvfManager", "OvfManager"), pool, datastore, folder }
    }

    async fn call(&mut self, method: &str, arguments: &Value) -> Result<Value, String> {
        let answer = self.client.call(&self.manager, method, arguments).await;
        answer.map_err(|fault| format!("{method}: {fault}"))
    }

    async fn try_out(&mut self, text: &str, name: &str, lax: bool) -> Result<Outcome, String> {
        let options = if lax { json!(["lax"]) } else { json!([]) };
        let pdp = json!({
            "_typeName": "OvfParseDescriptorParams",
            "locale": "",
            "deploymentOption": "",
            "importOption": options,
        });
        let parsed =
            self.call("ParseDescriptor", &json!({ "ovfDescriptor": text, "pdp": pdp })).await?;
        let mut mapping = Vec::new();
        let mut names = BTreeMap::new();
        for (index, network) in parsed["network"].as_array().into_iter().flatten().enumerate() {
            let real = format!("net {index}");
            let network = network["name"].clone();
            let known = self.client.find(&format!("/DC0/network/{real}")).await;
            mapping.push(
                json!({ "_typeName": "OvfNetworkMapping", "name": network, "network": known }),
            );
            names.insert(real, network.as_str().unwrap().to_owned());
        }
        let cisp = json!({
            "_typeName": "OvfCreateImportSpecParams",
            "locale": "",
            "deploymentOption": "",
            "entityName": name,
            "networkMapping": mapping,
            "importOption": options,
        });
        let arguments = json!({
            "ovfDescriptor": text,
            "resourcePool": self.pool,
            "datastore": self.datastore,
            "cisp": cisp,
        });
        let result = self.call("CreateImportSpec", &arguments).await?;
        if let Some(errors) = result["error"].as_array() {
            assert!(result["importSpec"].is_null() && !errors.is_empty(), "{result}");
            let kind = |error: &Value| error["_typeName"].as_str().unwrap().to_owned();
            return Ok(Outcome::Refused(errors.iter().map(kind).collect()));
        }
        let entity = self.import(&result).await?;
        let cdp = json!({ "_typeName": "OvfCreateDescriptorParams" });
        let described =
            self.call("CreateDescriptor", &json!({ "obj": entity, "cdp": cdp })).await?;
        let described = described["ovfDescriptor"].as_str().unwrap().to_owned();
        let mut before = Element::parse(text).and_then(|root| reader::content(&root));
        let mut after = Element::parse(&described).and_then(|root| reader::content(&root));
        for machine in after.iter_mut().flat_map(Content::machines_mut) {
            for (network, _) in &mut machine.cards {
                *network = names.get(network).cloned().unwrap_or_default();
            }
            machine.cards.sort();
        }
        if let (Some(Content::Collection(before)), Some(Content::Collection(after))) =
            (&mut before, &after)
        {
            before.take_names(after);
        }
        match after {
            _ if before != after => Err(format!("was {before:#?}, became {after:#?}")),
            Some(Content::Collection(vapp)) => Ok(Outcome::EqualVapp(vapp.len())),
            Some(Content::Machine(_)) => Ok(Outcome::Equal),
            None => Err(format!("cannot be read: {described}")),
        }
    }

    /// Imports what the spec describes, with empty disks.  The machine or vApp that came of it.
    async fn import(&mut self, result: &Value) -> Result<Value, String> {
        let arguments = json!({ "spec": result["importSpec"], "folder": self.folder });
        let lease = self.client.call(&self.pool, "ImportVApp", &arguments).await;
        let lease = lease.map_err(|fault| format!("ImportVApp: {fault}"))?;
        let limit = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let state = self.client.property(&lease, "state").await;
            if state == "ready" {
                break;
            }
            if state == "error" {
                let error = self.client.property(&lease, "error").await;
                return Err(format!("lease: {error}"));
            }
            assert!(tokio::time::Instant::now() < limit, "{state}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let info = self.client.property(&lease, "info").await;
        let none = Vec::new();
        let urls = info["deviceUrl"].as_array().unwrap_or(&none);
        for item in result["fileItem"].as_array().into_iter().flatten() {
            let url = urls.iter().find(|url| url["importKey"] == item["deviceId"]);
            let Some(url) = url else { return Err(format!("no device URL for {item} in {info}")) };
            self.upload(item, url, &result["importSpec"]).await?;
        }
        let done = self.client.call(&lease, "HttpNfcLeaseComplete", &json!({})).await;
        done.map_err(|fault| format!("Complete: {fault}"))?;
        Ok(info["entity"].clone())
    }

    async fn upload(&mut self, item: &Value, url: &Value, spec: &Value) -> Result<(), String> {
        let is_new = item["create"] == true;
        let url = url["url"].as_str().unwrap().strip_prefix("https://").unwrap();
        let (authority, path) = url.split_once('/').unwrap();
        let path = format!("/{}", path.replace(' ', "%20"));
        let mut host = Client::connect(authority).await;
        let body = if is_new {
            host.keep_header("Overwrite", "t");
            b"an image".to_vec()
        } else {
            host.keep_header("Content-Type", "application/x-vnd.vmware-streamVmdk");
            let capacity = capacity(spec, item["deviceId"].as_str().unwrap());
            empty_disk(capacity)
        };
        let verb = if is_new { "PUT" } else { "POST" };
        let answer = host.send(verb, &path, body).await.map_err(|error| error.to_string())?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => Ok(()),
            other => Err(format!("{verb} {path}: {other} {}", answer.text())),
        }
    }
}

/// Capacity of the disk that an item is for, by the machine's path, the unit and the bus of its
/// device id (`/vapp/name/VirtualLsiLogicController0:0`).
fn capacity(spec: &Value, device_id: &str) -> u64 {
    let (path, label) = device_id.rsplit_once('/').unwrap();
    let (bus, unit) = label.rsplit_once(':').unwrap();
    let unit: u64 = unit.parse().unwrap();
    let machine = find_machine(spec, path).expect("its machine");
    let changes = machine["deviceChange"].as_array().unwrap();
    let devices: Vec<&Value> = changes.iter().map(|change| &change["device"]).collect();
    let controller = devices.iter().find(|device| {
        let kind = device["_typeName"].as_str().unwrap();
        format!("{kind}{}", device["busNumber"]) == bus
    });
    let key = &controller.expect("its controller")["key"];
    let disk = devices
        .iter()
        .find(|device| device["controllerKey"] == *key && device["unitNumber"] == unit);
    disk.expect("its disk")["capacityInBytes"].as_u64().expect("its capacity")
}

/// The configuration of the machine at `path`, `/vapp/name`.
fn find_machine<'a>(spec: &'a Value, path: &str) -> Option<&'a Value> {
    let config = &spec["configSpec"];
    let name = if config.is_null() { &spec["name"] } else { &config["name"] };
    let inner = path.strip_prefix('/')?.strip_prefix(name.as_str()?)?;
    if !config.is_null() {
        return inner.is_empty().then_some(config);
    }
    spec["child"].as_array()?.iter().find_map(|child| find_machine(child, inner))
}

fn empty_disk(capacity_bytes: u64) -> Vec<u8> {
    let writer = StreamWriter::new(Vec::new(), capacity_bytes, Options::default()).unwrap();
    writer.finish().unwrap().0
}

fn corpus() -> Option<Vec<PathBuf>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/ovf");
    let told = std::env::var_os("OVFTRANSFER_CORPUS").map(PathBuf::from);
    let folder = told.unwrap_or(beside);
    if !folder.is_dir() {
        eprintln!("skipped: no descriptors in {}", folder.display());
        return None;
    }
    let mut files = Vec::new();
    walk(&folder, &mut files);
    files.sort();
    Some(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "Neg") {
                walk(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "ovf") {
            files.push(path);
        }
    }
}

/// Line of the table.
const IN_VAPPS: &str = "imported as a vApp: machines in it";

/// More than any descriptor of the corpus has.
const NETWORKS: usize = 24;

/// Faults of what a caller can allow the server to leave out.
const CAN_BE_LEFT_OUT: [&str; 4] = [
    "OvfUnsupportedElementValue",
    "OvfUnsupportedSection",
    "OvfUnsupportedSubType",
    "OvfUnsupportedType",
];

/// Namespace of the only version of OVF in the corpus that servers know.
const OVF_1: &str = "http://schemas.dmtf.org/ovf/envelope/1";
