//! Over generated configurations and calls: no denied call reaches a server, every
//! call leaves one record, and lists and calls never disagree.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::world::{ALICE, World, entries, recorder};

#[derive(Clone, Debug)]
struct Rule {
    server: Option<&'static str>,
    tool: Option<&'static str>,
    action: &'static str,
    condition: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Debug)]
struct Case {
    policies: Vec<(Vec<&'static str>, Vec<Rule>)>,
    rego: Option<&'static str>,
    reach: Option<Vec<&'static str>>,
    disable: Option<&'static str>,
    calls: Vec<(&'static str, &'static str, Value)>,
}

const SERVERS: [&str; 2] = ["one", "two"];

fn rule() -> impl Strategy<Value = Rule> {
    (
        prop::option::of(prop::sample::select(vec!["one", "two", "*", "t*"])),
        prop::option::of(prop::sample::select(vec![
            "echo",
            "get_*",
            "*",
            "delete_repository",
            "*_refund",
            "le*",
        ])),
        prop::sample::select(vec!["allow", "allow", "deny", "hide"]),
        prop::option::of(prop::sample::select(vec![("eq", "1"), ("neq", "1"), ("regex", "^[0-9]$")])),
    )
        .prop_map(|(server, tool, action, condition)| Rule {
            server,
            tool,
            action,
            // What is hidden must be known without arguments.
            condition: if action == "hide" { None } else { condition },
        })
}

fn case() -> impl Strategy<Value = Case> {
    let policy = (
        prop::collection::vec(prop::sample::select(vec!["staff", "guest", "*"]), 1..3),
        prop::collection::vec(rule(), 0..5),
    );
    let rego = prop::option::of(prop::sample::select(vec![
        "allow if input.tool == \"echo\"",
        "allow if input.arguments.a == 1",
        "deny contains \"no\" if input.arguments.a == 1",
        "hide contains \"gone\" if input.backend == \"two\"",
        "allow if { input.user == \"alice\" }\n      deny contains \"x\" if { input.tool == \"leak\" }",
    ]));
    let argument = prop::sample::select(vec![
        json!({}),
        json!({"a": 1}),
        json!({"a": "1"}),
        json!({"a": 2}),
        json!({"b": 1}),
    ]);
    let call = (
        prop::sample::select(SERVERS.to_vec()),
        prop::sample::select([&recorder::TOOLS[..], &["no_such_tool"]].concat()),
        argument,
    );
    (
        prop::collection::vec(policy, 0..3),
        rego,
        prop::option::of(prop::sample::subsequence(SERVERS.to_vec(), 0..=2)),
        prop::option::of(prop::sample::select(vec!["delete_*", "echo", "*"])),
        prop::collection::vec(call, 1..4),
    )
        .prop_map(|(policies, rego, reach, disable, calls)| Case {
            policies,
            rego,
            reach,
            disable,
            calls,
        })
}

impl Case {
    fn yaml(&self, base: &str) -> String {
        let mut text = base.to_owned();
        if let Some(reach) = &self.reach {
            text =
                text.replace("roles: [staff]", &format!("roles: [staff], servers: [{}]", reach.join(", ")));
        }
        if let Some(disable) = self.disable {
            text = text.replace(
                "/mcp\", enabled: true}",
                &format!("/mcp\", enabled: true, disable: [\"{disable}\"]}}"),
            );
        }
        text += "rateLimit: {enabled: false}\npolicies:\n";
        for (at, (roles, rules)) in self.policies.iter().enumerate() {
            let roles: Vec<_> = roles.iter().map(|role| format!("\"{role}\"")).collect();
            text += &format!(
                "  - id: p{at}\n    name: P{at}\n    roles: [{}]\n    rules:{}\n",
                roles.join(", "),
                if rules.is_empty() { " []" } else { "" }
            );
            for rule in rules {
                let mut members = vec![format!("action: {}", rule.action)];
                members.extend(rule.server.map(|server| format!("server: \"{server}\"")));
                members.extend(rule.tool.map(|tool| format!("tool: \"{tool}\"")));
                members.extend(rule.condition.map(|(operator, value)| {
                    format!("conditions: [{{param: a, operator: {operator}, value: \"{value}\"}}]")
                }));
                text += &format!("      - {{{}}}\n", members.join(", "));
            }
        }
        if self.policies.is_empty() {
            text = text.trim_end_matches("policies:\n").to_owned();
        }
        if let Some(rego) = self.rego {
            text += &format!("regoPolicies:\n  - name: r\n    source: |\n      package r\n      {rego}\n");
        }
        text
    }
}

/// How many configurations are tried; each makes a list and up to three calls.
const CASES: u32 = 10_000;
/// Worlds that share them, side by side: one alone leaves most processors idle.
const WORLDS: u8 = 2;

#[test]
fn no_denied_call_reaches_a_server_and_lists_never_lie() {
    std::thread::scope(|scope| {
        let worlds: Vec<_> = (0..WORLDS).map(|seed| scope.spawn(move || try_cases(seed))).collect();
        for world in worlds {
            if let Err(panic) = world.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Tries one world's share of the cases.
fn try_cases(seed: u8) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::start(&SERVERS, "audit: {refusals: all}\n"));
    let base = std::fs::read_to_string(world.config_path()).expect("readable");
    let cases = CASES.div_ceil(WORLDS.into());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let calls = AtomicUsize::new(0);
    let tried = runner.run(&case(), |case| {
        runtime.block_on(try_case(&world, &base, &case, &calls)).map_err(TestCaseError::fail)
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
    let World { folder, running, .. } = world;
    runtime.block_on(running.stop());
    let decisions = entries(folder.path()).iter().filter(|entry| entry["kind"] == "decision").count();
    assert_eq!(decisions, calls.into_inner(), "every call leaves one record");
    assert!(decisions > cases as usize, "{decisions} calls");
}

async fn try_case(world: &World, base: &str, case: &Case, calls: &AtomicUsize) -> Result<(), String> {
    std::fs::write(world.config_path(), case.yaml(base)).map_err(|error| error.to_string())?;
    world.running.reload().map_err(|error| format!("{error:#}\n{}", case.yaml(base)))?;
    for recorder in &world.recorders {
        recorder.forget();
    }
    let alice = world.modern("/mcp", ALICE);
    let listed = alice.tools().await;
    for (server, tool, arguments) in &case.calls {
        let name = format!("{server}__{tool}");
        let before = world.received().len();
        let answer = alice.call(&name, arguments.clone()).await;
        calls.fetch_add(1, Ordering::Relaxed);
        let reached = world.received().len() - before;
        let text = answer.text();
        let unknown = text == format!("Unknown tool: {name}");
        let denied = text.starts_with("[POLICY DENIED]");
        let shown = listed.contains(&name);
        let problem = match (unknown, denied) {
            (false, false) if reached != 1 => Some("an allowed call did not arrive exactly once"),
            (true, _) | (_, true) if reached != 0 => Some("a refused call reached a server"),
            (false, false) if !shown => Some("what the list hides was callable"),
            (true, _) if shown => Some("what the list shows does not exist"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(format!("{problem}: {name} {arguments} → {text}\n{}", case.yaml(base)));
        }
    }
    Ok(())
}
