//! `cargo xtask fuzz`: what reads bytes from outside, under random ones.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::shell::{cargo, output, root, run};

/// The version that is installed where there is none.
const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";

/// Let random bytes loose on everything that reads bytes from outside.
#[derive(Args)]
pub struct Fuzz {
    /// Which targets (`fuzz/fuzz_targets`); all when left out
    targets: Vec<String>,
    /// Seconds for each
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

impl Fuzz {
    /// All targets, for so long each.
    pub fn all(seconds: u32) -> Self {
        Self { targets: Vec::new(), seconds }
    }

    pub fn run(self) -> anyhow::Result<()> {
        let path = tool()?;
        let known = targets()?;
        if let Some(unknown) = self.targets.iter().find(|target| !known.contains(target)) {
            bail!("there is no target `{unknown}`; there are: {}", known.join(", "));
        }
        let chosen = if self.targets.is_empty() { &known } else { &self.targets };
        run(cargo_fuzz(&path).args(["build", "--sanitizer", "none"]))?;
        println!("{:<10} {:>12} {:>10} {:>9}", "target", "runs", "a second", "features");
        for target in chosen {
            let Summary { runs, speed, features } = fuzz(target, self.seconds, &path)?;
            println!("{target:<10} {runs:>12} {speed:>10} {features:>9}");
        }
        Ok(())
    }
}

/// What came of one target.
struct Summary {
    runs: String,
    speed: String,
    features: String,
}

fn fuzz(target: &str, seconds: u32, path: &str) -> anyhow::Result<Summary> {
    let work = root().join("target/fuzz");
    let (corpus, found) = (work.join("corpus").join(target), work.join("found").join(target));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = cargo_fuzz(path);
    command.args(["run", "--sanitizer", "none", target]).arg(&corpus);
    let seeds = root().join("fuzz/seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    command
        .args(["--", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .stdin(Stdio::null());
    let output = command.output().context("cargo fuzz could not be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let tail: Vec<_> = said.lines().rev().take(40).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        bail!("{}\n`{target}` failed; what did it is in {}", tail.join("\n"), found.display());
    }
    let stat = |name: &str| {
        let line = said.lines().rev().find(|line| line.contains(name));
        line.and_then(|line| line.split_whitespace().last()).unwrap_or("?").to_owned()
    };
    let features =
        said.lines().rev().find_map(|line| Some(line.split(" ft: ").nth(1)?.split(' ').next()?.to_owned()));
    Ok(Summary {
        runs: stat("stat::number_of_executed_units"),
        speed: stat("stat::average_exec_per_sec"),
        features: features.unwrap_or_else(|| "?".to_owned()),
    })
}

/// `cargo fuzz`, with a target folder of its own.
fn cargo_fuzz(path: &str) -> Command {
    let mut command = cargo();
    command.arg("fuzz").env("PATH", path).env("CARGO_TARGET_DIR", root().join("target/fuzz/target"));
    command.current_dir(root());
    command
}

/// The names of all targets.
fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Sees to it that `cargo fuzz` is there; yields the `PATH` that has it.
fn tool() -> anyhow::Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    if output("cargo", &["fuzz", "--version"]).is_some() {
        return Ok(path);
    }
    let folder = root().join("target/tools");
    let path = format!("{}:{path}", folder.join("bin").display());
    if !folder.join("bin/cargo-fuzz").exists() {
        println!("  installing {CARGO_FUZZ}");
        run(Command::new("cargo")
            .args(["install", "--locked", "--quiet", "--root"])
            .arg(&folder)
            .arg(CARGO_FUZZ))?;
    }
    Ok(path)
}
