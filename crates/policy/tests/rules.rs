//! Role rules beyond compatibility: what is ours.

mod world;

use doorward_model::{CapabilityKind, Operation, Verdict};
use doorward_policy::Options;
use serde_json::json;
use world::{World, compile, rego, roles, set};

fn one_policy(rules: serde_json::Value) -> serde_json::Value {
    json!([{"id": "p", "name": "Policy", "roles": ["*"], "rules": rules}])
}

#[test]
fn a_rule_speaks_of_what_it_names() {
    let rules = one_policy(json!([
        {"tool": "get_*", "action": "allow"},
        {"resource": "file:///public/*", "action": "allow"},
        {"prompt": "sum*", "action": "approve"},
        {"server": "vault", "action": "allow"},
    ]));
    let set = set(roles(rules), vec![]);
    let nothing = "deny | default_deny | No matching policy rules (default deny)";
    let cases = [
        (Operation::ToolsCall, "github", "get_x", "allow"),
        (Operation::ToolsCall, "github", "summarise", nothing),
        (Operation::ResourcesRead, "github", "file:///public/a", "allow"),
        (Operation::ResourcesSubscribe, "github", "file:///public/a", "allow"),
        (Operation::ResourcesRead, "github", "file:///secret", nothing),
        (Operation::ResourcesRead, "github", "get_x", nothing),
        (
            Operation::PromptsGet,
            "github",
            "summarise",
            "approve | Approval required by policy \"Policy\": sum* on *",
        ),
        (
            Operation::CompletionComplete,
            "github",
            "summarise",
            "approve | Approval required by policy \"Policy\": sum* on *",
        ),
        (Operation::ResourcesRead, "vault", "file:///secret", "allow"),
        (Operation::PromptsGet, "vault", "any", "allow"),
    ];
    for (operation, server, target, expected) in cases {
        let world = World::new(target).on(server).doing(operation);
        assert_eq!(world.line(&set), expected, "{operation} {target} on {server}");
    }
}

#[test]
fn a_completion_is_judged_as_what_it_is_for_whatever_that_is_called() {
    use CapabilityKind::{Prompt, ResourceTemplate};
    let rules = json!([{"resource": "*", "action": "allow"}, {"prompt": "*", "action": "deny"}]);
    let by_rules = set(roles(one_policy(rules)), vec![]);
    let by_rego = set(
        vec![],
        vec![rego(
            "p",
            "package p\nallow if input.resource.uri != \"\"\ndeny contains \"no\" if input.prompt != \"\"",
        )],
    );
    for set in [by_rules, by_rego] {
        for (kind, name, expected) in [
            (Prompt, "file:///admin", "deny"),
            (Prompt, "admin", "deny"),
            (ResourceTemplate, "{+path}", "allow"),
            (ResourceTemplate, "file:///{path}", "allow"),
        ] {
            let world = World::new(name).doing(Operation::CompletionComplete).about(kind);
            assert!(world.line(&set).starts_with(expected), "{kind:?} {name}: {}", world.line(&set));
        }
    }
}

#[test]
fn a_wrong_type_opens_no_door_and_closes_one() {
    let cap = |action: &str| json!({"action": action, "tool": "refund", "conditions": [{"param": "amount", "operator": "gt", "value": "100"}]});
    let denies = set(roles(one_policy(json!([cap("deny"), {"action": "allow"}]))), vec![]);
    let allows = set(roles(one_policy(json!([cap("allow")]))), vec![]);
    for (arguments, denied, allowed) in [
        (r#"{"amount":101}"#, true, true),
        (r#"{"amount":100}"#, false, false),
        (r#"{"amount":"101"}"#, true, false),
        (r#"{"amount":[101]}"#, true, false),
        (r#"{}"#, false, false),
    ] {
        let world = World::new("refund").with(arguments);
        assert_eq!(world.line(&denies) != "allow", denied, "deny rule on {arguments}");
        assert_eq!(world.line(&allows) == "allow", allowed, "allow rule on {arguments}");
    }
}

#[test]
fn nothing_undoes_a_hide_that_stands_before_every_other_certain_rule() {
    let rules = json!([
        {"tool": "x", "action": "allow", "conditions": [{"param": "a", "operator": "eq", "value": "1"}]},
        {"tool": "x", "action": "hide"},
        {"action": "allow"},
    ]);
    let set = set(roles(one_policy(rules)), vec![]);
    for arguments in [r#"{"a":1}"#, "{}"] {
        assert_eq!(World::new("x").with(arguments).line(&set), "hide | Hidden by policy \"Policy\": x on *");
    }
    assert!(!World::new("x").lists(&set).shown);
    assert!(World::new("y").lists(&set).shown);
}

#[test]
fn a_list_shows_what_some_arguments_could_reach() {
    let condition = json!([{"param": "a", "operator": "eq", "value": "1"}]);
    let cases = [
        (json!([{"action": "deny"}]), false, "denied whatever the arguments"),
        (json!([{"action": "deny", "conditions": condition}, {"action": "allow"}]), true, "denied for some"),
        (json!([{"action": "deny", "conditions": condition}]), false, "denied for some, allowed for none"),
        (json!([{"action": "allow", "conditions": condition}, {"action": "deny"}]), true, "allowed for some"),
        (json!([{"action": "approve"}]), true, "a human may approve"),
        (json!([]), false, "nobody allows it"),
    ];
    for (rules, shown, because) in cases {
        let set = set(roles(one_policy(rules)), vec![]);
        assert_eq!(World::new("t").lists(&set).shown, shown, "{because}");
    }
}

#[test]
fn an_inner_star_restricts_fully_and_allows_only_when_asked_to() {
    let rules = |action: &str| roles(one_policy(json!([{"tool": "*secret*", "action": action}])));
    let world = World::new("read_secret_file");
    let (denying, warnings) = compile(rules("deny"), vec![], &Options::default()).expect("valid");
    assert_eq!(world.line(&denying), "deny | Denied by policy \"Policy\": *secret* on *");
    assert!(warnings.is_empty());
    let (allowing, warnings) = compile(rules("allow"), vec![], &Options::default()).expect("valid");
    assert_eq!(world.decide(&allowing).decision.verdict, Verdict::Deny);
    assert_eq!(warnings[0].place, "policies[0].rules[0].tool");
    let full = Options { full_globs: true, ..Options::default() };
    let (allowing, warnings) = compile(rules("allow"), vec![], &full).expect("valid");
    assert_eq!(world.line(&allowing), "allow");
    assert!(warnings.is_empty());
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let policies = json!([
        {"id": "a", "roles": [], "rules": [{"action": "alow"}, {"action": "hide", "conditions": [{"param": "x", "operator": "exists"}]}]},
        {"id": "a", "roles": [], "rules": [{"action": "deny", "conditions": [{"param": "x", "operator": "regex", "value": "(?i)x"}]}]},
    ]);
    let errors = compile(roles(policies.clone()), vec![], &Options::default()).expect_err("mistakes");
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "policies[0].rules[0].action: `alow` is no action; did you mean `allow`?",
            "policies[0].rules[1].conditions: a `hide` rule cannot have conditions, because a list could not know them; use `deny`",
            "policies[1].id: `a` is used twice",
            "policies[1].rules[0].conditions[0].value: `(?i)x` has a `(?` that JavaScript does not know",
        ]
    );
}

#[test]
fn the_pointer_names_policy_and_rule() {
    let rules = json!([{"tool": "*", "action": "deny"}, {"tool": "get_x", "action": "allow"}]);
    let set = set(roles(one_policy(rules)), vec![]);
    let allowed = World::new("get_x").decide(&set).decision;
    assert_eq!((allowed.rule.as_deref(), allowed.reasons.len()), (Some("rules/p#/rules/1"), 0));
    let denied = World::new("set_x").decide(&set).decision;
    assert_eq!(denied.rule.as_deref(), Some("rules/p#/rules/0"));
}

#[test]
fn roles_of_the_person_count_like_roles_of_the_grant() {
    let policies = json!([{"id": "p", "roles": ["admin"], "rules": [{"action": "allow"}]}]);
    let set = set(roles(policies), vec![]);
    let mut world = World::new("t").carrying(&["*"]);
    assert_ne!(world.line(&set), "allow", "a caller's `*` is a role like any other");
    world.caller.person.as_mut().expect("ana").roles = vec!["admin".into()];
    assert_eq!(world.line(&set), "allow");
}
