//! `subscriptions/listen`: news of lists and of resources, for the modern era.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::Operation;
use doorward_model::json::{Document, Kind, Value, push_string, quoted};
use doorward_wire::error::INVALID_PARAMS;
use doorward_wire::message::Message;
use doorward_wire::{RpcError, reply};
use futures_util::future::join_all;

use crate::allowance;
use crate::mailbox::{Mailbox, Reader};
use crate::pipeline::{self, Asked};
use crate::receive::Incoming;
use crate::reply::Reply;
use crate::standpoint::Standpoint;
use crate::streams::{Place, Wants};
use crate::subscriptions::Held;
use crate::surface::Surface;
use crate::turned_away::Reason;

/// How long a server that is there may take to agree to a subscription. The client
/// waits for the acknowledgement, which cannot be added to later.
const AGREES_WITHIN: Duration = Duration::from_millis(500);

/// How long servers that must be started first may take in all.
const STARTS_WITHIN: Duration = Duration::from_secs(5);

/// An open stream: its first message is the acknowledgement. Whatever it stands for
/// ends when it is dropped.
pub(crate) struct Listening {
    reader: Reader,
    _place: Option<Place>,
    _subscriptions: Vec<Held>,
}

impl Listening {
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.reader.poll_next(cx)
    }

    /// The next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// Opens the stream. The acknowledgement names what is honoured, after every resource
/// was decided on by itself and its server has agreed.
pub(crate) async fn listen(asked: &Asked<'_>) -> Result<Listening, Reply> {
    allowance::take(asked)?;
    let id = asked.request.id.raw();
    let refuse = |error: RpcError| Reply::error(Some(id), &error);
    let asked_for = asked.request.params.and_then(|params| params.get("notifications"));
    let wants =
        |key: &str| asked_for.and_then(|wanted| wanted.get(key)).and_then(Value::as_bool) == Some(true);
    let wants = Wants {
        tools: wants("toolsListChanged"),
        prompts: wants("promptsListChanged"),
        resources: wants("resourcesListChanged"),
    };
    let limits = asked.gateway.settings.streams;
    let uris = resources(asked_for, limits.resources).map_err(refuse)?;
    let standpoint = Arc::new(Standpoint::of(asked));
    let (streams, since) = (&asked.gateway.streams, asked.gateway.steps());
    let Some((place, mailbox)) = streams.open(&standpoint, wants, id, since, limits.each) else {
        asked.gateway.turned_away(Reason::Busy, asked.incoming.arrival.ip);
        return Err(refuse(too_many(limits.each)));
    };
    // Reading begins before anything can be said.
    let reader = mailbox.read();
    let subscriptions = subscribe(asked, &uris, &mailbox, &standpoint).await;
    let honoured: Vec<_> = subscriptions.iter().map(|(uri, _)| &**uri).collect();
    mailbox.acknowledge(acknowledgement(id, wants, &honoured));
    let subscriptions = subscriptions.into_iter().map(|(_, held)| held).collect();
    Ok(Listening { reader, _place: Some(place), _subscriptions: subscriptions })
}

/// The resources asked for, each once.
fn resources(asked_for: Option<Value<'_>>, limit: usize) -> Result<Vec<String>, RpcError> {
    const MEMBER: &str = "params.notifications.resourceSubscriptions";
    let invalid = |message: String| RpcError::answer(INVALID_PARAMS, message);
    let Some(list) = asked_for.and_then(|wanted| wanted.get("resourceSubscriptions")) else {
        return Ok(Vec::new());
    };
    let uris: Option<Vec<_>> = list.items().map(|uri| uri.as_str().map(|uri| uri.into_owned())).collect();
    let Some(mut uris) = uris.filter(|_| list.kind() == Kind::Array) else {
        return Err(invalid(format!("{MEMBER} must be an array of strings")));
    };
    uris.sort();
    uris.dedup();
    if uris.len() > limit {
        return Err(invalid(format!("{MEMBER} names {} resources; {limit} is the most", uris.len())));
    }
    Ok(uris)
}

fn too_many(limit: usize) -> RpcError {
    RpcError::answer(
        -32_000,
        format!(
            "too many open subscriptions/listen streams; {limit} is the most for one caller, so end one first"
        ),
    )
}

/// Decides on every resource like on a call, and subscribes at all servers at once.
async fn subscribe(
    asked: &Asked<'_>,
    uris: &[String],
    mailbox: &Arc<Mailbox>,
    standpoint: &Arc<Standpoint>,
) -> Vec<(String, Held)> {
    if uris.is_empty() || asked.incoming.arrival.surface == Surface::Gateway {
        return Vec::new();
    }
    let honoured = std::sync::Mutex::new(Vec::new());
    let each = uris.iter().map(|uri| {
        let honoured = &honoured;
        async move {
            if let Some(held) = subscribe_one(asked, uri, mailbox, standpoint).await {
                let mut honoured = honoured.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                honoured.push((uri.clone(), held));
            }
        }
    });
    // What is not there by then is left out, which is how the client learns it.
    let _ = tokio::time::timeout(STARTS_WITHIN, join_all(each)).await;
    let mut honoured = honoured.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    honoured.sort_by(|(one, _), (other, _)| one.cmp(other));
    honoured
}

/// Walks the pipeline with a request written for the occasion.
async fn subscribe_one(
    asked: &Asked<'_>,
    uri: &str,
    mailbox: &Arc<Mailbox>,
    standpoint: &Arc<Standpoint>,
) -> Option<Held> {
    let method = Operation::ResourcesSubscribe.as_str();
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}","params":{{"uri":{}}}}}"#, quoted(uri));
    let document = Document::parse(Bytes::from(body), &asked.gateway.settings.json).ok()?;
    let incoming = Incoming {
        document,
        arrival: asked.incoming.arrival.clone(),
        revision: asked.incoming.revision,
        session: None,
        received: asked.incoming.received,
        started: asked.incoming.started,
        streams: false,
        listens: false,
        unless_exact: None,
    };
    let Ok(Message::Request(request)) = Message::read(&incoming.document) else { return None };
    let mut inner = Asked::new(asked.gateway, asked.caller, &incoming, request, None).ok()?;
    // The request written for the occasion has no metadata; the client's names both.
    inner.trace.clone_from(&asked.trace);
    inner.client.clone_from(&asked.client);
    inner.declared = Arc::clone(&asked.declared);
    Box::pin(pipeline::subscribe(inner, AGREES_WITHIN, mailbox, || Arc::clone(standpoint))).await.ok()
}

fn acknowledgement(id: &str, wants: Wants, uris: &[&str]) -> Bytes {
    let mut honoured: Vec<_> = [
        ("toolsListChanged", wants.tools),
        ("promptsListChanged", wants.prompts),
        ("resourcesListChanged", wants.resources),
    ]
    .iter()
    .filter(|(_, wanted)| *wanted)
    .map(|(key, _)| format!(r#""{key}":true"#))
    .collect();
    if !uris.is_empty() {
        let mut list = String::from(r#""resourceSubscriptions":["#);
        for (at, uri) in uris.iter().enumerate() {
            if at > 0 {
                list.push(',');
            }
            push_string(&mut list, uri);
        }
        list.push(']');
        honoured.push(list);
    }
    let params = format!(
        r#"{{"notifications":{{{}}},"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#,
        honoured.join(",")
    );
    reply::notification("notifications/subscriptions/acknowledged", Some(&params))
}
