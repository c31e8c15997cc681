//! Answers and arguments, made up from schemas.

use serde_json::{Map, Value, json};

/// The answer to a question of a server.
pub fn answer(question: &Value) -> Value {
    match question["method"].as_str() {
        Some("elicitation/create") => {
            let fields = question["params"]["requestedSchema"]["properties"].as_object();
            json!({"action": "accept", "content": fill(fields)})
        }
        Some("sampling/createMessage") => {
            json!({"role": "assistant", "content": {"type": "text", "text": "As you wish"}, "model": "walker"})
        }
        _ => json!({"roots": [{"uri": "file:///walker"}]}),
    }
}

/// Arguments that fit the schema of a tool.
pub fn arguments(tool: &Value) -> Value {
    fill(tool["inputSchema"]["properties"].as_object())
}

fn fill(fields: Option<&Map<String, Value>>) -> Value {
    let value = |field: &Value| match field["type"].as_str() {
        _ if !field["default"].is_null() => field["default"].clone(),
        _ if field["enum"].is_array() => field["enum"][0].clone(),
        Some("boolean") => json!(true),
        Some("integer" | "number") => json!(5),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("null") => Value::Null,
        _ => json!("text"),
    };
    fields.into_iter().flatten().map(|(name, field)| (name.clone(), value(field))).collect()
}
