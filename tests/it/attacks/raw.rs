//! Bytes on a connection of their own, and everything that comes back on it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::http::MODERN;
use crate::world::{ALICE, call};

/// One answer.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub body: String,
}

impl Answered {
    /// `<status> <code>`, or `<status>` where there is no error of JSON-RPC; `<status> request-bounds` for the
    /// result that stands for a call beyond a bound.
    pub fn summary(&self) -> String {
        let json: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let failure = &json["result"]["_meta"]["dev.doorward/error"]["code"];
        match json["error"]["code"].as_i64() {
            Some(code) => format!("{} {code}", self.status),
            None if failure == "request-bounds" => format!("{} request-bounds", self.status),
            None => self.status.to_string(),
        }
    }
}

/// Sends these bytes, and reads until the connection ends.
pub async fn say(address: SocketAddr, bytes: &[u8]) -> Vec<Answered> {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // Whoever has heard enough may hang up before all is said.
    let _ = stream.write_all(bytes).await;
    let mut heard = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            heard.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the connection ends in time");
    answers(&String::from_utf8_lossy(&heard))
}

/// The same, and then on the same connection a request for `/healthz`, which ends it. What
/// was taken for a request of its own has an answer of its own.
pub async fn say_and_leave(address: SocketAddr, bytes: &[u8]) -> Vec<Answered> {
    let last = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    say(address, &[bytes, last.as_bytes()].concat()).await
}

/// `POST` of this to `path`, with the headers of an honest client and these.
pub fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    head(address, path, &format!("content-length: {length}\r\n{headers}")) + body
}

/// The same without a body and its length.
pub fn head(address: SocketAddr, path: &str, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {ALICE}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{headers}\r\n"
    )
}

/// The headers of a request of 2026-07-28.
pub fn modern(method: &str, name: &str) -> String {
    let name = if name.is_empty() { String::new() } else { format!("mcp-name: {name}\r\n") };
    format!("mcp-protocol-version: {MODERN}\r\nmcp-method: {method}\r\n{name}")
}

/// `tools/call` of 2026-07-28.
pub fn tools_call(name: &str, arguments: Value) -> String {
    let mut params = call(name, arguments);
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
}

fn answers(mut text: &str) -> Vec<Answered> {
    let mut all = Vec::new();
    while let Some((head, rest)) = text.split_once("\r\n\r\n") {
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        // An answer to HEAD says how long it would be.
        let length = length.parse::<usize>().expect("a length").min(rest.len());
        let (body, next) = rest.split_at(length);
        all.push(Answered { status, body: body.to_owned() });
        text = next;
    }
    all
}
