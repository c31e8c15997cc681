//! Sessions of the older clients: they survive a restart, any replica serves them, and
//! their end is seen by the servers.

use serde_json::json;

use crate::world::{ALICE, BOB, Client, Replicas, STAFF_MAY_ALL, Speaks, World, eventually};

const ALL_MAY_ALL: &str =
    "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_after_a_restart_and_in_another_replica() {
    let mut replicas = Replicas::start(2, &["github"], Speaks::Legacy, ALL_MAY_ALL).await;
    let alice = Client::legacy(replicas.address(0), "/mcp/github", ALICE, "2025-06-18").await;
    let elsewhere = alice.at(replicas.address(1));
    assert_eq!(alice.call("echo", json!({"a": 1})).await.text(), r#"{"a":1}"#);
    assert_eq!(elsewhere.call("echo", json!({"a": 2})).await.text(), r#"{"a":2}"#);
    replicas.halt(0).await;
    replicas.run(0).await;
    let alice = alice.at(replicas.address(0));
    assert_eq!(alice.call("echo", json!({"a": 3})).await.text(), r#"{"a":3}"#);
    for address in [replicas.address(0), replicas.address(1)] {
        let there = alice.at(address);
        assert_eq!(there.with_key(BOB).request("ping", json!({})).await.status, 404, "another principal's");
        let elsewhere = Client::legacy(address, "/mcp", ALICE, "2025-06-18").await;
        assert_eq!(elsewhere.with_session(alice.session()).request("ping", json!({})).await.status, 404);
        let mut altered = alice.session().to_owned();
        let last = altered.pop().expect("not empty");
        altered.push(if last == 'A' { 'Q' } else { 'A' });
        assert_eq!(there.with_session(&altered).request("ping", json!({})).await.status, 404, "altered");
        let foreign = World::start(&[], ALL_MAY_ALL).await;
        assert_eq!(alice.at(foreign.address()).request("ping", json!({})).await.status, 404, "another key");
        foreign.stop().await;
    }
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_session_stays_ended_and_its_servers_hear_of_it() {
    let world = World::start(&["github", "gitlab"], STAFF_MAY_ALL).await;
    let (first, second) = (world.legacy("/mcp", ALICE).await, world.legacy("/mcp", ALICE).await);
    for client in [&first, &second, &first] {
        for tool in ["github__echo", "gitlab__echo"] {
            assert_eq!(client.call(tool, json!({})).await.status, 200);
        }
    }
    let [github, gitlab] = &world.recorders[..] else { unreachable!("two were started") };
    let sessions = github.sessions();
    assert_eq!(sessions[0], sessions[2], "one session of a client is one with the server");
    assert_ne!(sessions[0], sessions[1], "and nobody else's");
    assert_eq!(first.delete().await, 204);
    for recorder in [github, gitlab] {
        let its = vec![recorder.sessions()[0].clone()];
        eventually("the server is told", async || recorder.ended() == its).await;
    }
    assert_eq!(first.request("ping", json!({})).await.status, 404);
    assert_eq!(first.delete().await, 404);
    assert_eq!(second.call("github__echo", json!({})).await.status, 200, "the other one goes on");
    assert_eq!(github.sessions()[3], sessions[1]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_name_a_session_by_its_id_and_not_by_what_opens_it() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.legacy("/mcp/github", ALICE).await;
    assert_eq!(alice.call("echo", json!({})).await.status, 200);
    let entries = || crate::world::entries(world.folder.path());
    let named = |entry: &serde_json::Value| entry["session"].as_str().map(str::to_owned);
    eventually("the call is on record", async || entries().iter().any(|entry| named(entry).is_some())).await;
    let id = entries().iter().find_map(named).expect("a session");
    assert!(id.len() >= 8 && alice.session().starts_with(&id), "{id}");
    assert!(alice.session().len() < 1024, "{}", alice.session().len());
    world.stop().await;
}
