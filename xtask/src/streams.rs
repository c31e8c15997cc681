//! `cargo xtask streams`: what an open listen stream costs.
//!
//! Opens streams against a gateway, and measures its memory and the calls of others
//! beside them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use crate::bench::setup::{self, Bench as Setup, KEYS, Subject, resident_kib};

/// Measure what open listen streams cost: memory each, and the calls beside them.
#[derive(Args)]
#[command(after_help = "Examples:\n  cargo xtask streams\n  cargo xtask streams -n 1000 --profile release")]
pub struct Streams {
    /// Streams to open
    #[arg(short = 'n', long, default_value_t = 10_000)]
    count: usize,
    /// How long calls are measured, without and with the streams
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Build profile of Doorward: dist (what we ship) or release (builds faster)
    #[arg(long, default_value = "dist")]
    profile: String,
}

impl Streams {
    pub fn run(self) -> anyhow::Result<()> {
        let programs = setup::programs(&self.profile)?;
        let setup = Setup::start(&programs)?;
        let subject = setup.subjects().get(1).context("no gateway runs")?;
        let without = self.p99(&programs, subject)?;
        let before = resident_kib(subject.pid)?;
        let mut listening = Command::new(programs.join("listenmcp"))
            .args(["--address", subject.url.trim_start_matches("http://").trim_end_matches("/mcp")])
            .args(["--count", &self.count.to_string()])
            .args(KEYS.iter().flat_map(|key| ["--token", key]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("listenmcp could not be started")?;
        let mut line = String::new();
        BufReader::new(listening.stdout.take().context("piped")?).read_line(&mut line)?;
        anyhow::ensure!(
            !line.is_empty(),
            "the streams could not be opened; is `ulimit -n` above {}?",
            self.count
        );
        let after = resident_kib(subject.pid)?;
        let with = self.p99(&programs, subject)?;
        drop(listening.stdin.take());
        listening.wait()?;
        print!("{line}");
        let each = (after as f64 - before as f64) / self.count as f64;
        println!(
            "resident: {before} KiB without, {after} KiB with {} streams: {each:.1} KiB each",
            self.count
        );
        println!("p99 of calls: {without:.0} µs without, {with:.0} µs with them");
        Ok(())
    }

    fn p99(&self, programs: &Path, subject: &Subject) -> anyhow::Result<f64> {
        let mut load = Command::new(programs.join("loadmcp"));
        load.args(["--url", &subject.url, "--tool", &subject.tool, "--protocol", "2026-07-28", "--json"])
            .args(["-c", "16", "-d", &self.seconds.to_string(), "--warmup", "1"])
            .args(["--pid", &format!("gateway={}", subject.pid)]);
        if let Some(token) = &subject.token {
            load.args(["--header", &format!("authorization: Bearer {token}")]);
        }
        let output = load.output().context("loadmcp could not be started")?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        report["p99_us"].as_f64().context("no p99")
    }
}
