//! What a client hears of changes.

use serde_json::json;

use crate::client::{Client, call};

const URI: &str = "test://watched-resource";

#[tokio::test]
async fn a_session_hears_of_lists_always_and_of_resources_while_subscribed() {
    let mut client = Client::legacy("2025-11-25", json!({})).await;
    client.result("resources/subscribe", json!({"uri": URI})).await;
    for (tool, notice) in [
        (
            "test_touch_resource",
            json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": URI}}),
        ),
        ("test_trigger_tool_change", json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})),
        (
            "test_trigger_prompt_change",
            json!({"jsonrpc": "2.0", "method": "notifications/prompts/list_changed"}),
        ),
    ] {
        client.send("tools/call", call(tool)).await;
        let (first, second) = (client.read().await, client.read().await);
        assert!(first == notice || second == notice, "{tool}: {first} {second}");
    }
    client.result("resources/unsubscribe", json!({"uri": URI})).await;
    client.result("tools/call", call("test_touch_resource")).await;
    client.result("ping", json!({})).await;
    let content = client.result("resources/read", json!({"uri": URI})).await;
    assert_eq!(content["contents"][0]["text"], "Touched 2 times");
}

#[tokio::test]
async fn a_listener_hears_what_it_asked_for_and_nothing_else() {
    let mut client = Client::modern(json!({}));
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": [URI, "test://no-such"]});
    let id = client.send("subscriptions/listen", json!({"notifications": wanted})).await;
    let acknowledged = client.read().await;
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    let honoured = json!({"toolsListChanged": true, "resourceSubscriptions": [URI]});
    assert_eq!(acknowledged["params"]["notifications"], honoured);
    client.result("tools/call", call("test_trigger_prompt_change")).await;
    for (tool, method) in [
        ("test_touch_resource", "notifications/resources/updated"),
        ("test_trigger_tool_change", "notifications/tools/list_changed"),
    ] {
        client.send("tools/call", call(tool)).await;
        let (first, second) = (client.read().await, client.read().await);
        let notice = if first["method"].is_null() { second } else { first };
        assert_eq!(notice["method"], method);
        assert_eq!(notice["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], id);
    }
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    client.write(&cancelled).await;
    client.result("tools/call", call("test_trigger_tool_change")).await;
    client.result("server/discover", json!({})).await;
}
