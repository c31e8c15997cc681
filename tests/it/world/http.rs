//! A client that can be as honest or as rude as a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The JSON-RPC message as it came: the body, or the last event of a stream.
    pub fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        last.unwrap_or(&text).to_owned()
    }

    /// The same, read.
    pub fn json(&self) -> Value {
        let text = self.message();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// `<status> <code>`, or `<status> ok` for a result; `<status> request-bounds` for the result that
    /// stands for a call beyond a bound.
    pub fn summary(&self) -> String {
        if self.body.is_empty() {
            return self.status.to_string();
        }
        match self.json()["error"]["code"].as_i64() {
            Some(code) => format!("{} {code}", self.status),
            None if self.json()["result"]["_meta"]["dev.doorward/error"]["code"] == "request-bounds" => {
                assert_eq!(self.json()["result"]["isError"], true);
                format!("{} request-bounds", self.status)
            }
            None => format!("{} ok", self.status),
        }
    }

    /// Whether it says that a rate limit or a quota has no room, in the way that keeps sessions alive.
    pub fn is_limited(&self) -> bool {
        let result = &self.json()["result"];
        let waits = result["_meta"]["dev.doorward/decision"]["retry_after"].as_u64();
        let header = self.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        self.status == 200 && result["isError"] == true && waits.is_some() && waits == header
    }

    /// The text of the first content block, or of the error.
    pub fn text(&self) -> String {
        let json = self.json();
        let result = json["result"]["content"][0]["text"].as_str();
        result.or(json["error"]["message"].as_str()).unwrap_or_default().to_owned()
    }
}

/// A client on one endpoint.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    path: String,
    key: String,
    session: Option<String>,
    revision: String,
    capabilities: Value,
}

pub const MODERN: &str = "2026-07-28";

impl Client {
    pub fn modern(address: SocketAddr, path: &str, key: &str) -> Self {
        Self {
            address,
            path: path.to_owned(),
            key: key.to_owned(),
            session: None,
            revision: MODERN.to_owned(),
            capabilities: json!({}),
        }
    }

    /// The same client, which can be asked these things. Of the stateless era: a session
    /// says it once, when it opens.
    pub fn able(self, capabilities: Value) -> Self {
        Self { capabilities, ..self }
    }

    pub async fn legacy(address: SocketAddr, path: &str, key: &str, revision: &str) -> Self {
        Self::legacy_able(address, path, key, revision, json!({})).await
    }

    /// A client that has opened a session, and can be asked these things.
    pub async fn legacy_able(
        address: SocketAddr,
        path: &str,
        key: &str,
        revision: &str,
        capabilities: Value,
    ) -> Self {
        let mut client = Self {
            address,
            path: path.to_owned(),
            key: key.to_owned(),
            session: None,
            revision: revision.to_owned(),
            capabilities,
        };
        let params = json!({"protocolVersion": revision, "capabilities": client.capabilities, "clientInfo": {"name": "test", "version": "1"}});
        let opened =
            client.post(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
        assert_eq!(opened.status, 200, "{opened:?}");
        let session = opened.headers.get("mcp-session-id").expect("a session").to_str().expect("ASCII");
        client.session = Some(session.to_owned());
        let note = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(client.post(&note).await.status, 202);
        client
    }

    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub fn session(&self) -> &str {
        self.session.as_deref().expect("a session")
    }

    /// The same client at another address, holding the same session.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// The same client showing another session.
    pub fn with_session(&self, session: &str) -> Self {
        Self { session: Some(session.to_owned()), ..self.clone() }
    }

    /// The same client with another key, holding the same session.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Sends a request and returns the answer.
    pub async fn request(&self, method: &str, mut params: Value) -> Answer {
        if self.revision == MODERN {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
        }
        self.post(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await
    }

    /// `tools/call`.
    pub async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.request("tools/call", super::call(tool, arguments)).await
    }

    /// The names of a list.
    pub async fn tools(&self) -> Vec<String> {
        let answer = self.request("tools/list", json!({})).await;
        let json = answer.json();
        let tools = json["result"]["tools"].as_array().unwrap_or_else(|| panic!("{json}"));
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// Sends a message with the headers that belong to it.
    pub async fn post(&self, message: &Value) -> Answer {
        self.raw(Method::POST, &self.headers_of(message), message.to_string().into()).await
    }

    /// The headers that belong to a message.
    fn headers_of(&self, message: &Value) -> HeaderMap {
        let mut headers = self.headers();
        if self.revision == MODERN && message["id"] != Value::Null {
            insert(&mut headers, "mcp-method", message["method"].as_str().unwrap_or_default());
            let params = &message["params"];
            let name = ["name", "uri", "taskId"].into_iter().find_map(|member| params[member].as_str());
            if let Some(name) = name.filter(|_| message["method"] != "completion/complete") {
                insert(&mut headers, "mcp-name", name);
            }
        }
        headers
    }

    /// The headers of an honest client.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert(&mut headers, "host", &self.address.to_string());
        insert(&mut headers, "authorization", &format!("Bearer {}", self.key));
        insert(&mut headers, "content-type", "application/json");
        insert(&mut headers, "accept", "application/json, text/event-stream");
        if let Some(session) = &self.session {
            insert(&mut headers, "mcp-session-id", session);
        }
        if self.session.is_some() || self.revision == MODERN {
            insert(&mut headers, "mcp-protocol-version", &self.revision);
        }
        headers
    }

    /// `tools/call`, or `None` when the gateway is not there to answer it whole.
    pub async fn try_call(&self, tool: &str, arguments: Value) -> Option<Answer> {
        let (headers, body) = self.modern_call(tool, arguments);
        self.try_raw(Method::POST, &headers, body).await
    }

    /// The headers and the body of `tools/call`, as a client of 2026-07-28 sends them.
    pub fn modern_call(&self, tool: &str, arguments: Value) -> (HeaderMap, Bytes) {
        let mut params = super::call(tool, arguments);
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let mut headers = self.headers();
        insert(&mut headers, "mcp-method", "tools/call");
        insert(&mut headers, "mcp-name", tool);
        (headers, message.to_string().into())
    }

    /// Ends the session.
    pub async fn delete(&self) -> u16 {
        self.raw(Method::DELETE, &self.headers(), Bytes::new()).await.status
    }

    /// Sends exactly this.
    pub async fn raw(&self, method: Method, headers: &HeaderMap, body: Bytes) -> Answer {
        self.try_raw(method, headers, body).await.expect("an answer")
    }

    async fn try_raw(&self, method: Method, headers: &HeaderMap, body: Bytes) -> Option<Answer> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        exchange(stream, method, &self.path, headers, body).await
    }

    /// Opens a stream of events.
    pub async fn events(&self, method: Method, body: &Value) -> Events {
        let headers = self.headers_of(body);
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.open(method, &headers, body).await.expect("a stream of events")
    }

    /// Opens a stream of 2026-07-28 that tells of changed tools, and reads its acknowledgement.
    pub async fn listen(&self) -> Events {
        let params = json!({
            "notifications": {"toolsListChanged": true},
            "_meta": {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": self.capabilities},
        });
        let message =
            json!({"jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen", "params": params});
        let mut events = self.events(Method::POST, &message).await;
        assert_eq!(events.next().await["method"], "notifications/subscriptions/acknowledged");
        events
    }

    /// Goes on with a stream where it broke off; `None` when it is refused.
    pub async fn resume(&self, last: &str) -> Option<Events> {
        let mut headers = self.headers();
        insert(&mut headers, "last-event-id", last);
        self.open(Method::GET, &headers, Bytes::new()).await
    }

    async fn open(&self, method: Method, headers: &HeaderMap, body: Bytes) -> Option<Events> {
        match self.open_or_refuse(method, headers, body).await {
            Ok(events) => Some(events),
            Err(answer) => {
                assert_ne!(answer.status, 200, "{answer:?}");
                None
            }
        }
    }

    /// Opens a stream of events; or what was answered instead.
    pub async fn open_or_refuse(
        &self,
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Events, Answer> {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        let response = send(stream, method, &self.path, headers, body).await.expect("an answer");
        if response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream") {
            return Ok(Events { body: response.into_body(), text: String::new(), last: String::new() });
        }
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        Err(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// What came of an attempt.
pub enum Attempt {
    /// An answer.
    Whole(Answer),
    /// A stream of events.
    Stream(Events),
    /// The connection broke before either.
    Broken,
}

impl Client {
    /// Sends a message, or goes on with a stream, over a connection that may break.
    pub async fn attempt(&self, message: Option<&Value>, last: Option<&str>) -> Attempt {
        let mut headers = self.headers();
        if let Some(last) = last {
            insert(&mut headers, "last-event-id", last);
        }
        let method = if message.is_some() { Method::POST } else { Method::GET };
        let body = message.map(|message| message.to_string().into()).unwrap_or_default();
        let Ok(stream) = TcpStream::connect(self.address).await else { return Attempt::Broken };
        let Some(response) = send(stream, method, &self.path, &headers, body).await else {
            return Attempt::Broken;
        };
        if response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream") {
            let last = last.unwrap_or_default().to_owned();
            return Attempt::Stream(Events { body: response.into_body(), text: String::new(), last });
        }
        let (parts, body) = response.into_parts();
        match body.collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                Attempt::Whole(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
            }
            Err(_) => Attempt::Broken,
        }
    }
}

/// A stream of events, read as it comes.
pub struct Events {
    body: Incoming,
    text: String,
    /// The id of the last event, for coming back.
    pub last: String,
}

impl Events {
    /// The next message; fails after ten seconds.
    pub async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(Duration::from_secs(10), self.read());
        next.await.expect("the next event comes in time").expect("the stream is open")
    }

    /// The next message; `None` when the stream ends, in order or not.
    pub async fn more(&mut self) -> Option<Value> {
        let next = tokio::time::timeout(Duration::from_secs(30), self.read());
        next.await.expect("the stream goes on, or ends, in time")
    }

    /// The messages until the stream ends.
    pub async fn rest(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.read()).await;
            match next.expect("the stream goes on, or ends, in time") {
                Some(message) => all.push(message),
                None => return all,
            }
        }
    }

    /// Waits for an id, of a message or of an event without one.
    pub async fn place(&mut self) -> String {
        let place = tokio::time::timeout(Duration::from_secs(10), async {
            while self.last.is_empty() {
                self.line().await.expect("the stream is open");
            }
        });
        place.await.expect("a place in time");
        self.last.clone()
    }

    /// The methods of the next `count` messages.
    pub async fn methods(&mut self, count: usize) -> Vec<String> {
        let mut methods = Vec::new();
        for _ in 0..count {
            methods.push(self.next().await["method"].as_str().expect("a method").to_owned());
        }
        methods
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            let line = self.line().await?;
            if let Some(data) = line.strip_prefix("data: ").filter(|data| !data.is_empty()) {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
    }

    /// The next line; `None` at the end, in order or not.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let line = line.to_owned();
                self.text = rest.to_owned();
                if let Some(id) = line.strip_prefix("id: ") {
                    self.last = id.to_owned();
                }
                return Some(line);
            }
            let frame = self.body.frame().await?.ok()?;
            self.text += &String::from_utf8_lossy(frame.data_ref().expect("data"));
        }
    }
}

/// Sends exactly this, and reads no more than the head of the answer.
pub async fn open(client: &Client, method: Method, headers: &HeaderMap, body: Bytes) -> Response<Incoming> {
    let stream = TcpStream::connect(client.address).await.expect("connected");
    send(stream, method, &client.path, headers, body).await.expect("an answer")
}

/// Sends one request on a connection, and reads the answer.
pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Option<Answer> {
    let (parts, body) = send(stream, method, path, headers, body).await?.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    Some(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Option<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    *request.headers_mut() = headers.clone();
    sender.send_request(request).await.ok()
}

pub fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"));
}
