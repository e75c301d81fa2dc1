//! A host without vCenter: SOAP only, device URLs without a host's name, no folders, no clusters.

use super::*;

async fn host(faults: Vec<Fault>) -> World {
    World::with(|scenario| {
        let machines = std::mem::take(&mut scenario.machines);
        *scenario = Scenario::esxi();
        scenario.machines = machines;
        scenario.vapps.clear();
        scenario.faults = faults;
    })
    .await
}

async fn import(world: &World, package: &Path) -> Result<Report, Error> {
    let mut import = Import::new(Package::open(package)?, "/ha-datacenter/host/esxi0");
    import.name = Some("again".to_owned());
    import.datastore = Some("datastore0".to_owned());
    import.plan(&world.server).await?.start(options()).finish().await
}

fn source(world: &World) -> Export {
    Export::new("/ha-datacenter/vm/web", world.folder.path().join("x.ova"))
}

#[tokio::test]
async fn a_machine_goes_out_of_a_host_and_comes_back() {
    let world = host(Vec::new()).await;
    let plan = source(&world).plan(&world.server).await.unwrap();
    let report = plan.start(options()).finish().await.unwrap();
    assert!(report.files.iter().all(|file| file.by_server), "{report:?}");
    import(&world, &report.package.unwrap()).await.unwrap();
    assert_eq!(world.disks("again"), world.disks("web"));
    let leases = world.simulator.leases();
    assert!(leases.iter().all(|lease| lease.state == LeaseState::Done), "{leases:?}");
}

#[tokio::test]
async fn a_failure_leaves_nothing_on_a_host() {
    let sound = host(Vec::new()).await;
    let plan = source(&sound).plan(&sound.server).await.unwrap();
    let package = plan.start(options()).finish().await.unwrap().package.unwrap();
    for (kind, expected) in [
        (FaultKind::WrongDigest, ErrorKind::DigestMismatch),
        (FaultKind::Status(405), ErrorKind::Network),
        (FaultKind::LeaseLostAfterBytes(1_000_000), ErrorKind::LeaseLost),
    ] {
        let world = host(vec![on_import(kind.clone()).with_times(9)]).await;
        let error = import(&world, &package).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{kind:?}: {}", error.chain());
        world.assert_clean();
    }
}
