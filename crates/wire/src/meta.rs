//! `params._meta`: what a request says about itself and its client.

use std::borrow::Cow;

use doorward_model::json::Value;

use crate::error::{INVALID_PARAMS, RpcError};

/// The prefix of the keys that MCP itself owns.
const MCP: &str = "io.modelcontextprotocol/";

/// The metadata of one request. Absent members are `None`.
#[derive(Clone, Debug, Default)]
pub struct Meta<'a> {
    /// `io.modelcontextprotocol/protocolVersion`; its presence makes a request modern.
    pub protocol_version: Option<Cow<'a, str>>,
    /// `io.modelcontextprotocol/clientCapabilities`
    pub client_capabilities: Option<Value<'a>>,
    /// `io.modelcontextprotocol/clientInfo`
    pub client_info: Option<Value<'a>>,
    /// `io.modelcontextprotocol/logLevel`
    pub log_level: Option<Cow<'a, str>>,
    /// `progressToken`, as written.
    pub progress_token: Option<Value<'a>>,
    /// `traceparent` (W3C Trace Context).
    pub traceparent: Option<Cow<'a, str>>,
    /// `tracestate`
    pub tracestate: Option<Cow<'a, str>>,
}

impl<'a> Meta<'a> {
    /// Reads `_meta` of `params`.
    ///
    /// # Errors
    /// `-32602` with HTTP 400 when a known member has the wrong type.
    pub fn read(params: Option<Value<'a>>) -> Result<Self, RpcError> {
        let mut meta = Self::default();
        let Some(value) = params.and_then(|params| params.get("_meta")) else { return Ok(meta) };
        let wrong = |what: &str| Err(RpcError::bad_request(INVALID_PARAMS, format!("_meta: {what}")));
        if value.is_null() {
            return Ok(meta);
        }
        if !value.is_object() {
            return wrong("must be an object");
        }
        for (key, value) in value.members() {
            if let Some(own) = key.strip_prefix(MCP) {
                match own {
                    "protocolVersion" => match value.as_str() {
                        Some(version) => meta.protocol_version = Some(version),
                        None => return wrong("protocolVersion must be a string"),
                    },
                    "clientCapabilities" if value.is_object() => meta.client_capabilities = Some(value),
                    "clientCapabilities" => return wrong("clientCapabilities must be an object"),
                    "clientInfo" if value.is_object() => meta.client_info = Some(value),
                    "clientInfo" => return wrong("clientInfo must be an object"),
                    "logLevel" => match value.as_str() {
                        Some(level) => meta.log_level = Some(level),
                        None => return wrong("logLevel must be a string"),
                    },
                    // Keys that only answers and streams carry, or that are not known
                    // yet: not for a server to see from a client.
                    _ => {}
                }
                continue;
            }
            match key.as_ref() {
                "progressToken" if value.as_str().is_some() || value.as_i64().is_some() => {
                    meta.progress_token = Some(value);
                }
                "progressToken" => return wrong("progressToken must be a string or an integer"),
                "traceparent" => meta.traceparent = value.as_str(),
                "tracestate" => meta.tracestate = value.as_str(),
                // Whatever else there is, such as `baggage`, no policy looks at and no record shows.
                // So no server gets it.
                _ => {}
            }
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Document, Limits};

    use super::*;

    #[test]
    fn what_has_a_meaning_is_read_and_the_rest_is_left() {
        let text = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},
            "io.modelcontextprotocol/subscriptionId":1,"progressToken":"t","traceparent":"00-x","baggage":"b","com.example/a":{"b": 1}}}"#;
        let document = Document::parse(Bytes::from(text), &Limits::default()).expect("valid");
        let meta = Meta::read(Some(document.root())).expect("well formed");
        assert_eq!(meta.protocol_version.as_deref(), Some("2026-07-28"));
        assert_eq!(meta.client_capabilities.map(Value::raw), Some(r#"{"roots":{}}"#));
        assert_eq!(meta.progress_token.map(Value::raw), Some(r#""t""#));
        assert_eq!(meta.traceparent.as_deref(), Some("00-x"));
    }

    #[test]
    fn wrong_types_are_named() {
        let cases = [
            r#"{"_meta":7}"#,
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":7}}"#,
            r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":[]}}"#,
            r#"{"_meta":{"io.modelcontextprotocol/clientInfo":"x"}}"#,
            r#"{"_meta":{"progressToken":1.5}}"#,
            r#"{"_meta":{"progressToken":null}}"#,
        ];
        for text in cases {
            let document = Document::parse(Bytes::from(text), &Limits::default()).expect("valid");
            let error = Meta::read(Some(document.root())).expect_err(text);
            assert_eq!((error.code, error.status), (INVALID_PARAMS, 400), "{text}");
        }
    }
}
