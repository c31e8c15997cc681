//! The meta tools, over HTTP and over stdio: exactly those, and through them only what
//! the caller may see and do.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{ALICE, BOB, Client, Pipe, STAFF_MAY_ALL, World, program, records_in};

const META: [&str; 8] = [
    "call",
    "list_tools",
    "list_servers",
    "server_status",
    "audit_log",
    "audit_verify",
    "audit_stats",
    "usage",
];

/// `guest` reaches `github` alone; everybody is denied one tool, and does not see another.
const RULES: &str = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}, {tool: create_refund, action: deny}, {tool: leak, action: hide}]}\n";

async fn world() -> World {
    let world = World::start(&["github", "other"], RULES).await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let config = config.replace("roles: [guest], enabled", "roles: [guest], servers: [github], enabled");
    std::fs::write(world.config_path(), config).expect("written");
    world.running.reload().expect("a valid file");
    world
}

/// Somebody at the meta surface.
enum Caller {
    Http(Client),
    Stdio(Box<Pipe>),
}

impl Caller {
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        match self {
            Self::Http(client) => client.request(method, params).await.json(),
            Self::Stdio(pipe) => pipe.ask(method, params).await,
        }
    }

    async fn tools(&mut self) -> Vec<String> {
        let answer = self.ask("tools/list", json!({})).await;
        let tools = answer["result"]["tools"].as_array().expect("tools");
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// Calls a meta tool; its answer is JSON in a text.
    async fn meta(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", crate::world::call(tool, arguments)).await;
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    async fn end(self) {
        if let Self::Stdio(pipe) = self {
            pipe.end().await;
        }
    }
}

/// All that `bob` may learn and do on the meta surface.
async fn walk(bob: &mut Caller) {
    assert_eq!(bob.tools().await, META);
    let listed = bob.meta("list_tools", json!({})).await;
    let listed: Vec<_> =
        listed.as_array().expect("a list").iter().map(|tool| (&tool["serverId"], &tool["name"])).collect();
    let visible = ["echo", "get_issue", "delete_repository"];
    assert_eq!(
        listed.iter().map(|(server, name)| format!("{server} {name}")).collect::<Vec<_>>(),
        visible.map(|name| format!("\"github\" \"{name}\""))
    );
    let servers = bob.meta("list_servers", json!({})).await;
    let expected = json!([{"id": "github", "name": "github", "status": "running", "tools": visible}]);
    assert_eq!(servers, expected);
    let status = bob.meta("server_status", json!({})).await;
    assert_eq!(status.as_object().expect("an object").keys().collect::<Vec<_>>(), ["github"]);
    assert_eq!(status["github"]["tools"], 3);

    let allowed = bob.meta("call", json!({"tool": "echo", "args": "{\"n\":1.0}"})).await;
    assert_eq!(allowed["result"]["content"][0]["text"], r#"{"n":1.0}"#);
    let named = bob.meta("call", json!({"tool": "github__echo", "args": "{}"})).await;
    assert_eq!(named["result"]["content"][0]["text"], "{}");
    let denied = bob.meta("call", json!({"tool": "create_refund", "args": "{}"})).await;
    assert_eq!(denied["denied"], true);
    assert_eq!(denied["error"], "Denied by policy \"All\": create_refund on *");
    // What is hidden, out of reach or not there at all is the same to the caller.
    let absent = [
        json!({"tool": "leak"}),
        json!({"tool": "github__leak"}),
        json!({"tool": "leak", "serverId": "github"}),
        json!({"tool": "other__echo"}),
        json!({"tool": "echo", "serverId": "other"}),
        json!({"tool": "echo", "serverId": "nobody"}),
        json!({"tool": "no_such_tool"}),
        json!({"tool": "nobody__echo"}),
    ];
    for arguments in absent {
        let answer = bob.meta("call", arguments.clone()).await;
        let tool = arguments["tool"].as_str().expect("a name");
        let expected = json!({"error": format!("Tool \"{tool}\" not found in any registered server")});
        assert_eq!(answer, expected, "{arguments}");
    }
    for unknown in ["echo", "github__echo", "no_such_tool"] {
        let answer = bob.ask("tools/call", crate::world::call(unknown, json!({}))).await;
        assert_eq!(answer["error"]["message"], format!("Unknown tool: {unknown}"), "it is no meta tool");
    }
    // What is kept of one's own calls tells no more than the answers did.
    let echo = "github echo success allow";
    let refused = "github create_refund denied deny";
    assert_eq!(said(&bob.meta("audit_log", json!({})).await), [refused, echo, echo]);
    let narrow = json!({"serverId": "github", "status": "denied"});
    assert_eq!(said(&bob.meta("audit_log", narrow).await), [refused]);
    for nobody in [json!({"consumerId": "*"}), json!({"consumerId": "alice"}), json!({"serverId": "other"})] {
        assert_eq!(bob.meta("audit_log", nobody).await, json!([]));
    }
    let stats = bob.meta("audit_stats", json!({})).await;
    assert_eq!((&stats["total"], &stats["byServer"]), (&json!(3), &json!({"github": 3})));
    assert_eq!(stats["byVerdict"], json!({"allow": 2, "deny": 1}));
    let usage = bob.meta("usage", json!({})).await;
    assert_eq!((&usage["totalCalls"], &usage["denied"]), (&json!(2), &json!(1)));
    assert_eq!(bob.meta("audit_verify", json!({})).await, json!({"valid": true}), "and not of how many");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shares_an_agent_sees_nothing_of_what_the_others_did_with_it() {
    const ANA: &str = "gw_ana_0123456789abcdef";
    const BEN: &str = "gw_ben_0123456789abcdef";
    const BOT: &str = "gw_bot_0123456789abcdef";
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let key = |person: &str, key: &str| {
        format!(
            "    - {{id: {key}, key: {key}, {person}agent: editor, roles: [staff], scopes: [audit.payload.read], enabled: true}}\n"
        )
    };
    let keys = [("person: ana, ", ANA), ("person: ben, ", BEN), ("", BOT)];
    let keys: String = keys.map(|(person, secret)| key(person, secret)).concat();
    std::fs::write(world.config_path(), config.replace("servers:\n", &(keys + "servers:\n")))
        .expect("written");
    assert!(world.running.reload().expect("a valid file"));
    assert_eq!(world.modern("/mcp/github", ANA).call("echo", json!({"note": "ana's"})).await.status, 200);
    for (key, seen) in [(ANA, 1), (BEN, 0), (BOT, 0)] {
        let mut caller = Caller::Http(world.modern("/mcp/_gateway", key));
        assert_eq!(caller.meta("audit_log", json!({})).await.as_array().expect("rows").len(), seen, "{key}");
        assert_eq!(caller.meta("audit_stats", json!({})).await["total"], seen, "{key}");
        assert_eq!(caller.meta("usage", json!({})).await["totalCalls"], seen, "{key}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_a_log_that_does_not_grow_signs_nothing_anew() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    assert_eq!(world.modern("/mcp/github", ALICE).call("echo", json!({})).await.status, 200);
    let checkpoints = world.folder.path().join("data/audit/checkpoints");
    let signed = || std::fs::read_to_string(&checkpoints).expect("readable").lines().count();
    let (mut alice, mut bob) = (
        Caller::Http(world.modern("/mcp/_gateway", ALICE)),
        Caller::Http(world.modern("/mcp/_gateway", BOB)),
    );
    assert_eq!(alice.meta("audit_verify", json!({})).await["valid"], true);
    let before = signed();
    for _ in 0..20 {
        assert_eq!(alice.meta("audit_verify", json!({})).await["valid"], true);
        assert_eq!(bob.meta("audit_verify", json!({})).await, json!({"valid": true}));
    }
    assert_eq!(signed(), before);
    world.stop().await;
}

/// Server, tool, end and verdict of each row.
fn said(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().expect("rows").iter();
    let words = |row: &Value| {
        ["serverId", "tool", "status", "verdict"].map(|key| row[key].as_str().unwrap_or("-").to_owned())
    };
    rows.map(|row| words(row).join(" ")).collect()
}

/// What `walk` leaves for those who may read all: every attempt, and what it was about.
const LEFT: [&str; 11] = [
    "github echo success allow",
    "github echo success allow",
    "github create_refund denied deny",
    "github leak denied hide",
    "github leak denied hide",
    "github leak denied hide",
    "other other__echo denied hide",
    "other echo denied hide",
    "unknown echo denied hide",
    "unknown no_such_tool denied hide",
    "unknown nobody__echo denied hide",
];

#[tokio::test(flavor = "multi_thread")]
async fn over_http_the_meta_tools_show_and_do_what_the_caller_may() {
    let world = world().await;
    let mut bob = Caller::Http(world.modern("/mcp/_gateway", BOB));
    walk(&mut bob).await;
    assert_eq!(world.received(), ["github echo", "github echo"]);
    assert_eq!(world.recorders[1].received().len(), 0, "the server out of reach heard nothing");
    assert_eq!(said(&world.records().into()), LEFT);
    let mut alice = Caller::Http(world.modern("/mcp/_gateway", ALICE));
    let mut all = said(&alice.meta("audit_log", json!({})).await);
    all.reverse();
    assert_eq!(all, LEFT, "who holds audit.read sees everything");
    let verified = alice.meta("audit_verify", json!({})).await;
    assert!(verified["valid"] == true && verified["checked"].as_u64() > Some(11), "{verified}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_stdio_the_meta_tools_show_and_do_what_the_caller_may() {
    let World { folder, running, recorders } = world().await;
    // The child holds the data directory, so the gateway of the world makes room.
    running.stop().await;
    let mut bob = Caller::Stdio(Box::new(Pipe::open(&folder.path().join("gateway.yaml"), "meta", BOB)));
    walk(&mut bob).await;
    bob.end().await;
    assert_eq!(recorders[0].calls(), ["echo", "echo"]);
    assert_eq!(recorders[1].received().len(), 0, "the server out of reach heard nothing");
    let records = records_in(folder.path());
    assert!(records.iter().all(|record| record["origin"] == "meta"), "{records:?}");
    assert_eq!(said(&records.into()), LEFT);
}

#[tokio::test(flavor = "multi_thread")]
async fn stdio_serves_one_server_under_its_own_names_or_says_what_it_wants() {
    let World { folder, running, recorders } = world().await;
    running.stop().await;
    let config = folder.path().join("gateway.yaml");
    let mut alice = Caller::Stdio(Box::new(Pipe::open(&config, "other", ALICE)));
    assert_eq!(alice.tools().await, ["echo", "get_issue", "delete_repository"]);
    let answer = alice.ask("tools/call", crate::world::call("echo", json!({"a": 1}))).await;
    assert_eq!(answer["result"]["content"][0]["text"], r#"{"a":1}"#);
    alice.end().await;
    assert_eq!((recorders[0].calls().len(), recorders[1].calls().len()), (0, 1));
    let mut bob = Caller::Stdio(Box::new(Pipe::open(&config, "other", BOB)));
    assert_eq!(bob.tools().await, Vec::<String>::new(), "out of reach");
    bob.end().await;
    for (surface, key, said) in [
        ("No Server", ALICE, "aggregate, meta or a server's id"),
        ("meta", "gw_wrong_0123456789abcdef", "MCP_GATEWAY_API_KEY"),
    ] {
        let child = Command::new(program())
            .arg("--config")
            .arg(&config)
            .args(["serve", "--stdio", "--surface", surface])
            .env("MCP_GATEWAY_API_KEY", key)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("it runs");
        assert_eq!(child.status.code(), Some(1));
        assert_eq!(child.stdout, b"", "standard output belongs to the protocol");
        let errors = String::from_utf8_lossy(&child.stderr);
        assert!(errors.contains(said) && !errors.contains(key), "{errors}");
    }
}
