//! Pages of other origins: what a browser lets them send and read (Fetch standard, CORS protocol).
//!
//! Only the origins that the configuration lists are given leave, and only for MCP. No cookie
//! means anything here, so credentials are never allowed: a page has to present a key or token
//! of its own.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::Body;

/// Headers that a client of MCP, or the tracing in its page, has reason to send beside `Mcp-…`.
const SENT: [&str; 8] = [
    "accept",
    "authorization",
    "content-type",
    "last-event-id",
    "traceparent",
    "tracestate",
    "baggage",
    "x-api-key",
];
/// Headers of our answers that a client of MCP has reason to read.
const READ: HeaderValue = HeaderValue::from_static("mcp-session-id, retry-after, www-authenticate");

/// Whether a browser asks on behalf of a page what that may send.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a page may send, of what it wants to.
pub(super) fn preflight(headers: &HeaderMap) -> Response<Body> {
    let wanted = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS);
    let wanted = wanted.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let allowed: Vec<_> =
        wanted.map(|name| name.trim().to_ascii_lowercase()).filter(|name| may_be_sent(name)).collect();
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, DELETE"));
    if let Ok(allowed) = HeaderValue::try_from(allowed.join(", ")) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    // As long as browsers keep it at most. What is asked afterwards is looked at all the same.
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    response
}

fn may_be_sent(name: &str) -> bool {
    SENT.contains(&name) || name.starts_with("mcp-")
}

/// Lets a page of this origin, if there is one, read the answer.
pub(super) fn grant(origin: Option<HeaderValue>, mut response: Response<Body>) -> Response<Body> {
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    response
}
