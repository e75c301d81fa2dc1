//! VI JSON over HTTP: what is served at `/sdk/vim25/…`, and the negotiation of its release.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::dispatch::{self, Caller, Reply};
use crate::fault::Fault;
use crate::inventory::fixed;
use crate::json::{self, Target};
use crate::lock::lock;
use crate::scenario::{ApiVersion, Scenario};
use crate::server::{Body, Connection, empty, full, text};
use crate::session::{Client, Wire};
use crate::soap::{Call, FETCH};
use crate::types;
use crate::vcenter::Vcenter;

/// Whether `path` is of this wire.
pub(crate) fn serves(path: &str) -> bool {
    path == HELLO_PATH || path.starts_with(VIM_PATH)
}

/// Answers a request whose path is of this wire.
pub(crate) async fn serve(vcenter: &Arc<Vcenter>, request: Request<Incoming>) -> Response<Body> {
    let scenario = Arc::clone(&lock(&vcenter.world).scenario);
    if scenario.esxi {
        // A host without vCenter speaks SOAP only.
        return not_found();
    }
    let path = request.uri().path();
    if path == HELLO_PATH {
        return hello(scenario.api_version, request).await;
    }
    let rest = path.strip_prefix(VIM_PATH).unwrap_or_default();
    let Some(target) = Target::parse(rest, scenario.api_version) else { return not_found() };
    match *request.method() {
        Method::GET => property(vcenter, &scenario, target, &request).await,
        Method::POST => method(vcenter, &scenario, target, request).await,
        _ => method_not_allowed("GET, POST"),
    }
}

/// `POST /api/vcenter/system?action=hello`: the first release of the client's that is served.
async fn hello(version: ApiVersion, request: Request<Incoming>) -> Response<Body> {
    let is_hello = request.uri().query() == Some("action=hello");
    if !version.has_hello() || !is_hello {
        return not_found();
    }
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    let body = match body(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let wanted = body.get("api_releases").cloned();
    let wanted = wanted.and_then(|list| serde_json::from_value::<Vec<String>>(list).ok());
    let wanted = match wanted {
        None => return invalid_hello("api_releases is no list of strings."),
        Some(wanted) if wanted.is_empty() => return invalid_hello("api_releases is empty."),
        Some(wanted) if wanted.len() > HELLO_RELEASES_MAX => {
            return invalid_hello("api_releases has too many entries.");
        }
        Some(wanted) if wanted.iter().any(|one| one.chars().count() > HELLO_CHARS_MAX) => {
            return invalid_hello("An entry of api_releases is too long.");
        }
        Some(wanted) => wanted,
    };
    let served = version.releases();
    let common = wanted.iter().find(|one| served.contains(&one.as_str()));
    let release = common.map_or("", String::as_str);
    json_response(StatusCode::OK, &json!({ "api_release": release }))
}

fn invalid_hello(problem: &str) -> Response<Body> {
    let message = json!({
        "id": "ovftransfer.simulator.hello",
        "default_message": problem,
        "args": [],
    });
    let error = json!({ "error_type": "INVALID_ARGUMENT", "messages": [message] });
    json_response(StatusCode::BAD_REQUEST, &error)
}

async fn property(
    vcenter: &Arc<Vcenter>,
    scenario: &Scenario,
    target: Target,
    request: &Request<Incoming>,
) -> Response<Body> {
    let Target { this, member } = target;
    if types::property(&this.kind, &member).is_none() {
        return not_found();
    }
    // The one property that needs no session, as it leads to the login.
    let call = if this.kind == fixed::service_instance().kind && member == "content" {
        Call { method: "RetrieveServiceContent".to_owned(), this, arguments: json!({}) }
    } else {
        Call { method: FETCH.to_owned(), this, arguments: json!({ "prop": member }) }
    };
    let outcome = dispatch::call(vcenter, &caller(request), &call).await;
    let style = scenario.vi_json;
    reply(scenario, &call, outcome, |value| json::property(&call.this, &member, value, style))
}

async fn method(
    vcenter: &Arc<Vcenter>,
    scenario: &Scenario,
    target: Target,
    request: Request<Incoming>,
) -> Response<Body> {
    let Target { this, member } = target;
    let is_routed = types::method(&member).is_some()
        && dispatch::receiver(&member).is_none_or(|receiver| types::is_a(&this.kind, receiver));
    if !is_routed {
        return not_found();
    }
    let caller = caller(&request);
    let body = match body(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let call = match json::read(this, &member, &body) {
        Ok(call) => call,
        Err(fault) => return refuse(&fault, scenario),
    };
    let outcome = dispatch::call(vcenter, &caller, &call).await;
    reply(scenario, &call, outcome, |value| json::answer(&call.method, value, scenario.vi_json))
}

fn reply(
    scenario: &Scenario,
    call: &Call,
    outcome: Result<Reply, Fault>,
    write: impl FnOnce(&Value) -> Value,
) -> Response<Body> {
    tracing::debug!(method = call.method, this = call.this.kind, "call");
    let reply = match outcome {
        Ok(reply) => reply,
        Err(fault) => {
            tracing::debug!(method = call.method, fault = fault.kind(), fault.message, "failed");
            return refuse(&fault, scenario);
        }
    };
    let value = write(&reply.value);
    let mut response = if value.is_null() {
        let mut response = Response::new(empty());
        if !scenario.vi_json.empty_is_200 {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        response
    } else {
        json_response(StatusCode::OK, &value)
    };
    let token = reply.cookie.and_then(|token| HeaderValue::from_str(&token).ok());
    if let Some(token) = token {
        response.headers_mut().insert(SESSION, token);
    }
    response
}

/// Reads the body of a request, whatever type it says it has.
async fn body(request: Request<Incoming>) -> Result<Bytes, Response<Body>> {
    match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            Err(text(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large"))
        }
        Err(error) => {
            Err(text(StatusCode::BAD_REQUEST, &format!("The request ended early: {error}")))
        }
    }
}

fn caller(request: &Request<Incoming>) -> Caller {
    let header = |name: &HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let address = Connection::of(request).map(|connection| connection.peer().ip().to_string());
    Caller {
        wire: Wire::Json,
        cookie: header(&SESSION),
        client: Client {
            address: address.unwrap_or_default(),
            agent: header(&USER_AGENT).unwrap_or_default(),
        },
        knows_9: request.uri().path().split('/').nth(3).is_some_and(ApiVersion::is_9),
    }
}

fn refuse(fault: &Fault, scenario: &Scenario) -> Response<Body> {
    let fault = json::fault(fault, scenario.vi_json);
    json_response(StatusCode::INTERNAL_SERVER_ERROR, &fault)
}

fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "Not found")
}

fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Where VI JSON is served.
const VIM_PATH: &str = "/sdk/vim25/";

/// Where a client asks which releases the server has.
const HELLO_PATH: &str = "/api/vcenter/system";

/// The header that holds the session's token.
const SESSION: HeaderName = HeaderName::from_static("vmware-api-session-id");

/// Largest body: the same as on the SOAP wire, the default of a real server.
const BODY_BYTES_MAX: usize = 20_000_000;

/// Releases in one Hello, by the documentation of that call.
const HELLO_RELEASES_MAX: usize = 128;

/// Length of a release in a Hello, by the same.
const HELLO_CHARS_MAX: usize = 64;
