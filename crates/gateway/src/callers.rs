//! Callers for tests of this crate. Only tests make them: a grant that is built anywhere else says
//! itself what it allows.

use doorward_model::{Agent, Caller, Grant, GrantKind};

/// Who holds the key with this id, through one agent: no roles, no scopes, every server.
pub(crate) fn caller(id: &str) -> Caller {
    let grant = Grant {
        id: id.to_owned(),
        kind: GrantKind::Key,
        issuer: None,
        roles: Vec::new(),
        servers: None,
        scopes: Vec::new(),
        claims: Default::default(),
        expires_at: None,
        rate_limit: None,
    };
    Caller { grant, person: None, agent: Some(Agent { id: "agent".to_owned() }) }
}
