//! Routes for operators: `/healthz`, `/readyz`, `/metrics`.
//!
//! Whether it is up, anybody may ask who is let in. What it does (which servers and tools are
//! called, and how it ends) is for this machine and for whoever may read the log.

use bytes::Bytes;
use doorward_model::{Caller, Reach, ServerId};
use doorward_upstream::State;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use crate::door::Body;
use crate::gateway::Gateway;
use crate::metrics::Now;

/// The scope that everything about others' calls needs.
pub(crate) const READ: &str = "audit.read";

/// A route for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Health,
    Ready,
    Metrics,
}

impl Route {
    /// The route of this path, if it is one of them.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Ready),
            "/metrics" => Some(Self::Metrics),
            _ => None,
        }
    }
}

/// Whether this caller may see what others do.
pub(crate) fn may_read(caller: &Caller) -> bool {
    caller.has_scope(READ)
}

/// Without the shared state a replica serves what it knows, so it is ready all the same.
fn ready(gateway: &Gateway, in_full: bool) -> (StatusCode, String) {
    match (gateway.ledger.healthy(), gateway.shared.reach()) {
        (Err(error), _) if in_full => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {error}\n")),
        (Err(_), _) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        (Ok(()), Reach::Lost(error)) if in_full => {
            (StatusCode::OK, format!("ready, but the shared state cannot be reached: {error}\n"))
        }
        (Ok(()), _) => (StatusCode::OK, "ready\n".to_owned()),
    }
}

/// The servers in service, and whether each could be reached when that was last tried.
fn servers(gateway: &Gateway) -> Vec<(ServerId, bool)> {
    let is_up = |id: &ServerId| {
        let state = gateway.upstreams.status(id)?.state;
        (state != State::Disabled).then_some(!matches!(state, State::Error | State::AuthRequired))
    };
    let ids = gateway.upstreams.ids().into_iter();
    ids.filter_map(|id| is_up(&id).map(|is_up| (id, is_up))).collect()
}

/// Answers a route for operators; `in_full` for whom the details are meant.
pub(crate) fn answer(gateway: &Gateway, route: Route, in_full: bool) -> Response<Body> {
    const PLAIN: &str = "text/plain; charset=utf-8";
    let (status, kind, text) = match route {
        Route::Health => (StatusCode::OK, PLAIN, "ok\n".to_owned()),
        Route::Ready => {
            let (status, text) = ready(gateway, in_full);
            (status, PLAIN, text)
        }
        Route::Metrics => (
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            gateway.metrics.render(Now {
                sessions: gateway.sessions.count(),
                suspended: gateway.suspended.count() + gateway.awaited.count(),
                servers: servers(gateway),
            }),
        ),
    };
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
