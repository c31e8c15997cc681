//! What holds for every policy and every call.

mod world;

use std::sync::LazyLock;

use doorward_model::json::{Document, canonical};
use doorward_model::{Agent, CapabilityKind, Operation, Person, Timestamp, Verdict};
use doorward_policy::{
    Arguments, DefinitionFacts, EarlierCall, Inquiry, Mode, Options, PolicySet, RegoSource, RolePolicy,
    SessionFacts, sha256, simulate,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use world::{World, compile, is_allowed, json as parse, rego, roles, set};

/// Rego policies of every kind of dependence on arguments, beside role rules.
static SETS: LazyLock<Vec<PolicySet>> = LazyLock::new(|| {
    let some_roles = json!([{"id": "r", "roles": ["reader"], "rules": [
        {"tool": "get_*", "action": "allow", "conditions": [{"param": "a", "operator": "neq", "value": "1"}]},
        {"tool": "get_x", "action": "deny", "conditions": [{"param": "b", "operator": "exists"}]},
        {"resource": "file:*", "action": "approve"},
        {"tool": "set_*", "action": "hide"}]}]);
    let sources = [
        "package p\nallow if input.arguments.a == 1",
        "package p\nallow if ok\nok if helper(input.arguments)\nhelper(x) if x.a",
        "package p\nallow if input.tool == \"get_x\"\ndeny contains \"no\" if input.arguments.b",
        "package p\nallow := true\nhide contains \"h\" if input.tool == \"get_y\"",
        "package p\napprove contains \"ask\" if input.arguments.a\nredact contains \"/b\" if input.arguments.b",
        "package p\ndeny contains \"no\" if startswith(input.arguments.a, \"x\")",
        "package p\nallow if { some k; input[k].a }",
        "package p\nhide contains \"h\" if count(input.session.calls) > 1\nallow if input.limits.hour < 3",
    ];
    let mut sets = Vec::new();
    for source in sources {
        for policies in [json!([]), some_roles.clone()] {
            let shadow = RegoSource {
                mode: Mode::Shadow,
                ..rego("s", "package s\ndeny contains \"s\" if input.arguments.a")
            };
            sets.push(set(roles(policies), vec![rego("p", source), shadow]));
        }
    }
    sets
});

/// The same, read back from their bundles.
static AGAIN: LazyLock<Vec<PolicySet>> = LazyLock::new(|| SETS.iter().map(again).collect());

fn again(set: &PolicySet) -> PolicySet {
    PolicySet::from_bundle(set.bundle(), &|_| Ok(())).expect("a bundle")
}

/// A policy whose reason is the whole input that it sees.
static ECHO: LazyLock<PolicySet> =
    LazyLock::new(|| set(vec![], vec![rego("echo", "package echo\ndeny contains json.marshal(input)")]));

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("a".to_owned()),
        Just("reader".to_owned()),
        Just("x@corp.example".to_owned()),
        Just("😀\u{fb33}\"\\\n\u{1}".to_owned()),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // `json.marshal` rounds what has many digits; the numbers themselves are tested apart.
        (-4_000_i32..4_000).prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[abp]", inner, 0..3).prop_map(Value::from_iter),
        ]
    })
}

fn any_arguments() -> impl Strategy<Value = Option<String>> {
    prop::option::of(
        prop::collection::btree_map("[abp]", any_json(), 0..4).prop_map(|m| Value::from_iter(m).to_string()),
    )
}

fn any_texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(any_text(), 0..3)
}

fn any_operation() -> impl Strategy<Value = (Operation, &'static str)> {
    (
        prop::sample::select(&Operation::ALL[..]),
        prop::sample::select(&["get_x", "get_y", "set_x", "file:///a", ""][..]),
    )
}

prop_compose! {
    fn any_world()(
        (operation, target) in any_operation(),
        is_template in any::<bool>(),
        arguments in any_arguments(),
        (email, id, groups, person_roles) in (prop::option::of(any_text()), any_text(), any_texts(), any_texts()),
        (has_person, has_agent, agent) in (any::<bool>(), any::<bool>(), any_text()),
        (grant_roles, scopes, expires) in (any_texts(), any_texts(), prop::option::of(0_u64..2_000_000_000_000_000)),
        (annotations, knows, risk) in (any_json(), any::<bool>(), any_text()),
        session in prop::option::of((any_text(), any_texts(), 0_usize..3)),
        (time, origin, ip) in (0_u64..2_000_000_000_000_000, any_text(), prop::option::of(any::<std::net::IpAddr>())),
        limits in prop::collection::vec((any_text(), any::<u64>()), 0..3),
    ) -> World {
        let mut world = World::new(target).doing(operation);
        // A prompt may be named like a URI, and a template may begin with a variable.
        if operation == Operation::CompletionComplete && is_template && !target.is_empty() {
            world = world.about(CapabilityKind::ResourceTemplate);
        }
        world.arguments = arguments.as_deref().map(parse);
        world.caller.person = has_person.then_some(Person { id, email, groups, roles: person_roles });
        world.caller.agent = has_agent.then_some(Agent { id: agent });
        world.caller.grant.roles = grant_roles;
        world.caller.grant.scopes = scopes;
        world.caller.grant.expires_at = expires.map(Timestamp::from_micros);
        world.definition = knows.then(|| DefinitionFacts::reviewed("f", annotations.to_string().as_bytes(), &risk, "ana"));
        world.session = session.map(|(id, labels, count)| SessionFacts {
            id, labels,
            calls: vec![EarlierCall { backend: "github".into(), tool: "t".into(), verdict: "allow".into(), labels: vec!["l".into()] }; count],
        });
        world.time = Timestamp::from_micros(time);
        world.origin = origin;
        world.ip = ip;
        world.limits = limits;
        world
    }
}

fn any_rule() -> impl Strategy<Value = Value> {
    let glob = |globs: &'static [Option<&'static str>]| prop::sample::select(globs);
    (
        glob(&[None, None, Some("*"), Some("git*"), Some("other")]),
        glob(&[None, Some("*"), Some("get_*"), Some("get_x"), Some("*_x")]),
        glob(&[None, None, Some("file:*")]),
        prop::sample::select(&["allow", "allow", "deny", "hide", "approve"][..]),
        prop::collection::vec((prop::sample::select(&["eq", "neq", "in", "gt", "exists", "contains"][..]), "[abp]"), 0..2),
    )
        .prop_map(|(server, tool, resource, action, conditions)| {
            let conditions: Vec<_> = conditions
                .into_iter()
                .filter(|_| action != "hide")
                .map(|(operator, param)| {
                    let value = match operator {
                        "in" => json!(["a", "1"]),
                        "exists" => json!(true),
                        _ => json!("1"),
                    };
                    json!({"param": param, "operator": operator, "value": value})
                })
                .collect();
            json!({"server": server, "tool": tool, "resource": resource, "action": action, "conditions": conditions})
        })
}

fn any_roles() -> impl Strategy<Value = Vec<RolePolicy>> {
    let policy = (any_texts(), prop::collection::vec(any_rule(), 0..5));
    prop::collection::vec(policy, 0..3).prop_map(|policies| {
        let policies = policies.into_iter().enumerate().map(|(at, (mut to, rules))| {
            to.push(if at == 0 { "*".into() } else { "reader".into() });
            json!({"id": format!("p{at}"), "roles": to, "rules": rules})
        });
        roles(policies.collect())
    })
}

/// Lists and calls of one world under one set.
fn lists_agree(set: &PolicySet, world: &World) -> Result<(), TestCaseError> {
    let (shown, ruling) = (world.lists(set).shown, world.decide(set));
    prop_assert!(shown || !is_allowed(&ruling), "not shown, and yet allowed: {:?}", ruling.decision);
    prop_assert!(
        !shown || ruling.decision.verdict != Verdict::Hide,
        "shown, and yet hidden: {:?}",
        ruling.decision
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_list_never_shows_what_calls_hide_nor_hides_what_calls_allow(policies in any_roles(), world in any_world()) {
        lists_agree(&set(policies, vec![]), &world)?;
    }

    #[test]
    fn nor_does_it_with_rego(world in any_world()) {
        for set in SETS.iter() {
            lists_agree(set, &world)?;
        }
    }

    #[test]
    fn a_recorded_input_decides_as_the_call_did(world in any_world(), policies in any_roles()) {
        let by_rules = set(policies, vec![]);
        let from_bundle = again(&by_rules);
        let read_back = AGAIN.iter().chain([&from_bundle, &*ECHO]);
        for (set, read_back) in SETS.iter().chain([&by_rules, &*ECHO]).zip(read_back) {
            let document = parse(&world.document(set));
            for set in [set, read_back] {
                let again = simulate(set, document.root());
                let again = again.map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(again, world.decide(set));
            }
        }
    }

    #[test]
    fn the_recorded_input_is_canonical_and_exactly_what_rego_saw(world in any_world()) {
        let written = world.document(&ECHO);
        prop_assert_eq!(&canonical(parse(&written).root()), &written);
        // Shown to a policy whatever they hold, so that all kinds of numbers are compared here.
        let known = Arguments::Known(world.arguments.as_ref().map(Document::root));
        let ruling = world.ask(|inquiry| ECHO.decide(&Inquiry { arguments: known, ..*inquiry }));
        let seen = ruling.decision.reasons.first().expect("it denies");
        prop_assert_eq!(regorus::Value::from_json_str(seen).expect("JSON"), regorus::Value::from_json_str(&written).expect("JSON"));
        prop_assert_eq!(world.ask(|inquiry| sha256(ECHO.input_document(inquiry).as_bytes())).len(), 71);
    }
}

#[test]
fn a_policy_sees_whatever_it_names_and_all_of_it() {
    let whole: Value = {
        let world = World::new("t").with(r#"{"a":[1]}"#);
        serde_json::from_str(&world.document(&ECHO)).expect("JSON")
    };
    for (member, expected) in whole.as_object().expect("an object") {
        let ways = [
            format!("deny contains json.marshal(input.{member})"),
            format!("deny contains json.marshal(input[\"{member}\"])"),
            format!("deny contains json.marshal(x) if {{ y := \"{member}\"; x := input[y] }}"),
            format!("import input.{member} as it\ndeny contains json.marshal(it)"),
            format!("deny contains json.marshal(f(input))\nf(i) := i.{member}"),
        ];
        for way in ways {
            let source = format!("package p\n{way}");
            let (set, _) = compile(vec![], vec![rego("p", &source)], &Options::default()).expect(&source);
            let seen = World::new("t").with(r#"{"a":[1]}"#).decide(&set).decision.reasons.remove(0);
            assert_eq!(serde_json::from_str::<Value>(&seen).expect("JSON"), *expected, "{source}");
        }
    }
}

#[test]
fn a_hand_written_input_may_be_short_and_must_be_understood() {
    let policies = json!([{"id": "p", "name": "P", "roles": ["reader"], "rules": [{"tool": "get_*", "action": "allow"}]}]);
    let set = set(
        roles(policies),
        vec![rego("r", "package r\ndeny contains \"not you\" if input.user == \"eve@corp.example\"")],
    );
    let decide = |text: &str| match simulate(&set, parse(text).root()) {
        Ok(ruling) => world::line(&ruling.decision),
        Err(error) => error.to_string(),
    };
    let cases = [
        (r#"{"tool":"get_x","roles":["reader"]}"#, "allow"),
        (r#"{"tool":"get_x","roles":["reader"],"user":"eve@corp.example"}"#, "deny | not you"),
        (r#"{"tool":"get_x"}"#, "deny | default_deny | No matching policy rules (default deny)"),
        ("[]", "`input` is not an object"),
        (r#"{"tool":7}"#, "`tool` is not a text"),
        (r#"{"toool":"x"}"#, "`toool` is not part of an input document; did you mean `tool`?"),
        (
            r#"{"operation":"tools/list"}"#,
            "`operation` is not one of tools/call, resources/read, resources/subscribe, prompts/get, completion/complete",
        ),
        (r#"{"backend":"Git Hub"}"#, "`backend` `Git Hub` cannot be a server id"),
        (r#"{"context":{"time":"noon"}}"#, "`context.time` `noon` is not a time"),
        (r#"{"context":{"ip":"here"}}"#, "`context.ip` is not an IP address"),
        (r#"{"identity":{"grant":{"roles":[1]}}}"#, "`identity.grant.roles[0]` is not a text"),
        (r#"{"limits":{"x":-1}}"#, "`limits.x` is not a count"),
        (r#"{"approval":{"by":"ana"}}"#, "`approval` must be null"),
    ];
    for (text, expected) in cases {
        let line = decide(text);
        assert!(line.starts_with(expected), "{text}: {line}");
    }
}
