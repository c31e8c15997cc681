//! A gateway that may open few files: strangers take them all, and when they have left it is
//! as it was.

use std::ffi::OsStr;

use serde_json::json;
use tokio::net::TcpStream;

use crate::program::Program;
use crate::world::{ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, eventually, written};

/// How many files it may open.
const FILES: usize = 96;

#[tokio::test(flavor = "multi_thread")]
async fn out_of_descriptors_it_waits_and_comes_back() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = written(folder.path(), &recorder, STAFF_MAY_ALL);
    let log = folder.path().join("log");
    let limit = format!("--nofile={FILES}");
    let under = [OsStr::new("prlimit"), OsStr::new(&limit), OsStr::new("--")];
    let mut gateway = Program::start_under(&under, &config, &log, &[]).await;
    let client = Client::modern(gateway.address, "/mcp", ALICE);
    assert_eq!(client.call("github__echo", json!({})).await.text(), "{}");

    let mut strangers = Vec::new();
    for _ in 0..2 * FILES {
        strangers.push(TcpStream::connect(gateway.address).await.expect("the system takes it"));
    }
    eventually("it says so", async || {
        std::fs::read_to_string(&log).expect("readable").contains("could not be accepted")
    })
    .await;
    assert!(gateway.child.try_wait().expect("asked").is_none(), "it goes on");
    drop(strangers);
    let answer = client.call("github__echo", json!({"a": 1})).await;
    assert_eq!(answer.text(), r#"{"a":1}"#, "and serves again");
    let said = std::fs::read_to_string(&log).expect("readable");
    assert!(said.matches("could not be accepted").count() < 1_000, "it fills no disk with it");
    gateway.stop().await;
}
