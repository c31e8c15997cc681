//! JSON-RPC errors: codes, and the HTTP status each one travels with.

use crate::era::Era;

/// Text that is no JSON.
pub const PARSE_ERROR: i32 = -32700;
/// JSON that is no request.
pub const INVALID_REQUEST: i32 = -32600;
/// A method this side does not have.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// Parameters that do not fit: also an unknown tool, prompt or cursor.
pub const INVALID_PARAMS: i32 = -32602;
/// Something broke on this side or behind it.
pub const INTERNAL: i32 = -32603;
/// Resource not found, in the legacy era.
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// A page must be opened first (2025-11-25).
pub const URL_REQUIRED: i32 = -32042;
/// A header that contradicts the body (2026-07-28).
pub const HEADER_MISMATCH: i32 = -32020;
/// The request lacks a client capability it needs (2026-07-28).
pub const MISSING_CAPABILITY: i32 = -32021;
/// A version this side does not speak (2026-07-28).
pub const UNSUPPORTED_VERSION: i32 = -32022;

/// An error on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    /// JSON-RPC code.
    pub code: i32,
    /// What went wrong, for the reader of the answer.
    pub message: String,
    /// `data`, as JSON text.
    pub data: Option<String>,
    /// HTTP status, where the transport has one.
    pub status: u16,
}

impl RpcError {
    /// An error that travels with HTTP 400.
    pub fn bad_request(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, status: 400 }
    }

    /// An error inside a well-formed exchange: HTTP 200.
    pub fn answer(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None, status: 200 }
    }

    /// Adds `data`, given as JSON text.
    #[must_use]
    pub fn with_data(mut self, json: impl Into<String>) -> Self {
        self.data = Some(json.into());
        self
    }

    /// The answer to a method nobody here has (HTTP 404 in the modern era,
    /// which is how a client tells it from a dead session).
    pub fn unknown_method(method: &str, era: Era) -> Self {
        let shown: String = method.chars().take(80).collect();
        let status = if era == Era::Modern { 404 } else { 200 };
        Self { code: METHOD_NOT_FOUND, message: format!("Method not found: {shown}"), data: None, status }
    }

    /// The one answer for a tool that does not exist, is out of reach, or is hidden.
    pub fn unknown_tool(name: &str) -> Self {
        Self::answer(INVALID_PARAMS, format!("Unknown tool: {name}"))
    }

    /// The one answer for a prompt that does not exist, is out of reach, or is hidden.
    pub fn unknown_prompt(name: &str) -> Self {
        Self::answer(INVALID_PARAMS, format!("Unknown prompt: {name}"))
    }

    /// The one answer for a resource that does not exist, is out of reach, or is hidden.
    pub fn unknown_resource(uri: &str, era: Era) -> Self {
        let code = if era == Era::Modern { INVALID_PARAMS } else { RESOURCE_NOT_FOUND };
        let data = format!(r#"{{"uri":{}}}"#, doorward_model::json::quoted(uri));
        Self::answer(code, "Resource not found").with_data(data)
    }
}
