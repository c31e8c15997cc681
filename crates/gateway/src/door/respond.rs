//! Answers as HTTP responses.

use doorward_wire::RpcError;
use doorward_wire::error::INVALID_REQUEST;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use tokio::sync::mpsc;

use super::{Body, EventStream};
use crate::receive::SESSION;
use crate::reply::{Reply, whole_seconds};
use crate::session::stream::Event;

pub(super) fn respond(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if reply.status != 202 {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(after) = reply.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    if let Some(id) = reply.session.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(SESSION, id);
    }
    response
}

pub(super) fn events(stream: mpsc::Receiver<Event>) -> Response<Body> {
    event_stream(Body::Events(Box::new(EventStream::new(stream))))
}

pub(super) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An answer outside JSON-RPC, as a JSON-RPC error without id, so that every
/// client can read it.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let error =
        RpcError { code: INVALID_REQUEST, message: text.to_owned(), data: None, status: status.as_u16() };
    respond(Reply::error(None, &error))
}

pub(super) fn challenge() -> Response<Body> {
    let mut response = plain(StatusCode::UNAUTHORIZED, "present a key or token: Authorization: Bearer …");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"doorward\""));
    response
}
