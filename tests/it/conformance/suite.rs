//! Runs the suite, and reads what it wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::world::ecosystem;

/// One run of the suite as a client of a server.
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
    /// The extension that has skills, which is in neither.
    Skills,
}

/// Its scenarios.
const SKILLS: [&str; 3] =
    ["sep-2640-skills-enumeration", "sep-2640-skills-directory", "sep-2640-skills-manifest"];

impl Requirement {
    pub fn revision(self) -> &'static str {
        match self {
            Self::Frozen(revision) | Self::Everything(revision) => revision,
            Self::Skills => "skills",
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

/// One run of the suite as a server of clients, all that a revision asks of them.
pub struct ClientSuite {
    /// Started for each scenario, with the URL of the server as its last argument.
    pub command: String,
    pub revision: &'static str,
}

impl Suite {
    /// Every check of every scenario, scored or not, once and in order.
    pub async fn run(&self) -> Vec<Check> {
        let server = ["server", "--url", &self.url];
        match self.requirement {
            Requirement::Frozen(revision) => {
                run(&[&server[..], &["--requirements", revision]].concat(), "server-").await
            }
            Requirement::Everything(revision) => {
                let all = ["--suite", "all", "--spec-version", revision];
                run(&[&server[..], &all].concat(), "server-").await
            }
            Requirement::Skills => {
                let mut checks = Vec::new();
                for scenario in SKILLS {
                    // No revision has it, so it must be insisted on.
                    let one = ["--scenario", scenario, "--spec-version", "2026-07-28", "--force"];
                    checks.extend(run(&[&server[..], &one].concat(), "server-").await);
                }
                checks
            }
        }
    }
}

impl ClientSuite {
    /// Every check of every scenario, scored or not, once and in order. A client that
    /// gave up is a check of its own: `scenario:walked`.
    pub async fn run(&self) -> Vec<Check> {
        // The clients wait for each other, so most of this is waiting.
        let patience = ["--timeout", "120000"];
        let arguments = ["client", "--command", &self.command, "--requirements", self.revision];
        run(&[&arguments[..], &patience].concat(), "").await
    }
}

/// Runs it; each scenario has a folder whose name begins with `prefix`.
async fn run(arguments: &[&str], prefix: &str) -> Vec<Check> {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js";
    let output = Command::new(ecosystem::node_22())
        .arg(ecosystem::folder().join(script))
        .args(arguments)
        .arg("--output-dir")
        .arg(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the suite starts");
    let mut outcomes = BTreeMap::new();
    read(folder.path(), prefix, &mut outcomes);
    // 1 is a failed check, which is in the files; anything else is a suite that broke.
    let ended = matches!(output.status.code(), Some(0 | 1)) && !outcomes.is_empty();
    assert!(ended, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    outcomes.into_iter().map(|(name, outcome)| Check { name, outcome }).collect()
}

/// The checks in `<folder>/<prefix><scenario>-<time>/checks.json`; a scenario may have slashes.
fn read(folder: &Path, prefix: &str, outcomes: &mut BTreeMap<String, Outcome>) {
    for entry in std::fs::read_dir(folder).expect("the folder").filter_map(Result::ok) {
        let name = entry.file_name().into_string().expect("a name");
        let Ok(checks) = std::fs::read(entry.path().join("checks.json")) else {
            let mut below = BTreeMap::new();
            read(&entry.path(), prefix, &mut below);
            outcomes.extend(below.into_iter().map(|(check, outcome)| (format!("{name}/{check}"), outcome)));
            continue;
        };
        // `-2026-11-21T11-58-43-022Z`
        let (scenario, _) = name.split_at(name.len() - 25);
        let scenario = scenario.strip_prefix(prefix).expect("a run of this kind");
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
        let complaint = std::fs::read_to_string(entry.path().join("stderr.txt")).unwrap_or_default();
        if !complaint.is_empty() {
            outcomes.insert(format!("{scenario}:walked"), Outcome::Failed(complaint.trim().to_owned()));
        }
    }
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
