//! A recording HTTP server that answers as told, and a world around it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::clock::Fixed;
use doorward_model::json::{Document, Limits};
use doorward_model::shared::{Ear, Later, Unshared};
use doorward_model::{Clock, LogBounds, Reach, ServerId, Shared, Timestamp};
use doorward_upstream::{
    Answer, Call, Event, Protocol, ServerSpec, Settings, Status, Transport, UpstreamError, Upstreams,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Longer than anything here may take.
pub const SOON: Duration = Duration::from_secs(15);

/// Real time, from a fixed beginning, which can be moved ahead.
pub struct Running {
    began: Instant,
    ahead: Mutex<Duration>,
}

impl Running {
    /// So much time passes at once.
    pub fn skip(&self, time: Duration) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) += time;
    }
}

impl Clock for Running {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_795_255_200_000_000).plus(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed() + *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct World {
    pub upstreams: Upstreams,
    pub events: mpsc::UnboundedReceiver<Event>,
    pub clock: Arc<Running>,
    pub id: ServerId,
}

impl World {
    /// A world whose only server is this one.
    pub fn new(transport: Transport, settings: Settings, adjust: impl FnOnce(&mut ServerSpec)) -> Self {
        let clock = Arc::new(Running { began: Instant::now(), ahead: Mutex::default() });
        let (upstreams, events) =
            Upstreams::new(settings, Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(Fixed::new(7)));
        let id = ServerId::try_from("one").expect("valid");
        let mut spec = ServerSpec::new(id.clone(), transport);
        spec.timeout = Duration::from_secs(10);
        spec.start_timeout = Duration::from_secs(10);
        adjust(&mut spec);
        upstreams.configure(vec![spec]);
        Self { upstreams, events, clock, id }
    }

    pub fn http(mock: &Mock) -> Self {
        Self::new(Transport::Http { url: mock.url.clone() }, quick(), |_| {})
    }

    pub fn http_as(mock: &Mock, protocol: Protocol) -> Self {
        Self::new(Transport::Http { url: mock.url.clone() }, quick(), |spec| spec.protocol = protocol)
    }

    pub async fn call(&self, call: Call<'_>) -> Result<Answer, UpstreamError> {
        within(self.upstreams.call(&self.id, call)).await
    }

    /// Calls the tool `echo` and returns the result as JSON text.
    pub async fn echo(&self) -> Result<String, UpstreamError> {
        let answer = self.call(echo()).await?;
        let result = answer.message.root().get("result").map(|result| result.raw().to_owned());
        Ok(result.unwrap_or_else(|| format!("error {}", answer.message.root().raw())))
    }

    pub fn status(&self) -> Status {
        self.upstreams.status(&self.id).expect("configured")
    }

    /// Waits until an event satisfies `wanted`.
    pub async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        within(async {
            loop {
                let event = self.events.recv().await.expect("the world goes on");
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
    }
}

pub fn quick() -> Settings {
    Settings {
        sweep_every: Duration::from_millis(20),
        stop_grace: Duration::from_millis(300),
        health_every: None,
        ..Settings::default()
    }
}

pub fn echo<'a>() -> Call<'a> {
    Call {
        method: "tools/call",
        members: Bytes::from_static(br#""name":"echo","arguments":{"a":1}"#),
        target: Some("echo"),
        affinity: "alice",
        ..Call::default()
    }
}

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.expect("no hang")
}

/// What replicas share, as far as links need it: nothing on it expires.
#[derive(Debug, Default)]
pub struct Board(Mutex<HashMap<String, Bytes>>);

impl Board {
    /// Where something stands.
    pub fn keys(&self) -> Vec<String> {
        self.0.lock().expect("no panic").keys().cloned().collect()
    }
}

fn unasked<'a, T>() -> Later<'a, T> {
    Box::pin(async { Err(Unshared("links do not ask for this".to_owned())) })
}

impl Shared for Board {
    fn get<'a>(&'a self, key: &'a str) -> Later<'a, Option<Bytes>> {
        Box::pin(async move { Ok(self.0.lock().expect("no panic").get(key).cloned()) })
    }

    fn set<'a>(&'a self, key: &'a str, value: Option<Bytes>, _: Duration) -> Later<'a, Option<Bytes>> {
        Box::pin(async move {
            let mut all = self.0.lock().expect("no panic");
            Ok(match value {
                Some(value) => all.insert(key.to_owned(), value),
                None => all.remove(key),
            })
        })
    }

    fn claim<'a>(&'a self, key: &'a str, value: Bytes, _: Duration) -> Later<'a, Option<Bytes>> {
        Box::pin(async move {
            let mut all = self.0.lock().expect("no panic");
            let before = all.get(key).cloned();
            all.entry(key.to_owned()).or_insert(value);
            Ok(before)
        })
    }

    fn append<'a>(&'a self, _: &'a str, _: Bytes, _: LogBounds) -> Later<'a, u64> {
        unasked()
    }

    fn read<'a>(&'a self, _: &'a str, _: u64) -> Later<'a, Vec<(u64, Bytes)>> {
        unasked()
    }

    fn tell(&self, _: Bytes) -> Later<'_, usize> {
        unasked()
    }

    fn hear(&self, _: Ear) {}

    fn reach(&self) -> Reach {
        Reach::Together
    }
}

/// A request as the server saw it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
    /// Which connection it came on.
    pub connection: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn member(&self, name: &str) -> String {
        let document = Document::parse(Bytes::from(self.body.clone()), &Limits::default());
        let value = document.ok().and_then(|it| it.root().get(name).map(|value| value.raw().to_owned()));
        value.unwrap_or_default()
    }

    /// The JSON-RPC method; the HTTP method where there is no body.
    pub fn rpc(&self) -> String {
        if self.body.is_empty() {
            self.method.clone()
        } else {
            self.member("method").trim_matches('"').to_owned()
        }
    }

    /// The JSON-RPC id, as written.
    pub fn id(&self) -> String {
        self.member("id")
    }
}

/// What the server does about a request.
pub enum Reply {
    /// Status, headers as lines, body.
    Full(u16, String, String),
    /// An event stream: pieces until the channel closes.
    Stream(mpsc::UnboundedReceiver<String>),
    /// An event stream whose connection breaks after these pieces.
    Cut(String),
    /// The connection is closed without a word.
    Hangup,
    /// Nothing, until the client hangs up.
    Silence,
}

pub fn json(body: impl Into<String>) -> Reply {
    Reply::Full(200, "content-type: application/json\r\n".into(), body.into())
}

pub fn status(status: u16) -> Reply {
    Reply::Full(status, String::new(), String::new())
}

/// An answer to this request with this result.
pub fn result(seen: &Seen, result: &str) -> Reply {
    json(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, seen.id()))
}

/// An event stream of these messages.
pub fn events(messages: &[String]) -> Reply {
    let (sender, receiver) = mpsc::unbounded_channel();
    for message in messages {
        sender.send(format!("event: message\ndata: {message}\n\n")).expect("open");
    }
    Reply::Stream(receiver)
}

pub const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"mock","version":"1"}}"#;

pub const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"mock"}}}"#;

/// What a plain server with sessions says to everything but calls; sessions are
/// numbered.
pub fn legacy(seen: &Seen, sessions: &AtomicUsize) -> Option<Reply> {
    Some(match seen.rpc().as_str() {
        "server/discover" => {
            let body = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#;
            Reply::Full(400, "content-type: application/json\r\n".into(), body.into())
        }
        "initialize" => {
            let number = sessions.fetch_add(1, Ordering::SeqCst);
            let headers = format!("content-type: application/json\r\nMcp-Session-Id: s-{number}\r\n");
            let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{INITIALIZED}}}"#, seen.id());
            Reply::Full(200, headers, body)
        }
        "GET" => status(405),
        "DELETE" => status(204),
        "tools/call" => return None,
        method if method.starts_with("notifications/") || method.is_empty() => status(202),
        _ => result(seen, "{}"),
    })
}

pub fn modern(seen: &Seen) -> Option<Reply> {
    (seen.rpc() == "server/discover").then(|| result(seen, DISCOVERED))
}

pub struct Mock {
    pub url: String,
    log: Arc<Mutex<Vec<Seen>>>,
    changed: watch::Receiver<usize>,
}

impl Mock {
    pub async fn new(handle: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}/mcp", listener.local_addr().expect("bound"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let (change, changed) = watch::channel(0);
        let (change, handle) = (Arc::new(change), Arc::new(handle));
        let seen = Arc::clone(&log);
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.expect("accepted");
                stream.set_nodelay(true).expect("set");
                let (handle, seen, change) = (Arc::clone(&handle), Arc::clone(&seen), Arc::clone(&change));
                tokio::spawn(async move {
                    let record = |request: &Seen| {
                        seen.lock().expect("no panic").push(request.clone());
                        change.send_modify(|count| *count += 1);
                    };
                    serve(stream, connection, &*handle, &record).await;
                    record(&Seen { method: "closed".into(), connection, ..Seen::default() });
                });
            }
        });
        Self { url, log, changed }
    }

    /// A server with sessions that treats calls with `handle`.
    pub async fn legacy(handle: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let sessions = AtomicUsize::new(0);
        Self::new(move |seen| legacy(seen, &sessions).unwrap_or_else(|| handle(seen))).await
    }

    /// A stateless server that treats calls with `handle`.
    pub async fn modern(handle: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(move |seen| modern(seen).unwrap_or_else(|| handle(seen))).await
    }

    /// Everything seen so far.
    pub fn log(&self) -> Vec<Seen> {
        self.log.lock().expect("no panic").clone()
    }

    /// The JSON-RPC methods seen so far, and ends of connections.
    pub fn methods(&self) -> Vec<String> {
        self.log().iter().map(Seen::rpc).collect()
    }

    pub fn count(&self, method: &str) -> usize {
        self.methods().iter().filter(|seen| *seen == method).count()
    }

    /// Waits until so many requests of this method were seen; the last of them.
    pub async fn wait(&self, method: &str, count: usize) -> Seen {
        let mut changed = self.changed.clone();
        within(async {
            loop {
                changed.borrow_and_update();
                let log = self.log();
                let mut matching = log.iter().filter(|seen| seen.rpc() == method);
                if let Some(seen) = matching.nth(count - 1) {
                    return seen.clone();
                }
                changed.changed().await.expect("the mock lives");
            }
        })
        .await
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    handle: &(dyn Fn(&Seen) -> Reply + Send + Sync),
    record: &(dyn Fn(&Seen) + Send + Sync),
) {
    while let Some(request) = read(&mut stream, connection).await {
        record(&request);
        let write = match handle(&request) {
            Reply::Full(status, headers, body) => {
                let length =
                    if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
                stream
                    .write_all(format!("HTTP/1.1 {status} X\r\n{headers}{length}\r\n{body}").as_bytes())
                    .await
            }
            Reply::Stream(pieces) => send_stream(&mut stream, pieces).await,
            Reply::Cut(pieces) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                let _ =
                    stream.write_all(format!("{head}{:x}\r\n{pieces}\r\n", pieces.len()).as_bytes()).await;
                return;
            }
            Reply::Hangup => return,
            Reply::Silence => {
                let _ = stream.read(&mut [0; 16]).await;
                return;
            }
        };
        if write.is_err() {
            return;
        }
    }
}

async fn send_stream(
    stream: &mut TcpStream,
    mut pieces: mpsc::UnboundedReceiver<String>,
) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let (mut reading, mut writing) = stream.split();
    let mut byte = [0];
    loop {
        tokio::select! {
            piece = pieces.recv() => match piece {
                Some(piece) => writing.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await?,
                None => return writing.write_all(b"0\r\n\r\n").await,
            },
            // The client has nothing to say while it listens: it has hung up.
            _ = reading.read(&mut byte) => return Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}

async fn read(stream: &mut TcpStream, connection: usize) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut lines = head.lines();
            let mut first = lines.next()?.split(' ');
            let headers: HashMap<_, _> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let length = headers.get("content-length").map_or(0, |text| text.parse().expect("a number"));
            if bytes.len() >= end + 4 + length {
                return Some(Seen {
                    method: first.next()?.to_owned(),
                    path: first.next()?.to_owned(),
                    headers,
                    body: String::from_utf8(bytes[end + 4..].to_vec()).expect("text"),
                    connection,
                });
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
