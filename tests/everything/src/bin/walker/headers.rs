//! The headers that repeat what a modern request says in its body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

/// Name and value of each.
pub fn of(message: &Value, tool: Option<&Value>) -> Vec<(String, String)> {
    let method = message["method"].as_str().unwrap_or_default();
    let params = &message["params"];
    let mut headers = vec![("mcp-method".to_owned(), method.to_owned())];
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        _ => None,
    };
    headers.extend(name.map(|name| ("mcp-name".to_owned(), encoded(name))));
    let properties = tool.and_then(|tool| tool["inputSchema"]["properties"].as_object());
    for (argument, schema) in properties.into_iter().flatten() {
        let value = match &params["arguments"][argument] {
            Value::String(text) => text.clone(),
            value @ (Value::Bool(_) | Value::Number(_)) => value.to_string(),
            _ => continue,
        };
        if let Some(suffix) = schema["x-mcp-header"].as_str() {
            headers.push((format!("mcp-param-{suffix}").to_ascii_lowercase(), encoded(&value)));
        }
    }
    headers
}

/// As it is, if a header can say it; otherwise as Base64 between markers.
fn encoded(text: &str) -> String {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let marked = text.starts_with("=?base64?") && text.ends_with("?=");
    if plain && !marked && text.trim() == text {
        return text.to_owned();
    }
    format!("=?base64?{}?=", BASE64.encode(text))
}
