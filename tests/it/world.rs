//! One world for all tests: a real gateway on a free port, real servers that
//! record what they receive, a data directory of its own.

pub mod balancer;
#[cfg(target_os = "linux")]
pub mod browser;
pub mod collector;
pub mod ecosystem;
pub mod everything;
pub mod front;
pub mod http;
pub mod model;
pub mod page;
pub mod pipe;
#[cfg(target_os = "linux")]
pub mod postgres;
#[cfg(target_os = "linux")]
pub mod processes;
pub mod recorder;
pub mod redis;
pub mod replicas;
#[cfg(target_os = "linux")]
pub mod site;
pub mod tap;
pub mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorward::runtime::{self, Running, Surroundings};
use doorward_gateway::Gateway;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

pub use http::{Answer, Client};
pub use pipe::Pipe;
pub use recorder::{Recorder, Speaks};
pub use replicas::Replicas;

/// The key of `alice`, whose role is `staff`.
pub const ALICE: &str = "gw_alice_0123456789abcdef";
/// The key of `bob`, whose role is `guest`.
pub const BOB: &str = "gw_bob_0123456789abcdef";

/// A gateway with its servers.
pub struct World {
    pub folder: TempDir,
    pub running: Running,
    pub recorders: Vec<Recorder>,
}

impl World {
    /// Starts a gateway whose configuration is `keys and servers` plus `rest` (YAML).
    /// One recording server a name in `servers`.
    pub async fn start(servers: &[&str], rest: &str) -> Self {
        Self::start_speaking(servers, Speaks::Legacy, rest).await
    }

    /// The same, with servers of the given era.
    pub async fn start_speaking(servers: &[&str], speaks: Speaks, rest: &str) -> Self {
        Self::start_surrounded(servers, speaks, rest, system()).await
    }

    /// The same, in an environment that holds just these variables.
    pub async fn start_in(servers: &[&str], speaks: Speaks, rest: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_surrounded(servers, speaks, rest, surroundings(variables)).await
    }

    /// The same, in surroundings of the test's own.
    pub async fn start_surrounded(
        servers: &[&str],
        speaks: Speaks,
        rest: &str,
        surroundings: Surroundings,
    ) -> Self {
        let mut recorders = Vec::new();
        for name in servers {
            recorders.push(Recorder::start(name, speaks).await);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let config = configuration(folder.path(), &recorders, rest);
        std::fs::write(folder.path().join("gateway.yaml"), config).expect("written");
        let running = runtime::start(&folder.path().join("gateway.yaml"), surroundings).await;
        let running = running.expect("the gateway starts");
        Self { folder, running, recorders }
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub fn gateway(&self) -> &Arc<Gateway> {
        self.running.gateway()
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    /// A client that speaks 2026-07-28 to `path`.
    pub fn modern(&self, path: &str, key: &str) -> Client {
        Client::modern(self.address(), path, key)
    }

    /// A client that has opened a session of 2025-11-25 on `path`.
    pub async fn legacy(&self, path: &str, key: &str) -> Client {
        Client::legacy(self.address(), path, key, "2025-11-25").await
    }

    /// Every record of the log, oldest first, as far as it says what was decided.
    pub fn records(&self) -> Vec<Value> {
        let filter = doorward_ledger::Filter { limit: 10_000, ..Default::default() };
        self.gateway().ledger().flush_index().expect("the index catches up");
        let rows = self.gateway().ledger().query(&filter).expect("the log can be read");
        rows.iter().rev().map(doorward_ledger::CallRow::to_json).collect()
    }

    /// All calls that reached any server: `<server> <tool>`.
    pub fn received(&self) -> Vec<String> {
        self.recorders
            .iter()
            .flat_map(|recorder| {
                recorder.calls().into_iter().map(move |call| format!("{} {call}", recorder.name))
            })
            .collect()
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }
}

/// A free port, and otherwise what a gateway has outside tests.
pub fn system() -> Surroundings {
    Surroundings { port: Some(0), program: program(), ..Surroundings::system() }
}

/// A free port, and an environment that holds just these variables.
pub fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    let variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let variables = Arc::new(move |name: &str| variables.get(name).cloned());
    Surroundings { variables, ..system() }
}

/// The configuration of a test.
pub fn configuration(folder: &Path, recorders: &[Recorder], rest: &str) -> String {
    let mut text = format!(
        "dataDir: {}\nauth:\n  type: api-key\n  keys:\n    - {{id: alice, key: {ALICE}, person: alice, consumerId: alice, roles: [staff], scopes: [audit.read], enabled: true}}\n    - {{id: bob, key: {BOB}, person: bob, consumerId: bob, roles: [guest], enabled: true}}\n",
        folder.join("data").display(),
    );
    if !recorders.is_empty() {
        text += "servers:\n";
        for recorder in recorders {
            text += &format!("  - {{id: {}, url: \"{}\", enabled: true}}\n", recorder.name, recorder.url());
        }
    }
    text + rest
}

/// Writes the configuration of a test with one recorder; where it is.
pub fn written(folder: &Path, recorder: &Recorder, rest: &str) -> PathBuf {
    let path = folder.join("gateway.yaml");
    std::fs::write(&path, configuration(folder, std::slice::from_ref(recorder), rest)).expect("written");
    path
}

/// Role rules that let `staff` do everything.
pub const STAFF_MAY_ALL: &str =
    "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}]}\n";

/// The program itself, for what only a process can show.
pub fn program() -> PathBuf {
    binary("doorward")
}

/// A program of the workspace.
pub fn binary(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().expect("the test runs");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let program = folder.join(name);
    assert!(program.exists(), "{} is missing: run `cargo build --workspace` first", program.display());
    program
}

/// How a run of the program ended, and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs the program with a configuration, and waits for its end.
pub async fn doorward(config: &Path, arguments: &[&str]) -> Ran {
    let run = Command::new(program())
        .arg("--config")
        .arg(config)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(30), run).await.expect("it ends in time");
    let output = output.expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// How often something is done: so often with every test, and in full where `DOORWARD_FULL` is
/// set, as `cargo xtask soak` does.
pub fn times(with_every_test: usize, in_full: usize) -> usize {
    if std::env::var_os("DOORWARD_FULL").is_some() { in_full } else { with_every_test }
}

/// Looks again and again until `holds`; fails after ten seconds.
pub async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(Duration::from_secs(10), what, holds).await;
}

/// The same with another patience, for what is slow to start.
pub async fn within(patience: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The records of a gateway that has ended, oldest first.
pub fn records_in(folder: &Path) -> Vec<Value> {
    let filter = doorward_ledger::Filter { limit: 10_000, ..Default::default() };
    let index = doorward_ledger::Index::open_read_only(&folder.join("data/audit")).expect("an index");
    let rows = index.query(&filter).expect("rows");
    rows.iter().rev().map(doorward_ledger::CallRow::to_json).collect()
}

/// The entries of a log as they are kept, oldest first.
pub fn entries(folder: &Path) -> Vec<Value> {
    let mut entries = Vec::new();
    for file in std::fs::read_dir(folder.join("data/audit/segments")).expect("a log").filter_map(Result::ok) {
        let text = std::fs::read(file.path()).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        entries.extend(lines.filter(|entry: &Value| entry["_seq"].is_u64()));
    }
    entries.sort_by_key(|entry| entry["_seq"].as_u64());
    entries
}

/// The arguments of `tools/call`.
pub fn call(name: &str, arguments: Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}
