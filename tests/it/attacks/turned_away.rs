//! Every way to be turned away before a decision: each is answered, counted and recorded.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::raw::{modern, tools_call};
use crate::world::{ALICE, BOB, Client, Pipe, STAFF_MAY_ALL, World, call, entries, eventually};

/// What other tests bring about: an address that is not let in, too many of anything.
const ELSEWHERE: [&str; 6] =
    ["address", "flood", "overloaded", "left_out", "request_limit", "calls_left_out"];

/// A request, up to the end of its head.
fn head(address: SocketAddr, line: &str, headers: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {ALICE}\r\nconnection: close\r\n{headers}\r\n"
    )
}

/// A `POST` of this to `/mcp`.
fn post(address: SocketAddr, headers: &str, body: &str) -> String {
    let headers = format!(
        "content-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: {}\r\n{headers}",
        body.len()
    );
    head(address, "POST /mcp", &headers) + body
}

/// Says it from an address of its own, and leaves if `leaves` says so; the status of the answer.
async fn say(from: u8, to: SocketAddr, text: &str, leaves: bool) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 1, from], 0))).expect("an address");
    let mut stream = socket.connect(to).await.expect("connected");
    // Whoever has heard enough may hang up before all is said.
    let _ = stream.write_all(text.as_bytes()).await;
    if leaves {
        let _ = stream.shutdown().await;
    }
    let mut heard = Vec::new();
    // The first line says it all.
    let reading = async {
        while !heard.contains(&b'\n')
            && let Ok(1..) = stream.read_buf(&mut heard).await
        {}
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an answer in time");
    let heard = String::from_utf8_lossy(&heard).into_owned();
    heard.split(' ').nth(1).unwrap_or("none").to_owned()
}

/// Each refusal that takes one request: its reason, its status and the request.
async fn refusals(world: &World) -> Vec<(&'static str, &'static str, String)> {
    let address = world.address();
    let newest = Client::legacy(address, "/mcp", ALICE, "2025-11-25").await;
    let oldest = Client::legacy(address, "/mcp", ALICE, "2025-03-26").await;
    let session = |client: &Client| format!("mcp-session-id: {}\r\n", client.session());
    let (newest, oldest) = (session(&newest), session(&oldest));
    let wrong_key = |text: String| text.replace(ALICE, "gw_wrong");
    let unknown = tools_call("github__echo", json!({})).replace("tools/call", "no/such");
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let get = |headers: &str| head(address, "GET /mcp", headers);
    let chunk = "content-type: application/json\r\ntransfer-encoding: gzip, chunked\r\n";
    let forwarded = head(address, "GET /metrics", "x-forwarded-for: 192.0.2.1\r\n").replace(ALICE, BOB);
    vec![
        ("unauthenticated", "401", wrong_key(post(address, "", ping))),
        ("foreign", "403", post(address, "origin: https://evil.example\r\n", ping)),
        ("scope", "403", forwarded),
        ("unknown_path", "404", head(address, "GET /nowhere", "")),
        ("unknown_path", "404", post(address, "", INITIALIZE).replace("POST /mcp ", "POST /mcp/nobody ")),
        ("http_method", "405", head(address, "PUT /mcp", "")),
        ("http_method", "405", get("accept: text/event-stream\r\n")),
        ("http_method", "405", head(address, "DELETE /mcp", "")),
        ("http_method", "405", head(address, "POST /healthz", "content-length: 0\r\n")),
        ("media_type", "415", post(address, "", ping).replace("application/json\r", "text/plain\r")),
        ("media_type", "415", post(address, "content-encoding: gzip\r\n", ping)),
        (
            "media_type",
            "406",
            post(address, "", ping)
                .replace("accept: application/json, text/event-stream", "accept: text/html"),
        ),
        ("media_type", "406", get(&format!("accept: text/html\r\n{newest}"))),
        ("transfer_coding", "501", head(address, "POST /mcp", chunk) + "0\r\n\r\n"),
        (
            "transfer_coding",
            "501",
            head(address, "GET /healthz", "transfer-encoding: chunked, chunked\r\n") + "0\r\n\r\n",
        ),
        (
            "transfer_coding",
            "501",
            head(address, "GET /healthz", "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n")
                + "0\r\n\r\n",
        ),
        (
            "head_too_large",
            "431",
            head(address, "GET /healthz", &format!("x-a: {}\r\n", "b".repeat(200_000))),
        ),
        ("malformed", "400", "no request at all\r\n\r\n".to_owned()),
        ("malformed", "400", head(address, "POST /mcp", "transfer-encoding: gzip\r\n")),
        (
            "too_large",
            "413",
            head(address, "POST /mcp", "content-type: application/json\r\ncontent-length: 99999999\r\n"),
        ),
        (
            "too_large",
            "413",
            head(
                address,
                "POST /mcp",
                "content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n",
            ),
        ),
        (
            "broken_off",
            "408",
            head(address, "POST /mcp", "content-type: application/json\r\ncontent-length: 100\r\n") + "{",
        ),
        ("malformed", "400", post(address, &newest, "{")),
        ("malformed", "400", post(address, &newest, "{}")),
        ("malformed", "400", post(address, &newest, &format!("[{ping}]"))),
        ("malformed", "400", post(address, "", &format!("[{ping}]"))),
        ("malformed", "400", post(address, &oldest, "[1]")),
        ("malformed", "400", post(address, &oldest, "[[]]")),
        ("malformed", "400", post(address, &oldest, "[null]")),
        ("malformed", "400", post(address, &oldest, "[{}]")),
        ("malformed", "400", post(address, &oldest, "[]")),
        ("malformed", "400", post(address, &format!("{newest}{newest}"), ping)),
        ("no_session", "404", post(address, "mcp-session-id: none\r\n", ping)),
        ("no_session", "404", post(address, "mcp-session-id: none\r\n", &format!("[{ping}]"))),
        ("no_session", "404", get("accept: text/event-stream\r\nmcp-session-id: none\r\n")),
        ("no_session", "404", head(address, "DELETE /mcp", "mcp-session-id: none\r\n")),
        ("unknown_method", "404", post(address, &modern("no/such", ""), &unknown)),
        ("unknown_method", "200", post(address, &newest, &ping.replace("ping", "no/such"))),
    ]
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#;

/// The reasons on record of what came from this address.
fn recorded(world: &World, ip: &Value) -> Vec<String> {
    world.gateway().ledger().flush_index().expect("the index catches up");
    let entries = entries(world.folder.path());
    let refused = entries.iter().filter(|entry| entry["event"] == "refused");
    let here = refused.filter(|entry| entry.get("ip").unwrap_or(&Value::Null) == ip);
    here.map(|entry| entry["reason"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn counted(world: &World, reason: &str) -> usize {
    let metrics = world.modern("/metrics", ALICE);
    let metrics = metrics.raw(Method::GET, &metrics.headers(), Default::default()).await;
    let line = format!("doorward_refused_requests_total{{reason=\"{reason}\"}} ");
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    text.lines().find_map(|it| it.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_turned_away_is_answered_counted_and_recorded() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    world.recorders[0].offer("wait");
    let mut walked = BTreeSet::new();
    for (at, (reason, status, text)) in refusals(&world).await.into_iter().enumerate() {
        let from = u8::try_from(at + 1).expect("few");
        let shown: String = text.chars().take(400).collect();
        let before = counted(&world, reason).await;
        let answered = say(from, world.address(), &text, reason == "broken_off").await;
        // Who has left may not hear it any more.
        let is_unheard = reason == "broken_off" && answered == "none";
        assert!(answered == status || is_unheard, "{reason}: {answered} instead of {status}: {shown}");
        let ip = json!(format!("127.0.1.{from}"));
        eventually(reason, async || recorded(&world, &ip) == [reason]).await;
        assert_eq!(counted(&world, reason).await, before + 1, "{reason}: {shown}");
        walked.insert(reason);
    }
    // An id that is in use.
    let alice = world.legacy("/mcp", ALICE).await;
    let first = tokio::spawn({
        let alice = alice.clone();
        async move { alice.call("github__wait", json!({})).await }
    });
    eventually("the first is under way", async || world.received() == ["github wait"]).await;
    assert_eq!(alice.request("tools/call", call("github__echo", json!({}))).await.status, 200);
    assert_eq!(counted(&world, "busy").await, 1);
    assert_eq!(recorded(&world, &json!("127.0.0.1")), ["busy"]);
    walked.insert("busy");
    first.abort();
    // Over standard input there is no address.
    let mut pipe = Pipe::open(&world.config_path(), "aggregate", ALICE);
    for (text, reason) in [
        ("{", "malformed"),
        ("[1]", "malformed"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "malformed"),
    ] {
        let before = counted(&world, reason).await;
        pipe.say_text(text).await;
        assert!(pipe.next_text().await.contains("error"), "{text}");
        assert_eq!(counted(&world, reason).await, before + 1, "{text}");
    }
    pipe.end().await;
    assert_eq!(recorded(&world, &Value::Null), ["malformed"; 3]);
    assert_eq!(world.received(), ["github wait"], "none of it reached the server");
    // There is no reason that nothing here brings about.
    let pages = include_str!("../../../docs/reference/error-codes.md");
    let section = pages.split("## Requests turned away before any decision").nth(1).expect("the section");
    let section = section.split("\n## ").next().expect("its end");
    let known: BTreeSet<_> =
        section.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    walked.extend(ELSEWHERE);
    assert_eq!(walked, known);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_says_it_is_too_long_is_refused_before_it_is_sent() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let address = world.address();
    for headers in ["", "expect: 100-continue\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        let headers = format!("content-type: application/json\r\ncontent-length: 4194305\r\n{headers}");
        let text = head(address, "POST /mcp", &headers);
        stream.write_all(text.as_bytes()).await.expect("written");
        let mut heard = vec![0; 12];
        stream.read_exact(&mut heard).await.expect("an answer, though nothing of the body was sent");
        assert_eq!(String::from_utf8_lossy(&heard), "HTTP/1.1 413", "no leave is given to send it");
    }
    world.stop().await;
}
