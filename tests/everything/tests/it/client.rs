//! A client that speaks either era to a server of its own.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const MODERN: &str = "2026-07-28";

pub struct Client {
    _child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    capabilities: Value,
    modern: bool,
    next: u64,
}

impl Client {
    /// A server that speaks these eras, and nothing said yet.
    pub fn start(eras: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_everything"))
            .args(["--stdio", "--era", eras])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let input = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { _child: child, input, lines, capabilities: json!({}), modern: true, next: 0 }
    }

    /// A client that declares these capabilities with every request.
    pub fn modern(capabilities: Value) -> Self {
        Self { capabilities, ..Self::start("both") }
    }

    /// A client that has opened a session.
    pub async fn legacy(revision: &str, capabilities: Value) -> Self {
        let mut client = Self { modern: false, ..Self::start("both") };
        let opened = client.initialize(revision, capabilities).await;
        assert_eq!(opened["result"]["protocolVersion"], revision, "{opened}");
        client
    }

    pub async fn initialize(&mut self, revision: &str, capabilities: Value) -> Value {
        let client = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": revision, "capabilities": capabilities, "clientInfo": client});
        self.write(&json!({"jsonrpc": "2.0", "id": "open", "method": "initialize", "params": params})).await;
        let opened = self.read().await;
        self.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        opened
    }

    /// Sends a request; its id.
    pub async fn send(&mut self, method: &str, mut params: Value) -> Value {
        if self.modern {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
        }
        self.next += 1;
        let id = json!(self.next);
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        id
    }

    /// Sends a request that is answered before anything else is said.
    pub async fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        let answer = self.read().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    pub async fn result(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.request(method, params).await;
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].take()
    }

    /// Calls a tool or a prompt, and answers what it asks; the result.
    ///
    /// `say` has the answers by key in the modern era, and by order in a session.
    pub async fn converse(&mut self, method: &str, params: Value, say: &[(&str, Value)]) -> Value {
        if self.modern {
            self.converse_modern(method, params, say).await
        } else {
            self.converse_legacy(method, params, say).await
        }
    }

    async fn converse_modern(&mut self, method: &str, mut params: Value, say: &[(&str, Value)]) -> Value {
        loop {
            let result = self.result(method, params.clone()).await;
            if result["resultType"] != "input_required" {
                return result;
            }
            let asked = result["inputRequests"].as_object().expect("questions").keys();
            let answer = |key: &String| {
                let (_, answer) = say.iter().find(|(said, _)| said == key).expect("an expected question");
                (key.clone(), answer.clone())
            };
            params["inputResponses"] = asked.map(answer).collect();
            params.as_object_mut().expect("an object").remove("requestState");
            if !result["requestState"].is_null() {
                params["requestState"] = result["requestState"].clone();
            }
        }
    }

    async fn converse_legacy(&mut self, method: &str, params: Value, say: &[(&str, Value)]) -> Value {
        let id = self.send(method, params).await;
        let mut say = say.iter();
        loop {
            let message = self.read().await;
            if message["id"] == id {
                assert!(message["error"].is_null(), "{message}");
                return message["result"].clone();
            }
            let (_, answer) = say.next().expect("an expected question");
            self.write(&json!({"jsonrpc": "2.0", "id": message["id"], "result": answer})).await;
        }
    }

    pub async fn write(&mut self, message: &Value) {
        self.input.write_all(format!("{message}\n").as_bytes()).await.expect("written");
    }

    /// The next message; fails after ten seconds.
    pub async fn read(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line()).await;
        let line = line.expect("in time").expect("readable").expect("a message");
        serde_json::from_str(&line).expect("nothing but JSON on standard output")
    }
}

/// The text of the first block.
pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}"))
}

pub fn call(name: &str) -> Value {
    json!({"name": name, "arguments": {}})
}
