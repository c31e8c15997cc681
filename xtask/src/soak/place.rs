//! Where a long run takes place: its folder, its programs, the gateway's configuration.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::bench::setup::{self, free_port, wait_for};
use crate::shell::root;

pub const TOKEN: &str = "gw_soak_0123456789abcdef";

/// Where everything is.
pub struct Place {
    pub programs: PathBuf,
    pub folder: PathBuf,
    /// The gateway's.
    pub port: u16,
}

impl Place {
    fn config(&self) -> PathBuf {
        self.folder.join("gateway.yaml")
    }

    /// Builds the programs and makes an empty folder.
    pub fn prepare(name: &str, profile: &str) -> anyhow::Result<Self> {
        let programs = setup::programs(profile)?;
        let folder = root().join("target/soak").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Self { programs, folder, port: free_port()? })
    }

    /// Writes a configuration in which everybody may call these servers.
    pub fn configure(&self, servers: &str, name: &str) -> anyhow::Result<()> {
        let text = format!(
            "host: 127.0.0.1\nport: {}\ndataDir: {}/data\nrateLimit: {{enabled: false}}\nrequestLimit: {{enabled: false}}\n\
             auth:\n  type: api-key\n  keys:\n    - {{id: soak, key: {TOKEN}, consumerId: soak, person: soak, roles: [soak], enabled: true}}\n\
             servers:\n{servers}policies:\n  - {{id: all, name: {name}, roles: [soak], rules: [{{action: allow}}]}}\n",
            self.port,
            self.folder.display()
        );
        // Whole or not at all: the gateway looks at the file whenever it changes.
        let next = self.folder.join("gateway.yaml.next");
        fs::write(&next, text)?;
        Ok(fs::rename(next, self.config())?)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// A server with one tool, `echo`, which takes this long.
    pub fn server(&self, port: u16, delay_us: u64) -> anyhow::Result<Running> {
        let mut server = Command::new(self.programs.join("mockmcp"));
        server.args(["--listen", &format!("127.0.0.1:{port}"), "--delay-us", &delay_us.to_string()]);
        let running = self.start(server, "servers.log")?;
        wait_for(port)?;
        Ok(running)
    }

    /// The gateway, in its own environment and these variables.
    pub fn gateway(&self, variables: &[(&str, &str)]) -> anyhow::Result<Running> {
        let mut gateway = Command::new(self.programs.join("doorward"));
        gateway.arg("--config").arg(self.config()).arg("serve").envs(variables.iter().copied());
        self.start(gateway, "gateway.log")
    }

    fn start(&self, mut command: Command, log: &str) -> anyhow::Result<Running> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join(log))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Running(command.spawn().with_context(|| format!("cannot start {command:?}"))?))
    }

    pub fn doorward(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut doorward = Command::new(self.programs.join("doorward"));
        let output = doorward.arg("--config").arg(self.config()).args(arguments).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }

    pub fn recorded(&self) -> anyhow::Result<u64> {
        let stats: Value = serde_json::from_slice(&self.doorward(&["audit", "stats", "--json"])?)?;
        stats["total"].as_u64().context("no total")
    }
}

/// A process that ends with this.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended already needs no ending.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
