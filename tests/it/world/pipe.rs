//! The program at the other end of two pipes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::http::MODERN;
use super::program;

/// `serve --stdio`, as a client starts it.
pub struct Pipe {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Pipe {
    pub fn open(config: &Path, surface: &str, key: &str) -> Self {
        let mut child = Command::new(program())
            .arg("--config")
            .arg(config)
            .args(["serve", "--stdio", "--surface", surface])
            .env("MCP_GATEWAY_API_KEY", key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let input = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, input, lines }
    }

    /// Sends a message.
    pub async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    /// Sends a line as it is.
    pub async fn say_text(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.expect("written");
    }

    /// The next message; fails after ten seconds.
    pub async fn next(&mut self) -> Value {
        let line = self.next_text().await;
        serde_json::from_str(&line).expect("nothing but JSON on standard output")
    }

    /// The same as it came.
    pub async fn next_text(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line());
        line.await.expect("in time").expect("readable").expect("a message")
    }

    /// Sends a request of 2026-07-28, and returns what comes next.
    pub async fn ask(&mut self, method: &str, mut params: Value) -> Value {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        self.say(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})).await;
        self.next().await
    }

    /// Waits until it ends by itself; its exit status.
    pub async fn ended(mut self) -> Option<i32> {
        let end = tokio::time::timeout(Duration::from_secs(10), self.child.wait());
        end.await.expect("it ends in time").expect("waited for").code()
    }

    /// Closes the input and waits for an orderly end.
    pub async fn end(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        assert!(child.wait().await.expect("it ends").success());
    }
}
