//! Whoever names another `Host`, or comes from another page, gets nowhere: on no route, by no
//! method, in no spelling.

use std::sync::Arc;
use std::time::Duration;

use doorward::runtime::Surroundings;
use doorward_model::clock::Fixed;

use super::raw::{modern, post, say, say_and_leave, tools_call};
use crate::world::{ALICE, STAFF_MAY_ALL, Speaks, World, entries, system};

/// What is there, and what others have there.
const PATHS: [&str; 22] = [
    "/",
    "/mcp",
    "/mcp/",
    "/mcp/github",
    "/mcp/_gateway",
    "/mcp/nowhere",
    "/healthz",
    "/readyz",
    "/metrics",
    "/sse",
    "/messages",
    "/message",
    "/admin",
    "/api/v1/servers",
    "/config",
    "/debug/pprof/",
    "/docs",
    "/ws",
    "/register",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-authorization-server",
    "/nowhere",
];

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// A world in which refused requests are never too many, because time flies.
async fn world() -> (World, Arc<Fixed>) {
    let clock = Arc::new(Fixed::new(1));
    let surroundings = Surroundings { clock: clock.clone(), ..system() };
    (World::start_surrounded(&["github"], Speaks::Legacy, STAFF_MAY_ALL, surroundings).await, clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_and_no_method_is_open_to_another_host_or_page() {
    let (world, clock) = world().await;
    let address = world.address();
    let mut refused = 0;
    for path in PATHS {
        for method in METHODS {
            for foreign in [
                "host: evil.example".to_owned(),
                format!("host: {address}\r\norigin: https://evil.example"),
                format!("host: {address}\r\norigin: null"),
            ] {
                clock.advance(Duration::from_secs(10));
                let bytes = format!(
                    "{method} {path} HTTP/1.1\r\n{foreign}\r\nauthorization: Bearer {ALICE}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                );
                let [answer] = &say(address, bytes.as_bytes()).await[..] else {
                    panic!("{method} {path}: not one answer")
                };
                assert_eq!(answer.status, 403, "{method} {path} with {foreign}");
                assert!(!answer.body.contains("github"), "{}", answer.body);
                refused += 1;
            }
        }
    }
    assert_eq!(world.recorders[0].received().len(), 0, "nothing was asked of the server");
    assert_eq!(world.records().len(), 0, "nothing was decided");
    world.stop().await;
    assert_eq!(refused, PATHS.len() * METHODS.len() * 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_none_is_nobodys() {
    let (world, clock) = world().await;
    let address = world.address();
    let body = tools_call("github__echo", serde_json::json!({}));
    let honest = post(address, "/mcp", &modern("tools/call", "github__echo"), &body);
    let host = format!("host: {address}\r\n");
    let port = address.port();
    let cases = [
        // Another path, or another name, to those who put the two together (CVE-2026-48710).
        "host: x/?\r\n".to_owned(),
        format!("host: {address}/?\r\n"),
        format!("host: {address}/healthz?\r\n"),
        format!("host: {address}#\r\n"),
        format!("host: {address}\\@evil.example\r\n"),
        format!("host: evil.example@{address}\r\n"),
        format!("host: {address}, evil.example\r\n"),
        format!("host: {address} evil.example\r\n"),
        // Addresses that only some readers take for this machine's.
        format!("host: 127.1:{port}\r\n"),
        format!("host: 2130706433:{port}\r\n"),
        format!("host: 0x7f.0.0.1:{port}\r\n"),
        format!("host: 0177.0.0.1:{port}\r\n"),
        format!("host: 0.0.0.0:{port}\r\n"),
        format!("host: 127.0.0.1.nip.example:{port}\r\n"),
        format!("host: localhost.evil.example:{port}\r\n"),
        "host: localhost:99999\r\n".to_owned(),
        "host: localhost:\r\n".to_owned(),
        "host: [::1\r\n".to_owned(),
        "host: [::1]evil.example\r\n".to_owned(),
        "host: \r\n".to_owned(),
        "host: l\u{f6}calhost\r\n".to_owned(),
        // None, or two.
        String::new(),
        format!("{host}{host}"),
        format!("{host}host: evil.example\r\n"),
    ];
    for case in cases {
        clock.advance(Duration::from_secs(10));
        let answers = say_and_leave(address, honest.replace(&host, &case).as_bytes()).await;
        assert!(matches!(answers[0].status, 400 | 403), "{case:?}: {answers:?}");
    }
    // The target of a request may name a host as well.
    for target in ["http://evil.example/mcp", "http://x/?/mcp", "//evil.example/mcp"] {
        clock.advance(Duration::from_secs(10));
        let bytes = honest.replace("POST /mcp ", &format!("POST {target} "));
        let answers = say_and_leave(address, bytes.as_bytes()).await;
        assert!(matches!(answers[0].status, 400 | 403 | 404), "{target}: {answers:?}");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    let refusals = entries(world.folder.path());
    assert!(refusals.iter().any(|entry| entry["reason"] == "foreign"), "it is recorded");
    let closing = honest.replace("content-length", "connection: close\r\ncontent-length");
    assert_eq!(say(address, closing.as_bytes()).await[0].status, 200, "the honest one passes");
    assert_eq!(world.received(), ["github echo"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_cannot_send_what_it_need_not_ask_leave_for() {
    let (world, clock) = world().await;
    let address = world.address();
    let body = tools_call("github__echo", serde_json::json!({}));
    let headers = modern("tools/call", "github__echo");
    let honest = post(address, "/mcp", &headers, &body);
    // Without a preflight a page can only send forms and texts (CVE-2026-33252).
    for kind in [
        "content-type: text/plain",
        "content-type: text/plain;application/json",
        "content-type: application/x-www-form-urlencoded",
        "content-type: multipart/form-data; boundary=x",
        "content-type: application/jsonp",
        "content-type: text/json",
        "content-type: ",
        "x-none: ",
        "content-type: application/json\r\ncontent-type: text/plain",
        "content-type: text/plain\r\ncontent-type: application/json",
    ] {
        clock.advance(Duration::from_secs(10));
        let bytes = honest.replace("content-type: application/json", kind);
        let answers = say_and_leave(address, bytes.as_bytes()).await;
        assert_eq!(answers[0].summary(), "415 -32600", "{kind}");
    }
    // What a preflight is answered allows nothing.
    for (origin, status) in [("http://evil.example", 403), ("http://localhost:5173", 405)] {
        clock.advance(Duration::from_secs(10));
        let bytes = format!(
            "OPTIONS /mcp HTTP/1.1\r\nhost: {address}\r\norigin: {origin}\r\nauthorization: Bearer {ALICE}\r\naccess-control-request-method: POST\r\n\r\n"
        );
        let answers = say_and_leave(address, bytes.as_bytes()).await;
        assert_eq!(answers[0].status, status, "{origin}");
    }
    assert_eq!(world.received(), Vec::<String>::new());
    assert_eq!(world.records().len(), 0);
    world.stop().await;
}
