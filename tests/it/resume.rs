//! Broken connections: what a client missed of a stream it gets when it comes back, once.

use std::net::SocketAddr;

use doorward_everything::Eras;
use hyper::Method;
use serde_json::{Value, json};

use crate::replicas::pair;
use crate::world::everything::Host;
use crate::world::http::Events;
use crate::world::redis::Redis;
use crate::world::{ALICE, BOB, Client, STAFF_MAY_ALL, Speaks, World};

async fn world(host: &Host) -> World {
    World::start(&[], &format!("{STAFF_MAY_ALL}{}", host.section())).await
}

async fn client(address: SocketAddr, revision: &str) -> Client {
    Client::legacy_able(address, "/mcp/every", ALICE, revision, json!({"elicitation": {}})).await
}

fn call(id: u64, tool: &str) -> Value {
    let params = json!({"name": tool, "arguments": {}, "_meta": {"progressToken": "p"}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

/// What each message is: a method, or the text of an answer.
fn words(messages: &[Value]) -> Vec<String> {
    let word = |message: &Value| {
        let text = message["result"]["content"][0]["text"].as_str();
        message["method"].as_str().or(text).unwrap_or("?").to_owned()
    };
    messages.iter().map(word).collect()
}

const PROGRESS: &str = "notifications/progress";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_while_the_client_was_gone_is_said_when_it_is_back() {
    let host = Host::start(Eras::Both).await;
    let world = world(&host).await;
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let alice = client(world.address(), revision).await;
        let mut events = alice.events(Method::POST, &call(1, "test_tool_with_progress")).await;
        let first = events.next().await;
        assert_eq!(words(&[first]), [PROGRESS], "{revision}");
        let left = events.last.clone();
        drop(events);
        let rest = alice.resume(&left).await.expect("it is kept").rest().await;
        assert_eq!(words(&rest), [PROGRESS, PROGRESS, "Progress was reported"], "{revision}");
        assert_eq!(rest[2]["id"], 1);
        let again = alice.resume(&left).await.expect("it is kept").rest().await;
        assert_eq!(again, rest, "whoever lost that as well comes back once more");
        let bob = Client::legacy_able(world.address(), "/mcp/every", BOB, revision, json!({})).await;
        assert!(bob.resume(&left).await.is_none(), "another session's is nothing to it");
        for nonsense in ["x", "0123456789abcdef_1", &left.replace('_', "_f")] {
            assert!(alice.resume(nonsense).await.is_none(), "{nonsense}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_opens_with_its_place_where_the_revision_has_that() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    world.recorders[0].offer("wait");
    for (revision, primes) in [("2025-06-18", false), ("2025-11-25", true)] {
        let alice = Client::legacy(world.address(), "/mcp/github", ALICE, revision).await;
        if primes {
            // Nothing was said yet, and still there is a place to come back to.
            let mut events = alice.events(Method::POST, &call(7, "wait")).await;
            let left = events.place().await;
            drop(events);
            world.recorders[0].release();
            let rest = alice.resume(&left).await.expect("it is kept").rest().await;
            assert_eq!((rest.len(), &rest[0]["id"]), (1, &json!(7)), "{rest:?}");
        }
        let mut news = alice.events(Method::GET, &Value::Null).await;
        reload(&world);
        assert_eq!(news.next().await["jsonrpc"], "2.0");
        assert!(!news.last.is_empty());
        reload(&world);
    }
    let oldest = Client::legacy(world.address(), "/mcp/github", ALICE, "2024-11-05").await;
    let mut news = oldest.events(Method::GET, &Value::Null).await;
    reload(&world);
    news.next().await;
    assert_eq!(news.last, "", "the oldest has no places");
    world.stop().await;
}

/// Takes everything the server has away, or gives it back: every list changes.
fn reload(world: &World) {
    const ALL: &str = "enabled: true, disable: [\"*\"]}";
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let (head, servers) = config.split_once("servers:").expect("servers");
    let servers = match servers.contains(ALL) {
        true => servers.replace(ALL, "enabled: true}"),
        false => servers.replace("enabled: true}", ALL),
    };
    std::fs::write(world.config_path(), format!("{head}servers:{servers}")).expect("written");
    assert!(world.running.reload().expect("a valid file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn news_that_came_while_nobody_read_come_once() {
    let world = World::start_speaking(&["github"], Speaks::Legacy, STAFF_MAY_ALL).await;
    assert!(!world.modern("/mcp", ALICE).tools().await.is_empty(), "the lists are known");
    let alice = world.legacy("/mcp", ALICE).await;
    let mut first = alice.events(Method::GET, &Value::Null).await;
    reload(&world);
    let mut seen = first.methods(1).await;
    let left = first.last.clone();
    drop(first);
    // The gateway has sent the others into a connection that nobody read to the end.
    let mut second = alice.resume(&left).await.expect("it is kept");
    seen.extend(second.methods(2).await);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
    let kinds = ["prompts", "resources", "tools"].map(|kind| format!("notifications/{kind}/list_changed"));
    assert_eq!(seen, kinds);
    reload(&world);
    assert_eq!(second.methods(3).await.len(), 3);
    // A stream that was taken over ends.
    let mut third: Events = alice.events(Method::GET, &Value::Null).await;
    assert_eq!(second.rest().await, Vec::<Value>::new());
    reload(&world);
    assert_eq!(third.methods(3).await.len(), 3);
    assert_eq!(alice.delete().await, 204);
    assert_eq!(third.rest().await, Vec::<Value>::new(), "the end of a session ends its streams");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_the_client_missed_is_put_again_and_its_answer_counts() {
    let host = Host::start(Eras::Legacy).await;
    let world = world(&host).await;
    let alice = client(world.address(), "2025-11-25").await;
    let mut events = alice.events(Method::POST, &call(3, "test_streaming_elicitation")).await;
    let left = events.place().await;
    drop(events);
    let mut events = alice.resume(&left).await.expect("it is kept");
    let question = events.next().await;
    assert_eq!(question["method"], "elicitation/create", "{question}");
    drop(events);
    let result = json!({"action": "accept", "content": {"name": "Ada"}});
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
    assert_eq!(alice.post(&answer).await.status, 202);
    let rest = alice.resume(&left).await.expect("it is kept").rest().await;
    assert_eq!(words(&rest), ["elicitation/create", "Hello, Ada!"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_is_passed_on_to_clients_that_come_back() {
    let host = Host::start(Eras::Legacy).await;
    let world = world(&host).await;
    let alice = client(world.address(), "2025-11-25").await;
    let begun = alice.post(&call(1, "test_reconnection")).await;
    let said = String::from_utf8_lossy(&begun.body).into_owned();
    let (place, rest) = said.strip_prefix("id: ").and_then(|rest| rest.split_once('\n')).expect("a place");
    assert_eq!(rest, "data: \n\nretry: 100\n\n", "a place to come back to, and when");
    let rest = alice.resume(place).await.expect("it is kept").rest().await;
    assert_eq!((words(&rest), &rest[0]["id"]), (vec!["Resumed".to_owned()], &json!(1)));
    let all = Client::legacy(world.address(), "/mcp", ALICE, "2025-11-25").await;
    let begun = all.post(&call(2, "every__test_reconnection")).await;
    assert!(String::from_utf8_lossy(&begun.body).ends_with("retry: 100\n\n"), "{begun:?}");
    // What older revisions do not know, and those without sessions have no place for.
    for revision in ["2025-03-26", "2025-06-18"] {
        let alice = client(world.address(), revision).await;
        assert_eq!(alice.post(&call(1, "test_reconnection")).await.text(), "Resumed", "{revision}");
    }
    let modern = Client::modern(world.address(), "/mcp/every", ALICE);
    assert_eq!(modern.call("test_reconnection", json!({})).await.text(), "Resumed");
    let outcomes: Vec<_> = world.records().iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["success"; 5], "each was made once");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_what_is_kept_of_a_stream_waits_for_its_client() {
    let redis = Redis::start().await;
    let alone = World::start(&["github"], STAFF_MAY_ALL).await;
    let shared = pair(&["github"], &redis, "").await;
    for (recorder, address) in
        [(&alone.recorders[0], alone.address()), (&shared.recorders[0], shared.address(0))]
    {
        recorder.offer("wait");
        let alice = Client::legacy(address, "/mcp/github", ALICE, "2025-11-25").await;
        // It comes back with every one of them written as four bytes.
        let arguments = json!({"text": "\"".repeat(1_300_000)});
        let params = json!({"name": "wait", "arguments": arguments});
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        let mut events = alice.events(Method::POST, &call).await;
        let left = events.place().await;
        drop(events);
        recorder.release();
        // Whoever comes now waits for it, and whoever comes then finds it.
        for _ in 0..2 {
            let rest = alice.resume(&left).await.expect("it is kept").rest().await;
            assert_eq!((rest.len(), &rest[0]["id"]), (1, &json!(7)));
            let text = rest[0]["result"]["content"][0]["text"].as_str().expect("text");
            assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), arguments);
        }
    }
    shared.stop().await;
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_hung_up_on_who_could_not_come_back() {
    let mut redis = Redis::start().await;
    let host = Host::start(Eras::Legacy).await;
    let replicas = pair(&[], &redis, &host.section()).await;
    let alice = client(replicas.address(0), "2025-11-25").await;
    redis.kill().await;
    let told = alice.post(&call(1, "test_reconnection")).await;
    assert_eq!(told.text(), "Resumed", "nothing is kept for later, so it is said now: {told:?}");
    replicas.stop().await;
}
