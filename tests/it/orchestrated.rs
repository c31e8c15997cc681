//! Under whatever starts, asks after, reloads and stops gateways.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::program::Program;
use crate::world::http::insert;
use crate::world::{ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, World, eventually, written};

async fn metrics(address: SocketAddr) -> String {
    let client = Client::modern(address, "/metrics", ALICE);
    let answer = client.raw(Method::GET, &client.headers(), Default::default()).await;
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// An address of this machine's own, as others name it; loopback where it has no other.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent: that finds out from where it would be.
    let found = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    found.map_or(IpAddr::from([127, 0, 0, 1]), |found| found.ip())
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_to_every_address_it_answers_to_the_one_that_it_was_reached_at() {
    let own = own_address();
    for host in ["0.0.0.0", "::"] {
        let rest = format!("host: \"{host}\"\ntrustedProxies: [10.0.0.0/8]\n{STAFF_MAY_ALL}");
        let world = World::start(&["github"], &rest).await;
        let address = SocketAddr::new(own, world.address().port());
        for (name, expected) in
            [(address.to_string(), 200), ("192.0.2.77".into(), 403), ("gate.example".into(), 403)]
        {
            for path in ["/healthz", "/readyz"] {
                let probe = Client::modern(address, path, "");
                let mut headers = probe.headers();
                headers.remove("authorization");
                insert(&mut headers, "host", &name);
                let answer = probe.raw(Method::GET, &headers, Default::default()).await;
                assert_eq!(answer.status, expected, "{host}: {path} as {name}");
            }
        }
        let call = Client::modern(address, "/mcp", ALICE).call("github__echo", json!({})).await;
        assert_eq!(call.text(), "{}", "{host}: this machine is let in under its own address");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_says_what_came_of_it_and_cuts_off_nobody() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    recorder.offer("wait");
    let folder = tempfile::tempdir().expect("a folder");
    let config = written(folder.path(), &recorder, STAFF_MAY_ALL);
    let log = folder.path().join("log");
    let gateway = Program::start(&config, &log, &[]).await;
    let pid = i32::try_from(gateway.pid()).ok().and_then(Pid::from_raw).expect("a process id");
    let said = |text: &str| std::fs::read_to_string(&log).expect("a log").contains(text);
    let told = async |text: &str| {
        kill_process(pid, Signal::HUP).expect("told");
        eventually(text, async || said(text)).await;
    };
    let client = Client::modern(gateway.address, "/mcp", ALICE);
    let waiting = tokio::spawn(async move { client.call("github__wait", json!({})).await });
    eventually("the server has it", async || recorder.calls().len() == 1).await;

    told("asked to reload: the files say what is in force already").await;
    assert!(said("SIGHUP: the configuration is read again"));
    let whole = std::fs::read_to_string(&config).expect("readable");
    std::fs::write(&config, format!("{whole}policies: [this is none\n")).expect("written");
    told("the old configuration stays in force").await;
    std::fs::write(&config, &whole).expect("written");
    told("the files are valid again, and what they say is in force").await;
    std::fs::write(&config, whole.replace(STAFF_MAY_ALL, "")).expect("written");
    told("configuration in force").await;
    let client = Client::modern(gateway.address, "/mcp", ALICE);
    eventually("it is in force", async || {
        client.call("github__echo", json!({})).await.text().starts_with("[POLICY DENIED]")
    })
    .await;
    recorder.release();
    assert_eq!(waiting.await.expect("no panic").text(), "{}", "the call under way was not touched");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_that_a_reload_failed_and_since_when() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let value = async |name: &str| -> f64 {
        let text = metrics(world.address()).await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    };
    let (good, since) = ("doorward_config_last_reload_successful", "doorward_config_rejected_since_seconds");
    assert_eq!((value(good).await, value(since).await), (1.0, 0.0));
    let started = value("doorward_start_time_seconds").await;
    let whole = std::fs::read_to_string(world.config_path()).expect("readable");
    std::fs::write(world.config_path(), format!("{whole}policies: [this is none\n")).expect("written");
    assert!(world.running.reload().is_err());
    assert_eq!(value(good).await, 0.0);
    let rejected = value(since).await;
    assert!(rejected >= started, "{rejected} after {started}");
    assert!(world.running.reload().is_err());
    assert_eq!(value(since).await, rejected, "since the first failure");
    std::fs::write(world.config_path(), &whole).expect("written");
    world.running.reload().expect("it is good again");
    assert_eq!((value(good).await, value(since).await), (1.0, 0.0));
    assert!(value("doorward_config_reloads_total{outcome=\"failure\"}").await >= 2.0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_which_servers_are_up_and_what_came_by_method() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let servers = format!(
        "servers:\n  - {{id: github, url: \"{}\", enabled: true}}\n  - {{id: dead, url: \"http://127.0.0.1:9/mcp\", enabled: true}}\n  - {{id: off, url: \"http://127.0.0.1:9/mcp\", enabled: false}}\n",
        recorder.url()
    );
    let text = crate::world::configuration(folder.path(), &[], &format!("{servers}{STAFF_MAY_ALL}"));
    std::fs::write(folder.path().join("gateway.yaml"), text).expect("written");
    let path = folder.path().join("gateway.yaml");
    let running = doorward::runtime::start(&path, crate::world::system()).await.expect("it starts");
    let alice = Client::legacy(running.address(), "/mcp", ALICE, "2025-06-18").await;
    assert_eq!(alice.call("github__echo", json!({})).await.text(), "{}");
    alice.request("ping", json!({})).await;
    alice.request("no/such", json!({})).await;
    eventually("it was tried", async || {
        alice.call("dead__echo", json!({})).await;
        metrics(running.address()).await.contains("doorward_server_up{server=\"dead\"} 0")
    })
    .await;
    let text = metrics(running.address()).await;
    assert!(text.contains("doorward_server_up{server=\"github\"} 1"), "{text}");
    assert!(!text.contains("server=\"off\""), "what is not in service is neither up nor down");
    for method in ["initialize", "notifications/initialized", "ping", "other"] {
        assert!(
            text.contains(&format!("doorward_messages_total{{method=\"{method}\"}} 1\n")),
            "{method}: {text}"
        );
    }
    assert!(!text.contains("no/such"), "callers make no series");
    running.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn neither_the_gateway_nor_its_servers_leave_core_dumps() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = "import os, sys, json\nfor line in sys.stdin:\n    m = json.loads(line)\n    if 'id' in m: print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': {'protocolVersion': '2025-06-18', 'capabilities': {'tools': {}}, 'serverInfo': {'name': 'c', 'version': '1'}, 'tools': [{'name': 'limits', 'inputSchema': {'type': 'object'}}], 'content': [{'type': 'text', 'text': open('/proc/self/limits').read()}]}}), flush=True)\n";
    let script = folder.path().join("server.py");
    std::fs::write(&script, server).expect("written");
    let servers = format!(
        "servers:\n  - {{id: child, command: python3, args: [\"-u\", \"{}\"], enabled: true}}\n{STAFF_MAY_ALL}",
        script.display()
    );
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, crate::world::configuration(folder.path(), &[], &servers)).expect("written");
    let gateway = Program::start(&config, &folder.path().join("log"), &[]).await;
    let none = |limits: &str| {
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        line.split_whitespace().filter(|word| *word == "0").count() == 2
    };
    let own = std::fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).expect("it runs");
    assert!(none(&own), "{own}");
    let client = Client::modern(gateway.address, "/mcp", ALICE);
    let childs = client.call("child__limits", json!({})).await.text();
    assert!(none(&childs), "{childs}");
    gateway.stop().await;
}
