//! What was decided about one call, by whom, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The answer to "may they?".
///
/// Ordered by force: when layers disagree, the greatest wins
/// (`Hide` beats `Deny` beats `Approve` beats `Allow`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The call goes through.
    Allow,
    /// A human must approve this exact call first.
    Approve,
    /// The call is refused, and says so.
    Deny,
    /// To this caller the capability does not exist.
    Hide,
}

impl Verdict {
    /// The word used in records, policies and replies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Hide => "hide",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which question decided, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Who is calling?
    Identity,
    /// Is the server within the grant's and the agent's reach?
    Scope,
    /// Is the capability enabled and its definition reviewed?
    Exposure,
    /// Role rules.
    Rules,
    /// Rego policies.
    Policy,
    /// Content of the arguments.
    Guardrail,
    /// Does a human agree?
    Approval,
    /// Is there allowance left?
    Limit,
}

impl Layer {
    /// The word used in records and replies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Scope => "scope",
            Self::Exposure => "exposure",
            Self::Rules => "rules",
            Self::Policy => "policy",
            Self::Guardrail => "guardrail",
            Self::Approval => "approval",
            Self::Limit => "limit",
        }
    }
}

/// The reason given when no layer said anything at all.
pub const DEFAULT_DENY: &str = "default_deny";

/// A verdict with its evidence. Equal inputs give equal decisions, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What happens to the call.
    pub verdict: Verdict,
    /// Why, most telling first. Empty when allowed.
    pub reasons: Vec<String>,
    /// The layer that had the last word.
    pub layer: Layer,
    /// The rule that decided, as a stable pointer:
    /// `rules/<policy id>#/rules/<n>` or `policy/<name>@sha256:<digest>#<rule>`.
    pub rule: Option<String>,
}

impl Decision {
    /// An allowing decision.
    pub fn allow(layer: Layer, rule: impl Into<String>) -> Self {
        Self { verdict: Verdict::Allow, reasons: Vec::new(), layer, rule: Some(rule.into()) }
    }

    /// A refusal for one reason.
    pub fn deny(layer: Layer, reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Deny, reasons: vec![reason.into()], layer, rule: None }
    }

    /// The answer that a capability does not exist for this caller.
    pub fn hide(layer: Layer, reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Hide, reasons: vec![reason.into()], layer, rule: None }
    }

    /// Whether the call may go on.
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}
