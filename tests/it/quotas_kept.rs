//! What quotas have counted outlives the process, and is the same for all replicas.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use crate::program::Program;
use crate::quotas::{echoes, limits, until_exceeded};
use crate::replicas;
use crate::world::redis::Redis;
use crate::world::{ALICE, Client, Recorder, Speaks, eventually, written};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_kill_forget_nothing() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    recorder.offer("wait");
    let folder = tempfile::tempdir().expect("a folder");
    let rest = limits(&["name: all, kind: quota, key: person, max: 5, per: month"]);
    let config = written(folder.path(), &recorder, &rest);
    let log = folder.path().join("log");
    let client = |gateway: &Program| Client::modern(gateway.address, "/mcp/github", ALICE);

    let gateway = Program::start(&config, &log, &[]).await;
    for _ in 0..2 {
        assert_eq!(client(&gateway).call("echo", json!({})).await.status, 200);
    }
    gateway.stop().await;
    assert_eq!(recorder.calls().len(), 2);

    // Killed with one call answered and one at its server.
    let mut gateway = Program::start(&config, &log, &[]).await;
    assert_eq!(client(&gateway).call("echo", json!({})).await.status, 200);
    let waiting = tokio::spawn({
        let client = client(&gateway);
        async move { client.try_call("wait", json!({})).await }
    });
    eventually("the server has it", async || recorder.calls().len() == 4).await;
    gateway.child.kill().await.expect("killed");
    let _ = waiting.await;

    let gateway = Program::start(&config, &log, &[]).await;
    assert_eq!(until_exceeded(&client(&gateway), "echo").await, 1);
    assert_eq!(recorder.calls(), ["echo", "echo", "echo", "wait", "echo"]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_never_let_one_too_many_through() {
    const MAX: usize = 500;
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let rest = format!("rateLimit: {{enabled: false}}\n{}", echoes(MAX as u32));
    let config = written(folder.path(), &recorder, &rest);
    let log = folder.path().join("log");
    let mut in_flight = 0;
    for kill in 0..6 {
        let mut gateway = Program::start(&config, &log, &[]).await;
        let before = recorder.calls().len();
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let client = Client::modern(gateway.address, "/mcp/github", ALICE);
                tokio::spawn(async move {
                    while client.try_call("echo", json!({})).await.is_some_and(|it| it.status == 200) {}
                })
            })
            .collect();
        eventually("some calls got through", async || {
            let received = recorder.calls().len();
            received > before + 2 * kill || received + in_flight >= MAX
        })
        .await;
        gateway.child.kill().await.expect("killed");
        for client in clients {
            client.await.expect("it ends");
        }
        in_flight += 4;
    }
    let gateway = Program::start(&config, &log, &[]).await;
    let client = Client::modern(gateway.address, "/mcp/github", ALICE);
    let left = MAX - recorder.calls().len();
    for _ in 0..=left {
        client.call("echo", json!({})).await;
    }
    let received = recorder.calls().len();
    assert!(received <= MAX && received + in_flight >= MAX, "{received} of {MAX} reached the server");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_have_one_quota_between_them_and_none_without_what_they_share() {
    let mut redis = Redis::start().await;
    let rest = echoes(10);
    let quotas = &rest[rest.find("limits:").expect("a section")..];
    let replicas = replicas::pair(&["github"], &redis, quotas).await;
    let client = |index| Client::modern(replicas.address(index), "/mcp/github", ALICE);
    let clients = [client(0), client(1)];
    for client in &clients {
        assert!(!client.tools().await.is_empty());
    }
    let calls = (0..50).map(|at| clients[at % 2].call("echo", json!({})));
    let answers = futures_util::future::join_all(calls).await;
    let limited = answers.iter().filter(|answer| answer.is_limited()).count();
    assert_eq!((answers.len(), limited), (50, 40));
    assert_eq!(replicas.recorders[0].calls().len(), 10);
    let kept = redis.lines("KEYS doorward:quota:*").await;
    assert_eq!(kept.iter().filter(|line| line.starts_with("doorward:quota:")).count(), 1, "{kept:?}");
    assert!(!kept.concat().contains("echoes") && !kept.concat().contains("alice"), "{kept:?}");

    redis.kill().await;
    eventually("a call is refused in words", async || {
        clients[0].call("echo", json!({})).await.text()
            == "[POLICY DENIED] quota `echoes` cannot be counted: the shared state cannot be reached; \
                try again later"
    })
    .await;
    assert_eq!(clients[1].call("leak", json!({})).await.status, 200, "no quota speaks of this one");
    assert_eq!(replicas.recorders[0].calls().len(), 11);
    redis.run().await;
    eventually("it comes back by itself", async || {
        clients[1].call("echo", json!({})).await.summary() == "200 ok"
    })
    .await;
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reached_no_server_is_given_back_to_all_replicas() {
    let redis = Redis::start().await;
    let port = crate::program::free_port();
    let rest = echoes(3);
    let quotas = &rest[rest.find("limits:").expect("a section")..];
    let servers =
        format!("servers:\n  - {{id: late, url: \"http://127.0.0.1:{port}/mcp\", enabled: true}}\n{quotas}");
    let replicas = replicas::pair(&[], &redis, &servers).await;
    let client = |index| Client::modern(replicas.address(index), "/mcp/late", ALICE);
    for at in 0..6 {
        assert_eq!(client(at % 2).call("echo", json!({})).await.json()["result"]["isError"], true);
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is still free");
    let recorder = Recorder::start_on(listener, "late", Speaks::Modern);
    assert_eq!(client(0).call("echo", json!({})).await.status, 200);
    assert_eq!(until_exceeded(&client(1), "echo").await, 2);
    assert_eq!(recorder.calls().len(), 3);
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_recorded_is_given_back() {
    let redis = Redis::start().await;
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("created");
    let rest = format!("rateLimit: {{enabled: false}}\n{}{}", echoes(1_000), redis.section());
    let config = written(folder.path(), &recorder, &rest);
    // A disk of its own, which only the gateway sees.
    let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
    let rights = if rustix::process::getuid().is_root() { "--mount" } else { "-Umr" };
    let under = ["unshare", rights, "sh", "-c", script].map(OsStr::new);
    let under = [&under[..], &[data.as_os_str()]].concat();
    let gateway = Program::start_under(&under, &config, &folder.path().join("log"), &[]).await;
    let seen = Path::new("/proc").join(gateway.pid().to_string()).join("root");
    let filler = seen.join(data.strip_prefix("/").expect("an absolute path")).join("filler");
    let alice = Client::modern(gateway.address, "/mcp/github", ALICE);
    eventually("Redis is reached", async || alice.call("echo", json!({})).await.summary() == "200 ok").await;
    let mut file = std::fs::File::create(&filler).expect("created");
    while file.write_all(&[0; 4_096]).is_ok() {}
    // What still fits into the last page of the log is recorded, and counts.
    eventually("the disk is full", async || {
        alice.call("echo", json!({"mark": "x".repeat(500)})).await.status == 503
    })
    .await;
    for _ in 0..10 {
        assert_eq!(alice.call("echo", json!({"mark": "x".repeat(500)})).await.status, 503);
    }
    let keys = redis.lines("KEYS doorward:quota:*").await;
    let key = keys.iter().find(|line| line.starts_with("doorward:quota:")).expect("a counter");
    let received = recorder.calls().len().to_string();
    eventually("what was not sent is given back", async || {
        redis.lines(&format!("GET {key}")).await[1] == received
    })
    .await;
    drop(file);
    std::fs::remove_file(&filler).expect("removed");
    gateway.stop().await;
}
