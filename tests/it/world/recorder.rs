//! A server that keeps every message it receives.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Which era the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Legacy,
    Modern,
}

/// One received request.
#[derive(Clone, Debug)]
pub struct Received {
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A recording MCP server over Streamable HTTP.
pub struct Recorder {
    pub name: String,
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    speaks: Speaks,
    tools: Mutex<Vec<String>>,
    received: Mutex<Vec<Received>>,
}

/// What every recorder offers unless told otherwise.
pub const TOOLS: [&str; 5] = ["echo", "get_issue", "delete_repository", "create_refund", "leak"];

impl Recorder {
    pub async fn start(name: &str, speaks: Speaks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            speaks,
            tools: Mutex::new(TOOLS.map(str::to_owned).to_vec()),
            received: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { name: name.to_owned(), address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Everything received so far.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().expect("not poisoned").clone()
    }

    /// The tools called so far, in order.
    pub fn calls(&self) -> Vec<String> {
        let called = |received: &Received| {
            let json = received.json();
            (json["method"] == "tools/call")
                .then(|| json["params"]["name"].as_str().unwrap_or("?").to_owned())
        };
        self.received().iter().filter_map(called).collect()
    }

    /// Offers one more tool. One named `hang` never answers.
    pub fn offer(&self, tool: &str) {
        self.state.tools.lock().expect("not poisoned").push(tool.to_owned());
    }

    /// Forgets what was received.
    pub fn forget(&self) {
        self.state.received.lock().expect("not poisoned").clear();
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let authorization = parts
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    state.received.lock().expect("not poisoned").push(Received { headers, body: body.clone() });
    if parts.method != Method::POST {
        return Ok(status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    if message["id"].is_null() {
        return Ok(status(StatusCode::ACCEPTED));
    }
    if message["method"] == "tools/call" && message["params"]["name"] == "hang" {
        std::future::pending::<()>().await;
    }
    let modern = message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string();
    let unknown = json!({"error": {"code": -32601, "message": "Method not found"}});
    let mut reply = match (state.speaks, modern) {
        (Speaks::Modern, false) => {
            json!({"error": {"code": -32600, "message": "only 2026-07-28 is spoken here"}})
        }
        (Speaks::Legacy, true) => unknown,
        _ => reply(&state, &message, &authorization),
    };
    reply["jsonrpc"] = json!("2.0");
    reply["id"] = message["id"].clone();
    let mut response = Response::new(Full::new(Bytes::from(reply.to_string())));
    if reply["error"].is_object() && modern != (state.speaks == Speaks::Modern) {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    let headers = response.headers_mut();
    headers.insert("content-type", "application/json".parse().expect("a header"));
    if message["method"] == "initialize" {
        headers.insert("mcp-session-id", "recorder-session".parse().expect("a header"));
    }
    Ok(response)
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = code;
    response
}

fn reply(state: &State, message: &Value, authorization: &str) -> Value {
    let modern = state.speaks == Speaks::Modern;
    let mut result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
            "serverInfo": {"name": "recorder", "version": "1"},
        }),
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
            "ttlMs": 0,
            "cacheScope": "private",
        }),
        "tools/list" => {
            let tools = state.tools.lock().expect("not poisoned");
            let define = |name: &String| json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object"}});
            json!({"tools": tools.iter().map(define).collect::<Vec<_>>()})
        }
        "resources/list" => json!({"resources": [{"uri": "wiki://handbook", "name": "handbook"}]}),
        "resources/templates/list" => {
            json!({"resourceTemplates": [{"uriTemplate": "wiki://{page}", "name": "page"}]})
        }
        "prompts/list" => json!({"prompts": [{"name": "review"}]}),
        "resources/read" => {
            json!({"contents": [{"uri": message["params"]["uri"], "text": "read"}]})
        }
        "prompts/get" => {
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": "review it"}}]})
        }
        "tools/call" => {
            let text = match message["params"]["name"].as_str() {
                Some("leak") => format!("I was sent {authorization}!"),
                _ => message["params"]["arguments"].to_string(),
            };
            json!({"content": [{"type": "text", "text": text}]})
        }
        _ => return json!({"error": {"code": -32601, "message": "Method not found"}}),
    };
    if modern {
        result["resultType"] = json!("complete");
    }
    json!({ "result": result })
}
