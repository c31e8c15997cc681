//! Calls of clients without sessions that a server with sessions keeps waiting, where the client
//! comes back to another replica than the one where its call waits.

use hyper::Method;
use serde_json::{Value, json};

use crate::replicas::{redis_dump, tapped};
use crate::world::everything::Host;
use crate::world::http::{Events, MODERN};
use crate::world::redis::Redis;
use crate::world::tap::Tap;
use crate::world::{ALICE, Answer, BOB, Client, Replicas, entries, eventually, records_in};

const WORKS: &str = "test_elicitation_then_work";
const TWICE: &str = "test_input_required_result_multi_round";
const CALL: &str = r#""method":"tools/call""#;

/// Two replicas before a server with sessions.
struct Pair {
    redis: Redis,
    replicas: Replicas,
    /// What the server is sent.
    tap: Tap,
    _host: Host,
}

impl Pair {
    async fn start() -> Self {
        let (redis, replicas, tap, _host) = tapped().await;
        Self { redis, replicas, tap, _host }
    }

    fn client(&self, index: usize, key: &str) -> Client {
        Client::modern(self.replicas.address(index), "/mcp/every", key).able(json!({"elicitation": {}}))
    }

    /// Makes a call at one replica.
    async fn call(&self, index: usize, tool: &str, seconds: u64, more: Value) -> Answer {
        self.client(index, ALICE).request("tools/call", params(tool, seconds, more)).await
    }

    /// Makes a call at one replica that says something before it is answered.
    async fn open(&self, index: usize, seconds: u64, more: Value) -> Events {
        let mut params = params(WORKS, seconds, more);
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
        let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
        self.client(index, ALICE).events(Method::POST, &call).await
    }

    /// How the calls at one replica ended, in the order of their beginning.
    fn outcomes(&self, index: usize) -> Vec<String> {
        let folder = self.replicas.folder.path().join(index.to_string());
        if let Some(running) = &self.replicas.running[index] {
            running.gateway().ledger().flush_index().expect("the index catches up");
        }
        let word = |record: &Value| record["outcome"].as_str().unwrap_or("open").to_owned();
        records_in(&folder).iter().map(word).collect()
    }

    /// What became of the questions on record at one replica.
    fn questions(&self, index: usize) -> Vec<String> {
        let all = entries(&self.replicas.folder.path().join(index.to_string()));
        let questions = all.iter().filter(|entry| entry["event"] == "question");
        let how = |entry: &Value| {
            entry["detail"].as_str().and_then(|detail| detail.rsplit(' ').next()).map(str::to_owned)
        };
        questions.filter_map(how).collect()
    }

    async fn suspended(&self, index: usize) -> String {
        let probe = Client::modern(self.replicas.address(index), "/metrics", ALICE);
        let metrics = probe.raw(Method::GET, &probe.headers(), Default::default()).await;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("doorward_suspended_calls "));
        line.expect("a number").to_owned()
    }
}

fn params(tool: &str, seconds: u64, more: Value) -> Value {
    let mut params = json!({"name": tool, "arguments": {"seconds": seconds}});
    params["_meta"]["progressToken"] = json!("mine");
    for (key, value) in more.as_object().into_iter().flatten() {
        params[key] = value.clone();
    }
    params
}

/// What answers the question of a result.
fn answers(asked: &Answer) -> Value {
    let result = &asked.json()["result"];
    let keys = result["inputRequests"].as_object().and_then(|all| all.keys().next().cloned());
    let key = keys.unwrap_or_else(|| panic!("no question: {result}"));
    let answer = json!({"action": "accept", "content": {"name": "Ada", "color": "red"}});
    json!({"inputResponses": {key: answer}, "requestState": result["requestState"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_suspended_at_one_replica_goes_on_for_a_client_of_the_other() {
    let pair = Pair::start().await;
    let asked = pair.call(0, WORKS, 0, json!({})).await;
    let back = answers(&asked);
    let strange = pair.client(1, BOB).request("tools/call", params(WORKS, 0, back.clone())).await;
    assert_eq!(strange.summary(), "200 -32602", "another principal's");
    assert_eq!(pair.call(1, WORKS, 1, back.clone()).await.summary(), "200 -32602", "another call's");
    let mut events = pair.open(1, 0, back.clone()).await;
    let said = events.rest().await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[0]["method"], "notifications/progress");
    assert_eq!(said[0]["params"]["progressToken"], "mine");
    assert_eq!(
        (&said[1]["id"], &said[1]["result"]["content"][0]["text"]),
        (&json!(5), &json!("Hello, Ada!"))
    );
    for index in [0, 1] {
        let late = pair.call(index, WORKS, 0, back.clone()).await.text();
        assert!(late.contains("has expired"), "a state is good for one return: {late}");
        assert_eq!(pair.suspended(index).await, "0");
    }
    assert_eq!(pair.outcomes(0), ["input_required", "timeout"]);
    assert_eq!(pair.outcomes(1), ["denied", "denied", "success", "timeout"]);
    assert_eq!((pair.questions(0), pair.questions(1)), (vec!["asked".into()], vec!["accept".into()]));
    assert_eq!(pair.tap.count(CALL), 1, "it was made once");
    for (key, value) in redis_dump(&pair.redis).await {
        for word in ["Ada", "elicit", "progress", "Hello", "alice"] {
            assert!(!key.contains(word) && !value.contains(word), "{word} in {key}: {value}");
        }
    }
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_asks_again_is_suspended_where_it_was_begun() {
    let pair = Pair::start().await;
    let first = pair.call(0, TWICE, 0, json!({})).await;
    let second = pair.call(1, TWICE, 0, answers(&first)).await;
    assert_eq!(second.json()["result"]["resultType"], "input_required", "{second:?}");
    assert_eq!((pair.suspended(0).await, pair.suspended(1).await), ("1".into(), "0".into()));
    let done = pair.call(1, TWICE, 0, answers(&second)).await;
    assert_eq!(done.json()["result"]["resultType"], "complete", "{done:?}");
    assert_eq!(pair.suspended(0).await, "0");
    assert_eq!(pair.outcomes(0), ["input_required"]);
    assert_eq!(pair.outcomes(1), ["input_required", "success"]);
    assert_eq!(pair.questions(0), ["asked"]);
    assert_eq!(pair.questions(1), ["accept", "asked", "accept"]);
    // And back at the first, where the call is.
    let first = pair.call(0, TWICE, 0, json!({})).await;
    let second = pair.call(1, TWICE, 0, answers(&first)).await;
    let done = pair.call(0, TWICE, 0, answers(&second)).await;
    assert_eq!(done.json()["result"]["resultType"], "complete", "{done:?}");
    assert_eq!(pair.tap.count(CALL), 2);
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_come_back_at_the_same_time_one_goes_on() {
    let pair = Pair::start().await;
    for indices in [[0, 1], [1, 1], [1, 0]] {
        let asked = pair.call(0, WORKS, 0, json!({})).await;
        let [one, two] = indices.map(|index| pair.call(index, WORKS, 0, answers(&asked)));
        let (one, two) = tokio::join!(one, two);
        let mut texts = [one.text(), two.text()];
        texts.sort();
        assert_eq!(texts[0], "Hello, Ada!", "{indices:?}: {texts:?}");
        assert!(texts[1].contains("has expired"), "{indices:?}: {texts:?}");
    }
    assert_eq!(pair.tap.count(CALL), 3, "none was made anew");
    let mut all = [pair.outcomes(0), pair.outcomes(1)].concat();
    all.sort();
    let each = ["input_required", "success", "timeout"].map(|outcome| [outcome; 3]);
    assert_eq!(all, each.concat(), "each decision has one end");
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_replica_is_gone_has_expired_and_is_not_made_anew() {
    let mut pair = Pair::start().await;
    let asked = pair.call(0, WORKS, 0, json!({})).await;
    pair.replicas.halt(0).await;
    let late = pair.call(1, WORKS, 0, answers(&asked)).await;
    assert!(late.text().contains("has expired"), "{late:?}");
    assert_eq!(pair.outcomes(0), ["input_required"]);
    assert_eq!(pair.outcomes(1), ["timeout"]);
    assert_eq!(pair.tap.count(CALL), 1);
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_falls_silent_is_waited_for_a_while_and_no_longer() {
    let mut pair = Pair::start().await;
    let (waits, goes_on) =
        (pair.call(0, WORKS, 0, json!({})).await, pair.call(0, WORKS, 60, json!({})).await);
    let mut events = pair.open(1, 60, answers(&goes_on)).await;
    assert_eq!(events.next().await["method"], "notifications/progress", "it was taken");
    pair.redis.kill().await;
    let put_off = pair.call(1, WORKS, 0, answers(&waits)).await;
    assert!(put_off.text().contains("cannot be reached"), "{put_off:?}");
    let late = events.more().await.expect("an answer");
    let text = late["result"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("has expired"), "{late}");
    assert_eq!(
        pair.call(0, WORKS, 0, answers(&waits)).await.text(),
        "Hello, Ada!",
        "where it is, it goes on"
    );
    assert_eq!(pair.outcomes(0), ["input_required", "input_required", "success"]);
    assert_eq!(pair.outcomes(1), ["timeout", "timeout"]);
    assert_eq!(pair.tap.count(CALL), 2);
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_the_other_replica_cancels_its_call_at_the_server() {
    let pair = Pair::start().await;
    let asked = pair.call(0, WORKS, 60, json!({})).await;
    let mut events = pair.open(1, 60, answers(&asked)).await;
    assert_eq!(events.next().await["method"], "notifications/progress");
    assert_eq!(pair.tap.count("notifications/cancelled"), 0);
    drop(events);
    eventually("the server is told", async || pair.tap.count("notifications/cancelled") == 1).await;
    eventually("it is on record", async || pair.outcomes(1) == ["cancelled"]).await;
    assert_eq!(pair.outcomes(0), ["input_required"]);
    let late = pair.call(0, WORKS, 60, answers(&asked)).await;
    assert!(late.text().contains("has expired"), "{late:?}");
    assert_eq!(pair.tap.count(CALL), 1);
    pair.replicas.stop().await;
}
