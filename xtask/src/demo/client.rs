//! The least an MCP client can be: one stateless request (2026-07-28) at a time.

use anyhow::Context as _;
use serde_json::{Value, json};

const REVISION: &str = "2026-07-28";

/// Sends one request and returns the JSON-RPC answer.
pub fn request(port: u16, token: &str, method: &str, mut params: Value) -> anyhow::Result<Value> {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "doorward-demo", "version": env!("CARGO_PKG_VERSION")},
    });
    let mut request = ureq::post(format!("http://127.0.0.1:{port}/mcp"))
        .config()
        .http_status_as_error(false)
        .build()
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", REVISION)
        .header("mcp-method", method);
    if let Some(name) = params["name"].as_str() {
        request = request.header("mcp-name", name);
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let text = request.send(body)?.body_mut().read_to_string()?;
    serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
}

/// The text of a tool result or of an error.
pub fn text(answer: &Value) -> String {
    let result = answer["result"]["content"][0]["text"].as_str();
    let error = answer["error"]["message"].as_str();
    result.or(error).unwrap_or("(no text)").to_owned()
}
