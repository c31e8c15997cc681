//! What is refused, and how it is told: a refusal of a known caller's request is an answer to that
//! request, because some clients end their session at any HTTP status but 2xx.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::world::{ALICE, Answer, Client, STAFF_MAY_ALL, World, call};

/// Rules and limits that refuse in every way there is.
const REFUSES: &str = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}, {tool: create_refund, action: deny, conditions: [{param: amount, operator: gt, value: 100}]}, {tool: delete_repository, action: deny}, {prompt: \"*\", action: allow}, {resource: \"wiki://salaries\", action: deny}, {resource: \"*\", action: allow}]}\nlimits:\n  - {name: calm, kind: rate, key: \"grant:tool\", tool: echo, max: 1, per: minute, burst: 1}\n  - {name: few, kind: quota, key: person, tool: get_issue, max: 1, per: month}\n  - {name: reads, kind: rate, key: \"grant:tool\", tool: \"wiki://*\", max: 1, per: minute, burst: 1}\n";

fn decision(answer: &Answer) -> Value {
    let json = answer.json();
    let of_tool = &json["result"]["_meta"]["dev.doorward/decision"];
    if of_tool.is_object() { of_tool.clone() } else { json["error"]["data"].clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_answered_under_its_id_and_its_session_goes_on() {
    let world = World::start(&["s"], REFUSES).await;
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"] {
        let client = match revision {
            "2026-07-28" => world.modern("/mcp", ALICE),
            _ => Client::legacy(world.address(), "/mcp", ALICE, revision).await,
        };
        let large = json!({"a": vec![0; 200_001]});
        let deep = (0..200).fold(json!(0), |inner, _| json!([inner]));
        for (tool, arguments, text) in [
            ("s__create_refund", json!({"amount": 101}), "[POLICY DENIED] "),
            ("s__delete_repository", json!({}), "[POLICY DENIED] "),
            ("s__echo", json!({"n": 9_007_199_254_740_993_u64}), "integer beyond"),
            ("s__echo", json!({"deep": deep}), "nested too deep"),
            ("s__echo", large, "too many values"),
        ] {
            let answer = client.call(tool, arguments).await;
            let json = answer.json();
            assert_eq!((answer.status, &json["id"]), (200, &json!(1)), "{revision} {tool}");
            assert_eq!(json["result"]["isError"], true, "{revision} {tool}: {json}");
            assert!(answer.text().contains(text), "{revision} {tool}: {}", answer.text());
        }
        let rest = client
            .request(
                "tools/call",
                json!({"name": "s__echo", "arguments": {}, "_meta": {"progressToken": 1.5}}),
            )
            .await;
        let expected = if revision == "2026-07-28" { "400 -32602" } else { "200 -32602" };
        assert_eq!(rest.summary(), expected, "{revision}");
        assert!(!client.tools().await.is_empty(), "{revision}: the session goes on");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_over_a_limit_is_told_when_to_come_back() {
    let world = World::start(&["s"], REFUSES).await;
    for client in [world.legacy("/mcp", ALICE).await, world.modern("/mcp", ALICE)] {
        for (tool, limit) in [("s__echo", "limits/calm"), ("s__get_issue", "limits/few")] {
            let answer = [client.call(tool, json!({})).await, client.call(tool, json!({})).await]
                .into_iter()
                .next_back()
                .expect("two");
            assert!(answer.is_limited(), "{tool}: {answer:?}");
            let (text, decision) = (answer.text(), decision(&answer));
            assert!(
                text.starts_with("[POLICY DENIED] ")
                    && text.contains(&decision["reasons"][0].as_str().expect("a reason").to_owned()),
                "{text}"
            );
            assert_eq!((&decision["verdict"], &decision["rule"]), (&json!("deny"), &json!(limit)));
            assert_eq!(decision["resets_at"].is_string(), tool == "s__get_issue", "{decision}");
            let record = world.records().pop().expect("a record");
            assert_eq!(record["id"], decision["record"], "{record}");
        }
        // Where no result can carry it, an error does.
        let uri = json!({"uri": "gw+s+wiki://handbook"});
        client.request("resources/read", uri.clone()).await;
        let answer = client.request("resources/read", uri).await;
        assert_eq!(answer.summary(), "200 -31429");
        let wait = decision(&answer)["retry_after"].as_u64().expect("seconds");
        assert_eq!(answer.headers["retry-after"], wait.to_string());
        assert!(answer.text().starts_with("[POLICY DENIED] rate limit `reads` exceeded; try again in "));
    }
    let sent = world.received();
    assert_eq!(sent, ["s echo", "s get_issue"], "each once, for both clients together");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_streams_are_refused_by_an_answer() {
    let world = World::start(&["s"], STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp", ALICE);
    let mut open = Vec::new();
    let refused = loop {
        let params = json!({"notifications": {"toolsListChanged": true}, "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}});
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": params});
        let mut headers = alice.headers();
        crate::world::http::insert(&mut headers, "mcp-method", "subscriptions/listen");
        match alice.open_or_refuse(Method::POST, &headers, Bytes::from(message.to_string())).await {
            Ok(events) => open.push(events),
            Err(answer) => break answer,
        }
        assert!(open.len() <= 1_000, "there is a bound");
    };
    assert_eq!((refused.summary().as_str(), &refused.json()["id"]), ("200 -32000", &json!(7)));
    assert_eq!(open.len(), 1_000);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_in_use_is_refused_by_an_answer() {
    let world = World::start(&["s"], STAFF_MAY_ALL).await;
    world.recorders[0].offer("wait");
    let alice = world.legacy("/mcp", ALICE).await;
    let first = tokio::spawn({
        let alice = alice.clone();
        async move { alice.call("s__wait", json!({})).await }
    });
    crate::world::eventually("the first is under way", async || world.received() == ["s wait"]).await;
    let second = alice.request("tools/call", call("s__echo", json!({}))).await;
    assert_eq!((second.status, second.json()["result"]["isError"].clone()), (200, json!(true)));
    assert!(second.text().contains("still running"), "{}", second.text());
    assert_eq!(alice.request("tools/list", json!({})).await.summary(), "200 -32600");
    assert_eq!(world.received(), ["s wait"]);
    first.abort();
    world.stop().await;
}
