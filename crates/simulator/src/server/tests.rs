use std::net::Ipv4Addr;

use futures::stream;
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;
use crate::client::{Client, connect, raw};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn start(limits: Limits) -> (Server, Identity) {
    let identity = Identity::generate(&["127.0.0.1"]).unwrap();
    let server = Server::start(LOCAL, &identity, limits, answer).await.unwrap();
    (server, identity)
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let connection = Connection::of(&request).unwrap();
    match request.uri().path() {
        "/reset" => {
            let pieces = stream::unfold(0, move |sent: u32| {
                let connection = connection.clone();
                async move {
                    if sent == 4 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        connection.reset();
                    }
                    let frame = Frame::data(Bytes::from(vec![7; 1000]));
                    Some((Ok::<_, BodyError>(frame), sent + 1))
                }
            });
            Response::new(StreamBody::new(pieces).boxed_unsync())
        }
        "/early" => text(StatusCode::FORBIDDEN, "no"),
        "/never" => std::future::pending().await,
        _ => Response::new(full("hello")),
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let (server, identity) = start(Limits::default()).await;
    let mut client = Client::open(server.local_addr(), &identity).await;
    for _ in 0..3 {
        let response = client.get("/").await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    assert_eq!(server.connections(), 1);
    server.stop().await;
    assert!(client.get("/").await.is_err());
}

#[tokio::test]
async fn a_reset_breaks_the_body() {
    let (server, identity) = start(Limits::default()).await;
    let mut client = Client::open(server.local_addr(), &identity).await;
    let response = client.get("/reset").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let error = response.into_body().collect().await.unwrap_err();
    let mut cause: &dyn Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    assert!(cause.to_string().to_lowercase().contains("reset"), "{cause}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_request_stops_nothing() {
    let (server, identity) = start(Limits::default()).await;
    let address = server.local_addr();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    drop(connect(address, &identity).await.unwrap());
    for text in [
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nX: \u{1}\r\n\r\n",
    ] {
        let answer = raw(address, &identity, text).await;
        assert!(answer.is_empty() || answer.contains(" 400 "), "{text}: {answer}");
    }
    let mut client = Client::open(address, &identity).await;
    assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn connections_above_the_cap_get_503() {
    let (server, identity) = start(Limits { connections: Some(2) }).await;
    let address = server.local_addr();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::open(address, &identity).await;
        assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK);
        clients.push(client);
    }
    let mut third = Client::open(address, &identity).await;
    let refused = third.get("/").await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(refused);
    drop((clients, third));
    while server.connections() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut client = Client::open(address, &identity).await;
    assert_eq!(client.get("/").await.unwrap().status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let (server, identity) = start(Limits::default()).await;
    let mut stream = connect(server.local_addr(), &identity).await.unwrap();
    let head = "POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 8000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..80 {
        stream.write_all(&vec![1; 100_000]).await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
    server.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let (server, identity) = start(Limits::default()).await;
    let mut client = Client::open(server.local_addr(), &identity).await;
    let hanging = client.get("/never");
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.stop().await;
    };
    let (answer, ()) = tokio::join!(hanging, stopping);
    assert!(answer.is_err());
}
