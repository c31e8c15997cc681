//! Tools that answer at once, each with another kind of content.

use serde_json::{Value, json};

use super::Tool;
use crate::play::{Step, content, failure, text_block};

/// One red pixel.
pub const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// A sound without samples.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";

pub fn tools() -> Vec<Tool> {
    vec![
        Tool::new("test_simple_text", "Answers with a text", |_| {
            Step::text("This is a simple text response for testing.")
        })
        .with(json!({
            "title": "Simple text", "annotations": {"readOnlyHint": true, "openWorldHint": false},
            "icons": [{"src": format!("data:image/png;base64,{PNG}"), "mimeType": "image/png"}],
        })),
        Tool::new("test_image_content", "Answers with an image", |_| Step::done(content(vec![image()]))),
        Tool::new("test_audio_content", "Answers with a sound", |_| {
            Step::done(content(vec![json!({"type": "audio", "data": WAV, "mimeType": "audio/wav"})]))
        }),
        Tool::new("test_embedded_resource", "Answers with a resource", |_| {
            let text = "This is an embedded resource content.";
            Step::done(content(vec![resource("test://embedded-resource", "text/plain", text)]))
        }),
        Tool::new("test_multiple_content_types", "Answers with a text, an image and a resource", |_| {
            let text = r#"{"test":"data","value":123}"#;
            let resource = resource("test://mixed-content-resource", "application/json", text);
            Step::done(content(vec![text_block("Multiple content types test:"), image(), resource]))
        }),
        Tool::new("test_resource_link", "Answers with a link to a resource", |_| {
            let link = json!({"type": "resource_link", "uri": "test://static-text", "name": "Static text", "mimeType": "text/plain"});
            Step::done(content(vec![link]))
        }),
        Tool::new("test_error_handling", "Fails", |_| {
            Step::done(failure("This tool intentionally returns an error for testing"))
        }),
        Tool::new("test_structured_content", "Answers with a list, which only 2026-07-28 can type", |_| {
            let mut result = content(vec![text_block("[1,2.5,null]")]);
            result["structuredContent"] = json!([1, 2.5, null]);
            Step::done(result)
        })
        .with(json!({"outputSchema": {"type": "array"}})),
        Tool::new(
            "json_schema_2020_12_tool",
            "Has a schema with the words of JSON Schema 2020-12",
            |scene| Step::text(scene.arguments.to_string()),
        )
        .taking_schema(schema_2020_12()),
    ]
}

fn image() -> Value {
    json!({"type": "image", "data": PNG, "mimeType": "image/png"})
}

fn resource(uri: &str, mime_type: &str, text: &str) -> Value {
    json!({"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": text}})
}

fn schema_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}
