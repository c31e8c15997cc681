//! Where the servers work: a home with files, a repository, a page and a database; and the
//! gateway before them all.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::entry::{Entry, Way};
use crate::program::{Program, free_port};
use crate::world::postgres::Postgres;
use crate::world::site::Site;
use crate::world::tap::Tap;
use crate::world::{configuration, ecosystem, within};

/// The variable that marks a server's processes; its value names the place and the server.
const MARK: &str = "DOORWARD_TESTED";

/// Nothing takes this long to start, in whatever company.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Place {
    pub site: Site,
    pub postgres: Postgres,
    pub home: TempDir,
}

impl Place {
    pub async fn set() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let place = Self { site: Site::start().await, postgres: Postgres::start().await, home };
        place.folder("said");
        let repository = place.folder("repository");
        git(Path::new(&repository), &["init", "--quiet"]).await;
        let author = ["-c", "user.name=Ada", "-c", "user.email=ada@corp.example"];
        let commit = ["commit", "--quiet", "--allow-empty", "--message", "A door is kept"];
        git(Path::new(&repository), &[&author[..], &commit].concat()).await;
        place
    }

    /// Where a file of this name is, or is to be.
    pub fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// A folder of this name.
    pub fn folder(&self, name: &str) -> String {
        std::fs::create_dir_all(self.home.path().join(name)).expect("a folder");
        self.path(name)
    }

    /// Where the servers of npm are.
    pub fn servers(&self) -> String {
        ecosystem::folder().join("servers").display().to_string()
    }

    /// What the processes of a server have in their environment.
    pub fn mark(&self, entry: &Entry) -> String {
        format!("{MARK}={}", self.marked(entry))
    }

    fn marked(&self, entry: &Entry) -> String {
        format!("{}/{}", self.home.path().display(), entry.id)
    }

    /// Starts the gateway before these servers; whoever is hosted is reached through its tap.
    pub async fn gateway(&self, table: &[Entry], hosted: &[Hosted]) -> Program {
        let mut servers = Vec::new();
        let mut denied = Vec::new();
        for entry in table {
            let mut server = match entry.way {
                Way::Stdio => self.child(entry),
                Way::Http(path) | Way::Sse(path) => {
                    let host = hosted.iter().find(|host| host.id == entry.id).expect("it is hosted");
                    json!({"url": format!("http://{}{path}", host.tapped)})
                }
            };
            if matches!(entry.way, Way::Sse(_)) {
                server["transport"] = json!("sse");
            }
            server["id"] = json!(entry.id);
            server["enabled"] = json!(true);
            // All of them start at once, on whatever machine this is.
            server["startTimeout"] = json!(PATIENCE.as_millis());
            server["timeout"] = json!(PATIENCE.as_millis());
            servers.push(server);
            denied.push(json!({"server": entry.id, "tool": entry.denied, "action": "deny"}));
        }
        let policies = json!([
            {"id": "staff", "name": "Staff", "roles": ["staff"], "rules": [{"action": "allow"}]},
            {"id": "guests", "name": "Guests", "roles": ["guest"], "rules": denied},
        ]);
        let rest = format!(
            "rateLimit: {{enabled: false}}\naudit: {{refusals: all}}\nservers: {}\npolicies: {policies}\n",
            Value::from(servers)
        );
        let config = self.home.path().join("gateway.yaml");
        std::fs::write(&config, configuration(self.home.path(), &[], &rest)).expect("written");
        let variables = [("HOME", self.path("")), ("TMPDIR", self.folder("tmp"))];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        // Other tests run meanwhile, and have less patience than this one.
        let nice = ["nice", "-n", "5"].map(OsStr::new);
        Program::start_under(&nice, &config, &self.home.path().join("log"), &variables).await
    }

    /// A child of the gateway; what it hears and says is written down, for each process of it.
    fn child(&self, entry: &Entry) -> Value {
        let script = r#"tee "$0.$$.heard" | "$@" | tee "$0.$$.said""#;
        let mut arguments = vec!["-c".to_owned(), script.to_owned(), self.path("said/") + entry.id];
        arguments.push(entry.start.program.display().to_string());
        arguments.extend(entry.start.arguments.iter().cloned());
        let variables = entry.start.variables.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        let mut variables: Map<String, Value> = variables.collect();
        variables.insert(MARK.to_owned(), json!(self.marked(entry)));
        json!({"command": "sh", "args": arguments, "env": variables, "cwd": self.home.path()})
    }

    /// What each process of a server that was a child has heard (`heard`) or said (`said`).
    pub fn texts(&self, entry: &Entry, what: &str) -> Vec<String> {
        let prefix = format!("{}.", entry.id);
        let files = std::fs::read_dir(self.home.path().join("said")).expect("a folder");
        let paths = files.filter_map(|file| Some(file.ok()?.path()));
        let own = paths.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix) && name.ends_with(what)
        });
        own.map(|path| std::fs::read_to_string(path).expect("UTF-8")).collect()
    }
}

impl Drop for Place {
    /// Shows what the gateway has said, where a test ends badly: it goes with the folder.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            // Servers say a lot.
            let lines = log.lines().filter(|line| !line.contains("stderr:")).collect::<Vec<_>>();
            println!("{}", lines.join("\n"));
        }
    }
}

async fn git(folder: &Path, arguments: &[&str]) {
    let ended = Command::new("git").args(arguments).current_dir(folder).status().await;
    assert!(ended.expect("git runs").success(), "{arguments:?}");
}

/// A server with a port, which is a process of the test's own.
pub struct Hosted {
    pub id: &'static str,
    pub address: SocketAddr,
    /// Where the gateway reaches it, and what it is sent there.
    pub tapped: SocketAddr,
    pub tap: Tap,
    process: Child,
}

impl Hosted {
    pub async fn start(place: &Place, entry: &Entry) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (tapped, tap) = Tap::before(address).await;
        let process = Self::run(place, entry, address).await;
        Self { id: entry.id, address, tapped, tap, process }
    }

    /// Kills it, and starts it again where it was.
    pub async fn replace(&mut self, place: &Place, entry: &Entry) {
        self.process.kill().await.expect("killed");
        self.process = Self::run(place, entry, self.address).await;
    }

    async fn run(place: &Place, entry: &Entry, address: SocketAddr) -> Child {
        let port = address.port().to_string();
        let mut command = Command::new(&entry.start.program);
        command.args(&entry.start.arguments).current_dir(place.home.path()).env("HOME", place.home.path());
        command.envs(entry.start.variables.iter().map(|(name, value)| (name, value)));
        if entry.start.port.starts_with('-') {
            command.args([entry.start.port, &port]);
        } else {
            command.env(entry.start.port, &port);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().expect("it starts");
        within(PATIENCE, "it listens", async || TcpStream::connect(address).await.is_ok()).await;
        process
    }
}
