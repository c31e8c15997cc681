//! `list_servers` and `server_status`: the servers that the caller may see, in service or not. What
//! is wrong with a definition is shown to those only who would be shown the definition.

use std::sync::Arc;

use doorward_model::CapabilityKind;
use doorward_registry::{Capability, Problem, Server};
use doorward_upstream::State;
use serde_json::{Map, Value, json};

use super::pretty;
use crate::condition::{Condition, condition};
use crate::ops::may_read;
use crate::pipeline::Asked;
use crate::view::{self, View};

/// The words of the original meta tools for the state of a server.
fn word(state: State) -> &'static str {
    match state {
        State::Connected => "running",
        State::Connecting => "starting",
        State::Error | State::Degraded | State::AuthRequired => "error",
        State::Registered | State::Disabled => "stopped",
    }
}

/// The tools that the caller may see, of each server.
fn tools_of<'t>(tools: &'t [Arc<Capability>], server: &Server) -> impl Iterator<Item = &'t Arc<Capability>> {
    let id = server.id.clone();
    tools.iter().filter(move |tool| tool.server.id == id)
}

fn problems(asked: &Asked<'_>, server: &Server) -> Vec<String> {
    let view = View::of(asked);
    let of_server = |problem: &&Problem| problem.server == server.id && view.tells(server, problem);
    asked.snapshot.registry.problems().iter().filter(of_server).map(Problem::what).collect()
}

pub(super) fn list(asked: &Asked<'_>) -> String {
    let tools = view::capabilities(asked, CapabilityKind::Tool);
    let servers: Vec<Value> = view::registered(asked)
        .iter()
        .map(|server| {
            let Condition { state, reason, .. } = condition(asked.gateway, server);
            let tools: Vec<Value> = tools_of(&tools, server).map(|tool| Value::from(&*tool.name)).collect();
            let mut entry = json!({
                "id": server.id.as_str(),
                "name": server.name,
                "status": word(state),
                "tools": tools,
            });
            if !server.tags.is_empty() {
                entry["tags"] = json!(server.tags);
            }
            if let Some(reason) = reason {
                entry["reason"] = Value::from(reason);
            }
            entry
        })
        .collect();
    pretty(&Value::Array(servers))
}

/// What a caller learns of a server's last error. In full it names hosts and ports behind the
/// gateway, and what the system said: that is for whoever may read the log.
fn told(asked: &Asked<'_>, state: State, error: &str) -> Option<String> {
    if may_read(asked.caller) {
        return Some(error.chars().take(500).collect());
    }
    let words = match state {
        State::Error => "the server cannot be reached, or it has stopped",
        State::Degraded => "the server did not answer its last request as it should",
        State::AuthRequired => "the server wants a credential that the gateway does not have",
        State::Registered | State::Connecting | State::Connected | State::Disabled => return None,
    };
    Some(words.to_owned())
}

pub(super) fn status(asked: &Asked<'_>) -> String {
    let tools = view::capabilities(asked, CapabilityKind::Tool);
    let mut all = Map::new();
    for server in view::registered(asked) {
        let Condition { state, reason, status } = condition(asked.gateway, &server);
        let uptime = status.as_ref().and_then(|status| status.uptime).unwrap_or_default();
        let mut entry = json!({
            "status": word(state),
            "state": state.as_str(),
            "tools": tools_of(&tools, &server).count(),
            "uptime": uptime.as_millis() as u64,
        });
        if let Some(reason) = reason {
            entry["reason"] = Value::from(reason);
        }
        let problems = problems(asked, &server);
        if !problems.is_empty() {
            entry["problems"] = json!(problems);
        }
        if let Some(status) = status {
            if let Some(error) = status.last_error.and_then(|error| told(asked, status.state, &error)) {
                entry["lastError"] = Value::from(error);
            }
            if let Some(at) = status.last_ok_at {
                entry["lastOkAt"] = Value::from(at.to_string());
            }
            if let Some(version) = status.protocol_version {
                entry["protocolVersion"] = Value::from(version.to_string());
            }
        }
        all.insert(server.id.to_string(), entry);
    }
    pretty(&Value::Object(all))
}
