//! What servers of the legacy era offer only to clients that can be asked: it is listed to
//! those, called by those, and unknown to all others.

use std::process::Stdio;

use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::program::free_port;
use crate::world::http::Events;
use crate::world::{ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, World, ecosystem, eventually};

const TOOLS: &str = "notifications/tools/list_changed";

fn forms() -> Value {
    json!({"elicitation": {}})
}

/// Four clients: of either era, of whom the last two can be asked for a form.
async fn clients(world: &World, path: &str) -> [Client; 4] {
    let legacy = async |capabilities: Value| {
        Client::legacy_able(world.address(), path, ALICE, "2025-11-25", capabilities).await
    };
    let modern = || world.modern(path, ALICE);
    [modern(), legacy(json!({})).await, modern().able(forms()), legacy(forms()).await]
}

async fn over(recorder: &Recorder) -> World {
    let servers = format!("servers:\n  - {{id: rec, url: \"{}\", enabled: true}}\n", recorder.url());
    World::start(&[], &format!("{servers}{STAFF_MAY_ALL}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_to_some_is_unknown_to_the_others() {
    let recorder = Recorder::start("rec", Speaks::Legacy).await;
    recorder.offer_only(&["echo", "form_name"]);
    let world = over(&recorder).await;
    let [unable, unable_legacy, able, able_legacy] = clients(&world, "/mcp").await;
    for client in [&unable, &unable_legacy] {
        // Without a list before it, too.
        let refused = client.call("rec__form_name", json!({})).await;
        let unknown = client.call("rec__form_nome", json!({})).await;
        let unknown = String::from_utf8_lossy(&unknown.body).replace("form_nome", "form_name");
        assert_eq!(String::from_utf8_lossy(&refused.body), unknown);
        assert_eq!(client.tools().await, ["rec__echo"]);
    }
    assert_eq!(recorder.calls(), [""; 0]);
    for client in [&able, &able_legacy] {
        assert_eq!(client.call("rec__form_name", json!({"a": 1})).await.text(), r#"{"a":1}"#);
        assert_eq!(client.tools().await, ["rec__echo", "rec__form_name"]);
    }
    assert_eq!(recorder.calls(), ["form_name", "form_name"]);
    let outcomes: Vec<_> = world.records().iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["denied", "denied", "denied", "denied", "success", "success"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_sessions_is_asked_once_for_all() {
    let recorder = Recorder::start("rec", Speaks::Modern).await;
    let world = over(&recorder).await;
    for client in clients(&world, "/mcp").await {
        assert_eq!(client.tools().await.len(), 5);
    }
    let lists = recorder.received().iter().filter(|it| it.json()["method"] == "tools/list").count();
    assert_eq!(lists, 1);
    world.stop().await;
}

/// The stream on which a client hears of changes, open.
async fn listen(client: &Client) -> Events {
    if client.has_session() { client.events(Method::GET, &Value::Null).await } else { client.listen().await }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_for_some_is_told_to_those_alone() {
    let recorder = Recorder::start("rec", Speaks::Legacy).await;
    recorder.announces();
    recorder.offer_only(&["echo"]);
    let world = over(&recorder).await;
    let clients = clients(&world, "/mcp").await;
    let mut streams = Vec::new();
    for client in &clients {
        assert_eq!(client.tools().await, ["rec__echo"]);
        streams.push(listen(client).await);
    }
    // A stream each for those whose list may differ.
    eventually("the server is listened to", async || recorder.listeners() >= 2).await;

    recorder.offer("form_name");
    recorder.say_tools_changed();
    for stream in &mut streams[2..] {
        assert_eq!(stream.next().await["method"], TOOLS);
    }
    // The others heard nothing of that: this is the first, and at the end there is no more.
    recorder.offer("get_issue");
    recorder.say_tools_changed();
    for stream in &mut streams {
        assert_eq!(stream.next().await["method"], TOOLS);
    }
    for (client, count) in clients.iter().zip([2, 2, 3, 3]) {
        assert_eq!(client.tools().await.len(), count);
    }
    world.stop().await;
    for stream in &mut streams {
        let rest = stream.rest().await;
        assert!(rest.iter().all(|message| message["method"].is_null()), "{rest:?}");
    }
}

/// npm's `server-everything` on a port, until it is dropped.
async fn npm_server(transport: &str, path: &str) -> (Child, String) {
    let port = free_port();
    let child = Command::new("node")
        .args([&ecosystem::node_server("server-everything"), transport])
        .env("PORT", port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("Node.js starts");
    eventually("the server listens", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    (child, format!("url: \"http://127.0.0.1:{port}{path}\""))
}

/// The tools that it has for some clients only.
const FOR_SOME: [&str; 3] = ["get-roots-list", "trigger-elicitation-request", "trigger-sampling-request"];

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_offers_each_client_what_it_would_without_a_gateway() {
    let stdio = format!("command: node, args: [\"{}\"]", ecosystem::node_server("server-everything"));
    let (_http, http) = npm_server("streamableHttp", "/mcp").await;
    let (_sse, sse) = npm_server("sse", "/sse").await;
    for place in [stdio, http, format!("{sse}, transport: sse")] {
        let servers = format!("servers:\n  - {{id: every, {place}, enabled: true}}\n");
        let world = World::start(&[], &format!("{servers}{STAFF_MAY_ALL}")).await;
        let declared = [
            (json!({}), &[][..]),
            (json!({"roots": {}}), &FOR_SOME[..1]),
            (json!({"elicitation": {}}), &FOR_SOME[1..2]),
            (json!({"roots": {}, "sampling": {}, "elicitation": {}}), &FOR_SOME[..]),
        ];
        for (capabilities, expected) in declared {
            let legacy =
                Client::legacy_able(world.address(), "/mcp/every", ALICE, "2025-11-25", capabilities.clone());
            let modern = world.modern("/mcp/every", ALICE).able(capabilities.clone());
            for client in [legacy.await, modern] {
                let tools = client.tools().await;
                assert!(tools.contains(&"echo".to_owned()), "{place}: {tools:?}");
                let mut for_some: Vec<_> =
                    FOR_SOME.into_iter().filter(|name| tools.iter().any(|tool| tool == name)).collect();
                for_some.sort_unstable();
                assert_eq!(for_some, expected, "{place} {capabilities}");
            }
        }

        // And it can be called, which asks.
        let client = world.modern("/mcp/every", ALICE).able(json!({"elicitation": {}}));
        let first = client.call("trigger-elicitation-request", json!({})).await.json()["result"].clone();
        let (key, question) =
            first["inputRequests"].as_object().and_then(|asked| asked.iter().next()).expect("a question");
        assert_eq!(question["method"], "elicitation/create", "{place}: {first}");
        let again = json!({
            "name": "trigger-elicitation-request", "arguments": {}, "requestState": first["requestState"],
            "inputResponses": { key: {"action": "decline"} },
        });
        let answer = client.request("tools/call", again).await;
        assert!(answer.text().contains("declined"), "{place}: {}", answer.text());
        let unable = world.modern("/mcp/every", ALICE).call("trigger-elicitation-request", json!({})).await;
        assert_eq!(unable.json()["error"]["code"], -32602, "{place}");
        world.stop().await;
    }
}
