//! A gateway that lets everybody do everything with one server.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::Result;

pub const PATH: &str = "/mcp/mock";

pub struct Gateway {
    pub address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

pub async fn start(program: &Path, url: &str) -> Result<Gateway> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("gateway.yaml");
    let data = folder.path().join("data");
    std::fs::write(
        &config,
        format!(
            "dataDir: {}\nauth: {{type: none}}\nrateLimit: {{enabled: false}}\nservers:\n  - {{id: mock, url: \"{url}\", enabled: true}}\npolicies:\n  - {{id: all, name: All, roles: [\"*\"], rules: [{{action: allow}}]}}\n",
            data.display(),
        ),
    )?;
    let mut child = Command::new(program)
        .arg("--config")
        .arg(&config)
        .args(["serve", "--port", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut log = BufReader::new(child.stderr.take().ok_or("no log")?).lines();
    // Whoever picks a free port beforehand may find a server of the suite there.
    let address = loop {
        let line = log.next_line().await?.ok_or("the gateway does not listen")?;
        let after = line.split_once("listening on http://").and_then(|(_, rest)| rest.split_once('/'));
        if let Some((address, _)) = after {
            break address.parse()?;
        }
    };
    // A full pipe would stop it.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    Ok(Gateway { address, child, _folder: folder })
}

impl Gateway {
    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
