//! What is refused before anybody asks what it means.

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, ORIGIN};
use hyper::{HeaderMap, Method, Request};
use serde_json::Value;

use super::PATH;
use super::reply::{Reply, empty, refusal};
use crate::rpc::Fault;

const LARGEST_BODY: usize = 4 << 20;

/// Whether the head of a request is in order.
pub fn admit(request: &Request<Incoming>) -> Result<(), Box<Reply>> {
    let headers = request.headers();
    if request.uri().path() != PATH {
        return Err(Box::new(empty(404)));
    }
    // Anything else may be a web page that had its name point at this machine.
    let origin = text(headers, ORIGIN.as_str()).map(|origin| origin.split_once("://").unwrap_or_default().1);
    if !text(headers, HOST.as_str()).is_some_and(is_local) || !origin.is_none_or(is_local) {
        let fault = Fault::invalid_request("Host or Origin is not this machine").at(403);
        return Err(Box::new(refusal(&Value::Null, fault)));
    }
    let accepts = |kind: &str| text(headers, ACCEPT.as_str()).is_some_and(|accept| accept.contains(kind));
    let streams = accepts("text/event-stream") || accepts("*/*");
    match *request.method() {
        Method::POST if text(headers, CONTENT_TYPE.as_str()).is_none_or(|kind| !is_json(kind)) => {
            Err(Box::new(empty(415)))
        }
        Method::POST if !streams || !(accepts("application/json") || accepts("*/*")) => {
            Err(Box::new(empty(406)))
        }
        Method::GET if !streams => Err(Box::new(empty(406))),
        _ => Ok(()),
    }
}

/// The JSON in a body.
pub async fn read(body: Incoming) -> Result<Value, Box<Reply>> {
    let body = Limited::new(body, LARGEST_BODY).collect().await;
    let body = body.map_err(|error| {
        let status = if error.is::<LengthLimitError>() { 413 } else { 400 };
        Box::new(empty(status))
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|_| Box::new(refusal(&Value::Null, Fault::parse())))
}

fn is_json(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn is_local(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// A header that is there once and is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
