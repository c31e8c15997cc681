//! What calls cost while something beside them is slow: another server, a collector of traces,
//! a policy.
//!
//! The same calls are measured with and without, in turns, so that what the machine does
//! meanwhile falls on both.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::place::{Place, Running, TOKEN};
use super::report::Report;
use crate::bench::setup::{free_port, wait_for};

/// How often with and without are measured.
const ROUNDS: usize = 5;
/// How long one measurement takes, in seconds.
const SECONDS: &str = "4";
/// Calls that wait for the slow server at any time: with its two seconds, 400 a second.
const WAITING: &str = "800";
/// How much slower the calls may become, measured at the 99th percentile.
const BY_SERVER: f64 = 0.20;
const BY_COLLECTOR: f64 = 0.05;
const BY_POLICY: f64 = 1.0;
/// Clients that do nothing but call what a policy takes long to deny.
const COSTLY_CLIENTS: usize = 8;
/// A policy that loops over an argument within a loop over it.
const COSTLY: &str = "regoPolicies:\n  - name: costly\n    source: |\n      package costly\n      deny contains \"no\" if {\n        some i in input.arguments.xs\n        some j in input.arguments.xs\n        i + j == -1\n      }\n";

pub fn run(profile: &str, report: &mut Report) -> anyhow::Result<()> {
    let place = Place::prepare("neighbours", profile)?;
    let ports = [free_port()?, free_port()?];
    let _quick = place.server(ports[0], 5_000)?;
    let _slow = place.server(ports[1], 2_000_000)?;
    let servers = format!(
        "  - {{id: quick, url: \"http://127.0.0.1:{}/mcp\", enabled: true}}\n  - {{id: slow, url: \"http://127.0.0.1:{}/mcp\", enabled: true}}\n",
        ports[0], ports[1]
    );
    place.configure(&servers, "All")?;
    slow_server(&place, report)?;
    hung_collector(&place, report)?;
    place.configure(&format!("{servers}{COSTLY}"), "All")?;
    costly_policy(&place, report)
}

fn costly_policy(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let _gateway = place.gateway(&[])?;
    wait_for(place.port)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(p99(place)?);
        let over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..COSTLY_CLIENTS)
            .map(|_| {
                let (port, over) = (place.port, Arc::clone(&over));
                std::thread::spawn(move || call_costly(port, &over))
            })
            .collect();
        let measured = p99(place);
        over.store(true, Ordering::Relaxed);
        for client in clients {
            let called = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            anyhow::ensure!(called > 0, "nothing costly was called");
        }
        with.push(measured?);
    }
    let what = format!("p99 beside {COSTLY_CLIENTS} clients of a policy that takes long");
    compare(report, &what, BY_POLICY, &without, &with);
    Ok(())
}

/// Calls, one after another, what a policy takes long to deny; says how often.
fn call_costly(port: u16, over: &AtomicBool) -> anyhow::Result<usize> {
    let numbers: Vec<_> = (0..5_000).map(|number| number.to_string()).collect();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"quick__echo","arguments":{{"xs":[{}]}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#,
        numbers.join(",")
    );
    let mut called = 0;
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        write!(
            stream,
            "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {TOKEN}\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: quick__echo\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::ensure!(answer.contains("policy_error") || answer.contains("take long"), "{answer}");
        called += 1;
    }
    Ok(called)
}

fn slow_server(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let _gateway = place.gateway(&[])?;
    wait_for(place.port)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(p99(place)?);
        let mut crowd = load(place, "slow__echo", WAITING, "60");
        let crowd = Running(crowd.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        // Until all of them wait.
        std::thread::sleep(Duration::from_secs(3));
        with.push(p99(place)?);
        drop(crowd);
    }
    let what = format!("p99 beside {WAITING} calls of a slow server");
    compare(report, &what, BY_SERVER, &without, &with);
    Ok(())
}

fn hung_collector(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let collector = Collector::start()?;
    let endpoint = format!("http://127.0.0.1:{}", collector.port);
    let _gateway = place.gateway(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)])?;
    wait_for(place.port)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        collector.hangs.store(false, Ordering::Relaxed);
        without.push(p99(place)?);
        collector.hangs.store(true, Ordering::Relaxed);
        with.push(p99(place)?);
    }
    compare(report, "p99 beside a collector that hangs", BY_COLLECTOR, &without, &with);
    Ok(())
}

fn compare(report: &mut Report, what: &str, bound: f64, without: &[f64], with: &[f64]) {
    let (before, after) = (median(without), median(with));
    let more = after / before - 1.0;
    let measured = format!("{:+.1} % ({before:.0} -> {after:.0} us)", more * 100.0);
    report.line(what, &format!("<= +{:.0} %", bound * 100.0), measured, more <= bound);
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The 99th percentile of calls of the quick server, in microseconds.
fn p99(place: &Place) -> anyhow::Result<f64> {
    let output = load(place, "quick__echo", "8", SECONDS).arg("--json").output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    report["p99_us"].as_f64().context("no p99_us")
}

fn load(place: &Place, tool: &str, connections: &str, seconds: &str) -> Command {
    let mut load = Command::new(place.programs.join("loadmcp"));
    load.args(["--url", &place.url(), "--tool", tool, "--protocol", "2026-07-28"])
        .args(["-c", connections, "-d", seconds, "--warmup", "1"])
        .args(["--header", &format!("authorization: Bearer {TOKEN}")]);
    load
}

/// Takes what it is sent, and answers unless it hangs.
struct Collector {
    port: u16,
    hangs: Arc<AtomicBool>,
}

impl Collector {
    fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let hangs = Arc::new(AtomicBool::new(false));
        let hanging = Arc::clone(&hangs);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hanging = Arc::clone(&hanging);
                // Whoever leaves needs no answer.
                std::thread::spawn(move || drop(collect(stream, &hanging)));
            }
        });
        Ok(Self { port, hangs })
    }
}

fn collect(mut stream: TcpStream, hangs: &AtomicBool) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            anyhow::ensure!(reader.read_line(&mut line)? > 0, "it has left");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        while hangs.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
        )?;
    }
}
