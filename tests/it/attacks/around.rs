//! Ways around a rule: another door, another wrapping, another name for the same thing. What is
//! denied is denied on each of them, reaches nobody, and is recorded.

use std::fs;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::raw::{post, say_and_leave};
use crate::world::http::insert;
use crate::world::{ALICE, Client, Pipe, STAFF_MAY_ALL, Speaks, World};

const DENIED: &str = "rateLimit: {enabled: false}\npolicies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}, {tool: delete_repository, action: deny}, {tool: create_refund, action: hide}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_denied_behind_every_door_and_in_every_wrapping() {
    let world = World::start(&["github"], DENIED).await;
    let mut made = 0;
    for tool in ["delete_repository", "create_refund"] {
        let long = format!("github__{tool}");
        for client in [world.modern("/mcp", ALICE), world.legacy("/mcp", ALICE).await] {
            client.call(&long, json!({})).await;
            made += 1;
        }
        for client in [world.modern("/mcp/github", ALICE), world.legacy("/mcp/github", ALICE).await] {
            client.call(tool, json!({})).await;
            made += 1;
        }
        let arguments = [
            json!({"tool": long, "args": "{}"}),
            json!({"tool": long, "args": "{}", "Tool": "github__echo"}),
            json!({"tool": long, "args": "{\"tool\": \"github__echo\"}"}),
            json!({"tool": tool, "serverId": "github", "args": "{}"}),
        ];
        for client in [world.modern("/mcp/_gateway", ALICE), world.legacy("/mcp/_gateway", ALICE).await] {
            for arguments in &arguments {
                let answer = client.call("call", arguments.clone()).await;
                assert!(
                    answer.text().contains("denied") || answer.text().contains("not found"),
                    "{answer:?}"
                );
            }
            // Through itself, and past itself.
            for name in ["call", "Call", "_gateway__call", "gateway__call"] {
                let within = json!({"tool": name, "args": json!({"tool": long, "args": "{}"}).to_string()});
                client.call("call", within).await;
            }
            client.call(&long, json!({})).await;
            client.call(tool, json!({})).await;
        }
        // A batch, where the revision has them.
        let old = Client::legacy(world.address(), "/mcp", ALICE, "2025-03-26").await;
        let call = |id: u32, name: &str| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": {}}});
        let batch = json!([call(1, &long), {"jsonrpc": "2.0", "id": 2, "method": "ping"}, call(3, &long)]);
        let answer = old.raw(Method::POST, &old.headers(), batch.to_string().into()).await.json();
        assert_eq!(answer.as_array().map(Vec::len), Some(3), "{answer}");
        made += 2;
        for surface in ["aggregate", "github", "meta"] {
            let mut pipe = Pipe::open(&world.config_path(), surface, ALICE);
            let (name, arguments) = match surface {
                "aggregate" => (long.as_str(), json!({})),
                "github" => (tool, json!({})),
                _ => ("call", json!({"tool": long, "args": "{}"})),
            };
            let answer = pipe.ask("tools/call", crate::world::call(name, arguments)).await;
            let text = answer.to_string();
            assert!(
                ["denied", "DENIED", "not found", "error"].iter().any(|word| text.contains(word)),
                "{text}"
            );
            pipe.end().await;
            made += 1;
        }
    }
    assert_eq!(world.received(), Vec::<String>::new());
    let records = world.records();
    assert!(records.len() >= made, "{} records of {made} calls and more", records.len());
    assert!(records.iter().all(|record| record["status"] == "denied"), "{records:?}");
    // What the same doors let pass, passes.
    for path in ["/mcp", "/mcp/github"] {
        let name = if path == "/mcp" { "github__echo" } else { "echo" };
        assert_eq!(world.modern(path, ALICE).call(name, json!({})).await.summary(), "200 ok");
    }
    assert_eq!(world.received(), ["github echo", "github echo"]);
    world.stop().await;
}

/// The calls that a server received.
fn calls(world: &World) -> Vec<Value> {
    let received = world.recorders[0].received();
    received
        .iter()
        .map(crate::world::recorder::Received::json)
        .filter(|it| it["method"] == "tools/call")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_nothing_in_a_clients_era_reaches_no_server_of_the_other() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let world = World::start_speaking(&["github"], speaks, STAFF_MAY_ALL).await;
        let legacy = world.legacy("/mcp", ALICE).await;
        let mut params = crate::world::call("github__echo", json!({"a": 1}));
        params["requestState"] = json!("made up");
        params["inputResponses"] = json!({"q": {"action": "accept", "content": {}}});
        params["extra"] = json!(7);
        assert_eq!(legacy.request("tools/call", params.clone()).await.summary(), "200 ok");
        let [call] = &calls(&world)[..] else { panic!("one call") };
        let mut keys: Vec<_> = call["params"].as_object().expect("an object").keys().collect();
        keys.retain(|key| *key != "_meta");
        assert_eq!(keys, ["name", "arguments"], "{call}");
        // A client that can carry such things cannot make them up.
        let modern = world.modern("/mcp", ALICE);
        assert_eq!(modern.request("tools/call", params).await.summary(), "200 -32602");
        assert_eq!(calls(&world).len(), 1);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_is_for_the_prompt_that_was_decided_on() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let client = world.legacy("/mcp", ALICE).await;
    for (reference, argument) in [
        (r#"{"type":"ref/prompt","name":"github__review","Name":"secret"}"#, r#"{"name":"a","value":"b"}"#),
        (
            r#"{"type":"ref/prompt","Type":"ref/resource","name":"github__review"}"#,
            r#"{"name":"a","value":"b"}"#,
        ),
        (
            r#"{"type":"ref/prompt","name":"github__review","URI":"wiki://secret"}"#,
            r#"{"name":"a","value":"b"}"#,
        ),
        (r#"{"type":"ref/prompt","name":"github__review"}"#, r#"{"name":"a","value":"b","Value":"c"}"#),
        (r#"{"type":"ref/prompt","name":"github__review"}"#, r#"{"name":"a","NAME":"z","value":"b"}"#),
    ] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{{"ref":{reference},"argument":{argument}}}}}"#
        );
        let answer = client.raw(Method::POST, &client.headers(), Bytes::from(body)).await;
        assert_eq!(answer.summary(), "400 -32600", "{reference} {argument}");
    }
    let received = world.recorders[0].received();
    assert!(received.iter().all(|it| it.json()["method"] != "completion/complete"));
    assert_eq!(world.records().len(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offered_uri_with_nothing_behind_its_server_names_nothing() {
    let rules =
        "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{resource: '*', action: allow}]}\n";
    let world = World::start(&["github"], rules).await;
    let client = world.modern("/mcp", ALICE);
    let argument = json!({"name": "a", "value": "b"});
    let completion = async |uri: &str| {
        client
            .request(
                "completion/complete",
                json!({"ref": {"type": "ref/resource", "uri": uri}, "argument": argument}),
            )
            .await
    };
    let read = async |uri: &str| client.request("resources/read", json!({"uri": uri})).await;
    for (server, recorded) in [("github", "unknown"), ("absent", "unknown")] {
        let uri = format!("gw+{server}+");
        for answer in [completion(&uri).await, read(&uri).await] {
            assert!(answer.json()["error"].to_string().contains(&uri), "{}", answer.json());
            let record = world.records().pop().expect("a record");
            assert_eq!((&record["verdict"], &record["serverId"]), (&json!("hide"), &json!(recorded)));
        }
    }
    assert_eq!(world.recorders[0].received().len(), 0);
    world.stop().await;
}

/// Where others have started what a request told them to.
const SPAWNING: [&str; 12] = [
    "/mcp-rest/test/connection",
    "/mcp-rest/test/tools/list",
    "/api/mcp/connect",
    "/api/mcp/test",
    "/api/servers",
    "/api/v1/servers",
    "/servers",
    "/admin/servers",
    "/admin/gateways/test",
    "/sse?command=touch",
    "/stdio?command=touch&args=x",
    "/config",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_request_starts_what_no_configuration_names() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let mark = world.folder.path().join("mark");
    let server = json!({"command": "touch", "args": [mark], "url": "http://127.0.0.1:9/", "transport": "stdio", "name": "x"});
    for path in SPAWNING {
        for method in ["POST", "PUT", "GET"] {
            let bytes = post(world.address(), path, "", &server.to_string()).replacen("POST", method, 1);
            let answers = say_and_leave(world.address(), bytes.as_bytes()).await;
            assert_eq!(answers[0].status, 404, "{method} {path}");
        }
    }
    for path in ["/mcp", "/mcp/github", "/mcp/_gateway", "/mcp/x"] {
        let client = world.modern(path, ALICE);
        for method in ["servers/add", "server/register", "gateway/connect", "mcp/add"] {
            let mut headers = client.headers();
            insert(&mut headers, "mcp-method", method);
            let mut params = server.clone();
            params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
            params.as_object_mut().expect("an object").remove("name");
            let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let answer = client.raw(Method::POST, &headers, message.to_string().into()).await;
            assert_eq!(answer.status, 404, "{path} {method}: {answer:?}");
        }
        for tool in ["add_server", "connect", "register_server", "run"] {
            let answer = client.call(tool, server.clone()).await;
            assert!(answer.json()["error"].is_object(), "{path} {tool}: {answer:?}");
        }
    }
    assert!(!mark.exists());
    assert_eq!(world.received(), Vec::<String>::new());
    let config = fs::read_to_string(world.config_path()).expect("readable");
    assert!(!config.contains("touch"), "nor is it written down for later");
    world.stop().await;
}
