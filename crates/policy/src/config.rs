//! Policies as they are written in the configuration.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::problem::{At, PolicyError};

/// Rules for everyone who carries one of some roles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolePolicy {
    /// Unique; the first part of every rule pointer in records.
    pub id: String,
    /// Quoted in the reasons of its refusals; the id when left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Roles it applies to; `*` is everyone.
    #[serde(default)]
    pub roles: Vec<String>,
    /// In file order, which breaks ties between equally specific rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// One line of a role policy. An empty text counts as left out.
///
/// A rule without `tool`, `resource` and `prompt` speaks about every operation on
/// its server. A rule with some of them speaks about those operations only:
/// `tool` about `tools/call`, `resource` about reading, subscribing to and
/// completing resources, `prompt` about getting and completing prompts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Glob over server ids; every server when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Glob over the server's own tool names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Glob over resource URIs and URI templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Glob over prompt names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// `allow`, `deny`, `hide` or `approve`.
    pub action: String,
    /// All must hold. Not permitted on `hide`, because a list knows no arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A demand on one argument.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// An argument's name, or a dotted path (`filter.owner`, `items.0.id`); where a call has
    /// both, and they differ, an allow rule does not apply and a deny rule does. A JSON
    /// pointer (`/filter/owner`) is a path and never a name.
    pub param: String,
    /// `eq`, `neq`, `in`, `regex`, `not_in`, `lt`, `lte`, `gt`, `gte`, `contains`
    /// or `exists`.
    pub operator: String,
    /// A text or a list of texts; texts may hold `${consumer.id}`, `${user.id}`,
    /// `${user.email}`, `${agent.id}`, and `${claims.x}` for a claim of the caller's token.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
}

/// What a Rego policy's verdict is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It is evaluated and recorded, and changes nothing.
    Shadow,
    /// It is not even evaluated.
    Off,
}

/// One Rego module with its data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegoSource {
    /// Unique; policies are evaluated in the order of their names.
    pub name: String,
    /// The module.
    pub source: String,
    /// Where it was read from, for messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A JSON object that the module sees as `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What its verdict is used for.
    #[serde(default)]
    pub mode: Mode,
}

impl RegoSource {
    /// What is wrong with all of it.
    pub fn error(&self, message: impl Into<String>) -> PolicyError {
        PolicyError::in_source(self.place(), At::START, message)
    }

    /// What messages call it: its file, else its name.
    pub fn place(&self) -> &str {
        self.file.as_deref().unwrap_or(&self.name)
    }
}

/// How policies are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Options {
    /// `globs: full`: a `*` matches anywhere in every pattern. Without it, the
    /// `tool` and `server` patterns of allow rules know only `x*`, `*x` and `*`.
    pub full_globs: bool,
    /// `--compat`: what PetrefiedThunder/mcp-gateway ignores (unknown actions and
    /// operators, invalid regular expressions) is ignored instead of refused.
    pub compat: bool,
    /// Most instructions that one rule of a Rego policy may take.
    pub max_instructions: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { full_globs: false, compat: false, max_instructions: 100_000 }
    }
}
