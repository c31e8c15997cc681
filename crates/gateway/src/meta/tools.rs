//! `list_tools`: what the caller may call, under the servers' own names.

use doorward_model::CapabilityKind;
use serde_json::{Value, json};

use super::{Failure, pretty};
use crate::pipeline::Asked;
use crate::view;

pub(super) async fn list(mut asked: Box<Asked<'_>>) -> Result<String, Failure> {
    view::refresh(&mut asked).await;
    let shown = view::capabilities(&asked, CapabilityKind::Tool);
    let tools: Vec<Value> = shown
        .iter()
        .map(|tool| {
            let definition: Value = serde_json::from_slice(&tool.raw).unwrap_or_default();
            let mut entry = json!({
                "serverId": tool.server.id.as_str(),
                "name": &*tool.name,
                "description": definition.get("description"),
                "inputSchema": definition.get("inputSchema"),
            });
            for member in ["title", "outputSchema", "annotations"] {
                if let Some(value) = definition.get(member) {
                    entry[member] = value.clone();
                }
            }
            entry
        })
        .collect();
    Ok(pretty(&Value::Array(tools)))
}
