//! Before the gateway: passes every request on, and remembers what the client sent and how long
//! the answer took to begin.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One request, and what became of it: without an answer, `status` is 0.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    pub status: u16,
    pub took: Duration,
}

/// A door before the gateway's, until it is dropped.
pub struct Front {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: watch::Receiver<usize>,
    serving: JoinHandle<()>,
}

impl Front {
    pub async fn before(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let seeing = Arc::clone(&seen);
        let (count, open) = watch::channel(0);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, count) = (Arc::clone(&seeing), count.clone());
                count.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    let service = service_fn(move |request| pass(Arc::clone(&seen), gateway, request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { address, seen, open, serving }
    }

    /// Waits until whoever was connected has gone: there is nothing more to come.
    pub async fn left(&self) {
        let mut open = self.open.clone();
        let gone = tokio::time::timeout(Duration::from_secs(10), open.wait_for(|open| *open == 0)).await;
        gone.expect("all connections end in time").expect("it serves");
    }

    /// What was sent to a path, in order.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        let seen = self.seen.lock().expect("whole");
        seen.iter().filter(|request| request.path == path).cloned().collect()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(
    seen: Arc<Mutex<Vec<Seen>>>,
    gateway: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let began = Instant::now();
    let place = {
        let mut seen = seen.lock().expect("whole");
        seen.push(Seen {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            headers: parts.headers.clone(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            status: 0,
            took: Duration::ZERO,
        });
        seen.len() - 1
    };
    let stream = TcpStream::connect(gateway).await.expect("the gateway listens");
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(Request::from_parts(parts, Full::<Bytes>::new(body))).await?;
    let answered = &mut seen.lock().expect("whole")[place];
    (answered.status, answered.took) = (response.status().as_u16(), began.elapsed());
    Ok(response)
}
