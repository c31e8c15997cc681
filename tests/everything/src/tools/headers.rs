//! A tool some of whose arguments are repeated in HTTP headers.

use serde_json::json;

use super::Tool;
use crate::play::Step;

pub fn tools() -> Vec<Tool> {
    let schema = json!({
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "priority": {"type": "integer", "x-mcp-header": "Priority"},
            "urgent": {"type": "boolean", "x-mcp-header": "Urgent"},
            "query": {"type": "string"},
        },
        "required": ["region"],
    });
    let tool = Tool::new("test_custom_header", "Has arguments that travel in headers too", |scene| {
        Step::text(scene.arguments.to_string())
    });
    vec![tool.taking_schema(schema)]
}
