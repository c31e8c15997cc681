//! How long a decision takes. Ignored, because a number is no claim:
//! `cargo test --release -p doorward-policy --test speed -- --ignored --nocapture`.

mod world;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use doorward_policy::{RegoSource, sha256};
use serde_json::json;
use world::{World, rego, roles, set};

const POLICY: &str = r#"package refunds
default allow := false
allow if {
    some role in input.identity.grant.roles
    data.grants[role][input.backend][input.tool]
}
deny contains "over the cap of this customer" if input.arguments.amount > data.customers[input.arguments.customer].cap
deny contains "blocked customer" if data.customers[input.arguments.customer].blocked
approve contains "large refund" if input.arguments.amount > 500
"#;

fn table() -> String {
    let mut customers = String::new();
    for at in 0..2_000 {
        let comma = if at == 0 { "" } else { "," };
        write!(customers, "{comma}\"customer-{at:05}\":{{\"cap\":1000,\"blocked\":false}}")
            .expect("a String");
    }
    format!(r#"{{"grants":{{"reader":{{"github":{{"refund":true}}}}}},"customers":{{{customers}}}}}"#)
}

#[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
fn report(what: &str, mut work: impl FnMut()) {
    let rounds = 5_000;
    for _ in 0..rounds / 10 {
        work();
    }
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..rounds {
                work();
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
        })
        .fold(f64::INFINITY, f64::min);
    println!("{what:<42} {best:8.2} µs");
}

#[test]
#[ignore = "prints times"]
fn a_decision_takes_microseconds() {
    let rules: Vec<_> = (0..20)
        .map(|at| {
            json!({"server": "github", "tool": format!("tool_{at}_*"), "action": "allow",
            "conditions": [{"param": "amount", "operator": "lt", "value": "100"}]})
        })
        .collect();
    let policies = roles(json!([{"id": "p", "roles": ["reader"], "rules": rules}]));
    let policy = RegoSource { data: Some(table()), ..rego("refunds", POLICY) };
    let arguments = r#"{"amount":42,"customer":"customer-01234","note":"a customer was not happy","lines":[{"sku":"a","count":1}]}"#;
    let world = World::new("refund").with(arguments);

    let by_rules = set(policies.clone(), vec![]);
    let by_rego = set(vec![], vec![policy.clone()]);
    let by_both = set(policies, vec![policy]);
    println!("evaluator: {}", world.decide(&by_both).evaluator);
    assert_eq!(world.line(&by_both), "allow");
    world.ask(|inquiry| {
        report("decide, 20 role rules", || drop(black_box(by_rules.decide(inquiry))));
        report("decide, Rego over 100 KB of data", || drop(black_box(by_rego.decide(inquiry))));
        report("decide, both", || drop(black_box(by_both.decide(inquiry))));
        report("lists, both", || drop(black_box(by_both.lists(inquiry))));
        report("input document", || drop(black_box(by_both.input_document(inquiry))));
        report("input digest", || drop(black_box(sha256(by_both.input_document(inquiry).as_bytes()))));
    });
}
