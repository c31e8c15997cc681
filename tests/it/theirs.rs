//! What PetrefiedThunder/mcp-gateway documents, done with Doorward: its entry for desktop clients,
//! keys that come with calls, its ids, its switches.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::program::free_port;
use crate::world::{
    ALICE, BOB, Client, Recorder, STAFF_MAY_ALL, Speaks, World, binary, configuration, doorward, entries,
    eventually, records_in, written,
};

/// `mcp-gateway serve`, as a desktop client starts it.
struct Desktop {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    asked: u64,
}

impl Desktop {
    async fn open(config: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(binary("mcp-gateway"))
            .arg("serve")
            .args(more)
            .env("MCP_GATEWAY_CONFIG", config)
            .env_remove("MCP_GATEWAY_API_KEY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let input = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut desktop = Self { child, input, lines, asked: 0 };
        let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "desk", "version": "1"}});
        let opened = desktop.ask("initialize", params).await;
        assert_eq!(opened["result"]["protocolVersion"], "2024-11-05", "{opened}");
        desktop.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        desktop
    }

    async fn say(&mut self, message: &Value) {
        self.input.write_all(format!("{message}\n").as_bytes()).await.expect("written");
    }

    /// Asks, and takes the answer; news in between are none.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        loop {
            let line = tokio::time::timeout(Duration::from_secs(20), self.lines.next_line()).await;
            let line = line.expect("in time").expect("readable").expect("a message");
            let message: Value = serde_json::from_str(&line).expect("nothing but JSON on standard output");
            if message["id"] == id {
                return message;
            }
        }
    }

    /// What a meta tool says, which is JSON in a text.
    async fn meta(&mut self, tool: &str, arguments: Value) -> Value {
        said(&self.ask("tools/call", crate::world::call(tool, arguments)).await)
    }

    async fn end(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        assert!(child.wait().await.expect("it ends").success());
    }
}

fn said(answer: &Value) -> Value {
    let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const RULES: &str = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}]}\n  - {id: guest, name: Guest, roles: [guest], rules: [{tool: get_issue, action: allow}, {tool: echo, action: allow, conditions: [{param: id, operator: eq, value: mine}]}]}\n";

/// The reasons and details of refused requests, as the log has them.
fn refused(folder: &Path) -> Vec<String> {
    let entries = entries(folder);
    let events = entries.iter().filter(|entry| entry["event"] == "refused");
    events.map(|event| format!("{} {}", event["reason"], event["detail"]).replace('"', "")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desktop_entry_works_as_it_is_documented() {
    let recorder = Recorder::start("github", Speaks::Legacy).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = written(folder.path(), &recorder, RULES);
    let mut desktop = Desktop::open(&config, &[]).await;
    let listed = desktop.ask("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().expect("tools");
    assert_eq!(tools.len(), 8, "{listed}");
    assert!(tools.iter().all(|tool| tool["inputSchema"]["properties"]["apiKey"].is_object()), "{listed}");
    // Without a key, nothing: not even what the other gateway tells everybody.
    for tool in ["call", "list_tools", "list_servers", "server_status", "audit_log", "audit_stats", "usage"] {
        let answer = desktop.ask("tools/call", crate::world::call(tool, json!({"tool": "echo"}))).await;
        assert_eq!(answer["result"]["content"][0]["text"], r#"{"error":"Authentication failed"}"#, "{tool}");
    }
    assert_eq!(recorder.received().len(), 0, "the server heard of nobody");
    let wrong = desktop.meta("call", json!({"tool": "echo", "apiKey": "gw_wrong"})).await;
    assert_eq!(wrong, json!({"error": "Authentication failed"}));

    let echo = |key: &str, args: &str| json!({"tool": "echo", "args": args, "apiKey": key});
    let allowed = desktop.meta("call", echo(ALICE, r#"{"n":1}"#)).await;
    assert_eq!(allowed["result"]["content"][0]["text"], r#"{"n":1}"#, "{allowed}");
    let unmet = desktop.meta("call", echo(BOB, r#"{"id":"other"}"#)).await;
    assert_eq!((&unmet["denied"], &unmet["error"]), (&json!(true), &json!("No matching rule")), "{unmet}");
    let met = desktop.meta("call", echo(BOB, r#"{"id":"mine"}"#)).await;
    assert!(met["result"].is_object(), "{met}");
    let seen = desktop.meta("list_tools", json!({"apiKey": BOB})).await;
    let seen: Vec<_> = seen.as_array().expect("a list").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(seen, ["echo", "get_issue"]);
    desktop.end().await;
    assert_eq!(recorder.calls(), ["echo", "echo"]);
    let who: Vec<_> = records_in(folder.path()).iter().map(|record| record["apiKeyId"].clone()).collect();
    assert_eq!(who, ["alice", "bob", "bob"], "each under the key that came with it");
    assert_eq!(refused(folder.path()), ["unauthenticated unknown_key"]);
    let events = doorward(&config, &["audit", "events", "--event", "refused", "--last", "1h"]).await;
    assert!(
        events.out.lines().count() == 1 && events.out.ends_with("unauthenticated | unknown_key\n"),
        "{events:?}"
    );
    let last = doorward(&config, &["audit", "events", "--limit", "2", "--json"]).await;
    let last: Value = serde_json::from_str(&last.out).expect("JSON");
    assert_eq!(
        (&last[0]["event"], &last[1]["event"]),
        (&json!("stopped"), &json!("refused")),
        "newest first"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_with_a_call_stands_before_that_of_the_connection() {
    let world = World::start(&["github"], RULES).await;
    let bob = world.modern("/mcp/_gateway", BOB);
    let ask = async |arguments: Value| {
        said(&bob.request("tools/call", crate::world::call("call", arguments)).await.json())
    };
    assert_eq!(ask(json!({"tool": "echo"})).await["denied"], true);
    let as_alice = ask(json!({"tool": "echo", "apiKey": ALICE})).await;
    assert!(as_alice["result"].is_object(), "{as_alice}");
    let as_nobody = ask(json!({"tool": "get_issue", "apiKey": "gw_wrong"})).await;
    assert_eq!(as_nobody, json!({"error": "Authentication failed"}), "never with the connection's own");
    // A session with a server is its caller's, whatever session with the gateway it came through.
    let session = world.legacy("/mcp/_gateway", BOB).await;
    for key in [BOB, ALICE] {
        let call = crate::world::call("call", json!({"tool": "get_issue", "apiKey": key}));
        assert!(said(&session.request("tools/call", call).await.json())["result"].is_object());
    }
    let who: Vec<_> = world.records().iter().map(|record| record["apiKeyId"].clone()).collect();
    assert_eq!(who, ["bob", "alice", "bob", "alice"]);
    let folder = world.folder.path().to_owned();
    eventually("the refusal is recorded", async || refused(&folder) == ["unauthenticated unknown_key"]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_answer_is_an_error_in_words_and_never_a_result() {
    let slow = Recorder::start("slow", Speaks::Modern).await;
    slow.offer("wait");
    let entry = format!("  - {{id: slow, url: \"{}\", timeout: 300, enabled: true}}", slow.url());
    let world = World::start(&[], &format!("servers:\n{entry}\n{STAFF_MAY_ALL}")).await;
    let call = crate::world::call("call", json!({"tool": "wait", "args": "{}"}));
    let answer = said(&world.modern("/mcp/_gateway", ALICE).request("tools/call", call).await.json());
    let expected =
        json!({"error": "MCP request timeout after 300ms: tools/call", "code": "upstream-timeout"});
    assert_eq!(answer, expected);
    let record = world.records().pop().expect("a record");
    assert_eq!((&record["errorCode"], &record["decision"]), (&json!("upstream-timeout"), &json!("error")));
    let found =
        doorward(&world.config_path(), &["audit", "log", "--error", "upstream-*", "--decision", "error"])
            .await;
    assert!(found.out.contains("wait") && found.out.contains("[upstream-timeout]"), "{found:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_stdio_and_http_at_once_it_serves_until_it_is_told_to_stop() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = written(folder.path(), &recorder, STAFF_MAY_ALL);
    let port = free_port();
    let mut desktop = Desktop::open(&config, &["--http", &port.to_string()]).await;
    let call = json!({"tool": "echo", "args": "{}", "apiKey": ALICE});
    assert!(desktop.meta("call", call).await["result"].is_object());
    let http = Client::modern(([127, 0, 0, 1], port).into(), "/mcp", ALICE);
    assert_eq!(http.call("github__echo", json!({})).await.summary(), "200 ok");
    let Desktop { mut child, input, .. } = desktop;
    drop(input);
    assert_eq!(http.call("github__echo", json!({})).await.summary(), "200 ok", "HTTP goes on");
    let second = doorward(&config, &["serve", "--stdio", "--surface", "meta", "--http", "0"]).await;
    assert!(second.code == Some(1) && second.err.contains("leave out `--http`"), "{second:?}");
    let open = doorward(&config, &["serve", "--http", "0.0.0.0:0"]).await;
    assert!(open.code == Some(2) && open.err.contains("`tls` or `trustedProxies`"), "{open:?}");
    let pid = i32::try_from(child.id().expect("it runs")).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("an id"), rustix::process::Signal::TERM).expect("told");
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.expect("in time");
    assert!(ended.expect("waited for").success());
    assert_eq!(records_in(folder.path()).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_names_cannot_hold_are_called_otherwise_there_and_keep_their_spelling_elsewhere() {
    let rules = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}, {server: My_Server, tool: create_refund, action: deny}, {server: 'mcp_*', tool: leak, action: hide}]}\n";
    let ids = ["My_Server", "a__b", "mcp_fred", "UPPER"];
    let world = World::start(&ids, rules).await;
    let alice = world.modern("/mcp", ALICE);
    let names = ["my-server", "a-b", "mcp-fred", "upper"];
    let listed = alice.tools().await;
    for name in names {
        assert!(listed.contains(&format!("{name}__echo")), "{listed:?}");
        assert_eq!(alice.call(&format!("{name}__echo"), json!({"at": name})).await.summary(), "200 ok");
    }
    for id in ids {
        assert_eq!(alice.call(&format!("{id}__echo"), json!({})).await.summary(), "200 -32602", "{id}");
        let own = world.modern(&format!("/mcp/{id}"), ALICE);
        assert_eq!(own.call("echo", json!({})).await.summary(), "200 ok", "{id}");
    }
    let denied = alice.call("my-server__create_refund", json!({})).await.json();
    assert_eq!(denied["result"]["isError"], true, "a rule names it as it is written: {denied}");
    assert!(!listed.contains(&"mcp-fred__leak".to_owned()) && listed.contains(&"upper__leak".to_owned()));
    let meta = world.modern("/mcp/_gateway", ALICE);
    let call = crate::world::call("call", json!({"tool": "echo", "serverId": "UPPER"}));
    assert!(said(&meta.request("tools/call", call).await.json())["result"].is_object());
    let recorded: Vec<_> = world.records().iter().map(|record| record["serverId"].clone()).collect();
    assert_eq!(recorded[..4], ids.map(Value::from), "{recorded:?}");
    world.stop().await;
    let twins =
        "servers:\n  - {id: a_b, command: x, enabled: true}\n  - {id: a-b, command: y, enabled: true}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, configuration(folder.path(), &[], twins)).expect("written");
    let checked = doorward(&config, &["check"]).await;
    assert!(
        checked.code == Some(1) && checked.out.contains("are both called `a-b` in `/mcp`"),
        "{checked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_has_the_dimensions_that_are_configured_and_without_metering_only_zeros() {
    let rest = format!("{STAFF_MAY_ALL}metering: {{enabled: true, dimensions: [calls, errors]}}\n");
    let world = World::start(&["github"], &rest).await;
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
    let usage = async || {
        let call = crate::world::call("usage", json!({}));
        said(&world.modern("/mcp/_gateway", ALICE).request("tools/call", call).await.json())
    };
    let both = usage().await;
    assert_eq!((&both["totalCalls"], &both["totalErrors"]), (&json!(1), &json!(0)), "{both}");
    assert!(both.get("avgLatencyMs").is_none() && both.get("p95LatencyMs").is_none(), "{both}");
    let printed = doorward(&world.config_path(), &["usage", "--json"]).await.out;
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), both, "the command says the same");
    let text = std::fs::read_to_string(world.config_path()).expect("readable");
    std::fs::write(
        world.config_path(),
        text.replace("enabled: true, dimensions", "enabled: false, dimensions"),
    )
    .expect("written");
    world.running.reload().expect("a valid file");
    let none = usage().await;
    let zeros = ["totalCalls", "totalErrors", "avgLatencyMs"].map(|key| none[key].clone());
    assert_eq!(zeros, [json!(0), json!(0), json!(0)], "{none}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_lasting_record_it_starts_only_if_that_is_said_and_leaves_nothing() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = written(folder.path(), &recorder, &format!("{STAFF_MAY_ALL}audit: {{enabled: false}}\n"));
    let refused = doorward(&config, &["serve", "--port", "0"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("[unaudited]"), "{refused:?}");
    let text = std::fs::read_to_string(&config).expect("readable");
    std::fs::write(&config, text.replace("enabled: false}", "enabled: false, allowUnaudited: true}"))
        .expect("written");
    let records = folder.path().join("data/unaudited");
    for _ in 0..2 {
        let running = doorward::runtime::start(&config, crate::world::system()).await.expect("it starts");
        let alice = Client::modern(running.address(), "/mcp", ALICE);
        assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
        running.gateway().ledger().flush_index().expect("indexed");
        let filter = doorward_ledger::Filter { limit: 10, ..Default::default() };
        assert_eq!(
            running.gateway().ledger().query(&filter).expect("readable").len(),
            1,
            "of this process alone"
        );
        running.stop().await;
        assert!(!records.exists(), "nothing is left of it");
    }
    // What a killed process left is nobody's, and goes before the next begins.
    std::fs::create_dir_all(records.join("segments")).expect("created");
    std::fs::write(records.join("segments/0"), "half of an entry").expect("written");
    let running = doorward::runtime::start(&config, crate::world::system()).await.expect("it starts");
    running.stop().await;
    assert!(!records.exists() && !folder.path().join("data/audit").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_servers_has_state_and_number_of_tools_while_a_gateway_runs() {
    let world = World::start(&["github", "other"], STAFF_MAY_ALL).await;
    assert_eq!(world.modern("/mcp/github", ALICE).call("echo", json!({})).await.summary(), "200 ok");
    let listed = doorward(&world.config_path(), &["servers", "list"]).await;
    let lines: Vec<_> = listed.out.lines().skip(3).collect();
    assert!(lines[0].starts_with("github ") && lines[0].ends_with(" tools"), "{listed:?}");
    assert!(lines[0].contains(" | connected, "), "{listed:?}");
    assert!(lines[1].ends_with(" | registered"), "nobody has asked it yet: {listed:?}");
    assert_eq!(listed.err, "");
    let json: Value =
        serde_json::from_str(&doorward(&world.config_path(), &["servers", "list", "--json"]).await.out)
            .expect("JSON");
    assert!(json[0]["tools"].as_u64() > Some(1) && json[0]["state"] == "connected", "{json}");
    let config = world.config_path();
    world.running.stop().await;
    let without = doorward(&config, &["servers", "list"]).await;
    assert!(without.code == Some(0) && without.err.starts_with("no gateway runs"), "{without:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_are_started_in_the_base_directory() {
    // Answers nothing; where it was started, it leaves a file.
    const CHILD: &str = "import os, sys\nopen(sys.argv[1], 'w').write(os.getcwd())\nsys.stdin.read()\n";
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path().join("base");
    std::fs::create_dir_all(base.join("inner")).expect("created");
    std::fs::write(base.join("child.py"), CHILD).expect("written");
    std::fs::write(base.join("inner/child.py"), CHILD).expect("written");
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let servers = format!(
        "servers:\n  - {{id: one, command: python3, args: [child.py, \"{}\"], start: eager, enabled: true}}\n  - {{id: other, command: python3, args: [child.py, \"{}\"], cwd: inner, start: eager, enabled: true}}\n{STAFF_MAY_ALL}",
        one.display(),
        other.display()
    );
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, configuration(folder.path(), &[], &servers)).expect("written");
    let mut gateway = Command::new(binary("doorward"))
        .arg("--config")
        .arg(&config)
        .arg("--base-dir")
        .arg(&base)
        .args(["serve", "--port", &free_port().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let says = |path: &Path, folder: &Path| {
        let folder = folder.canonicalize().expect("there").display().to_string();
        std::fs::read_to_string(path).is_ok_and(|said| said == folder)
    };
    eventually("both say where they are", async || says(&one, &base) && says(&other, &base.join("inner")))
        .await;
    gateway.kill().await.expect("killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_be_started_with_the_gateway() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let entry = |start: &str| {
        format!(
            "servers:\n  - {{id: github, url: \"{}\", start: {start}, enabled: true}}\n{STAFF_MAY_ALL}",
            recorder.url()
        )
    };
    let world = World::start(&[], &entry("lazy")).await;
    assert_eq!(recorder.received().len(), 0, "nobody needed it yet");
    let text = std::fs::read_to_string(world.config_path()).expect("readable");
    std::fs::write(world.config_path(), text.replace("start: lazy", "start: eager")).expect("written");
    world.running.reload().expect("a valid file");
    eventually("it is asked what it offers", async || !recorder.received().is_empty()).await;
    world.stop().await;
}
