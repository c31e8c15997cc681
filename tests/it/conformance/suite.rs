//! Runs the suite, and reads what it wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::world::ecosystem;

/// One run of the suite against a server.
pub struct Suite {
    /// On `127.0.0.1` or `localhost`; otherwise DNS rebinding cannot be tried.
    pub url: String,
    pub requirement: Requirement,
}

/// What a run covers, by revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// What the suite froze when the revision came out, and what it runs beside it unscored.
    Frozen(&'static str),
    /// All scenarios that apply to the revision.
    Everything(&'static str),
}

impl Requirement {
    pub fn revision(self) -> &'static str {
        match self {
            Self::Frozen(revision) | Self::Everything(revision) => revision,
        }
    }
}

/// What the suite says about one thing.
#[derive(Clone, Debug)]
pub struct Check {
    /// `scenario:check`.
    pub name: String,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
    /// It could not be tried, or was not.
    Untried(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => write!(to, "passed"),
            Self::Failed(message) => write!(to, "failed: {message}"),
            Self::Untried(message) => write!(to, "not tried: {message}"),
        }
    }
}

impl Suite {
    /// Every check of every scenario, scored or not, once and in order.
    pub async fn run(&self) -> Vec<Check> {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js";
        let mut node = Command::new(ecosystem::node_22());
        node.arg(ecosystem::folder().join(script)).args(["server", "--url", &self.url]);
        match self.requirement {
            Requirement::Frozen(revision) => node.args(["--requirements", revision]),
            Requirement::Everything(revision) => node.args(["--suite", "all", "--spec-version", revision]),
        };
        node.arg("--output-dir").arg(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        let output = node.output().await.expect("the suite starts");
        let checks = read(folder.path());
        // 1 is a failed check, which is in the files; anything else is a suite that broke.
        let ended = matches!(output.status.code(), Some(0 | 1)) && !checks.is_empty();
        assert!(ended, "{}: {}", self.requirement.revision(), String::from_utf8_lossy(&output.stderr));
        checks
    }
}

/// The checks in `<folder>/server-<scenario>-<time>/checks.json`.
fn read(folder: &Path) -> Vec<Check> {
    let mut outcomes = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the folder").filter_map(Result::ok) {
        let name = entry.file_name().into_string().expect("a name");
        let scenario = name.strip_prefix("server-").expect("a run against a server");
        // `-2026-11-21T11-58-43-022Z`
        let (scenario, _) = scenario.split_at(scenario.len() - 25);
        let checks = std::fs::read(entry.path().join("checks.json")).expect("checks");
        let checks: Vec<Value> = serde_json::from_slice(&checks).expect("a list of checks");
        for check in checks {
            let name = format!("{scenario}:{}", check["id"].as_str().expect("an id"));
            let outcome = outcome(&check);
            // One check may be reported several times; the worst counts.
            let worst = outcomes.entry(name).or_insert_with(|| outcome.clone());
            if severity(&outcome) > severity(worst) {
                *worst = outcome;
            }
        }
    }
    outcomes.into_iter().map(|(name, outcome)| Check { name, outcome }).collect()
}

fn outcome(check: &Value) -> Outcome {
    let message = check["errorMessage"].as_str().or(check["details"]["message"].as_str());
    let message = message.unwrap_or("no reason given").to_owned();
    match check["status"].as_str() {
        Some("SUCCESS") => Outcome::Passed,
        Some("SKIPPED" | "INFO") => Outcome::Untried(message),
        _ => Outcome::Failed(message),
    }
}

/// What was said in passing counts less than what passed.
fn severity(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Untried(_) => 0,
        Outcome::Passed => 1,
        Outcome::Failed(_) => 2,
    }
}
