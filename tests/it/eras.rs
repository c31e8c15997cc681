//! Both eras on one URL, towards clients and towards servers.

use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{ALICE, BOB, Client, STAFF_MAY_ALL, Speaks, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn any_client_uses_any_server() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = World::start_speaking(&["github"], speaks, STAFF_MAY_ALL).await;
        let modern = world.modern("/mcp", ALICE);
        let answer = modern.call("github__echo", json!({"a": 1})).await;
        assert_eq!(
            (answer.text(), answer.json()["result"]["resultType"].as_str()),
            (r#"{"a":1}"#.to_owned(), Some("complete")),
            "{speaks:?}"
        );
        for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
            let legacy = Client::legacy(world.address(), "/mcp/github", ALICE, revision).await;
            let answer = legacy.call("echo", json!({"a": 1})).await;
            assert_eq!(answer.text(), r#"{"a":1}"#, "{revision} to {speaks:?}");
            assert!(answer.json()["result"].get("resultType").is_none());
            assert_eq!(legacy.request("ping", json!({})).await.json()["result"], json!({}));
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_owners_and_ends() {
    let rules = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";
    let world = World::start(&["github"], rules).await;
    let alice = world.legacy("/mcp", ALICE).await;
    assert_eq!(alice.with_key(BOB).request("tools/list", json!({})).await.status, 404, "another principal's");
    assert_eq!(alice.tools().await.len(), 5);
    let elsewhere = world.modern("/mcp/github", ALICE);
    let mut headers = elsewhere.headers();
    headers.remove("mcp-protocol-version");
    crate::world::http::insert(&mut headers, "mcp-session-id", alice.session());
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    assert_eq!(
        elsewhere.raw(Method::POST, &headers, list.clone().into()).await.status,
        404,
        "another endpoint's"
    );
    let mut odd = alice.headers();
    crate::world::http::insert(&mut odd, "mcp-protocol-version", "1999-01-01");
    assert_eq!(alice.raw(Method::POST, &odd, list.clone().into()).await.status, 400);
    let mut none = alice.headers();
    none.remove("mcp-session-id");
    assert_eq!(alice.raw(Method::POST, &none, list.clone().into()).await.status, 400);
    let mut gemini = alice.headers();
    gemini.remove("mcp-protocol-version");
    assert_eq!(alice.raw(Method::POST, &gemini, list.clone().into()).await.status, 200, "no version header");
    assert_eq!(alice.raw(Method::DELETE, &alice.headers(), Default::default()).await.status, 204);
    assert_eq!(alice.raw(Method::POST, &alice.headers(), list.into()).await.status, 404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_listening_are_always_served() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp", ALICE);
    let discovered = alice.request("server/discover", json!({})).await.json();
    assert_eq!(discovered["result"]["supportedVersions"][0], "2026-07-28");
    assert_eq!(discovered["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "doorward");
    assert_eq!(discovered["result"]["cacheScope"], "private");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_client_leaves_is_finished_and_its_session_is_free_again() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    world.recorders[0].offer("wait");
    let old = Client::legacy(world.address(), "/mcp/github", ALICE, "2025-03-26").await;
    let params = json!({"name": "wait", "arguments": {}});
    let batch = json!([{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}]);
    let batch = batch.to_string();
    let mut request = format!("POST /mcp/github HTTP/1.1\r\ncontent-length: {}\r\n", batch.len());
    for (name, value) in &old.headers() {
        request += &format!("{name}: {}\r\n", value.to_str().expect("ASCII"));
    }
    let mut connection = TcpStream::connect(world.address()).await.expect("connected");
    connection.write_all(format!("{request}\r\n{batch}").as_bytes()).await.expect("written");
    eventually("the server has it", async || world.received() == ["github wait"]).await;
    connection.shutdown().await.expect("closed");
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).await.expect("the gateway closes it too");
    assert!(rest.is_empty(), "nothing was answered");
    world.recorders[0].release();
    eventually("the call has ended", async || {
        world.records().first().is_some_and(|record| record["outcome"] == "success")
    })
    .await;
    eventually("its id is free", async || {
        old.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await.status == 200
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_where_the_revision_has_batches() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"a": 1}}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "none", "arguments": {}}},
        {"jsonrpc": "2.0", "id": "x", "method": "ping"},
    ]);
    let old = Client::legacy(world.address(), "/mcp/github", ALICE, "2025-03-26").await;
    let answer = old.post(&batch).await;
    let answers: serde_json::Value = serde_json::from_slice(&answer.body).expect("an array");
    assert_eq!(answer.status, 200);
    assert_eq!(answers[0]["result"]["content"][0]["text"], r#"{"a":1}"#);
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!(2), &json!(-32602)));
    assert_eq!(answers[2], json!({"jsonrpc": "2.0", "id": "x", "result": {}}));
    assert_eq!(answers.as_array().expect("an array").len(), 3);
    assert_eq!(world.received(), ["github echo"]);
    assert_eq!(world.records().len(), 2, "each call has its record");
    let silent = json!([{"jsonrpc": "2.0", "method": "notifications/initialized"}]);
    assert_eq!(old.post(&silent).await.summary(), "202");
    assert_eq!(old.post(&json!([])).await.summary(), "400 -32600");
    let many = vec![json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}); 51];
    assert_eq!(old.post(&json!(many)).await.summary(), "400 -32600");
    let newer = world.legacy("/mcp/github", ALICE).await;
    assert_eq!(newer.post(&batch).await.summary(), "400 -32600");
    assert_eq!(world.modern("/mcp/github", ALICE).post(&batch).await.summary(), "400 -32600");
    assert_eq!(world.received(), ["github echo"], "nothing of a refused batch is done");
    world.stop().await;
}
