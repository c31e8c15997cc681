//! A server that says what it is told to, to the byte, and keeps what it is sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What it says to a message; empty hangs up.
type Says = dyn Fn(&str, &Value) -> String + Send + Sync;

/// The server.
pub struct Server {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The head, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Server {
    /// Starts it; it greets as a server of the era does, and says to everything else what
    /// `says` yields for the head and the message.
    pub async fn start(
        is_modern: bool,
        says: impl Fn(&str, &Value) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::start_rude(move |head, message| {
            greeting(is_modern, head, message).unwrap_or_else(|| says(head, message))
        })
        .await
    }

    /// The same without a greeting.
    pub async fn start_rude(says: impl Fn(&str, &Value) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (heard, says) = (Arc::<Mutex<Vec<Heard>>>::default(), Arc::new(says));
        let log = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&says) as Arc<Says>, Arc::clone(&log)));
            }
        });
        Self { address, heard }
    }

    /// Its section of a configuration.
    pub fn section(&self, id: &str) -> String {
        format!("  - {{id: {id}, url: \"http://{}/mcp\", timeout: 5000, enabled: true}}\n", self.address)
    }

    /// Everything it was sent.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("not poisoned").clone()
    }

    /// The calls among it.
    pub fn calls(&self) -> Vec<Value> {
        self.heard().iter().map(Heard::json).filter(|message| message["method"] == "tools/call").collect()
    }
}

async fn serve(mut stream: TcpStream, says: Arc<Says>, heard: Arc<Mutex<Vec<Heard>>>) {
    while let Some(request) = read(&mut stream).await {
        let said = says(&request.head, &request.json());
        heard.lock().expect("not poisoned").push(request);
        if said.is_empty() || stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Heard> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(Heard { head, body })
}

fn greeting(is_modern: bool, head: &str, message: &Value) -> Option<String> {
    if !head.starts_with("post") {
        return Some(answer("405 Method Not Allowed", "text/plain", ""));
    }
    Some(match message["method"].as_str().unwrap_or_default() {
        "server/discover" if is_modern => result(
            message,
            json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private", "resultType": "complete"}),
        ),
        "server/discover" => answer("400 Bad Request", "application/json", "{}"),
        "initialize" => result(
            message,
            json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}),
        ),
        "tools/list" | "tools/call" => return None,
        _ if message["id"].is_null() => answer("202 Accepted", "text/plain", ""),
        _ => return None,
    })
}

/// The tools of a list.
pub fn tools(names: &[&str]) -> Value {
    let tools: Vec<_> =
        names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
    json!({"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"})
}

/// A result with the id of the message.
pub fn result(message: &Value, result: Value) -> String {
    answer("200 OK", "application/json", &response(message, &result))
}

/// The same as a message alone.
pub fn response(message: &Value, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string()
}

/// An answer of HTTP.
pub fn answer(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
