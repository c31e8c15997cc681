//! A gateway for a test of posture: a folder, keys and servers of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use doorward_identity::new_key;
use doorward_ledger::{CallRow, Filter};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Client, Fingerprint};
use super::dummy::{self, Received};
use crate::config::{Config, Loaded};
use crate::runtime::{self, Running, Surroundings};

/// The server that every stage has unless it is given others.
pub const SERVER: &str = "dummy";
/// The role whose key [`Stage::client`] uses.
pub const STAFF: &str = "staff";

/// What a stage is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The program that serves as the servers.
    pub program: PathBuf,
    /// The ids of the servers; all of them are [`dummy`].
    pub servers: Vec<String>,
    /// The tools of each.
    pub tools: Vec<String>,
    /// The roles that there is a key for.
    pub roles: Vec<String>,
    /// `policies` and whatever else of a configuration, as JSON.
    pub rest: Value,
    /// Where the servers look for the record of a call; the stage's own log unless set.
    pub looked_at: Option<PathBuf>,
}

impl Setup {
    /// One server, one caller, no policy.
    pub fn bare(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            servers: vec![SERVER.to_owned()],
            tools: dummy::TOOLS.map(str::to_owned).to_vec(),
            roles: vec![STAFF.to_owned()],
            rest: json!({}),
            looked_at: None,
        }
    }

    /// The same, with rules about single actions and arguments in both languages.
    pub fn governed(program: &Path) -> Self {
        let rule = |tool: &str, action: &str| json!({"server": SERVER, "tool": tool, "action": action});
        let capped = json!({
            "server": SERVER, "tool": "create_refund", "action": "allow",
            "conditions": [{"param": "amount", "operator": "lte", "value": 100}],
        });
        let rules =
            [rule("get_*", "allow"), rule("echo", "allow"), capped, rule("delete_repository", "deny")];
        let rest = json!({
            "policies": [{"id": STAFF, "name": "Staff", "roles": [STAFF], "rules": rules}],
            "regoPolicies": [{"name": "lines", "source": LINES}],
            // What the policies are asked is kept, for who is to reach a verdict again.
            "audit": {"capture": "full", "refusals": "all"},
        });
        Self { rest, ..Self::bare(program) }
    }
}

/// Looks into an argument below an argument.
const LINES: &str = r#"package lines
deny contains "a line is above 100" if {
	input.tool == "create_refund"
	some line in input.arguments.lines
	line.amount > 100
}
"#;

/// A running gateway and what is known of it.
pub struct Stage {
    folder: TempDir,
    running: Running,
    loaded: Loaded,
    keys: Vec<(String, String)>,
    program: PathBuf,
}

/// A stage after its gateway has stopped in order.
pub struct Ended {
    /// Holds the log for as long as it is looked at.
    pub folder: TempDir,
    /// What was in force.
    pub config: Config,
    /// The program.
    pub program: PathBuf,
}

impl Stage {
    /// Starts a gateway on a port that the system chooses.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the test")?;
        let surroundings = Surroundings {
            // Nothing of the environment is to reach the test, and nothing of the test a collector.
            variables: Arc::new(|_| None),
            program: setup.program.clone(),
            port: Some(0),
            command: "doorward selftest",
            ..Surroundings::system()
        };
        let fresh = |role: &String| (role.clone(), new_key(&*surroundings.random).0.expose().to_owned());
        let keys: Vec<_> = setup.roles.iter().map(fresh).collect();
        let text = configuration(&setup, folder.path(), &keys);
        let path = folder.path().join("gateway.json");
        std::fs::write(&path, serde_json::to_vec(&text)?)?;
        let running = runtime::start(&path, surroundings).await?;
        let loaded = running.loaded().clone();
        Ok(Self { folder, running, loaded, keys, program: setup.program })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// What is in force.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A client of the first role that has a key.
    pub(super) async fn client(&self, path: &str, fingerprint: &Fingerprint) -> anyhow::Result<Client> {
        let (role, _) = self.keys.first().context("a stage has a key")?;
        self.client_as(role, path, fingerprint).await
    }

    /// A client of this role.
    pub(super) async fn client_as(
        &self,
        role: &str,
        path: &str,
        fingerprint: &Fingerprint,
    ) -> anyhow::Result<Client> {
        let key = self.keys.iter().find(|(known, _)| known == role).map(|(_, key)| key.as_str());
        Client::open(self.address(), path, key.context("the role has a key")?, fingerprint).await
    }

    /// What the servers have received, in order.
    pub fn received(&self) -> Vec<Received> {
        dummy::read(&journal(self.folder.path()))
    }

    /// The records of all calls, oldest first.
    pub(super) fn records(&self) -> anyhow::Result<Vec<CallRow>> {
        let ledger = self.running.gateway().ledger();
        let mut rows = ledger.query(&Filter { limit: 100_000, ..Filter::default() })?;
        rows.reverse();
        Ok(rows)
    }

    /// Stops the gateway and keeps its log.
    pub async fn stop(self) -> Ended {
        self.running.stop().await;
        Ended { folder: self.folder, config: self.loaded.config, program: self.program }
    }
}

/// The folder of a stage's log.
pub(super) fn log(folder: &Path) -> PathBuf {
    folder.join("data/audit")
}

fn journal(folder: &Path) -> PathBuf {
    folder.join("journal")
}

fn configuration(setup: &Setup, folder: &Path, keys: &[(String, String)]) -> Value {
    let log = setup.looked_at.clone().unwrap_or_else(|| log(folder));
    let server = |id: &String| {
        json!({
            "id": id, "command": setup.program, "protocol": "legacy", "enabled": true,
            "args": [
                dummy::COMMAND, "--journal", journal(folder), "--log", log, "--tools", setup.tools.join(","),
            ],
        })
    };
    let key = |(role, key): &(String, String)| json!({"id": role, "key": key, "person": "selftest", "consumerId": role, "roles": [role], "enabled": true});
    let mut text = json!({
        "dataDir": folder.join("data"),
        "servers": setup.servers.iter().map(server).collect::<Vec<_>>(),
        "auth": {"type": "api-key", "keys": keys.iter().map(key).collect::<Vec<_>>()},
        "rateLimit": {"enabled": false},
        "audit": {"refusals": "all"},
        "policies": [],
    });
    for (name, value) in setup.rest.as_object().into_iter().flatten() {
        text[name] = value.clone();
    }
    text
}
