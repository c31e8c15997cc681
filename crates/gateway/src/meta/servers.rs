//! `list_servers` and `server_status`: the servers within the caller's reach.

use std::sync::Arc;

use doorward_model::CapabilityKind;
use doorward_registry::Server;
use serde_json::{Map, Value, json};

use super::pretty;
use crate::pipeline::Asked;
use crate::view;

/// The words of the original meta tools for the state of a server.
fn word(state: &str) -> &'static str {
    match state {
        "connected" => "running",
        "connecting" => "starting",
        "error" | "degraded" | "auth_required" => "error",
        _ => "stopped",
    }
}

fn visible_tools(asked: &Asked<'_>, server: &Server) -> Vec<Arc<doorward_registry::Capability>> {
    let tools = view::capabilities(asked, CapabilityKind::Tool);
    tools.into_iter().filter(|tool| tool.server.id == server.id).collect()
}

pub(super) fn list(asked: &Asked<'_>) -> String {
    let servers: Vec<Value> = view::servers(asked)
        .iter()
        .map(|server| {
            let status = asked.gateway.upstreams.status(&server.id);
            let state = status.map_or("registered", |status| status.state.as_str());
            let tools: Vec<Value> =
                visible_tools(asked, server).iter().map(|tool| Value::from(&*tool.name)).collect();
            let mut entry = json!({
                "id": server.id.as_str(),
                "name": server.name,
                "status": word(state),
                "tools": tools,
            });
            if !server.tags.is_empty() {
                entry["tags"] = json!(server.tags);
            }
            entry
        })
        .collect();
    pretty(&Value::Array(servers))
}

pub(super) fn status(asked: &Asked<'_>) -> String {
    let mut all = Map::new();
    for server in view::servers(asked) {
        let status = asked.gateway.upstreams.status(&server.id);
        let state = status.as_ref().map_or("registered", |status| status.state.as_str());
        let uptime = status.as_ref().and_then(|status| status.uptime).unwrap_or_default();
        let mut entry = json!({
            "status": word(state),
            "state": state,
            "tools": visible_tools(asked, &server).len(),
            "uptime": uptime.as_millis() as u64,
        });
        if let Some(status) = status {
            if let Some(error) = status.last_error {
                entry["lastError"] = Value::from(error.chars().take(500).collect::<String>());
            }
            if let Some(version) = status.protocol_version {
                entry["protocolVersion"] = Value::from(version.to_string());
            }
        }
        all.insert(server.id.to_string(), entry);
    }
    pretty(&Value::Object(all))
}
