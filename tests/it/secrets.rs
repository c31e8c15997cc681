//! Planted secrets appear nowhere but in front of the server they belong to.

use std::path::Path;

use serde_json::json;

use crate::world::{ALICE, BOB, STAFF_MAY_ALL, World};

const BEARER: &str = "planted-bearer-6f1e9c0a7d";
const HEADER: &str = "planted-header-\"quoted\"-2b8d";
const ENVIRONMENT: &str = "planted-environment-91c4";

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_credential_reaches_it_and_is_scrubbed_from_everything_it_says() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let config = config.replace(
        "enabled: true}\npolicies",
        &format!("enabled: true, credential: {{kind: bearer, token: \"{BEARER}\"}}}}\npolicies"),
    );
    std::fs::write(world.config_path(), config).expect("written");
    world.running.reload().expect("a valid file");
    let alice = world.modern("/mcp", ALICE);
    let leaked = alice.call("github__leak", json!({})).await;
    assert!(
        leaked.text().starts_with("I was sent Bearer ") && !leaked.text().contains(BEARER),
        "{}",
        leaked.text()
    );
    let received = world.recorders[0].received();
    let call = received.iter().find(|message| message.json()["method"] == "tools/call").expect("the call");
    let authorization: Vec<_> = call.headers.iter().filter(|(name, _)| name == "authorization").collect();
    assert_eq!(
        authorization,
        [&("authorization".to_owned(), format!("Bearer {BEARER}"))],
        "its own, and not the caller's"
    );
    assert!(
        !received.iter().any(|message| format!("{message:?}").contains(ALICE)),
        "the caller's key stays here"
    );
    let World { folder, running, .. } = world;
    running.stop().await;
    let data = folder.path().join("data");
    assert_eq!(files_holding(&data, BEARER), Vec::<String>::new());
    assert_eq!(files_holding(&data, ALICE), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_callers_appear_in_no_answer() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp/_gateway", ALICE);
    let mut said = String::new();
    for (tool, arguments) in [
        ("list_tools", json!({})),
        ("list_servers", json!({})),
        ("server_status", json!({})),
        ("call", json!({"tool": "echo", "args": "{}"})),
        ("audit_log", json!({})),
        ("audit_stats", json!({})),
        ("audit_verify", json!({})),
        ("usage", json!({})),
    ] {
        said += &alice.call(tool, arguments).await.text();
    }
    assert!(said.len() > 500, "{said}");
    for secret in [ALICE, BOB, HEADER, ENVIRONMENT] {
        assert!(!said.contains(secret));
    }
    world.stop().await;
}

/// The files of a folder that hold this text.
pub fn files_holding(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
