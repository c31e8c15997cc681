//! From a strictly read document to a JSON-RPC message.
//!
//! Keys are compared exactly. A key that differs from a protocol key only by case
//! is refused: some servers would take it for the real one (product.md, "One parse").

use std::borrow::Cow;

use doorward_model::json::{Document, Kind, Value};

use crate::error::{INVALID_REQUEST, RpcError};

/// Longest request id that is accepted, in bytes as written.
pub const MAX_ID: usize = 256;
/// Longest method name that is accepted, in bytes.
pub const MAX_METHOD: usize = 128;

/// One message of either direction.
#[derive(Clone, Debug)]
pub enum Message<'a> {
    /// Wants an answer.
    Request(Request<'a>),
    /// Wants none.
    Notification(Notification<'a>),
    /// Answers a request of ours.
    Response(Response<'a>),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The id as written: it goes back byte for byte.
    pub id: Value<'a>,
    /// The method.
    pub method: Cow<'a, str>,
    /// `params`, an object when present.
    pub params: Option<Value<'a>>,
}

/// A notification.
#[derive(Clone, Debug)]
pub struct Notification<'a> {
    /// The method.
    pub method: Cow<'a, str>,
    /// `params`, an object when present.
    pub params: Option<Value<'a>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// The id of the request it answers; absent when that could not be read.
    pub id: Option<Value<'a>>,
    /// The result or the error.
    pub body: Body<'a>,
}

/// What an answer holds.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// `result`
    Result(Value<'a>),
    /// `error`
    Error(Value<'a>),
}

/// The keys of an envelope and of `params` that servers act on.
const PROTOCOL_KEYS: [&str; 23] = [
    "jsonrpc",
    "id",
    "method",
    "params",
    "result",
    "error",
    "name",
    "arguments",
    "uri",
    "_meta",
    "cursor",
    "ref",
    "argument",
    "context",
    "level",
    "requestId",
    "progressToken",
    "requestState",
    "inputResponses",
    "taskId",
    "task",
    "notifications",
    "protocolVersion",
];

/// The keys of `_meta` that servers act on.
const META_KEYS: [&str; 5] = [
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
];

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// `-32600` with HTTP 400 and, where the id could be read, that id.
    pub fn read(document: &'a Document) -> Result<Self, Malformed<'a>> {
        let root = document.root();
        if root.kind() == Kind::Array {
            return Err(Malformed::new(None, "batches are not supported: send one message a request"));
        }
        if !root.is_object() {
            return Err(Malformed::new(None, "a message is a JSON object"));
        }
        let (mut version, mut id, mut method, mut params, mut result, mut error) =
            (None, None, None, None, None, None);
        let mut odd_case = None;
        for (key, value) in root.members() {
            match key.as_ref() {
                "jsonrpc" => version = Some(value),
                "id" => id = Some(value),
                "method" => method = Some(value),
                "params" => params = Some(value),
                "result" => result = Some(value),
                "error" => error = Some(value),
                other => odd_case = odd_case.or_else(|| imitated(other, &PROTOCOL_KEYS)),
            }
        }
        // An optional member that is `null` says the same as none.
        params = params.filter(|params| !params.is_null());
        if result.is_some() {
            error = error.filter(|error| !error.is_null());
        }
        if error.is_some() {
            result = result.filter(|result| !result.is_null());
        }
        let readable_id = id.filter(|id| id_is_valid(*id));
        let refuse = |message: &str| Err(Malformed::new(readable_id, message));
        if let Some(variant) = odd_case {
            return Err(Malformed::new(
                readable_id,
                format!("key spelled unlike the protocol's `{variant}`"),
            ));
        }
        if version.and_then(Value::as_str).as_deref() != Some("2.0") {
            return refuse("`jsonrpc` must be \"2.0\"");
        }
        if id.is_some() && readable_id.is_none() && !(id.is_some_and(Value::is_null) && error.is_some()) {
            return refuse("`id` must be a string or an integer of at most 256 bytes");
        }
        match (method, result, error) {
            (Some(method), None, None) => {
                let Some(method) = method.as_str().filter(|name| (1..=MAX_METHOD).contains(&name.len()))
                else {
                    return refuse("`method` must be a string of 1 to 128 bytes");
                };
                if let Some(params) = params {
                    if !params.is_object() {
                        return refuse("`params` must be an object");
                    }
                    if let Some(variant) = imitation(params) {
                        return Err(Malformed::new(
                            readable_id,
                            format!("key spelled unlike the protocol's `{variant}`"),
                        ));
                    }
                }
                Ok(match readable_id {
                    Some(id) => Self::Request(Request { id, method, params }),
                    None => Self::Notification(Notification { method, params }),
                })
            }
            (None, Some(result), None) if readable_id.is_some() => {
                Ok(Self::Response(Response { id: readable_id, body: Body::Result(result) }))
            }
            (None, None, Some(error)) if error.is_object() => {
                Ok(Self::Response(Response { id: readable_id, body: Body::Error(error) }))
            }
            _ => refuse("a message has exactly one of `method`, `result` and `error`"),
        }
    }
}

/// A document that is no message.
#[derive(Clone, Debug)]
pub struct Malformed<'a> {
    /// The id, where one could be read.
    pub id: Option<Value<'a>>,
    /// What to answer.
    pub error: RpcError,
}

impl<'a> Malformed<'a> {
    fn new(id: Option<Value<'a>>, message: impl Into<String>) -> Self {
        Self { id, error: RpcError::bad_request(INVALID_REQUEST, message) }
    }
}

fn id_is_valid(id: Value<'_>) -> bool {
    let fits = id.span().len() <= MAX_ID;
    match id.kind() {
        Kind::String => fits,
        // 1.0 is an integer to the specification's JSON Schema, and comes back as sent.
        Kind::Number => fits && id.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    }
}

/// The protocol key that a key of `params` imitates, or one of an object in there whose keys
/// are the protocol's as well. Arguments belong to the tool.
fn imitation(params: Value<'_>) -> Option<&'static str> {
    let within = |key: &str, value: Value<'_>| {
        let known: &[&str] = match key {
            "_meta" => &META_KEYS,
            "ref" => &["type", "name", "uri"],
            "argument" => &["name", "value"],
            "context" => &["arguments"],
            _ => return None,
        };
        value.members().find_map(|(key, _)| imitated(&key, known))
    };
    params.members().find_map(|(key, value)| imitated(&key, &PROTOCOL_KEYS).or_else(|| within(&key, value)))
}

/// The key of `known` that `key` imitates: equal but for case, where case includes the two
/// characters outside ASCII that fold into it (U+017F and U+212A).
fn imitated(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let folded = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    let is_alike = |known: &str| key.chars().map(folded).eq(known.chars().map(folded));
    // The usual keys are spelled as they should be, and need no more than the first look.
    if known.contains(&key) { None } else { known.iter().find(|known| is_alike(known)).copied() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::Limits;

    use super::*;

    fn summary(text: &str) -> String {
        let document =
            Document::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect(text);
        match Message::read(&document) {
            Ok(Message::Request(request)) => format!("request {} {}", request.id.raw(), request.method),
            Ok(Message::Notification(notification)) => format!("notification {}", notification.method),
            Ok(Message::Response(response)) => format!("response {}", response.id.map_or("-", Value::raw)),
            Err(malformed) => {
                format!(
                    "{} {} {}",
                    malformed.id.map_or("-", Value::raw),
                    malformed.error.code,
                    malformed.error.message
                )
            }
        }
    }

    #[test]
    fn messages_are_told_apart_and_the_rest_is_refused() {
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(300));
        let cases = [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "request 1 ping"),
            (r#"{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{}}"#, "request \"a\" tools/list"),
            (r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#, "request 1.0 ping"),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                "notification notifications/initialized",
            ),
            (r#"{"jsonrpc":"2.0","id":3,"result":{}}"#, "response 3"),
            (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#, "response -"),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
                "- -32600 `id` must be a string or an integer of at most 256 bytes",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
                "- -32600 `id` must be a string or an integer of at most 256 bytes",
            ),
            (&long, "- -32600 `id` must be a string or an integer of at most 256 bytes"),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "1 -32600 `jsonrpc` must be \"2.0\""),
            (r#"{"id":1,"method":"ping"}"#, "1 -32600 `jsonrpc` must be \"2.0\""),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
                "1 -32600 `method` must be a string of 1 to 128 bytes",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#,
                "1 -32600 `params` must be an object",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
                "1 -32600 a message has exactly one of `method`, `result` and `error`",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1}"#,
                "1 -32600 a message has exactly one of `method`, `result` and `error`",
            ),
            (
                r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
                "- -32600 batches are not supported: send one message a request",
            ),
            ("7", "- -32600 a message is a JSON object"),
        ];
        for (text, expected) in cases {
            assert_eq!(summary(text), expected, "{text}");
        }
    }

    #[test]
    fn a_key_in_another_case_is_not_let_past() {
        let cases = [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, "method"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#, "name"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","argument\u017f":{}}}"#,
                "arguments",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"ta\u017f\u212a":{}}}"#, "task"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"RequestState":""}}"#, "requestState"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"requeststate":""}}"#, "requestState"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progresstoken":1}}}"#,
                "progressToken",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"ref":{"name":"a","Name":"b"}}}"#, "name"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"argument":{"Value":"b"}}}"#, "value"),
        ];
        for (text, key) in cases {
            assert_eq!(
                summary(text),
                format!("1 -32600 key spelled unlike the protocol's `{key}`"),
                "{text}"
            );
        }
        let fine = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"progressToken":1,"requestState":"","arguments":{"Name":1},"_meta":{"Mine":1,"progressToken":1}}}"#;
        assert_eq!(summary(fine), "request 1 x", "arguments belong to the tool");
    }
}
