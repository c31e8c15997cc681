//! A steady load for a long time, with sessions that come and go, reloads, and a server that
//! is killed again and again. Nothing may be lost, and nothing may grow.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::Value;

use super::place::{Place, Running, TOKEN};
use super::report::Report;
use crate::bench::setup::{free_port, resident_kib, wait_for};
use crate::shell::run;

/// How much memory may grow, in MiB in ten minutes.
const GROWTH: f64 = 1.0;
/// Shorter runs are too short to tell growth from warming up.
const TELLING: u64 = 300;

#[derive(Args)]
pub struct Load {
    /// How long the load goes on
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Calls a second
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Sessions that come and go
    #[arg(long, default_value_t = 200)]
    sessions: u64,
}

impl Load {
    /// Long enough to lose something, and not to grow.
    pub fn short() -> Self {
        Self { seconds: 30, rate: 300, sessions: 100 }
    }

    pub fn run(&self, profile: &str, report: &mut Report) -> anyhow::Result<()> {
        let place = Place::prepare("load", profile)?;
        let ports = [free_port()?, free_port()?];
        let servers = format!(
            "  - {{id: steady, url: \"http://127.0.0.1:{}/mcp\", enabled: true}}\n  - {{id: shaky, url: \"http://127.0.0.1:{}/mcp\", timeout: 2000, enabled: true}}\n",
            ports[0], ports[1]
        );
        let _steady = place.server(ports[0], 0)?;
        let mut shaky = place.server(ports[1], 0)?;
        place.configure(&servers, "First")?;
        let mut gateway = place.gateway(&[])?;
        wait_for(place.port)?;
        let mut load = self.start(&place)?;
        let (started, step) = (Instant::now(), Duration::from_secs(self.seconds) / 120);
        let mut samples = Vec::new();
        for moment in 1_u32.. {
            if load.0.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(step.max(Duration::from_millis(200)));
            samples.push(Sample::take(started.elapsed(), gateway.0.id())?);
            if moment.is_multiple_of(12) {
                place.configure(&servers, &format!("Reload-{moment}"))?;
            }
            if moment.is_multiple_of(24) {
                drop(shaky);
                shaky = place.server(ports[1], 0)?;
            }
            let log = place.folder.join("gateway.log");
            ensure!(gateway.0.try_wait()?.is_none(), "the gateway has ended; see {}", log.display());
        }
        fs::write(place.folder.join("samples.tsv"), Sample::table(&samples))?;
        let mut counted = String::new();
        load.0.stdout.take().context("piped")?.read_to_string(&mut counted)?;
        let counted: Value = serde_json::from_str(&counted)
            .context("soakmcp said nothing; see load.log beside gateway.log")?;
        run(Command::new("kill").args(["-TERM", &gateway.0.id().to_string()]))?;
        ensure!(gateway.0.wait()?.success(), "the gateway did not end in good order");
        self.judge(&place, &counted, &samples, report)
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let mut load = Command::new(place.programs.join("soakmcp"));
        load.args(["--url", &place.url(), "--bearer", TOKEN])
            .args(["--steady", "steady__echo", "--shaky", "shaky__echo"])
            .args(["--rate", &self.rate.to_string(), "--seconds", &self.seconds.to_string()])
            .args(["--sessions", &self.sessions.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(place.folder.join("load.log"))?);
        Ok(Running(load.spawn().context("soakmcp could not be started")?))
    }

    fn judge(
        &self,
        place: &Place,
        counted: &Value,
        samples: &[Sample],
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let number = |key: &str| counted[key].as_u64().unwrap_or_default();
        let answered = number("answered") + number("unavailable");
        let recorded = place.recorded()?;
        let verified = place.doorward(&["audit", "verify"]).is_ok();
        let warm = &samples[samples.len() / 3..];
        let (memory, files) = (Sample::slope(warm, |it| it.mib), Sample::slope(warm, |it| it.files));
        report.line("calls without an answer", "0", number("failed").to_string(), number("failed") == 0);
        let both = format!("{answered} / {recorded}");
        report.line("answers without a record", "0", both, answered <= recorded);
        let word = if verified { "yes" } else { "no" };
        report.line("the log verifies", "yes", word.to_owned(), verified);
        let rate = answered as f64 / counted["seconds"].as_f64().unwrap_or(1.0);
        if self.seconds >= TELLING {
            let least = self.rate * 9 / 10;
            report.line("calls a second", &format!(">= {least}"), format!("{rate:.0}"), rate >= least as f64);
            let asked = format!("< {GROWTH}");
            report.line("memory, MiB in 10 min", &asked, format!("{memory:+.2}"), memory < GROWTH);
            report.line("descriptors in 10 min", "< 5", format!("{files:+.1}"), files < 5.0);
        } else {
            // A short run, on whatever machine, is about what is lost.
            println!("{rate:.0} calls a second; speed and growth are judged in runs of {TELLING} s and more");
        }
        println!(
            "{} sessions came and went; p50 {} µs, p99 {} µs; {} calls met a server that was away; at the end {:.0} MiB and {:.0} descriptors",
            number("sessions"),
            number("p50_us"),
            number("p99_us"),
            number("unavailable"),
            samples.last().map_or(0.0, |it| it.mib),
            samples.last().map_or(0.0, |it| it.files),
        );
        if let Some(failure) = counted["first_failure"].as_str() {
            println!("the first failure: {failure}");
        }
        Ok(())
    }
}

/// What the gateway holds at one moment.
struct Sample {
    seconds: f64,
    mib: f64,
    files: f64,
}

impl Sample {
    fn take(at: Duration, pid: u32) -> anyhow::Result<Self> {
        let mib = resident_kib(pid)? as f64 / 1024.0;
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self { seconds: at.as_secs_f64(), mib, files: files as f64 })
    }

    fn table(samples: &[Self]) -> String {
        let mut out = String::from("seconds\tMiB\tdescriptors\n");
        for sample in samples {
            out += &format!("{:.1}\t{:.2}\t{:.0}\n", sample.seconds, sample.mib, sample.files);
        }
        out
    }

    /// By how much it grows in ten minutes: least squares.
    fn slope(samples: &[Self], value: impl Fn(&Self) -> f64) -> f64 {
        let count = samples.len().max(1) as f64;
        let mean_x = samples.iter().map(|it| it.seconds).sum::<f64>() / count;
        let mean_y = samples.iter().map(&value).sum::<f64>() / count;
        let over: f64 = samples.iter().map(|it| (it.seconds - mean_x) * (value(it) - mean_y)).sum();
        let under: f64 = samples.iter().map(|it| (it.seconds - mean_x).powi(2)).sum();
        if under == 0.0 { 0.0 } else { over / under * 600.0 }
    }
}
