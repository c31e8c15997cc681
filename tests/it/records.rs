//! `audit log`, `audit stats`, `audit tail` and `usage`, by the program itself, beside a
//! gateway that runs.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::world::{ALICE, BOB, World, doorward, eventually, program};

const REST: &str = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}, {tool: delete_repository, action: deny}, {tool: leak, action: hide}]}\n  - {id: guest, name: Guest, roles: [guest], rules: [{server: gitlab, tool: echo, action: allow}]}\nrateLimit: {enabled: false}\nlimits:\n  - {name: refunds, kind: rate, key: consumer, tool: create_refund, max: 1, per: minute, burst: 1}\n";

async fn world() -> World {
    let world = World::start(&["github", "gitlab"], REST).await;
    for recorder in &world.recorders {
        recorder.offer_only(&[
            "echo",
            "get_issue",
            "delete_repository",
            "create_refund",
            "leak",
            "fail",
            "wait",
        ]);
    }
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let config = config.replace("person: alice,", "person: alice@corp.example,");
    let config = config.replace("person: bob, consumerId: bob,", "person: bob,");
    std::fs::write(world.config_path(), config).expect("written");
    world.running.reload().expect("a valid file");
    world
}

/// Eleven calls of which it is known what becomes of them.
async fn script(world: &World) {
    let (alice, bob) = (world.modern("/mcp", ALICE), world.modern("/mcp", BOB));
    for tool in ["github__echo", "github__echo", "github__get_issue", "gitlab__echo"] {
        assert_eq!(alice.call(tool, json!({})).await.summary(), "200 ok");
    }
    assert_eq!(alice.call("github__create_refund", json!({})).await.summary(), "200 ok");
    assert!(alice.call("github__create_refund", json!({})).await.is_limited());
    assert_eq!(alice.call("github__fail", json!({})).await.json()["result"]["isError"], true);
    assert_eq!(alice.call("gitlab__delete_repository", json!({})).await.json()["result"]["isError"], true);
    assert_eq!(alice.call("github__leak", json!({})).await.summary(), "200 -32602");
    assert_eq!(bob.call("gitlab__echo", json!({})).await.summary(), "200 ok");
    assert_eq!(bob.call("gitlab__get_issue", json!({})).await.json()["result"]["isError"], true);
}

/// Runs a command that prints JSON.
async fn ask(world: &World, arguments: &[&str]) -> Value {
    let ran = doorward(&world.config_path(), arguments).await;
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", ran.out))
}

/// `<server>/<tool>` of the records that a selection finds, oldest first.
async fn found(world: &World, selection: &[&str]) -> Vec<String> {
    let rows = ask(world, &[&["audit", "log", "--json"], selection].concat()).await;
    let rows = rows.as_array().expect("rows");
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    rows.iter().rev().map(|row| format!("{}/{}", text(row, "serverId"), text(row, "tool"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_of_the_log_finds_what_it_says() {
    let world = world().await;
    script(&world).await;
    let all = found(&world, &[]).await;
    let script = [
        "github/echo",
        "github/echo",
        "github/get_issue",
        "gitlab/echo",
        "github/create_refund",
        "github/create_refund",
        "github/fail",
        "gitlab/delete_repository",
        "github/leak",
        "gitlab/echo",
        "gitlab/get_issue",
    ];
    assert_eq!(all, script);
    let at = |indices: &[usize]| indices.iter().map(|index| script[*index].to_owned()).collect::<Vec<_>>();
    let cases: [(&[&str], &[usize]); 50] = [
        (&["--consumer", "alice"], &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (&["--consumer", "bob"], &[9, 10]),
        (&["--consumer", "bo*"], &[]), // exactly, so no glob
        (&["--consumer", "*"], &[]),
        (&["--person", "bob"], &[9, 10]),
        (&["--person", "alice@corp.example", "--person", "bob", "--server", "gitlab"], &[3, 7, 9, 10]),
        (&["--person", "*"], &[]),
        (&["--agent", "alice", "--server", "gitlab"], &[3, 7]),
        (&["--agent", "unknown"], &[9, 10]),
        (&["--domain", "corp.example", "--server", "gitlab"], &[3, 7]),
        (&["--domain", "(none)"], &[9, 10]),
        (&["--domain", "elsewhere.example"], &[]),
        (&["--domain", "CORP.Example", "--server", "gitlab"], &[3, 7]),
        (&["--domain", "corp.exam"], &[]),
        (&["--decision", "allow"], &[0, 1, 2, 3, 4, 6, 9]),
        (&["--decision", "deny"], &[5, 7, 8, 10]),
        (&["--decision", "error"], &[]),
        (&["--reason", "DEFAULT_deny"], &[10]),
        (&["--reason", "staff"], &[7, 8]),
        (&["--reason", "denied BY", "--reason", "default"], &[7, 10]),
        (&["--reason", "staff", "--limit", "0"], &[]),
        (&["--error", "upstream-*"], &[]),
        (&["--last", "1h", "--tool", "fail"], &[6]),
        (&["--from", "today", "--tool", "fail"], &[6]),
        (&["--to", "yesterday"], &[]),
        (&["--from", "yesterday", "--tool", "fail"], &[6]),
        (&["--dlp", "none", "--tool", "fail"], &[6]),
        (&["--dlp", "blocked"], &[]),
        (&["--server", "gitlab"], &[3, 7, 9, 10]),
        (&["--server", "gitl*"], &[3, 7, 9, 10]),
        (&["--server", "gitla?"], &[3, 7, 9, 10]),
        (&["--server", "git*", "--tool", "echo"], &[0, 1, 3, 9]),
        (&["--tool", "delete_*"], &[7]),
        (&["--tool", "ech?"], &[0, 1, 3, 9]),
        (&["--tool", "github__echo"], &[0, 1]),
        (&["--tool", "github__*_issue"], &[2]),
        (&["--tool", "git*__get_issue"], &[2, 10]),
        (&["--tool", "fail", "--tool", "leak"], &[6, 8]),
        (&["--status", "success"], &[0, 1, 2, 3, 4, 9]),
        (&["--status", "error"], &[6]),
        (&["--status", "denied"], &[7, 8, 10]),
        (&["--status", "rate-limited"], &[5]),
        (&["--verdict", "hide"], &[8]),
        (&["--verdict", "deny", "--verdict", "hide"], &[5, 7, 8, 10]),
        (&["--outcome", "tool_error"], &[6]),
        (&["--outcome", "denied", "--outcome", "rate_limited"], &[5, 7, 8, 10]),
        (&["--status", "denied", "--consumer", "bob"], &[10]),
        (&["--from", "2199-01-01"], &[]),
        (&["--to", "1999-01-01"], &[]),
        (&["--from", "1999-01-01", "--to", "2199-01-01", "--tool", "fail"], &[6]),
    ];
    for (selection, expected) in cases {
        assert_eq!(found(&world, selection).await, at(expected), "{selection:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_has_its_first_moment_but_not_its_last_and_pages_join_without_gap_or_overlap() {
    let world = world().await;
    script(&world).await;
    let rows = ask(&world, &["audit", "log", "--json"]).await;
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), 11);
    let time = |row: usize| rows[row]["timestamp"].as_str().expect("a time");
    let between = ask(&world, &["audit", "log", "--json", "--from", time(7), "--to", time(3)]).await;
    let between = between.as_array().expect("rows");
    let inside =
        rows.iter().filter(|row| (time(7)..time(3)).contains(&row["timestamp"].as_str().expect("a time")));
    assert_eq!(between.iter().collect::<Vec<_>>(), inside.collect::<Vec<_>>());
    assert!((4..11).contains(&between.len()));
    let mut joined = Vec::new();
    let mut before = None::<String>;
    loop {
        let mut arguments = vec!["audit", "log", "--json", "--limit", "4"];
        if let Some(before) = &before {
            arguments.extend(["--before", before.as_str()]);
        }
        let page = ask(&world, &arguments).await.as_array().expect("rows").clone();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 4);
        before = Some(last["seq"].to_string());
        joined.extend(page);
    }
    assert_eq!(joined, *rows);
    let lines = doorward(&world.config_path(), &["audit", "log", "--limit", "2"]).await.out;
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "one line a record");
    let id = rows[0]["id"].as_str().expect("an id");
    assert!(lines[0].contains(&format!("ms | {id} | bob by bob | default_deny")), "{lines:?}");
    assert!(lines[1].ends_with(" | bob by bob"), "what went through needs no reason: {lines:?}");
    assert!(
        lines[0].starts_with("🚫") && lines[0].contains("get_issue") && lines[0].contains("bob"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("✅") && lines[1].contains("gitlab"), "{lines:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_are_refused_with_a_reason() {
    let world = world().await;
    for (arguments, said) in [
        (["audit", "log", "--status", "fine"], "rate-limited"),
        (["audit", "log", "--from", "tomorrow"], "tomorrow"),
        (["audit", "log", "--limit", "many"], "--limit"),
        (["audit", "stats", "--to", "2026-13-01"], "2026-13-01"),
    ] {
        let ran = doorward(&world.config_path(), &arguments).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_and_usage_count_the_same_calls() {
    let world = world().await;
    script(&world).await;
    let stats = ask(&world, &["audit", "stats", "--json"]).await;
    let expected = json!({
        "total": 11,
        "byStatus": {"success": 6, "error": 1, "denied": 3, "rate-limited": 1},
        "byServer": {"github": 7, "gitlab": 4},
        "byVerdict": {"allow": 7, "deny": 3, "hide": 1},
    });
    assert_eq!(stats, expected);
    let bobs = ask(&world, &["audit", "stats", "--consumer", "bob", "--json"]).await;
    assert_eq!((&bobs["total"], &bobs["byStatus"]), (&json!(2), &json!({"success": 1, "denied": 1})));
    let text = doorward(&world.config_path(), &["audit", "stats"]).await.out;
    for line in ["Total calls: 11", "  denied: 3", "  rate-limited: 1", "  gitlab: 4"] {
        assert!(text.lines().any(|said| said == line), "{line} in {text}");
    }

    let usage = ask(&world, &["usage", "--json"]).await;
    let counts = |usage: &Value| {
        ["totalCalls", "totalErrors", "denied", "rateLimited"]
            .map(|key| usage[key].as_u64().expect("a number"))
    };
    assert_eq!(counts(&usage), [7, 1, 3, 1], "refused calls are counted apart");
    assert_eq!(usage["byServer"], json!({"github": 5, "gitlab": 2}));
    assert_eq!(usage["byTool"], json!({"echo": 4, "get_issue": 1, "create_refund": 1, "fail": 1}));
    assert_eq!(usage["byServerTool"]["gitlab"], json!({"echo": 2}));
    let percentiles: Vec<_> = ["p50LatencyMs", "p95LatencyMs", "p99LatencyMs"]
        .iter()
        .map(|key| usage[key].as_f64().expect("ms"))
        .collect();
    assert!(percentiles[0] > 0.0 && percentiles.is_sorted(), "{percentiles:?}");
    assert_eq!(counts(&ask(&world, &["usage", "bob", "--json"]).await), [1, 0, 1, 0]);
    assert_eq!(counts(&ask(&world, &["usage", "nobody", "--json"]).await), [0, 0, 0, 0]);
    assert_eq!(counts(&ask(&world, &["usage", "*", "--json"]).await), [0, 0, 0, 0], "a name, no pattern");
    assert_eq!(usage["byConsumer"], json!({"alice": 6, "bob": 1}));
    assert_eq!(usage["byPerson"], json!({"alice@corp.example": 6, "bob": 1}));
    let newest = ask(&world, &["audit", "log", "--limit", "1", "--json"]).await;
    assert_eq!(usage["lastCall"], newest[0]["timestamp"]);
    assert_eq!(counts(&ask(&world, &["usage", "--last", "1h", "--json"]).await), [7, 1, 3, 1]);
    assert_eq!(counts(&ask(&world, &["usage", "--to", "yesterday", "--json"]).await), [0, 0, 0, 0]);
    let csv = doorward(&world.config_path(), &["usage", "--from", "today", "--csv"]).await.out;
    let rows: Vec<_> =
        csv.lines().map(|line| line.split(',').take(6).collect::<Vec<_>>().join(",")).collect();
    assert_eq!(
        rows[..2],
        ["server,tool,calls,errors,denied,rate_limited", "github,create_refund,1,0,0,1"],
        "{csv}"
    );
    assert_eq!(rows.len(), 9, "{csv}");
    let text = doorward(&world.config_path(), &["usage", "alice"]).await.out;
    for line in ["Total calls: 6", "Total errors: 1", "Denied: 2", "Rate limited: 1", "  github: 5"] {
        assert!(text.lines().any(|said| said == line), "{line} in {text}");
    }
    world.stop().await;
}

/// A running `audit tail --json`.
struct Tail {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(world: &World, selection: &[&str]) -> Self {
        let mut child = Command::new(program())
            .arg("--config")
            .arg(world.config_path())
            .args(["audit", "tail", "--json"])
            .args(selection)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { _child: child, lines }
    }

    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line()).await;
        let line = line.expect("a line comes in time").expect("readable").expect("it goes on");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("one record a line: {error}: {line}"))
    }

    /// Calls until the tail shows that it follows, then reads it up to the last call.
    async fn follows(&mut self, world: &World, tool: &str) {
        let alice = world.modern("/mcp", ALICE);
        let mut first = None;
        let mut calls = 0;
        while first.is_none() {
            calls += 1;
            assert!(calls < 100, "the tail shows nothing");
            alice.call(tool, json!({"warm": calls})).await;
            first = tokio::time::timeout(Duration::from_millis(100), self.lines.next_line()).await.ok();
        }
        let line = first.expect("a line").expect("readable").expect("it goes on");
        let mut row: Value = serde_json::from_str(&line).expect("JSON");
        assert!(row["args"].as_str().expect("a text").contains("warm"), "of before: {row}");
        let last = json!({"warm": calls}).to_string();
        while row["args"] != last {
            row = self.next().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_shows_what_is_written_from_now_on_in_order_and_once() {
    let world = world().await;
    for _ in 0..3 {
        world.modern("/mcp", ALICE).call("github__echo", json!({"before": true})).await;
    }
    let mut tail = Tail::start(&world, &[]);
    tail.follows(&world, "github__echo").await;
    let mut denied = Tail::start(&world, &["--status", "denied", "--consumer", "alice"]);
    denied.follows(&world, "github__delete_repository").await;
    // The first tail has seen those calls, too.
    let mut shown = BTreeMap::new();
    let bob = world.modern("/mcp", BOB);
    bob.call("gitlab__echo", json!({"last": 1})).await;
    loop {
        let row = tail.next().await;
        let seq = row["seq"].as_u64().expect("a number");
        assert!(shown.insert(seq, row.clone()).is_none(), "{seq} twice");
        assert_eq!(shown.keys().next_back(), Some(&seq), "in order");
        if row["consumerId"] == "bob" {
            break;
        }
        assert_eq!((&row["tool"], &row["status"]), (&json!("delete_repository"), &json!("denied")));
    }
    script(&world).await;
    let mut all = Vec::new();
    for _ in 0..11 {
        let row = tail.next().await;
        all.push(row.clone());
    }
    let recorded = world.records();
    assert_eq!(all, recorded[recorded.len() - 11..], "the records themselves, whole");
    for expected in ["delete_repository", "leak"] {
        assert_eq!(denied.next().await["tool"], expected);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_shows_a_call_when_it_has_ended_and_not_before() {
    let world = world().await;
    let mut tail = Tail::start(&world, &[]);
    tail.follows(&world, "github__echo").await;
    let mut failures = Tail::start(&world, &["--status", "error"]);
    failures.follows(&world, "github__fail").await;
    let alice = world.modern("/mcp", ALICE);
    let waiting = tokio::spawn({
        let alice = alice.clone();
        async move { alice.call("github__wait", json!({})).await }
    });
    let github = &world.recorders[0];
    eventually("the server works on it", async || github.calls().contains(&"wait".to_owned())).await;
    alice.call("github__get_issue", json!({})).await;
    while tail.next().await["tool"] != "get_issue" {}
    github.release();
    assert_eq!(waiting.await.expect("answered").summary(), "200 ok");
    let ended = tail.next().await;
    assert_eq!((&ended["tool"], &ended["outcome"]), (&json!("wait"), &json!("success")));
    assert!(ended["durationUs"].as_u64() > Some(0));
    alice.call("github__fail", json!({})).await;
    let failed = tail.next().await;
    assert_eq!((&failed["tool"], &failed["outcome"]), (&json!("fail"), &json!("tool_error")));
    assert_eq!(failures.next().await, failed);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_read_is_recorded_with_the_grant_that_it_came_with() {
    let world = World::start(&["github"], crate::world::STAFF_MAY_ALL).await;
    let bob = world.modern("/mcp", BOB);
    let answer = bob.raw(hyper::Method::POST, &bob.headers(), "{\"jsonrpc\": oops".into()).await;
    assert_eq!(answer.status, 400);
    let is_its = |entry: &Value| entry["reason"] == "malformed" && entry["grant"] == "bob";
    let entries = || crate::world::entries(world.folder.path());
    eventually("it is on record", async || entries().iter().any(is_its)).await;
    assert!(world.received().is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meta_call_whose_arguments_are_no_json_is_recorded_and_goes_nowhere() {
    let world = World::start(&["github"], crate::world::STAFF_MAY_ALL).await;
    let meta = world.modern("/mcp/_gateway", ALICE);
    for (args, server) in [("{oops", None), ("[1]", Some("github")), ("\"text\"", None)] {
        let mut arguments = json!({"tool": "echo", "args": args});
        if let Some(server) = server {
            arguments["serverId"] = server.into();
        }
        let answer = meta.call("call", arguments).await;
        assert!(answer.text().starts_with("`args` is not a JSON object"), "{}", answer.text());
        assert_eq!(answer.json()["result"]["isError"], true);
    }
    let records = world.records();
    let told = |record: &Value| {
        let word = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        [word("consumerId"), word("tool"), word("origin"), word("outcome")].join(" ")
    };
    let told: Vec<_> = records.iter().map(told).collect();
    assert_eq!(told, ["alice echo meta denied"; 3]);
    assert!(world.received().is_empty());
    world.stop().await;
}
