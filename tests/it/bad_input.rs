//! Malformed, hostile and merely odd input: each gets its status and code, and the
//! next honest call works.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward::runtime::Surroundings;
use doorward_model::clock::Fixed;
use hyper::Method;
use serde_json::json;

use crate::world::http::insert;
use crate::world::{ALICE, STAFF_MAY_ALL, Speaks, World, system};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_message_are_refused_and_harm_nothing() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.legacy("/mcp", ALICE).await;
    let call =
        |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let huge_id = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(100_000));
    let echo = |arguments: &str| call(&format!(r#"{{"name":"github__echo","arguments":{arguments}}}"#));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "400 -32700"),
        (b"{".to_vec(), "400 -32700"),
        (b"not json".to_vec(), "400 -32700"),
        (b"\xff\xfe{\x00}\x00".to_vec(), "400 -32700"),
        (b"\xef\xbb\xbf{}".to_vec(), "400 -32700"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\xffng\"}".to_vec(), "400 -32700"),
        (nested.into_bytes(), "400 -32700"),
        (echo(r#"{"a":1,"a":2}"#).into(), "400 -32700"),
        (echo(r#"{"a":1,"\u0061":2}"#).into(), "400 -32700"),
        (echo(r#"{"a":"\ud800"}"#).into(), "400 -32700"),
        (echo(r#"{"a":NaN}"#).into(), "400 -32700"),
        (echo(r#"{"a":1e400}"#).into(), "400 -32700"),
        (echo(r#"{"a":9007199254740993}"#).into(), "200 request-bounds"),
        (call(r#"{"name":"github__echo","Name":"github__delete_repository"}"#).into(), "400 -32600"),
        (call(r#"{"name":"github__echo","argument\u017f":{}}"#).into(), "400 -32600"),
        (b"[]".to_vec(), "400 -32600"),
        (b"7".to_vec(), "400 -32600"),
        (b"{}".to_vec(), "400 -32600"),
        (br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_vec(), "400 -32600"),
        (br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#.to_vec(), "400 -32600"),
        (br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.to_vec(), "400 -32600"),
        (br#"{"jsonrpc":"2.0","id":1,"method":7}"#.to_vec(), "400 -32600"),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#.to_vec(), "400 -32600"),
        (huge_id.into_bytes(), "400 -32600"),
        (br#"{"jsonrpc":"2.0","id":1,"method":"no/such/method"}"#.to_vec(), "200 -32601"),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#.to_vec(), "200 -32602"),
        (call(r#"{"name":7}"#).into(), "200 -32602"),
        (call(r#"{"name":"github__echo","arguments":[]}"#).into(), "200 -32602"),
        (
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"nonsense"}}"#.to_vec(),
            "200 -32602",
        ),
        (br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":7}}"#.to_vec(), "200 -32602"),
    ];
    for (body, expected) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let answer = alice.raw(Method::POST, &alice.headers(), Bytes::from(body)).await;
        assert_eq!(answer.summary(), expected, "{shown}");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    assert_eq!(alice.call("github__echo", json!({"a": 1})).await.summary(), "200 ok");
    assert_eq!(world.received(), ["github echo"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_larger_than_the_limit_is_refused() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.legacy("/mcp", ALICE).await;
    let large = "x".repeat(5 << 20);
    let answer = alice.call("github__echo", json!({"message": large})).await;
    assert_eq!(answer.status, 413);
    assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_lie_are_refused() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp", ALICE);
    let body = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {
        "name": "github__echo", "arguments": {},
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let honest = || {
        let mut headers = alice.headers();
        insert(&mut headers, "mcp-method", "tools/call");
        insert(&mut headers, "mcp-name", "github__echo");
        headers
    };
    let send = |headers: hyper::HeaderMap, body: serde_json::Value| {
        let alice = alice.clone();
        async move { alice.raw(Method::POST, &headers, body.to_string().into()).await.summary() }
    };
    assert_eq!(send(honest(), body.clone()).await, "200 ok");
    let mut encoded = honest();
    insert(&mut encoded, "mcp-name", "=?base64?Z2l0aHViX19lY2hv?=");
    assert_eq!(send(encoded, body.clone()).await, "200 ok");
    for (name, value) in [
        ("mcp-method", "tools/list"),
        ("mcp-method", "Tools/Call"),
        ("mcp-name", "github__delete_repository"),
        ("mcp-name", "=?base64?Z2l0?"),
        ("mcp-name", "=?base64?!!!?="),
        ("mcp-protocol-version", "2025-11-25"),
    ] {
        let mut headers = honest();
        insert(&mut headers, name, value);
        assert_eq!(send(headers, body.clone()).await, "400 -32020", "{name}: {value}");
    }
    for name in ["mcp-method", "mcp-name", "mcp-protocol-version"] {
        let mut headers = honest();
        headers.remove(name);
        assert_eq!(send(headers, body.clone()).await, "400 -32020", "{name} missing");
        let mut headers = honest();
        let again = headers[name].clone();
        headers.append(name, again);
        assert_eq!(send(headers, body.clone()).await, "400 -32020", "{name} twice");
    }
    let mut newer = body.clone();
    newer["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2031-01-01");
    let mut headers = honest();
    insert(&mut headers, "mcp-protocol-version", "2031-01-01");
    assert_eq!(send(headers, newer).await, "400 -32022");
    let mut bare = body.clone();
    bare["params"]["_meta"]
        .as_object_mut()
        .expect("an object")
        .remove("io.modelcontextprotocol/clientCapabilities");
    assert_eq!(send(honest(), bare).await, "400 -32602");
    let mut silent = body.clone();
    silent["params"].as_object_mut().expect("an object").remove("_meta");
    assert_eq!(send(honest(), silent).await, "400 -32602");
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "no/such"] {
        let mut other = body.clone();
        other["method"] = json!(method);
        let mut headers = honest();
        insert(&mut headers, "mcp-method", method);
        headers.remove("mcp-name");
        assert_eq!(send(headers, other).await, "404 -32601", "{method}");
    }
    assert_eq!(world.received(), ["github echo", "github echo"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_is_kept_on_every_route() {
    let clock = Arc::new(Fixed::new(1));
    let surroundings = Surroundings { clock: clock.clone(), ..system() };
    let world = World::start_surrounded(&["github"], Speaks::Legacy, STAFF_MAY_ALL, surroundings).await;
    for path in ["/mcp", "/mcp/github", "/mcp/_gateway", "/healthz", "/readyz", "/metrics", "/nowhere"] {
        let alice = world.modern(path, ALICE);
        // Time enough for the next dozen not to be too many.
        clock.advance(Duration::from_secs(1));
        for (name, value) in
            [("host", "evil.example"), ("origin", "https://evil.example"), ("origin", "null")]
        {
            let mut headers = alice.headers();
            insert(&mut headers, name, value);
            for method in [Method::POST, Method::GET, Method::DELETE, Method::OPTIONS] {
                let answer = alice.raw(method.clone(), &headers, Bytes::from_static(b"{}")).await;
                assert_eq!(answer.status, 403, "{method} {path} with {name}: {value}");
            }
        }
    }
    let alice = world.modern("/mcp", ALICE);
    let mut node = alice.headers();
    insert(&mut node, "sec-fetch-mode", "cors");
    let ping = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(alice.raw(Method::POST, &node, ping.clone()).await.status, 202, "Node's fetch is no attack");
    let mut text = alice.headers();
    insert(&mut text, "content-type", "text/plain");
    assert_eq!(alice.raw(Method::POST, &text, ping.clone()).await.status, 415);
    let mut html = alice.headers();
    insert(&mut html, "accept", "text/html");
    assert_eq!(alice.raw(Method::POST, &html, ping).await.status, 406);
    assert_eq!(alice.raw(Method::GET, &alice.headers(), Bytes::new()).await.status, 405);
    assert_eq!(alice.raw(Method::DELETE, &alice.headers(), Bytes::new()).await.status, 405);
    assert_eq!(world.recorders[0].received().len(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_learn_nothing_but_that_they_are_strangers() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let mut answers = Vec::new();
    for key in ["", "gw_wrong", "sha256:0000", &"a".repeat(64)] {
        let client = world.modern("/mcp", key);
        let answer = client.raw(Method::POST, &client.headers(), Bytes::from_static(b"not even json")).await;
        assert_eq!(answer.status, 401, "{key}");
        assert!(answer.headers.contains_key("www-authenticate"));
        answers.push(answer.body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "one answer for every reason");
    assert_eq!(world.recorders[0].received().len(), 0);
    world.stop().await;
}
