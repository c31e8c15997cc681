//! How soon a gateway with many servers is ready, and what it needs while nobody calls.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::place::Place;
use super::report::Report;
use crate::bench::setup::resident_kib;

/// Servers in the configuration. None is started before it is needed.
const SERVERS: usize = 50;
const STARTS: usize = 10;
/// What is asked.
const READY_MS: f64 = 200.0;
const IDLE_MIB: f64 = 40.0;

pub fn run(profile: &str, report: &mut Report) -> anyhow::Result<()> {
    let place = Place::prepare("startup", profile)?;
    let mut servers = String::new();
    for at in 0..SERVERS {
        servers += &match at % 2 {
            0 => format!("  - {{id: s{at}, url: \"http://127.0.0.1:9/mcp\", enabled: true}}\n"),
            _ => format!("  - {{id: s{at}, command: never-started, enabled: true}}\n"),
        };
    }
    place.configure(&servers, "All")?;
    let (mut ready, mut idle) = (Vec::new(), 0_f64);
    for _ in 0..STARTS {
        let started = Instant::now();
        let gateway = place.gateway(&[])?;
        while !is_ready(place.port) {
            ensure!(started.elapsed() < Duration::from_secs(20), "it is never ready");
            std::thread::sleep(Duration::from_millis(1));
        }
        ready.push(started.elapsed().as_secs_f64() * 1_000.0);
        std::thread::sleep(Duration::from_secs(2));
        idle = idle.max(resident_kib(gateway.0.id())? as f64 / 1024.0);
    }
    ready.sort_by(f64::total_cmp);
    let slowest = ready.last().copied().unwrap_or_default();
    let what = format!("ready with {SERVERS} servers, slowest of {STARTS}");
    report.line(&what, &format!("< {READY_MS:.0} ms"), format!("{slowest:.0} ms"), slowest < READY_MS);
    let what = "memory while nobody calls, most";
    report.line(what, &format!("< {IDLE_MIB:.0} MiB"), format!("{idle:.1} MiB"), idle < IDLE_MIB);
    Ok(())
}

fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
