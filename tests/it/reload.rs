//! A changed file takes force within two seconds, whole or not at all.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::world::{ALICE, Recorder, STAFF_MAY_ALL, Speaks, World, within};

/// Asks again until the answer is the expected one; fails after five seconds.
async fn eventually(world: &World, expected: &str) {
    let alice = world.modern("/mcp", ALICE);
    let mut last = String::new();
    for _ in 0..100 {
        last = alice.call("github__echo", json!({})).await.text();
        if last == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still {last:?}, not {expected:?}");
}

/// Which rule is missing, for whom.
const WHY: &str = "[POLICY DENIED] no rule allows `echo` on `github` for the role `staff`";

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_takes_force_and_a_mistake_does_not() {
    let world = World::start(&["github"], "").await;
    eventually(&world, WHY).await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    std::fs::write(world.config_path(), format!("{config}{STAFF_MAY_ALL}")).expect("written");
    eventually(&world, "{}").await;
    std::fs::write(world.config_path(), format!("{config}policies: [this is no policy\n")).expect("written");
    assert!(world.running.reload().is_err());
    assert_eq!(
        world.modern("/mcp", ALICE).call("github__echo", json!({})).await.text(),
        "{}",
        "the old rules hold"
    );
    std::fs::write(world.config_path(), config).expect("written");
    eventually(&world, WHY).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_restriction_never_takes_force() {
    let world = World::start(&["github"], "").await;
    eventually(&world, WHY).await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let rule = STAFF_MAY_ALL;
    let narrowed = [
        format!("{config}{}", rule.replace("action:", "tools: other, action:")),
        format!("{config}{}", rule.replace("roles:", "enabled: false, roles:")),
        format!("{config}{rule}ipfilter: {{enabled: true, mode: allowlist, ips: [203.0.113.1]}}\n"),
        format!("{config}{rule}regoPolicys: []\n"),
        format!("{}{rule}", config.replace("person: alice,", "person: alice, expires: 2020-01-01,")),
        format!("{}{rule}", config.replace("id: github,", "id: github, disabled: [echo],")),
    ];
    for text in narrowed {
        std::fs::write(world.config_path(), &text).expect("written");
        let refused = world.running.reload().expect_err("it is not taken up").to_string();
        assert!(refused.contains("unknown key"), "{text}: {refused}");
        let answer = world.modern("/mcp", ALICE).call("github__echo", json!({})).await.text();
        assert!(answer.starts_with("[POLICY DENIED]"), "{text}: {answer}");
    }
    assert!(world.recorders[0].calls().is_empty(), "nothing reached the server");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_file_is_no_configuration() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp", ALICE);
    let nobody = world.modern("/mcp", "");
    assert_eq!(alice.call("github__echo", json!({})).await.text(), "{}");
    let whole = std::fs::read_to_string(world.config_path()).expect("readable");
    // As somebody's editor may write it: the rules first, and who must show a key last.
    let (auth, rest) = whole.split_once("servers:").expect("servers");
    let everybody = STAFF_MAY_ALL.replace("roles: [staff]", "roles: [\"*\"]");
    let data = auth.split_once("auth:").expect("who comes in").0;
    let mut half = format!("{data}servers:{rest}").replace(STAFF_MAY_ALL, &everybody);
    for line in 0..12 {
        half += &format!("# line {line}\n");
        std::fs::write(world.config_path(), &half).expect("written");
        assert_eq!(nobody.call("github__echo", json!({})).await.status, 401, "line {line}");
        assert_eq!(alice.call("github__echo", json!({})).await.text(), "{}", "line {line}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The whole of another one takes force.
    std::fs::write(world.config_path(), whole.replace(STAFF_MAY_ALL, "")).expect("written");
    eventually(&world, WHY).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_a_reload_brought_are_looked_at_as_well() {
    let world = World::start(&["github"], "").await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let rules =
        |denied: &str| format!("package rules\ndeny contains \"closed\" if input.tool == \"{denied}\"\n");
    let policy = world.folder.path().join("rules.rego");
    std::fs::write(&policy, rules("echo")).expect("written");
    let named = format!(
        "{config}regoPolicies:\n  - {{name: rules, file: rules.rego, mode: enforce}}\n{STAFF_MAY_ALL}"
    );
    std::fs::write(world.config_path(), named).expect("written");
    eventually(&world, "[POLICY DENIED] closed").await;
    std::fs::write(&policy, rules("other")).expect("written");
    eventually(&world, "{}").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_taken_up_is_tried_again_though_no_file_changes() {
    let world = World::start(&["github"], "").await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let rules = "package rules\ndeny contains \"closed\" if input.tool == \"other\"\n";
    // A file that cannot be read yet: reading a folder fails for whoever tries, root as well.
    let policy = world.folder.path().join("rules.rego");
    std::fs::create_dir(&policy).expect("created");
    let named = format!(
        "{config}regoPolicies:\n  - {{name: rules, file: rules.rego, mode: shadow}}\n{STAFF_MAY_ALL}"
    );
    std::fs::write(world.config_path(), named).expect("written");
    // Long enough for the first attempt, which fails.
    tokio::time::sleep(Duration::from_secs(2)).await;
    std::fs::remove_dir(&policy).expect("removed");
    std::fs::write(&policy, rules).expect("written");
    let alice = world.modern("/mcp", ALICE);
    within(Duration::from_secs(20), "it is in force", async || {
        alice.call("github__echo", json!({})).await.text() == "{}"
    })
    .await;
    world.stop().await;
}

/// The tools that this client is shown.
async fn shown(world: &World) -> Vec<String> {
    world.modern("/mcp/github", ALICE).tools().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_names_another_server_has_nothing_left_of_the_one_before() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let successor = Recorder::start("successor", Speaks::Legacy).await;
    successor.offer_only(&["other"]);
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let take_up = |config: &str| {
        std::fs::write(world.config_path(), config).expect("written");
        assert!(world.running.reload().expect("a valid file"));
    };
    assert!(shown(&world).await.contains(&"echo".to_owned()));
    let mut session = world.legacy("/mcp/github", ALICE).await.events(Method::GET, &Value::Null).await;
    let moved = config.replace(&world.recorders[0].url(), &successor.url());
    take_up(&moved);
    assert_eq!(session.next().await["method"], "notifications/tools/list_changed");
    assert_eq!(shown(&world).await, ["other"]);
    let alice = world.modern("/mcp/github", ALICE);
    assert_eq!(alice.call("echo", json!({})).await.json()["error"]["code"], -32602, "it is not there");
    assert_eq!(alice.call("other", json!({})).await.summary(), "200 ok");
    assert_eq!(successor.calls(), ["other"]);
    assert_eq!(world.received(), Vec::<String>::new());

    // The same one, upgraded while it was out of service.
    take_up(&moved.replace("enabled: true}\npolicies", "enabled: false}\npolicies"));
    while session.next().await["method"] != "notifications/tools/list_changed" {}
    successor.offer_only(&["newer"]);
    take_up(&moved);
    assert_eq!(shown(&world).await, ["newer"]);
    world.stop().await;
}
