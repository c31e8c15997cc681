//! Several replicas that share Redis: one session, whoever serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use doorward_everything::Eras;
use hyper::Method;
use serde_json::{Value, json};

use crate::world::balancer::Balancer;
use crate::world::everything::Host;
use crate::world::http::Attempt;
use crate::world::redis::Redis;
use crate::world::tap::Tap;
use crate::world::{ALICE, BOB, Client, Replicas, Speaks, eventually};

const ALL_MAY_ALL: &str =
    "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";
const PROGRESS: &str = "notifications/progress";
const LOG: &str = "notifications/message";
const TOOLS: &str = "notifications/tools/list_changed";
const PROMPTS: &str = "notifications/prompts/list_changed";

/// Two replicas that share Redis.
pub async fn pair(servers: &[&str], redis: &Redis, rest: &str) -> Replicas {
    let rest = format!("{ALL_MAY_ALL}{}{rest}", redis.section());
    let replicas = Replicas::start(2, servers, Speaks::Legacy, &rest).await;
    for index in [0, 1] {
        eventually("the replica reaches Redis", async || ready(replicas.address(index)).await == "ready\n")
            .await;
    }
    replicas
}

/// Two replicas before a server with sessions, and what that is sent.
pub async fn tapped() -> (Redis, Replicas, Tap, Host) {
    let (redis, mut host) = (Redis::start().await, Host::start(Eras::Legacy).await);
    let (address, tap) = Tap::before(host.address).await;
    host.address = address;
    let replicas = pair(&[], &redis, &host.section()).await;
    (redis, replicas, tap, host)
}

/// What `/readyz` says.
async fn ready(address: SocketAddr) -> String {
    let probe = Client::modern(address, "/readyz", ALICE);
    let answer = probe.raw(Method::GET, &probe.headers(), Default::default()).await;
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn request(id: u64, tool: &str) -> Value {
    let params = json!({"name": tool, "arguments": {}, "_meta": {"progressToken": format!("p{id}")}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

/// Makes a request and comes back as often as it takes; everything that was said about it.
/// Questions are answered.
async fn said(client: &Client, message: &Value) -> Vec<Value> {
    let (mut said, mut last) = (Vec::new(), None::<String>);
    loop {
        let attempt = match &last {
            None => client.attempt(Some(message), None).await,
            Some(last) => client.attempt(None, Some(last)).await,
        };
        let mut events = match attempt {
            Attempt::Broken => continue,
            Attempt::Whole(answer) => {
                assert_eq!(answer.status, 200, "{answer:?}");
                said.push(answer.json());
                return said;
            }
            Attempt::Stream(events) => events,
        };
        while let Some(message) = events.more().await {
            if message["method"].is_string() && !message["id"].is_null() {
                answer(client, &message["id"]).await;
            }
            let is_answer = message["method"].is_null();
            said.push(message);
            if is_answer {
                return said;
            }
        }
        assert_ne!(events.last, "", "it broke without a place to come back to");
        last = Some(events.last);
    }
}

async fn answer(client: &Client, id: &Value) {
    let result = json!({"action": "accept", "content": {"name": "Ada"}});
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
    loop {
        if let Attempt::Whole(taken) = client.attempt(Some(&answer), None).await {
            return assert_eq!(taken.status, 202, "{taken:?}");
        }
    }
}

fn words(said: &[Value]) -> Vec<String> {
    let word = |message: &Value| {
        let text = message["result"]["content"][0]["text"].as_str();
        message["method"].as_str().or(text).map_or_else(|| message.to_string(), str::to_owned)
    };
    said.iter().map(word).collect()
}

/// What a client hears that belongs to no request, over connections that break.
async fn listen(client: Client, tools: Arc<AtomicUsize>, prompts: Arc<AtomicUsize>) {
    let mut last = None::<String>;
    loop {
        let Attempt::Stream(mut events) = client.attempt(None, last.as_deref()).await else { continue };
        while let Some(message) = events.more().await {
            match message["method"].as_str() {
                Some(TOOLS) => tools.fetch_add(1, Ordering::SeqCst),
                Some(PROMPTS) => prompts.fetch_add(1, Ordering::SeqCst),
                _ => panic!("unexpected: {message}"),
            };
        }
        last = Some(events.last).filter(|last| !last.is_empty()).or(last);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_five_hundred_calls_goes_round_two_replicas_over_connections_that_break() {
    let redis = Redis::start().await;
    let host = Host::start(Eras::Legacy).await;
    let replicas = pair(&[], &redis, &host.section()).await;
    // Both know the lists for such clients before anybody listens for changes.
    let able = json!({"elicitation": {}});
    for index in [0, 1] {
        let first = Client::modern(replicas.address(index), "/mcp/every", ALICE).able(able.clone());
        assert!(!first.tools().await.is_empty());
    }
    let balancer = Balancer::cutting(vec![replicas.address(0), replicas.address(1)]).await;
    let client = Client::legacy_able(replicas.address(0), "/mcp/every", ALICE, "2025-11-25", able).await;
    let client = client.at(balancer.address);
    let (tools, prompts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listening = tokio::spawn(listen(client.clone(), Arc::clone(&tools), Arc::clone(&prompts)));
    let mut working = tokio::task::JoinSet::new();
    for worker in 0..10_u64 {
        let client = client.clone();
        working.spawn(async move {
            for turn in 0..49 {
                let id = 1000 * (worker + 1) + turn;
                let (tool, expected): (_, &[&str]) = match turn % 4 {
                    0 => {
                        ("test_tool_with_progress", &[PROGRESS, PROGRESS, PROGRESS, "Progress was reported"])
                    }
                    1 => ("test_streaming_elicitation", &["elicitation/create", "Hello, Ada!"]),
                    2 => ("test_tool_with_logging", &[LOG, LOG, LOG, "Logs were sent"]),
                    _ => ("test_reconnection", &["Resumed"]),
                };
                let said = said(&client, &request(id, tool)).await;
                assert_eq!(words(&said), expected, "call {id} of {tool}");
                assert_eq!(said[said.len() - 1]["id"], id);
            }
        });
    }
    for change in 1..=10_usize {
        let said = said(&client, &request(change as u64, "test_trigger_tool_change")).await;
        assert_eq!(words(&said)[0], "Changed");
        eventually("the change is heard of", async || tools.load(Ordering::SeqCst) == change).await;
    }
    while let Some(worker) = working.join_next().await {
        worker.expect("every call is answered once");
    }
    // Whatever was to come before this has come.
    said(&client, &request(99, "test_trigger_prompt_change")).await;
    eventually("the last change is heard of", async || prompts.load(Ordering::SeqCst) == 1).await;
    assert_eq!(tools.load(Ordering::SeqCst), 10, "each change is told once");
    assert!(balancer.cut() > 100, "{} connections were cut", balancer.cut());
    listening.abort();
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_at_one_replica_has_ended_at_the_other() {
    let redis = Redis::start().await;
    let replicas = pair(&["github"], &redis, "").await;
    let here = Client::legacy(replicas.address(0), "/mcp/github", ALICE, "2025-06-18").await;
    let there = here.at(replicas.address(1));
    assert_eq!(here.with_key(BOB).request("ping", json!({})).await.status, 404, "another principal's");
    assert_eq!(there.with_key(BOB).request("ping", json!({})).await.status, 404, "there as well");
    for client in [&here, &there] {
        assert_eq!(client.call("echo", json!({"a": 1})).await.text(), r#"{"a":1}"#);
    }
    let github = &replicas.recorders[0];
    let sessions = github.sessions();
    assert_eq!(sessions[0], sessions[1], "both go on in one session with the server");
    let mut news = there.events(Method::GET, &Value::Null).await;
    assert_eq!(here.delete().await, 204);
    assert_eq!(here.request("ping", json!({})).await.status, 404);
    assert_eq!(there.request("ping", json!({})).await.status, 404, "the other replica has heard of it");
    // It may have had news before; what counts is that it ends.
    news.rest().await;
    eventually("the server is told, once", async || github.ended() == [sessions[0].clone()]).await;
    // One that never met it refuses it too, and so does one whose store was emptied since.
    let quick = Client::legacy(replicas.address(0), "/mcp/github", ALICE, "2025-06-18").await;
    assert_eq!(quick.delete().await, 204);
    assert_eq!(quick.at(replicas.address(1)).request("ping", json!({})).await.status, 404);
    redis.command("FLUSHALL").await.expect("done");
    for address in [replicas.address(0), replicas.address(1)] {
        assert_eq!(quick.at(address).request("ping", json!({})).await.status, 404);
        assert_eq!(here.at(address).request("ping", json!({})).await.status, 404);
    }
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_settled_or_said_at_one_replica_holds_at_the_other() {
    let redis = Redis::start().await;
    let replicas = pair(&["github"], &redis, "").await;
    replicas.recorders[0].offer("wait");
    let here = Client::legacy(replicas.address(0), "/mcp/github", ALICE, "2025-11-25").await;
    let there = here.at(replicas.address(1));
    // A call that goes on here is cancelled there.
    let mut events = here.events(Method::POST, &request(5, "wait")).await;
    events.place().await;
    let note = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    assert_eq!(there.post(&note).await.status, 202);
    assert_eq!(events.rest().await, Vec::<Value>::new(), "a cancelled call is not answered");
    // A stream that broke here goes on there, while its call is still under way.
    let mut events = here.events(Method::POST, &request(6, "wait")).await;
    let left = events.place().await;
    drop(events);
    let mut rest = there.resume(&left).await.expect("it is kept");
    rest.place().await;
    replicas.recorders[0].release();
    assert_eq!(rest.rest().await[0]["id"], 6);
    assert!(there.with_key(BOB).resume(&left).await.is_none(), "nobody else's");
    // Whoever restarts finds the session as it was.
    let level = json!({"level": "error"});
    assert_eq!(here.request("logging/setLevel", level).await.status, 200);
    let mut replicas = replicas;
    replicas.halt(0).await;
    replicas.run(0).await;
    let again = here.at(replicas.address(0));
    eventually("it goes on", async || again.request("ping", json!({})).await.status == 200).await;
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_kept_by_one_replica_and_ended_at_any() {
    let redis = Redis::start().await;
    let host = Host::start(Eras::Legacy).await;
    let replicas = pair(&[], &redis, &host.section()).await;
    for index in [0, 1] {
        assert!(!Client::modern(replicas.address(index), "/mcp/every", ALICE).tools().await.is_empty());
    }
    let here = Client::legacy(replicas.address(0), "/mcp/every", ALICE, "2025-11-25").await;
    let there = here.at(replicas.address(1));
    let watched = json!({"uri": "test://watched-resource"});
    // Asked for at both, and so watched by the second; the client reads at the first.
    for client in [&here, &there] {
        assert_eq!(client.request("resources/subscribe", watched.clone()).await.summary(), "200 ok");
    }
    let mut news = here.events(Method::GET, &Value::Null).await;
    let touch = async || assert_eq!(here.call("test_touch_resource", json!({})).await.text(), "Changed");
    touch().await;
    assert_eq!(news.next().await["params"]["uri"], watched["uri"]);
    touch().await;
    assert_eq!(news.next().await["method"], "notifications/resources/updated");
    assert_eq!(here.request("resources/unsubscribe", watched).await.summary(), "200 ok");
    // Whatever is told of it after this came too late to be stopped.
    eventually("it has ended at the other replica", async || {
        touch().await;
        let change = request(9, "test_trigger_prompt_change");
        said(&here, &change).await;
        let mut methods = vec![news.next().await["method"].clone()];
        while methods.last() != Some(&json!(PROMPTS)) {
            methods.push(news.next().await["method"].clone());
        }
        methods == [PROMPTS]
    })
    .await;
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_be_emptied_or_gone_for_a_while() {
    let mut redis = Redis::start().await;
    let replicas = pair(&["github"], &redis, "").await;
    let here = Client::legacy(replicas.address(0), "/mcp/github", ALICE, "2025-06-18").await;
    let there = here.at(replicas.address(1));
    assert_eq!(there.request("ping", json!({})).await.status, 200);
    redis.command("FLUSHALL").await.expect("done");
    for client in [&here, &there] {
        assert_eq!(client.call("echo", json!({})).await.status, 200, "known to both, it goes on");
    }
    let fresh = Client::legacy(replicas.address(0), "/mcp/github", ALICE, "2025-06-18").await;
    assert_eq!(fresh.at(replicas.address(1)).request("ping", json!({})).await.status, 200);

    redis.kill().await;
    for index in [0, 1] {
        let lost = async || ready(replicas.address(index)).await.starts_with("ready, but the shared state");
        eventually("the operator can see it", lost).await;
    }
    for client in [&here, &there] {
        assert_eq!(client.call("echo", json!({})).await.status, 200, "what is known goes on");
    }
    let local = Client::legacy(replicas.address(0), "/mcp/github", ALICE, "2025-06-18").await;
    assert_eq!(local.call("echo", json!({})).await.status, 200);
    let elsewhere = local.at(replicas.address(1));
    let put_off = elsewhere.request("ping", json!({})).await;
    assert_eq!(put_off.status, 503, "not 404: it may well go on");
    assert!(put_off.headers.contains_key("retry-after"));

    redis.run().await;
    eventually("it is known again", async || elsewhere.request("ping", json!({})).await.status == 200).await;
    for index in [0, 1] {
        eventually("all is well", async || ready(replicas.address(index)).await == "ready\n").await;
    }
    for client in [&here, &there, &local] {
        assert_eq!(client.call("echo", json!({})).await.status, 200);
    }
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_redis_says_nothing() {
    let redis = Redis::start().await;
    let host = Host::start(Eras::Legacy).await;
    let replicas = pair(&[], &redis, &host.section()).await;
    let client = Client::legacy(replicas.address(0), "/mcp/every", ALICE, "2025-06-18").await;
    said(&client, &request(1, "test_tool_with_progress")).await;
    let dump = redis_dump(&redis).await;
    assert!(dump.len() > 3, "{dump:?}");
    for (key, value) in dump {
        for word in ["progress", "Progress", "every", "alice", client.session(), &client.session()[..32]] {
            assert!(!key.contains(word) && !value.contains(word), "{word} in {key}: {value}");
        }
    }
    replicas.stop().await;
}

/// Every key, and what it holds.
pub async fn redis_dump(redis: &Redis) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for key in redis.lines("KEYS *").await.into_iter().filter(|line| line.starts_with("doorward:")) {
        let kind = redis.lines(&format!("TYPE {key}")).await.join("");
        let read = if kind.contains("stream") { format!("XRANGE {key} - +") } else { format!("GET {key}") };
        let value = redis.lines(&read).await.join("\n");
        all.push((key, value));
    }
    all
}
