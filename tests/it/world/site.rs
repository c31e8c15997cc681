//! A web site in this process: one page for those who read pages, and for everybody else a
//! service that knows nobody.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the page says.
pub const TEXT: &str = "Read back through a door";

/// What the service says.
pub const REFUSAL: &str = "nobody is known here";

/// A site, until it is dropped.
pub struct Site {
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Site {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request)));
                    // Who asks may leave when it likes.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, serving }
    }

    /// Where the page is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, kind, body) = if request.uri().path() == "/" {
        let page = format!("<!doctype html><title>A page</title><main><h1>A page</h1><p>{TEXT}</p></main>");
        (StatusCode::OK, "text/html", page)
    } else {
        let refusal = json!({"message": REFUSAL}).to_string();
        (StatusCode::UNAUTHORIZED, "application/json", refusal)
    };
    let answer = Response::builder().status(status).header("content-type", kind);
    answer.body(Full::from(body)).expect("an answer")
}
