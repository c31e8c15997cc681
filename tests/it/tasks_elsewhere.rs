//! Tasks of servers with sessions, whose clients have none: what such a task wants to know is
//! seen and answered at any replica, wherever its result is waited for.

use serde_json::{Value, json};

use crate::program::{Program, free_port};
use crate::replicas::{redis_dump, tapped};
use crate::tasks::{RESULT, able, accept, ask, asking, begin, ended, suspended, text, update};
use crate::world::everything::Host;
use crate::world::redis::Redis;
use crate::world::tap::Tap;
use crate::world::{ALICE, BOB, Client, Replicas, entries, eventually};

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
        Client::modern(self.replicas.address(index), "/mcp/every", key).able(able())
    }

    fn clients(&self) -> [Client; 2] {
        [0, 1].map(|index| self.client(index, ALICE))
    }

    async fn suspended(&self) -> [String; 2] {
        [suspended(self.replicas.address(0)).await, suspended(self.replicas.address(1)).await]
    }

    /// What became of the questions on record at both replicas, sorted.
    fn questions(&self) -> Vec<String> {
        let folders = [0, 1].map(|index| self.replicas.folder.path().join(index.to_string()));
        let all = folders.iter().flat_map(|folder| entries(folder));
        let questions = all.filter(|entry| entry["event"] == "question");
        let how = |entry: Value| {
            entry["detail"].as_str().and_then(|detail| detail.rsplit(' ').next()).map(str::to_owned)
        };
        let mut how: Vec<_> = questions.filter_map(how).collect();
        how.sort();
        how
    }
}

/// The keys of what a task asks at a replica, once it asks so much there.
async fn keys(client: &Client, task: &Value, count: usize) -> Vec<String> {
    let mut keys = Vec::new();
    eventually("so much is asked", async || {
        keys = asking(client, task).await.as_object().expect("questions").keys().cloned().collect();
        keys.len() == count
    })
    .await;
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_asks_is_seen_and_answered_at_the_other_replica() {
    let pair = Pair::start().await;
    let [first, second] = pair.clients();
    let (taken_note, unknown) =
        (json!({"resultType": "complete"}), json!({"code": -32602, "message": "Unknown task"}));
    let task = begin(&first, "slow_compute", json!({"seconds": 0})).await;
    assert_eq!(text(&ended(&second, &task).await), "Computed for 0 s");
    let before = pair.tap.count(RESULT);
    let task = begin(&first, "multi_input", json!({})).await;
    let keys_here = keys(&first, &task, 2).await;
    assert_eq!(keys(&second, &task, 2).await, keys_here);
    assert_eq!(asking(&second, &task).await, asking(&first, &task).await);
    assert_eq!(pair.suspended().await, ["1", "0"]);
    let stranger = pair.client(1, BOB);
    let name = |name: &str| accept(json!({ "name": name }));
    assert_eq!(ask(&stranger, "tasks/get", &task).await["error"], unknown);
    assert_eq!(update(&stranger, &task, json!({ &keys_here[0]: name("Eve") })).await["error"], unknown);
    let changed = pair.client(1, ALICE).able(json!({"extensions": able()["extensions"]}));
    let now = ask(&changed, "tasks/get", &task).await;
    assert_eq!(now["result"]["status"], "working", "it cannot answer forms");
    // A part of it at the other replica, where an answer to nothing is none.
    assert_eq!(update(&second, &task, json!({"other": name("Eve")})).await["result"], taken_note);
    assert_eq!(keys(&second, &task, 2).await, keys_here);
    assert_eq!(update(&second, &task, json!({ &keys_here[0]: name("Ana") })).await["result"], taken_note);
    for client in [&second, &first] {
        assert_eq!(keys(client, &task, 1).await, keys_here[1..], "the other one is still open");
        let late = update(client, &task, json!({ &keys_here[0]: name("Eve") })).await;
        assert_eq!(late["result"], taken_note);
    }
    assert_eq!(update(&first, &task, json!({ &keys_here[1]: name("Bea") })).await["result"], taken_note);
    let done = ended(&second, &task).await;
    assert!(text(&done).contains("Ana") && text(&done).contains("Bea"), "{done}");
    // All of it at the other replica.
    let task = begin(&second, "multi_input", json!({})).await;
    let keys_there = keys(&second, &task, 2).await;
    assert_eq!(keys(&first, &task, 2).await, keys_there);
    let all = json!({ &keys_there[0]: name("Cleo"), &keys_there[1]: name("Dora") });
    assert_eq!(update(&first, &task, all).await["result"], taken_note);
    let done = ended(&first, &task).await;
    assert!(text(&done).contains("Cleo") && text(&done).contains("Dora"), "{done}");
    for (word, count) in [("Ana", 1), ("Bea", 1), ("Cleo", 1), ("Dora", 1), ("Eve", 0)] {
        assert_eq!(pair.tap.count(&format!("{word:?}")), count, "{word}");
    }
    let waits = pair.tap.count(RESULT) - before;
    assert_eq!(waits, 4, "each is waited for once while it asks, and asked for when it is there");
    assert_eq!(pair.questions(), [["accept"; 4], ["asked"; 4]].concat());
    for (key, value) in redis_dump(&pair.redis).await {
        for word in ["Ana", "Cleo", "elicit", "first_name", "alice", "multi_input"] {
            assert!(!key.contains(word) && !value.contains(word), "{word} in {key}: {value}");
        }
    }
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_look_or_answer_at_the_same_time_one_is_heard() {
    let pair = Pair::start().await;
    let [first, second] = pair.clients();
    const TASKS: usize = 5;
    for at in 0..TASKS {
        let task = begin(&first, "confirm_delete", json!({"filename": format!("{at}.txt")})).await;
        let (one, two) = tokio::join!(keys(&first, &task, 1), keys(&second, &task, 1));
        assert_eq!(one, two);
        let say = |yes: bool| json!({ &one[0]: accept(json!({ "confirm": yes })) });
        tokio::join!(update(&first, &task, say(false)), update(&second, &task, say(true)));
        let said = ended(&second, &task).await;
        assert!([format!("Deleted {at}.txt"), format!("Kept {at}.txt")].contains(&text(&said).to_owned()));
    }
    assert_eq!(pair.tap.count(RESULT), 2 * TASKS);
    assert_eq!(pair.tap.count(r#""confirm":"#), TASKS, "each got one answer");
    assert_eq!(pair.questions(), [["accept"; TASKS], ["asked"; TASKS]].concat());
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_cancelled_at_the_other_replica_is_not_waited_for_any_more() {
    let pair = Pair::start().await;
    let [first, second] = pair.clients();
    let task = begin(&first, "confirm_delete", json!({"filename": "a.txt"})).await;
    keys(&first, &task, 1).await;
    assert_eq!(pair.suspended().await, ["1", "0"]);
    assert_eq!(ask(&second, "tasks/cancel", &task).await["result"], json!({"resultType": "complete"}));
    eventually("nobody waits", async || pair.suspended().await == ["0", "0"]).await;
    for client in [&first, &second] {
        assert_eq!(ended(client, &task).await["status"], "cancelled");
    }
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_replica_is_gone_asks_anew_at_another() {
    let mut pair = Pair::start().await;
    pair.replicas.halt(0).await;
    let (config, log) = (pair.replicas.config(0), pair.replicas.folder.path().join("log"));
    let mut gone = Program::start_on(free_port(), &[], &config, &log, &[]).await;
    let first = Client::modern(gone.address, "/mcp/every", ALICE).able(able());
    let second = pair.client(1, ALICE);
    let mut task = Value::Null;
    eventually("the replica reaches Redis", async || {
        task = begin(&first, "confirm_delete", json!({"filename": "a.txt"})).await;
        ask(&first, "tasks/get", &task).await.get("result").is_some()
    })
    .await;
    keys(&first, &task, 1).await;
    keys(&second, &task, 1).await;
    let before = pair.tap.count(RESULT);
    gone.child.kill().await.expect("killed");
    eventually("another waits", async || {
        ask(&second, "tasks/get", &task).await;
        pair.tap.count(RESULT) == before + 1
    })
    .await;
    let key = keys(&second, &task, 1).await.remove(0);
    update(&second, &task, json!({ key: accept(json!({"confirm": true})) })).await;
    assert_eq!(text(&ended(&second, &task).await), "Deleted a.txt");
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_says_so_again_when_that_was_lost_and_gives_up_when_another_was_faster() {
    let pair = Pair::start().await;
    let [first, second] = pair.clients();
    let task = begin(&first, "confirm_delete", json!({"filename": "a.txt"})).await;
    let asked = keys(&first, &task, 1).await;
    assert_eq!(keys(&second, &task, 1).await, asked);
    let before = pair.tap.count(RESULT);
    let shared = async |kind: &str| {
        let lines = pair.redis.lines(&format!("KEYS doorward:{kind}:*")).await;
        lines.into_iter().filter(|line| line.starts_with("doorward:")).collect::<Vec<_>>()
    };
    for kind in ["waits", "asks"] {
        let [key] = &shared(kind).await[..] else { panic!("no {kind}") };
        pair.redis.command(&format!("DEL {key}")).await.expect("deleted");
    }
    eventually("it is there again", async || {
        !shared("waits").await.is_empty() && !shared("asks").await.is_empty()
    })
    .await;
    assert_eq!(keys(&second, &task, 1).await, asked);
    assert_eq!(pair.tap.count(RESULT), before, "it was not waited for anew");
    eventually("another begins to wait", async || {
        for key in shared("waits").await {
            pair.redis.command(&format!("DEL {key}")).await.expect("deleted");
        }
        ask(&second, "tasks/get", &task).await;
        pair.tap.count(RESULT) == before + 1
    })
    .await;
    eventually("the first waits no more", async || pair.tap.count("notifications/cancelled") == 1).await;
    let key = keys(&first, &task, 1).await.remove(0);
    update(&first, &task, json!({ key: accept(json!({"confirm": true})) })).await;
    assert_eq!(text(&ended(&second, &task).await), "Deleted a.txt", "what was given up answered nothing");
    pair.replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_is_shared_a_task_is_answered_where_it_is_waited_for() {
    let mut pair = Pair::start().await;
    let [first, second] = pair.clients();
    let task = begin(&first, "confirm_delete", json!({"filename": "a.txt"})).await;
    let key = keys(&first, &task, 1).await.remove(0);
    keys(&second, &task, 1).await;
    let before = pair.tap.count(RESULT);
    pair.redis.kill().await;
    let yes = json!({ key: accept(json!({"confirm": true})) });
    for put_off in [ask(&second, "tasks/get", &task).await, update(&second, &task, yes.clone()).await] {
        let why = put_off["error"]["message"].as_str().unwrap_or_default();
        assert!(why.contains("cannot be reached"), "{put_off}");
    }
    keys(&first, &task, 1).await;
    assert_eq!(pair.tap.count(RESULT), before, "nobody else began to wait");
    update(&first, &task, yes).await;
    assert_eq!(text(&ended(&first, &task).await), "Deleted a.txt");
    assert_eq!(text(&ended(&second, &task).await), "Deleted a.txt", "what has ended needs nobody else");
    pair.replicas.stop().await;
}
