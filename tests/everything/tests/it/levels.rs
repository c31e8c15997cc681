//! What each revision of the protocol gets to see.

use serde_json::{Value, json};

use crate::client::{Client, call};

/// Revision, and the members of the entry of a tool and of its result.
async fn seen(revision: &str, tool: &str, arguments: Value) -> (Vec<String>, Vec<String>) {
    let mut client = Client::legacy(revision, json!({})).await;
    let list = client.result("tools/list", json!({})).await;
    let entry = list["tools"].as_array().expect("tools").iter().find(|entry| entry["name"] == tool);
    let result = client.result("tools/call", json!({"name": tool, "arguments": arguments})).await;
    let members = |value: &Value| {
        let mut members: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
        members.sort();
        members
    };
    (members(entry.expect("the tool")), members(&result))
}

#[tokio::test]
async fn an_older_revision_is_told_less() {
    let cases = [
        ("2024-11-05", "", ""),
        ("2025-03-26", " annotations", ""),
        ("2025-06-18", " annotations title", " structuredContent"),
        ("2025-11-25", " annotations icons title", " structuredContent"),
    ];
    let base = |base: &str, more: &str| {
        let mut members: Vec<_> =
            base.split(' ').chain(more.split(' ').filter(|more| !more.is_empty())).collect();
        members.sort_unstable();
        members.join(" ")
    };
    for (revision, entry, result) in cases {
        let (tool, _) = seen(revision, "test_simple_text", json!({})).await;
        assert_eq!(tool.join(" "), base("description inputSchema name", entry), "{revision}");
        let (_, greeting) = seen(revision, "greet", json!({"name": "A"})).await;
        assert_eq!(greeting.join(" "), base("content", result), "{revision}");
        let (tool, list) = seen(revision, "test_structured_content", json!({})).await;
        assert_eq!(list, ["content"], "{revision} has no words for a list");
        assert!(!tool.contains(&"outputSchema".to_owned()), "{revision}");
    }
}

#[tokio::test]
async fn the_newest_revision_is_told_everything() {
    let mut client = Client::modern(json!({}));
    let result = client.result("tools/call", call("test_structured_content")).await;
    assert_eq!(result["structuredContent"], json!([1, 2.5, null]));
    assert_eq!(result["resultType"], "complete");
    let list = client.result("tools/list", json!({})).await;
    assert!(list["ttlMs"].is_u64() && list["cacheScope"].is_string(), "{list}");
    assert!(!list.to_string().contains("taskSupport"), "which it no longer has");
}

#[tokio::test]
async fn only_2025_03_26_has_batches() {
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}},
        {"jsonrpc": "2.0", "id": 2, "method": "no/such"},
    ]);
    let mut client = Client::legacy("2025-03-26", json!({})).await;
    client.write(&batch).await;
    let answers = client.read().await;
    let mut ids: Vec<_> =
        answers.as_array().expect("a batch").iter().map(|answer| answer["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [Some(1), Some(2)]);
    let mut client = Client::legacy("2025-06-18", json!({})).await;
    client.write(&batch).await;
    assert_eq!(client.read().await["error"]["code"], -32600);
}
