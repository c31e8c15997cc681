//! A name is its bytes: what looks like it, or is spelled like it by some, is another one, for
//! rules, records and servers alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::{Value, json};

use crate::world::http::insert;
use crate::world::{ALICE, Client, STAFF_MAY_ALL, Speaks, World};

/// Names that some reader takes for `delete_repository`.
const IMITATIONS: [&str; 20] = [
    "Delete_Repository",
    "DELETE_REPOSITORY",
    "delete_repositor\u{443}",
    "d\u{435}lete_repository",
    "\u{ff44}elete_repository",
    "delete_repo\u{17f}itory",
    "delete\u{200b}_repository",
    "delete_repository\u{200d}",
    "\u{feff}delete_repository",
    "delete_repository\u{fe0f}",
    "\u{202e}yrotisoper_eteled",
    "delete_repository ",
    " delete_repository",
    "delete_repository\t",
    "delete_repository\n",
    "delete_repository\0",
    "delete-repository",
    "delete__repository",
    "./delete_repository",
    "delete%5Frepository",
];

/// Denies the real one, and lets everything else pass that has a name.
const DENIED: &str = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}, {tool: delete_repository, action: deny}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_imitates_a_denied_tool_never_reaches_it() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = World::start_speaking(&["github"], speaks, DENIED).await;
        for path in ["/mcp", "/mcp/github"] {
            let prefix = if path == "/mcp" { "github__" } else { "" };
            for client in [world.modern(path, ALICE), world.legacy(path, ALICE).await] {
                let denied = client.call(&format!("{prefix}delete_repository"), json!({})).await;
                assert!(denied.text().starts_with("[POLICY DENIED]"), "{}", denied.text());
                for name in IMITATIONS {
                    let answer = call(&client, &format!("{prefix}{name}")).await;
                    assert_eq!(answer["error"]["code"], -32602, "{path} {name:?}: {answer}");
                }
            }
        }
        assert_eq!(world.received(), Vec::<String>::new(), "neither the one nor the others");
        assert!(world.records().iter().all(|record| record["status"] == "denied"));
        world.stop().await;
    }
}

/// Calls a tool of any name.
async fn call(client: &Client, name: &str) -> Value {
    let mut params = crate::world::call(name, json!({}));
    let mut headers = client.headers();
    if !client.has_session() {
        params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
        insert(&mut headers, "mcp-method", "tools/call");
        insert(&mut headers, "mcp-name", &format!("=?base64?{}?=", STANDARD.encode(name)));
    }
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    client.raw(Method::POST, &headers, message.to_string().into()).await.json()
}

/// Tools of one server that look alike, and are four.
const ALIKE: [&str; 4] = ["caf\u{e9}", "cafe\u{301}", "cafe", "caf\u{435}"];

#[tokio::test(flavor = "multi_thread")]
async fn tools_that_look_alike_are_told_apart_by_rules_records_and_servers() {
    let rules = "rateLimit: {enabled: false}\npolicies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{tool: \"caf\u{e9}\", action: allow}]}\n";
    let world = World::start(&["github"], rules).await;
    world.recorders[0].offer_only(&ALIKE);
    for client in [world.modern("/mcp/github", ALICE), world.legacy("/mcp/github", ALICE).await] {
        assert_eq!(client.tools().await, [ALIKE[0]], "the one that is allowed, byte for byte");
        for name in ALIKE {
            let answer = call(&client, name).await;
            let passes = answer["result"].is_object() && answer["result"]["isError"] == false;
            assert_eq!(passes, name == ALIKE[0], "{name:?}: {answer}");
        }
    }
    let sent = format!("github {}", ALIKE[0]);
    assert_eq!(world.received(), [sent.clone(), sent]);
    let tools: Vec<_> = world.records().iter().map(|record| record["tool"].clone()).collect();
    assert_eq!(tools, [ALIKE, ALIKE].concat(), "each under its own name");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_aggregate_every_tool_has_a_plain_name_of_its_own() {
    let world =
        World::start(&["github", "github-x"], &format!("rateLimit: {{enabled: false}}\n{STAFF_MAY_ALL}"))
            .await;
    let long = "x".repeat(100);
    let odd = [
        "echo",
        "Echo",
        "ECHO",
        "\u{435}cho",
        "echo\u{200b}",
        "e\u{202e}ohc",
        "caf\u{e9}",
        "cafe\u{301}",
        "",
        " ",
        "a b",
        "a/b",
        "a.b",
        "__echo",
        "echo__",
        "github__echo",
        "x__github__echo",
        "\u{1b}[2Jecho",
        "a\nb",
        &long,
        "\u{1f600}",
    ];
    for recorder in &world.recorders {
        recorder.offer_only(&odd);
    }
    let client = world.modern("/mcp", ALICE);
    let names = client.tools().await;
    let mut different = names.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), names.len(), "{names:?}");
    let fits = |name: &String| {
        name.len() <= 64 && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c))
    };
    assert!(names.iter().all(fits), "{names:?}");
    for (number, name) in names.iter().enumerate() {
        assert_eq!(client.call(name, json!({})).await.summary(), "200 ok", "{name}");
        let received = world.received();
        assert_eq!(received.len(), number + 1, "{name}");
        let server = name.split("__").next().expect("a server");
        assert!(["github", "github-x"].contains(&server), "{name}");
    }
    // Each of them was called once, at the server that its name says.
    for recorder in &world.recorders {
        let mut calls = recorder.calls();
        let count = calls.len();
        calls.sort();
        calls.dedup();
        assert_eq!(calls.len(), count, "{calls:?}");
        let own = names.iter().filter(|name| name.split("__").next() == Some(&recorder.name)).count();
        assert_eq!(count, own, "{}", recorder.name);
    }
    // The separator is looked for once: what stands behind it is the tool's, whatever it holds.
    for name in [
        "github-x__x__github__nope",
        "github__github-x__echo",
        "github_echo",
        "github___echo",
        "GitHub__echo",
        "__echo",
        "gith\u{443}b__echo",
    ] {
        let answer = call(&client, name).await;
        assert_eq!(answer["error"]["code"], -32602, "{name}: {answer}");
    }
    world.stop().await;
}
