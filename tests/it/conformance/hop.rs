//! Between the suite and a gateway, every request on a connection of its own. For the aggregate
//! endpoint, names and URIs of one server are as the suite knows them on this side and as the
//! gateway offers them on the other. Everything else goes through as it is.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

type Out = BoxBody<Bytes, hyper::Error>;

const NAME: &str = "everything__";
const URI: &str = "gw+everything+";

/// What names and URIs are on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The same.
    Same,
    /// Those of the aggregate endpoint.
    Aggregate,
}

/// Listens for the suite, and speaks to `gateway` for it.
pub async fn start(gateway: SocketAddr, names: Names) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let service = service_fn(move |request| pass(gateway, names, address, request));
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

async fn pass(
    gateway: SocketAddr,
    names: Names,
    own: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Out>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(mut message) if names == Names::Aggregate => {
            inward(&mut message);
            name_header(&mut parts.headers);
            Bytes::from(message.to_string())
        }
        _ => body,
    };
    parts.headers.remove(CONTENT_LENGTH);
    // Whoever lies about the host goes on doing so.
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    if host.ends_with(&format!(":{}", own.port())) {
        let host = host.replace(&own.port().to_string(), &gateway.port().to_string());
        parts.headers.insert("host", HeaderValue::from_str(&host)?);
    }
    if names == Names::Aggregate {
        parts.uri = Uri::from_static("/mcp");
    }
    let stream = TcpStream::connect(gateway).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let is_stream = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let body = if is_stream { events(body, names) } else { whole(body.collect().await?.to_bytes(), names) };
    Ok(Response::from_parts(parts, body))
}

fn whole(body: Bytes, names: Names) -> Out {
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(mut message) if names == Names::Aggregate => {
            outward(&mut message);
            Bytes::from(message.to_string())
        }
        _ => body,
    };
    Full::new(body).map_err(|never| match never {}).boxed()
}

/// Passes events on line by line, as they come.
fn events(mut body: Incoming, names: Names) -> Out {
    let (sender, lines) = mpsc::unbounded_channel::<Result<Frame<Bytes>, hyper::Error>>();
    tokio::spawn(async move {
        let mut text = String::new();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                // The suite has left, and so does the gateway's client.
                () = sender.closed() => return,
            };
            let Some(Ok(frame)) = frame else { return };
            text += &String::from_utf8_lossy(frame.data_ref().map_or(&[], |data| data));
            while let Some(end) = text.find('\n') {
                let line: String = text.drain(..=end).collect();
                let line = match line.strip_prefix("data: ").map(serde_json::from_str::<Value>) {
                    Some(Ok(mut message)) if names == Names::Aggregate => {
                        outward(&mut message);
                        format!("data: {message}\n")
                    }
                    _ => line,
                };
                if sender.send(Ok(Frame::data(Bytes::from(line)))).is_err() {
                    return;
                }
            }
        }
    });
    let stream = futures_util::stream::unfold(lines, async |mut lines| Some((lines.recv().await?, lines)));
    StreamBody::new(stream).boxed()
}

/// What the suite says, as the gateway understands it.
fn inward(message: &mut Value) {
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let places: &[(&str, &str)] = match method {
        "tools/call" | "prompts/get" => &[("/params/name", NAME)],
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => &[("/params/uri", URI)],
        "completion/complete" => &[("/params/ref/name", NAME), ("/params/ref/uri", URI)],
        _ => &[],
    };
    for (place, prefix) in places {
        put(message.pointer_mut(place), prefix);
    }
    let watched = message.pointer_mut("/params/notifications/resourceSubscriptions");
    for uri in watched.and_then(Value::as_array_mut).into_iter().flatten() {
        put(Some(uri), URI);
    }
}

fn put(value: Option<&mut Value>, prefix: &str) {
    if let Some(value) = value
        && let Some(text) = value.as_str()
    {
        *value = Value::from(format!("{prefix}{text}"));
    }
}

/// `Mcp-Name` goes with the body; a lie stays one.
fn name_header(headers: &mut HeaderMap) {
    let method = headers.get("mcp-method").and_then(|method| method.to_str().ok()).unwrap_or_default();
    let prefix = match method.to_ascii_lowercase().as_str() {
        "tools/call" | "prompts/get" => NAME,
        "resources/read" => URI,
        _ => return,
    };
    let Some(name) = headers.get("mcp-name").and_then(|name| name.to_str().ok()) else { return };
    let name = name.trim();
    let wrapped = name.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    let name = match wrapped.and_then(|wrapped| STANDARD.decode(wrapped).ok()) {
        Some(bytes) => {
            let text = STANDARD.encode([prefix.as_bytes(), &bytes].concat());
            format!("=?base64?{text}?=")
        }
        None => format!("{prefix}{name}"),
    };
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert("mcp-name", name);
    }
}

/// What the gateway says, as the suite understands it: of the one server alone.
fn outward(value: &mut Value) {
    for (list, member, prefix) in [
        ("tools", "name", NAME),
        ("prompts", "name", NAME),
        ("resources", "uri", URI),
        ("resourceTemplates", "uriTemplate", URI),
    ] {
        let Some(entries) = value.pointer_mut(&format!("/result/{list}")).and_then(Value::as_array_mut)
        else {
            continue;
        };
        entries.retain(|entry| entry[member].as_str().is_some_and(|name| name.starts_with(prefix)));
        for entry in entries {
            let own = entry[member].as_str().and_then(|name| name.strip_prefix(prefix)).map(Value::from);
            entry[member] = own.unwrap_or_default();
        }
    }
    uris(value);
}

/// Takes the prefix off every URI, wherever it is.
fn uris(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(own) = text.strip_prefix(URI) {
                *value = Value::from(own);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(uris),
        Value::Object(members) => members.values_mut().for_each(uris),
        _ => {}
    }
}
