//! A language model that plays a script: it asks for one tool after the other, then it is done.
//! It speaks as the four common interfaces do, and remembers what it was offered and told.

mod anthropic;
mod chat;
mod gemini;
mod responses;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the model says when its script is at an end.
pub const DONE: &str = "The script is at its end.";

/// One call of the script, in the words of the client.
#[derive(Clone, Debug)]
pub struct Step {
    /// The name of the tool; `group/name` where the client groups its tools.
    pub tool: String,
    pub arguments: Value,
}

/// The answer that the model was given to one of its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub text: String,
    /// Whether it was told that the call failed, where the interface has a word for it.
    pub is_error: Option<bool>,
}

/// What a request to the model holds.
struct Turn {
    offered: Vec<String>,
    told: Vec<Told>,
}

/// What the model says next.
enum Saying<'a> {
    Call(usize, &'a Step),
    Done,
}

/// A model on a port of its own.
pub struct Model {
    pub address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    script: Vec<Step>,
    offered: Mutex<BTreeSet<String>>,
    told: Mutex<Vec<Told>>,
    elsewhere: Mutex<BTreeSet<String>>,
}

impl Model {
    pub async fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State { script, ..State::default() });
        let playing = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&playing);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, state, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every tool that was ever offered.
    pub fn offered(&self) -> BTreeSet<String> {
        self.state.offered.lock().expect("whole").clone()
    }

    /// The answers to the calls of the script, in order.
    pub fn told(&self) -> Vec<Told> {
        self.state.told.lock().expect("whole").clone()
    }

    /// Where else the client wanted to go, if this is its proxy.
    pub fn elsewhere(&self) -> BTreeSet<String> {
        self.state.elsewhere.lock().expect("whole").clone()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What one interface makes of a request.
type Reader = fn(&Value) -> Turn;
/// How one interface says it, all at once or as a stream.
type Speaker = fn(&Saying<'_>, bool) -> String;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::CONNECT || parts.uri.host().is_some() {
        state.elsewhere.lock().expect("whole").insert(parts.uri.host().unwrap_or_default().to_owned());
        return Ok(reply(StatusCode::FORBIDDEN, "text/plain", String::new()));
    }
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = parts.uri.path();
    let (read, speak, streams): (Reader, Speaker, bool) = if path.ends_with("/messages") {
        (anthropic::read, anthropic::speak, body["stream"] == true)
    } else if path.ends_with("/chat/completions") {
        (chat::read, chat::speak, body["stream"] == true)
    } else if path.ends_with("/responses") && parts.method == Method::POST {
        (responses::read, responses::speak, body["stream"] == true)
    } else if path.ends_with("enerateContent") {
        (gemini::read, gemini::speak, path.ends_with(":streamGenerateContent"))
    } else {
        return Ok(reply(StatusCode::NOT_FOUND, "text/plain", String::new()));
    };
    let turn = read(&body);
    // Without tools it is asked for a title or the like.
    let next = if turn.offered.is_empty() { None } else { state.script.get(turn.told.len()) };
    let saying = next.map_or(Saying::Done, |step| Saying::Call(turn.told.len(), step));
    if !turn.offered.is_empty() {
        state.offered.lock().expect("whole").extend(turn.offered);
        *state.told.lock().expect("whole") = turn.told;
    }
    let kind = if streams { "text/event-stream" } else { "application/json" };
    Ok(reply(StatusCode::OK, kind, speak(&saying, streams)))
}

fn reply(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", kind.parse().expect("a header"));
    response
}

/// The text of content that is a string or a list of blocks.
fn text_of(content: &Value) -> String {
    let blocks = content.as_array().into_iter().flatten();
    let texts: Vec<_> = blocks.filter_map(|block| block["text"].as_str()).collect();
    content.as_str().map_or_else(|| texts.join("\n"), str::to_owned)
}

/// Events, each under its own type.
fn events(all: &[Value]) -> String {
    let event = |event: &Value| {
        let kind = event["type"].as_str().map(|kind| format!("event: {kind}\n")).unwrap_or_default();
        format!("{kind}data: {event}\n\n")
    };
    all.iter().map(event).collect()
}
