//! Rules against servers and roles: what can never match, and what nobody can reach.

use super::auth::{Auth, AuthKind};
use super::dialect::Dialect;
use super::lint::Findings;
use super::policies::{Action, RolePolicy, Rule};
use super::rego::{Mode, RegoPolicy};
use super::servers::Server;
use super::spelled;

/// Adds what is odd about the rules, seen together with everything else.
pub(crate) fn check(
    servers: &[Server],
    auth: &Auth,
    policies: &[RolePolicy],
    rego: &[RegoPolicy],
    findings: &mut Findings,
) {
    let rego_may_allow = rego.iter().any(|policy| policy.mode == Mode::Enforce);
    if policies.is_empty() && !rego_may_allow {
        findings
            .warn("no-policy", "policies", "every call is refused: there is no policy that allows any")
            .remedy("add a policy; `doorward init` writes a sample");
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = format!("policies[{index}]");
        if auth.kind == AuthKind::ApiKey && !auth.keys.is_empty() && !is_carried(policy, auth) {
            let message = format!("no key carries a role of `{}`, so its rules match nobody", policy.id);
            findings.warn("role-unused", format!("{path}.roles"), message);
        }
        for (number, rule) in policy.rules.iter().enumerate() {
            check_rule(policy, number, rule, servers, &path, findings);
        }
    }
    for (index, server) in servers.iter().enumerate().filter(|(_, server)| server.enabled && !rego_may_allow)
    {
        let allowing =
            // What a misspelt action was meant to be is not known; it is an error already.
            |rule: &Rule| !matches!(rule.action, Action::Deny | Action::Hide) && names(rule, server);
        if !policies.is_empty() && !policies.iter().flat_map(|policy| &policy.rules).any(allowing) {
            findings
                .warn(
                    "unreachable-server",
                    format!("servers[{index}]"),
                    format!("no rule allows any call to `{}`", server.id),
                )
                .remedy("add a rule that allows something, or set `enabled: false`");
        }
    }
    check_keys(auth, servers, findings);
}

/// Adds names that are spelled as clients see them.
pub(crate) fn check_names(
    servers: &[Server],
    policies: &[RolePolicy],
    dialect: Dialect,
    findings: &mut Findings,
) {
    for (index, policy) in policies.iter().enumerate() {
        for (number, rule) in policy.rules.iter().enumerate() {
            for (key, pattern) in [("tool", &rule.tool), ("prompt", &rule.prompt)] {
                let Some(pattern) = pattern else { continue };
                let path = format!("policies[{index}].rules[{number}].{key}");
                spelled::check(pattern, &path, true, servers, dialect, findings);
            }
        }
    }
    for (index, server) in servers.iter().enumerate() {
        for (number, pattern) in server.disable.iter().enumerate() {
            let path = format!("servers[{index}].disable[{number}]");
            spelled::check(pattern, &path, false, servers, dialect, findings);
        }
    }
}

fn check_rule(
    policy: &RolePolicy,
    number: usize,
    rule: &Rule,
    servers: &[Server],
    path: &str,
    findings: &mut Findings,
) {
    if let Some(glob) = &rule.server
        && !servers.is_empty()
        && !servers.iter().any(|server| names(rule, server))
    {
        let message = format!("no server matches `{glob}`, so this rule never matches");
        findings.warn("rule-never-matches", format!("{path}.rules[{number}].server"), message);
    } else if let Some(earlier) = policy
        .rules
        .iter()
        .enumerate()
        .position(|(at, other)| comes_first(other, at, rule, number) && covers(other, rule))
    {
        let message = format!("rule {} of this policy decides every call that this one matches", earlier + 1);
        findings
            .warn("rule-never-matches", format!("{path}.rules[{number}]"), message)
            .remedy("remove one of them, or put this one first");
    }
}

fn check_keys(auth: &Auth, servers: &[Server], findings: &mut Findings) {
    for (index, key) in auth.keys.iter().enumerate() {
        for id in key.settings.servers.iter().flatten() {
            if !servers.iter().any(|server| server.id == *id) {
                let path = format!("auth.keys[{index}].servers");
                findings.warn("unknown-server", path, format!("there is no server `{id}`"));
            }
        }
    }
}

fn is_carried(policy: &RolePolicy, auth: &Auth) -> bool {
    let carried = |role: &String| auth.keys.iter().any(|key| key.settings.roles.contains(role));
    policy.roles.is_empty() || policy.roles.iter().any(|role| role == "*" || carried(role))
}

fn names(rule: &Rule, server: &Server) -> bool {
    rule.server.as_deref().is_none_or(|glob| matches(glob, server.id.as_str()))
}

/// `*`, a trailing `*`, a leading `*`, or the text itself.
fn matches(glob: &str, text: &str) -> bool {
    match (glob.strip_suffix('*'), glob.strip_prefix('*')) {
        (Some(start), _) => text.starts_with(start),
        (None, Some(end)) => text.ends_with(end),
        (None, None) => glob == text,
    }
}

/// Whether `earlier` is asked before `rule`: the more specific first, then file order.
fn comes_first(earlier: &Rule, at: usize, rule: &Rule, number: usize) -> bool {
    let specificity = |rule: &Rule| {
        let counts = |glob: &Option<String>| glob.as_deref().is_some_and(|glob| glob != "*");
        usize::from(counts(&rule.server)) + usize::from(counts(&rule.tool))
    };
    (specificity(rule), at) < (specificity(earlier), number)
}

/// Whether `earlier` matches, without conditions, whatever `rule` matches.
fn covers(earlier: &Rule, rule: &Rule) -> bool {
    let plain = |rule: &Rule| rule.resource.is_none() && rule.prompt.is_none();
    earlier.conditions.is_empty()
        && plain(earlier)
        && plain(rule)
        && glob_covers(earlier.server.as_deref(), rule.server.as_deref())
        // A rule without `tool` speaks of resources and prompts as well.
        && (rule.tool.is_some() || earlier.tool.is_none())
        && glob_covers(earlier.tool.as_deref(), rule.tool.as_deref())
}

/// Whether every text that `inner` matches is matched by `outer`.
fn glob_covers(outer: Option<&str>, inner: Option<&str>) -> bool {
    let (Some(outer), Some(inner)) = (outer.filter(|glob| *glob != "*"), inner) else {
        return outer.is_none_or(|glob| glob == "*");
    };
    match (outer.strip_suffix('*'), outer.strip_prefix('*')) {
        (Some(start), _) => {
            !inner.starts_with('*') && inner.strip_suffix('*').unwrap_or(inner).starts_with(start)
        }
        (None, Some(end)) => !inner.ends_with('*') && inner.strip_prefix('*').unwrap_or(inner).ends_with(end),
        (None, None) => outer == inner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_cover_what_they_match_altogether() {
        let cases = [
            // outer        inner           covered
            (None, Some("get_*"), true),
            (Some("*"), None, true),
            (Some("get_*"), None, false),
            (Some("get_*"), Some("get_x"), true),
            (Some("get_*"), Some("get_a*"), true),
            (Some("get_a*"), Some("get_*"), false),
            (Some("get_*"), Some("*_x"), false),
            (Some("*_x"), Some("get_x"), true),
            (Some("*_x"), Some("*a_x"), true),
            (Some("*_x"), Some("get_*"), false),
            (Some("get"), Some("get"), true),
            (Some("get"), Some("get*"), false),
            (Some("get_*"), Some("*"), false),
        ];
        for (outer, inner, expected) in cases {
            assert_eq!(glob_covers(outer, inner), expected, "{outer:?} {inner:?}");
        }
    }
}
