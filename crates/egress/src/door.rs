//! A door to one origin: requests go out, answers come in.
//!
//! A kept connection may die at the very moment it is used. The request is then
//! sent again on a new one only if that cannot make it happen twice: the HTTP
//! library hands a request back when not one byte of it was written, which proves
//! it. Once written, the other side may have acted on it before hanging up, and
//! nothing on the wire tells; so only a request whose sender calls it
//! [`Replay::Harmless`] is repeated then, and never one that got a first byte of
//! an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use http_body_util::Full;
use rustls::ClientConfig;

use doorward_model::{Clock, Room};

use crate::body::Body;
use crate::connect;
use crate::error::EgressError;
use crate::link::Link;
use crate::names::Names;
use crate::pool::Pool;
use crate::reach::Rules;
use crate::target::Target;

/// Kept connections to one origin, and the way to open more. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    shared: Arc<Shared>,
}

/// What a door and the bodies of its answers have in common.
pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) rules: Rules,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) pool: Pool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) names: Arc<dyn Names>,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) room: Option<Arc<Room>>,
}

/// A request on its way out. `Host` and `Content-Length` are the door's to set.
#[derive(Debug)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: PathAndQuery,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// What a second delivery would do.
    pub replay: Replay,
    /// How long the head of the answer may take; `None` leaves it to the caller.
    pub answer_within: Option<Duration>,
}

/// What it would do to a server to receive a request twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It may act twice: sent again only if it provably never left.
    Harmful,
    /// Nothing: sent again also when a kept connection died without any answer.
    Harmless,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    /// The status. Redirects are answers like any other.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Door {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Where the door leads.
    pub fn target(&self) -> &Target {
        &self.shared.target
    }

    /// Sends a request and waits for the head of its answer. Dropping the future
    /// closes the connection, and so does dropping the body of the answer.
    ///
    /// # Errors
    /// [`EgressError`]; [`EgressError::may_have_been_processed`] says whether the
    /// request can have had an effect.
    pub async fn send(&self, mut outgoing: Outgoing) -> Result<Response, EgressError> {
        let within = outgoing.answer_within;
        outgoing.headers.insert(header::HOST, self.shared.target.authority().clone());
        let mut request = http::Request::new(Full::new(outgoing.body));
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = Uri::from(outgoing.path);
        *request.headers_mut() = outgoing.headers;
        let exchange = self.exchange(request, outgoing.replay);
        match within {
            None => exchange.await,
            Some(limit) => match tokio::time::timeout(limit, exchange).await {
                Ok(outcome) => outcome,
                Err(_) => Err(EgressError::HeaderTimeout { host: self.shared.host(), limit }),
            },
        }
    }

    /// Closes kept connections that are closed or too old.
    pub fn prune(&self) {
        self.shared.pool.prune(self.shared.clock.elapsed());
    }

    async fn exchange(
        &self,
        mut request: http::Request<Full<Bytes>>,
        replay: Replay,
    ) -> Result<Response, EgressError> {
        while let Some(mut link) = self.shared.pool.take(self.shared.clock.elapsed()) {
            // A connection is given back when its answer has been read; a moment
            // may pass until it has noticed so itself.
            if !link.is_ready().await {
                continue;
            }
            // Cloning shares the body; the copy is dropped unused but in a rare case.
            let again = (replay == Replay::Harmless).then(|| copy(&request));
            let answer = link.sender().try_send_request(request);
            match link.wait(answer).await {
                Ok(response) => return Ok(self.answer(response, link)),
                Err(mut failed) => match failed.take_message().or(again) {
                    Some(returned) => request = returned,
                    None => return Err(self.broken(failed.into_error())),
                },
            }
        }
        let shared = &self.shared;
        let mut link = Box::pin(connect::open(
            &shared.target,
            shared.rules,
            shared.tls.as_ref(),
            &*shared.names,
            shared.connect_timeout,
        ))
        .await?;
        if !link.is_ready().await {
            let cause = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            return Err(EgressError::Connect { host: shared.host(), cause: Arc::new(cause) });
        }
        let answer = link.sender().send_request(request);
        match link.wait(answer).await {
            Ok(response) => Ok(self.answer(response, link)),
            Err(cause) => Err(self.broken(cause)),
        }
    }

    fn answer(&self, response: http::Response<hyper::body::Incoming>, link: Link) -> Response {
        let (parts, incoming) = response.into_parts();
        let keep_for = keep_alive(&parts.headers, self.shared.idle_timeout);
        let body = Body::new(incoming, link, Arc::clone(&self.shared), keep_for);
        Response { status: parts.status, headers: parts.headers, body }
    }

    fn broken(&self, cause: hyper::Error) -> EgressError {
        EgressError::Broken { host: self.shared.host(), cause: Arc::new(cause) }
    }
}

impl Shared {
    pub(crate) fn host(&self) -> Arc<str> {
        self.target.host().into()
    }

    pub(crate) fn keep(&self, link: Link, keep_for: Duration) {
        self.pool.keep(link, self.clock.elapsed() + keep_for);
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door({})", self.shared.target)
    }
}

fn copy(request: &http::Request<Full<Bytes>>) -> http::Request<Full<Bytes>> {
    let mut copy = http::Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// How long a connection may wait: the server's own announcement less a second,
/// so that it is not used at the moment the server gives up on it.
fn keep_alive(headers: &HeaderMap, most: Duration) -> Duration {
    let announced = headers.get("keep-alive").and_then(|value| value.to_str().ok()).and_then(|text| {
        text.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse::<u64>().ok())
    });
    match announced {
        Some(seconds) => most.min(Duration::from_secs(seconds.saturating_sub(1))),
        None => most,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_server_that_says_how_long_it_waits_is_believed() {
        let most = Duration::from_secs(60);
        for (value, seconds) in [
            (None, 60),
            (Some("timeout=5"), 4),
            (Some("max=100, timeout=5"), 4),
            (Some("timeout=600"), 60),
            (Some("timeout=0"), 0),
            (Some("timeout=soon"), 60),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert("keep-alive", HeaderValue::from_static(value));
            }
            assert_eq!(keep_alive(&headers, most), Duration::from_secs(seconds), "{value:?}");
        }
    }
}
