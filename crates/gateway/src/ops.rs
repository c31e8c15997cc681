//! Routes for operators: `/healthz`, `/readyz`, `/metrics`.

use bytes::Bytes;
use doorward_model::Reach;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::door::Body;
use crate::gateway::Gateway;

/// Without the shared state a replica serves what it knows, so it is ready all the same.
fn ready(gateway: &Gateway) -> String {
    match gateway.shared.reach() {
        Reach::Alone | Reach::Together => "ready\n".to_owned(),
        Reach::Lost(error) => format!("ready, but the shared state cannot be reached: {error}\n"),
    }
}

/// Answers a route for operators; `None` when the path is none of them.
pub(crate) fn answer(gateway: &Gateway, method: &Method, path: &str) -> Option<Response<Body>> {
    let (status, kind, text) = match path {
        "/healthz" => (StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned()),
        "/readyz" => match gateway.ledger.healthy() {
            Ok(()) => (StatusCode::OK, "text/plain; charset=utf-8", ready(gateway)),
            Err(error) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain; charset=utf-8",
                format!("not ready: {error}\n"),
            ),
        },
        "/metrics" => (
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            gateway
                .metrics
                .render(gateway.sessions.count(), gateway.suspended.count() + gateway.awaited.count()),
        ),
        _ => return None,
    };
    let mut response = Response::new(Body::from(Bytes::from(text)));
    if method != Method::GET && method != Method::HEAD {
        *response.body_mut() = Body::Whole(None);
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Some(response);
    }
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Some(response)
}
