//! What is hidden, out of reach or absent is one answer, under every policy.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::world::{ALICE, Client, STAFF_MAY_ALL, World, entries, recorder};

const METHODS: [(&str, &str); 3] =
    [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")];

/// The name that clients use for a target of a server; the kind is a position in [`METHODS`].
fn offered(kind: usize, server: &str, own: &str) -> String {
    if kind == 2 { format!("gw+{server}+{own}") } else { format!("{server}__{own}") }
}

/// Status and body of the answer, without the name.
async fn answer(client: &Client, kind: usize, server: &str, own: &str) -> (u16, String) {
    let (method, member) = METHODS[kind];
    let name = offered(kind, server, own);
    let params = if kind == 0 { crate::world::call(&name, json!({})) } else { json!({ member: name }) };
    let answer = client.request(method, params).await;
    (answer.status, String::from_utf8_lossy(&answer.body).replace(&name, "NAME"))
}

fn is_denied(answer: &(u16, String)) -> bool {
    answer.1.contains("[POLICY DENIED]")
}

#[tokio::test(flavor = "multi_thread")]
async fn under_default_deny_what_is_hidden_is_absent_and_what_is_denied_says_so() {
    let rules = "policies:\n  - id: staff\n    roles: [staff]\n    rules:\n      - {tool: get_issue, action: allow}\n      - {tool: delete_repository, action: hide}\n      - {prompt: review, action: hide}\n      - {resource: \"wiki://handbook\", action: hide}\n";
    let world = World::start(&["github"], rules).await;
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(alice.tools().await, ["github__get_issue"]);
    for (kind, hidden, absent) in [
        (0, "delete_repository", "no_such"),
        (1, "review", "no_such"),
        (2, "wiki://handbook", "wiki://no-such"),
    ] {
        let unknown = answer(&alice, kind, "nobody", hidden).await;
        assert!(!is_denied(&unknown), "{unknown:?}");
        assert_eq!(answer(&alice, kind, "github", hidden).await, unknown, "hidden, {}", METHODS[kind].0);
        assert_eq!(answer(&alice, kind, "github", absent).await, unknown, "absent, {}", METHODS[kind].0);
    }
    let denied = answer(&alice, 0, "github", "leak").await;
    assert!(is_denied(&denied), "what is there and not allowed says so: {denied:?}");
    assert_eq!(world.received(), Vec::<String>::new());
    world.running.stop().await;
    let recorded = entries(world.folder.path());
    let said = |target: &str| {
        let of = |entry: &&Value| entry["target"] == target && entry["server"] == "github";
        let entry = recorded.iter().find(of).unwrap_or_else(|| panic!("{target}: {recorded:?}"));
        format!(
            "{} {} {}",
            entry["verdict"].as_str().expect("a verdict"),
            entry["layer"].as_str().expect("a layer"),
            entry["reasons"]
        )
    };
    assert_eq!(
        said("delete_repository"),
        r#"hide rules ["Hidden by policy \"staff\": delete_repository on *"]"#
    );
    assert!(
        said("no_such").starts_with(r#"hide exposure ["no such capability, or disabled","default_deny""#),
        "{}",
        said("no_such")
    );
    assert!(said("leak").starts_with(r#"deny rules ["default_deny""#), "{}", said("leak"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_never_asked_tells_nothing_where_something_is_hidden() {
    let hides = "policies:\n  - {id: staff, roles: [staff], rules: [{tool: delete_*, action: hide}]}\n";
    for (rules, is_told) in [("", true), (hides, false)] {
        let world = World::start(&["github"], rules).await;
        let alice = world.modern("/mcp", ALICE);
        let unknown = answer(&alice, 0, "nobody", "x").await;
        for tool in ["delete_repository", "get_issue", "no_such"] {
            let answer = answer(&alice, 0, "github", tool).await;
            assert_eq!(
                (is_denied(&answer), answer == unknown),
                (is_told, !is_told),
                "{tool} under {rules:?}"
            );
        }
        assert_eq!(world.recorders[0].received().len(), 0, "the server heard nothing at all");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_is_denied_whatever_its_arguments_is_not_listed_and_says_so_when_called() {
    let rego = format!(
        "{STAFF_MAY_ALL}regoPolicies:\n  - name: r\n    source: |\n      package r\n      deny contains \"frozen\" if input.tool == \"leak\"\n      deny contains \"too much\" if input.arguments.amount > 100\n"
    );
    let world = World::start(&["github"], &rego).await;
    let alice = world.modern("/mcp/github", ALICE);
    assert_eq!(alice.tools().await, ["echo", "get_issue", "delete_repository", "create_refund"]);
    assert_eq!(alice.call("leak", json!({})).await.text(), "[POLICY DENIED] frozen");
    assert_eq!(alice.call("create_refund", json!({"amount": 101})).await.text(), "[POLICY DENIED] too much");
    world.stop().await;
}

const SERVERS: [&str; 2] = ["one", "two"];
const ABSENT: [&str; 3] = ["no_such", "no_such", "wiki://no-such"];
const CASES: u32 = 120;

fn any_rules() -> impl Strategy<Value = String> {
    let target = prop::sample::select(vec![
        "",
        "tool: \"*\", ",
        "tool: get_*, ",
        "tool: delete_repository, ",
        "tool: echo, ",
        "tool: no_such, ",
        "prompt: \"*\", ",
        "prompt: review, ",
        "resource: \"*\", ",
        "resource: \"wiki://hand*\", ",
        "resource: \"wiki://*\", ",
    ]);
    let server = prop::sample::select(vec!["", "", "server: one, ", "server: two, "]);
    let action = prop::sample::select(vec!["allow", "allow", "deny", "hide"]);
    let rule = (server, target, action)
        .prop_map(|(server, target, action)| format!("      - {{{server}{target}action: {action}}}\n"));
    let rego = prop::sample::select(vec![
        "",
        "allow if input.tool == \"echo\"",
        "deny contains \"no\" if input.tool == \"leak\"",
        "hide contains \"gone\" if input.backend == \"two\"",
        "hide contains \"gone\" if input.tool == \"echo\"",
    ]);
    let reach = prop::sample::select(vec!["", "", "one"]);
    (prop::collection::vec(rule, 0..5), rego, reach).prop_map(|(rules, rego, reach)| {
        let mut text = format!("{reach}\nrateLimit: {{enabled: false}}\n");
        if !rules.is_empty() {
            text += &format!("policies:\n  - id: p\n    roles: [staff]\n    rules:\n{}", rules.concat());
        }
        if !rego.is_empty() {
            text += &format!("regoPolicies:\n  - name: r\n    source: |\n      package r\n      {rego}\n");
        }
        text
    })
}

#[test]
fn under_any_policy_nothing_absent_is_answered_otherwise_than_what_is_hidden() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::start(&SERVERS, ""));
    let base = std::fs::read_to_string(world.config_path()).expect("readable");
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let hidden = std::cell::Cell::new(0);
    let tried = runner.run(&any_rules(), |rules| {
        let (reach, rules) = rules.split_once('\n').expect("two parts");
        let reaches = |server: &str| reach.is_empty() || reach == server;
        let mut text = base.clone();
        if !reach.is_empty() {
            text = text.replace("roles: [staff]", &format!("roles: [staff], servers: [{reach}]"));
        }
        std::fs::write(world.config_path(), text + rules)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        world.running.reload().map_err(|error| TestCaseError::fail(format!("{error:#}\n{rules}")))?;
        runtime.block_on(async {
            let alice = world.modern("/mcp", ALICE);
            let offers: [&[&str]; 3] = [&recorder::TOOLS, &["review"], &["wiki://handbook"]];
            for kind in 0..METHODS.len() {
                let unknown = answer(&alice, kind, "nobody", "x://y").await;
                for server in SERVERS {
                    let absent = answer(&alice, kind, server, ABSENT[kind]).await;
                    if !reaches(server) {
                        prop_assert_eq!(&absent, &unknown, "out of reach: {} {}", METHODS[kind].0, rules);
                    }
                    for own in offers[kind] {
                        let there = answer(&alice, kind, server, own).await;
                        if there == unknown {
                            hidden.set(hidden.get() + 1);
                            prop_assert!(
                                !is_denied(&absent),
                                "{server} {own} is hidden, and {absent:?}\n{rules}"
                            );
                            if kind != 2 {
                                prop_assert_eq!(&absent, &unknown, "{} {}", METHODS[kind].0, rules);
                            }
                        } else if is_denied(&there) && kind != 2 && !is_denied(&absent) {
                            prop_assert_eq!(&absent, &unknown, "{} {}", METHODS[kind].0, rules);
                        }
                    }
                }
            }
            Ok(())
        })
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
    assert!(hidden.get() > 100, "{} hidden targets were asked for", hidden.get());
    runtime.block_on(world.stop());
}
