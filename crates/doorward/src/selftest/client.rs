//! A client over HTTP that calls itself whatever it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use doorward_egress::{Door, Outgoing, Reach, Replay, Rules, Settings, Target};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::system::SystemClock;

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
const WITHIN: Duration = Duration::from_secs(30);
const LARGEST: usize = 16 << 20;

/// What a client says of itself, and the era it speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fingerprint {
    pub(super) name: &'static str,
    version: &'static str,
    is_modern: bool,
}

/// Clients that people use, of both eras.
pub(super) const CLIENTS: [Fingerprint; 3] = [
    Fingerprint { name: "claude-code", version: "2.1.0", is_modern: true },
    Fingerprint { name: "cursor-vscode", version: "1.7.0", is_modern: false },
    Fingerprint { name: "codex-mcp-client", version: "0.60.0", is_modern: false },
];

/// What was said about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// `allow`, `deny`, `unknown`, or the status of anything else.
    pub(super) verdict: String,
    /// Why, and by which rule.
    pub(super) because: String,
}

/// A client of one endpoint.
pub(super) struct Client {
    door: Door,
    path: String,
    headers: HeaderMap,
    about: Fingerprint,
    ids: AtomicU64,
}

impl Client {
    pub(super) async fn open(
        address: SocketAddr,
        path: &str,
        key: &str,
        about: &Fingerprint,
    ) -> anyhow::Result<Self> {
        let target = Target::parse(&format!("http://{address}{path}"))?;
        let client = doorward_egress::Client::new(Settings::default(), Arc::new(SystemClock::default()));
        let door = client.door(target, Rules { reach: Reach::Anywhere, allow_insecure_http: true })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if !key.is_empty() {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}"))?);
        }
        let mut client = Self { door, path: path.to_owned(), headers, about: *about, ids: AtomicU64::new(1) };
        if !about.is_modern {
            client.initialize().await?;
        }
        Ok(client)
    }

    async fn initialize(&mut self) -> anyhow::Result<()> {
        let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": self.info()});
        let (status, headers, _) = self.send("initialize", "", params).await?;
        let session = headers.get("mcp-session-id").with_context(|| format!("no session: HTTP {status}"))?;
        self.headers.insert(HeaderName::from_static("mcp-session-id"), session.clone());
        self.headers
            .insert(HeaderName::from_static("mcp-protocol-version"), HeaderValue::from_static(LEGACY));
        Ok(())
    }

    fn info(&self) -> Value {
        json!({"name": self.about.name, "version": self.about.version})
    }

    /// The HTTP status of a list.
    pub(super) async fn status(&self) -> anyhow::Result<u16> {
        Ok(self.send("tools/list", "", json!({})).await?.0.as_u16())
    }

    /// The names of all tools that it is shown, sorted.
    pub(super) async fn tools(&self) -> anyhow::Result<Vec<String>> {
        let answer = self.send("tools/list", "", json!({})).await?.2;
        let Some(tools) = answer["result"]["tools"].as_array() else { bail!("no list: {answer}") };
        let mut names: Vec<_> =
            tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Calls a tool; without arguments where there are none.
    pub(super) async fn call(&self, tool: &str, arguments: Option<&Value>) -> anyhow::Result<Said> {
        let mut params = json!({"name": tool});
        if let Some(arguments) = arguments {
            params["arguments"] = arguments.clone();
        }
        let (status, _, answer) = self.send("tools/call", tool, params).await?;
        Ok(said(status, &answer))
    }

    async fn send(
        &self,
        method: &str,
        name: &str,
        mut params: Value,
    ) -> anyhow::Result<(StatusCode, HeaderMap, Value)> {
        let mut headers = self.headers.clone();
        if self.about.is_modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": self.info(),
            });
            for (header, value) in
                [("mcp-protocol-version", MODERN), ("mcp-method", method), ("mcp-name", name)]
            {
                if !value.is_empty() {
                    let value = doorward_wire::header::encode(value).into_owned();
                    headers.insert(HeaderName::from_static(header), HeaderValue::from_str(&value)?);
                }
            }
        }
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let outgoing = Outgoing {
            method: Method::POST,
            path: self.path.parse()?,
            headers,
            body: Bytes::from(body),
            replay: Replay::Harmful,
            answer_within: Some(WITHIN),
        };
        let response = self.door.send(outgoing).await?;
        let (status, headers) = (response.status, response.headers);
        let body = response.body.collect(LARGEST).await?;
        Ok((status, headers, read(&String::from_utf8_lossy(&body))))
    }
}

/// A body of JSON, or the last event of a stream.
fn read(body: &str) -> Value {
    let event = body.lines().rev().find_map(|line| line.strip_prefix("data:"));
    serde_json::from_str(event.unwrap_or(body).trim()).unwrap_or_default()
}

fn said(status: StatusCode, answer: &Value) -> Said {
    let result = &answer["result"];
    let decision = &result["_meta"]["dev.doorward/decision"];
    let (verdict, because) = if result["isError"] != true && result.is_object() {
        meta(&result["content"][0]["text"])
    } else if decision.is_object() {
        ("deny".to_owned(), format!("{} {}", decision["reasons"], decision["rule"]))
    } else if answer["error"]["code"] == -32602 {
        ("unknown".to_owned(), String::new())
    } else {
        (format!("HTTP {status}"), answer.to_string())
    };
    Said { verdict, because }
}

/// What the meta tool `call` answers is a text about the call; any other text is an answer.
fn meta(text: &Value) -> (String, String) {
    let about: Value = text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let because = about["error"].as_str().unwrap_or_default().to_owned();
    if about["denied"] == true {
        ("deny".to_owned(), because)
    } else if because.ends_with("not found in any registered server") {
        ("unknown".to_owned(), String::new())
    } else {
        ("allow".to_owned(), because)
    }
}
