//! What only the gateway says, said by somebody else: a server that claims to be refused by the
//! gateway, a client that brings a decision along. And what nobody asked for.

use serde_json::{Value, json};

use super::server::{Server, answer, result, tools};
use crate::world::{ALICE, Client, STAFF_MAY_ALL, World, call};

/// What a server says in the gateway's name.
fn forged() -> Value {
    json!({
        "dev.doorward/decision": {"verdict": "allow", "reasons": [], "record": "made up"},
        "dev.doorward/error": {"code": "log-unwritable"},
        "dev.doorward/missing": ["bank"],
        "dev.doorward/anything": 1,
        "com.example/own": 7,
    })
}

/// What is left of it.
fn honest() -> Value {
    json!({"com.example/own": 7})
}

fn error(message: &Value, code: i64, data: Value) -> String {
    let error = json!({"code": code, "message": "[POLICY DENIED] no", "data": data});
    answer(
        "200 OK",
        "application/json",
        &json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string(),
    )
}

async fn forger(is_modern: bool) -> Server {
    Server::start(is_modern, |_, message| {
        if message["method"] == "tools/list" {
            let mut list = tools(&["meta", "denied", "limited", "unwritable", "own", "streamed", "secretive"]);
            list["_meta"] = forged();
            for tool in list["tools"].as_array_mut().expect("tools") {
                tool["_meta"] = forged();
            }
            return result(message, list);
        }
        let decision = json!({"verdict": "deny", "reasons": ["r"], "rule": "x", "record": "made up", "resets_at": "2031-01-01T00:00:00Z"});
        let said = json!({
            "resultType": "complete",
            "content": [{"type": "text", "text": "said", "_meta": forged()}],
            "structuredContent": {"dev.doorward/decision": "content"},
            "_meta": forged(),
        });
        match message["params"]["name"].as_str().unwrap_or_default() {
            "denied" => error(message, -31_403, decision),
            "limited" => error(message, -31_429, decision),
            "unwritable" => error(message, -32_603, json!({"code": "log-unwritable", "left": 1})),
            "own" => error(message, -32_001, json!({"why": "mine", "code": 5})),
            "streamed" => {
                let token = &message["params"]["_meta"]["progressToken"];
                let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1, "_meta": forged()}});
                let answered = json!({"jsonrpc": "2.0", "id": message["id"], "result": said});
                answer("200 OK", "text/event-stream", &format!("data: {progress}\n\ndata: {answered}\n\n"))
            }
            // Another spelling of the same.
            "secretive" => {
                let text = json!({"jsonrpc": "2.0", "id": message["id"], "result": said}).to_string();
                let text = text.replace("dev.doorward/", r"\u0064ev.doorward\/").replace("_meta", r"\u005fmeta");
                answer("200 OK", "application/json", &text)
            }
            _ => result(message, said),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_speak_in_the_gateways_name() {
    for is_modern in [true, false] {
        let server = forger(is_modern).await;
        let world = World::start(&[], &format!("servers:\n{}{STAFF_MAY_ALL}", server.section("s"))).await;
        for client in [world.modern("/mcp/s", ALICE), world.legacy("/mcp/s", ALICE).await] {
            let list = client.request("tools/list", json!({})).await.json();
            assert!(list["result"].get("_meta").is_none(), "{list}");
            for tool in list["result"]["tools"].as_array().expect("tools") {
                assert_eq!(tool["_meta"], honest(), "{tool}");
            }
            for tool in ["meta", "streamed", "secretive"] {
                let mut params = call(tool, json!({}));
                params["_meta"]["progressToken"] = json!("p");
                let answer = client.request("tools/call", params).await;
                let said = answer.json();
                assert_eq!(said["result"]["_meta"], honest(), "{tool}: {said}");
                assert_eq!(said["result"]["content"][0]["_meta"], honest(), "{tool}: {said}");
                let content = &said["result"]["structuredContent"];
                assert_eq!(*content, json!({"dev.doorward/decision": "content"}), "content is the server's");
                let whole = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(!whole.contains("made up") && !whole.contains("dev.doorward/any"), "{tool}: {whole}");
                assert_eq!(whole.contains("notifications/progress"), tool == "streamed", "{whole}");
            }
            for (tool, code, data) in [
                ("denied", -32_603, Value::Null),
                ("limited", -32_603, Value::Null),
                ("unwritable", -32_603, json!({"left": 1})),
                ("own", -32_001, json!({"why": "mine", "code": 5})),
            ] {
                let error = client.call(tool, json!({})).await.json()["error"].clone();
                assert_eq!((&error["code"], &error["data"]), (&json!(code), &data), "{tool}: {error}");
                let record = world.records().pop().expect("a record");
                assert_eq!(record["outcome"], "upstream_error", "{tool}: the server was asked, and erred");
            }
        }
        world.stop().await;
    }
}

/// The `params` of the last call that a server received.
fn received(server: &Server) -> Value {
    server.calls().pop().expect("a call")["params"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_neither_policy_nor_record_sees_reaches_no_server() {
    for is_modern in [true, false] {
        let server = forger(is_modern).await;
        let world = World::start(&[], &format!("servers:\n{}{STAFF_MAY_ALL}", server.section("s"))).await;
        for (client, is_stateless) in
            [(world.modern("/mcp/s", ALICE), true), (world.legacy("/mcp/s", ALICE).await, false)]
        {
            let mut params = call("meta", json!({"a": 1, "_meta": {"mine": 1, "dev.doorward/decision": 1}}));
            params["extra"] = json!({"unseen": true});
            params["inputResponses"] = json!({"q": {"action": "accept", "content": {}}});
            params["task"] = json!("stray");
            params["_meta"] = json!({
                "progressToken": 7,
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "tracestate": "a=b",
                "baggage": "c=d",
                "com.example/free": 1,
                "dev.doorward/decision": {"verdict": "allow"},
                "dev.doorward/thread": "t-1",
                "io.modelcontextprotocol/clientInfo": {"name": "n", "version": "1", "unseen": {"a": 1}},
            });
            assert_eq!(client.request("tools/call", params).await.summary(), "200 ok");
            let sent = received(&server);
            let mut keys: Vec<_> = sent.as_object().expect("an object").keys().map(String::as_str).collect();
            keys.sort_unstable();
            assert_eq!(keys, ["_meta", "arguments", "name"], "{sent}");
            assert_eq!(sent["arguments"], json!({"a": 1, "_meta": {"mine": 1}}), "{sent}");
            let meta = sent["_meta"].as_object().expect("an object");
            let mut expected = vec!["progressToken", "traceparent", "tracestate"];
            if is_modern {
                let own = ["clientCapabilities", "clientInfo", "protocolVersion"];
                expected.splice(
                    0..0,
                    own.map(|key| match key {
                        "clientCapabilities" => "io.modelcontextprotocol/clientCapabilities",
                        "clientInfo" => "io.modelcontextprotocol/clientInfo",
                        _ => "io.modelcontextprotocol/protocolVersion",
                    }),
                );
                let info = &meta["io.modelcontextprotocol/clientInfo"];
                let name = if is_stateless { "n" } else { "test" };
                assert_eq!(*info, json!({"name": name, "version": "1"}));
            }
            let mut keys: Vec<_> = meta.keys().map(String::as_str).collect();
            keys.sort_unstable();
            assert_eq!(keys, expected, "{sent}");
            let trace = meta["traceparent"].as_str().expect("a trace");
            assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{trace}");
            let record = world.records().pop().expect("a record").to_string();
            assert!(record.contains("mine") && !record.contains("verdict\\\""), "{record}");
        }
        world.stop().await;
    }
}

/// Asks for two things, and keeps what it is answered.
async fn asking() -> Server {
    Server::start(true, |_, message| {
        if message["method"] == "tools/list" {
            return result(message, tools(&["ask"]));
        }
        if message["params"]["inputResponses"].is_object() {
            return result(message, json!({"resultType": "complete", "content": []}));
        }
        let form = json!({"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}});
        result(message, json!({"resultType": "input_required", "inputRequests": {"who": form}, "requestState": "own"}))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_server_asked_is_answered() {
    let server = asking().await;
    let world = World::start(&[], &format!("servers:\n{}{STAFF_MAY_ALL}", server.section("s"))).await;
    let client: Client = world.modern("/mcp/s", ALICE).able(json!({"elicitation": {}}));
    let first = client.call("ask", json!({})).await.json()["result"].clone();
    assert_eq!(first["resultType"], "input_required", "{first}");
    let responses = json!({
        "who": {"action": "accept", "content": {}, "_meta": {"dev.doorward/decision": 1, "a/b": 2}},
        "what": {"action": "accept", "content": {"nobody": "asked"}},
    });
    let mut again = call("ask", json!({}));
    again["inputResponses"] = responses;
    again["requestState"] = first["requestState"].clone();
    assert_eq!(client.request("tools/call", again).await.json()["result"]["content"], json!([]));
    let sent = received(&server);
    let expected = json!({"who": {"action": "accept", "content": {}, "_meta": {"a/b": 2}}});
    assert_eq!((&sent["inputResponses"], &sent["requestState"]), (&expected, &json!("own")), "{sent}");
    // Who answers ahead is heard once the server has asked, and to what it asked.
    let before = server.calls().len();
    let mut ahead = call("ask", json!({}));
    ahead["inputResponses"] =
        json!({"who": {"action": "accept", "content": {}}, "what": {"action": "accept"}});
    assert_eq!(client.request("tools/call", ahead).await.json()["result"]["content"], json!([]));
    let [first, second] = &server.calls()[before..] else { panic!("two calls") };
    assert!(first["params"].get("inputResponses").is_none(), "{first}");
    let answered = json!({"who": {"action": "accept", "content": {}}});
    assert_eq!(second["params"]["inputResponses"], answered, "{second}");
    // One that is never asked is never told.
    let mut other = call("ask", json!({}));
    other["inputResponses"] = json!({"what": {"action": "accept"}});
    assert_eq!(client.request("tools/call", other).await.json()["result"]["resultType"], "input_required");
    assert!(received(&server).get("inputResponses").is_none(), "{}", received(&server));
    world.stop().await;
}
