//! `cargo xtask bench`: Doorward beside a floor, in one run and one table.
//!
//! The floor is the least a Rust proxy can do (`bench/src/bin/floorproxy.rs`).
//! CPU per call is the figure to trust: calls/s and latency move with whatever else
//! the machine does.

pub mod setup;

use std::process::Command;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use setup::{Bench as Setup, Subject};

/// Measure calls/s, latency, CPU per call and memory, beside a floor.
#[derive(Args)]
#[command(after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --seconds 2 -c 16 -c 64")]
pub struct Bench {
    /// How long each cell is measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How long each cell warms up
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Connections at once; repeat for several
    #[arg(short = 'c', long = "concurrency", default_values_t = [1, 16, 64, 256])]
    concurrency: Vec<usize>,
    /// Protocol revision that the load speaks
    #[arg(long, default_value = "2026-07-28")]
    protocol: String,
    /// Print one JSON object a cell instead of the table
    #[arg(long)]
    json: bool,
    /// Build profile of Doorward: dist (what we ship) or release (builds faster)
    #[arg(long, default_value = "dist")]
    profile: String,
}

impl Bench {
    pub fn run(self) -> anyhow::Result<()> {
        let programs = setup::programs(&self.profile)?;
        let setup = Setup::start(&programs)?;
        if !self.json {
            println!(
                "{:<34} {:>4} {:>9} {:>8} {:>8} {:>8} {:>10} {:>9} {:>9}",
                "subject", "c", "calls/s", "p50 µs", "p90 µs", "p99 µs", "CPU µs", "× floor", "peak MiB"
            );
        }
        for &connections in &self.concurrency {
            let mut floor = None;
            for subject in setup.subjects() {
                let report = self.measure(&programs, subject, connections)?;
                let cpu = report["processes"][0]["cpu_us_per_request"].as_f64().unwrap_or(f64::NAN);
                let times = cpu / *floor.get_or_insert(cpu);
                if self.json {
                    println!("{report}");
                } else {
                    print_row(subject, connections, &report, cpu, times);
                }
            }
        }
        Ok(())
    }

    fn measure(
        &self,
        programs: &std::path::Path,
        subject: &Subject,
        connections: usize,
    ) -> anyhow::Result<Value> {
        let mut load = Command::new(programs.join("loadmcp"));
        load.args(["--url", &subject.url, "--tool", &subject.tool, "--protocol", &self.protocol, "--json"])
            .args(["--label", subject.name])
            .args(["-c", &connections.to_string(), "-d", &self.seconds.to_string()])
            .args(["--warmup", &self.warmup.to_string()])
            .args(["--pid", &format!("gateway={}", subject.pid)]);
        if let Some(token) = &subject.token {
            load.args(["--header", &format!("authorization: Bearer {token}")]);
        }
        let output = load.output().context("loadmcp could not be started")?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(text.trim())
            .with_context(|| format!("loadmcp: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn print_row(subject: &Subject, connections: usize, report: &Value, cpu: f64, times: f64) {
    let number = |key: &str| report[key].as_f64().unwrap_or(f64::NAN);
    let peak = report["processes"][0]["rss_peak_kib"].as_f64().unwrap_or(f64::NAN) / 1024.0;
    println!(
        "{:<34} {connections:>4} {:>9.0} {:>8.0} {:>8.0} {:>8.0} {cpu:>10.1} {times:>9.2} {peak:>9.1}",
        subject.name,
        number("rps"),
        number("p50_us"),
        number("p90_us"),
        number("p99_us"),
    );
    if number("errors") > 0.0 {
        println!("    {} errors: {}", report["errors"], report["first_error"]);
    }
}
