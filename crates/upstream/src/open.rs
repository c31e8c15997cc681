//! Opening a link: start or reach the server, find out its era, shake hands.
//!
//! The newer era is asked for first. No single code or status means "older
//! server": anything but a proper answer to `server/discover` leads to
//! `initialize`, and only that decides. A credential that is wanted, a server that
//! is down or in trouble say nothing about the era and end the attempt.

use std::sync::Arc;
use std::time::Duration;

use doorward_egress::Client;
use doorward_model::json::{Document, Value};
use doorward_wire::Era;

use crate::call::Call;
use crate::duplex::{Duplex, Listener};
use crate::envelope;
use crate::error::{Cause, UpstreamError};
use crate::handshake::Handshake;
use crate::http::legacy::{Legacy, Opening};
use crate::http::modern::{self, Discovered, Modern};
use crate::http::remote::Remote;
use crate::http::sse;
use crate::hub::Hub;
use crate::link::Kind;
use crate::spec::{Protocol, ServerSpec, Transport};
use crate::stdio::process::{self, End};
use crate::stdio::stderr::Ring;

/// Called when a link ends by itself, or a child at all.
pub(crate) type OnEnd = Arc<dyn Fn(End) + Send + Sync>;

/// Opens a link. `known` is the era found the last time.
pub(crate) async fn open(
    hub: &Arc<Hub>,
    client: &Client,
    spec: &ServerSpec,
    ring: &Arc<Ring>,
    known: Option<Era>,
    on_end: OnEnd,
) -> Result<(Kind, Handshake), UpstreamError> {
    let protocol = match (spec.protocol, known) {
        // A server that had only the older era is not asked again for the newer
        // one until it has failed.
        (Protocol::Auto, Some(Era::Legacy)) => Protocol::Legacy,
        (protocol, _) => protocol,
    };
    match &spec.transport {
        Transport::Stdio { .. } => {
            match child(hub, spec, ring, protocol, Arc::clone(&on_end)).await {
                // Some older servers exit at a request before `initialize`.
                Err(UpstreamError::Exited { .. }) if protocol == Protocol::Auto => {
                    child(hub, spec, ring, Protocol::Legacy, on_end).await
                }
                outcome => outcome,
            }
        }
        Transport::Http { url } => {
            let remote = Arc::new(Remote::new(Arc::clone(hub), client, spec, url)?);
            streamable(remote, protocol, on_end).await
        }
        Transport::Sse { url } => {
            if protocol == Protocol::Modern {
                return Err(UpstreamError::Configuration {
                    server: spec.id.clone(),
                    detail: "HTTP+SSE exists in the legacy protocol only".into(),
                });
            }
            let remote = Arc::new(Remote::new(Arc::clone(hub), client, spec, url)?);
            event_stream(remote, on_end).await
        }
    }
}

async fn streamable(
    remote: Arc<Remote>,
    protocol: Protocol,
    on_end: OnEnd,
) -> Result<(Kind, Handshake), UpstreamError> {
    let mut is_silent = false;
    if protocol != Protocol::Legacy {
        let limit = remote.hub.settings.probe_timeout;
        match tokio::time::timeout(limit, modern::discover(&remote)).await {
            Ok(Ok(Discovered::Modern(handshake))) => {
                return Ok((Kind::Modern(Modern::new(remote)), handshake));
            }
            Ok(Err(error)) => return Err(error),
            Ok(Ok(Discovered::NotModern)) | Err(_) if protocol == Protocol::Modern => {
                return Err(UpstreamError::protocol(&remote.hub.server, NOT_MODERN));
            }
            Ok(Ok(Discovered::NotModern)) => {}
            Err(_) => is_silent = true,
        }
    }
    match Legacy::open(Arc::clone(&remote)).await? {
        Opening::Open(link, handshake) => Ok((Kind::Legacy(link), handshake.makeshift(is_silent))),
        // What the newer transport was told is the better explanation when the
        // older one is not there either.
        Opening::NotHere(refusal) => event_stream(remote, on_end).await.map_err(|error| match error {
            UpstreamError::Status { .. } | UpstreamError::Protocol { .. } => refusal,
            other => other,
        }),
    }
}

async fn event_stream(remote: Arc<Remote>, on_end: OnEnd) -> Result<(Kind, Handshake), UpstreamError> {
    let hub = Arc::clone(&remote.hub);
    let ended = move || on_end(End::Crashed("its event stream ended".to_owned()));
    let stream = sse::open(remote, ended).await?;
    let handshake = initialize(&hub, &stream.duplex).await?;
    Ok((Kind::Sse(stream), handshake))
}

async fn child(
    hub: &Arc<Hub>,
    spec: &ServerSpec,
    ring: &Arc<Ring>,
    protocol: Protocol,
    on_end: OnEnd,
) -> Result<(Kind, Handshake), UpstreamError> {
    let process = process::start(hub, &spec.transport, ring, move |end| on_end(end))?;
    match shake_hands(hub, &process.duplex, protocol).await {
        Ok(handshake) => Ok((Kind::Stdio(process), handshake)),
        Err(error) => {
            process.stop().await;
            Err(error)
        }
    }
}

async fn shake_hands(hub: &Hub, duplex: &Duplex, protocol: Protocol) -> Result<Handshake, UpstreamError> {
    if protocol == Protocol::Legacy {
        return initialize(hub, duplex).await;
    }
    let call = Call { method: "server/discover", ..Call::default() };
    let write = |id| envelope::modern(id, &call, &hub.settings.client_info);
    let mut discover = std::pin::pin!(duplex.request(Listener::default(), write));
    let in_time = match protocol {
        Protocol::Modern => Ok(discover.as_mut().await),
        Protocol::Auto | Protocol::Legacy => {
            tokio::time::timeout(hub.settings.probe_timeout, discover.as_mut()).await
        }
    };
    let is_silent = in_time.is_err();
    if let Ok(answer) = in_time
        && let Some(handshake) = Handshake::from_discover(&answer?)
    {
        return Ok(handshake);
    }
    if protocol == Protocol::Modern {
        return Err(UpstreamError::protocol(&hub.server, NOT_MODERN));
    }
    match initialize(hub, duplex).await {
        // It may have been too slow to answer the first question, and turn out to
        // speak only the newer era.
        Err(error @ UpstreamError::Protocol { .. }) if is_silent => {
            let late = discover.await.ok();
            match late.as_ref().and_then(Handshake::from_discover) {
                Some(handshake) => Ok(handshake),
                None => Err(error),
            }
        }
        outcome => outcome.map(|handshake| handshake.makeshift(is_silent)),
    }
}

async fn initialize(hub: &Hub, duplex: &Duplex) -> Result<Handshake, UpstreamError> {
    let members = envelope::initialize_members(&hub.settings.client_info, hub.capabilities());
    let call = Call { method: "initialize", members, ..Call::default() };
    let answer = duplex.request(Listener::default(), |id| envelope::legacy(id, &call)).await?;
    let handshake = Handshake::from_initialize(&answer).map_err(|detail| UpstreamError::Protocol {
        server: hub.server.clone(),
        detail,
        cause: error_message(&answer).map(Cause::new),
    })?;
    // Some servers decide only now what they offer: what is asked next is to come after that. That
    // it did not get through shows with the next request.
    let told = duplex.send(envelope::INITIALIZED.to_vec());
    let _ = tokio::time::timeout(TELLING, told).await;
    Ok(handshake)
}

/// The message of an error answer, shortened: it is the server's, and untrusted.
pub(crate) fn error_message(answer: &Document) -> Option<String> {
    let message = answer.root().get("error")?.get("message").and_then(Value::as_str)?;
    Some(message.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// How long a server may take to hear that it is initialized.
const TELLING: Duration = Duration::from_secs(2);

const NOT_MODERN: &str = "it does not speak revision 2026-07-28";
