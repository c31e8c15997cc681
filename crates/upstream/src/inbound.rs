//! What a server sends, sorted: answers, questions, news.

use std::borrow::Cow;

use bytes::Bytes;
use doorward_model::CapabilityKind;
use doorward_model::json::{Document, Limits, Numbers, ParseError, Value};
use doorward_wire::error::{INTERNAL, METHOD_NOT_FOUND};
use doorward_wire::message::{Body, Message, Request};
use doorward_wire::own::{self, Sender};
use doorward_wire::{RpcError, adapt, reply};

use crate::hub::Hub;

/// How a message of a server is read: strictly, exact in its numbers, and indexed
/// no deeper than a link has to look.
const LIMITS: Limits = Limits { depth: 128, values: 4_000_000, index_depth: 3, numbers: Numbers::Exact };

/// A message of a server, as a link sees it.
pub(crate) enum Inbound<'a> {
    /// An answer to the request with this id; without one, to a request that the
    /// server could not read.
    Response { id: Option<u64>, is_error: bool },
    /// A request. `reply` is the answer it gets unless it is a question that a call's
    /// client can answer: nothing for `ping`, and no for all others.
    Request { request: Request<'a>, reply: Bytes },
    /// Progress of the request with this token.
    Progress { token: Value<'a>, id: Option<u64> },
    /// What the server offers of this kind has changed.
    Changed(CapabilityKind),
    /// A resource has changed.
    Updated(String),
    /// A log message of this level.
    Log(Cow<'a, str>),
    /// A subscription stands, for these resources among others.
    Acknowledged { id: Option<u64>, uris: Vec<String> },
    /// The server takes back what it asked, or ends a subscription, under this id.
    Cancelled(Value<'a>),
    /// Any other notification.
    Notification,
}

/// Reads a message of a server, without the secrets that the server was given and without what only
/// the gateway says: whatever becomes of it, an answer, news, an entry of a list or a line of a log,
/// they are gone.
pub(crate) fn read(hub: &Hub, bytes: Bytes) -> Result<Document, ParseError> {
    let clean = hub.scrubber.scrub(bytes.clone());
    let own_words = own::taken_out(clean.clone(), Sender::Server);
    let read = own_words.and_then(parse).and_then(in_other_words);
    // A secret that stood there as a number, say, leaves no JSON behind. Whoever waits
    // for the answer is told so, and not left waiting.
    if read.is_err()
        && clean != bytes
        && let Ok(whole) = parse(bytes)
        && let Some(Inbound::Response { id: Some(id), .. }) = sort(&whole)
    {
        let error = RpcError::answer(INTERNAL, "the server's answer held a secret and could not be cleaned");
        return parse(reply::error(Some(&id.to_string()), &error));
    }
    read
}

/// The message, whose error, if it is one, is not one of the gateway's.
fn in_other_words(document: Document) -> Result<Document, ParseError> {
    match document.root().get("error").and_then(own::error) {
        None => Ok(document),
        Some(error) => {
            let message = adapt::splice(document.root(), &["error"], &format!("\"error\":{error}"));
            parse(Bytes::from(message.into_owned()))
        }
    }
}

/// Reads a message of a server.
pub(crate) fn parse(bytes: Bytes) -> Result<Document, ParseError> {
    Document::parse(bytes, &LIMITS)
}

/// Sorts a message; `None` when it is no JSON-RPC message.
pub(crate) fn sort(document: &Document) -> Option<Inbound<'_>> {
    Some(match Message::read(document).ok()? {
        Message::Response(response) => Inbound::Response {
            id: response.id.and_then(number),
            is_error: matches!(response.body, Body::Error(_)),
        },
        Message::Request(request) => {
            let id = request.id.raw();
            let reply = if request.method == "ping" {
                reply::result(id, "{}")
            } else {
                let message = "this client does not answer that";
                reply::error(Some(id), &RpcError::answer(METHOD_NOT_FOUND, message))
            };
            Inbound::Request { request, reply }
        }
        Message::Notification(notification) => match notification.method.as_ref() {
            "notifications/progress" => match notification.params.and_then(|it| it.get("progressToken")) {
                Some(token) => Inbound::Progress { token, id: number(token) },
                None => Inbound::Notification,
            },
            "notifications/message" => {
                let level = notification.params.and_then(|it| it.get("level")).and_then(Value::as_str);
                Inbound::Log(level.unwrap_or_default())
            }
            "notifications/cancelled" => {
                let id = notification.params.and_then(|params| params.get("requestId"));
                id.map_or(Inbound::Notification, Inbound::Cancelled)
            }
            "notifications/tools/list_changed" => Inbound::Changed(CapabilityKind::Tool),
            "notifications/resources/list_changed" => Inbound::Changed(CapabilityKind::Resource),
            "notifications/prompts/list_changed" => Inbound::Changed(CapabilityKind::Prompt),
            "notifications/resources/updated" => {
                let uri = notification.params.and_then(|it| it.get("uri")).and_then(Value::as_str);
                uri.map_or(Inbound::Notification, |uri| Inbound::Updated(uri.into_owned()))
            }
            "notifications/subscriptions/acknowledged" => {
                Inbound::Acknowledged { id: subscription(document), uris: acknowledged(document) }
            }
            _ => Inbound::Notification,
        },
    })
}

/// Which subscription of ours a notification of the stateless era belongs to.
pub(crate) fn subscription(document: &Document) -> Option<u64> {
    let meta = document.root().get("params")?.get("_meta")?;
    meta.get("io.modelcontextprotocol/subscriptionId").and_then(number)
}

/// The resources that an acknowledgement names.
fn acknowledged(document: &Document) -> Vec<String> {
    let filter = document.root().get("params").and_then(|params| params.get("notifications"));
    // The message itself was indexed less deeply than this needs.
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    let filter = filter.and_then(|filter| Document::parse(document.slice(filter), &limits).ok());
    let uris = filter.as_ref().and_then(|filter| filter.root().get("resourceSubscriptions"));
    let uris = uris.into_iter().flat_map(Value::items);
    uris.filter_map(|uri| uri.as_str().map(|uri| uri.into_owned())).collect()
}

/// Passes news on that concern no single call. Says whether it was such news.
pub(crate) fn announce(hub: &Hub, inbound: &Inbound<'_>) -> bool {
    match inbound {
        Inbound::Changed(kind) => hub.catalog_changed(*kind),
        Inbound::Updated(uri) => hub.resource_updated(uri),
        _ => return false,
    }
    true
}

/// The message with the caller's own progress token, given as JSON.
pub(crate) fn with_token(document: &Document, token: Value<'_>, own: &str) -> Bytes {
    let (bytes, span) = (document.bytes(), token.span());
    let mut out = Vec::with_capacity(bytes.len() + own.len());
    out.extend_from_slice(&bytes[..span.start]);
    out.extend_from_slice(own.as_bytes());
    out.extend_from_slice(&bytes[span.end..]);
    Bytes::from(out)
}

/// A number, as all ids of ours are. Some servers send them back as text.
pub(crate) fn number(value: Value<'_>) -> Option<u64> {
    match value.as_str() {
        None => value.as_i64().and_then(|number| u64::try_from(number).ok()),
        Some(text) => text.parse().ok().filter(|number: &u64| number.to_string() == *text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(text: &'static str) -> String {
        let Ok(document) = parse(Bytes::from_static(text.as_bytes())) else { return "no JSON".to_owned() };
        match sort(&document) {
            None => "no message".to_owned(),
            Some(Inbound::Response { id, is_error }) => format!("response {id:?} {is_error}"),
            Some(Inbound::Request { reply, .. }) => String::from_utf8_lossy(&reply).into_owned(),
            Some(Inbound::Progress { token, id }) => {
                format!(
                    "progress {id:?} {}",
                    String::from_utf8_lossy(&with_token(&document, token, "\"own\""))
                )
            }
            Some(Inbound::Changed(kind)) => format!("changed {kind:?}"),
            Some(Inbound::Updated(uri)) => format!("updated {uri}"),
            Some(Inbound::Log(level)) => format!("log {level}"),
            Some(Inbound::Cancelled(id)) => format!("cancelled {}", id.raw()),
            Some(Inbound::Acknowledged { id, uris }) => format!("acknowledged {id:?} {uris:?}"),
            Some(Inbound::Notification) => "notification".to_owned(),
        }
    }

    #[test]
    fn messages_are_sorted_by_what_a_link_does_with_them() {
        let cases = [
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, "response Some(7) false"),
            (r#"{"jsonrpc":"2.0","id":"7","result":{}}"#, "response Some(7) false"),
            (r#"{"jsonrpc":"2.0","id":"07","result":{}}"#, "response None false"),
            (r#"{"jsonrpc":"2.0","id":"+7","result":{}}"#, "response None false"),
            (r#"{"jsonrpc":"2.0","id":7,"result":{},"error":null}"#, "response Some(7) false"),
            (
                r#"{"jsonrpc":"2.0","id":7,"result":null,"error":{"code":1,"message":"x"}}"#,
                "response Some(7) true",
            ),
            (r#"{"jsonrpc":"2.0","method":"notifications/other","params":null}"#, "notification"),
            (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#, "response None true"),
            (r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#),
            (
                r#"{"jsonrpc":"2.0","id":3,"method":"roots/list"}"#,
                r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32601,"message":"this client does not answer that"}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}"#,
                r#"progress Some(7) {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"own","progress":1}}"#,
            ),
            (r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#, "changed Tool"),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#,
                "updated a:b",
            ),
            (r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}"#, "log info"),
            (r#"{"jsonrpc":"2.0","method":"notifications/other"}"#, "notification"),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"s-1"}}"#,
                r#"cancelled "s-1""#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:b"]},"_meta":{"io.modelcontextprotocol/subscriptionId":4}}}"#,
                r#"acknowledged Some(4) ["a:b"]"#,
            ),
            (r#"[]"#, "no message"),
            (r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#, "no message"),
            ("Listening on port 3000", "no JSON"),
        ];
        for (text, expected) in cases {
            assert_eq!(summary(text), expected, "{text}");
        }
    }
}
