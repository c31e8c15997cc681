//! Role rules: `policies`. Who may call what, in the form of the rules' own file.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use super::typed::WrongKind;
use super::{Context, recordable};

/// Rules for those who carry one of its roles.
#[derive(Clone, Debug, PartialEq)]
pub struct RolePolicy {
    /// Its id, the prefix of rule pointers in records.
    pub id: String,
    /// Its name, quoted in refusals; the id unless configured.
    pub name: String,
    /// Roles it is for; `*` for everybody.
    pub roles: Vec<String>,
    /// Its rules in file order.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Glob over server ids; `None` for all.
    pub server: Option<String>,
    /// Glob over tool names; `None` for all.
    pub tool: Option<String>,
    /// Glob over resource URIs.
    pub resource: Option<String>,
    /// Glob over prompt names.
    pub prompt: Option<String>,
    /// What happens to a call that it matches.
    pub action: Action,
    /// What must hold of the arguments, all of it.
    pub conditions: Vec<Condition>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The call goes through.
    Allow,
    /// The call is refused.
    Deny,
    /// To this caller the capability does not exist.
    Hide,
    /// A human must approve the call first.
    Approve,
    /// Nothing: with `--compat`, a word that PetrefiedThunder/mcp-gateway does not know.
    #[serde(skip)]
    Ignored,
}

/// What must hold of one argument.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Name of the argument.
    pub param: String,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub value: serde_json::Value,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Equal as texts.
    Eq,
    /// Not equal as texts.
    Neq,
    /// One of a list.
    In,
    /// None of a list.
    NotIn,
    /// Matched by a regular expression.
    Regex,
    /// Less than a number.
    Lt,
    /// Less than or equal to a number.
    Lte,
    /// Greater than a number.
    Gt,
    /// Greater than or equal to a number.
    Gte,
    /// Contains a text or an element.
    Contains,
    /// Is present, or absent.
    Exists,
    /// Never holds: with `--compat`, a word that PetrefiedThunder/mcp-gateway does not know.
    #[serde(skip)]
    Ignored,
}

/// Rules for those who carry one of its roles.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PolicyFile {
    /// Its id.
    id: String,
    /// Its name, quoted in refusals.
    name: Option<String>,
    /// Roles it is for; `*` for everybody.
    roles: Vec<String>,
    /// Its rules. The most specific one that matches decides, then the first.
    rules: Vec<RuleFile>,
}

/// One rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
struct RuleFile {
    /// Glob over server ids.
    #[serde(default)]
    server: Option<String>,
    /// Glob over tool names.
    #[serde(default)]
    tool: Option<String>,
    /// Glob over resource URIs.
    #[serde(default)]
    resource: Option<String>,
    /// Glob over prompt names.
    #[serde(default)]
    prompt: Option<String>,
    /// What happens to a call that it matches.
    #[schemars(with = "Action")]
    action: String,
    /// What must hold of the arguments, all of it.
    #[serde(default)]
    conditions: Vec<ConditionFile>,
}

/// What must hold of one argument.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, rename = "Condition")]
struct ConditionFile {
    /// Name of the argument.
    param: String,
    /// How it is compared.
    #[schemars(with = "Operator")]
    operator: String,
    /// What it is compared with.
    #[serde(default)]
    value: serde_json::Value,
}

pub(crate) fn build(files: Vec<PolicyFile>, context: &mut Context<'_>) -> Vec<RolePolicy> {
    let mut policies: Vec<RolePolicy> = Vec::with_capacity(files.len());
    for (index, file) in files.into_iter().enumerate() {
        let path = format!("policies[{index}]");
        if file.id.is_empty() {
            context.findings.error("policy", &path, "`id` is missing");
        } else if policies.iter().any(|other| other.id == file.id) {
            context
                .findings
                .error(
                    "duplicate-id",
                    format!("{path}.id"),
                    format!("two policies have the id `{}`", file.id),
                )
                .remedy("rename one of them");
        }
        recordable::name(&file.id, format!("{path}.id"), &mut context.findings);
        if let Some(name) = &file.name {
            recordable::name(name, format!("{path}.name"), &mut context.findings);
        }
        if file.roles.is_empty() {
            context
                .findings
                .warn(
                    "rule-never-matches",
                    format!("{path}.roles"),
                    format!("`{}` is for no role, so nobody", file.id),
                )
                .remedy("name roles, or `\"*\"` for everybody");
        }
        let rules = file.rules.into_iter().enumerate();
        let rules = rules.map(|(rule, file)| read(file, &format!("{path}.rules[{rule}]"), context)).collect();
        policies.push(RolePolicy {
            name: file.name.unwrap_or_else(|| file.id.clone()),
            id: file.id,
            roles: file.roles,
            rules,
        });
    }
    policies
}

fn read(file: RuleFile, path: &str, context: &mut Context<'_>) -> Rule {
    // An empty glob says nothing, as if it were not there.
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let rule = Rule {
        server: given(file.server),
        tool: given(file.tool),
        resource: given(file.resource),
        prompt: given(file.prompt),
        action: word(
            &file.action,
            Action::Ignored,
            format!("{path}.action"),
            "the rule never decides",
            context,
        ),
        conditions: conditions(file.conditions, path, context),
    };
    let globs = [
        ("server", &rule.server),
        ("tool", &rule.tool),
        ("resource", &rule.resource),
        ("prompt", &rule.prompt),
    ];
    for (key, glob) in globs.into_iter().filter_map(|(key, glob)| Some((key, glob.as_deref()?))) {
        warn_of_inner_star(key, glob, rule.action, path, context);
    }
    if rule.action == Action::Approve {
        context.findings.warn(
            "not-supported",
            format!("{path}.action"),
            "nobody can approve calls yet, so these are refused",
        );
    }
    rule
}

fn conditions(files: Vec<ConditionFile>, path: &str, context: &mut Context<'_>) -> Vec<Condition> {
    let each = files.into_iter().enumerate().map(|(index, file)| {
        let at = format!("{path}.conditions[{index}].operator");
        let operator = word(&file.operator, Operator::Ignored, at, "the condition never holds", context);
        Condition { param: file.param, operator, value: file.value }
    });
    each.collect()
}

/// One of the words that there are. Another one is an error; with `--compat`, it is `ignored`.
fn word<T: DeserializeOwned>(
    text: &str,
    ignored: T,
    path: String,
    effect: &str,
    context: &mut Context<'_>,
) -> T {
    let read: Result<T, WrongKind> = T::deserialize(text.into_deserializer());
    read.unwrap_or_else(|wrong| {
        if context.compat {
            context.findings.warn("compat", path, format!("{}: {effect}", wrong.message));
        } else {
            context.findings.error("wrong-kind", path, wrong.message).remedy = wrong.remedy;
        }
        ignored
    })
}

/// A `*` is understood at the end, at the start, or alone. Elsewhere, an allowing rule
/// takes it for a character and a denying one for a wildcard: both on the safe side.
fn warn_of_inner_star(key: &str, glob: &str, action: Action, path: &str, context: &mut Context<'_>) {
    let body = glob.strip_suffix('*').or_else(|| glob.strip_prefix('*')).unwrap_or(glob);
    if !body.contains('*') {
        return;
    }
    let effect = match action {
        Action::Allow | Action::Approve => {
            "this rule takes the other `*` for a plain character and so allows next to nothing"
        }
        Action::Deny | Action::Hide | Action::Ignored => "this rule takes every `*` for a wildcard",
    };
    context
        .findings
        .warn("glob", format!("{path}.{key}"), format!("`{glob}`: {effect}"))
        .remedy("use one `*`, at the start or at the end");
}
