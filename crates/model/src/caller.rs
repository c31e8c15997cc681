//! Who is behind a call.

use std::collections::{BTreeMap, BTreeSet};

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
    /// The domain of the e-mail address, see [`domain_of`].
    pub fn domain(&self) -> Option<String> {
        domain_of(self.email.as_deref()?)
    }
}

/// The part of an e-mail address behind `@`, in the one spelling that [`domain`] gives it.
pub fn domain_of(address: &str) -> Option<String> {
    let (_, behind) = address.rsplit_once('@')?;
    (!behind.is_empty()).then(|| domain(behind))
}

/// A domain in the one spelling that is compared: lower case, and what is not ASCII in the form
/// that DNS has for it (UTS 46). What is no domain is only put into lower case.
pub fn domain(text: &str) -> String {
    // Every row of the log's index has one, and nearly all are ASCII.
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    idna::domain_to_ascii(text).ok().filter(|ascii| !ascii.is_empty()).unwrap_or_else(|| text.to_lowercase())
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
    /// Nothing yet: each call of a meta tool presents a key of its own.
    Keyless,
}

impl GrantKind {
    /// The word used in records and policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Jwt => "jwt",
            Self::Anonymous => "anonymous",
            Self::Keyless => "keyless",
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
    /// What the token claims, as texts, as far as role rules name it.
    pub claims: BTreeMap<String, String>,
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

    /// Whether this is the same principal, beyond the credential of the moment: a token that was
    /// renewed makes nobody else of its bearer; another key does, and so does another issuer.
    pub fn is_same_principal(&self, other: &Self) -> bool {
        self.grant.kind == other.grant.kind
            && self.grant.issuer == other.grant.issuer
            && (self.grant.kind != GrantKind::Key || self.grant.id == other.grant.id)
            && self.person_id() == other.person_id()
            && self.agent_id() == other.agent_id()
    }

    fn person_id(&self) -> Option<&str> {
        self.person.as_ref().map(|person| person.id.as_str())
    }

    fn agent_id(&self) -> Option<&str> {
        self.agent.as_ref().map(|agent| agent.id.as_str())
    }

    /// Whether the grant carries this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.grant.scopes.iter().any(|held| held == scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_one_spelling() {
        let cases = [
            ("ana@corp.example", Some("corp.example")),
            ("Ana@CORP.Example", Some("corp.example")),
            ("a@b@corp.example", Some("corp.example")),
            ("ana@bücher.example", Some("xn--bcher-kva.example")),
            ("ana@BÜCHER.example", Some("xn--bcher-kva.example")),
            ("ana@XN--bcher-kva.example", Some("xn--bcher-kva.example")),
            // What is no domain is compared as it is.
            ("ana@Corp Example", Some("corp example")),
            ("ana@", None),
            ("ana", None),
        ];
        for (address, expected) in cases {
            assert_eq!(domain_of(address).as_deref(), expected, "{address}");
        }
    }
}
