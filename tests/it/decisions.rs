//! What is decided, what is shown, what is recorded, and what servers receive.

use serde_json::{Value, json};

use crate::world::{ALICE, BOB, STAFF_MAY_ALL, World};

/// Verdict, target and outcome of each record.
fn said(records: &[Value]) -> Vec<String> {
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or("-").to_owned();
    records
        .iter()
        .map(|record| {
            format!("{} {} {}", text(record, "consumerId"), text(record, "tool"), text(record, "status"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_nothing_is_listed_called_or_even_asked() {
    let world = World::start(&["github"], "").await;
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(alice.tools().await, Vec::<String>::new());
    let answer = alice.call("github__get_issue", json!({})).await;
    assert_eq!(answer.text(), "[POLICY DENIED] no rule allows `get_issue` on `github` for the role `staff`");
    let decision = &answer.json()["result"]["_meta"]["dev.doorward/decision"];
    assert_eq!((&decision["verdict"], &decision["reasons"][0]), (&json!("deny"), &json!("default_deny")));
    assert_eq!(answer.json()["result"]["isError"], true);
    assert_eq!(world.recorders[0].received().len(), 0, "the server heard nothing at all");
    assert_eq!(said(&world.records()), ["alice get_issue denied"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_call_reaches_its_server_once_and_is_recorded() {
    let world = World::start(&["github", "gitlab"], STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp", ALICE);
    let answer = alice.call("gitlab__echo", json!({"message": "grüße", "n": 1.50})).await;
    assert_eq!(answer.summary(), "200 ok");
    assert_eq!(answer.json()["result"]["resultType"], "complete");
    assert_eq!(answer.text(), r#"{"message":"grüße","n":1.5}"#);
    assert_eq!(world.received(), ["gitlab echo"]);
    let received = world.recorders[1].received();
    let call = received.iter().find(|message| message.json()["method"] == "tools/call").expect("the call");
    assert!(String::from_utf8_lossy(&call.body).contains(r#""arguments":{"message":"grüße","n":1.5}"#));
    assert_eq!(said(&world.records()), ["alice echo success"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_action_is_denied_while_the_rest_stays_available() {
    let rules = "policies:\n  - id: staff\n    name: Careful\n    roles: [staff]\n    rules:\n      - {tool: delete_repository, action: deny}\n      - {action: allow}\n";
    let world = World::start(&["github"], rules).await;
    let alice = world.legacy("/mcp/github", ALICE).await;
    assert_eq!(alice.tools().await, ["echo", "get_issue", "create_refund", "leak"]);
    assert_eq!(alice.call("get_issue", json!({})).await.summary(), "200 ok");
    let denied = alice.call("delete_repository", json!({})).await;
    assert_eq!(denied.text(), r#"[POLICY DENIED] Denied by policy "Careful": delete_repository on *"#);
    assert_eq!(world.received(), ["github get_issue"]);
    assert_eq!(said(&world.records()), ["alice get_issue success", "alice delete_repository denied"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_out_of_reach_and_unknown_are_the_same_bytes() {
    let rules = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}, {tool: delete_repository, action: hide}]}\n";
    let world = World::start(&["github", "other"], rules).await;
    let mut config = std::fs::read_to_string(world.config_path()).expect("readable");
    config = config.replace("roles: [guest], enabled", "roles: [guest], servers: [github], enabled");
    std::fs::write(world.config_path(), config).expect("written");
    world.running.reload().expect("a valid file");
    let bob = world.modern("/mcp", BOB);
    assert_eq!(
        bob.tools().await,
        ["github__echo", "github__get_issue", "github__create_refund", "github__leak"]
    );
    let names = ["github__delete_repository", "other__echo", "nobody__echo", "github__no_such_tool"];
    let mut answers = Vec::new();
    for name in names {
        let answer = bob.call(name, json!({})).await;
        answers.push((answer.status, String::from_utf8_lossy(&answer.body).replace(name, "NAME")));
    }
    for answer in &answers[1..] {
        assert_eq!(answer, &answers[0]);
    }
    assert_eq!(
        answers[0].1,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: NAME"}}"#
    );
    assert_eq!(world.received(), Vec::<String>::new());
    assert_eq!(world.records().len(), 4, "each attempt is recorded");
    let elsewhere = bob.request("resources/read", json!({"uri": "gw+other+wiki://handbook"})).await;
    let nowhere = bob.request("resources/read", json!({"uri": "gw+nobody+wiki://handbook"})).await;
    let same =
        |answer: &crate::world::Answer| String::from_utf8_lossy(&answer.body).replace("nobody", "other");
    assert_eq!(same(&elsewhere), same(&nowhere));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_brings_along_does_not_tell_hidden_from_unknown() {
    let rules = "policies:\n  - {id: all, name: All, roles: [staff], rules: [{server: open, action: allow}, {server: hidden, action: hide}]}\n";
    let world = World::start(&["open", "hidden"], rules).await;
    let alice = world.modern("/mcp", ALICE);
    for more in [json!({"requestState": "made-up"}), json!({"inputResponses": 7})] {
        let ask = async |tool: &str| {
            let mut params = crate::world::call(tool, json!({}));
            params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let answer = alice.request("tools/call", params).await;
            (answer.status, String::from_utf8_lossy(&answer.body).replace(tool, "NAME"))
        };
        let unknown = ask("nobody__echo").await;
        assert_eq!(ask("hidden__echo").await, unknown);
        assert_eq!(ask("open__no_such_tool").await, unknown);
        assert!(unknown.1.contains("Unknown tool: NAME"), "{}", unknown.1);
        let open = ask("open__echo").await;
        assert!(open.0 == 200 && !open.1.contains("Unknown") && open.1.contains("-32602"), "{}", open.1);
    }
    assert_eq!(world.received(), Vec::<String>::new());
    assert!(world.records().iter().all(|record| record["status"] == "denied"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_argument_limit_of_rego_holds_on_every_surface() {
    let rego = format!(
        "{STAFF_MAY_ALL}regoPolicies:\n  - name: refunds\n    mode: enforce\n    source: |\n      package refunds\n      deny contains \"refunds end at 100\" if {{\n        input.tool == \"create_refund\"\n        input.arguments.amount > 100\n      }}\n"
    );
    let world = World::start(&["stripe"], &rego).await;
    let over = json!({"amount": 101});
    let denied = "[POLICY DENIED] refunds end at 100";
    let aggregate = world.modern("/mcp", ALICE);
    assert!(
        aggregate.tools().await.contains(&"stripe__create_refund".to_owned()),
        "a Rego deny leaves it listed"
    );
    assert_eq!(aggregate.call("stripe__create_refund", json!({"amount": 100})).await.summary(), "200 ok");
    assert_eq!(aggregate.call("stripe__create_refund", over.clone()).await.text(), denied);
    assert_eq!(world.legacy("/mcp/stripe", ALICE).await.call("create_refund", over).await.text(), denied);
    let meta = world.modern("/mcp/_gateway", ALICE);
    let answer = meta.call("call", json!({"tool": "create_refund", "args": "{\"amount\":101}"})).await;
    let said: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!((&said["denied"], &said["error"]), (&json!(true), &json!("refunds end at 100")));
    assert_eq!(world.received(), ["stripe create_refund"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_prompts_and_completion_are_decided_too() {
    let rules = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{resource: \"wiki://hand*\", action: allow}, {prompt: review, action: allow}]}\n";
    let world = World::start(&["wiki"], rules).await;
    let alice = world.modern("/mcp", ALICE);
    let read = alice.request("resources/read", json!({"uri": "gw+wiki+wiki://handbook"})).await;
    assert_eq!(read.summary(), "200 ok");
    assert_eq!(read.json()["result"]["ttlMs"], 0);
    let denied = alice.request("resources/read", json!({"uri": "gw+wiki+wiki://salaries"})).await;
    assert_eq!(denied.json()["error"]["code"], -31403);
    let prompt = alice.request("prompts/get", json!({"name": "wiki__review"})).await;
    assert_eq!(prompt.summary(), "200 ok");
    assert_eq!(alice.tools().await, Vec::<String>::new(), "no rule speaks of tools");
    let bob = world.modern("/mcp", BOB);
    let listed = bob.request("resources/list", json!({})).await;
    assert_eq!(listed.json()["result"]["resources"], json!([]));
    let reads = world.recorders[0]
        .received()
        .iter()
        .filter(|message| message.json()["method"] == "resources/read")
        .count();
    assert_eq!(reads, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_capability_is_nobodys() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let config =
        config.replace("enabled: true}\npolicies", "enabled: true, disable: [\"delete_*\"]}\npolicies");
    std::fs::write(world.config_path(), config).expect("written");
    world.running.reload().expect("a valid file");
    let alice = world.modern("/mcp/github", ALICE);
    assert!(!alice.tools().await.contains(&"delete_repository".to_owned()));
    let answer = alice.call("delete_repository", json!({})).await;
    assert_eq!(answer.text(), "Unknown tool: delete_repository");
    assert_eq!(world.received(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_the_rate_limit_is_refused_with_the_time_to_wait() {
    let rest =
        format!("{STAFF_MAY_ALL}rateLimit: {{enabled: true, defaultPerMinute: 2, burstMultiplier: 1}}\n");
    let world = World::start(&["github"], &rest).await;
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
    assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
    let limited = alice.call("github__echo", json!({})).await;
    assert!(limited.is_limited(), "{limited:?}");
    let after: u64 = limited.headers["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
    assert!((1..=30).contains(&after), "{after}");
    assert_eq!(world.received(), ["github echo", "github echo"]);
    assert_eq!(said(&world.records())[2], "alice echo rate-limited");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_the_longest_of_ids_is_called_by_the_names_it_is_listed_with() {
    let longest = "a-".repeat(31) + "z";
    for id in [&longest[..55], &longest[..57], &longest] {
        let world = World::start(&[id.trim_end_matches('-')], STAFF_MAY_ALL).await;
        let tools = world.modern("/mcp", ALICE).tools().await;
        world.stop().await;
        // Whoever knows the names from before need not ask for them again.
        let world = World::start(&[id.trim_end_matches('-')], STAFF_MAY_ALL).await;
        let client = world.modern("/mcp", ALICE);
        for tool in &tools {
            assert!(tool.len() <= 64, "{tool}");
            let answer = client.call(tool, json!({})).await;
            assert!(answer.json()["result"]["content"].is_array(), "{tool}: {}", answer.text());
        }
        assert_eq!(world.recorders[0].calls().len(), 5);
        assert_eq!(
            client.call(&format!("{}_aaaaaa", &tools[0][..57]), json!({})).await.json()["error"]["code"],
            -32602
        );
        world.stop().await;
    }
}
