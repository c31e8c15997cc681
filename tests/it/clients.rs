//! SDK clients that nobody here wrote, through `/mcp`, `/mcp/{server}` and stdio.

use std::path::PathBuf;
use std::process::Stdio;

use doorward_everything::Eras;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::everything::Host;
use crate::world::{ALICE, STAFF_MAY_ALL, World, ecosystem, program, records_in};

const RULES: &str = "policies:\n  - id: staff\n    name: Staff\n    roles: [staff]\n    rules:\n      - {server: everything, tool: get-sum, action: deny}\n      - {server: everything, tool: get-env, action: hide}\n      - {server: everything, tool: echo, action: deny, conditions: [{param: message, operator: eq, value: secret}]}\n      - {action: allow}\n";

pub async fn world() -> World {
    let server = ecosystem::node_server("server-everything");
    World::start(
        &[],
        &format!(
            "servers:\n  - {{id: everything, command: node, args: [\"{server}\"], enabled: true}}\n{RULES}"
        ),
    )
    .await
}

/// A client program and the arguments before the plan.
struct Walker {
    name: &'static str,
    program: PathBuf,
    script: &'static str,
    era: Option<Value>,
    /// The revision it should end up with on HTTP and on stdio.
    revision: &'static str,
}

fn walkers() -> Vec<Walker> {
    let folder = ecosystem::folder();
    let python = |name: &str| folder.join(name).join("bin/python");
    let walker = |name, program, script, era, revision| Walker { name, program, script, era, revision };
    vec![
        walker("Python mcp 1.30", python("python-sdk-1"), "python_sdk_1.py", None, "2025-11-25"),
        walker("Python mcp 2.3", python("python-sdk-2"), "python_sdk_2.py", None, "2026-07-28"),
        walker(
            "Python mcp 2.3, legacy",
            python("python-sdk-2"),
            "python_sdk_2.py",
            Some(json!("legacy")),
            "2025-11-25",
        ),
        walker("npm sdk 1.32", "node".into(), "typescript_sdk_1.mjs", None, "2025-11-25"),
        walker("npm client 2.4, legacy", "node".into(), "typescript_sdk_2.mjs", None, "2025-11-25"),
        walker(
            "npm client 2.4, auto",
            "node".into(),
            "typescript_sdk_2.mjs",
            Some(json!("auto")),
            "2026-07-28",
        ),
    ]
}

impl Walker {
    async fn walk(&self, mut plan: Value) -> Value {
        if let Some(era) = &self.era {
            plan["era"] = era.clone();
        }
        // Node finds packages beside the script, so the script goes where they are.
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients");
        let script = if self.script.ends_with(".mjs") {
            let copy =
                ecosystem::folder().join("node").join(format!("{}-{}", std::process::id(), self.script));
            std::fs::copy(scripts.join(self.script), &copy).expect("copied");
            copy
        } else {
            scripts.join(self.script)
        };
        let output = Command::new(&self.program)
            .arg(&script)
            .arg(plan.to_string())
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the client starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {plan}\n{errors}", self.name);
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{}: {error}: {text}\n{errors}", self.name))
    }
}

fn check(walker: &Walker, saw: &Value, prefix: &str) {
    let name = walker.name;
    let tools: Vec<_> = saw["tools"].as_array().expect("tools").iter().filter_map(Value::as_str).collect();
    assert!(tools.contains(&format!("{prefix}echo").as_str()), "{name}: {tools:?}");
    assert!(!tools.contains(&format!("{prefix}get-env").as_str()), "{name}: hidden");
    assert_eq!(saw["echo"], json!([false, "Echo: grüße"]), "{name}");
    let denied = "[POLICY DENIED] Denied by policy \"Staff\": get-sum on everything";
    assert_eq!(saw["denied"], json!([true, denied]), "{name}");
    assert_eq!(saw["hidden"][0], -32602, "{name}: {}", saw["hidden"]);
    assert!(
        saw["hidden"][1].as_str().is_some_and(|text| text.contains("Unknown tool")),
        "{name}: {}",
        saw["hidden"]
    );
    if !saw["revision"].is_null() {
        assert_eq!(saw["revision"], walker.revision, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_clients_walk_the_aggregate_and_one_server_over_http() {
    let world = world().await;
    for walker in walkers() {
        for (path, prefix) in [("/mcp", "everything__"), ("/mcp/everything", "")] {
            let plan = json!({
                "url": format!("http://{}{path}", world.address()), "token": ALICE, "message": "grüße",
                "allowed": format!("{prefix}echo"), "denied": format!("{prefix}get-sum"), "hidden": format!("{prefix}get-env"),
            });
            check(&walker, &walker.walk(plan).await, prefix);
        }
    }
    let records = world.records();
    let of = |status: &str| records.iter().filter(|record| record["status"] == status).count();
    let walks = walkers().len() * 2;
    assert_eq!((of("success"), of("denied")), (walks, walks * 2), "every call left its record");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_clients_come_back_when_a_server_hangs_up_on_them() {
    let host = Host::start(Eras::Legacy).await;
    let world = World::start(&[], &format!("{STAFF_MAY_ALL}{}", host.section())).await;
    for walker in walkers() {
        let plan = json!({
            "url": format!("http://{}/mcp/every", world.address()), "token": ALICE, "message": "x",
            "allowed": "test_reconnection", "denied": "test_error_handling", "hidden": "no_such_tool",
        });
        assert_eq!(walker.walk(plan).await["echo"], json!([false, "Resumed"]), "{}", walker.name);
    }
    let records = world.records();
    let resumed = |record: &&Value| record["tool"] == "test_reconnection" && record["outcome"] == "success";
    assert_eq!(records.iter().filter(resumed).count(), walkers().len(), "once each");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_clients_of_either_era_walk_the_gateway_through_mcp_remote() {
    let world = world().await;
    let home = world.folder.path().display().to_string();
    let clients =
        || walkers().into_iter().filter(|walker| walker.name.starts_with("Python") && walker.era.is_none());
    for walker in clients() {
        for (path, prefix) in [("/mcp", "everything__"), ("/mcp/everything", "")] {
            let url = format!("http://{}{path}", world.address());
            let header = format!("Authorization: Bearer {ALICE}");
            let plan = json!({
                "command": ["node", ecosystem::agent("mcp-remote"), url, "--allow-http", "--header", header], "message": "grüße",
                "env": {"HOME": home, "PATH": std::env::var_os("PATH").unwrap_or_default().to_string_lossy()},
                "allowed": format!("{prefix}echo"), "denied": format!("{prefix}get-sum"), "hidden": format!("{prefix}get-env"),
            });
            check(&walker, &walker.walk(plan).await, prefix);
        }
    }
    assert_eq!(world.records().len(), clients().count() * 2 * 3, "every call left its record");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_clients_walk_the_gateway_over_stdio() {
    for walker in walkers() {
        let world = world().await;
        let config = world.config_path();
        // The child holds the data directory, so the gateway of the world makes room.
        let World { folder, running, .. } = world;
        running.stop().await;
        let plan = json!({
            "command": [program(), "--config", config, "serve", "--stdio"], "message": "grüße",
            "env": {"MCP_GATEWAY_API_KEY": ALICE, "PATH": std::env::var_os("PATH").unwrap_or_default().to_string_lossy()},
            "allowed": "everything__echo", "denied": "everything__get-sum", "hidden": "everything__get-env",
        });
        check(&walker, &walker.walk(plan).await, "everything__");
        drop(folder);
    }
}

/// Runs the inspector's command line and reads what it prints.
async fn inspect(target: &[String], arguments: &[&str]) -> Value {
    let inspector = ecosystem::folder()
        .join("node/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js");
    let output = Command::new(ecosystem::node_22())
        .arg(&inspector)
        .arg("--cli")
        .args(target)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the inspector starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str::<Value>(&text).unwrap_or_else(|error| {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("{target:?} {arguments:?}: {error}: {text}{errors}")
    })
}

/// Lists, then makes one call that is allowed and one that is denied.
async fn inspect_all(target: &[String], prefix: &str) {
    let listed = inspect(target, &["--method", "tools/list"]).await;
    let names: Vec<_> = listed["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert!(names.contains(&&json!(format!("{prefix}echo"))), "{names:?}");
    assert!(!names.contains(&&json!(format!("{prefix}get-env"))), "hidden");
    let call = async |tool: &str, arguments: &[&str]| {
        let name = format!("{prefix}{tool}");
        let call = ["--method", "tools/call", "--tool-name", &name, "--tool-arg"];
        inspect(target, &[&call, arguments].concat()).await
    };
    assert_eq!(call("echo", &["message=hi"]).await["content"][0]["text"], "Echo: hi");
    let denied = call("echo", &["message=secret"]).await;
    let said = "[POLICY DENIED] Denied by policy \"Staff\": echo on everything";
    assert_eq!((&denied["isError"], &denied["content"][0]["text"]), (&json!(true), &json!(said)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_walks_the_aggregate_and_one_server_over_http() {
    let world = world().await;
    for (path, prefix) in [("/mcp", "everything__"), ("/mcp/everything", "")] {
        let url = format!("http://{}{path}", world.address());
        let header = format!("Authorization: Bearer {ALICE}");
        let target = [url, "--transport".into(), "http".into(), "--header".into(), header];
        inspect_all(&target, prefix).await;
    }
    let said: Vec<_> = world.records().iter().map(|record| record["status"].clone()).collect();
    assert_eq!(said, ["success", "denied", "success", "denied"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_walks_the_gateway_over_stdio() {
    let World { folder, running, .. } = world().await;
    // The child holds the data directory, so the gateway of the world makes room.
    running.stop().await;
    let command = json!({
        "type": "stdio", "command": program(),
        "args": ["--config", folder.path().join("gateway.yaml"), "serve", "--stdio"],
        "env": {"MCP_GATEWAY_API_KEY": ALICE, "PATH": std::env::var_os("PATH").unwrap_or_default().to_string_lossy()},
    });
    let file = folder.path().join("mcp.json");
    std::fs::write(&file, json!({"mcpServers": {"doorward": command}}).to_string()).expect("written");
    let target = ["--config".into(), file.display().to_string(), "--server".into(), "doorward".into()];
    inspect_all(&target, "everything__").await;
    let said: Vec<_> = records_in(folder.path()).iter().map(|record| record["status"].clone()).collect();
    assert_eq!(said, ["success", "denied"]);
}
