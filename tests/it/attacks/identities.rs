//! What belongs to one caller is nobody else's: sessions, places in streams, and the ids of
//! requests that several use at once.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::children::echoes;
use super::raw::{post, say_and_leave};
use crate::world::http::insert;
use crate::world::recorder::Received;
use crate::world::{ALICE, BOB, Client, World, eventually};

const ALL_MAY_ALL: &str = "rateLimit: {enabled: false}\npolicies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn anothers_session_is_not_found_whatever_is_asked_of_it() {
    let world = World::start(&["github"], ALL_MAY_ALL).await;
    let alice = world.legacy("/mcp", ALICE).await;
    assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
    let mut stream = alice.events(Method::GET, &Value::Null).await;
    let place = stream.place().await;
    world.recorders[0].forget();
    let before = world.records().len();

    let thief = alice.with_key(BOB);
    for method in ["ping", "tools/list", "tools/call", "resources/subscribe", "logging/setLevel"] {
        let answer = thief.request(method, json!({"name": "github__echo", "arguments": {}})).await;
        assert_eq!(answer.summary(), "404 -32600", "{method}");
        assert!(!answer.headers.contains_key("mcp-session-id"));
    }
    for message in [
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {}}}),
    ] {
        assert_eq!(thief.post(&message).await.summary(), "404 -32600", "{message}");
    }
    assert_eq!(thief.delete().await, 404);
    assert_eq!(thief.raw(Method::GET, &thief.headers(), Bytes::new()).await.status, 404);
    assert!(thief.resume(&place).await.is_none());
    // Without any key, or with one that is none, it is no credential.
    for key in ["gw_nobody", ""] {
        assert_eq!(alice.with_key(key).request("ping", json!({})).await.status, 401);
    }
    assert_eq!(world.recorders[0].received().len(), 0, "nothing of it was passed on");
    assert_eq!(world.records().len(), before, "nothing of it was decided");
    assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok", "its owner still has it");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_made_up_opens_nothing() {
    let world = World::start(&["github"], ALL_MAY_ALL).await;
    let alice = world.legacy("/mcp", ALICE).await;
    let own = alice.session().to_owned();
    let twin = world.legacy("/mcp", ALICE).await.session().to_owned();
    assert_ne!(own, twin);
    let shared = own.bytes().zip(twin.bytes()).filter(|(one, other)| one == other).count();
    assert!(shared < own.len() / 2, "one tells nothing of the next: {own} {twin}");
    let id = own.split(['.', '-']).next().unwrap_or_default();
    let half = own.len() / 2;
    for made_up in [
        "".to_owned(),
        "1".to_owned(),
        "00000000-0000-0000-0000-000000000000".to_owned(),
        id.to_owned(),
        own[..half].to_owned(),
        format!("{}{}", &own[..half], &twin[half..]),
        format!("{own}{own}"),
        format!("{own}="),
        own.to_uppercase(),
        format!("../{own}"),
        "x".repeat(8_000),
    ] {
        let answer = alice.with_session(&made_up).request("tools/list", json!({})).await;
        assert!(matches!(answer.status, 400 | 404), "{made_up}: {}", answer.summary());
    }
    // Two are one too many, whichever comes first.
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for (one, other) in [(&own, &twin), (&own, &own), (&own, &"x".to_owned())] {
        let headers = format!("mcp-session-id: {one}\r\nmcp-session-id: {other}\r\n");
        for method in ["POST", "GET", "DELETE"] {
            let bytes = post(world.address(), "/mcp", &headers, &body).replacen("POST", method, 1);
            let answers = say_and_leave(world.address(), bytes.as_bytes()).await;
            assert_eq!(answers[0].summary(), "400 -32020", "{method} {one} {other}");
        }
    }
    assert_eq!(alice.request("ping", json!({})).await.summary(), "200 ok", "nobody ended it");
    assert_eq!(world.received(), Vec::<String>::new());
    world.stop().await;
}

/// Calls with this id, and arguments that say whose they are.
async fn call(client: &Client, id: &Value, whose: &str) -> (Value, String) {
    let mut params = crate::world::call("github__echo", json!({"whose": whose}));
    if !client.has_session() {
        params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    }
    let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    let mut headers = client.headers();
    if !client.has_session() {
        insert(&mut headers, "mcp-method", "tools/call");
        insert(&mut headers, "mcp-name", "github__echo");
    }
    let answer = client.raw(Method::POST, &headers, message.to_string().into()).await;
    (answer.json()["id"].clone(), answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_the_same_id_are_not_taken_for_each_other() {
    for behind_pipes in [false, true] {
        let world = match behind_pipes {
            true => World::start(&[], &format!("{}{ALL_MAY_ALL}", echoes(&["echo"], "github", ""))).await,
            false => World::start(&["github"], ALL_MAY_ALL).await,
        };
        let clients = [
            world.modern("/mcp", ALICE),
            world.modern("/mcp", BOB),
            world.legacy("/mcp", ALICE).await,
            world.legacy("/mcp", BOB).await,
        ];
        let mut asking = Vec::new();
        for round in 0..10 {
            for (number, id) in [json!(1), json!("1"), json!(0), json!("")].into_iter().enumerate() {
                for (at, client) in clients.iter().enumerate() {
                    let (client, id) = (client.clone(), id.clone());
                    asking.push(tokio::spawn(async move {
                        let whose = format!("client {at} round {round} id {number}");
                        let (answered, text) = call(&client, &id, &whose).await;
                        assert_eq!(answered, id, "{whose}");
                        // Within one session an id is used once at a time.
                        let is_taken = client.has_session() && text.contains("still running");
                        assert!(text.contains(&whose) || is_taken, "{whose}: {text}");
                    }));
                }
            }
        }
        for one in asking {
            one.await.expect("answered");
        }
        if !behind_pipes {
            let received = world.recorders[0].received();
            let calls = received.iter().map(Received::json);
            let ids: Vec<_> =
                calls.filter(|it| it["method"] == "tools/call").map(|it| it["id"].clone()).collect();
            assert!(ids.iter().all(Value::is_u64), "the gateway's own: {ids:?}");
        }
        eventually("all is settled", async || {
            world.records().iter().all(|record| record["outcome"] != "pending")
        })
        .await;
        for record in world.records() {
            let whose = if record["consumerId"] == "alice" {
                ["client 0", "client 2"]
            } else {
                ["client 1", "client 3"]
            };
            let args = record["args"].as_str().expect("a text");
            assert!(whose.iter().any(|whose| args.contains(whose)), "{record}");
        }
        world.stop().await;
    }
}
