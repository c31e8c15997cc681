//! A gateway that lets everybody do everything with one server.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
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
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let child = Command::new(program)
        .arg("--config")
        .arg(&config)
        .args(["serve", "--port", &address.port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let gateway = Gateway { address, child, _folder: folder };
    for _ in 0..1_000 {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(gateway);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err("the gateway does not listen".into())
}

impl Gateway {
    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
