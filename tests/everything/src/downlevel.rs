//! Saying less to those who speak an older revision.

use serde_json::{Value, json};

use crate::play::{Question, text_block};
use crate::revision::Revision;

/// An entry of a list, or `Implementation`.
pub fn entry(revision: Revision, mut entry: Value) -> Value {
    let is_object = |schema: &Value| schema["type"] == "object";
    if revision != Revision::V2025_11_25 {
        remove(&mut entry, "execution");
    }
    if revision < Revision::V2026_07_28 && !entry.get("outputSchema").is_some_and(is_object) {
        remove(&mut entry, "outputSchema");
    }
    if revision < Revision::V2025_11_25 {
        remove(&mut entry, "icons");
    }
    if revision < Revision::V2025_06_18 {
        remove(&mut entry, "title");
        remove(&mut entry, "outputSchema");
    }
    if revision < Revision::V2025_03_26 {
        remove(&mut entry, "annotations");
    }
    entry
}

/// `Implementation`, whose description came later than its title.
pub fn implementation(revision: Revision, implementation: Value) -> Value {
    let mut implementation = entry(revision, implementation);
    if revision < Revision::V2025_11_25 {
        remove(&mut implementation, "description");
    }
    implementation
}

/// The result of a tool or a prompt.
pub fn result(revision: Revision, mut result: Value) -> Value {
    let structured = result.get("structuredContent").is_some_and(Value::is_object);
    if revision < Revision::V2025_06_18 || (revision < Revision::V2026_07_28 && !structured) {
        remove(&mut result, "structuredContent");
    }
    for block in result["content"].as_array_mut().into_iter().flatten() {
        block_for(revision, block);
    }
    for message in result["messages"].as_array_mut().into_iter().flatten() {
        block_for(revision, &mut message["content"]);
    }
    for member in ["content", "messages"] {
        if result[member].is_null() {
            remove(&mut result, member);
        }
    }
    result
}

fn block_for(revision: Revision, block: &mut Value) {
    match block["type"].as_str() {
        Some("resource_link") if revision < Revision::V2025_06_18 => {
            *block = text_block(block["uri"].as_str().unwrap_or_default());
        }
        Some("audio") if revision < Revision::V2025_03_26 => *block = text_block("(a sound)"),
        _ => {}
    }
}

/// The parameters of a question, or `None` if the revision has no words for it.
pub fn question(revision: Revision, question: &Question) -> Option<Value> {
    let mut params = question.params.clone();
    if params["mode"] == "url" {
        if revision < Revision::V2025_11_25 {
            return None;
        }
        if revision == Revision::V2025_11_25 {
            params["elicitationId"] = "page-1".into();
        }
    }
    if question.method != "elicitation/create" || revision >= Revision::V2025_11_25 {
        return Some(params);
    }
    if revision < Revision::V2025_06_18 {
        return None;
    }
    remove(&mut params, "mode");
    for (_, field) in params["requestedSchema"]["properties"].as_object_mut().into_iter().flatten() {
        if field["type"] == "array" {
            return None;
        }
        if field["type"] != "boolean" {
            remove(field, "default");
        }
        if let Some(choices) = field["oneOf"].as_array().cloned() {
            let column = |name| choices.iter().map(|choice| choice[name].clone()).collect::<Value>();
            field["enum"] = column("const");
            field["enumNames"] = column("title");
        }
        remove(field, "oneOf");
    }
    Some(params)
}

/// What this server declares.
pub fn capabilities(revision: Revision) -> Value {
    let mut capabilities = json!({
        "tools": {"listChanged": true},
        "prompts": {"listChanged": true},
        "resources": {"subscribe": true},
        "completions": {},
        "logging": {},
    });
    if revision == Revision::V2025_11_25 {
        capabilities["tasks"] = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    }
    if revision >= Revision::V2026_07_28 {
        capabilities["extensions"] = json!({
            crate::capability::TASKS: {},
            crate::skills::EXTENSION: {"directoryRead": true},
        });
    }
    if revision < Revision::V2025_03_26 {
        remove(&mut capabilities, "completions");
    }
    capabilities
}

fn remove(value: &mut Value, member: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(member);
    }
}
