//! What clients and servers write that is not quite right and can be meant in one way only.

use serde_json::{Value, json};

use crate::world::{ALICE, Client, STAFF_MAY_ALL, World, call, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_at_the_end_of_an_endpoint_is_no_other_endpoint() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    for (path, tool) in [("/mcp/", "github__echo"), ("/mcp/github/", "echo")] {
        assert_eq!(world.modern(path, ALICE).call(tool, json!({})).await.summary(), "200 ok", "{path}");
        let legacy = world.legacy(path, ALICE).await;
        assert_eq!(legacy.call(tool, json!({})).await.summary(), "200 ok", "{path}");
    }
    let meta =
        world.modern("/mcp/_gateway/", ALICE).request("tools/call", call("list_servers", json!({}))).await;
    assert!(meta.text().contains("github"), "{}", meta.text());
    assert_eq!(world.modern("/mcp/github/x/", ALICE).call("echo", json!({})).await.status, 404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_member_that_is_null_says_the_same_as_none() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let legacy = world.legacy("/mcp", ALICE).await;
    for method in ["tools/list", "resources/list", "resources/templates/list", "prompts/list"] {
        for params in [json!({"cursor": null}), json!({"_meta": null}), Value::Null] {
            let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
            assert_eq!(legacy.post(&message).await.summary(), "200 ok", "{message}");
        }
    }
    world.recorders[0].forget();
    let params = json!({"name": "github__echo", "arguments": null, "_meta": null});
    assert_eq!(legacy.request("tools/call", params).await.summary(), "200 ok");
    let received = world.recorders[0].received();
    let sent = received.iter().map(|it| it.json()).find(|it| it["method"] == "tools/call").expect("sent");
    let params = sent["params"].as_object().expect("an object");
    assert_eq!(params.get("name"), Some(&json!("echo")));
    assert!(!params.contains_key("arguments") && params.get("_meta").is_none_or(Value::is_object), "{sent}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_that_its_roots_changed_is_heard_in_its_own_session_with_the_server() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let github = &world.recorders[0];
    let able = |roots: Value| {
        Client::legacy_able(world.address(), "/mcp", ALICE, "2025-06-18", json!({"roots": roots}))
    };
    let (announcing, silent) = (able(json!({"listChanged": true})).await, able(json!({})).await);
    for client in [&announcing, &silent] {
        assert_eq!(client.call("github__echo", json!({})).await.summary(), "200 ok");
    }
    let sessions = github.sessions();
    let told: Vec<_> = github
        .received()
        .iter()
        .map(|it| it.json())
        .filter(|it| it["method"] == "initialize")
        .map(|it| it["params"]["capabilities"]["roots"].clone())
        .collect();
    assert!(told.contains(&json!({"listChanged": true})) && told.contains(&json!({})), "{told:?}");
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    // Who has not declared it says nothing by it.
    assert_eq!(silent.post(&changed).await.status, 202);
    assert_eq!(announcing.post(&changed).await.status, 202);
    let heard = || {
        let all = github.received();
        let heard = all.iter().filter(|it| it.json()["method"] == changed["method"]);
        heard.map(|it| it.header("mcp-session-id").to_owned()).collect::<Vec<_>>()
    };
    eventually("the server hears of it", async || !heard().is_empty()).await;
    assert_eq!(heard(), [sessions[0].clone()]);
    world.stop().await;
}
