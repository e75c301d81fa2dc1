use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::Method;
use http::Request;
use http::Response;
use ovftransfer_vim::Endpoint;
use ovftransfer_vim::lease::DeviceUrl;
use ovftransfer_vim::transport::Body;
use ovftransfer_vim::transport::ByteStream;
use ovftransfer_vim::transport::Transport;

use super::*;
use crate::error::ErrorKind;

/// What a host does when it is reached.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer(u16),
    Break,
    Hang,
    Refuse,
    ShowAnother,
}

/// Hosts that act after so many seconds, by name.
#[derive(Debug)]
struct Hosts {
    acts: Vec<(&'static str, u64, Act)>,
    asked: Mutex<Vec<String>>,
}

impl Transport for Hosts {
    fn send(
        &self,
        request: Request<Body>,
        _trust: &Trust,
    ) -> BoxFuture<'_, Result<Response<ByteStream>, TransportError>> {
        assert_eq!(request.method(), Method::HEAD);
        assert!(request.headers().is_empty(), "{request:?}");
        self.asked.lock().unwrap().push(request.uri().to_string());
        let name = request.uri().host().unwrap();
        let (_, after_s, act) = *self.acts.iter().find(|(known, ..)| *known == name).unwrap();
        let host = format!("{name}:443");
        async move {
            tokio::time::sleep(Duration::from_secs(after_s)).await;
            let reason = "as the script says".to_owned();
            match act {
                Act::Answer(status) => {
                    let body = stream::empty().boxed();
                    Ok(Response::builder().status(status).body(body).unwrap())
                }
                Act::Break => Err(TransportError::Broken { host, reason }),
                Act::Hang => std::future::pending().await,
                Act::Refuse => Err(TransportError::Connect { host, reason }),
                Act::ShowAnother => Err(TransportError::Tls { host, reason, presented: None }),
            }
        }
        .boxed()
    }
}

/// Remembers which hosts were told to be good.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<(String, bool, Duration)>>);

impl Observer for Told {
    fn observe(&self, event: &Event) {
        let Event::HostChecked { host, pinned, took } = event else { panic!("{event:?}") };
        self.0.lock().unwrap().push((host.clone(), *pinned, *took));
    }
}

struct Checked {
    outcome: Result<(), Error>,
    /// Seconds that it took.
    took_s: u64,
    told: Vec<(String, bool, u64)>,
    asked: Vec<String>,
}

/// Checks devices on hosts, each with the hex digit that its pin consists of, if it has one.
async fn checked(acts: &[(&'static str, u64, Act)], devices: &[(&str, Option<char>)]) -> Checked {
    let transport = Arc::new(Hosts { acts: acts.to_vec(), asked: Mutex::default() });
    let told = Arc::new(Told::default());
    let devices: Vec<Device> = devices
        .iter()
        .enumerate()
        .map(|(index, (host, pin))| {
            let url = format!("https://{host}/nfc/52ab-ticket/disk-{index}.vmdk");
            let pin = pin.map(|digit| String::from(digit).repeat(40).parse().unwrap());
            Device {
                transport: Arc::clone(&transport) as Arc<dyn Transport>,
                url: DeviceUrl::parse(&url, &Endpoint::new("vc", 443)).unwrap(),
                trust: pin.map_or(Trust::System, Trust::Pinned),
            }
        })
        .collect();
    let (started, scope) = (Instant::now(), CancellationToken::new());
    let observer = Arc::clone(&told) as Arc<dyn Observer>;
    let outcome = check(devices, &observer, &scope).await;
    let told = told.0.lock().unwrap().clone().into_iter();
    let told = told.map(|(host, pinned, took)| (host, pinned, took.as_secs())).collect();
    let asked = transport.asked.lock().unwrap().clone();
    Checked { outcome, took_s: started.elapsed().as_secs(), told, asked }
}

#[tokio::test(start_paused = true)]
async fn hosts_are_reached_once_and_beside_one_another() {
    let acts = [("a", 5, Act::Answer(200)), ("b", 3, Act::Answer(404)), ("c", 1, Act::Break)];
    let devices =
        [("a", None), ("b", Some('1')), ("a", None), ("c", None), ("b", Some('1')), ("b", None)];
    let checked = checked(&acts, &devices).await;
    checked.outcome.unwrap();
    assert_eq!(checked.took_s, 5);
    // The same host with another pin is asked again; no question has a ticket.
    let urls = ["a", "b", "c", "b"].map(|host| format!("https://{host}:443/"));
    assert_eq!(checked.asked, urls);
    let told = [("c:443", false, 1), ("b:443", true, 3), ("b:443", false, 3), ("a:443", false, 5)];
    assert_eq!(checked.told, told.map(|(host, pinned, took)| (host.to_owned(), pinned, took)));
}

#[tokio::test(start_paused = true)]
async fn the_first_host_that_fails_ends_it() {
    // What refuses is tried three times, with a second between; a wrong certificate is final.
    let cases = [(Act::Refuse, ErrorKind::Network, 8), (Act::ShowAnother, ErrorKind::Tls, 2)];
    for (act, kind, took_s) in cases {
        let acts = [("a", 0, Act::Hang), ("b", 2, act), ("c", 1, Act::Answer(503))];
        let checked = checked(&acts, &[("a", None), ("b", Some('7')), ("c", None)]).await;
        let error = checked.outcome.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains("the host b:443"), "{error}");
        assert!(error.chain().contains("as the script says"), "{}", error.chain());
        assert_eq!(checked.took_s, took_s);
        assert_eq!(checked.told, [("c:443".to_owned(), false, 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_nothing_is_not_waited_for_long() {
    let checked = checked(&[("a", 0, Act::Hang)], &[("a", None)]).await;
    let error = checked.outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    let words = "the host a:443: cannot connect to a:443: no answer within 15 seconds";
    assert!(error.chain().ends_with(words), "{}", error.chain());
    assert_eq!(checked.took_s, 15);
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_no_files_has_no_hosts() {
    let checked = checked(&[], &[]).await;
    checked.outcome.unwrap();
    assert_eq!((checked.told.len(), checked.asked.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_check_is_given_up_when_the_transfer_is() {
    let transport: Arc<dyn Transport> =
        Arc::new(Hosts { acts: vec![("a", 0, Act::Hang)], asked: Mutex::default() });
    let url = DeviceUrl::parse("https://a/nfc/t/d.vmdk", &Endpoint::new("vc", 443)).unwrap();
    let device = Device { transport, url, trust: Trust::System };
    let (scope, observer) = (CancellationToken::new(), Arc::new(()) as Arc<dyn Observer>);
    let started = Instant::now();
    let cancelling = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        scope.cancel();
    };
    let (outcome, ()) = tokio::join!(check([device], &observer, &scope), cancelling);
    assert!(matches!(outcome, Err(Error::Cancelled)));
    assert_eq!(started.elapsed().as_secs(), 1);
}
