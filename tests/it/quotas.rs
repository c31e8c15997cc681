//! Quotas: what a call over one is answered, what counts, and what is recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorward::runtime::Surroundings;
use doorward::system::SystemClock;
use doorward_everything::Eras;
use doorward_model::{Clock, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::program::free_port;
use crate::world::everything::Host;
use crate::world::tap::Tap;
use crate::world::{ALICE, Answer, BOB, Client, Recorder, Speaks, World, entries, eventually, system};

pub const ALL_MAY_ALL: &str =
    "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";

/// The section of a configuration with these limits.
pub fn limits(limits: &[&str]) -> String {
    let lines: String = limits.iter().map(|limit| format!("  - {{{limit}}}\n")).collect();
    format!("{ALL_MAY_ALL}limits:\n{lines}")
}

/// A quota of echoes in a month, each person's own.
pub fn echoes(max: u32) -> String {
    limits(&[&format!("name: echoes, kind: quota, key: person, tool: echo, max: {max}, per: month")])
}

/// What time it is by the calendar, moved by hand; durations are real.
struct Calendar {
    now: AtomicU64,
    system: SystemClock,
}

impl Clock for Calendar {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        self.system.elapsed()
    }
}

fn calendar(now: &str) -> (Arc<Calendar>, Surroundings) {
    let now = AtomicU64::new(Timestamp::parse(now).expect(now).as_micros());
    let calendar = Arc::new(Calendar { now, system: SystemClock::default() });
    (Arc::clone(&calendar), Surroundings { clock: calendar, ..system() })
}

impl Calendar {
    fn set(&self, now: &str) {
        self.now.store(Timestamp::parse(now).expect(now).as_micros(), Ordering::SeqCst);
    }
}

/// Makes calls until one is over the quota; how many went through.
pub async fn until_exceeded(client: &Client, tool: &str) -> usize {
    let mut last = None;
    for count in 0..100 {
        let answer = client.call(tool, json!({})).await;
        if answer.is_limited() {
            assert!(answer.text().starts_with("[POLICY DENIED] quota "), "{answer:?}");
            return count;
        }
        last = Some(answer);
    }
    panic!("there is no end: {last:?}");
}

/// The records of decisions as they are kept.
fn decisions(world: &World) -> Vec<Value> {
    world.gateway().ledger().flush_index().expect("the index catches up");
    entries(world.folder.path()).into_iter().filter(|entry| entry["kind"] == "decision").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_refund_of_a_day_is_denied_until_midnight_and_the_record_says_so() {
    let (calendar, surroundings) = calendar("2024-02-29T22:30:00Z");
    let rest = limits(&[
        "name: refunds-a-day, kind: quota, key: person, server: stripe, tool: create_refund, max: 5, per: day",
    ]);
    let world = World::start_surrounded(&["stripe"], Speaks::Legacy, &rest, surroundings).await;
    let alice = world.modern("/mcp", ALICE);
    for _ in 0..5 {
        assert_eq!(alice.call("stripe__create_refund", json!({"amount": 1})).await.summary(), "200 ok");
    }
    let text =
        "quota `refunds-a-day` exceeded: 5 per day are used up; it resets at 2024-03-01T00:00:00.000000Z";
    let mut denied = Vec::new();
    for _ in 0..3 {
        denied.push(alice.call("stripe__create_refund", json!({"amount": 1})).await);
    }
    let legacy = world.legacy("/mcp/stripe", ALICE).await;
    denied.push(legacy.call("create_refund", json!({"amount": 1})).await);
    for answer in &denied {
        assert!(answer.is_limited(), "{answer:?}");
        assert_eq!(answer.text(), format!("[POLICY DENIED] {text}"));
        assert_eq!(answer.headers["retry-after"], "5400");
        let data = &answer.json()["result"]["_meta"]["dev.doorward/decision"];
        assert_eq!(
            (&data["verdict"], &data["reasons"], &data["rule"], &data["resets_at"]),
            (
                &json!("deny"),
                &json!([text]),
                &json!("limits/refunds-a-day"),
                &json!("2024-03-01T00:00:00.000000Z")
            )
        );
    }
    assert_eq!(world.received(), ["stripe create_refund"; 5]);
    let meta = world.modern("/mcp/_gateway", ALICE);
    let said = meta.call("call", json!({"tool": "create_refund", "args": "{}"})).await.text();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["quotaExceeded"], &said["error"]), (&json!(true), &json!(text)));

    // Another tool, another person.
    assert_eq!(alice.call("stripe__echo", json!({})).await.summary(), "200 ok");
    let bob = world.modern("/mcp", BOB);
    assert_eq!(bob.call("stripe__create_refund", json!({})).await.summary(), "200 ok");

    calendar.set("2024-03-01T00:00:00Z");
    assert_eq!(until_exceeded(&alice, "stripe__create_refund").await, 5, "what was denied was not counted");

    let records = world.records();
    let record = records.iter().find(|record| record["outcome"] == "quota_exceeded").expect("a record");
    assert_eq!((&record["verdict"], &record["status"]), (&json!("deny"), &json!("rate-limited")), "{record}");
    let entries = decisions(&world);
    assert_eq!(entries[4]["limits"], json!({"refunds-a-day": 5}), "{}", entries[4]);
    let entry = &entries[5];
    assert_eq!(
        (&entry["layer"], &entry["verdict"], &entry["outcome"], &entry["reasons"], &entry["limits"]),
        (
            &json!("limit"),
            &json!("deny"),
            &json!("quota_exceeded"),
            &json!([text]),
            &json!({"refunds-a-day": 5})
        ),
        "{entry}"
    );
    let decision = &denied[0].json()["result"]["_meta"]["dev.doorward/decision"];
    assert_eq!(&decision["record"], &entry["call"], "{entry}");
    let metrics = Client::modern(world.address(), "/metrics", ALICE);
    let metrics = metrics.raw(hyper::Method::GET, &metrics.headers(), Default::default()).await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = r#"doorward_calls_total{server="stripe",tool="create_refund",verdict="deny",outcome="quota_exceeded"} 6"#;
    assert!(metrics.contains(line), "{metrics}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_refused_or_listed_uses_nothing_up() {
    let rest = limits(&[
        "name: slow, kind: rate, key: tool, tool: get_issue, max: 1, per: minute",
        "name: all, kind: quota, key: person, max: 4, per: month",
        "name: echoes, kind: quota, key: person, tool: echo, max: 1, per: month",
    ]);
    let rest = rest.replace("rules: [", "rules: [{tool: delete_repository, action: deny}, ");
    let world = World::start(&["github"], &rest).await;
    let alice = world.modern("/mcp", ALICE);
    let ask = async |tool: &str| alice.call(&format!("github__{tool}"), json!({})).await;
    let call = async |tool: &str| ask(tool).await.summary();
    assert_eq!(call("echo").await, "200 ok");
    assert_eq!(call("get_issue").await, "200 ok");
    // Two are left. None of this takes one: a rule, a name, a rate, a fuller quota, a list.
    for _ in 0..5 {
        assert!(alice.call("github__delete_repository", json!({})).await.text().contains("DENIED"));
        assert_eq!(call("no_such_tool").await, "200 -32602");
        assert!(ask("get_issue").await.is_limited());
        assert!(ask("echo").await.is_limited());
        assert!(!alice.tools().await.is_empty());
    }
    // A list looks at no quota either.
    assert_eq!(until_exceeded(&alice, "github__leak").await, 2);
    assert!(alice.tools().await.contains(&"github__echo".to_owned()));
    assert_eq!(world.received(), ["github echo", "github get_issue", "github leak", "github leak"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_reached_no_server_is_given_back() {
    let port = free_port();
    let rest = format!(
        "servers:\n  - {{id: late, url: \"http://127.0.0.1:{port}/mcp\", enabled: true}}\n{}",
        echoes(2)
    );
    let world = World::start(&[], &rest).await;
    let alice = world.modern("/mcp/late", ALICE);
    for _ in 0..5 {
        let answer = alice.call("echo", json!({})).await;
        assert_eq!((answer.status, answer.json()["result"]["isError"].as_bool()), (200, Some(true)));
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is still free");
    let recorder = Recorder::start_on(listener, "late", Speaks::Modern);
    assert_eq!(until_exceeded(&alice, "echo").await, 2);
    assert_eq!(recorder.calls(), ["echo", "echo"]);
    let outcomes: Vec<_> = world.records().iter().map(|record| record["outcome"].clone()).collect();
    let expected = [vec!["upstream_error"; 5], vec!["success"; 2], vec!["quota_exceeded"]].concat();
    assert_eq!(outcomes, expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_may_have_done_counts_and_what_it_turned_down_does_not() {
    let cases = [
        // tool                     how often it goes through a quota of two
        ("echo", Some(2)),
        ("fail", Some(2)),
        ("hang", Some(2)),
        ("confess_as_error", Some(2)),
        ("confess_with_status", Some(2)),
        ("confess_as_nonsense", Some(2)),
        ("confess_with_challenge", None),
    ];
    let rest = limits(&["name: q, kind: quota, key: 'person:tool', max: 2, per: month"]);
    let world = World::start_speaking(&["github"], Speaks::Modern, &rest).await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let config = config.replace("enabled: true}\npolicies", "timeout: 300, enabled: true}\npolicies");
    std::fs::write(world.config_path(), config).expect("written");
    world.running.reload().expect("a valid file");
    for (tool, _) in &cases[1..] {
        world.recorders[0].offer(tool);
    }
    let alice = world.modern("/mcp/github", ALICE);
    for (tool, expected) in cases {
        match expected {
            Some(expected) => assert_eq!(until_exceeded(&alice, tool).await, expected, "{tool}"),
            None => {
                for _ in 0..4 {
                    assert_eq!(alice.call(tool, json!({})).await.status, 200, "{tool}");
                }
            }
        }
    }
    let records = world.records();
    let outcomes = |tool: &str| {
        let of_tool = records.iter().filter(|record| record["tool"] == tool);
        of_tool.map(|record| record["outcome"].as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(outcomes("hang"), ["timeout", "timeout", "quota_exceeded"]);
    assert_eq!(outcomes("fail"), ["tool_error", "tool_error", "quota_exceeded"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_counted_if_its_server_dies_of_it_and_uncounted_if_it_never_starts() {
    let dies = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/dies.py");
    let servers = format!(
        "servers:\n  - {{id: frail, command: python3, args: [{dies}], enabled: true}}\n  \
           - {{id: stuck, command: sleep, args: ['1000'], startTimeout: 100, enabled: true}}\n"
    );
    let rest = limits(&["name: q, kind: quota, key: 'person:server', max: 1, per: month"]);
    let world = World::start(&[], &format!("{servers}{rest}")).await;
    let frail = world.modern("/mcp/frail", ALICE);
    assert_eq!(frail.call("die", json!({})).await.text(), "server `frail` exited before it answered");
    assert_eq!(until_exceeded(&frail, "die").await, 0);
    let stuck = world.modern("/mcp/stuck", ALICE);
    for _ in 0..3 {
        let answer = stuck.call("echo", json!({})).await;
        assert_eq!(answer.json()["result"]["isError"], true, "{answer:?}");
    }
    let outcomes: Vec<_> = world.records().iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes[..2], ["upstream_error", "quota_exceeded"]);
    assert!(outcomes.contains(&json!("timeout")), "{outcomes:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_client_leaves_stays_counted() {
    let rest = limits(&["name: waits, kind: quota, key: person, tool: wait, max: 1, per: month"]);
    let world = World::start(&["github"], &rest).await;
    world.recorders[0].offer("wait");
    let alice = world.modern("/mcp/github", ALICE);
    let waiting = tokio::spawn({
        let alice = alice.clone();
        async move { alice.try_call("wait", json!({})).await }
    });
    eventually("the server has it", async || world.received() == ["github wait"]).await;
    waiting.abort();
    eventually("the call has ended", async || {
        world.records().first().is_some_and(|record| record["outcome"] == "cancelled")
    })
    .await;
    assert_eq!(until_exceeded(&alice, "wait").await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_get_ten_through() {
    let world = World::start_speaking(&["github"], Speaks::Modern, &echoes(10)).await;
    let alice = world.modern("/mcp/github", ALICE);
    assert!(!alice.tools().await.is_empty());
    let answers = futures_util::future::join_all((0..50).map(|_| alice.call("echo", json!({})))).await;
    let limited = answers.iter().filter(|answer| answer.is_limited()).count();
    assert_eq!((answers.len(), limited), (50, 40));
    assert_eq!(world.received().len(), 10);
    let records = world.records();
    let exceeded = records.iter().filter(|record| record["outcome"] == "quota_exceeded").count();
    assert_eq!((records.len(), exceeded), (50, 40));
    world.stop().await;
}

/// The one question of an answer, answered.
async fn answer_question(client: &Client, tool: &str, asked: &Answer) -> Answer {
    let result = &asked.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{result}");
    let (key, _) =
        result["inputRequests"].as_object().and_then(|asks| asks.iter().next()).expect("a question");
    let responses = json!({key: {"action": "accept", "content": {"name": "Ana"}}});
    let params = json!({"name": tool, "arguments": {}, "inputResponses": responses, "requestState": result["requestState"]});
    client.request("tools/call", params).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_rounds_counts_once() {
    let tool = "test_input_required_result_elicitation";
    for eras in [Eras::Legacy, Eras::Modern] {
        let host = Host::start(eras).await;
        let rest = limits(&["name: q, kind: quota, key: person, max: 2, per: month"]);
        let world = World::start(&[], &format!("{}{rest}", host.section())).await;
        let alice = world.modern("/mcp/every", ALICE).able(json!({"elicitation": {}}));
        for _ in 0..2 {
            let asked = alice.call(tool, json!({})).await;
            assert_eq!(answer_question(&alice, tool, &asked).await.text(), "Hello, Ana!", "{eras:?}");
        }
        assert_eq!(until_exceeded(&alice, tool).await, 0, "{eras:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_call_that_nobody_comes_back_to_stays_counted() {
    let tool = "test_input_required_result_elicitation";
    // The server's call is under way in one era; in the other it has not begun.
    for (eras, calls) in [(Eras::Legacy, 2), (Eras::Modern, 10)] {
        let host = Host::start(eras).await;
        let rest = limits(&["name: q, kind: quota, key: person, max: 2, per: month"]);
        let world = World::start(&[], &format!("{}{rest}", host.section())).await;
        let alice = world.modern("/mcp/every", ALICE).able(json!({"elicitation": {}}));
        for call in 0..10 {
            let is_limited = alice.call(tool, json!({})).await.is_limited();
            assert_eq!(is_limited, call >= calls, "{eras:?} {call}");
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_no_place_to_wait_in_stays_counted() {
    let (filling, tool) = ("test_elicitation", "test_input_required_result_elicitation");
    // Two, as one may not have so many questions at once.
    let (mut host, other) = (Host::start(Eras::Legacy).await, Host::start(Eras::Legacy).await);
    let (address, tap) = Tap::before(host.address).await;
    host.address = address;
    let other = other.section().replace("servers:\n", "").replace("every", "other");
    let rest = limits(&[&format!("name: q, kind: quota, key: person, tool: {tool}, max: 2, per: month")]);
    let world = World::start(&[], &format!("{}{other}{rest}", host.section())).await;
    let able = |path: &str| world.modern(path, ALICE).able(json!({"elicitation": {}}));
    let (alice, elsewhere) = (able("/mcp/every"), able("/mcp/other"));
    let filling = (0..50).map(|at| if at % 2 == 0 { &alice } else { &elsewhere }.call(filling, json!({})));
    let asked = futures_util::future::join_all(filling).await;
    let waits = |answer: &Answer| answer.json()["result"]["resultType"] == "input_required";
    assert!(asked.iter().all(waits), "{asked:?}");
    for call in 0..10 {
        let answer = alice.call(tool, json!({})).await;
        if call >= 2 {
            assert!(answer.is_limited(), "{call}: {answer:?}");
            continue;
        }
        assert_eq!(answer.json()["result"]["isError"], true, "{answer:?}");
        assert_eq!(
            answer.text(),
            "server `every` has a question, but too many calls wait for answers already: this one was ended, \
             and may have acted; answer those that wait, or let them expire, before the next"
        );
        let code = &answer.json()["result"]["_meta"]["dev.doorward/error"]["code"];
        assert_eq!(code, "interactions-full");
    }
    assert_eq!(tap.count(&format!("\"name\":\"{tool}\"")), 2, "the server received no more");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_forgets_nothing() {
    let world = World::start(&["github"], &echoes(3)).await;
    let alice = world.modern("/mcp/github", ALICE);
    assert_eq!(until_exceeded(&alice, "echo").await, 3);
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let put = |from: &str, to: &str| {
        std::fs::write(world.config_path(), config.replace(from, to)).expect("written");
        assert!(world.running.reload().expect("a valid file"), "{to}");
    };
    put("max: 3", "max: 5");
    assert_eq!(until_exceeded(&alice, "echo").await, 2, "more of the same");
    put("max: 3", "max: 1");
    assert_eq!(until_exceeded(&alice, "echo").await, 0, "fewer than are used");
    put("limits:", "limits: []\nx-unused:");
    assert_eq!(alice.call("echo", json!({})).await.status, 200);
    put("max: 3", "max: 6");
    assert_eq!(until_exceeded(&alice, "echo").await, 1, "what no quota spoke of was not counted");
    put("per: month", "per: day");
    assert_eq!(until_exceeded(&alice, "echo").await, 3, "another period begins anew");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_counted_is_refused_and_does_not_start() {
    let world = World::start(&["github"], ALL_MAY_ALL).await;
    let alice = world.modern("/mcp/github", ALICE);
    assert_eq!(alice.call("echo", json!({})).await.status, 200);
    std::fs::create_dir_all(world.folder.path().join("data/quotas.db")).expect("created");
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    std::fs::write(world.config_path(), config.replace(ALL_MAY_ALL, &echoes(3))).expect("written");
    world.running.reload().expect("a valid file");
    let answer = alice.call("echo", json!({})).await;
    assert_eq!(
        answer.text(),
        "[POLICY DENIED] quota `echoes` cannot be counted: the counts cannot be written; try again later"
    );
    assert_eq!(world.received(), ["github echo"], "it reached no server");
    assert_eq!(alice.call("leak", json!({})).await.status, 200, "no quota speaks of this one");
    let record = &world.records()[1];
    assert_eq!((&record["outcome"], &record["verdict"]), (&json!("denied"), &json!("deny")));
    let config = world.config_path();
    let World { folder: _folder, running, .. } = world;
    running.stop().await;
    let error = doorward::runtime::start(&config, system()).await.err().expect("it does not start");
    assert!(error.to_string().starts_with("quotas cannot be counted: "), "{error}");
}
