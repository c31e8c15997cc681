//! Where the gateway can be sent: where its configuration says and nowhere else, whatever a server
//! or an issuer answers.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::runtime;
use serde_json::json;

use super::server::{Server, answer, result, tools};
use crate::world::{ALICE, Client, STAFF_MAY_ALL, World, configuration, system};

const CREDENTIAL: &str = "planted-bearer-of-the-first";

/// A server that would take whatever is sent to it, and what it was sent.
async fn elsewhere() -> Server {
    Server::start_rude(|_, message| result(message, tools(&["echo"]))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_redirect_is_followed_and_no_credential_goes_to_another_origin() {
    let other = elsewhere().await;
    let authority = other.address.to_string();
    let places = [
        format!("http://{authority}/mcp"),
        format!("//{authority}/mcp"),
        format!("http://127.0.0.1@{authority}/mcp"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "/admin".to_owned(),
        "file:///etc/passwd".to_owned(),
    ];
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        // What is redirected: everything from the greeting on, lists, calls, or streams and farewells.
        for redirected in ["server/discover", "initialize", "tools/list", "tools/call", ""] {
            let place = Arc::new(Mutex::new(0));
            let places = places.clone();
            let server = Server::start_rude(move |head, message| {
                let method = message["method"].as_str().unwrap_or_default();
                if method == redirected {
                    let mut next = place.lock().expect("not poisoned");
                    *next += 1;
                    let location = &places[*next % places.len()];
                    return answer(status, &format!("application/json\r\nlocation: {location}"), "{}");
                }
                match (head.starts_with("post"), method) {
                    (false, _) => answer("405 Method Not Allowed", "text/plain", ""),
                    (_, "server/discover") => answer("400 Bad Request", "application/json", "{}"),
                    (_, "initialize") => result(
                        message,
                        json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}),
                    ),
                    (_, "tools/list") => result(message, tools(&["echo"])),
                    (_, "tools/call") => result(message, json!({"content": []})),
                    _ => answer("202 Accepted", "text/plain", ""),
                }
            })
            .await;
            let section = server
                .section("github")
                .replace("timeout:", &format!("credential: {{kind: bearer, token: {CREDENTIAL}}}, timeout:"));
            let world = World::start(
                &[],
                &format!("rateLimit: {{enabled: false}}\nservers:\n{section}{STAFF_MAY_ALL}"),
            )
            .await;
            for client in [world.modern("/mcp", ALICE), world.legacy("/mcp", ALICE).await] {
                for _ in 0..2 {
                    client.request("tools/list", json!({})).await;
                    let called = client.call("github__echo", json!({})).await;
                    assert_eq!(called.json()["id"], 1, "{called:?}");
                    assert!(!String::from_utf8_lossy(&called.body).contains("169.254"), "{called:?}");
                }
            }
            let heard = server.heard();
            assert!(!heard.is_empty());
            for request in heard {
                let path = request.head.split(' ').nth(1).expect("a path").to_owned();
                assert_eq!(path, "/mcp", "{status}, {redirected}");
                assert!(request.head.contains(CREDENTIAL), "it is meant for this one");
            }
            world.stop().await;
        }
    }
    let heard = other.heard();
    assert!(heard.is_empty(), "{heard:?}");
}

/// A token that nobody has signed.
fn token() -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.AAAA",
        part(json!({"alg": "ES256", "kid": "one", "typ": "JWT"})),
        part(json!({"sub": "ann"}))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_an_issuer_lead_to_the_issuer_or_into_the_open_and_never_inside() {
    let other = elsewhere().await;
    let authority = other.address.to_string();
    let port = other.address.port();
    let cases = [
        // where the keys are said to be                          and whether they are asked for
        (format!("http://{authority}/keys"), false),
        (format!("http://localhost:{port}/keys"), false),
        (format!("http://127.1:{port}/keys"), false),
        (format!("http://[::ffff:127.0.0.1]:{port}/keys"), false),
        (format!("https://{authority}/keys"), false),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), false),
        ("https://169.254.169.254/keys".to_owned(), false),
        ("file:///etc/passwd".to_owned(), false),
        ("redirect".to_owned(), false),
        ("own".to_owned(), true),
    ];
    for (place, is_asked) in cases {
        let (uri, elsewhere) = (place.clone(), format!("http://{authority}/keys"));
        let issuer = Server::start_rude(move |head, _| {
            let own = head.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned();
            let at_home = format!("http://{own}/keys");
            match head.split(' ').nth(1) {
                Some("/keys") if uri == "redirect" => {
                    answer("302 Found", &format!("application/json\r\nlocation: {elsewhere}"), "{}")
                }
                Some("/keys") => answer("200 OK", "application/json", r#"{"keys":[]}"#),
                _ => {
                    let uri = if ["own", "redirect"].contains(&&*uri) { &at_home } else { &uri };
                    let said = json!({"issuer": format!("http://{own}"), "jwks_uri": uri});
                    answer("200 OK", "application/json", &said.to_string())
                }
            }
        })
        .await;
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("gateway.yaml");
        let auth = format!(
            "auth: {{type: oidc, oidc: {{issuerUrl: \"http://{}\", clientId: desk}}}}\n",
            issuer.address
        );
        let text = configuration(folder.path(), &[], STAFF_MAY_ALL);
        let (before, _) = text.split_once("auth:").expect("a section");
        std::fs::write(&config, format!("{before}{auth}{STAFF_MAY_ALL}")).expect("written");
        let running = runtime::start(&config, system()).await.expect("the gateway starts");
        let client = Client::modern(running.address(), "/mcp", &token());
        assert_eq!(client.request("tools/list", json!({})).await.status, 401, "{place}");
        running.stop().await;
        let paths: Vec<_> =
            issuer.heard().iter().map(|it| it.head.split(' ').nth(1).map(str::to_owned)).collect();
        assert_eq!(paths[0].as_deref(), Some("/.well-known/openid-configuration"), "{place}");
        assert_eq!(paths.len() == 2, is_asked || place == "redirect", "{place}: {paths:?}");
    }
    assert!(other.heard().is_empty(), "{:?}", other.heard());
}
