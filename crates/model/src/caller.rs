//! Who is behind a call.

use std::collections::BTreeSet;

use crate::id::ServerId;
use crate::time::Timestamp;

/// A human.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Stable id, as given by the key's `person` or the token's subject.
    pub id: String,
    /// E-mail address, when it was verified.
    pub email: Option<String>,
    /// Groups the identity provider named.
    pub groups: Vec<String>,
    /// Roles carried by the person.
    pub roles: Vec<String>,
}

impl Person {
    /// The part of the e-mail address behind `@`, lower-cased.
    pub fn domain(&self) -> Option<String> {
        let (_, domain) = self.email.as_deref()?.rsplit_once('@')?;
        (!domain.is_empty()).then(|| domain.to_lowercase())
    }
}

/// The program acting for a person, or on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// Stable id.
    pub id: String,
}

/// How a grant was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    /// A key of the configuration.
    Key,
    /// A signed JSON Web Token.
    Jwt,
    /// `auth.type: none`: nobody asked.
    Anonymous,
}

impl GrantKind {
    /// The word used in records and policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Jwt => "jwt",
            Self::Anonymous => "anonymous",
        }
    }
}

/// One revocable permission to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Stable id, safe to show: a key's id, or `jwt:<jti or sub>`.
    pub id: String,
    /// How it was proven.
    pub kind: GrantKind,
    /// Whoever issued it, where that is not this gateway's own configuration. Two issuers may use
    /// the same subject for two people, so no name of a caller is complete without it.
    pub issuer: Option<String>,
    /// Roles the grant carries.
    pub roles: Vec<String>,
    /// The servers it reaches; `None` leaves this layer without a say.
    pub servers: Option<BTreeSet<ServerId>>,
    /// Scopes, such as `audit.read`.
    pub scopes: Vec<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Calls a minute that override the default rate limit.
    pub rate_limit: Option<u32>,
}

/// What the client says of itself. A label: it may narrow a right, never widen one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientLabel {
    /// `clientInfo.name`.
    pub name: String,
    /// `clientInfo.version`.
    pub version: String,
}

/// An authenticated caller. Either of person and agent may be absent, never both,
/// except for an anonymous grant, whose agent is `anonymous`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The grant that let it in.
    pub grant: Grant,
    /// The human, if one is known.
    pub person: Option<Person>,
    /// The program, if one is known.
    pub agent: Option<Agent>,
}

impl Caller {
    /// The one name that usage is counted under and old records call
    /// `consumerId`: the agent's id, else the person's.
    pub fn consumer(&self) -> &str {
        match (&self.agent, &self.person) {
            (Some(agent), _) => &agent.id,
            (None, Some(person)) => &person.id,
            (None, None) => "unknown",
        }
    }

    /// Whether the grant carries this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.grant.scopes.iter().any(|held| held == scope)
    }
}
