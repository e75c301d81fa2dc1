//! Proxies of the environment.  Variables belong to a whole process, so each case is a process of
//! its own: this test program once more, which then is the client.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use ovftransfer_simulator::Simulator;
use ovftransfer_vim::http::HttpTransport;
use ovftransfer_vim::{Endpoint, Secret, Session, Trust};

/// A proxy that leads every host to one port of this machine, or refuses.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(target: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, log) = (client.unwrap(), Arc::clone(&log));
                thread::spawn(move || tunnel(client, target, &log));
            }
        });
        Self { port, asked }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The first lines of the requests since the last look.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Answers a CONNECT and moves bytes until one side ends.
fn tunnel(mut client: TcpStream, target: Option<u16>, log: &Mutex<Vec<String>>) {
    let mut head = BufReader::new(client.try_clone().unwrap());
    let mut first = String::new();
    head.read_line(&mut first).unwrap();
    let mut line = first.clone();
    while !line.trim().is_empty() {
        line.clear();
        head.read_line(&mut line).unwrap();
    }
    log.lock().unwrap().push(first.trim().to_owned());
    let Some(port) = target else {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(refusal).unwrap();
    };
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client);
    let back = thread::spawn(move || {
        let _ended = io::copy(&mut from_server, &mut to_client);
        let _ended = to_client.shutdown(std::net::Shutdown::Both);
    });
    let _ended = io::copy(&mut head, &mut server);
    let _ended = server.shutdown(std::net::Shutdown::Both);
    back.join().unwrap();
}

const VARIABLES: [&str; 8] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];

/// What a process with these variables says after it logged in at `target`.
async fn said(server: &Simulator, target: &str, variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", TEST, "--nocapture"]);
    for variable in VARIABLES {
        child.env_remove(variable);
    }
    child.envs(variables.iter().copied());
    child.env("TEST_TARGET", target).env("TEST_PIN", server.thumbprint());
    child.env("TEST_USER", server.username()).env("TEST_PASSWORD", server.password());
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// One session with the server of the environment.
async fn one_session(target: &str) {
    let variable = |name| env::var(name).unwrap();
    let (host, port) = target.rsplit_once(':').unwrap();
    let endpoint = Endpoint::new(host, port.parse().unwrap());
    let trust = Trust::Pinned(variable("TEST_PIN").parse().unwrap());
    match Session::connect(Arc::new(HttpTransport::new()), endpoint, trust).await {
        Ok(session) => {
            let password = Secret::new(variable("TEST_PASSWORD"));
            session.login(&variable("TEST_USER"), &password).await.unwrap();
            println!("connected to {}", session.about().full_name);
            session.logout().await.unwrap();
        }
        Err(error) => println!("{error}: {}", error.source().unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_are_used() {
    if let Ok(target) = env::var("TEST_TARGET") {
        return one_session(&target).await;
    }
    let server = Simulator::builder().start().await.unwrap();
    let direct = server.url().split('/').nth(2).unwrap().to_owned();
    let port = direct.rsplit(':').next().unwrap().parse().unwrap();
    let (open, closed) = (Proxy::start(Some(port)), Proxy::start(None));
    // A name that no resolver knows: only the proxy leads there.
    let far = "vcenter.invalid:443";

    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let text = said(&server, far, &[(variable, &open.url())]).await;
        assert!(text.contains("connected to "), "{text}");
        let asked = open.asked();
        assert!(!asked.is_empty(), "{variable}");
        assert!(
            asked.iter().all(|line| line == "CONNECT vcenter.invalid:443 HTTP/1.1"),
            "{asked:?}"
        );
    }

    for excepted in ["vcenter.invalid", ".invalid", "*"] {
        let variables = [("HTTPS_PROXY", &*open.url()), ("NO_PROXY", excepted)];
        let text = said(&server, far, &variables).await;
        assert!(text.contains("connecting to vcenter.invalid:443 failed: "), "{excepted}: {text}");
        assert_eq!(open.asked(), [""; 0], "{excepted}");
    }

    let text = said(&server, far, &[("HTTPS_PROXY", &closed.url())]).await;
    assert!(text.contains("connecting to vcenter.invalid:443 failed: "), "{text}");
    assert!(text.to_lowercase().contains("proxy"), "{text}");
    assert!(!closed.asked().is_empty());

    // Never for the machine itself, where a proxy would look for the server on its own machine.
    let text = said(&server, &direct, &[("HTTPS_PROXY", &closed.url())]).await;
    assert!(text.contains("connected to "), "{text}");
    assert_eq!(closed.asked(), [""; 0]);
}

const TEST: &str = "proxies_of_the_environment_are_used";
