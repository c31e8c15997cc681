//! Pages of other origins, as browsers guard them (Fetch standard, CORS protocol).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::world::browser::Browser;
use crate::world::http::{exchange, insert};
use crate::world::{ALICE, Answer, Client, STAFF_MAY_ALL, World};

const LISTED: &str = "https://app.example";
const UNLISTED: &str = "http://localhost:5173";

/// A preflight for a page of this origin.
async fn preflight(world: &World, path: &str, origin: &str, headers: &str) -> Answer {
    let mut sent = HeaderMap::new();
    insert(&mut sent, "host", &world.address().to_string());
    insert(&mut sent, "origin", origin);
    insert(&mut sent, "access-control-request-method", "POST");
    insert(&mut sent, "access-control-request-headers", headers);
    let stream = TcpStream::connect(world.address()).await.expect("connected");
    exchange(stream, Method::OPTIONS, path, &sent, Bytes::new()).await.expect("an answer")
}

/// A call by a page of this origin, with this key.
async fn call(world: &World, origin: &str, key: &str) -> Answer {
    let client = Client::modern(world.address(), "/mcp", key);
    let (mut headers, body) = client.modern_call("github__echo", json!({"a": 1}));
    insert(&mut headers, "origin", origin);
    client.raw(Method::POST, &headers, body).await
}

/// What of CORS is in an answer: who may read it, what it may send, and what it may read.
fn said(answer: &Answer) -> [&str; 3] {
    ["access-control-allow-origin", "access-control-allow-headers", "access-control-expose-headers"]
        .map(|name| answer.headers.get(name).map_or("", |value| value.to_str().expect("ASCII")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_page_is_given_leave_and_no_other() {
    let rest = format!("{STAFF_MAY_ALL}cors: {{origin: '{LISTED}'}}\n");
    let world = World::start(&["github"], &rest).await;
    let read = "mcp-session-id, retry-after, www-authenticate";

    for path in ["/mcp", "/mcp/github", "/mcp/_gateway"] {
        let wanted = "Authorization,content-type, mcp-protocol-version,mcp-param-region,x-forwarded-for";
        let leave = preflight(&world, path, LISTED, wanted).await;
        assert_eq!(leave.status, 204, "{path}");
        let sent = "authorization, content-type, mcp-protocol-version, mcp-param-region";
        assert_eq!(said(&leave), [LISTED, sent, read], "whose address it is, a page does not say");
        assert_eq!(leave.headers["access-control-allow-methods"], "POST, GET, DELETE");
        assert!(!leave.headers.contains_key("access-control-allow-credentials"));
        assert_eq!(leave.headers["vary"], "origin");
    }
    for (path, origin, status) in [
        ("/mcp", UNLISTED, 401),
        ("/mcp", "https://evil.example", 403),
        ("/metrics", LISTED, 405),
        ("/healthz", LISTED, 405),
        ("/nowhere", LISTED, 404),
    ] {
        let refused = preflight(&world, path, origin, "authorization").await;
        assert_eq!((refused.status, said(&refused)), (status, ["", "", ""]), "{path} {origin}");
    }

    let answer = call(&world, LISTED, ALICE).await;
    assert_eq!((answer.summary().as_str(), said(&answer)), ("200 ok", [LISTED, "", read]));
    let stranger = call(&world, LISTED, "gw_nobody").await;
    assert_eq!((stranger.status, said(&stranger)), (401, [LISTED, "", read]), "it can tell why");
    let answer = call(&world, UNLISTED, ALICE).await;
    assert_eq!((answer.summary().as_str(), said(&answer)), ("200 ok", ["", "", ""]));
    assert_eq!(call(&world, "https://evil.example", ALICE).await.status, 403);
    assert_eq!(world.received(), ["github echo", "github echo"]);
    assert_eq!(world.records().len(), 2);
    world.stop().await;
}

/// What a page does with the gateway: opens a session, calls, and leaves; then it reports.
fn page(gateway: SocketAddr) -> String {
    let script = r#"
        const url = "http://GATEWAY/mcp";
        const headers = {
            "authorization": "Bearer KEY",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        };
        const post = (message) => fetch(url, {
            method: "POST", headers, body: JSON.stringify({jsonrpc: "2.0", ...message}),
        });
        async function converse() {
            const opened = await post({id: 1, method: "initialize", params: {
                protocolVersion: "2025-11-25", capabilities: {}, clientInfo: {name: "page", version: "1"},
            }});
            headers["mcp-session-id"] = opened.headers.get("mcp-session-id");
            headers["mcp-protocol-version"] = "2025-11-25";
            await post({method: "notifications/initialized"});
            const called = await post({id: 2, method: "tools/call", params: {
                name: "github__echo", arguments: {from: "a page"},
            }});
            const text = await called.text();
            const left = await fetch(url, {method: "DELETE", headers});
            return {opened: opened.status, answer: text, left: left.status};
        }
        converse().catch((error) => ({failed: error.name}))
            .then((outcome) => fetch("/report", {method: "POST", body: JSON.stringify(outcome)}));
    "#;
    let script = script.replace("GATEWAY", &gateway.to_string()).replace("KEY", ALICE);
    format!("<!doctype html><title>A client</title><script>{script}</script>")
}

/// Serves the page, and hands over what it reports.
fn serve(listener: TcpListener, page: String) -> mpsc::Receiver<Value> {
    let (report, reports) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (page, report) = (page.clone(), report.clone());
            let service = service_fn(move |request| {
                let (page, report) = (page.clone(), report.clone());
                async move { Ok::<_, Infallible>(answer(request, page, &report).await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    reports
}

async fn answer(
    request: Request<Incoming>,
    page: String,
    report: &mpsc::Sender<Value>,
) -> Response<Full<Bytes>> {
    if request.method() == Method::POST {
        let body = request.into_body().collect().await.expect("a report").to_bytes();
        report.send(serde_json::from_slice(&body).expect("JSON")).await.expect("it is waited for");
        return Response::new(Full::default());
    }
    let answer = Response::builder().header("content-type", "text/html");
    answer.body(Full::from(page)).expect("a page")
}

/// What a page at `http://{name}:{port}` reports, where `listed` may call the gateway.
async fn reported(name: &str, lists: bool) -> (Value, World) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{name}:{}", listener.local_addr().expect("an address").port());
    let listed = if lists { origin.as_str() } else { LISTED };
    let world = World::start(&["github"], &format!("{STAFF_MAY_ALL}cors: {{origin: '{listed}'}}\n")).await;
    let mut reports = serve(listener, page(world.address()));
    let _browser = Browser::open(&origin);
    let report = tokio::time::timeout(Duration::from_secs(60), reports.recv()).await;
    (report.expect("the page reports").expect("it is served"), world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_real_browser_is_a_client_like_any_other() {
    let (report, world) = reported("localhost", true).await;
    assert_eq!((&report["opened"], &report["left"]), (&json!(200), &json!(204)), "{report}");
    let answer: Value = serde_json::from_str(report["answer"].as_str().expect("text")).expect("JSON");
    assert_eq!(answer["result"]["content"][0]["text"], r#"{"from":"a page"}"#, "{report}");
    assert_eq!(world.received(), ["github echo"]);
    assert_eq!(world.records().len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_listed_gets_nothing_done_in_a_real_browser() {
    let (report, world) = reported("127.0.0.1", false).await;
    assert_eq!(report, json!({"failed": "TypeError"}), "what `fetch` fails with");
    assert_eq!(world.received(), Vec::<String>::new());
    assert_eq!(world.records().len(), 0);
    world.stop().await;
}
