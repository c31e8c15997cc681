//! One thing, spelled in another way: a rule speaks of texts, and what a server makes of them
//! must not be something else.

use serde_json::{Value, json};

use crate::world::{ALICE, Speaks, World, doorward};

/// Spellings of `file:///private/key` to somebody who reads URIs as browsers, Node or file
/// systems do.
const PRIVATE: [&str; 14] = [
    "file:///public/../private/key",
    "file:///public/%2e%2e/private/key",
    "file:///public/.%2E/private/key",
    "file:///public/..%2Fprivate%2Fkey",
    "file:///public/..\\private\\key",
    "file:///public/./../private/key",
    "file:///public/\t../private/key",
    "FILE:///private/key",
    "file:/private/key",
    "file://localhost/private/key",
    "file:////private/key",
    "file:///private//key",
    "file:///%70rivate/key",
    " file:///private/key",
];

const RULES: [&str; 3] = [
    "policies:\n  - {id: p, name: P, roles: [staff], rules: [{resource: 'file:///public/*', action: allow}]}\n",
    "policies:\n  - {id: p, name: P, roles: [staff], rules: [{action: allow}, {resource: 'file:///private/*', action: deny}]}\n",
    "policies: []\nregoPolicies:\n  - name: p\n    source: |\n      package p\n      allow := true\n      hide contains \"private\" if startswith(input.resource.uri, \"file:///private/\")\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_uri_that_a_server_might_read_as_another_is_not_asked_for() {
    for (rules, speaks) in RULES.into_iter().zip([Speaks::Legacy, Speaks::Modern, Speaks::Legacy]) {
        let world = World::start_speaking(&["docs"], speaks, rules).await;
        // What stands in its list is its own name for it, however that is spelled.
        let own = "file:///public/./Own Name.md";
        world.recorders[0].offer_resources(&[own]);
        for client in [world.modern("/mcp/docs", ALICE), world.legacy("/mcp/docs", ALICE).await] {
            let read = async |method: &str, uri: &str| client.request(method, json!({"uri": uri})).await;
            for uri in ["file:///public/a%20b.md", own] {
                assert_eq!(
                    read("resources/read", uri).await.json()["result"]["contents"][0]["uri"],
                    uri,
                    "{rules}"
                );
            }
            let unknown = read("resources/read", "file:///private/key").await;
            assert!(unknown.json()["result"].is_null(), "{}", unknown.text());
            for uri in PRIVATE {
                for method in ["resources/read", "resources/subscribe"] {
                    let answer = read(method, uri).await;
                    assert!(answer.json()["result"].is_null(), "{uri}: {}", answer.text());
                }
            }
        }
        let uris: Vec<_> = world.recorders[0]
            .received()
            .iter()
            .filter_map(|received| received.json()["params"]["uri"].as_str().map(str::to_owned))
            .collect();
        assert!(uris.iter().all(|uri| uri == own || uri == "file:///public/a%20b.md"), "{uris:?}");
        let records = world.records();
        let said = |record: &Value| record["reasons"].to_string();
        let ambiguous = records.iter().filter(|record| said(record).contains("RFC 3986")).count();
        assert!(ambiguous >= 2 * PRIVATE.len(), "each attempt is on record: {records:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_argument_that_is_named_like_a_path_does_not_stand_in_for_what_is_there() {
    for (param, action) in [("filter.owner", "allow"), ("/filter/owner", "allow"), ("filter.owner", "deny")] {
        let value = if action == "allow" { "me" } else { "admin" };
        let rules = format!(
            "policies:\n  - {{id: p, name: P, roles: [staff], rules: [{{tool: find, action: {action}, conditions: [{{param: {param}, operator: eq, value: {value}}}]}}{}]}}\n",
            if action == "deny" { ", {tool: find, action: allow}" } else { "" }
        );
        let world = World::start(&["crm"], &rules).await;
        world.recorders[0].offer_only(&["find"]);
        let alice = world.modern("/mcp/crm", ALICE);
        let honest = alice.call("find", json!({"filter": {"owner": "me"}})).await;
        assert_eq!(honest.json()["result"]["isError"], false, "{rules}: {}", honest.text());
        for decoy in [
            json!({"filter.owner": "me", "filter": {"owner": "admin"}}),
            json!({"filter.owner": "me", "/filter/owner": "me", "filter": {"owner": "admin"}}),
        ] {
            let answer = alice.call("find", decoy).await;
            assert!(answer.text().starts_with("[POLICY DENIED]"), "{rules}: {}", answer.text());
        }
        assert_eq!(world.received(), ["crm find"], "{rules}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_wants_taken_out_is_not_sent_because_nobody_takes_it_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    let text = "dataDir: ./data\nauth: {type: none}\nregoPolicies:\n  - {name: cards, source: \"package cards\\nallow := true\\nredact contains \\\"/card\\\"\"}\n";
    std::fs::write(&config, text).expect("written");
    let ran = doorward(&config, &["serve", "--port", "0"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("cards: defines `redact`, which this version cannot do"), "{}", ran.err);
}
