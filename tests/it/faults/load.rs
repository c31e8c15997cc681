//! A gateway under load: what is put in force meanwhile, and how it ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::program::Program;
use crate::world::http::Events;
use crate::world::{
    ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, World, doorward, entries, eventually, records_in, times,
    written,
};

/// Clients that call without pause.
const CLIENTS: usize = 6;
/// How often a file is put in force.
const RELOADS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_decided_by_one_configuration_however_often_they_change() {
    let rules = |name: &str| {
        format!(
            "rateLimit: {{enabled: false}}\npolicies:\n  - {{id: {name}, name: All, roles: [staff], rules: [{{action: allow}}]}}\n"
        )
    };
    let world = World::start_speaking(&["github"], Speaks::Modern, &rules("one")).await;
    let one = std::fs::read_to_string(world.config_path()).expect("readable");
    let files =
        [one.clone(), one.replace("id: one", "id: two"), one.replace("action: allow", "action: perhaps")];
    let mut listening = Vec::new();
    for _ in 0..times(20, 200) {
        listening.push(world.modern("/mcp", ALICE).listen().await);
    }
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut working = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, stop, calls) = (world.modern("/mcp", ALICE), Arc::clone(&stop), Arc::clone(&calls));
        working.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = client.call("github__echo", json!({"a": 1})).await;
                assert_eq!(answer.text(), r#"{"a":1}"#);
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for reload in 0..RELOADS {
        let before = calls.load(Ordering::Relaxed);
        std::fs::write(world.config_path(), &files[reload % 3]).expect("written");
        // Whether this or the watcher of the file is first, an invalid one changes nothing.
        let outcome = world.running.reload();
        assert_eq!(outcome.is_err(), reload % 3 == 2, "{outcome:?}");
        eventually("calls go on", async || calls.load(Ordering::Relaxed) > before + CLIENTS).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(worker) = working.join_next().await {
        worker.expect("every call is answered");
    }
    assert!(world.records().iter().all(|record| record["status"] == "success"));
    let decisions = entries(world.folder.path()).into_iter().filter(|entry| entry["verdict"] == "allow");
    let deciders: BTreeSet<_> =
        decisions.map(|entry| (entry["bundle"].to_string(), entry["rule"].to_string())).collect();
    let rules: BTreeSet<_> = deciders.iter().map(|(_, rule)| rule).collect();
    assert_eq!((deciders.len(), rules.len()), (2, 2), "each bundle speaks by its own rule: {deciders:?}");
    for stream in &mut listening {
        // It is open still: the lists have not changed for it.
        assert!(!is_over(stream).await);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_stop_it_answers_what_it_has_taken_and_keeps_every_record() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let rest = format!("rateLimit: {{enabled: false}}\n{STAFF_MAY_ALL}");
    let config = written(folder.path(), &recorder, &rest);
    let gateway = Program::start(&config, &folder.path().join("log"), &[]).await;
    let address = gateway.address;
    let mut listening = Vec::new();
    for _ in 0..times(20, 500) {
        listening.push(Client::modern(address, "/mcp", ALICE).listen().await);
    }
    let answered = Arc::new(AtomicUsize::new(0));
    let mut working = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let answered = Arc::clone(&answered);
        working.spawn(async move {
            let client = Client::modern(address, "/mcp", ALICE);
            while let Some(answer) = client.try_call("github__echo", json!({})).await {
                assert_eq!(answer.status, 200, "{}", answer.text());
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    eventually("it is under load", async || answered.load(Ordering::Relaxed) > 200).await;
    gateway.stop().await;
    while let Some(worker) = working.join_next().await {
        worker.expect("every answer is whole");
    }
    let answered = answered.load(Ordering::Relaxed);
    assert_eq!(recorder.calls().len(), answered, "what a server received was answered");
    let records = records_in(folder.path());
    let ended = records.iter().filter(|record| record["outcome"] == "success").count();
    assert_eq!((ended, records.len()), (answered, answered), "and recorded with its end");
    let verified = doorward(&config, &["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
    for stream in &mut listening {
        let last = stream.rest().await.pop().expect("a last word");
        assert_eq!(last["result"]["resultType"], "complete", "{last}");
    }
}

/// Whether a stream has ended, as far as can be seen now.
async fn is_over(stream: &mut Events) -> bool {
    let more = tokio::time::timeout(std::time::Duration::ZERO, stream.more()).await;
    matches!(more, Ok(None) | Ok(Some(Value::Null)))
}
