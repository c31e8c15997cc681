//! The resources and the template.

use serde_json::{Value, json};

use crate::server::Everything;
use crate::skills;
use crate::tools::PNG;

/// The one whose content changes when a tool touches it.
pub const WATCHED: &str = "test://watched-resource";
pub const TEMPLATE: &str = "test://template/{id}/data";

pub fn list() -> Value {
    let entry = |uri: &str, name: &str, mime_type: &str| json!({"uri": uri, "name": name, "description": format!("{name}, for tests"), "mimeType": mime_type});
    json!([
        entry("test://static-text", "Static text", "text/plain"),
        entry("test://static-binary", "Static image", "image/png"),
        entry(WATCHED, "Watched resource", "text/plain"),
    ])
}

pub fn templates() -> Value {
    json!([{"uriTemplate": TEMPLATE, "name": "Data", "description": "Data by id", "mimeType": "application/json"}])
}

/// The contents of a resource, or `None` if there is none of that name.
pub fn read(server: &Everything, uri: &str) -> Option<Value> {
    let text = |mime_type: &str, text: String| json!({"uri": uri, "mimeType": mime_type, "text": text});
    let content = match uri {
        "test://static-text" => {
            text("text/plain", "This is the content of the static text resource.".to_owned())
        }
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
        WATCHED => text("text/plain", format!("Touched {} times", server.touches())),
        _ if uri.starts_with("skill://") => text("text/markdown", skills::read(uri)?),
        _ => {
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let id = Some(id).filter(|id| !id.is_empty() && !id.contains('/'))?;
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            text("application/json", data.to_string())
        }
    };
    Some(json!([content]))
}
