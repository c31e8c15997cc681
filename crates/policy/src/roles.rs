//! Layer 4: role rules, in the order and with the words that configurations
//! written for PetrefiedThunder/mcp-gateway rely on.
//!
//! Of all rules of the caller's roles that match server and target, the most
//! specific whose conditions hold decides; among equally specific ones the first
//! in the file. So order and specificity decide, and a deny rule does not beat a
//! more specific allow rule. One thing is ours: `hide` has no conditions, and when
//! the first rule *without* conditions hides, nothing before it can undo that;
//! otherwise a list would have to know the arguments.

mod condition;
mod glob;
mod regex;
mod text;

use std::collections::BTreeSet;

use doorward_model::json::Value;
use doorward_model::{Caller, ServerId, Verdict};

use crate::config;
use crate::facts::{Inquiry, Kind};
use crate::problem::{PolicyError, Warning, hint};
use condition::{Condition, Met};
use glob::{Glob, is_odd};

const ACTIONS: [&str; 4] = ["allow", "deny", "hide", "approve"];

/// The reason when no rule matched.
const NO_MATCHING_RULES: &str = "No matching policy rules (default deny)";
/// The reason when rules matched and no conditions held.
const NO_MATCHING_RULE: &str = "No matching rule";

/// All role policies, compiled.
#[derive(Debug, Default)]
pub(crate) struct RoleRules {
    policies: Vec<Applies>,
    rules: Vec<Rule>,
    /// Positions in `rules` of those that can speak about this kind of target,
    /// most specific first, then in file order.
    tools: Vec<usize>,
    resources: Vec<usize>,
    prompts: Vec<usize>,
    hides: bool,
}

/// To whom a policy applies.
#[derive(Debug)]
struct Applies {
    to_all: bool,
    roles: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    policy: usize,
    server: Option<Glob>,
    tool: Option<Glob>,
    resource: Option<Glob>,
    prompt: Option<Glob>,
    /// `None` for an action nobody knows, which never decides.
    action: Option<Verdict>,
    conditions: Vec<Condition>,
    policy_name: String,
    pointer: String,
}

/// The claims that conditions of these policies name (`${claims.x}`), sorted.
pub fn claims_named(policies: &[config::RolePolicy]) -> Vec<String> {
    let rules = policies.iter().flat_map(|policy| &policy.rules);
    let named = rules.flat_map(|rule| &rule.conditions).flat_map(condition::claims_of);
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What the role rules say about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A rule decided.
    Spoke { verdict: Verdict, reason: String, pointer: String },
    /// No rule did; the words that the other gateway denies with.
    Nothing(&'static str),
}

/// What the role rules can say about calls whose arguments are not known yet.
#[derive(Clone, Debug)]
pub(crate) struct Outlook {
    /// What they say when every condition is taken as met.
    pub(crate) unconditional: Said,
    /// Some arguments lead to `allow` or `approve`.
    pub(crate) may_allow: bool,
    /// Some arguments leave the decision to others.
    pub(crate) may_abstain: bool,
}

impl RoleRules {
    /// Compiles all policies, collecting every error.
    pub(crate) fn compile(
        written: &[config::RolePolicy],
        options: &config::Options,
        warnings: &mut Vec<Warning>,
        errors: &mut Vec<PolicyError>,
    ) -> Self {
        let mut compiled = Self::default();
        let mut ids = BTreeSet::new();
        for (at, policy) in written.iter().enumerate() {
            if !ids.insert(policy.id.as_str()) {
                errors.push(PolicyError::new(
                    format!("policies[{at}].id"),
                    format!("`{}` is used twice", policy.id),
                ));
            }
            compiled
                .policies
                .push(Applies { to_all: policy.roles.iter().any(|r| r == "*"), roles: policy.roles.clone() });
            for (nth, rule) in policy.rules.iter().enumerate() {
                let place = format!("policies[{at}].rules[{nth}]");
                match compile_rule(rule, policy, at, nth, &place, options, warnings) {
                    Ok(rule) => compiled.rules.push(rule),
                    Err(error) => errors.push(error),
                }
            }
        }
        compiled.hides = compiled.rules.iter().any(|rule| rule.action == Some(Verdict::Hide));
        compiled.tools = compiled.sorted(Kind::Tool);
        compiled.resources = compiled.sorted(Kind::Resource);
        compiled.prompts = compiled.sorted(Kind::Prompt);
        compiled
    }

    /// Whether there are role policies at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The verdict on a call.
    pub(crate) fn decide(&self, inquiry: &Inquiry<'_>) -> Said {
        let arguments = inquiry.known_arguments();
        let mut matched = false;
        let mut decided: Option<&Rule> = None;
        for rule in self.matching(inquiry) {
            matched = true;
            let unconditional = rule.conditions.is_empty();
            if unconditional && rule.action == Some(Verdict::Hide) {
                return rule.say(inquiry.target.kind);
            }
            if decided.is_none() && rule.action.is_some() && rule.holds(arguments, inquiry.caller) {
                decided = Some(rule);
            }
            if decided.is_some() && (unconditional || !self.hides) {
                break;
            }
        }
        decided.map_or_else(|| nothing(matched), |rule| rule.say(inquiry.target.kind))
    }

    /// What calls can expect, whatever their arguments.
    pub(crate) fn outlook(&self, inquiry: &Inquiry<'_>) -> Outlook {
        let (mut first, mut certain) = (None, None);
        let (mut matched, mut may_allow) = (false, false);
        for rule in self.matching(inquiry) {
            matched = true;
            let Some(action) = rule.action else { continue };
            first = first.or(Some(rule));
            if rule.conditions.is_empty() {
                certain = Some((rule, action));
                break;
            }
            may_allow |= action <= Verdict::Approve;
        }
        if let Some((rule, Verdict::Hide)) = certain {
            return Outlook {
                unconditional: rule.say(inquiry.target.kind),
                may_allow: false,
                may_abstain: false,
            };
        }
        Outlook {
            unconditional: first.map_or_else(|| nothing(matched), |rule| rule.say(inquiry.target.kind)),
            may_allow: may_allow || certain.is_some_and(|(_, action)| action <= Verdict::Approve),
            may_abstain: certain.is_none(),
        }
    }

    /// The pointer of the rule that is asked first about a call, if it looks at arguments.
    /// One without conditions decides by itself, whatever stands behind it.
    pub(crate) fn looks_at_arguments<'s>(&'s self, inquiry: &Inquiry<'s>) -> Option<&'s str> {
        let first = self.matching(inquiry).find(|rule| rule.action.is_some())?;
        (!first.conditions.is_empty()).then_some(&first.pointer)
    }

    /// Whether some rule of the caller's could allow something on this server.
    pub(crate) fn may_allow(&self, caller: &Caller, server: &ServerId) -> bool {
        self.rules.iter().any(|rule| {
            rule.action.is_some_and(|action| action <= Verdict::Approve)
                && rule.server.as_ref().is_none_or(|glob| glob.matches(server.as_str()))
                && self.policies[rule.policy].applies_to(caller)
        })
    }

    /// Whether some rule of the caller's hides something on this server.
    pub(crate) fn may_hide(&self, caller: &Caller, server: &ServerId) -> bool {
        self.hides
            && self.rules.iter().any(|rule| {
                rule.action == Some(Verdict::Hide)
                    && rule.server.as_ref().is_none_or(|glob| glob.matches(server.as_str()))
                    && self.policies[rule.policy].applies_to(caller)
            })
    }

    /// The rules that match, in the order in which they are asked.
    fn matching<'s>(&'s self, inquiry: &Inquiry<'s>) -> impl Iterator<Item = &'s Rule> + use<'s> {
        let (kind, server, target) = (inquiry.target.kind, inquiry.server.id.as_str(), inquiry.target.name);
        let applies: Vec<bool> =
            self.policies.iter().map(|policy| policy.applies_to(inquiry.caller)).collect();
        let candidates = match kind {
            Kind::Tool => &self.tools,
            Kind::Resource => &self.resources,
            Kind::Prompt => &self.prompts,
        };
        candidates
            .iter()
            .map(|at| &self.rules[*at])
            .filter(move |rule| applies[rule.policy] && rule.matches(kind, server, target))
    }

    fn sorted(&self, kind: Kind) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.rules.len()).filter(|at| self.rules[*at].speaks_of(kind)).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.rules[*at].specificity(kind)));
        order
    }
}

impl Applies {
    fn applies_to(&self, caller: &Caller) -> bool {
        let carried = |role: &String| self.roles.contains(role);
        self.to_all
            || caller.grant.roles.iter().any(carried)
            || caller.person.as_ref().is_some_and(|person| person.roles.iter().any(carried))
    }
}

impl Rule {
    fn target(&self, kind: Kind) -> Option<&Glob> {
        match kind {
            Kind::Tool => self.tool.as_ref(),
            Kind::Resource => self.resource.as_ref(),
            Kind::Prompt => self.prompt.as_ref(),
        }
    }

    fn speaks_of(&self, kind: Kind) -> bool {
        let restricted = self.tool.is_some() || self.resource.is_some() || self.prompt.is_some();
        !restricted || self.target(kind).is_some()
    }

    fn matches(&self, kind: Kind, server: &str, target: &str) -> bool {
        self.server.as_ref().is_none_or(|glob| glob.matches(server))
            && self.target(kind).is_none_or(|glob| glob.matches(target))
    }

    /// A glob such as `get_*` counts as much as a name; conditions do not count.
    fn specificity(&self, kind: Kind) -> usize {
        [self.server.as_ref(), self.target(kind)].into_iter().flatten().filter(|glob| !glob.is_any()).count()
    }

    fn holds(&self, arguments: Option<Value<'_>>, caller: &Caller) -> bool {
        let when_unclear = self.action != Some(Verdict::Allow);
        self.conditions.iter().all(|condition| match condition.holds(arguments, caller) {
            Met::Yes => true,
            Met::No => false,
            Met::Unclear => when_unclear,
        })
    }

    fn say(&self, kind: Kind) -> Said {
        let verdict = self.action.unwrap_or(Verdict::Deny);
        let word = match verdict {
            Verdict::Allow => "Allowed",
            Verdict::Approve => "Approval required",
            Verdict::Deny => "Denied",
            Verdict::Hide => "Hidden",
        };
        let written = |glob: Option<&Glob>| glob.map_or("*", Glob::as_str).to_owned();
        let reason = match verdict {
            Verdict::Allow => String::new(),
            _ => format!(
                "{word} by policy \"{}\": {} on {}",
                self.policy_name,
                written(self.target(kind)),
                written(self.server.as_ref())
            ),
        };
        Said::Spoke { verdict, reason, pointer: self.pointer.clone() }
    }
}

fn nothing(matched: bool) -> Said {
    Said::Nothing(if matched { NO_MATCHING_RULE } else { NO_MATCHING_RULES })
}

fn compile_rule(
    written: &config::Rule,
    policy: &config::RolePolicy,
    at: usize,
    nth: usize,
    place: &str,
    options: &config::Options,
    warnings: &mut Vec<Warning>,
) -> Result<Rule, PolicyError> {
    let known = if options.compat { &ACTIONS[..2] } else { &ACTIONS[..] };
    let action = match written.action.as_str() {
        word if !known.contains(&word) => None,
        "allow" => Some(Verdict::Allow),
        "deny" => Some(Verdict::Deny),
        "hide" => Some(Verdict::Hide),
        _ => Some(Verdict::Approve),
    };
    if action.is_none() {
        let message = format!("`{}` is no action{}", written.action, hint(&written.action, ACTIONS));
        if !options.compat {
            return Err(PolicyError::new(format!("{place}.action"), message));
        }
        warnings.push(Warning::new(format!("{place}.action"), format!("{message}; the rule never decides")));
    }
    if action == Some(Verdict::Hide) && !written.conditions.is_empty() {
        let message = "a `hide` rule cannot have conditions, because a list could not know them; use `deny`";
        return Err(PolicyError::new(format!("{place}.conditions"), message));
    }
    // Whatever restricts is read so that it matches most; what allows is read as
    // the other gateway reads it, unless asked otherwise.
    let full = options.full_globs || action != Some(Verdict::Allow);
    let mut glob = |key: &str, text: &Option<String>, full: bool| {
        let text = text.as_deref().filter(|text| !text.is_empty())?;
        if !full && is_odd(text) {
            let message = format!(
                "`{text}` matches only texts that hold the inner `*` itself; set `globs: full` to let it match anything"
            );
            warnings.push(Warning::new(format!("{place}.{key}"), message));
        }
        Some(Glob::new(text, full))
    };
    let (server, tool) = (glob("server", &written.server, full), glob("tool", &written.tool, full));
    let (resource, prompt) =
        (glob("resource", &written.resource, true), glob("prompt", &written.prompt, true));
    let conditions = written.conditions.iter().enumerate().map(|(index, condition)| {
        Condition::compile(condition, &format!("{place}.conditions[{index}]"), options.compat, warnings)
    });
    Ok(Rule {
        policy: at,
        server,
        tool,
        resource,
        prompt,
        action,
        conditions: conditions.collect::<Result<_, _>>()?,
        policy_name: if policy.name.is_empty() { policy.id.clone() } else { policy.name.clone() },
        pointer: format!("rules/{}#/rules/{nth}", policy.id),
    })
}
