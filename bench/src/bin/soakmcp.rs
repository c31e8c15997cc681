//! A steady load for a long time: calls at a rate, and sessions that come and go.
//!
//! Every call is answered or counted as failed. Those of `--shaky` may be answered with an
//! error, because its server comes and goes as well. Prints one line of JSON at the end.

#![allow(clippy::disallowed_methods, reason = "time is what is measured here")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Connections that share the rate.
const WORKERS: u64 = 16;
/// Of so many calls, one goes to the shaky server.
const SHAKY_EVERY: u64 = 5;
/// How long a session rests before the next one opens in its place.
const PAUSE: Duration = Duration::from_secs(20);
/// What takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Options {
    address: String,
    path: String,
    bearer: String,
    steady: String,
    shaky: String,
    rate: u64,
    seconds: u64,
    sessions: u64,
}

fn options() -> Result<Options, Error> {
    use lexopt::prelude::*;
    let mut options = Options { rate: 2_000, seconds: 600, sessions: 200, ..Options::default() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("url") => {
                let url = parser.value()?.string()?;
                let rest = url.strip_prefix("http://").ok_or("only http:// addresses")?;
                let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
                (options.address, options.path) = (address.to_owned(), format!("/{path}"));
            }
            Long("bearer") => options.bearer = parser.value()?.string()?,
            Long("steady") => options.steady = parser.value()?.string()?,
            Long("shaky") => options.shaky = parser.value()?.string()?,
            Long("rate") => options.rate = parser.value()?.parse()?,
            Long("seconds") => options.seconds = parser.value()?.parse()?,
            Long("sessions") => options.sessions = parser.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// What everybody counts together.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    unavailable: AtomicU64,
    failed: AtomicU64,
    sessions: AtomicU64,
    stop: AtomicBool,
    /// Rung when it is time to stop.
    stopping: Notify,
}

/// A client with one connection, which it opens again when it is lost.
struct Client {
    options: Arc<Options>,
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
    session: Option<String>,
    id: u64,
}

impl Client {
    fn new(options: &Arc<Options>) -> Result<Self, Error> {
        let address = options.address.parse()?;
        Ok(Self { options: Arc::clone(options), address, connection: None, session: None, id: 0 })
    }

    async fn send(&mut self, method: Method, message: &Value) -> Result<Value, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.options.path)
            .header("host", &self.options.address)
            .header("authorization", format!("Bearer {}", self.options.bearer))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        let meta = &message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
        if let Some(revision) = meta.as_str() {
            request = request.header("mcp-protocol-version", revision);
            request = request.header("mcp-method", message["method"].as_str().unwrap_or_default());
            request = request.header("mcp-name", message["params"]["name"].as_str().unwrap_or_default());
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", "2025-11-25");
        }
        let body = if message.is_null() { String::new() } else { message.to_string() };
        let request = request.body(Full::new(Bytes::from(body)))?;
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => {
                let stream = tokio::net::TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                let (sender, task) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
                tokio::spawn(task);
                sender
            }
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.session = Some(session.to_str()?.to_owned());
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        self.connection = Some(connection);
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
        // An answer may come as the last event of a stream.
        let text = body.rsplit(|byte| *byte == b'\n').find(|line| !line.is_empty()).unwrap_or_default();
        let text = text.strip_prefix(b"data:").unwrap_or(text);
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_slice(text)? })
    }

    /// One call; whether the server answered it.
    async fn call(&mut self, tool: &str, is_modern: bool) -> Result<bool, Error> {
        self.id += 1;
        let mark = format!("mark-{}", self.id);
        let mut params = json!({"name": tool, "arguments": {"message": mark}});
        if is_modern {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let message = json!({"jsonrpc": "2.0", "id": self.id, "method": "tools/call", "params": params});
        let answer = tokio::time::timeout(PATIENCE, self.send(Method::POST, &message)).await??;
        if answer["id"] != self.id {
            return Err(format!("not its answer: {answer}").into());
        }
        if answer["result"]["isError"] == true {
            return Ok(false);
        }
        if answer["result"]["content"].to_string().contains(&mark) {
            return Ok(true);
        }
        Err(format!("not its result: {answer}").into())
    }

    /// A session: opened, used, and every other time closed.
    async fn visit(&mut self, counts: &Counts, closes: bool) -> Result<(), Error> {
        (self.session, self.id) = (None, 0);
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}});
        let open = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        self.send(Method::POST, &open).await?;
        self.send(Method::POST, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
        self.send(Method::POST, &json!({"jsonrpc": "2.0", "id": 9, "method": "tools/list"})).await?;
        counts.sessions.fetch_add(1, Ordering::Relaxed);
        let options = Arc::clone(&self.options);
        for _ in 0..3 {
            if !self.call(&options.steady, false).await? {
                return Err("the steady server did not answer".into());
            }
            counts.answered.fetch_add(1, Ordering::Relaxed);
        }
        if closes {
            self.send(Method::DELETE, &Value::Null).await?;
        }
        Ok(())
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<(), Error> {
    let options = Arc::new(options()?);
    let counts = Arc::new(Counts::default());
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (options, counts) = (Arc::clone(&options), Arc::clone(&counts));
        workers.push(tokio::spawn(async move {
            let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
            let mut client = Client::new(&options)?;
            let mut turn = interval(Duration::from_micros(1_000_000 * WORKERS / options.rate.max(1)));
            turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut first = None;
            for number in worker.. {
                turn.tick().await;
                if counts.stop.load(Ordering::Relaxed) {
                    break;
                }
                let is_shaky = number % SHAKY_EVERY == 0;
                let tool = if is_shaky { &options.shaky } else { &options.steady };
                let started = Instant::now();
                match client.call(tool, true).await {
                    Ok(true) => {
                        counts.answered.fetch_add(1, Ordering::Relaxed);
                        latencies.saturating_record(u64::try_from(started.elapsed().as_micros())?);
                    }
                    Ok(false) if is_shaky => {
                        counts.unavailable.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(false) => {
                        counts.failed.fetch_add(1, Ordering::Relaxed);
                        first.get_or_insert("the steady server did not answer".to_owned());
                    }
                    Err(error) => {
                        counts.failed.fetch_add(1, Ordering::Relaxed);
                        first.get_or_insert(error.to_string());
                        client.connection = None;
                    }
                }
            }
            Ok::<_, Error>((latencies, first))
        }));
    }
    let mut visitors = Vec::new();
    for visitor in 0..options.sessions {
        let (options, counts) = (Arc::clone(&options), Arc::clone(&counts));
        visitors.push(tokio::spawn(async move {
            let mut client = Client::new(&options)?;
            let mut first = None;
            // Not all at once.
            tokio::time::sleep(PAUSE * u32::try_from(visitor)? / u32::try_from(options.sessions.max(1))?)
                .await;
            for visit in visitor.. {
                if counts.stop.load(Ordering::Relaxed) {
                    break;
                }
                if let Err(error) = client.visit(&counts, visit % 2 == 0).await {
                    counts.failed.fetch_add(1, Ordering::Relaxed);
                    first.get_or_insert(error.to_string());
                    client.connection = None;
                }
                let stopping = counts.stopping.notified();
                if !counts.stop.load(Ordering::Relaxed) {
                    // Whoever rests need not be waited for.
                    let _ = tokio::time::timeout(PAUSE, stopping).await;
                }
            }
            Ok::<_, Error>(first)
        }));
    }
    let started = Instant::now();
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    counts.stop.store(true, Ordering::Relaxed);
    counts.stopping.notify_waiters();
    let seconds = started.elapsed().as_secs_f64();
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    let mut first = None;
    for worker in workers {
        let (histogram, failure) = worker.await??;
        latencies.add(&histogram)?;
        first = first.or(failure);
    }
    for visitor in visitors {
        first = first.or(visitor.await??);
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let report = json!({
        "seconds": seconds,
        "answered": count(&counts.answered),
        "unavailable": count(&counts.unavailable),
        "failed": count(&counts.failed),
        "sessions": count(&counts.sessions),
        "p50_us": latencies.value_at_quantile(0.5),
        "p99_us": latencies.value_at_quantile(0.99),
        "first_failure": first,
    });
    println!("{report}");
    Ok(())
}
