//! A server that keeps every message it receives.

mod lists;
mod news;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lists::Lists;
use news::News;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;

/// Which era the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Legacy,
    Modern,
}

/// One received request.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
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
    /// Resources beside its own.
    resources: Mutex<Vec<String>>,
    /// What it says of how long what was read may be kept.
    caching: Mutex<Value>,
    received: Mutex<Vec<Received>>,
    news: News,
    lists: Lists,
    /// What calls of `wait` wait for.
    gate: Semaphore,
    /// How many sessions were opened.
    sessions: AtomicUsize,
    /// The numbers of those whose client can be asked for a form.
    able: Mutex<BTreeSet<usize>>,
}

/// What every recorder offers unless told otherwise.
pub const TOOLS: [&str; 5] = ["echo", "get_issue", "delete_repository", "create_refund", "leak"];

/// What a tool named `count` counts.
pub const COUNTED: &str = "98765432109876543210987";

impl Recorder {
    pub async fn start(name: &str, speaks: Speaks) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.expect("a port"), name, speaks)
    }

    pub fn start_on(listener: TcpListener, name: &str, speaks: Speaks) -> Self {
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            speaks,
            tools: Mutex::new(TOOLS.map(str::to_owned).to_vec()),
            resources: Mutex::default(),
            caching: Mutex::default(),
            received: Mutex::default(),
            news: News::default(),
            lists: Lists::default(),
            gate: Semaphore::new(0),
            sessions: AtomicUsize::new(0),
            able: Mutex::default(),
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

    /// From now on the server says that it announces changes, and has subscriptions.
    pub fn announces(&self) {
        self.state.news.announce();
    }

    /// The sessions in which calls arrived, in order.
    pub fn sessions(&self) -> Vec<String> {
        let is_call = |received: &Received| received.json()["method"] == "tools/call";
        let received = self.received();
        received.iter().filter(|it| is_call(it)).map(|it| it.header("mcp-session-id").to_owned()).collect()
    }

    /// The sessions that were ended.
    pub fn ended(&self) -> Vec<String> {
        let received = self.received();
        let ended = received.iter().filter(|it| it.method == Method::DELETE);
        ended.map(|it| it.header("mcp-session-id").to_owned()).collect()
    }

    /// How many streams for its news are open.
    pub fn listeners(&self) -> usize {
        self.state.news.listeners()
    }

    /// Offers these tools, saying nothing.
    pub fn offer_only(&self, tools: &[&str]) {
        *self.state.tools.lock().expect("not poisoned") =
            tools.iter().map(|tool| (*tool).to_owned()).collect();
    }

    /// Lists these resources beside its own.
    pub fn offer_resources(&self, uris: &[&str]) {
        *self.state.resources.lock().expect("not poisoned") =
            uris.iter().map(|uri| (*uri).to_owned()).collect();
    }

    /// Says on every open stream that its list of tools changed.
    pub fn say_tools_changed(&self) {
        self.state.news.say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    }

    /// Tells whoever is subscribed to it that a resource was updated.
    pub fn say_updated(&self, uri: &str) {
        self.state.news.update(uri);
    }

    /// What is subscribed to.
    pub fn subscribed(&self) -> Vec<String> {
        self.state.news.subscribed()
    }

    /// Agrees to no other subscriptions from now on.
    pub fn honours_only(&self, uris: &[&str]) {
        self.state.news.honour_only(uris);
    }

    /// Closes all streams and forgets all sessions.
    pub fn lose_everything(&self) {
        self.state.news.lose(self.state.sessions.load(Ordering::SeqCst));
    }

    /// Declares other capabilities than usual, and instructions.
    pub fn declares(&self, capabilities: Value, instructions: &str) {
        self.state.news.declare(capabilities, instructions);
    }

    /// Adds these members to whatever is read.
    pub fn caches(&self, members: Value) {
        *self.state.caching.lock().expect("not poisoned") = members;
    }

    /// Lets one call of `wait` go on.
    pub fn release(&self) {
        self.state.gate.add_permits(1);
    }

    /// Offers one more tool. One named `hang` never answers, one named `form_…` is there only
    /// in sessions whose client can be asked for a form.
    pub fn offer(&self, tool: &str) {
        self.state.tools.lock().expect("not poisoned").push(tool.to_owned());
    }

    /// Lists one more tool, defined like this.
    pub fn defines(&self, tool: Value) {
        self.state.lists.define(tool);
    }

    /// Answers this method with an error, until it is mended.
    pub fn fails(&self, method: &str) {
        self.state.lists.fail(method);
    }

    /// Does not answer this method, until it is mended.
    pub fn hangs(&self, method: &str) {
        self.state.lists.hang(method);
    }

    /// Answers this method again.
    pub fn mends(&self, method: &str) {
        self.state.lists.mend(method);
    }

    /// Forgets what was received.
    pub fn forget(&self) {
        self.state.received.lock().expect("not poisoned").clear();
    }
}

/// What the server says: a message, or news as they come.
struct Said {
    whole: Option<Bytes>,
    news: Option<UnboundedReceiver<Bytes>>,
}

impl From<Bytes> for Said {
    fn from(bytes: Bytes) -> Self {
        Self { whole: (!bytes.is_empty()).then_some(bytes), news: None }
    }
}

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(bytes) = self.whole.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(news) = &mut self.news else { return Poll::Ready(None) };
        news.poll_recv(cx).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Said>, Infallible> {
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
    state.received.lock().expect("not poisoned").push(Received {
        method: parts.method.clone(),
        headers,
        body: body.clone(),
    });
    let legacy = state.speaks == Speaks::Legacy;
    let session = parts.headers.get("mcp-session-id").and_then(|value| value.to_str().ok());
    if session.is_some_and(|session| state.news.has_lost(session)) {
        return Ok(news::forgotten());
    }
    if parts.method == Method::GET
        && legacy
        && let Some(stream) = state.news.listen(&Value::Null)
    {
        return Ok(stream);
    }
    if parts.method != Method::POST {
        return Ok(status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    if message["method"] == "subscriptions/listen"
        && !legacy
        && let Some(stream) = state.news.listen(&message)
    {
        return Ok(stream);
    }
    if let Some(response) = confession(&message, &parts.headers) {
        return Ok(response);
    }
    if message["method"] == "tools/call" && message["params"]["name"] == "wait" {
        state.gate.acquire().await.expect("never closed").forget();
    }
    if message["id"].is_null() {
        return Ok(status(StatusCode::ACCEPTED));
    }
    if message["method"] == "tools/call" && message["params"]["name"] == "hang" {
        std::future::pending::<()>().await;
    }
    let modern = message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string();
    let unknown = json!({"error": {"code": -32601, "message": "Method not found"}});
    let fails = state.lists.fails(message["method"].as_str().unwrap_or_default()).await;
    let mut reply = match (state.speaks, modern) {
        _ if fails => lists::failure(),
        (Speaks::Modern, false) => {
            json!({"error": {"code": -32600, "message": "only 2026-07-28 is spoken here"}})
        }
        (Speaks::Legacy, true) => unknown,
        _ => reply(&state, &message, &authorization, told(&message, &parts.headers)),
    };
    state.lists.extend(&mut reply);
    if let Some(tools) = reply.pointer_mut("/result/tools").and_then(Value::as_array_mut) {
        let number = session.and_then(|session| session.rsplit('-').next()?.parse().ok());
        let able = state.able.lock().expect("not poisoned");
        let is_able = number.is_some_and(|number| able.contains(&number));
        tools.retain(|tool| is_able || !tool["name"].as_str().is_some_and(|name| name.starts_with("form_")));
        for tool in tools.iter_mut().filter(|tool| tool["name"] == "confess") {
            tool["description"] = json!(told(&message, &parts.headers));
        }
    }
    reply["jsonrpc"] = json!("2.0");
    reply["id"] = message["id"].clone();
    // A number that no reader of ours would keep stands in the text alone.
    let text = reply.to_string().replace("\"COUNTED\"", COUNTED);
    let mut response = Response::new(Said::from(Bytes::from(text)));
    if reply["error"].is_object() && modern != (state.speaks == Speaks::Modern) {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    let headers = response.headers_mut();
    headers.insert("content-type", "application/json".parse().expect("a header"));
    if message["method"] == "initialize" {
        let number = state.sessions.fetch_add(1, Ordering::SeqCst);
        if message["params"]["capabilities"]["elicitation"].is_object() {
            state.able.lock().expect("not poisoned").insert(number);
        }
        headers.insert("mcp-session-id", format!("recorder-session-{number}").parse().expect("a header"));
    }
    Ok(response)
}

/// The tools that tell, one way or another, everything they were told.
pub const CONFESS: [&str; 8] = [
    "confess",
    "confess_as_error",
    "confess_with_status",
    "confess_with_challenge",
    "confess_with_bad_request",
    "confess_as_news",
    "confess_as_nonsense",
    "confess_in_escapes",
];

/// All values of arguments, and those of headers in every spelling.
fn told(message: &Value, headers: &hyper::HeaderMap) -> String {
    let mut told = String::new();
    let arguments = message["params"]["arguments"].as_object();
    for value in arguments.into_iter().flat_map(|arguments| arguments.values()).filter_map(Value::as_str) {
        told += &format!("{value} ");
    }
    for value in headers.values() {
        for spelling in spellings(&String::from_utf8_lossy(value.as_bytes())) {
            told += &format!("{spelling} ");
        }
    }
    told
}

/// How a secret may be written.
pub fn spellings(secret: &str) -> Vec<String> {
    let json = json!(secret).to_string();
    let json = &json[1..json.len() - 1];
    let percent = |plain: &[u8], upper: bool| {
        let mut out = String::new();
        for byte in secret.bytes() {
            match byte {
                byte if byte.is_ascii_alphanumeric() || plain.contains(&byte) => out.push(char::from(byte)),
                byte if upper => out += &format!("%{byte:02X}"),
                byte => out += &format!("%{byte:02x}"),
            }
        }
        out
    };
    let mut all = vec![
        secret.to_owned(),
        json.to_owned(),
        json.replace('/', "\\/"),
        json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
        percent(b"-._~", true),
        percent(b"-._~", false),
        percent(b"-._~!*'()", true),
        escaped(secret),
    ];
    for engine in [&STANDARD, &URL_SAFE] {
        for before in ["", "x", "xx"] {
            let text = engine.encode(format!("{before}{secret}"));
            // Without the characters that also carry what stands around it.
            let start = (before.len() * 8).div_ceil(6);
            all.push(text[start..(before.len() + secret.len()) * 8 / 6].to_owned());
        }
    }
    all.sort();
    all.dedup();
    all
}

/// A text in escapes of JSON alone.
fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// What the tools of [`CONFESS`] answer, but for the plain one.
fn confession(message: &Value, headers: &hyper::HeaderMap) -> Option<Response<Said>> {
    if message["method"] != "tools/call" {
        return None;
    }
    let told = told(message, headers);
    let error = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32000, "message": told, "data": {"why": told}}});
    let (code, kind, body) = match message["params"]["name"].as_str()? {
        "confess_as_error" => (StatusCode::OK, "application/json", error.to_string()),
        "confess_with_status" => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", told),
        "confess_with_challenge" => (StatusCode::UNAUTHORIZED, "text/plain", told),
        "confess_with_bad_request" => (StatusCode::BAD_REQUEST, "application/json", error.to_string()),
        "confess_as_nonsense" => (StatusCode::OK, "application/json", format!("{{{told}")),
        "confess_in_escapes" => {
            let spelled: String = headers
                .values()
                .map(|value| escaped(&format!("{} ", String::from_utf8_lossy(value.as_bytes()))))
                .collect();
            let result = format!(
                r#"{{"content": [{{"type": "text", "text": "{spelled}"}}], "resultType": "complete"}}"#
            );
            let body = format!(r#"{{"jsonrpc": "2.0", "id": {}, "result": {result}}}"#, message["id"]);
            (StatusCode::OK, "application/json", body)
        }
        "confess_as_news" => {
            let token = &message["params"]["_meta"]["progressToken"];
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1, "message": told}});
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": told}});
            let result = json!({"content": [{"type": "text", "text": told}], "resultType": "complete"});
            let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
            let events = format!("data: {progress}\n\ndata: {log}\n\ndata: {answer}\n\n");
            (StatusCode::OK, "text/event-stream", events)
        }
        _ => return None,
    };
    let mut response = Response::new(Said::from(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert("content-type", kind.parse().expect("a header"));
    if code == StatusCode::UNAUTHORIZED {
        let challenge =
            headers.values().map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>();
        let challenge = format!("Bearer realm=\"{}\"", challenge.join(" "));
        response.headers_mut().insert("www-authenticate", challenge.parse().expect("a header"));
    }
    Some(response)
}

fn status(code: StatusCode) -> Response<Said> {
    let mut response = Response::new(Said::from(Bytes::new()));
    *response.status_mut() = code;
    response
}

fn reply(state: &State, message: &Value, authorization: &str, told: String) -> Value {
    let modern = state.speaks == Speaks::Modern;
    if let Some(answer) = state.news.subscribe(message) {
        return answer;
    }
    let (tools, resources) = match state.news.announces() {
        true => (json!({"listChanged": true}), json!({"subscribe": true})),
        false => (json!({}), json!({})),
    };
    let usual = json!({"tools": tools, "resources": resources, "prompts": {}});
    let (capabilities, instructions) = state.news.declared().unwrap_or((usual, String::new()));
    let mut result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities,
            "instructions": instructions,
            "serverInfo": {"name": "recorder", "version": "1"},
        }),
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": capabilities,
            "instructions": instructions,
            "ttlMs": 0,
            "cacheScope": "private",
        }),
        "tools/list" => {
            let tools = state.tools.lock().expect("not poisoned");
            let define = |name: &String| json!({"name": name, "description": format!("does {name}"), "inputSchema": {"type": "object"}});
            json!({"tools": tools.iter().map(define).collect::<Vec<_>>()})
        }
        "resources/list" => {
            let more = state.resources.lock().expect("not poisoned");
            let usual = std::iter::once("wiki://handbook").chain(more.iter().map(String::as_str));
            let define = |uri: &str| json!({"uri": uri, "name": uri.rsplit('/').next()});
            json!({"resources": usual.map(define).collect::<Vec<_>>()})
        }
        "resources/templates/list" => {
            json!({"resourceTemplates": [{"uriTemplate": "wiki://{page}", "name": "page"}]})
        }
        "prompts/list" => json!({"prompts": [{"name": "review"}]}),
        "resources/read" => {
            let mut result = json!({"contents": [{"uri": message["params"]["uri"], "text": "read"}]});
            let caching = state.caching.lock().expect("not poisoned").clone();
            for (member, value) in caching.as_object().into_iter().flatten() {
                result[member] = value.clone();
            }
            result
        }
        "prompts/get" => {
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": "review it"}}]})
        }
        "tools/call" => {
            let failed = message["params"]["name"] == "fail";
            let text = match message["params"]["name"].as_str() {
                Some("leak") => format!("I was sent {authorization}!"),
                Some("confess") => told,
                _ => message["params"]["arguments"].to_string(),
            };
            let mut result = json!({"content": [{"type": "text", "text": text}], "isError": failed});
            if message["params"]["name"] == "count" {
                result["structuredContent"] = json!({"count": "COUNTED"});
            }
            result
        }
        _ => return json!({"error": {"code": -32601, "message": "Method not found"}}),
    };
    if modern {
        result["resultType"] = json!("complete");
    }
    json!({ "result": result })
}
