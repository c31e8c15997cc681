//! A log that nobody reads: it holds nobody up, and says later what it left out.

use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::program::free_port;
use crate::world::{
    ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, eventually, program, records_in, written,
};

/// At a few lines each, far more than any pipe holds.
const CALLS: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn calls_do_not_wait_for_whoever_should_read_the_log() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config =
        written(folder.path(), &recorder, &format!("rateLimit: {{enabled: false}}\n{STAFF_MAY_ALL}"));
    let port = free_port();
    let mut gateway = Command::new(program())
        .arg("--config")
        .arg(&config)
        .args(["serve", "--port", &port.to_string()])
        .env("DOORWARD_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the gateway starts");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it listens", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
    let client = Client::modern(address, "/mcp", ALICE);
    for at in 0..CALLS {
        assert_eq!(client.call("github__echo", json!({"at": at})).await.status, 200, "call {at}");
    }
    assert_eq!(recorder.calls().len(), CALLS);

    let mut log = gateway.stderr.take().expect("piped");
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut text = Vec::new();
        while log.read_buf(&mut text).await.is_ok_and(|read| read > 0) {
            let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
        }
    });
    let mut said = String::new();
    eventually("it says what is missing", async || {
        client.call("github__echo", json!({})).await;
        while let Ok(text) = lines.try_recv() {
            said = text;
        }
        said.contains("lines of the log were left out because nobody read them")
    })
    .await;
    let pid = gateway.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
    rustix::process::kill_process(pid.expect("it runs"), rustix::process::Signal::TERM)
        .expect("told to stop");
    assert!(gateway.wait().await.expect("waited for").success());
    assert_eq!(records_in(folder.path()).len(), recorder.calls().len(), "the ledger has them all");
}
