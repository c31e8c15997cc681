//! The stage on which clients play: a gateway before a server of either era and one that is a
//! child, a door in front of it, and a home for the client.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};
use tokio::process::Command;

use super::script::RULES;
use crate::world::front::Front;
use crate::world::model::Model;
use crate::world::{ALICE, Recorder, Speaks, World, ecosystem, program};

/// No client takes this long.
const PATIENCE: Duration = Duration::from_secs(240);

pub struct Stage {
    pub old: Recorder,
    pub new: Recorder,
    pub world: World,
    pub front: Front,
    home: TempDir,
}

impl Stage {
    pub async fn set() -> Self {
        let old = Recorder::start("old", Speaks::Legacy).await;
        let new = Recorder::start("new", Speaks::Modern).await;
        old.offer("form_name");
        let everything = ecosystem::node_server("server-everything");
        let servers = format!(
            "servers:\n  - {{id: old, url: \"{}\", enabled: true}}\n  - {{id: new, url: \"{}\", enabled: true}}\n  - {{id: everything, command: node, args: [\"{everything}\"], enabled: true}}\n",
            old.url(),
            new.url()
        );
        let world = World::start(&[], &format!("{servers}{RULES}")).await;
        let front = Front::before(world.address()).await;
        let home = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(home.path().join("work")).expect("a folder");
        Self { old, new, world, front, home }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.front.address)
    }

    /// The command of the door that is a child. What it reads is written down.
    pub fn pipe(&self) -> [String; 3] {
        let script = format!(
            "tee -a '{}' | MCP_GATEWAY_API_KEY={ALICE} '{}' --config '{}' serve --stdio",
            self.heard_file().display(),
            program().display(),
            self.world.config_path().display()
        );
        ["sh".to_owned(), "-c".to_owned(), script]
    }

    fn heard_file(&self) -> PathBuf {
        self.home.path().join("heard")
    }

    /// What the client said over stdio.
    pub fn heard(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.heard_file()).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Writes a file of the client's home.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// A program with a home of its own, and no proxy but the model.
    pub fn command(&self, program: &Path, model: &Model) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.home.path().join("work"));
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .env("TERM", "dumb")
            .envs(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| (name, model.url())))
            .envs(["NO_PROXY", "no_proxy"].map(|name| (name, "127.0.0.1,localhost")));
        command
    }
}

/// What identifies a client.
pub fn authorization() -> String {
    format!("Bearer {ALICE}")
}

/// How a program ended, and what it said.
pub struct Ended {
    pub success: bool,
    pub out: String,
    pub errors: String,
}

/// Runs a program to its end, and ends whatever it has started.
pub async fn run(mut command: Command) -> Ended {
    // Files, so that what one has said that does not end can be read as well.
    let (out, errors) = (NamedTempFile::new().expect("a file"), NamedTempFile::new().expect("a file"));
    let writer = |file: &NamedTempFile| Stdio::from(file.reopen().expect("open"));
    command.as_std_mut().process_group(0);
    command.stdin(Stdio::null()).stdout(writer(&out)).stderr(writer(&errors)).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())).expect("it runs");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    // Where nobody is left of it, this is an error.
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let text = |file: &NamedTempFile| {
        String::from_utf8_lossy(&std::fs::read(file.path()).expect("readable")).into_owned()
    };
    let (out, errors) = (text(&out), text(&errors));
    let ended = ended.unwrap_or_else(|_| panic!("it does not end: {command:?}\n{out}\n{errors}"));
    Ended { success: ended.expect("its end").success(), out, errors }
}

/// The same, of a program that ends well and wanted to go nowhere else; what it printed.
pub async fn play(command: Command, model: &Model) -> String {
    let shown = format!("{command:?}");
    let Ended { success, out, errors } = run(command).await;
    assert!(success, "{shown}\n{out}\n{errors}");
    assert_eq!(model.elsewhere(), BTreeSet::new(), "{shown}: nothing leaves the machine");
    out
}
