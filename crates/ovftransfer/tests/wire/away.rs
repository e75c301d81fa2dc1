//! A server that is away for a moment when everything has moved.

use std::sync::Arc;
use std::sync::Mutex;

use ovftransfer::Event;
use ovftransfer::Observer;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;

const WIRES: [Wire; 2] = [Wire::Json, Wire::Soap];

/// What stands before the API.  It goes away with the last file that is proven: connections break,
/// and new ones with them.
#[derive(Debug)]
struct Front {
    is_away: watch::Sender<bool>,
    to_prove: Mutex<usize>,
    told: Mutex<Vec<Event>>,
}

impl Observer for Front {
    fn observe(&self, event: &Event) {
        self.told.lock().unwrap().push(event.clone());
        if matches!(event, Event::FileProven { .. }) {
            let mut to_prove = self.to_prove.lock().unwrap();
            *to_prove -= 1;
            self.is_away.send_replace(*to_prove == 0);
        }
    }
}

impl Front {
    /// Puts itself before the server of a world, of which two files will move.
    async fn before(world: &mut World, wire: Wire, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let locator: Locator = world.simulator.url().replace("https", "vi").parse().unwrap();
        let api = locator.endpoint().clone();
        let listener = TcpListener::bind((api.host(), 0)).await.unwrap();
        let endpoint = Endpoint::new(api.host(), listener.local_addr().unwrap().port());
        let (is_away, away) = watch::channel(false);
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let (mut away, api) = (away.clone(), api.clone());
                open.spawn(async move {
                    let mut server = TcpStream::connect((api.host(), api.port())).await.unwrap();
                    tokio::select! {
                        biased;
                        _ = away.wait_for(|is_away| *is_away) => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        let trust = Trust::Pinned(world.simulator.thumbprint().parse().unwrap());
        let password = Secret::new(world.simulator.password());
        let user = world.simulator.username().to_owned();
        let server = Server::connect_with(endpoint, trust, &user, password, wire).await.unwrap();
        world.server = server;
        let (to_prove, told) = (Mutex::new(2), Mutex::default());
        Arc::new(Self { is_away, to_prove, told })
    }

    fn options(self: &Arc<Self>) -> Options {
        let mut options = options();
        options.observer = Arc::clone(self) as Arc<dyn Observer>;
        options
    }

    /// Comes back so long after it has gone.
    async fn come_back(&self, after: Duration) {
        self.is_away.subscribe().wait_for(|is_away| *is_away).await.unwrap();
        tokio::time::sleep(after).await;
        self.is_away.send_replace(false);
    }

    fn assert_completed(&self) {
        let told = self.told.lock().unwrap();
        assert!(matches!(told.last(), Some(Event::LeaseComplete)), "{told:?}");
    }
}

fn patient(scenario: &mut Scenario) {
    scenario.lease_timeout_s = 30;
}

/// The descriptor is the first thing that is asked for then, and no file is fetched again for it.
#[tokio::test]
async fn an_export_waits_for_its_descriptor() {
    side_by_side(WIRES, async |wire| {
        let (mut world, mut tasks) = (World::over(wire, patient).await, JoinSet::new());
        let front = Front::before(&mut world, wire, &mut tasks).await;
        let plan = Export::new("/DC0/vm/web", world.folder.path()).plan(&world.server);
        let export = plan.await.unwrap().start(front.options());
        let back = front.come_back(Duration::from_secs(2));
        let (report, ()) = tokio::join!(export.finish(), back);
        assert!(report.unwrap().files.iter().all(|file| file.attempts == 1), "{wire:?}");
        front.assert_completed();
    })
    .await;
}

#[tokio::test]
async fn an_import_waits_for_its_completion() {
    let (_folder, package) = package().await;
    side_by_side(WIRES, async |wire| {
        let (mut world, mut tasks) = (World::over(wire, patient).await, JoinSet::new());
        let front = Front::before(&mut world, wire, &mut tasks).await;
        let package = Package::open(&package).unwrap();
        let mut import = Import::new(package, "/DC0/host/Cluster0");
        import.name = Some("again".to_owned());
        import.datastore = Some("datastore0".to_owned());
        let import = import.plan(&world.server).await.unwrap().start(front.options());
        let back = front.come_back(Duration::from_secs(4));
        let (report, ()) = tokio::join!(import.finish(), back);
        report.unwrap();
        assert_eq!(world.disks("again").unwrap(), world.disks("web").unwrap());
        front.assert_completed();
    })
    .await;
}
