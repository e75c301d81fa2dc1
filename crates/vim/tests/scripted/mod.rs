//! A transport that is played by a script: no sockets, works on a paused clock.
//!
//! Answers are written as SOAP and translated for a session that speaks VI JSON, so that one test
//! can run over both wires: the test program `both_wires_json` is made of the files of others.

pub mod translate;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::{Request, Response};
use ovftransfer_vim::transport::{Body, ByteStream, Transport, TransportError};
use ovftransfer_vim::{Endpoint, Session, Trust, Wire};

/// One answer of the script.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub cookie: Option<&'static str>,
    pub session: Option<&'static str>,
    pub after: Duration,
    pub broken: bool,
}

impl Answer {
    pub fn raw(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let after = Duration::ZERO;
        Self { status, body: body.into(), cookie: None, session: None, after, broken: false }
    }

    /// A VI JSON answer.
    pub fn json(body: &str) -> Self {
        Self::raw(200, body)
    }

    /// A VI JSON answer without a value.
    pub fn nothing() -> Self {
        Self::raw(204, "")
    }

    /// A SOAP answer to `method`, in the form of a real server.
    pub fn soap(method: &str, inner: &str) -> Self {
        Self::raw(
            200,
            envelope(&format!("<{method}Response xmlns=\"urn:vim25\">{inner}</{method}Response>")),
        )
    }

    /// A SOAP fault.
    pub fn fault(type_name: &str, text: &str, fields: &str) -> Self {
        let detail = format!(
            "<{type_name}Fault xmlns=\"urn:vim25\" xsi:type=\"{type_name}\">{fields}</{type_name}Fault>"
        );
        Self::raw(
            500,
            envelope(&format!(
                "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>{text}</faultstring>\
             <detail>{detail}</detail></soapenv:Fault>"
            )),
        )
    }

    pub fn broken() -> Self {
        Self { broken: true, ..Self::raw(0, "") }
    }

    pub fn cookie(mut self, cookie: &'static str) -> Self {
        self.cookie = Some(cookie);
        self
    }

    /// With the header that carries a VI JSON session.
    pub fn session(mut self, session: &'static str) -> Self {
        self.session = Some(session);
        self
    }

    pub fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }
}

pub fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope \
         xmlns:soapenc=\"http://schemas.xmlsoap.org/soap/encoding/\" \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n<soapenv:Body>\n{body}\n\
         </soapenv:Body>\n</soapenv:Envelope>"
    )
}

/// What was asked: path, headers, body.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub action: Option<String>,
    pub cookie: Option<String>,
    pub session: Option<String>,
    pub content_type: Option<String>,
    pub http_method: String,
    pub body: String,
}

impl Asked {
    /// Whether it is a call over VI JSON.
    pub fn is_json(&self) -> bool {
        self.path.starts_with("/sdk/vim25/")
    }

    /// The name of the method that is called.
    pub fn method(&self) -> Option<&str> {
        if self.is_json() {
            return self.path.rsplit('/').next();
        }
        self.body.split("<soapenv:Body><").nth(1)?.split(' ').next()
    }

    /// The call without its envelope.
    pub fn call(&self) -> &str {
        let start = self.body.find("<soapenv:Body>").unwrap() + "<soapenv:Body>".len();
        &self.body[start..self.body.find("</soapenv:Body>").unwrap()]
    }
}

type Play = dyn Fn(&Asked) -> Option<Answer> + Send + Sync;

/// Answers from a rule, or in order from a list.
pub struct Script {
    asked: Mutex<Vec<Asked>>,
    queue: Mutex<VecDeque<Answer>>,
    play: Box<Play>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    pub fn new(play: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { asked: Mutex::default(), queue: Mutex::default(), play: Box::new(play) })
    }

    pub fn list(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        let script = Self::new(|_| None);
        script.queue.lock().unwrap().extend(answers);
        script
    }

    pub fn push(&self, answer: Answer) {
        self.queue.lock().unwrap().push_back(answer);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn last(&self) -> Asked {
        self.asked().pop().unwrap()
    }

    pub fn count(&self, method: &str) -> usize {
        self.asked().iter().filter(|asked| asked.method() == Some(method)).count()
    }
}

impl Transport for Script {
    fn send(
        &self,
        request: Request<Body>,
        _trust: &Trust,
    ) -> BoxFuture<'_, Result<Response<ByteStream>, TransportError>> {
        let (head, body) = request.into_parts();
        let header = |name: &str| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
        let body = match body {
            Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            _ => String::new(),
        };
        let asked = Asked {
            path: head.uri.path_and_query().unwrap().to_string(),
            action: header("SOAPAction"),
            cookie: header("cookie"),
            session: header("vmware-api-session-id"),
            content_type: header("content-type"),
            http_method: head.method.to_string(),
            body,
        };
        self.asked.lock().unwrap().push(asked.clone());
        async move {
            let answer = (self.play)(&asked).or_else(|| self.queue.lock().unwrap().pop_front());
            let Some(mut answer) = answer else { panic!("no answer for {asked:?}") };
            if asked.is_json() {
                translate::to_json(&mut answer);
            }
            tokio::time::sleep(answer.after).await;
            if answer.broken {
                let (host, reason) = ("vc.example:443".to_owned(), "reset".to_owned());
                return Err(TransportError::Broken { host, reason });
            }
            let mut response = Response::builder().status(answer.status);
            if let Some(cookie) = answer.cookie {
                response = response.header("set-cookie", cookie);
            }
            if let Some(session) = answer.session {
                response = response.header("vmware-api-session-id", session);
            }
            // In small pieces, so that no decoder may count on whole characters.
            let pieces: Vec<_> =
                answer.body.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            Ok(response.body(futures::stream::iter(pieces).boxed()).unwrap())
        }
        .boxed()
    }
}

pub const CONTENT: &str = "<returnval><rootFolder type=\"Folder\">group-d1</rootFolder>\
    <propertyCollector type=\"PropertyCollector\">propertyCollector</propertyCollector>\
    <about><name>vCenter</name><fullName>VMware vCenter Server 8.0.3 Büro</fullName>\
    <version>8.0.3</version><build>1</build><apiType>VirtualCenter</apiType>\
    <apiVersion>8.0.3.0</apiVersion><instanceUuid>u</instanceUuid><novelty>x</novelty></about>\
    <sessionManager type=\"SessionManager\">SessionManager</sessionManager>\
    <searchIndex type=\"SearchIndex\">SearchIndex</searchIndex>\
    <dvSwitchManager type=\"DistributedVirtualSwitchManager\">DVSManager</dvSwitchManager>\
    <ovfManager type=\"OvfManager\">OvfManager</ovfManager></returnval>";

pub const VERSIONS: &str = "<?xml version=\"1.0\"?><namespaces version=\"1.0\"><namespace>\
    <name>urn:vim25</name><version>9.1.0.0</version><priorVersions><version>8.0.3.0</version>\
    <version>7.0</version></priorVersions></namespace></namespaces>";

/// What every session asks first.
pub fn greeting() -> [Answer; 2] {
    [Answer::raw(200, VERSIONS), Answer::soap("RetrieveServiceContent", CONTENT)]
}

/// The wire that the tests of this program go over.
pub fn wire() -> Wire {
    let program = module_path!().split("::").next().unwrap();
    if program.ends_with("json") { Wire::Json } else { Wire::Soap }
}

/// Greets, then leaves the rest to the list.
pub async fn connected(script: &Arc<Script>) -> Session {
    let [versions, content] = greeting();
    let first = match wire() {
        Wire::Json => Answer::json("{\"api_release\":\"8.0.3.0\"}"),
        _ => versions,
    };
    for answer in [content, first] {
        script.queue.lock().unwrap().push_front(answer);
    }
    let transport = Arc::clone(script) as Arc<dyn Transport>;
    let endpoint = Endpoint::new("vc.example", 443);
    Session::connect_with(transport, endpoint, Trust::System, wire()).await.unwrap()
}
