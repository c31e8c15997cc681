//! A server that forgets everybody at once, and clients that never say goodbye.

use serde_json::json;

use crate::world::{ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, World, times};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_server_forgot_them_all_each_call_is_made_once() {
    let recorder = Recorder::start("github", Speaks::Legacy).await;
    let servers = format!(
        "servers:\n  - {{id: github, url: \"{}\", enabled: true}}\nrateLimit: {{enabled: false}}\n",
        recorder.url()
    );
    let world = World::start(&[], &format!("{servers}{STAFF_MAY_ALL}")).await;
    let sessions = times(200, 1_000);
    let mut clients = Vec::new();
    for _ in 0..sessions {
        clients.push(world.legacy("/mcp", ALICE).await);
    }
    let all_call = async |mark: &'static str| {
        let mut calls = tokio::task::JoinSet::new();
        for (number, client) in clients.iter().enumerate() {
            let client = client.clone();
            calls.spawn(async move {
                let answer = client.call("github__echo", json!({"mark": format!("{mark}-{number}")})).await;
                assert_eq!(answer.text(), format!(r#"{{"mark":"{mark}-{number}"}}"#));
            });
        }
        while let Some(call) = calls.join_next().await {
            call.expect("answered");
        }
    };
    all_call("before").await;
    recorder.forget();
    recorder.lose_everything();
    all_call("after").await;

    let received = recorder.received();
    let of = |method: &str| received.iter().filter(|it| it.json()["method"] == method).count();
    assert_eq!(of("initialize"), sessions, "one session each, and no more");
    let mut acted: Vec<_> = received
        .iter()
        .filter(|it| it.json()["method"] == "tools/call")
        .filter(|it| !it.header("mcp-session-id").is_empty())
        .map(|it| {
            (it.json()["params"]["arguments"]["mark"].to_string(), it.header("mcp-session-id").to_owned())
        })
        .collect();
    // Each came twice: in the lost session, where it was turned away unread, and in the new one.
    acted.sort();
    assert_eq!(acted.len(), 2 * sessions);
    assert!(acted.chunks(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1), "{acted:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_say_goodbye_cost_a_server_no_sessions() {
    let recorder = Recorder::start("github", Speaks::Legacy).await;
    let servers = format!(
        "servers:\n  - {{id: github, url: \"{}\", enabled: true}}\nrateLimit: {{enabled: false}}\n",
        recorder.url()
    );
    let world = World::start(&[], &format!("{servers}{STAFF_MAY_ALL}")).await;
    for _ in 0..times(300, 50_000) {
        let client = Client::legacy(world.address(), "/mcp", ALICE, "2025-11-25").await;
        assert_eq!(client.tools().await.len(), 5);
    }
    let opened = recorder.received().iter().filter(|it| it.json()["method"] == "initialize").count();
    assert_eq!(opened, 1, "lists are asked for once, and nobody has called");
    world.stop().await;
}
