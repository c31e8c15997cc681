//! Streamable HTTP: both eras on one URL.

mod guard;
mod headers;
mod modern;
mod reply;
mod sessions;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::modern::is_modern;
use crate::revision::Revision;
use crate::rpc::{Fault, Incoming as Message};
use crate::server::Everything;
use reply::{Reply, empty, refusal};
use sessions::Sessions;

/// Where it listens on a host.
pub const PATH: &str = "/mcp";

/// Serves until dropped.
pub async fn serve(listener: TcpListener, server: Arc<Everything>) {
    let sessions = Arc::new(Sessions::default());
    loop {
        // Too many open files, say; whoever connects next may have more luck.
        let Ok((connection, _)) = listener.accept().await else { continue };
        let (server, sessions) = (Arc::clone(&server), Arc::clone(&sessions));
        let service = service_fn(move |request| {
            let (server, sessions) = (Arc::clone(&server), Arc::clone(&sessions));
            async move { Ok::<_, Infallible>(respond(&server, &sessions, request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

async fn respond(server: &Arc<Everything>, sessions: &Arc<Sessions>, request: Request<Incoming>) -> Reply {
    if let Err(reply) = guard::admit(&request) {
        return *reply;
    }
    let (parts, body) = request.into_parts();
    match parts.method {
        Method::POST => match guard::read(body).await {
            Ok(message) => post(server, sessions, &parts.headers, message).await,
            Err(reply) => *reply,
        },
        Method::GET | Method::DELETE if !server.eras.legacy() || speaks_modern(&parts.headers) => empty(405),
        Method::GET => sessions.get(&parts.headers),
        Method::DELETE => sessions.delete(&parts.headers),
        _ => empty(405),
    }
}

/// Finds out the era of a message.
async fn post(
    server: &Arc<Everything>,
    sessions: &Arc<Sessions>,
    headers: &HeaderMap,
    message: Value,
) -> Reply {
    let in_session = headers.contains_key(sessions::SESSION);
    let modern = is_modern(&message["params"]) || speaks_modern(headers);
    let opens = message["method"] == "initialize" && !modern;
    match server.eras {
        _ if opens && !server.eras.legacy() => {
            let requested = message["params"]["protocolVersion"].as_str().unwrap_or_default();
            let supported = crate::modern::supported(server);
            refusal(&message["id"], Fault::unsupported_version(requested, &supported))
        }
        eras if eras.modern() && (modern || !eras.legacy()) => match Message::read(message) {
            Ok(message) => modern::post(server, headers, message).await,
            Err(fault) => refusal(&Value::Null, fault),
        },
        // Some clients end a modern conversation as if it had been a session.
        eras if eras.modern()
            && !in_session
            && message["method"].is_string()
            && message.get("id").is_none() =>
        {
            empty(202)
        }
        _ => sessions.post(server, headers, message).await,
    }
}

/// Whether the headers name a version that is not one of sessions.
fn speaks_modern(headers: &HeaderMap) -> bool {
    let version = headers.get("mcp-protocol-version").and_then(|version| version.to_str().ok());
    version.is_some_and(|version| Revision::legacy(version).is_none())
        && !headers.contains_key(sessions::SESSION)
}
