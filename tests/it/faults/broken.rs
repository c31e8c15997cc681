//! Servers that answer a call with anything but an answer. Whatever it is, its client gets an
//! error with its own id, the server has received the call once, the record says how it ended,
//! and the next call works.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{ALICE, Client, STAFF_MAY_ALL, World};

/// How a server of either era answers `tools/call`, by the name of the tool. `{id}` is the
/// request's.
const ANSWERS: [(&str, &str); 22] = [
    (
        "fine",
        "200 OK|application/json|{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[],\"resultType\":\"complete\"}}",
    ),
    ("text", "200 OK|text/html|<p>hello</p>"),
    ("nothing", "200 OK|application/json|"),
    ("no_content", "204 No Content|application/json|"),
    ("accepted", "202 Accepted|application/json|"),
    ("elsewhere", "302 Found|application/json|{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[]}}"),
    ("another_id", "200 OK|application/json|{\"jsonrpc\":\"2.0\",\"id\":999999,\"result\":{\"content\":[]}}"),
    (
        "id_as_another_text",
        "200 OK|application/json|{\"jsonrpc\":\"2.0\",\"id\":\"x{id}\",\"result\":{\"content\":[]}}",
    ),
    (
        "both",
        "200 OK|application/json|{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[]},\"error\":{\"code\":1,\"message\":\"x\"}}",
    ),
    ("neither", "200 OK|application/json|{\"jsonrpc\":\"2.0\",\"id\":{id}}"),
    (
        "twice",
        "200 OK|application/json|{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[]},\"result\":{\"content\":[{}]}}",
    ),
    ("batch", "200 OK|application/json|[{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[]}}]"),
    (
        "not_a_number",
        "200 OK|application/json|{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[],\"structuredContent\":{\"a\":NaN}}}",
    ),
    (
        "surrogate",
        "200 OK|application/json|{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"\\ud800\"}]}}",
    ),
    (
        "byte_order_mark",
        "200 OK|application/json|\u{feff}{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[]}}",
    ),
    ("half_a_body", "200 OK|application/json cut|{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\""),
    ("half_an_event", "200 OK|text/event-stream cut|data: {\"jsonrpc\":\"2.0\",\"id\":{id},\"resu"),
    (
        "an_end_without_answer",
        "200 OK|text/event-stream|data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n",
    ),
    ("done_and_unavailable", "503 Service Unavailable|application/json|{}"),
    (
        "two_lengths",
        "200 OK\r\ncontent-length: 3|application/json|{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{\"content\":[]}}",
    ),
    ("reset", "reset"),
    ("hang", "hang"),
];

/// Those that say less and less, and never end.
const ENDLESS: [(&str, &str); 2] = [("drip", " "), ("comments", ": still here\n\n")];

/// A server of one era, and the names of the tools that were called.
struct Broken {
    url: String,
    called: Arc<Mutex<Vec<String>>>,
}

impl Broken {
    async fn start(is_modern: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
        let called = Arc::<Mutex<Vec<String>>>::default();
        let calls = Arc::clone(&called);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, is_modern, Arc::clone(&calls)));
            }
        });
        Self { url, called }
    }
}

async fn serve(mut stream: TcpStream, is_modern: bool, called: Arc<Mutex<Vec<String>>>) {
    while let Some((head, body)) = request(&mut stream).await {
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let id = message["id"].to_string();
        let result = |result: Value| {
            let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
            format!("200 OK|application/json|{body}")
        };
        let answer = match message["method"].as_str().unwrap_or_default() {
            _ if !head.starts_with("POST") => "405 Method Not Allowed|text/plain|".to_owned(),
            "server/discover" if is_modern => result(json!({
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private", "resultType": "complete",
            })),
            "server/discover" => "400 Bad Request|application/json|{}".to_owned(),
            "initialize" => result(json!({
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "broken", "version": "1"},
            })),
            "tools/list" => {
                let names = ANSWERS.iter().chain(&ENDLESS).map(|(name, _)| name);
                let tools: Vec<_> =
                    names.map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
                result(
                    json!({ "tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private" }),
                )
            }
            "tools/call" => {
                let name = message["params"]["name"].as_str().unwrap_or_default().to_owned();
                called.lock().expect("not poisoned").push(name.clone());
                if let Some((_, drop)) = ENDLESS.iter().find(|(endless, _)| *endless == name) {
                    return endless(stream, drop).await;
                }
                let (_, answer) =
                    ANSWERS.iter().find(|(known, _)| *known == name).expect("a tool of this server");
                (*answer).to_owned()
            }
            _ => "202 Accepted|text/plain|".to_owned(),
        };
        match answer.as_str() {
            "reset" => {
                // With this, the system says RST.
                return stream.set_zero_linger().expect("set");
            }
            "hang" => return std::future::pending().await,
            _ => {}
        }
        let mut parts = answer.splitn(3, '|');
        let mut part = || parts.next().expect("three parts");
        let (status, kind, body) = (part(), part(), part().replace("{id}", &id));
        let (kind, is_cut) = kind.strip_suffix(" cut").map_or((kind, false), |kind| (kind, true));
        let length = if is_cut { body.len() + 100 } else { body.len() };
        let text = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        if stream.write_all(text.as_bytes()).await.is_err() || is_cut {
            return;
        }
    }
}

/// Says a little now and then, for ever.
async fn endless(mut stream: TcpStream, drop: &str) {
    let kind = if drop == " " { "application/json" } else { "text/event-stream" };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("{:x}\r\n{drop}\r\n", drop.len());
    let mut said = stream.write_all(head.as_bytes()).await;
    while said.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        said = stream.write_all(chunk.as_bytes()).await;
    }
}

/// The head and the body of the next request.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase().replacen("post", "POST", 1);
    let length =
        head.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next()?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_answers_its_client_hears_and_nobody_else_suffers() {
    let broken = [Broken::start(true).await, Broken::start(false).await];
    let servers = format!(
        "servers:\n  - {{id: modern, url: \"{}\", timeout: 700, enabled: true}}\n  - {{id: legacy, url: \"{}\", timeout: 700, enabled: true}}\nrateLimit: {{enabled: false}}\n",
        broken[0].url, broken[1].url,
    );
    let world = World::start(&[], &format!("{servers}{STAFF_MAY_ALL}")).await;
    let clients = [world.modern("/mcp", ALICE), world.legacy("/mcp", ALICE).await];
    let mut expected = Vec::new();
    for client in &clients {
        for server in ["modern", "legacy"] {
            for (name, _) in ANSWERS.iter().skip(1).chain(&ENDLESS) {
                fails(client, server, name).await;
                let fine = client.call(&format!("{server}__fine"), json!({})).await;
                assert_eq!(fine.json()["result"]["content"], json!([]), "after {name}: {}", fine.text());
                expected.extend([(*name).to_owned(), "fine".to_owned()]);
            }
        }
    }
    for server in &broken {
        let called = server.called.lock().expect("not poisoned").clone();
        assert_eq!(called.len(), expected.len() / 2, "each was received once");
    }
    let records = world.records();
    assert_eq!(records.len(), expected.len());
    for (record, name) in records.iter().zip(&expected) {
        assert_eq!(record["tool"], **name);
        let outcome = record["outcome"].as_str().unwrap_or_default();
        let failed = matches!(outcome, "upstream_error" | "timeout");
        assert_eq!(failed, name != "fine", "{name}: {outcome}");
    }
    world.stop().await;
}

/// A call that does not work: the answer has its id, and says so to whoever reads it.
async fn fails(client: &Client, server: &str, name: &str) {
    let tool = format!("{server}__{name}");
    let answer = tokio::time::timeout(Duration::from_secs(10), client.call(&tool, json!({}))).await;
    let answer = answer.unwrap_or_else(|_| panic!("{server} {name}: no answer"));
    let json = answer.json();
    assert_eq!(json["id"], 1, "{server} {name}: {json}");
    assert_eq!(json["result"]["isError"], true, "{server} {name}: {json}");
    let says_why = answer.text().contains(server) || answer.text().contains("timeout");
    assert!(says_why, "{server} {name}: {}", answer.text());
}

/// What a child says instead of an answer, line by line: the same table, where HTTP is not what is
/// wrong with it. Whose answer it was can be told from each of these.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_child_that_cannot_be_read_fails_its_call_at_once() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/says_what_it_is_told.py");
    let lines = ANSWERS.iter().filter_map(|(name, answer)| {
        let line = answer.strip_prefix("200 OK|application/json|")?;
        Some((*name, line)).filter(|(_, line)| line.contains("{id}"))
    });
    let lines: BTreeMap<_, _> = lines.collect();
    assert!(lines.len() > 7, "{lines:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let told = folder.path().join("lines.json");
    std::fs::write(&told, json!(lines).to_string()).expect("written");
    let server = format!(
        "servers:\n  - {{id: child, command: python3, args: [\"{script}\", \"{}\"], enabled: true}}\n",
        told.display(),
    );
    let world = World::start(&[], &format!("{server}{STAFF_MAY_ALL}")).await;
    let client = world.legacy("/mcp", ALICE).await;
    for name in lines.keys().filter(|name| **name != "fine") {
        fails(&client, "child", name).await;
        let fine = client.call("child__fine", json!({})).await;
        assert_eq!(fine.json()["result"]["content"], json!([]), "after {name}: {}", fine.text());
    }
    world.stop().await;
}
