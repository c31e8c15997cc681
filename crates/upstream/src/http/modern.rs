//! Streamable HTTP of the stateless era: every POST stands for itself.
//!
//! This is the shortest way to a server: take a kept connection, write, read,
//! parse. No task, no channel, no session. Giving up closes the connection, which
//! is how this revision says "cancelled".

use std::sync::Arc;

use doorward_egress::Replay;
use doorward_model::json::{Document, Value};
use doorward_wire::error::UNSUPPORTED_VERSION;
use doorward_wire::{Era, Revision, header};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::call::Call;
use crate::envelope;
use crate::error::UpstreamError;
use crate::handshake::Handshake;
use crate::http::answer::{Exchange, Outcome};
use crate::http::remote::Remote;
use crate::inbound;

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// A link to a server of the stateless era.
pub(crate) struct Modern {
    remote: Arc<Remote>,
}

/// What a server answered to `server/discover`.
pub(crate) enum Discovered {
    /// It speaks the stateless revision.
    Modern(Handshake),
    /// It answered, and does not.
    NotModern,
}

/// Asks a server which revisions it speaks.
///
/// # Errors
/// [`UpstreamError`] when nothing is known afterwards: it could not be reached,
/// wants a credential, or has trouble of its own.
pub(crate) async fn discover(remote: &Arc<Remote>) -> Result<Discovered, UpstreamError> {
    let call = Call { method: "server/discover", ..Call::default() };
    let mut outcome = exchange(remote, &call, Replay::Harmless).await;
    // A server that names the very revision it was spoken to in, is taken at its word once.
    if let Ok(Outcome::Refused { message: Some(refusal), .. }) = &outcome
        && speaks_modern(refusal)
    {
        outcome = exchange(remote, &call, Replay::Harmless).await;
    }
    match outcome {
        Ok(Outcome::Answered(document, _)) => {
            Ok(Handshake::from_discover(&document).map_or(Discovered::NotModern, Discovered::Modern))
        }
        Ok(Outcome::Refused { status: status @ 500.., .. }) => {
            Err(UpstreamError::Status { server: remote.hub.server.clone(), status })
        }
        // An older server may call this anything; only its own opening can tell.
        Ok(Outcome::Refused { .. } | Outcome::Ended { .. }) | Err(UpstreamError::Protocol { .. }) => {
            Ok(Discovered::NotModern)
        }
        Err(error) => Err(error),
    }
}

/// Whether a refusal is that of the version and names the stateless revision.
fn speaks_modern(refusal: &Document) -> bool {
    let root = refusal.root();
    let Some(error) = root.get("error") else { return false };
    // The refusal was indexed less deeply than this needs.
    let data = error.get("data").map(|data| inbound::parse(refusal.slice(data)));
    error.get("code").and_then(Value::as_i64) == Some(i64::from(UNSUPPORTED_VERSION))
        && data.and_then(Result::ok).is_some_and(|data| {
            let supported = data.root().get("supported");
            let mut versions = supported.into_iter().flat_map(Value::items);
            versions.any(|version| version.as_str().as_deref() == Some(Revision::V2026_07_28.as_str()))
        })
}

impl Modern {
    /// A link takes no opening: every POST stands for itself.
    pub(crate) fn new(remote: Arc<Remote>) -> Self {
        Self { remote }
    }

    pub(crate) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    /// Makes a call.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<(Document, u16), UpstreamError> {
        match exchange(&self.remote, call, Replay::Harmful).await? {
            Outcome::Answered(document, status) => Ok((document, status)),
            Outcome::Refused { status, message: Some(document) } => Ok((document, status)),
            Outcome::Refused { status, message: None } => {
                Err(UpstreamError::Status { server: self.remote.hub.server.clone(), status })
            }
            Outcome::Ended { .. } => {
                Err(UpstreamError::protocol(&self.remote.hub.server, "its stream ended without an answer"))
            }
        }
    }

    pub(crate) fn prune(&self) {
        self.remote.door.prune();
    }
}

/// The headers of a modern request.
pub(crate) fn headers(remote: &Remote, call: &Call<'_>) -> Result<HeaderMap, UpstreamError> {
    let mut headers = remote.headers();
    let wrong = || UpstreamError::Configuration {
        server: remote.hub.server.clone(),
        detail: "a request cannot be said in headers".into(),
    };
    headers.insert(VERSION, HeaderValue::from_static(Revision::V2026_07_28.as_str()));
    headers.insert(METHOD, HeaderValue::from_str(call.method).map_err(|_| wrong())?);
    if let Some(target) = call.target {
        headers.insert(NAME, HeaderValue::from_str(&header::encode(target)).map_err(|_| wrong())?);
    }
    for (name, value) in call.extra_headers {
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        if !name.as_str().starts_with("mcp-param-") {
            return Err(wrong());
        }
        headers.insert(name, HeaderValue::from_str(&header::encode(value)).map_err(|_| wrong())?);
    }
    Ok(headers)
}

async fn exchange(remote: &Arc<Remote>, call: &Call<'_>, replay: Replay) -> Result<Outcome, UpstreamError> {
    let id = remote.next_id();
    let body = envelope::modern(id, call, &remote.hub.settings.client_info);
    let response = remote.post(headers(remote, call)?, body, replay).await?;
    let exchange = Exchange {
        remote,
        era: Era::Modern,
        id,
        notify: call.notify.as_ref(),
        progress_token: call.progress_token,
        logs: call.logs,
        questions: None,
        session: None,
    };
    exchange.read(response).await
}
