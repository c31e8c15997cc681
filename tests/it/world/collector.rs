//! An OpenTelemetry collector that keeps every batch it receives.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// One received batch, and how it was answered.
#[derive(Clone, Debug)]
pub struct Batch {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub answered: StatusCode,
}

/// A collector over OTLP, HTTP with Protobuf.
pub struct Collector {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    answers: Mutex<VecDeque<StatusCode>>,
    received: watch::Sender<Vec<Batch>>,
}

impl Collector {
    /// Starts one that answers the first batches so, and every further one with 200.
    pub async fn start(answers: &[StatusCode]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answers = Mutex::new(answers.iter().copied().collect());
        let state = Arc::new(State { answers, received: watch::Sender::default() });
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
        Self { address, state }
    }

    /// The common endpoint: without the path for traces.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything received so far.
    pub fn batches(&self) -> Vec<Batch> {
        self.state.received.borrow().clone()
    }

    /// Waits until this many batches have arrived.
    pub async fn received(&self, count: usize) -> Vec<Batch> {
        let mut received = self.state.received.subscribe();
        let enough = received.wait_for(|batches| batches.len() >= count);
        let waited = tokio::time::timeout(Duration::from_secs(30), enough).await;
        waited.expect("the batches arrive in time").expect("the collector runs").clone()
    }

    /// The spans of all batches that were taken, by their start.
    pub fn spans(&self) -> Vec<Span> {
        let taken = self.batches().into_iter().filter(|batch| batch.answered.is_success());
        let mut spans: Vec<_> = taken.flat_map(|batch| spans(&batch)).collect();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }
}

/// The spans of one batch.
pub fn spans(batch: &Batch) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(batch.body.clone()).expect("OTLP");
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// The text of an attribute; empty if there is none.
pub fn attribute<'a>(span: &'a Span, key: &str) -> &'a str {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let answered = state.answers.lock().expect("not poisoned").pop_front().unwrap_or(StatusCode::OK);
    let batch = Batch { path: parts.uri.path().to_owned(), headers: parts.headers, body, answered };
    state.received.send_modify(|batches| batches.push(batch));
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = answered;
    Ok(response)
}
