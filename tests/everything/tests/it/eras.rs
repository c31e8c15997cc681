//! Who is let in, by era.

use serde_json::json;

use crate::client::{Client, call};

#[tokio::test]
async fn a_legacy_server_does_not_know_modern_requests_and_opens_sessions() {
    let mut client = Client::start("legacy");
    assert_eq!(client.request("server/discover", json!({})).await["error"]["code"], -32601);
    assert_eq!(client.request("tools/call", call("test_simple_text")).await["error"]["code"], -32601);
    let opened = client.initialize("2026-07-28", json!({})).await;
    assert_eq!(opened["result"]["protocolVersion"], "2025-11-25", "its newest");
}

#[tokio::test]
async fn a_modern_server_refuses_sessions_and_names_its_versions() {
    let mut client = Client::start("modern");
    let refused = client.initialize("2025-11-25", json!({})).await;
    assert_eq!(refused["error"]["code"], -32022);
    assert_eq!(refused["error"]["data"], json!({"requested": "2025-11-25", "supported": ["2026-07-28"]}));
    let discovered = client.result("server/discover", json!({})).await;
    assert_eq!(discovered["supportedVersions"], json!(["2026-07-28"]));
}

#[tokio::test]
async fn a_server_of_both_eras_serves_them_side_by_side() {
    let mut client = Client::start("both");
    client.initialize("2025-06-18", json!({})).await;
    let discovered = client.result("server/discover", json!({})).await;
    let supported = json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]);
    assert_eq!(discovered["supportedVersions"], supported);
    client.write(&json!({"jsonrpc": "2.0", "id": 7, "method": "ping"})).await;
    assert_eq!(client.read().await, json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
}
