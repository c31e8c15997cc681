//! `cargo xtask soak`: a long steady load, with sessions that come and go, reloads, and a
//! server that is killed again and again. Nothing may be lost, and nothing may grow.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::bench::setup::{free_port, wait_for};
use crate::shell::{cargo, root, run};

const TOKEN: &str = "gw_soak_0123456789abcdef";

/// How much memory may grow, in MiB in ten minutes.
const GROWTH: f64 = 1.0;
/// Shorter runs are too short to tell growth from warming up.
const TELLING: u64 = 300;

/// Keep a gateway under load for a long time; nothing may be lost, and nothing may grow
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask soak\n  cargo xtask soak --seconds 30 --rate 300 --profile ci"
)]
pub struct Soak {
    /// How long
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Calls a second
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Sessions that come and go
    #[arg(long, default_value_t = 200)]
    sessions: u64,
    /// Build profile of Doorward: dist (what we ship), release or ci
    #[arg(long, default_value = "dist")]
    profile: String,
}

impl Soak {
    /// Long enough to lose something, and not to grow.
    pub fn short() -> Self {
        Self { seconds: 30, rate: 300, sessions: 100, profile: "ci".to_owned() }
    }

    pub fn run(self) -> anyhow::Result<()> {
        let packages = ["--package", "doorward", "--package", "doorward-bench"];
        run(cargo().args(["build", "--profile", &self.profile]).args(packages))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
        let programs = target.join(&self.profile);
        let folder = root().join("target/soak");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let place = Place { programs, folder, ports: [free_port()?, free_port()?, free_port()?] };
        let _steady = place.server(place.ports[1])?;
        let mut shaky = place.server(place.ports[2])?;
        place.configure(0)?;
        let mut gateway = place.gateway()?;
        wait_for(place.ports[0])?;
        let mut load = self.load(&place)?;
        let (started, step) = (Instant::now(), Duration::from_secs(self.seconds) / 120);
        let mut samples = Vec::new();
        for moment in 1_u32.. {
            if load.0.try_wait()?.is_some() {
                break;
            }
            std::thread::sleep(step.max(Duration::from_millis(200)));
            samples.push(Sample::take(started.elapsed(), gateway.0.id())?);
            if moment.is_multiple_of(12) {
                place.configure(moment)?;
            }
            if moment.is_multiple_of(24) {
                drop(shaky);
                shaky = place.server(place.ports[2])?;
            }
            ensure!(gateway.0.try_wait()?.is_none(), "the gateway has ended; see target/soak/gateway.log");
        }
        fs::write(place.folder.join("samples.tsv"), Sample::table(&samples))?;
        let mut report = String::new();
        load.0.stdout.take().context("piped")?.read_to_string(&mut report)?;
        let report: Value =
            serde_json::from_str(&report).context("soakmcp said nothing; see target/soak/load.log")?;
        run(Command::new("kill").args(["-TERM", &gateway.0.id().to_string()]))?;
        ensure!(gateway.0.wait()?.success(), "the gateway did not end in good order");
        self.judge(&place, &report, &samples)
    }

    fn load(&self, place: &Place) -> anyhow::Result<Running> {
        let mut load = Command::new(place.programs.join("soakmcp"));
        load.args(["--url", &format!("http://127.0.0.1:{}/mcp", place.ports[0]), "--bearer", TOKEN])
            .args(["--steady", "steady__echo", "--shaky", "shaky__echo"])
            .args(["--rate", &self.rate.to_string(), "--seconds", &self.seconds.to_string()])
            .args(["--sessions", &self.sessions.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(place.folder.join("load.log"))?);
        Ok(Running(load.spawn().context("soakmcp could not be started")?))
    }

    /// Prints what was asked and what was measured, and fails if they differ.
    fn judge(&self, place: &Place, report: &Value, samples: &[Sample]) -> anyhow::Result<()> {
        let number = |key: &str| report[key].as_u64().unwrap_or_default();
        let answered = number("answered") + number("unavailable");
        let recorded = place.recorded()?;
        let verified = place.doorward(&["audit", "verify"]).is_ok();
        let warm = &samples[samples.len() / 3..];
        let (memory, files) = (Sample::slope(warm, |it| it.mib), Sample::slope(warm, |it| it.files));
        let mut failures = Vec::new();
        let mut line = |what: &str, asked: &str, measured: String, holds: bool| {
            println!("{what:<34} {asked:>16} {measured:>22}  {}", if holds { "ok" } else { "FAILED" });
            if !holds {
                failures.push(what.to_owned());
            }
        };
        println!("{:<34} {:>16} {:>22}", "", "asked", "measured");
        // A short run, on whatever machine, is about what is lost.
        let tells = self.seconds >= TELLING;
        let rate = answered as f64 / report["seconds"].as_f64().unwrap_or(1.0);
        line(
            "calls a second",
            &format!(">= {}", self.rate * 9 / 10),
            format!("{rate:.0}"),
            !tells || rate >= self.rate as f64 * 0.9,
        );
        line("calls without an answer", "0", number("failed").to_string(), number("failed") == 0);
        line("answers without a record", "0", format!("{answered} / {recorded}"), answered <= recorded);
        line("the log verifies", "yes", if verified { "yes" } else { "no" }.to_owned(), verified);
        line(
            "memory, MiB in 10 min",
            &format!("< {GROWTH}"),
            format!("{memory:+.2}"),
            !tells || memory < GROWTH,
        );
        line("descriptors in 10 min", "< 5", format!("{files:+.1}"), !tells || files < 5.0);
        println!(
            "{} sessions came and went; p50 {} µs, p99 {} µs; {} calls met a server that was away; at the end {:.0} MiB and {:.0} descriptors",
            number("sessions"),
            number("p50_us"),
            number("p99_us"),
            number("unavailable"),
            samples.last().map_or(0.0, |it| it.mib),
            samples.last().map_or(0.0, |it| it.files),
        );
        if !failures.is_empty() {
            bail!("{}; first failure: {}", failures.join(", "), report["first_failure"]);
        }
        Ok(())
    }
}

/// Where everything is.
struct Place {
    programs: PathBuf,
    folder: PathBuf,
    /// Of the gateway, the steady server and the shaky one.
    ports: [u16; 3],
}

impl Place {
    fn config(&self) -> PathBuf {
        self.folder.join("gateway.yaml")
    }

    /// Writes a configuration that differs from the one before in the name of a policy.
    fn configure(&self, number: u32) -> anyhow::Result<()> {
        let [gateway, steady, shaky] = self.ports;
        let text = format!(
            "host: 127.0.0.1\nport: {gateway}\ndataDir: {}/data\nrateLimit: {{enabled: false}}\n\
             auth:\n  type: api-key\n  keys:\n    - {{id: soak, key: {TOKEN}, consumerId: soak, person: soak, roles: [soak], enabled: true}}\n\
             servers:\n  - {{id: steady, url: \"http://127.0.0.1:{steady}/mcp\", enabled: true}}\n  - {{id: shaky, url: \"http://127.0.0.1:{shaky}/mcp\", timeout: 2000, enabled: true}}\n\
             policies:\n  - {{id: all, name: \"All, {number}\", roles: [soak], rules: [{{action: allow}}]}}\n",
            self.folder.display()
        );
        // Whole or not at all: the gateway looks at the file whenever it changes.
        let next = self.folder.join("gateway.yaml.next");
        fs::write(&next, text)?;
        Ok(fs::rename(next, self.config())?)
    }

    fn server(&self, port: u16) -> anyhow::Result<Running> {
        let mut server = Command::new(self.programs.join("mockmcp"));
        server.args(["--listen", &format!("127.0.0.1:{port}")]);
        let running = self.start(server, "servers.log")?;
        wait_for(port)?;
        Ok(running)
    }

    fn gateway(&self) -> anyhow::Result<Running> {
        let mut gateway = Command::new(self.programs.join("doorward"));
        gateway.arg("--config").arg(self.config()).arg("serve");
        self.start(gateway, "gateway.log")
    }

    fn start(&self, mut command: Command, log: &str) -> anyhow::Result<Running> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join(log))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Running(command.spawn().with_context(|| format!("cannot start {command:?}"))?))
    }

    fn doorward(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut doorward = Command::new(self.programs.join("doorward"));
        let output = doorward.arg("--config").arg(self.config()).args(arguments).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }

    fn recorded(&self) -> anyhow::Result<u64> {
        let stats: Value = serde_json::from_slice(&self.doorward(&["audit", "stats", "--json"])?)?;
        stats["total"].as_u64().context("no total")
    }
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended already needs no ending.
        let _ = self.0.kill();
        let _ = self.0.wait();
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
        let process = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(process.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        let files = fs::read_dir(process.join("fd"))?.count();
        Ok(Self { seconds: at.as_secs_f64(), mib: kib / 1024.0, files: files as f64 })
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
