//! Killed at random moments under load, the gateway has recorded every call that it
//! answered and every call that a server received.

use std::collections::BTreeSet;
use std::sync::Arc;

use doorward_ledger::{Against, Filter, Index, verify};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::program::{Program, free_port};
use crate::world::{ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, eventually, written};

/// How often the gateway is killed.
const KILLS: u32 = 20;
/// Clients that call without pause.
const CLIENTS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_answered_or_received_is_missing_after_kill_9() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let rest = format!("rateLimit: {{enabled: false}}\n{STAFF_MAY_ALL}");
    let config = written(folder.path(), &recorder, &rest);
    let port = free_port();
    let address = ([127, 0, 0, 1], port).into();
    let log = folder.path().join("log");
    let start = || Program::start_on(port, &[], &config, &log, &[]);
    let mut answered = BTreeSet::new();
    for kill in 0..KILLS {
        let mut gateway = start().await;
        let answers = Arc::new(Semaphore::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let answers = Arc::clone(&answers);
                tokio::spawn(async move {
                    let modern = Client::modern(address, "/mcp", ALICE);
                    let mut answered = Vec::new();
                    for call in 0.. {
                        let mark = format!("{kill}-{client}-{call}");
                        match modern.try_call("github__echo", json!({ "mark": mark })).await {
                            Some(answer) if answer.status == 200 => {
                                answered.push(mark);
                                answers.add_permits(1);
                            }
                            Some(_) => {}
                            None => break,
                        }
                    }
                    answered
                })
            })
            .collect();
        // Spread over the first moments of a loaded run; a prime keeps it uneven. Answers are
        // counted, not milliseconds, so that a slow machine loses its gateway under load too.
        answers.acquire_many(10 + (kill * 37) % 83).await.expect("it is never closed").forget();
        gateway.child.kill().await.expect("killed");
        for client in clients {
            answered.extend(client.await.expect("the client ends"));
        }
    }
    // One more start puts right what the last kill left.
    let mut last = start().await;
    let log = folder.path().join("data/audit");
    let mut rows = Vec::new();
    eventually("every decision has its end", async || {
        rows = Index::open_read_only(&log)
            .and_then(|index| index.query(&Filter { limit: 1_000_000, ..Filter::default() }))
            .expect("rows");
        rows.len() >= answered.len() && rows.iter().all(|row| row.outcome.is_some())
    })
    .await;
    // Killed before it signs for the first time, it has no checkpoint; `keyDir` knows that it was begun.
    let keys = folder.path().join("data/keys");
    let against = Against { keys: Some((&keys, "doorward")), ..Against::default() };
    let report = verify(&log, &against).expect("readable");
    assert!(report.is_valid(), "{:?}", report.faults);
    last.child.kill().await.expect("killed");
    let recorded: BTreeSet<String> = rows
        .iter()
        .filter_map(|row| {
            let args: serde_json::Value = serde_json::from_str(row.args.as_deref()?).ok()?;
            Some(args["mark"].as_str()?.to_owned())
        })
        .collect();
    let received: BTreeSet<String> = recorder
        .received()
        .iter()
        .filter_map(|message| Some(message.json()["params"]["arguments"]["mark"].as_str()?.to_owned()))
        .collect();
    assert!(answered.len() > 200, "only {} calls were answered", answered.len());
    assert_eq!(
        answered.difference(&recorded).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "answered, not recorded"
    );
    assert_eq!(
        received.difference(&recorded).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "received, not recorded"
    );
}
