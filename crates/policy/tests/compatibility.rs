//! Facts recorded from the other gateway: same rules, same call, same answer.

mod world;

use doorward_policy::Options;
use serde_json::{Value, json};
use world::{World, compile, line, roles, set};

fn vectors(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("vectors.json")).expect("the vectors are JSON");
    all[section].as_array().expect(section).clone()
}

fn as_they_do() -> Options {
    Options { compat: true, ..Options::default() }
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// What our decision must read when theirs was this.
fn expected(vector: &Value) -> String {
    match (vector["allowed"].as_bool(), vector["reason"].as_str()) {
        (Some(true), _) => "allow".to_owned(),
        // Where they find no rule, our layer abstains, and then everybody did.
        (_, Some(reason)) if reason.starts_with("No matching") => format!("deny | default_deny | {reason}"),
        (_, reason) => format!("deny | {}", reason.expect("a denial has a reason")),
    }
}

#[test]
fn every_recorded_decision_is_reached_with_its_reason() {
    for vector in vectors("policy") {
        let (set, _) = compile(roles(vector["policies"].clone()), vec![], &as_they_do()).expect("valid");
        let mut world = World::new(vector["tool"].as_str().expect("tool"))
            .on(vector["server"].as_str().expect("server"))
            .carrying(&texts(&vector["roles"]));
        let decision = if vector["args_present"] == json!(true) {
            world = world.with(&vector["args"].to_string());
            world.decide(&set).decision
        } else {
            world.lists(&set).decision
        };
        assert_eq!(line(&decision), expected(&vector), "{vector}");
    }
}

#[test]
fn the_published_configurations_decide_as_published() {
    for (policies, cases) in [("readmePolicies", "readme"), ("examplePolicies", "example")] {
        let set = set(roles(Value::Array(vectors(policies))), vec![]);
        for vector in vectors(cases) {
            let world = World::new(vector["tool"].as_str().expect("tool"))
                .on(vector["server"].as_str().expect("server"))
                .carrying(&texts(&vector["roles"]));
            assert_eq!(world.line(&set), expected(&vector), "{cases}: {vector}");
            let listed = world.lists(&set);
            assert_eq!(listed.shown, vector["allowed"] == json!(true), "{cases} listed: {vector}");
        }
    }
}

#[test]
fn every_recorded_glob_matches_what_it_matched() {
    for vector in vectors("glob") {
        let pattern = vector["pattern"].as_str().expect("pattern");
        if pattern.is_empty() {
            // In a rule, an empty text counts as left out.
            continue;
        }
        let rule = json!([{"id": "p", "roles": ["*"], "rules": [{"tool": pattern, "action": "allow"}]}]);
        let set = set(roles(rule), vec![]);
        let world = World::new(vector["value"].as_str().expect("value")).with("{}");
        assert_eq!(world.line(&set) == "allow", vector["match"] == json!(true), "{vector}");
    }
}

#[test]
fn every_recorded_condition_is_met_as_it_was() {
    for vector in vectors("condition") {
        let condition = json!({"param": "p", "operator": vector["operator"], "value": vector["value"]});
        let rule =
            json!([{"id": "p", "roles": ["*"], "rules": [{"action": "allow", "conditions": [condition]}]}]);
        let (set, _) = compile(roles(rule), vec![], &as_they_do()).expect("valid");
        let world = World::new("t").with(&vector["args"].to_string());
        assert_eq!(world.line(&set) == "allow", vector["met"] == json!(true), "{vector}");
    }
}
