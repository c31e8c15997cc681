//! How a registered server is doing, whether it is in service or not.

use doorward_registry::Server;
use doorward_upstream::{State, Status};

use crate::gateway::Gateway;

/// How a server is doing.
pub(crate) struct Condition {
    /// The state of its link, or that it has none.
    pub state: State,
    /// Why it is not in service; `None` where it is.
    pub reason: Option<String>,
    /// What is known of its link.
    pub status: Option<Status>,
}

/// How this server is doing.
pub(crate) fn condition(gateway: &Gateway, server: &Server) -> Condition {
    let status = gateway.upstreams.status(&server.id).filter(|_| server.enabled);
    if !server.enabled {
        let reason = Some("disabled in the configuration".to_owned());
        return Condition { state: State::Disabled, reason, status };
    }
    if !server.lacking.is_empty() {
        let reason = Some(format!("missing secret {}", server.lacking.join(", ")));
        return Condition { state: State::Error, reason, status };
    }
    let state = status.as_ref().map_or(State::Registered, |status| status.state);
    Condition { state, reason: None, status }
}
