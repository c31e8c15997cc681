//! The HTTP door: TLS, who is let in by address, and whose word about addresses counts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward::runtime::Surroundings;
use doorward_model::clock::Fixed;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::world::http::{exchange, insert};
use crate::world::{ALICE, Answer, BOB, Client, STAFF_MAY_ALL, Speaks, World};
use crate::world::{configuration, doorward, entries, eventually, program, system, tls};

/// `tools/call` of `github__echo`, as a message and with its headers.
fn echo(address: SocketAddr) -> (HeaderMap, Bytes) {
    Client::modern(address, "/mcp", ALICE).modern_call("github__echo", json!({"a": 1}))
}

/// Calls from an address of this machine, with `X-Forwarded-For` as given.
async fn call_from(world: &World, from: &str, forwarded: Option<&[u8]>) -> Answer {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from: IpAddr = from.parse().expect("an address");
    socket.bind(SocketAddr::new(from, 0)).expect("bound");
    let stream = socket.connect(world.address()).await.expect("connected");
    let (mut headers, body) = echo(world.address());
    if let Some(forwarded) = forwarded {
        headers.insert("x-forwarded-for", HeaderValue::from_bytes(forwarded).expect("a value"));
    }
    exchange(stream, Method::POST, "/mcp", &headers, body).await.expect("an answer")
}

/// Kind and address of the entries that have one.
fn addresses(world: &World) -> Vec<(String, String)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().map(str::to_owned);
    entries(world.folder.path())
        .iter()
        .filter_map(|entry| Some((text(entry, "kind")?, text(entry, "ip")?)))
        .collect()
}

fn expected(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(kind, ip)| ((*kind).to_owned(), (*ip).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_outside_the_allowlist_is_refused_before_anything_else() {
    let rest = format!("{STAFF_MAY_ALL}ipFilter: {{enabled: true, ips: [127.0.0.1, 10.0.0.0/8]}}\n");
    let world = World::start(&["github"], &rest).await;
    assert_eq!(call_from(&world, "127.0.0.1", None).await.text(), r#"{"a":1}"#);
    world.recorders[0].forget();
    let refused = call_from(&world, "127.0.0.2", None).await;
    assert_eq!(refused.summary(), "403 -32600");
    let lying = call_from(&world, "127.0.0.2", Some(b"10.1.2.3")).await;
    assert_eq!(lying.summary(), "403 -32600", "no proxy is trusted");
    assert_eq!(world.recorders[0].received().len(), 0, "the server heard nothing of it");
    assert_eq!(world.records().len(), 1);
    assert_eq!(
        addresses(&world),
        expected(&[("decision", "127.0.0.1"), ("event", "127.0.0.2"), ("event", "127.0.0.2")])
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_on_the_denylist_is_refused_and_all_others_come_in() {
    let rest = format!("{STAFF_MAY_ALL}ipFilter: {{enabled: true, mode: denylist, ips: [127.0.0.2/31]}}\n");
    let world = World::start(&["github"], &rest).await;
    for from in ["127.0.0.2", "127.0.0.3"] {
        assert_eq!(call_from(&world, from, None).await.summary(), "403 -32600", "{from}");
    }
    assert_eq!(world.recorders[0].received().len(), 0);
    assert_eq!(call_from(&world, "127.0.0.4", None).await.summary(), "200 ok");
    assert_eq!(world.received(), ["github echo"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_proxy_says_who_the_client_is() {
    let rest = format!(
        "{STAFF_MAY_ALL}trustedProxies: [127.0.0.2, 192.0.2.0/24]\nipFilter: {{enabled: true, mode: denylist, ips: [203.0.113.0/24]}}\n"
    );
    let world = World::start(&["github"], &rest).await;
    let cases: [(&str, &[u8], &str, &str); 10] = [
        // peer       X-Forwarded-For                    status        who it was
        ("127.0.0.2", b"203.0.113.5", "403 -32600", "203.0.113.5"),
        ("127.0.0.2", b"198.51.100.7", "200 ok", "198.51.100.7"),
        ("127.0.0.2", b"198.51.100.7, 203.0.113.5", "403 -32600", "203.0.113.5"),
        ("127.0.0.2", b"203.0.113.5, 198.51.100.7", "200 ok", "198.51.100.7"),
        ("127.0.0.2", b"203.0.113.5, 192.0.2.8", "403 -32600", "203.0.113.5"),
        // What the client wrote itself comes first, and may be anything.
        ("127.0.0.2", b"unknown, 203.0.113.5", "403 -32600", "203.0.113.5"),
        ("127.0.0.2", b"\xff\xfe, 203.0.113.5", "403 -32600", "203.0.113.5"),
        ("127.0.0.2", b"203.0.113.5:4711", "403 -32600", "203.0.113.5"),
        // Not a proxy of ours: its word does not count, to its good or ill.
        ("127.0.0.1", b"203.0.113.5", "200 ok", "127.0.0.1"),
        ("127.0.0.3", b"127.0.0.2", "200 ok", "127.0.0.3"),
    ];
    let mut seen = Vec::new();
    for (peer, forwarded, status, who) in cases {
        let answer = call_from(&world, peer, Some(forwarded)).await;
        let shown = String::from_utf8_lossy(forwarded);
        assert_eq!(answer.summary(), status, "{peer}: {shown}");
        seen.push((if status == "200 ok" { "decision" } else { "event" }, who));
    }
    assert_eq!(addresses(&world), expected(&seen));
    assert_eq!(world.received().len(), 4);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_filter_takes_force_on_reload() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    assert_eq!(call_from(&world, "127.0.0.2", None).await.summary(), "200 ok");
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let filter =
        "ipFilter: {enabled: true, mode: denylist, ips: [127.0.0.2]}\nallowedHosts: [gate.example]\n";
    std::fs::write(world.config_path(), config + filter).expect("written");
    world.running.reload().expect("a valid file");
    assert_eq!(call_from(&world, "127.0.0.2", None).await.summary(), "403 -32600");
    assert_eq!(call_from(&world, "127.0.0.1", None).await.summary(), "200 ok");
    let (mut headers, body) = echo(world.address());
    insert(&mut headers, "host", "gate.example");
    let stream = TcpStream::connect(world.address()).await.expect("connected");
    let answer = exchange(stream, Method::POST, "/mcp", &headers, body).await.expect("an answer");
    assert_eq!(answer.summary(), "200 ok", "so does a new name");
    world.stop().await;
}

/// One request with this credential, or with none, from an address of this machine.
async fn present(world: &World, from: &str, key: Option<&str>, more: &[(&'static str, &str)]) -> Answer {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from.parse().expect("an address"), 0)).expect("bound");
    let stream = socket.connect(world.address()).await.expect("connected");
    let (mut headers, body) = echo(world.address());
    headers.remove("authorization");
    if let Some(key) = key {
        insert(&mut headers, "authorization", &format!("Bearer {key}"));
    }
    for (name, value) in more {
        insert(&mut headers, name, value);
    }
    exchange(stream, Method::POST, "/mcp", &headers, body).await.expect("an answer")
}

/// How many of `count` such requests were answered with each status.
async fn flood(
    world: &World,
    from: &str,
    key: Option<&str>,
    more: &[(&'static str, &str)],
    count: usize,
) -> BTreeMap<u16, usize> {
    let mut statuses = BTreeMap::new();
    for _ in 0..count {
        *statuses.entry(present(world, from, key, more).await.status).or_default() += 1;
    }
    statuses
}

/// Reason, address and detail of the entries about refused requests, oldest first.
fn refusals(world: &World) -> Vec<(String, String, String)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    entries(world.folder.path())
        .iter()
        .filter(|entry| entry["event"] == "refused")
        .map(|entry| (text(entry, "reason"), text(entry, "ip"), text(entry, "detail")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_over_their_allowance_wait_and_fill_no_disk_and_lock_nobody_out() {
    let clock = Arc::new(Fixed::new(1));
    let surroundings = Surroundings { clock: clock.clone(), ..system() };
    let world = World::start_surrounded(&["github"], Speaks::Legacy, STAFF_MAY_ALL, surroundings).await;
    let (here, there) = ("127.0.0.1", "127.0.0.2");
    assert_eq!(present(&world, here, Some(ALICE), &[]).await.summary(), "200 ok");

    // Wrong keys use up the allowance of their address, and of no other.
    assert_eq!(flood(&world, here, Some("gw_wrong"), &[], 100).await, [(401, 60), (429, 40)].into());
    let late = present(&world, here, Some("gw_wrong"), &[]).await;
    assert_eq!(
        (late.summary().as_str(), &late.headers["retry-after"]),
        ("429 -31429", &HeaderValue::from_static("1"))
    );
    assert_eq!(present(&world, there, Some("gw_wrong"), &[]).await.status, 401);
    // Who came in from here before comes in, and so do others whose key is known by
    // heart; at an address without regulars nobody is looked at.
    assert_eq!(present(&world, here, Some(ALICE), &[]).await.summary(), "200 ok");
    assert_eq!(present(&world, here, Some(BOB), &[]).await.summary(), "200 ok");
    assert_eq!(flood(&world, there, Some("gw_wrong"), &[], 80).await, [(401, 59), (429, 21)].into());
    assert_eq!(present(&world, there, Some(ALICE), &[]).await.status, 429);
    clock.advance(Duration::from_millis(50));
    assert_eq!(present(&world, there, Some(ALICE), &[]).await.summary(), "200 ok");

    // What shows no credential locks out nobody who does, not even a newcomer.
    let third = "127.0.0.3";
    let page = [("origin", "https://evil.example")];
    assert_eq!(flood(&world, third, None, &page, 70).await, [(403, 60), (429, 10)].into());
    assert_eq!(flood(&world, third, None, &[], 5).await, [(429, 5)].into());
    assert_eq!(present(&world, third, Some(ALICE), &[]).await.summary(), "200 ok");

    // Messages of callers who are known are answered as ever, and cost no more entries.
    let alice = world.modern("/mcp", ALICE);
    for _ in 0..30 {
        assert_eq!(alice.raw(Method::POST, &alice.headers(), "{".into()).await.summary(), "400 -32700");
    }
    assert_eq!(world.received().len(), 4, "of all that, four calls reached the server");
    // 101 + 30 from here, 82 from there, 75 from the third; of each, twenty have an entry.
    let before = refusals(&world);
    assert_eq!(before.len(), 60);
    let is_of_one = |detail: &str| matches!(detail, "" | "unknown_key" | "missing_credentials");
    assert!(before.iter().all(|(_, _, detail)| is_of_one(detail)), "none is a sum: {before:?}");
    clock.advance(Duration::from_secs(10));
    eventually("the rest is summed up", async || refusals(&world).len() == 63).await;
    let sums = &refusals(&world)[60..];
    let left_out = |ip: &str, detail: &str| ("left_out".to_owned(), ip.to_owned(), detail.to_owned());
    assert_eq!(
        sums,
        [
            left_out(here, "111: 41 flood, 30 malformed, 40 unauthenticated"),
            left_out(there, "62: 22 flood, 40 unauthenticated"),
            left_out(third, "55: 15 flood, 40 foreign"),
        ]
    );
    let metrics = world.modern("/metrics", ALICE);
    let metrics = metrics.raw(Method::GET, &metrics.headers(), Bytes::new()).await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in [
        "doorward_refused_requests_total{reason=\"flood\"} 78",
        "doorward_refused_requests_total{reason=\"unauthenticated\"} 120",
        "doorward_refused_requests_total{reason=\"foreign\"} 60",
        "doorward_refused_requests_without_entry_total 228",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in\n{metrics}");
    }
    // What is pending at the end is summed up as well.
    assert_eq!(flood(&world, there, Some("gw_wrong"), &[], 25).await, [(401, 25)].into());
    let World { folder, running, .. } = world;
    running.stop().await;
    let last = entries(folder.path());
    let last = last.iter().rfind(|entry| entry["reason"] == "left_out").expect("a sum");
    assert_eq!(last["detail"], "5: 5 unauthenticated");
}

/// A gateway behind a certificate made for the occasion, and that certificate.
async fn behind_tls() -> (World, CertificateDer<'static>) {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let tls = format!("tls: {{cert: {}, key: {}}}\n", cert.display(), key.display());
    // Both files go with this function, and what was read from them stays in force.
    let world = World::start(&["github"], &(STAFF_MAY_ALL.to_owned() + &tls)).await;
    (world, made.cert.der().clone())
}

/// Calls over HTTPS, trusting `root` alone.
async fn call_over_tls(
    world: &World,
    root: Option<&CertificateDer<'static>>,
) -> Result<Answer, std::io::Error> {
    let stream = tls::connect(world.address(), root).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let (headers, body) = echo(world.address());
    Ok(exchange(stream, Method::POST, "/mcp", &headers, body).await.expect("an answer"))
}

#[tokio::test(flavor = "multi_thread")]
async fn https_works_with_its_root_and_plain_http_is_refused_and_harms_nobody() {
    let (world, root) = behind_tls().await;
    let answer = call_over_tls(&world, Some(&root)).await.expect("a handshake");
    assert_eq!((answer.summary().as_str(), answer.text().as_str()), ("200 ok", r#"{"a":1}"#));
    let distrusted = call_over_tls(&world, None).await.expect_err("nobody vouches for it");
    assert!(distrusted.to_string().contains("UnknownIssuer"), "{distrusted}");
    for _ in 0..3 {
        let (headers, body) = echo(world.address());
        let plain = TcpStream::connect(world.address()).await.expect("connected");
        assert!(exchange(plain, Method::POST, "/mcp", &headers, body).await.is_none(), "no answer in HTTP");
    }
    assert_eq!(world.received(), ["github echo"], "what was sent in the clear reached nobody");
    let answer = call_over_tls(&world, Some(&root)).await.expect("the door still works");
    assert_eq!(answer.summary(), "200 ok");
    assert_eq!(world.records().len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_calls_by_the_name_that_the_certificate_is_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let tls = format!("tls: {{cert: {}, key: {}}}\n", cert.display(), key.display());
    let world = World::start(&["github"], &(STAFF_MAY_ALL.to_owned() + &tls)).await;
    let port = world.address().port();
    let beside = folder.path().join("call.yaml");
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    std::fs::write(&beside, format!("{config}port: {port}\n")).expect("written");
    let call = async |url: Option<String>| {
        let mut command = Command::new(program());
        command.arg("--config").arg(&beside).args(["call", "github", "echo", r#"{"a":1}"#]);
        command.env("MCP_GATEWAY_API_KEY", ALICE).env("SSL_CERT_FILE", &cert);
        let output = command.args(url.map(|url| format!("--url={url}"))).output().await.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };

    let (code, _, err) = call(None).await;
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("certificate") && err.contains("--url"), "{err}");
    assert_eq!(world.received(), Vec::<String>::new());
    for slash in ["", "/"] {
        let (code, out, err) = call(Some(format!("https://localhost:{port}{slash}"))).await;
        assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "{\"a\":1}\n", ""));
    }
    assert_eq!(call(Some("localhost".to_owned())).await.0, Some(2), "no URL");
    let (code, _, err) = call(Some("http://192.0.2.1:3100".to_owned())).await;
    assert_eq!(code, Some(3), "a key is not sent in the clear: {err}");
    assert!(err.contains("https"), "{err}");
    assert_eq!(world.received(), ["github echo", "github echo"]);
    assert_eq!(world.records().len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_is_named_and_nothing_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("made");
    let (one, other) = (made("one"), made("other"));
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    file("cert.pem", &one.cert.pem());
    file("key.pem", &one.signing_key.serialize_pem());
    file("other.pem", &other.signing_key.serialize_pem());
    file("empty.pem", "");
    file("text.pem", "this is no certificate\n");
    let cases = [
        // cert         key            what is named
        ("absent.pem", "key.pem", "absent.pem"),
        ("cert.pem", "absent.pem", "absent.pem"),
        ("empty.pem", "key.pem", "empty.pem"),
        ("text.pem", "key.pem", "text.pem"),
        ("cert.pem", "empty.pem", "empty.pem"),
        ("cert.pem", "other.pem", "do not go together"),
    ];
    for (cert, key, named) in cases {
        let tls = format!("tls: {{cert: {cert}, key: {key}}}\n");
        std::fs::write(&config, configuration(folder.path(), &[], &tls)).expect("written");
        let ran = doorward(&config, &["serve", "--port", "0"]).await;
        assert_eq!(ran.code, Some(1), "{cert} {key}: {ran:?}");
        assert!(ran.err.contains(named), "{cert} {key}: {}", ran.err);
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        if named.ends_with("empty.pem") || named.ends_with("text.pem") {
            assert!(ran.err.contains("cannot be read"), "{}", ran.err);
        }
    }
}

/// What is asked of a route for operators, for somebody elsewhere, with this key.
async fn asked_from_afar(world: &World, path: &str, key: &str) -> (u16, String) {
    let client = world.modern(path, key);
    let mut headers = client.headers();
    insert(&mut headers, "x-forwarded-for", "203.0.113.5");
    let answer = client.raw(Method::GET, &headers, Bytes::new()).await;
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_is_told_on_this_machine_and_to_whoever_may_read_the_log() {
    for proxies in ["", "trustedProxies: [127.0.0.1]\n"] {
        let world = World::start(&["github"], &format!("{STAFF_MAY_ALL}{proxies}")).await;
        let expected = [("/metrics", "", 401), ("/metrics", BOB, 403), ("/metrics", ALICE, 200)];
        for (path, key, status) in expected {
            assert_eq!(asked_from_afar(&world, path, key).await.0, status, "{proxies}{key}");
        }
        for (path, said) in [("/readyz", "ready\n"), ("/healthz", "ok\n")] {
            assert_eq!(asked_from_afar(&world, path, "").await, (200, said.to_owned()), "{proxies}");
        }
        let here = world.modern("/metrics", "");
        let here = here.raw(Method::GET, &here.headers(), Bytes::new()).await;
        assert_eq!(here.status, 200);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_do_not_tell_a_hidden_tool_from_an_unknown_one() {
    let rules = "policies:\n  - {id: p, name: P, roles: [staff], rules: [{tool: leak, action: hide}, {action: allow}]}\n";
    let mut seen = Vec::new();
    for tool in ["github__leak", "github__nothing", "nowhere__echo"] {
        let world = World::start(&["github"], rules).await;
        let alice = world.modern("/mcp", ALICE);
        assert!(!alice.tools().await.contains(&"github__leak".to_owned()));
        assert_eq!(alice.call(tool, json!({})).await.json()["error"]["code"], -32602);
        let metrics = world.modern("/metrics", "");
        let text = metrics.raw(Method::GET, &metrics.headers(), Bytes::new()).await;
        let text = String::from_utf8_lossy(&text.body).into_owned();
        let calls: Vec<_> =
            text.lines().filter(|line| line.starts_with("doorward_calls_total")).map(str::to_owned).collect();
        assert_eq!(calls.len(), 1, "{text}");
        seen.push(calls);
        world.stop().await;
    }
    assert!(seen.iter().all(|calls| *calls == seen[0]), "{seen:#?}");
}
