//! Whatever a server wraps its answer in, what comes out is built from what was read: a hidden tool
//! is in no list, and what cannot be read is an error with the right id.

use serde_json::{Value, json};

use super::server::{Server, answer, response, result, tools};
use crate::world::{ALICE, Client, STAFF_MAY_ALL, World};

/// Whether what is wrapped so is read.
use Wrapping::{Read, Refused};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrapping {
    Read,
    Refused,
}

/// How an answer is wrapped: status, media type, and the body, in which `{}` stands for the
/// whole message, `{id}` for its id and `{result}` for its result.
const WRAPPINGS: [(Wrapping, &str, &str, &str); 50] = [
    (Read, "200 OK", "application/json", "{}"),
    (Read, "200 OK", "Application/JSON; charset=UTF-8", "{}"),
    (Read, "200 OK", "application/json;charset=utf-8;x=\"y;text/event-stream\"", "{}"),
    (Read, "201 Created", "application/json", "{}"),
    (Read, "200 OK", "application/json\r\nx-content-type-options: nosniff", " \r\n\t{}\n\n"),
    (Refused, "200 OK", "text/json", "{}"),
    (Refused, "200 OK", "text/plain", "{}"),
    (Refused, "200 OK", "application/jsonp", "{}"),
    (Refused, "200 OK", "application/json-seq", "\u{1e}{}\n"),
    (Refused, "200 OK", "text/html", "{}"),
    (Refused, "200 OK", "", "{}"),
    (Refused, "202 Accepted", "text/plain", "{}"),
    (Refused, "204 No Content", "application/json", ""),
    (Refused, "302 Found", "application/json\r\nlocation: /mcp", "{}"),
    (Refused, "500 Internal Server Error", "application/json", "{}"),
    (Refused, "503 Service Unavailable", "text/event-stream", "data: {}\n\n"),
    (Refused, "200 OK", "application/json", "\u{feff}{}"),
    (Refused, "200 OK", "application/json", "{}{}"),
    (Refused, "200 OK", "application/json", "[{}]"),
    (Refused, "200 OK", "application/json", "data: {}\n\n"),
    // Nobody asked for a coding, so none is undone.
    (Read, "200 OK", "application/json\r\ncontent-encoding: gzip", "{}"),
    (Refused, "200 OK", "application/json\r\ncontent-encoding: gzip", "\u{1f}\u{8b}\u{8}{}"),
    (
        Refused,
        "200 OK",
        "application/json",
        r#"{"jsonrpc":"2.0","id":{id},"result":{result},"error":{"code":1,"message":"x"}}"#,
    ),
    (
        Refused,
        "200 OK",
        "application/json",
        r#"{"jsonrpc":"2.0","id":{id},"result":{"tools":[]},"result":{result}}"#,
    ),
    (
        Refused,
        "200 OK",
        "application/json",
        r#"{"jsonrpc":"2.0","id":{id},"result":{"tools":[]},"Result":{result}}"#,
    ),
    (Refused, "200 OK", "application/json", r#"{"jsonrpc":"2.0","id":0,"id":{id},"result":{result}}"#),
    (Refused, "200 OK", "application/json", r#"{"jsonrpc":"2.0","id":987654321,"result":{result}}"#),
    // Some servers send ids back as texts; it is the same id, spelled canonically.
    (Read, "200 OK", "application/json", r#"{"jsonrpc":"2.0","id":"{id}","result":{result}}"#),
    (Refused, "200 OK", "application/json", r#"{"jsonrpc":"2.0","id":"0{id}","result":{result}}"#),
    (Refused, "200 OK", "application/json", r#"{"jsonrpc":"2.0","id":"{id}.0","result":{result}}"#),
    (Refused, "200 OK", "application/json", r#"{"jsonrpc":"2.0","id":" {id}","result":{result}}"#),
    (Refused, "200 OK", "application/json", r#"{"jsonrpc":"2.0","id":null,"result":{result}}"#),
    (Refused, "200 OK", "application/json", r#"{"jsonrpc":"2.0","result":{result}}"#),
    (Refused, "200 OK", "application/json", r#"{"jsonrpc":"1.0","id":{id},"result":{result}}"#),
    (Read, "200 OK", "text/event-stream", "data: {}\n\n"),
    (Read, "200 OK", "TEXT/Event-Stream; charset=utf-8", "event: message\ndata: {}\n\n"),
    (Read, "200 OK", "text/event-stream", "data:{}\r\n\r\n"),
    (Read, "200 OK", "text/event-stream", "data: {}\r\r"),
    (Read, "200 OK", "text/event-stream", ": hello\r\nid: 1\rretry: 5\ndata: {}\r\n\n"),
    (Read, "200 OK", "text/event-stream", "\u{feff}data: {}\n\n"),
    (
        Read,
        "200 OK",
        "text/event-stream",
        "data: {\ndata: \"jsonrpc\":\"2.0\",\ndata: \"id\":{id},\rdata:\"result\":{result}\r\ndata: }\n\n",
    ),
    // What comes behind the answer belongs to nobody.
    (
        Read,
        "200 OK",
        "text/event-stream",
        "data: {}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"tools\":[{\"name\":\"secret\",\"inputSchema\":{\"type\":\"object\"}}]}}\n\n",
    ),
    (Refused, "200 OK", "text/event-stream", "data: {}"),
    (Refused, "200 OK", "text/event-stream", "Data: {}\n\n"),
    (Refused, "200 OK", "text/event-stream", "data : {}\n\n"),
    (Refused, "200 OK", "text/event-stream", "event: other\ndata: {}\n\n"),
    (Refused, "200 OK", "text/event-stream", "{}\n\n"),
    (
        Refused,
        "200 OK",
        "text/event-stream",
        "data: {\"jsonrpc\":\"2.0\",\"id\":987654321,\"result\":{result}}\n\ndata: {}\n\n",
    ),
    (Refused, "200 OK", "text/event-stream", "data: [{}]\n\n"),
    (Refused, "200 OK", "text/event-stream", "data: \u{feff}{}\n\n"),
];

/// The message so wrapped, with this result.
fn wrapped(number: usize, message: &Value, result: &Value) -> String {
    let (_, status, kind, body) = WRAPPINGS[number];
    let body = body.replace("{id}", &message["id"].to_string()).replace("{}", &response(message, result));
    let body = body.replace("{result}", &result.to_string());
    answer(status, kind, &body)
}

const RULES: &str = "rateLimit: {enabled: false}\npolicies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}, {tool: secret, action: hide}]}\n";

/// A world with one server a wrapping; `is_list` says what is wrapped: lists, or the results of calls.
async fn world(is_modern: bool, is_list: bool) -> (World, Vec<Server>) {
    let mut servers = Vec::new();
    for number in 0..WRAPPINGS.len() {
        servers.push(
            Server::start(is_modern, move |_, message| {
                let list = tools(&["echo", "secret"]);
                let said = json!({"content": [{"type": "text", "text": "said"}], "resultType": "complete"});
                match (message["method"] == "tools/list", is_list) {
                    (true, true) => wrapped(number, message, &list),
                    (true, false) => super::server::result(message, list),
                    (false, _) => wrapped(number, message, &said),
                }
            })
            .await,
        );
    }
    let sections: String =
        servers.iter().enumerate().map(|(at, server)| server.section(&format!("s{at}"))).collect();
    (World::start(&[], &format!("servers:\n{sections}{RULES}")).await, servers)
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_list_is_wrapped_nothing_hidden_is_in_it() {
    for is_modern in [true, false] {
        let (world, servers) = world(is_modern, true).await;
        for client in [world.modern("/mcp", ALICE), world.legacy("/mcp", ALICE).await] {
            let answer = client.request("tools/list", json!({})).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!text.contains("secret"), "{text}");
            let names = client.tools().await;
            for (number, (wrapping, status, kind, body)) in WRAPPINGS.iter().enumerate() {
                let is_listed = names.contains(&format!("s{number}__echo"));
                let shown = format!("{number}: {status} {kind} {body:?}, modern: {is_modern}");
                assert_eq!(is_listed, *wrapping == Read, "{shown}");
                assert_eq!(hidden(&client, number).await, "200 -32602", "{shown}");
            }
        }
        assert!(servers.iter().all(|server| server.calls().is_empty()), "what is hidden cannot be called");
        world.stop().await;
    }
}

async fn hidden(client: &Client, number: usize) -> String {
    client.call(&format!("s{number}__secret"), json!({})).await.summary()
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_result_is_wrapped_it_is_read_or_an_error_with_the_right_id() {
    for is_modern in [true, false] {
        let (world, servers) = world(is_modern, false).await;
        let clients = [world.modern("/mcp", ALICE), world.legacy("/mcp", ALICE).await];
        for client in &clients {
            for (number, (wrapping, status, kind, body)) in WRAPPINGS.iter().enumerate() {
                let answer = client.call(&format!("s{number}__echo"), json!({})).await;
                let shown =
                    format!("{number}: {status} {kind} {body:?}, modern: {is_modern}: {}", answer.json());
                assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(1)), "{shown}");
                assert_eq!(answer.text() == "said", *wrapping == Read, "{shown}");
                assert_eq!(answer.json()["result"]["isError"] == true, *wrapping == Refused, "{shown}");
            }
        }
        for (server, (_, status, kind, body)) in servers.iter().zip(WRAPPINGS) {
            assert_eq!(server.calls().len(), clients.len(), "once each: {status} {kind} {body:?}");
        }
        let records = world.records();
        assert_eq!(records.len(), clients.len() * WRAPPINGS.len());
        for (record, (wrapping, ..)) in records.iter().zip(WRAPPINGS.iter().chain(&WRAPPINGS)) {
            let outcome = if *wrapping == Read { "success" } else { "upstream_error" };
            assert_eq!(record["outcome"], outcome, "{record}");
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn optional_members_of_a_result_that_are_null_reach_no_client() {
    let said = json!({
        "content": [{"type": "text", "text": "ok a", "annotations": null}],
        "structuredContent": null,
        "isError": null,
        "_meta": null,
    });
    for is_modern in [true, false] {
        let server = Server::start(is_modern, {
            let said = said.clone();
            move |_, message| {
                let answer = if message["method"] == "tools/list" { tools(&["echo"]) } else { said.clone() };
                result(message, answer)
            }
        })
        .await;
        let world = World::start(&[], &format!("servers:\n{}{STAFF_MAY_ALL}", server.section("s"))).await;
        let content = json!([{"type": "text", "text": "ok a"}]);
        for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
            let client = Client::legacy(world.address(), "/mcp", ALICE, revision).await;
            let answer = client.call("s__echo", json!({})).await.json();
            assert_eq!(answer["result"], json!({"content": content}), "{revision}");
        }
        let answer = world.modern("/mcp", ALICE).call("s__echo", json!({})).await.json();
        // Of that revision, null is structured content as any other value is.
        let expected = json!({"resultType": "complete", "content": content, "structuredContent": null});
        assert_eq!(answer["result"], expected, "2026-07-28");
        let outcomes: Vec<_> = world.records().iter().map(|record| record["outcome"].clone()).collect();
        assert_eq!(outcomes, vec![json!("success"); 5]);
        world.stop().await;
    }
}
