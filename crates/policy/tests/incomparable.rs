//! Arguments that hold an integer beyond ±(2^53−1): no policy compares them. Who would look
//! at arguments refuses the call; who does not decides as ever.

mod world;

use doorward_policy::{Mode, PolicySet, RegoSource, RolePolicy, Ruling, simulate};
use serde_json::json;
use world::{World, json as document, line, rego, roles, set};

const BEYOND: &str = r#"{"account":9007199254740993,"branch":"main"}"#;
const SAFE: &str = r#"{"account":9007199254740991,"branch":"main"}"#;
const REFUSED: &str = "deny | the arguments hold an integer beyond ±(2^53−1), which no policy may compare, \
    and a policy looks at them";

fn rules(rules: serde_json::Value) -> Vec<RolePolicy> {
    roles(json!([{"id": "r", "name": "R", "roles": ["reader"], "rules": rules}]))
}

/// The ruling on a call of `tool`, and on what its record holds.
fn ruled(set: &PolicySet, tool: &str, arguments: &str) -> Ruling {
    let world = World::new(tool).with(arguments);
    let ruling = world.decide(set);
    let again = simulate(set, document(&world.document(set)).root()).expect("an input document");
    assert_eq!(again, ruling, "what is recorded decides as it did: {tool} {arguments}");
    ruling
}

#[test]
fn a_rule_with_conditions_refuses_them_whichever_argument_it_names() {
    let condition = |param: &str, operator: &str| json!([{"param": param, "operator": operator, "value": 1}]);
    let is_absent = json!([{"param": "none", "operator": "exists", "value": false}]);
    let cases = [
        // the rules, safe arguments, others
        (json!([{"action": "allow"}]), "allow", "allow"),
        (
            json!([{"action": "deny"}]),
            "deny | Denied by policy \"R\": * on *",
            "deny | Denied by policy \"R\": * on *",
        ),
        (
            json!([{"action": "hide"}]),
            "hide | Hidden by policy \"R\": * on *",
            "hide | Hidden by policy \"R\": * on *",
        ),
        (
            json!([{"tool": "pay", "action": "deny", "conditions": condition("account", "eq")}, {"action": "allow"}]),
            "allow",
            REFUSED,
        ),
        (json!([{"action": "allow", "conditions": condition("account", "gt")}]), "allow", REFUSED),
        (json!([{"action": "allow", "conditions": condition("branch", "neq")}]), "allow", REFUSED),
        (json!([{"action": "allow", "conditions": is_absent}, {"action": "allow"}]), "allow", REFUSED),
        // Rules that this call never comes to.
        (
            json!([{"tool": "other", "action": "deny", "conditions": condition("account", "eq")}, {"action": "allow"}]),
            "allow",
            "allow",
        ),
        (
            json!([{"tool": "pay", "action": "allow"}, {"action": "deny", "conditions": condition("account", "eq")}]),
            "allow",
            "allow",
        ),
        // Whoever is to see nothing sees nothing.
        (
            json!([{"tool": "pay", "action": "allow", "conditions": condition("account", "gt")}, {"action": "hide"}]),
            "hide | Hidden by policy \"R\": * on *",
            "hide | Hidden by policy \"R\": * on *",
        ),
    ];
    for (written, safe, beyond) in cases {
        let set = set(rules(written.clone()), vec![]);
        assert_eq!(line(&ruled(&set, "pay", SAFE).decision), safe, "{written}");
        assert_eq!(line(&ruled(&set, "pay", BEYOND).decision), beyond, "{written}");
    }
}

#[test]
fn however_it_is_spelled_it_is_treated_alike() {
    let condition = json!([{"param": "account", "operator": "gt", "value": 1}]);
    let set = set(rules(json!([{"action": "allow", "conditions": condition}])), vec![]);
    for spelled in ["90000000000000000", "90e15", "9e+16", "90000000000000000.0", "9007199254740992.5"] {
        let ruling = ruled(&set, "pay", &format!(r#"{{"account":{spelled}}}"#));
        assert_eq!(line(&ruling.decision), REFUSED, "{spelled}");
    }
    for spelled in ["9e15", "9007199254740991.0"] {
        let ruling = ruled(&set, "pay", &format!(r#"{{"account":{spelled}}}"#));
        assert_eq!(line(&ruling.decision), "allow", "{spelled}");
    }
}

#[test]
fn the_refusal_names_the_rule_that_looks() {
    let conditional =
        json!([{"action": "allow", "conditions": [{"param": "a", "operator": "eq", "value": 1}]}]);
    let ruling = ruled(&set(rules(conditional), vec![]), "pay", BEYOND);
    assert_eq!(ruling.decision.rule.as_deref(), Some("rules/r#/rules/0"));
    assert_eq!(ruling.evaluator, "rules");
    let module = rego(
        "p",
        "package p\nallow if true\ndeny contains \"no\" if input.arguments.account == 9007199254740992",
    );
    let ruling = ruled(&set(vec![], vec![module]), "pay", BEYOND);
    let rule = ruling.decision.rule.expect("a pointer");
    assert!(rule.starts_with("policy/p@sha256:") && rule.ends_with("#deny"), "{rule}");
    assert!(ruling.evaluator.starts_with("regorus/"));
}

#[test]
fn a_rego_policy_that_sees_arguments_refuses_them_in_shadow_too() {
    let allow = || rules(json!([{"action": "allow"}]));
    let shadow = |source: &str| RegoSource { mode: Mode::Shadow, ..rego("p", source) };
    let off = |source: &str| RegoSource { mode: Mode::Off, ..rego("p", source) };
    let looks = "package p\ndeny contains \"no\" if input.arguments.account == 9007199254740992";
    let cases = [
        (rego("p", looks), REFUSED),
        (shadow(looks), REFUSED),
        (off(looks), "allow"),
        (rego("p", "package p\ndeny contains \"no\" if input.arguments.branch == \"dev\""), REFUSED),
        (rego("p", "package p\ndeny contains \"no\" if count(input) == 0"), REFUSED),
        (rego("p", "package p\nredact contains \"/account\" if input.arguments.account"), REFUSED),
        (rego("p", "package p\ndeny contains \"no\" if input.tool == \"pay\""), "deny | no"),
        (rego("p", "package p\ndeny contains \"no\" if input.tool == \"other\""), "allow"),
        (rego("p", &format!("{looks}\nhide contains \"gone\" if input.tool == \"pay\"")), "hide | gone"),
    ];
    for (module, expected) in cases {
        let source = module.source.clone();
        let set = set(allow(), vec![module]);
        assert_eq!(line(&ruled(&set, "pay", BEYOND).decision), expected, "{source}");
        let shadows = ruled(&set, "pay", BEYOND).shadow;
        assert!(expected != REFUSED || shadows.is_empty(), "nobody was asked: {shadows:?}");
    }
}

#[test]
fn what_is_digested_tells_neighbours_apart() {
    let set = set(rules(json!([{"action": "allow"}])), vec![]);
    let digest =
        |arguments: &str| World::new("pay").with(arguments).ask(|inquiry| set.input_document(inquiry));
    assert_ne!(digest(r#"{"a":9007199254740992}"#), digest(r#"{"a":9007199254740993}"#));
    assert_ne!(digest(r#"{"a":12345678901234567890123}"#), digest(r#"{"a":12345678901234567890124}"#));
    assert!(World::new("pay").with(BEYOND).document(&set).contains(r#""account":9007199254740993"#));
}
