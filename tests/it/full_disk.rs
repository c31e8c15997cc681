//! A full disk: calls are refused, nothing is lost, and it comes back by itself.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use doorward_ledger::{Against, verify};
use http::Method;
use serde_json::{Value, json};

use crate::program::Program;
use crate::world::{ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, program, written};

async fn readiness(client: &Client) -> u16 {
    client.raw(Method::GET, &client.headers(), Bytes::new()).await.status
}

/// Waits until `/readyz` answers with this status.
async fn becomes(client: &Client, status: u16) {
    for _ in 0..500 {
        if readiness(client).await == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("/readyz never answers {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_calls_and_loses_none() {
    // What is left of the last page of the log may be too little for a call and enough
    // for the words that it can be written again.
    for more in [0, 300, 450, 600, 900] {
        full_disk(more).await;
    }
}

/// Fills the disk of a log whose records so far are longer by so many bytes.
async fn full_disk(more: usize) {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("created");
    let rest = format!("rateLimit: {{enabled: false}}\n{STAFF_MAY_ALL}");
    let config = written(folder.path(), &recorder, &rest);
    // A disk of its own, which only the gateway sees: four megabytes.
    let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
    let rights = if rustix::process::getuid().is_root() { "--mount" } else { "-Umr" };
    let under = ["unshare", rights, "sh", "-c", script].map(OsStr::new);
    let under = [&under[..], &[data.as_os_str()]].concat();
    let gateway = Program::start_under(&under, &config, &folder.path().join("log"), &[]).await;
    let seen = Path::new("/proc")
        .join(gateway.pid().to_string())
        .join("root")
        .join(data.strip_prefix("/").expect("an absolute path"));
    let alice = Client::modern(gateway.address, "/mcp", ALICE);
    let ready = Client::modern(gateway.address, "/readyz", ALICE);
    becomes(&ready, 200).await;

    let mut answered = Vec::new();
    let mut call = async |at: usize| {
        let answer = alice.call("github__echo", json!({ "mark": at })).await;
        if answer.status == 200 {
            answered.push(at);
        }
        answer
    };
    for at in 0..20 {
        assert_eq!(call(at).await.status, 200);
    }
    assert_eq!(alice.call("github__echo", json!({ "mark": "x".repeat(more) })).await.status, 200);
    let filler = seen.join("filler");
    let mut file = File::create(&filler).expect("created");
    while file.write_all(&[0; 4_096]).is_ok() {}
    // What still fits into the last page of the log is still recorded.
    let mut refused = None;
    for at in 20..100 {
        let answer = call(at).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a disk that is full takes no records");
    assert_eq!(refused.status, 503);
    assert!(refused.json()["error"]["message"].as_str().is_some_and(|text| text.contains("audit log")));
    becomes(&ready, 503).await;
    let received = recorder.calls().len();
    for at in 100..110 {
        assert_eq!(call(at).await.status, 503);
    }
    assert_eq!(recorder.calls().len(), received, "what is refused reaches no server");

    drop(file);
    fs::remove_file(&filler).expect("removed");
    becomes(&ready, 200).await;
    for at in 110..130 {
        assert_eq!(call(at).await.status, 200, "it comes back without a restart");
    }
    let tools = Client::modern(gateway.address, "/mcp/_gateway", ALICE);
    let rows = tools.call("audit_log", json!({ "limit": 1_000 })).await.text();
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("JSON");
    let marks: Vec<usize> = rows
        .iter()
        .rev()
        .filter(|row| row["outcome"] == "success" && row["tool"] == "echo")
        .filter_map(|row| serde_json::from_str::<Value>(row["args"].as_str()?).ok()?["mark"].as_u64())
        .filter_map(|mark| usize::try_from(mark).ok())
        .collect();
    assert_eq!(marks, answered, "every answered call, once, in order, with its end");
    assert!(rows.iter().all(|row| row["outcome"] != "unknown" && !row["outcome"].is_null()), "{rows:?}");
    let log = seen.join("audit");
    let keys = seen.join("keys");
    let against = Against { keys: Some((&keys, "doorward")), ..Against::default() };
    let report = verify(&log, &against).expect("readable");
    assert!(report.is_valid(), "{:?}", report.faults);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_read_only_disk_it_says_so_and_does_not_start() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("created");
    let config = written(folder.path(), &recorder, STAFF_MAY_ALL);
    let script = "mount -t tmpfs -o ro tmpfs \"$0\" && exec \"$@\"";
    let rights = if rustix::process::getuid().is_root() { "--mount" } else { "-Umr" };
    let mut serve = tokio::process::Command::new("unshare");
    serve.args([rights, "sh", "-c", script]).arg(&data).arg(program());
    let output = serve.arg("--config").arg(&config).args(["serve", "--port", "0"]).output().await;
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Read-only file system") && said.contains("data"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
