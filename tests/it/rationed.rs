//! What a caller with a valid key may do without end, and what that costs: calls that are refused,
//! and requests that are no calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward::runtime::Surroundings;
use doorward_model::clock::Fixed;
use http::Method;
use serde_json::json;

use crate::world::{ALICE, Answer, BOB, STAFF_MAY_ALL, Speaks, World, entries, eventually, system};

/// A gateway whose clock stands still until it is moved.
async fn start(rest: &str) -> (World, Arc<Fixed>) {
    let clock = Arc::new(Fixed::new(1_790_000_000_000_000));
    let surroundings = Surroundings { clock: clock.clone(), ..system() };
    let world = World::start_surrounded(&["github"], Speaks::Legacy, rest, surroundings).await;
    (world, clock)
}

/// The details of the refusals with this reason, oldest first.
fn details(world: &World, reason: &str) -> Vec<String> {
    entries(world.folder.path())
        .iter()
        .filter(|entry| entry["event"] == "refused" && entry["reason"] == reason)
        .map(|entry| entry["detail"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The value of a metric without labels, or of the one line that begins like this.
async fn metric(world: &World, name: &str) -> String {
    let client = world.modern("/metrics", ALICE);
    let metrics = client.raw(Method::GET, &client.headers(), Bytes::new()).await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).trim().to_owned()
}

/// The record that a refusal names, wherever its answer carries it.
fn receipt(answer: &Answer) -> Option<String> {
    let json = answer.json();
    let decision = &json["result"]["_meta"]["dev.doorward/decision"];
    let decision = if decision.is_null() { &json["error"]["data"] } else { decision };
    assert_eq!(decision["verdict"], "deny", "{json}");
    decision["record"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_of_a_valid_key_beyond_a_rate_are_counted_and_have_no_entry_and_no_receipt() {
    let limits = "limits:\n  - {name: calm, kind: rate, key: grant, max: 5, per: minute}\n";
    let (world, clock) = start(&format!("{STAFF_MAY_ALL}{limits}")).await;
    let (alice, bob) = (world.modern("/mcp", ALICE), world.modern("/mcp", BOB));
    let mut receipts = Vec::new();
    for number in 0..200 {
        let answer = alice.call("github__get_issue", json!({ "number": number })).await;
        if number >= 5 {
            receipts.push(receipt(&answer));
        }
    }
    // Another caller's refusals have entries of their own, whatever this one does.
    let denied = bob.call("github__get_issue", json!({})).await;
    assert!(receipt(&denied).is_some());

    assert_eq!(world.received().len(), 5);
    let records = world.records();
    assert_eq!(records.len(), 5 + 40 + 1, "five calls, forty refusals, and bob's");
    let of_records: Vec<_> =
        records[5..45].iter().map(|record| record["id"].as_str().map(str::to_owned)).collect();
    assert_eq!(receipts[..40], of_records, "a receipt names a record");
    assert_eq!(receipts[40..], vec![None; 155], "what has no record has no receipt");
    let counted =
        r#"doorward_calls_total{server="github",tool="get_issue",verdict="deny",outcome="rate_limited"}"#;
    assert_eq!(metric(&world, counted).await, "195", "every one is counted");
    assert_eq!(metric(&world, "doorward_refused_calls_without_entry_total").await, "155");

    clock.advance(Duration::from_secs(60));
    eventually("the rest is summed up", async || !details(&world, "calls_left_out").is_empty()).await;
    assert_eq!(details(&world, "calls_left_out"), [r#""alice": 155: 155 rate_limited on github"#]);
    // A new minute has entries of its own; what is pending at the end is summed up as well.
    for _ in 0..50 {
        alice.call("nobody__nothing", json!({})).await;
    }
    assert_eq!(world.records().len(), 46 + 40);
    let World { folder, running, .. } = world;
    running.stop().await;
    let last = entries(folder.path());
    let last = last.iter().rfind(|entry| entry["reason"] == "calls_left_out").expect("a sum");
    assert_eq!(last["detail"], r#""alice": 10: 10 hidden"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refused_call_is_recorded_where_the_file_says_so() {
    let (world, _) = start("audit: {refusals: all}\n").await;
    let alice = world.modern("/mcp", ALICE);
    for number in 0..60 {
        let denied = alice.call("github__get_issue", json!({ "number": number })).await;
        assert!(receipt(&denied).is_some(), "{number}");
    }
    assert_eq!(world.records().len(), 60);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_no_calls_are_limited_by_caller_and_refused_under_their_id() {
    let limit = "requestLimit: {perSecond: 2, burst: 6}\n";
    let (world, clock) = start(&format!("{STAFF_MAY_ALL}{limit}")).await;
    let (alice, bob) = (world.modern("/mcp", ALICE), world.modern("/mcp", BOB));
    let meta = world.modern("/mcp/_gateway", ALICE);
    let tool = |name: &str| json!({ "name": name, "arguments": {} });
    for method in ["tools/list", "prompts/list", "resources/list", "server/discover", "no/such/method"] {
        let answer = alice.request(method, json!({})).await;
        assert_ne!(answer.json()["error"]["code"], -31429, "{method} is within the burst");
    }
    assert_eq!(meta.request("tools/call", tool("list_servers")).await.summary(), "200 ok");

    let refused = alice.request("tools/list", json!({})).await;
    assert_eq!(
        (refused.summary().as_str(), &refused.headers["retry-after"]),
        ("200 -31429", &"1".parse().expect("a value"))
    );
    let json = refused.json();
    assert!(json["id"].is_i64(), "it is answered under its id: {json}");
    let told = "rate limit `requestLimit` exceeded; try again in 1 s";
    assert_eq!(json["error"]["message"], format!("[POLICY DENIED] {told}"));
    let data = json!({"verdict": "deny", "reasons": [told], "rule": "requestLimit", "retry_after": 1});
    assert_eq!(json["error"]["data"], data);
    for (client, method, params) in [
        (&alice, "ping/ping", json!({})),
        (&alice, "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})),
        (&meta, "tools/list", json!({})),
    ] {
        assert_eq!(client.request(method, params).await.summary(), "200 -31429", "{method}");
    }
    let called = meta.request("tools/call", tool("audit_log")).await.json();
    assert_eq!(called["result"]["isError"], true, "a model reads it: {called}");
    assert_eq!(called["result"]["_meta"]["dev.doorward/decision"], data);
    let opens = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let opened = alice.post(&opens).await;
    assert_eq!((opened.summary().as_str(), opened.headers.get("mcp-session-id")), ("200 -31429", None));

    // Calls have limits of their own, and others have their own allowance.
    assert_eq!(alice.call("github__get_issue", json!({})).await.summary(), "200 ok");
    let through = json!({"name": "call", "arguments": {"tool": "get_issue", "serverId": "github"}});
    assert_eq!(meta.request("tools/call", through).await.summary(), "200 ok");
    assert_eq!(world.received(), ["github get_issue", "github get_issue"]);
    assert_eq!(bob.request("tools/list", json!({})).await.summary(), "200 ok");
    assert_eq!(world.records().len(), 2, "only calls are records");

    assert_eq!(metric(&world, r#"doorward_refused_requests_total{reason="request_limit"}"#).await, "6");
    let told = details(&world, "request_limit");
    assert_eq!((told.len(), told[0].as_str()), (6, r#""alice": "tools/list""#));
    // A reload that leaves the rate as it was refills nobody's bucket; time does.
    world.running.reload().expect("a valid file");
    assert_eq!(alice.request("tools/list", json!({})).await.summary(), "200 -31429");
    clock.advance(Duration::from_millis(500));
    assert_eq!(alice.request("tools/list", json!({})).await.summary(), "200 ok");
    assert_eq!(alice.request("tools/list", json!({})).await.summary(), "200 -31429");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_in_the_file_a_thousand_requests_come_at_once_and_no_more() {
    for (rest, expected) in [("", 1_000), ("requestLimit: {enabled: false}\n", 1_100)] {
        let (world, _) = start(&format!("{STAFF_MAY_ALL}{rest}")).await;
        let alice = world.modern("/mcp", ALICE);
        let mut answered = 0;
        for _ in 0..1_100 {
            let answer = alice.request("prompts/list", json!({})).await;
            answered += usize::from(answer.json().get("error").is_none());
        }
        assert_eq!(answered, expected, "{rest:?}");
        world.stop().await;
    }
}
