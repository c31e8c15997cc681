//! Two issuers that use the same subject name two people: neither finds the sessions, the
//! allowance or the sessions at servers of the other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use doorward::runtime::{self, Running};
use serde_json::json;

use crate::oidc::Issuer;
use crate::world::redis::Redis;
use crate::world::{Client, Recorder, STAFF_MAY_ALL, Speaks, system};

/// Two calls a month for each person.
const TWO_CALLS: &str = "limits:\n  - {name: two, kind: quota, key: person, max: 2, per: month}\n";

/// A configuration that lets in whoever has a token of this issuer.
fn admits(folder: &Path, issuer: &Issuer, recorder: &Recorder, rest: &str) -> PathBuf {
    let path = folder.join("gateway.yaml");
    let text = format!(
        "dataDir: {}\nauth: {{type: oidc, oidc: {{issuerUrl: \"http://{}\", clientId: desk, consumerIdField: azp}}}}\nservers:\n  - {{id: github, url: \"{}\", enabled: true}}\n{STAFF_MAY_ALL}{rest}",
        folder.join("data").display(),
        issuer.address,
        recorder.url(),
    );
    std::fs::write(&path, text).expect("written");
    path
}

async fn start(config: &Path) -> Running {
    runtime::start(config, system()).await.expect("the gateway starts")
}

async fn session(address: SocketAddr, issuer: &Issuer) -> Client {
    Client::legacy(address, "/mcp/github", &issuer.token(&json!({})), "2025-06-18").await
}

/// How many of three calls reach the server.
async fn let_through(client: &Client, recorder: &Recorder) -> usize {
    let before = recorder.calls().len();
    for _ in 0..3 {
        client.call("echo", json!({})).await;
    }
    recorder.calls().len() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_subject_of_another_issuer_is_somebody_else_in_the_same_data_directory() {
    let (here, there) = (Issuer::start().await, Issuer::start().await);
    let recorder = Recorder::start("github", Speaks::Legacy).await;
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(&admits(folder.path(), &here, &recorder, TWO_CALLS)).await;
    let ann = session(running.address(), &here).await;
    assert_eq!(ann.call("echo", json!({})).await.text(), "{}");
    running.stop().await;

    let running = start(&admits(folder.path(), &there, &recorder, TWO_CALLS)).await;
    let taken = ann.at(running.address()).with_key(&there.token(&json!({})));
    assert_eq!(taken.request("ping", json!({})).await.status, 404, "a session of the other issuer's ann");
    let other = session(running.address(), &there).await;
    assert_eq!(let_through(&other, &recorder).await, 2, "an allowance of her own");
    running.stop().await;

    let running = start(&admits(folder.path(), &here, &recorder, TWO_CALLS)).await;
    let ann = ann.at(running.address());
    assert_eq!(ann.request("ping", json!({})).await.status, 200, "her session goes on");
    assert_eq!(let_through(&ann, &recorder).await, 1, "what is left of her allowance");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_issuer_that_a_reload_brings_goes_on_with_nothing() {
    let (here, there) = (Issuer::start().await, Issuer::start().await);
    let recorder = Recorder::start("github", Speaks::Legacy).await;
    let folder = tempfile::tempdir().expect("a folder");
    let running = start(&admits(folder.path(), &here, &recorder, "")).await;
    let ann = session(running.address(), &here).await;
    let modern =
        |issuer: &Issuer| Client::modern(running.address(), "/mcp/github", &issuer.token(&json!({})));
    for _ in 0..2 {
        assert_eq!(modern(&here).call("echo", json!({})).await.text(), "{}");
    }
    admits(folder.path(), &there, &recorder, "");
    running.reload().expect("a valid configuration");
    let taken = ann.with_key(&there.token(&json!({})));
    assert_eq!(taken.request("ping", json!({})).await.status, 404, "a session of the other issuer's ann");
    assert_eq!(modern(&there).call("echo", json!({})).await.text(), "{}");
    let sessions = recorder.sessions();
    assert_eq!(sessions[0], sessions[1], "calls of one grant share a session with the server");
    assert_ne!(sessions[1], sessions[2], "and nobody else's, whatever their name");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_subject_of_another_issuer_is_somebody_else_at_another_replica() {
    let (here, there, redis) = (Issuer::start().await, Issuer::start().await, Redis::start().await);
    let recorder = Recorder::start("github", Speaks::Legacy).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut replicas = Vec::new();
    for (name, issuer) in [("one", &here), ("two", &there)] {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).expect("a folder");
        let keys = format!("audit: {{keyDir: {}}}\n", folder.path().join("keys").display());
        let rest = format!("{TWO_CALLS}{}{keys}", redis.section());
        replicas.push(start(&admits(&own, issuer, &recorder, &rest)).await);
    }
    let (first, second) = (replicas[0].address(), replicas[1].address());
    let ann = session(first, &here).await;
    assert_eq!(ann.request("ping", json!({})).await.status, 200);
    let taken = ann.at(second).with_key(&there.token(&json!({})));
    assert_eq!(taken.request("ping", json!({})).await.status, 404, "a session of the other issuer's ann");
    assert_eq!(let_through(&ann, &recorder).await, 2);
    assert_eq!(let_through(&session(second, &there).await, &recorder).await, 2, "an allowance of her own");
    for running in replicas {
        running.stop().await;
    }
}
